# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _model_files

SHA = "a" * 64


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 1024**2),
        ("64M", 64 * 1024**2),
        ("64mb", 64 * 1024**2),
        ("1.5GiB", 1536 * 1024**2),
        (7, 7),
        ("9 B", 9),
    ],
)
def test_sizes_are_powers_of_1024(text: str | int, size: int) -> None:
    assert _model_files.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "5 XB", "1e3", "0x10"])
def test_what_is_not_a_size_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        _model_files.size_bytes(text)


@pytest.mark.parametrize(
    "path", [".git/HEAD", "a/.cache/huggingface/x", "w.safetensors.incomplete", "a/b.lock", ".m.json"]
)
def test_what_tools_leave_beside_a_model_does_not_belong_to_it(path: str) -> None:
    assert not _model_files.belongs(path, [], [], ".m.json")


@pytest.mark.parametrize("path", ["gitlab.json", "cache/x", ".gitattributes", "locked", "a/.m.json"])
def test_what_only_looks_alike_belongs(path: str) -> None:
    assert _model_files.belongs(path, [], [], ".m.json")


def test_patterns_are_those_of_huggingface_hub() -> None:
    def belongs(path: str, include: list[str], exclude: list[str]) -> bool:
        return _model_files.belongs(path, include, exclude, ".m.json")

    assert belongs("a/b/c.safetensors", ["*.safetensors"], [])
    assert not belongs("a/b/c.bin", ["*.safetensors"], [])
    assert belongs("original/x/y.pth", ["original/"], [])
    assert not belongs("originals/x", ["original/"], [])
    assert not belongs("a.json", ["*.json"], ["a.*"])
    assert not belongs("A.JSON", ["*.json"], [])


def test_of_a_folder_it_is_said_whether_a_file_in_it_can_belong() -> None:
    def belongs(path: str, include: list[str], exclude: list[str]) -> bool:
        return _model_files.belongs(path, include, exclude, ".m.json")

    assert belongs("a/", ["*.json"], ["*.bin"])
    assert belongs("a/", [], ["a", "a?", "a[/]"])
    assert not belongs("a/b/", [], ["a/"])
    assert not belongs("a/", [], ["a*"])
    assert not belongs("a/.git/", [], [])


@pytest.mark.parametrize(("given", "cleaned"), [("a/b", "a/b"), ("/a/b/", "a/b"), ("a", "a")])
def test_a_prefix_loses_the_slashes_at_its_ends(given: str, cleaned: str) -> None:
    assert _model_files.clean_prefix(given) == cleaned


@pytest.mark.parametrize("prefix", ["", "/", "a//b", "a/../b", "a/./b", "a\nb", "x" * 1025])
def test_a_prefix_that_cannot_be_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"prefix .*\."):
        _model_files.clean_prefix(prefix)


def test_keys_are_measured_in_bytes() -> None:
    assert _model_files.key_fault("ü" * 512) is None
    assert "1026 bytes" in str(_model_files.key_fault("ü" * 513))
    assert "UTF-8" in str(_model_files.key_fault("\udcff"))


def test_a_snapshot_of_a_hugging_face_cache_names_its_source() -> None:
    revision = "0" * 40
    folder = f"/x/hub/models--meta-llama--Llama-3.1-8B/snapshots/{revision}"
    source = {"repository": "meta-llama/Llama-3.1-8B", "revision": revision}
    assert _model_files.source(folder, None) == source
    assert _model_files.source(folder, "v2") == {**source, "revision": "v2"}
    assert _model_files.source("/srv/models/x", None) == {}


def test_the_manifest_does_not_depend_on_the_order_of_files() -> None:
    one = {"path": "a", "size": 1, "sha256": SHA}
    two = {"path": "b", "size": 2, "sha256": SHA}
    written = _model_files.manifest_bytes([two, one], {"revision": "r"})
    assert written == _model_files.manifest_bytes([one, two], {"revision": "r"})
    assert _model_files.parse_manifest(written) == {"source": {"revision": "r"}, "files": {"a": one, "b": two}}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"llmstack_manifest": 1}', b'{"files": 3}'])
def test_what_is_no_manifest_is_not_read_as_one(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a manifest"):
        _model_files.parse_manifest(content)


def test_a_manifest_of_a_later_release_is_said() -> None:
    content = json.dumps({"llmstack_manifest": 2, "files": [], "source": {}}).encode()
    with pytest.raises(ValueError, match="format version 2"):
        _model_files.parse_manifest(content)


def test_sha256sums_are_read_as_sha256sum_writes_them() -> None:
    text = f"# comment\n{SHA}  ./a b.json\n\n{SHA.upper()} *w.bin\n"
    assert _model_files.parse_sha256sums(text) == {"a b.json": SHA, "w.bin": SHA}
    with pytest.raises(ValueError, match="line 2 is not"):
        _model_files.parse_sha256sums(f"{SHA}  a\nnonsense\n")


def test_differences_are_named_both_ways() -> None:
    expected = {"a": SHA, "b": SHA, "c": SHA}
    found = {"a": SHA, "b": "b" * 64, "d": SHA}
    assert _model_files.mismatches(expected, found) == [
        "c is missing",
        "d is not listed",
        f"b has {'b' * 64}, not {SHA}",
    ]

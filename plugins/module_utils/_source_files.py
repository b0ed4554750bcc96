# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a model on this machine: finding them, reading their digests once, noticing that they changed.

PRIVATE to the collection: no stable interface.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums

# Small enough for the processor's cache: the digests read what the copy from the page cache has just written.
CHUNK_BYTES = 512 * 1024


class SourceError(Exception):
    """The model on disk cannot be read, or changed meanwhile; the message is a sentence."""


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file of the model: its path under the source (with slashes), where it is, and how it looked when found."""

    path: str
    location: str
    size_bytes: int
    fingerprint: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Digests:
    """What is known of a file's content: SHA-256 in hexadecimal, and checksums as S3 writes them, by algorithm."""

    sha256: str
    checksums: dict[str, str]


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    # The change time cannot be set back by tools that restore modification times (rsync, tar, git).
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _sentence(error: OSError, location: str) -> str:
    if error.errno == errno.EACCES:
        return f"{location} cannot be read: permission denied for the user who runs the task."
    if error.errno == errno.ENOENT:
        return f"{location} disappeared, or is a link to nothing: fetch the model again."
    if error.errno == errno.EIO:
        return f"{location} cannot be read: the disk reports a read error."
    return f"{location} cannot be read: {error.strerror}."


def find(src: str, keep: Callable[[str], bool]) -> list[SourceFile]:
    """The files of a directory (links followed) or the one file, sorted by path.

    Raises SourceError if there is none, one cannot be read, or one is neither file nor directory.
    """
    root = Path(src)
    if not root.exists():
        raise SourceError(f"src {src} does not exist on this machine.")
    if root.is_file():
        return [_found(root.name, str(root))]
    files = [_found(path, location) for path, location in _walk(str(root), "", ()) if keep(path)]
    if not files:
        raise SourceError(
            f"src {src} holds no file to upload (hidden download caches, include and exclude considered)."
        )
    return sorted(files, key=lambda file: file.path)


def _walk(folder: str, under: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise SourceError(f"{folder} is a link to a directory that contains it: remove the link.")
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{under}{entry.name}"
                if entry.is_dir():
                    yield from _walk(entry.path, f"{path}/", (*above, identity))
                else:
                    yield path, entry.path
    except OSError as error:
        raise SourceError(_sentence(error, folder)) from error


def _found(path: str, location: str) -> SourceFile:
    try:
        status = os.stat(location)
        if not os.path.isfile(location):
            raise SourceError(f"{location} is neither a file nor a directory: exclude it.")
        if not os.access(location, os.R_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        raise SourceError(_sentence(error, location)) from error
    return SourceFile(path, location, status.st_size, _fingerprint(status))


@contextlib.contextmanager
def opened(file: SourceFile) -> Iterator[int]:
    """A descriptor of the file; proves at the end that it is still the file that was found.

    Raises SourceError if it cannot be read or changed between the search and the end of the block.
    """
    try:
        descriptor = os.open(file.location, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(_sentence(error, file.location)) from error
    try:
        yield descriptor
        unchanged(file, descriptor)
    except OSError as error:
        if error.filename is None and error.errno == errno.EIO:
            raise SourceError(_sentence(error, file.location)) from error
        raise
    finally:
        os.close(descriptor)


def unchanged(file: SourceFile, descriptor: int) -> None:
    """Raises SourceError if the open file, or what its path leads to now, is not what was found."""
    try:
        looks = {_fingerprint(os.fstat(descriptor)), _fingerprint(os.stat(file.location))}
    except OSError as error:
        raise SourceError(_sentence(error, file.location)) from error
    if looks != {file.fingerprint}:
        raise changed(file)


def changed(file: SourceFile) -> SourceError:
    return SourceError(f"{file.location} changed while it was read: run again when nothing writes to it.")


def read(file: SourceFile, descriptor: int, offset: int, length: int, *sums: Any) -> None:
    """Feed a range of the file to running sums. Raises SourceError if the file is shorter."""
    buffer = memoryview(bytearray(min(CHUNK_BYTES, max(length, 1))))
    end = offset + length
    while offset < end:
        count = os.preadv(descriptor, [buffer[: min(len(buffer), end - offset)]], offset)
        if count == 0:
            raise changed(file)
        for running in sums:
            running.update(buffer[:count])
        offset += count


def digests(file: SourceFile, algorithm: str) -> Digests:
    """Read the whole file once. Raises SourceError."""
    sha256, checksum = hashlib.sha256(), _checksums.start(algorithm)
    with opened(file) as descriptor:
        read(file, descriptor, 0, file.size_bytes, sha256, checksum)
    return Digests(sha256.hexdigest(), {algorithm: checksum.base64()})


class KnownDigests:
    """The digests that earlier runs on this machine read from a source, in one JSON file.

    Losing it costs reading the files again, never correctness.
    """

    def __init__(self, folder: str, src: str) -> None:
        self._path = state_path(folder, "digests", os.path.realpath(src))
        self._began_ns = time.time_ns()
        self._known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = dict(json.loads(self._path.read_text()))

    def get(self, file: SourceFile) -> Digests | None:
        """What was read from the file, if it is still the same file."""
        entry = self._known.get(file.path)
        if not entry or tuple(entry["fingerprint"]) != file.fingerprint:
            return None
        return Digests(entry["sha256"], entry["checksums"])

    def learn(self, file: SourceFile, found: Digests) -> None:
        """Remember what was read, unless the file is so young that a later change could leave the same time stamp."""
        coarse = file.fingerprint[1] % 1_000_000_000 == 0
        tick_ns = 2_000_000_000 if coarse else 100_000_000
        if self._began_ns - max(file.fingerprint[1], file.fingerprint[2]) > tick_ns:
            self._known[file.path] = {"fingerprint": list(file.fingerprint), **dataclasses.asdict(found)}

    def save(self, present: Iterable[str]) -> None:
        """Write what is known of the files that are still there. Raises OSError."""
        kept = set(present)
        write_state(self._path, {path: entry for path, entry in self._known.items() if path in kept})


def state_path(folder: str, kind: str, name: str) -> Path:
    """Where the state of this kind for this name is kept."""
    return Path(folder) / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def write_state(path: Path, content: Any) -> None:
    """Replace a state file as a whole, so that a killed run leaves the old one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)

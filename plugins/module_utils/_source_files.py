# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a model on this machine: finding them, reading their digests, noticing that they change.

PRIVATE to the collection: no stable interface.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums

# Threads wait for each other (the interpreter's lock) once a chunk; at 64 KiB to 2 MiB the copy itself takes the same time.
CHUNK_BYTES = 1024 * 1024


class SourceError(Exception):
    """The model on disk cannot be read, or changed meanwhile; the message is a sentence."""


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file of the model: its path under the source (with slashes), where it is, and how it looked when found."""

    path: str
    location: str
    size_bytes: int
    fingerprint: tuple[int, ...]


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    # The change time cannot be set back by tools that restore modification times (rsync, tar, git).
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _sentence(error: OSError, location: str) -> str:
    if error.errno == errno.EACCES:
        return f"{location} cannot be read: permission denied for the user who runs the task."
    if error.errno == errno.ENOENT:
        return f"{location} disappeared, or is a link to nothing: fetch the model again."
    if error.errno == errno.ELOOP:
        return f"{location} is a link that leads back to itself: remove the link."
    if error.errno == errno.EIO:
        return f"{location} cannot be read: the disk reports a read error."
    return f"{location} cannot be read: {error.strerror}."


def find(src: str, keep: Callable[[str], bool]) -> list[SourceFile]:
    """The files of a directory (links followed) or the one file, sorted by path.

    keep(path) says whether the file at this path under src is wanted; of a path that ends in a slash, a folder's,
    whether any file in it can be: other folders need not be readable.
    Raises SourceError if there is none, one cannot be read, or one is neither file nor directory.
    """
    root = Path(src)
    try:
        mode = root.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"src {src} does not exist on this machine.") from None
    except OSError as error:
        raise SourceError(_sentence(error, src)) from error
    if stat.S_ISREG(mode):
        return [_found(root.name, str(root))]
    files = [_found(path, location) for path, location in _walk(str(root), "", (), keep) if keep(path)]
    if not files:
        raise SourceError(
            f"src {src} holds no file to upload (hidden download caches, include and exclude considered)."
        )
    return sorted(files, key=lambda file: file.path)


def _walk(
    folder: str, under: str, above: tuple[tuple[int, int], ...], keep: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise SourceError(f"{folder} is a link to a directory that contains it: remove the link.")
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{under}{entry.name}"
                if entry.is_dir():
                    if keep(f"{path}/"):
                        yield from _walk(entry.path, f"{path}/", (*above, identity), keep)
                else:
                    yield path, entry.path
    except OSError as error:
        raise SourceError(_sentence(error, error.filename or folder)) from error


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


def directory(src: str) -> str:
    """The directory that holds the model, links resolved; that of a file is where its path says that it is."""
    return os.path.realpath(src if os.path.isdir(src) else os.path.dirname(src))


def text(location: str) -> str:
    """The content of a small text file. Raises SourceError."""
    try:
        return Path(location).read_text()
    except FileNotFoundError:
        raise SourceError(f"{location} does not exist on this machine.") from None
    except OSError as error:
        raise SourceError(_sentence(error, location)) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{location} is not a text file.") from error


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
        # Of whoever sends the file to a socket, which does not report this one.
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


def read(
    file: SourceFile,
    descriptor: int,
    offset: int,
    length: int,
    sums: Sequence[_checksums.Sum],
    halt: Callable[[], None],
) -> None:
    """Feed a range of the file to running sums; halt() may raise to stop.

    Raises SourceError if it cannot be read or the file is shorter.
    """
    buffer = memoryview(bytearray(min(CHUNK_BYTES, max(length, 1))))
    end = offset + length
    while offset < end:
        halt()
        try:
            count = os.preadv(descriptor, [buffer[: min(len(buffer), end - offset)]], offset)
        except OSError as error:
            raise SourceError(_sentence(error, file.location)) from error
        if count == 0:
            raise changed(file)
        for running in sums:
            running.update(buffer[:count])
        offset += count


def digests(file: SourceFile, algorithms: Sequence[str], halt: Callable[[], None]) -> dict[str, str]:
    """Read the whole file once: algorithm -> digest, as in _checksums. Raises SourceError."""
    sums = {algorithm: _checksums.start(algorithm) for algorithm in algorithms}
    with opened(file) as descriptor:
        read(file, descriptor, 0, file.size_bytes, list(sums.values()), halt)
    return {algorithm: running.text() for algorithm, running in sums.items()}

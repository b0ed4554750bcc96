# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upload has to do: which files are sent, kept or deleted, and in which parts.

PRIVATE to the collection: no stable interface.
Limits from the Amazon S3 user guide, "Amazon S3 multipart upload limits".
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

MIB = 1024**2
SMALLEST_PART_BYTES = 5 * MIB
LARGEST_PART_BYTES = 5 * 1024 * MIB
MOST_PARTS = 10_000
LARGEST_OBJECT_BYTES = MOST_PARTS * LARGEST_PART_BYTES


@dataclasses.dataclass(frozen=True)
class Part:
    """A range of a file; parts are numbered from 1."""

    number: int
    offset_bytes: int
    length_bytes: int


@dataclasses.dataclass(frozen=True)
class Remote:
    """An object as a listing shows it; modified is its time stamp in seconds since 1970."""

    size_bytes: int
    modified: float


def part_fault(part_size_bytes: int) -> str | None:
    """What is wrong with a part size, or None."""
    if SMALLEST_PART_BYTES <= part_size_bytes <= LARGEST_PART_BYTES:
        return None
    return f"part_size must be 5MiB to 5GiB, not {part_size_bytes} bytes."


def fitting_part_size(size_bytes: int, wanted_bytes: int) -> int:
    """The wanted part size, or the smallest one in whole MiB with which the file fits into 10,000 parts."""
    least = -(-size_bytes // MOST_PARTS)
    return wanted_bytes if wanted_bytes >= least else -(-least // MIB) * MIB


def parts(size_bytes: int, part_size_bytes: int) -> list[Part]:
    """The file cut into parts; an empty file is one empty part."""
    offsets = range(0, max(size_bytes, 1), part_size_bytes)
    return [Part(number, start, min(part_size_bytes, size_bytes - start)) for number, start in enumerate(offsets, 1)]


def in_turn(series: Iterable[Iterable[T]], at_a_time: int) -> Iterator[T]:
    """One item of each series after the other, of so many series at a time; the next one begins where one ended."""
    waiting = iter(series)
    running = collections.deque(map(iter, itertools.islice(waiting, at_a_time)))
    while running:
        items = running.popleft()
        try:
            yield next(items)
            running.append(items)
        except StopIteration:
            running.extend(map(iter, itertools.islice(waiting, 1)))


def first_look(
    size_bytes: int, recorded: Mapping[str, Any] | None, remote: Remote | None, manifest_modified: float | None
) -> str:
    """How to find out whether a file is there already, from a listing and the manifest alone.

    C(send): it is not. C(manifest): compare its digest with the manifest's. C(server): the object is not vouched for by
    the manifest (no entry, another size, or written after it): ask the server for the object's checksum.
    """
    if remote is None or remote.size_bytes != size_bytes:
        return "send"
    vouched = recorded is not None and manifest_modified is not None and recorded["size"] == remote.size_bytes
    return "manifest" if vouched and remote.modified <= (manifest_modified or 0) else "server"


def strangers(remote: Mapping[str, Remote], local: Mapping[str, Any], manifest: str) -> list[str]:
    """Paths under the prefix that are not in the source."""
    return sorted(path for path in remote if path not in local and path != manifest)


def diff(
    before: Mapping[str, Any], after: Mapping[str, Any], settings: Mapping[str, tuple[Any, Any]]
) -> dict[str, Any]:
    """before and after of --diff: path -> size and digest, as far as known, and name -> value of what else changes."""
    old = {name: value for name, (value, _new) in settings.items() if value is not None}
    new = {name: value for name, (_old, value) in settings.items() if value is not None}
    return {
        "before": {"files": dict(sorted(before.items())), **old},
        "after": {"files": dict(sorted(after.items())), **new},
    }


def progress(done_files: int, files: int, sent_bytes: int, resumed_bytes: int, total_bytes: int, seconds: float) -> str:
    """A line for whoever waits; GB and MB are powers of ten. Resumed bytes were there already and say nothing of speed."""
    rate = sent_bytes / max(seconds, 0.001)
    left_bytes = total_bytes - sent_bytes - resumed_bytes
    left = f", {left_bytes / rate:.0f} s left" if rate else ""
    there = (sent_bytes + resumed_bytes) / 1e9
    return f"{done_files} of {files} files, {there:.2f} of {total_bytes / 1e9:.2f} GB, {rate / 1e6:.0f} MB/s{left}"

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What uploads from this machine remember for the next run, in JSON files of a state directory.

PRIVATE to the collection: no stable interface.
Losing it costs reading files again and sending unfinished parts again, never correctness.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._source_files import SourceError, SourceFile

# Of the files' format; others are not read.
_VERSION = 1
# A file that changes twice within one tick of the file system's clock shows the same time stamp twice.
_TICK_NS = 100_000_000
_COARSE_TICK_NS = 2_000_000_000


class KnownDigests:
    """The digests that earlier runs read from the files of a source, by algorithm."""

    def __init__(self, folder: str, src: str) -> None:
        self._path = _path(folder, "digests", os.path.realpath(src))
        self._known = _read(self._path)
        self._began_ns = time.time_ns()
        self._changed = False

    def get(self, file: SourceFile) -> dict[str, str]:
        """What is known of the file, if it is still the same file."""
        entry = self._known.get(file.path)
        if not entry or tuple(entry["fingerprint"]) != file.fingerprint:
            return {}
        return dict(entry["digests"])

    def learn(self, file: SourceFile, digests: dict[str, str]) -> None:
        """Remember what was read, unless the file is so young that a later change could leave the same time stamp."""
        known = self.get(file)
        if digests.items() <= known.items():
            return
        _size, modified_ns, changed_ns, _inode = file.fingerprint
        tick_ns = _COARSE_TICK_NS if modified_ns % 1_000_000_000 == 0 else _TICK_NS
        if self._began_ns - max(modified_ns, changed_ns) > tick_ns:
            self._known[file.path] = {"fingerprint": file.fingerprint, "digests": known | digests}
            self._changed = True

    def save(self, present: Iterable[str]) -> None:
        """Write what is known of the files that are still there. Raises OSError."""
        kept = self._known.keys() & set(present)
        if self._changed or len(kept) < len(self._known):
            _write(self._path, {path: entry for path, entry in self._known.items() if path in kept})


class Journal:
    """The multipart uploads that runs began and did not finish.

    unfinished: path -> a dictionary with at least `id`. doubtful: path -> the ids of all uploads of this path that were
    there before one was begun whose id never arrived here; whatever else there is of the path is ours.
    """

    def __init__(self, folder: str, destination: str) -> None:
        self._path = _path(folder, "uploads", destination)
        self._destination = destination
        self._lock: int | None = None
        self.unfinished: dict[str, dict[str, Any]] = {}
        self.doubtful: dict[str, list[str]] = {}
        self._load()

    def _load(self) -> None:
        entries = _read(self._path)
        self.unfinished, self.doubtful = entries.get("unfinished", {}), entries.get("doubtful", {})

    def __bool__(self) -> bool:
        return bool(self.unfinished or self.doubtful)

    def hold(self) -> None:
        """Keep other runs on this machine away from the destination until this process ends.

        Raises SourceError if another run is there, OSError if nothing can be written or locked.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SourceError(f"Another run uploads to {self._destination} now: wait for it to end.") from None
        self._load()

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save(self) -> None:
        """Raises OSError."""
        if self:
            _write(self._path, {"unfinished": self.unfinished, "doubtful": self.doubtful})
        else:
            self._path.unlink(missing_ok=True)


def _path(folder: str, kind: str, name: str) -> Path:
    return Path(folder) / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.get("version") == _VERSION:
            return dict(content["entries"])
    return {}


def _write(path: Path, entries: dict[str, Any]) -> None:
    # Replaced as a whole, so that a killed run leaves the old one.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({"version": _VERSION, "entries": entries}))
    fresh.replace(path)

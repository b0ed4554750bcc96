# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of the API server's audit log, which it writes while others read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def size_bytes(log: Path) -> int:
    """Where the events of what is done from now on begin, for `events_since`."""
    return log.stat().st_size


def events_since(log: Path, begin_bytes: int) -> list[dict[str, Any]]:
    """Every event whose line is complete and began at this place or later."""
    with log.open("rb") as file:
        # A rotated log begins anew.
        if 0 < begin_bytes <= size_bytes(log):
            # The size may have been that of a half-written line: what is left of it is of an earlier event.
            file.seek(begin_bytes - 1)
            file.readline()
        return [json.loads(line) for line in file if line.endswith(b"}\n")]

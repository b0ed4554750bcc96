# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing something again that failed for a reason which may pass.

PRIVATE to the collection: no stable interface.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 20.0


class Transient(Exception):
    """What failed may succeed if it is done again; `attempts` limits how often, whatever else is allowed."""

    def __init__(self, message: str, attempts: int | None = None) -> None:
        super().__init__(message)
        self.attempts = attempts


def retried(attempts: int, wait: Callable[[float], object], once: Callable[[], T]) -> T:
    """The result of once(), tried up to `attempts` times; wait(seconds) pauses between them.

    Raises the last Transient.
    """
    attempt = 1
    while True:
        try:
            return once()
        except Transient as error:
            if attempt >= min(attempts, error.attempts or attempts):
                raise
            # Full jitter: many senders that failed together must not come back together.
            wait(random.uniform(0, min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))))
            attempt += 1

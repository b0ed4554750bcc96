# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When requests are sent: stages, arrival times, and which rate a search tries next. Pure. PRIVATE to the collection.

Closed loop (`concurrency`): each of N users sends again as soon as it has its answer, so a slow server is asked less.
Open loop (`rate`): requests come when they come, as from many users who do not know of each other; latency then counts
from the moment a request was due, so that a stalled server or client cannot hide the wait (coordinated omission).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, takewhile
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

MAX_CONCURRENCY = 20_000
MAX_RATE = 50_000.0
ARRIVALS = ("poisson", "constant", "burst")
# A rate search that needs more steps than this asks for too fine a precision.
_MAX_SEARCH_STEPS = 40
_LOWEST_SHARE = 16


@dataclass(frozen=True)
class Stage:
    """One level of load. Exactly one of `concurrency` and `rate` (requests per second) is set; the stage ends at
    `requests` or after `duration_seconds`, whichever is set and comes first."""

    concurrency: int | None = None
    rate: float | None = None
    arrival: str = "poisson"
    burst_size: int = 10
    requests: int | None = None
    duration_seconds: float | None = None
    warmup_requests: int = 0
    ramp_up_seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.concurrency} concurrent" if self.concurrency is not None else f"{self.rate:g} requests/s"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def stages(
    concurrency: list[int] | None,
    rate: list[float] | None,
    requests: int | None,
    duration_seconds: float | None,
    **shared: Any,
) -> list[Stage]:
    """One Stage for each level. Raises LoadError for what cannot be."""
    if requests is not None and requests < 1:
        raise LoadError(f"requests must be at least 1, not {requests}.")
    if duration_seconds is not None and not 0 < duration_seconds <= 86400:
        raise LoadError(f"duration_seconds must be above 0 and at most 86400 (a day), not {duration_seconds:g}.")
    for name in ("warmup_requests", "ramp_up_seconds"):
        if shared.get(name, 0) < 0:
            raise LoadError(f"{name} must not be negative.")
    if shared.get("burst_size", 1) < 1:
        raise LoadError(f"burst_size must be at least 1, not {shared['burst_size']}.")
    limits = {"requests": requests, "duration_seconds": duration_seconds, **shared}
    if rate is not None:
        if not rate:
            raise LoadError("rate is an empty list: name at least one rate in requests per second.")
        return [Stage(rate=check_rate("rate", value), **limits) for value in rate]
    if not concurrency:
        raise LoadError("concurrency is an empty list: name at least one number of concurrent requests.")
    for level in concurrency:
        if not 1 <= level <= MAX_CONCURRENCY:
            raise LoadError(f"concurrency must be from 1 to {MAX_CONCURRENCY}, not {level}.")
    return [Stage(concurrency=level, **limits) for level in concurrency]


def check_rate(parameter: str, rate: float) -> float:
    """The rate, if it is a possible one."""
    if not 0 < rate <= MAX_RATE:
        raise LoadError(f"{parameter} must be above 0 and at most {MAX_RATE:g} requests per second, not {rate:g}.")
    return rate


def arrivals(stage: Stage, seed: int) -> Iterator[tuple[int, float]]:
    """Number and due time (seconds after the start) of each request of an open-loop stage.

    The same seed gives the same arrivals, so that several processes can share one schedule.
    """
    if stage.rate is None:
        raise AssertionError("an open loop has a rate")
    times = _times(stage.arrival, stage.rate, stage.burst_size, random.Random(seed))
    if stage.duration_seconds is not None:
        limit = stage.duration_seconds
        times = takewhile(lambda due: due < limit, times)
    numbers = count() if stage.requests is None else iter(range(stage.requests))
    return zip(numbers, times, strict=False)


def _times(arrival: str, rate: float, burst_size: int, generator: random.Random) -> Iterator[float]:
    if arrival == "constant":
        return (number / rate for number in count())
    if arrival == "burst":
        return (number // burst_size * burst_size / rate for number in count())
    return _poisson(rate, generator)


def _poisson(rate: float, generator: random.Random) -> Iterator[float]:
    due = 0.0
    while True:
        yield due
        due += generator.expovariate(rate)


def next_rate(tried: list[tuple[float, bool]], start: float, maximum: float, precision: float) -> float | None:
    """The rate to try after `tried` (rate, whether it passed), or None when the highest passing one is known.

    Doubles until one fails, then halves the interval until it is narrower than `precision` (share of the passing rate).
    """
    passed = max((rate for rate, good in tried if good), default=0.0)
    failed = min((rate for rate, good in tried if not good and rate > passed), default=None)
    if not tried:
        return min(start, maximum)
    if len(tried) >= _MAX_SEARCH_STEPS:
        return None
    if failed is None:
        return None if passed >= maximum else min(passed * 2, maximum)
    if passed == 0.0:
        # Far below what the user thought of as low there is nothing to find.
        return failed / 2 if failed / 2 >= start / _LOWEST_SHARE else None
    return (passed + failed) / 2 if failed - passed > precision * passed else None

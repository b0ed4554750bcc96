# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A histogram of durations with bounded memory and bounded relative error. Pure. PRIVATE to the collection.

Buckets as in HdrHistogram: linear below 256 microseconds, then 128 per power of two, so that a quantile is within
0.4 % of the value that it stands for, from a microsecond to days, in a few hundred integers however many are recorded.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

_BITS = 8
_HALF = 1 << (_BITS - 1)


class Histogram:
    """Counts of durations in seconds. `minimum`, `maximum` and `mean` are exact; quantiles are not (see above)."""

    __slots__ = ("buckets", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.minimum = float("inf")
        self.maximum = 0.0

    def record(self, seconds: float, times: int = 1) -> None:
        microseconds = int(seconds * 1e6)
        if microseconds < 0:
            microseconds = 0
        shift = microseconds.bit_length() - _BITS
        index = microseconds if shift <= 0 else (shift << (_BITS - 1)) + (microseconds >> shift)
        buckets = self.buckets
        buckets[index] = buckets.get(index, 0) + times
        self.count += times
        self.total += seconds * times
        if seconds < self.minimum:
            self.minimum = seconds
        if seconds > self.maximum:
            self.maximum = seconds

    def add(self, other: Histogram) -> None:
        """Count everything that `other` counted."""
        for index, count in other.buckets.items():
            self.buckets[index] = self.buckets.get(index, 0) + count
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    @property
    def mean(self) -> float:
        """Seconds; 0 if nothing was recorded."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The smallest duration in seconds that at least `share` (0 to 1) of all do not exceed; 0 if there are none."""
        wanted = max(1, -int(-share * self.count // 1))
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= wanted:
                return min(max(middle(index), self.minimum), self.maximum)
        return 0.0

    def share_within(self, seconds: float) -> float:
        """The share (0 to 1) that took at most `seconds`; 0 if nothing was recorded."""
        within = sum(count for index, count in self.buckets.items() if middle(index) <= seconds)
        return within / self.count if self.count else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON: parallel lists of bucket numbers and counts, and the exact values in seconds."""
        numbers = sorted(self.buckets)
        return {
            "buckets": numbers,
            "counts": [self.buckets[number] for number in numbers],
            "total_seconds": self.total,
            "minimum_seconds": self.minimum if self.count else 0.0,
            "maximum_seconds": self.maximum,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Histogram:
        """The inverse of to_dict. Raises ValueError or KeyError if it is something else."""
        found = cls()
        found.buckets = {int(number): int(count) for number, count in zip(data["buckets"], data["counts"], strict=True)}
        found.count = sum(found.buckets.values())
        found.total = float(data["total_seconds"])
        found.minimum = float(data["minimum_seconds"]) if found.count else float("inf")
        found.maximum = float(data["maximum_seconds"])
        return found


def middle(index: int) -> float:
    """The duration in seconds in the middle of a bucket."""
    if index < 2 * _HALF:
        return (index + 0.5) / 1e6
    shift = (index >> (_BITS - 1)) - 1
    low = ((index & (_HALF - 1)) + _HALF) << shift
    return (low + (1 << shift) / 2) / 1e6


def merged(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.add(histogram)
    return total


def resampled_quantiles(slices: list[Histogram], share: float, times: int, generator: random.Random) -> list[float]:
    """Bootstrap: the quantile of `times` runs put together from these slices of one run, drawn with replacement.

    Slices of time, not single requests: latencies of neighbours depend on each other (they share a batch), and drawing
    them one by one would promise a precision that the run does not have (a block bootstrap).
    """
    numbers = sorted({index for histogram in slices for index in histogram.buckets})
    # Each slice as the number of values up to each bucket: of several slices together that is the sum.
    rows = [list(accumulate(histogram.buckets.get(number, 0) for number in numbers)) for histogram in slices]
    found = []
    for _time in range(times):
        drawn = generator.choices(rows, k=len(rows))
        total = sum(row[-1] for row in drawn) if numbers else 0
        if total:
            wanted = max(1, -int(-share * total // 1))
            found.append(middle(numbers[_first_reaching(wanted, drawn, len(numbers))]))
    return found


def _first_reaching(wanted: int, rows: list[list[int]], length: int) -> int:
    return bisect_left(range(length), wanted, key=lambda position: sum(row[position] for row in rows))

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service level objectives: names, limits, and whether a stage keeps them. Pure. PRIVATE to the collection."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import LATENCIES, STATISTICS

# An answer that was cut off is no answer, whatever its HTTP status: kept unless the user says otherwise.
DEFAULTS = {"error_rate_percent": 0.0, "truncated_streams": 0.0}
GOODPUT_LIMITS = ("ttft_ms", "tpot_ms", "e2e_ms")


def _latency(name: str, statistic: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda stage: stage["latency_ms"].get(name, {}).get(statistic)


def _goodput(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda stage: (stage["goodput"] or {}).get(key)


def _direct(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda stage: stage[key]


# What must not be exceeded, and what must be reached: name, and where a stage's report has it.
AT_MOST = {f"{name}_{statistic}_ms": _latency(name, statistic) for name in LATENCIES for statistic in STATISTICS} | {
    name: _direct(name) for name in DEFAULTS
}
AT_LEAST = {
    "requests_per_second": _direct("requests_per_second"),
    "output_tokens_per_second": _direct("output_tokens_per_second"),
    "goodput_requests_per_second": _goodput("requests_per_second"),
    "goodput_percent": _goodput("percent"),
}


@dataclass(frozen=True)
class Slo:
    """One objective. Units are in the name."""

    name: str
    limit: float

    @property
    def at_most(self) -> bool:
        return self.name in AT_MOST

    def value(self, stage: dict[str, Any]) -> float | None:
        """What the stage's report says, None if it was not measured."""
        return (AT_MOST | AT_LEAST)[self.name](stage)


def slos(given: dict[str, Any], goodput: bool) -> list[Slo]:
    """The objectives for the parameter, defaults included. Raises LoadError naming what is wrong."""
    known = sorted(AT_MOST | AT_LEAST)
    for name, limit in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 3, 0.4)
            raise LoadError(f"slos: {name} is not known. Did you mean {' or '.join(close or known)}?")
        if name.startswith("goodput") and not goodput:
            raise LoadError(f"slos: {name} needs goodput_limits, which say what a good request is.")
        try:
            number = float(limit)
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(limit, bool) or not 0 <= number < float("inf"):
            raise LoadError(f"slos: {name} must be a number that is not negative, not {limit}.")
    return [Slo(name, float(limit)) for name, limit in (DEFAULTS | given).items()]


def goodput_seconds(given: dict[str, float]) -> dict[str, float]:
    """The parameter goodput_limits as seconds by latency. Raises LoadError."""
    for name, limit in given.items():
        if name not in GOODPUT_LIMITS:
            raise LoadError(f"goodput_limits: {name} is not known; there are {', '.join(GOODPUT_LIMITS)}.")
        if limit <= 0:
            raise LoadError(f"goodput_limits: {name} must be above 0, not {limit:g}.")
    return {name.removesuffix("_ms"): limit / 1000 for name, limit in given.items()}


def judged(wanted: list[Slo], stage: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each objective: name, limit, value, whether it is an upper limit, and pass or fail with the reason."""
    lines = []
    for slo in wanted:
        value = slo.value(stage)
        if value is None:
            good, reason = False, f"{slo.name} was not measured"
        else:
            good = value <= slo.limit if slo.at_most else value >= slo.limit
            relation = "at most" if slo.at_most else "at least"
            reason = f"{slo.name} is {value:g}, {relation} {slo.limit:g} is wanted"
        lines.append(
            {
                "name": slo.name,
                "limit": slo.limit,
                "upper": slo.at_most,
                "value": value,
                "verdict": "pass" if good else "fail",
                "reason": reason,
            }
        )
    return lines

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this run slower than that one, or is it noise? Pure. PRIVATE to the collection.

Each run is resampled from its slices of time (see _load_histogram.resampled_quantiles). A regression is a change for the
worse by more than the tolerance whose 99 % interval does not reach zero: beyond what the runs' own ups and downs explain.
"""

from __future__ import annotations

import random
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_histogram import merged, resampled_quantiles
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import LATENCIES, latency_slices

_RESAMPLES = 400
_CONFIDENCE = 0.99
_MIN_SLICES = 6
_SHARES = {"p50": 0.5, "p95": 0.95}


def check(report: Any, name: str, workload: dict[str, Any]) -> None:
    """Raises LoadError if `report` (from the file `name`) is not one that a run of `workload` can be compared with."""
    if not isinstance(report, dict) or report.get("kind") != "LoadTestReport":
        raise LoadError(f"baseline {name} is not the JSON report of a load test.")
    if report.get("schema_version") != 1:
        raise LoadError(f"baseline {name} was written by another version of the collection: measure it again.")
    if report.get("partial"):
        raise LoadError(f"baseline {name} is a partial report ({report['partial']}): measure it again.")
    old = report.get("workload", {})
    for key, value in workload.items():
        if key != "model" and old.get(key) != value:
            raise LoadError(
                f"baseline {name} measured another workload: {key} was {old.get(key)}, now it is {value}. "
                "Measure with the same settings, or leave baseline out."
            )


def compared(baseline: dict[str, Any], current: dict[str, Any], tolerance_percent: float) -> list[dict[str, Any]]:
    """A line for each stage that both reports have and each measure: values, change with interval, and a verdict.

    `verdict` is regression, improvement, same, or inconclusive (too little was measured to tell).
    """
    lines = []
    for stage in current["stages"]:
        old = next((other for other in baseline["stages"] if other["name"] == stage["name"]), None)
        if old is None:
            continue
        for name in LATENCIES:
            for statistic, share in _SHARES.items():
                if name in old["latency_ms"] and name in stage["latency_ms"]:
                    lines.append(_latency(stage["name"], name, statistic, share, old, stage, tolerance_percent))
        for amount in ("requests", "output_tokens"):
            if old["tokens"]["output"] is not None and stage["tokens"]["output"] is not None:
                lines.append(_throughput(stage["name"], amount, old, stage, tolerance_percent))
    if not lines:
        raise LoadError("baseline has none of the stages of this run: use the same concurrency or rate.")
    return lines


def _latency(
    stage_name: str,
    name: str,
    statistic: str,
    share: float,
    old: dict[str, Any],
    new: dict[str, Any],
    tolerance_percent: float,
) -> dict[str, Any]:
    slices = [latency_slices(stage, name) for stage in (old, new)]
    values = [1000 * merged(parts).quantile(share) for parts in slices]
    samples = None
    if min(map(len, slices)) >= _MIN_SLICES:
        samples = [
            resampled_quantiles(parts, share, _RESAMPLES, random.Random(f"{number}"))
            for number, parts in enumerate(slices)
        ]
    return _line(stage_name, f"{name}_{statistic}_ms", values, samples, 1, tolerance_percent)


def _throughput(
    stage_name: str, amount: str, old: dict[str, Any], new: dict[str, Any], tolerance_percent: float
) -> dict[str, Any]:
    values = [stage[f"{amount}_per_second"] for stage in (old, new)]
    # The last slice is cut off by the run's end.
    rates = [
        [part[amount] / stage["slices"]["seconds"] for part in stage["slices"]["parts"][:-1]] for stage in (old, new)
    ]
    samples = None
    if min(map(len, rates)) >= _MIN_SLICES:
        samples = []
        for number, parts in enumerate(rates):
            generator = random.Random(f"{number}")
            samples.append([sum(generator.choices(parts, k=len(parts))) / len(parts) for _time in range(_RESAMPLES)])
    return _line(stage_name, f"{amount}_per_second", values, samples, -1, tolerance_percent)


def _line(
    stage_name: str,
    measure: str,
    values: list[float],
    samples: list[list[float]] | None,
    worse_sign: int,
    tolerance_percent: float,
) -> dict[str, Any]:
    old, new = values
    change = 100 * (new / old - 1) if old else 0.0
    low = high = None
    verdict = "inconclusive"
    if samples and old:
        changes = sorted(100 * (after / before - 1) for before, after in zip(*samples, strict=False) if before)
        if changes:
            edge = (1 - _CONFIDENCE) / 2
            low = round(changes[int(edge * len(changes))], 2)
            high = round(changes[min(len(changes) - 1, int((1 - edge) * len(changes)))], 2)
            beyond_noise = low > 0 or high < 0
            if not beyond_noise or abs(change) <= tolerance_percent:
                verdict = "same"
            else:
                verdict = "regression" if change * worse_sign > 0 else "improvement"
    return {
        "stage": stage_name,
        "measure": measure,
        "baseline": round(old, 3),
        "current": round(new, 3),
        "change_percent": round(change, 2),
        "interval_percent": None if low is None else [low, high],
        "verdict": verdict,
    }

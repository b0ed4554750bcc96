# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM's /metrics say about a stage, seen from the server. Pure. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import re
from typing import Any

# Ours: (kind, names; the first that is there). vLLM renamed some: vllm v1/metrics/loggers.py and its older versions;
# llm-d-inference-sim up to 0.10 has the prefix cache counters without _total.
_METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "running": ("sum", ("vllm:num_requests_running",)),
    "waiting": ("sum", ("vllm:num_requests_waiting",)),
    "kv_cache_percent": ("max", ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
    "preemptions": ("counter", ("vllm:num_preemptions_total",)),
    "generation_tokens": ("counter", ("vllm:generation_tokens_total",)),
    "prefix_queries": ("counter", ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_queries")),
    "prefix_hits": ("counter", ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_hits")),
    "ttft_sum_seconds": ("counter", ("vllm:time_to_first_token_seconds_sum",)),
    "ttft_count": ("counter", ("vllm:time_to_first_token_seconds_count",)),
}
_WANTED = {name for _kind, names in _METRICS.values() for name in names}
_LINE = re.compile(r"^(?P<name>[\w:]+)(?:\{.*\})? +(?P<value>[-+.\w]+)", re.MULTILINE)


def sample(text: str) -> dict[str, float]:
    """The values that matter in a page in Prometheus' text format, over all engines and models of that page."""
    found: dict[str, list[float]] = {}
    for match in _LINE.finditer(text):
        if match["name"] in _WANTED:
            with contextlib.suppress(ValueError):
                value = float(match["value"])
                found.setdefault(match["name"], []).append(value)
    values = {}
    for key, (kind, names) in _METRICS.items():
        numbers = next((found[name] for name in names if name in found), None)
        if numbers is not None:
            values[key] = max(numbers) if kind == "max" else sum(numbers)
    if "kv_cache_percent" in values:
        # Despite its name it is a share.
        values["kv_cache_percent"] *= 100
    return values


def total(text: str, name: str) -> float | None:
    """The sum of one metric's values in a page, over all its labels; None if it is not there."""
    values = [float(match["value"]) for match in _LINE.finditer(text) if match["name"] == name]
    return sum(values) if values else None


def together(pages: list[dict[str, float]]) -> dict[str, float]:
    """One sample of several servers."""
    values: dict[str, float] = {}
    for key, (kind, _names) in _METRICS.items():
        numbers = [page[key] for page in pages if key in page]
        if numbers:
            values[key] = max(numbers) if kind == "max" else sum(numbers)
    return values


def summary(
    samples: list[tuple[float, dict[str, float]]], client_ttft_mean_seconds: float | None
) -> dict[str, Any] | None:
    """The part of a stage's report from samples (seconds since its begin, values), None if there are too few."""
    samples = [(moment, values) for moment, values in samples if values]
    if len(samples) < 2:
        return None
    (_first_moment, first), (_last_moment, last) = samples[0], samples[-1]
    wall = samples[-1][0] - samples[0][0]

    def grown(key: str) -> float | None:
        # A restarted server counts from 0 again.
        if key not in first or key not in last or last[key] < first[key]:
            return None
        return last[key] - first[key]

    def gauge(key: str) -> dict[str, float] | None:
        # The first and the last look are before and after the load.
        numbers = [values[key] for _moment, values in samples[1:-1] or samples if key in values]
        return {"mean": round(sum(numbers) / len(numbers), 3), "max": round(max(numbers), 3)} if numbers else None

    def ratio(part: float | None, whole: float | None, factor: float) -> float | None:
        return round(factor * part / whole, 3) if part is not None and whole else None

    ttft = ratio(grown("ttft_sum_seconds"), grown("ttft_count"), 1000)
    excess = None
    if ttft is not None and client_ttft_mean_seconds is not None:
        excess = round(1000 * client_ttft_mean_seconds - ttft, 3)
    return {
        "running": gauge("running"),
        "waiting": gauge("waiting"),
        "kv_cache_percent": gauge("kv_cache_percent"),
        "preemptions": grown("preemptions"),
        "generation_tokens_per_second": ratio(grown("generation_tokens"), wall, 1),
        "prefix_cache_hit_percent": ratio(grown("prefix_hits"), grown("prefix_queries"), 100),
        "ttft_mean_ms": ttft,
        "ttft_outside_server_ms": excess,
        "timeline": [
            {
                "seconds": round(moment, 2),
                **{key: round(values[key], 3) for key in ("running", "waiting", "kv_cache_percent") if key in values},
            }
            for moment, values in samples
        ],
    }

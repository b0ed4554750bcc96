# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_baseline import check, compared
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import Outcome, Recorder, numbers


def run(
    seed: int, factor: float = 1.0, seconds: float = 20.0, mood: Callable[[float], float] = lambda moment: 1.0
) -> dict[str, Any]:
    """A report of 20 requests/s with about 0.1 s to the first token, times `factor` and `mood`."""
    generator = random.Random(seed)
    recorder = Recorder(0.0, {})
    moment = 0.0
    while moment < seconds:
        first = generator.lognormvariate(-2.3, 0.3) * factor * mood(moment)
        recorder.add(
            Outcome(moment, moment, moment + first + 0.5, moment + first, moment + first + 0.4, [0.04] * 10, 11, 9, 11)
        )
        moment += generator.expovariate(20)
    return {"stages": [{"name": "20 requests/s", **numbers(recorder)}]}


def verdict(lines: list[dict[str, Any]], measure: str) -> str:
    [line] = [line for line in lines if line["measure"] == measure]
    return str(line["verdict"])


def test_a_run_that_is_a_fifth_slower_is_a_regression() -> None:
    lines = compared(run(1), run(2, factor=1.2), 5)
    assert verdict(lines, "ttft_p50_ms") == "regression"
    assert verdict(lines, "ttft_p95_ms") == "regression"
    [line] = [line for line in lines if line["measure"] == "ttft_p50_ms"]
    low, high = line["interval_percent"]
    assert 0 < low <= line["change_percent"] <= high


def test_a_faster_run_is_an_improvement() -> None:
    assert verdict(compared(run(1), run(2, factor=0.7), 5), "ttft_p50_ms") == "improvement"


def test_noise_is_no_regression() -> None:
    alarms = [
        line
        for seed in range(8)
        for line in compared(run(seed), run(seed + 1000), 5)
        if line["verdict"] == "regression"
    ]
    # 8 comparisons of 10 measures of the same server.
    assert len(alarms) <= 1


def test_a_moody_server_needs_a_bigger_change_to_be_called_slower() -> None:
    # Every other second twice as slow: whole slices differ, and the median hangs between two humps.
    def mood(moment: float) -> float:
        return 2.0 if int(moment) % 2 else 1.0

    lines = compared(run(1, mood=mood), run(2, factor=1.08, mood=mood), 5)
    assert verdict(lines, "ttft_p50_ms") == "same"
    assert verdict(compared(run(1), run(2, factor=1.15), 5), "ttft_p50_ms") == "regression"


def test_a_change_within_the_tolerance_is_the_same_however_certain() -> None:
    assert verdict(compared(run(1), run(2, factor=1.2), 50), "ttft_p50_ms") == "same"


def test_too_short_a_run_is_inconclusive() -> None:
    assert verdict(compared(run(1, seconds=0.3), run(2, factor=3, seconds=0.3), 5), "ttft_p50_ms") == "inconclusive"


def test_half_the_throughput_is_a_regression() -> None:
    old, new = run(1), run(1)
    stage = new["stages"][0]
    stage["requests_per_second"] /= 2
    for part in stage["slices"]["parts"]:
        part["requests"] /= 2
    lines = compared(old, new, 5)
    assert verdict(lines, "requests_per_second") == "regression"
    assert verdict(lines, "output_tokens_per_second") == "same"


def test_runs_without_a_common_stage_cannot_be_compared() -> None:
    other = run(2)
    other["stages"][0]["name"] = "5 concurrent"
    with pytest.raises(LoadError, match="none of the stages"):
        compared(run(1), other, 5)


WORKLOAD = {"api": "chat", "model": "new", "max_tokens": 100}
REPORT = {"kind": "LoadTestReport", "schema_version": 1, "partial": None, "workload": {**WORKLOAD, "model": "old"}}


def test_another_model_under_the_same_workload_can_be_compared() -> None:
    check(REPORT, "b.json", WORKLOAD)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ([], "is not the JSON report of a load test"),
        ({"kind": "Pod"}, "is not the JSON report of a load test"),
        ({**REPORT, "schema_version": 2}, "another version of the collection"),
        ({**REPORT, "partial": "interrupted"}, "is a partial report (interrupted)"),
        ({**REPORT, "workload": {**WORKLOAD, "max_tokens": 5}}, "max_tokens was 5, now it is 100"),
    ],
)
def test_what_cannot_be_a_baseline_is_one_sentence(report: Any, said: str) -> None:
    with pytest.raises(LoadError) as error:
        check(report, "b.json", WORKLOAD)
    assert said in str(error.value)
    assert "b.json" in str(error.value)

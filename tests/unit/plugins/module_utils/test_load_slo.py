# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_slo import goodput_seconds, judged, slos

STAGE: dict[str, Any] = {
    "latency_ms": {"ttft": {"mean": 90.0, "p50": 80.0, "p90": 100.0, "p95": 120.0, "p99": 300.0, "max": 400.0}},
    "error_rate_percent": 0.0,
    "truncated_streams": 0,
    "requests_per_second": 10.0,
    "output_tokens_per_second": None,
    "goodput": {"percent": 90.0, "requests_per_second": 9.0},
}


def verdicts(given: dict[str, Any]) -> dict[str, str]:
    return {line["name"]: line["verdict"] for line in judged(slos(given, True), STAGE)}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ttft_p95_ms", 120, 119.9),
        ("ttft_max_ms", 500, 399),
        ("requests_per_second", 10, 10.1),
        ("goodput_percent", 90, 95),
        ("goodput_requests_per_second", 9, 9.5),
    ],
)
def test_an_objective_is_kept_up_to_its_limit(name: str, good: float, bad: float) -> None:
    assert verdicts({name: good})[name] == "pass"
    assert verdicts({name: bad})[name] == "fail"


def test_errors_and_truncated_streams_are_not_accepted_unless_said_so() -> None:
    broken = {**STAGE, "error_rate_percent": 1.0, "truncated_streams": 1}
    assert [line["verdict"] for line in judged(slos({}, False), broken)] == ["fail", "fail"]
    tolerant = slos({"error_rate_percent": 2, "truncated_streams": 1}, False)
    assert [line["verdict"] for line in judged(tolerant, broken)] == ["pass", "pass"]


def test_what_was_not_measured_is_not_kept() -> None:
    [line] = [line for line in judged(slos({"tpot_p95_ms": 1e9}, False), STAGE) if line["name"] == "tpot_p95_ms"]
    assert (line["verdict"], line["reason"]) == ("fail", "tpot_p95_ms was not measured")
    assert verdicts({"output_tokens_per_second": 0})["output_tokens_per_second"] == "fail"


def test_a_line_says_what_is_wanted_and_what_is() -> None:
    [line] = [line for line in judged(slos({"ttft_p95_ms": 100}, False), STAGE) if line["name"] == "ttft_p95_ms"]
    assert line["reason"] == "ttft_p95_ms is 120, at most 100 is wanted"
    assert (line["value"], line["limit"], line["upper"]) == (120, 100, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ttft_p96_ms": 1}, "Did you mean ttft_p9"),
        ({"latency": 1}, "slos: latency is not known. Did you mean "),
        ({"ttft_p95_ms": "fast"}, "slos: ttft_p95_ms must be a number that is not negative, not fast."),
        ({"ttft_p95_ms": -1}, "must be a number"),
        ({"ttft_p95_ms": float("inf")}, "must be a number"),
        ({"ttft_p95_ms": True}, "must be a number"),
        ({"goodput_percent": 90}, "needs goodput_limits"),
    ],
)
def test_a_wrong_objective_is_one_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError) as error:
        slos(given, False)
    assert said in str(error.value)


def test_goodput_limits_are_checked() -> None:
    assert goodput_seconds({"ttft_ms": 500, "tpot_ms": 50}) == {"ttft": 0.5, "tpot": 0.05}
    with pytest.raises(LoadError, match="goodput_limits: itl_ms is not known"):
        goodput_seconds({"itl_ms": 5})
    with pytest.raises(LoadError, match="must be above 0"):
        goodput_seconds({"ttft_ms": 0})

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_histogram import Histogram
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import (
    Health,
    Outcome,
    Recorder,
    client,
    latency_slices,
    numbers,
)


def outcome(start: float = 0.0, **changes: object) -> Outcome:
    """A good answer: 0.5 s to the first of 11 tokens, then one each 0.1 s, end at 1.5 s."""
    values = {
        "start": start,
        "sent": start,
        "first_token": start + 0.5,
        "last_token": start + 1.5,
        "end": start + 1.5,
        "gaps": [0.1] * 10,
        "token_events": 11,
        "input_tokens": 20,
        "output_tokens": 11,
        "finish_reason": "stop",
        **changes,
    }
    return Outcome(**values)  # type: ignore[arg-type]


def recorded(*outcomes: Outcome, goodput: dict[str, float] | None = None) -> Recorder:
    recorder = Recorder(0.0, goodput or {})
    for one in outcomes:
        recorder.add(one)
    return recorder


def test_latencies_are_defined_as_the_field_does() -> None:
    latency = numbers(recorded(outcome()))["latency_ms"]
    assert latency["ttft"]["mean"] == 500
    assert latency["tpot"]["mean"] == pytest.approx(100)
    assert latency["itl"]["mean"] == pytest.approx(100)
    assert latency["itl"]["count"] == 10
    assert latency["e2e"]["mean"] == 1500


def test_time_per_token_is_per_token_however_many_come_in_one_event() -> None:
    stage = numbers(recorded(outcome(token_events=5, gaps=[0.25] * 4, output_tokens=11)))
    assert stage["latency_ms"]["tpot"]["mean"] == pytest.approx(100)
    assert stage["latency_ms"]["itl"]["mean"] == pytest.approx(250)
    assert stage["tokens"]["per_event"] == 2.2


def test_events_that_came_together_are_0_apart() -> None:
    itl = numbers(recorded(outcome(token_events=9, gaps=[0.25, 0.5], output_tokens=9)))["latency_ms"]["itl"]
    assert (itl["count"], itl["max"]) == (8, 500)
    assert itl["p50"] == pytest.approx(0, abs=0.001)
    assert itl["mean"] == pytest.approx(750 / 8, rel=1e-3)


def test_throughput_is_over_wall_time() -> None:
    # Two answers at the same time, each 1.5 s: over the sum of latencies it would be half.
    stage = numbers(recorded(outcome(), outcome()))
    assert stage["wall_seconds"] == 1.5
    assert stage["requests_per_second"] == pytest.approx(2 / 1.5, abs=0.001)
    assert stage["output_tokens_per_second"] == pytest.approx(22 / 1.5, abs=0.001)


def test_latency_counts_from_when_a_request_was_due() -> None:
    stage = numbers(recorded(outcome(sent=0.4)))
    assert stage["latency_ms"]["ttft"]["mean"] == 500


def test_a_failed_request_leaves_no_latency_but_counts() -> None:
    stage = numbers(
        recorded(outcome(), outcome(error="truncated", message="cut"), outcome(error="http_503", message="no"))
    )
    assert stage["requests"] == {"sent": 3, "completed": 1, "failed": 2}
    assert stage["errors"] == {"http_503": 1, "truncated": 1}
    assert stage["error_messages"] == {"http_503": "no", "truncated": "cut"}
    assert stage["truncated_streams"] == 1
    assert stage["error_rate_percent"] == pytest.approx(66.667)
    assert stage["latency_ms"]["e2e"]["count"] == 1


def test_tokens_that_nobody_counted_are_unknown_not_zero() -> None:
    stage = numbers(recorded(outcome(input_tokens=-1, output_tokens=-1)))
    assert stage["output_tokens_per_second"] is None
    assert stage["tokens"]["output"] is None
    assert stage["tokens"]["requests_without_count"] == 1
    assert "tpot" not in stage["latency_ms"]


def test_goodput_counts_requests_that_keep_every_limit() -> None:
    limits = {"ttft": 0.6, "tpot": 0.2, "e2e": 2.0}
    late = outcome(first_token=0.7)
    slow = outcome(last_token=9.0, end=9.0)
    goodput = numbers(recorded(outcome(), late, slow, outcome(error="timeout"), goodput=limits))["goodput"]
    assert goodput["percent"] == 25
    assert goodput["requests_per_second"] == pytest.approx(1 / 9, abs=0.001)
    assert goodput["limits_ms"] == {"e2e": 2000, "tpot": 200, "ttft": 600}


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    stage = numbers(recorded(outcome(output_tokens=1, token_events=1, gaps=[], last_token=0.5)))
    assert "tpot" not in stage["latency_ms"]
    assert "itl" not in stage["latency_ms"]


def test_nothing_recorded_divides_by_nothing() -> None:
    stage = numbers(recorded())
    assert (stage["requests_per_second"], stage["error_rate_percent"], stage["latency_ms"]) == (0.0, 0.0, {})


def test_the_number_of_slices_stays_small_and_nothing_is_lost() -> None:
    recorder = recorded(*(outcome(start=second / 10) for second in range(6000)))
    stage = numbers(recorder)
    assert len(recorder.slices) <= 48
    assert sum(part["requests"] for part in stage["slices"]["parts"]) == 6000
    assert sum(histogram.count for histogram in latency_slices(stage, "ttft")) == 6000
    assert (recorder.slice_seconds / 0.125).is_integer()


def test_processes_are_added_up_whatever_their_slices_are() -> None:
    apart = [recorded(*(outcome(start=second) for second in range(60))), recorded(outcome(error="tls", message="x"))]
    apart[0].merge(apart[1])
    together = recorded(*(outcome(start=second) for second in range(60)), outcome(error="tls", message="x"))
    # The sums of durations differ in the last digit.
    for recorder in (apart[0], together):
        for part in recorder.slices.values():
            for histogram in part.latencies.values():
                histogram.total = round(histogram.total, 6)
    assert numbers(apart[0]) == numbers(together)


def test_a_client_that_was_the_limit_says_so() -> None:
    lag = Histogram()
    lag.record(0.001)
    free = client([Health(0.4, lag)], recorded(outcome()), None)
    assert (free["was_the_limit"], free["kept_schedule"]) == (False, None)
    busy = client([Health(0.4, lag), Health(0.97, lag)], recorded(outcome()), None)
    assert busy["reasons"] == ["a process of it used 97 % of a core"]
    late = client([Health(0.4, lag)], recorded(outcome(sent=0.5)), 10.0)
    assert (late["was_the_limit"], late["kept_schedule"]) == (True, False)
    assert "after the due time" in late["reasons"][0]
    lag.record(0.3)
    assert client([Health(0.1, lag)], recorded(outcome()), None)["reasons"] == ["its event loop was 300 ms late (p99)"]


def test_the_rate_that_was_sent_is_counted_in_intervals() -> None:
    even = recorded(*(outcome(start=number / 10) for number in range(11)))
    assert client([Health()], even, 10.0)["sent_per_second"] == pytest.approx(10)

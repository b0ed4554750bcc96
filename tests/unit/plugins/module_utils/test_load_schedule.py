# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import statistics
from itertools import islice, pairwise

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import Stage, arrivals, next_rate, stages


def due(stage: Stage, number: int, seed: int = 0) -> list[float]:
    return [moment for _number, moment in islice(arrivals(stage, seed), number)]


def test_constant_arrivals_are_even() -> None:
    assert due(Stage(rate=4, arrival="constant"), 4) == [0, 0.25, 0.5, 0.75]


def test_bursts_come_together_and_keep_the_rate() -> None:
    assert due(Stage(rate=10, arrival="burst", burst_size=3), 7) == pytest.approx([0, 0, 0, 0.3, 0.3, 0.3, 0.6])


def test_poisson_gaps_are_exponential() -> None:
    moments = due(Stage(rate=50), 20_000)
    gaps = [after - before for before, after in pairwise(moments)]
    assert statistics.mean(gaps) == pytest.approx(0.02, rel=0.03)
    # Mean and standard deviation of an exponential distribution are the same.
    assert statistics.stdev(gaps) == pytest.approx(0.02, rel=0.05)


def test_the_seed_decides_the_arrivals() -> None:
    assert due(Stage(rate=5), 20, seed=1) == due(Stage(rate=5), 20, seed=1) != due(Stage(rate=5), 20, seed=2)


def test_a_stage_ends_at_its_requests_or_its_duration() -> None:
    assert len(list(arrivals(Stage(rate=10, arrival="constant", requests=7), 0))) == 7
    assert len(list(arrivals(Stage(rate=10, arrival="constant", duration_seconds=2), 0))) == 20
    assert len(list(arrivals(Stage(rate=10, arrival="constant", requests=7, duration_seconds=0.3), 0))) == 3


def test_each_level_is_a_stage() -> None:
    assert [stage.name for stage in stages([1, 8], None, 10, None)] == ["1 concurrent", "8 concurrent"]
    assert [stage.name for stage in stages(None, [0.5, 20], 10, None)] == ["0.5 requests/s", "20 requests/s"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], None, 1, None), "concurrency is an empty list"),
        (([0], None, 1, None), "concurrency must be from 1 to 20000, not 0"),
        ((None, [], 1, None), "rate is an empty list"),
        ((None, [0], 1, None), "rate must be above 0 and at most 50000 requests per second, not 0"),
        ((None, [1e9], 1, None), "not 1e+09"),
        ((None, [float("nan")], 1, None), "not nan"),
        (([1], None, 0, None), "requests must be at least 1, not 0"),
        (([1], None, None, -1), "duration_seconds must be above 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(LoadError) as error:
        stages(*arguments)  # type: ignore[arg-type]
    assert said in str(error.value)


@pytest.mark.parametrize("limit", [0.7, 1.0, 3.3, 17.0, 99.0, 128.0])
def test_the_search_finds_the_highest_passing_rate(limit: float) -> None:
    tried: list[tuple[float, bool]] = []
    while (rate := next_rate(tried, 1.0, 1000.0, 0.1)) is not None:
        tried.append((rate, rate <= limit))
    best = max(rate for rate, good in tried if good)
    assert limit / 1.1 <= best <= limit
    assert len(tried) <= 14


def test_the_search_stops_at_its_maximum_and_gives_up_far_below_its_start() -> None:
    tried: list[tuple[float, bool]] = []
    while (rate := next_rate(tried, 10.0, 35.0, 0.1)) is not None:
        tried.append((rate, True))
    assert [rate for rate, _good in tried] == [10, 20, 35]
    tried = []
    while (rate := next_rate(tried, 10.0, 35.0, 0.1)) is not None:
        tried.append((rate, False))
    assert min(rate for rate, _good in tried) == 0.625


def test_a_noisy_server_does_not_keep_the_search_going() -> None:
    tried = [(10.0, True), (20.0, False), (15.0, True), (17.5, False), (16.25, True)]
    assert next_rate(tried, 10.0, 100.0, 0.1) is None

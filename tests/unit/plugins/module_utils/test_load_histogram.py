# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import random

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_histogram import (
    Histogram,
    merged,
    middle,
    resampled_quantiles,
)


def of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
def test_a_quantile_is_within_half_a_percent(share: float) -> None:
    generator = random.Random(1)
    values = sorted(generator.lognormvariate(-3, 1.5) for _value in range(20_000))
    exact = values[max(0, -int(-share * len(values) // 1) - 1)]
    assert of(values).quantile(share) == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize("microseconds", [0, 1, 127, 128, 255, 256, 257, 511, 512, 10**6, 10**9, 10**11])
def test_every_duration_has_a_bucket_around_it(microseconds: int) -> None:
    [bucket] = of([microseconds / 1e6 + 1e-8]).buckets
    assert middle(bucket) * 1e6 == pytest.approx(microseconds, rel=0.004, abs=0.6)


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    generator = random.Random(2)
    histogram = of([generator.uniform(0.001, 100) for _value in range(50_000)])
    assert histogram.count == 50_000
    assert len(histogram.buckets) < 2_300


def test_nothing_recorded_is_zero_everywhere() -> None:
    empty = Histogram()
    assert (empty.mean, empty.quantile(0.5), empty.maximum, empty.share_within(1)) == (0, 0, 0, 0)
    assert Histogram.from_dict(empty.to_dict()).to_dict() == empty.to_dict()


def test_one_value_is_every_quantile_of_itself() -> None:
    assert {of([0.1234]).quantile(share) for share in (0.0, 0.5, 1.0)} == {0.1234}


def test_mean_minimum_and_maximum_are_exact() -> None:
    histogram = of([0.1, 0.2, 0.6])
    assert (histogram.minimum, histogram.maximum) == (0.1, 0.6)
    assert histogram.mean == pytest.approx(0.3)


def test_merging_is_recording_together() -> None:
    left, right = [0.1, 0.2], [0.3, 5.0]
    assert merged([of(left), of(right)]).to_dict() == of(left + right).to_dict()


def test_a_histogram_survives_json() -> None:
    histogram = of([0.001, 0.5, 0.5, 30.0])
    again = Histogram.from_dict(json.loads(json.dumps(histogram.to_dict())))
    assert again.to_dict() == histogram.to_dict()
    assert again.quantile(0.5) == histogram.quantile(0.5)


def test_the_share_within_a_limit() -> None:
    assert of([0.1, 0.2, 0.3, 0.4]).share_within(0.25) == 0.5


def test_a_negative_duration_counts_as_none() -> None:
    assert of([-0.001]).buckets == {0: 1}


def test_resampling_covers_the_value_and_widens_with_dependent_slices() -> None:
    generator = random.Random(3)
    steady = [of([generator.gauss(0.1, 0.01) for _value in range(100)]) for _slice in range(20)]
    # The same values, but whole slices are slow or fast together.
    moody = [of([generator.gauss(centre, 0.005) for _value in range(100)]) for centre in (0.09, 0.11) * 10]
    widths = []
    for slices in (steady, moody):
        found = sorted(resampled_quantiles(slices, 0.5, 200, random.Random(4)))
        assert found[0] <= merged(slices).quantile(0.5) <= found[-1]
        widths.append(found[-5] - found[5])
    assert widths[1] > 3 * widths[0]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _kserve_rules
from tools.kserve_cases import CASES, Case, service


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule(case: Case) -> None:
    """tests/integration/test_kserve_rules.py asks KServe the same."""
    assert bool(_kserve_rules.problems(case.manifest)) == case.refused, _kserve_rules.problems(case.manifest)


def test_every_rule_has_a_case_that_it_alone_refuses() -> None:
    refusing = [[rule.source for rule in _kserve_rules.RULES if list(rule.check(case.manifest))] for case in CASES]
    alone = {sources[0] for sources in refusing if len(sources) == 1}
    untested = {rule.source for rule in _kserve_rules.RULES} - alone
    # Need fields that KServe's other rules or a feature of the cluster also speak about.
    assert untested <= {"validateCollocationStorageURI", "validateConfidential"}


def test_all_problems_are_told_at_once() -> None:
    bad = service({"minReplicas": 3, "maxReplicas": 2, "containerConcurrency": -1}, name="1")
    assert len(_kserve_rules.problems(bad)) == 3


def test_guide_s_own_service_is_refused_with_a_way_out() -> None:
    guide = service({"scaleMetric": "concurrency", "scaleTarget": 60}, class_="hpa", mode="RawDeployment")
    assert _kserve_rules.problems(guide) == [
        "predictor: scale_metric: concurrency does not work with autoscaler_class: hpa (cpu and memory do). "
        "Use autoscaler_class: keda for metrics of the engine."
    ]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _kserve_rules
from tools.kserve_cases import CASES, CHANGES, SERVED, Case, Change, service


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule(case: Case) -> None:
    """tests/integration/test_kserve_rules.py asks KServe the same."""
    assert bool(_kserve_rules.problems(case.manifest)) == case.refused, _kserve_rules.problems(case.manifest)


def test_every_rule_has_a_case_that_it_alone_refuses() -> None:
    refusing = [[rule.source for rule in _kserve_rules.RULES if list(rule.check(case.manifest))] for case in CASES]
    alone = {sources[0] for sources in refusing if len(sources) == 1}
    untested = {rule.source for rule in _kserve_rules.RULES} - alone
    # Needs fields that another rule also speaks about.
    assert untested <= {"validateCollocationStorageURI"}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_update_rule(change: Change) -> None:
    served = {**SERVED, "status": {"deploymentMode": "Standard"}}
    found = _kserve_rules.problems(change.wanted, served)
    assert bool(found) == change.refused, found


def test_mode_may_be_set_before_kserve_has_seen_the_service() -> None:
    assert _kserve_rules.problems(service(mode="Knative"), service()) == []


def test_nothing_that_depends_on_the_mode_is_refused_where_the_cluster_decides_on_it() -> None:
    undecided = service({"scaleMetric": "cpu", "deploymentStrategy": {"type": "Recreate"}})
    undecided["metadata"]["annotations"] = {}
    assert _kserve_rules.problems(undecided) == []


def test_all_problems_are_told_at_once() -> None:
    bad = service({"minReplicas": 3, "maxReplicas": 2, "containerConcurrency": -1}, name="1")
    assert len(_kserve_rules.problems(bad)) == 3


def test_guide_s_own_service_is_refused_with_a_way_out() -> None:
    guide = service({"scaleMetric": "concurrency", "scaleTarget": 60}, class_="hpa", mode="RawDeployment")
    assert _kserve_rules.problems(guide) == [
        "predictor: scale_metric: concurrency does not work with autoscaler_class: hpa (cpu and memory do). "
        "Use autoscaler_class: keda for metrics of the engine."
    ]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _preflight
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import FAIL, PASS, SKIP, WARN, Finding

GOOD = Finding("helm", "control-node", PASS, "Helm 4.0.0 is there.")
BAD = Finding("quota", "quota", FAIL, "Too little", "Raise it.")
ODD = Finding("image", "images", WARN, "Nobody knows", "Try it.", subject="vllm")
UNSEEN = Finding("crds", "crds", SKIP, "Not looked at: forbidden")


def test_everything_that_is_wrong_is_named_not_only_the_first() -> None:
    worse = Finding("s3", "storage", FAIL, "No bucket", "Make it.")
    assert _preflight.serious([BAD, worse, ODD], "fail") == ["Too little. Raise it.", "No bucket. Make it."]


@pytest.mark.parametrize(
    ("fail_on", "expected"), [("fail", [BAD]), ("warn", [BAD, ODD, UNSEEN]), ("never", [])], ids=str
)
def test_it_says_when_to_fail(fail_on: str, expected: list[Finding]) -> None:
    found = _preflight.serious([GOOD, BAD, ODD, UNSEEN], fail_on)
    assert found == [_preflight.sentence(finding) for finding in expected]


def test_skipped_never_counts_as_passed() -> None:
    assert _preflight.summary([GOOD, UNSEEN])["status"] == SKIP
    assert _preflight.summary([GOOD, UNSEEN]) | {"passed": 1, "skipped": 1} == _preflight.summary([GOOD, UNSEEN])


def test_the_table_has_a_line_for_each_fault_and_one_for_what_passed() -> None:
    second = Finding("python-package", "control-node", PASS, "there", subject="boto3")
    lines = _preflight.table([GOOD, second, BAD, ODD])
    assert lines == [
        "PASS | control-node | helm, boto3",
        "WARN | images       | Nobody knows. Try it.",
        "FAIL | quota        | Too little. Raise it.",
    ]


def test_ansible_prints_the_table_without_escapes() -> None:
    [line] = _preflight.table([Finding("s3", "storage", FAIL, 'It said "no"')])
    assert json.dumps(line) == f'"{line}"'


def test_findings_come_by_category_and_the_worst_first() -> None:
    second = Finding("python-package", "control-node", FAIL, "missing", subject="boto3")
    assert _preflight.ordered([BAD, GOOD, second]) == [second, GOOD, BAD]


@pytest.mark.parametrize(
    ("output", "status", "words"),
    [
        ("v4.2.4+g1234", PASS, "Helm 4.2.4"),
        ("v3.19.0+g1", FAIL, "Helm 3.19.0 at helm is too old"),
        (None, FAIL, "Helm was not found as 'helm'"),
        ("oops", FAIL, "Helm was not found as 'helm'"),
    ],
)
def test_helm(output: str | None, status: str, words: str) -> None:
    found = _preflight.of_helm("helm", output, "4.0.0")
    assert (found.status, words in found.message) == (status, True)
    assert bool(found.remediation) == (status == FAIL)


def test_python_packages() -> None:
    needed = {"boto3": "1.34.0", "kubernetes": "28.1.0", "PyYAML": "6.0"}
    found = _preflight.of_packages("/python", {"boto3": "1.9.99", "pyyaml": "6.0.1"}, needed)
    assert [(finding.subject, finding.status) for finding in found] == [
        ("boto3", FAIL),
        ("kubernetes", FAIL),
        ("PyYAML", PASS),
    ]
    assert found[1].remediation == "Install kubernetes>=28.1.0 for /python."


def test_a_misspelt_variable_is_named_with_the_right_one() -> None:
    unknown = [{"name": "kserve_domian", "nearest": "kserve_domain"}, {"name": "istio_x", "nearest": ""}]
    wrong, odd = _preflight.of_variables(unknown)
    assert (wrong.status, odd.status) == (FAIL, WARN)
    assert "did you mean kserve_domain?" in wrong.message
    assert [finding.status for finding in _preflight.of_variables([])] == [PASS]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("v1.35.2-gke.1269001", (1, 35, 2)), ("1.33", (1, 33)), ("v1.31.9-eks-1a2b3c4", (1, 31, 9)), ("", ())],
)
def test_versions_are_compared_by_their_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert _preflight.parts(text) == numbers

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of NetworkPolicies that the tests judge with, and what it says about the guide's policy."""

from __future__ import annotations

from typing import Any

import pytest

from tools.network_policy import Peer, allowed, selects

ENGINE = Peer("model-serving", {"serving.kserve.io/inferenceservice": "llama-2-70b"})


def policy(pods: dict[str, Any], **directions: Any) -> dict[str, Any]:
    types = [name.capitalize() for name in directions]
    return {
        "metadata": {"namespace": "model-serving"},
        "spec": {"podSelector": pods, "policyTypes": types, **directions},
    }


def test_without_a_policy_everything_is_allowed_and_an_empty_one_denies() -> None:
    caller = Peer("default", {})
    assert allowed([], caller, ENGINE, 8080)
    assert not allowed([policy({}, ingress=[])], caller, ENGINE, 8080)
    assert allowed([policy({"matchLabels": {"app": "other"}}, ingress=[])], caller, ENGINE, 8080)
    assert not allowed([policy({}, egress=[])], ENGINE, caller, 80)


def test_policies_add_up() -> None:
    both = [policy({}, ingress=[]), policy({}, ingress=[{"from": [{"podSelector": {}}]}])]
    assert allowed(both, Peer("model-serving", {}), ENGINE, 1)
    assert not allowed(both, Peer("default", {}), ENGINE, 1)


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["a"], True),
        ("In", ["b"], False),
        ("NotIn", ["a"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_expressions_of_a_selector(operator: str, values: list[str], expected: bool) -> None:
    assert selects({"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}, {"k": "a"}) is expected


def test_the_policy_of_the_guide_lets_nobody_in_by_its_namespace_and_the_engine_not_out() -> None:
    """Its namespace label `name` exists nowhere, DNS is TCP only, and namespaceSelector means pods: S3 is outside."""
    guide = policy(
        {"matchLabels": ENGINE.labels},
        ingress=[
            {
                "from": [{"namespaceSelector": {"matchLabels": {"name": "istio-system"}}}],
                "ports": [{"protocol": "TCP", "port": 8080}],
            }
        ],
        egress=[
            {
                "to": [{"namespaceSelector": {}}],
                "ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 53}],
            }
        ],
    )
    assert not allowed([guide], Peer("istio-system", {}), ENGINE, 8080)
    assert not allowed([guide], ENGINE, Peer("kube-system", {"k8s-app": "kube-dns"}), 53, "UDP")
    assert not allowed([guide], ENGINE, Peer(address="198.51.100.1"), 443)

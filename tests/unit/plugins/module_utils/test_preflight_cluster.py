# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _preflight_cluster as judge
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import FAIL, PASS, SKIP, WARN, Finding

TABLE: dict[str, Any] = {
    "istio": {"version": "1.30.4", "kubernetes": {"minimum": "1.32", "maximum": "1.36"}, "eol": "2026-11-30"},
    "kserve": {"version": "v0.20.0", "kubernetes": {"minimum": "1.32"}, "eol": None},
    "vllm": {"version": "v0.32.0"},
}


def by_id(findings: list[Finding], name: str) -> dict[str, str]:
    return {found.subject: found.status for found in findings if found.id == name}


@pytest.mark.parametrize(
    ("version", "istio", "kserve"),
    [
        ("v1.35.4", PASS, PASS),
        ("v1.31.9-eks-1a2b", FAIL, FAIL),
        ("v1.36.0", PASS, PASS),
        # 1.9 is older than 1.32, not newer.
        ("v1.9.9", FAIL, FAIL),
        ("v1.37.0", FAIL, PASS),
    ],
)
def test_kubernetes_must_be_in_the_range_of_every_component(version: str, istio: str, kserve: str) -> None:
    found = judge.of_kubernetes(version, TABLE, "2026-11-01", False)
    assert by_id(found, "kubernetes-version") == {"istio": istio, "kserve": kserve}
    assert by_id(found, "end-of-life") == {}


def test_an_unsupported_version_can_be_allowed() -> None:
    found = judge.of_kubernetes("v1.37.0", TABLE, "2026-11-01", True)
    assert by_id(found, "kubernetes-version")["istio"] == WARN


def test_the_end_of_life_is_a_warning_from_the_day_after() -> None:
    assert by_id(judge.of_kubernetes("v1.35.4", TABLE, "2026-11-30", False), "end-of-life") == {}
    assert by_id(judge.of_kubernetes("v1.35.4", TABLE, "2026-12-01", False), "end-of-life") == {"istio": WARN}


# Permissions

RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["nodes", "pods/log"], "verbs": ["list"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create", "patch"], "namespaces": ["a", "b"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create"], "namespaces": ["c"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "without": "free GPUs are not known"},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "namespaces": ["models"]},
]
CREATE = judge.Right("create", "apps", "deployments")
PATCH = judge.Right("patch", "apps", "deployments")
LIST_PODS = judge.Right("list", "", "pods")


def test_each_right_is_needed_once_and_in_all_places_that_a_rule_names() -> None:
    needed = judge.needs(RULES)
    assert needed[CREATE] == {"a": "", "b": "", "c": ""}
    assert needed[PATCH] == {"a": "", "b": ""}
    assert needed[judge.Right("list", "", "pods", "log")] == {None: ""}
    assert needed[LIST_PODS] == {None: "free GPUs are not known", "models": ""}
    assert len(needed) == 5


def test_who_cannot_do_without_a_right_decides() -> None:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    for rules in ([*RULES, rule], [rule, *RULES]):
        assert judge.needs(rules)[LIST_PODS][None] == ""


def test_a_right_is_asked_for_as_the_api_names_it() -> None:
    assert CREATE.attributes() == {"verb": "create", "group": "apps", "resource": "deployments"}
    log = judge.Right("get", "", "pods", "log")
    assert log.attributes("models") == {
        "verb": "get",
        "resource": "pods",
        "subresource": "log",
        "namespace": "models",
    }


def test_all_missing_permissions_are_one_sentence() -> None:
    refused = [(CREATE, "a"), (PATCH, "a"), (judge.Right("list", "", "pods", "log"), None)]
    [found] = judge.of_permissions(RULES, refused)
    assert found.status == FAIL
    assert found.message.endswith("create, patch deployments.apps in a; list pods/log")
    assert found.evidence["refused"][0] == CREATE.attributes("a")


def test_permissions_that_are_all_there_pass() -> None:
    [found] = judge.of_permissions(RULES, [])
    assert (found.status, found.evidence["asked"], found.evidence["rules"]) == (PASS, 5, RULES)


def test_what_a_play_can_do_without_is_a_warning_that_says_what_is_lost() -> None:
    passed, warned = judge.of_permissions(RULES, [(LIST_PODS, None)])
    assert (passed.status, warned.status) == (PASS, WARN)
    assert warned.message.endswith("not permitted to list pods: free GPUs are not known")
    assert [found.status for found in judge.of_permissions(RULES, [(LIST_PODS, "models")])] == [FAIL]


def test_who_may_not_grant_rights_is_warned() -> None:
    rules = [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["escalate"]}]
    refused = [(judge.Right("escalate", "rbac.authorization.k8s.io", "clusterroles"), None)]
    assert [found.status for found in judge.of_permissions(rules, refused)] == [PASS, WARN]


def test_permissions_that_nobody_answered_are_skipped() -> None:
    assert [found.status for found in judge.of_permissions([], [], "timed out")] == [SKIP]


# What is there already


def meta(name: str, namespace: str = "", release: str = "", **more: Any) -> dict[str, Any]:
    """Metadata of an object; release as namespace/name."""
    found: dict[str, Any] = {"name": name, **({"namespace": namespace} if namespace else {}), **more}
    if release:
        where, _slash, which = release.partition("/")
        found["annotations"] = {judge.RELEASE_NAME: which, judge.RELEASE_NAMESPACE: where} | more.get("annotations", {})
    return {"metadata": found}


def test_a_namespace_that_is_being_deleted_fails() -> None:
    namespaces = [meta("kserve"), meta("models", deletionTimestamp="2026-11-01T00:00:00Z")]
    [found] = judge.of_namespaces(namespaces)
    assert (found.status, found.subject) == (FAIL, "models")
    assert [found.status for found in judge.of_namespaces(namespaces[:1])] == [PASS]


ISTIO = {
    "name": "Istio",
    "namespace": "istio-system",
    "release": "istiod",
    "variable": "istio_namespace",
    "role": "istio",
}


@pytest.mark.parametrize(
    ("deployments", "status", "words"),
    [
        ([], PASS, "No other installation"),
        ([meta("istiod", "istio-system", "istio-system/istiod")], PASS, "No other installation"),
        ([meta("istiod", "mesh", "mesh/istiod")], FAIL, "in namespace mesh already (Helm release mesh/istiod)"),
        (
            [meta("istiod", "istio-system", ownerReferences=[{"kind": "IstioRevision", "name": "default"}])],
            FAIL,
            "by something else (IstioRevision default)",
        ),
        (
            [meta("istiod", "istio-system", managedFields=[{"manager": "istioctl"}])],
            FAIL,
            "by something else (field manager istioctl)",
        ),
    ],
)
def test_another_installation_is_in_the_way(deployments: list[dict[str, Any]], status: str, words: str) -> None:
    [found] = judge.of_installs(ISTIO, deployments)
    assert found.status == status
    assert words in found.message


def test_an_operator_that_brings_its_own_is_a_warning() -> None:
    operators = {"istios.sailoperator.io": "the Sail operator"}
    assert [found.status for found in judge.of_operators([meta("istios.sailoperator.io")], operators)] == [WARN]
    assert [found.status for found in judge.of_operators([meta("pods.example.com")], operators)] == [PASS]


def managed(*managers: tuple[str, str], kind: str = "InferenceService") -> dict[str, Any]:
    fields = [
        {"manager": manager, "fieldsV1": {field: {}}, **({"subresource": "status"} if field == "f:status" else {})}
        for manager, field in managers
    ]
    return {"kind": kind, "metadata": {"name": "chat", "namespace": "models", "managedFields": fields}}


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        (managed(("llmstack.serving", "f:spec")), PASS, "Nobody else"),
        (managed(("llmstack.serving", "f:spec"), ("manager", "f:status")), PASS, "Nobody else"),
        (managed(("manager", "f:metadata")), PASS, "Nobody else"),
        (managed(("argocd-controller", "f:spec")), FAIL, "kept by Argo CD"),
        (managed(("kubectl-edit", "f:spec"), ("llmstack.serving", "f:spec")), WARN, "belong to kubectl-edit"),
        (managed(("mine", "f:spec")), PASS, "Nobody else"),
    ],
)
def test_who_else_keeps_an_object(item: dict[str, Any], status: str, words: str) -> None:
    [found] = judge.of_managers([item], ["llmstack.serving", "mine"])
    assert found.status == status
    assert words in found.message


GROUPS, NAMESPACES = {"", "serving.kserve.io"}, {"models": {"team": "llm"}, "kserve": {}}
EVERYTHING = [{"apiGroups": ["*"]}]


def webhook(name: str, service: str, release: str = "", **fields: Any) -> dict[str, Any]:
    namespace, _slash, which = service.partition("/")
    entry = {"clientConfig": {"service": {"namespace": namespace, "name": which}}, "rules": EVERYTHING, **fields}
    return {"kind": "ValidatingWebhookConfiguration", "webhooks": [entry], **meta(name, release=release)}


def webhooks(*items: dict[str, Any], answered: bool | None = False, releases: tuple[str, ...] = ()) -> list[Finding]:
    services = {"gone/old": answered, "kserve/web": True}
    return judge.of_webhooks(items, services, releases, GROUPS, NAMESPACES)


def test_a_webhook_without_an_endpoint_refuses_everything() -> None:
    [found] = webhooks(webhook("old", "gone/old"), webhook("alive", "kserve/web"))
    assert (found.status, found.subject) == (FAIL, "gone/old")
    assert found.message.startswith("ValidatingWebhookConfiguration old asks Service gone/old")


def test_webhooks_that_ask_the_same_service_are_one_finding() -> None:
    [found] = webhooks(*[webhook(f"old-{number}", "gone/old") for number in range(3)])
    assert "old-0 (and 2 more)" in found.message
    assert len(found.evidence["webhooks"]) == 3


def test_a_dead_webhook_of_our_own_release_is_repaired_by_the_play() -> None:
    mine = webhook("mine", "gone/old", "kserve/kserve-resources")
    assert [found.status for found in webhooks(mine, releases=("kserve/kserve-resources",))] == [WARN]


@pytest.mark.parametrize(
    "fields",
    [
        {"failurePolicy": "Ignore"},
        {"clientConfig": {"url": "https://example.com"}},
        {"rules": [{"apiGroups": ["batch.example.com"]}]},
        {"namespaceSelector": {"matchLabels": {"team": "web"}}},
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["web"]}]}},
    ],
)
def test_a_webhook_that_is_not_asked_about_the_plays_is_no_fault(fields: dict[str, Any]) -> None:
    assert [found.status for found in webhooks(webhook("soft", "gone/old", **fields))] == [PASS]


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"team": "llm"}},
        {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["llm"]}]},
        {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
    ],
)
def test_a_selector_of_one_of_the_namespaces_counts(selector: dict[str, Any]) -> None:
    rules = [{"apiGroups": ["serving.kserve.io"]}]
    hook = webhook("old", "gone/old", namespaceSelector=selector, rules=rules)
    assert [found.status for found in webhooks(hook)] == [FAIL]


def test_an_endpoint_that_may_not_be_read_is_no_fault() -> None:
    assert [found.status for found in webhooks(webhook("unseen", "gone/old"), answered=None)] == [PASS]


# Custom resource definitions

KSERVE: dict[str, Any] = {
    "name": "kserve",
    "groups": ["serving.kserve.io"],
    "versions": {"serving.kserve.io": ["v1beta1"]},
    "release": "kserve/kserve-crd",
    "version": "v0.20.0",
    "except": ["llminferenceservices.serving.kserve.io"],
}
GATEWAY: dict[str, Any] = {
    "name": "gateway_api",
    "groups": ["gateway.networking.k8s.io"],
    "version": "v1.6.0",
    "version_key": "gateway.networking.k8s.io/bundle-version",
    "keep": "set gateway_install_crds=false",
}
EXTERNAL_SECRETS: dict[str, Any] = {
    "name": "External Secrets Operator",
    "groups": ["external-secrets.io"],
    "versions": {"external-secrets.io": ["v1"]},
    "required_by": "model_storage_external_secret",
}
STORES = meta("secretstores.external-secrets.io")
SERVED = {"serving.kserve.io": ["v1beta1", "v1alpha1"]}
OURS = meta("inferenceservices.serving.kserve.io", release="kserve/kserve-crd")


def bundle(version: str) -> dict[str, Any]:
    return meta("gateways.gateway.networking.k8s.io", annotations={GATEWAY["version_key"]: version})


@pytest.mark.parametrize(
    ("crds", "served", "expected", "result"),
    [
        ([], {}, KSERVE, [("crds", PASS)]),
        ([OURS], SERVED, KSERVE, [("crds", PASS)]),
        ([OURS], {"serving.kserve.io": ["v1alpha2"]}, KSERVE, [("crd-served", FAIL)]),
        ([meta("inferenceservices.serving.kserve.io")], SERVED, KSERVE, [("crd-owner", FAIL)]),
        (
            [meta("inferenceservices.serving.kserve.io", release="kserve/kserve-crd", deletionTimestamp="x")],
            SERVED,
            KSERVE,
            [("crd-state", FAIL)],
        ),
        ([OURS, meta("llminferenceservices.serving.kserve.io")], SERVED, KSERVE, [("crds", PASS)]),
        ([bundle("v1.6.0")], {}, GATEWAY, [("crds", PASS)]),
        ([bundle("v1.5.1")], {}, GATEWAY, [("crds", PASS)]),
        ([bundle("v1.7.0")], {}, GATEWAY, [("crd-version", FAIL)]),
        ([], {}, EXTERNAL_SECRETS, [("crd-missing", FAIL)]),
        ([STORES], {"external-secrets.io": ["v1", "v1beta1"]}, EXTERNAL_SECRETS, [("crds", PASS)]),
        ([STORES], {"external-secrets.io": ["v1beta1"]}, EXTERNAL_SECRETS, [("crd-served", FAIL)]),
    ],
)
def test_crds_must_be_those_of_the_component(
    crds: list[dict[str, Any]], served: dict[str, list[str]], expected: dict[str, Any], result: list[tuple[str, str]]
) -> None:
    found = judge.of_crds(crds, served, [expected])
    assert [(finding.id, finding.status) for finding in found] == result
    assert all(finding.remediation for finding in found if finding.status == FAIL)


def test_the_same_fault_of_many_crds_is_said_once() -> None:
    foreign = [meta(f"kind{number}s.serving.kserve.io") for number in range(12)]
    [found] = judge.of_crds(foreign, SERVED, [KSERVE])
    assert "(and 11 more of kserve)" in found.message
    assert len(found.evidence["crds"]) == 12

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llmstack.serving.apply keeps its promises on a real API server; the audit log is the witness."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools.playbook import writes
from tools.run_module import run_module

Apply = Callable[..., dict[str, Any]]


@pytest.fixture
def apply(sandbox: dict[str, Any]) -> Apply:
    def call(*definitions: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        args = {"kubeconfig": sandbox["kubeconfig"], "definitions": list(definitions), **options}
        return run_module("llmstack.serving.apply", args, check=check)

    return call


@pytest.fixture
def group(cluster: Cluster) -> Iterator[str]:
    """An API group for CustomResourceDefinitions of one test."""
    name = f"g{uuid.uuid4().hex[:8]}.example.com"
    yield name
    cluster.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{name}")


def config(namespace: str, name: str = "settings", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data or {"level": "info"},
    }


def deployment(namespace: str, cpu: str = "10m", **pod: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": cpu}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "idle", "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "idle"}},
            "template": {
                "metadata": {"labels": {"app": "idle"}},
                # A simulated node: no image is needed to see a rollout.
                "spec": {
                    "containers": [container],
                    "nodeSelector": {"nvidia.com/gpu.family": "hopper"},
                    "tolerations": [{"operator": "Exists"}],
                    **pod,
                },
            },
        },
    }


def widget_definition(group: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 0}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def widget(group: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace},
        "spec": spec or {"size": 1},
    }


def actions(result: dict[str, Any]) -> list[str]:
    assert not result["failed"], result["msg"]
    return [entry["action"] for entry in result["objects"]]


def of_module(events: list[dict[str, Any]], namespace: str) -> list[dict[str, Any]]:
    """What the module asked about a namespace."""
    return [
        event
        for event in events
        if event.get("userAgent") == "llmstack.serving" and f"/namespaces/{namespace}/" in event["requestURI"]
    ]


def writes_to(events: list[dict[str, Any]], namespace: str) -> list[str]:
    """What the module changed in a namespace, as `verb path`."""
    return [write.partition("?")[0] for write in writes(of_module(events, namespace))]


def test_twelve_step_cycle(apply: Apply, namespace: str, audit: Callable[[], list[dict[str, Any]]]) -> None:
    first, second = config(namespace, level="info"), config(namespace, level="debug")
    steps = [
        ("create", first, "present", "created", "unchanged"),
        ("modify", second, "present", "updated", "unchanged"),
        ("delete", second, "absent", "deleted", "unchanged"),
    ]
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    written: list[str] = []
    for step, definition, state, expected, repeated in steps:
        for expectation in (expected, repeated):
            checked = apply(definition, state=state, check=True)
            assert writes_to(audit(), namespace) == written, f"check mode wrote at step {step}"
            assert actions(checked) == [expectation], step
            done = apply(definition, state=state)
            assert actions(done) == [expectation], step
            assert checked["changed"] == done["changed"] == (expectation != "unchanged")
            assert checked.get("diff") == done.get("diff"), "check mode and run show the same diff"
            if expectation != "unchanged":
                written.append(f"{'delete' if state == 'absent' else 'patch'} {path}")
            assert writes_to(audit(), namespace) == written, step


def test_no_op_needs_at_most_four_requests(
    apply: Apply, namespace: str, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    apply(config(namespace))
    before = len(of_module(audit(), namespace))
    apply(config(namespace))
    sent = of_module(audit(), namespace)[before:]
    assert 0 < len(sent) <= 4


def test_rollout_is_waited_for_and_repeated_without_change(apply: Apply, namespace: str) -> None:
    first = apply(deployment(namespace))
    assert actions(first) == ["created"]
    status = first["objects"][0]["resource"]["status"]
    assert status["availableReplicas"] == status["updatedReplicas"] == 1
    # Defaults, status and a quantity that the API server writes in another form (0.01 is 10m) are no changes.
    again = apply(deployment(namespace, cpu="0.01"))
    assert actions(again) == ["unchanged"]
    changed = apply(deployment(namespace, cpu="20m"))
    assert actions(changed) == ["updated"]
    served = changed["objects"][0]["resource"]
    assert served["status"]["observedGeneration"] == served["metadata"]["generation"]
    assert served["status"]["updatedReplicas"] == 1


def test_timeout_names_object_and_what_it_lacks(apply: Apply, namespace: str) -> None:
    result = apply(deployment(namespace, cpu="5k"), wait_timeout=5)
    assert result["failed"] is True
    assert (
        f"Not ready after 5 s (wait_timeout): Deployment {namespace}/idle: 0 of 1 pods are available" in result["msg"]
    )
    assert result["changed"] is True
    assert result["objects"][0]["action"] == "created"


def test_quota_fails_early_with_its_name(apply: Apply, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    begin = time.monotonic()
    result = apply(quota, deployment(namespace), wait_timeout=120)
    assert result["failed"] is True
    assert "exceeded quota: none" in result["msg"]
    assert time.monotonic() - begin < 60


def test_conflict_names_manager_and_fields_then_can_be_forced(apply: Apply, namespace: str, cluster: Cluster) -> None:
    apply(config(namespace, level="info"))
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "trace"}}
    cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/configmaps/settings?fieldManager=kubectl-edit&force=true",
        patch,
        "application/apply-patch+yaml",
    )
    refused = apply(config(namespace, level="info"))
    assert refused["failed"] is True
    assert "'kubectl-edit' manages .data.level" in refused["msg"]
    assert "force_conflicts: true" in refused["msg"]
    checked = apply(config(namespace, level="info"), check=True)
    assert checked["failed"] is True, "check mode says what the run would say"
    taken = apply(config(namespace, level="info"), force_conflicts=True)
    assert actions(taken) == ["updated"]


@pytest.mark.parametrize("check", [True, False])
def test_misspelt_field_is_an_error_that_names_it(apply: Apply, namespace: str, group: str, check: bool) -> None:
    wrong = deployment(namespace)
    wrong["spec"]["replica"] = 3
    result = apply(wrong, check=check)
    assert result["failed"] is True
    assert "unknown field .spec.replica" in result["msg"] or "spec.replica" in result["msg"]


def test_misspelt_field_of_a_custom_resource(apply: Apply, namespace: str, group: str) -> None:
    result = apply(widget_definition(group), widget(group, namespace, sise=1))
    assert result["failed"] is True
    assert "sise" in result["msg"]
    assert f"Done before this failure: created CustomResourceDefinition widgets.{group}." in result["msg"]


def test_invalid_value_names_the_field(apply: Apply, namespace: str, group: str) -> None:
    result = apply(widget_definition(group), widget(group, namespace, size=-1))
    assert result["failed"] is True
    assert "spec.size" in result["msg"]


def test_custom_resources_follow_their_definition_at_once(apply: Apply, namespace: str, group: str) -> None:
    definitions = (widget_definition(group), widget(group, namespace))
    predicted = apply(*definitions, check=True)
    assert actions(predicted) == ["created", "created"]
    assert "does not serve" not in predicted["shown"]
    assert actions(apply(*definitions)) == ["created", "created"]
    assert actions(apply(*definitions)) == ["unchanged", "unchanged"]
    assert actions(apply(*definitions, state="absent", check=True)) == ["deleted", "deleted"]
    assert actions(apply(*definitions, state="absent")) == ["deleted", "deleted"]
    assert actions(apply(*definitions, state="absent")) == ["unchanged", "unchanged"]


def test_missing_definition(apply: Apply, namespace: str, group: str) -> None:
    refused = apply(widget(group, namespace))
    assert refused["failed"] is True
    assert "does not serve this kind. Install its CustomResourceDefinition first" in refused["msg"]
    predicted = apply(widget(group, namespace), check=True)
    assert actions(predicted) == ["created"]
    assert "does not serve this kind" in " ".join(predicted["shown"].split())


def test_missing_namespace(apply: Apply) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    refused = apply(config(name))
    assert refused["failed"] is True
    assert f"namespace '{name}' does not exist" in refused["msg"]
    predicted = apply(config(name), check=True)
    assert actions(predicted) == ["created"]
    assert "does not exist" in " ".join(predicted["shown"].split())
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    both = (namespace, config(name))
    assert actions(apply(*both, check=True)) == ["created", "created"]
    assert actions(apply(*both)) == ["created", "created"]
    assert actions(apply(*both, state="absent")) == ["deleted", "deleted"]


def test_webhook_that_does_not_answer(apply: Apply, namespace: str, cluster: Cluster) -> None:
    name = f"deaf.{uuid.uuid4().hex[:8]}.example.com"
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    hook = {
        "name": name,
        "clientConfig": {"service": {"namespace": namespace, "name": "nobody", "path": "/"}, "caBundle": ""},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }
    code, answer = cluster.request("POST", path, configuration)
    assert code == 201, answer
    try:
        # The API server takes a moment to learn of the webhook.
        time.sleep(2)
        predicted = apply(config(namespace), check=True)
        assert actions(predicted) == ["created"]
        assert name in predicted["shown"].replace("\n", "")
        refused = apply(config(namespace), wait=False)
        assert f"the admission webhook {name} does not answer" in refused["msg"]
        threading.Timer(6, lambda: cluster.request("DELETE", f"{path}/{name}")).start()
        assert actions(apply(config(namespace), wait_timeout=60)) == ["created"]
    finally:
        cluster.request("DELETE", f"{path}/{name}")


def test_foreign_objects_are_never_deleted(apply: Apply, namespace: str, cluster: Cluster) -> None:
    cluster.apply(config(namespace, level="theirs"))
    assert actions(apply(config(namespace, level="ours"), force_conflicts=True)) == ["updated"]
    kept = apply(config(namespace), state="absent")
    assert actions(kept) == ["unchanged"]
    assert "was not created by llmstack.serving" in " ".join(kept["shown"].split())
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings")["data"] == {"level": "ours"}


def test_object_stuck_in_deletion_names_its_finalizer(apply: Apply, namespace: str, cluster: Cluster) -> None:
    stuck = config(namespace)
    stuck["metadata"]["finalizers"] = ["example.com/nobody"]
    apply(stuck)
    result = apply(stuck, state="absent", wait_timeout=3)
    assert result["failed"] is True
    assert "waits for example.com/nobody" in result["msg"]
    again = apply(config(namespace))
    assert "is being deleted and waits for example.com/nobody" in again["msg"]
    cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/configmaps/settings",
        {"metadata": {"finalizers": None}},
        "application/merge-patch+json",
    )


def test_missing_permission_names_verb_and_resource(apply: Apply, namespace: str) -> None:
    result = apply(config(namespace), impersonate_user="nobody-in-particular")
    assert result["failed"] is True
    assert f'nobody-in-particular is not allowed to get configmaps in the namespace "{namespace}"' in result["msg"]


def test_wrong_token_and_wrong_authority(apply: Apply, namespace: str, cluster: Cluster) -> None:
    refused = apply(config(namespace), api_key="not-a-token-of-this-cluster")
    # The sandbox's kubeconfig also has a client certificate, which wins at the API server.
    assert refused["failed"] or actions(refused) == ["created"]
    unverified = apply(config(namespace), ca_cert="/etc/ssl/certs/ca-certificates.crt")
    assert unverified["failed"] is True
    assert "cannot be verified" in unverified["msg"]
    assert "ca_cert" in unverified["msg"]


def test_secret_values_appear_nowhere(apply: Apply, namespace: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token", "namespace": namespace},
        "stringData": {"HF_TOKEN": "hf_do_not_show"},
    }
    created = apply(secret)
    assert actions(created) == ["created"]
    secret["stringData"]["HF_TOKEN"] = "hf_do_not_show_either"
    changed = apply(secret)
    assert actions(changed) == ["updated"]
    assert "hf_do_not" not in json.dumps([created, changed])
    assert actions(apply(secret)) == ["unchanged"]


def test_authentication_by_environment_alone(sandbox: dict[str, Any], namespace: str) -> None:
    result = run_module(
        "llmstack.serving.apply",
        {"definitions": [config(namespace)]},
        env={"K8S_AUTH_KUBECONFIG": sandbox["kubeconfig"]},
    )
    assert actions(result) == ["created"]

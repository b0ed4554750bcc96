# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._diagnosis import (
    Finding,
    Observed,
    findings,
    report,
    text,
)

NOW = datetime(2026, 11, 2, 3, 14, tzinfo=UTC)


def node(name: str = "n1", ready: str = "True", **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]
    return {"kind": "Node", "metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions}}


def deployment(namespace: str, name: str = "d", available: int = 1, replicas: int = 1) -> dict[str, Any]:
    status = {
        "observedGeneration": 1,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": available,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"replicas": replicas},
        "status": status,
    }


def model(state: str = "ready", message: str = "serves") -> dict[str, Any]:
    return {
        "name": "llama",
        "namespace": "models",
        "url": "http://llama",
        "health": {"state": state, "phase": "", "cause": None, "message": message},
        "commands": ["kubectl -n models describe inferenceservice llama"],
    }


def gateway(programmed: str = "True") -> dict[str, Any]:
    conditions = [{"type": "Programmed", "status": programmed, "reason": "Pending", "message": "no address"}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "g", "namespace": "kserve", "generation": 1},
        "status": {"conditions": conditions},
    }


def well(**other: Any) -> Observed:
    values: dict[str, Any] = {
        "now": NOW,
        "version": "v1.36.2",
        "required": ["cert-manager", "kserve"],
        "optional": ["monitoring"],
        "namespaces": {"cert-manager", "kserve", "models"},
        "nodes": [node()],
        "workloads": [deployment("cert-manager"), deployment("kserve")],
        "gateways": [gateway()],
        "models": [model()],
    }
    return Observed(**{**values, **other})


def test_a_stack_that_is_well_has_no_finding() -> None:
    assert findings(well()) == []
    told = report(well())
    assert told["healthy"] is True
    assert told["looked_at"]["workloads"] == {
        "cert-manager": "1 of 1 complete",
        "kserve": "1 of 1 complete",
        "monitoring": "no such namespace",
    }
    assert text(told).startswith("All is well. Kubernetes v1.36.2, 1 nodes")


def only(seen: Observed) -> Finding:
    [finding] = findings(seen)
    return finding


@pytest.mark.parametrize("namespaces", [{"cert-manager", "kserve"}, set()])
def test_no_workload_in_all_of_the_control_plane_is_critical(namespaces: set[str]) -> None:
    """The cluster of somebody else answers all questions without a complaint."""
    found = only(well(workloads=[], namespaces=namespaces))
    assert found.severity == "critical"
    assert "0 of 0 workloads run in all of the control plane's namespaces" in found.message
    assert "kubeconfig and context" in found.remedy


def test_an_empty_namespace_of_the_control_plane_is_critical() -> None:
    found = only(well(workloads=[deployment("cert-manager")]))
    assert (found.severity, found.subject) == ("critical", "Namespace kserve")
    assert "0 of 0" in found.message
    found = only(well(workloads=[deployment("cert-manager")], namespaces={"cert-manager"}))
    assert "does not exist" in found.message


def test_an_optional_namespace_counts_only_where_it_is() -> None:
    found = only(well(namespaces={"cert-manager", "kserve", "monitoring"}))
    assert (found.severity, found.subject) == ("warning", "Namespace monitoring")


@pytest.mark.parametrize(("available", "severity"), [(0, "critical"), (1, "warning")])
def test_a_workload_that_is_not_complete(available: int, severity: str) -> None:
    broken = deployment("kserve", "kserve-controller-manager", available, 2)
    found = only(well(workloads=[deployment("cert-manager"), broken]))
    assert (found.severity, found.subject) == (severity, "Deployment kserve/kserve-controller-manager")
    assert f"{available} of 2 pods are available" in found.message


def test_a_workload_of_zero_replicas_is_meant_so() -> None:
    assert findings(well(workloads=[deployment("cert-manager"), deployment("kserve", "d", 0, 0)])) == []


@pytest.mark.parametrize(
    ("nodes", "severity", "words"),
    [
        ([], "critical", "no node"),
        ([node(ready="False")], "critical", "not ready"),
        ([node(unschedulable=True)], "note", "cordoned"),
        (
            [
                {
                    **node(),
                    "status": {
                        "conditions": [*node()["status"]["conditions"], {"type": "DiskPressure", "status": "True"}]
                    },
                }
            ],
            "warning",
            "DiskPressure",
        ),
    ],
)
def test_nodes(nodes: list[dict[str, Any]], severity: str, words: str) -> None:
    found = only(well(nodes=nodes))
    assert found.severity == severity
    assert words in found.message


@pytest.mark.parametrize(
    ("state", "severity", "remedy"),
    [
        ("failed", "critical", "describe inferenceservice llama"),
        ("degraded", "warning", "playbooks/rollback.yml with operations_service=llama"),
        ("progressing", "warning", "describe"),
        ("stopped", "note", "operations_service_state=started"),
    ],
)
def test_models(state: str, severity: str, remedy: str) -> None:
    found = only(well(models=[model(state, "No node has room. Add nodes.")]))
    assert (found.severity, found.subject) == (severity, "InferenceService models/llama")
    assert remedy in found.remedy


def test_an_llm_inference_service_that_is_not_ready() -> None:
    service = {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": "big", "namespace": "models", "generation": 1},
        "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False", "reason": "NoPods"}]},
    }
    assert "NoPods" in only(well(llms=[service])).message


def test_gateway_and_routes() -> None:
    assert "takes no traffic" in only(well(gateways=[gateway("False")])).message
    assert only(well(gateways=[])).severity == "warning"
    route = {
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "models"},
        "status": {
            "parents": [{"conditions": [{"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound"}]}]
        },
    }
    assert "BackendNotFound" in only(well(routes=[route])).message


def webhook(policy: str = "Fail") -> dict[str, Any]:
    service = {"namespace": "kserve", "name": "kserve-webhook-server-service"}
    hook = {"name": "inferenceservice.validator", "failurePolicy": policy, "clientConfig": {"service": service}}
    return {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "isvc"}, "webhooks": [hook]}


def test_a_webhook_without_a_pod_blocks_the_cluster_and_is_found() -> None:
    where = "kserve/kserve-webhook-server-service"
    found = only(well(webhooks=[webhook()], backends={where: 0}))
    assert found.severity == "critical"
    assert where in found.message
    assert findings(well(webhooks=[webhook()], backends={where: 1})) == []
    assert findings(well(webhooks=[webhook("Ignore")], backends={where: 0})) == []


def test_a_half_installed_release_is_named() -> None:
    labels = {"name": "istiod", "status": "pending-upgrade", "version": "3"}
    found = only(well(releases=[{"metadata": {"namespace": "istio-system", "labels": labels}}]))
    assert found.subject == "Helm release istio-system/istiod"
    assert "half-installed" in found.message


@pytest.mark.parametrize(
    ("ready", "end", "severity"),
    [("False", "2027-01-01T00:00:00Z", "critical"), ("True", "2026-11-05T00:00:00Z", "warning")],
)
def test_certificates(ready: str, end: str, severity: str) -> None:
    certificate = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "c", "namespace": "kserve", "generation": 1},
        "status": {"notAfter": end, "conditions": [{"type": "Ready", "status": ready}]},
    }
    assert only(well(certificates=[certificate])).severity == severity


def test_restarts_tell_how_the_container_ended() -> None:
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    status = {"containerStatuses": [{"name": "manager", "restartCount": 9, "lastState": ended}]}
    found = only(well(pods=[{"metadata": {"name": "p", "namespace": "kserve"}, "status": status}]))
    assert "restarted 9 times, last with OOMKilled (exit code 137)" in found.message


def test_an_autoscaler_without_its_metric() -> None:
    conditions = [{"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric"}]
    autoscaler = {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llama-predictor", "namespace": "models"},
        "status": {"conditions": conditions},
    }
    assert "FailedGetResourceMetric" in only(well(autoscalers=[autoscaler])).message


def test_gpu_checks_that_fail_are_told_with_their_nodes() -> None:
    check = {"id": "device-count", "status": "fail", "message": "n1: 6 of 8.", "remediation": "Drain.", "nodes": ["n1"]}
    found = only(well(gpu_checks=[check, {**check, "status": "pass"}, {**check, "status": "skip"}]))
    assert (found.severity, found.subject, found.remedy) == ("critical", "device-count (n1)", "Drain.")


def event(minutes: int, **other: Any) -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off pulling image",
        "count": 3,
        "metadata": {"namespace": "models"},
        "involvedObject": {"kind": "Pod", "namespace": "models", "name": "p"},
        "lastTimestamp": f"2026-11-02T0{(194 - minutes) // 60}:{(194 - minutes) % 60:02}:00Z",
        **other,
    }


def test_warnings_are_counted_per_object_and_old_ones_are_left_out() -> None:
    seen = well(events=[event(1), event(2), event(90), event(1, type="Normal"), event(1, lastTimestamp=None)])
    found = only(seen)
    assert found.message.startswith("BackOff, 6 times in 60 minutes: Back-off pulling image")
    assert found.remedy.endswith("involvedObject.name=p")


def test_what_was_not_read_is_a_finding() -> None:
    found = only(well(unread={"events": "me is not allowed to list events."}))
    assert found.severity == "warning"
    assert "Not looked at: me is not allowed" in found.message


def test_the_worst_comes_first() -> None:
    found = findings(well(nodes=[node(unschedulable=True), node("n2", "False")], models=[model("degraded")]))
    assert [each.severity for each in found] == ["critical", "warning", "note"]
    told = text(report(well(nodes=[node("n2", "False")])))
    assert told.index("1 critical, 0 to look at.") < told.index("CRITICAL  Node n2")

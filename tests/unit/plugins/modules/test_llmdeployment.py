# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llmdeployment against an API server in this process: what is sent, what is not, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_llm
from ansible_collections.llmstack.serving.plugins.modules import llmdeployment, llmdeployment_info

GROUP = "/apis/serving.kserve.io/v1alpha2"
PATH = f"{GROUP}/namespaces/models/llminferenceservices/chat"
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/kserve-ingress-gateway"
ANSWER = "/api/v1/namespaces/kserve/services/gateway-istio:80/proxy/models/chat/v1/completions"
DEPLOYMENTS = "/apis/apps/v1/namespaces/models/deployments"
OPTIONS: dict[str, Any] = {
    "name": "chat",
    "namespace": "models",
    "model": {"name": "meta/chat", "uri": "s3://models/chat"},
    "serving": {"decode": {"replicas": 1, "batchSize": 8, "resources": {"gpu": 1, "memory": "64Gi"}}},
    "wait_timeout": 20,
}
PARTS = {"": "llminferenceservice-workload", "-router-scheduler": "llminferenceservice-router-scheduler"}


@pytest.fixture
def run(run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(_kube_llm, "_PROPAGATION_SECONDS", 0.0)

    def call(module: Any = llmdeployment, check: bool = False, **params: Any) -> dict[str, Any]:
        return run_module(module, check=check, **params)

    return call


@pytest.fixture
def gateway(api: Any) -> None:
    """Istio's Gateway, with the Service before its proxies."""
    address = {"type": "Hostname", "value": "gateway-istio.kserve.svc.cluster.local"}
    api.put(
        GATEWAY,
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "kserve-ingress-gateway", "namespace": "kserve"},
            "spec": {"gatewayClassName": "istio", "listeners": [{"name": "http", "port": 80}]},
            "status": {"addresses": [address]},
        },
    )


@pytest.fixture
def kserve(api: Any, gateway: None) -> None:
    """A controller: for each written LLMInferenceService there are Deployments, and its conditions are True."""

    def reconcile(path: str, manifest: dict[str, Any]) -> None:
        if path != PATH or manifest.get("status", {}).get("observedGeneration") == manifest["metadata"]["generation"]:
            return
        parts = {"": manifest["spec"], "-router-scheduler": manifest["spec"]["router"]["scheduler"]}
        for suffix, part in parts.items():
            replicas = part.get("replicas", 1)
            api.put(
                f"{DEPLOYMENTS}/chat-kserve{suffix}",
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {
                        "name": f"chat-kserve{suffix}",
                        "namespace": "models",
                        "generation": 1,
                        "labels": {
                            "app.kubernetes.io/part-of": "llminferenceservice",
                            "app.kubernetes.io/name": "chat",
                            "app.kubernetes.io/component": PARTS[suffix],
                        },
                        "ownerReferences": [
                            {"kind": "LLMInferenceService", "name": "chat", "uid": manifest["metadata"]["uid"]}
                        ],
                    },
                    "spec": {
                        "replicas": replicas,
                        "template": {
                            "metadata": {"annotations": part["annotations"]},
                            "spec": {"containers": [{"name": "main", "image": "engine:v1"}]},
                        },
                    },
                    "status": {
                        "observedGeneration": 1,
                        "replicas": replicas,
                        "updatedReplicas": replicas,
                        "availableReplicas": replicas,
                        "readyReplicas": replicas,
                    },
                },
            )
        names = ("PresetsCombined", "MainWorkloadReady", "SchedulerWorkloadReady", "HTTPRoutesReady", "Ready")
        manifest["status"] = {
            "observedGeneration": manifest["metadata"]["generation"],
            "url": "http://gateway-istio.kserve.svc.cluster.local/models/chat",
            "conditions": [{"type": name, "status": "True"} for name in names],
        }
        api.put(path, manifest)

    api.on_write = reconcile


def answers(api: Any, *codes: int) -> None:
    api.planned[("POST", ANSWER)] = [(code, {"id": "cmpl-1"} if code == 200 else "refused") for code in codes]


def test_create_change_delete_and_twice_each(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200, 200, 200, 200)
    assert run(check=True, **OPTIONS)["changed"]
    assert api.writes == []
    made = run(**OPTIONS)
    assert made["changed"]
    assert "failed" not in made, made["msg"]
    assert made["backend"] == "serving.kserve.io/v1alpha2 LLMInferenceService"
    assert [part["name"] for part in made["parts"]] == ["decode", "picker", "route"]
    assert not run(**OPTIONS)["changed"]
    more = {**OPTIONS, "serving": {"decode": {**OPTIONS["serving"]["decode"], "replicas": 3}}}
    changed = run(**more)
    assert changed["changed"]
    assert changed["parts"][0]["ready_replicas"] == 3
    assert not run(**more)["changed"]
    assert run(name="chat", namespace="models", state="absent")["changed"]
    assert not run(name="chat", namespace="models", state="absent")["changed"]


def test_a_run_that_changes_nothing_sends_few_requests(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200, 200)
    # It waits for nothing: the request of a watch that is no longer needed could come in after the next line.
    run(**{**OPTIONS, "wait": False})
    api.requests.clear()
    result = run(**OPTIONS)
    assert not result["changed"]
    assert [method for method, _path, query in api.requests if method == "PATCH" and "dryRun" not in query] == []
    # This server keeps no field ownership, which else proves that nothing changes: hence a dry run, and the nodes.
    proof = {"PATCH", "/api/v1/nodes"}
    assert len([entry for entry in api.requests if not proof & set(entry[:2])]) <= 6, api.requests


def test_each_change_is_kept_for_a_rollback(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200)
    run(**OPTIONS)
    kept = [each for path, each in api.objects.items() if "controllerrevisions" in path]
    assert [each["metadata"]["name"] for each in kept] == ["chat-llm-1"]
    assert kept[0]["data"]["spec"]["model"]["name"] == "meta/chat"


def test_a_change_of_the_mode_makes_the_deployment_anew(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200, 200)
    run(**OPTIONS)
    path = f"{DEPLOYMENTS}/chat-kserve"
    reconcile = api.on_write

    def with_role(written: str, manifest: dict[str, Any]) -> None:
        reconcile(written, manifest)
        api.objects[path]["spec"]["selector"] = {"matchLabels": {"llm-d.ai/role": "both"}}

    api.on_write = with_role
    both = {**OPTIONS["serving"], "mode": "disaggregated", "prefill": {"replicas": 1}}
    result = run(**{**OPTIONS, "serving": both, "wait": False})
    assert ("DELETE", path) in api.writes
    assert any("Deployment chat-kserve, so it is made anew" in warning for warning in result["warnings"])


def test_true_conditions_are_not_enough(api: Any, run: Any, kserve: None) -> None:
    answers(api, 500)
    result = run(**OPTIONS)
    assert result["failed"]
    assert "all conditions are True, but a request was answered with 500" in result["msg"].replace("All", "all")
    assert "DestinationRule" in result["msg"]


def test_where_no_request_can_be_sent_a_warning_says_so(api: Any, run: Any, kserve: None) -> None:
    status = {"kind": "Status", "status": "Failure", "code": 403, "message": "services/proxy forbidden"}
    api.planned[("POST", ANSWER)] = [(403, status)]
    result = run(**OPTIONS)
    assert "failed" not in result
    assert any("not checked that a request is answered" in warning for warning in result["warnings"])


def test_istio_gets_a_picker_in_plain_text(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200)
    run(**OPTIONS)
    [container] = api.objects[PATH]["spec"]["router"]["scheduler"]["template"]["containers"]
    assert container["args"] == ["--secure-serving=false"]


def test_what_cannot_be_expressed_is_an_error_before_anything_is_written(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200)
    serving = {**OPTIONS["serving"], "prefill": {"replicas": 1}}
    result = run(**{**OPTIONS, "serving": serving})
    assert "serving.prefill: serving.mode is aggregated" in result["msg"]
    assert "allow_partial" in result["msg"]
    assert result["msg"].endswith("Nothing was changed.")
    assert [row["option"] for row in result["translation"] if not row["expressed"]] == ["serving.prefill"]
    assert api.writes == []
    partial = run(**{**OPTIONS, "serving": serving, "allow_partial": True})
    assert partial["changed"]
    assert any("Not expressed: serving.prefill" in warning for warning in partial["warnings"])


def test_a_missing_gateway_is_known_before(api: Any, run: Any) -> None:
    result = run(**OPTIONS)
    assert "Gateway kserve/kserve-ingress-gateway does not exist" in result["msg"]
    assert api.writes == []
    assert run(check=True, **OPTIONS)["changed"], "in check mode it may be a step that is yet to come"


def test_two_deployments_do_not_share_a_route(api: Any, run: Any, kserve: None) -> None:
    other = {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": "other", "namespace": "models"},
        "spec": {"model": {"name": "meta/chat"}},
    }
    api.put(PATH.replace("/chat", "/other"), other)
    assert "serves the model name meta/chat in this namespace already" in run(**OPTIONS)["msg"]
    assert api.writes == []


def test_what_no_node_can_hold_is_known_before(api: Any, run: Any, kserve: None) -> None:
    allocatable = {"nvidia.com/gpu": "8", "memory": "32Gi"}
    api.put("/api/v1/nodes/n", {"kind": "Node", "metadata": {"name": "n"}, "status": {"allocatable": allocatable}})
    result = run(**OPTIONS)
    assert "memory 64Gi is more than any node has (the largest: 32Gi)" in result["msg"]
    assert api.writes == []


def old_only(api: Any) -> None:
    path = f"{GROUP}/namespaces/models/llminferenceservices"
    api.planned[("GET", path)] = [(404, "404 page not found")] * 9
    api.served_groups["serving.kserve.io/v1alpha1"] = [
        {"name": "llminferenceservices", "kind": "LLMInferenceService", "namespaced": True}
    ]


def test_the_old_version_is_used_where_there_is_no_other(api: Any, run: Any, gateway: None) -> None:
    old_only(api)
    result = run(**OPTIONS, wait=False)
    assert result["backend"] == "serving.kserve.io/v1alpha1 LLMInferenceService"
    tiers = {"tiers": [{"type": "memory", "size": "20Gi"}]}
    result = run(**{**OPTIONS, "name": "cached", "model": {"uri": "s3://models/cached"}, "cache": tiers})
    assert "has no kvCacheOffloading" in result["msg"]


def test_without_kserve_it_says_what_to_install(api: Any, run: Any) -> None:
    path = f"{GROUP}/namespaces/models/llminferenceservices"
    api.planned[("GET", path)] = [(404, "404 page not found")] * 9
    assert "role llmd" in run(**OPTIONS)["msg"]
    predicted = run(check=True, **OPTIONS)
    assert predicted["changed"]
    assert any("Check mode predicts" in warning for warning in predicted["warnings"])
    assert not run(name="chat", namespace="models", state="absent")["changed"]


def test_the_literal_kind_is_written_only_where_it_is_served(api: Any, run: Any) -> None:
    path = f"{GROUP}/namespaces/models/llminferenceservices"
    api.planned[("GET", path)] = [(404, "404 page not found")] * 9
    api.served_groups["llm-d.io/v1alpha1"] = [{"name": "widgets", "kind": "LLMDeployment", "namespaced": True}]
    result = run(**OPTIONS, wait=False, allow_partial=True)
    assert result["backend"] == "llm-d.io/v1alpha1 LLMDeployment"
    [written] = [each for key, each in api.objects.items() if key.startswith("/apis/llm-d.io")]
    assert written["spec"]["serving"]["decode"]["batchSize"] == 8


def test_info_tells_each_part_and_asks(api: Any, run: Any, kserve: None) -> None:
    answers(api, 200, 200, 503)
    run(**OPTIONS)
    [entry] = run(llmdeployment_info, namespace="models", request_check=True)["llmdeployments"]
    assert entry["health"]["state"] == "ready"
    assert entry["health"]["phase"] == "answers requests"
    assert entry["images"] == {"decode": "engine:v1", "picker": "engine:v1"}
    [entry] = run(llmdeployment_info, name="chat", namespace="models", request_check=True)["llmdeployments"]
    assert entry["health"]["state"] == "failed"
    assert entry["health"]["cause"] == "picker"


def test_info_of_nothing(api: Any, run: Any) -> None:
    assert run(llmdeployment_info, namespace="models")["llmdeployments"] == []


CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
ENVOY = "gateway.envoyproxy.io/gatewayclass-controller"


@pytest.fixture
def envoy_gateway(api: Any, kserve: None) -> None:
    """The Gateway is Envoy Gateway's; beside it is one of Istio's."""
    for name, controller in (("eg", ENVOY), ("istio", "istio.io/gateway-controller")):
        spec = {"controllerName": controller}
        metadata = {"name": name}
        api.put(f"{CLASSES}/{name}", {"kind": "GatewayClass", "metadata": metadata, "spec": spec})
    listeners = [{"name": "http", "port": 80}]
    for namespace, name, class_ in (("kserve", "kserve-ingress-gateway", "eg"), ("mesh", "public", "istio")):
        api.put(
            f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/gateways/{name}",
            {
                "kind": "Gateway",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"gatewayClassName": class_, "listeners": listeners},
                "status": {"addresses": [{"value": "gateway-istio.kserve.svc.cluster.local"}]},
            },
        )


def test_a_gateway_that_does_not_route_to_pools_is_refused_with_one_that_does(
    api: Any, run: Any, envoy_gateway: None
) -> None:
    result = run(**OPTIONS)
    assert result["failed"]
    assert "Gateway kserve/kserve-ingress-gateway is one of Envoy Gateway" in result["msg"]
    assert "Name mesh/public in serving.gateway" in result["msg"]
    assert api.writes == []


def test_envoy_gateway_serves_a_deployment_without_a_picker(api: Any, run: Any, envoy_gateway: None) -> None:
    serving = {**OPTIONS["serving"], "scheduler": {"enabled": False}}
    assert "failed" not in run(check=True, **{**OPTIONS, "serving": serving})


def test_envoy_gateway_routes_to_pools_with_its_ai_extension(api: Any, run: Any, envoy_gateway: None) -> None:
    group = {"kind": "APIGroup", "apiVersion": "v1", "name": "aigateway.envoyproxy.io"}
    api.planned[("GET", "/apis/aigateway.envoyproxy.io")] = [(200, group)]
    assert "failed" not in run(check=True, **OPTIONS)

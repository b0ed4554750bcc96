# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role knative with the real Knative, and InferenceServices that are Knative Services.

Its networking layer is the sandbox's own (tests/sandbox/README.md). The tests build on each other, in their order; what
they install they remove.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.kube import Cluster, wait_until
from tools import sandbox_parts
from tools.playbook import ansible_playbook, changed, writes
from tools.run_module import run_module

Audit = Callable[[], list[dict[str, Any]]]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("stack")]
# KServe's default stays Standard, so that the rest of the stack is what it was.
ASKED_FOR = ("-e", '{"knative_install": true}', "--tags", "knative")
INSTALL = ("-i", "inventories/local", "playbooks/install.yml", *ASKED_FOR)
CONFIRMED = ("-e", "operations_confirm_uninstall=sandbox")
UNINSTALL = ("-i", "inventories/local", "playbooks/uninstall.yml", *ASKED_FOR, *CONFIRMED)
NAMESPACE = "model-serving"
SERVICES = f"/apis/serving.knative.dev/v1/namespaces/{NAMESPACE}/services"
Serve = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def parts(real_node: None) -> None:
    """Knative's images and manifests, built if they never were."""
    sandbox_parts.add("knative")


@pytest.fixture(scope="module")
def knative(parts: None, stack: None) -> Iterator[None]:
    assert changed(ansible_playbook(*INSTALL)) > 0
    yield
    # Also after a test that failed in the middle.
    run_module("llmstack.serving.inferenceservice", {"name": "scaled", "namespace": NAMESPACE, "state": "absent"})
    ansible_playbook(*UNINSTALL)


@pytest.fixture(scope="module")
def runtime(cluster: Cluster, knative: None) -> Iterator[str]:
    """A runtime for services of this mode, beside the stack's own for Standard ones."""
    name = "test-knative"
    asked_for = json.dumps({"llmstack_runtime": name, "vllm_runtime_deployment_mode": "Knative"})
    deploy = ("-i", "inventories/local", "playbooks/deploy.yml", "--tags", "vllm_runtime", "-e", asked_for)
    assert changed(ansible_playbook(*deploy)) > 0
    yield name
    cluster.request("DELETE", f"/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/{name}")


@pytest.fixture
def serve(sandbox: dict[str, Any], runtime: str) -> Serve:
    """Run the module for a Knative Service that works, with other options as the test says."""
    defaults = {
        "kubeconfig": sandbox["kubeconfig"],
        "name": "scaled",
        "namespace": NAMESPACE,
        "deployment_mode": "Knative",
        "runtime": runtime,
        "model_format": "vLLM",
        "storage_uri": "s3://llm-models/tiny-llama",
        "service_account": "model-reader",
        "env": [
            {"name": "SERVED_MODEL_NAME", "value": "scaled"},
            {"name": "TENSOR_PARALLEL_SIZE", "value": "1"},
        ],
        "min_replicas": 1,
        "wait_timeout": 240,
    }

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        result = run_module("llmstack.serving.inferenceservice", {**defaults, **options}, check=check)
        assert not result["failed"], result["msg"]
        return result

    return call


def models(cluster: Cluster, url: str) -> list[str]:
    """What the engine says it serves, asked through the Gateway."""
    gateway = cluster.get("/api/v1/namespaces/kserve/services/kserve-ingress-gateway-istio")
    request = urllib.request.Request(
        f"http://{gateway['spec']['clusterIP']}/v1/models", headers={"Host": url.partition("://")[2]}
    )
    with urllib.request.urlopen(request, timeout=90) as answer:
        return [entry["id"] for entry in json.load(answer)["data"]]


def test_check_mode_says_what_would_be_installed_and_writes_nothing(parts: None, audit: Audit) -> None:
    assert changed(ansible_playbook(*INSTALL, "--check", "--diff")) > 0
    assert writes(audit()) == []


def test_after_the_role_every_controller_runs_and_the_second_run_changes_nothing(
    knative: None, cluster: Cluster, audit: Audit
) -> None:
    label = "app.kubernetes.io%2Fname%3Dknative-serving"
    deployments = cluster.get(f"/apis/apps/v1/namespaces/knative-serving/deployments?labelSelector={label}")["items"]
    available = {item["metadata"]["name"]: item["status"].get("availableReplicas") for item in deployments}
    controllers = ("activator", "autoscaler", "controller", "webhook")
    layer = ("net-gateway-api-controller", "net-gateway-api-webhook")
    assert available == dict.fromkeys((*controllers, *layer), 1)
    assert changed(ansible_playbook(*INSTALL, "--diff")) == 0
    assert changed(ansible_playbook(*INSTALL, "--check")) == 0
    assert writes(audit()) == []


def test_kserve_s_controller_has_started_after_knative_s_kinds_were_there(knative: None, cluster: Cluster) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/services.serving.knative.dev"
    since = cluster.get(path)["metadata"]["creationTimestamp"]
    pods = "/api/v1/namespaces/kserve/pods?labelSelector=control-plane%3Dkserve-controller-manager"
    found = [pod["metadata"] for pod in cluster.get(pods)["items"]]
    running = [metadata["creationTimestamp"] for metadata in found if "deletionTimestamp" not in metadata]
    assert running
    assert min(running) >= since


def test_a_knative_service_is_refused_what_knative_refuses(knative: None, cluster: Cluster) -> None:
    container = {"image": "none", "ports": [{"containerPort": 8080, "name": "http"}]}
    bad = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "bad"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    status, answer = cluster.request("POST", f"{SERVICES}?dryRun=All", bad)
    assert status == 400
    assert "validation.webhook.serving.knative.dev" in answer["message"]
    assert "Name must be empty, or one of: 'h2c', 'http1'" in answer["message"]


def test_an_inference_service_becomes_a_knative_service_that_answers(serve: Serve, cluster: Cluster) -> None:
    result = serve()
    assert result["changed"]
    service = cluster.get(f"{SERVICES}/scaled-predictor")
    assert result["revision"] == service["status"]["latestReadyRevisionName"]
    assert result["url"] == "http://scaled-predictor-model-serving.sandbox.example"
    assert models(cluster, result["url"]) == ["scaled"]
    again = serve()
    assert not again["changed"]


def test_a_change_is_waited_for_until_its_own_revision_serves(serve: Serve, cluster: Cluster) -> None:
    before = cluster.get(f"{SERVICES}/scaled-predictor")["status"]["latestReadyRevisionName"]
    environment = [
        {"name": "SERVED_MODEL_NAME", "value": "renamed"},
        {"name": "TENSOR_PARALLEL_SIZE", "value": "1"},
    ]
    result = serve(env=environment)
    status = cluster.get(f"{SERVICES}/scaled-predictor")["status"]
    assert result["revision"] == status["latestReadyRevisionName"] != before
    assert [entry["revisionName"] for entry in status["traffic"] if entry.get("percent")] == [result["revision"]]
    assert models(cluster, result["url"]) == ["renamed"]


def test_a_revision_that_cannot_start_is_told_and_the_old_one_serves_on(
    sandbox: dict[str, Any], serve: Serve, cluster: Cluster
) -> None:
    url = serve()["url"]
    options = {
        "kubeconfig": sandbox["kubeconfig"],
        "name": "scaled",
        "namespace": NAMESPACE,
        "deployment_mode": "Knative",
        "model_format": "vLLM",
        "storage_uri": "s3://llm-models/tiny-llama",
        "service_account": "model-reader",
        "runtime": "test-knative",
        "image": "docker.io/vllm/vllm-openai:no-such-tag",
        "min_replicas": 1,
        "wait_timeout": 240,
    }
    begin = time.monotonic()
    result = run_module("llmstack.serving.inferenceservice", options)
    assert result["failed"]
    assert "cannot be pulled" in result["msg"]
    assert time.monotonic() - begin < 120, "long before Knative gives up by itself"
    assert models(cluster, url) == ["scaled"]


def test_a_service_at_zero_starts_with_the_next_request(serve: Serve, cluster: Cluster) -> None:
    # The shortest times that Knative allows.
    quick = {"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "1s"}
    result = serve(min_replicas=0, annotations=quick)

    def pods() -> list[Any]:
        label = f"serving.knative.dev%2Frevision%3D{result['revision']}"
        return list(cluster.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={label}")["items"])

    wait_until("No pod of an idle service", lambda: not pods(), 180)
    assert not serve(min_replicas=0, annotations=quick)["changed"], "a service at zero is ready"
    assert models(cluster, result["url"]) == ["scaled"]
    assert pods()


def test_one_variable_deploys_all_that_is_served_as_knative_services(
    knative: None, cluster: Cluster, sandbox: dict[str, Any], audit: Audit, tmp_path: Path
) -> None:
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    variables = {
        "llmstack_deployment_mode": "Knative",
        "llmstack_namespace": namespace,
        "llmstack_runtime": namespace,
        "llmstack_report_dir": str(tmp_path),
    }
    asked_for = ("-i", "inventories/local", "-e", json.dumps(variables))
    monitoring = ("playbooks/install.yml", "--tags", "monitoring")

    def judged() -> dict[str, Any]:
        ansible_playbook(*asked_for, "playbooks/validate.yml")
        report: dict[str, Any] = json.loads((tmp_path / "sandbox-validation.json").read_text())
        return report

    try:
        assert changed(ansible_playbook(*asked_for, *monitoring)) > 0
        assert changed(ansible_playbook(*asked_for, "playbooks/deploy.yml")) > 0
        [service] = cluster.get(f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services")["items"]
        assert service["metadata"]["name"] == "tiny-llama-predictor"
        begun = len(audit())
        assert changed(ansible_playbook(*asked_for, "playbooks/deploy.yml")) == 0
        assert writes(audit()[begun:]) == []
        # Prometheus reads its new configuration after some time.
        wait_until("Prometheus sees it", lambda: "monitoring" not in str(judged()["failures"]).lower(), 240, 20)
        report = judged()
        assert (report["verdict"], report["failures"]) == ("pass", [])
        passed = {check["category"] for check in report["checks"] if check["status"] == "pass"}
        assert passed >= {"pods", "gpus", "model", "endpoints", "metrics", "autoscaling", "monitoring"}
    finally:
        ansible_playbook("-i", "inventories/local", *monitoring)
        of_kserve = "/apis/serving.kserve.io"
        cluster.request("DELETE", f"{of_kserve}/v1beta1/namespaces/{namespace}/inferenceservices/tiny-llama")
        cluster.request("DELETE", f"{of_kserve}/v1alpha1/clusterservingruntimes/{namespace}")
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


def test_knative_is_not_removed_while_it_serves(knative: None, serve: Serve, cluster: Cluster) -> None:
    serve()
    done = ansible_playbook(*UNINSTALL)
    assert done.returncode != 0
    assert re.search(r"Knative cannot be removed while it serves scaled-predictor", done.stdout)
    assert cluster.get("/apis/apps/v1/namespaces/knative-serving/deployments/controller")


def test_removed_it_leaves_the_namespace_the_crds_and_a_cluster_that_works(serve: Serve, cluster: Cluster) -> None:
    assert serve(state="absent")["changed"]
    assert changed(ansible_playbook(*UNINSTALL)) > 0
    assert cluster.get("/apis/apps/v1/namespaces/knative-serving/deployments")["items"] == []
    for kind in ("mutating", "validating"):
        hooks = cluster.get(f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations")["items"]
        assert not [hook for hook in hooks if "knative" in hook["metadata"]["name"]]
    assert cluster.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/services.serving.knative.dev")
    assert changed(ansible_playbook(*UNINSTALL)) == 0

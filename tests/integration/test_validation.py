# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A validation of models that really run: one thing is broken at a time, and exactly that check is red.

The engine is tests/tools/openai_server.py in pods of the real KServe, because it can be told what to be. What cannot be
broken here without breaking it for all (Prometheus, the version of Kubernetes) is in the unit tests of _validation.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.kube import Cluster, wait_until
from tools import checkout
from tools.playbook import ansible_playbook, recap, writes
from tools.run_module import run_module

VERSIONS = yaml.safe_load((checkout.ROOT / "roles/versions/vars/main.yml").read_text())["versions_table"]
# Any image with Python.
IMAGE = f"docker.io/kserve/storage-initializer:{VERSIONS['kserve']['version']}"
PORT = 8080
# The sandbox's Prometheus reads the monitors and rules of all namespaces.
MONITOR = "engines"
ENGINES = {"matchExpressions": [{"key": "serving.kserve.io/inferenceservice", "operator": "Exists"}]}
ISVC = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"
# Some minutes: pods start, fail and go.
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("kserve")]


def service(
    name: str,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    container: Any = None,
    **predictor: Any,
) -> dict[str, Any]:
    """An InferenceService that serves the model `good`."""
    engine = {
        "name": "kserve-container",
        "image": IMAGE,
        "command": ["/usr/local/bin/python3", "/app/openai_server.py"],
        "args": ["--host=0.0.0.0", f"--port={PORT}", "--echo"],
        "ports": [{"containerPort": PORT, "name": "http"}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi", "nvidia.com/gpu": "1"},
            "limits": {"memory": "256Mi", "nvidia.com/gpu": "1"},
        },
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
        **(container or {}),
    }
    mode = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {**mode, **(annotations or {})}, "labels": labels or {}},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "terminationGracePeriodSeconds": 30,
                "containers": [engine],
                "volumes": [{"name": "app", "configMap": {"name": "app"}}],
                **predictor,
            }
        },
    }


# Services that are broken in themselves, by the check that says so. They take their time to fail, all at once.
BROKEN: dict[str, dict[str, Any]] = {
    "gpus": service("gpus", container={"resources": {"limits": {"nvidia.com/gpu": "100"}}}),
    "pods": service("pods", container={"image": "docker.io/library/nothing:here"}),
    "model": service(
        "model",
        containers=None,
        model={"modelFormat": {"name": "vLLM"}, "runtime": "llmstack-vllm", "storageUri": "s3://nothing/here"},
    ),
    "autoscaling": service("autoscaling", {"serving.kserve.io/autoscalerClass": "hpa"}, maxReplicas=2),
    "drain": service("drain", container={"lifecycle": {}}),
    # KServe makes no route for it.
    "endpoint_gateway": service("endpoint-gateway", labels={"networking.kserve.io/visibility": "cluster-local"}),
}


def create(cluster: Cluster, path: str, manifest: dict[str, Any]) -> None:
    status, answer = cluster.request("POST", path, manifest)
    assert status in (200, 201), answer


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[str]:
    """A namespace with a service that is well, and the broken ones."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    source = (checkout.ROOT / "tests" / "tools" / "openai_server.py").read_text()
    data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"openai_server.py": source}}
    create(cluster, f"/api/v1/namespaces/{name}/configmaps", data)
    for manifest in (service("well"), *BROKEN.values()):
        create(cluster, ISVC.format(name), manifest)
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": MONITOR},
        "spec": {"selector": ENGINES, "podMetricsEndpoints": [{"port": "http", "path": "/scrape", "interval": "2s"}]},
    }
    create(cluster, f"/apis/monitoring.coreos.com/v1/namespaces/{name}/podmonitors", monitor)
    wait_until("the service", lambda: is_ready(cluster, name, "well"), 180)
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


def is_ready(cluster: Cluster, namespace: str, name: str) -> bool:
    status = cluster.get(f"{ISVC.format(namespace)}/{name}").get("status") or {}
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions") or [])


Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look(sandbox: dict[str, Any], space: str) -> Look:
    """Validates a service; returns the report."""

    def run(name: str = "well", **options: Any) -> dict[str, Any]:
        params = {
            "kubeconfig": sandbox["kubeconfig"],
            "namespace": space,
            "services": [{"name": name, "model": "good"}],
            "gateway": "kserve/kserve-ingress-gateway",
            "known_answers": [{"prompt": "The capital of France is Paris. Say it.", "pattern": "Paris"}],
            "attempts": 1,
            "enforce": False,
            **options,
        }
        done = run_module("llmstack.serving.serving_check", params)
        assert "report" in done, done
        report: dict[str, Any] = done["report"]
        return report

    return run


def seen(report: dict[str, Any], *statuses: str) -> dict[str, str]:
    """Message by check, of those with one of the statuses."""
    return {check["id"]: check["message"] for check in report["checks"] if check["status"] in statuses}


def settled(look: Look, name: str, check: str, timeout_seconds: float = 180.0) -> dict[str, Any]:
    """The first report in which the check is red: failures take their time to show."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        report = look(name)
        if check in seen(report, "fail") or time.monotonic() > deadline:
            return report
        time.sleep(5)


@pytest.fixture
def engine(cluster: Cluster, space: str) -> Iterator[Callable[[str], None]]:
    """Tells the engine of the good service what to be."""
    pods = cluster.get(f"/api/v1/namespaces/{space}/pods?labelSelector=serving.kserve.io%2Finferenceservice%3Dwell")
    [pod] = [pod["metadata"]["name"] for pod in pods["items"] if not pod["metadata"].get("deletionTimestamp")]

    def be(state: str) -> None:
        status, answer = cluster.request("GET", f"/api/v1/namespaces/{space}/pods/{pod}:{PORT}/proxy/be/{state}")
        assert status == 200, answer

    yield be
    be("good")


def test_what_is_well_passes_and_nothing_is_changed_but_one_dry_run(
    look: Look, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    report = look()
    assert seen(report, "fail", "warn") == {}
    assert set(seen(report, "pass")) >= {
        *("gpus", "pods", "model", "endpoint_service", "endpoint_gateway", "answer_model", "answer_known"),
        *("tokenizer", "streaming", "metrics", "drain"),
    }
    assert set(seen(report, "skip")) == {
        *("autoscaling", "load_test", "components", "certificates", "pod_security", "network_policies", "versions"),
        *(name for name in ("monitoring", "alerts") if name in seen(report, "skip")),
    }
    # A question goes to a pod as `create` of its proxy, and keeps nothing.
    assert [write for write in writes(audit()) if "/proxy/" not in write] == []


# What the engine is told to be, and the check that is red then.
STATES = {
    "no-models": "model",
    "other-model": "answer_model",
    "wrong": "answer_known",
    "leaky": "tokenizer",
    "two-tokenizers": "tokenizer",
    "cut": "streaming",
    "unfinished": "streaming",
    "no-metrics": "metrics",
    "frozen": "metrics",
}


@pytest.mark.parametrize("state", STATES)
def test_an_engine_that_is_wrong_in_one_thing_is_red_in_that(
    state: str, look: Look, engine: Callable[[str], None]
) -> None:
    engine(state)
    report = look()
    assert set(seen(report, "fail", "warn")) == {STATES[state]}, report["failures"]
    assert report["verdict"] == "fail"


@pytest.mark.parametrize("check", BROKEN)
def test_a_service_that_is_wrong_in_one_thing_is_red_in_that(check: str, look: Look) -> None:
    report = settled(look, BROKEN[check]["metadata"]["name"], check)
    assert set(seen(report, "fail", "warn")) == {check}, report["checks"]
    [finding] = [finding for finding in report["checks"] if finding["status"] == "fail"]
    assert finding["remediation"]


@contextmanager
def patched(cluster: Cluster, path: str, patch: dict[str, Any], undo: dict[str, Any]) -> Iterator[None]:
    cluster.merge(path, patch)
    try:
        yield
    finally:
        cluster.merge(path, undo)


@contextmanager
def made(cluster: Cluster, path: str, manifest: dict[str, Any]) -> Iterator[None]:
    create(cluster, path, manifest)
    try:
        yield
    finally:
        cluster.request("DELETE", f"{path}/{manifest['metadata']['name']}")


def test_a_namespace_that_lets_privileged_pods_in_is_red(look: Look, cluster: Cluster, space: str) -> None:
    label = "pod-security.kubernetes.io/enforce"
    path = f"/api/v1/namespaces/{space}"
    undo = {"metadata": {"labels": {label: None}}}
    with patched(cluster, path, {"metadata": {"labels": {label: "privileged"}}}, undo):
        report = look()
    assert set(seen(report, "fail", "warn")) == {"pod_security"}
    with patched(cluster, path, {"metadata": {"labels": {label: "baseline"}}}, undo):
        report = look()
    assert "pod_security" in seen(report, "pass")


def test_a_network_policy_that_misses_the_pods_is_red(look: Look, cluster: Cluster, space: str) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{space}/networkpolicies"
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "ingress"}}
    with made(cluster, path, {**policy, "spec": {"podSelector": {"matchLabels": {"app": "other"}}}}):
        assert set(seen(look(), "fail", "warn")) == {"network_policies"}
        cluster.merge(f"{path}/ingress", {"spec": {"podSelector": {"matchLabels": {"app": None}}}})
        assert "network_policies" in seen(look(), "pass")


def test_a_certificate_without_an_issuer_is_red(look: Look, cluster: Cluster, space: str) -> None:
    path = f"/apis/cert-manager.io/v1/namespaces/{space}/certificates"
    spec = {"secretName": "tls", "dnsNames": ["example.com"], "issuerRef": {"name": "nobody"}}
    manifest = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "lost"}, "spec": spec}
    with made(cluster, path, manifest):
        report = look()
    assert set(seen(report, "fail", "warn")) == {"certificates"}


def test_a_component_without_pods_is_red(look: Look, cluster: Cluster, space: str) -> None:
    path = f"/apis/apps/v1/namespaces/{space}/deployments"
    labels = {"app": "controller"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "none", "image": "nothing:here"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "controller"}, "spec": spec}
    with made(cluster, path, manifest):
        # The services of this namespace that are broken on purpose are components here too.
        message = seen(look(component_namespaces=[space]), "fail")["components"]
    assert f"Deployment {space}/controller has 0 of 1 pods ready" in message
    assert "controller" not in seen(look(component_namespaces=[space]), "fail")["components"]


def test_a_cluster_out_of_the_tested_range_is_red(look: Look) -> None:
    tested = {"gateway_api": {"version": "v0.0.1", "kubernetes": {"maximum": "1.20"}}}
    assert set(seen(look(tested_versions=tested), "fail", "warn")) == {"versions"}


def test_an_alert_that_fires_is_red(look: Look, cluster: Cluster, space: str) -> None:
    rule = {"alert": "Planted", "expr": "vector(1)", "labels": {"severity": "critical"}}
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "planted"},
        "spec": {"groups": [{"name": "planted", "rules": [rule]}]},
    }
    path = f"/apis/monitoring.coreos.com/v1/namespaces/{space}/prometheusrules"
    with made(cluster, path, manifest):
        report = settled(look, "well", "alerts")
    assert set(seen(report, "fail", "warn")) == {"alerts"}
    [finding] = [check for check in report["checks"] if check["id"] == "alerts"]
    assert any("Planted (critical)" in line for line in finding["evidence"])
    wait_until("The alert is silent", lambda: "alerts" in seen(look(), "pass"), 180)


def test_a_monitor_that_misses_the_pods_is_red(look: Look, cluster: Cluster, space: str) -> None:
    path = f"/apis/monitoring.coreos.com/v1/namespaces/{space}/podmonitors/{MONITOR}"
    other = {"matchExpressions": [{"key": "nobody", "operator": "Exists"}]}
    with patched(cluster, path, {"spec": {"selector": other}}, {"spec": {"selector": ENGINES}}):
        report = settled(look, "well", "monitoring")
    assert set(seen(report, "fail", "warn")) == {"monitoring"}
    wait_until("Prometheus sees the pods", lambda: "monitoring" in seen(look(), "pass"), 180)


def test_a_service_that_leads_nowhere_is_red(look: Look, cluster: Cluster, space: str) -> None:
    """With KServe's controller stopped, which would mend it at once."""
    controller = "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"
    pods = "/api/v1/namespaces/kserve/pods?labelSelector=control-plane%3Dkserve-controller-manager"
    own = f"/api/v1/namespaces/{space}/services/well-predictor"
    ports = cluster.get(own)["spec"]["ports"]
    nowhere = [{**ports[0], "targetPort": 9}]
    with patched(cluster, controller, {"spec": {"replicas": 0}}, {"spec": {"replicas": 1}}):
        wait_until("KServe's controller stops", lambda: cluster.get(pods)["items"] == [])
        with patched(cluster, own, {"spec": {"ports": nowhere}}, {"spec": {"ports": ports}}):
            report = look()
    assert set(seen(report, "fail", "warn")) == {"endpoint_service"}
    wait_until("KServe's controller", lambda: cluster.get(controller)["status"].get("readyReplicas") == 1, 120)
    wait_until("The service answers", lambda: "endpoint_gateway" in seen(look(), "pass"), 60)


def test_what_is_required_may_not_be_skipped(look: Look) -> None:
    assert look(required=["policies"])["verdict"] == "fail"
    assert look(required=["pods", "streaming"])["verdict"] == "pass"


def play(space: str, folder: Path, *arguments: str, **variables: Any) -> Any:
    """playbooks/validate.yml for the good service."""
    variables = {
        "validation_namespace": space,
        "validation_services": [{"name": "well", "model_name": "good"}],
        "validation_report_dir": str(folder),
        "validation_component_namespaces": [],
        "validation_attempts": 1,
        **variables,
    }
    return ansible_playbook(
        *("-i", "inventories/local", "playbooks/validate.yml", "-e", json.dumps(variables), *arguments)
    )


def test_a_slow_engine_fails_the_load_test_of_the_playbook_and_nothing_else(
    space: str, engine: Callable[[str], None], tmp_path: Path
) -> None:
    load = {"concurrency": [1, 2], "requests": 2, "warmup_requests": 0, "max_tokens": 8, "prompts": ["Hello."]}
    load["slos"] = {"ttft_p95_ms": 1500}
    done = play(space, tmp_path, validation_load_test=load)
    assert done.returncode == 0, done.stdout
    engine("slow")
    done = play(space, tmp_path, validation_load_test=load)
    assert done.returncode != 0
    assert recap(done.stdout)["failed"] == 1
    report = json.loads((tmp_path / "sandbox-validation.json").read_text())
    assert set(seen(report, "fail", "warn")) == {"load_test"}, done.stdout
    assert "ttft_p95_ms" in seen(report, "fail")["load_test"]
    for suffix in (".html", ".md", ".xml"):
        assert (tmp_path / f"sandbox-validation{suffix}").stat().st_size > 0
    page = (tmp_path / "sandbox-validation.html").read_text()
    assert "From run to run" in page and "Throughput against latency" in page
    assert len(list((tmp_path / "sandbox-validation-history").iterdir())) == 2
    # Only what fails makes it fail.
    assert play(space, tmp_path, validation_load_test=load, validation_fail_on="never").returncode == 0


def test_check_mode_sends_no_load_and_writes_nothing(space: str, tmp_path: Path) -> None:
    missing = [{"name": "well", "model_name": "good"}, {"name": "not-yet"}]
    done = play(space, tmp_path / "reports", "--check", "--diff", validation_services=missing)
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout)["changed"] == 0
    assert "not-yet is not there yet" in done.stdout
    assert not (tmp_path / "reports").exists()


def test_an_evicted_pod_gives_its_answer_to_the_end_only_with_a_pause(look: Look, cluster: Cluster, space: str) -> None:
    """The same engine with a delay for each token, with and without what makes it drain."""
    slow = {"args": ["--host=0.0.0.0", f"--port={PORT}", "--itl=0.01"]}
    create(
        cluster,
        ISVC.format(space),
        service("patient", container=slow | {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}),
    )
    create(
        cluster,
        ISVC.format(space),
        service("hasty", container=slow | {"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}),
    )
    for name in ("patient", "hasty"):
        wait_until(name, lambda name=name: is_ready(cluster, space, name), 120)
    good = look("patient", try_drain=True, known_answers=[])
    assert "to the end" in seen(good, "pass")["drain"]
    bad = look("hasty", try_drain=True, known_answers=[])
    assert set(seen(bad, "fail", "warn")) == {"drain"}
    assert "An answer was lost" in seen(bad, "fail")["drain"]

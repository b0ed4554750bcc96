# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The namespace of the models is closed and serving goes on: labels, policies, rights as the API server has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.kube import Cluster
from tools.network_policy import Peer, allowed
from tools.playbook import MUTATING, ansible_playbook

DEPLOY = ("-i", "inventories/local", "playbooks/deploy.yml")
NAMESPACE = "model-serving"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
ENGINES = f"{PODS}?labelSelector=serving.kserve.io%2Finferenceservice"
pytestmark = pytest.mark.usefixtures("real_node")


@pytest.fixture(scope="module")
def secured(cluster: Cluster, real_node: None) -> None:
    """The stack with a closed namespace, whatever the cluster was like before."""
    done = ansible_playbook(*DEPLOY, "--tags", "security")
    if done.returncode == 0 and not cluster.get(ENGINES)["items"]:
        done = ansible_playbook("-i", "inventories/local", "playbooks/site.yml")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr


@pytest.fixture(scope="module")
def policies(cluster: Cluster, secured: None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get(f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies")[
        "items"
    ]
    return found


@pytest.fixture(scope="module")
def engine(cluster: Cluster, secured: None) -> Peer:
    """The engine as its pod really is labelled."""
    pod = cluster.get(ENGINES)["items"][0]
    return Peer(NAMESPACE, pod["metadata"]["labels"])


def pod_of(cluster: Cluster, namespace: str, selector: str) -> Peer:
    """Somebody who really runs, with the labels that he really has."""
    found = cluster.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]
    assert found, f"no pod {selector} in {namespace}"
    return Peer(namespace, found[0]["metadata"]["labels"])


# --- Network


def test_gateway_prometheus_and_kserve_reach_the_engine(
    cluster: Cluster, policies: list[dict[str, Any]], engine: Peer
) -> None:
    gateway = pod_of(cluster, "kserve", "gateway.networking.k8s.io%2Fgateway-name%3Dkserve-ingress-gateway")
    prometheus = pod_of(cluster, "monitoring", "app.kubernetes.io%2Fname%3Dprometheus")
    controller = pod_of(cluster, "kserve", "control-plane%3Dkserve-controller-manager")
    for caller in (gateway, prometheus, controller):
        assert allowed(policies, caller, engine, 8080), caller
        assert not allowed(policies, caller, engine, 22), caller


def test_nobody_else_reaches_the_engine(policies: list[dict[str, Any]], engine: Peer) -> None:
    assert not allowed(policies, Peer("default", {"app": "api-gateway"}), engine, 8080)
    assert not allowed(policies, Peer("default", engine.labels), engine, 8080)
    assert not allowed(policies, Peer(NAMESPACE, {"app": "other"}), engine, 8080)
    assert not allowed(policies, Peer(address="203.0.113.7"), engine, 8080)


def test_an_engine_reaches_s3_and_dns(
    cluster: Cluster, policies: list[dict[str, Any]], engine: Peer, sandbox: dict[str, Any]
) -> None:
    host, _colon, port = sandbox["s3"]["endpoint_url"].removeprefix("http://").partition(":")
    assert allowed(policies, engine, Peer(address=host), int(port))
    dns = pod_of(cluster, "kube-system", "k8s-app%3Dkube-dns")
    # CoreDNS of the sandbox listens on 1053, behind its Service's 53.
    assert allowed(policies, engine, dns, 1053, "UDP") and allowed(policies, engine, dns, 1053, "TCP")


def test_an_engine_reaches_nothing_else(policies: list[dict[str, Any]], engine: Peer) -> None:
    assert not allowed(policies, engine, Peer(address="203.0.113.7"), 22)
    assert not allowed(policies, engine, Peer("default", {"app": "database"}), 5432)
    assert not allowed(policies, engine, Peer("kube-system", {"app": "other"}), 53)


def test_a_pod_that_has_nothing_to_do_with_serving_reaches_dns_only(policies: list[dict[str, Any]]) -> None:
    other = Peer(NAMESPACE, {"app": "other"})
    assert not allowed(policies, other, Peer(address="203.0.113.7"), 443)
    assert allowed(policies, other, Peer("kube-system", {"k8s-app": "kube-dns"}), 53, "UDP")


def test_the_load_test_reaches_engine_and_gateway(policies: list[dict[str, Any]], engine: Peer) -> None:
    labels = {"app.kubernetes.io/name": "load-test", "app.kubernetes.io/managed-by": "llmstack.serving"}
    job = Peer(NAMESPACE, labels)
    gateway = Peer("kserve", {"gateway.networking.k8s.io/gateway-name": "kserve-ingress-gateway"})
    assert allowed(policies, job, engine, 8080)
    assert allowed(policies, job, gateway, 80)
    assert not allowed(policies, job, Peer(address="203.0.113.7"), 443)


# --- Pods


def test_the_namespace_enforces_the_restricted_standard(cluster: Cluster, secured: None) -> None:
    labels = cluster.get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}}
    pod["spec"] = {"containers": [{"name": "root", "image": "none", "securityContext": {"runAsUser": 0}}]}
    status, answer = cluster.request("POST", f"{PODS}?dryRun=All", pod)
    assert status == 403
    assert 'violates PodSecurity "restricted:latest"' in answer["message"]


# --- The deployer


@pytest.fixture(scope="module")
def deployer(
    cluster: Cluster, secured: None, sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A kubeconfig with nothing but the ServiceAccount's token."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/deployer/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    status, answer = cluster.request("POST", path, request)
    assert status == 201, answer
    content = json.loads(Path(sandbox["kubeconfig"]).read_text())
    content["users"] = [{"name": content["users"][0]["name"], "user": {"token": answer["status"]["token"]}}]
    kubeconfig = tmp_path_factory.mktemp("deployer") / "kubeconfig"
    kubeconfig.write_text(json.dumps(content))
    return kubeconfig


@pytest.fixture
def variables(tmp_path: Path, deployer: Path) -> Path:
    """What the deployer's inventory says: no namespace of its own, a runtime of the namespace, and a model."""
    path = tmp_path / "deployer.yml"
    content = {
        "llmstack_kubeconfig": str(deployer),
        "llmstack_manage_namespace": False,
        # It runs a pod of its own.
        "model_storage_check": "never",
        "vllm_runtime_list": [{"name": "deployers-vllm", "namespace": NAMESPACE}],
        "llmstack_runtime": "deployers-vllm",
        "llmstack_inference_services": [{"name": "deployed", "storage_uri": "s3://llm-models/tiny-llama", "gpus": 1}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_deployer_s_token_deploys_a_model_that_runs_under_the_standard(
    cluster: Cluster, variables: Path, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    try:
        done = ansible_playbook(*DEPLOY, "-e", f"@{variables}")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
        events = [
            event for event in audit() if event["user"]["username"] == f"system:serviceaccount:{NAMESPACE}:deployer"
        ]
        assert any(event["verb"] in MUTATING for event in events)
        refused = {event["requestURI"].partition("?")[0] for event in events if event["responseStatus"]["code"] == 403}
        # How to reach the Gateway is asked for the last line of the run, which does without an answer.
        assert refused <= {"/apis/gateway.networking.k8s.io/v1/gateways"}
        service = cluster.get(f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/deployed")
        conditions = {one["type"]: one["status"] for one in service["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        [pod] = cluster.get(f"{PODS}?labelSelector=serving.kserve.io%2Finferenceservice%3Ddeployed")["items"]
        # KServe's init container too was let in under the restricted standard, and has done its work.
        [initializer] = pod["status"]["initContainerStatuses"]
        assert (initializer["name"], initializer["state"]["terminated"]["exitCode"]) == ("storage-initializer", 0)
    finally:
        for version, name in (
            ("serving.kserve.io/v1beta1", "inferenceservices/deployed"),
            ("serving.kserve.io/v1alpha1", "servingruntimes/deployers-vllm"),
            ("policy/v1", "poddisruptionbudgets/deployed"),
        ):
            cluster.request("DELETE", f"/apis/{version}/namespaces/{NAMESPACE}/{name}")


REFUSED = [
    ("list", "", "secrets", NAMESPACE, ""),
    ("get", "", "secrets", "kube-system", "any"),
    ("get", "", "secrets", NAMESPACE, "other"),
    ("patch", "", "namespaces", "", NAMESPACE),
    ("create", "", "pods", NAMESPACE, ""),
    ("create", "", "pods/exec", NAMESPACE, ""),
    ("create", "", "serviceaccounts/token", NAMESPACE, "deployer"),
    ("patch", "", "serviceaccounts", NAMESPACE, "default"),
    ("patch", "networking.k8s.io", "networkpolicies", NAMESPACE, "llmstack-default-deny"),
    ("patch", "rbac.authorization.k8s.io", "roles", NAMESPACE, "llmstack-deployer"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings", "", ""),
    ("patch", "serving.kserve.io", "clusterservingruntimes", "", "llmstack-vllm"),
    ("create", "serving.kserve.io", "inferenceservices", "default", ""),
    ("list", "", "nodes", "", ""),
]


@pytest.mark.parametrize(("verb", "group", "resource", "namespace", "name"), REFUSED)
def test_the_deployer_may_do_nothing_else(  # the API server's own answer
    cluster: Cluster, secured: None, verb: str, group: str, resource: str, namespace: str, name: str
) -> None:
    kind, _slash, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": kind, "subresource": subresource}
    attributes |= {"namespace": namespace, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:deployer",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }
    status, answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert status == 201
    assert answer["status"]["allowed"] is False

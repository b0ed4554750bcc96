# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inferenceservice on the real KServe, with real pods that download from S3 and serve, or fail in every known way."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from sandbox.kube import Cluster
from tools import checkout
from tools.playbook import writes
from tools.run_module import run_module

Serve = Callable[..., dict[str, Any]]
VERSIONS = yaml.safe_load((checkout.ROOT / "roles/versions/vars/main.yml").read_text())["versions_table"]
IMAGE = VERSIONS["vllm"]["images"]["openai"]
# Many minutes. `make test` has the rules (test_kserve_rules) and the judgement (unit tests).
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def runtime(cluster: Cluster, kserve: None) -> Iterator[str]:
    """A runtime with the smallest engine that serves."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    probe = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 2}
    container = {
        "name": "kserve-container",
        "image": IMAGE,
        "command": ["vllm", "serve"],
        "args": ["/mnt/models", "--port=8080", "--served-model-name=tiny"],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "readinessProbe": probe,
        "startupProbe": {**probe, "failureThreshold": 30},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    path = f"/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/{name}"
    manifest = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": name},
        "spec": {
            "supportedModelFormats": [{"name": "vLLM", "version": "1", "autoSelect": False}],
            "protocolVersions": ["v1", "v2"],
            "containers": [container],
        },
    }
    status, answer = cluster.request("PATCH", f"{path}?fieldManager=test", manifest, "application/apply-patch+yaml")
    assert status in (200, 201), answer
    yield name
    cluster.request("DELETE", path)


@pytest.fixture(scope="module")
def bucket(sandbox: dict[str, Any]) -> Iterator[str]:
    """A bucket with the tiny model under `tiny` and a model without weights under `broken`."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    s3 = sandbox["s3"]
    common = {
        "endpoint_url": s3["endpoint_url"],
        "region": s3["region"],
        "access_key": s3["access_key_id"],
        "secret_key": s3["secret_access_key"],
        "bucket": name,
        "create_bucket": True,
    }
    for prefix, source in (("tiny", sandbox["model"]), ("broken", f"{sandbox['model']}/config.json")):
        done = run_module("llmstack.serving.s3_model_upload", {**common, "prefix": prefix, "src": source})
        assert not done["failed"], done["msg"]
    yield name
    for prefix in ("tiny", "broken"):
        run_module("llmstack.serving.s3_model_upload", {**common, "prefix": prefix, "state": "absent", "delete": True})


@pytest.fixture
def storage(cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> str:
    """A ServiceAccount that may read the sandbox's S3."""
    s3 = sandbox["s3"]
    account(cluster, namespace, "storage", s3, s3["secret_access_key"])
    return "storage"


def put(cluster: Cluster, plural: str, manifest: dict[str, Any]) -> None:
    metadata = manifest["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}?fieldManager=test&force=true"
    status, answer = cluster.request("PATCH", path, manifest, "application/apply-patch+yaml")
    assert status in (200, 201), answer


def account(cluster: Cluster, namespace: str, name: str, s3: dict[str, str], secret_key: str) -> None:
    annotations = {
        "serving.kserve.io/s3-endpoint": s3["endpoint_url"].partition("://")[2],
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": s3["region"],
    }
    put(
        cluster,
        "secrets",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "stringData": {"AWS_ACCESS_KEY_ID": s3["access_key_id"], "AWS_SECRET_ACCESS_KEY": secret_key},
        },
    )
    metadata = {"name": name, "namespace": namespace}
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "secrets": [{"name": name}]}
    put(cluster, "serviceaccounts", made)


@pytest.fixture
def serve(sandbox: dict[str, Any], namespace: str, runtime: str, bucket: str, storage: str) -> Serve:
    """Run the module for a service that works, with other options as the test says."""
    defaults = {
        "kubeconfig": sandbox["kubeconfig"],
        "name": "tiny",
        "namespace": namespace,
        "runtime": runtime,
        "model_format": "vLLM",
        "storage_uri": f"s3://{bucket}/tiny",
        "service_account": storage,
        "wait_timeout": 300,
    }

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        return run_module("llmstack.serving.inferenceservice", {**defaults, **options}, check=check)

    return call


def done(result: dict[str, Any], changed: bool = True) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    assert result["changed"] is changed
    return result


def failed(result: dict[str, Any], *texts: str) -> None:
    assert result["failed"], result
    for text in texts:
        assert text in result["msg"], result["msg"]


def test_cycle(serve: Serve, namespace: str, audit: Callable[[], list[dict[str, Any]]]) -> None:
    def written_here() -> int:
        return sum(f"/namespaces/{namespace}/inferenceservices/" in write for write in writes(audit()))

    steps: list[tuple[dict[str, Any], bool]] = []
    for options in ({}, {"args": ["--max-model-len=1024"]}, {"state": "stopped"}, {}, {"state": "absent"}):
        steps += [(options, True), (options, False)]
    written = 0
    for options, changed in steps:
        checked = done(serve(check=True, **options), changed)
        assert written_here() == written, "check mode writes nothing"
        ran = done(serve(**options), changed)
        assert checked.get("diff") == ran.get("diff")
        written += changed
        assert written_here() == written, "one write for a change, none for a no-op"
        if options.get("state") not in ("stopped", "absent"):
            assert [pod["phase"] for pod in ran["pods"] if pod["phase"] != "is going away"] == ["is ready"]
            assert ran["url"]


def test_returns_what_is_needed_to_use_it(serve: Serve, cluster: Cluster, namespace: str) -> None:
    result = done(serve())
    assert result["endpoint"]["host"].startswith("tiny-")
    assert result["endpoint"]["cluster_local_url"].startswith("http://tiny-predictor.")
    assert result["revision"] == "1"
    assert [step["phase"] for step in result["phases"]] == ["node found", "model downloaded", "engine loaded"]
    pod = cluster.get(f"/api/v1/namespaces/{namespace}/pods/{result['pods'][0]['name']}")
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/v1/models", timeout=10) as answer:
        assert json.load(answer)["data"][0]["id"] == "tiny"


def test_change_is_waited_for_until_the_new_pods_serve(serve: Serve, cluster: Cluster, namespace: str) -> None:
    done(serve())
    changed = done(serve(args=["--max-model-len=512"]))
    pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    ready = [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"]["conditions"])
    ]
    assert ready
    for pod in ready:
        container = next(each for each in pod["spec"]["containers"] if each["name"] == "kserve-container")
        assert "--max-model-len=512" in container["args"]
    assert changed["revision"] == "2"
    path = (
        f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions?labelSelector=llmstack.serving/inferenceservice=tiny"
    )
    kept = {each["revision"]: each["data"]["spec"]["predictor"]["model"] for each in cluster.get(path)["items"]}
    assert [("args" in kept[number]) for number in sorted(kept)] == [False, True], "what a rollback needs"


def test_scaling_restarts_no_pod(serve: Serve, cluster: Cluster, namespace: str) -> None:
    first = done(serve())["pods"][0]["name"]
    scaled = done(serve(replicas=2))
    names = {pod["name"] for pod in scaled["pods"]}
    assert first in names
    assert len(names) == 2
    assert scaled["revision"] == "1"


def test_failing_update_says_that_the_old_revision_serves_and_can_be_mended(
    serve: Serve, sandbox: Any, namespace: str
) -> None:
    done(serve())
    failed(serve(args=["--no-such-option"]), "an older revision still serves", "it does not know an argument")
    info = run_module(
        "llmstack.serving.inferenceservice_info", {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace}
    )
    health = info["inferenceservices"][0]["health"]
    assert (health["state"], health["cause"]) == ("degraded", "argument")
    done(serve())
    info = run_module(
        "llmstack.serving.inferenceservice_info", {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace}
    )
    assert info["inferenceservices"][0]["health"]["state"] == "ready"


# Every class of failure, with a pod that really fails


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"image": "docker.io/vllm/vllm-openai:no-such-tag"}, ("cannot be pulled", "Correct the image's name and tag")),
        ({"args": ["--max-modell-len=5"]}, ("it does not know an argument", "--max-modell-len")),
        (
            {"resources": {"limits": {"memory": "8Mi"}, "requests": {"memory": "8Mi"}}},
            ("ran out of memory (not GPU memory)",),
        ),
        (
            {"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "k"}}}]},
            ('secret "no-such-secret" not found',),
        ),
        ({"gpus": 64}, ("too little nvidia.com/gpu on",)),
        ({"node_selector": {"no-such": "label"}}, ("No node fits", "Compare node_selector")),
        (
            {
                "startup_probe": {
                    "httpGet": {"path": "/nowhere", "port": 8080},
                    "periodSeconds": 1,
                    "failureThreshold": 2,
                    "timeoutSeconds": 1,
                }
            },
            ("its startup probe failed too often",),
        ),
        ({"service_account": "nobody"}, ("nobody", "Create the ServiceAccount")),
        ({"model_format": "vllm"}, ("NoSupportingRuntime", "case-sensitive")),
        ({"runtime": "no-such-runtime"}, ("RuntimeNotRecognized", "Create the runtime first")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_failure(serve: Serve, options: dict[str, Any], texts: tuple[str, ...]) -> None:
    begin = time.monotonic()
    failed(serve(**options), "does not serve", *texts)
    assert time.monotonic() - begin < 290, "fails before the timeout"


def test_model_that_is_not_there(serve: Serve, bucket: str) -> None:
    failed(serve(storage_uri=f"s3://{bucket}/nothing"), "there is no model at storage_uri", "s3_model_upload")


def test_bucket_that_is_not_there(serve: Serve) -> None:
    failed(serve(storage_uri="s3://no-such-bucket-anywhere/tiny"), "there is no model at storage_uri")


def test_model_that_is_incomplete(serve: Serve, bucket: str) -> None:
    failed(serve(storage_uri=f"s3://{bucket}/broken"), "the model's files are incomplete or of another format")


def test_wrong_storage_credentials(serve: Serve, cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> None:
    account(cluster, namespace, "wrong", sandbox["s3"], "not-the-key")
    failed(serve(service_account="wrong"), "the storage does not accept the credentials")


def test_storage_that_does_not_answer(serve: Serve, cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> None:
    nowhere = {**sandbox["s3"], "endpoint_url": "http://nowhere.invalid:9000"}
    account(cluster, namespace, "nowhere", nowhere, "x")
    failed(serve(service_account="nowhere"), "the storage cannot be reached")


def test_quota(serve: Serve, cluster: Cluster, namespace: str) -> None:
    put(
        cluster,
        "resourcequotas",
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": namespace},
            "spec": {"hard": {"pods": "0"}},
        },
    )
    failed(serve(), "exceeded quota: none", "Raise the ResourceQuota")


def test_pod_security(serve: Serve, cluster: Cluster, namespace: str) -> None:
    cluster.merge(
        f"/api/v1/namespaces/{namespace}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    )
    failed(serve(pod_security_context={"runAsUser": 0, "runAsNonRoot": False}), "violates PodSecurity")


def test_options_that_kserve_refuses_write_nothing(serve: Serve, namespace: str, cluster: Cluster) -> None:
    failed(serve(scale_metric="concurrency", scale_target=60), "needs KEDA", "Nothing was changed.")
    failed(serve(min_replicas=3, max_replicas=2), "min_replicas (3) is greater than max_replicas (2)")
    failed(serve(definition={"spec": {"predictor": {"modell": {}}}}), "unknown field .spec.predictor.modell")
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
    assert cluster.get(path)["items"] == []

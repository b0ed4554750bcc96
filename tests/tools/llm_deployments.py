# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small LLM deployments on the sandbox: what they need around them, and how to ask them."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from sandbox.kube import Cluster
from tools import checkout, sandbox_s3
from tools.run_module import run_module

VERSIONS = yaml.safe_load((checkout.ROOT / "roles/versions/vars/main.yml").read_text())["versions_table"]
SERVED = "/apis/serving.kserve.io/v1alpha2"
SMALL = {"cpu": "10m", "memory": "256Mi"}
PICKER = {"resources": {"cpu": "50m", "memory": "512Mi"}}


def caching(*arguments: str) -> list[dict[str, Any]]:
    """Environment of an engine whose simulator keeps a prefix cache; it then wants to know which pod it is."""
    fields = {"POD_IP": "status.podIP", "POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    simulator = " ".join(("--enable-kvcache", "--kv-cache-size", "2048", "--block-size", "16", *arguments))
    return [
        {"name": "SANDBOX_SIMULATOR_ARGS", "value": simulator},
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]


def small(replicas: int = 1, arguments: tuple[str, ...] = (), picker: bool = True, **options: Any) -> dict[str, Any]:
    """Options of llmdeployment for one group of pods that fits beside others, with or without endpoint picker."""
    decode = {"replicas": replicas, "resources": SMALL, "env": caching(*arguments)}
    routing: dict[str, Any] = {"gateway": PICKER} if picker else {"scheduler": {"enabled": False}}
    return {"name": "chat", "model": {"name": "tiny/chat"}, "serving": {**routing, "decode": decode}, **options}


@contextmanager
def uploaded(sandbox: dict[str, Any]) -> Iterator[str]:
    """Where the tiny model is in S3, as long as it is needed."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    common = {**sandbox_s3.upload_options(sandbox, name), "prefix": "tiny"}
    done = run_module("llmstack.serving.s3_model_upload", {**common, "src": sandbox["model"]})
    assert not done["failed"], done["msg"]
    yield f"s3://{name}/tiny"
    run_module("llmstack.serving.s3_model_upload", {**common, "state": "absent", "delete": True})


def prepared(cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Options that every deployment of a namespace has; the namespace gets restricted Pod Security and an account."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": label}})
    s3 = sandbox["s3"]
    annotations = {
        "serving.kserve.io/s3-endpoint": s3["endpoint_url"].partition("://")[2],
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": s3["region"],
    }
    metadata = {"name": "storage", "namespace": namespace}
    definitions = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "annotations": annotations},
            "stringData": {"AWS_ACCESS_KEY_ID": s3["access_key_id"], "AWS_SECRET_ACCESS_KEY": s3["secret_access_key"]},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "secrets": [{"name": "storage"}]},
    ]
    settings = {"kubeconfig": sandbox["kubeconfig"], "definitions": definitions}
    done = run_module("llmstack.serving.apply", settings)
    assert not done["failed"], done["msg"]
    return {
        "kubeconfig": sandbox["kubeconfig"],
        "namespace": namespace,
        "service_account": "storage",
        "image": VERSIONS["vllm"]["images"]["openai"],
        "pod_security_context": {"runAsUser": 2000, "runAsGroup": 0},
        "termination_grace_period_seconds": 5,
        "wait_timeout": 240,
    }


def removed(cluster: Cluster, namespace: str, common: dict[str, Any]) -> None:
    """Before its namespace: the controller removes what a namespace does not take along."""
    for service in cluster.get(f"{SERVED}/namespaces/{namespace}/llminferenceservices")["items"]:
        name = service["metadata"]["name"]
        run_module("llmstack.serving.llmdeployment", {**common, "name": name, "state": "absent"})


def ask(
    cluster: Cluster, result: dict[str, Any], prompt: str, tokens: int = 4, gateway: str = ""
) -> tuple[dict[str, Any], Any]:
    """A completion by way of the gateway's proxies, and the headers of the answer. `result` is llmdeployment's.

    `gateway` is the address of the proxies; without one it is that of the stack's Gateway.
    """
    if not gateway:
        gateway = cluster.get("/api/v1/namespaces/kserve/services/kserve-ingress-gateway-istio")["spec"]["clusterIP"]
    name = result["llmdeployment"]["spec"]["model"]["name"]
    request = urllib.request.Request(
        f"http://{gateway}{result['endpoint']['path']}/v1/completions",
        json.dumps({"model": name, "prompt": prompt, "max_tokens": tokens}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer), answer.headers


def cached_share(answer: dict[str, Any]) -> float:
    """Share of a prompt's tokens that an engine had in its cache."""
    usage = answer["usage"]
    return ((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0) / usage["prompt_tokens"]

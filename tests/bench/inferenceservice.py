# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What module inferenceservice and role inference_service cost, against kubernetes.core.k8s and ansible.builtin.ping.

Runs beside the model that `make site` serves: one more service that serves, and services that are stopped, so that
nothing but the tasks costs anything.
"""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import Any

import _tasks
from _tasks import KUBECONFIG, per_task, playbook_seconds

from sandbox.kube import Cluster

TASKS, SERVICES, WATCHED = 10, 50, 20
NAMESPACE, RUNTIME, ACCOUNT, MODEL = "model-serving", "llmstack-vllm", "model-reader", "s3://llm-models/tiny-llama"
STOP = {"serving.kserve.io/stop": "true"}
PATH = "/apis/serving.kserve.io/v1beta1/namespaces/{0}/inferenceservices/{1}"
show = partial(_tasks.show, "inferenceservice")


def role(namespace: str, count: int) -> dict[str, Any]:
    """The role with so many stopped services."""
    services = [
        {"name": f"bench-{number}", "storage_uri": MODEL, "gpus": 0, "annotations": STOP} for number in range(count)
    ]
    variables = {"inference_service_namespace": namespace, "inference_service_list": services}
    defaults = {"group/llmstack.serving.llmstack": {"kubeconfig": KUBECONFIG}}
    included = {"ansible.builtin.include_role": {"name": "llmstack.serving.inference_service"}, "vars": variables}
    return {"block": [included], "module_defaults": defaults}


def measure_one(cluster: Cluster, name: str) -> float:
    """The costs of a second run for a service that serves; returns the seconds of a task of kubernetes.core.k8s."""
    options = {
        "kubeconfig": KUBECONFIG,
        "name": name,
        "namespace": NAMESPACE,
        "runtime": RUNTIME,
        "model_format": "vLLM",
        "storage_uri": MODEL,
        "service_account": ACCOUNT,
        "gpus": 1,
    }
    task = {"llmstack.serving.inferenceservice": options}
    playbook_seconds([task])
    served = cluster.get(PATH.format(NAMESPACE, name))
    manifest = {
        "apiVersion": served["apiVersion"],
        "kind": served["kind"],
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": served["metadata"]["annotations"]},
        "spec": served["spec"],
    }
    ping, theirs, ours = per_task([{"ansible.builtin.ping": {}}, _tasks.kubernetes_core_task(manifest), task], TASKS)
    show("ansible.builtin.ping", ping, "s a task")
    show("kubernetes.core.k8s, InferenceService unchanged, no wait", theirs, "s a task", "ping", theirs / ping)
    show("inferenceservice unchanged, serves", ours, "s a task", "ping (limit 1.5)", ours / ping)
    show("inferenceservice unchanged, serves", ours, "s a task", "kubernetes.core.k8s (at least 2)", theirs / ours)
    mine = {**options, **_tasks.impersonation(name)}
    sent = _tasks.events_of(partial(_tasks.peak_mebibytes, "inferenceservice", mine), name)
    show("inferenceservice unchanged, serves: requests", len(sent), "requests", "limit 4", len(sent) / 4)
    peak = _tasks.peak_mebibytes("inferenceservice", options)
    show("inferenceservice unchanged, serves: peak RSS", peak, "MiB", "limit 80 MB", peak * 2**20 / 80e6)
    return theirs


def measure_many(namespace: str, theirs: float) -> None:
    playbook_seconds([role(namespace, SERVICES)])
    [seconds] = per_task([role(namespace, SERVICES)], 1)
    against = f"{SERVICES} tasks of kubernetes.core.k8s (at least 10)"
    show(f"role inference_service, {SERVICES} services unchanged", seconds, "s", against, SERVICES * theirs / seconds)


def measure_watches(cluster: Cluster, namespace: str) -> None:
    services = [
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": f"watched-{number}",
                "namespace": namespace,
                "annotations": {**STOP, "serving.kserve.io/deploymentMode": "Standard"},
            },
            "spec": {
                "predictor": {"model": {"modelFormat": {"name": "vLLM"}, "runtime": RUNTIME, "storageUri": MODEL}}
            },
        }
        for number in range(WATCHED)
    ]
    options = {"kubeconfig": KUBECONFIG, "definitions": services, **_tasks.impersonation(namespace)}
    events = _tasks.events_of(partial(_tasks.peak_mebibytes, "apply", options), namespace)
    watches = {event["objectRef"]["resource"] for event in events if event["verb"] == "watch"}
    sent = sum(event["verb"] == "watch" for event in events)
    against = f"kinds ({', '.join(sorted(watches))})"
    show(f"wait for {WATCHED} new services of a namespace: watches", sent, "watches", against, sent / len(watches))


def main() -> None:
    cluster = Cluster(Path(KUBECONFIG))
    name = f"bench-{uuid.uuid4().hex[:8]}"
    try:
        theirs = measure_one(cluster, name)
        measure_many(name, theirs)
        measure_watches(cluster, name)
    finally:
        cluster.request("DELETE", PATH.format(NAMESPACE, name))
        cluster.request("DELETE", f"/api/v1/namespaces/{name}")


if __name__ == "__main__":
    main()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What module llmdeployment costs that finds a deployment as it is wanted, against kubernetes.core.k8s and ping.

One pod and its endpoint picker, which both serve: more of them would keep the cores of a small machine busy.
"""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import Any

import _tasks
from _tasks import ENDPOINTS, per_task

from sandbox.kube import Cluster
from tools.llm_deployments import prepared, removed, small, uploaded
from tools.run_module import run_module

TASKS = 10
show = partial(_tasks.show, "llmdeployment")


def measure(served: dict[str, Any], arguments: dict[str, Any]) -> None:
    """What a task costs that finds a deployment as it is wanted, and serving."""
    metadata = {key: served["metadata"][key] for key in ("name", "namespace", "annotations")}
    manifest = {key: served[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": metadata}
    task = {"llmstack.serving.llmdeployment": arguments}
    ping, theirs, ours = per_task([{"ansible.builtin.ping": {}}, _tasks.kubernetes_core_task(manifest), task], TASKS)
    show("ansible.builtin.ping", ping, "s a task")
    show("kubernetes.core.k8s, LLMInferenceService unchanged, no wait", theirs, "s a task", "ping", theirs / ping)
    show("llmdeployment unchanged, serves", ours, "s a task", "ping (limit 1.5)", ours / ping)
    show("llmdeployment unchanged, serves", ours, "s a task", "kubernetes.core.k8s (at least 2)", theirs / ours)
    mine = {**arguments, **_tasks.impersonation(metadata["name"])}
    sent = _tasks.events_of(partial(_tasks.peak_mebibytes, "llmdeployment", mine), metadata["name"])
    show("llmdeployment unchanged, serves: requests", len(sent), "requests", "limit 6", len(sent) / 6)


def main() -> None:
    cluster = Cluster(Path(ENDPOINTS["kubeconfig"]))
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    common = prepared(cluster, ENDPOINTS, namespace)
    try:
        with uploaded(ENDPOINTS) as uri:
            arguments = {**common, **small(name=namespace), "model": {"name": "chat", "uri": uri}}
            result = run_module("llmstack.serving.llmdeployment", arguments)
            assert not result["failed"], result["msg"]
            measure(result["llmdeployment"], arguments)
    finally:
        removed(cluster, namespace, common)
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


if __name__ == "__main__":
    main()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task costs that has nothing to change, against kubernetes.core.k8s and ansible.builtin.ping.

Runs in a namespace of its own on the sandbox, with stopped InferenceServices: nothing waits or starts pods.
"""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import Any

import _tasks
from _tasks import KUBECONFIG, per_task, playbook_seconds

from sandbox.kube import Cluster

TASKS, SERVICES = 10, 50
show = partial(_tasks.show, "apply_noop")


def service(namespace: str, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": f"bench-{number}",
            "namespace": namespace,
            "annotations": {"serving.kserve.io/stop": "true", "serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {"predictor": {"model": {"modelFormat": {"name": "vLLM"}, "storageUri": "s3://models/tiny"}}},
    }


def main() -> None:
    cluster = Cluster(Path(KUBECONFIG))
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        services = [service(namespace, number) for number in range(SERVICES)]
        one = {"kubeconfig": KUBECONFIG, "definitions": services[:1]}
        many = {"kubeconfig": KUBECONFIG, "definitions": services}
        playbook_seconds([{"llmstack.serving.apply": {**many, "wait": False}}])
        apply_one, apply_many = ({"llmstack.serving.apply": options} for options in (one, many))
        ping, theirs, ours = per_task(
            [{"ansible.builtin.ping": {}}, _tasks.kubernetes_core_task(services[0]), apply_one], TASKS
        )
        [all_ours] = per_task([apply_many], 1)
        show("ansible.builtin.ping", ping, "s a task")
        show("kubernetes.core.k8s, InferenceService unchanged", theirs, "s a task", "ping", theirs / ping)
        show(
            "apply, InferenceService unchanged",
            ours,
            "s a task",
            "kubernetes.core.k8s (higher is better)",
            theirs / ours,
        )
        show("apply, InferenceService unchanged", ours, "s a task", "ping", ours / ping)
        show(
            f"apply, {SERVICES} InferenceServices unchanged",
            all_ours,
            "s",
            f"{SERVICES} tasks of kubernetes.core.k8s (higher is better)",
            SERVICES * theirs / all_ours,
        )
        mine = {**one, **_tasks.impersonation(namespace)}
        sent = _tasks.events_of(partial(_tasks.peak_mebibytes, "apply", mine), namespace)
        show("apply, InferenceService unchanged: requests", len(sent), "requests")
        show("apply, InferenceService unchanged: peak RSS", _tasks.peak_mebibytes("apply", one), "MiB")
    finally:
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


if __name__ == "__main__":
    main()

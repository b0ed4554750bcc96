# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task costs that has nothing to change, against kubernetes.core.k8s and ansible.builtin.ping.

Runs in a namespace of its own on the sandbox, with stopped InferenceServices: nothing waits or starts pods.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from sandbox.kube import Cluster  # noqa: E402

BENCH = "apply_noop"
TASKS, SERVICES = 10, 50
ENDPOINTS = json.loads((ROOT / ".sandbox" / "endpoints.json").read_text())
KUBECONFIG = ENDPOINTS["kubeconfig"]


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


def playbook_seconds(tasks: list[dict[str, Any]]) -> float:
    """Wall time of a playbook with these tasks."""
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks or [{"ansible.builtin.meta": "noop"}]}
    collections = f"{ROOT / 'playbooks' / 'collections'}:{Path(os.__file__).parent / 'site-packages'}"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([play], file)
        file.flush()
        begin = time.monotonic()
        command = [str(Path(sys.executable).with_name("ansible-playbook")), file.name]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        seconds = time.monotonic() - begin
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return seconds


def per_task(task: dict[str, Any], empty: float, count: int = TASKS) -> float:
    """The better of two runs: other work on the machine only ever makes it slower."""
    return min((playbook_seconds([task] * count) - empty) / count for _run in range(2))


def peak_mebibytes(args: dict[str, Any]) -> float:
    """Peak RSS of the module's process."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"ANSIBLE_MODULE_ARGS": args}, file)
        file.flush()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "playbooks" / "collections")}
        command = [sys.executable, str(ROOT / "plugins" / "modules" / "apply.py"), file.name]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("The module failed.")
    return usage.ru_maxrss / 1024


def requests_of(args: dict[str, Any]) -> int:
    """What one call sends to the API server, by its audit log."""
    log = Path(ENDPOINTS["audit_log"])
    begin = log.stat().st_size
    peak_mebibytes(args)
    time.sleep(1)
    with log.open("rb") as file:
        file.seek(begin)
        return sum(b'"userAgent":"llmstack.serving"' in line for line in file)


def show(measure: str, value: float, unit: str, against: str | None = None, ratio: float | None = None) -> None:
    result = {"bench": BENCH, "measure": measure, "value": round(value, 3), "unit": unit, "against": against}
    print(json.dumps({**result, "ratio": None if ratio is None else round(ratio, 2)}), flush=True)


def main() -> None:
    cluster = Cluster(Path(KUBECONFIG))
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        services = [service(namespace, number) for number in range(SERVICES)]
        one = {"kubeconfig": KUBECONFIG, "definitions": services[:1]}
        many = {"kubeconfig": KUBECONFIG, "definitions": services}
        playbook_seconds([{"llmstack.serving.apply": {**many, "wait": False}}])
        empty = playbook_seconds([])
        ping = per_task({"ansible.builtin.ping": {}}, empty)
        theirs = per_task(
            {
                "kubernetes.core.k8s": {
                    "kubeconfig": KUBECONFIG,
                    "definition": services[0],
                    "apply": True,
                    "server_side_apply": {"field_manager": "llmstack.serving"},
                }
            },
            empty,
        )
        ours = per_task({"llmstack.serving.apply": one}, empty)
        all_ours = per_task({"llmstack.serving.apply": many}, empty, 1)
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
        show("apply, InferenceService unchanged: requests", requests_of(one), "requests")
        show("apply, InferenceService unchanged: peak RSS", peak_mebibytes(one), "MiB")
    finally:
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


if __name__ == "__main__":
    main()

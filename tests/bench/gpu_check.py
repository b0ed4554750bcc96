# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_check on 5,000 nodes and 40,000 pods of a real API server, on a quarter of that, and on 10 nodes beside k8s_info.

The API server and its etcd run for this bench only. Nodes and pods are objects that nobody acts upon, of the size
of real ones (about 4 KB each). Times are those of the module's whole process, with Python and its imports.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from sandbox import binaries, go, plan  # noqa: E402 - the path is set above
from sandbox.kube import Cluster, wait_until  # noqa: E402
from sandbox.layout import Layout, Ranges  # noqa: E402
from tools import gpu_nodes  # noqa: E402

NODES, PODS_PER_NODE = 5000, 8
MODULE = """
import json, sys
from importlib import import_module
from ansible.module_utils.testing import patch_module_args
module = import_module(sys.argv[1])
with patch_module_args(json.loads(sys.argv[2])):
    module.main()
"""
GPU_CHECK = "ansible_collections.llmstack.serving.plugins.modules.gpu_check"
K8S_INFO = "ansible_collections.kubernetes.core.plugins.modules.k8s_info"
IMAGES = [{"names": [f"registry.example.com/team/image-{index}:v1.2.3"], "sizeBytes": 123456789} for index in range(30)]
PADDING = {f"example.com/note-{index}": "x" * 200 for index in range(10)}


def show(measure: str, value: float, unit: str, against: str, limit: float) -> None:
    result = {"bench": "gpu_check", "measure": measure, "value": round(value, 2), "unit": unit}
    print(json.dumps({**result, "against": against, "ratio": round(value / limit, 2)}), flush=True)


@contextmanager
def api_server(folder: Path) -> Iterator[Cluster]:
    """etcd and kube-apiserver on loopback."""
    made = go.ensure([binaries.ALL[name] for name in ("etcd", "kube-apiserver")])
    every = {**dict.fromkeys(binaries.ALL, Path("/nonexistent")), **made}
    layout = Layout(folder)
    folder.mkdir()
    planned = plan.make(layout, Ranges(0), every, real_node=False)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for process in planned.processes:
            if process.name in ("etcd", "kube-apiserver"):
                environment = {**os.environ, **process.environment}
                log = (folder / f"{process.name}.log").open("wb")
                started.append(subprocess.Popen(process.command, env=environment, stdout=log, stderr=log))
        cluster = Cluster(layout.kubeconfig)
        wait_until("A ready API server", cluster.is_ready)
        yield cluster
    finally:
        for running in reversed(started):
            running.kill()
            running.wait()


class Loader:
    """Creates objects over one kept connection per thread."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._local = cluster, threading.local()

    def post(self, path: str, body: dict[str, Any]) -> None:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPSConnection(self._cluster._host, context=self._cluster._context)
        connection = self._local.connection
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"POST {path}: {answer.status} {text.decode()[:300]}")

    def all(self, path: str, bodies: Iterable[dict[str, Any]]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda body: self.post(path, body), bodies))


def nodes(numbers: range) -> Iterator[dict[str, Any]]:
    for number in numbers:
        node = gpu_nodes.node(f"gpu-{number}")
        node["metadata"]["annotations"] = dict(list(PADDING.items())[:4])
        node["status"]["images"] = IMAGES
        yield node


def pods(numbers: range) -> Iterator[dict[str, Any]]:
    for number in numbers:
        for index in range(PODS_PER_NODE):
            gpus = {"nvidia.com/gpu": "1"} if index < 2 else {}
            pod = gpu_nodes.pod(f"pod-{number}-{index}", f"gpu-{number}", gpus, namespace="bench")
            pod["metadata"]["annotations"] = PADDING
            pod["spec"]["containers"][0]["image"] = "registry.example.com/team/model:v1"
            yield pod


def load(cluster: Cluster, numbers: range) -> None:
    begin = time.monotonic()
    loader = Loader(cluster)
    loader.all("/api/v1/nodes", nodes(numbers))
    loader.all("/api/v1/namespaces/bench/pods", pods(numbers))
    print(f"{len(numbers)} nodes and {len(numbers) * PODS_PER_NODE} pods: {time.monotonic() - begin:.0f} s to create")


def module(name: str, **params: Any) -> tuple[dict[str, Any], float, float]:
    """The result of a module in a process of its own, its seconds, and the most memory it had, in MB."""
    args = {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **params}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "playbooks" / "collections")}
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", MODULE, name, json.dumps(args)], env=environment, stdout=output
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        output.seek(0)
        text = output.read().decode()
    if status:
        sys.exit(text[-3000:])
    return json.loads(text), seconds, usage.ru_maxrss / 1000


def best(name: str, runs: int, **params: Any) -> float:
    return min(module(name, **params)[1] for _run in range(runs))


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="llmstack-bench-") as folder,
        api_server(Path(folder, "sandbox")) as cluster,
    ):
        kubeconfig = str(Layout(Path(folder, "sandbox")).kubeconfig)
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "bench"}}
        cluster.apply(account)
        load(cluster, range(10))
        ours = best(GPU_CHECK, 5, kubeconfig=kubeconfig, fail_on="never")
        theirs = best(K8S_INFO, 5, kubeconfig=kubeconfig, kind="Node")
        show("10 nodes, best of 5", ours, "s", "kubernetes.core.k8s_info of the nodes", theirs)
        load(cluster, range(10, NODES // 4))
        _result, quarter, _memory = module(GPU_CHECK, kubeconfig=kubeconfig, fail_on="never")
        load(cluster, range(NODES // 4, NODES))
        result, seconds, memory = module(GPU_CHECK, kubeconfig=kubeconfig, fail_on="never")
    assert result["summary"]["gpus_free"] == NODES * 6, result["summary"]
    show(f"{NODES} nodes, {NODES * PODS_PER_NODE} pods", seconds, "s", "limit 10 s", 10)
    show("memory of that", memory, "MB", "limit 300 MB", 300)
    show("time for four times as many nodes and pods", seconds / quarter, "times", "linear", 4)


if __name__ == "__main__":
    main()

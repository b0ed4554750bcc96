# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routing by cached prefixes against any pod in turn: the same requests and pods, with and without endpoint picker.

A workload with shared beginnings, as chats and agents have: who is sent where its beginning is cached need not have it
read again. The simulator needs time for each token that is not cached. Also: what a task costs that changes nothing.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import _tasks
from _tasks import ENDPOINTS, ROOT, per_task

sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.llmstack.serving.plugins.module_utils._load_plot import Series, line_chart
from sandbox.kube import Cluster
from tools.llm_deployments import ask, cached_share, prepared, removed, small, uploaded
from tools.run_module import run_module

PODS, BEGINNINGS, REQUESTS, TASKS = 4, 8, 120, 10
# 100 us for each token: 800 tokens that are not cached take 80 ms.
ENGINE = ("--latency-calculator", "per-token", "--prefill-time-per-token", "100us")
show = partial(_tasks.show, "llm_routing")


def measured(cluster: Cluster, result: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Cached share and milliseconds to the first token of each request."""
    order = random.Random(1)
    shares, milliseconds = [], []
    for number in range(REQUESTS):
        beginning = order.randrange(BEGINNINGS)
        begin = time.monotonic()
        answer, _headers = ask(cluster, result, f"{beginning} " * 800 + f"question {number}", tokens=1)
        milliseconds.append(1000 * (time.monotonic() - begin))
        shares.append(cached_share(answer))
    return shares, milliseconds


def measure_again(served: dict[str, Any], arguments: dict[str, Any]) -> None:
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


def so_far(values: list[float]) -> list[tuple[float, float]]:
    return [(float(number), statistics.fmean(values[:number])) for number in range(1, len(values) + 1)]


def main() -> int:
    cluster = Cluster(Path(ENDPOINTS["kubeconfig"]))
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    found: dict[str, tuple[list[float], list[float]]] = {}
    try:
        with uploaded(ENDPOINTS) as uri:
            common = prepared(cluster, ENDPOINTS, namespace)
            for name in ("picker", "turn"):
                options = small(PODS, ENGINE, name=name)
                options["model"] = {"name": name, "uri": uri}
                if name == "turn":
                    # Without the picker there is nothing that its resources could mean.
                    del options["serving"]["gateway"]
                    options["serving"]["scheduler"] = {"enabled": False}
                arguments = {**common, **options}
                result = run_module("llmstack.serving.llmdeployment", arguments)
                assert not result["failed"], result["msg"]
                found[name] = measured(cluster, result)
                if name == "picker":
                    measure_again(result["llmdeployment"], arguments)
                run_module("llmstack.serving.llmdeployment", {**common, "name": name, "state": "absent"})
    finally:
        removed(cluster, namespace, common)
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")
    (aware, fast), (blind, slow) = found["picker"], found["turn"]
    against = f"any pod in turn, {PODS} pods, {BEGINNINGS} beginnings, {REQUESTS} requests"
    show(
        "cached share of prompts, by prefix",
        statistics.fmean(aware),
        "",
        against,
        statistics.fmean(aware) / statistics.fmean(blind),
    )
    first, second = statistics.median(fast), statistics.median(slow)
    show("time to first token, by prefix, median", first, "ms", against, first / second)
    chart = line_chart(
        [Series("by prefix", so_far(aware)), Series("in turn", so_far(blind))], "requests", "cached share of prompts"
    )
    path = Path(os.environ.get("LLMSTACK_BENCH_PLOTS") or ENDPOINTS["report_dir"]) / "llm-routing.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(chart)
    print(f"plot: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

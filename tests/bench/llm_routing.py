# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routing by cached prefixes against any pod in turn: the same requests and pods, with and without endpoint picker.

A workload with shared beginnings, as chats and agents have: who is sent where its beginning is cached need not have it
read again. The simulator needs time for each token that is not cached.
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
from _tasks import ENDPOINTS, ROOT

sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.llmstack.serving.plugins.module_utils._load_plot import Series, line_chart
from sandbox.kube import Cluster
from tools.llm_deployments import ask, cached_share, prepared, removed, small, uploaded
from tools.run_module import run_module

PODS, BEGINNINGS, REQUESTS = 4, 16, 160
# More than the few percent of a core that tests give it, which are all it would get.
PICKER = {"resources": {"cpu": "500m", "memory": "512Mi"}}
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
            for name, picker in (("picker", True), ("turn", False)):
                options = small(PODS, ENGINE, picker, name=name, model={"name": name, "uri": uri})
                if picker:
                    options["serving"]["gateway"] = PICKER
                result = run_module("llmstack.serving.llmdeployment", {**common, **options})
                assert not result["failed"], result["msg"]
                found[name] = measured(cluster, result)
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
    for name, of in (("mean", statistics.fmean), ("median", statistics.median)):
        show(f"time to first token, by prefix, {name}", of(fast), "ms", against, of(fast) / of(slow))
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

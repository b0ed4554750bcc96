# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routing by cached prefixes against any pod in turn: the same requests and pods, with and without endpoint picker.

A workload with shared beginnings, as chats and agents have: who is sent where its beginning is cached need not have it
read again. The simulator needs time for each token that is not cached. Also: what a task costs that changes nothing.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from ansible_collections.llmstack.serving.plugins.module_utils._load_plot import Series, line_chart  # noqa: E402
from sandbox.kube import Cluster  # noqa: E402
from tools.llm_deployments import ask, cached_share, prepared, removed, small, uploaded  # noqa: E402
from tools.run_module import run_module  # noqa: E402

BENCH = "llm_routing"
PODS, BEGINNINGS, REQUESTS = 4, 8, 120
# 100 us for each token: 800 tokens that are not cached take 80 ms.
ENGINE = ("--latency-calculator", "per-token", "--prefill-time-per-token", "100us")
ENDPOINTS = json.loads((ROOT / ".sandbox" / "endpoints.json").read_text())


def told(measure: str, value: float, unit: str, against: str | None = None, ratio: float | None = None) -> None:
    ratio = None if ratio is None else round(ratio, 2)
    line = {
        "bench": BENCH,
        "measure": measure,
        "value": round(value, 3),
        "unit": unit,
        "against": against,
        "ratio": ratio,
    }
    print(json.dumps(line), flush=True)


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
            for name, scheduler in (("picker", {}), ("turn", {"enabled": False})):
                options = small(PODS, ENGINE, name=name)
                options["model"] = {"name": name, "uri": uri}
                options["serving"] |= {"scheduler": scheduler}
                arguments = {**common, **options}
                result = run_module("llmstack.serving.llmdeployment", arguments)
                assert not result["failed"], result["msg"]
                found[name] = measured(cluster, result)
                if name == "picker":
                    begin = time.monotonic()
                    again = run_module("llmstack.serving.llmdeployment", arguments)
                    seconds = time.monotonic() - begin
                    assert not again["changed"]
                    begin = time.monotonic()
                    run_module("ansible.builtin.ping", {})
                    empty = time.monotonic() - begin
                run_module("llmstack.serving.llmdeployment", {**common, "name": name, "state": "absent"})
    finally:
        removed(cluster, namespace, common)
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")
    (aware, fast), (blind, slow) = found["picker"], found["turn"]
    against = f"any pod in turn, {PODS} pods, {BEGINNINGS} beginnings, {REQUESTS} requests"
    told(
        "cached share of prompts, by prefix",
        statistics.fmean(aware),
        "",
        against,
        statistics.fmean(aware) / statistics.fmean(blind),
    )
    first, second = statistics.median(fast), statistics.median(slow)
    told("time to first token, by prefix, median", first, "ms", against, first / second)
    told("task that changes nothing", seconds, "s", "ansible.builtin.ping", seconds / empty)
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

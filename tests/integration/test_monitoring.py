# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus, configured by a real operator from what the role applies, watches engines that are asked."""

from __future__ import annotations

import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools import monitoring
from tools.playbook import ansible_playbook, recap

SITE = ("-i", "inventories/local", "playbooks/site.yml")
PODS = "/api/v1/namespaces/model-serving/pods?labelSelector=serving.kserve.io%2Finferenceservice"
# Why a query has no value here although nothing is wrong.
WITHOUT_VALUE = {
    "RequestsFail": "the simulator calls the label finish_reason and never counts an error",
    "ModelReplicasMissing": "no kube-state-metrics in the sandbox",
}
pytestmark = pytest.mark.usefixtures("real_node")


class Prometheus:
    """The HTTP API of the sandbox's Prometheus."""

    def __init__(self, cluster: Cluster) -> None:
        service = cluster.get("/api/v1/namespaces/monitoring/services/kube-prometheus-stack-prometheus")
        self._url = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            content = json.loads(answer.read())
        assert content["status"] == "success"
        return content["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.get("query", query=expression)["result"]


def soon(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true value, looked for until the time is up."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return value


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, real_node: None) -> Prometheus:
    """The stack with monitoring, whatever the cluster was like before."""
    done = ansible_playbook(*SITE, "--tags", "monitoring")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    if not cluster.get(PODS)["items"]:
        done = ansible_playbook(*SITE)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    return Prometheus(cluster)


@pytest.fixture(scope="module")
def engines(cluster: Cluster, prometheus: Prometheus) -> list[dict[str, Any]]:
    """The pods of the engines, ready."""
    pods = [pod for pod in cluster.get(PODS)["items"] if "deletionTimestamp" not in pod["metadata"]]
    assert pods
    return pods


def ask(engine: dict[str, Any]) -> None:
    body = {
        "model": engine["metadata"]["labels"]["serving.kserve.io/inferenceservice"],
        "messages": [{"role": "user", "content": "How many tokens are in this sentence?"}],
        "stream": True,
    }
    request = urllib.request.Request(
        f"http://{engine['status']['podIP']}:8080/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert b"[DONE]" in answer.read()


@pytest.fixture(scope="module")
def traffic(prometheus: Prometheus, engines: list[dict[str, Any]]) -> None:
    """Requests between two scrapes, so that rates have something to say."""

    def generated() -> bool:
        for engine in engines:
            ask(engine)
        found = prometheus.query("sum by (pod) (rate(vllm:generation_tokens_total[1m])) > 0")
        return {one["metric"]["pod"] for one in found} >= {engine["metadata"]["name"] for engine in engines}

    soon(generated, "a rate of tokens of every engine")


def test_every_engine_is_a_target_with_the_labels_of_its_service(
    prometheus: Prometheus, engines: list[dict[str, Any]]
) -> None:
    def targets() -> dict[str, dict[str, str]]:
        found = prometheus.get("targets", state="active")["activeTargets"]
        return {one["labels"]["pod"]: one for one in found if one["labels"]["job"] == "vllm"}

    expected = {engine["metadata"]["name"] for engine in engines}
    soon(lambda: all(targets().get(pod, {}).get("health") == "up" for pod in expected), "every engine is up")
    for engine in engines:
        labels = targets()[engine["metadata"]["name"]]["labels"]
        assert labels["namespace"] == "model-serving"
        assert labels["inferenceservice"] == engine["metadata"]["labels"]["serving.kserve.io/inferenceservice"]


def test_no_engine_counts_twice(prometheus: Prometheus, engines: list[dict[str, Any]]) -> None:
    addresses = {engine["status"]["podIP"] for engine in engines}
    found = [one["scrapeUrl"] for one in prometheus.get("targets", state="active")["activeTargets"]]
    scraped = [url for url in found if urllib.parse.urlsplit(url).hostname in addresses]
    assert len(scraped) == len(addresses)


@pytest.mark.parametrize("query", monitoring.queries(), ids=lambda query: query.name)
def test_prometheus_understands_every_query_and_answers_those_about_engines(
    prometheus: Prometheus, traffic: None, query: monitoring.Query
) -> None:
    prometheus.query(query.expression)
    about_gpus = any(metric.startswith("DCGM_") for metric in monitoring.metrics(query.expression))
    if about_gpus or query.name in WITHOUT_VALUE:
        return

    def numbers() -> list[float]:
        """A record made before the traffic is no number."""
        found = [float(series["value"][1]) for series in prometheus.query(query.tested)]
        return found if all(math.isfinite(number) for number in found) else []

    assert min(soon(numbers, f"numbers for {query.tested}")) >= 0


def test_every_rule_is_loaded_and_none_fires(prometheus: Prometheus, traffic: None) -> None:
    wanted = {rule.get("record") or rule["alert"] for rule in monitoring.rules()}

    def loaded() -> list[dict[str, Any]]:
        found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        done = {rule["name"] for rule in found if rule["lastEvaluation"] > "0002"} >= wanted
        return found if done else []

    found = {rule["name"]: rule for rule in soon(loaded, "the evaluation of every rule")}
    assert all(found[name]["health"] == "ok" for name in wanted), found
    assert not [name for name in wanted if found[name].get("state") == "firing"]


def test_what_nobody_asks_for_is_not_kept(prometheus: Prometheus, traffic: None) -> None:
    names = prometheus.get("label/__name__/values")
    assert any(name.startswith("vllm:") for name in names)
    assert not [name for name in names if name.endswith("_created") and name.startswith(("vllm:", "http_"))]


@pytest.mark.long
def test_an_operator_that_is_there_is_used_and_the_stack_left_alone(
    cluster: Cluster, prometheus: Prometheus, namespace: str
) -> None:
    play = ("-i", "inventories/local", "playbooks/install.yml", "--tags", "monitoring")
    existing = ("-e", f"monitoring_operator=existing monitoring_namespace={namespace}")
    done = ansible_playbook(*play, *existing)
    assert done.returncode == 0, done.stdout[-4000:]
    monitors = cluster.get(f"/apis/monitoring.coreos.com/v1/namespaces/{namespace}/podmonitors")["items"]
    assert [monitor["metadata"]["name"] for monitor in monitors] == ["llmstack-engines"]
    done = ansible_playbook(*play, *existing, "-e", "monitoring_state=absent")
    assert done.returncode == 0, done.stdout[-4000:]
    assert recap(done.stdout)["changed"] == 1
    assert cluster.get(f"/apis/monitoring.coreos.com/v1/namespaces/{namespace}/podmonitors")["items"] == []
    # The stack of the namespace monitoring was not touched.
    assert prometheus.query("up")

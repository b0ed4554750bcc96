# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules tell of an LLM deployment, besides the object itself. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_health import PARTS, part_of
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import condition
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import pod_phase
from ansible_collections.llmstack.serving.plugins.module_utils._serving_result import phases, pods

# Asked of Prometheus about one deployment: vLLM vllm/v1/metrics/loggers.py.
_QUERIES = (
    "sum(vllm:num_requests_running{{{0}}})",
    "sum(rate(vllm:prefix_cache_hits_total{{{0}}}[5m])) / sum(rate(vllm:prefix_cache_queries_total{{{0}}}[5m]))",
)


def told(service: dict[str, Any], related: Iterable[dict[str, Any]], prometheus: str | None = None) -> dict[str, Any]:
    """url, endpoint, parts, pods, phases, presets and commands; `related` are its Deployments and pods."""
    status = service.get("status") or {}
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    found = list(related)
    return {
        "url": status.get("url"),
        "endpoint": {
            "url": status.get("url"),
            "path": urlsplit(status["url"]).path if status.get("url") else None,
            "urls": [entry.get("url") for entry in status.get("addresses") or []],
        },
        "parts": parts(service, found),
        "pods": [{**pod, "part": part} for part, pod in _pods_by_part(found)],
        "phases": phases([each for each in found if part_of(each) != "picker"]),
        "presets": [entry.get("name") for entry in status.get("appliedConfigs") or []],
        "commands": _commands(namespace, name, prometheus),
    }


def parts(service: dict[str, Any], related: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """name, ready, message, ready_replicas and replicas of every part that this deployment has."""
    found = []
    for part, names in PARTS.items():
        entries = [entry for name in names if (entry := condition(service, name)) is not None]
        if not entries:
            continue
        bad = next((entry for entry in entries if entry.get("status") != "True"), None)
        own = [each for each in related if each["kind"] == "Deployment" and part_of(each) == part]
        found.append(
            {
                "name": part,
                "ready": bad is None,
                "message": f"{bad.get('reason')}: {bad.get('message')}" if bad else "",
                "replicas": sum(each["spec"].get("replicas", 1) for each in own) if own else None,
                "ready_replicas": sum((each.get("status") or {}).get("readyReplicas", 0) for each in own)
                if own
                else None,
            }
        )
    return found


def seen_by_picker(pool: dict[str, Any] | None, related: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the ready pods that an InferencePool selects: among them the picker chooses."""
    if pool is None:
        return []
    labels = ((pool.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return sorted(
        each["metadata"]["name"]
        for each in related
        if each["kind"] == "Pod"
        and pod_phase(each) == "is ready"
        and labels.items() <= (each["metadata"].get("labels") or {}).items()
    )


def images(related: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Image of the main container of each part that has a Deployment."""
    return {
        str(part_of(each)): container["image"]
        for each in related
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
        if container["name"] == "main"
    }


def _pods_by_part(related: list[dict[str, Any]]) -> list[tuple[str | None, dict[str, Any]]]:
    part = {each["metadata"]["name"]: part_of(each) for each in related if each["kind"] == "Pod"}
    return [(part[pod["name"]], pod) for pod in pods(related)]


def _commands(namespace: str, name: str, prometheus: str | None) -> list[str]:
    labels = f"app.kubernetes.io/part-of=llminferenceservice,app.kubernetes.io/name={name}"
    commands = [
        f"kubectl -n {namespace} describe llminferenceservice {name}",
        f"kubectl -n {namespace} get pods -l {labels}",
        f"kubectl -n {namespace} logs -l {labels},kserve.io/component=workload -c main --tail=100",
        f"kubectl -n {namespace} logs -l {labels},app.kubernetes.io/component=llminferenceservice-router-scheduler --tail=100",
    ]
    if prometheus:
        selected = f'namespace="{namespace}",pod=~"{name}-kserve.*"'
        for query in _QUERIES:
            commands.append(f"curl -G {prometheus}/api/v1/query --data-urlencode 'query={query.format(selected)}'")
    return commands

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules tell of an InferenceService, besides the object itself. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import gpus, pod_phase, timeline


def told(
    service: dict[str, Any], related: Iterable[dict[str, Any]], gateway_address: str | None = None
) -> dict[str, Any]:
    """url, endpoint, model_status, revision, pods, phases and commands; `related` are its workloads and pods."""
    status = service.get("status") or {}
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "default")
    parts = list(related)
    return {
        "url": status.get("url"),
        "endpoint": {
            "url": status.get("url"),
            "host": urlsplit(status["url"]).hostname if status.get("url") else None,
            "cluster_local_url": (status.get("address") or {}).get("url"),
            "gateway_address": gateway_address,
        },
        "model_status": status.get("modelStatus") or {},
        "revision": _revision(status, parts),
        "pods": pods(parts),
        "phases": phases(parts),
        "commands": [
            f"kubectl -n {namespace} describe inferenceservice {name}",
            f"kubectl -n {namespace} get pods -l serving.kserve.io/inferenceservice={name}",
            f"kubectl -n {namespace} logs -l serving.kserve.io/inferenceservice={name} -c kserve-container --tail=100",
        ],
    }


def pods(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """name, node, phase and gpus of the pods among the parts, by name."""
    found = (part for part in parts if part["kind"] == "Pod")
    return [
        {
            "name": pod["metadata"]["name"],
            "node": (pod.get("spec") or {}).get("nodeName"),
            "phase": pod_phase(pod),
            "gpus": gpus(pod),
        }
        for pod in sorted(found, key=lambda pod: str(pod["metadata"]["name"]))
    ]


def phases(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """How long the newest ready pod took for what; empty if none is ready."""
    ready = [part for part in parts if part["kind"] == "Pod" and pod_phase(part) == "is ready"]
    return timeline(max(ready, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))) if ready else []


def knative_revision(status: dict[str, Any]) -> str:
    """The revision that serves an InferenceService of mode Knative; "" in Standard mode."""
    return str(((status.get("components") or {}).get("predictor") or {}).get("latestReadyRevision") or "")


def _revision(status: dict[str, Any], parts: list[dict[str, Any]]) -> str | None:
    if knative := knative_revision(status):
        return knative
    for part in parts:
        if part["kind"] == "Deployment" and part["metadata"]["name"].endswith("-predictor"):
            return (part["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision")
    return None

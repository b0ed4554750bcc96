# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what an LLMInferenceService asks for fit on any node, and is its way in free? Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity


def problems(manifest: dict[str, Any], nodes: list[dict[str, Any]]) -> list[str]:
    """What no node can give, one sentence each. Nodes that an autoscaler has yet to make cannot be judged.

    So it is only said where there are nodes of the kind that the pods need (with their GPUs), and all of them are too small.
    """
    found = []
    spec = manifest["spec"]
    for option, workload in (("serving.decode", spec), ("serving.prefill", spec.get("prefill"))):
        template = (workload or {}).get("template")
        if not template:
            continue
        container: dict[str, Any] = next((each for each in template["containers"] if each["name"] == "main"), {})
        wanted = dict((container.get("resources") or {}).get("limits") or {})
        gpus = {name: amount for name, amount in wanted.items() if "/" in name}
        fitting = [node for node in nodes if all(_has(node, name) for name in gpus)]
        if disk := _disk(workload or {}, template):
            wanted["ephemeral-storage"] = str(disk)
        for name, amount in wanted.items():
            most = max((_has(node, name) for node in fitting), default=0.0)
            if fitting and quantity(amount) > most:
                what = "cache.tiers: disk" if name == "ephemeral-storage" else f"{option}.resources: {name}"
                found.append(f"{what} {_told(amount)} is more than any node has (the largest: {_told(most)}).")
        size = _gpu_cache_bytes(container)
        memory = [_gpu_memory_bytes(node) for node in fitting]
        if size and memory and all(memory) and size >= max(memory):
            found.append(
                f"cache.tiers: gpu asks {option} for {_told(size)} on each GPU, and the largest one has {_told(max(memory))}, "
                "which the model's weights need a part of."
            )
    return found


def route_conflicts(manifest: dict[str, Any], others: Iterable[dict[str, Any]]) -> list[str]:
    """KServe makes a route /publishers/<namespace>/models/<model name>: two deployments must not have the same one."""
    name, model = manifest["metadata"]["name"], manifest["spec"]["model"].get("name")
    group = _group(manifest)
    return [
        f"LLMInferenceService {other['metadata']['name']} serves the model name {model} in this namespace already, by the same "
        "route. Give model.name another value, or both a common route group and weights (definition: spec.router.route)."
        for other in others
        if other["metadata"]["name"] != name
        and ((other.get("spec") or {}).get("model") or {}).get("name") == model
        and not (group and _group(other) == group)
    ]


def _group(manifest: dict[str, Any]) -> str | None:
    router = (manifest.get("spec") or {}).get("router") or {}
    return (router.get("route") or {}).get("group")


def _has(node: dict[str, Any], resource: str) -> float:
    return quantity(((node.get("status") or {}).get("allocatable") or {}).get(resource, 0))


def _disk(workload: dict[str, Any], template: dict[str, Any]) -> float:
    """Bytes on the node's own disk."""
    secondary = (workload.get("kvCacheOffloading") or {}).get("secondary") or []
    sizes = [((tier.get("fileSystem") or {}).get("emptyDir") or {}).get("size") for tier in secondary]
    for volume in template.get("volumes") or []:
        empty = volume.get("emptyDir") or {}
        if empty.get("medium") != "Memory":
            sizes.append(empty.get("sizeLimit"))
    return sum(quantity(size) for size in sizes if size)


def _gpu_cache_bytes(container: dict[str, Any]) -> int:
    for entry in container.get("env") or []:
        for flag in str(entry.get("value") or "").split():
            if flag.startswith("--kv-cache-memory-bytes="):
                return int(flag.partition("=")[2])
    return 0


def _gpu_memory_bytes(node: dict[str, Any]) -> float:
    # Set by NVIDIA's GPU feature discovery, in MiB.
    return float((node["metadata"].get("labels") or {}).get("nvidia.com/gpu.memory") or 0) * 2**20


def _told(amount: Any) -> str:
    if isinstance(amount, str) and not amount.isdigit():
        return amount
    value = quantity(amount)
    return f"{value / 2**30:.0f}Gi" if value >= 2**30 else f"{value:g}"

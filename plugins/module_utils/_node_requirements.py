# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which size of cluster this is, by the usual table for serving LLMs: minimum, recommended, production.
PRIVATE to the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Least values. GPUs as compute capability: a V100 is 7.0, an A100 8.0. Disk and network: what the table asks for; a
# network's speed cannot be seen in the API.
TIERS: dict[str, dict[str, Any]] = {
    "minimum": {
        "nodes": 3,
        "gpus_per_node": 1,
        "compute_capability": "7.0",
        "cpu_cores": 16,
        "memory_gb": 64,
        "disk_gb": 500,
        "network_gbps": 10,
    },
    "recommended": {
        "nodes": 5,
        "gpus_per_node": 2,
        "compute_capability": "8.0",
        "cpu_cores": 32,
        "memory_gb": 128,
        "disk_gb": 1000,
        "network_gbps": 25,
    },
    "production": {
        "nodes": 10,
        "gpus_per_node": 4,
        "compute_capability": "8.0",
        "cpu_cores": 64,
        "memory_gb": 256,
        "disk_gb": 2000,
        "network_gbps": 100,
    },
}
# What a machine of a size shows is a little less: firmware and the file system take their part.
_TOLERANCE = 0.93

_OF_NODE: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "gpus_per_node": ("GPUs", lambda node: node["physical"] or node["capacity"]),
    "compute_capability": ("compute capability", lambda node: node["compute_capability"]),
    "cpu_cores": ("CPU cores", lambda node: round(node["cpu_cores"])),
    "memory_gb": ("GB of memory", lambda node: round(node["memory_gb"])),
    "disk_gb": ("GB of disk", lambda node: round(node["disk_gb"])),
}


def assess(nodes: Sequence[Mapping[str, Any]], all_nodes: int) -> dict[str, Any]:
    """The highest tier that the cluster meets and what keeps it from the next.

    nodes are GPU nodes as _gpu_nodes reads them, all_nodes how many nodes there are. Keys: tier (None below minimum), next,
    missing (sentences), not_checked.
    """
    met = None
    for name in TIERS:
        lacking = missing(name, nodes, all_nodes)
        if lacking:
            return {"tier": met, "next": name, "missing": lacking, "not_checked": ["network_gbps"]}
        met = name
    return {"tier": met, "next": None, "missing": [], "not_checked": ["network_gbps"]}


def missing(tier: str, nodes: Sequence[Mapping[str, Any]], all_nodes: int) -> list[str]:
    """What a tier asks for and the cluster does not have, in words."""
    wanted = TIERS[tier]
    found = []
    if all_nodes < wanted["nodes"]:
        found.append(f"{all_nodes} nodes, {tier} asks for {wanted['nodes']}")
    if not nodes:
        return [*found, f"no GPU node, {tier} asks for {wanted['gpus_per_node']} GPUs per node"]
    for key, (words, value) in _OF_NODE.items():
        short = [node for node in nodes if not _enough(value(node), wanted[key])]
        if short:
            worst = min(short, key=lambda node: str(value(node)) if key == "compute_capability" else value(node) or 0)
            others = f" and {len(short) - 1} more" if len(short) > 1 else ""
            found.append(f"{worst['name']}{others} with {value(worst)} {words}, {tier} asks for {wanted[key]}")
    return found


def _enough(have: Any, least: Any) -> bool:
    if have is None:
        return False
    if isinstance(least, str):
        return tuple(map(int, str(have).split("."))) >= tuple(map(int, least.split(".")))
    return bool(have >= least * (_TOLERANCE if least > 16 else 1))

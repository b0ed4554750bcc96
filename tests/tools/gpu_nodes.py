# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node objects, pods and resource slices as NVIDIA's components and the kubelet make them."""

from __future__ import annotations

from typing import Any

LABELS = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/gpu.compute.major": "9",
    "nvidia.com/gpu.compute.minor": "0",
    "nvidia.com/cuda.driver-version.full": "580.173.02",
    "nvidia.com/cuda.runtime-version.full": "13.0",
    "nvidia.com/mig.strategy": "single",
}
STARTED = "2026-11-20T10:00:00Z"


def node(
    name: str = "gpu-0",
    labels: dict[str, str] | None = None,
    capacity: dict[str, str] | None = None,
    *,
    allocatable: dict[str, str] | None = None,
    ready: bool = True,
    conditions: list[dict[str, str]] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Node with eight H100; labels and capacity are merged over that, and a label of "" is left out."""
    amounts = {"cpu": "192", "memory": "2048Gi", "ephemeral-storage": "4Ti", "nvidia.com/gpu": "8", **(capacity or {})}
    merged = {**LABELS, **(labels or {})}
    state = {"type": "Ready", "status": "True" if ready else "Unknown", "lastTransitionTime": STARTED}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {key: value for key, value in merged.items() if value}},
        "spec": spec,
        "status": {
            "capacity": amounts,
            "allocatable": {**amounts, **(allocatable or {})},
            "conditions": [state, {"type": "MemoryPressure", "status": "False"}, *(conditions or [])],
        },
    }


def pod(
    name: str,
    node_name: str | None,
    gpus: dict[str, str] | None = None,
    *,
    phase: str = "Running",
    daemon_set: str | None = None,
    namespace: str = "models",
    init: list[dict[str, Any]] | None = None,
    **status: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if daemon_set:
        metadata["ownerReferences"] = [{"kind": "DaemonSet", "name": daemon_set}]
    spec: dict[str, Any] = {"containers": [{"name": "main", "resources": {"limits": gpus or {}}}]}
    if init:
        spec["initContainers"] = init
    if node_name:
        spec["nodeName"] = node_name
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase, **status}}


def resource_slice(node_name: str, count: int, *, basic: bool = False, kind: str = "gpu") -> dict[str, Any]:
    """What dra-driver-nvidia-gpu publishes; `basic` as in resource.k8s.io/v1beta1."""
    devices = []
    for index in range(count):
        content = {
            "attributes": {
                "type": {"string": kind},
                "productName": {"string": "NVIDIA H100 80GB HBM3"},
                "cudaComputeCapability": {"version": "9.0.0"},
                "driverVersion": {"version": "580.173.2"},
            },
            "capacity": {"memory": {"value": "81559Mi"}},
        }
        devices.append({"name": f"gpu-{index}", **({"basic": content} if basic else content)})
    spec = {
        "driver": "gpu.nvidia.com",
        "nodeName": node_name,
        "pool": {"name": f"{node_name}-pool"},
        "devices": devices,
    }
    return {"kind": "ResourceSlice", "metadata": {"name": f"{node_name}-slice"}, "spec": spec}


def resource_claim(node_name: str, *devices: str) -> dict[str, Any]:
    results = [{"driver": "gpu.nvidia.com", "pool": f"{node_name}-pool", "device": device} for device in devices]
    return {
        "kind": "ResourceClaim",
        "metadata": {"name": f"{node_name}-claim", "namespace": "models"},
        "status": {"allocation": {"devices": {"results": results}}},
    }

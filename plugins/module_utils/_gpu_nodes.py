# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Node objects, pods and resource slices say about the GPUs of each node. PRIVATE to the collection.

Labels: GPU feature discovery (NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery/README.md). Counting rules: the same
project's README (time-slicing, MPS, MIG strategies) and dra-driver-nvidia-gpu for ResourceSlices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_instances, _gpu_types
from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity

PREFIX = "nvidia.com/"
DRIVER_OF_SLICES = "gpu.nvidia.com"
# Whole GPUs, under the name the device plugin gives them; ".shared" with renameByDefault.
WHOLE = (f"{PREFIX}gpu", f"{PREFIX}gpu.shared")
_MIG = re.compile(rf"{PREFIX}mig-(?P<profile>[\w.+]+)$")
_MIG_COUNT = re.compile(rf"{PREFIX}mig-(?P<profile>[\w.+]+)\.count$")
# Labels that clouds give GPU nodes without GPU feature discovery, and what in their value is the GPU's name.
_CLOUD_LABELS = (
    "cloud.google.com/gke-accelerator",
    "k8s.amazonaws.com/accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
)
_HINTS = (
    f"{PREFIX}gpu.present",
    f"{PREFIX}gpu.product",
    "feature.node.kubernetes.io/pci-10de.present",
    "kubernetes.azure.com/accelerator",
    *_CLOUD_LABELS,
)
_GKE_PRODUCTS = {
    "nvidia-b200": "B200",
    "nvidia-h200-141gb": "H200",
    "nvidia-h100-80gb": "H100-80GB-HBM3",
    "nvidia-h100-mega-80gb": "H100-80GB-HBM3",
    "nvidia-a100-80gb": "A100-SXM4-80GB",
    "nvidia-tesla-a100": "A100-SXM4-40GB",
    "nvidia-l4": "L4",
    "nvidia-tesla-t4": "T4",
    "nvidia-tesla-v100": "V100-SXM2-16GB",
}


@dataclass
class Usage:
    """What pods say about nodes: the GPU resources they take, and which of them hand out GPUs or validate the stack."""

    # node -> resource -> amount.
    requests: dict[str, dict[str, int]] = field(default_factory=dict)
    # node -> the DaemonSets whose pods hand out its GPUs.
    device_plugins: dict[str, set[str]] = field(default_factory=dict)
    # Pods of the GPU operator's validator: name, node, state, done.
    validators: list[dict[str, Any]] = field(default_factory=list)

    def add(self, pods: Iterable[dict[str, Any]]) -> None:
        """Count these pods; those that have ended or are not bound to a node take nothing."""
        for pod in pods:
            node = pod["spec"].get("nodeName")
            if not node or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            for resource, amount in pod_requests(pod["spec"]).items():
                counted = self.requests.setdefault(node, {})
                counted[resource] = counted.get(resource, 0) + amount
            if owner := _daemon_set(pod):
                if _DEVICE_PLUGIN.search(owner):
                    # GKE has one DaemonSet for each size of node; which one runs on a node does not matter.
                    family = "nvidia-gpu-device-plugin" if owner.startswith("nvidia-gpu-device-plugin") else owner
                    name = f"{pod['metadata']['namespace']}/{family}"
                    self.device_plugins.setdefault(node, set()).add(name)
                elif owner == "nvidia-operator-validator":
                    self.validators.append(_validator(pod))

    def of(self, node: str, resource: str) -> int:
        return self.requests.get(node, {}).get(resource, 0)


_DEVICE_PLUGIN = re.compile(r"^nvidia-(gpu-)?device-plugin(?!.*mps-control)")


def _daemon_set(pod: dict[str, Any]) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or []
    return next((owner["name"] for owner in owners if owner["kind"] == "DaemonSet"), None)


def _validator(pod: dict[str, Any]) -> dict[str, Any]:
    """Its init containers do the validation, one step each; the pod runs on when all have passed."""
    status = pod.get("status") or {}
    waiting = [
        f"{container['name']}: {(container['state'].get('waiting') or container['state'].get('terminated') or {}).get('reason')}"
        for container in status.get("initContainerStatuses") or []
        if (container["state"].get("terminated") or {}).get("exitCode") != 0
    ]
    state = waiting[0] if waiting else status.get("phase") or "Unknown"
    done = status.get("phase") == "Running" and not waiting
    return {"name": pod["metadata"]["name"], "node": pod["spec"].get("nodeName"), "state": state, "done": done}


def pod_requests(spec: dict[str, Any]) -> dict[str, int]:
    """GPU resources a pod takes: all containers together, or one init container if that asks for more."""
    together: dict[str, int] = {}
    alone: dict[str, int] = {}
    for container in spec.get("containers") or []:
        for resource, amount in _gpu_requests(container):
            together[resource] = together.get(resource, 0) + amount
    for container in spec.get("initContainers") or []:
        for resource, amount in _gpu_requests(container):
            if container.get("restartPolicy") == "Always":
                # A sidecar runs beside the others.
                together[resource] = together.get(resource, 0) + amount
            else:
                alone[resource] = max(alone.get(resource, 0), amount)
    return {resource: max(together.get(resource, 0), alone.get(resource, 0)) for resource in {*together, *alone}}


def _gpu_requests(container: dict[str, Any]) -> Iterable[tuple[str, int]]:
    resources = container.get("resources") or {}
    # For extended resources the API server copies limits to requests.
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return [(name, int(quantity(amount))) for name, amount in asked.items() if name.startswith(PREFIX)]


@dataclass
class Devices:
    """What the DRA driver publishes and what claims have taken, by node."""

    published: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)
    # Pools may be named otherwise than the node they are on.
    _node_of_pool: dict[str, str] = field(default_factory=dict)

    def add_slices(self, slices: Iterable[dict[str, Any]]) -> None:
        for item in slices:
            spec = item["spec"]
            node = spec.get("nodeName")
            if spec.get("driver") != DRIVER_OF_SLICES or not node:
                continue
            self._node_of_pool[spec["pool"]["name"]] = node
            # Until resource.k8s.io/v1 a device's attributes lay under "basic".
            devices = [{**device, **(device.get("basic") or {})} for device in spec.get("devices") or []]
            self.published.setdefault(node, []).extend(devices)

    def add_claims(self, claims: Iterable[dict[str, Any]]) -> None:
        """After add_slices."""
        for claim in claims:
            allocation = (claim.get("status") or {}).get("allocation") or {}
            for result in (allocation.get("devices") or {}).get("results") or []:
                if result.get("driver") == DRIVER_OF_SLICES:
                    node = self._node_of_pool.get(result["pool"], result["pool"])
                    self.taken.setdefault(node, set()).add(result["device"])

    def whole(self, node: str) -> list[dict[str, Any]]:
        """The devices of a node that are whole GPUs."""
        return [device for device in self.published.get(node, []) if _attribute(device, "type") in ("gpu", None)]


def _attribute(device: dict[str, Any], name: str) -> Any:
    """The value of an attribute, whatever its type and with or without the driver's domain."""
    attributes = device.get("attributes") or {}
    found = attributes.get(name) or attributes.get(f"{DRIVER_OF_SLICES}/{name}") or {}
    return next(iter(found.values()), None)


def has_gpu(node: dict[str, Any], devices: Devices) -> bool:
    """Whether anything says that this node has NVIDIA GPUs."""
    labels = node["metadata"].get("labels") or {}
    capacity = (node.get("status") or {}).get("capacity") or {}
    if any(labels.get(hint) not in (None, "", "false") for hint in _HINTS):
        return True
    if any(name.startswith(PREFIX) for name in capacity) or node["metadata"]["name"] in devices.published:
        return True
    return _gpu_instances.product(labels) is not None


def read(node: dict[str, Any], usage: Usage | None, devices: Devices) -> dict[str, Any]:
    """A node as gpu_check returns it, without its checks.

    Keys: name, product, memory_mib, compute_capability ("9.0"), driver, cuda, mode (device_plugin, dra, none), sharing
    (none, time-slicing, mps), replicas, mig, physical, expected, capacity, allocatable, allocated, free, resource, taints,
    schedulable, ready, conditions, cloud. Counts are units of the resource, which are shares of GPUs where they are shared.
    allocated and free are None where pods could not be listed.
    """
    labels = node["metadata"].get("labels") or {}
    status, spec = node.get("status") or {}, node.get("spec") or {}
    name = node["metadata"]["name"]
    conditions = {entry["type"]: entry for entry in status.get("conditions") or []}
    found: dict[str, Any] = {
        "name": name,
        "product": labels.get(f"{PREFIX}gpu.product") or cloud_product(labels),
        "memory_mib": _integer(labels.get(f"{PREFIX}gpu.memory")),
        "compute_capability": _capability(labels),
        "driver": _driver(labels),
        "cuda": labels.get(f"{PREFIX}cuda.runtime-version.full") or _joined(labels, f"{PREFIX}cuda.runtime"),
        "cloud": _cloud(labels),
        "ready": (conditions.get("Ready") or {}).get("status") == "True",
        "schedulable": not spec.get("unschedulable", False),
        "taints": spec.get("taints") or [],
        # Ready is a check of its own; Unknown (a silent kubelet) shows there.
        "conditions": [_brief(entry) for entry in conditions.values() if entry["type"] != "Ready" and _is_bad(entry)],
        "labels_found": any(key.startswith(f"{PREFIX}gpu.") and key != f"{PREFIX}gpu.present" for key in labels),
        "labels_stale": _stale(labels, conditions.get("Ready")),
        "cpu_cores": quantity((status.get("capacity") or {}).get("cpu", 0)),
        "memory_gb": quantity((status.get("capacity") or {}).get("memory", 0)) / 1e9,
        "disk_gb": quantity((status.get("capacity") or {}).get("ephemeral-storage", 0)) / 1e9,
        "disk_allocatable_bytes": int(quantity((status.get("allocatable") or {}).get("ephemeral-storage", 0))),
        "labels": labels,
        "rdma": sorted(key for key in status.get("allocatable") or {} if "rdma" in key.lower()),
    }
    found.update(_counts(name, labels, status, usage, devices))
    if found["mode"] == "dra":
        found.update(_of_devices(found, devices.whole(name)))
    known = _gpu_types.known(found["product"] or "")
    if known and known.compute_capability and not found["compute_capability"]:
        found["compute_capability"] = ".".join(map(str, known.compute_capability))
    if known and not found["memory_mib"]:
        found["memory_mib"] = known.memory_bytes // _gpu_types.MIB
    return found


def _counts(
    name: str, labels: dict[str, str], status: dict[str, Any], usage: Usage | None, devices: Devices
) -> dict[str, Any]:
    """How many units there are, should be, and are free; and in which way GPUs are shared."""
    capacity, allocatable = status.get("capacity") or {}, status.get("allocatable") or {}
    replicas = _integer(labels.get(f"{PREFIX}gpu.replicas")) or 1
    sharing = labels.get(f"{PREFIX}gpu.sharing-strategy") or "none"
    physical = _integer(labels.get(f"{PREFIX}gpu.count"))
    resource = next((key for key in WHOLE if int(quantity(capacity.get(key, 0)))), WHOLE[0])
    profiles = _mig_profiles(labels, capacity, allocatable, name, usage)
    whole = devices.whole(name)
    found: dict[str, Any] = {
        "resource": resource,
        "sharing": sharing,
        "replicas": replicas,
        "physical": physical,
        "mig": None,
        "capacity": int(quantity(capacity.get(resource, 0))),
        "allocatable": int(quantity(allocatable.get(resource, 0))),
        "allocated": None if usage is None else usage.of(name, resource),
        "mode": "device_plugin",
        "dra_devices": len(whole),
        "device_plugins": sorted(usage.device_plugins.get(name, ())) if usage else [],
    }
    found["expected"] = None if physical is None else physical * replicas
    strategy = labels.get(f"{PREFIX}mig.strategy")
    if profiles:
        # Strategy mixed: slices have resource names of their own and leave no whole GPU.
        found["mig"] = {"strategy": "mixed", "profiles": profiles}
        if not found["allocatable"]:
            found["expected"] = 0
    elif strategy == "single" and "MIG-" in (labels.get(f"{PREFIX}gpu.product") or ""):
        found["mig"] = {"strategy": "single", "profiles": []}
    if not found["capacity"] and whole:
        taken = len(devices.taken.get(name, set()) & {device["name"] for device in whole})
        found.update(mode="dra", capacity=len(whole), allocatable=len(whole), allocated=taken, expected=len(whole))
        found.update(physical=len(whole), resource=DRIVER_OF_SLICES)
    elif not found["capacity"] and not profiles:
        found["mode"] = "none"
    allocated = found["allocated"]
    found["free"] = None if allocated is None else max(0, found["allocatable"] - allocated)
    return found


def _mig_profiles(
    labels: dict[str, str], capacity: dict[str, Any], allocatable: dict[str, Any], name: str, usage: Usage | None
) -> list[dict[str, Any]]:
    listed = {match["profile"] for key in capacity if (match := _MIG.match(key))}
    listed |= {match["profile"] for key in labels if (match := _MIG_COUNT.match(key))}
    found = []
    for profile in sorted(listed):
        resource = f"{PREFIX}mig-{profile}"
        available = int(quantity(allocatable.get(resource, 0)))
        taken = None if usage is None else usage.of(name, resource)
        found.append(
            {
                "profile": profile,
                "expected": _integer(labels.get(f"{resource}.count")),
                "memory_mib": _integer(labels.get(f"{resource}.memory")),
                "capacity": int(quantity(capacity.get(resource, 0))),
                "allocatable": available,
                "allocated": taken,
                "free": None if taken is None else max(0, available - taken),
            }
        )
    return [entry for entry in found if entry["capacity"] or entry["expected"]]


def _of_devices(found: dict[str, Any], whole: list[dict[str, Any]]) -> dict[str, Any]:
    """What the first device of a DRA node says; there may be no GPU feature discovery."""
    first = whole[0]
    memory = ((first.get("capacity") or {}).get("memory") or {}).get("value")
    capability = re.match(r"\d+\.\d+", str(_attribute(first, "cudaComputeCapability") or ""))
    return {
        "product": found["product"] or str(_attribute(first, "productName") or "").replace(" ", "-") or None,
        "memory_mib": found["memory_mib"] or (int(quantity(memory) // _gpu_types.MIB) if memory else None),
        "compute_capability": found["compute_capability"] or (capability[0] if capability else None),
        "driver": found["driver"] or _attribute(first, "driverVersion"),
    }


def cloud_product(labels: dict[str, str]) -> str | None:
    """The GPU's name from the type of the machine, or from a cloud's own label."""
    if found := _gpu_instances.product(labels):
        return found
    for key in _CLOUD_LABELS:
        if value := labels.get(key):
            return _GKE_PRODUCTS.get(value, value)
    return None


def _cloud(labels: dict[str, str]) -> str | None:
    """The cloud whose managed driver and device plugin may be at work."""
    if any(key.startswith("cloud.google.com/gke-") for key in labels):
        return "gke"
    if any(key.startswith(("eks.amazonaws.com/", "k8s.amazonaws.com/", "karpenter.k8s.aws/")) for key in labels):
        return "eks"
    return "aks" if any(key.startswith("kubernetes.azure.com/") for key in labels) else None


def _capability(labels: dict[str, str]) -> str | None:
    major, minor = labels.get(f"{PREFIX}gpu.compute.major"), labels.get(f"{PREFIX}gpu.compute.minor")
    return f"{major}.{minor or 0}" if major else None


def _driver(labels: dict[str, str]) -> str | None:
    full = labels.get(f"{PREFIX}cuda.driver-version.full")
    # Before device plugin 0.17 the labels were cuda.driver.*.
    return full or _joined(labels, f"{PREFIX}cuda.driver-version") or _joined(labels, f"{PREFIX}cuda.driver", "rev")


def _joined(labels: dict[str, str], prefix: str, last: str = "revision") -> str | None:
    parts = [labels[key] for key in (f"{prefix}.major", f"{prefix}.minor", f"{prefix}.{last}") if labels.get(key)]
    return ".".join(parts) or None


def _stale(labels: dict[str, str], ready: dict[str, Any] | None) -> bool | None:
    """Whether the labels are older than the node's last start; None where no time is known."""
    stamp = _integer(labels.get(f"{PREFIX}gfd.timestamp"))
    if stamp is None or not ready or not ready.get("lastTransitionTime"):
        return None
    return stamp < datetime.fromisoformat(ready["lastTransitionTime"].replace("Z", "+00:00")).timestamp()


def _is_bad(condition: dict[str, Any]) -> bool:
    # Node problem detector and NVSentinel set their conditions to True when something is wrong. Like the kubelet's Ready,
    # those of the EKS node monitoring agent (AcceleratedHardwareReady ...) are True when all is well.
    return condition["status"] == ("False" if condition["type"].endswith("Ready") else "True")


def _brief(condition: dict[str, Any]) -> dict[str, Any]:
    return {key: condition.get(key) or "" for key in ("type", "status", "reason", "message")}


def _integer(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None

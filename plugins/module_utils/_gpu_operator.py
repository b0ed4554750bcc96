# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster wants NVIDIA's GPU operator, with which values, and how it is: pure functions. PRIVATE to the collection.

What is the cloud's own and what the operator then leaves alone: NVIDIA/cloud-native-docs, gpu-operator/google-gke.rst,
amazon-eks.rst, microsoft-aks.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Releases in their order. NVIDIA supports upgrades within one of them and to the next (platform-support, upgrade notes).
RELEASES = ("23.6", "23.9", "24.3", "24.6", "24.9", "25.3", "25.10", "26.3", "26.7")
# The label of a GKE node pool where Google's device plugin keeps away.
GKE_OWN_PLUGIN = "gke-no-default-nvidia-gpu-device-plugin"

_COS_DRIVER = "/home/kubernetes/bin/nvidia"
_VALUES: dict[str, dict[str, Any]] = {
    # Container-Optimized OS keeps Google's driver. From GKE 1.33 the toolkit must be told where the runtime's configuration is.
    "gke": {
        "driver": {"enabled": False},
        "hostPaths": {"driverInstallDir": _COS_DRIVER},
        "toolkit": {"installDir": _COS_DRIVER, "env": [{"name": "RUNTIME_CONFIG_SOURCE", "value": "file"}]},
        "cdi": {"enabled": True, "default": True},
    },
    # Amazon's accelerated machine images have driver and toolkit.
    "eks": {"driver": {"enabled": False}, "toolkit": {"enabled": False}},
    # AKS installs both on its GPU node pools.
    "aks": {
        "driver": {"enabled": False},
        "toolkit": {"enabled": False},
        "operator": {"runtimeClass": "nvidia-container-runtime"},
    },
}
_NAMES = {"gke": "GKE", "eks": "EKS", "aks": "AKS"}
_CANNOT_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")


def plan(nodes: Sequence[Mapping[str, Any]], mode: str, has_operator: bool) -> dict[str, Any]:
    """Whether to install the operator, why, and the values that the cloud of these nodes asks for.

    nodes as _gpu_nodes reads them; mode is auto, operator or managed. Raises ValueError with a sentence where GPUs would be
    handed out twice.
    """
    cloud = next((str(node["cloud"]) for node in nodes if node["cloud"]), None)
    where = _NAMES.get(cloud or "", "the cluster")
    values = _VALUES.get(cloud or "", {})
    offered = [node for node in nodes if node["mode"] != "none"]
    plugins = sorted({name for node in offered for name in node["device_plugins"]})
    by_whom = ", ".join(plugins) or "something else than the GPU operator"
    if mode == "managed":
        return _decided(False, cloud, f"The GPUs are {where}'s own affair (gpu_operator_mode=managed).", {})
    if mode == "auto" and offered and not has_operator:
        return _decided(False, cloud, f"{len(offered)} nodes offer their GPUs already, by {by_whom}.", {})
    if mode == "auto" and cloud == "gke" and not has_operator and not _all_labelled(nodes):
        return _decided(False, cloud, "GKE brings driver and device plugin of its own to these node pools.", {})
    if cloud == "gke" and not _all_labelled(nodes):
        first = next(node["name"] for node in nodes if not _is_labelled(node))
        raise ValueError(
            f"{first} is a GKE node with Google's device plugin, and the GPU operator would bring a second one: label the node "
            f"pool {GKE_OWN_PLUGIN}=true, or set gpu_operator_mode=managed."
        )
    reason = "No node offers a GPU yet." if not offered else "The GPU operator manages the GPUs."
    return _decided(True, cloud, reason, values)


def _decided(install: bool, cloud: str | None, reason: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"install": install, "cloud": cloud, "reason": reason, "values": values}


def _is_labelled(node: Mapping[str, Any]) -> bool:
    return node["labels"].get(GKE_OWN_PLUGIN) == "true"


def _all_labelled(nodes: Iterable[Mapping[str, Any]]) -> bool:
    return all(_is_labelled(node) for node in nodes)


def release(version: str) -> str | None:
    """ "v26.3.2" -> "26.3": what NVIDIA calls a release; None if it is no version."""
    match = re.match(r"v?(\d+\.\d+)\.\d+", version)
    return match[1] if match else None


def upgrade_problem(installed: str | None, target: str) -> str | None:
    """Why the operator cannot go from one version to the other, with the way; None if it can."""
    have, want = release(installed or ""), release(target)
    if have is None or want is None or have == want:
        return None
    if _order(want) < _order(have):
        return (
            f"The GPU operator {installed} is installed, and {target} is older: NVIDIA supports no downgrade. Set "
            f"gpu_operator_version to {installed} or newer."
        )
    if have not in RELEASES or want not in RELEASES:
        return None
    step = RELEASES[RELEASES.index(have) + 1]
    if step == want:
        return None
    return (
        f"The GPU operator {installed} cannot be upgraded to {target} in one step: NVIDIA supports upgrades to the next release "
        f"only. Set gpu_operator_version to a version of {step} first."
    )


def _order(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def installed(deployments: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The operator that is there: namespace, release and version, from its Deployment; None if there is none."""
    for item in deployments:
        labels = item["metadata"].get("labels") or {}
        annotations = item["metadata"].get("annotations") or {}
        version = labels.get("app.kubernetes.io/version") or labels.get("helm.sh/chart", "").removeprefix(
            "gpu-operator-"
        )
        return {
            "namespace": item["metadata"]["namespace"],
            "release": annotations.get("meta.helm.sh/release-name"),
            "version": version or None,
        }
    return None


def state(objects: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The state of the ClusterPolicy or GPUCluster, and what it says is wrong. "absent" if there is neither."""
    if not objects:
        return "absent", "There is no ClusterPolicy and no GPUCluster."
    status = objects[0].get("status") or {}
    errors = [
        f"{entry.get('reason')}: {entry.get('message')}"
        for entry in status.get("conditions") or []
        if entry.get("type") == "Error" and entry.get("status") == "True"
    ]
    name = f"{objects[0].get('kind')} {objects[0]['metadata']['name']}"
    found = str(status.get("state") or "unknown")
    return found, f"{name} is {found}" + (f" ({'; '.join(errors)})" if errors else "")


def conflict(policies: Sequence[Any], clusters: Sequence[Any]) -> str | None:
    """The operator supports one of the two."""
    if policies and clusters:
        return "There are a ClusterPolicy and a GPUCluster: the GPU operator supports one or the other. Delete one."
    return None


def unpullable(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Pods that wait for an image that cannot be pulled, in words."""
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _CANNOT_PULL:
                found.append(
                    f"{pod['metadata']['name']}: {container.get('image')} ({waiting.get('message') or waiting['reason']})"
                )
    return found


def unready(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Pods that are neither running with all containers ready nor done."""
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        containers = status.get("containerStatuses") or []
        ready = bool(containers) and all(container.get("ready") for container in containers)
        if status.get("phase") != "Succeeded" and not ready:
            found.append(
                f"{pod['metadata']['name']} on {pod['spec'].get('nodeName') or 'no node'} ({status.get('phase')})"
            )
    return found

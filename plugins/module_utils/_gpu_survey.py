# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the API server all that gpu_check judges, reading only: nodes, pods, slices, operator. PRIVATE to the collection.

What may not be read, or is not served, is noted in Cluster.unseen and judged as skipped. Only the nodes must be readable.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nodes
from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Cluster
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube

# Ended pods and those without a node take no GPU: tens of thousands of them need not travel.
_LIVE_PODS = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
# resource.k8s.io/v1 is served from Kubernetes 1.34.
_SLICE_VERSIONS = ("resource.k8s.io/v1", "resource.k8s.io/v1beta2", "resource.k8s.io/v1beta1")
_NOT_READABLE = (errors.Forbidden, errors.KindNotFound, errors.NotFound)


def survey(kube: Kube, node_selector: str, images: Collection[str] = ()) -> tuple[list[dict[str, Any]], Cluster, int]:
    """The GPU nodes as _gpu_nodes reads them, the rest of the cluster, and how many nodes were listed in all.

    Cluster.images tells which of these images are on which GPU nodes.

    Raises KubeError if the nodes cannot be listed.
    """
    cluster = Cluster()
    devices = _devices(kube, cluster)
    listed = 0
    found: list[dict[str, Any]] = []
    for page, _version in kube.pages("v1", "Node", labels=node_selector):
        listed += len(page)
        # A Node object is some 10 KB, most of them names of images.
        with_gpus = [node for node in page if _gpu_nodes.has_gpu(node, devices)]
        for node in with_gpus if images else []:
            _note_images(cluster, node, images)
        found += [_slim(node) for node in with_gpus]
    usage = _usage(kube, cluster) if found else None
    if usage:
        cluster.validators = usage.validators
    if found:
        _operator(kube, cluster)
    nodes = [_gpu_nodes.read(node, usage, devices) for node in found]
    return sorted(nodes, key=lambda node: node["name"]), cluster, listed


def _slim(node: dict[str, Any]) -> dict[str, Any]:
    status = node.get("status") or {}
    return {
        "metadata": {"name": node["metadata"]["name"], "labels": node["metadata"].get("labels") or {}},
        "spec": node.get("spec") or {},
        "status": {key: status.get(key) for key in ("capacity", "allocatable", "conditions")},
    }


def _note_images(cluster: Cluster, node: dict[str, Any], images: Collection[str]) -> None:
    for entry in (node.get("status") or {}).get("images") or []:
        for name in set(entry.get("names") or ()).intersection(images):
            cluster.images.setdefault(name, []).append(node["metadata"]["name"])


def _usage(kube: Kube, cluster: Cluster) -> _gpu_nodes.Usage | None:
    usage = _gpu_nodes.Usage()
    try:
        # The resources and the DaemonSets that count all have it in their names.
        for page, _version in kube.pages("v1", "Pod", fields=_LIVE_PODS, mentioning="nvidia"):
            usage.add(page)
    except _NOT_READABLE as error:
        cluster.unseen["pods"] = str(error)
        return None
    return usage


def _devices(kube: Kube, cluster: Cluster) -> _gpu_nodes.Devices:
    devices = _gpu_nodes.Devices()
    for version in _SLICE_VERSIONS:
        try:
            devices.add_slices(kube.list(version, "ResourceSlice")[0])
            cluster.claims_version = version
            if devices.published:
                for page, _version in kube.pages(version, "ResourceClaim"):
                    devices.add_claims(page)
            return devices
        except (errors.KindNotFound, errors.NotFound):
            continue
        except errors.Forbidden as error:
            cluster.unseen["resourceslices"] = str(error)
            return devices
    return devices


def operator(kube: Kube) -> Cluster:
    """Only what the GPU operator is configured by."""
    cluster = Cluster()
    _operator(kube, cluster)
    return cluster


def _operator(kube: Kube, cluster: Cluster) -> None:
    try:
        cluster.cluster_policies = _all_of(kube, "nvidia.com", "ClusterPolicy")
        cluster.gpu_clusters = _all_of(kube, "nvidia.com", "GPUCluster")
    except errors.Forbidden as error:
        cluster.unseen["operator"] = str(error)
    try:
        classes, _version = kube.list("node.k8s.io/v1", "RuntimeClass")
        cluster.runtime_classes = [item["metadata"]["name"] for item in classes]
    except _NOT_READABLE as error:
        cluster.unseen["runtimeclasses"] = str(error)


def _all_of(kube: Kube, group: str, kind: str) -> list[dict[str, Any]]:
    """The objects of a kind in whichever version of the group serves it; none if none does."""
    for version in _served_versions(kube, group):
        try:
            return kube.list(version, kind)[0]
        except (errors.KindNotFound, errors.NotFound):
            continue
    return []


def _served_versions(kube: Kube, group: str) -> list[str]:
    """The versions of an API group, the preferred one first; none if it is not served."""
    try:
        answer = kube.request("GET", f"/apis/{group}", f"API group {group}")
    except (errors.KindNotFound, errors.NotFound):
        return []
    preferred = answer.get("preferredVersion", {}).get("groupVersion")
    versions = [entry["groupVersion"] for entry in answer.get("versions") or []]
    return sorted(versions, key=lambda version: version != preferred)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a running control plane a cluster: DNS, the real node's GPUs, the simulated nodes."""

from __future__ import annotations

import pathlib
from typing import Any

import yaml

from .kube import Cluster, wait_until
from .layout import Ranges

FILES = pathlib.Path(__file__).resolve().parent / "cluster"
REAL_NODE = "sandbox"
REAL_NODE_GPUS = 8


def set_up(cluster: Cluster, ranges: Ranges, *, real_node: bool) -> None:
    """Brings the cluster to what README.md promises; every step leaves alone what is already so."""
    wait_until("The default ServiceAccount", lambda: cluster.get("/api/v1/namespaces/default/serviceaccounts/default"))
    _bind_proxy(cluster)
    for manifest in simulated_nodes():
        cluster.apply(manifest)
    for profile in _profiles():
        for index in range(profile["count"]):
            _set_capacity(cluster, _node_name(profile, index), profile["capacity"])
    if real_node:
        for manifest in yaml.safe_load_all((FILES / "dns.yaml").read_text().replace("CLUSTER_DNS", ranges.dns)):
            cluster.apply(manifest)
        wait_until("The node's registration", lambda: cluster.get(f"/api/v1/nodes/{REAL_NODE}"))
        # There is no GPU and no device plugin; the kubelet keeps what somebody else reports under its own name.
        _set_capacity(cluster, REAL_NODE, {"nvidia.com/gpu": str(REAL_NODE_GPUS)})
        # As the report that nvidia-smi prints in pods there (go/tools/nvidia-smi).
        h100 = next(profile["labels"] for profile in _profiles() if profile["profile"] == "h100")
        driver = dict(zip(("full", "major", "minor", "revision"), ("580.173.02", "580", "173", "02"), strict=True))
        versions = {f"nvidia.com/cuda.driver-version.{part}": number for part, number in driver.items()}
        versions["nvidia.com/cuda.runtime-version.full"] = "13.0"
        labels = {"nvidia.com/gpu.present": "true", **h100, **versions}
        cluster.merge(f"/api/v1/nodes/{REAL_NODE}", {"metadata": {"labels": labels}})
        wait_until("A ready node", lambda: is_ready(cluster.get(f"/api/v1/nodes/{REAL_NODE}")))
        path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
        wait_until("Cluster DNS", lambda: cluster.get(path)["status"].get("readyReplicas") == 1)


def simulated_nodes() -> list[dict[str, Any]]:
    """The Node objects of cluster/nodes.yaml, as kwok takes them over."""
    nodes = []
    for profile in _profiles():
        for index in range(profile["count"]):
            name = _node_name(profile, index)
            labels = {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": name,
                "nvidia.com/gpu.present": "true",
                "sandbox.llmstack.io/profile": profile["profile"],
                "sandbox.llmstack.io/ready": str(profile.get("ready", True)).lower(),
                **profile["labels"],
            }
            taint = {"key": "sandbox.llmstack.io/simulated", "value": "true", "effect": "NoSchedule"}
            spec: dict[str, Any] = {"taints": [taint, *profile.get("taints", [])]}
            if profile.get("unschedulable"):
                spec["unschedulable"] = True
            metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
            nodes.append({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
    return nodes


def _profiles() -> list[dict[str, Any]]:
    profiles: list[dict[str, Any]] = yaml.safe_load((FILES / "nodes.yaml").read_text())
    return profiles


def _node_name(profile: dict[str, Any], index: int) -> str:
    return f"gpu-{profile['profile']}-{index}"


def _set_capacity(cluster: Cluster, node: str, capacity: dict[str, str]) -> None:
    amounts = capacity if node == REAL_NODE else {"pods": "250", "ephemeral-storage": "2Ti", **capacity}
    cluster.merge(f"/api/v1/nodes/{node}/status", {"status": {"capacity": amounts, "allocatable": amounts}})


def _bind_proxy(cluster: Cluster) -> None:
    # The API server makes the role system:node-proxier but only kubeadm binds it to kube-proxy's certificate.
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "sandbox:kube-proxy"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:node-proxier",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
        }
    )


def is_ready(node: dict[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

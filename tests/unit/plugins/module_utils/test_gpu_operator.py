# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nodes
from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_operator as operator
from tools import gpu_nodes

GKE = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GKE_OWN = {**GKE, operator.GKE_OWN_PLUGIN: "true"}
EKS = {"k8s.amazonaws.com/accelerator": "nvidia-h100"}
AKS = {"kubernetes.azure.com/accelerator": "nvidia"}
BARE = {key: "" for key in gpu_nodes.LABELS if key != "nvidia.com/gpu.present"}


def node(labels: dict[str, str] | None = None, offers: bool = False, plugin: str | None = None) -> dict[str, Any]:
    usage = _gpu_nodes.Usage()
    usage.add([gpu_nodes.pod("plugin", "gpu-0", daemon_set=plugin, namespace="kube-system")] if plugin else [])
    raw = gpu_nodes.node(labels={**BARE, **(labels or {})}, capacity={"nvidia.com/gpu": "8" if offers else "0"})
    return _gpu_nodes.read(raw, usage, _gpu_nodes.Devices())


@pytest.mark.parametrize(
    ("nodes", "has_operator", "install", "words"),
    [
        ([], False, True, "No node offers a GPU yet"),
        ([node()], False, True, "No node offers a GPU yet"),
        ([node(offers=True, plugin="nvidia-device-plugin")], False, False, "kube-system/nvidia-device-plugin"),
        ([node(offers=True)], False, False, "something else"),
        ([node(offers=True)], True, True, "manages the GPUs"),
        (
            [node(GKE, offers=True, plugin="nvidia-gpu-device-plugin-small-cos")],
            False,
            False,
            "nvidia-gpu-device-plugin",
        ),
        ([node(GKE)], False, False, "GKE brings"),
        ([node(GKE_OWN)], False, True, "No node"),
        ([node(EKS)], False, True, "No node"),
        ([node(AKS)], False, True, "No node"),
    ],
)
def test_nothing_is_installed_where_gpus_are_offered_already(
    nodes: list[dict[str, Any]], has_operator: bool, install: bool, words: str
) -> None:
    found = operator.plan(nodes, "auto", has_operator)
    assert found["install"] is install
    assert words in found["reason"]


def test_what_the_cloud_brings_is_switched_off() -> None:
    values = {
        cloud: operator.plan([node(labels)], "operator", False)["values"]
        for cloud, labels in {"gke": GKE_OWN, "eks": EKS, "aks": AKS, "none": {}}.items()
    }
    assert [values[cloud].get("driver") for cloud in ("gke", "eks", "aks")] == [{"enabled": False}] * 3
    assert values["gke"]["hostPaths"] == {"driverInstallDir": "/home/kubernetes/bin/nvidia"}
    assert values["gke"]["toolkit"]["env"] == [{"name": "RUNTIME_CONFIG_SOURCE", "value": "file"}]
    assert values["aks"]["operator"] == {"runtimeClass": "nvidia-container-runtime"}
    assert values["none"] == {}


def test_two_device_plugins_on_gke_are_refused() -> None:
    with pytest.raises(ValueError, match="gke-no-default-nvidia-gpu-device-plugin=true"):
        operator.plan([node(GKE)], "operator", False)


def test_managed_means_managed() -> None:
    assert operator.plan([node()], "managed", False)["install"] is False


@pytest.mark.parametrize(
    ("installed", "target", "words"),
    [
        (None, "v26.7.0", None),
        ("v26.7.0", "v26.7.0", None),
        ("v26.7.0", "v26.7.1", None),
        ("v26.3.2", "v26.7.0", None),
        ("v25.10.1", "v26.3.2", None),
        ("v25.10.1", "v26.7.0", "a version of 26.3 first"),
        ("v24.9.2", "v26.7.0", "a version of 25.3 first"),
        ("v26.7.0", "v26.3.2", "no downgrade"),
        ("v26.7.0", "v25.10.0", "no downgrade"),
        # A release of which this collection has not heard.
        ("v26.7.0", "v26.11.0", None),
        ("main", "v26.7.0", None),
    ],
)
def test_upgrades_go_to_the_next_release_only(installed: str | None, target: str, words: str | None) -> None:
    found = operator.upgrade_problem(installed, target)
    assert (found is None) == (words is None)
    assert words is None or words in str(found)


def test_the_installed_version_is_read_from_the_deployment() -> None:
    labels = {"helm.sh/chart": "gpu-operator-v26.3.2"}
    annotations = {"meta.helm.sh/release-name": "gpu-operator"}
    item = {"metadata": {"namespace": "nvidia", "labels": labels, "annotations": annotations}}
    assert operator.installed([item]) == {"namespace": "nvidia", "release": "gpu-operator", "version": "v26.3.2"}
    assert operator.installed([]) is None


def policy(**status: Any) -> dict[str, Any]:
    return {"kind": "ClusterPolicy", "metadata": {"name": "cluster-policy"}, "status": status}


def test_the_state_comes_with_what_is_wrong() -> None:
    error = {"type": "Error", "status": "True", "reason": "OperandNotReady", "message": "driver pods are not ready"}
    assert operator.state([policy(state="ready")]) == ("ready", "ClusterPolicy cluster-policy is ready")
    found, words = operator.state([policy(state="notReady", conditions=[error])])
    assert (found, "driver pods are not ready" in words) == ("notReady", True)
    assert operator.state([])[0] == "absent"
    assert operator.state([policy()])[0] == "unknown"


def test_both_kinds_of_configuration_are_a_conflict() -> None:
    assert operator.conflict([policy()], []) is None
    assert "one or the other" in str(operator.conflict([policy()], [{"kind": "GPUCluster"}]))


def test_pods_that_hold_it_up_are_named() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}, "image": "nvcr.io/x:1"}
    stuck = gpu_nodes.pod("driver", "gpu-0", containerStatuses=[waiting], phase="Pending")
    ready = gpu_nodes.pod("plugin", "gpu-0", containerStatuses=[{"ready": True, "state": {"running": {}}}])
    done = gpu_nodes.pod("validator", "gpu-0", phase="Succeeded")
    assert operator.unpullable([stuck, ready]) == ["driver: nvcr.io/x:1 (no such host)"]
    assert operator.unready([stuck, ready, done]) == ["driver on gpu-0 (Pending)"]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_instances, _gpu_nodes, _gpu_types
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_nodes import Devices, Usage
from tools import gpu_nodes

INSTANCE = "node.kubernetes.io/instance-type"


def read(node: dict[str, Any], *pods: dict[str, Any], devices: Devices | None = None) -> dict[str, Any]:
    usage = Usage()
    usage.add(pods)
    return _gpu_nodes.read(node, usage, devices or Devices())


def counts(found: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(found[key] for key in ("expected", "capacity", "allocatable", "allocated", "free"))


def test_whole_gpus() -> None:
    found = read(gpu_nodes.node(), gpu_nodes.pod("a", "gpu-0", {"nvidia.com/gpu": "3"}))
    assert counts(found) == (8, 8, 8, 3, 5)
    assert (found["product"], found["memory_mib"], found["compute_capability"]) == (
        "NVIDIA-H100-80GB-HBM3",
        81559,
        "9.0",
    )
    assert (found["driver"], found["cuda"], found["mode"], found["resource"]) == (
        "580.173.02",
        "13.0",
        "device_plugin",
        "nvidia.com/gpu",
    )


def test_ended_and_unbound_pods_take_nothing() -> None:
    gpus = {"nvidia.com/gpu": "2"}
    ended = [gpu_nodes.pod(phase, "gpu-0", gpus, phase=phase) for phase in ("Succeeded", "Failed")]
    found = read(gpu_nodes.node(), *ended, gpu_nodes.pod("waiting", None, gpus, phase="Pending"))
    assert found["free"] == 8


def test_an_init_container_counts_only_if_it_asks_for_more() -> None:
    def init(amount: str, **more: Any) -> dict[str, Any]:
        return {"name": "init", "resources": {"limits": {"nvidia.com/gpu": amount}}, **more}

    gpus = {"nvidia.com/gpu": "2"}
    assert read(gpu_nodes.node(), gpu_nodes.pod("a", "gpu-0", gpus, init=[init("1")]))["free"] == 6
    assert read(gpu_nodes.node(), gpu_nodes.pod("a", "gpu-0", gpus, init=[init("4")]))["free"] == 4
    # A sidecar runs beside the others.
    assert (
        read(gpu_nodes.node(), gpu_nodes.pod("a", "gpu-0", gpus, init=[init("1", restartPolicy="Always")]))["free"] == 5
    )


def test_unhealthy_devices_are_not_free() -> None:
    assert counts(read(gpu_nodes.node(allocatable={"nvidia.com/gpu": "6"}))) == (8, 8, 6, 0, 6)


@pytest.mark.parametrize("strategy", ["time-slicing", "mps"])
def test_shared_gpus_count_once_per_replica(strategy: str) -> None:
    labels = {"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": strategy}
    found = read(gpu_nodes.node(labels=labels, capacity={"nvidia.com/gpu": "32"}))
    assert counts(found) == (32, 32, 32, 0, 32)
    assert (found["sharing"], found["physical"]) == (strategy, 8)


def test_shared_gpus_under_their_own_name() -> None:
    labels = {"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
    node = gpu_nodes.node(labels=labels, capacity={"nvidia.com/gpu": "0", "nvidia.com/gpu.shared": "32"})
    found = read(node, gpu_nodes.pod("a", "gpu-0", {"nvidia.com/gpu.shared": "5"}))
    assert (found["resource"], *counts(found)) == ("nvidia.com/gpu.shared", 32, 32, 32, 5, 27)


def test_mig_single_overrides_product_count_and_memory() -> None:
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
        "nvidia.com/gpu.count": "16",
        "nvidia.com/gpu.memory": "40448",
    }
    found = read(gpu_nodes.node(labels=labels, capacity={"nvidia.com/gpu": "16"}))
    assert counts(found) == (16, 16, 16, 0, 16)
    assert (found["mig"], found["memory_mib"]) == ({"strategy": "single", "profiles": []}, 40448)


def test_mig_mixed_counts_each_profile() -> None:
    labels = {
        "nvidia.com/mig.strategy": "mixed",
        "nvidia.com/mig-1g.10gb.count": "14",
        "nvidia.com/mig-1g.10gb.memory": "9984",
        "nvidia.com/mig-3g.40gb.count": "2",
    }
    capacity = {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "14", "nvidia.com/mig-3g.40gb": "2"}
    node = gpu_nodes.node(labels=labels, capacity=capacity)
    found = read(node, gpu_nodes.pod("a", "gpu-0", {"nvidia.com/mig-1g.10gb": "1"}))
    assert counts(found) == (0, 0, 0, 0, 0)
    small, large = found["mig"]["profiles"]
    assert (small["profile"], small["expected"], small["allocatable"], small["free"], small["memory_mib"]) == (
        "1g.10gb",
        14,
        14,
        13,
        9984,
    )
    assert (large["profile"], large["free"]) == ("3g.40gb", 2)


@pytest.mark.parametrize("basic", [False, True], ids=["v1", "v1beta1"])
def test_dra_devices_are_counted_where_there_is_no_device_plugin(basic: bool) -> None:
    devices = Devices()
    devices.add_slices([gpu_nodes.resource_slice("gpu-0", 8, basic=basic)])
    devices.add_claims([gpu_nodes.resource_claim("gpu-0", "gpu-1", "gpu-2")])
    bare = gpu_nodes.node(labels=dict.fromkeys(gpu_nodes.LABELS, ""), capacity={"nvidia.com/gpu": "0"})
    assert _gpu_nodes.has_gpu(bare, devices)
    found = read(bare, devices=devices)
    assert (found["mode"], found["resource"], *counts(found)) == ("dra", "gpu.nvidia.com", 8, 8, 8, 2, 6)
    assert (found["product"], found["memory_mib"], found["compute_capability"], found["driver"]) == (
        "NVIDIA-H100-80GB-HBM3",
        81559,
        "9.0",
        "580.173.2",
    )


def test_slices_of_a_gpu_in_dra_are_no_whole_gpus() -> None:
    devices = Devices()
    devices.add_slices([gpu_nodes.resource_slice("gpu-0", 7, kind="mig")])
    assert read(gpu_nodes.node(capacity={"nvidia.com/gpu": "0"}), devices=devices)["mode"] == "none"


def test_labels_without_a_device_plugin() -> None:
    found = read(gpu_nodes.node(capacity={"nvidia.com/gpu": "0"}))
    assert (found["mode"], found["expected"], found["free"]) == ("none", 8, 0)


def test_what_is_free_is_unknown_without_pods() -> None:
    found = _gpu_nodes.read(gpu_nodes.node(), None, Devices())
    assert (found["allocated"], found["free"]) == (None, None)


@pytest.mark.parametrize(
    ("labels", "product", "cloud", "memory_mib"),
    [
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, "L4", "gke", 22579),
        ({"k8s.amazonaws.com/accelerator": "nvidia-x1"}, "nvidia-x1", "eks", None),
        ({"kubernetes.azure.com/accelerator": "nvidia"}, None, "aks", None),
        (
            {"kubernetes.azure.com/accelerator": "nvidia", INSTANCE: "Standard_ND96isr_H100_v5"},
            "H100-80GB-HBM3",
            "aks",
            81080,
        ),
        ({"kubernetes.azure.com/cluster": "c", INSTANCE: "standard_nc40ads_h100_v5"}, "H100-NVL", "aks", 95334),
        # Half a GPU: its memory is not a GPU's.
        ({"kubernetes.azure.com/accelerator": "nvidia", INSTANCE: "Standard_NV18ads_A10_v5"}, None, "aks", None),
        ({"k8s.amazonaws.com/accelerator": "nvidia-h100", INSTANCE: "p5.48xlarge"}, "H100-80GB-HBM3", "eks", 81080),
        ({"eks.amazonaws.com/nodegroup": "gpu", INSTANCE: "g6e.12xlarge"}, "L40S", "eks", 45486),
        ({"karpenter.k8s.aws/instance-gpu-name": "l4"}, "l4", "eks", 22579),
        ({"eks.amazonaws.com/nodegroup": "gpu", "nvidia.com/gpu.product": "NVIDIA-L4"}, "NVIDIA-L4", "eks", 22579),
    ],
)
def test_the_labels_of_clouds(labels: dict[str, str], product: str | None, cloud: str, memory_mib: int | None) -> None:
    node = gpu_nodes.node(labels={**dict.fromkeys(gpu_nodes.LABELS, ""), **labels})
    assert _gpu_nodes.has_gpu(node, Devices())
    found = read(node)
    assert (found["product"], found["cloud"], found["memory_mib"]) == (product, cloud, memory_mib)


def test_every_machine_of_a_cloud_has_a_gpu_whose_memory_is_known() -> None:
    families = [f"{family}.48xlarge" for family in _gpu_instances._AWS_FAMILIES]
    for kind in [*families, *_gpu_instances._AZURE]:
        found = _gpu_instances.product({INSTANCE: kind})
        assert found, kind
        assert _gpu_types.known(found), kind
    assert _gpu_instances.product({INSTANCE: "m7i.4xlarge"}) is None
    assert _gpu_instances.product({INSTANCE: "g5"}) is None
    assert _gpu_instances.product({}) is None


def test_a_node_without_gpus() -> None:
    node = gpu_nodes.node(labels=dict.fromkeys(gpu_nodes.LABELS, ""))
    del node["status"]["capacity"]["nvidia.com/gpu"]
    assert not _gpu_nodes.has_gpu(node, Devices())
    node["metadata"]["labels"]["nvidia.com/gpu.present"] = "false"
    assert not _gpu_nodes.has_gpu(node, Devices())


@pytest.mark.parametrize(
    ("labels", "driver"),
    [
        ({"nvidia.com/cuda.driver-version.major": "580", "nvidia.com/cuda.driver-version.minor": "65"}, "580.65"),
        (
            {
                "nvidia.com/cuda.driver.major": "535",
                "nvidia.com/cuda.driver.minor": "54",
                "nvidia.com/cuda.driver.rev": "03",
            },
            "535.54.03",
        ),
    ],
)
def test_the_driver_from_its_parts(labels: dict[str, str], driver: str) -> None:
    assert read(gpu_nodes.node(labels={"nvidia.com/cuda.driver-version.full": "", **labels}))["driver"] == driver


@pytest.mark.parametrize(("stamp", "stale"), [("1763632800", True), ("1795600000", False), ("", None)])
def test_labels_from_before_the_last_start_are_stale(stamp: str, stale: bool | None) -> None:
    assert read(gpu_nodes.node(labels={"nvidia.com/gfd.timestamp": stamp}))["labels_stale"] is stale


def test_only_conditions_that_mean_trouble_are_kept() -> None:
    conditions = [
        {"type": "GpuXidError", "status": "True", "reason": "Xid79", "message": "GPU has fallen off the bus"},
        {"type": "KernelDeadlock", "status": "False"},
        {"type": "AcceleratedHardwareReady", "status": "False", "reason": "NvidiaXID48Error"},
        {"type": "NetworkingReady", "status": "True"},
        {"type": "DiskPressure", "status": "True"},
    ]
    found = read(gpu_nodes.node(conditions=conditions))["conditions"]
    assert [entry["type"] for entry in found] == ["GpuXidError", "AcceleratedHardwareReady", "DiskPressure"]


def test_who_hands_out_the_gpus_of_a_node() -> None:
    found = read(
        gpu_nodes.node(),
        gpu_nodes.pod("a", "gpu-0", daemon_set="nvidia-device-plugin-daemonset", namespace="gpu-operator"),
        gpu_nodes.pod("b", "gpu-0", daemon_set="nvidia-gpu-device-plugin-large-cos", namespace="kube-system"),
        gpu_nodes.pod("c", "gpu-0", daemon_set="nvidia-device-plugin-mps-control-daemon", namespace="gpu-operator"),
        gpu_nodes.pod("d", "other", daemon_set="nvidia-device-plugin-daemonset", namespace="x"),
    )
    assert found["device_plugins"] == [
        "gpu-operator/nvidia-device-plugin-daemonset",
        "kube-system/nvidia-gpu-device-plugin",
    ]

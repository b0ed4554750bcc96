# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check has a cluster that passes it and one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_checks, _gpu_nodes, _node_requirements
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Cluster, Expectations, Finding
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_nodes import Devices, Usage
from tools import gpu_nodes


def read(
    *nodes: dict[str, Any], pods: list[dict[str, Any]] | None = None, devices: Devices | None = None
) -> list[dict[str, Any]]:
    usage = Usage()
    usage.add(pods or [])
    return [_gpu_nodes.read(node, usage, devices or Devices()) for node in nodes]


def of_node(node: dict[str, Any], wanted: Expectations | None = None, **options: Any) -> dict[str, Finding]:
    found = _gpu_checks.of_node(read(node, **options)[0], wanted or Expectations())
    return {finding.id: finding for finding in found if finding.status != "pass"}


def of_cluster(nodes: list[dict[str, Any]], cluster: Cluster | None = None, **wanted: Any) -> dict[str, Finding]:
    found = _gpu_checks.of_cluster(nodes, cluster or Cluster(), Expectations(**wanted))
    return {finding.id: finding for finding in found}


def test_a_healthy_node_passes_everything() -> None:
    findings = _gpu_checks.of_node(read(gpu_nodes.node())[0], Expectations())
    assert {finding.status for finding in findings} == {"pass"}
    assert [finding.id for finding in findings] == [
        "node-ready",
        "node-schedulable",
        "node-pressure",
        "node-problems",
        "labels-present",
        "device-plugin",
        "double-stack",
        "device-count",
        "device-health",
        "memory-isolation",
        "taints",
    ]


XID = {"type": "GpuXidError", "status": "True", "reason": "Xid", "message": "XID 79 on GPU 3"}
NO_LABELS = dict.fromkeys(gpu_nodes.LABELS, "")
TIME_SLICED = {"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
MIXED = {"nvidia.com/mig.strategy": "mixed", "nvidia.com/mig-1g.10gb.count": "56"}


@pytest.mark.parametrize(
    ("node", "check", "status", "sentence"),
    [
        (gpu_nodes.node(ready=False), "node-ready", "fail", "gpu-0: the node is not Ready"),
        (gpu_nodes.node(unschedulable=True), "node-schedulable", "warn", "cordoned"),
        (
            gpu_nodes.node(conditions=[{"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"}]),
            "node-pressure",
            "fail",
            "DiskPressure (KubeletHasDiskPressure)",
        ),
        (gpu_nodes.node(conditions=[XID]), "node-problems", "fail", "GpuXidError (Xid: XID 79 on GPU 3)"),
        (gpu_nodes.node(labels=NO_LABELS), "labels-present", "fail", "no labels of GPU feature discovery"),
        (
            gpu_nodes.node(labels={**NO_LABELS, "cloud.google.com/gke-accelerator": "nvidia-l4"}),
            "labels-present",
            "warn",
            "the cloud's or the DRA driver's word",
        ),
        (
            gpu_nodes.node(labels={"nvidia.com/gfd.timestamp": "1763632800"}),
            "labels-fresh",
            "warn",
            "older than the node's",
        ),
        (gpu_nodes.node(capacity={"nvidia.com/gpu": "0"}), "device-plugin", "fail", "no device plugin or DRA driver"),
        (gpu_nodes.node(capacity={"nvidia.com/gpu": "7"}), "device-count", "fail", "7 of 8 nvidia.com/gpu are offered"),
        (gpu_nodes.node(labels={"nvidia.com/gpu.count": ""}), "device-count", "skip", "is not labelled"),
        (
            gpu_nodes.node(labels=TIME_SLICED, capacity={"nvidia.com/gpu": "8"}),
            "device-count",
            "fail",
            "8 of 32 nvidia.com/gpu are offered",
        ),
        (
            gpu_nodes.node(labels=MIXED, capacity={"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "49"}),
            "device-count",
            "fail",
            "49 of 56 mig-1g.10gb are offered",
        ),
        (gpu_nodes.node(allocatable={"nvidia.com/gpu": "6"}), "device-health", "fail", "2 devices are unhealthy"),
        (
            gpu_nodes.node(labels=TIME_SLICED, capacity={"nvidia.com/gpu": "32"}),
            "memory-isolation",
            "warn",
            "time-sliced between 4 pods",
        ),
        (
            gpu_nodes.node(taints=[{"key": "team", "value": "a", "effect": "NoSchedule"}]),
            "taints",
            "warn",
            "does not tolerate team=a:NoSchedule",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_each_fault_of_a_node_is_found_and_named(node: dict[str, Any], check: str, status: str, sentence: str) -> None:
    found = of_node(node)
    assert found[check].status == status
    assert sentence in found[check].message
    assert found[check].node == "gpu-0"
    assert found[check].remediation or status == "skip"
    # Nothing else is wrong with it, but for what follows from the fault.
    assert set(found) <= {check, "device-count", "memory-isolation"}


def test_mig_mixed_as_labelled_passes() -> None:
    node = gpu_nodes.node(labels=MIXED, capacity={"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "56"})
    assert of_node(node) == {}


def test_degraded_nodes_can_be_allowed() -> None:
    wanted = Expectations(allow_degraded=True)
    for node in (
        gpu_nodes.node(ready=False),
        gpu_nodes.node(allocatable={"nvidia.com/gpu": "6"}),
        gpu_nodes.node(conditions=[XID]),
    ):
        assert {finding.status for finding in of_node(node, wanted).values()} == {"warn"}


def test_xids_of_applications_are_no_fault_of_the_gpu() -> None:
    harmless = {**XID, "message": "XID 31 on GPU 3"}
    assert of_node(gpu_nodes.node(conditions=[harmless]), Expectations(xids_ignored=[13, 31])) == {}
    both = {**XID, "message": "XID 31 on GPU 3, Xid 79 on GPU 4"}
    assert "node-problems" in of_node(gpu_nodes.node(conditions=[both]), Expectations(xids_ignored=[13, 31]))


def test_two_drivers_for_the_same_gpus() -> None:
    devices = Devices()
    devices.add_slices([gpu_nodes.resource_slice("gpu-0", 8)])
    assert "the DRA driver both hand out" in of_node(gpu_nodes.node(), devices=devices)["double-stack"].message
    plugins = [
        gpu_nodes.pod("a", "gpu-0", daemon_set="nvidia-device-plugin-daemonset", namespace="gpu-operator"),
        gpu_nodes.pod("b", "gpu-0", daemon_set="nvidia-gpu-device-plugin-small-cos", namespace="kube-system"),
    ]
    found = of_node(gpu_nodes.node(), pods=plugins)["double-stack"]
    assert "gpu-operator/nvidia-device-plugin-daemonset, kube-system/nvidia-gpu-device-plugin" in found.message


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "team", "value": "a"}, True),
        ({"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "team", "value": "b"}, False),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations_as_the_scheduler_reads_them(toleration: dict[str, Any], tolerated: bool) -> None:
    [node] = read(gpu_nodes.node(taints=[{"key": "team", "value": "a", "effect": "NoSchedule"}]))
    wanted = Expectations(tolerations=[toleration])
    assert (_gpu_checks.untolerated(node, [toleration]) == []) is tolerated
    assert _gpu_checks.usable(node, wanted) is tolerated


def test_gke_adds_the_toleration_of_its_own_taint() -> None:
    taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    assert "taints" in of_node(gpu_nodes.node(taints=taints))
    on_gke = gpu_nodes.node(labels={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}, taints=taints)
    assert "taints" not in of_node(on_gke)


def test_a_cluster_without_gpus() -> None:
    found = of_cluster([])
    assert list(found) == ["gpu-nodes"]
    assert found["gpu-nodes"].status == "fail"


def policy(state: str, **spec: Any) -> dict[str, Any]:
    return {"kind": "ClusterPolicy", "metadata": {"name": "cluster-policy"}, "spec": spec, "status": {"state": state}}


VALIDATOR = {"name": "nvidia-operator-validator-1", "node": "gpu-0", "state": "Running", "done": True}


@pytest.mark.parametrize(
    ("cluster", "check", "status", "sentence"),
    [
        (Cluster(), "operator-state", "pass", "No GPU operator manages the GPUs"),
        (
            Cluster(cluster_policies=[policy("ready")]),
            "operator-state",
            "pass",
            "ClusterPolicy cluster-policy is ready",
        ),
        (Cluster(cluster_policies=[policy("notReady")]), "operator-state", "fail", "is notReady"),
        (
            Cluster(cluster_policies=[policy("ready")], gpu_clusters=[{**policy("ready"), "kind": "GPUCluster"}]),
            "operator-state",
            "fail",
            "a ClusterPolicy and a GPUCluster",
        ),
        (Cluster(unseen={"operator": "forbidden"}), "operator-state", "skip", "forbidden"),
        (
            Cluster(cluster_policies=[policy("ready")], validators=[VALIDATOR]),
            "operator-validator",
            "pass",
            "1 validators",
        ),
        (
            Cluster(
                cluster_policies=[policy("ready")], validators=[{**VALIDATOR, "done": False, "state": "driver: Error"}]
            ),
            "operator-validator",
            "fail",
            "nvidia-operator-validator-1 on gpu-0 (driver: Error)",
        ),
        (Cluster(cluster_policies=[policy("ready")]), "operator-validator", "skip", "no validator pods"),
        (
            Cluster(cluster_policies=[policy("ready")], unseen={"pods": "no"}),
            "operator-validator",
            "skip",
            "not looked at",
        ),
        (Cluster(runtime_classes=["nvidia"]), "container-runtime", "pass", "RuntimeClass nvidia"),
        (Cluster(cluster_policies=[policy("ready", cdi={"enabled": True})]), "container-runtime", "pass", "by CDI"),
        (Cluster(runtime_classes=["kata"]), "container-runtime", "warn", "no RuntimeClass nvidia"),
        (Cluster(unseen={"runtimeclasses": "forbidden"}), "container-runtime", "skip", "forbidden"),
    ],
)
def test_the_operator_and_the_container_runtime(cluster: Cluster, check: str, status: str, sentence: str) -> None:
    found = of_cluster(read(gpu_nodes.node()), cluster)
    assert found[check].status == status
    assert sentence in found[check].message


def test_managed_nodes_need_no_runtime_class() -> None:
    nodes = read(gpu_nodes.node(labels={"cloud.google.com/gke-accelerator": "nvidia-l4"}))
    found = of_cluster(nodes)
    assert "container-runtime" not in found
    assert "GKE's own driver" in found["operator-state"].message


def test_free_gpus_and_the_largest_block() -> None:
    nodes = read(
        gpu_nodes.node("a"),
        gpu_nodes.node("b"),
        gpu_nodes.node("cordoned", unschedulable=True),
        gpu_nodes.node("down", ready=False),
        pods=[gpu_nodes.pod("x", "a", {"nvidia.com/gpu": "3"}), gpu_nodes.pod("y", "b", {"nvidia.com/gpu": "6"})],
    )
    found = of_cluster(nodes)["free-gpus"]
    assert found.message == "7 GPUs are free on 2 usable nodes, 5 on one of them."
    assert found.evidence == {"usable_nodes": 2, "free": 7, "largest_free_block": 5}
    full = read(gpu_nodes.node("a"), pods=[gpu_nodes.pod("x", "a", {"nvidia.com/gpu": "8"})])
    assert of_cluster(full)["free-gpus"].status == "warn"


def test_free_slices_are_named() -> None:
    nodes = read(gpu_nodes.node(labels=MIXED, capacity={"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "56"}))
    found = of_cluster(nodes)["free-gpus"]
    assert (found.status, found.message.endswith("56 MIG slices are free.")) == ("pass", True)


T4 = {
    "nvidia.com/gpu.product": "Tesla-T4",
    "nvidia.com/gpu.memory": "15360",
    "nvidia.com/gpu.compute.major": "7",
    "nvidia.com/gpu.compute.minor": "5",
    "nvidia.com/cuda.driver-version.full": "535.309.01",
}


@pytest.mark.parametrize(
    ("wanted", "check", "status"),
    [
        ({"products": ["H100"]}, "expected-products", "pass"),
        ({"products": ["H200", "b200"]}, "expected-products", "fail"),
        ({"min_memory_mib": 80000}, "expected-memory", "pass"),
        ({"min_memory_mib": 140000}, "expected-memory", "fail"),
        ({"min_compute_capability": "8.9"}, "expected-compute-capability", "pass"),
        ({"min_compute_capability": "10.0"}, "expected-compute-capability", "fail"),
        ({"min_driver": "580.65.06"}, "expected-driver", "pass"),
        ({"min_driver": "595.10"}, "expected-driver", "fail"),
        ({"sharing": "none"}, "expected-sharing", "pass"),
        ({"sharing": "mps"}, "expected-sharing", "fail"),
        ({"min_gpus": 16}, "expected-gpus", "pass"),
        ({"min_gpus": 17}, "expected-gpus", "fail"),
        ({"min_gpus": 9, "products": ["H100"]}, "expected-gpus", "fail"),
        ({"min_gpus_per_node": 8}, "expected-block", "pass"),
        ({"min_gpus_per_node": 16}, "expected-block", "fail"),
    ],
)
def test_each_expectation_is_met_or_not(wanted: dict[str, Any], check: str, status: str) -> None:
    nodes = read(gpu_nodes.node("h100"), gpu_nodes.node("t4", labels=T4))
    found = of_cluster(nodes, **wanted)
    assert found[check].status == status
    assert bool(found[check].remediation) is (status == "fail")


def test_an_expectation_names_the_nodes_it_leaves_out() -> None:
    found = of_cluster(read(gpu_nodes.node("h100"), gpu_nodes.node("t4", labels=T4)), products=["H100"])
    assert found["expected-products"].message == "1 of 2 usable nodes have H100."
    assert found["expected-products"].evidence == {"other_nodes": ["t4"]}


def test_without_pods_an_expectation_of_free_gpus_is_skipped_not_passed() -> None:
    nodes = [_gpu_nodes.read(gpu_nodes.node(), None, Devices())]
    found = of_cluster(nodes, Cluster(unseen={"pods": "forbidden"}), min_gpus=1, min_gpus_per_node=1)
    assert {found[name].status for name in ("free-gpus", "expected-gpus", "expected-block")} == {"skip"}


def test_work_across_nodes_needs_rdma() -> None:
    with_rdma = read(gpu_nodes.node(capacity={"rdma/hca_shared_devices_a": "63"}))
    assert of_cluster(with_rdma, distributed=True)["rdma"].status == "pass"
    assert of_cluster(read(gpu_nodes.node()), distributed=True)["rdma"].status == "fail"
    assert "rdma" not in of_cluster(read(gpu_nodes.node()))


@pytest.mark.parametrize(
    ("min_driver", "cuda", "expected"),
    [
        (None, None, None),
        ("570.1", None, "570.1"),
        (None, "13.0", "580.65.06"),
        (None, "12", "525.60.13"),
        ("560.1", "12.4", "560.1"),
        ("520.1", "12.4", "525.60.13"),
    ],
)
def test_the_lowest_driver_follows_from_cuda(min_driver: str | None, cuda: str | None, expected: str | None) -> None:
    assert _gpu_checks.minimum_driver(min_driver, cuda) == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [((None, "9.2"), "is not known"), ((None, "new"), "is not known"), (("new", None), "no driver version")],
)
def test_unknown_versions_are_refused(arguments: tuple[str | None, str | None], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _gpu_checks.minimum_driver(*arguments)


def test_results_are_grouped_by_check_with_the_worst_first() -> None:
    nodes = read(gpu_nodes.node("a"), gpu_nodes.node("b", ready=False), gpu_nodes.node("c", ready=False))
    findings = [finding for node in nodes for finding in _gpu_checks.of_node(node, Expectations())]
    checks = {check["id"]: check for check in _gpu_checks.grouped(findings)}
    ready = checks["node-ready"]
    assert (ready["status"], ready["nodes"], ready["passed"]) == ("fail", ["b", "c"], 1)
    assert ready["message"] == "b: the node is not Ready (and 1 more)"
    assert checks["device-count"]["message"] == "3 nodes passed."
    assert set(checks) <= set(_gpu_checks.CATEGORIES)


def test_skipped_is_worse_than_passed_and_never_counts_as_such() -> None:
    assert _gpu_checks.worst(["pass", "skip", "pass"]) == "skip"
    assert _gpu_checks.worst([]) == "skip"
    assert _gpu_checks.worst(["skip", "warn", "fail"]) == "fail"
    assert [_gpu_checks.must_fail(status, "warn") for status in ("pass", "skip", "warn", "fail")] == [
        False,
        True,
        True,
        True,
    ]
    assert [_gpu_checks.must_fail(status, "fail") for status in ("pass", "skip", "warn", "fail")] == [
        False,
        False,
        False,
        True,
    ]
    assert not _gpu_checks.must_fail("fail", "never")


def test_a_failed_task_names_everything_that_is_missing() -> None:
    nodes = read(gpu_nodes.node("a", ready=False), gpu_nodes.node("b", allocatable={"nvidia.com/gpu": "6"}))
    findings = [finding for node in nodes for finding in _gpu_checks.of_node(node, Expectations())]
    text = _gpu_checks.sentence(_gpu_checks.grouped(findings), "fail")
    assert "a: the node is not Ready. Look at it with `kubectl describe node a`" in text
    assert "b: 2 devices are unhealthy." in text


def test_the_summary_counts_nodes_and_gpus() -> None:
    nodes = read(gpu_nodes.node("a"), gpu_nodes.node("t4", labels=T4, unschedulable=True))
    findings = [finding for node in nodes for finding in _gpu_checks.of_node(node, Expectations())]
    found = _gpu_checks.summary(nodes, _gpu_checks.grouped(findings), Expectations())
    assert (found["status"], found["nodes"], found["usable_nodes"]) == ("warn", 2, 1)
    assert (found["gpus_capacity"], found["gpus_free"], found["largest_free_block"]) == (16, 8, 8)
    assert found["products"] == ["NVIDIA-H100-80GB-HBM3", "Tesla-T4"]
    assert (found["warned"], found["failed"], found["skipped"]) == (1, 0, 0)


# The table of sizes


def sized(count: int, **capacity: str) -> list[dict[str, Any]]:
    return read(*[gpu_nodes.node(f"n{index}", capacity=capacity) for index in range(count)])


def test_the_highest_tier_that_is_met() -> None:
    assert _node_requirements.assess(sized(10), 10)["tier"] == "production"
    found = _node_requirements.assess(sized(4), 5)
    assert (found["tier"], found["next"], found["missing"]) == (
        "recommended",
        "production",
        ["5 nodes, production asks for 10"],
    )
    assert found["not_checked"] == ["network_gbps"]


def test_what_keeps_a_cluster_from_a_tier() -> None:
    nodes = sized(1, cpu="8", memory="30Gi", **{"ephemeral-storage": "100Gi"})
    missing = _node_requirements.missing("minimum", nodes, 1)
    assert missing == [
        "1 nodes, minimum asks for 3",
        "n0 with 8 CPU cores, minimum asks for 16",
        "n0 with 32 GB of memory, minimum asks for 64",
        "n0 with 107 GB of disk, minimum asks for 500",
    ]
    assert _gpu_checks.of_tier("minimum", missing).status == "fail"
    assert _gpu_checks.of_tier("minimum", []).status == "pass"
    assert _node_requirements.missing("minimum", [], 3) == ["no GPU node, minimum asks for 1 GPUs per node"]


def test_machines_that_show_a_little_less_than_their_size_count() -> None:
    nodes = sized(3, cpu="16", memory="62Gi", **{"ephemeral-storage": "470G"})
    assert _node_requirements.missing("minimum", nodes, 3) == []


def test_old_gpus_are_below_the_upper_tiers() -> None:
    nodes = read(*[gpu_nodes.node(f"n{index}", labels=T4) for index in range(5)])
    assert "n0 and 4 more with 7.5 compute capability, recommended asks for 8.0" in _node_requirements.missing(
        "recommended", nodes, 5
    )

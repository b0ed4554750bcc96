# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_check on a real API server: the sandbox's node profiles, nodes with one fault each, and the smoke test's pods."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import CATEGORIES
from sandbox.images import DCGM_TAG
from sandbox.kube import Cluster, wait_until
from tools import checkout, gpu_nodes, nvidia_smi
from tools.run_module import run_module

Check = Callable[..., dict[str, Any]]
Make = Callable[..., dict[str, Any]]
SIMULATED = {"key": "sandbox.llmstack.io/simulated", "operator": "Exists"}


@pytest.fixture
def gpu_check(sandbox: dict[str, Any]) -> Check:
    def call(check: bool = False, **params: Any) -> dict[str, Any]:
        arguments = {"kubeconfig": sandbox["kubeconfig"], "tolerations": [SIMULATED], "fail_on": "never", **params}
        return run_module("llmstack.serving.gpu_check", arguments, check=check)

    return call


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in result["checks"]}


# The sandbox's own profiles


def profile(gpu_check: Check, name: str, **params: Any) -> dict[str, Any]:
    return gpu_check(node_selector=f"sandbox.llmstack.io/profile={name}", **params)


def test_healthy_nodes_pass(gpu_check: Check, audit: Callable[[], list[dict[str, Any]]]) -> None:
    result = profile(
        gpu_check,
        "h100",
        products=["H100"],
        min_gpus=16,
        min_gpus_per_node=8,
        min_memory_mib=80000,
        dtype="fp8",
        cuda_version="13.0",
        sharing="none",
    )
    found = statuses(result)
    # Those two depend on whether the cluster has the GPU operator.
    found = {name: status for name, status in found.items() if name not in ("container-runtime", "operator-validator")}
    assert set(found.values()) == {"pass"}
    assert (result["summary"]["gpus_free"], result["summary"]["largest_free_block"]) == (16, 8)
    assert result["summary"]["drivers"] == ["595.91.07"]
    verbs = {event["verb"] for event in audit() if event["userAgent"] == "llmstack.serving"}
    assert verbs == {"get", "list"}


FAULTY_PROFILES = [
    ("h100-notready", "node-ready", "fail"),
    ("h100-cordoned", "node-schedulable", "warn"),
    ("t4-tainted", "taints", "warn"),
]


@pytest.mark.parametrize(("name", "check", "status"), FAULTY_PROFILES)
def test_a_faulty_profile_is_found(gpu_check: Check, name: str, check: str, status: str) -> None:
    result = profile(gpu_check, name, min_gpus=1)
    assert statuses(result)[check] == status
    assert result["summary"]["usable_nodes"] == 0
    assert statuses(result)["expected-gpus"] == "fail"


# What the profile a100 (8 of 40 GB, compute capability 8.0, driver 580) does not have, and what it has.
EXPECTATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "expected-products": ({"products": ["H100"]}, {"products": ["A100"]}),
    "expected-memory": ({"min_memory_mib": 80000}, {"min_memory_mib": 40000}),
    "expected-compute-capability": ({"dtype": "fp8"}, {"dtype": "bfloat16"}),
    "expected-driver": ({"min_driver": "590.44.01"}, {"cuda_version": "13.0"}),
    "expected-sharing": ({"sharing": "time-slicing"}, {"sharing": "none"}),
    "expected-gpus": ({"min_gpus": 9}, {"min_gpus": 8}),
    "expected-block": ({"min_gpus_per_node": 9}, {"min_gpus_per_node": 8}),
}


def test_each_expectation_fails_where_it_is_not_met_and_passes_where_it_is(gpu_check: Check) -> None:
    enough = {name: value for _too_much, params in EXPECTATIONS.values() for name, value in params.items()}
    passed = statuses(profile(gpu_check, "a100", **enough))
    assert {passed[check] for check in EXPECTATIONS} == {"pass"}
    for check, (too_much, _enough) in EXPECTATIONS.items():
        assert statuses(profile(gpu_check, "a100", **too_much))[check] == "fail", check


def test_the_size_of_the_cluster_is_judged_by_the_table(gpu_check: Check, make: Make) -> None:
    """One node is below the smallest tier; three large ones are above it, and a word says what the next one lacks."""
    size = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "2Ti"}
    first = make(gpu_nodes.node("size-1", capacity=size))
    result = gpu_check(node_selector=first["selector"], tier="minimum")
    assert statuses(result)["node-requirements"] == "fail"
    assert result["node_requirements"]["tier"] is None
    for number in (2, 3):
        make(gpu_nodes.node(f"size-{number}", capacity=size))
    result = gpu_check(node_selector=first["selector"], tier="minimum")
    assert statuses(result)["node-requirements"] == "pass"
    found = result["node_requirements"]
    assert (found["tier"], found["next"], found["missing"]) == (
        "minimum",
        "recommended",
        ["3 nodes, recommended asks for 5"],
    )


def test_slices_are_counted_by_profile(gpu_check: Check) -> None:
    result = profile(gpu_check, "h100-mig", sharing="mig")
    [node] = result["nodes"]
    assert node["mig"]["strategy"] == "mixed"
    assert [(entry["profile"], entry["free"]) for entry in node["mig"]["profiles"]] == [("1g.10gb", 56)]
    assert statuses(result)["device-count"] == statuses(result)["expected-sharing"] == "pass"


def test_its_nodes_are_what_model_fit_takes(gpu_check: Check) -> None:
    nodes = gpu_check()["nodes"]
    from tools.checkpoints import LLAMA_3_1_70B

    arguments = {"config": LLAMA_3_1_70B, "nodes": nodes, "tensor_parallel_size": 4, "max_model_len": 8192}
    fit = run_module("llmstack.serving.model_fit", arguments)
    assert (fit["fits"], fit["gpu"]) == (True, "NVIDIA-H100-80GB-HBM3")


def test_missing_nodes_are_one_sentence(gpu_check: Check) -> None:
    result = gpu_check(node_selector="no=such", fail_on="fail")
    assert result["failed"]
    assert result["msg"].startswith("No node has NVIDIA GPUs")


def test_a_user_without_rights_is_told_what_is_missing(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    status, answer = cluster.request(
        "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    )
    assert status == 201
    kubeconfig = json.loads(Path(sandbox["kubeconfig"]).read_text())
    arguments = {
        "kubeconfig": {
            **kubeconfig,
            "users": [{"name": kubeconfig["users"][0]["name"], "user": {"token": answer["status"]["token"]}}],
        }
    }
    result = run_module("llmstack.serving.gpu_check", arguments)
    assert result["failed"]
    assert "nodes" in result["msg"]
    assert f"system:serviceaccount:{namespace}:default" in result["msg"]


# Nodes with one fault each


@pytest.fixture
def make(cluster: Cluster) -> Iterator[Make]:
    """Makes Node objects that nobody else's pods land on; they are gone after the test."""
    run = uuid.uuid4().hex[:8]
    made: list[str] = []

    def call(node: dict[str, Any]) -> dict[str, Any]:
        node = copy.deepcopy(node)
        name = f"{node['metadata']['name']}-{run}"
        node["metadata"]["name"] = name
        node["metadata"]["labels"]["sandbox.llmstack.io/test"] = run
        node["spec"].setdefault("taints", []).append({"key": SIMULATED["key"], "value": "true", "effect": "NoSchedule"})
        status = node.pop("status")
        cluster.apply(node)
        made.append(name)
        for condition in status["conditions"]:
            # The node controller lets a node be that has just reported.
            condition.setdefault("lastHeartbeatTime", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        cluster.merge(f"/api/v1/nodes/{name}/status", {"status": status})
        return {"name": name, "selector": f"sandbox.llmstack.io/test={run}"}

    yield call
    for name in made:
        cluster.request("DELETE", f"/api/v1/nodes/{name}")


NO_LABELS = {key: "" for key in gpu_nodes.LABELS if key != "nvidia.com/gpu.present"}
SHARED = {"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "node-pressure": (gpu_nodes.node(conditions=[{"type": "DiskPressure", "status": "True"}]), "fail"),
    "node-problems": (
        gpu_nodes.node(conditions=[{"type": "GpuXidError", "status": "True", "message": "XID 79"}]),
        "fail",
    ),
    "labels-present": (gpu_nodes.node(labels=NO_LABELS), "fail"),
    "labels-fresh": (gpu_nodes.node(labels={"nvidia.com/gfd.timestamp": "1600000000"}), "warn"),
    "device-plugin": (gpu_nodes.node(capacity={"nvidia.com/gpu": "0"}), "fail"),
    "device-count": (gpu_nodes.node(capacity={"nvidia.com/gpu": "7"}), "fail"),
    "device-health": (gpu_nodes.node(allocatable={"nvidia.com/gpu": "6"}), "fail"),
    "memory-isolation": (gpu_nodes.node(labels=SHARED, capacity={"nvidia.com/gpu": "32"}), "warn"),
}


def test_every_fault_is_found_in_one_run_and_only_where_it_is(gpu_check: Check, make: Make) -> None:
    bad = {
        check: make({**node, "metadata": {**node["metadata"], "name": check}})
        for check, (node, _status) in FAULTS.items()
    }
    good = make(gpu_nodes.node("good", labels={"nvidia.com/gfd.timestamp": "4000000000"}))
    result = gpu_check(node_selector=good["selector"], fail_on="fail")
    assert result["failed"]
    checks = {check["id"]: check for check in result["checks"]}
    for check, (_node, status) in FAULTS.items():
        assert checks[check]["status"] == status, check
        assert bad[check]["name"] in checks[check]["nodes"], check
        assert good["name"] not in checks[check]["nodes"], check
        assert checks[check]["passed"] >= 1, check
        assert checks[check]["remediation"], check
        if status == "fail":
            assert f"{bad[check]['name']}: " in result["msg"]
    [healthy] = [node for node in result["nodes"] if node["name"] == good["name"]]
    assert (healthy["status"], healthy["checks"]) == ("pass", [])


def test_what_pods_have_taken_is_not_free(gpu_check: Check, make: Make, cluster: Cluster, namespace: str) -> None:
    node = make(gpu_nodes.node())
    pod = gpu_nodes.pod("taker", node["name"], {"nvidia.com/gpu": "3"}, namespace=namespace)
    del pod["status"]
    pod["spec"]["containers"][0]["image"] = "registry.k8s.io/pause:3.10"
    status, answer = cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    assert status == 201, answer
    result = gpu_check(node_selector=node["selector"], min_gpus=6)
    assert [(entry["allocated"], entry["free"]) for entry in result["nodes"]] == [(3, 5)]
    assert (statuses(result)["free-gpus"], statuses(result)["expected-gpus"]) == ("pass", "fail")
    pod = gpu_nodes.pod("all", node["name"], {"nvidia.com/gpu": "5"}, namespace=namespace)
    del pod["status"]
    pod["spec"]["containers"][0]["image"] = "registry.k8s.io/pause:3.10"
    assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)[0] == 201
    assert statuses(gpu_check(node_selector=node["selector"]))["free-gpus"] == "warn"


DRA = "/apis/resource.k8s.io/v1"


@pytest.fixture
def hand_out(cluster: Cluster) -> Iterator[Callable[[dict[str, Any], int], None]]:
    """Lets a DRA driver hand out the GPUs of a node."""
    made: list[str] = []

    def publish(node: dict[str, Any], count: int) -> None:
        item = gpu_nodes.resource_slice(node["name"], count)
        item["spec"]["pool"].update(generation=1, resourceSliceCount=1)
        status, answer = cluster.request(
            "POST", f"{DRA}/resourceslices", {"apiVersion": DRA.removeprefix("/apis/"), **item}
        )
        assert status == 201, answer
        made.append(item["metadata"]["name"])

    yield publish
    for name in made:
        cluster.request("DELETE", f"{DRA}/resourceslices/{name}")


def test_gpus_of_the_dra_driver_are_counted(
    gpu_check: Check, make: Make, hand_out: Callable[[dict[str, Any], int], None]
) -> None:
    node = make(gpu_nodes.node(capacity={"nvidia.com/gpu": "0"}, labels=NO_LABELS))
    hand_out(node, 4)
    result = gpu_check(node_selector=node["selector"], min_gpus=4, products=["H100"], dtype="fp8")
    [found] = result["nodes"]
    assert (found["mode"], found["free"], found["compute_capability"]) == ("dra", 4, "9.0")
    assert statuses(result)["expected-gpus"] == statuses(result)["expected-products"] == "pass"


def test_a_device_plugin_and_a_dra_driver_on_the_same_gpus_are_found(
    gpu_check: Check, make: Make, hand_out: Callable[[dict[str, Any], int], None]
) -> None:
    node = make(gpu_nodes.node())
    assert statuses(gpu_check(node_selector=node["selector"]))["double-stack"] == "pass"
    hand_out(node, 8)
    assert statuses(gpu_check(node_selector=node["selector"]))["double-stack"] == "fail"


@pytest.fixture
def device_class(cluster: Cluster) -> Iterator[None]:
    """That of NVIDIA's DRA driver (its chart: templates/deviceclass-gpu.yaml)."""
    expression = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
    body = {"metadata": {"name": "gpu.nvidia.com"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}
    status, answer = cluster.request("POST", f"{DRA}/deviceclasses", body)
    assert status == 201, answer
    yield
    cluster.request("DELETE", f"{DRA}/deviceclasses/gpu.nvidia.com")


@pytest.mark.usefixtures("device_class")
def test_the_smoke_test_gets_gpus_of_a_dra_driver_by_a_claim_and_leaves_none(
    gpu_check: Check,
    make: Make,
    cluster: Cluster,
    namespace: str,
    hand_out: Callable[[dict[str, Any], int], None],
) -> None:
    """The scheduler allocates them on the node; no kubelet is there, so the pod's end is set here."""
    node = make(gpu_nodes.node(capacity={"nvidia.com/gpu": "0", "pods": "10"}, labels=NO_LABELS))
    hand_out(node, 4)
    where, claims = f"/api/v1/namespaces/{namespace}/pods", f"{DRA}/namespaces/{namespace}/resourceclaims"
    allocated: list[str] = []

    def end_the_pod() -> bool:
        for claim in cluster.get(claims)["items"]:
            devices = ((claim.get("status") or {}).get("allocation") or {}).get("devices") or {}
            allocated.extend(f"{result['pool']}/{result['device']}" for result in devices.get("results") or [])
        for pod in cluster.get(where)["items"] if allocated else []:
            status = {"phase": "Failed", "reason": "NoKubelet"}
            cluster.merge(f"{where}/{pod['metadata']['name']}/status", {"status": status})
        return bool(allocated)

    with ThreadPoolExecutor(1) as meanwhile:
        ended = meanwhile.submit(wait_until, "An allocated claim", end_the_pod)
        result = gpu_check(node_selector=node["selector"], smoke="all_gpus", smoke_namespace=namespace)
        ended.result()
    assert sorted(allocated) == [f"{node['name']}-pool/gpu-{index}" for index in range(4)]
    [run] = [check for check in result["checks"] if check["id"] == "smoke-run"]
    assert (run["status"], "NoKubelet" in run["message"]) == ("fail", True)
    kinds = (where, claims, f"{DRA}/namespaces/{namespace}/resourceclaimtemplates")
    wait_until("That nothing is left", lambda: not any(cluster.get(kind)["items"] for kind in kinds))


def test_nodes_without_rdma_are_found_where_it_is_needed(gpu_check: Check, make: Make) -> None:
    node = make(gpu_nodes.node("with", capacity={"rdma/rdma_shared_device_a": "8"}))
    assert statuses(gpu_check(node_selector=node["selector"], distributed=True))["rdma"] == "pass"
    make(gpu_nodes.node("without"))
    assert statuses(gpu_check(node_selector=node["selector"], distributed=True))["rdma"] == "fail"
    assert "rdma" not in statuses(gpu_check(node_selector=node["selector"]))


POLICIES = "/apis/nvidia.com/v1/clusterpolicies"


@pytest.fixture
def policy(cluster: Cluster) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Changes the ClusterPolicy; afterwards it is as it was, or gone with its kind if there was none."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    text = (checkout.ROOT / "tests/sandbox/charts/gpu-operator/crds/clusterpolicies.yaml").read_text()
    had_kind = cluster.request("GET", POLICIES)[0] == 200
    if not had_kind:
        cluster.request("POST", crds, yaml.safe_load(text))
        wait_until("The kind ClusterPolicy", lambda: cluster.request("GET", POLICIES)[0] == 200)
    before = cluster.get(POLICIES)["items"]
    if not before:
        body = {"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "metadata": {"name": "test"}, "spec": {}}
        assert cluster.request("POST", POLICIES, body)[0] == 201
    name = before[0]["metadata"]["name"] if before else "test"
    yield lambda patch: cluster.merge(f"{POLICIES}/{name}", patch)
    if before:
        cluster.merge(f"{POLICIES}/{name}", {key: before[0].get(key) for key in ("spec", "status")})
    else:
        cluster.request("DELETE", f"{POLICIES}/{name}")
    if not had_kind:
        cluster.request("DELETE", f"{crds}/clusterpolicies.nvidia.com")
        # The next one to make it would be answered by this one, which is going.
        wait_until("The end of the kind ClusterPolicy", lambda: cluster.request("GET", POLICIES)[0] == 404)


def test_an_operator_that_is_not_ready_is_found(
    gpu_check: Check, make: Make, policy: Callable[[dict[str, Any]], None]
) -> None:
    node = make(gpu_nodes.node())
    for state, status in (("notReady", "fail"), ("ready", "pass")):
        policy({"status": {"state": state}})
        assert statuses(gpu_check(node_selector=node["selector"]))["operator-state"] == status


def test_containers_that_get_no_driver_are_found(
    gpu_check: Check, make: Make, policy: Callable[[dict[str, Any]], None]
) -> None:
    node = make(gpu_nodes.node())
    for cdi, status in ((False, "warn"), (True, "pass")):
        policy({"spec": {"cdi": {"enabled": cdi}}})
        assert statuses(gpu_check(node_selector=node["selector"]))["container-runtime"] == status


def test_a_validation_that_is_not_complete_is_found(
    gpu_check: Check, make: Make, policy: Callable[[dict[str, Any]], None], cluster: Cluster, namespace: str
) -> None:
    node = make(gpu_nodes.node(capacity={"pods": "10"}))
    policy({"status": {"state": "ready"}})
    labels = {"app": "nvidia-operator-validator"}
    spec = {
        "nodeSelector": {"sandbox.llmstack.io/test": node["selector"].partition("=")[2]},
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [{"name": "driver-validation", "image": "registry.k8s.io/pause:3.10"}],
        "containers": [{"name": "validator", "image": "registry.k8s.io/pause:3.10"}],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {
        "metadata": {"name": "nvidia-operator-validator"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    assert cluster.request("POST", f"/apis/apps/v1/namespaces/{namespace}/daemonsets", body)[0] == 201
    path = f"/api/v1/namespaces/{namespace}/pods"

    def bound() -> list[dict[str, Any]]:
        return [pod for pod in cluster.get(path)["items"] if pod["spec"].get("nodeName")]

    wait_until("The validator's pod on the node", bound)
    result = gpu_check(node_selector=node["selector"])
    assert statuses(result)["operator-validator"] == "fail"
    [pod] = bound()
    ended = {"name": "driver-validation", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    entry = {"image": "pause", "imageID": "pause", "ready": True, "restartCount": 0}
    done = {"phase": "Running", "initContainerStatuses": [{**ended, **entry}]}
    cluster.merge(f"{path}/{pod['metadata']['name']}/status", {"status": done})
    assert statuses(gpu_check(node_selector=node["selector"]))["operator-validator"] == "pass"


# The smoke test


REAL_NODE = "kubernetes.io/hostname=sandbox"


def smoke(gpu_check: Check, namespace: str, image: str | None = None, **params: Any) -> dict[str, Any]:
    chosen = {"smoke_image": f"docker.io/nvidia/cuda:{image}"} if image else {}
    return gpu_check(
        node_selector=REAL_NODE, smoke="one_per_node", smoke_namespace=namespace, smoke_timeout=60, **chosen, **params
    )


def pods(cluster: Cluster, namespace: str) -> list[str]:
    """Pods that are there and not going."""
    found = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return [pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")]


@pytest.mark.usefixtures("real_node")
def test_the_smoke_test_runs_in_a_restricted_namespace_and_cleans_up(
    gpu_check: Check, cluster: Cluster, namespace: str, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    result = smoke(gpu_check, namespace)
    found = {name: status for name, status in statuses(result).items() if name.startswith("smoke-")}
    assert set(found.values()) == {"pass"}
    assert len(found) == 9
    assert not result["changed"]
    assert pods(cluster, namespace) == []
    writes = [
        event
        for event in audit()
        if event["userAgent"] == "llmstack.serving"
        and event["verb"] not in ("get", "list", "watch")
        and event["objectRef"].get("namespace") == namespace
    ]
    assert [(event["verb"], event["objectRef"]["resource"]) for event in writes] == [
        ("patch", "pods"),
        ("delete", "pods"),
    ]


EXPECTED = {
    "memory-errors": ("smoke-memory-errors", "fail"),
    "ecc-off": ("smoke-memory-errors", "warn"),
    "row-remap-pending": ("smoke-memory-repair", "fail"),
    "row-remap-failure": ("smoke-memory-repair", "fail"),
    "recovery": ("smoke-recovery", "fail"),
    "fabric": ("smoke-fabric", "fail"),
    "throttling": ("smoke-throttling", "fail"),
    "pcie-width": ("smoke-pcie", "fail"),
    "pcie-generation": ("smoke-pcie", "warn"),
    "persistence-off": ("smoke-persistence", "warn"),
    "memory-in-use": ("smoke-processes", "warn"),
    "old-driver": ("smoke-driver", "fail"),
    "lost-gpu": ("smoke-run", "fail"),
    "no-devices": ("smoke-run", "fail"),
    "driver-mismatch": ("smoke-run", "fail"),
    "cut-off": ("smoke-run", "fail"),
}


# Unit tests judge every recording; here a few show that it comes through a real pod, and `make test-long` runs all.
USUAL = ("row-remap-failure", "no-devices", "old-driver")


@pytest.mark.usefixtures("real_node")
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=() if fault in USUAL else pytest.mark.long) for fault in EXPECTED]
)
def test_each_recorded_fault_is_found(gpu_check: Check, cluster: Cluster, namespace: str, fault: str) -> None:
    check, status = EXPECTED[fault]
    result = smoke(gpu_check, namespace, f"sandbox-{fault}", min_driver="550.1")
    assert statuses(result)[check] == status
    wrong = {
        name for name, found in statuses(result).items() if name.startswith("smoke-") and found not in ("pass", "skip")
    }
    assert wrong == {check}
    assert pods(cluster, namespace) == []


def test_every_recorded_fault_is_expected_here() -> None:
    assert {*EXPECTED, "healthy"} == set(nvidia_smi.FAULTS)


@pytest.mark.usefixtures("real_node")
@pytest.mark.parametrize(
    ("tag", "status", "sentence"),
    [
        (None, "pass", "2 tests of dcgmi passed"),
        ("sandbox-memory", "fail", "memory: Memory test found 1 error"),
    ],
)
def test_a_diagnosis_of_dcgm_is_read_from_its_pod(
    gpu_check: Check, namespace: str, tag: str | None, status: str, sentence: str
) -> None:
    chosen = {"dcgm_image": f"nvcr.io/nvidia/cloud-native/dcgm:{tag}"} if tag else {}
    result = smoke(gpu_check, namespace, dcgm_level=1, **chosen)
    [found] = [check for check in result["checks"] if check["id"] == "dcgm"]
    assert (found["status"], sentence in found["message"]) == (status, True), found
    # nvidia-smi reports all the same.
    assert statuses(result)["smoke-driver"] == "pass"


@pytest.mark.usefixtures("real_node")
def test_the_bandwidth_of_the_gpus_is_read_from_their_pod(gpu_check: Check, namespace: str) -> None:
    image = f"nvcr.io/nvidia/cloud-native/dcgm:{DCGM_TAG}"
    for least, status in ((200, "pass"), (300, "fail")):
        result = smoke(gpu_check, namespace, nccl_image=image, nccl_least_gb_per_second=least)
        assert statuses(result)["nccl"] == status


# Each of these has a test of its own above.
BY_THEMSELVES = {
    "nccl",
    "dcgm",
    "gpu-nodes",
    "double-stack",
    "free-gpus",
    "rdma",
    "operator-state",
    "operator-validator",
    "container-runtime",
    "node-requirements",
}


def test_every_check_has_a_node_here_that_fails_it() -> None:
    """Nodes without a fault pass them all: the profile h100, the node `good`, the healthy recording."""
    of_profiles = {check for _name, check, _status in FAULTY_PROFILES}
    of_recordings = {check for check, _status in EXPECTED.values()}
    assert {*FAULTS, *EXPECTATIONS, *of_profiles, *of_recordings, *BY_THEMSELVES} == set(CATEGORIES)


@pytest.mark.usefixtures("real_node")
def test_an_image_that_does_not_exist_ends_the_test_early(gpu_check: Check, cluster: Cluster, namespace: str) -> None:
    begin = time.monotonic()
    result = smoke(gpu_check, namespace, "no-such-tag", fail_on="fail")
    assert time.monotonic() - begin < 50
    assert result["failed"]
    assert "The image cannot be pulled: docker.io/nvidia/cuda:no-such-tag" in result["msg"]
    assert pods(cluster, namespace) == []


@pytest.mark.usefixtures("real_node")
def test_check_mode_makes_no_pod(gpu_check: Check, namespace: str, audit: Callable[[], list[dict[str, Any]]]) -> None:
    result = smoke(gpu_check, namespace, check=True)
    assert statuses(result)["smoke-run"] == "skip"
    assert result["summary"]["skipped"] >= 1
    assert {event["verb"] for event in audit() if event["userAgent"] == "llmstack.serving"} == {"get", "list"}


@pytest.mark.usefixtures("real_node")
def test_a_namespace_that_is_not_there_is_one_sentence(gpu_check: Check) -> None:
    result = smoke(gpu_check, "no-such-namespace")
    assert result["failed"]
    assert "no-such-namespace" in result["msg"]


@pytest.mark.usefixtures("real_node")
def test_an_aborted_task_leaves_no_pod(sandbox: dict[str, Any], cluster: Cluster, namespace: str) -> None:
    arguments = {
        "kubeconfig": sandbox["kubeconfig"],
        "node_selector": REAL_NODE,
        "smoke": "one_per_node",
        "smoke_namespace": namespace,
        "smoke_image": "docker.io/nvidia/cuda:no-such-tag",
        "_ansible_remote_tmp": "/tmp",
        "_ansible_keep_remote_files": False,
    }
    code = (
        "import json, sys\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.llmstack.serving.plugins.modules import gpu_check\n"
        "with patch_module_args(json.loads(sys.argv[1])):\n"
        "    gpu_check.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout.ROOT / "playbooks" / "collections")}
    with subprocess.Popen([sys.executable, "-c", code, json.dumps(arguments)], env=environment) as process:
        deadline = time.monotonic() + 30
        while not pods(cluster, namespace):
            assert time.monotonic() < deadline, "no pod was made"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert pods(cluster, namespace) == []

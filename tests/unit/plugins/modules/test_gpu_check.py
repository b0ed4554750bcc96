# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_smoke_run
from ansible_collections.llmstack.serving.plugins.modules import gpu_check
from tools import gpu_nodes, nvidia_smi

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(api: Any, run_module: Any) -> Run:
    api.served_groups["node.k8s.io/v1"] = [{"name": "runtimeclasses", "kind": "RuntimeClass", "namespaced": False}]

    def call(check: bool = False, **params: Any) -> dict[str, Any]:
        result: dict[str, Any] = run_module(gpu_check, check=check, **params)
        # Returned only where there are some, as by Ansible: a test compares what is returned with the documentation.
        if not result["warnings"]:
            del result["warnings"]
        return result

    return call


def add(api: Any, *objects: dict[str, Any]) -> None:
    for item in objects:
        metadata = item["metadata"]
        where = {"Node": "nodes", "Pod": f"namespaces/{metadata.get('namespace')}/pods"}[item["kind"]]
        api.put(f"/api/v1/{where}/{metadata['name']}", item)


def by_id(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["id"]: check for check in result["checks"]}


def test_a_cluster_is_read_and_nothing_is_written(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node("a"), gpu_nodes.node("b"), gpu_nodes.pod("x", "a", {"nvidia.com/gpu": "3"}))
    plain = gpu_nodes.node("cpu", labels=dict.fromkeys(gpu_nodes.LABELS, ""))
    del plain["status"]["capacity"]["nvidia.com/gpu"]
    add(api, plain)
    result = run()
    assert not result["changed"]
    assert api.writes == []
    assert [node["name"] for node in result["nodes"]] == ["a", "b"]
    assert (result["summary"]["gpus_free"], result["summary"]["largest_free_block"]) == (13, 8)
    assert {check["status"] for check in result["checks"]} == {"pass", "warn"}
    assert by_id(result)["container-runtime"]["status"] == "warn"
    assert result["node_requirements"]["tier"] == "minimum"


def test_only_live_pods_travel(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node())
    run()
    [query] = [query for _method, path, query in api.requests if path == "/api/v1/pods"]
    assert query["fieldSelector"] == "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
    assert query["limit"] == "500"


def test_without_gpus_the_pods_are_not_even_read(run: Run, api: Any) -> None:
    result = run()
    assert result["failed"]
    assert "No node has NVIDIA GPUs" in result["msg"]
    assert not [path for _method, path, _query in api.requests if path == "/api/v1/pods"]


def test_a_failed_expectation_fails_the_task_with_everything_that_is_missing(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node("a"), gpu_nodes.node("b", ready=False))
    result = run(products=["B200"], min_gpus=1)
    assert result["failed"]
    assert "b: the node is not Ready" in result["msg"]
    assert "0 of 1 usable nodes have B200" in result["msg"]
    assert "0 free GPUs, 1 asked for" in result["msg"]
    quiet = run(products=["B200"], fail_on="never")
    assert "failed" not in quiet
    assert quiet["summary"]["failed"] == 2


def test_what_may_not_be_read_is_skipped_and_counts_as_no_pass(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node())
    forbidden = (403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": 'pods is forbidden: User "x"'})
    api.planned[("GET", "/api/v1/pods")] = [forbidden, forbidden]
    result = run(min_gpus=1)
    assert by_id(result)["free-gpus"]["status"] == by_id(result)["expected-gpus"]["status"] == "skip"
    assert result["summary"]["gpus_free"] is None
    assert run(min_gpus=1, fail_on="warn")["failed"]


def test_the_operator_is_judged(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node())
    api.served_groups["nvidia.com/v1"] = [{"name": "clusterpolicies", "kind": "ClusterPolicy", "namespaced": False}]
    api.objects["/apis/nvidia.com"] = {
        "versions": [{"groupVersion": "nvidia.com/v1"}],
        "preferredVersion": {"groupVersion": "nvidia.com/v1"},
    }
    policy = {
        "kind": "ClusterPolicy",
        "metadata": {"name": "gpu"},
        "spec": {"cdi": {"enabled": True}},
        "status": {"state": "notReady"},
    }
    api.put("/apis/nvidia.com/v1/clusterpolicies/gpu", policy)
    checks = by_id(run(fail_on="never"))
    assert checks["operator-state"]["message"] == "ClusterPolicy gpu is notReady."
    assert checks["container-runtime"]["status"] == "pass"
    assert checks["operator-validator"]["status"] == "skip"


DRA = "/apis/resource.k8s.io/v1"


def dra(api: Any) -> None:
    api.served_groups["resource.k8s.io/v1"] = [
        {"name": "resourceslices", "kind": "ResourceSlice", "namespaced": False},
        {"name": "resourceclaims", "kind": "ResourceClaim", "namespaced": True},
        {"name": "resourceclaimtemplates", "kind": "ResourceClaimTemplate", "namespaced": True},
    ]


def test_gpus_of_dra_are_counted(run: Run, api: Any) -> None:
    dra(api)
    add(api, gpu_nodes.node("dra", labels=dict.fromkeys(gpu_nodes.LABELS, ""), capacity={"nvidia.com/gpu": "0"}))
    api.put(f"{DRA}/resourceslices/s", gpu_nodes.resource_slice("dra", 8))
    api.put(f"{DRA}/namespaces/models/resourceclaims/c", gpu_nodes.resource_claim("dra", "gpu-0"))
    result = run(min_gpus=7, products=["H100"], fail_on="never")
    assert result["nodes"][0]["mode"] == "dra"
    assert (result["summary"]["gpus_free"], by_id(result)["expected-gpus"]["status"]) == (7, "pass")


def test_nodes_are_chosen_by_their_labels(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node("a", labels={"pool": "x"}), gpu_nodes.node("b"))
    assert [node["name"] for node in run(node_selector="pool=x")["nodes"]] == ["a"]


def test_the_size_of_the_cluster(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node("a"))
    result = run(tier="recommended")
    assert result["failed"]
    assert "below the tier recommended: 1 nodes, recommended asks for 5" in result["msg"]


@pytest.fixture
def kubelet(api: Any) -> dict[str, str]:
    """Lets every pod succeed as soon as it is made; the log is what is set for its image."""
    logs = {"nvidia/cuda:ok": nvidia_smi.report(), "nvidia/cuda:bad": nvidia_smi.report("row-remap-failure")}

    def on_write(path: str, manifest: dict[str, Any]) -> None:
        if manifest["kind"] != "Pod" or manifest.get("status"):
            return
        image = manifest["spec"]["containers"][0]["image"]
        api.planned[("GET", f"{path}/log")] = [(200, logs[image])]
        api.put(path, {**manifest, "status": {"phase": "Succeeded"}})

    api.on_write = on_write
    return logs


def test_the_smoke_test_makes_a_pod_on_each_node_and_removes_it(run: Run, api: Any, kubelet: dict[str, str]) -> None:
    add(api, gpu_nodes.node("a"), gpu_nodes.node("b"))
    result = run(smoke="one_per_node", smoke_namespace="checks", smoke_image="nvidia/cuda:ok")
    assert not result["changed"]
    checks = by_id(result)
    assert (checks["smoke-run"]["status"], checks["smoke-run"]["passed"]) == ("pass", 2)
    made = [path for method, path in api.writes if method == "PATCH"]
    removed = [path for method, path in api.writes if method == "DELETE"]
    assert len(made) == 2
    assert sorted(made) == sorted(removed)
    assert all(path.startswith("/api/v1/namespaces/checks/pods/gpu-check-") for path in made)


def test_a_sick_gpu_fails_its_node(run: Run, api: Any, kubelet: dict[str, str]) -> None:
    add(api, gpu_nodes.node("a"))
    result = run(smoke="all_gpus", smoke_image="nvidia/cuda:bad")
    assert result["failed"]
    assert "a row could not be remapped: the GPU has to be replaced" in result["msg"]
    # Eight are granted and the report shows one.
    assert "nvidia-smi sees 1 of 8 GPUs" in result["msg"]
    assert result["nodes"][0]["status"] == "fail"
    assert not [path for path in api.objects if "gpu-check" in path]


def test_the_smoke_test_of_gpus_of_dra_makes_a_claim_that_goes_with_the_pod(
    run: Run, api: Any, kubelet: dict[str, str]
) -> None:
    dra(api)
    add(api, gpu_nodes.node("dra", labels=dict.fromkeys(gpu_nodes.LABELS, ""), capacity={"nvidia.com/gpu": "0"}))
    api.put(f"{DRA}/resourceslices/s", gpu_nodes.resource_slice("dra", 8))
    result = run(smoke="one_per_node", smoke_image="nvidia/cuda:ok", fail_on="never")
    assert by_id(result)["smoke-run"]["status"] == "pass"
    made = [path.rpartition("/")[0] for method, path in api.writes if method == "PATCH"]
    pods, templates = "/api/v1/namespaces/default/pods", f"{DRA}/namespaces/default/resourceclaimtemplates"
    # In the end the template belongs to the pod.
    assert made == [templates, pods, templates]
    assert not [path for path in api.objects if "gpu-check" in path]


def test_in_check_mode_no_pod_is_made_and_that_counts_as_skipped(run: Run, api: Any) -> None:
    add(api, gpu_nodes.node("a"))
    result = run(check=True, smoke="one_per_node")
    assert api.writes == []
    assert by_id(result)["smoke-run"]["status"] == "skip"
    assert result["summary"]["skipped"] >= 1


def test_pods_are_removed_when_one_cannot_be_made(run: Run, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    add(api, gpu_nodes.node("a"), gpu_nodes.node("b"))
    second = _gpu_smoke_run._gpu_smoke.pod_name("r", "b")
    monkeypatch.setattr(gpu_check.uuid, "uuid4", lambda: SimpleNamespace(hex="r"))
    path = f"/api/v1/namespaces/default/pods/{second}"
    denied = (
        403,
        {"kind": "Status", "code": 403, "reason": "Forbidden", "message": 'violates PodSecurity "restricted:latest"'},
    )
    api.planned[("PATCH", path)] = [denied]
    result = run(smoke="one_per_node")
    assert result["failed"]
    assert not [key for key in api.objects if "gpu-check" in key]


def test_what_an_aborted_run_left_is_swept_away(run: Run, api: Any, kubelet: dict[str, str]) -> None:
    add(api, gpu_nodes.node("a"))
    left = gpu_nodes.pod("gpu-check-old", "a", namespace="default")
    left["metadata"].update(labels={"llmstack.serving/gpu-check": "old"}, creationTimestamp="2026-01-01T00:00:00Z")
    left["spec"]["activeDeadlineSeconds"] = 60
    other = gpu_nodes.pod("gpu-check-of-somebody", "a", namespace="default")
    add(api, left, other)
    run(smoke="one_per_node", smoke_image="nvidia/cuda:ok")
    assert "/api/v1/namespaces/default/pods/gpu-check-old" not in api.objects
    assert "/api/v1/namespaces/default/pods/gpu-check-of-somebody" in api.objects


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"min_gpus": 0}, "min_gpus is 0 and must be at least 1"),
        ({"min_gpus": 0.5}, "min_gpus"),
        ({"min_compute_capability": "hopper"}, "'hopper' is no compute capability"),
        ({"cuda_version": "9.2"}, "cuda_version '9.2' is not known"),
        ({"min_driver": "newest"}, "'newest' is no driver version"),
        ({"dtype": "fp8", "min_compute_capability": "8.9"}, "mutually exclusive"),
        ({"host": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_wrong_input_is_one_clear_sentence(run: Run, params: dict[str, Any], sentence: str) -> None:
    result = run(**params)
    assert result["failed"]
    assert sentence in result["msg"]


def test_everything_that_is_returned_is_documented(run: Run, api: Any) -> None:
    documented = yaml.safe_load(gpu_check.RETURN)
    add(api, gpu_nodes.node("a", unschedulable=True))
    result = run()
    assert set(result) - {"changed", "invocation"} == set(documented)
    assert set(result["summary"]) == set(documented["summary"]["contains"])
    assert set(result["checks"][0]) == set(documented["checks"]["contains"])
    assert set(result["nodes"][0]) == set(documented["nodes"]["contains"])
    assert set(result["node_requirements"]) == set(documented["node_requirements"]["contains"])

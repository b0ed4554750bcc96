# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nodes, _gpu_smoke
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Expectations
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_nodes import Devices, Usage
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_smoke import Options, Plan
from ansible_collections.llmstack.serving.plugins.modules import gpu_check
from sandbox import images
from tools import gpu_nodes


def options(**changes: Any) -> Options:
    given = {
        "scope": "one_per_node",
        "namespace": "checks",
        "image": "nvidia/cuda:1",
        "dcgm_level": 0,
        "dcgm_image": "dcgm:4",
        "timeout_seconds": 120,
        **changes,
    }
    return Options(**given)


def read(
    *nodes: dict[str, Any], pods: list[dict[str, Any]] | None = None, devices: Devices | None = None
) -> list[dict[str, Any]]:
    usage = Usage()
    usage.add(pods or [])
    return [_gpu_nodes.read(node, usage, devices or Devices()) for node in nodes]


def test_each_ready_node_with_a_free_gpu_gets_a_pod() -> None:
    nodes = read(
        gpu_nodes.node("a"),
        gpu_nodes.node("busy"),
        gpu_nodes.node("down", ready=False),
        gpu_nodes.node("cordoned", unschedulable=True),
        pods=[gpu_nodes.pod("x", "a", {"nvidia.com/gpu": "3"}), gpu_nodes.pod("y", "busy", {"nvidia.com/gpu": "8"})],
    )
    plan = _gpu_smoke.plan(nodes, options(), "run1")
    assert plan.amounts == {"a": ("nvidia.com/gpu", 1), "cordoned": ("nvidia.com/gpu", 1)}
    assert [(finding.status, finding.message) for finding in plan.skipped] == [
        ("skip", "busy: no smoke test, none of its GPUs is free"),
        ("skip", "down: no smoke test, it is not Ready"),
    ]
    assert _gpu_smoke.plan(nodes, options(scope="all_gpus"), "run1").amounts["a"] == ("nvidia.com/gpu", 5)


def test_nodes_of_slices_and_of_dra() -> None:
    mixed = gpu_nodes.node(
        "mig",
        labels={"nvidia.com/mig-1g.10gb.count": "7"},
        capacity={"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "7"},
    )
    devices = Devices()
    devices.add_slices([gpu_nodes.resource_slice("dra", 8)])
    plan = _gpu_smoke.plan(
        read(mixed, gpu_nodes.node("dra", capacity={"nvidia.com/gpu": "0"}), devices=devices), options(), "r"
    )
    assert plan.amounts == {"mig": ("nvidia.com/mig-1g.10gb", 1), "dra": ("gpu.nvidia.com", 1)}
    assert plan.skipped == []


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
def test_gpus_of_a_dra_driver_come_by_a_claim(version: str) -> None:
    plan = Plan("checks", "run1", {"dra": ("gpu.nvidia.com", 4)}, [])
    asked = options(claims_version=f"resource.k8s.io/{version}", dcgm_level=1, nccl_image="nccl:1")
    made = _gpu_smoke.manifest("dra", "gpu.nvidia.com", 4, plan, asked)
    name, spec = made["metadata"]["name"], made["spec"]
    assert spec["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": name}]
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["resources"]["claims"] == [{"name": "gpus"}]
        assert set(container["resources"]["limits"]) <= {"cpu", "memory"}
    template = _gpu_smoke.claim_template("dra", 4, plan, asked)
    assert (template["apiVersion"], template["metadata"]["name"]) == (f"resource.k8s.io/{version}", name)
    [request] = template["spec"]["spec"]["devices"]["requests"]
    exactly = request if version == "v1beta1" else request["exactly"]
    assert (exactly["deviceClassName"], exactly["count"]) == ("gpu.nvidia.com", 4)
    owned = _gpu_smoke.claim_template("dra", 4, plan, asked, {"metadata": {"name": name, "uid": "u1"}})
    assert owned["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u1"}]


def test_in_check_mode_every_node_is_skipped() -> None:
    found = _gpu_smoke.skipped_all(read(gpu_nodes.node("a"), gpu_nodes.node("b")), "in check mode no pods are made")
    assert [(finding.node, finding.status) for finding in found] == [("a", "skip"), ("b", "skip")]


def pod(**changes: Any) -> dict[str, Any]:
    plan = Plan("checks", "run1", {"gpu-0": ("nvidia.com/gpu", 8)}, [])
    return _gpu_smoke.manifest("gpu-0", "nvidia.com/gpu", 8, plan, options(**changes))


def test_the_pod_meets_the_restricted_standard_and_ends_by_itself() -> None:
    spec = pod()["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert (spec["activeDeadlineSeconds"], spec["restartPolicy"], spec["automountServiceAccountToken"]) == (
        120,
        "Never",
        False,
    )
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert container["command"] == ["nvidia-smi", "-q", "-x"]


def test_the_pod_is_bound_to_its_node_by_the_scheduler() -> None:
    made = pod()
    assert "nodeName" not in made["spec"]
    [term] = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-0"]}]}
    assert made["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert made["metadata"]["labels"]["llmstack.serving/gpu-check"] == "run1"


def test_names_of_pods_are_valid_for_any_node() -> None:
    name = _gpu_smoke.pod_name("run1", "ip-10-0-0-1.eu-central-1.compute.internal" * 5)
    assert len(name) <= 63
    assert name != _gpu_smoke.pod_name("run2", "x")


def test_options_of_the_pod() -> None:
    spec = pod(runtime_class_name="nvidia", image_pull_secrets=["registry"])["spec"]
    assert (spec["runtimeClassName"], spec["imagePullSecrets"]) == ("nvidia", [{"name": "registry"}])
    [dcgm] = pod(dcgm_level=2)["spec"]["initContainers"]
    assert dcgm["command"] == ["sh", "-c", "nv-hostengine && dcgmi diag -r 2 -j; true"]
    assert dcgm["resources"]["limits"]["nvidia.com/gpu"] == "8"
    both = pod(dcgm_level=2, nccl_image="nccl-tests:1")["spec"]["initContainers"]
    assert [(each["name"], each["image"]) for each in both] == [("dcgmi", "dcgm:4"), ("nccl", "nccl-tests:1")]
    assert both[1]["command"] == ["sh", "-c", "all_reduce_perf -b 512M -e 512M -g 8; true"]
    assert both[1]["resources"]["limits"]["nvidia.com/gpu"] == "8"


def state(phase: str, container: dict[str, Any] | None = None, name: str = "nvidia-smi", **more: Any) -> dict[str, Any]:
    statuses = [{"name": name, "image": "nvidia/cuda:1", "state": container}] if container else []
    return {"status": {"phase": phase, "containerStatuses": statuses, **more}}


@pytest.mark.parametrize(
    "pod_now",
    [
        state("Pending"),
        state("Pending", {"waiting": {"reason": "ContainerCreating"}}),
        state("Running", {"running": {}}),
        state("Pending", conditions=[{"type": "PodScheduled", "status": "True"}]),
    ],
)
def test_a_pod_that_may_still_end_well_is_waited_for(pod_now: dict[str, Any]) -> None:
    assert _gpu_smoke.ending(pod_now) is None


def test_a_pod_that_has_ended_has_a_log() -> None:
    done = _gpu_smoke.ending(state("Succeeded", {"terminated": {"exitCode": 0}}))
    assert done and done.finished
    complaint = _gpu_smoke.ending(state("Failed", {"terminated": {"exitCode": 6, "reason": "Error"}}))
    assert complaint and complaint.finished


@pytest.mark.parametrize(
    ("pod_now", "sentence"),
    [
        (
            state("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
            "The image cannot be pulled: nvidia/cuda:1 (not found)",
        ),
        (
            state(
                "Failed", {"terminated": {"exitCode": 128, "reason": "StartError", "message": "nvidia-smi: not found"}}
            ),
            "nvidia-smi ended with 128 (StartError) nvidia-smi: not found",
        ),
        (
            state("Failed", reason="DeadlineExceeded", message="Pod was active too long"),
            "DeadlineExceeded Pod was active",
        ),
        (
            state("Failed", reason="UnexpectedAdmissionError", message="no healthy devices"),
            "UnexpectedAdmissionError no healthy",
        ),
        (
            state(
                "Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}],
            ),
            "cannot be scheduled: Insufficient nvidia.com/gpu",
        ),
    ],
)
def test_what_does_not_heal_ends_the_wait_at_once(pod_now: dict[str, Any], sentence: str) -> None:
    ended = _gpu_smoke.ending(pod_now)
    assert ended and not ended.finished
    assert sentence in ended.reason
    finding = _gpu_smoke.not_run("gpu-0", ended)
    assert (finding.status, bool(finding.remediation)) == ("fail", True)


def diagnosis(*results: dict[str, Any], top: str = "DCGM Diagnostic") -> str:
    tests = [{"name": "memory", "results": list(results)}]
    return "Successfully ran diagnostic.\n" + json.dumps(
        {top: {"test_categories": [{"category": "Hardware", "tests": tests}]}}
    )


@pytest.mark.parametrize(
    ("text", "status", "sentence"),
    [
        (
            diagnosis({"gpu_id": "0", "status": "Pass"}, {"gpu_id": "1", "status": "Pass"}),
            "pass",
            "2 tests of dcgmi passed",
        ),
        (diagnosis({"status": "Fail", "warnings": "Error on GPU 3"}), "fail", "memory: Error on GPU 3"),
        (
            diagnosis({"status": "FAIL", "warnings": [{"warning": "ECC", "error_id": 1}]}, top="DCGM GPU Diagnostic"),
            "fail",
            "memory: ECC",
        ),
        (diagnosis({"status": "Warn", "info": "slow"}), "warn", "memory: slow"),
        (diagnosis({"status": "Skip"}), "skip", "ran no test"),
        ("Error: unable to connect to the host engine", "fail", "said: Error: unable to connect"),
        ("", "fail", "said: nothing"),
        ("{broken", "fail", "gave no result"),
    ],
)
def test_a_diagnosis_of_dcgm(text: str, status: str, sentence: str) -> None:
    found = _gpu_smoke.judge_dcgm("gpu-0", text, Expectations())
    assert found.status == status
    assert sentence in found.message


def test_the_sandbox_has_the_default_image() -> None:
    assert f"default: docker.io/nvidia/cuda:{images.CUDA_TAG}\n" in gpu_check.DOCUMENTATION

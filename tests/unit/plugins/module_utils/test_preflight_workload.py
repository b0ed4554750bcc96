# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nodes
from ansible_collections.llmstack.serving.plugins.module_utils import _preflight_workload as judge
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import FAIL, PASS, SKIP, WARN, Finding
from ansible_collections.llmstack.serving.plugins.module_utils._preflight_wanted import Service
from tools import gpu_nodes

GPU = "nvidia.com/gpu"
CHAT = Service("chat", "s3://models/chat", gpus=4)


def node(name: str = "gpu-0", taken: int = 0, **how: Any) -> dict[str, Any]:
    """A node as gpu_check reads it, on which pods have taken some GPUs."""
    usage = _gpu_nodes.Usage()
    usage.add([gpu_nodes.pod("taker", name, {GPU: str(taken)})])
    return _gpu_nodes.read(gpu_nodes.node(name, **how), usage, _gpu_nodes.Devices())


def place(services: list[Service], nodes: list[dict[str, Any]], **more: Any) -> dict[str, Finding]:
    found = judge.of_placement(services, more.pop("deployed", ()), nodes, more.pop("resource", GPU), **more)
    return {finding.subject: finding for finding in found}


# GPUs


def test_a_service_that_finds_its_gpus_passes() -> None:
    assert place([CHAT], [node()])["chat"].status == PASS


def test_a_replica_needs_its_gpus_on_one_node() -> None:
    found = place([Service("chat", "s3://m/c", gpus=8)], [node("a", taken=4), node("b", taken=4)])["chat"]
    assert found.status == FAIL
    assert "0 of 1 replicas" in found.message


def test_all_services_together_must_find_their_gpus() -> None:
    both = [Service("small", "s3://m/s", gpus=2, replicas=2), Service("large", "s3://m/l", gpus=8)]
    assert {name: finding.status for name, finding in place(both, [node()]).items()} == {"large": PASS, "small": FAIL}
    enough = [node("a"), node("b", taken=4)]
    assert {finding.status for finding in place(both, enough).values()} == {PASS}


def test_a_service_that_runs_has_its_gpus_already() -> None:
    found = place([CHAT], [node(taken=8)], deployed=[CHAT])["chat"]
    assert (found.status, "already" in found.message) == (PASS, True)


def test_every_pod_of_a_replica_that_spans_nodes_needs_its_gpus_on_one_node() -> None:
    wide = Service("moe", "s3://m/moe", gpus=8, pods_per_replica=2, replicas=2)
    found = place([wide], [node("a"), node("b"), node("c"), node("d", taken=1)])["moe"]
    assert (found.status, found.evidence["placed"]) == (FAIL, 1)
    assert "8 nvidia.com/gpu on each of 2 nodes per replica, and 1 of 2 replicas" in found.message
    assert place([wide], [node(name) for name in "abcd"])["moe"].status == PASS


def test_a_replica_that_is_not_complete_leaves_its_gpus_to_others() -> None:
    wide = Service("moe", "s3://m/moe", gpus=8, pods_per_replica=2)
    found = place([wide, CHAT], [node()])
    assert {name: finding.status for name, finding in found.items()} == {"moe": FAIL, "chat": PASS}


def test_services_and_the_parts_of_deployments_share_the_gpus() -> None:
    parts = [
        Service("llm/prefill", "s3://m/l", gpus=2, kind="LLMInferenceService"),
        Service("llm/decode", "s3://m/l", gpus=4, kind="LLMInferenceService"),
    ]
    assert {finding.status for finding in place(parts, [node()]).values()} == {PASS}
    found = place([*parts, CHAT], [node()])
    assert {name: finding.status for name, finding in found.items()} == {
        "llm/decode": PASS,
        "chat": PASS,
        "llm/prefill": FAIL,
    }
    assert found["llm/prefill"].message.startswith("The LLM deployment llm/prefill asks for 2 nvidia.com/gpu")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([], "the largest usable node offers 0"),
        ([node(capacity={GPU: "2"})], "the largest usable node offers 2"),
        ([node(ready=False)], "gpu-0 is not Ready"),
        ([node(unschedulable=True)], "gpu-0 is cordoned"),
        ([node(taints=[{"key": "team", "effect": "NoSchedule"}])], "gpu-0 has the taint team"),
    ],
)
def test_it_says_why_there_is_no_gpu(nodes: list[dict[str, Any]], words: str) -> None:
    found = place([CHAT], nodes)["chat"]
    assert found.status == FAIL
    assert words in found.message
    assert found.remediation


def test_tolerations_and_selectors_decide_which_nodes_count() -> None:
    tainted = node(taints=[{"key": "team", "effect": "NoSchedule"}])
    tolerant = Service("chat", "s3://m/c", tolerations=[{"key": "team", "operator": "Exists"}])
    assert place([tolerant], [tainted])["chat"].status == PASS
    choosy = Service("chat", "s3://m/c", node_selector={"pool": "inference"})
    assert "has not the label pool" in place([choosy], [node()])["chat"].message
    assert place([choosy], [node(labels={"pool": "inference"})])["chat"].status == PASS


def test_slices_are_placed_by_their_own_resource() -> None:
    mig = node(
        capacity={GPU: "0", "nvidia.com/mig-1g.10gb": "7"},
        labels={"nvidia.com/mig.strategy": "mixed", "nvidia.com/mig-1g.10gb.count": "7"},
    )
    one = Service("chat", "s3://m/c")
    assert place([one], [mig], resource="nvidia.com/mig-1g.10gb")["chat"].status == PASS
    assert place([one], [mig])["chat"].status == FAIL


def test_gpus_that_an_autoscaler_brings_are_a_warning() -> None:
    found = place([CHAT], [], promised="The autoscaler is to add them.")["chat"]
    assert found.status == WARN
    assert found.remediation.startswith("The autoscaler is to add them.")


def test_a_service_without_gpus_is_not_placed() -> None:
    assert place([Service("embed", "s3://m/e", gpus=0)], []) == {}


def test_the_fault_of_one_node_only_warns_because_others_may_do() -> None:
    check = {"id": "node-ready", "status": FAIL, "message": "a: not Ready", "remediation": "Look", "evidence": {}}
    whole = {**check, "id": "operator-state", "nodes": []}
    network = {**whole, "id": "rdma"}
    found = judge.of_gpus([{**check, "nodes": ["a"]}, whole, network])
    assert [(finding.id, finding.status) for finding in found] == [
        ("node-ready", WARN),
        ("operator-state", FAIL),
        ("rdma", WARN),
    ]


# The model


def verdict(**changes: Any) -> dict[str, Any]:
    return {
        "status": PASS,
        "confidence": "formula",
        "margin_gib": 12.5,
        "max_model_len": 131072,
        "max_model_len_that_fits": 131072,
        "gpu": "H100",
        "gpus_needed": 4,
        "limiting_factor": None,
        "problems": [],
        "warnings_found": [],
        "suggestions": [],
    } | changes


SHORT = {
    "status": FAIL,
    "problems": [{"factor": "kv_cache", "message": "Too long."}],
    "max_model_len_that_fits": 34736,
    "suggestions": [{"gpus": 2, "gpu": "H100", "why": "tensor parallelism 2"}],
}
HEAVY = {**SHORT, "problems": [{"factor": "weights", "message": "Too heavy."}], "max_model_len_that_fits": 0}


@pytest.mark.parametrize(
    ("shortens", "changes", "status", "words"),
    [
        (True, {}, PASS, "12.5 GiB to spare"),
        (True, SHORT, WARN, "34736 does"),
        (False, SHORT, FAIL, "Too long."),
        (True, HEAVY, FAIL, "Too heavy."),
        (True, {"status": WARN, "warnings_found": ["Time-sliced."]}, WARN, "Time-sliced."),
        (True, {"status": SKIP, "problems": [{"factor": "architecture", "message": "Unknown."}]}, SKIP, "Unknown."),
    ],
)
def test_whether_the_model_fits(shortens: bool, changes: dict[str, Any], status: str, words: str) -> None:
    found = judge.of_fit(Service("chat", "s3://m/c", shortens=shortens), verdict(**changes))
    assert (found.status, found.subject) == (status, "chat")
    assert words in found.message
    if status == FAIL:
        assert found.remediation == "This would fit: 2 x H100 with tensor parallelism 2."


def test_a_model_that_nobody_could_read_is_skipped() -> None:
    assert judge.of_fit(CHAT, None, "the bucket is not there").status == SKIP


@pytest.mark.parametrize(
    ("size_gib", "disks", "status"),
    [
        (140, ["200Gi", "100Gi"], WARN),
        (140, ["100Gi", "100Gi"], FAIL),
        (140, ["200Gi", "200Gi"], PASS),
        (140, ["0"], SKIP),
        (None, ["200Gi"], SKIP),
    ],
)
def test_the_weights_must_fit_on_a_node_s_disk(size_gib: int | None, disks: list[str], status: str) -> None:
    nodes = [node(f"gpu-{index}", capacity={"ephemeral-storage": disk}) for index, disk in enumerate(disks)]
    found = judge.of_disk(CHAT, size_gib * judge.GIB if size_gib else None, nodes)
    assert found is not None
    assert found.status == status


def test_what_is_served_from_a_volume_needs_no_disk() -> None:
    assert judge.of_disk(Service("chat", "pvc://models/chat"), None, [node()]) is None


# Images


@pytest.mark.parametrize(
    ("on_nodes", "answer", "status"),
    [
        ([], {"registry": "ghcr.io", "status": 200}, PASS),
        ([], {"registry": "ghcr.io", "status": 404}, FAIL),
        ([], {"registry": "ghcr.io", "status": 401}, FAIL),
        ([], {"registry": "ghcr.io", "status": 403}, FAIL),
        ([], {"registry": "ghcr.io", "status": 503}, WARN),
        ([], {"registry": "ghcr.io", "error": "timed out"}, WARN),
        ([], None, WARN),
        (["gpu-0"], {"registry": "ghcr.io", "error": "timed out"}, PASS),
    ],
)
def test_whether_an_image_can_be_pulled(on_nodes: list[str], answer: dict[str, Any] | None, status: str) -> None:
    found = judge.of_image("ghcr.io/a/b:1", on_nodes, answer)
    assert found.status == status
    assert bool(found.remediation) == (status != PASS)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"registry": "r", "status": 200}, PASS, "is at r"),
        ({"registry": "r", "status": 404}, FAIL, "does not exist at r"),
        ({"registry": "r", "status": 401}, WARN, "it answered 401"),
        ({"registry": "r", "error": "refused"}, WARN, "refused"),
        (None, WARN, "was not asked"),
    ],
)
def test_a_chart_that_helm_will_not_find(answer: dict[str, Any] | None, status: str, words: str) -> None:
    found = judge.of_chart("r/charts/kserve:v1", answer)
    assert (found.status, found.subject) == (status, "r/charts/kserve:v1")
    assert words in found.message
    assert bool(found.remediation) == (status != PASS)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"status": 200}, PASS, "is there"),
        ({}, PASS, "is there"),
        ({"status": 404}, FAIL, "it answered 404"),
        ({"error": "Name or service not known"}, FAIL, "cannot be read: Name or service not known"),
        (None, SKIP, "was not looked for"),
    ],
)
def test_a_manifest_that_the_role_will_not_read(answer: dict[str, Any] | None, status: str, words: str) -> None:
    found = judge.of_file("https://example.com/install.yaml", answer)
    assert (found.status, found.subject) == (status, "https://example.com/install.yaml")
    assert words in found.message
    assert bool(found.remediation) == (status == FAIL)


def test_pull_secrets_must_be_there_and_of_the_right_type() -> None:
    secrets = {"good": {"type": "kubernetes.io/dockerconfigjson"}, "opaque": {"type": "Opaque"}, "gone": None}
    found = judge.of_pull_secrets(["good", "opaque", "gone", "unseen"], "models", secrets)
    assert [finding.status for finding in found] == [PASS, FAIL, FAIL, SKIP]


# Storage


@pytest.mark.parametrize(
    ("problem", "exists", "creates", "status"),
    [(None, True, False, PASS), (None, False, True, PASS), (None, False, False, FAIL), ("Refused.", False, True, FAIL)],
)
def test_the_bucket(problem: str | None, exists: bool, creates: bool, status: str) -> None:
    assert judge.of_bucket("s3://models at http://s3", problem, exists, creates).status == status


@pytest.mark.parametrize(
    ("size", "problem", "status"), [(5, None, PASS), (None, "s3://m/c holds no object", FAIL), (None, None, SKIP)]
)
def test_the_model_s_files(size: int | None, problem: str | None, status: str) -> None:
    assert judge.of_model_files(CHAT, "s3://m/c", size, problem).status == status


def claim(*modes: str, phase: str = "Bound") -> dict[str, Any]:
    return {"spec": {"accessModes": list(modes)}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("replicas", "found", "status"),
    [
        (1, claim("ReadWriteOnce"), PASS),
        (2, claim("ReadWriteOnce"), FAIL),
        (2, claim("ReadOnlyMany"), PASS),
        (1, claim("ReadWriteOnce", phase="Pending"), WARN),
        (1, claim("ReadWriteOnce", phase="Lost"), FAIL),
        (1, None, FAIL),
    ],
)
def test_the_volume_claim_of_a_service(replicas: int, found: dict[str, Any] | None, status: str) -> None:
    service = Service("chat", "pvc://models/chat", replicas=replicas)
    assert judge.of_claim(service, "serving", "models", found).status == status


def storage_class(name: str, provisioner: str, default: bool = False) -> dict[str, Any]:
    key = "storageclass.kubernetes.io/is-default-class"
    annotations = {key: "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "provisioner": provisioner}


DISKS, FILES = storage_class("disks", "ebs.csi.aws.com", default=True), storage_class("files", "efs.csi.aws.com")


@pytest.mark.parametrize(
    ("volume", "classes", "status"),
    [
        ({}, [DISKS, FILES], PASS),
        ({}, [FILES], FAIL),
        ({"storage_class": "files", "access_mode": "ReadWriteMany"}, [DISKS, FILES], PASS),
        ({"access_mode": "ReadWriteMany"}, [DISKS, FILES], FAIL),
        ({"storage_class": "gone"}, [DISKS, FILES], FAIL),
    ],
)
def test_storage_classes(volume: dict[str, Any], classes: list[dict[str, Any]], status: str) -> None:
    [found] = judge.of_storage_classes([{"name": "cache", **volume}], classes)
    assert found.status == status


# Quotas


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "team"}, "spec": {"hard": hard, **spec}, "status": {"hard": hard, "used": used or {}}}


NEED = judge.demand(
    [Service("chat", "s3://m/c", gpus=4, replicas=2, resources={"requests": {"cpu": "8", "memory": "64Gi"}})], GPU
)


def test_a_replica_that_spans_nodes_takes_so_much_for_each_of_its_pods() -> None:
    wide = Service("moe", "s3://m/moe", gpus=8, pods_per_replica=2, replicas=3)
    assert judge.demand([wide], GPU) == {"pods": 6, "requests.nvidia.com/gpu": 48}


def test_what_services_take_together() -> None:
    assert NEED == {
        "pods": 2,
        "requests.nvidia.com/gpu": 8,
        "requests.cpu": 16,
        "requests.memory": 128 * judge.GIB,
    }


@pytest.mark.parametrize(
    ("item", "failed"),
    [
        (quota({"requests.nvidia.com/gpu": "8"}), []),
        (quota({"requests.nvidia.com/gpu": "8"}, {"requests.nvidia.com/gpu": "2"}), ["team:requests.nvidia.com/gpu"]),
        (quota({"cpu": "10", "memory": "1Ti"}), ["team:cpu"]),
        (quota({"requests.memory": "64Gi", "pods": "1"}), ["team:requests.memory", "team:pods"]),
        (quota({"pods": "0"}, scopes=["BestEffort"]), []),
        (quota({"persistentvolumeclaims": "0"}), []),
    ],
)
def test_quotas_must_leave_what_is_needed(item: dict[str, Any], failed: list[str]) -> None:
    found = judge.of_quotas([item], NEED, "models")
    assert [finding.subject for finding in found if finding.status == FAIL] == failed
    if not failed:
        assert [finding.status for finding in found] == [PASS]


def test_a_limit_range_that_a_service_is_above() -> None:
    limits = {"metadata": {"name": "small"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "32Gi"}}]}}
    big = Service("chat", "s3://m/c", resources={"limits": {"memory": "64Gi"}})
    fits = Service("mini", "s3://m/m", resources={"limits": {"memory": "16Gi"}})
    found = judge.of_limit_ranges([limits], [big, fits], "models")
    assert [(finding.subject, finding.status) for finding in found] == [("chat", FAIL)]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of gpu_check: from what was observed and what is expected to findings. PRIVATE to the collection.

Order and content follow what the validators of the field look at (AICR, rhaii-cluster-validation, NVSentinel), cheap
ones first. Nothing here counts as passed that was not looked at: that is "skip".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_types

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"
# The worst of several; skipped is worse than passed.
_ORDER = (PASS, SKIP, WARN, FAIL)

CATEGORIES = {
    "gpu-nodes": "capacity",
    "node-ready": "node",
    "node-schedulable": "node",
    "node-pressure": "node",
    "node-problems": "node",
    "labels-present": "labels",
    "labels-fresh": "labels",
    "device-plugin": "devices",
    "double-stack": "devices",
    "device-count": "devices",
    "device-health": "devices",
    "memory-isolation": "devices",
    "operator-state": "operator",
    "operator-validator": "operator",
    "container-runtime": "operator",
    "taints": "scheduling",
    "free-gpus": "capacity",
    "expected-products": "expectation",
    "expected-memory": "expectation",
    "expected-compute-capability": "expectation",
    "expected-driver": "expectation",
    "expected-sharing": "expectation",
    "expected-gpus": "expectation",
    "expected-block": "expectation",
    "rdma": "network",
    "smoke-run": "smoke",
    "smoke-driver": "smoke",
    "smoke-memory-errors": "smoke",
    "smoke-memory-repair": "smoke",
    "smoke-recovery": "smoke",
    "smoke-throttling": "smoke",
    "smoke-pcie": "smoke",
    "smoke-fabric": "smoke",
    "smoke-persistence": "smoke",
    "smoke-processes": "smoke",
    "dcgm": "smoke",
    "nccl": "smoke",
    "node-requirements": "requirements",
}
# Lowest driver of a CUDA version's family on Linux (docs.nvidia.com/deploy/cuda-compatibility).
_DRIVER_OF_CUDA = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
CAPABILITY_OF_DTYPE = {"float16": "7.0", "bfloat16": "8.0", "fp8": "8.9", "nvfp4": "10.0"}
# GKE adds the toleration to every pod that requests the resource (admission plugin ExtendedResourceToleration).
_TOLERATED_ON_GKE = "nvidia.com/gpu"


@dataclass(frozen=True)
class Finding:
    """One check on one node, or on the cluster (node None)."""

    id: str
    status: str
    message: str
    remediation: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    node: str | None = None

    def result(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "category": CATEGORIES[self.id],
            "status": self.status,
            "message": self.message,
            "remediation": self.remediation,
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class Expectations:
    """What the caller asks for; None and empty mean that anything will do."""

    min_gpus: int | None = None
    min_gpus_per_node: int | None = None
    products: Sequence[str] = ()
    min_memory_mib: int | None = None
    min_compute_capability: str | None = None
    min_driver: str | None = None
    sharing: str | None = None
    tolerations: Sequence[dict[str, Any]] = ()
    distributed: bool = False
    allow_degraded: bool = False
    xids_ignored: Sequence[int] = ()


@dataclass
class Cluster:
    """What was observed beside the nodes. `unseen` says why something could not be looked at, by its name."""

    cluster_policies: list[dict[str, Any]] = field(default_factory=list)
    gpu_clusters: list[dict[str, Any]] = field(default_factory=list)
    validators: list[dict[str, Any]] = field(default_factory=list)
    runtime_classes: list[str] = field(default_factory=list)
    # Image -> the nodes it is on, of those that were asked for.
    images: dict[str, list[str]] = field(default_factory=dict)
    # The version of resource.k8s.io that ResourceSlices were read in.
    claims_version: str = "resource.k8s.io/v1"
    unseen: dict[str, str] = field(default_factory=dict)


def minimum_driver(min_driver: str | None, cuda_version: str | None) -> str | None:
    """The driver asked for, or the lowest that a CUDA version runs on. Raises ValueError with a sentence."""
    if min_driver is not None and not version(min_driver):
        raise ValueError(f"min_driver {min_driver!r} is no driver version: write it like 580.65.06.")
    if cuda_version is None:
        return min_driver
    match = re.match(r"(\d+)(\.\d+)*$", cuda_version)
    if not match or int(match[1]) not in _DRIVER_OF_CUDA:
        known = ", ".join(f"{major}.x" for major in _DRIVER_OF_CUDA)
        raise ValueError(f"cuda_version {cuda_version!r} is not known: write a version of {known}, or give min_driver.")
    needed = _DRIVER_OF_CUDA[int(match[1])]
    return max((needed, min_driver), key=version) if min_driver else needed


def minimum_capability(min_compute_capability: str | None, dtype: str | None) -> str | None:
    """The compute capability asked for, or what a type needs. Raises ValueError with a sentence."""
    found = CAPABILITY_OF_DTYPE[dtype] if dtype else min_compute_capability
    if found is not None:
        _gpu_types.parse_compute_capability(found)
    return found


def version(text: str | None) -> tuple[int, ...]:
    """ "580.65.06" -> (580, 65, 6); empty if there is no version."""
    return tuple(int(part) for part in re.findall(r"\d+", text or ""))


def worst(statuses: Iterable[str]) -> str:
    return max(statuses, key=_ORDER.index, default=SKIP)


# Checks of a node


def of_node(node: dict[str, Any], wanted: Expectations) -> list[Finding]:
    """Everything that can be told from a node as _gpu_nodes reads it."""
    found = [*_state(node, wanted), *_labels(node), *_devices(node, wanted), *_sharing(node), *_taints(node, wanted)]
    return [
        Finding(item.id, item.status, f"{node['name']}: {item.message}", item.remediation, item.evidence, node["name"])
        for item in found
    ]


def _degraded(wanted: Expectations) -> str:
    return WARN if wanted.allow_degraded else FAIL


def _state(node: dict[str, Any], wanted: Expectations) -> list[Finding]:
    problems = [entry for entry in node["conditions"] if entry["type"] not in PRESSURES]
    pressures = [entry for entry in node["conditions"] if entry["type"] in PRESSURES]
    found = [
        Finding("node-ready", PASS, "Ready")
        if node["ready"]
        else Finding(
            "node-ready",
            _degraded(wanted),
            "the node is not Ready",
            f"Look at it with `kubectl describe node {node['name']}`; allow_degraded makes this a warning.",
        ),
        Finding("node-schedulable", PASS, "schedulable")
        if node["schedulable"]
        else Finding(
            "node-schedulable",
            WARN,
            "the node is cordoned: nothing new is placed on it",
            f"When its maintenance is over: `kubectl uncordon {node['name']}`.",
        ),
        Finding("node-pressure", PASS, "no pressure")
        if not pressures
        else Finding(
            "node-pressure",
            _degraded(wanted),
            f"{_listed(pressures)}",
            "Free what the node is short of, or pods will be evicted from it.",
            {"conditions": pressures},
        ),
    ]
    serious = [entry for entry in problems if not _ignored_xid(entry, wanted)]
    if serious:
        text = "Drain the node and have it repaired; the condition's source says what it saw."
        found.append(Finding("node-problems", _degraded(wanted), _listed(serious), text, {"conditions": serious}))
    else:
        found.append(Finding("node-problems", PASS, "no problem is reported"))
    return found


PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")


def _listed(conditions: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{entry['type']} ({entry['reason'] or entry['status']}{': ' + entry['message'] if entry['message'] else ''})"
        for entry in conditions
    )


def _ignored_xid(condition: dict[str, Any], wanted: Expectations) -> bool:
    """Whether a condition speaks of XIDs of which all are errors of an application, not of the GPU."""
    numbers = [
        int(number)
        for number in re.findall(r"xid\D{0,20}?(\d+)", f"{condition['reason']} {condition['message']}", re.IGNORECASE)
    ]
    return bool(numbers) and all(number in wanted.xids_ignored for number in numbers)


def _labels(node: dict[str, Any]) -> list[Finding]:
    found = []
    if node["labels_found"]:
        found.append(Finding("labels-present", PASS, "labelled by GPU feature discovery"))
    elif node["mode"] == "dra" or node["cloud"]:
        found.append(
            Finding(
                "labels-present",
                WARN,
                "no labels of GPU feature discovery: product and memory are the cloud's or the DRA driver's word",
                "Install GPU feature discovery (part of the GPU operator) to have the driver's own.",
            )
        )
    else:
        found.append(
            Finding(
                "labels-present",
                FAIL,
                "there are GPUs but no labels of GPU feature discovery: product, memory and driver are not known",
                "Install GPU feature discovery: it is part of the GPU operator.",
            )
        )
    if node["labels_stale"] is not None:
        found.append(
            Finding(
                "labels-fresh",
                WARN,
                "the labels are older than the node's last start",
                "Restart gpu-feature-discovery on the node.",
            )
            if node["labels_stale"]
            else Finding("labels-fresh", PASS, "the labels are from after the node's last start")
        )
    return found


def _devices(node: dict[str, Any], wanted: Expectations) -> list[Finding]:
    profiles = (node["mig"] or {}).get("profiles") or []
    if node["mode"] == "none":
        text = (
            "Look at the device plugin's pod on the node (in gpu-operator or kube-system), or install the GPU operator."
        )
        return [Finding("device-plugin", FAIL, "there are GPUs but no device plugin or DRA driver offers them", text)]
    found = [Finding("device-plugin", PASS, f"GPUs are offered as {node['resource']}")]
    evidence = {key: node[key] for key in ("physical", "replicas", "expected", "capacity", "allocatable", "resource")}
    if node["capacity"] and node["dra_devices"] and node["mode"] == "device_plugin":
        found.append(
            Finding(
                "double-stack",
                FAIL,
                f"the device plugin and the DRA driver both hand out the same GPUs ({node['dra_devices']})",
                "Switch off whole GPUs in one of them: a GPU would be given to two pods.",
                evidence,
            )
        )
    elif len(node["device_plugins"]) > 1:
        found.append(
            Finding(
                "double-stack",
                FAIL,
                f"several device plugins hand out the same GPUs: {', '.join(node['device_plugins'])}",
                "Label the node gke-no-default-nvidia-gpu-device-plugin=true, or switch off the operator's devicePlugin.",
                {"daemonsets": node["device_plugins"]},
            )
        )
    else:
        found.append(Finding("double-stack", PASS, "one driver hands out the GPUs"))
    missing = [entry for entry in profiles if entry["expected"] not in (None, entry["capacity"])]
    ill = [entry for entry in profiles if entry["allocatable"] < entry["capacity"]]
    if (node["expected"] is not None and node["capacity"] != node["expected"]) or missing:
        text = "Compare the device plugin's configuration (time-slicing, MIG) with the labels, then restart it."
        parts = [f"{node['capacity']} of {node['expected']} {node['resource']}"] if not missing else []
        parts += [f"{entry['capacity']} of {entry['expected']} mig-{entry['profile']}" for entry in missing]
        found.append(
            Finding(
                "device-count",
                _degraded(wanted),
                f"{', '.join(parts)} are offered",
                text,
                {**evidence, "mig": profiles},
            )
        )
    elif node["expected"] is None and not profiles:
        found.append(Finding("device-count", SKIP, "how many GPUs there should be is not labelled", "", evidence))
    else:
        found.append(Finding("device-count", PASS, "as many as labelled", "", evidence))
    if node["allocatable"] < node["capacity"] or ill:
        text = "The device plugin found them unhealthy: look at its log and at `nvidia-smi` on the node for XIDs."
        lost = node["capacity"] - node["allocatable"] + sum(entry["capacity"] - entry["allocatable"] for entry in ill)
        found.append(Finding("device-health", _degraded(wanted), f"{lost} devices are unhealthy", text, evidence))
    else:
        found.append(Finding("device-health", PASS, "all devices are healthy"))
    return found


def _sharing(node: dict[str, Any]) -> list[Finding]:
    if node["sharing"] == "time-slicing":
        text = "Let models have GPUs of their own, or set gpu_memory_utilization so that all together fit."
        message = f"GPUs are time-sliced between {node['replicas']} pods, each of which may take all of the memory"
        return [Finding("memory-isolation", WARN, message, text, {"replicas": node["replicas"]})]
    return [Finding("memory-isolation", PASS, "a pod's GPU memory is its own")]


def untolerated(node: dict[str, Any], tolerations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The taints that keep the workload away."""
    found = []
    for taint in node["taints"]:
        if taint.get("effect") not in ("NoSchedule", "NoExecute") or taint["key"].startswith("node.kubernetes.io/"):
            # Those of the node's own state are checks of their own.
            continue
        if node["cloud"] == "gke" and taint["key"] == _TOLERATED_ON_GKE:
            continue
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            found.append(taint)
    return found


def _tolerates(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


def _taints(node: dict[str, Any], wanted: Expectations) -> list[Finding]:
    away = untolerated(node, wanted.tolerations)
    if not away:
        return [Finding("taints", PASS, "every taint is tolerated")]
    text = ", ".join(f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in away)
    return [
        Finding("taints", WARN, f"the workload does not tolerate {text}", "Add it to tolerations.", {"taints": away})
    ]


# Checks of the cluster


def usable(node: dict[str, Any], wanted: Expectations) -> bool:
    """Whether the workload's pods could be placed on the node now."""
    pressed = any(entry["type"] in PRESSURES for entry in node["conditions"])
    return node["ready"] and node["schedulable"] and not pressed and not untolerated(node, wanted.tolerations)


def of_cluster(nodes: Sequence[dict[str, Any]], cluster: Cluster, wanted: Expectations) -> list[Finding]:
    if not nodes:
        return [
            Finding(
                "gpu-nodes",
                FAIL,
                "No node has NVIDIA GPUs: none has such a label, resource or ResourceSlice.",
                "Add GPU nodes, check node_selector, or install the GPU operator where there are GPUs.",
            )
        ]
    return [
        Finding("gpu-nodes", PASS, f"{len(nodes)} nodes have GPUs.", evidence={"nodes": len(nodes)}),
        *_operator(nodes, cluster),
        *_runtime(nodes, cluster),
        *_capacity(nodes, wanted),
        *_rdma(nodes, wanted),
    ]


def _operator(nodes: Sequence[dict[str, Any]], cluster: Cluster) -> list[Finding]:
    if "operator" in cluster.unseen:
        return [Finding("operator-state", SKIP, f"The GPU operator was not looked at: {cluster.unseen['operator']}")]
    objects = [*cluster.cluster_policies, *cluster.gpu_clusters]
    if cluster.cluster_policies and cluster.gpu_clusters:
        return [
            Finding(
                "operator-state",
                FAIL,
                "There are a ClusterPolicy and a GPUCluster: the GPU operator supports one or the other.",
                "Delete the one that is not meant to manage the GPUs.",
            )
        ]
    found = []
    managed = {node["cloud"] for node in nodes} - {None}
    if not objects:
        words = (
            f"{'/'.join(sorted(managed)).upper()}'s own driver is at work" if managed else "it was not installed here"
        )
        found.append(Finding("operator-state", PASS, f"No GPU operator manages the GPUs: {words}."))
    for item in objects:
        state = (item.get("status") or {}).get("state") or "unknown"
        name = f"{item['kind']} {item['metadata']['name']}"
        if state == "ready":
            found.append(Finding("operator-state", PASS, f"{name} is ready."))
        else:
            text = "Look at the pods of the operator's namespace that are not Running or Completed."
            found.append(Finding("operator-state", FAIL, f"{name} is {state}.", text, {"state": state}))
    return [*found, *_validators(cluster, bool(objects))]


def _validators(cluster: Cluster, has_operator: bool) -> list[Finding]:
    if not has_operator:
        return []
    if "pods" in cluster.unseen:
        return [Finding("operator-validator", SKIP, f"Validators were not looked at: {cluster.unseen['pods']}")]
    failed = [pod for pod in cluster.validators if not pod["done"]]
    if failed:
        names = ", ".join(f"{pod['name']} on {pod['node']} ({pod['state']})" for pod in failed[:5])
        text = "Read the log of its init containers: they name the step (driver, toolkit, cuda, plugin) that fails."
        return [
            Finding(
                "operator-validator",
                FAIL,
                f"The operator's validation is not complete: {names}.",
                text,
                {"pods": failed[:50]},
            )
        ]
    if not cluster.validators:
        return [Finding("operator-validator", SKIP, "The operator has no validator pods.")]
    return [Finding("operator-validator", PASS, f"All {len(cluster.validators)} validators are done.")]


def _runtime(nodes: Sequence[dict[str, Any]], cluster: Cluster) -> list[Finding]:
    if all(node["cloud"] or node["mode"] == "dra" for node in nodes):
        # Managed nodes inject the driver themselves, DRA uses CDI.
        return []
    if "runtimeclasses" in cluster.unseen:
        return [Finding("container-runtime", SKIP, f"Not looked at: {cluster.unseen['runtimeclasses']}")]
    cdi = any(
        ((policy.get("spec") or {}).get("cdi") or {}).get("enabled", False) for policy in cluster.cluster_policies
    )
    if cdi or "nvidia" in cluster.runtime_classes:
        how = "CDI" if cdi else "RuntimeClass nvidia"
        return [Finding("container-runtime", PASS, f"Containers get the driver by {how}.")]
    text = "Without a GPU operator, make nvidia the container runtime's default or create RuntimeClass nvidia."
    return [Finding("container-runtime", WARN, "There is no RuntimeClass nvidia and no operator that uses CDI.", text)]


def _capacity(nodes: Sequence[dict[str, Any]], wanted: Expectations) -> list[Finding]:
    """What is free, then each expectation in turn: every one leaves fewer nodes to the next."""
    left = [node for node in nodes if usable(node, wanted)]
    free = free_gpus(left)
    block = largest_block(left)
    evidence = {"usable_nodes": len(left), "free": free, "largest_free_block": block}
    if free is None:
        found = [Finding("free-gpus", SKIP, "What is free is not known: pods could not be listed.", evidence=evidence)]
    else:
        slices = sum(entry["free"] or 0 for node in left for entry in (node["mig"] or {}).get("profiles") or [])
        message = f"{free} GPUs are free on {len(left)} usable nodes, {block} on one of them."
        message += f" {slices} MIG slices are free." if slices else ""
        status = PASS if free or slices else WARN
        text = "" if free or slices else "Wait for a workload to end, or add GPU nodes."
        found = [Finding("free-gpus", status, message, text, evidence)]
    for name, message, test in _filters(wanted):
        kept = [node for node in left if test(node)]
        others = sorted(node["name"] for node in left if not test(node))
        text = "" if kept else "Add such nodes, widen node_selector or change the expectation."
        found.append(
            Finding(
                name,
                PASS if kept else FAIL,
                f"{len(kept)} of {len(left)} usable nodes have {message}.",
                text,
                {"other_nodes": others[:50]},
            )
        )
        left = kept
    free, block = free_gpus(left), largest_block(left)
    for name, least, have, what in (
        ("expected-gpus", wanted.min_gpus, free, "free GPUs"),
        ("expected-block", wanted.min_gpus_per_node, block, "free GPUs on one node"),
    ):
        if least is None:
            continue
        if have is None:
            found.append(Finding(name, SKIP, f"{least} {what} are asked for, and what is free is not known."))
        else:
            status = PASS if have >= least else FAIL
            text = "" if have >= least else "Free GPUs, add nodes, or ask for less."
            found.append(
                Finding(name, status, f"{have} {what}, {least} asked for.", text, {"free": have, "nodes": len(left)})
            )
    return found


def _filters(wanted: Expectations) -> list[tuple[str, str, Any]]:
    """(check, in words, test of a node) of each expectation that leaves nodes out."""
    found: list[tuple[str, str, Any]] = []
    if wanted.products:
        named = {_plain(product) for product in wanted.products}
        words = " or ".join(wanted.products)
        found.append(("expected-products", words, lambda node: any(name in _plain(node["product"]) for name in named)))
    if wanted.min_memory_mib is not None:
        least = wanted.min_memory_mib
        found.append(("expected-memory", f"{least} MiB of GPU memory", lambda node: (node["memory_mib"] or 0) >= least))
    if wanted.min_compute_capability is not None:
        capability = _gpu_types.parse_compute_capability(wanted.min_compute_capability)
        found.append(
            (
                "expected-compute-capability",
                f"compute capability {wanted.min_compute_capability}",
                lambda node: version(node["compute_capability"]) >= capability,
            )
        )
    if wanted.min_driver is not None:
        driver = version(wanted.min_driver)
        # The sandbox and older labels know only the driver's branch: 580 is then as good as any 580.
        found.append(
            (
                "expected-driver",
                f"driver {wanted.min_driver}",
                lambda node: bool(node["driver"]) and version(node["driver"]) >= driver[: len(version(node["driver"]))],
            )
        )
    if wanted.sharing is not None:
        found.append(("expected-sharing", f"sharing {wanted.sharing}", lambda node: _mode(node) == wanted.sharing))
    return found


def _mode(node: dict[str, Any]) -> str:
    """How GPUs are handed out: none, time-slicing, mps or mig."""
    return "mig" if node["mig"] else str(node["sharing"])


def _plain(product: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (product or "").lower())


def free_gpus(nodes: Iterable[dict[str, Any]]) -> int | None:
    """Free whole GPUs (or shares of them), None if that is not known of some node."""
    amounts = [node["free"] for node in nodes]
    return None if any(amount is None for amount in amounts) else sum(amounts)


def largest_block(nodes: Iterable[dict[str, Any]]) -> int | None:
    """The most that are free on one node: what tensor parallelism can use."""
    amounts = [node["free"] for node in nodes]
    return None if any(amount is None for amount in amounts) else max(amounts, default=0)


def _rdma(nodes: Sequence[dict[str, Any]], wanted: Expectations) -> list[Finding]:
    if not wanted.distributed:
        return []
    without = sorted(node["name"] for node in nodes if usable(node, wanted) and not node["rdma"])
    if without:
        text = "Install the network operator or the RDMA device plugin; over TCP, KV cache transfers are slow."
        message = f"{len(without)} usable nodes offer no RDMA device, {without[0]} for one."
        return [Finding("rdma", FAIL, message, text, {"nodes": without[:50]})]
    return [Finding("rdma", PASS, "Every usable node offers RDMA devices.")]


def of_tier(wanted: str, missing: Sequence[str]) -> Finding:
    """Whether the cluster has the size that is asked for; missing is what _node_requirements says is not there."""
    if not missing:
        return Finding("node-requirements", PASS, f"The cluster meets the tier {wanted}.")
    return Finding(
        "node-requirements",
        FAIL,
        f"The cluster is below the tier {wanted}: {'; '.join(missing)}.",
        "Add or enlarge nodes, or ask for a lower tier.",
        {"missing": list(missing)},
    )


# Results


def grouped(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """One result per check, in the order of CATEGORIES: the worst of all nodes, and which nodes did not pass."""
    by_id: dict[str, list[Finding]] = {}
    for finding in findings:
        by_id.setdefault(finding.id, []).append(finding)
    results = []
    for name in CATEGORIES:
        members = by_id.get(name)
        if not members:
            continue
        status = worst(finding.status for finding in members)
        decisive = [finding for finding in members if finding.status == status]
        message = decisive[0].message
        if len(members) > 1:
            message = (
                f"{len(members)} nodes passed."
                if status == PASS
                else f"{decisive[0].message}{f' (and {len(decisive) - 1} more)' if len(decisive) > 1 else ''}"
            )
        results.append(
            {
                **decisive[0].result(),
                "message": message,
                "nodes": sorted(finding.node for finding in members if finding.node and finding.status != PASS),
                "passed": sum(finding.status == PASS for finding in members),
            }
        )
    return results


def of_each_node(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.node:
            found.setdefault(finding.node, []).append(finding)
    return found


def summary(nodes: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]], wanted: Expectations) -> dict[str, Any]:
    counts = {status: sum(check["status"] == status for check in checks) for status in _ORDER}
    placeable = [node for node in nodes if usable(node, wanted)]
    return {
        "status": worst(check["status"] for check in checks),
        "nodes": len(nodes),
        "usable_nodes": len(placeable),
        "gpus_capacity": sum(node["capacity"] for node in nodes),
        "gpus_allocatable": sum(node["allocatable"] for node in nodes),
        "gpus_free": free_gpus(placeable),
        "largest_free_block": largest_block(placeable),
        "products": sorted({node["product"] for node in nodes if node["product"]}),
        "drivers": sorted({node["driver"] for node in nodes if node["driver"]}),
        "passed": counts[PASS],
        "warned": counts[WARN],
        "failed": counts[FAIL],
        "skipped": counts[SKIP],
    }


def must_fail(status: str, fail_on: str) -> bool:
    """Skipped checks never count as passed: who asks for warnings hears of them too."""
    return status in {"fail": (FAIL,), "warn": (FAIL, WARN, SKIP), "never": ()}[fail_on]


def sentence(checks: Iterable[dict[str, Any]], fail_on: str) -> str:
    """What is missing, all of it, as a failed task says it."""
    serious = (FAIL,) if fail_on == "fail" else (FAIL, WARN, SKIP)
    parts = []
    for check in checks:
        if check["status"] in serious:
            message = check["message"].rstrip(".")
            parts.append(f"{message}. {check['remediation']}".rstrip())
    return " ".join(parts)

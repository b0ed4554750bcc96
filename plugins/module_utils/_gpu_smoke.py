# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The smoke test's pods: which node gets one, what it looks like, how its end is read. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nccl
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import (
    FAIL,
    PASS,
    SKIP,
    WARN,
    Expectations,
    Finding,
)
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_nodes import DRIVER_OF_SLICES

LABEL = "llmstack.serving/gpu-check"
# The pod's name for its claim, and the DeviceClass of whole GPUs that NVIDIA's DRA driver brings.
_CLAIM = "gpus"
_DEVICE_CLASS = "gpu.nvidia.com"
CONTAINER = "nvidia-smi"
DCGM_CONTAINER = "dcgmi"
# Waiting reasons of a container that do not heal by themselves.
_HOPELESS = {
    "ErrImagePull": "The image cannot be pulled",
    "ImagePullBackOff": "The image cannot be pulled",
    "InvalidImageName": "The image's name is not valid",
    "ErrImageNeverPull": "The image is not on the node and may not be pulled",
    "CreateContainerConfigError": "The container cannot be configured",
    "CreateContainerError": "The container cannot be created",
    "RunContainerError": "The container cannot be started",
}


@dataclass(frozen=True)
class Plan:
    """The pods to run: `amounts` is how many of which resource each node's pod asks for."""

    namespace: str
    run: str
    amounts: dict[str, tuple[str, int]]
    skipped: list[Finding]


@dataclass(frozen=True)
class Options:
    """The smoke test as asked for. `dcgm_level` is that of `dcgmi diag -r`, 0 for none; without `nccl_image`, no all-reduce."""

    scope: str
    namespace: str
    image: str
    dcgm_level: int
    dcgm_image: str
    timeout_seconds: int
    nccl_image: str | None = None
    nccl_least_gb_per_second: float = 0.0
    runtime_class_name: str | None = None
    image_pull_secrets: Sequence[str] = ()
    # The version of resource.k8s.io that the cluster serves.
    claims_version: str = "resource.k8s.io/v1"


def plan(nodes: Sequence[dict[str, Any]], options: Options, run: str) -> Plan:
    """One pod for each Ready node with something free; the others are skipped with the reason."""
    amounts: dict[str, tuple[str, int]] = {}
    skipped = []
    for node in nodes:
        resource, free = _takes(node)
        if not node["ready"]:
            skipped.append(_skip(node, "it is not Ready"))
        elif free is None:
            skipped.append(_skip(node, "what is free on it is not known"))
        elif free < 1:
            skipped.append(_skip(node, "none of its GPUs is free"))
        else:
            amounts[node["name"]] = (resource, free if options.scope == "all_gpus" else 1)
    return Plan(options.namespace, run, amounts, skipped)


def _takes(node: dict[str, Any]) -> tuple[str, int | None]:
    """The resource that the pod asks for, and how many are free: whole GPUs, or slices where there are no whole ones."""
    if node["allocatable"]:
        return node["resource"], node["free"]
    for entry in (node["mig"] or {}).get("profiles") or []:
        if entry["allocatable"]:
            # Slices of one profile cannot be combined in a report: one of them speaks for the GPU.
            return f"nvidia.com/mig-{entry['profile']}", None if entry["free"] is None else min(1, entry["free"])
    return node["resource"], 0


def _skip(node: dict[str, Any], reason: str) -> Finding:
    return Finding("smoke-run", SKIP, f"{node['name']}: no smoke test, {reason}", node=node["name"])


def skipped_all(nodes: Sequence[dict[str, Any]], reason: str) -> list[Finding]:
    return [_skip(node, reason) for node in nodes]


def pod_name(run: str, node: str) -> str:
    """A name that is valid whatever the node is called, and the same for the same run and node."""
    digest = hashlib.sha256(f"{run}/{node}".encode()).hexdigest()[:16]
    return f"gpu-check-{digest}"


def claims(resource: str) -> bool:
    """Whether pods get these GPUs by a ResourceClaim (DRA) instead of a resource."""
    return resource == DRIVER_OF_SLICES


def _metadata(node: str, plan_: Plan) -> dict[str, Any]:
    return {
        "name": pod_name(plan_.run, node),
        "namespace": plan_.namespace,
        "labels": {
            LABEL: plan_.run,
            "app.kubernetes.io/name": "gpu-check",
            "app.kubernetes.io/managed-by": "llmstack.serving",
        },
    }


def claim_template(
    node: str, amount: int, plan_: Plan, options: Options, owner: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the claim of the pod on this node is made of. With its owner, the pod, it goes when the pod goes."""
    exactly = {"deviceClassName": _DEVICE_CLASS, "count": amount}
    # Until v1beta2 a request had these fields itself.
    request = exactly if options.claims_version.endswith("/v1beta1") else {"exactly": exactly}
    metadata = _metadata(node, plan_)
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Pod", **{key: owner["metadata"][key] for key in ("name", "uid")}}
        ]
    return {
        "apiVersion": options.claims_version,
        "kind": "ResourceClaimTemplate",
        "metadata": metadata,
        "spec": {"spec": {"devices": {"requests": [{"name": _CLAIM, **request}]}}},
    }


def _resources(gpus: dict[str, str], limits: dict[str, str], requests: dict[str, str]) -> dict[str, Any]:
    if any(claims(resource) for resource in gpus):
        return {"claims": [{"name": _CLAIM}], "limits": limits, "requests": requests}
    return {"limits": {**gpus, **limits}, "requests": requests}


def manifest(node: str, resource: str, amount: int, plan_: Plan, options: Options) -> dict[str, Any]:
    """The pod: restricted, bound to its node, and ended by the kubelet even if nobody comes back for it."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    gpus = {resource: str(amount)}
    container = {
        "name": CONTAINER,
        "image": options.image,
        "command": ["nvidia-smi", "-q", "-x"],
        "securityContext": restricted,
        "resources": _resources(gpus, {"cpu": "500m", "memory": "256Mi"}, {"cpu": "50m", "memory": "64Mi"}),
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "restartPolicy": "Never",
        "activeDeadlineSeconds": options.timeout_seconds,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # By affinity and not by nodeName: the scheduler then sees to it that the GPUs are really free.
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
                    ]
                }
            }
        },
        # A node is examined whatever it is reserved for, and while it is cordoned.
        "tolerations": [{"operator": "Exists"}],
    }
    # One after the other, each with all the GPUs.
    before = [_dcgm(gpus, restricted, options)] if options.dcgm_level else []
    if options.nccl_image:
        before.append(_nccl(gpus, amount, restricted, options))
    if before:
        spec["initContainers"] = before
    if options.runtime_class_name:
        spec["runtimeClassName"] = options.runtime_class_name
    if options.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
    metadata = _metadata(node, plan_)
    if claims(resource):
        spec["resourceClaims"] = [{"name": _CLAIM, "resourceClaimTemplateName": metadata["name"]}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _dcgm(gpus: dict[str, str], restricted: dict[str, Any], options: Options) -> dict[str, Any]:
    """dcgmi needs its host engine, which writes to /var/run and wants to be root; nothing more is allowed to it."""
    # A failed diagnosis must not keep nvidia-smi from its report: the result is in the log.
    script = f"nv-hostengine && dcgmi diag -r {options.dcgm_level} -j; true"
    return {
        "name": DCGM_CONTAINER,
        "image": options.dcgm_image,
        "command": ["sh", "-c", script],
        "securityContext": {**restricted, "readOnlyRootFilesystem": False, "runAsNonRoot": False, "runAsUser": 0},
        "resources": _resources(gpus, {"memory": "4Gi"}, {"cpu": "500m", "memory": "512Mi"}),
    }


def _nccl(gpus: dict[str, str], amount: int, restricted: dict[str, Any], options: Options) -> dict[str, Any]:
    return {
        "name": _gpu_nccl.CONTAINER,
        "image": options.nccl_image,
        "command": _gpu_nccl.command(amount),
        # NCCL shares buffers between the GPUs' processes in /dev/shm.
        "securityContext": {**restricted, "readOnlyRootFilesystem": False},
        "resources": _resources(gpus, {"memory": "8Gi"}, {"cpu": "500m", "memory": "512Mi"}),
    }


@dataclass(frozen=True)
class Ending:
    """How a pod ended: `finished` with a log to read, or why it cannot."""

    finished: bool
    reason: str = ""
    remediation: str = ""


def ending(pod: dict[str, Any]) -> Ending | None:
    """None while it may still come to an end by itself."""
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return Ending(True)
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in statuses:
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in _HOPELESS:
            return Ending(
                False,
                f"{_HOPELESS[waiting['reason']]}: {container.get('image', '')} ({waiting.get('message', '')})",
                "Give an image that the nodes can pull (smoke_image), and image_pull_secrets if it is private.",
            )
        ended = state.get("terminated") or {}
        if ended.get("exitCode"):
            if status.get("phase") == "Failed" and container["name"] == CONTAINER and ended.get("reason") == "Error":
                # nvidia-smi says itself what is wrong.
                return Ending(True)
            if container["name"] == CONTAINER or status.get("phase") == "Failed":
                message = ended.get("message") or ""
                return Ending(
                    False,
                    f"{container['name']} ended with {ended['exitCode']} ({ended.get('reason')}) {message}".rstrip(),
                    "If nvidia-smi was not found, the container runtime did not give the driver to the container: "
                    "look at the operator's toolkit, or set runtime_class_name.",
                )
    if status.get("phase") == "Failed":
        reason = status.get("reason") or "unknown reason"
        return Ending(
            False,
            f"The pod failed: {reason} {status.get('message') or ''}".rstrip(),
            "DeadlineExceeded: raise smoke_timeout, or look at the pod's events while it runs."
            if reason == "DeadlineExceeded"
            else "Look at the device plugin's pod on the node.",
        )
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Ending(
                False,
                f"The pod cannot be scheduled: {condition.get('message', '')}",
                "Somebody may have taken the GPU meanwhile, or a quota or admission policy is in the way.",
            )
    return None


def not_run(node: str, ended: Ending) -> Finding:
    return Finding("smoke-run", FAIL, f"{node}: {ended.reason}", ended.remediation, node=node)


def overdue(node: str, seconds: int) -> Finding:
    return Finding(
        "smoke-run",
        FAIL,
        f"{node}: the smoke test did not end within {seconds} s",
        "Look at the events of the node and of the namespace; a driver that hangs shows like this.",
        node=node,
    )


def judge_dcgm(node: str, text: str, wanted: Expectations) -> Finding:
    """What `dcgmi diag -j` found; the text may begin with lines that are not JSON."""
    begin = text.find("{")
    try:
        document = json.JSONDecoder().raw_decode(text[begin:])[0] if begin >= 0 else None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        said = " ".join(text.split())[:200] or "nothing"
        return Finding("dcgm", FAIL, f"{node}: dcgmi gave no result but said: {said}", "Check dcgm_image.", node=node)
    failed, warned, passed = [], [], 0
    for test, status, details in _dcgm_results(document):
        if re.match(r"fail", status, re.IGNORECASE):
            failed.append(f"{test}: {details}" if details else test)
        elif re.match(r"warn", status, re.IGNORECASE):
            warned.append(f"{test}: {details}" if details else test)
        elif re.match(r"pass", status, re.IGNORECASE):
            passed += 1
    evidence = {"failed": failed, "warned": warned, "passed": passed}
    if failed:
        status = WARN if wanted.allow_degraded else FAIL
        text = "Drain the node; run `dcgmi diag -r 3` on it and have the GPU replaced if it fails again."
        return Finding("dcgm", status, f"{node}: {'; '.join(failed)}", text, evidence, node)
    if warned:
        return Finding("dcgm", WARN, f"{node}: {'; '.join(warned)}", "", evidence, node)
    if not passed:
        return Finding("dcgm", SKIP, f"{node}: dcgmi ran no test on these GPUs", "", evidence, node)
    return Finding("dcgm", PASS, f"{node}: {passed} tests of dcgmi passed", "", evidence, node)


def _dcgm_results(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(test, status, details) of each result; DCGM 3 and 4 nest them alike under different top keys."""
    found = []
    for top in document.values():
        for category in (top.get("test_categories") or []) if isinstance(top, dict) else []:
            for test in category.get("tests") or []:
                for result in test.get("results") or []:
                    details = result.get("warnings") or result.get("info") or ""
                    if isinstance(details, list):
                        details = "; ".join(
                            str(item.get("warning", item)) if isinstance(item, dict) else str(item) for item in details
                        )
                    found.append((str(test.get("name")), str(result.get("status")), str(details).strip()))
    return found

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can the cluster read a model? The pod that tries it, and what its end means. Pure. PRIVATE to the collection.

The pod is one that KServe's webhook takes for a predictor's, so KServe itself puts its storage initializer into it, with
the credentials, the CA and the settings that a predictor gets (pkg/webhook/admission/pod of KServe).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ansible_collections.llmstack.serving.plugins.module_utils._serving_causes import download_failure
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import Cause

LABEL = "llmstack.serving/storage-check"
# KServe's name for the init container, and the annotation from which its webhook takes the URI.
INITIALIZER = "storage-initializer"
_SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
_PREDICTOR = "serving.kserve.io/inferenceservice"

# What KServe's initializer says of S3: HEAD answers have no error code, only a status (kserve_storage.py, _download_s3).
_NO_BUCKET = re.compile(r"NoSuchBucket|HeadBucket operation: Not Found|\(404\) when calling the HeadBucket")
_NOTHING_THERE = re.compile(r"No model found in|NoSuchKey")


class Ending(NamedTuple):
    """How a pod ended: `succeeded`, or not, with exit code."""

    succeeded: bool
    exit_code: int = 0


def manifest(run: str, namespace: str, service_account: str, uri: str, image: str, seconds: int) -> dict[str, Any]:
    """The pod; the kubelet ends it after so many seconds even if nobody comes back for it."""
    name = f"storage-check-{run}"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                _PREDICTOR: name,
                LABEL: run,
                "sidecar.istio.io/inject": "false",
                "app.kubernetes.io/name": "storage-check",
                "app.kubernetes.io/managed-by": "llmstack.serving",
            },
            "annotations": {_SOURCE: uri},
        },
        "spec": {
            "serviceAccountName": service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": seconds,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            # It need not even run: all that counts has happened before it would start.
            "containers": [
                {
                    "name": "kserve-container",
                    "image": image,
                    "command": ["true"],
                    "securityContext": {**restricted, "runAsUser": 65532},
                    "resources": {
                        "requests": {"cpu": "1m", "memory": "8Mi"},
                        "limits": {"cpu": "100m", "memory": "64Mi"},
                    },
                }
            ],
        },
    }


def initializer_image(pod: dict[str, Any]) -> str | None:
    """The image of the initializer that KServe put into the pod; None if it did not."""
    containers = pod["spec"].get("initContainers") or []
    return next((container["image"] for container in containers if container["name"] == INITIALIZER), None)


def ending(pod: dict[str, Any]) -> Ending | None:
    """None while the initializer may still come to an end."""
    status = pod.get("status") or {}
    for container in status.get("initContainerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated")
        if container["name"] == INITIALIZER and ended:
            return Ending(ended["exitCode"] == 0, ended["exitCode"])
    return Ending(False, -1) if status.get("phase") == "Failed" else None


def explain(uri: str, log: str) -> Cause:
    """Why the initializer failed."""
    if _NO_BUCKET.search(log):
        bucket = uri.removeprefix("s3://").partition("/")[0]
        return Cause(
            "storage_bucket", f"there is no bucket {bucket} at the storage", "Correct the URI and s3-endpoint."
        )
    if _NOTHING_THERE.search(log):
        return Cause("storage_key", f"there is nothing at {uri}", "Upload the model (module s3_model_upload).")
    return download_failure(log)


def waits_for(pod: dict[str, Any]) -> str:
    """What a pod that has not ended waits for, in words."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes the pod: {condition.get('message', '')}"
    for container in status.get("initContainerStatuses") or []:
        if waiting := (container.get("state") or {}).get("waiting"):
            return f"{container['name']} waits: {waiting.get('reason', '')} {waiting.get('message', '')}".rstrip()
    if status.get("reason"):
        return f"{status['reason']}: {status.get('message', '')}"
    return "the initializer still runs"

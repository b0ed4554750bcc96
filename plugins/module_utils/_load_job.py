# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load test from inside the cluster: the objects of its Job, and what its pod says. Pure. PRIVATE to the collection.

The Job runs the very files of this collection (they need nothing but Python) from a ConfigMap, in any image with Python
3.11 or newer. It deletes itself some time after its end, even if nobody who started it is left to do so.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

CONTAINER = "load-test"
# The API server's limit for an object is 1 MiB, and a Secret or ConfigMap is a third larger as base64.
_MAX_INPUT_BYTES = 700_000
_LINE_LENGTH = 4000
_AFTER_END_SECONDS = 600
# Nothing of this heals by waiting: k8s.io/kubernetes pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime.
_DEAD_REASONS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}


def pack(inputs: dict[str, Any]) -> str:
    """What the pod needs to know, small enough for a ConfigMap. Raises LoadError."""
    packed = base64.b64encode(zlib.compress(json.dumps(inputs).encode(), 9)).decode()
    if len(packed) > _MAX_INPUT_BYTES:
        raise LoadError(
            "dataset and baseline are too large to be sent into the cluster (700 kB compressed): use fewer prompts, or "
            "leave in_cluster out."
        )
    return packed


def unpack(packed: bytes) -> dict[str, Any]:
    """The inverse of pack, on the bytes that it stands for."""
    found: dict[str, Any] = json.loads(zlib.decompress(packed))
    return found


def objects(
    name: str,
    namespace: str,
    options: dict[str, Any],
    sources: dict[str, str],
    inputs: str,
    entry: str,
    secrets: dict[str, Any],
    processes: int,
    max_seconds: float,
) -> list[dict[str, Any]]:
    """The Job first, then what belongs to it; see `owned`.

    `options` are the suboptions of in_cluster, `sources` the client's files by name, `entry` the module to run.
    """
    labels = {"app.kubernetes.io/name": "load-test", "app.kubernetes.io/managed-by": "llmstack.serving"}

    def metadata(**more: Any) -> dict[str, Any]:
        return {"name": name, "namespace": namespace, "labels": labels, **more}

    folder = entry.rpartition(".")[0].replace(".", "/")
    container = {
        "name": CONTAINER,
        "image": options["image"],
        "command": ["python3", "-m", entry, "/inputs", "/secrets"],
        "env": [{"name": "PYTHONPATH", "value": "/client"}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "resources": {
            "requests": options["resources"] or {"cpu": str(processes), "memory": f"{128 + 64 * processes}Mi"}
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "client", "mountPath": "/client", "readOnly": True},
            {"name": "inputs", "mountPath": "/inputs", "readOnly": True},
            {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    files = [{"key": file, "path": f"{folder}/{file}"} for file in sorted(sources)]
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": options["node_selector"],
        "tolerations": options["tolerations"],
        "containers": [container],
        "volumes": [
            {"name": "client", "configMap": {"name": name, "items": files}},
            {"name": "inputs", "configMap": {"name": name, "items": [{"key": "inputs", "path": "inputs"}]}},
            {"name": "secrets", "secret": {"secretName": name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(),
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _AFTER_END_SECONDS,
            "activeDeadlineSeconds": int(max_seconds + options["start_timeout_seconds"] + _AFTER_END_SECONDS),
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    return [
        job,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(),
            "data": sources,
            "binaryData": {"inputs": inputs},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(), "stringData": {"secrets": json.dumps(secrets)}},
    ]


def owned(manifest: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """The manifest as something that is deleted together with the Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}}


def hopeless(pod: dict[str, Any]) -> str:
    """Why the pod will never run, "" if it still may."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _DEAD_REASONS:
            return f"{waiting['reason']} {waiting.get('message', '')}".strip()
    return ""


def pending(pod: dict[str, Any]) -> str:
    """What the pod waits for, for a message."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    waits = [entry for entry in conditions if entry.get("status") == "False" and entry.get("message")]
    return str(waits[0]["message"]) if waits else "its pod did not start"


def lines(kind: str, content: Any) -> Iterator[str]:
    """What the pod prints: lines that a kubelet does not cut (it does at 16 KiB), so that they can be put together again."""
    packed = base64.b64encode(zlib.compress(json.dumps(content).encode())).decode()
    for begin in range(0, len(packed), _LINE_LENGTH):
        yield f"{kind} {packed[begin : begin + _LINE_LENGTH]}"
    yield f"{kind}-end"


def said(log: str, kind: str) -> Any:
    """The content of the lines of this kind, None if they are not all there (yet)."""
    found = [line.partition(" ") for line in log.splitlines()]
    if f"{kind}-end" not in {word for word, _space, _rest in found}:
        return None
    packed = "".join(rest for word, _space, rest in found if word == kind)
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def progress(log: str) -> str:
    """The newest progress line, "" if there is none."""
    texts = [line.partition(" ")[2] for line in log.splitlines() if line.startswith("progress ")]
    return texts[-1] if texts else ""

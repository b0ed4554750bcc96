# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why what serves models does not serve, and what helps. Pure. PRIVATE to the collection.

Asked by _serving_health, and only there where something is wrong: a module that finds all well does without this file.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import condition, owned, template_hash
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import (
    Cause,
    Observation,
    current_pods,
    pod_condition,
    settled,
    short,
    spec_hashes,
)

# Longer than an autoscaler or a terminating pod usually needs to be noticed; with a scale-up announced the wait goes on.
UNSCHEDULABLE_SECONDS = 60.0
# An engine that has just opened its port may not have all its routes yet.
PROBE_SECONDS = 15.0
# Registries and API servers hiccup; the kubelet tries again by itself.
TRANSIENT_SECONDS = 45.0


def of_all(seen: Observation) -> Cause | None:
    """What KServe's status, the workloads and the pods of this change say of a failure."""
    return of_status(seen) or _of_reconcile(seen) or in_parts(seen)


def in_parts(seen: Observation) -> Cause | None:
    """What the workloads and pods of this change say of a failure."""
    return _of_workloads(seen) or _of_pods(seen)


# What KServe's status says

_INVALID_SPEC = {
    # pkg/apis/serving/v1beta1/inference_service_status.go, FailureReason
    "NoSupportingRuntime": "Compare model_format (case-sensitive), its version and protocol_version with supportedModelFormats "
    "and protocolVersions of the runtime.",
    "RuntimeNotRecognized": "Create the runtime first (role vllm_runtime), or correct runtime.",
    "RuntimeDisabled": "Enable the runtime (spec.disabled: false), or choose another one.",
    "InvalidPredictorSpec": "Only the fields of the InferenceService's metadata exist in the runtime's {{ }} placeholders; use "
    "$(NAME) with an env entry instead.",
}


def of_status(seen: Observation) -> Cause | None:
    """What KServe's status says of a failure."""
    model = (seen.service.get("status") or {}).get("modelStatus") or {}
    if model.get("transitionStatus") != "InvalidSpec" or not _about_this_change(seen, model):
        return None
    info = model.get("lastFailureInfo") or {}
    reason = info.get("reason") or "InvalidSpec"
    return Cause(
        "invalid_spec",
        f"KServe cannot use the spec: {reason}: {info.get('message') or 'no message'}",
        _INVALID_SPEC.get(reason, "See the events of the InferenceService and the log of kserve-controller-manager."),
    )


def _of_reconcile(seen: Observation) -> Cause | None:
    """What the API server refuses of what KServe makes, for instance two handlers in a probe that it merged from two."""
    entry = condition(seen.service, "PredictorReady") or {}
    message = str(entry.get("message"))
    if entry.get("reason") != "ReconcileFailed" or " is invalid: " not in message:
        return None
    before = condition(seen.before, "PredictorReady") if seen.before else None
    if not settled(seen) and (seen.before is None or (before or {}).get("message") == message):
        return None
    return Cause(
        "invalid_spec",
        f"KServe cannot make what the spec asks for: {short(message)}",
        "Correct that field here or in the runtime; KServe merges both.",
    )


def _about_this_change(seen: Observation, model: dict[str, Any]) -> bool:
    if settled(seen):
        return True
    if seen.before is None:
        return False
    old = (seen.before.get("status") or {}).get("modelStatus") or {}
    same = ("transitionStatus", "lastFailureInfo")
    return any(old.get(key) != model.get(key) for key in same)


# What Deployments say


def _of_workloads(seen: Observation) -> Cause | None:
    wanted = spec_hashes(seen.service)
    for workload in seen.workloads:
        if not owned(workload, seen.service) or (wanted and template_hash(workload) not in wanted):
            continue
        entry = condition(workload, "ReplicaFailure")
        if entry is None or entry.get("status") != "True":
            continue
        # Whoever has raised a quota runs the task again before the ReplicaSet tries again.
        if not settled(seen) and not _fresh(seen, entry.get("lastTransitionTime")):
            continue
        message = str(entry.get("message") or entry.get("reason"))
        name = workload["metadata"]["name"]
        if "exceeded quota" in message:
            return Cause(
                "quota", f"Deployment {name} may make no pods: {message}", "Raise the ResourceQuota or ask for less."
            )
        if "violates PodSecurity" in message:
            return Cause(
                "pod_security",
                f"Deployment {name} may make no pods: {message}",
                "Give the runtime a securityContext that the namespace's Pod Security level allows, or change the level.",
            )
        if "error looking up service account" in message or "serviceaccount" in message:
            return Cause(
                "service_account",
                f"Deployment {name} may make no pods: {message}",
                "Create the ServiceAccount (role model_storage).",
            )
        return Cause(
            "pod_refused", f"Deployment {name} may make no pods: {message}", "See the events of its ReplicaSet."
        )
    return None


# What pods say


def _of_pods(seen: Observation) -> Cause | None:
    pods = sorted(current_pods(seen), key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
    for pod in pods:
        # A pod that ended stays visible beside the one that took its place.
        replaced = (pod.get("status") or {}).get("phase") == "Failed" and pod is not pods[0]
        if pod["metadata"].get("deletionTimestamp") or replaced:
            continue
        if cause := _unschedulable(seen, pod) or _of_containers(seen, pod) or _evicted(pod):
            return cause._replace(pod=pod["metadata"]["name"])
    return None


def _unschedulable(seen: Observation, pod: dict[str, Any]) -> Cause | None:
    entry = pod_condition(pod, "PodScheduled")
    if entry is None or entry.get("status") != "False" or entry.get("reason") != "Unschedulable":
        return None
    if _age(seen, entry.get("lastTransitionTime")) < UNSCHEDULABLE_SECONDS:
        return None
    if any(event.get("reason") == "TriggeredScaleUp" for event in seen.events(pod["metadata"]["name"])):
        return None
    message = _why_no_node(entry)
    short = re.findall(r"(\d+) Insufficient ([\w./-]*\w)", message)
    if short:
        told = ", ".join(f"{resource} on {count} nodes" for count, resource in short)
        remedy = "Free or add nodes, or ask for less."
        if any(resource.endswith(("gpu", "gaudi")) or "/mig-" in resource for _count, resource in short):
            remedy = (
                "Free GPUs or add nodes with them. If the pods of the old revision hold them, "
                "set deployment_strategy: {type: Recreate}."
            )
        return Cause("unschedulable", f"No node has room: too little {told} ({message})", remedy)
    if "unbound immediate PersistentVolumeClaims" in message or "persistentvolumeclaim" in message:
        return Cause("volume", f"A volume is not there: {message}", "Create the PersistentVolumeClaim or its class.")
    remedy = "Compare node_selector, affinity and tolerations with the nodes' labels and taints."
    return Cause("unschedulable", f"No node fits: {message}", remedy)


def _why_no_node(scheduled: dict[str, Any]) -> str:
    # What the scheduler says of preemption and claims says nothing to the operator.
    return short(re.split(r"\.? (?:no new claims|preemption:)", str(scheduled.get("message")))[0])


def _of_containers(seen: Observation, pod: dict[str, Any]) -> Cause | None:
    status = pod.get("status") or {}
    for init, entries in ((True, status.get("initContainerStatuses")), (False, status.get("containerStatuses"))):
        for entry in entries or []:
            cause = _waiting(seen, pod, entry) or _ended(seen, pod, entry, init) or _wrong_probe(seen, pod, entry)
            if cause:
                return cause
    return None


def _waiting(seen: Observation, pod: dict[str, Any], entry: dict[str, Any]) -> Cause | None:
    waiting = (entry.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason"), str(waiting.get("message") or "")
    if seen.before is None and seen.since_seconds is not None and seen.since_seconds < TRANSIENT_SECONDS:
        # Nothing was changed here, so it may have been mended elsewhere: the kubelet gets time to see it.
        return None
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return Cause(
            "image", f"The image {entry.get('image')} cannot be used: {message or reason}", "Correct image or runtime."
        )
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        text = message
        if not _IMAGE_FINAL.search(text):
            told = [
                str(event.get("message"))
                for event in seen.events(pod["metadata"]["name"])
                if event.get("reason") == "Failed"
            ]
            text = next((message for message in told if _IMAGE_FINAL.search(message)), text)
        if _IMAGE_FINAL.search(text):
            return Cause(
                "image", f"The image {entry.get('image')} cannot be pulled: {short(text)}", _image_remedy(text)
            )
        if _age(seen, pod["metadata"].get("creationTimestamp")) > 4 * TRANSIENT_SECONDS:
            return Cause(
                "image",
                f"The image {entry.get('image')} cannot be pulled: {short(text)}",
                "Check that the nodes reach the registry (proxy, DNS, mirror).",
            )
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        if (
            reason == "CreateContainerConfigError"
            and _age(seen, pod["metadata"].get("creationTimestamp")) < TRANSIENT_SECONDS
        ):
            return None
        return Cause(
            "container_config",
            f"Container {entry['name']} cannot be made: {short(message)}",
            "Create the Secret or ConfigMap that it names, or correct env and volumes.",
        )
    return None


_IMAGE_FINAL = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|denied|no match for platform", re.I
)


def _image_remedy(text: str) -> str:
    if re.search(r"unauthorized|authentication required|denied", text, re.I):
        return "Give image_pull_secrets with a Secret that may pull it."
    if "no match for platform" in text:
        return "Use an image that was built for the nodes' CPU architecture."
    return "Correct the image's name and tag, or copy it to the mirror that the nodes use."


def _ended(seen: Observation, pod: dict[str, Any], entry: dict[str, Any], init: bool) -> Cause | None:
    now = (entry.get("state") or {}).get("terminated")
    last = (entry.get("lastState") or {}).get("terminated")
    ended = now or last
    # An engine never ends well: told to stop by the kubelet, it may still end with 0.
    if not ended or (init and ended.get("exitCode") == 0) or not _fresh(seen, ended.get("finishedAt")):
        return None
    if entry.get("ready") and not init:
        return None
    name, restarts = entry["name"], entry.get("restartCount", 0)
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(name)
    log = seen.log(pod["metadata"]["name"], name, now is None)
    text = "\n".join(log.splitlines()[-60:])
    if name == "storage-initializer" or init:
        known, otherwise = _STORAGE, ("storage", "See the whole log of the storage-initializer.")
    else:
        if restarts and (killed := _killed_by_probe(seen, pod, name)):
            return killed
        known, otherwise = _ENGINE, ("engine", "See the whole log of the container.")
    told = _tail(log)
    for kind, pattern, reason, remedy in known:
        if pattern.search(text):
            return Cause(kind, f"{_subject(name)} failed: {reason}", remedy, log=told)
    # An unknown failure may be a hiccup: the third one is not.
    if restarts < 2:
        return None
    return Cause(
        otherwise[0],
        f"{_subject(name)} failed {restarts + 1} times with exit code {ended.get('exitCode')}",
        otherwise[1],
        log=told,
    )


def _subject(container: str) -> str:
    if container == "storage-initializer":
        return "The model's download (storage-initializer)"
    return "The engine" if container == "kserve-container" else f"Container {container}"


def _out_of_memory(container: str) -> Cause:
    if container == "storage-initializer":
        return Cause(
            "storage_memory",
            "The model's download (storage-initializer) ran out of memory",
            "Raise the memory limit in the ClusterStorageContainer 'default' (spec.container.resources).",
        )
    return Cause(
        "memory", f"{_subject(container)} ran out of memory (not GPU memory)", "Raise resources.limits.memory."
    )


def _killed_by_probe(seen: Observation, pod: dict[str, Any], container: str) -> Cause | None:
    for event in seen.events(pod["metadata"]["name"]):
        found = re.search(r"[Cc]ontainer (\S+) failed (\w+) probe, will be restarted", str(event.get("message")))
        if found and found[1] == container:
            return Cause(
                "probe",
                f"{_subject(container)} was killed because its {found[2]} probe failed too often",
                f"Give it more time ({found[2]}_probe: failureThreshold, periodSeconds) or correct path and port of the probe.",
            )
    return None


# An engine that loads refuses connections or answers 503. One that answers, but not there, never will.
_REFUSED_PROBE = re.compile(r"(\w+) probe failed: HTTP probe failed with statuscode: (401|403|404|405)", re.I)


def _wrong_probe(seen: Observation, pod: dict[str, Any], entry: dict[str, Any]) -> Cause | None:
    running = (entry.get("state") or {}).get("running")
    if not running or entry.get("ready") or _age(seen, running.get("startedAt")) < PROBE_SECONDS:
        return None
    for event in seen.events(pod["metadata"]["name"]):
        found = _REFUSED_PROBE.search(str(event.get("message")))
        about = str((event.get("involvedObject") or {}).get("fieldPath"))
        if not found or f"{{{entry['name']}}}" not in about or _age(seen, _last_seen(event)) > TRANSIENT_SECONDS:
            continue
        probe = found[1].lower()
        return Cause(
            "probe",
            f"{_subject(entry['name'])} runs, but answers its {probe} probe with {found[2]}",
            f"Correct path and port of {probe}_probe"
            + (", or give it the API key." if found[2] in ("401", "403") else "."),
        )
    return None


def _last_seen(event: dict[str, Any]) -> str | None:
    return event.get("lastTimestamp") or (event.get("series") or {}).get("lastObservedTime") or event.get("eventTime")


def _evicted(pod: dict[str, Any]) -> Cause | None:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason") == "Evicted":
        return Cause(
            "evicted",
            f"The node put the pod out: {status.get('message')}",
            "Give it more of that resource, or nodes that have it.",
        )
    return None


_Known = tuple[str, re.Pattern[str], str, str]


def _known(kind: str, pattern: str, reason: str, remedy: str) -> _Known:
    return kind, re.compile(pattern, re.I), reason, remedy


# botocore and huggingface_hub errors, and what KServe makes of them: python/storage/kserve_storage/kserve_storage.py
_STORAGE: tuple[_Known, ...] = (
    _known(
        "storage_credentials",
        r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|\(403\)|AccessDenied|Forbidden|"
        r"Unable to locate credentials|\b401\b|GatedRepo",
        "the storage does not accept the credentials",
        "Check the Secret of the ServiceAccount (role model_storage) and its rights on bucket and prefix.",
    ),
    _known(
        "storage_missing",
        r"NoSuchBucket|NoSuchKey|\(404\)|Not Found|No model found|RepositoryNotFound|does not exist|Cannot locate source uri",
        "there is no model at storage_uri",
        "Correct storage_uri, or upload the model (module s3_model_upload).",
    ),
    _known(
        "storage_disk",
        r"No space left on device|ENOSPC|disk quota exceeded",
        "the disk is full",
        "Give the node or the volume more space; model weights need as much again as their size in the bucket.",
    ),
    _known(
        "storage_tls",
        r"CERTIFICATE_VERIFY_FAILED|SSL: |SSLError",
        "the storage's certificate is not trusted",
        "Give KServe the CA (s3-cabundle annotation of the Secret, or caBundleConfigMapName).",
    ),
    _known(
        "storage_unreachable",
        r"Could not connect to the endpoint|ConnectTimeout|Name or service not known|Connection refused|"
        r"Temporary failure in name resolution|Max retries exceeded|timed out",
        "the storage cannot be reached",
        "Check s3-endpoint of the Secret, DNS, and the NetworkPolicies of the namespace.",
    ),
)


def download_failure(log: str) -> Cause:
    """Why KServe's storage initializer failed, by its log."""
    for kind, pattern, reason, remedy in _STORAGE:
        if pattern.search(log):
            return Cause(kind, reason, remedy, log=_tail(log))
    return Cause("storage", "it does not say why", "See the whole log of the storage-initializer.", log=_tail(log))


# vLLM: vllm/engine, vllm/config, vllm/platforms/cuda.py, vllm/v1/core/kv_cache_utils.py; PyTorch and argparse.
_ENGINE: tuple[_Known, ...] = (
    _known(
        "cuda_out_of_memory",
        r"CUDA out of memory|torch\.OutOfMemoryError|OutOfMemoryError: CUDA|CUDA error: out of memory",
        "the GPU's memory is too small",
        "Use more GPUs (--tensor-parallel-size), a quantised model, a smaller --max-model-len or --max-num-seqs.",
    ),
    _known(
        "gpu_memory_taken",
        r"Free memory on device.*less than desired GPU memory utilization",
        "another process uses the GPU's memory",
        "Free the GPU or lower --gpu-memory-utilization.",
    ),
    _known(
        "max_model_len",
        r"max_model_len.*(greater|larger)|maximum model length|KV cache is needed|No available memory for the cache blocks|"
        r"larger than the maximum number of tokens that can be stored in KV cache",
        "--max-model-len is larger than model or GPU memory allow",
        "Lower --max-model-len, raise --gpu-memory-utilization, or use more GPUs.",
    ),
    _known(
        "dtype",
        r"Bfloat16 is only supported on GPUs with compute capability|dtype.*not supported|unsupported dtype",
        "the GPU does not support the data type",
        "Set --dtype=half, or use GPUs of compute capability 8.0 or newer.",
    ),
    _known(
        "no_gpu",
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver version is insufficient",
        "it sees no usable GPU",
        "Set gpus, and check the node's driver and device plugin (module gpu_check).",
    ),
    _known(
        "argument",
        r"unrecognized arguments?|error: argument|invalid choice|unknown option",
        "it does not know an argument",
        "Correct args, or use an engine version that has the option.",
    ),
    _known(
        "model_files",
        r"cannot be loaded|does not appear to have a file named|No such file or directory: '?/mnt/models"
        r"|Error while deserializing|Cannot find any model weights|Can't load (tokenizer|the configuration)",
        "the model's files are incomplete or of another format",
        "Upload the model again (module s3_model_upload checks every file) and compare storage_uri with its folder.",
    ),
    _known(
        "trust_remote_code",
        r"trust_remote_code",
        "the model needs code of its own",
        "Read that code; then add --trust-remote-code to args.",
    ),
    _known(
        "architecture",
        r"Model architectures .* are not supported|not supported for now",
        "the engine does not know the model's architecture",
        "Use a newer engine image or another model.",
    ),
    _known(
        "picker_plugin",
        r"plugin type \W*[\w-]+\W* is not registered",
        "the endpoint picker does not know a plugin of its configuration",
        "Use the picker of llm-d (role llmd), or choose serving.scheduler.profile or config for the picker that is there.",
    ),
    _known("port", r"Address already in use", "its port is taken", "Give each container of the pod a port of its own."),
    _known(
        "permission",
        r"Permission denied",
        "it may not read or write a file",
        "Check security_context (runAsUser, fsGroup) and volumes.",
    ),
)


def _age(seen: Observation, timestamp: str | None) -> float:
    if not timestamp:
        return 0.0
    return (seen.now - datetime.fromisoformat(timestamp.replace("Z", "+00:00"))) / timedelta(seconds=1)


def _fresh(seen: Observation, timestamp: str | None) -> bool:
    """Whether something happened since the wait began (clocks may differ a little); what was mended since must not count."""
    return seen.since_seconds is None or _age(seen, timestamp) <= seen.since_seconds + 5


def _tail(log: str) -> str | None:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-600:] or None

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import (
    Health,
    Observation,
    gpus,
    judge,
    pod_phase,
    timeline,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def service(ready: str = "False", **status: Any) -> dict[str, Any]:
    names = ("PredictorReady", "IngressReady", "Ready")
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "llama", "namespace": "models", "uid": "u", "generation": 2},
        "spec": {"predictor": {"annotations": {SPEC_HASH: "new"}}},
        "status": {"conditions": [{"type": name, "status": ready} for name in names], "url": "http://llama", **status},
    }


def deployment(spec_hash: str = "new", **status: Any) -> dict[str, Any]:
    full = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, **status}
    return {
        "kind": "Deployment",
        "metadata": {"name": "llama-predictor", "generation": 1, "ownerReferences": [{"uid": "u"}]},
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": {SPEC_HASH: spec_hash}}}},
        "status": full,
    }


def pod(spec_hash: str = "new", age: float = 30, scheduled: bool = True, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True" if scheduled else "False", "lastTransitionTime": ago(age)}]
    return {
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {SPEC_HASH: spec_hash}, "creationTimestamp": ago(age)},
        "spec": {},
        "status": {"phase": "Pending", "conditions": conditions, **status},
    }


def unschedulable(message: str, age: float = 120) -> dict[str, Any]:
    found = pod(age=age, scheduled=False)
    found["status"]["conditions"][0] |= {"reason": "Unschedulable", "message": message}
    return found


def container(name: str = "kserve-container", restarts: int = 0, **state: Any) -> dict[str, Any]:
    return {"name": name, "image": "vllm/vllm-openai:v1", "restartCount": restarts, "ready": False, **state}


def crashed(log_line: str = "", restarts: int = 1, name: str = "kserve-container", **terminated: Any) -> dict[str, Any]:
    last = {"terminated": {"exitCode": 1, "reason": "Error", **terminated}}
    return container(name, restarts, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=last)


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return container(state={"waiting": {"reason": reason, "message": message}})


def seen(*pods: dict[str, Any], log: str = "", events: tuple[dict[str, Any], ...] = (), **more: Any) -> Health:
    default = {"service": service(), "workloads": [deployment(availableReplicas=0)], "before": {}}
    return judge(
        Observation(
            **{**default, **more},
            pods=pods,
            now=NOW,
            log=lambda pod, container, previous: log,
            events=lambda pod: list(events),
        )
    )


def cause(health: Health) -> tuple[str, str]:
    assert health.state == "failed", health
    assert health.cause is not None
    return health.cause.kind, str(health.cause)


def test_ready_when_its_deployment_is_rolled_out_and_it_has_a_url() -> None:
    good = service("True")
    assert seen(service=good, workloads=[deployment()]).state == "ready"
    good["status"].pop("url")
    assert seen(service=good, workloads=[deployment()]).phase == "has no URL yet"


def test_slow_is_not_failed() -> None:
    loading = pod(age=3600, containerStatuses=[container(state={"running": {}})], phase="Running")
    late = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "timed out progressing",
    }
    health = seen(loading, workloads=[deployment(availableReplicas=0, conditions=[late])])
    assert health.state == "progressing"
    assert "pod p loads the model" in health.phase


def test_pods_of_older_specs_do_not_count() -> None:
    assert seen(pod("old", containerStatuses=[crashed(restarts=9)])).state == "progressing"


# Each class of failure


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("Back-off pulling image: ErrImagePull: rpc error: code = NotFound desc = not found", None),
        ("Back-off pulling image", 'Failed to pull image "x": rpc error: code = NotFound desc = x: not found'),
    ],
)
def test_image_that_does_not_exist(message: str, event: str | None) -> None:
    told = ({"reason": "Failed", "message": event},) if event else ()
    kind, text = cause(seen(pod(containerStatuses=[waits("ImagePullBackOff", message)]), events=told))
    assert kind == "image"
    assert "vllm/vllm-openai:v1 cannot be pulled" in text
    assert "Correct the image's name and tag" in text
    assert "(pod p)" in text


def test_image_that_needs_a_login() -> None:
    message = "ErrImagePull: pull access denied, repository does not exist or may require authorization"
    assert "image_pull_secrets" in cause(seen(pod(containerStatuses=[waits("ImagePullBackOff", message)])))[1]


def test_registry_that_hiccups_is_given_time() -> None:
    message = "ErrImagePull: connection reset by peer"
    assert seen(pod(containerStatuses=[waits("ErrImagePull", message)])).state == "progressing"
    assert "reach the registry" in cause(seen(pod(age=600, containerStatuses=[waits("ImagePullBackOff", message)])))[1]


def test_too_few_gpus_names_resource_and_nodes() -> None:
    message = "0/9 nodes are available: 3 node(s) had untolerated taint {a: b}, 6 Insufficient nvidia.com/gpu."
    kind, text = cause(seen(unschedulable(message)))
    assert kind == "unschedulable"
    assert "too little nvidia.com/gpu on 6 nodes" in text
    assert "deployment_strategy: {type: Recreate}" in text


def test_node_that_does_not_fit() -> None:
    kind, text = cause(
        seen(unschedulable("0/9 nodes are available: 9 node(s) didn't match Pod's node affinity/selector."))
    )
    assert kind == "unschedulable"
    assert "Compare node_selector, affinity and tolerations" in text


def test_scheduling_is_given_time_and_waits_for_an_autoscaler() -> None:
    assert seen(unschedulable("0/1: 1 Insufficient cpu", age=20)).state == "progressing"
    scaling = ({"reason": "TriggeredScaleUp", "message": "pod triggered scale-up"},)
    assert seen(unschedulable("0/1: 1 Insufficient cpu"), events=scaling).state == "progressing"


def test_volume_claim_that_is_missing() -> None:
    kind, text = cause(seen(unschedulable('persistentvolumeclaim "models" not found')))
    assert (kind, "PersistentVolumeClaim" in text) == ("volume", True)


@pytest.mark.parametrize(
    ("log", "kind", "remedy"),
    [
        (
            "botocore.exceptions.ClientError: An error occurred (403) when calling HeadObject: Forbidden",
            "storage_credentials",
            "model_storage",
        ),
        (
            "An error occurred (InvalidAccessKeyId) when calling the ListObjects operation",
            "storage_credentials",
            "Secret",
        ),
        ("RuntimeError: Failed to fetch model. No model found in models/none.", "storage_missing", "s3_model_upload"),
        ("botocore.errorfactory.NoSuchBucket: An error occurred (NoSuchBucket)", "storage_missing", "storage_uri"),
        ("OSError: [Errno 28] No space left on device", "storage_disk", "space"),
        ("urllib3.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] self signed", "storage_tls", "s3-cabundle"),
        ('EndpointConnectionError: Could not connect to the endpoint URL: "http://s3"', "storage_unreachable", "DNS"),
    ],
)
def test_download_failures_are_told_by_their_log(log: str, kind: str, remedy: str) -> None:
    entry = crashed(name="storage-initializer", restarts=0)
    found, text = cause(seen(pod(initContainerStatuses=[entry]), log=f"first line\n{log}\n"))
    assert found == kind
    assert remedy in text
    assert log[:40] in text, "the last lines of the log are shown"


def test_download_out_of_memory_points_to_the_storage_container() -> None:
    entry = crashed(name="storage-initializer", reason="OOMKilled", exitCode=137)
    kind, text = cause(seen(pod(initContainerStatuses=[entry])))
    assert kind == "storage_memory"
    assert "ClusterStorageContainer" in text


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "cuda_out_of_memory"),
        (
            "ValueError: Free memory on device (1.2/79.1 GiB) on startup is less than desired GPU memory utilization",
            "gpu_memory_taken",
        ),
        (
            "ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len",
            "max_model_len",
        ),
        (
            "ValueError: To serve at least one request, 16.00 GiB KV cache is needed, which is larger than",
            "max_model_len",
        ),
        ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", "dtype"),
        ("RuntimeError: Failed to infer device type", "no_gpu"),
        ("api_server.py: error: unrecognized arguments: --max-modell-len", "argument"),
        ("vllm: the model at /mnt/models cannot be loaded: no safetensors file", "model_files"),
        ("Please pass the argument `trust_remote_code=True`", "trust_remote_code"),
        ("ValueError: Model architectures ['XForCausalLM'] are not supported for now.", "architecture"),
        ("OSError: [Errno 98] Address already in use", "port"),
        ("PermissionError: [Errno 13] Permission denied: '/.cache'", "permission"),
    ],
)
def test_engine_failures_are_told_by_their_log(log: str, kind: str) -> None:
    assert cause(seen(pod(containerStatuses=[crashed()]), log=log))[0] == kind


def test_unknown_engine_failure_is_given_a_second_chance() -> None:
    assert seen(pod(containerStatuses=[crashed(restarts=1)]), log="boom").state == "progressing"
    kind, text = cause(seen(pod(containerStatuses=[crashed(restarts=2)]), log="boom"))
    assert kind == "engine"
    assert "failed 3 times with exit code 1" in text
    assert "boom" in text


def test_engine_out_of_memory() -> None:
    assert cause(seen(pod(containerStatuses=[crashed(reason="OOMKilled", exitCode=137)])))[0] == "memory"


def test_container_killed_by_its_probe() -> None:
    event = {"reason": "Killing", "message": "Container kserve-container failed startup probe, will be restarted"}
    kind, text = cause(seen(pod(containerStatuses=[crashed(exitCode=137)]), events=(event,)))
    assert kind == "probe"
    assert "startup_probe: failureThreshold" in text


@pytest.mark.parametrize("exit_code", [0, 137])
def test_engine_that_ends_well_when_its_probe_kills_it(exit_code: int) -> None:
    event = {"reason": "Killing", "message": "Container kserve-container failed startup probe, will be restarted"}
    assert cause(seen(pod(containerStatuses=[crashed(exitCode=exit_code)]), events=(event,)))[0] == "probe"


def test_engine_that_ends_well_by_itself_serves_no_one() -> None:
    assert cause(seen(pod(containerStatuses=[crashed(restarts=2, exitCode=0)])))[0] == "engine"
    ended = crashed(name="storage-initializer", restarts=2, exitCode=0)
    assert seen(pod(initContainerStatuses=[ended])).state == "progressing", "a download ends"


def unhealthy(code: int = 404, age: float = 3, container: str = "kserve-container") -> dict[str, Any]:
    return {
        "reason": "Unhealthy",
        "message": f"Readiness probe failed: HTTP probe failed with statuscode: {code}",
        "involvedObject": {"fieldPath": f"spec.containers{{{container}}}"},
        "lastTimestamp": ago(age),
    }


def running(age: float) -> dict[str, Any]:
    return pod(age=age, phase="Running", containerStatuses=[container(state={"running": {"startedAt": ago(age)}})])


def test_probe_of_a_path_that_is_not_there_never_passes() -> None:
    kind, text = cause(seen(running(30), events=(unhealthy(),)))
    assert kind == "probe"
    assert "The engine runs, but answers its readiness probe with 404 (pod p). Correct path and port" in text
    assert "API key" in cause(seen(running(30), events=(unhealthy(401),)))[1]


@pytest.mark.parametrize(
    ("age", "event"),
    [
        (5, unhealthy()),
        (300, unhealthy(age=200)),
        (30, unhealthy(503)),
        (30, unhealthy(container="sidecar")),
        (30, {**unhealthy(), "message": "Readiness probe failed: dial tcp 10.0.0.1:8080: connect: connection refused"}),
    ],
)
def test_probe_that_may_pass_yet(age: float, event: dict[str, Any]) -> None:
    assert seen(running(age), events=(event,)).state == "progressing"


def test_missing_secret() -> None:
    waiting = waits("CreateContainerConfigError", 'secret "hf-token" not found')
    assert seen(pod(age=5, containerStatuses=[waiting])).state == "progressing"
    kind, text = cause(seen(pod(age=60, containerStatuses=[waiting])))
    assert (kind, 'secret "hf-token" not found' in text) == ("container_config", True)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("pods is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1", "quota"),
        ('pods is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', "pod_security"),
        (
            "pods is forbidden: error looking up service account models/none: serviceaccount not found",
            "service_account",
        ),
        ("pods is forbidden: something else", "pod_refused"),
    ],
)
def test_pods_that_are_refused(message: str, kind: str) -> None:
    refused = deployment(
        updatedReplicas=0, conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}]
    )
    assert cause(seen(workloads=[refused]))[0] == kind


def test_evicted_pod() -> None:
    gone = pod(phase="Failed", reason="Evicted", message="The node was low on resource: ephemeral-storage.")
    assert cause(seen(gone))[0] == "evicted"


# KServe's status


def invalid(reason: str = "NoSupportingRuntime") -> dict[str, Any]:
    return service(
        modelStatus={"transitionStatus": "InvalidSpec", "lastFailureInfo": {"reason": reason, "message": "m"}}
    )


def test_invalid_spec_of_a_new_service_fails_at_once() -> None:
    kind, text = cause(seen(service=invalid(), workloads=[], before={}))
    assert kind == "invalid_spec"
    assert "supportedModelFormats" in text


def test_service_that_kserve_does_not_stop_because_of_its_spec() -> None:
    stuck = invalid("RuntimeNotRecognized")
    stuck["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
    health = seen(service=stuck, before={})
    assert (health.state, health.phase) == ("failed", "cannot be stopped")


def test_what_the_api_server_refuses_of_what_kserve_makes() -> None:
    message = 'fails to reconcile: Deployment.apps "x" is invalid: startupProbe: may not specify more than 1 handler'
    entry = {"type": "PredictorReady", "status": "False", "reason": "ReconcileFailed", "message": message}
    refused = service(conditions=[entry])
    kind, text = cause(seen(service=refused, workloads=[], before={}, since_seconds=1))
    assert kind == "invalid_spec"
    assert "may not specify more than 1 handler. Correct that field here or in the runtime" in text
    for before in (None, refused):
        assert seen(service=refused, workloads=[], before=before, since_seconds=1).state == "progressing"
        assert seen(service=refused, workloads=[], before=before, since_seconds=30).state == "failed"
    overtaken = {**entry, "message": "fails to reconcile predictor: the object has been modified"}
    assert seen(service=service(conditions=[overtaken]), workloads=[], before={}).state == "progressing"


def test_invalid_spec_that_was_there_before_is_believed_only_after_a_while() -> None:
    assert seen(service=invalid(), workloads=[], before=invalid(), since_seconds=3).state == "progressing"
    assert seen(service=invalid(), workloads=[], before=invalid(), since_seconds=30).state == "failed"


def test_invalid_spec_without_a_change_is_believed_only_after_a_while() -> None:
    assert seen(service=invalid(), workloads=[], before=None, since_seconds=3).state == "progressing"
    assert seen(service=invalid(), workloads=[], before=None, since_seconds=30).state == "failed"
    assert seen(service=invalid(), workloads=[], before=None, since_seconds=None).state == "failed", "nobody waits"


def test_crash_of_before_the_task_waits_for_the_next_attempt() -> None:
    broken = pod(age=600, containerStatuses=[crashed(finishedAt=ago(120))])
    options = {"before": None, "log": "unrecognized arguments: --x"}
    assert seen(broken, since_seconds=10, **options).state == "progressing"
    assert seen(broken, since_seconds=200, **options).state == "failed"
    assert seen(broken, since_seconds=None, **options).state == "failed", "nobody waits"


def test_refusal_of_before_the_task_gives_the_controller_time() -> None:
    entry = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": "exceeded quota: gpus",
        "lastTransitionTime": ago(300),
    }
    refused = deployment(updatedReplicas=0, conditions=[entry])
    assert seen(workloads=[refused], before=None, since_seconds=5).state == "progressing"
    assert seen(workloads=[refused], before=None, since_seconds=25).state == "failed"


def test_refusal_of_an_older_spec_does_not_count() -> None:
    entry = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}
    assert seen(workloads=[deployment("old", conditions=[entry])]).state == "progressing"


def test_evicted_pod_that_was_replaced_does_not_count() -> None:
    gone = pod(age=100, phase="Failed", reason="Evicted", message="low on memory")
    gone["metadata"]["name"] = "older"
    assert seen(gone, pod(age=10)).state == "progressing"


def test_invalid_spec_with_a_new_reason_is_of_this_change() -> None:
    assert seen(service=invalid(), workloads=[], before=invalid("RuntimeDisabled"), since_seconds=1).state == "failed"


def test_failure_beside_an_older_revision_says_that_it_still_serves() -> None:
    broken = pod(containerStatuses=[crashed()])
    health = seen(broken, service=service("True"), log="unrecognized arguments: --x")
    assert (health.state, health.phase) == ("failed", "an older revision still serves")


# Words


def test_phases_of_a_pod() -> None:
    assert pod_phase(unschedulable("no GPUs.")) == "waits for a node: no GPUs"
    downloading = container("storage-initializer", state={"running": {}})
    assert pod_phase(pod(initContainerStatuses=[downloading])) == "downloads the model"
    assert pod_phase(pod(containerStatuses=[container(state={"running": {}})])) == "loads the model"
    assert pod_phase(pod(containerStatuses=[waits("ContainerCreating")])) == "pulls images and makes its containers"
    assert pod_phase(pod(containerStatuses=[waits("CrashLoopBackOff")])) == "restarts its container kserve-container"
    going = pod()
    going["metadata"]["deletionTimestamp"] = "now"
    assert pod_phase(going) == "is going away"


def test_timeline_of_a_ready_pod() -> None:
    ready = pod(age=100)
    times = {"PodScheduled": 99, "Initialized": 60, "Ready": 10}
    ready["status"]["conditions"] = [
        {"type": name, "status": "True", "lastTransitionTime": ago(age)} for name, age in times.items()
    ]
    assert [(step["phase"], step["seconds"]) for step in timeline(ready)] == [
        ("node found", 1),
        ("model downloaded", 39),
        ("engine loaded", 50),
    ]
    assert timeline(pod()) == []


def test_gpus_of_all_vendors_and_mig_slices() -> None:
    limits = [{"nvidia.com/gpu": "2", "cpu": "4"}, {"nvidia.com/mig-1g.10gb": "1"}, {"amd.com/gpu": 1}]
    assert gpus({"spec": {"containers": [{"resources": {"limits": each}} for each in limits]}}) == 4

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import (
    READY,
    SPEC_HASH,
    Wanted,
    inference_service,
    judge,
)


def thing(api_version: str, kind: str, spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "m", "generation": 2, **metadata},
        "spec": spec or {},
        "status": status or {},
    }


def condition(name: str, value: str = "True", generation: int | None = None, **more: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": name, "status": value, **more}
    return entry if generation is None else {**entry, "observedGeneration": generation}


def rolled_out(replicas: int = 2) -> dict[str, Any]:
    return {
        "observedGeneration": 2,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": replicas,
        "readyReplicas": replicas,
    }


def deployment(**status: Any) -> dict[str, Any]:
    return thing("apps/v1", "Deployment", {"replicas": 2}, {**rolled_out(), **status})


def test_objects_without_a_status_are_ready_when_they_exist() -> None:
    for api_version, kind in (("v1", "ConfigMap"), ("v1", "Service"), ("rbac.authorization.k8s.io/v1", "Role")):
        assert judge(thing(api_version, kind)) == READY


def test_object_in_deletion_is_not_ready_and_says_what_it_waits_for() -> None:
    verdict = judge(thing("v1", "ConfigMap", deletionTimestamp="now", finalizers=["a/b"]))
    assert verdict.state == "progressing"
    assert "waits for a/b" in verdict.reason


def test_namespace_in_deletion_says_what_is_left_in_it() -> None:
    left = condition(
        "NamespaceContentRemaining", message="Some resources are remaining: pods. has 1 resource instances"
    )
    namespace = thing(
        "v1", "Namespace", {"finalizers": ["kubernetes"]}, {"conditions": [left]}, deletionTimestamp="now"
    )
    assert "pods. has 1 resource instances" in judge(namespace).reason


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ({}, "ready", ""),
        ({"observedGeneration": 1}, "progressing", "has not seen this generation"),
        ({"updatedReplicas": 1}, "progressing", "1 of 2 pods are updated"),
        ({"replicas": 3}, "progressing", "1 old pods are still running"),
        ({"availableReplicas": 1}, "progressing", "1 of 2 pods are available"),
        (
            {"conditions": [condition("ReplicaFailure", reason="FailedCreate", message="exceeded quota")]},
            "failed",
            "ReplicaFailure is True (FailedCreate): exceeded quota",
        ),
        (
            {
                "availableReplicas": 0,
                "conditions": [
                    condition("Progressing", "False", reason="ProgressDeadlineExceeded", message="timed out")
                ],
            },
            "progressing",
            "0 of 2 pods are available (timed out)",
        ),
    ],
)
def test_deployment(status: dict[str, Any], state: str, reason: str) -> None:
    verdict = judge(deployment(**status))
    assert verdict.state == state
    assert reason in verdict.reason


def test_deployment_scaled_to_zero_is_ready() -> None:
    assert judge(thing("apps/v1", "Deployment", {"replicas": 0}, {"observedGeneration": 2})) == READY


@pytest.mark.parametrize(
    ("spec", "status", "state"),
    [
        ({"replicas": 2}, {**rolled_out(), "updateRevision": "b", "currentRevision": "b"}, "ready"),
        (
            {"replicas": 2},
            {**rolled_out(), "updateRevision": "b", "currentRevision": "a", "updatedReplicas": 1},
            "progressing",
        ),
        ({"replicas": 2}, {**rolled_out(), "readyReplicas": 1}, "progressing"),
        ({"replicas": 2}, {**rolled_out(), "observedGeneration": 1}, "progressing"),
        (
            {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
            {**rolled_out(), "updateRevision": "b", "currentRevision": "a", "updatedReplicas": 1},
            "ready",
        ),
        ({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}, {**rolled_out(), "updateRevision": "b"}, "ready"),
    ],
)
def test_stateful_set(spec: dict[str, Any], status: dict[str, Any], state: str) -> None:
    assert judge(thing("apps/v1", "StatefulSet", spec, status)).state == state


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}, "ready"),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberAvailable": 2}, "progressing"),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1}, "progressing"),
        ({"desiredNumberScheduled": 0}, "ready"),
        (
            {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2, "observedGeneration": 1},
            "progressing",
        ),
    ],
)
def test_daemon_set(status: dict[str, Any], state: str) -> None:
    assert judge(thing("apps/v1", "DaemonSet", {}, {"observedGeneration": 2, **status})).state == state


def test_job_waits_completes_and_fails() -> None:
    assert judge(thing("batch/v1", "Job", {"completions": 3}, {"succeeded": 1})).reason == "1 of 3 pods have succeeded"
    assert judge(thing("batch/v1", "Job", {}, {"conditions": [condition("Complete")]})) == READY
    broken = condition("Failed", reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit")
    assert judge(thing("batch/v1", "Job", {}, {"conditions": [broken]})).state == "failed"


def test_pod() -> None:
    assert judge(thing("v1", "Pod", {}, {"phase": "Succeeded"})) == READY
    assert judge(thing("v1", "Pod", {}, {"phase": "Running", "conditions": [condition("Ready")]})) == READY
    assert judge(thing("v1", "Pod", {}, {"phase": "Pending"})).state == "progressing"
    assert judge(thing("v1", "Pod", {}, {"phase": "Failed", "reason": "Evicted"})).reason == "failed: Evicted"


def test_custom_resource_definition() -> None:
    def crd(*conditions: dict[str, Any]) -> Any:
        return judge(thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}, {"conditions": list(conditions)}))

    assert crd().state == "progressing"
    assert crd(condition("NamesAccepted"), condition("Established")) == READY
    clash = crd(condition("NamesAccepted", "False", reason="PluralConflict", message='"widgets" is in use'))
    assert (clash.state, '"widgets" is in use' in clash.reason) == ("failed", True)


@pytest.mark.parametrize(
    ("api_version", "kind", "name"),
    [
        ("gateway.networking.k8s.io/v1", "Gateway", "Programmed"),
        ("gateway.networking.k8s.io/v1", "GatewayClass", "Accepted"),
        ("cert-manager.io/v1", "Certificate", "Ready"),
        ("cert-manager.io/v1", "Issuer", "Ready"),
        ("apiregistration.k8s.io/v1", "APIService", "Available"),
    ],
)
def test_condition_must_be_true_for_this_generation(api_version: str, kind: str, name: str) -> None:
    def verdict(*conditions: dict[str, Any]) -> Any:
        return judge(thing(api_version, kind, {}, {"conditions": list(conditions)}))

    assert verdict(condition(name, generation=2)) == READY
    assert verdict(condition(name)) == READY, "controllers that name no generation are believed"
    assert verdict(condition(name, generation=1)).state == "progressing"
    assert verdict().reason == f"has no condition {name} for this generation yet"
    told = verdict(condition(name, "False", 2, reason="Pending", message="waiting for the address"))
    assert told.reason == f"{name} is False (Pending): waiting for the address"


def test_an_external_secret_is_synced_for_this_generation() -> None:
    def verdict(synced: str = "2-5a1f", **status: Any) -> Any:
        full = {"conditions": [condition("Ready")], "syncedResourceVersion": synced}
        return judge(thing("external-secrets.io/v1", "ExternalSecret", {}, {**full, **status}))

    assert verdict() == READY
    assert verdict("1-5a1f").reason == "its operator has not seen this generation yet"
    assert verdict(conditions=[]).reason == "has no condition Ready for this generation yet"
    told = condition("Ready", "False", reason="SecretSyncedError", message="key models/s3 does not exist")
    assert verdict(conditions=[told]).reason == "Ready is False (SecretSyncedError): key models/s3 does not exist"


def test_namespace_and_claims() -> None:
    assert judge(thing("v1", "Namespace", {}, {"phase": "Active"})) == READY
    assert judge(thing("v1", "Namespace")).state == "progressing"
    assert judge(thing("v1", "PersistentVolumeClaim", {}, {"phase": "Pending"})) == READY
    assert judge(thing("v1", "PersistentVolumeClaim", {}, {"phase": "Lost"})).state == "failed"


def test_leader_worker_set_is_ready_when_all_its_groups_are_updated_and_ready() -> None:
    def verdict(partition: int = 0, **status: Any) -> Any:
        spec = {
            "replicas": 2,
            "rolloutStrategy": {"rollingUpdateConfiguration": {"partition": partition}},
        }
        full = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "conditions": [condition("Available")]}
        return judge(thing("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", spec, {**full, **status}))

    assert verdict() == READY
    assert verdict(updatedReplicas=1).reason == "1 of 2 groups are updated"
    assert verdict(1, updatedReplicas=1) == READY
    assert verdict(readyReplicas=0).reason == "0 of 2 groups are ready"
    assert verdict(replicas=3).reason == "1 groups too many are still running"
    assert verdict(conditions=[condition("Available", "False", reason="GroupsUpdating")]).state == "progressing"


def test_unknown_kind_is_ready_unless_its_ready_condition_says_no() -> None:
    def verdict(**status: Any) -> Any:
        return judge(thing("example.com/v1", "Widget", {}, status))

    assert verdict() == READY
    assert verdict(conditions=[condition("Ready")]) == READY
    assert verdict(conditions=[condition("Ready", "False", message="no")]).reason == "Ready is False: no"
    assert verdict(conditions=[condition("Ready")], observedGeneration=1).state == "progressing"
    assert verdict(conditions=[condition("Ready", generation=1)]).state == "progressing"


# InferenceService


def service(spec_hash: str | None = None, **status: Any) -> dict[str, Any]:
    predictor = {"annotations": {SPEC_HASH: spec_hash}} if spec_hash else {}
    conditions = [condition(name) for name in ("PredictorReady", "IngressReady", "Ready")]
    full = {"conditions": conditions, "modelStatus": {"transitionStatus": "UpToDate"}, **status}
    return thing("serving.kserve.io/v1beta1", "InferenceService", {"predictor": predictor}, full, uid="u")


def child(
    spec_hash: str | None = None, owner: str = "u", component: str = "predictor", **status: Any
) -> dict[str, Any]:
    made = deployment(**status)
    made["metadata"] |= {"name": "x-predictor", "ownerReferences": [{"uid": owner}]}
    made["spec"]["template"] = {"metadata": {"annotations": {SPEC_HASH: spec_hash} if spec_hash else {}}}
    return made


def test_inference_service_is_ready_with_its_deployment() -> None:
    assert inference_service(service(), [child()]) == READY


def test_stale_ready_does_not_count_while_the_deployment_rolls_out() -> None:
    verdict = inference_service(service(), [child(updatedReplicas=1)])
    assert verdict.reason == "Deployment x-predictor: 1 of 2 pods are updated"


def test_stale_ready_does_not_count_before_the_controller_has_seen_the_change() -> None:
    verdict = inference_service(service("new"), [child("old")])
    assert verdict.reason == "its predictor does not show this change yet"
    assert inference_service(service("new"), []).state == "progressing"
    assert inference_service(service("new"), [child("new")]) == READY


def test_old_invalid_spec_is_no_failure_of_this_change() -> None:
    old = {
        "transitionStatus": "InvalidSpec",
        "lastFailureInfo": {"reason": "NoSupportingRuntime", "message": "no vllm"},
    }
    verdict = inference_service(service("new", modelStatus=old), [child("old")])
    assert verdict.state == "progressing"
    assert "NoSupportingRuntime: no vllm" in verdict.reason


def test_invalid_spec_is_a_failure_once_the_deployment_shows_the_change() -> None:
    now = {
        "transitionStatus": "InvalidSpec",
        "lastFailureInfo": {"reason": "NoSupportingRuntime", "message": "no vllm"},
    }
    assert inference_service(service(modelStatus=now), []).state == "failed"


def test_failures_of_the_past_are_no_failures() -> None:
    healed = {"transitionStatus": "UpToDate", "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "old"}}
    assert inference_service(service(modelStatus=healed), [child()]) == READY


def test_deployments_of_others_do_not_count() -> None:
    assert inference_service(service(), [child(), child(owner="someone", updatedReplicas=0)]) == READY


def test_generation_of_the_deployment_is_not_mistaken_for_that_of_the_service() -> None:
    assert inference_service(service(observedGeneration=1), [child()]) == READY


@pytest.mark.parametrize("name", ["PredictorReady", "IngressReady", "Ready"])
def test_each_condition_must_be_true(name: str) -> None:
    all_ = [condition(other) for other in ("PredictorReady", "IngressReady", "Ready") if other != name]
    assert inference_service(service(conditions=all_), [child()]).reason == f"has no condition {name} yet"
    false = [*all_, condition(name, "False", reason="Why")]
    assert inference_service(service(conditions=false), [child()]).reason == f"{name} is False (Why)"


def test_a_wanted_condition_replaces_the_usual_ones_but_not_the_rollout() -> None:
    apart = service(conditions=[condition("PredictorReady"), condition("IngressReady", "False", reason="NoGateway")])
    assert inference_service(apart, [child()], Wanted("PredictorReady")) == READY
    assert inference_service(apart, [child()], Wanted("IngressReady", "False", "NoGateway")) == READY
    assert inference_service(apart, [child(updatedReplicas=1)], Wanted("PredictorReady")).state == "progressing"
    reasons = [
        inference_service(apart, [child()], wanted).reason
        for wanted in (Wanted("IngressReady"), Wanted("IngressReady", "False", "Other"), Wanted("Ready"))
    ]
    assert reasons == [
        "IngressReady is False (NoGateway); True is waited for",
        "IngressReady is False (NoGateway); False (Other) is waited for",
        "has no condition Ready yet",
    ]


def test_further_nodes_of_a_model_must_show_the_change_too() -> None:
    several = service("new")
    several["spec"]["predictor"]["workerSpec"] = {"pipelineParallelSize": 2}
    worker = child("new")
    worker["metadata"]["name"] = "x-predictor-worker"
    assert "its predictor-worker does not show this change yet" in inference_service(several, [child("new")]).reason
    assert inference_service(several, [child("new"), worker]) == READY
    worker["status"]["availableReplicas"] = 1
    assert inference_service(several, [child("new"), worker]).state == "progressing"


def test_model_that_still_loads() -> None:
    assert (
        inference_service(service(modelStatus={"transitionStatus": "InProgress"}), [child()]).reason
        == "model: InProgress"
    )


def test_stopped_service_is_ready_when_it_is_stopped() -> None:
    stopped = service(conditions=[condition("Ready", "False")])
    stopped["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
    assert inference_service(stopped, []).state == "progressing"
    stopped["status"]["conditions"] = [condition("Stopped")]
    assert inference_service(stopped, []) == READY


def test_stopped_service_with_a_spec_that_kserve_cannot_use_is_ready_when_nothing_runs() -> None:
    stopped = service(conditions=[], modelStatus={"transitionStatus": "InvalidSpec"})
    stopped["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
    assert inference_service(stopped, []) == READY
    assert inference_service(stopped, [child()]).reason == "is not stopped yet"


def knative(spec_hash: str, ready: str, created: str) -> dict[str, Any]:
    status = {
        "observedGeneration": 2,
        "latestReadyRevisionName": ready,
        "latestCreatedRevisionName": created,
        "conditions": [condition("Ready")],
    }
    made = thing(
        "serving.knative.dev/v1", "Service", {"template": {"metadata": {"annotations": {SPEC_HASH: spec_hash}}}}, status
    )
    made["metadata"] |= {"name": "x-predictor", "ownerReferences": [{"uid": "u"}]}
    return made


def test_knative_revision_of_this_change_must_be_the_ready_one() -> None:
    assert inference_service(service("new"), [knative("new", "r2", "r2")]) == READY
    assert "revision r2 is not ready yet" in inference_service(service("new"), [knative("new", "r1", "r2")]).reason
    assert inference_service(service("new"), [knative("old", "r1", "r1")]).state == "progressing"


def test_knative_revision_must_have_the_least_number_of_replicas_that_was_asked_for() -> None:
    asked, workload = service("new"), knative("new", "r2", "r2")
    asked["spec"]["predictor"]["minReplicas"] = 2
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    annotations["autoscaling.knative.dev/min-scale"] = "1"
    assert inference_service(asked, [workload]).reason == "Service x-predictor is not scaled to 2 yet"
    annotations["autoscaling.knative.dev/min-scale"] = "2"
    assert inference_service(asked, [workload]) == READY


def test_service_in_deletion_is_not_ready() -> None:
    going = service()
    going["metadata"]["deletionTimestamp"] = "now"
    assert inference_service(going, [child()]).state == "progressing"


def test_llm_inference_service_uses_its_own_generation() -> None:
    def verdict(generation: int, *conditions: dict[str, Any]) -> Any:
        status = {"observedGeneration": generation, "conditions": list(conditions)}
        return judge(thing("serving.kserve.io/v1alpha2", "LLMInferenceService", {}, status))

    assert verdict(2, condition("Ready")) == READY
    assert verdict(1, condition("Ready")).state == "progressing"
    missing = verdict(2, condition("PresetsCombined", "False", reason="ConfigNotFound", message="no preset"))
    assert (missing.state, missing.reason) == ("failed", "PresetsCombined is False (ConfigNotFound): no preset")

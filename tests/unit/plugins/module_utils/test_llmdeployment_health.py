# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an LLM deployment counts as ready in all its parts, and which causes end a wait early."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_result as result
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_health import judge, of_answer, standing
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import Health, Observation

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
COMPONENTS = {
    "decode": "llminferenceservice-workload",
    "prefill": "llminferenceservice-workload-prefill",
    "picker": "llminferenceservice-router-scheduler",
}
CONDITIONS = (
    "PresetsCombined",
    "MainWorkloadReady",
    "PrefillWorkloadReady",
    "SchedulerWorkloadReady",
    "GatewaysReady",
    "HTTPRoutesReady",
    "InferencePoolReady",
    "WorkloadsReady",
    "RouterReady",
    "Ready",
)


def marked(part: str) -> dict[str, str]:
    return {SPEC_HASH: f"new-{part}"}


def service(generation: int = 2, observed: int = 2, **changed: dict[str, str]) -> dict[str, Any]:
    """A disaggregated deployment; `changed` are conditions that are not True."""
    conditions = [{"type": name, "status": "True", **changed.get(name, {})} for name in CONDITIONS]
    return {
        "kind": "LLMInferenceService",
        "metadata": {"name": "chat", "namespace": "models", "uid": "u", "generation": generation},
        "spec": {
            "replicas": 2,
            "annotations": marked("decode"),
            "prefill": {"replicas": 1, "annotations": marked("prefill")},
            "router": {"scheduler": {"annotations": marked("picker")}},
        },
        "status": {"observedGeneration": observed, "conditions": conditions, "url": "http://gateway/models/chat"},
    }


def deployment(part: str, replicas: int, spec_hash: str = "", **status: Any) -> dict[str, Any]:
    full = {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"chat-{part}",
            "generation": 1,
            "ownerReferences": [{"uid": "u"}],
            "labels": {"app.kubernetes.io/component": COMPONENTS[part]},
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"annotations": {SPEC_HASH: spec_hash or f"new-{part}"}},
                "spec": {"containers": [{"name": "main", "image": f"{part}:v1"}]},
            },
        },
        "status": {**full, "readyReplicas": replicas, **status},
    }


def workloads(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    found = {"decode": deployment("decode", 2), "prefill": deployment("prefill", 1), "picker": deployment("picker", 1)}
    return list({**found, **changed}.values())


def seen(
    manifest: dict[str, Any] | None = None,
    parts: list[dict[str, Any]] | None = None,
    pods: tuple[dict[str, Any], ...] = (),
    log: str = "",
    since: float = 30.0,
) -> Health:
    return judge(
        Observation(
            manifest or service(),
            workloads() if parts is None else parts,
            pods,
            before={},
            since_seconds=since,
            now=NOW,
            log=lambda pod, container, previous: log,
        )
    )


def false(reason: str, message: str = "") -> dict[str, str]:
    return {"status": "False", "reason": reason, "message": message}


def test_ready_when_every_part_is() -> None:
    assert seen().state == "ready"


def test_a_generation_that_kserve_has_not_seen_is_not_ready() -> None:
    health = seen(service(generation=3))
    assert (health.state, health.phase) == ("progressing", "KServe has not looked at this change yet")


@pytest.mark.parametrize("part", ["decode", "prefill", "picker"])
def test_pods_of_an_older_spec_are_not_this_change(part: str) -> None:
    replicas = 2 if part == "decode" else 1
    health = seen(parts=workloads(**{part: deployment(part, replicas, "old")}))
    assert (health.state, health.phase) == ("progressing", f"{part}: does not show this change yet")


def test_one_side_missing_is_not_ready() -> None:
    parts = [each for each in workloads() if each["metadata"]["name"] != "chat-prefill"]
    assert seen(parts=parts).phase == "there is no Deployment for prefill yet"


def test_prefill_must_be_gone_after_the_switch_to_one_group() -> None:
    manifest = service()
    del manifest["spec"]["prefill"]
    assert seen(manifest).phase == "prefill is not gone yet"


def test_scaling_is_waited_for() -> None:
    manifest = service()
    manifest["spec"]["replicas"] = 8
    assert seen(manifest).phase == "decode: is not scaled to 8 yet"
    half = deployment("decode", 8, updatedReplicas=8, availableReplicas=6)
    assert seen(manifest, workloads(decode=half)).phase == "decode: 6 of 8 pods are available"


def test_of_several_pickers_one_is_ready() -> None:
    manifest = service()
    manifest["spec"]["router"]["scheduler"]["replicas"] = 3
    assert seen(manifest, workloads(picker=deployment("picker", 3, availableReplicas=1))).state == "ready"
    none = seen(manifest, workloads(picker=deployment("picker", 3, availableReplicas=0)))
    assert none.phase == "picker: 0 of 3 pods are available"


def test_a_part_of_the_way_in_is_waited_for() -> None:
    health = seen(service(InferencePoolReady=false("WaitingForGateway", "not accepted yet")))
    assert (health.state, health.phase) == (
        "progressing",
        "InferencePoolReady is False (WaitingForGateway): not accepted yet",
    )


@pytest.mark.parametrize(
    ("condition", "reason", "message", "kind"),
    [
        ("PresetsCombined", "ConfigNotFound", '"kserve-config-llm-template" not found', "preset_missing"),
        ("PresetsCombined", "CombineBaseError", "failed to merge", "preset"),
        ("HTTPRoutesReady", "HTTPRoutesNotReady", "ResolvedRefs False InvalidKind: Group is invalid", "gateway_class"),
        ("GatewaysReady", "RefsInvalid", "gateway kserve/none does not exist", "gateway_missing"),
        ("HTTPRoutesReady", "HTTPRoutesNotReady", "Accepted=False NotAllowedByListeners", "gateway_listener"),
        (
            "MainWorkloadReady",
            "ReconcileMultiNodeWorkloadError",
            'no matches for kind "LeaderWorkerSet"',
            "leaderworkerset_missing",
        ),
        ("MainWorkloadReady", "ScalingCRDNotFound", "variantautoscalings", "scaling_crd"),
        (
            "MainWorkloadReady",
            "ReconcileSingleNodeWorkloadError",
            'service account models/reader: "reader" not found',
            "service_account",
        ),
        ("MainWorkloadReady", "ReconcileSingleNodeWorkloadError", "something else", "reconcile"),
        ("SchedulerWorkloadReady", "SchedulerReconcileError", "failed", "reconcile"),
    ],
)
def test_a_condition_that_cannot_heal_ends_the_wait(condition: str, reason: str, message: str, kind: str) -> None:
    health = seen(service(**{condition: false(reason, message), "Ready": false(reason)}))
    assert health.state == "failed"
    assert health.cause is not None
    assert health.cause.kind == kind
    assert health.cause.remedy


def test_what_a_controller_may_still_mend_gets_time() -> None:
    early = service(HTTPRoutesReady=false("HTTPRoutesNotReady", "InvalidKind"))
    assert seen(early, since=5).state == "progressing"
    assert seen(early, since=25).state == "failed"


def test_the_old_api_group_of_a_pool_is_refused_first() -> None:
    message = 'InvalidKind: unsupported backendRef: group "inference.networking.x-k8s.io" kind "InferencePool"'
    assert seen(service(HTTPRoutesReady=false("HTTPRoutesNotReady", message)), since=60).state == "progressing"


def test_conditions_of_an_older_generation_are_no_cause() -> None:
    assert seen(service(generation=3, PresetsCombined=false("ConfigNotFound"))).state == "progressing"


def crashing(part: str, spec_hash: str = "") -> dict[str, Any]:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-01T11:59:55Z"}}
    status = {"name": "main", "restartCount": 3, "ready": False, "lastState": ended, "state": {"waiting": {}}}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"chat-{part}-1",
            "annotations": {SPEC_HASH: spec_hash or f"new-{part}"},
            "labels": {"app.kubernetes.io/component": COMPONENTS[part]},
            "creationTimestamp": "2026-01-01T11:59:30Z",
        },
        "status": {"containerStatuses": [status]},
    }


def test_a_picker_without_a_plugin_is_explained() -> None:
    parts = workloads(picker=deployment("picker", 1, availableReplicas=0))
    health = seen(parts=parts, pods=(crashing("picker"),), log='plugin type "no-hit-lru-scorer" is not registered')
    assert health.cause is not None
    assert health.cause.kind == "picker_plugin"
    assert health.cause.reason.startswith("The endpoint picker failed")


def test_the_engine_of_prefill_is_named() -> None:
    parts = workloads(prefill=deployment("prefill", 1, availableReplicas=0))
    health = seen(parts=parts, pods=(crashing("prefill"),), log="torch.OutOfMemoryError: CUDA out of memory")
    assert health.cause is not None
    assert health.cause.kind == "cuda_out_of_memory"
    assert health.cause.reason.startswith("The engine (prefill) failed")


def test_pods_of_older_specs_do_not_count() -> None:
    parts = workloads(decode=deployment("decode", 2, availableReplicas=1))
    assert seen(parts=parts, pods=(crashing("decode", "old"),), log="CUDA out of memory").state == "progressing"


def test_what_fails_beside_pods_that_serve_is_degraded() -> None:
    parts = workloads(decode=deployment("decode", 2, availableReplicas=1))
    observation = Observation(service(), parts, (crashing("decode"),), now=NOW, log=lambda *_: "CUDA out of memory")
    assert standing(observation).state == "degraded"


@pytest.mark.parametrize(
    ("status", "text", "picker", "kind"),
    [
        (500, "", True, "picker"),
        (503, "no healthy upstream", True, "no_endpoints"),
        (503, "", True, "picker"),
        (404, "", True, "route"),
        (401, "", True, "request_denied"),
        (400, "unknown model", True, "request"),
        (500, "", False, "request"),
    ],
)
def test_an_answer_tells_what_conditions_cannot(status: int, text: str, picker: bool, kind: str) -> None:
    cause = of_answer(status, text, picker=picker)
    assert cause is not None
    assert cause.kind == kind
    assert str(status) in cause.reason


def test_an_answer_is_ready() -> None:
    assert of_answer(200, "{}", picker=True) is None


# What is told of it


def test_parts_are_told_with_their_replicas() -> None:
    found = {part["name"]: part for part in result.parts(service(), workloads())}
    assert list(found) == ["decode", "prefill", "picker", "gateway", "route", "pool"]
    assert (found["decode"]["ready_replicas"], found["decode"]["replicas"]) == (2, 2)
    assert found["route"]["replicas"] is None


def test_told() -> None:
    told = result.told(service(), workloads(), "http://prometheus:9090")
    assert told["endpoint"]["path"] == "/models/chat"
    assert any(command.startswith("curl -G http://prometheus:9090/api/v1/query") for command in told["commands"])
    assert result.images(workloads())["picker"] == "picker:v1"


def test_the_picker_sees_ready_pods_of_its_pool() -> None:
    ready = crashing("decode")
    ready["metadata"]["labels"] |= {"kserve.io/component": "workload"}
    conditions = [{"type": name, "status": "True"} for name in ("PodScheduled", "Ready")]
    ready["status"] = {"conditions": conditions, "phase": "Running"}
    pool = {"spec": {"selector": {"matchLabels": {"kserve.io/component": "workload"}}}}
    assert result.seen_by_picker(pool, [ready, crashing("picker")]) == ["chat-decode-1"]
    assert result.seen_by_picker(None, [ready]) == []

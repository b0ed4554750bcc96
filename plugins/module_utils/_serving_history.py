# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an InferenceService looked like after each change, for who wants to go back. Pure. PRIVATE to the collection.

Kept where Kubernetes keeps such history (of StatefulSets and DaemonSets): in ControllerRevisions that belong to the object and go
with it. KServe has none in Standard mode.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._serving_change import same_pods

LABEL = "llmstack.serving/inferenceservice"
LLM_LABEL = "llmstack.serving/llminferenceservice"
CHANGED_AT = "llmstack.serving/changed-at"
CHANGED_BY = "llmstack.serving/changed-by"
STORAGE_URI = "llmstack.serving/storage-uri"
# Why a revision never served, where it was taken back.
FAILED = "llmstack.serving/failed"
# As revisionHistoryLimit of Deployments.
KEPT = 10


def revision(service: dict[str, Any], *, changed_at: str, changed_by: str) -> dict[str, Any]:
    """The ControllerRevision of an InferenceService or LLMInferenceService as served; its number is the generation. Times are ISO 8601."""
    metadata = service["metadata"]
    number = metadata["generation"]
    spec = service.get("spec") or {}
    model = (spec.get("predictor") or spec).get("model") or {}
    # Both kinds can have an object of one name.
    name = f"{metadata['name']}-{number}" if label_of(service) == LABEL else f"{metadata['name']}-llm-{number}"
    owner = {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    annotations = {
        CHANGED_AT: changed_at,
        CHANGED_BY: changed_by,
        STORAGE_URI: model.get("storageUri") or model.get("uri") or "",
    }
    described = {
        "spec": service.get("spec") or {},
        "metadata": {"annotations": metadata.get("annotations") or {}, "labels": metadata.get("labels") or {}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {label_of(service): metadata["name"]},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "revision": number,
        "data": described,
    }


def label_of(service: dict[str, Any]) -> str:
    """The label by which the revisions of such an object are found; its value is the name."""
    return LLM_LABEL if service["kind"] == "LLMInferenceService" else LABEL


def of_service(known: list[dict[str, Any]], service: dict[str, Any]) -> list[dict[str, Any]]:
    """The revisions of this very InferenceService, not of one of the same name before it; oldest first."""
    uid = service["metadata"]["uid"]
    own = [each for each in known if any(o.get("uid") == uid for o in each["metadata"].get("ownerReferences") or [])]
    return sorted(own, key=lambda each: int(each["revision"]))


def surplus(own: list[dict[str, Any]]) -> list[str]:
    """The names of revisions that are too old to keep."""
    return [each["metadata"]["name"] for each in own[: max(0, len(own) - KEPT)]]


def previous(own: list[dict[str, Any]], service: dict[str, Any]) -> dict[str, Any] | None:
    """The newest revision that made other pods than the InferenceService makes now, and that was not taken back."""
    earlier = [each for each in own if int(each["revision"]) < service["metadata"]["generation"]]
    for each in reversed(earlier):
        if FAILED not in each["metadata"]["annotations"] and not same_pods(each["data"]["spec"], service["spec"]):
            return each
    return None


def chosen(own: list[dict[str, Any]], service: dict[str, Any], number: int | None) -> dict[str, Any] | None:
    """The revision of that number, without a number the one to go back to; None if there is none."""
    if number is None:
        return previous(own, service)
    return next((each for each in own if int(each["revision"]) == number), None)


def none_to_choose(own: list[dict[str, Any]], service: dict[str, Any], number: int | None) -> str:
    """The sentence for when `chosen` finds nothing."""
    numbers = ", ".join(str(each["revision"]) for each in own)
    if number is not None:
        return f"there is no revision {number}. Remembered are: {numbers or 'none'}."
    if not own:
        return "no revision is remembered: this collection has not changed it since it was created."
    return f"no earlier revision made other pods and served. Remembered are: {numbers}; give revision to choose one."


def told(own: list[dict[str, Any]], service: dict[str, Any]) -> list[dict[str, Any]]:
    """The revisions for a person, newest first."""
    entries = []
    for each in reversed(own):
        annotations, predictor = each["metadata"]["annotations"], each["data"]["spec"].get("predictor") or {}
        model = predictor.get("model") or {}
        entries.append(
            {
                "revision": int(each["revision"]),
                "current": int(each["revision"]) == service["metadata"]["generation"],
                "changed_at": annotations.get(CHANGED_AT),
                "changed_by": annotations.get(CHANGED_BY),
                "storage_uri": model.get("storageUri"),
                "runtime": model.get("runtime"),
                "image": model.get("image"),
                "min_replicas": predictor.get("minReplicas"),
                "failed": annotations.get(FAILED),
            }
        )
    return entries

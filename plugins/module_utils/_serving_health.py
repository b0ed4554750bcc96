# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How is an InferenceService, and what must be done if it is not well? Pure: what was observed in, a judgement out.

PRIVATE to the collection. A judgement is about THIS change: pods of older specs, failures that KServe's status remembers
and a Ready of yesterday do not count (see _readiness.inference_service). Slow is not failed: only what cannot heal by
itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import (
    SPEC_HASH,
    Wanted,
    condition,
    inference_service,
)

# KServe looks at a change within a second or two; what it says unchanged after this time it says about this change.
SETTLED_SECONDS = 20.0


class Cause(NamedTuple):
    """Why an InferenceService does not serve. `kind` is a word to filter by; `reason` and `remedy` are sentences."""

    kind: str
    reason: str
    remedy: str
    pod: str | None = None
    log: str | None = None

    def __str__(self) -> str:
        where = f" (pod {self.pod})" if self.pod else ""
        log = f" Last lines of its log: {self.log}" if self.log else ""
        return f"{self.reason}{where}. {self.remedy}{log}"


class Health(NamedTuple):
    """`phase` says in words what is waited for, or what is lacking."""

    state: Literal["ready", "progressing", "degraded", "stopped", "failed"]
    phase: str
    cause: Cause | None = None


@dataclass
class Observation:
    """What is known of one InferenceService.

    `workloads` are its Deployments (or Knative Services), `pods` its pods, `before` is the object as it was before the
    change that is waited for ({} if it was just created, None if nothing was changed), `since_seconds` the time since that
    (None if nobody waits: then what is seen counts, however old), `wanted` a condition that is waited for instead of a URL.
    `log(pod, container, previous)` and `events(pod)` look further, and only when there is something to explain.
    """

    service: dict[str, Any]
    workloads: Iterable[dict[str, Any]] = ()
    pods: Iterable[dict[str, Any]] = ()
    before: dict[str, Any] | None = None
    since_seconds: float | None = None
    wanted: Wanted | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    log: Callable[[str, str, bool], str] = lambda pod, container, previous: ""
    events: Callable[[str], list[dict[str, Any]]] = lambda pod: []


def judge(seen: Observation) -> Health:
    """The health of one InferenceService."""
    service = seen.service
    verdict = inference_service(service, seen.workloads, seen.wanted)
    if _stopped(service):
        if verdict.state == "ready":
            return Health("stopped", "stopped")
        refused = _causes().of_status(seen)
        return Health("failed", "cannot be stopped", refused) if refused else Health("progressing", verdict.reason)
    if verdict.state == "ready":
        if seen.wanted or (service.get("status") or {}).get("url"):
            return Health("ready", "serves")
        return Health("progressing", "has no URL yet")
    if cause := _causes().of_all(seen):
        serves = condition(service, "Ready")
        old = serves is not None and serves.get("status") == "True"
        return Health("failed", "an older revision still serves" if old else "does not serve", cause)
    return Health("progressing", _phase(seen, verdict.reason))


def standing(seen: Observation) -> Health:
    """As judge, for who does not wait for a change: what fails beside a revision that serves is degraded, not failed."""
    found = judge(seen)
    serves = condition(seen.service, "Ready")
    if found.state == "failed" and serves is not None and serves.get("status") == "True":
        return found._replace(state="degraded")
    return found


def current_pods(seen: Observation) -> list[dict[str, Any]]:
    """The pods that were made from the spec as it is now."""
    wanted = spec_hashes(seen.service)
    return [
        pod for pod in seen.pods if not wanted or (pod["metadata"].get("annotations") or {}).get(SPEC_HASH) in wanted
    ]


def cause_in_parts(seen: Observation) -> Cause | None:
    """What the workloads and pods of this change say of a failure."""
    return _causes().in_parts(seen)


def _causes() -> Any:
    # Not needed where all is well, and longer than this file.
    from ansible_collections.llmstack.serving.plugins.module_utils import _serving_causes

    return _serving_causes


def what_pods_do(seen: Observation, reason: str) -> str:
    """`reason`, and what the pods of this change do that are not ready."""
    return _phase(seen, reason)


def settled(seen: Observation) -> bool:
    """Whether what is seen unchanged must be about this change by now."""
    return seen.since_seconds is None or seen.since_seconds >= SETTLED_SECONDS


def _stopped(service: dict[str, Any]) -> bool:
    return (service["metadata"].get("annotations") or {}).get("serving.kserve.io/stop") == "true"


def spec_hashes(service: dict[str, Any]) -> set[str]:
    """What the pods of the spec as it is now are marked with."""
    spec = service.get("spec") or {}
    # Of an LLMInferenceService, the spec itself and the scheduler are components as well.
    components = [spec, *spec.values(), (spec.get("router") or {}).get("scheduler")]
    return {
        component["annotations"][SPEC_HASH]
        for component in components
        if isinstance(component, dict) and SPEC_HASH in (component.get("annotations") or {})
    }


# What is waited for


def _phase(seen: Observation, reason: str) -> str:
    pods = [pod for pod in current_pods(seen) if not pod["metadata"].get("deletionTimestamp")]
    told = [f"pod {pod['metadata']['name']} {pod_phase(pod)}" for pod in pods if pod_phase(pod) != "is ready"]
    return f"{reason}; {', '.join(told)}" if told else reason


def pod_phase(pod: dict[str, Any]) -> str:
    """What a pod is doing, in words."""
    if pod["metadata"].get("deletionTimestamp"):
        return "is going away"
    status = pod.get("status") or {}
    scheduled = pod_condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "True":
        return "waits for a node" + (
            f": {short(scheduled['message'])}" if scheduled and scheduled.get("message") else ""
        )
    for init, entries in ((True, status.get("initContainerStatuses")), (False, status.get("containerStatuses"))):
        for entry in entries or []:
            state = entry.get("state") or {}
            waiting = (state.get("waiting") or {}).get("reason")
            if waiting in ("ErrImagePull", "ImagePullBackOff"):
                return f"cannot pull the image {entry.get('image')} yet"
            if waiting == "CrashLoopBackOff":
                return f"restarts its container {entry['name']}"
            if waiting not in (None, "PodInitializing", "ContainerCreating"):
                return f"has its container {entry['name']} in {waiting}"
            if init and "running" in state:
                return "downloads the model" if entry["name"] == "storage-initializer" else f"runs {entry['name']}"
            if not init and "running" in state and not entry.get("ready"):
                return "loads the model" if entry["name"] == "kserve-container" else f"waits for {entry['name']}"
    ready = pod_condition(pod, "Ready")
    if ready is not None and ready.get("status") == "True":
        return "is ready"
    return "pulls images and makes its containers" if status.get("phase") == "Pending" else "is not ready yet"


def timeline(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """How long a ready pod took for what, in seconds: node found, model downloaded (init containers), engine loaded."""
    times = [pod["metadata"].get("creationTimestamp")]
    times += [
        (pod_condition(pod, name) or {}).get("lastTransitionTime") for name in ("PodScheduled", "Initialized", "Ready")
    ]
    if None in times:
        return []
    seconds = [datetime.fromisoformat(str(time).replace("Z", "+00:00")).timestamp() for time in times]
    phases = ("node found", "model downloaded", "engine loaded")
    return [
        {"phase": phase, "seconds": int(end - begin)}
        for phase, begin, end in zip(phases, seconds, seconds[1:], strict=False)
    ]


def gpus(pod: dict[str, Any]) -> int:
    """How many GPUs the containers of a pod are given, whatever the vendor (and MIG slices as one each)."""
    total = 0
    for container in (pod.get("spec") or {}).get("containers") or []:
        for name, count in ((container.get("resources") or {}).get("limits") or {}).items():
            if name.endswith(("/gpu", "/gaudi")) or "/mig-" in name:
                total += int(count)
    return total


def pod_condition(pod: dict[str, Any], name: str) -> dict[str, Any] | None:
    """A condition of a pod, None if it has none of this name."""
    # A pod's conditions name a generation too since Kubernetes 1.34, but no pod is updated here.
    return next(
        (entry for entry in (pod.get("status") or {}).get("conditions") or [] if entry.get("type") == name), None
    )


def short(text: str) -> str:
    """A message of Kubernetes as a part of a sentence."""
    return " ".join(text.split())[:300].rstrip(".")

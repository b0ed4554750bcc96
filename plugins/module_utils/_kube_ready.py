# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until applied objects are usable, or deleted ones gone. PRIVATE to the collection.

One watch per kind and namespace, however many objects are waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils import _serving_health as health
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_wait import Selection, View, wait_until
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import (
    SERVING_LABELS,
    Verdict,
    Wanted,
    deletion,
    failed,
    judge,
    progressing,
)

if TYPE_CHECKING:
    from ansible_collections.llmstack.serving.plugins.module_utils._kube_apply import Item, Settings


def wait_until_gone(kube: Kube, ref: Ref, uid: str, settings: Settings, deadline: float) -> None:
    """Wait until the object is gone; one of the same name that was made meanwhile does not count. Raises WaitFailed."""
    chosen = Selection(ref.api_version, ref.kind, ref.namespace, fields=f"metadata.name={ref.name}")
    report = Reporter(settings.progress)

    def gone(view: View) -> bool | None:
        for manifest in view[chosen].values():
            if manifest["metadata"].get("uid") == uid:
                report(f"{ref} {deletion(manifest)}")
                return None
        return True

    answer, view = wait_until(kube, [chosen], gone, deadline)
    if answer is None:
        left: dict[str, Any] = next(iter(view.get(chosen, {}).values()), {"metadata": {}})
        raise errors.WaitFailed(f"{ref} is still there after {settings.wait_timeout_seconds:g} s: it {deletion(left)}.")


def wait_until_ready(kube: Kube, items: list[Item], settings: Settings, deadline: float) -> None:
    """Wait until all objects are usable; their `resource` is then what was served last. Raises WaitFailed."""
    report = Reporter(settings.progress)
    look = Look(kube)
    begin = time.monotonic()

    def verdicts(view: View) -> list[tuple[Item, Verdict]]:
        return [(item, _verdict(view, item, look, time.monotonic() - begin, settings.wanted)) for item in items]

    def decide(view: View) -> list[tuple[Item, Verdict]] | None:
        lacking = [(item, verdict) for item, verdict in verdicts(view) if verdict.state != "ready"]
        if not lacking or any(verdict.state == "failed" for _item, verdict in lacking):
            return lacking
        report(_told(lacking))
        return None

    view = _glance(kube, items)
    lacking = decide(view) if view else None
    if lacking != []:
        lacking, view = wait_until(kube, _selections(items), decide, deadline)
    for item in items:
        item.resource = _found(view, item) or item.resource
        if item.ref.kind in SERVING_LABELS:
            seen = observed(view, item.resource, look)
            item.related = [*seen.workloads, *seen.pods]
    if lacking == []:
        return
    if lacking is None:
        told = _told([(item, verdict) for item, verdict in verdicts(view) if verdict.state != "ready"])
        raise errors.WaitFailed(f"Not ready after {settings.wait_timeout_seconds:g} s (wait_timeout): {told}.")
    raise errors.WaitFailed(f"Failed: {_told([pair for pair in lacking if pair[1].state == 'failed'])}")


def _glance(kube: Kube, items: list[Item]) -> View:
    """What unchanged objects look like without a watch: two requests a namespace instead of six. Empty if there are others."""
    if any(item.action != "unchanged" for item in items):
        return {}
    view: View = {}
    for chosen in _selections(items):
        same = [item for item in items if (item.ref.api_version, item.ref.kind) == (chosen.api_version, chosen.kind)]
        view[chosen] = _by_name([item.resource for item in same]) if same else _listed(kube, chosen)
    return view


def glance_at(kube: Kube, services: list[dict[str, Any]], namespace: str | None) -> View:
    """What belongs to InferenceServices of a namespace, or of all."""
    chosen = {
        replace(selection, namespace=namespace) for service in services for selection in serving_selections(service)
    }
    return {selection: _listed(kube, selection) for selection in chosen}


def _listed(kube: Kube, chosen: Selection) -> dict[tuple[str, str], dict[str, Any]]:
    return _by_name(kube.list(chosen.api_version, chosen.kind, chosen.namespace, labels=chosen.labels)[0])


def _by_name(manifests: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in manifests}


class Look:
    """Looks further at pods that have a problem: logs and events, each asked for once per state of the pod."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[tuple[Any, ...], Any] = {}

    def at(
        self, namespace: str, pods: list[dict[str, Any]]
    ) -> tuple[Callable[..., str], Callable[..., list[dict[str, Any]]]]:
        """The functions `log` and `events` of an Observation."""
        versions = {pod["metadata"]["name"]: pod["metadata"].get("resourceVersion") for pod in pods}

        def log(pod: str, container: str, previous: bool) -> str:
            key = ("log", namespace, pod, container, previous, versions.get(pod))
            if not self._known.get(key):
                self._known[key] = self._kube.log(namespace, pod, container, previous=previous)
            return self._known[key]

        def events(pod: str) -> list[dict[str, Any]]:
            key = ("events", namespace, pod, versions.get(pod), int(time.monotonic() / 5))
            if key not in self._known:
                fields = f"involvedObject.kind=Pod,involvedObject.name={pod}"
                self._known[key] = self._kube.list("v1", "Event", namespace, fields=fields)[0]
            return self._known[key]

        return log, events


class Reporter:
    """Passes on news, but not more often than every few seconds, and without news a sign of life each minute."""

    _NEWS_SECONDS = 10.0
    _LIFE_SECONDS = 60.0

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._text = ""
        self._begin = self._last = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= (self._NEWS_SECONDS if text != self._text else self._LIFE_SECONDS):
            self._progress(f"{text} ({now - self._begin:.0f} s)")
            self._text, self._last = text, now


def _told(verdicts: list[tuple[Item, Verdict]]) -> str:
    return "; ".join(f"{item.ref}: {verdict.reason}" for item, verdict in verdicts) or "no answer of the API server"


def _selections(items: list[Item]) -> list[Selection]:
    names: dict[tuple[str, str, str | None], list[str]] = {}
    for item in items:
        names.setdefault((item.ref.api_version, item.ref.kind, item.ref.namespace), []).append(item.ref.name)
    chosen = [
        Selection(*where, fields=f"metadata.name={found[0]}" if len(found) == 1 else "")
        for where, found in names.items()
    ]
    for item in items:
        if item.ref.kind in SERVING_LABELS:
            chosen += serving_selections(item.resource)
    return chosen


def serving_selections(service: dict[str, Any]) -> list[Selection]:
    """What else must be watched to judge what serves models; the same for all of a kind in a namespace."""
    namespace = service["metadata"]["namespace"]
    label = SERVING_LABELS[service["kind"]][0]
    mode = (service["metadata"].get("annotations") or {}).get("serving.kserve.io/deploymentMode")
    mode = (service.get("status") or {}).get("deploymentMode") or mode
    workloads = (
        ("serving.knative.dev/v1", "Service") if mode in ("Knative", "Serverless") else ("apps/v1", "Deployment")
    )
    return [
        Selection(*workloads, namespace, labels=label),
        Selection("v1", "Pod", namespace, labels=label),
    ]


def _found(view: View, item: Item) -> dict[str, Any] | None:
    for selection, objects in view.items():
        found = objects.get((item.ref.namespace or "", item.ref.name))
        if found and (selection.api_version, selection.kind) == (item.ref.api_version, item.ref.kind):
            return found
    return None


def _verdict(view: View, item: Item, look: Look, since_seconds: float, wanted: Wanted | None) -> Verdict:
    found = _found(view, item)
    if found is None:
        listed = any((seen.api_version, seen.kind) == (item.ref.api_version, item.ref.kind) for seen in view)
        return failed("was deleted by someone else") if listed else progressing("has not been seen")
    if item.ref.kind not in SERVING_LABELS:
        return judge(found)
    seen = observed(view, found, look)
    seen.before, seen.since_seconds = (None if item.action == "unchanged" else item.was), since_seconds
    seen.wanted = wanted
    state, phase, cause = judge_of(item.ref.kind)(seen)
    if state in ("ready", "stopped"):
        return Verdict("ready")
    return failed(f"{phase}: {cause}") if state == "failed" else progressing(phase)


def judge_of(kind: str) -> Callable[[health.Observation], health.Health]:
    """The function that judges what serves models."""
    if kind == "InferenceService":
        return health.judge
    from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_health

    return _llmdeployment_health.judge


def observed(view: View, service: dict[str, Any], look: Look) -> health.Observation:
    """What a view of serving_selections shows of one thing that serves models."""
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    label, name_label = SERVING_LABELS[service["kind"]]

    def all_of(*kinds: str) -> list[dict[str, Any]]:
        return [
            manifest
            for selection, objects in view.items()
            if selection.kind in kinds and selection.labels == label
            for manifest in objects.values()
            if manifest["metadata"].get("namespace") == namespace
            and (manifest["metadata"].get("labels") or {}).get(name_label) == name
        ]

    pods = all_of("Pod")
    log, events = look.at(namespace, pods)
    return health.Observation(service, all_of("Deployment", "Service"), pods, log=log, events=events)

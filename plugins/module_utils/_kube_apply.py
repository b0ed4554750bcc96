# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring objects to the described state, and wait until they are usable. PRIVATE to the collection.

What changes is known before anything is written and before any wait: nothing, if what the API server keeps about the
ownership of fields proves it, else what a server-side dry run says. So a second run sends nothing but reads (and dry runs), and
check mode says what a run would do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils import _manifest
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube, Ref, Resource
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SERVING_LABELS, Wanted, deletion, judge

_RETRY_SECONDS = 2.0


@dataclass
class Settings:
    """How to apply. `progress` gets one sentence now and then during a long wait; `wanted` is a condition to wait for where
    InferenceServices need not be ready. `before_change` is told of an object before it is sent for the first time: what it is
    now (None if it does not exist), what is wanted; it raises a KubeError to stop. `after_change` is told of what was
    written. `complete` is false for a change of what is there: it was looked at where it was made, and brings its own hashes
    (see _serving_change)."""

    field_manager: str = FIELD_MANAGER
    force_conflicts: bool = False
    check_mode: bool = False
    wait: bool = True
    wait_timeout_seconds: float = 600
    progress: Callable[[str], None] = lambda text: None
    wanted: Wanted | None = None
    complete: bool = True
    before_change: Callable[[dict[str, Any] | None, dict[str, Any]], None] = lambda live, desired: None
    after_change: Callable[[Item], None] = lambda item: None


@dataclass
class Item:
    """What was done with one object.

    `before` and `after` are its described state (see _manifest.state), `was` the whole object before the change ({} if it
    did not exist) and `resource` as it was served last. `related` are the workloads and pods of an InferenceService that
    was waited for.
    """

    ref: Ref
    action: Literal["created", "updated", "deleted", "unchanged"]
    before: dict[str, Any]
    after: dict[str, Any]
    resource: dict[str, Any]
    was: dict[str, Any] = field(default_factory=dict)
    predicted: bool = False
    related: list[dict[str, Any]] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        return {
            "api_version": self.ref.api_version,
            "kind": self.ref.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "action": self.action,
            "resource": _manifest.without_noise(self.resource) if self.resource else {},
        }


@dataclass
class Outcome:
    """What was done with all objects; with an `error`, what was done before it."""

    items: list[Item] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: errors.KubeError | None = None

    @property
    def changed(self) -> bool:
        return any(item.action != "unchanged" for item in self.items)

    def diff(self) -> dict[str, Any]:
        """Both sides of the objects that change, by name."""
        sides: dict[str, dict[str, Any]] = {"before": {}, "after": {}}
        for item in self.items:
            if item.action != "unchanged":
                before, after = _manifest.masked_pair(item.before, item.after)
                sides["before"][str(item.ref)], sides["after"][str(item.ref)] = before, after
        return sides

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def ref_of(kube: Kube, definition: dict[str, Any]) -> Ref:
    """The name of a definition's object; a namespaced object without a namespace goes to `default`, as with kubectl."""
    metadata = definition["metadata"]
    namespace = metadata.get("namespace")
    try:
        namespaced = kube.resource(definition["apiVersion"], definition["kind"]).namespaced
    except errors.KindNotFound:
        namespaced = bool(namespace)
    return Ref(
        definition["apiVersion"], definition["kind"], (namespace or "default") if namespaced else None, metadata["name"]
    )


def present(kube: Kube, definitions: list[dict[str, Any]], settings: Settings) -> Outcome:
    """Apply the definitions in their order and wait until all are usable. Never raises a KubeError: see Outcome.error."""
    deadline = time.monotonic() + settings.wait_timeout_seconds
    outcome = Outcome()
    try:
        for definition in definitions:
            _await_definition_of(kube, definition, outcome, settings, deadline)
            outcome.items.append(_apply(kube, definition, outcome, settings, deadline))
            _record(kube, outcome, settings)
            _warn_of_scaling(outcome)
            if outcome.items[-1].action != "unchanged" and not outcome.items[-1].predicted:
                settings.after_change(outcome.items[-1])
    except errors.KubeError as error:
        error.add(_done_before(outcome))
        outcome.error = error
        return outcome
    if settings.wait and not settings.check_mode and (waiting := [item for item in outcome.items if _may_lack(item)]):
        from ansible_collections.llmstack.serving.plugins.module_utils._kube_ready import wait_until_ready

        try:
            wait_until_ready(kube, waiting, settings, deadline)
        except errors.KubeError as error:
            outcome.error = error
    return outcome


def absent(kube: Kube, definitions: list[dict[str, Any]], settings: Settings) -> Outcome:
    """Delete the objects in reverse order, each gone before the next: what a finalizer needs must outlive its object.

    Never raises a KubeError: see Outcome.error.
    """
    deadline = time.monotonic() + settings.wait_timeout_seconds
    outcome = Outcome()
    try:
        for definition in reversed(definitions):
            _delete(kube, definition, outcome, settings, deadline)
    except errors.KubeError as error:
        error.add(_done_before(outcome))
        outcome.error = error
    return outcome


def _done_before(outcome: Outcome) -> str:
    done = [f"{item.action} {item.ref}" for item in outcome.items if item.action != "unchanged" and not item.predicted]
    return f" Done before this failure: {', '.join(done)}." if done else " Nothing was changed before this failure."


def _record(kube: Kube, outcome: Outcome, settings: Settings) -> None:
    """Keep the history of an InferenceService, for a rollback. That it cannot be kept is no reason to stop."""
    item = outcome.items[-1]
    if item.ref.kind not in SERVING_LABELS or item.predicted or item.action == "unchanged":
        return
    from ansible_collections.llmstack.serving.plugins.module_utils._kube_history import record

    try:
        record(kube, item.was, item.resource, settings.field_manager)
    except errors.KubeError as error:
        outcome.warn(f"The history of {item.ref} is not kept: {error}")


def _warn_of_scaling(outcome: Outcome) -> None:
    item = outcome.items[-1]
    if item.ref.kind != "InferenceService" or item.action != "updated":
        return
    from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import left_scaling

    if kind := left_scaling(item.before, item.after):
        name = f"{item.ref.name}-predictor"
        outcome.warn(
            f"KServe leaves the {kind} {name} of the earlier autoscaler class beside the new one, and both scale. "
            f"Remove it: kubectl -n {item.ref.namespace} delete {kind.lower()} {name}"
        )


def _may_lack(item: Item) -> bool:
    """Whether an object must be watched: not, if what was served already shows that it is usable."""
    return item.ref.kind in SERVING_LABELS or judge(item.resource).state != "ready"


def _apply(kube: Kube, definition: dict[str, Any], outcome: Outcome, settings: Settings, deadline: float) -> Item:
    ref = ref_of(kube, definition)
    try:
        live = kube.get(ref)
    except errors.KindNotFound as error:
        if not settings.check_mode:
            raise
        if _definition_of(definition, outcome) is None:
            outcome.warn(f"{error} Check mode predicts that {ref} will be created.")
        return _predicted(ref, None, definition, settings)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        raise errors.Invalid(f"{ref} {deletion(live)}. Run again when it is gone.")
    mine = live is None or _manifest.created_by(live) == settings.field_manager
    desired = _manifest.with_created_by(definition, settings.field_manager) if mine else definition
    if settings.complete:
        desired = _with_hashes(ref, desired)
    before = _manifest.state(live)
    if live is not None and _manifest.holds(live, desired, settings.field_manager):
        return Item(ref, "unchanged", before, before, live, live)
    if settings.complete:
        _check(ref, live, desired)
    settings.before_change(live, desired)
    if live is None and not settings.check_mode:
        served = _send(kube, ref, desired, settings, deadline)
        return Item(ref, "created", before, _manifest.state(served), served)
    try:
        planned = _send(kube, ref, desired, settings, deadline, dry_run=True)
    except (errors.NamespaceNotFound, errors.WebhookUnreachable, errors.DryRunUnsupported) as error:
        if settings.check_mode:
            if not (isinstance(error, errors.NamespaceNotFound) and _creates_namespace(outcome, ref.namespace)):
                outcome.warn(f"{error} Check mode predicts the result for {ref} without asking the API server.")
            return _predicted(ref, live, desired, settings)
        if not isinstance(error, errors.DryRunUnsupported):
            raise
        # Only the write itself can tell what it changes.
        served = _send(kube, ref, desired, settings, deadline)
        action: Any = "unchanged" if _manifest.state(served) == before else "updated"
        return Item(ref, action, before, _manifest.state(served), served, live or {})
    after = _manifest.state(planned)
    if live is None:
        return Item(ref, "created", before, after, planned, predicted=True)
    if after == before:
        return Item(ref, "unchanged", before, after, live, live)
    if settings.check_mode:
        return Item(ref, "updated", before, after, planned, predicted=True)
    served = _send(kube, ref, desired, settings, deadline)
    return Item(ref, "updated", before, _manifest.state(served), served, live)


def _with_hashes(ref: Ref, desired: dict[str, Any]) -> dict[str, Any]:
    """What KServe serves, with the hashes that tell whether it has seen this change; anything else as it is."""
    if ref.kind == "InferenceService":
        from ansible_collections.llmstack.serving.plugins.module_utils import _inferenceservice

        return _inferenceservice.with_hashes(desired)
    if ref.kind == "LLMInferenceService":
        from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_hash

        return _llmdeployment_hash.with_hashes(desired)
    return desired


def _check(ref: Ref, live: dict[str, Any] | None, desired: dict[str, Any]) -> None:
    """Raises Invalid if KServe would refuse the change. What is there already was not refused."""
    if ref.kind == "InferenceService":
        from ansible_collections.llmstack.serving.plugins.module_utils import _kserve_rules

        if found := _kserve_rules.problems(desired, live):
            raise errors.Invalid(f"{ref}: {' '.join(found)}")


def _predicted(ref: Ref, live: dict[str, Any] | None, desired: dict[str, Any], settings: Settings) -> Item:
    desired = _manifest.with_created_by(desired, settings.field_manager) if live is None else desired
    before, after = _manifest.state(live), _manifest.state(_manifest.overlay(live or {}, desired))
    action: Any = "created" if live is None else "updated" if before != after else "unchanged"
    return Item(ref, action, before, after, desired, predicted=True)


def _send(
    kube: Kube, ref: Ref, manifest: dict[str, Any], settings: Settings, deadline: float, dry_run: bool = False
) -> dict[str, Any]:
    told = False
    while True:
        try:
            return kube.apply(
                ref, manifest, field_manager=settings.field_manager, force=settings.force_conflicts, dry_run=dry_run
            )
        except errors.WebhookUnreachable as error:
            # Right after its installation a webhook is registered before its pod answers.
            if settings.check_mode or not settings.wait or time.monotonic() + _RETRY_SECONDS > deadline:
                raise
            if not told:
                settings.progress(f"{error} It is tried again for a while.")
                told = True
            time.sleep(_RETRY_SECONDS)


def _creates_namespace(outcome: Outcome, name: str | None) -> bool:
    return any(item.ref.kind == "Namespace" and item.ref.name == name for item in outcome.items)


def _definition_of(definition: dict[str, Any], outcome: Outcome) -> Item | None:
    """The CustomResourceDefinition among the applied objects that a definition's kind comes from."""
    group, _slash, version = definition["apiVersion"].rpartition("/")
    for item in outcome.items:
        spec = item.after.get("spec") or {}
        if item.ref.kind == "CustomResourceDefinition" and spec.get("group") == group:
            versions = [entry.get("name") for entry in spec.get("versions") or []]
            if (spec.get("names") or {}).get("kind") == definition["kind"] and version in versions:
                return item
    return None


def _await_definition_of(
    kube: Kube, definition: dict[str, Any], outcome: Outcome, settings: Settings, deadline: float
) -> None:
    """Before an object whose kind was defined just now: wait until the API server serves the kind."""
    item = _definition_of(definition, outcome)
    if item is None:
        return
    if not settings.check_mode and judge(item.resource).state != "ready":
        from ansible_collections.llmstack.serving.plugins.module_utils._kube_ready import wait_until_ready

        wait_until_ready(kube, [item], settings, deadline)
    spec = item.after["spec"]
    if not item.predicted:
        kube.learn(
            Resource(
                definition["apiVersion"], definition["kind"], spec["names"]["plural"], spec.get("scope") == "Namespaced"
            )
        )


def _delete(kube: Kube, definition: dict[str, Any], outcome: Outcome, settings: Settings, deadline: float) -> None:
    ref = ref_of(kube, definition)
    try:
        live = kube.get(ref)
    except errors.KindNotFound:
        live = None
    before = _manifest.state(live)
    if live is None:
        outcome.items.append(Item(ref, "unchanged", {}, {}, {}))
    elif _manifest.created_by(live) != settings.field_manager:
        outcome.warn(
            f"{ref} was not created by {settings.field_manager} (it has no annotation {_manifest.CREATED_BY} that says so) "
            "and stays as it is. Delete it by hand if it is to go."
        )
        outcome.items.append(Item(ref, "unchanged", before, before, live))
    elif settings.check_mode:
        outcome.items.append(Item(ref, "deleted", before, {}, {}, predicted=True))
    else:
        left = kube.delete(ref, uid=live["metadata"]["uid"])
        outcome.items.append(Item(ref, "deleted", before, {}, {}))
        if left is not None and settings.wait:
            from ansible_collections.llmstack.serving.plugins.module_utils._kube_ready import wait_until_gone

            wait_until_gone(kube, ref, live["metadata"]["uid"], settings, deadline)

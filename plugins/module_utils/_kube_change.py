# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out a change of an InferenceService that is there, and take it back if it fails. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _kserve_rules, _kube_history, _serving_change
from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import API_VERSION, KIND, OptionError
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_apply import Outcome, Settings, present
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import WaitFailed
from ansible_collections.llmstack.serving.plugins.module_utils._manifest import overlay, state


def find(kube: Kube, namespace: str, name: str) -> dict[str, Any]:
    """The InferenceService as it is. Raises KubeError; OptionError, naming those that are there, if there is none."""
    service = kube.get(Ref(API_VERSION, KIND, namespace, name)) if name else None
    if service is None:
        others, _version = kube.list(API_VERSION, KIND, namespace)
        raise OptionError(_serving_change.missing(name, namespace, [each["metadata"]["name"] for each in others]))
    return service


def carry_out(kube: Kube, service: dict[str, Any], manifest: dict[str, Any], settings: Settings) -> Outcome:
    """Apply a manifest of _serving_change. Raises OptionError for what KServe would refuse."""
    if problems := _kserve_rules.problems(overlay(state(service), manifest), service):
        raise OptionError(" ".join(problems))
    return _send(kube, manifest, settings)


def _send(kube: Kube, manifest: dict[str, Any], settings: Settings) -> Outcome:
    return present(kube, [manifest], replace(settings, complete=False))


@dataclass
class Update:
    """`outcome` is that of the update; `back` that of taking it back, if it was."""

    outcome: Outcome
    back: Outcome | None = None

    def message(self, before: dict[str, Any]) -> str:
        """What failed and what is true now."""
        told = f"The update failed. {self.outcome.error}"
        if self.back is None:
            return told
        generation = before["metadata"]["generation"]
        if self.back.error:
            return (
                f"{told} It was taken back to what it was (generation {generation}), but that does not serve yet either: "
                f"{self.back.error}"
            )
        return f"{told} It was taken back: the InferenceService is exactly what it was before, and serves."


def update(kube: Kube, service: dict[str, Any], options: dict[str, Any], settings: Settings, take_back: bool) -> Update:
    """Update an InferenceService and watch; what does not serve in time is taken back. Raises OptionError and KubeError."""
    done = Update(carry_out(kube, service, _serving_change.updated(service, settings.field_manager, options), settings))
    written = [item for item in done.outcome.items if item.action == "updated" and not item.predicted]
    if take_back and written and isinstance(done.outcome.error, WaitFailed):
        settings.progress(f"{done.outcome.error} It is taken back.")
        before = _serving_change.taken_back(service, settings.field_manager)
        done.back = _send(kube, before, settings)
        _kube_history.mark_failed(kube, written[0].resource, str(done.outcome.error))
    return done

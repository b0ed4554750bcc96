# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the history of InferenceServices on the cluster: see _serving_history. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import getpass
import platform
from datetime import UTC, datetime
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _serving_history as history
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError


def revisions(kube: Kube, service: dict[str, Any]) -> list[dict[str, Any]]:
    """The recorded revisions of an InferenceService, oldest first. Raises KubeError."""
    labels = f"{history.label_of(service)}={service['metadata']['name']}"
    listed, _version = kube.list("apps/v1", "ControllerRevision", service["metadata"]["namespace"], labels=labels)
    return history.of_service(listed, service)


def mark_failed(kube: Kube, service: dict[str, Any], reason: str) -> None:
    """Remember that a revision did not serve, so that nobody goes back to it. That it cannot be kept is no reason to stop."""
    metadata = service["metadata"]
    ref = _ref(metadata["namespace"], f"{metadata['name']}-{metadata['generation']}")
    with contextlib.suppress(KubeError):
        kube.merge_patch(ref, {"metadata": {"annotations": {history.FAILED: reason[:500]}}})


def record(kube: Kube, was: dict[str, Any], service: dict[str, Any], field_manager: str) -> None:
    """Add an InferenceService after a change; before the first recorded one, also what it was. Raises KubeError."""
    namespace = service["metadata"]["namespace"]
    own = revisions(kube, service)
    numbers = {int(each["revision"]) for each in own}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for state, who, when in ((was, "unknown", "unknown"), (service, f"{getpass.getuser()}@{platform.node()}", now)):
        if state and state["metadata"]["generation"] not in numbers:
            made = history.revision(state, changed_at=when, changed_by=who)
            own.append(
                kube.apply(_ref(namespace, made["metadata"]["name"]), made, field_manager=field_manager, force=True)
            )
            numbers.add(state["metadata"]["generation"])
    for name in history.surplus(history.of_service(own, service)):
        kube.delete(_ref(namespace, name))


def _ref(namespace: str, name: str) -> Ref:
    return Ref("apps/v1", "ControllerRevision", namespace, name)

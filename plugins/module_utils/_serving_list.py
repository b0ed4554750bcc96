# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""InferenceServices with their health, in three requests for all of them. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_ready, _manifest, _serving_result
from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import API_VERSION, KIND
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_gateway import Gateways
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import standing


def listed(
    kube: Kube, namespace: str | None = None, *, name: str | None = None, labels: str = ""
) -> list[dict[str, Any]]:
    """What inferenceservice_info returns for each InferenceService; without a namespace, of all. Raises KubeError."""
    fields = f"metadata.name={name}" if name else ""
    services, _version = kube.list(API_VERSION, KIND, namespace, labels=labels, fields=fields)
    if not services:
        return []
    view = _kube_ready.glance_at(kube, services, namespace)
    look = _kube_ready.Look(kube)
    gateways = Gateways(kube, namespace)
    entries = []
    for service in services:
        seen = _kube_ready.observed(view, service, look)
        state, phase, cause = standing(seen)
        health = {"state": state, "phase": phase, "cause": cause.kind if cause else None}
        entries.append(
            {
                "name": service["metadata"]["name"],
                "namespace": service["metadata"]["namespace"],
                "health": {**health, "message": str(cause) if cause else phase},
                **_serving_result.told(service, [*seen.workloads, *seen.pods], gateways.address(service)),
                "resource": _manifest.without_noise(service),
            }
        )
    return sorted(entries, key=lambda entry: (entry["namespace"], entry["name"]))

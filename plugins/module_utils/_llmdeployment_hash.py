# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks the pods of an LLMInferenceService with a hash of what makes them. Pure. PRIVATE to the collection.

KServe copies annotations of a workload to its pods (pkg/controller/v1alpha2/llmisvc/workload_single_node.go), so that pods
of this change can be told from those of the one before.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH

_WORKLOAD = ("parallelism", "labels", "annotations", "template", "worker", "kvCacheOffloading")


def with_hashes(described: dict[str, Any]) -> dict[str, Any]:
    """A copy in which each group of pods carries its hash. What only scales or routes is left out: it restarts no pod."""
    result = copy.deepcopy(described)
    spec = result["spec"]
    common = {key: spec[key] for key in ("model", "baseRefs", "tracing", "storageInitializer") if key in spec}
    if "template" in spec or "worker" in spec:
        _mark(spec, {**common, "disaggregated": "prefill" in spec})
    if spec.get("prefill"):
        _mark(spec["prefill"], common)
    if scheduler := (spec.get("router") or {}).get("scheduler"):
        _mark(scheduler, {}, ("labels", "annotations", "template", "config", "pool"))
    return result


def _mark(part: dict[str, Any], more: dict[str, Any], fields: tuple[str, ...] = _WORKLOAD) -> None:
    annotations = {key: value for key, value in (part.get("annotations") or {}).items() if key != SPEC_HASH}
    content = {**more, **{key: part[key] for key in fields if key in part}, "annotations": annotations}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    part["annotations"] = {**annotations, SPEC_HASH: hashlib.sha256(text.encode()).hexdigest()[:16]}

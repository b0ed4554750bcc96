# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change what an InferenceService is, and nothing else of it: scale, stop, start, update, take back, go back. Pure.

PRIVATE to the collection. A manifest here is what the field manager has applied so far with one change in it, so that the
change belongs to the same manager as the rest: the next run of a playbook does not find a conflict, it finds a difference.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import (
    AUTOSCALER_CLASS,
    DEPLOYMENT_MODE,
    MODES,
    NOT_IN_PODS,
    STOP,
    OptionError,
    with_hashes,
)
from ansible_collections.llmstack.serving.plugins.module_utils._manifest import applied
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH

Service = dict[str, Any]
Path = tuple[str, ...]
_PREDICTOR: Path = ("spec", "predictor")
_MODEL: Path = (*_PREDICTOR, "model")
# Option of an update -> field. Lists replace what was there.
UPDATES: dict[str, Path] = {
    "args": (*_MODEL, "args"),
    "image": (*_MODEL, "image"),
    "runtime": (*_MODEL, "runtime"),
    "runtime_version": (*_MODEL, "runtimeVersion"),
    "storage_uri": (*_MODEL, "storageUri"),
}
_STOP: Path = ("metadata", "annotations", STOP)
# What kubectl writes for itself.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def missing(name: str, namespace: str, names: list[str]) -> str:
    """The sentence for an InferenceService that is not there; `names` are those of its namespace."""
    where = "there is none of that name." if name else "give its name."
    if not names:
        return f"{where} Namespace {namespace} has no InferenceService at all: check namespace and cluster."
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{where} {hint}Namespace {namespace} has: {', '.join(sorted(names))}."


def scaled(
    service: Service,
    field_manager: str,
    *,
    replicas: int | None = None,
    min_replicas: int | None = None,
    max_replicas: int | None = None,
    state: str | None = None,
) -> Service:
    """The InferenceService with other numbers of replicas, or `started` or `stopped`. Raises OptionError.

    Pods that run go on running: neither the numbers nor the annotation are a part of what they are made from.
    """
    if replicas is not None:
        min_replicas = max_replicas = replicas
    predictor = (service.get("spec") or {}).get("predictor") or {}
    least = predictor.get("minReplicas") if min_replicas is None else min_replicas
    most = predictor.get("maxReplicas") if max_replicas is None else max_replicas
    for name, value in (("min_replicas", min_replicas), ("max_replicas", max_replicas)):
        if value is not None and value < 0:
            raise OptionError(f"{name} must not be negative, but is {value}.")
    if (min_replicas is not None or max_replicas is not None) and most and (1 if least is None else least) > most:
        raise OptionError(f"min_replicas would be {1 if least is None else least}, max_replicas {most}: give both.")
    annotations = service["metadata"].get("annotations") or {}
    mode, class_ = MODES.get(annotations.get(DEPLOYMENT_MODE, "")), annotations.get(AUTOSCALER_CLASS)
    if min_replicas == 0 and mode == "Standard" and class_ != "keda":
        raise OptionError("KServe scales to zero with Knative or KEDA only. Free the GPUs with state: stopped instead.")
    if min_replicas is not None and class_ == "external":
        raise OptionError(
            f"Its {AUTOSCALER_CLASS} is external, so KServe leaves the number of replicas to whoever that is: scale there."
        )
    manifest = applied(service, field_manager)
    for field, value in (("minReplicas", min_replicas), ("maxReplicas", max_replicas)):
        if value is not None:
            _set(manifest, (*_PREDICTOR, field), value)
    if state == "stopped":
        _set(manifest, _STOP, "true")
    elif state == "started" and _get(manifest, _STOP) is not None:
        _remove(manifest, _STOP)
    elif state == "started" and annotations.get(STOP) == "true":
        # Somebody else stopped it: only a value can take that back, and the API server asks whether it may.
        _set(manifest, _STOP, "false")
    return manifest


def updated(service: Service, field_manager: str, options: dict[str, Any]) -> Service:
    """The InferenceService with another model, runtime, image or arguments (keys of UPDATES). Raises OptionError."""
    given = {name: value for name, value in options.items() if name in UPDATES and value is not None}
    if not given:
        raise OptionError(f"Nothing says what to change: give at least one of {', '.join(sorted(UPDATES))}.")
    model = _get(service, _MODEL)
    if model is None:
        raise OptionError(
            "Its predictor has containers of its own instead of a model. Change it with inferenceservice."
        )
    if "storage_uri" in given and model.get("storage"):
        raise OptionError("Its model comes by `storage` (an entry of the Secret storage-config), not by storage_uri.")
    manifest = applied(service, field_manager)
    for name, value in given.items():
        _set(manifest, UPDATES[name], value)
    return with_hashes(manifest)


def taken_back(before: Service, field_manager: str) -> Service:
    """What makes the InferenceService exactly what it was before `updated`, whoever owned the fields."""
    manifest = applied(before, field_manager)
    for path in UPDATES.values():
        if (value := _get(before, path)) is not None:
            _set(manifest, path, copy.deepcopy(value))
    return manifest


def gone_back(revision: dict[str, Any], service: Service, *, scaling: bool) -> Service:
    """The InferenceService as a ControllerRevision of _serving_history remembers it.

    Whether it is stopped stays as it is, and so does how it scales unless `scaling`.
    """
    data = copy.deepcopy(revision["data"])
    live = service["metadata"]
    annotations = {
        key: value for key, value in data["metadata"]["annotations"].items() if key not in (STOP, _LAST_APPLIED)
    }
    if STOP in (live.get("annotations") or {}):
        annotations[STOP] = live["annotations"][STOP]
    metadata = {"name": live["name"], "namespace": live["namespace"], "annotations": annotations}
    if data["metadata"]["labels"]:
        metadata["labels"] = data["metadata"]["labels"]
    manifest = {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "metadata": metadata,
        "spec": data["spec"],
    }
    if not scaling:
        for name, component in manifest["spec"].items():
            now = (service["spec"].get(name) or {}) if isinstance(component, dict) else {}
            for field in ("autoScaling", "maxReplicas", "minReplicas", "scaleMetric", "scaleMetricType", "scaleTarget"):
                component.pop(field, None)
                if field in now:
                    component[field] = copy.deepcopy(now[field])
        if value := (live.get("annotations") or {}).get(AUTOSCALER_CLASS):
            annotations[AUTOSCALER_CLASS] = value
    hashed = (_get(manifest, (*_PREDICTOR, "annotations")) or {}).get(SPEC_HASH)
    return manifest if hashed else with_hashes(manifest)


def same_pods(spec: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two specs of InferenceServices make the same pods."""
    return _of_pods(spec) == _of_pods(other)


def _of_pods(spec: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, component in spec.items():
        if isinstance(component, dict):
            kept = {key: value for key, value in component.items() if key not in NOT_IN_PODS}
            kept["annotations"] = {
                key: text for key, text in (kept.get("annotations") or {}).items() if key != SPEC_HASH
            }
            result[name] = kept
    return result


def _get(manifest: Any, path: Path) -> Any:
    for key in path:
        manifest = manifest.get(key) if isinstance(manifest, dict) else None
    return manifest


def _set(manifest: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        manifest = manifest.setdefault(key, {})
    manifest[path[-1]] = value


def _remove(manifest: dict[str, Any], path: Path) -> None:
    _get(manifest, path[:-1]).pop(path[-1], None)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What KServe's webhook refuses, known before anything is sent: one rule, one function. Pure. PRIVATE to the collection.

Sources are functions of KServe 0.20.0 pkg/apis/serving/v1beta1/{inference_service_validation,component}.go, in the order in
which its webhook asks them. tests/integration/test_kserve_rules.py asks the real webhook whether it agrees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import (
    AUTOSCALER_CLASS,
    DEPLOYMENT_MODE,
    MODES,
)
from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity

Manifest = dict[str, Any]
# pkg/apis/serving/v1beta1/predictor.go: the keys of which a predictor has exactly one.
_FRAMEWORKS = (
    "huggingface",
    "lightgbm",
    "onnx",
    "paddle",
    "pmml",
    "pytorch",
    "sklearn",
    "tensorflow",
    "triton",
    "xgboost",
)
# pkg/constants/constants.go DefaultGPUResourceTypeList, CustomGPUResourceTypesAnnotationKey
_GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi")
_MORE_GPU_RESOURCES = "serving.kserve.io/gpu-resource-types"
# pkg/validation/confidential.go KBSResourceIdRegexp
_RESOURCE_ID = re.compile(r"kbs:///[\w.-]+/[\w.-]+/[\w.-]+", re.ASCII)
# k8s.io/apimachinery pkg/api/resource/quantity.go
_QUANTITY = re.compile(r"[+-]?[0-9.]+([eEinumkKMGTP]*[-+]?[0-9]*)")
# knative.dev/serving pkg/apis/autoscaling/register.go
_KNATIVE_CLASS, _KNATIVE_HPA = "autoscaling.knative.dev/class", "hpa.autoscaling.knative.dev"
# pkg/controller/v1beta1/inferenceservice/utils/utils.go ValidateStorageURI
_STORAGE_SCHEMES = ("gs", "s3", "pvc", "file", "https", "http", "hdfs", "webhdfs", "oci", "oci+native", "hf")


class Rule(NamedTuple):
    """`source` is the function of KServe that says so; `check` yields a sentence for each breach."""

    source: str
    check: Callable[[Manifest], Iterator[str]]


class UpdateRule(NamedTuple):
    """As Rule, for what may not change: `check` is given the InferenceService as served and as wanted."""

    source: str
    check: Callable[[Manifest, Manifest], Iterator[str]]


def problems(manifest: Manifest, served: Manifest | None = None) -> list[str]:
    """Why KServe will refuse the InferenceService; empty if nothing speaks against it. `served` is what it would change."""
    found = [text for rule in RULES for text in rule.check(manifest)]
    if served:
        found += [text for update_rule in UPDATE_RULES for text in update_rule.check(served, manifest)]
    return found


def _predictor(manifest: Manifest) -> dict[str, Any]:
    return (manifest.get("spec") or {}).get("predictor") or {}


def _components(manifest: Manifest) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("predictor", "transformer", "explainer"):
        if component := (manifest.get("spec") or {}).get(name):
            yield name, component


def _annotation(manifest: Manifest, name: str) -> str | None:
    return (manifest["metadata"].get("annotations") or {}).get(name)


def _mode(manifest: Manifest) -> str | None:
    """The deployment mode; None where the cluster's default decides, which only KServe knows."""
    given = _annotation(manifest, DEPLOYMENT_MODE)
    return MODES.get(given, given) if given else None


def _model(manifest: Manifest) -> dict[str, Any]:
    predictor = _predictor(manifest)
    return next((predictor[key] for key in ("model", *_FRAMEWORKS) if predictor.get(key)), {})


def _containers(manifest: Manifest) -> Iterator[dict[str, Any]]:
    for _name, component in _components(manifest):
        yield from component.get("containers") or []
        yield from component.get("initContainers") or []
        worker = component.get("workerSpec") or {}
        yield from worker.get("containers") or []
        yield from worker.get("initContainers") or []
    if model := _model(manifest):
        yield {"name": "the model", **model}


def _env_names(container: dict[str, Any]) -> set[str]:
    return {entry.get("name", "") for entry in container.get("env") or []}


def _name(manifest: Manifest) -> Iterator[str]:
    name = str(manifest["metadata"].get("name"))
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"name: '{name}' must start with a letter and have only lower case letters, digits and '-'."


def _name_length(manifest: Manifest) -> Iterator[str]:
    # Not asked by the webhook: the Service of that name is refused later, and nothing tells (RFC 1035 label).
    longest = max((component for component, _spec in _components(manifest)), key=len, default="predictor")
    name = str(manifest["metadata"].get("name"))
    if len(f"{name}-{longest}") > 63:
        yield f"name: '{name}' is too long: '{name}-{longest}' must fit into 63 characters ({63 - len(longest) - 1} are left)."


def _autoscaler(manifest: Manifest) -> Iterator[str]:
    class_ = _annotation(manifest, AUTOSCALER_CLASS)
    if class_ is not None and class_ not in ("hpa", "keda", "external", "none"):
        yield f"autoscaler_class: '{class_}' must be one of hpa, keda, external, none."


def _blocked_env(manifest: Manifest) -> Iterator[str]:
    for container in _containers(manifest):
        if "PYTHONPATH" in _env_names(container):
            yield f"env: KServe forbids PYTHONPATH (in {container.get('name')}). Put the code into the image instead."


def _multi_node(manifest: Manifest) -> Iterator[str]:
    predictor = _predictor(manifest)
    worker = predictor.get("workerSpec")
    if worker is None:
        return
    if len(worker.get("containers") or []) > 1:
        yield "worker: only one container is allowed."
    for field, option in (
        ("pipelineParallelSize", "pipeline_parallel_size"),
        ("tensorParallelSize", "tensor_parallel_size"),
    ):
        if worker.get(field) is not None and worker[field] < 1:
            yield f"worker.{option} must be at least 1, not {worker[field]}."
    model = predictor.get("model")
    if model is None:
        return
    for name in ("PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE"):
        if name in _env_names(model):
            yield f"env: {name} is set by KServe with a worker. Use worker.{name.lower()} instead."
    uri = model.get("storageUri")
    if uri is None:
        yield "storage_uri is needed with a worker."
    elif uri.split("://")[0] not in ("pvc", "oci"):
        yield f"storage_uri: with a worker only pvc:// and oci:// work, not '{uri}'."
    if _annotation(manifest, AUTOSCALER_CLASS) != "none":
        yield "autoscaler_class must be none with a worker."


def _gpu_types(manifest: Manifest) -> Iterator[str]:
    worker = _predictor(manifest).get("workerSpec")
    if worker is None:
        return
    known = {"cpu", "memory", "storage", "ephemeral-storage", *_GPU_RESOURCES}
    if more := _annotation(manifest, _MORE_GPU_RESOURCES):
        named = _names(more)
        if not named:
            yield f"annotations: {_MORE_GPU_RESOURCES} must be a JSON list of resource names."
            return
        known |= set(named)
    for container in (_predictor(manifest).get("model") or {}, *(worker.get("containers") or [])):
        resources = container.get("resources") or {}
        for name in sorted({*(resources.get("limits") or {}), *(resources.get("requests") or {})} - known):
            yield f"resources: KServe does not know {name} as a GPU; with a worker name it in the annotation {_MORE_GPU_RESOURCES}."


def _names(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    good = isinstance(found, list) and all(isinstance(name, str) and name for name in found)
    return found if good else []


def _collocation(manifest: Manifest) -> Iterator[str]:
    for container in _predictor(manifest).get("containers") or []:
        if container.get("name") == "transformer-container" and "STORAGE_URI" in _env_names(container):
            yield "env: STORAGE_URI is not allowed in the transformer-container of a predictor."


def _quantities(manifest: Manifest) -> Iterator[str]:
    # KServe's defaulting webhook reads them first, and does not say where the bad one is.
    for container in _containers(manifest):
        for kind in ("limits", "requests"):
            for name, amount in ((container.get("resources") or {}).get(kind) or {}).items():
                if not _QUANTITY.fullmatch(str(amount)):
                    yield f"resources.{kind}.{name}: '{amount}' is no quantity (in {container.get('name')}), such as 500m, 4 or 16Gi."


def _model_name(manifest: Manifest) -> Iterator[str]:
    if _model(manifest).get("name"):
        yield "definition: the model must have no name; KServe names its container."


def _storage_uris(manifest: Manifest) -> Iterator[str]:
    for name, component in _components(manifest):
        entries = component.get("storageUris") or []
        if entries and name == "predictor" and _model(manifest).get("storageUri"):
            yield "storage_uri and storageUris exclude each other."
        for entry in entries:
            path = entry.get("mountPath", "/mnt/models")
            if not entry.get("uri"):
                yield f"{name}.storageUris: an entry has no uri."
            if path == "/" or not path.startswith("/") or ".." in path:
                yield f"{name}.storageUris: mountPath '{path}' must be absolute, not '/' and without '..'."
        yield from _storage_paths(name, entries)


def _storage_paths(name: str, entries: list[dict[str, Any]]) -> Iterator[str]:
    claimed = [entry.get("mountPath", "") for entry in entries if str(entry.get("uri")).startswith("pvc://")]
    loaded = [entry.get("mountPath", "") for entry in entries if not str(entry.get("uri")).startswith("pvc://")]
    # KServe asks neither where fewer than two are downloaded.
    if len(loaded) < 2:
        return
    if len(set(claimed)) < len(claimed):
        yield f"{name}.storageUris: each PersistentVolumeClaim needs a mountPath of its own."
    if len({path.strip("/").split("/")[0] for path in loaded}) > 1:
        yield f"{name}.storageUris: what is downloaded must have mountPaths in a common folder, not {', '.join(loaded)}."


def _storage_scheme(manifest: Manifest) -> Iterator[str]:
    # Not asked by the webhook: the controller refuses it later without a status that tells.
    uri = _model(manifest).get("storageUri") or ""
    scheme, separator, _rest = uri.partition("://")
    if separator and scheme not in _STORAGE_SCHEMES:
        yield f"storage_uri: '{scheme}://' is no storage of KServe; it knows {', '.join(f'{name}://' for name in _STORAGE_SCHEMES)}."


def _confidential(manifest: Manifest) -> Iterator[str]:
    confidential = _model(manifest).get("confidential") or {}
    if confidential.get("enabled") and not _model(manifest).get("storageUri"):
        yield "definition: a confidential model needs storage_uri."
    identity = confidential.get("resourceId")
    if confidential.get("enabled") and identity and not _RESOURCE_ID.fullmatch(identity):
        yield f"definition: confidential.resourceId must look like kbs:///repo/type/tag, not {identity}."


def _one_implementation(manifest: Manifest) -> Iterator[str]:
    predictor = _predictor(manifest)
    found = [key for key in ("model", *_FRAMEWORKS) if predictor.get(key) is not None]
    if len(found) > 1:
        # Not refused for a framework beside `model`: inference_service_defaults.go silently overwrites the model.
        yield f"The predictor must have exactly one of model and containers, not {' and '.join(found)}."
    elif not found and not predictor.get("containers"):
        yield "Nothing says what to serve: give model_format (with storage_uri), or containers in definition."
    for name, component in _components(manifest):
        if name != "predictor" and not component.get("containers") and not component.get("art"):
            yield f"{name}.containers is needed."


def _replicas(manifest: Manifest) -> Iterator[str]:
    for name, component in _components(manifest):
        least, most = component.get("minReplicas"), component.get("maxReplicas") or 0
        least = 1 if least is None else least
        if least < 0:
            yield f"{name}: min_replicas must not be negative."
        if most < 0:
            yield f"{name}: max_replicas must not be negative."
        if least > most and most > 0:
            yield f"{name}: min_replicas ({least}) is greater than max_replicas ({most})."


def _concurrency(manifest: Manifest) -> Iterator[str]:
    for name, component in _components(manifest):
        if (component.get("containerConcurrency") or 0) < 0:
            yield f"{name}: container_concurrency must not be negative (0 means no limit)."


def _logger(manifest: Manifest) -> Iterator[str]:
    for name, component in _components(manifest):
        logger = component.get("logger")
        if logger is None:
            continue
        if logger.get("mode") not in ("all", "request", "response"):
            yield f"{name}: logger.mode must be all, request or response."
        storage = logger.get("storage")
        if storage is not None and not all(storage.get(key) for key in ("path", "parameters", "key")):
            yield f"{name}: logger.storage needs path, parameters and key."


def _hpa(manifest: Manifest) -> Iterator[str]:
    standard = _mode(manifest) == "Standard" and _annotation(manifest, AUTOSCALER_CLASS) == "hpa"
    if not standard and not _knative_hpa(manifest):
        return
    for name, component in _components(manifest):
        metric, target = component.get("scaleMetric") or "cpu", component.get("scaleTarget")
        if metric not in ("cpu", "memory"):
            yield f"{name}: scale_metric: {metric} does not work with autoscaler_class: hpa (cpu and memory do). {_KEDA}"
        elif target is not None and not 1 <= target <= 100:
            yield f"{name}: scale_target must be a percentage from 1 to 100 with autoscaler_class: hpa, not {target}."
        for entry in (component.get("autoScaling") or {}).get("metrics") or []:
            if entry.get("type") != "Resource" or not entry.get("resource"):
                yield f"{name}: auto_scaling with autoscaler_class: hpa takes metrics of type Resource only. {_KEDA}"


def _knative_hpa(manifest: Manifest) -> bool:
    return _mode(manifest) == "Knative" and _annotation(manifest, _KNATIVE_CLASS) == _KNATIVE_HPA


_KEDA = "Use autoscaler_class: keda for metrics of the engine."


def _keda(manifest: Manifest) -> Iterator[str]:
    if _mode(manifest) != "Standard" or _annotation(manifest, AUTOSCALER_CLASS) != "keda":
        return
    for name, component in _components(manifest):
        if component.get("scaleMetric"):
            yield f"{name}: scaleMetric does not work with autoscaler_class: keda. Give auto_scaling.metrics."
        for entry in (component.get("autoScaling") or {}).get("metrics") or []:
            yield from (f"{name}: auto_scaling: {text}" for text in _keda_metric(entry))


def _keda_metric(entry: dict[str, Any]) -> Iterator[str]:
    kind = entry.get("type")
    source = entry.get({"Resource": "resource", "External": "external", "PodMetric": "podmetric"}.get(str(kind), ""))
    if kind not in ("Resource", "External", "PodMetric"):
        yield f"type must be Resource, External or PodMetric, not {kind}."
        return
    if not source:
        yield f"a metric of type {kind} needs its own field."
        return
    target = source.get("target") or {}
    if kind == "Resource":
        if source.get("name") not in ("cpu", "memory"):
            yield f"the resource must be cpu or memory, not {source.get('name')}."
        if source.get("name") == "cpu" and target.get("type") != "Utilization":
            yield "the target of cpu must be of type Utilization."
        if source.get("name") == "memory" and target.get("type") not in ("AverageValue", "Utilization"):
            yield "the target of memory must be of type AverageValue or Utilization."
        elif target.get("type") == "AverageValue" and quantity(target.get("averageValue")) < 2**20:
            yield "averageValue of memory must be at least 1Mi."
    else:
        if not (source.get("metric") or {}).get("query"):
            yield "the metric needs a query."
        if target.get("value") is None:
            yield "the metric needs target.value."
    if target.get("type") == "Utilization" and not 1 <= (target.get("averageUtilization") or 0) <= 100:
        yield "averageUtilization must be a percentage from 1 to 100."


def _knative(manifest: Manifest) -> Iterator[str]:
    if _mode(manifest) != "Knative" or _knative_hpa(manifest):
        return
    for name, component in _components(manifest):
        if component.get("deploymentStrategy"):
            yield f"{name}: deployment_strategy is for deployment_mode: Standard; Knative rolls out by revisions."
        metric, target = component.get("scaleMetric") or "concurrency", component.get("scaleTarget")
        if metric not in ("concurrency", "rps"):
            yield f"{name}: scale_metric: {metric} does not work with deployment_mode: Knative (concurrency and rps do)."
        elif metric == "rps" and target is not None and target < 1:
            yield f"{name}: scale_target must be at least 1 for rps."


def _canary(manifest: Manifest) -> Iterator[str]:
    # Not asked by the webhook: in Standard mode KServe ignores it, silently (only ksvc_reconciler.go reads it).
    for name, component in _components(manifest):
        if component.get("canaryTrafficPercent") is not None and _mode(manifest) == "Standard":
            yield f"{name}: canary_traffic_percent works with deployment_mode: Knative only; KServe ignores it in Standard."


def _canaries(manifest: Manifest) -> Iterator[str]:
    canaries = (manifest.get("spec") or {}).get("canary") or []
    if not canaries:
        return
    if _mode(manifest) not in (None, "Standard"):
        yield "canary works with deployment_mode: Standard only."
    stable = _predictor(manifest)
    names = [str((canary.get("predictor") or {}).get("name") or "") for canary in canaries]
    for canary, name in zip(canaries, names, strict=True):
        predictor = canary.get("predictor") or {}
        if not name:
            yield "canary: each predictor needs a name."
        elif names.count(name) > 1 or name == stable.get("name"):
            yield f"canary: two predictors are called {name}."
        if not 0 <= canary.get("trafficPercent", 0) <= 100:
            yield f"canary {name}: trafficPercent must be from 0 to 100."
        for field in ("workerSpec", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
            if predictor.get(field):
                yield f"canary {name}: {field} is not allowed; its number of replicas is fixed."
        least = stable.get("minReplicas")
        if (predictor.get("minReplicas") or 0) > (1 if least is None else least):
            yield f"canary {name}: it may not have more minReplicas than the stable predictor."
    if sum(canary.get("trafficPercent", 0) for canary in canaries) > 100:
        yield "canary: the trafficPercents add up to more than 100."


def _mode_change(served: Manifest, wanted: Manifest) -> Iterator[str]:
    given = str((served.get("status") or {}).get("deploymentMode") or "")
    old, new = MODES.get(given, given), _mode(wanted)
    if old and new and old != new:
        yield f"deployment_mode cannot be changed from {old} to {new}. Delete the service and make it anew, or give it another name."


def _predictor_name_change(served: Manifest, wanted: Manifest) -> Iterator[str]:
    old, new = _predictor(served).get("name") or "", _predictor(wanted).get("name") or ""
    if old != new and _model(served).get("storageUri") == _model(wanted).get("storageUri"):
        yield f"The predictor's name may change from '{old}' to '{new}' only together with storage_uri."


RULES = (
    Rule("validateInferenceServiceName", _name),
    Rule("(Service names, RFC 1035)", _name_length),
    Rule("validateInferenceServiceAutoscaler", _autoscaler),
    Rule("validateBlockedEnvVars", _blocked_env),
    Rule("(defaulter) resource.Quantity", _quantities),
    Rule("validateMultiNodeVariables", _multi_node),
    Rule("validateMultiNodeVariables: HasUnknownGpuResourceType", _gpu_types),
    Rule("validateCollocationStorageURI", _collocation),
    Rule("validatePredictor", _model_name),
    Rule("validateMultipleStorageURIs", _storage_uris),
    Rule("(controller) utils.ValidateStorageURI", _storage_scheme),
    Rule("validateConfidential", _confidential),
    Rule("validateExactlyOneImplementation", _one_implementation),
    Rule("validateReplicas", _replicas),
    Rule("validateContainerConcurrency", _concurrency),
    Rule("validateLogger", _logger),
    Rule("validateScalingHPACompExtension", _hpa),
    Rule("validateScalingKedaCompExtension", _keda),
    Rule("validateScalingKPACompExtension", _knative),
    Rule("validateCanarySpecs", _canaries),
    Rule("(controller) canaryTrafficPercent in Standard mode", _canary),
)
UPDATE_RULES = (
    UpdateRule("validateDeploymentMode", _mode_change),
    UpdateRule("validatePredictorNameChange", _predictor_name_change),
)

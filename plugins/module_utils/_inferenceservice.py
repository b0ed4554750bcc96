# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a module's options to the InferenceService of KServe that they describe. Pure. PRIVATE to the collection.

Fields: KServe pkg/apis/serving/v1beta1/{inference_service,predictor,predictor_model,component,podspec}.go.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH

API_VERSION = "serving.kserve.io/v1beta1"
KIND = "InferenceService"
# pkg/constants/constants.go
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
STOP = "serving.kserve.io/stop"
# Otherwise Go's HTTP server may end a streamed answer that begins before the whole question was read (golang/go issue 40747,
# knative.dev/serving pkg/apis/config/features.go): measured with an engine that answers at once, one stream of ten.
FULL_DUPLEX = {"features.knative.dev/http-full-duplex": "Enabled"}
# The annotation that names the Secret with the storage's credentials is called one or the other way, as KServe was installed by
# its chart or its manifests (config/configmap/inferenceservice.yaml, charts/kserve-resources/values.yaml).
STORAGE_SECRETS = ("serving.kserve.io/secretName", "serving.kserve.io/storageSecretName")
# The names before KServe 0.16, which its webhook rewrites in the object.
MODES = {"Standard": "Standard", "RawDeployment": "Standard", "Knative": "Knative", "Serverless": "Knative"}

# Option -> field, where the value needs no translation.
_MODEL = {
    "args": "args",
    "command": "command",
    "env": "env",
    "image": "image",
    "lifecycle": "lifecycle",
    "liveness_probe": "livenessProbe",
    "protocol_version": "protocolVersion",
    "readiness_probe": "readinessProbe",
    "runtime": "runtime",
    "runtime_version": "runtimeVersion",
    "security_context": "securityContext",
    "startup_probe": "startupProbe",
    "storage_uri": "storageUri",
}
_COMPONENT = {
    "batcher": "batcher",
    "canary_traffic_percent": "canaryTrafficPercent",
    "container_concurrency": "containerConcurrency",
    "deployment_strategy": "deploymentStrategy",
    "logger": "logger",
    "max_replicas": "maxReplicas",
    "min_replicas": "minReplicas",
    "pod_annotations": "annotations",
    "pod_labels": "labels",
    "scale_target": "scaleTarget",
    "timeout": "timeout",
}
# What the options of both modules for serving call a field of a Pod.
POD_FIELDS = {
    "affinity": "affinity",
    "node_selector": "nodeSelector",
    "pod_security_context": "securityContext",
    "priority_class_name": "priorityClassName",
    "runtime_class_name": "runtimeClassName",
    "scheduler_name": "schedulerName",
    "service_account": "serviceAccountName",
    "termination_grace_period_seconds": "terminationGracePeriodSeconds",
    "tolerations": "tolerations",
    "topology_spread_constraints": "topologySpreadConstraints",
}
# What changes scaling and routing, but no pod. The hash leaves it out: scaling must not restart the pods.
NOT_IN_PODS = frozenset(
    (
        "autoScaling",
        "canaryTrafficPercent",
        "deploymentStrategy",
        "maxReplicas",
        "minReplicas",
        "scaleMetric",
        "scaleMetricType",
        "scaleTarget",
        "timeout",
    )
)
# KServe copies the labels and annotations of the InferenceService to its pods, but not these (pkg/constants/constants.go
# ServiceAnnotationDisallowedList, RevisionTemplateLabelDisallowedList); a stopped service has no pods.
_NOT_ON_PODS = frozenset(
    (
        STOP,
        "autoscaling.knative.dev/max-scale",
        "autoscaling.knative.dev/min-scale",
        "internal.serving.kserve.io/storage-initializer-sourceuri",
        "kubectl.kubernetes.io/last-applied-configuration",
        "modelFormat",
        "networking.knative.dev/visibility",
    )
)
# Engine metrics that KEDA can scale on: vLLM vllm/v1/metrics/loggers.py. Sums over all pods, because an external metric's
# target is compared with the value divided by the number of pods (keda prometheus scaler, metricType AverageValue, which
# KServe leaves at its default). `concurrency` is what the guide and Knative mean by it: requests running or waiting.
_ENGINE_QUERIES = {
    "concurrency": "sum(vllm:num_requests_running{{{0}}}) + sum(vllm:num_requests_waiting{{{0}}})",
    "kv_cache_usage": "100 * sum(vllm:kv_cache_usage_perc{{{0}}})",
    "rps": "sum(rate(vllm:request_success_total{{{0}}}[2m]))",
    "tokens_per_second": "sum(rate(vllm:generation_tokens_total{{{0}}}[2m]))",
    "waiting_requests": "sum(vllm:num_requests_waiting{{{0}}})",
}
ENGINE_METRICS = frozenset(_ENGINE_QUERIES)


class OptionError(Exception):
    """Options that contradict each other or that KServe cannot do. `str(error)` is a sentence with the way out."""


def manifest(options: dict[str, Any], *, keda: bool) -> dict[str, Any]:
    """The InferenceService for module options (names as in the module's documentation). `keda`: the cluster has KEDA.

    Raises OptionError.
    """
    mode = MODES[options["deployment_mode"]]
    predictor = _component(options)
    if worker := options.get("worker"):
        predictor["workerSpec"] = _worker(worker)
    if model := _model(options):
        predictor["model"] = model
    defaults = FULL_DUPLEX if mode == "Knative" else {}
    annotations = {**defaults, **(options.get("annotations") or {}), DEPLOYMENT_MODE: mode}
    if secret := options.get("storage_secret"):
        annotations |= dict.fromkeys(STORAGE_SECRETS, secret)
    scaling, class_ = _scaling(options, mode, keda)
    predictor = {key: value for key, value in {**predictor, **scaling}.items() if value is not None}
    if class_:
        annotations[AUTOSCALER_CLASS] = class_
    if options.get("state") == "stopped":
        annotations[STOP] = "true"
    spec: dict[str, Any] = {"predictor": predictor}
    if transformer := options.get("transformer"):
        spec["transformer"] = _transformer(transformer)
    metadata: dict[str, Any] = {
        "name": options["name"],
        "namespace": options["namespace"],
        "annotations": annotations,
    }
    if options.get("labels"):
        metadata["labels"] = options["labels"]
    described = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    return with_hashes(merged(described, options.get("definition") or {}, ()))


def with_hashes(described: dict[str, Any]) -> dict[str, Any]:
    """A copy in which each component's pods carry a hash of what makes them: see _readiness.SPEC_HASH."""
    result = copy.deepcopy(described)
    copied = {
        kind: {key: value for key, value in (described["metadata"].get(kind) or {}).items() if key not in _NOT_ON_PODS}
        for kind in ("annotations", "labels")
    }
    for component in ("predictor", "transformer", "explainer"):
        if spec := result["spec"].get(component):
            annotations = {key: value for key, value in (spec.get("annotations") or {}).items() if key != SPEC_HASH}
            content = {key: value for key, value in spec.items() if key not in NOT_IN_PODS}
            if annotations:
                content["annotations"] = annotations
            else:
                content.pop("annotations", None)
            text = json.dumps({**copied, "spec": content}, sort_keys=True, separators=(",", ":"))
            spec["annotations"] = {**annotations, SPEC_HASH: hashlib.sha256(text.encode()).hexdigest()[:16]}
    return result


def _model(options: dict[str, Any]) -> dict[str, Any]:
    model = _taken(options, _MODEL)
    if options.get("model_format"):
        model["modelFormat"] = {"name": options["model_format"]}
        if options.get("model_format_version"):
            model["modelFormat"]["version"] = options["model_format_version"]
    if options.get("storage"):
        names = {"key": "key", "path": "path", "parameters": "parameters", "schema_path": "schemaPath"}
        model["storage"] = _taken(options["storage"], names)
    if resources := _resources(options):
        model["resources"] = resources
    mounts = list(options.get("volume_mounts") or [])
    if options.get("shared_memory"):
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    if mounts:
        model["volumeMounts"] = mounts
    return model


def _resources(options: dict[str, Any]) -> dict[str, Any]:
    resources = copy.deepcopy(options.get("resources") or {})
    if options.get("gpus") is not None:
        name, count = options["gpu_resource"], str(options["gpus"])
        for kind in ("limits", "requests"):
            given = (resources.get(kind) or {}).get(name)
            if given is not None and str(given) != count:
                raise OptionError(f"gpus is {count}, but resources.{kind} has {name}: {given}. Give one of them.")
            # KServe looks at limits only to tell a GPU service from a CPU one: pkg/utils/utils.go IsGPUEnabled.
            resources[kind] = {**(resources.get(kind) or {}), name: count}
    return resources


def _component(options: dict[str, Any]) -> dict[str, Any]:
    component = {**_taken(options, _COMPONENT), **_taken(options, POD_FIELDS)}
    if options.get("image_pull_secrets"):
        component["imagePullSecrets"] = [{"name": name} for name in options["image_pull_secrets"]]
    volumes = list(options.get("volumes") or [])
    if options.get("shared_memory"):
        # Tensor parallel workers exchange data there; the runtime's default is 64 MiB.
        volumes.append(
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": options["shared_memory"]}}
        )
    if volumes:
        component["volumes"] = volumes
    return component


def _worker(options: dict[str, Any]) -> dict[str, Any]:
    names = {"pipeline_parallel_size": "pipelineParallelSize", "tensor_parallel_size": "tensorParallelSize"}
    return {**_taken(options, {**names, "containers": "containers"}), **_taken(options, POD_FIELDS)}


def _transformer(options: dict[str, Any]) -> dict[str, Any]:
    return {**_component(options), **_taken(options, {"containers": "containers", "scale_metric": "scaleMetric"})}


def _scaling(options: dict[str, Any], mode: str, keda: bool) -> tuple[dict[str, Any], str | None]:
    """The scaling fields of the predictor and the autoscaler class. KServe: validateAutoScalingCompExtension."""
    class_, metric = options.get("autoscaler_class"), options.get("scale_metric")
    if options.get("replicas") is not None:
        if any(
            options.get(name) is not None for name in ("min_replicas", "max_replicas", "scale_metric", "auto_scaling")
        ):
            raise OptionError(
                "replicas is a fixed number: leave out min_replicas, max_replicas, scale_metric and auto_scaling."
            )
        fixed = {"minReplicas": options["replicas"], "maxReplicas": options["replicas"]}
        return fixed, class_ or ("none" if mode == "Standard" else None)
    scaling: dict[str, Any] = {"autoScaling": options["auto_scaling"]} if options.get("auto_scaling") else {}
    if mode == "Knative":
        if class_:
            raise OptionError(
                f"autoscaler_class: {class_} is for deployment_mode: Standard; Knative scales by itself. Leave it out."
            )
        if metric and metric not in ("concurrency", "rps"):
            raise OptionError(
                f"scale_metric: {metric} does not work with deployment_mode: Knative (concurrency or rps do)."
            )
        return {**scaling, **({"scaleMetric": metric} if metric else {})}, None
    if metric in _ENGINE_QUERIES:
        return _engine_scaling(options, keda), "keda"
    if metric and class_ in ("none", "external"):
        raise OptionError(f"scale_metric: {metric} needs autoscaler_class: hpa or keda, not {class_}.")
    if metric and class_ == "keda":
        target = {"type": "Utilization", "averageUtilization": options.get("scale_target") or 80}
        return {
            "autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": metric, "target": target}}]}
        }, class_
    if metric:
        scaling["scaleMetric"] = metric
    # Without a class KServe makes an HPA for CPU even for one replica: only where something is to scale.
    scales = metric or scaling or (options.get("max_replicas") or 0) > (options.get("min_replicas") or 1)
    return scaling, class_ or ("hpa" if scales else "none")


def left_scaling(was: dict[str, Any], now: dict[str, Any]) -> str:
    """The kind of the autoscaler that KServe 0.20 leaves when a service changes from one class to another; "" if it leaves none.

    Only what makes the new class's autoscaler is run, and that of an HPA alone removes its own, for the classes none and external
    (pkg/controller/v1beta1/inferenceservice/reconcilers/autoscaler/autoscaler_reconciler.go, hpa_reconciler.go).
    """
    before, after = ((item["metadata"].get("annotations") or {}).get(AUTOSCALER_CLASS, "hpa") for item in (was, now))
    if before == after:
        return ""
    return {"keda": "ScaledObject", "hpa": "HorizontalPodAutoscaler" if after == "keda" else ""}.get(before, "")


def _engine_scaling(options: dict[str, Any], keda: bool) -> dict[str, Any]:
    metric, class_ = options["scale_metric"], options.get("autoscaler_class")
    hint = "Install KEDA and give prometheus_url, or use scale_metric: cpu or memory, or deployment_mode: Knative."
    if class_ in ("hpa", "none", "external"):
        raise OptionError(
            f"KServe refuses scale_metric: {metric} with autoscaler_class: {class_} in deployment_mode: Standard. {hint}"
        )
    if not keda:
        raise OptionError(
            f"scale_metric: {metric} in deployment_mode: Standard needs KEDA, which this cluster does not have. {hint}"
        )
    if not options.get("prometheus_url"):
        raise OptionError(f"scale_metric: {metric} is read from Prometheus: give prometheus_url.")
    if options.get("auto_scaling"):
        raise OptionError(f"Give either scale_metric: {metric} or auto_scaling, not both.")
    if not options.get("scale_target"):
        raise OptionError(f"scale_metric: {metric} needs scale_target: the value per replica that is to be held.")
    labels = f'namespace="{options["namespace"]}",pod=~"{options["name"]}-predictor-.*"'
    external = {
        "metric": {
            "backend": "prometheus",
            "serverAddress": options["prometheus_url"],
            "query": _ENGINE_QUERIES[metric].format(labels),
        },
        "target": {"type": "Value", "value": str(options["scale_target"])},
    }
    return {"autoScaling": {"metrics": [{"type": "External", "external": external}]}, "scaleTarget": None}


def _taken(options: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {field: copy.deepcopy(options[name]) for name, field in names.items() if options.get(name) is not None}


def merged(described: Any, definition: Any, path: tuple[str, ...]) -> Any:
    """`definition` added to what the options describe; where both say something, they must say the same."""
    if isinstance(described, dict) and isinstance(definition, dict):
        keys = dict.fromkeys((*described, *definition))
        result = {}
        for key in keys:
            if key not in definition:
                result[key] = described[key]
            elif key not in described or described[key] is None:
                result[key] = definition[key]
            else:
                result[key] = merged(described[key], definition[key], (*path, key))
        return {key: value for key, value in result.items() if value is not None}
    if described != definition:
        raise OptionError(
            f"definition has {'.'.join(path)}: {json.dumps(definition)}, the options say {json.dumps(described)}. "
            "Give it in one place."
        )
    return described

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""InferenceServices that KServe takes or refuses: one for each rule of _kserve_rules, and for its border.

The unit test asks the collection, the integration test the real webhook; both must say the same.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

MODE, CLASS = "serving.kserve.io/deploymentMode", "serving.kserve.io/autoscalerClass"


class Case(NamedTuple):
    """`refused` is what the collection says, `by_webhook` what KServe's webhook says (its controller knows more)."""

    name: str
    manifest: dict[str, Any]
    refused: bool
    by_webhook: bool


def service(
    predictor: dict[str, Any] | None = None,
    *,
    model: dict[str, Any] | None = None,
    name: str = "case",
    mode: str = "Standard",
    class_: str | None = None,
    **parts: Any,
) -> dict[str, Any]:
    annotations = {MODE: mode, **({CLASS: class_} if class_ else {})}
    base = {"modelFormat": {"name": "vLLM"}, "storageUri": "s3://models/tiny", **(model or {})}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": copy.deepcopy({"predictor": {"model": base, **(predictor or {})}, **parts}),
    }


def _resource(name: str, **target: Any) -> dict[str, Any]:
    return {"autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": name, "target": target}}]}}


def _external(query: str | None = "up", **target: Any) -> dict[str, Any]:
    metric = {"backend": "prometheus", "serverAddress": "http://p:9090", **({"query": query} if query else {})}
    return {"autoScaling": {"metrics": [{"type": "External", "external": {"metric": metric, "target": target}}]}}


WORKER: dict[str, Any] = {"workerSpec": {"pipelineParallelSize": 2, "tensorParallelSize": 1}}
PVC = {"storageUri": "pvc://models/tiny"}
CONTAINER = {"name": "main", "image": "i"}


def _taken(name: str, manifest: dict[str, Any]) -> Case:
    return Case(name, manifest, refused=False, by_webhook=False)


def _refused(name: str, manifest: dict[str, Any]) -> Case:
    return Case(name, manifest, refused=True, by_webhook=True)


def _refused_only_here(name: str, manifest: dict[str, Any]) -> Case:
    return Case(name, manifest, refused=True, by_webhook=False)


CASES = [
    _taken("plain", service()),
    _taken("name-with-digits", service(name="a1-b2")),
    _refused("name-starts-with-digit", service(name="1a")),
    _refused("name-with-dot", service(name="a.b")),
    _taken("name-of-53", service(name="a" * 53)),
    _refused_only_here("name-of-54", service(name="a" * 54)),
    _taken("class-external", service(class_="external")),
    _refused("class-unknown", service(class_="kpa")),
    _refused("env-pythonpath", service(model={"env": [{"name": "PYTHONPATH", "value": "/x"}]})),
    _taken("env-other", service(model={"env": [{"name": "HF_HOME", "value": "/x"}]})),
    _refused(
        "env-pythonpath-in-transformer",
        service(transformer={"containers": [{**CONTAINER, "env": [{"name": "PYTHONPATH", "value": "/x"}]}]}),
    ),
    _taken("worker", service(WORKER, model=PVC, class_="none")),
    _refused("worker-with-s3", service(WORKER, class_="none")),
    _refused("worker-with-hpa", service(WORKER, model=PVC, class_="hpa")),
    _refused("worker-without-class", service(WORKER, model=PVC)),
    _refused("worker-of-zero", service({"workerSpec": {"pipelineParallelSize": 0}}, model=PVC, class_="none")),
    _refused(
        "worker-two-containers",
        service({"workerSpec": {"containers": [CONTAINER, {**CONTAINER, "name": "b"}]}}, model=PVC, class_="none"),
    ),
    _refused(
        "worker-env",
        service(WORKER, model={**PVC, "env": [{"name": "TENSOR_PARALLEL_SIZE", "value": "2"}]}, class_="none"),
    ),
    _refused("model-with-name", service(model={"name": "m"})),
    _refused("storage-uri-and-uris", service({"storageUris": [{"uri": "s3://a/b", "mountPath": "/a"}]})),
    _refused_only_here("storage-scheme", service(model={"storageUri": "ftp://a/b"})),
    _taken("storage-local", service(model={"storageUri": "/mnt/x"})),
    # The mutating webhook makes sklearn the model, over what was there.
    _refused_only_here("two-implementations", service({"sklearn": {"storageUri": "s3://a/b"}})),
    _refused(
        "no-implementation",
        {**service(), "spec": {"predictor": {"minReplicas": 1}}},
    ),
    _taken("custom-containers", {**service(), "spec": {"predictor": {"containers": [CONTAINER]}}}),
    _refused("transformer-without-containers", service(transformer={"minReplicas": 1})),
    _taken("transformer", service(transformer={"containers": [CONTAINER]})),
    _refused("replicas-min-greater", service({"minReplicas": 3, "maxReplicas": 2})),
    _refused("replicas-default-min-greater", service({"minReplicas": -1})),
    _taken("replicas-max-zero", service({"minReplicas": 3, "maxReplicas": 0})),
    _refused("concurrency-negative", service({"containerConcurrency": -1})),
    _taken("concurrency-zero", service({"containerConcurrency": 0})),
    _refused("logger-without-mode", service({"logger": {"url": "http://l"}})),
    _taken("logger", service({"logger": {"url": "http://l", "mode": "all"}})),
    _taken("hpa-cpu", service({"scaleMetric": "cpu", "scaleTarget": 60}, class_="hpa")),
    _refused("hpa-concurrency", service({"scaleMetric": "concurrency", "scaleTarget": 60}, class_="hpa")),
    _refused("hpa-rps-by-old-mode-name", service({"scaleMetric": "rps"}, class_="hpa", mode="RawDeployment")),
    _refused("hpa-target-zero", service({"scaleMetric": "cpu", "scaleTarget": 0}, class_="hpa")),
    _refused("hpa-target-101", service({"scaleMetric": "memory", "scaleTarget": 101}, class_="hpa")),
    _refused("hpa-external", service(_external(type="Value", value="1"), class_="hpa")),
    _taken("keda-cpu", service(_resource("cpu", type="Utilization", averageUtilization=50), class_="keda")),
    _refused("keda-cpu-average", service(_resource("cpu", type="AverageValue", averageValue="1"), class_="keda")),
    _refused("keda-cpu-101", service(_resource("cpu", type="Utilization", averageUtilization=101), class_="keda")),
    _taken("keda-memory", service(_resource("memory", type="AverageValue", averageValue="1Gi"), class_="keda")),
    _refused("keda-memory-value", service(_resource("memory", type="Value", value="1Gi"), class_="keda")),
    _refused("keda-scale-metric", service({"scaleMetric": "cpu"}, class_="keda")),
    _taken("keda-external", service(_external(type="Value", value="5"), class_="keda")),
    _refused("keda-external-no-query", service(_external(None, type="Value", value="5"), class_="keda")),
    _refused("keda-external-no-value", service(_external(type="AverageValue", averageValue="5"), class_="keda")),
    _taken("none-with-any-metric", service({"scaleMetric": "concurrency"}, class_="none")),
    _taken("knative-concurrency", service({"scaleMetric": "concurrency", "scaleTarget": 10}, mode="Knative")),
    _taken("knative-by-old-name", service({"scaleMetric": "rps", "scaleTarget": 1}, mode="Serverless")),
    _refused("knative-cpu", service({"scaleMetric": "cpu"}, mode="Knative")),
    _refused("knative-rps-zero", service({"scaleMetric": "rps", "scaleTarget": 0}, mode="Knative")),
    _refused("knative-strategy", service({"deploymentStrategy": {"type": "Recreate"}}, mode="Knative")),
    _taken("standard-strategy", service({"deploymentStrategy": {"type": "Recreate"}})),
    _refused_only_here("standard-canary-percent", service({"canaryTrafficPercent": 10})),
    _taken("knative-canary-percent", service({"canaryTrafficPercent": 10}, mode="Knative")),
]

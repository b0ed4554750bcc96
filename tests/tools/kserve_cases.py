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


def _canaries(*canaries: dict[str, Any], mode: str = "Standard", **predictor: Any) -> dict[str, Any]:
    """A service with canary predictors, each with a model of its own."""
    model = {"modelFormat": {"name": "vLLM"}, "storageUri": "s3://models/new"}
    made = [
        {"trafficPercent": 10, **canary, "predictor": {"name": "new", "model": model, **canary.get("predictor", {})}}
        for canary in canaries
    ]
    return service(predictor, mode=mode, canary=made)


def _uris(*entries: tuple[str, str]) -> dict[str, Any]:
    uris = [{"uri": uri, "mountPath": path} for uri, path in entries]
    return {**service(), "spec": {"predictor": {"model": {"modelFormat": {"name": "vLLM"}}, "storageUris": uris}}}


def _annotated(annotations: dict[str, str], manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "annotations": {**metadata["annotations"], **annotations}}}


GPUS = "serving.kserve.io/gpu-resource-types"
KNATIVE_HPA = {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}
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
    _refused("quantity", service(model={"resources": {"limits": {"cpu": "much"}}})),
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
    _refused(
        "worker-unknown-gpu",
        service(WORKER, model={**PVC, "resources": {"limits": {"example.com/npu": "1"}}}, class_="none"),
    ),
    _taken(
        "worker-announced-gpu",
        _annotated(
            {GPUS: '["example.com/npu"]'},
            service(WORKER, model={**PVC, "resources": {"limits": {"example.com/npu": "1"}}}, class_="none"),
        ),
    ),
    _refused("worker-gpus-no-list", _annotated({GPUS: "npu"}, service(WORKER, model=PVC, class_="none"))),
    _refused("model-with-name", service(model={"name": "m"})),
    _refused("storage-uri-and-uris", service({"storageUris": [{"uri": "s3://a/b", "mountPath": "/a"}]})),
    _taken("storage-uris", _uris(("s3://a/b", "/mnt/a"), ("s3://a/c", "/mnt/c"))),
    _refused("storage-uris-no-common-folder", _uris(("s3://a/b", "/one/a"), ("s3://a/c", "/two/c"))),
    _refused("storage-uris-relative", _uris(("s3://a/b", "mnt/a"))),
    _refused(
        "storage-uris-claims-in-one-place",
        _uris(("s3://a/b", "/mnt/a"), ("s3://a/c", "/mnt/c"), ("pvc://x/a", "/x"), ("pvc://y/a", "/x")),
    ),
    _taken(
        "confidential",
        service(model={"confidential": {"enabled": True, "resourceId": "kbs:///default/key/1"}}),
    ),
    _refused(
        "confidential-resource-id",
        service(model={"confidential": {"enabled": True, "resourceId": "default/key/1"}}),
    ),
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
    _refused("keda-memory-tiny", service(_resource("memory", type="AverageValue", averageValue="1Ki"), class_="keda")),
    _refused("keda-memory-value", service(_resource("memory", type="Value", value="1Gi"), class_="keda")),
    _refused(
        "keda-other-resource",
        service(_resource("disk", type="Utilization", averageUtilization=5), class_="keda"),
    ),
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
    _taken("knative-hpa", _annotated(KNATIVE_HPA, service({"scaleMetric": "cpu", "scaleTarget": 50}, mode="Knative"))),
    _refused("knative-hpa-rps", _annotated(KNATIVE_HPA, service({"scaleMetric": "rps"}, mode="Knative"))),
    _taken("canary", _canaries({})),
    _refused("canary-knative", _canaries({}, mode="Knative")),
    _refused("canary-without-name", _canaries({"predictor": {"name": ""}})),
    _refused("canary-twice-the-same-name", _canaries({}, {})),
    _refused("canary-name-of-the-stable-one", _canaries({}, name="new")),
    _refused("canary-percent", _canaries({"trafficPercent": 101})),
    _refused(
        "canary-percent-sum", _canaries({"trafficPercent": 60}, {"trafficPercent": 60, "predictor": {"name": "b"}})
    ),
    _refused("canary-scaled", _canaries({"predictor": {"scaleTarget": 5}})),
    _refused("canary-more-replicas", _canaries({"predictor": {"minReplicas": 3}}, minReplicas=2)),
    _refused_only_here("standard-canary-percent", service({"canaryTrafficPercent": 10})),
    _taken("knative-canary-percent", service({"canaryTrafficPercent": 10}, mode="Knative")),
]


class Change(NamedTuple):
    """An update of SERVED. `refused` is what the collection and KServe's webhook say."""

    name: str
    wanted: dict[str, Any]
    refused: bool


def _named(name: str, uri: str) -> dict[str, Any]:
    return service({"name": name}, model={"storageUri": uri})


SERVED = service()
CHANGES = [
    Change("same-mode-by-old-name", service(mode="RawDeployment"), refused=False),
    Change("mode", service(mode="Knative"), refused=True),
    Change("predictor-name", _named("other", "s3://models/tiny"), refused=True),
    Change("predictor-name-with-model", _named("other", "s3://models/new"), refused=False),
    Change("model", service(model={"storageUri": "s3://models/new"}), refused=False),
]

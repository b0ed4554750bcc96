# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import (
    AUTOSCALER_CLASS,
    ENGINE_METRICS,
    OptionError,
    left_scaling,
    manifest,
    with_hashes,
)
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH


def built(keda: bool = False, **options: Any) -> dict[str, Any]:
    defaults = {
        "name": "llama",
        "namespace": "models",
        "deployment_mode": "Standard",
        "model_format": "vLLM",
        "storage_uri": "s3://models/llama",
        "gpu_resource": "nvidia.com/gpu",
    }
    return manifest({**defaults, **options}, keda=keda)


def predictor(**options: Any) -> dict[str, Any]:
    found = built(**options)["spec"]["predictor"]
    found.pop("annotations")
    return found


def annotations(**options: Any) -> dict[str, str]:
    return built(**options)["metadata"]["annotations"]


def spec_hash(**options: Any) -> str:
    return built(**options)["spec"]["predictor"]["annotations"][SPEC_HASH]


def test_smallest_service() -> None:
    assert predictor() == {"model": {"modelFormat": {"name": "vLLM"}, "storageUri": "s3://models/llama"}}
    assert annotations() == {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "none",
    }


@pytest.mark.parametrize(("given", "written"), [("RawDeployment", "Standard"), ("Serverless", "Knative")])
def test_old_mode_names_are_translated(given: str, written: str) -> None:
    assert annotations(deployment_mode=given)["serving.kserve.io/deploymentMode"] == written


def test_streams_through_knative_s_proxies_are_not_cut_off_unless_somebody_wants_it() -> None:
    name = "features.knative.dev/http-full-duplex"
    assert annotations(deployment_mode="Knative")[name] == "Enabled"
    assert annotations(deployment_mode="Knative", annotations={name: "Disabled"})[name] == "Disabled"
    assert name not in annotations()


@pytest.mark.parametrize(
    ("was", "now", "left"),
    [
        ("keda", "hpa", "ScaledObject"),
        ("keda", "none", "ScaledObject"),
        ("hpa", "keda", "HorizontalPodAutoscaler"),
        # KServe makes one where no class is named.
        (None, "keda", "HorizontalPodAutoscaler"),
        ("hpa", "none", ""),
        ("none", "keda", ""),
        ("keda", "keda", ""),
    ],
)
def test_an_autoscaler_that_kserve_leaves_is_known(was: str | None, now: str, left: str) -> None:
    def service(class_: str | None) -> dict[str, Any]:
        return {"metadata": {"annotations": {AUTOSCALER_CLASS: class_} if class_ else {}}}

    assert left_scaling(service(was), service(now)) == left


def test_gpus_are_limits_and_requests() -> None:
    resources = predictor(gpus=2, resources={"requests": {"cpu": "4"}})["model"]["resources"]
    assert resources == {"requests": {"cpu": "4", "nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
    mig = predictor(gpus=1, gpu_resource="nvidia.com/mig-1g.10gb")["model"]["resources"]
    assert mig["limits"] == {"nvidia.com/mig-1g.10gb": "1"}


def test_gpus_that_contradict_resources() -> None:
    with pytest.raises(OptionError, match=r"gpus is 2, but resources.limits has nvidia.com/gpu: 4"):
        built(gpus=2, resources={"limits": {"nvidia.com/gpu": 4}})


def test_shared_memory_is_a_volume_in_memory() -> None:
    found = predictor(shared_memory="16Gi", volume_mounts=[{"name": "x", "mountPath": "/x"}], volumes=[{"name": "x"}])
    assert found["volumes"] == [
        {"name": "x"},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
    ]
    assert found["model"]["volumeMounts"][1] == {"name": "shared-memory", "mountPath": "/dev/shm"}


def test_pod_options_go_to_the_predictor() -> None:
    found = predictor(
        service_account="storage",
        image_pull_secrets=["a"],
        node_selector={"x": "y"},
        termination_grace_period_seconds=90,
    )
    assert found["serviceAccountName"] == "storage"
    assert found["imagePullSecrets"] == [{"name": "a"}]
    assert (found["nodeSelector"], found["terminationGracePeriodSeconds"]) == ({"x": "y"}, 90)


def test_transformer_and_worker() -> None:
    spec = built(transformer={"containers": [{"name": "t"}], "min_replicas": 2}, worker={"pipeline_parallel_size": 2})[
        "spec"
    ]
    spec["transformer"].pop("annotations")
    assert spec["transformer"] == {"containers": [{"name": "t"}], "minReplicas": 2}
    assert spec["predictor"]["workerSpec"] == {"pipelineParallelSize": 2}


def test_stopped_is_an_annotation_that_present_leaves_out() -> None:
    assert annotations(state="stopped")["serving.kserve.io/stop"] == "true"
    assert "serving.kserve.io/stop" not in annotations(state="present")


# Scaling


def test_fixed_replicas() -> None:
    found = predictor(replicas=3)
    assert (found["minReplicas"], found["maxReplicas"]) == (3, 3)
    assert annotations(replicas=3)["serving.kserve.io/autoscalerClass"] == "none"
    with pytest.raises(OptionError, match="replicas is a fixed number"):
        built(replicas=3, scale_metric="cpu")


@pytest.mark.parametrize(
    ("options", "class_"),
    [
        ({"min_replicas": 2}, "none"),
        ({"max_replicas": 3}, "hpa"),
        ({"scale_metric": "cpu"}, "hpa"),
        ({"auto_scaling": {"metrics": []}, "autoscaler_class": "keda"}, "keda"),
        ({"max_replicas": 3, "autoscaler_class": "external"}, "external"),
    ],
)
def test_autoscaler_class_follows_what_is_asked_for(options: dict[str, Any], class_: str) -> None:
    assert annotations(**options)["serving.kserve.io/autoscalerClass"] == class_


def test_guide_s_concurrency_becomes_keda_on_the_engine_s_metric() -> None:
    options = {
        "keda": True,
        "deployment_mode": "RawDeployment",
        "scale_metric": "concurrency",
        "scale_target": 60,
        "min_replicas": 1,
        "max_replicas": 10,
        "prometheus_url": "http://prometheus:9090",
    }
    found = predictor(**options)
    assert annotations(**options)["serving.kserve.io/autoscalerClass"] == "keda"
    external = found["autoScaling"]["metrics"][0]["external"]
    assert external["target"] == {"type": "Value", "value": "60"}
    assert external["metric"]["query"] == (
        'sum(vllm:num_requests_running{namespace="models",pod=~"llama-predictor-.*"}) + '
        'sum(vllm:num_requests_waiting{namespace="models",pod=~"llama-predictor-.*"})'
    )
    assert "scaleMetric" not in found
    assert "scaleTarget" not in found


@pytest.mark.parametrize("metric", sorted(ENGINE_METRICS))
def test_a_metric_of_the_engine_is_summed_as_keda_divides_it_by_the_pods(metric: str) -> None:
    found = predictor(keda=True, scale_metric=metric, scale_target=80, prometheus_url="http://prometheus:9090")
    query = found["autoScaling"]["metrics"][0]["external"]["metric"]["query"]
    assert re.fullmatch(r"(?:100 \* )?sum\(.+\)", query)
    assert "avg" not in query


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scale_metric": "concurrency"}, "needs KEDA, which this cluster does not have. Install KEDA"),
        (
            {"scale_metric": "concurrency", "autoscaler_class": "hpa"},
            "KServe refuses scale_metric: concurrency with autoscaler_class: hpa",
        ),
        ({"scale_metric": "waiting_requests", "keda": True}, "give prometheus_url"),
        ({"scale_metric": "waiting_requests", "keda": True, "prometheus_url": "http://p"}, "needs scale_target"),
        ({"scale_metric": "cpu", "autoscaler_class": "none"}, "needs autoscaler_class: hpa or keda"),
        ({"scale_metric": "cpu", "deployment_mode": "Knative"}, "does not work with deployment_mode: Knative"),
        ({"autoscaler_class": "hpa", "deployment_mode": "Knative"}, "Knative scales by itself"),
    ],
)
def test_scaling_that_cannot_work_is_told_with_the_way_out(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        built(**options)


def test_knative_keeps_kserve_s_metric() -> None:
    options = {"deployment_mode": "Serverless", "scale_metric": "concurrency", "scale_target": 10}
    assert (predictor(**options)["scaleMetric"], predictor(**options)["scaleTarget"]) == ("concurrency", 10)
    assert "serving.kserve.io/autoscalerClass" not in annotations(**options)


def test_cpu_with_keda_is_a_resource_metric() -> None:
    metric = predictor(scale_metric="cpu", scale_target=70, autoscaler_class="keda")["autoScaling"]["metrics"][0]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}


# definition


def test_definition_adds_what_no_option_says() -> None:
    found = built(definition={"metadata": {"labels": {"team": "a"}}, "spec": {"predictor": {"hostIPC": True}}})
    assert found["metadata"]["labels"] == {"team": "a"}
    assert found["spec"]["predictor"]["hostIPC"] is True
    assert found["spec"]["predictor"]["model"]["storageUri"] == "s3://models/llama"


def test_definition_may_repeat_but_not_contradict_options() -> None:
    same = {"spec": {"predictor": {"model": {"storageUri": "s3://models/llama"}}}}
    assert built(definition=same)["spec"]["predictor"]["model"]["storageUri"] == "s3://models/llama"
    other = {"spec": {"predictor": {"model": {"storageUri": "s3://models/other"}}}}
    with pytest.raises(
        OptionError, match=r"definition has spec.predictor.model.storageUri: .*other.*, the options say"
    ):
        built(definition=other)


# The hash


def test_hash_changes_with_the_pods_and_not_with_scaling() -> None:
    same = spec_hash()
    assert spec_hash(replicas=2) == same
    assert spec_hash(min_replicas=2) == same
    assert spec_hash(deployment_strategy={"type": "Recreate"}) == same
    assert spec_hash(state="stopped") == same
    scaled = spec_hash(max_replicas=5)
    assert spec_hash(max_replicas=6, scale_metric="cpu", scale_target=50) == scaled
    assert spec_hash(args=["--x"]) != same
    assert spec_hash(node_selector={"a": "b"}) != same
    assert spec_hash(pod_annotations={"a": "b"}) != same


def test_hash_changes_with_what_kserve_copies_to_the_pods() -> None:
    same = spec_hash()
    assert spec_hash(labels={"a": "b"}) != same
    assert spec_hash(annotations={"a": "b"}) != same
    assert spec_hash(max_replicas=5) != same, "the autoscaler class is an annotation that the pods carry"
    assert spec_hash(annotations={"autoscaling.knative.dev/min-scale": "1"}) == same
    assert spec_hash(labels={"networking.knative.dev/visibility": "cluster-local"}) == same


def test_storage_secret_is_named_as_both_ways_to_install_kserve_read_it() -> None:
    found = annotations(storage_secret="keys")
    assert found["serving.kserve.io/secretName"] == found["serving.kserve.io/storageSecretName"] == "keys"


def test_hash_of_a_hashed_service_is_the_same() -> None:
    once = built(pod_annotations={"a": "b"})
    assert with_hashes(once) == once
    assert with_hashes(built()) == built()


def test_each_component_has_its_own_hash() -> None:
    with_transformer = built(transformer={"containers": [{"name": "t"}]})
    assert with_transformer["spec"]["transformer"]["annotations"][SPEC_HASH] != spec_hash()
    assert with_transformer["spec"]["predictor"]["annotations"][SPEC_HASH] == spec_hash()

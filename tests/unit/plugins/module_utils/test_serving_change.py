# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import OptionError, with_hashes
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH
from ansible_collections.llmstack.serving.plugins.module_utils._serving_change import (
    gone_back,
    missing,
    same_pods,
    scaled,
    taken_back,
    updated,
)
from ansible_collections.llmstack.serving.plugins.module_utils._serving_history import revision

ME = "llmstack.serving"
STOP = "serving.kserve.io/stop"
# What the manager has sent; the API server and a colleague have added the rest.
SENT: dict[str, Any] = with_hashes(
    {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "llama",
            "namespace": "models",
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "model": {
                    "modelFormat": {"name": "vLLM"},
                    "storageUri": "s3://m/one",
                    "args": ["--a"],
                    "env": [{"name": "A", "value": "1"}],
                },
            }
        },
    }
)
FIELDS = {
    "f:metadata": {
        "f:annotations": {
            ".": {},
            "f:serving.kserve.io/deploymentMode": {},
            "f:serving.kserve.io/autoscalerClass": {},
        }
    },
    "f:spec": {
        "f:predictor": {
            "f:annotations": {f"f:{SPEC_HASH}": {}},
            "f:minReplicas": {},
            "f:model": {
                "f:modelFormat": {"f:name": {}},
                "f:storageUri": {},
                "f:args": {},
                "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
            },
        }
    },
}


def service(**annotations: str) -> dict[str, Any]:
    live = copy.deepcopy(SENT)
    live["metadata"] |= {"uid": "u", "generation": 3, "labels": {"team": "of-somebody-else"}}
    live["metadata"]["annotations"] |= annotations
    live["metadata"]["managedFields"] = [
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:predictor": {"f:timeout": {}}}}},
        {"manager": ME, "operation": "Apply", "fieldsV1": FIELDS},
    ]
    predictor = live["spec"]["predictor"]
    predictor["timeout"] = 60
    predictor["model"]["env"].append({"name": "B", "value": "of somebody else"})
    predictor["model"]["protocolVersion"] = "v2"
    return live


def test_scaling_sends_what_was_sent_with_other_numbers() -> None:
    expected = copy.deepcopy(SENT)
    expected["spec"]["predictor"] |= {"minReplicas": 5, "maxReplicas": 5}
    assert scaled(service(), ME, replicas=5) == expected
    expected["spec"]["predictor"] |= {"minReplicas": 1, "maxReplicas": 20}
    assert scaled(service(), ME, max_replicas=20) == expected


def test_scaling_of_a_service_of_somebody_else_claims_the_numbers_only() -> None:
    found = scaled(service(), "another", min_replicas=2, max_replicas=3)
    assert found["spec"] == {"predictor": {"minReplicas": 2, "maxReplicas": 3}}
    assert found["metadata"] == {"name": "llama", "namespace": "models"}


def test_stopping_is_an_annotation_and_starting_takes_it_away() -> None:
    stopped = scaled(service(), ME, state="stopped")
    assert stopped["metadata"]["annotations"][STOP] == "true"
    assert stopped["spec"] == SENT["spec"], "no pod template changes"
    mine = service(**{STOP: "true"})
    mine["metadata"]["managedFields"][1] = {
        "manager": ME,
        "operation": "Apply",
        "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{STOP}": {}}}, "f:spec": FIELDS["f:spec"]},
    }
    assert STOP not in scaled(mine, ME, state="started")["metadata"]["annotations"]


def test_what_somebody_else_stopped_is_started_by_a_value() -> None:
    """Leaving the annotation out would change nothing: the other manager keeps it."""
    found = scaled(service(**{STOP: "true"}), ME, state="started")
    assert found["metadata"]["annotations"][STOP] == "false"
    assert STOP not in scaled(service(), ME, state="started")["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("annotations", "options", "text"),
    [
        ({}, {"replicas": -1}, "min_replicas must not be negative"),
        ({}, {"min_replicas": 3, "max_replicas": 2}, "min_replicas would be 3, max_replicas 2: give both."),
        ({}, {"replicas": 0}, "state: stopped"),
        ({"serving.kserve.io/autoscalerClass": "external"}, {"replicas": 2}, "scale there"),
    ],
)
def test_what_cannot_work_is_refused(annotations: dict[str, str], options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        scaled(service(**annotations), ME, **options)


def test_scaling_to_zero_works_with_keda() -> None:
    found = scaled(service(**{"serving.kserve.io/autoscalerClass": "keda"}), ME, min_replicas=0)
    assert found["spec"]["predictor"]["minReplicas"] == 0


def test_an_update_changes_the_given_fields_and_so_the_pods() -> None:
    found = updated(service(), ME, {"storage_uri": "s3://m/two", "args": ["--b"], "image": None})
    assert found["spec"]["predictor"]["model"] == {
        **SENT["spec"]["predictor"]["model"],
        "storageUri": "s3://m/two",
        "args": ["--b"],
    }
    old, new = (each["spec"]["predictor"]["annotations"][SPEC_HASH] for each in (SENT, found))
    assert old != new


def test_an_update_to_what_it_is_changes_nothing() -> None:
    assert updated(service(), ME, {"storage_uri": "s3://m/one"}) == SENT


def test_taking_back_sends_what_was_sent_before() -> None:
    assert taken_back(service(), ME) == SENT


def test_taking_back_restores_values_that_others_owned() -> None:
    """With force_conflicts an update takes a field over; leaving it out would then remove it."""
    live = service()
    live["spec"]["predictor"]["model"]["image"] = "of somebody else"
    assert taken_back(live, ME)["spec"]["predictor"]["model"]["image"] == "of somebody else"
    found = taken_back(service(), "another")
    assert found["spec"]["predictor"]["model"] == {"args": ["--a"], "storageUri": "s3://m/one"}
    assert "annotations" not in found["metadata"]


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ({}, {}, "give at least one of args, image, runtime"),
        ({"model": None, "containers": [{}]}, {"image": "x"}, "containers of its own"),
        ({"model": {"storage": {"key": "k"}}}, {"storage_uri": "s3://x"}, "storage-config"),
    ],
)
def test_an_update_that_cannot_work(change: dict[str, Any], options: dict[str, Any], text: str) -> None:
    live = service()
    live["spec"]["predictor"] |= change
    with pytest.raises(OptionError, match=text):
        updated(live, ME, options)


def remembered(**predictor: Any) -> dict[str, Any]:
    old = service()
    old["spec"]["predictor"] |= predictor
    return revision(old, changed_at="then", changed_by="me")


def test_going_back_keeps_scaling_and_stopping_as_they_are() -> None:
    now = service(**{STOP: "true", "serving.kserve.io/autoscalerClass": "hpa"})
    now["spec"]["predictor"] |= {"minReplicas": 4, "maxReplicas": 9, "model": {"storageUri": "s3://m/two"}}
    found = gone_back(remembered(), now, scaling=False)
    assert found["spec"]["predictor"]["model"]["storageUri"] == "s3://m/one"
    assert (found["spec"]["predictor"]["minReplicas"], found["spec"]["predictor"]["maxReplicas"]) == (4, 9)
    assert found["metadata"]["annotations"][STOP] == "true"
    assert found["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"


def test_going_back_with_scaling_restores_all_but_the_stop() -> None:
    now = service()
    now["spec"]["predictor"] |= {"minReplicas": 4, "maxReplicas": 9}
    found = gone_back(remembered(), now, scaling=True)
    assert found["spec"] == remembered()["data"]["spec"]
    assert found["metadata"]["annotations"] == SENT["metadata"]["annotations"]


def test_going_back_leaves_kubectls_own_annotation() -> None:
    old = service(**{"kubectl.kubernetes.io/last-applied-configuration": "{}"})
    found = gone_back(revision(old, changed_at="then", changed_by="me"), service(), scaling=False)
    assert "kubectl.kubernetes.io/last-applied-configuration" not in found["metadata"]["annotations"]


def test_going_back_to_what_had_no_hash_gets_one() -> None:
    """Without it nothing would tell that KServe has seen the change."""
    found = gone_back(remembered(annotations={}), service(), scaling=False)
    assert found["spec"]["predictor"]["annotations"][SPEC_HASH]


def test_pods_are_the_same_whatever_scales_and_whoever_hashed() -> None:
    spec = service()["spec"]
    assert same_pods(spec, remembered(minReplicas=7, annotations={SPEC_HASH: "other"})["data"]["spec"])
    assert not same_pods(spec, remembered(timeout=60, model={"storageUri": "s3://m/two"})["data"]["spec"])


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("lama", ["llama", "qwen"], "none of that name. Did you mean llama? Namespace m has: llama, qwen."),
        ("", ["qwen"], "give its name. Namespace m has: qwen."),
        ("x", [], "Namespace m has no InferenceService at all"),
    ],
)
def test_a_missing_service_is_named_with_those_that_are_there(name: str, names: list[str], text: str) -> None:
    assert text in missing(name, "m", names)

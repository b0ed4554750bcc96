# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import Connection
from ansible_collections.llmstack.serving.plugins.module_utils._kube_history import record
from ansible_collections.llmstack.serving.plugins.module_utils._serving_history import (
    KEPT,
    of_service,
    revision,
    surplus,
)


def service(generation: int, uid: str = "u", uri: str = "s3://m/a") -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "llama",
            "namespace": "models",
            "uid": uid,
            "generation": generation,
            "resourceVersion": "9",
            "labels": {"team": "a"},
        },
        "spec": {"predictor": {"model": {"storageUri": uri}}},
        "status": {"url": "x"},
    }


def made(generation: int, uid: str = "u") -> dict[str, Any]:
    return revision(service(generation, uid), changed_at="2026-01-01T00:00:00+00:00", changed_by="me@here")


def test_revision_has_all_that_is_needed_to_go_back() -> None:
    found = made(3)
    assert found["metadata"]["name"] == "llama-3"
    assert found["revision"] == 3
    assert found["data"] == {
        "spec": {"predictor": {"model": {"storageUri": "s3://m/a"}}},
        "metadata": {"annotations": {}, "labels": {"team": "a"}},
    }
    assert found["metadata"]["annotations"] == {
        "llmstack.serving/changed-at": "2026-01-01T00:00:00+00:00",
        "llmstack.serving/changed-by": "me@here",
        "llmstack.serving/storage-uri": "s3://m/a",
    }
    assert found["metadata"]["ownerReferences"][0]["uid"] == "u", "goes with its InferenceService"


def test_revisions_of_a_former_service_of_the_same_name_do_not_count() -> None:
    assert of_service([made(2), made(1, uid="former"), made(1)], service(3)) == [made(1), made(2)]


def test_only_the_newest_are_kept() -> None:
    own = [made(number) for number in range(1, KEPT + 3)]
    assert surplus(own) == ["llama-1", "llama-2"]
    assert surplus(own[:KEPT]) == []


def test_record_adds_what_was_before_once_and_removes_the_oldest(api: Any) -> None:
    kube = Kube(Connection(host=api.url, source="test"))
    record(kube, service(1), service(2), "me")
    names = sorted(path.rpartition("/")[2] for path in api.objects)
    assert names == ["llama-1", "llama-2"]
    for generation in range(3, KEPT + 3):
        record(kube, service(generation - 1), service(generation), "me")
    numbers = sorted(each["revision"] for each in api.objects.values())
    assert numbers == list(range(3, KEPT + 3))
    before = len(api.writes)
    record(kube, service(KEPT + 2), service(KEPT + 2), "me")
    assert len(api.writes) == before

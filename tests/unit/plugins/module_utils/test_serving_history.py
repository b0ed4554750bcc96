# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import Connection
from ansible_collections.llmstack.serving.plugins.module_utils._kube_history import record
from ansible_collections.llmstack.serving.plugins.module_utils._serving_history import (
    FAILED,
    KEPT,
    chosen,
    none_to_choose,
    of_service,
    previous,
    revision,
    surplus,
    told,
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


def with_uri(generation: int, uri: str, **annotations: str) -> dict[str, Any]:
    found = revision(service(generation, uri=uri), changed_at="then", changed_by="me")
    found["metadata"]["annotations"] |= annotations
    return found


def test_the_one_to_go_back_to_has_other_pods_and_served() -> None:
    now = service(6, uri="s3://m/a")
    own = [
        with_uri(1, "s3://m/0"),
        with_uri(2, "s3://m/b"),
        with_uri(3, "s3://m/c", **{FAILED: "no such model"}),
        with_uri(5, "s3://m/a"),
        with_uri(6, "s3://m/a"),
    ]
    found = previous(own, now)
    assert found is not None
    assert found["revision"] == 2
    assert chosen(own, now, None) == found
    assert chosen(own, now, 3) == own[2], "who names a revision gets it"
    assert previous(own[2:], now) is None


def test_nothing_to_go_back_to_is_explained() -> None:
    own = [with_uri(5, "s3://m/a"), with_uri(6, "s3://m/a")]
    now = service(6, uri="s3://m/a")
    assert chosen(own, now, 9) is None
    assert none_to_choose(own, now, 9) == "there is no revision 9. Remembered are: 5, 6."
    assert "no earlier revision made other pods" in none_to_choose(own, now, None)
    assert "has not changed it since it was created" in none_to_choose([], now, None)


def test_revisions_are_told_newest_first() -> None:
    found = told([with_uri(1, "s3://m/0"), with_uri(2, "s3://m/a", **{FAILED: "why"})], service(2))
    assert [(each["revision"], each["current"], each["storage_uri"], each["failed"]) for each in found] == [
        (2, True, "s3://m/a", "why"),
        (1, False, "s3://m/0", None),
    ]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.modules import apply

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "models"}, "data": {"a": "1"}}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s", "namespace": "models"},
    "stringData": {"token": "hf_verysecret"},
}
WIDGET = {
    "apiVersion": "example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "w", "namespace": "models"},
    "spec": {"size": 1},
}
CONFIG_PATH = "/api/v1/namespaces/models/configmaps/c"
NAMESPACE_PATH = "/api/v1/namespaces/models"


@pytest.fixture
def run(run_module: Any) -> Any:
    return functools.partial(run_module, apply)


def actions(result: dict[str, Any]) -> list[str]:
    return [entry["action"] for entry in result["objects"]]


def test_creates_in_order_then_leaves_alone(api: Any, run: Any) -> None:
    api.on_write = lambda path, manifest: (
        api.put(path, {**manifest, "status": {"phase": "Active"}}) if manifest["kind"] == "Namespace" else None
    )
    first = run(definitions=[NAMESPACE, CONFIG])
    assert first["changed"] is True
    assert actions(first) == ["created", "created"]
    assert api.writes == [("PATCH", NAMESPACE_PATH), ("PATCH", CONFIG_PATH)]
    api.requests.clear()
    second = run(definitions=[NAMESPACE, CONFIG])
    assert second["changed"] is False
    assert actions(second) == ["unchanged", "unchanged"]
    assert api.writes == []
    asked = [request for request in api.requests if "watch" not in request[2]]
    assert len(asked) == 4, "one read and one dry run per object"


def test_returns_object_without_managed_fields(api: Any, run: Any) -> None:
    entry = run(definitions=[CONFIG])["objects"][0]
    assert (entry["api_version"], entry["kind"], entry["namespace"], entry["name"]) == (
        "v1",
        "ConfigMap",
        "models",
        "c",
    )
    assert entry["resource"]["data"] == {"a": "1"}
    assert "managedFields" not in entry["resource"]["metadata"]


def test_status_written_by_controller_is_no_change(api: Any, run: Any) -> None:
    run(definitions=[CONFIG])
    live = api.objects[CONFIG_PATH]
    api.put(CONFIG_PATH, {**live, "status": {"ticks": 7}})
    assert run(definitions=[CONFIG])["changed"] is False


def test_update_shows_in_diff(api: Any, run: Any) -> None:
    run(definitions=[CONFIG])
    result = run(definitions=[{**CONFIG, "data": {"a": "2"}}])
    assert actions(result) == ["updated"]
    assert result["diff"]["before"]["ConfigMap models/c"]["data"] == {"a": "1"}
    assert result["diff"]["after"]["ConfigMap models/c"]["data"] == {"a": "2"}


def test_check_mode_writes_nothing(api: Any, run: Any) -> None:
    assert actions(run(check=True, definitions=[CONFIG])) == ["created"]
    assert api.writes == []
    run(definitions=[CONFIG])
    api.requests.clear()
    assert run(check=True, definitions=[CONFIG])["changed"] is False
    assert actions(run(check=True, definitions=[{**CONFIG, "data": {"a": "2"}}])) == ["updated"]
    assert actions(run(check=True, state="absent", definitions=[CONFIG])) == ["deleted"]
    assert api.writes == []
    assert CONFIG_PATH in api.objects


def test_check_mode_predicts_kind_that_is_not_served(api: Any, run: Any) -> None:
    api.served_groups.clear()
    result = run(check=True, definitions=[WIDGET])
    assert actions(result) == ["created"]
    assert "does not serve this kind" in result["warnings"][0]
    assert "predicts" in result["warnings"][0]


def test_check_mode_predicts_in_missing_namespace(api: Any, run: Any) -> None:
    api.planned[("PATCH", CONFIG_PATH)] = [
        (404, {"message": 'namespaces "models" not found', "details": {"name": "models", "kind": "namespaces"}})
    ]
    result = run(check=True, definitions=[CONFIG])
    assert actions(result) == ["created"]
    assert "namespace 'models' does not exist" in result["warnings"][0]


def test_check_mode_needs_no_warning_for_namespace_of_same_list(api: Any, run: Any) -> None:
    api.planned[("PATCH", CONFIG_PATH)] = [
        (404, {"message": 'namespaces "models" not found', "details": {"name": "models", "kind": "namespaces"}})
    ]
    result = run(check=True, definitions=[NAMESPACE, CONFIG])
    assert actions(result) == ["created", "created"]
    assert result["warnings"] == []


def test_check_mode_survives_webhook_that_does_not_answer(api: Any, run: Any) -> None:
    run(definitions=[CONFIG])
    message = 'Internal error occurred: failed calling webhook "v.example.com": connect: connection refused'
    api.planned[("PATCH", CONFIG_PATH)] = [(500, {"message": message, "reason": "InternalError"})] * 2
    changed = run(check=True, definitions=[{**CONFIG, "data": {"a": "2"}}])
    assert actions(changed) == ["updated"]
    assert "v.example.com" in changed["warnings"][0]
    assert actions(run(check=True, definitions=[CONFIG])) == ["unchanged"]


def test_webhook_that_does_not_answer_yet_is_tried_again(api: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.llmstack.serving.plugins.module_utils._kube_apply._RETRY_SECONDS", 0.01)
    message = 'failed calling webhook "v.example.com": no endpoints available for service "x"'
    api.planned[("PATCH", CONFIG_PATH)] = [(500, {"message": message, "reason": "InternalError"})] * 3
    assert actions(run(definitions=[CONFIG])) == ["created"]


def test_webhook_that_does_not_answer_fails_without_wait(api: Any, run: Any) -> None:
    message = 'failed calling webhook "v.example.com": no endpoints available for service "x"'
    api.planned[("PATCH", CONFIG_PATH)] = [(500, {"message": message, "reason": "InternalError"})]
    result = run(wait=False, definitions=[CONFIG])
    assert result["failed"] is True
    assert "v.example.com does not answer" in result["msg"]


def test_bad_definitions_fail_before_anything_is_sent(api: Any, run: Any) -> None:
    result = run(definitions=[CONFIG, CONFIG, {"kind": "ConfigMap", "metadata": {"name": 7}}])
    assert result["failed"] is True
    assert "definitions[1] (ConfigMap c) is the same object as definitions[0]" in result["msg"]
    assert "definitions[2] (ConfigMap 7) has no apiVersion" in result["msg"]
    assert "metadata.name must be a string" in result["msg"]
    assert api.requests == []


def test_failure_in_the_middle_says_what_was_done(api: Any, run: Any) -> None:
    path = "/api/v1/namespaces/models/configmaps/d"
    api.planned[("PATCH", path)] = [(422, {"message": "data: Invalid value", "details": {"name": "d"}})]
    result = run(definitions=[CONFIG, {**CONFIG, "metadata": {"name": "d", "namespace": "models"}}])
    assert result["failed"] is True
    assert "Done before this failure: created ConfigMap models/c." in result["msg"]
    assert (result["changed"], actions(result)) == (True, ["created"])


def test_deletes_in_reverse_order_and_only_once(api: Any, run: Any) -> None:
    other = {**CONFIG, "metadata": {"name": "d", "namespace": "models"}}
    run(definitions=[CONFIG, other])
    api.requests.clear()
    result = run(state="absent", definitions=[CONFIG, other])
    assert [entry["name"] for entry in result["objects"]] == ["d", "c"]
    assert actions(result) == ["deleted", "deleted"]
    assert api.objects == {}
    again = run(state="absent", definitions=[CONFIG, other])
    assert (again["changed"], actions(again)) == (False, ["unchanged", "unchanged"])


def test_never_deletes_what_it_did_not_create(api: Any, run: Any) -> None:
    api.put(CONFIG_PATH, CONFIG)
    run(definitions=[{**CONFIG, "data": {"a": "2"}}])
    result = run(state="absent", definitions=[CONFIG])
    assert result["changed"] is False
    assert "was not created by llmstack.serving" in result["warnings"][0]
    assert CONFIG_PATH in api.objects


def test_waits_until_definition_of_kind_is_established(api: Any, run: Any) -> None:
    import threading

    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }
    order: list[str] = []

    def establish(path: str, manifest: dict[str, Any]) -> None:
        order.append(f"wrote {manifest['kind']}")
        if manifest["kind"] == "CustomResourceDefinition" and "status" not in manifest:

            def later() -> None:
                order.append("established")
                api.put(path, {**manifest, "status": {"conditions": [{"type": "Established", "status": "True"}]}})

            threading.Timer(0.3, later).start()

    api.on_write = establish
    api.served_groups.clear()
    result = run(definitions=[definition, WIDGET], wait=False)
    assert actions(result) == ["created", "created"]
    assert order == ["wrote CustomResourceDefinition", "established", "wrote Widget"]


def test_check_mode_knows_kinds_that_the_same_list_defines(api: Any, run: Any) -> None:
    api.served_groups.clear()
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1"}],
        },
    }
    result = run(check=True, definitions=[definition, WIDGET])
    assert actions(result) == ["created", "created"]
    assert result["warnings"] == []


def test_wait_returns_object_as_served_last(api: Any, run: Any) -> None:
    import threading

    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "e", "namespace": "models"},
        "spec": {"replicas": 1},
    }

    def roll_out(path: str, manifest: dict[str, Any]) -> None:
        done = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        threading.Timer(0.2, lambda: api.put(path, {**manifest, "status": done})).start()

    api.on_write = roll_out
    result = run(definitions=[deployment])
    assert result["objects"][0]["resource"]["status"]["availableReplicas"] == 1


def test_timeout_says_what_each_object_lacks(api: Any, run: Any) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "e", "namespace": "models"},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1},
    }
    result = run(definitions=[deployment], wait_timeout=1)
    assert result["failed"] is True
    assert result["msg"].startswith(
        "Not ready after 1 s (wait_timeout): Deployment models/e: 1 of 2 pods are available."
    )
    assert (result["changed"], actions(result)) == (True, ["created"])


def test_failure_ends_the_wait_at_once(api: Any, run: Any) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "e", "namespace": "models"},
        "spec": {"replicas": 2},
        "status": {
            "observedGeneration": 1,
            "conditions": [
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
            ],
        },
    }
    result = run(definitions=[deployment], wait_timeout=60)
    assert "Failed: Deployment models/e: ReplicaFailure is True (FailedCreate): exceeded quota" in result["msg"]


def test_secrets_are_masked_everywhere(api: Any, run: Any) -> None:
    first = json.dumps(run(definitions=[SECRET]))
    assert "hf_verysecret" not in first
    changed = run(definitions=[{**SECRET, "stringData": {"token": "hf_othersecret"}}])
    assert changed["changed"] is True
    assert "secret" not in json.dumps(changed["diff"]).replace("Secret", "")
    assert "hf_othersecret" not in json.dumps(changed)


def test_conflict_names_manager_fields_and_way_out(api: Any, run: Any) -> None:
    api.put(CONFIG_PATH, CONFIG)
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data.a"}
    body = {
        "message": "Apply failed with 1 conflict",
        "reason": "Conflict",
        "details": {"name": "c", "causes": [cause]},
    }
    api.planned[("PATCH", CONFIG_PATH)] = [(409, body)]
    result = run(definitions=[{**CONFIG, "data": {"a": "2"}}])
    assert "'kubectl' manages .data.a" in result["msg"]
    assert "force_conflicts: true" in result["msg"]

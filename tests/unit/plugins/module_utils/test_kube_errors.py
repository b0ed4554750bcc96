# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors

SUBJECT = "Deployment models/engine"


def error(code: int, message: str, reason: str = "", **details: Any) -> errors.KubeError:
    return errors.from_status(code, {"message": message, "reason": reason, "details": details}, SUBJECT)


def test_expired_credentials_say_where_to_look() -> None:
    found = error(401, "Unauthorized", "Unauthorized")
    assert isinstance(found, errors.Unauthorized)
    assert "token or certificate of the kubeconfig" in str(found)


def test_missing_permission_names_user_verb_and_resource() -> None:
    found = error(
        403,
        'deployments.apps "engine" is forbidden: User "bob" cannot patch resource "deployments" in API group "apps" '
        'in the namespace "models"',
        "Forbidden",
        name="engine",
    )
    assert isinstance(found, errors.Forbidden)
    assert 'bob is not allowed to patch deployments.apps in the namespace "models"' in str(found)
    assert "Grant the verb 'patch' on 'deployments.apps'" in str(found)


def test_permission_on_core_resource_has_no_group() -> None:
    found = error(
        403, 'secrets is forbidden: User "bob" cannot list resource "secrets" in API group "" in the namespace "m"'
    )
    assert "bob is not allowed to list secrets in the namespace" in str(found)


def test_namespace_in_deletion_is_told_apart_from_permissions() -> None:
    found = error(403, "forbidden", "Forbidden", causes=[{"reason": "NamespaceTerminating"}])
    assert "its namespace is being deleted" in str(found)


@pytest.mark.parametrize(
    ("details", "kind", "text"),
    [
        ({"name": "models", "kind": "namespaces"}, errors.NamespaceNotFound, "namespace 'models' does not exist"),
        ({"name": "engine", "kind": "deployments"}, errors.NotFound, "not found"),
        ({}, errors.KindNotFound, "does not serve this kind"),
    ],
)
def test_three_meanings_of_404(details: dict[str, str], kind: type, text: str) -> None:
    found = error(404, "not found", "NotFound", **details)
    assert found.__class__ is kind, "a more general meaning is another one"
    assert text in str(found)


def test_namespace_that_was_asked_for_itself_is_just_not_found() -> None:
    details = {"name": "models", "kind": "namespaces"}
    found = errors.from_status(
        404, {"message": 'namespaces "models" not found', "details": details}, "Namespace models"
    )
    assert type(found) is errors.NotFound


def test_conflict_lists_fields_by_manager() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        },
        {"reason": "FieldManagerConflict", "message": 'conflict with "helm" using apps/v1', "field": ".spec.paused"},
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.strategy",
        },
    ]
    found = error(409, "Apply failed with 3 conflicts", "Conflict", causes=causes)
    assert isinstance(found, errors.Conflict)
    assert found.owners == {"kubectl": [".spec.replicas", ".spec.strategy"], "helm": [".spec.paused"]}
    assert "'helm' manages .spec.paused; 'kubectl' manages .spec.replicas, .spec.strategy" in str(found)
    assert "force_conflicts: true" in str(found)


def test_overtaken_write_is_a_conflict_without_owners() -> None:
    found = error(409, "the object has been modified; please apply your changes to the latest version", "Conflict")
    assert isinstance(found, errors.Conflict)
    assert found.owners == {}


def test_unknown_fields_name_their_paths() -> None:
    found = error(
        500,
        "failed to create typed patch object (m/e; apps/v1, Kind=Deployment): "
        ".spec.replica: field not declared in schema",
    )
    assert isinstance(found, errors.Invalid)
    assert "unknown field .spec.replica." in str(found)
    both = error(
        500,
        "failed to create typed patch object (m/e; apps/v1, Kind=Deployment): errors:\n"
        '  .spec.template.spec.containers[name="m"].ressources: field not declared in schema\n'
        "  .spec.replica: field not declared in schema",
    )
    assert 'unknown fields .spec.template.spec.containers[name="m"].ressources, .spec.replica.' in str(both)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            "failed to create typed patch object (m/e; apps/v1, Kind=Deployment): "
            ".spec.replicas: expected numeric (int or float), got string",
            ": .spec.replicas: expected numeric (int or float), got string.",
        ),
        (
            "failed to convert new object (m/e; apps/v1, Kind=Deployment) to proper version: "
            "unable to convert unstructured object to apps/v1, Kind=Deployment: quantities must match the regular expression",
            "definition: unable to convert unstructured object to apps/v1, Kind=Deployment: quantities must match",
        ),
    ],
)
def test_wrong_types_are_invalid_though_the_server_answers_500(message: str, text: str) -> None:
    found = error(500, message)
    assert isinstance(found, errors.Invalid)
    assert text in str(found)


def test_invalid_values_are_listed_by_field() -> None:
    causes = [
        {"reason": "FieldValueInvalid", "message": "Invalid value: -1: must be >= 0", "field": "spec.replicas"},
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"},
    ]
    found = error(422, 'Deployment.apps "engine" is invalid', "Invalid", causes=causes, name="engine")
    assert isinstance(found, errors.Invalid)
    assert "spec.replicas: Invalid value: -1: must be >= 0; spec.selector: Required value" in str(found)


def test_denial_names_webhook_and_reason() -> None:
    found = error(
        400,
        'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '
        "[concurrency] is not a supported metric",
    )
    assert isinstance(found, errors.WebhookDenied)
    assert "inferenceservice.kserve-webhook-server.validator: [concurrency] is not a supported metric" in str(found)


@pytest.mark.parametrize(
    "message",
    [
        'Internal error occurred: failed calling webhook "w.example.com": failed to call webhook: connection refused',
        'Internal error occurred: failed calling webhook "w.example.com": no endpoints available for service "w"',
        'conversion webhook for w.example.com, Kind=Widget failed: Post "https://x": context deadline exceeded',
    ],
)
def test_webhook_that_does_not_answer_is_worth_another_try(message: str) -> None:
    found = error(500, message, "InternalError")
    assert isinstance(found, errors.WebhookUnreachable)
    assert "w.example.com" in str(found)
    assert "pods behind its Service" in str(found)


def test_webhook_without_dry_run() -> None:
    found = error(400, 'admission webhook "w.example.com" does not support dry run', "BadRequest")
    assert isinstance(found, errors.DryRunUnsupported)


def test_quota_names_quota_and_numbers() -> None:
    found = error(
        403,
        'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=4, '
        "used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8",
        "Forbidden",
    )
    assert isinstance(found, errors.QuotaExceeded)
    assert "ResourceQuota gpus" in str(found)
    assert "requested: requests.nvidia.com/gpu=4" in str(found)


@pytest.mark.parametrize("code", [429, 500, 503, 504])
def test_overload_is_unreachable(code: int) -> None:
    assert isinstance(error(code, "etcdserver: request timed out"), errors.Unreachable)


def test_forgotten_resource_version() -> None:
    assert isinstance(error(410, "too old resource version", "Expired"), errors.Gone)


def test_status_without_message_is_still_a_sentence() -> None:
    assert str(errors.from_status(418, {}, SUBJECT)) == f"{SUBJECT}: the API server answered 418: HTTP 418"

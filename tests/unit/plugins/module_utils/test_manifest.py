# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _manifest

CONFIG: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "m"}}
SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s"},
    "data": {"a": "b2xkdmFsdWU=", "b": "x"},
}


def test_good_definitions_have_no_problems() -> None:
    other_namespace = {**CONFIG, "metadata": {"name": "c", "namespace": "other"}}
    assert _manifest.problems([CONFIG, other_namespace, SECRET]) == []


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ("text", "definitions[0] is not a dictionary."),
        ({}, "definitions[0] has no apiVersion."),
        ({**CONFIG, "kind": ""}, "has no kind."),
        ({**CONFIG, "metadata": {}}, "definitions[0] has no metadata.name."),
        ({**CONFIG, "metadata": None}, "definitions[0] has no metadata.name."),
        ({**CONFIG, "metadata": "c"}, "metadata is not a dictionary."),
        ({**CONFIG, "metadata": {"name": 8}}, "metadata.name must be a string, not 8. Quote it."),
        (
            {**CONFIG, "metadata": {"name": "c", "labels": {"a": True}}},
            "metadata.labels.a must be a string, not True. Quote it.",
        ),
        ({**CONFIG, "metadata": {"name": "c", "resourceVersion": "1"}}, "remove metadata.resourceVersion"),
        ({"apiVersion": "v1", "kind": "List", "metadata": {"name": "l"}, "items": []}, "is a list of objects"),
    ],
)
def test_bad_definition_is_told_in_a_sentence(definition: Any, problem: str) -> None:
    assert any(problem in found for found in _manifest.problems([definition]))


def test_same_object_in_two_versions_is_a_duplicate() -> None:
    one = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    assert _manifest.problems([one, {**one, "apiVersion": "example.com/v2"}]) == [
        "definitions[1] (Widget w) is the same object as definitions[0]."
    ]


def test_state_leaves_out_what_the_server_writes() -> None:
    served = {
        **CONFIG,
        "metadata": {
            **CONFIG["metadata"],
            "uid": "u",
            "resourceVersion": "1",
            "generation": 3,
            "managedFields": [],
            "labels": {"a": "b"},
        },
        "data": {"k": "v"},
        "status": {"x": 1},
    }
    assert _manifest.state(served) == {
        **CONFIG,
        "metadata": {"name": "c", "namespace": "m", "labels": {"a": "b"}},
        "data": {"k": "v"},
    }
    assert _manifest.state(None) == {}


def test_overlay_keeps_what_is_not_described_and_replaces_lists() -> None:
    live = {"a": {"x": 1, "y": 2}, "l": [1, 2], "keep": True}
    assert _manifest.overlay(live, {"a": {"y": 3}, "l": [9]}) == {"a": {"x": 1, "y": 3}, "l": [9], "keep": True}
    assert live["a"] == {"x": 1, "y": 2}


def test_mark_of_the_creator() -> None:
    marked = _manifest.with_created_by(CONFIG, "me")
    assert _manifest.created_by(marked) == "me"
    assert _manifest.created_by(CONFIG) is None
    assert _manifest.created_by({"metadata": {"annotations": None}}) is None
    assert "annotations" not in CONFIG["metadata"]


def test_secrets_are_masked_others_are_not() -> None:
    assert _manifest.masked(SECRET)["data"] == {"a": "********", "b": "********"}
    config = {**CONFIG, "data": {"a": "b"}}
    assert _manifest.masked(config) == config
    assert _manifest.masked({**SECRET, "data": None}) == {**SECRET, "data": None}


def test_diff_of_secrets_shows_which_value_changed_and_none_of_them() -> None:
    before, after = _manifest.masked_pair(SECRET, {**SECRET, "data": {"a": "bmV3dmFsdWU=", "b": "x", "c": "n"}})
    assert before["data"] == {"a": "********", "b": "********"}
    assert after["data"] == {"a": "******** (changed)", "b": "********", "c": "********"}


def test_only_long_values_are_hidden_everywhere() -> None:
    definition = {**SECRET, "stringData": {"https": "1", "key": "0123456789"}}
    assert _manifest.secret_texts([definition, CONFIG]) == {"b2xkdmFsdWU=", "0123456789"}


def test_what_a_manager_has_applied_is_found_by_its_fields_alone() -> None:
    live = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "n",
            "labels": {"mine": "1", "theirs": "2"},
            "managedFields": [
                {"manager": "me", "operation": "Update", "fieldsV1": {"f:spec": {"f:nodeName": {}}}},
                {"manager": "me", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
                {
                    "manager": "me",
                    "operation": "Apply",
                    "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:mine": {}}, "f:finalizers": {".": {}, 'v:"a"': {}}},
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"one"}': {".": {}, "f:name": {}, "f:image": {}},
                                'k:{"name":"two"}': {".": {}},
                                'k:{"name":"gone"}': {".": {}, "f:name": {}},
                            },
                            "f:args": {},
                        },
                    },
                },
            ],
            "finalizers": ["a", "b"],
        },
        "spec": {
            "nodeName": "n1",
            "args": ["x", "y"],
            "containers": [
                {"name": "one", "image": "i", "imagePullPolicy": "Always"},
                {"name": "two", "image": "j"},
                {"name": "three"},
            ],
        },
        "status": {"phase": "Running"},
    }
    assert _manifest.applied(live, "me") == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "labels": {"mine": "1"}, "finalizers": ["a"]},
        "spec": {"args": ["x", "y"], "containers": [{"name": "one", "image": "i"}, {"name": "two"}]},
    }
    assert _manifest.applied(live, "nobody") == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n"},
    }


# What needs no dry run

OWNED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "m", "labels": {"a": "b"}, "finalizers": ["x/y"]},
    "spec": {
        "containers": [{"name": "one", "args": ["--x", "--y"], "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
        "volumes": [],
    },
}
FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {'v:"x/y"': {}}},
    "f:spec": {
        "f:containers": {
            'k:{"name":"one"}': {
                ".": {},
                "f:name": {},
                "f:args": {},
                "f:ports": {
                    'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}}
                },
            }
        },
        "f:volumes": {},
    },
}


def served(**entry: Any) -> dict[str, Any]:
    """OWNED as served, with what the server and others have added."""
    live = copy.deepcopy(OWNED)
    live["metadata"] |= {"uid": "u", "annotations": {"other": "x"}}
    live["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": {}},
        {"manager": "me", "operation": "Apply", "apiVersion": "v1", "fieldsV1": FIELDS, **entry},
    ]
    live["spec"] |= {"nodeName": "n"}
    live["spec"]["containers"].insert(0, {"name": "injected"})
    live["spec"]["containers"][1]["image"] = "defaulted"
    return live


def test_fields_of_the_last_apply_with_the_same_values_hold() -> None:
    assert _manifest.holds(served(), OWNED, "me")


@pytest.mark.parametrize(
    "entry", [{"manager": "you"}, {"operation": "Update"}, {"apiVersion": "v2"}, {"subresource": "status"}]
)
def test_only_this_manager_s_last_apply_counts(entry: dict[str, Any]) -> None:
    assert not _manifest.holds(served(**entry), OWNED, "me")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "a"), "c"),
        (("metadata", "labels", "new"), "c"),
        (("metadata", "annotations"), {"other": "x"}),
        (("metadata", "finalizers"), ["x/z"]),
        (("spec", "containers", 0, "args"), ["--y", "--x"]),
        (("spec", "containers", 0, "image"), "defaulted"),
        (("spec", "containers", 0, "name"), "two"),
        (("spec", "containers", 0, "ports", 0, "containerPort"), 81),
        (("spec", "containers", 0, "ports", 0, "protocol"), None),
        (("spec", "containers"), []),
        (("spec", "volumes"), [{"name": "v"}]),
        (("spec", "nodeName"), "n"),
    ],
)
def test_another_value_or_field_does_not_hold(path: tuple[Any, ...], value: Any) -> None:
    desired = copy.deepcopy(OWNED)
    place: Any = desired
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    place[path[-1]] = value
    assert not _manifest.holds(served(), desired, "me")


def test_a_field_that_the_manager_would_give_up_does_not_hold() -> None:
    desired = copy.deepcopy(OWNED)
    del desired["metadata"]["labels"]
    assert not _manifest.holds(served(), desired, "me")


def test_a_value_that_someone_else_changed_does_not_hold() -> None:
    live = served()
    live["metadata"]["labels"]["a"] = "changed"
    assert not _manifest.holds(live, OWNED, "me")


def test_items_in_another_order_do_not_hold() -> None:
    desired = copy.deepcopy(OWNED)
    desired["spec"]["containers"] = [{"name": "b"}, {"name": "a"}]
    live = copy.deepcopy(OWNED)
    live["spec"]["containers"] = [{"name": "a"}, {"name": "b"}]
    fields = copy.deepcopy(FIELDS)
    fields["f:spec"]["f:containers"] = {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}} for name in "ab"}
    live["metadata"]["managedFields"] = [
        {"manager": "me", "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}
    ]
    assert not _manifest.holds(live, desired, "me")
    desired["spec"]["containers"].reverse()
    assert _manifest.holds(live, desired, "me")


def test_what_a_module_returns_has_neither_managed_fields_nor_the_schemas_of_a_definition() -> None:
    version = {"name": "v1", "served": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    definition = {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "managedFields": [{"manager": "m"}]},
        "spec": {"group": "example.com", "versions": [version]},
    }
    shown = _manifest.without_noise(definition)
    assert shown["metadata"] == {"name": "widgets.example.com"}
    assert shown["spec"] == {"group": "example.com", "versions": [{"name": "v1", "served": True}]}
    assert "schema" in version, "the object itself stays as it is"

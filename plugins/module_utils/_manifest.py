# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes objects as dictionaries: what makes one valid, what of it counts as its state, what of it is secret. Pure.

PRIVATE to the collection.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

# Set when an object is created and kept since: nothing is deleted that the collection did not make.
CREATED_BY = "llmstack.serving/created-by"
_MASK = "********"
# Written by the API server, never by whoever describes the object.
_SERVER_SIDE = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)


def problems(definitions: list[Any]) -> list[str]:
    """What is wrong with the definitions before any of them is sent, one sentence each."""
    found: list[str] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, definition in enumerate(definitions, 1):
        where = f"definitions[{number - 1}]"
        if not isinstance(definition, dict):
            found.append(f"{where} is not a dictionary.")
            continue
        metadata = definition.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            found.append(f"{where}: metadata is not a dictionary.")
            continue
        metadata = metadata or {}
        texts = {
            "apiVersion": definition.get("apiVersion"),
            "kind": definition.get("kind"),
            "metadata.name": metadata.get("name"),
        }
        for field, value in texts.items():
            if not value:
                found.append(f"{where}{_told(definition)} has no {field}.")
            elif not isinstance(value, str):
                found.append(f"{where}{_told(definition)}: {field} must be a string, not {value!r}. Quote it.")
        if str(definition.get("kind", "")).endswith("List") and "items" in definition:
            found.append(f"{where} is a list of objects. Give its items one by one.")
        for server_side in ("managedFields", "resourceVersion", "uid"):
            if server_side in metadata:
                found.append(f"{where}{_told(definition)}: remove metadata.{server_side}, it is the API server's.")
        for kind in ("labels", "annotations"):
            for key, value in (metadata.get(kind) or {}).items():
                if not isinstance(value, str):
                    found.append(
                        f"{where}{_told(definition)}: metadata.{kind}.{key} must be a string, not {value!r}. Quote it."
                    )
        if all(isinstance(value, str) and value for value in texts.values()):
            group = str(texts["apiVersion"]).rpartition("/")[0]
            key = (group, str(texts["kind"]), str(metadata.get("namespace") or ""), str(texts["metadata.name"]))
            if key in seen:
                found.append(f"{where}{_told(definition)} is the same object as definitions[{seen[key] - 1}].")
            seen.setdefault(key, number)
    return found


def _told(definition: dict[str, Any]) -> str:
    name = (definition.get("metadata") or {}).get("name")
    return f" ({definition.get('kind') or 'no kind'} {name})" if name else ""


def state(manifest: dict[str, Any] | None) -> dict[str, Any]:
    """What counts as the state that a user describes: all but status and what the API server writes itself."""
    if not manifest:
        return {}
    kept = {key: value for key, value in manifest.items() if key not in ("status", "metadata")}
    kept["metadata"] = {
        key: value for key, value in (manifest.get("metadata") or {}).items() if key not in _SERVER_SIDE
    }
    return kept


def overlay(live: Any, desired: Any) -> Any:
    """`desired` laid over `live`: a prediction for when the API server cannot be asked. Lists are replaced."""
    if isinstance(live, dict) and isinstance(desired, dict):
        return {**live, **{key: overlay(live.get(key), value) for key, value in desired.items()}}
    return copy.deepcopy(desired)


def applied(live: dict[str, Any], field_manager: str) -> dict[str, Any]:
    """What a field manager has described of an object with server-side apply, at its present values.

    Sent again with a change, it changes just that: sent without the rest, the API server would remove the rest. As the
    Extract functions of k8s.io/client-go applyconfigurations; the format is sigs.k8s.io/structured-merge-diff fieldpath.
    """
    metadata = live["metadata"]
    named = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    found: dict[str, Any] = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": named}
    for entry in metadata.get("managedFields") or []:
        mine = entry.get("manager") == field_manager and entry.get("operation") == "Apply"
        if mine and not entry.get("subresource"):
            part = _owned(live, entry.get("fieldsV1") or {})
            found = {**found, **part, "metadata": {**named, **(part.get("metadata") or {})}}
    return found


def _owned(value: Any, fields: dict[str, Any]) -> Any:
    """The part of a value that a tree of fieldsV1 names; a tree without branches names all of it."""
    branches = {key: below for key, below in fields.items() if key != "."}
    if not branches or not isinstance(value, dict | list):
        return copy.deepcopy(value)
    if isinstance(value, dict):
        names = {key[2:]: below for key, below in branches.items() if key.startswith("f:")}
        return {name: _owned(value[name], below) for name, below in names.items() if name in value}
    kept = []
    for item in value:
        for key, below in branches.items():
            kind, _colon, text = key.partition(":")
            wanted = json.loads(text)
            if kind == "k" and isinstance(item, dict) and wanted.items() <= item.items():
                # The keys name the item, also where the manager owns nothing else of it.
                kept.append(wanted if set(below) == {"."} else {**wanted, **_owned(item, below)})
            elif kind == "v" and item == wanted:
                kept.append(copy.deepcopy(item))
    return kept


def holds(live: dict[str, Any], desired: dict[str, Any], field_manager: str) -> bool:
    """Whether a server-side apply of `desired` by `field_manager` provably changes nothing, so that none need be sent.

    It is so if the manager's last apply set exactly the fields that `desired` has, it still owns all of them, and they still
    have these values. False means no more than that this is not proven.
    """
    for entry in live["metadata"].get("managedFields") or []:
        if (entry.get("manager"), entry.get("operation"), entry.get("apiVersion"), entry.get("subresource")) == (
            field_manager,
            "Apply",
            desired["apiVersion"],
            None,
        ):
            return _same(_owned_part(live), _owned_part(desired), entry.get("fieldsV1") or {})
    return False


def _owned_part(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what names the object, which nobody owns (apimachinery pkg/util/managedfields/internal/stripmeta.go)."""
    rest = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
    rest["metadata"] = {key: value for key, value in manifest["metadata"].items() if key not in ("name", "namespace")}
    if not rest["metadata"]:
        del rest["metadata"]
    return rest


def _same(live: Any, desired: Any, owned: dict[str, Any]) -> bool:
    """Compare at the fields of `owned`, in the format FieldsV1 (structured-merge-diff fieldpath/serialize.go)."""
    below = {key: value for key, value in owned.items() if key != "."}
    if not below:
        # A leaf, or a list or map that is replaced as a whole.
        return live is not None and live == desired
    kinds = {key[:2] for key in below}
    if kinds == {"f:"}:
        if not isinstance(live, dict) or not isinstance(desired, dict) or {f"f:{key}" for key in desired} != set(below):
            return False
        return all(key in live and _same(live[key], desired[key], below[f"f:{key}"]) for key in desired)
    if not isinstance(live, list) or not isinstance(desired, list) or len(desired) != len(below):
        return False
    if kinds == {"v:"}:
        wanted = [json.loads(key[2:]) for key in below]
        return all(value in desired and value in live for value in wanted)
    if kinds == {"k:"}:
        places = []
        for key, value in below.items():
            names = json.loads(key[2:])
            ours, theirs = _place(desired, names), _place(live, names)
            if ours is None or theirs is None or not _same(live[theirs], desired[ours], value):
                return False
            places.append((ours, theirs))
        # The order of the list may matter to whoever reads it.
        return [theirs for _ours, theirs in sorted(places)] == sorted(theirs for _ours, theirs in places)
    return False


def _place(items: list[Any], names: dict[str, Any]) -> int | None:
    """Where the one item with these keys is; None if there is none, or it is not clear which."""
    found = [
        number
        for number, item in enumerate(items)
        if isinstance(item, dict) and all(item.get(key) == value for key, value in names.items())
    ]
    return found[0] if len(found) == 1 else None


def created_by(manifest: dict[str, Any] | None) -> str | None:
    """The field manager that created the object, if it was one of ours."""
    return ((manifest or {}).get("metadata", {}).get("annotations") or {}).get(CREATED_BY)


def with_created_by(manifest: dict[str, Any], field_manager: str) -> dict[str, Any]:
    """A copy of the manifest that carries the mark of its creator."""
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), CREATED_BY: field_manager}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def without_noise(manifest: dict[str, Any]) -> dict[str, Any]:
    """The object as a module returns it: without managedFields, a Secret with masked data, a definition without schemas.

    The schemas of CustomResourceDefinitions can have a megabyte, with which Ansible is busy for a second.
    """
    shown = {**manifest, "metadata": _without(manifest.get("metadata", {}), "managedFields")}
    if manifest.get("kind") == "CustomResourceDefinition" and (manifest.get("spec") or {}).get("versions"):
        versions = [_without(version, "schema") for version in manifest["spec"]["versions"]]
        shown["spec"] = {**manifest["spec"], "versions": versions}
    return masked(shown)


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def is_secret(manifest: dict[str, Any]) -> bool:
    return manifest.get("kind") == "Secret" and manifest.get("apiVersion") == "v1"


def masked(manifest: dict[str, Any]) -> dict[str, Any]:
    """A Secret with its values masked; any other object as it is."""
    if not is_secret(manifest):
        return manifest
    result = dict(manifest)
    for field in ("data", "stringData"):
        if isinstance(result.get(field), dict):
            result[field] = dict.fromkeys(result[field], _MASK)
    return result


def masked_pair(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides of a diff without secret values, but so that a changed value still shows as changed."""
    new = masked(after)
    if is_secret(after) and isinstance(new.get("data"), dict):
        old_data = before.get("data") or {}
        for key, value in (after.get("data") or {}).items():
            if key in old_data and old_data[key] != value:
                new["data"][key] = f"{_MASK} (changed)"
    return masked(before), new


def secret_texts(definitions: Iterable[dict[str, Any]]) -> set[str]:
    """The values of Secrets that are long enough to be hidden wherever they turn up in the output."""
    found: set[str] = set()
    for definition in definitions:
        if isinstance(definition, dict) and is_secret(definition):
            for field in ("data", "stringData"):
                values = definition.get(field)
                if isinstance(values, dict):
                    # Shorter ones ("1", "true") would blacken half of the output; they are masked where they stand.
                    found.update(value for value in values.values() if isinstance(value, str) and len(value) >= 8)
    return found

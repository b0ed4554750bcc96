# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts with chosen rights, and what the audit log says that one has used."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.kube import Cluster, wait_until

RBAC = "rbac.authorization.k8s.io/v1"
READ_ALL = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
ALL = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


@dataclass(frozen=True)
class Account:
    kubeconfig: Path
    username: str


@contextmanager
def account(
    cluster: Cluster, kubeconfig: Path, namespace: str, folder: Path, rules: Sequence[dict[str, Any]]
) -> Iterator[Account]:
    """A ServiceAccount of this namespace with these rights in the whole cluster, and its kubeconfig in this folder."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
    cluster.apply({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": list(rules)})
    cluster.apply(
        {
            "apiVersion": RBAC,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
    )
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
    wait_until("The ServiceAccount", lambda: cluster.request("GET", path)[0] == 200)
    # As long as the longest run of the tests.
    spec = {"expirationSeconds": 6 * 3600}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    status, answer = cluster.request("POST", f"{path}/token", request)
    assert status == 201, answer
    content = json.loads(kubeconfig.read_text())
    content["users"] = [{"name": content["users"][0]["name"], "user": {"token": answer["status"]["token"]}}]
    own = folder / f"{name}.json"
    own.write_text(json.dumps(content))
    yield Account(own, f"system:serviceaccount:{namespace}:{name}")
    for kind in ("clusterroles", "clusterrolebindings"):
        cluster.request("DELETE", f"/apis/{RBAC}/{kind}/{name}")
    cluster.request("DELETE", path)


@dataclass(frozen=True, order=True)
class Use:
    """One right that somebody has used, and where: "" is all namespaces, or a resource that has none."""

    group: str
    # With its subresource: "pods/log".
    resource: str
    verb: str
    namespace: str


def used(audit_log: Path, username: str) -> set[Use]:
    """What an account has asked of the API server, in all of the log, but for what everybody may ask."""
    found: set[Use] = set()
    # Rotated files have the time in their names.
    for path in audit_log.parent.glob(f"{audit_log.stem}*{audit_log.suffix}"):
        with path.open("rb") as file:
            for line in file:
                # Most lines are of others, and long.
                if username.encode() in line and line.endswith(b"}\n"):
                    event = json.loads(line)
                    if event["user"]["username"] == username and event.get("objectRef", {}).get("resource"):
                        found.update(_uses(event))
    return {use for use in found if use.group not in ("authorization.k8s.io", "authentication.k8s.io")}


def _uses(event: dict[str, Any]) -> Iterator[Use]:
    reference = event["objectRef"]
    resource = "/".join(filter(None, [reference["resource"], reference.get("subresource")]))
    # The API server puts a Namespace into itself.
    namespace = "" if resource == "namespaces" else reference.get("namespace", "")
    verbs = [event["verb"]]
    # What server-side apply makes needs this right too, which the log does not name.
    if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
        verbs.append("create")
    for verb in verbs:
        yield Use(reference.get("apiGroup", ""), resource, verb, namespace)


def uncovered(uses: set[Use], rules: Sequence[dict[str, Any]]) -> list[Use]:
    """What no rule speaks of: the namespaces of a rule are those that it is enough to be allowed in."""
    return sorted(use for use in uses if not any(_covers(rule, use) for rule in rules))


def _covers(rule: dict[str, Any], use: Use) -> bool:
    named = use.group in rule["apiGroups"] and use.resource in rule["resources"] and use.verb in rule["verbs"]
    return named and (not rule.get("namespaces") or use.namespace in rule["namespaces"])


def without_namespaces(rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules of a ClusterRole that allows exactly what these rules speak of, in all namespaces."""
    return [{key: rule[key] for key in ("apiGroups", "resources", "verbs")} for rule in rules]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that is on a cluster, asked without the collection's own code."""

from __future__ import annotations

from typing import Any

from sandbox.kube import Cluster


def everything(cluster: Cluster, without: frozenset[str] = frozenset()) -> dict[str, dict[str, Any]]:
    """Every object that the API server serves but those of some kinds, by `Kind namespace/name`.

    Each resource once, in the version that its group prefers, or in another where the preferred one does not have it.
    """
    paths = ["/api/v1"]
    for group in cluster.get("/apis")["groups"]:
        versions = [group["preferredVersion"], *group["versions"]]
        paths += dict.fromkeys(f"/apis/{version['groupVersion']}" for version in versions)
    found: dict[str, dict[str, Any]] = {}
    seen = set()
    for path in paths:
        # /api/v1 is of no group, /apis/GROUP/VERSION of one.
        group = path.removeprefix("/api").rpartition("/")[0]
        listed = cluster.get(path)
        for resource in listed["resources"]:
            known = (group, resource["name"]) in seen or resource["kind"] in without
            if known or "/" in resource["name"] or "list" not in resource["verbs"]:
                continue
            seen.add((group, resource["name"]))
            status, answer = cluster.request("GET", f"{path}/{resource['name']}")
            for item in (answer.get("items") or []) if status == 200 else []:
                metadata = item["metadata"]
                where = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
                # In a list they do not say what they are.
                told = {"apiVersion": listed["groupVersion"], "kind": resource["kind"]}
                found[f"{resource['kind']} {where}{metadata['name']}"] = {**told, **item}
    return found

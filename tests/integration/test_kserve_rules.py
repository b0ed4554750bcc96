# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection and KServe's real webhook agree about what is refused."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools.kserve_cases import CASES, CHANGES, SERVED, Case, Change


@pytest.mark.usefixtures("kserve")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_webhook_agrees(case: Case, cluster: Cluster) -> None:
    name = case.manifest["metadata"]["name"]
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{name}?fieldManager=test&dryRun=All"
    status, answer = cluster.request("PATCH", path, case.manifest, "application/apply-patch+yaml")
    assert (status >= 400) == case.by_webhook, answer
    if status >= 400:
        assert "denied the request" in answer["message"] or "invalid" in answer["message"].lower(), answer


def stopped(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The service in a namespace, without pods."""
    annotations = {**manifest["metadata"]["annotations"], "serving.kserve.io/stop": "true"}
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace, "annotations": annotations}}


@pytest.fixture(scope="module")
def served(cluster: Cluster, kserve: None) -> Iterator[str]:
    """The namespace of a service that KServe has seen: it says in the status in which mode."""
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/case"
    manifest = stopped(SERVED, namespace)
    status, answer = cluster.request("PATCH", f"{path}?fieldManager=test", manifest, "application/apply-patch+yaml")
    assert status == 201, answer
    deadline = time.monotonic() + 30
    while not (cluster.get(path).get("status") or {}).get("deploymentMode"):
        assert time.monotonic() < deadline, "KServe has not seen the service"
        time.sleep(0.5)
    yield namespace
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_webhook_agrees_about_changes(change: Change, cluster: Cluster, served: str) -> None:
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{served}/inferenceservices/case?fieldManager=test&dryRun=All"
    wanted = stopped(change.wanted, served)
    status, answer = cluster.request("PATCH", path, wanted, "application/apply-patch+yaml")
    assert (status >= 400) == change.refused, answer
    if change.refused:
        assert "denied the request" in answer["message"], answer

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection and KServe's real webhook agree about what is refused."""

from __future__ import annotations

import time

import pytest

from sandbox.kube import Cluster
from tools.kserve_cases import CASES, CHANGES, Case, Change


@pytest.mark.usefixtures("kserve")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_webhook_agrees(case: Case, cluster: Cluster) -> None:
    name = case.manifest["metadata"]["name"]
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{name}?fieldManager=test&dryRun=All"
    status, answer = cluster.request("PATCH", path, case.manifest, "application/apply-patch+yaml")
    assert (status >= 400) == case.by_webhook, answer
    if status >= 400:
        assert "denied the request" in answer["message"] or "invalid" in answer["message"].lower(), answer


@pytest.mark.usefixtures("kserve")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_webhook_agrees_about_changes(change: Change, cluster: Cluster, namespace: str) -> None:
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/case"
    served, wanted = (
        {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        for manifest in (change.served, change.wanted)
    )
    # A stopped service makes no pods, and KServe writes its mode into the status all the same.
    served["metadata"]["annotations"] = {**served["metadata"]["annotations"], "serving.kserve.io/stop": "true"}
    status, answer = cluster.request("PATCH", f"{path}?fieldManager=test", served, "application/apply-patch+yaml")
    assert status == 201, answer
    deadline = time.monotonic() + 30
    while not (cluster.get(path).get("status") or {}).get("deploymentMode"):
        assert time.monotonic() < deadline, "KServe has not seen the service"
        time.sleep(0.5)
    dry_run = f"{path}?fieldManager=test&dryRun=All"
    status, answer = cluster.request("PATCH", dry_run, wanted, "application/apply-patch+yaml")
    assert (status >= 400) == change.refused, answer
    if change.refused:
        assert "denied the request" in answer["message"], answer

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection and KServe's real webhook agree about what is refused."""

from __future__ import annotations

import pytest

from sandbox.kube import Cluster
from tools.kserve_cases import CASES, Case


@pytest.mark.usefixtures("kserve")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_webhook_agrees(case: Case, cluster: Cluster) -> None:
    name = case.manifest["metadata"]["name"]
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{name}?fieldManager=test&dryRun=All"
    status, answer = cluster.request("PATCH", path, case.manifest, "application/apply-patch+yaml")
    assert (status >= 400) == case.by_webhook, answer
    if status >= 400:
        assert "denied the request" in answer["message"] or "invalid" in answer["message"].lower(), answer

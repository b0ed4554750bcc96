# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_operator_info against an API server in this process: ClusterPolicy or GPUCluster, versions, another operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.modules import gpu_operator_info
from tools import gpu_nodes

Run = Callable[..., dict[str, Any]]
KINDS = {"ClusterPolicy": ("v1", "clusterpolicies"), "GPUCluster": ("v1alpha1", "gpuclusters")}


@pytest.fixture
def run(api: Any, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(gpu_operator_info, "PAUSE_SECONDS", 0.05)
    api.put("/api/v1/nodes/a", gpu_nodes.node("a"))

    def call(**params: Any) -> dict[str, Any]:
        result: dict[str, Any] = run_module(gpu_operator_info, check=False, **params)
        return result

    return call


def configured(api: Any, kind: str, state: str, **status: Any) -> None:
    """The operator's configuration in one of its two kinds."""
    version, plural = KINDS[kind]
    versions = [{"groupVersion": f"nvidia.com/{version}"}]
    api.objects["/apis/nvidia.com"] = {"preferredVersion": versions[0], "versions": versions}
    api.served_groups[f"nvidia.com/{version}"] = [{"name": plural, "kind": kind, "namespaced": False}]
    item = {"kind": kind, "metadata": {"name": "gpus"}, "status": {"state": state, **status}}
    api.put(f"/apis/nvidia.com/{version}/{plural}/gpus", item)


def operator(api: Any, namespace: str = "gpu-operator", version: str = "v26.3.2") -> None:
    labels = {"app": "gpu-operator", "app.kubernetes.io/version": version}
    api.served_groups["apps/v1"] = [{"name": "deployments", "kind": "Deployment", "namespaced": True}]
    item = {"kind": "Deployment", "metadata": {"name": "gpu-operator", "namespace": namespace, "labels": labels}}
    api.put(f"/apis/apps/v1/namespaces/{namespace}/deployments/gpu-operator", item)


@pytest.mark.parametrize("kind", KINDS)
def test_both_kinds_of_configuration_are_waited_for(run: Run, api: Any, kind: str) -> None:
    operator(api)
    error = {"type": "Error", "status": "True", "reason": "OperandNotReady", "message": "driver pods are not ready"}
    configured(api, kind, "notReady", conditions=[error])
    waited = run(mode="operator", wait_timeout=1)
    assert waited["failed"]
    assert f"{kind} gpus is notReady (OperandNotReady: driver pods are not ready) after 1 seconds" in waited["msg"]
    configured(api, kind, "ready")
    assert run(mode="operator", wait_timeout=1)["state"] == "ready"
    assert api.writes == []


def test_an_upgrade_goes_to_the_next_release_only(run: Run, api: Any) -> None:
    operator(api, version="v25.10.1")
    configured(api, "ClusterPolicy", "ready")
    assert run(version="v26.3.2")["install"] is True
    assert "a version of 26.3 first" in run(version="v26.7.0")["msg"]
    assert "no downgrade" in run(version="v25.3.4")["msg"]


def test_a_second_operator_is_refused(run: Run, api: Any) -> None:
    operator(api, namespace="nvidia")
    configured(api, "ClusterPolicy", "ready")
    assert "installed in namespace nvidia already" in run(version="v26.3.2")["msg"]
    assert run(version="v26.3.2", namespace="nvidia")["installed"]["namespace"] == "nvidia"

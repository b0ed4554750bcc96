# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gpu_operator with the sandbox's stand-in chart, and gpu_operator_info on the ClusterPolicy that it makes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools.playbook import ansible_playbook, recap, writes
from tools.run_module import run_module

ROLE = ("-i", "inventories/local", "playbooks/install.yml", "--tags", "gpu_operator")
POLICY = "/apis/nvidia.com/v1/clusterpolicies/cluster-policy"
Audit = Callable[[], list[dict[str, Any]]]
pytestmark = pytest.mark.usefixtures("real_node")


@pytest.fixture
def installed() -> None:
    done = ansible_playbook(*ROLE)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.fixture
def changed(cluster: Cluster, installed: None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Changes the ClusterPolicy's status, which is as before afterwards."""
    yield lambda status: cluster.merge(POLICY, {"status": status})
    cluster.merge(POLICY, {"status": {"state": "ready", "conditions": None}})


@pytest.mark.usefixtures("installed")
def test_the_second_run_changes_nothing_and_writes_nothing(cluster: Cluster, audit: Audit) -> None:
    policy = cluster.get(POLICY)
    assert policy["spec"]["dcgmExporter"]["enabled"] is True
    assert policy["spec"]["cdi"]["enabled"] is True
    begin = time.monotonic()
    again = ansible_playbook(*ROLE)
    assert again.returncode == 0, again.stdout[-6000:]
    assert recap(again.stdout)["changed"] == 0
    assert writes(audit()) == []
    assert time.monotonic() - begin < 30


@pytest.mark.usefixtures("installed")
def test_an_upgrade_that_leaves_out_a_release_and_a_downgrade_are_refused(audit: Audit) -> None:
    done = ansible_playbook(*ROLE, "-e", "gpu_operator_version=v26.3.2")
    assert done.returncode != 0
    assert "NVIDIA supports no downgrade" in done.stdout
    assert writes(audit()) == []


@pytest.mark.long
@pytest.mark.usefixtures("installed")
def test_where_gpus_are_offered_already_nothing_is_installed_twice(audit: Audit) -> None:
    done = ansible_playbook(*ROLE, "-e", "gpu_operator_mode=managed")
    assert done.returncode == 0
    assert "The GPU operator is not installed" in done.stdout
    assert writes(audit()) == []


def test_it_waits_for_the_cluster_policy_and_says_what_holds_it_up(
    sandbox: dict[str, Any], changed: Callable[[dict[str, Any]], None]
) -> None:
    error = {"type": "Error", "status": "True", "reason": "OperandNotReady", "message": "driver pods are not ready"}
    changed({"state": "notReady", "conditions": [error]})
    arguments = {"kubeconfig": sandbox["kubeconfig"], "mode": "operator", "wait_timeout": 3}
    result = run_module("llmstack.serving.gpu_operator_info", arguments)
    assert result["failed"]
    assert "is notReady (OperandNotReady: driver pods are not ready) after 3 seconds" in result["msg"]
    changed({"state": "ready"})
    assert run_module("llmstack.serving.gpu_operator_info", arguments)["state"] == "ready"


@pytest.mark.long
@pytest.mark.usefixtures("installed")
def test_profiles_reach_nodes_and_config_maps_and_go_again(cluster: Cluster) -> None:
    profiles = {
        "gpu_operator_time_slicing_profiles": {"shared-4": 4},
        "gpu_operator_nodes": [{"name": "gpu-l40s-0", "time_slicing": "shared-4"}],
    }
    done = ansible_playbook(*ROLE, "-e", json.dumps(profiles))
    assert done.returncode == 0, done.stdout[-6000:]
    labels = cluster.get("/api/v1/nodes/gpu-l40s-0")["metadata"]["labels"]
    assert labels["nvidia.com/device-plugin.config"] == "shared-4"
    assert "shared-4" in cluster.get("/api/v1/namespaces/gpu-operator/configmaps/time-slicing-profiles")["data"]
    assert cluster.get(POLICY)["spec"]["devicePlugin"]["config"]["name"] == "time-slicing-profiles"
    cluster.merge("/api/v1/nodes/gpu-l40s-0", {"metadata": {"labels": {"nvidia.com/device-plugin.config": None}}})
    assert ansible_playbook(*ROLE).returncode == 0


@pytest.mark.long
@pytest.mark.usefixtures("installed")
def test_absent_removes_the_release_and_keeps_its_crds(cluster: Cluster) -> None:
    done = ansible_playbook(*ROLE, "-e", "gpu_operator_state=absent")
    assert done.returncode == 0, done.stdout[-6000:]
    assert cluster.request("GET", POLICY)[0] == 404
    assert cluster.request("GET", "/apis/nvidia.com/v1/clusterpolicies")[0] == 200
    assert recap(ansible_playbook(*ROLE, "-e", "gpu_operator_state=absent").stdout)["changed"] == 0
    assert ansible_playbook(*ROLE).returncode == 0

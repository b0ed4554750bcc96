# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gpu_cluster: GKE by a local server that speaks Google's API, and the check of GPUs that are there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.gke_server import GkeServer
from tools.playbook import ansible_playbook, recap, writes

POOLS = [
    {
        "name": "h100",
        "machine_type": "a3-highgpu-8g",
        "accelerator": {"type": "nvidia-h100-80gb", "count": 8, "driver": "latest"},
        "autoscaling": {"min_nodes": 0, "max_nodes": 4, "location_policy": "ANY"},
        "spot": True,
        "labels": {"pool": "inference"},
        "taints": [{"key": "team", "value": "llm"}],
    },
    {"name": "l4", "machine_type": "g2-standard-48", "accelerator": {"type": "nvidia-l4", "count": 4}, "node_count": 1},
]


@pytest.fixture
def server() -> Iterator[GkeServer]:
    found = GkeServer()
    found.rounds = 1
    yield found
    found.close()


def run(server: GkeServer, folder: Path, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    variables = {
        "gpu_cluster_provider": "gke",
        "gpu_cluster_name": "inference",
        "gpu_cluster_gke_project": "project",
        "gpu_cluster_gke_location": "europe-west4",
        "gpu_cluster_gke_zones": ["europe-west4-b", "europe-west4-c"],
        "gpu_cluster_gke_access_token": "token-1",
        "gpu_cluster_gke_endpoint": server.url,
        "gpu_cluster_node_pools": POOLS,
        **changes,
    }
    (folder / "variables.json").write_text(json.dumps(variables))
    given = ("-i", "inventories/dev", "--limit", "dev", "playbooks/gpu_cluster.yml", "-e", f"@{folder}/variables.json")
    return ansible_playbook(*given, *arguments)


@pytest.mark.long
def test_gke_from_nothing_again_changed_and_removed(server: GkeServer, tmp_path: Path) -> None:
    first = run(server, tmp_path, "--check", "--diff")
    assert first.returncode == 0, first.stdout[-4000:]
    assert (recap(first.stdout)["changed"], server.changes()) == (2, [])
    made = run(server, tmp_path)
    assert made.returncode == 0, made.stdout[-4000:]
    assert set(server.pools) == {"h100", "l4"}
    assert server.pools["l4"]["locations"] == ["europe-west4-b", "europe-west4-c"]
    server.requests.clear()
    again = run(server, tmp_path)
    assert (recap(again.stdout)["changed"], server.changes()) == (0, [])
    bigger = [{**POOLS[0], "autoscaling": {"min_nodes": 0, "max_nodes": 8}}, POOLS[1]]
    assert recap(run(server, tmp_path, gpu_cluster_node_pools=bigger).stdout)["changed"] == 1
    assert server.changes() == [("POST", "clusters/inference/nodePools/h100:setAutoscaling")]
    gone = run(server, tmp_path, gpu_cluster_state="absent")
    assert gone.returncode == 0, gone.stdout[-4000:]
    assert (server.pools, set(server.clusters)) == ({}, {"inference"})


def test_the_gpus_that_are_there_are_checked_and_only_read(
    sandbox: dict[str, Any], audit: Callable[[], list[dict[str, Any]]]
) -> None:
    done = ansible_playbook("-i", "inventories/local", "playbooks/gpu_cluster.yml")
    assert done.returncode == 0, done.stdout[-4000:]
    assert "GPUs are free" in done.stdout
    assert writes(audit()) == []


def test_gpus_that_are_not_there_stop_the_play_with_a_sentence(sandbox: dict[str, Any]) -> None:
    wanted = json.dumps({"gpu_cluster_min_gpus_per_node": 64, "gpu_cluster_products": ["B200"]})
    done = ansible_playbook("-i", "inventories/local", "playbooks/gpu_cluster.yml", "-e", wanted)
    assert done.returncode != 0
    assert "usable nodes have B200" in done.stdout
    assert "64 asked for" in done.stdout

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gke_node_pool and gke_cluster against a local server that speaks the API's wire format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gke, _gke_cluster, _gke_node_pool
from ansible_collections.llmstack.serving.plugins.modules import gke_cluster, gke_node_pool
from tools.gke_server import GkeServer
from tools.run_module import run_module

ACCELERATOR = {
    "type": "nvidia-h100-80gb",
    "count": 8,
    "driver": "latest",
    "partition_size": None,
    "sharing_strategy": None,
    "max_shared_clients": None,
}
OPEN = (
    "image_type",
    "disk_size_gb",
    "disk_type",
    "tags",
    "node_count",
    "service_account",
    "oauth_scopes",
    "auto_repair",
)
H100: dict[str, Any] = {
    **dict.fromkeys(OPEN),
    "name": "h100",
    "cluster": "inference",
    "state": "present",
    "machine_type": "a3-highgpu-8g",
    "accelerator": ACCELERATOR,
    "labels": {"pool": "inference"},
    "taints": [{"key": "team", "value": "llm", "effect": "NoSchedule"}],
    "spot": True,
    "reservation": None,
    "zones": ["europe-west4-c", "europe-west4-b"],
    "autoscaling": {"min_nodes": 0, "max_nodes": 4, "location_policy": "ANY"},
    "workload_metadata": "GKE_METADATA",
    "auto_upgrade": False,
    "wait_timeout": 60,
}


@pytest.fixture
def server() -> Iterator[GkeServer]:
    found = GkeServer()
    found.clusters["inference"] = {"name": "inference"}
    yield found
    found.close()


@pytest.fixture
def gke(server: GkeServer) -> _gke.Gke:
    return _gke.Gke("project", "europe-west4", lambda: "token-1", server.url, pause=lambda _seconds: None)


def pool(gke: _gke.Gke, check: bool = False, **changes: Any) -> dict[str, Any]:
    return gke_node_pool.bring(gke, {**H100, **changes}, check)


# Create, again, change, remove


def test_a_pool_is_made_with_all_that_gpus_need(server: GkeServer, gke: _gke.Gke) -> None:
    result = pool(gke)
    assert result["changed"]
    [(method, path, body)] = [entry for entry in server.requests if entry[0] != "GET"]
    assert (method, path) == ("POST", "/v1/projects/project/locations/europe-west4/clusters/inference/nodePools")
    assert body == {
        "nodePool": {
            "name": "h100",
            "initialNodeCount": 0,
            "locations": ["europe-west4-b", "europe-west4-c"],
            "autoscaling": {"enabled": True, "totalMinNodeCount": 0, "totalMaxNodeCount": 4, "locationPolicy": "ANY"},
            "management": {"autoUpgrade": False},
            "config": {
                "machineType": "a3-highgpu-8g",
                "accelerators": [
                    {
                        "acceleratorType": "nvidia-h100-80gb",
                        "acceleratorCount": "8",
                        "gpuDriverInstallationConfig": {"gpuDriverVersion": "LATEST"},
                    }
                ],
                "labels": {"pool": "inference"},
                "taints": [{"key": "team", "value": "llm", "effect": "NO_SCHEDULE"}],
                "spot": True,
                "workloadMetadataConfig": {"mode": "GKE_METADATA"},
            },
        }
    }
    assert result["node_pool"]["status"] == "RUNNING"


def test_the_second_time_nothing_is_sent(server: GkeServer, gke: _gke.Gke) -> None:
    pool(gke)
    server.requests.clear()
    result = pool(gke)
    assert (result["changed"], result["changed_fields"], server.changes()) == (False, [], [])
    assert result["diff"]["before"] == result["diff"]["after"]


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_says_the_same_and_changes_nothing(server: GkeServer, gke: _gke.Gke, check: bool) -> None:
    result = pool(gke, check)
    assert result["changed"]
    assert (result["diff"]["before"], result["diff"]["after"]["config"]["machineType"]) == ({}, "a3-highgpu-8g")
    assert bool(server.changes()) == (not check)


CHANGED: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "labels": ({"labels": {"pool": "batch"}}, ["labels"], "PUT nodePools/h100"),
    "taints": ({"taints": []}, ["taints"], "PUT nodePools/h100"),
    "zones": ({"zones": ["europe-west4-a"]}, ["zones"], "PUT nodePools/h100"),
    "driver": ({"accelerator": {**ACCELERATOR, "driver": "default"}}, ["accelerator.driver"], "PUT nodePools/h100"),
    "autoscaling": (
        {"autoscaling": {"min_nodes": 1, "max_nodes": 8, "location_policy": "ANY"}},
        ["autoscaling"],
        "POST nodePools/h100:setAutoscaling",
    ),
    "management": ({"auto_upgrade": True}, ["auto_repair, auto_upgrade"], "POST nodePools/h100:setManagement"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_each_change_is_one_request_of_the_kind_that_the_api_has(server: GkeServer, gke: _gke.Gke, case: str) -> None:
    changes, fields, request = CHANGED[case]
    pool(gke)
    server.requests.clear()
    assert pool(gke, True, **changes)["changed_fields"] == fields
    assert server.changes() == []
    result = pool(gke, **changes)
    assert (result["changed"], result["changed_fields"]) == (True, fields)
    assert [f"{method} {path.removeprefix('clusters/inference/')}" for method, path in server.changes()] == [request]
    assert result["diff"]["before"] != result["diff"]["after"]
    assert pool(gke, **changes)["changed"] is False


def test_several_changes_wait_for_each_other(server: GkeServer, gke: _gke.Gke) -> None:
    pool(gke)
    result = pool(gke, labels={"a": "b"}, zones=["europe-west4-a"], auto_upgrade=True)
    assert len(result["changed_fields"]) == 3
    assert server.pools["h100"]["config"]["labels"] == {"a": "b"}


def test_the_taint_that_gke_adds_is_no_difference_and_stays(server: GkeServer, gke: _gke.Gke) -> None:
    pool(gke, taints=[])
    assert pool(gke, taints=[])["changed"] is False
    pool(gke, taints=[{"key": "team", "value": None, "effect": "NoExecute"}])
    assert [taint["key"] for taint in server.pools["h100"]["config"]["taints"]] == ["team", "nvidia.com/gpu"]


def test_what_is_left_out_stays_as_it_is(server: GkeServer, gke: _gke.Gke) -> None:
    pool(gke)
    left_out = ("labels", "taints", "zones", "autoscaling", "spot", "accelerator", "machine_type", "auto_upgrade")
    nothing: dict[str, Any] = dict.fromkeys(left_out)
    assert pool(gke, **nothing)["changed"] is False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine_type": "a3-megagpu-8g"}, "machine_type"),
        ({"spot": False}, "spot"),
        ({"spot": False, "reservation": "mine"}, "spot, reservation"),
        ({"accelerator": {**ACCELERATOR, "count": 4}}, "accelerator"),
        ({"disk_size_gb": 500}, "disk_size_gb"),
    ],
)
def test_what_only_a_new_pool_can_have_is_refused_before_anything_is_changed(
    server: GkeServer, gke: _gke.Gke, changes: dict[str, Any], words: str
) -> None:
    pool(gke)
    server.requests.clear()
    with pytest.raises(ValueError, match=f"cannot change {words} of node pool h100: make a pool with another name"):
        pool(gke, labels={"other": "label"}, **changes)
    assert server.changes() == []


def test_a_pool_is_removed_once(server: GkeServer, gke: _gke.Gke) -> None:
    pool(gke)
    assert pool(gke, True, state="absent")["changed"]
    assert "h100" in server.pools
    assert pool(gke, state="absent")["changed"]
    assert server.pools == {}
    assert pool(gke, state="absent")["changed"] is False


@pytest.mark.parametrize(
    ("given", "affinity"),
    [
        ("mine", {"consumeReservationType": "SPECIFIC_RESERVATION", "values": ["mine"]}),
        ("any", {"consumeReservationType": "ANY_RESERVATION"}),
        ("none", {"consumeReservationType": "NO_RESERVATION"}),
    ],
)
def test_reservations(given: str, affinity: dict[str, Any]) -> None:
    made = _gke_node_pool.desired({**H100, "spot": None, "reservation": given})["config"]["reservationAffinity"]
    assert {key: value for key, value in made.items() if key != "key"} == affinity


def test_shared_and_partitioned_gpus() -> None:
    shared = {**ACCELERATOR, "partition_size": "1g.10gb", "sharing_strategy": "mps", "max_shared_clients": 4}
    [made] = _gke_node_pool.desired({**H100, "accelerator": shared})["config"]["accelerators"]
    assert made["gpuPartitionSize"] == "1g.10gb"
    assert made["gpuSharingConfig"] == {"gpuSharingStrategy": "MPS", "maxSharedClientsPerGpu": "4"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reservation": "mine"}, "take no reservation"),
        ({"autoscaling": {"min_nodes": 5, "max_nodes": 4, "location_policy": None}}, "more than max_nodes"),
        ({"accelerator": {**ACCELERATOR, "sharing_strategy": "mps"}}, "max_shared_clients"),
    ],
)
def test_options_that_do_not_go_together_are_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _gke_node_pool.desired({**H100, **changes})


# What Google answers


def test_an_operation_of_somebody_else_is_waited_for(server: GkeServer, gke: _gke.Gke) -> None:
    pool(gke)
    gke.request("POST", "clusters/inference/nodePools", {"nodePool": {"name": "other", "config": {}}})
    assert pool(gke, labels={"new": "label"})["changed"]
    assert server.pools["h100"]["config"]["labels"] == {"new": "label"}


@pytest.mark.parametrize(
    ("status", "message", "kind", "words"),
    [
        (401, "Invalid credentials.", "UNAUTHENTICATED", "refuses the token"),
        (403, "Permission denied on container.clusters.get.", "PERMISSION_DENIED", "Kubernetes Engine Cluster Admin"),
        (403, "Insufficient regional quota: NVIDIA_H100_GPUS.", "PERMISSION_DENIED", "quota is too small"),
        (429, "Insufficient quota to satisfy the request.", "RESOURCE_EXHAUSTED", "quota is too small"),
        (409, "Already exists: node pool h100.", "ALREADY_EXISTS", "Run again"),
        (400, "Machine type a3 does not exist in zone.", "INVALID_ARGUMENT", "Machine type a3 does not exist"),
        (404, "Not found: clusters/inference.", "NOT_FOUND", "Check project, location and cluster"),
    ],
)
def test_what_google_refuses_is_a_sentence(
    server: GkeServer, gke: _gke.Gke, status: int, message: str, kind: str, words: str
) -> None:
    server.fault("POST", "nodePools", status, message, kind)
    with pytest.raises(_gke.GkeError, match=words):
        pool(gke)
    assert len(server.changes()) == 1, "a refusal is not tried again"


@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry_After": "3"}), (503, {}), (500, {})])
def test_overload_is_waited_out(server: GkeServer, status: int, headers: dict[str, str]) -> None:
    pauses: list[float] = []
    gke = _gke.Gke("project", "europe-west4", lambda: "token-1", server.url, pause=pauses.append)
    server.fault("GET", "nodePools/h100", status, "Too many requests per minute.", "RESOURCE_EXHAUSTED", **headers)
    assert pool(gke)["changed"]
    assert pauses[0] == (3.0 if headers else 2.0)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"error": {"code": 8, "message": "Insufficient quota: GPUS_ALL_REGIONS."}}, "quota is too small"),
        (
            {
                "nodepoolConditions": [
                    {"code": "GCE_STOCKOUT", "canonicalCode": "RESOURCE_EXHAUSTED", "message": "None."}
                ]
            },
            "no such machines left",
        ),
        ({"error": {"code": 13, "message": "Internal error."}}, "gave up: Internal error"),
    ],
)
def test_an_operation_that_fails_fails_the_task(
    server: GkeServer, gke: _gke.Gke, end: dict[str, Any], words: str
) -> None:
    server.operation_ends.append(end)
    with pytest.raises(_gke.GkeError, match=words):
        pool(gke)


def test_an_operation_that_takes_too_long_goes_on_and_is_named(server: GkeServer, gke: _gke.Gke) -> None:
    server.rounds = 1000
    with pytest.raises(_gke.GkeError, match=r"operation-1-abc .CREATE_NODE_POOL. is RUNNING still, and goes on"):
        pool(gke, wait_timeout=0)


def test_an_api_that_does_not_answer_is_a_sentence() -> None:
    gke = _gke.Gke("project", "europe-west4", lambda: "t", "http://127.0.0.1:1")
    with pytest.raises(_gke.GkeError, match=r"127\.0\.0\.1:1 does not answer"):
        pool(gke)


# The module as Ansible runs it, with a token that is asked for with a signed assertion


def test_the_module_gets_its_own_token(server: GkeServer, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(server.key_file()))
    arguments = {
        "project": "project",
        "location": "europe-west4",
        "cluster": "inference",
        "name": "l4",
        "credentials": str(key),
        "endpoint": server.url,
        "machine_type": "g2-standard-4",
        "accelerator": {"type": "nvidia-l4", "count": 1},
    }
    server.rounds = 1
    assert run_module("llmstack.serving.gke_node_pool", arguments, check=True)["changed"]
    assert server.pools == {}
    result = run_module("llmstack.serving.gke_node_pool", arguments)
    assert (result["changed"], result["failed"]) == (True, False)
    assert ("POST", "/token") in [(method, path) for method, path, _body in server.requests]
    assert "token-1" not in result["shown"]
    assert server.pools["l4"]["config"]["accelerators"][0]["gpuDriverInstallationConfig"] == {
        "gpuDriverVersion": "DEFAULT"
    }


def test_missing_credentials_are_a_sentence(server: GkeServer) -> None:
    params = {"access_token": None, "credentials": "/no/such/file"}
    with pytest.raises(_gke.GkeError, match="No credentials for Google Cloud"):
        _gke.token_of(params)


# The cluster

CLUSTER: dict[str, Any] = {
    "project": "project",
    "name": "new",
    "state": "present",
    "release_channel": "REGULAR",
    "gateway_api": "CHANNEL_DISABLED",
    "private_nodes": True,
    "network": None,
    "subnetwork": None,
    "zones": ["europe-west4-b"],
    "labels": None,
    "system_machine_type": "e2-standard-4",
    "system_nodes": 1,
    "wait_timeout": 60,
}


def test_a_cluster_is_made_once_and_never_changed(server: GkeServer, gke: _gke.Gke) -> None:
    assert gke_cluster.bring(gke, CLUSTER, True)["changed"]
    assert server.changes() == []
    made = gke_cluster.bring(gke, CLUSTER, False)
    assert made["changed"]
    assert made["cluster"]["workloadIdentityConfig"] == {"workloadPool": "project.svc.id.goog"}
    assert made["cluster"]["networkConfig"]["datapathProvider"] == "ADVANCED_DATAPATH"
    assert made["cluster"]["privateClusterConfig"] == {"enablePrivateNodes": True}
    assert gke_cluster.bring(gke, {**CLUSTER, "release_channel": "RAPID"}, False)["changed"] is False
    assert server.changes() == [("POST", "clusters")]


def test_the_keys_to_a_cluster_are_not_returned(server: GkeServer, gke: _gke.Gke) -> None:
    assert "masterAuth" not in gke_cluster.bring(gke, CLUSTER, False)["cluster"]


def test_a_cluster_is_removed_once(server: GkeServer, gke: _gke.Gke) -> None:
    gone = {**CLUSTER, "name": "inference", "state": "absent"}
    assert [gke_cluster.bring(gke, gone, False)["changed"] for _time in range(2)] == [True, False]


def test_what_a_cluster_lacks_is_said() -> None:
    assert _gke_cluster.lacking({"workloadIdentityConfig": {"workloadPool": "p.svc.id.goog"}}) == []
    assert len(_gke_cluster.lacking({"autopilot": {"enabled": True}})) == 2

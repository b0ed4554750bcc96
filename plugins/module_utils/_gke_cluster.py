# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GKE cluster for inference: the API's Cluster, and whether one that is there is such. PRIVATE to the collection.

Fields are those of the discovery document of container/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What GKE adds to a cluster's own pool: small nodes for the control plane of serving, without GPUs.
_SYSTEM_POOL = "system"


def desired(params: Mapping[str, Any]) -> dict[str, Any]:
    """The Cluster that the parameters describe: VPC-native, Dataplane V2, Workload Identity, a pool without GPUs."""
    cluster: dict[str, Any] = {
        "name": params["name"],
        "releaseChannel": {"channel": params["release_channel"]},
        "workloadIdentityConfig": {"workloadPool": f"{params['project']}.svc.id.goog"},
        "networkConfig": {
            "datapathProvider": "ADVANCED_DATAPATH",
            "gatewayApiConfig": {"channel": params["gateway_api"]},
        },
        "ipAllocationPolicy": {"useIpAliases": True},
        "nodePools": [
            {
                "name": _SYSTEM_POOL,
                "initialNodeCount": params["system_nodes"],
                "config": {
                    "machineType": params["system_machine_type"],
                    "workloadMetadataConfig": {"mode": "GKE_METADATA"},
                },
            }
        ],
    }
    if params["private_nodes"]:
        cluster["privateClusterConfig"] = {"enablePrivateNodes": True}
    for name, field in (("network", "network"), ("subnetwork", "subnetwork")):
        if params[name]:
            cluster[field] = params[name]
    if params["zones"]:
        cluster["locations"] = sorted(params["zones"])
    if params["labels"]:
        cluster["resourceLabels"] = params["labels"]
    return cluster


def lacking(live: Mapping[str, Any]) -> list[str]:
    """What a cluster that is there has not and inference here needs, in words."""
    found = []
    if (live.get("autopilot") or {}).get("enabled"):
        found.append("it is an Autopilot cluster, where node pools are Google's own affair")
    if not (live.get("workloadIdentityConfig") or {}).get("workloadPool"):
        found.append("Workload Identity is off, so that pods have no identity to read a bucket with")
    return found

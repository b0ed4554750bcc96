# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GKE node pool: from parameters to the API's NodePool, and what differs from the one that is there. Pure functions.
PRIVATE to the collection.

Fields are those of the discovery document of container/v1. What UpdateNodePoolRequest has not (spot, reservation, the kind
of GPU ...) can only be had by a new pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DRIVERS = {"default": "DEFAULT", "latest": "LATEST", "disabled": "INSTALLATION_DISABLED"}
_STRATEGIES = {"time-sharing": "TIME_SHARING", "mps": "MPS"}
_EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
_RESERVATION_KEY = "compute.googleapis.com/reservation-name"
# GKE puts it on every node with GPUs.
_GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}


@dataclass(frozen=True)
class Change:
    """One request that changes a pool: the field in words of the module, the path after the pool, the method, the body."""

    field: str
    path: str
    method: str
    body: dict[str, Any]


def desired(params: Mapping[str, Any]) -> dict[str, Any]:
    """The NodePool that the parameters describe; what they leave open is left out. Raises ValueError with a sentence."""
    config: dict[str, Any] = {}
    for name, field in (
        ("machine_type", "machineType"),
        ("image_type", "imageType"),
        ("disk_size_gb", "diskSizeGb"),
        ("disk_type", "diskType"),
        ("service_account", "serviceAccount"),
        ("oauth_scopes", "oauthScopes"),
        ("labels", "labels"),
        ("tags", "tags"),
        ("spot", "spot"),
    ):
        if params[name] is not None:
            config[field] = params[name]
    if params["accelerator"]:
        config["accelerators"] = [_accelerator(params["accelerator"])]
    if params["taints"] is not None:
        config["taints"] = [_taint(entry) for entry in params["taints"]]
    if params["reservation"]:
        config["reservationAffinity"] = _reservation(params["reservation"])
    if params["workload_metadata"]:
        config["workloadMetadataConfig"] = {"mode": params["workload_metadata"]}
    if params["spot"] and params["reservation"]:
        raise ValueError("Spot nodes take no reservation: leave out spot or reservation.")
    pool: dict[str, Any] = {"name": params["name"], "config": config}
    if params["zones"]:
        pool["locations"] = sorted(params["zones"])
    if params["autoscaling"]:
        pool["autoscaling"] = _autoscaling(params["autoscaling"])
    management = {
        field: params[name]
        for name, field in (("auto_repair", "autoRepair"), ("auto_upgrade", "autoUpgrade"))
        if params[name] is not None
    }
    if management:
        pool["management"] = management
    if params["node_count"] is not None:
        pool["initialNodeCount"] = params["node_count"]
    elif params["autoscaling"]:
        pool["initialNodeCount"] = params["autoscaling"]["min_nodes"]
    return pool


def _accelerator(given: Mapping[str, Any]) -> dict[str, Any]:
    # int64 is text in Google's JSON.
    found: dict[str, Any] = {
        "acceleratorType": given["type"],
        "acceleratorCount": str(given["count"]),
        "gpuDriverInstallationConfig": {"gpuDriverVersion": _DRIVERS[given["driver"]]},
    }
    if given["partition_size"]:
        found["gpuPartitionSize"] = given["partition_size"]
    if given["sharing_strategy"]:
        if not given["max_shared_clients"]:
            raise ValueError(
                "accelerator.sharing_strategy needs accelerator.max_shared_clients: how many pods share a GPU."
            )
        found["gpuSharingConfig"] = {
            "gpuSharingStrategy": _STRATEGIES[given["sharing_strategy"]],
            "maxSharedClientsPerGpu": str(given["max_shared_clients"]),
        }
    return found


def _taint(given: Mapping[str, Any]) -> dict[str, str]:
    return {"key": given["key"], "value": given["value"] or "", "effect": _EFFECTS[given["effect"]]}


def _reservation(name: str) -> dict[str, Any]:
    if name in ("any", "none"):
        return {"consumeReservationType": "ANY_RESERVATION" if name == "any" else "NO_RESERVATION"}
    return {"consumeReservationType": "SPECIFIC_RESERVATION", "key": _RESERVATION_KEY, "values": [name]}


def _autoscaling(given: Mapping[str, Any]) -> dict[str, Any]:
    least, most = given["min_nodes"], given["max_nodes"]
    if least > most:
        raise ValueError(f"autoscaling: min_nodes {least} is more than max_nodes {most}.")
    # Of all zones together: counts for each zone are multiplied by zones that Google may add.
    found: dict[str, Any] = {"enabled": True, "totalMinNodeCount": least, "totalMaxNodeCount": most}
    if given["location_policy"]:
        found["locationPolicy"] = given["location_policy"]
    return found


# What differs


def changes(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Change]:
    """The requests that make the live pool the wanted one. Raises ValueError with what only a new pool can have."""
    refused = [name for name, differs in _fixed(live, wanted) if differs]
    if refused:
        raise ValueError(
            f"GKE cannot change {', '.join(refused)} of node pool {wanted['name']}: make a pool with another name, move the "
            "workload there (`kubectl drain`), and remove this one."
        )
    have, want = live.get("config") or {}, wanted["config"]
    found = []
    for name, field, key in (("image_type", "imageType", "imageType"), ("labels", "labels", "labels")):
        if field in want and (want[field] or None) != (have.get(field) or None):
            value = want[field] if field != "labels" else {"labels": want[field]}
            found.append(Change(name, "", "PUT", {key: value}))
    if "tags" in want and sorted(want["tags"]) != sorted(have.get("tags") or []):
        found.append(Change("tags", "", "PUT", {"tags": {"tags": want["tags"]}}))
    if "taints" in want and _taints(want["taints"]) != _taints(have.get("taints")):
        found.append(Change("taints", "", "PUT", {"taints": {"taints": _with_gpu_taint(want["taints"], have)}}))
    if _differs(want.get("workloadMetadataConfig"), have.get("workloadMetadataConfig")):
        body = {"workloadMetadataConfig": want["workloadMetadataConfig"]}
        found.append(Change("workload_metadata", "", "PUT", body))
    if "accelerators" in want and _driver(want) != _driver(have):
        found.append(Change("accelerator.driver", "", "PUT", {"accelerators": want["accelerators"]}))
    if "locations" in wanted and wanted["locations"] != sorted(live.get("locations") or []):
        found.append(Change("zones", "", "PUT", {"locations": wanted["locations"]}))
    # UpdateNodePoolRequest has neither of these: they have methods of their own.
    if _differs(wanted.get("autoscaling"), live.get("autoscaling")):
        found.append(Change("autoscaling", ":setAutoscaling", "POST", {"autoscaling": wanted["autoscaling"]}))
    if _differs(wanted.get("management"), live.get("management")):
        body = {"management": {**(live.get("management") or {}), **wanted["management"]}}
        found.append(Change("auto_repair, auto_upgrade", ":setManagement", "POST", body))
    return found


def _fixed(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What cannot be changed, and whether it is to be."""
    have, want = live.get("config") or {}, wanted["config"]
    return [
        *(
            (name, field in want and (want[field] or None) != (have.get(field) or None))
            for name, field in (
                ("machine_type", "machineType"),
                ("disk_size_gb", "diskSizeGb"),
                ("disk_type", "diskType"),
                ("service_account", "serviceAccount"),
                ("spot", "spot"),
            )
        ),
        (
            "oauth_scopes",
            "oauthScopes" in want and sorted(want["oauthScopes"]) != sorted(have.get("oauthScopes") or []),
        ),
        ("reservation", _differs(want.get("reservationAffinity"), have.get("reservationAffinity"))),
        ("accelerator", "accelerators" in want and _hardware(want) != _hardware(have)),
    ]


def _differs(want: Mapping[str, Any] | None, have: Mapping[str, Any] | None) -> bool:
    """Whether a field that is wanted is otherwise; the API leaves out what is zero, false or empty."""
    there = have or {}
    return any((value or None) != (there.get(key) or None) for key, value in (want or {}).items())


def _hardware(config: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            entry.get("acceleratorType"),
            str(entry.get("acceleratorCount")),
            entry.get("gpuPartitionSize") or None,
            tuple(sorted((entry.get("gpuSharingConfig") or {}).items())),
        )
        for entry in config.get("accelerators") or []
    ]


def _driver(config: Mapping[str, Any]) -> list[Any]:
    return [
        (entry.get("gpuDriverInstallationConfig") or {}).get("gpuDriverVersion")
        for entry in config.get("accelerators") or []
    ]


def _taints(taints: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, ...]]:
    """Without the one that GKE adds by itself."""
    listed = [(entry["key"], entry.get("value") or "", entry["effect"]) for entry in taints or []]
    return sorted(set(listed) - {(_GPU_TAINT["key"], _GPU_TAINT["value"], _GPU_TAINT["effect"])})


def _with_gpu_taint(wanted: Sequence[Mapping[str, Any]], have: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An update replaces the list: what GKE has added stays."""
    there = _GPU_TAINT in [dict(entry) for entry in have.get("taints") or []]
    return [*wanted, *([_GPU_TAINT] if there and _GPU_TAINT not in list(wanted) else [])]


def merged(live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """How the pool will be, for the diff: what is wanted over what is there."""
    if live is None:
        return dict(wanted)
    result = {**live, **{key: value for key, value in wanted.items() if key not in ("config", "initialNodeCount")}}
    for key in ("autoscaling", "management"):
        if key in wanted:
            result[key] = {**(live.get(key) or {}), **wanted[key]}
    have = live.get("config") or {}
    result["config"] = {**have, **wanted["config"]}
    if "taints" in wanted["config"]:
        result["config"]["taints"] = _with_gpu_taint(wanted["config"]["taints"], have)
    return result


def shown(pool: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a diff shows of a pool: not what GKE alone says of it."""
    keys = ("name", "config", "locations", "autoscaling", "management", "initialNodeCount")
    return {key: pool[key] for key in keys if key in pool} if pool else {}

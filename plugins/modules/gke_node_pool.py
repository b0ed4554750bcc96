#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gke_node_pool
short_description: A node pool with GPUs on GKE
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Makes, changes and removes a node pool of a GKE cluster, with the GPU driver, sharing, spot, reservations, several zones
    and autoscaling that C(google.cloud.gcp_container_node_pool) has no options for.
  - What an option leaves out stays as it is. What GKE cannot change on a pool (machine type, kind and number of GPUs, spot,
    reservation, disk, account) is refused with the way out, before anything is changed.
options:
  name:
    description: Name of the pool.
    type: str
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  state:
    description: Whether the pool is to be there.
    type: str
    choices: [present, absent]
    default: present
  machine_type:
    description: The kind of machine, for example V(a3-highgpu-8g) or V(g2-standard-48).
    type: str
  accelerator:
    description: The GPUs of each node.
    type: dict
    suboptions:
      type:
        description: Google's name of the GPU, for example V(nvidia-h100-80gb).
        type: str
        required: true
      count:
        description: How many each node has.
        type: int
        required: true
      driver:
        description:
          - The driver that Google installs. V(disabled) - none, for the GPU operator.
          - Older versions of GKE install none if nobody says which; so this is always said.
        type: str
        choices: [default, latest, disabled]
        default: default
      partition_size:
        description: The size of the slices (MIG) that each GPU is cut into, for example V(1g.10gb).
        type: str
      sharing_strategy:
        description: How several pods share a GPU.
        type: str
        choices: [time-sharing, mps]
      max_shared_clients:
        description: How many pods share a GPU.
        type: int
  image_type:
    description: The image of the nodes, for example V(COS_CONTAINERD) or V(UBUNTU_CONTAINERD).
    type: str
  disk_size_gb:
    description: The boot disk. Container images and models lie on it.
    type: int
  disk_type:
    description: Its kind, for example V(pd-balanced), V(pd-ssd) or V(hyperdisk-balanced).
    type: str
  labels:
    description: The labels of the nodes, all of them.
    type: dict
  taints:
    description: The taints of the nodes, all of them. The one that GKE puts on nodes with GPUs stays.
    type: list
    elements: dict
    suboptions:
      key:
        description: Its key.
        type: str
        required: true
      value:
        description: Its value.
        type: str
      effect:
        description: What it does to pods that do not tolerate it.
        type: str
        choices: [NoSchedule, PreferNoSchedule, NoExecute]
        default: NoSchedule
  tags:
    description: The network tags of the nodes, all of them.
    type: list
    elements: str
  spot:
    description: Whether the nodes are spot machines, which Google may take back at any time.
    type: bool
  reservation:
    description: The reservation that the nodes are taken from, by its name; V(any) that matches, or V(none).
    type: str
  zones:
    description: The zones of the nodes. Not all zones of a region have each GPU.
    type: list
    elements: str
  autoscaling:
    description: How many nodes there may be, in all zones together.
    type: dict
    suboptions:
      min_nodes:
        description: The least. V(0) lets the pool vanish while nothing asks for it.
        type: int
        default: 0
      max_nodes:
        description: The most.
        type: int
        required: true
      location_policy:
        description: V(ANY) takes machines where there are some, which is what spot and scarce GPUs want; V(BALANCED) spreads them.
        type: str
        choices: [ANY, BALANCED]
  node_count:
    description: How many nodes a new pool begins with, per zone. Without it, C(autoscaling.min_nodes). Not compared later.
    type: int
  service_account:
    description: The Google service account of the nodes.
    type: str
  oauth_scopes:
    description: What the nodes may ask Google's APIs for.
    type: list
    elements: str
  workload_metadata:
    description: What pods see of the metadata server. V(GKE_METADATA) is Workload Identity.
    type: str
    choices: [GKE_METADATA, GCE_METADATA]
  auto_repair:
    description: Whether Google makes sick nodes anew.
    type: bool
  auto_upgrade:
    description: Whether Google upgrades the nodes.
    type: bool
extends_documentation_fragment:
  - llmstack.serving._gke
  - llmstack.serving._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: google.cloud.gcp_container_node_pool
  - module: llmstack.serving.gke_cluster
"""

EXAMPLES = r"""
- name: H100 nodes that come when they are needed
  llmstack.serving.gke_node_pool:
    project: my-project
    location: europe-west4
    cluster: inference
    name: h100
    machine_type: a3-highgpu-8g
    accelerator:
      type: nvidia-h100-80gb
      count: 8
      driver: latest
    zones: [europe-west4-b, europe-west4-c]
    autoscaling:
      min_nodes: 0
      max_nodes: 4
      location_policy: ANY
    spot: true
    labels:
      pool: inference
    workload_metadata: GKE_METADATA
"""

RETURN = r"""
node_pool:
  description: The pool as Google's API shows it, or will show it in check mode. Empty if it is not there.
  returned: success
  type: dict
  sample: {name: h100, status: RUNNING, locations: [europe-west4-b]}
changed_fields:
  description: The options that were, or would be, changed on a pool that was there.
  returned: success
  type: list
  elements: str
  sample: [autoscaling]
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _gke, _gke_node_pool


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_gke.ARGUMENT_SPEC,
            "name": {"type": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "machine_type": {"type": "str"},
            "accelerator": {
                "type": "dict",
                "options": {
                    "type": {"type": "str", "required": True},
                    "count": {"type": "int", "required": True},
                    "driver": {"type": "str", "choices": ["default", "latest", "disabled"], "default": "default"},
                    "partition_size": {"type": "str"},
                    "sharing_strategy": {"type": "str", "choices": ["time-sharing", "mps"]},
                    "max_shared_clients": {"type": "int"},
                },
            },
            "image_type": {"type": "str"},
            "disk_size_gb": {"type": "int"},
            "disk_type": {"type": "str"},
            "labels": {"type": "dict"},
            "taints": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "key": {"type": "str", "required": True, "no_log": False},
                    "value": {"type": "str"},
                    "effect": {
                        "type": "str",
                        "choices": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                        "default": "NoSchedule",
                    },
                },
            },
            "tags": {"type": "list", "elements": "str"},
            "spot": {"type": "bool"},
            "reservation": {"type": "str"},
            "zones": {"type": "list", "elements": "str"},
            "autoscaling": {
                "type": "dict",
                "options": {
                    "min_nodes": {"type": "int", "default": 0},
                    "max_nodes": {"type": "int", "required": True},
                    "location_policy": {"type": "str", "choices": ["ANY", "BALANCED"]},
                },
            },
            "node_count": {"type": "int"},
            "service_account": {"type": "str"},
            "oauth_scopes": {"type": "list", "elements": "str"},
            "workload_metadata": {"type": "str", "choices": ["GKE_METADATA", "GCE_METADATA"]},
            "auto_repair": {"type": "bool"},
            "auto_upgrade": {"type": "bool"},
        },
        supports_check_mode=True,
    )
    try:
        result = bring(_gke.client(module.params), module.params, module.check_mode)
    except _gke.MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(str(error)))
    except (_gke.GkeError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def bring(gke: _gke.Gke, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the pool to its state. Raises GkeError and ValueError with a sentence."""
    deadline = time.monotonic() + params["wait_timeout"]
    pools = f"clusters/{params['cluster']}/nodePools"
    path = f"{pools}/{params['name']}"
    live = gke.get(path)
    if params["state"] == "absent":
        if live and not check_mode:
            gke.change("DELETE", path, None, deadline)
        return result_of(live, None, [], live is not None)
    wanted = _gke_node_pool.desired(params)
    changes = _gke_node_pool.changes(live, wanted) if live else []
    after = _gke_node_pool.merged(live, wanted) if live is None or changes else live
    if not check_mode:
        if live is None:
            gke.change("POST", pools, {"nodePool": wanted}, deadline)
        for change in changes:
            gke.change(change.method, path + change.path, change.body, deadline)
        if live is None or changes:
            after = gke.get(path) or after
    return result_of(live, after, [change.field for change in changes], live is None or bool(changes))


def result_of(
    before: dict[str, Any] | None, after: dict[str, Any] | None, fields: list[str], changed: bool
) -> dict[str, Any]:
    return {
        "changed": changed,
        "node_pool": after or {},
        "changed_fields": fields,
        "diff": {"before": _gke_node_pool.shown(before), "after": _gke_node_pool.shown(after)},
    }


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gke_cluster
short_description: A GKE cluster that GPU node pools are added to
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Makes a cluster with Dataplane V2, Workload Identity and a small pool without GPUs, and waits until it runs.
  - A cluster that is there is never changed. What it has not and inference needs comes as a warning.
options:
  name:
    description: Name of the cluster.
    type: str
    required: true
  state:
    description: V(absent) removes the cluster with everything in it.
    type: str
    choices: [present, absent]
    default: present
  release_channel:
    description: How soon Google upgrades it.
    type: str
    choices: [RAPID, REGULAR, STABLE, EXTENDED]
    default: REGULAR
  gateway_api:
    description: Whether Google installs the CRDs of the Gateway API. With V(CHANNEL_STANDARD) set C(gateway_install_crds=false).
    type: str
    choices: [CHANNEL_DISABLED, CHANNEL_STANDARD]
    default: CHANNEL_DISABLED
  private_nodes:
    description: Whether the nodes have no addresses on the internet. Images then need Cloud NAT or a mirror.
    type: bool
    default: true
  network:
    description: The VPC network. Without it, C(default).
    type: str
  subnetwork:
    description: The subnetwork.
    type: str
  zones:
    description: The zones of nodes whose pool says nothing else.
    type: list
    elements: str
  labels:
    description: Labels of the cluster, for example for its costs.
    type: dict
  system_machine_type:
    description: The machines of the pool without GPUs.
    type: str
    default: e2-standard-4
  system_nodes:
    description: How many of them there are in each zone.
    type: int
    default: 1
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
  - module: llmstack.serving.gke_node_pool
"""

EXAMPLES = r"""
- name: A cluster
  llmstack.serving.gke_cluster:
    project: my-project
    location: europe-west4
    name: inference
    zones: [europe-west4-b, europe-west4-c]
"""

RETURN = r"""
cluster:
  description: The cluster as Google's API shows it, without the keys to it. Empty if it is not there.
  returned: success
  type: dict
  sample: {name: inference, status: RUNNING, endpoint: 203.0.113.7}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _gke, _gke_cluster


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_gke.ARGUMENT_SPEC,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "release_channel": {
                "type": "str",
                "choices": ["RAPID", "REGULAR", "STABLE", "EXTENDED"],
                "default": "REGULAR",
            },
            "gateway_api": {
                "type": "str",
                "choices": ["CHANNEL_DISABLED", "CHANNEL_STANDARD"],
                "default": "CHANNEL_DISABLED",
            },
            "private_nodes": {"type": "bool", "default": True},
            "network": {"type": "str"},
            "subnetwork": {"type": "str"},
            "zones": {"type": "list", "elements": "str"},
            "labels": {"type": "dict"},
            "system_machine_type": {"type": "str", "default": "e2-standard-4"},
            "system_nodes": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    try:
        result = bring(_gke.client(module.params), module.params, module.check_mode)
    except _gke.MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(str(error)))
    except (_gke.GkeError, ValueError) as error:
        module.fail_json(msg=str(error))
    for words in _gke_cluster.lacking(result["cluster"]) if result["cluster"] and not result["changed"] else []:
        module.warn(f"Cluster {module.params['name']}: {words}.")
    module.exit_json(**result)


def bring(gke: _gke.Gke, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the cluster to its state. Raises GkeError with a sentence."""
    deadline = time.monotonic() + params["wait_timeout"]
    path = f"clusters/{params['name']}"
    live = gke.get(path)
    if params["state"] == "absent":
        if live and not check_mode:
            gke.change("DELETE", path, None, deadline)
        return result_of(live, None, live is not None)
    if live:
        return result_of(live, live, False)
    wanted = _gke_cluster.desired(params)
    after: dict[str, Any] = wanted
    if not check_mode:
        gke.change("POST", "clusters", {"cluster": wanted}, deadline)
        after = gke.get(path) or wanted
    return result_of(None, after, True)


def result_of(before: dict[str, Any] | None, after: dict[str, Any] | None, changed: bool) -> dict[str, Any]:
    shown = [{key: value for key, value in (item or {}).items() if key != "masterAuth"} for item in (before, after)]
    return {"changed": changed, "cluster": shown[1], "diff": {"before": shown[0], "after": shown[1]} if changed else {}}


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_operator_info
short_description: Whether a cluster wants NVIDIA's GPU operator, and how it is
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Looks at the GPU nodes and at what manages them, and says whether the GPU operator is to be installed, with which values on
    this cloud, and whether the installed version can be upgraded to another in one step.
  - Can wait until the C(ClusterPolicy) or C(GPUCluster) is ready.
  - Fails if the operator would hand out GPUs a second time, if it has both kinds of configuration, or if an upgrade leaves out
    a release.
options:
  mode:
    description:
      - V(auto) - the operator, unless the nodes offer their GPUs already without it or the cloud is going to do so.
        V(operator) - the operator. V(managed) - the cloud or somebody else.
    type: str
    choices: [auto, operator, managed]
    default: auto
  version:
    description: The version that is to be installed.
    type: str
  namespace:
    description: Where the operator is, or is to be.
    type: str
    default: gpu-operator
  wait_timeout:
    description:
      - Seconds to wait until the operator says that it is ready. Without it, the module does not wait.
      - An image that cannot be pulled ends the wait early.
    type: int
    default: 0
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
seealso:
  - module: llmstack.serving.gpu_check
"""

EXAMPLES = r"""
- name: Does this cluster want the operator?
  llmstack.serving.gpu_operator_info:
    version: v26.7.0
  register: operator

- name: Wait until all nodes are done
  llmstack.serving.gpu_operator_info:
    wait_timeout: 900
  when: operator.install
"""

RETURN = r"""
install:
  description: Whether the operator is to be installed, or kept.
  returned: success
  type: bool
  sample: true
reason:
  description: Why.
  returned: success
  type: str
  sample: No node offers a GPU yet.
cloud:
  description: V(gke), V(eks), V(aks) or null, from the labels of the GPU nodes.
  returned: success
  type: str
values:
  description: The values of the chart that this cloud asks for.
  returned: success
  type: dict
  sample: {driver: {enabled: false}}
installed:
  description: The operator that is there, as C(namespace), C(release) and C(version); null if there is none.
  returned: success
  type: dict
  sample: {namespace: gpu-operator, release: gpu-operator, version: v26.3.2}
state:
  description: What the C(ClusterPolicy) or C(GPUCluster) says; V(absent) if there is neither.
  returned: success
  type: str
  sample: ready
nodes:
  description: How many nodes have GPUs, as far as anything says so.
  returned: success
  type: int
  sample: 4
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_operator, _gpu_survey
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Cluster
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError

# The operator sets its state after each round of a few seconds.
PAUSE_SECONDS = 2.0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "mode": {"type": "str", "choices": ["auto", "operator", "managed"], "default": "auto"},
            "version": {"type": "str"},
            "namespace": {"type": "str", "default": "gpu-operator"},
            "wait_timeout": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    module.no_log_values.update(secrets(module.params))
    try:
        result = look(Kube(connection(module.params)), module.params)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except (ValueError, KubeError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


def look(kube: Kube, params: dict[str, Any]) -> dict[str, Any]:
    """The module's result. Raises ValueError and KubeError with a sentence."""
    nodes, cluster, _listed = _gpu_survey.survey(kube, "")
    if not nodes:
        # The survey leaves the operator out where there is nothing for it to do.
        cluster = _gpu_survey.operator(kube)
    installed = _gpu_operator.installed(kube.list("apps/v1", "Deployment", labels="app=gpu-operator")[0])
    problem = _gpu_operator.conflict(cluster.cluster_policies, cluster.gpu_clusters)
    plan = _gpu_operator.plan(nodes, params["mode"], installed is not None)
    if plan["install"] and params["version"]:
        problem = problem or elsewhere(installed, params["namespace"])
        problem = problem or _gpu_operator.upgrade_problem((installed or {}).get("version"), params["version"])
    if problem:
        raise ValueError(problem)
    state = wait(kube, params, cluster) if params["wait_timeout"] > 0 else _gpu_operator.state(objects(cluster))[0]
    return {**plan, "installed": installed, "state": state, "nodes": len(nodes)}


def elsewhere(installed: dict[str, Any] | None, namespace: str) -> str | None:
    """Why a second operator must not be installed."""
    if installed and installed["namespace"] != namespace:
        return (
            f"A GPU operator is installed in namespace {installed['namespace']} already: set gpu_operator_namespace to that, or "
            "gpu_operator_mode to managed."
        )
    return None


def objects(cluster: Cluster) -> list[dict[str, Any]]:
    return [*cluster.cluster_policies, *cluster.gpu_clusters]


def wait(kube: Kube, params: dict[str, Any], cluster: Cluster) -> str:
    """The state, once it is ready. Raises ValueError with what it waited for."""
    deadline = time.monotonic() + params["wait_timeout"]
    while True:
        state, words = _gpu_operator.state(objects(cluster))
        if state == "ready":
            return state
        pods = kube.list("v1", "Pod", params["namespace"])[0]
        missing = _gpu_operator.unpullable(pods)
        if missing:
            raise ValueError(
                f"{words}. An image cannot be pulled: {'; '.join(missing[:3])}. Correct it, or the mirror that it comes from."
            )
        if time.monotonic() >= deadline:
            waiting = _gpu_operator.unready(pods)
            names = f" Not ready: {', '.join(waiting[:5])}." if waiting else ""
            raise ValueError(
                f"{words} after {params['wait_timeout']} seconds.{names} Read the logs of those pods; the driver takes longest."
            )
        time.sleep(PAUSE_SECONDS)
        cluster = _gpu_survey.operator(kube)


if __name__ == "__main__":
    main()

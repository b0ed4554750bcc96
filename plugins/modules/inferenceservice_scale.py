#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inferenceservice_scale
short_description: Scale, stop or start an InferenceService, and nothing else of it
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Sets the number of replicas of a running InferenceService, or the two numbers between which its autoscaler moves, and waits
    until they serve. Pods that run go on running.
  - Stops it (its pods and their GPUs are given back, the InferenceService stays) and starts it again, by KServe's own stop
    annotation.
  - C(kubectl scale) cannot do this, because the InferenceService has no scale subresource, and KServe undoes it on the
    Deployment.
  - The inventory remains the truth. What should last belongs there too, or the next run of C(deploy.yml) sets it back.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._change
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Sends reads and dry runs only.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  replicas:
    description: A fixed number of replicas. Instead of O(min_replicas) and O(max_replicas).
    type: int
  min_replicas:
    description: Least number of replicas. Without an autoscaler it is the number of replicas.
    type: int
  max_replicas:
    description: Greatest number of replicas that the autoscaler may make.
    type: int
  state:
    description: Whether it runs. Without it that stays as it is.
    type: str
    choices: [started, stopped]
seealso:
  - module: llmstack.serving.inferenceservice
  - module: llmstack.serving.inferenceservice_update
"""

EXAMPLES = r"""
- name: Five replicas
  llmstack.serving.inferenceservice_scale:
    name: llama
    namespace: model-serving
    replicas: 5

- name: Let the autoscaler go up to twenty
  llmstack.serving.inferenceservice_scale:
    name: llama
    namespace: model-serving
    max_replicas: 20

- name: Free the GPUs over night
  llmstack.serving.inferenceservice_scale:
    name: llama
    namespace: model-serving
    state: stopped
"""

RETURN = r"""
inferenceservice:
  description: The InferenceService as served last (after the wait).
  returned: success
  type: dict
  sample:
    apiVersion: serving.kserve.io/v1beta1
    kind: InferenceService
    metadata:
      name: llama
      namespace: model-serving
url:
  description: External URL.
  returned: success
  type: str
  sample: http://llama-model-serving.example.com
endpoint:
  description: Ways to reach it, as in M(llmstack.serving.inferenceservice).
  returned: success
  type: dict
  sample:
    host: llama-model-serving.example.com
model_status:
  description: C(status.modelStatus) of KServe.
  returned: success
  type: dict
  sample:
    transitionStatus: UpToDate
revision:
  description: Revision of the predictor's Deployment, or name of the ready Knative revision.
  returned: success
  type: str
  sample: "3"
pods:
  description: The pods, if it was waited for, as in M(llmstack.serving.inferenceservice).
  returned: success
  type: list
  elements: dict
  sample:
    - name: llama-predictor-7d9c5b6f4-abcde
      phase: is ready
phases:
  description: How long the newest ready pod took for what.
  returned: success
  type: list
  elements: dict
  sample:
    - phase: model downloaded
      seconds: 312
commands:
  description: Commands to look further.
  returned: success
  type: list
  elements: str
  sample:
    - kubectl -n model-serving describe inferenceservice llama
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.llmstack.serving.plugins.module_utils._change_module import ARGUMENTS, run
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_apply import Outcome, Settings
from ansible_collections.llmstack.serving.plugins.module_utils._kube_change import carry_out
from ansible_collections.llmstack.serving.plugins.module_utils._serving_change import scaled

_OPTIONS = ("replicas", "min_replicas", "max_replicas", "state")


def scale(
    kube: Kube, service: dict[str, Any], settings: Settings, params: dict[str, Any]
) -> tuple[Outcome, dict[str, Any]]:
    manifest = scaled(service, settings.field_manager, **{name: params[name] for name in _OPTIONS})
    return carry_out(kube, service, manifest, settings), {}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "replicas": {"type": "int"},
            "min_replicas": {"type": "int"},
            "max_replicas": {"type": "int"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
        },
        required_one_of=[_OPTIONS],
        mutually_exclusive=[("replicas", "min_replicas"), ("replicas", "max_replicas")],
        supports_check_mode=True,
    )
    run(module, scale)


if __name__ == "__main__":
    main()

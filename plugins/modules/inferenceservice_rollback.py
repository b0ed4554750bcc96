#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inferenceservice_rollback
short_description: Make an InferenceService again what it was
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Goes back to one of the last ten revisions of an InferenceService and waits until it serves. Every change that this
    collection makes leaves a revision (a C(ControllerRevision) beside the InferenceService, which goes with it).
  - Whether it is stopped stays as it is, and so does how it scales, unless O(scaling=true).
  - In check mode nothing is written and RV(revisions) lists where one can go.
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
  revision:
    description:
      - Number of the revision, as in RV(revisions). It is the generation that the InferenceService had.
      - Without it the newest one with other pods than now that was not taken back.
    type: int
  scaling:
    description: Also restore the numbers of replicas and the autoscaler.
    type: bool
    default: false
seealso:
  - module: llmstack.serving.inferenceservice_update
"""

EXAMPLES = r"""
- name: What it was before the last change
  llmstack.serving.inferenceservice_rollback:
    name: llama
    namespace: model-serving

- name: A certain revision, with the replicas that it had
  llmstack.serving.inferenceservice_rollback:
    name: llama
    namespace: model-serving
    revision: 4
    scaling: true
"""

RETURN = r"""
rolled_back_to:
  description: Number of the revision that it was made again.
  returned: success
  type: int
  sample: 4
revisions:
  description: What is remembered, newest first, as it was before this task.
  returned: success
  type: list
  elements: dict
  contains:
    revision:
      description: Number of the revision.
      type: int
      returned: always
      sample: 4
    current:
      description: Whether the InferenceService was this one.
      type: bool
      returned: always
      sample: false
    changed_at:
      description: When it became so, in ISO 8601, or V(unknown).
      type: str
      returned: always
      sample: "2026-11-02T03:14:00+00:00"
    changed_by:
      description: Who made it so.
      type: str
      returned: always
      sample: ansible@control-node
    storage_uri:
      description: Where its model is.
      type: str
      returned: always
      sample: s3://models/llama-3.1-8b
    runtime:
      description: Its runtime.
      type: str
      returned: always
      sample: llmstack-vllm
    image:
      description: Image of its engine, if it was not the runtime's.
      type: str
      returned: always
      sample: docker.io/vllm/vllm-openai:v0.32.0
    min_replicas:
      description: Least number of replicas.
      type: int
      returned: always
      sample: 2
    failed:
      description: Why it never served, if it was taken back.
      type: str
      returned: always
      sample: null
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

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_history, _serving_history
from ansible_collections.llmstack.serving.plugins.module_utils._change_module import ARGUMENTS, run
from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import OptionError
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_apply import Outcome, Settings
from ansible_collections.llmstack.serving.plugins.module_utils._kube_change import carry_out
from ansible_collections.llmstack.serving.plugins.module_utils._serving_change import gone_back


def roll_back(
    kube: Kube, service: dict[str, Any], settings: Settings, params: dict[str, Any]
) -> tuple[Outcome, dict[str, Any]]:
    own = _kube_history.revisions(kube, service)
    chosen = _serving_history.chosen(own, service, params["revision"])
    if chosen is None:
        raise OptionError(_serving_history.none_to_choose(own, service, params["revision"]))
    outcome = carry_out(kube, service, gone_back(chosen, service, scaling=params["scaling"]), settings)
    return outcome, {"rolled_back_to": int(chosen["revision"]), "revisions": _serving_history.told(own, service)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "revision": {"type": "int"},
            "scaling": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, roll_back)


if __name__ == "__main__":
    main()

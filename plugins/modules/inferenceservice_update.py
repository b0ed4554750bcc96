#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inferenceservice_update
short_description: Give a running InferenceService another model, image or runtime, and take it back if that does not serve
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Changes the given fields of a running InferenceService, leaves all others as they are, and waits until the new revision
    serves. The old replicas serve until then, where there are GPUs for both.
  - If it fails, or does not serve within O(wait_timeout), the InferenceService is made exactly what it was before, it is waited
    until that serves, and the module fails with the cause and with what is true now.
  - What has served before is kept on the cluster; M(llmstack.serving.inferenceservice_rollback) goes back to it at any time.
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
  storage_uri:
    description: Where the new model is, for example V(s3://models/llama-v2).
    type: str
  runtime:
    description: Name of the ServingRuntime or ClusterServingRuntime.
    type: str
  runtime_version:
    description: Replaces the tag of the runtime's image.
    type: str
  image:
    description: Image of the engine instead of the runtime's.
    type: str
  args:
    description: Arguments after the runtime's. They replace those that it has.
    type: list
    elements: str
  take_back:
    description: Make it what it was before if the update fails. Needs O(wait=true), without which nobody sees a failure.
    type: bool
    default: true
seealso:
  - module: llmstack.serving.inferenceservice
  - module: llmstack.serving.inferenceservice_rollback
  - module: llmstack.serving.inferenceservice_scale
"""

EXAMPLES = r"""
- name: Serve the next version of the model
  llmstack.serving.inferenceservice_update:
    name: llama
    namespace: model-serving
    storage_uri: s3://models/llama-3.3-70b-v2
    wait_timeout: 3600

- name: A newer engine for this service only
  llmstack.serving.inferenceservice_update:
    name: llama
    namespace: model-serving
    image: docker.io/vllm/vllm-openai:v0.32.0
"""

RETURN = r"""
taken_back:
  description: Whether the update was taken back. Then the task has failed, and RV(ignore:changed) is true nevertheless.
  returned: always, unless nothing was sent
  type: bool
  sample: false
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
from ansible_collections.llmstack.serving.plugins.module_utils._kube_change import update


def change(
    kube: Kube, service: dict[str, Any], settings: Settings, params: dict[str, Any]
) -> tuple[Outcome, dict[str, Any]]:
    done = update(kube, service, params, settings, params["take_back"])
    extra: dict[str, Any] = {"taken_back": done.back is not None and done.back.error is None}
    if done.outcome.error:
        extra["msg"] = done.message(service)
    return done.outcome, extra


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "storage_uri": {"type": "str"},
            "runtime": {"type": "str"},
            "runtime_version": {"type": "str"},
            "image": {"type": "str"},
            "args": {"type": "list", "elements": "str"},
            "take_back": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run(module, change)


if __name__ == "__main__":
    main()

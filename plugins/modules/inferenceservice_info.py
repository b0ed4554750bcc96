#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inferenceservice_info
short_description: How KServe InferenceServices are, and why
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Lists InferenceServices with their health, judged as M(llmstack.serving.inferenceservice) judges them while it waits, by their
    Deployments and pods rather than by their status alone.
  - Asks the API server three times, however many InferenceServices there are; logs and events only of pods that fail.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
options:
  name:
    description: Name of one InferenceService. Without it all are listed.
    type: str
  namespace:
    description: Namespace to look into. Without it all namespaces.
    type: str
  label_selectors:
    description: Label selectors that must all match, for example V(team=search).
    type: list
    elements: str
    default: []
seealso:
  - module: llmstack.serving.inferenceservice
"""

EXAMPLES = r"""
- name: Everything that is served on this cluster
  llmstack.serving.inferenceservice_info:
  register: services

- name: Fail if something does not serve as it should
  ansible.builtin.assert:
    that: services.inferenceservices | rejectattr('health.state', 'in', ['ready', 'stopped']) | length == 0

- name: One of them
  llmstack.serving.inferenceservice_info:
    name: llama
    namespace: model-serving
"""

RETURN = r"""
inferenceservices:
  description: The InferenceServices that were found, by namespace and name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
      sample: llama
    namespace:
      description: Its namespace.
      type: str
      returned: always
      sample: model-serving
    health:
      description: How it is.
      type: dict
      returned: always
      contains:
        state:
          description:
            - V(ready) serves what its spec says now, V(progressing) is on the way, V(stopped) was stopped.
            - V(degraded) still serves, but its newest revision fails; V(failed) does not serve.
          type: str
          returned: always
          sample: failed
        phase:
          description: What is waited for, or what is lacking, in words.
          type: str
          returned: always
          sample: does not serve
        cause:
          description: Kind of the failure, such as V(image), V(unschedulable), V(storage_missing), V(argument).
          type: str
          returned: always
          sample: unschedulable
        message:
          description: The failure and its remedy in words.
          type: str
          returned: always
          sample: "No node has room: too little nvidia.com/gpu on 6 nodes. Free GPUs or add nodes with them."
    url:
      description: External URL.
      type: str
      returned: always
      sample: http://llama-model-serving.example.com
    endpoint:
      description: Ways to reach it, as in M(llmstack.serving.inferenceservice).
      type: dict
      returned: always
      sample:
        host: llama-model-serving.example.com
    model_status:
      description: C(status.modelStatus) of KServe.
      type: dict
      returned: always
      sample:
        transitionStatus: UpToDate
    revision:
      description: Revision of the predictor's Deployment, or name of the ready Knative revision.
      type: str
      returned: always
      sample: "3"
    pods:
      description: Its pods, as in M(llmstack.serving.inferenceservice).
      type: list
      elements: dict
      returned: always
      sample:
        - name: llama-predictor-7d9c5b6f4-abcde
          phase: is ready
    phases:
      description: How long the newest ready pod took for what.
      type: list
      elements: dict
      returned: always
      sample:
        - phase: model downloaded
          seconds: 312
    commands:
      description: Commands to look further.
      type: list
      elements: str
      returned: always
      sample:
        - kubectl -n model-serving describe inferenceservice llama
    resource:
      description: The InferenceService as served.
      type: dict
      returned: always
      sample:
        kind: InferenceService
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._serving_list import listed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "name": {"type": "str"},
            "namespace": {"type": "str"},
            "label_selectors": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.no_log_values.update(secrets(module.params))
    try:
        services = listed(
            Kube(connection(module.params)),
            module.params["namespace"],
            name=module.params["name"],
            labels=",".join(module.params["label_selectors"]),
        )
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, inferenceservices=services)


if __name__ == "__main__":
    main()

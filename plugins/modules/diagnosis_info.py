#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnosis_info
short_description: What is wrong with a serving stack, and what to do about it
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Looks at nodes, the control plane's workloads, half-installed Helm releases, certificates, webhooks without a pod behind them,
    Gateways and their routes, the health of all models, autoscalers, GPUs and recent warnings, and says what deserves attention,
    with a remedy for each.
  - Reads only. What it may not read is a finding of its own, so that a short report never means that nothing was seen.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
options:
  namespaces:
    description: Namespaces of the control plane. One that is missing or has no workload is a finding.
    type: list
    elements: str
    default: [cert-manager, istio-system, kserve]
  optional_namespaces:
    description: Namespaces of components that a cluster need not have. They are looked at if they are there.
    type: list
    elements: str
    default: [gpu-operator, keda, knative-serving, llm-d-system, lws-system, monitoring]
  events_minutes:
    description: How far back warnings of the cluster are told, in minutes. The API server keeps them for an hour.
    type: int
    default: 60
seealso:
  - module: llmstack.serving.gpu_check
  - module: llmstack.serving.inferenceservice_info
"""

EXAMPLES = r"""
- name: What is wrong
  llmstack.serving.diagnosis_info:
  register: diagnosis

- name: Show it
  ansible.builtin.debug:
    msg: "{{ diagnosis.text.splitlines() }}"

- name: Fail if something is broken
  ansible.builtin.assert:
    that: diagnosis.report.counts.critical == 0
"""

RETURN = r"""
report:
  description: The diagnosis.
  returned: success
  type: dict
  contains:
    time:
      description: When it was made, in ISO 8601.
      type: str
      returned: always
      sample: "2026-11-02T03:14:00+00:00"
    kubernetes:
      description: Version of the API server.
      type: str
      returned: always
      sample: v1.36.2
    healthy:
      description: Whether nothing is critical and nothing a warning.
      type: bool
      returned: always
      sample: false
    counts:
      description: How many findings there are of each severity.
      type: dict
      returned: always
      sample: {critical: 1, warning: 0, note: 2}
    findings:
      description: The findings, the worst first.
      type: list
      elements: dict
      returned: always
      contains:
        severity:
          description: V(critical) if something does not work, V(warning) if it soon will not or part of it does not, else V(note).
          type: str
          returned: always
          sample: critical
        area:
          description: One of V(cluster), V(control plane), V(gateway), V(models), V(gpus), V(events).
          type: str
          returned: always
          sample: models
        subject:
          description: The object.
          type: str
          returned: always
          sample: InferenceService model-serving/llama
        message:
          description: What is wrong, in words.
          type: str
          returned: always
          sample: "It is failed: No node has room."
        remedy:
          description: What to do, or a command that shows more.
          type: str
          returned: always
          sample: kubectl -n model-serving describe inferenceservice llama
    looked_at:
      description: What the diagnosis rests on.
      type: dict
      returned: always
      sample: {nodes: 3, workloads: {kserve: 1 of 1 complete}}
text:
  description: The same for a person.
  returned: success
  type: str
  sample: "All is well. Kubernetes v1.36.2, 3 nodes"
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _diagnosis
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_diagnosis import observe
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "namespaces": {"type": "list", "elements": "str", "default": ["cert-manager", "istio-system", "kserve"]},
            "optional_namespaces": {
                "type": "list",
                "elements": "str",
                "default": ["gpu-operator", "keda", "knative-serving", "llm-d-system", "lws-system", "monitoring"],
            },
            "events_minutes": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets(params))
    try:
        kube = Kube(connection(params))
        seen = observe(kube, params["namespaces"], params["optional_namespaces"], params["events_minutes"])
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    report = _diagnosis.report(seen)
    module.exit_json(changed=False, report=report, text=_diagnosis.text(report))


if __name__ == "__main__":
    main()

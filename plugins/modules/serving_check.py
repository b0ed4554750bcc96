#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: serving_check
short_description: Is what is served fit for use?
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Judges served models and the cluster below them by what is seen there, and by asking the models - pods, GPUs, the loaded
    model, endpoints, metrics, autoscaling, the load test, monitoring, the right answers, tokenizer and chat template, streaming,
    draining, certificates, alerts, policies and versions.
  - A check that would only repeat the failure of another one is skipped, so that what is red is the cause. What is not
    installed is skipped with the reason. Skipped is not passed.
  - Writes the findings as JSON, Markdown, JUnit XML and one self-contained HTML file, and keeps earlier runs as a trend.
  - Pods and Services are asked through the API server (C(get) and C(create) on C(pods/proxy) and C(services/proxy)).
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Looks and asks as usual, because that is how a running cluster is checked, but writes no files and evicts no pod.
      - A service that is not there yet is skipped instead of failed.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - It keeps nothing on the cluster, so it never reports C(changed). Report files do not count.
options:
  services:
    description: The models that should be served.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the object.
        type: str
        required: true
      kind:
        description: Its kind.
        type: str
        choices: [InferenceService, LLMInferenceService]
        default: InferenceService
      model:
        description: Name under which the model is asked for. Without it, the name of the object.
        type: str
      api:
        description: What the model is asked for.
        type: str
        choices: [chat, completions, embeddings]
        default: chat
      path_prefix:
        description: What to put between the URL of the service and C(/v1).
        type: str
        default: ""
  namespace:
    description: Namespace of the O(services).
    type: str
    default: model-serving
  gateway:
    description:
      - C(NAMESPACE/NAME) of the Gateway that users come through, or its URL as this machine reaches it. Empty if the host
        names of the services can be resolved here.
    type: str
    default: ""
  component_namespaces:
    description: Namespaces that hold the stack. All workloads there must run, and their images tell the versions.
    type: list
    elements: str
    default: []
  prompt:
    description: What the models are asked.
    type: str
    default: Say hello in one word.
  max_tokens:
    description: Greatest length of an answer, in tokens.
    type: int
    default: 16
  known_answers:
    description: Questions with answers that are known.
    type: list
    elements: dict
    default: []
    suboptions:
      prompt:
        description: The question.
        type: str
        required: true
      pattern:
        description: Regular expression that must be found in the answer.
        type: str
        required: true
  attempts:
    description: How often an endpoint is asked through the Gateway, 3 seconds apart, until it answers.
    type: int
    default: 10
  timeout_seconds:
    description: Longest time for one answer.
    type: float
    default: 60
  endpoint_api_key:
    description: API key of the model servers. (O(api_key) is the one of the Kubernetes API.)
    type: str
  endpoint_ca_cert:
    description: PEM file with the certificate authorities of the endpoints.
    type: path
  load_tests:
    description: Load tests that were made with M(llmstack.serving.load_test).
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Name of the service that was asked.
        type: str
        required: true
      report:
        description: Path of its JSON report, if there is one.
        type: path
      problem:
        description: Why there is none.
        type: str
        default: ""
  tested_versions:
    description:
      - Versions by component, as C(versions_table) of the role versions has them.
      - Another version is a warning, a component that is not made for this version of Kubernetes a failure.
    type: dict
    default: {}
  try_drain:
    description:
      - Evict a pod of each service in the middle of a long answer, and see that the answer comes to its end and, with more
        than one pod, that other requests are answered meanwhile. Otherwise only the settings are looked at.
      - With one pod, the service is gone until another one is ready.
    type: bool
    default: false
  required:
    description:
      - Points of which something must pass. With them, skipped is failed.
      - Not in check mode, which sends no load and may run before anything is installed.
    type: list
    elements: str
    default: []
  fail_on:
    description: Which findings make the verdict C(fail).
    type: str
    choices: [fail, warn, never]
    default: fail
  enforce:
    description: Fail the task when the verdict is C(fail). Otherwise it is only in the result.
    type: bool
    default: true
  report_dir:
    description: Directory for report files. It is made if missing. Without it none are written.
    type: path
  report_name:
    description: Name of the report, and of its files.
    type: str
    default: validation
  report_formats:
    description: Which files to write.
    type: list
    elements: str
    choices: [json, html, markdown, junit]
    default: [json, html, markdown, junit]
  history:
    description: How many earlier runs to keep beside the report (in C(<report_name>-history)) and to plot as a trend. 0 keeps none.
    type: int
    default: 20
seealso:
  - module: llmstack.serving.load_test
  - module: llmstack.serving.inferenceservice_info
"""

EXAMPLES = r"""
- name: Is it fit for use?
  llmstack.serving.serving_check:
    services:
      - name: llama-3-8b
    gateway: kserve/kserve-ingress-gateway
    component_namespaces: [cert-manager, istio-system, kserve]
    known_answers:
      - prompt: What is the capital of France?
        pattern: (?i)paris
    report_dir: reports

- name: Before a release, with monitoring and policies in place and a pod that is really evicted
  llmstack.serving.serving_check:
    services:
      - name: llama-3-8b
    gateway: https://10.0.0.5
    try_drain: true
    required: [monitoring, policies, load_test]
    load_tests:
      - service: llama-3-8b
        report: reports/load-test.json
    fail_on: warn
    report_dir: reports
"""

RETURN = r"""
report:
  description: The report. The schema is docs/validation-report.schema.json of the collection.
  returned: always
  type: dict
  sample:
    kind: ValidationReport
    verdict: fail
    failures: ["llama-3-8b, Pods run: 1 of 2 pods are ready."]
    counts: {pass: 14, warn: 0, fail: 1, skip: 5}
    checks:
      - id: pods
        category: pods
        subject: llama-3-8b
        status: fail
        message: 1 of 2 pods are ready.
        evidence: [llama-3-8b-predictor-7d9c5b6f4-abcde loads the model]
        remediation: "See what it waits for: kubectl -n model-serving describe inferenceservice llama-3-8b"
        seconds: 0.042
report_files:
  description: The files that were written.
  returned: always
  type: list
  elements: str
  sample: [reports/validation.json, reports/validation.html, reports/validation.md, reports/validation.xml]
lines:
  description: The outcome for a terminal, with a command to ask each model.
  returned: always
  type: list
  elements: str
  sample: ["Model:    llama-3-8b"]
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _validation_report, _validation_run
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_prompts import APIS
from ansible_collections.llmstack.serving.plugins.module_utils._validation_look import KINDS


def argument_spec() -> dict:
    return {
        **AUTH_ARG_SPEC,
        "services": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "kind": {"type": "str", "choices": list(KINDS), "default": "InferenceService"},
                "model": {"type": "str"},
                "api": {"type": "str", "choices": list(APIS), "default": "chat"},
                "path_prefix": {"type": "str", "default": ""},
            },
        },
        "namespace": {"type": "str", "default": "model-serving"},
        "gateway": {"type": "str", "default": ""},
        "component_namespaces": {"type": "list", "elements": "str", "default": []},
        "prompt": {"type": "str", "default": "Say hello in one word."},
        "max_tokens": {"type": "int", "default": 16, "no_log": False},
        "known_answers": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "prompt": {"type": "str", "required": True},
                "pattern": {"type": "str", "required": True},
            },
        },
        "attempts": {"type": "int", "default": 10},
        "timeout_seconds": {"type": "float", "default": 60},
        "endpoint_api_key": {"type": "str", "no_log": True},
        "endpoint_ca_cert": {"type": "path"},
        "load_tests": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "service": {"type": "str", "required": True},
                "report": {"type": "path"},
                "problem": {"type": "str", "default": ""},
            },
        },
        "tested_versions": {"type": "dict", "default": {}},
        "try_drain": {"type": "bool", "default": False},
        "required": {"type": "list", "elements": "str", "default": []},
        "fail_on": {"type": "str", "choices": list(_validation_report.FAIL_ON), "default": "fail"},
        "enforce": {"type": "bool", "default": True},
        "report_dir": {"type": "path"},
        "report_name": {"type": "str", "default": "validation"},
        "report_formats": {
            "type": "list",
            "elements": "str",
            "choices": list(_validation_run.FORMATS),
            "default": list(_validation_run.FORMATS),
        },
        "history": {"type": "int", "default": 20},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.no_log_values.update(secrets(module.params))
    try:
        result = _validation_run.run(Kube(connection(module.params)), module.params, module.check_mode)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except (LoadError, KubeError) as error:
        module.fail_json(msg=str(error))
    if module.params["enforce"] and result["report"]["verdict"] == "fail":
        module.fail_json(changed=False, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

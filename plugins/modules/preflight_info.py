#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
short_description: Everything that would keep models from being served, before anything is changed
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Looks at the control node, the cluster, the GPUs, the models, the images and the bucket at the same time, and returns
    one finding for everything it looked at - not only for the first that is wrong.
  - The role P(llmstack.serving.preflight#role) fills in the options from the variables of the collection.
  - Nothing is written. Permissions are asked for with C(SelfSubjectAccessReview), which the API server answers and forgets;
    images are asked for with a C(HEAD) request to their registry, and the bucket is listed.
options:
  components:
    description: The version table, as in the role P(llmstack.serving.versions#role).
    type: dict
    default: {}
  allow_unsupported_kubernetes:
    description: Whether a version of Kubernetes that a component does not support is only a warning.
    type: bool
    default: false
  helm_binary:
    description: The Helm that is used. Without it, Helm is not looked at.
    type: str
  helm_version:
    description: The lowest version of Helm that will do.
    type: str
    default: "4.0.0"
  python_packages:
    description: The lowest versions of the Python packages that the modules need, by name.
    type: dict
    default: {}
  unknown_variables:
    description: Variables that look like this collection's and that nothing reads, each with C(name) and the C(nearest) right one.
    type: list
    elements: dict
    default: []
  permissions:
    description:
      - What the account must be allowed to do, as rules with C(apiGroups), C(resources) and C(verbs) like those of a ClusterRole.
      - Each is asked for in all namespaces first. Where a rule has C(namespaces), what is refused is asked for in each of them.
      - What is refused fails the task; where a rule says in C(without) what is not possible then, it is a warning.
    type: list
    elements: dict
    default: []
  installs:
    description:
      - Components that may be there already, as entries with C(name), C(selector) (labels of its Deployment anywhere in the
        cluster), C(namespace) and C(release) that are expected, and C(variable) and C(role) to name in a sentence.
    type: list
    elements: dict
    default: []
  operators:
    description: CRDs of programs that install these components themselves, each with what it is in words.
    type: dict
    default: {}
  crds:
    description:
      - What CRDs must be like, as entries with C(name), C(groups), C(versions) (that must be served, by group), C(release)
        (C(namespace/name) of the Helm release they belong to), C(except) (names of CRDs of these groups that are another's),
        C(version_key) (the annotation or label with their version), C(version), C(keep) (what to do to keep newer ones),
        and C(required_by) (what cannot do without them).
    type: list
    elements: dict
    default: []
  namespaces:
    description: Namespaces that are used.
    type: list
    elements: str
    default: []
  objects:
    description: Objects that will be applied, as entries with C(api_version), C(kind), C(namespace) and C(name), to find who else keeps them.
    type: list
    elements: dict
    default: []
  field_managers:
    description: Names of field managers that are our own, beside C(llmstack.serving).
    type: list
    elements: str
    default: []
  node_selector:
    description: Labels of the GPU nodes, as in V(pool=inference).
    type: str
    default: ""
  gpu_resource:
    description: The resource that GPUs are asked for by.
    type: str
    default: nvidia.com/gpu
  gpu_promise:
    description:
      - Who is to bring GPUs that are not there yet, as a sentence. What is missing is then only a warning.
    type: str
    default: ""
  gpu_operator_planned:
    description: Whether the GPU operator will be installed. GPUs that are missing are then only a warning, as long as no node offers any.
    type: bool
    default: false
  min_driver:
    description: The lowest GPU driver that will do.
    type: str
  cuda_version:
    description: The version of CUDA in the engine's image; it decides the lowest driver.
    type: str
  namespace:
    description: Where the models are served.
    type: str
    default: model-serving
  services:
    description: What is served, as in the role P(llmstack.serving.inference_service#role).
    type: list
    elements: dict
    default: []
  llm_deployments:
    description: What is served by llm-d, as in the role P(llmstack.serving.llmd#role). Each kind of pods (prefill, decode) is looked at.
    type: list
    elements: dict
    default: []
  runtime:
    description:
      - What the runtime gives to every service - C(max_model_len), C(gpu_memory_utilization), C(engine_version), C(resources), C(args).
    type: dict
    default: {}
  models:
    description: Models that are uploaded, as in the role P(llmstack.serving.model_storage#role).
    type: list
    elements: dict
    default: []
  s3:
    description: The bucket that models are uploaded to and served from, as in M(llmstack.serving.s3_model_upload). Without it, S3 is not looked at.
    type: dict
    suboptions:
      bucket:
        description: Its name.
        type: str
        required: true
      create_bucket:
        description: Whether it is made if it is not there.
        type: bool
        default: false
      endpoint_url:
        description: The URL of an S3-compatible server. Without it, Amazon S3.
        type: str
      region:
        description: The region of the bucket.
        type: str
      access_key:
        description: The access key. Without it, credentials are looked for where every AWS tool does.
        type: str
      secret_key:
        description: The secret key that belongs to O(s3.access_key).
        type: str
      session_token:
        description: The token of temporary credentials.
        type: str
      profile:
        description: A profile in the shared configuration files.
        type: str
      aws_ca_bundle:
        description: A PEM file with the certificate authorities to trust.
        type: path
      validate_certs:
        description: Whether to verify the server's certificate.
        type: bool
        default: true
  volumes:
    description: Volumes that are to be made, as entries with C(name), C(storage_class) and C(access_mode).
    type: list
    elements: dict
    default: []
  images:
    description: Images that the nodes will pull.
    type: list
    elements: str
    default: []
  image_mirror:
    description: The registry that the nodes pull from instead of those in the images' names, for example V(registry.example.com/mirror).
    type: str
    default: ""
  image_mirror_plain_http:
    description: Whether O(image_mirror) has no TLS.
    type: bool
    default: false
  charts:
    description: Charts that Helm will fetch from registries, as V(host/repository:version).
    type: list
    elements: str
    default: []
  charts_plain_http:
    description: Whether the registry of O(charts) has no TLS.
    type: bool
    default: false
  files:
    description: Manifests and packed charts that this machine will read, by URL or path.
    type: list
    elements: str
    default: []
  image_pull_secrets:
    description: Secrets in O(namespace) with which images are pulled.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds after which what has not answered counts as not looked at. It bounds the whole module.
    type: int
    default: 20
  fail_on:
    description: When the task fails. V(warn) - also on warnings, and on what could not be looked at. V(never) - only report.
    type: str
    choices: [fail, warn, never]
    default: fail
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
seealso:
  - module: llmstack.serving.gpu_check
  - module: llmstack.serving.model_fit
"""

EXAMPLES = r"""
- name: Would this model find its GPUs and fit?
  llmstack.serving.preflight_info:
    namespace: model-serving
    s3:
      bucket: llm-models
    services:
      - name: llama-70b
        storage_uri: s3://llm-models/llama-70b
        gpus: 4
    llm_deployments:
      - name: qwen
        model: {uri: "s3://llm-models/qwen"}
        serving:
          mode: disaggregated
          prefill: {replicas: 2, resources: {gpu: 4}}
          decode: {replicas: 1, resources: {gpu: 8}}
    runtime:
      max_model_len: 32768
      engine_version: 0.32.0
    images:
      - docker.io/vllm/vllm-openai:v0.32.0
    fail_on: never
  register: preflight

- name: Say what is wrong
  ansible.builtin.debug:
    var: preflight.table
"""

RETURN = r"""
findings:
  description: Everything that was looked at, by category and the worst first.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The check.
      type: str
    category:
      description: What it is about, one of V(control-node), V(variables), V(cluster), V(permissions), V(conflicts), V(crds),
        V(gpus), V(scheduling), V(model), V(disk), V(images), V(storage), V(quota).
      type: str
    subject:
      description: Of what, where a check looks at several; a component, a service, an image. Empty otherwise.
      type: str
    status:
      description: V(skip) is what could not be looked at; it never counts as passed.
      type: str
      choices: [pass, warn, fail, skip]
    message:
      description: What was found.
      type: str
    remediation:
      description: The way out.
      type: str
    evidence:
      description: The numbers and names behind it.
      type: dict
  sample:
    - id: gpu-placement
      category: scheduling
      subject: llama-70b
      status: fail
      message: The service llama-70b asks for 8 nvidia.com/gpu per replica, but the largest usable node offers 4
      remediation: Add GPU nodes, install the device plugin, or set llmstack_gpu_resource.
      evidence: {gpus: 8, pods_per_replica: 1, replicas: 1, largest_node: 4, placed: 0}
summary:
  description: The worst status, and how many findings have each.
  returned: always
  type: dict
  sample: {status: fail, passed: 40, warned: 2, failed: 1, skipped: 0}
table:
  description: The findings as lines for a person.
  returned: always
  type: list
  elements: str
  sample: ["PASS | control-node | helm, kubernetes, boto3"]
problems:
  description: The sentences for which O(fail_on) fails the task.
  returned: always
  type: list
  elements: str
  sample: []
"""

import importlib.metadata
import sys
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _preflight, _preflight_survey, _s3
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import Finding

DICTS: dict[str, Any] = {"type": "list", "elements": "dict", "default": []}
# Beside those of the cluster they cannot have the aliases of amazon.aws.
S3_OPTIONS = {
    name: {key: value for key, value in option.items() if key != "aliases"} for name, option in _s3.AWS_ARG_SPEC.items()
}
STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "components": {"type": "dict", "default": {}},
            "allow_unsupported_kubernetes": {"type": "bool", "default": False},
            "helm_binary": {"type": "str"},
            "helm_version": {"type": "str", "default": "4.0.0"},
            "python_packages": {"type": "dict", "default": {}},
            "unknown_variables": DICTS,
            "permissions": DICTS,
            "installs": DICTS,
            "operators": {"type": "dict", "default": {}},
            "crds": DICTS,
            "namespaces": STRINGS,
            "objects": DICTS,
            "field_managers": STRINGS,
            "node_selector": {"type": "str", "default": ""},
            "gpu_resource": {"type": "str", "default": "nvidia.com/gpu"},
            "gpu_promise": {"type": "str", "default": ""},
            "gpu_operator_planned": {"type": "bool", "default": False},
            "min_driver": {"type": "str"},
            "cuda_version": {"type": "str"},
            "namespace": {"type": "str", "default": "model-serving"},
            "services": DICTS,
            "llm_deployments": DICTS,
            "runtime": {"type": "dict", "default": {}},
            "models": DICTS,
            "s3": {
                "type": "dict",
                "options": {
                    **S3_OPTIONS,
                    "bucket": {"type": "str", "required": True},
                    "create_bucket": {"type": "bool", "default": False},
                },
                "required_together": _s3.AWS_REQUIRED_TOGETHER,
            },
            "volumes": DICTS,
            "images": STRINGS,
            "image_mirror": {"type": "str", "default": ""},
            "image_mirror_plain_http": {"type": "bool", "default": False},
            "charts": STRINGS,
            "charts_plain_http": {"type": "bool", "default": False},
            "files": STRINGS,
            "image_pull_secrets": {**STRINGS, "no_log": False},
            "timeout": {"type": "int", "default": 20},
            "fail_on": {"type": "str", "choices": ["fail", "warn", "never"], "default": "fail"},
        },
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets(params))
    try:
        found = [*of_control_node(module), *_preflight_survey.findings(Kube(connection(params)), params)]
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except (ValueError, KubeError) as error:
        # Which cluster is not known: that is one more finding, beside those of the control node.
        text = "Check llmstack_kubeconfig and llmstack_context, or K8S_AUTH_* in the environment."
        found = [*of_control_node(module), Finding("api-server", "cluster", _preflight.FAIL, str(error), text)]
    found = _preflight.ordered(found)
    problems = _preflight.serious(found, params["fail_on"])
    result = {
        "findings": [finding.result() for finding in found],
        "summary": _preflight.summary(found),
        "table": _preflight.table(found),
        "problems": problems,
    }
    if problems:
        module.fail_json(msg=" ".join(problems), **result)
    module.exit_json(changed=False, **result)


def of_control_node(module: AnsibleModule) -> Iterator[Finding]:
    """What can be told without the cluster."""
    params = module.params
    if params["helm_binary"]:
        yield _preflight.of_helm(params["helm_binary"], helm_output(module), params["helm_version"])
    installed = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"]
    }
    yield from _preflight.of_packages(sys.executable, installed, params["python_packages"])
    yield from _preflight.of_variables(params["unknown_variables"])


def helm_output(module: AnsibleModule) -> str | None:
    """What Helm says its version is; None if it does not start."""
    try:
        code, output, _errors = module.run_command(
            [module.params["helm_binary"], "version", "--short"], handle_exceptions=False
        )
    except OSError:
        return None
    return str(output) if code == 0 else None


if __name__ == "__main__":
    main()

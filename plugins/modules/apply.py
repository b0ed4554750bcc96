#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apply
short_description: Apply Kubernetes objects and wait until they are usable
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Brings a list of Kubernetes objects to the described state by server-side apply, in the given order, and waits by watching
    until all of them are usable.
  - What changes is taken from a server-side dry run before anything is written, so neither a controller that fills in a status
    nor a webhook that rewrites a value makes a second run report C(changed).
  - Unknown fields are errors (strict field validation).
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Sends reads and dry runs only.
      - Where the API server cannot be asked yet (the kind or the namespace does not exist, an admission webhook does not answer
        or does not support dry runs), the result is predicted and a warning says so.
  diff_mode:
    support: full
    details:
      - The values of Secrets are masked.
  idempotent:
    support: full
options:
  definitions:
    description:
      - Kubernetes objects as dictionaries, applied in this order.
      - Objects whose kind is defined by a CustomResourceDefinition earlier in the list are applied when that is established.
      - A namespaced object without a namespace goes to C(default).
    type: list
    elements: dict
    required: true
  state:
    description:
      - V(present) creates and updates the objects. V(absent) deletes them in reverse order, each gone before the next one is
        deleted.
      - Nothing is deleted that the collection did not make. Objects that this module creates carry the annotation
        C(llmstack.serving/created-by) with the O(field_manager); others are left alone with a warning.
    type: str
    choices: [present, absent]
    default: present
  force_conflicts:
    description:
      - Take over fields that other field managers own. Without it, such a conflict is an error that names the manager and the
        fields.
    type: bool
    default: false
  field_manager:
    description:
      - The name under which the API server records who owns which field.
    type: str
    default: llmstack.serving
  wait:
    description:
      - Wait until the objects are usable (or gone).
      - "Usable means: CustomResourceDefinition established; Deployment, StatefulSet and DaemonSet rolled out; Job complete;
        Gateway programmed; GatewayClass accepted; Certificate, Issuer and ClusterIssuer ready; Namespace active; APIService
        available; ExternalSecret synced; InferenceService and LLMInferenceService serving what their spec says now; any other object exists and its
        C(Ready) condition, if it has one, is true."
      - A status of an older generation never counts.
    type: bool
    default: true
  wait_timeout:
    description:
      - Longest time to wait, in seconds, for all objects together. It also limits how long a webhook that does not answer yet is
        tried again.
    type: int
    default: 600
seealso:
  - module: kubernetes.core.k8s
  - name: Server-Side Apply
    description: How the API server merges field managers.
    link: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

EXAMPLES = r"""
- name: A namespace with a quota for models
  llmstack.serving.apply:
    definitions:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: model-serving
      - apiVersion: v1
        kind: ResourceQuota
        metadata:
          name: gpus
          namespace: model-serving
        spec:
          hard:
            requests.nvidia.com/gpu: "8"

- name: Objects from a template, with ten minutes for the rollout
  llmstack.serving.apply:
    definitions: "{{ lookup('ansible.builtin.template', 'engine.yaml.j2') | from_yaml_all }}"
    wait_timeout: 600

- name: Take over fields that someone set with kubectl
  llmstack.serving.apply:
    definitions: "{{ objects }}"
    force_conflicts: true

- name: Remove the objects again, the last one first
  llmstack.serving.apply:
    state: absent
    definitions: "{{ objects }}"
"""

RETURN = r"""
objects:
  description: What was done with each object, in the order in which it was done; after a failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    api_version:
      description: API version of the object.
      returned: always
      type: str
      sample: apps/v1
    kind:
      description: Kind of the object.
      returned: always
      type: str
      sample: Deployment
    namespace:
      description: Namespace of the object; null for kinds without one.
      returned: always
      type: str
      sample: model-serving
    name:
      description: Name of the object.
      returned: always
      type: str
      sample: engine
    action:
      description: What was done, in check mode what would be done. One of V(created), V(updated), V(deleted), V(unchanged).
      returned: always
      type: str
      sample: created
    resource:
      description:
        - The object as the API server served it last (after the wait), without C(managedFields), and without the schemas of a
          CustomResourceDefinition. The values of Secrets are masked.
        - Empty for objects that are gone.
      returned: always
      type: dict
      sample:
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: engine
          namespace: model-serving
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_apply, _manifest
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._progress import report


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "definitions": {"type": "list", "elements": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force_conflicts": {"type": "bool", "default": False},
            "field_manager": {"type": "str", "default": FIELD_MANAGER},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params = module.params
    definitions = params["definitions"]
    module.no_log_values.update(secrets(params) | _manifest.secret_texts(definitions))
    # What ansible-core shows of the invocation must not show Secrets.
    module.params = {**params, "definitions": [_manifest.masked(definition) for definition in definitions]}
    if problems := _manifest.problems(definitions):
        module.fail_json(msg=f"Nothing was changed: {' '.join(problems)}")
    settings = _kube_apply.Settings(
        field_manager=params["field_manager"],
        force_conflicts=params["force_conflicts"],
        check_mode=module.check_mode,
        wait=params["wait"],
        wait_timeout_seconds=params["wait_timeout"],
        progress=report,
    )
    act = _kube_apply.present if params["state"] == "present" else _kube_apply.absent
    try:
        outcome = act(Kube(connection(params)), definitions, settings)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    result = {
        "changed": outcome.changed,
        "objects": [item.result() for item in outcome.items],
        "diff": outcome.diff(),
    }
    if outcome.error:
        module.fail_json(msg=str(outcome.error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

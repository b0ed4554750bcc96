#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llmdeployment_info
short_description: How distributed LLM deployments are, part by part, and why
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Lists LLMInferenceServices of KServe with their health, judged as M(llmstack.serving.llmdeployment) judges them while it waits.
  - Asks the API server four times, however many there are; logs and events only of pods that fail.
  - Conditions cannot show everything. With O(request_check=true) each deployment that is ready is asked for one token.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
options:
  name:
    description: Name of one deployment. Without it all are listed.
    type: str
  namespace:
    description: Namespace to look into. Without it all namespaces.
    type: str
  label_selectors:
    description: Label selectors that must all match, for example V(team=search).
    type: list
    elements: str
    default: []
  request_check:
    description: Send one request for one token to each deployment that is ready, by way of its Gateway.
    type: bool
    default: false
seealso:
  - module: llmstack.serving.llmdeployment
"""

EXAMPLES = r"""
- name: Everything that is deployed on this cluster, and does it answer?
  llmstack.serving.llmdeployment_info:
    request_check: true
  register: found

- name: Fail if something does not serve as it should
  ansible.builtin.assert:
    that: found.llmdeployments | rejectattr('health.state', 'equalto', 'ready') | length == 0
"""

RETURN = r"""
llmdeployments:
  description: The deployments that were found, by namespace and name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
      sample: production-llm
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
            - V(ready) serves what its spec says now, V(progressing) is on the way, V(degraded) still serves, but a part of its newest
              version fails, V(failed) does not serve.
          type: str
          returned: always
          sample: failed
        phase:
          description: What is waited for, or what is lacking, in words.
          type: str
          returned: always
          sample: does not serve
        cause:
          description: Kind of the failure, such as V(preset_missing), V(gateway_class), V(picker), V(no_endpoints), V(unschedulable).
          type: str
          returned: always
          sample: picker
        message:
          description: The failure and its remedy in words.
          type: str
          returned: always
          sample: All conditions are True, but a request was answered with 500.
    url:
      description: URL of the deployment.
      type: str
      returned: always
      sample: http://gateway.example.com/model-serving/production-llm
    endpoint:
      description: Ways to reach it, as in M(llmstack.serving.llmdeployment).
      type: dict
      returned: always
      sample:
        path: /model-serving/production-llm
    parts:
      description: Its parts, as in M(llmstack.serving.llmdeployment).
      type: list
      elements: dict
      returned: always
      sample:
        - name: decode
          ready: true
    pods:
      description: Its pods, as in M(llmstack.serving.llmdeployment).
      type: list
      elements: dict
      returned: always
      sample:
        - name: production-llm-kserve-7d9c5b6f4-abcde
          part: decode
    picker_sees:
      description: Names of the ready pods that the InferencePool selects; among them the endpoint picker chooses.
      type: list
      elements: str
      returned: always
      sample: [production-llm-kserve-7d9c5b6f4-abcde]
    phases:
      description: How long the newest ready pod took for what.
      type: list
      elements: dict
      returned: always
      sample:
        - phase: model downloaded
          seconds: 312
    presets:
      description: The LLMInferenceServiceConfigs that KServe laid the deployment over.
      type: list
      elements: str
      returned: always
      sample: [kserve-config-llm-scheduler]
    images:
      description: Image of the main container by part.
      type: dict
      returned: always
      sample:
        picker: ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.9.0
    commands:
      description: Commands to look further.
      type: list
      elements: str
      returned: always
      sample:
        - kubectl -n model-serving describe llminferenceservice production-llm
    resource:
      description: The LLMInferenceService as served.
      type: dict
      returned: always
      sample:
        kind: LLMInferenceService
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _kube_llm,
    _kube_ready,
    _llmdeployment_result,
    _manifest,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KindNotFound, KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import API_VERSION, KIND
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_health import standing
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import Health

_POOL = ("inference.networking.k8s.io/v1", "InferencePool")
_ANSWER_SECONDS = 10.0


def found(kube: Kube, params: dict[str, Any]) -> list[dict[str, Any]]:
    """What the module returns for each deployment."""
    services, _version = kube.list(
        API_VERSION,
        KIND,
        params["namespace"],
        labels=",".join(params["label_selectors"]),
        fields=f"metadata.name={params['name']}" if params["name"] else "",
    )
    if not services:
        return []
    view = _kube_ready.glance_at(kube, services, params["namespace"])
    pools = _pools(kube, params["namespace"])
    look = _kube_ready.Look(kube)
    entries = []
    for service in services:
        seen = _kube_ready.observed(view, service, look)
        health = standing(seen)
        if params["request_check"] and health.state == "ready":
            health = _asked(kube, service, health)
        related = [*seen.workloads, *seen.pods]
        pool = pools.get((service["metadata"]["namespace"], service["metadata"]["name"]))
        entries.append(
            {
                "name": service["metadata"]["name"],
                "namespace": service["metadata"]["namespace"],
                "health": {
                    "state": health.state,
                    "phase": health.phase,
                    "cause": health.cause.kind if health.cause else None,
                    "message": str(health.cause) if health.cause else health.phase,
                },
                **_llmdeployment_result.told(service, related),
                "picker_sees": _llmdeployment_result.seen_by_picker(pool, related),
                "images": _llmdeployment_result.images(related),
                "resource": _manifest.without_noise(service),
            }
        )
    return sorted(entries, key=lambda entry: (entry["namespace"], entry["name"]))


def _pools(kube: Kube, namespace: str | None) -> dict[tuple[str, str], dict[str, Any]]:
    """The InferencePools by namespace and name of the deployment that owns them."""
    try:
        pools = kube.list(*_POOL, namespace)[0]
    except KindNotFound:
        return {}
    return {
        (pool["metadata"]["namespace"], owner["name"]): pool
        for pool in pools
        for owner in pool["metadata"].get("ownerReferences") or []
        if owner["kind"] == KIND
    }


def _asked(kube: Kube, service: dict[str, Any], health: Health) -> Health:
    refs = (((service["spec"].get("router") or {}).get("gateway") or {}).get("refs") or [{}])[0]
    gateway = _kube_llm.Gateway(kube, refs)
    cause, unknown = _kube_llm.answered(kube, service, gateway, time.monotonic() + _ANSWER_SECONDS)
    if cause:
        return Health("failed", "does not answer", cause)
    return health._replace(phase=f"{health.phase}; {unknown}") if unknown else health._replace(phase="answers requests")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "name": {"type": "str"},
            "namespace": {"type": "str"},
            "label_selectors": {"type": "list", "elements": "str", "default": []},
            "request_check": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.no_log_values.update(secrets(module.params))
    try:
        deployments = found(Kube(connection(module.params)), module.params)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, llmdeployments=deployments)


if __name__ == "__main__":
    main()

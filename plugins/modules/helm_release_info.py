#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_release_info
short_description: Whether a Helm release is as it should be
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Reads the newest record that Helm keeps of a release in the cluster, in two requests and without C(helm), and compares it with
    the chart and the values that are wanted. With it a playbook can leave out M(kubernetes.core.helm), which starts C(helm) five
    times to find out that there is nothing to do.
  - Only records that Helm keeps as Secrets are found, which is how it keeps them unless C(HELM_DRIVER) says otherwise.
  - Says nothing about the objects of the release, which somebody may have changed since.
options:
  name:
    description: Name of the release.
    type: str
    required: true
  namespace:
    description: Namespace of the release.
    type: str
    required: true
  chart:
    description: Name of the chart that is wanted, without repository and version.
    type: str
    required: true
  chart_version:
    description: Exact version of the chart that is wanted, as the chart itself writes it.
    type: str
    required: true
  values:
    description: All values that the user of the chart gives.
    type: dict
    default: {}
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
seealso:
  - module: kubernetes.core.helm
  - module: kubernetes.core.helm_info
"""

EXAMPLES = r"""
- name: Ask whether the release is as wanted
  llmstack.serving.helm_release_info:
    name: istiod
    namespace: istio-system
    chart: istiod
    chart_version: 1.30.3
    values:
      autoscaleEnabled: false
  register: istiod

- name: Install or upgrade it
  kubernetes.core.helm:
    name: istiod
    namespace: istio-system
    chart_ref: oci://ghcr.io/istio/release/charts/istiod
    chart_version: 1.30.3
    values:
      autoscaleEnabled: false
  when: not istiod.up_to_date
"""

RETURN = r"""
up_to_date:
  description: Whether the newest revision is deployed, from that version of that chart, with exactly these values.
  returned: success
  type: bool
  sample: true
status:
  description: Helm's word for the newest revision, or an empty text if there is none.
  returned: success
  type: str
  sample: deployed
revision:
  description: Number of the newest revision, 0 if there is none.
  returned: success
  type: int
  sample: 3
chart:
  description: Name of the chart of the newest revision.
  returned: when there is a revision
  type: str
  sample: istiod
chart_version:
  description: Version of that chart.
  returned: when there is a revision
  type: str
  sample: 1.30.3
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _helm_record
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError

_ARGUMENTS: dict[str, Any] = {
    **AUTH_ARG_SPEC,
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "chart": {"type": "str", "required": True},
    "chart_version": {"type": "str", "required": True},
    "values": {"type": "dict", "default": {}},
}


def newest(kube: Kube, namespace: str, name: str) -> dict[str, Any] | None:
    """The Secret with the newest revision of a release; raises KubeError."""
    records = kube.metadata("v1", "Secret", namespace, labels=f"owner=helm,name={name}")
    if not records:
        return None
    last = max((record["metadata"] for record in records), key=_helm_record.revision)
    return kube.get(Ref("v1", "Secret", namespace, last["name"]))


def main() -> None:
    module = AnsibleModule(argument_spec=_ARGUMENTS, supports_check_mode=True)
    params = module.params
    module.no_log_values.update(secrets(params))
    result: dict[str, Any] = {"changed": False, "up_to_date": False, "status": "", "revision": 0}
    try:
        secret = newest(Kube(connection(params)), params["namespace"], params["name"])
        if secret:
            release = _helm_record.decoded(secret)
            name, version = _helm_record.chart(release)
            result |= {
                "up_to_date": _helm_record.holds(release, params["chart"], params["chart_version"], params["values"]),
                "status": _helm_record.status(release),
                "revision": _helm_record.revision(secret["metadata"]),
                "chart": name,
                "chart_version": version,
            }
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except (KubeError, _helm_record.RecordError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

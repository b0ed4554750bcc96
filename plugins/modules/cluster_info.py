#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: Version and API groups of a Kubernetes cluster
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Asks the API server for its version and for the API groups it serves, in two requests.
  - Unlike M(kubernetes.core.k8s_cluster_info) it does not read every API group, which fails with C(404 Not Found) while a
    CustomResourceDefinition is being installed or removed.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.info_module
  - llmstack.serving._attributes.actiongroup
seealso:
  - module: kubernetes.core.k8s_cluster_info
"""

EXAMPLES = r"""
- name: Ask the cluster what it is
  llmstack.serving.cluster_info:
  register: cluster

- name: Check that KServe is there
  ansible.builtin.assert:
    that: "'serving.kserve.io' in cluster.api_groups"
"""

RETURN = r"""
version:
  description: What C(/version) says.
  returned: success
  type: dict
  sample:
    gitVersion: v1.35.2
    major: "1"
    minor: "35"
    platform: linux/amd64
api_groups:
  description: Served versions by API group, the preferred one first. The core group is not among them.
  returned: success
  type: dict
  sample:
    apps: [v1]
    serving.kserve.io: [v1beta1, v1alpha1]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError


def served_versions(group: dict[str, Any]) -> list[str]:
    """The versions of an entry of APIGroupList, the preferred one first."""
    preferred = group["preferredVersion"]["version"]
    others = [served["version"] for served in group["versions"] if served["version"] != preferred]
    return [preferred, *others]


def main() -> None:
    module = AnsibleModule(argument_spec=AUTH_ARG_SPEC, supports_check_mode=True)
    module.no_log_values.update(secrets(module.params))
    try:
        kube = Kube(connection(module.params))
        version = kube.request("GET", "/version", "the API server's version")
        groups = kube.request("GET", "/apis", "the API groups")["groups"]
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False, version=version, api_groups={group["name"]: served_versions(group) for group in groups}
    )


if __name__ == "__main__":
    main()

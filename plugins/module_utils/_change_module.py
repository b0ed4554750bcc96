# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that change a running InferenceService have in common. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _serving_result
from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import OptionError
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_apply import Outcome, Settings
from ansible_collections.llmstack.serving.plugins.module_utils._kube_change import find
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._kube_gateway import Gateways
from ansible_collections.llmstack.serving.plugins.module_utils._progress import report

# As in doc_fragments/_change.py.
ARGUMENTS: dict[str, Any] = {
    **AUTH_ARG_SPEC,
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    "force_conflicts": {"type": "bool", "default": False},
    "field_manager": {"type": "str", "default": FIELD_MANAGER},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 1800},
}
# The outcome, and what is to be returned besides; raises OptionError and KubeError.
Change = Callable[[Kube, dict[str, Any], Settings, dict[str, Any]], tuple[Outcome, dict[str, Any]]]


def run(module: AnsibleModule, change: Change) -> None:
    """Find the InferenceService, change it, and exit with what came of it. An extra `msg` tells a failure better."""
    params = module.params
    module.no_log_values.update(secrets(params))
    settings = Settings(
        field_manager=params["field_manager"],
        force_conflicts=params["force_conflicts"],
        check_mode=module.check_mode,
        wait=params["wait"],
        wait_timeout_seconds=params["wait_timeout"],
        progress=report,
    )
    try:
        kube = Kube(connection(params))
        service = find(kube, params["namespace"], params["name"])
        outcome, extra = change(kube, service, settings, params)
    except OptionError as error:
        module.fail_json(msg=f"InferenceService {params['namespace']}/{params['name']}: {error} Nothing was changed.")
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    result: dict[str, Any] = {"changed": outcome.changed, "diff": outcome.diff(), **extra}
    for item in outcome.items:
        result["inferenceservice"] = item.result()["resource"]
        address = Gateways(kube, params["namespace"]).address(item.resource)
        result |= _serving_result.told(item.resource, item.related, address)
    message = extra.get("msg") or (str(outcome.error) if outcome.error else "")
    if outcome.error:
        module.fail_json(**{**result, "msg": message})
    module.exit_json(**result)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of an LLM deployment, and a deployment of an inventory as the module gets it. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_picker import PROFILES


def _workload() -> dict[str, Any]:
    return {
        "type": "dict",
        "options": {
            "replicas": {"type": "int"},
            "batch_size": {"type": "int", "aliases": ["batchSize"]},
            "resources": {
                "type": "dict",
                "options": {"gpu": {"type": "int"}, "cpu": {"type": "str"}, "memory": {"type": "str"}},
            },
            "parallelism": {
                "type": "dict",
                "options": {
                    "tensor": {"type": "int"},
                    "pipeline": {"type": "int"},
                    "data": {"type": "int"},
                    "data_local": {"type": "int"},
                    "data_rpc_port": {"type": "int"},
                    "expert": {"type": "bool", "default": False},
                },
            },
            "autoscaling": {
                "type": "dict",
                "options": {
                    "min_replicas": {"type": "int", "default": 1},
                    "max_replicas": {"type": "int", "required": True},
                    "actuator": {"type": "str", "choices": ["keda", "hpa"], "default": "keda"},
                    "behavior": {"type": "dict"},
                    "variant_cost": {"type": "str"},
                },
            },
            "args": {"type": "list", "elements": "str"},
            "env": {"type": "list", "elements": "dict"},
            "worker": {"type": "dict"},
            "template": {"type": "dict"},
        },
    }


_MODEL: dict[str, Any] = {
    "name": {"type": "str"},
    "runtime": {"type": "str", "default": "vllm"},
    "uri": {"type": "str"},
    "lora": {
        "type": "dict",
        "options": {
            "adapters": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str", "required": True}, "uri": {"type": "str", "required": True}},
            },
            "max_rank": {"type": "int"},
            "max_adapters": {"type": "int"},
            "max_cpu_adapters": {"type": "int"},
        },
    },
}
_SERVING: dict[str, Any] = {
    "mode": {"type": "str", "choices": ["aggregated", "disaggregated"], "default": "aggregated"},
    "gateway": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "default": "kserve-ingress-gateway"},
            "namespace": {"type": "str", "default": "kserve"},
            "replicas": {"type": "int"},
            "resources": {"type": "dict", "options": {"cpu": {"type": "str"}, "memory": {"type": "str"}}},
        },
    },
    "scheduler": {
        "type": "dict",
        "options": {
            "enabled": {"type": "bool", "default": True},
            "profile": {"type": "str", "choices": list(PROFILES), "default": "auto"},
            "config": {"type": "dict"},
            "image": {"type": "str"},
            "node_selector": {"type": "dict"},
            "tolerations": {"type": "list", "elements": "dict"},
        },
    },
    "prefill": _workload(),
    "decode": _workload(),
}
_CACHE: dict[str, Any] = {
    "enabled": {"type": "bool", "default": True},
    "tiers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "type": {"type": "str", "choices": ["gpu", "memory", "disk"], "required": True},
            "size": {"type": "str"},
            "storage_class": {"type": "str"},
            "claim": {"type": "str"},
        },
    },
    "eviction_policy": {"type": "str", "choices": ["lru", "arc"]},
}
_MONITORING: dict[str, Any] = {
    "enabled": {"type": "bool", "default": False},
    "prometheus": {"type": "dict", "options": {"endpoint": {"type": "str"}}},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "backend": {"type": "str", "choices": ["auto", "llminferenceservice", "llmdeployment_crd"], "default": "auto"},
    "model": {"type": "dict", "options": _MODEL},
    "serving": {"type": "dict", "options": _SERVING},
    "cache": {"type": "dict", "options": _CACHE},
    "monitoring": {"type": "dict", "options": _MONITORING},
    "kv_connector": {"type": "str", "default": "NixlConnector"},
    "image": {"type": "str"},
    "routing_sidecar_image": {"type": "str"},
    "args": {"type": "list", "elements": "str"},
    "env": {"type": "list", "elements": "dict"},
    "service_account": {"type": "str"},
    "gpu_resource": {"type": "str", "default": "nvidia.com/gpu"},
    "shared_memory": {"type": "str"},
    "node_selector": {"type": "dict"},
    "tolerations": {"type": "list", "elements": "dict"},
    "affinity": {"type": "dict"},
    "topology_spread_constraints": {"type": "list", "elements": "dict"},
    "volumes": {"type": "list", "elements": "dict"},
    "image_pull_secrets": {"type": "list", "elements": "str", "no_log": False},
    "pod_security_context": {"type": "dict"},
    "priority_class_name": {"type": "str"},
    "runtime_class_name": {"type": "str"},
    "scheduler_name": {"type": "str"},
    "termination_grace_period_seconds": {"type": "int"},
    "base_refs": {"type": "list", "elements": "str"},
    "labels": {"type": "dict"},
    "annotations": {"type": "dict"},
    "definition": {"type": "dict", "default": {}},
    "allow_partial": {"type": "bool", "default": False},
    "force_conflicts": {"type": "bool", "default": False},
    "field_manager": {"type": "str", "default": "llmstack.serving"},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 1800},
    "request_check": {"type": "bool", "default": True},
}
REQUIRED_IF = [("state", "present", ["model", "serving"])]


def checked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the module gets them: with defaults, of the right types. Raises ValueError with a sentence."""
    name = f"The LLM deployment {entry.get('name') or dict(entry)}"
    try:
        result = ArgumentSpecValidator(ARGUMENT_SPEC, required_if=REQUIRED_IF).validate(dict(entry))
    except TypeError as error:
        # The validator goes into what should be a dict before it says that it is none.
        raise ValueError(f"{name} has an option of the wrong type: {error}.") from error
    if result.unsupported_parameters:
        # Those within an option come as its path.
        paths = [path if isinstance(path, str) else ".".join(path) for path in result.unsupported_parameters]
        raise ValueError(f"{name} has {', '.join(sorted(paths))}, which the module llmdeployment does not know.")
    if result.error_messages:
        raise ValueError(f"{name}: {'. '.join(message.rstrip('.') for message in result.error_messages)}.")
    return dict(result.validated_parameters)

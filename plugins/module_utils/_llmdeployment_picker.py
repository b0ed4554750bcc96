# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint picker of an LLM deployment: its configuration, and the gateways that can ask one. Pure.

PRIVATE to the collection. Plugins and weights: KServe pkg/controller/v1alpha2/llmisvc/scheduler.go and the guides of llm-d.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import Translation

PROFILES = ("auto", "load", "prefix_cache", "disaggregated", "preset")
# What the presets of KServe 0.20 speak; llm-d.ai/v1alpha1 is its later name.
_API_VERSION = "inference.networking.x-k8s.io/v1alpha1"

ISTIO = "istio.io/gateway-controller"
ENVOY_GATEWAY = "gateway.envoyproxy.io/gatewayclass-controller"
# The API group of the extension with which Envoy Gateway routes to an InferencePool (aigateway.envoyproxy.io, "InferencePool Support").
ENVOY_AI_GATEWAY = "aigateway.envoyproxy.io"
# GatewayClass.spec.controllerName -> whether it asks the picker over TLS by itself.
_OVER_TLS = {
    ISTIO: False,
    ENVOY_GATEWAY: True,
    "aigateway.envoyproxy.io/gateway-controller": True,
    "agentgateway.dev/agentgateway": True,
    "kgateway.dev/agentgateway": True,
    "kgateway.dev/kgateway": True,
    "networking.gke.io/gateway": True,
    "gke.io/gateway-controller": True,
}


def asks_over_tls(controller: str | None) -> bool:
    """Whether gateways of this controller speak TLS to an endpoint picker. Unknown ones are taken to.

    Istio sends plain text unless a DestinationRule for the picker's Service says otherwise, and then each request is
    answered with 500 although every condition is True.
    """
    return _OVER_TLS.get(controller or "", True)


def scheduler(
    given: dict[str, Any],
    gateway: dict[str, Any],
    options: dict[str, Any],
    disaggregated: bool,
    picker_tls: bool,
    lora: bool,
    made: Translation,
) -> dict[str, Any]:
    """spec.router.scheduler. The vocabulary's gateway is what receives a request and chooses pods: the picker."""
    at = "spec.router.scheduler"
    result: dict[str, Any] = {}
    container: dict[str, Any] = {"name": "main"}
    if given.get("image"):
        container["image"] = given["image"]
        made.row("serving.scheduler.image", given["image"], (f"{at}.template.containers[main].image",))
    if resources := _resources(gateway, at, made):
        container["resources"] = resources
    if not picker_tls:
        container["args"] = ["--secure-serving=false"]
        note = "Istio asks the picker in plain text, as it asks the engines"
        made.row("serving.gateway.name", "(class istio)", (f"{at}.template.containers[main].args",), (), note)
    if config := given.get("config"):
        result["config"] = {"inline": config}
        made.row("serving.scheduler.config", config, (f"{at}.config.inline",))
    else:
        profile = _profile(given.get("profile") or "auto", disaggregated, made)
        if profile != "preset":
            result["config"] = {"inline": config_of(profile, lora)}
        made.row("serving.scheduler.profile", profile, (f"{at}.config.inline",) if profile != "preset" else ())
    if gateway.get("replicas") is not None:
        if gateway["replicas"] < 1:
            made.problems.append(f"serving.gateway.replicas is {gateway['replicas']}: give at least 1.")
        result["replicas"] = gateway["replicas"]
        note = "endpoint pickers: one works, the others stand by. The proxies are the Gateway's own (role gateway)"
        made.row("serving.gateway.replicas", gateway["replicas"], (f"{at}.replicas",), (), note)
    pod: dict[str, Any] = {"containers": [container], **restricted(options)}
    for name, field_ in (("node_selector", "nodeSelector"), ("tolerations", "tolerations")):
        if given.get(name):
            pod[field_] = given[name]
            made.row(f"serving.scheduler.{name}", given[name], (f"{at}.template.{field_}",))
    if options.get("image_pull_secrets"):
        pod["imagePullSecrets"] = [{"name": name} for name in options["image_pull_secrets"]]
    result["template"] = pod
    return result


def restricted(options: dict[str, Any]) -> dict[str, Any]:
    """What restricted Pod Security asks of a pod and KServe leaves out, for its download of the model above all.

    The picker's pod downloads the model as well, for a tokenizer that KServe takes out again afterwards.
    """
    pod: dict[str, Any] = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    if str(options["model"].get("uri")).startswith(("s3://", "hf://")):
        closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        pod["initContainers"] = [{"name": "storage-initializer", "securityContext": closed}]
    return pod


def _resources(gateway: dict[str, Any], at: str, made: Translation) -> dict[str, Any]:
    from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import _no_quantity, is_quantity

    wanted = {key: value for key, value in (gateway.get("resources") or {}).items() if value is not None}
    where = f"{at}.template.containers[main].resources"
    for name, value in wanted.items():
        if not is_quantity(value):
            made.problems.append(_no_quantity(f"serving.gateway.resources.{name}", value))
        made.row(f"serving.gateway.resources.{name}", value, (f"{where}.requests", f"{where}.limits"))
    if not wanted:
        return {}
    same = {name: str(value) for name, value in wanted.items()}
    return {"requests": same, "limits": same}


def _profile(profile: str, disaggregated: bool, made: Translation) -> str:
    if profile == "auto":
        return "disaggregated" if disaggregated else "prefix_cache"
    if profile == "preset":
        return profile
    if (profile == "disaggregated") != disaggregated:
        mode = "disaggregated" if disaggregated else "aggregated"
        made.problems.append(f"serving.scheduler.profile {profile} is not for mode {mode}: leave it out.")
    return profile


def config_of(profile: str, lora: bool = False) -> dict[str, Any]:
    """The EndpointPickerConfig of a profile.

    It is always written out: where it is not, KServe keeps the one that a picker already has, also when the mode changes
    (preserveSchedulerConfig).
    """
    adapters = [("lora-affinity-scorer", 4)] if lora else []
    load = [("queue-scorer", 2), ("kv-cache-utilization-scorer", 2)]
    prefix = [("prefix-cache-scorer", 3)]
    if profile == "disaggregated":
        profiles = {
            "prefill": [("prefill-filter", None), *adapters, *prefix, *load, ("max-score-picker", None)],
            "decode": [
                ("decode-filter", None),
                *adapters,
                ("active-request-scorer", 2),
                *prefix,
                ("max-score-picker", None),
            ],
        }
        first = [{"type": "disagg-headers-handler"}, {"type": "always-disagg-pd-decider"}]
        deciders = {"deciders": {"prefill": "always-disagg-pd-decider"}}
        last = [{"type": "disagg-profile-handler", "parameters": deciders}]
    else:
        scorers = [*adapters, *load, *(prefix if profile == "prefix_cache" else [])]
        profiles = {"default": [*scorers, ("max-score-picker", None)]}
        first, last = [{"type": "single-profile-handler"}], []
    used = dict.fromkeys(name for entries in profiles.values() for name, _weight in entries)
    return {
        "apiVersion": _API_VERSION,
        "kind": "EndpointPickerConfig",
        "plugins": [*first, *({"type": name} for name in used), *last],
        "schedulingProfiles": [
            {
                "name": name,
                "plugins": [
                    {"pluginRef": plugin, **({"weight": weight} if weight is not None else {})}
                    for plugin, weight in entries
                ],
            }
            for name, entries in profiles.items()
        ],
    }

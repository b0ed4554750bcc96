# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How is an LLMInferenceService in all its parts, and what must be done if it is not well? Pure. PRIVATE to the collection.

Pods and workloads are judged as those of an InferenceService are (_serving_health); here is what an LLMInferenceService
has besides: presets, two groups of pods, an endpoint picker, a pool, a route, and the answer of a first request.
Conditions: KServe pkg/apis/serving/v1alpha2/llm_inference_service_lifecycle.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ansible_collections.llmstack.serving.plugins.module_utils import _serving_health as serving
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import (
    READY,
    SPEC_HASH,
    Verdict,
    condition,
    deletion,
    explained,
    owned,
    progressing,
    template_hash,
)
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import judge as judge_object
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import Cause, Health, Observation

# pkg/constants/constants.go
COMPONENT_LABEL = "app.kubernetes.io/component"
COMPONENTS = {
    "llminferenceservice-workload": "decode",
    "llminferenceservice-workload-prefill": "prefill",
    "llminferenceservice-router-scheduler": "picker",
    "llminferenceservice-workload-leader": "decode",
    "llminferenceservice-workload-worker": "decode",
    "llminferenceservice-workload-leader-prefill": "prefill",
    "llminferenceservice-workload-worker-prefill": "prefill",
}
# Part -> the conditions that tell of it; those that are not there do not concern this deployment.
PARTS = {
    "decode": ("MainWorkloadReady", "WorkerWorkloadReady", "ScalingReady"),
    "prefill": ("PrefillWorkloadReady", "PrefillWorkerWorkloadReady", "PrefillScalingReady"),
    "picker": ("SchedulerWorkloadReady",),
    "gateway": ("GatewaysReady",),
    "route": ("HTTPRoutesReady",),
    "pool": ("InferencePoolReady",),
}


def judge(seen: Observation) -> Health:
    """The health of one LLMInferenceService, as far as the API server knows it; see `of_answer` for the rest."""
    verdict = _rolled_out(seen.service, seen.workloads)
    if verdict.state == "ready":
        return Health("ready", "all its parts are ready")
    if cause := _of_conditions(seen) or _of_parts(seen):
        ready = condition(seen.service, "Ready")
        serves = ready is not None and ready.get("status") == "True"
        return Health("failed", "an older revision still serves" if serves else "does not serve", cause)
    return Health("progressing", serving.what_pods_do(seen, verdict.reason))


def standing(seen: Observation) -> Health:
    """As judge, for who does not wait for a change: what fails beside pods that serve is degraded, not failed."""
    found = judge(seen)
    ready = condition(seen.service, "Ready")
    if found.state == "failed" and ready is not None and ready.get("status") == "True":
        return found._replace(state="degraded")
    return found


def part_of(manifest: dict[str, Any]) -> str | None:
    """decode, prefill or picker: what a workload or pod belongs to."""
    return COMPONENTS.get((manifest["metadata"].get("labels") or {}).get(COMPONENT_LABEL, ""))


def _rolled_out(service: dict[str, Any], workloads: Iterable[dict[str, Any]]) -> Verdict:
    """All that this spec asks for is there, in this version, and KServe says so of this generation."""
    if service["metadata"].get("deletionTimestamp"):
        return progressing(deletion(service))
    status, spec = service.get("status") or {}, service["spec"]
    if status.get("observedGeneration", 0) < service["metadata"].get("generation", 0):
        return progressing("KServe has not looked at this change yet")
    own = {part_of(workload): workload for workload in workloads if owned(workload, service)}
    for part, wanted in _wanted(spec).items():
        if part not in own:
            if wanted.get("worker"):
                # A LeaderWorkerSet: its condition tells.
                continue
            return progressing(f"there is no Deployment for {part} yet")
        verdict = _workload(own[part], wanted, one_works=part == "picker")
        if verdict.state != "ready":
            return Verdict(verdict.state, f"{part}: {verdict.reason}")
    if "prefill" in own and "prefill" not in spec:
        return progressing("prefill is not gone yet")
    for name in ("PresetsCombined", *(name for names in PARTS.values() for name in names), "Ready"):
        entry = condition(service, name)
        if entry is not None and entry.get("status") != "True":
            return progressing(explained(entry))
    return READY if condition(service, "Ready") else progressing("has no condition Ready yet")


def _wanted(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {"decode": spec}
    if "prefill" in spec:
        found["prefill"] = spec["prefill"]
    scheduler = (spec.get("router") or {}).get("scheduler")
    if scheduler is not None and not (scheduler.get("pool") or {}).get("ref"):
        found["picker"] = scheduler
    return found


def _workload(workload: dict[str, Any], wanted: dict[str, Any], *, one_works: bool) -> Verdict:
    mark = (wanted.get("annotations") or {}).get(SPEC_HASH)
    if mark and template_hash(workload) != mark:
        return progressing("does not show this change yet")
    replicas = wanted.get("replicas")
    if replicas is not None and workload["spec"].get("replicas", 1) != replicas:
        return progressing(f"is not scaled to {replicas} yet")
    status = workload.get("status") or {}
    if one_works and status.get("availableReplicas") and status.get("updatedReplicas") == status.get("replicas"):
        # Of several pickers one is elected, and only that one calls itself ready.
        return READY
    verdict = judge_object(workload)
    # What keeps pods from being made is explained by _serving_health.
    return progressing(verdict.reason) if verdict.state == "failed" else verdict


# What KServe's conditions say


class _Known(NamedTuple):
    """A condition that will not heal by itself. `at_once`: no controller could still be on its way."""

    conditions: tuple[str, ...]
    pattern: re.Pattern[str]
    kind: str
    reason: str
    remedy: str
    at_once: bool = False


def _known(conditions: str, pattern: str, kind: str, reason: str, remedy: str, at_once: bool = False) -> _Known:
    return _Known(tuple(conditions.split()), re.compile(pattern, re.I | re.S), kind, reason, remedy, at_once)


_ROUTES = "HTTPRoutesReady InferencePoolReady"
_WORKLOADS = "MainWorkloadReady WorkerWorkloadReady PrefillWorkloadReady PrefillWorkerWorkloadReady"
_CONDITIONS = (
    _known(
        "PresetsCombined",
        r"ConfigNotFound",
        "preset_missing",
        "a preset or base is missing",
        "Install KServe's presets (role llmd, chart kserve-runtime-configs), or correct base_refs.",
        at_once=True,
    ),
    _known(
        "PresetsCombined",
        r"",
        "preset",
        "presets and spec do not go together",
        "Compare with `kubectl -n kserve get llminferenceserviceconfigs`.",
        at_once=True,
    ),
    _known(
        _ROUTES,
        # KServe asks first for the pool's old API group, and turns to the new one when a gateway refuses that.
        r"^(?!.*x-k8s\.io).*(InvalidKind|Group is invalid|UnsupportedProtocol|Kind is invalid)",
        "gateway_class",
        "the gateway does not route to an InferencePool",
        "Use a gateway class that does (Istio with ENABLE_GATEWAY_API_INFERENCE_EXTENSION=true, kgateway, Envoy AI Gateway, GKE), "
        "or set serving.scheduler.enabled: false.",
    ),
    _known(
        "GatewaysReady HTTPRoutesReady",
        r"RefsInvalid|GatewayPreconditionNotMet",
        "gateway_missing",
        "a Gateway or route that it names is not there",
        "Create the Gateway (role gateway), or correct serving.gateway.name and namespace.",
        at_once=True,
    ),
    _known(
        "HTTPRoutesReady",
        r"NotAllowedByListeners|NoMatchingParent|NoMatchingListenerHostname",
        "gateway_listener",
        "no listener of the Gateway takes its route",
        "Let the listener allow routes from this namespace (allowedRoutes.namespaces.from: All).",
    ),
    _known(
        _WORKLOADS,
        r"no matches for kind \"?LeaderWorkerSet|LeaderWorkerSet.*(not found|not installed|no CRD|does not exist)",
        "leaderworkerset_missing",
        "the cluster has no LeaderWorkerSet, which pods on several nodes need",
        "Install it (role llmd with llmd_install_leaderworkerset), then restart llmisvc-controller-manager.",
        at_once=True,
    ),
    _known(
        f"{_WORKLOADS} ScalingReady PrefillScalingReady",
        r"ScalingCRDNotFound|no matches for kind \"?(VariantAutoscaling|ScaledObject)",
        "scaling_crd",
        "autoscaling needs kinds that the cluster does not have",
        "Install llm-d's Workload Variant Autoscaler and KEDA, or give replicas instead of autoscaling.",
        at_once=True,
    ),
    _known(
        _WORKLOADS,
        r"service ?account.*not found",
        "service_account",
        "the ServiceAccount is missing",
        "Create it (role model_storage), or correct service_account.",
        at_once=True,
    ),
    _known(
        _WORKLOADS,
        r"Reconcile\w*Error",
        "reconcile",
        "KServe cannot make the pods",
        "See the log of llmisvc-controller-manager in namespace kserve.",
    ),
    _known(
        "InferencePoolReady SchedulerWorkloadReady HTTPRoutesReady",
        r"\w*(Reconcile|Fetch)Error",
        "reconcile",
        "KServe cannot make the way in",
        "See the log of llmisvc-controller-manager in namespace kserve.",
    ),
)


def _of_conditions(seen: Observation) -> Cause | None:
    observed = (seen.service.get("status") or {}).get("observedGeneration", 0)
    if observed < seen.service["metadata"].get("generation", 0):
        return None
    settled = serving.settled(seen)
    for known in _CONDITIONS:
        for name in known.conditions:
            entry = condition(seen.service, name)
            if entry is None or entry.get("status") != "False" or not (known.at_once or settled):
                continue
            if known.pattern.search(f"{entry.get('reason')} {entry.get('message')}"):
                told = " ".join(f"{name}: {entry.get('reason')}: {entry.get('message')}".split())[:400]
                return Cause(known.kind, _sentence(f"{known.reason} ({told})"), known.remedy)
    return None


def _of_parts(seen: Observation) -> Cause | None:
    cause = serving.cause_in_parts(seen)
    if cause is None:
        return None
    pod = next((each for each in seen.pods if each["metadata"]["name"] == cause.pod), None)
    part = part_of(pod) if pod else None
    subject = {"picker": "The endpoint picker", "decode": "The engine", "prefill": "The engine (prefill)"}.get(
        part or ""
    )
    return cause._replace(reason=cause.reason.replace("Container main", subject)) if subject else cause


# What the first request says


def of_answer(status: int, text: str, *, picker: bool) -> Cause | None:
    """What is wrong if a request through the gateway was answered so; None if it was served.

    `picker`: there is an endpoint picker. Conditions cannot show most of this.
    """
    if status == 200:
        return None
    told = " ".join(text.split())[:200] or "no text"
    answered = f"all conditions are True, but a request was answered with {status} ({told})"
    if status == 404:
        return Cause("route", _sentence(answered), "Check the routes of the Gateway: another one may take the path.")
    if status == 503 and re.search(r"no healthy upstream|no endpoints|upstream connect error", text, re.I):
        return Cause(
            "no_endpoints",
            _sentence(answered),
            "The gateway knows no pod: compare the InferencePool's selector with the pods' labels, see the NetworkPolicies.",
        )
    if status in (500, 503, 504) and picker:
        return Cause(
            "picker",
            _sentence(answered),
            "The gateway cannot ask the endpoint picker, or it finds no pod: see the log of the pods "
            "*-kserve-router-scheduler-*. With Istio, TLS to the picker needs a DestinationRule (tls.mode SIMPLE, "
            "insecureSkipVerify) or the picker's --secure-serving=false, which this module sets for class istio.",
        )
    if status in (401, 403):
        return Cause("request_denied", _sentence(answered), "Give the probe credentials, or set request_check: false.")
    return Cause("request", _sentence(answered), "See the log of the engine's pods.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]

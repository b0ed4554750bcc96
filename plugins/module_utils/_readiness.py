# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When is an object usable? One pure function per kind, from the object as served to a verdict. PRIVATE to the collection.

A verdict is never taken from a status that was written for an older generation of the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

# KServe copies it from the InferenceService to the pod template (pkg/controller/v1beta1/inferenceservice/components):
# the one proof that its controller has seen a change, because nothing in its status names a generation.
SPEC_HASH = "llmstack.serving/spec-hash"
# On everything that KServe makes for an InferenceService: pkg/constants/constants.go.
INFERENCE_SERVICE_LABEL = "serving.kserve.io/inferenceservice"
# What serves models, is judged by its workloads and pods, and keeps a history: which labels those carry (selector, name).
SERVING_LABELS = {
    "InferenceService": (INFERENCE_SERVICE_LABEL, INFERENCE_SERVICE_LABEL),
    "LLMInferenceService": ("app.kubernetes.io/part-of=llminferenceservice", "app.kubernetes.io/name"),
}


class Verdict(NamedTuple):
    """`reason` says in words what is lacking or what failed; it is empty when ready."""

    state: Literal["ready", "progressing", "failed"]
    reason: str = ""


READY = Verdict("ready")


class Wanted(NamedTuple):
    """A condition that is waited for. An empty `reason` means any."""

    type: str
    status: str = "True"
    reason: str = ""

    def met(self, manifest: dict[str, Any]) -> bool:
        entry = condition(manifest, self.type)
        return (
            entry is not None and entry.get("status") == self.status and self.reason in ("", entry.get("reason") or "")
        )


def progressing(reason: str) -> Verdict:
    return Verdict("progressing", reason)


def failed(reason: str) -> Verdict:
    return Verdict("failed", reason)


def judge(manifest: dict[str, Any]) -> Verdict:
    """Whether an object is usable. InferenceServices need more than their own object: see _serving_health."""
    if manifest.get("metadata", {}).get("deletionTimestamp"):
        return progressing(deletion(manifest))
    group = str(manifest.get("apiVersion", "")).rpartition("/")[0]
    kind = str(manifest.get("kind"))
    return _RULES.get((group, kind), _any)(manifest)


def deletion(manifest: dict[str, Any]) -> str:
    """Why an object that is being deleted is still there."""
    finalizers = manifest.get("metadata", {}).get("finalizers") or (manifest.get("spec") or {}).get("finalizers") or []
    if not finalizers:
        return "is being deleted"
    # A namespace tells what keeps it: k8s.io/kubernetes pkg/controller/namespace/deletion/status_condition_utils.go
    left = [
        str(entry.get("message"))
        for entry in (manifest.get("status") or {}).get("conditions") or []
        if entry.get("status") == "True"
        and entry.get("type") in ("NamespaceContentRemaining", "NamespaceFinalizersRemaining")
    ]
    told = f": {'; '.join(left)}" if left else ""
    return (
        f"is being deleted and waits for {', '.join(finalizers)}{told}. The controller behind that finalizer must run"
    )


def condition(manifest: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The condition, or None if it is missing or was written for an older generation of the object."""
    for entry in (manifest.get("status") or {}).get("conditions") or []:
        if entry.get("type") == name:
            observed = entry.get("observedGeneration")
            if observed is not None and observed < manifest["metadata"].get("generation", 0):
                return None
            return entry
    return None


def explained(entry: dict[str, Any]) -> str:
    """A condition in words: "Ready is False (Pending): waiting for ..."."""
    reason = f" ({entry['reason']})" if entry.get("reason") else ""
    message = f": {entry['message']}" if entry.get("message") else ""
    return f"{entry.get('type')} is {entry.get('status')}{reason}{message}"


def _needs(name: str) -> Callable[[dict[str, Any]], Verdict]:
    def rule(manifest: dict[str, Any]) -> Verdict:
        entry = condition(manifest, name)
        if entry is None:
            return progressing(f"has no condition {name} for this generation yet")
        return READY if entry.get("status") == "True" else progressing(explained(entry))

    return rule


def _exists(manifest: dict[str, Any]) -> Verdict:
    return READY


def _any(manifest: dict[str, Any]) -> Verdict:
    """Exists, and is Ready if its controller says such a thing at all."""
    status = manifest.get("status") or {}
    observed = status.get("observedGeneration")
    stale = observed is not None and observed < manifest["metadata"].get("generation", 0)
    for entry in status.get("conditions") or []:
        if entry.get("type") == "Ready":
            if stale or condition(manifest, "Ready") is None:
                return progressing("its status is of an older generation")
            return READY if entry.get("status") == "True" else progressing(explained(entry))
    return READY


def _external_secret(manifest: dict[str, Any]) -> Verdict:
    """Its Secret is what the spec says now: external-secrets v1.3 pkg/controllers/util, GetResourceVersion."""
    ready = _needs("Ready")(manifest)
    synced = str((manifest.get("status") or {}).get("syncedResourceVersion"))
    if ready == READY and not synced.startswith(f"{manifest['metadata'].get('generation', 0)}-"):
        return progressing("its operator has not seen this generation yet")
    return ready


def _custom_resource_definition(manifest: dict[str, Any]) -> Verdict:
    # k8s.io/apiextensions-apiserver pkg/controller/status/naming_controller.go
    names = condition(manifest, "NamesAccepted")
    if names is not None and names.get("status") == "False":
        return failed(explained(names))
    established = condition(manifest, "Established")
    if established is None or established.get("status") != "True":
        return progressing("is not Established yet")
    return READY


def _deployment(manifest: dict[str, Any]) -> Verdict:
    # As `kubectl rollout status`: k8s.io/kubectl pkg/polymorphichelpers/rollout_status.go
    if stale := _stale(manifest):
        return stale
    status, wanted = manifest.get("status") or {}, (manifest.get("spec") or {}).get("replicas", 1)
    for name, bad in (("ReplicaFailure", "True"), ("Progressing", "False")):
        entry = condition(manifest, name)
        # The controller writes ProgressDeadlineExceeded and then goes on trying; so does the wait, which has its own limit.
        if entry is not None and entry.get("status") == bad and entry.get("reason") != "ProgressDeadlineExceeded":
            return failed(explained(entry))
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if updated < wanted:
        return progressing(f"{updated} of {wanted} pods are updated{_deadline(manifest)}")
    if total > updated:
        return progressing(f"{total - updated} old pods are still running{_deadline(manifest)}")
    if available < updated:
        return progressing(f"{available} of {updated} pods are available{_deadline(manifest)}")
    return READY


def _deadline(manifest: dict[str, Any]) -> str:
    entry = condition(manifest, "Progressing")
    return f" ({entry['message']})" if entry and entry.get("reason") == "ProgressDeadlineExceeded" else ""


def _stateful_set(manifest: dict[str, Any]) -> Verdict:
    if stale := _stale(manifest):
        return stale
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    wanted = spec.get("replicas", 1)
    if status.get("readyReplicas", 0) < wanted:
        return progressing(f"{status.get('readyReplicas', 0)} of {wanted} pods are ready")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return READY
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    if (
        status.get("updateRevision") != status.get("currentRevision")
        and status.get("updatedReplicas", 0) < wanted - partition
    ):
        return progressing(f"{status.get('updatedReplicas', 0)} of {wanted - partition} pods are updated")
    return READY


def _daemon_set(manifest: dict[str, Any]) -> Verdict:
    if stale := _stale(manifest):
        return stale
    status = manifest.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    if (manifest.get("spec") or {}).get("updateStrategy", {}).get("type") != "OnDelete":
        updated = status.get("updatedNumberScheduled", 0)
        if updated < wanted:
            return progressing(f"{updated} of {wanted} pods are updated")
    available = status.get("numberAvailable", 0)
    return READY if available >= wanted else progressing(f"{available} of {wanted} pods are available")


def _job(manifest: dict[str, Any]) -> Verdict:
    entry = condition(manifest, "Failed")
    if entry is not None and entry.get("status") == "True":
        return failed(explained(entry))
    entry = condition(manifest, "Complete")
    if entry is not None and entry.get("status") == "True":
        return READY
    status = manifest.get("status") or {}
    return progressing(
        f"{status.get('succeeded', 0)} of {(manifest.get('spec') or {}).get('completions', 1)} pods have succeeded"
    )


def _pod(manifest: dict[str, Any]) -> Verdict:
    status = manifest.get("status") or {}
    if status.get("phase") == "Failed":
        return failed(f"failed: {status.get('reason') or ''} {status.get('message') or ''}".rstrip(": "))
    return READY if status.get("phase") == "Succeeded" else _needs("Ready")(manifest)


def _namespace(manifest: dict[str, Any]) -> Verdict:
    phase = (manifest.get("status") or {}).get("phase")
    return READY if phase == "Active" else progressing(f"its phase is {phase or 'not set yet'}")


def _leader_worker_set(manifest: dict[str, Any]) -> Verdict:
    # A replica is a group of pods. Its status names no generation; Available, Progressing and UpdateInProgress exclude each
    # other: sigs.k8s.io/lws pkg/controllers/leaderworkerset_controller.go updateConditions
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    wanted = spec.get("replicas", 1)
    kept = ((spec.get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}).get("partition") or 0
    for field, number, told in (
        ("updatedReplicas", max(0, wanted - kept), "updated"),
        ("readyReplicas", wanted, "ready"),
    ):
        if status.get(field, 0) < number:
            return progressing(f"{status.get(field, 0)} of {number} groups are {told}")
    if status.get("replicas", 0) > wanted:
        return progressing(f"{status['replicas'] - wanted} groups too many are still running")
    return _needs("Available")(manifest)


def _persistent_volume_claim(manifest: dict[str, Any]) -> Verdict:
    # Pending is all that a claim of a class with WaitForFirstConsumer shows until a pod uses it.
    phase = (manifest.get("status") or {}).get("phase")
    return failed("its volume is lost") if phase == "Lost" else READY


def _llm_inference_service(manifest: dict[str, Any]) -> Verdict:
    """LLMInferenceService: its status.observedGeneration is its own (KServe pkg/controller/v1alpha2/llmisvc)."""
    if stale := _stale(manifest):
        return stale
    presets = condition(manifest, "PresetsCombined")
    if presets is not None and presets.get("status") == "False":
        return failed(explained(presets))
    return _needs("Ready")(manifest)


def inference_service(
    manifest: dict[str, Any], workloads: Iterable[dict[str, Any]], wanted: Wanted | None = None
) -> Verdict:
    """An InferenceService of KServe serves what its spec says now. `workloads` are Deployments or Knative Services.
    `wanted` replaces the conditions that usually make it ready, such as where nothing routes to it yet.

    Its own status cannot tell: observedGeneration is the Deployment's, Ready stays True during an update, modelStatus keeps
    old failures (KServe pkg/apis/serving/v1beta1/inference_service_status.go). So its workloads must be rolled out, and
    carry the hash of the spec where the spec has one.
    """
    if manifest["metadata"].get("deletionTimestamp"):
        return progressing(deletion(manifest))
    status, spec = manifest.get("status") or {}, manifest.get("spec") or {}
    model = status.get("modelStatus") or {}
    own = [workload for workload in workloads if owned(workload, manifest)]
    if (manifest["metadata"].get("annotations") or {}).get("serving.kserve.io/stop") == "true":
        entry = condition(manifest, "Stopped")
        # With a spec that it cannot use KServe does not get as far as to say so: components/predictor.go Reconcile.
        nothing_to_stop = model.get("transitionStatus") == "InvalidSpec" and not own
        done = nothing_to_stop or (entry is not None and entry.get("status") == "True")
        return READY if done else progressing("is not stopped yet")
    for component in ("predictor", "transformer", "explainer"):
        expected = ((spec.get(component) or {}).get("annotations") or {}).get(SPEC_HASH)
        for role in _workloads_of(component, spec):
            if expected and expected not in (template_hash(workload) for workload in own if _is(role, workload)):
                return progressing(_not_seen(role, model))
    least = (spec.get("predictor") or {}).get("minReplicas")
    for workload in own:
        # Scaling changes no pod and so no hash.
        if least is not None and _is("predictor", workload) and not _scaled_to(least, workload):
            return progressing(f"{workload.get('kind')} {workload['metadata']['name']} is not scaled to {least} yet")
        verdict = _knative_service(workload) if workload.get("kind") == "Service" else _deployment(workload)
        if verdict.state != "ready":
            return Verdict(verdict.state, f"{workload.get('kind')} {workload['metadata']['name']}: {verdict.reason}")
    if model.get("transitionStatus") == "InvalidSpec":
        return failed(_last_failure(model))
    if wanted:
        entry = condition(manifest, wanted.type)
        return READY if wanted.met(manifest) else progressing(_unmet(wanted, entry))
    for name in ("PredictorReady", "IngressReady", "Ready"):
        entry = condition(manifest, name)
        if entry is None:
            return progressing(f"has no condition {name} yet")
        if entry.get("status") != "True":
            return progressing(explained(entry))
    if model.get("transitionStatus") not in ("UpToDate", None, ""):
        return progressing(f"model: {model['transitionStatus']}")
    return READY


def _scaled_to(least: int, workload: dict[str, Any]) -> bool:
    if workload.get("kind") == "Deployment":
        return bool(workload["spec"].get("replicas", 1) >= least)
    # Of a Knative Service it is a part of the revision: KServe pkg/controller/v1alpha1/utils SetAutoScalingAnnotations.
    metadata = workload["spec"]["template"].get("metadata") or {}
    said = (metadata.get("annotations") or {}).get("autoscaling.knative.dev/min-scale")
    return said in (None, str(least))


def _knative_service(manifest: dict[str, Any]) -> Verdict:
    # knative.dev/serving pkg/apis/serving/v1/service_types.go
    if stale := _stale(manifest):
        return stale
    status = manifest.get("status") or {}
    if status.get("latestReadyRevisionName") != status.get("latestCreatedRevisionName"):
        return progressing(f"revision {status.get('latestCreatedRevisionName')} is not ready yet")
    return _needs("Ready")(manifest)


def _not_seen(component: str, model: dict[str, Any]) -> str:
    told = f" (KServe says: {_last_failure(model)})" if model.get("transitionStatus") == "InvalidSpec" else ""
    return f"its {component} does not show this change yet{told}"


def _last_failure(model: dict[str, Any]) -> str:
    info = model.get("lastFailureInfo") or {}
    return f"{info.get('reason') or model.get('transitionStatus')}: {info.get('message') or 'no message'}"


def owned(workload: dict[str, Any], owner: dict[str, Any]) -> bool:
    """Whether `workload` belongs to `owner`."""
    owners = workload["metadata"].get("ownerReferences") or []
    return any(entry.get("uid") == owner["metadata"].get("uid") for entry in owners)


def _unmet(wanted: Wanted, entry: dict[str, Any] | None) -> str:
    if entry is None:
        return f"has no condition {wanted.type} yet"
    reason = f" ({wanted.reason})" if wanted.reason else ""
    return f"{explained(entry)}; {wanted.status}{reason} is waited for"


def _workloads_of(component: str, spec: dict[str, Any]) -> tuple[str, ...]:
    """How the names of a component's workloads end. Further nodes of one model are a Deployment of their own:
    KServe pkg/controller/v1beta1/inferenceservice/reconcilers/deployment, createRawWorkerDeployment."""
    several = component == "predictor" and (spec.get(component) or {}).get("workerSpec") is not None
    return (component, f"{component}-worker") if several else (component,)


def _is(component: str, workload: dict[str, Any]) -> bool:
    # <service>[-<name>]-predictor: KServe pkg/constants/constants.go
    return workload["metadata"]["name"].endswith(f"-{component}")


def template_hash(workload: dict[str, Any]) -> str | None:
    """The hash of the spec that the pods of a workload are made from."""
    template = workload["spec"]["template"].get("metadata") or {}
    return (template.get("annotations") or {}).get(SPEC_HASH)


def _stale(manifest: dict[str, Any]) -> Verdict | None:
    observed = (manifest.get("status") or {}).get("observedGeneration", 0)
    if observed < manifest["metadata"].get("generation", 0):
        return progressing("its controller has not seen this generation yet")
    return None


_RULES: dict[tuple[str, str], Callable[[dict[str, Any]], Verdict]] = {
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _persistent_volume_claim,
    ("", "Pod"): _pod,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_resource_definition,
    ("apiregistration.k8s.io", "APIService"): _needs("Available"),
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("cert-manager.io", "Certificate"): _needs("Ready"),
    ("cert-manager.io", "ClusterIssuer"): _needs("Ready"),
    ("cert-manager.io", "Issuer"): _needs("Ready"),
    ("external-secrets.io", "ExternalSecret"): _external_secret,
    ("gateway.networking.k8s.io", "Gateway"): _needs("Programmed"),
    ("gateway.networking.k8s.io", "GatewayClass"): _needs("Accepted"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): _leader_worker_set,
    ("serving.kserve.io", "ClusterServingRuntime"): _exists,
    ("serving.kserve.io", "LLMInferenceService"): _llm_inference_service,
}

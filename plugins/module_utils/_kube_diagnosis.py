# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what _diagnosis judges; nothing is written. PRIVATE to the collection.

What may not be read, or is not served, is noted in Observed.unread. Only the API server itself must answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_checks, _gpu_survey, _helm_record
from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._diagnosis import Observed
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import INFERENCE_SERVICE_LABEL
from ansible_collections.llmstack.serving.plugins.module_utils._serving_list import listed

_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
# Of a node, a pod and an event only this is needed, and there may be tens of thousands.
_KEPT_OF_STATUS = ("conditions", "containerStatuses", "phase")


def observe(kube: Kube, required: list[str], optional: list[str], events_minutes: int) -> Observed:
    """What the cluster is like. Raises KubeError if the API server does not answer."""
    version = kube.request("GET", "/version", "the API server's version")
    seen = Observed(
        now=datetime.now(UTC),
        version=version.get("gitVersion", ""),
        required=required,
        optional=[name for name in optional if name not in required],
        events_minutes=events_minutes,
    )

    def read(what: str, ask: Callable[[], Any], otherwise: Any, *, may_lack: bool = False) -> Any:
        """The answer; `may_lack`: a kind that is not served is no news."""
        try:
            return ask()
        except errors.KindNotFound as error:
            if not may_lack:
                seen.unread[what] = str(error)
        except errors.KubeError as error:
            seen.unread[what] = str(error)
        return otherwise

    seen.nodes = read("nodes", lambda: _slim(kube, "Node"), [])
    seen.namespaces = set(
        read("namespaces", lambda: [each["metadata"]["name"] for each in kube.list("v1", "Namespace")[0]], [])
    )
    for namespace in (*seen.required, *seen.optional):
        if namespace not in seen.namespaces:
            continue
        for kind in _WORKLOADS:
            seen.workloads += read(f"{kind}s of {namespace}", partial(kube.list, "apps/v1", kind, namespace), ([], ""))[
                0
            ]
        seen.pods += read(f"pods of {namespace}", partial(_slim, kube, "Pod", namespace), [])
    seen.releases = read("helm releases", lambda: _releases(kube), [])
    seen.certificates = read(
        "certificates", lambda: kube.list("cert-manager.io/v1", "Certificate")[0], [], may_lack=True
    )
    seen.webhooks = read("webhooks", lambda: _all(kube, "admissionregistration.k8s.io/v1", _WEBHOOKS), [])
    seen.backends = read("endpoints of webhooks", lambda: _backends(kube, seen.webhooks), {})
    gateway_api = "gateway.networking.k8s.io/v1"
    seen.gateways = read("gateways", lambda: kube.list(gateway_api, "Gateway")[0], [])
    seen.routes = read("routes", lambda: kube.list(gateway_api, "HTTPRoute")[0], [], may_lack=True)
    seen.models = read("inferenceservices", lambda: listed(kube), [])
    seen.llms = read(
        "llminferenceservices",
        lambda: kube.list("serving.kserve.io/v1alpha2", "LLMInferenceService")[0],
        [],
        may_lack=True,
    )
    seen.autoscalers = read(
        "autoscalers",
        lambda: kube.list("autoscaling/v2", "HorizontalPodAutoscaler", labels=INFERENCE_SERVICE_LABEL)[0],
        [],
    )
    seen.gpu_checks, seen.gpus = read("gpus", lambda: _gpus(kube), ([], {}))
    seen.events = read("events", lambda: _events(kube, seen), [])
    return seen


def _slim(kube: Kube, kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
    kept = []
    for page, _version in kube.pages("v1", kind, namespace):
        for item in page:
            status, metadata = item.get("status") or {}, item["metadata"]
            kept.append(
                {
                    "kind": kind,
                    "metadata": {key: metadata[key] for key in ("name", "namespace", "generation") if key in metadata},
                    "spec": {"unschedulable": (item.get("spec") or {}).get("unschedulable")},
                    "status": {key: status[key] for key in _KEPT_OF_STATUS if key in status},
                }
            )
    return kept


def _all(kube: Kube, api_version: str, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    return [each for kind in kinds for each in kube.list(api_version, kind)[0]]


def _releases(kube: Kube) -> list[dict[str, Any]]:
    """Helm's records of operations that have not ended or ended badly, without the release itself (helm pkg/storage/driver)."""
    labels = "owner=helm,status in (failed,pending-install,pending-upgrade,pending-rollback,uninstalling)"
    records = [{"metadata": record["metadata"]} for record in kube.metadata("v1", "Secret", labels=labels)]
    newest = _newest(kube) if records else {}

    def key(record: dict[str, Any]) -> tuple[str, str]:
        return record["metadata"]["namespace"], record["metadata"]["labels"].get("name", "")

    # An old failure that a good revision followed is history.
    return [each for each in records if _helm_record.revision(each["metadata"]) >= newest.get(key(each), 0)]


def _newest(kube: Kube) -> dict[tuple[str, str], int]:
    """The newest deployed revision of each release."""
    found: dict[tuple[str, str], int] = {}
    for record in kube.metadata("v1", "Secret", labels="owner=helm,status=deployed"):
        metadata = record["metadata"]
        key = (metadata["namespace"], metadata["labels"].get("name", ""))
        found[key] = max(found.get(key, 0), _helm_record.revision(metadata))
    return found


def _backends(kube: Kube, webhooks: list[dict[str, Any]]) -> dict[str, int]:
    """How many ready addresses each Service of a webhook has, as "namespace/service"."""
    services = {
        (service["namespace"], service["name"])
        for configuration in webhooks
        for webhook in configuration.get("webhooks") or []
        if (service := (webhook.get("clientConfig") or {}).get("service"))
    }
    counts = {}
    for namespace, name in sorted(services):
        labels = f"kubernetes.io/service-name={name}"
        slices = kube.list("discovery.k8s.io/v1", "EndpointSlice", namespace, labels=labels)[0]
        endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or []]
        # No word about it means ready: k8s.io/api discovery/v1 EndpointConditions.
        counts[f"{namespace}/{name}"] = sum(
            (endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints
        )
    return counts


def _gpus(kube: Kube) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The checks of gpu_check that need no expectation and no pod."""
    wanted = _gpu_checks.Expectations()
    nodes, cluster, _count = _gpu_survey.survey(kube, "")
    found = [finding for node in nodes for finding in _gpu_checks.of_node(node, wanted)]
    found += _gpu_checks.of_cluster(nodes, cluster, wanted)
    checks = _gpu_checks.grouped(found)
    return checks, _gpu_checks.summary(nodes, checks, wanted)


def _events(kube: Kube, seen: Observed) -> list[dict[str, Any]]:
    wanted = {*seen.required, *seen.optional, *(model["namespace"] for model in seen.models)}
    wanted |= {service["metadata"]["namespace"] for service in seen.llms}
    kept = ("count", "eventTime", "involvedObject", "lastTimestamp", "message", "reason", "series", "type")
    found = []
    for page, _version in kube.pages("v1", "Event", fields="type=Warning"):
        for event in page:
            if event["metadata"].get("namespace") in wanted:
                metadata = {"namespace": event["metadata"]["namespace"]}
                found.append({"metadata": metadata, **{key: event[key] for key in kept if key in event}})
    return found

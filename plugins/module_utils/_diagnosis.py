# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a serving stack, and what to do: observations in, findings out. Pure. PRIVATE to the collection.

A finding is a sentence that names the object and a remedy. What could not be looked at is a finding too: an empty report
must mean that all is well, never that nothing was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from ansible_collections.llmstack.serving.plugins.module_utils._readiness import condition, explained, judge

Severity = Literal["critical", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note")
AREAS = ("cluster", "control plane", "gateway", "models", "gpus", "events")
# Renewal is due at two thirds of the lifetime (cert-manager); what is left then did not renew.
_CERTIFICATE_DAYS = 7
_RESTARTS = 5


class Finding(NamedTuple):
    severity: Severity
    area: str
    subject: str
    message: str
    remedy: str


@dataclass
class Observed:
    """What was read of a cluster; lists hold objects as the API server serves them.

    `namespaces` are the names that exist; `required` and `optional` those of the control plane. `workloads` are its
    Deployments, StatefulSets and DaemonSets. `models` are entries of inferenceservice_info, `llms` LLMInferenceServices.
    `backends` says for "namespace/service" of a webhook how many addresses are ready. `gpu_checks` are those of gpu_check.
    `releases` are the Secrets of Helm releases that did not end well. `unread` says why something was not read.
    """

    now: datetime
    version: str = ""
    required: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=set)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    workloads: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    backends: dict[str, int] = field(default_factory=dict)
    gateways: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    llms: list[dict[str, Any]] = field(default_factory=list)
    autoscalers: list[dict[str, Any]] = field(default_factory=list)
    gpu_checks: list[dict[str, Any]] = field(default_factory=list)
    gpus: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    events_minutes: int = 60
    unread: dict[str, str] = field(default_factory=dict)


def findings(seen: Observed) -> list[Finding]:
    """Everything that deserves attention, the worst first."""
    rules = (_nodes, _control_plane, _restarts, _releases, _certificates, _webhooks, _gateways, _routes, _models, _llms)
    found = [finding for rule in (*rules, _autoscalers, _gpus, _events, _unread) for finding in rule(seen)]
    return sorted(found, key=lambda each: (SEVERITIES.index(each.severity), AREAS.index(each.area), each.subject))


def _name(manifest: dict[str, Any]) -> str:
    metadata = manifest["metadata"]
    where = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {where}{metadata['name']}"


# The cluster


def _nodes(seen: Observed) -> Iterator[Finding]:
    if not seen.nodes and "nodes" not in seen.unread:
        yield Finding("critical", "cluster", "nodes", "The cluster has no node.", "Add nodes: nothing can run.")
    for node in seen.nodes:
        subject = _name(node)
        ready = condition(node, "Ready")
        if ready is None or ready.get("status") != "True":
            told = explained(ready) if ready else "it has never said how it is"
            yield Finding(
                "critical",
                "cluster",
                subject,
                f"The node is not ready: {told}.",
                "See the kubelet on the node, and drain it if it does not come back.",
            )
        for entry in (node.get("status") or {}).get("conditions") or []:
            if entry.get("type", "").endswith("Pressure") and entry.get("status") == "True":
                yield Finding(
                    "warning",
                    "cluster",
                    subject,
                    f"The node is short of something: {explained(entry)}.",
                    "Free the resource; models need as much free disk as their size in the bucket.",
                )
        if (node.get("spec") or {}).get("unschedulable"):
            yield Finding(
                "note",
                "cluster",
                subject,
                "The node is cordoned: no new pod goes there.",
                f"When the work on it is done: kubectl uncordon {node['metadata']['name']}",
            )


def _unread(seen: Observed) -> Iterator[Finding]:
    for what, why in sorted(seen.unread.items()):
        yield Finding(
            "warning",
            "cluster",
            what,
            f"Not looked at: {why}",
            "Grant the right to read it, or install what serves it; until then this report says nothing about it.",
        )


# The control plane


def _control_plane(seen: Observed) -> Iterator[Finding]:
    counts = dict.fromkeys((*seen.required, *seen.optional), 0)
    for workload in seen.workloads:
        counts[workload["metadata"]["namespace"]] = counts.get(workload["metadata"]["namespace"], 0) + 1
    if seen.required and not any(counts[name] for name in seen.required):
        yield Finding(
            "critical",
            "control plane",
            ", ".join(seen.required),
            "0 of 0 workloads run in all of the control plane's namespaces: nothing is installed here.",
            "See whether kubeconfig and context name the cluster you mean; then run playbooks/install.yml.",
        )
    else:
        yield from _empty_namespaces(seen, counts)
    for workload in seen.workloads:
        verdict = judge(workload)
        # Nobody waits here: what the controller has seen and not finished is told as it is.
        if verdict.state != "ready" and not _scaled_to_nothing(workload):
            yield Finding(
                "critical" if _available(workload) == 0 else "warning",
                "control plane",
                _name(workload),
                f"It is not complete: {verdict.reason}.",
                f"kubectl -n {workload['metadata']['namespace']} describe pods, then the logs of those that do not run.",
            )


def _empty_namespaces(seen: Observed, counts: dict[str, int]) -> Iterator[Finding]:
    for name in (*seen.required, *seen.optional):
        there = name in seen.namespaces
        if counts[name] or (name in seen.optional and not there):
            continue
        lacking = "has no workload at all (0 of 0)" if there else "does not exist"
        yield Finding(
            "critical" if name in seen.required else "warning",
            "control plane",
            f"Namespace {name}",
            f"The namespace {lacking}.",
            "Run playbooks/install.yml; if the component lives elsewhere, name its namespace instead.",
        )


def _scaled_to_nothing(workload: dict[str, Any]) -> bool:
    return (workload.get("spec") or {}).get("replicas") == 0


def _available(workload: dict[str, Any]) -> int:
    status = workload.get("status") or {}
    return int(status.get("availableReplicas") or status.get("readyReplicas") or status.get("numberAvailable") or 0)


def _restarts(seen: Observed) -> Iterator[Finding]:
    for pod in seen.pods:
        entries = (pod.get("status") or {}).get("containerStatuses") or []
        for entry in entries:
            if entry.get("restartCount", 0) < _RESTARTS:
                continue
            last = (entry.get("lastState") or {}).get("terminated") or {}
            why = f", last with {last.get('reason')} (exit code {last.get('exitCode')})" if last else ""
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            yield Finding(
                "warning",
                "control plane",
                f"Pod {namespace}/{name}",
                f"Its container {entry['name']} has restarted {entry['restartCount']} times{why}.",
                f"kubectl -n {namespace} logs {name} -c {entry['name']} --previous",
            )


def _releases(seen: Observed) -> Iterator[Finding]:
    for secret in seen.releases:
        labels, namespace = secret["metadata"]["labels"], secret["metadata"]["namespace"]
        yield Finding(
            "warning",
            "control plane",
            f"Helm release {namespace}/{labels.get('name')}",
            f"Its revision {labels.get('version')} is {labels.get('status')}: the release is half-installed.",
            "Run the playbook that installs it again: it removes the record and goes on.",
        )


def _certificates(seen: Observed) -> Iterator[Finding]:
    for certificate in seen.certificates:
        verdict, status = judge(certificate), certificate.get("status") or {}
        if verdict.state != "ready":
            message, severity = f"The certificate is not ready: {verdict.reason}.", "critical"
        elif status.get("notAfter") and _time(status["notAfter"]) - seen.now < timedelta(days=_CERTIFICATE_DAYS):
            message, severity = f"The certificate ends at {status['notAfter']} and was not renewed.", "warning"
        else:
            continue
        yield Finding(
            "critical" if severity == "critical" else "warning",
            "control plane",
            _name(certificate),
            message,
            f"kubectl -n {certificate['metadata']['namespace']} describe certificate,certificaterequest; see cert-manager's log.",
        )


def _webhooks(seen: Observed) -> Iterator[Finding]:
    for configuration in seen.webhooks:
        for webhook in configuration.get("webhooks") or []:
            service = (webhook.get("clientConfig") or {}).get("service")
            if not service or webhook.get("failurePolicy", "Fail") != "Fail":
                continue
            where = f"{service['namespace']}/{service['name']}"
            if seen.backends.get(where, 1) == 0:
                yield Finding(
                    "critical",
                    "control plane",
                    f"{configuration['kind']} {configuration['metadata']['name']}",
                    f"Its webhook {webhook['name']} has no ready pod behind Service {where}: the API server refuses every "
                    "object that it asks about.",
                    f"Bring the pods of {where} up; kubectl -n {service['namespace']} get pods",
                )


# The way in


def _gateways(seen: Observed) -> Iterator[Finding]:
    if not seen.gateways and "gateways" not in seen.unread and (seen.models or seen.llms):
        yield Finding(
            "warning",
            "gateway",
            "Gateway",
            "The cluster has no Gateway: models are reachable from inside only.",
            "Run playbooks/install.yml --tags gateway, unless this is meant so.",
        )
    for gateway in seen.gateways:
        verdict = judge(gateway)
        if verdict.state != "ready":
            yield Finding(
                "critical",
                "gateway",
                _name(gateway),
                f"It takes no traffic: {verdict.reason}.",
                "See the control plane of its class (istiod) and the Service of type LoadBalancer behind it.",
            )


def _routes(seen: Observed) -> Iterator[Finding]:
    for route in seen.routes:
        for parent in (route.get("status") or {}).get("parents") or []:
            for entry in parent.get("conditions") or []:
                if entry.get("type") in ("Accepted", "ResolvedRefs") and entry.get("status") == "False":
                    yield Finding(
                        "critical",
                        "gateway",
                        _name(route),
                        f"Requests do not get through: {explained(entry)}.",
                        "Compare its parentRefs with the Gateway's listeners, its backendRefs with the Services.",
                    )


# The models


def _models(seen: Observed) -> Iterator[Finding]:
    severities: dict[str, Severity] = {"failed": "critical", "degraded": "warning", "progressing": "warning"}
    for model in seen.models:
        state, message = model["health"]["state"], model["health"]["message"]
        subject = f"InferenceService {model['namespace']}/{model['name']}"
        if state == "stopped":
            yield Finding(
                "note",
                "models",
                subject,
                "It is stopped.",
                f"To start it: playbooks/scale.yml with operations_service={model['name']} and operations_service_state=started",
            )
        elif state in severities:
            remedy = (
                f"To go back: playbooks/rollback.yml with operations_service={model['name']}"
                if state == "degraded"
                else model["commands"][0]
            )
            yield Finding(severities[state], "models", subject, f"It is {state}: {message}.".replace("..", "."), remedy)


def _llms(seen: Observed) -> Iterator[Finding]:
    for service in seen.llms:
        verdict = judge(service)
        if verdict.state != "ready":
            namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
            yield Finding(
                "critical",
                "models",
                _name(service),
                f"It is not ready: {verdict.reason}.",
                f"kubectl -n {namespace} describe llminferenceservice {name}",
            )


def _autoscalers(seen: Observed) -> Iterator[Finding]:
    for autoscaler in seen.autoscalers:
        for entry in (autoscaler.get("status") or {}).get("conditions") or []:
            if entry.get("type") in ("AbleToScale", "ScalingActive") and entry.get("status") == "False":
                yield Finding(
                    "warning",
                    "models",
                    _name(autoscaler),
                    f"It does not scale: {explained(entry)}.",
                    "Install what serves the metric (metrics-server for CPU), or scale by playbooks/scale.yml.",
                )


def _gpus(seen: Observed) -> Iterator[Finding]:
    severities: dict[str, Severity] = {"fail": "critical", "warn": "warning"}
    for check in seen.gpu_checks:
        if check["status"] in severities:
            nodes = ", ".join(check.get("nodes") or []) or "cluster"
            yield Finding(
                severities[check["status"]],
                "gpus",
                f"{check['id']} ({nodes})",
                check["message"],
                check["remediation"] or "See llmstack.serving.gpu_check.",
            )


# What the cluster complained of


def _events(seen: Observed) -> Iterator[Finding]:
    for (subject, reason), group in sorted(_grouped(seen.events, seen).items()):
        count = sum(int(event.get("count") or (event.get("series") or {}).get("count") or 1) for event in group)
        last = max(group, key=lambda event: _last(event) or datetime.min.replace(tzinfo=seen.now.tzinfo))
        namespace = last["metadata"].get("namespace", "default")
        yield Finding(
            "note",
            "events",
            subject,
            f"{reason}, {count} times in {seen.events_minutes} minutes: {' '.join(str(last.get('message')).split())[:300]}",
            f"kubectl -n {namespace} get events --field-selector involvedObject.name={last['involvedObject'].get('name')}",
        )


def _grouped(events: Iterable[dict[str, Any]], seen: Observed) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    begin = seen.now - timedelta(minutes=seen.events_minutes)
    for event in events:
        time = _last(event)
        if event.get("type") != "Warning" or time is None or time < begin:
            continue
        about = event["involvedObject"]
        where = f"{about['namespace']}/" if about.get("namespace") else ""
        groups.setdefault((f"{about.get('kind')} {where}{about.get('name')}", str(event.get("reason"))), []).append(
            event
        )
    return groups


def _last(event: dict[str, Any]) -> datetime | None:
    text = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return _time(text) if text else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# The report


def report(seen: Observed) -> dict[str, Any]:
    """The diagnosis as data: what was found, and the numbers that it rests on."""
    found = findings(seen)
    counts = {severity: sum(each.severity == severity for each in found) for severity in SEVERITIES}
    return {
        "time": seen.now.isoformat(timespec="seconds"),
        "kubernetes": seen.version,
        "healthy": counts["critical"] == 0 and counts["warning"] == 0,
        "counts": counts,
        "findings": [each._asdict() for each in found],
        "looked_at": {
            "nodes": len(seen.nodes),
            "workloads": {name: _of_namespace(seen, name) for name in (*seen.required, *seen.optional)},
            "gateways": [_name(each) for each in seen.gateways],
            "models": [
                {"name": f"{each['namespace']}/{each['name']}", "state": each["health"]["state"], "url": each["url"]}
                for each in seen.models
            ]
            + [
                {"name": _name(each), "state": judge(each).state, "url": (each.get("status") or {}).get("url")}
                for each in seen.llms
            ],
            "gpus": seen.gpus,
        },
    }


def _of_namespace(seen: Observed, namespace: str) -> str:
    own = [each for each in seen.workloads if each["metadata"]["namespace"] == namespace]
    if namespace not in seen.namespaces:
        return "no such namespace"
    return f"{sum(judge(each).state == 'ready' for each in own)} of {len(own)} complete"


def text(told: dict[str, Any]) -> str:
    """The same for a person, the worst first."""
    counts, looked = told["counts"], told["looked_at"]
    head = "All is well." if told["healthy"] else f"{counts['critical']} critical, {counts['warning']} to look at."
    lines = [f"{head} Kubernetes {told['kubernetes']}, {looked['nodes']} nodes, {told['time']}", ""]
    lines += [f"  {name:<20} {state}" for name, state in looked["workloads"].items()]
    lines += [f"  {model['name']:<40} {model['state']:<12} {model['url'] or ''}".rstrip() for model in looked["models"]]
    if looked["gpus"]:
        lines.append(f"  GPUs: {looked['gpus'].get('gpus_free')} of {looked['gpus'].get('gpus_allocatable')} free")
    for finding in told["findings"]:
        lines += [
            "",
            f"{finding['severity'].upper()}  {finding['subject']}",
            f"  {finding['message']}",
            f"  -> {finding['remedy']}",
        ]
    return "\n".join(lines) + "\n"

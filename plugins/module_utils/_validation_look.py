# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sees the facts that the checks of _validation judge: on the cluster, and by asking the models. PRIVATE to the collection.

Everything is read or asked; nothing is kept. The exception is `try_drain`, which evicts a pod because that is the question.
Pods and Services are asked through the API server, so that it works from wherever kubectl works.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _kube_ready,
    _load_client,
    _load_server,
    _load_target,
    _serving_result,
)
from ansible_collections.llmstack.serving.plugins.module_utils import _validation as judge
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import (
    Forbidden,
    Invalid,
    KindNotFound,
    KubeError,
    NotFound,
    Unreachable,
)
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError, explained
from ansible_collections.llmstack.serving.plugins.module_utils._load_prompts import PATHS
from ansible_collections.llmstack.serving.plugins.module_utils._load_wire import Answer
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import condition
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import gpus, pod_phase, standing

KINDS = {kind: api_version for api_version, kind in _load_target.KINDS.values()}
# Numbers to be repeated: an answer of a known length even of an engine that only echoes.
_LONG = "Repeat this list and nothing else: " + " ".join(str(number) for number in range(1, 301))
_STREAM_TOKENS, _DRAIN_TOKENS = 64, 300
_TEXT = "The quick brown fox jumps over the lazy dog."
_COUNTERS = ("vllm:request_success_total", "vllm:e2e_request_latency_seconds_count")
_PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "validation-"},
    "spec": {"containers": [{"name": "privileged", "image": "none", "securityContext": {"privileged": True}}]},
}
_RETRY_SECONDS = 3.0
_Seen = TypeVar("_Seen")


@dataclass(frozen=True)
class Settings:
    """What to look at. `gateway` is NAMESPACE/NAME or a URL; `load_tests` are {report, problem} by the name of the service."""

    namespace: str
    gateway: str = ""
    attempts: int = 10
    timeout_seconds: float = 60.0
    prompt: str = ""
    max_tokens: int = 16
    known_answers: tuple[dict[str, str], ...] = ()
    api_key: str | None = None
    ca_cert: str | None = None
    component_namespaces: tuple[str, ...] = ()
    tested_versions: dict[str, Any] = field(default_factory=dict)
    load_tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    no_load_test: str = "None was asked for."
    try_drain: bool = False


class Eyes:
    """Looks at one cluster; what several checks need is read once."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self.kube = kube
        self.settings = settings
        self.now = datetime.now(UTC)
        self._known: dict[Any, Any] = {}

    def once(self, key: Any, look: Callable[[], _Seen]) -> _Seen:
        if key not in self._known:
            self._known[key] = look()
        seen: _Seen = self._known[key]
        return seen

    def version(self) -> str:
        """Of Kubernetes. Raises KubeError."""
        asked = partial(self.kube.request, "GET", "/version", "the API server's version")
        return str(self.once("version", asked)["gitVersion"])

    def listed(self, api_version: str, kind: str, namespace: str | None, labels: str = "") -> list[dict[str, Any]]:
        """Objects of a kind. Raises KubeError, among them KindNotFound."""

        def look() -> list[dict[str, Any]]:
            return self.kube.list(api_version, kind, namespace, labels=labels)[0]

        return self.once((api_version, kind, namespace, labels), look)

    def listed_if_there(
        self, api_version: str, kind: str, namespace: str | None, labels: str = ""
    ) -> list[dict[str, Any]]:
        try:
            return self.listed(api_version, kind, namespace, labels)
        except KindNotFound:
            return []

    def nodes(self) -> dict[str, dict[str, Any]] | None:
        """Name to {ready, gpus}, None if nodes may not be listed."""
        try:
            nodes = self.listed("v1", "Node", None)
        except Forbidden:
            return None
        return {
            node["metadata"]["name"]: {
                "ready": (condition(node, "Ready") or {}).get("status") == "True",
                "gpus": gpus({"spec": {"containers": [{"resources": {"limits": _gpu_share(node)}}]}}),
            }
            for node in nodes
        }

    def ask(self, where: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes, str]:
        """Status, body and problem of one question through the API server. `where` is `pods/NAME:PORT` or `services/...`."""
        settings = self.settings
        try:
            status, content = self.kube.proxied(settings.namespace, where, path, body, settings.timeout_seconds)
        except (NotFound, Unreachable) as error:
            return 0, b"", str(error).rstrip(".")
        return status, content, "" if status == 200 else f"HTTP {status} {_short(content)}".strip()


def _gpu_share(node: dict[str, Any]) -> dict[str, str]:
    return {
        name: count for name, count in ((node.get("status") or {}).get("allocatable") or {}).items() if count.isdigit()
    }


class Service:
    """One served model as it is looked at."""

    def __init__(self, eyes: Eyes, entry: dict[str, Any]) -> None:
        self.eyes = eyes
        self.name: str = entry["name"]
        self.kind: str = entry["kind"]
        self.model: str = entry["model"] or entry["name"]
        self.api: str = entry["api"]
        self.path_prefix: str = entry["path_prefix"]
        self.namespace = eyes.settings.namespace
        # Where the Gateway leads to it, and the same once it has answered there.
        self.resolved: _load_client.Target | None = None
        self.target: _load_client.Target | None = None

    def see(self) -> dict[str, Any]:
        """What all checks know: the object, its pods and workloads, and how it is."""
        return self.eyes.once(("service", self.kind, self.name), self._see)

    def _see(self) -> dict[str, Any]:
        eyes = self.eyes
        basic = {
            "name": self.name,
            "namespace": self.namespace,
            "kind": self.kind,
            "model": self.model,
            "api": self.api,
        }
        nothing: dict[str, Any] = {
            "state": "",
            "phase": "",
            "cause": None,
            "pods": [],
            "workloads": [],
            "commands": [],
            "wanted_gpus": 0,
        }
        services = eyes.listed_if_there(KINDS[self.kind], self.kind, self.namespace)
        resource = next((each for each in services if each["metadata"]["name"] == self.name), None)
        facts = {**basic, **nothing, "resource": resource, "now": eyes.now, "nodes": eyes.nodes()}
        if resource is None:
            return facts
        facts |= self._inference_service(resource) if self.kind == "InferenceService" else self._llm(resource)
        containers = [
            each for part in _templates(resource) for each in (*(part.get("containers") or []), part.get("model") or {})
        ]
        facts["wanted_gpus"] = gpus({"spec": {"containers": containers}})
        return facts

    def _inference_service(self, resource: dict[str, Any]) -> dict[str, Any]:
        eyes = self.eyes
        services = eyes.listed(KINDS[self.kind], self.kind, self.namespace)
        view = eyes.once("view", lambda: _kube_ready.glance_at(eyes.kube, services, self.namespace))
        seen = _kube_ready.observed(view, resource, _kube_ready.Look(eyes.kube))
        state, phase, cause = standing(seen)
        told = _serving_result.told(resource, [*seen.workloads, *seen.pods])
        return {
            "state": state,
            "phase": phase,
            "cause": {"kind": cause.kind, "reason": cause.reason, "remedy": cause.remedy} if cause else None,
            "pods": list(seen.pods),
            "workloads": list(seen.workloads),
            "commands": told["commands"],
        }

    def _llm(self, resource: dict[str, Any]) -> dict[str, Any]:
        # kserve pkg/controller/v1alpha2/llmisvc: labels of everything that it makes.
        labels = f"app.kubernetes.io/part-of=llminferenceservice,app.kubernetes.io/name={self.name}"
        ready = condition(resource, "Ready") or {}
        entries = (resource.get("status") or {}).get("conditions") or []
        lacking = [
            f"{each['type']} is {each['status']} {each.get('message', '')}".strip()
            for each in entries
            if each.get("status") == "False"
        ]
        return {
            "state": "ready" if ready.get("status") == "True" else "progressing",
            "phase": "; ".join(lacking) or "it has no Ready condition yet",
            "pods": self.eyes.listed("v1", "Pod", self.namespace, labels),
            "workloads": self.eyes.listed("apps/v1", "Deployment", self.namespace, labels),
            "commands": [f"kubectl -n {self.namespace} describe llminferenceservice {self.name}"],
        }

    def ready_pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self.see()["pods"] if pod_phase(pod) == "is ready"]

    def engines(self) -> Iterator[tuple[str, str]]:
        """Name and address (for Eyes.ask) of each ready pod's engine."""
        for pod in self.ready_pods():
            container = judge.engine_of(pod)
            ports = [port["containerPort"] for port in container.get("ports") or []] or [8080]
            probe = (container.get("readinessProbe") or {}).get("httpGet") or {}
            scheme = "https:" if probe.get("scheme") == "HTTPS" else ""
            yield pod["metadata"]["name"], f"pods/{scheme}{pod['metadata']['name']}:{ports[0]}"

    def address(self) -> str:
        """Its Kubernetes Service, for Eyes.ask; "" if it has none."""
        name = self._service_name()
        for service in self.eyes.listed("v1", "Service", self.namespace):
            if service["metadata"]["name"] == name and service["spec"].get("ports"):
                scheme = "" if self.kind == "InferenceService" else "https:"
                return f"services/{scheme}{name}:{service['spec']['ports'][0]['port']}"
        return ""

    def _service_name(self) -> str:
        if self.kind != "InferenceService":
            return f"{self.name}-kserve-workload-svc"
        revision = _serving_result.knative_revision((self.see()["resource"] or {}).get("status") or {})
        # Of a Knative Service that one has the pods; the others lead to Knative's gateway or activator.
        return f"{revision}-private" if revision else f"{self.name}-predictor"

    def body(self, text: str, max_tokens: int, **more: Any) -> dict[str, Any]:
        """A request of its API for a text."""
        if self.api == "embeddings":
            return {"model": self.model, "input": text}
        asked = {"messages": [{"role": "user", "content": text}]} if self.api == "chat" else {"prompt": text}
        return {"model": self.model, **asked, "max_tokens": max_tokens, "temperature": 0, **more}

    def question(self, text: str, max_tokens: int, *, stream: bool = False, **more: Any) -> dict[str, Any]:
        """Ask through the Gateway (at the Service, where there is none). Returns an answer as the checks read it."""
        if stream:
            more |= {"stream": True, "stream_options": {"include_usage": True}}
        body = self.body(text, max_tokens, **more)
        path = PATHS[self.api]
        if self.target is None:
            begin = time.monotonic()
            status, content, problem = self.eyes.ask(self.address(), f"{self.path_prefix}{path}", body)
            return answered(status, content, problem, time.monotonic() - begin)
        timeouts = _load_client.Timeouts(10.0, self.eyes.settings.timeout_seconds, self.eyes.settings.timeout_seconds)
        begin = _load_client.now()
        try:
            asked = _load_client.question(self.target, timeouts, path, json.dumps(body).encode(), stream)
            answer: Answer = _load_client.run(asked)
        except _load_client.RequestFailed as error:
            return {
                **_NO_ANSWER,
                "problem": f"{explained(error.kind)} [{error}]",
                "seconds": round(_load_client.now() - begin, 3),
            }
        return {
            "problem": "",
            "model": "" if stream else str(answer.document().get("model") or ""),
            "text": "".join(answer.text),
            "finish_reason": answer.finish_reason,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "events": answer.token_events,
            "seconds": round(_load_client.now() - begin, 3),
            "first_token_seconds": round(max(0.0, answer.first_token - begin), 3),
        }


_NO_ANSWER = {
    "problem": "",
    "model": "",
    "text": "",
    "finish_reason": "",
    "input_tokens": -1,
    "output_tokens": -1,
    "events": 0,
    "seconds": 0.0,
    "first_token_seconds": 0.0,
}


def answered(status: int, content: bytes, problem: str, seconds: float) -> dict[str, Any]:
    """An answer that was not streamed, as the checks read it."""
    found = {**_NO_ANSWER, "problem": problem, "seconds": round(seconds, 3)}
    if problem:
        return found
    answer = Answer(streaming=False, keep_text=True)
    head = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    try:
        answer.feed(head + content, 0.0)
        answer.finish_document()
    except Exception as error:
        return {**found, "problem": str(error)}
    return {
        **found,
        "problem": answer.error,
        "model": str(answer.document().get("model") or ""),
        "text": "".join(answer.text),
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
    }


def _templates(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a service's spec that say what its pods ask for."""
    spec = resource.get("spec") or {}
    return [part for part in (spec.get("predictor"), spec.get("template")) if isinstance(part, dict)]


def _short(content: bytes) -> str:
    text = " ".join(content[:300].decode("utf-8", "replace").split())
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _models(content: bytes) -> list[str]:
    try:
        return [str(entry["id"]) for entry in json.loads(content)["data"]]
    except (KeyError, TypeError, ValueError):
        return []


# --- What each check is judged by. A look returns the facts that the function of the same check in _validation names.


def _gpus(service: Service) -> dict[str, Any]:
    return service.see()


def _model(service: Service) -> dict[str, Any]:
    facts = service.see()
    engines: dict[str, Any] | None = {}
    try:
        for pod, where in service.engines():
            status, content, problem = service.eyes.ask(where, f"{service.path_prefix}/v1/models")
            engines[pod] = {"status": status, "models": _models(content), "problem": problem}  # type: ignore[index]
    except Forbidden:
        engines = None
    return {**facts, "engines": engines}


def _endpoint_service(service: Service) -> dict[str, Any]:
    where = service.address()
    facts = {
        "namespace": service.namespace,
        "service": where.partition("/")[2],
        "status": 0,
        "problem": "",
        "seconds": 0.0,
    }
    if not where:
        return facts
    begin = time.monotonic()
    status, _content, problem = service.eyes.ask(where, f"{service.path_prefix}/v1/models")
    return {**facts, "status": status, "problem": problem, "seconds": round(time.monotonic() - begin, 3)}


def _endpoint_gateway(service: Service) -> dict[str, Any]:
    eyes, settings = service.eyes, service.eyes.settings
    facts = {
        "namespace": service.namespace,
        "url": "",
        "connect_to": "",
        "status": 0,
        "problem": "",
        "why_not": "",
        "seconds": 0.0,
        "models": [],
    }
    key = next(name for name, (_version, kind) in _load_target.KINDS.items() if kind == service.kind)
    params: dict[str, Any] = {
        **dict.fromkeys(("url", "connect_to", "host_header", "in_cluster", *_load_target.KINDS)),
        key: service.name,
        "namespace": settings.namespace,
        "gateway": settings.gateway,
        "path_prefix": service.path_prefix,
        "endpoint_api_key": settings.api_key,
        "endpoint_headers": {},
        "endpoint_ca_cert": settings.ca_cert,
        # Whether the certificate is good is a question of its own: certificates_are_valid.
        "endpoint_validate_certs": False,
    }
    try:
        target = _load_target.target(params, lambda: eyes.kube)
    except KindNotFound:
        return {**facts, "why_not": "The Gateway API is not installed, and no validation_gateway_url is set."}
    except LoadError as error:
        return {**facts, "url": service.name, "connect_to": settings.gateway, "problem": str(error).rstrip(".")}
    service.resolved = target
    facts |= {"url": target.url, "connect_to": target.connect_to}
    timeouts = _load_client.Timeouts(10.0, settings.timeout_seconds, settings.timeout_seconds)
    # A new route takes a while to reach every proxy.
    for attempt in range(1, settings.attempts + 1):
        begin = _load_client.now()
        try:
            status, content = _load_client.run(_load_client.get(target, timeouts, "/v1/models"))
            facts |= {
                "status": status,
                "models": _models(content),
                "problem": "" if status == 200 else f"HTTP {status} {_short(content)}".strip(),
            }
        except _load_client.RequestFailed as error:
            facts |= {"status": 0, "problem": f"{explained(error.kind)} [{error}]"}
        facts["seconds"] = round(_load_client.now() - begin, 3)
        if facts["status"] == 200:
            service.target = target
            break
        if attempt < settings.attempts:
            time.sleep(_RETRY_SECONDS)
    return facts


def _answer_model(service: Service) -> dict[str, Any]:
    eyes, settings = service.eyes, service.eyes.settings
    if service.target is not None:
        timeouts = _load_client.Timeouts(10.0, settings.timeout_seconds, settings.timeout_seconds)
        _status, content = _load_client.run(_load_client.get(service.target, timeouts, "/v1/models"))
    else:
        _status, content, _problem = eyes.ask(service.address(), f"{service.path_prefix}/v1/models")
    answer = eyes.once(("answer", service.name), lambda: service.question(settings.prompt, settings.max_tokens))
    return {"model": service.model, "api": service.api, "models": _models(content), "answer": answer}


def _answer_known(service: Service) -> dict[str, Any]:
    if service.api == "embeddings":
        return {"known": []}
    entries = service.eyes.settings.known_answers
    return {
        "known": [
            {"prompt": entry["prompt"], "pattern": entry["pattern"], "answer": service.question(entry["prompt"], 64)}
            for entry in entries
        ]
    }


def _tokenizer(service: Service) -> dict[str, Any]:
    eyes, settings = service.eyes, service.eyes.settings
    answer = eyes.once(("answer", service.name), lambda: service.question(settings.prompt, settings.max_tokens))
    facts: dict[str, Any] = {"answer": answer, "tokens": None, "round_trip": None, "text": _TEXT}
    where = service.address()
    asked = (
        {"messages": [{"role": "user", "content": settings.prompt}]}
        if service.api == "chat"
        else {"prompt": settings.prompt}
    )

    def said(path: str, body: dict[str, Any], key: str) -> Any:
        status, content, _problem = eyes.ask(where, f"{service.path_prefix}{path}", {"model": service.model, **body})
        try:
            return json.loads(content)[key] if status == 200 else None
        except (KeyError, TypeError, ValueError):
            return None

    facts["tokens"] = said("/tokenize", asked, "count")
    tokens = said("/tokenize", {"prompt": _TEXT, "add_special_tokens": False}, "tokens")
    if tokens:
        facts["round_trip"] = said("/detokenize", {"tokens": tokens}, "prompt")
    return facts


def _streaming(service: Service) -> dict[str, Any]:
    if service.target is None or service.api == "embeddings":
        return {
            "why_not": "Streams are asked for through the Gateway, and there is none."
            if service.api != "embeddings"
            else "Embeddings are not streamed."
        }
    streamed = service.question(_LONG, _STREAM_TOKENS, stream=True, ignore_eos=True)
    return {"streamed": streamed, "asked_tokens": _STREAM_TOKENS}


def _metrics(service: Service) -> dict[str, Any]:
    pages: dict[str, Any] = {}
    facts: dict[str, Any] = {"pages": pages, "before": None, "after": None}
    try:
        facts["before"] = _count(service, pages)
        service.question(service.eyes.settings.prompt, 1)
        # An engine may write its counters a moment after its answer.
        for _try in range(10):
            facts["after"] = _count(service, pages)
            if facts["before"] is None or facts["after"] is None or facts["after"] > facts["before"]:
                break
            time.sleep(0.2)
    except Forbidden:
        facts["pages"] = None
    return facts


def _count(service: Service, pages: dict[str, Any]) -> float | None:
    """Requests that the engines say they have answered; notes in `pages` what each of them shows."""
    total = None
    for pod, where in service.engines():
        _status, content, problem = service.eyes.ask(where, f"{service.path_prefix}/metrics")
        text = content.decode("utf-8", "replace")
        pages[pod] = {
            "names": 0 if problem else len(set(re.findall(r"^(vllm:\w+)", text, re.MULTILINE))),
            "problem": problem,
        }
        for counter in _COUNTERS:
            if (value := _load_server.total(text, counter)) is not None:
                total = (total or 0.0) + value
                break
    return total


def _autoscaling(service: Service) -> dict[str, Any]:
    facts = service.see()
    names = {workload["metadata"]["name"] for workload in facts["workloads"]}
    scalers = []
    for api_version, kind in (
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("autoscaling.internal.knative.dev/v1alpha1", "PodAutoscaler"),
    ):
        for scaler in service.eyes.listed_if_there(api_version, kind, service.namespace):
            target = (scaler.get("spec") or {}).get("scaleTargetRef") or {}
            labels = scaler["metadata"].get("labels") or {}
            if target.get("name") in names or labels.get("serving.kserve.io/inferenceservice") == service.name:
                scalers.append(scaler)
    return {**facts, "scalers": scalers}


def _load_test(service: Service) -> dict[str, Any]:
    settings = service.eyes.settings
    return {"load_test": settings.load_tests.get(service.name), "why_not": settings.no_load_test}


def _drain(service: Service) -> dict[str, Any]:
    facts = service.see()
    return {**facts, "drained": _evict(service) if service.eyes.settings.try_drain else None}


def _evict(service: Service) -> dict[str, Any] | None:
    """Evict a pod in the middle of an answer, and see what becomes of it and of other requests meanwhile."""
    engines = dict(service.engines())
    if not engines:
        return None
    pod, where = sorted(engines.items())[-1]
    others = len(engines) > 1
    answer: dict[str, Any] = {}
    failures: list[str] = []
    begin = time.monotonic()

    def long_question() -> None:
        body = service.body(_LONG, _DRAIN_TOKENS, ignore_eos=True)
        try:
            status, content, problem = service.eyes.ask(where, f"{service.path_prefix}{PATHS[service.api]}", body)
        except KubeError as error:
            status, content, problem = 0, b"", str(error)
        answer.update(answered(status, content, problem, time.monotonic() - begin))

    asking = threading.Thread(target=long_question, daemon=True)
    asking.start()
    time.sleep(1.0)
    facts = {"pod": pod, "asked_tokens": _DRAIN_TOKENS, "failures": failures}
    if not asking.is_alive() and not answer.get("problem"):
        problem = "it ended before the pod could be evicted, so nothing was tried; this model is too fast for it"
        return {**facts, "problem": problem, "tokens": answer["output_tokens"], "seconds": answer["seconds"]}
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": service.namespace},
    }
    path = f"/api/v1/namespaces/{service.namespace}/pods/{pod}/eviction"
    service.eyes.kube.request("POST", path, f"Pod {service.namespace}/{pod}", body=eviction)
    deadline = begin + service.eyes.settings.timeout_seconds
    while asking.is_alive() and time.monotonic() < deadline:
        if others and (problem := service.question(service.eyes.settings.prompt, 1)["problem"]):
            failures.append(problem)
        time.sleep(0.2)
    asking.join(max(0.0, deadline - time.monotonic()))
    if not answer:
        answer = {**_NO_ANSWER, "problem": f"no answer within {service.eyes.settings.timeout_seconds:g} s"}
    problem = answer["problem"]
    if not problem and answer["finish_reason"] not in ("stop", "length"):
        problem = f"finish_reason {answer['finish_reason'] or 'none'}"
    if not problem and answer["finish_reason"] == "length" and answer["output_tokens"] < _DRAIN_TOKENS:
        problem = f"{answer['output_tokens']} of {_DRAIN_TOKENS} tokens"
    return {**facts, "problem": problem, "tokens": answer["output_tokens"], "seconds": answer["seconds"]}


SERVICE_LOOKS: dict[str, Callable[[Service], dict[str, Any]]] = {
    "gpus": _gpus,
    "pods": _gpus,
    "model": _model,
    "endpoint_service": _endpoint_service,
    "endpoint_gateway": _endpoint_gateway,
    "answer_model": _answer_model,
    "answer_known": _answer_known,
    "tokenizer": _tokenizer,
    "streaming": _streaming,
    "metrics": _metrics,
    "autoscaling": _autoscaling,
    "load_test": _load_test,
    "drain": _drain,
}


# --- The cluster


def _components(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    return {
        "workloads": [
            workload
            for namespace in eyes.settings.component_namespaces
            for kind in ("Deployment", "StatefulSet", "DaemonSet")
            for workload in eyes.listed("apps/v1", kind, namespace)
        ]
    }


def _prometheus(eyes: Eyes, query: str) -> list[dict[str, Any]]:
    """The result of an instant query. Raises KubeError, and Unreachable for a Prometheus that does not answer."""
    prometheus = eyes.listed("monitoring.coreos.com/v1", "Prometheus", None)[0]
    spec = prometheus.get("spec") or {}
    prefix = str(spec.get("routePrefix") or "/").rstrip("/")
    namespace = prometheus["metadata"]["namespace"]
    # The Service that the operator makes for every Prometheus (pkg/prometheus/server: governing service).
    where = f"services/prometheus-operated:{spec.get('portName') or 'web'}"
    path = f"{prefix}/api/v1/query?query={quote(query)}"
    status, content = eyes.kube.proxied(namespace, where, path, None, 10.0)
    try:
        document = json.loads(content)
        if status == 200 and document["status"] == "success":
            result: list[dict[str, Any]] = document["data"]["result"]
            return result
    except (KeyError, TypeError, ValueError):
        pass
    raise Unreachable(f"HTTP {status} {_short(content)}".strip())


def _monitoring(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    pods = {pod["metadata"]["name"]: _ready_since(pod) for service in services for pod in service.ready_pods()}
    facts: dict[str, Any] = {"prometheuses": None, "problem": "", "pods": pods, "scraped": [], "now": eyes.now}
    try:
        facts["prometheuses"] = eyes.listed("monitoring.coreos.com/v1", "Prometheus", None)
    except KindNotFound:
        return facts
    if facts["prometheuses"]:
        query = f'count by (pod) ({{__name__="vllm:num_requests_running", namespace="{eyes.settings.namespace}"}})'
        try:
            facts["scraped"] = [str(series["metric"].get("pod")) for series in _prometheus(eyes, query)]
        except (Unreachable, NotFound) as error:
            facts["problem"] = str(error)
    return facts


def _ready_since(pod: dict[str, Any]) -> str:
    entries = pod["status"]["conditions"]
    return next((str(entry.get("lastTransitionTime") or "") for entry in entries if entry["type"] == "Ready"), "")


def _alerts(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    try:
        if not eyes.listed("monitoring.coreos.com/v1", "Prometheus", None):
            return {"alerts": None}
    except KindNotFound:
        return {"alerts": None}
    return {"alerts": [series["metric"] for series in _prometheus(eyes, 'ALERTS{alertstate="firing"}')]}


def _certificates(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    spaces = dict.fromkeys((*eyes.settings.component_namespaces, eyes.settings.namespace))
    certificates: list[dict[str, Any]] | None = []
    try:
        for namespace in spaces:
            certificates += eyes.listed("cert-manager.io/v1", "Certificate", namespace)  # type: ignore[operator]
    except KindNotFound:
        certificates = None
    targets = [
        service.target for service in services if service.target is not None and service.target.scheme == "https"
    ]
    return {
        "certificates": certificates,
        "handshakes": {target.url: handshake(target, eyes.settings.ca_cert) for target in targets},
        "now": eyes.now,
    }


def handshake(target: _load_client.Target, ca_cert: str | None) -> dict[str, Any]:
    """What a careful client sees of an endpoint's certificate: {problem, not_after}."""
    import socket

    context = ssl.create_default_context(cafile=ca_cert)
    try:
        with (
            socket.create_connection((target.address, target.port), 10.0) as plain,
            context.wrap_socket(plain, server_hostname=urlsplit(f"//{target.host}").hostname) as encrypted,
        ):
            shown: Any = encrypted.getpeercert()
    except ssl.SSLCertVerificationError as error:
        return {"problem": error.verify_message, "not_after": ""}
    except OSError as error:
        return {"problem": str(error), "not_after": ""}
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    return {"problem": "", "not_after": ends.isoformat()}


def _pod_security(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    namespace = eyes.settings.namespace
    found = eyes.kube.get(Ref("v1", "Namespace", None, namespace)) or {"metadata": {}}
    labels = found["metadata"].get("labels") or {}
    refusal = ""
    if "pod-security.kubernetes.io/enforce" in labels:
        # Nothing is stored: it is a dry run.
        path = f"/api/v1/namespaces/{namespace}/pods"
        try:
            eyes.kube.request("POST", path, "a privileged pod", {"dryRun": "All"}, _PRIVILEGED)
        except (Forbidden, Invalid) as error:
            refusal = str(error)
    return {"namespace_labels": labels, "refusal": refusal}


def _network_policies(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    return {
        "network_policies": eyes.listed("networking.k8s.io/v1", "NetworkPolicy", eyes.settings.namespace),
        "pods": [pod for service in services for pod in service.see()["pods"]],
    }


def _versions(eyes: Eyes, services: list[Service]) -> dict[str, Any]:
    workloads = _components(eyes, services)["workloads"]
    templates = [workload["spec"]["template"]["spec"] for workload in workloads]
    templates += [pod["spec"] for service in services for pod in service.see()["pods"]]
    images = [container["image"] for template in templates for container in template.get("containers") or []]
    definition = eyes.kube.get(
        Ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, "httproutes.gateway.networking.k8s.io")
    )
    annotations = (definition or {"metadata": {}})["metadata"].get("annotations") or {}
    bundle = annotations.get("gateway.networking.k8s.io/bundle-version", "")
    return {
        "kubernetes": eyes.version(),
        "running": judge.component_versions(images, {"gateway.networking.k8s.io": bundle}),
        "tested": eyes.settings.tested_versions,
        "today": eyes.now.date().isoformat(),
    }


CLUSTER_LOOKS: dict[str, Callable[[Eyes, list[Service]], dict[str, Any]]] = {
    "components": _components,
    "monitoring": _monitoring,
    "alerts": _alerts,
    "certificates": _certificates,
    "pod_security": _pod_security,
    "network_policies": _network_policies,
    "versions": _versions,
}


# --- All of it


def findings(eyes: Eyes, services: list[Service], absent_is_fine: bool = False) -> list[judge.Finding]:
    """Every check of every service, then those of the cluster. With `absent_is_fine` a service that is not there is skipped."""
    found = []
    for service in services:
        if absent_is_fine and service.see()["resource"] is None:
            message = f"{service.kind} {service.namespace}/{service.name} is not there yet, and check mode makes none."
            found.append(judge.Finding("pods", "pods", service.name, "skip", message, (), "", 0.0))
            continue
        found += judge.judged(judge.SERVICE_CHECKS, service.name, partial(_verdict, partial(_look_at, service)))
    found += judge.judged(
        judge.CLUSTER_CHECKS, "cluster", partial(_verdict, lambda check: CLUSTER_LOOKS[check.id](eyes, services))
    )
    return found


def _look_at(service: Service, check: judge.Check) -> dict[str, Any]:
    return SERVICE_LOOKS[check.id](service)


def _verdict(look: Callable[[judge.Check], dict[str, Any]], check: judge.Check) -> judge.Verdict:
    try:
        facts = look(check)
        return judge.skipped(facts["why_not"]) if set(facts) == {"why_not"} else check.judge(facts)
    except Forbidden as error:
        return judge.skipped(str(error))
    except (KubeError, _load_client.RequestFailed) as error:
        return judge.failed(str(error), "See that the API server and the endpoint can be reached, and run again.")

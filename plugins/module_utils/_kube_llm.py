# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an LLM deployment stands on in a cluster, and the request that proves that it serves. PRIVATE to the collection."""

from __future__ import annotations

import functools
import json
import time
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment as llm
from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_fit as fit
from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_health as health
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_picker import (
    ENVOY_AI_GATEWAY,
    ENVOY_GATEWAY,
    ISTIO,
    asks_over_tls,
)
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import owned

_GATEWAY_API = "gateway.networking.k8s.io/v1"
# Between Ready and the moment when the gateway's proxies have the route and the picker has seen the pods.
_PROPAGATION_SECONDS = 45.0
_PAUSE_SECONDS = 1.0
# KServe looks at a change within a second or two.
_NOTICE_SECONDS = 15.0


def served(kube: Kube, backend: str, namespace: str) -> tuple[str, list[dict[str, Any]]]:
    """The API version to write, and the LLMInferenceServices of the namespace. Raises KindNotFound if nothing is served."""
    versions = {
        "auto": (llm.API_VERSION, llm.OLD_API_VERSION, llm.LITERAL_API_VERSION),
        "llminferenceservice": (llm.API_VERSION, llm.OLD_API_VERSION),
        "llmdeployment_crd": (llm.LITERAL_API_VERSION,),
    }[backend]
    for version in versions:
        kind = llm.LITERAL_KIND if version == llm.LITERAL_API_VERSION else llm.KIND
        try:
            found = kube.list(version, kind, namespace)[0]
        except errors.KindNotFound:
            continue
        return version, found if kind == llm.KIND else []
    raise errors.KindNotFound(
        f"This cluster serves none of {', '.join(versions)}. Install KServe's LLMInferenceService (role llmd)."
    )


class Gateway:
    """The Gateway that requests come in by; `manifest` is None where it is not there or may not be read."""

    def __init__(self, kube: Kube, given: dict[str, Any]) -> None:
        self._kube = kube
        self.ref = Ref(
            _GATEWAY_API,
            "Gateway",
            given.get("namespace") or "kserve",
            given.get("name") or "kserve-ingress-gateway",
        )
        self.missing = ""
        try:
            self.manifest = kube.get(self.ref)
            if self.manifest is None:
                self.missing = f"{self.ref} does not exist. Create it (role gateway), or correct serving.gateway."
        except (errors.Forbidden, errors.NamespaceNotFound):
            self.manifest = None
        except errors.KindNotFound as error:
            self.manifest = None
            self.missing = f"{error} The roles gateway and istio do it."

    @functools.cached_property
    def controller(self) -> str | None:
        """spec.controllerName of its class, where that is known."""
        if self.manifest is None:
            return None
        name = self.manifest["spec"]["gatewayClassName"]
        if name in ("istio", "istio-remote"):
            return ISTIO
        try:
            class_ = self._kube.get(Ref(_GATEWAY_API, "GatewayClass", None, name)) or {}
        except errors.KubeError:
            class_ = {}
        return (class_.get("spec") or {}).get("controllerName")

    def picker_tls(self) -> bool:
        """Whether this gateway speaks TLS to an endpoint picker."""
        return asks_over_tls(self.controller)

    def no_pools(self) -> str:
        """Why it cannot route to an InferencePool, and what can; empty where it does or where that is not known."""
        if self.controller != ENVOY_GATEWAY or self._serves(ENVOY_AI_GATEWAY):
            return ""
        return (
            f"{self.ref} is one of Envoy Gateway, which routes to an InferencePool only with Envoy AI Gateway, and that is not "
            f"installed. Name {self._others()} in serving.gateway, or do without an endpoint picker "
            "(serving.scheduler.enabled: false)."
        )

    def _serves(self, group: str) -> bool:
        try:
            self._kube.request("GET", f"/apis/{group}", f"API group {group}")
        except (errors.NotFound, errors.KindNotFound):
            return False
        except errors.Forbidden:
            pass
        return True

    def _others(self) -> str:
        """The Gateways of other controllers than this one's."""
        try:
            classes = self._kube.list(_GATEWAY_API, "GatewayClass")[0]
            gateways = self._kube.list(_GATEWAY_API, "Gateway")[0]
        except errors.Forbidden:
            classes, gateways = [], []
        other = {each["metadata"]["name"] for each in classes if each["spec"]["controllerName"] != self.controller}
        found = [each["metadata"] for each in gateways if each["spec"]["gatewayClassName"] in other]
        named = " or ".join(sorted(f"{each['namespace']}/{each['name']}" for each in found))
        return named or "a Gateway of class istio (roles istio and gateway make one)"

    def service(self) -> tuple[str, str, int] | None:
        """Namespace, name and port of the Service before its proxies, where its address tells."""
        if self.manifest is None:
            return None
        port = int(self.manifest["spec"]["listeners"][0]["port"])
        for entry in (self.manifest.get("status") or {}).get("addresses") or []:
            name, _dot, rest = str(entry.get("value")).partition(".")
            namespace, _dot, rest = rest.partition(".")
            if rest.startswith("svc"):
                return namespace, name, port
        # As Istio and the Gateway API's conformance name it (gateway-api GEP-1762).
        label, where = f"gateway.networking.k8s.io/gateway-name={self.ref.name}", self.ref.namespace
        if self.controller == ENVOY_GATEWAY:
            # Its proxies lie in the namespace of their controller (envoyproxy/gateway internal/infrastructure/kubernetes).
            owner = "gateway.envoyproxy.io/owning-gateway"
            label, where = f"{owner}-name={self.ref.name},{owner}-namespace={self.ref.namespace}", None
        try:
            found = [each["metadata"] for each in self._kube.list("v1", "Service", where, labels=label)[0]]
        except errors.KubeError:
            return None
        return (found[0]["namespace"], found[0]["name"], port) if found else None


def room(kube: Kube, manifest: dict[str, Any]) -> list[str]:
    """What no node can give; nothing where nodes may not be listed."""
    try:
        return fit.problems(manifest, kube.list("v1", "Node")[0])
    except errors.Forbidden:
        return []


def made_anew(kube: Kube, was: dict[str, Any], service: dict[str, Any]) -> list[str]:
    """After a change of the mode, delete the Deployment that KServe cannot change, so that it makes another. Returns their names.

    KServe 0.20 has the role of the pods (decode, or both) in the Deployment's selector, which Kubernetes does not let it
    change (pkg/controller/v1alpha2/llmisvc/workload_single_node.go, expectedSingleNodeMainDeployment).
    """
    if not was or ("prefill" in was["spec"]) == ("prefill" in service["spec"]):
        return []
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    ref = Ref(service["apiVersion"], service["kind"], namespace, name)
    end = time.monotonic() + _NOTICE_SECONDS
    while time.monotonic() < end:
        # Sooner, KServe might make it once more after the old spec.
        status = (kube.get(ref) or {}).get("status") or {}
        if status.get("observedGeneration", 0) >= service["metadata"]["generation"]:
            break
        time.sleep(_PAUSE_SECONDS)
    labels = f"app.kubernetes.io/name={name},app.kubernetes.io/component=llminferenceservice-workload"
    found = [each for each in kube.list("apps/v1", "Deployment", namespace, labels=labels)[0] if owned(each, service)]
    role = "decode" if "prefill" in service["spec"] else "both"
    old = [each for each in found if each["spec"]["selector"]["matchLabels"].get("llm-d.ai/role") != role]
    for each in old:
        kube.delete(Ref("apps/v1", "Deployment", namespace, each["metadata"]["name"]), uid=each["metadata"]["uid"])
    return [each["metadata"]["name"] for each in old]


def answered(kube: Kube, service: dict[str, Any], gateway: Gateway, deadline: float) -> tuple[health.Cause | None, str]:
    """Send one small request the way that users' requests go. Returns why it is not served, or why that is not known.

    By way of the API server, so that it does not matter where this runs; where that is not allowed, to the URL itself.
    """
    url = urlsplit((service.get("status") or {}).get("url") or "")
    spec = service["spec"]
    body = {"model": spec["model"].get("name") or service["metadata"]["name"], "prompt": "Hello", "max_tokens": 1}
    end = min(deadline, time.monotonic() + _PROPAGATION_SECONDS)
    picker = "scheduler" in (spec.get("router") or {})
    target = gateway.service()
    while True:
        known = _ask(kube, target, url, body)
        if isinstance(known, str):
            return None, known
        cause = health.of_answer(*known, picker=picker)
        if cause is None or time.monotonic() + _PAUSE_SECONDS > end:
            return cause, ""
        time.sleep(_PAUSE_SECONDS)


def _ask(kube: Kube, target: tuple[str, str, int] | None, url: Any, body: dict[str, Any]) -> tuple[int, str] | str:
    """HTTP status and text, or why no request could be sent."""
    path = f"{url.path.rstrip('/')}/v1/completions"
    if target:
        namespace, name, port = target
        try:
            status, content = kube.ask(namespace, f"services/{name}:{port}", path, body)
        except errors.Unreachable as error:
            return str(error)
        text = content.decode(errors="replace")
        if not _from_api_server(text):
            return status, text
    from ansible.module_utils.urls import open_url

    try:
        answer = open_url(
            f"{url.scheme}://{url.netloc}{path}",
            data=json.dumps(body),
            method="POST",
            headers={"Content-Type": "application/json"},
            timeout=30,
        )
        return answer.status, answer.read(2000).decode(errors="replace")
    except Exception as error:  # HTTP errors carry an answer, all others mean that nothing was reached
        code: Any = getattr(error, "code", None)
        if isinstance(code, int):
            return code, str(getattr(error, "reason", error))
        return f"No request could be sent to {url.netloc or 'the gateway'} from here: {error}"


def _from_api_server(text: str) -> bool:
    """A Status: the API server refused, or did not reach the Service."""
    try:
        answer = json.loads(text)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("kind") == "Status"

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one adapter to the Kubernetes API: plain dictionaries over HTTP. PRIVATE to the collection.

Objects are the API's own JSON as dictionaries; failures are the types of _kube_errors. It speaks HTTP itself because
importing the kubernetes library costs more time and memory than the whole rest of a module (see _kube_config).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import Connection, MissingLibrary

if TYPE_CHECKING:
    import ssl

FIELD_MANAGER = "llmstack.serving"
# Kinds (plural name, namespaced) whose names never change: asking the API server for them would cost a request per group.
_BUILT_IN: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "ConfigMap": ("configmaps", True),
        "Event": ("events", True),
        "LimitRange": ("limitranges", True),
        "Namespace": ("namespaces", False),
        "Node": ("nodes", False),
        "PersistentVolume": ("persistentvolumes", False),
        "PersistentVolumeClaim": ("persistentvolumeclaims", True),
        "Pod": ("pods", True),
        "ResourceQuota": ("resourcequotas", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
        "ServiceAccount": ("serviceaccounts", True),
    },
    "apps/v1": {
        "ControllerRevision": ("controllerrevisions", True),
        "DaemonSet": ("daemonsets", True),
        "Deployment": ("deployments", True),
        "ReplicaSet": ("replicasets", True),
        "StatefulSet": ("statefulsets", True),
    },
    "batch/v1": {"CronJob": ("cronjobs", True), "Job": ("jobs", True)},
    "rbac.authorization.k8s.io/v1": {
        "ClusterRole": ("clusterroles", False),
        "ClusterRoleBinding": ("clusterrolebindings", False),
        "Role": ("roles", True),
        "RoleBinding": ("rolebindings", True),
    },
    "networking.k8s.io/v1": {
        "Ingress": ("ingresses", True),
        "IngressClass": ("ingressclasses", False),
        "NetworkPolicy": ("networkpolicies", True),
    },
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": ("customresourcedefinitions", False)},
    "apiregistration.k8s.io/v1": {"APIService": ("apiservices", False)},
    "admissionregistration.k8s.io/v1": {
        "MutatingWebhookConfiguration": ("mutatingwebhookconfigurations", False),
        "ValidatingWebhookConfiguration": ("validatingwebhookconfigurations", False),
    },
    "gateway.networking.k8s.io/v1": {
        "Gateway": ("gateways", True),
        "GatewayClass": ("gatewayclasses", False),
        "HTTPRoute": ("httproutes", True),
    },
    "autoscaling/v2": {"HorizontalPodAutoscaler": ("horizontalpodautoscalers", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "scheduling.k8s.io/v1": {"PriorityClass": ("priorityclasses", False)},
    "storage.k8s.io/v1": {"StorageClass": ("storageclasses", False)},
    "serving.kserve.io/v1beta1": {"InferenceService": ("inferenceservices", True)},
    "serving.kserve.io/v1alpha2": {"LLMInferenceService": ("llminferenceservices", True)},
}
_ATTEMPTS = 4
_TIMEOUT_SECONDS = 30.0
# A watch ends and starts again after this time, so that a connection that died silently is noticed.
_WATCH_SECONDS = 60


@dataclass(frozen=True)
class Resource:
    """Where a kind lives in the API."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The URL path of the collection or of one object; without a namespace, a collection of all namespaces."""
        parts = ["", "api" if "/" not in self.api_version else "apis", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


@dataclass(frozen=True)
class Ref:
    """Names one object. `namespace` is None for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Kube:
    """A client of one API server. Thread-safe; nothing is sent before the first operation."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pool: Any = None
        self._resources: dict[tuple[str, str], Resource] = {
            (api_version, kind): Resource(api_version, kind, *where)
            for api_version, kinds in _BUILT_IN.items()
            for kind, where in kinds.items()
        }

    # Where kinds live

    def resource(self, api_version: str, kind: str) -> Resource:
        """Discover a kind, once per process. Raises KindNotFound."""
        if (api_version, kind) not in self._resources:
            served = self.request(
                "GET", f"/{'apis' if '/' in api_version else 'api'}/{api_version}", f"{api_version} {kind}"
            )
            for entry in served.get("resources") or []:
                if "/" not in entry["name"]:
                    self.learn(Resource(api_version, entry["kind"], entry["name"], entry["namespaced"]))
        if (api_version, kind) not in self._resources:
            raise errors.from_status(404, {}, f"{api_version} {kind}")
        return self._resources[(api_version, kind)]

    def learn(self, resource: Resource) -> None:
        """Remember where a kind lives."""
        self._resources[(resource.api_version, resource.kind)] = resource

    # Operations on objects

    def get(self, ref: Ref) -> dict[str, Any] | None:
        """The object, or None if there is none. Raises KindNotFound if the kind is not served."""
        try:
            return self.request("GET", self._path(ref), str(ref))
        except errors.NotFound:
            return None

    def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        mentioning: str = "",
    ) -> Iterator[tuple[list[dict[str, Any]], str]]:
        """The objects of `list` in pages of 500, for those who keep a few fields of tens of thousands of objects.

        Objects whose JSON does not contain the text `mentioning` may be left out: most of them are then never decoded.
        """
        path, subject = self._collection(api_version, kind, namespace)

        def read(token: str) -> bytes:
            query = {"limit": "500", "labelSelector": labels, "fieldSelector": fields, "continue": token}
            return self._read("GET", path, subject, query=query)

        for data in _with_next(read):
            page = _decoded(data, mentioning.encode())
            # Items of a list carry neither: k8s.io/kubernetes issue 3030.
            items = [{"apiVersion": api_version, "kind": kind, **item} for item in page.get("items") or []]
            yield items, page["metadata"].get("resourceVersion") or ""

    def metadata(
        self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = ""
    ) -> list[dict[str, Any]]:
        """As `list`, but only metadata: a CustomResourceDefinition or a record of Helm can have a megabyte of content."""
        path, subject = self._collection(api_version, kind, namespace)
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        return self.request("GET", path, subject, {"labelSelector": labels}, accept=accept).get("items") or []

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind, and the resource version to watch from. `labels` and `fields` are selectors."""
        items: list[dict[str, Any]] = []
        version = ""
        for page, page_version in self.pages(api_version, kind, namespace, labels=labels, fields=fields):
            items += page
            version = page_version
        return items, version

    def apply(
        self, ref: Ref, manifest: dict[str, Any], *, field_manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply with strict field validation. Returns the object as served."""
        query = {
            "fieldManager": field_manager,
            "force": "true" if force else "false",
            "fieldValidation": "Strict",
            "dryRun": "All" if dry_run else "",
        }
        # JSON is YAML, and application/apply-patch+yaml is understood by every API server that has server-side apply.
        return self.request("PATCH", self._path(ref), str(ref), query, manifest, "application/apply-patch+yaml")

    def merge_patch(
        self, ref: Ref, patch: dict[str, Any], *, field_manager: str = FIELD_MANAGER, subresource: str = ""
    ) -> dict[str, Any]:
        """JSON merge patch: for one field of an object that someone else owns, such as a restart annotation."""
        path = self._path(ref) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": field_manager, "fieldValidation": "Strict"}
        return self.request("PATCH", path, str(ref), query, patch, "application/merge-patch+json")

    def delete(self, ref: Ref, *, uid: str | None = None, propagation: str = "Background") -> dict[str, Any] | None:
        """Delete. Returns what is left to wait for, or None if the object is gone at once or was gone already."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            answer = self.request("DELETE", self._path(ref), str(ref), body=body)
        except errors.NotFound:
            return None
        return None if answer.get("kind") == "Status" else answer

    def log(self, namespace: str, pod: str, container: str, *, previous: bool = False, lines: int = 100) -> str:
        """The last lines of a container's log; empty if there is none (any more)."""
        query = {"container": container, "previous": "true" if previous else "", "tailLines": str(lines)}
        response = self._send(
            "GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", f"log of pod {pod}", query, None, ""
        )
        return response.data.decode(errors="replace") if response.status == 200 else ""

    def ask(
        self,
        namespace: str,
        where: str,
        path: str,
        body: dict[str, Any] | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> tuple[int, bytes]:
        """Status and content of what a pod or Service (`pods/NAME:PORT`, `services/NAME:PORT`) answers, asked through the
        API server. Where that refuses or does not get through, the content is its Status. Raises Unreachable."""
        url = f"/api/v1/namespaces/{namespace}/{where}/proxy{path}"
        method = "GET" if body is None else "POST"
        subject = _proxied(namespace, where)
        response = self._send(method, url, subject, None, body, "application/json", timeout_seconds)
        return response.status, response.data

    def proxied(
        self,
        namespace: str,
        where: str,
        path: str,
        body: dict[str, Any] | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> tuple[int, bytes]:
        """As `ask`, but what the API server itself says instead is raised: Forbidden, NotFound, Unreachable."""
        code, content = self.ask(namespace, where, path, body, timeout_seconds)
        if code >= 300:
            status = _status(content)
            # A Status of the API server; an engine's errors have another form.
            if status.get("kind") == "Status" and status.get("apiVersion") == "v1":
                raise errors.from_status(code, status, _proxied(namespace, where))
        return code, content

    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        resource_version: str,
        deadline: float,
        *,
        labels: str = "",
        fields: str = "",
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (ADDED|MODIFIED|DELETED, object) until `deadline` (time.monotonic), resuming where a connection ended.

        Raises Gone when the server has forgotten `resource_version`: list again then.
        """
        path = self.resource(api_version, kind).path(namespace)
        subject = f"watch of {kind}"
        failures = 0
        while (remaining := deadline - time.monotonic()) > 0:
            seconds = max(1, min(_WATCH_SECONDS, int(remaining)))
            query = {
                "watch": "1",
                "allowWatchBookmarks": "true",
                "resourceVersion": resource_version,
                "timeoutSeconds": str(seconds),
                "labelSelector": labels,
                "fieldSelector": fields,
            }
            try:
                for event in self._stream(path, subject, query, seconds + 10.0):
                    failures = 0
                    object_ = event["object"]
                    if event["type"] == "ERROR":
                        raise errors.from_status(object_.get("code", 500), object_, subject)
                    resource_version = object_["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], object_
            except errors.Unreachable:
                # A restart of the API server must not end a wait of half an hour.
                failures += 1
                time.sleep(max(0.0, min(2.0**failures, 15.0, deadline - time.monotonic())))

    def _collection(self, api_version: str, kind: str, namespace: str | None) -> tuple[str, str]:
        """Path of all objects of a kind, and what messages call them."""
        subject = f"{kind} of namespace {namespace}" if namespace else f"all {kind}"
        return self.resource(api_version, kind).path(namespace), subject

    # HTTP

    def request(
        self,
        method: str,
        path: str,
        subject: str,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """One request with a JSON answer. Overload and broken connections are retried; everything sent here may be sent twice."""
        answer: dict[str, Any] = json.loads(self._read(method, path, subject, query, body, content_type, accept))
        return answer

    def _read(
        self,
        method: str,
        path: str,
        subject: str,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                response = self._send(method, path, subject, query, body, content_type, accept=accept)
            except errors.Unreachable:
                # Two quick tries tell a restart of the API server from a wrong address.
                if last or attempt > 2:
                    raise
                time.sleep(0.5 * attempt)
                continue
            if response.status < 300:
                return bytes(response.data)
            error = errors.from_status(response.status, _status(response.data), subject)
            # Someone else wrote the object between the API server's reading and writing it.
            overtaken = isinstance(error, errors.Conflict) and not error.owners and method == "PATCH"
            again = isinstance(error, errors.Unreachable) or overtaken
            if last or not again:
                raise error
            time.sleep(_pause_seconds(response, attempt))
        raise AssertionError("the last attempt returns or raises")

    def _path(self, ref: Ref) -> str:
        return self.resource(ref.api_version, ref.kind).path(ref.namespace, ref.name)

    def _stream(
        self, path: str, subject: str, query: dict[str, str], timeout_seconds: float
    ) -> Iterator[dict[str, Any]]:
        import urllib3

        response = self._send("GET", path, subject, query, None, "", timeout_seconds, stream=True)
        try:
            if response.status >= 300:
                raise errors.from_status(response.status, _status(response.read()), subject)
            rest = b""
            for chunk in response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        except urllib3.exceptions.HTTPError as error:
            raise errors.Unreachable(f"{subject}: the connection broke: {error}") from error
        finally:
            response.close()

    def _send(
        self,
        method: str,
        path: str,
        subject: str,
        query: dict[str, str] | None,
        body: dict[str, Any] | None,
        content_type: str,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        stream: bool = False,
        accept: str = "application/json",
    ) -> Any:
        try:
            import urllib3
        except ImportError as error:
            raise MissingLibrary("urllib3") from error

        if self._pool is None:
            self._pool = _pool(self.connection)
        headers = urllib3.HTTPHeaderDict({"Accept": accept, "User-Agent": FIELD_MANAGER})
        for name, value in self.connection.headers:
            headers.add(name, value)
        if authorization := self.connection.authorization():
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = content_type
        from urllib.parse import urlencode

        chosen = {key: value for key, value in (query or {}).items() if value != ""}
        url = f"{self.connection.host}{path}{'?' + urlencode(chosen) if chosen else ''}"
        try:
            return self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=10.0, read=timeout_seconds),
                preload_content=not stream,
            )
        except urllib3.exceptions.HTTPError as error:
            raise errors.Unreachable(_connection_problem(self.connection, subject, error)) from error


# How the API server begins a list's items and each one after the first: without spaces, and in the order of its types
# (k8s.io/apimachinery, ListMeta and ObjectMeta).
_ITEMS = b'"items":['
_ITEM = b'{"metadata":{"name":'


def _with_next(read: Callable[[str], bytes]) -> Iterator[bytes]:
    """Each page of a list; while the caller decodes one, the API server already writes the next. read takes a continue token."""
    data = read("")
    token = _continue(data)
    if not token:
        yield data
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        while token:
            following = pool.submit(read, token)
            yield data
            data = following.result()
            token = _continue(data)
        yield data


def _continue(data: bytes) -> str:
    """The token of the next page, read from what stands before the items."""
    try:
        metadata = json.loads(data[: data.index(_ITEMS)] + _ITEMS + b"]}")["metadata"]
    except (ValueError, KeyError):
        # Lists of custom resources have their keys in the order of the alphabet.
        metadata = json.loads(data)["metadata"]
    return metadata.get("continue") or ""


def _decoded(data: bytes, mentioning: bytes) -> dict[str, Any]:
    """A list, without those of its items that do not contain this text if they can be told apart without decoding them."""
    page: dict[str, Any]
    head, bracket, rest = data.partition(_ITEMS)
    rest = rest.rstrip()
    if mentioning and rest.endswith(b"]}"):
        first, *others = rest.removesuffix(b"]}").split(b"," + _ITEM)
        kept = [text for text in (first, *(_ITEM + text for text in others)) if mentioning in text]
        try:
            page = json.loads(b"".join([head, bracket, b",".join(kept), b"]}"]))
            return page
        except ValueError:
            # What looks like an item's beginning was inside of one.
            pass
    page = json.loads(data)
    return page


def _pool(connection: Connection) -> Any:
    import urllib3

    kwargs: dict[str, Any] = {"maxsize": 8}
    if connection.host.startswith("https://"):
        kwargs["ssl_context"] = _ssl_context(connection)
        if connection.tls_server_name:
            kwargs["server_hostname"] = connection.tls_server_name
            kwargs["assert_hostname"] = connection.tls_server_name if connection.verify else False
        elif not connection.verify:
            kwargs["assert_hostname"] = False
        if not connection.verify:
            kwargs["cert_reqs"] = "CERT_NONE"
            urllib3.disable_warnings()
    if connection.proxy and not _bypasses_proxy(connection):
        return urllib3.ProxyManager(connection.proxy, **kwargs)
    return urllib3.PoolManager(**kwargs)


def _ssl_context(connection: Connection) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=connection.ca_file, cadata=connection.ca_data)
    except (OSError, ValueError) as error:
        raise errors.Unreachable(f"The CA certificate of {connection.source} cannot be read: {error}.") from error
    # Python 3.13 asks more of a CA than many clusters' certificates fulfil (no key usage extension); Go does not.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if not connection.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if connection.cert_data or connection.key_data:
            _load_pair(context, connection)
        elif connection.cert_file:
            context.load_cert_chain(connection.cert_file, connection.key_file)
    except (OSError, ValueError) as error:
        raise errors.Unreachable(
            f"The client certificate or key of {connection.source} cannot be read: {error}."
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, connection: Connection) -> None:
    """ssl reads client certificates from files only; they live for this call, readable by this user only."""
    import os
    import tempfile

    def text(data: str | None, path: str | None) -> str:
        if data is not None or path is None:
            return data or ""
        with open(path, encoding="utf-8") as stream:
            return stream.read()

    handle, path = tempfile.mkstemp(prefix="llmstack-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text(connection.cert_data, connection.cert_file).rstrip("\n") + "\n")
            stream.write(text(connection.key_data, connection.key_file))
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


def _bypasses_proxy(connection: Connection) -> bool:
    """Whether `no_proxy` (comma-separated names, suffixes, addresses, networks) covers the host."""
    import ipaddress
    from urllib.parse import urlsplit

    host = urlsplit(connection.host).hostname or ""
    for pattern in (item.strip() for item in (connection.no_proxy or "").split(",")):
        if not pattern:
            continue
        if pattern == "*" or host == pattern.lstrip(".") or host.endswith("." + pattern.lstrip("*").lstrip(".")):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False):
                return True
        except ValueError:
            continue
    return False


def _connection_problem(connection: Connection, subject: str, error: Exception) -> str:
    text = str(error)
    where = f"{subject}: the API server {connection.host} ({connection.source})"
    if "certificate has expired" in text:
        return f"{where} shows an expired certificate. Renew it, or check the clock of this machine."
    if "CERTIFICATE_VERIFY_FAILED" in text or "Hostname mismatch" in text or "doesn't match" in text:
        return f"{where} cannot be verified: {text}. Give its CA with ca_cert (or certificate-authority-data in the kubeconfig)."
    if "alert" in text and "certificate" in text:
        return f"{where} refuses the client certificate: {text}. Renew the client certificate of the kubeconfig."
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return f"{where} does not speak TLS. Check scheme and port of the address."
    if connection.proxy and "proxy" in text.lower():
        return f"{where} cannot be reached through the proxy {connection.proxy}: {text}. Check proxy and no_proxy."
    return f"{where} cannot be reached: {text}. Check that it runs and that this machine may connect to it."


def _proxied(namespace: str, where: str) -> str:
    """What a request through the API server is about, for a person."""
    return f"{where.replace('/', ' ', 1)} of namespace {namespace}"


def _status(data: bytes) -> dict[str, Any]:
    """The Status in an answer; whatever else (a proxy's page, "404 page not found") becomes its message."""
    try:
        status = json.loads(data)
        if isinstance(status, dict):
            return status
    except ValueError:
        pass
    return {"message": data.decode(errors="replace").strip()[:300]}


def _pause_seconds(response: Any, attempt: int) -> float:
    try:
        return min(float(response.headers.get("Retry-After", "")), 10.0)
    except ValueError:
        return 0.5 * 2.0 ** (attempt - 1)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes API in this process: the wire format (paths, Status, chunked watches) over a dictionary of objects.

It knows nothing of schemas, field ownership or admission: what the API server itself decides is tested on the real one
(tests/integration). Tests put answers to chosen requests in `planned`.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible.module_utils.testing import patch_module_args

RunModule = Callable[..., dict[str, Any]]

PLURALS = {
    "clusterpolicies": "ClusterPolicy",
    "configmaps": "ConfigMap",
    "controllerrevisions": "ControllerRevision",
    "customresourcedefinitions": "CustomResourceDefinition",
    "deployments": "Deployment",
    "gatewayclasses": "GatewayClass",
    "gateways": "Gateway",
    "gpuclusters": "GPUCluster",
    "httproutes": "HTTPRoute",
    "inferenceservices": "InferenceService",
    "ingresses": "Ingress",
    "llminferenceservices": "LLMInferenceService",
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "resourceclaims": "ResourceClaim",
    "resourceclaimtemplates": "ResourceClaimTemplate",
    "resourceslices": "ResourceSlice",
    "runtimeclasses": "RuntimeClass",
    "secrets": "Secret",
    "widgets": "Widget",
}


def status(code: int, message: str, reason: str = "", **details: Any) -> tuple[int, dict[str, Any]]:
    return code, {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "message": message,
        "reason": reason,
        "details": details,
    }


class Api:
    """The state of the server, and what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        # (method, path) -> answers to give before the real ones: (code, body) or (code, body, headers).
        self.planned: dict[tuple[str, str], list[Any]] = {}
        self.on_write: Callable[[str, dict[str, Any]], None] = lambda path, manifest: None
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.versions = itertools.count(100)
        self.served_groups = {"example.com/v1": [{"name": "widgets", "kind": "Widget", "namespaced": True}]}
        self.lock = threading.Condition()
        self.url = ""

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What was sent that would change something: no reads, no dry runs."""
        return [(method, path) for method, path, query in self.requests if method != "GET" and "dryRun" not in query]

    def put(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Store an object as a controller would, and tell the watches."""
        with self.lock:
            change = "MODIFIED" if path in self.objects else "ADDED"
            version = next(self.versions)
            manifest = json.loads(json.dumps(manifest))
            manifest["metadata"].setdefault("uid", f"uid-{version}")
            manifest["metadata"]["resourceVersion"] = str(version)
            self.objects[path] = manifest
            self.events.append((version, change, manifest))
            self.lock.notify_all()
        return manifest

    def remove(self, path: str) -> None:
        with self.lock:
            gone = self.objects.pop(path)
            self.events.append((next(self.versions), "DELETED", gone))
            self.lock.notify_all()


def merged(live: Any, patch: Any) -> Any:
    if isinstance(live, dict) and isinstance(patch, dict):
        return {**live, **{key: merged(live.get(key), value) for key, value in patch.items()}}
    return patch


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, code: int, body: dict[str, Any] | str, headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def serve(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        self.api.requests.append((self.command, parts.path, query))
        self.api.headers.append({name.lower(): value for name, value in self.headers.items()})
        if answers := self.api.planned.get((self.command, parts.path)):
            self.answer(*answers.pop(0))
        elif self.command == "GET":
            self.read(parts.path, query)
        elif self.command == "PATCH":
            self.patch(parts.path, query, body)
        else:
            if parts.path in self.api.objects:
                self.api.remove(parts.path)
                self.answer(200, {"kind": "Status", "status": "Success"})
            else:
                self.missing(parts.path)

    do_GET = do_PATCH = do_POST = do_DELETE = serve

    def missing(self, path: str) -> None:
        name = path.rpartition("/")[2]
        self.answer(*status(404, f'"{name}" not found', "NotFound", name=name))

    def read(self, path: str, query: dict[str, str]) -> None:
        last = path.rpartition("/")[2]
        group = path.removeprefix("/apis/")
        if path in self.api.objects:
            self.answer(200, self.api.objects[path])
        elif group in self.api.served_groups:
            self.answer(200, {"kind": "APIResourceList", "resources": self.api.served_groups[group]})
        elif last in PLURALS and query.get("watch"):
            self.watch(path, query)
        elif last in PLURALS:
            items = [item for key, item in self.api.objects.items() if self.within(key, path, item, query)]
            with self.api.lock:
                version = str(next(self.api.versions))
            self.answer(200, {"kind": f"{PLURALS[last]}List", "metadata": {"resourceVersion": version}, "items": items})
        elif path.split("/")[-2] in PLURALS:
            self.missing(path)
        else:
            self.answer(404, "404 page not found")

    @staticmethod
    def within(key: str, collection: str, item: dict[str, Any], query: dict[str, str]) -> bool:
        """Whether an object is in a collection (of one namespace, or of all) and selected by name and labels."""
        prefix, _slash, plural = collection.rpartition("/")
        rest = key.removeprefix(prefix + "/").split("/")
        inside = key.startswith(prefix + "/") and rest[-2:-1] == [plural]
        if not inside or (len(rest) > 2 and rest[0] != "namespaces"):
            return False
        selector = query.get("fieldSelector", "")
        if selector.startswith("metadata.name=") and item["metadata"]["name"] != selector.partition("=")[2]:
            return False
        labels = item["metadata"].get("labels") or {}
        return all(
            labels.get(part.partition("=")[0]) == part.partition("=")[2] if "=" in part else part in labels
            for part in query.get("labelSelector", "").split(",")
            if part
        )

    def patch(self, path: str, query: dict[str, str], body: dict[str, Any]) -> None:
        live = self.api.objects.get(path)
        manifest = merged(live or {}, body)
        manifest.setdefault("metadata", {}).setdefault("generation", 1)
        if live and live.get("spec") != manifest.get("spec"):
            manifest["metadata"]["generation"] += 1
        # As the API server, with another time for each entry.
        manifest["metadata"]["managedFields"] = [
            {"manager": query.get("fieldManager"), "time": str(next(self.api.versions))}
        ]
        if "dryRun" not in query and manifest != live:
            manifest = self.api.put(path, manifest)
            self.api.on_write(path, manifest)
        self.answer(200 if live else 201, manifest)

    def watch(self, path: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end = time.monotonic() + int(query["timeoutSeconds"])
        since = int(query.get("resourceVersion") or 0)
        collection = path
        while time.monotonic() < end:
            with self.api.lock:
                new = [event for event in self.api.events if event[0] > since]
                if not new:
                    self.api.lock.wait(0.05)
                    continue
            for version, change, manifest in new:
                since = version
                plural = next(key for key, kind in PLURALS.items() if kind == manifest["kind"])
                if collection.endswith("/" + plural) and self.within(
                    f"{collection}/{manifest['metadata']['name']}", collection, manifest, query
                ):
                    line = json.dumps({"type": change, "object": manifest}).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def api() -> Iterator[Api]:
    """A server on loopback for one test."""
    state = Api()
    handler = type("BoundHandler", (Handler,), {"api": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def run_module(api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """Runs a module against the server; returns what it prints, with the warnings as texts."""
    warnings: list[str] = []
    # ansible-core keeps warnings for the life of a process.
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda self, text: warnings.append(text))

    def call(module: Any, check: bool = False, **params: Any) -> dict[str, Any]:
        args = {
            "host": api.url,
            "api_key": "token-of-the-tests",
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
            **params,
        }
        with patch_module_args(args), pytest.raises(SystemExit):
            module.main()
        result = {**json.loads(capsys.readouterr().out), "warnings": list(warnings)}
        warnings.clear()
        return result

    return call


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No cluster and no proxy of whoever runs the tests."""
    import os

    for name in list(os.environ):
        if name.startswith(("K8S_AUTH_", "KUBE")) or name.lower() in ("http_proxy", "https_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))

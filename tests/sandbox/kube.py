# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few calls to the API server that set the cluster up (with the standard library: no client to import)."""

from __future__ import annotations

import base64
import http.client
import json
import pathlib
import ssl
import tempfile
import time
import urllib.parse
from typing import Any

from .errors import SandboxError


class Cluster:
    """An admin's connection to the API server of one sandbox."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        content = json.loads(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self._host = urllib.parse.urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=30)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": content_type, "User-Agent": "sandbox"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> Any:
        status, answer = self.request("GET", path)
        if status != 200:
            raise SandboxError(f"The API server answered GET {path} with {status}: {answer}")
        return answer

    def apply(self, manifest: dict[str, Any]) -> None:
        """Server-side apply: what is already as it should be stays untouched."""
        status, answer = self.request(
            "PATCH",
            _path(manifest) + "?fieldManager=sandbox&force=true",
            manifest,
            "application/apply-patch+yaml",
        )
        if status not in (200, 201):
            name = f"{manifest['kind']} {manifest['metadata']['name']}"
            raise SandboxError(f"The API server refused {name} with {status}: {answer}")

    def merge(self, path: str, patch: object) -> None:
        status, answer = self.request("PATCH", path, patch, "application/merge-patch+json")
        if status != 200:
            raise SandboxError(f"The API server refused a patch of {path} with {status}: {answer}")


class GaveUp(SandboxError):
    """Raised inside a condition: waiting longer cannot help."""


def wait_until(what: str, condition, timeout_seconds: float = 90, interval_seconds: float = 0.2) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if condition():
                return
        except GaveUp:
            raise
        except (OSError, SandboxError):
            # Not there yet is not a failure before the deadline.
            pass
        if time.monotonic() > deadline:
            raise SandboxError(f"{what} did not happen within {timeout_seconds:.0f} s: see `python -m sandbox logs`.")
        time.sleep(interval_seconds)


_PLURALS = {
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Service": "services",
    "Deployment": "deployments",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Node": "nodes",
    "RuntimeClass": "runtimeclasses",
}


def _path(manifest: dict[str, Any]) -> str:
    version, metadata = manifest["apiVersion"], manifest["metadata"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{base}{namespace}/{_PLURALS[manifest['kind']]}/{metadata['name']}"

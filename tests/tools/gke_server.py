# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that speaks the wire format of Google's container/v1 API: tokens, clusters, node pools, operations, errors.

It keeps what it is sent, does one operation at a time as GKE does, and refuses fields that the API does not have
(container-api.json of google.golang.org/api is where they come from).
"""

from __future__ import annotations

import base64
import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

POOL_FIELDS = {"name", "config", "initialNodeCount", "locations", "autoscaling", "management"}
CONFIG_FIELDS = {
    "machineType",
    "imageType",
    "diskSizeGb",
    "diskType",
    "serviceAccount",
    "oauthScopes",
    "labels",
    "tags",
    "spot",
    "accelerators",
    "taints",
    "reservationAffinity",
    "workloadMetadataConfig",
}
# Those of UpdateNodePoolRequest that are used; spot, reservation, autoscaling and management are not among its fields.
UPDATE_FIELDS = {"imageType", "labels", "tags", "taints", "workloadMetadataConfig", "accelerators", "locations"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class GkeServer:
    """What there is, what was asked, and the faults that are to come."""

    def __init__(self) -> None:
        self.clusters: dict[str, dict[str, Any]] = {}
        self.pools: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        # (method, what the path ends with, status, body, headers): each is the answer once.
        self.faults: list[tuple[str, str, int, dict[str, Any], dict[str, str]]] = []
        # What the next operation ends with, beside status DONE.
        self.operation_ends: list[dict[str, Any]] = []
        self.rounds = 2
        self._operations: dict[str, dict[str, Any]] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def key_file(self) -> dict[str, str]:
        """A service account's key, as Google's console gives it."""
        pem = _key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "key-1",
            "private_key": pem.decode(),
            "client_email": "ansible@project.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
        }

    def fault(self, method: str, ending: str, status: int, message: str, kind: str = "", **headers: str) -> None:
        body = {"error": {"code": status, "message": message, "status": kind}}
        self.faults.append((method, ending, status, body, headers))

    def changes(self) -> list[tuple[str, str]]:
        """What was changed: method and the path below the location."""
        return [
            (method, path.partition("/locations/")[2].partition("/")[2])
            for method, path, _body in self.requests
            if method != "GET" and path != "/token"
        ]

    # What it does

    def answer(
        self, method: str, path: str, body: Any, authorization: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.requests.append((method, path, body))
        if path == "/token":
            return self._token(body)
        for number, (wanted, ending, status, fault, headers) in enumerate(self.faults):
            if wanted == method and path.endswith(ending):
                del self.faults[number]
                return status, fault, headers
        if authorization != "Bearer token-1":
            return 401, _error(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED"), {}
        parts = path.removeprefix("/v1/projects/project/locations/europe-west4/").split("/")
        return (*self._resource(method, parts, body), {})

    def _token(self, body: dict[str, list[str]]) -> tuple[int, dict[str, Any], dict[str, str]]:
        """RFC 7523: the assertion is a JWT signed by the account's key."""
        header, payload, signature = body["assertion"][0].split(".")
        _key().public_key().verify(
            _decoded(signature), f"{header}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        claims = json.loads(_decoded(payload))
        if (
            body["grant_type"] != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            or "cloud-platform" not in claims["scope"]
        ):
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT"}, {}
        return 200, {"access_token": "token-1", "expires_in": 3599, "token_type": "Bearer"}, {}

    def _resource(self, method: str, parts: list[str], body: Any) -> tuple[int, dict[str, Any]]:
        if parts[0] == "operations":
            return self._operation(parts[1])
        if len(parts) <= 2:
            return self._cluster(method, parts[1:], body)
        if parts[1] not in self.clusters:
            return 404, _error(404, f"Not found: projects/project/clusters/{parts[1]}.", "NOT_FOUND")
        return self._pool(method, parts[3:], body)

    def _cluster(self, method: str, name: list[str], body: Any) -> tuple[int, dict[str, Any]]:
        if method == "POST":
            cluster = body["cluster"]
            self.clusters[cluster["name"]] = {**cluster, "status": "RUNNING", "masterAuth": {"clientKey": "secret"}}
            return self._begun("CREATE_CLUSTER")
        if name[0] not in self.clusters:
            return 404, _error(404, f"Not found: projects/project/clusters/{name[0]}.", "NOT_FOUND")
        if method == "DELETE":
            del self.clusters[name[0]]
            return self._begun("DELETE_CLUSTER")
        return 200, self.clusters[name[0]]

    def _pool(self, method: str, name: list[str], body: Any) -> tuple[int, dict[str, Any]]:
        running = [key for key, entry in self._operations.items() if entry["rounds"] > 0]
        if method != "GET" and running:
            message = f"Cluster is running incompatible operation {running[0]}."
            return 400, _error(400, message, "FAILED_PRECONDITION")
        if method == "POST" and not name:
            pool = body["nodePool"]
            _known(set(pool), POOL_FIELDS)
            _known(set(pool["config"]), CONFIG_FIELDS)
            taints = [*pool["config"].get("taints", []), *([GPU_TAINT] if pool["config"].get("accelerators") else [])]
            config = {"diskType": "pd-balanced", "diskSizeGb": 100, **pool["config"], "taints": taints}
            made = {"locations": ["europe-west4-a"], "management": {"autoRepair": True, "autoUpgrade": True}, **pool}
            self.pools[pool["name"]] = {**made, "config": config, "status": "RUNNING"}
            return self._begun("CREATE_NODE_POOL")
        key, _colon, verb = name[0].partition(":")
        if key not in self.pools:
            return 404, _error(404, f"Not found: node pool {key}.", "NOT_FOUND")
        pool = self.pools[key]
        if method == "GET":
            return 200, pool
        if method == "DELETE":
            del self.pools[key]
            return self._begun("DELETE_NODE_POOL")
        if verb:
            field = {"setAutoscaling": "autoscaling", "setManagement": "management"}[verb]
            pool[field] = body[field]
            return self._begun("UPDATE_CLUSTER")
        _known(set(body), UPDATE_FIELDS)
        for field, value in body.items():
            if field == "locations":
                pool[field] = value
            else:
                pool["config"][field] = value[field] if field in ("labels", "taints", "tags") else value
        return self._begun("UPDATE_CLUSTER")

    def _begun(self, kind: str) -> tuple[int, dict[str, Any]]:
        name = f"operation-{len(self._operations) + 1}-abc"
        end = self.operation_ends.pop(0) if self.operation_ends else {}
        self._operations[name] = {"rounds": self.rounds, "operationType": kind, "end": end}
        return 200, {"name": name, "status": "RUNNING", "operationType": kind}

    def _operation(self, name: str) -> tuple[int, dict[str, Any]]:
        found = self._operations[name]
        found["rounds"] -= 1
        if found["rounds"] > 0:
            return 200, {"name": name, "status": "RUNNING", "operationType": found["operationType"]}
        return 200, {"name": name, "status": "DONE", "operationType": found["operationType"], **found["end"]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                path = urlsplit(self.path).path
                body = parse_qs(raw) if path == "/token" else (json.loads(raw) if raw else None)
                try:
                    status, found, headers = server.answer(
                        self.command, path, body, self.headers.get("Authorization", "")
                    )
                except UnknownField as error:
                    status, found, headers = 400, _error(400, str(error), "INVALID_ARGUMENT"), {}
                payload = json.dumps(found).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *_arguments: Any) -> None:
                pass

        return Handler


class UnknownField(Exception):
    """A field that the API does not have: Google answers 400."""


def _known(given: set[str], known: set[str]) -> None:
    if given - known:
        raise UnknownField(f'Invalid JSON payload received. Unknown name "{sorted(given - known)[0]}".')


def _error(code: int, message: str, status: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status}}


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

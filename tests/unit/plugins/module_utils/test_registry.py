# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry says of an image, asked of a local server that speaks its protocol."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _registry

LOGIN = base64.b64encode(b"robot:secret").decode()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("docker.io/vllm/vllm-openai:v0.32.0", ("docker.io", "vllm/vllm-openai", "v0.32.0")),
        ("vllm/vllm-openai", ("docker.io", "vllm/vllm-openai", "latest")),
        ("busybox:1", ("docker.io", "library/busybox", "1")),
        ("localhost:5000/a:b", ("localhost:5000", "a", "b")),
        ("ghcr.io/a/b/c:1@sha256:abc", ("ghcr.io", "a/b/c", "sha256:abc")),
    ],
)
def test_references_are_read_as_container_engines_do(image: str, expected: tuple[str, str, str]) -> None:
    assert _registry.split(image) == expected


class Registry(BaseHTTPRequestHandler):
    """Open for `open/`, by token for `tokens/`, by password for `basic/`; `private/` gives no token to strangers."""

    def do_HEAD(self) -> None:
        requests(self.server).append(self.path)
        place, given = self.path.split("/")[2], self.headers.get("Authorization", "")
        assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        if place in ("tokens", "private") and given != "Bearer t0ken":
            self.answer(401, f'Bearer realm="{here}/token",service="registry",scope="repository:{place}/a:pull"')
        elif place == "basic" and given != f"Basic {LOGIN}":
            self.answer(401, 'Basic realm="registry"')
        else:
            self.answer(404 if self.path.endswith("no-such") else 200)

    def do_GET(self) -> None:
        requests(self.server).append(self.path)
        if "private" in self.path and self.headers.get("Authorization") != f"Basic {LOGIN}":
            self.answer(401)
            return
        self.answer(200, body=json.dumps({"token": "t0ken"}).encode())

    def answer(self, status: int, challenge: str = "", body: bytes = b"") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


def requests(server: Any) -> list[str]:
    found: list[str] = server.__dict__.setdefault("requests", [])
    return found


@pytest.fixture
def registry() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("image", "known", "status"),
    [
        ("open/a:1", False, 200),
        ("open/a:no-such", False, 404),
        ("tokens/a:1", False, 200),
        ("private/a:1", False, 401),
        ("private/a:1", True, 200),
        ("basic/a:1", False, 401),
        ("basic/a:1", True, 200),
    ],
)
def test_the_answer_is_the_registry_s(registry: ThreadingHTTPServer, image: str, known: bool, status: int) -> None:
    host = f"127.0.0.1:{registry.server_address[1]}"
    auths = {host: {"username": "robot", "password": "secret"}} if known else {}
    found = _registry.ask(f"{host}/{image}", plain_http=True, auths=auths)
    assert found == {"registry": host, "status": status}


def test_a_mirror_is_asked_instead_of_the_registry_in_the_name(registry: ThreadingHTTPServer) -> None:
    mirror = f"127.0.0.1:{registry.server_address[1]}/open"
    assert _registry.ask("docker.io/vllm/vllm-openai:v1", mirror=mirror, plain_http=True)["status"] == 200
    assert requests(registry) == ["/v2/open/vllm/vllm-openai/manifests/v1"]


def test_the_scope_of_the_challenge_is_asked_for(registry: ThreadingHTTPServer) -> None:
    _registry.ask(f"127.0.0.1:{registry.server_address[1]}/tokens/a:1", plain_http=True)
    assert requests(registry)[1] == "/token?service=registry&scope=repository%3Atokens%2Fa%3Apull"


def test_a_registry_that_does_not_answer_is_an_error_in_words() -> None:
    found = _registry.ask("127.0.0.1:1/a:1", plain_http=True, timeout=1)
    assert "refused" in found["error"].lower()

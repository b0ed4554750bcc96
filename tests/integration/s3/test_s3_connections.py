# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads over TLS, through a proxy that only passes it on, with changing credentials, and over what does not work."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from s3 import loopback
from s3.asked import UNTOUCHED, is_part
from s3.faulty_proxy import Asked, Proxy, proxy, seeded
from s3.servers import ACCESS_KEY, REGION, SECRET_KEY, Server, content, stored
from sandbox import pki

MANIFEST = ".llmstack-manifest.json"
NO_KEYS = {"access_key": None, "secret_key": None}
Upload = Callable[..., dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Secure:
    """The server behind a proxy that speaks TLS, and the file of its authority."""

    proxy: Proxy
    authority: str

    @property
    def there(self) -> dict[str, str]:
        return {"endpoint_url": self.proxy.url, "aws_ca_bundle": self.authority}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    authority = pki.Authority(tmp_path_factory.mktemp("tls") / "pki")
    pair = authority.issue("server", user="server", hosts=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context, str(authority.pair.certificate)


@pytest.fixture
def secure(gateway: Server, certified: tuple[ssl.SSLContext, str]) -> Iterator[Secure]:
    context, authority = certified
    with proxy(gateway.url, context) as running:
        yield Secure(running, authority)


def byte_identical(gateway: Server, bucket: str, model: Path) -> bool:
    """The files on the server's disk are those of the model, and its manifest is there."""
    assert gateway.directory
    found = content(gateway.directory / bucket / "llama")
    return found.pop(MANIFEST, None) is not None and found == content(model)


# TLS


@pytest.mark.parametrize("bandwidth_limit", [None, "100MiB"])
def test_bytes_arrive_over_tls_as_they_are(
    bandwidth_limit: str | None, gateway: Server, bucket: str, model: Path, secure: Secure, upload: Upload
) -> None:
    result = upload(src=str(model), bandwidth_limit=bandwidth_limit, **secure.there)
    assert not result.get("failed"), result["msg"]
    assert byte_identical(gateway, bucket, model)
    assert upload(src=str(model), **secure.there)["changed"] is False


@pytest.mark.parametrize("seed", range(3))
def test_faults_over_tls_never_publish_half_a_model(
    seed: int, gateway: Server, bucket: str, model: Path, secure: Secure, upload: Upload
) -> None:
    secure.proxy.choose = seeded(seed, 0.3)
    for _attempt in range(3):
        result = upload(src=str(model), attempts=4, **secure.there)
        if not result.get("failed"):
            assert byte_identical(gateway, bucket, model)
        elif "has no manifest now" in result["msg"]:
            assert MANIFEST not in stored(gateway, bucket)
    assert secure.proxy.broken
    secure.proxy.choose = lambda asked: UNTOUCHED
    final = upload(src=str(model), **secure.there)
    assert not final.get("failed"), final["msg"]
    assert byte_identical(gateway, bucket, model)


@contextlib.contextmanager
def tunnel() -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy on loopback that only knows CONNECT: its URL, and the first lines of what it was sent."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client, client.makefile("rb", buffering=0) as stream, contextlib.suppress(OSError):
            seen.append(stream.readline().decode("latin-1").strip())
            while stream.readline() not in (b"\r\n", b""):
                pass
            method, target, _version = seen[-1].split()
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 405 Not Here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            host, port = target.split(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.close()


def test_a_proxy_for_https_passes_everything_on_and_sees_nothing(
    gateway: Server, bucket: str, model: Path, secure: Secure, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tunnel() as (url, seen), monkeypatch.context() as changed:
        changed.setenv("HTTPS_PROXY", url)
        changed.setenv("https_proxy", url)
        result = upload(src=str(model), **secure.there)
    assert not result.get("failed"), result["msg"]
    assert byte_identical(gateway, bucket, model)
    # The library's connection and at least one of those that send the files.
    assert len(seen) >= 2
    assert {line.rpartition(" ")[0] for line in seen} == {f"CONNECT {secure.proxy.url.removeprefix('https://')}"}


# Credentials that change


@contextlib.contextmanager
def container_role(seconds: float) -> Iterator[tuple[str, list[str]]]:
    """The endpoint where ECS and EKS give a container its credentials: its URL, and what those who asked showed.

    Each answer has another token, and holds for so long.
    """
    shown: list[str] = []

    class Role(loopback.Handler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
            keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": f"token-{len(shown)}"}
            body = json.dumps({**keys, "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with loopback.serving(Role) as url:
        yield f"{url}/role", shown


def tokens(requests: list[Asked]) -> list[str]:
    """The session token of each request, in its header or its URL."""
    in_urls = [parse_qs(urlsplit(asked.path).query).get("X-Amz-Security-Token", [""])[0] for asked in requests]
    return [asked.headers.get("x-amz-security-token", in_url) for asked, in_url in zip(requests, in_urls, strict=True)]


@pytest.mark.parametrize(
    ("seconds", "renewed"),
    # botocore asks again as soon as less than ten minutes are left.
    [(3600, False), (300, True)],
    ids=["lasting", "expiring"],
)
def test_credentials_come_from_the_role_of_a_container_and_are_renewed_while_parts_are_sent(
    seconds: float,
    renewed: bool,
    memory: Server,
    bucket: str,
    model: Path,
    upload: Upload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with container_role(seconds) as (url, shown), proxy(memory.url) as watched:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret-of-the-container")
        result = upload(src=str(model), endpoint_url=watched.url, **NO_KEYS)
    assert not result.get("failed"), result["msg"]
    assert set(shown) == {"secret-of-the-container"}
    parts = tokens([asked for asked in watched.asked if "X-Amz-Signature" in asked.path and is_part(asked)])
    assert len(parts) == 3
    assert len(set(parts)) == (3 if renewed else 1)
    assert all(token.startswith("token-") for token in tokens(watched.asked))
    assert stored(memory, bucket)["model.safetensors"] == (model / "model.safetensors").read_bytes()
    assert not [secret for secret in (*parts, "secret-of-the-container") if secret in str(result)]


def test_the_session_token_of_the_environment_goes_with_every_request(
    memory: Server, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-environment")
    with proxy(memory.url) as watched:
        result = upload(src=str(model), endpoint_url=watched.url, region=REGION, **NO_KEYS)
    assert not result.get("failed"), result["msg"]
    assert any(map(is_part, watched.asked))
    assert set(tokens(watched.asked)) == {"token-of-the-environment"}
    assert "token-of-the-environment" not in str(result)


def test_the_session_token_of_the_task_goes_with_every_request(memory: Server, model: Path, upload: Upload) -> None:
    with proxy(memory.url) as watched:
        result = upload(src=str(model), endpoint_url=watched.url, session_token="token-of-the-task")
    assert not result.get("failed"), result["msg"]
    assert set(tokens(watched.asked)) == {"token-of-the-task"}
    assert "token-of-the-task" not in str(result)


# What does not work leaves an older model as it was


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which nobody listens, and nobody can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an access key of nobody": ({"access_key": "nobody"}, "does not know the access key"),
    "another secret": ({"secret_key": "a-wrong-secret"}, "refuses the signature"),
    "no such bucket": ({"bucket": "no-such-bucket", "create_bucket": False}, "bucket no-such-bucket does not exist"),
    "another region": ({"region": "eu-west-3"}, "is in another region than eu-west-3: set region"),
    "a wrong clock": ({}, "set the clock"),
    "an endpoint that is down": ({}, "does not answer: check endpoint_url"),
    "a proxy that is down": ({}, "does not answer: correct it, or list the endpoint in NO_PROXY"),
    "an authority that nobody knows": ({}, "give its CA in aws_ca_bundle"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_leaves_the_model_that_is_there_as_it_was(
    what: str,
    gateway: Server,
    bucket: str,
    model: Path,
    watched: Proxy,
    secure: Secure,
    nobody: str,
    upload: Upload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert upload(src=str(model), endpoint_url=gateway.url)["changed"] is True
    before = stored(gateway, bucket, "")
    (model / "config.json").write_text("{}")
    urls = {"an endpoint that is down": nobody, "an authority that nobody knows": secure.proxy.url}
    parameters, phrase = BAD[what]
    with monkeypatch.context() as changed:
        if what == "a wrong clock":
            text = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"
            watched.answers["skewed"] = (403, text)
            watched.choose = lambda asked: ("skewed", random.Random(0))
        if what == "a proxy that is down":
            changed.setenv("HTTP_PROXY", nobody)
            changed.setenv("http_proxy", nobody)
        result = upload(src=str(model), endpoint_url=urls.get(what, watched.url), **parameters)
    assert result["failed"] is True
    assert phrase in result["msg"]
    assert result["msg"].endswith(".")
    assert "\n" not in result["msg"]
    assert "Traceback" not in str(result)
    assert stored(gateway, bucket, "") == before
    assert not gateway.client().list_multipart_uploads(Bucket=bucket).get("Uploads")

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender against a server of the test's own, that says what it was sent."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _part_sender
from ansible_collections.llmstack.serving.plugins.module_utils._part_sender import (
    Refused,
    Sender,
    SourceShrank,
    Target,
    Throttle,
)
from ansible_collections.llmstack.serving.plugins.module_utils._retry import Transient

MIB = 1024 * 1024


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.answer: tuple[int, bytes, dict[str, str]] = (200, b"", {"ETag": '"e"'})


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            state.connections += 1

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, content, headers = state.answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
    state.url = f"http://127.0.0.1:{listener.server_address[1]}"
    yield state
    listener.shutdown()
    listener.server_close()


def sender(bytes_per_second: int | None = None) -> Sender:
    return Sender(None, 5.0, Throttle(bytes_per_second), lambda: None)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    content = os.urandom(20 * MIB)
    (tmp_path / "w.bin").write_bytes(content)
    return content


def test_exactly_the_range_is_sent_with_the_signed_headers(server: Server, data: bytes, tmp_path: Path) -> None:
    target = Target(f"{server.url}/b/k%20x?partNumber=2&X-Amz-Signature=s", {"x-amz-checksum-crc32": "abc="})
    with opened(tmp_path / "w.bin") as descriptor:
        answer = sender().put(target, descriptor, 5 * MIB + 3, 9 * MIB)
    path, headers, body = server.requests[0]
    assert path == "/b/k%20x?partNumber=2&X-Amz-Signature=s"
    assert headers["x-amz-checksum-crc32"] == "abc="
    assert headers["host"] == server.url.removeprefix("http://")
    assert body == data[5 * MIB + 3 : 14 * MIB + 3]
    assert answer["etag"] == '"e"'


def test_a_connection_is_used_again(server: Server, data: bytes, tmp_path: Path) -> None:
    keeping = sender()
    with opened(tmp_path / "w.bin") as descriptor:
        for _number in range(3):
            keeping.put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 10)
    assert server.connections == 1


def queue_bytes(server: Server, data: bytes, tmp_path: Path) -> int:
    """What the kernel may queue on the connection of a sender."""
    using = sender()
    with opened(tmp_path / "w.bin") as descriptor:
        using.put(Target(f"{server.url}/b/k", {}), descriptor, 0, len(data))
    return int(using._local.connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))


def test_only_to_a_server_that_is_near_the_queue_is_short(
    server: Server, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_part_sender, "_NEAR_MICROSECONDS", 1_000_000)
    # The kernel doubles what it is asked for (socket(7)).
    assert queue_bytes(server, data, tmp_path) == 2 * _part_sender._NEAR_BUFFER_BYTES
    monkeypatch.setattr(_part_sender, "_NEAR_MICROSECONDS", -1)
    assert queue_bytes(server, data, tmp_path) != 2 * _part_sender._NEAR_BUFFER_BYTES


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_busy_server_is_transient(server: Server, data: bytes, tmp_path: Path, status: int) -> None:
    server.answer = (status, b"", {})
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(Transient, match=str(status)):
        sender().put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 10)


def test_bytes_that_arrived_wrong_are_sent_again(server: Server, data: bytes, tmp_path: Path) -> None:
    server.answer = (400, b"<Error><Code>BadDigest</Code></Error>", {})
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(Transient, match="BadDigest"):
        sender().put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 10)


def test_an_error_with_the_status_of_a_success_is_transient(server: Server, data: bytes, tmp_path: Path) -> None:
    server.answer = (200, b"<Error><Code>InternalError</Code></Error>", {})
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(Transient, match="InternalError"):
        sender().put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 10)


def test_a_refusal_has_code_and_message(server: Server, data: bytes, tmp_path: Path) -> None:
    server.answer = (403, b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>", {})
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(Refused) as caught:
        sender().put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 10)
    assert (caught.value.status, caught.value.code, caught.value.message) == (403, "AccessDenied", "No.")


def test_a_file_that_became_shorter_is_noticed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"x" * 10)
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(SourceShrank):
        sender().put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 11)


def test_a_server_that_is_not_there_is_transient(tmp_path: Path, data: bytes) -> None:
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(Transient, match="ConnectionRefusedError"):
        sender().put(Target("http://127.0.0.1:9/b/k?x", {}), descriptor, 0, 1)


def test_a_server_that_takes_nothing_ends_in_a_timeout(tmp_path: Path, data: bytes) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf, opened(tmp_path / "w.bin") as descriptor:
        impatient = Sender(None, 0.3, Throttle(None), lambda: None)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/b/k?x"
        begin = time.monotonic()
        with pytest.raises(Transient):
            impatient.put(Target(url, {}), descriptor, 0, len(data))
        assert time.monotonic() - begin < 5


def test_a_sender_can_be_stopped_between_chunks(server: Server, data: bytes, tmp_path: Path) -> None:
    calls = []

    def halt() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("stopped")

    stopping = Sender(None, 5.0, Throttle(None), halt)
    with opened(tmp_path / "w.bin") as descriptor, pytest.raises(RuntimeError, match="stopped"):
        stopping.put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, len(data))


def test_a_throttle_holds_for_all_threads_together() -> None:
    throttle = Throttle(10 * MIB)

    def take() -> None:
        for _number in range(3):
            throttle.take(MIB)

    begin = time.monotonic()
    threads = [threading.Thread(target=take) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Six pieces of a tenth of a second each, of which the first need not wait.
    assert 0.45 < time.monotonic() - begin < 4
    assert throttle.chunk_bytes == MIB


def test_a_proxy_is_asked_for_the_whole_url_with_its_login(
    server: Server, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://user:p%40ss@"))
    with opened(tmp_path / "w.bin") as descriptor:
        sender().put(Target("http://s3.example.com/b/k?x=1", {}), descriptor, 0, 4)
    path, headers, _body = server.requests[0]
    assert path == "http://s3.example.com/b/k?x=1"
    assert headers["host"] == "s3.example.com"
    assert headers["proxy-authorization"] == f"Basic {base64.b64encode(b'user:p@ss').decode()}"


def test_no_proxy_is_honoured(server: Server, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with opened(tmp_path / "w.bin") as descriptor:
        sender().put(Target(f"{server.url}/b/k?x", {}), descriptor, 0, 4)
    assert server.requests[0][2] == data[:4]

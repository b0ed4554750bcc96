# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP proxy in front of an S3 server that breaks some requests, reproducibly: the same seed, the same faults.

One request per connection to the server, so that what is broken is always one request and never its neighbours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

KINDS = ("drop", "reset", "busy", "slow", "truncated", "error in 200", "lost answer", "corrupted")
_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_FAILED = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an error.</Message></Error>"
_CHUNK_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request as it came in; the names of headers are in lower case."""

    method: str
    path: str
    length_bytes: int
    headers: Mapping[str, str]


# What is to be done to a request, if anything, and by which chance.
Choice = Callable[[Asked], tuple[str | None, Any]]


def seeded(seed: int, share: float, kinds: tuple[str, ...] = KINDS) -> Choice:
    """Breaks this share of the requests in one of these ways."""
    chance, lock = random.Random(seed), threading.Lock()

    def choose(_asked: Asked) -> tuple[str | None, random.Random]:
        with lock:
            kind = chance.choice(kinds) if chance.random() < share else None
            return kind, random.Random(chance.random())

    return choose


class Proxy:
    """Listens on loopback, with TLS if it is given; `choose` says for each request how it is broken, if at all."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        target = urlsplit(upstream)
        assert target.hostname and target.port
        self._upstream = (target.hostname, target.port)
        self._tls = tls
        self.choose: Choice = lambda asked: (None, random.Random(0))
        # Kinds of faults of a test's own: status and body to answer.
        self.answers: dict[str, tuple[int, str]] = {}
        self.broken: list[str] = []
        self.asked: list[Asked] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(60)
            if self._tls is None:
                self._serve_one(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as secured:
                    self._serve_one(secured)

    def _serve_one(self, client: socket.socket) -> None:
        with client.makefile("rb") as stream:
            head = b"".join(_until_blank(stream.readline))
            if not head:
                return
            lines = head.decode("latin-1").split("\r\n")
            method, path, _version = lines[0].split(" ", 2)
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            headers = {name.lower(): value for name, value in fields.items()}
            length = int(headers.get("content-length", "0"))
            asked = Asked(method, path, length, headers)
            kind, chance = self.choose(asked)
            self.asked.append(asked)
            if kind:
                self.broken.append(kind)
            if "100-continue" in head.decode("latin-1").lower():
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._break(kind, chance, client, stream.read, head, length)

    def _break(
        self,
        kind: str | None,
        chance: random.Random,
        client: socket.socket,
        read: Callable[[int], bytes],
        head: bytes,
        length: int,
    ) -> None:
        if kind in self.answers:
            status, text = self.answers[kind]
            read(length)
            client.sendall(_answer(status, text.encode()))
            return
        if kind == "busy":
            read(chance.randint(0, length))
            client.sendall(_answer(503, _BUSY))
            return
        if kind == "error in 200" and chance.random() < 0.5:
            read(length)
            client.sendall(_answer(200, _FAILED))
            return
        stop_at = chance.randint(0, length) if kind in ("drop", "reset") else length
        flip_at = chance.randint(0, length - 1) if kind == "corrupted" and length else -1
        with socket.create_connection(self._upstream, 60) as server:
            server.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            passed = 0
            while passed < stop_at:
                chunk = bytearray(read(min(_CHUNK_BYTES, stop_at - passed)))
                if not chunk:
                    return
                if passed <= flip_at < passed + len(chunk):
                    chunk[flip_at - passed] ^= 0x5A
                if kind == "slow":
                    time.sleep(chance.uniform(0, 0.002))
                server.sendall(chunk)
                passed += len(chunk)
            answer = b""
            if stop_at == length:
                # Also for whoever will not hear it: a request that is whole is done, and before the next one comes.
                answer = b"".join(iter(lambda: server.recv(_CHUNK_BYTES), b""))
        if kind == "reset":
            # SO_LINGER with 0 seconds: close() sends RST.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if kind == "drop":
            return
        if kind == "lost answer":
            return
        if kind == "error in 200":
            client.sendall(_answer(200, _FAILED))
            return
        if kind == "truncated":
            answer = answer[: chance.randint(0, max(len(answer) - 1, 0))]
        if kind == "slow":
            time.sleep(chance.uniform(0, 0.05))
        client.sendall(answer)


@contextlib.contextmanager
def proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    running = Proxy(upstream, tls)
    try:
        yield running
    finally:
        running.close()


def _until_blank(readline: Callable[[], bytes]) -> Iterator[bytes]:
    while line := readline():
        yield line
        if line == b"\r\n":
            return


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Planned\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a range of a file with one HTTP PUT to a presigned URL, at the speed of sendfile(2).

PRIVATE to the collection: no stable interface.
Why not the S3 library: it hashes or copies each byte in Python; the kernel can send the file by itself (plain HTTP),
and over TLS one copy is enough. The library signs the URL, this file only moves bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import errno
import http.client
import os
import re
import socket
import ssl
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from ansible_collections.llmstack.serving.plugins.module_utils._retry import Transient

_TLS_CHUNK_BYTES = 512 * 1024
# Between chunks a sender keeps to its rate and may be stopped.
_CHUNK_BYTES = 8 * 1024 * 1024
_SMALLEST_CHUNK_BYTES = 16 * 1024
# To a server on this machine or beside it, so much on its way keeps the network busy (1.3 GB/s and connection). What the
# kernel queues beyond that only falls out of the processors' caches: without it sendfile took 0.57 of the time on loopback.
# Farther servers need more, and the kernel finds out how much.
_NEAR_MICROSECONDS = 200
_NEAR_BUFFER_BYTES = 256 * 1024
# Of struct tcp_info in linux/tcp.h: the offset of tcpi_rtt, microseconds.
_ROUND_TRIP_OFFSET = 68
_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")
# Answers after which the same request may succeed: the server is busy or asked to wait, or lost our bytes on the way.
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"RequestTimeout", "SlowDown", "Throttling", "BadDigest", "IncompleteBody", "InternalError"}


class SourceShrank(Exception):
    """The file ended before the range did."""


class Refused(Exception):
    """The server's final no, by its S3 error code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code or status}: {message}" if message else code or f"HTTP status {status}")
        self.status = status
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True)
class Target:
    """A presigned URL with the headers that its signature covers; signer is whatever signed it."""

    url: str
    headers: Mapping[str, str]
    signer: object = None


class Throttle:
    """Lets all threads together send so many bytes per second; None lets them send as they like."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0
        # A tenth of a second's worth at a time, so that the rate holds over short times too.
        self.chunk_bytes = _CHUNK_BYTES
        if bytes_per_second:
            self.chunk_bytes = max(_SMALLEST_CHUNK_BYTES, min(_CHUNK_BYTES, bytes_per_second // 10))

    def take(self, count_bytes: int) -> None:
        """Wait until these bytes may be sent."""
        if not self._bytes_per_second:
            return
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + count_bytes / self._bytes_per_second
        time.sleep(max(0.0, begin - time.monotonic()))


class Sender:
    """Keeps one connection per thread; halt() is called now and then and may raise to stop."""

    def __init__(
        self, tls: ssl.SSLContext | None, timeout_seconds: float, throttle: Throttle, halt: Callable[[], None]
    ) -> None:
        self._tls = tls
        self._timeout_seconds = timeout_seconds
        self._throttle = throttle
        self._halt = halt
        self._local = threading.local()

    def put(self, target: Target, descriptor: int, offset: int, length: int) -> dict[str, str]:
        """Send the range; the answer's headers with lower-case names.

        Raises Transient, Refused, or SourceShrank.
        """
        url = urlsplit(target.url)
        connection, absolute = self._connection(url.scheme, url.netloc)
        path = target.url if absolute else f"{url.path}?{url.query}"
        try:
            connection.putrequest("PUT", path, skip_accept_encoding=True)
            for name, value in {**target.headers, **absolute, "Content-Length": str(length)}.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                self._send(connection.sock, descriptor, offset, length)
            except (BrokenPipeError, ConnectionResetError):
                # A server may refuse and close before it has read everything: its answer says why.
                answer = connection.getresponse()
                if answer.status < 400:
                    raise
            else:
                answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise Refused(0, certificate_fault(str(error)), error.verify_message) from error
            if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno == errno.EIO:
                # The disk: a socket does not report this one.
                raise
            raise Transient(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        if 200 <= answer.status < 300:
            if code := _CODE.search(body):
                raise Transient(f"the server answered {answer.status} with the error {code[1].decode()}")
            return {name.lower(): value for name, value in answer.getheaders()}
        self.close()
        code_text = ((match := _CODE.search(body)) and match[1].decode()) or ""
        message = ((match := _MESSAGE.search(body)) and match[1].decode()) or ""
        if answer.status in _TRANSIENT_STATUS or code_text in _TRANSIENT_CODES:
            raise Transient(f"the server answered {answer.status} {code_text}".rstrip())
        raise Refused(answer.status, code_text, message)

    def _send(self, sock: socket.socket, descriptor: int, offset: int, length: int) -> None:
        end = offset + length
        if isinstance(sock, ssl.SSLSocket):
            buffer = memoryview(bytearray(min(_TLS_CHUNK_BYTES, self._throttle.chunk_bytes, max(length, 1))))
            while offset < end:
                count = os.preadv(descriptor, [buffer[: min(len(buffer), end - offset)]], offset)
                if count == 0:
                    raise SourceShrank
                self._pause(count)
                sock.sendall(buffer[:count])
                offset += count
            return
        # With a timeout the socket does not block in the kernel: sendfile would return EAGAIN at each full buffer.
        sock.settimeout(None)
        try:
            while offset < end:
                wanted = min(self._throttle.chunk_bytes, end - offset)
                self._pause(wanted)
                count = os.sendfile(sock.fileno(), descriptor, offset, wanted)
                if count == 0:
                    raise SourceShrank
                offset += count
        finally:
            sock.settimeout(self._timeout_seconds)

    def _pause(self, count_bytes: int) -> None:
        self._halt()
        self._throttle.take(count_bytes)

    def _connection(self, scheme: str, netloc: str) -> tuple[http.client.HTTPConnection, dict[str, str]]:
        """This thread's connection, and the headers for a proxy that must see the whole URL (else none)."""
        key = (scheme, netloc)
        if getattr(self._local, "key", None) == key:
            return self._local.connection, self._local.absolute
        self.close()
        host = netloc.rpartition("@")[2]
        proxy = urllib.request.getproxies().get(scheme)
        absolute: dict[str, str] = {}
        if proxy and not urllib.request.proxy_bypass(host):
            parsed = urlsplit(proxy if "//" in proxy else f"//{proxy}")
            headers = {}
            if parsed.username:
                login = f"{unquote(parsed.username)}:{unquote(parsed.password or '')}"
                headers = {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
            connection = self._new(scheme, f"{parsed.hostname}:{parsed.port or 80}")
            if scheme == "https":
                connection.set_tunnel(host, headers=headers)
            else:
                absolute = {**headers, "Proxy-Connection": "Keep-Alive"}
        else:
            connection = self._new(scheme, host)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise Refused(0, certificate_fault(str(error)), error.verify_message) from error
        except OSError as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        self._kernel_timeout(connection.sock)
        _fit_buffer(connection.sock)
        self._local.key, self._local.connection, self._local.absolute = key, connection, absolute
        return connection, absolute

    def _new(self, scheme: str, host: str) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, timeout=self._timeout_seconds, context=self._tls)
        return http.client.HTTPConnection(host, timeout=self._timeout_seconds)

    def _kernel_timeout(self, sock: socket.socket) -> None:
        # A blocking sendfile still has to end when the other side takes nothing for that long.
        limit = struct.pack("ll", int(self._timeout_seconds), int(self._timeout_seconds % 1 * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def close(self) -> None:
        """Close this thread's connection: whatever was in flight on it is not trusted any more."""
        if getattr(self._local, "key", None) is not None:
            self._local.connection.close()
            self._local.key = None


def certificate_fault(text: str) -> str:
    """What a TLS library's words say is wrong with a certificate, as a code of _s3.py; "" if it is something else."""
    if "certificate has expired" in text or "certificate is not yet valid" in text:
        return "CertificateExpired"
    # Python's words, and those of urllib3, which looks at the name itself.
    if "ismatch, certificate is not valid for" in text or "doesn't match" in text:
        return "CertificateOfAnotherName"
    return "CertificateVerifyFailed" if "CERTIFICATE_VERIFY_FAILED" in text else ""


def _fit_buffer(sock: socket.socket) -> None:
    if not hasattr(socket, "TCP_INFO"):
        return
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROUND_TRIP_OFFSET + 4)
    if struct.unpack_from("I", state, _ROUND_TRIP_OFFSET)[0] <= _NEAR_MICROSECONDS:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _NEAR_BUFFER_BYTES)

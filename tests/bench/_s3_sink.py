# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An S3 server that drops what it is sent, so that a bench measures the client: `python _s3_sink.py PORT_FILE`.

It keeps names and sizes only, believes every checksum and signature, and has one bucket of any name.
Payload is thrown away inside the kernel (MSG_TRUNC, Linux), so that the server costs the clients no processor time.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
OBJECTS: dict[str, tuple[int, str]] = {}
SMALL: dict[str, bytes] = {}
UPLOADS: dict[str, dict[int, int]] = {}
LOCK = threading.Lock()
KEPT_BYTES = 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def handle_expect_100(self) -> bool:
        done = super().handle_expect_100()
        self.wfile.flush()
        return done

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def parsed(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        return unquote(url.path).lstrip("/").partition("/")[2], query

    def answer(self, status: int, body: str | bytes = b"", **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response_only(status)
        self.send_header("Content-Length", headers.pop("length", str(len(content))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def swallow(self) -> tuple[int, bytes]:
        """The size of the payload (without the framing of aws-chunked), and its content if that is small."""
        length = int(self.headers.get("Content-Length") or 0)
        decoded = int(self.headers.get("x-amz-decoded-content-length") or length)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return decoded, self.dechunk(decoded)
        if length <= KEPT_BYTES:
            content = self.rfile.read(length)
            return decoded, content if decoded == length else re.sub(rb"^[0-9a-f]+[^\r]*\r\n", b"", content)[:decoded]
        left = length
        waiting = min(len(self.rfile.peek(1)), left)  # type: ignore[attr-defined]
        self.rfile.read(waiting)
        left -= waiting
        scratch = bytearray(1)
        while left:
            count = self.connection.recv_into(scratch, 1, socket.MSG_TRUNC) if left == 1 else self.drop(left)
            if not count:
                raise ConnectionResetError
            left -= count
        return decoded, b""

    def drop(self, left: int) -> int:
        # With MSG_TRUNC, TCP discards up to the buffer's length without copying it (tcp(7)).
        return self.connection.recv_into(SCRATCH, min(left, len(SCRATCH)), socket.MSG_TRUNC)

    def dechunk(self, decoded: int) -> bytes:
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data = self.rfile.read(size)
            self.rfile.readline()
            if decoded <= KEPT_BYTES:
                content += data
        while self.rfile.readline().strip():
            pass
        return content[:decoded]

    def checksums(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.headers.items()
            if re.fullmatch(r"x-amz-checksum-(crc64nvme|crc32c?|sha256|sha1)", name, re.IGNORECASE)
        }

    def do_PUT(self) -> None:
        key, query = self.parsed()
        size, content = self.swallow()
        if key and "uploadId" in query:
            with LOCK:
                UPLOADS[query["uploadId"]][int(query["partNumber"])] = size
        elif key:
            with LOCK:
                OBJECTS[key] = (size, time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()))
                SMALL[key] = content
        self.answer(200, ETag='"0123456789abcdef0123456789abcdef"', **self.checksums())

    def do_POST(self) -> None:
        key, query = self.parsed()
        _size, content = self.swallow()
        if "uploads" in query:
            upload = f"u{time.monotonic_ns()}"
            with LOCK:
                UPLOADS[upload] = {}
            self.xml("InitiateMultipartUploadResult", f"<Bucket>b</Bucket><Key>k</Key><UploadId>{upload}</UploadId>")
        elif "uploadId" in query:
            with LOCK:
                size = sum(UPLOADS.pop(query["uploadId"]).values())
                OBJECTS[key] = (size, time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()))
            self.xml("CompleteMultipartUploadResult", '<Bucket>b</Bucket><Key>k</Key><ETag>"e-1"</ETag>')
        else:
            for name in re.findall(r"<Key>([^<]+)</Key>", content.decode()):
                OBJECTS.pop(name, None)
            self.xml("DeleteResult", "")

    def do_DELETE(self) -> None:
        key, query = self.parsed()
        with LOCK:
            if "uploadId" in query:
                UPLOADS.pop(query["uploadId"], None)
            else:
                OBJECTS.pop(key, None)
        self.answer(204)

    def do_HEAD(self) -> None:
        key, _query = self.parsed()
        if not key:
            self.answer(200)
        elif found := OBJECTS.get(key):
            self.answer(200, length=str(found[0]), ETag='"e"', Last_Modified="Wed, 25 Nov 2026 00:00:00 GMT")
        else:
            self.answer(404)

    def do_GET(self) -> None:
        key, query = self.parsed()
        if key:
            if key not in OBJECTS:
                return self.xml("Error", "<Code>NoSuchKey</Code><Message>no</Message>", 404)
            moment = time.strptime(OBJECTS[key][1], "%Y-%m-%dT%H:%M:%S.000Z")
            stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment)
            return self.answer(200, SMALL.get(key, b""), ETag='"e"', Last_Modified=stamp)
        if "location" in query:
            return self.xml("LocationConstraint", "")
        if "list-type" not in query and "prefix" not in query:
            return self.xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
        prefix = query.get("prefix", "")
        listed = "".join(
            f"<Contents><Key>{name}</Key><LastModified>{when}</LastModified><ETag>&quot;e&quot;</ETag><Size>{size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for name, (size, when) in sorted(OBJECTS.items())
            if name.startswith(prefix) and not query.get("delimiter")
        )
        return self.xml("ListBucketResult", f"<Name>b</Name><IsTruncated>false</IsTruncated>{listed}")

    def xml(self, root: str, inner: str, status: int = 200) -> None:
        document = f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="{XMLNS}">{inner}</{root}>'
        self.answer(status, document, Content_Type="application/xml")


SCRATCH = bytearray(16 * 1024 * 1024)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Path(sys.argv[1]).write_text(str(server.server_address[1]))
    server.serve_forever()


if __name__ == "__main__":
    main()

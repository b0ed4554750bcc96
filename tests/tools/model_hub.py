# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model hub with one model that asks for a token: the requests of huggingface_hub's snapshot_download."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, repository: str, folder: Path, token: str, *arguments: object) -> None:
        self._repository, self._folder, self._token = repository, folder, token
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        resolved = f"/{self._repository}/resolve/{COMMIT}/"
        if self.headers.get("Authorization") != f"Bearer {self._token}":
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        elif path.startswith(resolved):
            content = (self._folder / path.removeprefix(resolved)).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            self._answer(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
        elif path == f"/api/models/{self._repository}/tree/{COMMIT}":
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": file.name}
                for file in sorted(self._folder.iterdir())
            ]
            self._json(files)
        elif path in (f"/api/models/{self._repository}", f"/api/models/{self._repository}/revision/main"):
            self._json({"id": self._repository, "sha": COMMIT, "siblings": []})
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _json(self, document: object) -> None:
        self._answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def serving(repository: str, folder: Path, token: str, host: str) -> Iterator[str]:
    """Serve the files of a folder as this repository's `main`; yields what HF_ENDPOINT has to be."""
    server = http.server.ThreadingHTTPServer((host, 0), functools.partial(_Hub, repository, folder, token))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images without a container engine: layers from files, and the few registry calls that push them."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import io
import json
import pathlib
import tarfile

from .errors import SandboxError

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NONROOT = "65532:65532"


@dataclasses.dataclass(frozen=True)
class Image:
    """One image: `name` as upstream publishes it (`host/repository:tag`, or without host for Docker Hub)."""

    name: str
    layers: list[pathlib.Path]
    entrypoint: list[str]
    user: str = NONROOT
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    working_directory: str = "/"

    @property
    def repository(self) -> str:
        """The path below a mirror: a mirror of all hosts drops the host."""
        path = self.name.rpartition(":")[0]
        host, slash, rest = path.partition("/")
        return rest if slash and ("." in host or ":" in host) else path

    @property
    def tag(self) -> str:
        return self.name.rpartition(":")[2]


class LayerWriter:
    """Writes one reproducible, uncompressed layer (compression would cost more than the loopback it saves)."""

    def __init__(self, path: pathlib.Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed in __exit__
        self._directories: set[str] = set()

    def __enter__(self) -> LayerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def directory(self, name: str, mode: int = 0o755) -> None:
        name = name.strip("/")
        if not name or name in self._directories:
            return
        self.directory(str(pathlib.PurePosixPath(name).parent).removeprefix("."))
        self._directories.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)

    def file(self, name: str, source: pathlib.Path, mode: int | None = None) -> None:
        name = name.strip("/")
        self.directory(str(pathlib.PurePosixPath(name).parent).removeprefix("."))
        status = source.stat()
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = status.st_size, mode or (0o755 if status.st_mode & 0o100 else 0o644)
        with source.open("rb") as content:
            self._tar.addfile(entry, content)

    def text(self, name: str, content: str, mode: int = 0o644) -> None:
        name = name.strip("/")
        self.directory(str(pathlib.PurePosixPath(name).parent).removeprefix("."))
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content.encode()), mode
        self._tar.addfile(entry, io.BytesIO(content.encode()))

    def link(self, name: str, target: str) -> None:
        name = name.strip("/")
        self.directory(str(pathlib.PurePosixPath(name).parent).removeprefix("."))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(entry)

    def tree(self, name: str, source: pathlib.Path, skip: tuple[str, ...] = ()) -> None:
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            if any(part in skip for part in relative.parts):
                continue
            target = f"{name}/{relative}"
            if path.is_dir():
                self.directory(target)
            elif path.is_file():
                self.file(target, path)


class Registry:
    """The calls of the OCI distribution specification that a push needs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def push(self, image: Image) -> None:
        layers = [self._push_layer(image.repository, path) for path in image.layers]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": image.user,
                "Entrypoint": image.entrypoint,
                "WorkingDir": image.working_directory,
                "Env": [f"{key}={value}" for key, value in _environment(image).items()],
            },
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        content = json.dumps(config).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self._upload(image.repository, digest, io.BytesIO(content), len(content))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest, "size": len(content)},
            "layers": layers,
        }
        self._request(
            "PUT",
            f"/v2/{image.repository}/manifests/{image.tag}",
            json.dumps(manifest).encode(),
            {"Content-Type": MANIFEST},
        )

    def _push_layer(self, repository: str, path: pathlib.Path) -> dict[str, object]:
        with path.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            size = path.stat().st_size
            self._upload(repository, digest, file, size)
        return {"mediaType": LAYER, "digest": digest, "size": size}

    def _upload(self, repository: str, digest: str, content: io.BufferedIOBase | io.BytesIO, size: int) -> None:
        status, _headers = self._request("HEAD", f"/v2/{repository}/blobs/{digest}", accept=(200, 404))
        if status == 200:
            return
        _status, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        location = headers["Location"]
        location = location[location.index("/v2/") :]
        separator = "&" if "?" in location else "?"
        self._request(
            "PUT",
            f"{location}{separator}digest={digest}",
            content,
            {"Content-Type": "application/octet-stream", "Content-Length": str(size)},
        )

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | io.BufferedIOBase | io.BytesIO | None = None,
        headers: dict[str, str] | None = None,
        accept: tuple[int, ...] = (200, 201, 202),
    ) -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except OSError as error:
            raise SandboxError(f"The sandbox's registry does not answer ({error}), see log/registry.log.") from error
        finally:
            connection.close()
        if response.status not in accept:
            raise SandboxError(f"The sandbox's registry refused {method} {path}: {response.status} {text[:300]}")
        return response.status, response.headers


def _environment(image: Image) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", **image.environment}

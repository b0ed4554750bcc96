# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real S3 servers on loopback, each a process of its own in a directory of its own."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config

from sandbox import go
from sandbox.binaries import ALL

ACCESS_KEY = "access-of-the-tests"
SECRET_KEY = "secret-of-the-tests"
REGION = "us-east-1"
_PR_SET_PDEATHSIG = 1


@functools.cache
def _client(url: str) -> Any:
    config = botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return boto3.client("s3", endpoint_url=url, region_name=REGION, config=config, verify=False, **keys)


@dataclasses.dataclass(frozen=True)
class Server:
    """`directory` holds the objects of versitygw as plain files: directory/bucket/key."""

    name: str
    url: str
    directory: Path | None = None

    def client(self) -> Any:
        """boto3, as a user has it: what the server has is asked without the collection's own code."""
        return _client(self.url)


def stored(server: Server, bucket: str, prefix: str = "llama/") -> dict[str, bytes]:
    """Path under the prefix -> content, of everything there."""
    client = server.client()
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            found[item["Key"].removeprefix(prefix)] = body
    return found


def content(folder: Path) -> dict[str, bytes]:
    """Path -> content of the files of a directory."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def versitygw(directory: Path, *options: str, scheme: str = "http", host: str = "127.0.0.1") -> Iterator[Server]:
    """The sandbox's S3 server, with a data directory of its own (or again with the one that is there)."""
    objects = directory / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    binary = go.ensure([ALL["versitygw"]])["versitygw"]
    command = [str(binary), "--port", f"{host}:{port}", *options, "posix", str(objects)]
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with _process(command, directory / "log", port, environment, host):
        yield Server("versitygw", f"{scheme}://{host}:{port}", objects)


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[Server]:
    """moto's server: another implementation, in memory."""
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _process(command, directory / "log", port, dict(os.environ)):
        yield Server("moto", f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def _process(
    command: list[str], log: Path, port: int, environment: dict[str, str], host: str = "127.0.0.1"
) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, preexec_fn=functools.partial(die_with, os.getpid())
        )
        try:
            _await(process, (host, port), log)
            yield
        finally:
            process.kill()
            process.wait()


def die_with(parent: int) -> None:
    """In the child, before exec: be killed when the parent dies, however it dies (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _await(process: subprocess.Popen[bytes], address: tuple[str, int], log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(address, 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{log.parent.name} does not listen: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

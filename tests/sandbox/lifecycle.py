# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`up`, `down` and `status` of the sandbox of one checkout."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from . import cluster_setup, go, host, images, model, plan
from .binaries import CONTROL_PLANE, IN_PODS, ON_DEMAND
from .errors import SandboxError
from .kube import Cluster, GaveUp, wait_until
from .layout import CHECKOUT, Layout, Ranges

UNPROVEN_WITHOUT_SUPERUSER = (
    "pods really run (kubelet, container images, probes, init containers)",
    "admission webhooks of cert-manager, KServe and Istio answer",
    "the gateway routes requests, DNS and NetworkPolicy of pods",
    "the storage initializer downloads a model, the engine answers a request",
)


@dataclasses.dataclass(frozen=True)
class Status:
    """What is true now: `phase` is down, starting, running, broken or dead."""

    phase: str
    detail: str
    running: list[str]
    ended: dict[str, int]
    memory_bytes: int = 0


def up(layout: Layout) -> None:
    """Brings the sandbox up, or leaves a healthy one alone. Whatever a killed run left is removed first."""
    host.require_supported()
    with _locked(layout):
        if status(layout).phase == "running" and layout.endpoints.exists():
            if endpoints(layout).get("made_from") != _made_from():
                raise SandboxError(
                    "The sandbox that runs was started by another state of this checkout and may lack what this one"
                    " needs: `make down` first, then the same command again."
                )
            print(f"The sandbox is up: {layout.kubeconfig}", flush=True)
            return
        _remove(layout)
        real_node = host.is_superuser()
        if real_node:
            host.install_packages()
        binaries = go.ensure((*CONTROL_PLANE, *IN_PODS) if real_node else CONTROL_PLANE)
        started = time.monotonic()
        try:
            _start(layout, binaries, real_node=real_node)
        except BaseException:
            _save_logs(layout)
            _remove(layout)
            raise
        print(f"The sandbox is up after {time.monotonic() - started:.0f} s: {layout.kubeconfig}", flush=True)
    if not real_node:
        print_unproven()


def down(layout: Layout) -> None:
    """Ends everything and removes every trace but the cache of built binaries."""
    with _locked(layout):
        _remove(layout)
    layout.lock.unlink(missing_ok=True)
    print("The sandbox is down.", flush=True)


def status(layout: Layout) -> Status:
    holder = _holder(layout)
    if holder is None:
        left = layout.root.exists() or host.has_link(layout)
        detail = "a killed run left files behind, `down` removes them" if left else "nothing runs"
        return Status("dead" if left else "down", detail, [], {})
    try:
        state = json.loads(layout.state.read_text())
    except (OSError, ValueError):
        return Status("starting", "namespaces are being made", [], {})
    memory = _memory_bytes(holder)
    running, ended, phase = state["running"], state["ended"], state["phase"]
    if phase.startswith("failed") or ended:
        names = ", ".join(f"{name} ended with {code}" for name, code in ended.items())
        return Status("broken", names or phase, running, ended, memory)
    if phase == "running" and not Cluster(layout.kubeconfig).is_ready():
        return Status("broken", "the API server does not answer /readyz", running, ended, memory)
    return Status(phase, f"{len(running)} processes", running, ended, memory)


def _made_from() -> str:
    """A digest of what decides about a sandbox's content: its code, modules, charts and manifests."""
    total = hashlib.sha256()
    for path in sorted((CHECKOUT / "tests" / "sandbox").rglob("*")):
        if path.is_file() and path.suffix not in (".md", ".pyc"):
            total.update(str(path.relative_to(CHECKOUT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def endpoints(layout: Layout) -> dict[str, object]:
    """What a user of the sandbox needs to know; raises SandboxError if there is none."""
    try:
        content: dict[str, object] = json.loads(layout.endpoints.read_text())
    except OSError as error:
        raise SandboxError("The sandbox is not up: run `make site`, or `python -m sandbox up`.") from error
    return content


def print_unproven() -> None:
    print("Without superuser nodes are only simulated. What this run does not prove:", flush=True)
    for line in UNPROVEN_WITHOUT_SUPERUSER:
        print(f"  - {line}", flush=True)


def _start(layout: Layout, binaries: dict[str, pathlib.Path], *, real_node: bool) -> None:
    slot = host.choose_slot() if real_node else 0
    ranges = Ranges(slot)
    layout.root.mkdir(mode=0o700, exist_ok=True)
    # containerd, and nobody else, follows paths into it; the superuser of a pod needs the way through.
    layout.root.chmod(0o711)
    made = plan.make(layout, ranges, binaries, real_node=real_node)
    made.write(layout.configuration / "plan.json")
    if real_node:
        _announce("Starting control plane, node, registry and S3 in their own namespaces")
    else:
        _announce("Starting control plane, registry and S3 (no superuser: nodes are simulated)")
    _start_holder(layout, slot, ranges, real_node=real_node)
    registry = f"{made.address}:{made.ports['registry']}"
    wait_until("The start of all processes", lambda: _has_started(layout), 180)
    images.provide(layout, registry, binaries, real_node=real_node)
    cluster = Cluster(layout.kubeconfig)
    cluster_setup.set_up(cluster, ranges, real_node=real_node)
    model.write(layout.models / "tiny-llama")
    layout.reports.mkdir(exist_ok=True)
    kubectl = go.cached(ON_DEMAND[0])
    content = {
        "made_from": _made_from(),
        "real_node": real_node,
        "kubeconfig": str(layout.kubeconfig),
        "context": "sandbox",
        "registry": registry,
        "manifests": str(layout.manifests),
        "s3": {
            "endpoint_url": f"http://{made.address}:{made.ports['s3']}",
            "region": plan.REGION,
            "access_key_id": "sandbox",
            "secret_access_key": made.secret_key,
        },
        "helm": str(binaries["helm"]),
        "kubectl": str(kubectl or ""),
        "model": str(layout.models / "tiny-llama"),
        "audit_log": str(layout.audit_log),
        "report_dir": str(layout.reports),
    }
    temporary = layout.endpoints.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(content, indent=1))
    # Last, and at once: who reads this file finds a sandbox that works.
    temporary.replace(layout.endpoints)


def _start_holder(layout: Layout, slot: int, ranges: Ranges, *, real_node: bool) -> None:
    command = [sys.executable, "-m", "sandbox.holder", str(layout.root), str(slot)]
    if real_node:
        namespaces = ["--net", "--mount", "--pid", "--mount-proc", "--propagation", "private"]
        command = ["unshare", *namespaces, "--fork", "--kill-child=SIGKILL", "--", *command]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (layout.logs / "holder.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Its own session: it goes on when the terminal of `up` goes away.
            start_new_session=True,
        )
    if real_node:
        wait_until("A process in the new namespaces", lambda: _children(process.pid), 10, 0.02)
        host.connect(layout, ranges, _children(process.pid)[0])


def _has_started(layout: Layout) -> bool:
    now = status(layout)
    if now.phase in ("broken", "dead", "down"):
        log = layout.logs / "holder.log"
        last = log.read_text().strip().splitlines()[-1:] if log.exists() else []
        raise GaveUp(f"The sandbox did not start: {' '.join([now.detail, *last])}. Logs: {_saved_logs(layout)}")
    return now.phase == "running"


def _remove(layout: Layout) -> None:
    holder = _holder(layout)
    if holder is not None:
        # Its namespaces, or PR_SET_PDEATHSIG, take every other process along.
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL)
        wait_until("The end of the sandbox's processes", lambda: _holder(layout) is None, 20, 0.05)
    if host.is_superuser():
        host.remove_link(layout)
        wait_until("The end of its control groups", lambda: _groups_removed(layout), 20, 0.1)
    if layout.root.exists():
        shutil.rmtree(layout.root)


def _groups_removed(layout: Layout) -> bool:
    host.remove_control_groups(layout)
    return True


def _save_logs(layout: Layout) -> None:
    if layout.logs.exists():
        target = _saved_logs(layout)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(layout.logs, target)


def _saved_logs(layout: Layout) -> pathlib.Path:
    return layout.root.with_name(f"{layout.root.name}.failed-logs")


@contextlib.contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another `up` or `down` of this checkout ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _holder(layout: Layout) -> int | None:
    """The outermost process of the sandbox: the one to kill.

    It is found by its command line, not by a recorded number: a run that was killed in the very moment of the start has
    recorded nothing, and a number can be given out again.
    """
    words = os.fsencode("\0".join(["sandbox.holder", str(layout.root), ""]))
    found = [int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if words in _read(path)]
    # In its PID namespace the holder itself is a child of `unshare` with the same words.
    return min(found, key=lambda pid: (_parent(pid) in found, pid), default=None)


def _read(path: pathlib.Path) -> bytes:
    """Content of a file in /proc: empty once the process is gone or a zombie."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    """Field 4 of /proc/PID/stat; 0 when the process is gone."""
    fields = _read(pathlib.Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _memory_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants (pages shared between them count more than once)."""
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        todo += _children(one)
        with contextlib.suppress(OSError, IndexError):
            total += int(pathlib.Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _announce(line: str) -> None:
    print(f"{line} ...", flush=True)

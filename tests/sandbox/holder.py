# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one process that holds a sandbox: it starts the others, writes down what became of them, and takes all along.

With superuser it is PID 1 of the sandbox's own PID namespace (run by `unshare --kill-child`): when it dies, by whatever
signal, the kernel ends every process, mount, link, route and iptables rule of the sandbox. Without superuser the
children are told to die with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

from .layout import CHECKOUT, Layout, Ranges, cache_directory
from .plan import KUBELET_DIRECTORY, Plan, Process

READY_TIMEOUT_SECONDS = 120
PR_SET_PDEATHSIG = 1
# kubelet checks these (protectKernelDefaults off: it would set them) and /proc/sys is the host's in part:
# it reads our copies instead, the host's settings stay as they are.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
}


class Holder:
    def __init__(self, layout: Layout, plan: Plan) -> None:
        self._layout, self._plan = layout, plan
        self._names: dict[int, str] = {}
        self._ended: dict[str, int] = {}
        self._phase = "starting"

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            for process in self._plan.processes:
                self._start(process)
                self._wait_until_ready(process)
            self._phase = "running"
        except _Failed as failure:
            self._phase = f"failed: {failure}"
        self._write_state()
        while True:
            self._reap()
            time.sleep(0.5)

    def _start(self, process: Process) -> None:
        with (self._layout.logs / f"{process.name}.log").open("ab") as log:
            child = subprocess.Popen(
                process.command,
                env={**os.environ, **process.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                preexec_fn=_die_with_parent,
            )
        self._names[child.pid] = process.name
        self._write_state()

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not _is_ready(process):
            self._reap()
            if process.name in self._ended:
                raise _Failed(f"{process.name} ended at once, see log/{process.name}.log")
            if time.monotonic() > deadline:
                raise _Failed(f"{process.name} did not answer within {READY_TIMEOUT_SECONDS} s")
            time.sleep(0.1)

    def _reap(self) -> None:
        """As PID 1 it also inherits what containers leave behind, so it waits for any child, not for known ones."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._names.pop(pid, None)
            if name:
                self._ended[name] = os.waitstatus_to_exitcode(status)
                self._write_state()

    def _write_state(self) -> None:
        state = {"phase": self._phase, "running": sorted(self._names.values()), "ended": self._ended}
        temporary = self._layout.state.with_suffix(".new")
        temporary.write_text(json.dumps(state))
        temporary.replace(self._layout.state)


class _Failed(Exception):
    pass


def _die_with_parent() -> None:
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _is_ready(process: Process) -> bool:
    if process.ready_socket:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(process.ready_socket) == 0
    if not process.ready_url:
        return True
    # Only liveness is asked here, and from ourselves: /readyz answers anonymous callers.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(process.ready_url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _prepare_namespaces(layout: Layout, ranges: Ranges) -> None:
    _make_control_groups(layout)
    _wait_for_link()
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "address", "add", f"{ranges.node}/30", "dev", "eth0"),
        ("ip", "link", "set", "eth0", "up"),
        ("ip", "route", "add", "default", "via", ranges.host),
    ):
        _run(*command)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # What the node writes outside its own directories goes to memory of this mount namespace, never to the host.
    for directory in ("/run", "/var/log", "/var/lib"):
        _hide(pathlib.Path(directory), keep=(CHECKOUT, layout.root, cache_directory()))
    # At its usual, short place: a checkout may lie so deep that the kubelet's sockets would have too long a name.
    _bind(layout.node / "kubelet", pathlib.Path(KUBELET_DIRECTORY))
    settings = pathlib.Path("/run/kernel-settings")
    for name, value in KERNEL_SETTINGS.items():
        copy = settings / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(value)
        _run("mount", "--bind", str(copy), f"/proc/sys/{name}")


def _make_control_groups(layout: Layout) -> None:
    """The groups below which the kubelet puts its pods: one in every hierarchy of version 1, one for version 2."""
    hierarchies = [path.parent for path in pathlib.Path("/sys/fs/cgroup").glob("*/cgroup.procs")]
    version_2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
    for hierarchy in [pathlib.Path("/sys/fs/cgroup")] if version_2 else hierarchies:
        group = hierarchy / layout.name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # Version 1 lets no process into a group where these are empty, and children do not inherit them.
            if (hierarchy / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def _wait_for_link() -> None:
    deadline = time.monotonic() + 30
    while subprocess.run(["ip", "link", "show", "eth0"], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise SystemExit("the link to the host did not appear within 30 s")
        time.sleep(0.05)


def _bind(source: pathlib.Path, target: pathlib.Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _run("mount", "--bind", str(source), str(target))


def _hide(directory: pathlib.Path, keep: tuple[pathlib.Path, ...]) -> None:
    """Covers a directory with an empty one, except what the sandbox itself needs from below it."""
    if not directory.is_dir():
        return
    kept = [path for path in keep if directory in path.parents and path.exists()]
    descriptors = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in kept]
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "sandbox", str(directory))
    for path, descriptor in zip(kept, descriptors, strict=True):
        path.mkdir(parents=True, exist_ok=True)
        # /proc/PID/fd reaches the directory behind the cover; mount's own /proc/self would be another process.
        _run("mount", "--rbind", f"/proc/{os.getpid()}/fd/{descriptor}", str(path))
        os.close(descriptor)


def main() -> None:
    root, slot = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    layout, plan = Layout(root), Plan.read(Layout(root).configuration / "plan.json")
    if plan.real_node:
        _prepare_namespaces(layout, Ranges(slot))
    else:
        # Grandchildren of a dead child come to us and not to init, so that none outlives the sandbox.
        ctypes.CDLL(None).prctl(36, 1)
    Holder(layout, plan).run()


if __name__ == "__main__":
    main()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sandbox needs from the host: superuser, a few distribution packages, free address ranges, one link."""

from __future__ import annotations

import ipaddress
import json
import os
import pathlib
import platform
import shutil
import subprocess

from .errors import SandboxError
from .layout import SLOTS, Layout, Ranges, preferred_slot

# Command that must be there -> Debian package that brings it.
COMMANDS = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "unshare": "util-linux",
    "ldd": "libc-bin",
}
NETWORK_PLUGINS = pathlib.Path("/usr/lib/cni")


def is_superuser() -> bool:
    return os.geteuid() == 0


def require_supported() -> None:
    """Raises SandboxError on a system on which the sandbox cannot run at all."""
    if platform.system() != "Linux":
        raise SandboxError(
            f"The sandbox needs Linux and this is {platform.system()}: run it in a Linux virtual machine, "
            "or point the inventory at a cluster that you have."
        )
    if platform.machine() != "x86_64":
        raise SandboxError(
            f"The sandbox needs an x86-64 processor (Envoy's wheel) and this is {platform.machine()}: "
            "point the inventory at a cluster that you have."
        )


def install_packages() -> None:
    """Installs what the real node needs, after saying which packages; says what to install where apt is not."""
    missing = [package for command, package in COMMANDS.items() if not shutil.which(command)]
    if not (NETWORK_PLUGINS / "bridge").exists():
        missing.append("containernetworking-plugins")
    if not missing:
        return
    missing.sort()
    if not shutil.which("apt-get"):
        raise SandboxError(
            f"The real node needs {', '.join(missing)} (Debian's names; the CNI plugins in {NETWORK_PLUGINS}): "
            "install them with your distribution's package manager and run the same command again."
        )
    print(f"Installing distribution packages: {' '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A service that the package would start is not wanted: the sandbox runs its own containerd.
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    for command in (["apt-get", "update"], install):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode and command is install:
            reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
            raise SandboxError(f"apt-get could not install {' '.join(missing)}: {reason}")


def choose_slot() -> int:
    """The first slot, from the checkout's own on, whose addresses no route of the host touches."""
    taken = _routes()
    first = preferred_slot()
    for slot in ((first + step) % SLOTS for step in range(SLOTS)):
        if not Ranges(slot).overlaps(taken):
            return slot
    raise SandboxError(
        "All address ranges of the sandbox (10.99.0.0/16, 10.200.0.0/15) overlap with routes of this host: "
        "stop other sandboxes (`make down` in their checkouts) or remove those routes."
    )


def connect(layout: Layout, ranges: Ranges, process: int) -> None:
    """Links the host with the network namespace of `process` and routes pods and Services through it."""
    _ip("link", "add", layout.name, "type", "veth", "peer", "name", "eth0", "netns", str(process))
    _ip("address", "add", f"{ranges.host}/30", "dev", layout.name)
    _ip("link", "set", layout.name, "up")
    for network in (ranges.pods, ranges.services):
        _ip("route", "add", str(network), "via", ranges.node, "dev", layout.name)


def has_link(layout: Layout) -> bool:
    return pathlib.Path("/sys/class/net", layout.name).exists()


def remove_link(layout: Layout) -> None:
    """Its namespace's end would take the link along, but connections that nobody closes any more can delay that end."""
    if has_link(layout):
        subprocess.run(["ip", "link", "delete", layout.name], capture_output=True, check=False)


def remove_control_groups(layout: Layout) -> None:
    """The kernel keeps empty groups when their processes are gone; they are the only thing a kill leaves behind."""
    for root in pathlib.Path("/sys/fs/cgroup").glob(f"*/{layout.name}"):
        _remove_group(root)
    _remove_group(pathlib.Path("/sys/fs/cgroup") / layout.name)


def _remove_group(root: pathlib.Path) -> None:
    if not root.is_dir():
        return
    for path in sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
        path.rmdir()
    root.rmdir()


def _routes() -> list[ipaddress.IPv4Network]:
    result = subprocess.run(["ip", "-json", "-4", "route", "show"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SandboxError(f"The host's routes could not be read: {result.stderr.strip()}")
    names = [route["dst"] for route in json.loads(result.stdout or "[]")]
    return [ipaddress.IPv4Network(name) for name in names if name != "default"]


def _ip(*arguments: str) -> None:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SandboxError(f"`ip {' '.join(arguments)}` failed: {result.stderr.strip()}")

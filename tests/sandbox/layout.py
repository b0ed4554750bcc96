# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a sandbox keeps its things and which names and address ranges are its own.

Everything is derived from the checkout's path, so that two checkouts can run side by side.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import os
import pathlib

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
GO_MODULES = pathlib.Path(__file__).resolve().parent / "go"
# 64 slots of each range; a /22 holds 1022 pods or Services.
SLOTS = 64


def cache_directory() -> pathlib.Path:
    """What survives `down` and is shared by all checkouts: built binaries, image layers, wheels."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "llmstack-serving"


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The addresses of one sandbox: all of them belong to its own network namespace, none to the host's network."""

    slot: int

    @property
    def link(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.99.{self.slot}.0/30")

    @property
    def host(self) -> str:
        return str(self.link[1])

    @property
    def node(self) -> str:
        return str(self.link[2])

    @property
    def pods(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.200.{4 * self.slot}.0/22")

    @property
    def services(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.201.{4 * self.slot}.0/22")

    @property
    def simulated_pods(self) -> ipaddress.IPv4Network:
        """Addresses that kwok gives to pods on simulated nodes: nothing answers there, so nothing routes to them."""
        return ipaddress.IPv4Network(f"10.202.{4 * self.slot}.0/22")

    @property
    def dns(self) -> str:
        return str(self.services[10])

    def overlaps(self, others: list[ipaddress.IPv4Network]) -> bool:
        mine = (self.link, self.pods, self.services)
        return any(one.overlaps(other) for one in mine for other in others)


def preferred_slot(checkout: pathlib.Path = CHECKOUT) -> int:
    return hashlib.sha256(str(checkout).encode()).digest()[0] % SLOTS


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of the sandbox of one checkout."""

    root: pathlib.Path = CHECKOUT / ".sandbox"

    @property
    def name(self) -> str:
        """Unique on this host and short enough for a network interface (15 characters)."""
        return "llmsb" + hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def lock(self) -> pathlib.Path:
        # Beside the directory, not in it: `down` removes the directory while it holds the lock.
        return self.root.with_name(self.root.name + ".lock")

    def __getattr__(self, attribute: str) -> pathlib.Path:
        try:
            return self.root / _PATHS[attribute]
        except KeyError:
            raise AttributeError(attribute) from None


_PATHS = {
    "state": "state.json",
    "endpoints": "endpoints.json",
    "kubeconfig": "kubeconfig",
    "pki": "pki",
    "logs": "log",
    "audit_log": "log/audit.log",
    "manifests": "manifests",
    "models": "models",
    "reports": "reports",
    "node": "node",
    "etcd": "etcd",
    "registry": "registry",
    "s3": "s3",
    "configuration": "etc",
}

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Envoy Gateway for a sandbox that runs: its charts and images (`python -m sandbox add envoy-gateway`)."""

from __future__ import annotations

import pathlib
import shutil
import tempfile

from . import go
from .binaries import ALL, ENVOY_GATEWAY
from .errors import SandboxError
from .images import VERSIONS, Workshop, push_chart
from .layout import Layout, cache_directory
from .oci import Image, Registry

TABLE = VERSIONS["envoy_gateway"]


def add(_layout: Layout, endpoints: dict[str, object]) -> None:
    """Pushes the images and charts into the registry of the running sandbox."""
    if not endpoints["real_node"]:
        raise SandboxError("The pods of Envoy Gateway need the sandbox's real node, which needs superuser.")
    binaries = go.ensure([*ENVOY_GATEWAY, ALL["helm"]])
    address = str(endpoints["registry"])
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        work = pathlib.Path(folder)
        for image in images(Workshop(binaries, work)):
            Registry(address).push(image)
        for chart, source in charts(work).items():
            push_chart(address, str(binaries["helm"]), TABLE["charts"][chart], source, TABLE["version"], work)
    print(f"The sandbox has Envoy Gateway {TABLE['version']}.", flush=True)


def images(workshop: Workshop) -> list[Image]:
    """The controller, which is also what shuts a proxy down, and the proxy."""
    path = {"PATH": "/usr/local/bin"}
    controller = workshop.single(TABLE["images"]["envoy_gateway"], "envoy-gateway", "/usr/local/bin/envoy-gateway")
    controller.environment |= path
    proxy = workshop.envoy(TABLE["images"]["envoy_proxy"])
    proxy.environment |= path
    return [controller, proxy]


def charts(work: pathlib.Path) -> dict[str, pathlib.Path]:
    """Folders of both charts by their names in the table, with what upstream's Makefile fills into the values."""
    source = go.module_directory("envoy-gateway", "github.com/envoyproxy/gateway") / "charts"
    made = {"crds": work / "source" / "gateway-crds-helm", "envoy_gateway": work / "source" / "gateway-helm"}
    for folder in made.values():
        shutil.copytree(source / folder.name, folder, copy_function=shutil.copyfile)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        text = (folder / "values.tmpl.yaml").read_text()
        filled = {"GatewayImage": TABLE["images"]["envoy_gateway"], "GatewayImagePullPolicy": "IfNotPresent"}
        for name, value in filled.items():
            text = text.replace(f"${{{name}}}", value)
        (folder / "values.yaml").write_text(text)
    return made

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Envoy Gateway for a sandbox that runs: its charts and images (`python -m sandbox add envoy-gateway`)."""

from __future__ import annotations

import pathlib
import tempfile

from . import go
from .binaries import ALL, ENVOY_GATEWAY
from .images import LOADER_DIRECTORY, VERSIONS, Workshop, add_libraries, envoy_binary, push_chart, writable_copy
from .layout import Layout, cache_directory
from .oci import Image, LayerWriter, Registry

COMPONENT = "envoy_gateway"
TABLE = VERSIONS[COMPONENT]
_PATH = {"PATH": "/usr/local/bin"}


def add(_layout: Layout, endpoints: dict[str, object]) -> None:
    """Pushes the images and charts into the registry of the running sandbox."""
    binaries = go.ensure([*ENVOY_GATEWAY, ALL["helm"]])
    address, helm = str(endpoints["registry"]), str(binaries["helm"])
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        work = pathlib.Path(folder)
        for image in (controller(Workshop(binaries, work)), proxy(Workshop(binaries, work))):
            Registry(address).push(image)
        source = go.module_directory("envoy-gateway", "github.com/envoyproxy/gateway") / "charts"
        push_chart(address, helm, (COMPONENT, "crds"), source / "gateway-crds-helm", work)
        push_chart(address, helm, (COMPONENT, COMPONENT), with_values(source / "gateway-helm", work), work)
    print(f"The sandbox has Envoy Gateway {TABLE['version']}.", flush=True)


def controller(workshop: Workshop) -> Image:
    """It also runs beside each proxy, to shut it down."""
    image = workshop.single(TABLE["images"]["envoy_gateway"], "envoy-gateway", "/usr/local/bin/envoy-gateway")
    image.environment.update(_PATH)
    return image


def proxy(workshop: Workshop) -> Image:
    envoy = envoy_binary(workshop.work)
    libraries = workshop.work / "envoy-libraries.tar"
    with LayerWriter(libraries) as writer:
        add_libraries(writer, [envoy], pathlib.Path("/"))
    return Image(
        TABLE["images"]["envoy_proxy"],
        [workshop.layer("envoy", {"/usr/local/bin/envoy": envoy}), libraries],
        ["/usr/local/bin/envoy"],
        environment={**_PATH, "LD_LIBRARY_PATH": LOADER_DIRECTORY},
    )


def with_values(source: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """The chart with what upstream's Makefile fills into its values."""
    folder = writable_copy(source, work / "filled" / source.name)
    text = (folder / "values.tmpl.yaml").read_text()
    for name, value in {"GatewayImage": TABLE["images"][COMPONENT], "GatewayImagePullPolicy": "IfNotPresent"}.items():
        text = text.replace(f"${{{name}}}", value)
    (folder / "values.yaml").write_text(text)
    return folder

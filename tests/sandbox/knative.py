# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knative for a sandbox that runs: its images and manifests, as upstream's release has them.

They come when asked for (`python -m sandbox add knative`): nothing else needs them, and they take minutes to build.
"""

from __future__ import annotations

import pathlib
import re
import tempfile

from . import go
from .binaries import KNATIVE
from .images import VERSIONS, Workshop
from .layout import Layout, cache_directory
from .oci import Image, Registry

VERSION = VERSIONS["knative"]["version"]
REGISTRY = VERSIONS["knative"]["images"]["registry"]
_GATEWAY_API = "knative.dev/net-gateway-api/cmd"


def add(layout: Layout, endpoints: dict[str, object]) -> None:
    """Pushes the images into the registry of the running sandbox and writes the manifests beside those it has."""
    binaries = go.ensure(KNATIVE)
    registry = Registry(str(endpoints["registry"]))
    with tempfile.TemporaryDirectory(dir=cache_directory()) as work:
        for image in images(Workshop(binaries, pathlib.Path(work))):
            registry.push(image)
    target = layout.manifests / "knative"
    target.mkdir(parents=True, exist_ok=True)
    (target / "serving-core.yaml").write_text(serving())
    (target / "net-gateway-api.yaml").write_text(networking())
    print(f"The sandbox has Knative {VERSION}: {target}", flush=True)


def images(workshop: Workshop) -> list[Image]:
    """Upstream's images, by tag where the release names digests."""

    def made(repository: str, binary: str, *arguments: str) -> Image:
        return workshop.single(f"{REGISTRY}/{repository}:{VERSION}", binary, f"/ko-app/{binary}", *arguments)

    commands = [binary.name.removeprefix("knative-") for binary in KNATIVE if binary.name.startswith("knative-")]
    own = [made(f"knative.dev/serving/cmd/{command}", f"knative-{command}") for command in commands]
    parts = [made(f"{_GATEWAY_API}/{part}", "net-gateway-api", part) for part in ("controller", "webhook")]
    return [*own, *parts]


def serving() -> str:
    """serving-core.yaml: all files of config/core in the order of their paths, as hack/generate-yamls.sh joins them."""
    core = go.module_directory("knative", "knative.dev/serving") / "config/core"
    found = {str(path.relative_to(core)): path for path in core.rglob("*.yaml")}
    # Links to other modules in the repository, which the module of Serving has not.
    shared = go.module_directory("knative", "knative.dev/networking") / "config"
    for name in ("certificate", "domain-claim", "ingress", "serverlessservice"):
        found[f"300-resources/{name}.yaml"] = shared / f"{name}.yaml"
    found["configmaps/network.yaml"] = shared / "config-network.yaml"
    found["300-imagecache.yaml"] = go.module_directory("knative", "knative.dev/caching") / "config/image.yaml"
    text = "\n---\n".join(found[name].read_text() for name in sorted(found))
    text = re.sub(r"ko://(\S+)", rf"{REGISTRY}/\1:{VERSION}", text)
    return text.replace("app.kubernetes.io/version: devel", f'app.kubernetes.io/version: "{VERSION.lstrip("v")}"')


def networking() -> str:
    """net-gateway-api.yaml as the module of Serving keeps it for its tests, with the images of the release."""
    directory = go.module_directory("knative", "knative.dev/serving")
    text = (directory / "third_party/gateway-api-latest/net-gateway-api.yaml").read_text()
    return re.sub(r"gcr\.io/knative-nightly/(\S+)@sha256:\w+", rf"{REGISTRY}/\1:{VERSION}", text)

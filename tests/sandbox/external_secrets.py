# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The External Secrets Operator for a sandbox that runs (`python -m sandbox add external-secrets`).

It is of the last release that Go's proxies can build: since 0.17 its parts are nested modules that they do not serve.
"""

from __future__ import annotations

import pathlib
import tempfile

import yaml

from . import go
from .binaries import ALL, EXTERNAL_SECRETS, module_version
from .images import Workshop, run_helm, writable_copy
from .layout import Layout, cache_directory
from .oci import Registry

_FOLDER, _MODULE = "external-secrets-operator", "github.com/external-secrets/external-secrets"
NAMESPACE = "external-secrets"
VERSION = module_version(_FOLDER, _MODULE)
REPOSITORY = "oci.external-secrets.io/external-secrets/external-secrets"
# Its webhook only checks what people write; without it nobody needs its certificates.
VALUES = {
    "installCRDs": False,
    "image": {"repository": REPOSITORY, "tag": VERSION},
    "webhook": {"create": False},
    "certController": {"create": False},
}


def add(layout: Layout, endpoints: dict[str, object]) -> None:
    """Pushes the image into the registry of the running sandbox and writes the manifest beside those it has."""
    binaries = go.ensure([*EXTERNAL_SECRETS, ALL["helm"]])
    target = layout.manifests / "external-secrets.yaml"
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        work = pathlib.Path(folder)
        image = Workshop(binaries, work).single(f"{REPOSITORY}:{VERSION}", "external-secrets", "/bin/external-secrets")
        Registry(str(endpoints["registry"])).push(image)
        target.write_text(manifest(go.module_directory(_FOLDER, _MODULE), str(binaries["helm"]), work))
    print(f"The sandbox has the External Secrets Operator {VERSION}: {target}", flush=True)


def manifest(source: pathlib.Path, helm: str, work: pathlib.Path) -> str:
    """The namespace, the CustomResourceDefinitions and what upstream's chart makes of VALUES."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    chart = without_dependencies(source / "deploy/charts/external-secrets", work)
    values = work / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    rendered = run_helm(helm, work, "template", NAMESPACE, str(chart), "-n", NAMESPACE, "-f", str(values))
    return "\n---\n".join((yaml.safe_dump(namespace), (source / "deploy/crds/bundle.yaml").read_text(), rendered))


def without_dependencies(source: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """The chart without the one that it could bring along: helm wants to see it even where it is switched off."""
    folder = writable_copy(source, work / source.name)
    (folder / "Chart.lock").unlink()
    described = yaml.safe_load((folder / "Chart.yaml").read_text())
    del described["dependencies"]
    (folder / "Chart.yaml").write_text(yaml.safe_dump(described))
    return folder

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cert-manager's chart and the binary that the sandbox runs in its images fit together: images, flags, CRDs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import go, images
from sandbox.binaries import ALL, CERT_MANAGER_VERSION

MODULE = "github.com/cert-manager/cert-manager"
CRDS = {
    "certificaterequests.cert-manager.io",
    "certificates.cert-manager.io",
    "challenges.acme.cert-manager.io",
    "clusterissuers.cert-manager.io",
    "issuers.cert-manager.io",
    "orders.acme.cert-manager.io",
}


def built(name: str) -> str:
    return str(go.ensure([ALL[name]])[name])


@pytest.fixture
def render(tmp_path: Path) -> Any:
    """Renders the chart as the sandbox packages it, with the given --set values."""
    helm = built("helm")
    source = go.module_directory("cert-manager", MODULE) / "deploy/charts/cert-manager"
    package = images.package_chart(helm, source, CERT_MANAGER_VERSION, tmp_path)

    def run(*values: str) -> list[dict[str, Any]]:
        settings = [argument for value in values for argument in ("--set", value)]
        command = [helm, "template", "cert-manager", str(package), "--namespace", "cert-manager", *settings]
        result = subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
        return [document for document in yaml.safe_load_all(result.stdout) if document]

    return run


def containers(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        container
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "Job")
        for container in manifest["spec"]["template"]["spec"]["containers"]
    ]


def test_every_image_that_the_chart_runs_is_in_the_registry(render: Any) -> None:
    assert {container["image"] for container in containers(render())} == set(images.CERT_MANAGER_IMAGES.values())


def test_the_chart_installs_its_crds_only_when_asked_to(render: Any) -> None:
    def crds(*values: str) -> set[str]:
        kind = "CustomResourceDefinition"
        return {manifest["metadata"]["name"] for manifest in render(*values) if manifest["kind"] == kind}

    assert crds("crds.enabled=true") == CRDS
    assert crds("crds.enabled=false") == set()


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["prometheus.enabled=false", "disableAutoApproval=true", "enableCertificateOwnerRef=true"],
        ["global.commonLabels.team=ml", "global.leaderElection.leaseDuration=30s", "global.logLevel=6"],
        ["ingressShim.defaultIssuerName=ca", "ingressShim.defaultIssuerKind=ClusterIssuer"],
        ["featureGates=ServerSideApply=true", "cainjector.featureGates=ServerSideApply=true"],
    ],
)
def test_the_binary_knows_every_flag_that_the_chart_gives_it(render: Any, values: list[str]) -> None:
    binary = built("cert-manager")
    command_of = {image: command for command, image in images.CERT_MANAGER_IMAGES.items()}
    for container in containers(render(*values)):
        # With --help at the end, flags are read and nothing is started.
        command = [binary, command_of[container["image"]], *container["args"], "--help"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_the_binary_refuses_what_it_is_not() -> None:
    result = subprocess.run([built("cert-manager"), "acmesolver"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "must be one of cainjector, controller, startupapicheck, webhook" in result.stderr

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's Knative is the one of the version table, and its manifests name the images that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox import go, knative
from sandbox.binaries import KNATIVE, module_version
from sandbox.images import Workshop


def test_the_modules_are_those_of_the_release() -> None:
    """Knative 1.N is the module's 0.(N+27): knative/community mechanics/RELEASE-VERSIONING-PRINCIPLES.md."""
    major, minor, patch = module_version("knative", "knative.dev/serving").removeprefix("v").split(".")
    assert f"v{int(major) + 1}.{int(minor) - 27}.{patch}" == knative.VERSION


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of the three modules as upstream has them, each with one line that matters."""
    files = {
        "serving/config/core/100-namespace.yaml": "# namespace",
        "serving/config/core/300-resources/service.yaml": "# service",
        "serving/config/core/configmaps/deployment.yaml": "queue-sidecar-image: ko://knative.dev/serving/cmd/queue",
        "serving/config/core/deployments/controller.yaml": "app.kubernetes.io/version: devel",
        "serving/third_party/gateway-api-latest/net-gateway-api.yaml": "image: gcr.io/knative-nightly/"
        "knative.dev/net-gateway-api/cmd/webhook@sha256:873752f6",
        "networking/config/config-network.yaml": "# network",
        "caching/config/image.yaml": "# image",
    }
    files |= {
        f"networking/config/{name}.yaml": f"# {name}"
        for name in ("certificate", "domain-claim", "ingress", "serverlessservice")
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(go, "module_directory", lambda _folder, module: tmp_path / module.rpartition("/")[2])
    return tmp_path


def test_the_manifests_are_whole_and_in_upstream_s_order(modules: Path) -> None:
    text = knative.serving()
    told = re.findall(r"^# (\S+)$", text, re.MULTILINE)
    resources = ["certificate", "domain-claim", "ingress", "serverlessservice", "service"]
    assert told == ["namespace", "image", *resources, "network"]
    assert f'app.kubernetes.io/version: "{knative.VERSION.lstrip("v")}"' in text


def test_the_manifests_name_images_that_the_registry_has(modules: Path, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_text("content")
    (tmp_path / "work").mkdir()
    made = knative.images(Workshop({each.name: binary for each in KNATIVE}, tmp_path / "work"))
    names = {image.name for image in made}
    named = set(re.findall(rf"{re.escape(knative.REGISTRY)}/\S+", knative.serving() + knative.networking()))
    assert len(named) == 2
    assert named <= names
    commands = {image.name.rpartition("/")[2].partition(":")[0] for image in made if "/serving/" in image.name}
    assert commands == {"activator", "autoscaler", "controller", "queue", "webhook"}

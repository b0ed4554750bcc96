# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that a killed Helm left half-way are recovered; what cannot be installed is one sentence."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.kube import Cluster, wait_until
from tools import checkout
from tools.playbook import ansible_playbook, recap

NAME = "half"
# Ready at once, or never.
TEMPLATES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: half}
data: {version: {{ .Values.version | quote }}}
{{- if .Values.stuck }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: half}
spec:
  selector: {matchLabels: {app: half}}
  template:
    metadata: {labels: {app: half}}
    spec:
      nodeSelector: {no: such}
      containers: [{name: half, image: none}]
{{- end }}
"""
Apply = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": NAME, "version": "1.0.0"}))
    (folder / "values.yaml").write_text(yaml.safe_dump({"stuck": False, "version": "1"}))
    (folder / "templates" / "all.yaml").write_text(TEMPLATES)
    return folder


@pytest.fixture
def apply(namespace: str, chart: Path, tmp_path: Path) -> Apply:
    """The role, called as the other roles call it."""

    def run(**variables: Any) -> subprocess.CompletedProcess[str]:
        given = {
            "helm_release_name": NAME,
            "helm_release_namespace": namespace,
            "helm_release_chart_ref": str(chart),
            "helm_release_chart_version": "1.0.0",
            "helm_release_pending_grace_seconds": 1,
            **variables,
        }
        credentials = {"kubeconfig": "{{ llmstack_kubeconfig }}", "context": "{{ llmstack_context }}"}
        groups = ("kubernetes.core.helm", "kubernetes.core.k8s", "llmstack.serving.llmstack")
        play = {
            "hosts": "clusters",
            "gather_facts": False,
            "module_defaults": {f"group/{group}": credentials for group in groups},
            "roles": [{"role": "llmstack.serving.helm_release", **given}],
        }
        (tmp_path / "play.json").write_text(json.dumps([play]))
        collections = str(checkout.ROOT / "playbooks" / "collections")
        local = ("-i", "inventories/local")
        return ansible_playbook(*local, tmp_path / "play.json", ANSIBLE_COLLECTIONS_PATH=collections)

    return run


def killed(sandbox: dict[str, Any], cluster: Cluster, namespace: str, status: str, *command: str | Path) -> None:
    """Helm ends with SIGKILL while it waits for what never becomes ready."""
    stuck = ("--set", "stuck=true", "--wait", "--timeout", "300s", "--namespace", namespace)
    environment = {**os.environ, "KUBECONFIG": sandbox["kubeconfig"]}
    with subprocess.Popen([sandbox["helm"], *command, *stuck], env=environment, stdout=subprocess.DEVNULL) as helm:
        records = f"/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm%2Cstatus%3D{status}"
        deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}"
        wait_until("A release half-way", lambda: cluster.get(records)["items"] and cluster.get(deployment))
        helm.kill()
    assert cluster.get(records)["items"], "nobody has written how it ended"


def statuses(cluster: Cluster, namespace: str) -> list[str]:
    found = cluster.get(f"/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm")["items"]
    return [each["metadata"]["labels"]["status"] for each in found]


def well(done: subprocess.CompletedProcess[str]) -> int:
    """How much a run has changed."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    return recap(done.stdout)["changed"]


def test_a_killed_installation_is_done_anew(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str, chart: Path, apply: Apply
) -> None:
    killed(sandbox, cluster, namespace, "pending-install", "install", NAME, chart)
    assert well(apply()) > 0
    assert statuses(cluster, namespace) == ["deployed"]
    assert well(apply()) == 0


def test_a_killed_upgrade_is_done_anew(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str, chart: Path, apply: Apply
) -> None:
    assert well(apply()) == 1
    killed(sandbox, cluster, namespace, "pending-upgrade", "upgrade", NAME, chart)
    assert well(apply(helm_release_values={"version": "2"})) > 0
    assert sorted(statuses(cluster, namespace)) == ["deployed", "superseded"]
    data = cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")["data"]
    assert data == {"version": "2"}


@pytest.fixture
def published(sandbox: dict[str, Any], chart: Path, namespace: str, tmp_path: Path) -> str:
    """The chart in the registry, as upstream would publish it."""
    subprocess.run([sandbox["helm"], "package", chart, "--destination", tmp_path], check=True, capture_output=True)
    repository = f"{namespace}/charts"
    push = [sandbox["helm"], "push", "--plain-http", tmp_path / f"{NAME}-1.0.0.tgz"]
    subprocess.run([*push, f"oci://{sandbox['registry']}/{repository}"], check=True, capture_output=True)
    return f"oci://upstream.example/{repository}/{NAME}"


def test_helm_is_started_only_if_its_record_says_something_else(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str, published: str, apply: Apply
) -> None:
    def data() -> Any:
        return cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")["data"]

    values = {"version": "2"}
    assert well(apply(helm_release_chart_ref=published, helm_release_values=values)) == 1
    without_helm = {"helm_release_binary": "/no/such/helm"}
    assert well(apply(helm_release_chart_ref=published, helm_release_values=values, **without_helm)) == 0
    assert data() == {"version": "2"}
    # Somebody else has upgraded it since.
    command = [sandbox["helm"], "upgrade", NAME, "--namespace", namespace, "--reuse-values", "--plain-http"]
    chart = published.replace("upstream.example", sandbox["registry"])
    environment = {**os.environ, "KUBECONFIG": sandbox["kubeconfig"]}
    subprocess.run([*command, "--set", "version=3", chart], env=environment, check=True, capture_output=True)
    assert data() == {"version": "3"}
    assert well(apply(helm_release_chart_ref=published, helm_release_values=values)) == 1
    assert data() == {"version": "2"}


def test_a_chart_that_is_not_there_is_one_sentence(cluster: Cluster, namespace: str, apply: Apply) -> None:
    done = apply(helm_release_chart_ref="/no/such/chart")
    assert done.returncode != 0
    assert f"Helm could not bring release {NAME} in namespace {namespace} to state present;" in done.stdout
    assert statuses(cluster, namespace) == []

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role envoy_gateway with the real Envoy Gateway beside Istio, and an LLM deployment that answers through it.

The tests build on each other, in their order; what they install they remove.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.kube import Cluster, wait_until
from tools import sandbox_parts
from tools.llm_deployments import SERVED, ask, prepared, removed, small, uploaded
from tools.playbook import ansible_playbook, changed, writes
from tools.run_module import run_module

Audit = Callable[[], list[dict[str, Any]]]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("stack")]
# A second Gateway, of the other class.
ASKED_FOR = {
    "envoy_gateway_install": True,
    "istio_install": True,
    "gateway_name": "by-envoy",
    "gateway_class_name": "envoy",
    "operations_confirm_uninstall": "sandbox",
}
CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways"
THIS = {"gateway": {"namespace": "kserve", "name": "by-envoy"}}


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    tags = ("--tags", "envoy_gateway,gateway")
    return ansible_playbook(
        "-i", "inventories/local", f"playbooks/{playbook}.yml", "-e", json.dumps(ASKED_FOR), *tags, *arguments
    )


@pytest.fixture(scope="module")
def parts(real_node: None) -> None:
    """The images and charts, built if they never were."""
    sandbox_parts.add("envoy-gateway")


@pytest.fixture(scope="module")
def envoy(parts: None, stack: None) -> Iterator[None]:
    assert changed(play("install")) > 0
    yield
    # Also after a test that failed in the middle.
    play("uninstall")


@pytest.fixture
def deploy(cluster: Cluster, sandbox: dict[str, Any], namespace: str, envoy: None) -> Iterator[Any]:
    """llmdeployment with the Gateway of Envoy Gateway and without an endpoint picker, unless a test wants one."""
    common = prepared(cluster, sandbox, namespace)

    def call(scheduler: bool) -> dict[str, Any]:
        options = small()
        options["serving"] |= {**THIS, "scheduler": {"enabled": scheduler}}
        options["model"]["uri"] = model
        return run_module("llmstack.serving.llmdeployment", {**common, **options})

    with contextlib.ExitStack() as until_the_end:
        model = until_the_end.enter_context(uploaded(sandbox))
        yield call
        removed(cluster, namespace, common)


def test_check_mode_says_what_would_be_installed_and_writes_nothing(parts: None, audit: Audit) -> None:
    assert changed(play("install", "--check", "--diff")) > 0
    assert writes(audit()) == []


def test_after_the_role_the_class_is_accepted_and_the_second_run_changes_nothing(
    envoy: None, cluster: Cluster, audit: Audit
) -> None:
    for name, path in (("Accepted", f"{CLASSES}/envoy"), ("Programmed", f"{GATEWAYS}/by-envoy")):
        statuses = {each["type"]: each["status"] for each in cluster.get(path)["status"]["conditions"]}
        assert statuses[name] == "True"
    before = len(audit())
    assert changed(play("install", "--diff")) == 0
    assert writes(audit()[before:]) == []


def test_a_picker_behind_it_is_refused_before_anything_is_written(
    deploy: Any, cluster: Cluster, namespace: str
) -> None:
    result = deploy(scheduler=True)
    assert result["failed"]
    assert "Gateway kserve/by-envoy is one of Envoy Gateway" in result["msg"]
    assert "Name kserve/kserve-ingress-gateway" in result["msg"]
    assert cluster.get(f"{SERVED}/namespaces/{namespace}/llminferenceservices")["items"] == []


def test_a_deployment_without_a_picker_answers_through_it(deploy: Any, cluster: Cluster) -> None:
    result = deploy(scheduler=False)
    assert not result["failed"], result["msg"]
    assert "picker" not in {part["name"] for part in result["parts"]}
    owner = "gateway.envoyproxy.io%2Fowning-gateway-name%3Dby-envoy"
    [service] = cluster.get(f"/api/v1/namespaces/envoy-gateway-system/services?labelSelector={owner}")["items"]
    answer, headers = ask(cluster, result, "Hello", gateway=service["spec"]["clusterIP"])
    assert answer["usage"]["prompt_tokens"] > 0
    assert headers["x-inference-pod"] in {pod["name"] for pod in result["pods"]}
    assert not deploy(scheduler=False)["changed"]


def test_removed_it_leaves_its_crds_and_the_other_gateway(envoy: None, cluster: Cluster) -> None:
    assert changed(play("uninstall")) > 0
    assert cluster.request("GET", f"{CLASSES}/envoy")[0] == 404
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/envoyproxies.gateway.envoyproxy.io"
    assert cluster.request("GET", crds)[0] == 200
    [status] = [
        condition["status"]
        for condition in cluster.get(f"{GATEWAYS}/kserve-ingress-gateway")["status"]["conditions"]
        if condition["type"] == "Programmed"
    ]
    assert status == "True"
    pods = "/api/v1/namespaces/envoy-gateway-system/pods"
    wait_until("The pods of Envoy Gateway go", lambda: cluster.get(pods)["items"] == [], 120)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight on a real API server: all faults of a broken cluster in one run, and no write."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.llmstack.serving.plugins.module_utils import _model_tensors
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import describe
from sandbox.kube import Cluster
from tools import accounts, checkout, checkpoints, gpu_nodes
from tools.playbook import MUTATING, ansible_playbook, recap, writes

INVENTORY = ("-i", "inventories/local")
VERSIONS = yaml.safe_load((checkout.ROOT / "roles/versions/vars/main.yml").read_text())["versions_table"]
Audit = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def reader(sandbox: dict[str, Any], cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[accounts.Account]:
    """An account that may read everything and change nothing."""
    with contextlib.ExitStack() as until_the_end:
        yield until_the_end.enter_context(
            accounts.account(cluster, Path(sandbox["kubeconfig"]), namespace, tmp_path, [accounts.READ_ALL])
        )


@pytest.fixture
def broken(cluster: Cluster, namespace: str) -> Iterator[str]:
    """What is wrong on the cluster itself, all of it harmless to others: returns the name of its node."""
    going, webhook, node_name = f"{namespace}-going", f"dead-{namespace}", f"small-{namespace}"
    node = gpu_nodes.node(node_name, capacity={"ephemeral-storage": "50Gi"})
    node["metadata"]["labels"]["preflight"] = namespace
    node["spec"]["taints"] = [{"key": "sandbox.llmstack.io/simulated", "effect": "NoSchedule"}]
    status = node.pop("status")
    for condition in status["conditions"]:
        condition["lastHeartbeatTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    cluster.apply(node)
    cluster.merge(f"/api/v1/nodes/{node_name}/status", {"status": status})
    create(cluster, f"/api/v1/namespaces/{namespace}/resourcequotas", quota())
    create(cluster, f"/api/v1/namespaces/{namespace}/limitranges", limits())
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    create(cluster, hooks, dead_webhook(webhook, namespace))
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": going}})
    keeper = {"metadata": {"name": "keeper", "finalizers": ["example.com/never"]}}
    create(cluster, f"/api/v1/namespaces/{going}/configmaps", keeper)
    cluster.request("DELETE", f"/api/v1/namespaces/{going}")
    yield node_name
    cluster.merge(f"/api/v1/namespaces/{going}/configmaps/keeper", {"metadata": {"finalizers": None}})
    cluster.request("DELETE", f"{hooks}/{webhook}")
    cluster.request("DELETE", f"/api/v1/nodes/{node_name}")


def create(cluster: Cluster, path: str, body: dict[str, Any]) -> None:
    status, answer = cluster.request("POST", path, body)
    assert status == 201, answer


def quota() -> dict[str, Any]:
    return {"metadata": {"name": "team"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}


def limits() -> dict[str, Any]:
    return {"metadata": {"name": "small"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "256Mi"}}]}}


def dead_webhook(name: str, namespace: str) -> dict[str, Any]:
    """Asked about one kind in one namespace."""
    rule = {
        "apiGroups": ["serving.kserve.io"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["trainedmodels"],
    }
    return {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "dead.example.com",
                "clientConfig": {"service": {"namespace": "no-such", "name": "webhook"}},
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


def settings(namespace: str, reader: Path, folder: Path) -> dict[str, Any]:
    """An inventory's variables with mistakes in them."""
    config = checkpoints.LLAMA_3_1_70B
    shapes = [(tensor.name, tensor.dtype, tensor.shape) for tensor in _model_tensors.expected(describe(config))]
    heavy = checkpoints.write(folder / "llama-70b", config, shapes)
    cut_off = checkpoints.write(folder / "cut-off", config, shapes)
    with (cut_off / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    table = {
        **VERSIONS,
        "istio": {**VERSIONS["istio"], "kubernetes": {"minimum": "1.20", "maximum": "1.30"}, "eol": "2020-01-01"},
        "gateway_api": {**VERSIONS["gateway_api"], "version": "v0.1.0"},
    }
    here = {
        "node_selector": {"preflight": namespace},
        "tolerations": [{"key": "sandbox.llmstack.io/simulated", "operator": "Exists"}],
    }
    return {
        "llmstack_kubeconfig": str(reader),
        "llmstack_namespace": namespace,
        "llmstack_report_dir": str(folder / "reports"),
        "llmstack_helm_binary": "/no/such/helm",
        "kserve_domian": "example.com",
        "gateway_crds_manifest": "/no/such/manifest.yaml",
        "llmd_inference_crds_manifest": "http://127.0.0.1:1/manifest.yaml",
        "versions_table": table,
        "cert_manager_namespace": f"{namespace}-going",
        "istio_namespace": "elsewhere",
        "vllm_runtime_image": "docker.io/vllm/vllm-openai:no-such-tag",
        "vllm_runtime_image_pull_secrets": ["no-such-secret"],
        "model_storage_secret_key": "wrong",
        "preflight_volumes": [{"name": "cache", "storage_class": "no-such-class"}],
        "llmstack_models": [{"name": "llama-70b", "src": str(heavy)}, {"name": "cut-off", "src": str(cut_off)}],
        "llmstack_inference_services": [
            {"name": "heavy", "storage_uri": "s3://llm-models/llama-70b", "gpus": 1, "max_model_len": "8192", **here},
            {"name": "greedy", "storage_uri": "s3://llm-models/cut-off", "gpus": 16, **here},
            {"name": "volume", "storage_uri": "pvc://no-such-claim/model", "gpus": 1, **here},
        ],
        "llmstack_llm_deployments": [
            llm_deployment("split", {"gpu": 1}, {"gpu": 4}, **here),
            llm_deployment(
                "wide", {"gpu": 8}, {"gpu": 1}, parallelism={"tensor": 8, "data": 4, "data_local": 1}, **here
            ),
            {**llm_deployment("odd", {"gpu": 3}, {"gpu": 2}, **here), "tollerations": []},
        ],
    }


def llm_deployment(
    name: str, decode: dict[str, Any], prefill: dict[str, Any], parallelism: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Of the model of 131 GiB, which 4 GPUs of 80 GB hold and one does not."""
    args = ["--max-model-len=8192"]
    return {
        "name": name,
        "model": {"uri": "s3://llm-models/llama-70b"},
        "serving": {
            "mode": "disaggregated",
            "prefill": {"resources": prefill, "args": args},
            "decode": {"resources": decode, "args": args, **({"parallelism": parallelism} if parallelism else {})},
        },
        **more,
    }


# What must be named, as (check, subject).
PLANTED = {
    ("helm", ""),
    ("variable", "kserve_domian"),
    ("kubernetes-version", "istio"),
    ("permissions", ""),
    ("namespace-state", "{namespace}-going"),
    ("other-install", "Istio"),
    ("other-install", "cert-manager"),
    ("webhooks", "no-such/webhook"),
    ("crd-owner", "cert_manager"),
    ("crd-owner", "istio"),
    ("crd-version", "gateway_api"),
    ("gpu-placement", "greedy"),
    ("model-fit", "heavy"),
    ("model-fit", "split/decode"),
    ("gpu-placement", "wide/decode"),
    ("llm-deployments", "odd"),
    ("node-disk", "heavy"),
    ("node-disk", "split/prefill"),
    ("image", "docker.io/vllm/vllm-openai:no-such-tag"),
    ("image-pull-secret", "no-such-secret"),
    ("file", "/no/such/manifest.yaml"),
    ("file", "http://127.0.0.1:1/manifest.yaml"),
    ("s3", ""),
    ("model-files", "greedy"),
    ("volume-claim", "volume"),
    ("storage-class", "cache"),
    ("quota", "team:requests.nvidia.com/gpu"),
    ("limit-range", "heavy"),
}


@pytest.mark.usefixtures("kserve")
def test_site_names_every_planted_fault_at_once_and_stops_before_the_first_write(
    reader: accounts.Account, broken: str, namespace: str, tmp_path: Path, audit: Audit
) -> None:
    variables = tmp_path / "variables.json"
    variables.write_text(json.dumps(settings(namespace, reader.kubeconfig, tmp_path)))
    done = ansible_playbook(*INVENTORY, "playbooks/site.yml", "-e", f"@{variables}")
    assert done.returncode != 0
    assert "PLAY [Install" not in done.stdout
    report = json.loads((tmp_path / "reports" / "sandbox-preflight.json").read_text())
    failed = {(found["id"], found["subject"]) for found in report["findings"] if found["status"] == "fail"}
    planted = {(name, subject.format(namespace=namespace)) for name, subject in PLANTED}
    assert planted - failed == set(), done.stdout[-6000:]
    assert len(planted) >= 12
    fits = {(found["id"], found["subject"]) for found in report["findings"] if found["status"] == "pass"}
    # On nodes enough of this kind the wide one would fit, too.
    assert {("model-fit", "split/prefill"), ("gpu-placement", "split/prefill"), ("model-fit", "wide/decode")} <= fits
    assert ("end-of-life", "istio") in {(found["id"], found["subject"]) for found in report["findings"]}
    # The person sees what the program sees, and each with its way out.
    for found in report["findings"]:
        if found["status"] == "fail":
            assert found["message"].replace('"', "'")[:60] in done.stdout, found
            assert found["remediation"] or "did you mean" in found["message"]
    sent = [event for event in audit() if event["user"]["username"] == reader.username]
    assert sent
    changing = [event["requestURI"] for event in sent if event["verb"] in MUTATING]
    assert set(changing) == {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"}


@pytest.mark.usefixtures("kserve")
def test_a_healthy_cluster_passes_and_is_only_read(audit: Audit, tmp_path: Path) -> None:
    begin = time.monotonic()
    done = ansible_playbook(*INVENTORY, "playbooks/preflight.yml", "-e", f"llmstack_report_dir={tmp_path}")
    seconds = time.monotonic() - begin
    assert done.returncode == 0, done.stdout[-6000:]
    assert recap(done.stdout)["changed"] == 0
    assert writes(audit()) == []
    report = json.loads((tmp_path / "sandbox-preflight.json").read_text())
    assert report["summary"]["failed"] == 0
    assert {"control-node", "cluster", "permissions", "crds", "gpus", "scheduling", "images", "storage", "quota"} <= {
        found["category"] for found in report["findings"] if found["status"] == "pass"
    }
    # Bounded, also on a machine that is busy with other tests.
    assert seconds < 60


def test_a_cluster_that_does_not_answer_is_one_finding_beside_the_others(tmp_path: Path) -> None:
    done: subprocess.CompletedProcess[str] = ansible_playbook(
        *INVENTORY,
        "playbooks/preflight.yml",
        *("-e", f"llmstack_report_dir={tmp_path}", "-e", "llmstack_kubeconfig=/no/such/kubeconfig"),
        *("-e", "llmstack_helm_binary=/no/such/helm"),
    )
    assert done.returncode != 0
    report = json.loads((tmp_path / "sandbox-preflight.json").read_text())
    failed = {found["id"] for found in report["findings"] if found["status"] == "fail"}
    assert failed == {"helm", "api-server"}


@pytest.mark.usefixtures("kserve")
def test_charts_that_the_mirror_lacks_stop_the_site_before_the_first_write(
    sandbox: dict[str, Any], audit: Audit, tmp_path: Path
) -> None:
    mirror = f"{sandbox['registry']}/nowhere"
    variables = json.dumps({"llmstack_chart_mirror": mirror, "llmstack_report_dir": str(tmp_path)})
    done = ansible_playbook(*INVENTORY, "playbooks/site.yml", "-e", variables)
    assert done.returncode != 0
    assert "PLAY [Install" not in done.stdout
    assert f"The chart {mirror}/kserve/charts/kserve-resources:" in done.stdout
    assert "llmstack_chart_mirror" in done.stdout
    assert writes(audit()) == []

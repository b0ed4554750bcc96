# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Day two on the real KServe: scale, stop, update, take back, roll back, diagnose, as an operator calls them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools import checkout
from tools.playbook import ansible_playbook, recap, writes
from tools.run_module import run_module

LOCAL = ("-i", "inventories/local")
NAME = "ops-llama"
# What `make site` deploys; it is only looked at.
DEPLOYED = "tiny-llama"
Audit = Callable[[], list[dict[str, Any]]]
pytestmark = pytest.mark.usefixtures("kserve")


def run(playbook: str, *arguments: str, **variables: Any) -> Any:
    return ansible_playbook(*LOCAL, f"playbooks/{playbook}", *arguments, "-e", json.dumps(variables))


def well(done: Any) -> Any:
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    return done


def test_check_mode_of_scaling_shows_the_numbers_and_writes_nothing(audit: Audit) -> None:
    done = well(run("scale.yml", "--check", "--diff", operations_service=DEPLOYED, operations_replicas=3))
    assert recap(done.stdout)["changed"] == 1
    changed = {line.strip("+- ") for line in done.stdout.splitlines() if line.startswith(("+  ", "-  "))}
    assert changed == {'"maxReplicas": 1,', '"maxReplicas": 3,', '"minReplicas": 1,', '"minReplicas": 3,'}
    assert writes(audit()) == []


@pytest.mark.parametrize(
    ("playbook", "variables", "sentence"),
    [
        ("scale.yml", {"operations_service": "tiny-lama", "operations_replicas": 2}, "Did you mean tiny-llama?"),
        ("scale.yml", {"operations_replicas": 2}, "give its name. Namespace model-serving has: "),
        ("scale.yml", {"operations_service": "tiny-llama", "operations_replicas": 0}, "state: stopped"),
        (
            "scale.yml",
            {"operations_service": "tiny-llama", "operations_replica": 2},
            "did you mean operations_replicas?",
        ),
        ("upgrade.yml", {"operations_service": "tiny-llama"}, "Nothing says what to change"),
        ("rollback.yml", {"operations_service": "tiny-llama", "operations_revision": 999}, "there is no revision 999"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    audit: Audit, playbook: str, variables: dict[str, Any], sentence: str
) -> None:
    done = run(playbook, **variables)
    assert done.returncode != 0
    assert sentence in done.stdout
    assert "Nothing was changed." in done.stdout
    assert writes(audit()) == []


def test_the_diagnosis_reads_only_and_leaves_a_report(audit: Audit, tmp_path: Path) -> None:
    done = well(run("diagnose.yml", operations_report_dir=str(tmp_path)))
    assert recap(done.stdout)["changed"] == 0
    assert writes(audit()) == []
    report = json.loads((tmp_path / "sandbox-diagnosis.json").read_text())
    assert report["looked_at"]["workloads"]["kserve"].partition(" ")[0] != "0"
    assert {"name": f"model-serving/{DEPLOYED}", "state": "ready"}.items() <= next(
        each for each in report["looked_at"]["models"] if each["name"].endswith(f"/{DEPLOYED}")
    ).items()
    assert not [each for each in report["findings"] if each["message"].startswith("Not looked at")]
    assert (tmp_path / "sandbox-diagnosis.txt").read_text().splitlines()[0] in done.stdout


def test_a_cluster_with_nothing_on_it_is_a_finding_and_fails_who_asks_for_it(sandbox: Any, tmp_path: Path) -> None:
    variables = {"operations_control_plane_namespaces": ["default", "kube-node-lease"]}
    done = run("diagnose.yml", operations_report_dir=str(tmp_path), operations_fail_on="critical", **variables)
    assert done.returncode != 0
    assert "0 of 0 workloads run in all of the control plane" in done.stdout
    findings = json.loads((tmp_path / "sandbox-diagnosis.json").read_text())["findings"]
    assert findings[0]["severity"] == "critical"


def test_a_half_installed_release_is_found(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """What a killed Helm leaves; the roles recover it by themselves when they run (role helm_release)."""
    labels = {"owner": "helm", "name": "half", "status": "pending-install", "version": "1"}
    record = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sh.helm.release.v1.half.v1", "labels": labels},
    }
    assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/secrets", record)[0] == 201
    well(run("diagnose.yml", operations_report_dir=str(tmp_path)))
    findings = json.loads((tmp_path / "sandbox-diagnosis.json").read_text())["findings"]
    [found] = [each for each in findings if each["subject"] == f"Helm release {namespace}/half"]
    assert "half-installed" in found["message"]


# With a model of their own


@pytest.fixture(scope="module")
def own(kserve: None, cluster: Cluster) -> Iterator[str]:
    """The namespace of a model that serves, deployed as a user deploys it; its bucket holds a second version."""
    namespace = "test-operations"
    deploy(namespace)
    yield namespace
    cluster.request("DELETE", f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{NAME}")
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


def deploy(namespace: str) -> Any:
    models = [{"name": name, "src": "{{ sandbox.model }}"} for name in ("tiny-llama", "tiny-llama-v2")]
    service = {"name": NAME, "storage_uri": "s3://{{ llmstack_bucket }}/tiny-llama", "gpus": 1}
    variables = {"llmstack_namespace": namespace, "llmstack_models": models, "llmstack_inference_services": [service]}
    return well(run("deploy.yml", "--tags", "model_storage,inference_service", **variables))


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(sandbox: dict[str, Any], own: str) -> Call:
    def do(what: str, check: bool = False, **options: Any) -> dict[str, Any]:
        common = {"kubeconfig": sandbox["kubeconfig"], "name": NAME, "namespace": own, "wait_timeout": 240}
        return run_module(f"llmstack.serving.inferenceservice_{what}", {**common, **options}, check=check)

    return do


def service(cluster: Cluster, namespace: str) -> dict[str, Any]:
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{NAME}"
    found: dict[str, Any] = cluster.get(path)
    return found


def described(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """What a user can say of it: all but what the API server and KServe write."""
    found = service(cluster, namespace)
    metadata = {key: found["metadata"].get(key) for key in ("annotations", "labels", "finalizers")}
    return {"metadata": metadata, "spec": found["spec"]}


def done(result: dict[str, Any], changed: bool = True) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    assert result["changed"] is changed
    return result


def ready(result: dict[str, Any]) -> set[str]:
    return {pod["name"] for pod in result["pods"] if pod["phase"] == "is ready"}


@pytest.mark.long
def test_scaling_stopping_and_starting(call: Call, cluster: Cluster, own: str, audit: Audit) -> None:
    first = ready(done(call("scale", min_replicas=1), changed=False))
    planned = done(call("scale", check=True, replicas=2))
    assert writes(audit()) == []
    scaled = done(call("scale", replicas=2))
    assert planned["inferenceservice"]["spec"] == scaled["inferenceservice"]["spec"]
    assert first < ready(scaled), "the pod that ran runs on"
    assert len(ready(scaled)) == 2
    done(call("scale", replicas=2), changed=False)
    stopped = done(call("scale", state="stopped"))
    assert stopped["inferenceservice"]["spec"]["predictor"]["minReplicas"] == 2
    assert cluster.get(f"/apis/apps/v1/namespaces/{own}/deployments")["items"] == []
    done(call("scale", state="stopped"), changed=False)
    assert len(ready(done(call("scale", state="started")))) == 2
    done(call("scale", state="started"), changed=False)
    done(call("scale", replicas=1))


@pytest.mark.long
def test_update_and_rollback(call: Call, cluster: Cluster, own: str) -> None:
    before = described(cluster, own)
    one = before["spec"]["predictor"]["model"]["storageUri"]
    two = "s3://llm-models/tiny-llama-v2/"
    assert done(call("update", check=True, storage_uri=two))["taken_back"] is False
    assert described(cluster, own) == before
    updated = done(call("update", storage_uri=two))
    assert updated["inferenceservice"]["spec"]["predictor"]["model"]["storageUri"] == two
    assert ready(updated)
    done(call("update", storage_uri=two), changed=False)
    listed = done(call("rollback", check=True))
    assert [each["storage_uri"] for each in listed["revisions"]][:2] == [two, one]
    assert listed["revisions"][0]["current"]
    back = done(call("rollback"))
    assert back["rolled_back_to"] == listed["rolled_back_to"]
    assert described(cluster, own) == before
    assert ready(back)


@pytest.mark.long
def test_an_update_that_fails_is_taken_back_exactly(
    call: Call, cluster: Cluster, sandbox: dict[str, Any], own: str
) -> None:
    done(call("scale", replicas=2))
    before, generation = described(cluster, own), service(cluster, own)["metadata"]["generation"]
    failed = call("update", storage_uri="s3://llm-models/nothing-here")
    assert failed["failed"]
    assert failed["taken_back"] is True
    assert "there is no model at storage_uri" in failed["msg"]
    assert "It was taken back: the InferenceService is exactly what it was before, and serves." in failed["msg"]
    assert described(cluster, own) == before
    look = {"kubeconfig": sandbox["kubeconfig"], "namespace": own}
    [found] = run_module("llmstack.serving.inferenceservice_info", look)["inferenceservices"]
    assert found["health"]["state"] == "ready"
    revisions = call("rollback", check=True, revision=generation)["revisions"]
    assert [("no model at storage_uri" in (each["failed"] or "")) for each in revisions[:3]] == [False, True, False]
    bad = call("update", args=["--no-such-option"], take_back=False)
    assert bad["failed"]
    assert bad["taken_back"] is False
    assert "it does not know an argument" in bad["msg"]
    done(call("rollback"))
    assert described(cluster, own) == before


@pytest.mark.long
def test_the_inventory_remains_the_truth(call: Call, cluster: Cluster, own: str) -> None:
    """After all that the next deploy.yml meets no conflict and sets back what is not in the inventory."""
    done(call("scale", min_replicas=1, max_replicas=5))
    assert recap(deploy(own).stdout)["changed"] == 1
    assert service(cluster, own)["spec"]["predictor"]["maxReplicas"] == 1
    assert recap(deploy(own).stdout)["changed"] == 0


@pytest.mark.long
def test_the_playbooks_say_what_they_did(own: str, cluster: Cluster) -> None:
    variables = {"llmstack_namespace": own, "operations_service": NAME}
    shown = well(run("scale.yml", operations_service_state="stopped", **variables)).stdout
    assert f"{own}/{NAME} (changed)" in shown
    shown = well(run("diagnose.yml", operations_report_dir="{{ sandbox.report_dir }}/test")).stdout
    assert f"NOTE  InferenceService {own}/{NAME}" in shown
    well(run("scale.yml", operations_service_state="started", operations_replicas="", **variables))
    uri = service(cluster, own)["spec"]["predictor"]["model"]["storageUri"]
    # As people write it; the role ends it as the role inference_service does.
    shown = well(run("upgrade.yml", operations_storage_uri="s3://llm-models/tiny-llama-v2", **variables)).stdout
    assert "model: s3://llm-models/tiny-llama-v2/" in shown
    shown = well(run("rollback.yml", **variables)).stdout
    assert f"(chosen): {uri}, " in shown
    assert f"model: {uri}" in shown


@pytest.mark.long
def test_the_commands_of_the_page_work(own: str, audit: Audit) -> None:
    """docs/operations.md, word for word but for service and namespace, and in check mode."""
    page = (checkout.ROOT / "docs/operations.md").read_text()
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S) for line in block.splitlines()]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line)
        mine = json.dumps({"llmstack_namespace": own, "operations_service": NAME})
        well(ansible_playbook(*words[1:], "--check", "-e", mine))
    assert writes(audit()) == []

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _load_cluster, _load_job
from ansible_collections.llmstack.serving.plugins.module_utils._load_client import target
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.modules.load_test import argument_spec
from tools import checkout


def parameters(**changes: Any) -> dict[str, Any]:
    """What AnsibleModule makes of a task."""
    options = argument_spec()["in_cluster"]["options"]
    given = {name: spec.get("default") for name, spec in argument_spec().items()}
    in_cluster = {name: spec.get("default") for name, spec in options.items()}
    load = {"prompts": ["Say hello."], "concurrency": [2], "requests": 6, "max_tokens": 4, "model": "good"}
    return {**given, **load, "in_cluster": in_cluster, "url": "http://llm.test", **changes}


def objects(url: str = "http://llm.test", **changes: Any) -> dict[str, dict[str, Any]]:
    params = parameters(**changes)
    return {manifest["kind"]: manifest for manifest in _load_cluster.objects(params, target(url))}


def container(job: dict[str, Any]) -> dict[str, Any]:
    [found] = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def run_in_pod(folder: Path, manifests: dict[str, dict[str, Any]]) -> str:
    """Run the container's command as the kubelet would: its files, its environment, a Python without any package."""
    spec = manifests["Job"]["spec"]["template"]["spec"]
    data = manifests["ConfigMap"]["data"]
    binary = {key: base64.b64decode(value) for key, value in manifests["ConfigMap"]["binaryData"].items()}
    for volume in spec["volumes"]:
        place = folder / volume["name"]
        if "configMap" in volume:
            for item in volume["configMap"]["items"]:
                path = place / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(binary[item["key"]] if item["key"] in binary else data[item["key"]].encode())
        elif "secret" in volume:
            place.mkdir()
            for key, value in manifests["Secret"]["stringData"].items():
                (place / key).write_text(value)
    _python, *arguments = container(manifests["Job"])["command"]
    mounts = {mount["mountPath"]: str(folder / mount["name"]) for mount in container(manifests["Job"])["volumeMounts"]}
    environment = {
        entry["name"]: mounts.get(entry["value"], entry["value"]) for entry in container(manifests["Job"])["env"]
    }
    # -S: the packages of the developer's Python are not there.
    command = [sys.executable, "-S", *(mounts.get(argument, argument) for argument in arguments)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pod_needs_nothing_but_python_and_gives_a_whole_report(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.openai_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=checkout.ROOT / "tests") as server:
        assert server.stdout
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            log = run_in_pod(tmp_path, objects(url, endpoint_api_key="sk-secret", slos={"ttft_p95_ms": 5000}))
        finally:
            server.kill()
    document = _load_job.said(log, "result")
    assert document["verdict"] == "pass"
    assert document["stages"][0]["requests"] == {"sent": 6, "completed": 6, "failed": 0}
    assert document["stages"][0]["slices"]["parts"]
    assert "2 concurrent: pass" in _load_job.progress(log)
    assert "sk-secret" not in log


def test_what_goes_wrong_in_the_pod_is_a_sentence(tmp_path: Path) -> None:
    log = run_in_pod(tmp_path, objects("http://127.0.0.1:1"))
    assert "Nothing listens there" in _load_job.said(log, "error")
    assert _load_job.said(log, "result") is None


def test_files_go_along(tmp_path: Path) -> None:
    dataset = tmp_path / "prompts.jsonl"
    dataset.write_text('"hello"\n')
    manifests = objects(dataset=str(dataset), prompts=None)
    packed = base64.b64decode(manifests["ConfigMap"]["binaryData"]["inputs"])
    assert _load_job.unpack(packed)["files"] == {"dataset": '"hello"\n'}


def test_what_is_too_large_for_the_cluster_is_one_sentence() -> None:
    with pytest.raises(LoadError, match="too large to be sent into the cluster"):
        _load_job.pack({"files": {"dataset": os.urandom(600_000).hex()}})


def test_keys_are_in_the_secret_and_nowhere_else() -> None:
    manifests = objects(endpoint_api_key="sk-secret", endpoint_headers={"X": "also"}, api_key="of-the-cluster")
    assert json.loads(manifests["Secret"]["stringData"]["secrets"]) == {
        "endpoint_api_key": "sk-secret",
        "endpoint_headers": {"X": "also"},
    }
    packed = _load_job.unpack(base64.b64decode(manifests["ConfigMap"]["binaryData"]["inputs"]))
    others = json.dumps([manifests["Job"], manifests["ConfigMap"], packed])
    assert "sk-secret" not in others
    assert "of-the-cluster" not in json.dumps(manifests)
    assert "api_key" not in packed["params"]


def test_the_pod_is_restricted_and_ends_by_itself() -> None:
    job = objects(processes=2)["Job"]
    pod = job["spec"]["template"]["spec"]
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] == 3600 + 300 + 600
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(job)["securityContext"]["readOnlyRootFilesystem"] is True
    assert container(job)["resources"]["requests"]["cpu"] == "2"


def test_a_long_report_survives_the_log_in_any_order_of_other_lines() -> None:
    report = {"numbers": [number**3 for number in range(30_000)]}
    printed = list(_load_job.lines("result", report))
    assert max(map(len, printed)) < 16_384
    log = "\n".join(["a warning of Python", "progress 1", printed[0], "progress 2", *printed[1:]])
    assert _load_job.said(log, "result") == report
    assert _load_job.progress(log) == "2"
    assert _load_job.said("\n".join(printed[:-1]), "result") is None


def pod(phase: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": {"phase": phase, **status}}


class Cluster:
    """A cluster whose one pod goes through the given states; each look at it is one state further."""

    def __init__(self, pods: list[dict[str, Any]], log: str = "") -> None:
        self.pods = pods
        self.text = log
        self.applied: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def apply(self, ref: Any, manifest: dict[str, Any], **_options: Any) -> dict[str, Any]:
        self.applied.append(manifest)
        return {**manifest, "metadata": {**manifest["metadata"], "uid": "u"}}

    def list(self, *_arguments: Any, **_options: Any) -> tuple[list[dict[str, Any]], str]:
        return [self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]], "1"

    def log(self, *_arguments: Any, **_options: Any) -> str:
        return self.text

    def delete(self, ref: Any, **_options: Any) -> None:
        self.deleted.append(str(ref))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load_cluster, "_EVERY_SECONDS", 0.01)


def run(cluster: Cluster, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    told: list[str] = []
    document = _load_cluster.run(cluster, parameters(**changes), target("http://llm.test"), told.append)  # type: ignore[arg-type]
    return document, told


def test_the_result_comes_from_the_log_and_everything_is_deleted_with_the_job() -> None:
    log = "\n".join(["progress half", *_load_job.lines("result", {"kind": "LoadTestReport"})])
    cluster = Cluster([pod("Pending"), pod("Running"), pod("Succeeded")], log)
    document, _told = run(cluster)
    assert document == {"kind": "LoadTestReport"}
    job, *others = cluster.applied
    assert [manifest["kind"] for manifest in others] == ["ConfigMap", "Secret"]
    for manifest in others:
        [owner] = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", job["metadata"]["name"], "u")
    assert cluster.deleted == [f"Job model-serving/{job['metadata']['name']}"]


@pytest.mark.parametrize(
    ("pods", "log", "said"),
    [
        (
            [
                pod(
                    "Pending",
                    containerStatuses=[
                        {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no python:3"}}}
                    ],
                )
            ],
            "",
            "cannot run: ImagePullBackOff no python:3. Correct in_cluster.",
        ),
        ([pod("Failed")], "ModuleNotFoundError: No module named 'asyncio'\n", "without a result: ModuleNotFoundError"),
        ([pod("Failed")], "", "without a result: its log is empty"),
        ([pod("Succeeded")], "\n".join(_load_job.lines("error", "No load was sent.")), "No load was sent."),
        (
            [
                pod(
                    "Pending",
                    conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
                )
            ],
            "",
            "did not start in the cluster: 0/3 nodes are available.",
        ),
    ],
)
def test_a_pod_that_does_not_work_out_is_one_sentence_and_deleted(
    pods: list[dict[str, Any]], log: str, said: str
) -> None:
    cluster = Cluster(pods, log)
    in_cluster = {**parameters()["in_cluster"], "start_timeout_seconds": 0.05}
    with pytest.raises(LoadError) as error:
        run(cluster, in_cluster=in_cluster)
    assert said in str(error.value)
    assert len(cluster.deleted) == 1


def test_a_tokenizer_cannot_go_along() -> None:
    with pytest.raises(LoadError, match="tokenizer and in_cluster do not go together"):
        run(Cluster([]), tokenizer="/x")

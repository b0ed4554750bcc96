# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load test as a user runs it, against the sandbox's engine (llm-d-inference-sim) on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sandbox import go
from sandbox.binaries import ALL
from sandbox.kube import Cluster, wait_until
from tools import checkout
from tools.playbook import ansible_playbook, recap
from tools.run_module import run_module

TTFT_MS, ITL_MS = 100, 10


@contextmanager
def engine(*arguments: str) -> Iterator[int]:
    """The engine on a free port."""
    binary = go.ensure([ALL["llm-d-inference-sim"]])["llm-d-inference-sim"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    command = [str(binary), "--model", "qwen", "--port", str(port), "--mode", "random", "--force-dummy-tokenizer"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline, "the engine does not start"
                    time.sleep(0.1)
            yield port
        finally:
            process.kill()


def play(folder: Path, *loads: dict[str, Any]) -> tuple[str, list[dict[str, Any]], dict[str, int]]:
    """Run the module once for each of the parameters; returns the output, the tasks' results and the recap."""
    result = folder / "results.json"
    tasks: list[dict[str, Any]] = [
        {"name": "Load", "llmstack.serving.load_test": load, "register": f"load_{number}", "ignore_errors": True}
        for number, load in enumerate(loads)
    ]
    names = ", ".join(f"load_{number}" for number in range(len(loads)))
    content = {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(result)}
    tasks.append({"name": "Keep", "ansible.builtin.copy": content, "changed_when": False})
    book = [{"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(yaml.safe_dump(book))
    done = ansible_playbook(
        *("-i", "localhost,", "-e", "ansible_python_interpreter={{ ansible_playbook_python }}", folder / "play.yml"),
        ANSIBLE_COLLECTIONS_PATH=str(checkout.ROOT / "playbooks" / "collections"),
    )
    assert result.exists(), done.stdout + done.stderr
    return done.stdout, json.loads(result.read_text()), recap(done.stdout)


GUIDE = {
    "concurrency": [50],
    "requests": 150,
    "max_tokens": 100,
    "warmup_requests": 0,
    "prompts": [
        "Explain quantum computing in simple terms.",
        "Write a haiku about the sea.",
        "What is the capital of France?",
    ],
}


def test_the_load_test_of_the_guide_is_one_task(tmp_path: Path) -> None:
    delays = ("--time-to-first-token", f"{TTFT_MS}ms", "--inter-token-latency", f"{ITL_MS}ms", "--max-num-seqs", "64")
    with engine(*delays) as port:
        load = {**GUIDE, "url": f"http://127.0.0.1:{port}/v1", "ignore_eos": True, "slos": {"ttft_p95_ms": 2000}}
        output, [result], counts = play(tmp_path, {**load, "report_dir": str(tmp_path / "reports")})
    assert (counts["changed"], counts["failed"], counts["ignored"]) == (0, 0, 0), output
    # Lines on the way: where it is, how fast, how slow.
    assert "] 50 concurrent: " in output
    assert " in flight" in output
    [stage] = result["report"]["stages"]
    assert stage["requests"] == {"sent": 150, "completed": 150, "failed": 0}
    assert stage["tokens"]["output"] == 150 * 100
    assert stage["finish_reasons"] == {"length": 150}
    # The engine waits for what it was told; everything above that is the machine.
    assert TTFT_MS <= stage["latency_ms"]["ttft"]["p50"] <= 2 * TTFT_MS
    assert ITL_MS <= stage["latency_ms"]["tpot"]["p50"] <= 2 * ITL_MS
    assert stage["server"]["running"]["max"] == 50
    assert stage["server"]["ttft_mean_ms"] == pytest.approx(TTFT_MS, rel=0.02)
    schema = json.loads((checkout.ROOT / "docs" / "load-test-report.schema.json").read_text())
    jsonschema.validate(json.loads((tmp_path / "reports" / "load-test.json").read_text()), schema)


def test_failures_of_the_engine_are_counted_by_class_and_fail_the_task(tmp_path: Path) -> None:
    load = {**GUIDE, "max_tokens": 5, "model": "qwen"}
    broken = ("--failure-injection-rate", "10", "--failure-types", "server_error", "--seed", "1")
    full = ("--max-num-seqs", "2", "--max-waiting-queue-length", "2", "--time-to-first-token", "50ms")
    with engine(*broken) as broken_port, engine(*full) as full_port:
        output, results, counts = play(
            tmp_path,
            # The question before the load may be hit too.
            *(
                {**load, "url": f"http://127.0.0.1:{broken_port}", "concurrency": [4], "requests": 200}
                for _try in range(3)
            ),
            {
                **load,
                "url": f"http://127.0.0.1:{full_port}",
                "concurrency": [16],
                "requests": 60,
                "idle_timeout_seconds": 3,
            },
        )
    assert counts["ignored"] == 4, output
    *hit, refused = results
    measured = [result for result in hit if "report" in result]
    assert measured, output
    for result in measured:
        [stage] = result["report"]["stages"]
        assert set(stage["errors"]) == {"http_503"}
        assert 2 <= stage["error_rate_percent"] <= 25
        assert stage["requests"]["completed"] + stage["errors"]["http_503"] == 200
        assert "overloaded, draining, or no pod is ready" in result["msg"]
    for result in hit:
        assert "report" in result or result["msg"].startswith("No load was sent, because the first request")
    # This engine answers HTTP 200, and then says in the stream that its queue is full (and forgets some requests).
    [stage] = refused["report"]["stages"]
    assert "error_event" in stage["errors"]
    assert set(stage["errors"]) <= {"error_event", "idle_timeout"}
    assert stage["requests"]["completed"] > 0


@pytest.mark.long
@pytest.mark.usefixtures("kserve")
def test_a_job_in_the_cluster_measures_past_the_gateway_and_leaves_nothing(
    cluster: Cluster, sandbox: dict[str, Any], namespace: str
) -> None:
    """On the real node, against the model of `make site`; any image with Python will do."""
    version = yaml.safe_load((checkout.ROOT / "roles/versions/vars/main.yml").read_text())["versions_table"]["kserve"]
    pod = {
        "image": f"docker.io/kserve/storage-initializer:{version['version']}",
        "namespace": namespace,
        "resources": {"cpu": "50m", "memory": "64Mi"},
    }
    load = {
        **{name: GUIDE[name] for name in ("prompts", "max_tokens")},
        "kubeconfig": sandbox["kubeconfig"],
        "inference_service": "tiny-llama",
        "concurrency": [1, 4],
        "duration_seconds": 4,
    }
    done = run_module("llmstack.serving.load_test", {**load, "in_cluster": pod})
    assert not done["failed"], done["msg"]
    report = done["report"]
    assert report["target"]["url"].endswith(".svc.cluster.local"), "the Service, not the Gateway"
    assert [stage["requests"]["failed"] for stage in report["stages"]] == [0, 0]
    assert all(stage["requests"]["completed"] > 0 for stage in report["stages"])
    assert report["stages"][1]["server"]["generation_tokens_per_second"] > 0
    # The pod's progress is shown here.
    assert "concurrent: " in done["shown"]
    for group, plural in (("batch/v1", "jobs"), ("v1", "configmaps"), ("v1", "secrets")):
        path = f"/api{'s' if '/' in group else ''}/{group}/namespaces/{namespace}/{plural}"
        wait_until(f"the end of {plural}", lambda path=path: not made(cluster, path), 30)
    refused = run_module("llmstack.serving.load_test", {**load, "in_cluster": {**pod, "image": "nothing:here"}})
    assert refused["failed"]
    assert "cannot run" in refused["msg"] and "Correct in_cluster" in refused["msg"]


def made(cluster: Cluster, path: str) -> list[str]:
    """What the load test put into its namespace and has not taken away."""
    names = [item["metadata"]["name"] for item in cluster.get(path)["items"]]
    return [name for name in names if name.startswith("load-test-")]

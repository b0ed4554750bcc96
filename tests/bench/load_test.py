# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""load_test: how much one process sends, how true its times are, what it needs; beside aiperf and inference-perf.

All against servers on loopback, on the same cores, one after the other: the ratios count, not the numbers. Each tool is
compared on an API that it speaks, with as many requests at once, after a warm-up, by its own clock from the first
measured request to the last answer; ours and theirs take turns, and the medians are compared. The other tools go into
virtual environments in the cache folder (1 GB each, several minutes the first time); where that is not possible, their
rows are left out and a line says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

import _peers  # noqa: E402 - the path is set above

from ansible_collections.llmstack.serving.plugins.module_utils import (  # noqa: E402 - the path is set above
    _load_client,
    _load_metrics,
    _load_prompts,
    _load_run,
)
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import Stage  # noqa: E402
from sandbox import go, model  # noqa: E402
from sandbox.binaries import ALL  # noqa: E402

TOOLS = {"aiperf": "aiperf==0.13.0", "inference-perf": "inference-perf==0.7.0"}
CONCURRENCY = 64
SHORT_TOKENS, LONG_TOKENS = 8, 256
ROUNDS = 3


def show(measure: str, value: float, unit: str, against: str | None = None, ratio: float | None = None) -> None:
    digits = 3 if abs(value) < 10 else 0
    result = {"bench": "load_test", "measure": measure, "value": round(value, digits), "unit": unit}
    rounded = None if ratio is None else round(ratio, 2)
    print(json.dumps({**result, "against": against, "ratio": rounded}), flush=True)


@contextlib.contextmanager
def simulator() -> Iterator[int]:
    """The sandbox's engine without delays."""
    binary = go.ensure([ALL["llm-d-inference-sim"]])["llm-d-inference-sim"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    command = [str(binary), "--model", "sim", "--port", str(port), "--mode", "random", "--force-dummy-tokenizer"]
    options = ["--max-num-seqs", "256", "--max-model-len", "8192"]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _try in range(100):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            time.sleep(0.1)
        try:
            yield port
        finally:
            process.kill()


@contextlib.contextmanager
def stamping(ttft: float, itl: float) -> Iterator[int]:
    """A server that stamps what it sends (tests/tools/openai_server.py)."""
    command = [sys.executable, "-m", "tools.openai_server", "--ttft", str(ttft), "--itl", str(itl)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests") as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def load(port: int, name: str, stage: Stage, tokens: int, api: str = "chat") -> tuple[dict[str, Any], int]:
    """The numbers of one stage in one process, and the resident memory of that process in bytes."""
    work = _load_client.Work(
        target=_load_client.target(f"http://127.0.0.1:{port}"),
        timeouts=_load_client.Timeouts(),
        stage=stage,
        source=_load_prompts.from_list(["Say hello to everybody in this room, one after the other."], tokens),
        bodies=_load_prompts.Bodies(api, name, True, True, {}),
        streaming=True,
        seed=0,
    )
    result = _load_run.run_stage(work, _load_run.Observer())
    assert not result.stopped, result.stopped
    found = _load_metrics.numbers(result.recorder)
    assert not found["requests"]["failed"], found["error_messages"]
    return found, result.health[0].rss_bytes


def stamps(port: int) -> dict[str, list[float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stamps", timeout=10) as answer:
        found: dict[str, list[float]] = json.load(answer)
        return found


def with_inference_perf(command: Path, port: int, folder: Path, tokens: int, requests: int) -> float:
    """Requests per second, as inference-perf itself reports them."""

    def lengths(number: int) -> dict[str, int]:
        return {"min": number, "max": number, "mean": number, "std_dev": 0, "total_count": CONCURRENCY + requests}

    reports = folder / f"inference-perf-{uuid.uuid4().hex}"
    config = {
        "load": {
            "type": "concurrent",
            "stages": [
                {"num_requests": number, "concurrency_level": CONCURRENCY} for number in (CONCURRENCY, requests)
            ],
            "num_workers": os.cpu_count(),
        },
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": "sim", "base_url": f"http://127.0.0.1:{port}", "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(folder / "model")},
        "data": {"type": "random", "input_distribution": lengths(16), "output_distribution": lengths(tokens)},
        "report": {"request_lifecycle": {"summary": True, "per_stage": True, "per_request": False}},
        "storage": {"local_storage": {"path": str(reports)}},
    }
    (folder / "inference-perf.yml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    arguments = [str(command), "-c", str(folder / "inference-perf.yml")]
    subprocess.run(arguments, cwd=folder, env=environment, check=True, capture_output=True, timeout=600)
    report = json.loads((reports / "stage_1_lifecycle_metrics.json").read_text())
    assert not report["failures"]["count"], report["failures"]
    # It leaves some requests out without a word; the server counts as many as it reports.
    return float(report["successes"]["count"] / report["benchmark_time_seconds"])


def with_aiperf(command: Path, port: int, folder: Path, tokens: int, requests: int) -> float:
    """Requests per second, as aiperf itself reports them."""
    artifacts = folder / f"aiperf-{uuid.uuid4().hex}"
    arguments = [
        *(str(command), "profile", "--model", "sim", "--url", f"http://127.0.0.1:{port}", "--endpoint-type", "chat"),
        *("--streaming", "--tokenizer", str(folder / "model"), "--synthetic-input-tokens-mean", "16"),
        *("--output-tokens-mean", str(tokens), "--extra-inputs", "ignore_eos:true", "--use-server-token-count"),
        *("--concurrency", str(CONCURRENCY), "--request-count", str(requests), "--artifact-dir", str(artifacts)),
        *("--warmup-request-count", str(CONCURRENCY), "--ui", "none"),
    ]
    subprocess.run(arguments, cwd=folder, check=True, capture_output=True, timeout=600)
    found = json.loads((artifacts / "profile_export_aiperf.json").read_text())
    assert found["request_count"]["avg"] == requests, found["request_count"]
    return float(found["request_throughput"]["avg"])


# inference-perf makes random prompts for this API only.
RUNNERS = {"aiperf": (with_aiperf, "chat"), "inference-perf": (with_inference_perf, "completions")}


def throughput(folder: Path) -> None:
    """One process of ours against the others with as many as they like."""
    model.write(folder / "model")
    with simulator() as port:
        for tokens, requests, theirs in ((SHORT_TOKENS, 10_000, 1_000), (LONG_TOKENS, 2_000, 500)):
            stage = Stage(concurrency=CONCURRENCY, requests=requests, warmup_requests=CONCURRENCY)
            for name, (runner, api) in RUNNERS.items():
                measured: dict[str, list[float]] = {"ours": [], "theirs": []}
                command = _peers.command(TOOLS[name], name)
                for _round in range(ROUNDS):
                    found, _rss = load(port, "sim", stage, tokens, api)
                    assert found["tokens"]["output"] == requests * tokens, found["tokens"]
                    measured["ours"].append(found["requests_per_second"])
                    if command:
                        try:
                            measured["theirs"].append(runner(command, port, folder, tokens, theirs))
                        except (subprocess.SubprocessError, KeyError, OSError, ValueError) as error:
                            print(f"{name} failed: {getattr(error, 'stderr', None) or error}"[-600:], flush=True)
                            command = None
                # Answers of a few tokens show what a request costs, long ones what a token costs.
                unit, each = ("requests/s", 1) if tokens == SHORT_TOKENS else ("tokens/s", tokens)
                measure = f"streams of {tokens} tokens ({api}), one process"
                ours = each * statistics.median(measured["ours"])
                show(measure, ours, unit)
                if command:
                    other = each * statistics.median(measured["theirs"])
                    show(measure, ours, unit, f"{name}: {other:.0f} {unit}", ours / other)


def truth() -> None:
    """What we measure against what the server stamped."""
    with stamping(0.1, 0.02) as port:
        load(port, "good", Stage(concurrency=4, requests=4), 2)
        stamps(port)
        found, _rss = load(port, "good", Stage(concurrency=8, requests=160), 20)
        server = stamps(port)
        for name in ("ttft", "itl", "e2e"):
            really = 1000 * statistics.mean(server[name])
            ours = found["latency_ms"][name]["mean"]
            error = 100 * abs(ours / really - 1)
            show(f"mean {name} against the server's stamps", error, "%", "limit 2 %", error / 2)
    with stamping(0.02, 0.005) as port:
        load(port, "good", Stage(concurrency=64, requests=64), 2)
        stamps(port)
        found, _rss = load(port, "good", Stage(rate=500, arrival="constant", requests=5000), SHORT_TOKENS)
        server = stamps(port)
        really = 1000 * statistics.median(server["ttft"])
        error = abs(found["latency_ms"]["ttft"]["p50"] - really)
        show("median ttft at 500 requests/s against stamps", error, "ms", "limit 1 ms", error)


def memory() -> None:
    with stamping(0, 0) as port:
        stage = Stage(concurrency=CONCURRENCY, requests=100_000)
        _found, rss = load(port, "good", stage, SHORT_TOKENS)
        show("resident memory after 100,000 requests", rss / 1e6, "MB", "limit 200 MB", rss / 200e6)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="llmstack-bench-") as folder:
        throughput(Path(folder))
    truth()
    memory()


if __name__ == "__main__":
    main()

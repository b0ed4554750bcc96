# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module against a server of its own on loopback (tests/tools/openai_server.py), all in a few seconds."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.llmstack.serving.plugins.module_utils import _load_test
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.modules import load_test
from sandbox import pki
from tools import checkout

pytestmark = pytest.mark.quiet

Run = Callable[..., dict[str, Any]]


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server process and its port."""
    command = [sys.executable, "-m", "tools.openai_server", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=checkout.ROOT / "tests") as process:
        assert process.stdout
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server without delays."""
    with serving() as (_process, number):
        yield number


@pytest.fixture(scope="module")
def slow_port() -> Iterator[int]:
    """A server with 20 ms to the first token and 5 ms to each other."""
    with serving("--ttft", "0.02", "--itl", "0.005") as (_process, number):
        yield number


@pytest.fixture
def run(port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module, by default with a small load on the server without delays; returns what it prints."""
    warnings: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda self, text: warnings.append(text))

    def call(check: bool = False, **params: Any) -> dict[str, Any]:
        args = {
            "url": f"http://127.0.0.1:{port}/all/v1",
            "model": "good",
            "prompts": ["Say hello."],
            "concurrency": [2],
            "requests": 6,
            "warmup_requests": 0,
            "max_tokens": 4,
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
            **params,
        }
        args = {name: value for name, value in args.items() if value is not None}
        with patch_module_args(args), pytest.raises(SystemExit):
            load_test.main()
        result = {**json.loads(capsys.readouterr().out), "warnings": list(warnings)}
        warnings.clear()
        return result

    return call


def get(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def only(result: dict[str, Any]) -> dict[str, Any]:
    """The one stage of a result."""
    [stage] = result["report"]["stages"]
    return dict(stage)


def failing(port: int, model: str) -> dict[str, Any]:
    """Parameters for a model that the server does not list."""
    return {"url": f"http://127.0.0.1:{port}/none", "model": model}


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# What is measured


def test_a_load_test_counts_and_changes_nothing(run: Run, port: int) -> None:
    get(port, "/stamps")
    result = run(warmup_requests=3)
    assert (result["changed"], result.get("failed")) == (False, None)
    stage = only(result)
    assert stage["requests"] == {"sent": 6, "completed": 6, "failed": 0}
    assert (stage["tokens"]["output"], stage["tokens"]["per_event"]) == (24, 1.0)
    assert stage["finish_reasons"] == {"length": 6}
    # And one to see that it answers, and the warm-up.
    assert get(port, "/stamps")["requests"] == 6 + 1 + 3


def test_processes_share_the_requests_and_ask_each_prompt_once(run: Run, port: int) -> None:
    stage = only(run(processes=3, concurrency=[4], requests=8, prompts=[f"prompt {number}" for number in range(8)]))
    assert stage["requests"]["completed"] == 8
    assert stage["client"]["processes"] == 3
    asked = sorted(body["messages"][0]["content"] for body in get(port, "/seen")["bodies"][-8:])
    assert asked == [f"prompt {number}" for number in range(8)]


def test_measured_latencies_are_those_that_the_server_stamped(run: Run, slow_port: int) -> None:
    get(slow_port, "/stamps")
    stage = only(run(url=f"http://127.0.0.1:{slow_port}", model=None, concurrency=[4], requests=60, max_tokens=10))
    stamps = get(slow_port, "/stamps")
    for name, allowed_ms in (("ttft", 4.0), ("itl", 1.0), ("e2e", 8.0)):
        really = 1000 * statistics.median(stamps[name][1:])
        # On a machine that other tests keep busy: no better than the server, and not much worse.
        assert really - 1.0 <= stage["latency_ms"][name]["p50"] <= really + allowed_ms


def test_an_open_loop_keeps_its_rate_and_spends_its_requests(run: Run, slow_port: int) -> None:
    result = run(url=f"http://127.0.0.1:{slow_port}", concurrency=None, rate=[100], arrival="constant", requests=100)
    stage = only(result)
    assert stage["client"]["sent_per_second"] == pytest.approx(100, rel=0.05)
    assert stage["requests"]["completed"] == 100


def test_an_open_loop_counts_the_wait_that_a_stalled_server_makes(run: Run, port: int) -> None:
    # One at a time, each 100 requests/s apart, but each answer takes longer: the later ones were due long before.
    with serving("--ttft", "0.05") as (_process, slow):
        result = run(
            url=f"http://127.0.0.1:{slow}",
            concurrency=None,
            rate=[100],
            arrival="constant",
            requests=20,
            max_in_flight=1,
        )
    latency = only(result)["latency_ms"]["ttft"]
    # 20 answers of 50 ms one after the other, 10 ms of which pass until the next one is due.
    assert latency["max"] > 19 * 40
    assert latency["p50"] > 300
    assert only(result)["client"]["kept_schedule"] is False


def test_a_duration_ends_the_stage(run: Run) -> None:
    stage = only(run(requests=None, duration_seconds=2, concurrency=[1]))
    assert 1.9 < stage["wall_seconds"] < 2.6
    assert stage["requests"]["failed"] == 0


def test_each_level_is_a_stage_with_prompts_of_its_own(run: Run, port: int) -> None:
    result = run(concurrency=[1, 3], requests=4, prompts=[f"p{number}" for number in range(8)])
    assert [stage["name"] for stage in result["report"]["stages"]] == ["1 concurrent", "3 concurrent"]
    asked = [body["messages"][0]["content"] for body in get(port, "/seen")["bodies"][-8:]]
    assert sorted(asked) == [f"p{number}" for number in range(8)]


@pytest.mark.parametrize("api", ["chat", "completions", "embeddings"])
@pytest.mark.parametrize("stream", [True, False])
def test_every_api_with_and_without_streaming(run: Run, api: str, stream: bool) -> None:
    stage = only(run(api=api, stream=stream))
    assert stage["requests"]["completed"] == 6
    streamed = stream and api != "embeddings"
    assert set(stage["latency_ms"]) == ({"ttft", "tpot", "itl", "e2e"} if streamed else {"e2e"})
    assert stage["tokens"]["output"] == (0 if api == "embeddings" else 24)


def test_a_conversation_goes_on_with_the_answers(run: Run, port: int, tmp_path: Path) -> None:
    dataset = tmp_path / "d.jsonl"
    dataset.write_text(json.dumps({"messages": [{"role": "user", "content": said} for said in ("one", "two")]}))
    result = run(prompts=None, dataset=str(dataset), turns=2, requests=1, concurrency=[1])
    assert only(result)["requests"]["sent"] == 2
    assert get(port, "/seen")["bodies"][-1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": " word word word word"},
        {"role": "user", "content": "two"},
    ]


def test_made_up_prompts_have_the_length_that_the_server_counts(run: Run) -> None:
    stage = only(run(prompts=None, synthetic={"input_tokens": 200}, requests=10))
    assert stage["tokens"]["input"] / 10 == pytest.approx(200, rel=0.02)


def test_the_request_is_as_configured(run: Run, port: int) -> None:
    run(ignore_eos=True, extra_body={"temperature": 0}, endpoint_headers={"X-Team": "search"}, host_header="llm.test")
    seen = get(port, "/seen")
    assert seen["bodies"][-1]["ignore_eos"] is True
    assert seen["bodies"][-1]["temperature"] == 0
    assert "Host: llm.test" in seen["headers"]
    assert "X-Team: search" in seen["headers"]


def test_the_server_is_looked_at_meanwhile(run: Run, slow_port: int) -> None:
    stage = only(
        run(url=f"http://127.0.0.1:{slow_port}", model=None, requests=20, max_tokens=20, metrics_interval_seconds=0.1)
    )
    assert stage["server"]["running"]["max"] >= 1
    assert stage["server"]["generation_tokens_per_second"] > 0
    assert abs(stage["server"]["ttft_outside_server_ms"]) < 5


def test_several_tokens_in_an_event_and_other_line_ends_are_understood(run: Run) -> None:
    several = run(model="multi", max_tokens=16)
    assert only(several)["tokens"]["per_event"] == 4
    assert any("4 tokens into an event" in warning for warning in several["warnings"])
    assert only(run(model="crlf"))["tokens"]["output"] == 24


def test_an_empty_first_event_is_not_the_first_token(run: Run, slow_port: int) -> None:
    stage = only(run(url=f"http://127.0.0.1:{slow_port}/all/", model="late-role"))
    assert stage["latency_ms"]["ttft"]["p50"] > 19


def test_tokens_that_the_server_does_not_count_are_unknown(run: Run) -> None:
    result = run(model="no-usage")
    assert only(result)["output_tokens_per_second"] is None
    assert any("set tokenizer" in warning for warning in result["warnings"])


def test_a_missing_tokenizer_library_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    result = run(tokenizer=str(tmp_path))
    assert result["failed"]
    assert "tokenizers" in result["msg"]


# Judgement


def test_a_missed_slo_fails_the_task_and_keeps_the_report(run: Run) -> None:
    result = run(slos={"ttft_p50_ms": 0.0001})
    assert result["failed"]
    assert "ttft_p50_ms is " in result["msg"]
    assert result["report"]["verdict"] == "fail"


def test_without_enforcement_the_verdict_is_only_in_the_result(run: Run) -> None:
    result = run(slos={"ttft_p50_ms": 0.0001}, enforce=False)
    assert not result.get("failed")
    assert result["report"]["verdict"] == "fail"


def test_the_search_for_the_highest_rate_ends_at_its_maximum(run: Run) -> None:
    result = run(concurrency=None, find_max_rate={"start": 20, "maximum": 40}, requests=20, slos={"ttft_p95_ms": 2000})
    assert result["report"]["search"] == {
        "max_rate": 40,
        "limited_by_maximum": True,
        "tried": [{"rate": 20, "passed": True}, {"rate": 40, "passed": True}],
    }


def test_the_search_finds_the_rate_that_one_slow_place_allows(run: Run) -> None:
    # 40 ms each, one at a time: 25 requests/s, whatever is asked for.
    with serving("--ttft", "0.04") as (_process, slow):
        result = run(
            url=f"http://127.0.0.1:{slow}",
            concurrency=None,
            find_max_rate={"start": 12, "maximum": 200, "precision_percent": 30},
            arrival="constant",
            requests=25,
            max_in_flight=1,
            max_tokens=1,
            slos={"ttft_p95_ms": 2000},
        )
    assert 12 <= result["report"]["search"]["max_rate"] <= 28


def test_a_baseline_of_the_same_server_passes_and_of_a_faster_one_fails(
    run: Run, slow_port: int, tmp_path: Path
) -> None:
    load = {"concurrency": [4], "requests": None, "duration_seconds": 1.5, "max_tokens": 8, "model": "good"}
    slow = f"http://127.0.0.1:{slow_port}"
    run(url=slow, report_dir=str(tmp_path), report_name="slow", report_formats=["json"], **load)
    same = run(url=slow, baseline=str(tmp_path / "slow.json"), tolerance_percent=40, **load)
    assert not same.get("failed"), same["msg"]
    with serving("--ttft", "0.06", "--itl", "0.005") as (_process, slower):
        result = run(
            url=f"http://127.0.0.1:{slower}", baseline=str(tmp_path / "slow.json"), tolerance_percent=40, **load
        )
    assert result["failed"]
    assert "ttft_p50_ms went from " in result["msg"]


# Check mode, files, secrets


def test_check_mode_sends_nothing_and_says_what_it_would(run: Run, port: int, tmp_path: Path) -> None:
    get(port, "/stamps")
    before = get(port, "/seen")
    result = run(check=True, concurrency=[1, 8], requests=50, report_dir=str(tmp_path / "reports"))
    assert result["changed"] is False
    assert result["plan"]["requests"] == 100
    assert [stage["concurrency"] for stage in result["plan"]["stages"]] == [1, 8]
    assert "nothing was sent" in result["msg"]
    assert get(port, "/seen") == before
    assert get(port, "/stamps")["requests"] == 0
    assert not (tmp_path / "reports").exists()


def test_check_mode_refuses_what_a_run_would(run: Run) -> None:
    assert "ttft_p96_ms is not known" in run(check=True, slos={"ttft_p96_ms": 1})["msg"]


def test_the_report_is_written_in_every_format_and_keeps_its_schema(run: Run, tmp_path: Path) -> None:
    result = run(report_dir=str(tmp_path / "a" / "b"), report_name="nightly")
    assert [Path(path).name for path in result["report_files"]] == [
        "nightly.json",
        "nightly.html",
        "nightly.md",
        "nightly.xml",
    ]
    schema = json.loads((checkout.ROOT / "docs" / "load-test-report.schema.json").read_text())
    jsonschema.validate(json.loads(Path(result["report_files"][0]).read_text()), schema)
    jsonschema.validate(result["report"], schema)
    assert Path(result["report_files"][1]).read_text().startswith("<!DOCTYPE html>")


def test_the_history_is_kept_plotted_and_pruned_but_nothing_else_is_touched(run: Run, tmp_path: Path) -> None:
    history = tmp_path / "load-test-history"
    history.mkdir()
    (history / "0-notes.json").write_text('{"mine": true}')
    (history / "notes.txt").write_text("mine")
    for number in range(4):
        run(report_dir=str(tmp_path), history=2)
        newest = max(history.glob("2*.json"))
        newest.rename(history / f"2000010{number}T000000Z.json")
    assert sorted(path.name for path in history.iterdir()) == [
        "0-notes.json",
        "20000102T000000Z.json",
        "20000103T000000Z.json",
        "notes.txt",
    ]
    assert "From run to run" in (tmp_path / "load-test.html").read_text()


def test_a_full_disk_does_not_cost_the_result(run: Run, tmp_path: Path) -> None:
    document = json.loads(json.dumps(run()["report"]))
    for part in document["stages"]:
        part["slices"] = {"seconds": 1, "parts": []}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = tmp_path / "load-test.json"
    old.write_text("of yesterday")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(LoadError, match=r"could not be written .* What was measured is in this task's result"):
            _load_test.write_reports(document, str(tmp_path), ["json"], 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["load-test.json"]
    assert old.read_text() == "of yesterday"


def test_a_report_directory_that_cannot_be_is_found_out_before_the_load(run: Run, port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    get(port, "/stamps")
    result = run(report_dir=str(tmp_path / "file" / "reports"))
    assert "No report can be written to report_dir" in result["msg"]
    assert get(port, "/stamps")["requests"] == 0


def test_secrets_reach_the_server_and_nobody_else(run: Run, port: int, tmp_path: Path) -> None:
    result = run(
        endpoint_api_key="sk-verysecret",
        endpoint_headers={"X-Token": "alsosecret"},
        report_dir=str(tmp_path),
        **failing(port, "cut@3"),
    )
    assert "Authorization: Bearer sk-verysecret" in get(port, "/seen")["headers"]
    texts = [json.dumps(result), *(path.read_text() for path in tmp_path.rglob("*") if path.is_file())]
    assert len(texts) >= 5
    assert not [text for text in texts if "verysecret" in text or "alsosecret" in text]


# By name


def test_an_inference_service_is_found_by_name_and_asked_through_its_gateway(run: Run, port: int, api: Any) -> None:
    api.served_groups["serving.kserve.io/v1beta1"] = [
        {"name": "inferenceservices", "kind": "InferenceService", "namespaced": True}
    ]
    api.served_groups["gateway.networking.k8s.io/v1"] = [{"name": "gateways", "kind": "Gateway", "namespaced": True}]
    api.put(
        "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/qwen",
        {
            "kind": "InferenceService",
            "metadata": {"namespace": "models", "name": "qwen"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "url": "http://qwen-models.example.invalid",
            },
        },
    )
    api.put(
        "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/main",
        {
            "kind": "Gateway",
            "metadata": {"namespace": "kserve", "name": "main"},
            "spec": {"listeners": [{"protocol": "HTTP", "port": port}]},
            "status": {"addresses": [{"value": "gw.kserve.svc.cluster.local"}]},
        },
    )
    api.put(
        "/api/v1/namespaces/kserve/services/gw",
        {"kind": "Service", "metadata": {"namespace": "kserve", "name": "gw"}, "spec": {"clusterIP": "127.0.0.1"}},
    )
    cluster = {"host": api.url, "api_key": "token", "url": None, "inference_service": "qwen"}
    result = run(namespace="models", gateway="kserve/main", **cluster)
    assert not result.get("failed"), result["msg"]
    assert result["report"]["target"] == {
        "url": "http://qwen-models.example.invalid",
        "connect_to": f"127.0.0.1:{port}",
    }
    assert "Host: qwen-models.example.invalid" in get(port, "/seen")["headers"]
    assert not api.writes


# Bad input


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"prompts": []}, "prompts is an empty list"),
        ({"prompts": None, "dataset": "/nonexistent.jsonl"}, "dataset /nonexistent.jsonl cannot be read: No such file"),
        ({"slos": {"latency": 1}}, "slos: latency is not known"),
        ({"concurrency": None, "rate": [0]}, "rate must be above 0"),
        ({"concurrency": None, "rate": [1e7]}, "rate must be above 0 and at most 50000"),
        ({"concurrency": [5, 5]}, "5 concurrent is asked for twice"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"idle_timeout_seconds": 0}, "idle_timeout_seconds must be above 0"),
        ({"url": "llm.example.com"}, "must begin with http:// or https://"),
        ({"url": "http://me:secret@llm.example.com"}, "must not hold a user name or password"),
        ({"url": "http://llm.example.com:http"}, "is no URL"),
        ({"connect_to": "10.0.0.1:http"}, "connect_to must be HOST:PORT"),
        ({"endpoint_api_key": "two\r\nlines"}, "endpoint_api_key cannot be an HTTP header"),
        ({"model": "bad"}, "does not serve bad, but good"),
        ({"model": None}, "set model"),
        ({"baseline": "/nonexistent.json"}, "baseline /nonexistent.json cannot be read"),
        ({"concurrency": None, "find_max_rate": {}}, "find_max_rate needs slos"),
        ({"extra_body": {"stream": False}}, "extra_body must not hold stream"),
        (
            {"prompts": None, "synthetic": {"input_tokens": 10, "shared_prefixes": 1, "shared_prefix_tokens": 10}},
            "shared_prefix_tokens must be less than input_tokens",
        ),
        (
            {"endpoint_ca_cert": "/nonexistent.pem", "url": "https://127.0.0.1:1"},
            "endpoint_ca_cert /nonexistent.pem cannot",
        ),
    ],
)
def test_a_mistake_is_one_sentence_before_any_load(run: Run, port: int, params: dict[str, Any], said: str) -> None:
    get(port, "/stamps")
    result = run(**params)
    assert result["failed"]
    assert said in result["msg"]
    assert "Traceback" not in json.dumps(result)
    assert get(port, "/stamps")["requests"] == 0


def test_a_server_that_is_down_is_one_sentence(run: Run) -> None:
    result = run(url=f"http://127.0.0.1:{unused_port()}")
    assert "Nothing listens there; is the model server up" in result["msg"]


def test_a_name_that_nobody_knows_is_one_sentence(run: Run) -> None:
    assert "The host name cannot be resolved" in run(url="http://llm.invalid")["msg"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("unauthorized", "set endpoint_api_key"),
        ("unknown", "The model `unknown` does not exist. No such path or model; check model"),
        ("broken", "EngineCore encountered an issue. The server failed; its log says why"),
        ("html", "'<!DOCTYPE html>"),
        ("garbage", "the server does not speak HTTP/1.1"),
        ("cut", "the connection broke after"),
        ("abort", "a pod that was stopped"),
        ("unfinished", "the stream ended after 4 events without its end"),
        ("error-event", "EngineCore died"),
        ("loris", "no whole answer in 0.4 s"),
        ("silent", "no byte in 0.3 s"),
        ("stall", "no byte in 0.3 s"),
    ],
)
def test_a_server_that_fails_at_once_gets_no_load_and_one_sentence(run: Run, port: int, model: str, said: str) -> None:
    result = run(
        model=model,
        url=f"http://127.0.0.1:{port}/none",
        request_timeout_seconds=0.4 if model == "loris" else 9,
        idle_timeout_seconds=0.3,
    )
    assert result["failed"]
    assert result["msg"].startswith("No load was sent, because the first request to ")
    assert said in result["msg"]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("cut", "truncated"),
        ("abort", "aborted"),
        ("unfinished", "truncated"),
        ("error-event", "error_event"),
        ("html", "not_openai"),
        ("broken", "http_500"),
        ("loris", "timeout"),
        ("silent", "idle_timeout"),
    ],
)
def test_failures_under_load_are_counted_by_class(run: Run, port: int, model: str, kind: str) -> None:
    # Good for the first question and half of the load.
    result = run(
        model=f"{model}@4",
        url=f"http://127.0.0.1:{port}/none",
        request_timeout_seconds=0.6 if model == "loris" else 9,
        idle_timeout_seconds=0.4,
    )
    stage = only(result)
    assert result["failed"]
    assert stage["requests"] == {"sent": 6, "completed": 3, "failed": 3}
    assert stage["errors"] == {kind: 3}
    assert stage["truncated_streams"] == (3 if kind in ("truncated", "aborted") else 0)


def test_a_rate_limit_is_waited_for_as_the_server_asks(run: Run, port: int) -> None:
    get(port, "/stamps")
    begin = time.monotonic()
    result = run(requests=2, concurrency=[1], slos={"error_rate_percent": 100}, **failing(port, "limited"))
    # Each second request is refused: the first question (asked again a second later), and the second of the load.
    assert only(result)["errors"] == {"rate_limited": 1}
    assert not result.get("failed"), result["msg"]
    assert time.monotonic() - begin > 1.9


def test_a_server_with_an_unknown_certificate_is_one_sentence_and_a_known_one_works(run: Run, tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path)
    pair = authority.issue("server", user="server", hosts=("llm.test", "127.0.0.1"))
    both = tmp_path / "both.pem"
    both.write_text(pair.key.read_text() + pair.certificate.read_text())
    with serving("--cert", str(both)) as (_process, port):
        target = {"url": "https://llm.test/", "connect_to": f"127.0.0.1:{port}"}
        assert "check endpoint_ca_cert" in run(**target)["msg"]
        ca_cert = str(authority.pair.certificate)
        assert only(run(endpoint_ca_cert=ca_cert, **target))["requests"]["failed"] == 0
        assert "TLS handshake failed" in run(endpoint_ca_cert=ca_cert, **target | {"url": "https://other.test/"})["msg"]
        assert only(run(endpoint_validate_certs=False, **target))["requests"]["failed"] == 0
        assert "closed by the server" in run(url=f"http://127.0.0.1:{port}")["msg"]


# Tests that end before their time


def test_an_interrupted_test_reports_what_it_has(run: Run, slow_port: int, tmp_path: Path) -> None:
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    result = run(url=f"http://127.0.0.1:{slow_port}", requests=100_000, report_dir=str(tmp_path))
    assert result["failed"]
    assert result["report"]["partial"] == "interrupted by SIGTERM"
    assert only(result)["requests"]["completed"] > 5
    assert json.loads((tmp_path / "load-test.json").read_text())["partial"] == "interrupted by SIGTERM"
    assert not multiprocessing.active_children()


def test_a_server_that_dies_ends_the_test(run: Run) -> None:
    with serving("--ttft", "0.01") as (process, number):
        threading.Timer(2, process.kill).start()
        result = run(url=f"http://127.0.0.1:{number}", requests=100_000, max_consecutive_failures=5)
    assert "requests in a row failed, the last with connection_refused" in result["report"]["partial"]
    assert only(result)["requests"]["completed"] > 5
    assert only(result)["errors"]["connection_refused"] >= 4


def test_a_killed_client_process_ends_the_test_with_the_results_of_the_others(run: Run, slow_port: int) -> None:
    def kill_one() -> None:
        [*_others, last] = multiprocessing.active_children()
        last.kill()

    threading.Timer(2, kill_one).start()
    result = run(url=f"http://127.0.0.1:{slow_port}", requests=100_000, processes=2)
    assert result["report"]["partial"] == "a process of the client was killed (out of memory?)"
    assert only(result)["requests"]["completed"] >= 1


def test_a_test_that_takes_too_long_is_partial(run: Run, slow_port: int) -> None:
    result = run(url=f"http://127.0.0.1:{slow_port}", requests=100_000, max_seconds=0.7)
    assert result["report"]["partial"] == "max_seconds was reached"
    assert 0.3 < only(result)["wall_seconds"] < 1.5

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a validation: schema, verdict, formats, and the page for people who have ten seconds."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _validation_html as html
from ansible_collections.llmstack.serving.plugins.module_utils import _validation_report as report
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import Health, Outcome, Recorder
from ansible_collections.llmstack.serving.plugins.module_utils._load_report import report as load_report
from ansible_collections.llmstack.serving.plugins.module_utils._load_report import stage
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import Stage
from ansible_collections.llmstack.serving.plugins.module_utils._load_slo import slos
from ansible_collections.llmstack.serving.plugins.module_utils._validation import Finding
from tools import checkout

SCHEMA = json.loads((checkout.ROOT / "docs" / "validation-report.schema.json").read_text())
ENDPOINT = {
    "service": "chat",
    "model": "chat",
    "url": "http://chat.example.com",
    "gateway": "http://10.0.0.1",
    "host": "chat.example.com",
    "path": "/v1/chat/completions",
    "request_path": "/reports/chat-request.json",
}


def finding(check: str, status: str, category: str = "pods", subject: str = "chat") -> Finding:
    return Finding(check, category, subject, status, f'{check} is "<{status}>"', ("seen | so",), "Mend it.", 0.25)


def load_test() -> dict[str, Any]:
    def measured(level: int) -> dict[str, Any]:
        recorder = Recorder(0.0, {})
        for number in range(20):
            begin = number / 10
            recorder.add(Outcome(begin, begin, begin + 0.6, begin + 0.1, begin + 0.5, [0.1] * 4, 5, 7, 5, -1, "stop"))
        samples = [
            (moment, {"running": 4.0, "waiting": moment, "kv_cache_percent": 10.0}) for moment in (0.0, 1.0, 2.0)
        ]
        return stage(Stage(concurrency=level), recorder, [Health(0.2)], samples, slos({}, False))

    workload = dict.fromkeys(("prompts", "max_tokens", "turns"), 1) | {"model": "chat"}
    return load_report(
        "load",
        "2026-11-27T12:00:00+00:00",
        "2026-11-27T12:00:05+00:00",
        {"url": "http://chat.example.com", "connect_to": "10.0.0.1:80"},
        workload,
        [measured(1), measured(4)],
        None,
        None,
        "",
        [],
    )


def document(*statuses: str, **changes: Any) -> dict[str, Any]:
    values = {
        "name": "eu-west",
        "started": "2026-11-27T12:00:00+00:00",
        "finished": "2026-11-27T12:00:02+00:00",
        "seconds": 2.0,
        "endpoints": [ENDPOINT],
        "findings": [finding(f"check{number}", status) for number, status in enumerate(statuses)],
        "load_tests": {},
        "fail_on": "fail",
        "required": [],
        **changes,
    }
    return report.report(**values)


@pytest.mark.parametrize("load_tests", [{}, {"chat": load_test()}], ids=["without", "with"])
def test_the_report_keeps_its_published_schema(load_tests: dict[str, Any]) -> None:
    found = document("pass", "warn", "fail", "skip", load_tests=load_tests)
    jsonschema.validate(json.loads(report.to_json(found)), SCHEMA)


@pytest.mark.parametrize(
    ("statuses", "fail_on", "verdict"),
    [
        (("pass", "skip"), "fail", "pass"),
        (("pass", "warn"), "fail", "pass"),
        (("pass", "warn"), "warn", "fail"),
        (("pass", "fail"), "fail", "fail"),
        (("pass", "fail"), "never", "pass"),
        ((), "fail", "pass"),
    ],
)
def test_the_verdict_is_what_fail_on_makes_of_the_findings(
    statuses: tuple[str, ...], fail_on: str, verdict: str
) -> None:
    assert document(*statuses, fail_on=fail_on)["verdict"] == verdict


def test_what_is_required_must_pass_and_not_be_skipped() -> None:
    findings = [finding("pods", "pass"), finding("monitoring", "skip", "monitoring")]
    assert document(findings=findings)["verdict"] == "pass"
    found = document(findings=findings, required=["pods", "monitoring", "alerts"])
    assert found["verdict"] == "fail"
    assert found["failures"] == [
        'Monitoring is active: this is required, but it was skipped. monitoring is "<skip>"',
        "Alerts are silent: this is required, but it was skipped. Nothing was looked at.",
    ]


def test_the_headline_says_the_outcome() -> None:
    assert report.headline(document("pass", "pass", "skip")) == "2 pass, 1 skip."
    assert report.headline(document("fail", "fail")) == 'chat, Pods run: check0 is "<fail>" (1 more in the report.)'


def test_the_lines_for_the_terminal_end_with_endpoint_command_and_report() -> None:
    lines = report.lines(document("pass", "fail"), "/reports/eu-west.json", written=True)
    assert lines[0:3] == [
        "Model:    chat",
        "Endpoint: http://chat.example.com (reached at http://10.0.0.1)",
        "Try it:   curl -sS http://10.0.0.1/v1/chat/completions -H 'Host: chat.example.com' "
        "-H 'Content-Type: application/json' -d @/reports/chat-request.json",
    ]
    assert "fail  chat: Pods run: check1 is '<fail>'" in lines
    assert lines[-1] == "Report:   /reports/eu-west.json"
    assert all(json.dumps(line) == f'"{line}"' for line in lines), "Ansible prints JSON: nothing may need escaping"


def test_where_nothing_is_served_there_is_no_command() -> None:
    lines = report.lines(document("pass", endpoints=[]), "/r.json", written=False)
    assert lines[0] == "Nothing is served yet."
    assert lines[-1] == "Report:   /r.json (not written in check mode)"


def test_markdown_has_a_row_for_each_check() -> None:
    text = report.to_markdown(document("pass", "fail", load_tests={"chat": load_test()}))
    assert '| fail | Pods run | chat | check1 is "<fail>" | Mend it. |' in text
    assert "## Load test of chat: pass" in text


def test_junit_counts_failures_and_skips() -> None:
    [suite] = ElementTree.fromstring(report.to_junit(document("pass", "warn", "fail", "skip")))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "1")
    [failure] = suite.iter("failure")
    assert failure.get("message") == 'check2 is "<fail>"'
    [strict] = ElementTree.fromstring(report.to_junit(document("warn", fail_on="warn")))
    assert strict.get("failures") == "1"


def test_the_page_needs_nothing_but_itself_and_shows_every_check() -> None:
    found = document("pass", "warn", "fail", "skip", load_tests={"chat": load_test()})
    page = html.to_html(found, [document("pass"), document("fail")], {"chat": load_test()})
    assert not re.search(r"<script|<link|<img|src=|@import|url\(", page)
    assert "<fail>" not in page and "&lt;fail&gt;" in page
    assert page.count("<details") == 4
    assert page.count("<details open") == 2, "what needs someone is open"
    for title in ("How latencies are distributed", "Time per output token against load", "Throughput against latency"):
        assert title in page
    assert "Inside the server" in page
    assert "From run to run" in page


def test_a_tile_shows_the_worst_of_its_point() -> None:
    findings = [finding("a", "pass"), finding("b", "warn"), finding("c", "skip", "alerts")]
    found = document(findings=findings)
    assert (report.overall(found, "pods"), report.overall(found, "alerts"), report.overall(found, "drain")) == (
        "warn",
        "skip",
        "",
    )

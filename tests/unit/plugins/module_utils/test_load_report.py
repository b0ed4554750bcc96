# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import html.parser
import json
import re
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _load_report as report
from ansible_collections.llmstack.serving.plugins.module_utils._load_html import to_html
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import Health, Outcome, Recorder
from ansible_collections.llmstack.serving.plugins.module_utils._load_plot import Series, line_chart
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import Stage
from ansible_collections.llmstack.serving.plugins.module_utils._load_slo import slos
from tools import checkout

SCHEMA = json.loads((checkout.ROOT / "docs" / "load-test-report.schema.json").read_text())
WORKLOAD = {
    "api": "chat",
    "model": "<qwen>",
    "stream": True,
    "prompts": "list of 3, abc",
    "max_tokens": 100,
    "ignore_eos": False,
    "turns": 1,
    "think_seconds": 0.0,
    "extra_body": "{}",
    "seed": 0,
}
SAMPLES = [
    (moment, {"running": 4.0, "waiting": moment, "kv_cache_percent": 10 * moment, "preemptions": 0.0})
    for moment in (0.0, 1.0, 2.0)
]


def stage(plan: Stage, ttft: float = 0.1, failures: int = 0, **objectives: float) -> dict[str, Any]:
    recorder = Recorder(0.0, {"ttft": 0.2})
    for number in range(20):
        error = "truncated" if number < failures else ""
        start = number / 10
        recorder.add(
            Outcome(
                start,
                start,
                start + ttft + 0.5,
                start + ttft,
                start + ttft + 0.4,
                [0.1] * 4,
                5,
                7,
                5,
                2,
                "stop",
                error,
                "cut <b>",
            )
        )
    return report.stage(plan, recorder, [Health(0.2)], SAMPLES, slos(objectives, True))


def document(stages: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    values = {
        "name": "nightly",
        "started": "2026-11-25T01:00:00+00:00",
        "finished": "2026-11-25T01:05:00+00:00",
        "target": {"url": "http://llm.example.com", "connect_to": "203.0.113.7:80"},
        "workload": WORKLOAD,
        "stages": [stage(Stage(concurrency=4), ttft_p95_ms=500)] if stages is None else stages,
        "search": None,
        "baseline": None,
        "partial": "",
        "warnings": [],
        **changes,
    }
    return report.report(**values)


REGRESSION = {
    "stage": "4 concurrent",
    "measure": "ttft_p95_ms",
    "baseline": 100.0,
    "current": 130.0,
    "change_percent": 30.0,
    "interval_percent": [20.0, 40.0],
    "verdict": "regression",
}
EVERY_KIND = {
    "pass": document(),
    "slo": document([stage(Stage(concurrency=4), ttft_p95_ms=50)]),
    "errors": document([stage(Stage(concurrency=4), failures=3)]),
    "dead": document([stage(Stage(concurrency=4), failures=20)]),
    "empty": document([], partial="interrupted by SIGTERM"),
    "ramp": document([stage(Stage(concurrency=level), ttft=level / 100) for level in (1, 2, 4, 8)]),
    "search": document(
        [stage(Stage(rate=rate), ttft=rate / 100, ttft_p95_ms=60) for rate in (4.0, 8.0)],
        search={
            "max_rate": 4.0,
            "limited_by_maximum": False,
            "tried": [{"rate": 4.0, "passed": True}, {"rate": 8.0, "passed": False}],
        },
    ),
    "hopeless": document(
        [stage(Stage(rate=4.0), ttft_p95_ms=1)],
        search={"max_rate": None, "limited_by_maximum": False, "tried": [{"rate": 4.0, "passed": False}]},
    ),
    "regression": document(baseline=[REGRESSION]),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_report_keeps_its_published_schema(kind: str) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(json.loads(report.to_json(EVERY_KIND[kind])))
    validator.validate(report.summary(EVERY_KIND[kind]))


@pytest.mark.parametrize(
    ("kind", "verdict", "said"),
    [
        ("pass", "pass", "4 concurrent: 8 requests/s, 40 output tokens/s, TTFT p95 100 ms, E2E p95 600 ms."),
        ("slo", "fail", "4 concurrent: ttft_p95_ms is 100, at most 50 is wanted."),
        ("errors", "fail", "4 concurrent: error_rate_percent is 15, at most 0 is wanted."),
        ("dead", "fail", "4 concurrent: no request was answered. Most often (20): truncated: the stream ended"),
        ("empty", "fail", "Nothing was measured."),
        ("search", "pass", "The SLOs hold up to 4 requests/s."),
        ("hopeless", "fail", "No rate was found at which the SLOs hold; at 4 requests/s: ttft_p95_ms is 100"),
        ("regression", "fail", "ttft_p95_ms went from 100 to 130 (+30 %, 99 % interval +20 to +40 %)"),
    ],
)
def test_the_headline_says_the_outcome(kind: str, verdict: str, said: str) -> None:
    assert EVERY_KIND[kind]["verdict"] == verdict
    assert said in report.headline(EVERY_KIND[kind])


def test_an_interrupted_test_is_marked_and_fails() -> None:
    made = document(partial="interrupted by SIGTERM")
    assert (made["verdict"], made["partial"]) == ("fail", "interrupted by SIGTERM")
    assert "**Partial**: interrupted by SIGTERM" in report.to_markdown(made)
    assert "Partial: interrupted by SIGTERM" in to_html(made)
    assert 'message="interrupted by SIGTERM"' in report.to_junit(made)


def test_the_json_is_readable_but_for_the_histograms() -> None:
    text = report.to_json(EVERY_KIND["ramp"])
    assert json.loads(text) == EVERY_KIND["ramp"]
    assert len(text.splitlines()) < 800


def test_a_client_that_was_the_limit_is_a_warning() -> None:
    recorder = Recorder(0.0, {})
    recorder.add(Outcome(0.0, 0.0, 1.0, 0.5, 0.9, [0.1], 2, 3, 2))
    part = report.stage(Stage(concurrency=1), recorder, [Health(0.99)], [], [])
    [warning] = document([part])["warnings"]
    assert warning.startswith("1 concurrent: the client was the limit (a process of it used 99 % of a core)")


def test_uncounted_tokens_and_several_tokens_per_event_are_warnings() -> None:
    recorder = Recorder(0.0, {})
    recorder.add(Outcome(0.0, 0.0, 1.0, 0.5, 0.9, [0.1], 2, -1, -1))
    recorder.add(Outcome(0.0, 0.0, 1.0, 0.5, 0.9, [0.1], 2, 5, 8))
    warnings = document([report.stage(Stage(concurrency=1), recorder, [Health()], [], [])])["warnings"]
    assert "did not count the tokens of 1 answers" in warnings[0]
    assert "put 2 tokens into an event" in warnings[1]


def test_markdown_has_a_table_of_stages_and_slos() -> None:
    text = report.to_markdown(EVERY_KIND["errors"])
    assert "| 4 concurrent | 20 | 3 |" in text
    assert "| 4 concurrent | error_rate_percent | ≤ 0 | 15 | fail |" in text
    assert "cut <b>" in text


def test_junit_counts_what_failed() -> None:
    suites = ElementTree.fromstring(report.to_junit(EVERY_KIND["slo"]).encode())
    assert (suites.get("tests"), suites.get("failures")) == ("5", "1")
    [failure] = suites.iter("failure")
    assert failure.get("message") == "ttft_p95_ms is 100, at most 50 is wanted"
    searched = ElementTree.fromstring(report.to_junit(EVERY_KIND["search"]).encode())
    assert searched.get("failures") == "0"


class Page(html.parser.HTMLParser):
    """What a browser would load or run, and whether the tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "data", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_page_needs_nothing_but_itself(kind: str) -> None:
    text = to_html(EVERY_KIND[kind])
    page = Page(text)
    assert page.open == []
    assert page.references == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    # Names and messages come from outside.
    assert "&lt;qwen&gt;" in text
    assert "<b>" not in text


def test_the_page_plots_distribution_load_throughput_time_and_trend() -> None:
    ramp = EVERY_KIND["ramp"]
    text = to_html(ramp, history=[report.summary(ramp)])
    titles = re.findall(r"<h3>(.*?)</h3>", text)
    assert titles == [
        "How latencies are distributed (8 concurrent)",
        "Time to first token against load",
        "Time per output token against load",
        "Throughput against latency",
        "Requests over time (8 concurrent)",
        "Latency over time (8 concurrent)",
        "Inside the server (8 concurrent)",
        "From run to run",
    ]
    assert text.count("<svg") == len(titles)
    assert "<title>p95: 80 at 8</title>" in text


def test_a_chart_places_its_points_by_their_values() -> None:
    chart = line_chart([Series("a", [(0, 0), (5, 10), (10, 20)])], "x", "y")
    [points] = re.findall(r'points="(.*?)"', chart)
    (left, bottom), middle, (right, top) = (tuple(map(float, point.split(","))) for point in points.split())
    assert middle == pytest.approx(((left + right) / 2, (top + bottom) / 2))
    assert left < right
    assert top < bottom


@pytest.mark.parametrize("points", [[(0.0, 0.0)], [(1.0, 5.0)], [(3.0, 1e-9), (3.0, 1e9)]])
def test_a_chart_of_hardly_anything_is_still_a_chart(points: list[tuple[float, float]]) -> None:
    for log_x in (False, True):
        chart = line_chart([Series("a", points)], "x", "y", log_x)
        assert ElementTree.fromstring(chart) is not None
        assert "nan" not in chart


def test_no_points_are_no_chart() -> None:
    assert line_chart([Series("a", [])], "x", "y") == ""

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a load test as a document (docs/load-test-report.schema.json), as Markdown and as JUnit. Pure. PRIVATE to the collection.

The HTML file is made by _load_html.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from ansible_collections.llmstack.serving.plugins.module_utils import _load_metrics as metrics
from ansible_collections.llmstack.serving.plugins.module_utils import _load_server as server
from ansible_collections.llmstack.serving.plugins.module_utils import _load_slo as slo
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import explained
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import Stage

KIND = "LoadTestReport"
SCHEMA_VERSION = 1
LATENCY_NAMES = {
    "ttft": "Time to first token",
    "tpot": "Time per output token",
    "itl": "Inter-token latency",
    "e2e": "End to end",
}


def stage(
    plan: Stage,
    recorder: metrics.Recorder,
    health: list[metrics.Health],
    samples: list[tuple[float, dict[str, float]]],
    objectives: list[slo.Slo],
) -> dict[str, Any]:
    """The report of one stage."""
    found = {"name": plan.name, "load": plan.to_dict(), **metrics.numbers(recorder)}
    found["client"] = metrics.client(health, recorder, plan.rate)
    found["server"] = server.summary(samples, recorder.latency("ttft").mean or None)
    found["slos"] = slo.judged(objectives, found)
    return found


def passed(stage: dict[str, Any]) -> bool:
    """Whether a stage answered at all, kept every objective and, with a rate, was really given that rate."""
    answered = stage["requests"]["completed"] > 0 and stage["client"]["kept_schedule"] is not False
    return answered and all(line["verdict"] == "pass" for line in stage["slos"])


def report(
    name: str,
    started: str,
    finished: str,
    target: dict[str, Any],
    workload: dict[str, Any],
    stages: list[dict[str, Any]],
    search: dict[str, Any] | None,
    baseline: list[dict[str, Any]] | None,
    partial: str,
    warnings: list[str],
) -> dict[str, Any]:
    """The whole document. `partial` says why the test ended before its time ("" if it did not)."""
    failures = []
    if not stages:
        failures.append("Nothing was measured.")
    for part in stages:
        if not part["requests"]["completed"]:
            failures.append(f"{part['name']}: no request was answered. {_worst_error(part)}".strip())
        elif search is None:
            failures += [f"{part['name']}: {line['reason']}." for line in part["slos"] if line["verdict"] == "fail"]
            if part["requests"]["failed"] and any(line["verdict"] == "fail" for line in part["slos"]):
                failures[-1] += f" {_worst_error(part)}"
    if search is not None and search["max_rate"] is None and stages:
        first = min(stages, key=lambda part: part["load"]["rate"])
        reasons = "; ".join(line["reason"] for line in first["slos"] if line["verdict"] == "fail")
        failures.append(f"No rate was found at which the SLOs hold; at {first['name']}: {reasons}.")
    for line in baseline or []:
        if line["verdict"] == "regression":
            low, high = line["interval_percent"]
            failures.append(
                f"{line['stage']}: {line['measure']} went from {line['baseline']:g} to {line['current']:g} "
                f"({line['change_percent']:+g} %, 99 % interval {low:+g} to {high:+g} %)."
            )
    if partial:
        failures.append(f"The test did not run to its end: {partial}.")
    notes = list(warnings)
    for part in stages:
        notes += _notes(part)
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "started": started,
        "finished": finished,
        "target": target,
        "workload": workload,
        "stages": stages,
        "search": search,
        "baseline": baseline,
        "verdict": "fail" if failures else "pass",
        "failures": failures,
        "warnings": list(dict.fromkeys(notes)),
        "partial": partial or None,
    }


def _worst_error(stage: dict[str, Any]) -> str:
    if not stage["errors"]:
        return ""
    kind = max(stage["errors"], key=lambda name: stage["errors"][name])
    return f"Most often ({stage['errors'][kind]}): {explained(kind)} [{stage['error_messages'].get(kind, '')}]"


def _notes(stage: dict[str, Any]) -> list[str]:
    notes = []
    name, health = stage["name"], stage["client"]
    if health["was_the_limit"]:
        notes.append(
            f"{name}: the client was the limit ({'; '.join(health['reasons'])}), so the server may be better than this "
            "says. Use more processes, or another machine."
        )
    rate, sent = stage["load"]["rate"], health["sent_per_second"]
    if rate and sent and stage["load"]["arrival"] == "constant" and sent < 0.95 * rate:
        notes.append(f"{name}: only {sent:g} requests/s could be sent.")
    if stage["tokens"]["requests_without_count"]:
        notes.append(
            f"{name}: the server did not count the tokens of {stage['tokens']['requests_without_count']} answers; set "
            "tokenizer to have them counted here."
        )
    per_event = stage["tokens"]["per_event"]
    if per_event is not None and per_event > 1.05:
        notes.append(
            f"{name}: the engine put {per_event:g} tokens into an event on average, so ITL is between events; TPOT is "
            "per token."
        )
    return notes


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """The report without the histograms: what a task's result holds."""
    stages = [{key: value for key, value in part.items() if key != "slices"} for part in document["stages"]]
    for part in stages:
        if part["server"]:
            part["server"] = {key: value for key, value in part["server"].items() if key != "timeline"}
    return {**document, "stages": stages}


def headline(document: dict[str, Any]) -> str:
    """The outcome in one sentence."""
    if document["failures"]:
        more = len(document["failures"]) - 1
        return document["failures"][0] + (f" ({more} more in the report.)" if more else "")
    if document["search"]:
        return f"The SLOs hold up to {document['search']['max_rate']:g} requests/s."
    best = max(document["stages"], key=lambda part: part["requests_per_second"])
    latency = best["latency_ms"]
    measured = [f"{name.upper()} p95 {latency[name]['p95']:g} ms" for name in ("ttft", "e2e") if name in latency]
    tokens = best["output_tokens_per_second"]
    rates = [f"{best['requests_per_second']:g} requests/s", *([f"{tokens:g} output tokens/s"] if tokens else [])]
    return f"{best['name']}: {', '.join([*rates, *measured])}."


def to_json(document: dict[str, Any]) -> str:
    """The document, to be read by people but for the histograms."""
    stages = [{**part, "slices": None} if "slices" in part else part for part in document["stages"]]
    text = json.dumps({**document, "stages": stages}, indent=1)
    for part in document["stages"]:
        if "slices" in part:
            text = text.replace('"slices": null', f'"slices": {json.dumps(part["slices"], separators=(",", ":"))}', 1)
    return text + "\n"


def to_markdown(document: dict[str, Any]) -> str:
    """A page for an issue, a merge request or a wiki."""
    lines = [
        f"# Load test {document['name']}: {document['verdict']}",
        "",
        headline(document),
        "",
        f"{document['workload']['model']} at {document['target']['url']}, {document['started']} to {document['finished']}.",
        "",
    ]
    if document["partial"]:
        lines += [f"**Partial**: {document['partial']}.", ""]
    lines += _markdown_table(STAGE_COLUMNS, [stage_row(part) for part in document["stages"]])
    slos = [(part["name"], line) for part in document["stages"] for line in part["slos"]]
    lines += ["", "## SLOs", ""]
    lines += _markdown_table(
        ("Stage", "SLO", "Limit", "Measured", "Verdict"),
        [[name, line["name"], bound(line), shown(line["value"]), line["verdict"]] for name, line in slos],
    )
    errors = [
        [part["name"], str(count), explained(kind), part["error_messages"].get(kind, "")]
        for part in document["stages"]
        for kind, count in part["errors"].items()
    ]
    if errors:
        lines += ["", "## Errors", "", *_markdown_table(("Stage", "Number", "Class", "First message"), errors)]
    if document["baseline"]:
        lines += ["", "## Against the baseline", ""]
        lines += _markdown_table(BASELINE_COLUMNS, [baseline_row(line) for line in document["baseline"]])
    for title, key in (("Failures", "failures"), ("Warnings", "warnings")):
        if document[key]:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in document[key])]
    return "\n".join(lines) + "\n"


STAGE_COLUMNS = (
    "Stage",
    "Requests",
    "Failed",
    "Requests/s",
    "Output tokens/s",
    "TTFT p50 / p95 / p99 ms",
    "TPOT p50 / p95 / p99 ms",
    "E2E p50 / p95 / p99 ms",
)
BASELINE_COLUMNS = ("Stage", "Measure", "Baseline", "Now", "Change", "99 % interval", "Verdict")


def stage_row(stage: dict[str, Any]) -> list[str]:
    """A stage as a row of STAGE_COLUMNS."""

    def latency(name: str) -> str:
        numbers = stage["latency_ms"].get(name)
        return " / ".join(f"{numbers[key]:g}" for key in ("p50", "p95", "p99")) if numbers else "-"

    return [
        stage["name"],
        str(stage["requests"]["sent"]),
        str(stage["requests"]["failed"]),
        shown(stage["requests_per_second"]),
        shown(stage["output_tokens_per_second"]),
        *(latency(name) for name in ("ttft", "tpot", "e2e")),
    ]


def baseline_row(line: dict[str, Any]) -> list[str]:
    """A comparison as a row of BASELINE_COLUMNS."""
    interval = line["interval_percent"]
    return [
        line["stage"],
        line["measure"],
        f"{line['baseline']:g}",
        f"{line['current']:g}",
        f"{line['change_percent']:+g} %",
        f"{interval[0]:+g} to {interval[1]:+g} %" if interval else "-",
        line["verdict"],
    ]


def bound(line: dict[str, Any]) -> str:
    """The limit of an SLO with its direction."""
    return f"{'≤' if line['upper'] else '≥'} {line['limit']:g}"


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _markdown_table(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    def row(cells: Any) -> str:
        return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    return [row(header), row(["---"] * len(header)), *map(row, rows)]


def to_junit(document: dict[str, Any]) -> str:
    """JUnit XML: a test case for each SLO of each stage, each comparison with the baseline, and for having run to the end."""
    suites = ElementTree.Element("testsuites", name="load test")
    suite = ElementTree.SubElement(suites, "testsuite", name=document["name"], timestamp=document["started"])
    count = failed = 0

    def case(group: str, name: str, failure: str, seconds: float = 0.0) -> None:
        nonlocal count, failed
        count += 1
        element = ElementTree.SubElement(suite, "testcase", classname=group, name=name, time=f"{seconds:g}")
        if failure:
            failed += 1
            ElementTree.SubElement(element, "failure", message=failure)

    for part in document["stages"]:
        answered = part["requests"]["completed"] > 0
        case(
            part["name"],
            "answers",
            "" if answered else f"no request was answered. {_worst_error(part)}",
            part["wall_seconds"],
        )
        for line in part["slos"]:
            # A rate above the highest one that passes is meant to fail.
            good = line["verdict"] == "pass" or document["search"] is not None
            case(part["name"], line["name"], "" if good else line["reason"])
    if document["search"] is not None:
        found = document["search"]["max_rate"]
        case("search", "max_rate", "" if found is not None else "no rate was found at which the SLOs hold")
    for line in document["baseline"] or []:
        case(
            line["stage"],
            f"{line['measure']} against the baseline",
            "" if line["verdict"] != "regression" else f"{line['change_percent']:+g} %",
        )
    case("load test", "ran to its end", document["partial"] or "")
    for element in (suites, suite):
        element.set("tests", str(count))
        element.set("failures", str(failed))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"

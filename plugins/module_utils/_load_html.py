# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a load test as one HTML file that needs nothing else: no scripts, fonts, images or network. Pure. PRIVATE to the collection."""

from __future__ import annotations

from html import escape
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _load_report as report
from ansible_collections.llmstack.serving.plugins.module_utils._load_histogram import Histogram, merged, middle
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import LATENCIES, latency_slices
from ansible_collections.llmstack.serving.plugins.module_utils._load_plot import Series, line_chart

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #5b6570; --line: #d9dee3; --back: #fff; --card: #f6f8fa;
  --good: #1a7f37; --bad: #c62828; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ec; --soft: #9aa4ae; --line: #39414a; --back: #14181c;
  --card: #1d2329; --good: #4cc26a; --bad: #ff6b6b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } h3 { font-size: 1rem; margin: 0; }
.soft { color: var(--soft); } .pass, .improvement { color: var(--good); font-weight: 600; }
.fail, .regression { color: var(--bad); font-weight: 600; }
.headline { font-size: 1.1rem; border-left: 4px solid currentColor; padding: .4rem .8rem; background: var(--card); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.wide, th { white-space: normal; vertical-align: top; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); padding: .8rem; border-radius: 6px; break-inside: avoid; }
figcaption { color: var(--soft); font-size: .85rem; } svg { width: 100%; height: auto; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; } svg .tick { font-size: 11px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
"""


def to_html(document: dict[str, Any], history: list[dict[str, Any]] | None = None) -> str:
    """The page. `history` are earlier reports of the same test, oldest first, for the trend."""
    verdict = document["verdict"]
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test {escape(document['name'])}: {verdict}</title><style>{STYLE}</style></head><body>",
        f'<h1>Load test {escape(document["name"])}: <span class="{verdict}">{verdict}</span></h1>',
        f'<p class="soft">{escape(document["workload"]["model"])} at {escape(document["target"]["url"])}, '
        f"{escape(document['started'])} to {escape(document['finished'])}</p>",
        f'<p class="headline {verdict}">{escape(report.headline(document))}</p>',
    ]
    if document["partial"]:
        parts.append(f'<p class="fail">Partial: {escape(document["partial"])}.</p>')
    parts.append(_list("Failures", document["failures"]) + _list("Warnings", document["warnings"]))
    parts += ["<h2>Results</h2>", table(report.STAGE_COLUMNS, [report.stage_row(part) for part in document["stages"]])]
    parts += [
        "<h2>SLOs</h2>",
        _slo_table(document),
        '<h2>Plots</h2><div class="plots">',
        *plots(document, history or []),
        "</div>",
    ]
    if document["baseline"]:
        parts += [
            "<h2>Against the baseline</h2>",
            table(report.BASELINE_COLUMNS, [report.baseline_row(line) for line in document["baseline"]]),
        ]
    parts += [
        _errors(document),
        "<h2>Client and server</h2>",
        _health_table(document),
        _workload(document),
        "</body></html>\n",
    ]
    return "".join(parts)


def plots(document: dict[str, Any], history: list[dict[str, Any]]) -> list[str]:
    """The figures of a report; `history` are earlier ones of the same test, oldest first."""
    stages = document["stages"]
    found = []
    if stages:
        last = stages[-1]
        found.append(
            figure(
                f"How latencies are distributed ({last['name']})",
                "The share of requests (or gaps) that took at most so long.",
                line_chart(
                    [Series(report.LATENCY_NAMES[name], _cumulative(last, name)) for name in LATENCIES],
                    "milliseconds",
                    "% within",
                    log_x=True,
                ),
            )
        )
    if len(stages) > 1:
        by_rate = stages[0]["load"]["rate"] is not None
        key, label = ("rate", "requests/s asked for") if by_rate else ("concurrency", "concurrent requests")
        ordered = sorted(stages, key=lambda part: part["load"][key])
        for name, title in (("ttft", "Time to first token"), ("tpot", "Time per output token")):
            lines = [
                Series(
                    statistic,
                    [
                        (part["load"][key], part["latency_ms"][name][statistic])
                        for part in ordered
                        if name in part["latency_ms"]
                    ],
                )
                for statistic in ("p50", "p95", "p99")
            ]
            found.append(
                figure(
                    f"{title} against load",
                    "Where a line bends up, requests begin to wait.",
                    line_chart(lines, label, "milliseconds"),
                )
            )
        found.append(
            figure(
                "Throughput against latency",
                "Each point is a stage: further right serves more, further up makes users wait longer.",
                line_chart(
                    [
                        Series(
                            f"E2E {statistic}",
                            [
                                (_throughput(part), part["latency_ms"]["e2e"][statistic])
                                for part in ordered
                                if "e2e" in part["latency_ms"]
                            ],
                            [part["name"] for part in ordered if "e2e" in part["latency_ms"]],
                        )
                        for statistic in ("p50", "p95")
                    ],
                    "output tokens/s" if stages[0]["output_tokens_per_second"] else "requests/s",
                    "milliseconds",
                ),
            )
        )
    for part in stages if len(stages) <= 3 else stages[-1:]:
        found += _timeline(part)
    if history:
        found.append(_trend([*history, document]))
    return [each for each in found if each]


def _timeline(stage: dict[str, Any]) -> list[str]:
    width = stage["slices"]["seconds"]
    requests, latencies = [], []
    for part in stage["slices"]["parts"]:
        moment = round((part["number"] + 0.5) * width, 3)
        requests.append((moment, part["requests"] / width))
        name = "ttft" if "ttft" in part["latency"] else "e2e"
        if name in part["latency"]:
            latencies.append((moment, round(1000 * Histogram.from_dict(part["latency"][name]).quantile(0.95), 3)))
    found = [
        figure(
            f"Requests over time ({stage['name']})",
            "Answers per second, by when they ended.",
            line_chart([Series("requests/s", requests)], "seconds", "requests/s"),
        ),
        figure(
            f"Latency over time ({stage['name']})",
            "p95 of the time to first token (end to end, where nothing is streamed).",
            line_chart([Series("p95", latencies)], "seconds", "milliseconds"),
        ),
    ]
    if stage["server"]:
        samples = stage["server"]["timeline"]
        lines = [
            Series(label, [(sample["seconds"], sample[key]) for sample in samples if key in sample])
            for key, label in (("running", "running"), ("waiting", "waiting"), ("kv_cache_percent", "KV cache %"))
        ]
        found.append(
            figure(
                f"Inside the server ({stage['name']})",
                "Requests that run and wait in the engine, and how full its KV cache is, from its /metrics.",
                line_chart(lines, "seconds", "requests, %"),
            )
        )
    return found


def _trend(runs: list[dict[str, Any]]) -> str:
    names = [part["name"] for part in runs[-1]["stages"]]
    lines = []
    for name in names[:3]:
        points: list[tuple[float, float]] = []
        labels = []
        for number, run in enumerate(runs, 1):
            part = next((stage for stage in run["stages"] if stage["name"] == name), None)
            latency = part["latency_ms"].get("ttft", part["latency_ms"].get("e2e")) if part else None
            if latency:
                points.append((number, latency["p95"]))
                labels.append(run["started"])
        lines.append(Series(f"p95, {name}", points, labels))
    return figure(
        "From run to run",
        "p95 of the time to first token (end to end, where nothing is streamed) in this and earlier runs.",
        line_chart(lines, "run", "milliseconds"),
    )


def _cumulative(stage: dict[str, Any], name: str) -> list[tuple[float, float]]:
    histogram = merged(latency_slices(stage, name))
    numbers = sorted(histogram.buckets)
    points = []
    seen = 0
    for number in numbers:
        seen += histogram.buckets[number]
        points.append((round(1000 * middle(number), 3), round(100 * seen / histogram.count, 2)))
    # A line on a screen needs no more.
    step = max(1, len(points) // 200)
    return points[::step] + (points[-1:] if points and (len(points) - 1) % step else [])


def _throughput(stage: dict[str, Any]) -> float:
    return stage["output_tokens_per_second"] or stage["requests_per_second"]


def figure(title: str, caption: str, svg: str) -> str:
    if not svg:
        return ""
    return f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    if text in ("pass", "fail", "regression", "improvement"):
        return f'<td class="{text}">{text}</td>'
    return f'<td class="wide">{escape(text)}</td>' if len(text) > 60 else f"<td>{escape(text)}</td>"


def _slo_table(document: dict[str, Any]) -> str:
    rows = [
        [part["name"], line["name"], report.bound(line), report.shown(line["value"]), line["verdict"]]
        for part in document["stages"]
        for line in part["slos"]
    ]
    return table(("Stage", "SLO", "Limit", "Measured", "Verdict"), rows)


def _errors(document: dict[str, Any]) -> str:
    rows = [
        [part["name"], str(number), report.explained(kind), part["error_messages"].get(kind, "")]
        for part in document["stages"]
        for kind, number in part["errors"].items()
    ]
    return "<h2>Errors</h2>" + table(("Stage", "Number", "Class", "First message"), rows) if rows else ""


def _health_table(document: dict[str, Any]) -> str:
    rows = []
    for part in document["stages"]:
        health, engine = part["client"], part["server"] or {}
        waiting, cache = engine.get("waiting") or {}, engine.get("kv_cache_percent") or {}
        rows.append(
            [
                part["name"],
                f"{health['busy_percent']:g} %",
                f"{health['loop_lag_ms']['p99']:g} ms",
                "yes" if health["was_the_limit"] else "no",
                report.shown(waiting.get("max")),
                f"{report.shown(cache.get('max'))} %" if cache else "-",
                report.shown(engine.get("preemptions")),
                report.shown(engine.get("ttft_mean_ms")),
            ]
        )
    header = (
        "Stage",
        "Client's core busy",
        "Event loop lag p99",
        "Client was the limit",
        "Most waiting",
        "KV cache at most",
    )
    return table((*header, "Preemptions", "Server's own mean TTFT ms"), rows)


def _workload(document: dict[str, Any]) -> str:
    rows = [[key.replace("_", " "), str(value)] for key, value in document["workload"].items() if value is not None]
    return "<h2>Workload</h2>" + table(("Setting", "Value"), rows)


def _list(title: str, texts: list[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h2>{title}</h2><ul>{items}</ul>" if texts else ""

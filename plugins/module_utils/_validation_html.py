# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a validation as one HTML file that needs nothing else: no scripts, fonts, images or network. Pure. PRIVATE to the collection."""

from __future__ import annotations

from html import escape
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _load_html as html
from ansible_collections.llmstack.serving.plugins.module_utils import _load_report as load_report
from ansible_collections.llmstack.serving.plugins.module_utils import _validation_report as report
from ansible_collections.llmstack.serving.plugins.module_utils._load_plot import Series, line_chart
from ansible_collections.llmstack.serving.plugins.module_utils._validation import CATEGORIES, STATUSES

_STYLE = """
:root { --even: #8a6100; } @media (prefers-color-scheme: dark) { :root { --even: #e3b341; } }
.warn { color: var(--even); font-weight: 600; } .skip { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { background: var(--card); border-left: 4px solid currentColor; border-radius: 4px; padding: .5rem .7rem; }
.tile b { display: block; color: var(--text); font-weight: 600; }
details { border-bottom: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; display: grid; grid-template-columns: 3.5rem 15rem 1fr; gap: .8rem; align-items: baseline; }
summary::-webkit-details-marker { display: none; } summary { list-style: none; }
details p, details ul { margin: .3rem 0 .3rem 19.1rem; } .todo { border-left: 3px solid var(--even); padding-left: .6rem; }
@media (max-width: 45rem) { summary { grid-template-columns: 3.5rem 1fr; } details p, details ul { margin-left: .5rem; } }
@media print { details > * { display: block; } summary { display: grid; } }
"""


def to_html(document: dict[str, Any], history: list[dict[str, Any]], load_tests: dict[str, dict[str, Any]]) -> str:
    """The page. `history` are earlier reports, oldest first; `load_tests` the whole reports by the name of the service."""
    verdict = document["verdict"]
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Validation of {escape(report.title(document))}: {verdict}</title><style>{html.STYLE}{_STYLE}</style></head><body>",
        f'<h1>Validation of {escape(report.title(document))}: <span class="{verdict}">{verdict}</span></h1>',
        f'<p class="soft">{escape(document["started"])} to {escape(document["finished"])}, {document["seconds"]:g} s</p>',
        f'<p class="headline {verdict}">{escape(report.headline(document))}</p>',
        _tiles(document),
        _endpoints(document),
        *(_subject(document, subject) for subject in dict.fromkeys(check["subject"] for check in document["checks"])),
        *(_load_test(service, found, history) for service, found in load_tests.items()),
        _trends([*history, document]) if history else "",
        "</body></html>\n",
    ]
    return "".join(parts)


def _tiles(document: dict[str, Any]) -> str:
    """What a manager looks at: each point with its worst status."""
    tiles = []
    for category, title in CATEGORIES.items():
        if status := report.overall(document, category):
            shown = "skipped" if status == "skip" else status
            tiles.append(f'<div class="tile {status}"><b>{escape(title)}</b>{shown}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _endpoints(document: dict[str, Any]) -> str:
    rows = [[entry["model"], entry["url"] or "none yet", entry["gateway"] or "-"] for entry in document["endpoints"]]
    return "<h2>Endpoints</h2>" + html.table(("Model", "Endpoint", "Reached at"), rows) if rows else ""


def _subject(document: dict[str, Any], subject: str) -> str:
    checks = [check for check in document["checks"] if check["subject"] == subject]
    title = "The cluster" if subject == "cluster" else subject
    return f"<h2>{escape(title)}</h2>" + "".join(map(_check, checks))


def _check(check: dict[str, Any]) -> str:
    evidence = "".join(f"<li>{escape(line)}</li>" for line in check["evidence"])
    todo = f'<p class="todo">{escape(check["remediation"])}</p>' if check["remediation"] else ""
    opened = " open" if check["status"] in ("fail", "warn") else ""
    return (
        f'<details{opened}><summary><span class="{check["status"]}">{check["status"]}</span>'
        f"<span>{escape(CATEGORIES[check['category']])}</span><span>{escape(check['message'])}</span></summary>"
        f'{todo}<ul class="soft">{evidence}<li>{escape(check["id"])}, {check["seconds"]:g} s</li></ul></details>'
    )


def _load_test(service: str, found: dict[str, Any], history: list[dict[str, Any]]) -> str:
    earlier = [run["load_tests"][service] for run in history if service in run["load_tests"]]
    rows = [load_report.stage_row(part) for part in found["stages"]]
    return (
        f'<h2>Load test of {escape(service)}: <span class="{found["verdict"]}">{found["verdict"]}</span></h2>'
        f"<p>{escape(load_report.headline(found))}</p>"
        + html.table(load_report.STAGE_COLUMNS, rows)
        + f'<div class="plots">{"".join(html.plots(found, earlier))}</div>'
    )


def _trends(runs: list[dict[str, Any]]) -> str:
    labels = [run["started"] for run in runs]
    statuses = [
        Series(status, [(number, run["counts"][status]) for number, run in enumerate(runs, 1)], labels)
        for status in STATUSES
    ]
    seconds = [Series("seconds", [(number, run["seconds"]) for number, run in enumerate(runs, 1)], labels)]
    return (
        '<h2>From run to run</h2><div class="plots">'
        + html.figure("Checks by status", "In this and earlier runs.", line_chart(statuses, "run", "checks"))
        + html.figure("How long it took", "The checks, without the load test.", line_chart(seconds, "run", "seconds"))
        + "</div>"
    )

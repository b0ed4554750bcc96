# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a validation as a document (docs/validation-report.schema.json), as Markdown and as JUnit. Pure. PRIVATE to the collection.

The HTML file is made by _validation_html.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from ansible_collections.llmstack.serving.plugins.module_utils import _load_report
from ansible_collections.llmstack.serving.plugins.module_utils._validation import CATEGORIES, STATUSES, Finding

KIND = "ValidationReport"
SCHEMA_VERSION = 1
# What ends a run with an error, by the value of fail_on.
_BAD = {"fail": {"fail"}, "warn": {"fail", "warn"}, "never": set[str]()}
FAIL_ON = tuple(_BAD)


def report(
    name: str,
    started: str,
    finished: str,
    seconds: float,
    endpoints: list[dict[str, Any]],
    findings: list[Finding],
    load_tests: dict[str, dict[str, Any]],
    fail_on: str,
    required: list[str],
) -> dict[str, Any]:
    """The whole document. `required` are categories in which something must pass: there, nothing but skipped is a failure.
    `load_tests` are the load tests' reports by the name of the service."""
    checks = [finding.to_dict() for finding in findings]
    failures = [
        f"{check['subject']}, {CATEGORIES[check['category']]}: {check['message']}"
        for check in checks
        if check["status"] in _BAD[fail_on]
    ]
    if fail_on != "never":
        seen = {check["category"] for check in checks if check["status"] != "skip"}
        failures += [
            f"{CATEGORIES[category]}: this is required, but it was skipped. {_why_skipped(checks, category)}"
            for category in required
            if category not in seen
        ]
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "started": started,
        "finished": finished,
        "seconds": round(seconds, 3),
        "verdict": "fail" if failures else "pass",
        "fail_on": fail_on,
        "required": required,
        "failures": failures,
        "counts": {status: sum(check["status"] == status for check in checks) for status in STATUSES},
        "endpoints": endpoints,
        "checks": checks,
        "load_tests": {service: _load_report.summary(document) for service, document in load_tests.items()},
    }


def _why_skipped(checks: list[dict[str, Any]], category: str) -> str:
    return next((check["message"] for check in checks if check["category"] == category), "Nothing was looked at.")


def headline(document: dict[str, Any]) -> str:
    """The outcome in one sentence."""
    counts = document["counts"]
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    if document["failures"]:
        more = len(document["failures"]) - 1
        return document["failures"][0] + (f" ({more} more in the report.)" if more else "")
    return f"{told}."


def title(document: dict[str, Any]) -> str:
    """What was validated: the role names its reports CLUSTER-validation."""
    return str(document["name"]).removesuffix("-validation")


def overall(document: dict[str, Any], category: str) -> str:
    """The worst status of a category: fail, warn, pass, skip; "" if it has no check."""
    found = {check["status"] for check in document["checks"] if check["category"] == category}
    return next((status for status in ("fail", "warn", "pass", "skip") if status in found), "")


def lines(document: dict[str, Any], path: str, written: bool) -> list[str]:
    """For the terminal: how to reach the models, with a command that can be copied from the screen, what was found, and
    where the report is. Ansible prints it as JSON, so there are neither double quotes nor backslashes in it."""
    shown = []
    for entry in document["endpoints"]:
        if entry["gateway"]:
            insecure = "-k " if entry["gateway"].startswith("https:") else ""
            shown += [
                f"Model:    {entry['model']}",
                f"Endpoint: {entry['url']} (reached at {entry['gateway']})",
                f"Try it:   curl -sS {insecure}{entry['gateway']}{entry['path']} -H 'Host: {entry['host']}' "
                f"-H 'Content-Type: application/json' -d @{entry['request_path']}",
            ]
    if not shown:
        shown.append("Nothing is served yet.")
    for check in document["checks"]:
        title = CATEGORIES[check["category"]]
        shown.append(f"{check['status']:<5} {check['subject']}: {title}: {check['message']}")
        if check["remediation"]:
            shown.append(f"      -> {check['remediation']}")
    shown.append(f"Report:   {path}{'' if written else ' (not written in check mode)'}")
    return [line.replace('"', "'").replace("\\", "/") for line in shown]


def to_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def to_markdown(document: dict[str, Any]) -> str:
    """A page for an issue, a merge request or a wiki."""
    lines = [
        f"# Validation of {title(document)}: {document['verdict']}",
        "",
        headline(document),
        "",
        f"{document['started']} to {document['finished']}.",
        "",
    ]
    for entry in document["endpoints"]:
        lines += [f"- {entry['model']}: {entry['url']}"]
    lines += ["", "| Status | What | Of | Found | Do |", "| --- | --- | --- | --- | --- |"]
    for check in document["checks"]:
        cells = (
            check["status"],
            CATEGORIES[check["category"]],
            check["subject"],
            check["message"],
            check["remediation"],
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |")
    for service, load_test in document["load_tests"].items():
        lines += ["", f"## Load test of {service}: {load_test['verdict']}", "", _load_report.headline(load_test)]
    return "\n".join(lines) + "\n"


def to_junit(document: dict[str, Any]) -> str:
    """JUnit XML: a test case for each check. A warning is a pass with its message as output, unless it ends the run."""
    suites = ElementTree.Element("testsuites", name="validation")
    suite = ElementTree.SubElement(suites, "testsuite", name=document["name"], timestamp=document["started"])
    bad = _BAD[document["fail_on"]] | {"fail"}
    for check in document["checks"]:
        case = ElementTree.SubElement(
            suite, "testcase", classname=check["subject"], name=check["id"], time=f"{check['seconds']:g}"
        )
        text = "\n".join((*check["evidence"], check["remediation"]))
        if check["status"] in bad:
            ElementTree.SubElement(case, "failure", message=check["message"]).text = text
        elif check["status"] == "skip":
            ElementTree.SubElement(case, "skipped", message=check["message"])
        else:
            ElementTree.SubElement(case, "system-out").text = f"{check['message']}\n{text}"
    counts = {
        "tests": len(document["checks"]),
        "failures": sum(check["status"] in bad for check in document["checks"]),
        "skipped": document["counts"]["skip"],
    }
    for element in (suites, suite):
        for key, value in counts.items():
            element.set(key, str(value))
        element.set("time", f"{document['seconds']:g}")
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"

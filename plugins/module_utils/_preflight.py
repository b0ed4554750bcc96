# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of the preflight: what they are, and how a list of them becomes a verdict, a table and a sentence.
PRIVATE to the collection.

Nothing here counts as passed that was not looked at: that is "skip".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import (
    FAIL,
    PASS,
    SKIP,
    WARN,
    must_fail,
    worst,
)

# The order of the table: what everything else stands on comes first.
CATEGORIES = (
    "control-node",
    "variables",
    "cluster",
    "permissions",
    "conflicts",
    "crds",
    "gpus",
    "scheduling",
    "model",
    "disk",
    "images",
    "storage",
    "quota",
)
# The worst first.
_ORDER = (FAIL, WARN, SKIP, PASS)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `subject` says of what, where there are several: a component, a service, an image."""

    id: str
    category: str
    status: str
    message: str
    remediation: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    subject: str = ""

    def result(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "category": self.category,
            "subject": self.subject,
            "status": self.status,
            "message": self.message,
            "remediation": self.remediation,
            "evidence": self.evidence,
        }


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """By category, and within one the worst first."""
    return sorted(findings, key=lambda found: (CATEGORIES.index(found.category), _ORDER.index(found.status)))


def summary(findings: Sequence[Finding]) -> dict[str, Any]:
    counts = {status: sum(found.status == status for found in findings) for status in _ORDER}
    return {
        "status": worst(found.status for found in findings),
        "passed": counts[PASS],
        "warned": counts[WARN],
        "failed": counts[FAIL],
        "skipped": counts[SKIP],
    }


def serious(findings: Iterable[Finding], fail_on: str) -> list[str]:
    """The sentences for which the preflight fails: what is wrong, and the way out."""
    return [sentence(found) for found in findings if must_fail(found.status, fail_on)]


def sentence(found: Finding) -> str:
    return f"{found.message.rstrip('.')}. {found.remediation}".strip()


def table(findings: Sequence[Finding]) -> list[str]:
    """Lines for a person: what did not pass with its way out; what passed is one line for each category."""
    rows: list[tuple[str, str, str]] = []
    for category in CATEGORIES:
        members = [found for found in findings if found.category == category]
        good = [found for found in members if found.status == PASS]
        rows += [(found.status.upper(), category, sentence(found)) for found in members if found.status != PASS]
        if good:
            named = dict.fromkeys(found.subject or found.id for found in good)
            rows.append((PASS.upper(), category, ", ".join(named)))
    # Ansible prints lines as JSON: a quotation mark would come out escaped.
    return [f"{status:4} | {category:12} | {text}".replace('"', "'") for status, category, text in rows]


# The control node


def of_helm(binary: str, output: str | None, needed: str) -> Finding:
    """output is what `helm version --short` said, None if it could not be started."""
    found = re.search(r"\d+\.\d+\.\d+", output or "")
    install = f"Install Helm {needed} or newer, or set llmstack_helm_binary."
    if not found:
        return Finding("helm", "control-node", FAIL, f"Helm was not found as '{binary}'", install)
    evidence = {"version": found[0], "needed": needed}
    if parts(found[0]) < parts(needed):
        return Finding("helm", "control-node", FAIL, f"Helm {found[0]} at {binary} is too old", install, evidence)
    return Finding("helm", "control-node", PASS, f"Helm {found[0]} is there.", evidence=evidence)


def of_packages(python: str, installed: Mapping[str, str], needed: Mapping[str, str]) -> list[Finding]:
    """installed and needed: versions by name in lower case; needed ones are the lowest that will do."""
    findings = []
    for name, least in needed.items():
        remediation = f"Install {name}>={least} for {python}."
        have = installed.get(name.lower())
        evidence = {"version": have, "needed": least}
        if have is None:
            status, message = FAIL, f"The Python package {name} is missing"
        elif parts(have) < parts(least):
            status, message = FAIL, f"The Python package {name} {have} is too old"
        else:
            status, message, remediation = PASS, f"{name} {have} is there.", ""
        findings.append(Finding("python-package", "control-node", status, message, remediation, evidence, name))
    return findings


def of_variables(unknown: Sequence[Mapping[str, str]]) -> list[Finding]:
    """unknown: variables with a prefix of this collection that nothing reads: name, and the nearest right one or ""."""
    findings = []
    for entry in unknown:
        if entry["nearest"]:
            message = f"The variable {entry['name']} does not exist: did you mean {entry['nearest']}?"
            findings.append(Finding("variable", "variables", FAIL, message, subject=entry["name"]))
        else:
            message = f"The variable {entry['name']} has the prefix of a role of this collection, but no role reads it."
            findings.append(Finding("variable", "variables", WARN, message, subject=entry["name"]))
    return findings or [Finding("variable", "variables", PASS, "Every variable is one that a role reads.")]


def parts(text: str) -> tuple[int, ...]:
    """The numbers of a version: "v1.35.2-gke.100" -> (1, 35, 2). What follows a third number does not count."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queries of the role monitoring, as Prometheus gets them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tools import checkout

ROLE = checkout.ROOT / "roles" / "monitoring"


@dataclass(frozen=True)
class Query:
    """One query of a panel or rule; `tested` has a value also while all is well: an alert without its limit."""

    name: str
    expression: str
    tested: str


def rule_groups() -> list[dict[str, Any]]:
    """The groups of the PrometheusRule, with the role's defaults."""
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    text = (ROLE / "templates" / "rules.yml.j2").read_text()
    groups: list[dict[str, Any]] = yaml.safe_load(
        re.sub(r"\[\[ (\w+) \]\]", lambda found: str(defaults[found[1]]), text)
    )
    return groups


def rules() -> list[dict[str, Any]]:
    return [rule for group in rule_groups() for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROLE / "files" / "serving.json").read_text())["panels"]
    return found


def queries() -> list[Query]:
    """Every query there is; Grafana's variables say "all" and "a minute"."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            text = re.sub(r"\$(namespace|inferenceservice)\b", ".*", target["expr"]).replace("$__rate_interval", "1m")
            found.append(Query(f"{panel['title']} {target['refId']}", text, text))
    for rule in rules():
        text = rule["expr"]
        tested = re.sub(r" (?:>|<|==) (?:on \([^)]*\) )?[\d.]+(?=$| and )", "", text) if "alert" in rule else text
        found.append(Query(rule.get("record") or rule["alert"], text, tested))
    return found


def metrics(expression: str) -> set[str]:
    """The names of the metrics in a query."""
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without) \([^)]*\)", " ", expression)
    words = set(re.findall(r"[A-Za-z_:][\w:]*(?![\w:]*\s*\()", text))
    return words - {"and", "or", "unless", "on", "by"}

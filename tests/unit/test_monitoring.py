# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role monitoring asks for exists, and whoever is woken finds what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import images
from sandbox.binaries import PROMETHEUS_VERSION
from tools import checkout, monitoring

HERE = Path(__file__).parent
# Of kube-state-metrics, which kube-prometheus-stack brings along (docs/metrics/workload/deployment-metrics.md there).
KUBE_STATE_METRICS = {"kube_deployment_status_replicas_available", "kube_deployment_spec_replicas"}


def table(name: str) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric in a table."""
    rows = [line.split() for line in (HERE / name).read_text().splitlines() if not line.startswith("#")]
    return {row[0]: (row[1] if row[1:] else "gauge", set(row[2].split(",")) if row[2:] else set()) for row in rows}


def exported(name: str) -> set[str]:
    """The names of the series of each metric in a table."""
    parts = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
    return {metric + part for metric, (kind, _labels) in table(name).items() for part in parts.get(kind, ("",))}


@pytest.mark.parametrize("query", monitoring.queries(), ids=lambda query: query.name)
def test_every_metric_of_a_query_exists(query: monitoring.Query) -> None:
    recorded = {rule["record"] for rule in monitoring.rules() if "record" in rule}
    known = exported("vllm-metrics.txt") | exported("dcgm-metrics.txt") | KUBE_STATE_METRICS | recorded | {"up"}
    asked = monitoring.metrics(query.expression)
    assert asked
    assert asked <= known


@pytest.mark.parametrize("query", monitoring.queries(), ids=lambda query: query.name)
def test_every_label_of_a_query_exists(query: monitoring.Query) -> None:
    """Labels of the metric itself, or those that Prometheus gives every target of the PodMonitor or of DCGM's."""
    everywhere = {"namespace", "pod", "inferenceservice", "job", "le", "gpu", "Hostname", "deployment"}
    known = everywhere.union(*(labels for _kind, labels in table("vllm-metrics.txt").values()))
    used = set(re.findall(r"(\w+)=~?\"", query.expression))
    for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", query.expression):
        used |= {name.strip() for name in names.split(",")}
    assert used <= known


def test_counters_are_asked_for_their_rate_and_histograms_for_a_quantile() -> None:
    kinds = {metric: kind for metric, (kind, _labels) in table("vllm-metrics.txt").items()}
    for query in monitoring.queries():
        for metric in monitoring.metrics(query.expression):
            kind = kinds.get(metric.removesuffix("_bucket"))
            asked = query.expression.partition(metric)[0]
            if kind in ("counter", "histogram"):
                assert asked.endswith("rate("), query
            if kind == "histogram":
                assert asked.startswith("histogram_quantile("), query


def test_the_dashboard_has_the_four_panels_of_the_guide() -> None:
    titles = [panel["title"] for panel in monitoring.panels()]
    assert titles[:4] == ["Tokens per second", "GPU utilization", "Request latency", "Active requests"]
    assert len({panel["id"] for panel in monitoring.panels()}) == len(titles)


def test_every_alert_says_what_happened_and_has_its_section_in_the_docs() -> None:
    alerts = [rule for rule in monitoring.rules() if "alert" in rule]
    sections = re.findall(r"^### (\w+)$", (checkout.ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts]
    for alert in alerts:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"]["summary"] and alert["annotations"]["description"]


def keys(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Paths of the values that a chart is given; what is below resources and the like is Kubernetes' business."""
    found: set[str] = set()
    for key, value in values.items():
        path = f"{prefix}{key}"
        nested = isinstance(value, dict) and key not in ("resources", "storageSpec")
        found |= keys(value, f"{path}.") if nested else {path}
    return found


def test_the_chart_knows_the_values_that_it_is_given() -> None:
    chart = yaml.safe_load((images.CHARTS / "kube-prometheus-stack" / "values.yaml").read_text())
    # Of the same release of the real chart, for parts that the sandbox's has not.
    real = {"alertmanager.alertmanagerSpec.replicas"}
    given = keys(yaml.safe_load((monitoring.ROLE / "vars" / "main.yml").read_text())["__monitoring_values"])
    for inventory in ("local", "dev", "staging", "production"):
        path = checkout.ROOT / "inventories" / inventory / "group_vars" / "clusters.yml"
        given |= keys(yaml.safe_load(path.read_text())["monitoring_values"])
    assert given - real <= keys(chart)


def test_the_stand_in_runs_the_prometheus_that_the_sandbox_builds() -> None:
    chart = yaml.safe_load((images.CHARTS / "kube-prometheus-stack" / "values.yaml").read_text())
    assert chart["prometheus"]["prometheusSpec"]["image"]["tag"] == f"{PROMETHEUS_VERSION}-distroless"

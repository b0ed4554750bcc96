# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A validation from its parameters to its report and files. PRIVATE to the collection."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _load_files,
    _load_report,
    _load_test,
    _validation_html,
    _validation_look,
    _validation_report,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_prompts import PATHS
from ansible_collections.llmstack.serving.plugins.module_utils._validation import CATEGORIES, Finding

FORMATS = ("json", "html", "markdown", "junit")


def run(kube: Kube, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """What the module returns, its files written. Raises LoadError, KubeError."""
    if unknown := sorted(set(params["required"]) - set(CATEGORIES)):
        raise LoadError(f"required holds {', '.join(unknown)}: there is only {', '.join(CATEGORIES)}.")
    for entry in params["known_answers"]:
        try:
            re.compile(entry["pattern"])
        except re.error as error:
            raise LoadError(f"known_answers: {entry['pattern']} is no regular expression: {error}.") from error
    documents = _load_tests(params["load_tests"])
    write = params["report_dir"] and not check_mode
    if write:
        _load_files.check_directory(params["report_dir"])
    begin, started = time.monotonic(), _now()
    eyes = _validation_look.Eyes(kube, _settings(params, documents, check_mode))
    # A cluster that cannot be asked is one sentence, not a report full of it.
    eyes.version()
    services = [_validation_look.Service(eyes, entry) for entry in params["services"]]
    findings = _validation_look.findings(eyes, services, absent_is_fine=check_mode)
    if not services:
        findings.insert(
            0,
            Finding(
                "services",
                "pods",
                "cluster",
                "warn",
                "Nothing is to be served.",
                (),
                "Set llmstack_inference_services in the inventory.",
                0.0,
            ),
        )
    endpoints = [_endpoint(service, params) for service in services]
    document = _validation_report.report(
        params["report_name"],
        started,
        _now(),
        time.monotonic() - begin,
        [{key: value for key, value in entry.items() if key != "request"} for entry in endpoints],
        findings,
        documents,
        params["fail_on"],
        # What a run would have made first could not be looked at.
        [] if check_mode else params["required"],
    )
    path = os.path.join(params["report_dir"], f"{params['report_name']}.json") if params["report_dir"] else ""
    files: list[str] = []
    if write:
        for entry in endpoints:
            if entry["request_path"]:
                _load_files.write_text(entry["request_path"], json.dumps(entry["request"], indent=1) + "\n")
        files = _load_files.write(
            document,
            params["report_dir"],
            _renderers(documents),
            params["report_formats"],
            params["history"],
            _validation_report.to_json,
        )
    lines = _validation_report.lines(document, path, written=bool(write))
    return {"report": document, "report_files": files, "lines": lines, "msg": _validation_report.headline(document)}


def _renderers(documents: dict[str, dict[str, Any]]) -> _load_files.Renderers:
    return {
        "json": (".json", lambda document, earlier: _validation_report.to_json(document)),
        "markdown": (".md", lambda document, earlier: _validation_report.to_markdown(document)),
        "junit": (".xml", lambda document, earlier: _validation_report.to_junit(document)),
        "html": (".html", lambda document, earlier: _validation_html.to_html(document, earlier, documents)),
    }


def _settings(
    params: dict[str, Any], documents: dict[str, dict[str, Any]], check_mode: bool
) -> _validation_look.Settings:
    return _validation_look.Settings(
        namespace=params["namespace"],
        gateway=params["gateway"],
        attempts=params["attempts"],
        timeout_seconds=params["timeout_seconds"],
        prompt=params["prompt"],
        max_tokens=params["max_tokens"],
        known_answers=tuple(params["known_answers"]),
        api_key=params["endpoint_api_key"],
        ca_cert=params["endpoint_ca_cert"],
        component_namespaces=tuple(params["component_namespaces"]),
        tested_versions=params["tested_versions"],
        load_tests={
            entry["service"]: {"report": documents.get(entry["service"]), "problem": entry["problem"]}
            for entry in params["load_tests"]
        },
        no_load_test="Check mode sends no load." if check_mode else "None was made.",
        try_drain=params["try_drain"] and not check_mode,
    )


def _load_tests(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The reports of load tests by the name of the service. Raises LoadError."""
    found = {}
    for entry in entries:
        if not entry["report"]:
            continue
        try:
            document = json.loads(_load_test.read("load_tests", entry["report"]))
        except ValueError as error:
            raise LoadError(f"load_tests: {entry['report']} is not JSON: {error}.") from error
        if not isinstance(document, dict) or document.get("kind") != _load_report.KIND:
            raise LoadError(f"load_tests: {entry['report']} is not the JSON report of a load test.")
        found[entry["service"]] = document
    return found


def _endpoint(service: _validation_look.Service, params: dict[str, Any]) -> dict[str, Any]:
    """How a person reaches a model: its URL, the Gateway as this machine reaches it, and a request to try."""
    target = service.resolved
    request_path = ""
    if params["report_dir"]:
        request_path = os.path.join(params["report_dir"], f"{params['report_name']}-{service.name}-request.json")
    return {
        "service": service.name,
        "model": service.model,
        "url": target.url if target else "",
        "gateway": _address(target.scheme, target.address, target.port) if target else "",
        "host": target.host if target else "",
        "path": (target.path if target else "") + PATHS[service.api],
        "request_path": request_path,
        "request": service.body(params["prompt"], params["max_tokens"]),
    }


def _address(scheme: str, address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}" + ("" if port == {"http": 80, "https": 443}[scheme] else f":{port}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes in the parameters of serving_check: one sentence each. All else: tests/integration/test_validation.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.llmstack.serving.plugins.modules import serving_check

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the module against an API server that is not there; returns its result."""

    def call(**params: Any) -> dict[str, Any]:
        args = {"host": "http://127.0.0.1:1", "api_key": "token", **params}
        with patch_module_args(args), pytest.raises(SystemExit):
            serving_check.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_a_point_that_is_not_known_is_named(run: Run) -> None:
    result = run(required=["pods", "luck"])
    assert result["failed"]
    assert result["msg"].startswith("required holds luck: there is only pods, gpus, model")


def test_a_pattern_that_is_none_is_named(run: Run) -> None:
    result = run(known_answers=[{"prompt": "Capital?", "pattern": "(paris"}])
    assert result["failed"]
    assert "known_answers: (paris is no regular expression" in result["msg"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("not JSON", "is not JSON"),
        ("{}", "is not the JSON report of a load test"),
    ],
)
def test_a_load_test_s_report_that_is_none_is_named(run: Run, tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    result = run(load_tests=[{"service": "chat", "report": str(path)}])
    assert result["failed"]
    assert said in result["msg"]


def test_a_report_directory_that_cannot_be_is_found_out_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(report_dir=str(tmp_path / "file" / "reports"))
    assert result["failed"]
    assert "No report can be written to report_dir" in result["msg"]


def test_a_cluster_that_does_not_answer_is_one_sentence(run: Run) -> None:
    result = run(services=[{"name": "chat"}])
    assert result["failed"]
    assert result["msg"].startswith("the API server's version: ") and "cannot be reached" in result["msg"]
    assert "report" not in result
    assert "Traceback" not in json.dumps(result)

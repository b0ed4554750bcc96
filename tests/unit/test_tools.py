# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The developer's tools: choosing a Python, building .venv, starting the playbook, the audit log, the bench runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench import run as bench

from tools import audit, bootstrap, checkout

PYTHON_SH = checkout.ROOT / "tests" / "tools" / "python.sh"


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def choose(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run python.sh with nothing but folder on PATH."""
    command = ["/bin/sh", str(PYTHON_SH)]
    return subprocess.run(
        command, env={"PATH": str(folder), **environment}, capture_output=True, text=True, check=False
    )


def test_the_python_is_chosen_by_running_it(tmp_path: Path) -> None:
    write_program(tmp_path / "python3.14", "echo 'pyenv: python3.14: command not found'; exit 127")
    write_program(tmp_path / "python3.13", "exit 1")
    write_program(tmp_path / "python3", f'exec "{sys.executable}" "$@"')
    assert choose(tmp_path).stdout.strip() == str(tmp_path / "python3")


def test_the_newest_python_is_preferred(tmp_path: Path) -> None:
    for name in ("python3.11", "python3.12", "python3"):
        write_program(tmp_path / name, f'exec "{sys.executable}" "$@"')
    assert choose(tmp_path).stdout.strip() == str(tmp_path / "python3.12")


def test_a_named_python_is_taken_or_refused(tmp_path: Path) -> None:
    assert choose(tmp_path, PYTHON=sys.executable).stdout.strip() == sys.executable
    refused = choose(tmp_path, PYTHON="/nowhere/python3")
    assert refused.returncode == 1
    assert refused.stderr.startswith("PYTHON=/nowhere/python3 is not a working Python")


def test_no_python_is_one_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    missing = choose(tmp_path)
    assert missing.returncode == 1
    assert not missing.stdout
    assert missing.stderr.count("\n") == 1
    assert "install one" in missing.stderr


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """bootstrap.main() with steps that only note their names (and fail where `fail` says so)."""
    ran: list[str] = []
    monkeypatch.setattr(bootstrap, "STEPS", tmp_path / "steps.json")
    for name in ("make_venv", "install_packages", "fetch_wheel", "unpack_collections"):
        monkeypatch.setattr(bootstrap, name, lambda name=name: ran.append(name))
    return ran


def test_bootstrap_does_every_step_once(steps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.main()
    assert steps == ["make_venv", "install_packages", "fetch_wheel", "unpack_collections"]
    bootstrap.main()
    assert len(steps) == 4
    assert [line[:5] for line in capsys.readouterr().out.splitlines()] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]


def test_bootstrap_goes_on_where_it_was_killed(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bootstrap, "fetch_wheel", killed)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.main()
    bootstrap.main()
    assert steps == ["make_venv", "install_packages", "fetch_wheel", "unpack_collections"]


def test_bootstrap_repeats_what_depends_on_a_changed_lock(
    steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.main()
    changed = tmp_path / "dev.lock"
    changed.write_text("another==1\n")
    monkeypatch.setattr(bootstrap, "PACKAGES", changed)
    bootstrap.main()
    assert steps[4:] == ["install_packages"]


def test_the_bench_runner_tells_results_from_other_output() -> None:
    result = {"bench": "b", "measure": "m", "value": 1.5, "unit": "s", "against": None, "ratio": None}
    assert bench.parse(json.dumps(result)) == result
    assert bench.parse("building ...") is None
    assert bench.parse('{"bench": "b"}') is None
    assert bench.table([result]).splitlines()[1].split() == ["b", "m", "1.5", "s"]
    assert bench.markdown([result]).splitlines()[2] == "| b | m | 1.5 | s |  |  |"


def test_make_help_lists_every_target() -> None:
    makefile = (checkout.ROOT / "Makefile").read_text()
    declared = makefile.partition(".PHONY:")[2].splitlines()[0].split()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-C", str(checkout.ROOT), "--no-print-directory", "help"]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in shown.splitlines()} == set(declared)


def test_an_event_half_written_when_a_test_begins_is_none_of_it(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text('{"auditID": "1"}\n{"objectRef": {}, "half')
    begin_bytes = audit.size_bytes(log)
    with log.open("a") as file:
        file.write('of it": {}}\n{"auditID": "2"}\n{"object": {}')
    assert audit.events_since(log, begin_bytes) == [{"auditID": "2"}]


def test_events_begin_where_the_log_ended_and_anew_when_it_was_rotated(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text('{"auditID": "1"}\n')
    begin_bytes = audit.size_bytes(log)
    assert audit.events_since(log, begin_bytes) == []
    with log.open("a") as file:
        file.write('{"auditID": "2"}\n')
    assert audit.events_since(log, begin_bytes) == [{"auditID": "2"}]
    assert [event["auditID"] for event in audit.events_since(log, 0)] == ["1", "2"]
    log.write_text('{"auditID": "3"}\n')
    assert audit.events_since(log, 10 * begin_bytes) == [{"auditID": "3"}]

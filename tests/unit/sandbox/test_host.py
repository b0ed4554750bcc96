# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sandbox asks of the machine, and its one sentence when the machine does not have it."""

from __future__ import annotations

import ipaddress
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox import __main__ as command_line
from sandbox import host, lifecycle
from sandbox.errors import SandboxError
from sandbox.kube import wait_until
from sandbox.layout import SLOTS, Layout, Ranges, preferred_slot


@pytest.mark.parametrize(("function", "value"), [("system", "Darwin"), ("machine", "aarch64")])
def test_an_unsupported_machine_is_one_sentence(
    function: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, function, lambda: value)
    with pytest.raises(SandboxError, match=rf"^The sandbox needs .*{value}: .*a cluster that you have\.$"):
        lifecycle.up(Layout(tmp_path / ".sandbox"))
    assert not list(tmp_path.iterdir())


def test_missing_packages_without_apt_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda command: None)
    monkeypatch.setattr(host, "NETWORK_PLUGINS", tmp_path)
    with pytest.raises(SandboxError, match=r"needs conntrack, containerd, containernetworking-plugins, iproute2"):
        host.install_packages()


def test_packages_are_named_before_they_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        assert "Installing distribution packages: containernetworking-plugins" in capsys.readouterr().out or commands
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(shutil, "which", lambda command: f"/bin/{command}")
    monkeypatch.setattr(host, "NETWORK_PLUGINS", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    host.install_packages()
    assert [command[:2] for command in commands] == [["apt-get", "update"], ["apt-get", "install"]]


def test_a_slot_whose_addresses_are_routed_elsewhere_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    first = preferred_slot()
    monkeypatch.setattr(host, "_routes", lambda: [Ranges(first).pods])
    assert host.choose_slot() == (first + 1) % SLOTS
    monkeypatch.setattr(host, "_routes", lambda: [ipaddress.IPv4Network("10.0.0.0/8")])
    with pytest.raises(SandboxError, match=r"^All address ranges of the sandbox .* overlap with routes of this host"):
        host.choose_slot()


def test_a_sandbox_that_is_not_up_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "Layout", lambda: Layout(tmp_path / ".sandbox"))
    assert command_line.main(["env"]) == 1
    assert capsys.readouterr().err == "sandbox: The sandbox is not up: run `make site`, or `python -m sandbox up`.\n"
    assert command_line.main(["status"]) == 1
    assert capsys.readouterr().out == "down: nothing runs\n"


def test_status_sees_the_process_of_a_run_that_was_killed_before_it_could_write_anything_down(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ".sandbox")
    assert lifecycle.status(layout).phase == "down"
    program = [sys.executable, "-c", "import time; time.sleep(60)", "sandbox.holder", str(layout.root), "0"]
    orphan = subprocess.Popen(program)
    # Popen returns once the program is replaced, a moment before the kernel shows the new command line.
    words = Path(f"/proc/{orphan.pid}/cmdline")
    wait_until("A new command line", lambda: b"sandbox.holder" in words.read_bytes(), interval_seconds=0.01)
    assert lifecycle.status(layout).phase == "starting"
    assert lifecycle.status(Layout(tmp_path / ".sandbox2")).phase == "down"
    # Its parent reaps it, as init would.
    parent = threading.Thread(target=orphan.wait, daemon=True)
    parent.start()
    lifecycle.down(layout)
    parent.join(10)
    assert orphan.returncode == -signal.SIGKILL


def test_down_removes_what_a_killed_run_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout(tmp_path / ".sandbox")
    layout.logs.mkdir(parents=True)
    (layout.root / "state.json").write_text("{")
    lifecycle.down(layout)
    assert not list(tmp_path.iterdir())
    lifecycle.down(layout)
    assert capsys.readouterr().out == "The sandbox is down.\n" * 2


def test_up_waits_for_another_up_of_the_same_checkout(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ".sandbox")
    with lifecycle._locked(layout):
        program = (
            "from pathlib import Path\nfrom sandbox import lifecycle\nfrom sandbox.layout import Layout\n"
            f"lifecycle.down(Layout(Path({str(layout.root)!r})))\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(host.__file__).parents[1])}
        other = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        assert other.stdout
        assert other.stdout.readline() == "Waiting for another `up` or `down` of this checkout ...\n"
    assert other.stdout.read() == "The sandbox is down.\n"
    assert other.wait(20) == 0

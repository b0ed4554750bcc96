# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make site`, killed with SIGKILL at random moments and started again, always ends well."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tools import checkout

KILLS = 5


def make(folder: Path, target: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.Popen(
        ["make", target],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.long
@pytest.mark.usefixtures("real_node")
def test_make_site_survives_being_killed_anywhere(tmp_path: Path) -> None:
    seed = int(os.environ.get("LLMSTACK_SEED") or time.time_ns() % 10**6)
    source = random.Random(seed)
    print(f"LLMSTACK_SEED={seed}")
    folder = checkout.copy(tmp_path / "checkout")
    prepared = make(folder, "venv")
    assert prepared.communicate()[0] is not None
    assert prepared.returncode == 0
    try:
        for _kill in range(KILLS):
            # From the first second to well after the playbook began: a whole run takes about two minutes.
            moment = source.uniform(1, 100)
            run = make(folder, "site")
            try:
                run.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate()
            again = make(folder, "site")
            output = again.communicate()[0]
            assert again.returncode == 0, f"killed after {moment:.1f} s:\n{output[-6000:]}"
            if source.random() < 0.5:
                make(folder, "down").communicate()
    finally:
        down = make(folder, "down")
        down.communicate()
    assert down.returncode == 0

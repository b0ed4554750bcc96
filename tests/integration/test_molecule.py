# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role alone on the sandbox: converge, idempotence, verify (extensions/molecule)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS = ROOT / ".sandbox" / "endpoints.json"


def test_every_molecule_scenario() -> None:
    if not ENDPOINTS.exists() or not json.loads(ENDPOINTS.read_text())["real_node"]:
        pytest.skip("UNPROVEN: the roles alone; their pods need the sandbox's real node (root on Linux)")
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    command = [str(binaries / "molecule"), "test", "--all"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-20000:]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the sandbox that are built and added only when a test asks for them (`python -m sandbox add PART`)."""

from __future__ import annotations

import os
import subprocess
import sys

from tools import checkout


def add(part: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout.ROOT / "tests")}
    command = [sys.executable, "-m", "sandbox", "add", part]
    done = subprocess.run(command, cwd=checkout.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

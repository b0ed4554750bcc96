# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role alone on the sandbox: converge, idempotence, verify (extensions/molecule)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import checkout

SCENARIOS = sorted(path.parent.name for path in (checkout.ROOT / "extensions/molecule").glob("*/molecule.yml"))
ROLES = [name for name in SCENARIOS if name != "default"]
# Those that need no images beyond the sandbox's own, which would have to be built first.
QUICK = [name for name in ROLES if not (checkout.ROOT / "extensions/molecule" / name / "prepare.yml").exists()]
pytestmark = pytest.mark.usefixtures("stack")


def molecule_test(*scenarios: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # The stack is there: without this the scenario `default` would install it once more.
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "LLMSTACK_MOLECULE_CREATED": "yes"}
    chosen = [f"--scenario-name={name}" for name in scenarios]
    command = [sys.executable, "-m", "molecule", "test", *chosen]
    done = subprocess.run(command, cwd=checkout.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-20000:]


def test_two_roles_alone() -> None:
    """Other ones each time: after a while all have been."""
    seed = int(os.environ.get("LLMSTACK_SEED") or time.time_ns() % 10**6)
    chosen = random.Random(seed).sample(QUICK, 2)
    print(f"LLMSTACK_SEED={seed}: {chosen}")
    molecule_test(*chosen)


@pytest.mark.long
def test_every_role_alone() -> None:
    molecule_test(*ROLES)

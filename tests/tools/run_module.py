# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module of the collection as a user would, and give back what it returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools import checkout


def run_module(
    name: str, args: dict[str, Any], *, check: bool = False, env: dict[str, str] | None = None
) -> dict[str, Any]:
    """The result of an `ansible` ad-hoc call on localhost, with the warnings as texts in `shown`."""
    command = [
        str(Path(sys.executable).with_name("ansible")),
        "localhost",
        "-m",
        name,
        "-a",
        json.dumps(args),
        "--diff",
    ]
    surroundings = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(checkout.ROOT / "playbooks" / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        **(env or {}),
    }
    command += ["--check"] if check else []
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=surroundings, timeout=900)
    shown, arrow, result = done.stdout.partition(" => ")
    if not arrow:
        raise AssertionError(f"{name} gave no result:\n{done.stdout}\n{done.stderr}")
    # A diff is printed after the result.
    parsed: dict[str, Any] = json.JSONDecoder().raw_decode(result)[0]
    return {**parsed, "failed": "FAILED!" in shown, "shown": shown + done.stderr}

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook from a test, and read what it said and what the API server saw."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools import checkout

BIN = Path(sys.executable).parent
MUTATING = {"create", "update", "patch", "delete", "deletecollection"}


def writes(events: list[dict[str, Any]], username: str = "admin") -> list[str]:
    """What a user (admin owns the kubeconfig) changed, as `verb uri`: no dry runs, no questions about permissions.

    Controllers and the kubelet have names of their own and write all the time.
    """
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in events
        if event["verb"] in MUTATING
        and event["user"]["username"] == username
        and "dryRun=All" not in event["requestURI"]
        # A request to a pod or Service through the API server changes nothing in it.
        and "/proxy/" not in event["requestURI"]
        # `create` of a review asks something and stores nothing.
        and not event["requestURI"].startswith(("/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/"))
    ]


def ansible_playbook(
    *arguments: str | Path, folder: Path = checkout.ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs ansible-playbook of .venv in the checkout, or in another one; the caller judges the result."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "K8S_AUTH_"))}
    variables |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(checkout.ROOT / ".cache" / "ansible"), **environment}
    command = [str(BIN / "ansible-playbook"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def recap(output: str) -> dict[str, int]:
    """The counts of PLAY RECAP, summed over hosts."""
    counts: dict[str, int] = {}
    for name, value in re.findall(r"(\w+)=(\d+)", output.rpartition("PLAY RECAP")[2]):
        counts[name] = counts.get(name, 0) + int(value)
    return counts


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks of a run changed something; it must have ended well."""
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    return recap(done.stdout)["changed"]

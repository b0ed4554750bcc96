# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task costs on the sandbox: seconds, memory and requests. For the benches of the Kubernetes modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from tools import audit  # noqa: E402

ENDPOINTS = json.loads((ROOT / ".sandbox" / "endpoints.json").read_text())
KUBECONFIG = ENDPOINTS["kubeconfig"]


def playbook_seconds(tasks: list[dict[str, Any]]) -> float:
    """Wall time of a playbook with these tasks."""
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks or [{"ansible.builtin.meta": "noop"}]}
    collections = f"{ROOT / 'playbooks' / 'collections'}:{Path(os.__file__).parent / 'site-packages'}"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([play], file)
        file.flush()
        begin = time.monotonic()
        command = [str(Path(sys.executable).with_name("ansible-playbook")), file.name]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        seconds = time.monotonic() - begin
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return seconds


def per_task(tasks: list[dict[str, Any]], count: int) -> list[float]:
    """Seconds of each task, repeated so often in a playbook, above a playbook without tasks.

    By turns, and the best of three runs of each: other work on the machine only ever makes it slower.
    """
    repeated: list[list[dict[str, Any]]] = [[], *([task] * count for task in tasks)]
    turns = [[playbook_seconds(each) for each in repeated] for _turn in range(3)]
    empty, *seconds = [min(runs) for runs in zip(*turns, strict=True)]
    return [(each - empty) / count for each in seconds]


def kubernetes_core_task(manifest: dict[str, Any]) -> dict[str, Any]:
    """The same by kubernetes.core, without a wait; as another field manager, so that what each owns stays."""
    options = {
        "kubeconfig": KUBECONFIG,
        "definition": manifest,
        "apply": True,
        "server_side_apply": {"field_manager": "bench"},
    }
    return {"kubernetes.core.k8s": options}


def peak_mebibytes(module: str, args: dict[str, Any]) -> float:
    """Peak RSS of a module's process."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"ANSIBLE_MODULE_ARGS": args}, file)
        file.flush()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "playbooks" / "collections")}
        command = [sys.executable, str(ROOT / "plugins" / "modules" / f"{module}.py"), file.name]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("The module failed.")
    return usage.ru_maxrss / 1024


def events_of(call: Callable[[], Any], user: str) -> list[dict[str, Any]]:
    """What the API server answered to an impersonated user meanwhile, by its audit log."""
    log = Path(ENDPOINTS["audit_log"])
    begin_bytes = audit.size_bytes(log)
    call()
    time.sleep(1)
    return [
        event
        for event in audit.events_since(log, begin_bytes)
        if event.get("impersonatedUser", {}).get("username") == user and event["stage"] != "ResponseStarted"
    ]


def impersonation(user: str) -> dict[str, Any]:
    """Options that tell a call's requests from those of others."""
    return {"impersonate_user": user, "impersonate_groups": ["system:masters"]}


def show(
    bench: str, measure: str, value: float, unit: str, against: str | None = None, ratio: float | None = None
) -> None:
    result = {"bench": bench, "measure": measure, "value": round(value, 3), "unit": unit, "against": against}
    print(json.dumps({**result, "ratio": None if ratio is None else round(ratio, 2)}), flush=True)

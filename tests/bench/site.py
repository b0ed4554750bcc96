# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make site` with built binaries: how long the cluster takes, the first run, the second run, and the memory of all.

It runs in a second checkout of its own, so a running sandbox is neither used nor disturbed (but shares the processor).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from sandbox import lifecycle  # noqa: E402 - the path is set above
from sandbox.layout import Layout  # noqa: E402
from tools import checkout  # noqa: E402

GIB = 1024**3


def show(measure: str, value: float, unit: str, limit: float) -> None:
    result = {"bench": "site", "measure": measure, "value": round(value, 1), "unit": unit}
    print(json.dumps({**result, "against": f"limit {limit:g} {unit}", "ratio": round(value / limit, 2)}), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="llmstack-bench-") as folder:
        copy = checkout.copy(Path(folder))
        environment = {
            **os.environ,
            "PYTHONPATH": str(copy / "tests"),
            "ANSIBLE_HOME": str(copy / ".cache" / "ansible"),
        }

        def timed(*command: str) -> float:
            begin = time.monotonic()
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stdout[-3000:] + done.stderr)
            return time.monotonic() - begin

        playbook = (
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "inventories/local",
            "playbooks/site.yml",
        )
        try:
            ready = timed(sys.executable, "-m", "sandbox", "up")
            first = timed(*playbook)
            second = timed(*playbook)
            memory = lifecycle.status(Layout(copy / ".sandbox")).memory_bytes / GIB
        finally:
            subprocess.run([sys.executable, "-m", "sandbox", "down"], cwd=copy, env=environment, check=True)
    show("sandbox ready, binaries built", ready, "s", 60)
    show("make site, binaries built", ready + first, "s", 180)
    show("site.yml again, nothing to do", second, "s", 60)
    show("resident memory of all", memory, "GiB", 5)


if __name__ == "__main__":
    main()

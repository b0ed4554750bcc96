# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks/site.yml on the sandbox cluster (`make site`).

Arguments are handed to ansible-playbook. A sandbox whose nodes are all simulated runs no pod, so nothing could become
ready there: the playbook is then run with `--check --diff`, and the run ends with what stayed unproven.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS = ROOT / ".sandbox" / "endpoints.json"
UNPROVEN = """
Only simulated nodes here (the real node needs Linux and root): the playbook ran with --check --diff.
Unproven by this run:
  - pods: no chart's controller started, no webhook answered, no image was pulled
  - the model: it was neither uploaded, nor downloaded by the storage initializer, nor served
  - the gateway and the chat completion through it
To prove them run 'make site' as root on Linux, or give the playbook a cluster (docs/getting-started.md).
"""


def main() -> int:
    try:
        real_node = bool(json.loads(ENDPOINTS.read_text())["real_node"])
    except (OSError, ValueError, KeyError):
        print("No usable .sandbox/endpoints.json: run 'make site', which starts the sandbox first.", file=sys.stderr)
        return 1
    # What they find is true there: no node runs a pod, no image was made. They report, and the rest is checked too.
    report_only = ["preflight_fail_on=never", "gpu_cluster_fail_on=never"]
    simulated = ["--check", "--diff", *(word for setting in report_only for word in ("-e", setting))]
    arguments = [*sys.argv[1:], *([] if real_node else simulated)]
    binaries = Path(sys.executable).parent
    command = [str(binaries / "ansible-playbook"), "-i", "inventories/local", "playbooks/site.yml", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if not real_node:
        print(UNPROVEN, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that benches compare with: from PyPI, each in a virtual environment of its own in the cache folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sandbox.layout import cache_directory

# Newest first; aiperf and inference-perf need one of them.
PYTHONS = ("python3.13", "python3.12")


def command(requirement: str, name: str) -> Path | None:
    """The command `name` of a package (`aws` of `awscli==1.46.3`), installed if need be.

    Where that is not possible, None, and a line on the terminal says why.
    """
    home = cache_directory() / "bench" / requirement.replace("==", "-")
    found = home / "bin" / name
    if found.exists():
        return found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    # What a version manager has but does not offer on PATH is good enough for a bench.
    for python in (*PYTHONS, *map(str, sorted(versions.glob("3.1[23].*/bin/python3"), reverse=True))):
        try:
            # A shim can be there and not work.
            subprocess.run([python, "-c", "import ensurepip"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        print(f"installing {requirement} ...", flush=True)
        subprocess.run([python, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "pip"), "install", "--quiet", requirement]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return found
        print(f"no {name}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    print(f"no {name}: it needs one of {', '.join(PYTHONS)}", flush=True)
    return None

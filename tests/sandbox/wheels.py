# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python packages by name, pinned with hashes in wheels/*.txt (made by `make lock` from wheels/*.in)."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from .errors import SandboxError
from .layout import cache_directory

LOCKS = pathlib.Path(__file__).resolve().parent / "wheels"


def lock(name: str) -> pathlib.Path:
    return LOCKS / f"{name}.txt"


def download(name: str) -> list[pathlib.Path]:
    """The wheels of one lock file, checked against its hashes."""
    directory = cache_directory() / "wheels" / name
    directory.mkdir(parents=True, exist_ok=True)
    for stale in directory.glob("*"):
        stale.unlink()
    _pip(["download", "--no-deps", "--only-binary=:all:", "--dest", str(directory)], name)
    return sorted(directory.glob("*.whl"))


def install(name: str, target: pathlib.Path) -> None:
    """Installs the packages of one lock file into the folder `target`, for the Python that runs this."""
    _pip(["install", "--no-compile", "--target", str(target)], name)


def _pip(arguments: list[str], name: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    command += ["--require-hashes", "--requirement", str(lock(name))]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["pip gave no reason"]
        raise SandboxError(f"The Python packages of {lock(name).name} could not be had: {lines[-1]}")

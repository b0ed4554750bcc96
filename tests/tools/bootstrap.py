# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build .venv: virtual environment, locked packages, dependency collections (standard library only).

Every step is recorded in .venv/.steps.json under a key of its inputs, so a killed run goes on where it stopped and a
complete one returns at once. Everything that is downloaded is checked against a hash of requirements/*.lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STEPS = VENV / ".steps.json"
INSTALLING = VENV / ".installing"
PACKAGES = ROOT / "requirements" / "dev.lock"
COLLECTIONS = ROOT / "requirements" / "collections.lock"
# The members of the `ansible` wheel that are unpacked: galaxy.yml's dependencies.
UNPACKED = ["kubernetes/core"]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmstack-serving" / "wheels"
NO_VENV = "apt-get install python3-venv (Debian, Ubuntu), or name another Python with PYTHON=."


class Failure(Exception):
    """A sentence for the user."""


def run(command: list[str], remedy: str) -> None:
    """Run a command quietly; on failure show the end of what it said and the remedy."""
    # close_fds: the child shares the lock, so a new run waits for a pip that outlives its killed parent.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, close_fds=False
    )
    if done.returncode:
        print(flush=True)
        said = "\n".join(done.stdout.strip().splitlines()[-5:])
        if "No space left on device" in done.stdout:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise Failure(f"{said}\n{remedy}")


def base_python() -> str:
    """The interpreter outside any virtual environment (this script may run inside the .venv it replaces)."""
    return getattr(sys, "_base_executable", None) or sys.executable


def has_ensurepip() -> bool:
    """Whether this Python can put pip into a virtual environment (Debian and Ubuntu split ensurepip off)."""
    return subprocess.run([base_python(), "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0


def make_venv() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    without_pip = [] if has_ensurepip() else ["--without-pip"]
    run([base_python(), "-m", "venv", *without_pip, str(VENV)], f"Python's venv module does not work here: {NO_VENV}")


def pip() -> list[str]:
    """The pip that fills .venv: its own, or the one of the Python it was made from."""
    if list(VENV.glob("lib/python*/site-packages/pip/__main__.py")):
        return [str(PYTHON), "-m", "pip"]
    if subprocess.run([base_python(), "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        raise Failure(f"This Python has neither ensurepip nor pip: {NO_VENV}")
    return [base_python(), "-m", "pip", "--python", str(PYTHON)]


def pip_locked(verb: list[str], lock: Path) -> None:
    """Install or download exactly what a lock file lists; only wheels, as building one would fetch unchecked tools."""
    options = ["--disable-pip-version-check", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    remedy = "is the package index reachable (PIP_INDEX_URL, PIP_CERT, proxy)?"
    run([*pip(), *verb, *options, "-r", str(lock)], f"pip could not get what requirements/{lock.name} lists: {remedy}")


def install_packages() -> None:
    # A killed pip leaves packages that look installed and are not: begin with an empty environment then.
    if INSTALLING.exists():
        make_venv()
    INSTALLING.touch()
    pip_locked(["install"], PACKAGES)
    INSTALLING.unlink()


def wheel_path() -> Path:
    version = re.search(r"^ansible==(\S+)", COLLECTIONS.read_text(), re.MULTILINE)
    if not version:
        raise Failure(f"{COLLECTIONS} does not pin ansible==<version>.")
    return CACHE / f"ansible-{version[1]}-py3-none-any.whl"


def fetch_wheel() -> None:
    """Keep the wheel in the user's cache: it is 50 MB and serves every checkout."""
    wheel = wheel_path()
    known = set(re.findall(r"sha256:(\w+)", COLLECTIONS.read_text()))
    if wheel.is_file() and hashlib.sha256(wheel.read_bytes()).hexdigest() in known:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        # 3.12: the wheel's own floor. It holds nothing that depends on the Python version.
        pip_locked(["download", "--python-version", "3.12", "--dest", folder], COLLECTIONS)
        (Path(folder) / wheel.name).rename(wheel)


def unpack_collections() -> None:
    site = next((VENV / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel_path()) as wheel:
        for name in UNPACKED:
            target = site / "ansible_collections" / name
            with tempfile.TemporaryDirectory(dir=site) as folder:
                prefix = f"ansible_collections/{name}/"
                wheel.extractall(folder, [member for member in wheel.namelist() if member.startswith(prefix)])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                (Path(folder) / prefix).rename(target)


def digest(*parts: str | Path) -> str:
    """Key of a step: its inputs (a Path stands for the file's content)."""
    data = [part.read_bytes() if isinstance(part, Path) else part.encode() for part in parts]
    return hashlib.sha256(b"\0".join(data)).hexdigest()[:16]


def main() -> None:
    # Not the path of the executable: inside .venv the same Python goes by another name.
    venv_key = digest(sys.base_prefix, sys.version, str(VENV))
    packages_key = digest(venv_key, PACKAGES)
    wheel_key = digest(venv_key, COLLECTIONS)
    steps: list[tuple[str, str, Callable[[], None]]] = [
        (f"virtual environment .venv, Python {sys.version.split()[0]}", venv_key, make_venv),
        ("packages of requirements/dev.lock", packages_key, install_packages),
        ("wheel with the dependency collections", wheel_key, fetch_wheel),
        (f"collections {', '.join(UNPACKED).replace('/', '.')}", digest(wheel_key, *UNPACKED), unpack_collections),
    ]
    try:
        done: dict[str, str] = json.loads(STEPS.read_text())
    except (OSError, ValueError):
        done = {}
    for number, (what, key, action) in enumerate(steps, 1):
        if done.get(str(number)) == key:
            continue
        print(f"[{number}/{len(steps)}] {what} ... ", end="", flush=True)
        begin = time.monotonic()
        action()
        done[str(number)] = key
        STEPS.write_text(json.dumps(done))
        print(f"{time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    # One bootstrap at a time per checkout; the lock ends with its processes and leaves no file.
    lock = os.open(ROOT / "requirements", os.O_RDONLY)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another run builds .venv here: waiting for it.", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        main()
    except Failure as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: the same command goes on from here.")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"\nNo space left: .venv needs about 600 MB under {ROOT} and the wheel cache 60 MB under {CACHE}.")

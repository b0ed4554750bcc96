# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` on a copy of the checkout with the Python of .venv.

Why a copy: ansible-test accepts only a tree that lies physically in .../ansible_collections/<namespace>/<name>.
Why a home directory of its own: ansible-test wants a pip bootstrap script from its own download site, unless one lies
in ~/.ansible/test/cache; ours uses the pip that is there. It also keeps the user's home clean.
Arguments are handed to ansible-test, e.g. `--test validate-modules`. Without any, a tree that has passed is not tested
again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tools import checkout

ROOT = checkout.ROOT
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmstack-serving"
HOME = CACHE / "ansible-test"
PASSED = ROOT / ".venv" / ".sanity-passed"

# ansible-test runs this as get-pip in each of its virtual environments: the pip of .venv installs the pip it wants.
GET_PIP = """\
import subprocess, sys
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([{pip_python!r}, "-m", "pip", "--python", sys.executable, "install", *wanted]))
"""


def key(files: list[str]) -> str:
    """Changes with any file, ansible-core or Python."""
    total = hashlib.sha256(f"{sys.version} {version('ansible-core')}".encode())
    for name in files:
        path = ROOT / name
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def pip_configuration() -> str:
    """The user's pip settings, from files and environment, as one pip.conf: ansible-test drops PIP_* variables."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        name, value = line.split("=", 1)
        settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    lines = []
    for name, value in settings.items():
        # pip reads several values from lines of their own, a single one only from the line of its name.
        words = value.split() if name in ("find-links", "extra-index-url", "trusted-host") else [value]
        lines.append(f"{name} = {words[0]}" if len(words) == 1 else f"{name} =\n    " + "\n    ".join(words))
    return "\n".join(["[global]", *lines, ""])


def prepare_home() -> None:
    spec = find_spec("ansible_test")
    assert spec and spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "_internal" / "python_requirements.py"
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for wanted in re.findall(r"pip='([\d.]+)'", source.read_text()):
        (cache / f"get_pip_{wanted.replace('.', '_')}.py").write_text(GET_PIP.format(pip_python=sys.executable))
    config = HOME / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch(mode=0o600)
    config.write_text(pip_configuration())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = parser.parse_known_args()[1]
    # Without tests/sandbox: a package for developers that ruff and mypy check, not collection content.
    files = [name for name in checkout.files() if not name.startswith("tests/sandbox/")]
    fingerprint = key(files)
    if not arguments and PASSED.is_file() and PASSED.read_text() == fingerprint:
        print(f"sanity: unchanged since it passed (to repeat: rm {PASSED.relative_to(ROOT)})")
        return 0
    prepare_home()
    begin = time.monotonic()
    binaries = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="llmstack-sanity-") as folder:
        collections = Path(folder) / "ansible_collections"
        target = collections / "llmstack" / "serving"
        checkout.copy(target, files)
        # Without a repository ansible-test lists files in another way and misses the link to the checkout.
        subprocess.run(["git", "init", "--quiet", str(target)], check=True)
        (collections / "kubernetes").mkdir()
        site = next((ROOT / ".venv" / "lib").glob("python*/site-packages"))
        (collections / "kubernetes" / "core").symlink_to(site / "ansible_collections" / "kubernetes" / "core")
        environment = {**os.environ, "HOME": str(HOME), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        command = [str(binaries / "ansible-test"), "sanity", "--python", python, "--color", "no", *arguments]
        code = subprocess.run(command, cwd=target, env=environment, check=False).returncode
    print(f"sanity: {'passed' if code == 0 else 'FAILED'}, {len(files)} files, {time.monotonic() - begin:.0f} s")
    if code == 0 and not arguments:
        PASSED.write_text(fingerprint)
    return code


if __name__ == "__main__":
    sys.exit(main())

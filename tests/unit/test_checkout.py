# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain checkout finds the collection's own names: nothing installed, nothing configured, any working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import checkout

BIN = Path(sys.executable).parent
LINK = Path("playbooks/collections/ansible_collections/llmstack/serving")
PLAYBOOKS = sorted(path.name for path in (checkout.ROOT / "playbooks").glob("*.yml"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout.copy(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def ansible(tmp_path: Path):
    """Run an ansible command with an empty home and a collections path that lacks this collection (as AWX sets one)."""
    home, foreign = tmp_path / "home", tmp_path / "foreign"
    home.mkdir()
    foreign.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "K8S_AUTH_"))}
    environment |= {"HOME": str(home), "ANSIBLE_COLLECTIONS_PATH": str(foreign), "ANSIBLE_NOCOLOR": "1"}

    def run(command: str, *arguments: str | Path) -> str:
        line = [str(BIN / command), *map(str, arguments)]
        done = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_the_link_is_relative_and_leads_to_the_checkout(clone: Path) -> None:
    assert (clone / LINK).is_symlink()
    assert os.readlink(clone / LINK) == "../../../.."
    assert (clone / LINK).resolve() == clone.resolve()


def test_there_is_one_link_to_the_checkout(clone: Path) -> None:
    """With two, ansible-lint follows both for ever and dies with ELOOP."""
    loops = [path for path in clone.rglob("*") if path.is_symlink() and path.resolve() == clone.resolve()]
    assert loops == [clone / LINK]


def test_a_role_resolves(clone: Path, ansible) -> None:
    arguments = ["--playbook-dir", clone / "playbooks", "-i", "localhost,", "-c", "local", "localhost"]
    ansible("ansible", *arguments, "-m", "ansible.builtin.include_role", "-a", "name=llmstack.serving.versions")


def test_the_modules_resolve(clone: Path, ansible) -> None:
    modules = sorted(path.stem for path in (clone / "plugins" / "modules").glob("*.py"))
    assert modules
    names = [f"llmstack.serving.{module}" for module in modules]
    ansible("ansible-doc", "--playbook-dir", clone / "playbooks", "--type", "module", *names)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_resolves(clone: Path, ansible, playbook: str) -> None:
    ansible("ansible-playbook", "-i", clone / "inventories" / "local", clone / "playbooks" / playbook, "--syntax-check")

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artefact holds what a user calls and nothing else, and everything is declared once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tools import checkout

BIN = Path(sys.executable).parent
GALAXY = yaml.safe_load((checkout.ROOT / "galaxy.yml").read_text())


def galaxy(home: Path, *arguments: str | Path, **environment: str | Path) -> str:
    """Run an ansible command with an empty home."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    variables |= {"HOME": str(home)} | {name: str(value) for name, value in environment.items()}
    command = [str(BIN / str(arguments[0])), *map(str, arguments[1:])]
    done = subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a checkout in use: with everything in it that a developer's has."""
    folder = tmp_path_factory.mktemp("artefact")
    source = checkout.copy(folder / "source")
    for left in (".venv/bin/python", ".sandbox/kubeconfig", ".mypy_cache/x.json", "llmstack-serving-0.0.1.tar.gz"):
        (source / left).parent.mkdir(parents=True, exist_ok=True)
        (source / left).write_text("left over")
    galaxy(folder, "ansible-galaxy", "collection", "build", source, "--output-path", folder)
    return folder / f"llmstack-serving-{GALAXY['version']}.tar.gz"


def test_the_artefact_holds_content_and_documentation_only(artefact: Path) -> None:
    with tarfile.open(artefact) as archive:
        names = archive.getnames()
    tops = {name.split("/")[0] for name in names}
    content = {"meta", "plugins", "roles", "playbooks"}
    described = {"docs", "changelogs", "inventories", "collections", "README.md", "LICENSE", "CHANGELOG.md"}
    files = {"CHANGELOG.rst", "MANIFEST.json", "FILES.json", "requirements.txt"}
    assert content <= tops
    assert tops <= content | described | files
    assert not [name for name in names if name.startswith("playbooks/collections")]


def test_the_four_content_folders_are_enough(artefact: Path, tmp_path: Path) -> None:
    """A rule of the collection requirements: nothing callable may use files outside them."""
    collections = tmp_path / "collections"
    galaxy(tmp_path, "ansible-galaxy", "collection", "install", artefact, "-p", collections, "--offline", "--no-deps")
    installed = collections / "ansible_collections" / "llmstack" / "serving"
    for path in installed.iterdir():
        if path.is_file():
            path.unlink()
        elif path.name not in ("meta", "plugins", "roles", "playbooks"):
            shutil.rmtree(path)
    inventory = checkout.ROOT / "inventories" / "local"
    run = ["ansible-playbook", "-i", inventory, "llmstack.serving.site", "--syntax-check"]
    assert "playbooks/site.yml" in galaxy(tmp_path, *run, ANSIBLE_COLLECTIONS_PATH=collections)
    modules = [f"llmstack.serving.{path.stem}" for path in sorted((installed / "plugins" / "modules").glob("*.py"))]
    galaxy(tmp_path, "ansible-doc", "--type", "module", *modules, ANSIBLE_COLLECTIONS_PATH=collections)


def lines(path: str) -> list[str]:
    """The requirements in a file."""
    text = (checkout.ROOT / path).read_text()
    return [line for line in text.splitlines() if line and not line.startswith(("#", " "))]


def test_python_dependencies_are_declared_once() -> None:
    runtime = lines("requirements/runtime.in")
    assert lines("requirements.txt") == runtime
    # The execution environment brings its own ansible-core.
    assert lines("meta/ee-requirements.txt") == [line for line in runtime if not line.startswith("ansible-core")]


def test_the_collection_dependencies_agree() -> None:
    listed = yaml.safe_load((checkout.ROOT / "collections" / "requirements.yml").read_text())["collections"]
    assert {entry["name"]: entry["version"] for entry in listed} == GALAXY["dependencies"]


@pytest.mark.parametrize("lock", sorted(path.name for path in (checkout.ROOT / "requirements").glob("*.lock")))
def test_every_locked_package_has_a_hash(lock: str) -> None:
    text = (checkout.ROOT / "requirements" / lock).read_text()
    packages = re.split(r"\n(?=\S)", text.strip())
    assert packages
    for package in packages:
        assert re.match(r"[\w.-]+==\S+", package), package.splitlines()[0]
        assert "--hash=sha256:" in package, package.splitlines()[0]


def test_the_locks_honour_the_declared_floors() -> None:
    """A changed requirements/*.in without `make lock` would go unnoticed otherwise."""
    from packaging.requirements import Requirement

    locked = [re.match(r"([\w.-]+)==([^\s;]+)", line) for line in lines("requirements/dev.lock")]
    versions = [(match[1].lower(), match[2]) for match in locked if match]
    for source in ("requirements/runtime.in", "requirements/dev.in"):
        for line in lines(source):
            if line.startswith("-r"):
                continue
            wanted = Requirement(line)
            found = [version for name, version in versions if name == wanted.name.lower()]
            assert found, f"{wanted.name} of {source} is not in dev.lock: run `make lock`"
            assert all(wanted.specifier.contains(version) for version in found), f"{line}: locked {found}"


def test_the_supported_ansible_core_agrees() -> None:
    runtime = yaml.safe_load((checkout.ROOT / "meta" / "runtime.yml").read_text())
    assert runtime["requires_ansible"].startswith(">=2.19")

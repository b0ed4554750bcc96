# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md and docs/ tell people to type or to open exists and works.

Every line of a block marked ```sh is checked: `make` by its targets, `ansible-playbook` with --syntax-check (and with
--check by integration/test_inventories and test_operations), `ansible-doc` by running it, and the rest must be named in
PROVED_BY (or in NOT_RUN, with the reason). A ```yaml block that begins with a comment naming a path is a file of the
user: it is written there before the commands are checked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tools import checkout, pages
from tools.pages import PAGES, commands

BIN = Path(sys.executable).parent
# Command: the test that runs it.
PROVED_BY: dict[str, str] = {}
# Command: why no test runs it.
NOT_RUN = {
    "pip install -r requirements.txt": "resolves on the network; test_packaging compares the file with the locked set",
    "ansible-galaxy collection install -r collections/requirements.yml": "needs Galaxy; test_packaging checks the file",
}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (checkout.ROOT / "Makefile").read_text(), re.MULTILINE))


def run(line: list[str], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment["HOME"] = str(folder)
    done = subprocess.run(
        [str(BIN / line[0]), *line[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.clone(tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_works(command: str, clone: Path) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert targets, f"{command}: names no target"
        assert set(targets) <= make_targets()
    elif words[0] == "ansible-playbook":
        run([*words, "--syntax-check"], clone)
    elif words[0] == "ansible-doc":
        run(words, clone)
    elif command in PROVED_BY:
        path, _sep, test = PROVED_BY[command].partition("::")
        assert f"def {test}(" in (checkout.ROOT / path).read_text()
    else:
        assert command in NOT_RUN, "a test must run this command: name it in PROVED_BY"


def test_the_tables_of_this_file_name_documented_commands_only() -> None:
    assert {*PROVED_BY, *NOT_RUN} <= set(commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_page_names_all_content_and_nothing_else() -> None:
    text = (checkout.ROOT / "docs" / "content.md").read_text()
    modules = {path.stem for path in (checkout.ROOT / "plugins" / "modules").glob("*.py")}
    assert set(re.findall(r"`llmstack\.serving\.(\w+)`", text)) == modules
    playbooks = {path.name for path in (checkout.ROOT / "playbooks").glob("*.yml")}
    assert set(re.findall(r"^\| `playbooks/(\w+\.yml)` \|", text, re.MULTILINE)) == playbooks
    roles = {path.name for path in (checkout.ROOT / "roles").iterdir() if path.is_dir()}
    table = text.partition("| Role |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == roles


def test_the_readme_is_two_screens_and_names_every_playbook() -> None:
    text = (checkout.ROOT / "README.md").read_text()
    # The numbers are as many as there are benches.
    assert len(text.partition("## Numbers")[0].splitlines()) <= 80
    playbooks = {path.name for path in (checkout.ROOT / "playbooks").glob("*.yml")}
    assert set(re.findall(r"(\w+\.yml)\b", text)) == playbooks


def test_every_make_target_in_the_text_exists() -> None:
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named <= make_targets()


def test_the_numbers_are_the_measured_ones() -> None:
    results = checkout.ROOT / "tests" / "bench" / "results.json"
    text = (checkout.ROOT / "README.md").read_text()
    quoted = text.partition("<!-- bench:begin -->\n")[2].partition("<!-- bench:end -->")[0]
    if not results.exists():
        assert quoted == "Not measured yet.\n"
        return
    from bench import run as bench

    assert quoted == bench.markdown(json.loads(results.read_text()))

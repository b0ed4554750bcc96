# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role promises, as far as its files show it; integration/test_role_contract asks a cluster for the rest.

test_roles has what a role promises about its variables and versions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import checkout

ROOT = checkout.ROOT
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
# Read by others, and nothing of their own: a table, and a chart that another role names.
HELPERS = {"helm_release", "versions"}
# Machines are no part of a stack: playbooks/gpu_cluster.yml makes and removes them.
MACHINES = {"gpu_cluster"}
SITE = ("preflight.yml", "install.yml", "deploy.yml", "validate.yml")
FORBIDDEN = ("ansible.builtin.shell", "ansible.builtin.command", "ansible.builtin.raw", "ansible.builtin.script")


def load(path: Path) -> Any:
    class Loader(yaml.SafeLoader):
        """Knows Ansible's tags."""

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
    return yaml.load(path.read_text(), Loader) if path.exists() else None


def tasks(role: str) -> list[dict[str, Any]]:
    """All tasks of a role, those in blocks included."""

    def flat(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inner = [task.get(part, []) for task in found for part in ("block", "rescue", "always")]
        return found + [task for part in inner for task in flat(part)]

    files = sorted((ROOT / "roles" / role / "tasks").glob("*.yml"))
    return [task for path in files for task in flat(load(path) or [])]


def options(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return found


def steps(playbook: str) -> list[dict[str, Any]]:
    [play] = load(ROOT / "playbooks" / playbook)
    return [task for task in play["tasks"] if "ansible.builtin.import_role" in task]


def role_of(step: dict[str, Any]) -> str:
    return str(step["ansible.builtin.import_role"]["name"]).removeprefix("llmstack.serving.")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_asks_modules_and_no_shell(role: str) -> None:
    for task in tasks(role):
        used = [name for name in FORBIDDEN if name in task]
        assert not used, f"{task.get('name')}: a module can say in check mode what it would do, {used[0]} cannot"


@pytest.mark.parametrize("role", ROLES)
def test_a_task_that_waits_or_repeats_has_an_end(role: str) -> None:
    for task in tasks(role):
        if "until" in task:
            assert {"retries", "delay"} <= set(task), task["name"]


@pytest.mark.parametrize("role", sorted(set(ROLES) - HELPERS - {"operations"}))
def test_a_role_is_a_step_of_the_site_under_its_own_tag(role: str) -> None:
    own = [step for playbook in SITE for step in steps(playbook) if role_of(step) == role]
    assert own, f"{role} is in none of {', '.join(SITE)}"
    # `always` is a question that no tag leads around.
    assert all(step["tags"] in ([role], [role, "always"]) for step in own)


@pytest.mark.parametrize(
    "role", [role for role in ROLES if f"{role}_state" in options(role) and role not in HELPERS | MACHINES]
)
def test_what_a_role_installs_it_also_removes(role: str) -> None:
    own = [step for step in steps("uninstall.yml") if role_of(step) == role]
    assert own, "playbooks/uninstall.yml names it"
    assert all(step["vars"] == {f"{role}_state": "absent"} for step in own)
    assert f"`{role}_state: absent`" in (ROOT / "roles" / role / "README.md").read_text(), (
        "the page says what then stays"
    )
    assert f"{role}_state" in "".join(path.read_text() for path in (ROOT / "roles" / role / "tasks").glob("*.yml"))


@pytest.mark.parametrize("role", sorted(set(ROLES) - HELPERS))
def test_a_role_has_a_scenario_that_looks_at_what_came_of_it(role: str) -> None:
    scenario = ROOT / "extensions" / "molecule" / role
    assert (scenario / "molecule.yml").exists()
    if f"{role}_state" in options(role) and role not in MACHINES:
        [*_others, last] = load(scenario / "verify.yml")[0]["tasks"]
        assert "ansible.builtin.assert" in last


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"helm_release"}))
def test_charts_go_through_the_one_role_that_knows_mirrors(role: str) -> None:
    assert not [task for task in tasks(role) if "kubernetes.core.helm" in task]
    charts = [task for task in tasks(role) if role_of_import(task) == "helm_release"]
    for task in charts:
        assert "helm_release_chart_mirror" not in task.get("vars", {}), "the mirror is the same for all charts"


def role_of_import(task: dict[str, Any]) -> str:
    for kind in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
        if kind in task:
            return str(task[kind]["name"]).removeprefix("llmstack.serving.")
    return ""


@pytest.mark.parametrize("role", ROLES)
def test_a_page_says_what_the_role_is_for(role: str) -> None:
    text = (ROOT / "roles" / role / "README.md").read_text()
    assert len(text.split()) >= 20
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / "roles" / role / target).exists(), target

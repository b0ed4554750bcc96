# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the role contract that only a cluster can show, for every role alike.

The installed stack is the one of `make site`; what is asked of a role is asked of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tools import checkout
from tools.playbook import ansible_playbook, recap, writes

LOCAL = ("-i", "inventories/local")
Audit = Callable[[], list[dict[str, Any]]]
pytestmark = pytest.mark.usefixtures("stack")


def roles_of(playbook: str) -> list[str]:
    [play] = yaml.safe_load((checkout.ROOT / "playbooks" / playbook).read_text())
    names = [task["ansible.builtin.import_role"]["name"] for task in play["tasks"]]
    roles = dict.fromkeys(name.removeprefix("llmstack.serving.") for name in names)
    # They ask and confirm, whatever the tag.
    return [role for role in roles if role not in ("preflight", "operations")]


INSTALLED = [role for playbook in ("install.yml", "deploy.yml") for role in roles_of(playbook)]
# They do nothing unless they are asked to: test_knative, test_envoy_gateway.
OFF = ("envoy_gateway", "knative")
REMOVED = [role for role in roles_of("uninstall.yml") if role not in OFF]


def quiet(done: Any) -> dict[str, int]:
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    counts = recap(done.stdout)
    assert counts["failed"] == 0
    return counts


@pytest.mark.long
@pytest.mark.parametrize("role", INSTALLED)
def test_a_role_alone_changes_nothing_that_is_as_it_should_be(role: str, audit: Audit) -> None:
    done = ansible_playbook(*LOCAL, "playbooks/site.yml", "--tags", role, "--diff")
    assert quiet(done)["changed"] == 0
    assert f"TASK [llmstack.serving.{role} : " in done.stdout, "the tag is one of the role"
    assert writes(audit()) == []


@pytest.mark.long
@pytest.mark.parametrize("role", REMOVED)
def test_a_role_in_check_mode_says_what_its_removal_would_take(role: str, audit: Audit) -> None:
    counts = quiet(ansible_playbook(*LOCAL, "playbooks/uninstall.yml", "--tags", role, "--check", "--diff"))
    assert counts["changed"] > 0
    assert writes(audit()) == []


@pytest.mark.long
@pytest.mark.parametrize("playbook", ["preflight", "gpu_cluster", "install", "deploy", "validate", "diagnose"])
def test_a_playbook_alone_on_one_cluster_in_check_mode_changes_nothing(playbook: str, audit: Audit) -> None:
    """Those that change one thing (scale, upgrade, rollback) are in test_operations."""
    alone = ("--limit", "sandbox", "--check", "--diff")
    assert quiet(ansible_playbook(*LOCAL, f"playbooks/{playbook}.yml", *alone))["changed"] == 0
    assert writes(audit()) == []


def test_uninstalling_without_the_name_of_the_cluster_removes_nothing(audit: Audit) -> None:
    for arguments in ((), ("-e", "operations_confirm_uninstall=another"), ("--tags", "kserve")):
        done = ansible_playbook(*LOCAL, "playbooks/uninstall.yml", *arguments)
        assert done.returncode != 0
        assert "Nothing was changed. To do it: -e operations_confirm_uninstall=sandbox" in done.stdout
    assert writes(audit()) == []

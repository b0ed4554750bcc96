# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights that the preflight asks for are enough for an account that has no other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools import accounts
from tools.playbook import ansible_playbook, recap

LOCAL = ("-i", "inventories/local")
pytestmark = pytest.mark.long


@pytest.fixture
def exact(
    asked_rules: list[dict[str, Any]], sandbox: dict[str, Any], cluster: Cluster, namespace: str, tmp_path: Path
) -> Iterator[accounts.Account]:
    """An account that may do what the preflight asks for, and nothing else."""
    allowed = accounts.without_namespaces(asked_rules)
    with contextlib.ExitStack() as until_the_end:
        yield until_the_end.enter_context(
            accounts.account(cluster, Path(sandbox["kubeconfig"]), namespace, tmp_path, allowed)
        )


def test_an_account_with_these_rights_alone_installs_everything_and_then_changes_nothing(
    exact: accounts.Account, asked_rules: list[dict[str, Any]], sandbox: dict[str, Any]
) -> None:
    removed = ansible_playbook(*LOCAL, "playbooks/uninstall.yml", "-e", "operations_confirm_uninstall=sandbox")
    assert removed.returncode == 0, removed.stdout[-8000:] + removed.stderr
    for changes in (True, False):
        done = ansible_playbook(*LOCAL, "playbooks/site.yml", "-e", f"llmstack_kubeconfig={exact.kubeconfig}")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
        assert (recap(done.stdout)["changed"] > 0) == changes
    # Nothing was left out because it was refused.
    uses = accounts.used(Path(sandbox["audit_log"]), exact.username)
    assert accounts.uncovered(uses, asked_rules) == []


def test_an_account_with_these_rights_alone_brings_an_llm_deployment_and_takes_it_away(
    asked_rules: list[dict[str, Any]], sandbox: dict[str, Any], cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    guide = ("-e", "@playbooks/vars/production-llm.yml")
    looked = ansible_playbook(*LOCAL, "playbooks/preflight.yml", *guide, "-e", f"llmstack_report_dir={tmp_path}")
    assert looked.returncode == 0, looked.stdout[-8000:]
    findings = json.loads((tmp_path / "sandbox-preflight.json").read_text())["findings"]
    [rules] = [found["evidence"]["rules"] for found in findings if "rules" in found["evidence"]]
    # The judgement of the deployment itself: its parts find their GPUs, and the model fits.
    judged = {(found["id"], found["subject"]): found["status"] for found in findings}
    for part in ("production-llm/prefill", "production-llm/decode"):
        assert judged["gpu-placement", part] == judged["model-fit", part] == "pass"
    # The sandbox's nodes have no RDMA between prefill and decode.
    assert judged["rdma", ""] == "warn"
    kubeconfig = Path(sandbox["kubeconfig"])
    allowed = accounts.without_namespaces(rules)
    assert len(rules) > len(asked_rules)
    with accounts.account(cluster, kubeconfig, namespace, tmp_path, allowed) as exact:
        own = (*LOCAL, "playbooks/deploy.yml", *guide, "-e", f"llmstack_kubeconfig={exact.kubeconfig}", "--tags")
        done = ansible_playbook(*own, "model_storage,llmd")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
        gone = ansible_playbook(*own, "llmd", "-e", "llmd_state=absent")
        assert gone.returncode == 0, gone.stdout[-8000:] + gone.stderr
        assert accounts.uncovered(accounts.used(Path(sandbox["audit_log"]), exact.username), rules) == []

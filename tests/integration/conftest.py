# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox cluster that `make test` has started, for every integration test."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.kube import Cluster, wait_until
from tools import accounts, checkout
from tools import audit as audit_log
from tools.playbook import ansible_playbook

ENDPOINTS = checkout.ROOT / ".sandbox" / "endpoints.json"


@pytest.fixture(scope="session")
def sandbox() -> dict[str, Any]:
    """What `.sandbox/endpoints.json` says: kubeconfig, registry, s3, helm, model, audit_log ..."""
    if not ENDPOINTS.exists():
        pytest.fail("The sandbox is not up: `make test` starts it, or run `make sandbox` first.")
    endpoints: dict[str, Any] = json.loads(ENDPOINTS.read_text())
    return endpoints


@pytest.fixture(scope="session")
def real_node(sandbox: dict[str, Any]) -> None:
    """For tests whose pods must run. Without it they are named as unproven at the end of the run."""
    if not sandbox["real_node"]:
        pytest.skip("UNPROVEN: needs the sandbox's real node (root on Linux)")


@pytest.fixture(scope="session")
def cluster(sandbox: dict[str, Any]) -> Cluster:
    """The API server, asked without the collection's own code."""
    return Cluster(Path(sandbox["kubeconfig"]))


@pytest.fixture(scope="session")
def installer(
    sandbox: dict[str, Any], cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[accounts.Account]:
    """An account that may do everything: by its name the audit log tells what a run of site.yml uses."""
    folder = tmp_path_factory.mktemp("installer")
    with contextlib.ExitStack() as until_the_end:
        yield until_the_end.enter_context(
            accounts.account(cluster, Path(sandbox["kubeconfig"]), "default", folder, [accounts.ALL])
        )


@pytest.fixture(scope="session")
def stack(real_node: None, installer: accounts.Account) -> subprocess.CompletedProcess[str]:
    """The whole stack as `make site` leaves it: one run for all tests, whatever the cluster was like before."""
    options = ("-e", f"llmstack_kubeconfig={installer.kubeconfig}")
    done = ansible_playbook("-i", "inventories/local", "playbooks/site.yml", *options)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    return done


@pytest.fixture(scope="session")
def asked_rules(stack: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The rights that the preflight of that run asked for, by its report."""
    [path] = re.findall(r"Report: (\S+-preflight\.json)", stack.stdout)
    findings = json.loads(Path(path).read_text())["findings"]
    [rules] = [found["evidence"]["rules"] for found in findings if "rules" in found["evidence"]]
    return list(rules)


@pytest.fixture(scope="session")
def kserve(stack: subprocess.CompletedProcess[str]) -> None:
    """KServe, installed by the collection's own roles."""


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace with its default ServiceAccount, gone after the test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # A controller makes it some time later; pods and tokens are refused before.
    wait_until(
        f"The default ServiceAccount of {name}",
        lambda: cluster.get(f"/api/v1/namespaces/{name}/serviceaccounts/default"),
    )
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def audit(sandbox: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
    """The API server's audit events since the test began."""
    log = Path(sandbox["audit_log"])
    begin_bytes = audit_log.size_bytes(log)

    def events() -> list[dict[str, Any]]:
        # The API server writes an event when it has answered; the last ones may be on their way.
        time.sleep(0.5)
        return audit_log.events_since(log, begin_bytes)

    return events

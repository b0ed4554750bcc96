# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml and scale.yml as AWX runs them: ansible-runner, a checkout as project, credentials from outside."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.kube import Cluster
from tools import checkout

Runner = Callable[..., Any]


@pytest.fixture(scope="module")
def token(cluster: Cluster) -> Iterator[str]:
    """As in AWX's credential for Kubernetes: a token of a service account."""
    name = "test-awx"
    metadata = {"name": name, "namespace": "default"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    cluster.apply(binding)
    path = f"/api/v1/namespaces/default/serviceaccounts/{name}"
    status, answer = cluster.request("POST", f"{path}/token", {"spec": {"expirationSeconds": 3600}})
    assert status == 201, answer
    yield answer["status"]["token"]
    cluster.request("DELETE", path)
    cluster.request("DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{name}")


@pytest.fixture
def awx(sandbox: dict[str, Any], token: str, kserve: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Start a playbook of a checkout in a private folder, as a job does."""
    import ansible_runner

    kubeconfig = json.loads(Path(sandbox["kubeconfig"]).read_text())
    cluster = kubeconfig["clusters"][0]["cluster"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    checkout.copy(tmp_path / "project")
    variables = yaml.safe_load((checkout.ROOT / "inventories/local/group_vars/clusters.yml").read_text())
    for name in ("llmstack_kubeconfig", "llmstack_context"):
        del variables[name]
    variables["sandbox"] = sandbox
    hosts = {"sandbox": {"remote_tower_enabled": "true", "remote_tower_id": 1}}
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.json").write_text(
        json.dumps({"all": {"children": {"clusters": {"hosts": hosts, "vars": variables}}}})
    )
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT", "ANSIBLE_COLLECTIONS_PATH"):
        monkeypatch.delenv(name, raising=False)

    def run(playbook: str, arguments: str = "", **answers: Any) -> Any:
        return ansible_runner.run(
            private_data_dir=str(tmp_path),
            playbook=playbook,
            cmdline=arguments or None,
            envvars={
                "K8S_AUTH_HOST": cluster["server"],
                "K8S_AUTH_API_KEY": token,
                "K8S_AUTH_VERIFY_SSL": "True",
                "K8S_AUTH_SSL_CA_CERT": str(tmp_path / "ca.crt"),
                # Where a job has what collections/requirements.yml names; the project itself is in neither.
                "ANSIBLE_COLLECTIONS_PATH": f"{tmp_path}/requirements_collections:/usr/share/ansible/collections",
                "ANSIBLE_HOME": str(tmp_path / "home"),
            },
            extravars={"awx_job_id": 7, "awx_job_launch_type": "manual", "tower_job_id": 7, **answers},
            quiet=True,
        )

    return run


def told(job: Any) -> str:
    return "\n".join(event["stdout"] for event in job.events if event.get("stdout"))


def test_a_survey_scales_in_check_mode_with_all_that_was_left_empty(awx: Runner) -> None:
    template = next(
        each
        for each in yaml.load((checkout.ROOT / "extensions/awx/awx.yml").read_text(), _Loader)["controller_templates"]
        if each["playbook"] == "playbooks/scale.yml"
    )
    answers = {question["variable"]: question.get("default", "") for question in template["survey_spec"]["spec"]}
    answers |= {"operations_service": "tiny-llama", "operations_min_replicas": "1", "operations_max_replicas": "2"}
    job = awx("playbooks/scale.yml", "--check --diff", **answers)
    assert job.rc == 0, told(job)[-6000:]
    assert job.stats["changed"] == {"sandbox": 1}
    assert "replicas: 1 to 2" in told(job)


@pytest.mark.long
def test_site_runs_as_a_job_and_again_changes_nothing(awx: Runner) -> None:
    first = awx("playbooks/site.yml")
    assert first.rc == 0, told(first)[-8000:]
    second = awx("playbooks/site.yml")
    assert second.rc == 0, told(second)[-8000:]
    assert second.stats["failures"] == second.stats["changed"] == {}
    assert "Report" in told(second)


class _Loader(yaml.SafeLoader):
    """Knows Ansible's tags."""


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))

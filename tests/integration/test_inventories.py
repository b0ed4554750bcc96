# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In check mode, on the sandbox in place of their clusters: site.yml with each inventory that is shipped, and what the
pages tell a user to type.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.pages import clone, commands
from tools.playbook import ansible_playbook, recap, writes

pytestmark = pytest.mark.usefixtures("kserve")
CLUSTERS = {"dev": ["dev"], "staging": ["staging"], "production": ["eu-west", "us-east"]}


@pytest.fixture
def home(tmp_path: Path, sandbox: dict[str, Any]) -> Path:
    """The home of somebody who has all these clusters in one kubeconfig, and the models of the inventories."""
    kubeconfig = json.loads(Path(sandbox["kubeconfig"]).read_text())
    [context] = [each for each in kubeconfig["contexts"] if each["name"] == sandbox["context"]]
    names = [name for names in CLUSTERS.values() for name in names]
    kubeconfig["contexts"] = [{**context, "name": name} for name in names]
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(json.dumps(kubeconfig))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "Qwen3-0.6B").symlink_to(sandbox["model"])
    return tmp_path


def surroundings(sandbox: dict[str, Any]) -> dict[str, Any]:
    """What an air gap has of its own: mirrors, and an S3 that is not Amazon's."""
    s3 = sandbox["s3"]
    return {
        "llmstack_chart_mirror": sandbox["registry"],
        "llmstack_chart_mirror_plain_http": True,
        "llmstack_helm_binary": sandbox["helm"],
        "gateway_crds_manifest": f"{sandbox['manifests']}/gateway-api/standard-install.yaml",
        "llmd_inference_crds_manifest": f"{sandbox['manifests']}/gateway-api-inference-extension/v1-manifests.yaml",
        "preflight_image_mirror": sandbox["registry"],
        "preflight_image_mirror_plain_http": True,
        # What a development machine lacks is named, and does not end this test.
        "preflight_fail_on": "never",
        # Some nodes of the sandbox are there to be ill.
        "gpu_cluster_fail_on": "never",
        "model_storage_endpoint_url": s3["endpoint_url"],
        "model_storage_access_key": s3["access_key_id"],
        "model_storage_secret_key": s3["secret_access_key"],
        "model_storage_create_bucket": True,
    }


@pytest.mark.long
@pytest.mark.parametrize("inventory", CLUSTERS)
def test_site_in_check_mode(
    inventory: str, home: Path, sandbox: dict[str, Any], audit: Callable[[], list[dict[str, Any]]]
) -> None:
    extra = json.dumps(surroundings(sandbox))
    site = ("-i", f"inventories/{inventory}", "playbooks/site.yml", "--check", "--diff", "-e", extra)
    done = ansible_playbook(*site, HOME=str(home))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    counts = recap(done.stdout)
    assert counts["failed"] == counts["unreachable"] == 0
    assert all(f"{name} " in done.stdout.rpartition("PLAY RECAP")[2] for name in CLUSTERS[inventory])
    assert counts["changed"] > 0, "its models are not served yet"
    assert writes(audit()) == []


# Those for the sandbox itself are in test_operations and test_llmdeployment.
MINE = dict.fromkeys(line.removesuffix(" --diff").removesuffix(" --check") for line in commands() if "/mine" in line)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("mine"))


# It asks a model that check mode did not deploy.
ASKS_A_MODEL = "ansible-playbook -i inventories/mine playbooks/my-load-test.yml"


@pytest.mark.long
def test_a_load_test_of_a_model_that_is_not_served_says_so(mine: Path, home: Path, sandbox: dict[str, Any]) -> None:
    _program, *arguments = shlex.split(ASKS_A_MODEL)
    done = ansible_playbook(*arguments, "--check", "-e", json.dumps(surroundings(sandbox)), folder=mine, HOME=str(home))
    assert done.returncode != 0
    assert "InferenceService model-serving/llama-3-8b does not exist" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("command", [line for line in MINE if line != ASKS_A_MODEL])
def test_a_command_of_the_pages_for_clusters_of_ones_own(
    command: str, mine: Path, home: Path, sandbox: dict[str, Any], audit: Callable[[], list[dict[str, Any]]]
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "ansible-playbook"
    extra = json.dumps(surroundings(sandbox))
    done = ansible_playbook(*arguments, "--check", "--diff", "-e", extra, folder=mine, HOME=str(home))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert writes(audit()) == []

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed can be removed, and then the cluster is as it was: all objects are compared, exceptions are listed.

Changes the whole cluster: it ends with a stack that is installed again.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sandbox.kube import Cluster, wait_until
from tools import sandbox_s3
from tools.cluster_objects import everything
from tools.playbook import ansible_playbook, recap

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("real_node")]
LOCAL = ("-i", "inventories/local")
CONFIRMED = ("-e", "operations_confirm_uninstall=sandbox")
NAMESPACES = ("cert-manager", "gpu-operator", "istio-system", "kserve", "model-serving", "monitoring")
# Of roles that are off; their tests may have run before.
OFF = ("envoy-gateway-system", "knative-serving")
# Made and removed by the cluster itself, all the time.
PASSING = frozenset(
    (
        "Event",
        "EndpointSlice",
        "Endpoints",
        "Lease",
        "PodMetrics",
        "NodeMetrics",
        "ControllerRevision",
        "Node",
        "CSINode",
    )
)
# What stays, and why. Everything else that is left is a fault.
STAYS = {
    r"CustomResourceDefinition .*": "with one goes every object of its kind, whoever made it",
    r"APIService v\w+\..*": "the API server makes one for each group of a CRD",
    rf"Namespace ({'|'.join((*NAMESPACES, *OFF))})": "others may have objects there",
    r"(ServiceAccount .*/default|ConfigMap .*/kube-root-ca\.crt)": "Kubernetes puts them into every namespace",
    r"ConfigMap \S+/istio-ca-(root-cert|crl)": "istiod puts them into every namespace",
    r"Secret kserve/sh\.helm\.release\.v1\.kserve-(llmisvc-)?crd\.v\d+": "the releases of the CRDs, which stay",
    r"ValidatingAdmissionPolicy(Binding)? safe-upgrades\.gateway\.networking\.k8s\.io": "guards CRDs that stay",
    r"\S+ (envoy-gateway-system/)?envoy-gateway-\S+": "of test_envoy_gateway: Helm leaves what hooks made",
    r"(Secret|ConfigMap) cert-manager/cert-manager-\S+": "cert-manager's own CA, which it makes itself",
    r"Secret istio-system/istio-ca-secret": "the CA of the mesh, which certificates of the old one need",
    r"Secret kserve/\S*cert\S*": "cert-manager keeps the Secret of a Certificate that is removed",
    r"ConfigMap istio-system/istio-\S+": "istiod's own, made while it runs",
    r"GatewayClass istio(-\w+)?": "made by istiod itself, not by a chart",
    r"(Validating|Mutating)WebhookConfiguration istio\S*": "made by istiod itself, not by a chart",
    r"PersistentVolume.*": "data",
}


def dump(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """All objects, once nothing is on its way out any more."""
    found: dict[str, dict[str, Any]] = {}

    def settled() -> bool:
        found.clear()
        found.update(everything(cluster, without=PASSING))
        return not [name for name, item in found.items() if item["metadata"].get("deletionTimestamp")]

    wait_until("What is being deleted is gone", settled, 180, 2)
    return found


def described(item: dict[str, Any]) -> dict[str, Any]:
    """What somebody has said of an object."""
    metadata = {key: item["metadata"].get(key) for key in ("labels", "annotations")}
    return {"metadata": metadata, **{key: value for key, value in item.items() if key not in ("metadata", "status")}}


@pytest.fixture(scope="module")
def empty(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """A cluster that only has what earlier installations leave, and what was on it before."""
    for playbook in ("site.yml", "uninstall.yml"):
        done = ansible_playbook(*LOCAL, f"playbooks/{playbook}", *CONFIRMED)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    return dump(cluster)


def keys(sandbox: dict[str, Any], bucket: str = "llm-models") -> set[str]:
    client = sandbox_s3.client(sandbox)
    return {each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_nothing_is_left_but_what_is_listed(cluster: Cluster, empty: dict[str, Any], sandbox: dict[str, Any]) -> None:
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-a-colleague", "namespace": "kserve"}}
    cluster.apply(stranger)
    before = dump(cluster)
    strangers = ("ConfigMap kserve/of-a-colleague",)
    left = [name for name, item in empty.items() if _ours(name, item) and not _stays(name) and name not in strangers]
    assert left == [], "of the first installation"
    done = ansible_playbook(*LOCAL, "playbooks/site.yml")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    removed = ansible_playbook(*LOCAL, "playbooks/uninstall.yml", *CONFIRMED)
    assert removed.returncode == 0, removed.stdout[-8000:] + removed.stderr
    assert "CRDs stay" in removed.stdout
    after = dump(cluster)
    assert sorted(set(before) - set(after)) == [], "something of somebody else is gone"
    assert [name for name in sorted(set(after) - set(before)) if not _stays(name)] == []
    changed = [name for name in before if described(before[name]) != described(after[name]) and not _stays(name)]
    assert changed == []
    assert any(key.startswith("tiny-llama/") for key in keys(sandbox)), "the models stay"
    again = ansible_playbook(*LOCAL, "playbooks/uninstall.yml", *CONFIRMED)
    assert again.returncode == 0, again.stdout[-8000:] + again.stderr
    assert recap(again.stdout)["changed"] == 0


def test_models_go_only_when_asked_for(sandbox: dict[str, Any], empty: dict[str, Any]) -> None:
    tags = ("--tags", "model_storage")
    # There is no KServe whose storage initializer could be asked.
    done = ansible_playbook(*LOCAL, "playbooks/deploy.yml", *tags, "-e", "model_storage_check=never")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    others = {key for key in keys(sandbox) if not key.startswith("tiny-llama/")}
    remove = ("playbooks/uninstall.yml", *tags, *CONFIRMED, "-e", json.dumps({"model_storage_remove_models": True}))
    done = ansible_playbook(*LOCAL, *remove)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert keys(sandbox) == others


def test_the_stack_can_be_installed_again(empty: dict[str, Any]) -> None:
    done = ansible_playbook(*LOCAL, "playbooks/site.yml")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr


def _stays(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in STAYS)


def _ours(name: str, item: dict[str, Any]) -> bool:
    """Whether an object came with the stack: by its marks, its namespace or, of the whole cluster, by its name."""
    metadata = item["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    marked = labels.get("app.kubernetes.io/managed-by") == "Helm" or "llmstack.serving/created-by" in annotations
    inside = metadata.get("namespace") in NAMESPACES
    return marked or inside or bool(re.search(r"istio|kserve|cert-manager|gateway\.networking", name))

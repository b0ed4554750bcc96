# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role model_storage where models or keys are elsewhere: real pods and KServe's own storage initializer."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3.servers import ACCESS_KEY, SECRET_KEY, versitygw
from sandbox import go, pki
from sandbox.kube import Cluster, wait_until
from tools import model_hub, sandbox_parts
from tools.llm_deployments import uploaded
from tools.playbook import ansible_playbook, changed
from tools.run_module import run_module

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("kserve")]

NOWHERE: dict[str, Any] = {"llmstack_models": [], "model_storage_access_key": ""}
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/externalsecrets.external-secrets.io"
STORAGE_CONTAINERS = "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers"


@pytest.fixture(scope="module")
def here(sandbox: dict[str, Any]) -> str:
    """An address of this machine that pods reach."""
    host, port = sandbox["registry"].split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        return str(connection.getsockname()[0])


def deploy(namespace: str, *tags: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    extra = json.dumps({"llmstack_namespace": namespace, **variables})
    return ansible_playbook(
        "-i", "inventories/local", "playbooks/deploy.yml", "--tags", ",".join(tags), "-e", extra, "--diff"
    )


def remove(namespace: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    uninstall = ("playbooks/uninstall.yml", "--tags", "model_storage", "-e", "operations_confirm_uninstall=sandbox")
    extra = json.dumps({"llmstack_namespace": namespace, **variables})
    return ansible_playbook("-i", "inventories/local", *uninstall, "-e", extra)


def applied(cluster: Cluster, path: str, manifest: dict[str, Any]) -> None:
    status, answer = cluster.request(
        "PATCH", f"{path}?fieldManager=test&force=true", manifest, "application/apply-patch+yaml"
    )
    assert status in (200, 201), answer


def answer(cluster: Cluster, namespace: str, name: str) -> Any:
    """What the served model says, asked through the API server."""
    path = f"/api/v1/namespaces/{namespace}/services/{name}-predictor:80/proxy/v1/chat/completions"
    question = {"model": name, "messages": [{"role": "user", "content": "Are you there?"}], "max_tokens": 8}
    status, said = cluster.request("POST", path, question)
    assert status == 200, said
    return said["choices"][0]["message"]["content"]


def test_pods_read_from_a_server_whose_certificate_is_of_ones_own_authority(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str, here: str, tmp_path: Path
) -> None:
    authority = pki.Authority(tmp_path / "pki")
    pair = authority.issue("server", user="server", hosts=(here,))
    options = ("--cert", str(pair.certificate), "--key", str(pair.key))
    with versitygw(tmp_path / "s3", *options, scheme="https", host=here) as server:
        there = {
            "llmstack_bucket": "behind-tls",
            "model_storage_endpoint_url": server.url,
            "model_storage_access_key": ACCESS_KEY,
            "model_storage_secret_key": SECRET_KEY,
        }
        models = {"llmstack_models": [{"name": "tiny-llama", "src": sandbox["model"]}], "model_storage_check": "always"}
        trusted = {**there, **models, "model_storage_ca_bundle": str(authority.pair.certificate)}
        assert changed(deploy(namespace, "model_storage", **trusted)) > 0
        assert changed(deploy(namespace, "model_storage", **trusted)) == 0
        trusting = cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/model-storage")
        assert trusting["data"]["cabundle.crt"].strip() == authority.pair.certificate.read_text().strip()
        # Only what is in the ConfigMap makes the difference.
        changed(deploy(namespace, "model_storage", **there, llmstack_models=[]))
        asked = {"uri": "s3://behind-tls/tiny-llama/", "namespace": namespace, "service_account": "model-reader"}
        check = run_module("llmstack.serving.storage_check", {"kubeconfig": sandbox["kubeconfig"], **asked})
        assert check["failed"]
        assert check["cause"] == "storage_tls"


def test_a_model_is_served_by_an_entry_of_kserve_s_storage_config(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str
) -> None:
    with uploaded(sandbox) as uri:
        bucket, _slash, path = uri.removeprefix("s3://").partition("/")
        entry = {"llmstack_bucket": bucket, "model_storage_config_key": "models", "llmstack_models": []}
        assert changed(deploy(namespace, "model_storage", **entry)) > 0
        service = {
            "kubeconfig": sandbox["kubeconfig"],
            "name": "by-entry",
            "namespace": namespace,
            "runtime": "llmstack-vllm",
            "model_format": "vLLM",
            "gpus": 1,
            "storage": {"key": "models", "path": path},
            "service_account": "model-reader",
            "wait_timeout": 240,
        }
        done = run_module("llmstack.serving.inferenceservice", service)
        assert not done["failed"], done["msg"]
        assert answer(cluster, namespace, "by-entry")


def test_what_holds_keys_goes_also_from_a_shell_without_them(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text("the certificate of an authority")
    keys = {
        "model_storage_config_key": "models",
        "model_storage_huggingface_token": "token-of-the-tests",
        "model_storage_ca_bundle": str(authority),
    }
    assert changed(deploy(namespace, "model_storage", **keys, llmstack_models=[])) > 0
    base = f"/api/v1/namespaces/{namespace}"

    def ours() -> set[str]:
        found = [item for kind in ("secrets", "configmaps") for item in cluster.get(f"{base}/{kind}")["items"]]
        names = {item["metadata"]["name"] for item in found}
        return names & {"model-storage", "model-storage-huggingface", "storage-config"}

    assert ours() == {"model-storage", "model-storage-huggingface", "storage-config"}
    authority.unlink()
    forgotten = {**NOWHERE, "model_storage_ca_bundle": str(authority)}
    assert changed(remove(namespace, **forgotten)) > 0
    assert ours() == set()
    assert changed(remove(namespace, **forgotten)) == 0


@pytest.fixture
def external_secrets(cluster: Cluster) -> Iterator[None]:
    """The External Secrets Operator's own schema of an ExternalSecret, without the operator."""
    source = go.module_directory("external-secrets", "github.com/external-secrets/external-secrets")
    crd = yaml.safe_load((source / "config/crds/bases/external-secrets.io_externalsecrets.yaml").read_text())
    applied(cluster, CRD, crd)

    def established() -> bool:
        conditions = cluster.get(CRD)["status"]["conditions"] or []
        return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)

    wait_until("ExternalSecrets are served", established)
    wait_until("The API server lists them", lambda: cluster.get("/apis/external-secrets.io/v1/externalsecrets"))
    yield
    cluster.request("DELETE", CRD)


def test_an_external_secret_fits_its_schema_and_waits_for_its_operator(
    cluster: Cluster, namespace: str, external_secrets: None
) -> None:
    external = {
        "store": "vault",
        "access_key": {"key": "models/s3", "property": "access_key", "version": "3"},
        "secret_key": {"key": "models/s3", "property": "secret_key"},
    }
    alone = {**NOWHERE, "model_storage_timeout_seconds": 5}
    waits = deploy(namespace, "model_storage", **alone, model_storage_external_secret=external)
    assert waits.returncode != 0
    assert "ExternalSecret" in waits.stdout
    assert "has no condition Ready for this generation yet" in waits.stdout
    base = f"/apis/external-secrets.io/v1/namespaces/{namespace}/externalsecrets"
    spec = cluster.get(f"{base}/model-storage")["spec"]
    # What the schema does not know would have been dropped, and what it adds is its own default.
    assert spec["refreshInterval"] == "1h"
    assert spec["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
    assert spec["target"]["name"] == "model-storage"
    annotations = spec["target"]["template"]["metadata"]["annotations"]
    assert annotations["serving.kserve.io/s3-region"] == "us-east-1"
    references = {entry["secretKey"]: entry["remoteRef"] for entry in spec["data"]}
    assert references["AWS_ACCESS_KEY_ID"].items() >= external["access_key"].items()  # type: ignore[attr-defined]
    assert references["AWS_SECRET_ACCESS_KEY"].items() >= external["secret_key"].items()  # type: ignore[attr-defined]
    wrong = {**external, "access_key": {"key": "models/s3", "proprety": "access_key"}}
    refused = deploy(namespace, "model_storage", **alone, model_storage_external_secret=wrong)
    assert refused.returncode != 0
    assert "proprety" in refused.stdout
    assert cluster.get(f"{base}/model-storage")["spec"] == spec
    assert changed(remove(namespace, **alone, model_storage_external_secret=external)) > 0
    assert cluster.get(base)["items"] == []


def test_a_cluster_without_the_operator_has_no_external_secret_to_remove(namespace: str) -> None:
    assert changed(remove(namespace, **NOWHERE, model_storage_external_secret={"store": "vault"})) == 0


@pytest.fixture
def operator(sandbox: dict[str, Any], real_node: None) -> Iterator[None]:
    """The External Secrets Operator itself, as its own chart installs it."""
    sandbox_parts.add("external-secrets")
    # By reference: the manifest is longer than a command may be.
    manifest = f"lookup('ansible.builtin.file', '{sandbox['manifests']}/external-secrets.yaml')"
    documents = f"{{{{ {manifest} | from_yaml_all | select | list }}}}"
    objects = {"kubeconfig": sandbox["kubeconfig"], "definitions": documents}
    done = run_module("llmstack.serving.apply", objects)
    assert not done["failed"], done["msg"]
    yield
    run_module("llmstack.serving.apply", {**objects, "state": "absent"})


@pytest.fixture
def store(cluster: Cluster, sandbox: dict[str, Any], namespace: str, operator: None) -> Iterator[str]:
    """A ClusterSecretStore of a namespace whose Secrets the operator reads, with an account that may do just that."""
    vault = f"{namespace}-vault"
    meta = {"name": "reader", "namespace": vault}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": vault}})
    keys = {"access": sandbox["s3"]["access_key_id"], "secret": sandbox["s3"]["secret_access_key"]}
    rules = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectrulesreviews"], "verbs": ["create"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    reader = {
        "subjects": [{"kind": "ServiceAccount", **meta}],
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
    }
    account = {"name": "reader", "namespace": vault}
    authority = {"type": "ConfigMap", "name": "kube-root-ca.crt", "namespace": vault, "key": "ca.crt"}
    provider = {
        "remoteNamespace": vault,
        "server": {"url": "https://kubernetes.default.svc", "caProvider": authority},
        "auth": {"serviceAccount": account},
    }
    kind = {"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore"}
    objects = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "name": "models"}, "stringData": keys},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta, **reader},
        {**kind, "metadata": {"name": namespace}, "spec": {"provider": {"kubernetes": provider}}},
    ]
    stored = {"kubeconfig": sandbox["kubeconfig"], "definitions": objects, "wait_timeout": 120}
    done = run_module("llmstack.serving.apply", stored)
    assert not done["failed"], done["msg"]
    yield namespace
    run_module("llmstack.serving.apply", {**stored, "state": "absent"})
    cluster.request("DELETE", f"/api/v1/namespaces/{vault}")


def test_pods_read_with_keys_that_the_operator_brings(
    sandbox: dict[str, Any], cluster: Cluster, namespace: str, store: str
) -> None:
    keys = {
        name: {"key": "models", "property": part} for name, part in (("access_key", "access"), ("secret_key", "secret"))
    }
    external = {"store": store, **keys}
    with uploaded(sandbox) as uri:
        there = {**NOWHERE, "model_storage_external_secret": external}
        done = deploy(namespace, "model_storage", **there)
        assert changed(done) > 0
        assert changed(deploy(namespace, "model_storage", **there)) == 0
        assert sandbox["s3"]["secret_access_key"] not in done.stdout
        secret = cluster.get(f"/api/v1/namespaces/{namespace}/secrets/model-storage")
        assert set(secret["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        asked = {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace, "service_account": "model-reader"}
        readable = run_module("llmstack.serving.storage_check", {**asked, "uri": f"{uri}/"})
        assert readable["readable"], readable
    # A key that the store does not have is the operator's to report, in the role's words.
    missing = {**external, "access_key": {"key": "models", "property": "no-such"}}
    there |= {"model_storage_external_secret": missing, "model_storage_timeout_seconds": 20}
    failed = deploy(namespace, "model_storage", **there)
    assert failed.returncode != 0
    assert "Ready is False (SecretSyncedError)" in failed.stdout


@pytest.fixture
def volume(sandbox: dict[str, Any], cluster: Cluster, tmp_path: Path, namespace: str) -> Iterator[str]:
    """A directory of the node with the tiny model, as a PersistentVolume of this storage class."""
    shutil.copytree(sandbox["model"], tmp_path / "volume" / "tiny-llama")
    # The engine is not root.
    for path in (tmp_path / "volume", *(tmp_path / "volume").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    path = f"/api/v1/persistentvolumes/{namespace}"
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": namespace,
        "hostPath": {"path": str(tmp_path / "volume"), "type": "Directory"},
    }
    applied(
        cluster,
        path,
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": spec},
    )
    yield namespace
    cluster.request("DELETE", path)


@pytest.mark.parametrize("manages_namespace", [True, False])
def test_a_model_is_served_from_a_volume(
    cluster: Cluster, namespace: str, volume: str, manages_namespace: bool
) -> None:
    claim = {"name": "models", "size": "1Gi", "storage_class_name": volume}
    service = {"name": "on-volume", "storage_uri": "pvc://models/tiny-llama", "gpus": 1}
    variables = {
        **NOWHERE,
        "model_storage_volume_claim": claim,
        "llmstack_inference_services": [service],
        "llmstack_manage_namespace": manages_namespace,
    }
    assert changed(deploy(namespace, "model_storage", "inference_service", **variables)) > 0
    assert changed(deploy(namespace, "model_storage", "inference_service", **variables)) == 0
    assert answer(cluster, namespace, "on-volume")
    pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    claims = [
        entry["persistentVolumeClaim"]["claimName"]
        for pod in pods
        for entry in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in entry
    ]
    assert claims == ["models"]


@pytest.fixture
def hub(sandbox: dict[str, Any], cluster: Cluster, here: str, namespace: str) -> Iterator[str]:
    """A hub that asks for a token, and the name of a ClusterStorageContainer that looks there."""
    [usual] = [item for item in cluster.get(STORAGE_CONTAINERS)["items"] if item["metadata"]["name"] == "default"]
    with model_hub.serving("llmstack/tiny-llama", Path(sandbox["model"]), "token-of-the-tests", here) as url:
        container = {**usual["spec"]["container"], "env": [{"name": "HF_ENDPOINT", "value": url}]}
        container = {**usual["spec"], "container": container}
        path = f"{STORAGE_CONTAINERS}/{namespace}"
        kind = {"apiVersion": usual["apiVersion"], "kind": "ClusterStorageContainer"}
        applied(cluster, path, {**kind, "metadata": {"name": namespace}, "spec": container})
        yield namespace
        cluster.request("DELETE", path)


def test_a_gated_model_comes_from_the_hub_with_the_token(cluster: Cluster, namespace: str, hub: str) -> None:
    service = {
        "name": "from-hub",
        "storage_uri": "hf://llmstack/tiny-llama",
        "gpus": 1,
        "annotations": {"internal.serving.kserve.io/storage-container-name": hub},
    }
    variables = {**NOWHERE, "llmstack_inference_services": [service]}
    token = {"model_storage_huggingface_token": "token-of-the-tests"}
    done = deploy(namespace, "model_storage", "inference_service", **variables, **token)
    assert changed(done) > 0
    assert "token-of-the-tests" not in done.stdout
    assert changed(deploy(namespace, "model_storage", "inference_service", **variables, **token)) == 0
    assert answer(cluster, namespace, "from-hub")

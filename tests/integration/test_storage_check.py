# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""storage_check on the sandbox: real pods, KServe's own storage initializer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.kube import Cluster
from tools import sandbox_s3
from tools.run_module import run_module

Check = Callable[..., dict[str, Any]]


@pytest.fixture
def storage_check(sandbox: dict[str, Any], kserve: None, namespace: str) -> Check:
    def call(check: bool = False, **params: Any) -> dict[str, Any]:
        arguments = {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace, **params}
        return run_module("llmstack.serving.storage_check", arguments, check=check)

    return call


@pytest.fixture
def bucket(sandbox: dict[str, Any]) -> Iterator[str]:
    client = sandbox_s3.client(sandbox)
    name = f"check-{time.time_ns()}"
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="llama/config.json", Body=b"{}")
    client.put_object(Bucket=name, Key="llama-2/config.json", Body=b"{}")
    yield name
    for key in ("llama/config.json", "llama-2/config.json"):
        client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


def account(cluster: Cluster, namespace: str, sandbox: dict[str, Any], name: str, secret_key: str | None) -> None:
    """A service account that reads with this key, as role model_storage makes it."""
    s3 = sandbox["s3"]
    host = s3["endpoint_url"].partition("//")[2]
    annotations = {"serving.kserve.io/s3-endpoint": host, "serving.kserve.io/s3-usehttps": "0"}
    annotations["serving.kserve.io/s3-region"] = s3["region"]
    path = f"/api/v1/namespaces/{namespace}"
    if secret_key:
        keys = {"AWS_ACCESS_KEY_ID": s3["access_key_id"], "AWS_SECRET_ACCESS_KEY": secret_key}
        secret = {"metadata": {"name": name, "annotations": annotations}, "stringData": keys}
        assert cluster.request("POST", f"{path}/secrets", secret)[0] == 201
    secrets = [{"name": name}] if secret_key else []
    made = cluster.request("POST", f"{path}/serviceaccounts", {"metadata": {"name": name}, "secrets": secrets})
    assert made[0] == 201


def test_what_can_be_read_and_why_the_rest_cannot(
    storage_check: Check, sandbox: dict[str, Any], cluster: Cluster, namespace: str, bucket: str
) -> None:
    account(cluster, namespace, sandbox, "reader", sandbox["s3"]["secret_access_key"])
    account(cluster, namespace, sandbox, "stranger", "a-key-of-nobody")
    account(cluster, namespace, sandbox, "nobody", None)
    asked = {
        "folder": {"uri": f"s3://{bucket}/llama/", "service_account": "reader"},
        "key": {"uri": f"s3://{bucket}/mistral/", "service_account": "reader"},
        "bucket": {"uri": f"s3://no-{bucket}/llama/", "service_account": "reader"},
        "wrong key": {"uri": f"s3://{bucket}/llama/", "service_account": "stranger"},
        "no key": {"uri": f"s3://{bucket}/llama/", "service_account": "nobody"},
    }
    with ThreadPoolExecutor(len(asked)) as pool:
        found = dict(zip(asked, pool.map(lambda params: storage_check(**params), asked.values()), strict=True))
    assert found["folder"]["readable"] is True
    assert found["folder"]["changed"] is False
    assert "storage-initializer" in found["folder"]["image"]
    causes = {name: result.get("cause") for name, result in found.items()}
    assert causes == {
        "folder": None,
        "key": "storage_key",
        "bucket": "storage_bucket",
        "wrong key": "storage_credentials",
        "no key": "storage_credentials",
    }
    assert f"nothing at s3://{bucket}/mistral/" in found["key"]["msg"]
    assert f"no bucket no-{bucket}" in found["bucket"]["msg"]
    assert "service account stranger cannot read" in found["wrong key"]["msg"]
    assert "a-key-of-nobody" not in str(found)
    _status, left = cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods")
    assert [pod for pod in left["items"] if not pod["metadata"].get("deletionTimestamp")] == []


def test_a_service_account_that_is_not_there_is_said(storage_check: Check) -> None:
    result = storage_check(uri="s3://models/llama", service_account="nobody-made-it")
    assert result["failed"]
    assert "nobody-made-it" in result["msg"]


def test_check_mode_runs_no_pod(
    storage_check: Check, audit: Callable[[], list[dict[str, Any]]], cluster: Cluster, namespace: str
) -> None:
    result = storage_check(check=True, uri="s3://models/llama")
    assert result["readable"] is None
    assert "storage-initializer" in result["image"]
    written = [
        event
        for event in audit()
        if event["verb"] not in ("get", "list", "watch") and event.get("objectRef", {}).get("namespace") == namespace
        if event["userAgent"] == "llmstack.serving"
    ]
    assert written
    assert all("dryRun=All" in event["requestURI"] for event in written)


def test_a_uri_that_needs_no_initializer_is_said(storage_check: Check) -> None:
    result = storage_check(uri="pvc://models/llama")
    assert result["failed"]
    assert result["cause"] == "storage_initializer"

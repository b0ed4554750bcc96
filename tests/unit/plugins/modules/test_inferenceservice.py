# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs an API server that is not well, or none; the rest is in tests/integration."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.llmstack.serving.plugins.modules import inferenceservice

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/llama"
SERVICE = {"name": "llama", "namespace": "models", "model_format": "vLLM", "storage_uri": "s3://models/llama"}


@pytest.fixture
def run(run_module: Any) -> Any:
    def call(check: bool = False, **params: Any) -> dict[str, Any]:
        return run_module(inferenceservice, check=check, **{**SERVICE, **params})

    return call


def test_without_kserve_it_says_what_to_install_and_check_mode_predicts(api: Any, run: Any) -> None:
    api.planned[("GET", PATH)] = [(404, "404 page not found")] * 2
    refused = run()
    assert refused["failed"] is True
    assert "does not serve this kind. Install its CustomResourceDefinition first" in refused["msg"]
    predicted = run(check=True)
    assert predicted["changed"] is True
    assert "does not serve this kind" in predicted["warnings"][0]
    assert api.writes == []


def test_what_kserve_would_refuse_is_told_at_once_before_anything_is_sent_to_it(api: Any, run: Any) -> None:
    refused = run(min_replicas=3, max_replicas=2, container_concurrency=-1)
    assert "min_replicas (3) is greater than max_replicas (2)" in refused["msg"]
    assert "container_concurrency must not be negative" in refused["msg"]
    assert [method for method, _path, _query in api.requests] == ["GET"]


def test_another_deployment_mode_is_refused_with_the_way_out(api: Any, run: Any) -> None:
    served = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "llama"}}
    api.put(PATH, {**served, "spec": {"predictor": {}}, "status": {"deploymentMode": "Standard"}})
    refused = run(deployment_mode="Serverless")
    assert "deployment_mode cannot be changed from Standard to Knative. Delete the service" in refused["msg"]
    assert api.writes == []


def test_without_a_wait_nothing_is_watched(api: Any, run: Any) -> None:
    created = run(wait=False)
    assert created["changed"] is True
    assert created["pods"] == []
    assert not any("watch" in query for _method, _path, query in api.requests)


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Options for a server whose certificate has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api")])
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(long_ago)
        .not_valid_after(long_ago + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + certificate)
    (tmp_path / "ca.pem").write_bytes(certificate)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    # What a client breaks off is no news.
    server.handle_error = lambda request, address: None  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield {"host": f"https://127.0.0.1:{server.server_port}", "ca_cert": str(tmp_path / "ca.pem")}
    server.shutdown()
    server.server_close()


def test_expired_certificate_is_told_as_such(run: Any, expired: dict[str, str]) -> None:
    assert "shows an expired certificate. Renew it, or check the clock" in run(**expired)["msg"]

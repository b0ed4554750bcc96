# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads as users start them: from a playbook, with credentials from where AWS tools look, with signatures."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import http.server
import importlib.resources
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.loaders import Loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.llmstack.serving.plugins.module_utils import _model_upload, _progress, _s3
from ansible_collections.llmstack.serving.plugins.module_utils._upload_plan import Part
from s3 import loopback
from s3.faulty_proxy import Asked, proxy
from s3.servers import ACCESS_KEY, REGION, SECRET_KEY, Server, stored
from tools import checkout

Upload = Callable[..., dict[str, Any]]
NO_KEYS = {"access_key": None, "secret_key": None}
MANIFEST = ".llmstack-manifest.json"


def playbook(folder: Path, tasks: list[dict[str, Any]], *options: str, **environment: str) -> str:
    """Run the module from a playbook; everything that was printed."""
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [{"llmstack.serving.s3_model_upload": parameters} for parameters in tasks],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    variables |= {"ANSIBLE_COLLECTIONS_PATH": str(checkout.ROOT / "playbooks" / "collections"), **environment}
    # The interpreter of the tests need not be the one whose ansible-playbook is first in PATH.
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(folder / "play.yml"), *options]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_playbook_shows_no_secret_even_at_vvv(gateway: Server, bucket: str, model: Path, tmp_path: Path) -> None:
    parameters = {
        "src": str(model),
        "bucket": bucket,
        "prefix": "llama",
        "create_bucket": True,
        "endpoint_url": gateway.url,
        "region": REGION,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "session_token": None,
        "state_dir": str(tmp_path / "state"),
    }
    tasks = [parameters, parameters | {"secret_key": "quite-another-secret", "session_token": "token-of-a-session"}]
    printed = playbook(tmp_path, tasks, "-vvv", "--diff")
    assert "changed=1" in printed
    assert "Cannot list the bucket: " in printed
    for secret in (SECRET_KEY, "quite-another-secret", "token-of-a-session", "X-Amz-Signature"):
        assert secret not in printed


def test_a_long_upload_shows_progress(
    gateway: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_model_upload, "_PROGRESS_EVERY_SECONDS", 0.2)
    monkeypatch.setenv(_progress.FILE_VARIABLE, str(tmp_path / "progress"))
    upload(src=str(model), endpoint_url=gateway.url, bandwidth_limit="16MiB")
    lines = (tmp_path / "progress").read_text().splitlines()
    assert lines
    for line in lines:
        assert line.startswith(f"s3://{bucket}/llama: ")
        assert " of 4 files, " in line
        assert " GB, " in line
        assert " MB/s" in line


@pytest.mark.long
def test_a_playbook_shows_lines_while_the_upload_runs(
    gateway: Server, bucket: str, model: Path, tmp_path: Path
) -> None:
    there = {"src": str(model), "bucket": bucket, "prefix": "llama", "create_bucket": True, "endpoint_url": gateway.url}
    keys = {"region": REGION, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    slowly = {"bandwidth_limit": "600KiB", "part_size": "5MiB", "state_dir": str(tmp_path / "state")}
    printed = playbook(tmp_path, [there | keys | slowly])
    assert "changed=1" in printed
    line = rf"\[localhost\] s3://{bucket}/llama: \d of 4 files, [\d.]+ of 0.01 GB, \d+ MB/s"
    assert re.search(line, printed), printed


def test_credentials_come_from_the_environment(
    gateway: Server, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.url)
    result = upload(src=str(model), region=None, **NO_KEYS)
    assert result["changed"] is True


def test_credentials_come_from_a_profile(gateway: Server, model: Path, upload: Upload, tmp_path: Path) -> None:
    keys = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    (tmp_path / "aws-credentials").write_text(f"[staging]\n{keys}")
    result = upload(src=str(model), endpoint_url=gateway.url, profile="staging", **NO_KEYS)
    assert result["changed"] is True


def test_credentials_come_from_a_web_identity(
    memory: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a pod with an IAM role: a token in a file, which STS changes for keys that live an hour."""
    (tmp_path / "token").write_text("token-of-the-service-account")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/models")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", memory.url)
    result = upload(src=str(model), endpoint_url=memory.url, **NO_KEYS)
    assert not result.get("failed"), result["msg"]
    assert stored(memory, bucket)["config.json"] == (model / "config.json").read_bytes()
    assert "token-of-the-service-account" not in str(result)


def bucket_in(region: str | None, **keys: str) -> _s3.Bucket:
    connection = dict.fromkeys(_s3.AWS_ARG_SPEC) | {"region": region, "validate_certs": True, **keys}
    return _s3.Bucket("models", connection, concurrency=1, attempts=1)


def test_a_description_of_s3_in_aws_data_path_wins_over_that_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = Loader().load_service_model("s3", "service-2")
    del description["shapes"]["UploadPartRequest"]["members"]["ChecksumCRC32C"]
    newer = tmp_path / "data" / "s3" / "9999-12-31"
    newer.mkdir(parents=True)
    (newer / "service-2.json").write_text(json.dumps(description))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path / "data"))
    bucket = bucket_in(REGION)
    assert not bucket.speaks("crc32c")
    assert bucket.speaks("crc32")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1"])
def test_the_bytes_go_to_the_host_of_the_region_like_everything_else(region: str) -> None:
    there = bucket_in(region, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    host = urlsplit(there.endpoint).netloc
    part = Part(1, 0, 5)
    targets = [
        there.put_target("llama/config.json", "crc32", "AAAAAA==", _s3.ObjectOptions()),
        there.part_target("llama/model.safetensors", "upload", part, "crc32", "AAAAAA=="),
    ]
    assert [urlsplit(target.url).netloc for target in targets] == [f"models.{host}"] * 2


def test_a_bucket_of_another_region_is_read_there_and_never_written(
    gateway: Server, model: Path, upload: Upload
) -> None:
    connection = dict.fromkeys(_s3.AWS_ARG_SPEC) | {"endpoint_url": gateway.url, "region": "eu-west-3"}
    connection |= {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "validate_certs": True}
    uploaded = upload(src=str(model), endpoint_url=gateway.url)
    name = urlsplit(uploaded["uri"]).netloc
    reader = _s3.Bucket(name, connection, concurrency=1, attempts=1, in_any_region=True)
    assert f"llama/{MANIFEST}" in (reader.objects("llama/") or {})
    writer = _s3.Bucket(name, connection, concurrency=1, attempts=1)
    with pytest.raises(_s3.S3Error, match=r"is in another region than eu-west-3: set region\.$"):
        writer.objects("llama/")


@pytest.mark.parametrize(
    ("region", "environment", "found"),
    [
        (None, {"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        (None, {"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        (None, {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ("eu-west-3", {"AWS_REGION": "eu-west-1"}, "eu-west-3"),
    ],
)
def test_the_region_comes_from_the_task_or_the_environment(
    region: str | None, environment: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bucket_in(region).region == found


def test_everything_goes_through_the_proxy_of_the_environment(
    gateway: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy() as (url, passed):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        result = upload(src=str(model), endpoint_url=gateway.url)
        monkeypatch.undo()
    assert not result.get("failed"), result["msg"]
    assert stored(gateway, bucket)["model.safetensors"] == (model / "model.safetensors").read_bytes()
    # The requests of the library and those with the bytes of files.
    assert any("list-type=2" in target for target in passed)
    assert len([target for target in passed if "partNumber=" in target and "X-Amz-Signature" in target]) == 3
    assert all(target.startswith(f"{gateway.url}/") for target in passed)


@contextlib.contextmanager
def forward_proxy() -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy on loopback: its URL, and the URLs that it was asked for."""
    passed: list[str] = []

    class Forward(loopback.Handler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            passed.append(self.path)
            target = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            onward = http.client.HTTPConnection(target.netloc)
            headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
            onward.request(self.command, f"{target.path}?{target.query}", body, headers)
            answer = onward.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            onward.close()

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

    with loopback.serving(Forward) as url:
        yield url, passed


def test_keys_of_the_task_win_over_a_profile_of_the_environment(
    gateway: Server, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-somebody-else")
    result = upload(src=str(model), endpoint_url=gateway.url)
    assert not result.get("failed"), result["msg"]


def test_credentials_that_expire_on_the_way_are_looked_for_again(
    gateway: Server, bucket: str, model: Path, upload: Upload, tmp_path: Path
) -> None:
    """A helper process rewrites the shared file while the upload runs, as SSO and vault agents do."""
    path = tmp_path / "aws-credentials"
    good = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    path.write_text(good)
    expired = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
    with proxy(gateway.url) as running:

        def expire_once(asked: Asked) -> tuple[str | None, Any]:
            hit = "partNumber=2" in asked.path and "expired" not in running.broken
            return ("expired" if hit else None), None

        running.answers["expired"] = (400, expired)
        running.choose = expire_once
        result = upload(src=str(model), endpoint_url=running.url, **NO_KEYS)
    assert not result.get("failed"), result["msg"]
    assert running.broken == ["expired"]
    assert stored(gateway, bucket)["model.safetensors"] == (model / "model.safetensors").read_bytes()


def test_credentials_that_stay_expired_are_an_error(gateway: Server, model: Path, upload: Upload) -> None:
    expired = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
    with proxy(gateway.url) as running:
        running.answers["expired"] = (400, expired)
        running.choose = lambda asked: ("expired", None)
        result = upload(src=str(model), endpoint_url=running.url)
    assert result["msg"] == "Cannot list the bucket: the session credentials have expired: get new ones."


@pytest.fixture
def key(tmp_path: Path) -> ec.EllipticCurvePrivateKey:
    made = ec.generate_private_key(ec.SECP256R1())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(made.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    public = made.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    return made


@pytest.fixture
def signed(model: Path, key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> dict[str, Any]:
    """The option for a model that has just been signed."""
    from model_signing import hashing, signing

    ignored = hashing.Config().set_ignored_paths(paths=[model / "model.sig"])
    signer = signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem")
    signer.set_hashing_config(ignored).sign(model, model / "model.sig")
    return {"public_key": str(tmp_path / "public.pem")}


def test_a_signed_model_is_sent(
    gateway: Server, bucket: str, model: Path, signed: dict[str, Any], upload: Upload
) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, signature=signed)
    assert not result.get("failed"), result["msg"]
    assert "model.sig" in stored(gateway, bucket)


def test_a_signed_model_that_was_changed_is_not_sent(
    gateway: Server, bucket: str, model: Path, signed: dict[str, Any], upload: Upload
) -> None:
    (model / "config.json").write_text('{"auto_map": "evil"}')
    result = upload(src=str(model), endpoint_url=gateway.url, signature=signed)
    assert "does not hold" in result["msg"]
    assert "nothing was sent" in result["msg"]
    assert "config.json" in result["msg"]
    assert bucket not in [entry["Name"] for entry in gateway.client().list_buckets()["Buckets"]]


def test_a_file_that_the_signature_does_not_cover_is_not_sent(
    gateway: Server, model: Path, signed: dict[str, Any], upload: Upload
) -> None:
    (model / "modeling_llama.py").write_text("import os")
    result = upload(src=str(model), endpoint_url=gateway.url, signature=signed)
    assert "does not cover modeling_llama.py, nothing was sent" in result["msg"]
    left_out = upload(src=str(model), endpoint_url=gateway.url, signature=signed, exclude=["*.py"])
    assert not left_out.get("failed"), left_out["msg"]


def test_the_signature_of_somebody_else_is_not_accepted(
    gateway: Server, model: Path, signed: dict[str, Any], upload: Upload, tmp_path: Path
) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "other.pem").write_bytes(pem)
    result = upload(src=str(model), endpoint_url=gateway.url, signature={"public_key": str(tmp_path / "other.pem")})
    assert "does not hold" in result["msg"]


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, path: Path
) -> None:
    """A certificate for signing; of an authority if it is its own issuer."""
    now = datetime.datetime.now(datetime.UTC)
    authority = name == issuer
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage), True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        built = built.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    path.write_bytes(built.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def test_a_signature_by_a_certificate_of_a_known_authority_is_accepted_and_no_other(
    gateway: Server, model: Path, key: ec.EllipticCurvePrivateKey, upload: Upload, tmp_path: Path
) -> None:
    from model_signing import hashing, signing

    authority, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    certificate("publishers", authority, "publishers", authority, tmp_path / "authority.pem")
    certificate("strangers", stranger, "strangers", stranger, tmp_path / "stranger.pem")
    certificate("publisher", key, "publishers", authority, tmp_path / "publisher.pem")
    signer = signing.Config().use_certificate_signer(
        private_key=tmp_path / "key.pem",
        signing_certificate=tmp_path / "publisher.pem",
        certificate_chain=[tmp_path / "authority.pem"],
    )
    signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=[model / "model.sig"]))
    signer.sign(model, model / "model.sig")
    signature = {"certificate_chain": [str(tmp_path / "authority.pem")]}
    result = upload(src=str(model), endpoint_url=gateway.url, signature=signature)
    assert not result.get("failed"), result["msg"]
    signature = {"certificate_chain": [str(tmp_path / "stranger.pem")]}
    assert "does not hold" in upload(src=str(model), endpoint_url=gateway.url, signature=signature)["msg"]


@pytest.fixture
def public_trust(tmp_path: Path) -> str:
    """The trust roots of the public Sigstore, as its library carries them: nothing is asked on the network."""
    carried = Path(str(importlib.resources.files("sigstore") / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"))
    trust = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads((carried / "trusted_root.json").read_text()),
        "signingConfig": json.loads((carried / "signing_config.v0.2.json").read_text()),
    }
    (tmp_path / "trust.json").write_text(json.dumps(trust))
    return str(tmp_path / "trust.json")


def test_a_signature_by_a_key_is_none_of_an_identity(
    gateway: Server, model: Path, signed: dict[str, Any], public_trust: str, upload: Upload
) -> None:
    who = {"identity": "release@example.com", "identity_provider": "https://accounts.example.com"}
    signature = {**who, "trust_config": public_trust}
    result = upload(src=str(model), endpoint_url=gateway.url, signature=signature)
    assert "does not hold" in result["msg"]
    assert "nothing was sent" in result["msg"]


def test_trust_roots_that_are_none_are_said(
    gateway: Server, model: Path, signed: dict[str, Any], upload: Upload, tmp_path: Path
) -> None:
    (tmp_path / "trust.json").write_text("{}")
    who = {"identity": "release@example.com", "identity_provider": "https://accounts.example.com"}
    signature = {**who, "trust_config": str(tmp_path / "trust.json")}
    result = upload(src=str(model), endpoint_url=gateway.url, signature=signature)
    assert "model.sig cannot be checked, nothing was sent" in result["msg"]
    assert "\n" not in result["msg"]


def test_a_missing_signature_is_said(gateway: Server, model: Path, key: object, upload: Upload, tmp_path: Path) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, signature={"public_key": str(tmp_path / "public.pem")})
    assert "model.sig cannot be read" in result["msg"]


def test_without_the_library_a_signature_is_an_error_that_names_it(
    gateway: Server, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    result = upload(src=str(model), endpoint_url=gateway.url, signature={"public_key": "/k.pem"})
    assert "model-signing" in result["msg"]
    assert result["failed"]

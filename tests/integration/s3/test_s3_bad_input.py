# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one sentence before anything is changed."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._upload_memory import Journal
from s3 import loopback
from s3.servers import Server, stored, versitygw
from sandbox import pki

Upload = Callable[..., dict[str, Any]]
# A client of the tests does not verify certificates either.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
MODULE_UTILS = "ansible_collections.llmstack.serving.plugins.module_utils"


def refused(result: dict[str, Any], *phrases: str) -> None:
    """It failed with one line that has these phrases, ends as a sentence, and hides no exception."""
    assert result.get("failed") is True
    message = result["msg"]
    for phrase in phrases:
        assert phrase in message
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in str(result)


def nothing_there(server: Server, bucket: str) -> bool:
    names = [entry["Name"] for entry in server.client().list_buckets()["Buckets"]]
    return bucket not in names or stored(server, bucket) == {}


def test_a_source_that_is_not_there(gateway: Server, bucket: str, upload: Upload) -> None:
    refused(upload(src="/no/such/model", endpoint_url=gateway.url), "src /no/such/model does not exist")
    assert nothing_there(gateway, bucket)


def test_an_empty_directory(gateway: Server, bucket: str, tmp_path: Path, upload: Upload) -> None:
    (tmp_path / "empty").mkdir()
    refused(upload(src=str(tmp_path / "empty"), endpoint_url=gateway.url), "holds no file to upload")
    assert nothing_there(gateway, bucket)


def test_patterns_that_leave_nothing(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    refused(upload(src=str(model), endpoint_url=gateway.url, include=["*.gguf"]), "include and exclude considered")
    assert nothing_there(gateway, bucket)


def test_a_file_that_may_not_be_read(
    gateway: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The superuser may read everything: what the system would say to others is said here.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("config.json"))
    refused(upload(src=str(model), endpoint_url=gateway.url), "config.json cannot be read: permission denied")
    assert nothing_there(gateway, bucket)


def test_a_file_of_checksums_that_is_not_there(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, expected_sha256="/no/such/SHA256SUMS")
    assert result["msg"] == "expected_sha256: /no/such/SHA256SUMS does not exist on this machine."
    assert nothing_there(gateway, bucket)


def test_a_link_to_nothing(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    (model / "gone.safetensors").symlink_to("../blobs/none")
    refused(upload(src=str(model), endpoint_url=gateway.url), "gone.safetensors disappeared, or is a link to nothing")
    assert nothing_there(gateway, bucket)


def test_a_directory_that_contains_itself(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    (model / "sub dir" / "again").symlink_to("..")
    refused(upload(src=str(model), endpoint_url=gateway.url), "a link to a directory that contains it")
    assert nothing_there(gateway, bucket)


def test_a_pipe_in_the_directory(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    os.mkfifo(model / "pipe")
    refused(upload(src=str(model), endpoint_url=gateway.url), "pipe is neither a file nor a directory")
    assert nothing_there(gateway, bucket)


def test_a_file_beyond_what_an_object_may_be(
    gateway: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE_UTILS}._upload_plan.LARGEST_OBJECT_BYTES", 1024)
    refused(upload(src=str(model), endpoint_url=gateway.url), "model.safetensors has 11534336 bytes", "split it")
    assert nothing_there(gateway, bucket)


def test_a_key_that_is_too_long(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    folder = model / "/".join(["d" * 200] * 5)
    folder.mkdir(parents=True)
    (folder / ("f" * 100)).write_text("x")
    refused(upload(src=str(model), endpoint_url=gateway.url), "S3 allows 1024")
    assert nothing_there(gateway, bucket)


def test_a_name_with_a_newline(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    (model / "a\nb.json").write_text("x")
    refused(upload(src=str(model), endpoint_url=gateway.url), "contains a control character such as a newline")
    assert nothing_there(gateway, bucket)


def test_a_bucket_that_is_not_there(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, create_bucket=False)
    refused(result, f"bucket {bucket} does not exist", "create_bucket: true")
    assert nothing_there(gateway, bucket)


def test_absent_in_a_bucket_that_is_not_there_changes_nothing(gateway: Server, upload: Upload) -> None:
    assert upload(endpoint_url=gateway.url, state="absent")["changed"] is False


@pytest.mark.parametrize(
    ("parameters", "phrase"),
    [
        ({"prefix": "/"}, "prefix must not be empty"),
        ({"prefix": "a//b"}, "prefix 'a//b' cannot be used"),
        ({"prefix": "../b"}, "an empty, . or .. path segment"),
        ({"part_size": "1MiB"}, "part_size must be 5MiB to 5GiB"),
        ({"part_size": "64 parts"}, "'64 parts' is not a size"),
        ({"concurrency": 0}, "concurrency must be 1 to 64"),
        ({"bandwidth_limit": "0"}, "bandwidth_limit must not be 0"),
        ({"manifest": "../x"}, "manifest '../x' cannot be used"),
        ({"bucket": "Models_"}, "is not a valid bucket name"),
    ],
)
def test_parameters_that_cannot_be(
    parameters: dict[str, Any], phrase: str, gateway: Server, model: Path, upload: Upload
) -> None:
    refused(upload(src=str(model), endpoint_url=gateway.url, **parameters), phrase)


def test_an_access_key_that_the_server_does_not_know(gateway: Server, model: Path, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, access_key="nobody")
    refused(result, "does not know the access key")


def test_a_secret_key_that_does_not_belong_to_the_access_key(gateway: Server, model: Path, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, secret_key="a-wrong-secret")
    refused(result, "refuses the signature")
    assert "a-wrong-secret" not in str(result)


def test_no_credentials_at_all(gateway: Server, model: Path, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, access_key=None, secret_key=None)
    refused(result, "no credentials: give access_key and secret_key")


def test_a_profile_that_is_not_there(gateway: Server, model: Path, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=gateway.url, access_key=None, secret_key=None, profile="staging")
    refused(result, "profile (staging) could not be found: check profile or AWS_PROFILE")


def test_another_region_than_the_servers(tmp_path: Path, model: Path, upload: Upload) -> None:
    with versitygw(tmp_path / "elsewhere", "--region", "eu-west-3") as server:
        refused(upload(src=str(model), endpoint_url=server.url, region="us-west-1"), "set region")


def test_a_clock_that_is_wrong(model: Path, upload: Upload) -> None:
    # versitygw does not mind; this is what Amazon S3 answers.
    error = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"
    with website(403, error) as url:
        refused(upload(src=str(model), endpoint_url=url), "differ by more than 15 minutes", "set the clock")


def test_an_endpoint_that_is_down(model: Path, upload: Upload) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    refused(upload(src=str(model), endpoint_url=url), f"{url} does not answer: check endpoint_url")


def test_an_endpoint_that_is_not_s3(model: Path, upload: Upload) -> None:
    with website(200, "<html><body>Welcome</body></html>") as url:
        result = upload(src=str(model), endpoint_url=url, attempts=2)
    refused(result, "Cannot list the bucket")


def test_a_url_without_a_scheme(model: Path, upload: Upload) -> None:
    refused(upload(src=str(model), endpoint_url="minio.example.com:9000"), "minio.example.com:9000")


def test_a_proxy_that_does_not_answer(
    gateway: Server, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    refused(upload(src=str(model), endpoint_url=gateway.url), "the proxy in HTTP_PROXY or HTTPS_PROXY does not answer")


def test_a_proxy_that_wants_another_login(
    secure: tuple[Server, Path], model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, authority = secure
    with website(407, "") as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("https_proxy", url)
        refused(
            upload(src=str(model), endpoint_url=server.url, aws_ca_bundle=str(authority)),
            "the proxy in HTTPS_PROXY answered 407 Proxy Authentication Required: correct its login",
        )


def test_a_read_only_server(tmp_path: Path, model: Path, upload: Upload) -> None:
    with versitygw(tmp_path) as server:
        upload(src=str(model), endpoint_url=server.url, bucket="models", include=["config.json"])
    with versitygw(tmp_path, "--readonly") as server:
        before = stored(server, "models")
        result = upload(src=str(model), endpoint_url=server.url, bucket="models")
        refused(result, "Cannot begin the upload of llama/.llmstack-manifest.json", "denies access")
        assert stored(server, "models") == before


def test_a_disk_that_cannot_be_read(
    gateway: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.preadv

    def failing(descriptor: int, buffers: Any, offset: int) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("model.safetensors") and offset > 6 * 1024 * 1024:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    result = upload(src=str(model), endpoint_url=gateway.url)
    refused(result, "model.safetensors cannot be read: the disk reports a read error", "has no manifest now")
    assert ".llmstack-manifest.json" not in stored(gateway, bucket)


def test_an_object_in_the_place_of_the_manifest_is_not_touched(
    gateway: Server, bucket: str, model: Path, upload: Upload
) -> None:
    client = gateway.client()
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="llama/.llmstack-manifest.json", Body=b"<html>")
    refused(upload(src=str(model), endpoint_url=gateway.url), "is in the way: it is not a manifest")
    assert stored(gateway, bucket) == {".llmstack-manifest.json": b"<html>"}


def test_a_second_run_at_the_same_time(
    gateway: Server, bucket: str, model: Path, tmp_path: Path, upload: Upload
) -> None:

    other = Journal(str(tmp_path / "state"), f"{gateway.url} s3://{bucket}/llama")
    other.hold()
    try:
        refused(upload(src=str(model), endpoint_url=gateway.url), "Another run uploads to", "wait for it to end")
    finally:
        other.release()
    assert upload(src=str(model), endpoint_url=gateway.url)["changed"] is True


def test_a_state_directory_that_cannot_be_written_only_warns(
    gateway: Server, bucket: str, model: Path, tmp_path: Path, upload: Upload
) -> None:
    (tmp_path / "file").write_text("")
    result = upload(src=str(model), endpoint_url=gateway.url, state_dir=str(tmp_path / "file" / "state"))
    assert result["changed"] is True
    assert all("Set state_dir" in warning for warning in result["warnings"])
    assert len(result["warnings"]) == 2


@contextlib.contextmanager
def website(status: int, text: str) -> Iterator[str]:
    """A web server that has one answer."""

    class Website(loopback.Handler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_CONNECT = do_GET

    with loopback.serving(Website) as url:
        yield url


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """The server with TLS, and the file of its authority."""
    folder = tmp_path_factory.mktemp("tls")
    authority = pki.Authority(folder / "pki")
    pair = authority.issue("server", user="server", hosts=("127.0.0.1", "localhost"))
    options = ("--cert", str(pair.certificate), "--key", str(pair.key))
    with versitygw(folder / "server", *options, scheme="https") as server:
        yield server, authority.pair.certificate


def test_an_authority_of_ones_own_is_named_or_refused(
    secure: tuple[Server, Path], bucket: str, model: Path, upload: Upload
) -> None:
    server, authority = secure
    refused(upload(src=str(model), endpoint_url=server.url), "give its CA in aws_ca_bundle")
    result = upload(src=str(model), endpoint_url=server.url, aws_ca_bundle=str(authority))
    assert result["changed"] is True
    assert set(stored(server, bucket)) > {"model.safetensors", "config.json"}


def test_the_authority_can_come_from_the_environment(
    secure: tuple[Server, Path], model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, authority = secure
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    assert upload(src=str(model), endpoint_url=server.url)["changed"] is True


def test_certificates_need_not_be_verified(secure: tuple[Server, Path], model: Path, upload: Upload) -> None:
    server, _authority = secure
    assert upload(src=str(model), endpoint_url=server.url, validate_certs=False)["changed"] is True


def test_a_ca_bundle_that_is_not_there(secure: tuple[Server, Path], model: Path, upload: Upload) -> None:
    server, _authority = secure
    refused(upload(src=str(model), endpoint_url=server.url, aws_ca_bundle="/no/such.pem"), "/no/such.pem")


@pytest.mark.parametrize(
    ("valid_days", "hosts", "sentence"),
    [
        (1, ("models.example.com",), "is for another name: use a name that it lists in endpoint_url."),
        # It began an hour ago.
        (-0.02, ("127.0.0.1",), "has expired, or the clock of this machine is wrong: renew it."),
    ],
)
def test_what_is_wrong_with_a_certificate(
    valid_days: float,
    hosts: tuple[str, ...],
    sentence: str,
    model: Path,
    upload: Upload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = pki.Authority(tmp_path / "pki")
    monkeypatch.setattr(pki, "VALID_DAYS", valid_days)
    pair = authority.issue("server", user="server", hosts=hosts)
    options = ("--cert", str(pair.certificate), "--key", str(pair.key))
    with versitygw(tmp_path / "server", *options, scheme="https") as server:
        bundle = str(authority.pair.certificate)
        refused(upload(src=str(model), endpoint_url=server.url, aws_ca_bundle=bundle), server.url, sentence)


def test_plain_http_to_a_tls_port(secure: tuple[Server, Path], model: Path, upload: Upload) -> None:
    server, _authority = secure
    refused(
        upload(src=str(model), endpoint_url=server.url.replace("https", "http"), attempts=2), "Cannot list the bucket"
    )


def test_https_to_a_plain_port(gateway: Server, model: Path, upload: Upload) -> None:
    refused(upload(src=str(model), endpoint_url=gateway.url.replace("http", "https")), "is it really https?")

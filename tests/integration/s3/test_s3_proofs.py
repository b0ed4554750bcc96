# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrived is proven: by checksums that the server verifies, and by looking at it before it is published."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums
from s3.asked import UNTOUCHED, acting_before, is_completion, is_list, is_part, path_of
from s3.faulty_proxy import Asked, Choice, Proxy, proxy
from s3.servers import Server, content, stored

MANIFEST = ".llmstack-manifest.json"
WEIGHTS = "model.safetensors"
MIB = 1024 * 1024
Upload = Callable[..., dict[str, Any]]


def only(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no other library is installed."""
    monkeypatch.setattr(_checksums, "available", lambda: (algorithm,))


def header_of(algorithm: str) -> str:
    return "content-md5" if algorithm == "md5" else f"x-amz-checksum-{algorithm}"


def byte_identical(server: Server, bucket: str, model: Path) -> bool:
    """The model is there, with its manifest."""
    found = stored(server, bucket)
    return found.pop(MANIFEST, None) is not None and found == content(model)


# moto knows no other.
WITH_SERVERS = [*(("gateway", name) for name in _checksums.available()), ("memory", "md5")]


@pytest.mark.parametrize(("implementation", "algorithm"), WITH_SERVERS)
def test_with_each_algorithm_alone_an_upload_is_byte_identical(
    implementation: str,
    algorithm: str,
    request: pytest.FixtureRequest,
    bucket: str,
    model: Path,
    upload: Upload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(algorithm, monkeypatch)
    server: Server = request.getfixturevalue(implementation)
    with proxy(server.url) as watched:
        result = upload(src=str(model), endpoint_url=watched.url)
        assert not result.get("failed"), result["msg"]
        assert upload(src=str(model), endpoint_url=watched.url)["changed"] is False
    assert byte_identical(server, bucket, model)
    sent = [asked for asked in watched.asked if asked.method == "PUT" and asked.length_bytes and path_of(asked)]
    # Three parts, two files that are not empty, and the manifest.
    assert len(sent) >= 6
    for asked in sent:
        assert [name for name in asked.headers if name == "content-md5" or "-checksum-" in name] == [
            header_of(algorithm)
        ]


@pytest.mark.parametrize("algorithm", _checksums.available()[:-1])
def test_a_server_that_confirms_no_checksum_gets_nothing(
    algorithm: str, memory: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto takes these headers and does not look at them."""
    only(algorithm, monkeypatch)
    result = upload(src=str(model), endpoint_url=memory.url)
    assert result["msg"] == f"{memory.url} verifies no checksum at all: it is not safe to upload there."
    assert stored(memory, bucket) == {}
    assert not memory.client().list_multipart_uploads(Bucket=bucket).get("Uploads")


def corrupting_once(running: Proxy, what: str) -> Choice:
    """Change a byte of the first request with this in its path that sends something."""

    def choose(asked: Asked) -> tuple[str | None, random.Random]:
        hit = asked.method == "PUT" and what in asked.path and not running.broken
        return ("corrupted" if hit else None), random.Random(1)

    return choose


A_FILE_AND_A_PART = ["/llama/config.json", "partNumber=2"]


@pytest.mark.parametrize("algorithm", _checksums.available())
@pytest.mark.parametrize("what", A_FILE_AND_A_PART)
def test_with_each_algorithm_what_arrives_wrong_is_sent_again(
    what: str,
    algorithm: str,
    gateway: Server,
    bucket: str,
    watched: Proxy,
    model: Path,
    upload: Upload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(algorithm, monkeypatch)
    watched.choose = corrupting_once(watched, what)
    result = upload(src=str(model), endpoint_url=watched.url)
    assert not result.get("failed"), result["msg"]
    assert watched.broken == ["corrupted"]
    assert byte_identical(gateway, bucket, model)


def refusing(running: Proxy, *algorithms: str) -> Choice:
    """A server that answers what it does not know as some S3-compatible ones do."""
    running.answers["unknown"] = (501, "<Error><Code>NotImplemented</Code><Message>Not so.</Message></Error>")

    def choose(asked: Asked) -> tuple[str | None, random.Random]:
        wanted = asked.headers.get("x-amz-checksum-algorithm", "").lower()
        unknown = wanted in algorithms or asked.headers.keys() & set(map(header_of, algorithms))
        return ("unknown" if unknown else None), random.Random(0)

    return choose


@pytest.mark.parametrize("algorithm", _checksums.available()[1:])
def test_the_best_checksum_that_the_server_knows_is_found_by_trying(
    algorithm: str, gateway: Server, bucket: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    better = itertools.takewhile(lambda name: name != algorithm, _checksums.available())
    watched.choose = refusing(watched, *better)
    result = upload(src=str(model), endpoint_url=watched.url)
    assert not result.get("failed"), result["msg"]
    parts = [asked for asked in watched.asked if is_part(asked) and path_of(asked) == WEIGHTS]
    assert len(parts) == 3
    assert all(header_of(algorithm) in asked.headers for asked in parts)
    assert byte_identical(gateway, bucket, model)


def test_a_server_that_refuses_every_checksum_gets_nothing(
    gateway: Server, bucket: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    watched.choose = refusing(watched, *_checksums.PREFERENCE)
    result = upload(src=str(model), endpoint_url=watched.url, attempts=2)
    assert result["failed"]
    assert "Cannot send a trial part: " in result["msg"]
    assert stored(gateway, bucket) == {}
    assert not gateway.client().list_multipart_uploads(Bucket=bucket).get("Uploads")


# What arrived is proven before it is published


@pytest.mark.parametrize(
    ("body", "algorithm"),
    # The shorter one with a checksum that says nothing, where the server keeps several.
    [(b"short", "crc32"), (b"Y" * 11 * MIB, _checksums.available()[0])],
    ids=["size", "checksum"],
)
def test_an_object_that_is_not_what_was_sent_is_not_published(
    body: bytes, algorithm: str, gateway: Server, bucket: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    """Somebody else writes between the last part and the look at the object."""
    key, client = f"llama/{WEIGHTS}", gateway.client()

    def replace() -> None:
        client.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm=algorithm.upper())

    watched.choose = acting_before(lambda asked: asked.method == "HEAD", replace)
    result = upload(src=str(model), endpoint_url=watched.url)
    assert f"{model / WEIGHTS} did not arrive with the content that it has here." in result["msg"]
    assert "has no manifest now" in result["msg"]
    assert MANIFEST not in stored(gateway, bucket)
    watched.choose = lambda asked: UNTOUCHED
    assert upload(src=str(model), endpoint_url=watched.url)["changed"] is True
    assert stored(gateway, bucket)[WEIGHTS] == (model / WEIGHTS).read_bytes()


def test_an_object_that_vanishes_before_the_manifest_is_written_is_named(
    gateway: Server, bucket: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    client = gateway.client()

    def last_list(asked: Asked) -> bool:
        return is_list(asked) and any(map(is_completion, watched.asked))

    watched.choose = acting_before(last_list, lambda: client.delete_object(Bucket=bucket, Key="llama/config.json"))
    result = upload(src=str(model), endpoint_url=watched.url)
    assert "After the upload config.json is not there in full size: did somebody else write?" in result["msg"]
    assert MANIFEST not in stored(gateway, bucket)
    watched.choose = lambda asked: UNTOUCHED
    assert upload(src=str(model), endpoint_url=watched.url)["bytes_sent"] == (model / "config.json").stat().st_size


def abort_all(server: Server, bucket: str) -> None:
    client = server.client()
    for item in client.list_multipart_uploads(Bucket=bucket)["Uploads"]:
        client.abort_multipart_upload(Bucket=bucket, Key=item["Key"], UploadId=item["UploadId"])


@pytest.mark.parametrize("moment", [is_part, is_completion], ids=["before a part", "before the end"])
def test_an_upload_that_somebody_else_aborts_fails_and_the_next_run_begins_it_anew(
    moment: Callable[[Asked], bool], gateway: Server, bucket: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    abort = functools.partial(abort_all, gateway, bucket)
    watched.choose = acting_before(lambda asked: moment(asked) and path_of(asked) == WEIGHTS, abort)
    result = upload(src=str(model), endpoint_url=watched.url, concurrency=1)
    assert WEIGHTS in result["msg"]
    assert "has no manifest now" in result["msg"]
    assert stored(gateway, bucket).keys() & {MANIFEST, WEIGHTS} == set()
    watched.choose = lambda asked: UNTOUCHED
    assert not upload(src=str(model), endpoint_url=watched.url).get("failed")
    assert byte_identical(gateway, bucket, model)


@pytest.mark.parametrize("what", A_FILE_AND_A_PART)
def test_what_arrives_wrong_is_sent_again_even_if_the_server_does_not_look_at_content_md5(
    what: str, memory: Server, bucket: str, model: Path, upload: Upload
) -> None:
    """As moto."""
    with proxy(memory.url) as watched:
        watched.choose = corrupting_once(watched, what)
        result = upload(src=str(model), endpoint_url=watched.url)
    assert not result.get("failed"), result["msg"]
    assert watched.broken == ["corrupted"]
    assert byte_identical(memory, bucket, model)


def test_an_upload_that_somebody_else_aborts_before_the_end_is_said(
    gateway: Server, bucket: str, watched: Proxy, model: Path, upload: Upload
) -> None:
    watched.choose = acting_before(is_completion, functools.partial(abort_all, gateway, bucket))
    result = upload(src=str(model), endpoint_url=watched.url)
    assert f"The upload of {model / WEIGHTS} is gone: was it aborted by somebody else?" in result["msg"]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads through a proxy that breaks requests, and uploads that are killed.

Every run ends complete and byte-identical, or failed without a manifest, and the next run completes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums, _retry, _s3
from s3.asked import UNTOUCHED, is_part, path_of
from s3.faulty_proxy import KINDS, Asked, Proxy, proxy, seeded
from s3.servers import ACCESS_KEY, REGION, SECRET_KEY, Server, content, stored
from tools import checkout

MANIFEST = ".llmstack-manifest.json"
MIB = 1024 * 1024
Upload = Callable[..., dict[str, Any]]


@pytest.fixture
def broken(gateway: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_SECONDS", 0.001)
    with proxy(gateway.url) as running:
        yield running


def allowed(broken: Proxy) -> None:
    """From now on nothing is broken."""
    broken.choose = lambda asked: UNTOUCHED


def random_model(folder: Path, chance: random.Random) -> None:
    """Files of all kinds of sizes, two of them in parts; what was there before is partly changed."""
    folder.mkdir(exist_ok=True)
    sizes = [chance.randint(0, 3000) for _number in range(chance.randint(1, 6))]
    sizes += [5 * MIB + chance.randint(1, 2 * MIB), 10 * MIB + chance.randint(0, MIB)]
    for number, size in enumerate(sizes):
        if chance.random() < 0.7 or not (folder / f"{number}.bin").exists():
            (folder / f"{number}.bin").write_bytes(chance.randbytes(size))


def on_disk(gateway: Server, bucket: str) -> dict[str, bytes]:
    assert gateway.directory
    folder = gateway.directory / bucket / "llama"
    return content(folder) if folder.exists() else {}


def published(gateway: Server, bucket: str) -> dict[str, bytes] | None:
    """What the manifest lists, which must be there byte by byte; None without a manifest."""
    found = on_disk(gateway, bucket)
    if MANIFEST not in found:
        return None
    entries = json.loads(found[MANIFEST])["files"]
    for entry in entries:
        assert hashlib.sha256(found[entry["path"]]).hexdigest() == entry["sha256"], entry["path"]
    return {entry["path"]: found[entry["path"]] for entry in entries}


def ended_well(gateway: Server, bucket: str, folder: Path) -> bool:
    """Complete and byte-identical."""
    return published(gateway, bucket) == content(folder)


def run_through_faults(
    seed: int, gateway: Server, bucket: str, broken: Proxy, folder: Path, upload: Upload
) -> tuple[int, int]:
    """Two models one after the other at the same place, each until it is there: (failed runs, broken requests)."""
    chance = random.Random(seed)
    failures = 0
    for _revision in range(2):
        random_model(folder, chance)
        broken.choose = seeded(chance.getrandbits(32), chance.uniform(0.05, 0.4))
        for _attempt in range(3):
            result = upload(src=str(folder), endpoint_url=broken.url, attempts=chance.randint(1, 6))
            if result.get("failed"):
                failures += 1
                assert result["msg"].endswith(".")
                assert "Traceback" not in result["msg"]
                # It may have failed before it changed anything; then the old model is there, whole.
                there = published(gateway, bucket)
                if "has no manifest now" in result["msg"]:
                    assert there is None
            else:
                assert ended_well(gateway, bucket, folder)
        allowed(broken)
        final = upload(src=str(folder), endpoint_url=broken.url)
        assert not final.get("failed"), final["msg"]
        assert ended_well(gateway, bucket, folder)
    assert not gateway.client().list_multipart_uploads(Bucket=bucket).get("Uploads")
    return failures, len(broken.broken)


@pytest.mark.parametrize("seed", range(3))
def test_faults_never_publish_half_a_model(
    seed: int, gateway: Server, bucket: str, broken: Proxy, tmp_path: Path, upload: Upload
) -> None:
    _failures, faults = run_through_faults(seed, gateway, bucket, broken, tmp_path / "model", upload)
    assert faults > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 300))
def test_two_hundred_seeds_of_faults_never_publish_half_a_model(
    seed: int, gateway: Server, bucket: str, broken: Proxy, tmp_path: Path, upload: Upload
) -> None:
    run_through_faults(seed, gateway, bucket, broken, tmp_path / "model", upload)


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_of_each_kind_on_a_part_is_survived(
    kind: str, gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    def second_part_once(asked: Asked) -> tuple[str | None, random.Random]:
        hit = "partNumber=2" in asked.path and kind not in broken.broken
        return (kind if hit else None), random.Random(1)

    broken.choose = second_part_once
    result = upload(src=str(model), endpoint_url=broken.url)
    assert not result.get("failed"), result["msg"]
    assert broken.broken == [kind]
    assert ended_well(gateway, bucket, model)


@pytest.mark.parametrize("kind", ["error in 200", "lost answer", "truncated", "busy"])
def test_a_completion_that_fails_in_its_answer_is_survived(
    kind: str, gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    def completion_once(asked: Asked) -> tuple[str | None, random.Random]:
        hit = asked.method == "POST" and "uploadId=" in asked.path and kind not in broken.broken
        return (kind if hit else None), random.Random(3)

    broken.choose = completion_once
    result = upload(src=str(model), endpoint_url=broken.url)
    assert not result.get("failed"), result["msg"]
    assert broken.broken == [kind]
    assert ended_well(gateway, bucket, model)


def test_an_error_in_a_200_that_stays_is_an_error(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    def always(asked: Asked) -> tuple[str | None, random.Random]:
        hit = asked.method == "POST" and "uploadId=" in asked.path
        return ("error in 200" if hit else None), random.Random(3)

    broken.choose = always
    result = upload(src=str(model), endpoint_url=broken.url, attempts=2)
    assert result["failed"]
    assert "has no manifest now" in result["msg"]
    assert MANIFEST not in on_disk(gateway, bucket)


def denied(broken: Proxy, hit: Callable[[Asked], bool]) -> None:
    """From now on the server denies these requests, as the policy of a bucket does."""
    broken.answers["denied"] = (403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
    broken.choose = lambda asked: ("denied" if hit(asked) else None, random.Random(0))


def writes_the_manifest(asked: Asked) -> bool:
    return asked.method == "PUT" and path_of(asked) == MANIFEST and not is_part(asked)


def test_whoever_may_only_list_under_the_prefix_uploads_without_an_error(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    denied(broken, lambda asked: "delimiter=" in asked.path)
    result = upload(src=str(model), endpoint_url=broken.url)
    assert not result.get("failed"), result["msg"]
    assert "denied" in broken.broken
    assert ended_well(gateway, bucket, model)


def test_a_manifest_that_may_not_be_withdrawn_leaves_the_old_model(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=broken.url)
    old = published(gateway, bucket)
    (model / "config.json").write_text("{}")
    denied(broken, lambda asked: asked.method == "DELETE" and asked.path.endswith(MANIFEST))
    result = upload(src=str(model), endpoint_url=broken.url)
    assert "No file of s3://" in result["msg"]
    assert published(gateway, bucket) == old


def test_a_manifest_that_cannot_be_written_is_said_to_be_all_that_is_missing(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    denied(broken, writes_the_manifest)
    result = upload(src=str(model), endpoint_url=broken.url)
    uri = f"s3://{bucket}/llama"
    assert result["msg"].endswith(f"Every file of {uri} is there, but its manifest may not be: run the task again.")
    assert on_disk(gateway, bucket) == content(model)
    allowed(broken)
    assert upload(src=str(model), endpoint_url=broken.url)["bytes_sent"] == 0
    assert ended_well(gateway, bucket, model)


def test_tags_that_may_not_be_changed_leave_the_model_as_it_is(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=broken.url)
    denied(broken, lambda asked: asked.method == "PUT" and "tagging" in asked.path)
    result = upload(src=str(model), endpoint_url=broken.url, tags={"team": "serving"})
    assert "may not have their new tags: run the task again." in result["msg"]
    assert "has no manifest now" not in result["msg"]
    assert ended_well(gateway, bucket, model)


def test_tags_reach_files_of_an_interrupted_run_that_had_others(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    old, new = {"team": "research"}, {"team": "serving"}
    denied(broken, writes_the_manifest)
    assert upload(src=str(model), endpoint_url=broken.url, tags=old)["failed"]
    allowed(broken)
    assert upload(src=str(model), endpoint_url=broken.url, tags=new)["bytes_sent"] == 0
    for path in (MANIFEST, *content(model)):
        answer = gateway.client().get_object_tagging(Bucket=bucket, Key=f"llama/{path}")
        assert {item["Key"]: item["Value"] for item in answer["TagSet"]} == new, path


def test_a_removal_that_is_interrupted_says_how_to_go_on(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=broken.url)
    denied(broken, lambda asked: asked.method == "DELETE" and asked.path.endswith("config.json"))
    result = upload(endpoint_url=broken.url, state="absent")
    assert result["msg"].endswith(f"Some files of s3://{bucket}/llama may be left: set delete: true to remove them.")
    assert published(gateway, bucket) is None
    allowed(broken)
    assert upload(endpoint_url=broken.url, state="absent", delete=True)["changed"] is True
    assert on_disk(gateway, bucket) == {}


def test_a_policy_that_demands_encryption_lets_uploads_pass_that_ask_for_it(
    memory: Server, bucket: str, model: Path, upload: Upload
) -> None:
    def stores_in_clear(asked: Asked) -> bool:
        # A part is stored as the beginning of its upload says.
        key, _mark, query = asked.path.partition("?")
        begins_object = (asked.method == "PUT" and "uploadId=" not in query) or query == "uploads"
        return begins_object and key != f"/{bucket}" and "x-amz-server-side-encryption" not in asked.headers

    with proxy(memory.url) as running:
        denied(running, stores_in_clear)
        refused = upload(src=str(model), endpoint_url=running.url)
        result = upload(src=str(model), endpoint_url=running.url, server_side_encryption="AES256")
    assert "denies access" in refused["msg"]
    assert not result.get("failed"), result["msg"]
    assert stored(memory, bucket).items() >= content(model).items()


def test_options_that_the_server_refuses_leave_the_old_model(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=broken.url)
    old = published(gateway, bucket)
    (model / "config.json").write_text("{}")
    message = "<Error><Code>InvalidStorageClass</Code><Message>Not a storage class here</Message></Error>"
    broken.answers["refused"] = (400, message)
    broken.choose = lambda asked: ("refused" if "x-amz-storage-class" in asked.headers else None, random.Random(0))
    result = upload(src=str(model), endpoint_url=broken.url, storage_class="GLACIER_IR")
    assert "InvalidStorageClass: Not a storage class here." in result["msg"]
    assert published(gateway, bucket) == old


def test_parts_are_not_said_to_be_kept_where_nothing_can_be_noted(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    broken.choose = lambda asked: ("reset" if "partNumber=3" in asked.path else None, random.Random(5))
    state = str(tmp_path / "file" / "state")
    result = upload(src=str(model), endpoint_url=broken.url, attempts=2, concurrency=1, state_dir=state)
    assert "has no manifest now" in result["msg"]
    assert "kept" not in result["msg"]
    assert left(gateway, bucket) == set()


def test_the_next_run_sends_only_what_is_missing(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    broken.choose = lambda asked: ("reset" if "partNumber=3" in asked.path else None, random.Random(5))
    failed = upload(src=str(model), endpoint_url=broken.url, attempts=2, concurrency=1)
    assert failed["failed"]
    assert "Parts of model.safetensors are kept" in failed["msg"]
    assert stored(gateway, bucket).keys() & {MANIFEST, "model.safetensors"} == set()
    allowed(broken)
    broken.asked.clear()
    result = upload(src=str(model), endpoint_url=broken.url)
    parts = [asked for asked in broken.asked if "partNumber=" in asked.path and "uploadId=" in asked.path]
    sent = [asked for asked in parts if asked.length_bytes > 100]
    assert [asked.length_bytes for asked in sent] == [MIB]
    assert result["bytes_sent"] == MIB + sum(len(body) for path, body in content(model).items() if "safe" not in path)
    assert ended_well(gateway, bucket, model)


def test_parts_of_another_content_are_not_taken_over(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    broken.choose = lambda asked: ("reset" if "partNumber=3" in asked.path else None, random.Random(5))
    assert upload(src=str(model), endpoint_url=broken.url, attempts=1)["failed"]
    (model / "model.safetensors").write_bytes(os.urandom(11 * MIB))
    allowed(broken)
    assert upload(src=str(model), endpoint_url=broken.url)["changed"] is True
    assert ended_well(gateway, bucket, model)


def test_absent_aborts_what_an_upload_left_and_leaves_uploads_of_others(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    broken.choose = lambda asked: ("reset" if "partNumber=3" in asked.path else None, random.Random(5))
    assert upload(src=str(model), endpoint_url=broken.url, attempts=1)["failed"]
    allowed(broken)
    client = gateway.client()
    foreign = client.create_multipart_upload(Bucket=bucket, Key="llama/of-others.bin")["UploadId"]
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 2
    upload(endpoint_url=broken.url, state="absent")
    assert [item["UploadId"] for item in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [foreign]
    result = upload(src=str(model), endpoint_url=broken.url)
    assert any("does not know as its own" in warning for warning in result["warnings"])
    assert [item["UploadId"] for item in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [foreign]


def left(gateway: Server, bucket: str) -> set[str]:
    """The ids of all unfinished uploads in the bucket."""
    uploads = gateway.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return {item["UploadId"] for item in uploads}


@pytest.mark.parametrize("key", ["model.safetensors", MANIFEST])
def test_an_upload_whose_beginning_lost_its_answer_is_dropped_and_those_of_others_are_not(
    key: str, gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    client = gateway.client()
    client.create_bucket(Bucket=bucket)
    # One of them for the very same key.
    names = [key, "of-others"]
    begun = {client.create_multipart_upload(Bucket=bucket, Key=f"llama/{name}")["UploadId"] for name in names}

    def beginning_once(asked: Asked) -> tuple[str | None, random.Random]:
        hit = asked.path.partition("?")[0].endswith(key) and "?uploads" in asked.path and not broken.broken
        return ("lost answer" if hit else None), random.Random(1)

    broken.choose = beginning_once
    result = upload(src=str(model), endpoint_url=broken.url)
    assert not result.get("failed"), result["msg"]
    assert broken.broken == ["lost answer"]
    assert left(gateway, bucket) == begun


def test_listings_of_unfinished_uploads_are_followed_over_pages(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    """versitygw does not understand its own markers: the pages are written here."""

    def page(identity: str, more: str) -> tuple[int, str]:
        listed = f"<Upload><Key>llama/model.safetensors</Key><UploadId>{identity}</UploadId></Upload>"
        return 200, f"<ListMultipartUploadsResult><Bucket>{bucket}</Bucket>{more}{listed}</ListMultipartUploadsResult>"

    markers = "<NextKeyMarker>llama/model.safetensors</NextKeyMarker><NextUploadIdMarker>one</NextUploadIdMarker>"
    broken.answers["first page"] = page("one", f"<IsTruncated>true</IsTruncated>{markers}")
    broken.answers["last page"] = page("two", "<IsTruncated>false</IsTruncated>")
    broken.answers["last page afterwards"] = page("three", "<IsTruncated>false</IsTruncated>")

    def choose(asked: Asked) -> tuple[str | None, random.Random]:
        kind = None
        if asked.method == "GET" and "uploads" in asked.path:
            last = "last page afterwards" if "lost answer" in broken.broken else "last page"
            kind = last if "upload-id-marker=one" in asked.path else "first page"
        elif "model.safetensors?uploads" in asked.path and "lost answer" not in broken.broken:
            kind = "lost answer"
        return kind, random.Random(1)

    broken.choose = choose
    result = upload(src=str(model), endpoint_url=broken.url)
    assert not result.get("failed"), result["msg"]
    dropped = [asked.path for asked in broken.asked if asked.method == "DELETE" and "uploadId=t" in asked.path]
    assert [path.rpartition("=")[2] for path in dropped] == ["three"]


def lose_the_beginning(broken: Proxy, upload: Upload, model: Path) -> None:
    """A run that never hears that its upload has begun, nor anything after that."""

    def beginnings_and_all_after(asked: Asked) -> tuple[str | None, random.Random]:
        begins = "model.safetensors?uploads" in asked.path
        return ("lost answer" if begins else "busy" if broken.broken else None), random.Random(1)

    broken.choose = beginnings_and_all_after
    assert upload(src=str(model), endpoint_url=broken.url, attempts=1, concurrency=1)["failed"]


def test_a_beginning_that_was_never_answered_is_cleared_away_by_the_next_run(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    lose_the_beginning(broken, upload, model)
    assert len(left(gateway, bucket)) == 1
    allowed(broken)
    assert not upload(src=str(model), endpoint_url=broken.url).get("failed")
    assert left(gateway, bucket) == set()


def test_a_beginning_that_arrives_when_the_next_run_has_looked_is_cleared_away_too(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    lose_the_beginning(broken, upload, model)
    client, key = gateway.client(), "llama/model.safetensors"
    [found] = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=found["UploadId"])
    late: list[str] = []

    def late_with_the_first_part(asked: Asked) -> tuple[str | None, random.Random]:
        if "partNumber" in asked.path and not late:
            late.append(client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        return None, random.Random(1)

    broken.choose = late_with_the_first_part
    assert not upload(src=str(model), endpoint_url=broken.url, concurrency=1).get("failed")
    assert late
    assert left(gateway, bucket) == set()


def test_who_may_not_list_unfinished_uploads_is_told_that_one_may_be_left(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    denied = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
    broken.answers["denied"] = (403, denied)

    def lists_are_denied(asked: Asked) -> tuple[str | None, random.Random]:
        if asked.method == "GET" and "uploads" in asked.path:
            return "denied", random.Random(1)
        lose = "model.safetensors?uploads" in asked.path and "lost answer" not in broken.broken
        return ("lost answer" if lose else None), random.Random(1)

    broken.choose = lists_are_denied
    result = upload(src=str(model), endpoint_url=broken.url)
    assert not result.get("failed"), result["msg"]
    assert any("an empty one of llama/model.safetensors may be left" in warning for warning in result["warnings"])
    assert len(left(gateway, bucket)) == 1


def test_an_upload_is_completed_as_it_was_begun_whatever_another_one_answers(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed by a run whose own beginning was answered without the kind of checksum that is kept."""
    broken.choose = lambda asked: ("reset" if "partNumber=3" in asked.path else None, random.Random(5))
    assert upload(src=str(model), endpoint_url=broken.url, attempts=1)["failed"]
    begin, complete = _s3.Bucket.begin, _s3.Bucket.complete
    wholes: list[str | None] = []

    def recorded(bucket: _s3.Bucket, key: str, upload_id: str, algorithm: str, whole: str | None, done: Any) -> bool:
        wholes.append(whole)
        return complete(bucket, key, upload_id, algorithm, whole, done)

    monkeypatch.setattr(_s3.Bucket, "begin", lambda *given: dataclasses.replace(begin(*given), whole=False))
    monkeypatch.setattr(_s3.Bucket, "complete", recorded)
    allowed(broken)
    assert not upload(src=str(model), endpoint_url=broken.url).get("failed")
    content_bytes = (model / "model.safetensors").read_bytes()
    assert wholes == [_checksums.of_bytes(_checksums.available()[0], content_bytes)]


def test_a_file_that_changes_while_it_is_sent_fails_the_run(
    gateway: Server, bucket: str, model: Path, broken: Proxy, upload: Upload
) -> None:
    def change_at_the_second_part(asked: Asked) -> tuple[str | None, random.Random]:
        if "partNumber=2" in asked.path:
            with (model / "model.safetensors").open("r+b") as file:
                file.write(b"changed")
        return None, random.Random(0)

    broken.choose = change_at_the_second_part
    result = upload(src=str(model), endpoint_url=broken.url)
    assert result["failed"]
    assert "model.safetensors changed while it was read" in result["msg"]
    assert MANIFEST not in on_disk(gateway, bucket)


def test_refusals_are_not_repeated(gateway: Server, model: Path, broken: Proxy, upload: Upload) -> None:
    result = upload(src=str(model), endpoint_url=broken.url, secret_key="wrong-key-of-the-tests")
    assert result["failed"]
    assert len(broken.asked) == 1


def kill_and_run_again(
    moment_seconds: float, gateway: Server, bucket: str, model: Path, tmp_path: Path, upload: Upload
) -> bool:
    """Kill the module's process at a moment after its first request; whether it was killed before it ended."""
    arguments = {
        "src": str(model),
        "bucket": bucket,
        "prefix": "llama",
        "endpoint_url": gateway.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "region": REGION,
        "part_size": "5MiB",
        "create_bucket": True,
        "bandwidth_limit": "12MiB",
        "state_dir": str(tmp_path / "state"),
    }
    (tmp_path / "arguments.json").write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    module = "ansible_collections.llmstack.serving.plugins.modules.s3_model_upload"
    environment = {**os.environ, "PYTHONPATH": str(checkout.ROOT / "playbooks" / "collections")}
    command = [sys.executable, "-m", module, str(tmp_path / "arguments.json")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert gateway.directory
        while process.poll() is None and not (gateway.directory / bucket).exists():
            time.sleep(0.005)
        time.sleep(moment_seconds)
        process.kill()
        printed = process.stdout.read() if process.stdout else ""
    ended = '"changed": true' in printed
    assert ended_well(gateway, bucket, model) or not ended
    result = upload(src=str(model), endpoint_url=gateway.url)
    assert not result.get("failed"), result["msg"]
    assert ended_well(gateway, bucket, model)
    assert not gateway.client().list_multipart_uploads(Bucket=bucket).get("Uploads")
    return not ended


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_upload_is_completed_by_the_next_run(
    seed: int, gateway: Server, bucket: str, model: Path, tmp_path: Path, upload: Upload
) -> None:
    moment_seconds = random.Random(seed).uniform(0.1, 0.7)
    assert kill_and_run_again(moment_seconds, gateway, bucket, model, tmp_path, upload)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_ten_more_killed_uploads_are_completed_by_the_next_run(
    seed: int, gateway: Server, bucket: str, model: Path, tmp_path: Path, upload: Upload
) -> None:
    kill_and_run_again(random.Random(seed).uniform(0, 1.5), gateway, bucket, model, tmp_path, upload)

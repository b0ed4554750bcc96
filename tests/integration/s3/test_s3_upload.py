# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module promises, on two S3 implementations."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums, _source_files
from s3.servers import Server, content, stored

MANIFEST = ".llmstack-manifest.json"
Upload = Callable[..., dict[str, Any]]


def actions(result: dict[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["action"] for entry in result["files"]}


def without_manifest(found: dict[str, bytes]) -> dict[str, bytes]:
    return {path: body for path, body in found.items() if path != MANIFEST}


def sums(folder: Path) -> dict[str, str]:
    return {path: hashlib.sha256(body).hexdigest() for path, body in content(folder).items()}


def test_an_upload_is_byte_identical_and_its_manifest_says_what_it_is(
    each_server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    result = upload(src=str(model), endpoint_url=each_server.url)
    found = stored(each_server, bucket)
    assert result["changed"] is True
    assert without_manifest(found) == content(model)
    manifest = json.loads(found[MANIFEST])
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == sums(model)
    assert {entry["path"]: entry["size"] for entry in manifest["files"]} == {
        path: len(body) for path, body in content(model).items()
    }
    assert result["sha256"] == hashlib.sha256(found[MANIFEST]).hexdigest()
    assert result["uri"] == f"s3://{bucket}/llama/"
    assert result["manifest_uri"] == f"s3://{bucket}/llama/{MANIFEST}"
    assert result["bytes_sent"] == sum(len(body) for body in content(model).values())


def test_the_cycle_of_create_modify_and_delete_each_first_in_check_mode(
    each_server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    there = {"endpoint_url": each_server.url, "src": str(model)}
    gone = {"endpoint_url": each_server.url, "state": "absent"}
    assert upload(check=True, **there)["changed"] is True
    assert bucket not in [entry["Name"] for entry in each_server.client().list_buckets()["Buckets"]]
    assert upload(**there)["changed"] is True
    assert upload(check=True, **there)["changed"] is False
    assert upload(**there)["changed"] is False
    (model / "config.json").write_text('{"model_type": "mistral"}\n')
    before = stored(each_server, bucket)
    predicted = upload(check=True, **there)
    assert predicted["changed"] is True
    assert stored(each_server, bucket) == before
    done = upload(**there)
    assert actions(done) == actions(predicted)
    assert {path for path, action in actions(done).items() if action == "send"} == {"config.json"}
    assert done["bytes_sent"] == predicted["bytes_sent"] == len('{"model_type": "mistral"}\n')
    assert without_manifest(stored(each_server, bucket)) == content(model)
    assert upload(check=True, **gone)["changed"] is True
    assert stored(each_server, bucket)
    assert upload(**gone)["changed"] is True
    assert stored(each_server, bucket) == {}
    assert upload(check=True, **gone)["changed"] is False
    assert upload(**gone)["changed"] is False


def test_without_memory_of_earlier_runs_files_are_read_but_not_sent(
    server: Server, model: Path, upload: Upload
) -> None:
    first = upload(src=str(model), endpoint_url=server.url)
    again = upload(src=str(model), endpoint_url=server.url, state_dir=str(model.parent / "elsewhere"))
    assert again["changed"] is False
    assert again["sha256"] == first["sha256"]


def test_a_no_op_reads_no_data(gateway: Server, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(src=str(model), endpoint_url=gateway.url)

    def unread(*_arguments: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("ansible_collections.llmstack.serving.plugins.module_utils._source_files.read", unread)
    assert upload(src=str(model), endpoint_url=gateway.url)["changed"] is False


@pytest.mark.parametrize("digest", ["sha256", "checksum"])
def test_each_byte_that_is_sent_is_read_once(
    gateway: Server, bucket: str, model: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    shutil.copy(model / "model.safetensors", model / "model-2.safetensors")
    read, read_bytes = _source_files.read, []

    def counted(file: Any, descriptor: int, offset: int, length: int, *rest: Any) -> None:
        read_bytes.append(length)
        read(file, descriptor, offset, length, *rest)

    monkeypatch.setattr(_source_files, "read", counted)
    result = upload(src=str(model), endpoint_url=gateway.url, digest=digest)
    assert sum(read_bytes) == result["bytes_sent"] == sum(map(len, content(model).values()))
    assert without_manifest(stored(gateway, bucket)) == content(model)


def test_a_change_that_keeps_size_and_modification_time_is_noticed(
    server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=server.url)
    path = model / "config.json"
    status = path.stat()
    path.write_text(path.read_text().replace("llama", "LLAMA"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert upload(src=str(model), endpoint_url=server.url)["changed"] is True
    assert stored(server, bucket)["config.json"] == path.read_bytes()


def test_an_object_that_somebody_replaced_is_sent_again(
    server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=server.url)
    # Objects that are not younger than the manifest are taken to be what it says; servers count in seconds.
    time.sleep(1.1)
    server.client().put_object(Bucket=bucket, Key="llama/config.json", Body=b"X" * 24)
    result = upload(src=str(model), endpoint_url=server.url)
    assert actions(result)["config.json"] == "send"
    assert without_manifest(stored(server, bucket)) == content(model)


def test_checksum_always_finds_what_time_stamps_hide(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    upload(src=str(model), endpoint_url=gateway.url)
    manifest = gateway.client().get_object(Bucket=bucket, Key=f"llama/{MANIFEST}")["Body"].read()
    gateway.client().put_object(Bucket=bucket, Key="llama/config.json", Body=b"X" * 24, ChecksumAlgorithm="CRC32")
    time.sleep(0.05)
    gateway.client().put_object(Bucket=bucket, Key=f"llama/{MANIFEST}", Body=manifest)
    assert upload(src=str(model), endpoint_url=gateway.url)["changed"] is False
    assert upload(src=str(model), endpoint_url=gateway.url, checksum="always")["changed"] is True
    assert without_manifest(stored(gateway, bucket)) == content(model)


def test_include_and_exclude_choose_and_download_caches_never_belong(
    server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    for path in (".git/config", ".cache/huggingface/x", "a.incomplete", "b.lock", "original/consolidated.00.pth"):
        (model / path).parent.mkdir(parents=True, exist_ok=True)
        (model / path).write_text("x")
    upload(src=str(model), endpoint_url=server.url, exclude=["original/"])
    assert set(without_manifest(stored(server, bucket))) == {
        "model.safetensors", "config.json", "empty.txt", "sub dir/tökenizer+x.json"
    }  # fmt: skip
    upload(src=str(model), endpoint_url=server.url, prefix="few", include=["*.json"])
    assert set(without_manifest(stored(server, bucket, "few/"))) == {"config.json", "sub dir/tökenizer+x.json"}


def test_a_hugging_face_snapshot_is_followed_and_named(
    server: Server, bucket: str, tmp_path: Path, upload: Upload
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--acme--tiny"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abc").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    upload(src=str(snapshot), endpoint_url=server.url)
    found = stored(server, bucket)
    assert found["model.safetensors"] == b"weights"
    assert json.loads(found[MANIFEST])["source"] == {"repository": "acme/tiny", "revision": revision}


def test_one_file_is_served_from_its_own_uri(server: Server, bucket: str, tmp_path: Path, upload: Upload) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"archive")
    result = upload(src=str(tmp_path / "model.tar.gz"), endpoint_url=server.url)
    assert result["uri"] == f"s3://{bucket}/llama/model.tar.gz"
    assert stored(server, bucket)["model.tar.gz"] == b"archive"


def test_strangers_are_named_and_only_deleted_on_request(
    server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=server.url)
    client = server.client()
    client.put_object(Bucket=bucket, Key="llama/old.bin", Body=b"old")
    client.put_object(Bucket=bucket, Key="llama-2/other.bin", Body=b"not under the prefix")
    left = upload(src=str(model), endpoint_url=server.url)
    assert left["changed"] is False
    assert "old.bin" in left["warnings"][0]
    predicted = upload(check=True, src=str(model), endpoint_url=server.url, delete=True)
    assert actions(predicted)["old.bin"] == "delete"
    assert "old.bin" in stored(server, bucket)
    removed = upload(src=str(model), endpoint_url=server.url, delete=True)
    assert actions(removed)["old.bin"] == "delete"
    assert without_manifest(stored(server, bucket)) == content(model)
    assert stored(server, bucket, "llama-2/") == {"other.bin": b"not under the prefix"}
    assert "llama-2/" in removed["warnings"][-1]


def test_absent_removes_what_the_manifest_lists_and_nothing_else(
    server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=server.url)
    server.client().put_object(Bucket=bucket, Key="llama/notes.txt", Body=b"of a user")
    result = upload(endpoint_url=server.url, state="absent")
    assert stored(server, bucket) == {"notes.txt": b"of a user"}
    assert "notes.txt" in result["warnings"][0]
    assert upload(endpoint_url=server.url, state="absent", delete=True)["changed"] is True
    assert stored(server, bucket) == {}


def test_tags_reach_new_and_present_objects(each_server: Server, bucket: str, model: Path, upload: Upload) -> None:
    upload(src=str(model), endpoint_url=each_server.url)
    tagged = upload(src=str(model), endpoint_url=each_server.url, tags={"team": "serving", "cost": "a b"})
    assert tagged["changed"] is True
    assert tagged["bytes_sent"] == 0
    answer = each_server.client().get_object_tagging(Bucket=bucket, Key="llama/model.safetensors")
    assert {tag["Key"]: tag["Value"] for tag in answer["TagSet"]} == {"team": "serving", "cost": "a b"}
    assert (
        upload(src=str(model), endpoint_url=each_server.url, tags={"team": "serving", "cost": "a b"})["changed"]
        is False
    )


def test_storage_class_and_encryption_reach_every_object(
    memory: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=memory.url, storage_class="STANDARD_IA", server_side_encryption="AES256")
    for path in ("model.safetensors", "config.json", MANIFEST):
        head = memory.client().head_object(Bucket=bucket, Key=f"llama/{path}")
        assert head["StorageClass"] == "STANDARD_IA"
        assert head["ServerSideEncryption"] == "AES256"


def test_a_kms_key_encrypts_every_object(memory: Server, bucket: str, model: Path, upload: Upload) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/models"
    upload(src=str(model), endpoint_url=memory.url, server_side_encryption="aws:kms", kms_key_id=key)
    for path in ("model.safetensors", "config.json", MANIFEST):
        head = memory.client().head_object(Bucket=bucket, Key=f"llama/{path}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    assert (
        upload(src=str(model), endpoint_url=memory.url, server_side_encryption="aws:kms", kms_key_id=key)["changed"]
        is False
    )


def test_the_digest_can_be_the_servers_checksum(server: Server, bucket: str, model: Path, upload: Upload) -> None:
    upload(src=str(model), endpoint_url=server.url, digest="checksum")
    entries = json.loads(stored(server, bucket)[MANIFEST])["files"]
    assert all("sha256" not in entry and len(entry) == 3 for entry in entries)
    assert without_manifest(stored(server, bucket)) == content(model)
    assert upload(src=str(model), endpoint_url=server.url, digest="checksum")["changed"] is False
    changed = upload(src=str(model), endpoint_url=server.url)
    assert changed["changed"] is True
    assert changed["bytes_sent"] == 0
    entries = json.loads(stored(server, bucket)[MANIFEST])["files"]
    assert {entry["path"]: entry["sha256"] for entry in entries} == sums(model)


def test_the_servers_checksum_is_the_one_of_the_whole_file(
    gateway: Server, bucket: str, model: Path, upload: Upload
) -> None:

    for digest in ("sha256", "checksum"):
        upload(src=str(model), endpoint_url=gateway.url, prefix=digest, digest=digest)
        head = gateway.client().head_object(Bucket=bucket, Key=f"{digest}/model.safetensors", ChecksumMode="ENABLED")
        algorithm = _checksums.available()[0]
        whole = _checksums.of_bytes(algorithm, (model / "model.safetensors").read_bytes())
        assert head[f"Checksum{algorithm.upper()}"] == whole
        assert head["ChecksumType"] == "FULL_OBJECT"


def test_a_file_of_sha256sums_lets_only_that_model_pass(
    server: Server, bucket: str, model: Path, upload: Upload
) -> None:
    listed = "".join(f"{digest}  {path}\n" for path, digest in sums(model).items())
    (model / "SHA256SUMS").write_text(listed)
    good = {"src": str(model), "endpoint_url": server.url, "expected_sha256": str(model / "SHA256SUMS")}
    assert upload(**good)["changed"] is True
    assert "SHA256SUMS" in stored(server, bucket)
    (model / "config.json").write_text('{"auto_map": "evil"}')
    (model / "extra.py").write_text("import os")
    refused = upload(**good, prefix="other")
    assert refused["failed"]
    assert "config.json has" in refused["msg"]
    assert "extra.py is not listed" in refused["msg"]
    assert stored(server, bucket, "other/") == {}


def test_the_file_of_sha256sums_may_lie_in_the_home_directory(
    gateway: Server, model: Path, upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "SHA256SUMS").write_text("".join(f"{digest}  {path}\n" for path, digest in sums(model).items()))
    monkeypatch.setenv("HOME", str(tmp_path))
    result = upload(src=str(model), endpoint_url=gateway.url, expected_sha256="~/SHA256SUMS")
    assert result["changed"] is True, result


def test_a_dictionary_of_digests_may_list_what_is_not_selected(server: Server, model: Path, upload: Upload) -> None:
    wanted = {"config.json": sums(model)["config.json"].upper(), "model.safetensors": "0" * 64}
    done = upload(src=str(model), endpoint_url=server.url, include=["config.json"], expected_sha256=wanted)
    assert done["changed"] is True
    refused = upload(src=str(model), endpoint_url=server.url, expected_sha256={"config.json": "abc"})
    assert refused["msg"] == "expected_sha256: the value of config.json is not a SHA-256 in hexadecimal."


def test_a_bandwidth_limit_holds(gateway: Server, model: Path, upload: Upload) -> None:
    begin = time.monotonic()
    upload(src=str(model), endpoint_url=gateway.url, bandwidth_limit="8MiB")
    # 11 MiB at 8 MiB per second, less the tenth of a second that may go at once.
    assert time.monotonic() - begin > 1.2


def test_diff_lists_files_before_and_after(server: Server, model: Path, upload: Upload) -> None:
    upload(src=str(model), endpoint_url=server.url)
    old = sums(model)["config.json"]
    (model / "config.json").write_text("{}")
    diff = upload(src=str(model), endpoint_url=server.url)["diff"]
    assert diff["before"]["files"]["config.json"]["sha256"] == old
    assert diff["after"]["files"]["config.json"] == {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    assert diff["before"]["files"]["empty.txt"] == diff["after"]["files"]["empty.txt"]


def test_diff_names_what_changes_beside_the_files(gateway: Server, bucket: str, model: Path, upload: Upload) -> None:
    new = upload(check=True, src=str(model), endpoint_url=gateway.url, revision="main")
    assert new["diff"]["after"]["bucket"] == bucket
    upload(src=str(model), endpoint_url=gateway.url, revision="main")
    changed = upload(check=True, src=str(model), endpoint_url=gateway.url, revision="v2", tags={"team": "serving"})
    assert changed["changed"] is True
    before, after = changed["diff"]["before"], changed["diff"]["after"]
    assert before["files"] == after["files"]
    assert (before["source"]["revision"], after["source"]["revision"]) == ("main", "v2")
    assert after["tags"] == {"team": "serving"}


def test_absent_with_delete_removes_place_holders_of_folders_too(
    gateway: Server, bucket: str, model: Path, upload: Upload
) -> None:
    upload(src=str(model), endpoint_url=gateway.url)
    gateway.client().put_object(Bucket=bucket, Key="llama/empty folder/", Body=b"")
    assert upload(src=str(model), endpoint_url=gateway.url)["warnings"] == []
    upload(endpoint_url=gateway.url, state="absent", delete=True)
    assert stored(gateway, bucket) == {}


def test_a_thousand_small_files_arrive(gateway: Server, bucket: str, tmp_path: Path, upload: Upload) -> None:
    folder = tmp_path / "many"
    for number in range(1001):
        path = folder / f"d{number % 7}" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    result = upload(src=str(folder), endpoint_url=gateway.url)
    # One more than a page of a listing holds.
    assert len(result["files"]) == 1001
    assert upload(src=str(folder), endpoint_url=gateway.url)["changed"] is False
    assert gateway.directory
    found = content(gateway.directory / bucket / "llama")
    assert without_manifest(found) == content(folder)


def test_the_manifest_is_the_same_from_any_directory_at_any_time(
    server: Server, model: Path, tmp_path: Path, upload: Upload
) -> None:
    first = upload(src=str(model), endpoint_url=server.url)
    shutil.copytree(model, tmp_path / "copy")
    second = upload(src=str(tmp_path / "copy"), endpoint_url=server.url, prefix="elsewhere")
    assert re.fullmatch(r"[0-9a-f]{64}", first["sha256"])
    assert second["sha256"] == first["sha256"]

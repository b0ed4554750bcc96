# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_fit on a real S3 server: only headers travel, and what is wrong with the place is said."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tools import checkpoints
from tools.run_module import run_module

CONFIG = {
    **checkpoints.LLAMA_3_1_8B,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "vocab_size": 8192,
}
Fit = Callable[..., dict[str, Any]]


def shapes() -> checkpoints.Shapes:
    yield "model.embed_tokens.weight", "BF16", (8192, 512)
    for layer in range(4):
        for name in ("q", "k", "v", "o"):
            yield f"model.layers.{layer}.self_attn.{name}_proj.weight", "BF16", (128 if name in "kv" else 512, 512)
        yield f"model.layers.{layer}.mlp.up_proj.weight", "BF16", (1024, 512)
    yield "lm_head.weight", "BF16", (8192, 512)


@pytest.fixture
def bucket(sandbox: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    """A bucket with a model of 23 MB in three files under llama/."""
    s3 = sandbox["s3"]
    service = boto3.resource(
        "s3",
        endpoint_url=s3["endpoint_url"],
        region_name=s3["region"],
        aws_access_key_id=s3["access_key_id"],
        aws_secret_access_key=s3["secret_access_key"],
    )
    made = service.create_bucket(Bucket=f"test-{uuid.uuid4().hex[:8]}")
    for path in checkpoints.write(tmp_path / "llama", CONFIG, shapes(), shards=3).iterdir():
        made.upload_file(str(path), f"llama/{path.name}")
    yield made
    made.objects.delete()
    made.delete()


@pytest.fixture
def fit(sandbox: dict[str, Any], bucket: Any) -> Fit:
    s3 = sandbox["s3"]

    def call(model: str = f"s3://{bucket.name}/llama", **params: Any) -> dict[str, Any]:
        connection = {
            "endpoint_url": s3["endpoint_url"],
            "region": s3["region"],
            "access_key": s3["access_key_id"],
            "secret_key": s3["secret_access_key"],
        }
        arguments = {"model": model, "gpu": {"product": "NVIDIA-L4"}, **connection, **params}
        return run_module("llmstack.serving.model_fit", arguments)

    return call


def test_a_model_in_a_bucket_is_judged_by_its_headers(fit: Fit, bucket: Any, tmp_path: Path) -> None:
    remote = fit()
    local = fit(model=str(tmp_path / "llama"))
    assert remote["fits"]
    assert remote["memory"] == local["memory"]
    assert remote["weights_total_gib"] == 0.02
    # All of each of the first 64 KiB, config.json and the index.
    assert remote["bytes_read"] < 3 * 64 * 1024 + 8192
    assert fit(model=f"s3://{bucket.name}/llama/")["memory"] == remote["memory"]


def test_a_truncated_object_is_found_without_reading_it(fit: Fit, bucket: Any) -> None:
    key = "llama/model-00002-of-00003.safetensors"
    body = bucket.Object(key).get()["Body"].read()
    bucket.put_object(Key=key, Body=body[:-1])
    result = fit()
    assert result["failed"]
    assert f"s3://{bucket.name}/{key} is truncated" in result["msg"]


def test_a_missing_shard_is_named(fit: Fit, bucket: Any) -> None:
    bucket.Object("llama/model-00003-of-00003.safetensors").delete()
    result = fit()
    assert "lacks 1 of the 3 files that model.safetensors.index.json names" in result["msg"]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"model": "s3://{bucket}/mistral"}, "holds no object: check bucket and prefix"),
        ({"model": "s3://{bucket}-2/llama"}, "holds no object: check bucket and prefix"),
        ({"secret_key": "wrong"}, "refuses the signature"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    ],
)
def test_a_place_that_cannot_be_read_is_one_sentence(
    fit: Fit, bucket: Any, params: dict[str, str], sentence: str
) -> None:
    result = fit(**{name: value.replace("{bucket}", bucket.name) for name, value in params.items()})
    assert result["failed"]
    assert sentence in result["msg"]
    assert "Traceback" not in result["msg"]

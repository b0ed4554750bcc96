# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _model_verdict, _preflight_survey
from ansible_collections.llmstack.serving.plugins.module_utils import _preflight_wanted as wanted
from ansible_collections.llmstack.serving.plugins.module_utils import _preflight_workload as judge
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import FAIL, PASS
from tools import checkpoints

GPU = "nvidia.com/gpu"
RUNTIME = {
    "max_model_len": "auto",
    "gpu_memory_utilization": 0.85,
    "engine_version": "0.32.0",
    "resources": {"requests": {"cpu": "4", "memory": "32Gi"}},
    "args": ["--enforce-eager"],
}


# InferenceServices


def test_a_service_has_what_the_runtime_gives_it_and_its_own_over_that() -> None:
    entry = {
        "name": "chat",
        "storage_uri": "s3://m/c",
        "resources": {"requests": {"cpu": "8"}},
        "max_model_len": "8192",
        "args": ["--max-num-seqs=64"],
    }
    found = wanted.of_inference_service(entry, RUNTIME)
    assert (found.gpus, found.replicas, found.pods_per_replica, found.shortens) == (1, 1, 1, False)
    assert found.resources["requests"] == {"cpu": "8", "memory": "32Gi"}
    assert found.engine == {
        "engine_version": "0.32.0",
        "gpu_memory_utilization": 0.85,
        "tensor_parallel_size": 1,
        "max_model_len": 8192,
        "enforce_eager": True,
        "max_num_seqs": 64,
    }


def test_a_service_without_a_length_gets_one_that_fits() -> None:
    found = wanted.of_inference_service({"name": "chat", "storage_uri": "s3://m/c"}, RUNTIME)
    assert (found.engine["max_model_len"], found.shortens) == (None, True)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "chat", "storage_uri": "s3://m/c", "gpus": 0.5}, "no whole number"),
        ({"name": "chat"}, "no storage_uri"),
        ({"storage_uri": "s3://m/c"}, "no name"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wanted.of_inference_service(entry, {})


# LLM deployments


def deployment(decode: dict[str, Any], prefill: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    serving: dict[str, Any] = {"decode": decode}
    if prefill is not None:
        serving |= {"mode": "disaggregated", "prefill": prefill}
    return {"name": "chat", "namespace": "models", "model": {"uri": "s3://m/chat"}, "serving": serving, **more}


def parts(decode: dict[str, Any], prefill: dict[str, Any] | None = None, **more: Any) -> dict[str, wanted.Service]:
    found = wanted.of_llm_deployment(deployment(decode, prefill, **more), RUNTIME, more.pop("gpu_resource", GPU))
    return {part.name: part for part in found}


def test_an_aggregated_deployment_is_one_kind_of_pods() -> None:
    [found] = parts({"replicas": 3, "resources": {"gpu": 2, "memory": "64Gi"}}).values()
    assert (found.name, found.gpus, found.replicas, found.pods_per_replica) == ("chat", 2, 3, 1)
    assert (found.kind, found.namespace, found.storage_uri) == ("LLMInferenceService", "models", "s3://m/chat")
    assert found.engine["tensor_parallel_size"] == 2
    # The runtime of InferenceServices is not that of LLM deployments; the engine's version is.
    assert "gpu_memory_utilization" not in found.engine
    assert found.engine["engine_version"] == "0.32.0"
    assert judge.demand([found], GPU) == {
        "pods": 3,
        "requests.nvidia.com/gpu": 6,
        "limits.nvidia.com/gpu": 6,
        "requests.memory": 3 * 64 * judge.GIB,
        "limits.memory": 3 * 64 * judge.GIB,
    }


def test_a_disaggregated_deployment_is_two_kinds_of_pods_with_settings_of_their_own() -> None:
    found = parts(
        {"replicas": 6, "batchSize": 8, "resources": {"gpu": 2}, "args": ["--max-model-len", "32k"]},
        {"replicas": 2, "batchSize": 32, "resources": {"gpu": 4}, "args": ["--kv-cache-dtype=fp8"]},
        args=["--gpu-memory-utilization=0.8"],
        node_selector={"pool": "inference"},
        tolerations=[{"key": "team", "operator": "Exists"}],
    )
    assert {name: (part.gpus, part.replicas) for name, part in found.items()} == {
        "chat/prefill": (4, 2),
        "chat/decode": (2, 6),
    }
    assert {part.object_name for part in found.values()} == {"chat"}
    decode, prefill = found["chat/decode"].engine, found["chat/prefill"].engine
    assert (decode["max_model_len"], decode["max_num_seqs"], decode["gpu_memory_utilization"]) == (32000, 8, 0.8)
    assert (prefill["kv_cache_dtype"], prefill["max_num_seqs"], prefill["tensor_parallel_size"]) == ("fp8", 32, 4)
    assert "max_model_len" not in prefill
    for part in found.values():
        assert part.node_selector == {"pool": "inference"}
        assert part.tolerations == [{"key": "team", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("args", "shortens"), [([], False), (["--max-model-len=auto"], True), (["--max-model-len=-1"], True)]
)
def test_only_auto_makes_vllm_shorten_the_context(args: list[str], shortens: bool) -> None:
    assert parts({"resources": {"gpu": 1}, "args": args})["chat"].shortens is shortens


@pytest.mark.parametrize(
    ("parallelism", "pods", "engine"),
    [
        ({"tensor": 4, "data": 4, "data_local": 2, "expert": True}, 2, (4, 1, 4, True)),
        ({"tensor": 4, "data": 2, "data_local": 2}, 1, (4, 1, 2, False)),
        ({"tensor": 8, "pipeline": 2}, 2, (8, 2, 1, False)),
    ],
)
def test_a_replica_that_spans_nodes_is_as_many_pods(
    parallelism: dict[str, Any], pods: int, engine: tuple[Any, ...]
) -> None:
    found = parts({"resources": {"gpu": 8}, "parallelism": parallelism}, base_refs=["workers"])["chat"]
    assert (found.gpus, found.pods_per_replica) == (8, pods)
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel")
    assert tuple(found.engine[name] for name in names) == engine


def test_prefill_and_decode_and_the_pods_of_a_replica_need_a_network_between_them() -> None:
    one = {"resources": {"gpu": 8}}
    assert not parts(one)["chat"].distributed
    assert {part.distributed for part in parts(one, one).values()} == {True}
    wide = {**one, "parallelism": {"tensor": 8, "data": 2, "data_local": 1}}
    assert parts(wide)["chat"].distributed


def test_workers_with_more_gpus_than_their_leader_decide() -> None:
    limits = {"resources": {"limits": {GPU: "8"}}}
    workers = {"containers": [{"name": "main", **limits}]}
    found = parts(
        {"resources": {"gpu": 4}, "worker": workers, "parallelism": {"tensor": 4, "data": 2, "data_local": 1}}
    )["chat"]
    assert found.gpus == 8


def test_overlays_and_the_least_number_of_an_autoscaler_count() -> None:
    overlay = {"containers": [{"name": "main", "resources": {"limits": {GPU: "4"}}}], "nodeSelector": {"gpu": "h100"}}
    found = parts({"resources": {"gpu": 2}, "template": overlay, "autoscaling": {"min_replicas": 3, "max_replicas": 9}})
    assert (found["chat"].gpus, found["chat"].replicas) == (4, 3)
    assert found["chat"].node_selector == {"gpu": "h100"}


def test_a_gpu_tier_and_adapters_take_their_memory() -> None:
    model = {
        "uri": "s3://m/chat",
        "lora": {"adapters": [{"name": name, "uri": "s3://m/a"} for name in "ab"], "max_rank": 64},
    }
    cache = {"tiers": [{"type": "gpu", "size": "40Gi"}]}
    found = parts({"resources": {"gpu": 2}}, model=model, cache=cache)["chat"].engine
    assert found["kv_cache_memory_bytes"] == 20 * judge.GIB
    assert found["lora"] == {"max_loras": 2, "max_lora_rank": 64}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (deployment({"resources": {"gpu": 3}, "parallelism": {"tensor": 2}}), "GPUs would stay idle"),
        (deployment({"resources": {"gpu": 1, "gpus": 2}}), "has serving.decode.resources.gpus, which"),
        (deployment({}, tollerations=[]), "has tollerations, which"),
        (deployment({"replicas": "many"}), "argument 'replicas' is of type str"),
        (deployment({"resources": {"gpu": 0.5}}), "argument 'gpu' is of type float"),
        ({"name": "chat"}, "missing: model, serving"),
        ({"name": "chat", "model": 1, "serving": {}}, "wrong type"),
        ({"model": {}, "serving": {}}, "name"),
        (deployment({"resources": {"gpu": 1}}, model={"name": "x"}), "model.uri is missing"),
        (deployment({"resources": {"gpu": 1}, "args": ["--max-model-len=long"]}), "has the value 'long'"),
    ],
)
def test_what_cannot_be_deployed_is_a_sentence(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wanted.of_llm_deployment(entry, RUNTIME, GPU)


def test_the_worked_example_of_the_documentation() -> None:
    """docs/will-my-model-fit.md, Prefill and decode."""
    length = ["--max-model-len=32768"]
    found = parts({"resources": {"gpu": 4}, "args": length}, {"resources": {"gpu": 2}, "args": length})
    given = {
        "product": "NVIDIA-H100-80GB-HBM3",
        "memory_gib": None,
        "compute_capability": None,
        "per_node": 8,
        "nodes": 1,
    }
    told = {}
    for name, part in found.items():
        asked = {**_preflight_survey.FIT_DEFAULTS, **part.engine, "model": None, "nodes": None, "gpu": given}
        told[name] = judge.of_fit(part, _model_verdict.predict({**asked, "config": checkpoints.LLAMA_3_1_70B}))
    assert {name: finding.status for name, finding in told.items()} == {"chat/prefill": FAIL, "chat/decode": PASS}
    assert told["chat/prefill"].message.startswith(
        "chat/prefill does not fit: One request of 32768 tokens needs 5.00 GiB of KV cache on each GPU and there are "
        "4.47 GiB:"
    )


# The engine's arguments


def test_the_engine_s_arguments_are_read_in_both_spellings() -> None:
    arguments = ["--kv-cache-dtype=fp8", "--max-num-seqs", "64", "--enforce-eager", "--seed=1", "--block_size=32"]
    assert wanted.engine_settings(arguments) == {
        "kv_cache_dtype": "fp8",
        "max_num_seqs": 64,
        "enforce_eager": True,
        "block_size": 32,
    }


@pytest.mark.parametrize(
    ("text", "tokens"), [("8192", 8192), ("32k", 32000), ("32K", 32768), ("25.6k", 25600), ("1M", 2**20)]
)
def test_amounts_are_read_as_vllm_reads_them(text: str, tokens: int) -> None:
    assert wanted.engine_settings(["--max-model-len", text]) == {"max_model_len": tokens}


def test_only_quantisation_that_the_engine_does_itself_counts() -> None:
    assert wanted.engine_settings(["--quantization=fp8"]) == {"quantization": "fp8"}
    # What a checkpoint is made with is read from its files.
    assert wanted.engine_settings(["--quantization=awq_marlin"]) == {"quantization": None}


def test_an_argument_that_is_no_number_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="--max-num-seqs has the value 'many'"):
        wanted.engine_settings(["--max-num-seqs=many"])

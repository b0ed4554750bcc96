# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prediction against what vLLM logged: each published case names its source."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_types, _model_fit, _model_tensors
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_types import Gpu
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import describe
from ansible_collections.llmstack.serving.plugins.module_utils._model_fit import Draft, Model, Settings
from ansible_collections.llmstack.serving.plugins.module_utils._model_weights import Lora
from tools import checkpoints
from tools.checkpoints import (
    DEEPSEEK_V3,
    GPT_OSS_20B,
    LLAMA_3_1_8B,
    LLAMA_3_1_70B,
    QWEN3_6_35B_A3B,
    QWEN3_30B_A3B,
    QWEN3_32B,
)

GIB = 1024**3
QWEN2_5_7B = {
    **LLAMA_3_1_8B,
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
}


def gpu(product: str) -> Gpu:
    found = _gpu_types.known(product)
    assert found
    return found


H100, RTX_3090, RTX_4090, A100, T4, L40S = map(
    gpu,
    (
        "NVIDIA-H100-80GB-HBM3",
        "GeForce-RTX-3090",
        "GeForce-RTX-4090",
        "NVIDIA-A100-SXM4-80GB",
        "Tesla-T4",
        "NVIDIA-L40S",
    ),
)


@cache
def _model(name: str) -> Model:
    if name == "GPT_OSS_20B":
        return Model(describe(GPT_OSS_20B), checkpoints.tensors(checkpoints.gpt_oss_shapes(GPT_OSS_20B)))
    architecture = describe({**globals(), **vars(checkpoints)}[name])
    return Model(architecture, _model_tensors.expected(architecture))


def predict(name: str, kind: Gpu = H100, **settings: Any) -> dict[str, Any]:
    return _model_fit.estimate(_model(name), Settings(**settings), kind)


# vLLM 0.11 on one H100 with 79.18 GiB, utilisation 0.90, block size 128, 16,000 tokens
# (llm-d-planner, docs/empirical-vllm-memory-results.md): activation, other, KV cache in GiB.
PLANNER = {"GPT_OSS_20B": (7.38, 0.13, 50.28), "LLAMA_3_1_8B": (4.76, 0.13, 51.38), "QWEN3_32B": (5.64, 0.14, 4.45)}


@pytest.mark.parametrize("name", PLANNER)
def test_the_memory_identity_holds_with_measured_activations(name: str) -> None:
    activation, other, cache_gib = PLANNER[name]
    found = predict(
        name,
        max_model_len=16000,
        gpu_memory_utilization=0.9,
        block_size=128,
        activation_gib=activation,
        non_torch_gib=other,
    )
    assert found["confidence"] == "measured"
    assert found["memory"]["kv_cache_gib"] == pytest.approx(cache_gib, abs=0.15)


@pytest.mark.parametrize("name", PLANNER)
def test_without_measurements_the_cache_is_predicted_within_ten_percent_and_never_too_large(name: str) -> None:
    found = predict(name, max_model_len=16000, gpu_memory_utilization=0.9, block_size=128)
    assert found["confidence"] == "formula"
    assert found["memory"]["kv_cache_gib"] == pytest.approx(PLANNER[name][2], rel=0.1)
    assert found["memory"]["kv_cache_gib"] <= PLANNER[name][2] + 0.05


def test_llama_8b_on_a_24_gib_card_fits_20000_tokens() -> None:
    """vllm#10517: 3.81 GiB for the cache, 31,232 tokens, 1.56x."""
    found = predict("LLAMA_3_1_8B", RTX_3090, max_model_len=20000, kv_cache_memory_bytes=int(3.81 * GIB))
    assert found["fits"]
    assert found["kv_cache_tokens"] == pytest.approx(31_232, abs=60)
    assert found["concurrency_at_max_len"] == 1.56


def test_llama_8b_on_a_24_gib_card_does_not_fit_29000_tokens() -> None:
    """vllm#10517: 2.89 GiB for the cache, 23,648 tokens, 0.82x, refused."""
    found = predict("LLAMA_3_1_8B", RTX_3090, max_model_len=29000, kv_cache_memory_bytes=int(2.89 * GIB))
    assert (found["fits"], found["status"], found["limiting_factor"]) == (False, "fail", "kv_cache")
    assert found["kv_cache_tokens"] == pytest.approx(23_648, abs=60)
    assert found["max_model_len_that_fits"] == pytest.approx(23_648, abs=60)
    assert found["concurrency_at_max_len"] == 0.82
    assert "One request of 29000 tokens needs 3.54 GiB" in found["problems"][0]["message"]


def test_a_quarter_of_a_million_tokens_needs_24_gib() -> None:
    """vllm#34076: 24.0 GiB needed, 3.18 GiB there, estimated maximum 34,736 tokens."""
    found = predict("QWEN3_30B_A3B", kv_cache_memory_bytes=int(3.18 * GIB))
    assert not found["fits"]
    assert found["memory"]["kv_cache_needed_gib"] == 24.0
    assert found["memory"]["kv_bytes_per_token"] == 98_304
    assert found["max_model_len_that_fits"] == pytest.approx(34_736, abs=60)


def test_qwen_7b_on_an_rtx_4090_with_vllm_0_24() -> None:
    """Log of July 2026: utilisation 0.85, 4.45 GiB for the cache, 83,376 tokens, 40.71x for 2,048."""
    found = predict("QWEN2_5_7B", RTX_4090, max_model_len=2048, gpu_memory_utilization=0.85, engine_version="0.24.0")
    assert found["memory"]["weights_gib"] == pytest.approx(14.29, rel=0.05)
    assert found["kv_cache_tokens"] == pytest.approx(83_376, rel=0.1)
    assert found["concurrency_at_max_len"] == pytest.approx(40.71, rel=0.1)


def test_llama_8b_on_an_h100_with_a_vllm_of_october_2026() -> None:
    """Log: utilisation 0.92, activation 1.44 GiB, 56.21 GiB for the cache, 460,496 tokens, 3.51x for 131,072."""
    found = predict("LLAMA_3_1_8B", engine_version="0.32.0")
    assert found["memory"]["activation_gib"] == pytest.approx(1.44, abs=0.05)
    assert found["kv_cache_tokens"] == pytest.approx(460_496, rel=0.1)
    assert found["concurrency_at_max_len"] == pytest.approx(3.51, rel=0.1)


def test_a_hybrid_model_with_its_vision_tower() -> None:
    """club-3090#612, vLLM 0.24: 5.98 GiB, 567,978 tokens, 4.33x for 131,072."""
    model = Model(describe(QWEN3_6_35B_A3B), weights_bytes=20 * GIB)
    settings = Settings(max_model_len=131072, kv_cache_dtype="fp8", kv_cache_memory_bytes=int(5.98 * GIB))
    found = _model_fit.estimate(model, settings, gpu("NVIDIA-GeForce-RTX-5090"))
    assert (found["kv_cache_tokens"], found["concurrency_at_max_len"]) == (567_978, 4.33)


@pytest.mark.parametrize(
    ("product", "sequences", "tokens"),
    [("NVIDIA-H100-80GB-HBM3", 1024, 8192), ("NVIDIA-A100-SXM4-80GB", 256, 2048), ("NVIDIA-L40S", 256, 2048)],
)
def test_the_defaults_of_vllm_depend_on_the_gpu(product: str, sequences: int, tokens: int) -> None:
    assert _model_fit.sequences(Settings(), gpu(product)) == sequences
    assert _model_fit.batched_tokens(Settings(), gpu(product)) == tokens


def test_weights_that_are_too_big_are_named_first() -> None:
    found = predict("LLAMA_3_1_70B")
    assert (found["fits"], found["limiting_factor"], found["max_model_len_that_fits"]) == (False, "weights", 0)
    assert (
        "The weights take 131.42 GiB on each GPU and 0.92 of 79.18 GiB is 72.85 GiB" in found["problems"][0]["message"]
    )


def test_activations_that_leave_nothing_for_the_cache() -> None:
    found = predict("LLAMA_3_1_8B", L40S, max_num_seqs=8192, max_num_batched_tokens=8192)
    assert found["limiting_factor"] == "activation"
    assert "lower max_num_seqs" in found["problems"][0]["message"]


@pytest.mark.parametrize(
    ("name", "settings", "factor", "sentence"),
    [
        (
            "LLAMA_3_1_8B",
            {"tensor_parallel_size": 3},
            "tensor_parallel",
            "does not divide the model's 32 attention heads",
        ),
        ("LLAMA_3_1_8B", {"max_model_len": 200_000}, "context_length", "more than the 131072 tokens"),
        ("LLAMA_3_1_8B", {"pipeline_parallel_size": 33}, "pipeline_parallel", "more than the model's 32 layers"),
        (
            "LLAMA_3_1_8B",
            {"tensor_parallel_size": 4, "decode_context_parallel_size": 3},
            "tensor_parallel",
            "does not divide",
        ),
        ("LLAMA_3_1_8B", {"gpu_memory_utilization": 1.0}, "utilization", "set it to 0.99 or less"),
    ],
)
def test_what_vllm_refuses_before_it_looks_at_memory(
    name: str, settings: dict[str, Any], factor: str, sentence: str
) -> None:
    found = predict(name, **settings)
    assert (found["fits"], found["limiting_factor"]) == (False, factor)
    assert sentence in found["problems"][0]["message"]


def test_key_value_heads_and_ranks_must_divide_each_other() -> None:
    architecture = describe({**LLAMA_3_1_8B, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128})
    found = _model_fit.estimate(Model(architecture, weights_bytes=GIB), Settings(tensor_parallel_size=6), H100)
    assert "6 and the model's 8 key/value heads do not divide each other" in found["problems"][0]["message"]
    assert predict("DEEPSEEK_V3", tensor_parallel_size=8)["limiting_factor"] == "weights"


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (T4, {}, "dtype bfloat16 needs compute capability 8.0 and Tesla-T4 has 7.5: set dtype to float16"),
        (A100, {"quantization": "fp8"}, "fp8 weights needs compute capability 8.9"),
        (A100, {"kv_cache_dtype": "fp8"}, "kv_cache_dtype fp8 needs compute capability 8.9"),
        (H100, {"kv_cache_dtype": "nvfp4"}, "kv_cache_dtype nvfp4 needs compute capability 10.0"),
    ],
)
def test_types_that_the_gpu_cannot_compute(kind: Gpu, settings: dict[str, Any], sentence: str) -> None:
    found = predict("LLAMA_3_1_8B", kind, max_model_len=2048, **settings)
    assert not found["fits"]
    assert any(sentence in problem["message"] for problem in found["problems"])
    able = {"dtype": "float16"} if kind is T4 else {}
    assert all(
        problem["factor"] != "compute_capability" for problem in predict("LLAMA_3_1_8B", kind, **able)["problems"]
    )


def test_a_narrow_fit_is_a_warning() -> None:
    found = predict("QWEN3_32B", max_model_len=16000, gpu_memory_utilization=0.9)
    assert (found["fits"], found["status"]) == (True, "warn")
    assert "are left on each GPU" in found["warnings"][0]
    assert predict("QWEN3_32B", max_model_len=1024, tensor_parallel_size=2)["status"] == "pass"


def test_a_cache_of_a_given_size_is_narrow_only_where_the_gpu_is() -> None:
    small = predict("LLAMA_3_1_8B", max_model_len=16000, kv_cache_memory_bytes=2 * GIB)
    assert (small["status"], small["margin_gib"]) == ("pass", 0.05)
    large = predict("LLAMA_3_1_8B", max_model_len=16000, kv_cache_memory_bytes=56 * GIB)
    assert (large["fits"], large["status"]) == (True, "warn")
    assert not predict("LLAMA_3_1_8B", max_model_len=16000, kv_cache_memory_bytes=70 * GIB)["fits"]


def test_latent_attention_gains_no_cache_from_tensor_parallelism() -> None:
    one, eight = (
        predict("DEEPSEEK_V3", tensor_parallel_size=ranks)["memory"]["kv_bytes_per_token"] for ranks in (1, 8)
    )
    assert one == eight == 70_272


def test_adapters_and_a_draft_model_take_their_part() -> None:
    plain, with_lora = predict("LLAMA_3_1_8B"), predict("LLAMA_3_1_8B", lora=Lora(8, 64))
    assert with_lora["memory"]["lora_gib"] > 0.5
    assert with_lora["margin_gib"] == pytest.approx(plain["margin_gib"] - with_lora["memory"]["lora_gib"], abs=0.02)
    target, small = _model("LLAMA_3_1_70B"), _model("LLAMA_3_1_8B")
    settings = Settings(tensor_parallel_size=4, speculative_tokens=4)
    drafted = _model_fit.estimate(replace(target, draft=Draft(small.tensors, small.architecture)), settings, H100)
    alone = _model_fit.estimate(target, settings, H100)
    assert drafted["memory"]["weights_gib"] - alone["memory"]["weights_gib"] == pytest.approx(14.96 / 4, abs=0.1)
    assert drafted["memory"]["kv_bytes_per_token"] - alone["memory"]["kv_bytes_per_token"] == 131_072 / 4


def test_prediction_layers_cache_too() -> None:
    settings = Settings(tensor_parallel_size=8, speculative_tokens=1)
    found = _model_fit.estimate(_model("DEEPSEEK_V3"), settings, H100)
    assert found["memory"]["kv_bytes_per_token"] == 70_272 + 1152


def test_the_tightest_pipeline_stage_decides() -> None:
    found = predict("LLAMA_3_1_70B", pipeline_parallel_size=2)
    # Half of the layers and one of the two vocabulary matrices.
    assert found["memory"]["weights_gib"] == pytest.approx(65.71, abs=0.01)
    assert found["memory"]["kv_bytes_per_token"] == 163_840


@pytest.mark.parametrize(
    "name", [LLAMA_3_1_8B, LLAMA_3_1_70B, QWEN3_32B, QWEN3_30B_A3B, DEEPSEEK_V3], ids=lambda c: c["model_type"]
)
def test_more_of_anything_never_fits_better(name: dict[str, Any]) -> None:
    """Longer contexts, more sequences and larger batches never leave more room."""
    architecture = describe(name)
    model = Model(architecture, _model_tensors.expected(architecture))
    base = Settings(tensor_parallel_size=8, max_model_len=4096, max_num_seqs=64, max_num_batched_tokens=2048)
    for change in ({"max_model_len": 8192}, {"max_num_seqs": 1024}, {"max_num_batched_tokens": 65536}):
        more = _model_fit.estimate(model, replace(base, **change), H100)
        assert more["margin_gib"] <= _model_fit.estimate(model, base, H100)["margin_gib"]


def test_an_unknown_architecture_has_no_numbers() -> None:
    found = _model_fit.unsupported("why")
    assert (found["fits"], found["status"], found["confidence"]) == (None, "skip", "unsupported")
    assert found["margin_gib"] is found["kv_cache_tokens"] is found["max_model_len_that_fits"] is None


@pytest.mark.parametrize(
    ("status", "fails_on_fail", "fails_on_warn"),
    [("pass", False, False), ("warn", False, True), ("skip", False, True), ("fail", True, True)],
)
def test_a_verdict_fails_the_task_as_asked(status: str, fails_on_fail: bool, fails_on_warn: bool) -> None:
    verdict = {"status": status}
    assert _model_fit.must_fail(verdict, "fail") is fails_on_fail
    assert _model_fit.must_fail(verdict, "warn") is fails_on_warn
    assert not _model_fit.must_fail(verdict, "never")

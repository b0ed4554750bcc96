# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _model_tensors, _model_weights
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import (
    ConfigError,
    UnsupportedArchitecture,
    describe,
)
from ansible_collections.llmstack.serving.plugins.module_utils._model_weights import Lora, Split
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import Tensor
from tools import checkpoints
from tools.checkpoints import (
    DEEPSEEK_V3,
    GPT_OSS_20B,
    LLAMA_3_1_8B,
    LLAMA_3_1_70B,
    QWEN3_30B_A3B,
    QWEN3_32B,
    QWEN3_NEXT_80B,
)

GIB = 1024**3


WHOLE = Split()


def per_stage(config: dict[str, Any], split: Split = WHOLE, **options: Any) -> list[int]:
    architecture = describe(config)
    tensors = _model_tensors.expected(architecture)
    kept = _model_weights.resident(tensors, architecture, **{"dtype": "bfloat16", **options})
    return _model_weights.weights_per_stage(kept, architecture, split)


def one(config: dict[str, Any], *tensors: Tensor, split: Split = WHOLE, **options: Any) -> int:
    """The bytes on one GPU of just these tensors."""
    architecture = describe(config)
    kept = _model_weights.resident(tensors, architecture, **{"dtype": "bfloat16", **options})
    [size] = _model_weights.weights_per_stage(kept, architecture, split)
    return size


def tensor(name: str, *shape: int, dtype: str = "BF16") -> Tensor:
    return checkpoints.tensors([(name, dtype, shape)])[0]


@pytest.mark.parametrize(
    ("config", "split", "gib"),
    [
        # llm-d-benchmark#381: 70,553,706,496 parameters.
        pytest.param(LLAMA_3_1_70B, WHOLE, 131.4165, id="Llama-3.1-70B"),
        # llm-d-planner, empirical-vllm-memory-results: H100, vLLM 0.11.
        pytest.param(LLAMA_3_1_8B, WHOLE, 14.99, id="Llama-3.1-8B"),
        pytest.param(QWEN3_32B, WHOLE, 61.03, id="Qwen3-32B"),
        # vllm-ascend log of July 2026: each worker loads 28.4767 GiB.
        pytest.param(QWEN3_30B_A3B, Split(tensor_parallel_size=2), 28.4767, id="Qwen3-30B-A3B-TP2"),
    ],
)
def test_the_published_size_of_the_weights(config: dict[str, Any], split: Split, gib: float) -> None:
    assert per_stage(config, split)[0] / GIB == pytest.approx(gib, rel=0.005)


def test_the_published_size_of_packed_experts() -> None:
    """gpt-oss-20b on an H100: 13.47 GiB, 5 % more than its file has, because the kernel pads (llm-d-planner)."""
    size = one(GPT_OSS_20B, *checkpoints.tensors(checkpoints.gpt_oss_shapes(GPT_OSS_20B)))
    assert size / GIB == pytest.approx(13.47, rel=0.01)


def test_tensor_parallelism_divides_all_but_norms_and_what_cannot_be_divided() -> None:
    whole, [half] = per_stage(LLAMA_3_1_8B)[0], per_stage(LLAMA_3_1_8B, Split(tensor_parallel_size=2))
    norms = (2 * 32 + 1) * 4096 * 2
    assert half == (whole - norms) // 2 + norms


def test_key_and_value_projections_are_replicated_when_heads_run_out() -> None:
    split = Split(tensor_parallel_size=16)
    assert (
        one(LLAMA_3_1_8B, tensor("model.layers.0.self_attn.k_proj.weight", 1024, 4096), split=split)
        == 1024 * 4096 * 2 / 8
    )
    fused = tensor("model.layers.0.self_attn.qkv_proj.weight", 6144, 4096)
    assert one(LLAMA_3_1_8B, fused, split=split) == pytest.approx((4096 / 16 + 2 * 128) * 4096 * 2)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.3.mlp.gate.weight",
        "model.layers.3.self_attn.kv_a_proj_with_mqa.weight",
        "model.layers.3.self_attn.q_a_proj.weight",
    ],
)
def test_routers_and_latent_projections_are_replicated(name: str) -> None:
    assert one(DEEPSEEK_V3, tensor(name, 256, 7168), split=Split(tensor_parallel_size=8)) == 256 * 7168 * 2


def test_the_latent_up_projection_is_kept_twice() -> None:
    up = tensor("model.layers.0.self_attn.kv_b_proj.weight", 32768, 512, dtype="F8_E4M3")
    assert one(DEEPSEEK_V3, up) == 32768 * 512 * (1 + 2)


def test_experts_are_divided_over_data_parallel_replicas_too() -> None:
    expert = tensor("model.layers.3.mlp.experts.0.up_proj.weight", 2048, 7168)
    split = Split(tensor_parallel_size=4, data_parallel_size=2)
    assert one(DEEPSEEK_V3, expert, split=split) == 2048 * 7168 * 2 / 8
    # 256 experts on 24 GPUs: some have 11.
    uneven = Split(tensor_parallel_size=8, data_parallel_size=3, expert_parallel=True)
    assert one(DEEPSEEK_V3, expert, split=uneven) == pytest.approx(2048 * 7168 * 2 * 11 / 256, abs=1)


def test_prediction_layers_are_loaded_only_for_speculative_decoding() -> None:
    layer = tensor("model.layers.61.mlp.experts.0.up_proj.weight", 2048, 7168)
    other = tensor("mtp.layers.0.mlp.up_proj.weight", 100, 100)
    assert one(DEEPSEEK_V3, layer) == 0
    assert one(QWEN3_NEXT_80B, other) == 0
    assert one(DEEPSEEK_V3, layer, prediction_layers=True) == 2048 * 7168 * 2


def test_tied_embeddings_are_kept_once() -> None:
    tied = {**LLAMA_3_1_8B, "tie_word_embeddings": True}
    embedding, head = tensor("model.embed_tokens.weight", 1000, 4096), tensor("lm_head.weight", 1000, 4096)
    assert one(tied, embedding, head) == 1000 * 4096 * 2
    assert one(LLAMA_3_1_8B, embedding, head) == 2 * 1000 * 4096 * 2


def test_a_float32_checkpoint_is_cast_but_its_scales_are_not() -> None:
    assert one(LLAMA_3_1_8B, tensor("model.layers.0.mlp.up_proj.weight", 10, 10, dtype="F32")) == 200
    assert one(LLAMA_3_1_8B, tensor("model.layers.0.mlp.up_proj.weight_scale_inv", 10, 10, dtype="F32")) == 400


def test_quantising_while_loading_leaves_embeddings_and_norms_alone() -> None:
    [size] = per_stage(LLAMA_3_1_8B, quantization="fp8")
    ends = 2 * 128256 * 4096 * 2
    norms = (2 * 32 + 1) * 4096 * 2
    whole = per_stage(LLAMA_3_1_8B)[0]
    assert size == (whole - ends - norms) / 2 + ends + norms


def test_pipeline_stages_are_those_of_vllm() -> None:
    assert [len(stage) for stage in _model_weights.stages(61, 4)] == [15, 15, 16, 15]
    assert [len(stage) for stage in _model_weights.stages(80, 2)] == [40, 40]


def test_each_stage_has_its_layers_and_the_ends_their_embeddings() -> None:
    first, middle, last = per_stage({**LLAMA_3_1_8B, "num_hidden_layers": 33}, Split(pipeline_parallel_size=3))
    table = 128256 * 4096 * 2
    assert first - middle == table
    assert last - middle == table + 4096 * 2
    assert first + middle + last == per_stage({**LLAMA_3_1_8B, "num_hidden_layers": 33})[0]


def test_rotary_frequencies_and_a_vision_tower() -> None:
    assert one(LLAMA_3_1_8B, tensor("model.layers.0.self_attn.rotary_emb.inv_freq", 64, dtype="F32")) == 0
    vision = tensor("model.visual.blocks.0.attn.qkv.weight", 3840, 1280)
    assert one(LLAMA_3_1_8B, vision, split=Split(tensor_parallel_size=2)) == 3840 * 1280


def test_adapters_take_two_narrow_matrices_per_projection() -> None:
    up, down = (
        tensor("model.layers.0.mlp.up_proj.weight", 300, 100),
        tensor("model.layers.0.mlp.down_proj.weight", 100, 300),
    )
    size = _model_weights.lora_bytes(
        [up, down], describe(LLAMA_3_1_8B), Split(tensor_parallel_size=2), Lora(4, 16), "bfloat16"
    )
    assert size == ((100 + 150) + (150 + 100)) * 16 * 4 * 2


def test_what_only_the_files_know_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match=r"quantised \(mxfp4\): its size is known from its files only"):
        _model_tensors.expected(describe(GPT_OSS_20B))
    with pytest.raises(UnsupportedArchitecture, match=r"cannot be told from config\.json alone"):
        _model_tensors.expected(describe(QWEN3_NEXT_80B))


def test_the_tensors_of_deepseek_v3_add_up_to_its_parameters() -> None:
    """671 billion, as published, without the layer for multi-token prediction."""
    total = sum(found.elements for found in _model_tensors.expected(describe(DEEPSEEK_V3)))
    assert total / 1e9 == pytest.approx(671, abs=0.5)

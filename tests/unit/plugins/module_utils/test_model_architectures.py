# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import (
    Architecture,
    Attention,
    ConfigError,
    Index,
    Latent,
    State,
    UnsupportedArchitecture,
    describe,
)
from tools.checkpoints import DEEPSEEK_V3, GPT_OSS_20B, LLAMA_3_1_8B, QWEN3_6_35B_A3B, QWEN3_32B, QWEN3_NEXT_80B


def caches(architecture: Architecture) -> Counter[Any]:
    return Counter(cache for layer in architecture.layers for cache in layer)


def test_grouped_query_attention() -> None:
    found = describe(LLAMA_3_1_8B)
    assert caches(found) == {Attention(8, 128, 128): 32}
    assert (found.max_positions, found.dtype, found.mixture_of_experts, found.latent) == (
        131072,
        "bfloat16",
        False,
        False,
    )


def test_a_given_head_dim_wins_over_the_quotient() -> None:
    # 5120 / 64 is 80.
    assert caches(describe(QWEN3_32B)) == {Attention(8, 128, 128): 64}


def test_without_key_value_heads_there_are_as_many_as_attention_heads() -> None:
    config = {key: value for key, value in LLAMA_3_1_8B.items() if key != "num_key_value_heads"}
    assert caches(describe(config)) == {Attention(32, 128, 128): 32}


def test_multi_query_attention() -> None:
    config = {
        "model_type": "gpt_bigcode",
        "n_embd": 6144,
        "n_head": 48,
        "n_layer": 40,
        "vocab_size": 49152,
        "multi_query": True,
    }
    assert caches(describe(config)) == {Attention(1, 128, 128): 40}


def test_latent_attention() -> None:
    found = describe(DEEPSEEK_V3)
    assert caches(found) == {Latent(576): 61}
    assert (found.experts, found.prediction_layers, found.latent) == (256, 1, True)


def test_sparse_latent_attention_caches_its_index_too() -> None:
    found = describe({**DEEPSEEK_V3, "model_type": "deepseek_v32", "index_topk": 2048, "index_head_dim": 128})
    assert caches(found) == {Latent(576): 61, Index(128): 61}


def test_alternating_windows() -> None:
    found = describe(GPT_OSS_20B)
    assert found.layers[0] == (Attention(8, 64, 64, window=128),)
    assert caches(found) == {Attention(8, 64, 64, window=128): 12, Attention(8, 64, 64): 12}
    assert found.quantization == "mxfp4"


def test_five_of_six_layers_of_gemma_3_have_a_window() -> None:
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 5376,
        "num_hidden_layers": 62,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "sliding_window": 1024,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
    }
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text,
        "vision_config": {},
    }
    found = describe(config)
    assert caches(found) == {Attention(16, 128, 128, window=1024): 52, Attention(16, 128, 128): 10}
    assert found.multimodal
    assert found.tied_embeddings


def test_chunked_attention_of_llama_4() -> None:
    text = {
        **LLAMA_3_1_8B,
        "model_type": "llama4_text",
        "num_hidden_layers": 48,
        "head_dim": 128,
        "attention_chunk_size": 8192,
    }
    found = describe({"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "text_config": text})
    assert caches(found) == {Attention(8, 128, 128, chunk=8192): 36, Attention(8, 128, 128): 12}


def test_layer_types_win_over_what_is_usual() -> None:
    types = ["full_attention"] * 4 + ["sliding_attention"] * 20
    found = describe({**GPT_OSS_20B, "layer_types": types})
    assert caches(found)[Attention(8, 64, 64)] == 4


def test_hybrid_of_linear_and_full_attention() -> None:
    found = describe(QWEN3_NEXT_80B)
    assert caches(found) == {Attention(2, 256, 256): 12, State(8192, 3, 32 * 128 * 128): 36}
    assert describe(QWEN3_6_35B_A3B).layers[0] == (State(8192, 3, 32 * 128 * 128, recurrent_bytes=4),)


def test_hybrid_of_mamba_and_attention_with_plain_layers_between() -> None:
    config = {
        "model_type": "nemotron_h",
        "hidden_size": 4480,
        "num_hidden_layers": 6,
        "hybrid_override_pattern": "M-M*-M",
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "mamba_num_heads": 128,
        "mamba_head_dim": 80,
        "n_groups": 8,
        "ssm_state_size": 128,
        "conv_kernel": 4,
        "vocab_size": 131072,
        "max_position_embeddings": 131072,
    }
    found = describe(config)
    state = State(128 * 80 + 2 * 8 * 128, 3, 128 * 80 * 128)
    assert found.layers == ((state,), (), (state,), (Attention(8, 128, 128),), (), (state,))


def test_a_window_that_is_switched_off_does_not_count() -> None:
    config = {**QWEN3_32B, "model_type": "qwen2", "sliding_window": 131072, "use_sliding_window": False}
    assert caches(describe(config)) == {Attention(8, 128, 128): 64}
    assert caches(describe({**LLAMA_3_1_8B, "model_type": "mistral", "sliding_window": 4096})) == {
        Attention(8, 128, 128, window=4096): 32
    }


def test_the_context_is_longer_with_yarn() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert describe({**QWEN3_32B, "rope_scaling": scaling}).max_positions == 131072


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "fp8"),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "nvfp4"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}, "nvfp4"),
    ],
)
def test_the_quantisation_is_named_as_vllm_names_it(found: dict[str, Any], name: str) -> None:
    assert describe({**LLAMA_3_1_8B, "quantization_config": found}).quantization == name


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({**LLAMA_3_1_8B, "model_type": "deepseek_v9"}, "no number is given"),
        ({**DEEPSEEK_V3, "compress_ratios": [4, 128]}, "not known here"),
        ({**GPT_OSS_20B, "layer_types": ["quantum_attention"] * 24}, "'quantum_attention'"),
    ],
)
def test_an_unknown_architecture_gives_no_number(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedArchitecture, match=sentence):
        describe(config)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "neither architectures nor model_type"),
        ({key: value for key, value in LLAMA_3_1_8B.items() if key != "num_hidden_layers"}, "no num_hidden_layers"),
        ({**LLAMA_3_1_8B, "hidden_size": "4096"}, "hidden_size is '4096' and must be a positive number"),
        ({**LLAMA_3_1_8B, "vocab_size": 0}, "vocab_size is 0"),
        ({**GPT_OSS_20B, "layer_types": ["full_attention"]}, "layer_types has 1 entries for num_hidden_layers 24"),
    ],
)
def test_an_incomplete_configuration_is_refused_with_a_sentence(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        describe(config)

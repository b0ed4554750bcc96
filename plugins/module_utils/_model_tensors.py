# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tensors an unquantised checkpoint has, from its config.json alone: for models that nobody has fetched yet.
PRIVATE to the collection.

Shapes and names are those of transformers (modeling_llama.py, modeling_qwen3_moe.py, modeling_deepseek_v3.py ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import (
    Architecture,
    ConfigError,
    UnsupportedArchitecture,
)
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import Tensor

# Decoders of Llama's shape: gated MLP, separate projections, no bias of any weight.
_LLAMA_LIKE = {
    "llama",
    "mistral",
    "ministral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "granite",
    "seed_oss",
    "olmo2",
    "exaone4",
    "smollm3",
    "cohere",
    "internlm3",
}
_MIXTURES = {"mixtral", "qwen2_moe", "qwen3_moe", "glm4_moe", "olmoe", "minimax_m2", "dots1"}
_LATENT = {"deepseek_v2", "deepseek_v3", "kimi_k2"}
_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def expected(architecture: Architecture) -> list[Tensor]:
    """The checkpoint's tensors in its own type.

    Raises UnsupportedArchitecture where shapes are not known, ConfigError for a quantised model: what is packed how is
    written in its files only.
    """
    config = architecture.raw
    if architecture.quantization:
        raise ConfigError(
            f"The model is quantised ({architecture.quantization}): its size is known from its files only. "
            "Give model (a directory or s3:// URI) or weights_gib."
        )
    kind = config.get("model_type")
    if kind not in _LLAMA_LIKE | _MIXTURES | _LATENT:
        raise UnsupportedArchitecture(
            f"The size of {architecture.name} cannot be told from config.json alone: give model (a directory or "
            "s3:// URI) or weights_gib."
        )
    dtype = _TYPES.get(architecture.dtype, "BF16")
    return [
        Tensor(name, dtype, shape, _elements(shape) * (4 if dtype == "F32" else 2))
        for name, shape in _named_shapes(architecture, config)
    ]


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _named_shapes(architecture: Architecture, config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden = architecture.hidden_size
    yield "model.embed_tokens.weight", (architecture.vocab_size, hidden)
    for index in range(len(architecture.layers)):
        layer = f"model.layers.{index}"
        attention = _latent_attention if architecture.latent else _attention
        for name, shape in attention(architecture, config):
            yield f"{layer}.self_attn.{name}", shape
        for name, shape in _mlp(architecture, config, index):
            yield f"{layer}.{name}", shape
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not architecture.tied_embeddings:
        yield "lm_head.weight", (architecture.vocab_size, hidden)


def _attention(architecture: Architecture, config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, size = architecture.hidden_size, architecture.head_dim
    queries, keys = architecture.attention_heads * size, architecture.kv_heads * size
    yield "q_proj.weight", (queries, hidden)
    yield "k_proj.weight", (keys, hidden)
    yield "v_proj.weight", (keys, hidden)
    yield "o_proj.weight", (hidden, queries)


def _latent_attention(architecture: Architecture, config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, heads = architecture.hidden_size, architecture.attention_heads
    try:
        rotary, plain, value = config["qk_rope_head_dim"], config["qk_nope_head_dim"], config["v_head_dim"]
        latent, query_latent = config["kv_lora_rank"], config.get("q_lora_rank")
    except KeyError as error:
        raise ConfigError(
            f"config.json has no {error.args[0]}: without it the model's size cannot be computed."
        ) from error
    if query_latent:
        yield "q_a_proj.weight", (query_latent, hidden)
        yield "q_b_proj.weight", (heads * (plain + rotary), query_latent)
    else:
        yield "q_proj.weight", (heads * (plain + rotary), hidden)
    yield "kv_a_proj_with_mqa.weight", (latent + rotary, hidden)
    yield "kv_b_proj.weight", (heads * (plain + value), latent)
    yield "o_proj.weight", (hidden, heads * value)


def _mlp(architecture: Architecture, config: dict[str, Any], index: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden = architecture.hidden_size
    dense = (
        not architecture.mixture_of_experts
        or index < (config.get("first_k_dense_replace") or 0)
        or index in (config.get("mlp_only_layers") or [])
        or (index + 1) % (config.get("decoder_sparse_step") or 1) != 0
    )
    if dense:
        yield from _gated("mlp", hidden, architecture.intermediate_size)
        return
    yield "mlp.gate.weight", (architecture.experts, hidden)
    width = architecture.expert_intermediate_size
    for expert in range(architecture.experts):
        yield from _gated(f"mlp.experts.{expert}", hidden, width)
    shared = config.get("shared_expert_intermediate_size") or (config.get("n_shared_experts") or 0) * width
    if shared:
        yield from _gated("mlp.shared_experts", hidden, shared)


def _gated(prefix: str, hidden: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{prefix}.gate_proj.weight", (width, hidden)
    yield f"{prefix}.up_proj.weight", (width, hidden)
    yield f"{prefix}.down_proj.weight", (hidden, width)

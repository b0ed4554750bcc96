# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model's config.json says about the memory it needs at run time. PRIVATE to the collection.

Only architectures whose cache is understood are described; every other one raises UnsupportedArchitecture, because a
wrong number is worse than none. Rules: vLLM's vllm/transformers_utils/model_arch_config_convertor.py and the model
files under vllm/model_executor/models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

Config = dict[str, Any]


class ConfigError(ValueError):
    """config.json lacks something or contradicts itself; the message is a sentence."""


class UnsupportedArchitecture(ValueError):
    """An architecture whose memory is not modelled here; the message is a sentence."""


@dataclass(frozen=True)
class Attention:
    """Keys and values of one attention: kept for all tokens, or for the last `window`, or within a `chunk`."""

    kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek): one compressed vector per token, the same on every tensor-parallel rank."""

    width: int


@dataclass(frozen=True)
class Index:
    """The key cache of a sparse-attention indexer (DeepSeek V3.2): FP8 values and one FP32 scale per 128 of them."""

    width: int


@dataclass(frozen=True)
class State:
    """What Mamba, linear attention or a short convolution keeps: a fixed size per request, divided by tensor parallelism.

    `convolution_steps` grows by the number of speculative tokens, as vLLM keeps one state for each.
    """

    convolution_width: int
    convolution_steps: int
    recurrent_elements: int
    # Size of one element of the recurrent part, in bytes; None is the model's own.
    recurrent_bytes: int | None = None


Cache: TypeAlias = "Attention | Latent | Index | State"


@dataclass(frozen=True)
class Architecture:
    """A decoder, layer by layer, and the sizes that decide how it can be split."""

    name: str
    hidden_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    # The caches of each decoder layer: none (a plain MLP layer), one, or several.
    layers: tuple[tuple[Cache, ...], ...]
    max_positions: int | None
    # "bfloat16", "float16", "float32", as the checkpoint is meant to be computed.
    dtype: str
    tied_embeddings: bool
    intermediate_size: int
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate_size: int = 0
    multimodal: bool = False
    # Layers for multi-token prediction that lie in the checkpoint behind the decoder's own.
    prediction_layers: int = 0
    quantization: str | None = None
    raw: Config = field(default_factory=dict, compare=False, repr=False)

    @property
    def latent(self) -> bool:
        return any(isinstance(cache, Latent) for layer in self.layers for cache in layer)

    @property
    def mixture_of_experts(self) -> bool:
        return self.experts > 1


def describe(config: Config) -> Architecture:
    """Read a config.json. Raises ConfigError, UnsupportedArchitecture."""
    if not isinstance(config, dict):
        raise ConfigError("config.json is not a JSON object.")
    names = config.get("architectures") or []
    model_type = _text_type(config)
    if not names and not model_type:
        raise ConfigError("config.json has neither architectures nor model_type: it is not a model's configuration.")
    name = names[0] if names else model_type
    text = _text_config(config)
    rule = _RULES.get(model_type)
    if rule is None:
        raise UnsupportedArchitecture(
            f"{name} (model_type {model_type!r}) is not an architecture whose memory is known here: "
            "no number is given. Measure it: start vLLM once and read its log."
        )
    layers = rule(text)
    heads = _number(text, "num_attention_heads", "n_head", "n_heads") if rule is not _mamba_only else 0
    return Architecture(
        name=name,
        hidden_size=_number(text, "hidden_size", "n_embd", "d_model"),
        attention_heads=heads,
        kv_heads=_kv_heads(text) if heads else 0,
        head_dim=_head_dim(text) if heads else 0,
        vocab_size=_number(text, "vocab_size"),
        layers=layers,
        max_positions=_max_positions(text),
        dtype=_dtype(config, text),
        tied_embeddings=bool(
            text.get("tie_word_embeddings", config.get("tie_word_embeddings", _TIED.get(model_type, False)))
        ),
        intermediate_size=_intermediate_size(text),
        experts=_experts(text),
        experts_per_token=_first(
            text, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "top_k_experts"
        )
        or 0,
        expert_intermediate_size=_first(text, "moe_intermediate_size", "intermediate_size", "ffn_hidden_size") or 0,
        multimodal=text is not config or "vision_config" in config or "audio_config" in config,
        prediction_layers=_first(text, "num_nextn_predict_layers", "mtp_num_hidden_layers") or 0,
        quantization=quantization_method(config),
        raw=config,
    )


def quantization_method(config: Config) -> str | None:
    """The checkpoint's own quantisation, as vLLM names it, or None."""
    for part in (config, _text_config(config)):
        found = part.get("quantization_config") or part.get("compression_config")
        if found:
            method = str(found.get("quant_method") or "").lower().replace("_", "-")
            algorithm = str(
                (found.get("quantization") or {}).get("quant_algo") or found.get("quant_algo") or ""
            ).upper()
            if not method:
                method = "modelopt" if algorithm else "unknown"
            if "NVFP4" in algorithm:
                return "nvfp4"
            if method == "modelopt" and "FP8" in algorithm:
                return "fp8"
            if method == "compressed-tensors":
                return _compressed_tensors_format(found)
            return method
    return None


def _compressed_tensors_format(found: Config) -> str:
    form = str(found.get("format") or "")
    if "nvfp4" in form:
        return "nvfp4"
    if "float-quantized" in form:
        return "fp8"
    return "compressed-tensors"


# Reading single values


def _text_config(config: Config) -> Config:
    """The language model's part of a multimodal configuration."""
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(key), dict):
            return config[key]
    thinker = config.get("thinker_config")
    return _text_config(thinker) if isinstance(thinker, dict) else config


def _text_type(config: Config) -> str:
    text = _text_config(config)
    found = str(text.get("model_type") or config.get("model_type") or "")
    return _ALIASES.get(found, found)


def _first(text: Config, *keys: str) -> Any:
    for key in keys:
        value = text.get(key)
        if value is not None:
            return value[0] if isinstance(value, list) and value else value
    return None


def _number(text: Config, *keys: str) -> int:
    value = _first(text, *keys)
    if value is None:
        raise ConfigError(f"config.json has no {keys[0]}: without it the model's memory cannot be computed.")
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ConfigError(f"config.json: {keys[0]} is {value!r} and must be a positive number.")
    return value


def _head_dim(text: Config) -> int:
    # The quotient is wrong where the key is given: Qwen3 and Gemma have head_dim 128 or 256 with another quotient.
    given = _first(text, "head_dim", "attention_head_dim", "hidden_size_per_head")
    if given:
        return int(given)
    return _number(text, "hidden_size", "n_embd", "d_model") // _number(
        text, "num_attention_heads", "n_head", "n_heads"
    )


def _kv_heads(text: Config) -> int:
    if text.get("multi_query"):
        return int(text.get("num_kv_heads") or 1)
    attention = text.get("attn_config") if isinstance(text.get("attn_config"), dict) else {}
    found = _first(
        {**(attention or {}), **text},
        "num_key_value_heads",
        "num_kv_heads",
        "n_head_kv",
        "multi_query_group_num",
        "kv_n_heads",
    )
    return int(found) if found else _number(text, "num_attention_heads", "n_head", "n_heads")


def _max_positions(text: Config) -> int | None:
    keys = (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
        "model_max_length",
        "max_sequence_length",
    )
    values = [text[key] for key in keys if isinstance(text.get(key), int)]
    if not values:
        return None
    longest = min(values)
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    # Llama 3, LongRoPE and multimodal RoPE already have the scaled length in max_position_embeddings.
    if kind in ("yarn", "linear", "dynamic") and scaling.get("factor"):
        original = scaling.get("original_max_position_embeddings") if kind == "yarn" else None
        return int((original or longest) * scaling["factor"])
    return longest


def _dtype(config: Config, text: Config) -> str:
    for part in (config, text, config.get("vision_config") or {}):
        found = part.get("torch_dtype") or part.get("dtype")
        if found:
            return str(found).removeprefix("torch.")
    return "float32"


def _experts(text: Config) -> int:
    nested = text.get("ffn_config") if isinstance(text.get("ffn_config"), dict) else {}
    return int(
        _first({**(nested or {}), **text}, "num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
        or 0
    )


def _intermediate_size(text: Config) -> int:
    value = _first(text, "intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "moe_intermediate_size")
    return int(value) if value else 4 * _number(text, "hidden_size", "n_embd", "d_model")


# One rule per kind of architecture: config -> the caches of each layer


def _layer_count(text: Config) -> int:
    return _number(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers")


def _attention(text: Config) -> Attention:
    size = _head_dim(text)
    return Attention(_kv_heads(text), size, int(text.get("v_head_dim") or size))


def _full(text: Config) -> tuple[tuple[Cache, ...], ...]:
    return ((_attention(text),),) * _layer_count(text)


def _by_layer_types(text: Config, default: list[str] | None = None) -> tuple[tuple[Cache, ...], ...]:
    """transformers' `layer_types`; `default` where an older config does not have it."""
    types = text.get("layer_types") or default
    count = _layer_count(text)
    if types is None:
        return _full(text)
    if len(types) != count:
        raise ConfigError(f"config.json: layer_types has {len(types)} entries for num_hidden_layers {count}.")
    full = _attention(text)
    caches: dict[str, Cache] = {"full_attention": full, "attention": full}
    layers: list[tuple[Cache, ...]] = []
    for kind in types:
        if kind == "sliding_attention" and kind not in caches:
            caches[kind] = replace(full, window=_number(text, "sliding_window"))
        elif kind == "chunked_attention" and kind not in caches:
            caches[kind] = replace(full, chunk=_number(text, "attention_chunk_size"))
        elif kind == "linear_attention" and kind not in caches:
            caches[kind] = _gated_delta_net(text)
        elif kind == "conv" and kind not in caches:
            caches[kind] = State(
                text.get("conv_dim") or _number(text, "hidden_size"), _number(text, "conv_L_cache") - 1, 0
            )
        elif kind == "mamba" and kind not in caches:
            caches[kind] = _mamba2(text)
        if kind not in caches:
            raise UnsupportedArchitecture(f"config.json has layers of type {kind!r}, whose memory is not known here.")
        layers.append((caches[kind],))
    return tuple(layers)


def _sliding_if_enabled(text: Config) -> tuple[tuple[Cache, ...], ...]:
    """Mistral, Phi-3, Starcoder2: one window for all layers. Qwen2: only with use_sliding_window."""
    if text.get("layer_types"):
        return _by_layer_types(text)
    window = text.get("sliding_window")
    if window and text.get("use_sliding_window", True):
        return ((replace(_attention(text), window=int(window)),),) * _layer_count(text)
    return _full(text)


def _alternating(default_period: int) -> Any:
    """Every n-th layer sees everything, the others a window (Gemma 2 and 3, Cohere 2, Olmo 3, Exaone 4)."""

    def rule(text: Config) -> tuple[tuple[Cache, ...], ...]:
        period = text.get("sliding_window_pattern")
        period = period if isinstance(period, int) else default_period
        kinds = [
            "full_attention" if (index + 1) % period == 0 else "sliding_attention"
            for index in range(_layer_count(text))
        ]
        return _by_layer_types(text, kinds if text.get("sliding_window") else None)

    return rule


def _gpt_oss(text: Config) -> tuple[tuple[Cache, ...], ...]:
    kinds = ["full_attention" if index % 2 else "sliding_attention" for index in range(_layer_count(text))]
    return _by_layer_types(text, kinds)


def _llama4(text: Config) -> tuple[tuple[Cache, ...], ...]:
    # Layers without rotary embedding (every fourth) see everything, the others their chunk.
    rotary = text.get("no_rope_layers") or [int((index + 1) % 4 != 0) for index in range(_layer_count(text))]
    return _by_layer_types(text, ["chunked_attention" if uses else "full_attention" for uses in rotary])


def _latent(text: Config) -> tuple[tuple[Cache, ...], ...]:
    if text.get("compress_ratios"):
        raise UnsupportedArchitecture("DeepSeek V4's compressed attention keeps a cache whose size is not known here.")
    if not text.get("kv_lora_rank"):
        return _full(text)
    caches: tuple[Cache, ...] = (Latent(_number(text, "kv_lora_rank") + _number(text, "qk_rope_head_dim")),)
    if text.get("index_topk"):
        caches += (Index(int(text.get("index_head_dim") or 128)),)
    return (caches,) * _layer_count(text)


def _longcat(text: Config) -> tuple[tuple[Cache, ...], ...]:
    # Every layer has two attentions.
    return tuple(
        layer + layer
        for layer in _latent({**text, "num_hidden_layers": _number(text, "num_layers", "num_hidden_layers")})
    )


def _gated_delta_net(text: Config) -> State:
    key_heads, value_heads = _number(text, "linear_num_key_heads"), _number(text, "linear_num_value_heads")
    key_dim, value_dim = _number(text, "linear_key_head_dim"), _number(text, "linear_value_head_dim")
    return State(
        convolution_width=2 * key_heads * key_dim + value_heads * value_dim,
        convolution_steps=int(text.get("linear_conv_kernel_dim") or 4) - 1,
        recurrent_elements=value_heads * value_dim * key_dim,
        # vLLM takes mamba_ssm_dtype from the model's configuration: float32 for Qwen3.5; Qwen3-Next has none.
        recurrent_bytes=4 if text.get("mamba_ssm_dtype") == "float32" else None,
    )


def _qwen_hybrid(text: Config) -> tuple[tuple[Cache, ...], ...]:
    interval = int(text.get("full_attention_interval") or 4)
    kinds = [
        "full_attention" if (index + 1) % interval == 0 else "linear_attention" for index in range(_layer_count(text))
    ]
    return _by_layer_types(text, kinds)


def _mamba2(text: Config) -> State:
    heads = _number(text, "mamba_n_heads", "mamba_num_heads", "num_heads")
    head_dim = _number(text, "mamba_d_head", "mamba_head_dim", "head_dim")
    groups = int(_first(text, "mamba_n_groups", "n_groups", "mamba_ngroups") or 1)
    size = _number(text, "mamba_d_state", "ssm_state_size", "state_size")
    kernel = int(_first(text, "mamba_d_conv", "conv_kernel") or 4)
    return State(heads * head_dim + 2 * groups * size, kernel - 1, heads * head_dim * size)


def _mamba1(text: Config) -> State:
    width = int(text.get("mamba_expand") or 2) * _number(text, "hidden_size")
    return State(width, int(text.get("mamba_d_conv") or 4) - 1, width * int(text.get("mamba_d_state") or 16))


def _jamba(text: Config) -> tuple[tuple[Cache, ...], ...]:
    period, offset = _number(text, "attn_layer_period"), int(text.get("attn_layer_offset") or 0)
    attention, state = _attention(text), _mamba1(text)
    return tuple((attention if index % period == offset else state,) for index in range(_layer_count(text)))


def _bamba(text: Config) -> tuple[tuple[Cache, ...], ...]:
    chosen = set(text.get("attn_layer_indices") or [])
    attention, state = _attention(text), _mamba2(text)
    return tuple((attention if index in chosen else state,) for index in range(_layer_count(text)))


def _falcon_h1(text: Config) -> tuple[tuple[Cache, ...], ...]:
    width = int(text.get("mamba_d_ssm") or int(text.get("mamba_expand") or 2) * _number(text, "hidden_size"))
    state = replace(
        _mamba2(text),
        convolution_width=width + 2 * int(text.get("mamba_n_groups") or 1) * _number(text, "mamba_d_state"),
    )
    return ((_attention(text), state),) * _layer_count(text)


def _nemotron_h(text: Config) -> tuple[tuple[Cache, ...], ...]:
    pattern = text.get("hybrid_override_pattern")
    if not isinstance(pattern, str):
        raise ConfigError("config.json has no hybrid_override_pattern: without it the kinds of layers are not known.")
    kinds: dict[str, tuple[Cache, ...]] = {"*": (_attention(text),), "M": (_mamba2(text),), "-": (), "E": ()}
    return tuple(kinds[letter] for letter in pattern if letter in kinds)


def _kimi_linear(text: Config) -> tuple[tuple[Cache, ...], ...]:
    linear = text.get("linear_attn_config")
    if not isinstance(linear, dict):
        raise ConfigError("config.json has no linear_attn_config: without it the kinds of layers are not known.")
    heads, size = _number(linear, "num_heads"), _number(linear, "head_dim")
    state = State(3 * heads * size, int(linear.get("short_conv_kernel_size") or 4) - 1, heads * size * size, 4)
    latent = Latent(_number(text, "kv_lora_rank") + _number(text, "qk_rope_head_dim"))
    # kda_layers counts from one.
    chosen = {int(index) - 1 for index in linear.get("kda_layers") or []}
    return tuple((state if index in chosen else latent,) for index in range(_layer_count(text)))


def _mamba_only(text: Config) -> tuple[tuple[Cache, ...], ...]:
    state = (
        _mamba2({"mamba_expand": 2, **text})
        if text.get("num_heads")
        else State(
            _number(text, "intermediate_size", "d_inner"),
            int(text.get("conv_kernel") or 4) - 1,
            _number(text, "intermediate_size", "d_inner") * int(text.get("state_size") or 16),
        )
    )
    return ((state,),) * _layer_count(text)


_RULES: dict[str, Any] = {
    **dict.fromkeys(
        (
            "llama",
            "mixtral",
            "qwen",
            "qwen3_moe",
            "qwen2_moe",
            "phi",
            "phimoe",
            "gpt_neox",
            "gpt2",
            "gpt_bigcode",
            "opt",
            "falcon",
            "gemma",
            "granite",
            "granitemoe",
            "granitemoeshared",
            "internlm2",
            "internlm3",
            "olmo",
            "olmo2",
            "olmoe",
            "cohere",
            "stablelm",
            "exaone",
            "solar",
            "dbrx",
            "glm",
            "glm4",
            "glm4_moe",
            "ernie4_5",
            "ernie4_5_moe",
            "seed_oss",
            "nemotron",
            "deepseek",
            "hunyuan_v1_dense",
            "hunyuan_v1_moe",
            "minimax_m2",
            "baichuan",
            "arcee",
            "apertus",
            "smollm3",
            "dots1",
            "bailing_moe",
            "bailing_moe_v2",
            "mpt",
            "gptj",
            "bloom",
            "chatglm",
        ),
        _full,
    ),
    **dict.fromkeys(
        ("mistral", "ministral", "ministral3", "phi3", "starcoder2", "qwen2", "qwen3"), _sliding_if_enabled
    ),
    "gemma2": _alternating(2),
    "gemma3_text": _alternating(6),
    "cohere2": _alternating(4),
    "olmo3": _alternating(4),
    "exaone4": _alternating(4),
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    **dict.fromkeys(
        (
            "deepseek_v2",
            "deepseek_v3",
            "deepseek_v32",
            "kimi_k2",
            "minicpm3",
            "glm_moe_dsa",
            "glm4_moe_lite",
            "pangu_ultra_moe",
        ),
        _latent,
    ),
    "longcat_flash": _longcat,
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _qwen_hybrid),
    "lfm2": _by_layer_types,
    "lfm2_moe": _by_layer_types,
    "granitemoehybrid": _by_layer_types,
    "jamba": _jamba,
    "bamba": _bamba,
    "falcon_h1": _falcon_h1,
    "nemotron_h": _nemotron_h,
    "kimi_linear": _kimi_linear,
    "mamba": _mamba_only,
    "mamba2": _mamba_only,
}
# What the text part of a multimodal model is called, or was called before it had a name of its own.
_ALIASES = {
    "gemma3": "gemma3_text",
    "llama4": "llama4_text",
    "qwen2_vl": "qwen2",
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_omni_moe_text": "qwen3_moe",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "glm4v_text": "glm4",
    "glm4v_moe_text": "glm4_moe",
    "mistral3": "mistral",
    "yi": "llama",
}
# Left out of config.json where it is the model's default in transformers.
_TIED = {
    "gemma": True,
    "gemma2": True,
    "gemma3_text": True,
    "cohere": True,
    "cohere2": True,
    "gpt2": True,
    "opt": True,
    "falcon": True,
    "bloom": True,
}

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def layer_index(tensor_name: str) -> int | None:
    """The decoder layer that a tensor belongs to, or None."""
    match = _LAYER.search(tensor_name)
    return int(match[1]) if match else None

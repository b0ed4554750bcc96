# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes of a checkpoint lie on each GPU once vLLM has loaded it. PRIVATE to the collection.

Not parameters times dtype divided by GPUs: quantised checkpoints mix types, norms, routers and latent down-projections
are replicated under tensor parallelism, key and value heads are replicated when there are fewer than ranks, layers for
multi-token prediction are not loaded, and FP32 checkpoints are cast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.llmstack.serving.plugins.module_utils._kv_cache import DTYPE_BYTES
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import Architecture, layer_index
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import Tensor

_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|backbone\.embeddings?)(\.weight)?$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.")
_NEVER_LOADED = re.compile(r"rotary_emb\.inv_freq|\.attn\.(bias|masked_bias)$|(^|\.)(k|v|q|attn)_scale$")
_PREDICTION = re.compile(r"(^|\.)(mtp|nextn|eagle)[._]")
_VISION = re.compile(r"(^|\.)(visual|vision\w*|audio\w*|multi_modal_projector|mm_projector|mlp1|aligner|connector)\.")
_EXPERTS = re.compile(r"\.experts\.")
_REPLICATED = re.compile(
    # Routers; latent down-projections; sparse-attention indexers; small gates.
    r"(mlp|block_sparse_moe|feed_forward|mixer)\.(gate|router)(\.|$)|shared_expert_gate|"
    r"q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj|\.indexer\.|norm"
)
_KEY_OR_VALUE = re.compile(r"(^|[._])(k_proj|v_proj|key|value)(\.|$)")
_FUSED_QKV = re.compile(r"(qkv_proj|query_key_value|c_attn|Wqkv|W_pack|\.qkv)(\.|$)")
_SCALE = re.compile(r"scale|zero|g_idx|e_score_correction_bias|A_log|dt_bias|absmax|quant_state|quant_map")
_LATENT_UP = re.compile(r"kv_b_proj\.weight$")
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# What vLLM can quantise while it loads an unquantised checkpoint, in bytes per weight. bitsandbytes: 4 bits and an FP32
# factor per 64 weights.
ONLINE_QUANTIZATION = {"fp8": 1.0, "bitsandbytes": 0.5625}


# (a layer's index, or "first", "last", "both" for the stages, how it is divided) -> bytes.
Resident = dict[tuple["int | str", str], float]


@dataclass(frozen=True)
class Split:
    """How the model is divided over GPUs."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    expert_parallel: bool = False


@dataclass(frozen=True)
class Lora:
    max_loras: int
    max_rank: int


def stages(layers: int, pipeline_parallel_size: int) -> list[range]:
    """The layers of each pipeline stage, as vLLM divides them: the last stages but one take what is left over."""
    sizes = [layers // pipeline_parallel_size] * pipeline_parallel_size
    for index in range(2, layers % pipeline_parallel_size + 2):
        sizes[-index] += 1
    found, begin = [], 0
    for size in sizes:
        found.append(range(begin, begin + size))
        begin += size
    return found


def resident(
    tensors: Iterable[Tensor],
    architecture: Architecture,
    *,
    dtype: str,
    quantization: str | None = None,
    prediction_layers: bool = False,
) -> Resident:
    """What vLLM keeps of these tensors, undivided, summed up by where it lies and how it is divided.

    dtype is what unquantised weights are computed in; quantization one of ONLINE_QUANTIZATION or None.
    """
    count = len(architecture.layers)
    found: Resident = {}
    for tensor in tensors:
        name = tensor.name
        if _NEVER_LOADED.search(name):
            continue
        vision = bool(_VISION.search(name))
        layer = None if vision else layer_index(name)
        predicts = bool(_PREDICTION.search(name)) or (layer is not None and layer >= count)
        if predicts and not prediction_layers:
            continue
        place: int | str = "last"
        if layer is not None and layer < count:
            place = layer
        elif vision:
            place = "first"
        elif _HEAD.search(name):
            if architecture.tied_embeddings:
                continue
        elif _EMBEDDING.search(name):
            place = "both" if architecture.tied_embeddings else "first"
        key = (place, _division(name, tensor, architecture, vision))
        size = _resident_bytes(tensor, architecture, dtype, quantization, layer)
        if _LATENT_UP.search(name):
            # vLLM keeps the up-projection a second time, absorbed into queries and outputs, in the model's type.
            size += tensor.elements * DTYPE_BYTES[dtype]
        found[key] = found.get(key, 0.0) + size
    return found


def weights_per_stage(kept: Resident, architecture: Architecture, split: Split) -> list[int]:
    """Bytes on one GPU of each pipeline stage."""
    last = split.pipeline_parallel_size - 1
    of_layer: dict[int | str, list[int]] = {"first": [0], "last": [last], "both": sorted({0, last})}
    for stage, part in enumerate(stages(len(architecture.layers), last + 1)):
        of_layer.update({layer: [stage] for layer in part})
    shares = {division: _share(division, architecture, split) for _place, division in kept}
    found = [0.0] * (last + 1)
    for (place, division), size in kept.items():
        for stage in of_layer[place]:
            found[stage] += size * shares[division]
    return [round(size) for size in found]


def lora_bytes(tensors: Iterable[Tensor], architecture: Architecture, split: Split, lora: Lora, dtype: str) -> int:
    """What vLLM reserves for adapters on one GPU: two narrow matrices for every linear layer that is no expert."""
    total = 0.0
    for tensor in tensors:
        name = tensor.name
        if layer_index(name) is None or not name.endswith("_proj.weight") or len(tensor.shape) != 2:
            continue
        if _EXPERTS.search(name) or _VISION.search(name):
            continue
        outputs, inputs = tensor.shape
        divided = split.tensor_parallel_size
        row_parallel = name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight"))
        total += inputs / divided + outputs if row_parallel else inputs + outputs / divided
    return round(total * lora.max_rank * lora.max_loras * DTYPE_BYTES[dtype] / split.pipeline_parallel_size)


def _resident_bytes(
    tensor: Tensor, architecture: Architecture, dtype: str, quantization: str | None, layer: int | None
) -> float:
    """The tensor's bytes in GPU memory before it is divided."""
    size = float(tensor.size_bytes)
    if tensor.dtype in _FLOATS and not _SCALE.search(tensor.name):
        size = float(tensor.elements * DTYPE_BYTES[dtype])
        linear = layer is not None and len(tensor.shape) >= 2 and not _REPLICATED.search(tensor.name)
        if quantization and linear and "conv" not in tensor.name:
            return tensor.elements * ONLINE_QUANTIZATION[quantization]
    if architecture.quantization == "mxfp4" and _EXPERTS.search(tensor.name) and tensor.dtype == "U8":
        return size * _mxfp4_padding(architecture)
    return size


def _mxfp4_padding(architecture: Architecture) -> float:
    """vLLM's MXFP4 kernels need a hidden size that is a multiple of 256 (model_executor/layers/quantization/mxfp4.py)."""
    return -(-architecture.hidden_size // 256) * 256 / architecture.hidden_size


def _division(name: str, tensor: Tensor, architecture: Architecture, vision: bool) -> str:
    """How tensor parallelism divides a tensor; _share says what that means."""
    if _EXPERTS.search(name):
        return "experts"
    if _REPLICATED.search(name) or len(tensor.shape) < 2:
        return "whole"
    if not vision and not architecture.latent and architecture.kv_heads:
        if _KEY_OR_VALUE.search(name):
            return "key_value"
        if _FUSED_QKV.search(name):
            return "query_key_value"
    return "ranks"


def _share(division: str, architecture: Architecture, split: Split) -> float:
    """The part of a tensor that one GPU of its stage holds."""
    ranks = split.tensor_parallel_size
    if division == "experts":
        # Replicas of the attention (data parallel) share one set of experts, whole or in slices.
        groups = ranks * split.data_parallel_size
        if split.expert_parallel and architecture.experts:
            return -(-architecture.experts // groups) / architecture.experts
        return 1 / groups
    if division == "whole":
        return 1.0
    if division == "ranks":
        return 1 / ranks
    # Key and value heads are replicated when there are fewer of them than ranks.
    heads, queries = architecture.kv_heads, architecture.attention_heads
    kept = max(1, heads // ranks) / heads
    return kept if division == "key_value" else (queries / ranks + 2 * heads * kept) / (queries + 2 * heads)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Will vLLM start with this model, these settings, on these GPUs, and how much can it serve? PRIVATE to the collection.

The identity is vLLM's own (determine_available_memory in vllm/v1/worker/gpu_worker.py), per GPU:

    KV cache = CUDA's total memory x gpu_memory_utilization - weights - peak activation - other - CUDA graphs

Weights come from the safetensors headers, the cache from its layout; the peak activation is what vLLM measures while it
runs a dummy batch, and the only term that has to be estimated (see activation_bytes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_types, _kv_cache, _model_weights
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import Architecture, Cache
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import Tensor

GIB = 1024**3
# A prediction this close to the limit is not to be relied on.
WARN_MARGIN = 0.05
DEFAULT_UTILIZATION = 0.92

# Peak activation measured on H100 with vLLM 0.11 and its defaults (llm-d-planner, empirical-vllm-memory-results): the
# largest value of each kind. They hold for the default of 1024 sequences; see activation_bytes.
_MEASURED_ACTIVATION_GIB = {"dense": 5.6, "mixture_of_experts": 8.0}
_MEASURED_SEQUENCES = 1024
# Bytes that sampling takes per sequence and vocabulary entry. vLLM's sorting sampler: 38.9, which explains all of those
# measurements and others (4.76 GiB for 128,256 entries, 5.64 for 151,936, 7.38 for 201,088) within 2 %. FlashInfer's
# sampler, default on CUDA in newer versions: 1.44 GiB for Llama-3.1-8B on an H100.
_SORTING_SAMPLER_BYTES = 39
_FUSED_SAMPLER_BYTES = 12
_FUSED_SAMPLER_SINCE = (0, 24)
# "CUDA graph memory profiling is enabled (default since v0.21.0)": 0.07 to 0.83 GiB in public logs without
# speculative decoding.
_GRAPHS_PROFILED_SINCE = (0, 21)
# vLLM 0.26 took 0.98 GiB for its 102 graphs of a Llama-3.1-8B on an H100: under 1 % of that cache more.
_GRAPHS_BYTES = int(0.6 * GIB)
_OTHER_BYTES = int(0.15 * GIB)
# What CUDA itself takes: 527 MiB were used as soon as a process had opened an idle H100 (driver 580.159.04, PyTorch 2.11),
# and vLLM does not start with more than is free then (vllm/v1/worker/utils.py, request_memory). Of smaller GPUs it is
# taken to be as large a part, which is too little rather than too much.
_CONTEXT_BYTES = 527 * 1024**2
_CONTEXT_PART = _CONTEXT_BYTES / (79.18 * GIB)
# NCCL and custom all-reduce buffers.
_OTHER_PARALLEL_BYTES = int(0.6 * GIB)
_LEAST_ACTIVATION_BYTES = int(0.4 * GIB)
# vllm/engine/arg_utils.py, get_batch_defaults: GPUs with at least 70 GiB except the A100 get the larger defaults.
_LARGE_GPU_BYTES = 70 * GIB

_TYPE_NEEDS = {"bfloat16": (8, 0), "float16": (7, 0), "float32": (7, 0)}
_QUANTIZATION_NEEDS = {"fp8": (8, 9), "nvfp4": (8, 0), "mxfp4": (8, 0), "awq": (7, 5), "gptq": (7, 5)}


@dataclass(frozen=True)
class Settings:
    """vLLM's options, under vLLM's names. None means vLLM's default (max_model_len: the model's own length)."""

    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    decode_context_parallel_size: int = 1
    enable_expert_parallel: bool = False
    max_model_len: int | None = None
    gpu_memory_utilization: float = DEFAULT_UTILIZATION
    kv_cache_memory_bytes: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int | None = None
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    engine_version: str | None = None
    activation_gib: float | None = None
    non_torch_gib: float | None = None
    lora: _model_weights.Lora | None = None
    speculative_tokens: int = 0


@dataclass(frozen=True)
class Draft:
    """A model that drafts for speculative decoding: its tensors and its architecture."""

    tensors: Sequence[Tensor]
    architecture: Architecture


@dataclass(frozen=True)
class Model:
    """What is to be served. `weights_bytes` replaces the tensors where only a total is known."""

    architecture: Architecture
    tensors: Sequence[Tensor] = ()
    weights_bytes: int | None = None
    draft: Draft | None = None
    _resident: dict[Any, _model_weights.Resident] = field(default_factory=dict, compare=False, repr=False)

    def weights(self, split: _model_weights.Split, dtype: str, quantization: str | None, predicts: bool) -> list[int]:
        """Bytes on one GPU of each stage."""
        if self.weights_bytes is not None:
            part = split.tensor_parallel_size * split.pipeline_parallel_size
            return [-(-self.weights_bytes // part)] * split.pipeline_parallel_size
        # A search for suggestions asks for many splits of the same tensors.
        key = (dtype, quantization, predicts)
        if key not in self._resident:
            self._resident[key] = _model_weights.resident(
                self.tensors, self.architecture, dtype=dtype, quantization=quantization, prediction_layers=predicts
            )
        return _model_weights.weights_per_stage(self._resident[key], self.architecture, split)


def compute_dtype(architecture: Architecture, dtype: str) -> str:
    """vLLM's "auto": BF16 for BF16 models, FP16 for FP32 and FP16 models; "half" and "float" are its other names."""
    named = {"half": "float16", "float": "float32"}.get(dtype, dtype)
    if named != "auto":
        return named
    return "bfloat16" if architecture.dtype == "bfloat16" else "float16"


def sequences(settings: Settings, gpu: _gpu_types.Gpu) -> int:
    """max_num_seqs, or vLLM's default for this GPU."""
    if settings.max_num_seqs:
        return settings.max_num_seqs
    return min(1024 if _is_large(gpu) else 256, batched_tokens(settings, gpu))


def batched_tokens(settings: Settings, gpu: _gpu_types.Gpu) -> int:
    """max_num_batched_tokens, or vLLM's default for `vllm serve` on this GPU."""
    return settings.max_num_batched_tokens or (8192 if _is_large(gpu) else 2048)


def _is_large(gpu: _gpu_types.Gpu) -> bool:
    return gpu.memory_bytes >= _LARGE_GPU_BYTES and "a100" not in gpu.product.lower()


def engine_version(text: str | None) -> tuple[int, int] | None:
    """ "v0.32.0" -> (0, 32). Raises ValueError with a sentence."""
    if text is None:
        return None
    match = re.match(r"v?(\d+)\.(\d+)", text)
    if not match:
        raise ValueError(f"engine_version {text!r} is no version: write it like 0.32.0.")
    return int(match[1]), int(match[2])


def activation_bytes(architecture: Architecture, settings: Settings, gpu: _gpu_types.Gpu) -> int:
    """The peak of vLLM's profiling run on one GPU: the larger of the forward pass and the sampler.

    Without engine_version it is never less than what was measured (scaled by the number of sequences), which is
    too much for newer versions: the honest error is the one on the safe side.
    """
    if settings.activation_gib is not None:
        return int(settings.activation_gib * GIB)
    count = sequences(settings, gpu)
    version = engine_version(settings.engine_version)
    fused = version is not None and version >= _FUSED_SAMPLER_SINCE
    per_entry = _FUSED_SAMPLER_BYTES if fused else _SORTING_SAMPLER_BYTES
    sampler = per_entry * count * architecture.vocab_size
    forward = batched_tokens(settings, gpu) * _forward_bytes_per_token(architecture, settings)
    found = max(sampler, forward, _LEAST_ACTIVATION_BYTES)
    if version is None:
        kind = "mixture_of_experts" if architecture.mixture_of_experts else "dense"
        found = max(found, int(_MEASURED_ACTIVATION_GIB[kind] * GIB * min(1.0, count / _MEASURED_SEQUENCES)))
    if architecture.multimodal:
        # One image or video of the largest size goes through the encoder in the same run (measured: up to 2.5 GiB).
        found = max(found, int(2.5 * GIB))
    return found


def _forward_bytes_per_token(architecture: Architecture, settings: Settings) -> int:
    """Residual, normalised input and the widest intermediate of a layer (its gate, up and product halves), 2 bytes each."""
    ranks = settings.tensor_parallel_size
    hidden = architecture.hidden_size
    heads = architecture.attention_heads + 2 * architecture.kv_heads
    widest = max(3 * architecture.intermediate_size // ranks, heads * architecture.head_dim // ranks)
    if architecture.mixture_of_experts:
        # Every token's input and output is copied once for each expert it goes to.
        chosen = max(1, architecture.experts_per_token)
        widest = max(widest, chosen * (hidden + 3 * architecture.expert_intermediate_size // ranks))
    return 2 * (3 * hidden + widest)


def other_bytes(settings: Settings) -> int:
    """CUDA context and libraries, and CUDA graphs where the engine's version counts them."""
    if settings.non_torch_gib is not None:
        base = int(settings.non_torch_gib * GIB)
    else:
        ranks = settings.tensor_parallel_size * settings.pipeline_parallel_size
        base = _OTHER_PARALLEL_BYTES if ranks > 1 else _OTHER_BYTES
    version = engine_version(settings.engine_version)
    graphs = version is not None and version >= _GRAPHS_PROFILED_SINCE and not settings.enforce_eager
    return base + (_GRAPHS_BYTES if graphs else 0)


def cache_settings(model: Model, settings: Settings, gpu: _gpu_types.Gpu) -> _kv_cache.CacheSettings:
    # FlashMLA's kernels work on 64 tokens, all others on multiples of 16.
    block_size = settings.block_size or (64 if model.architecture.latent else 16)
    return _kv_cache.CacheSettings(
        dtype=compute_dtype(model.architecture, settings.dtype),
        kv_dtype=settings.kv_cache_dtype,
        tensor_parallel_size=settings.tensor_parallel_size,
        decode_context_parallel_size=settings.decode_context_parallel_size,
        block_size=block_size,
        max_num_batched_tokens=batched_tokens(settings, gpu),
        prefix_caching=settings.enable_prefix_caching,
        speculative_tokens=settings.speculative_tokens,
    )


def estimate(model: Model, settings: Settings, gpu: _gpu_types.Gpu) -> dict[str, Any]:
    """The verdict for one kind of GPU, without asking how many there are.

    Keys: fits, status (pass, warn, fail), limiting_factor, problems, confidence, margin_gib, max_model_len,
    max_model_len_that_fits, concurrency_at_max_len, kv_cache_tokens, memory (GiB per GPU of the tightest stage).
    """
    architecture = model.architecture
    length = settings.max_model_len or architecture.max_positions or 0
    problems = _impossible(model, settings, gpu, length)
    if length <= 0:
        length = 1
    if any(problem["factor"] == "tensor_parallel" for problem in problems):
        # Nothing can be divided by a number of ranks that the heads cannot be divided by.
        return _result(settings, length, None, problems)
    stage = min(_stages(model, settings, gpu), key=lambda found: found.tokens(length))
    needed = stage.layout.request_bytes(length)
    problems += _too_big(stage, needed, length, settings)
    return _result(settings, length, stage, problems, needed)


@dataclass(frozen=True)
class _Stage:
    """The memory of one GPU of one pipeline stage, in bytes."""

    total: int
    weights: int
    activation: int
    other: int
    lora: int
    available: int
    layout: _kv_cache.Layout
    per_token: int

    def tokens(self, length: int) -> float:
        per_request = self.layout.blocks_per_request(length)
        if not per_request:
            # A stage without caches never limits, unless its weights alone are too big.
            return float("inf") if self.available > 0 else float(self.available)
        if self.available <= 0:
            return float(self.available)
        return self.layout.blocks(self.available) / per_request * length


def _stages(model: Model, settings: Settings, gpu: _gpu_types.Gpu) -> list[_Stage]:
    architecture = model.architecture
    dtype = compute_dtype(architecture, settings.dtype)
    split = _model_weights.Split(
        settings.tensor_parallel_size,
        settings.pipeline_parallel_size,
        settings.data_parallel_size,
        settings.enable_expert_parallel,
    )
    # Multi-token prediction uses layers of the checkpoint itself.
    predicts = bool(settings.speculative_tokens) and model.draft is None and architecture.prediction_layers > 0
    weights = model.weights(split, dtype, settings.quantization, predicts)
    drafted, draft_caches = _drafting(model, settings, dtype, predicts)
    lora = _model_weights.lora_bytes(model.tensors, architecture, split, settings.lora, dtype) if settings.lora else 0
    activation, other = activation_bytes(architecture, settings, gpu), other_bytes(settings)
    cached = cache_settings(model, settings, gpu)
    found = []
    parts = _model_weights.stages(len(architecture.layers), settings.pipeline_parallel_size)
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        caches: list[Cache] = [cache for layer in part for cache in architecture.layers[layer]]
        # The draft runs behind the last layer.
        resident = weights[index] + (drafted if last else 0)
        caches += draft_caches if last else []
        available = settings.kv_cache_memory_bytes
        if available is None:
            available = int(gpu.memory_bytes * settings.gpu_memory_utilization) - resident - activation - other - lora
        found.append(
            _Stage(
                gpu.memory_bytes,
                resident,
                activation,
                other,
                lora,
                available,
                _kv_cache.layout(caches, cached),
                _kv_cache.bytes_per_token(caches, cached),
            )
        )
    return found


def _drafting(model: Model, settings: Settings, dtype: str, predicts: bool) -> tuple[int, list[Cache]]:
    """Weights on the last stage and caches of what drafts for the model."""
    if predicts:
        # A prediction layer is a decoder layer: it caches what the model's last one does.
        return 0, list(model.architecture.layers[-1]) * model.architecture.prediction_layers
    if model.draft is None:
        return 0, []
    split = _model_weights.Split(settings.tensor_parallel_size)
    draft = model.draft.architecture
    kept = _model_weights.resident(model.draft.tensors, draft, dtype=dtype)
    [weights] = _model_weights.weights_per_stage(kept, draft, split)
    return weights, [cache for layer in draft.layers for cache in layer]


def problem(factor: str, message: str) -> dict[str, str]:
    return {"factor": factor, "message": message}


def _impossible(model: Model, settings: Settings, gpu: _gpu_types.Gpu, length: int) -> list[dict[str, str]]:
    """Why vLLM would refuse before it looks at memory."""
    architecture, ranks = model.architecture, settings.tensor_parallel_size
    found: list[dict[str, str]] = []
    heads, kv_heads = architecture.attention_heads, architecture.kv_heads
    if heads and heads % ranks:
        found.append(
            problem(
                "tensor_parallel",
                f"tensor_parallel_size {ranks} does not divide the model's {heads} attention heads: use one of "
                f"{', '.join(str(number) for number in divisors(heads))}.",
            )
        )
    elif heads and not architecture.latent and kv_heads % ranks and ranks % kv_heads:
        found.append(
            problem(
                "tensor_parallel",
                f"tensor_parallel_size {ranks} and the model's {kv_heads} key/value heads do not divide each other.",
            )
        )
    if ranks % settings.decode_context_parallel_size:
        found.append(
            problem(
                "tensor_parallel",
                f"decode_context_parallel_size {settings.decode_context_parallel_size} does not divide "
                f"tensor_parallel_size {ranks}.",
            )
        )
    if settings.pipeline_parallel_size > len(architecture.layers):
        found.append(
            problem(
                "pipeline_parallel",
                f"pipeline_parallel_size {settings.pipeline_parallel_size} is more than the model's "
                f"{len(architecture.layers)} layers.",
            )
        )
    longest = architecture.max_positions
    if longest and settings.max_model_len and settings.max_model_len > longest:
        found.append(
            problem(
                "context_length",
                f"max_model_len {settings.max_model_len} is more than the {longest} tokens the model was made for: "
                "vLLM refuses it unless VLLM_ALLOW_LONG_MAX_MODEL_LEN=1.",
            )
        )
    context = min(_CONTEXT_BYTES, _CONTEXT_PART * gpu.memory_bytes)
    if settings.gpu_memory_utilization * gpu.memory_bytes > gpu.memory_bytes - context:
        found.append(
            problem(
                "utilization",
                f"gpu_memory_utilization {settings.gpu_memory_utilization:g} leaves no room for CUDA itself and vLLM does "
                "not start: set it to 0.99 or less.",
            )
        )
    if length <= 0:
        found.append(
            problem("context_length", "config.json does not say how long a context may be: give max_model_len.")
        )
    found += _not_computable(architecture, settings, gpu)
    return found


def _not_computable(architecture: Architecture, settings: Settings, gpu: _gpu_types.Gpu) -> list[dict[str, str]]:
    if gpu.compute_capability is None:
        return []
    dtype = compute_dtype(architecture, settings.dtype)
    method = settings.quantization or architecture.quantization or ""
    needs = [(f"dtype {dtype}", _TYPE_NEEDS.get(dtype, (7, 0)), "set dtype to float16")]
    for name, least in _QUANTIZATION_NEEDS.items():
        if method == name or method.startswith(f"{name}-"):
            needs.append((f"{name} weights", least, "use another checkpoint or GPU"))
    if settings.kv_cache_dtype.startswith("fp8"):
        needs.append((f"kv_cache_dtype {settings.kv_cache_dtype}", (8, 9), "set kv_cache_dtype to auto"))
    if settings.kv_cache_dtype == "nvfp4":
        needs.append(("kv_cache_dtype nvfp4", (10, 0), "set kv_cache_dtype to auto or fp8"))
    have = gpu.compute_capability
    return [
        problem(
            "compute_capability",
            f"{what} needs compute capability {least[0]}.{least[1]} and {gpu.product} has {have[0]}.{have[1]}: {remedy}.",
        )
        for what, least, remedy in needs
        if have < least
    ]


def divisors(number: int) -> list[int]:
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def _too_big(stage: _Stage, needed: int, length: int, settings: Settings) -> list[dict[str, str]]:
    budget = stage.total * settings.gpu_memory_utilization
    if settings.kv_cache_memory_bytes is not None:
        over = stage.weights + stage.activation + stage.other + stage.lora + stage.available - stage.total
        if over > 0:
            return [
                problem(
                    "weights",
                    f"kv_cache_memory_bytes and everything else together need {over / GIB:.2f} GiB more than the GPU has.",
                )
            ]
    elif stage.weights >= budget:
        return [
            problem(
                "weights",
                f"The weights take {stage.weights / GIB:.2f} GiB on each GPU and "
                f"{settings.gpu_memory_utilization:g} of {stage.total / GIB:.2f} GiB is {budget / GIB:.2f} GiB: "
                "more GPUs (tensor_parallel_size), a quantised checkpoint or bigger GPUs are needed.",
            )
        ]
    if stage.available <= 0 and stage.layout.block_bytes:
        return [
            problem(
                "activation",
                f"Weights ({stage.weights / GIB:.2f} GiB) and working memory "
                f"({(stage.activation + stage.other + stage.lora) / GIB:.2f} GiB) leave nothing for the KV cache: lower "
                "max_num_seqs or max_num_batched_tokens, or use more GPUs.",
            )
        ]
    if needed > stage.available:
        return [
            problem(
                "kv_cache",
                f"One request of {length} tokens needs {needed / GIB:.2f} GiB of KV cache on each GPU and there are "
                f"{stage.available / GIB:.2f} GiB: shorten max_model_len, use an FP8 KV cache or more GPUs.",
            )
        ]
    return []


def _result(
    settings: Settings, length: int, stage: _Stage | None, problems: list[dict[str, str]], needed: int = 0
) -> dict[str, Any]:
    measured = settings.activation_gib is not None or settings.kv_cache_memory_bytes is not None
    result: dict[str, Any] = {
        "fits": not problems,
        "status": "fail" if problems else "pass",
        "limiting_factor": problems[0]["factor"] if problems else None,
        "problems": problems,
        "warnings": [],
        "confidence": "measured" if measured else "formula",
        "max_model_len": length,
        "margin_gib": None,
        "max_model_len_that_fits": None,
        "concurrency_at_max_len": None,
        "kv_cache_tokens": None,
        "memory": None,
    }
    if stage is None:
        return result
    blocks, per_request = stage.layout.blocks(stage.available), stage.layout.blocks_per_request(length)
    concurrency = blocks / per_request if per_request else None
    result.update(
        margin_gib=_gib(stage.available - needed),
        max_model_len_that_fits=_longest(stage, length),
        concurrency_at_max_len=round(concurrency, 2) if concurrency is not None else None,
        kv_cache_tokens=int(concurrency * length) if concurrency is not None else None,
        memory={
            "gpu_total_gib": _gib(stage.total),
            "usable_gib": _gib(int(stage.total * settings.gpu_memory_utilization)),
            "weights_gib": _gib(stage.weights),
            "lora_gib": _gib(stage.lora),
            "activation_gib": _gib(stage.activation),
            "other_gib": _gib(stage.other),
            "kv_cache_gib": _gib(stage.available),
            "kv_cache_needed_gib": _gib(needed),
            "kv_bytes_per_token": stage.per_token,
        },
    )
    left, usable = _uncertain(stage, needed, settings)
    if not problems and left < WARN_MARGIN * usable:
        result["status"] = "warn"
        result["warnings"].append(
            f"Only {_gib(left)} GiB are left on each GPU, less than "
            f"{WARN_MARGIN:.0%} of what vLLM may use: an estimate is not that exact."
        )
    return result


def _uncertain(stage: _Stage, needed: int, settings: Settings) -> tuple[int, float]:
    """Bytes that are left where an estimate decides, and of how many."""
    if settings.kv_cache_memory_bytes is None:
        return stage.available - needed, stage.total * settings.gpu_memory_utilization
    # The cache has the size that was asked for; what is estimated is whether all else has room beside it.
    return stage.total - stage.weights - stage.activation - stage.other - stage.lora - stage.available, stage.total


def _gib(size_bytes: int) -> float:
    return round(size_bytes / GIB, 2)


def _longest(stage: _Stage, length: int) -> int:
    """The longest context of one request that fits, up to `length`, by bisection as vLLM does it."""
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        if stage.layout.request_bytes(middle) <= stage.available:
            low = middle
        else:
            high = middle - 1
    return low


# From a module's parameters and back to words


def settings(params: dict[str, Any]) -> Settings:
    """The Settings in the parameters of model_fit. Raises ValueError with a sentence."""
    lora, speculative = params["lora"], params["speculative"]
    found = Settings(
        **{name: params[name] for name in _SAME_NAMES},
        lora=_model_weights.Lora(lora["max_loras"], lora["max_lora_rank"]) if lora else None,
        speculative_tokens=speculative["num_speculative_tokens"] if speculative else 0,
    )
    for name in _AT_LEAST_ONE:
        value = getattr(found, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value} and must be at least 1.")
    if not 0 < found.gpu_memory_utilization <= 1:
        raise ValueError(
            f"gpu_memory_utilization is {found.gpu_memory_utilization:g} and must be above 0 and at most 1."
        )
    engine_version(found.engine_version)
    return found


_SAME_NAMES = tuple(name for name in Settings.__dataclass_fields__ if name not in ("lora", "speculative_tokens"))
_AT_LEAST_ONE = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "decode_context_parallel_size",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
)


def must_fail(verdict: dict[str, Any], fail_on: str) -> bool:
    return verdict["status"] in {"fail": ("fail",), "warn": ("fail", "warn", "skip"), "never": ()}[fail_on]


def sentence(verdict: dict[str, Any]) -> str:
    """The verdict as a failed task says it: everything that is wrong, and what would do."""
    parts = [problem["message"] for problem in verdict["problems"]] or list(verdict["warnings_found"])
    text = " ".join(parts)
    if verdict["suggestions"]:
        best = verdict["suggestions"][0]
        text += f" This would fit: {best['gpus']} x {best['gpu']} with {best['why']}."
    return text


def gpus(settings: Settings) -> int:
    """GPUs that one deployment of these settings takes."""
    return settings.tensor_parallel_size * settings.pipeline_parallel_size * settings.data_parallel_size


def unsupported(message: str) -> dict[str, Any]:
    """The verdict for an architecture that is not modelled: no number pretended."""
    return {
        "fits": None,
        "status": "skip",
        "limiting_factor": "architecture",
        "problems": [problem("architecture", message)],
        "warnings": [],
        "confidence": "unsupported",
        "max_model_len": None,
        "margin_gib": None,
        "max_model_len_that_fits": None,
        "concurrency_at_max_len": None,
        "kv_cache_tokens": None,
        "memory": None,
    }

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes a request's keys, values and states take on one GPU, in the blocks vLLM hands out. PRIVATE to the collection.

This follows vLLM's V1 allocator: page sizes as in vllm/v1/kv_cache_interface.py, groups of layers that share a block
table as in vllm/v1/core/kv_cache_utils.py, the block size of hybrid models as in vllm/platforms/interface.py.
All sizes are bytes on one rank unless a name says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import (
    Attention,
    Cache,
    Index,
    Latent,
    State,
)

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# --kv-cache-dtype of vLLM 0.32 whose layout is known; "auto" is the model's own type.
KV_DTYPES = (
    "auto",
    "bfloat16",
    "float16",
    "fp8",
    "fp8_e4m3",
    "fp8_e5m2",
    "fp8_ds_mla",
    "fp8_per_token_head",
    "int8_per_token_head",
    "nvfp4",
)
# DeepSeek's packed layout: 512 FP8 values, 4 FP32 scales, 64 rotary BF16 values (vLLM's flashmla_sparse.py).
_FP8_DS_MLA_BYTES = 656


@dataclass(frozen=True)
class CacheSettings:
    """The engine options that decide the cache's layout. `dtype` is the model's, `kv_dtype` one of KV_DTYPES."""

    dtype: str
    kv_dtype: str = "auto"
    tensor_parallel_size: int = 1
    decode_context_parallel_size: int = 1
    block_size: int = 16
    max_num_batched_tokens: int = 8192
    prefix_caching: bool = True
    speculative_tokens: int = 0


@dataclass(frozen=True)
class Group:
    """Layers that share one block table: each of them has a page in every block that the group takes."""

    cache: Cache
    block_tokens: int


@dataclass(frozen=True)
class Layout:
    """How the cache of one rank is divided into blocks: every block has the same size."""

    block_bytes: int
    groups: tuple[Group, ...]
    settings: CacheSettings

    def blocks(self, available_bytes: int) -> int:
        return max(0, available_bytes) // self.block_bytes if self.block_bytes else 0

    def blocks_per_request(self, tokens: int) -> int:
        """Blocks that one request of this length (prompt and answer) can need at most."""
        return sum(_group_blocks(group, tokens, self.settings) for group in self.groups)

    def request_bytes(self, tokens: int) -> int:
        return self.blocks_per_request(tokens) * self.block_bytes


def bytes_per_token(caches: Iterable[Cache], settings: CacheSettings) -> int:
    """What a token adds in full attention (windows and states add nothing once they are full)."""
    return sum(
        token_bytes(cache, settings)
        for cache in caches
        if not isinstance(cache, State) and not (isinstance(cache, Attention) and (cache.window or cache.chunk))
    )


def token_bytes(cache: Attention | Latent | Index, settings: CacheSettings) -> int:
    """Bytes per token of one layer."""
    if isinstance(cache, Index):
        # FP8 values and an FP32 scale per 128 of them, whatever the KV type is.
        return cache.width + cache.width // 128 * 4
    if isinstance(cache, Latent):
        # Not divided by tensor parallelism: every rank keeps the whole vector.
        if settings.kv_dtype == "fp8_ds_mla":
            return _FP8_DS_MLA_BYTES
        return cache.width * _element_bytes(settings)
    # With fewer heads than ranks the heads are replicated, not divided further.
    heads = max(1, cache.kv_heads // settings.tensor_parallel_size)
    width = cache.key_dim + cache.value_dim
    if settings.kv_dtype == "nvfp4":
        # Two values per byte and an FP8 scale per 16 of them.
        return heads * (width // 2 + width // 16)
    if settings.kv_dtype.endswith("_per_token_head"):
        # An FP32 scale per token and head for keys and one for values.
        return heads * (width + 2 * 4)
    return heads * width * _element_bytes(settings)


def state_bytes(cache: State, settings: CacheSettings) -> int:
    """One state of one layer."""
    ranks = settings.tensor_parallel_size
    steps = cache.convolution_steps + settings.speculative_tokens
    own = DTYPE_BYTES[settings.dtype]
    recurrent = cache.recurrent_elements // ranks * (cache.recurrent_bytes or own)
    return cache.convolution_width // ranks * steps * own + recurrent


def layout(caches: list[Cache], settings: CacheSettings) -> Layout:
    """The blocks of a rank with these caches, one entry per layer (and more for a layer that keeps several)."""
    counts = Counter(caches)
    if not counts:
        return Layout(0, (), settings)
    if all(not isinstance(cache, State) and _sees_all(cache) for cache in counts) or len(counts) == 1:
        return _uniform(counts, settings)
    return _hybrid(counts, settings)


def _element_bytes(settings: CacheSettings) -> int:
    if settings.kv_dtype == "auto":
        return DTYPE_BYTES[settings.dtype]
    return DTYPE_BYTES.get(settings.kv_dtype, 1)


def _sees_all(cache: Cache) -> bool:
    return not isinstance(cache, Attention) or not (cache.window or cache.chunk)


def _uniform(counts: Counter[Cache], settings: CacheSettings) -> Layout:
    """One block table for all layers; their pages may differ in size."""
    first = next(iter(counts))
    if isinstance(first, State):
        return Layout(counts[first] * state_bytes(first, settings), (Group(first, 0),), settings)
    size = settings.block_size * sum(
        token_bytes(cache, settings) * count for cache, count in counts.items() if not isinstance(cache, State)
    )
    return Layout(size, (Group(first, settings.block_size),), settings)


def _hybrid(counts: Counter[Cache], settings: CacheSettings) -> Layout:
    """Several kinds of layers in pages of one size: groups of as many layers as the rarest kind has."""
    tokens = {cache: token_bytes(cache, settings) for cache in counts if not isinstance(cache, State)}
    state_page = max((state_bytes(cache, settings) for cache in counts if isinstance(cache, State)), default=0)
    block_size = settings.block_size
    if state_page and tokens:
        # The attention's block grows until its page holds a state; the state's page is padded to it.
        block_size = max(block_size, block_size * -(-state_page // (block_size * max(tokens.values()))))
    page = max([block_size * size for size in tokens.values()] + ([state_page] if not tokens else []))
    fewest, most = min(counts.values()), max(counts.values())
    # Nearly as many of one kind as of the other: padding the rarer kind costs less than splitting the other.
    in_group = most if most < fewest * 1.5 else fewest
    groups: list[Group] = []
    for cache, count in counts.items():
        # A kind with smaller pages gets longer blocks, so that all pages have one size.
        length = 0 if isinstance(cache, State) else block_size * (page // (block_size * tokens[cache]))
        groups += [Group(cache, length)] * -(-count // in_group)
    return Layout(page * in_group, tuple(groups), settings)


def _group_blocks(group: Group, tokens: int, settings: CacheSettings) -> int:
    cache = group.cache
    if isinstance(cache, State):
        # With prefix caching ("align" mode) the state at the last block border is kept as well.
        return (2 if settings.prefix_caching else 1) + settings.speculative_tokens
    if isinstance(cache, Attention) and cache.window:
        kept = min(cache.window - 1 + settings.max_num_batched_tokens, tokens)
        # A window seldom begins at a block's first token.
        return -(-kept // group.block_tokens) + 1
    if isinstance(cache, Attention) and cache.chunk:
        return -(-min(cache.chunk + settings.max_num_batched_tokens, tokens) // group.block_tokens)
    # Decode context parallelism spreads one request over ranks.
    kept = -(-tokens // settings.decode_context_parallel_size)
    return -(-kept // group.block_tokens)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _kv_cache
from ansible_collections.llmstack.serving.plugins.module_utils._kv_cache import CacheSettings
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import (
    Attention,
    Latent,
    State,
    describe,
)
from tools.checkpoints import DEEPSEEK_V3, GPT_OSS_20B, LLAMA_3_1_8B, QWEN3_6_35B_A3B, QWEN3_NEXT_80B

BF16 = CacheSettings("bfloat16")


def caches(config: dict[str, Any]) -> list[Any]:
    return [cache for layer in describe(config).layers for cache in layer]


@pytest.mark.parametrize(("ranks", "heads"), [(1, 8), (2, 4), (8, 1), (16, 1)])
def test_heads_are_divided_until_one_is_left_and_then_replicated(ranks: int, heads: int) -> None:
    settings = replace(BF16, tensor_parallel_size=ranks)
    assert _kv_cache.token_bytes(Attention(8, 128, 128), settings) == heads * 256 * 2


def test_latent_attention_is_replicated_on_every_rank() -> None:
    assert _kv_cache.token_bytes(Latent(576), replace(BF16, tensor_parallel_size=8)) == 1152
    assert _kv_cache.bytes_per_token(caches(DEEPSEEK_V3), BF16) == 70_272
    assert _kv_cache.bytes_per_token(caches(DEEPSEEK_V3), replace(BF16, kv_dtype="fp8_ds_mla")) == 40_016


@pytest.mark.parametrize(
    ("kv_dtype", "size"),
    [
        ("auto", 4096),
        ("fp8", 2048),
        ("fp8_per_token_head", 2048 + 8 * 2 * 4),
        ("int8_per_token_head", 2048 + 8 * 2 * 4),
        ("nvfp4", 8 * (128 + 16)),
    ],
)
def test_quantised_caches(kv_dtype: str, size: int) -> None:
    assert _kv_cache.token_bytes(Attention(8, 128, 128), replace(BF16, kv_dtype=kv_dtype)) == size


def test_keys_and_values_may_differ_in_width() -> None:
    assert _kv_cache.token_bytes(Attention(4, 192, 128), BF16) == 4 * 320 * 2


def test_a_window_bounds_what_a_request_needs() -> None:
    layout = _kv_cache.layout(caches(GPT_OSS_20B), BF16)
    # One block table for the twelve layers of each kind; the window needs ceil((127 + 8192) / 16) + 1 blocks at most.
    assert layout.block_bytes == 12 * 16 * 8 * 128 * 2
    assert layout.blocks_per_request(131072) == 131072 // 16 + 521
    assert layout.blocks_per_request(1600) == 100 + 101


def test_a_chunk_bounds_what_a_request_needs() -> None:
    layers = [Attention(8, 128, 128), *[Attention(8, 128, 128, chunk=8192)] * 3]
    layout = _kv_cache.layout(layers, BF16)
    assert layout.blocks_per_request(65536) == 65536 // 16 + 3 * (16384 // 16)


def test_only_layers_with_full_attention_grow_with_the_context() -> None:
    assert _kv_cache.bytes_per_token(caches(QWEN3_NEXT_80B), BF16) == 12 * 2 * 512 * 2


@pytest.mark.parametrize(
    ("state", "attention", "settings", "block_tokens"),
    [
        # "Setting attention block size to 1568 tokens": Qwen3.8-27B, FP8 cache, one RTX A6000 (club-3090#1047).
        (State(10240, 3, 48 * 128 * 128, 4), Attention(4, 256, 256), replace(BF16, kv_dtype="fp8"), 1568),
        # "Setting attention block size to 816 tokens" with 5 drafted tokens on two RTX 3090 (club-3090#158).
        (
            State(10240, 3, 48 * 128 * 128, 4),
            Attention(4, 256, 256),
            replace(BF16, tensor_parallel_size=2, speculative_tokens=5),
            816,
        ),
    ],
)
def test_the_block_of_a_hybrid_model_holds_a_state(
    state: State, attention: Attention, settings: CacheSettings, block_tokens: int
) -> None:
    layout = _kv_cache.layout([state, state, state, attention], settings)
    assert {group.block_tokens for group in layout.groups if group.cache == attention} == {block_tokens}


def test_a_hybrid_model_as_vllm_0_24_logs_it() -> None:
    """Qwen3.6-35B-A3B, FP8 cache, one RTX 5090 (club-3090#612): 5.98 GiB, 567,978 tokens, 4.33x for 131,072."""
    layout = _kv_cache.layout(caches(QWEN3_6_35B_A3B), replace(BF16, kv_dtype="fp8"))
    blocks, per_request = layout.blocks(int(5.98 * 1024**3)), layout.blocks_per_request(131072)
    assert int(blocks / per_request * 131072) == 567_978
    assert round(blocks / per_request, 2) == 4.33


def test_a_hybrid_model_without_prefix_caching_as_vllm_0_11_logs_it() -> None:
    """Qwen3-Next-80B on two H200 (October 2025): 47,878,721,024 bytes, 14.77x for 262,144 tokens."""
    settings = replace(BF16, tensor_parallel_size=2, prefix_caching=False)
    layout = _kv_cache.layout(caches(QWEN3_NEXT_80B), settings)
    assert {group.block_tokens for group in layout.groups} == {0, 544}
    assert round(layout.blocks(47_878_721_024) / layout.blocks_per_request(262_144), 2) == 14.77


def test_decode_context_parallelism_divides_a_request() -> None:
    settings = replace(BF16, decode_context_parallel_size=4)
    assert _kv_cache.layout(caches(LLAMA_3_1_8B), settings).blocks_per_request(64_000) == 1000


def test_nothing_to_cache_needs_no_blocks() -> None:
    layout = _kv_cache.layout([], BF16)
    assert (layout.blocks(10**9), layout.blocks_per_request(1000)) == (0, 0)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny Llama in the real Hugging Face layout: random weights, made the same on every machine, about 20 MB."""

from __future__ import annotations

import array
import json
import pathlib
import random
import shutil
import struct

HIDDEN, LAYERS, HEADS, INTERMEDIATE, VOCABULARY = 256, 8, 8, 704, 4096
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def write(directory: pathlib.Path) -> None:
    """Writes config, tokenizer and safetensors; a directory that is already whole is left alone."""
    if (directory / "model.safetensors").exists():
        return
    temporary = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in _documents().items():
        (temporary / name).write_text(json.dumps(content, indent=2, ensure_ascii=False))
    _write_safetensors(temporary / "model.safetensors", _tensors())
    shutil.rmtree(directory, ignore_errors=True)
    temporary.rename(directory)


def _documents() -> dict[str, object]:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": 4096,
        "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }
    tokens = [{"id": index, "content": token, "special": True} for index, token in enumerate(SPECIAL_TOKENS)]
    defaults = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_tokens = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *_byte_alphabet()))}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{**token, **defaults} for token in tokens],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "unk_token": "<unk>", "vocab": byte_tokens, "merges": []},
    }
    template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "
    return {
        "config.json": config,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "chat_template": template,
        },
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    }


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, as every byte-level tokenizer.json has them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def _tensors() -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in "qkvo":
            tensors[f"{prefix}.self_attn.{name}_proj.weight"] = (HIDDEN, HIDDEN)
        tensors[f"{prefix}.mlp.gate_proj.weight"] = (INTERMEDIATE, HIDDEN)
        tensors[f"{prefix}.mlp.up_proj.weight"] = (INTERMEDIATE, HIDDEN)
        tensors[f"{prefix}.mlp.down_proj.weight"] = (HIDDEN, INTERMEDIATE)
        tensors[f"{prefix}.input_layernorm.weight"] = (HIDDEN,)
        tensors[f"{prefix}.post_attention_layernorm.weight"] = (HIDDEN,)
    tensors["model.norm.weight"] = (HIDDEN,)
    tensors["lm_head.weight"] = (VOCABULARY, HIDDEN)
    return tensors


def _write_safetensors(path: pathlib.Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        size = 2
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    source = random.Random(0)
    # bfloat16 is the upper half of a float32. One block of 64 Ki weights, repeated, keeps this in pure Python fast.
    floats = array.array("f", (source.gauss(0, 0.02) for _ in range(65536)))
    block = b"".join(struct.pack("<f", value)[2:] for value in floats)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        while offset > 0:
            file.write(block[:offset])
            offset -= len(block)

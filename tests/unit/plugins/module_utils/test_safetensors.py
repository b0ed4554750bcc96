# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _safetensors
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import HeaderError, Tensor
from tools import checkpoints


class File:
    """A file in memory whose reads are counted."""

    def __init__(self, content: bytes, size_bytes: int | None = None) -> None:
        self.content, self.size_bytes = content, len(content) if size_bytes is None else size_bytes
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.content[offset : offset + length]

    def tensors(self) -> list[Tensor]:
        return _safetensors.read_header("m.safetensors", self.size_bytes, self.read)


def file_of(header: Any, data_bytes: int) -> File:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return File(len(text).to_bytes(8, "little") + text, 8 + len(text) + data_bytes)


def entry(begin: int, end: int, shape: list[int], dtype: str = "BF16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_header_gives_names_types_shapes_and_sizes() -> None:
    file = file_of({"__metadata__": {"format": "pt"}, "a": entry(0, 24, [3, 4]), "b": entry(24, 32, [8], "U8")}, 32)
    assert file.tensors() == [Tensor("a", "BF16", (3, 4), 24), Tensor("b", "U8", (8,), 8)]


def test_a_short_header_costs_one_read_and_no_byte_of_data_beyond_it() -> None:
    start, data_bytes = checkpoints.encode([("w", "BF16", (1000, 1000))])
    file = File(start, len(start) + data_bytes)
    assert file.tensors()[0].elements == 1_000_000
    assert file.reads == [(0, 64 * 1024)]


def test_a_long_header_costs_two_reads() -> None:
    start, data_bytes = checkpoints.encode((f"layer.{index}.weight", "F16", (2, 2)) for index in range(2000))
    file = File(start, len(start) + data_bytes)
    assert len(file.tensors()) == 2000
    assert file.reads == [(0, 64 * 1024), (64 * 1024, len(start) - 64 * 1024)]


def test_packed_types_are_counted_in_bits() -> None:
    assert file_of({"w": entry(0, 8, [4, 4], "F4")}, 8).tensors()[0].size_bytes == 8


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (File(b"abc"), "too short"),
        (File((2**40).to_bytes(8, "little") + b"{}", 2**41), "claims a header of 1099511627776 bytes, and 100000000"),
        (File((5000).to_bytes(8, "little") + b"{}"), "claims a header of 5000 bytes but has only 10 bytes"),
        (File((90_000).to_bytes(8, "little") + b" " * 70_000, 200_000), "ended inside its header"),
        (file_of(b"<html>not a model</html>", 0), "is not JSON"),
        (file_of(b"[" * 100_000, 0), "is not JSON"),
        (file_of([], 0), "not a JSON object"),
        (
            file_of({"w": entry(0, 24, [3, 4])}, 20),
            "is truncated: its tensors end at byte 24 of the data and there are 20",
        ),
        (file_of({"w": entry(0, 23, [3, 4])}, 23), "at the same time 23 bytes"),
        (file_of({"w": entry(0, 4, [4], "Q4_K")}, 4), "unknown type 'Q4_K'"),
        (file_of({"w": {"dtype": "BF16"}}, 0), "no usable dtype, shape and data_offsets"),
        (file_of({"w": entry(0, -8, [-4])}, 0), "no usable dtype, shape and data_offsets"),
        (file_of({"w": entry(8, 16, [4])}, 16), "the header is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_whole_is_refused_with_a_sentence(file: File, sentence: str) -> None:
    with pytest.raises(HeaderError) as error:
        file.tensors()
    assert sentence in str(error.value)
    assert str(error.value).startswith(("m.safetensors", "The header of m.safetensors"))


def test_a_lying_length_never_makes_it_read_much() -> None:
    file = File((2**60).to_bytes(8, "little") + b" " * 100, 2**61)
    with pytest.raises(HeaderError):
        file.tensors()
    assert sum(length for _offset, length in file.reads) <= 64 * 1024

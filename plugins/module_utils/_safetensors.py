# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a safetensors file: which tensors it holds and how big they are. PRIVATE to the collection.

Format: 8 bytes (unsigned, little-endian) with the header's length, the header as JSON, the data
(https://huggingface.co/docs/safetensors). The data is never read, and a header's own claims are never trusted
further than the file's real size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# (offset in bytes, length in bytes) -> the bytes there, fewer at the end of the file.
Reader = Callable[[int, int], bytes]

# What the safetensors library itself accepts (MAX_HEADER_SIZE in its Rust source).
MAX_HEADER_BYTES = 100_000_000
# One read of this size holds the whole header of nearly every shard: 70B models have 5 to 20 KB per shard.
FIRST_READ_BYTES = 64 * 1024

DTYPE_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


class HeaderError(ValueError):
    """The file is not a whole safetensors file; the message is a sentence that names it."""


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_header(file: str, size_bytes: int, read: Reader) -> list[Tensor]:
    """The tensors of a file of `size_bytes`, in file order; two reads at most, header only.

    Raises HeaderError if the file is truncated, its header lies about its length, or it is no safetensors file.
    """
    start = read(0, min(size_bytes, FIRST_READ_BYTES))
    if len(start) < 8:
        raise HeaderError(f"{file} has {len(start)} bytes: too short for a safetensors file. Fetch it again.")
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise HeaderError(
            f"{file} claims a header of {length} bytes, and {MAX_HEADER_BYTES} is the format's limit: "
            "it is no safetensors file, or damaged."
        )
    end = 8 + length
    if end > size_bytes:
        raise HeaderError(
            f"{file} claims a header of {length} bytes but has only {size_bytes} bytes in all: it is truncated or "
            "damaged. Fetch it again."
        )
    text = start[8:end]
    if len(text) < length:
        text += read(len(start), end - len(start))
    if len(text) < length:
        raise HeaderError(f"{file} ended inside its header: it is truncated or changed while it was read.")
    tensors = [_tensor(file, name, entry) for name, entry in _entries(file, text) if name != "__metadata__"]
    _check_extent(file, tensors, size_bytes - end)
    return [tensor for tensor, _end in tensors]


def _entries(file: str, text: bytes) -> list[tuple[str, Any]]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"The header of {file} is not JSON: it is no safetensors file, or damaged.") from error
    if not isinstance(header, dict):
        raise HeaderError(f"The header of {file} is not a JSON object: it is no safetensors file, or damaged.")
    return list(header.items())


def _tensor(file: str, name: str, entry: Any) -> tuple[Tensor, int]:
    """The tensor and where its data ends, in bytes from the beginning of the data."""
    try:
        dtype = entry["dtype"]
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        numbers = (*shape, begin, end)
        if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise HeaderError(
            f"{file}: the header's entry of {name} has no usable dtype, shape and data_offsets."
        ) from error
    if dtype not in DTYPE_BITS:
        raise HeaderError(f"{file}: {name} has the unknown type {dtype!r}.")
    size = end - begin
    if size * 8 != math.prod(shape) * DTYPE_BITS[dtype]:
        raise HeaderError(f"{file}: {name} says {list(shape)} of {dtype} and at the same time {size} bytes.")
    return Tensor(name, dtype, shape, size), end


def _check_extent(file: str, tensors: list[tuple[Tensor, int]], data_bytes: int) -> None:
    claimed = max((end for _tensor, end in tensors), default=0)
    total = sum(tensor.size_bytes for tensor, _end in tensors)
    if claimed > data_bytes:
        raise HeaderError(
            f"{file} is truncated: its tensors end at byte {claimed} of the data and there are {data_bytes}. "
            "Fetch it again."
        )
    if total != claimed:
        raise HeaderError(f"{file}: its tensors have {total} bytes and span {claimed}: the header is damaged.")

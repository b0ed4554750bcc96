# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksums that S3 servers verify, and SHA-256, as running sums over chunks.

PRIVATE to the collection: no stable interface.
Names and wire format (base64 of the big-endian value) from the Amazon S3 user guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Iterable
from typing import Any, Protocol

# In the order of preference: the first runs at memory speed and S3 keeps it for the whole object; MD5 is what every
# server has known since 2006.
PREFERENCE = ("crc64nvme", "crc32c", "crc32", "md5")

# Width in bits and polynomial, reflected, as the CRC catalogue of reveng.sourceforge.io lists them.
_CRCS = {"crc64nvme": (64, 0x9A6C9329AC4BC9B5), "crc32c": (32, 0x82F63B78), "crc32": (32, 0xEDB88320)}


class Sum(Protocol):
    """A running checksum; text() is base64 as S3 writes it, hexadecimal for SHA-256."""

    def update(self, chunk: memoryview) -> None: ...

    def text(self) -> str: ...


def _crt() -> Any:
    """The optional library with CRC64NVME and CRC32C, or None."""
    try:
        from awscrt import checksums
    except ImportError:
        return None
    return checksums if hasattr(checksums, "crc64nvme") else None


class _Crc:
    def __init__(self, function: Any, width_bits: int) -> None:
        self._function = function
        self._width_bits = width_bits
        self._value = 0

    def update(self, chunk: memoryview) -> None:
        self._value = self._function(chunk, self._value)

    def text(self) -> str:
        return _crc_text(self._value, self._width_bits)


class _Md5:
    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    def update(self, chunk: memoryview) -> None:
        self._hash.update(chunk)

    def text(self) -> str:
        return base64.b64encode(self._hash.digest()).decode()


class _Sha256:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, chunk: memoryview) -> None:
        self._hash.update(chunk)

    def text(self) -> str:
        return self._hash.hexdigest()


def available() -> tuple[str, ...]:
    """The algorithms for S3 that this Python can compute, the best first."""
    return PREFERENCE if _crt() else PREFERENCE[2:]


def start(algorithm: str) -> Sum:
    """A running sum of nothing, of one of PREFERENCE or sha256."""
    if algorithm == "sha256":
        return _Sha256()
    if algorithm == "md5":
        return _Md5()
    if algorithm == "crc32":
        return _Crc(zlib.crc32, 32)
    return _Crc(getattr(_crt(), algorithm), _CRCS[algorithm][0])


def of_bytes(algorithm: str, data: bytes) -> str:
    """The checksum of some bytes."""
    total = start(algorithm)
    total.update(memoryview(data))
    return total.text()


def joins(algorithm: str) -> bool:
    """Whether the checksum of a whole follows from those of its parts."""
    return algorithm in _CRCS


def joined(algorithm: str, parts: Iterable[tuple[str, int]]) -> str:
    """The checksum of a whole from (checksum, length in bytes) of its parts, in order.

    Appending n bytes multiplies the CRC so far by x^8n modulo the polynomial; zlib's crc32_combine() does the same.
    """
    width_bits, polynomial = _CRCS[algorithm]
    total = 0
    for text, length_bytes in parts:
        value = int.from_bytes(base64.b64decode(text), "big")
        total = _product(total, _power_of_x(8 * length_bytes, width_bits, polynomial), width_bits, polynomial) ^ value
    return _crc_text(total, width_bits)


def _crc_text(value: int, width_bits: int) -> str:
    return base64.b64encode(value.to_bytes(width_bits // 8, "big")).decode()


def _product(one: int, other: int, width_bits: int, polynomial: int) -> int:
    # Reflected: the highest bit is the coefficient of x^0.
    total = 0
    for bit in range(width_bits - 1, -1, -1):
        if one >> bit & 1:
            total ^= other
        other = other >> 1 ^ (polynomial if other & 1 else 0)
    return total


@functools.lru_cache
def _power_of_x(exponent: int, width_bits: int, polynomial: int) -> int:
    total, square = 1 << width_bits - 1, 1 << width_bits - 2
    while exponent:
        if exponent & 1:
            total = _product(total, square, width_bits, polynomial)
        square = _product(square, square, width_bits, polynomial)
        exponent >>= 1
    return total

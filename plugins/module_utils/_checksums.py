# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksums that S3 servers verify, as running sums over chunks.

PRIVATE to the collection: no stable interface.
Names and wire format (base64 of the big-endian value) from the Amazon S3 user guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any, Protocol

# In the order of preference: the first runs at memory speed and S3 keeps it for the whole object; MD5 is what every
# server has known since 2006.
PREFERENCE = ("crc64nvme", "crc32c", "crc32", "md5")


class Sum(Protocol):
    """A running checksum."""

    def update(self, chunk: memoryview) -> None: ...

    def base64(self) -> str: ...


def _crt() -> Any:
    """The optional library with CRC64NVME and CRC32C, or None."""
    try:
        # pylint: disable-next=import-outside-toplevel
        from awscrt import checksums
    except ImportError:
        return None
    return checksums if hasattr(checksums, "crc64nvme") else None


class _Crc:
    def __init__(self, function: Any, width_bytes: int) -> None:
        self._function = function
        self._width_bytes = width_bytes
        self._value = 0

    def update(self, chunk: memoryview) -> None:
        self._value = self._function(chunk, self._value)

    def base64(self) -> str:
        return base64.b64encode(self._value.to_bytes(self._width_bytes, "big")).decode()


class _Md5:
    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    def update(self, chunk: memoryview) -> None:
        self._hash.update(chunk)

    def base64(self) -> str:
        return base64.b64encode(self._hash.digest()).decode()


def available() -> tuple[str, ...]:
    """The algorithms that this Python can compute, the best first."""
    return PREFERENCE if _crt() else PREFERENCE[2:]


def start(algorithm: str) -> Sum:
    """A running sum of nothing."""
    if algorithm == "md5":
        return _Md5()
    if algorithm == "crc32":
        return _Crc(zlib.crc32, 4)
    crt = _crt()
    return _Crc(crt.crc64nvme, 8) if algorithm == "crc64nvme" else _Crc(crt.crc32c, 4)


def of_bytes(algorithm: str, data: bytes) -> str:
    """The checksum of some bytes, as S3 writes it."""
    total = start(algorithm)
    total.update(memoryview(data))
    return total.base64()

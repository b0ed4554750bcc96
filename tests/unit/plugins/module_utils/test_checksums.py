# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import itertools
import os
import sys

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums

# The check values of the CRC catalogue: each over the text 123456789.
CHECK = {"crc64nvme": "ae8b14860a799888", "crc32c": "e3069283", "crc32": "cbf43926"}


@pytest.mark.parametrize("algorithm", [name for name in _checksums.available() if name in CHECK])
def test_checksums_are_those_of_the_catalogue(algorithm: str) -> None:
    wanted = base64.b64encode(bytes.fromhex(CHECK[algorithm])).decode()
    assert _checksums.of_bytes(algorithm, b"123456789") == wanted


def test_md5_is_written_as_content_md5_and_sha256_as_sha256sum_does() -> None:
    assert _checksums.of_bytes("md5", b"") == "1B2M2Y8AsgTpgAmY7PhCfg=="
    assert _checksums.of_bytes("sha256", b"").startswith("e3b0c44298fc1c14")


def test_the_fallbacks_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awscrt", None)
    assert _checksums.available() == ("crc32", "md5")


@pytest.mark.parametrize("algorithm", [name for name in _checksums.available() if name in CHECK])
def test_the_checksum_of_a_whole_follows_from_its_parts(algorithm: str) -> None:
    data = os.urandom(100_003)
    cuts = [0, 0, 1, 4096, 70_000, len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(cuts)]
    parts = [(_checksums.of_bytes(algorithm, piece), len(piece)) for piece in pieces]
    assert _checksums.joined(algorithm, parts) == _checksums.of_bytes(algorithm, data)


@pytest.mark.parametrize("algorithm", sorted(CHECK))
def test_joining_needs_no_library(algorithm: str) -> None:
    """One byte at a time from a table of nothing but the polynomial: the catalogue's value comes out."""
    width_bits, polynomial = _checksums._CRCS[algorithm]
    ones = (1 << width_bits) - 1

    def of_byte(byte: int) -> str:
        value = ones ^ byte
        for _bit in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        return base64.b64encode((value ^ ones).to_bytes(width_bits // 8, "big")).decode()

    wanted = base64.b64encode(bytes.fromhex(CHECK[algorithm])).decode()
    assert _checksums.joined(algorithm, [(of_byte(byte), 1) for byte in b"123456789"]) == wanted


def test_only_crcs_can_be_joined() -> None:
    assert [name for name in (*_checksums.PREFERENCE, "sha256") if _checksums.joins(name)] == list(CHECK)

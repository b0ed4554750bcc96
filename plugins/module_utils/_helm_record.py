# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helm's own records of a release, as its Secrets hold them (helm: pkg/storage/driver). No I/O. PRIVATE to the collection."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any


class RecordError(Exception):
    """A record that Helm would not read either."""


def revision(metadata: dict[str, Any]) -> int:
    """The number of the revision that a Secret with this metadata records."""
    return int((metadata.get("labels") or {}).get("version") or 0)


def decoded(secret: dict[str, Any]) -> dict[str, Any]:
    """The release of a Secret: base64 of gzip of JSON (helm: pkg/storage/driver/util.go), as a Secret in base64 again."""
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        # 16: with the header of gzip.
        release: dict[str, Any] = json.loads(zlib.decompress(packed, 16 + zlib.MAX_WBITS))
        chart(release)
        status(release)
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise RecordError(f"Secret {secret['metadata']['name']} is no record of a Helm release.") from error
    return release


def status(release: dict[str, Any]) -> str:
    """Helm's word for how the revision stands (helm: pkg/release/v1/status.go)."""
    word: str = release["info"]["status"]
    return word


def chart(release: dict[str, Any]) -> tuple[str, str]:
    """Name and version of the release's chart."""
    metadata = release["chart"]["metadata"]
    return metadata["name"], metadata["version"]


def holds(release: dict[str, Any], name: str, version: str, values: dict[str, Any]) -> bool:
    """Whether the release is deployed from that version of that chart, with exactly these values of its user.

    Values are compared as JSON, so that 1, 1.0 and true are three values.
    """
    same_chart = chart(release) == (name, version)
    return status(release) == "deployed" and same_chart and _text(release.get("config")) == _text(values)


def _text(values: dict[str, Any] | None) -> str:
    return json.dumps(values or {}, sort_keys=True)

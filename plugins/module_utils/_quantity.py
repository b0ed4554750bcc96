# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes quantities (k8s.io/apimachinery pkg/api/resource/quantity.go). Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from typing import Any

_QUANTITY = re.compile(r"(?P<number>[0-9.]+)(?P<unit>[A-Za-z]*)$")
_UNITS = {
    "": 1,
    "m": 0.001,
    **{f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate("KMGTPE")},
    **{letter: 1000 ** (power + 1) for power, letter in enumerate("kMGTPE")},
}


def quantity(text: Any) -> float:
    """A Kubernetes quantity as a number: "512Gi", "1500m", "8". Unreadable ones are 0."""
    match = _QUANTITY.match(str(text))
    if not match or match["unit"] not in _UNITS:
        return 0.0
    return float(match["number"]) * _UNITS[match["unit"]]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity


@pytest.mark.parametrize(
    ("text", "number"), [("8", 8), ("1500m", 1.5), ("2Ki", 2048), ("2k", 2000), ("1Gi", 1024**3), ("x", 0), (None, 0)]
)
def test_a_quantity_is_a_number_and_0_if_it_is_unreadable(text: Any, number: float) -> None:
    assert quantity(text) == number

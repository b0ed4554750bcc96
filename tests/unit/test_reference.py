# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages that are made from the sources say what the sources say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import checkout, reference

PAGES = reference.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_what_its_sources_say(page: Path) -> None:
    assert page.exists(), "run: PYTHONPATH=tests python -m tools.reference"
    assert page.read_text() == PAGES[page], "run: PYTHONPATH=tests python -m tools.reference"


def test_the_reference_leaves_nothing_out() -> None:
    modules, roles = reference.modules(), reference.roles()
    for path in (checkout.ROOT / "plugins/modules").glob("*.py"):
        assert f"## llmstack.serving.{path.stem}\n" in modules
    for path in (checkout.ROOT / "roles").iterdir():
        assert f"## {path.name}\n" in roles
    assert "| `operations_take_back` | bool | `true` |" in roles


def test_markup_becomes_markdown() -> None:
    assert reference._plain("With O(a=b) and V(x), see M(c.d.e); B(this) RV(ignore:changed).") == (
        "With `a=b` and `x`, see `c.d.e`; **this** `changed`."
    )

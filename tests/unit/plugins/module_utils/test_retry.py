# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._retry import Transient, retried


def failing(times: int, attempts: int | None = None):  # type: ignore[no-untyped-def]
    left = [times]

    def once() -> str:
        if left[0]:
            left[0] -= 1
            raise Transient("busy", attempts)
        return "done"

    return once


def test_what_fails_for_a_while_succeeds_in_the_end() -> None:
    pauses: list[float] = []
    assert retried(4, pauses.append, failing(3)) == "done"
    assert len(pauses) == 3


def test_attempts_have_an_end() -> None:
    pauses: list[float] = []
    with pytest.raises(Transient, match="busy"):
        retried(3, pauses.append, failing(3))
    assert len(pauses) == 2


def test_an_error_may_ask_for_fewer_attempts() -> None:
    pauses: list[float] = []
    with pytest.raises(Transient):
        retried(9, pauses.append, failing(9, attempts=2))
    assert len(pauses) == 1


def test_pauses_grow_are_random_and_have_a_limit() -> None:
    longest: list[float] = [0.0] * 11
    for _run in range(300):
        pauses: list[float] = []
        with pytest.raises(Transient):
            retried(12, pauses.append, failing(12))
        longest = [max(pair) for pair in zip(longest, pauses, strict=True)]
    for number, seconds in enumerate(longest):
        limit = min(20.0, 0.5 * 2**number)
        assert 0.8 * limit < seconds <= limit


def test_other_errors_are_not_repeated() -> None:
    def once() -> None:
        raise ValueError("final")

    with pytest.raises(ValueError, match="final"):
        retried(5, lambda seconds: pytest.fail("paused"), once)

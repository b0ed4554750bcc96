# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _upload_plan
from ansible_collections.llmstack.serving.plugins.module_utils._upload_plan import MIB, Part, Remote

GIB = 1024 * MIB


def test_parts_cover_the_file_exactly() -> None:
    assert _upload_plan.parts(11 * MIB, 5 * MIB) == [
        Part(1, 0, 5 * MIB),
        Part(2, 5 * MIB, 5 * MIB),
        Part(3, 10 * MIB, MIB),
    ]
    assert _upload_plan.parts(0, 5 * MIB) == [Part(1, 0, 0)]
    assert len(_upload_plan.parts(10 * MIB, 5 * MIB)) == 2


@pytest.mark.parametrize("size_bytes", [1, 640 * GIB, 641 * GIB, 5 * 1024 * GIB, _upload_plan.LARGEST_OBJECT_BYTES])
def test_no_file_has_more_than_ten_thousand_parts(size_bytes: int) -> None:
    part_size_bytes = _upload_plan.fitting_part_size(size_bytes, 64 * MIB)
    assert -(-size_bytes // part_size_bytes) <= 10_000
    assert 64 * MIB <= part_size_bytes <= 5 * GIB
    assert _upload_plan.part_fault(part_size_bytes) is None


def test_part_sizes_have_bounds() -> None:
    assert _upload_plan.part_fault(5 * MIB) is None
    assert _upload_plan.part_fault(5 * MIB - 1)
    assert _upload_plan.part_fault(5 * GIB + 1)


def test_files_take_turns_so_many_at_a_time() -> None:
    assert list(_upload_plan.in_turn(["abc", "de", "", "fgh"], 2)) == ["a", "d", "b", "e", "c", "f", "g", "h"]
    assert list(_upload_plan.in_turn(["abc", "de"], 1)) == ["a", "b", "c", "d", "e"]
    assert list(_upload_plan.in_turn([], 2)) == []


def test_a_file_begins_only_when_it_is_its_turn() -> None:
    begun = []

    def parts(name: str) -> Iterator[str]:
        begun.append(name)
        yield name

    steps = _upload_plan.in_turn(map(parts, "abc"), 2)
    assert (next(steps), begun) == ("a", ["a"])
    assert (next(steps), begun) == ("b", ["a", "b"])


ENTRY = {"path": "a", "size": 10, "sha256": "x"}


@pytest.mark.parametrize(
    ("recorded", "remote", "published", "look"),
    [
        (ENTRY, None, 100.0, "send"),
        (ENTRY, Remote(11, 50.0), 100.0, "send"),
        (ENTRY, Remote(10, 50.0), 100.0, "manifest"),
        (ENTRY, Remote(10, 100.0), 100.0, "manifest"),
        (ENTRY, Remote(10, 101.0), 100.0, "server"),
        (None, Remote(10, 50.0), 100.0, "server"),
        (None, Remote(10, 50.0), None, "server"),
        ({**ENTRY, "size": 9}, Remote(10, 50.0), 100.0, "server"),
    ],
)
def test_a_listing_and_the_manifest_say_where_to_look(
    recorded: dict[str, object] | None, remote: Remote | None, published: float | None, look: str
) -> None:
    assert _upload_plan.first_look(10, recorded, remote, published) == look


def test_strangers_are_neither_in_the_source_nor_the_manifest() -> None:
    remote = {path: Remote(1, 0.0) for path in ("b", "a", "m.json", "mine")}
    assert _upload_plan.strangers(remote, {"mine": None}, "m.json") == ["a", "b"]


def test_progress_counts_what_was_there_but_not_as_speed() -> None:
    line = _upload_plan.progress(3, 8, 1_000_000_000, 2_000_000_000, 4_000_000_000, 10.0)
    assert line == "3 of 8 files, 3.00 of 4.00 GB, 100 MB/s, 10 s left"
    assert _upload_plan.progress(0, 8, 0, 0, 4_000_000_000, 10.0) == "0 of 8 files, 0.00 of 4.00 GB, 0 MB/s"

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

from sandbox.images import forget_old


def test_only_the_snapshots_of_the_registry_that_were_used_last_stay(tmp_path: Path) -> None:
    for number, name in enumerate(("b", "d", "a", "c", "unfinished")):
        (tmp_path / name).mkdir()
        if name != "unfinished":
            (tmp_path / name / "complete").touch()
            os.utime(tmp_path / name / "complete", (number, number))
    forget_old(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "unfinished"]

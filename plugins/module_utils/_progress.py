# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the user of a long wait how it goes: the module's half of plugin_utils/_progress.py. PRIVATE to the collection.

A module has no way to the screen before it ends. Its action plugin names a file that it shows line by line.
"""

from __future__ import annotations

import os

FILE_VARIABLE = "LLMSTACK_SERVING_PROGRESS_FILE"


def report(text: str) -> None:
    """Show a line to the user, if someone shows lines (not with async, not on a remote machine)."""
    if path := os.environ.get(FILE_VARIABLE):
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(" ".join(text.split()) + "\n")

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md and docs/ tell people to type and to write."""

from __future__ import annotations

import re
from pathlib import Path

from tools import checkout

PAGES = [checkout.ROOT / "README.md", *sorted((checkout.ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[str]:
    """The text of all blocks marked with a language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return [block for page in PAGES for block in re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)]


def commands() -> list[str]:
    """The lines of all blocks marked `sh`, each once, continued ones joined, without comments."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return list(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#")))


def clone(folder: Path) -> Path:
    """A checkout with the files that the pages tell a user to write: each `yaml` block that begins with a path."""
    checkout.copy(folder)
    for block in blocks("yaml"):
        if match := re.match(r"# (\S+/\S+\.yml)\n", block):
            (folder / match[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / match[1]).write_text(block)
    return folder

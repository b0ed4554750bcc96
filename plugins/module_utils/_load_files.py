# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the files of a report, and keeps its earlier runs. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

Document = dict[str, Any]
# By format: suffix of the file, and what makes its text from the document and those of earlier runs (oldest first).
Renderers = dict[str, tuple[str, Callable[[Document, list[Document]], str]]]


def check_directory(directory: str) -> None:
    """Raises LoadError if no report can be written there. Better before the work than after."""
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * 65536)
            file.flush()
    except OSError as error:
        raise LoadError(f"No report can be written to report_dir {directory}: {error.strerror}.") from error


def write(
    document: Document,
    directory: str,
    renderers: Renderers,
    formats: list[str],
    keep: int,
    summary: Callable[[Document], str],
) -> list[str]:
    """Write the report's files, each whole or not at all. Returns their paths; raises LoadError.

    The last `keep` runs stay in <name>-history, as the text that `summary` makes of a document.
    """
    name = document["name"]
    written = []
    try:
        earlier = _history(os.path.join(directory, f"{name}-history"), document, keep, summary)
        for kind in formats:
            suffix, render = renderers[kind]
            text = render(document, earlier)
            written.append(os.path.join(directory, name + suffix))
            write_text(written[-1], text)
    except OSError as error:
        raise LoadError(
            f"The report could not be written to report_dir {directory}: {error.strerror}. "
            "What was measured is in this task's result."
        ) from error
    return written


def _history(directory: str, document: Document, keep: int, summary: Callable[[Document], str]) -> list[Document]:
    """Keep this report's numbers beside those of the last `keep` runs; returns the earlier ones, oldest first."""
    if not keep:
        return []
    os.makedirs(directory, exist_ok=True)
    earlier = []
    for entry in sorted(os.listdir(directory)):
        path = os.path.join(directory, entry)
        with contextlib.suppress(ValueError), open(path, encoding="utf-8") as stream:
            old = json.load(stream)
            # Only what this function wrote is counted and, one day, removed.
            if isinstance(old, dict) and old.get("kind") == document["kind"]:
                earlier.append((path, old))
    for path, _old in earlier[: max(0, len(earlier) - keep + 1)]:
        os.unlink(path)
    earlier = earlier[max(0, len(earlier) - keep + 1) :]
    stamp = document["started"].replace("-", "").replace(":", "").replace("+0000", "Z")
    write_text(os.path.join(directory, f"{stamp}.json"), summary(document))
    return [old for _path, old in earlier]


def write_text(path: str, text: str) -> None:
    """Write a file as a whole or not at all. Raises OSError."""
    handle, draft = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".report-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise

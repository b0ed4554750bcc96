# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait by watching: collections of objects are kept current, and a pure function judges them. PRIVATE to the collection."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube

T = TypeVar("T")
# Judged at least this often, for verdicts that depend on time and for progress reports.
_TICK_SECONDS = 5.0


@dataclass(frozen=True)
class Selection:
    """What to watch: one object (`fields`), a set of them (`labels`), or all objects of a kind in a namespace."""

    api_version: str
    kind: str
    namespace: str | None = None
    labels: str = ""
    fields: str = ""


# The current objects of each selection, by namespace and name.
View = dict[Selection, dict[tuple[str, str], dict[str, Any]]]


def wait_until(
    kube: Kube, selections: Iterable[Selection], judge: Callable[[View], T | None], deadline: float
) -> tuple[T | None, View]:
    """Watch until `judge` returns something or `deadline` (time.monotonic) is over. Returns its answer and the last view.

    `judge` is called in this thread, first when all selections have been listed, then after each change and every few
    seconds. Errors that watching again does not heal are raised (a kind that is not served, missing permissions).
    """
    changes: queue.Queue[tuple[Selection, str, Any]] = queue.Queue()
    stop = threading.Event()
    watched = list(dict.fromkeys(selections))
    for selection in watched:
        # Daemons: a watch that is blocked in a read must not hold up the module's exit.
        threading.Thread(target=_follow, args=(kube, selection, changes, stop, deadline), daemon=True).start()
    view: View = {}
    try:
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                selection, change, content = changes.get(timeout=min(remaining, _TICK_SECONDS))
                _take(view, selection, change, content)
                # All that is known is taken before judging: fewer and truer verdicts.
                while not changes.empty():
                    _take(view, *changes.get())
            except queue.Empty:
                pass
            if len(view) == len(watched) and (answer := judge(view)) is not None:
                return answer, view
        return None, view
    finally:
        stop.set()


def _take(view: View, selection: Selection, change: str, content: Any) -> None:
    if change == "FAILED":
        raise content
    if change == "LISTED":
        view[selection] = {_key(item): item for item in content}
    elif change == "DELETED":
        view[selection].pop(_key(content), None)
    else:
        view[selection][_key(content)] = content


def _key(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def _follow(kube: Kube, chosen: Selection, changes: queue.Queue[Any], stop: threading.Event, deadline: float) -> None:
    selectors = {"labels": chosen.labels, "fields": chosen.fields}
    try:
        while not stop.is_set() and time.monotonic() < deadline:
            try:
                items, version = kube.list(chosen.api_version, chosen.kind, chosen.namespace, **selectors)
                changes.put((chosen, "LISTED", items))
                events = kube.watch(chosen.api_version, chosen.kind, chosen.namespace, version, deadline, **selectors)
                for change, manifest in events:
                    changes.put((chosen, change, manifest))
                    if stop.is_set():
                        return
            except (errors.Gone, errors.Unreachable):
                stop.wait(1.0)
    except Exception as error:  # handed to the waiting thread, which raises it
        changes.put((chosen, "FAILED", error))

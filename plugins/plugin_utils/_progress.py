# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows on the screen what a module that works for long tells. PRIVATE to the collection."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llmstack.serving.plugins.module_utils._progress import FILE_VARIABLE
from ansible_collections.llmstack.serving.plugins.plugin_utils._local_module import LocalModuleAction

_EVERY_SECONDS = 1.0


class ProgressAction(LocalModuleAction):
    """Runs a module, and shows the lines of its _progress.report."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        host = (task_vars or {}).get("inventory_hostname", "")
        # The file must be one that both processes see, and someone must wait for the module.
        shown = self._is_local() and not self._task.async_val
        with self._lines_shown(host) if shown else nullcontext():
            return super().run(tmp, task_vars)

    @contextmanager
    def _lines_shown(self, host: str) -> Iterator[None]:
        handle, path = tempfile.mkstemp(prefix="llmstack-progress-")
        os.close(handle)
        self._task.environment = [*(self._task.environment or []), {FILE_VARIABLE: path}]
        ended = threading.Event()
        thread = threading.Thread(target=_show, args=(path, host, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            os.unlink(path)


def _show(path: str, host: str, ended: threading.Event) -> None:
    display = Display()
    with open(path, encoding="utf-8") as stream:
        while not ended.wait(_EVERY_SECONDS):
            for line in stream:
                display.display(f"[{host}] {line.rstrip()}")

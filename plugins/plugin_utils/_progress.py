# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action plugin that runs its module and shows what the module reports meanwhile. PRIVATE to the collection."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import merge_hash

from ansible_collections.llmstack.serving.plugins.module_utils._progress import FILE_VARIABLE

_EVERY_SECONDS = 1.0


class ProgressAction(ActionBase):
    """As ansible-core's `normal` action, plus the lines of _progress.report on the screen."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        wrap_async = self._task.async_val and not self._connection.has_native_async
        host = (task_vars or {}).get("inventory_hostname", "")
        # The file must be one that both processes see.
        shown = not wrap_async and self._connection.transport in ("local", "ansible.builtin.local")
        with self._lines_shown(host) if shown else _nothing():
            result = merge_hash(result, self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

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


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _show(path: str, host: str, ended: threading.Event) -> None:
    display = Display()
    with open(path, encoding="utf-8") as stream:
        while not ended.wait(_EVERY_SECONDS):
            for line in stream:
                display.display(f"[{host}] {line.rstrip()}")

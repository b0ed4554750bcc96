# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's modules. PRIVATE to the collection."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

import ansible
from ansible import constants
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import merge_hash

_PACKAGE = "ansible_collections"
# The package is made by hand, so that it is the collection of this very playbook, wherever else on the path there is one.
# What AnsibleModule reads is what AnsiballZ sets (ansible-core 2.19, module_utils/_internal/_ansiballz/_loader.py).
_SCRIPT = """\
import runpy, sys, types
sys.path[:] = [*(path for path in sys.path if path), {ansible!r}]
sys.modules[{package!r}] = types.ModuleType({package!r})
sys.modules[{package!r}].__path__ = [{collections!r}]
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = {arguments!r}
basic._ANSIBLE_PROFILE = {profile!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


class LocalModuleAction(ActionBase):
    """As ansible-core's `normal` action, but a module on this machine runs as it is installed.

    ansible-core packs a module with all that it imports for every task, and the module's process unpacks and compiles
    it again: more than half of the time of a no-op. Where that process is one of this machine, of the same user and
    with the Python of ansible-playbook, it can import what is installed here and has been compiled long ago.
    """

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        if self._needs_no_files():
            # With it Python reads a program that comes through a pipe with a system call for each byte.
            self._task.environment = [{"PYTHONUNBUFFERED": ""}, *(self._task.environment or [])]
        wrap_async = self._task.async_val and not self._connection.has_native_async
        result = merge_hash(result, self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _is_local(self) -> bool:
        return self._connection.transport in ("local", "ansible.builtin.local")

    def _needs_no_files(self) -> bool:
        files = self._task.async_val or self._connection.become or constants.DEFAULT_KEEP_REMOTE_FILES
        return self._is_local() and not files

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        return self._needs_no_files() or bool(super()._is_pipelining_enabled(module_style, wrap_async))

    def _configure_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> tuple[Any, str]:
        built, path = super()._configure_module(module_name, module_args, task_vars)
        if self._needs_no_files() and built.shebang == f"#!{sys.executable}":
            Display().vvv(f"Running {path} as it is installed.")
            built = dataclasses.replace(built, b_module_data=_script(path, module_args, built.serialization_profile))
        return built, path


def _script(path: str, arguments: dict[str, Any], profile: str) -> bytes:
    """A program that runs the module at this path, and no other of the same name."""
    root, name = path.rsplit(f"/{_PACKAGE}/", 1)
    encoder = get_module_encoder(profile, Direction.CONTROLLER_TO_MODULE)
    return _SCRIPT.format(
        ansible=os.path.dirname(os.path.dirname(ansible.__file__)),
        arguments=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode(),
        collections=f"{root}/{_PACKAGE}",
        module=f"{_PACKAGE}.{name.removesuffix('.py').replace('/', '.')}",
        package=_PACKAGE,
        profile=profile,
    ).encode()

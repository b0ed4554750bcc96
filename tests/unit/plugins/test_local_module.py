# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module of the collection runs as it is installed, where that is the same as what ansible-core would do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import checkout

# A module that tells where it is, and in which circumstances.
MODULE = """
from __future__ import annotations

import json
import os
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmstack.serving.plugins.module_utils import _place


def main():
    module = AnsibleModule(
        argument_spec={
            "text": {"type": "str", "default": ""},
            "number": {"type": "int", "default": 0},
            "password": {"type": "str", "no_log": True},
            "crash": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.params["crash"]:
        raise RuntimeError("an unexpected thing")
    module.warn("a warning")
    module.exit_json(
        check_mode=module.check_mode,
        code=[__file__, _place.__file__],
        json=json.__file__,
        number=module.params["number"],
        password=module.params["password"],
        python=sys.executable,
        text=module.params["text"],
        unbuffered=os.environ.get("PYTHONUNBUFFERED"),
        variable=os.environ.get("PROBE_VARIABLE"),
    )


if __name__ == "__main__":
    main()
"""
ACTION = (checkout.ROOT / "plugins" / "action" / "gpu_check.py").read_text()
ODD = "ümlaut 'quoted' \"twice\" {brace} \\"
SAYS = "as it is installed."


def install(collections: Path) -> Path:
    """A collection with that module, and the action plugin of ours."""
    plugins = collections / "ansible_collections" / "llmstack" / "serving" / "plugins"
    for folder in ("action", "modules", "module_utils", "plugin_utils"):
        (plugins / folder).mkdir(parents=True)
    (plugins / "modules" / "probe.py").write_text(MODULE)
    (plugins / "module_utils" / "_place.py").touch()
    (plugins / "action" / "probe.py").write_text(ACTION)
    shutil.copy(checkout.ROOT / "plugins" / "plugin_utils" / "_local_module.py", plugins / "plugin_utils")
    return plugins


class Ran:
    def __init__(self, output: str, found: dict[str, Any]) -> None:
        self.output, self.found = output, found
        self.as_installed = SAYS in output


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    return install(tmp_path / "collections")


def run(tmp_path: Path, task: dict[str, Any], *, cwd: Path | None = None, check: bool = False, **variables: str) -> Ran:
    answer = tmp_path / "answer.json"
    answer.unlink(missing_ok=True)
    written = {"content": "{{ found | to_json }}", "dest": str(answer)}
    tasks = [
        {"check_mode": check, "register": "found", "ignore_errors": True, **task},
        {"ansible.builtin.copy": written, "check_mode": False},
    ]
    play = tmp_path / "play.json"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        **variables,
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-vvvv", str(play)]
    done = subprocess.run(
        command, cwd=cwd or tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.exists(), done.stdout + done.stderr
    return Ran(done.stdout + done.stderr, json.loads(answer.read_text()))


def test_a_module_on_this_machine_runs_as_it_is_installed(plugins: Path, tmp_path: Path) -> None:
    task = {
        "llmstack.serving.probe": {
            "text": "ümlaut 'quoted' \"twice\" {brace} \\",
            "number": "7",
            "password": "hunter2",
        },
        "environment": {"PROBE_VARIABLE": "as asked"},
    }
    ran = run(tmp_path, task, check=True, PYTHONUNBUFFERED="1")
    assert ran.as_installed
    assert "AnsiballZ_probe" not in ran.output, "no file is written"
    assert ran.found["code"] == [str(plugins / "modules" / "probe.py"), str(plugins / "module_utils" / "_place.py")]
    assert ran.found["python"] == sys.executable
    assert ran.found["text"] == ODD
    assert ran.found["number"] == 7
    assert ran.found["check_mode"] is True
    assert ran.found["variable"] == "as asked"
    assert ran.found["unbuffered"] == "", "a megabyte of arguments would take a second to read"
    assert "a warning" in ran.output
    assert ran.found["password"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert "hunter2" not in ran.output


def test_it_is_the_collection_of_this_playbook_and_the_standard_library_of_this_python(
    plugins: Path, tmp_path: Path
) -> None:
    older = install(tmp_path / "older")
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    (cwd / "json.py").write_text("raise SystemExit('not this one')")
    ran = run(tmp_path, {"llmstack.serving.probe": {}}, cwd=cwd, PYTHONPATH=str(older.parents[3]))
    assert ran.as_installed
    assert ran.found["code"] == [str(plugins / "modules" / "probe.py"), str(plugins / "module_utils" / "_place.py")]
    assert ran.found["json"] == json.__file__


def test_a_crash_is_shown(plugins: Path, tmp_path: Path) -> None:
    ran = run(tmp_path, {"llmstack.serving.probe": {"crash": True}})
    assert ran.as_installed
    assert ran.found["failed"]
    assert "RuntimeError: an unexpected thing" in ran.output


@pytest.mark.parametrize("reason", ["another Python", "files are wanted", "async"])
def test_otherwise_ansible_core_packs_it(plugins: Path, tmp_path: Path, reason: str) -> None:
    task: dict[str, Any] = {"llmstack.serving.probe": {"number": 7}}
    variables = {}
    if reason == "another Python":
        (tmp_path / "python").symlink_to(sys.executable)
        task["vars"] = {"ansible_python_interpreter": str(tmp_path / "python")}
    elif reason == "async":
        task |= {"async": 60, "poll": 1, "vars": {"ansible_async_dir": str(tmp_path / "jobs")}}
    else:
        variables["ANSIBLE_KEEP_REMOTE_FILES"] = "1"
    ran = run(tmp_path, task, **variables)
    assert not ran.as_installed
    assert ran.found["number"] == 7
    assert ran.found["code"][0] != str(plugins / "modules" / "probe.py")


def test_every_module_runs_this_way() -> None:
    def names(folder: str) -> set[str]:
        return {path.stem for path in (checkout.ROOT / "plugins" / folder).glob("*.py")}

    assert names("action") == names("modules")

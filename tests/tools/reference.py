# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pages of docs/ that are made from the sources: versions, roles, modules.

`PYTHONPATH=tests .venv/bin/python -m tools.reference` after a change of the version table, of an argument_specs.yml
or of a module's documentation; test_reference says when it is due.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from tools import checkout

ROOT = checkout.ROOT
_NOTE = "<!-- Made from the sources: python -m tools.reference -->\n"


def pages() -> dict[Path, str]:
    """The pages and what they have to say."""
    return {
        ROOT / "docs" / "versions.md": versions(),
        ROOT / "docs" / "reference" / "modules.md": modules(),
        ROOT / "docs" / "reference" / "roles.md": roles(),
    }


def versions() -> str:
    """The table of roles/versions/vars/main.yml."""
    data = yaml.safe_load((ROOT / "roles/versions/vars/main.yml").read_text())
    rows = []
    for name, entry in data["versions_table"].items():
        kubernetes = entry.get("kubernetes") or {}
        span = " to ".join(filter(None, (kubernetes.get("minimum"), kubernetes.get("maximum")))) or "any"
        if kubernetes and not kubernetes.get("maximum"):
            span += " and newer"
        origins = [*entry.get("charts", {}).values(), *entry.get("images", {}).values(), entry.get("manifest")]
        told = "<br>".join(f"`{origin}`" for origin in origins if origin)
        needs = ", ".join(entry.get("needs", []))
        end = str(entry.get("eol") or "not announced")
        rows.append([name, entry["version"], span, needs, end, told, entry["source"]])
    control = data["versions_control_node"]
    needs = [["Helm", control["helm"]], *([name, floor] for name, floor in control["python_packages"].items())]
    return f"""# Versions

{_NOTE}
The one table of `roles/versions/vars/main.yml`. Every role has a variable to deviate from it, `playbooks/preflight.yml`
refuses a cluster outside the ranges, and warns after the end of life.

{_table(["Component", "Version", "Kubernetes", "Needs", "End of life", "From", "Source"], rows)}
The machine that Ansible runs on needs at least:

{_table(["What", "Version"], needs)}"""


def roles() -> str:
    """The variables of all roles, from their argument_specs.yml."""
    parts = [
        "# Roles\n",
        _NOTE,
        "Entry points and variables. `ansible-doc --type role` says the same, with the fields of lists.\n",
    ]
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        points = yaml.safe_load(path.read_text())["argument_specs"]
        parts.append(f"## {path.parents[1].name}\n")
        for name, point in points.items():
            parts.append(f"**{name}**: {_plain(point['short_description'])}. {_joined(point['description'])}\n")
        parts.append(_options(points["main"]["options"]))
    return "\n".join(parts).rstrip() + "\n"


def modules() -> str:
    """The options of all modules, from their documentation."""
    parts = [
        "# Modules\n",
        _NOTE,
        "Options of their own; those for credentials, and what is returned, are shown by `ansible-doc`.\n",
    ]
    for path in sorted((ROOT / "plugins/modules").glob("*.py")):
        found = documentation(path)
        parts.append(f"## llmstack.serving.{found['module']}\n")
        parts.append(f"**{_plain(found['short_description'])}.** {_joined(found['description'])}\n")
        if options := found.get("options"):
            parts.append(_options(options))
        parts.append(f"```yaml\n{_first_example(path)}\n```\n")
    return "\n".join(parts).rstrip() + "\n"


def documentation(path: Path, name: str = "DOCUMENTATION") -> Any:
    """A documentation string of a module as data."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == name for target in node.targets):
            return yaml.safe_load(ast.literal_eval(node.value))
    raise ValueError(f"{path} has no {name}")


def _first_example(path: Path) -> str:
    text = next(
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "EXAMPLES" for target in node.targets)
    )
    return re.split(r"\n\n(?=- name:)", text.strip())[0].removeprefix("---\n").strip()


def _options(options: dict[str, Any]) -> str:
    rows = []
    for name, option in options.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind += f" of {option['elements']}"
        told = _joined(option["description"])
        if choices := option.get("choices"):
            told += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        if fields := option.get("options") or option.get("suboptions"):
            told += f" Fields: {', '.join(f'`{field}`' for field in fields)}."
        default = "required" if option.get("required") else _value(option.get("default"))
        rows.append([f"`{name}`", kind, default, told])
    return _table(["Name", "Type", "Default", "Meaning"], rows)


def _value(value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("\n...").strip()
    return f"`{text}`"


def _joined(description: Any) -> str:
    lines = [description] if isinstance(description, str) else description
    return " ".join(_plain(line) for line in lines)


def _plain(text: str) -> str:
    """Ansible's markup as Markdown."""
    text = re.sub(r"\b(?:O|V|C|E|M|P|RV|I)\((?:ignore:)?((?:[^()\\]|\\.)*)\)", r"`\1`", " ".join(str(text).split()))
    return re.sub(r"\bB\(([^()]*)\)", r"**\1**", text)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> None:
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()

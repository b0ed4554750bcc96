# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data for AWX names what exists, and its surveys ask for variables that the roles read."""

from __future__ import annotations

import re
from typing import Any

import jinja2
import pytest
import yaml

from tools import checkout

ROOT = checkout.ROOT
# awx: awx/api/views/__init__.py JobTemplateSurveySpec.ALLOWED_TYPES
SURVEY_TYPES = {"text", "textarea", "password", "integer", "float", "multiplechoice", "multiselect"}


class Loader(yaml.SafeLoader):
    """Knows Ansible's tags."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
DATA: dict[str, Any] = yaml.load((ROOT / "extensions/awx/awx.yml").read_text(), Loader)
TEMPLATES: list[dict[str, Any]] = DATA["controller_templates"]


def questions(template: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = template.get("survey_spec", {}).get("spec", [])
    return found


def options(playbook: str) -> dict[str, dict[str, Any]]:
    """The inputs of the roles that a playbook names."""
    [play] = yaml.safe_load((ROOT / playbook).read_text())
    found: dict[str, dict[str, Any]] = {}
    for task in play["tasks"]:
        role = task["ansible.builtin.import_role"]["name"].removeprefix("llmstack.serving.")
        points = yaml.load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(), Loader)["argument_specs"]
        found |= points[task["ansible.builtin.import_role"].get("tasks_from", "main")]["options"]
    return found


def test_there_is_a_template_for_every_verb() -> None:
    inside_site = {"install.yml", "deploy.yml"}
    playbooks = {path.name for path in (ROOT / "playbooks").glob("*.yml")} - inside_site
    assert {template["playbook"] for template in TEMPLATES} == {f"playbooks/{name}" for name in playbooks}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template["name"])
def test_a_template_can_be_checked_limited_and_tagged(template: dict[str, Any]) -> None:
    for name in ("limit", "tags", "job_type", "diff_mode"):
        assert template[f"ask_{name}_on_launch"] is True
    assert template["project"] == DATA["controller_projects"][0]["name"]
    assert template["inventory"] == DATA["controller_inventories"][0]["name"]
    assert bool(questions(template)) == template["survey_enabled"]


@pytest.mark.parametrize("template", [each for each in TEMPLATES if questions(each)], ids=lambda each: each["name"])
def test_a_survey_asks_for_inputs_of_the_role_in_a_form_that_it_takes(template: dict[str, Any]) -> None:
    known = options(template["playbook"])
    for question in questions(template):
        option = known[question["variable"]]
        assert question["type"] in SURVEY_TYPES
        assert question["question_name"]
        if question["type"] == "multiplechoice":
            assert question["default"] in question["choices"]
            if "choices" in option:
                assert question["choices"] == option["choices"]
        if not question["required"]:
            # AWX hands over an empty text, which the role must take for "leave it as it is".
            assert (question["default"], option["type"]) == ("", "str")


def test_the_inventory_source_is_a_file() -> None:
    for source in DATA["controller_inventory_sources"]:
        assert (ROOT / source["source_path"]).is_file()


def test_injected_variables_are_read_by_the_collection() -> None:
    texts = "\n".join(
        path.read_text()
        for folder in ("plugins", "roles")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in (".py", ".yml")
    )
    for credential in DATA["controller_credential_types"]:
        fields = {field["id"] for field in credential["inputs"]["fields"]}
        for name, value in credential["injectors"]["env"].items():
            option = name.removeprefix("K8S_AUTH_")
            assert name in texts or option.lower() in texts
            [used] = re.findall(r"{{ ([\w.]+)\b.* }}", value)
            assert used == "tower.filename" or used in fields


def test_a_field_that_is_left_empty_is_injected_as_nothing() -> None:
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for credential in DATA["controller_credential_types"]:
        required = dict.fromkeys(credential["inputs"]["required"], "given")
        for name, value in credential["injectors"]["env"].items():
            said = strict.from_string(value).render(**required, tower={"filename": "given"})
            assert said == ("" if name == "AWS_SESSION_TOKEN" else "given")

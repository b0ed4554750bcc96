# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nearest
author: llmstack contributors (@llmstack)
version_added: 0.1.0
short_description: The name that a misspelt one was probably meant to be
description:
  - Returns the candidate that resembles the input most, or an empty string if none does.
positional: _input, candidates
options:
  _input:
    description: A name.
    type: str
    required: true
  candidates:
    description: The right names.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Ask back
  ansible.builtin.debug:
    msg: "Did you mean {{ 'kserve_domian' | llmstack.serving.nearest(['kserve_domain', 'kserve_version']) }}?"
"""

RETURN = r"""
_value:
  description: The most similar candidate, or an empty string.
  type: str
"""

import difflib
from collections.abc import Callable, Iterable

from ansible.errors import AnsibleFilterError

# A swapped or missing letter in a name of ten keeps the ratio above it; another word in the name does not.
SIMILAR_ENOUGH = 0.85


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The candidate most similar to name, or "" if none is similar."""
    if not isinstance(name, str) or isinstance(candidates, str) or not isinstance(candidates, Iterable):
        raise AnsibleFilterError("nearest takes a name and a list of names")
    matches = difflib.get_close_matches(str(name), [str(candidate) for candidate in candidates], 1, SIMILAR_ENOUGH)
    return matches[0] if matches else ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"nearest": nearest}

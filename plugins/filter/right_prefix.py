# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: right_prefix
author: llmstack contributors (@llmstack)
version_added: 0.1.0
short_description: The variable that one with a misspelt prefix was probably meant to be
description:
  - Returns the known variable that differs from the input in a misspelt prefix alone, or an empty string if there is none.
  - A prefix with another word before it is no misspelt one, V(my_kserve_domain) is somebody's own variable.
positional: _input, prefixes, known
options:
  _input:
    description: A name.
    type: str
    required: true
  prefixes:
    description: The right prefixes, without the underscore that ends them.
    type: list
    elements: str
    required: true
  known:
    description: The right names.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Ask back
  ansible.builtin.debug:
    msg: "Did you mean {{ 'kserv_domain' | llmstack.serving.right_prefix(['istio', 'kserve'], ['kserve_domain']) }}?"
"""

RETURN = r"""
_value:
  description: The right name, or an empty string.
  type: str
"""

import difflib
from collections.abc import Callable, Iterable

from ansible.errors import AnsibleFilterError

# A missing or swapped letter in a prefix of four keeps the ratio above it.
SIMILAR_ENOUGH = 0.75


def right_prefix(name: str, prefixes: Iterable[str], known: Iterable[str]) -> str:
    """The known name that is `name` with the right prefix, or ""."""
    lists = (prefixes, known)
    if not isinstance(name, str) or any(isinstance(item, str) or not isinstance(item, Iterable) for item in lists):
        raise AnsibleFilterError("right_prefix takes a name, a list of prefixes and a list of names")
    right, names = [str(prefix) for prefix in prefixes], {str(item) for item in known}
    words = str(name).split("_")
    for count in range(1, len(words)):
        head, rest = "_".join(words[:count]), "_".join(words[count:])
        # Most names end like no known one, and comparing letters takes long.
        possible = [prefix for prefix in right if f"{prefix}_{rest}" in names]
        for prefix in difflib.get_close_matches(head, possible, 3, SIMILAR_ENOUGH):
            if prefix != head and not head.endswith(f"_{prefix}"):
                return f"{prefix}_{rest}"
    return ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"right_prefix": right_prefix}

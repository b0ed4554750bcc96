# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request that the proxy passed on was for."""

from __future__ import annotations

import random
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from s3.faulty_proxy import Asked, Choice

UNTOUCHED = (None, random.Random(0))


def path_of(asked: Asked) -> str:
    """The path under the prefix."""
    return unquote(urlsplit(asked.path).path).partition("/llama/")[2]


def is_list(asked: Asked) -> bool:
    return asked.method == "GET" and "list-type=2" in asked.path


def is_part(asked: Asked) -> bool:
    return asked.method == "PUT" and "partNumber=" in asked.path


def is_beginning(asked: Asked, path: str) -> bool:
    return asked.method == "POST" and path_of(asked) == path and urlsplit(asked.path).query.startswith("uploads")


def is_completion(asked: Asked) -> bool:
    return asked.method == "POST" and "uploadId=" in asked.path


def acting_before(moment: Callable[[Asked], bool], act: Callable[[], object]) -> Choice:
    """Pass everything on, but do something once before such a request reaches the server."""
    done: list[Asked] = []

    def choose(asked: Asked) -> tuple[str | None, random.Random]:
        if moment(asked) and not done:
            done.append(asked)
            act()
        return UNTOUCHED

    return choose

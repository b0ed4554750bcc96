# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What KServe is told of where a model is."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.llmstack.serving.plugins.filter.storage_uri import storage_uri


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3://models/llama", "s3://models/llama/"),
        ("s3://models/llama/", "s3://models/llama/"),
        # Versions are no suffixes of files.
        ("s3://models/meta/llama-3.1", "s3://models/meta/llama-3.1/"),
        ("s3://models/qwen2.5-0.5b", "s3://models/qwen2.5-0.5b/"),
        ("s3://models/llama/model.tar.gz", "s3://models/llama/model.tar.gz"),
        ("s3://models/llama/Q4.GGUF", "s3://models/llama/Q4.GGUF"),
        ("pvc://models/llama", "pvc://models/llama"),
        ("hf://meta-llama/Llama-3.1-8B", "hf://meta-llama/Llama-3.1-8B"),
    ],
)
def test_the_uri_of_a_folder_in_s3_ends_in_a_slash(given: str, expected: str) -> None:
    assert storage_uri(given) == expected


def test_what_is_no_uri_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="takes a URI"):
        storage_uri(None)  # type: ignore[arg-type]

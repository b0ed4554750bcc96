# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable whose prefix is misspelt belongs to no role, and is found all the same."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.llmstack.serving.plugins.filter.right_prefix import right_prefix

PREFIXES = ["kserve", "istio", "llmd", "llmstack", "model_storage", "monitoring"]
KNOWN = [
    "kserve_domain",
    "istio_namespace",
    "llmd_state",
    "llmstack_models",
    "model_storage_bucket",
    "monitoring_state",
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kserv_domain", "kserve_domain"),
        ("isito_namespace", "istio_namespace"),
        ("lmd_state", "llmd_state"),
        ("llmstak_models", "llmstack_models"),
        ("model_storge_bucket", "model_storage_bucket"),
        ("modelstorage_bucket", "model_storage_bucket"),
        # Right, or of somebody else.
        ("kserve_domain", ""),
        ("my_monitoring_state", ""),
        ("team_model_storage_bucket", ""),
        ("kserv_frobnicate", ""),
        ("state", ""),
        ("nfs_state", ""),
    ],
)
def test_only_a_known_name_behind_a_misspelt_prefix_is_found(name: str, expected: str) -> None:
    assert right_prefix(name, PREFIXES, KNOWN) == expected


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="a list of prefixes"):
        right_prefix("a_b", "kserve", KNOWN)

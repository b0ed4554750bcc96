# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.llmstack.serving.plugins.modules.cluster_info import served_versions


def test_the_preferred_version_comes_first() -> None:
    versions = [{"version": "v1alpha1"}, {"version": "v1beta1"}]
    assert served_versions({"versions": versions, "preferredVersion": {"version": "v1beta1"}}) == [
        "v1beta1",
        "v1alpha1",
    ]

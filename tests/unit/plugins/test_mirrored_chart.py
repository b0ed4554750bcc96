# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where charts are, if they come from a mirror."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.llmstack.serving.plugins.filter.mirrored_chart import mirrored_chart

OCI = "oci://quay.io/jetstack/charts/cert-manager"
FILE = "https://helm.ngc.nvidia.com/nvidia/charts/gpu-operator-v26.7.0.tgz"


@pytest.mark.parametrize(
    ("given", "mirror", "expected"),
    [
        (OCI, "mirror.example.com/team/", "oci://mirror.example.com/team/jetstack/charts/cert-manager"),
        (FILE, "10.0.0.1:5000", "oci://10.0.0.1:5000/nvidia/gpu-operator"),
        (OCI, "", OCI),
        (FILE, "", FILE),
        # What is no address of a chart is somebody's own business.
        ("/charts/own", "mirror.example.com", "/charts/own"),
    ],
)
def test_a_mirror_has_every_chart_as_an_oci_artifact(given: str, mirror: str, expected: str) -> None:
    assert mirrored_chart(given, mirror) == expected


def test_what_is_no_reference_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="takes the reference"):
        mirrored_chart(None, "")  # type: ignore[arg-type]

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mirrored_chart
author: llmstack contributors (@llmstack)
version_added: 0.1.0
short_description: Where a mirror has a chart
description:
  - Puts the mirror in place of the host of a chart's reference. Without a mirror the reference stays as it is.
  - A mirror is an OCI registry also for a chart that upstream has as a file - C(https://HOST/team/charts/NAME-VERSION.tgz) is
    there as C(team/NAME).
positional: _input, mirror
options:
  _input:
    description: The reference of a chart, C(oci://...) or the address of a file.
    type: str
    required: true
  mirror:
    description: Host, port and path of the mirror, or an empty string.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show where Helm looks
  ansible.builtin.debug:
    msg: "{{ 'oci://quay.io/jetstack/charts/cert-manager' | llmstack.serving.mirrored_chart('mirror.example.com/team') }}"
    # oci://mirror.example.com/team/jetstack/charts/cert-manager
"""

RETURN = r"""
_value:
  description: The reference.
  type: str
"""

import re
from collections.abc import Callable

from ansible.errors import AnsibleFilterError


def mirrored_chart(reference: str, mirror: str) -> str:
    """The reference of the chart in the mirror; the chart's own without one."""
    if not isinstance(reference, str) or not isinstance(mirror, str):
        raise AnsibleFilterError("mirrored_chart takes the reference of a chart and the host of a mirror")
    if not mirror:
        return reference
    artifact = re.sub(r"^https?://([^/]+)/(?:(.+)/)?charts/([a-z0-9-]+)-v?\d[^/]*[.]tgz$", r"oci://\1/\2/\3", reference)
    return re.sub(r"^oci://[^/]+", lambda _host: f"oci://{mirror.strip('/')}", artifact)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"mirrored_chart": mirrored_chart}

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPU a cloud's machine has, by the type of the machine: for nodes without GPU feature discovery. PRIVATE to the collection.

AWS: docs.aws.amazon.com/ec2/latest/instancetypes/ac.html. Azure: learn.microsoft.com/azure/virtual-machines/sizes/overview, GPU
accelerated. Google says it in a label of its own. Machines with parts of a GPU (g6f, NV6ads_A10_v5 ...) are left out: their
memory is not the GPU's.
"""

from __future__ import annotations

from collections.abc import Mapping

LABEL = "node.kubernetes.io/instance-type"
# By what is before the point.
_AWS_FAMILIES = {
    "p3": "V100-SXM2-16GB",
    "p3dn": "V100-SXM2-32GB",
    "p4d": "A100-SXM4-40GB",
    "p4de": "A100-SXM4-80GB",
    "p5": "H100-80GB-HBM3",
    "p5e": "H200",
    "p5en": "H200",
    "p6-b200": "B200",
    "p6-b300": "B300",
    "g4dn": "T4",
    "g5": "A10G",
    "g6": "L4",
    "gr6": "L4",
    "g6e": "L40S",
    "g7e": "RTX-PRO-6000-Blackwell-Server-Edition",
}
_AZURE_SIZES = {
    "V100-PCIE-16GB": ("NC6s_v3", "NC12s_v3", "NC24s_v3", "NC24rs_v3"),
    "V100-SXM2-32GB": ("ND40rs_v2",),
    "T4": ("NC4as_T4_v3", "NC8as_T4_v3", "NC16as_T4_v3", "NC64as_T4_v3"),
    "A10": ("NV36ads_A10_v5", "NV36adms_A10_v5", "NV72ads_A10_v5"),
    "A100-80GB-PCIe": ("NC24ads_A100_v4", "NC48ads_A100_v4", "NC96ads_A100_v4"),
    "A100-SXM4-40GB": ("ND96asr_v4",),
    "A100-SXM4-80GB": ("ND96amsr_A100_v4",),
    "H100-NVL": ("NC40ads_H100_v5", "NC80adis_H100_v5", "NCC40ads_H100_v5"),
    "H100-80GB-HBM3": ("ND96isr_H100_v5",),
    "H200": ("ND96isr_H200_v5",),
}
_AZURE = {f"standard_{size}".lower(): product for product, sizes in _AZURE_SIZES.items() for size in sizes}


def product(labels: Mapping[str, str]) -> str | None:
    """The name of the GPUs in a node with these labels, as in _gpu_types; None if its type says nothing of a GPU."""
    kind = labels.get(LABEL) or ""
    # Azure does not distinguish upper and lower case.
    return _AZURE.get(kind.lower()) or _AWS_FAMILIES.get(kind.partition(".")[0] if "." in kind else "")

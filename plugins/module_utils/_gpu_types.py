# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a GPU by its name: memory as CUDA reports it, and compute capability. PRIVATE to the collection.

CUDA's total is smaller than what nvidia-smi and the label nvidia.com/gpu.memory say (driver and ECC reserve), and much
smaller than the name: an H100 80GB has 79.18 GiB. An engine plans with CUDA's. Sources: vLLM start-up logs
("Free memory on device (x/TOTAL GiB)") in public issues; compute capability: developer.nvidia.com/cuda-gpus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3
# For GPUs that are not in the table: the largest difference between nvidia-smi's and CUDA's total in it, rounded up.
_DRIVER_RESERVE_MIB = 900
_SLICE_RESERVE_MIB = 256


@dataclass(frozen=True)
class Gpu:
    product: str
    memory_bytes: int
    compute_capability: tuple[int, int] | None

    @property
    def sliced(self) -> bool:
        """Whether this is a part of a GPU (MIG, strategy single)."""
        return "MIG-" in self.product.upper()


# Name as in the label nvidia.com/gpu.product, matched without prefix, suffix and punctuation; CUDA total in GiB.
_KNOWN: dict[str, tuple[float, tuple[int, int]]] = {
    "B300": (267.69, (10, 3)),
    "B200": (178.35, (10, 0)),
    "H200": (139.81, (9, 0)),
    "H200-NVL": (139.81, (9, 0)),
    "H100-80GB-HBM3": (79.18, (9, 0)),
    "H100-PCIe": (79.18, (9, 0)),
    "H100-NVL": (93.10, (9, 0)),
    "H20": (95.00, (9, 0)),
    "A100-SXM4-80GB": (79.15, (8, 0)),
    "A100-PCIE-80GB": (79.15, (8, 0)),
    "A100-80GB-PCIe": (79.15, (8, 0)),
    "A100-SXM4-40GB": (39.49, (8, 0)),
    "A100-PCIE-40GB": (39.49, (8, 0)),
    "A30": (23.50, (8, 0)),
    "A10G": (22.06, (8, 6)),
    "A10": (22.06, (8, 6)),
    "A40": (44.35, (8, 6)),
    "RTX-A6000": (47.37, (8, 6)),
    "L4": (22.05, (8, 9)),
    "L40": (44.40, (8, 9)),
    "L40S": (44.42, (8, 9)),
    "RTX-PRO-6000-Blackwell-Server-Edition": (94.97, (12, 0)),
    "GeForce-RTX-3090": (23.58, (8, 6)),
    "GeForce-RTX-4090": (23.52, (8, 9)),
    "GeForce-RTX-5090": (31.36, (12, 0)),
    "T4": (14.56, (7, 5)),
    "V100-SXM2-16GB": (15.77, (7, 0)),
    "V100-PCIE-16GB": (15.77, (7, 0)),
    "V100-SXM2-32GB": (31.73, (7, 0)),
}


def known(product: str) -> Gpu | None:
    """The GPU of this product label or name, or None. Slices of a GPU (MIG) are never known by name."""
    if "MIG-" in product.upper():
        return None
    entry = _BY_KEY.get(_key(product))
    return Gpu(product, int(entry[0] * GIB), entry[1]) if entry else None


def described(product: str, memory_mib: int | None, compute_capability: tuple[int, int] | None) -> Gpu | None:
    """A GPU by its labels: CUDA's memory where the product is known, else the label less what a driver reserves."""
    found = known(product)
    if found:
        return found
    if not memory_mib:
        return None
    found = Gpu(product, memory_mib * MIB, compute_capability)
    reserve = _SLICE_RESERVE_MIB if found.sliced else _DRIVER_RESERVE_MIB
    return Gpu(product, max(0, memory_mib - reserve) * MIB, compute_capability)


def products() -> list[str]:
    """The names of all GPUs in the table."""
    return list(_KNOWN)


def parse_compute_capability(text: str) -> tuple[int, int]:
    """ "9.0" -> (9, 0). Raises ValueError with a sentence."""
    match = re.fullmatch(r"(\d+)\.(\d)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no compute capability: write it like 8.9.")
    return int(match[1]), int(match[2])


def _key(product: str) -> str:
    name = re.sub(r"^(NVIDIA|Tesla)[- ]", "", product.strip(), flags=re.IGNORECASE)
    name = re.sub(r"^Tesla[- ]", "", name, flags=re.IGNORECASE)
    # Shared GPUs (time-slicing, MPS) carry a suffix.
    name = re.sub(r"-SHARED$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_KEY = {_key(name): entry for name, entry in _KNOWN.items()}

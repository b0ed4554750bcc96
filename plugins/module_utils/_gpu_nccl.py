# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the GPUs of a node talk to each other: the all-reduce of NVIDIA's nccl-tests. PRIVATE to the collection."""

from __future__ import annotations

import re

from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import (
    FAIL,
    PASS,
    WARN,
    Expectations,
    Finding,
)

CONTAINER = "nccl"
# size, count, type, redop, root, then of the out-of-place run: time (us), algbw, busbw (GB/s), #wrong.
_ROW = re.compile(
    r"^\s*\d+\s+\d+\s+\w+\s+\w+\s+-?\d+\s+[\d.]+\s+(?P<algorithm>[\d.]+)\s+(?P<bus>[\d.]+)\s+(?P<wrong>\S+)",
    re.MULTILINE,
)


def command(gpus: int) -> list[str]:
    """512 MiB is enough to reach the full bandwidth of NVLink."""
    # A slow link must not keep nvidia-smi from its report: the result is in the log.
    return ["sh", "-c", f"all_reduce_perf -b 512M -e 512M -g {gpus}; true"]


def judge(node: str, text: str, gpus: int, least: float, wanted: Expectations) -> Finding:
    """What all_reduce_perf measured. least is in GB/s."""
    rows = list(_ROW.finditer(text))
    if not rows:
        said = " ".join(text.split())[-200:] or "nothing"
        message = f"{node}: NCCL's all-reduce gave no result but said: {said}"
        return Finding("nccl", FAIL, message, "Check nccl_image, and that it suits the node's driver.", node=node)
    row = rows[-1]
    # Of a single GPU no data leaves: nccl-tests gives 0 as its bus bandwidth (doc/PERFORMANCE.md).
    bandwidth = float(row["bus"] if gpus > 1 else row["algorithm"])
    evidence = {"gpus": gpus, "bandwidth_gb_per_second": bandwidth, "needed_gb_per_second": least}
    if row["wrong"] not in ("0", "N/A"):
        text = "Drain the node and run `dcgmi diag -r 3` on it: memory or links corrupt data."
        message = f"{node}: NCCL's all-reduce of {gpus} GPUs has {row['wrong']} wrong results"
        return Finding("nccl", FAIL, message, text, evidence, node)
    if bandwidth < least:
        status = WARN if wanted.allow_degraded else FAIL
        text = "Look at `nvidia-smi topo -m` and `nvidia-smi nvlink -s` on the node, and at the fabric manager."
        message = f"{node}: NCCL's all-reduce of {gpus} GPUs reaches {bandwidth:g} GB/s, {least:g} asked for"
        return Finding("nccl", status, message, text, evidence, node)
    message = f"{node}: NCCL's all-reduce of {gpus} GPUs reaches {bandwidth:g} GB/s"
    return Finding("nccl", PASS, message, "", evidence, node)

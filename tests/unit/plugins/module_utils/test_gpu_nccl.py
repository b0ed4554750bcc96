# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nccl
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Expectations


def output(algorithm: float = 220.59, bus: float = 386.04, wrong: str = "0") -> str:
    """What all_reduce_perf of nccl-tests prints."""
    return f"""# nThread 1 nGpus 8 minBytes 536870912 maxBytes 536870912 step: 1048576(bytes) warmup iters: 5 iters: 20
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
   536870912     134217728     float     sum      -1   2433.8  {algorithm}  {bus}      {wrong}   2425.8  1.0  2.0      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 387.30
"""


RECORDED = Path(__file__).parent / "recorded"


@pytest.mark.parametrize(
    ("text", "gpus", "status", "sentence"),
    [
        (output(), 8, "pass", "of 8 GPUs reaches 386.04 GB/s"),
        (output(bus=31.5), 8, "fail", "of 8 GPUs reaches 31.5 GB/s, 100 asked for"),
        # A single GPU has no bus bandwidth.
        (output(bus=0.0), 1, "pass", "of 1 GPUs reaches 220.59 GB/s"),
        (output(wrong="17"), 8, "fail", "has 17 wrong results"),
        (output(wrong="N/A"), 8, "pass", "386.04"),
        ("sh: all_reduce_perf: not found", 8, "fail", "gave no result but said: sh: all_reduce_perf: not found"),
        ("", 8, "fail", "said: nothing"),
        # nccl-tests 2.19.6 with NCCL 2.28.9 on an H100.
        ((RECORDED / "all_reduce_perf-h100.txt").read_text(), 1, "pass", "of 1 GPUs reaches 1494.6 GB/s"),
        (
            (RECORDED / "all_reduce_perf-too-few-gpus.txt").read_text(),
            2,
            "fail",
            "Invalid number of GPUs: 2 requested but only 1 were found.",
        ),
    ],
)
def test_the_bandwidth_between_the_gpus_of_a_node(text: str, gpus: int, status: str, sentence: str) -> None:
    found = _gpu_nccl.judge("gpu-0", text, gpus, 100, Expectations())
    assert found.status == status
    assert sentence in found.message
    assert found.remediation or status == "pass"


def test_a_slow_link_can_be_allowed_but_wrong_results_cannot() -> None:
    lenient = Expectations(allow_degraded=True)
    assert _gpu_nccl.judge("gpu-0", output(bus=31.5), 8, 100, lenient).status == "warn"
    assert _gpu_nccl.judge("gpu-0", output(wrong="17"), 8, 100, lenient).status == "fail"

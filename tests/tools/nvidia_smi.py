# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reports that the sandbox's nvidia-smi prints (tests/sandbox/go/tools/nvidia-smi), without building it."""

from __future__ import annotations

import json
from typing import Any

from tools import checkout

FOLDER = checkout.ROOT / "tests" / "sandbox" / "go" / "tools" / "nvidia-smi"
FAULTS: dict[str, dict[str, Any]] = json.loads((FOLDER / "faults.json").read_text())


def report(fault: str = "healthy", gpus: int = 1) -> str:
    chosen = FAULTS[fault]
    if "text" in chosen:
        return chosen["text"] + "\n"
    parts = [
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">\n<nvidia_smi_log>\n',
        f"<driver_version>{chosen.get('driver', '580.173.02')}</driver_version><cuda_version>13.0</cuda_version>\n",
    ]
    for index in range(chosen.get("gpus", gpus)):
        gpu = (FOLDER / "gpu.xml").read_text()
        if index == 0:
            for old, new in chosen.get("gpu", {}).items():
                gpu = gpu.replace(old, new)
        gpu = gpu.replace("VOLATILE_ERRORS", "0").replace("GPU_BUS_ID", f"00000000:{index + 1:02X}:00.0")
        parts.append(gpu.replace("GPU_UUID", f"GPU-00000000-0000-0000-0000-{index:012}"))
    text = "".join(parts) + "</nvidia_smi_log>\n"
    return text[: len(text) // 2] if chosen.get("cut") else text

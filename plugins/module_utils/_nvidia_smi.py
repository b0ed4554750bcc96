# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `nvidia-smi -q -x` says about GPUs, as facts and as findings. PRIVATE to the collection.

Elements: NVIDIA's nvsmi_device_v12.dtd and v13.dtd. An element that is absent or "N/A" is not known, which is not the same
as good. XIDs are in no report, not even after one (seen: driver 580, XID 31): they are in the node's kernel log, and what
watches that tells the node's conditions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_checks
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import (
    FAIL,
    PASS,
    SKIP,
    WARN,
    Expectations,
    Finding,
)

# Reasons that mean trouble with cooling or power; the others (idle, a power cap, clocks set by an application) do not.
_HARMFUL_THROTTLING = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
_UNCORRECTABLE = ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable")
# nvml.h, NVML_GPU_FABRIC_STATE_* and NVML_GPU_FABRIC_HEALTH_SUMMARY_*.
_NO_FABRIC = ("Not Supported",)
_HURT_FABRIC = ("Unhealthy", "Limited Capacity")


class ReportError(ValueError):
    """The output is no report of nvidia-smi; the message is a sentence."""


@dataclass(frozen=True)
class Report:
    driver: str | None
    cuda: str | None
    gpus: list[dict[str, Any]] = field(default_factory=list)


def parse(text: str) -> Report:
    """Read a report. Raises ReportError with what nvidia-smi said instead."""
    begin = text.find("<?xml")
    begin = text.find("<nvidia_smi_log") if begin < 0 else begin
    if begin < 0:
        said = " ".join(text.split())[:300] or "nothing"
        raise ReportError(f"nvidia-smi gave no report but said: {said}")
    try:
        # The document type names a DTD on the machine; nothing of it is needed, and ElementTree fetches none.
        root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text[begin:]).strip())
    except ElementTree.ParseError as error:
        raise ReportError(f"The report of nvidia-smi is not whole: {error}.") from error
    return Report(_text(root, "driver_version"), _text(root, "cuda_version"), [_gpu(gpu) for gpu in root.iter("gpu")])


def _gpu(gpu: ElementTree.Element) -> dict[str, Any]:
    reasons = gpu.find("clocks_event_reasons")
    # Up to driver 530 it was called clocks_throttle_reasons.
    reasons = gpu.find("clocks_throttle_reasons") if reasons is None else reasons
    link = "pci/pci_gpu_link_info"
    return {
        "id": gpu.get("id"),
        "uuid": _text(gpu, "uuid"),
        "product": _text(gpu, "product_name"),
        "memory_mib": _number(gpu, "fb_memory_usage/total"),
        "memory_used_mib": _number(gpu, "fb_memory_usage/used"),
        "temperature_celsius": _number(gpu, "temperature/gpu_temp"),
        "mig": _text(gpu, "mig_mode/current_mig"),
        "persistence": _text(gpu, "persistence_mode"),
        "ecc": _text(gpu, "ecc_mode/current_ecc"),
        "uncorrectable_volatile": _sum(gpu, "ecc_errors/volatile"),
        "uncorrectable_aggregate": _sum(gpu, "ecc_errors/aggregate"),
        "sram_threshold_exceeded": _text(gpu, "ecc_errors/aggregate/sram_threshold_exceeded"),
        "repair_pending": [
            name
            for name in ("channel_repair_pending", "tpc_repair_pending", "unrepairable_memory")
            if _text(gpu, f"ecc_errors/{name}") == "Yes"
        ],
        "remapped_rows_uncorrectable": _number(gpu, "remapped_rows/remapped_row_unc"),
        "remapped_row_pending": _text(gpu, "remapped_rows/remapped_row_pending"),
        "remapped_row_failure": _text(gpu, "remapped_rows/remapped_row_failure"),
        "retired_pages": _number(gpu, "retired_pages/double_bit_retirement/retired_count"),
        "retirement_pending": _text(gpu, "retired_pages/pending_retirement")
        or _text(gpu, "retired_pages/pending_blacklist"),
        "recovery_action": _text(gpu, "gpu_recovery_action"),
        "reset_required": _text(gpu, "gpu_reset_status/reset_required"),
        "fabric_state": _text(gpu, "fabric/state"),
        "fabric_status": _text(gpu, "fabric/status"),
        "fabric_health": _text(gpu, "fabric/health/summary"),
        "throttling": sorted(_active(reasons)) if reasons is not None else None,
        "pcie_width": _number(gpu, f"{link}/link_widths/current_link_width"),
        "pcie_width_max": _number(gpu, f"{link}/link_widths/max_link_width"),
        "pcie_gen_max": _number(gpu, f"{link}/pcie_gen/max_link_gen"),
        "pcie_gen_max_device": _number(gpu, f"{link}/pcie_gen/max_device_link_gen"),
        "processes": [_text(process, "process_name") for process in gpu.iterfind("processes/process_info")],
    }


def _text(element: ElementTree.Element, path: str) -> str | None:
    found = element.findtext(path)
    found = found.strip() if found else None
    return None if found in (None, "", "N/A", "[N/A]") or "deprecated" in str(found) else found


def _number(element: ElementTree.Element, path: str) -> int | None:
    """The number in "81559 MiB", "16x", "45 C"."""
    match = re.match(r"-?\d+", _text(element, path) or "")
    return int(match[0]) if match else None


def _sum(gpu: ElementTree.Element, path: str) -> int | None:
    """All uncorrectable errors, None if none of the counters is known."""
    counts = [_number(gpu, f"{path}/{name}") for name in _UNCORRECTABLE]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _active(reasons: ElementTree.Element) -> list[str]:
    names = [
        re.sub(r"^clocks_(event|throttle)_reason_", "", reason.tag)
        for reason in reasons
        if (reason.text or "").strip() == "Active"
    ]
    return [name for name in names if name in _HARMFUL_THROTTLING]


def judge(node: str, report: Report, granted: int, wanted: Expectations) -> list[Finding]:
    """The findings of one node's smoke test, whose pod was granted this many GPUs."""
    found = [_count(report, granted), _driver(report, wanted), *_health(report.gpus, wanted)]
    return [
        Finding(item.id, item.status, f"{node}: {item.message}", item.remediation, item.evidence, node)
        for item in found
    ]


def _count(report: Report, granted: int) -> Finding:
    seen = len(report.gpus)
    if seen >= granted > 0:
        return Finding("smoke-run", PASS, f"nvidia-smi sees {seen} GPUs", evidence={"gpus": report.gpus})
    text = "Look for GPUs that have fallen off the bus: XID 79 in the node's kernel log. Reboot the node."
    return Finding("smoke-run", FAIL, f"nvidia-smi sees {seen} of {granted} GPUs", text, {"gpus": report.gpus})


def _driver(report: Report, wanted: Expectations) -> Finding:
    evidence = {"driver": report.driver, "cuda": report.cuda}
    if report.driver is None:
        return Finding("smoke-driver", SKIP, "the report does not name the driver", evidence=evidence)
    least = wanted.min_driver
    if least and _gpu_checks.version(report.driver) < _gpu_checks.version(least):
        text = "Upgrade the driver, or use an image with an older CUDA."
        return Finding("smoke-driver", FAIL, f"driver {report.driver} is older than {least}", text, evidence)
    return Finding("smoke-driver", PASS, f"driver {report.driver} for CUDA {report.cuda}", evidence=evidence)


def _health(gpus: Sequence[dict[str, Any]], wanted: Expectations) -> list[Finding]:
    hurt = WARN if wanted.allow_degraded else FAIL
    return [
        _ecc(gpus, hurt),
        _each(
            "smoke-memory-repair",
            gpus,
            _repairs,
            hurt,
            "no repair of memory is pending",
            "Drain the node and reset the GPU or reboot; replace it if a repair has failed.",
        ),
        _each(
            "smoke-recovery",
            gpus,
            _recovery,
            hurt,
            "no GPU asks for a reset",
            "Drain the node and do what the driver asks for.",
        ),
        _each(
            "smoke-throttling",
            gpus,
            lambda gpu: gpu["throttling"] or [],
            hurt,
            "nothing slows the GPUs down",
            "Check the node's cooling and power supply.",
            unknown=[gpu for gpu in gpus if gpu["throttling"] is None],
        ),
        _pcie(gpus, hurt),
        *_fabric(gpus, hurt),
        _persistence(gpus),
        _processes(gpus),
    ]


def _each(
    name: str,
    gpus: Sequence[dict[str, Any]],
    troubles: Any,
    bad: str,
    good: str,
    remediation: str,
    unknown: Sequence[dict[str, Any]] = (),
) -> Finding:
    """One finding for all GPUs: what `troubles` lists of each."""
    listed = {gpu["uuid"] or gpu["id"]: troubles(gpu) for gpu in gpus}
    listed = {gpu: texts for gpu, texts in listed.items() if texts}
    if listed:
        words = "; ".join(f"{gpu}: {', '.join(texts)}" for gpu, texts in listed.items())
        return Finding(name, bad, words, remediation, {"gpus": listed})
    if unknown or not gpus:
        return Finding(name, SKIP, "the report does not say")
    return Finding(name, PASS, good)


def _ecc(gpus: Sequence[dict[str, Any]], hurt: str) -> Finding:
    def troubles(gpu: dict[str, Any]) -> list[str]:
        found = []
        if gpu["uncorrectable_volatile"]:
            found.append(f"{gpu['uncorrectable_volatile']} uncorrectable memory errors since the driver was loaded")
        if gpu["sram_threshold_exceeded"] == "Yes":
            found.append("the threshold of SRAM errors is exceeded")
        return found

    finding = _each(
        "smoke-memory-errors",
        gpus,
        troubles,
        hurt,
        "no uncorrectable memory error since the driver was loaded",
        "Drain the node and reset the GPU; run `dcgmi diag -r 3`; replace the GPU if errors come back.",
    )
    off = [gpu["uuid"] or gpu["id"] for gpu in gpus if gpu["ecc"] == "Disabled"]
    if finding.status == PASS and off:
        text = "Switch ECC on (`nvidia-smi -e 1`, then a reset): without it nobody notices memory errors."
        return Finding("smoke-memory-errors", WARN, f"ECC is off on {', '.join(off)}", text, {"gpus": off})
    if finding.status == PASS and all(gpu["uncorrectable_volatile"] is None for gpu in gpus):
        return Finding("smoke-memory-errors", SKIP, "the GPU has no ECC counters")
    return finding


def _repairs(gpu: dict[str, Any]) -> list[str]:
    found = []
    if gpu["remapped_row_failure"] == "Yes":
        found.append("a row could not be remapped: the GPU has to be replaced")
    if gpu["remapped_row_pending"] == "Yes":
        found.append("a row will be remapped at the next reset")
    if gpu["retirement_pending"] == "Yes":
        found.append("a page will be retired at the next reset")
    return found + [name.replace("_", " ") for name in gpu["repair_pending"]]


def _recovery(gpu: dict[str, Any]) -> list[str]:
    found = [] if gpu["recovery_action"] in (None, "None") else [f"the driver asks for: {gpu['recovery_action']}"]
    return found + (["a reset is required"] if gpu["reset_required"] == "Yes" else [])


def _pcie(gpus: Sequence[dict[str, Any]], hurt: str) -> Finding:
    def narrow(gpu: dict[str, Any]) -> list[str]:
        width, most = gpu["pcie_width"], gpu["pcie_width_max"]
        return [f"PCIe x{width} of x{most}"] if width and most and width < most else []

    unknown = [gpu for gpu in gpus if gpu["pcie_width"] is None]
    finding = _each(
        "smoke-pcie", gpus, narrow, hurt, "full PCIe width", "Reseat the card or its riser; check the slot.", unknown
    )
    if finding.status != PASS:
        return finding
    # The current generation falls while a GPU idles; what the link can reach does not.
    slow = {
        gpu["uuid"] or gpu["id"]: [f"PCIe generation {gpu['pcie_gen_max']} of {gpu['pcie_gen_max_device']}"]
        for gpu in gpus
        if gpu["pcie_gen_max"] and gpu["pcie_gen_max_device"] and gpu["pcie_gen_max"] < gpu["pcie_gen_max_device"]
    }
    if slow:
        words = "; ".join(f"{gpu}: {texts[0]}" for gpu, texts in slow.items())
        return Finding("smoke-pcie", WARN, words, "The host's slot is slower than the card.", {"gpus": slow})
    return finding


def _fabric(gpus: Sequence[dict[str, Any]], hurt: str) -> list[Finding]:
    """Whether the GPUs behind NVSwitches have joined their fabric; nothing where there is none."""

    def troubles(gpu: dict[str, Any]) -> list[str]:
        state, status, health = gpu["fabric_state"], gpu["fabric_status"], gpu["fabric_health"]
        if state not in (None, *_NO_FABRIC, "Completed"):
            return [f"registration with the NVLink fabric is {state}"]
        # The status counts only after the registration (NVML, nvmlGpuFabricInfo_v3_t).
        found = [f"registration with the NVLink fabric ended with {status}"] if status not in (None, "Success") else []
        return found + ([f"the NVLink fabric is {health}"] if health in _HURT_FABRIC else [])

    if all(gpu["fabric_state"] in (None, *_NO_FABRIC) for gpu in gpus):
        return []
    text = "Start nvidia-fabricmanager in the driver's own version; without it CUDA does not start (error 802)."
    return [_each("smoke-fabric", gpus, troubles, hurt, "the GPUs have joined their NVLink fabric", text)]


def _persistence(gpus: Sequence[dict[str, Any]]) -> Finding:
    off = [gpu["uuid"] or gpu["id"] for gpu in gpus if gpu["persistence"] == "Disabled"]
    if off:
        text = "Run nvidia-persistenced on the node: without it every first use initialises the GPU anew."
        return Finding("smoke-persistence", WARN, f"persistence mode is off on {len(off)} GPUs", text, {"gpus": off})
    return Finding("smoke-persistence", PASS, "persistence mode is on")


def _processes(gpus: Sequence[dict[str, Any]]) -> Finding:
    # In a container only its own processes are listed; memory in use shows the others.
    busy = {gpu["uuid"] or gpu["id"]: gpu["memory_used_mib"] for gpu in gpus if _in_use(gpu)}
    if busy:
        text = "Something outside Kubernetes, or a pod that did not ask for a GPU, uses it: look with nvidia-smi on the node."
        words = ", ".join(f"{used} MiB of {gpu}" for gpu, used in busy.items())
        return Finding("smoke-processes", WARN, f"somebody uses {words}", text, {"gpus": busy})
    return Finding("smoke-processes", PASS, "nobody else uses the GPUs")


def _in_use(gpu: dict[str, Any]) -> bool:
    total, used = gpu["memory_mib"], gpu["memory_used_mib"]
    # The driver itself takes up to 1 % of a GPU.
    return bool(gpu["processes"]) or bool(total and used and used > 0.02 * total)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _nvidia_smi
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Expectations, Finding
from tools.nvidia_smi import FAULTS, report

RECORDED = Path(__file__).parent / "recorded"


def judge(text: str, granted: int = 1, wanted: Expectations | None = None) -> dict[str, Finding]:
    """What is not right with a report, by check."""
    found = _nvidia_smi.judge("gpu-0", _nvidia_smi.parse(text), granted, wanted or Expectations(min_driver="550.1"))
    return {finding.id: finding for finding in found if finding.status != "pass"}


def test_a_healthy_report_passes_everything() -> None:
    findings = _nvidia_smi.judge("gpu-0", _nvidia_smi.parse(report(gpus=8)), 8, Expectations(min_driver="550.1"))
    assert {finding.status for finding in findings} == {"pass"}
    assert [finding.id for finding in findings] == [
        "smoke-run",
        "smoke-driver",
        "smoke-memory-errors",
        "smoke-memory-repair",
        "smoke-recovery",
        "smoke-throttling",
        "smoke-pcie",
        "smoke-persistence",
        "smoke-processes",
    ]
    assert findings[1].message == "gpu-0: driver 580.173.02 for CUDA 13.0"


def test_a_report_as_facts() -> None:
    parsed = _nvidia_smi.parse(report(gpus=2))
    gpu = parsed.gpus[1]
    assert (parsed.driver, parsed.cuda, len(parsed.gpus)) == ("580.173.02", "13.0", 2)
    assert (gpu["product"], gpu["memory_mib"], gpu["temperature_celsius"]) == ("NVIDIA H100 80GB HBM3", 81559, 33)
    assert (gpu["pcie_width"], gpu["pcie_width_max"], gpu["pcie_gen_max"]) == (16, 16, 5)
    assert (gpu["ecc"], gpu["uncorrectable_volatile"], gpu["throttling"], gpu["fabric_state"]) == (
        "Enabled",
        0,
        [],
        None,
    )
    # "N/A" and deprecated elements are unknown, not good.
    assert (gpu["retired_pages"], gpu["reset_required"]) == (None, None)


@pytest.mark.parametrize(
    ("fault", "check", "status", "sentence"),
    [
        ("memory-errors", "smoke-memory-errors", "fail", "2 uncorrectable memory errors since the driver was loaded"),
        ("ecc-off", "smoke-memory-errors", "warn", "ECC is off on GPU-00000000"),
        ("row-remap-pending", "smoke-memory-repair", "fail", "a row will be remapped at the next reset"),
        ("row-remap-failure", "smoke-memory-repair", "fail", "a row could not be remapped: the GPU has to be replaced"),
        ("fabric", "smoke-fabric", "fail", "registration with the NVLink fabric is In Progress"),
        ("recovery", "smoke-recovery", "fail", "the driver asks for: Drain and Reset"),
        ("throttling", "smoke-throttling", "fail", "hw_slowdown, hw_thermal_slowdown"),
        ("pcie-width", "smoke-pcie", "fail", "PCIe x8 of x16"),
        ("pcie-generation", "smoke-pcie", "warn", "PCIe generation 4 of 5"),
        ("persistence-off", "smoke-persistence", "warn", "persistence mode is off on 1 GPUs"),
        ("memory-in-use", "smoke-processes", "warn", "somebody uses 40960 MiB of GPU-00000000"),
        ("old-driver", "smoke-driver", "fail", "driver 535.309.01 is older than 550.1"),
    ],
)
def test_each_fault_is_found_and_nothing_else(fault: str, check: str, status: str, sentence: str) -> None:
    found = judge(report(fault, gpus=8), granted=8)
    assert set(found) == {check}
    assert found[check].status == status
    assert sentence in found[check].message
    assert found[check].remediation
    assert found[check].node == "gpu-0"


def test_a_gpu_that_is_missing() -> None:
    found = judge(report(gpus=7), granted=8)
    assert found["smoke-run"].message == "gpu-0: nvidia-smi sees 7 of 8 GPUs"
    assert judge(report("lost-gpu"))["smoke-run"].status == "fail"


def test_every_recorded_fault_is_tested_here() -> None:
    tested = {"healthy", "lost-gpu", "no-devices", "driver-mismatch", "cut-off"}
    for mark in test_each_fault_is_found_and_nothing_else.pytestmark:  # type: ignore[attr-defined]
        tested |= {case[0] for case in mark.args[1]}
    assert tested == set(FAULTS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (report("no-devices"), "gave no report but said: No devices were found"),
        (
            report("driver-mismatch"),
            "said: Failed to initialize NVML: Driver/library version mismatch NVML library version",
        ),
        (report("cut-off"), "is not whole"),
        ("", "said: nothing"),
    ],
)
def test_what_is_no_report_says_so(text: str, sentence: str) -> None:
    with pytest.raises(_nvidia_smi.ReportError, match=sentence):
        _nvidia_smi.parse(text)


def test_degraded_gpus_can_be_allowed() -> None:
    wanted = Expectations(allow_degraded=True)
    for fault in ("memory-errors", "row-remap-pending", "recovery", "throttling", "pcie-width"):
        assert {finding.status for finding in judge(report(fault), wanted=wanted).values()} == {"warn"}, fault


def test_a_fabric_that_the_gpus_have_joined() -> None:
    joined = (
        report()
        .replace("<state>N/A", "<state>Completed")
        .replace("<status>N/A", "<status>Success")
        .replace("<summary>N/A", "<summary>Healthy")
    )
    found = _nvidia_smi.judge("gpu-0", _nvidia_smi.parse(joined), 1, Expectations())
    assert {finding.id: finding.status for finding in found}["smoke-fabric"] == "pass"
    failed = judge(joined.replace("<status>Success", "<status>Unknown Error"))["smoke-fabric"]
    assert failed.message.endswith("registration with the NVLink fabric ended with Unknown Error")
    narrow = judge(joined.replace("<summary>Healthy", "<summary>Limited Capacity"))["smoke-fabric"]
    assert narrow.message.endswith("the NVLink fabric is Limited Capacity")


def test_a_gpu_at_work_is_healthy_and_in_use() -> None:
    # Recorded on an H100 at its power limit, which is no trouble: driver 580.159.04, as the user of the pod.
    parsed = _nvidia_smi.parse((RECORDED / "nvidia-smi-h100-busy.xml").read_text())
    findings = {finding.id: finding for finding in _nvidia_smi.judge("gpu-0", parsed, 1, Expectations())}
    assert {name for name, finding in findings.items() if finding.status != "pass"} == {"smoke-processes"}
    assert findings["smoke-processes"].message.startswith("gpu-0: somebody uses 22739 MiB of GPU-")
    assert parsed.gpus[0]["processes"] == ["python3"]


def test_what_a_recorded_report_does_not_say() -> None:
    # Retired pages are of older GPUs, resets of older drivers, and this GPU has no NVSwitches.
    parsed = _nvidia_smi.parse((RECORDED / "nvidia-smi-h100-busy.xml").read_text())
    assert {name for name, value in parsed.gpus[0].items() if value is None} == {
        "retired_pages",
        "retirement_pending",
        "reset_required",
        "fabric_state",
        "fabric_status",
        "fabric_health",
    }


def test_older_names_of_elements() -> None:
    text = report("throttling").replace("clocks_event_reason", "clocks_throttle_reason")
    assert "hw_thermal_slowdown" in judge(text)["smoke-throttling"].message


def test_gpus_without_ecc_are_skipped_not_passed() -> None:
    text = (
        report()
        .replace("<dram_uncorrectable>0", "<dram_uncorrectable>N/A")
        .replace("<current_ecc>Enabled", "<current_ecc>N/A")
    )
    for name in ("sram_uncorrectable_parity", "sram_uncorrectable_secded"):
        text = text.replace(f"<{name}>0", f"<{name}>N/A")
    assert judge(text)["smoke-memory-errors"].status == "skip"


def test_lines_before_the_report_do_no_harm() -> None:
    assert judge("WARNING: infoROM is corrupted\n" + report()) == {}

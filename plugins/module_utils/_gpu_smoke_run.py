# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the smoke test's pods, read what they print, and leave nothing behind. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import time

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_nccl, _gpu_smoke, _nvidia_smi
from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import FAIL, Expectations, Finding
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_smoke import LABEL, Ending, Options, Plan
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_pods import sweep, termination_as_exception
from ansible_collections.llmstack.serving.plugins.module_utils._kube_wait import Selection, View, wait_until

# A report of eight GPUs has some 4,000 lines.
_LOG_LINES = 50_000
# Time for the scheduler, the pull of the image and the log beside that of the pod itself.
_GRACE_SECONDS = 15


def run(kube: Kube, plan: Plan, options: Options, wanted: Expectations) -> list[Finding]:
    """The findings of all nodes in the plan. Raises KubeError if the pods may not be made."""
    pods = {_gpu_smoke.pod_name(plan.run, node): node for node in plan.amounts}
    sweep(kube, plan.namespace, LABEL, 2 * _GRACE_SECONDS)
    if not pods:
        return list(plan.skipped)
    with termination_as_exception():
        try:
            for node, (resource, amount) in plan.amounts.items():
                _make(kube, plan, node, resource, amount, options)
            endings = _wait(kube, plan, pods, options.timeout_seconds + _GRACE_SECONDS)
            found = list(plan.skipped)
            for name, node in pods.items():
                found += _read(kube, plan, name, node, endings.get(name), options, wanted)
            return found
        finally:
            _remove(kube, plan, pods, options)


def _make(kube: Kube, plan: Plan, node: str, resource: str, amount: int, options: Options) -> None:
    manifest = _gpu_smoke.manifest(node, resource, amount, plan, options)
    name = manifest["metadata"]["name"]
    if not _gpu_smoke.claims(resource):
        kube.apply(_ref(plan, name), manifest, field_manager=FIELD_MANAGER)
        return
    # The template first, or the pod waits for it; then it is the pod's, so that it does not outlive it.
    template = _template_ref(plan, name, options)
    claim = _gpu_smoke.claim_template(node, amount, plan, options)
    kube.apply(template, claim, field_manager=FIELD_MANAGER)
    pod = kube.apply(_ref(plan, name), manifest, field_manager=FIELD_MANAGER)
    claim = _gpu_smoke.claim_template(node, amount, plan, options, pod)
    kube.apply(template, claim, field_manager=FIELD_MANAGER)


def _template_ref(plan: Plan, name: str, options: Options) -> Ref:
    return Ref(options.claims_version, "ResourceClaimTemplate", plan.namespace, name)


def _ref(plan: Plan, name: str) -> Ref:
    return Ref("v1", "Pod", plan.namespace, name)


def _wait(kube: Kube, plan: Plan, pods: dict[str, str], seconds: int) -> dict[str, Ending]:
    """The endings of the pods that have ended in time, by name."""
    selection = Selection("v1", "Pod", plan.namespace, labels=f"{LABEL}={plan.run}")
    endings: dict[str, Ending] = {}

    def judge(view: View) -> bool | None:
        for (_namespace, name), pod in view.get(selection, {}).items():
            if (ended := _gpu_smoke.ending(pod)) is not None:
                endings.setdefault(name, ended)
        return True if set(endings) >= set(pods) else None

    wait_until(kube, [selection], judge, time.monotonic() + seconds)
    return endings


def _read(
    kube: Kube, plan: Plan, name: str, node: str, ended: Ending | None, options: Options, wanted: Expectations
) -> list[Finding]:
    if ended is None:
        return [_gpu_smoke.overdue(node, options.timeout_seconds)]
    if not ended.finished:
        return [_gpu_smoke.not_run(node, ended)]
    found = []
    if options.dcgm_level:
        text = kube.log(plan.namespace, name, _gpu_smoke.DCGM_CONTAINER, lines=_LOG_LINES)
        found.append(_gpu_smoke.judge_dcgm(node, text, wanted))
    if options.nccl_image:
        text = kube.log(plan.namespace, name, _gpu_nccl.CONTAINER, lines=_LOG_LINES)
        gpus, least = plan.amounts[node][1], options.nccl_least_gb_per_second
        found.append(_gpu_nccl.judge(node, text, gpus, least, wanted))
    try:
        report = _nvidia_smi.parse(kube.log(plan.namespace, name, _gpu_smoke.CONTAINER, lines=_LOG_LINES))
    except _nvidia_smi.ReportError as error:
        text = "The driver does not answer: look at the node's kernel log and at the driver's pod."
        return [*found, Finding("smoke-run", FAIL, f"{node}: {error}", text, node=node)]
    return [*found, *_nvidia_smi.judge(node, report, plan.amounts[node][1], wanted)]


def _remove(kube: Kube, plan: Plan, pods: dict[str, str], options: Options) -> None:
    """Delete the pods of this run; what cannot be deleted ends by its own deadline."""
    for name, node in pods.items():
        with contextlib.suppress(errors.KubeError):
            kube.delete(_ref(plan, name))
        if _gpu_smoke.claims(plan.amounts[node][0]):
            with contextlib.suppress(errors.KubeError):
                kube.delete(_template_ref(plan, name, options))

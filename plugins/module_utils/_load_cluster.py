# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a load test in a Job of the cluster, so that neither the gateway nor the way to it is measured. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _load_job, _load_pod, _load_test
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._load_client import Target
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

_EVERY_SECONDS = 2.0
_FILES = ("dataset", "baseline", "endpoint_ca_cert")
_SECRETS = ("endpoint_api_key", "endpoint_headers")
# Options that the pod has no use for, among them the credentials of the cluster.
_SENT = (
    "api",
    "arrival",
    "burst_size",
    "concurrency",
    "connect_timeout_seconds",
    "duration_seconds",
    "endpoint_validate_certs",
    "extra_body",
    "find_max_rate",
    "goodput_limits",
    "history",
    "idle_timeout_seconds",
    "ignore_eos",
    "max_consecutive_failures",
    "max_in_flight",
    "max_seconds",
    "max_tokens",
    "metrics_interval_seconds",
    "metrics_urls",
    "model",
    "processes",
    "prompts",
    "ramp_up_seconds",
    "rate",
    "report_name",
    "request_timeout_seconds",
    "requests",
    "seed",
    "slos",
    "stream",
    "synthetic",
    "think_seconds",
    "tolerance_percent",
    "turns",
    "warmup_requests",
)


def run(kube: Kube, params: dict[str, Any], target: Target, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run the load test of `params` in the cluster. Returns the report's document; raises LoadError, KubeError."""
    if params["tokenizer"]:
        raise LoadError("tokenizer and in_cluster do not go together: the image has no tokenizers library.")
    manifests = objects(params, target)
    namespace, name = manifests[0]["metadata"]["namespace"], manifests[0]["metadata"]["name"]
    with _interruptible():
        try:
            job = _apply(kube, manifests[0])
            for manifest in manifests[1:]:
                _apply(kube, _load_job.owned(manifest, job))
            return _result(kube, namespace, name, params, progress)
        finally:
            # The rest is deleted with it.
            kube.delete(Ref("batch/v1", "Job", namespace, name))


def objects(params: dict[str, Any], target: Target) -> list[dict[str, Any]]:
    """The objects that are made for it."""
    options = params["in_cluster"]
    files = {}
    for parameter in _FILES:
        if params[parameter]:
            files[parameter] = _load_test.read(parameter, params[parameter])
    where = {"url": target.url, "connect_to": target.connect_to, "host_header": None}
    sent = {name: params[name] for name in _SENT} | dict.fromkeys((*_FILES, "tokenizer")) | where
    return _load_job.objects(
        f"load-test-{secrets.token_hex(4)}",
        options["namespace"] or params["namespace"],
        options,
        _sources(),
        _load_job.pack({"params": sent, "files": files}),
        _load_pod.__name__,
        {name: params[name] for name in _SECRETS},
        params["processes"],
        params["max_seconds"],
    )


def _sources() -> dict[str, str]:
    """The files of the client by name; from the zip in which Ansible sends a module, if need be. All were imported by now,
    because _load_pod imports what it needs."""
    prefix = __name__.rpartition(".")[0] + "._load_"
    # These need the rest of the collection.
    here = {__name__, f"{prefix}target"}
    return {
        f"{name.rpartition('.')[2]}.py": module.__loader__.get_data(module.__file__).decode()  # type: ignore[union-attr]
        for name, module in sorted(sys.modules.items())
        if name.startswith(prefix) and name not in here
    }


def _apply(kube: Kube, manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = manifest["metadata"]
    reference = Ref(manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"])
    return kube.apply(reference, manifest, field_manager=FIELD_MANAGER)


def _result(
    kube: Kube, namespace: str, name: str, params: dict[str, Any], progress: Callable[[str], None]
) -> dict[str, Any]:
    started = time.monotonic()
    ran = False
    shown = ""
    while True:
        pods, _version = kube.list("v1", "Pod", namespace, labels=f"batch.kubernetes.io/job-name={name}")
        pod = pods[-1] if pods else {}
        phase = (pod.get("status") or {}).get("phase", "Pending")
        ran = ran or phase != "Pending"
        if ran:
            # All lines: a report is a few hundred of them.
            log = kube.log(namespace, pod["metadata"]["name"], _load_job.CONTAINER, lines=10_000)
            if (error := _load_job.said(log, "error")) is not None:
                raise LoadError(error)
            if (document := _load_job.said(log, "result")) is not None:
                found: dict[str, Any] = document
                return found
            if (text := _load_job.progress(log)) and text != shown:
                shown = text
                progress(text)
            if phase in ("Succeeded", "Failed"):
                raise LoadError(f"The pod of the load test ended without a result: {_last(log)}")
        elif why := _load_job.hopeless(pod):
            raise LoadError(f"The pod of the load test cannot run: {why}. Correct in_cluster.")
        elif time.monotonic() - started > params["in_cluster"]["start_timeout_seconds"]:
            raise LoadError(f"The load test did not start in the cluster: {_load_job.pending(pod)}.")
        time.sleep(_EVERY_SECONDS)


def _last(log: str) -> str:
    return next((line for line in reversed(log.splitlines()) if line.strip()), "its log is empty")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM as an exception, so that the Job is deleted."""

    def note(_number: int, _frame: Any) -> None:
        raise LoadError("The load test was interrupted; its Job was deleted.")

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

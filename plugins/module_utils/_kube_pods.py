# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods that live for one task: what keeps them from outliving it. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import datetime
import signal
import threading
from collections.abc import Iterator
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref


def sweep(kube: Kube, namespace: str, label: str, grace_seconds: int) -> None:
    """Delete pods of runs that were killed: those that are past their own deadline by so much."""
    with contextlib.suppress(errors.Forbidden):
        left, _version = kube.list("v1", "Pod", namespace, labels=label)
        for pod in left:
            if _age_seconds(pod) > pod["spec"].get("activeDeadlineSeconds", 0) + grace_seconds:
                kube.delete(Ref("v1", "Pod", namespace, pod["metadata"]["name"]), uid=pod["metadata"]["uid"])


def _age_seconds(pod: dict[str, Any]) -> float:
    made = datetime.datetime.fromisoformat(pod["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    return (datetime.datetime.now(datetime.UTC) - made).total_seconds()


@contextlib.contextmanager
def termination_as_exception() -> Iterator[None]:
    """Inside, a SIGTERM (a task's timeout, an aborted job) unwinds the stack, so that the pods are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: Any) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

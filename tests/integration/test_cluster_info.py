# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llmstack.serving.cluster_info on a real API server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sandbox.binaries import KUBERNETES_VERSION
from tools.run_module import run_module


def test_it_reads_no_api_group_so_one_that_comes_or_goes_cannot_fail_it(
    sandbox: dict[str, Any], audit: Callable[[], list[dict[str, Any]]]
) -> None:
    """A `make site` that was killed between CRDs left groups that answered 404, and the next one failed on them."""
    begin = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    result = run_module("llmstack.serving.cluster_info", {"kubeconfig": sandbox["kubeconfig"]})
    assert result["failed"] is False
    assert result["version"]["gitVersion"] == KUBERNETES_VERSION
    assert result["api_groups"]["apps"] == ["v1"]
    asked = [
        event["requestURI"]
        for event in audit()
        # The last events of the test before this one may have been written late.
        if event.get("userAgent") == "llmstack.serving" and event["requestReceivedTimestamp"] >= begin
    ]
    assert sorted(asked) == ["/apis", "/version"]


def test_an_unreachable_cluster_is_a_sentence() -> None:
    result = run_module("llmstack.serving.cluster_info", {"host": "https://127.0.0.1:1", "api_key": "none"})
    assert result["failed"] is True
    assert "127.0.0.1:1" in result["msg"]
    assert "Traceback" not in result["msg"]

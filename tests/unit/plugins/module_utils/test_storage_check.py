# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod that tries to read a model, and what its end means."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _storage_check

URI = "s3://models/llama/.llmstack-manifest.json"


def test_kserve_takes_the_pod_for_a_predictors_and_no_service_does() -> None:
    pod = _storage_check.manifest("abc", "serving", "reader", URI, "initializer:1", 60)
    metadata, spec = pod["metadata"], pod["spec"]
    assert metadata["labels"]["serving.kserve.io/inferenceservice"] == metadata["name"] == "storage-check-abc"
    assert metadata["annotations"] == {"internal.serving.kserve.io/storage-initializer-sourceuri": URI}
    assert spec["serviceAccountName"] == "reader"
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("Never", 60)
    assert [container["name"] for container in spec["containers"]] == ["kserve-container"]


def test_the_initializer_is_recognized_or_missed() -> None:
    pod = _storage_check.manifest("abc", "serving", "reader", URI, "initializer:1", 60)
    assert _storage_check.initializer_image(pod) is None
    pod["spec"]["initContainers"] = [{"name": "storage-initializer", "image": "kserve/storage-initializer:v1"}]
    assert _storage_check.initializer_image(pod) == "kserve/storage-initializer:v1"


def initializer(state: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"status": {"initContainerStatuses": [{"name": "storage-initializer", "state": state}], **status}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"status": {"phase": "Pending"}}, None),
        (initializer({"running": {}}), None),
        (initializer({"terminated": {"exitCode": 0}}), (True, 0)),
        (initializer({"terminated": {"exitCode": 1}}), (False, 1)),
        (initializer({"waiting": {}}, phase="Failed"), (False, -1)),
    ],
)
def test_only_the_end_of_the_initializer_counts(pod: dict[str, Any], expected: tuple[bool, int] | None) -> None:
    assert _storage_check.ending(pod) == expected


# Lines as the initializer of KServe 0.20 writes them.
@pytest.mark.parametrize(
    ("log", "cause", "phrase"),
    [
        (
            "An error occurred (404) when calling the HeadBucket operation: Not Found",
            "storage_bucket",
            "no bucket models",
        ),
        ("RuntimeError: Failed to fetch model. No model found in llama/x.", "storage_key", f"nothing at {URI}"),
        ("S3 error for s3://x: Unable to locate credentials", "storage_credentials", "credentials"),
        (
            "An error occurred (403) when calling the HeadBucket operation: Forbidden",
            "storage_credentials",
            "credentials",
        ),
        ("SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "storage_tls", "certificate is not trusted"),
        ('Could not connect to the endpoint URL: "http://x"', "storage_unreachable", "cannot be reached"),
        ("something else", "storage", "does not say why"),
    ],
)
def test_a_failure_is_explained(log: str, cause: str, phrase: str) -> None:
    found = _storage_check.explain(URI, log)
    assert found.kind == cause
    assert phrase in str(found)


@pytest.mark.parametrize(
    ("pod", "phrase"),
    [
        (
            initializer({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
            "ImagePullBackOff not found",
        ),
        (initializer({"running": {}}), "still runs"),
        (
            {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}},
            "no node takes the pod: 0/3 nodes",
        ),
        ({"status": {"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long"}}, "DeadlineExceeded"),
    ],
)
def test_what_a_pod_waits_for_is_said(pod: dict[str, Any], phrase: str) -> None:
    assert phrase in _storage_check.waits_for(pod)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""helm_release_info: a release is as it should be if its newest record says so, and in no other case."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.modules import helm_release_info

Run = Callable[..., dict[str, Any]]
VALUES = {"replicas": 1, "nested": {"list": ["a", 2]}, "on": True}


def record(api: Any, revision: int, status: str = "deployed", version: str = "1.30.3", **config: Any) -> None:
    """What Helm keeps of a revision (helm: pkg/storage/driver/secrets.go)."""
    release = {
        "name": "istiod",
        "info": {"status": status},
        "chart": {"metadata": {"name": "istiod", "version": version}},
        "config": config or None,
        "version": revision,
    }
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    name = f"sh.helm.release.v1.istiod.v{revision}"
    labels = {"owner": "helm", "name": "istiod", "status": status, "version": str(revision)}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {"name": name, "namespace": "istio-system", "labels": labels},
        "data": {"release": base64.b64encode(packed).decode()},
    }
    api.put(f"/api/v1/namespaces/istio-system/secrets/{name}", secret)


@pytest.fixture
def run(api: Any, run_module: Any) -> Run:
    def call(**params: Any) -> dict[str, Any]:
        wanted = {"name": "istiod", "namespace": "istio-system", "chart": "istiod", "chart_version": "1.30.3"}
        result: dict[str, Any] = run_module(helm_release_info, check=False, **wanted | params)
        assert api.writes == []
        assert not result.get("changed")
        return result

    return call


def test_a_release_that_is_not_there_is_not_up_to_date(run: Run) -> None:
    answer = run()
    assert (answer["up_to_date"], answer["status"], answer["revision"]) == (False, "", 0)
    assert "chart" not in answer


def test_the_newest_revision_counts_also_past_nine(run: Run, api: Any) -> None:
    record(api, 9, "superseded", version="1.29.0")
    record(api, 10, **VALUES)
    answer = run(values=VALUES)
    assert answer["up_to_date"]
    assert (answer["status"], answer["revision"]) == ("deployed", 10)
    assert (answer["chart"], answer["chart_version"]) == ("istiod", "1.30.3")
    assert len(api.requests) == 2


def test_without_values_there_are_none_on_both_sides(run: Run, api: Any) -> None:
    record(api, 1)
    assert run()["up_to_date"]
    assert not run(values=VALUES)["up_to_date"]


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-rollback", "failed", "uninstalling"])
def test_what_is_not_deployed_is_not_up_to_date(run: Run, api: Any, status: str) -> None:
    record(api, 1, **VALUES)
    record(api, 2, status, **VALUES)
    answer = run(values=VALUES)
    assert (answer["up_to_date"], answer["status"]) == (False, status)


@pytest.mark.parametrize(
    "wanted",
    [
        {"chart": "base"},
        {"chart_version": "1.30.4"},
        {"values": {}},
        {"values": {**VALUES, "replicas": 2}},
        {"values": {**VALUES, "replicas": True}},
        {"values": {**VALUES, "more": None}},
    ],
)
def test_another_chart_version_or_value_is_seen(run: Run, api: Any, wanted: dict[str, Any]) -> None:
    record(api, 1, **VALUES)
    assert not run(**{"values": VALUES, **wanted})["up_to_date"]


def test_a_release_of_another_name_is_none(run: Run, api: Any) -> None:
    record(api, 1)
    assert run(name="istio-base")["revision"] == 0


NO_CHART = base64.b64encode(base64.b64encode(gzip.compress(b'{"info": {"status": "deployed"}}'))).decode()


# With ids, because gzip writes the time into what it packs, and all processes of xdist have to find the same tests.
@pytest.mark.parametrize(
    "release",
    [
        pytest.param("", id="nothing"),
        pytest.param("bm8gZ3ppcA==", id="no gzip"),
        pytest.param("!", id="no base64"),
        pytest.param(NO_CHART, id="no chart"),
    ],
)
def test_a_broken_record_is_a_sentence(run: Run, api: Any, release: str) -> None:
    record(api, 1)
    path = "/api/v1/namespaces/istio-system/secrets/sh.helm.release.v1.istiod.v1"
    api.put(path, {**api.objects[path], "data": {"release": release}})
    answer = run()
    assert answer["failed"]
    assert answer["msg"] == "Secret sh.helm.release.v1.istiod.v1 is no record of a Helm release."


def test_a_missing_right_is_named(run: Run, api: Any) -> None:
    path = "/api/v1/namespaces/istio-system/secrets"
    refusal = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": 'User "eve" cannot list secrets'}
    api.planned["GET", path] = [(403, refusal)]
    answer = run()
    assert answer["failed"]
    assert "cannot list secrets" in answer["msg"]

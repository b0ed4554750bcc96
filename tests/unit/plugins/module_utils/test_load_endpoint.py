# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_endpoint import (
    gateway_address,
    service_behind,
    url,
)
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

READY = {"type": "Ready", "status": "True"}
GATEWAY: dict[str, Any] = {
    "metadata": {"namespace": "kserve", "name": "g"},
    "spec": {"listeners": [{"protocol": "HTTP", "port": 80}, {"protocol": "HTTPS", "port": 8443}]},
    "status": {"addresses": [{"value": "203.0.113.7"}]},
}


def service(**status: Any) -> dict[str, Any]:
    return {"kind": "InferenceService", "metadata": {"namespace": "m", "name": "q"}, "status": status}


def test_a_ready_service_publishes_its_url() -> None:
    assert url(service(conditions=[READY], url="http://q-m.example.com")) == "http://q-m.example.com"
    assert url(service(conditions=[READY], addresses=[{"url": "http://10.0.0.1/m/q"}])) == "http://10.0.0.1/m/q"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "InferenceService m/q is not ready: it has no Ready condition yet"),
        (
            {"conditions": [{"type": "Ready", "status": "False", "reason": "Stopped", "message": "no pods"}]},
            "is not ready: Stopped no pods",
        ),
        ({"conditions": [READY]}, "publishes no URL"),
    ],
)
def test_a_service_that_takes_no_load_is_one_sentence(status: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError) as error:
        url(service(**status))
    assert said in str(error.value)


def test_a_gateway_has_a_port_for_each_scheme() -> None:
    assert gateway_address(GATEWAY, "http") == ("203.0.113.7", 80)
    assert gateway_address(GATEWAY, "https") == ("203.0.113.7", 8443)


def test_a_gateway_that_cannot_be_reached_is_one_sentence() -> None:
    with pytest.raises(LoadError, match="Gateway kserve/g has no address"):
        gateway_address({**GATEWAY, "status": {}}, "http")
    plain = {**GATEWAY, "spec": {"listeners": [{"protocol": "HTTP", "port": 80}]}}
    with pytest.raises(LoadError, match="no listener for https"):
        gateway_address(plain, "https")


def test_names_of_the_cluster_lead_to_their_service() -> None:
    assert service_behind("gw-istio.kserve.svc.cluster.local") == ("kserve", "gw-istio")
    assert service_behind("gw.kserve.svc") == ("kserve", "gw")
    assert service_behind("203.0.113.7") is None
    assert service_behind("llm.example.com") is None

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import connection
from ansible_collections.llmstack.serving.plugins.module_utils._kube_gateway import Gateways

SERVICE: dict[str, Any] = {"metadata": {"name": "llama", "namespace": "models"}, "status": {"url": "http://llama"}}


def put(api: Any, group: str, plural: str, namespace: str, name: str, **parts: Any) -> None:
    kind = {"gateways": "Gateway", "httproutes": "HTTPRoute", "ingresses": "Ingress"}[plural]
    manifest = {"kind": kind, "metadata": {"name": name, "namespace": namespace}, **parts}
    api.put(f"/apis/{group}/v1/namespaces/{namespace}/{plural}/{name}", manifest)


def gateway(api: Any, name: str, *addresses: str) -> None:
    status = {"addresses": [{"value": address} for address in addresses]}
    put(api, "gateway.networking.k8s.io", "gateways", "kserve", name, status=status)


@pytest.fixture
def gateways(api: Any) -> Gateways:
    return Gateways(Kube(connection({"host": api.url, "api_key": "t"})), "models")


def test_the_one_gateway_costs_one_request(api: Any, gateways: Gateways) -> None:
    gateway(api, "one", "192.0.2.1", "192.0.2.2")
    gateway(api, "without-address")
    assert gateways.address(SERVICE) == "192.0.2.1"
    assert gateways.address(SERVICE) == "192.0.2.1"
    assert [path for _method, path, _query in api.requests] == ["/apis/gateway.networking.k8s.io/v1/gateways"]


def test_of_several_gateways_it_is_the_one_of_the_service_s_route(api: Any, gateways: Gateways) -> None:
    gateway(api, "one", "192.0.2.1")
    gateway(api, "two", "two.example.com")
    assert gateways.address(SERVICE) is None
    spec = {"parentRefs": [{"name": "two", "namespace": "kserve"}]}
    put(api, "gateway.networking.k8s.io", "httproutes", "models", "llama", spec=spec)
    assert Gateways(gateways._kube, "models").address(SERVICE) == "two.example.com"


def test_without_gateways_it_is_the_one_of_the_ingress(api: Any, gateways: Gateways) -> None:
    api.planned[("GET", "/apis/gateway.networking.k8s.io/v1/gateways")] = [(404, "404 page not found")]
    status = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}
    put(api, "networking.k8s.io", "ingresses", "models", "llama", status=status)
    assert gateways.address(SERVICE) == "lb.example.com"


def test_nothing_is_asked_for_a_service_without_a_url(api: Any, gateways: Gateways) -> None:
    assert gateways.address({**SERVICE, "status": {}}) is None
    assert api.requests == []


def test_who_may_not_read_gateways_gets_no_address(api: Any, gateways: Gateways) -> None:
    for path in ("gateway.networking.k8s.io/v1/gateways", "networking.k8s.io/v1/namespaces/models/ingresses"):
        api.planned[("GET", f"/apis/{path}")] = [(403, {"message": "forbidden"})]
    assert gateways.address(SERVICE) is None

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which address requests reach InferenceServices from outside. PRIVATE to the collection."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube

_GATEWAY_API = "gateway.networking.k8s.io/v1"
_Names = tuple[str, str]


class Gateways:
    """The gateways of a cluster; each collection is asked for once, and only if it is needed.

    Where there is one Gateway with an address, that is it. Where there are several, the HTTPRoute that KServe makes for a service
    names its own; where there is none, the Ingress that KServe makes has the address
    (pkg/controller/v1beta1/inferenceservice/reconcilers/ingress). `namespace` is that of the services, None for all.
    """

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self._namespace = namespace

    def address(self, service: dict[str, Any]) -> str | None:
        """An IP address or a name (of the cloud, or of a Service of the cluster); None if it is not known."""
        if not (service.get("status") or {}).get("url"):
            return None
        known = self._addresses
        if len(set(known.values())) == 1:
            return next(iter(known.values()))
        own = (service["metadata"]["namespace"], service["metadata"]["name"])
        return known.get(self._parents.get(own, own)) if known else self._ingresses.get(own)

    @cached_property
    def _addresses(self) -> dict[_Names, str]:
        found: dict[_Names, str] = {}
        for names, gateway in self._all(_GATEWAY_API, "Gateway", None).items():
            for entry in (gateway.get("status") or {}).get("addresses") or []:
                found.setdefault(names, str(entry["value"]))
        return found

    @cached_property
    def _parents(self) -> dict[_Names, _Names]:
        routes = self._all(_GATEWAY_API, "HTTPRoute", self._namespace)
        return {
            names: (parent.get("namespace") or names[0], parent["name"])
            for names, route in routes.items()
            for parent in ((route.get("spec") or {}).get("parentRefs") or [])[:1]
        }

    @cached_property
    def _ingresses(self) -> dict[_Names, str]:
        found: dict[_Names, str] = {}
        for names, ingress in self._all("networking.k8s.io/v1", "Ingress", self._namespace).items():
            for entry in ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
                found.setdefault(names, str(entry.get("ip") or entry.get("hostname")))
        return found

    def _all(self, api_version: str, kind: str, namespace: str | None) -> dict[_Names, dict[str, Any]]:
        try:
            items = self._kube.list(api_version, kind, namespace)[0]
        except errors.KubeError:
            # Not served, not allowed, not there: the address is an extra, and the service serves all the same.
            return {}
        return {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in items}

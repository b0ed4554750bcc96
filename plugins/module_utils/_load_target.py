# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a load test sends its requests: from its parameters and the cluster. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.llmstack.serving.plugins.module_utils import _load_client, _load_endpoint
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

KINDS = {
    "inference_service": ("serving.kserve.io/v1beta1", "InferenceService"),
    "llm_inference_service": ("serving.kserve.io/v1alpha2", "LLMInferenceService"),
}


def target(params: dict[str, Any], kube: Callable[[], Kube]) -> _load_client.Target:
    """Where requests go: `url`, or what the named object publishes. Raises LoadError, KubeError."""
    url, connect_to, host_header = params["url"], params["connect_to"], params["host_header"]
    if not url:
        key = next(name for name in KINDS if params[name])
        cluster = kube()
        reference = Ref(*KINDS[key], params["namespace"], params[key])
        service = cluster.get(reference)
        if service is None:
            raise LoadError(f"{reference} does not exist. Correct {key} or namespace.")
        inside = params["in_cluster"] is not None
        url = (_load_endpoint.internal_url(service) if inside else _load_endpoint.url(service)) + params["path_prefix"]
        gateway = params["gateway"]
        if gateway and not connect_to and not inside:
            if "://" in gateway:
                # The Gateway as this machine reaches it; the service is chosen by its host name.
                parts = urlsplit(url)
                host_header = host_header or parts.netloc
                url = gateway.rstrip("/") + parts.path
            else:
                connect_to = _gateway(cluster, gateway, url.partition(":")[0])
    return _load_client.target(
        url,
        connect_to,
        host_header,
        params["endpoint_api_key"],
        params["endpoint_headers"],
        params["endpoint_ca_cert"],
        params["endpoint_validate_certs"],
    )


def _gateway(cluster: Kube, name: str, scheme: str) -> str:
    namespace, slash, gateway_name = name.partition("/")
    if not (namespace and slash and gateway_name):
        raise LoadError(f"gateway must be NAMESPACE/NAME, not {name}.")
    reference = Ref("gateway.networking.k8s.io/v1", "Gateway", namespace, gateway_name)
    gateway = cluster.get(reference)
    if gateway is None:
        raise LoadError(f"{reference} does not exist. Correct gateway.")
    address, port = _load_endpoint.gateway_address(gateway, scheme)
    if behind := _load_endpoint.service_behind(address):
        service = cluster.get(Ref("v1", "Service", *behind))
        address = ((service or {}).get("spec") or {}).get("clusterIP") or address
    return f"{address}:{port}"

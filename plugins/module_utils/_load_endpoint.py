# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a served model answers, from its object and its Gateway as the API server has them. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

_IN_CLUSTER = re.compile(r"^(?P<name>[\w-]+)\.(?P<namespace>[\w-]+)\.svc(?:\.|$)")


def url(service: dict[str, Any]) -> str:
    """The URL that an InferenceService or LLMInferenceService publishes. Raises LoadError if it is not ready for load."""
    metadata, status = service["metadata"], service.get("status") or {}
    name = f"{service['kind']} {metadata['namespace']}/{metadata['name']}"
    ready: dict[str, Any] = next(
        (entry for entry in status.get("conditions") or [] if entry.get("type") == "Ready"), {}
    )
    if ready.get("status") != "True":
        why = " ".join(filter(None, (ready.get("reason"), ready.get("message")))) or "it has no Ready condition yet"
        raise LoadError(f"{name} is not ready: {why}. Wait for it, then test.")
    published = status.get("url") or next((entry.get("url") for entry in status.get("addresses") or []), None)
    if not published:
        raise LoadError(f"{name} publishes no URL (status.url); give url instead.")
    return str(published)


def internal_url(service: dict[str, Any]) -> str:
    """The URL for clients inside the cluster, past any gateway if there is one. Raises LoadError as `url` does."""
    published = url(service)
    return str(((service.get("status") or {}).get("address") or {}).get("url") or published)


def gateway_address(gateway: dict[str, Any], scheme: str) -> tuple[str, int]:
    """Address and port of a Gateway for http or https. Raises LoadError."""
    name = f"Gateway {gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
    addresses = (gateway.get("status") or {}).get("addresses") or []
    if not addresses:
        raise LoadError(f"{name} has no address (status.addresses); give connect_to instead.")
    wanted = {"http": ("HTTP",), "https": ("HTTPS", "TLS")}[scheme]
    ports = [listener["port"] for listener in gateway["spec"]["listeners"] if listener["protocol"] in wanted]
    if not ports:
        raise LoadError(
            f"{name} has no listener for {scheme}, but the model's URL is an {scheme} one; give connect_to instead."
        )
    return str(addresses[0]["value"]), int(ports[0])


def service_behind(address: str) -> tuple[str, str] | None:
    """Namespace and name of the Service, if the address is a name that only the cluster can resolve."""
    match = _IN_CLUSTER.match(address)
    return (match["namespace"], match["name"]) if match else None

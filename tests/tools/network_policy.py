# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NetworkPolicies allow, by their specification (https://kubernetes.io/docs/concepts/services-networking/network-policies/).

The sandbox's network plugin enforces none: this reads them as one that does would.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """A pod, or with `address` something outside the cluster."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector; an empty one selects everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for term in selector.get("matchExpressions", []):
        there, values = term["key"] in labels, term.get("values", [])
        answers = {
            "Exists": there,
            "DoesNotExist": not there,
            "In": there and labels[term["key"]] in values,
            "NotIn": not there or labels[term["key"]] not in values,
        }
        if not answers[term["operator"]]:
            return False
    return True


def _is_peer(given: dict[str, Any], peer: Peer, own_namespace: str) -> bool:
    if "ipBlock" in given:
        # For what is outside the cluster: whether an address of a pod counts is up to the plugin.
        return bool(peer.address) and ipaddress.ip_address(peer.address) in ipaddress.ip_network(
            given["ipBlock"]["cidr"]
        )
    if peer.address:
        return False
    if "namespaceSelector" in given:
        # Every namespace has this label, set by the API server.
        if not selects(given["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != own_namespace:
        return False
    return selects(given.get("podSelector", {}), peer.labels)


def _is_port(given: list[dict[str, Any]], port: int, protocol: str) -> bool:
    return not given or any(one["port"] == port and one.get("protocol", "TCP") == protocol for one in given)


def _allows(policies: list[dict[str, Any]], direction: str, pod: Peer, peer: Peer, port: int, protocol: str) -> bool:
    """Whether the policies of one end allow the connection: all do if none selects the pod for this direction."""
    rules, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    own = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    return not own or any(
        _is_port(rule.get("ports", []), port, protocol)
        and (peers not in rule or any(_is_peer(given, peer, pod.namespace) for given in rule[peers]))
        for spec in own
        for rule in spec.get(rules, [])
    )


def allowed(policies: list[dict[str, Any]], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is allowed at both of its ends."""
    out = bool(source.address) or _allows(policies, "Egress", source, target, port, protocol)
    return out and (bool(target.address) or _allows(policies, "Ingress", target, source, port, protocol))

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a registry would give out an image: one HEAD of its manifest. PRIVATE to the collection.

As the OCI distribution specification and, for tokens, distribution/docs/spec/auth/token say. Nothing is pulled.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ansible.module_utils.urls import open_url

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_HUB = "docker.io"
# Docker Hub answers at another name than images carry, and clients file its credentials under a third.
_HUB_HOST, _HUB_KEY = "registry-1.docker.io", "https://index.docker.io/v1/"


def split(image: str) -> tuple[str, str, str]:
    """Host, repository and tag or digest, as container engines read a reference."""
    name, _at, digest = image.partition("@")
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = _HUB, name if slash else f"library/{name}"
    repository, colon, tag = rest.rpartition(":")
    if not colon:
        repository, tag = rest, "latest"
    return host, repository, digest or tag


def ask(
    image: str,
    *,
    mirror: str = "",
    plain_http: bool = False,
    auths: Mapping[str, Any] | None = None,
    timeout: float = 5,
) -> dict[str, Any]:
    """What the registry of an image, or the mirror of all registries, says of it: registry, and status or error.

    auths: credentials by registry, as in the Secrets of kubernetes.io/dockerconfigjson. timeout in seconds, per request.
    """
    host, repository, reference = split(image)
    key = host
    if mirror:
        host, _slash, folder = mirror.partition("/")
        repository, key = "/".join(filter(None, [folder, repository])), host
    login = _login(auths or {}, key)
    url = f"{'http' if plain_http else 'https'}://{_HUB_HOST if host == _HUB else host}/v2/{repository}/manifests/{reference}"
    try:
        status, challenge = _head(url, "", timeout)
        if status == 401 and challenge:
            status, _challenge = _head(url, _authorization(challenge, login, timeout), timeout)
        return {"registry": host, "status": status}
    except (OSError, ValueError) as error:
        return {"registry": host, "error": str(getattr(error, "reason", error))}


def _head(url: str, authorization: str, timeout: float) -> tuple[int, str]:
    """The status, and what the registry wants to know before."""
    headers = {"Accept": _MANIFESTS, **({"Authorization": authorization} if authorization else {})}
    try:
        answer = open_url(url, method="HEAD", headers=headers, timeout=timeout)
        return int(answer.code), ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("WWW-Authenticate") or ""


def _authorization(challenge: str, login: str, timeout: float) -> str:
    """The header that answers a challenge; login is user:password in base 64, or empty for anonymous."""
    if challenge.lower().startswith("basic"):
        return f"Basic {login}" if login else ""
    told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urlencode({name: told[name] for name in ("service", "scope") if name in told})
    headers = {"Authorization": f"Basic {login}"} if login else {}
    try:
        answer = open_url(f"{told.get('realm', '')}?{query}", headers=headers, timeout=timeout)
    except urllib.error.HTTPError:
        return ""
    found = json.loads(answer.read())
    return f"Bearer {found.get('token') or found.get('access_token')}"


def _login(auths: Mapping[str, Any], host: str) -> str:
    for key in (host, f"https://{host}", _HUB_KEY if host == _HUB else host):
        entry = auths.get(key)
        if entry:
            plain = f"{entry.get('username', '')}:{entry.get('password', '')}"
            return str(entry.get("auth") or base64.b64encode(plain.encode()).decode())
    return ""

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a load test, in the words that its report uses. Pure. PRIVATE to the collection."""

from __future__ import annotations


class LoadError(Exception):
    """The load test cannot be done. `str(error)` is a sentence that names the parameter and the way out."""


# Class of a failed request: what it means and what to look at. `http_<status>` is made up as needed.
EXPLANATIONS = {
    "name_not_found": "the host name cannot be resolved; check the URL, or use connect_to",
    "connection_refused": "nothing listens there; is the model server up, is the port right?",
    "connection_failed": "no connection; check the address, firewalls and NetworkPolicies",
    "connect_timeout": "no connection within connect_timeout_seconds; check the address, firewalls and NetworkPolicies",
    "connection_lost": "the connection ended before the answer; did the server restart or a proxy give up?",
    "tls": "the TLS handshake failed; check endpoint_ca_cert, the certificate's names and the scheme of the URL",
    "not_http": "the server does not speak HTTP/1.1; is it a TLS port, or another service?",
    "not_openai": "the server answered, but not as an OpenAI-compatible API does; is a login page or a proxy in between?",
    "too_large": "the answer is larger than any sensible one",
    "timeout": "no whole answer within request_timeout_seconds",
    "idle_timeout": "no byte within idle_timeout_seconds",
    "rate_limited": "HTTP 429: a rate limit is hit; raise it, or ask for less",
    "http_401": "the API key is missing or not accepted; set endpoint_api_key",
    "http_403": "the API key is not allowed to do this; set another endpoint_api_key",
    "http_404": "no such path or model; check model and the URL's path",
    "http_503": "overloaded, draining, or no pod is ready",
    "error_event": "the server reported an error inside a stream that began with HTTP 200",
    "truncated": "the stream ended without a finish reason: cut off on the way, or by a pod that was stopped",
    "aborted": "the engine ended the answer before it was whole (finish reason abort): a pod that was stopped",
    "client_limit": "this machine ran out of file descriptors or ports; raise ulimit -n, lower the load, or use more machines",
}


def explained(kind: str) -> str:
    """The class of a failed request with its meaning."""
    meaning = EXPLANATIONS.get(kind)
    if meaning is None and kind.startswith("http_5"):
        meaning = "the server failed; its log says why"
    elif meaning is None:
        meaning = "the server refused the request"
    return f"{kind}: {meaning}"


class MissingLibrary(LoadError):
    """A Python library is not installed. `name` is what to tell missing_required_lib."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The Python library {name} is missing.")
        self.name = name

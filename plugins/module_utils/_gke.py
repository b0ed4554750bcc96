# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's API of GKE (container/v1) over HTTP: credentials, requests, errors as sentences, operations.
PRIVATE to the collection: the only file that imports google-auth.

Paths and fields: the discovery document of the API (google.golang.org/api, container/v1/container-api.json).
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.urls import open_url

ENDPOINT = "https://container.googleapis.com"
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    "location": {"type": "str", "required": True},
    "credentials": {"type": "path"},
    "access_token": {"type": "str", "no_log": True},
    "endpoint": {"type": "str", "default": ENDPOINT},
    "wait_timeout": {"type": "int", "default": 1800},
}
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_ATTEMPTS = 5
_TIMEOUT_SECONDS = 60
_MOST_PAUSE_SECONDS = 30.0
# A cluster does one operation at a time. It says so in an error of these kinds, which names the other operation.
_BUSY = re.compile(r"operation[ -]|incompatible operation|is currently (?:being|operating)", re.IGNORECASE)
_OPERATION = re.compile(r"operation-[0-9a-z-]+")


class GkeError(Exception):
    """A sentence; status is that of HTTP, 0 without one."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class MissingLibrary(Exception):
    """google-auth, or what it needs, is not installed."""


def token_of(params: Mapping[str, Any]) -> Callable[[], str]:
    """Where tokens come from: access_token, credentials (a file of a service account), or the environment's own.

    Raises MissingLibrary, and GkeError with a sentence.
    """
    if params["access_token"]:
        return lambda: str(params["access_token"])
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.urllib3
        import google.oauth2.service_account
        import urllib3
    except ImportError as error:
        raise MissingLibrary("google-auth") from error
    try:
        if params["credentials"]:
            found = google.oauth2.service_account.Credentials.from_service_account_file(
                params["credentials"], scopes=[_SCOPE]
            )
        else:
            found, _project = google.auth.default(scopes=[_SCOPE])
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise GkeError(
            f"No credentials for Google Cloud: {error}. Give credentials or access_token, or run "
            "`gcloud auth application-default login`."
        ) from error
    transport = google.auth.transport.urllib3.Request(urllib3.PoolManager())

    def token() -> str:
        try:
            if not found.valid:
                found.refresh(transport)
        except google.auth.exceptions.GoogleAuthError as error:
            raise GkeError(
                f"Google gives no token for these credentials: {error.args[0] if error.args else error}."
            ) from error
        return str(found.token)

    return token


def client(params: Mapping[str, Any]) -> Gke:
    """From the parameters of ARGUMENT_SPEC. Raises MissingLibrary and GkeError."""
    return Gke(params["project"], params["location"], token_of(params), params["endpoint"])


class Gke:
    """One project and location."""

    def __init__(
        self,
        project: str,
        location: str,
        token: Callable[[], str],
        endpoint: str = ENDPOINT,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.parent = f"projects/{project}/locations/{location}"
        self._token, self._endpoint, self._pause = token, endpoint.rstrip("/"), pause

    def get(self, path: str) -> dict[str, Any] | None:
        """What is at a path below the location, None if there is nothing."""
        try:
            return self.request("GET", path)
        except GkeError as error:
            if error.status == 404:
                return None
            raise

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One answer. Overload is waited out; whatever else is refused is a GkeError."""
        for attempt in range(1, _ATTEMPTS + 1):
            error, pause = self._once(method, path, body)
            if not isinstance(error, GkeError):
                return error
            passing = error.status in (429, 500, 502, 503, 504) and error.reason != "quota"
            if attempt == _ATTEMPTS or not passing:
                raise error
            self._pause(pause if pause else min(2.0**attempt, _MOST_PAUSE_SECONDS))
        raise AssertionError("the last attempt returns or raises")

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[dict[str, Any] | GkeError, float]:
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        try:
            answer = open_url(
                f"{self._endpoint}/v1/{self.parent}/{path}",
                method=method,
                data=data,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
            )
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found, 0.0
        except urllib.error.HTTPError as error:
            after = error.headers.get("Retry-After") or ""
            pause = min(float(after), _MOST_PAUSE_SECONDS) if after.isdigit() else 0.0
            return explained(error.code, error.read(), f"{method} {path}"), pause
        except (OSError, ValueError) as error:
            return GkeError(f"{self._endpoint} does not answer: {getattr(error, 'reason', error)}."), 0.0

    def change(self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float) -> None:
        """A change and its end: one that another operation holds up is tried again after it. deadline: time.monotonic."""
        while True:
            try:
                operation = self.request(method, path, body)
                break
            except GkeError as error:
                busy = error.status in (400, 409) and error.reason != "exists" and _BUSY.search(str(error))
                if not busy or time.monotonic() >= deadline:
                    raise
                other = _OPERATION.search(str(error))
                if other:
                    self.wait(other[0], deadline)
                else:
                    self._pause(10.0)
        self.wait(operation["name"], deadline)

    def wait(self, operation: str, deadline: float) -> None:
        """Until an operation is done. Raises GkeError with what it says went wrong."""
        pause = 1.0
        while True:
            found = self.get(f"operations/{operation}")
            if found is None:
                return
            if found.get("status") == "DONE":
                break
            if time.monotonic() >= deadline:
                raise GkeError(
                    f"Operation {operation} ({found.get('operationType')}) is {found.get('status')} still, and goes on: wait "
                    "longer (wait_timeout), or run again later."
                )
            self._pause(pause)
            pause = min(pause * 1.5, 15.0)
        problem = failed(found)
        if problem:
            raise problem


def failed(operation: Mapping[str, Any]) -> GkeError | None:
    """What went wrong in an operation that is done."""
    conditions = [*(operation.get("nodepoolConditions") or []), *(operation.get("clusterConditions") or [])]
    wrong = [entry for entry in conditions if entry.get("canonicalCode") not in (None, "OK")]
    message = (operation.get("error") or {}).get("message") or operation.get("statusMessage") or ""
    message = message or "; ".join(str(entry.get("message")) for entry in wrong)
    if not message:
        return None
    codes = {entry.get("code") for entry in wrong}
    if "GCE_STOCKOUT" in codes or "stockout" in message.lower() or "ZONE_RESOURCE_POOL_EXHAUSTED" in message:
        return GkeError(
            f"Google has no such machines left in this zone: {message} Add zones, use a reservation, or try later.",
            reason="stockout",
        )
    if "GCE_QUOTA_EXCEEDED" in codes or "quota" in message.lower():
        return GkeError(f"{_QUOTA} {message}", reason="quota")
    return GkeError(f"Google gave up: {message}")


_QUOTA = "The project's quota is too small: ask for more (IAM & Admin, Quotas), or for fewer GPUs."


def explained(status: int, body: bytes, action: str) -> GkeError:
    """The error in an answer, in words."""
    try:
        told = json.loads(body)["error"]
        message, kind = str(told.get("message", "")), str(told.get("status", ""))
    except (ValueError, KeyError, TypeError):
        message, kind = body.decode(errors="replace").strip()[:300], ""
    words = message.rstrip(".")
    if status == 401:
        return GkeError(f"Google refuses the token: {words}. Get new credentials.", status)
    if status == 403 and "quota" in message.lower():
        return GkeError(f"{_QUOTA} {words}.", status, "quota")
    if status == 403:
        return GkeError(
            f"Google forbids {action}: {words}. The account needs the role Kubernetes Engine Cluster Admin, and the API "
            "container.googleapis.com must be enabled.",
            status,
        )
    if status == 404:
        return GkeError(f"Not found: {words}. Check project, location and cluster.", status)
    if status == 409 and kind == "ALREADY_EXISTS":
        return GkeError(f"{words}: somebody else has just made it. Run again.", status, "exists")
    if (
        status == 429
        and re.search(r"quota|insufficient", message, re.IGNORECASE)
        and "per minute" not in message.lower()
    ):
        return GkeError(f"{_QUOTA} {words}.", status, "quota")
    if status == 429:
        return GkeError(f"Google limits the rate of requests: {words}. Run again later.", status)
    return GkeError(f"Google refuses {action} ({status}): {words}.", status)

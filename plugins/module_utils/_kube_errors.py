# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went wrong at the Kubernetes API, as types and as sentences. Pure. PRIVATE to the collection.

Every message names the object or the parameter, says what the API server said, and shows the way out.
"""

from __future__ import annotations

import re
from typing import Any


class KubeError(Exception):
    """A request that failed. `str(error)` is a sentence for the operator."""

    def add(self, text: str) -> None:
        """Append to the sentence."""
        self.args = (f"{self}{text}",)


class Unreachable(KubeError):
    """No answer: connection, TLS, proxy or a server that stays overloaded."""


class Unauthorized(KubeError):
    """401: the credentials are not known (any more)."""


class Forbidden(KubeError):
    """403: the credentials are good, the permission is missing."""


class KindNotFound(KubeError):
    """The API server does not serve the kind: its CustomResourceDefinition is missing."""


class NamespaceNotFound(KubeError):
    """The namespace of the object does not exist."""


class NotFound(KubeError):
    """The object does not exist."""


class Conflict(KubeError):
    """409: other field managers own fields of the definition (`owners`: manager to fields), or someone wrote meanwhile."""

    def __init__(self, message: str, owners: dict[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.owners = owners or {}


class Invalid(KubeError):
    """400 or 422: the definition is wrong, and stays wrong however often it is sent."""


class WebhookDenied(KubeError):
    """An admission webhook said no."""


class WebhookUnreachable(KubeError):
    """An admission or conversion webhook did not answer: usual for some seconds after its installation."""


class DryRunUnsupported(KubeError):
    """An admission webhook does not declare that it has no side effects, so dry runs are refused."""


class QuotaExceeded(KubeError):
    """A ResourceQuota of the namespace is used up."""


class Gone(KubeError):
    """410: the resource version of a watch or a list is too old; list anew."""


class WaitFailed(KubeError):
    """What was waited for did not come, or cannot come any more."""


# k8s.io/apiserver pkg/admission/plugin/webhook/errors/statuserror.go (ToStatusErr, NewDryRunUnsupportedErr) and
# pkg/admission/plugin/webhook/mutating/dispatcher.go, apiextensions-apiserver pkg/apiserver/conversion/webhook_converter.go
_DENIED = re.compile(r'admission webhook "([^"]+)" denied the request(?:: (.*))?', re.S)
_CALLING = re.compile(r'failed calling webhook "([^"]+)": (.*)', re.S)
_CONVERTING = re.compile(r"conversion webhook for ([^ ]+(?: [^ ]+)?) failed: (.*)", re.S)
_NO_DRY_RUN = re.compile(r'admission webhook "([^"]+)" does not support dry run')
# k8s.io/apiserver pkg/endpoints/handlers/responsewriters/errors.go
_RBAC = re.compile(r'User "([^"]+)" cannot (\w+) resource "([^"]+)"(?: in API group "([^"]*)")?(.*)', re.S)
# k8s.io/apimachinery pkg/util/managedfields/internal/conflict.go
_OWNER = re.compile(r'conflict with "([^"]+)"')
# k8s.io/kubernetes plugin/pkg/admission/resourcequota/controller.go
_QUOTA = re.compile(r"exceeded quota: ([^,]+), (.*)", re.S)
# k8s.io/apimachinery pkg/util/managedfields/internal/{structuredmerge,typeconverter}.go: wrong types are answered with 500.
_TYPED = re.compile(
    r"failed to (?:create typed patch object|convert new object) \([^)]*\)(?: to proper version)?: (.*)", re.S
)
_UNDECLARED = re.compile(r"(\.[\w.\[\]=\"'-]*): field not declared in schema")


def from_status(code: int, status: dict[str, Any], subject: str) -> KubeError:
    """The typed error for an HTTP code and a `Status` of the API server. `subject` names what the request was about."""
    message = str(status.get("message") or status.get("reason") or f"HTTP {code}").strip()
    reason = str(status.get("reason") or "")
    details = status.get("details") or {}
    causes = details.get("causes") or []
    for judge in (_webhook, _quota):
        if error := judge(subject, message):
            return error
    if code == 401:
        return Unauthorized(
            f"{subject}: the API server does not accept the credentials (401). "
            "Check the token or certificate of the kubeconfig (or api_key, client_cert): it may have expired."
        )
    if code == 403:
        if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
            return Forbidden(f"{subject}: its namespace is being deleted. Wait until it is gone, then run again.")
        return Forbidden(_forbidden(subject, message))
    if code == 404:
        # The same details tell that the Namespace that was asked for is not there.
        if details.get("kind") == "namespaces" and subject != f"Namespace {details.get('name')}":
            return NamespaceNotFound(
                f"{subject}: namespace '{details['name']}' does not exist. Create it first, or add it to the definitions."
            )
        if details.get("name"):
            return NotFound(f"{subject}: {message}")
        return KindNotFound(
            f"{subject}: the API server does not serve this kind. "
            "Install its CustomResourceDefinition first, or correct apiVersion and kind."
        )
    if code == 409:
        return _conflict(subject, message, causes)
    if code == 410 or reason in ("Expired", "Gone"):
        return Gone(f"{subject}: {message}")
    if code in (400, 413, 415, 422) or _TYPED.search(message):
        return Invalid(_invalid(subject, message, causes))
    if code == 429 or code >= 500:
        return Unreachable(f"{subject}: the API server answered {code}: {message}")
    return KubeError(f"{subject}: the API server answered {code}: {message}")


def _webhook(subject: str, message: str) -> KubeError | None:
    if found := _NO_DRY_RUN.search(message):
        return DryRunUnsupported(
            f"{subject}: the admission webhook {found[1]} does not support dry runs (its sideEffects are not None)."
        )
    if found := _DENIED.search(message):
        return WebhookDenied(f"{subject}: refused by the admission webhook {found[1]}: {(found[2] or message).strip()}")
    if found := _CALLING.search(message):
        return WebhookUnreachable(
            f"{subject}: the admission webhook {found[1]} does not answer: {found[2].strip()}. "
            "See whether the pods behind its Service run and its caBundle is set."
        )
    if found := _CONVERTING.search(message):
        return WebhookUnreachable(
            f"{subject}: the conversion webhook of {found[1]} does not answer: {found[2].strip()}. "
            "See whether the pods behind its Service run and its caBundle is set."
        )
    return None


def _quota(subject: str, message: str) -> KubeError | None:
    if found := _QUOTA.search(message):
        return QuotaExceeded(
            f"{subject}: the ResourceQuota {found[1]} of the namespace is exceeded ({found[2].strip()}). "
            "Raise the quota or ask for less."
        )
    return None


def _forbidden(subject: str, message: str) -> str:
    if found := _RBAC.search(message):
        user, verb, resource, group, where = found.groups()
        full = f"{resource}.{group}" if group else resource
        return (
            f"{subject}: {user} is not allowed to {verb} {full}{where.rstrip()}. "
            f"Grant the verb '{verb}' on '{full}' in a Role or ClusterRole and bind it to {user}."
        )
    return f"{subject}: forbidden: {message}"


def _conflict(subject: str, message: str, causes: list[dict[str, Any]]) -> Conflict:
    owners: dict[str, list[str]] = {}
    for cause in causes:
        if cause.get("reason") == "FieldManagerConflict":
            found = _OWNER.search(str(cause.get("message")))
            owners.setdefault(found[1] if found else "another manager", []).append(str(cause.get("field")))
    if not owners:
        return Conflict(f"{subject}: conflict: {message}")
    told = "; ".join(f"'{owner}' manages {', '.join(fields)}" for owner, fields in sorted(owners.items()))
    return Conflict(
        f"{subject}: conflict with other field managers: {told}. "
        "Set force_conflicts: true to take these fields over, or leave them out of the definition.",
        owners,
    )


def _invalid(subject: str, message: str, causes: list[dict[str, Any]]) -> str:
    if fields := _UNDECLARED.findall(message):
        told = f"unknown field{'s' if len(fields) > 1 else ''} {', '.join(fields)}"
        return f"{subject}: {told}. Correct the spelling or the place in the definition."
    listed = [
        f"{cause['field']}: {cause['message']}" for cause in causes if cause.get("field") and cause.get("message")
    ]
    text = "; ".join(dict.fromkeys(listed)) or message
    if found := _TYPED.search(text):
        text = " ".join(found[1].split()).removeprefix("errors: ")
    return f"{subject}: the API server refuses the definition: {text.rstrip('.')}."

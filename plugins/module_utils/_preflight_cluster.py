# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster can take what the roles install: versions, permissions, what is there already. Pure functions from
what was observed to findings. PRIVATE to the collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import FAIL, PASS, SKIP, WARN
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import Finding, parts

RELEASE_NAME = "meta.helm.sh/release-name"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
# Field managers of programs that put back what somebody else changes, and what people call these programs.
_RECONCILERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "application-controller": "Sveltos",
    "fleetagent": "Rancher Fleet",
    "rancher": "Rancher",
}


# Versions


def of_kubernetes(
    version: str, components: Mapping[str, Mapping[str, Any]], today: str, allow_unsupported: bool
) -> list[Finding]:
    """A component of the version table per finding, and one for each whose end of life is past.

    version is the server's gitVersion, today and each eol are dates (YYYY-MM-DD).
    """
    have = parts(version)[:2]
    written = ".".join(map(str, have))
    findings = []
    for name, component in components.items():
        supported = component.get("kubernetes")
        if supported:
            least, most = supported["minimum"], supported.get("maximum")
            inside = parts(least) <= have and (not most or have <= parts(most))
            evidence = {"kubernetes": version, "minimum": least, "maximum": most, "source": component.get("source")}
            words = f"{least} to {most}" if most else f"{least} and newer"
            if inside:
                message = f"{name} {component['version']} supports Kubernetes {written}."
                findings.append(Finding("kubernetes-version", "cluster", PASS, message, "", evidence, name))
            else:
                message = (
                    f"{name} {component['version']} does not support Kubernetes {written}, but {words} "
                    f"({component.get('source')})"
                )
                text = "Use a supported version, or set preflight_allow_unsupported_kubernetes=true."
                status = WARN if allow_unsupported else FAIL
                findings.append(
                    Finding(
                        "kubernetes-version",
                        "cluster",
                        status,
                        message,
                        "" if allow_unsupported else text,
                        evidence,
                        name,
                    )
                )
        ended = component.get("eol")
        if ended and ended < today:
            message = (
                f"{name} {component['version']} gets no fixes from upstream since {ended} ({component.get('source')})"
            )
            text = "Plan the upgrade."
            findings.append(Finding("end-of-life", "cluster", WARN, message, text, {"eol": ended}, name))
    return findings


# Permissions


class Right(NamedTuple):
    """A verb on a resource, as an API server's authorizers know them."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    def attributes(self, namespace: str | None = None) -> dict[str, str]:
        """The resourceAttributes of a SelfSubjectAccessReview; without a namespace, for all of them."""
        named = {**self._asdict(), "namespace": namespace}
        return {key: value for key, value in named.items() if value}


# Who may do this may do all else: "*" means all in every attribute of a review.
EVERYTHING = Right("*", "*", "*")


def needs(rules: Iterable[Mapping[str, Any]]) -> dict[Right, dict[str | None, str]]:
    """Right -> the namespaces it is needed in (None: all of them, or it has none) -> what is not possible without it, "" if
    that is more than a check.

    rules: apiGroups, resources ("pods/log" is a subresource) and verbs as in a ClusterRole; namespaces and without.
    """
    found: dict[Right, dict[str | None, str]] = {}
    for rule in rules:
        without = rule.get("without") or ""
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            name, _slash, subresource = resource.partition("/")
            places = found.setdefault(Right(verb, group, name, subresource), {})
            for place in rule.get("namespaces") or [None]:
                # Who cannot do without it decides.
                places[place] = without and places.get(place, without)
    return found


# Who may not do these is refused only where a role of a chart asks for more than the account has itself.
_ESCALATING = ("bind", "escalate")


def of_permissions(
    rules: Sequence[Mapping[str, Any]], refused: Sequence[tuple[Right, str | None]], unanswered: str | None = None
) -> list[Finding]:
    """rules as in needs; refused: what no answer allowed, and where."""
    if unanswered:
        return [Finding("permissions", "permissions", SKIP, f"Permissions could not be asked for: {unanswered}")]
    needed = needs(rules)
    escalating = [(right, place) for right, place in refused if right.verb in _ESCALATING]
    rest = [(right, place) for right, place in refused if right.verb not in _ESCALATING]
    hard = [(right, place) for right, place in rest if not needed[right][place]]
    evidence = {
        "asked": len(needed),
        "refused": [right.attributes(place) for right, place in refused],
        # What a ClusterRole for the account has to have.
        "rules": list(rules),
    }
    findings = []
    if hard:
        message = f"The account in use is not permitted to {_listed(hard)}"
        text = "Bind it to a ClusterRole that allows this; `kubectl auth can-i --list` shows what it may do."
        findings.append(Finding("permissions", "permissions", FAIL, message, text, evidence))
    else:
        message = f"All {len(needed)} permissions that the plays need are there."
        findings.append(Finding("permissions", "permissions", PASS, message, "", evidence))
    if escalating:
        message = (
            f"The account in use is not permitted to {_listed(escalating)}: a chart's role can then grant only what the account "
            "itself may do"
        )
        text = "Install with an account that is bound to cluster-admin, or allow these two verbs."
        findings.append(Finding("permission-escalation", "permissions", WARN, message, text))
    for without in dict.fromkeys(needed[right][place] for right, place in rest if needed[right][place]):
        soft = [(right, place) for right, place in rest if needed[right][place] == without]
        message = f"The account in use is not permitted to {_listed(soft)}: {without}"
        findings.append(Finding("permissions", "permissions", WARN, message, "Allow it, or do without.", {}, without))
    return findings


def _listed(refused: Iterable[tuple[Right, str | None]]) -> str:
    """ "create, patch deployments.apps in models; list nodes": the verbs of each resource together."""
    verbs: dict[str, dict[str, None]] = {}
    for right, place in refused:
        name = ".".join(filter(None, [right.resource, right.group]))
        name += f"/{right.subresource}" if right.subresource else ""
        name += f" in {place}" if place else ""
        verbs.setdefault(name, {})[right.verb] = None
    return "; ".join(f"{', '.join(found)} {name}" for name, found in verbs.items())


# What is there already


def of_namespaces(namespaces: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """namespaces: those of the plays that exist, as the API shows them."""
    going = [item["metadata"]["name"] for item in namespaces if item["metadata"].get("deletionTimestamp")]
    if not going:
        return [Finding("namespace-state", "conflicts", PASS, "No namespace of the plays is being deleted.")]
    text = "Wait until it is gone; `kubectl get namespace NAME -o yaml` says in status.conditions what keeps it."
    return [
        Finding("namespace-state", "conflicts", FAIL, f"The namespace {name} is being deleted", text, subject=name)
        for name in going
    ]


def of_installs(component: Mapping[str, Any], deployments: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Whether another installation of a component is in the way.

    component: name, namespace and release that the role would use, and variable (that says the namespace). deployments are
    those with the component's label, anywhere in the cluster.
    """
    name, namespace, release = component["name"], component["namespace"], component["release"]
    findings = []
    for item in deployments:
        where = item["metadata"]["namespace"]
        who = installer(item["metadata"])
        evidence = {"deployment": f"{where}/{item['metadata']['name']}", "installed_by": who}
        if where != namespace:
            message = (
                f"{name} is installed in namespace {where} already ({who}), and would be a second time in {namespace}"
            )
            text = f"Set {component['variable']}: {where} if it is this collection's, or remove it first."
        elif who != f"Helm release {namespace}/{release}":
            message = f"{name} in namespace {where} was installed by something else ({who})"
            text = f"Remove that installation, or leave this role out (--skip-tags {component['role']})."
        else:
            continue
        findings.append(Finding("other-install", "conflicts", FAIL, message, text, evidence, name))
    return findings or [
        Finding("other-install", "conflicts", PASS, f"No other installation of {name} is there.", "", {}, name)
    ]


def installer(metadata: Mapping[str, Any]) -> str:
    """Who made an object: its Helm release, the operator that owns it, or the first that wrote it."""
    annotations = metadata.get("annotations") or {}
    if annotations.get(RELEASE_NAME):
        return f"Helm release {annotations.get(RELEASE_NAMESPACE)}/{annotations[RELEASE_NAME]}"
    owners = metadata.get("ownerReferences") or []
    if owners:
        return f"{owners[0]['kind']} {owners[0]['name']}"
    managers = [entry.get("manager") for entry in metadata.get("managedFields") or [] if not entry.get("subresource")]
    return f"field manager {managers[0]}" if managers and managers[0] else "nobody knows whom"


def of_operators(crds: Iterable[Mapping[str, Any]], operators: Mapping[str, str]) -> list[Finding]:
    """operators: the CRD of a program that installs a component itself -> what it is, in words."""
    there = {item["metadata"]["name"] for item in crds}
    text = "Two would change the same objects: use a cluster without it, or leave the components out that it manages."
    findings = [
        Finding("operator", "conflicts", WARN, f"{words} is installed here ({crd})", text, {"crd": crd}, crd)
        for crd, words in operators.items()
        if crd in there
    ]
    return findings or [Finding("operator", "conflicts", PASS, "No operator is here that installs these components.")]


def of_managers(objects: Iterable[Mapping[str, Any]], ours: Sequence[str]) -> list[Finding]:
    """Objects of the plays that somebody else keeps: field managers beside ours that own a part of the spec."""
    findings = []
    for item in objects:
        others = sorted(
            {entry["manager"] for entry in item["metadata"].get("managedFields") or [] if _keeps(entry, ours)}
        )
        if not others:
            continue
        reconciler = next((_RECONCILERS[other] for other in others if other in _RECONCILERS), None)
        name = f"{item['kind']} {'/'.join(filter(None, [item['metadata'].get('namespace'), item['metadata']['name']]))}"
        if reconciler:
            message = f"{name} is kept by {reconciler} ({', '.join(others)}), which puts back what the roles change"
            text = f"Take the object out of {reconciler}, or out of the variables of this inventory."
            status = FAIL
        else:
            message = f"Fields of {name} belong to {', '.join(others)}: the roles stop where they want another value"
            text = "Give the fields up there; `kubectl get -o yaml --show-managed-fields` shows which they are."
            status = WARN
        findings.append(Finding("field-managers", "conflicts", status, message, text, {"managers": others}, name))
    return findings or [Finding("field-managers", "conflicts", PASS, "Nobody else keeps the objects of the plays.")]


def _keeps(entry: Mapping[str, Any], ours: Sequence[str]) -> bool:
    fields = entry.get("fieldsV1") or {}
    return not entry.get("subresource") and "f:spec" in fields and entry.get("manager") not in ours


def of_webhooks(
    configurations: Iterable[Mapping[str, Any]],
    services: Mapping[str, bool | None],
    releases: Iterable[str],
    groups: Collection[str],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[Finding]:
    """Webhooks that refuse what the plays write, because nothing answers them.

    services: namespace/name -> whether an endpoint is ready; None if that is not known. releases are our own, as
    namespace/release: the play brings their webhooks back. groups are the API groups that the plays write, namespaces those
    they write to, with their labels.
    """
    ours = set(releases)
    asking: dict[str, list[Mapping[str, Any]]] = {}
    for item in configurations:
        for service in required_services(item, groups, namespaces):
            if services.get(service) is False:
                asking.setdefault(service, []).append(item)
    findings = []
    for service, items in asking.items():
        mine = all(_release(item["metadata"]) in ours for item in items)
        names = [f"{item['kind']} {item['metadata']['name']}" for item in items]
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        message = (
            f"{names[0]}{more} asks Service {service}, which has no ready endpoint: what it is asked about is refused"
        )
        text = f"Repair the pods behind Service {service}, or delete the webhooks of what is no longer there."
        if mine:
            text = "The role that installed it will repair it."
        evidence = {"webhooks": names}
        findings.append(Finding("webhooks", "conflicts", WARN if mine else FAIL, message, text, evidence, service))
    return findings or [Finding("webhooks", "conflicts", PASS, "Every webhook that must answer has a ready endpoint.")]


def _release(metadata: Mapping[str, Any]) -> str:
    """namespace/name of the Helm release that an object belongs to."""
    annotations = metadata.get("annotations") or {}
    return f"{annotations.get(RELEASE_NAMESPACE)}/{annotations.get(RELEASE_NAME)}"


def required_services(
    configuration: Mapping[str, Any], groups: Collection[str], namespaces: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The Services (namespace/name) without which the API server refuses a write of these groups in these namespaces."""
    found: dict[str, None] = {}
    for webhook in configuration.get("webhooks") or []:
        service = (webhook.get("clientConfig") or {}).get("service")
        asked = {group for rule in webhook.get("rules") or [] for group in rule.get("apiGroups") or []}
        concerned = "*" in asked or not asked.isdisjoint(groups)
        selector = webhook.get("namespaceSelector") or {}
        somewhere = any(_selects(selector, labels) for labels in namespaces.values())
        if service and webhook.get("failurePolicy", "Fail") == "Fail" and concerned and somewhere:
            found[f"{service['namespace']}/{service['name']}"] = None
    return list(found)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector covers these labels; an empty one covers all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(entry, labels) for entry in selector.get("matchExpressions") or [])


def _meets(entry: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    there, values = entry["key"] in labels, entry.get("values") or []
    among = labels.get(entry["key"]) in values
    return {"Exists": there, "DoesNotExist": not there, "In": among, "NotIn": not among}[entry["operator"]]


# Custom resource definitions


def of_crds(
    crds: Iterable[Mapping[str, Any]], served: Mapping[str, Sequence[str]], expected: Iterable[Mapping[str, Any]]
) -> list[Finding]:
    """Whether the CRDs that are there are those of the components.

    served: API group -> versions. expected, for each component: name, groups, and any of: versions (that the roles use, by
    group), release (namespace/release that Helm will look for), version and version_key (annotation or label that says it),
    required_by (what cannot do without it, where nothing here installs it).
    """
    listed = list(crds)
    findings: list[Finding] = []
    for component in expected:
        others = component.get("except") or ()
        mine = [
            item for item in listed if _group(item) in component["groups"] and item["metadata"]["name"] not in others
        ]
        problems = [found for item in mine for found in _of_crd(item, component)]
        problems += _unserved(mine, served, component)
        name = component["name"]
        if problems:
            findings += _together(problems)
        elif mine:
            findings.append(Finding("crds", "crds", PASS, f"The {len(mine)} CRDs of {name} are right.", subject=name))
        elif component.get("required_by"):
            message = f"{name} is not installed, and {component['required_by']} needs it"
            text = "Install it before; no role of this collection does."
            findings.append(Finding("crd-missing", "crds", FAIL, message, text, subject=name))
        else:
            findings.append(Finding("crds", "crds", PASS, f"{name} has no CRDs here yet.", subject=name))
    return findings


def _group(crd: Mapping[str, Any]) -> str:
    return str(crd["metadata"]["name"]).partition(".")[2]


def _of_crd(item: Mapping[str, Any], component: Mapping[str, Any]) -> list[Finding]:
    metadata, component_name = item["metadata"], component["name"]
    name = metadata["name"]
    if metadata.get("deletionTimestamp"):
        message = f"The CRD {name} is being deleted"
        text = "Wait until its objects are gone; one with a finalizer that nobody removes keeps it."
        return [Finding("crd-state", "crds", FAIL, message, text, {"crds": [name]}, component_name)]
    found = []
    annotations = metadata.get("annotations") or {}
    if component.get("release") and _release(metadata) != component["release"]:
        who = installer(metadata)
        message = (
            f"The CRD {name} belongs to {who}, and Helm will refuse to take it into release {component['release']}"
        )
        namespace, _slash, wanted = component["release"].partition("/")
        text = (
            f"Annotate it with {RELEASE_NAME}={wanted} and {RELEASE_NAMESPACE}={namespace} and label it "
            "app.kubernetes.io/managed-by=Helm, or remove it with what belongs to it."
        )
        found.append(Finding("crd-owner", "crds", FAIL, message, text, {"crds": [name]}, component_name))
    key = component.get("version_key")
    have = annotations.get(key) or (metadata.get("labels") or {}).get(key) if key else None
    if have and parts(have) > parts(component["version"]):
        message = (
            f"The CRD {name} is of {component_name} {have}, newer than {component['version']} of the version table"
        )
        text = f"A downgrade loses fields: {component.get('keep') or 'use the newer version'}."
        evidence = {"crds": [name], "version": have, "expected": component["version"]}
        found.append(Finding("crd-version", "crds", FAIL, message, text, evidence, component_name))
    return found


def _unserved(
    mine: Sequence[Mapping[str, Any]], served: Mapping[str, Sequence[str]], component: Mapping[str, Any]
) -> list[Finding]:
    """Groups whose CRDs are there, but not in the version that the roles write."""
    there = {_group(item) for item in mine}
    found = []
    for group, versions in (component.get("versions") or {}).items():
        missing = [version for version in versions if version not in served.get(group, ())]
        if group in there and missing:
            message = (
                f"The CRDs of {component['name']} do not serve {group}/{', '.join(missing)}, but "
                f"{', '.join(served.get(group, ())) or 'nothing'}"
            )
            text = "They are of another release: upgrade them before (the role does, if they belong to its chart)."
            evidence = {"served": list(served.get(group, ())), "needed": list(versions)}
            found.append(Finding("crd-served", "crds", FAIL, message, text, evidence, component["name"]))
    return found


def _together(problems: Sequence[Finding]) -> list[Finding]:
    """A component has dozens of CRDs that mostly have the same fault: the first speaks for all."""
    first: dict[str, Finding] = {}
    names: dict[str, list[str]] = {}
    for found in problems:
        first.setdefault(found.id, found)
        names.setdefault(found.id, []).extend(found.evidence.get("crds", []))
    result = []
    for key, found in first.items():
        more = len(names[key]) - 1
        message = f"{found.message} (and {more} more of {found.subject})" if more > 0 else found.message
        evidence = {**found.evidence, "crds": names[key][:50]} if names[key] else found.evidence
        result.append(Finding(key, found.category, found.status, message, found.remediation, evidence, found.subject))
    return result

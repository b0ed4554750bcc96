# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is to be served can be: GPUs, memory, disk, images, files, volumes, quotas. Pure functions from what was
observed to findings. PRIVATE to the collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_checks
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import FAIL, PASS, SKIP, WARN, Expectations
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_nodes import PREFIX
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import Finding
from ansible_collections.llmstack.serving.plugins.module_utils._preflight_wanted import Service
from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity

GIB = 1024**3
# Volumes of these provisioners are disks, which one node at a time can write to.
_ONE_NODE_PROVISIONERS = (
    "ebs.csi.aws.com",
    "pd.csi.storage.gke.io",
    "disk.csi.azure.com",
    "kubernetes.io/aws-ebs",
    "kubernetes.io/gce-pd",
    "kubernetes.io/azure-disk",
    "rancher.io/local-path",
    "cinder.csi.openstack.org",
    "csi.vsphere.vmware.com",
)


# GPUs


def of_gpus(checks: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """What gpu_check says, as results of its checks.

    Other nodes may do: whether enough is left is what of_placement judges, so that a fault of single nodes only warns. What
    nodes have for each other (rdma) makes a deployment slow, not impossible.
    """
    findings = []
    for check in checks:
        spares = check["status"] == FAIL and (check.get("nodes") or check["id"] in ("gpu-nodes", "rdma"))
        status = WARN if spares else check["status"]
        findings.append(
            Finding(check["id"], "gpus", status, check["message"], check["remediation"], dict(check["evidence"]))
        )
    return findings


def units(node: Mapping[str, Any], resource: str, key: str) -> int:
    """How many units of a resource a node has; key: free or allocatable. What is not counted is taken for free."""
    if node["resource"] == resource:
        return int((node["allocatable"] if node[key] is None else node[key]) or 0)
    for entry in (node["mig"] or {}).get("profiles") or []:
        if resource == f"{PREFIX}mig-{entry['profile']}":
            return int((entry["allocatable"] if entry[key] is None else entry[key]) or 0)
    return 0


def candidates(service: Service, nodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes that a pod of the service may be placed on, whatever is free there."""
    return [
        node
        for node in nodes
        if _gpu_checks.usable(node, Expectations(tolerations=service.tolerations))
        and all(node["labels"].get(key) == value for key, value in service.node_selector.items())
    ]


def of_placement(
    wanted: Sequence[Service],
    deployed: Sequence[Service],
    nodes: Sequence[dict[str, Any]],
    resource: str,
    promised: str = "",
) -> list[Finding]:
    """Whether all replicas of all services find their GPUs at once, those of each pod on one node.

    deployed: services that run already; their GPUs are among those that are taken. promised: who is to bring GPUs that are
    not there yet (an autoscaler, the GPU operator), in words: what is missing is then only a warning.
    """
    left = {node["name"]: units(node, resource, "free") for node in nodes}
    findings = []
    # The larger first: small ones fit in between, not the other way round.
    for service in sorted(wanted, key=lambda item: -item.gpus):
        if service.gpus == 0:
            continue
        possible = candidates(service, nodes)
        largest = max((units(node, resource, "allocatable") for node in possible), default=0)
        evidence = {
            "gpus": service.gpus,
            "pods_per_replica": service.pods_per_replica,
            "replicas": service.replicas,
            "largest_node": largest,
        }
        if service in deployed and largest >= service.gpus:
            message = f"{service.title} has its GPUs already."
            findings.append(Finding("gpu-placement", "scheduling", PASS, message, "", evidence, service.name))
            continue
        placed = _place(service, possible, left)
        evidence["placed"] = placed
        if placed == service.replicas:
            message = f"{service.title} finds {_asked(service, resource)} for each of {service.replicas} replicas."
            findings.append(Finding("gpu-placement", "scheduling", PASS, message, "", evidence, service.name))
            continue
        message, text = _not_placed(service, nodes, possible, resource, largest, placed)
        if promised:
            text = f"{promised} {text}"
        status = WARN if promised else FAIL
        findings.append(Finding("gpu-placement", "scheduling", status, message, text, evidence, service.name))
    return findings


def _place(service: Service, possible: Sequence[Mapping[str, Any]], left: dict[str, int]) -> int:
    """How many replicas find GPUs on these nodes, the fullest first; takes them from `left`."""
    # A node that could hold several pods is as many places.
    places = [
        node["name"]
        for node in sorted(possible, key=lambda item: left[item["name"]])
        for _pod in range(left[node["name"]] // service.gpus)
    ]
    placed = min(service.replicas, len(places) // service.pods_per_replica)
    # What a replica would need that is not complete is left to others.
    for name in places[: placed * service.pods_per_replica]:
        left[name] -= service.gpus
    return placed


def _asked(service: Service, resource: str) -> str:
    on_each = f"{service.gpus} {resource}"
    return on_each if service.pods_per_replica == 1 else f"{on_each} on each of {service.pods_per_replica} nodes"


def _not_placed(
    service: Service,
    nodes: Sequence[dict[str, Any]],
    possible: Sequence[dict[str, Any]],
    resource: str,
    largest: int,
    placed: int,
) -> tuple[str, str]:
    """Why not, and the way out."""
    asks = f"{service.title} asks for {_asked(service, resource)} per replica"
    able = [node for node in nodes if units(node, resource, "allocatable") >= service.gpus]
    if largest >= service.gpus:
        return (
            f"{asks}, and {placed} of {service.replicas} replicas find them free",
            "Free GPUs, add nodes, or ask for fewer replicas.",
        )
    if able:
        away = "; ".join(f"{node['name']} {_why_not(service, node)}" for node in able[:3])
        return (
            f"{asks}, and the nodes that have them cannot be used: {away}",
            "Change its tolerations or node_selector, or the nodes.",
        )
    return (
        f"{asks}, but the largest usable node offers {largest}",
        "Add GPU nodes, install the device plugin, or set llmstack_gpu_resource.",
    )


def _why_not(service: Service, node: dict[str, Any]) -> str:
    if not node["ready"]:
        return "is not Ready"
    if not node["schedulable"]:
        return "is cordoned"
    taints = _gpu_checks.untolerated(node, service.tolerations)
    if taints:
        return f"has the taint {', '.join(taint['key'] for taint in taints)}"
    missing = [key for key, value in service.node_selector.items() if node["labels"].get(key) != value]
    return f"has not the label {', '.join(missing)}" if missing else "is under pressure"


# The model


def of_fit(service: Service, verdict: Mapping[str, Any] | None, problem: str | None = None) -> Finding:
    """verdict: the result of model_fit, None if there is none; problem says why."""
    if verdict is None:
        text = "Look with the module model_fit when the model is there."
        return Finding(
            "model-fit", "model", SKIP, f"Whether {service.name} fits is not known: {problem}", text, {}, service.name
        )
    keys = (
        "confidence",
        "margin_gib",
        "max_model_len",
        "max_model_len_that_fits",
        "gpu",
        "gpus_needed",
        "limiting_factor",
    )
    evidence = {key: verdict[key] for key in keys}
    status = verdict["status"]
    shorter = verdict["max_model_len_that_fits"] or 0
    only_length = {entry["factor"] for entry in verdict["problems"]} == {"kv_cache"}
    if status == FAIL and only_length and service.shortens and shorter:
        # --max-model-len auto makes the context as long as fits.
        message = f"{service.name}: a context of {verdict['max_model_len']} tokens does not fit on {verdict['gpu']}, {shorter} does"
        text = "vLLM will shorten it to that; set max_model_len to say how long it has to be."
        return Finding("model-fit", "model", WARN, message, text, evidence, service.name)
    if status == FAIL:
        best = verdict["suggestions"][:1]
        text = f"This would fit: {best[0]['gpus']} x {best[0]['gpu']} with {best[0]['why']}." if best else ""
        sentences = " ".join(entry["message"] for entry in verdict["problems"])
        return Finding(
            "model-fit", "model", FAIL, f"{service.name} does not fit: {sentences}", text, evidence, service.name
        )
    if status == SKIP:
        sentences = " ".join(entry["message"] for entry in verdict["problems"])
        return Finding("model-fit", "model", SKIP, f"{service.name}: {sentences}", "", evidence, service.name)
    warned = " ".join(verdict["warnings_found"])
    message = (
        f"{service.name} fits on {verdict['gpus_needed']} x {verdict['gpu']} with {verdict['margin_gib']} GiB to spare."
    )
    return Finding("model-fit", "model", status, f"{message} {warned}".strip(), "", evidence, service.name)


def of_unreadable(service: Service, problem: str) -> Finding:
    """A model whose files are there and cannot be used."""
    text = "Repair or upload the model's files again."
    return Finding("model-files", "storage", FAIL, f"{service.object_name}: {problem}", text, {}, service.object_name)


def of_disk(service: Service, size_bytes: int | None, nodes: Sequence[dict[str, Any]]) -> Finding | None:
    """Whether a node's disk holds the weights that KServe's storage initializer copies onto it; None: nothing is copied."""
    if service.storage_uri.startswith("pvc://"):
        return None
    if size_bytes is None:
        return Finding(
            "node-disk", "disk", SKIP, f"How large the files of {service.name} are is not known.", "", {}, service.name
        )
    # Not every kubelet says how much disk it gives to pods.
    possible = [node for node in candidates(service, nodes) if node["disk_allocatable_bytes"]]
    if not possible:
        message = f"No node that is usable for {service.name} says how much disk it has."
        return Finding("node-disk", "disk", SKIP, message, "", {}, service.name)
    need = round(size_bytes / GIB, 2)
    small = sorted(node["name"] for node in possible if node["disk_allocatable_bytes"] < size_bytes)
    evidence = {
        "needed_gib": need,
        "largest_gib": round(max(node["disk_allocatable_bytes"] for node in possible) / GIB, 2),
        "too_small": small[:50],
    }
    text = "Enlarge the nodes' disks (ephemeral-storage), or serve from a volume (pvc://)."
    if len(small) == len(possible):
        message = f"The files of {service.name} take {need} GiB, and no usable node has that much disk for pods"
        return Finding("node-disk", "disk", FAIL, message, text, evidence, service.name)
    if small:
        message = (
            f"The files of {service.name} take {need} GiB, which {len(small)} usable nodes have not, {small[0]} for one"
        )
        return Finding("node-disk", "disk", WARN, message, text, evidence, service.name)
    return Finding("node-disk", "disk", PASS, f"{service.name} needs {need} GiB of disk.", "", evidence, service.name)


# Images


def of_image(image: str, on_nodes: Sequence[str], answer: Mapping[str, Any] | None) -> Finding:
    """answer: what the registry said to the control node: status (HTTP) or error; None if it was not asked."""
    evidence = {"on_nodes": list(on_nodes[:20]), "registry": dict(answer or {})}
    if on_nodes:
        message = f"{image} is on {len(on_nodes)} nodes, {on_nodes[0]} for one."
        return Finding("image", "images", PASS, message, "", evidence, image)
    status = (answer or {}).get("status")
    where = (answer or {}).get("registry", "its registry")
    if status == 200:
        return Finding("image", "images", PASS, f"{image} can be pulled from {where}.", "", evidence, image)
    if status == 404:
        message, text = f"{image} does not exist at {where}", "Correct the reference, or copy the image there."
        return Finding("image", "images", FAIL, message, text, evidence, image)
    if status in (401, 403):
        message = f"{where} does not give out {image} to these credentials"
        text = "Name a pull secret that may read it (vllm_runtime_image_pull_secrets)."
        return Finding("image", "images", FAIL, message, text, evidence, image)
    # The nodes may have a way that this machine has not: a mirror, a proxy, another network.
    why = (answer or {}).get("error") or (f"it answered {status}" if status else "it was not asked")
    message = f"Whether {image} can be pulled is not known: {where}: {why}"
    text = "Try it on a node, or name the registry that the nodes pull from (preflight_image_mirror)."
    return Finding("image", "images", WARN, message, text, evidence, image)


def of_chart(chart: str, answer: Mapping[str, Any] | None) -> Finding:
    """answer: as in of_image. Helm fetches charts from this machine, so what it cannot reach is a fault of its own."""
    evidence = {"registry": dict(answer or {})}
    status, where = (answer or {}).get("status"), (answer or {}).get("registry", "its registry")
    if status == 200:
        return Finding("chart", "images", PASS, f"The chart {chart} is at {where}.", "", evidence, chart)
    if status == 404:
        text = "Copy it there, or correct llmstack_chart_mirror or the version of the role."
        return Finding("chart", "images", FAIL, f"The chart {chart} does not exist at {where}", text, evidence, chart)
    why = (answer or {}).get("error") or (f"it answered {status}" if status else "it was not asked")
    text = "Check the way to the registry, name a mirror (llmstack_chart_mirror), or log in with helm registry login."
    return Finding(
        "chart", "images", WARN, f"Whether there is a chart {chart} is not known: {where}: {why}", text, evidence, chart
    )


def of_file(location: str, answer: Mapping[str, Any] | None) -> Finding:
    """answer: status (HTTP) or error; None if it was not asked. This machine reads the file when the role runs, as now."""
    evidence = {"answer": dict(answer or {})}
    if answer is None:
        return Finding("file", "images", SKIP, f"{location} was not looked for in time.", "", evidence, location)
    why = answer.get("error") or (f"it answered {answer['status']}" if answer.get("status", 200) != 200 else "")
    if not why:
        return Finding("file", "images", PASS, f"{location} is there.", "", evidence, location)
    text = "Check the way to it, or copy it to where this machine can read it and give the role that URL or path."
    return Finding("file", "images", FAIL, f"{location} cannot be read: {why}", text, evidence, location)


def of_pull_secrets(
    names: Sequence[str], namespace: str, found: Mapping[str, Mapping[str, Any] | None]
) -> list[Finding]:
    """found: the Secrets by name, None for those that are not there; what could not be read is left out."""
    findings = []
    for name in names:
        where = f"{namespace}/{name}"
        if name not in found:
            message = f"The pull secret {where} could not be looked at."
            findings.append(Finding("image-pull-secret", "images", SKIP, message, subject=name))
            continue
        secret = found[name]
        if secret is None:
            message, text = f"The pull secret {where} does not exist", f"Make it in namespace {namespace}."
        elif secret.get("type") != "kubernetes.io/dockerconfigjson":
            message, text = (
                f"The pull secret {where} has the type {secret.get('type')}",
                "It must be kubernetes.io/dockerconfigjson.",
            )
        else:
            message = f"The pull secret {where} is there."
            findings.append(Finding("image-pull-secret", "images", PASS, message, subject=name))
            continue
        findings.append(Finding("image-pull-secret", "images", FAIL, message, text, subject=name))
    return findings


# Storage


def of_bucket(place: str, problem: str | None, exists: bool, creates: bool) -> Finding:
    """place names bucket and endpoint; problem is why it could not be listed."""
    if problem:
        return Finding(
            "s3", "storage", FAIL, problem, "Check the model_storage_* variables, or AWS_* in the environment."
        )
    if exists:
        return Finding("s3", "storage", PASS, f"{place} answers and lets these credentials list it.")
    if creates:
        return Finding("s3", "storage", PASS, f"{place} answers; the bucket will be made.")
    text = "Make the bucket, or set model_storage_create_bucket=true."
    return Finding("s3", "storage", FAIL, f"{place} does not exist", text)


def of_model_files(service: Service, place: str, size_bytes: int | None, problem: str | None) -> Finding:
    """Whether the model is where the service expects it, or on this machine to be uploaded; place says where it is."""
    if problem:
        text = "Correct where it is loaded from (storage_uri, model.uri), or name the model in llmstack_models so that it is uploaded."
        return Finding(
            "model-files", "storage", FAIL, f"{service.object_name}: {problem}", text, {}, service.object_name
        )
    if size_bytes is None:
        return Finding(
            "model-files",
            "storage",
            SKIP,
            f"{service.object_name}: {place} was not looked at.",
            "",
            {},
            service.object_name,
        )
    message = f"{service.object_name}: {place} holds {size_bytes / GIB:.2f} GiB."
    return Finding("model-files", "storage", PASS, message, "", {"bytes": size_bytes}, service.object_name)


def of_claim(service: Service, namespace: str, name: str, claim: Mapping[str, Any] | None) -> Finding:
    """The PersistentVolumeClaim that a service's storage_uri names (pvc://name/path)."""
    where = f"{namespace}/{name}"
    if claim is None:
        text = f"Make it, or correct where {service.name} is loaded from."
        message = f"The PersistentVolumeClaim {where} of {service.name} does not exist"
        return Finding("volume-claim", "storage", FAIL, message, text, {}, service.name)
    modes = list(claim["spec"].get("accessModes") or [])
    phase = (claim.get("status") or {}).get("phase")
    evidence = {"access_modes": modes, "phase": phase}
    if phase == "Lost":
        text = "Its volume is gone: restore it, or make the claim anew."
        return Finding("volume-claim", "storage", FAIL, f"{where} has lost its volume", text, evidence, service.name)
    shared = {"ReadWriteMany", "ReadOnlyMany"} & set(modes)
    if service.replicas > 1 and not shared:
        message = f"{where} is {', '.join(modes)}, and the {service.replicas} replicas of {service.name} may be on several nodes"
        text = "Use a claim that is ReadOnlyMany or ReadWriteMany."
        return Finding("volume-claim", "storage", FAIL, message, text, evidence, service.name)
    if phase == "Pending":
        text = "`kubectl describe pvc` says what it waits for; the first pod may be it."
        return Finding("volume-claim", "storage", WARN, f"{where} is not bound yet", text, evidence, service.name)
    return Finding(
        "volume-claim", "storage", PASS, f"{where} is {phase}, {', '.join(modes)}.", "", evidence, service.name
    )


def of_storage_classes(wanted: Iterable[Mapping[str, Any]], classes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """wanted: volumes that are to be made: name, storage_class (none: the default) and access_mode."""
    default_key = "storageclass.kubernetes.io/is-default-class"
    defaults = [item for item in classes if (item["metadata"].get("annotations") or {}).get(default_key) == "true"]
    by_name = {item["metadata"]["name"]: item for item in classes}
    findings = []
    for volume in wanted:
        name, chosen = volume["name"], volume.get("storage_class")
        found = by_name.get(chosen) if chosen else (defaults[0] if defaults else None)
        mode = volume.get("access_mode") or "ReadWriteOnce"
        listed = ", ".join(by_name) or "none"
        evidence = {"storage_classes": list(by_name), "access_mode": mode}
        if found is None and chosen:
            message, text = f"The storage class {chosen} of volume {name} does not exist", f"There are: {listed}."
        elif found is None:
            message = f"The volume {name} names no storage class, and none is the default"
            text = f"Name one of: {listed}."
        elif mode in ("ReadWriteMany", "ReadOnlyMany") and found.get("provisioner") in _ONE_NODE_PROVISIONERS:
            message = (
                f"The volume {name} is {mode}, which {found.get('provisioner')} of storage class "
                f"{found['metadata']['name']} cannot make"
            )
            text = "Use a class with a shared file system (NFS, CephFS, EFS, Filestore, Azure Files)."
        else:
            message = f"{name}: storage class {found['metadata']['name']}, {mode}."
            findings.append(Finding("storage-class", "storage", PASS, message, "", evidence, name))
            continue
        findings.append(Finding("storage-class", "storage", FAIL, message, text, evidence, name))
    return findings


# Quotas


def demand(wanted: Iterable[Service], gpu_resource: str) -> dict[str, float]:
    """What the pods of services take together, by the names that ResourceQuota uses."""
    total: dict[str, float] = {}
    for service in wanted:
        amounts = {"pods": 1.0, f"requests.{gpu_resource}": float(service.gpus)}
        for part in ("requests", "limits"):
            for name, amount in (service.resources.get(part) or {}).items():
                amounts[f"{part}.{name}"] = quantity(amount)
        for name, value in amounts.items():
            total[name] = total.get(name, 0.0) + value * service.replicas * service.pods_per_replica
    return total


def of_quotas(quotas: Iterable[Mapping[str, Any]], needed: Mapping[str, float], namespace: str) -> list[Finding]:
    """Whether every ResourceQuota leaves what is needed; those with scopes count other pods than these, or some."""
    findings = []
    for item in quotas:
        spec, status = item.get("spec") or {}, item.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        name = item["metadata"]["name"]
        for resource, hard in (spec.get("hard") or {}).items():
            # "cpu" and "memory" are short for requests of them.
            need = needed.get(resource, needed.get(f"requests.{resource}", 0.0))
            left = quantity(hard) - quantity((status.get("used") or {}).get(resource, 0))
            if need > left:
                message = (
                    f"The ResourceQuota {namespace}/{name} leaves {_amount(left)} {resource}, and the services need "
                    f"{_amount(need)} more"
                )
                text = "Raise the quota, or serve less in this namespace."
                evidence = {"hard": hard, "left": left, "needed": need}
                findings.append(Finding("quota", "quota", FAIL, message, text, evidence, f"{name}:{resource}"))
    return findings or [Finding("quota", "quota", PASS, f"The quotas of namespace {namespace} leave enough.")]


def of_limit_ranges(ranges: Iterable[Mapping[str, Any]], wanted: Sequence[Service], namespace: str) -> list[Finding]:
    """Whether a LimitRange refuses a service's container or pod."""
    findings = []
    for item in ranges:
        for entry in (item.get("spec") or {}).get("limits") or []:
            if entry.get("type") not in ("Container", "Pod"):
                continue
            for resource, most in (entry.get("max") or {}).items():
                for service in wanted:
                    asked = (service.resources.get("limits") or {}).get(resource)
                    if asked is not None and quantity(asked) > quantity(most):
                        name = f"{namespace}/{item['metadata']['name']}"
                        message = (
                            f"The LimitRange {name} allows {most} {resource}, and {service.name} has a limit of {asked}"
                        )
                        text = "Raise it, or lower the service's resources."
                        findings.append(Finding("limit-range", "quota", FAIL, message, text, {}, service.name))
    return findings


def _amount(value: float) -> str:
    if abs(value) >= GIB:
        return f"{value / GIB:.1f}Gi"
    return f"{value:g}"

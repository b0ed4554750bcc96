# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at everything that the preflight judges, at the same time, and never longer than asked. PRIVATE to the collection.

Only reads are sent, and questions about permissions (SelfSubjectAccessReview), which the API server answers and forgets.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _gpu_checks,
    _gpu_survey,
    _llmdeployment,
    _model_fit,
    _model_placement,
    _model_source,
    _model_verdict,
    _preflight_cluster,
    _preflight_wanted,
    _preflight_workload,
    _registry,
    _s3,
)
from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import FAIL, PASS, SKIP
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._preflight import Finding
from ansible_collections.llmstack.serving.plugins.module_utils._preflight_cluster import Right
from ansible_collections.llmstack.serving.plugins.module_utils._preflight_wanted import Service

# The newest first.
_SERVED_AS = {
    "InferenceService": ["serving.kserve.io/v1beta1"],
    _llmdeployment.KIND: [_llmdeployment.API_VERSION, _llmdeployment.OLD_API_VERSION],
}
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# As many connections as a client keeps.
_ASKING_THREADS = 8


class Answers:
    """What probes found by name, or why they found nothing."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.problems: dict[str, str] = {}

    def get(self, name: str, default: Any = None) -> Any:
        return self.found.get(name, default)


def ask_all(probes: Mapping[str, Callable[[], Any]], deadline: float) -> Answers:
    """Run all probes at the same time until deadline (time.monotonic); what a probe raises as KubeError is its problem."""
    answers = Answers()

    def run(name: str, probe: Callable[[], Any]) -> None:
        try:
            answers.found[name] = probe()
        except (errors.KubeError, _s3.S3Error, _model_source.SourceError) as error:
            answers.problems[name] = str(error)
        except _model_source.MissingLibrary as error:
            answers.problems[name] = f"the Python package {error.library} is missing"

    # Daemons, which the end of the process does not wait for: a connection that hangs must not hold up the play.
    threads = {name: threading.Thread(target=run, args=(name, probe), daemon=True) for name, probe in probes.items()}
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            answers.problems.setdefault(name, "there was no answer in time")
    return answers


def findings(kube: Kube, options: Mapping[str, Any]) -> list[Finding]:
    """Everything about the cluster and about what is to be served there. options: the parameters of preflight_info."""
    deadline = time.monotonic() + options["timeout"]
    wanted, wrong = _wanted(options)
    return [*wrong, *_of_cluster(kube, options, wanted, deadline)]


def _wanted(options: Mapping[str, Any]) -> tuple[list[Service], list[Finding]]:
    """What is to be served, and what is wrong with entries that cannot be."""
    runtime = options["runtime"]
    wanted: list[Service] = []
    wrong = []
    for entry in options["services"]:
        try:
            wanted.append(_preflight_wanted.of_inference_service(entry, runtime))
        except ValueError as error:
            text = "Correct llmstack_inference_services."
            wrong.append(Finding("services", "variables", FAIL, str(error), text, {}, str(entry.get("name") or "")))
    for entry in options["llm_deployments"]:
        there = {"namespace": options["namespace"], **entry}
        try:
            wanted += _preflight_wanted.of_llm_deployment(there, runtime, options["gpu_resource"])
        except ValueError as error:
            text = "Correct llmstack_llm_deployments."
            wrong.append(
                Finding("llm-deployments", "variables", FAIL, str(error), text, {}, str(entry.get("name") or ""))
            )
    return wanted, wrong


def _of_cluster(
    kube: Kube,
    options: Mapping[str, Any],
    wanted: Sequence[Service],
    deadline: float,
) -> list[Finding]:
    storage = Storage(options, wanted)
    first = ask_all({"version": lambda: kube.request("GET", "/version", "the API server's version")}, deadline)
    probes = dict(storage.probes())
    if "version" in first.found:
        probes.update(_cluster_probes(kube, options, wanted))
    answers = ask_all(probes, deadline)
    if "version" not in first.found:
        problem = first.problems["version"]
        text = "Check llmstack_kubeconfig and llmstack_context, or K8S_AUTH_* in the environment."
        found = [Finding("api-server", "cluster", FAIL, f"The cluster does not answer: {problem}", text)]
        return [*found, *storage.findings(answers)]
    version = first.found["version"]["gitVersion"]
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return [
        Finding(
            "api-server", "cluster", PASS, f"The API server answers: Kubernetes {version}.", "", {"version": version}
        ),
        *_preflight_cluster.of_kubernetes(
            version, options["components"], today, options["allow_unsupported_kubernetes"]
        ),
        *_of_permissions(answers, options),
        *_of_what_is_there(answers, options),
        *_of_gpus(answers, options, wanted, storage, deadline),
        *_of_images(answers, options),
        *storage.findings(answers),
        *_of_volumes(answers, options, wanted),
        *_of_quotas(answers, options, wanted),
    ]


def _cluster_probes(kube: Kube, options: Mapping[str, Any], wanted: Sequence[Service]) -> dict[str, Callable[[], Any]]:
    namespace = options["namespace"]
    images = options["images"]
    return {
        "permissions": lambda: _permissions(kube, options["permissions"]),
        "groups": lambda: kube.request("GET", "/apis", "the API groups")["groups"],
        "crds": lambda: kube.metadata("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        "gpus": lambda: _gpu_survey.survey(kube, options["node_selector"], images),
        "namespaces": lambda: _existing(kube, [Ref("v1", "Namespace", None, name) for name in options["namespaces"]]),
        "objects": lambda: _existing(kube, [Ref(**entry) for entry in options["objects"]]),
        "installs": lambda: {
            entry["name"]: kube.list("apps/v1", "Deployment", labels=entry["selector"])[0]
            for entry in options["installs"]
        },
        "webhooks": lambda: _webhooks(kube, options),
        "classes": lambda: kube.list("storage.k8s.io/v1", "StorageClass")[0],
        "claims": lambda: {
            service.title: kube.get(
                Ref("v1", "PersistentVolumeClaim", service.namespace or namespace, claim_of(service))
            )
            for service in wanted
            if claim_of(service)
        },
        "quotas": lambda: kube.list("v1", "ResourceQuota", namespace)[0],
        "limit_ranges": lambda: kube.list("v1", "LimitRange", namespace)[0],
        "deployed": lambda: _deployed(kube, namespace, wanted),
        "images": lambda: _images(kube, options),
        "charts": lambda: _asked(options["charts"], options["timeout"], plain_http=options["charts_plain_http"]),
        "files": lambda: {location: _file(location, options["timeout"] / 2) for location in options["files"]},
    }


def claim_of(service: Service) -> str:
    """The PersistentVolumeClaim in pvc://claim/path."""
    scheme, _colon, rest = service.storage_uri.partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else ""


# Permissions


def _permissions(kube: Kube, rules: Sequence[Mapping[str, Any]]) -> list[tuple[Right, str | None]]:
    """What of the rules nobody allows where it is needed."""
    # One question spares an administrator hundreds.
    if not _refused(kube, [(_preflight_cluster.EVERYTHING, None)]):
        return []
    needed = _preflight_cluster.needs(rules)
    refused = [right for right, _everywhere in _refused(kube, [(right, None) for right in needed])]
    again = [(right, place) for right in refused for place in needed[right] if place is not None]
    return [(right, None) for right in refused if None in needed[right]] + _refused(kube, again)


def _refused(kube: Kube, questions: Sequence[tuple[Right, str | None]]) -> list[tuple[Right, str | None]]:
    """Those of the questions that are not answered with yes, in their order."""
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(questions)):
        waiting.put(number)
    allowed: dict[int, bool] = {}
    problems: list[errors.KubeError] = []

    def work() -> None:
        while not problems:
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            right, place = questions[number]
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": right.attributes(place)},
            }
            try:
                answer = kube.request("POST", _REVIEWS, "a question about permissions", body=review)
            except errors.KubeError as error:
                problems.append(error)
                return
            allowed[number] = bool((answer.get("status") or {}).get("allowed"))

    threads = [threading.Thread(target=work, daemon=True) for _number in range(min(_ASKING_THREADS, len(questions)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return [question for number, question in enumerate(questions) if not allowed.get(number)]


def _of_permissions(answers: Answers, options: Mapping[str, Any]) -> list[Finding]:
    refused = answers.get("permissions", [])
    return _preflight_cluster.of_permissions(options["permissions"], refused, answers.problems.get("permissions"))


# What is there already


def _existing(kube: Kube, refs: Sequence[Ref]) -> list[dict[str, Any]]:
    """The objects that are there; those of kinds that are not served are not."""
    found = []
    for ref in refs:
        try:
            item = kube.get(ref)
        except errors.KindNotFound:
            continue
        if item:
            found.append({"apiVersion": ref.api_version, "kind": ref.kind, **item})
    return found


def _webhooks(kube: Kube, options: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, bool | None]]:
    """Webhook configurations, and whether the Services are answered that may refuse what the plays write."""
    version = "admissionregistration.k8s.io/v1"
    configurations = [
        item
        for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
        for item in kube.list(version, kind)[0]
    ]
    # Which namespaces they select is judged later.
    anywhere: dict[str, dict[str, str]] = {"": {}}
    names = dict.fromkeys(
        name
        for item in configurations
        for name in _preflight_cluster.required_services(_for_all(item), _written(options), anywhere)
    )
    return configurations, {name: _is_answered(kube, *name.split("/")) for name in names}


def _for_all(configuration: dict[str, Any]) -> dict[str, Any]:
    return {"webhooks": [{**hook, "namespaceSelector": {}} for hook in configuration.get("webhooks") or []]}


def _written(options: Mapping[str, Any]) -> set[str]:
    """The API groups that the plays write."""
    return {group for rule in options["permissions"] if "create" in rule["verbs"] for group in rule["apiGroups"]}


def _labels(answers: Answers, options: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The namespaces of the plays with their labels; those to be made have the one that the API server gives."""
    there = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in answers.get("namespaces", [])}
    return {name: there.get(name, {"kubernetes.io/metadata.name": name}) for name in options["namespaces"]}


def _is_answered(kube: Kube, namespace: str, name: str) -> bool | None:
    """Whether a Service has a ready endpoint; None if that may not be read."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    query = {"labelSelector": f"kubernetes.io/service-name={name}"}
    try:
        slices = kube.request("GET", path, f"the endpoints of Service {namespace}/{name}", query)["items"]
    except errors.Forbidden:
        return None
    endpoints = [endpoint for item in slices for endpoint in item.get("endpoints") or []]
    # Unknown counts as ready, as the API says.
    return any((endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints)


def _of_what_is_there(answers: Answers, options: Mapping[str, Any]) -> list[Finding]:
    found: list[Finding] = []
    if "namespaces" in answers.found:
        found += _preflight_cluster.of_namespaces(answers.get("namespaces"))
    for component in options["installs"]:
        if "installs" in answers.found:
            found += _preflight_cluster.of_installs(component, answers.get("installs")[component["name"]])
    if "objects" in answers.found:
        found += _preflight_cluster.of_managers(answers.get("objects"), [FIELD_MANAGER, *options["field_managers"]])
    if "webhooks" in answers.found:
        releases = [f"{entry['namespace']}/{entry['release']}" for entry in options["installs"]]
        configurations, services = answers.found["webhooks"]
        found += _preflight_cluster.of_webhooks(
            configurations, services, releases, _written(options), _labels(answers, options)
        )
    if "crds" in answers.found and "groups" in answers.found:
        served = {group["name"]: [entry["version"] for entry in group["versions"]] for group in answers.get("groups")}
        found += _preflight_cluster.of_operators(answers.get("crds"), options["operators"])
        found += _preflight_cluster.of_crds(answers.get("crds"), served, options["crds"])
    unseen = {
        "namespaces": ("namespace-state", "conflicts"),
        "installs": ("other-install", "conflicts"),
        "objects": ("field-managers", "conflicts"),
        "webhooks": ("webhooks", "conflicts"),
        "crds": ("crds", "crds"),
    }
    return found + [_skipped(answers, name, *where) for name, where in unseen.items() if name in answers.problems]


def _skipped(answers: Answers, probe: str, check: str, category: str) -> Finding:
    return Finding(check, category, SKIP, f"Not looked at: {answers.problems[probe]}")


# GPUs and the models on them


def _deployed(kube: Kube, namespace: str, wanted: Sequence[Service]) -> list[Service]:
    """Those of them that are there."""

    def exists(service: Service) -> bool:
        place = service.namespace or namespace
        versions = _SERVED_AS[service.kind]
        return bool(_existing(kube, [Ref(version, service.kind, place, service.object_name) for version in versions]))

    return [service for service in wanted if exists(service)]


def _of_gpus(
    answers: Answers,
    options: Mapping[str, Any],
    wanted: Sequence[Service],
    storage: Storage,
    deadline: float,
) -> list[Finding]:
    if "gpus" in answers.problems:
        return [_skipped(answers, "gpus", "gpu-nodes", "gpus")]
    nodes, cluster, _listed = answers.get("gpus")
    expected = _gpu_checks.Expectations(
        # The taints are judged for each service.
        tolerations=[{"operator": "Exists"}],
        allow_degraded=True,
        distributed=any(service.distributed for service in wanted),
        min_driver=_gpu_checks.minimum_driver(options["min_driver"], options["cuda_version"]),
    )
    checks = [finding for node in nodes for finding in _gpu_checks.of_node(node, expected)]
    checks += _gpu_checks.of_cluster(nodes, cluster, expected)
    found = _preflight_workload.of_gpus(_gpu_checks.grouped(checks))
    deployed = answers.get("deployed", [])
    resource, promised = options["gpu_resource"], options["gpu_promise"]
    if options["gpu_operator_planned"] and all(node["mode"] == "none" for node in nodes):
        promised = promised or "The GPU operator is to make the nodes offer them."
    found += _preflight_workload.of_placement(wanted, deployed, nodes, resource, promised)
    fits = ask_all(
        {service.title: _fit(service, nodes, storage) for service in wanted if service.gpus},
        deadline,
    )
    for service in wanted:
        if service.gpus:
            found.append(
                fits.get(service.title) or _preflight_workload.of_fit(service, None, fits.problems[service.title])
            )
        disk = _preflight_workload.of_disk(service, storage.size_bytes(service, answers), nodes)
        found += [disk] if disk else []
    return found


def _fit(
    service: Service,
    nodes: Sequence[dict[str, Any]],
    storage: Storage,
) -> Callable[[], Finding]:
    """A probe that reads the headers of a model and judges it on the nodes that its service may use."""

    def probe() -> Finding:
        possible = _preflight_workload.candidates(service, nodes)
        # Whether they are free is judged for all services together, by of_placement.
        at_rest = [{**node, "free": node["allocatable"], "mig": _all_free(node["mig"])} for node in possible]
        # So is whether there are as many nodes as a replica spans: here each stands for several of its kind.
        at_rest *= service.pods_per_replica
        place = storage.place(service)
        if not at_rest:
            return _preflight_workload.of_fit(service, None, "no node is usable for it.")
        try:
            _model_placement.nodes(at_rest)
        except ValueError as error:
            return _preflight_workload.of_fit(service, None, str(error))
        if not place:
            return _preflight_workload.of_fit(service, None, f"{service.storage_uri} cannot be read from here.")
        params = {
            **FIT_DEFAULTS,
            **storage.connection,
            **service.engine,
            "model": place,
            "nodes": at_rest,
        }
        try:
            return _preflight_workload.of_fit(service, _model_verdict.predict(params))
        except (ValueError, _model_source.SourceError) as error:
            return _preflight_workload.of_unreadable(service, str(error))
        except _model_source.MissingLibrary as error:
            return _preflight_workload.of_fit(service, None, f"the Python package {error.library} is missing.")

    return probe


def _all_free(mig: dict[str, Any] | None) -> dict[str, Any] | None:
    if not mig:
        return None
    return {**mig, "profiles": [{**entry, "free": entry["allocatable"]} for entry in mig["profiles"]]}


# What model_fit's options are when nobody sets them.
FIT_DEFAULTS: dict[str, Any] = {
    "config": None,
    "weights_gib": None,
    "max_model_len": None,
    "gpu_memory_utilization": _model_fit.DEFAULT_UTILIZATION,
    "gpu": None,
    "dtype": "auto",
    "quantization": None,
    "kv_cache_dtype": "auto",
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "decode_context_parallel_size": 1,
    "enable_expert_parallel": False,
    "kv_cache_memory_bytes": None,
    "max_num_seqs": None,
    "max_num_batched_tokens": None,
    "block_size": None,
    "enable_prefix_caching": True,
    "enforce_eager": False,
    "activation_gib": None,
    "non_torch_gib": None,
    "lora": None,
    "speculative": None,
    "suggestions": 1,
}


# Images


def _images(kube: Kube, options: Mapping[str, Any]) -> dict[str, Any]:
    """The pull secrets by name, and what the registries say of each image."""
    secrets: dict[str, dict[str, Any] | None] = {}
    auths: dict[str, Any] = {}
    for name in options["image_pull_secrets"]:
        try:
            secrets[name] = kube.get(Ref("v1", "Secret", options["namespace"], name))
        except errors.Forbidden:
            continue
        auths.update(_auths(secrets[name]))
    where = {"mirror": options["image_mirror"], "plain_http": options["image_mirror_plain_http"], "auths": auths}
    return {"secrets": secrets, "registries": _asked(options["images"], options["timeout"], **where)}


def _asked(references: Sequence[str], timeout: float, **where: Any) -> dict[str, Any]:
    """What registries say of images or charts; a chart in a registry is found as an image is (Helm: OCI artifacts)."""
    told: dict[str, Any] = {}

    def probe(reference: str) -> Callable[[], None]:
        def ask() -> None:
            told[reference] = _registry.ask(reference, timeout=timeout / 2, **where)

        return ask

    ask_all({reference: probe(reference) for reference in references}, time.monotonic() + timeout)
    return told


def _file(location: str, timeout: float) -> dict[str, Any]:
    """Whether a file is at a URL (one HEAD request) or a path: status (HTTP) or error. timeout in seconds."""
    if not location.startswith(("http://", "https://")):
        return {} if os.access(location, os.R_OK) else {"error": "there is no such file that can be read"}
    try:
        return {"status": int(open_url(location, method="HEAD", timeout=timeout).code)}
    except HTTPError as error:
        return {"status": error.code}
    except (OSError, ValueError) as error:
        return {"error": str(getattr(error, "reason", error))}


def _auths(secret: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        data = json.loads(base64.b64decode((secret or {})["data"][".dockerconfigjson"]))
        return dict(data.get("auths") or {})
    except (KeyError, TypeError, ValueError):
        return {}


def _of_images(answers: Answers, options: Mapping[str, Any]) -> list[Finding]:
    told = answers.get("images") or {"secrets": {}, "registries": {}}
    cluster = answers.get("gpus", (None, _gpu_checks.Cluster(), 0))[1]
    found = _preflight_workload.of_pull_secrets(options["image_pull_secrets"], options["namespace"], told["secrets"])
    for image in options["images"]:
        on_nodes = cluster.images.get(image, [])
        found.append(_preflight_workload.of_image(image, on_nodes, told["registries"].get(image)))
    charts, files = answers.get("charts") or {}, answers.get("files") or {}
    found += [_preflight_workload.of_chart(chart, charts.get(chart)) for chart in options["charts"]]
    return found + [_preflight_workload.of_file(location, files.get(location)) for location in options["files"]]


# Storage


class Storage:
    """Where the models of the services lie, and the bucket, looked at from this machine."""

    def __init__(self, options: Mapping[str, Any], wanted: Sequence[Service]) -> None:
        self._wanted = wanted
        s3 = options["s3"] or {}
        self._bucket_name: str = s3.get("bucket") or ""
        self._creates = bool(s3.get("create_bucket"))
        # The parameters of _model_source and _s3.
        self.connection = {
            name: spec.get("default") if s3.get(name) in (None, "") else s3[name]
            for name, spec in _s3.AWS_ARG_SPEC.items()
        }
        # s3://bucket/folder -> the directory that is uploaded to there.
        self._sources = {
            f"s3://{self._bucket_name}/{str(model.get('prefix') or model['name']).strip('/')}": os.path.expanduser(
                model["src"]
            )
            for model in options["models"]
        }

    def place(self, service: Service) -> str:
        """Where the headers can be read from here: the directory that will be uploaded, else the bucket; empty if nowhere."""
        uri = service.storage_uri.rstrip("/")
        return self._sources.get(uri) or (uri if uri.startswith("s3://") else "")

    def probes(self) -> dict[str, Callable[[], Any]]:
        places = {self.place(service) for service in self._wanted} - {""}
        needed = any(service.storage_uri.startswith("s3://") for service in self._wanted) or self._sources
        found: dict[str, Callable[[], Any]] = {place: self._size(place) for place in places}
        if needed and self._bucket_name:
            found["s3"] = self._lists
        return found

    def _size(self, place: str) -> Callable[[], int]:
        def probe() -> int:
            return sum(_model_source.at(place, self.connection).sizes().values())

        return probe

    def _lists(self) -> bool:
        """Whether the bucket is there."""
        if _s3.BOTO3_IMPORT_ERROR:
            raise _model_source.MissingLibrary("boto3", _s3.BOTO3_IMPORT_ERROR)
        bucket = _s3.Bucket(self._bucket_name, self.connection, 1, 1)
        try:
            # One page of one folder: a bucket can hold millions of objects.
            bucket.neighbours("")
        except _s3.S3Error as error:
            if error.code == "NoSuchBucket":
                return False
            raise
        return True

    def size_bytes(self, service: Service, answers: Answers) -> int | None:
        size: int | None = answers.get(self.place(service))
        return size

    def findings(self, answers: Answers) -> list[Finding]:
        found = []
        if "s3" in answers.found or "s3" in answers.problems:
            place = f"s3://{self._bucket_name} at {self.connection['endpoint_url'] or 'Amazon S3'}"
            problem, exists = answers.problems.get("s3"), answers.get("s3", False)
            found.append(_preflight_workload.of_bucket(place, problem, exists, self._creates))
        for service in self._wanted:
            place = self.place(service)
            if place:
                size = self.size_bytes(service, answers)
                problem = (
                    None if "s3" in answers.problems and place.startswith("s3://") else answers.problems.get(place)
                )
                finding = _preflight_workload.of_model_files(service, place, size, problem)
                # Prefill and decode have one model.
                found += [finding] if finding not in found else []
        return found


def _of_volumes(answers: Answers, options: Mapping[str, Any], wanted: Sequence[Service]) -> list[Finding]:
    found = []
    if "claims" in answers.problems:
        found.append(_skipped(answers, "claims", "volume-claim", "storage"))
    for service in wanted:
        if service.title in answers.get("claims", {}):
            claim = answers.get("claims")[service.title]
            where = service.namespace or options["namespace"]
            found.append(_preflight_workload.of_claim(service, where, claim_of(service), claim))
    if options["volumes"] and "classes" in answers.problems:
        found.append(_skipped(answers, "classes", "storage-class", "storage"))
    elif options["volumes"]:
        found += _preflight_workload.of_storage_classes(options["volumes"], answers.get("classes"))
    return found


def _of_quotas(answers: Answers, options: Mapping[str, Any], wanted: Sequence[Service]) -> list[Finding]:
    namespace = options["namespace"]
    here = [service for service in wanted if service.namespace in (None, namespace)]
    new = [service for service in here if service not in answers.get("deployed", [])]
    found = []
    if "quotas" in answers.problems:
        found.append(_skipped(answers, "quotas", "quota", "quota"))
    else:
        needed = _preflight_workload.demand(new, options["gpu_resource"])
        found += _preflight_workload.of_quotas(answers.get("quotas"), needed, namespace)
    if "limit_ranges" in answers.problems:
        found.append(_skipped(answers, "limit_ranges", "limit-range", "quota"))
    else:
        found += _preflight_workload.of_limit_ranges(answers.get("limit_ranges"), here, namespace)
    return found

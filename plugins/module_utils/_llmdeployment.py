# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the vocabulary of an LLM deployment to the LLMInferenceService of KServe that does the same. Pure.

PRIVATE to the collection. Each option leaves a row in `Translation.rows` that says what became of it. What LLMInferenceService
cannot say is in `lost`, what makes no sense in `problems`: both are known before anything is sent.

Fields: KServe pkg/apis/serving/v1alpha2/llm_inference_service_types.go. The presets that they are merged over:
config/llmisvcconfig. Flags: `vllm serve --help=all` of vLLM 0.32.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_picker as picker
from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import POD_FIELDS, OptionError, merged
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_cache import Cache
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_hash import with_hashes
from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity

KIND = "LLMInferenceService"
API_VERSION = "serving.kserve.io/v1alpha2"
OLD_API_VERSION = "serving.kserve.io/v1alpha1"
# The vocabulary's own kind. Nobody has published its controller; somebody may have one of that name.
LITERAL_KIND = "LLMDeployment"
LITERAL_API_VERSION = "llm-d.io/v1alpha1"

# pkg/controller/v1alpha2/llmisvc/workload_storage.go
_SCHEMES = ("hf://", "s3://", "pvc://", "oci://")
# vllm/distributed/kv_transfer/kv_connector/factory.py, those that move a prompt's cache from one engine to another.
CONNECTORS = (
    "FlexKVConnectorV1",
    "LMCacheConnectorV1",
    "MoRIIOConnector",
    "MooncakeConnector",
    "NixlConnector",
)
_POD = {**POD_FIELDS, "volumes": "volumes"}
# Flags that this module or the presets set: who gives them as well gets two values and does not know which one counts.
_OWN_FLAGS = {
    "--kv-transfer-config": "cache and kv_connector",
    "--max-num-seqs": "batchSize",
    "--port": "the preset; it cannot be changed",
    "--served-model-name": "model.name",
    "--tensor-parallel-size": "resources.gpu or parallelism.tensor",
}
# Where the engine listens: decode stands behind the routing sidecar.
_METRICS_PORT = {"decode": "8001", "prefill": "8000", "aggregated": "8000"}


@dataclass
class Translation:
    """`rows`: option, value, fields, flags, note. `problems`, `lost` and `warnings` are sentences."""

    manifest: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def row(
        self, option: str, value: Any, fields: tuple[str, ...] = (), flags: tuple[str, ...] = (), note: str = ""
    ) -> None:
        entry = {"option": option, "value": value, "fields": list(fields), "flags": list(flags), "note": note}
        self.rows.append({**entry, "expressed": True})

    def lose(self, option: str, value: Any, why: str) -> None:
        """An option that the object cannot say."""
        self.rows.append({"option": option, "value": value, "fields": [], "flags": [], "note": why, "expressed": False})
        self.lost.append(f"{option}: {why}")


def translate(options: dict[str, Any], *, api_version: str = API_VERSION, picker_tls: bool = True) -> Translation:
    """The LLMInferenceService for module options (names as in the module's documentation, unset ones None).

    `picker_tls`: whether the gateway speaks TLS to the endpoint picker. Istio does not unless a DestinationRule says so.
    """
    made = Translation()
    serving, mode = options["serving"], options["serving"].get("mode") or "aggregated"
    disaggregated = mode == "disaggregated"
    spec: dict[str, Any] = {"model": _model(options, made)}
    parts = _parts(serving, disaggregated, made)
    cache = Cache.of(options.get("cache") or {}, made)
    if cache.offloads and api_version == OLD_API_VERSION:
        made.lose("cache.tiers", [tier["type"] for tier in cache.offloading], _needs_new_version())
        cache.offloading = []
    for name, given in parts.items():
        workload = _workload(name, given, options, disaggregated, cache, made)
        if name == "prefill":
            spec["prefill"] = workload
        else:
            spec |= workload
    if disaggregated:
        made.row("serving.mode", mode, ("spec.prefill",), (), "two groups of pods, one for prompts, one for tokens")
        _check_parallelism(spec, parts, made)
    else:
        made.row("serving.mode", mode, ("spec.template",), (), "one group of pods does both")
    spec["router"] = _router(serving, options, disaggregated, picker_tls, made)
    _monitoring(options, parts, disaggregated, spec, made)
    if options.get("base_refs"):
        spec["baseRefs"] = [{"name": name} for name in options["base_refs"]]
        made.row("base_refs", options["base_refs"], ("spec.baseRefs",))
    made.manifest = _finished(options, api_version, spec, made)
    return made


def literal(options: dict[str, Any]) -> Translation:
    """The vocabulary as it is, for a cluster that serves a kind of that name; what the vocabulary does not have is lost."""
    made = Translation()
    model = {key: options["model"][key] for key in ("name", "runtime") if options["model"].get(key)}
    if options["model"].get("uri"):
        made.lose("model.uri", options["model"]["uri"], f"{LITERAL_KIND} has no field for it.")
    serving: dict[str, Any] = {"mode": options["serving"].get("mode") or "aggregated"}
    gateway = options["serving"].get("gateway") or {}
    serving["gateway"] = {key: gateway[key] for key in ("replicas", "resources") if gateway.get(key) is not None}
    for part in ("prefill", "decode"):
        if given := options["serving"].get(part):
            names = {"replicas": "replicas", "batch_size": "batchSize", "resources": "resources"}
            serving[part] = {field_: given[key] for key, field_ in names.items() if given.get(key) is not None}
    spec: dict[str, Any] = {"model": model, "serving": serving}
    for part in ("cache", "monitoring"):
        if options.get(part):
            spec[part] = _without_nothing(options[part])
    spec = _without_nothing(spec)
    for name in ("model", "serving", *(part for part in ("cache", "monitoring") if options.get(part))):
        made.row(name, options[name], (f"spec.{name}",), (), "as it is")
    metadata = {"name": options["name"], "namespace": options["namespace"]}
    made.manifest = {"apiVersion": LITERAL_API_VERSION, "kind": LITERAL_KIND, "metadata": metadata, "spec": spec}
    return made


def _finished(options: dict[str, Any], api_version: str, spec: dict[str, Any], made: Translation) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", options["name"]) or len(options["name"]) > 63:
        made.problems.append(
            f"name {options['name']!r} is no name of a Service: begin with a letter, go on with lower case letters, digits "
            "and '-', at most 63."
        )
    metadata: dict[str, Any] = {"name": options["name"], "namespace": options["namespace"]}
    for key in ("labels", "annotations"):
        if options.get(key):
            metadata[key] = options[key]
            made.row(key, options[key], (f"metadata.{key}",))
    manifest = {"apiVersion": api_version, "kind": KIND, "metadata": metadata, "spec": spec}
    try:
        return with_hashes(merged(manifest, options.get("definition") or {}, ()))
    except OptionError as error:
        made.problems.append(str(error))
        return manifest


def _needs_new_version() -> str:
    return (
        f"this cluster serves {KIND} only as {OLD_API_VERSION}, which has no kvCacheOffloading. "
        "Upgrade KServe to 0.20 or later (role llmd)."
    )


# The model


def _model(options: dict[str, Any], made: Translation) -> dict[str, Any]:
    model = options["model"]
    name = model.get("name") or options["name"]
    result: dict[str, Any] = {"name": name}
    made.row("model.name", name, ("spec.model.name",), ("--served-model-name",), "what a request calls the model")
    runtime = model.get("runtime") or "vllm"
    if runtime == "vllm":
        made.row("model.runtime", runtime, ("spec.template",), (), "KServe's presets start vLLM")
    else:
        made.problems.append(f"model.runtime is {runtime}: KServe's presets start vLLM. Use runtime: vllm.")
    uri = model.get("uri") or ""
    if not uri:
        made.problems.append(
            f"model.uri is missing: the pods must know where to load {name} from. For a model of Hugging Face give "
            f"uri: hf://{name}, for a bucket s3://bucket/prefix (role model_storage)."
        )
    elif not uri.startswith(_SCHEMES):
        made.problems.append(f"model.uri {uri} is none of {', '.join(_SCHEMES)}.")
    result["uri"] = uri
    made.row("model.uri", uri, ("spec.model.uri",))
    if lora := model.get("lora"):
        result["lora"] = _lora(lora, name, made)
    return result


def _lora(lora: dict[str, Any], base: str, made: Translation) -> dict[str, Any]:
    names = {"max_rank": "maxRank", "max_adapters": "maxAdapters", "max_cpu_adapters": "maxCpuAdapters"}
    result: dict[str, Any] = {
        "adapters": [{"name": adapter["name"], "uri": adapter["uri"]} for adapter in lora.get("adapters") or []]
    }
    seen: set[str] = set()
    for adapter in result["adapters"]:
        if adapter["name"] in seen or adapter["name"] == base:
            made.problems.append(f"model.lora.adapters: the name {adapter['name']} is taken. Give each one its own.")
        seen.add(adapter["name"])
    for option, field_ in names.items():
        if lora.get(option) is not None:
            result[field_] = lora[option]
    flags = ("--enable-lora", "--lora-modules", "--max-lora-rank", "--max-loras", "--max-cpu-loras")
    made.row("model.lora", sorted(seen), ("spec.model.lora",), flags)
    return result


# The pods


def _parts(serving: dict[str, Any], disaggregated: bool, made: Translation) -> dict[str, dict[str, Any]]:
    """Which groups of pods there are, by name; `aggregated` is the one group that does both."""
    prefill, decode = serving.get("prefill"), serving.get("decode")
    if decode is None:
        whole = "tokens" if disaggregated else "the pods"
        made.problems.append(f"serving.decode is missing: it describes {whole}. Give at least replicas and resources.")
    if disaggregated and prefill is None:
        made.problems.append(
            "serving.mode is disaggregated, but serving.prefill is missing: nobody would read the prompts. Give both "
            "sides, or mode: aggregated."
        )
    if disaggregated:
        return {"prefill": prefill or {}, "decode": decode or {}}
    if prefill:
        made.lose("serving.prefill", prefill, "serving.mode is aggregated, so that no pods do prefill alone.")
    return {"aggregated": decode or {}}


def _workload(
    part: str, given: dict[str, Any], options: dict[str, Any], disaggregated: bool, cache: Cache, made: Translation
) -> dict[str, Any]:
    """The WorkloadSpec of one group of pods."""
    at = "spec.prefill" if part == "prefill" else "spec"
    option = "serving.prefill" if part == "prefill" else "serving.decode"
    result: dict[str, Any] = {}
    flags: list[str] = []
    _replicas(given, at, option, result, made)
    resources, gpus, memory = _resources(given, options, at, option, made)
    if parallelism := _parallelism(given, gpus, at, option, options, flags, made):
        result["parallelism"] = parallelism
    if given.get("batch_size") is not None:
        flags.append(f"--max-num-seqs={given['batch_size']}")
        note = "most requests that an engine works on at a time"
        made.row(f"{option}.batchSize", given["batch_size"], (), (flags[-1],), note)
    env = _environment(part, disaggregated, cache, options, given, made)
    _check_cache(cache, memory, option, made)
    flags += cache.gpu_flags(gpus, option, made)
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if disaggregated:
        connector = options.get("kv_connector") or "NixlConnector"
        if connector not in CONNECTORS and part == "decode":
            made.problems.append(f"kv_connector {connector} is unknown: vLLM has {', '.join(CONNECTORS)}.")
        config, volumes, mounts = cache.between_engines(connector, f"{at}.template")
        flags.append(f"--kv-transfer-config={json.dumps(config, sort_keys=True, separators=(',', ':'))}")
        made.row("kv_connector", connector, (), (f"--kv-transfer-config (kv_connector: {config['kv_connector']})",))
    elif cache.offloads:
        result["kvCacheOffloading"] = cache.offloading_field()
    cache.rows(at, option, disaggregated, made)
    flags += _own_args([*(options.get("args") or []), *(given.get("args") or [])], disaggregated, cache, made)
    container: dict[str, Any] = {"name": "main"}
    if options.get("image"):
        container["image"] = options["image"]
        _check_image(options["image"], disaggregated, cache, made)
        made.row("image", options["image"], (f"{at}.template.containers[main].image",))
    if flags:
        # The presets hand it to a shell's eval, so what has quotes or braces must survive it.
        env.append({"name": "VLLM_ADDITIONAL_ARGS", "value": " ".join(shlex.quote(flag) for flag in flags)})
    for key, value in (("resources", resources), ("env", env), ("volumeMounts", mounts)):
        if value:
            container[key] = value
    template = _pod(options, given, volumes, cache)
    template["containers"] = [container]
    if disaggregated and part == "decode" and options.get("routing_sidecar_image"):
        sidecar = {"name": "llm-d-routing-sidecar", "image": options["routing_sidecar_image"]}
        template["initContainers"] = [*template.get("initContainers", []), sidecar]
        made.row(
            "routing_sidecar_image",
            options["routing_sidecar_image"],
            (f"{at}.template.initContainers[llm-d-routing-sidecar].image",),
        )
    if _spans_nodes(parallelism) or given.get("worker"):
        result["worker"] = overlaid(copy.deepcopy(template), given.get("worker") or {})
        made.row(f"{option}.worker", given.get("worker") or {}, (f"{at}.worker",), (), "a LeaderWorkerSet")
    if given.get("template"):
        template = overlaid(template, given["template"])
        made.row(f"{option}.template", given["template"], (f"{at}.template",))
    result["template"] = template
    return result


def _replicas(given: dict[str, Any], at: str, option: str, result: dict[str, Any], made: Translation) -> None:
    scaling = given.get("autoscaling")
    if scaling and given.get("replicas") is not None:
        made.problems.append(f"{option} has replicas and autoscaling: give one of them.")
    if not scaling:
        result["replicas"] = 1 if given.get("replicas") is None else given["replicas"]
        if result["replicas"] < 1:
            made.problems.append(f"{option}.replicas is {result['replicas']}: no pod would answer. Give at least 1.")
        made.row(f"{option}.replicas", result["replicas"], (f"{at}.replicas",))
        return
    least, most = scaling.get("min_replicas") or 1, scaling["max_replicas"]
    if least > most:
        made.problems.append(f"{option}.autoscaling: min_replicas {least} is more than max_replicas {most}.")
    wva: dict[str, Any] = {scaling.get("actuator") or "keda": scaling.get("behavior") or {}}
    if scaling.get("variant_cost"):
        wva["variantCost"] = str(scaling["variant_cost"])
    result["scaling"] = {"minReplicas": least, "maxReplicas": most, "wva": wva}
    note = "KServe leaves the decision to llm-d's Workload Variant Autoscaler, which must be installed"
    made.row(f"{option}.autoscaling", scaling, (f"{at}.scaling",), (), note)


def _resources(
    given: dict[str, Any], options: dict[str, Any], at: str, option: str, made: Translation
) -> tuple[dict[str, Any], int, str | None]:
    """The container's resources, its GPUs and its memory."""
    wanted = given.get("resources") or {}
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    where = f"{at}.template.containers[main].resources"
    gpus = int(wanted.get("gpu") or 0)
    if wanted.get("gpu") is not None:
        name = options.get("gpu_resource") or "nvidia.com/gpu"
        requests[name] = limits[name] = str(gpus)
        made.row(f"{option}.resources.gpu", gpus, (f"{where}.limits[{name}]", f"{at}.parallelism.tensor"))
    if wanted.get("memory") is not None:
        if is_quantity(wanted["memory"]):
            requests["memory"] = limits["memory"] = str(wanted["memory"])
        else:
            made.problems.append(_no_quantity(f"{option}.resources.memory", wanted["memory"]))
        made.row(f"{option}.resources.memory", wanted["memory"], (f"{where}.requests", f"{where}.limits"))
    if wanted.get("cpu") is not None:
        if is_quantity(wanted["cpu"]):
            # No limit: it would stop the engine's own scheduling in the middle of a step.
            requests["cpu"] = str(wanted["cpu"])
        else:
            made.problems.append(_no_quantity(f"{option}.resources.cpu", wanted["cpu"]))
        made.row(f"{option}.resources.cpu", wanted["cpu"], (f"{where}.requests",))
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    return resources, gpus, limits.get("memory")


def _parallelism(
    given: dict[str, Any],
    gpus: int,
    at: str,
    option: str,
    options: dict[str, Any],
    flags: list[str],
    made: Translation,
) -> dict[str, Any]:
    """parallelism; what KServe's single-node presets do not turn into flags is added to `flags`."""
    wanted = given.get("parallelism") or {}
    local = wanted.get("data_local") or 1
    tensor = wanted.get("tensor") or (gpus // local if gpus >= local else gpus)
    if gpus and tensor and gpus % (tensor * local):
        made.problems.append(
            f"{option}.resources.gpu is {gpus}, which is no multiple of tensor parallelism {tensor}"
            f"{f' times {local} local data parallel ranks' if local > 1 else ''}: GPUs would stay idle. Give {tensor * local}."
        )
    names = {"pipeline": "pipeline", "data": "data", "data_local": "dataLocal", "data_rpc_port": "dataRPCPort"}
    result = {field_: wanted[key] for key, field_ in names.items() if wanted.get(key) is not None}
    if tensor:
        result["tensor"] = tensor
    if wanted.get("expert"):
        result["expert"] = True
    if "pipeline" in result and ("data" in result or "dataLocal" in result):
        made.problems.append(f"{option}.parallelism has pipeline and data: KServe does one of them.")
    elif ("data" in result) != ("dataLocal" in result):
        made.problems.append(f"{option}.parallelism: data and data_local go together (ranks in all, ranks per node).")
    elif "data" in result and result["data"] % result["dataLocal"]:
        made.problems.append(f"{option}.parallelism: data {result['data']} is no multiple of data_local {local}.")
    if result.get("pipeline", 1) > 1 and not options.get("base_refs"):
        made.problems.append(
            f"{option}.parallelism.pipeline: KServe ships no preset for pipeline parallelism over nodes. Create an "
            "LLMInferenceServiceConfig with the workers' command and name it in base_refs."
        )
    if not _spans_nodes(result):
        if result.get("expert"):
            flags.append("--enable-expert-parallel")
        if result.get("dataLocal", 1) > 1:
            flags.append(f"--data-parallel-size={result['dataLocal']}")
    if wanted:
        made.row(f"{option}.parallelism", wanted, (f"{at}.parallelism",), tuple(flags))
    return result


def _spans_nodes(parallelism: dict[str, Any]) -> bool:
    ranks = parallelism.get("data", 1) // max(parallelism.get("dataLocal", 1), 1)
    return ranks > 1 or parallelism.get("pipeline", 1) > 1


def _environment(
    part: str, disaggregated: bool, cache: Cache, options: dict[str, Any], given: dict[str, Any], made: Translation
) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = []
    if disaggregated:
        address = {"fieldRef": {"fieldPath": "status.podIP"}}
        env.append({"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": address})
    if part == "prefill":
        # The sidecar keeps idle connections for 90 s, uvicorn for 5: the difference is reset connections.
        env.append({"name": "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "value": "120"})
    if cache.offloads:
        # Engines find each other's blocks by hash.
        env.append({"name": "PYTHONHASHSEED", "value": "0"})
    own = [*(options.get("env") or []), *(given.get("env") or [])]
    if any(entry.get("name") == "VLLM_ADDITIONAL_ARGS" for entry in own):
        made.problems.append("env has VLLM_ADDITIONAL_ARGS, which this module writes itself: give the flags as args.")
    names = {entry.get("name") for entry in own}
    return [entry for entry in env if entry["name"] not in names] + own


def _own_args(args: list[str], disaggregated: bool, cache: Cache, made: Translation) -> list[str]:
    for arg in args:
        flag = arg.partition("=")[0].replace("_", "-")
        if flag in _OWN_FLAGS and (flag != "--kv-transfer-config" or disaggregated or cache.offloads):
            made.problems.append(f"args has {flag}, which is set by {_OWN_FLAGS[flag]}. Give it there.")
    return args


def _check_image(image: str, disaggregated: bool, cache: Cache, made: Translation) -> None:
    found = re.search(r":v?(\d+)\.(\d+)", image.rpartition("/")[2])
    if not found or not cache.offloads:
        return
    # OffloadingConnector in a preset, and together with a connector between engines: vllm-project/vllm PR 40020; llm-d
    # guides/pd-disaggregation/README.multi-tier.md.
    least = (0, 27) if disaggregated else (0, 22)
    if (int(found[1]), int(found[2])) < least:
        made.problems.append(
            f"cache.tiers: memory and disk need vLLM {least[0]}.{least[1]} or later"
            f"{' in disaggregated mode' if disaggregated else ''}; the image is {image}."
        )


def _check_cache(cache: Cache, memory: str | None, option: str, made: Translation) -> None:
    size = cache.size_of("memory")
    if size and memory and quantity(size) >= quantity(memory):
        made.problems.append(
            f"cache.tiers: memory {size} does not fit into {option}.resources.memory {memory}, of which the engine needs a "
            "part itself. Each pod has its own tier: raise resources.memory or lower the size."
        )


def _pod(options: dict[str, Any], given: dict[str, Any], volumes: list[dict[str, Any]], cache: Cache) -> dict[str, Any]:
    pod: dict[str, Any] = {
        field_: copy.deepcopy(options[name]) for name, field_ in _POD.items() if options.get(name) is not None
    }
    pod |= picker.restricted(options)
    pod["securityContext"] |= options.get("pod_security_context") or {}
    if options.get("image_pull_secrets"):
        pod["imagePullSecrets"] = [{"name": name} for name in options["image_pull_secrets"]]
    shared = options.get("shared_memory") or cache.size_of("memory")
    if shared:
        volumes = [*volumes, {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": str(shared)}}]
    if volumes:
        pod["volumes"] = [*(pod.get("volumes") or []), *volumes]
    return pod


def _check_parallelism(spec: dict[str, Any], parts: dict[str, dict[str, Any]], made: Translation) -> None:
    """vLLM vllm/distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py and kv_connector/utils.py."""
    prefill = (spec["prefill"].get("parallelism") or {}).get("tensor", 1)
    decode = (spec.get("parallelism") or {}).get("tensor", 1)
    if max(prefill, decode) % min(prefill, decode):
        made.problems.append(
            f"Tensor parallelism of prefill is {prefill} and of decode {decode}: the larger must be a multiple of the "
            "smaller, or the cache cannot be handed over."
        )
    elif prefill > decode:
        made.warnings.append(
            f"Tensor parallelism of prefill ({prefill}) is greater than of decode ({decode}). vLLM does it only for models "
            f"with at least {prefill} key-value heads and equal block sizes; llm-d advises against it."
        )


# The way in


def _router(
    serving: dict[str, Any], options: dict[str, Any], disaggregated: bool, picker_tls: bool, made: Translation
) -> dict[str, Any]:
    gateway = serving.get("gateway") or {}
    ref = {
        "name": gateway.get("name") or "kserve-ingress-gateway",
        "namespace": gateway.get("namespace") or "kserve",
    }
    # A route as well: without one KServe 0.20 waits for the gateway for ever (kserve/kserve issue 5986).
    router: dict[str, Any] = {"gateway": {"refs": [ref]}, "route": {}}
    made.row(
        "serving.gateway.name", f"{ref['namespace']}/{ref['name']}", ("spec.router.gateway.refs", "spec.router.route")
    )
    scheduler = serving.get("scheduler") or {}
    if scheduler.get("enabled") is False:
        if disaggregated:
            made.problems.append(
                "serving.scheduler.enabled is false, but mode disaggregated needs it: it sends prompts to prefill."
            )
        for name in ("replicas", "resources"):
            if gateway.get(name):
                why = "without the endpoint picker there is nothing it could mean; the proxies are the Gateway's own."
                made.lose(f"serving.gateway.{name}", gateway[name], why)
        made.row("serving.scheduler.enabled", False, (), (), "the route goes to a Service, which takes any pod")
        return router
    lora = bool((options["model"].get("lora") or {}).get("adapters"))
    router["scheduler"] = picker.scheduler(scheduler, gateway, options, disaggregated, picker_tls, lora, made)
    return router


def _monitoring(
    options: dict[str, Any],
    parts: dict[str, dict[str, Any]],
    disaggregated: bool,
    spec: dict[str, Any],
    made: Translation,
) -> None:
    monitoring = options.get("monitoring") or {}
    if monitoring.get("enabled"):
        fields = []
        targets = [(part, spec["prefill"] if part == "prefill" else spec) for part in parts]
        for part, workload in targets:
            at = "spec.prefill" if part == "prefill" else "spec"
            workload["annotations"] = _scraped(_METRICS_PORT[part])
            fields.append(f"{at}.annotations[prometheus.io/*]")
        if "scheduler" in spec["router"]:
            spec["router"]["scheduler"]["annotations"] = _scraped("9090")
            fields.append("spec.router.scheduler.annotations[prometheus.io/*]")
        note = "for Prometheus with annotation discovery; a PodMonitor selects app.kubernetes.io/part-of=llminferenceservice"
        made.row("monitoring.enabled", True, tuple(fields), (), note)
    endpoint = (monitoring.get("prometheus") or {}).get("endpoint")
    if endpoint:
        if not re.match(r"https?://[^/\s]+", endpoint):
            made.problems.append(f"monitoring.prometheus.endpoint {endpoint!r} is no URL (http://... or https://...).")
        note = "Prometheus asks the pods, nothing on the cluster asks it: the address goes into the returned commands"
        made.row("monitoring.prometheus.endpoint", endpoint, (), (), note)


def _scraped(port: str) -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": "/metrics"}


# Small things


def is_quantity(value: Any) -> bool:
    """Whether this is a Kubernetes quantity, such as 80Gi, 1500m or 4."""
    return bool(re.fullmatch(r"\d+(\.\d+)?([numkMGTPE]|[KMGTPE]i)?", str(value))) and quantity(value) > 0


def _no_quantity(option: str, value: Any) -> str:
    return f"{option} {value!r} is no quantity: write for example 80Gi."


def overlaid(base: Any, over: Any) -> Any:
    """`over` laid on a pod's spec as KServe lays a spec on a preset: lists of named things by name, all else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: overlaid(base.get(key), value) for key, value in over.items()}}
    named = isinstance(base, list) and isinstance(over, list)
    if named and all(isinstance(entry, dict) and "name" in entry for entry in [*base, *over]):
        new = {entry["name"]: entry for entry in over}
        kept = [overlaid(entry, new.pop(entry["name"])) if entry["name"] in new else entry for entry in base]
        return kept + list(new.values())
    return copy.deepcopy(over)


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _without_nothing(entry) for key, entry in value.items() if entry is not None}
        return {key: entry for key, entry in found.items() if entry != {}}
    return [_without_nothing(entry) for entry in value] if isinstance(value, list) else value

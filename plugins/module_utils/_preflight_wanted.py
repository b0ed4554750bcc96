# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory wants to be served, InferenceServices and LLM deployments alike, in one shape. Pure.
PRIVATE to the collection.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _llmdeployment,
    _llmdeployment_options,
    _model_fit,
    _model_weights,
)


@dataclass(frozen=True)
class Service:
    """Pods of one kind: how many replicas there are at least, and what each takes.

    An InferenceService has one kind of pods, a disaggregated LLM deployment two (NAME/prefill, NAME/decode). A replica is one
    pod, or several where it spans nodes; `gpus` is of each pod. `engine`: parameters of model_fit.
    """

    name: str
    storage_uri: str
    gpus: int = 1
    replicas: int = 1
    pods_per_replica: int = 1
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[dict[str, Any]] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    # Whether the engine makes the context as long as fits (`--max-model-len auto`).
    shortens: bool = False
    kind: str = "InferenceService"
    # None: that of all services.
    namespace: str | None = None

    @property
    def object_name(self) -> str:
        """The name of the object that makes these pods."""
        return self.name.partition("/")[0]

    @property
    def distributed(self) -> bool:
        """Whether pods on several nodes hand each other data on every request: prefill and decode, or one replica's pods."""
        return self.pods_per_replica > 1 or self.name != self.object_name

    @property
    def title(self) -> str:
        return f"The {'service' if self.kind == 'InferenceService' else 'LLM deployment'} {self.name}"


def of_inference_service(entry: Mapping[str, Any], runtime: Mapping[str, Any]) -> Service:
    """An entry of the role inference_service, with what the runtime gives it. Raises ValueError with a sentence."""
    for name in ("name", "storage_uri"):
        if not entry.get(name):
            raise ValueError(f"An entry of the services to be served has no {name}: {dict(entry)}")
    own = entry.get("resources") or {}
    gpus = _whole(entry, "gpus", 1)
    length = entry.get("max_model_len") or runtime.get("max_model_len") or "auto"
    engine = {
        "engine_version": runtime.get("engine_version"),
        "gpu_memory_utilization": runtime.get("gpu_memory_utilization") or _model_fit.DEFAULT_UTILIZATION,
        "tensor_parallel_size": gpus,
        "max_model_len": int(length) if str(length).isdigit() else None,
        **engine_settings([*(runtime.get("args") or []), *(entry.get("args") or [])]),
    }
    return Service(
        name=entry["name"],
        storage_uri=entry["storage_uri"],
        gpus=gpus,
        replicas=_whole(entry, "min_replicas", 1),
        node_selector=entry.get("node_selector") or {},
        tolerations=entry.get("tolerations") or (),
        resources={
            part: {**((runtime.get("resources") or {}).get(part) or {}), **(own.get(part) or {})}
            for part in ("requests", "limits")
        },
        engine=engine,
        shortens=engine["max_model_len"] is None,
    )


def of_llm_deployment(entry: Mapping[str, Any], runtime: Mapping[str, Any], gpu_resource: str) -> list[Service]:
    """An entry of the role llmd, by its kinds of pods. Raises ValueError with all that speaks against it.

    Read from the LLMInferenceService that it becomes, so that overlays (template, worker, definition) count as well.
    """
    options = _llmdeployment_options.checked({**entry, "gpu_resource": gpu_resource})
    made = _llmdeployment.translate(options)
    problems = made.problems + ([] if options["allow_partial"] else made.lost)
    if problems:
        raise ValueError(f"The LLM deployment {options['name']}: {' '.join(problems)}")
    spec, name = made.manifest["spec"], options["name"]
    parts = {f"{name}/prefill": spec["prefill"], f"{name}/decode": spec} if "prefill" in spec else {name: spec}
    return [_of_part(part, workload, spec["model"], options, runtime) for part, workload in parts.items()]


def _of_part(
    name: str,
    workload: Mapping[str, Any],
    model: Mapping[str, Any],
    options: Mapping[str, Any],
    runtime: Mapping[str, Any],
) -> Service:
    """A WorkloadSpec of KServe (pkg/apis/serving/v1alpha2/llm_inference_service_types.go)."""
    template, parallelism = workload["template"], workload.get("parallelism") or {}
    main = _main_container(template)
    # The pods of a replica that spans nodes are counted alike: the workers' template is the leader's, with overrides.
    gpus = max(
        _gpus(_main_container(pod), options["gpu_resource"]) for pod in (template, workload.get("worker")) if pod
    )
    arguments = next((entry["value"] for entry in main.get("env") or [] if entry["name"] == "VLLM_ADDITIONAL_ARGS"), "")
    local = parallelism.get("dataLocal", 1)
    engine = {
        "engine_version": runtime.get("engine_version"),
        "tensor_parallel_size": parallelism.get("tensor", 1),
        "pipeline_parallel_size": parallelism.get("pipeline", 1),
        "data_parallel_size": parallelism.get("data", local),
        "enable_expert_parallel": bool(parallelism.get("expert")),
        **engine_settings(shlex.split(arguments)),
        "lora": _lora(model.get("lora")),
    }
    return Service(
        name=name,
        storage_uri=model["uri"],
        gpus=gpus,
        replicas=int(workload.get("replicas") or (workload.get("scaling") or {}).get("minReplicas") or 1),
        # As ParallelismSpec.GetSize.
        pods_per_replica=max(parallelism.get("pipeline", 1), parallelism.get("data", local) // local),
        node_selector=template.get("nodeSelector") or {},
        tolerations=template.get("tolerations") or (),
        resources=main.get("resources") or {},
        engine=engine,
        shortens="max_model_len" in engine and engine["max_model_len"] is None,
        kind=_llmdeployment.KIND,
        namespace=options["namespace"],
    )


def _main_container(pod: Mapping[str, Any]) -> dict[str, Any]:
    return next((dict(each) for each in pod.get("containers") or [] if each["name"] == "main"), {})


def _gpus(container: Mapping[str, Any], resource: str) -> int:
    return int(((container.get("resources") or {}).get("limits") or {}).get(resource) or 0)


def _lora(given: Mapping[str, Any] | None) -> dict[str, int] | None:
    """What vLLM reserves; KServe gives it --max-loras, as many as there are adapters unless the deployment says so."""
    if not given or not given.get("adapters"):
        return None
    return {
        "max_loras": given.get("maxAdapters") or len(given["adapters"]),
        "max_lora_rank": given.get("maxRank") or 16,
    }


def _whole(entry: Mapping[str, Any], name: str, default: int) -> int:
    value = entry.get(name, default)
    # 0.5 would become no GPU at all: the device plugin hands out whole ones, shares of them by time-slicing or MIG.
    if str(value).isdigit():
        return int(value)
    raise ValueError(
        f"The service {entry['name']} has {name}: {value}, which is no whole number: GPUs are shared by time-slicing, MPS "
        "or MIG, not by fractions."
    )


# The engine's arguments


def _amount(text: str) -> int:
    """vLLM's human_readable_int (vllm/engine/arg_utils.py): 32k is 32,000, 32K is 32,768."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)", text)
    if not found:
        raise ValueError(text)
    suffix = found[2]
    return int(float(found[1]) * (1000 if suffix.islower() else 1024) ** " kmgt".find(suffix.lower() or " "))


def _length(text: str) -> int | None:
    """None: as long as fits."""
    return None if text in ("auto", "-1") else _amount(text)


def _online_quantization(text: str) -> str | None:
    """None for the names of checkpoints' own methods (awq, modelopt ...), which are read from their files."""
    return text if text in _model_weights.ONLINE_QUANTIZATION else None


# Options of `vllm serve` that decide memory, by the parameter of model_fit that says the same.
_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--dtype": ("dtype", str),
    "--quantization": ("quantization", _online_quantization),
    "--kv-cache-dtype": ("kv_cache_dtype", str),
    "--tensor-parallel-size": ("tensor_parallel_size", int),
    "--pipeline-parallel-size": ("pipeline_parallel_size", int),
    "--data-parallel-size": ("data_parallel_size", int),
    "--decode-context-parallel-size": ("decode_context_parallel_size", int),
    "--gpu-memory-utilization": ("gpu_memory_utilization", float),
    "--kv-cache-memory-bytes": ("kv_cache_memory_bytes", _amount),
    "--max-model-len": ("max_model_len", _length),
    "--max-num-seqs": ("max_num_seqs", int),
    "--max-num-batched-tokens": ("max_num_batched_tokens", _amount),
    "--block-size": ("block_size", int),
}
_SWITCHES = {
    "--enforce-eager": ("enforce_eager", True),
    "--enable-expert-parallel": ("enable_expert_parallel", True),
    "--no-enable-prefix-caching": ("enable_prefix_caching", False),
}


def engine_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """What the arguments of `vllm serve` say of memory, as parameters of model_fit. Raises ValueError with a sentence."""
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        name = name.replace("_", "-")
        if name in _SWITCHES:
            key, switched = _SWITCHES[name]
            found[key] = switched
        elif name in _OPTIONS:
            key, kind = _OPTIONS[name]
            text = value if equals else (rest.pop(0) if rest else "")
            try:
                found[key] = kind(text)
            except ValueError as error:
                raise ValueError(f"The engine's argument {name} has the value {text!r}.") from error
    return found

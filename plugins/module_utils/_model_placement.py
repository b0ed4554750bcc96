# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a cluster a model fits, and which settings would make it fit there. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _gpu_types, _model_fit
from ansible_collections.llmstack.serving.plugins.module_utils._model_fit import Model, Settings

GIB = 1024**3


@dataclass(frozen=True)
class Node:
    """GPUs that are free on one node; `whole` is False where others share their memory (time-slicing)."""

    name: str
    gpu: _gpu_types.Gpu
    free: int
    whole: bool = True
    # False where nobody knows what pods have taken.
    counted: bool = True


def imagined(gpu: dict[str, Any]) -> list[Node]:
    """Nodes as the parameter gpu describes them. Raises ValueError with a sentence."""
    capability = _gpu_types.parse_compute_capability(gpu["compute_capability"]) if gpu["compute_capability"] else None
    found = _gpu_types.known(gpu["product"])
    memory = int(gpu["memory_gib"] * GIB) if gpu["memory_gib"] else (found.memory_bytes if found else 0)
    if memory <= 0:
        raise ValueError(
            f"The memory of a {gpu['product']!r} is not known: give memory_gib, or one of "
            f"{', '.join(_gpu_types.products())}."
        )
    kind = _gpu_types.Gpu(gpu["product"], memory, capability or (found.compute_capability if found else None))
    return [Node(f"node-{index}", kind, gpu["per_node"]) for index in range(gpu["nodes"])]


def nodes(listed: Iterable[dict[str, Any]]) -> list[Node]:
    """Nodes as gpu_check lists them; unusable ones and GPUs of unknown memory are left out.

    Raises ValueError with a sentence if none is left or an entry is no such node.
    """
    found = []
    for entry in listed:
        try:
            if entry.get("usable", True):
                found += _of_node(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"nodes: an entry has no usable name, product and free ({error!r}): give the nodes that gpu_check returns."
            ) from error
    if not found:
        raise ValueError("nodes lists no usable GPU whose memory is known: there is nothing to place a model on.")
    return found


def _of_node(entry: dict[str, Any]) -> list[Node]:
    """The GPUs of a node, or its slices by profile (MIG, strategy mixed)."""
    name, product, sharing = str(entry["name"]), str(entry["product"] or ""), entry.get("sharing") or "none"
    capability = entry.get("compute_capability")
    parsed = _gpu_types.parse_compute_capability(str(capability)) if capability else None
    units = [(product, entry.get("memory_mib"), entry["free"], entry.get("allocatable"))]
    for profile in (entry.get("mig") or {}).get("profiles") or []:
        slice_of = f"{product}-MIG-{profile['profile']}"
        units.append((slice_of, profile["memory_mib"], profile["free"], profile["allocatable"]))
    found = []
    for unit, memory_mib, free, allocatable in units:
        gpu = _gpu_types.described(unit, int(memory_mib) if memory_mib else None, parsed)
        # Where pods could not be listed, all that is healthy is taken for free, and said so.
        amount = int((allocatable if free is None else free) or 0)
        if gpu is None or amount < 1:
            continue
        if sharing == "mps":
            # MPS gives each of its clients an equal part of the memory.
            gpu = replace(gpu, memory_bytes=gpu.memory_bytes // max(1, int(entry.get("replicas") or 1)))
        found.append(Node(name, gpu, amount, sharing != "time-slicing", free is not None))
    return found


def place(nodes: Sequence[Node], settings: Settings) -> tuple[bool, str]:
    """Whether the replicas can be placed: tensor parallelism within a node, pipeline stages anywhere. And what is missing."""
    ranks = settings.tensor_parallel_size
    groups = settings.pipeline_parallel_size * settings.data_parallel_size
    # Slices of a GPU (MIG) cannot talk to each other: NCCL has no path between them.
    possible = sum(node.free // ranks for node in nodes if ranks == 1 or not node.gpu.sliced)
    if possible >= groups:
        return True, ""
    block = max((min(node.free, 1) if node.gpu.sliced else node.free for node in nodes), default=0)
    if block < ranks:
        return False, (
            f"tensor_parallel_size {ranks} needs {ranks} free GPUs on one node and the largest free block is {block}."
        )
    return False, f"{groups} groups of {ranks} GPUs are needed and {possible} can be placed."


def on_cluster(model: Model, settings: Settings, nodes: Sequence[Node]) -> dict[str, Any]:
    """The best verdict over the kinds of GPU in the cluster, with `gpu` and `placed`.

    The order is: fits and can be placed, then fits, then the larger margin.
    """
    if not nodes:
        raise ValueError("There is no node with GPUs to place the model on.")
    verdicts = []
    for gpu, members in _kinds(nodes):
        verdict = _model_fit.estimate(model, settings, gpu)
        placed, reason = place(members, settings)
        if not placed:
            verdict["problems"] = [*verdict["problems"], _model_fit.problem("gpus", f"{gpu.product}: {reason}")]
            verdict.update(fits=False, status="fail", limiting_factor=verdict["limiting_factor"] or "gpus")
        if not all(node.whole for node in members):
            verdict["warnings"].append(
                f"{gpu.product}: GPUs are time-sliced, and others may take the memory counted here at any moment."
            )
            verdict["status"] = "warn" if verdict["status"] == "pass" else verdict["status"]
        if not all(node.counted for node in members):
            verdict["warnings"].append(
                f"{gpu.product}: what pods have taken is not known; all GPUs are taken for free."
            )
            verdict["status"] = "warn" if verdict["status"] == "pass" else verdict["status"]
        verdicts.append({**verdict, "gpu": gpu.product, "gpus_needed": _model_fit.gpus(settings)})
    order = {"pass": 0, "warn": 1, "fail": 2}
    return min(verdicts, key=lambda verdict: (order[verdict["status"]], -(verdict["margin_gib"] or float("-inf"))))


def _kinds(nodes: Iterable[Node]) -> list[tuple[_gpu_types.Gpu, list[Node]]]:
    found: dict[_gpu_types.Gpu, list[Node]] = {}
    for node in nodes:
        found.setdefault(node.gpu, []).append(node)
    return list(found.items())


def suggestions(model: Model, settings: Settings, nodes: Sequence[Node], limit: int = 5) -> list[dict[str, Any]]:
    """The cheapest settings that fit on this cluster, at most `limit`.

    Cheapest: fewest GPUs, and among those the least change (none, FP8 weights, FP8 KV cache, a shorter context).
    Keys: settings (only what differs), gpu, gpus, margin_gib, max_model_len, concurrency_at_max_len, why.
    """
    found = []
    for gpu, members in _kinds(nodes):
        for candidate, cost, why in _candidates(model, settings, gpu, members):
            verdict = _model_fit.estimate(model, candidate, gpu)
            shorter = verdict["max_model_len_that_fits"] or 0
            length, changed = verdict["max_model_len"], candidate
            if not verdict["fits"]:
                only_length = {problem["factor"] for problem in verdict["problems"]} == {"kv_cache"}
                # A context that no longer holds a page of text is no suggestion.
                if not only_length or shorter < min(4096, length):
                    continue
                length = shorter // 256 * 256 or shorter
                changed = replace(candidate, max_model_len=length)
                verdict = _model_fit.estimate(model, changed, gpu)
                cost, why = cost + 3, [*why, f"a context of {length} tokens"]
            if verdict["fits"]:
                entry = {
                    "settings": _differences(settings, changed),
                    "gpu": gpu.product,
                    "gpus": _model_fit.gpus(changed),
                    "margin_gib": verdict["margin_gib"],
                    "max_model_len": length,
                    "concurrency_at_max_len": verdict["concurrency_at_max_len"],
                    "why": ", ".join(why) or "as asked for",
                }
                # Pipeline stages wait for each other: with as many GPUs, tensor parallelism serves faster.
                rank = (_model_fit.gpus(changed), cost, changed.pipeline_parallel_size, -length, gpu.memory_bytes)
                found.append((rank, entry))
    found.sort(key=lambda pair: pair[0])
    return _distinct([(rank[1], entry) for rank, entry in found])[:limit]


def _candidates(
    model: Model, settings: Settings, gpu: _gpu_types.Gpu, nodes: Sequence[Node]
) -> Iterable[tuple[Settings, int, list[str]]]:
    """Settings that could be placed on these nodes, with the cost of what they change and the words for it."""
    able_fp8 = gpu.compute_capability is not None and gpu.compute_capability >= (8, 9)
    unquantized = model.architecture.quantization is None and settings.quantization is None and bool(model.tensors)
    weights: list[tuple[str | None, int, list[str]]] = [(settings.quantization, 0, [])] + (
        [("fp8", 1, ["FP8 weights"])] if able_fp8 and unquantized else []
    )
    caches: list[tuple[str, int, list[str]]] = [(settings.kv_cache_dtype, 0, [])]
    if able_fp8 and settings.kv_cache_dtype == "auto":
        caches.append(("fp8", 1, ["an FP8 KV cache"]))
    dtypes: list[tuple[str, int, list[str]]] = [(settings.dtype, 0, [])]
    if gpu.compute_capability is not None and gpu.compute_capability < (8, 0):
        dtypes = [("float16", 1, ["FP16 instead of BF16"])]
    largest = max((node.free for node in nodes), default=0)
    stages_possible = [1, 2, 4] if len(nodes) > 1 else [1]
    for ranks in (
        number for number in _model_fit.divisors(model.architecture.attention_heads or 1) if number <= largest
    ):
        for depth in stages_possible:
            base = replace(settings, tensor_parallel_size=ranks, pipeline_parallel_size=depth)
            if not place(nodes, base)[0]:
                continue
            words = [] if ranks == settings.tensor_parallel_size else [f"tensor parallelism {ranks}"]
            words += [] if depth == settings.pipeline_parallel_size else [f"{depth} pipeline stages"]
            for quantization, cost_weights, words_weights in weights:
                for kv_dtype, cost_cache, words_cache in caches:
                    for dtype, cost_dtype, words_dtype in dtypes:
                        yield (
                            replace(base, quantization=quantization, kv_cache_dtype=kv_dtype, dtype=dtype),
                            cost_weights + cost_cache + cost_dtype,
                            [*words, *words_dtype, *words_weights, *words_cache],
                        )


def _differences(asked: Settings, found: Settings) -> dict[str, Any]:
    names = (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "dtype",
        "quantization",
        "kv_cache_dtype",
        "max_model_len",
    )
    return {name: getattr(found, name) for name in names if getattr(found, name) != getattr(asked, name)}


def _distinct(entries: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of (cost, suggestion) in order: those that some earlier one of the same GPU beats in nothing are left out."""
    kept: list[tuple[int, dict[str, Any]]] = []
    for cost, entry in entries:
        if not any(
            better["gpu"] == entry["gpu"] and least <= cost and better["max_model_len"] >= entry["max_model_len"]
            for least, better in kept
        ):
            kept.append((cost, entry))
    return [entry for _cost, entry in kept]

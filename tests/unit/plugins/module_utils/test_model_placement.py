# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _gpu_types,
    _model_fit,
    _model_placement,
    _model_tensors,
)
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_types import GIB, Gpu
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import describe
from ansible_collections.llmstack.serving.plugins.module_utils._model_fit import Model, Settings
from ansible_collections.llmstack.serving.plugins.module_utils._model_placement import Node
from tools.checkpoints import LLAMA_3_1_8B, LLAMA_3_1_70B


def gpu(product: str) -> Gpu:
    found = _gpu_types.known(product)
    assert found
    return found


H100, T4, L40S = gpu("NVIDIA-H100-80GB-HBM3"), gpu("Tesla-T4"), gpu("NVIDIA-L40S")


@cache
def llama(size: str) -> Model:
    architecture = describe({"8B": LLAMA_3_1_8B, "70B": LLAMA_3_1_70B}[size])
    return Model(architecture, _model_tensors.expected(architecture))


def test_tensor_parallelism_needs_one_node() -> None:
    nodes = [Node("a", H100, 4), Node("b", H100, 4)]
    assert _model_placement.place(nodes, Settings(tensor_parallel_size=4, pipeline_parallel_size=2)) == (True, "")
    placed, reason = _model_placement.place(nodes, Settings(tensor_parallel_size=8))
    assert not placed
    assert reason == "tensor_parallel_size 8 needs 8 free GPUs on one node and the largest free block is 4."
    placed, reason = _model_placement.place(nodes, Settings(tensor_parallel_size=4, data_parallel_size=3))
    assert reason == "3 groups of 4 GPUs are needed and 2 can be placed."


def test_slices_of_a_gpu_cannot_work_together() -> None:
    nodes = [Node("a", Gpu("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", 39 * GIB, (9, 0)), 16)]
    assert _model_placement.place(nodes, Settings())[0]
    assert _model_placement.place(nodes, Settings(tensor_parallel_size=2)) == (
        False,
        "tensor_parallel_size 2 needs 2 free GPUs on one node and the largest free block is 1.",
    )


def test_the_best_kind_of_gpu_is_chosen() -> None:
    nodes = [Node("small", T4, 8), Node("big", H100, 1)]
    found = _model_placement.on_cluster(llama("8B"), Settings(max_model_len=8192), nodes)
    assert (found["fits"], found["gpu"], found["gpus_needed"]) == (True, "NVIDIA-H100-80GB-HBM3", 1)


def test_free_gpus_that_do_not_suffice_are_a_problem_of_their_own() -> None:
    found = _model_placement.on_cluster(llama("70B"), Settings(tensor_parallel_size=4), [Node("a", H100, 2)])
    assert (found["fits"], found["limiting_factor"]) == (False, "gpus")
    assert "the largest free block is 2" in found["problems"][-1]["message"]


def test_shared_gpus_are_a_warning() -> None:
    found = _model_placement.on_cluster(llama("8B"), Settings(max_model_len=8192), [Node("a", H100, 8, whole=False)])
    assert (found["fits"], found["status"]) == (True, "warn")
    assert "time-sliced" in found["warnings"][0]


def test_the_cheapest_settings_come_first_and_all_of_them_fit() -> None:
    nodes = [Node("a", H100, 8), Node("b", H100, 8), Node("c", L40S, 4)]
    found = _model_placement.suggestions(llama("70B"), Settings(), nodes)
    assert found[0]["settings"] == {"tensor_parallel_size": 2, "quantization": "fp8"}
    assert found[0]["why"] == "tensor parallelism 2, FP8 weights"
    assert [entry["gpus"] for entry in found] == sorted(entry["gpus"] for entry in found)
    kinds = {"NVIDIA-H100-80GB-HBM3": H100, "NVIDIA-L40S": L40S}
    for entry in found:
        verdict = _model_fit.estimate(llama("70B"), Settings(**entry["settings"]), kinds[entry["gpu"]])
        assert verdict["fits"]
        assert verdict["margin_gib"] == entry["margin_gib"]


def test_a_shorter_context_is_suggested_where_only_that_helps() -> None:
    [best] = _model_placement.suggestions(llama("8B"), Settings(), [Node("a", gpu("NVIDIA-A10G"), 1)])
    assert set(best["settings"]) == {"max_model_len"}
    assert 4096 <= best["settings"]["max_model_len"] < 131072
    verdict = _model_fit.estimate(llama("8B"), Settings(**best["settings"]), gpu("NVIDIA-A10G"))
    assert verdict["fits"]


def test_an_old_gpu_is_offered_fp16() -> None:
    found = _model_placement.suggestions(llama("8B"), Settings(max_model_len=8192), [Node("a", T4, 4)])
    assert found[0]["settings"] == {"tensor_parallel_size": 2, "dtype": "float16"}


def test_nothing_is_suggested_where_nothing_fits() -> None:
    assert _model_placement.suggestions(llama("70B"), Settings(), [Node("a", T4, 1)]) == []


ENTRY: dict[str, Any] = {
    "name": "a",
    "product": "NVIDIA-L40S",
    "memory_mib": 46068,
    "compute_capability": "8.9",
    "allocatable": 4,
    "free": 3,
    "sharing": "none",
    "replicas": 1,
    "mig": None,
    "usable": True,
}


def test_nodes_as_gpu_check_lists_them() -> None:
    unknown = {**ENTRY, "name": "d", "product": "NVIDIA-X1000", "memory_mib": 50_000}
    cordoned = {**ENTRY, "name": "e", "usable": False}
    full = {**ENTRY, "name": "f", "free": 0}
    found = _model_placement.nodes([ENTRY, unknown, cordoned, full])
    assert [(node.name, node.free, node.whole) for node in found] == [("a", 3, True), ("d", 3, True)]
    assert found[0].gpu.memory_bytes == int(44.42 * GIB)
    # What the label says, less what a driver keeps for itself.
    assert found[1].gpu == Gpu("NVIDIA-X1000", 49_100 * 1024**2, (8, 9))


def test_shared_gpus_of_a_node() -> None:
    sliced = {**ENTRY, "product": "NVIDIA-L40S-SHARED", "sharing": "time-slicing", "replicas": 4}
    [node] = _model_placement.nodes([sliced])
    assert (node.whole, node.gpu.memory_bytes) == (False, int(44.42 * GIB))
    [node] = _model_placement.nodes([{**sliced, "sharing": "mps"}])
    assert (node.whole, node.gpu.memory_bytes) == (True, int(44.42 * GIB) // 4)


def test_slices_of_a_node_are_gpus_of_their_own() -> None:
    profiles = [{"profile": "1g.10gb", "memory_mib": 9984, "allocatable": 56, "free": 50}]
    mixed = {**ENTRY, "free": 0, "mig": {"strategy": "mixed", "profiles": profiles}}
    [node] = _model_placement.nodes([mixed])
    assert (node.gpu.product, node.gpu.memory_bytes, node.free) == ("NVIDIA-L40S-MIG-1g.10gb", 9728 * 1024**2, 50)
    single = {**ENTRY, "product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", "memory_mib": 40448}
    [node] = _model_placement.nodes([{**single, "mig": {"strategy": "single", "profiles": []}}])
    assert node.gpu.sliced


def test_where_pods_are_not_known_all_gpus_are_taken_for_free_and_that_is_said() -> None:
    nodes = _model_placement.nodes([{**ENTRY, "free": None}])
    found = _model_placement.on_cluster(llama("8B"), Settings(max_model_len=8192), nodes)
    assert (nodes[0].free, found["status"]) == (4, "warn")
    assert "what pods have taken is not known" in found["warnings"][0]


@pytest.mark.parametrize("listed", [[], [{"name": "a", "product": "", "free": 0}], [{**ENTRY, "usable": False}]])
def test_nodes_without_a_usable_gpu_are_refused(listed: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="nothing to place a model on"):
        _model_placement.nodes(listed)


def test_nodes_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="give the nodes that gpu_check returns"):
        _model_placement.nodes([{"metadata": {"name": "a"}}])


def test_a_gpu_by_its_label_name_or_with_its_memory() -> None:
    assert _gpu_types.known("NVIDIA H100 80GB HBM3") == Gpu("NVIDIA H100 80GB HBM3", int(79.18 * GIB), (9, 0))
    assert _gpu_types.known("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb") is None
    described = {"product": "X", "memory_gib": 12.5, "compute_capability": "9.0", "per_node": 2, "nodes": 2}
    assert _model_placement.imagined(described) == [
        Node(f"node-{index}", Gpu("X", int(12.5 * GIB), (9, 0)), 2) for index in (0, 1)
    ]
    with pytest.raises(ValueError, match="memory of a 'X' is not known: give memory_gib"):
        _model_placement.imagined({**described, "memory_gib": None})
    with pytest.raises(ValueError, match="'nine' is no compute capability"):
        _model_placement.imagined({**described, "compute_capability": "nine"})

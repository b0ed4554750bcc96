# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _gpu_nodes,
    _kv_cache,
    _model_fit,
    _model_tensors,
)
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import describe
from ansible_collections.llmstack.serving.plugins.modules import model_fit
from tools import checkout, checkpoints, gpu_nodes
from tools.checkpoints import DEEPSEEK_V3, GPT_OSS_20B, LLAMA_3_1_8B, LLAMA_3_1_70B

H100 = {"product": "NVIDIA-H100-80GB-HBM3"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module; returns what it prints, with the warnings as texts."""
    warnings: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda self, text: warnings.append(text))

    def call(**params: Any) -> dict[str, Any]:
        args = {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **params}
        with patch_module_args(args), pytest.raises(SystemExit):
            model_fit.main()
        result = {**json.loads(capsys.readouterr().out), "warnings": list(warnings)}
        warnings.clear()
        return result

    return call


def shapes(config: dict[str, Any]) -> checkpoints.Shapes:
    for tensor in _model_tensors.expected(describe(config)):
        yield tensor.name, tensor.dtype, tensor.shape


@pytest.fixture
def llama_8b(tmp_path: Path) -> Path:
    return checkpoints.write(tmp_path / "llama-8b", LLAMA_3_1_8B, shapes(LLAMA_3_1_8B), shards=4)


def test_a_model_on_disk_is_judged_by_its_headers(run: Run, llama_8b: Path) -> None:
    result = run(model=str(llama_8b), gpu=H100, max_model_len=16000, gpu_memory_utilization=0.9)
    assert (result["fits"], result["status"], result["limiting_factor"], result["changed"]) == (
        True,
        "pass",
        None,
        False,
    )
    assert result["architecture"] == "LlamaForCausalLM"
    assert result["weights_total_gib"] == result["memory"]["weights_gib"] == 14.96
    assert (result["gpu"], result["gpus_needed"]) == ("NVIDIA-H100-80GB-HBM3", 1)
    size = sum(path.stat().st_size for path in llama_8b.iterdir())
    assert size > 16e9
    assert result["bytes_read"] < 600_000


def test_a_model_that_nobody_has_fetched_is_judged_by_its_configuration(run: Run, llama_8b: Path) -> None:
    read = run(model=str(llama_8b), gpu=H100)
    computed = run(config=LLAMA_3_1_8B, gpu=H100)
    assert computed["memory"] == read["memory"]
    assert computed["bytes_read"] == 0


def test_what_does_not_fit_fails_with_the_numbers_and_a_way_out(run: Run) -> None:
    result = run(config=LLAMA_3_1_70B, gpu=H100)
    assert result["failed"]
    assert result["msg"].startswith("The weights take 131.42 GiB on each GPU and 0.92 of 79.18 GiB is 72.85 GiB")
    assert "This would fit: 2 x NVIDIA-H100-80GB-HBM3 with tensor parallelism 2, FP8 weights." in result["msg"]
    assert result["limiting_factor"] == "weights"
    assert result["suggestions"][0]["settings"] == {"tensor_parallel_size": 2, "quantization": "fp8"}


def test_never_failing_still_reports(run: Run) -> None:
    result = run(config=LLAMA_3_1_70B, gpu=H100, fail_on="never", suggestions=1)
    assert "failed" not in result
    assert (result["fits"], len(result["suggestions"])) == (False, 1)


def test_an_unknown_architecture_is_said_and_counts_as_no_pass(run: Run) -> None:
    config = {**LLAMA_3_1_8B, "model_type": "brand_new", "architectures": ["BrandNewForCausalLM"]}
    result = run(config=config, gpu=H100)
    assert (result["fits"], result["status"], result["confidence"], result["memory"]) == (
        None,
        "skip",
        "unsupported",
        None,
    )
    strict = run(config=config, gpu=H100, fail_on="warn")
    assert strict["failed"]
    assert "BrandNewForCausalLM" in strict["msg"]


def test_a_narrow_fit_warns(run: Run) -> None:
    result = run(config=checkpoints.QWEN3_32B, gpu=H100, max_model_len=16000, gpu_memory_utilization=0.9)
    assert result["status"] == "warn"
    assert result["warnings"] == result["warnings_found"]
    assert run(config=checkpoints.QWEN3_32B, gpu=H100, max_model_len=16000, fail_on="warn", gpu_memory_utilization=0.9)[
        "failed"
    ]


def test_a_packed_checkpoint_is_read_as_it_is(run: Run, tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "gpt-oss", GPT_OSS_20B, checkpoints.gpt_oss_shapes(GPT_OSS_20B), shards=3)
    result = run(model=str(folder), gpu=H100, max_model_len=16000)
    assert result["memory"]["weights_gib"] == pytest.approx(13.47, rel=0.01)
    assert result["fits"]


def test_the_nodes_of_a_cluster_limit_what_can_be_placed(run: Run) -> None:
    node = {
        "name": "a",
        "product": "NVIDIA-H100-80GB-HBM3",
        "memory_mib": 81559,
        "compute_capability": "9.0",
        "free": 2,
    }
    result = run(config=LLAMA_3_1_70B, nodes=[node, {**node, "name": "b"}], tensor_parallel_size=4, fail_on="never")
    assert (result["fits"], result["limiting_factor"]) == (False, "gpus")
    assert all(entry["settings"].get("tensor_parallel_size", 4) <= 2 for entry in result["suggestions"])


def test_adapters_and_drafts_are_read_too(run: Run, llama_8b: Path) -> None:
    plain = run(config=LLAMA_3_1_70B, gpu=H100, tensor_parallel_size=8)
    result = run(
        config=LLAMA_3_1_70B,
        gpu=H100,
        tensor_parallel_size=8,
        lora={"max_loras": 4, "max_lora_rank": 64},
        speculative={"num_speculative_tokens": 3, "model": str(llama_8b)},
    )
    assert result["memory"]["weights_gib"] > plain["memory"]["weights_gib"]
    assert result["memory"]["lora_gib"] > 0
    assert result["bytes_read"] > 0


def test_weights_of_a_known_size(run: Run) -> None:
    result = run(config=GPT_OSS_20B, weights_gib=13.47, gpu=H100, max_model_len=16000)
    assert result["memory"]["weights_gib"] == 13.47


def break_index(folder: Path) -> None:
    (folder / "model-00002-of-00004.safetensors").unlink()


def truncate(folder: Path) -> None:
    path = folder / "model-00003-of-00004.safetensors"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def lie(folder: Path) -> None:
    with (folder / "model-00001-of-00004.safetensors").open("r+b") as file:
        file.write((2**63).to_bytes(8, "little"))


def only_pickles(folder: Path) -> None:
    for path in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        path.unlink()
    (folder / "pytorch_model.bin").touch()


def no_weights(folder: Path) -> None:
    only_pickles(folder)
    (folder / "pytorch_model.bin").unlink()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (
            break_index,
            "lacks 1 of the 4 files that model.safetensors.index.json names, model-00002-of-00004.safetensors",
        ),
        (truncate, "model-00003-of-00004.safetensors is truncated: its tensors end at byte"),
        (lie, "claims a header of 9223372036854775808 bytes, and 100000000 is the format's limit"),
        (only_pickles, "has weights as .bin only"),
        (no_weights, "holds no weights: there is no .safetensors file."),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'), "config.json has no"),
    ],
)
def test_a_broken_model_is_one_clear_sentence(
    run: Run, llama_8b: Path, harm: Callable[[Path], None], sentence: str
) -> None:
    harm(llama_8b)
    result = run(model=str(llama_8b), gpu=H100)
    assert result["failed"]
    assert sentence in result["msg"]
    assert "Traceback" not in json.dumps(result)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"gpu": H100}, "one of the following is required: model, config"),
        ({"config": LLAMA_3_1_8B}, "one of the following is required: gpu, nodes"),
        (
            {"config": LLAMA_3_1_8B, "gpu": {"product": "RTX-1"}},
            "The memory of a 'RTX-1' is not known: give memory_gib",
        ),
        ({"config": LLAMA_3_1_8B, "nodes": []}, "there is nothing to place a model on"),
        (
            {"config": LLAMA_3_1_8B, "gpu": H100, "tensor_parallel_size": 0},
            "tensor_parallel_size is 0 and must be at least 1",
        ),
        ({"config": LLAMA_3_1_8B, "gpu": H100, "gpu_memory_utilization": 90}, "must be above 0 and at most 1"),
        ({"config": LLAMA_3_1_8B, "gpu": H100, "engine_version": "latest"}, "'latest' is no version"),
        (
            {"config": LLAMA_3_1_8B, "gpu": H100, "tensor_parallel_size": 3},
            "does not divide the model's 32 attention heads",
        ),
        (
            {"config": DEEPSEEK_V3 | {"quantization_config": {"quant_method": "fp8"}}, "gpu": H100},
            "known from its files only",
        ),
        ({"model": "/nowhere/llama", "gpu": H100}, "/nowhere/llama does not exist on this machine."),
        ({"model": __file__, "gpu": H100}, "is a file: give the directory that holds config.json"),
        ({"model": "https://example.com/m", "gpu": H100}, "is neither a directory nor s3://bucket/prefix"),
        ({"model": "s3:///llama", "gpu": H100}, "names no bucket"),
    ],
)
def test_wrong_input_is_one_clear_sentence(run: Run, params: dict[str, Any], sentence: str) -> None:
    result = run(**params)
    assert result["failed"]
    assert sentence in result["msg"]


def test_the_documentation_lists_what_the_code_knows() -> None:
    options = yaml.safe_load(model_fit.DOCUMENTATION)["options"]
    assert tuple(options["kv_cache_dtype"]["choices"]) == _kv_cache.KV_DTYPES
    assert options["gpu_memory_utilization"]["default"] == _model_fit.DEFAULT_UTILIZATION


def test_everything_that_is_returned_is_documented(run: Run) -> None:
    documented = yaml.safe_load(model_fit.RETURN)
    result = run(config=LLAMA_3_1_8B, gpu=H100)
    assert set(result) - {"changed", "invocation", "warnings"} == set(documented)
    assert set(result["memory"]) == set(documented["memory"]["sample"])
    assert set(result["suggestions"][0]) == set(documented["suggestions"]["sample"][0])


# docs/will-my-model-fit.md: what its worked example says is what the modules say


PAGE = (checkout.ROOT / "docs" / "will-my-model-fit.md").read_text().partition("## A worked example")[2]


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def example(run: Run, tmp_path: Path) -> Run:
    """The page's second task, on the cluster that it speaks of; the model is on disk instead of in a bucket."""
    first, second = yaml.safe_load(block("yaml"))
    assert "llmstack.serving.gpu_check" in first
    task = second["llmstack.serving.model_fit"]
    assert task["model"] == "s3://models/llama-3.1-70b"
    l40s = {**gpu_nodes.LABELS, "nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068"}
    found = [gpu_nodes.node("h100"), gpu_nodes.node("l40s", l40s, {"nvidia.com/gpu": "4"})]
    nodes = [{**_gpu_nodes.read(node, _gpu_nodes.Usage(), _gpu_nodes.Devices()), "usable": True} for node in found]
    model = checkpoints.write(tmp_path / "llama-70b", LLAMA_3_1_70B, shapes(LLAMA_3_1_70B), shards=30)
    return lambda **more: run(**{**task, "model": str(model), "nodes": nodes, **more})


def test_the_worked_example_fails_with_the_words_of_the_page(example: Run) -> None:
    result = example()
    assert result["failed"]
    assert result["msg"] == " ".join(block("text").split())
    assert result["bytes_read"] < 2.5e6


def test_the_worked_example_with_four_gpus_has_the_numbers_of_the_page(example: Run) -> None:
    result = example(tensor_parallel_size=4)
    assert result["fits"]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", PAGE, re.MULTILINE))
    assert len(rows) == 7
    assert {name: result["memory"][name] for name in rows} == {name: float(value) for name, value in rows.items()}
    assert f"32,768 tokens x {result['memory']['kv_bytes_per_token']:,} bytes" in PAGE
    [concurrency] = re.findall(r"`concurrency_at_max_len` is ([0-9.]+)", PAGE)
    assert result["concurrency_at_max_len"] == pytest.approx(float(concurrency), abs=0.05)

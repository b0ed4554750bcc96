#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_fit
version_added: 0.1.0
short_description: Predict whether a model fits on GPUs, before anything is deployed
description:
  - Computes what vLLM will find out when it starts - the weights on each GPU, what is left for the KV cache, the longest
    context that fits and how many such requests can run at once - and suggests settings that fit when these do not.
  - Reads C(config.json) and the headers of the safetensors files, never the weights. Over S3 that is one request per file.
  - Knows attention with grouped, single and latent heads, sliding windows, chunks, hybrids with Mamba or linear attention,
    mixtures of experts, quantised checkpoints, LoRA adapters and speculative decoding. For an architecture it does not
    know it says so (RV(confidence=unsupported)) and gives no number.
author:
  - llmstack contributors (@llmstack)
extends_documentation_fragment:
  - llmstack.serving._attributes
  - llmstack.serving._attributes.INFO_MODULE
  - llmstack.serving._aws
requirements:
  - python >= 3.11
  - boto3 >= 1.34.0 (for a model on S3)
options:
  model:
    description:
      - A directory on the machine that runs the module, or C(s3://bucket/prefix).
      - Exactly one of O(model) and O(config) is needed.
    type: str
  config:
    description:
      - The content of the model's C(config.json), for a model that nobody has fetched yet.
      - The size is then computed for unquantised models of well-known families; for others give O(weights_gib).
    type: dict
  weights_gib:
    description: The size of all weights in GiB, instead of reading or computing it.
    type: float
  gpu:
    description:
      - The GPUs to place the model on, when there is no cluster to ask.
      - Exactly one of O(gpu) and O(nodes) is needed.
    type: dict
    suboptions:
      product:
        description: Name of the GPU as in the label C(nvidia.com/gpu.product), for example V(NVIDIA-H100-80GB-HBM3).
        type: str
        required: true
      memory_gib:
        description:
          - Its memory as CUDA reports it (vLLM logs it as C(Free memory on device)), in GiB.
          - Known for usual data centre GPUs.
        type: float
      compute_capability:
        description: Its compute capability, for example V(9.0). Known for usual data centre GPUs.
        type: str
      per_node:
        description: How many are in one node.
        type: int
        default: 8
      nodes:
        description: How many such nodes there are.
        type: int
        default: 1
  nodes:
    description:
      - The nodes of a cluster, as RV(llmstack.serving.gpu_check#module:nodes) lists them.
      - What is free on them is what the model is placed on.
    type: list
    elements: dict
  dtype:
    description: As vLLM's C(--dtype).
    type: str
    choices: [auto, bfloat16, float16, float32, half, float]
    default: auto
  quantization:
    description:
      - What vLLM is to quantise an unquantised checkpoint to while it loads it.
      - The quantisation of a quantised checkpoint (FP8, AWQ, GPTQ, MXFP4, NVFP4 ...) is read from its files.
    type: str
    choices: [fp8, bitsandbytes]
  kv_cache_dtype:
    description: As vLLM's C(--kv-cache-dtype).
    type: str
    choices: [auto, bfloat16, float16, fp8, fp8_e4m3, fp8_e5m2, fp8_ds_mla, fp8_per_token_head, int8_per_token_head, nvfp4]
    default: auto
  tensor_parallel_size:
    description: As vLLM's C(--tensor-parallel-size).
    type: int
    default: 1
  pipeline_parallel_size:
    description: As vLLM's C(--pipeline-parallel-size).
    type: int
    default: 1
  data_parallel_size:
    description: As vLLM's C(--data-parallel-size).
    type: int
    default: 1
  decode_context_parallel_size:
    description: As vLLM's C(--decode-context-parallel-size).
    type: int
    default: 1
  enable_expert_parallel:
    description: As vLLM's C(--enable-expert-parallel).
    type: bool
    default: false
  max_model_len:
    description: As vLLM's C(--max-model-len), a number of tokens. Without it, the length the model was made for.
    type: int
  gpu_memory_utilization:
    description: As vLLM's C(--gpu-memory-utilization).
    type: float
    default: 0.92
  kv_cache_memory_bytes:
    description: As vLLM's C(--kv-cache-memory-bytes), or what its log says as C(Available KV cache memory).
    type: int
  max_num_seqs:
    description: As vLLM's C(--max-num-seqs). Without it, vLLM's default, 1024 on GPUs with 70 GiB or more and 256 on others.
    type: int
  max_num_batched_tokens:
    description:
      - As vLLM's C(--max-num-batched-tokens). Without it, vLLM's default, 8192 on GPUs with 70 GiB or more and 2048 on others.
    type: int
  block_size:
    description: As vLLM's C(--block-size).
    type: int
  enable_prefix_caching:
    description: As vLLM's C(--enable-prefix-caching). Hybrid models keep a second state per request with it.
    type: bool
    default: true
  enforce_eager:
    description: As vLLM's C(--enforce-eager). Without CUDA graphs no memory is set aside for them.
    type: bool
    default: false
  engine_version:
    description:
      - The version of vLLM, for example V(0.32.0). Newer versions need less memory for sampling.
      - Without it, the working memory is the largest that was measured with any version, which is on the safe side.
    type: str
  activation_gib:
    description:
      - The peak of activations that vLLM measured with these settings (C(GiB for peak activation) in its log).
      - It is the one term that is estimated otherwise.
    type: float
  non_torch_gib:
    description: What vLLM measured as C(non-torch memory), in GiB. Without it, 0.15 on one GPU and 0.6 on several.
    type: float
  lora:
    description: What vLLM is to reserve for LoRA adapters.
    type: dict
    suboptions:
      max_loras:
        description: As vLLM's C(--max-loras).
        type: int
        default: 1
      max_lora_rank:
        description: As vLLM's C(--max-lora-rank).
        type: int
        default: 16
  speculative:
    description: Speculative decoding.
    type: dict
    suboptions:
      num_speculative_tokens:
        description: How many tokens are drafted at once.
        type: int
        required: true
      model:
        description: The draft model, a directory or C(s3://bucket/prefix). Without it, the model's own prediction layers.
        type: str
  suggestions:
    description: How many suggestions to give at most.
    type: int
    default: 5
  fail_on:
    description:
      - When the task fails. V(fail) - the model does not fit. V(warn) - it does not fit, only just fits, or nothing can be
        said about it. V(never) - only on wrong input.
    type: str
    choices: [fail, warn, never]
    default: fail
seealso:
  - module: llmstack.serving.gpu_check
  - name: vLLM, conserving memory
    description: What the options do to memory.
    link: https://docs.vllm.ai/en/latest/configuration/conserving_memory/
"""

EXAMPLES = r"""
- name: Does the model fit on the cluster?
  llmstack.serving.model_fit:
    model: s3://models/llama-3-70b
    tensor_parallel_size: 4
    max_model_len: 32768
    engine_version: 0.32.0
    nodes: "{{ gpus.nodes }}"  # registered from llmstack.serving.gpu_check

- name: Which GPUs would a model need that nobody has fetched yet?
  llmstack.serving.model_fit:
    config: "{{ lookup('ansible.builtin.url', config_url, split_lines=false) | from_json }}"
    gpu:
      product: NVIDIA-H100-80GB-HBM3
      per_node: 8
    fail_on: never
  register: fit

- name: What would make it fit
  ansible.builtin.debug:
    msg: "{{ item.gpus }} x {{ item.gpu }}: {{ item.why }}"
  loop: "{{ fit.suggestions }}"
"""

RETURN = r"""
fits:
  description: Whether vLLM will start and serve a request of the full length; null when nothing can be said.
  returned: success
  type: bool
  sample: true
status:
  description: V(warn) is a fit with a margin below 5 % or on time-sliced GPUs, V(skip) an unknown architecture.
  returned: success
  type: str
  choices: [pass, warn, fail, skip]
  sample: pass
limiting_factor:
  description: What keeps the model from fitting; null if it fits.
  returned: success
  type: str
  choices: [weights, activation, kv_cache, tensor_parallel, pipeline_parallel, context_length, utilization, compute_capability, gpus, architecture]
  sample: kv_cache
problems:
  description: Everything that keeps the model from fitting.
  returned: success
  type: list
  elements: dict
  contains:
    factor:
      description: One of the values of RV(limiting_factor).
      type: str
      sample: weights
    message:
      description: A sentence with the numbers and the way out.
      type: str
      sample: >-
        The weights take 131.42 GiB on each GPU and 0.92 of 79.18 GiB is 72.85 GiB: more GPUs (tensor_parallel_size),
        a quantised checkpoint or bigger GPUs are needed.
warnings_found:
  description: What makes the verdict less certain; each is a warning of the task too.
  returned: success
  type: list
  elements: str
  sample: []
confidence:
  description: >-
    V(measured) when the activations or the KV cache were given, V(formula) when they were estimated, V(unsupported) when
    the architecture is not known.
  returned: success
  type: str
  choices: [measured, formula, unsupported]
  sample: formula
margin_gib:
  description: What is left on each GPU with one request of the full length, in GiB; negative if it does not fit.
  returned: success
  type: float
  sample: 12.81
max_model_len:
  description: The length of context that was asked for, in tokens.
  returned: success
  type: int
  sample: 131072
max_model_len_that_fits:
  description: The longest context, up to RV(max_model_len), that one request can have.
  returned: success
  type: int
  sample: 131072
concurrency_at_max_len:
  description: How many requests of RV(max_model_len) fit at once; vLLM logs it as C(Maximum concurrency).
  returned: success
  type: float
  sample: 1.64
kv_cache_tokens:
  description: What vLLM will log as C(GPU KV cache size), in tokens.
  returned: success
  type: int
  sample: 214958
memory:
  description: Where the memory of one GPU goes, in GiB, on the GPU with the least left.
  returned: when the architecture is known and can be divided over the GPUs
  type: dict
  sample:
    gpu_total_gib: 79.18
    usable_gib: 72.85
    weights_gib: 33.37
    lora_gib: 0.0
    activation_gib: 5.6
    other_gib: 0.6
    kv_cache_gib: 33.27
    kv_cache_needed_gib: 20.0
    kv_bytes_per_token: 163840
gpu:
  description: The kind of GPU that the verdict is about, the best of the cluster.
  returned: success
  type: str
  sample: NVIDIA-H100-80GB-HBM3
gpus_needed:
  description: How many GPUs the settings take.
  returned: success
  type: int
  sample: 2
suggestions:
  description: Settings that fit on these GPUs, cheapest first; fewest GPUs, then the least change.
  returned: success
  type: list
  elements: dict
  sample:
    - settings: {tensor_parallel_size: 2, quantization: fp8}
      gpu: NVIDIA-H100-80GB-HBM3
      gpus: 2
      margin_gib: 12.81
      max_model_len: 131072
      concurrency_at_max_len: 1.64
      why: tensor parallelism 2, FP8 weights
architecture:
  description: The model's architecture as its configuration names it.
  returned: success
  type: str
  sample: LlamaForCausalLM
weights_total_gib:
  description: All weights of the checkpoint together, in GiB; null when only a total was given or nothing was read.
  returned: success
  type: float
  sample: 131.42
bytes_read:
  description: How many bytes of the model's files were read.
  returned: success
  type: int
  sample: 1982464
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _kv_cache,
    _model_fit,
    _model_source,
    _model_verdict,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_model_source.ARGUMENT_SPEC,
            "model": {"type": "str"},
            "config": {"type": "dict"},
            "weights_gib": {"type": "float"},
            "gpu": {
                "type": "dict",
                "options": {
                    "product": {"type": "str", "required": True},
                    "memory_gib": {"type": "float"},
                    "compute_capability": {"type": "str"},
                    "per_node": {"type": "int", "default": 8},
                    "nodes": {"type": "int", "default": 1},
                },
            },
            "nodes": {"type": "list", "elements": "dict"},
            "dtype": {
                "type": "str",
                "choices": ["auto", "bfloat16", "float16", "float32", "half", "float"],
                "default": "auto",
            },
            "quantization": {"type": "str", "choices": ["fp8", "bitsandbytes"]},
            "kv_cache_dtype": {
                "type": "str",
                "choices": list(_kv_cache.KV_DTYPES),
                "default": "auto",
            },
            "tensor_parallel_size": {"type": "int", "default": 1},
            "pipeline_parallel_size": {"type": "int", "default": 1},
            "data_parallel_size": {"type": "int", "default": 1},
            "decode_context_parallel_size": {"type": "int", "default": 1},
            "enable_expert_parallel": {"type": "bool", "default": False},
            "max_model_len": {"type": "int"},
            "gpu_memory_utilization": {"type": "float", "default": 0.92},
            "kv_cache_memory_bytes": {"type": "int"},
            "max_num_seqs": {"type": "int"},
            "max_num_batched_tokens": {"type": "int", "no_log": False},
            "block_size": {"type": "int"},
            "enable_prefix_caching": {"type": "bool", "default": True},
            "enforce_eager": {"type": "bool", "default": False},
            "engine_version": {"type": "str"},
            "activation_gib": {"type": "float"},
            "non_torch_gib": {"type": "float"},
            "lora": {
                "type": "dict",
                "options": {
                    "max_loras": {"type": "int", "default": 1},
                    "max_lora_rank": {"type": "int", "default": 16},
                },
            },
            "speculative": {
                "type": "dict",
                "options": {
                    "num_speculative_tokens": {"type": "int", "required": True, "no_log": False},
                    "model": {"type": "str"},
                },
            },
            "suggestions": {"type": "int", "default": 5},
            "fail_on": {"type": "str", "choices": ["fail", "warn", "never"], "default": "fail"},
        },
        mutually_exclusive=[("model", "config"), ("gpu", "nodes")],
        required_one_of=[("model", "config"), ("gpu", "nodes")],
        required_together=_model_source.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    try:
        verdict = _model_verdict.predict(module.params)
    except _model_source.MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library), exception=error.details)
    except _model_verdict.INPUT_ERRORS as error:
        module.fail_json(msg=str(error))
    for warning in verdict["warnings_found"]:
        module.warn(warning)
    if _model_fit.must_fail(verdict, module.params["fail_on"]):
        module.fail_json(msg=_model_fit.sentence(verdict), **verdict)
    module.exit_json(changed=False, **verdict)


if __name__ == "__main__":
    main()

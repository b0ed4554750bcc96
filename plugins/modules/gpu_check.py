#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_check
version_added: 0.1.0
short_description: Check the GPUs of a Kubernetes cluster, from labels to a test on each node
description:
  - Says which GPUs a cluster has and how many of them a workload could have now, per node and in the largest block on one
    node, and what is wrong with the others.
  - Looks at node conditions, labels of GPU feature discovery, what the device plugin or the DRA driver offers, taints, the
    GPU operator, the container runtime, and what pods have taken. All findings are reported at once, each with a remedy.
  - Counts time-slicing, MPS, MIG (single and mixed) and DRA each by its own rules.
  - Reads only, unless O(smoke) asks for a test pod on each node, which runs C(nvidia-smi -q -x) and is removed again.
author:
  - llmstack contributors (@llmstack)
extends_documentation_fragment:
  - llmstack.serving._attributes
  - llmstack.serving._attributes.ACTIONGROUP
  - llmstack.serving._kubernetes_auth
attributes:
  check_mode:
    support: full
    details:
      - In check mode no test pods are made; their checks are skipped.
  diff_mode:
    support: N/A
    details:
      - Nothing is changed.
  idempotent:
    support: full
requirements:
  - python >= 3.11
options:
  node_selector:
    description: Look only at nodes with these labels, as C(kubectl --selector) takes them, for example V(pool=inference).
    type: str
    default: ""
  tolerations:
    description:
      - The workload's tolerations. Nodes with other taints do not count as usable.
      - On GKE the taint C(nvidia.com/gpu) is tolerated by every pod that requests GPUs.
    type: list
    elements: dict
    default: []
  min_gpus:
    description: How many GPUs must be free on usable nodes that meet the other expectations.
    type: int
  min_gpus_per_node:
    description: How many GPUs must be free on one such node, which is what tensor parallelism needs.
    type: int
  products:
    description: Names of acceptable GPUs, or parts of them, for example V(H100).
    type: list
    elements: str
    default: []
  min_memory_mib:
    description: How much memory a GPU must have at least, in MiB as in the label C(nvidia.com/gpu.memory).
    type: int
  min_compute_capability:
    description: The lowest acceptable compute capability, for example V(8.0).
    type: str
  dtype:
    description: The type that the model is computed in, instead of O(min_compute_capability).
    type: str
    choices: [float16, bfloat16, fp8, nvfp4]
  min_driver:
    description: The lowest acceptable driver, for example V(580.65.06).
    type: str
  cuda_version:
    description: The CUDA version of the image that will run, from which the lowest driver follows.
    type: str
  sharing:
    description: How GPUs must be handed out.
    type: str
    choices: [none, time-slicing, mps, mig]
  distributed:
    description: Whether the workload spans nodes (prefill and decode apart, pipeline stages), which needs RDMA devices.
    type: bool
    default: false
  tier:
    description: The size of cluster that is asked for; see RV(node_requirements).
    type: str
    choices: [minimum, recommended, production]
  allow_degraded:
    description: Whether a node that is not Ready, an unhealthy GPU and the like are warnings instead of failures.
    type: bool
    default: false
  ignored_xids:
    description:
      - XIDs that are no fault of a GPU. The default are those that an application causes.
    type: list
    elements: int
    default: [13, 31, 43, 45, 68, 109]
  smoke:
    description:
      - The test pod of each node gets one GPU, all free ones, or there is none.
      - Where a DRA driver hands out the GPUs, the pod gets them by a ResourceClaim of the DeviceClass C(gpu.nvidia.com); its
        ResourceClaimTemplate is removed with it.
      - Pods run as a user without rights in a restricted security context, end by themselves after O(smoke_timeout), and are
        always removed, also after an abort.
    type: str
    choices: [none, one_per_node, all_gpus]
    default: none
  smoke_namespace:
    description: Where test pods are made. It must exist.
    type: str
    default: default
  smoke_image:
    description: An image with CUDA's base files; the driver's tools are given to it by the container runtime.
    type: str
    default: docker.io/nvidia/cuda:12.8.1-base-ubuntu24.04
  smoke_timeout:
    description: How long a test may take on each node, in seconds, pull of the image included.
    type: int
    default: 180
  dcgm_level:
    description:
      - Run C(dcgmi diag -r) at this level in the test pod too, V(0) not at all. Level 1 takes half a minute, 2 two minutes,
        3 a quarter of an hour; raise O(smoke_timeout) accordingly.
      - Its container runs as root, so O(smoke_namespace) must not enforce the restricted pod security standard.
    type: int
    choices: [0, 1, 2, 3]
    default: 0
  dcgm_image:
    description: An image with dcgmi.
    type: str
    default: nvcr.io/nvidia/cloud-native/dcgm:4.6.0-1-ubuntu24.04
  nccl_image:
    description:
      - An image with C(all_reduce_perf) of NVIDIA's nccl-tests. With it the test pod of each node also measures how fast its
        GPUs talk to each other; O(smoke=all_gpus) gives it more than one.
    type: str
  nccl_least_gb_per_second:
    description:
      - The lowest bandwidth that will do, in GB/s; the bus bandwidth of several GPUs, or the memory's of a single one. H100 with
        NVLink reach some 400, GPUs on PCIe some 15.
    type: float
    default: 0
  image_pull_secrets:
    description: Secrets in O(smoke_namespace) to pull the images with.
    type: list
    elements: str
    default: []
  runtime_class_name:
    description: The RuntimeClass of test pods, where nvidia is not the container runtime's default.
    type: str
  fail_on:
    description:
      - When the task fails. V(fail) - a check failed. V(warn) - a check failed, warned or was skipped; skipped never counts
        as passed. V(never) - only if the cluster cannot be read.
    type: str
    choices: [fail, warn, never]
    default: fail
seealso:
  - module: llmstack.serving.model_fit
  - name: GPU feature discovery
    description: The labels that are read.
    link: https://github.com/NVIDIA/k8s-device-plugin/tree/main/docs/gpu-feature-discovery
"""

EXAMPLES = r"""
- name: What GPUs are there, and what is wrong with them?
  llmstack.serving.gpu_check:
    fail_on: never
  register: gpus

- name: The workload needs eight H100 on one node
  llmstack.serving.gpu_check:
    node_selector: pool=inference
    tolerations:
      - {key: nvidia.com/gpu, operator: Exists}
    products: [H100]
    min_gpus_per_node: 8
    dtype: fp8
    cuda_version: "13.0"
    sharing: none

- name: Accept new nodes
  llmstack.serving.gpu_check:
    node_selector: state=new
    smoke: all_gpus
    smoke_namespace: gpu-acceptance
    dcgm_level: 2
    smoke_timeout: 600
    fail_on: warn
"""

RETURN = r"""
summary:
  description: The cluster in one view. Counts are units of the resource, which are shares where GPUs are shared.
  returned: success
  type: dict
  contains:
    status:
      description: The worst status of all checks.
      type: str
      choices: [pass, skip, warn, fail]
    nodes:
      description: Nodes with GPUs.
      type: int
    usable_nodes:
      description: Those of them that are Ready, schedulable, without pressure, and whose taints are tolerated.
      type: int
    gpus_capacity:
      description: GPUs that nodes have.
      type: int
    gpus_allocatable:
      description: GPUs that are healthy.
      type: int
    gpus_free:
      description: GPUs that are free on usable nodes; null where pods could not be listed.
      type: int
    largest_free_block:
      description: The most that are free on one usable node.
      type: int
    products:
      description: Names of the GPUs.
      type: list
      elements: str
    drivers:
      description: Versions of the driver.
      type: list
      elements: str
    passed:
      description: How many checks passed.
      type: int
    warned:
      description: How many warned.
      type: int
    failed:
      description: How many failed.
      type: int
    skipped:
      description: How many could not be carried out.
      type: int
  sample:
    status: warn
    nodes: 3
    usable_nodes: 2
    gpus_capacity: 24
    gpus_allocatable: 24
    gpus_free: 9
    largest_free_block: 8
    products: [NVIDIA-H100-80GB-HBM3]
    drivers: [580.173.02]
    passed: 14
    warned: 1
    failed: 0
    skipped: 0
checks:
  description: One entry for each check, the worst of all nodes.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: What was checked.
      type: str
    category:
      description: What it belongs to.
      type: str
    status:
      description: What came of it.
      type: str
      choices: [pass, warn, fail, skip]
    message:
      description: A sentence.
      type: str
    remediation:
      description: What to do.
      type: str
    evidence:
      description: What the message is founded on.
      type: dict
    nodes:
      description: The nodes that did not pass.
      type: list
      elements: str
    passed:
      description: How many nodes passed.
      type: int
  sample:
    - id: node-schedulable
      category: node
      status: warn
      message: "gpu-2: the node is cordoned: nothing new is placed on it"
      remediation: "When its maintenance is over: `kubectl uncordon gpu-2`."
      evidence: {}
      nodes: [gpu-2]
      passed: 2
nodes:
  description: The nodes with GPUs; M(llmstack.serving.model_fit) takes them as they are.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The node.
      type: str
    status:
      description: The worst status of its checks.
      type: str
    product:
      description: The GPUs' name.
      type: str
    memory_mib:
      description: The memory of each.
      type: int
    compute_capability:
      description: For example V(9.0).
      type: str
    driver:
      description: The driver's version.
      type: str
    cuda:
      description: The CUDA version that the driver supports.
      type: str
    mode:
      description: Who hands out the GPUs.
      type: str
      choices: [device_plugin, dra, none]
    resource:
      description: The name of the resource, or of the DRA driver.
      type: str
    sharing:
      description: V(none), V(time-slicing) or V(mps).
      type: str
    replicas:
      description: How many pods share each GPU.
      type: int
    mig:
      description: Null, or the strategy and for V(mixed) the counts of each profile.
      type: dict
    physical:
      description: GPUs in the node.
      type: int
    capacity:
      description: Units it has.
      type: int
    allocatable:
      description: Units that are healthy.
      type: int
    allocated:
      description: Units that pods or claims have taken.
      type: int
    free:
      description: Units that are left.
      type: int
    ready:
      description: Whether the node is Ready.
      type: bool
    schedulable:
      description: Whether it is not cordoned.
      type: bool
    usable:
      description: Whether the workload could be placed on it now.
      type: bool
    taints:
      description: Its taints.
      type: list
      elements: dict
    conditions:
      description: Its conditions that mean trouble.
      type: list
      elements: dict
    cloud:
      description: V(gke), V(eks), V(aks) or null.
      type: str
    passed:
      description: Names of the checks that passed on it.
      type: list
      elements: str
    checks:
      description: The checks that did not pass on it, as in RV(checks).
      type: list
      elements: dict
  sample:
    - name: gpu-1
      status: pass
      product: NVIDIA-H100-80GB-HBM3
      memory_mib: 81559
      compute_capability: "9.0"
      driver: 580.173.02
      cuda: "13.0"
      mode: device_plugin
      resource: nvidia.com/gpu
      sharing: none
      replicas: 1
      mig: null
      physical: 8
      capacity: 8
      allocatable: 8
      allocated: 0
      free: 8
      ready: true
      schedulable: true
      usable: true
      taints: []
      conditions: []
      cloud: null
      passed: [node-ready, node-schedulable]
      checks: []
node_requirements:
  description:
    - Which size of cluster this is, by the table that is usual for serving LLMs, and what keeps it from the next.
  returned: success
  type: dict
  contains:
    tier:
      description: V(minimum), V(recommended) or V(production); null below minimum.
      type: str
    next:
      description: The next tier; null at the top.
      type: str
    missing:
      description: What the next tier asks for beyond what is there.
      type: list
      elements: str
    not_checked:
      description: What the API does not show.
      type: list
      elements: str
    tiers:
      description: The table.
      type: dict
  sample:
    tier: minimum
    next: recommended
    missing: ["3 nodes, recommended asks for 5"]
    not_checked: [network_gbps]
    tiers: {minimum: {nodes: 3, gpus_per_node: 1, compute_capability: "7.0", cpu_cores: 16, memory_gb: 64}}
"""

import uuid
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _gpu_checks,
    _gpu_smoke,
    _gpu_smoke_run,
    _gpu_survey,
    _node_requirements,
)
from ansible_collections.llmstack.serving.plugins.module_utils._gpu_checks import Expectations, Finding
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError

NODE_KEYS = (
    "name",
    "product",
    "memory_mib",
    "compute_capability",
    "driver",
    "cuda",
    "mode",
    "resource",
    "sharing",
    "replicas",
    "mig",
    "physical",
    "capacity",
    "allocatable",
    "allocated",
    "free",
    "ready",
    "schedulable",
    "taints",
    "conditions",
    "cloud",
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "node_selector": {"type": "str", "default": ""},
            "tolerations": {"type": "list", "elements": "dict", "default": []},
            "min_gpus": {"type": "int"},
            "min_gpus_per_node": {"type": "int"},
            "products": {"type": "list", "elements": "str", "default": []},
            "min_memory_mib": {"type": "int"},
            "min_compute_capability": {"type": "str"},
            "dtype": {"type": "str", "choices": ["float16", "bfloat16", "fp8", "nvfp4"]},
            "min_driver": {"type": "str"},
            "cuda_version": {"type": "str"},
            "sharing": {"type": "str", "choices": ["none", "time-slicing", "mps", "mig"]},
            "distributed": {"type": "bool", "default": False},
            "tier": {"type": "str", "choices": ["minimum", "recommended", "production"]},
            "allow_degraded": {"type": "bool", "default": False},
            "ignored_xids": {"type": "list", "elements": "int", "default": [13, 31, 43, 45, 68, 109]},
            "smoke": {"type": "str", "choices": ["none", "one_per_node", "all_gpus"], "default": "none"},
            "smoke_namespace": {"type": "str", "default": "default"},
            "smoke_image": {"type": "str", "default": "docker.io/nvidia/cuda:12.8.1-base-ubuntu24.04"},
            "smoke_timeout": {"type": "int", "default": 180},
            "dcgm_level": {"type": "int", "choices": [0, 1, 2, 3], "default": 0},
            "dcgm_image": {"type": "str", "default": "nvcr.io/nvidia/cloud-native/dcgm:4.6.0-1-ubuntu24.04"},
            "nccl_image": {"type": "str"},
            "nccl_least_gb_per_second": {"type": "float", "default": 0},
            "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "runtime_class_name": {"type": "str"},
            "fail_on": {"type": "str", "choices": ["fail", "warn", "never"], "default": "fail"},
        },
        mutually_exclusive=[("min_compute_capability", "dtype")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        wanted = expectations(params)
        kube = Kube(connection(params))
        nodes, cluster, listed = _gpu_survey.survey(kube, params["node_selector"])
        findings = [finding for node in nodes for finding in _gpu_checks.of_node(node, wanted)]
        findings += _gpu_checks.of_cluster(nodes, cluster, wanted)
        findings += smoke(kube, nodes, cluster, params, wanted, module.check_mode)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except (ValueError, KubeError) as error:
        module.fail_json(msg=str(error))
    requirements = _node_requirements.assess(nodes, listed)
    if params["tier"]:
        lacking = _node_requirements.missing(params["tier"], nodes, listed)
        findings.append(_gpu_checks.of_tier(params["tier"], lacking))
    checks = _gpu_checks.grouped(findings)
    summary = _gpu_checks.summary(nodes, checks, wanted)
    result = {
        "summary": summary,
        "checks": checks,
        "nodes": [returned(node, found, wanted) for node, found in by_node(nodes, findings)],
        "node_requirements": {**requirements, "tiers": _node_requirements.TIERS},
    }
    if _gpu_checks.must_fail(summary["status"], params["fail_on"]):
        module.fail_json(msg=_gpu_checks.sentence(checks, params["fail_on"]), **result)
    module.exit_json(changed=False, **result)


def expectations(params: dict[str, Any]) -> Expectations:
    """Raises ValueError with a sentence."""
    for name in ("min_gpus", "min_gpus_per_node", "min_memory_mib", "smoke_timeout"):
        if params[name] is not None and params[name] < 1:
            raise ValueError(f"{name} is {params[name]} and must be at least 1.")
    return Expectations(
        min_gpus=params["min_gpus"],
        min_gpus_per_node=params["min_gpus_per_node"],
        products=params["products"],
        min_memory_mib=params["min_memory_mib"],
        min_compute_capability=_gpu_checks.minimum_capability(params["min_compute_capability"], params["dtype"]),
        min_driver=_gpu_checks.minimum_driver(params["min_driver"], params["cuda_version"]),
        sharing=params["sharing"],
        tolerations=params["tolerations"],
        distributed=params["distributed"],
        allow_degraded=params["allow_degraded"],
        xids_ignored=params["ignored_xids"],
    )


def smoke(
    kube: Kube,
    nodes: list[dict[str, Any]],
    cluster: _gpu_checks.Cluster,
    params: dict[str, Any],
    wanted: Expectations,
    check_mode: bool,
) -> list[Finding]:
    if params["smoke"] == "none":
        return []
    if check_mode:
        return _gpu_smoke.skipped_all(nodes, "in check mode no pods are made")
    options = _gpu_smoke.Options(
        scope=params["smoke"],
        namespace=params["smoke_namespace"],
        image=params["smoke_image"],
        dcgm_level=params["dcgm_level"],
        dcgm_image=params["dcgm_image"],
        nccl_image=params["nccl_image"],
        nccl_least_gb_per_second=params["nccl_least_gb_per_second"],
        timeout_seconds=params["smoke_timeout"],
        runtime_class_name=params["runtime_class_name"],
        image_pull_secrets=params["image_pull_secrets"],
        claims_version=cluster.claims_version,
    )
    return _gpu_smoke_run.run(kube, _gpu_smoke.plan(nodes, options, uuid.uuid4().hex[:12]), options, wanted)


def by_node(nodes: list[dict[str, Any]], findings: list[Finding]) -> list[tuple[dict[str, Any], list[Finding]]]:
    found = _gpu_checks.of_each_node(findings)
    return [(node, found.get(node["name"], [])) for node in nodes]


def returned(node: dict[str, Any], findings: list[Finding], wanted: Expectations) -> dict[str, Any]:
    return {
        **{key: node[key] for key in NODE_KEYS},
        "usable": _gpu_checks.usable(node, wanted),
        "status": _gpu_checks.worst(finding.status for finding in findings),
        "passed": [finding.id for finding in findings if finding.status == _gpu_checks.PASS],
        "checks": [finding.result() for finding in findings if finding.status != _gpu_checks.PASS],
    }


if __name__ == "__main__":
    main()

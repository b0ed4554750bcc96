#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inferenceservice
short_description: Serve a model with a KServe InferenceService and wait until this change serves
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Describes an InferenceService of KServe in the words of KServe, knows before anything is written what KServe's webhook will
    refuse, and waits until B(this) change serves.
  - A wait ends early with the cause and a remedy when something cannot heal by itself, such as an image that cannot be pulled,
    GPUs that no node has, a model that is not in the bucket, an engine that does not know an argument, a used up quota.
  - Components carry the annotation C(llmstack.serving/spec-hash), which KServe copies to the pods. It is how the module knows
    that a Deployment was made from this spec; KServe's own status does not tell.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Sends reads and dry runs only. Where KServe or the namespace is not there yet, the result is predicted with a warning.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the InferenceService. Starts with a letter; lower case letters, digits and V(-).
    type: str
    required: true
  namespace:
    description: Namespace of the InferenceService. It must exist.
    type: str
    default: default
  state:
    description:
      - V(present) creates or updates it, V(absent) deletes it.
      - V(stopped) keeps it and removes its pods (KServe's own stop annotation); V(present) starts them again.
    type: str
    choices: [present, absent, stopped]
    default: present
  deployment_mode:
    description:
      - V(Standard) makes a Deployment, V(Knative) a Knative Service with scale to zero and revisions.
      - With V(Knative), Knative's proxies are told to let an answer begin while they read the question
        (the annotation C(features.knative.dev/http-full-duplex)); otherwise they cut off some streamed answers.
      - V(RawDeployment) and V(Serverless) are the names of the same before KServe 0.16.
      - It cannot be changed later.
    type: str
    choices: [Standard, Knative, RawDeployment, Serverless]
    default: Standard
  runtime:
    description: Name of the ServingRuntime or ClusterServingRuntime. Without it KServe chooses one by O(model_format).
    type: str
  model_format:
    description: Name of the model format, as in C(supportedModelFormats) of the runtime (case-sensitive), for example V(vLLM).
    type: str
  model_format_version:
    description: Version of the model format.
    type: str
  protocol_version:
    description: Protocol that the runtime must speak, one of its C(protocolVersions).
    type: str
  runtime_version:
    description: Replaces the tag of the runtime's image.
    type: str
  storage_uri:
    description: Where the model is, for example V(s3://models/llama), V(pvc://claim/path), V(hf://org/model), V(oci://registry/image).
    type: str
  storage:
    description: Where the model is, by an entry of the Secret C(storage-config). Instead of O(storage_uri).
    type: dict
    suboptions:
      key:
        description: Key in the Secret.
        type: str
      path:
        description: Path in the bucket.
        type: str
      parameters:
        description: Overrides of the entry, for example C(type) and C(bucket).
        type: dict
      schema_path:
        description: Path of the model schema in the storage.
        type: str
  service_account:
    description: ServiceAccount of the pods. Its Secrets hold the credentials of the storage.
    type: str
  storage_secret:
    description:
      - Name of the Secret with the credentials of the storage, instead of those of O(service_account).
      - It is written into both annotations that KServe may read it from; which one it reads depends on how it was installed.
    type: str
  image:
    description: Image of the engine instead of the runtime's.
    type: str
  command:
    description: Command of the engine instead of the runtime's.
    type: list
    elements: str
  args:
    description: Arguments added after the runtime's; the last one wins.
    type: list
    elements: str
  env:
    description: Environment variables of the engine, added to the runtime's, as in a Pod.
    type: list
    elements: dict
  resources:
    description: Requests and limits of the engine, as in a Pod, merged over the runtime's.
    type: dict
  gpus:
    description: Number of GPUs for each pod; sets O(resources) for O(gpu_resource).
    type: int
  gpu_resource:
    description: Name of the GPU resource, for example a MIG profile V(nvidia.com/mig-1g.10gb).
    type: str
    default: nvidia.com/gpu
  shared_memory:
    description: Size of C(/dev/shm), for example V(16Gi). Engines on several GPUs need it.
    type: str
  replicas:
    description: A fixed number of replicas. Instead of O(min_replicas) and O(max_replicas).
    type: int
  min_replicas:
    description: Least number of replicas. V(0) scales to zero with Knative or KEDA.
    type: int
  max_replicas:
    description: Greatest number of replicas.
    type: int
  autoscaler_class:
    description:
      - Who scales with O(deployment_mode=Standard).
      - Without it V(keda) for metrics of the engine, V(hpa) where O(scale_metric), O(auto_scaling) or O(max_replicas) ask for
        scaling, else V(none).
    type: str
    choices: [hpa, keda, external, none]
  scale_metric:
    description:
      - What to scale on. V(cpu) and V(memory) work with O(deployment_mode=Standard); V(concurrency) and V(rps) with
        O(deployment_mode=Knative).
      - With O(deployment_mode=Standard) V(concurrency), V(rps), V(waiting_requests), V(tokens_per_second) and V(kv_cache_usage)
        (percent) are metrics of the engine, read by KEDA from O(prometheus_url). KServe itself refuses them for an HPA.
    type: str
    choices: [cpu, memory, concurrency, rps, waiting_requests, tokens_per_second, kv_cache_usage]
  scale_target:
    description: Value for each replica that is to be held; a percentage for V(cpu) and V(memory).
    type: int
  prometheus_url:
    description: URL of the Prometheus that KEDA reads the engine's metrics from.
    type: str
  auto_scaling:
    description: C(autoScaling) of KServe as it is (metrics, behavior), for what O(scale_metric) cannot say.
    type: dict
  container_concurrency:
    description: Requests that a replica takes at a time with O(deployment_mode=Knative). KServe ignores it with V(Standard).
    type: int
  timeout:
    description: Seconds after which the gateway gives up a request.
    type: int
  canary_traffic_percent:
    description: Share of the traffic for the new revision, with O(deployment_mode=Knative).
    type: int
  deployment_strategy:
    description: >-
      How pods are replaced, as in a Deployment. Where all GPUs are in use, C(type=Recreate) or C(maxSurge=0) is needed.
    type: dict
  transformer:
    description: Containers before the model.
    type: dict
    suboptions:
      containers:
        description: Containers as in a Pod. KServe adds arguments to the first one that tell where the predictor is.
        type: list
        elements: dict
        required: true
      min_replicas:
        description: Least number of replicas.
        type: int
      max_replicas:
        description: Greatest number of replicas.
        type: int
      scale_metric:
        description: What to scale on.
        type: str
        choices: [cpu, memory, concurrency, rps]
      scale_target:
        description: Value for each replica that is to be held.
        type: int
      container_concurrency:
        description: Requests that a replica takes at a time.
        type: int
      timeout:
        description: Seconds after which a request is given up.
        type: int
      service_account:
        description: ServiceAccount of the pods.
        type: str
      node_selector:
        description: Labels that a node must have.
        type: dict
      tolerations:
        description: Taints that the pods tolerate.
        type: list
        elements: dict
      volumes:
        description: Volumes of the pods.
        type: list
        elements: dict
  worker:
    description: Further nodes for one model (multi-node). Needs O(autoscaler_class=none) and a model on pvc:// or oci://.
    type: dict
    suboptions:
      pipeline_parallel_size:
        description: Number of nodes.
        type: int
      tensor_parallel_size:
        description: Number of GPUs for each node.
        type: int
      containers:
        description: The worker's container, merged over the runtime's.
        type: list
        elements: dict
  node_selector:
    description: Labels that a node must have.
    type: dict
  tolerations:
    description: Taints that the pods tolerate.
    type: list
    elements: dict
  affinity:
    description: Affinity of the pods.
    type: dict
  topology_spread_constraints:
    description: How the pods spread over the cluster.
    type: list
    elements: dict
  volumes:
    description: Volumes of the pods.
    type: list
    elements: dict
  volume_mounts:
    description: Where the engine mounts O(volumes).
    type: list
    elements: dict
  image_pull_secrets:
    description: Names of Secrets that the images are pulled with.
    type: list
    elements: str
  readiness_probe:
    description: Readiness probe of the engine instead of the runtime's.
    type: dict
  liveness_probe:
    description: Liveness probe of the engine instead of the runtime's.
    type: dict
  startup_probe:
    description: Startup probe of the engine instead of the runtime's; it must allow for the time that the model needs to load.
    type: dict
  lifecycle:
    description: Hooks of the engine, for example a C(preStop) that lets it finish its requests.
    type: dict
  termination_grace_period_seconds:
    description: Seconds that a pod has to finish its requests.
    type: int
  security_context:
    description: Security context of the engine.
    type: dict
  pod_security_context:
    description: Security context of the pods.
    type: dict
  priority_class_name:
    description: PriorityClass of the pods.
    type: str
  runtime_class_name:
    description: RuntimeClass of the pods.
    type: str
  scheduler_name:
    description: Scheduler of the pods.
    type: str
  logger:
    description: Logging of requests and answers by KServe; C(mode) is required by KServe.
    type: dict
  batcher:
    description: Batching of requests by KServe.
    type: dict
  labels:
    description: Labels of the InferenceService.
    type: dict
  annotations:
    description: Annotations of the InferenceService.
    type: dict
  pod_labels:
    description: Labels of the pods.
    type: dict
  pod_annotations:
    description: Annotations of the pods.
    type: dict
  definition:
    description:
      - Any other part of the InferenceService, as its YAML. Merged with the options; where both say something else, it is an
        error.
    type: dict
    default: {}
  force_conflicts:
    description: Take over fields that other field managers own. Without it, such a conflict is an error that names them.
    type: bool
    default: false
  field_manager:
    description: The name under which the API server records who owns which field.
    type: str
    default: llmstack.serving
  wait:
    description: Wait until this change serves (or is gone, or stopped).
    type: bool
    default: true
  wait_condition:
    description:
      - A condition of the InferenceService to wait for instead of its URL and C(Ready), for example C(PredictorReady) where nothing
        routes to it yet.
      - The pods of B(this) change must serve all the same, and what cannot heal by itself still ends the wait.
    type: dict
    suboptions:
      type:
        description: Name of the condition.
        type: str
        required: true
      status:
        description: Its value. Quote it, because YAML takes V(True) for a boolean.
        type: str
        choices: ["True", "False", Unknown]
        default: "True"
      reason:
        description: Its reason. Without it any.
        type: str
        default: ""
  wait_timeout:
    description:
      - Longest time to wait, in seconds. Slow is not failed; what cannot heal by itself ends the wait at once.
    type: int
    default: 1800
seealso:
  - module: llmstack.serving.inferenceservice_info
  - module: llmstack.serving.apply
  - name: InferenceService
    description: KServe's own reference.
    link: https://kserve.github.io/website/docs/reference/crd-api
"""

EXAMPLES = r"""
- name: Serve a model from S3 on two GPUs
  llmstack.serving.inferenceservice:
    name: llama
    namespace: model-serving
    runtime: vllm
    model_format: vLLM
    storage_uri: s3://models/llama-3.1-8b
    service_account: model-storage
    gpus: 2
    shared_memory: 16Gi
    args:
      - --tensor-parallel-size=2
      - --max-model-len=16384
    wait_timeout: 3600

- name: Scale on requests that wait in the engine (needs KEDA)
  llmstack.serving.inferenceservice:
    name: llama
    namespace: model-serving
    runtime: vllm
    model_format: vLLM
    storage_uri: s3://models/llama-3.1-8b
    min_replicas: 1
    max_replicas: 4
    scale_metric: waiting_requests
    scale_target: 5
    prometheus_url: http://prometheus-operated.monitoring:9090

- name: What no option says goes into definition
  llmstack.serving.inferenceservice:
    name: llama
    namespace: model-serving
    model_format: vLLM
    storage_uri: pvc://models/llama
    definition:
      spec:
        predictor:
          hostIPC: true

- name: Free the GPUs over night
  llmstack.serving.inferenceservice:
    name: llama
    namespace: model-serving
    runtime: vllm
    model_format: vLLM
    storage_uri: s3://models/llama-3.1-8b
    state: stopped
"""

RETURN = r"""
inferenceservice:
  description: The InferenceService as served last (after the wait); empty if it is gone.
  returned: always
  type: dict
  sample:
    apiVersion: serving.kserve.io/v1beta1
    kind: InferenceService
    metadata:
      name: llama
      namespace: model-serving
url:
  description: External URL.
  returned: when O(state) is not V(absent)
  type: str
  sample: http://llama-model-serving.example.com
endpoint:
  description: Ways to reach it.
  returned: when O(state) is not V(absent)
  type: dict
  contains:
    url:
      description: External URL.
      type: str
      returned: always
      sample: http://llama-model-serving.example.com
    host:
      description: Host header for requests to the gateway's address.
      type: str
      returned: always
      sample: llama-model-serving.example.com
    cluster_local_url:
      description: URL inside the cluster.
      type: str
      returned: always
      sample: http://llama-predictor.model-serving.svc.cluster.local
    gateway_address:
      description:
        - Address of the Gateway or Ingress that requests are sent to with the host header; an IP address or a name, as its status
          says. V(null) if it has none, or may not be read.
      type: str
      returned: always
      sample: 192.0.2.10
model_status:
  description: C(status.modelStatus) of KServe. Its C(lastFailureInfo) outlives the failure.
  returned: when O(state) is not V(absent)
  type: dict
  sample:
    transitionStatus: UpToDate
revision:
  description: Revision of the predictor's Deployment, or name of the ready Knative revision.
  returned: when O(state) is not V(absent)
  type: str
  sample: "3"
pods:
  description: The pods, if it was waited for.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the pod.
      type: str
      returned: always
      sample: llama-predictor-7d9c5b6f4-abcde
    node:
      description: Node of the pod.
      type: str
      returned: always
      sample: gpu-1
    phase:
      description: What the pod is doing.
      type: str
      returned: always
      sample: is ready
    gpus:
      description: Number of its GPUs.
      type: int
      returned: always
      sample: 2
phases:
  description: How long the newest ready pod took for what.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  sample:
    - phase: model downloaded
      seconds: 312
commands:
  description: Commands to look further.
  returned: when O(state) is not V(absent)
  type: list
  elements: str
  sample:
    - kubectl -n model-serving describe inferenceservice llama
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _inferenceservice,
    _kube_apply,
    _serving_result,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KindNotFound, KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._kube_gateway import Gateways
from ansible_collections.llmstack.serving.plugins.module_utils._progress import report
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import Wanted

_ARGUMENTS: dict[str, Any] = {
    **AUTH_ARG_SPEC,
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    "state": {"type": "str", "choices": ["present", "absent", "stopped"], "default": "present"},
    "deployment_mode": {
        "type": "str",
        "choices": ["Standard", "Knative", "RawDeployment", "Serverless"],
        "default": "Standard",
    },
    "runtime": {"type": "str"},
    "model_format": {"type": "str"},
    "model_format_version": {"type": "str"},
    "protocol_version": {"type": "str"},
    "runtime_version": {"type": "str"},
    "storage_uri": {"type": "str"},
    "storage": {
        "type": "dict",
        "options": {
            "key": {"type": "str", "no_log": False},
            "path": {"type": "str"},
            "parameters": {"type": "dict"},
            "schema_path": {"type": "str"},
        },
    },
    "service_account": {"type": "str"},
    "storage_secret": {"type": "str", "no_log": False},
    "image": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
    "args": {"type": "list", "elements": "str"},
    "env": {"type": "list", "elements": "dict"},
    "resources": {"type": "dict"},
    "gpus": {"type": "int"},
    "gpu_resource": {"type": "str", "default": "nvidia.com/gpu"},
    "shared_memory": {"type": "str"},
    "replicas": {"type": "int"},
    "min_replicas": {"type": "int"},
    "max_replicas": {"type": "int"},
    "autoscaler_class": {"type": "str", "choices": ["hpa", "keda", "external", "none"]},
    "scale_metric": {
        "type": "str",
        "choices": ["cpu", "memory", "concurrency", "rps", "waiting_requests", "tokens_per_second", "kv_cache_usage"],
    },
    "scale_target": {"type": "int"},
    "prometheus_url": {"type": "str"},
    "auto_scaling": {"type": "dict"},
    "container_concurrency": {"type": "int"},
    "timeout": {"type": "int"},
    "canary_traffic_percent": {"type": "int"},
    "deployment_strategy": {"type": "dict"},
    "transformer": {
        "type": "dict",
        "options": {
            "containers": {"type": "list", "elements": "dict", "required": True},
            "min_replicas": {"type": "int"},
            "max_replicas": {"type": "int"},
            "scale_metric": {"type": "str", "choices": ["cpu", "memory", "concurrency", "rps"]},
            "scale_target": {"type": "int"},
            "container_concurrency": {"type": "int"},
            "timeout": {"type": "int"},
            "service_account": {"type": "str"},
            "node_selector": {"type": "dict"},
            "tolerations": {"type": "list", "elements": "dict"},
            "volumes": {"type": "list", "elements": "dict"},
        },
    },
    "worker": {
        "type": "dict",
        "options": {
            "pipeline_parallel_size": {"type": "int"},
            "tensor_parallel_size": {"type": "int"},
            "containers": {"type": "list", "elements": "dict"},
        },
    },
    "node_selector": {"type": "dict"},
    "tolerations": {"type": "list", "elements": "dict"},
    "affinity": {"type": "dict"},
    "topology_spread_constraints": {"type": "list", "elements": "dict"},
    "volumes": {"type": "list", "elements": "dict"},
    "volume_mounts": {"type": "list", "elements": "dict"},
    "image_pull_secrets": {"type": "list", "elements": "str", "no_log": False},
    "readiness_probe": {"type": "dict"},
    "liveness_probe": {"type": "dict"},
    "startup_probe": {"type": "dict"},
    "lifecycle": {"type": "dict"},
    "termination_grace_period_seconds": {"type": "int"},
    "security_context": {"type": "dict"},
    "pod_security_context": {"type": "dict"},
    "priority_class_name": {"type": "str"},
    "runtime_class_name": {"type": "str"},
    "scheduler_name": {"type": "str"},
    "logger": {"type": "dict"},
    "batcher": {"type": "dict"},
    "labels": {"type": "dict"},
    "annotations": {"type": "dict"},
    "pod_labels": {"type": "dict"},
    "pod_annotations": {"type": "dict"},
    "definition": {"type": "dict", "default": {}},
    "force_conflicts": {"type": "bool", "default": False},
    "field_manager": {"type": "str", "default": "llmstack.serving"},
    "wait": {"type": "bool", "default": True},
    "wait_condition": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "required": True},
            "status": {"type": "str", "choices": ["True", "False", "Unknown"], "default": "True"},
            "reason": {"type": "str", "default": ""},
        },
    },
    "wait_timeout": {"type": "int", "default": 1800},
}


def has_keda(kube: Kube, params: dict[str, Any]) -> bool:
    """Whether the cluster has KEDA; asked only where the answer matters."""
    if params["scale_metric"] not in _inferenceservice.ENGINE_METRICS:
        return False
    try:
        kube.resource("keda.sh/v1alpha1", "ScaledObject")
    except KindNotFound:
        return False
    return True


def described(kube: Kube, params: dict[str, Any]) -> dict[str, Any]:
    """The InferenceService that is wanted; raises OptionError if the options contradict each other."""
    if params["state"] == "absent":
        metadata = {"name": params["name"], "namespace": params["namespace"]}
        return {"apiVersion": _inferenceservice.API_VERSION, "kind": _inferenceservice.KIND, "metadata": metadata}
    return _inferenceservice.manifest(params, keda=has_keda(kube, params))


def main() -> None:
    module = AnsibleModule(
        argument_spec=_ARGUMENTS,
        mutually_exclusive=[("storage_uri", "storage"), ("replicas", "min_replicas"), ("replicas", "max_replicas")],
        required_by={"gpus": "gpu_resource", "prometheus_url": "scale_metric", "model_format_version": "model_format"},
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets(params))
    settings = _kube_apply.Settings(
        field_manager=params["field_manager"],
        force_conflicts=params["force_conflicts"],
        check_mode=module.check_mode,
        wait=params["wait"],
        wait_timeout_seconds=params["wait_timeout"],
        progress=report,
        wanted=Wanted(**params["wait_condition"]) if params["wait_condition"] else None,
    )
    try:
        kube = Kube(connection(params))
        manifest = described(kube, params)
    except _inferenceservice.OptionError as error:
        module.fail_json(msg=f"InferenceService {params['namespace']}/{params['name']}: {error} Nothing was changed.")
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except KubeError as error:
        module.fail_json(msg=str(error))
    act = _kube_apply.absent if params["state"] == "absent" else _kube_apply.present
    outcome = act(kube, [manifest], settings)
    for warning in outcome.warnings:
        module.warn(warning)
    result: dict[str, Any] = {"changed": outcome.changed, "diff": outcome.diff(), "inferenceservice": {}}
    for item in outcome.items:
        result["inferenceservice"] = item.result()["resource"]
        if params["state"] != "absent":
            address = Gateways(kube, params["namespace"]).address(item.resource)
            result |= _serving_result.told(item.resource, item.related, address)
    if outcome.error:
        module.fail_json(msg=str(outcome.error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llmdeployment
short_description: Distributed LLM inference (llm-d) with KServe's LLMInferenceService
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Describes a distributed LLM deployment in the words of an C(LLMDeployment) (model, serving with gateway, prefill and decode,
    cache tiers, monitoring) and makes the LLMInferenceService of KServe that does the same. The kind C(LLMDeployment) itself was
    never published.
  - RV(translation) says for every option which fields and which flags of vLLM it became. What cannot be expressed is an error before
    anything is written, unless O(allow_partial=true).
  - Waits until B(this) change serves in all its parts (pods of both groups, endpoint picker, pool, route), ends early with the cause
    and a remedy when something cannot heal by itself, and counts a deployment as ready only when a request was answered.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Sends reads and dry runs only. Where KServe, the Gateway or the namespace is not there yet, the result is predicted with a
        warning.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the deployment. Starts with a letter; lower case letters, digits and V(-).
    type: str
    required: true
  namespace:
    description: Namespace of the deployment. It must exist.
    type: str
    default: default
  state:
    description: V(present) creates or updates it, V(absent) deletes it.
    type: str
    choices: [present, absent]
    default: present
  backend:
    description:
      - V(llminferenceservice) is KServe's kind, in version v1alpha2 where the cluster serves it, else v1alpha1.
      - V(llmdeployment_crd) writes an C(LLMDeployment) of C(llm-d.io/v1alpha1) as it is, for a cluster that has such a kind.
      - V(auto) takes the first of these that the cluster serves.
    type: str
    choices: [auto, llminferenceservice, llmdeployment_crd]
    default: auto
  model:
    description: What is served. Required unless O(state=absent).
    type: dict
    suboptions:
      name:
        description: What requests call the model. Without it the name of the deployment.
        type: str
      runtime:
        description: The engine. KServe's presets start V(vllm).
        type: str
        default: vllm
      uri:
        description: Where the pods load it from, V(s3://bucket/prefix), V(hf://org/model), V(pvc://claim/path) or V(oci://registry/image).
        type: str
      lora:
        description: Low-rank adapters.
        type: dict
        suboptions:
          adapters:
            description: The adapters; a request names one as its model.
            type: list
            elements: dict
            default: []
            suboptions:
              name:
                description: What requests call it.
                type: str
                required: true
              uri:
                description: Where the pods load it from.
                type: str
                required: true
          max_rank:
            description: Highest rank of an adapter.
            type: int
          max_adapters:
            description: How many are in the GPU's memory at a time.
            type: int
          max_cpu_adapters:
            description: How many are in memory.
            type: int
  serving:
    description: How it is served. Required unless O(state=absent).
    type: dict
    suboptions:
      mode:
        description: V(disaggregated) has pods that read prompts (prefill) and pods that write tokens (decode); V(aggregated) has one group.
        type: str
        choices: [aggregated, disaggregated]
        default: aggregated
      gateway:
        description:
          - The way in. C(replicas) and C(resources) are those of the endpoint picker, which receives each request's headers and
            chooses the pods; the proxies are the Gateway's own (role gateway).
        type: dict
        suboptions:
          name:
            description: Name of the Gateway.
            type: str
            default: kserve-ingress-gateway
          namespace:
            description: Its namespace.
            type: str
            default: kserve
          replicas:
            description: Number of endpoint pickers; one works, the others stand by.
            type: int
          resources:
            description: What each picker gets.
            type: dict
            suboptions:
              cpu:
                description: Processors.
                type: str
              memory:
                description: Memory. Less than V(512Mi) is too little for a picker.
                type: str
      scheduler:
        description: How pods are chosen.
        type: dict
        suboptions:
          enabled:
            description: Whether there is an endpoint picker. Without it any pod gets a request.
            type: bool
            default: true
          profile:
            description:
              - V(load) looks at queues and free cache, V(prefix_cache) also at who has the prompt's beginning cached,
                V(disaggregated) chooses a pod for the prompt and one for the tokens, V(preset) leaves it to KServe.
              - V(auto) is V(disaggregated) in that mode, else V(prefix_cache).
              - With V(preset) KServe keeps the configuration that a running picker has, also when the mode changes.
            type: str
            choices: [auto, load, prefix_cache, disaggregated, preset]
            default: auto
          config:
            description: An EndpointPickerConfig of your own instead of O(serving.scheduler.profile).
            type: dict
          image:
            description: Image of the picker instead of the preset's.
            type: str
          node_selector:
            description: Labels that the picker's node must have.
            type: dict
          tolerations:
            description: Taints that the picker tolerates.
            type: list
            elements: dict
      prefill:
        description: The pods that read prompts.
        type: dict
        suboptions: &workload
          replicas:
            description: Number of replicas; V(1) without O(serving.prefill.autoscaling).
            type: int
          batch_size:
            description: Most requests that an engine works on at a time.
            type: int
            aliases: [batchSize]
          resources:
            description: What each pod gets.
            type: dict
            suboptions:
              gpu:
                description: Number of GPUs; also the size of tensor parallelism unless that is given.
                type: int
              cpu:
                description: Processors, as a request without a limit.
                type: str
              memory:
                description: Memory, as request and limit. It must hold the memory tier of the cache as well.
                type: str
          parallelism:
            description: How a model is spread over GPUs and nodes. Its total size cannot be changed later.
            type: dict
            suboptions:
              tensor:
                description: GPUs that share each layer.
                type: int
              pipeline:
                description: Nodes that share the layers; needs workers' presets of your own in O(base_refs).
                type: int
              data:
                description: Copies of the model in all.
                type: int
              data_local:
                description: Copies of the model in each pod.
                type: int
              data_rpc_port:
                description: Port by which they find each other.
                type: int
              expert:
                description: Spread the experts of a mixture-of-experts model.
                type: bool
                default: false
          autoscaling:
            description: Instead of a fixed number of replicas, by llm-d's Workload Variant Autoscaler, which must be installed.
            type: dict
            suboptions:
              min_replicas:
                description: Least number of replicas.
                type: int
                default: 1
              max_replicas:
                description: Greatest number of replicas.
                type: int
                required: true
              actuator:
                description: What sets the number.
                type: str
                choices: [keda, hpa]
                default: keda
              behavior:
                description: Fields of the actuator, as in KServe (C(wva.keda) or C(wva.hpa)).
                type: dict
              variant_cost:
                description: Cost of a replica in comparison with other variants of the model.
                type: str
          args:
            description: Further flags of vLLM for these pods.
            type: list
            elements: str
          env:
            description: Environment variables for these pods, as in a Pod.
            type: list
            elements: dict
          worker:
            description: Overrides for the pods on further nodes, as a Pod's spec; its presence makes a LeaderWorkerSet.
            type: dict
          template:
            description: Overrides of the pods, as a Pod's spec; containers (C(main)) and other named things are merged by name.
            type: dict
      decode:
        description: The pods that write tokens; in mode V(aggregated) all pods.
        type: dict
        suboptions: *workload
  cache:
    description: Tiers of the key-value cache behind the GPU's own. Each pod has its own tiers, so sizes are per pod.
    type: dict
    suboptions:
      enabled:
        description: V(false) makes no tiers; the prefix cache on the GPU stays.
        type: bool
        default: true
      tiers:
        description: The tiers.
        type: list
        elements: dict
        default: []
        suboptions:
          type:
            description: V(gpu), V(memory), or V(disk) (behind V(memory)).
            type: str
            choices: [gpu, memory, disk]
            required: true
          size:
            description: Size, for example V(80Gi). Of V(gpu) without a size, vLLM takes what is free.
            type: str
          storage_class:
            description: With V(disk), a volume of this class for each pod instead of the node's own disk.
            type: str
          claim:
            description: With V(disk), a PersistentVolumeClaim that exists, shared by all pods.
            type: str
      eviction_policy:
        description: What leaves the memory tier first.
        type: str
        choices: [lru, arc]
  monitoring:
    description: Metrics.
    type: dict
    suboptions:
      enabled:
        description: Mark the pods for Prometheus (annotations C(prometheus.io/*)).
        type: bool
        default: false
      prometheus:
        description: The Prometheus that has the metrics.
        type: dict
        suboptions:
          endpoint:
            description: Its URL, for RV(commands).
            type: str
  kv_connector:
    description: How a prompt's cache gets from prefill to decode.
    type: str
    default: NixlConnector
  image:
    description: Image of the engine instead of the preset's.
    type: str
  routing_sidecar_image:
    description: Image of the sidecar before the engine of decode instead of the preset's.
    type: str
  args:
    description: Further flags of vLLM.
    type: list
    elements: str
  env:
    description: Environment variables of the engine, as in a Pod.
    type: list
    elements: dict
  service_account:
    description: ServiceAccount of the pods. Its Secrets hold the credentials of the storage.
    type: str
  gpu_resource:
    description: Name of the GPU resource.
    type: str
    default: nvidia.com/gpu
  shared_memory:
    description: Size of C(/dev/shm); without it that of the memory tier, else the preset's.
    type: str
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
  image_pull_secrets:
    description: Names of Secrets that the images are pulled with.
    type: list
    elements: str
  pod_security_context:
    description:
      - Security context of the pods, added to C(runAsNonRoot) and the seccomp profile of the container runtime, which restricted Pod
        Security asks for. An image whose user is root, such as vLLM's own, needs a C(runAsUser).
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
  termination_grace_period_seconds:
    description: Seconds that a pod has to finish its requests.
    type: int
  base_refs:
    description: Names of LLMInferenceServiceConfigs that the deployment is laid over.
    type: list
    elements: str
  labels:
    description: Labels of the LLMInferenceService.
    type: dict
  annotations:
    description: Annotations of the LLMInferenceService.
    type: dict
  definition:
    description:
      - Any other part of the LLMInferenceService, as its YAML. Merged with the options; where both say something else, it is an error.
    type: dict
    default: {}
  allow_partial:
    description: Go on with what can be expressed, and warn of the rest.
    type: bool
    default: false
  force_conflicts:
    description: Take over fields that other field managers own. Without it, such a conflict is an error that names them.
    type: bool
    default: false
  field_manager:
    description: The name under which the API server records who owns which field.
    type: str
    default: llmstack.serving
  wait:
    description: Wait until this change serves (or is gone).
    type: bool
    default: true
  wait_timeout:
    description: Longest time to wait, in seconds. Slow is not failed; what cannot heal by itself ends the wait at once.
    type: int
    default: 1800
  request_check:
    description:
      - After the wait, send one request for one token through the Gateway. It goes by way of the API server (permission to create
        C(services/proxy) in the Gateway's namespace), else to the URL itself; where neither can be reached, a warning says so.
    type: bool
    default: true
seealso:
  - module: llmstack.serving.llmdeployment_info
  - module: llmstack.serving.inferenceservice
  - name: LLMInferenceService
    description: KServe's own reference.
    link: https://kserve.github.io/website/docs/model-serving/generative-inference/llmisvc/llmisvc-overview
"""

EXAMPLES = r"""
- name: Prefill and decode apart, with a cache in memory
  llmstack.serving.llmdeployment:
    name: production-llm
    namespace: model-serving
    model:
      name: meta-llama/Llama-2-70b-hf
      runtime: vllm
      uri: s3://llm-models/llama-2-70b
    serving:
      mode: disaggregated
      gateway:
        replicas: 3
        resources: {cpu: 4, memory: 8Gi}
      prefill:
        replicas: 2
        batchSize: 32
        resources: {gpu: 4, memory: 200Gi}
      decode:
        replicas: 6
        batchSize: 8
        resources: {gpu: 2, memory: 100Gi}
    cache:
      enabled: true
      tiers:
        - {type: gpu}
        - {type: memory, size: 60Gi}
    monitoring:
      enabled: true
    service_account: model-reader
    image: docker.io/vllm/vllm-openai:v0.32.0
    pod_security_context: {runAsUser: 2000}
    wait_timeout: 3600

- name: What would become of it
  llmstack.serving.llmdeployment:
    name: chat
    namespace: model-serving
    model: {uri: "hf://Qwen/Qwen3-8B"}
    serving:
      decode: {replicas: 2, resources: {gpu: 1, memory: 64Gi}}
  check_mode: true
  register: planned
"""

RETURN = r"""
llmdeployment:
  description: The object as served last (after the wait); empty if it is gone.
  returned: always
  type: dict
  sample:
    apiVersion: serving.kserve.io/v1alpha2
    kind: LLMInferenceService
backend:
  description: API version and kind that the deployment was written as.
  returned: always
  type: str
  sample: serving.kserve.io/v1alpha2 LLMInferenceService
translation:
  description: What became of each option.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
      returned: always
      sample: serving.decode.batchSize
    value:
      description: Its value.
      type: raw
      returned: always
      sample: 8
    fields:
      description: Fields of the object that it became.
      type: list
      elements: str
      returned: always
      sample: []
    flags:
      description: Flags of vLLM that it became.
      type: list
      elements: str
      returned: always
      sample: ["--max-num-seqs=8"]
    note:
      description: What else there is to say.
      type: str
      returned: always
      sample: most requests that an engine works on at a time
    expressed:
      description: Whether the object says it.
      type: bool
      returned: always
      sample: true
url:
  description: URL of the deployment.
  returned: when O(state) is not V(absent)
  type: str
  sample: http://gateway.example.com/model-serving/production-llm
endpoint:
  description: Ways to reach it.
  returned: when O(state) is not V(absent)
  type: dict
  sample:
    path: /model-serving/production-llm
parts:
  description: The parts of the deployment, if it was waited for.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  contains:
    name:
      description: V(decode), V(prefill), V(picker), V(gateway), V(route) or V(pool).
      type: str
      returned: always
      sample: decode
    ready:
      description: Whether KServe calls it ready.
      type: bool
      returned: always
      sample: true
    message:
      description: What it lacks.
      type: str
      returned: always
      sample: ""
    replicas:
      description: Number of replicas, of parts that have pods.
      type: int
      returned: always
      sample: 6
    ready_replicas:
      description: How many of them are ready.
      type: int
      returned: always
      sample: 6
pods:
  description: The pods, if it was waited for.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  sample:
    - name: production-llm-kserve-7d9c5b6f4-abcde
      part: decode
      node: gpu-1
      phase: is ready
      gpus: 2
phases:
  description: How long the newest ready pod took for what.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  sample:
    - phase: model downloaded
      seconds: 312
presets:
  description: The LLMInferenceServiceConfigs that KServe laid the deployment over.
  returned: when O(state) is not V(absent)
  type: list
  elements: str
  sample: [kserve-config-llm-scheduler, kserve-config-llm-decode-template]
commands:
  description: Commands to look further.
  returned: when O(state) is not V(absent)
  type: list
  elements: str
  sample:
    - kubectl -n model-serving describe llminferenceservice production-llm
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _kube_apply,
    _kube_llm,
    _llmdeployment,
    _llmdeployment_fit,
    _llmdeployment_result,
)
from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._inferenceservice import OptionError
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_options import ARGUMENT_SPEC, REQUIRED_IF
from ansible_collections.llmstack.serving.plugins.module_utils._progress import report


class Deployment:
    """One deployment on one cluster: what is wanted of it, and how to tell whether it serves."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.kube = Kube(connection(self.params))
        self.deadline = time.monotonic() + self.params["wait_timeout"]
        self.gateway: _kube_llm.Gateway | None = None
        self.translation = _llmdeployment.Translation()

    def describe(self) -> dict[str, Any]:
        """The object that is wanted; raises OptionError with everything that speaks against it."""
        params = self.params
        try:
            version, others = _kube_llm.served(self.kube, params["backend"], params["namespace"])
        except errors.KindNotFound as error:
            if params["state"] == "present" and not self.module.check_mode:
                raise
            if params["state"] == "present":
                self.module.warn(f"{error} Check mode predicts what {_llmdeployment.API_VERSION} would get.")
            version, others = _llmdeployment.API_VERSION, []
        kind = _llmdeployment.LITERAL_KIND if version == _llmdeployment.LITERAL_API_VERSION else _llmdeployment.KIND
        if params["state"] == "absent":
            metadata = {"name": params["name"], "namespace": params["namespace"]}
            return {"apiVersion": version, "kind": kind, "metadata": metadata}
        if kind == _llmdeployment.LITERAL_KIND:
            self.translation = _llmdeployment.literal(params)
        else:
            self.gateway = _kube_llm.Gateway(self.kube, params["serving"].get("gateway") or {})
            tls = self.gateway.picker_tls()
            self.translation = _llmdeployment.translate(params, api_version=version, picker_tls=tls)
        return self._checked(others)

    def _checked(self, others: list[dict[str, Any]]) -> dict[str, Any]:
        found, partial = self.translation, self.params["allow_partial"]
        problems = [*found.problems]
        if found.manifest["kind"] == _llmdeployment.KIND:
            problems += _llmdeployment_fit.route_conflicts(found.manifest, others)
        if found.lost and not partial:
            problems += [*found.lost, "With allow_partial: true the rest is done without it."]
        if self.gateway and self.gateway.missing and not self.module.check_mode:
            problems.append(self.gateway.missing)
        if self.gateway and "scheduler" in found.manifest["spec"]["router"] and (why := self.gateway.no_pools()):
            problems.append(why)
        if problems:
            raise OptionError(" ".join(problems))
        for warning in [*found.warnings, *(f"Not expressed: {text}" for text in found.lost)]:
            self.module.warn(warning)
        return found.manifest

    def before_change(self, live: dict[str, Any] | None, desired: dict[str, Any]) -> None:
        """Raise Invalid where no node can hold what is wanted."""
        if desired["kind"] == _llmdeployment.KIND and (found := _kube_llm.room(self.kube, desired)):
            raise errors.Invalid(" ".join(found))

    def after_change(self, item: _kube_apply.Item) -> None:
        """See to it that KServe can follow a change of the mode."""
        if item.ref.kind == _llmdeployment.KIND and (names := _kube_llm.made_anew(self.kube, item.was, item.resource)):
            self.module.warn(
                f"The mode changes: KServe cannot change Deployment {', '.join(names)}, so it is made anew, and requests wait "
                "until its pods are ready."
            )

    def confirm(self, service: dict[str, Any]) -> str | None:
        """After the wait: whether a request is answered. What is wrong, or None."""
        if self.gateway is None or not self.params["request_check"]:
            return None
        cause, unknown = _kube_llm.answered(self.kube, service, self.gateway, self.deadline)
        if unknown:
            self.module.warn(f"It was not checked that a request is answered: {unknown}")
        return str(cause) if cause else None

    def result(self, outcome: _kube_apply.Outcome) -> dict[str, Any]:
        result: dict[str, Any] = {"changed": outcome.changed, "diff": outcome.diff(), "llmdeployment": {}}
        if self.params["state"] != "absent":
            result["translation"] = self.translation.rows
        for item in outcome.items:
            result["llmdeployment"] = item.result()["resource"]
            result["backend"] = f"{item.ref.api_version} {item.ref.kind}"
            if self.params["state"] != "absent":
                prometheus = ((self.params["monitoring"] or {}).get("prometheus") or {}).get("endpoint")
                result |= _llmdeployment_result.told(item.resource, item.related, prometheus)
        return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={**AUTH_ARG_SPEC, **ARGUMENT_SPEC},
        required_if=REQUIRED_IF,
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets(params))
    try:
        deployment = Deployment(module)
        manifest = deployment.describe()
    except OptionError as error:
        module.fail_json(
            msg=f"LLM deployment {params['namespace']}/{params['name']}: {error} Nothing was changed.",
            translation=deployment.translation.rows,
        )
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except errors.KubeError as error:
        module.fail_json(msg=str(error))
    settings = _kube_apply.Settings(
        field_manager=params["field_manager"],
        force_conflicts=params["force_conflicts"],
        check_mode=module.check_mode,
        wait=params["wait"],
        wait_timeout_seconds=params["wait_timeout"],
        progress=report,
        before_change=deployment.before_change,
        after_change=deployment.after_change,
    )
    present = params["state"] == "present"
    outcome = (_kube_apply.present if present else _kube_apply.absent)(deployment.kube, [manifest], settings)
    for warning in outcome.warnings:
        module.warn(warning)
    result = deployment.result(outcome)
    if outcome.error:
        module.fail_json(msg=str(outcome.error), **result)
    if (
        present
        and params["wait"]
        and not module.check_mode
        and (wrong := deployment.confirm(outcome.items[0].resource))
    ):
        module.fail_json(msg=f"{outcome.items[0].ref}: {wrong}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

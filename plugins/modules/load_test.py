#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: load_test
short_description: Measure how a served model holds up under load
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Sends chat, completion or embedding requests to an OpenAI-compatible server and measures what its users would see - time to
    first token (TTFT), time per output token (TPOT), inter-token latency (ITL), end to end latency, throughput, errors and
    streams that were cut off.
  - Judges the result by service level objectives and, if wanted, against an earlier report, and writes it as JSON, Markdown,
    JUnit XML and one self-contained HTML file.
  - Load is given as a number of concurrent users (each sends again when it has its answer), or as a rate at which requests come
    however slow the answers are. With a rate, latencies count from the moment when a request was due.
  - Tokens are counted by the server (C(usage)) or by a tokenizer, never by characters or events.
  - The load is made by the machine that runs the module. If that machine was the limit, the result says so.
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Sends nothing to the model server and writes nothing. Returns RV(plan), what would be sent.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Nothing that a model server or a cluster keeps is changed, so it never reports C(changed). Report files do not count.
options:
  url:
    description:
      - Base URL of the server, with or without C(/v1) at its end.
      - Proxies from the environment are not used.
    type: str
  inference_service:
    description: Name of an InferenceService of KServe; its URL is read from the cluster.
    type: str
  llm_inference_service:
    description: Name of an LLMInferenceService of KServe (llm-d); its URL is read from the cluster.
    type: str
  namespace:
    description: Namespace of O(inference_service) or O(llm_inference_service).
    type: str
    default: model-serving
  gateway:
    description:
      - C(NAMESPACE/NAME) of the Gateway that requests go through, where the host name of the service cannot be resolved. Its
        address is read from the cluster.
      - Or the URL of the Gateway as this machine reaches it, for example V(https://10.0.0.5:8443).
      - Not used with O(connect_to).
    type: str
  path_prefix:
    description: What to put between the URL of the service and C(/v1), for example V(/openai) for the Hugging Face runtime of KServe.
    type: str
    default: ""
  in_cluster:
    description:
      - Make the load in a Job inside the cluster, so that neither the gateway nor the way to it is measured.
      - The Job, its ConfigMap and its Secret are deleted at the end.
    type: dict
    suboptions:
      image:
        description: Any image with Python 3.11 or newer as C(python3).
        type: str
        default: docker.io/library/python:3.13-slim
      namespace:
        description: Namespace of the Job. Without it, O(namespace).
        type: str
      resources:
        description: Resource requests of the pod. Without them, one CPU for each of the O(processes).
        type: dict
      node_selector:
        description: Labels of the nodes to run on. Keep away from the nodes of the model server.
        type: dict
        default: {}
      tolerations:
        description: Taints to tolerate.
        type: list
        elements: dict
        default: []
      start_timeout_seconds:
        description: Longest time until the pod runs.
        type: float
        default: 300
  connect_to:
    description: C(HOST:PORT) to connect to instead of the host in the URL, which is still what is asked for (Host header, TLS name).
    type: str
  host_header:
    description: Host to ask for instead of the one in the URL.
    type: str
  endpoint_api_key:
    description: API key of the model server, sent as C(Authorization) bearer token. (O(api_key) is the one of the Kubernetes API.)
    type: str
  endpoint_headers:
    description: More request headers. Treated as secret.
    type: dict
    default: {}
  endpoint_ca_cert:
    description: PEM file with the certificate authorities of the model server.
    type: path
  endpoint_validate_certs:
    description: Whether to verify the certificate of the model server.
    type: bool
    default: true
  model:
    description: Name of the model. Not needed if the server has only one.
    type: str
  api:
    description: What is asked for.
    type: str
    choices: [chat, completions, embeddings]
    default: chat
  stream:
    description: Stream the answers. Without streaming there is no TTFT, TPOT and ITL.
    type: bool
    default: true
  prompts:
    description: What is asked, one after the other and from the beginning again.
    type: list
    elements: str
  dataset:
    description:
      - File with conversations, asked in a random order (O(seed)).
      - Either a ShareGPT JSON list, or JSON lines, each a text or an object with C(prompt), C(messages) or C(conversations), and
        possibly C(max_tokens).
    type: path
  synthetic:
    description:
      - Make up prompts of a given length. How many words make so many tokens is measured with two requests before the test.
      - No two of them begin alike (after a shared prefix), so that a prefix cache does not flatter the result.
    type: dict
    suboptions:
      input_tokens:
        description: Mean length of a prompt in tokens, template and shared prefix included.
        type: float
        required: true
      input_tokens_stdev:
        description: Standard deviation of O(synthetic.input_tokens).
        type: float
        default: 0
      input_tokens_max:
        description: Longest prompt in tokens.
        type: int
      output_tokens:
        description: Mean length of an answer in tokens. Without it, O(max_tokens). Use O(ignore_eos) to have answers of exactly that length.
        type: float
      output_tokens_stdev:
        description: Standard deviation of O(synthetic.output_tokens).
        type: float
        default: 0
      output_tokens_max:
        description: Longest answer in tokens.
        type: int
      shared_prefixes:
        description: How many different texts prompts begin with, as with as many system prompts.
        type: int
        default: 0
      shared_prefix_tokens:
        description: Length of these texts in tokens.
        type: int
        default: 0
  turns:
    description: At most so many turns of a conversation are asked, each with the answers before it (O(dataset), O(synthetic)).
    type: int
    default: 1
  think_seconds:
    description: Pause between an answer and the next turn of its conversation.
    type: float
    default: 0
  max_tokens:
    description: Longest answer in tokens.
    type: int
    default: 100
  ignore_eos:
    description: Have answers of exactly O(max_tokens) tokens (an extension of vLLM).
    type: bool
    default: false
  extra_body:
    description: "More fields of the request body, for example V({temperature: 0})."
    type: dict
    default: {}
  concurrency:
    description: Numbers of concurrent users, one stage for each.
    type: list
    elements: int
  rate:
    description: Rates in requests per second, one stage for each.
    type: list
    elements: float
  find_max_rate:
    description:
      - Search the highest rate at which the O(slos) hold. Doubles the rate until they do not, then halves the interval.
    type: dict
    suboptions:
      start:
        description: First rate in requests per second.
        type: float
        default: 1
      maximum:
        description: Highest rate to try in requests per second.
        type: float
        default: 1000
      precision_percent:
        description: How exact the answer has to be.
        type: float
        default: 10
  arrival:
    description:
      - How requests come with O(rate) and O(find_max_rate).
      - V(poisson) is what independent users do, V(constant) is even, V(burst) sends O(burst_size) at once.
    type: str
    choices: [poisson, constant, burst]
    default: poisson
  burst_size:
    description: Requests in a burst.
    type: int
    default: 10
  requests:
    description: Requests of each stage (conversations, with O(turns)). Without it and O(duration_seconds), 100.
    type: int
  duration_seconds:
    description: Seconds of each stage. What is on its way then is waited for and counts.
    type: float
  warmup_requests:
    description: Requests before each stage that do not count.
    type: int
    default: 10
  ramp_up_seconds:
    description: Spread the start of the concurrent users over so many seconds.
    type: float
    default: 0
  max_seconds:
    description: Longest time for all stages together. The report is marked as partial if it was not enough.
    type: float
    default: 3600
  processes:
    description: Processes that make the load. One carries about a thousand streamed requests per second.
    type: int
    default: 1
  max_in_flight:
    description: With O(rate), never have more requests on their way than this, per process. What comes then is sent late, and measured from when it was due.
    type: int
    default: 10000
  max_consecutive_failures:
    description: Stop after so many failures in a row (per process), because there is nothing to measure any more.
    type: int
    default: 100
  connect_timeout_seconds:
    description: Longest time for a connection.
    type: float
    default: 10
  request_timeout_seconds:
    description: Longest time for a whole answer.
    type: float
    default: 300
  idle_timeout_seconds:
    description: Longest time without a byte.
    type: float
    default: 60
  slos:
    description:
      - Service level objectives, by name. Every stage must keep them, except with O(find_max_rate).
      - "Upper limits: C(<latency>_<statistic>_ms) with C(ttft), C(tpot), C(itl) or C(e2e) and C(mean), C(p50), C(p90), C(p95),
        C(p99) or C(max); C(error_rate_percent); C(truncated_streams)."
      - "Lower limits: C(requests_per_second), C(output_tokens_per_second), C(goodput_requests_per_second), C(goodput_percent)."
      - C(error_rate_percent) and C(truncated_streams) are 0 if not given.
    type: dict
    default: {}
  goodput_limits:
    description: What a good request is for goodput - upper limits C(ttft_ms), C(tpot_ms), C(e2e_ms), all of which it must keep.
    type: dict
    default: {}
  baseline:
    description: JSON report of an earlier run of the same workload. A regression beyond noise fails.
    type: path
  tolerance_percent:
    description: How much worse than O(baseline) is still good.
    type: float
    default: 5
  enforce:
    description: Fail the task when the verdict is C(fail). Otherwise it is only in the result.
    type: bool
    default: true
  metrics_urls:
    description:
      - vLLM's C(/metrics) pages to look at during the test, for example one of each pod.
      - Without it, C(/metrics) of the server itself, if it has that.
    type: list
    elements: str
    default: []
  metrics_interval_seconds:
    description: Seconds between two looks.
    type: float
    default: 1
  tokenizer:
    description: C(tokenizer.json), or the folder with it, to count output tokens with where the server does not. Needs the Python library C(tokenizers).
    type: path
  report_dir:
    description: Directory for report files. It is made if missing. Without it none are written.
    type: path
  report_name:
    description: Name of the report, and of its files.
    type: str
    default: load-test
  report_formats:
    description: Which files to write.
    type: list
    elements: str
    choices: [json, html, markdown, junit]
    default: [json, html, markdown, junit]
  history:
    description: How many earlier runs to keep beside the report (in C(<report_name>-history)) and to plot as a trend. 0 keeps none.
    type: int
    default: 20
  seed:
    description: The same seed gives the same prompts at the same times.
    type: int
    default: 0
requirements:
  - Nothing beyond ansible-core; C(tokenizers) for O(tokenizer)
notes:
  - Run it on a machine that is near the users, or at least not between them and the server, and that has nothing else to do.
  - Send load only to what is yours.
seealso:
  - name: vLLM benchmark suite
    description: Where the definitions of the measures come from.
    link: https://docs.vllm.ai/en/latest/benchmarking/
"""

EXAMPLES = r"""
- name: Fifty users ask three prompts, answers of up to 100 tokens
  llmstack.serving.load_test:
    inference_service: llama-3-8b
    namespace: model-serving
    gateway: kserve/kserve-ingress-gateway
    concurrency: [50]
    requests: 500
    max_tokens: 100
    prompts:
      - Explain quantum computing in simple terms.
      - Write a haiku about the sea.
      - What is the capital of France?
    slos:
      ttft_p95_ms: 500
      tpot_p95_ms: 50
    report_dir: reports
  register: result

- name: How latency grows with the number of users
  llmstack.serving.load_test:
    url: http://llm.example.com
    concurrency: [1, 2, 4, 8, 16, 32, 64]
    duration_seconds: 60
    synthetic:
      input_tokens: 1000
      input_tokens_stdev: 300
      output_tokens: 200
      shared_prefixes: 4
      shared_prefix_tokens: 500
    ignore_eos: true
    report_dir: reports

- name: The highest rate at which 95 of 100 users wait at most half a second
  llmstack.serving.load_test:
    url: https://llm.example.com
    endpoint_api_key: "{{ vault_llm_key }}"
    find_max_rate:
      start: 2
      maximum: 200
    duration_seconds: 60
    dataset: files/sharegpt.json
    slos:
      ttft_p95_ms: 500

- name: The same from inside the cluster, past the gateway
  llmstack.serving.load_test:
    inference_service: llama-3-8b
    in_cluster:
      image: registry.example.com/library/python:3.13-slim
      node_selector:
        node-role: cpu
    concurrency: [50]
    duration_seconds: 60
    dataset: files/prompts.jsonl

- name: Is the new engine version slower than the old one?
  llmstack.serving.load_test:
    url: http://llm.example.com
    rate: [10]
    duration_seconds: 120
    dataset: files/prompts.jsonl
    baseline: reports/before-upgrade.json
    tolerance_percent: 5
"""

RETURN = r"""
report:
  description: The report without its histograms. The schema is docs/load-test-report.schema.json of the collection.
  returned: when something was measured
  type: dict
  sample:
    kind: LoadTestReport
    verdict: pass
    failures: []
    warnings: []
    stages:
      - name: 50 concurrent
        requests: {sent: 500, completed: 500, failed: 0}
        requests_per_second: 42.1
        output_tokens_per_second: 4104.2
        latency_ms:
          ttft: {count: 500, mean: 96.1, p50: 88.4, p90: 140.2, p95: 171.0, p99: 260.9, max: 301.2}
report_files:
  description: The files that were written.
  returned: when something was measured
  type: list
  elements: str
  sample: [reports/load-test.json, reports/load-test.html, reports/load-test.md, reports/load-test.xml]
plan:
  description: What would be sent.
  returned: in check mode
  type: dict
  sample:
    target: http://llm.example.com
    requests: 500
    search: null
    slos: {ttft_p95_ms: 500, error_rate_percent: 0, truncated_streams: 0}
    stages:
      - {concurrency: 50, requests: 500, duration_seconds: null, rate: null}
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _load_cluster,
    _load_files,
    _load_report,
    _load_target,
    _load_test,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import AUTH_ARG_SPEC, connection, secrets
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import MissingLibrary as MissingKubeLibrary
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError, MissingLibrary
from ansible_collections.llmstack.serving.plugins.module_utils._load_prompts import APIS
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import ARRIVALS
from ansible_collections.llmstack.serving.plugins.module_utils._progress import report


def argument_spec() -> dict:
    return {
        **AUTH_ARG_SPEC,
        "url": {"type": "str"},
        "inference_service": {"type": "str"},
        "llm_inference_service": {"type": "str"},
        "namespace": {"type": "str", "default": "model-serving"},
        "gateway": {"type": "str"},
        "path_prefix": {"type": "str", "default": ""},
        "in_cluster": {
            "type": "dict",
            "options": {
                "image": {"type": "str", "default": "docker.io/library/python:3.13-slim"},
                "namespace": {"type": "str"},
                "resources": {"type": "dict"},
                "node_selector": {"type": "dict", "default": {}},
                "tolerations": {"type": "list", "elements": "dict", "default": []},
                "start_timeout_seconds": {"type": "float", "default": 300},
            },
        },
        "connect_to": {"type": "str"},
        "host_header": {"type": "str"},
        "endpoint_api_key": {"type": "str", "no_log": True},
        "endpoint_headers": {"type": "dict", "default": {}, "no_log": True},
        "endpoint_ca_cert": {"type": "path"},
        "endpoint_validate_certs": {"type": "bool", "default": True},
        "model": {"type": "str"},
        "api": {"type": "str", "choices": list(APIS), "default": "chat"},
        "stream": {"type": "bool", "default": True},
        "prompts": {"type": "list", "elements": "str"},
        "dataset": {"type": "path"},
        "synthetic": {
            "type": "dict",
            "options": {
                "input_tokens": {"type": "float", "required": True, "no_log": False},
                "input_tokens_stdev": {"type": "float", "default": 0, "no_log": False},
                "input_tokens_max": {"type": "int", "no_log": False},
                "output_tokens": {"type": "float", "no_log": False},
                "output_tokens_stdev": {"type": "float", "default": 0, "no_log": False},
                "output_tokens_max": {"type": "int", "no_log": False},
                "shared_prefixes": {"type": "int", "default": 0},
                "shared_prefix_tokens": {"type": "int", "default": 0, "no_log": False},
            },
        },
        "turns": {"type": "int", "default": 1},
        "think_seconds": {"type": "float", "default": 0},
        "max_tokens": {"type": "int", "default": 100, "no_log": False},
        "ignore_eos": {"type": "bool", "default": False},
        "extra_body": {"type": "dict", "default": {}},
        "concurrency": {"type": "list", "elements": "int"},
        "rate": {"type": "list", "elements": "float"},
        "find_max_rate": {
            "type": "dict",
            "options": {
                "start": {"type": "float", "default": 1},
                "maximum": {"type": "float", "default": 1000},
                "precision_percent": {"type": "float", "default": 10},
            },
        },
        "arrival": {"type": "str", "choices": list(ARRIVALS), "default": "poisson"},
        "burst_size": {"type": "int", "default": 10},
        "requests": {"type": "int"},
        "duration_seconds": {"type": "float"},
        "warmup_requests": {"type": "int", "default": 10},
        "ramp_up_seconds": {"type": "float", "default": 0},
        "max_seconds": {"type": "float", "default": 3600},
        "processes": {"type": "int", "default": 1},
        "max_in_flight": {"type": "int", "default": 10000},
        "max_consecutive_failures": {"type": "int", "default": 100},
        "connect_timeout_seconds": {"type": "float", "default": 10},
        "request_timeout_seconds": {"type": "float", "default": 300},
        "idle_timeout_seconds": {"type": "float", "default": 60},
        "slos": {"type": "dict", "default": {}},
        "goodput_limits": {"type": "dict", "default": {}},
        "baseline": {"type": "path"},
        "tolerance_percent": {"type": "float", "default": 5},
        "enforce": {"type": "bool", "default": True},
        "metrics_urls": {"type": "list", "elements": "str", "default": []},
        "metrics_interval_seconds": {"type": "float", "default": 1},
        "tokenizer": {"type": "path", "no_log": False},
        "report_dir": {"type": "path"},
        "report_name": {"type": "str", "default": "load-test"},
        "report_formats": {
            "type": "list",
            "elements": "str",
            "choices": ["json", "html", "markdown", "junit"],
            "default": ["json", "html", "markdown", "junit"],
        },
        "history": {"type": "int", "default": 20},
        "seed": {"type": "int", "default": 0},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[
            ("url", "inference_service", "llm_inference_service"),
            ("prompts", "dataset", "synthetic"),
            ("concurrency", "rate", "find_max_rate"),
        ],
        required_one_of=[
            ("url", "inference_service", "llm_inference_service"),
            ("prompts", "dataset", "synthetic"),
            ("concurrency", "rate", "find_max_rate"),
        ],
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets(params))
    try:
        plan = _load_test.plan(params)
        target = _load_target.target(params, lambda: Kube(connection(params)))
        if module.check_mode:
            described = {"target": target.url, **plan.described()}
            module.exit_json(changed=False, msg=f"Would send load to {target.url}; nothing was sent.", plan=described)
        if params["report_dir"]:
            _load_files.check_directory(params["report_dir"])
        if params["in_cluster"] is not None:
            document = _load_cluster.run(Kube(connection(params)), params, target, report)
        else:
            document = _load_test.run(plan, target, report)
    except (MissingLibrary, MissingKubeLibrary) as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except (LoadError, KubeError) as error:
        module.fail_json(msg=str(error))
    for warning in document["warnings"]:
        module.warn(warning)
    result = {"changed": False, "report": _load_report.summary(document), "report_files": []}
    if params["report_dir"]:
        try:
            result["report_files"] = _load_test.write_reports(
                document, params["report_dir"], params["report_formats"], params["history"]
            )
        except LoadError as error:
            module.fail_json(msg=str(error), **result)
    msg = _load_report.headline(document)
    if params["enforce"] and document["verdict"] == "fail":
        module.fail_json(msg=msg, **result)
    module.exit_json(msg=msg, **result)


if __name__ == "__main__":
    main()

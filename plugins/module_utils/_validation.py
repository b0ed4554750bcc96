# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is what is served fit for use? One pure function per check: facts that were seen in, a verdict out. PRIVATE to the collection.

`_validation_look` sees the facts. A check that needs another one is skipped where that one failed, so that what is red is
the cause and not its consequences. What is not installed is skipped with the reason; skipped is not passed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _load_report
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import condition, explained
from ansible_collections.llmstack.serving.plugins.module_utils._serving_health import gpus, pod_phase

Facts = dict[str, Any]

CATEGORIES = {
    "pods": "Pods run",
    "gpus": "GPUs are allocated",
    "model": "The model is loaded",
    "endpoints": "Endpoints are accessible",
    "metrics": "Metrics flow",
    "autoscaling": "Auto-scaling works",
    "load_test": "The load test passed",
    "monitoring": "Monitoring is active",
    "answers": "The right model answers",
    "tokenizer": "Tokenizer and chat template are sane",
    "streaming": "Streams are whole",
    "drain": "Pods drain before they stop",
    "certificates": "Certificates are valid",
    "alerts": "Alerts are silent",
    "policies": "Policies are in force",
    "versions": "Versions are tested ones",
}
STATUSES = ("pass", "warn", "fail", "skip")
CERTIFICATE_WARNING_DAYS = 14
RESTART_WARNING_HOURS = 1
# Answers of a whole stream: vllm entrypoints/openai; "abort" is what a stopped engine says (with HTTP 200).
_WHOLE = ("stop", "length", "tool_calls")
# What an engine must never print: delimiters of chat templates (ChatML, Llama 2 and 3, Mistral, Gemma, Phi).
_MARKERS = re.compile(
    r"<\|(?:im_start|im_end|eot_id|start_header_id|end|user|assistant)\|>|\[/?INST\]|<(?:start|end)_of_turn>|</?s>"
)
# A pod of which Prometheus has heard nothing for this long is not monitored. A PodMonitor of a new Prometheus can take three
# minutes: its reloader looks that often (prometheus-operator cmd/prometheus-config-reloader, defaultWatchInterval), where it
# misses the change of the file. Scrapes are half a minute apart.
SCRAPE_PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Verdict:
    """`message` says what is, `remediation` what to do about it (empty where there is nothing to do)."""

    status: str
    message: str
    evidence: tuple[str, ...] = ()
    remediation: str = ""


@dataclass(frozen=True)
class Finding:
    """A check's verdict on one subject (a served model, or the cluster). `seconds` is what seeing and judging took."""

    id: str
    category: str
    subject: str
    status: str
    message: str
    evidence: tuple[str, ...]
    remediation: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "evidence": list(self.evidence)}


@dataclass(frozen=True)
class Check:
    """`needs` are the checks (of the same subject, or of the cluster) without which this one would only repeat their failure."""

    id: str
    category: str
    judge: Callable[[Facts], Verdict]
    needs: tuple[str, ...] = ()


def passed(message: str, *evidence: str) -> Verdict:
    return Verdict("pass", message, evidence)


def warned(message: str, remediation: str, *evidence: str) -> Verdict:
    return Verdict("warn", message, evidence, remediation)


def failed(message: str, remediation: str, *evidence: str) -> Verdict:
    return Verdict("fail", message, evidence, remediation)


def counted(number: int, what: str) -> str:
    """1 pod, 2 pods."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def skipped(message: str, *evidence: str) -> Verdict:
    return Verdict("skip", message, evidence)


# --- One served model. Facts of all of them: name, namespace, kind, model, api, resource (its object or None).

# Kinds of causes of _serving_health by the check that is red because of them; all others belong to the pods.
_CAUSES = {
    **dict.fromkeys(("no_gpu", "gpu_memory_taken"), "gpus"),
    **dict.fromkeys(
        (
            "storage",
            "storage_credentials",
            "storage_missing",
            "storage_disk",
            "storage_tls",
            "storage_unreachable",
            "storage_memory",
            "volume",
            "model_files",
            "trust_remote_code",
            "architecture",
            "max_model_len",
            "dtype",
            "cuda_out_of_memory",
        ),
        "model",
    ),
}
_NO_GPU = re.compile(r"Insufficient [\w./-]*(?:gpu|gaudi|mig)", re.I)
_LOADING = ("downloads the model", "loads the model")


def _blamed(facts: Facts) -> str:
    """The check that a failure of the service belongs to, "" if there is none."""
    if any(_NO_GPU.search(pod_phase(pod)) for pod in facts["pods"]):
        return "gpus"
    cause = facts["cause"]
    return _CAUSES.get(cause["kind"], "pods") if cause else ""


def gpus_are_allocated(facts: Facts) -> Verdict:
    """Facts: pods, cause, wanted_gpus (of one pod), nodes (name to {ready, gpus}; None if they may not be listed)."""
    wanted, nodes = facts["wanted_gpus"], facts["nodes"]
    if _blamed(facts) == "gpus":
        waiting = [
            f"{pod['metadata']['name']} {pod_phase(pod)}" for pod in facts["pods"] if pod_phase(pod) != "is ready"
        ]
        if facts["cause"]:
            return failed(facts["cause"]["reason"], facts["cause"]["remedy"], *waiting)
        return failed("No node has enough free GPUs.", "Free GPUs, add nodes with them, or ask for fewer.", *waiting)
    placed = [pod for pod in _living(facts["pods"]) if (pod.get("spec") or {}).get("nodeName")]
    given = {pod["metadata"]["name"]: (pod["spec"]["nodeName"], gpus(pod)) for pod in placed}
    if not wanted and not any(count for _node, count in given.values()):
        return skipped("It asks for no GPU.")
    evidence, problems = [], []
    for name, (node, count) in sorted(given.items()):
        evidence.append(f"pod {name} has {count} on node {node}")
        if count < wanted:
            problems.append(f"pod {name} was given {count} of {wanted}")
        if nodes is not None:
            there = nodes.get(node, {"ready": False, "gpus": 0})
            if not there["ready"]:
                problems.append(f"node {node} is not ready")
            elif there["gpus"] < count:
                problems.append(f"node {node} offers {there['gpus']} now, and {count} are in use")
    if problems:
        remediation = "Check the node's driver and device plugin (module llmstack.serving.gpu_check)."
        return failed("; ".join(problems) + ".", remediation, *evidence)
    if not given:
        return skipped("No pod has a node yet.")
    return passed(
        f"{counted(len(given), 'pod')} with {counted(max(count for _node, count in given.values()), 'GPU')} each.",
        *evidence,
    )


def pods_run(facts: Facts) -> Verdict:
    """Facts: resource, state, phase, cause (kind, reason, remedy, or None), pods, workloads, commands, now."""
    name, kind = facts["name"], facts["kind"]
    if facts["resource"] is None:
        return failed(
            f"{kind} {facts['namespace']}/{name} does not exist.",
            "Deploy it (playbooks/deploy.yml), or correct validation_services.",
        )
    if facts["state"] == "stopped":
        return skipped("It was stopped on purpose.")
    blamed = _blamed(facts)
    if blamed == "model":
        return skipped("Its pods wait for the model: see 'The model is loaded'.")
    told = [f"{pod['metadata']['name']} {pod_phase(pod)}" for pod in facts["pods"]]
    if facts["cause"]:
        cause = facts["cause"]
        return failed(f"{facts['phase']}: {cause['reason']}.".replace("..", "."), cause["remedy"], *told)
    waiting = [pod for pod in _living(facts["pods"]) if pod_phase(pod) != "is ready"]
    if waiting and all(pod_phase(pod) in _LOADING for pod in waiting):
        return skipped("Its pods wait for the model: see 'The model is loaded'.", *told)
    look = f"See what it waits for: {facts['commands'][0]}" if facts["commands"] else "See the events of its pods."
    wanted = sum((workload.get("spec") or {}).get("replicas", 1) for workload in facts["workloads"])
    ready = len(_living(facts["pods"])) - len(waiting)
    if waiting or ready < wanted:
        return failed(f"{ready} of {max(wanted, len(_living(facts['pods'])))} pods are ready.", look, *told)
    if facts["state"] != "ready":
        return failed(f"It is not ready: {facts['phase']}.", look, *told)
    if not wanted:
        return skipped("It is scaled to zero.")
    if restarts := _recent_restarts(facts["pods"], facts["now"]):
        return warned(
            f"{ready} pods are ready, but {'; '.join(restarts)}.",
            "Look at the logs from before the restart: kubectl logs --previous",
            *told,
        )
    return passed(f"{ready} of {wanted} pods are ready.", *told)


def _living(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that go away or have ended: a rollout is no failure."""
    return [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def _recent_restarts(pods: list[dict[str, Any]], now: datetime) -> list[str]:
    found = []
    for pod in _living(pods):
        for entry in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = ((entry.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
            if ended and now - moment(ended) < timedelta(hours=RESTART_WARNING_HOURS):
                found.append(f"container {entry['name']} of {pod['metadata']['name']} restarted at {ended}")
    return found


def model_is_loaded(facts: Facts) -> Verdict:
    """Facts: pods, cause, engines (by pod: {status, models, problem}; None if pods may not be asked)."""
    if _blamed(facts) == "model":
        cause = facts["cause"]
        return failed(f"{cause['reason']}.", cause["remedy"])
    loading = [f"{pod['metadata']['name']} {pod_phase(pod)}" for pod in facts["pods"] if pod_phase(pod) in _LOADING]
    if loading:
        return failed(
            "The model is not loaded yet.", "Wait; large models take minutes. See the log of the pod.", *loading
        )
    model_status = ((facts["resource"] or {}).get("status") or {}).get("modelStatus") or {}
    state = (model_status.get("states") or {}).get("activeModelState")
    told = [f"KServe says {state}"] if state else []
    if facts["engines"] is None:
        return skipped("The pods may not be asked (the credentials lack 'get' on pods/proxy).", *told)
    locked = [pod for pod, engine in facts["engines"].items() if engine["status"] == 401]
    if locked:
        return skipped("The engines ask for an API key, which does not pass through the API server.", *told)
    empty = []
    for pod, engine in sorted(facts["engines"].items()):
        names = ", ".join(engine["models"] or ())
        told.append(
            f"pod {pod}: {'HTTP ' + str(engine['status']) if not engine['problem'] else engine['problem']}, models: {names or 'none'}"
        )
        if not engine["models"]:
            empty.append(pod)
    if empty:
        return failed(
            f"{len(empty)} of {len(facts['engines'])} engines have no model.",
            "Look at the log of the engine (kubectl logs -c kserve-container).",
            *told,
        )
    if not facts["engines"]:
        return skipped("No pod is ready.")
    return passed(f"{len(facts['engines'])} of {len(facts['engines'])} engines have it.", *told)


def service_answers(facts: Facts) -> Verdict:
    """Facts: service (name of the Kubernetes Service), status, problem (what it said instead)."""
    if not facts["service"]:
        return skipped("It has no Service of its own.")
    # An engine that asks for its API key, which does not pass through the API server, is there.
    if facts["status"] in (200, 401):
        return passed(
            f"Service {facts['service']} answers.", f"GET /v1/models: HTTP {facts['status']} in {facts['seconds']:g} s"
        )
    return failed(
        f"Service {facts['service']} does not answer: {facts['problem']}.",
        f"Compare its selector and targetPort with the pods: kubectl -n {facts['namespace']} describe endpointslices",
    )


def gateway_answers(facts: Facts) -> Verdict:
    """Facts: url, connect_to, status, problem, why_not (why it could not be tried, "" if it was)."""
    if facts["why_not"]:
        return skipped(facts["why_not"])
    where = f"{facts['url']} at {facts['connect_to']}"
    if facts["status"] == 200:
        return passed(f"{facts['url']} answers.", f"GET {where}/v1/models: HTTP 200 in {facts['seconds']:g} s")
    return failed(
        f"{facts['url']} does not answer through the Gateway: {facts['problem']}.",
        f"Look at the HTTPRoutes of namespace {facts['namespace']} (kubectl describe httproute) and at the Gateway's listeners.",
        f"asked {where}",
    )


def the_right_model_answers(facts: Facts) -> Verdict:
    """Facts: model, models (what the endpoint lists), answer (an Answer; see _validation_look)."""
    answer, model = facts["answer"], facts["model"]
    listed = f"GET /v1/models: {', '.join(facts['models']) or 'nothing'}"
    if model not in facts["models"]:
        return failed(
            f"The endpoint does not serve {model}.",
            "Correct model_name of the service, or --served-model-name of the engine.",
            listed,
        )
    if answer["problem"]:
        return failed(f"A question was not answered: {answer['problem']}.", "Look at the log of the engine.", listed)
    if answer["model"] != model:
        return failed(
            f"{answer['model'] or 'Nobody'} answered instead of {model}.",
            "Look at the routes: they lead to another engine.",
            listed,
        )
    if facts["api"] != "embeddings" and not answer["text"].strip():
        return failed("The answer is empty.", "Look at the chat template and at the log of the engine.", listed)
    return passed(f"{model} answers.", listed, _shown(answer))


def known_answers_are_right(facts: Facts) -> Verdict:
    """Facts: known (each with prompt, pattern and answer)."""
    if not facts["known"]:
        return skipped("No question with a known answer is set (validation_known_answers).")
    wrong, told = [], []
    for entry in facts["known"]:
        answer = entry["answer"]
        told.append(f"{entry['prompt']!r}: {_shown(answer)}")
        if answer["problem"] or not re.search(entry["pattern"], answer["text"]):
            wrong.append(answer["problem"] or f"{entry['prompt']!r} was not answered with {entry['pattern']}")
    if wrong:
        return failed(
            "; ".join(wrong) + ".",
            "Is it the model that it should be, with its own tokenizer and chat template? Or set validation_known_answers to what this model knows.",
            *told,
        )
    return passed(f"{len(told)} of {len(told)} known answers are right.", *told)


def tokenizer_is_sane(facts: Facts) -> Verdict:
    """Facts: tokens (of the messages by /tokenize; None if there is no such path), round_trip (text that came back, or
    None), text (what was sent), answer."""
    answer = facts["answer"]
    if found := _MARKERS.search(answer["text"]):
        return failed(
            f"The answer holds {found[0]}, which belongs to a chat template.",
            "The chat template does not fit the model: compare tokenizer_config.json with the model's source, or set --chat-template.",
            _shown(answer),
        )
    told = [f"usage says {answer['input_tokens']} prompt tokens"]
    if facts["tokens"] is None:
        return skipped("The engine has no /tokenize, so only the text was looked at.", *told)
    told.append(f"/tokenize counts {facts['tokens']}")
    if answer["input_tokens"] >= 0 and facts["tokens"] != answer["input_tokens"]:
        return failed(
            f"The engine counts the same prompt as {answer['input_tokens']} and as {facts['tokens']} tokens.",
            "Two tokenizers or two chat templates are in use: see --tokenizer and --chat-template, and whether all pods run the same revision.",
            *told,
        )
    if facts["round_trip"] is not None:
        told.append(f"{facts['text']!r} comes back as {facts['round_trip']!r}")
        if facts["round_trip"].strip().lower() != facts["text"].strip().lower():
            return failed(
                "Tokens do not turn back into the text they came from.",
                "The tokenizer's files are damaged or of another model: upload the model again.",
                *told,
            )
    return passed("Tokens are counted alike everywhere, and no marker of a template leaks.", *told)


def streams_are_whole(facts: Facts) -> Verdict:
    """Facts: streamed (an Answer), asked_tokens (with ignore_eos; 0 if the length is the model's choice)."""
    answer, asked = facts["streamed"], facts["asked_tokens"]
    remediation = "Look for proxies with a timeout or a buffer on the way, and for pods that were stopped at that time."
    if answer["problem"]:
        return failed(f"A stream was not whole: {answer['problem']}.", remediation, _shown(answer))
    if answer["finish_reason"] not in _WHOLE:
        return failed(
            f"A stream ended with finish_reason {answer['finish_reason'] or 'none'}.", remediation, _shown(answer)
        )
    got = answer["output_tokens"]
    if asked and answer["finish_reason"] == "length" and 0 <= got < asked:
        return failed(f"A stream of {asked} tokens ended after {got}.", remediation, _shown(answer))
    if answer["events"] >= 8 and answer["seconds"] > 0.5 and answer["first_token_seconds"] > 0.9 * answer["seconds"]:
        return warned(
            "The stream came all at once at its end.",
            "A proxy on the way buffers answers: turn that off for text/event-stream.",
            _shown(answer),
        )
    return passed(f"A stream of {answer['events']} events came to its end.", _shown(answer))


def metrics_flow(facts: Facts) -> Verdict:
    """Facts: pages (by pod: {status, names, problem}; None if pods may not be asked), before and after (answered requests
    counted by all pages, before and after one more was asked; None if they do not count them)."""
    pages = facts["pages"]
    if pages is None:
        return skipped("The pods may not be asked (the credentials lack 'get' on pods/proxy).")
    if not pages:
        return skipped("No pod is ready.")
    told = [
        f"pod {pod}: {page['problem'] or str(page['names']) + ' metrics that begin with vllm:'}"
        for pod, page in sorted(pages.items())
    ]
    remediation = (
        "Look at /metrics of the pod; the engine must be vLLM, and a proxy container must let the path through."
    )
    silent = [pod for pod, page in sorted(pages.items()) if not page["names"]]
    if silent:
        return failed(f"{len(silent)} of {len(pages)} pods have no engine metrics.", remediation, *told)
    before, after = facts["before"], facts["after"]
    if before is None or after is None:
        return failed("The engines do not count answered requests.", remediation, *told)
    told.append(f"answered requests: {before:g}, and after one more {after:g}")
    if after <= before:
        return failed("The engines' counters stand still while requests are answered.", remediation, *told)
    return passed(f"{len(pages)} of {len(pages)} pods count what they do.", *told)


def autoscaling_works(facts: Facts) -> Verdict:
    """Facts: resource, scalers (HorizontalPodAutoscalers, ScaledObjects and PodAutoscalers of the service)."""
    scalers = facts["scalers"]
    low, high = _replicas(facts["resource"])
    if not scalers:
        if high is None or high <= low:
            return skipped(f"It asks for none: {low} replicas.")
        return failed(
            f"It asks for {low} to {high} replicas, but nothing scales it.",
            "Set its autoscaler (annotation serving.kserve.io/autoscalerClass: hpa or keda), or maxReplicas to minReplicas.",
        )
    problems, limits, told = [], [], []
    for scaler in scalers:
        name = f"{scaler['kind']} {scaler['metadata']['name']}"
        for kind, bad in (
            ("AbleToScale", "False"),
            ("ScalingActive", "False"),
            ("Ready", "False"),
            ("Fallback", "True"),
        ):
            entry = condition(scaler, kind)
            # A revision of Knative at zero, an idle one or an older one (knative.dev/serving pkg/reconciler/autoscaling/kpa/kpa.go).
            at_zero = entry is not None and entry.get("reason") == "NoTraffic"
            if entry is not None and entry.get("status") == bad and not at_zero:
                problems.append(f"{name}: {explained(entry)}")
        limited = condition(scaler, "ScalingLimited")
        if limited is not None and limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
            limits.append(f"{name} wants more than its maximum")
        told.append(f"{name}: {_scaling(scaler)}")
        known = (scaler.get("status") or {}).get("conditions")
        if not known:
            problems.append(f"{name}: no controller has looked at it")
    if problems:
        return failed(
            "; ".join(problems) + ".",
            "Does its metric exist? For cpu and memory a metrics server must run, for others KEDA or an adapter, and Prometheus.",
            *told,
        )
    if limits:
        return warned("; ".join(limits) + ".", "Raise maxReplicas, if there are GPUs for it.", *told)
    return passed(f"{counted(len(scalers), 'autoscaler')} with all metrics that are asked for.", *told)


def _replicas(resource: dict[str, Any] | None) -> tuple[int, int | None]:
    spec = (resource or {}).get("spec") or {}
    predictor = spec.get("predictor") or {}
    low = predictor.get("minReplicas", spec.get("replicas", 1))
    return low, predictor.get("maxReplicas")


def _scaling(scaler: dict[str, Any]) -> str:
    spec, status = scaler.get("spec") or {}, scaler.get("status") or {}
    if scaler["kind"] != "HorizontalPodAutoscaler":
        return ", ".join(explained(entry) for entry in status.get("conditions") or []) or "no status"
    metrics = []
    for metric in status.get("currentMetrics") or []:
        for part in metric.values():
            if isinstance(part, dict) and (current := part.get("current")):
                metrics.append(f"{part.get('name') or (part.get('metric') or {}).get('name')} {current}")
    seen = f", sees {'; '.join(metrics)}" if metrics else ""
    return f"{status.get('currentReplicas', 0)} of {spec.get('minReplicas', 1)} to {spec.get('maxReplicas')}{seen}"


def load_test_passed(facts: Facts) -> Verdict:
    """Facts: load_test ({report, problem}, None if there was none), why_not."""
    if facts["load_test"] is None:
        return skipped(facts["why_not"])
    report, problem = facts["load_test"]["report"], facts["load_test"]["problem"]
    if report is None:
        return failed(f"It could not be done: {problem}", "See docs/load-test.md, 'When something is wrong'.")
    told = [
        f"{part['name']}: {part['requests']['completed']} of {part['requests']['sent']} answered, "
        f"{part['requests_per_second']:g} requests/s"
        + (f", TTFT p95 {part['latency_ms']['ttft']['p95']:g} ms" if "ttft" in part["latency_ms"] else "")
        for part in report["stages"]
    ]
    if report["verdict"] == "fail":
        return failed(
            " ".join(report["failures"]),
            "See the load test's own report; compare its SLOs with what this model can do.",
            *told,
        )
    if any(part["client"]["was_the_limit"] for part in report["stages"]):
        return warned(
            f"{_load_report.headline(report)} But the client was the limit.",
            "Measure from another machine, or with less load (validation_load_test).",
            *told,
        )
    return passed(_load_report.headline(report), *told)


def pods_drain(facts: Facts) -> Verdict:
    """Facts: pods, drained (None if it was not tried, else {pod, problem, tokens, asked_tokens, seconds, failures})."""
    pods = [pod for pod in _living(facts["pods"]) if pod_phase(pod) == "is ready"]
    if not pods:
        return skipped("No pod is ready.")
    spec = pods[0]["spec"]
    engine = engine_of(pods[0])
    words = [
        str(word) for word in [engine.get("image", ""), *(engine.get("command") or []), *(engine.get("args") or [])]
    ]
    pause = _pre_stop_seconds(engine)
    grace = spec.get("terminationGracePeriodSeconds", 30)
    told = [f"preStop {pause} s, terminationGracePeriodSeconds {grace}"]
    remediation = (
        "Set it in the runtime (role vllm_runtime: vllm_runtime_pre_stop_seconds, llmstack_shutdown_timeout_seconds)."
    )
    if not pause:
        return failed("The engine stops while requests still come: it has no preStop pause.", remediation, *told)
    finish = 0
    if any("vllm" in word for word in words):
        finish = _shutdown_timeout_seconds(words)
        told.append(f"--shutdown-timeout {finish}")
        if not finish:
            return failed(
                "vLLM cuts its answers off when it is stopped (with HTTP 200): --shutdown-timeout is 0.",
                remediation,
                *told,
            )
    # facts: vLLM needs some seconds more to end than its last request.
    if grace < pause + finish + 15:
        return failed(
            f"Kubernetes kills the pod after {grace} s, but draining may take {pause} + {finish} s and the engine's own end.",
            f"Set terminationGracePeriodSeconds to at least {pause + finish + 15}.",
            *told,
        )
    drained = facts["drained"]
    if drained is None:
        return passed("It is set up to drain. It was not tried (validation_try_drain).", *told)
    told.append(
        f"pod {drained['pod']} was evicted during an answer: {drained['tokens']} of {drained['asked_tokens']} tokens, {drained['seconds']:g} s"
    )
    if drained["problem"]:
        return failed(f"An answer was lost when its pod was evicted: {drained['problem']}.", remediation, *told)
    if drained["failures"]:
        return failed(
            f"{len(drained['failures'])} requests failed while a pod drained: {drained['failures'][0]}.",
            "Run at least two replicas, and a longer preStop pause.",
            *told,
        )
    return passed("A pod that was evicted gave its answer to the end.", *told)


def engine_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The container of a pod that computes: by KServe's names (InferenceService, LLMInferenceService), else the first."""
    containers: list[dict[str, Any]] = pod["spec"]["containers"]
    return next((each for each in containers if each["name"] in ("kserve-container", "main")), containers[0])


def _pre_stop_seconds(container: dict[str, Any]) -> int:
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    if "sleep" in hook:
        return int(hook["sleep"].get("seconds", 0))
    # Knative's own (knative.dev/serving pkg/queue/sharedmain/main.go, drainSleepDuration).
    if (hook.get("httpGet") or {}).get("path") == "/wait-for-drain":
        return 30
    slept = re.search(r"sleep (\d+)", " ".join((hook.get("exec") or {}).get("command") or []))
    return int(slept[1]) if slept else 0


def _shutdown_timeout_seconds(words: list[str]) -> int:
    found = re.search(r"--shutdown-timeout[= ](\d+)", " ".join(words))
    return int(found[1]) if found else 0


# --- The cluster


def components_run(facts: Facts) -> Verdict:
    """Facts: workloads (Deployments, StatefulSets and DaemonSets of the namespaces that hold the stack)."""
    workloads = facts["workloads"]
    if not workloads:
        return skipped("There are none in the namespaces that were looked at (validation_component_namespaces).")
    short = []
    for workload in workloads:
        spec, status = workload.get("spec") or {}, workload.get("status") or {}
        wanted = status.get("desiredNumberScheduled", 0) if workload["kind"] == "DaemonSet" else spec.get("replicas", 1)
        ready = status.get("numberReady", status.get("readyReplicas", 0)) or 0
        if ready < wanted:
            where = workload["metadata"]
            short.append(f"{workload['kind']} {where['namespace']}/{where['name']} has {ready} of {wanted} pods ready")
    if short:
        return failed("; ".join(short) + ".", "See why: kubectl describe and kubectl logs of its pods.")
    spaces = sorted({workload["metadata"]["namespace"] for workload in workloads})
    return passed(f"{len(workloads)} of {len(workloads)} workloads of {', '.join(spaces)} are ready.")


def monitoring_is_active(facts: Facts) -> Verdict:
    """Facts: prometheuses (None without the operator's kinds), problem (why Prometheus does not answer), pods (that serve:
    name to since when they are ready), scraped (names of pods with fresh engine metrics), now."""
    if facts["prometheuses"] is None:
        return skipped("The Prometheus operator is not installed (role monitoring).")
    if not facts["prometheuses"]:
        return skipped("No Prometheus is installed (role monitoring).")
    told = []
    since = ""
    for prometheus in facts["prometheuses"]:
        where = prometheus["metadata"]
        name = f"Prometheus {where['namespace']}/{where['name']}"
        entry = condition(prometheus, "Available")
        if entry is not None and entry.get("status") != "True":
            return failed(f"{name}: {explained(entry)}.", "See the pods of its StatefulSet and the operator's log.")
        since = max(since, str((entry or {}).get("lastTransitionTime") or ""))
        told.append(f"{name} is available")
    if facts["problem"]:
        remediation = "See whether its pods run and its Service has endpoints."
        return failed(f"Prometheus does not answer: {facts['problem']}.", remediation, *told)
    missing = {pod: max(since, ready) for pod, ready in facts["pods"].items() if pod not in facts["scraped"]}
    patience = timedelta(seconds=SCRAPE_PATIENCE_SECONDS)
    old = sorted(pod for pod, both in missing.items() if not both or facts["now"] - moment(both) > patience)
    if old:
        return failed(
            f"Prometheus has no metrics of {', '.join(old)}.",
            "Compare the selectors of the PodMonitor (role monitoring) with the pods' labels, and look at Prometheus' page of targets.",
            *told,
        )
    if missing:
        return skipped(f"Prometheus has had no time yet to see {', '.join(sorted(missing))}.", *told)
    if not facts["pods"]:
        return skipped("Nothing serves, so there is nothing to be monitored.", *told)
    return passed(f"Prometheus has fresh metrics of {len(facts['pods'])} of {len(facts['pods'])} serving pods.", *told)


# Alerts of kube-prometheus that are meant to fire.
_ALWAYS_FIRING = {"Watchdog", "InfoInhibitor"}


def alerts_are_silent(facts: Facts) -> Verdict:
    """Facts: alerts (labels of what fires; None if nobody could be asked)."""
    if facts["alerts"] is None:
        return skipped("There is no Prometheus to ask (role monitoring).")
    firing = [labels for labels in facts["alerts"] if labels.get("alertname") not in _ALWAYS_FIRING]
    told = [
        f"{labels.get('alertname')} ({labels.get('severity', 'no severity')}): "
        + ", ".join(
            f"{key}={value}"
            for key, value in sorted(labels.items())
            if key in ("namespace", "pod", "deployment", "model_name")
        )
        for labels in firing
    ]
    remediation = "Follow the runbook of the alert."
    if any(labels.get("severity") == "critical" for labels in firing):
        return failed(f"{counted(len(firing), 'alert')} firing.", remediation, *told)
    if any(labels.get("severity") not in ("info", "none") for labels in firing):
        return warned(f"{counted(len(firing), 'alert')} firing.", remediation, *told)
    return passed("No alert fires.", *told)


def certificates_are_valid(facts: Facts) -> Verdict:
    """Facts: certificates (of cert-manager; None without its kinds), handshakes (by URL: {problem, not_after}), now."""
    certificates, handshakes, now = facts["certificates"], facts["handshakes"], facts["now"]
    if not certificates and not handshakes:
        return skipped("There are none: cert-manager has no Certificate here, and no endpoint speaks TLS.")
    bad: list[str] = []
    soon: list[str] = []
    told = []
    for certificate in certificates or []:
        name = f"Certificate {certificate['metadata']['namespace']}/{certificate['metadata']['name']}"
        entry = condition(certificate, "Ready")
        if entry is None or entry.get("status") != "True":
            bad.append(f"{name}: {explained(entry) if entry else 'cert-manager has not looked at it'}")
            continue
        ends = (certificate.get("status") or {}).get("notAfter")
        told.append(f"{name} is valid until {ends}")
        _expiry(name, ends, now, bad, soon)
    for url, seen in sorted(handshakes.items()):
        if seen["problem"]:
            bad.append(f"{url}: {seen['problem']}")
            continue
        told.append(f"{url} shows one that is valid until {seen['not_after']}")
        _expiry(url, seen["not_after"], now, bad, soon)
    remediation = "kubectl describe certificate says what its issuer waits for; a certificate of your own must be renewed by hand."
    if bad:
        return failed("; ".join(bad) + ".", remediation, *told)
    if soon:
        return warned("; ".join(soon) + ".", remediation, *told)
    return passed(f"{len(told)} of {len(told)} certificates are valid.", *told)


def _expiry(name: str, ends: str | None, now: datetime, bad: list[str], soon: list[str]) -> None:
    if not ends:
        return
    left = moment(ends) - now
    if left < timedelta(0):
        bad.append(f"{name} expired on {ends}")
    elif left < timedelta(days=CERTIFICATE_WARNING_DAYS):
        soon.append(f"{name} expires on {ends}")


def pod_security_is_enforced(facts: Facts) -> Verdict:
    """Facts: namespace_labels, refusal (what the API server said to a privileged pod in a dry run; "" if it let it in)."""
    level = facts["namespace_labels"].get("pod-security.kubernetes.io/enforce")
    if level is None:
        return skipped("The namespace enforces no Pod Security level (role security).")
    if facts["refusal"]:
        return passed(f"Level {level} is enforced: a privileged pod is refused.", facts["refusal"])
    return failed(
        f"The namespace says level {level}, but a privileged pod is let in.",
        "Use level baseline or restricted (role security), and look for exemptions of the API server.",
    )


def network_policies_cover_pods(facts: Facts) -> Verdict:
    """Facts: network_policies, pods (that serve)."""
    policies = facts["network_policies"]
    if not policies:
        return skipped("The namespace has no NetworkPolicy (role security).")
    open_pods = [
        pod["metadata"]["name"]
        for pod in _living(facts["pods"])
        if not any(
            selects((policy.get("spec") or {}).get("podSelector") or {}, pod["metadata"].get("labels") or {})
            and "Ingress" in ((policy.get("spec") or {}).get("policyTypes") or ["Ingress"])
            for policy in policies
        )
    ]
    told = [f"NetworkPolicy {policy['metadata']['name']}" for policy in policies]
    if open_pods:
        return failed(
            f"No NetworkPolicy restricts who may reach {', '.join(open_pods)}.",
            "Correct podSelector of the policies (role security).",
            *told,
        )
    return passed(
        f"{len(policies)} NetworkPolicies cover the serving pods. Whether the network obeys them only its plugin knows.",
        *told,
    )


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector (matchLabels, matchExpressions) selects an object; an empty one selects all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not holds:
            return False
    return True


# Images by the component whose version their tag is.
_COMPONENTS = {
    "cert_manager": re.compile(r"/cert-manager-controller[:@]"),
    "istio": re.compile(r"/pilot[:@]"),
    "kserve": re.compile(r"/kserve-controller[:@]"),
    "vllm": re.compile(r"/vllm-openai[:@]"),
}


def component_versions(images: list[str], definitions: dict[str, str]) -> dict[str, list[str]]:
    """Versions that run, by the names of the version table. `definitions` are bundle versions by the group of their CRDs."""
    found: dict[str, set[str]] = {}
    for image in images:
        for component, pattern in _COMPONENTS.items():
            tag = image.partition("@")[0].rpartition(":")[2]
            if pattern.search(image) and "/" not in tag:
                found.setdefault(component, set()).add(tag)
    if version := definitions.get("gateway.networking.k8s.io"):
        found["gateway_api"] = {version}
    return {component: sorted(versions) for component, versions in sorted(found.items())}


def versions_are_tested(facts: Facts) -> Verdict:
    """Facts: kubernetes (version of the API server), running (component to versions), tested (the version table), today."""
    tested, running = facts["tested"], facts["running"]
    if not tested:
        return skipped("No set of tested versions is given (validation_tested_versions).")
    here = _minor(facts["kubernetes"])
    told = [f"Kubernetes {facts['kubernetes']}"]
    outside, other = [], []
    for component, versions in running.items():
        told.append(f"{component} {', '.join(versions)}")
        if component not in tested:
            continue
        entry = tested[component]
        if strange := [version for version in versions if version.lstrip("v") != str(entry["version"]).lstrip("v")]:
            other.append(f"{component} {', '.join(strange)} (tested: {entry['version']})")
        span = entry.get("kubernetes") or {}
        low, high = (_minor(span[key]) if span.get(key) else None for key in ("minimum", "maximum"))
        if (low and here < low) or (high and here > high):
            shown = f"{span.get('minimum', '')} to {span.get('maximum', 'newer')}"
            outside.append(f"{component} is for Kubernetes {shown}, not {facts['kubernetes']}")
        if entry.get("eol") and str(entry["eol"]) < facts["today"]:
            other.append(f"{component} {entry['version']} gets no fixes since {entry['eol']}")
    if outside:
        return failed(
            "; ".join(outside) + ".",
            "Upgrade the component or the cluster; see the version table of the collection.",
            *told,
        )
    if other:
        return warned(
            "; ".join(other) + ".",
            "Run the playbooks of one release of the collection, or set validation_tested_versions to what you have tested.",
            *told,
        )
    return passed(f"{len(running)} of {len(running)} components run in tested versions.", *told)


def _minor(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def moment(timestamp: str) -> datetime:
    """A timestamp of the API."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone(UTC)


def _shown(answer: dict[str, Any]) -> str:
    text = answer["text"].strip()
    said = f"{text[:80]!r}" if text else "nothing"
    tokens = f", {answer['output_tokens']} tokens" if answer["output_tokens"] >= 0 else ""
    return f"{said}, finish_reason {answer['finish_reason'] or 'none'}{tokens} in {answer['seconds']:g} s"


SERVICE_CHECKS = (
    Check("gpus", "gpus", gpus_are_allocated),
    Check("pods", "pods", pods_run, ("gpus",)),
    Check("model", "model", model_is_loaded, ("pods",)),
    Check("endpoint_service", "endpoints", service_answers, ("model",)),
    Check("endpoint_gateway", "endpoints", gateway_answers, ("endpoint_service",)),
    Check("answer_model", "answers", the_right_model_answers, ("endpoint_gateway",)),
    Check("answer_known", "answers", known_answers_are_right, ("answer_model",)),
    Check("tokenizer", "tokenizer", tokenizer_is_sane, ("answer_model",)),
    Check("streaming", "streaming", streams_are_whole, ("answer_model",)),
    Check("metrics", "metrics", metrics_flow, ("answer_model",)),
    Check("autoscaling", "autoscaling", autoscaling_works, ("pods",)),
    Check("load_test", "load_test", load_test_passed, ("answer_model", "streaming")),
    Check("drain", "drain", pods_drain, ("model",)),
)
CLUSTER_CHECKS = (
    Check("components", "pods", components_run),
    Check("monitoring", "monitoring", monitoring_is_active),
    Check("alerts", "alerts", alerts_are_silent, ("monitoring",)),
    Check("certificates", "certificates", certificates_are_valid),
    Check("pod_security", "policies", pod_security_is_enforced),
    Check("network_policies", "policies", network_policies_cover_pods),
    Check("versions", "versions", versions_are_tested),
)


def judged(checks: tuple[Check, ...], subject: str, verdict_of: Callable[[Check], Verdict]) -> list[Finding]:
    """All checks of one subject, in order; those that would only repeat another one's failure are not asked for."""
    found = []
    pointless: set[str] = set()
    for check in checks:
        begin = time.monotonic()
        need = next((each for each in checks if each.id in check.needs and each.id in pointless), None)
        if need:
            verdict = skipped(f"Not judged, because of '{CATEGORIES[need.category]}' ({need.id}).")
        else:
            verdict = verdict_of(check)
        if need or verdict.status == "fail":
            pointless.add(check.id)
        seconds = round(time.monotonic() - begin, 3)
        found.append(Finding(check.id, check.category, subject, seconds=seconds, **asdict(verdict)))
    return found

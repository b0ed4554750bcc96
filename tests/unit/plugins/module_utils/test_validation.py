# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check of a validation: it passes where all is well, and breaking exactly one thing makes exactly it red."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _validation as validation

Facts = dict[str, Any]
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def pod(name: str = "chat-predictor-1", **changes: Any) -> Facts:
    """A ready pod of vLLM that was set up to drain."""
    conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "Ready")]
    container = {
        "name": "kserve-container",
        "image": "docker.io/vllm/vllm-openai:v1",
        "args": ["--shutdown-timeout=60"],
        "resources": {"limits": {"nvidia.com/gpu": "2"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 15}}},
    }
    status = {
        "phase": "Running",
        "conditions": conditions,
        "containerStatuses": [{"name": "kserve-container", "ready": True, "state": {"running": {}}}],
    }
    spec = {"nodeName": "gpu-1", "terminationGracePeriodSeconds": 120, "containers": [container]}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "chat"}},
        "spec": spec,
        "status": status,
        **changes,
    }


def waiting_pod(message: str) -> Facts:
    entry = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {**pod(), "spec": {"containers": []}, "status": {"phase": "Pending", "conditions": [entry]}}


def loading_pod() -> Facts:
    status = {"name": "kserve-container", "ready": False, "state": {"running": {}}}
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]
    return {**pod(), "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [status]}}


def answer(**changes: Any) -> Facts:
    return {
        "problem": "",
        "model": "chat",
        "text": "Paris",
        "finish_reason": "stop",
        "input_tokens": 9,
        "output_tokens": 2,
        "events": 2,
        "seconds": 0.2,
        "first_token_seconds": 0.1,
        **changes,
    }


def scaler(**conditions: str) -> Facts:
    entries = [{"type": kind, "status": status, "message": "no metrics"} for kind, status in conditions.items()]
    status = {"conditions": entries, "currentReplicas": 1}
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat"},
        "spec": {"maxReplicas": 4},
        "status": status,
    }


def certificate(ready: str = "True", ends: str = "2027-03-01T00:00:00Z") -> Facts:
    status = {"conditions": [{"type": "Ready", "status": ready, "reason": "DoesNotExist"}], "notAfter": ends}
    return {"metadata": {"namespace": "kserve", "name": "serving-cert"}, "status": status}


def stage(limit: bool = False) -> Facts:
    return {
        "name": "50 concurrent",
        "requests": {"sent": 150, "completed": 150, "failed": 0},
        "requests_per_second": 10.0,
        "output_tokens_per_second": 100.0,
        "latency_ms": {"ttft": {"p95": 80.0}},
        "client": {"was_the_limit": limit},
    }


def load_test(**changes: Any) -> Facts:
    report = {"verdict": "pass", "failures": [], "search": None, "stages": [stage()], **changes}
    return {"report": report, "problem": ""}


RESOURCE = {
    "metadata": {"name": "chat", "namespace": "models"},
    "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 4}},
    "status": {"modelStatus": {"states": {"activeModelState": "Loaded"}}},
}
SERVICE: Facts = {
    "name": "chat",
    "namespace": "models",
    "kind": "InferenceService",
    "model": "chat",
    "api": "chat",
    "resource": RESOURCE,
    "now": NOW,
    "state": "ready",
    "phase": "serves",
    "cause": None,
    "commands": ["kubectl describe"],
    "wanted_gpus": 2,
    "nodes": {"gpu-1": {"ready": True, "gpus": 8}},
    "pods": [pod()],
    "workloads": [{"kind": "Deployment", "metadata": {"name": "chat-predictor"}, "spec": {"replicas": 1}}],
    "engines": {"chat-predictor-1": {"status": 200, "models": ["chat"], "problem": ""}},
    "scalers": [scaler(AbleToScale="True", ScalingActive="True", ScalingLimited="False")],
    "drained": None,
}
# What is seen where all is well, by check. One fact of it is broken at a time.
GOOD: dict[str, Facts] = {
    **dict.fromkeys(("gpus", "pods", "model", "autoscaling", "drain"), SERVICE),
    "endpoint_service": {"namespace": "models", "service": "chat:80", "status": 200, "problem": "", "seconds": 0.1},
    "endpoint_gateway": {
        "namespace": "models",
        "url": "http://chat.example.com",
        "connect_to": "10.0.0.1:80",
        "status": 200,
        "problem": "",
        "why_not": "",
        "seconds": 0.1,
    },
    "answer_model": {"model": "chat", "api": "chat", "models": ["chat"], "answer": answer()},
    "answer_known": {"known": [{"prompt": "Capital of France?", "pattern": "(?i)paris", "answer": answer()}]},
    "tokenizer": {"answer": answer(), "tokens": 9, "text": "A fox", "round_trip": " A fox"},
    "streaming": {"streamed": answer(finish_reason="length", output_tokens=64, events=64), "asked_tokens": 64},
    "metrics": {"pages": {"chat-predictor-1": {"names": 50, "problem": ""}}, "before": 7.0, "after": 8.0},
    "load_test": {"load_test": load_test(), "why_not": ""},
    "components": {
        "workloads": [
            {
                "kind": "Deployment",
                "metadata": {"namespace": "kserve", "name": "controller"},
                "spec": {"replicas": 1},
                "status": {"readyReplicas": 1},
            }
        ]
    },
    "monitoring": {
        "prometheuses": [
            {
                "metadata": {"namespace": "monitoring", "name": "k8s"},
                "status": {"conditions": [{"type": "Available", "status": "True"}]},
            }
        ],
        "problem": "",
        "pods": {"chat-predictor-1": "2026-11-27T11:00:00Z"},
        "scraped": ["chat-predictor-1"],
        "now": NOW,
    },
    "alerts": {"alerts": [{"alertname": "Watchdog", "severity": "none"}]},
    "certificates": {"certificates": [certificate()], "handshakes": {}, "now": NOW},
    "pod_security": {"namespace_labels": {"pod-security.kubernetes.io/enforce": "restricted"}, "refusal": "forbidden"},
    "network_policies": {
        "pods": [pod()],
        "network_policies": [
            {"metadata": {"name": "ingress"}, "spec": {"podSelector": {"matchLabels": {"app": "chat"}}}}
        ],
    },
    "versions": {
        "kubernetes": "v1.35.2",
        "running": {"kserve": ["v0.20.0"]},
        "tested": {"kserve": {"version": "v0.20.0", "kubernetes": {"minimum": "1.32", "maximum": "1.36"}}},
        "today": "2026-11-27",
    },
}


def statuses(facts: dict[str, Facts]) -> dict[str, str]:
    """The status of every check, in the order and with the dependencies of a run."""

    def verdict_of(check: validation.Check) -> validation.Verdict:
        return check.judge(facts[check.id])

    found = validation.judged(validation.SERVICE_CHECKS, "chat", verdict_of)
    found += validation.judged(validation.CLUSTER_CHECKS, "cluster", verdict_of)
    assert all(finding.message and finding.seconds >= 0 for finding in found)
    assert all(finding.remediation for finding in found if finding.status in ("fail", "warn"))
    return {finding.id: finding.status for finding in found}


def cause(kind: str) -> Facts:
    return {"kind": kind, "reason": "Something failed", "remedy": "Mend it"}


# The check that must be red; how one thing is broken; and how red it is.
BREAKS: dict[str, tuple[str, Facts, str]] = {
    "no GPU is free": ("gpus", {"pods": [waiting_pod("0/3 nodes: 3 Insufficient nvidia.com/gpu")]}, "fail"),
    "the engine sees no GPU": ("gpus", {"cause": cause("no_gpu")}, "fail"),
    "a pod has fewer GPUs than asked for": ("gpus", {"wanted_gpus": 4}, "fail"),
    "the device plugin is gone": ("gpus", {"nodes": {"gpu-1": {"ready": True, "gpus": 0}}}, "fail"),
    "the node is not ready": ("gpus", {"nodes": {"gpu-1": {"ready": False, "gpus": 8}}}, "fail"),
    "the object is missing": ("pods", {"resource": None, "pods": [], "workloads": []}, "fail"),
    "the image is missing": ("pods", {"cause": cause("image"), "pods": [waiting_pod("pulling")]}, "fail"),
    "a pod is missing": ("pods", {"workloads": [{"metadata": {"name": "chat"}, "spec": {"replicas": 2}}]}, "fail"),
    "the object is not ready": ("pods", {"state": "progressing", "phase": "has no URL yet"}, "fail"),
    "the model is not in the bucket": ("model", {"cause": cause("storage_missing"), "pods": [loading_pod()]}, "fail"),
    "the model does not fit": ("model", {"cause": cause("cuda_out_of_memory"), "pods": [loading_pod()]}, "fail"),
    "the model is still loading": ("model", {"pods": [loading_pod()], "state": "progressing"}, "fail"),
    "an engine has no model": ("model", {"engines": {"a": {"status": 200, "models": [], "problem": ""}}}, "fail"),
    "the Service has no endpoints": ("endpoint_service", {"status": 0, "problem": "no endpoints"}, "fail"),
    "the route is missing": ("endpoint_gateway", {"status": 404, "problem": "HTTP 404"}, "fail"),
    "another model is served": ("answer_model", {"models": ["other"]}, "fail"),
    "another model answers": ("answer_model", {"answer": answer(model="other")}, "fail"),
    "the answer is empty": ("answer_model", {"answer": answer(text=" ")}, "fail"),
    "the question is refused": ("answer_model", {"answer": answer(problem="http_500: the server failed")}, "fail"),
    "the answer is wrong": (
        "answer_known",
        {"known": [{"prompt": "Capital?", "pattern": "paris", "answer": answer(text="blue")}]},
        "fail",
    ),
    "a template leaks": ("tokenizer", {"answer": answer(text="Paris<|im_end|>")}, "fail"),
    "two tokenizers": ("tokenizer", {"tokens": 12}, "fail"),
    "a damaged tokenizer": ("tokenizer", {"round_trip": "A f?x"}, "fail"),
    "a stream is cut": ("streaming", {"streamed": answer(problem="truncated: it ended")}, "fail"),
    "a stream is aborted": ("streaming", {"streamed": answer(finish_reason="abort")}, "fail"),
    "a stream is too short": ("streaming", {"streamed": answer(finish_reason="length", output_tokens=20)}, "fail"),
    "a stream is buffered": (
        "streaming",
        {"streamed": answer(events=64, seconds=2.0, first_token_seconds=1.99)},
        "warn",
    ),
    "no engine metrics": ("metrics", {"pages": {"a": {"names": 0, "problem": "HTTP 404"}}}, "fail"),
    "counters stand still": ("metrics", {"after": 7.0}, "fail"),
    "nothing is counted": ("metrics", {"before": None, "after": None}, "fail"),
    "the autoscaler sees no metric": (
        "autoscaling",
        {"scalers": [scaler(AbleToScale="True", ScalingActive="False")]},
        "fail",
    ),
    "nothing scales": ("autoscaling", {"scalers": []}, "fail"),
    "no controller looks at the autoscaler": ("autoscaling", {"scalers": [scaler()]}, "fail"),
    "an SLO is missed": ("load_test", {"load_test": load_test(verdict="fail", failures=["ttft"])}, "fail"),
    "the load test was impossible": ("load_test", {"load_test": {"report": None, "problem": "URL down."}}, "fail"),
    "the client was the limit": ("load_test", {"load_test": load_test(stages=[stage(limit=True)])}, "warn"),
    "an answer is lost in the drain": (
        "drain",
        {
            "drained": {
                "pod": "a",
                "tokens": 20,
                "asked_tokens": 300,
                "seconds": 2.0,
                "problem": "finish_reason abort",
                "failures": [],
            }
        },
        "fail",
    ),
    "requests fail in the drain": (
        "drain",
        {
            "drained": {
                "pod": "a",
                "tokens": 300,
                "asked_tokens": 300,
                "seconds": 2.0,
                "problem": "",
                "failures": ["HTTP 503"],
            }
        },
        "fail",
    ),
    "a component has no pod": (
        "components",
        {
            "workloads": [
                {
                    "kind": "DaemonSet",
                    "metadata": {"namespace": "gpu", "name": "driver"},
                    "status": {"desiredNumberScheduled": 3, "numberReady": 2},
                }
            ]
        },
        "fail",
    ),
    "Prometheus is down": ("monitoring", {"problem": "no endpoints"}, "fail"),
    "Prometheus is not available": (
        "monitoring",
        {
            "prometheuses": [
                {
                    "metadata": {"namespace": "m", "name": "k8s"},
                    "status": {"conditions": [{"type": "Available", "status": "False"}]},
                }
            ]
        },
        "fail",
    ),
    "a pod is not scraped": ("monitoring", {"scraped": []}, "fail"),
    "a critical alert": ("alerts", {"alerts": [{"alertname": "EngineDown", "severity": "critical"}]}, "fail"),
    "a warning alert": ("alerts", {"alerts": [{"alertname": "Slow", "severity": "warning"}]}, "warn"),
    "a certificate has no issuer": ("certificates", {"certificates": [certificate("False")]}, "fail"),
    "a certificate expired": ("certificates", {"certificates": [certificate(ends="2026-11-01T00:00:00Z")]}, "fail"),
    "a certificate expires soon": (
        "certificates",
        {"certificates": [certificate(ends="2026-12-01T00:00:00Z")]},
        "warn",
    ),
    "the endpoint's certificate is not trusted": (
        "certificates",
        {"handshakes": {"https://a": {"problem": "self-signed certificate", "not_after": ""}}},
        "fail",
    ),
    "privileged pods are let in": ("pod_security", {"refusal": ""}, "fail"),
    "a policy misses the pods": (
        "network_policies",
        {
            "network_policies": [
                {"metadata": {"name": "other"}, "spec": {"podSelector": {"matchLabels": {"app": "other"}}}}
            ]
        },
        "fail",
    ),
    "Kubernetes is too new": ("versions", {"kubernetes": "v1.37.0"}, "fail"),
    "a component is another version": ("versions", {"running": {"kserve": ["v0.19.0"]}}, "warn"),
    "a component has no support": (
        "versions",
        {"tested": {"kserve": {"version": "v0.20.0", "eol": "2026-01-01"}}},
        "warn",
    ),
}


def broken(check: str, changes: Facts) -> dict[str, Facts]:
    """GOOD, where the facts of the check are changed; what checks of a service see in common changes for all."""
    facts = copy.deepcopy(GOOD)
    same = (
        [name for name in facts if facts[name].keys() == SERVICE.keys()]
        if check in ("gpus", "pods", "model")
        else [check]
    )
    for name in same:
        facts[name] = {**facts[name], **changes}
    return facts


def test_all_checks_pass_where_all_is_well() -> None:
    assert set(GOOD) == {check.id for check in (*validation.SERVICE_CHECKS, *validation.CLUSTER_CHECKS)}
    assert set(statuses(GOOD).values()) == {"pass"}


@pytest.mark.parametrize("case", BREAKS)
def test_what_is_broken_is_red_and_nothing_else_is(case: str) -> None:
    check, changes, status = BREAKS[case]
    found = statuses(broken(check, changes))
    assert found[check] == status
    assert {name: seen for name, seen in found.items() if seen in ("fail", "warn")} == {check: status}


def test_every_check_can_be_red() -> None:
    assert {check for check, _changes, status in BREAKS.values() if status == "fail"} == set(GOOD)


# What is not there, or not wanted, is skipped with a reason.
ABSENT: dict[str, tuple[str, Facts]] = {
    "no GPU is asked for": ("gpus", {"wanted_gpus": 0, "pods": [], "state": "ready"}),
    "it was stopped": ("pods", {"state": "stopped"}),
    "pods may not be asked": ("model", {"engines": None}),
    "it has no Service": ("endpoint_service", {"service": ""}),
    "there is no Gateway API": ("endpoint_gateway", {"why_not": "The Gateway API is not installed."}),
    "no known answer": ("answer_known", {"known": []}),
    "no /tokenize": ("tokenizer", {"tokens": None}),
    "no metrics may be read": ("metrics", {"pages": None}),
    "a fixed number of replicas": ("autoscaling", {"scalers": [], "resource": {"spec": {"predictor": {}}}}),
    "Prometheus need not know a pod after four minutes": (
        "monitoring",
        {"scraped": [], "pods": {"chat-predictor-1": "2026-11-27T11:56:00Z"}},
    ),
    "no load test was made": ("load_test", {"load_test": None, "why_not": "Check mode sends no load."}),
    "nothing to drain": ("drain", {"pods": []}),
    "no components": ("components", {"workloads": []}),
    "no Prometheus operator": ("monitoring", {"prometheuses": None}),
    "no Prometheus": ("monitoring", {"prometheuses": []}),
    "a pod is too young to be scraped": (
        "monitoring",
        {"scraped": [], "pods": {"chat-predictor-1": "2026-11-27T11:59:30Z"}},
    ),
    "nobody to ask for alerts": ("alerts", {"alerts": None}),
    "no certificates": ("certificates", {"certificates": None}),
    "no Pod Security level": ("pod_security", {"namespace_labels": {}}),
    "no NetworkPolicy": ("network_policies", {"network_policies": []}),
    "no tested versions": ("versions", {"tested": {}}),
}


@pytest.mark.parametrize("case", ABSENT)
def test_what_is_not_there_is_skipped_with_the_reason_and_blocks_nothing(case: str) -> None:
    check, changes = ABSENT[case]
    facts = copy.deepcopy(GOOD)
    facts[check] = {**facts[check], **changes}
    found = statuses(facts)
    assert found[check] == "skip"
    assert "fail" not in found.values()


def test_consequences_of_a_failure_are_skipped_and_say_because_of_what() -> None:
    facts = broken("model", BREAKS["an engine has no model"][1])
    found = validation.judged(validation.SERVICE_CHECKS, "chat", lambda check: check.judge(facts[check.id]))
    skipped = {finding.id: finding.message for finding in found if finding.status == "skip"}
    assert set(skipped) == {
        *("endpoint_service", "endpoint_gateway", "answer_model", "answer_known", "tokenizer", "streaming", "metrics"),
        *("load_test", "drain"),
    }
    assert all("Not judged, because of" in message for message in skipped.values())


def changed(change: Callable[[Facts], object]) -> str:
    facts = copy.deepcopy(SERVICE)
    change(facts["pods"][0])
    return validation.pods_drain(facts).status


DRAINS: dict[str, tuple[Callable[[Facts], object], str]] = {
    "as it is": (lambda found: None, "pass"),
    "no pause": (lambda found: found["spec"]["containers"][0].pop("lifecycle"), "fail"),
    "a pause by a command": (
        lambda found: found["spec"]["containers"][0].update(
            lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "sleep 15"]}}}
        ),
        "pass",
    ),
    "Knative's own pause": (
        lambda found: (
            found["spec"]["containers"][0].update(
                lifecycle={"preStop": {"httpGet": {"path": "/wait-for-drain", "port": 8022}}}
            ),
            found["spec"].update(terminationGracePeriodSeconds=600),
        ),
        "pass",
    ),
    "vLLM cuts off": (lambda found: found["spec"]["containers"][0].update(args=[]), "fail"),
    "too little time": (lambda found: found["spec"].update(terminationGracePeriodSeconds=60), "fail"),
    "no time set": (lambda found: found["spec"].pop("terminationGracePeriodSeconds"), "fail"),
    "another engine": (lambda found: found["spec"]["containers"][0].update(image="sglang", args=[]), "pass"),
}


@pytest.mark.parametrize("case", DRAINS)
def test_draining_is_judged_by_what_the_pod_is_given(case: str) -> None:
    change, status = DRAINS[case]
    assert changed(change) == status


def test_a_revision_of_knative_at_zero_is_no_fault() -> None:
    idle = {"kind": "PodAutoscaler", "metadata": {"name": "chat-00001"}, "spec": {}}
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "NoTraffic",
        "message": "The target is not receiving traffic.",
    }
    facts = {**copy.deepcopy(SERVICE), "scalers": [{**idle, "status": {"conditions": [condition]}}]}
    assert validation.autoscaling_works(facts).status == "pass"
    condition["reason"] = "FetchTargetError"
    assert validation.autoscaling_works(facts).status == "fail"


def test_a_restart_within_the_hour_is_a_warning() -> None:
    facts = copy.deepcopy(SERVICE)
    entry = facts["pods"][0]["status"]["containerStatuses"][0]
    entry["lastState"] = {"terminated": {"finishedAt": "2026-11-27T11:30:00Z"}}
    assert validation.pods_run(facts).status == "warn"
    entry["lastState"] = {"terminated": {"finishedAt": "2026-11-27T10:30:00Z"}}
    assert validation.pods_run(facts).status == "pass"


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"app": "chat"}}, True),
        ({"matchLabels": {"app": "other"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["chat"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["chat"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_label_selectors_are_those_of_kubernetes(selector: Facts, selected: bool) -> None:
    assert validation.selects(selector, {"app": "chat"}) is selected


def test_versions_are_read_from_images_and_definitions() -> None:
    images = [
        "quay.io/jetstack/cert-manager-controller:v1.21.1",
        "mirror:5000/kserve/kserve-controller:v0.20.0@sha256:abc",
        "docker.io/istio/pilot:1.30.4",
        "docker.io/vllm/vllm-openai:v0.32.0",
        "docker.io/vllm/vllm-openai:v0.31.0",
        "mirror:5000/busybox",
    ]
    assert validation.component_versions(images, {"gateway.networking.k8s.io": "v1.6.0"}) == {
        "cert_manager": ["v1.21.1"],
        "gateway_api": ["v1.6.0"],
        "istio": ["1.30.4"],
        "kserve": ["v0.20.0"],
        "vllm": ["v0.31.0", "v0.32.0"],
    }

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llmdeployment on KServe's real controller, with a real gateway, endpoint picker, and pods that load from S3."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import translate
from sandbox.kube import Cluster, wait_until
from tools.llm_deployments import PICKER, SERVED, SMALL, VERSIONS, ask, cached_share, prepared, removed, small, uploaded
from tools.playbook import ansible_playbook, recap, writes
from tools.run_module import run_module

Deploy = Callable[..., dict[str, Any]]
# The deployment of the production guide; only sizes are the sandbox's.
GUIDE: dict[str, Any] = {
    "name": "production-llm",
    "model": {"name": "meta-llama/Llama-2-70b-hf", "runtime": "vllm"},
    "serving": {
        "mode": "disaggregated",
        "gateway": {"replicas": 3, **PICKER},
        "prefill": {"replicas": 2, "batchSize": 32, "resources": {"gpu": 4, **SMALL}},
        "decode": {"replicas": 6, "batchSize": 8, "resources": {"gpu": 2, **SMALL}},
    },
    "cache": {
        "enabled": True,
        "tiers": [
            {"type": "gpu", "size": "80Mi"},
            {"type": "memory", "size": "64Mi"},
            {"type": "disk", "size": "128Mi"},
        ],
    },
    "monitoring": {"enabled": True, "prometheus": {"endpoint": "http://prometheus:9090"}},
}


@pytest.fixture(scope="module")
def llmd(cluster: Cluster, kserve: None) -> None:
    """The controller and its presets, installed by the collection's own role if they are not there yet."""
    if cluster.request("GET", SERVED)[0] != 200:
        done = ansible_playbook("-i", "inventories/local", "playbooks/install.yml")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr


@pytest.fixture(scope="module")
def model(sandbox: dict[str, Any]) -> Iterator[str]:
    """Where the tiny model is."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(uploaded(sandbox))


@pytest.fixture
def deploy(cluster: Cluster, sandbox: dict[str, Any], namespace: str, llmd: None, model: str) -> Iterator[Deploy]:
    """Run the module in a namespace with restricted Pod Security and an account that may read the bucket."""
    common = prepared(cluster, sandbox, namespace)

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        if "model" in options:
            options["model"] = {"uri": model, **options["model"]}
        return run_module("llmstack.serving.llmdeployment", {**common, **options}, check=check)

    yield call
    removed(cluster, namespace, common)


def done(result: dict[str, Any], changed: bool = True) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    assert result["changed"] is changed, result.get("diff")
    return result


def parts(result: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {part["name"]: (part["ready_replicas"], part["replicas"]) for part in result["parts"]}


def test_a_deployment_answers_through_gateway_and_picker(deploy: Deploy, cluster: Cluster) -> None:
    """The one quick test: create, ask, and again without a change."""
    result = done(deploy(**small()))
    assert {"decode", "picker", "route", "pool"} <= {part["name"] for part in result["parts"] if part["ready"]}
    answer, headers = ask(cluster, result, "Hello")
    assert answer["usage"]["prompt_tokens"] > 0
    assert headers["x-inference-pod"] in {pod["name"] for pod in result["pods"]}
    done(deploy(**small()), changed=False)


@pytest.mark.long
def test_a_run_that_changes_nothing_sends_six_requests(
    deploy: Deploy, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    done(deploy(**small()))
    before = len(audit())
    done(deploy(**small()), changed=False)
    own = [event for event in audit()[before:] if event["user"]["username"] == "admin"]
    # What is passed on to a Service has an event for the start of its answer and one for the end.
    requests = {e["auditID"]: e["requestURI"] for e in own if e["verb"] in ("get", "list", "create", "patch")}
    assert len(requests) <= 6, requests
    assert [write for write in writes(own) if "/proxy/" not in write] == []


@pytest.fixture
def many_gpus(cluster: Cluster) -> Iterator[None]:
    """The guide's deployment has more GPUs than the sandbox's node says it has."""

    def set_to(count: str) -> None:
        amount = {"nvidia.com/gpu": count}
        cluster.merge("/api/v1/nodes/sandbox/status", {"status": {"capacity": amount, "allocatable": amount}})

    set_to("32")
    yield
    set_to("8")


@pytest.mark.long
def test_the_guides_deployment(deploy: Deploy, cluster: Cluster, many_gpus: None, namespace: str) -> None:
    """Becomes ready, answers, is scaled, switched to one group and back, rolled back, and deleted."""
    checked = done(deploy(check=True, **GUIDE))
    assert cluster.get(f"{SERVED}/namespaces/{namespace}/llminferenceservices")["items"] == []
    first = done(deploy(**GUIDE, wait_timeout=400))
    assert {row["option"] for row in first["translation"]} == {row["option"] for row in checked["translation"]}
    assert parts(first)["decode"] == (6, 6)
    assert parts(first)["prefill"] == (2, 2)
    assert parts(first)["picker"][1] == 3
    _answer, headers = ask(cluster, first, "Tell me about disaggregated serving.")
    prefill = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods(cluster, namespace, "-prefill")}
    assert headers["x-prefill-pod"].partition(":")[0] in prefill.values(), "the prompt was read by a prefill pod"
    done(deploy(**GUIDE), changed=False)

    more = changed_replicas(8)
    old = {pod["metadata"]["name"] for pod in pods(cluster, namespace, "")}
    assert parts(done(deploy(**more, wait_timeout=400)))["decode"] == (8, 8)
    assert old <= {pod["metadata"]["name"] for pod in pods(cluster, namespace, "")}, "scaling restarts no pod"
    done(deploy(**more), changed=False)

    serving = {**GUIDE["serving"], "mode": "aggregated"}
    del serving["prefill"]
    one = {**GUIDE, "serving": serving}
    result = done(deploy(**one, wait_timeout=400))
    assert "prefill" not in parts(result)
    assert pods(cluster, namespace, "-prefill") == []
    _answer, headers = ask(cluster, result, "Hello")
    assert "x-prefill-pod" not in headers
    done(deploy(**one), changed=False)

    back = done(deploy(**GUIDE, wait_timeout=400))
    assert parts(back)["prefill"] == (2, 2)
    assert "x-prefill-pod" in ask(cluster, back, "Hello")[1]
    kept = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions")["items"]
    own = sorted(
        (each for each in kept if each["metadata"]["name"].startswith("production-llm-llm-")),
        key=lambda e: e["revision"],
    )
    assert own[-1]["data"]["spec"] == own[0]["data"]["spec"], "rolled back to what it was first"
    assert len(own) == 4

    done(deploy(name="production-llm", state="absent"))
    done(deploy(name="production-llm", state="absent"), changed=False)


TIERS = [{"type": "memory", "size": "64Mi"}, {"type": "disk", "size": "64Mi", "storage_class": "fast"}]
WORKLOADS: dict[str, dict[str, Any]] = {
    "replicas": {"replicas": 3},
    "autoscaling": {"autoscaling": {"max_replicas": 3, "actuator": "keda"}},
    "expert": {"parallelism": {"expert": True}, "resources": {"gpu": 2}},
    "nodes": {"parallelism": {"data": 4, "data_local": 2}, "resources": {"gpu": 2}},
    "template": {"template": {"hostIPC": True, "containers": [{"name": "main", "env": [{"name": "A", "value": "b"}]}]}},
    "args": {"args": ["--max-model-len=1024"], "batch_size": 4},
}
TRANSLATED: dict[str, dict[str, Any]] = {
    "guide": GUIDE,
    **{name: {"serving": {"decode": given}} for name, given in WORKLOADS.items()},
    "tiers": {"cache": {"tiers": TIERS, "eviction_policy": "arc"}},
    "claim": {"cache": {"tiers": [TIERS[0], {"type": "disk", "claim": "cache"}]}},
    "adapters": {"model": {"lora": {"adapters": [{"name": "sql", "uri": "s3://models/sql"}], "max_rank": 8}}},
    "load": {"serving": {"decode": {}, "scheduler": {"profile": "load"}}},
    "preset": {"serving": {"decode": {}, "scheduler": {"profile": "preset"}}},
    "no picker": {"serving": {"decode": {}, "scheduler": {"enabled": False}}},
    "sidecar": {**GUIDE, "routing_sidecar_image": "mirror/sidecar:v1"},
    "pods": {
        "service_account": "a",
        "priority_class_name": "system-node-critical",
        "tolerations": [{"operator": "Exists"}],
        "node_selector": {"a": "b"},
        "affinity": {"nodeAffinity": {}},
        "topology_spread_constraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "image_pull_secrets": ["a"],
        "shared_memory": "1Gi",
        "runtime_class_name": "nvidia",
        "volumes": [{"name": "extra", "emptyDir": {}}],
        "base_refs": ["a"],
        "labels": {"a": "b"},
        "annotations": {"a": "b"},
        "definition": {"spec": {"tracing": {"sampler": "always_on"}}},
    },
}


@pytest.mark.parametrize("name", TRANSLATED)
def test_kserve_takes_what_options_become(cluster: Cluster, llmd: None, name: str) -> None:
    """Every field is in the CRD (strict validation), and the webhook agrees."""
    options: dict[str, Any] = {"name": "t", "namespace": "default", "serving": {"decode": {}}, **TRANSLATED[name]}
    options["model"] = {"uri": "s3://models/tiny", **options.get("model", {})}
    made = translate(options)
    assert made.problems == []
    path = f"{SERVED}/namespaces/default/llminferenceservices/{options['name']}?dryRun=All&fieldManager=test"
    answer = cluster.request("PATCH", f"{path}&fieldValidation=Strict", made.manifest, "application/apply-patch+yaml")
    assert answer[0] in (200, 201), answer


def changed_replicas(count: int) -> dict[str, Any]:
    options = copy.deepcopy(GUIDE)
    options["serving"]["decode"]["replicas"] = count
    return options


def pods(cluster: Cluster, namespace: str, suffix: str) -> list[dict[str, Any]]:
    component = f"app.kubernetes.io%2Fcomponent%3Dllminferenceservice-workload{suffix}"
    found = cluster.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={component}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def share_cached(cluster: Cluster, result: dict[str, Any]) -> tuple[float, dict[int, set[str]]]:
    """Prompts with four long beginnings, several times: share of cached tokens, and the pods of each beginning."""
    shares = []
    where: dict[int, set[str]] = {}
    for number in range(24):
        prefix = number % 4
        answer, headers = ask(cluster, result, f"{prefix} " * 400 + f"question {number}", tokens=1)
        shares.append(cached_share(answer))
        where.setdefault(prefix, set()).add(headers["x-inference-pod"])
    return sum(shares) / len(shares), where


@pytest.mark.long
def test_requests_that_share_a_prefix_land_where_it_is_cached(deploy: Deploy, cluster: Cluster) -> None:
    aware = done(deploy(**small(replicas=4)))
    share, where = share_cached(cluster, aware)
    assert all(len(found) == 1 for found in where.values()), where
    assert share > 0.6
    blind = done(deploy(**small(replicas=4, picker=False)))
    without, spread = share_cached(cluster, blind)
    assert any(len(found) > 1 for found in spread.values())
    assert without < share


@pytest.mark.long
def test_cache_tiers_of_one_group(deploy: Deploy, cluster: Cluster, namespace: str) -> None:
    tiers = [{"type": "memory", "size": "64Mi"}, {"type": "disk", "size": "64Mi"}]
    done(deploy(**small(cache={"tiers": tiers})))
    [pod] = pods(cluster, namespace, "")
    [container] = pod["spec"]["containers"]
    assert any(mount["mountPath"] == "/mnt/kv-cache-0" for mount in container["volumeMounts"])
    assert "TieringOffloadingSpec" in container["command"][2], "the preset made vLLM's flag from kvCacheOffloading"


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"base_refs": ["nothing-of-that-name"]}, ["A preset or base is missing", "correct base_refs"]),
        ({"service_account": "nobody"}, ["ServiceAccount is missing"]),
        ({"image": "docker.io/vllm/vllm-openai:v0.99.0"}, ["cannot be pulled"]),
        ({"args": ["--no-such-flag"]}, ["The engine failed: it does not know an argument"]),
        ({"model": {"name": "tiny/chat", "uri": "s3://nothing-here/tiny"}}, ["storage"]),
    ],
)
def test_what_cannot_heal_ends_the_wait(deploy: Deploy, options: dict[str, Any], texts: list[str]) -> None:
    begin = time.monotonic()
    result = deploy(**{**small(), **options})
    assert result["failed"]
    for text in texts:
        assert text in result["msg"], result["msg"]
    assert time.monotonic() - begin < 150


@pytest.mark.long
def test_a_picker_that_does_not_know_a_plugin(deploy: Deploy) -> None:
    config = {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [{"type": "no-such-scorer"}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "no-such-scorer"}]}],
    }
    serving = {**small()["serving"], "scheduler": {"config": config}}
    result = deploy(**{**small(), "serving": serving})
    assert result["failed"]
    assert "The endpoint picker failed: the endpoint picker does not know a plugin" in result["msg"]


@pytest.mark.long
def test_true_conditions_are_not_enough(deploy: Deploy, sandbox: dict[str, Any], namespace: str) -> None:
    """A picker that serves TLS, which Istio does not speak to it: all conditions True, 500 on every request."""
    made = done(deploy(**small()))["llmdeployment"]
    spec = copy.deepcopy(made["spec"])
    spec["model"]["name"] = "tiny/other"
    spec["router"]["scheduler"]["template"]["containers"][0]["args"] = ["--secure-serving=true"]
    manifest = {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "metadata": {"name": "encrypted", "namespace": namespace},
        "spec": spec,
    }
    settings = {"kubeconfig": sandbox["kubeconfig"]}
    applied = run_module("llmstack.serving.apply", {**settings, "definitions": [manifest], "wait_timeout": 240})
    assert not applied["failed"], "KServe calls it ready"
    asked = {**settings, "namespace": namespace, "name": "encrypted", "request_check": True}

    def health() -> dict[str, Any]:
        [entry] = run_module("llmstack.serving.llmdeployment_info", asked)["llmdeployments"]
        judged: dict[str, Any] = entry["health"]
        return judged

    # The pool is FailOpen: as long as the gateway has not learnt the picker's address, requests pass without it.
    wait_until("A request that should pass the picker", lambda: health()["cause"] == "picker", timeout_seconds=60)
    assert health()["state"] == "failed"
    assert "DestinationRule" in health()["message"]


@pytest.mark.long
def test_the_info_module_tells_each_part(deploy: Deploy, sandbox: dict[str, Any], namespace: str) -> None:
    done(deploy(**small(replicas=2)))
    found = run_module(
        "llmstack.serving.llmdeployment_info",
        {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace, "request_check": True},
    )
    [entry] = found["llmdeployments"]
    assert entry["health"] == {
        "state": "ready",
        "phase": "answers requests",
        "cause": None,
        "message": "answers requests",
    }
    assert len(entry["picker_sees"]) == 2
    assert "kserve-config-llm-template" in " ".join(entry["presets"])
    assert entry["images"]["picker"] == VERSIONS["llm_d"]["images"]["endpoint_picker"]


@pytest.mark.long
def test_the_role_deploys_the_guides_example(cluster: Cluster, llmd: None) -> None:
    """As an operator runs it: with a file of variables, twice, and away again."""
    command = ("-i", "inventories/local", "playbooks/deploy.yml", "-e", "@playbooks/vars/production-llm.yml", "--tags")
    first = ansible_playbook(*command, "model_storage,llmd")
    assert first.returncode == 0, first.stdout[-4000:] + first.stderr
    conditions = cluster.get(f"{SERVED}/namespaces/model-serving/llminferenceservices/production-llm")["status"][
        "conditions"
    ]
    assert next(each["status"] for each in conditions if each["type"] == "Ready") == "True"
    again = ansible_playbook(*command, "llmd")
    assert (again.returncode, recap(again.stdout)["changed"]) == (0, 0), again.stdout[-4000:]
    away = ansible_playbook(*command, "llmd", "-e", "llmd_state=absent")
    assert (away.returncode, recap(away.stdout)["changed"]) == (0, 1), away.stdout[-4000:]


@pytest.mark.long
def test_the_role_changes_nothing_when_all_is_there(llmd: None, audit: Callable[[], list[dict[str, Any]]]) -> None:
    begin = time.monotonic()
    again = ansible_playbook("-i", "inventories/local", "playbooks/install.yml", "--tags", "llmd")
    assert (again.returncode, recap(again.stdout)["changed"]) == (0, 0), again.stdout[-4000:]
    assert writes(audit()) == []
    assert time.monotonic() - begin < 15


LEADERWORKERSETS = "leaderworkersets.leaderworkerset.x-k8s.io"


@pytest.fixture
def old_leaderworkerset(cluster: Cluster, llmd: None) -> Iterator[None]:
    """The CRD as a Helm release up to 0.7 leaves it."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{LEADERWORKERSETS}"
    annotations = {"meta.helm.sh/release-name": "lws", "meta.helm.sh/release-namespace": "lws-system"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # The API server wants a note of approval for a group of Kubernetes' own.
        "metadata": {
            "name": LEADERWORKERSETS,
            "annotations": {**annotations, "api-approved.kubernetes.io": "unapproved, a test"},
        },
        "spec": {
            "group": "leaderworkerset.x-k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "LeaderWorkerSet", "plural": "leaderworkersets", "singular": "leaderworkerset"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    status, answer = cluster.request("POST", path.rpartition("/")[0], crd)
    assert status == 201, answer
    yield
    cluster.request("DELETE", path)


@pytest.mark.long
def test_a_leaderworkerset_that_helm_would_delete_is_left_alone(
    old_leaderworkerset: None, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    done = ansible_playbook(
        *("-i", "inventories/local", "playbooks/install.yml", "--tags", "llmd"),
        *("-e", "llmd_install_leaderworkerset=true", "-e", "llmd_leaderworkerset_manifest=not-read.yml"),
    )
    assert done.returncode != 0
    assert "The CRD of LeaderWorkerSet belongs to the Helm release lws" in done.stdout
    assert "helm.sh/resource-policy=keep" in done.stdout
    assert writes(audit()) == []

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inferenceservice on the real KServe, with real pods that download from S3 and serve, or fail in every known way."""

from __future__ import annotations

import json
import os
import random
import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from sandbox import go
from sandbox.kube import Cluster, wait_until
from tools import checkout, sandbox_s3
from tools.playbook import writes
from tools.run_module import run_module

Serve = Callable[..., dict[str, Any]]
VERSIONS = yaml.safe_load((checkout.ROOT / "roles/versions/vars/main.yml").read_text())["versions_table"]
IMAGE = VERSIONS["vllm"]["images"]["openai"]
# Python, for containers that fail in a way of the test's choice.
PYTHON = f"kserve/storage-initializer:{VERSIONS['kserve']['version']}"
# `make test` has two of the failures, the rules (test_kserve_rules) and the judgement (unit tests).
SEED = int(os.environ.get("TEST_SEED", datetime.now(UTC).toordinal()))


@pytest.fixture(scope="module")
def runtime(cluster: Cluster, kserve: None) -> Iterator[str]:
    """A runtime with the smallest engine that serves."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    probe = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 2}
    container = {
        "name": "kserve-container",
        "image": IMAGE,
        "command": ["vllm", "serve"],
        "args": ["/mnt/models", "--port=8080", "--served-model-name=tiny"],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "readinessProbe": probe,
        "startupProbe": {**probe, "failureThreshold": 30},
        # A pod that stops goes on serving until no gateway sends it requests any more.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    path = f"/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/{name}"
    manifest = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": name},
        "spec": {
            "supportedModelFormats": [{"name": "vLLM", "version": "1", "autoSelect": False}],
            "protocolVersions": ["v1", "v2"],
            "containers": [container],
        },
    }
    status, answer = cluster.request("PATCH", f"{path}?fieldManager=test", manifest, "application/apply-patch+yaml")
    assert status in (200, 201), answer
    yield name
    cluster.request("DELETE", path)


@pytest.fixture(scope="module")
def bucket(sandbox: dict[str, Any]) -> Iterator[str]:
    """A bucket with the tiny model under `tiny` and `next`, and a model without weights under `broken`."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    common = sandbox_s3.upload_options(sandbox, name)
    whole = sandbox["model"]
    for prefix, source in (("tiny", whole), ("next", whole), ("broken", f"{whole}/config.json")):
        done = run_module("llmstack.serving.s3_model_upload", {**common, "prefix": prefix, "src": source})
        assert not done["failed"], done["msg"]
    yield name
    for prefix in ("tiny", "next", "broken"):
        run_module("llmstack.serving.s3_model_upload", {**common, "prefix": prefix, "state": "absent", "delete": True})


@pytest.fixture
def storage(cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> str:
    """A ServiceAccount that may read the sandbox's S3."""
    s3 = sandbox["s3"]
    account(cluster, namespace, "storage", s3, s3["secret_access_key"])
    return "storage"


def put(cluster: Cluster, plural: str, manifest: dict[str, Any]) -> None:
    metadata = manifest["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}?fieldManager=test&force=true"
    status, answer = cluster.request("PATCH", path, manifest, "application/apply-patch+yaml")
    assert status in (200, 201), answer


def account(cluster: Cluster, namespace: str, name: str, s3: dict[str, str], secret_key: str) -> None:
    annotations = {
        "serving.kserve.io/s3-endpoint": s3["endpoint_url"].partition("://")[2],
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": s3["region"],
    }
    put(
        cluster,
        "secrets",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "stringData": {"AWS_ACCESS_KEY_ID": s3["access_key_id"], "AWS_SECRET_ACCESS_KEY": secret_key},
        },
    )
    metadata = {"name": name, "namespace": namespace}
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "secrets": [{"name": name}]}
    put(cluster, "serviceaccounts", made)


@pytest.fixture
def serve(sandbox: dict[str, Any], namespace: str, runtime: str, bucket: str, storage: str) -> Serve:
    """Run the module for a service that works, with other options as the test says."""
    defaults = {
        "kubeconfig": sandbox["kubeconfig"],
        "name": "tiny",
        "namespace": namespace,
        "runtime": runtime,
        "model_format": "vLLM",
        "storage_uri": f"s3://{bucket}/tiny",
        "service_account": storage,
        "wait_timeout": 300,
    }

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        return run_module("llmstack.serving.inferenceservice", {**defaults, **options}, check=check)

    return call


@pytest.fixture
def own(audit: Callable[[], list[dict[str, Any]]]) -> tuple[dict[str, Any], Callable[[], list[dict[str, Any]]]]:
    """Options that tell a test's requests from those of others who use the cluster, and the audit events of these."""
    user = f"tester-{uuid.uuid4().hex[:8]}"

    def events() -> list[dict[str, Any]]:
        return [event for event in audit() if event.get("impersonatedUser", {}).get("username") == user]

    return {"impersonate_user": user, "impersonate_groups": ["system:masters"]}, events


def done(result: dict[str, Any], changed: bool = True) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    assert result["changed"] is changed
    return result


def failed(result: dict[str, Any], *texts: str) -> None:
    assert result["failed"], result
    for text in texts:
        assert text in result["msg"], result["msg"]


def test_second_run_is_four_reads(serve: Serve, namespace: str, own: Any) -> None:
    me, events = own
    first = done(serve())
    again = done(serve(**me), changed=False)
    asked = [
        (event["verb"], event["objectRef"]["resource"]) for event in events() if event["stage"] == "ResponseComplete"
    ]
    assert sorted(asked) == [
        ("get", "inferenceservices"),
        ("list", "deployments"),
        ("list", "gateways"),
        ("list", "pods"),
    ]
    for result in (first, again):
        assert result["endpoint"]["host"] == f"tiny-{namespace}.sandbox.example"
        assert result["endpoint"]["gateway_address"].startswith("kserve-ingress-gateway-istio.")
    done(serve(state="absent"))


@pytest.mark.long
def test_cycle(serve: Serve, namespace: str, audit: Callable[[], list[dict[str, Any]]]) -> None:
    def written_here() -> int:
        return sum(f"/namespaces/{namespace}/inferenceservices/" in write for write in writes(audit()))

    steps: list[tuple[dict[str, Any], bool]] = []
    for options in ({}, {"args": ["--max-model-len=1024"]}, {"state": "stopped"}, {}, {"state": "absent"}):
        steps += [(options, True), (options, False)]
    written = 0
    for options, changed in steps:
        checked = done(serve(check=True, **options), changed)
        assert written_here() == written, "check mode writes nothing"
        ran = done(serve(**options), changed)
        assert checked.get("diff") == ran.get("diff")
        written += changed
        assert written_here() == written, "one write for a change, none for a no-op"
        if options.get("state") not in ("stopped", "absent"):
            assert [pod["phase"] for pod in ran["pods"] if pod["phase"] != "is going away"] == ["is ready"]
            assert ran["url"]


@pytest.mark.long
def test_returns_what_is_needed_to_use_it(serve: Serve, cluster: Cluster, namespace: str) -> None:
    result = done(serve())
    assert result["endpoint"]["host"].startswith("tiny-")
    assert result["endpoint"]["cluster_local_url"].startswith("http://tiny-predictor.")
    assert result["revision"] == "1"
    assert [step["phase"] for step in result["phases"]] == ["node found", "model downloaded", "engine loaded"]
    pod = cluster.get(f"/api/v1/namespaces/{namespace}/pods/{result['pods'][0]['name']}")
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/v1/models", timeout=10) as answer:
        assert json.load(answer)["data"][0]["id"] == "tiny"


@pytest.mark.long
def test_change_is_waited_for_until_the_new_pods_serve(serve: Serve, cluster: Cluster, namespace: str) -> None:
    done(serve())
    changed = done(serve(args=["--max-model-len=512"]))
    pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    ready = [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"]["conditions"])
    ]
    assert ready
    for pod in ready:
        container = next(each for each in pod["spec"]["containers"] if each["name"] == "kserve-container")
        assert "--max-model-len=512" in container["args"]
    assert changed["revision"] == "2"
    path = (
        f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions?labelSelector=llmstack.serving/inferenceservice=tiny"
    )
    kept = {each["revision"]: each["data"]["spec"]["predictor"]["model"] for each in cluster.get(path)["items"]}
    assert [("args" in kept[number]) for number in sorted(kept)] == [False, True], "what a rollback needs"


@pytest.mark.long
def test_scaling_restarts_no_pod(serve: Serve, cluster: Cluster, namespace: str) -> None:
    first = done(serve())["pods"][0]["name"]
    scaled = done(serve(replicas=2))
    names = {pod["name"] for pod in scaled["pods"]}
    assert first in names
    assert len(names) == 2
    assert scaled["revision"] == "1"


@pytest.mark.long
def test_failing_update_says_that_the_old_revision_serves_and_can_be_mended(
    serve: Serve, sandbox: Any, namespace: str
) -> None:
    done(serve())
    failed(serve(args=["--no-such-option"]), "an older revision still serves", "it does not know an argument")
    info = run_module(
        "llmstack.serving.inferenceservice_info", {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace}
    )
    health = info["inferenceservices"][0]["health"]
    assert (health["state"], health["cause"]) == ("degraded", "argument")
    done(serve())
    info = run_module(
        "llmstack.serving.inferenceservice_info", {"kubeconfig": sandbox["kubeconfig"], "namespace": namespace}
    )
    assert info["inferenceservices"][0]["health"]["state"] == "ready"


# Every class of failure, with a pod that really fails


def engine(code: str) -> dict[str, Any]:
    """Options for an engine that runs this Python code, with the image that has one."""
    return {"image": PYTHON, "command": ["/usr/local/bin/python3", "-c", code]}


def crash(line: str) -> dict[str, Any]:
    """Options for an engine that ends with this line, as vLLM writes it on hardware that the sandbox does not have."""
    return engine(f"import sys; print('starting'); sys.exit({line!r})")


def probe(path: str, **more: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, **more}


FAILURES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        "image",
        {"image": "docker.io/vllm/vllm-openai:no-such-tag"},
        ("cannot be pulled", "Correct the image's name and tag"),
    ),
    ("argument", {"args": ["--max-modell-len=5"]}, ("it does not know an argument", "--max-modell-len")),
    (
        "memory",
        {"resources": {"limits": {"memory": "8Mi"}, "requests": {"memory": "8Mi"}}},
        ("ran out of memory (not GPU memory)",),
    ),
    (
        "secret",
        {"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "k"}}}]},
        ('secret "no-such-secret" not found',),
    ),
    ("gpus", {"gpus": 64}, ("too little nvidia.com/gpu on",)),
    ("selector", {"node_selector": {"no-such": "label"}}, ("No node fits", "Compare node_selector")),
    (
        "startup-probe",
        {"startup_probe": {**probe("/health", failureThreshold=2), "httpGet": {"path": "/health", "port": 9999}}},
        ("its startup probe failed too often",),
    ),
    (
        "merged-probe",
        {"startup_probe": {"tcpSocket": {"port": 8080}}},
        ("may not specify more than 1 handler type", "KServe merges both"),
    ),
    (
        "readiness-probe",
        {"startup_probe": probe("/health", failureThreshold=30), "readiness_probe": probe("/nowhere")},
        ("answers its readiness probe with 404", "Correct path and port of readiness_probe"),
    ),
    ("service-account", {"service_account": "nobody"}, ("nobody", "Create the ServiceAccount")),
    ("model-format", {"model_format": "vllm"}, ("NoSupportingRuntime", "case-sensitive")),
    ("runtime", {"runtime": "no-such-runtime"}, ("RuntimeNotRecognized", "Create the runtime first")),
    ("claim", {"storage_uri": "pvc://no-such-claim/x"}, ("no-such-claim", "Create the PersistentVolumeClaim")),
    (
        "cuda-memory",
        crash("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("the GPU's memory is too small", "--tensor-parallel-size"),
    ),
    (
        "dtype",
        crash("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0."),
        ("does not support the data type", "--dtype=half"),
    ),
    (
        "max-model-len",
        crash("ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len (8192)"),
        ("--max-model-len is larger than", "Lower --max-model-len"),
    ),
    ("unknown", crash("boom"), ("failed 3 times with exit code 1", "boom")),
]
# A minute without a node, three crashes.
SLOW = {"secret", "gpus", "selector", "claim", "unknown", "readiness-probe", "startup-probe"}
SAMPLE = random.Random(SEED).sample(sorted({name for name, _options, _texts in FAILURES} - SLOW), 2)


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        pytest.param(options, texts, id=name, marks=[] if name in SAMPLE else [pytest.mark.long])
        for name, options, texts in FAILURES
    ],
)
def test_failure(serve: Serve, options: dict[str, Any], texts: tuple[str, ...]) -> None:
    begin = time.monotonic()
    failed(serve(**options), "does not serve", *texts)
    assert time.monotonic() - begin < 290, "fails before the timeout"


@pytest.mark.long
def test_model_that_is_not_there(serve: Serve, bucket: str) -> None:
    failed(serve(storage_uri=f"s3://{bucket}/nothing"), "there is no model at storage_uri", "s3_model_upload")


@pytest.mark.long
def test_bucket_that_is_not_there(serve: Serve) -> None:
    failed(serve(storage_uri="s3://no-such-bucket-anywhere/tiny"), "there is no model at storage_uri")


@pytest.mark.long
def test_model_that_is_incomplete(serve: Serve, bucket: str) -> None:
    failed(serve(storage_uri=f"s3://{bucket}/broken"), "the model's files are incomplete or of another format")


@pytest.mark.long
def test_wrong_storage_credentials(serve: Serve, cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> None:
    account(cluster, namespace, "wrong", sandbox["s3"], "not-the-key")
    failed(serve(service_account="wrong"), "the storage does not accept the credentials")


@pytest.mark.long
def test_storage_that_does_not_answer(serve: Serve, cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> None:
    nowhere = {**sandbox["s3"], "endpoint_url": "http://nowhere.invalid:9000"}
    account(cluster, namespace, "nowhere", nowhere, "x")
    failed(serve(service_account="nowhere"), "the storage cannot be reached")


@pytest.mark.long
def test_quota(serve: Serve, cluster: Cluster, namespace: str) -> None:
    put(
        cluster,
        "resourcequotas",
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": namespace},
            "spec": {"hard": {"pods": "0"}},
        },
    )
    failed(serve(), "exceeded quota: none", "Raise the ResourceQuota")


@pytest.mark.long
def test_pod_security(serve: Serve, cluster: Cluster, namespace: str) -> None:
    cluster.merge(
        f"/api/v1/namespaces/{namespace}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    )
    failed(serve(pod_security_context={"runAsUser": 0, "runAsNonRoot": False}), "violates PodSecurity")


# The download's own container fails: a ClusterStorageContainer for a scheme that only this test uses


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "resources", "texts"),
    [
        (
            "open('/small/file', 'wb').write(bytes(2**22))",
            {},
            ("the disk is full", "No space left on device", "more space"),
        ),
        (
            "kept = [bytes(2**20) for _ in range(10**6)]",
            {"limits": {"memory": "32Mi"}, "requests": {"memory": "16Mi"}},
            ("ran out of memory", "ClusterStorageContainer"),
        ),
    ],
    ids=["disk", "memory"],
)
def test_download_that_runs_out(
    serve: Serve, cluster: Cluster, code: str, resources: dict[str, Any], texts: tuple[str, ...]
) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    container = {
        "name": "storage-initializer",
        "image": PYTHON,
        "command": ["/usr/local/bin/python3", "-c", code],
        "resources": resources,
        "volumeMounts": [{"name": "small", "mountPath": "/small"}],
    }
    path = f"/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/{name}"
    manifest = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "metadata": {"name": name},
        "spec": {"container": container, "supportedUriFormats": [{"prefix": f"s3://{name}/"}]},
    }
    status, answer = cluster.request("PATCH", f"{path}?fieldManager=test", manifest, "application/apply-patch+yaml")
    assert status == 201, answer
    try:
        small = [{"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
        definition = {"spec": {"predictor": {"storageContainerName": name}}}
        failed(serve(storage_uri=f"s3://{name}/x", volumes=small, definition=definition), *texts)
    finally:
        cluster.request("DELETE", path)


def documented(name: str) -> dict[str, Any]:
    """The options of a task in docs/inference-service.md."""
    text = (checkout.ROOT / "docs" / "inference-service.md").read_text()
    for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for task in yaml.safe_load(block):
            if task["name"] == name:
                options: dict[str, Any] = task["llmstack.serving.inferenceservice"]
                return options
    raise AssertionError(f"No task {name}")


@pytest.mark.long
def test_the_guide_s_service_deploys_as_documented(serve: Serve, cluster: Cluster, namespace: str) -> None:
    guide = documented("The guide's service")
    # KEDA is not there, and says so before anything is written.
    refused = serve(**{**guide, "name": "tiny", "namespace": namespace})
    failed(refused, "scale_metric: concurrency in deployment_mode: Standard needs KEDA", "Nothing was changed.")
    # Smaller, with the model and images of the sandbox. KServe gives the transformer's command three more arguments.
    here = ("name", "namespace", "runtime", "storage_uri", "service_account", "prometheus_url")
    options = {name: value for name, value in guide.items() if name not in here}
    answer = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
    validator = {"name": "prompt-validator", "image": PYTHON, "command": ["/usr/local/bin/python3", "-c", answer]}
    options |= {
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "env": [entry for entry in guide["env"] if entry["name"] != "MAX_MODEL_LEN"],
        "min_replicas": 1,
        "scale_metric": "cpu",
        "transformer": {"containers": [validator]},
    }
    result = done(serve(**options))
    served = result["inferenceservice"]
    assert served["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert served["spec"]["predictor"]["timeout"] == guide["timeout"]
    scaler = cluster.get(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/tiny-predictor")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, guide["max_replicas"])
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == guide["scale_target"]
    ready = {pod["name"].split("-")[1]: pod["gpus"] for pod in result["pods"] if pod["phase"] == "is ready"}
    assert ready == {"predictor": guide["gpus"], "transformer": 0}
    done(serve(**options), changed=False)


SCALED_OBJECTS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledobjects.keda.sh"


@pytest.fixture
def keda(cluster: Cluster, kserve: None) -> Iterator[None]:
    """KEDA's kind without its operator: what KServe asks of it is seen, and nothing scales."""
    source = (
        go.module_directory("kserve", "github.com/kedacore/keda/v2") / "config/crd/bases/keda.sh_scaledobjects.yaml"
    )
    status, answer = cluster.request("POST", SCALED_OBJECTS.rpartition("/")[0], yaml.safe_load(source.read_text()))
    assert status == 201, answer
    restart_kserve(cluster)
    yield
    cluster.request("DELETE", SCALED_OBJECTS)
    restart_kserve(cluster)


def restart_kserve(cluster: Cluster) -> None:
    """The controller looks for the kinds of others only when it starts (kserve pkg/utils/utils.go)."""
    path = "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"
    restarted = {"test/restarted": str(time.monotonic())}
    cluster.merge(path, {"spec": {"template": {"metadata": {"annotations": restarted}}}})

    def rolled_out() -> bool:
        found = cluster.get(path)
        same = found["status"].get("observedGeneration") == found["metadata"]["generation"]
        counts = [found["status"].get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return same and set(counts) == {found["spec"]["replicas"]}

    wait_until("KServe's controller", rolled_out, 180)


@pytest.mark.long
def test_the_guide_s_metric_becomes_what_keda_asks_the_engines_for(
    keda: None, serve: Serve, cluster: Cluster, namespace: str
) -> None:
    prometheus = "http://prometheus.monitoring:9090"
    options = {"scale_metric": "concurrency", "scale_target": 60, "max_replicas": 3, "prometheus_url": prometheus}
    done(serve(**options))
    scaled = cluster.get(f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/tiny-predictor")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 3)
    assert scaled["scaleTargetRef"]["name"] == "tiny-predictor"
    [trigger] = scaled["triggers"]
    # Without a type of its own KEDA divides the sum by the number of pods.
    assert (trigger["type"], trigger.get("metricType", "")) == ("prometheus", "")
    assert (trigger["metadata"]["serverAddress"], trigger["metadata"]["threshold"]) == (prometheus, "60")
    assert "sum(vllm:num_requests_running" in trigger["metadata"]["query"]
    done(serve(**options), changed=False)
    # Another class in place: KServe leaves what scaled before.
    changed = done(serve(scale_metric="cpu", scale_target=70, max_replicas=3))
    assert f"kubectl -n {namespace} delete scaledobject tiny-predictor" in " ".join(changed["shown"].split())
    assert cluster.get(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/tiny-predictor")
    assert cluster.get(f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/tiny-predictor")


# Updates while users are served


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 2])
def test_model_update_fails_no_request(
    serve: Serve, sandbox: dict[str, Any], namespace: str, bucket: str, replicas: int
) -> None:
    def update(model: str) -> dict[str, Any]:
        return serve(storage_uri=f"s3://{bucket}/{model}", replicas=replicas, termination_grace_period_seconds=30)

    done(update("tiny"))
    load = {
        "kubeconfig": sandbox["kubeconfig"],
        "inference_service": "tiny",
        "namespace": namespace,
        "gateway": "kserve/kserve-ingress-gateway",
        "rate": [10],
        "duration_seconds": 90,
        "warmup_requests": 0,
        "max_tokens": 10,
        "prompts": ["Say something."],
    }
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_module, "llmstack.serving.load_test", load)
        time.sleep(5)
        updated = done(update("next"))
        assert not running.done(), "the load ended before the update"
        result = running.result()
    assert updated["revision"] == "2"
    assert not result["failed"], result["msg"]
    [stage] = result["report"]["stages"]
    assert stage["requests"]["failed"] == 0
    assert stage["requests"]["completed"] > 600


# Where a model is, and who may read it


@pytest.mark.long
def test_credentials_by_storage_secret(serve: Serve, cluster: Cluster, sandbox: dict[str, Any], namespace: str) -> None:
    account(cluster, namespace, "wrong", sandbox["s3"], "not-the-key")
    done(serve(service_account="wrong", storage_secret="storage"))


@pytest.mark.long
def test_model_by_a_list_of_uris(serve: Serve, bucket: str) -> None:
    uris = [{"uri": f"s3://{bucket}/tiny", "mountPath": "/mnt/models"}]
    done(serve(storage_uri=None, definition={"spec": {"predictor": {"storageUris": uris}}}))


@pytest.mark.long
def test_wanted_condition_is_waited_for_instead_of_ready(serve: Serve) -> None:
    result = done(serve(wait_condition={"type": "PredictorReady"}))
    conditions = {entry["type"]: entry["status"] for entry in result["inferenceservice"]["status"]["conditions"]}
    assert conditions["PredictorReady"] == "True"
    missing = serve(wait_condition={"type": "NoSuchCondition"}, wait_timeout=5)
    failed(missing, "has no condition NoSuchCondition yet")
    done(serve(), changed=False)


@pytest.mark.long
def test_change_of_a_label_is_waited_for(serve: Serve, cluster: Cluster, namespace: str) -> None:
    done(serve())
    labelled = done(serve(labels={"team": "search"}))
    [ready] = [pod for pod in labelled["pods"] if pod["phase"] == "is ready"]
    pod = cluster.get(f"/api/v1/namespaces/{namespace}/pods/{ready['name']}")
    assert pod["metadata"]["labels"]["team"] == "search"


# Bad input: a sentence, and nothing is written


def test_options_that_kserve_refuses_write_nothing(serve: Serve, namespace: str, cluster: Cluster) -> None:
    failed(serve(scale_metric="concurrency", scale_target=60), "needs KEDA", "Nothing was changed.")
    failed(serve(min_replicas=3, max_replicas=2), "min_replicas (3) is greater than max_replicas (2)")
    failed(serve(definition={"spec": {"predictor": {"modell": {}}}}), "unknown field .spec.predictor.modell")
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
    assert cluster.get(path)["items"] == []


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"gpus": "many"}, ("gpus", "many")),
        ({"storage_url": "s3://x/y"}, ("Unsupported parameters", "storage_url")),
        ({"definition": {"spec": {"predictor": {"model": {"storageUrl": "x"}}}}}, ("unknown field", "storageUrl")),
        ({"storage": {"key": "a"}}, ("mutually exclusive", "storage_uri")),
        ({"replicas": 2, "scale_metric": "cpu"}, ("replicas is a fixed number",)),
        ({"name": "a" * 60}, ("is too long", "must fit into 63 characters")),
        ({"name": "Tiny"}, ("must start with a letter",)),
        ({"namespace": "no-such-namespace"}, ("namespace 'no-such-namespace' does not exist",)),
        ({"impersonate_user": "nobody"}, ("nobody is not allowed to get inferenceservices.serving.kserve.io",)),
        ({"host": "https://127.0.0.1:1"}, ("cannot be reached",)),
        ({"resources": {"limits": {"cpu": "much"}}}, ("resources.limits.cpu: 'much' is no quantity",)),
        ({"storage_uri": "ftp://a/b"}, ("'ftp://' is no storage of KServe",)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input(
    options: dict[str, Any], texts: tuple[str, ...], sandbox: dict[str, Any], namespace: str, kserve: None, own: Any
) -> None:
    me, events = own
    good = {"kubeconfig": sandbox["kubeconfig"], "name": "tiny", "namespace": namespace, "model_format": "vLLM"}
    good |= {"storage_uri": "s3://a/b", **me}
    if "impersonate_user" in options:
        del good["impersonate_groups"]
    failed(run_module("llmstack.serving.inferenceservice", {**good, **options}), *texts)
    changed = [
        event
        for event in events()
        if event["verb"] not in ("get", "list", "watch")
        and "dryRun=All" not in event["requestURI"]
        # What the API server refuses changes nothing either.
        and event["responseStatus"]["code"] < 400
    ]
    assert changed == []


def test_another_manager_s_field_is_named_and_can_be_taken_over(
    cluster: Cluster, sandbox: dict[str, Any], namespace: str, kserve: None
) -> None:
    options = {"kubeconfig": sandbox["kubeconfig"], "name": "tiny", "namespace": namespace, "model_format": "vLLM"}
    options |= {"storage_uri": "s3://a/b", "state": "stopped"}

    def run(**more: Any) -> dict[str, Any]:
        return run_module("llmstack.serving.inferenceservice", {**options, **more})

    done(run(replicas=1))
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/tiny"
    cluster.merge(path, {"spec": {"predictor": {"minReplicas": 3, "maxReplicas": 3}}})
    failed(run(replicas=2), "conflict", ".spec.predictor.minReplicas", "force_conflicts: true")
    assert cluster.get(path)["spec"]["predictor"]["minReplicas"] == 3
    done(run(replicas=2, force_conflicts=True))


def test_service_stuck_in_deletion_names_its_finalizer(
    cluster: Cluster, sandbox: dict[str, Any], namespace: str, kserve: None
) -> None:
    options = {"kubeconfig": sandbox["kubeconfig"], "name": "tiny", "namespace": namespace, "model_format": "vLLM"}
    options |= {"storage_uri": "s3://a/b"}

    def run(**more: Any) -> dict[str, Any]:
        return run_module("llmstack.serving.inferenceservice", {**options, **more})

    done(run(state="stopped", definition={"metadata": {"finalizers": ["example.com/nobody"]}}))
    failed(run(state="absent", wait_timeout=3), "waits for", "example.com/nobody")
    failed(run(), "is being deleted and waits for example.com/nobody", "Run again when it is gone")
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/tiny"
    cluster.merge(path, {"metadata": {"finalizers": None}})


@pytest.mark.long
def test_other_admission_that_refuses_is_named(serve: Serve, cluster: Cluster, namespace: str) -> None:
    """A rule of the cluster's owner, such as Kyverno's or this policy, is known only to the API server."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    group = "/apis/admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["serving.kserve.io"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["inferenceservices"],
    }
    scope = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no models here"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": scope},
        },
    }
    paths = [f"{group}/validatingadmissionpolicies/{name}", f"{group}/validatingadmissionpolicybindings/{name}"]
    try:
        for path, manifest in zip(paths, (policy, binding), strict=True):
            status, answer = cluster.request(
                "PATCH", f"{path}?fieldManager=test", manifest, "application/apply-patch+yaml"
            )
            assert status == 201, answer
        deadline = time.monotonic() + 60
        while not (result := serve(check=True))["failed"]:
            assert time.monotonic() < deadline, "the policy is not in force"
            time.sleep(1)
        failed(result, name, "no models here")
        failed(serve(), name, "no models here")
    finally:
        for path in paths:
            cluster.request("DELETE", path)

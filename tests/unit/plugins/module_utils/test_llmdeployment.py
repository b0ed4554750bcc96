# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each option of an LLM deployment becomes, and every sentence about options that make no sense."""

from __future__ import annotations

import copy
import json
import shlex
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import (
    API_VERSION,
    OLD_API_VERSION,
    Translation,
    literal,
    overlaid,
    translate,
)
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_fit import problems, route_conflicts
from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment_picker import asks_over_tls, config_of
from ansible_collections.llmstack.serving.plugins.module_utils._readiness import SPEC_HASH

# The deployment of a production guide, with a place to load the model from and tiers that fit into its pods.
GUIDE: dict[str, Any] = {
    "name": "production-llm",
    "namespace": "model-serving",
    "model": {"name": "meta-llama/Llama-2-70b-hf", "runtime": "vllm", "uri": "s3://llm-models/llama-2-70b"},
    "serving": {
        "mode": "disaggregated",
        "gateway": {"replicas": 3, "resources": {"cpu": "4", "memory": "8Gi"}},
        "prefill": {"replicas": 2, "batch_size": 32, "resources": {"gpu": 4, "memory": "200Gi"}},
        "decode": {"replicas": 6, "batch_size": 8, "resources": {"gpu": 2, "memory": "100Gi"}},
    },
    "cache": {
        "enabled": True,
        "tiers": [
            {"type": "gpu", "size": "80Gi"},
            {"type": "memory", "size": "50Gi"},
            {"type": "disk", "size": "2Ti"},
        ],
    },
    "monitoring": {"enabled": True, "prometheus": {"endpoint": "http://prometheus:9090"}},
}


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The options with one of them (serving.decode.replicas) set, or removed if it is None."""
    options = copy.deepcopy(base)
    *parents, last = path.split(".")
    at = options
    for parent in parents:
        at = at.setdefault(parent, {})
    if value is None:
        at.pop(last, None)
    else:
        at[last] = value
    return options


SMALL: dict[str, Any] = {
    "name": "chat",
    "namespace": "models",
    "model": {"uri": "s3://models/chat"},
    "serving": {"decode": {"replicas": 2, "resources": {"gpu": 1, "memory": "64Gi"}}},
}


def spec(options: dict[str, Any], **how: Any) -> dict[str, Any]:
    made = translate(options, **how)
    assert not made.problems
    found: dict[str, Any] = made.manifest["spec"]
    return found


def main(workload: dict[str, Any]) -> dict[str, Any]:
    [container] = workload["template"]["containers"]
    assert container["name"] == "main"
    return container


def flags(workload: dict[str, Any]) -> dict[str, str]:
    """The flags that vLLM gets from the shell of KServe's preset, which evaluates VLLM_ADDITIONAL_ARGS."""
    env = {entry["name"]: entry.get("value", "") for entry in main(workload).get("env", [])}
    words = shlex.split(env.get("VLLM_ADDITIONAL_ARGS", ""))
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def row(made: Translation, option: str) -> dict[str, Any]:
    [found] = [each for each in made.rows if each["option"] == option]
    return found


# Rows of the translation


def test_model_name_and_uri() -> None:
    assert spec(GUIDE)["model"] == {"name": "meta-llama/Llama-2-70b-hf", "uri": "s3://llm-models/llama-2-70b"}
    assert spec(SMALL)["model"]["name"] == "chat", "without a name, requests call it what the deployment is called"


def test_disaggregated_is_two_groups_of_pods() -> None:
    found = spec(GUIDE)
    assert found["replicas"] == 6
    assert found["prefill"]["replicas"] == 2
    assert "prefill" not in spec(SMALL)


def test_batch_size_is_max_num_seqs() -> None:
    assert flags(spec(GUIDE))["--max-num-seqs"] == "8"
    assert flags(spec(GUIDE)["prefill"])["--max-num-seqs"] == "32"


def test_gpus_are_resources_and_tensor_parallelism() -> None:
    found = spec(GUIDE)
    assert found["parallelism"] == {"tensor": 2}
    assert found["prefill"]["parallelism"] == {"tensor": 4}
    assert main(found)["resources"] == {
        "requests": {"nvidia.com/gpu": "2", "memory": "100Gi"},
        "limits": {"nvidia.com/gpu": "2", "memory": "100Gi"},
    }


def test_cpu_is_a_request_without_a_limit() -> None:
    resources = main(spec(changed(SMALL, "serving.decode.resources.cpu", "4")))["resources"]
    assert resources["requests"]["cpu"] == "4"
    assert "cpu" not in resources["limits"]


def test_the_gateway_is_the_endpoint_picker() -> None:
    scheduler = spec(GUIDE)["router"]["scheduler"]
    assert scheduler["replicas"] == 3
    [container] = scheduler["template"]["containers"]
    same = {"cpu": "4", "memory": "8Gi"}
    assert container["resources"] == {"requests": same, "limits": same}


def test_gateway_and_route_are_named_together() -> None:
    router = spec(changed(SMALL, "serving.gateway", {"name": "g", "namespace": "n"}))["router"]
    assert router["gateway"] == {"refs": [{"name": "g", "namespace": "n"}]}
    assert router["route"] == {}


def test_engines_hand_the_cache_over() -> None:
    plain = changed(GUIDE, "cache", None)
    for part in (spec(plain), spec(plain)["prefill"]):
        config = json.loads(flags(part)["--kv-transfer-config"])
        assert config == {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        env = {entry["name"]: entry for entry in main(part)["env"]}
        assert env["VLLM_NIXL_SIDE_CHANNEL_HOST"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert "VLLM_HTTP_TIMEOUT_KEEP_ALIVE" in {entry["name"] for entry in main(spec(plain)["prefill"])["env"]}


def test_tiers_of_disaggregated_engines_are_a_second_connector() -> None:
    part = spec(GUIDE)
    assert "kvCacheOffloading" not in part, "KServe's preset drops it where a connector is given"
    config = json.loads(flags(part)["--kv-transfer-config"])
    assert config["kv_connector"] == "MultiConnector"
    between, behind = config["kv_connector_extra_config"]["connectors"]
    assert between["kv_connector"] == "NixlConnector"
    assert behind["kv_connector_extra_config"] == {
        "spec_name": "TieringOffloadingSpec",
        "cpu_bytes_to_use": 50 * 2**30,
        "secondary_tiers": [{"type": "fs", "root_dir": "/mnt/kv-cache-0"}],
    }
    volumes = {volume["name"]: volume for volume in part["template"]["volumes"]}
    assert volumes["kv-cache-secondary-0"]["emptyDir"] == {"sizeLimit": "2Ti"}
    assert main(part)["volumeMounts"] == [{"name": "kv-cache-secondary-0", "mountPath": "/mnt/kv-cache-0"}]


def test_tiers_of_one_group_are_kserves_own_field() -> None:
    tiers = [{"type": "memory", "size": "20Gi"}, {"type": "disk", "size": "1Ti"}]
    found = spec(changed(SMALL, "cache", {"tiers": tiers, "eviction_policy": "arc"}))
    assert found["kvCacheOffloading"] == {
        "cpu": "20Gi",
        "evictionPolicy": "arc",
        "secondary": [{"fileSystem": {"emptyDir": {"size": "1Ti"}}}],
    }
    assert "--kv-transfer-config" not in flags(found)
    assert {"name": "PYTHONHASHSEED", "value": "0"} in main(found)["env"]


@pytest.mark.parametrize(
    ("disk", "written"),
    [
        ({"claim": "cache"}, {"pvc": {"ref": {"name": "cache"}}}),
        (
            {"storage_class": "fast", "size": "1Ti"},
            {
                "pvc": {
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": "fast",
                        "resources": {"requests": {"storage": "1Ti"}},
                    }
                }
            },
        ),
    ],
)
def test_disk_can_be_a_volume(disk: dict[str, Any], written: dict[str, Any]) -> None:
    tiers = [{"type": "memory", "size": "20Gi"}, {"type": "disk", **disk}]
    found = spec(changed(SMALL, "cache.tiers", tiers))
    assert found["kvCacheOffloading"]["secondary"] == [{"fileSystem": written}]


def test_gpu_tier_is_shared_out_over_the_gpus() -> None:
    assert flags(spec(GUIDE))["--kv-cache-memory-bytes"] == str(40 * 2**30)
    assert flags(spec(GUIDE)["prefill"])["--kv-cache-memory-bytes"] == str(20 * 2**30)
    assert "--kv-cache-memory-bytes" not in flags(spec(changed(SMALL, "cache.tiers", [{"type": "gpu"}])))


def test_disabled_cache_has_no_tiers() -> None:
    found = spec(changed(GUIDE, "cache.enabled", False))
    assert json.loads(flags(found)["--kv-transfer-config"])["kv_connector"] == "NixlConnector"
    assert "--kv-cache-memory-bytes" not in flags(found)


def test_shared_memory_holds_the_memory_tier() -> None:
    volumes = {volume["name"]: volume for volume in spec(GUIDE)["template"]["volumes"]}
    assert volumes["dshm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "50Gi"}


def test_monitoring_marks_the_pods() -> None:
    found = spec(GUIDE)
    ports = [
        part["annotations"]["prometheus.io/port"] for part in (found, found["prefill"], found["router"]["scheduler"])
    ]
    assert ports == ["8001", "8000", "9090"], "decode's engine stands behind the routing sidecar"
    assert row(translate(GUIDE), "monitoring.prometheus.endpoint")["note"].startswith("Prometheus asks the pods")


def test_istio_asks_the_picker_in_plain_text() -> None:
    [container] = spec(SMALL, picker_tls=False)["router"]["scheduler"]["template"]["containers"]
    assert container["args"] == ["--secure-serving=false"]
    [container] = spec(SMALL, picker_tls=True)["router"]["scheduler"]["template"]["containers"]
    assert "args" not in container
    assert not asks_over_tls("istio.io/gateway-controller")
    assert asks_over_tls("networking.gke.io/gateway")
    assert asks_over_tls(None)


def test_adapters() -> None:
    adapters = [{"name": "sql", "uri": "s3://models/sql"}]
    found = spec(changed(SMALL, "model.lora", {"adapters": adapters, "max_rank": 32}))
    assert found["model"]["lora"] == {"adapters": adapters, "maxRank": 32}
    plugins = [each["type"] for each in found["router"]["scheduler"]["config"]["inline"]["plugins"]]
    assert "lora-affinity-scorer" in plugins


def test_autoscaling_replaces_replicas() -> None:
    options = changed(
        changed(SMALL, "serving.decode.replicas", None), "serving.decode.autoscaling", {"max_replicas": 5}
    )
    found = spec(options)
    assert "replicas" not in found
    assert found["scaling"] == {"minReplicas": 1, "maxReplicas": 5, "wva": {"keda": {}}}


def test_data_parallelism_over_nodes_has_workers() -> None:
    wide = {"data": 4, "data_local": 2, "expert": True}
    options = changed(changed(SMALL, "serving.decode.parallelism", wide), "serving.decode.resources.gpu", 2)
    found = spec(options)
    assert found["parallelism"] == {"data": 4, "dataLocal": 2, "tensor": 1, "expert": True}
    assert found["worker"]["containers"] == found["template"]["containers"]
    assert "--enable-expert-parallel" not in flags(found), "the worker's preset sets it"


def test_data_and_expert_parallelism_in_one_pod_are_flags() -> None:
    local = {"data": 2, "data_local": 2, "expert": True}
    options = changed(changed(SMALL, "serving.decode.parallelism", local), "serving.decode.resources.gpu", 4)
    found = spec(options)
    assert "worker" not in found
    assert found["parallelism"]["tensor"] == 2
    assert flags(found)["--data-parallel-size"] == "2"
    assert "--enable-expert-parallel" in flags(found)


def test_every_pod_may_run_under_restricted_pod_security() -> None:
    found = spec(changed(GUIDE, "pod_security_context", {"runAsUser": 2000}))
    for part in (found, found["prefill"]):
        context = part["template"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 2000}
        download = part["template"]["initContainers"][0]
        assert download["name"] == "storage-initializer"
        assert download["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    claim = spec(changed(GUIDE, "model.uri", "pvc://claim/model"))["template"]
    assert "initContainers" not in claim, "nothing is downloaded"


def test_pod_options_are_for_both_groups() -> None:
    options = {
        **GUIDE,
        "service_account": "reader",
        "priority_class_name": "high",
        "tolerations": [{"operator": "Exists"}],
        "node_selector": {"gpu": "h100"},
        "image": "docker.io/vllm/vllm-openai:v0.32.0",
        "image_pull_secrets": ["pull"],
        "args": ["--max-model-len=8192"],
    }
    found = spec(options)
    for part in (found, found["prefill"]):
        template = part["template"]
        assert template["serviceAccountName"] == "reader"
        assert template["priorityClassName"] == "high"
        assert template["tolerations"] == [{"operator": "Exists"}]
        assert template["nodeSelector"] == {"gpu": "h100"}
        assert template["imagePullSecrets"] == [{"name": "pull"}]
        assert main(part)["image"] == options["image"]
        assert flags(part)["--max-model-len"] == "8192"


def test_routing_sidecar_of_decode() -> None:
    found = spec({**GUIDE, "routing_sidecar_image": "mirror/sidecar:v1"})
    sidecar = {"name": "llm-d-routing-sidecar", "image": "mirror/sidecar:v1"}
    assert found["template"]["initContainers"][-1] == sidecar
    assert sidecar not in found["prefill"]["template"]["initContainers"]


def test_template_overrides_by_name() -> None:
    over = {"containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}], "hostIPC": True}
    found = spec(changed(GUIDE, "serving.decode.template", over))
    assert found["template"]["hostIPC"] is True
    assert {"name": "A", "value": "1"} in main(found)["env"]
    assert flags(found)["--max-num-seqs"] == "8"
    assert overlaid({"a": [1]}, {"a": [2]}) == {"a": [2]}


def test_definition_says_the_rest() -> None:
    found = spec({**SMALL, "definition": {"spec": {"tracing": {"sampler": "always_on"}}}})
    assert found["tracing"] == {"sampler": "always_on"}


@pytest.mark.parametrize("options", [GUIDE, SMALL])
def test_every_given_option_has_a_row(options: dict[str, Any]) -> None:
    made = translate(options)
    told = " ".join(each["option"] for each in made.rows)
    for option in (
        "model.name",
        "model.uri",
        "serving.mode",
        "serving.decode.replicas",
        "serving.decode.resources.gpu",
    ):
        assert option in told
    assert all(each["expressed"] for each in made.rows)
    assert all(each["fields"] or each["flags"] or each["note"] for each in made.rows)


def test_scheduler_profiles() -> None:
    def plugins(profile: str) -> dict[str, list[str]]:
        config = config_of(profile)
        declared = [each["type"] for each in config["plugins"]]
        used = {
            each["name"]: [plugin["pluginRef"] for plugin in each["plugins"]] for each in config["schedulingProfiles"]
        }
        assert {plugin for names in used.values() for plugin in names} <= set(declared)
        return used

    assert plugins("load") == {"default": ["queue-scorer", "kv-cache-utilization-scorer", "max-score-picker"]}
    assert "prefix-cache-scorer" in plugins("prefix_cache")["default"]
    both = plugins("disaggregated")
    assert both["prefill"][0] == "prefill-filter"
    assert both["decode"][0] == "decode-filter"


def test_the_mode_decides_the_profile() -> None:
    def handler(options: dict[str, Any]) -> set[str]:
        return {each["type"] for each in spec(options)["router"]["scheduler"]["config"]["inline"]["plugins"]}

    assert "disagg-profile-handler" in handler(GUIDE)
    assert "single-profile-handler" in handler(SMALL)
    assert "config" not in spec(changed(SMALL, "serving.scheduler.profile", "preset"))["router"]["scheduler"]


def test_without_picker_the_route_goes_to_the_pods() -> None:
    assert "scheduler" not in spec(changed(SMALL, "serving.scheduler.enabled", False))["router"]


# Hashes


def hashes(options: dict[str, Any]) -> tuple[str, ...]:
    found = spec(options)
    parts = (found, found.get("prefill") or {}, found["router"].get("scheduler") or {})
    return tuple(part.get("annotations", {}).get(SPEC_HASH, "") for part in parts)


def test_a_hash_changes_with_its_own_pods_only() -> None:
    decode, prefill, picker = hashes(GUIDE)
    assert hashes(changed(GUIDE, "serving.decode.replicas", 8)) == (decode, prefill, picker)
    after = hashes(changed(GUIDE, "serving.prefill.batch_size", 16))
    assert (after[0], after[2]) == (decode, picker)
    assert after[1] != prefill
    assert hashes(changed(GUIDE, "model.uri", "s3://llm-models/other"))[:2] != (decode, prefill)


# What cannot be expressed


def test_one_group_has_no_prefill() -> None:
    made = translate(changed(GUIDE, "serving.mode", "aggregated"))
    assert made.lost == ["serving.prefill: serving.mode is aggregated, so that no pods do prefill alone."]
    assert not row(made, "serving.prefill")["expressed"]


def test_old_api_version_has_no_tiers() -> None:
    options = changed(SMALL, "cache.tiers", [{"type": "memory", "size": "20Gi"}])
    made = translate(options, api_version=OLD_API_VERSION)
    assert made.manifest["apiVersion"] == OLD_API_VERSION
    assert "kvCacheOffloading" not in made.manifest["spec"]
    assert "which has no kvCacheOffloading" in made.lost[0]
    assert translate(options).manifest["apiVersion"] == API_VERSION


def test_gateway_sizes_without_picker_are_lost() -> None:
    options = changed(changed(SMALL, "serving.gateway.replicas", 3), "serving.scheduler.enabled", False)
    assert "nothing it could mean" in translate(options).lost[0]


def test_the_literal_kind_takes_the_vocabulary_as_it_is() -> None:
    made = literal(GUIDE)
    assert made.manifest["apiVersion"] == "llm-d.io/v1alpha1"
    assert made.manifest["spec"]["serving"]["prefill"]["batchSize"] == 32
    assert made.manifest["spec"]["cache"] == GUIDE["cache"]
    assert made.lost == ["model.uri: LLMDeployment has no field for it."]


# Bad input


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("serving.prefill", None, "serving.prefill is missing"),
        ("serving.decode", None, "serving.decode is missing"),
        ("model.uri", None, "model.uri is missing"),
        ("model.uri", "ftp://x", "is none of hf://, s3://, pvc://, oci://"),
        ("model.runtime", "sglang", "KServe's presets start vLLM"),
        ("serving.decode.parallelism", {"tensor": 3}, "no multiple of tensor parallelism 3"),
        ("serving.decode.resources.gpu", 3, "the larger must be a multiple of the smaller"),
        ("serving.decode.resources.memory", "lots", "serving.decode.resources.memory 'lots' is no quantity"),
        ("serving.gateway.resources.memory", "8 GB", "serving.gateway.resources.memory '8 GB' is no quantity"),
        ("cache.tiers", [{"type": "memory", "size": "big"}], "cache.tiers: size of memory 'big' is no quantity"),
        ("cache.tiers", [{"type": "memory"}], "memory needs a size"),
        ("cache.tiers", [{"type": "disk", "size": "2Ti"}], "disk without memory"),
        ("cache.tiers", [{"type": "memory", "size": "1Gi"}, {"type": "memory", "size": "2Gi"}], "memory twice"),
        (
            "cache.tiers",
            [{"type": "memory", "size": "500Gi"}],
            "does not fit into serving.prefill.resources.memory 200Gi",
        ),
        ("kv_connector", "FastConnector", "kv_connector FastConnector is unknown"),
        ("image", "docker.io/vllm/vllm-openai:v0.21.0", "need vLLM 0.27 or later in disaggregated mode"),
        ("serving.decode.replicas", 0, "no pod would answer"),
        ("serving.gateway.replicas", 0, "give at least 1"),
        ("serving.decode.autoscaling", {"max_replicas": 3}, "has replicas and autoscaling"),
        ("serving.decode.parallelism", {"pipeline": 2, "data": 2, "data_local": 1}, "has pipeline and data"),
        ("serving.decode.parallelism", {"data": 2}, "data and data_local go together"),
        ("serving.decode.parallelism", {"pipeline": 2}, "no preset for pipeline parallelism"),
        ("serving.scheduler", {"enabled": False}, "sends prompts to prefill"),
        ("serving.scheduler", {"profile": "load"}, "profile load is not for mode disaggregated"),
        ("model.lora", {"adapters": [{"name": "a", "uri": "s3://a"}] * 2}, "the name a is taken"),
        ("monitoring.prometheus.endpoint", "prometheus:9090", "is no URL"),
        ("args", ["--tensor-parallel-size=2"], "--tensor-parallel-size, which is set by resources.gpu"),
        ("args", ["--kv_transfer_config={}"], "--kv-transfer-config, which is set by cache and kv_connector"),
        ("env", [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--x"}], "give the flags as args"),
        ("name", "Big_LLM", "is no name of a Service"),
        ("definition", {"spec": {"replicas": 9}}, "Give it in one place"),
    ],
)
def test_a_sentence_for(path: str, value: Any, sentence: str) -> None:
    found = translate(changed(GUIDE, path, value)).problems
    assert any(sentence in problem for problem in found), found


def test_the_guides_own_sizes_do_not_fit() -> None:
    tiers = [{"type": "gpu", "size": "80Gi"}, {"type": "memory", "size": "500Gi"}, {"type": "disk", "size": "2Ti"}]
    found = translate(changed(GUIDE, "cache.tiers", tiers)).problems
    assert len(found) == 2, "500Gi in pods of 200Gi and 100Gi"


def test_more_tensor_parallelism_in_prefill_is_a_warning() -> None:
    assert "llm-d advises against it" in translate(GUIDE).warnings[0]
    assert not translate(changed(GUIDE, "serving.decode.resources.gpu", 4)).warnings


# Against the cluster


def node(**allocatable: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "n"},
        "status": {"allocatable": {key.replace("_", "-"): v for key, v in allocatable.items()}},
    }


def gpu_node(memory: str = "512Gi", disk: str = "4Ti", gpus: str = "8", gpu_memory_mib: int = 81920) -> dict[str, Any]:
    found = node(memory=memory, ephemeral_storage=disk)
    found["status"]["allocatable"]["nvidia.com/gpu"] = gpus
    found["metadata"]["labels"] = {"nvidia.com/gpu.memory": str(gpu_memory_mib)}
    return found


def test_what_fits_on_a_node_is_no_problem() -> None:
    assert problems(translate(GUIDE).manifest, [gpu_node()]) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            gpu_node(memory="150Gi"),
            "serving.prefill.resources: memory 200Gi is more than any node has (the largest: 150Gi)",
        ),
        (gpu_node(gpus="2"), "serving.prefill.resources: nvidia.com/gpu 4 is more than any node has"),
        (gpu_node(disk="1Ti"), "cache.tiers: disk"),
        (gpu_node(gpu_memory_mib=24576), "cache.tiers: gpu asks serving.decode for 40Gi on each GPU"),
    ],
)
def test_what_no_node_has_is_known_before(given: dict[str, Any], sentence: str) -> None:
    found = problems(translate(GUIDE).manifest, [given, node(memory="1Ti")])
    assert any(sentence in problem for problem in found), found


def test_nodes_that_are_yet_to_come_are_not_judged() -> None:
    assert problems(translate(GUIDE).manifest, [node(memory="16Gi")]) == []


def test_two_deployments_do_not_share_a_route() -> None:
    manifest = translate(GUIDE).manifest
    other = {"metadata": {"name": "other"}, "spec": {"model": {"name": "meta-llama/Llama-2-70b-hf"}}}
    assert "by the same route" in route_conflicts(manifest, [other])[0]
    assert route_conflicts(manifest, [manifest]) == []
    other["spec"]["model"]["name"] = "another"
    assert route_conflicts(manifest, [other]) == []

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role and playbook promises, and what the templates make of the shipped inventories."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.llmstack.serving.plugins.module_utils import _llmdeployment_options, _preflight_cluster
from ansible_collections.llmstack.serving.plugins.module_utils._preflight_cluster import Right
from ansible_collections.llmstack.serving.plugins.modules import s3_model_upload
from tools import checkout
from tools.network_policy import Peer, allowed
from tools.playbook import ansible_playbook

ROOT = checkout.ROOT
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
# They put nothing on a cluster, so there is nothing to be present or absent.
WITHOUT_STATE = {"operations", "preflight", "validation", "versions"}
SITE = ["preflight.yml", "install.yml", "deploy.yml", "validate.yml"]
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml") if path.name != "site.yml")
INVENTORIES = ["local", "dev", "staging", "production"]


class Loader(yaml.SafeLoader):
    """Knows Ansible's tags."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader) if path.exists() else None


def specification(role: str) -> dict[str, Any]:
    """The entry points of a role."""
    points: dict[str, Any] = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return points


def defaults(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "defaults" / "main.yml") or {}


def text_of(role: str) -> str:
    """All of a role that says what it does."""
    files = [path for path in (ROOT / "roles" / role).rglob("*") if path.is_file() and path.name != "README.md"]
    return "\n".join(path.read_text() for path in sorted(files) if path.parent.name != "meta")


def tasks(role: str, entry_point: str) -> list[dict[str, Any]]:
    """The tasks of an entry point, imported files and blocks included."""

    def flat(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        result = []
        for task in found:
            for part in ("block", "rescue"):
                result += flat(task.get(part, []))
            if "ansible.builtin.import_tasks" in task:
                result += flat(load(folder / task["ansible.builtin.import_tasks"]))
            result.append(task)
        return result

    folder = ROOT / "roles" / role / "tasks"
    return flat(load(folder / f"{entry_point}.yml") or [])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_keeps_the_contract(role: str) -> None:
    points = specification(role)
    main = points["main"]["options"]
    required = {name for name, option in main.items() if option.get("required")}
    assert set(defaults(role)) == set(main) - required, "every input has a default and a description, nothing else does"
    for point in points.values():
        assert {"short_description", "description", "author"} <= set(point)
        assert set(point["options"]) <= set(main)
        for name, option in point["options"].items():
            assert name.startswith(f"{role}_"), name
            assert option["description"], name
            assert option["type"], name
            if name in required:
                continue
            default = defaults(role)[name]
            assert "default" in option, name
            if "{{" not in str(default):
                assert option["default"] == default, name
    for name in load(ROOT / "roles" / role / "vars" / "main.yml") or {}:
        assert name.startswith((f"__{role}_", "versions_")), f"{name} in vars is no input: __{role}_..."
    if role not in WITHOUT_STATE:
        assert main[f"{role}_state"]["choices"] == ["present", "absent"]
        assert defaults(role)[f"{role}_state"] == "present"
    readme = (ROOT / "roles" / role / "README.md").read_text()
    assert readme.startswith(f"# {role}\n")
    meta = load(ROOT / "roles" / role / "meta" / "main.yml")
    assert meta["galaxy_info"]["role_name"] == role
    uses_table = "versions_table" in text_of(role) or "versions_control_node" in text_of(role)
    # helm_release passes on what its caller took from the table.
    wanted = role == "helm_release" or (uses_table and role != "versions")
    assert (meta["dependencies"] == [{"role": "llmstack.serving.versions"}]) == wanted


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"versions"}))
def test_versions_charts_and_images_come_from_the_one_table(role: str) -> None:
    pinned = re.compile(
        r"oci://\w|\b(?:docker|ghcr|quay|gcr)\.io\b|(?<!\.)\bv?\d+\.\d+\.\d+\b(?!\.\d)|github\.com/\S+/releases"
    )
    assert not pinned.findall(text_of(role))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_applies_its_objects_in_one_call(role: str) -> None:
    for entry_point in specification(role):
        applied = [task for task in tasks(role, entry_point) if "llmstack.serving.apply" in task]
        # What is forced into check mode asks and applies nothing.
        assert len([task for task in applied if not task.get("check_mode")]) <= 1


@pytest.mark.parametrize("role", ROLES)
def test_no_failure_is_swallowed_without_a_reason(role: str) -> None:
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        text = path.read_text()
        assert "ignore_errors" not in text
        for found in re.finditer(r"\n(.*)\n\s+failed_when: false", text):
            assert found[1].strip().startswith("#"), f"{path}: the line before failed_when says why"


def plays(playbook: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load(ROOT / "playbooks" / playbook)
    return found


def test_the_site_is_its_four_parts_in_order() -> None:
    assert [play["ansible.builtin.import_playbook"] for play in plays("site.yml")] == SITE


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_is_a_table_of_contents(playbook: str) -> None:
    [play] = plays(playbook)
    assert play["hosts"] == "clusters"
    assert play["gather_facts"] is False
    for task in play["tasks"]:
        assert set(task) <= {"name", "ansible.builtin.import_role", "tags", "vars"}
        role = task["ansible.builtin.import_role"]["name"].removeprefix("llmstack.serving.")
        # A single tag must not lead around a confirmation or a question.
        assert task["tags"] in ([role], [role, "always"])


@pytest.mark.parametrize("playbook", sorted(set(PLAYBOOKS) - {"preflight.yml"}))
def test_a_playbook_looks_for_misspelt_variables_before_all_else(playbook: str) -> None:
    first = plays(playbook)[0]["tasks"][0]
    assert first["ansible.builtin.import_role"] == {"name": "llmstack.serving.preflight", "tasks_from": "variables"}
    assert first["tags"] == ["preflight", "always"]


# No cluster answers there, so what goes on ends with another sentence.
NOWHERE = ("-i", "inventories/dev")


@pytest.mark.parametrize(
    "arguments", [["install.yml"], ["deploy.yml"], ["validate.yml"], ["site.yml", "--tags", "kserve"]], ids=" ".join
)
def test_a_misspelt_variable_stops_a_playbook_at_its_first_task(arguments: list[str], tmp_path: Path) -> None:
    playbook, *tags = arguments
    variables = json.dumps({"kserve_domian": "x", "llmstack_model": []})
    done = ansible_playbook(*NOWHERE, f"playbooks/{playbook}", *tags, "-e", variables, HOME=str(tmp_path))
    assert done.returncode != 0
    for wrong, right in (("kserve_domian", "kserve_domain"), ("llmstack_model", "llmstack_models")):
        assert f"The variable {wrong} does not exist: did you mean {right}? Nothing was changed." in done.stdout
    assert re.findall(r"^TASK \[.* : (.*)\]", done.stdout, re.M)[-1] == "Name the variables that no role reads"


def test_a_site_looks_for_misspelt_variables_once(tmp_path: Path) -> None:
    done = ansible_playbook(*NOWHERE, "playbooks/site.yml", "--tags", "none", HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    looks = done.stdout.split("TASK [llmstack.serving.preflight : Name the variables that no role reads]")[1:]
    assert ["skipping:" in look.partition("TASK [")[0] for look in looks] == [False, True, True]


def test_uninstalling_is_installing_backwards() -> None:
    def steps(*names: str) -> list[tuple[str, str]]:
        found = [task["ansible.builtin.import_role"] for name in names for task in plays(name)[0]["tasks"]]
        named = [(step["name"].removeprefix("llmstack.serving."), step.get("tasks_from", "main")) for step in found]
        # CRDs stay, and looking at GPUs leaves nothing.
        looks = {("gateway", "crds"), ("gpu_cluster", "verify")}
        return [step for step in named if step[0] not in WITHOUT_STATE and step not in looks]

    assert steps("uninstall.yml") == steps("install.yml", "deploy.yml")[::-1]


# Components that are installed by a role of another name.
INSTALLED_BY = {
    "gateway_api": "gateway",
    "gateway_api_inference_extension": "llmd",
    "knative_gateway_api": "knative",
    "kube_prometheus_stack": "monitoring",
    "llm_d": "llmd",
    "vllm": "vllm_runtime",
}


def test_what_a_component_needs_is_installed_before_it() -> None:
    table = load(ROOT / "roles" / "versions" / "vars" / "main.yml")["versions_table"]
    steps = [task for name in ("install.yml", "deploy.yml") for task in plays(name)[0]["tasks"]]
    order = [task["ansible.builtin.import_role"]["name"].removeprefix("llmstack.serving.") for task in steps]
    needs = [(name, needed) for name, component in table.items() for needed in component.get("needs", [])]
    assert len(needs) >= 8
    for name, needed in needs:
        assert needed in table
        role, earlier = INSTALLED_BY.get(name, name), INSTALLED_BY.get(needed, needed)
        assert role == earlier or order.index(earlier) < order.index(role), f"{name} needs {needed}"


def test_all_plays_take_their_credentials_alike() -> None:
    """Ansible has no place for module_defaults that several playbooks share."""
    converge = load(ROOT / "extensions" / "molecule" / "converge.yml")
    given = [play["module_defaults"] for play in [*converge, *(plays(name)[0] for name in PLAYBOOKS)]]
    groups = ["group/llmstack.serving.llmstack", "group/kubernetes.core.k8s", "group/kubernetes.core.helm"]
    expected = {
        "kubeconfig": "{{ llmstack_kubeconfig | default(omit) }}",
        "context": "{{ llmstack_context | default(omit) }}",
    }
    assert all(defaults == dict.fromkeys(groups, expected) for defaults in given)


def test_preflight_knows_every_role_and_collection_wide_variable() -> None:
    variables = load(ROOT / "roles" / "preflight" / "vars" / "main.yml")
    assert variables["__preflight_roles"] == ROLES
    texts = [text_of(role) for role in ROLES] + [(ROOT / "playbooks" / name).read_text() for name in PLAYBOOKS]
    read = set(re.findall(r"\bllmstack_\w+", "\n".join(texts)))
    assert variables["__preflight_collection_variables"] == sorted(read)
    documented = set(re.findall(r"`(llmstack_\w+)`", (ROOT / "docs" / "getting-started.md").read_text()))
    assert documented == read


def test_preflight_asks_for_the_python_packages_that_are_declared() -> None:
    declared = dict(
        match.groups()
        for line in (ROOT / "requirements" / "runtime.in").read_text().splitlines()
        if (match := re.match(r"(\w+)>=([\d.]+)", line))
    )
    table = load(ROOT / "roles" / "versions" / "vars" / "main.yml")
    assert declared == table["versions_control_node"]["python_packages"]


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_an_inventory_sets_only_variables_that_a_role_reads(inventory: str) -> None:
    known = {name for role in ROLES for name in specification(role)["main"]["options"]}
    known |= set(load(ROOT / "roles" / "preflight" / "vars" / "main.yml")["__preflight_collection_variables"])
    known |= {"ansible_connection", "ansible_pipelining", "ansible_python_interpreter"} | (
        {"sandbox"} if inventory == "local" else set()
    )
    folder = ROOT / "inventories" / inventory
    for path in [*folder.glob("group_vars/*.yml"), *folder.glob("host_vars/*.yml")]:
        assert set(load(path)) <= known, path


# --- What Ansible makes of it. A scratch role has the defaults and vars of all roles, with their precedence, and writes
# what an expression evaluates to.

ENDPOINTS = {
    "real_node": False,
    "kubeconfig": "/sandbox/kubeconfig",
    "context": "sandbox",
    "registry": "10.99.0.1:5000",
    "manifests": "/sandbox/manifests",
    "s3": {
        "endpoint_url": "http://10.99.0.1:7070",
        "region": "us-east-1",
        "access_key_id": "sandbox",
        "secret_access_key": "secret-of-the-sandbox",
    },
    "helm": "/sandbox/helm",
    "model": "/sandbox/tiny-llama",
    "report_dir": "/sandbox/reports",
}
RESULT = "RESULT:"


def evaluate(
    folder: Path, inventory: Path, expression: str, aws: dict[str, str] | None = None, **variables: Any
) -> dict[str, Any]:
    """What an expression is worth for each host of an inventory, with these AWS_* variables in the environment."""
    role = folder / "roles" / "scratch"
    for part in ("defaults", "vars", "tasks", "templates"):
        (role / part).mkdir(parents=True)
    for part in ("defaults", "vars"):
        files = [path for name in ROLES if (path := ROOT / "roles" / name / part / "main.yml").exists()]
        texts = [path.read_text().removeprefix("---\n") for path in files]
        (role / part / "main.yml").write_text("---\n" + "\n".join(texts))
    for name in ROLES:
        # The preflight looks for the other roles beside itself.
        (folder / "roles" / name).symlink_to(ROOT / "roles" / name)
        for template in (ROOT / "roles" / name / "templates").glob("*"):
            if "probe" not in template.name:
                (role / "templates" / template.name).write_text(template.read_text())
    line = f"'{RESULT}' ~ ({{inventory_hostname: {expression}}} | to_json) ~ '{RESULT}'"
    task = {"name": "Evaluate", "ansible.builtin.debug": {"msg": "{{ " + line + " }}"}}
    (role / "tasks" / "main.yml").write_text(yaml.safe_dump([task]))
    play = {"name": "Evaluate", "hosts": "clusters", "gather_facts": False, "roles": ["scratch"]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    (folder / "variables.json").write_text(json.dumps(variables))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"), "NO_COLOR": "1"}
    environment |= {"ANSIBLE_HOME": str(folder / "home"), **(aws or {})}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(folder / "play.yml")]
    command += ["-e", f"@{folder / 'variables.json'}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(rf'"msg": ("{RESULT}.*{RESULT}")', done.stdout)
    result: dict[str, Any] = {}
    for one in found:
        result |= json.loads(json.loads(one).removeprefix(RESULT).removesuffix(RESULT))
    return result


def evaluate_cases(
    folder: Path, cases: dict[str, dict[str, Any]], expression: str, aws: dict[str, str] | None = None
) -> dict[str, Any]:
    """What an expression is worth with the variables of each case: a case is a host, so that Ansible starts once."""
    hosts = {name: {"ansible_connection": "local", **variables} for name, variables in cases.items()}
    (folder / "hosts.json").write_text(json.dumps({"clusters": {"hosts": hosts}}))
    return evaluate(folder, folder / "hosts.json", expression, aws)


def documents(template: str) -> str:
    return f"(lookup('ansible.builtin.template', '{template}') | from_yaml_all | select | list)"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The objects of every role, by cluster, for all shipped inventories."""
    expression = "{" + ", ".join(
        f"'{name}': {documents(f'{name}.yml.j2')}" for name in ("gateway", "reader", "runtime", "inference-services")
    )
    expression += ", 'istiod': __istio_istiod_values | combine(istio_istiod_values, recursive=true)"
    expression += ", 'kserve': __kserve_values | combine(kserve_values, recursive=true)"
    expression += ", 'monitoring': __monitoring_values | combine(monitoring_values, recursive=true)"
    expression += ", 'cert_manager': __cert_manager_values | combine(cert_manager_values, recursive=true)}"
    objects: dict[str, dict[str, Any]] = {}
    for inventory in INVENTORIES:
        folder = tmp_path_factory.mktemp(inventory)
        variables = {"sandbox": ENDPOINTS} if inventory == "local" else {}
        objects |= evaluate(folder, ROOT / "inventories" / inventory, expression, **variables)
    return objects


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


CLUSTERS = ["sandbox", "dev", "staging", "eu-west", "us-east"]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_template_makes_whole_objects(made: dict[str, Any], cluster: str) -> None:
    objects = [item for name in ("gateway", "reader", "runtime", "inference-services") for item in made[cluster][name]]
    assert {item["kind"] for item in objects} >= {"Gateway", "Namespace", "ServiceAccount", "InferenceService"}
    for item in objects:
        assert {"apiVersion", "kind", "metadata"} <= set(item)
        assert item["metadata"]["name"]
    assert all("{{" not in json.dumps(item) for item in objects if item["kind"] != "ClusterServingRuntime")


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_kserve_attaches_its_routes_to_the_gateway_that_is_made(made: dict[str, Any], cluster: str) -> None:
    [gateway] = [item for item in made[cluster]["gateway"] if item["kind"] == "Gateway"]
    ingress = made[cluster]["kserve"]["kserve"]["controller"]["gateway"]["ingressGateway"]
    assert ingress["kserveGateway"] == f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
    assert ingress["enableGatewayApi"] is True
    listener = gateway["spec"]["listeners"][0]
    assert (listener["port"], listener["protocol"]) == (80, "HTTP")
    assert listener["allowedRoutes"] == {"namespaces": {"from": "All"}}


def test_a_tls_listener_comes_with_its_certificate(made: dict[str, Any]) -> None:
    certificate = next(item for item in made["eu-west"]["gateway"] if item["kind"] == "Certificate")
    gateway = next(item for item in made["eu-west"]["gateway"] if item["kind"] == "Gateway")
    listener = gateway["spec"]["listeners"][1]
    assert listener["tls"]["certificateRefs"][0]["name"] == certificate["spec"]["secretName"]
    assert certificate["spec"]["dnsNames"] == ["*.eu-west.models.example.com"]
    assert [item["kind"] for item in made["sandbox"]["gateway"]] == ["Namespace", "Gateway"]


def test_the_secret_says_where_the_bucket_is_as_kserve_reads_it(made: dict[str, Any]) -> None:
    secret = next(item for item in made["sandbox"]["reader"] if item["kind"] == "Secret")
    account = next(item for item in made["sandbox"]["reader"] if item["kind"] == "ServiceAccount")
    assert secret["metadata"]["annotations"] == {
        "serving.kserve.io/s3-endpoint": "10.99.0.1:7070",
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": "us-east-1",
        "serving.kserve.io/s3-verifyssl": "1",
    }
    assert set(secret["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert account["secrets"] == [{"name": secret["metadata"]["name"]}]


def test_without_keys_the_service_account_has_the_cloud_s_annotations(made: dict[str, Any]) -> None:
    assert [item["kind"] for item in made["staging"]["reader"]] == ["Namespace", "ServiceAccount"]
    account = made["staging"]["reader"][1]
    assert "secrets" not in account
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith("model-reader-staging")


# The ways to get at a model, of which no shipped inventory shows more than two
WAYS: dict[str, dict[str, Any]] = {
    "keys": {
        "model_storage_access_key": "key",
        "model_storage_secret_key": "secret",
        "model_storage_endpoint_url": "https://minio.example.com:9000",
        "model_storage_config_key": "models",
    },
    "role": {
        "model_storage_access_key": "",
        "model_storage_region": "eu-west-1",
        "model_storage_service_account_annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"},
    },
    "external": {
        "model_storage_access_key": "",
        "model_storage_external_secret": {
            "store": "vault",
            "access_key": {"key": "models/s3", "property": "access_key"},
            "secret_key": {"key": "models/s3", "property": "secret_key"},
        },
    },
    "hub": {
        "model_storage_access_key": "",
        "model_storage_huggingface_token": "token",
        "model_storage_volume_claim": {"name": "models", "size": "500Gi"},
        "model_storage_revisions": {"llama": {"uri": "s3://models/llama/", "sha256": "ab"}},
    },
    "guest": {
        "model_storage_access_key": "",
        "model_storage_manage_namespace": False,
        "model_storage_volume_claim": {"name": "models", "size": "500Gi"},
    },
    "upload": {
        "model_storage_access_key": "key",
        "model_storage_secret_key": "secret",
        "model_storage_session_token": "token",
        "model_storage_config_key": "models",
        "model_storage_service_account_annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"},
    },
    "names": {
        "model_storage_access_key": "key",
        "model_storage_secret_key": "secret",
        "model_storage_config_key": "on",
        "model_storage_revisions": {name: {"sha256": name} for name in ("3.1", "on", "org/model", "a b:c")},
    },
    "gone": {
        "model_storage_access_key": "",
        "model_storage_state": "absent",
        "model_storage_ca_bundle": "/nowhere/ca.pem",
        "model_storage_volume_claim": {"name": "models", "size": "500Gi"},
    },
    "external gone": {
        "model_storage_access_key": "",
        "model_storage_state": "absent",
        "model_storage_external_secret": {"store": "vault"},
    },
}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The objects of each case, by kind and name."""
    folder: Path = tmp_path_factory.mktemp("model_storage")
    (folder / "vault").write_text("from-a-vault")
    vault = f"{{{{ lookup('ansible.builtin.file', '{folder / 'vault'}') }}}}"
    looked_up = {"model_storage_access_key": vault, "model_storage_secret_key": vault}
    found = evaluate_cases(folder, {**WAYS, "vault": looked_up}, documents("reader.yml.j2"))
    return {
        name: {f"{item['kind']}/{item['metadata']['name']}": item for item in items} for name, items in found.items()
    }


def test_an_entry_of_storage_config_is_what_kserve_parses(ways: dict[str, Any]) -> None:
    data = ways["keys"]["Secret/storage-config"]["data"]
    entry = json.loads(base64.b64decode(data["models"]))
    assert entry == {
        "type": "s3",
        "bucket": "llm-models",
        "region": "us-east-1",
        "endpoint_url": "https://minio.example.com:9000",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "verify_ssl": "1",
    }


def test_an_iam_role_needs_no_secret_and_the_account_says_where_the_bucket_is(ways: dict[str, Any]) -> None:
    assert set(ways["role"]) == {"Namespace/model-serving", "ServiceAccount/model-reader"}
    account = ways["role"]["ServiceAccount/model-reader"]
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models",
        "serving.kserve.io/s3-region": "eu-west-1",
        "serving.kserve.io/s3-verifyssl": "1",
    }
    assert "secrets" not in account


def test_an_external_store_is_referred_to_and_no_key_passes_here(ways: dict[str, Any]) -> None:
    assert not [name for name in ways["external"] if name.startswith("Secret/")]
    spec = ways["external"]["ExternalSecret/model-storage"]["spec"]
    assert spec["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
    assert {entry["secretKey"]: entry["remoteRef"]["property"] for entry in spec["data"]} == {
        "AWS_ACCESS_KEY_ID": "access_key",
        "AWS_SECRET_ACCESS_KEY": "secret_key",
    }
    # KServe reads its settings from the annotations of the Secret that the operator makes.
    assert spec["target"]["template"]["metadata"]["annotations"]["serving.kserve.io/s3-region"] == "us-east-1"
    assert ways["external"]["ServiceAccount/model-reader"]["secrets"] == [{"name": "model-storage"}]


def test_models_of_a_volume_and_of_the_hub_need_no_bucket(ways: dict[str, Any]) -> None:
    claim = ways["hub"]["PersistentVolumeClaim/models"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "500Gi"
    token = ways["hub"]["Secret/model-storage-huggingface"]["data"]["HF_TOKEN"]
    assert base64.b64decode(token) == b"token"
    assert ways["hub"]["ServiceAccount/model-reader"]["secrets"] == [{"name": "model-storage-huggingface"}]


def test_a_namespace_of_somebody_else_gets_the_claim_too(ways: dict[str, Any]) -> None:
    assert set(ways["guest"]) == {"PersistentVolumeClaim/models", "ServiceAccount/model-reader"}


def test_the_revisions_travel_to_the_cluster(ways: dict[str, Any]) -> None:
    data = ways["hub"]["ConfigMap/model-storage-revisions"]["data"]
    assert json.loads(data["llama"]) == {"sha256": "ab", "uri": "s3://models/llama/"}


def test_a_revision_s_key_is_text_of_characters_that_kubernetes_allows(ways: dict[str, Any]) -> None:
    data = ways["names"]["ConfigMap/model-storage-revisions"]["data"]
    assert {key: json.loads(value)["sha256"] for key, value in data.items()} == {
        "3.1": "3.1",
        "on": "on",
        "org_model": "org/model",
        "a_b_c": "a b:c",
    }
    assert set(ways["names"]["Secret/storage-config"]["data"]) == {"on"}


def test_the_exact_content_of_a_model_travels_to_its_inference_service(tmp_path: Path) -> None:
    digest = "{{ model_storage_revisions['llama'].sha256 }}"
    service = {
        "name": "llama",
        "storage_uri": "s3://models/llama/",
        "gpus": 1,
        "annotations": {"llmstack.serving/model-sha256": digest},
    }
    case = {
        "llmstack_inference_services": [service],
        "model_storage_revisions": WAYS["hub"]["model_storage_revisions"],
    }
    objects = evaluate_cases(tmp_path, {"one": case}, documents("inference-services.yml.j2"))["one"]
    [made] = of_kind(objects, "InferenceService")
    assert made["metadata"]["annotations"]["llmstack.serving/model-sha256"] == "ab"


def test_keys_that_a_lookup_finds_are_written_into_the_secret(ways: dict[str, Any]) -> None:
    data = ways["vault"]["Secret/model-storage"]["data"]
    assert {base64.b64decode(value) for value in data.values()} == {b"from-a-vault"}


def test_with_an_iam_role_keys_serve_the_upload_and_not_the_pods(ways: dict[str, Any]) -> None:
    assert set(ways["upload"]) == {"Namespace/model-serving", "ServiceAccount/model-reader"}
    assert "secrets" not in ways["upload"]["ServiceAccount/model-reader"]


def test_absent_names_what_was_made_but_neither_namespace_nor_volume(ways: dict[str, Any]) -> None:
    """Without keys and the file of the authority, which another shell may have had."""
    assert list(ways["gone"]) == [
        "ConfigMap/model-storage",
        "Secret/model-storage",
        "Secret/storage-config",
        "Secret/model-storage-huggingface",
        "ConfigMap/model-storage-revisions",
        "ServiceAccount/model-reader",
    ]
    assert all(set(item) == {"apiVersion", "kind", "metadata"} for item in ways["gone"].values())


def test_absent_leaves_the_operator_s_secret_to_the_external_secret_that_owns_it(ways: dict[str, Any]) -> None:
    assert ways["external gone"]["ExternalSecret/model-storage"]["apiVersion"] == "external-secrets.io/v1"
    assert "Secret/model-storage" not in ways["external gone"]


KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
CREDENTIALS = ("access_key", "secret_key", "session_token", "profile")


def test_credentials_of_one_place_stay_together_for_the_upload_and_the_preflight(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "environment": {},
        "inventory": {"model_storage_access_key": "of-the-inventory", "model_storage_secret_key": "its-secret"},
        "profile": {"model_storage_profile": "uploads"},
    }
    role = ", ".join(f"'{name}': model_storage_{name}" for name in CREDENTIALS)
    preflight = ", ".join(f"'{name}': __preflight_s3.{name}" for name in CREDENTIALS)
    found = evaluate_cases(tmp_path, cases, f"{{'role': {{{role}}}, 'preflight': {{{preflight}}}}}", KEYS)
    expected = {
        "environment": ["key", "secret", "token", ""],
        "inventory": ["of-the-inventory", "its-secret", "", ""],
        "profile": ["", "", "", "uploads"],
    }
    for case, values in expected.items():
        assert found[case] == {reader: dict(zip(CREDENTIALS, values, strict=True)) for reader in ("role", "preflight")}


def upload_from(tmp_path: Path, *arguments: str, environment: dict[str, str], **variables: Any) -> str:
    """What a run says that is to upload a model to an S3 that nobody serves, and to tell a cluster that is nowhere."""
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    models = [{"name": "tiny", "src": str(tmp_path / "model")}]
    there = {"model_storage_endpoint_url": "http://127.0.0.1:1", "llmstack_kubeconfig": str(tmp_path / "kubeconfig")}
    given = json.dumps({"llmstack_models": models, **there, **variables})
    tags = ("--tags", "model_storage", *arguments)
    done = ansible_playbook(*NOWHERE, "playbooks/deploy.yml", *tags, "-e", given, **environment, HOME=str(tmp_path))
    assert done.returncode != 0
    return done.stdout


def test_temporary_keys_that_pods_would_get_are_refused_before_anything_is_changed(tmp_path: Path) -> None:
    said = upload_from(tmp_path, environment=KEYS)
    assert "KServe cannot give pods the session token" in said
    assert re.findall(r"^TASK \[.* : (.*)\]", said, re.M)[-1] == "Refuse keys that pods cannot use"


def test_the_upload_takes_temporary_keys_that_pods_do_not_get(tmp_path: Path) -> None:
    annotations = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}
    variables = {
        "model_storage_service_account_annotations": annotations,
        "model_storage_verify_ssl": False,
        "model_storage_acl": "private",
        "model_storage_part_size": "8MiB",
    }
    said = upload_from(tmp_path, "-vvv", environment={**KEYS, "AWS_SESSION_TOKEN": "token-of-the-tests"}, **variables)
    assert '"session_token": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"' in said
    assert '"validate_certs": false' in said
    assert '"acl": "private"' in said
    assert '"part_size": "8MiB"' in said
    assert "token-of-the-tests" not in said


def test_keys_that_a_lookup_finds_do_not_show(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text("from-a-vault")
    vault = f"{{{{ lookup('ansible.builtin.file', '{tmp_path / 'vault'}') }}}}"
    keys = {"model_storage_access_key": "key", "model_storage_secret_key": vault}
    said = upload_from(tmp_path, "-vvv", "--diff", environment={}, **keys, llmstack_models=[])
    assert "AWS_SECRET_ACCESS_KEY" in said, "it came as far as the Secret"
    assert "from-a-vault" not in said
    assert base64.b64encode(b"from-a-vault").decode() not in said


def test_clusters_that_share_a_bucket_upload_one_after_the_other() -> None:
    [upload] = [task for task in tasks("model_storage", "main") if "llmstack.serving.s3_model_upload" in task]
    assert upload["throttle"] == 1


def test_the_role_offers_the_module_s_choices_and_defaults() -> None:
    options = specification("model_storage")["main"]["options"]
    for name in ("acl", "checksum", "concurrency", "digest", "part_size", "server_side_encryption"):
        option, of_module = options[f"model_storage_{name}"], s3_model_upload.ARGUMENT_SPEC[name]
        # An empty text is left out.
        assert [choice for choice in option.get("choices", []) if choice] == of_module.get("choices", [])
        assert (option["default"] or None) == of_module.get("default")


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_runtime_needs_no_shell_and_drains(made: dict[str, Any], cluster: str) -> None:
    [runtime] = made[cluster]["runtime"]
    [container] = runtime["spec"]["containers"]
    assert container["command"] == ["vllm", "serve"]
    # Every $(NAME) is a variable that exists: the kubelet leaves others as they are.
    names = {variable["name"] for variable in container["env"]}
    assert set(re.findall(r"\$\((\w+)\)", " ".join(container["args"]))) <= names
    assert {"name": "SERVED_MODEL_NAME", "value": "{{.Name}}"} in container["env"]
    assert container["securityContext"]["runAsNonRoot"] is True
    shutdown = next(int(found[1]) for one in container["args"] if (found := re.match(r"--shutdown-timeout=(\d+)", one)))
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"] + shutdown
    for service in of_kind(made[cluster]["inference-services"], "InferenceService"):
        assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] >= drain + 15


def test_the_arguments_are_options_of_vllm(made: dict[str, Any]) -> None:
    """The sandbox's engine refuses what `vllm serve` does not have; it must know all that the runtime gives."""
    known = set(
        re.findall(r'"([a-z-]+)":\s+(?:true|false)', (ROOT / "tests/sandbox/go/tools/vllm/main.go").read_text())
    )
    given = {
        argument.removeprefix("--").partition("=")[0]
        for argument in made["dev"]["runtime"][0]["spec"]["containers"][0]["args"][1:]
    }
    assert given <= known


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_service_asks_for_its_gpus_and_names_the_runtime(made: dict[str, Any], cluster: str) -> None:
    [runtime] = made[cluster]["runtime"]
    for service in of_kind(made[cluster]["inference-services"], "InferenceService"):
        model = service["spec"]["predictor"]["model"]
        assert model["runtime"] == runtime["metadata"]["name"]
        gpus = model["resources"]["limits"]["nvidia.com/gpu"]
        assert model["resources"]["requests"]["nvidia.com/gpu"] == gpus
        assert {"name": "TENSOR_PARALLEL_SIZE", "value": gpus} in model["env"]
        # KServe compares the names letter by letter.
        assert model["modelFormat"]["name"] == runtime["spec"]["supportedModelFormats"][0]["name"]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_replicas_of_a_service_spread_and_are_drained_one_by_one(made: dict[str, Any], cluster: str) -> None:
    objects = made[cluster]["inference-services"]
    budgets = {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "PodDisruptionBudget")}
    for service in of_kind(objects, "InferenceService"):
        pods = {
            "matchLabels": {
                "serving.kserve.io/inferenceservice": service["metadata"]["name"],
                "component": "predictor",
            }
        }
        assert budgets[service["metadata"]["name"]]["selector"] == pods
        assert budgets[service["metadata"]["name"]]["maxUnavailable"] == 1
        constraints = service["spec"]["predictor"]["topologySpreadConstraints"]
        assert {item["topologyKey"] for item in constraints} >= {"kubernetes.io/hostname"}
        assert all(item["labelSelector"] == pods for item in constraints)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runtimes and services that differ, by the kind of the case."""
    runtimes = [
        {"name": "h100", "tensor_parallel_size": 8, "gpus": 8, "node_selector": {"gpu": "h100"}},
        {"name": "own", "namespace": "team", "trust_remote_code": True, "hf_token_secret": "hf", "shm_size": "1Gi"},
    ]
    services = [
        {"name": "by-runtime", "storage_uri": "pvc://models/a", "runtime": "h100"},
        {
            "name": "by-itself",
            "storage_uri": "pvc://models/b",
            "gpus": 2,
            "trust_remote_code": True,
            "affinity": {"x": 1},
        },
        {"name": "cpu", "storage_uri": "pvc://models/c", "gpus": 0, "topology_spread_constraints": []},
    ]
    cases = {
        "present": {"vllm_runtime_list": runtimes, "inference_service_list": services},
        "absent": {"inference_service_list": services, "inference_service_state": "absent"},
    }
    expression = f"[{documents('runtime.yml.j2')}, {documents('inference-services.yml.j2')}]"
    return evaluate_cases(tmp_path_factory.mktemp("several"), cases, expression)


def test_several_runtimes_differ_in_what_their_entries_say(several: dict[str, Any]) -> None:
    first, second = several["present"][0]
    assert (first["kind"], first["spec"]["nodeSelector"]) == ("ClusterServingRuntime", {"gpu": "h100"})
    container = first["spec"]["containers"][0]
    assert {"name": "TENSOR_PARALLEL_SIZE", "value": "8"} in container["env"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"]
    assert first["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] == "16Gi"
    assert "--trust-remote-code" not in container["args"]
    assert "HF_TOKEN" not in {variable["name"] for variable in container["env"]}
    assert (second["kind"], second["metadata"]["namespace"]) == ("ServingRuntime", "team")
    other = second["spec"]["containers"][0]
    assert "--trust-remote-code" in other["args"]
    assert "nvidia.com/gpu" not in other["resources"]["limits"]
    assert {"name": "HF_HUB_OFFLINE", "value": "0"} in other["env"]
    token = {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}
    assert {"name": "HF_TOKEN", "valueFrom": token} in other["env"]
    assert second["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] == "1Gi"


def test_a_service_leaves_its_gpus_to_the_runtime_that_it_names(several: dict[str, Any]) -> None:
    services = {item["metadata"]["name"]: item for item in of_kind(several["present"][1], "InferenceService")}
    by_runtime, by_itself, cpu = (services[name]["spec"]["predictor"] for name in ("by-runtime", "by-itself", "cpu"))
    assert "env" not in by_runtime["model"]
    assert by_runtime["model"]["resources"] == {"requests": {}, "limits": {}}
    assert by_itself["model"]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert by_itself["model"]["args"] == ["--trust-remote-code"]
    assert by_itself["affinity"] == {"x": 1}
    assert cpu["model"]["resources"]["limits"] == {}
    assert {"name": "TENSOR_PARALLEL_SIZE", "value": "1"} in cpu["model"]["env"]
    assert cpu["topologySpreadConstraints"] == []


def test_the_namespace_of_the_services_is_never_taken_away(several: dict[str, Any]) -> None:
    assert len(of_kind(several["present"][1], "Namespace")) == 1
    kinds = {item["kind"] for item in several["absent"][1]}
    assert kinds == {"InferenceService", "PodDisruptionBudget"}


def test_the_sandbox_s_node_can_hold_all_that_runs(made: dict[str, Any]) -> None:
    """Two CPUs are all that it can promise."""
    values = json.dumps([made["sandbox"][name] for name in ("istiod", "kserve", "cert_manager", "monitoring")])
    requests = [int(found) for found in re.findall(r'"requests": \{"cpu": "(\d+)m"', values)]
    assert len(requests) >= 8
    assert sum(requests) < 1000


# What an inventory says, and what the preflight makes of it.
ASKED: dict[str, dict[str, Any]] = {
    "as-shipped": {},
    "misspelt": {"kserve_domian": "x", "istio_frobnicate": 1, "kserv_domain": "y", "my_kserve_domain": "z"},
    "elsewhere": {"istio_namespace": "mesh", "kserve_state": "absent", "gateway_install_crds": False},
    "mirrored": {
        "llmstack_chart_mirror": "mirror.example.com/team/",
        "gpu_operator_mode": "operator",
        "llmd_install": False,
    },
    "served": {"llmstack_inference_services": [{"name": "chat", "storage_uri": "s3://models/chat"}]},
    "distributed": {
        "llmstack_llm_deployments": [{"name": "moe", "image": "own:v1"}, {"name": "llm", "namespace": "a"}],
    },
    "by-envoy": {"llmstack_gateway_controller": "envoy_gateway"},
    "both": {"envoy_gateway_install": True},
    "operator": {"gpu_operator_mode": "operator"},
    "knative": {"llmstack_deployment_mode": "Knative", "llmd_install_leaderworkerset": True},
}


def prometheus(**spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Available", "status": "True"}]
    return {"metadata": {"name": "it", "namespace": "other"}, "spec": spec, "status": {"conditions": conditions}}


def test_a_prometheus_must_select_monitors_and_rules_by_their_labels_and_namespace(tmp_path: Path) -> None:
    """A selector that is missing selects nothing, an empty one everything."""
    release: dict[str, Any] = {"matchLabels": {"release": "prometheus"}}
    everywhere: dict[str, Any] = {"podMonitorNamespaceSelector": {}, "ruleNamespaceSelector": {}}
    own = prometheus(podMonitorSelector={}, ruleSelector={})
    own["metadata"]["namespace"] = "monitoring"
    cases = {
        "all": ({}, prometheus(podMonitorSelector={}, ruleSelector={}, **everywhere)),
        "label": (release["matchLabels"], prometheus(podMonitorSelector=release, ruleSelector=release, **everywhere)),
        "own": ({}, own),
        "no_rules": ({}, prometheus(podMonitorSelector={}, **everywhere)),
        "other_label": ({"release": "b"}, prometheus(podMonitorSelector=release, ruleSelector={}, **everywhere)),
        "other_namespace": ({}, prometheus(podMonitorSelector={}, ruleSelector={})),
    }
    variables = {
        name: {"monitoring_labels": labels, "__monitoring_prometheuses": {"resources": [item]}}
        for name, (labels, item) in cases.items()
    }
    found = evaluate_cases(tmp_path, variables, "__monitoring_selecting | map(attribute='available') | list")
    selecting = {"all", "label", "own"}
    assert found == {name: [True] if name in selecting else [] for name in cases}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    names = ("unknown", "installs", "crds", "objects", "places", "permissions", "s3", "runtime", "charts", "files")
    names += ("llm_deployments", "images")
    expression = "{" + ", ".join(f"'{name}': __preflight_{name}" for name in names) + "}"
    return evaluate_cases(tmp_path_factory.mktemp("preflight"), ASKED, expression)


# As knative.dev/serving config/core and net-gateway-api have them, without what does not matter here.
KNATIVE = """
apiVersion: v1
kind: Namespace
metadata: {name: knative-serving}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: knative-serving-aggregated-addressable-resolver}
aggregationRule: {clusterRoleSelectors: []}
rules: []
---
apiVersion: networking.internal.knative.dev/v1alpha1
kind: Certificate
metadata: {name: routing-serving-certs, namespace: knative-serving}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.networking.internal.knative.dev}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-domain, namespace: knative-serving}
data: {_example: "template {{.Name}}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-network, namespace: knative-serving}
data: {_example: ""}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-autoscaler, namespace: knative-serving}
data: {_example: ""}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-deployment, namespace: knative-serving}
data: {queue-sidecar-image: "registry.example.com/knative/knative.dev/serving/cmd/queue@sha256:ab"}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: webhook, namespace: knative-serving}
spec: {minReplicas: 1, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: webhook}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: webhook-pdb, namespace: knative-serving}
spec: {minAvailable: 80%}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: webhook, namespace: knative-serving}
spec: {template: {spec: {containers: [{name: webhook, image: "registry.example.com/knative/cmd/webhook@sha256:cd"}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: controller, namespace: knative-serving}
spec: {template: {spec: {containers: [{name: controller, resources: {requests: {cpu: 100m}}}, {name: second}]}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: webhook.serving.knative.dev}
webhooks: [{name: webhook.serving.knative.dev, failurePolicy: Fail, rules: [{apiGroups: [serving.knative.dev]}]}]
"""
NETWORKING = """
apiVersion: v1
kind: ConfigMap
metadata: {name: config-gateway, namespace: knative-serving}
data: {_example: ""}
"""


@pytest.fixture(scope="module")
def knative(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The objects of each case, by kind and name."""
    folder: Path = tmp_path_factory.mktemp("knative")
    registry = load(ROOT / "roles/versions/vars/main.yml")["versions_table"]["knative"]["images"]["registry"]
    (folder / "serving-core.yaml").write_text(KNATIVE.replace("registry.example.com/knative", registry))
    (folder / "networking.yaml").write_text(NETWORKING)
    manifests = {
        "knative_manifest": str(folder / "serving-core.yaml"),
        "knative_networking_manifest": str(folder / "networking.yaml"),
    }
    changed = {
        "knative_image_registry": "mirror.example.com/knative",
        "knative_replicas": 6,
        "knative_config": {"config-autoscaler": {"enable-scale-to-zero": False, "stable-window": "90s"}},
        "knative_resources": {"controller": {"limits": {"memory": "2Gi"}}},
        "knative_patches": {"PodDisruptionBudget/webhook-pdb": {"spec": {"minAvailable": 1}}},
        "llmstack_domain": "models.example.com",
        "gateway_class_name": "gke",
    }
    kourier = {"knative_ingress_class": "kourier.ingress.networking.knative.dev"}
    cases: dict[str, dict[str, Any]] = {
        "as-shipped": {},
        "changed": changed,
        "kourier": kourier,
        "gone": {"knative_state": "absent"},
        "all-gone": {"knative_state": "absent", "knative_remove_crds": True},
    }
    found = evaluate_cases(folder, {name: {**manifests, **case} for name, case in cases.items()}, "__knative_objects")
    return {
        name: {f"{item['kind']}/{item['metadata']['name']}": item for item in items} for name, items in found.items()
    }


def test_knative_s_kinds_are_defined_before_they_are_used(knative: dict[str, Any]) -> None:
    kinds = [name.partition("/")[0] for name in knative["as-shipped"]]
    assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
    assert "Certificate" in kinds[2:]


def test_knative_s_objects_are_left_what_their_controllers_write(knative: dict[str, Any]) -> None:
    """Described by two, a field would be a conflict in the second run."""
    objects = knative["as-shipped"]
    assert "rules" not in objects["ClusterRole/knative-serving-aggregated-addressable-resolver"]
    [webhook] = objects["MutatingWebhookConfiguration/webhook.serving.knative.dev"]["webhooks"]
    assert webhook == {"name": "webhook.serving.knative.dev", "failurePolicy": "Fail"}
    assert "replicas" not in objects["Deployment/webhook"]["spec"], "is scaled by its HorizontalPodAutoscaler"


def test_knative_routes_through_the_gateway_of_the_stack(knative: dict[str, Any], made: dict[str, Any]) -> None:
    objects = knative["as-shipped"]
    [outside] = yaml.safe_load(objects["ConfigMap/config-gateway"]["data"]["external-gateways"])
    gateway = next(item for item in made["dev"]["gateway"] if item["kind"] == "Gateway")
    name = f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
    assert (outside["gateway"], outside["class"]) == (name, gateway["spec"]["gatewayClassName"])
    assert outside["service"] == f"{name}-istio", "as istiod calls it"
    [inside] = yaml.safe_load(objects["ConfigMap/config-gateway"]["data"]["local-gateways"])
    own = objects["Gateway/knative-local-gateway"]
    assert inside["gateway"] == f"{own['metadata']['namespace']}/{own['metadata']['name']}"
    assert own["metadata"]["annotations"] == {"networking.istio.io/service-type": "ClusterIP"}
    network = objects["ConfigMap/config-network"]["data"]
    assert network["ingress-class"] == "gateway-api.ingress.networking.knative.dev"
    assert network["domain-template"] == "{{.Name}}-{{.Namespace}}.{{.Domain}}"


def test_what_upstream_says_of_knative_can_be_changed(knative: dict[str, Any]) -> None:
    objects = knative["changed"]
    queue = objects["ConfigMap/config-deployment"]["data"]["queue-sidecar-image"]
    assert queue == "mirror.example.com/knative/knative.dev/serving/cmd/queue@sha256:ab"
    [webhook] = objects["Deployment/webhook"]["spec"]["template"]["spec"]["containers"]
    assert webhook["image"] == "mirror.example.com/knative/cmd/webhook@sha256:cd"
    assert objects["ConfigMap/config-autoscaler"]["data"] == {
        "_example": "",
        "enable-scale-to-zero": "false",
        "stable-window": "90s",
    }
    assert objects["ConfigMap/config-domain"]["data"] == {"_example": "template {{.Name}}", "models.example.com": ""}
    autoscaler = objects["HorizontalPodAutoscaler/webhook"]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (6, 6)
    controller = objects["Deployment/controller"]["spec"]
    assert controller["replicas"] == 6
    assert controller["template"]["spec"]["containers"] == [
        {"name": "controller", "resources": {"limits": {"memory": "2Gi"}}},
        {"name": "second"},
    ]
    assert objects["PodDisruptionBudget/webhook-pdb"]["spec"]["minAvailable"] == 1
    assert objects["Gateway/knative-local-gateway"]["spec"]["gatewayClassName"] == "gke"


def test_another_networking_layer_gets_no_gateway_of_the_gateway_api(knative: dict[str, Any]) -> None:
    objects = knative["kourier"]
    assert not [name for name in objects if name.startswith("Gateway/")]
    assert objects["ConfigMap/config-network"]["data"]["ingress-class"].startswith("kourier.")


def test_of_knative_the_namespace_stays_and_the_crds_unless_asked_for(knative: dict[str, Any]) -> None:
    kinds = {case: {name.partition("/")[0] for name in knative[case]} for case in ("gone", "all-gone")}
    assert {"Deployment", "Certificate", "Gateway"} <= kinds["gone"]
    assert not {"Namespace", "CustomResourceDefinition"} & kinds["gone"]
    assert kinds["all-gone"] - kinds["gone"] == {"CustomResourceDefinition"}
    assert next(iter(knative["all-gone"])).startswith("CustomResourceDefinition/"), "is removed last"


KNATIVE_MODES: dict[str, dict[str, Any]] = {
    "as-shipped": {},
    "knative": {"llmstack_deployment_mode": "Knative"},
    "beside": {"knative_install": True},
}


@pytest.fixture(scope="module")
def served_by_knative(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runtimes, services and network policies where one variable says Knative, and one entry of each says otherwise."""
    case = {
        "llmstack_deployment_mode": "Knative",
        "vllm_runtime_list": [{"name": "knative"}, {"name": "standard", "deployment_mode": "Standard"}],
        "inference_service_list": [
            {"name": "scaled", "storage_uri": "pvc://models/a", "min_replicas": 0},
            {"name": "standard", "storage_uri": "pvc://models/a", "deployment_mode": "Standard"},
        ],
    }
    templates = ("runtime.yml.j2", "inference-services.yml.j2", "security.yml.j2")
    expression = f"[{', '.join(documents(name) for name in templates)}]"
    folder = tmp_path_factory.mktemp("served-by-knative")
    runtimes, services, security = evaluate_cases(folder, {"knative": case}, expression)["knative"]
    return {"runtimes": runtimes, "services": of_kind(services, "InferenceService"), "security": security}


def test_a_runtime_for_knative_has_no_hook_and_a_port_name_that_it_knows(served_by_knative: dict[str, Any]) -> None:
    [knative], [standard] = (runtime["spec"]["containers"] for runtime in served_by_knative["runtimes"])
    assert ("lifecycle" in knative, knative["ports"][0]["name"]) == (False, "http1")
    assert ("lifecycle" in standard, standard["ports"][0]["name"]) == (True, "http")


def test_a_service_of_knative_says_nothing_that_knative_refuses(served_by_knative: dict[str, Any]) -> None:
    knative, standard = served_by_knative["services"]
    assert knative["metadata"]["annotations"] == {
        "serving.kserve.io/deploymentMode": "Knative",
        # What its proxies need for a stream.
        "features.knative.dev/http-full-duplex": "Enabled",
    }
    assert knative["spec"]["predictor"]["minReplicas"] == 0
    assert "terminationGracePeriodSeconds" not in knative["spec"]["predictor"]
    assert standard["metadata"]["annotations"] == {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "none",
    }
    assert standard["spec"]["predictor"]["terminationGracePeriodSeconds"] > 0


def test_knative_reaches_its_proxies_and_nobody_else_does(served_by_knative: dict[str, Any]) -> None:
    policies = of_kind(served_by_knative["security"], "NetworkPolicy")
    engine = Peer("model-serving", {"serving.kserve.io/inferenceservice": "scaled"})
    activator = Peer("knative-serving", {"app": "activator"})
    for port in (8012, 9090):
        assert allowed(policies, activator, engine, port)
        assert not allowed(policies, Peer("default", {"app": "activator"}), engine, port)
    [deployer] = of_kind(served_by_knative["security"], "Role")
    assert [rule for rule in deployer["rules"] if rule["apiGroups"] == ["serving.knative.dev"]]


def test_one_variable_says_whether_there_is_a_knative_and_who_uses_it(tmp_path: Path) -> None:
    expression = (
        "{'installs': knative_install | bool, 'mode': __kserve_values.kserve.controller.deploymentMode,"
        " 'looks': __preflight_namespaces, 'asks': __preflight_components | list}"
    )
    found = evaluate_cases(tmp_path, KNATIVE_MODES, expression)
    assert {name: (case["installs"], case["mode"]) for name, case in found.items()} == {
        "as-shipped": (False, "Standard"),
        "knative": (True, "Knative"),
        "beside": (True, "Standard"),
    }
    for case in found.values():
        assert ("knative-serving" in case["looks"]) == case["installs"]
        assert ("knative" in case["asks"]) == case["installs"], "its range of Kubernetes versions counts if it is used"
        assert "istio" in case["asks"]


UNAWARE: dict[str, dict[str, Any]] = {
    "older": {"pods": ["2026-01-01T10:00:00Z"], "crds": ["2026-01-01T10:00:01Z"]},
    "newer": {"pods": ["2026-01-01T10:00:02Z"], "crds": ["2026-01-01T10:00:01Z"]},
    "no_kserve": {"pods": [], "crds": ["2026-01-01T10:00:01Z"]},
    "check_mode": {"pods": ["2026-01-01T10:00:00Z"], "crds": []},
}


def test_kserve_is_restarted_if_it_started_before_knative_was_there(tmp_path: Path) -> None:
    def found(times: list[str]) -> dict[str, Any]:
        return {"resources": [{"metadata": {"creationTimestamp": time}} for time in times]}

    cases = {
        name: {"__knative_kserve_pods": found(case["pods"]), "__knative_crd": found(case["crds"])}
        for name, case in UNAWARE.items()
    }
    unaware = evaluate_cases(tmp_path, cases, "__knative_unaware | length > 0")
    assert unaware == {"older": True, "newer": False, "no_kserve": False, "check_mode": False}


PROFILED: dict[str, dict[str, Any]] = {
    "plain": {"__gpu_operator": {"cloud": None}},
    "shared": {
        "__gpu_operator": {"cloud": "gke"},
        "gpu_operator_time_slicing_profiles": {"shared-4": 4},
        "gpu_operator_mig_profiles": {
            "halves": [{"devices": "all", "mig-enabled": True, "mig-devices": {"3g.40gb": 2}}]
        },
        "gpu_operator_nodes": [{"name": "gpu-1", "mig": "halves", "time_slicing": "shared-4"}],
        "gpu_operator_default_profile": "shared-4",
    },
}


def test_profiles_of_gpus_are_data(tmp_path: Path) -> None:
    expression = f"{{'objects': {documents('profiles.yml.j2')}, 'values': __gpu_operator_values}}"
    made = evaluate_cases(tmp_path, PROFILED, expression)
    assert [item["kind"] for item in made["plain"]["objects"]] == ["Namespace"]
    assert made["plain"]["values"]["dcgmExporter"]["enabled"] is True
    assert set(made["plain"]["values"]) == {"mig", "cdi", "dcgmExporter"}
    by_name = {item["metadata"]["name"]: item for item in made["shared"]["objects"]}
    assert by_name["gpu-1"]["metadata"]["labels"] == {
        "nvidia.com/mig.config": "halves",
        "nvidia.com/device-plugin.config": "shared-4",
    }
    slicing = yaml.safe_load(by_name["time-slicing-profiles"]["data"]["shared-4"])
    assert slicing["sharing"]["timeSlicing"]["resources"] == [{"name": "nvidia.com/gpu", "replicas": 4}]
    layouts = yaml.safe_load(by_name["mig-profiles"]["data"]["config.yaml"])["mig-configs"]
    assert layouts["halves"][0]["mig-devices"] == {"3g.40gb": 2}
    assert "all-disabled" in layouts
    assert by_name["gpu-operator-critical-pods"]["kind"] == "ResourceQuota"
    values = made["shared"]["values"]
    assert values["devicePlugin"]["config"] == {"name": "time-slicing-profiles", "default": "shared-4"}
    assert values["migManager"]["config"] == {"name": "mig-profiles", "default": "all-disabled"}


def test_preflight_names_misspelt_variables_with_the_right_one(asked: dict[str, Any]) -> None:
    assert not asked["as-shipped"]["unknown"]
    assert yaml.safe_load(asked["misspelt"]["unknown"]) == [
        {"name": "istio_frobnicate", "nearest": ""},
        {"name": "kserve_domian", "nearest": "kserve_domain"},
        {"name": "kserv_domain", "nearest": "kserve_domain"},
    ]


def test_preflight_looks_where_the_roles_install(asked: dict[str, Any]) -> None:
    own = {"cert_manager", "istio", "kserve"}
    for role in own:
        assert asked["as-shipped"]["places"][role] == defaults(role)[f"{role}_namespace"]
    assert asked["elsewhere"]["places"]["istio"] == "mesh"
    states = {entry["role"]: entry["state"] for entry in asked["elsewhere"]["installs"]}
    assert states == {"cert_manager": "present", "istio": "present", "kserve": "absent"}
    assert next(entry for entry in asked["elsewhere"]["crds"] if entry["name"] == "gateway_api")["state"] == "absent"


def test_preflight_looks_for_the_releases_that_the_roles_make(asked: dict[str, Any]) -> None:
    releases = {
        task["vars"]["helm_release_name"]
        for role in ROLES
        for task in tasks(role, "main")
        if "helm_release_name" in task.get("vars", {})
    }
    named = {entry["release"] for entry in asked["as-shipped"]["installs"]}
    named |= {entry["release"].partition("/")[2] for entry in asked["as-shipped"]["crds"] if "release" in entry}
    assert named <= releases


def test_preflight_looks_for_every_chart_that_is_to_be_installed_where_helm_will(asked: dict[str, Any]) -> None:
    table = load(ROOT / "roles" / "versions" / "vars" / "main.yml")["versions_table"]
    charts = {
        name: {
            f"{reference.removeprefix('oci://')}:{component['version']}"
            for reference in component.get("charts", {}).values()
            if reference.startswith("oci://")
        }
        for name, component in table.items()
    }
    without = {"as-shipped": {"envoy_gateway"}, "by-envoy": {"istio"}, "both": set()}
    for case, left_out in without.items():
        expected = set().union(*(found for name, found in charts.items() if name not in left_out))
        assert set(yaml.safe_load(asked[case]["charts"])) == expected, case
    mirrored = yaml.safe_load(asked["mirrored"]["charts"])
    assert f"mirror.example.com/team/nvidia/gpu-operator:{table['gpu_operator']['version']}" in mirrored
    assert all(chart.startswith("mirror.example.com/team/") for chart in mirrored)
    assert not [chart for chart in mirrored if "llmisvc" in chart]
    assert not [chart for chart in yaml.safe_load(asked["elsewhere"]["charts"]) if "kserve/charts/kserve-crd" in chart]


def test_preflight_looks_for_every_file_that_a_role_will_read(asked: dict[str, Any]) -> None:
    table = load(ROOT / "roles" / "versions" / "vars" / "main.yml")["versions_table"]
    manifests = {name: component["manifest"] for name, component in table.items() if "manifest" in component}
    always = {manifests["gateway_api"], manifests["gateway_api_inference_extension"]}
    assert set(asked["as-shipped"]["files"]) == always
    assert set(asked["knative"]["files"]) == set(manifests.values())
    assert asked["elsewhere"]["files"] == [manifests["gateway_api_inference_extension"]]
    packed = next(iter(table["gpu_operator"]["charts"].values()))
    assert set(asked["operator"]["files"]) == {*always, packed}
    assert set(asked["mirrored"]["files"]) == always, "a mirror has charts as OCI artifacts"


def test_preflight_assumes_of_the_runtime_what_its_role_does(asked: dict[str, Any]) -> None:
    runtime, theirs = asked["as-shipped"]["runtime"], defaults("vllm_runtime")
    assert runtime["max_model_len"] == theirs["vllm_runtime_max_model_len"]
    assert str(runtime["gpu_memory_utilization"]) == theirs["vllm_runtime_gpu_memory_utilization"]
    assert runtime["resources"] == theirs["vllm_runtime_resources"]


def test_preflight_looks_at_who_keeps_the_objects_that_the_roles_apply(asked: dict[str, Any]) -> None:
    kinds = [entry["kind"] for entry in asked["served"]["objects"]]
    assert kinds == ["ServiceAccount", "Gateway", "ClusterServingRuntime", "InferenceService"]
    deployments = [entry for entry in asked["distributed"]["objects"] if entry["kind"] == "LLMInferenceService"]
    assert [(entry["namespace"], entry["name"]) for entry in deployments] == [("model-serving", "moe"), ("a", "llm")]


def test_preflight_judges_llm_deployments_with_the_image_that_they_will_get(asked: dict[str, Any]) -> None:
    assert asked["as-shipped"]["llm_deployments"] == []
    images = {entry["name"]: entry["image"] for entry in asked["distributed"]["llm_deployments"]}
    table = load(ROOT / "roles" / "versions" / "vars" / "main.yml")["versions_table"]
    assert images == {"moe": "own:v1", "llm": table["vllm"]["images"]["openai"]}
    pulled = asked["distributed"]["images"]
    assert {"own:v1", table["llm_d"]["images"]["endpoint_picker"], table["llm_d"]["images"]["disagg_sidecar"]} <= set(
        pulled
    )
    assert len(asked["as-shipped"]["images"]) == 1


def test_an_llm_deployment_of_an_inventory_can_have_every_option_of_the_module() -> None:
    [task] = load(ROOT / "roles" / "llmd" / "tasks" / "deploy.yml")
    # What the role decides for all of them.
    common = {"wait", "field_manager"}
    assert set(task["llmstack.serving.llmdeployment"]) | common == set(_llmdeployment_options.ARGUMENT_SPEC)


def test_preflight_asks_for_the_rights_of_the_roles_that_do_something(asked: dict[str, Any]) -> None:
    needed = {case: _preflight_cluster.needs(found["permissions"]) for case, found in asked.items()}
    write = ("get", "list", "watch", "create", "patch", "delete")
    for verb in write:
        assert {"cert-manager", "kserve", "model-serving"} <= set(needed["served"][Right(verb, "", "secrets")])
    # Helm's records.
    assert "model-serving" not in needed["served"][Right("update", "", "secrets")]
    for verb in (*write, "bind", "escalate"):
        assert needed["served"][Right(verb, "rbac.authorization.k8s.io", "clusterroles")] == {None: ""}
    # A deployment is asked through the Gateway, by way of the API server.
    asks = Right("create", "", "services", "proxy")
    assert ("kserve" in needed["distributed"][asks], "kserve" in needed["as-shipped"][asks]) == (True, False)
    services = Right("patch", "serving.kserve.io", "inferenceservices")
    assert needed["served"][services] == {"model-serving": ""}
    assert services not in needed["as-shipped"]
    assert set(needed["elsewhere"][Right("create", "policy", "poddisruptionbudgets")]) == {"mesh"}
    storage = Right("create", "serving.kserve.io", "clusterstoragecontainers")
    assert storage in needed["as-shipped"]
    assert storage not in needed["elsewhere"]


VALIDATION: dict[str, Any] = {
    "validation_services": [
        {"name": "chat"},
        {"name": "search", "model_name": "bge", "api": "embeddings"},
    ],
    "validation_llm_deployments": [
        {"name": "llama", "model": {"name": "llama-70b"}},
        {"name": "elsewhere", "namespace": "other"},
    ],
    "__validation_load_results": {
        "results": [
            {"item": {"name": "chat"}, "report_files": ["/r/chat.html", "/r/chat.json"], "msg": "50 concurrent: good."},
            {"item": {"name": "search"}, "msg": 'It is "down".'},
        ]
    },
}


def test_validation_asks_for_each_service_and_passes_on_what_became_of_its_load_test(tmp_path: Path) -> None:
    cases = {"some": VALIDATION, "none": {"validation_services": [], "__validation_load_results": {}}}
    found = evaluate_cases(tmp_path, cases, "{'targets': __validation_targets, 'load_tests': __validation_load_tests}")
    assert found["none"] == {"targets": [], "load_tests": []}
    common = {"path_prefix": ""}
    assert found["some"]["targets"] == [
        {"name": "chat", "kind": "InferenceService", "model": "chat", "api": "chat", **common},
        {"name": "search", "kind": "InferenceService", "model": "bge", "api": "embeddings", **common},
        {"name": "llama", "kind": "LLMInferenceService", "model": "llama-70b", "api": "chat", **common},
    ]
    assert found["some"]["load_tests"] == [
        {"service": "chat", "report": "/r/chat.json", "problem": "50 concurrent: good."},
        {"service": "search", "report": None, "problem": 'It is "down".'},
    ]


def test_the_load_test_of_the_validation_is_made_of_the_module_s_options() -> None:
    options = specification("validation")["main"]["options"]["validation_load_test"]["options"]
    [task] = [task for task in tasks("validation", "main") if "llmstack.serving.load_test" in task]
    text = json.dumps(task["llmstack.serving.load_test"])
    assert set(options) == set(re.findall(r"validation_load_test\.(\w+)", text))
    assert set(options) <= set(task["llmstack.serving.load_test"])

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the sandbox makes: image layers, certificates, the model, simulated nodes, process plan."""

from __future__ import annotations

import ipaddress
import json
import math
import ssl
import struct
import tarfile
from pathlib import Path

import pytest

from sandbox import binaries, cluster_setup, images, model, oci, pki, plan
from sandbox.layout import SLOTS, Layout, Ranges, preferred_slot


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("vllm/vllm-openai:v0.32.0", "vllm/vllm-openai", "v0.32.0"),
        ("registry.k8s.io/pause:3.10", "pause", "3.10"),
        ("docker.io/istio/pilot:1.30.4", "istio/pilot", "1.30.4"),
        ("localhost:5000/a/b:c", "a/b", "c"),
    ],
)
def test_a_mirror_of_all_hosts_drops_the_host(name: str, repository: str, tag: str) -> None:
    image = oci.Image(name, [], [])
    assert (image.repository, image.tag) == (repository, tag)


def test_a_layer_is_reproducible_and_holds_parents_before_children(tmp_path: Path) -> None:
    (tmp_path / "binary").write_text("content")
    (tmp_path / "binary").chmod(0o755)

    def write(target: Path) -> bytes:
        with oci.LayerWriter(target) as writer:
            writer.directory("tmp", 0o1777)
            writer.file("/usr/local/bin/binary", tmp_path / "binary")
            writer.text("etc/passwd", "root:x:0:0::/:/\n")
            writer.link("/usr/bin/link", "../local/bin/binary")
        return target.read_bytes()

    assert write(tmp_path / "one.tar") == write(tmp_path / "two.tar")
    with tarfile.open(tmp_path / "one.tar") as layer:
        names = layer.getnames()
        assert layer.getmember("tmp").mode == 0o1777
        assert layer.getmember("usr/local/bin/binary").mode == 0o755
    assert names == [
        "tmp",
        "usr",
        "usr/local",
        "usr/local/bin",
        "usr/local/bin/binary",
        "etc",
        "etc/passwd",
        "usr/bin",
        "usr/bin/link",
    ]


def test_certificates_belong_to_their_authority_and_keys_are_private(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path)
    pair = authority.issue("server", user="kube-apiserver", hosts=("localhost", "127.0.0.1"))
    context = ssl.create_default_context(cafile=str(authority.pair.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    assert pair.key.stat().st_mode & 0o077 == 0
    kubeconfig = pki.write_kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1", authority.pair, pair)
    assert kubeconfig.stat().st_mode & 0o077 == 0
    assert json.loads(kubeconfig.read_text())["current-context"] == "sandbox"


def test_the_model_is_a_whole_hugging_face_model_of_about_20_mb(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    model.write(folder)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= names
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        [length] = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__")
    end = 0
    for tensor in header.values():
        begin, stop = tensor["data_offsets"]
        assert begin == end
        assert stop - begin == 2 * math.prod(tensor["shape"])
        end = stop
    assert weights.stat().st_size == 8 + length + end
    assert 15e6 < weights.stat().st_size < 25e6
    config = json.loads((folder / "config.json").read_text())
    assert header["lm_head.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]


def test_the_model_is_the_same_everywhere_and_an_unfinished_one_is_made_again(tmp_path: Path) -> None:
    model.write(tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "config.json").write_text("{")
    model.write(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_node_profiles_are_there_and_only_pods_that_ask_land_on_them() -> None:
    nodes = cluster_setup.simulated_nodes()
    profiles = {node["metadata"]["labels"]["sandbox.llmstack.io/profile"] for node in nodes}
    assert profiles == {"h100", "a100", "l40s", "t4-tainted", "h100-mig", "h100-notready", "h100-cordoned"}
    for node in nodes:
        assert node["spec"]["taints"][0]["key"] == "sandbox.llmstack.io/simulated"
        assert node["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake"
    by_profile = {node["metadata"]["labels"]["sandbox.llmstack.io/profile"]: node for node in nodes}
    assert by_profile["h100-cordoned"]["spec"]["unschedulable"] is True
    assert by_profile["h100-notready"]["metadata"]["labels"]["sandbox.llmstack.io/ready"] == "false"
    assert len(by_profile["t4-tainted"]["spec"]["taints"]) == 2


def test_two_slots_share_no_address() -> None:
    for one in range(SLOTS):
        mine = Ranges(one)
        networks = [mine.link, mine.pods, mine.services, mine.simulated_pods]
        assert not any(mine.overlaps([Ranges(other).link, Ranges(other).pods]) for other in range(one))
        assert ipaddress.ip_address(mine.dns) in mine.services
        assert all(not a.overlaps(b) for a in networks for b in networks if a is not b)


def test_two_checkouts_have_their_own_names(tmp_path: Path) -> None:
    one, two = Layout(tmp_path / "a" / ".sandbox"), Layout(tmp_path / "b" / ".sandbox")
    assert one.name != two.name
    assert len(one.name) <= 15, "the length of a network interface's name"
    assert preferred_slot(tmp_path) in range(SLOTS)


@pytest.mark.parametrize("real_node", [True, False])
def test_the_plan_is_private_and_nothing_listens_beyond_the_sandbox(tmp_path: Path, real_node: bool) -> None:
    layout, ranges = Layout(tmp_path / ".sandbox"), Ranges(3)
    paths = {name: tmp_path / name for name in binaries.ALL}
    made = plan.make(layout, ranges, paths, real_node=real_node)
    made.write(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").stat().st_mode & 0o077 == 0, "it holds the S3 secret"
    assert plan.Plan.read(tmp_path / "plan.json") == made
    names = [process.name for process in made.processes]
    assert names[:4] == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    assert ("kubelet" in names) is real_node
    assert made.address == (ranges.node if real_node else "127.0.0.1")
    words = " ".join(word for process in made.processes for word in process.command)
    assert "0.0.0.0" not in words


def test_the_audit_log_records_whole_requests_and_answers(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ".sandbox")
    plan.make(layout, Ranges(0), {name: tmp_path / name for name in binaries.ALL}, real_node=False)
    policy = (layout.configuration / "audit-policy.yaml").read_text()
    assert "{level: RequestResponse, verbs: [create, update, patch, delete, deletecollection]}" in policy


@pytest.mark.parametrize(
    ("component", "version"),
    [
        ("cert_manager", binaries.CERT_MANAGER_VERSION),
        ("kserve", binaries.KSERVE_VERSION),
        ("gateway_api", binaries.module_version("istio", "sigs.k8s.io/gateway-api")),
    ],
)
def test_the_sandbox_is_built_from_the_versions_that_the_collection_installs(component: str, version: str) -> None:
    assert images.VERSIONS[component]["version"] == version

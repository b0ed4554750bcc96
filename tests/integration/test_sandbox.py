# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox keeps its promises to the machine it runs on: it owns what it makes and takes all of it along."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import go, lifecycle
from sandbox.binaries import CONTROL_PLANE, ON_DEMAND
from sandbox.cluster_setup import is_ready
from sandbox.kube import Cluster
from sandbox.layout import Layout
from tools import checkout
from tools.playbook import recap

PYTHON = sys.executable


class Machine:
    """What a sandbox could leave behind on its host, without the sandbox that runs: its pods come and go meanwhile."""

    def __init__(self) -> None:
        self.processes = _processes()
        self.mounts = sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        self.namespaces = _output("ip", "netns", "list")
        self.links = sorted(link["ifname"] for link in json.loads(_output("ip", "-json", "link")))
        self.routes = sorted(_output("ip", "route", "show", "table", "all").splitlines())
        self.rules = {table: _output("iptables", "-t", table, "-S") for table in ("filter", "nat", "mangle", "raw")}
        self.settings = {
            name: Path("/proc/sys", name).read_text()
            for name in ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "net/ipv4/ip_forward")
        }
        groups = [path for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir()]
        self.groups = sorted(str(path) for path in groups if Layout().name not in path.parts)
        self.resolver = Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else ""


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _pid_namespaces(holder: int) -> set[str]:
    """The holder and its children: one of them is the first in the PID namespace of all others."""
    processes = [holder, *lifecycle._children(holder)]
    return {os.readlink(f"/proc/{process}/ns/pid") for process in processes} - {os.readlink("/proc/self/ns/pid")}


def _processes() -> set[str]:
    """Command lines of what could be ours: processes of other programs come and go meanwhile."""
    lines = set()
    holder = lifecycle._holder(Layout())
    others = _pid_namespaces(holder) if holder else set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.readlink(path.parent / "ns" / "pid") in others:
                continue
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        names = ("sandbox.holder", "containerd", "kubelet", "kube-", "etcd", "registry serve", "versitygw", "kwok")
        if any(name in line for name in names):
            lines.add(f"{path.parent.name} {line}")
    return lines


class Copy:
    """A second checkout beside this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = checkout.copy(folder)
        self.layout = Layout(self.folder / ".sandbox")

    def start(self, *arguments: str, prefix: tuple[str, ...] = (), module: str = "sandbox") -> subprocess.Popen[str]:
        own = {"PYTHONPATH": str(self.folder / "tests"), "ANSIBLE_HOME": str(self.folder / ".cache" / "ansible")}
        environment = {**os.environ, **own}
        return subprocess.Popen(
            [*prefix, PYTHON, "-m", module, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, prefix: tuple[str, ...] = (), module: str = "sandbox") -> str:
        process = self.start(*arguments, prefix=prefix, module=module)
        output = process.communicate()[0]
        assert process.returncode == 0, output
        return output

    def endpoints(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.layout.endpoints.read_text())
        return content


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def copy(machine: Machine) -> Iterator[Copy]:
    # Not below pytest's own folder: that is closed to other users, and one test is another user.
    with tempfile.TemporaryDirectory(prefix="llmstack-") as folder:
        Path(folder).chmod(0o755)
        second = Copy(Path(folder) / "checkout")
        yield second
        second.run("down")


def assert_unchanged(machine: Machine) -> None:
    now = Machine()
    for name, before in vars(machine).items():
        assert getattr(now, name) == before, name


def ready_nodes(cluster: Cluster) -> set[str]:
    nodes = cluster.get("/api/v1/nodes")["items"]
    return {node["metadata"]["name"] for node in nodes if is_ready(node)}


@pytest.mark.usefixtures("real_node")
def test_status_tells_the_truth(sandbox: dict[str, Any]) -> None:
    now = lifecycle.status(Layout())
    assert now.phase == "running"
    assert not now.ended
    assert {"etcd", "kube-apiserver", "kubelet", "containerd", "kube-proxy", "kwok", "registry", "versitygw"} <= set(
        now.running
    )
    assert 0 < now.memory_bytes < 5 * 1024**3


@pytest.mark.usefixtures("real_node")
def test_the_node_profiles_are_what_they_say(cluster: Cluster) -> None:
    nodes = {node["metadata"]["name"]: node for node in cluster.get("/api/v1/nodes")["items"]}
    ready = ready_nodes(cluster)
    assert "sandbox" in ready
    assert "gpu-h100-0" in ready
    assert "gpu-h100-notready-0" in nodes
    assert "gpu-h100-notready-0" not in ready
    gpus = {name: node["status"]["allocatable"].get("nvidia.com/gpu") for name, node in nodes.items()}
    assert (gpus["sandbox"], gpus["gpu-h100-0"], gpus["gpu-l40s-0"], gpus["gpu-h100-mig-0"]) == ("8", "8", "4", "0")
    assert nodes["gpu-h100-mig-0"]["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] == "56"


@pytest.mark.usefixtures("real_node")
def test_a_second_sandbox_runs_beside_and_leaves_no_trace(
    copy: Copy, machine: Machine, sandbox: dict[str, Any]
) -> None:
    # Killed at a random moment of its first start, then started again.
    seed = int(os.environ.get("LLMSTACK_SEED") or time.time_ns() % 10**6)
    moment = random.Random(seed).uniform(0.3, 12)
    print(f"LLMSTACK_SEED={seed}: killed after {moment:.1f} s")
    first = copy.start("up")
    try:
        first.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    begin = time.monotonic()
    copy.run("up")
    assert time.monotonic() - begin < 60
    endpoints = copy.endpoints()
    assert endpoints["kubeconfig"] != sandbox["kubeconfig"]
    assert endpoints["s3"]["endpoint_url"] != sandbox["s3"]["endpoint_url"]
    assert "sandbox" in ready_nodes(Cluster(Path(endpoints["kubeconfig"])))
    assert lifecycle.status(Layout()).phase == "running", "the first one does not notice"
    assert copy.run("status").startswith("running: ")
    assert "is up" in copy.run("up"), "a healthy one is left alone"
    with (copy.folder / "tests/sandbox/images.py").open("a") as code:
        code.write("# what a newer state of the checkout adds\n")
    refused = copy.start("up")
    assert "`make down` first" in refused.communicate()[0]
    assert refused.returncode == 1
    copy.run("down")
    assert not copy.layout.root.exists()
    assert_unchanged(machine)


@pytest.mark.usefixtures("real_node")
def test_a_crash_takes_everything_along(copy: Copy, machine: Machine) -> None:
    copy.run("up")
    holder = lifecycle._holder(copy.layout)
    assert holder
    os.kill(holder, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _processes() != machine.processes:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process = copy.start("status")
    assert process.communicate()[0] == "dead: a killed run left files behind, `down` removes them\n"
    assert process.returncode == 1
    copy.run("down")
    assert_unchanged(machine)


@pytest.mark.usefixtures("real_node")
def test_without_superuser_nodes_are_simulated_and_the_run_says_what_stays_unproven(
    copy: Copy, machine: Machine
) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("UNPROVEN: a run without superuser; setpriv (util-linux) is not here")
    # Not superuser, yet allowed to read this checkout's Python and cache wherever they lie.
    capabilities = "+dac_override,+dac_read_search"
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={capabilities}")
    prefix = (*prefix, f"--ambient-caps={capabilities}")
    copy.folder.chmod(0o777)
    output = copy.run("up", prefix=prefix)
    assert "What this run does not prove:" in output
    endpoints = copy.endpoints()
    assert endpoints["real_node"] is False
    ready = ready_nodes(Cluster(Path(endpoints["kubeconfig"])))
    assert "gpu-h100-0" in ready
    assert "sandbox" not in ready
    # On this empty cluster `make site` predicts what it would do, and says what that leaves open.
    checked = copy.run(prefix=prefix, module="tools.run_site")
    assert recap(checked)["failed"] == 0
    assert recap(checked)["changed"] > 0
    assert "Unproven by this run:" in checked
    copy.run("down", prefix=prefix)
    assert_unchanged(machine)


def test_env_and_kubectl_serve_other_tools(sandbox: dict[str, Any]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout.ROOT / "tests")}
    command = [PYTHON, "-m", "sandbox", "env"]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    exported = dict(line.removeprefix("export ").split("=", 1) for line in shown.splitlines())
    assert exported["KUBECONFIG"] == exported["K8S_AUTH_KUBECONFIG"] == sandbox["kubeconfig"]
    assert exported["AWS_ENDPOINT_URL"] == sandbox["s3"]["endpoint_url"]
    command = [PYTHON, "-m", "sandbox", "kubectl", "get", "namespaces", "-o", "name"]
    listed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert "namespace/kube-system" in listed.splitlines()
    assert go.cached(ON_DEMAND[0])


def test_what_was_built_is_what_go_mod_says(sandbox: dict[str, Any], cluster: Cluster) -> None:
    from sandbox.binaries import HELM_VERSION, KUBERNETES_VERSION

    assert cluster.get("/version")["gitVersion"] == KUBERNETES_VERSION
    helm = subprocess.run([sandbox["helm"], "version", "--short"], check=True, capture_output=True, text=True).stdout
    assert helm.startswith(HELM_VERSION)
    built = go.ensure(CONTROL_PLANE)
    etcd = subprocess.run([str(built["etcd"]), "--version"], check=True, capture_output=True, text=True).stdout
    assert "etcd Version: 3.6." in etcd

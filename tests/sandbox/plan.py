# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one sandbox runs: written by `up` before anything is started, read by the holder that starts it.

Two shapes. With superuser everything lives in namespaces of its own, on a node address that the host can reach, and
a real kubelet runs pods. Without, the same control plane listens on loopback and nodes are only simulated.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import secrets
import socket
import textwrap

from . import pki
from .layout import Layout, Ranges

REGION = "us-east-1"
API_PORT = 6443
REGISTRY_PORT = 5000
S3_PORT = 7070
# Inside the node's own mount namespace.
KUBELET_DIRECTORY = "/var/lib/kubelet"


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that the holder keeps: started in plan order, once the one before it answers at `ready_url`."""

    name: str
    command: list[str]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    ready_url: str = ""
    ready_socket: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    real_node: bool
    address: str
    ports: dict[str, int]
    secret_key: str
    processes: list[Process]
    mounts: list[str] = dataclasses.field(default_factory=list)

    def write(self, path: pathlib.Path) -> None:
        descriptor_safe = json.dumps(dataclasses.asdict(self), indent=1)
        path.touch(mode=0o600)
        path.write_text(descriptor_safe)

    @classmethod
    def read(cls, path: pathlib.Path) -> Plan:
        content = json.loads(path.read_text())
        content["processes"] = [Process(**process) for process in content["processes"]]
        return cls(**content)


def make(layout: Layout, ranges: Ranges, binaries: dict[str, pathlib.Path], *, real_node: bool) -> Plan:
    """Writes keys and configuration files below the layout and returns what to start with them."""
    for directory in (layout.configuration, layout.logs, layout.etcd, layout.registry, layout.s3 / "buckets"):
        directory.mkdir(parents=True, exist_ok=True)
    address = ranges.node if real_node else "127.0.0.1"
    names = ("api", "etcd", "etcd-peer", "registry", "registry-debug", "s3", "kwok", "kcm", "scheduler")
    fixed = (API_PORT, 2379, 2380, REGISTRY_PORT, 5001, S3_PORT, 10247, 10257, 10259)
    ports = dict(zip(names, fixed if real_node else _free_ports(len(names)), strict=True))
    secret_key = secrets.token_hex(16)
    writer = _Writer(layout, ranges, binaries, address, ports)
    processes = [*writer.control_plane(), writer.registry(), writer.s3(secret_key), writer.kwok()]
    if real_node:
        processes += writer.node()
    return Plan(real_node, address, ports, secret_key, processes)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class _Writer:
    """Builds the command lines; facts about each flag are cited where they are not obvious."""

    def __init__(
        self,
        layout: Layout,
        ranges: Ranges,
        binaries: dict[str, pathlib.Path],
        address: str,
        ports: dict[str, int],
    ) -> None:
        self.layout, self.ranges, self.binaries, self.address, self.ports = layout, ranges, binaries, address, ports
        self.server = f"https://{address}:{ports['api']}"
        self.authority = pki.Authority(layout.pki)
        self.front_proxy = pki.Authority(layout.pki, "front-proxy-ca")

    def _kubeconfig(self, name: str, user: str, groups: tuple[str, ...] = ()) -> str:
        client = self.authority.issue(name, user=user, groups=groups)
        path = self.layout.configuration / f"{name}.kubeconfig"
        return str(pki.write_kubeconfig(path, self.server, self.authority.pair, client))

    def _file(self, name: str, content: str) -> str:
        path = self.layout.configuration / name
        path.write_text(textwrap.dedent(content))
        return str(path)

    def control_plane(self) -> list[Process]:
        layout, ports, pki_directory = self.layout, self.ports, self.layout.pki
        etcd_url = f"http://127.0.0.1:{ports['etcd']}"
        peer_url = f"http://127.0.0.1:{ports['etcd-peer']}"
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        hosts = (*names, "127.0.0.1", self.address, str(self.ranges.services[1]))
        serving = self.authority.issue("apiserver", user="kube-apiserver", hosts=hosts)
        kubelet_client = self.authority.issue("kubelet-client", user="kube-apiserver", groups=("system:masters",))
        proxy_client = self.front_proxy.issue("front-proxy-client", user="front-proxy-client")
        accounts = pki.key_pair(pki_directory, "service-accounts")
        admin = self.authority.issue("admin", user="admin", groups=("system:masters",))
        pki.write_kubeconfig(layout.kubeconfig, self.server, self.authority.pair, admin)
        manager = self._kubeconfig("kube-controller-manager", "system:kube-controller-manager")
        scheduler = self._kubeconfig("kube-scheduler", "system:kube-scheduler")
        audit_policy = self._file(
            "audit-policy.yaml",
            """\
            apiVersion: audit.k8s.io/v1
            kind: Policy
            omitStages: [RequestReceived]
            rules:
              - {level: None, resources: [{group: coordination.k8s.io}, {group: "", resources: [events]}]}
              - {level: None, resources: [{group: events.k8s.io}]}
              - {level: RequestResponse, verbs: [create, update, patch, delete, deletecollection]}
              - {level: Metadata}
            """,
        )
        return [
            Process(
                "etcd",
                [
                    str(self.binaries["etcd"]),
                    f"--data-dir={layout.etcd}",
                    f"--listen-client-urls={etcd_url}",
                    f"--advertise-client-urls={etcd_url}",
                    f"--listen-peer-urls={peer_url}",
                    f"--initial-advertise-peer-urls={peer_url}",
                    f"--initial-cluster=default={peer_url}",
                    # The data is worth nothing after `down`; waiting for the disk would only slow every write.
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                ],
                ready_url=f"{etcd_url}/health",
            ),
            Process(
                "kube-apiserver",
                [
                    str(self.binaries["kube-apiserver"]),
                    f"--etcd-servers={etcd_url}",
                    f"--bind-address={self.address}",
                    f"--advertise-address={self.address}",
                    f"--secure-port={ports['api']}",
                    f"--service-cluster-ip-range={self.ranges.services}",
                    f"--tls-cert-file={serving.certificate}",
                    f"--tls-private-key-file={serving.key}",
                    f"--client-ca-file={self.authority.pair.certificate}",
                    f"--kubelet-certificate-authority={self.authority.pair.certificate}",
                    f"--kubelet-client-certificate={kubelet_client.certificate}",
                    f"--kubelet-client-key={kubelet_client.key}",
                    "--kubelet-preferred-address-types=InternalIP",
                    f"--service-account-key-file={accounts.certificate}",
                    f"--service-account-signing-key-file={accounts.key}",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    "--authorization-mode=Node,RBAC",
                    "--allow-privileged",
                    f"--requestheader-client-ca-file={self.front_proxy.pair.certificate}",
                    "--requestheader-allowed-names=front-proxy-client",
                    "--requestheader-username-headers=X-Remote-User",
                    "--requestheader-group-headers=X-Remote-Group",
                    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                    f"--proxy-client-cert-file={proxy_client.certificate}",
                    f"--proxy-client-key-file={proxy_client.key}",
                    # Webhooks are called at their pods' addresses: the API server needs no kube-proxy of its own.
                    "--enable-aggregator-routing=true",
                    f"--audit-policy-file={audit_policy}",
                    f"--audit-log-path={layout.audit_log}",
                    "--audit-log-maxsize=512",
                    "--audit-log-maxbackup=2",
                ],
                ready_url=f"{self.server}/readyz",
            ),
            Process(
                "kube-controller-manager",
                [
                    str(self.binaries["kube-controller-manager"]),
                    f"--kubeconfig={manager}",
                    f"--authentication-kubeconfig={manager}",
                    f"--authorization-kubeconfig={manager}",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={ports['kcm']}",
                    "--use-service-account-credentials",
                    f"--root-ca-file={self.authority.pair.certificate}",
                    f"--service-account-private-key-file={accounts.key}",
                    f"--cluster-signing-cert-file={self.authority.pair.certificate}",
                    f"--cluster-signing-key-file={self.authority.pair.key}",
                    "--leader-elect=false",
                ],
            ),
            Process(
                "kube-scheduler",
                [
                    str(self.binaries["kube-scheduler"]),
                    f"--kubeconfig={scheduler}",
                    f"--authentication-kubeconfig={scheduler}",
                    f"--authorization-kubeconfig={scheduler}",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={ports['scheduler']}",
                    "--leader-elect=false",
                ],
            ),
        ]

    def registry(self) -> Process:
        configuration = self._file(
            "registry.yaml",
            f"""\
            version: 0.1
            log: {{level: warn, accesslog: {{disabled: true}}}}
            storage:
              filesystem: {{rootdirectory: {self.layout.registry}}}
              delete: {{enabled: true}}
            http:
              addr: {self.address}:{self.ports["registry"]}
              debug: {{addr: "127.0.0.1:{self.ports["registry-debug"]}"}}
            """,
        )
        # Distribution v3 traces to a collector on localhost unless told otherwise.
        return Process(
            "registry",
            [str(self.binaries["registry"]), "serve", configuration],
            {"OTEL_TRACES_EXPORTER": "none"},
            ready_url=f"http://{self.address}:{self.ports['registry']}/v2/",
        )

    def s3(self, secret_key: str) -> Process:
        url = f"http://{self.address}:{self.ports['s3']}"
        return Process(
            "versitygw",
            [
                str(self.binaries["versitygw"]),
                "--port",
                f"{self.address}:{self.ports['s3']}",
                "--region",
                REGION,
                "--health",
                "/health",
                "posix",
                str(self.layout.s3 / "buckets"),
            ],
            {"ROOT_ACCESS_KEY": "sandbox", "ROOT_SECRET_KEY": secret_key},
            ready_url=f"{url}/health",
        )

    def kwok(self) -> Process:
        return Process(
            "kwok",
            [
                str(self.binaries["kwok"]),
                f"--kubeconfig={self._kubeconfig('kwok', 'kwok', ('system:masters',))}",
                f"--config={pathlib.Path(__file__).resolve().parent / 'cluster' / 'stages.yaml'}",
                "--manage-all-nodes=false",
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                f"--cidr={self.ranges.simulated_pods}",
                f"--node-ip={self.address}",
                f"--node-port={self.ports['kwok']}",
                f"--server-address=127.0.0.1:{self.ports['kwok']}",
                "--node-lease-duration-seconds=40",
            ],
        )

    def node(self) -> list[Process]:
        """containerd, kubelet and kube-proxy of the real node."""
        node, ranges = self.layout.node, self.ranges
        for directory in ("containerd", "kubelet", "plugins", "cni", "registries/_default"):
            (node / directory).mkdir(parents=True, exist_ok=True)
        serving = self.authority.issue("kubelet-serving", user="sandbox", hosts=("sandbox", self.address))
        kubelet = self._kubeconfig("kubelet", "system:node:sandbox", ("system:nodes",))
        proxy = self._kubeconfig("kube-proxy", "system:kube-proxy")
        mirror = f"http://{self.address}:{self.ports['registry']}"
        # `server` as well as the host entry: nothing is ever asked elsewhere, whatever the image's name says.
        (node / "registries/_default/hosts.toml").write_text(
            f'server = "{mirror}"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n'
        )
        network = {
            "cniVersion": "1.0.0",
            "name": "sandbox",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": str(ranges.pods)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        (node / "cni" / "10-sandbox.conflist").write_text(json.dumps(network))
        containerd = self._file(
            "containerd.toml",
            f"""\
            version = 2
            root = "{node}/containerd"
            state = "/run/containerd"
            [grpc]
              address = "/run/containerd.sock"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "registry.k8s.io/pause:3.10"
              # A superuser of a container or virtual machine often may not lower oom_score_adj.
              restrict_oom_score_adj = true
              [plugins."io.containerd.grpc.v1.cri".containerd]
                snapshotter = "overlayfs"
              [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "/usr/lib/cni"
                conf_dir = "{node}/cni"
              [plugins."io.containerd.grpc.v1.cri".registry]
                config_path = "{node}/registries"
            """,
        )
        kubelet_configuration = self._file(
            "kubelet.yaml",
            f"""\
            apiVersion: kubelet.config.k8s.io/v1beta1
            kind: KubeletConfiguration
            address: {self.address}
            failCgroupV1: false
            cgroupDriver: cgroupfs
            # Pods below a group of our own: of a group that all share nobody could say whose the left-overs are.
            cgroupRoot: /{self.layout.name}
            enforceNodeAllocatable: []
            containerRuntimeEndpoint: unix:///run/containerd.sock
            authentication:
              anonymous: {{enabled: false}}
              webhook: {{enabled: true}}
              x509: {{clientCAFile: {self.authority.pair.certificate}}}
            authorization: {{mode: Webhook}}
            tlsCertFile: {serving.certificate}
            tlsPrivateKeyFile: {serving.key}
            clusterDNS: [{ranges.dns}]
            clusterDomain: cluster.local
            failSwapOn: false
            readOnlyPort: 0
            healthzBindAddress: 127.0.0.1
            maxPods: 250
            registryPullQPS: 0
            serializeImagePulls: false
            volumePluginDir: {node}/plugins
            # The disk under the checkout may be nearly full of other things; that is not the cluster's concern.
            evictionHard: {{memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%"}}
            imageGCHighThresholdPercent: 100
            """,
        )
        return [
            Process(
                "containerd",
                ["containerd", f"--config={containerd}"],
                ready_socket="/run/containerd.sock",
            ),
            Process(
                "kubelet",
                [
                    str(self.binaries["kubelet"]),
                    f"--config={kubelet_configuration}",
                    f"--kubeconfig={kubelet}",
                    f"--root-dir={KUBELET_DIRECTORY}",
                    "--hostname-override=sandbox",
                    f"--node-ip={self.address}",
                    "--node-labels=nvidia.com/gpu.present=true",
                ],
            ),
            Process(
                "kube-proxy",
                [
                    str(self.binaries["kube-proxy"]),
                    f"--kubeconfig={proxy}",
                    "--proxy-mode=iptables",
                    f"--cluster-cidr={ranges.pods}",
                    "--hostname-override=sandbox",
                    "--conntrack-max-per-core=0",
                    "--metrics-bind-address=127.0.0.1:10249",
                    "--healthz-bind-address=127.0.0.1:10256",
                ],
            ),
        ]

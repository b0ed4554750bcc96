# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m sandbox`: up, down, status, env, logs, add, kubectl."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys

from . import envoy_gateway, external_secrets, go, knative, lifecycle
from .binaries import ON_DEMAND
from .errors import SandboxError
from .layout import Layout


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A real one-machine Kubernetes cluster.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="bring it up; a healthy one is left alone")
    commands.add_parser("down", help="end it and remove every trace but the cache of built binaries")
    commands.add_parser("status", help="what is true now; exit status 0 only if it is up and healthy")
    commands.add_parser("env", help='shell variables for other tools: eval "$(python -m sandbox env)"')
    logs = commands.add_parser("logs", help="the logs of its processes, or of one of them")
    logs.add_argument("name", nargs="?", help="such as kubelet or kube-apiserver")
    add = commands.add_parser("add", help="give it the images and manifests of a part (built when first used)")
    add.add_argument("part", choices=sorted(_PARTS))
    kubectl = commands.add_parser("kubectl", help="kubectl against it (built when first used)")
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    layout = Layout()
    try:
        return int(_COMMANDS[options.command](layout, options) or 0)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _up(layout: Layout, _options: argparse.Namespace) -> None:
    lifecycle.up(layout)


def _down(layout: Layout, _options: argparse.Namespace) -> None:
    lifecycle.down(layout)


def _status(layout: Layout, _options: argparse.Namespace) -> int:
    now = lifecycle.status(layout)
    print(f"{now.phase}: {now.detail}")
    for name in now.running:
        print(f"  running  {name}")
    for name, code in now.ended.items():
        print(f"  ended    {name} (exit status {code}, see `python -m sandbox logs {name}`)")
    if now.memory_bytes:
        print(f"  memory   {now.memory_bytes / 1024**3:.1f} GiB resident in all")
    return 0 if now.phase == "running" else 1


def _env(layout: Layout, _options: argparse.Namespace) -> None:
    endpoints = lifecycle.endpoints(layout)
    s3 = endpoints["s3"]
    assert isinstance(s3, dict)
    variables = {
        "KUBECONFIG": endpoints["kubeconfig"],
        "K8S_AUTH_KUBECONFIG": endpoints["kubeconfig"],
        "AWS_ENDPOINT_URL": s3["endpoint_url"],
        "AWS_DEFAULT_REGION": s3["region"],
        "AWS_ACCESS_KEY_ID": s3["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": s3["secret_access_key"],
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(str(value))}")


def _logs(layout: Layout, options: argparse.Namespace) -> None:
    files = sorted(layout.logs.glob(f"{options.name or '*'}.log"))
    files = [path for path in files if path != layout.audit_log]
    if not files:
        raise SandboxError(f"There is no log {options.name or ''} in {layout.logs}.")
    for path in files:
        print(f"==> {path} <==", flush=True)
        subprocess.run(["tail", "-n", "1000" if options.name else "20", str(path)], check=False)


def _add(layout: Layout, options: argparse.Namespace) -> None:
    endpoints = lifecycle.endpoints(layout)
    if not endpoints["real_node"]:
        raise SandboxError(f"The pods of {options.part} need the sandbox's real node, which needs superuser.")
    _PARTS[options.part](layout, endpoints)


def _kubectl(layout: Layout, options: argparse.Namespace) -> None:
    kubeconfig = str(lifecycle.endpoints(layout)["kubeconfig"])
    command = go.ensure(ON_DEMAND)["kubectl"]
    os.execve(command, ["kubectl", *options.arguments], {**os.environ, "KUBECONFIG": kubeconfig})


_PARTS = {"envoy-gateway": envoy_gateway.add, "external-secrets": external_secrets.add, "knative": knative.add}
_COMMANDS = {"up": _up, "down": _down, "status": _status, "env": _env, "logs": _logs, "add": _add, "kubectl": _kubectl}

if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second site.yml costs, against the same objects as a task of kubernetes.core.k8s each and against a script.

Needs the sandbox with the stack installed (`make site`); about five minutes. The objects are those of the Helm
releases, as their charts made them, and those that the roles apply themselves, as they applied them. The tasks run in
check mode: they send the same requests and leave what each owns. The script is what somebody would write: `helm upgrade
--install` for each chart with the values of its release, `kubectl apply --server-side` for the rest, a wait for the
models. Unlike site.yml it does not look first for what is missing, compare models with S3, or ask and measure a model.
It leaves more revisions of each release. All are run twice by turns, and the better time counts: other work on
the machine only ever makes it longer.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _tasks
import yaml
from _tasks import ENDPOINTS, KUBECONFIG, ROOT, playbook_seconds

sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.llmstack.serving.plugins.filter.mirrored_chart import mirrored_chart
from ansible_collections.llmstack.serving.plugins.module_utils._manifest import applied
from sandbox import go
from sandbox.binaries import ON_DEMAND
from sandbox.kube import Cluster
from tools.cluster_objects import everything
from tools.playbook import ansible_playbook, recap

SITE = ("-i", "inventories/local", "playbooks/site.yml")
# What site.yml does beyond installing and deploying.
BEYOND = ("--skip-tags", "preflight,validation")
MODELS = "model-serving"
HELM = ENDPOINTS["helm"]
VERSIONS = yaml.safe_load((ROOT / "roles" / "versions" / "vars" / "main.yml").read_text())["versions_table"]
MANAGERS = ("llmstack.serving", "llmstack.serving.security")
# So many tasks of kubernetes.core.k8s are timed, evenly over all objects.
SAMPLES = 25
ENVIRONMENT = {**os.environ, "KUBECONFIG": KUBECONFIG}
Release = dict[str, str]
Manifest = dict[str, Any]
show = partial(_tasks.show, "site_again")


def helm(*arguments: str) -> str:
    return subprocess.run([HELM, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def charts() -> dict[str, str]:
    """What Helm is told of each chart of the version table, by the name that a release of it has."""
    found = {}
    for component in VERSIONS.values():
        for reference in component.get("charts", {}).values():
            address, version = mirrored_chart(reference, ENDPOINTS["registry"]), component["version"]
            found[f"{address.rpartition('/')[2]}-{version}"] = f"{address} --version {version}"
    return found


def of_releases(releases: list[Release]) -> list[Manifest]:
    """The objects as the charts made them, with the namespace that Helm gives to those that name none."""
    manifests = []
    for release in releases:
        text = helm("get", "manifest", release["name"], "--namespace", release["namespace"])
        manifests += [
            {"namespace": release["namespace"], "definition": each} for each in yaml.safe_load_all(text) if each
        ]
    return manifests


def of_roles(cluster: Cluster, namespaces: set[str | None]) -> dict[str, list[Manifest]]:
    """The objects that roles apply themselves, as each of their field managers applied them, by manager."""
    found: dict[str, list[Manifest]] = {manager: [] for manager in MANAGERS}
    for item in everything(cluster).values():
        if item["metadata"].get("namespace") not in namespaces:
            continue
        for entry in item["metadata"].get("managedFields") or []:
            # Of the status nothing is applied by roles.
            if entry["manager"] in MANAGERS and entry["operation"] == "Apply" and not entry.get("subresource"):
                found[entry["manager"]].append(applied(item, entry["manager"]))
    return found


def kubernetes_core_task(manifest: Manifest) -> dict[str, Any]:
    return {"kubernetes.core.k8s": {"kubeconfig": KUBECONFIG, **manifest}, "check_mode": True}


def script(folder: Path, releases: list[Release], own: dict[str, list[Manifest]]) -> Path:
    """The commands, and the files that they read."""
    kubectl = go.ensure(ON_DEMAND)["kubectl"]
    options = charts()
    lines = ["set -eu"]
    for release in releases:
        name, namespace = release["name"], release["namespace"]
        values = folder / f"{name}.yaml"
        values.write_text(helm("get", "values", name, "--namespace", namespace, "--output", "yaml"))
        lines.append(
            f"{HELM} upgrade --install {name} {options[release['chart']]}"
            f" --namespace {namespace} --create-namespace --values {values} --plain-http --force-conflicts --wait"
        )
    for manager, manifests in own.items():
        path = folder / f"{manager}.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
        lines.append(f"{kubectl} apply --server-side --field-manager={manager} --filename={path}")
    lines.append(f"{kubectl} wait --namespace={MODELS} --for=condition=Ready --all inferenceservices --timeout=300s")
    path = folder / "install.sh"
    path.write_text("\n".join(lines) + "\n")
    return path


def site_seconds(*arguments: str) -> float:
    begin = time.monotonic()
    done = ansible_playbook(*SITE, *arguments)
    seconds = time.monotonic() - begin
    if done.returncode or recap(done.stdout)["changed"]:
        raise SystemExit(f"site.yml had something to do:\n{done.stdout[-6000:]}{done.stderr}")
    return seconds


def script_seconds(path: Path) -> float:
    begin = time.monotonic()
    done = subprocess.run(["bash", str(path)], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr)
    return time.monotonic() - begin


def best(*calls: Callable[[], float]) -> list[float]:
    """The better of two runs of each, by turns."""
    return [min(pair) for pair in zip(*([call() for call in calls] for _turn in range(2)), strict=True)]


def main() -> None:
    cluster = Cluster(Path(KUBECONFIG))
    known = charts()
    listed: list[Release] = json.loads(helm("list", "--all-namespaces", "--output", "json"))
    releases = [release for release in listed if release["chart"] in known]
    # None: of the whole cluster.
    own = of_roles(cluster, {None, MODELS, *(release["namespace"] for release in releases)})
    objects = of_releases(releases) + [{"definition": each} for manifests in own.values() for each in manifests]
    # A playbook would take braces in their texts for templates of its own.
    plainly = [each for each in objects if not re.search(r"{[{%#]", json.dumps(each))]
    sample = plainly[:: max(1, len(plainly) // SAMPLES)]
    empty = playbook_seconds([])
    tasks = [kubernetes_core_task(each) for each in sample]
    with tempfile.TemporaryDirectory(prefix="llmstack-bench-") as folder:
        plain = script(Path(folder), releases, own)
        site, install_and_deploy, scripted, sampled = best(
            site_seconds,
            partial(site_seconds, *BEYOND),
            partial(script_seconds, plain),
            partial(playbook_seconds, tasks),
        )
    theirs = empty + (sampled - empty) / len(sample) * len(objects)
    show("site.yml again, nothing to do", site, "s", "limit 60 s", site / 60)
    show(
        f"kubernetes.core.k8s, {len(objects)} tasks for the same objects ({len(sample)} of them timed)",
        theirs,
        "s",
        "site.yml again (at least 5)",
        theirs / site,
    )
    show(
        f"script: {len(releases)} helm upgrades, kubectl apply --server-side",
        scripted,
        "s",
        "site.yml again takes so many times as long (at most 2)",
        site / scripted,
    )
    show(
        "site.yml again without preflight and validation",
        install_and_deploy,
        "s",
        "the script, which has neither (at most 2)",
        install_and_deploy / scripted,
    )


if __name__ == "__main__":
    main()

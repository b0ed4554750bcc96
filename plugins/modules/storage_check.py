#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_check
short_description: Whether pods of a cluster can read a model, tried with KServe's own storage initializer
version_added: 0.1.0
author:
  - llmstack contributors (@llmstack)
description:
  - Runs a pod that KServe takes for a predictor's, so that its storage initializer downloads O(uri) with the credentials,
    the CA bundle and the settings that a predictor with this service account gets.
  - What is wrong is said in a sentence - credentials that are not accepted, no such bucket, nothing at O(uri), a
    certificate that is not trusted, a storage that cannot be reached.
  - The pod is deleted in any case. Nothing else is changed.
  - All that is at O(uri) is downloaded. Name a small object of the model, for example its manifest or C(config.json).
extends_documentation_fragment:
  - llmstack.serving._kubernetes_auth
  - llmstack.serving._attributes
  - llmstack.serving._attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - Asks with a server-side dry run whether KServe would take the pod; no pod runs.
  diff_mode:
    support: none
    details:
      - There is nothing to compare.
  idempotent:
    support: full
requirements:
  - python >= 3.11
  - KServe in the cluster
options:
  uri:
    description: What to download, as in C(storageUri) of an InferenceService.
    type: str
    required: true
  namespace:
    description: The namespace of the pod.
    type: str
    required: true
  service_account:
    description: The service account of the predictor.
    type: str
    default: default
  timeout:
    description: Seconds until the download must have ended, the pull of the initializer's image included.
    type: int
    default: 180
seealso:
  - module: llmstack.serving.s3_model_upload
"""

EXAMPLES = r"""
- name: Check that the pods of model-serving can read the model
  llmstack.serving.storage_check:
    uri: s3://models/llama-3-8b/.llmstack-manifest.json
    namespace: model-serving
    service_account: model-reader
"""

RETURN = r"""
readable:
  description: Whether O(uri) was downloaded; null in check mode.
  returned: always
  type: bool
cause:
  description: Why not, as a word to filter by.
  returned: when it cannot be read
  type: str
  sample: storage_credentials
image:
  description: The image of the storage initializer that KServe used.
  returned: success
  type: str
  sample: docker.io/kserve/storage-initializer:v0.20.0
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 4.2
"""

import contextlib
import time
import uuid
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.llmstack.serving.plugins.module_utils import _storage_check
from ansible_collections.llmstack.serving.plugins.module_utils._kube import FIELD_MANAGER, Kube, Ref
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    AUTH_ARG_SPEC,
    MissingLibrary,
    connection,
    secrets,
)
from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError
from ansible_collections.llmstack.serving.plugins.module_utils._kube_pods import sweep, termination_as_exception
from ansible_collections.llmstack.serving.plugins.module_utils._kube_wait import Selection, View, wait_until

# For what comes after the pod's own deadline.
_GRACE_SECONDS = 15
_LOG_LINES = 200
# Replaced by the initializer's own before a pod is made.
_ANY_IMAGE = "storage-initializer"


class Unreadable(Exception):
    """The message is for the operator; `cause` is a word to filter by."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def image_of_initializer(kube: Kube, params: dict[str, Any]) -> str:
    """What KServe would put into the pod. Raises Unreadable, KubeError."""
    manifest, ref = pod(params, "dry-run", _ANY_IMAGE)
    image = _storage_check.initializer_image(
        kube.apply(ref, manifest, field_manager=FIELD_MANAGER, force=True, dry_run=True)
    )
    if image is None:
        raise Unreadable(
            "storage_initializer",
            f"KServe puts no storage initializer before {params['uri']}: is KServe installed, and is there a "
            "ClusterStorageContainer for such a URI? (pvc:// and oci:// need none.)",
        )
    return image


def download(kube: Kube, params: dict[str, Any], image: str) -> None:
    """Run the pod and remove it. Raises Unreadable, KubeError."""
    namespace, uri, run = params["namespace"], params["uri"], uuid.uuid4().hex[:12]
    manifest, ref = pod(params, run, image)
    sweep(kube, namespace, _storage_check.LABEL, 2 * _GRACE_SECONDS)
    with termination_as_exception():
        try:
            kube.apply(ref, manifest, field_manager=FIELD_MANAGER)
            seen, ended = watched(kube, ref, time.monotonic() + params["timeout"] + _GRACE_SECONDS)
            if ended is None or ended.exit_code < 0:
                waits = _storage_check.waits_for(seen)
                raise Unreadable(
                    "timeout", f"{uri} was not read within {params['timeout']} s (timeout): {waits}".rstrip(".") + "."
                )
            if not ended.succeeded:
                log = kube.log(namespace, manifest["metadata"]["name"], _storage_check.INITIALIZER, lines=_LOG_LINES)
                cause = _storage_check.explain(uri, log)
                who = f"Pods of {namespace} with service account {params['service_account']}"
                raise Unreadable(cause.kind, f"{who} cannot read {uri}: {cause}")
        finally:
            with contextlib.suppress(KubeError):
                kube.delete(ref)


def watched(kube: Kube, ref: Ref, deadline: float) -> tuple[dict[str, Any], _storage_check.Ending | None]:
    """The pod as last seen, and how it ended."""
    selection = Selection("v1", "Pod", ref.namespace, fields=f"metadata.name={ref.name}")
    last: dict[str, Any] = {}

    def judge(view: View) -> _storage_check.Ending | None:
        for found in view.get(selection, {}).values():
            last.update(found)
        return _storage_check.ending(last) if last else None

    ended, _view = wait_until(kube, [selection], judge, deadline)
    return last, ended


def pod(params: dict[str, Any], run: str, image: str) -> tuple[dict[str, Any], Ref]:
    manifest = _storage_check.manifest(
        run, params["namespace"], params["service_account"], params["uri"], image, params["timeout"]
    )
    return manifest, Ref("v1", "Pod", params["namespace"], manifest["metadata"]["name"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "uri": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "service_account": {"type": "str", "default": "default"},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    module.no_log_values.update(secrets(module.params))
    if module.params["timeout"] < 1:
        module.fail_json(msg="timeout must be at least 1.")
    begin, readable = time.monotonic(), None
    try:
        kube = Kube(connection(module.params))
        image = image_of_initializer(kube, module.params)
        if not module.check_mode:
            download(kube, module.params, image)
            readable = True
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name))
    except Unreadable as error:
        module.fail_json(msg=str(error), readable=False, cause=error.cause)
    except KubeError as error:
        module.fail_json(msg=str(error), readable=False, cause="kubernetes")
    module.exit_json(changed=False, readable=readable, image=image, seconds=round(time.monotonic() - begin, 1))


if __name__ == "__main__":
    main()

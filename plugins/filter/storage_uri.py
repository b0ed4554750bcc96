# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: storage_uri
author: llmstack contributors (@llmstack)
version_added: 0.1.0
short_description: A model's URI as KServe's storage initializer needs it
description:
  - Ends the URI of a folder in S3 with a slash. KServe lists by prefix, so that C(s3://models/llama) would also
    download C(s3://models/llama-2).
  - A URI that ends in the name of a file (an archive, or weights in one file) stays as it is, because with a slash
    KServe would find nothing there. So do URIs of other storages.
positional: _input
options:
  _input:
    description: A storageUri.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what KServe is told
  ansible.builtin.debug:
    msg: "{{ 's3://models/llama' | llmstack.serving.storage_uri }}"  # s3://models/llama/
"""

RETURN = r"""
_value:
  description: The URI.
  type: str
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

# What models are published as in one file. Not every suffix: llama-3.1 and qwen2.5-0.5b are folders.
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".mar", ".h5", ".joblib", ".pkl", ".bst", ".json")


def storage_uri(uri: str) -> str:
    """The URI for KServe (kserve_storage.py, _download_s3: all keys that begin with the path, or exactly that key)."""
    if not isinstance(uri, str):
        raise AnsibleFilterError("storage_uri takes a URI")
    if not uri.startswith("s3://") or uri.endswith("/") or uri.lower().endswith((*_ARCHIVES, *_WEIGHTS)):
        return uri
    return f"{uri}/"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"storage_uri": storage_uri}

#!/usr/bin/python
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_model_upload
version_added: 0.1.0
short_description: Put a model into S3, fast, verified and only what changed
description:
  - Uploads a model (a directory or one file) under a prefix of a bucket, from where KServe's storage initializer reads it.
  - Files are sent in parts and in parallel, each part with a checksum that the server verifies. Files that are there
    already are not sent, and not even read again when they look as they did when this module last read them.
  - A manifest object, which lists path, size and SHA-256 of every file, is removed before the first change and written
    after the last, so where there is a manifest, the model is complete.
  - The manifest is a small hidden file under the prefix. The storage initializer downloads it with the model, and engines
    ignore it. Its SHA-256 (RV(sha256)) names the exact model - the same files from the same source always give the same
    manifest, and C(sha256sum /mnt/models/.llmstack-manifest.json) in a pod tells which one is served.
author:
  - llmstack contributors (@llmstack)
extends_documentation_fragment:
  - llmstack.serving._aws
  - llmstack.serving._attributes
attributes:
  check_mode:
    support: full
    details:
      - Says what would be sent, skipped and deleted. Files may be read for their digests.
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - python >= 3.11
  - boto3 >= 1.34.0 (>= 1.36 for CRC64NVME)
  - awscrt >= 0.23 (optional, for CRC64NVME and CRC32C, which are many times cheaper than CRC32 or MD5)
  - model-signing >= 1.1 and pyOpenSSL (only for O(signature))
options:
  src:
    description:
      - A directory or a file on the machine that runs the module (usually the control node).
      - Links are followed, so a snapshot in a Hugging Face cache works as it is; its repository and revision are written
        into the manifest.
      - C(.git) and C(.cache) directories, C(*.incomplete) and C(*.lock) are never a part of the model.
      - Required when O(state=present).
    type: path
  bucket:
    description: The bucket.
    type: str
    required: true
  prefix:
    description: Where the model lies in the bucket. The module never touches anything outside.
    type: str
    required: true
  state:
    description:
      - With V(present), the model is there, complete.
      - With V(absent), what the manifest lists is removed, and the manifest first; see also O(delete). The bucket stays.
    type: str
    choices: [present, absent]
    default: present
  delete:
    description:
      - Whether to remove objects under O(prefix) that are not in O(src), or are left out by O(include) and O(exclude); with
        O(state=absent), everything under O(prefix).
      - Without it they are named in a warning, because every pod downloads them too.
    type: bool
    default: false
  create_bucket:
    description: Whether to create the bucket (private) when it does not exist.
    type: bool
    default: false
  include:
    description:
      - Upload only files that match one of these patterns.
      - A pattern is a shell pattern over the path under O(src) in which C(*) also matches slashes, as in
        C(allow_patterns) of huggingface_hub, for example V(*.safetensors) or V(original/).
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Do not upload files that match one of these patterns; wins over O(include).
      - Folders that are left out as a whole, for example by V(lost+found/), need not be readable.
    type: list
    elements: str
    default: []
  manifest:
    description: Name of the manifest under O(prefix).
    type: str
    default: .llmstack-manifest.json
  revision:
    description:
      - The revision of the model, written into the manifest.
      - Without it, the commit of the Hugging Face snapshot, where O(src) is one.
    type: str
  expected_sha256:
    description:
      - What the files must be, or nothing is sent - a file as C(sha256sum) writes it, or a dictionary of path and
        SHA-256 in hexadecimal.
      - Every file to upload must be listed, and every listed file that O(include) and O(exclude) select must be there.
    type: raw
  signature:
    description:
      - An OpenSSF Model Signing bundle that must hold for the files, or nothing is sent.
      - Every file to upload must be signed, except the signature itself. Other files may lie beside them.
      - Of links, what they lead to must be what was signed. Tools for signing leave out C(.gitattributes) unless told
        otherwise - exclude it then.
      - One of V(public_key), V(certificate_chain) and V(identity) says who must have signed.
    type: dict
    suboptions:
      path:
        description: The bundle; without it, C(model.sig) in O(src), or beside it when that is a file.
        type: path
      public_key:
        description: A PEM file with the signer's elliptic curve key.
        type: path
      certificate_chain:
        description: PEM files with the signer's certificate authorities.
        type: list
        elements: path
      identity:
        description: The signer's identity in the Sigstore certificate, for example an e-mail address.
        type: str
      identity_provider:
        description: The OpenID Connect issuer of O(signature.identity).
        type: str
      trust_config:
        description: A file with the trust roots of a Sigstore instance of one's own; also makes it work offline.
        type: path
  checksum:
    description:
      - With V(auto), files that look as they did when this module last read them (size, times, inode) are not read again,
        and objects that are not younger than the manifest are taken to be what it says.
      - With V(always), every file is read and compared with the manifest and with the checksum that the server keeps.
    type: str
    choices: [auto, always]
    default: auto
  digest:
    description:
      - What identifies the content of a file in the manifest.
      - V(sha256) withstands deceit and costs half a second to a second of processor time for each GB that is new; it runs
        while other parts are on their way.
      - V(checksum) is the one that the server verifies anyway (CRC64NVME, CRC32C or CRC32). It finds every accident, and
        makes the upload as fast as the network.
    type: str
    choices: [sha256, checksum]
    default: sha256
  bandwidth_limit:
    description: Send at most so much per second, for example V(100MiB).
    type: str
  concurrency:
    description: How many parts are sent at the same time.
    type: int
    default: 4
  part_size:
    description:
      - Size of a part, V(5MiB) to V(5GiB). Files up to this size are sent in one request.
      - Grows by itself for files of more than 10,000 parts.
    type: str
    default: 64MiB
  attempts:
    description:
      - How many times a request is made when the server is busy or the connection breaks. Pauses between attempts grow
        and are random. Requests that the server refuses are not repeated.
    type: int
    default: 8
  storage_class:
    description: Storage class of the objects, for example V(STANDARD_IA).
    type: str
  server_side_encryption:
    description: How the server encrypts objects at rest; without it, as the bucket does by default.
    type: str
    choices: [AES256, "aws:kms"]
  kms_key_id:
    description: The KMS key for O(server_side_encryption=aws:kms); without it, the account's default key.
    type: str
  acl:
    description: Canned access list of the objects, for buckets that still have such lists. Public ones are not offered.
    type: str
    choices: [private, bucket-owner-read, bucket-owner-full-control]
  tags:
    description:
      - Tags of the objects. Those that are there already get them too.
      - O(storage_class), O(server_side_encryption) and O(acl) apply to objects when they are sent.
    type: dict
  state_dir:
    description:
      - A directory in which the module remembers the digests of files that it has read and the uploads that it has begun,
        so that it need not read and send them again.
      - Where the home directory does not outlive the run (execution environments), give one that does.
    type: path
    default: ~/.cache/llmstack-serving/s3_model_upload
notes:
  - What an interrupted run has sent is kept. The next run proves it by checksum and sends the rest. Unfinished uploads that
    nobody continues take space - give the bucket a lifecycle rule with C(AbortIncompleteMultipartUpload).
  - Long uploads report progress every ten seconds in C(ansible-playbook) and AWX, unless the task is asynchronous.
  - Readers see the old files until each is replaced. To change a model that is being served, upload the new one under a
    new prefix.
seealso:
  - module: amazon.aws.s3_object
  - module: community.aws.s3_sync
"""

EXAMPLES = r"""
- name: Upload a model
  llmstack.serving.s3_model_upload:
    src: /srv/models/llama-3-8b
    bucket: models
    prefix: llama-3-8b
  register: upload

- name: Upload only what vLLM reads, to a server of one's own
  llmstack.serving.s3_model_upload:
    src: /srv/models/llama-3-8b
    bucket: models
    prefix: llama-3-8b
    create_bucket: true
    include: ["*.safetensors", "*.json", "tokenizer*"]
    endpoint_url: https://minio.example.com:9000
    aws_ca_bundle: /etc/ssl/example-ca.pem
    access_key: "{{ minio_access_key }}"
    secret_key: "{{ minio_secret_key }}"

- name: Refuse a model that is not what its publisher signed
  llmstack.serving.s3_model_upload:
    src: /srv/models/llama-3-8b
    bucket: models
    prefix: llama-3-8b-r2
    expected_sha256: /srv/models/llama-3-8b.SHA256SUMS
    signature:
      identity: release@example.com
      identity_provider: https://accounts.example.com

- name: Remove it again
  llmstack.serving.s3_model_upload:
    bucket: models
    prefix: llama-3-8b
    state: absent
"""

RETURN = r"""
files:
  description: Every file concerned, sorted by path.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: config.json, size: 654, sha256: 0c4b…, action: skip}
    - {path: model-00001-of-00004.safetensors, size: 4976698672, sha256: e81c…, action: send}
  contains:
    path:
      description: Path under O(prefix).
      type: str
    size:
      description: Size in bytes.
      type: int
    sha256:
      description: SHA-256 of the content; null where it is not known (deleted files, files that check mode would send).
      type: str
    action:
      description: What was done with it, or would be in check mode.
      type: str
      choices: [send, skip, delete]
uri:
  description:
    - Where the model is; KServe's C(storageUri). That of a folder ends in a slash.
    - The URI of the file itself when O(src) is a file.
  returned: success
  type: str
  sample: s3://models/llama-3-8b/
manifest_uri:
  description: Where the manifest is.
  returned: O(state=present)
  type: str
  sample: s3://models/llama-3-8b/.llmstack-manifest.json
sha256:
  description: SHA-256 of the manifest, which names this exact model; null when check mode cannot know it.
  returned: O(state=present)
  type: str
  sample: 5f2f6d0c2b0d7e2f1f4d3b6a8f8f6f9f0f9a3c1d5b7e9f1a2b3c4d5e6f708192
bytes_sent:
  description: Bytes of files that were sent, or would be in check mode.
  returned: success
  type: int
  sample: 4976698672
bytes_skipped:
  description: Bytes that were there already, of whole files and of what an interrupted run has sent.
  returned: success
  type: int
  sample: 654
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 12.4
mb_per_second:
  description: Bytes sent per second, in 10^6 bytes.
  returned: success
  type: float
  sample: 401.3
"""

import gc
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.validation import check_type_path

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _model_files,
    _model_signature,
    _progress,
    _s3,
    _source_files,
    _upload_plan,
)
from ansible_collections.llmstack.serving.plugins.module_utils._model_upload import (
    ModelUpload,
    Outcome,
    Request,
    UploadError,
)
from ansible_collections.llmstack.serving.plugins.module_utils._source_files import SourceError

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "src": {"type": "path"},
    "bucket": {"type": "str", "required": True},
    "prefix": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "delete": {"type": "bool", "default": False},
    "create_bucket": {"type": "bool", "default": False},
    "include": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "manifest": {"type": "str", "default": ".llmstack-manifest.json"},
    "revision": {"type": "str"},
    "expected_sha256": {"type": "raw"},
    "signature": {
        "type": "dict",
        "options": {
            "path": {"type": "path"},
            "public_key": {"type": "path", "no_log": False},
            "certificate_chain": {"type": "list", "elements": "path"},
            "identity": {"type": "str"},
            "identity_provider": {"type": "str"},
            "trust_config": {"type": "path"},
        },
        "required_one_of": [("public_key", "certificate_chain", "identity")],
        "mutually_exclusive": [("public_key", "certificate_chain", "identity")],
        "required_together": [("identity", "identity_provider")],
        "required_by": {"trust_config": ["identity"]},
    },
    "checksum": {"type": "str", "choices": ["auto", "always"], "default": "auto"},
    "digest": {"type": "str", "choices": ["sha256", "checksum"], "default": "sha256"},
    "bandwidth_limit": {"type": "str"},
    "concurrency": {"type": "int", "default": 4},
    "part_size": {"type": "str", "default": "64MiB"},
    "attempts": {"type": "int", "default": 8},
    "storage_class": {"type": "str"},
    "server_side_encryption": {"type": "str", "choices": ["AES256", "aws:kms"]},
    "kms_key_id": {"type": "str", "no_log": False},
    "acl": {"type": "str", "choices": ["private", "bucket-owner-read", "bucket-owner-full-control"]},
    "tags": {"type": "dict"},
    "state_dir": {"type": "path", "default": "~/.cache/llmstack-serving/s3_model_upload"},
    **_s3.AWS_ARG_SPEC,
}


def request(parameters: dict[str, Any], check_mode: bool) -> Request:
    """What the task asks for. Raises ValueError or SourceError with a sentence."""
    part_size_bytes = _model_files.size_bytes(parameters["part_size"])
    if fault := _upload_plan.part_fault(part_size_bytes):
        raise ValueError(fault)
    limit = parameters["bandwidth_limit"]
    bytes_per_second = _model_files.size_bytes(limit) if limit else None
    if bytes_per_second == 0:
        raise ValueError("bandwidth_limit must not be 0; leave it out for no limit.")
    for name in ("concurrency", "attempts"):
        if not 1 <= parameters[name] <= 64:
            raise ValueError(f"{name} must be 1 to 64, not {parameters[name]}.")
    if fault := _model_files.key_fault(parameters["manifest"]):
        raise ValueError(f"manifest {parameters['manifest']!r} cannot be used: {fault}.")
    src = parameters["src"] or ""

    def keeps(path: str) -> bool:
        return _model_files.belongs(path, parameters["include"], parameters["exclude"], parameters["manifest"])

    def verify(paths: Sequence[str]) -> None:
        if parameters["signature"]:
            _model_signature.verify(src, paths, parameters["signature"])

    return Request(
        src=src,
        prefix=_model_files.clean_prefix(parameters["prefix"]),
        manifest=parameters["manifest"],
        source=_model_files.source(_source_files.directory(src), parameters["revision"]),
        keeps=keeps,
        expected_sha256=expected_sha256(parameters["expected_sha256"], src, keeps),
        verify=verify,
        create_bucket=parameters["create_bucket"],
        delete=parameters["delete"],
        options=_s3.ObjectOptions(
            storage_class=parameters["storage_class"],
            server_side_encryption=parameters["server_side_encryption"],
            kms_key_id=parameters["kms_key_id"],
            acl=parameters["acl"],
            tags={str(name): str(value) for name, value in (parameters["tags"] or {}).items()} or None,
        ),
        concurrency=parameters["concurrency"],
        part_size_bytes=part_size_bytes,
        bytes_per_second=bytes_per_second,
        attempts=parameters["attempts"],
        with_sha256=parameters["digest"] == "sha256",
        reread=parameters["checksum"] == "always",
        state_folder=parameters["state_dir"],
        check_mode=check_mode,
    )


def expected_sha256(given: Any, src: str, keeps: Callable[[str], bool]) -> dict[str, str] | None:
    """path -> SHA-256 of the files to upload, from a dictionary or a file. Raises ValueError or SourceError."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {path: digest for path, digest in _model_files.expected_digests(given).items() if keeps(path)}
    # As an option of type path would be: this one may be a dictionary too.
    location = check_type_path(str(given))
    try:
        content = _source_files.text(location)
    except SourceError as error:
        raise SourceError(f"expected_sha256: {error}") from error
    listed = _model_files.parse_sha256sums(content)
    # Lying beside the model it is uploaded too, and cannot list itself.
    own = os.path.relpath(os.path.realpath(location), os.path.realpath(src))
    if not own.startswith(".."):
        listed.setdefault(own, hashlib.sha256(content.encode()).hexdigest())
    return {path: digest for path, digest in listed.items() if keeps(path)}


def result(wanted: Request, bucket: str, outcome: Outcome, state: str) -> dict[str, Any]:
    """What the task returns."""
    folder = f"s3://{bucket}/{wanted.prefix}"
    # A model of one file is served from its own URI: an archive is unpacked only if it is downloaded alone.
    name = os.path.basename(wanted.src) if os.path.isfile(wanted.src) else None
    # A folder's ends in a slash: KServe lists by prefix, and would download llama-2 with llama.
    uri = f"{folder}/{name or ''}"
    found = {
        "changed": outcome.changed,
        "files": outcome.files(),
        "uri": uri,
        "bytes_sent": outcome.bytes_sent,
        "bytes_skipped": outcome.bytes_skipped,
        "seconds": round(outcome.seconds, 3),
        "mb_per_second": round(outcome.bytes_sent / 1e6 / outcome.seconds, 1) if outcome.seconds else 0.0,
    }
    if state == "present":
        found["manifest_uri"] = f"{folder}/{wanted.manifest}"
        found["sha256"] = outcome.manifest_sha256()
    return found


def main() -> None:
    # What is loaded stays to the end. Looking through it for garbage, above all at the exit, takes a tenth of a second.
    gc.freeze()
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_if=[("state", "present", ["src"])],
        required_together=_s3.AWS_REQUIRED_TOGETHER,
        required_by={"session_token": ["access_key"], "kms_key_id": ["server_side_encryption"]},
    )
    if _s3.BOTO3_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("boto3"), exception=_s3.BOTO3_IMPORT_ERROR)
    try:
        wanted = request(module.params, module.check_mode)
        bucket = _s3.Bucket(module.params["bucket"], module.params, wanted.concurrency, wanted.attempts)
        gc.freeze()
        upload = ModelUpload(wanted, bucket, module.warn, _progress.report)
        outcome = upload.present() if module.params["state"] == "present" else upload.absent()
    except (ValueError, SourceError, UploadError, _s3.S3Error) as error:
        module.fail_json(msg=str(error))
    except _model_signature.LibraryMissing as error:
        module.fail_json(
            msg=missing_required_lib("model-signing", reason="for signature"), exception=str(error.__cause__)
        )
    found = result(wanted, bucket.name, outcome, module.params["state"])
    if module._diff:
        found["diff"] = outcome.diff()
    module.exit_json(**found)


if __name__ == "__main__":
    main()

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import dataclasses
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.llmstack.serving.plugins.module_utils import _model_signature, _source_files
from ansible_collections.llmstack.serving.plugins.module_utils._source_files import SourceError
from tools import sigstore_instance

NO_ONE = dict.fromkeys(("path", "public_key", "certificate_chain", "identity", "identity_provider", "trust_config"))
Sign = Callable[..., dict[str, Any]]


@pytest.fixture
def sign(tmp_path: Path) -> Sign:
    """Sign a model as its publisher; returns the option by which the module knows who that is."""
    from model_signing import hashing, signing

    key, plain = ec.generate_private_key(ec.SECP256R1()), serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)

    def call(model: Path, bundle: Path, allow_links: bool = False, ignore_git: bool = True) -> dict[str, Any]:
        hashed = hashing.Config().set_ignored_paths(paths=[bundle], ignore_git_paths=ignore_git)
        signer = signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem")
        signer.set_hashing_config(hashed.set_allow_symlinks(allow_links)).sign(model, bundle)
        return {**NO_ONE, "public_key": str(tmp_path / "public.pem")}

    return call


def verify(src: Path, signature: dict[str, Any]) -> None:
    """All files of the model, as an upload would send them."""
    files = _source_files.find(str(src), lambda path: True)
    _model_signature.verify(str(src), [file.path for file in files], signature)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "w.bin").write_text("weights")
    return folder


@pytest.fixture
def snapshot(published: Path, tmp_path: Path) -> Path:
    """The published files as a Hugging Face cache keeps them: links to blobs."""
    repository = tmp_path / "models--acme--tiny"
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in published.iterdir():
        (repository / "blobs" / f"blob-{file.name}").write_bytes(file.read_bytes())
        (folder / file.name).symlink_to(f"../../blobs/blob-{file.name}")
    return folder


@pytest.mark.parametrize("where", ["published", "snapshot"])
def test_a_snapshot_of_links_is_what_was_signed(published: Path, snapshot: Path, sign: Sign, where: str) -> None:
    signed = {"published": published, "snapshot": snapshot}[where]
    signature = sign(signed, signed / "model.sig", allow_links=True)
    if signed != snapshot:
        (snapshot / "model.sig").write_bytes((signed / "model.sig").read_bytes())
    verify(snapshot, signature)


def test_what_a_link_leads_to_is_what_counts(published: Path, snapshot: Path, sign: Sign) -> None:
    signature = sign(published, snapshot / "model.sig")
    (snapshot / "w.bin").unlink()
    (snapshot / "w.bin").symlink_to("../../blobs/blob-config.json")
    with pytest.raises(SourceError, match=r"does not hold .*Hash mismatch for 'w\.bin'"):
        verify(snapshot, signature)


@pytest.mark.parametrize("target", ["w.bin", "/etc", "../../blobs"])
def test_a_link_that_is_not_signed_is_not_sent(published: Path, snapshot: Path, sign: Sign, target: str) -> None:
    signature = sign(published, snapshot / "model.sig")
    (snapshot / "extra").symlink_to(target)
    paths = ["config.json", "extra/x" if target != "w.bin" else "extra"]
    with pytest.raises(SourceError, match=rf"does not cover {paths[1]}, nothing was sent: sign or exclude"):
        _model_signature.verify(str(snapshot), paths, signature)


def test_a_link_in_the_place_of_a_signed_directory_is_not_trusted(published: Path, sign: Sign, tmp_path: Path) -> None:
    (published / "sub").mkdir()
    (published / "sub" / "x").write_text("good")
    signature = sign(published, published / "model.sig")
    (published / "sub").rename(tmp_path / "good")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "x").write_text("evil")
    (published / "sub").symlink_to(tmp_path / "evil")
    with pytest.raises(SourceError, match=r"Hash mismatch for 'sub/x'"):
        verify(published, signature)


def test_a_file_of_git_may_be_signed(published: Path, sign: Sign) -> None:
    (published / ".gitattributes").write_text("*.bin filter=lfs")
    verify(published, sign(published, published / "model.sig", ignore_git=False))


@pytest.mark.parametrize("bundle", ["model.sig", "w.bin.sig"])
def test_a_model_of_one_file_may_be_signed(published: Path, sign: Sign, bundle: str) -> None:
    signature = sign(published / "w.bin", published / bundle)
    # By itself it is looked for beside the file.
    given = None if bundle == "model.sig" else str(published / bundle)
    verify(published / "w.bin", {**signature, "path": given})


def test_a_model_of_one_file_that_was_changed_is_refused(published: Path, sign: Sign) -> None:
    signature = sign(published / "w.bin", published / "model.sig")
    (published / "w.bin").write_text("others")
    with pytest.raises(SourceError, match="does not hold"):
        verify(published / "w.bin", signature)


def test_the_signature_of_one_file_says_nothing_of_a_directory(published: Path, sign: Sign) -> None:
    signature = sign(published / "w.bin", published / "model.sig")
    with pytest.raises(SourceError, match="does not hold"):
        verify(published, signature)


WHO = {"identity": "release@example.com", "identity_provider": "https://accounts.example.com"}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_others: Any) -> None:
        raise AssertionError("the network is asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def instance(published: Path, sign: Sign, tmp_path: Path) -> sigstore_instance.Instance:
    """A Sigstore instance by which WHO signed the published model, and that is trusted in trust.json."""
    sign(published, published / "model.sig")
    envelope = json.loads((published / "model.sig").read_text())["dsseEnvelope"]
    made = sigstore_instance.Instance()
    bundle = made.signed(base64.b64decode(envelope["payload"]), WHO["identity"], WHO["identity_provider"])
    (published / "model.sig").write_text(json.dumps(bundle))
    (tmp_path / "trust.json").write_text(json.dumps(made.trust()))
    return made


@pytest.mark.usefixtures("offline", "instance")
def test_a_signature_by_an_identity_is_accepted_without_asking_the_network(published: Path, tmp_path: Path) -> None:
    verify(published, {**NO_ONE, **WHO, "trust_config": str(tmp_path / "trust.json")})


@pytest.mark.usefixtures("offline", "instance")
@pytest.mark.parametrize("other", [{"identity": "mallory@example.com"}, {"identity_provider": "https://example.org"}])
def test_a_signature_by_another_identity_is_refused(published: Path, tmp_path: Path, other: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"does not hold .*(SANs do not match|OIDCIssuer does not match)"):
        verify(published, {**NO_ONE, **WHO, **other, "trust_config": str(tmp_path / "trust.json")})


@pytest.mark.usefixtures("offline", "instance")
def test_a_model_that_changed_since_an_identity_signed_it_is_refused(published: Path, tmp_path: Path) -> None:
    (published / "w.bin").write_text("others")
    with pytest.raises(SourceError, match=r"does not hold .*Hash mismatch for 'w\.bin'"):
        verify(published, {**NO_ONE, **WHO, "trust_config": str(tmp_path / "trust.json")})


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("part", ["authority", "certificate_log", "signature_log"])
def test_a_signature_that_a_part_of_the_trusted_instance_did_not_make_is_refused(
    published: Path, instance: sigstore_instance.Instance, tmp_path: Path, part: str
) -> None:
    stranger = dataclasses.replace(instance, **{part: getattr(sigstore_instance.Instance(), part)})
    (tmp_path / "trust.json").write_text(json.dumps(stranger.trust()))
    with pytest.raises(SourceError, match="does not hold"):
        verify(published, {**NO_ONE, **WHO, "trust_config": str(tmp_path / "trust.json")})

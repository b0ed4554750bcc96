# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSF Model Signing: the only file that imports model_signing, a library that only those who verify need.

PRIVATE to the collection: no stable interface.
The signature is a Sigstore bundle; what it covers is an in-toto statement, see
https://github.com/sigstore/model-transparency/blob/main/docs/model_signing_format.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._source_files import SourceError


class LibraryMissing(Exception):
    """model_signing, or something that it needs, is not installed; the cause says what."""


def verify(src: str, paths: Sequence[str], signature: Mapping[str, Any]) -> None:
    """Every one of these files (paths under src) is signed, by the one the task names, and has not changed since.

    signature: the module's option of that name. Raises SourceError, LibraryMissing.
    """
    try:
        from model_signing import verifying
    except ImportError as error:
        raise LibraryMissing from error
    root = Path(src)
    bundle = Path(signature["path"] or (root.parent if root.is_file() else root) / "model.sig")
    try:
        bundle.open("rb").close()
    except OSError as error:
        raise SourceError(f"The signature {bundle} cannot be read ({error.strerror}), nothing was sent.") from error
    try:
        config = _config(verifying, signature)
    # The library does not say which exceptions it raises.
    except Exception as error:
        raise SourceError(f"The signature {bundle} cannot be checked, nothing was sent: {_reason(error)}.") from error
    try:
        # Files beside the model need not be signed; that all which are sent are is checked below.
        config.set_ignore_unsigned_files(True).verify(root, bundle)
    # Whatever it is, the model is not verified.
    except Exception as error:
        raise SourceError(
            f"The signature {bundle} does not hold for {src}, nothing was sent: {_reason(error)}."
        ) from error
    # A model that is one file has no name in its signature.
    signed = {root.name if path == "." else path for path in config.signed}
    unsigned = [path for path in paths if path not in signed and (root / path) != bundle]
    if unsigned:
        raise SourceError(
            f"The signature {bundle} does not cover {', '.join(unsigned[:5])}, nothing was sent: "
            "sign or exclude what is not covered."
        )


def _config(verifying: Any, signature: Mapping[str, Any]) -> Any:
    """The library's verifier of the one who must have signed. Raises whatever the library raises."""
    config = _following_links(verifying)
    if signature["public_key"]:
        return config.use_elliptic_key_verifier(public_key=signature["public_key"])
    if signature["certificate_chain"]:
        return config.use_certificate_verifier(certificate_chain=signature["certificate_chain"])
    trust = Path(signature["trust_config"]) if signature["trust_config"] else None
    return config.use_sigstore_verifier(
        identity=signature["identity"], oidc_issuer=signature["identity_provider"], trust_config=trust
    )


def _following_links(verifying: Any) -> Any:
    """A configuration that reads links like the files they lead to; its `signed` are the paths of a verified bundle.

    The library refuses links unless it is told otherwise, even if the signer told it so (model-signing 1.1).
    """

    class Config(verifying.Config):
        # Where the library does not call the method below, nothing is signed.
        signed: frozenset[str] = frozenset()

        def _guess_hashing_config(self, source_manifest: Any) -> None:
            super()._guess_hashing_config(source_manifest)
            # It hashes signed files only: none of them may be left out, as .gitattributes would be.
            self._hashing_config.set_allow_symlinks(True).set_ignored_paths(paths=(), ignore_git_paths=False)
            self.signed = frozenset(item.identifier for item in source_manifest.resource_descriptors())

    return Config()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

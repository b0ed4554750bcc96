# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Sigstore instance of one's own, without servers: it signs for identities, and says what proves its signatures.

The parts are those of https://docs.sigstore.dev/about/overview/: a certificate authority (Fulcio), the log of its
certificates (RFC 6962) and the log of signatures (Rekor, here with one entry: its tree is a leaf).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import importlib.resources
import json
import struct
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sigstore of the tests")])
# Of https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md.
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
# Of RFC 6962, section 3.3.
_TIMESTAMPS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_SHA256_ECDSA = bytes([4, 3])
_USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclasses.dataclass(frozen=True)
class Instance:
    """The keys of one instance."""

    authority: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=_key)
    certificate_log: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=_key)
    signature_log: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=_key)
    now: datetime.datetime = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    )

    def trust(self) -> dict[str, Any]:
        """What who verifies has to know of it: the content of a client's trust configuration."""
        carried = Path(
            str(importlib.resources.files("sigstore") / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev")
        )
        authority = {
            "subject": {"organization": "llmstack", "commonName": "sigstore of the tests"},
            "uri": "https://fulcio.example.com",
            "certChain": {"certificates": [{"rawBytes": _text(_der(self._root()))}]},
            "validFor": {"start": _when(self.now - datetime.timedelta(hours=1))},
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "certificateAuthorities": [authority],
                "ctlogs": [self._log(self.certificate_log, "https://ctfe.example.com")],
                "tlogs": [self._log(self.signature_log, "https://rekor.example.com")],
            },
            # Of who signs; no part of it is used to verify.
            "signingConfig": json.loads((carried / "signing_config.v0.2.json").read_text()),
        }

    def signed(self, statement: bytes, identity: str, issuer: str) -> dict[str, Any]:
        """The bundle of an in-toto statement that this identity has signed."""
        key, kind = _key(), "application/vnd.in-toto+json"
        certificate = self._certificate(key, identity, issuer)
        # https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
        envelope = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(statement), statement)
        signature = _text(_signature(key, envelope))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": _text(_der(certificate))},
                "tlogEntries": [self._entry(statement, signature, certificate)],
            },
            "dsseEnvelope": {"payload": _text(statement), "payloadType": kind, "signatures": [{"sig": signature}]},
        }

    def _log(self, key: ec.EllipticCurvePrivateKey, url: str) -> dict[str, Any]:
        return {
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _text(_public(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": _when(self.now - datetime.timedelta(hours=1))},
            },
            "logId": {"keyId": _text(_identity(key))},
        }

    def _root(self) -> x509.Certificate:
        return (
            self._begun(self.authority, _AUTHORITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(self.authority, hashes.SHA256())
        )

    def _certificate(self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str) -> x509.Certificate:
        unlogged = (
            self._begun(key, x509.Name([]))
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
        )
        body = unlogged.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        stamps = x509.UnrecognizedExtension(_TIMESTAMPS, self._timestamps(body))
        return unlogged.add_extension(stamps, critical=False).sign(self.authority, hashes.SHA256())

    def _begun(self, key: ec.EllipticCurvePrivateKey, subject: x509.Name) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_AUTHORITY)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - datetime.timedelta(minutes=5))
            .not_valid_after(self.now + datetime.timedelta(minutes=5))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _timestamps(self, body: bytes) -> bytes:
        """The extension in which the log of certificates promises to keep this one (RFC 6962, section 3.2)."""
        begin = struct.pack("!BB", 0, 0)
        milliseconds = struct.pack("!Q", int(self.now.timestamp() * 1000))
        entry = struct.pack("!H", 1) + _identity(self.authority) + len(body).to_bytes(3, "big") + body
        none = struct.pack("!H", 0)
        signature = _signature(self.certificate_log, begin + milliseconds + entry + none)
        stamp = begin[:1] + _identity(self.certificate_log) + milliseconds + none + _SHA256_ECDSA + _sized(signature)
        stamps = _sized(_sized(stamp))
        # An OCTET STRING in DER, with its length in one byte.
        assert len(stamps) < 128
        return bytes([4, len(stamps)]) + stamps

    def _entry(self, statement: bytes, signature: str, certificate: x509.Certificate) -> dict[str, Any]:
        """The entry in the log of signatures, with the log's promise and proof that it is there."""
        verifier = _text(certificate.public_bytes(serialization.Encoding.PEM))
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()},
                "signatures": [{"signature": signature, "verifier": verifier}],
            },
        }
        content, log, seconds = json.dumps(body).encode(), _identity(self.signature_log), int(self.now.timestamp())
        promised = {"body": _text(content), "integratedTime": seconds, "logID": log.hex(), "logIndex": 0}
        # Canonical JSON: https://www.rfc-editor.org/rfc/rfc8785.
        promise = json.dumps(promised, separators=(",", ":"), sort_keys=True).encode()
        # RFC 6962, section 2.1: the root of a tree with one leaf is the leaf's hash.
        root = hashlib.sha256(b"\0" + content).digest()
        return {
            "logIndex": "0",
            "logId": {"keyId": _text(log)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(seconds),
            "inclusionPromise": {"signedEntryTimestamp": _text(_signature(self.signature_log, promise))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _text(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": self._checkpoint(root)},
            },
            "canonicalizedBody": _text(content),
        }

    def _checkpoint(self, root: bytes) -> str:
        """https://github.com/C2SP/C2SP/blob/main/tlog-checkpoint.md"""
        note = f"rekor.example.com - 1\n1\n{_text(root)}\n"
        signature = _identity(self.signature_log)[:4] + _signature(self.signature_log, note.encode())
        return f"{note}\n\u2014 rekor.example.com {_text(signature)}\n"


def _signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)


def _identity(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_public(key)).digest()


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _sized(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _when(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

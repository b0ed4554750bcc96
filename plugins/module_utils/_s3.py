# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3: the only file that imports boto3. Every request with a decision in it is made here, every error becomes a sentence.

PRIVATE to the collection: no stable interface.
The bytes of files do not pass here: this file signs a URL for each request that carries them (_part_sender.py).
"""

from __future__ import annotations

import dataclasses
import ssl
import traceback
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums
from ansible_collections.llmstack.serving.plugins.module_utils._part_sender import Target
from ansible_collections.llmstack.serving.plugins.module_utils._upload_plan import Part, Remote

try:
    import boto3
    import botocore.config
    import botocore.exceptions
    import botocore.httpsession

    BOTO3_IMPORT_ERROR = None
except ImportError:
    BOTO3_IMPORT_ERROR = traceback.format_exc()

AWS_ARG_SPEC: dict[str, dict[str, Any]] = {
    "access_key": {"type": "str", "no_log": False, "aliases": ["aws_access_key", "aws_access_key_id"]},
    "secret_key": {"type": "str", "no_log": True, "aliases": ["aws_secret_key", "aws_secret_access_key"]},
    "session_token": {"type": "str", "no_log": True, "aliases": ["aws_session_token"]},
    "profile": {"type": "str", "aliases": ["aws_profile"]},
    "region": {"type": "str", "aliases": ["aws_region"]},
    "endpoint_url": {"type": "str", "aliases": ["aws_endpoint_url"]},
    "aws_ca_bundle": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
}
AWS_REQUIRED_TOGETHER = [("access_key", "secret_key")]

# Long enough for a busy server to answer a request whose body is complete.
_ANSWER_TIMEOUT_SECONDS = 60
_CONNECT_TIMEOUT_SECONDS = 10
_URL_VALID_SECONDS = 3600

_TRIAL = b"llmstack"
# What servers answer to a checksum algorithm that they do not know.
_UNKNOWN_ALGORITHM_CODES = {
    "InvalidRequest",
    "InvalidArgument",
    "NotImplemented",
    "BadRequest",
    "XNotImplemented",
    "400",
    "501",
}

# The S3 name of each algorithm: in ChecksumAlgorithm; with "Checksum" before it, in requests and answers.
_CHECKSUM_NAMES = {"crc64nvme": "CRC64NVME", "crc32c": "CRC32C", "crc32": "CRC32"}

# Parameters that a presigned request carries as headers, because its signature covers them there.
_HEADERS = {
    "StorageClass": "x-amz-storage-class",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ACL": "x-amz-acl",
    "Tagging": "x-amz-tagging",
    "ContentMD5": "Content-MD5",
    **{f"Checksum{name}": f"x-amz-checksum-{algorithm}" for algorithm, name in _CHECKSUM_NAMES.items()},
}

# What an error code means to whoever runs the task; {bucket}, {endpoint} and {region} are filled in.
_MEANINGS = {
    "NoSuchBucket": "bucket {bucket} does not exist at {endpoint}: create it or set create_bucket: true",
    "InvalidAccessKeyId": "{endpoint} does not know the access key: check access_key or AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "{endpoint} refuses the signature: secret_key (or AWS_SECRET_ACCESS_KEY) does not belong to "
    "the access key, or a proxy changes requests",
    "RequestTimeTooSkewed": "the clock of this machine and that of {endpoint} differ by more than 15 minutes: "
    "set the clock",
    "ExpiredToken": "the session credentials have expired: get new ones",
    "InvalidToken": "{endpoint} does not know the session token: check session_token or AWS_SESSION_TOKEN",
    "AccessDenied": "{endpoint} denies access: the credentials may not do this in bucket {bucket}",
    "AllAccessDisabled": "{endpoint} denies all access to bucket {bucket}",
    "InvalidBucketName": "{bucket!r} is not a valid bucket name: 3 to 63 lower-case letters, digits, dots and hyphens",
    "PermanentRedirect": "bucket {bucket} is in another region than {region}: set region",
    "AuthorizationHeaderMalformed": "bucket {bucket} is in another region than {region}: set region",
    "IllegalLocationConstraintException": "bucket {bucket} cannot be made in or reached from region {region}: set region "
    "to the endpoint's own",
    "BucketAlreadyExists": "bucket name {bucket} is taken by another owner: choose another",
    "MethodNotAllowed": "{endpoint} does not allow this on bucket {bucket}: is it read-only?",
    "KMS.NotFoundException": "the KMS key does not exist in region {region}: check kms_key_id",
    "QuotaExceeded": "{endpoint} has no space left for bucket {bucket}",
    "XMinioStorageFull": "{endpoint} has no space left",
    "CertificateVerifyFailed": "the certificate of {endpoint} is not signed by a known authority: give its CA in "
    "aws_ca_bundle",
}
_MEANINGS["403"] = _MEANINGS["AccessDenied"]
_MEANINGS["301"] = _MEANINGS["PermanentRedirect"]
_MEANINGS["404"] = _MEANINGS["NoSuchBucket"]


class S3Error(Exception):
    """S3 cannot do what was asked; the message is a sentence, code the S3 error code (or an exception's name)."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class ObjectOptions:
    """How objects are stored; None means the bucket's own default."""

    storage_class: str | None = None
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    acl: str | None = None
    tags: Mapping[str, str] | None = None

    def request(self) -> dict[str, str]:
        values = {
            "StorageClass": self.storage_class,
            "ServerSideEncryption": self.server_side_encryption,
            "SSEKMSKeyId": self.kms_key_id,
            "ACL": self.acl,
            "Tagging": urlencode(self.tags) if self.tags else None,
        }
        return {name: value for name, value in values.items() if value is not None}


class Bucket:
    """One bucket at one endpoint."""

    def __init__(self, name: str, connection: Mapping[str, Any], concurrency: int, attempts: int) -> None:
        """connection: the parameters of AWS_ARG_SPEC. Raises S3Error."""
        self.name = name
        self._connection = connection
        self._concurrency = concurrency
        self._attempts = attempts
        with self._sentences("connect"):
            self._client = self._new_client()
        self.endpoint = self._client.meta.endpoint_url
        self.region = self._client.meta.region_name
        self._upload_part_members = self._client.meta.service_model.shape_for("UploadPartRequest").members

    def _new_client(self) -> Any:
        given = self._connection
        keys = {
            "aws_access_key_id": given["access_key"],
            "aws_secret_access_key": given["secret_key"],
            "aws_session_token": given["session_token"],
        }
        # With keys from the task a profile from the environment must not matter; it may not even exist here.
        profile = None if given["access_key"] else given["profile"]
        session = boto3.session.Session(profile_name=profile, region_name=given["region"], **keys)
        options: dict[str, Any] = {
            "signature_version": "s3v4",
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "read_timeout": _ANSWER_TIMEOUT_SECONDS,
            "max_pool_connections": self._concurrency + 2,
            "retries": {"mode": "standard", "total_max_attempts": self._attempts},
        }
        try:
            # boto3 >= 1.36 would add checksum trailers that older S3-compatible servers answer with 501 or 400.
            config = botocore.config.Config(request_checksum_calculation="when_required", **options)
        except TypeError:
            config = botocore.config.Config(**options)
        verify: bool | str | None = given["aws_ca_bundle"] or None
        if not given["validate_certs"]:
            verify = False
        return session.client("s3", endpoint_url=given["endpoint_url"], verify=verify, config=config)

    def tls(self) -> ssl.SSLContext | None:
        """What the other connections to the endpoint have to verify, as this one does; None without TLS."""
        if not self.endpoint.startswith("https:"):
            return None
        verify = self._client._endpoint.http_session._verify
        context = ssl.create_default_context()
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(botocore.httpsession.get_cert_path(verify))
        return context

    # The bucket itself

    def exists(self) -> bool:
        """Raises S3Error if that cannot be found out."""
        try:
            with self._sentences("look at the bucket"):
                self._client.head_bucket(Bucket=self.name)
        except S3Error as error:
            if error.code in ("404", "NoSuchBucket"):
                return False
            raise
        return True

    def create(self) -> None:
        """Make the bucket, private. Raises S3Error."""
        elsewhere = self.region not in (None, "us-east-1", "aws-global")
        location = {"CreateBucketConfiguration": {"LocationConstraint": self.region}} if elsewhere else {}
        try:
            with self._sentences("create the bucket"):
                self._client.create_bucket(Bucket=self.name, **location)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise

    # Objects

    def objects(self, prefix: str) -> dict[str, Remote]:
        """Key -> object, for all keys that begin with the prefix. Raises S3Error."""
        found = {}
        with self._sentences("list the bucket"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for item in page.get("Contents", []):
                    modified = item["LastModified"].timestamp()
                    found[item["Key"]] = Remote(item["Size"], modified, item.get("StorageClass", "STANDARD"))
        return found

    def neighbours(self, prefix: str) -> list[str]:
        """Other folders whose name begins with this prefix (given without its slash). Raises S3Error."""
        with self._sentences("list the bucket"):
            page = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, Delimiter="/")
        return [item["Prefix"] for item in page.get("CommonPrefixes", []) if item["Prefix"] != f"{prefix}/"]

    def read(self, key: str) -> tuple[bytes, float] | None:
        """Content and time stamp (seconds since 1970) of a small object, or None. Raises S3Error."""
        try:
            with self._sentences(f"read {key}"):
                answer = self._client.get_object(Bucket=self.name, Key=key)
                return answer["Body"].read(), answer["LastModified"].timestamp()
        except S3Error as error:
            if error.code in ("NoSuchKey", "404"):
                return None
            raise

    def write(self, key: str, content: bytes, content_type: str, options: ObjectOptions) -> None:
        """Store a small object. Raises S3Error."""
        with self._sentences(f"write {key}"):
            self._client.put_object(
                Bucket=self.name, Key=key, Body=content, ContentType=content_type, **options.request()
            )

    def delete(self, key: str) -> None:
        """Raises S3Error."""
        with self._sentences(f"delete {key}"):
            self._client.delete_object(Bucket=self.name, Key=key)

    def stored(self, key: str) -> tuple[int, dict[str, str]]:
        """Size in bytes and full-object checksums (by algorithm) that the server has for an object. Raises S3Error."""
        with self._sentences(f"look at {key}"):
            answer = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        values = {algorithm: answer.get(f"Checksum{name}") for algorithm, name in _CHECKSUM_NAMES.items()}
        # A composite checksum (of checksums of parts) ends in -N and says nothing without the parts.
        return answer["ContentLength"], {name: value for name, value in values.items() if value and "-" not in value}

    # Uploads: URLs for those who send the bytes

    def speaks(self, algorithm: str) -> bool:
        """Whether the installed library knows this algorithm (CRC64NVME needs boto3 >= 1.36)."""
        return algorithm == "md5" or f"Checksum{_CHECKSUM_NAMES[algorithm]}" in self._upload_part_members

    @staticmethod
    def confirmed(algorithm: str, checksum: str, answer: Mapping[str, str]) -> bool:
        """Whether the headers of an answer show that the server verified this checksum."""
        # MD5 has no echo: a server that knows Content-MD5 refuses a wrong one, and all do.
        return algorithm == "md5" or answer.get(f"x-amz-checksum-{algorithm}") == checksum

    def verifies(self, algorithm: str, key: str) -> bool:
        """Whether the server verifies this algorithm: tried with a multipart upload that is dropped again.

        Raises S3Error for anything but a server that does not know the algorithm.
        """
        if not self.speaks(algorithm):
            return False
        checksum, upload = _checksums.of_bytes(algorithm, _TRIAL), None
        try:
            upload = self.begin(key, algorithm, ObjectOptions())
            name = "ContentMD5" if algorithm == "md5" else f"Checksum{_CHECKSUM_NAMES[algorithm]}"
            with self._sentences("send a trial part"):
                answer = self._client.upload_part(
                    Bucket=self.name, Key=key, UploadId=upload, PartNumber=1, Body=_TRIAL, **{name: checksum}
                )
            return self.confirmed(algorithm, checksum, answer["ResponseMetadata"]["HTTPHeaders"])
        except S3Error as error:
            if algorithm == "md5" or error.code not in _UNKNOWN_ALGORITHM_CODES:
                raise
            return False
        finally:
            if upload:
                self.abort(key, upload)

    def put_target(self, key: str, algorithm: str, checksum: str, options: ObjectOptions) -> Target:
        """Where to PUT a whole object. Raises S3Error."""
        return self._target("put_object", {"Key": key, **options.request()}, algorithm, checksum)

    def part_target(self, key: str, upload: str, part: Part, algorithm: str, checksum: str) -> Target:
        """Where to PUT a part. Raises S3Error."""
        parameters: dict[str, Any] = {"Key": key, "UploadId": upload, "PartNumber": part.number}
        return self._target("upload_part", parameters, algorithm, checksum)

    def _target(self, operation: str, parameters: dict[str, Any], algorithm: str, checksum: str) -> Target:
        name = "ContentMD5" if algorithm == "md5" else f"Checksum{_CHECKSUM_NAMES[algorithm]}"
        parameters = {**parameters, name: checksum}
        with self._sentences("sign a request"):
            url = self._client.generate_presigned_url(
                operation, Params={"Bucket": self.name, **parameters}, ExpiresIn=_URL_VALID_SECONDS
            )
        return Target(url, {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS})

    def begin(self, key: str, algorithm: str, options: ObjectOptions) -> str:
        """Begin a multipart upload: its id. Raises S3Error."""
        checksum = {}
        if algorithm != "md5":
            checksum = {"ChecksumAlgorithm": _CHECKSUM_NAMES[algorithm], "ChecksumType": "FULL_OBJECT"}
        with self._sentences(f"begin the upload of {key}"):
            answer = self._client.create_multipart_upload(Bucket=self.name, Key=key, **checksum, **options.request())
        return str(answer["UploadId"])

    def complete(
        self, key: str, upload: str, algorithm: str, checksum: str, done: Iterable[tuple[int, str, str]]
    ) -> None:
        """Join the parts (number, ETag, checksum); checksum is the whole file's. Raises S3Error."""
        listed: list[dict[str, Any]] = []
        whole: dict[str, Any] = {}
        name = f"Checksum{_CHECKSUM_NAMES.get(algorithm, '')}"
        for number, etag, part_checksum in sorted(done):
            listed.append({"PartNumber": number, "ETag": etag})
            if algorithm != "md5":
                listed[-1][name] = part_checksum
        if algorithm != "md5":
            whole = {name: checksum, "ChecksumType": "FULL_OBJECT"}
        with self._sentences(f"complete {key}"):
            self._client.complete_multipart_upload(
                Bucket=self.name, Key=key, UploadId=upload, MultipartUpload={"Parts": listed}, **whole
            )

    def abort(self, key: str, upload: str) -> None:
        """Drop a multipart upload and its parts; one that is gone already is fine. Raises S3Error."""
        try:
            with self._sentences(f"abort the upload of {key}"):
                self._client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)
        except S3Error as error:
            if error.code not in ("NoSuchUpload", "404"):
                raise

    # Errors

    def _sentences(self, action: str) -> _Sentences:
        return _Sentences(self, action)

    def explain(self, action: str, code: str, message: str) -> S3Error:
        """An error code of S3, in a sentence for whoever runs the task."""
        meaning = _MEANINGS.get(code)
        endpoint = getattr(self, "endpoint", None) or "the endpoint"
        if meaning is None:
            text = f"{endpoint} answered {code}{f': {message}' if message else ''}".rstrip(".")
        else:
            text = meaning.format(bucket=self.name, endpoint=endpoint, region=getattr(self, "region", None))
        return S3Error(f"Cannot {action}: {text}.", code)


class _Sentences:
    """Turns the library's exceptions into S3Error."""

    def __init__(self, bucket: Bucket, action: str) -> None:
        self._bucket = bucket
        self._action = action

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(
            error, (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError, ValueError)
        ):
            return
        if isinstance(error, botocore.exceptions.ClientError):
            detail = error.response.get("Error", {})
            raise self._bucket.explain(self._action, str(detail.get("Code")), str(detail.get("Message", ""))) from error
        endpoint = getattr(self._bucket, "endpoint", None) or self._bucket._connection["endpoint_url"] or "the endpoint"
        text = _library_error(error, endpoint)
        raise S3Error(f"Cannot {self._action}: {text}.", type(error).__name__) from error


def _library_error(error: BaseException, endpoint: str) -> str:
    exceptions = botocore.exceptions
    if isinstance(error, exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return _MEANINGS["CertificateVerifyFailed"].format(endpoint=endpoint)
        return f"no secure connection to {endpoint}: is it really https?"
    if isinstance(error, exceptions.ProxyConnectionError):
        return "the proxy in HTTP_PROXY or HTTPS_PROXY does not answer: correct it, or list the endpoint in NO_PROXY"
    if isinstance(error, (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)):
        return f"{endpoint} does not answer: check endpoint_url, the network and the server"
    if isinstance(error, (exceptions.ReadTimeoutError, exceptions.ConnectionClosedError, exceptions.HTTPClientError)):
        return f"the connection to {endpoint} broke again and again: check the server and the network"
    if isinstance(error, exceptions.NoCredentialsError):
        return "no credentials: give access_key and secret_key, a profile, AWS_* variables or an instance role"
    if isinstance(error, exceptions.PartialCredentialsError):
        return "the credentials are incomplete: access key and secret key belong together"
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{str(error)[0].lower()}{str(error)[1:]}: check profile or AWS_PROFILE"
    if isinstance(error, exceptions.NoRegionError):
        return "no region: set region or AWS_DEFAULT_REGION"
    if isinstance(error, OSError) and not str(error).startswith("["):
        return f"{str(error).rstrip('.')}: check aws_ca_bundle"
    return str(error).replace("\n", " ").rstrip(".")

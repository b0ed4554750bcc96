# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3: the only file that imports boto3's core. Every request with a decision in it is made here, every error becomes a sentence.

PRIVATE to the collection: no stable interface.
The bytes of files do not pass here: this file signs a URL for each request that carries them (_part_sender.py).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import os
import re
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from ansible_collections.llmstack.serving.plugins.module_utils import _checksums
from ansible_collections.llmstack.serving.plugins.module_utils._part_sender import Target, certificate_fault
from ansible_collections.llmstack.serving.plugins.module_utils._retry import Transient, retried
from ansible_collections.llmstack.serving.plugins.module_utils._upload_plan import Part, Remote

try:
    # What boto3 adds is not used here, and takes a tenth of the time of a task that finds nothing to do.
    import botocore.config
    import botocore.exceptions
    import botocore.httpsession
    import botocore.loaders
    import botocore.parsers
    import botocore.session
    import botocore.utils

    class _Loader(botocore.loaders.Loader):
        """Finds a service without looking into the folders of all 400: that took a quarter of the time to make a client."""

        def list_available_services(self, type_name: str) -> list[str]:
            folders = filter(os.path.isdir, self.search_paths)
            return sorted({name for folder in folders for name in os.listdir(folder)})

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
# Credentials that expire sooner after they were looked for are not worth looking for again.
_RENEWAL_LASTS_SECONDS = 60.0
# An endpoint that has not answered yet is more likely misspelt than busy.
_FIRST_CONTACT_ATTEMPTS = 2

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

# To whoever may not list unfinished uploads (s3:ListBucketMultipartUploads), and by servers that cannot, or cannot
# beyond the first page (versitygw 1.8 calls its own marker an InvalidArgument).
_UNLISTABLE_CODES = {"AccessDenied", "403", "MethodNotAllowed", "NotImplemented", "XNotImplemented", "501"}
_UNLISTABLE_CODES |= {"InvalidArgument"}

# Answers after which the same request may succeed.
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "InternalError", "BadDigest"}
# What the answer to a request has if it was done. Servers that have begun to answer 200 before they failed put the error
# into the body (Amazon S3 API reference, CompleteMultipartUpload); the library looks for that in a few answers only.
_PROOFS = {
    "complete_multipart_upload": ("ETag", "Key"),
    "create_multipart_upload": ("UploadId",),
    "get_object": ("ETag", "LastModified"),
    "get_object_tagging": ("TagSet",),
    "head_object": ("ETag", "LastModified"),
    "list_multipart_uploads": ("Bucket", "IsTruncated"),
    "list_objects_v2": ("Name", "IsTruncated"),
    "list_parts": ("Key", "IsTruncated"),
    "put_object": ("ETag",),
    "upload_part": ("ETag",),
}
# The session's credentials ran out; new ones may be there already.
_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}

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
    "CertificateExpired": "the certificate of {endpoint} has expired, or the clock of this machine is wrong: renew it",
    "CertificateOfAnotherName": "the certificate of {endpoint} is for another name: use a name that it lists in "
    "endpoint_url",
}
_MEANINGS["InvalidLocationConstraint"] = _MEANINGS["IllegalLocationConstraintException"]
# versitygw's own name for it.
_MEANINGS["XAdminUserNotFound"] = _MEANINGS["InvalidAccessKeyId"]
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


@dataclasses.dataclass(frozen=True)
class Begun:
    """A multipart upload that was begun.

    whole: the server keeps a checksum of the whole, not of checksums of parts. only: no other upload was begun by an
    earlier attempt whose answer was lost.
    """

    id: str
    whole: bool
    only: bool


class Bucket:
    """One bucket at one endpoint."""

    def __init__(
        self, name: str, connection: Mapping[str, Any], concurrency: int, attempts: int, in_any_region: bool = False
    ) -> None:
        """connection: the parameters of AWS_ARG_SPEC. Raises S3Error.

        in_any_region: look for a bucket that is in another region there; signed URLs do not lead there.
        """
        self.name = name
        self._in_any_region = in_any_region
        self.endpoint = connection["endpoint_url"] or "Amazon S3"
        self.region = connection["region"]
        self._connection = connection
        self._concurrency = concurrency
        self._attempts = attempts
        self._wait: Callable[[float], object] = time.sleep
        self._answered = False
        self._renewed = -_RENEWAL_LASTS_SECONDS
        self._lock = threading.Lock()
        try:
            self._client = self._new_client()
        except (botocore.exceptions.BotoCoreError, ValueError, OSError) as error:
            raise self._sentence("reach S3", error) from error
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
        # With keys from the task AWS_PROFILE must not matter: that profile may not even exist here.
        profile = None if given["access_key"] else given["profile"]
        variables = {"profile": (None, None, None, None)} if given["access_key"] else None
        session = botocore.session.Session(session_vars=variables, profile=profile)
        paths = session.get_component("data_loader").search_paths
        session.register_component("data_loader", _Loader(paths, include_default_search_paths=False))
        # The library's own parser takes longer for a list of objects than all else that is done with it.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        options: dict[str, Any] = {
            "signature_version": "s3v4",
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "read_timeout": _ANSWER_TIMEOUT_SECONDS,
            "max_pool_connections": self._concurrency + 2,
            # Once: _call decides what is done again, so that all requests follow one rule.
            "retries": {"mode": "standard", "total_max_attempts": 1},
        }
        try:
            # boto3 >= 1.36 would add checksum trailers that older S3-compatible servers answer with 501 or 400.
            config = botocore.config.Config(request_checksum_calculation="when_required", **options)
        except TypeError:
            config = botocore.config.Config(**options)
        verify: bool | str | None = given["aws_ca_bundle"] or None
        if not given["validate_certs"]:
            verify = False
        # The library itself only looks at AWS_DEFAULT_REGION; every other SDK, and all AWS runtimes, have this one.
        region = given["region"] or os.environ.get("AWS_REGION") or None
        client = session.create_client(
            "s3", region_name=region, endpoint_url=given["endpoint_url"], verify=verify, config=config, **keys
        )
        client.meta.events.register("before-parameter-build.s3", self._stay_in_region)
        return client

    def _stay_in_region(self, context: dict[str, Any] | None = None, **_others: Any) -> None:
        """Let signed URLs name the same host as all other requests.

        botocore signs URLs for the global one (signers.py, _should_use_global_endpoint), which sends clients on to the
        region by 307 until the name of a new bucket is known everywhere, and which a firewall need not let through.
        """
        if not context:
            return
        context.pop("use_global_endpoint", None)
        if "s3_redirect" in context and not self._in_any_region:
            # As if it had been followed once: only requests of the library would follow, never the bytes of files.
            context["s3_redirect"]["redirected"] = True

    def interrupt_pauses(self, wait: Callable[[float], object]) -> None:
        """Pause between attempts with this function instead of sleeping."""
        self._wait = wait

    def tls(self) -> ssl.SSLContext | None:
        """What other connections to the endpoint have to verify, exactly as this one does; None without TLS.

        Raises S3Error if the authorities cannot be read.
        """
        if not self.endpoint.startswith("https:"):
            return None
        verify = self._client._endpoint.http_session._verify
        context = ssl.create_default_context()
        # Since Python 3.13 it asks more of certificates, and less, than the library's own (httpsession.py,
        # create_urllib3_context), so that one of the two would refuse what the other has accepted.
        context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        path = botocore.httpsession.get_cert_path(verify)
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise S3Error(f"The CA bundle {path} cannot be used: {error.strerror or error}.") from error
        return context

    # Requests

    def _call(self, action: str, operation: str, **parameters: Any) -> Any:
        """One request, again if it failed for a reason that may pass. Raises S3Error."""
        return self._call_and_read(None, action, operation, **parameters)

    def _call_and_read(self, limit_bytes: int | None, action: str, operation: str, **parameters: Any) -> Any:
        """As _call, but of the object's content at most `limit_bytes` are read."""

        attempts = 0

        def once() -> Any:
            nonlocal attempts
            attempts += 1
            client = self._client
            try:
                answer = getattr(client, operation)(Bucket=self.name, **parameters)
                if operation == "get_object":
                    answer["Body"] = answer["Body"].read(limit_bytes)
            except botocore.exceptions.ClientError as error:
                detail = error.response.get("Error", {})
                code, message = str(detail.get("Code")), str(detail.get("Message", ""))
                if code in _EXPIRED_CODES and self._renew(client):
                    raise Transient("the credentials expired") from error
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES:
                    raise Transient(f"{self.endpoint} answered {code}") from error
                raise self.explain(action, code, message) from error
            except (
                botocore.exceptions.BotoCoreError,
                botocore.parsers.ResponseParserError,
                ValueError,
                OSError,
            ) as error:
                if _may_pass(error):
                    raise Transient(str(error), None if self._answered else _FIRST_CONTACT_ATTEMPTS) from error
                raise self._sentence(action, error) from error
            self._answered = True
            if not _is_done(operation, answer):
                raise Transient("the answer to a request was an error with the status of a success")
            # What the library calls so; it made only one attempt each time.
            answer["ResponseMetadata"]["RetryAttempts"] = attempts - 1
            return answer

        try:
            return retried(self._attempts, self._wait, once)
        except Transient as error:
            cause = error.__cause__
            if cause and not isinstance(cause, botocore.exceptions.ClientError):
                raise self._sentence(action, cause) from error
            raise S3Error(f"Cannot {action}: {error}, in {self._attempts} attempts.", "Transient") from error

    def _renew(self, used: Any) -> bool:
        """Look for credentials anew, as at the start; whether a request of that client is worth another attempt."""
        with self._lock:
            if self._client is not used:
                return True
            if time.monotonic() - self._renewed < _RENEWAL_LASTS_SECONDS:
                return False
            try:
                self._client = self._new_client()
            except (botocore.exceptions.BotoCoreError, ValueError, OSError):
                return False
            self._renewed = time.monotonic()
            return True

    # The bucket and its objects

    def create(self) -> None:
        """Make the bucket, private. Raises S3Error."""
        elsewhere = self.region not in (None, "us-east-1", "aws-global")
        location = {"CreateBucketConfiguration": {"LocationConstraint": self.region}} if elsewhere else {}
        try:
            self._call("create the bucket", "create_bucket", **location)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise

    def objects(self, prefix: str) -> dict[str, Remote] | None:
        """Key -> object for all keys that begin with the prefix; None if there is no such bucket. Raises S3Error."""
        found: dict[str, Remote] = {}
        more: dict[str, str] = {}
        while True:
            try:
                page = self._call("list the bucket", "list_objects_v2", Prefix=prefix, **more)
            except S3Error as error:
                if error.code == "NoSuchBucket":
                    return None
                raise
            for item in page.get("Contents", []):
                found[item["Key"]] = Remote(item["Size"], item["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def neighbours(self, prefix: str) -> list[str]:
        """Other folders whose name begins with this prefix (given without its slash). Raises S3Error."""
        page = self._call("list the bucket", "list_objects_v2", Prefix=prefix, Delimiter="/")
        return [item["Prefix"] for item in page.get("CommonPrefixes", []) if item["Prefix"] != f"{prefix}/"]

    def read(self, key: str) -> bytes | None:
        """The content of a small object, or None. Raises S3Error."""
        try:
            return bytes(self._call(f"read {key}", "get_object", Key=key)["Body"])
        except S3Error as error:
            if error.code in ("NoSuchKey", "404"):
                return None
            raise

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Some bytes of an object, fewer at its end. Raises S3Error."""
        if length <= 0:
            return b""
        wanted = f"bytes={offset}-{offset + length - 1}"
        # A server that ignores ranges would send everything: no more than asked for is taken from the connection.
        answer = self._call_and_read(length, f"read {key}", "get_object", Key=key, Range=wanted)
        return bytes(answer["Body"])

    def write(self, key: str, content: bytes, content_type: str, algorithm: str, options: ObjectOptions) -> None:
        """Store a small object. Raises S3Error."""
        checksum = {_parameter(algorithm): _checksums.of_bytes(algorithm, content)}
        parameters = {"Key": key, "Body": content, "ContentType": content_type, **checksum, **options.request()}
        self._call(f"write {key}", "put_object", **parameters)

    def delete(self, key: str) -> None:
        """Raises S3Error."""
        # One by one: servers differ in what they ask of a request that deletes many.
        self._call(f"delete {key}", "delete_object", Key=key)

    def stored(self, key: str) -> tuple[int, dict[str, str]] | None:
        """Size in bytes and full-object checksums (by algorithm) of an object, or None. Raises S3Error."""
        try:
            answer = self._call(f"look at {key}", "head_object", Key=key, ChecksumMode="ENABLED")
        except S3Error as error:
            if error.code in ("NoSuchKey", "404"):
                return None
            raise
        values = {algorithm: answer.get(f"Checksum{name}") for algorithm, name in _CHECKSUM_NAMES.items()}
        # A composite checksum (of checksums of parts) ends in -N and says nothing without the parts.
        return answer["ContentLength"], {name: value for name, value in values.items() if value and "-" not in value}

    def tags(self, key: str) -> dict[str, str]:
        """Raises S3Error."""
        answer = self._call(f"read the tags of {key}", "get_object_tagging", Key=key)
        return {item["Key"]: item["Value"] for item in answer["TagSet"]}

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of an object. Raises S3Error."""
        listed = [{"Key": name, "Value": value} for name, value in sorted(tags.items())]
        self._call(f"tag {key}", "put_object_tagging", Key=key, Tagging={"TagSet": listed})

    # Checksums

    def speaks(self, algorithm: str) -> bool:
        """Whether the installed library knows this algorithm (CRC64NVME needs boto3 >= 1.36)."""
        return algorithm == "md5" or _parameter(algorithm) in self._upload_part_members

    @staticmethod
    def confirmed(algorithm: str, checksum: str, answer: Mapping[str, str]) -> bool:
        """Whether the headers of an answer show that the server verified this checksum."""
        if algorithm != "md5":
            return answer.get(f"x-amz-checksum-{algorithm}") == checksum
        # MD5 has no echo, and not every server looks at Content-MD5. The ETag is the MD5 of what arrived, unless a KMS key
        # encrypts it (Amazon S3 API reference, Object).
        encrypted = answer.get("x-amz-server-side-encryption", "").startswith("aws:kms")
        return encrypted or _md5_text(answer.get("etag", "")) == checksum

    def verifies(self, algorithm: str, key: str, begin: Callable[[], str]) -> bool:
        """Whether the server verifies this algorithm: tried with a multipart upload, which begin() begins.

        Raises S3Error for anything but a server that does not know the algorithm.
        """
        if not self.speaks(algorithm):
            return False
        checksum = _checksums.of_bytes(algorithm, _TRIAL)
        try:
            parameters = {"Key": key, "UploadId": begin(), "PartNumber": 1, _parameter(algorithm): checksum}
            answer = self._call("send a trial part", "upload_part", Body=_TRIAL, **parameters)
            return self.confirmed(algorithm, checksum, answer["ResponseMetadata"]["HTTPHeaders"])
        except S3Error as error:
            if algorithm == "md5" or error.code not in _UNKNOWN_ALGORITHM_CODES:
                raise
            return False

    # Requests with the bytes of files: URLs for those who send them

    def put_target(self, key: str, algorithm: str, checksum: str, options: ObjectOptions) -> Target:
        """Where to PUT a whole object. Raises S3Error or Transient."""
        return self._target("put_object", {"Key": key, **options.request()}, algorithm, checksum)

    def part_target(self, key: str, upload: str, part: Part, algorithm: str, checksum: str) -> Target:
        """Where to PUT a part. Raises S3Error or Transient."""
        parameters: dict[str, Any] = {"Key": key, "UploadId": upload, "PartNumber": part.number}
        return self._target("upload_part", parameters, algorithm, checksum)

    def _target(self, operation: str, parameters: dict[str, Any], algorithm: str, checksum: str) -> Target:
        parameters = {**parameters, _parameter(algorithm): checksum}
        client = self._client
        try:
            url = client.generate_presigned_url(
                operation, Params={"Bucket": self.name, **parameters}, ExpiresIn=_URL_VALID_SECONDS
            )
        except (botocore.exceptions.BotoCoreError, ValueError, OSError) as error:
            # Signing may have to fetch new credentials.
            if _may_pass(error):
                raise Transient(str(error)) from error
            raise self._sentence("sign a request", error) from error
        headers = {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}
        return Target(url, headers, client)

    def refused(self, action: str, target: Target, status: int, code: str, message: str) -> Exception:
        """What to raise when a request to the target was refused: S3Error, or Transient after new credentials."""
        # A URL that waited too long for its turn is refused as AccessDenied with this message.
        expired = code in _EXPIRED_CODES or "Request has expired" in message
        if expired and self._renew(target.signer):
            return Transient("the credentials expired")
        return self.explain(action, code or str(status), message)

    # Multipart uploads

    def begin(self, key: str, algorithm: str, options: ObjectOptions) -> Begun:
        """Begin a multipart upload. Raises S3Error; even then there may be one that nobody knows the id of."""
        checksum = {}
        if algorithm != "md5":
            checksum = {"ChecksumAlgorithm": _CHECKSUM_NAMES[algorithm]}
            if "ChecksumType" in self._client.meta.service_model.shape_for("CreateMultipartUploadRequest").members:
                checksum["ChecksumType"] = "FULL_OBJECT"
        action = f"begin the upload of {key}"
        answer = self._call(action, "create_multipart_upload", Key=key, **checksum, **options.request())
        only = answer["ResponseMetadata"]["RetryAttempts"] == 0
        return Begun(str(answer["UploadId"]), answer.get("ChecksumType") == "FULL_OBJECT", only)

    def uploaded(self, key: str, upload: str, algorithm: str) -> dict[int, tuple[int, str, str]] | None:
        """Part number -> (size in bytes, ETag, checksum) of an unfinished upload; None if it is gone. Raises S3Error."""
        found: dict[int, tuple[int, str, str]] = {}
        marker = 0
        while True:
            try:
                page = self._call(
                    f"look at the parts of {key}", "list_parts", Key=key, UploadId=upload, PartNumberMarker=marker
                )
            except S3Error as error:
                if error.code in ("NoSuchUpload", "404"):
                    return None
                raise
            for part in page.get("Parts", []):
                # The ETag of a part is its MD5, in hexadecimal, on servers that are asked to verify MD5.
                checksum = _md5_text(part["ETag"]) if algorithm == "md5" else part.get(_parameter(algorithm), "")
                found[part["PartNumber"]] = (part["Size"], part["ETag"], checksum)
            if not page.get("IsTruncated"):
                return found
            marker = page["NextPartNumberMarker"]

    def unfinished(self, prefix: str) -> list[tuple[str, str]] | None:
        """(key, id) of multipart uploads under a prefix, by whomever; None if they cannot be listed. Raises S3Error."""
        found: list[tuple[str, str]] = []
        more: dict[str, str] = {}
        while True:
            try:
                page = self._call("list unfinished uploads", "list_multipart_uploads", Prefix=prefix, **more)
            except S3Error as error:
                if error.code == "NoSuchBucket":
                    return []
                if error.code in _UNLISTABLE_CODES:
                    return None
                raise
            found += [(item["Key"], item["UploadId"]) for item in page.get("Uploads", [])]
            if not page.get("IsTruncated"):
                return found
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def complete(
        self, key: str, upload: str, algorithm: str, checksum: str | None, done: Iterable[tuple[int, str, str]]
    ) -> bool:
        """Join the parts (number, ETag, checksum); checksum is the whole file's, for servers that keep such.

        False if the upload is gone: the answer to an earlier attempt may have been lost. Raises S3Error.
        """
        listed: list[dict[str, Any]] = []
        for number, etag, part_checksum in sorted(done):
            listed.append({"PartNumber": number, "ETag": etag})
            if algorithm != "md5":
                listed[-1][_parameter(algorithm)] = part_checksum
        whole: dict[str, Any] = {}
        if algorithm != "md5" and checksum is not None:
            whole = {_parameter(algorithm): checksum, "ChecksumType": "FULL_OBJECT"}
        parameters = {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": listed}, **whole}
        try:
            self._call(f"complete {key}", "complete_multipart_upload", **parameters)
        except S3Error as error:
            if error.code in ("NoSuchUpload", "404"):
                return False
            raise
        return True

    def abort(self, key: str, upload: str) -> None:
        """Drop a multipart upload and its parts; one that is gone already is fine. Raises S3Error."""
        try:
            self._call(f"abort the upload of {key}", "abort_multipart_upload", Key=key, UploadId=upload)
        except S3Error as error:
            if error.code not in ("NoSuchUpload", "NoSuchBucket", "404"):
                raise

    # Errors

    def explain(self, action: str, code: str, message: str) -> S3Error:
        """An error code of S3, in a sentence for whoever runs the task."""
        meaning = _MEANINGS.get(code)
        if meaning is None:
            text = f"{self.endpoint} answered {code}{f': {message}' if message else ''}"
        else:
            text = meaning.format(bucket=self.name, endpoint=self.endpoint, region=self.region)
        return S3Error(f"Cannot {action}: {' '.join(text.split()).rstrip('.')}.", code)

    def _sentence(self, action: str, error: BaseException) -> S3Error:
        text = " ".join(_library_error(error, self.endpoint).split()).rstrip(".")
        return S3Error(f"Cannot {action}: {text}.", type(error).__name__)


def _is_done(operation: str, answer: Mapping[str, Any]) -> bool:
    if any(name in answer for name in _PROOFS.get(operation, ())):
        return True
    # Others are answered without a body.
    if operation in _PROOFS:
        return False
    return answer["ResponseMetadata"]["HTTPHeaders"].get("content-length", "0") == "0"


def _moment(text: Any) -> datetime.datetime:
    try:
        # As S3 writes it: 2026-11-25T08:15:30.000Z.
        return datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return botocore.utils.parse_timestamp(text)


def _parameter(algorithm: str) -> str:
    return "ContentMD5" if algorithm == "md5" else f"Checksum{_CHECKSUM_NAMES[algorithm]}"


def _md5_text(etag: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(etag.strip('"'))).decode()
    except ValueError:
        return ""


def _may_pass(error: BaseException) -> bool:
    exceptions = botocore.exceptions
    if isinstance(error, (exceptions.SSLError, exceptions.ProxyConnectionError)):
        return False
    passing = (exceptions.HTTPClientError, exceptions.IncompleteReadError, botocore.parsers.ResponseParserError)
    return isinstance(error, (*passing, ConnectionError, TimeoutError))


def _library_error(error: BaseException, endpoint: str) -> str:
    exceptions = botocore.exceptions
    if isinstance(error, exceptions.SSLError):
        if code := certificate_fault(str(error)):
            return _MEANINGS[code].format(endpoint=endpoint)
        return f"no secure connection to {endpoint}: is it really https?"
    if isinstance(error, exceptions.ProxyConnectionError):
        # http/client.py, _tunnel: the answer to CONNECT, which the library keeps but does not show.
        if refusal := re.search(r"Tunnel connection failed: ([^'\")]+)", str(error.kwargs.get("error"))):
            answer = refusal[1].strip()
            return f"the proxy in HTTPS_PROXY answered {answer}: correct its login, or list the endpoint in NO_PROXY"
        return "the proxy in HTTP_PROXY or HTTPS_PROXY does not answer: correct it, or list the endpoint in NO_PROXY"
    if isinstance(error, (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)):
        return f"{endpoint} does not answer: check endpoint_url, the network and the server"
    if isinstance(error, botocore.parsers.ResponseParserError):
        return f"{endpoint} does not answer like S3: check endpoint_url"
    if isinstance(error, (exceptions.HTTPClientError, exceptions.IncompleteReadError, ConnectionError, TimeoutError)):
        return f"the connection to {endpoint} broke again and again: check the server and the network"
    if isinstance(error, exceptions.NoCredentialsError):
        return "no credentials: give access_key and secret_key, a profile, AWS_* variables or an instance role"
    if isinstance(error, exceptions.PartialCredentialsError):
        return "the credentials are incomplete: access key and secret key belong together"
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{str(error)[0].lower()}{str(error)[1:].rstrip('.')}: check profile or AWS_PROFILE"
    if isinstance(error, exceptions.NoRegionError):
        return "no region: set region or AWS_DEFAULT_REGION"
    return str(error)

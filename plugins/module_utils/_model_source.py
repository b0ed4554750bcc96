# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a model lies (a directory or a prefix of a bucket), read a few bytes at a time. PRIVATE to the collection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from ansible_collections.llmstack.serving.plugins.module_utils import _checkpoint, _model_architectures, _s3
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import Tensor

ARGUMENT_SPEC = _s3.AWS_ARG_SPEC
REQUIRED_TOGETHER = _s3.AWS_REQUIRED_TOGETHER

# Headers of the shards of a model on S3 are fetched at the same time: each is one round trip.
_S3_CONCURRENCY = 8
_S3_ATTEMPTS = 4


class SourceError(Exception):
    """The place cannot be read; the message is a sentence."""


class MissingLibrary(Exception):
    """A library that this source needs is not installed: its name, and the import's traceback."""

    def __init__(self, library: str, details: str) -> None:
        super().__init__(library)
        self.library, self.details = library, details


class Source(Protocol):
    """A folder of a model: the sizes of its files in bytes, and bytes of them."""

    place: str
    concurrency: int

    def sizes(self) -> Mapping[str, int]: ...

    def read(self, name: str, offset: int, length: int) -> bytes: ...


class Directory:
    """A directory on this machine."""

    concurrency = 1

    def __init__(self, path: str) -> None:
        self.place = path

    def sizes(self) -> dict[str, int]:
        try:
            with os.scandir(self.place) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except NotADirectoryError as error:
            raise SourceError(f"{self.place} is a file: give the directory that holds config.json.") from error
        except FileNotFoundError as error:
            raise SourceError(f"{self.place} does not exist on this machine.") from error
        except OSError as error:
            raise SourceError(f"{self.place} cannot be read: {error.strerror}.") from error

    def read(self, name: str, offset: int, length: int) -> bytes:
        try:
            with open(os.path.join(self.place, name), "rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise SourceError(f"{self.place}/{name} cannot be read: {error.strerror}.") from error


class Prefix:
    """A prefix of a bucket."""

    concurrency = _S3_CONCURRENCY

    def __init__(self, uri: str, connection: Mapping[str, Any]) -> None:
        """connection: the parameters of ARGUMENT_SPEC."""
        if _s3.BOTO3_IMPORT_ERROR:
            raise MissingLibrary("boto3", _s3.BOTO3_IMPORT_ERROR)
        bucket, _slash, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise SourceError(f"{uri} names no bucket: write s3://bucket/prefix.")
        self.place = uri.rstrip("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._uri = uri
        try:
            self._bucket = _s3.Bucket(bucket, connection, _S3_CONCURRENCY, _S3_ATTEMPTS, in_any_region=True)
        except _s3.S3Error as error:
            raise SourceError(str(error)) from error

    def sizes(self) -> dict[str, int]:
        try:
            found = self._bucket.objects(self._prefix)
        except _s3.S3Error as error:
            raise SourceError(str(error)) from error
        if not found:
            raise SourceError(f"{self._uri} holds no object: check bucket and prefix.")
        return {key.removeprefix(self._prefix): remote.size_bytes for key, remote in found.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        try:
            return self._bucket.read_range(self._prefix + name, offset, length)
        except _s3.S3Error as error:
            raise SourceError(str(error)) from error


def at(model: str, connection: Mapping[str, Any]) -> Source:
    """The source that `model` names: a directory or s3://bucket/prefix. Raises SourceError, MissingLibrary."""
    if model.startswith("s3://"):
        return Prefix(model, connection)
    if "://" in model:
        raise SourceError(f"{model} is neither a directory nor s3://bucket/prefix.")
    return Directory(os.path.expanduser(model))


class Counting:
    """A source that counts the bytes that were read from it."""

    def __init__(self, source: Source) -> None:
        self.source, self.bytes_read = source, 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        found = self.source.read(name, offset, length)
        self.bytes_read += len(found)
        return found


def load(source: Source) -> tuple[dict[str, Any], list[Tensor], int]:
    """config.json, the tensors of all files that an engine loads, and how many bytes were read for that.

    Raises SourceError, and CheckpointError or HeaderError of what is read.
    """
    counted, sizes = Counting(source), source.sizes()
    config = _checkpoint.config(source.place, sizes, counted.read)
    # Said before hundreds of headers are fetched for nothing.
    _model_architectures.describe(config)
    tensors = _checkpoint.tensors(source.place, sizes, counted.read, source.concurrency)
    return config, tensors, counted.bytes_read

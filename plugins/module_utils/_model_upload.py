# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One upload of a model from beginning to end: look, decide, withdraw the manifest, send, verify, publish the manifest.

PRIVATE to the collection: no stable interface.
The order is what readers rely on: an object is only ever changed while there is no manifest, so a manifest means that
every file it lists is there, whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _checksums,
    _model_files,
    _source_files,
    _upload_plan,
)
from ansible_collections.llmstack.serving.plugins.module_utils._part_sender import (
    Refused,
    Sender,
    SourceShrank,
    Target,
    Transient,
)
from ansible_collections.llmstack.serving.plugins.module_utils._s3 import Bucket, ObjectOptions, S3Error
from ansible_collections.llmstack.serving.plugins.module_utils._source_files import Digests, SourceFile
from ansible_collections.llmstack.serving.plugins.module_utils._upload_plan import Part, Remote

T = TypeVar("T")
_LONGEST_PAUSE_SECONDS = 20.0
# How many names a message lists before it only counts.
_NAMES_IN_A_MESSAGE = 5


class UploadError(Exception):
    """The upload cannot be done; the message is a sentence."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the task asks for."""

    src: str
    prefix: str
    manifest: str
    include: Sequence[str]
    exclude: Sequence[str]
    create_bucket: bool
    delete: bool
    options: ObjectOptions
    concurrency: int
    part_size_bytes: int
    attempts: int
    state_folder: str
    check_mode: bool


@dataclasses.dataclass
class Outcome:
    """What was done (in check mode: would be). Paths are relative to the prefix."""

    actions: dict[str, str]
    sizes: dict[str, int]
    digests: dict[str, Digests]
    before: dict[str, Any]
    changed: bool
    manifest: bytes | None = None
    bytes_sent: int = 0
    bytes_skipped: int = 0
    seconds: float = 0.0

    def files(self) -> list[dict[str, Any]]:
        """path, size, sha256 (None if not known) and action of every file, sorted by path."""
        return [
            {"path": path, "size": self.sizes[path], "sha256": self._sha256(path), "action": action}
            for path, action in sorted(self.actions.items())
        ]

    def diff(self) -> dict[str, Any]:
        after = {path: item for path, item in self.before.items() if path not in self.actions}
        for path, action in self.actions.items():
            if action != "delete":
                after[path] = _shown(self.sizes[path], self._sha256(path))
        return _upload_plan.diff(self.before, after)

    def manifest_sha256(self) -> str | None:
        return None if self.manifest is None else hashlib.sha256(self.manifest).hexdigest()

    def _sha256(self, path: str) -> str | None:
        return self.digests[path].sha256 if path in self.digests else None


class ModelUpload:
    """The upload of one model; use it once."""

    def __init__(self, request: Request, bucket: Bucket, warn: Callable[[str], None]) -> None:
        self._request = request
        self._bucket = bucket
        self._warn = warn
        self._sender = Sender(bucket.tls(), timeout_seconds=60)
        self._known = _source_files.KnownDigests(request.state_folder, request.src)
        self._algorithm = self._best_local_algorithm()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._digests: dict[str, Digests] = {}
        self._bytes_sent = 0

    def present(self) -> Outcome:
        """Upload what is not there yet. Raises UploadError, SourceError or S3Error."""
        request = self._request
        begin = time.monotonic()
        files = _source_files.find(request.src, self._keeps)
        self._refuse_bad(files)
        bucket_exists = self._bucket.exists()
        if not bucket_exists and not request.create_bucket:
            raise self._bucket.explain("upload the model", "NoSuchBucket", "")
        remote = self._listed() if bucket_exists else {}
        published, recorded, published_at = self._published(remote)
        to_send = self._to_send(files, remote, recorded, published_at)
        local = {file.path: file for file in files}
        strangers = _upload_plan.strangers(remote, local, request.manifest)
        to_delete = strangers if request.delete else []
        if strangers and not to_delete:
            self._warn(
                f"Objects under s3://{self._bucket.name}/{request.prefix}/ are not in src and every pod downloads them "
                f"too ({_names(strangers)}): set delete: true to remove them."
            )
        actions = dict.fromkeys(local, "skip")
        actions |= dict.fromkeys((file.path for file in to_send), "send")
        actions |= dict.fromkeys(to_delete, "delete")
        before = {path: _shown(item.size_bytes, recorded.get(path, {}).get("sha256")) for path, item in remote.items()}
        before.pop(request.manifest, None)
        skipped = sum(file.size_bytes for file in files if actions[file.path] == "skip")
        sizes = {path: item.size_bytes for path, item in remote.items()}
        sizes |= {file.path: file.size_bytes for file in files}
        changed = bool(to_send or to_delete) or not bucket_exists
        outcome = Outcome(actions, sizes, self._digests, before, changed, bytes_skipped=skipped)
        if request.check_mode:
            if not to_send:
                outcome.manifest = self._manifest(files)
                outcome.changed = outcome.changed or outcome.manifest != published
            outcome.bytes_sent = sum(file.size_bytes for file in to_send)
            outcome.seconds = time.monotonic() - begin
            return outcome
        if not bucket_exists:
            self._bucket.create()
        try:
            if outcome.changed:
                self._change(to_send, to_delete, withdraw=published is not None)
                self._prove(files)
        finally:
            self._remember(files)
        outcome.manifest = self._manifest(files)
        if outcome.changed or outcome.manifest != published:
            outcome.changed = True
            self._bucket.write(self._key(request.manifest), outcome.manifest, "application/json", request.options)
            self._warn_of_neighbours()
        outcome.bytes_sent = self._bytes_sent
        outcome.seconds = time.monotonic() - begin
        return outcome

    def absent(self) -> Outcome:
        """Remove what the manifest lists (with delete: everything under the prefix). Raises S3Error or UploadError."""
        request = self._request
        begin = time.monotonic()
        remote = self._listed() if self._bucket.exists() else {}
        published, recorded, _when = self._published(remote)
        ours = {path for path in remote if path in recorded or (path == request.manifest and published is not None)}
        doomed = set(remote) if request.delete else ours
        if left := sorted(set(remote) - doomed):
            self._warn(
                f"Objects under s3://{self._bucket.name}/{request.prefix}/ that no manifest lists were left "
                f"({_names(left)}): set delete: true to remove them too."
            )
        before = {path: _shown(item.size_bytes, recorded.get(path, {}).get("sha256")) for path, item in remote.items()}
        sizes = {path: item.size_bytes for path, item in remote.items()}
        outcome = Outcome(dict.fromkeys(doomed, "delete"), sizes, {}, before, bool(doomed))
        if not request.check_mode:
            if request.manifest in doomed:
                self._bucket.delete(self._key(request.manifest))
            self._in_parallel(self._deletion(path) for path in sorted(doomed - {request.manifest}))
        outcome.seconds = time.monotonic() - begin
        return outcome

    # Looking

    def _keeps(self, path: str) -> bool:
        request = self._request
        return _model_files.belongs(path, request.include, request.exclude, request.manifest)

    def _key(self, path: str) -> str:
        return f"{self._request.prefix}/{path}"

    def _refuse_bad(self, files: Sequence[SourceFile]) -> None:
        for file in files:
            if fault := _model_files.key_fault(self._key(file.path)):
                raise UploadError(f"{file.location!r} cannot be uploaded: {fault}.")
            if file.size_bytes > _upload_plan.LARGEST_OBJECT_BYTES:
                raise UploadError(
                    f"{file.location} has {file.size_bytes} bytes, more than the {_upload_plan.MOST_PARTS} parts of "
                    "5 GiB that S3 allows for an object: split it."
                )

    def _listed(self) -> dict[str, Remote]:
        start = len(self._request.prefix) + 1
        return {
            key[start:]: item for key, item in self._bucket.objects(f"{self._request.prefix}/").items() if key[start:]
        }

    def _published(self, remote: Mapping[str, Remote]) -> tuple[bytes | None, dict[str, Any], float | None]:
        """The manifest's content, its entries by path, and when it was written; None, {}, None without one."""
        if self._request.manifest not in remote:
            return None, {}, None
        found = self._bucket.read(self._key(self._request.manifest))
        if found is None:
            return None, {}, None
        content, modified = found
        try:
            return content, _model_files.parse_manifest(content)["files"], modified
        except ValueError as error:
            raise UploadError(
                f"s3://{self._bucket.name}/{self._key(self._request.manifest)} is in the way: {error}. Choose another name "
                "with manifest, or remove it."
            ) from None

    def _to_send(
        self,
        files: Sequence[SourceFile],
        remote: Mapping[str, Remote],
        recorded: Mapping[str, Any],
        published_at: float | None,
    ) -> list[SourceFile]:
        """The files that are not there yet; the digests of all others are known afterwards."""

        def differs(file: SourceFile) -> bool:
            entry = recorded.get(file.path)
            look = _upload_plan.first_look(file.size_bytes, entry, remote.get(file.path), published_at)
            if look == "send":
                return True
            if look == "manifest" and entry is not None:
                return self._digest(file, self._algorithm).sha256 != entry["sha256"]
            size_bytes, checksums = self._bucket.stored(self._key(file.path))
            usable = [name for name in _checksums.available() if name in checksums]
            if size_bytes != file.size_bytes or not usable:
                return True
            return self._digest(file, usable[0]).checksums[usable[0]] != checksums[usable[0]]

        with ThreadPoolExecutor(self._request.concurrency) as pool:
            return [file for file, different in zip(files, pool.map(differs, files), strict=True) if different]

    def _digest(self, file: SourceFile, algorithm: str) -> Digests:
        """The digests of a file, read only if no earlier run read it."""
        known = self._known.get(file)
        if known is None or algorithm not in known.checksums:
            known = _source_files.digests(file, algorithm)
            with self._lock:
                self._known.learn(file, known)
        with self._lock:
            self._digests[file.path] = known
        return known

    def _best_local_algorithm(self) -> str:
        return next(name for name in _checksums.available() if self._bucket.speaks(name))

    def _manifest(self, files: Sequence[SourceFile]) -> bytes:
        entries = [
            {"path": file.path, "size": file.size_bytes, "sha256": self._digests[file.path].sha256} for file in files
        ]
        return _model_files.manifest_bytes(entries, _model_files.huggingface_source(os.path.abspath(self._request.src)))

    def _warn_of_neighbours(self) -> None:
        if near := self._bucket.neighbours(self._request.prefix):
            # KServe's storage initializer lists by prefix without a slash (kserve_storage.py, _download_s3).
            self._warn(
                f"The bucket also holds {_names(near)}, whose names begin alike: a storageUri of "
                f"s3://{self._bucket.name}/{self._request.prefix} downloads them as well; end it with a slash."
            )

    def _remember(self, files: Sequence[SourceFile]) -> None:
        try:
            self._known.save(file.path for file in files)
        except OSError as error:
            self._warn(
                f"What was read cannot be remembered in {self._request.state_folder} ({error.strerror}): the next run "
                "reads every file again. Set state_dir to a directory that can be written and is kept."
            )

    # Changing

    def _change(self, to_send: Sequence[SourceFile], to_delete: Sequence[str], withdraw: bool) -> None:
        if to_send:
            self._agree_on_algorithm()
        if withdraw:
            self._bucket.delete(self._key(self._request.manifest))
        uploads: list[_Multipart] = []
        with ThreadPoolExecutor(max(1, min(self._request.concurrency, os.cpu_count() or 1))) as readers:
            try:
                self._in_parallel(self._sending(to_send, readers, uploads))
            finally:
                for upload in uploads:
                    if upload.id and not upload.completed:
                        with contextlib.suppress(S3Error):
                            self._bucket.abort(self._key(upload.file.path), upload.id)
        self._in_parallel(self._deletion(path) for path in to_delete)

    def _agree_on_algorithm(self) -> None:
        """The best checksum that both sides know, found out by trying."""
        for algorithm in _checksums.available():
            if self._bucket.verifies(algorithm, self._key(self._request.manifest)):
                self._algorithm = algorithm
                return
        raise UploadError(f"{self._bucket.endpoint} verifies no checksum at all: it is not safe to upload there.")

    def _sending(
        self, files: Sequence[SourceFile], readers: ThreadPoolExecutor, uploads: list[_Multipart]
    ) -> Iterator[Callable[[], None]]:
        """The steps of sending these files, big files first so that the last step is a short one."""
        for file in sorted(files, key=lambda file: -file.size_bytes):
            if file.size_bytes <= self._request.part_size_bytes:
                yield self._whole(file)
                continue
            upload = _Multipart(file, _upload_plan.fitting_part_size(file.size_bytes, self._request.part_size_bytes))
            uploads.append(upload)
            upload.digests = readers.submit(self._digest, file, self._algorithm)
            for part in upload.parts:
                yield self._part(upload, part)

    def _whole(self, file: SourceFile) -> Callable[[], None]:
        def step() -> None:
            found = self._digest(file, self._algorithm)
            checksum = found.checksums[self._algorithm]
            with _source_files.opened(file) as descriptor:
                whole = Part(1, 0, file.size_bytes)
                self._put(
                    file,
                    descriptor,
                    whole,
                    checksum,
                    lambda: self._bucket.put_target(
                        self._key(file.path), self._algorithm, checksum, self._request.options
                    ),
                )

        return step

    def _part(self, upload: _Multipart, part: Part) -> Callable[[], None]:
        def step() -> None:
            file, key = upload.file, self._key(upload.file.path)
            with upload.lock:
                if upload.id is None:
                    upload.id = self._bucket.begin(key, self._algorithm, self._request.options)
            identity = upload.id
            with _source_files.opened(file) as descriptor:
                running = _checksums.start(self._algorithm)
                _source_files.read(file, descriptor, part.offset_bytes, part.length_bytes, running)
                checksum = running.base64()
                answer = self._put(
                    file,
                    descriptor,
                    part,
                    checksum,
                    lambda: self._bucket.part_target(key, identity, part, self._algorithm, checksum),
                )
            with upload.lock:
                upload.done.append((part.number, answer["etag"], checksum))
                last = len(upload.done) == len(upload.parts)
            if last:
                self._complete(upload)

        return step

    def _complete(self, upload: _Multipart) -> None:
        file, key = upload.file, self._key(upload.file.path)
        if not (upload.digests and upload.id):
            raise AssertionError("an upload is completed after its last part")
        checksum = upload.digests.result().checksums[self._algorithm]
        self._bucket.complete(key, upload.id, self._algorithm, checksum, upload.done)
        upload.completed = True
        size_bytes, stored = self._bucket.stored(key)
        if size_bytes != file.size_bytes or stored.get(self._algorithm, checksum) != checksum:
            raise UploadError(f"{file.location} arrived with other content than it has here: run again.")

    def _put(
        self, file: SourceFile, descriptor: int, part: Part, checksum: str, target: Callable[[], Target]
    ) -> dict[str, str]:
        def once() -> dict[str, str]:
            try:
                answer = self._sender.put(target(), descriptor, part.offset_bytes, part.length_bytes)
            except Refused as error:
                raise self._bucket.explain(
                    f"send {file.path}", error.code or str(error.status), error.message
                ) from error
            except SourceShrank:
                raise _source_files.changed(file) from None
            if not self._bucket.confirmed(self._algorithm, checksum, answer):
                raise Transient("the server did not confirm the checksum")
            return answer

        answer = self._retried(f"send {file.path}", once)
        with self._lock:
            self._bytes_sent += part.length_bytes
        return answer

    def _retried(self, action: str, once: Callable[[], T]) -> T:
        for attempt in range(self._request.attempts):
            if attempt:
                # Full jitter: many senders that failed together must not come back together.
                self._stop.wait(random.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.25 * 2**attempt)))
            self._halt_if_stopped()
            try:
                return once()
            except Transient as error:
                last = error
        raise UploadError(f"Cannot {action} to {self._bucket.endpoint} in {self._request.attempts} attempts: {last}.")

    def _deletion(self, path: str) -> Callable[[], None]:
        return lambda: self._bucket.delete(self._key(path))

    def _prove(self, files: Sequence[SourceFile]) -> None:
        """Every file is there in its size. Raises UploadError."""
        remote = self._listed()
        wrong = [
            file.path for file in files if file.path not in remote or remote[file.path].size_bytes != file.size_bytes
        ]
        if wrong:
            raise UploadError(
                f"After the upload {_names(wrong)} were not there in their full size: did somebody else write?"
            )

    # Threads

    def _in_parallel(self, steps: Iterator[Callable[[], None]]) -> None:
        """Run the steps with the wanted concurrency; the first failure stops all and is raised."""

        def work() -> None:
            try:
                while not self._stop.is_set():
                    with self._lock_of_steps:
                        step = next(steps, None)
                    if step is None:
                        return
                    step()
            except BaseException as error:
                with self._lock:
                    self._failure = self._failure or error
                self._stop.set()
            finally:
                self._sender.close()

        self._lock_of_steps = threading.Lock()
        workers = [threading.Thread(target=work, daemon=True) for _number in range(self._request.concurrency)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if self._failure:
            raise self._failure

    def _halt_if_stopped(self) -> None:
        if self._stop.is_set():
            raise UploadError("Stopped because another file failed.")


class _Multipart:
    """A file that is sent in parts; filled in by the threads that send them."""

    def __init__(self, file: SourceFile, part_size_bytes: int) -> None:
        self.file = file
        self.parts = _upload_plan.parts(file.size_bytes, part_size_bytes)
        self.lock = threading.Lock()
        self.id: str | None = None
        self.done: list[tuple[int, str, str]] = []
        self.digests: Future[Digests] | None = None
        self.completed = False


def _names(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_NAMES_IN_A_MESSAGE])
    return shown if len(paths) <= _NAMES_IN_A_MESSAGE else f"{shown} and {len(paths) - _NAMES_IN_A_MESSAGE} more"


def _shown(size_bytes: int, sha256: str | None) -> dict[str, Any]:
    return {"size": size_bytes, **({"sha256": sha256} if sha256 else {})}

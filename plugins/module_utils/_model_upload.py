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
import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

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
    Throttle,
)
from ansible_collections.llmstack.serving.plugins.module_utils._retry import Transient, retried
from ansible_collections.llmstack.serving.plugins.module_utils._s3 import Begun, Bucket, ObjectOptions, S3Error
from ansible_collections.llmstack.serving.plugins.module_utils._source_files import SourceError, SourceFile
from ansible_collections.llmstack.serving.plugins.module_utils._upload_memory import Journal, KnownDigests
from ansible_collections.llmstack.serving.plugins.module_utils._upload_plan import Part, Remote

_SEND_TIMEOUT_SECONDS = 60.0
_PROGRESS_EVERY_SECONDS = 10.0
# How soon threads that wait for each other see that one of them failed.
_LOOK_EVERY_SECONDS = 0.1
# How many names a message lists before it only counts.
_NAMES_IN_A_MESSAGE = 5


class UploadError(Exception):
    """The upload cannot be done; the message is a sentence."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the task asks for. verify(files) raises SourceError if they are not what they should be."""

    src: str
    prefix: str
    manifest: str
    source: Mapping[str, str]
    keeps: Callable[[str], bool]
    expected_sha256: Mapping[str, str] | None
    verify: Callable[[Sequence[str]], None]
    create_bucket: bool
    delete: bool
    options: ObjectOptions
    concurrency: int
    part_size_bytes: int
    bytes_per_second: int | None
    attempts: int
    with_sha256: bool
    reread: bool
    state_folder: str
    check_mode: bool


@dataclasses.dataclass
class Outcome:
    """What was done (in check mode: would be). Paths are relative to the prefix."""

    actions: dict[str, str]
    sizes: dict[str, int]
    digests: dict[str, dict[str, str]]
    before: dict[str, Any]
    changed: bool
    manifest: bytes | None = None
    bytes_sent: int = 0
    bytes_skipped: int = 0
    seconds: float = 0.0
    # What else changes: name -> (before, after).
    settings: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)

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
        return _upload_plan.diff(self.before, after, self.settings)

    def manifest_sha256(self) -> str | None:
        return None if self.manifest is None else hashlib.sha256(self.manifest).hexdigest()

    def _sha256(self, path: str) -> str | None:
        return self.digests.get(path, {}).get("sha256")


@dataclasses.dataclass(frozen=True)
class _Published:
    """The manifest that is there: its content, source, entries by path, and when it was written."""

    content: bytes | None = None
    source: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    written_at: float | None = None


class ModelUpload:
    """The upload of one model; use it once."""

    def __init__(
        self, request: Request, bucket: Bucket, warn: Callable[[str], None], report: Callable[[str], None]
    ) -> None:
        self._request = request
        self._bucket = bucket
        self._warn = warn
        self._report = report
        self._stop = threading.Event()
        bucket.interrupt_pauses(self._stop.wait)
        throttle = Throttle(request.bytes_per_second)
        self._sender = Sender(bucket.tls(), _SEND_TIMEOUT_SECONDS, throttle, self._halt_if_stopped)
        self._uri = f"s3://{bucket.name}/{request.prefix}"
        self._known = KnownDigests(request.state_folder, request.src)
        self._journal = Journal(request.state_folder, f"{bucket.endpoint} {self._uri}")
        self._journal_kept = False
        # Path -> ids of unfinished uploads that were there before this run began one; None if they cannot be listed.
        self._others: dict[str, list[str]] | None = None
        self._algorithm = next(name for name in _checksums.available() if bucket.speaks(name))
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._digests: dict[str, dict[str, str]] = {}
        # Whether some objects were to be compared with a checksum that the server does not keep.
        self._unproven = False
        self._files_done = 0
        self._bytes_sent = 0
        self._bytes_resumed = 0

    def present(self) -> Outcome:
        """Upload what is not there yet. Raises UploadError, SourceError or S3Error."""
        request = self._request
        begin = time.monotonic()
        files = _source_files.find(request.src, request.keeps)
        self._refuse_bad(files)
        listed = self._listed()
        if listed is None and not request.create_bucket:
            raise self._bucket.explain("upload the model", "NoSuchBucket", "")
        self._refuse_unexpected(files)
        remote = listed or {}
        before = self._published(remote)
        published = before.content
        to_send = self._to_send(files, remote, before.files, before.written_at)
        outcome = self._intended(files, remote, before.files, to_send)
        outcome.changed = outcome.changed or listed is None
        to_delete = [path for path, action in outcome.actions.items() if action == "delete"]
        to_tag = self._to_tag(files, to_send, published)
        outcome.changed = outcome.changed or bool(to_tag)
        outcome.settings = self._settings(listed is not None, before, to_tag)
        if request.check_mode:
            if not to_send:
                outcome.manifest = self._manifest(files)
                outcome.changed = outcome.changed or outcome.manifest != published
            outcome.bytes_sent = sum(file.size_bytes for file in to_send)
            outcome.seconds = time.monotonic() - begin
            return outcome
        # Known before a byte is sent only if none has to be.
        manifest = None if to_send else self._manifest(files)
        try:
            if to_delete or to_tag or manifest is None or manifest != published:
                outcome.changed = True
                with self._held_journal():
                    if listed is None:
                        self._bucket.create()
                    self._tidy({file.path for file in to_send if file.size_bytes > request.part_size_bytes})
                    self._agree_on_algorithm()
                    if to_send or to_delete:
                        self._change(files, to_send, to_delete, withdraw=published is not None)
                    self._tag(to_tag, withdrawn=published is None or bool(to_send or to_delete))
                    manifest = manifest or self._manifest(files)
                    self._publish(manifest)
                    self._warn_of_neighbours()
            elif self._journal:
                # Nobody needs it for the model to be there: whoever may not do it has no error.
                with self._held_journal(), contextlib.suppress(S3Error):
                    self._tidy(set())
        finally:
            self._remember(files)
        outcome.manifest = manifest
        outcome.bytes_sent = self._bytes_sent
        outcome.bytes_skipped += self._bytes_resumed
        outcome.seconds = time.monotonic() - begin
        return outcome

    def absent(self) -> Outcome:
        """Remove what the manifest lists (with delete: everything under the prefix). Raises S3Error or UploadError."""
        request = self._request
        begin = time.monotonic()
        remote = self._listed(place_holders=request.delete) or {}
        published = self._published(remote)
        ours = {path for path in remote if path in published.files}
        if published.content is not None:
            ours.add(request.manifest)
        doomed = set(remote) if request.delete else ours
        if left := sorted(set(remote) - doomed):
            self._warn(
                f"Objects under {self._uri}/ that no manifest lists were left ({_names(left)}): "
                "set delete: true to remove them too."
            )
        sizes = {path: item.size_bytes for path, item in remote.items()}
        changed = bool(doomed or self._journal)
        outcome = Outcome(dict.fromkeys(doomed, "delete"), sizes, {}, _before(remote, published.files), changed)
        if not request.check_mode:
            with self._held_journal():
                if request.manifest in doomed:
                    self._withdraw()
                with self._adding_to_errors(
                    lambda: f"Some files of {self._uri} may be left: set delete: true to remove them."
                ):
                    self._in_parallel(self._deletion(path) for path in sorted(doomed - {request.manifest}))
                self._abort_unfinished(list(self._journal.unfinished))
                self._abort_doubtful()
        outcome.seconds = time.monotonic() - begin
        return outcome

    # Looking

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

    def _refuse_unexpected(self, files: Sequence[SourceFile]) -> None:
        """The files are what the task says they are, before a byte is sent."""
        if self._request.expected_sha256 is not None:
            self._each(files, lambda file: self._digest(file, "sha256"))
            found = {file.path: self._digests[file.path]["sha256"] for file in files}
            if wrong := _model_files.mismatches(self._request.expected_sha256, found):
                raise UploadError(f"The model is not the expected one, nothing was sent: {_names(wrong, '; ')}.")
        with self._reported(lambda seconds: f"comparing the files with their signature for {seconds:.0f} s"):
            self._request.verify([file.path for file in files])

    def _listed(self, place_holders: bool = False) -> dict[str, Remote] | None:
        """Path -> object under the prefix; None without the bucket."""
        found = self._bucket.objects(f"{self._request.prefix}/")
        if found is None:
            return None
        start = len(self._request.prefix) + 1
        # A key that ends in a slash is a folder's place holder of some console; nobody downloads it.
        return {key[start:]: item for key, item in found.items() if place_holders or not key.endswith("/")}

    def _published(self, remote: Mapping[str, Remote]) -> _Published:
        if self._request.manifest not in remote:
            return _Published()
        found = self._bucket.read(self._key(self._request.manifest))
        if found is None:
            return _Published()
        try:
            # Its time from the listing, like that of the others: answers to GET have whole seconds only.
            modified = remote[self._request.manifest].modified
            return _Published(found, **_model_files.parse_manifest(found), written_at=modified)
        except ValueError as error:
            raise UploadError(
                f"{self._uri}/{self._request.manifest} is in the way: {error}. Choose another name with manifest, or "
                "remove it."
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
                name = next((name for name in ("sha256", *_checksums.available()) if name in entry), None)
                if name is None:
                    # Written where a library was installed that is not here.
                    look = "server"
                elif self._digest(file, name)[name] != entry[name]:
                    return True
            if look == "server" or self._request.reread:
                stored = self._bucket.stored(self._key(file.path))
                name = next((name for name in _checksums.available() if stored and name in stored[1]), None)
                if stored is None or stored[0] != file.size_bytes:
                    return True
                if name is None:
                    # The server keeps no checksum: only the manifest vouches for the object.
                    self._unproven = self._unproven or look != "server"
                    return look == "server"
                if self._digest(file, name)[name] != stored[1][name]:
                    return True
            if self._request.with_sha256:
                self._digest(file, "sha256")
            return False

        found = [file for file, different in zip(files, self._each(files, differs), strict=True) if different]
        if self._unproven:
            self._warn(
                f"{self._bucket.endpoint} keeps no checksum of some objects: of those checksum: always has compared the "
                "files with the manifest only."
            )
        return found

    def _intended(
        self,
        files: Sequence[SourceFile],
        remote: Mapping[str, Remote],
        recorded: Mapping[str, Any],
        to_send: Sequence[SourceFile],
    ) -> Outcome:
        request = self._request
        local = {file.path: file.size_bytes for file in files}
        strangers = _upload_plan.strangers(remote, local, request.manifest)
        if strangers and not request.delete:
            self._warn(
                f"Objects under {self._uri}/ are no files of this model and every pod downloads them too "
                f"({_names(strangers)}): set delete: true to remove them."
            )
        actions = dict.fromkeys(local, "skip") | dict.fromkeys((file.path for file in to_send), "send")
        if request.delete:
            actions |= dict.fromkeys(strangers, "delete")
        sizes = {path: item.size_bytes for path, item in remote.items()} | local
        before = _before(remote, recorded)
        before.pop(request.manifest, None)
        outcome = Outcome(actions, sizes, self._digests, before, any(action != "skip" for action in actions.values()))
        outcome.bytes_skipped = sum(size for path, size in local.items() if actions[path] == "skip")
        return outcome

    def _to_tag(self, files: Sequence[SourceFile], to_send: Sequence[SourceFile], published: bytes | None) -> list[str]:
        """Files that are there and may have other tags than wanted: a manifest always carries the same tags as they do."""
        tags = self._request.options.tags
        if tags is None or (published and self._bucket.tags(self._key(self._request.manifest)) == tags):
            return []
        sent = {file.path for file in to_send}
        return [file.path for file in files if file.path not in sent]

    def _settings(
        self, bucket_exists: bool, published: _Published, to_tag: Sequence[str]
    ) -> dict[str, tuple[Any, Any]]:
        """What changes beside the files: name -> (before, after)."""
        found: dict[str, tuple[Any, Any]] = {}
        if not bucket_exists:
            found["bucket"] = (None, self._bucket.name)
        if published.content is not None:
            found["source"] = (published.source, dict(self._request.source))
        if to_tag:
            found["tags"] = (None, dict(self._request.options.tags or {}))
        return {name: (before, after) for name, (before, after) in found.items() if before != after}

    def _digest(self, file: SourceFile, *algorithms: str) -> dict[str, str]:
        """These digests of a file (and others that are known), read only if no earlier run read them."""
        found = self._known_of(file)
        if missing := [name for name in algorithms if name not in found]:
            # A digest for the manifest is read together with the one that the server will be asked for.
            wanted = {*missing, self._algorithm} if "sha256" in missing else set(missing)
            found = found | _source_files.digests(file, sorted(wanted), self._halt_if_stopped)
        self._learn(file, found)
        return found

    def _known_of(self, file: SourceFile) -> dict[str, str]:
        """The digests that were read by this run, or by an earlier one from the same file."""
        with self._lock:
            return self._digests.get(file.path) or ({} if self._request.reread else self._known.get(file))

    def _learn(self, file: SourceFile, found: dict[str, str]) -> None:
        with self._lock:
            self._digests[file.path] = self._digests.get(file.path, {}) | found
            self._known.learn(file, found)

    def _manifest(self, files: Sequence[SourceFile]) -> bytes:
        entries = []
        for file in files:
            digests = self._digests[file.path]
            name = "sha256" if self._request.with_sha256 else self._best_known(digests)
            entries.append({"path": file.path, "size": file.size_bytes, name: digests[name]})
        return _model_files.manifest_bytes(entries, self._request.source)

    @staticmethod
    def _best_known(digests: Mapping[str, str]) -> str:
        return next(name for name in (*_checksums.PREFERENCE, "sha256") if name in digests)

    def _warn_of_neighbours(self) -> None:
        near: list[str] = []
        # Whoever may only list what lies under the prefix has no error, and the model is there.
        with contextlib.suppress(S3Error):
            near = self._bucket.neighbours(self._request.prefix)
        if near:
            # KServe's storage initializer lists by prefix without a slash (kserve_storage.py, _download_s3).
            self._warn(
                f"The bucket also holds {_names(near)}, whose names begin alike: a storageUri of {self._uri} downloads "
                "them as well; end it with a slash."
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

    def _change(
        self, files: Sequence[SourceFile], to_send: Sequence[SourceFile], to_delete: Sequence[str], withdraw: bool
    ) -> None:
        if withdraw:
            self._withdraw()
        with self._adding_to_errors(self._what_is_left):
            self._send(to_send)
            self._in_parallel(self._deletion(path) for path in to_delete)
            self._prove(files)

    def _withdraw(self) -> None:
        with self._adding_to_errors(lambda: f"No file of {self._uri} was changed, but its manifest may be gone."):
            self._bucket.delete(self._key(self._request.manifest))

    def _tag(self, paths: Sequence[str], withdrawn: bool) -> None:
        unchanged = f"Some files of {self._uri} may not have their new tags: run the task again."
        with self._adding_to_errors(self._what_is_left if withdrawn else lambda: unchanged):
            self._in_parallel(self._tagging(path) for path in paths)

    def _publish(self, manifest: bytes) -> None:
        with self._adding_to_errors(
            lambda: f"Every file of {self._uri} is there, but its manifest may not be: run the task again."
        ):
            key = self._key(self._request.manifest)
            self._bucket.write(key, manifest, "application/json", self._algorithm, self._request.options)

    @contextlib.contextmanager
    def _adding_to_errors(self, what_is_left: Callable[[], str]) -> Iterator[None]:
        try:
            yield
        except (UploadError, SourceError, S3Error) as error:
            raise UploadError(f"{error} {what_is_left()}") from error

    def _what_is_left(self) -> str:
        kept = ""
        # Without a journal they are dropped when this run ends.
        if self._journal_kept and (unfinished := sorted(self._journal.unfinished)):
            kept = f" Parts of {_names(unfinished)} are kept for that."
        return (
            f"{self._uri} has no manifest now, so nobody takes it for complete: run the task again, it goes on with what "
            f"is missing.{kept}"
        )

    @contextlib.contextmanager
    def _held_journal(self) -> Iterator[None]:
        try:
            self._journal.hold()
            self._journal_kept = True
        except OSError as error:
            self._warn(
                f"Nothing can be written to {self._request.state_folder} ({error.strerror}): an interrupted upload would "
                "begin anew. Set state_dir to a directory that can be written and is kept."
            )
        try:
            yield
        finally:
            with contextlib.suppress(S3Error):
                if not self._journal_kept:
                    self._abort_unfinished(list(self._journal.unfinished))
                self._abort_doubtful()
            self._journal.release()

    def _agree_on_algorithm(self) -> None:
        """The best checksum that both sides know, found out by trying."""
        for algorithm in _checksums.available():
            if self._server_verifies(algorithm):
                self._algorithm = algorithm
                return
        raise UploadError(f"{self._bucket.endpoint} verifies no checksum at all: it is not safe to upload there.")

    def _server_verifies(self, algorithm: str) -> bool:
        """Tried with the options of all objects: a bucket's policy may demand them, and a wrong one is told in time."""
        path = self._request.manifest

        def begin() -> str:
            return self._begin(path, algorithm, {}).id

        try:
            return self._bucket.verifies(algorithm, self._key(path), begin)
        finally:
            self._abort_unfinished([path] if path in self._journal.unfinished else [])

    def _send(self, files: Sequence[SourceFile]) -> None:
        total_bytes = sum(file.size_bytes for file in files)

        def so_far(seconds: float) -> str:
            done = (self._files_done, len(files), self._bytes_sent, self._bytes_resumed)
            return _upload_plan.progress(*done, total_bytes, seconds)

        with self._reported(so_far):
            self._in_parallel(self._sending(files))

    def _sending(self, files: Sequence[SourceFile]) -> Iterator[Callable[[], None]]:
        """The steps of sending these files, big files first so that the last step is a short one."""
        ordered = sorted(files, key=lambda file: -file.size_bytes)
        cut = [file for file in ordered if file.size_bytes > self._request.part_size_bytes]
        # A digest of a whole file is made by one processor at a time: so each gets a file.
        at_a_time = min(self._request.concurrency, os.cpu_count() or 1)
        yield from _upload_plan.in_turn((self._parts(file) for file in cut), at_a_time)
        yield from (self._whole(file) for file in ordered[len(cut) :])

    def _parts(self, file: SourceFile) -> Iterator[Callable[[], None]]:
        upload = self._resumable(file)
        for part in upload.parts:
            yield self._part(upload, part)

    def _resumable(self, file: SourceFile) -> _Multipart:
        """The multipart upload of a file: the one that an earlier run began, if it can be continued."""
        part_size_bytes = _upload_plan.fitting_part_size(file.size_bytes, self._request.part_size_bytes)
        terms = {"algorithm": self._algorithm, "part_size": part_size_bytes, "options": self._request.options.request()}
        in_order = {"sha256"} if self._request.with_sha256 else set()
        if not _checksums.joins(self._algorithm):
            in_order.add(self._algorithm)
        upload = _Multipart(file, terms, in_order)
        known = self._known_of(file)
        if known.keys() >= in_order | {self._algorithm}:
            upload.known, upload.sums = known, {}
        begun = self._journal.unfinished.get(file.path)
        if begun is None:
            return upload
        if {name: begun.get(name) for name in terms} == terms:
            there = self._bucket.uploaded(self._key(file.path), begun["id"], self._algorithm)
            if there is not None:
                upload.id, upload.whole, upload.there = begun["id"], begun["whole"], there
                return upload
        self._abort_unfinished([file.path])
        return upload

    def _whole(self, file: SourceFile) -> Callable[[], None]:
        def step() -> None:
            names = (self._algorithm, "sha256") if self._request.with_sha256 else (self._algorithm,)
            checksum = self._digest(file, *names)[self._algorithm]
            key, options = self._key(file.path), self._request.options
            with _source_files.opened(file) as descriptor:
                self._put(
                    file,
                    descriptor,
                    Part(1, 0, file.size_bytes),
                    checksum,
                    lambda: self._bucket.put_target(key, self._algorithm, checksum, options),
                )
            self._file_done()

        return step

    def _part(self, upload: _Multipart, part: Part) -> Callable[[], None]:
        def step() -> None:
            file, key = upload.file, self._key(upload.file.path)
            with _source_files.opened(file) as descriptor:
                checksum = self._summed(upload, part, descriptor)
                identity = self._begun(upload)
                size_bytes, etag, stored = upload.there.get(part.number, (-1, "", ""))
                if size_bytes == part.length_bytes and stored == checksum:
                    with self._lock:
                        self._bytes_resumed += part.length_bytes
                else:
                    answer = self._put(
                        file,
                        descriptor,
                        part,
                        checksum,
                        lambda: self._bucket.part_target(key, identity, part, self._algorithm, checksum),
                    )
                    etag = answer["etag"]
            with upload.lock:
                upload.done.append((part.number, etag, checksum))
                last = len(upload.done) == len(upload.parts)
            if last:
                self._complete(upload, identity)

        return step

    def _summed(self, upload: _Multipart, part: Part, descriptor: int) -> str:
        """The checksum of a part. What runs over the whole file sees the same bytes, one part after the other."""
        before = upload.seen.get(part.number - 1)
        while upload.sums and before and not before.wait(_LOOK_EVERY_SECONDS):
            self._halt_if_stopped()
        running = _checksums.start(self._algorithm)
        sums = [running, *upload.sums.values()]
        _source_files.read(upload.file, descriptor, part.offset_bytes, part.length_bytes, sums, self._halt_if_stopped)
        upload.seen[part.number].set()
        return running.text()

    def _begun(self, upload: _Multipart) -> str:
        with upload.lock:
            self._halt_if_stopped()
            if upload.id is None:
                begun = self._begin(upload.file.path, self._algorithm, upload.terms)
                upload.id, upload.whole = begun.id, begun.whole
            return upload.id

    def _begin(self, path: str, algorithm: str, terms: Mapping[str, Any]) -> Begun:
        """Begin a multipart upload and note it, before and after: so one that nobody knows the id of is found again."""
        doubted = path in self._journal.doubtful
        if self._others is not None and not doubted:
            self._doubt(path, self._others.get(path, []))
        begun = self._bucket.begin(self._key(path), algorithm, self._request.options)
        if begun.only and not doubted:
            self._doubt(path, None)
        elif not begun.only and self._others is None:
            self._warn(
                f"An answer of {self._bucket.endpoint} was lost, and unfinished uploads cannot be listed: an empty one of "
                f"{self._key(path)} may be left. A lifecycle rule with AbortIncompleteMultipartUpload removes such."
            )
        self._note(path, {"id": begun.id, "whole": begun.whole, **terms})
        return begun

    def _complete(self, upload: _Multipart, identity: str) -> None:
        file, key = upload.file, self._key(upload.file.path)
        found = self._found(upload)
        checksum = found[self._algorithm]
        # Servers that only know checksums of checksums must not be given the whole file's.
        answered = self._bucket.complete(
            key, identity, self._algorithm, checksum if upload.whole else None, upload.done
        )
        stored = self._bucket.stored(key)
        self._note(file.path, None)
        if not answered and (stored is None or self._algorithm not in stored[1]):
            raise UploadError(f"The upload of {file.location} is gone: was it aborted by somebody else?")
        if stored is None or stored[0] != file.size_bytes or stored[1].get(self._algorithm, checksum) != checksum:
            raise UploadError(f"{file.location} did not arrive with the content that it has here.")
        self._learn(file, found)
        self._file_done()

    def _found(self, upload: _Multipart) -> dict[str, str]:
        """The digests of a file whose parts were all read: the server proves them all to be of the content it has.

        Raises SourceError if an earlier read found another content.
        """
        found = upload.known | {name: running.text() for name, running in upload.sums.items()}
        if _checksums.joins(self._algorithm):
            lengths = {part.number: part.length_bytes for part in upload.parts}
            parts = [(checksum, lengths[number]) for number, _etag, checksum in sorted(upload.done)]
            joined = _checksums.joined(self._algorithm, parts)
            if found.setdefault(self._algorithm, joined) != joined:
                raise _source_files.changed(upload.file)
        return found

    def _put(
        self, file: SourceFile, descriptor: int, part: Part, checksum: str, target: Callable[[], Target]
    ) -> dict[str, str]:
        action = f"send {file.path}"

        def once() -> dict[str, str]:
            self._halt_if_stopped()
            there = target()
            try:
                answer = self._sender.put(there, descriptor, part.offset_bytes, part.length_bytes)
            except Refused as error:
                raise self._bucket.refused(action, there, error.status, error.code, error.message) from error
            except SourceShrank:
                raise _source_files.changed(file) from None
            if not self._bucket.confirmed(self._algorithm, checksum, answer):
                raise Transient("the server did not confirm the checksum")
            return answer

        try:
            answer = retried(self._request.attempts, self._stop.wait, once)
        except Transient as error:
            # Bytes that change while they are read give a wrong checksum each time: say that rather.
            _source_files.unchanged(file, descriptor)
            attempts = self._request.attempts
            raise UploadError(
                f"Cannot {action} to {self._bucket.endpoint}, in {attempts} attempts: {error}."
            ) from error
        with self._lock:
            self._bytes_sent += part.length_bytes
        return answer

    def _deletion(self, path: str) -> Callable[[], None]:
        return lambda: self._bucket.delete(self._key(path))

    def _tagging(self, path: str) -> Callable[[], None]:
        return lambda: self._bucket.tag(self._key(path), self._request.options.tags or {})

    def _prove(self, files: Sequence[SourceFile]) -> None:
        """Every file is there in its size. Raises UploadError."""
        remote = self._listed() or {}
        wrong = [
            file.path for file in files if file.path not in remote or remote[file.path].size_bytes != file.size_bytes
        ]
        if wrong:
            raise UploadError(f"After the upload {_names(wrong)} is not there in full size: did somebody else write?")

    def _note(self, path: str, entry: dict[str, Any] | None) -> None:
        """Note in the journal that an upload was begun, or (None) that it is over."""
        self._keep(self._journal.unfinished, path, entry)

    def _doubt(self, path: str, others: list[str] | None) -> None:
        """Note in the journal that an upload may be begun beside these, or (None) that there is surely none."""
        self._keep(self._journal.doubtful, path, others)

    def _keep(self, notes: dict[str, Any], path: str, note: Any) -> None:
        with self._lock:
            if note is None:
                notes.pop(path, None)
            else:
                notes[path] = note
            if self._journal_kept:
                with contextlib.suppress(OSError):
                    self._journal.save()

    def _abort_unfinished(self, paths: Sequence[str]) -> None:
        """Drop uploads that this or an earlier run began, and nobody else's."""
        for path in paths:
            self._bucket.abort(self._key(path), self._journal.unfinished[path]["id"])
            self._note(path, None)

    def _abort_doubtful(self) -> None:
        """Drop uploads that this or an earlier run began without learning their ids."""
        if not self._journal.doubtful:
            return
        for path, identities in (self._unfinished() or {}).items():
            known = {*self._journal.doubtful.get(path, identities), self._journal.unfinished.get(path, {}).get("id")}
            for identity in set(identities) - known:
                self._bucket.abort(self._key(path), identity)
        for path in list(self._journal.doubtful):
            self._doubt(path, None)

    def _unfinished(self) -> dict[str, list[str]] | None:
        """Path -> ids of all unfinished uploads under the prefix; None if they cannot be listed. Raises S3Error."""
        listed = self._bucket.unfinished(f"{self._request.prefix}/")
        if listed is None:
            return None
        found: dict[str, list[str]] = {}
        for key, identity in listed:
            found.setdefault(key.removeprefix(f"{self._request.prefix}/"), []).append(identity)
        return found

    def _tidy(self, resumable: Collection[str]) -> None:
        """Drop what earlier runs left of other files, and see which uploads there are before the first is begun."""
        self._abort_unfinished([path for path in self._journal.unfinished if path not in resumable])
        doubted = list(self._journal.doubtful)
        self._abort_doubtful()
        self._others = others = self._unfinished()
        for path in doubted if others is not None else ():
            # The request of a run that was killed may reach the server even now: looked for again at the end.
            self._doubt(path, (others or {}).get(path, []))
        own = {entry["id"] for entry in self._journal.unfinished.values()}
        if foreign := {identity for identities in (self._others or {}).values() for identity in identities} - own:
            self._warn(
                f"{len(foreign)} unfinished multipart uploads under {self._uri}/ that this module does not know as its "
                "own were left, and take space: a lifecycle rule with AbortIncompleteMultipartUpload removes such."
            )

    # Progress

    def _file_done(self) -> None:
        with self._lock:
            self._files_done += 1

    @contextlib.contextmanager
    def _reported(self, so_far: Callable[[float], str]) -> Iterator[None]:
        """Say every now and then how far it is; so_far(seconds since the beginning) is called with the lock held."""
        ended, begin = threading.Event(), time.monotonic()

        def report() -> None:
            while not ended.wait(_PROGRESS_EVERY_SECONDS):
                with self._lock:
                    text = so_far(time.monotonic() - begin)
                self._report(f"{self._uri}: {text}")

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            yield
        finally:
            ended.set()
            reporter.join()

    # Threads

    def _each(self, files: Sequence[SourceFile], function: Callable[[SourceFile], Any]) -> list[Any]:
        """The results of a function that may read the files, in order; the first failure is raised."""
        results: dict[str, Any] = {}

        def step(file: SourceFile) -> None:
            results[file.path] = function(file)

        with self._reported(lambda seconds: f"{len(results)} of {len(files)} files compared"):
            self._in_parallel(functools.partial(step, file) for file in files)
        return [results[file.path] for file in files]

    def _in_parallel(self, steps: Iterable[Callable[[], None]]) -> None:
        """Run the steps with the wanted concurrency; the first failure stops all and is raised."""
        remaining, taking = iter(steps), threading.Lock()

        def work() -> None:
            try:
                while not self._stop.is_set():
                    with taking:
                        step = next(remaining, None)
                    if step is None:
                        return
                    step()
            except BaseException as error:
                with self._lock:
                    self._failure = self._failure or error
                self._stop.set()
            finally:
                self._sender.close()

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

    def __init__(self, file: SourceFile, terms: dict[str, Any], in_order: Collection[str]) -> None:
        """in_order: the digests of the whole file that can only be made from its first byte to its last."""
        self.file = file
        self.terms = terms
        self.parts = _upload_plan.parts(file.size_bytes, terms["part_size"])
        self.lock = threading.Lock()
        self.id: str | None = None
        self.whole = False
        # What an earlier run sent: part number -> (size in bytes, ETag, checksum).
        self.there: dict[int, tuple[int, str, str]] = {}
        self.done: list[tuple[int, str, str]] = []
        # Digests of the whole file, from an earlier read, or else running over this one.
        self.known: dict[str, str] = {}
        self.sums = {name: _checksums.start(name) for name in sorted(in_order)}
        # Set for each part that these have seen.
        self.seen = {part.number: threading.Event() for part in self.parts}


def _names(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(names[:_NAMES_IN_A_MESSAGE])
    return shown if len(names) <= _NAMES_IN_A_MESSAGE else f"{shown} and {len(names) - _NAMES_IN_A_MESSAGE} more"


def _shown(size_bytes: int, sha256: str | None) -> dict[str, Any]:
    return {"size": size_bytes, **({"sha256": sha256} if sha256 else {})}


def _before(remote: Mapping[str, Remote], recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {path: _shown(item.size_bytes, recorded.get(path, {}).get("sha256")) for path, item in remote.items()}

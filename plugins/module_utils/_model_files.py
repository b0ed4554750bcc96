# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are a model, what may be an object's key, and the manifest that lists them.

PRIVATE to the collection: no stable interface.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MANIFEST_VERSION = 1
# Amazon S3 user guide, "Naming Amazon S3 objects": at most 1024 bytes of UTF-8.
LONGEST_KEY_BYTES = 1024

# What tools that fetch models leave beside them: huggingface_hub keeps .cache/huggingface in a local directory,
# *.incomplete while it downloads and *.lock against a second download.
_IGNORED_FOLDERS = {".git", ".cache"}
_IGNORED_SUFFIXES = (".incomplete", ".lock")

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])i?B?|B)?", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# sha256sum's output: the digest, a space, then a space (text) or an asterisk (binary), then the name.
_SHA256SUMS_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_SNAPSHOT = re.compile(r"(?:^|/)models--([^/]+)/snapshots/([0-9a-f]{40})/?$")


def size_bytes(text: str | int) -> int:
    """Bytes of a size such as C(64MiB), C(64M) or C(67108864); letters are powers of 1024.

    Raises ValueError with a sentence.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"{str(text)!r} is not a size: write bytes or, for example, 64MiB.")
    return int(float(match[1]) * 1024 ** " KMGT".index((match[2] or " ").upper()))


def belongs(path: str, include: Sequence[str], exclude: Sequence[str], manifest: str) -> bool:
    """Whether the file at this path (relative, with slashes) is a part of the model.

    Of a path that ends in a slash, a folder's: whether a file in it, whatever its name, can be.
    Patterns are those of huggingface_hub's allow_patterns: a shell pattern over the whole path in which C(*) also
    matches slashes; a pattern that ends in a slash is a folder.
    """
    *folders, name = path.split("/")
    if path == manifest or name.endswith(_IGNORED_SUFFIXES) or _IGNORED_FOLDERS.intersection(folders):
        return False
    if not name:
        # Only such patterns match every longer path too.
        return not _matches(path, [pattern for pattern in exclude if pattern.endswith(("/", "*"))])
    return (not include or _matches(path, include)) and not _matches(path, exclude)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, f"{item}*" if item.endswith("/") else item) for item in patterns)


def clean_prefix(prefix: str) -> str:
    """The prefix without slashes at its ends.

    Raises ValueError with a sentence if nothing is left or it cannot be part of a key.
    """
    cleaned = prefix.strip("/")
    if not cleaned:
        raise ValueError("prefix must not be empty: a model lives under a prefix of its own, for example llama-3-8b.")
    if fault := key_fault(cleaned):
        raise ValueError(f"prefix {prefix!r} cannot be used: {fault}.")
    return cleaned


def key_fault(key: str) -> str | None:
    """What is wrong with an object's key, or None."""
    try:
        length_bytes = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if length_bytes > LONGEST_KEY_BYTES:
        return f"its key would have {length_bytes} bytes, S3 allows {LONGEST_KEY_BYTES}"
    # Legal in S3, but XML listings, URLs and file systems each treat them in their own way.
    if any(ord(character) < 32 or ord(character) == 127 for character in key):
        return "it contains a control character such as a newline"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "it contains an empty, . or .. path segment"
    return None


def source(directory: str, revision: str | None) -> dict[str, str]:
    """Where a model comes from: repository and revision if the directory is a snapshot in a Hugging Face cache.

    A revision that is given wins.
    """
    match = _SNAPSHOT.search(directory)
    known = {"repository": match[1].replace("--", "/"), "revision": match[2]} if match else {}
    return known | ({"revision": revision} if revision else {})


def manifest_bytes(files: Iterable[Mapping[str, Any]], source: Mapping[str, str]) -> bytes:
    """The manifest of a model: the same files from the same source give the same bytes, wherever and whenever."""
    listed = sorted((dict(entry) for entry in files), key=lambda entry: entry["path"])
    document = {"llmstack_manifest": MANIFEST_VERSION, "source": dict(source), "files": listed}
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_manifest(content: bytes) -> dict[str, Any]:
    """source (dict) and files: path -> its entry {path, size, and a digest}.

    Raises ValueError with a sentence if this is not a manifest of ours.
    """
    try:
        document = json.loads(content)
        version = document["llmstack_manifest"]
        files = {str(entry["path"]): {**entry, "size": int(entry["size"])} for entry in document["files"]}
        source = {str(name): str(value) for name, value in document["source"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError("it is not a manifest that this module wrote") from None
    if version != MANIFEST_VERSION:
        raise ValueError(f"it has format version {version}, this release reads version {MANIFEST_VERSION}")
    return {"source": source, "files": files}


def expected_digests(wanted: Mapping[str, Any]) -> dict[str, str]:
    """path -> lower-case SHA-256, from a dictionary given by a user. Raises ValueError with a sentence."""
    digests = {}
    for path, digest in wanted.items():
        value = str(digest).lower()
        if not _SHA256.fullmatch(value):
            raise ValueError(f"expected_sha256: the value of {path} is not a SHA-256 in hexadecimal.")
        digests[str(path).removeprefix("./")] = value
    return digests


def parse_sha256sums(text: str) -> dict[str, str]:
    """path -> lower-case SHA-256, from the output of sha256sum. Raises ValueError with a sentence."""
    digests = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _SHA256SUMS_LINE.fullmatch(line)
        if not match:
            raise ValueError(f"expected_sha256: line {number} is not a line that sha256sum writes.")
        digests[match[2].removeprefix("./")] = match[1].lower()
    return digests


def mismatches(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What differs between the expected and the found SHA-256 of all files, as phrases; both ways."""
    phrases = [f"{path} is missing" for path in sorted(set(expected) - set(found))]
    phrases += [f"{path} is not listed" for path in sorted(set(found) - set(expected))]
    common = sorted(set(expected) & set(found))
    return phrases + [
        f"{path} has {found[path]}, not {expected[path]}" for path in common if expected[path] != found[path]
    ]

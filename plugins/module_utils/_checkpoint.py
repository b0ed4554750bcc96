# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a model's folder an engine loads, and their tensors from the headers. PRIVATE to the collection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _safetensors
from ansible_collections.llmstack.serving.plugins.module_utils._safetensors import HeaderError, Tensor

INDEX = "model.safetensors.index.json"
# The index of the largest models (100,000 tensors) has about 10 MB.
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_OTHER_FORMATS = (".gguf", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ckpt")

# (file name, offset in bytes, length in bytes) -> the bytes there.
FileReader = Callable[[str, int, int], bytes]


class CheckpointError(ValueError):
    """The folder holds no whole model; the message is a sentence."""


def config(place: str, sizes: Mapping[str, int], read: FileReader) -> dict[str, Any]:
    """The folder's config.json. `sizes` are file name -> bytes; `place` is how messages name the folder."""
    return _document(place, "config.json", sizes, read)


def tensors(place: str, sizes: Mapping[str, int], read: FileReader, concurrency: int = 1) -> list[Tensor]:
    """All tensors of the files that are loaded; only headers are read. Raises CheckpointError, HeaderError."""
    index = _document(place, INDEX, sizes, read) if INDEX in sizes else None
    names = files(place, sizes, index)

    def header(name: str) -> list[Tensor]:
        return _safetensors.read_header(
            f"{place}/{name}", sizes[name], lambda offset, length: read(name, offset, length)
        )

    with ThreadPoolExecutor(max_workers=min(concurrency, len(names))) as pool:
        found = [tensor for part in pool.map(header, names) for tensor in part]
    missing = set((index or {}).get("weight_map") or {}) - {tensor.name for tensor in found}
    if missing:
        raise HeaderError(
            f"{place}: {INDEX} names {len(missing)} tensors that no file holds, {min(missing)} for one. Fetch it again."
        )
    return found


def files(place: str, sizes: Mapping[str, int], index: Mapping[str, Any] | None) -> list[str]:
    """The safetensors files that vLLM loads: those the index names, else all but a second copy in Mistral's layout."""
    if index is not None:
        named = sorted(set((index.get("weight_map") or {}).values()))
        absent = [name for name in named if name not in sizes]
        if absent:
            raise CheckpointError(
                f"{place} lacks {len(absent)} of the {len(named)} files that {INDEX} names, {absent[0]} for one: "
                "the download is not complete."
            )
        if named:
            return named
    found = sorted(name for name in sizes if name.endswith(".safetensors") and "/" not in name)
    others = [name for name in found if not name.startswith("consolidated")]
    if others or found:
        return others or found
    formats = sorted({suffix for suffix in _OTHER_FORMATS for name in sizes if name.endswith(suffix)})
    if formats:
        raise CheckpointError(
            f"{place} has weights as {', '.join(formats)} only, and only safetensors files say how big their tensors are: "
            "convert the model or give weights_gib."
        )
    raise CheckpointError(f"{place} holds no weights: there is no .safetensors file.")


def _document(place: str, name: str, sizes: Mapping[str, int], read: FileReader) -> dict[str, Any]:
    if name not in sizes:
        raise CheckpointError(f"{place} has no {name}: it is not a model's folder, or the download is not complete.")
    if sizes[name] > MAX_DOCUMENT_BYTES:
        raise CheckpointError(f"{place}/{name} has {sizes[name]} bytes: that is no such file.")
    try:
        found = json.loads(read(name, 0, sizes[name]))
    except ValueError as error:
        raise CheckpointError(f"{place}/{name} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{place}/{name} is not a JSON object.")
    return found

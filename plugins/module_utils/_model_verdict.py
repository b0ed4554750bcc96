# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the parameters of model_fit to its result: read the model, find the GPUs, judge. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _model_architectures,
    _model_fit,
    _model_placement,
    _model_source,
    _model_tensors,
)

INPUT_ERRORS = (ValueError, _model_source.SourceError)
GIB = 1024**3


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """The module's result. Raises INPUT_ERRORS with a sentence."""
    settings = _model_fit.settings(params)
    nodes = (
        _model_placement.nodes(params["nodes"])
        if params["nodes"] is not None
        else _model_placement.imagined(params["gpu"])
    )
    found: dict[str, Any] = {"architecture": None, "weights_total_gib": None, "bytes_read": 0}
    try:
        if params["model"]:
            source = _model_source.at(params["model"], params)
            config, tensors, found["bytes_read"] = _model_source.load(source)
            architecture = _model_architectures.describe(config)
        else:
            architecture = _model_architectures.describe(params["config"])
            tensors = [] if params["weights_gib"] else _model_tensors.expected(architecture)
        draft = None
        if params["speculative"] and params["speculative"]["model"]:
            config, draft_tensors, read = _model_source.load(_model_source.at(params["speculative"]["model"], params))
            draft = _model_fit.Draft(draft_tensors, _model_architectures.describe(config))
            found["bytes_read"] += read
    except _model_architectures.UnsupportedArchitecture as error:
        verdict = _model_fit.unsupported(str(error))
        return {**found, **_renamed(verdict), "gpu": None, "gpus_needed": _model_fit.gpus(settings), "suggestions": []}
    total = params["weights_gib"]
    model = _model_fit.Model(architecture, tensors, int(total * GIB) if total else None, draft)
    found["architecture"] = architecture.name
    if tensors:
        found["weights_total_gib"] = round(sum(tensor.size_bytes for tensor in tensors) / GIB, 2)
    verdict = _model_placement.on_cluster(model, settings, nodes)
    suggestions = _model_placement.suggestions(model, settings, nodes, params["suggestions"])
    return {**found, **_renamed(verdict), "suggestions": suggestions}


def _renamed(verdict: dict[str, Any]) -> dict[str, Any]:
    # Ansible itself uses the key "warnings" of a result.
    return {"warnings_found" if key == "warnings" else key: value for key, value in verdict.items()}

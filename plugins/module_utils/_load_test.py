# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load test from its parameters to its report. PRIVATE to the collection.

What is decided lies in the pure files (_load_schedule, _load_prompts, _load_slo, _load_baseline, _load_report); this
one puts them in order around the client (_load_run), and reads and writes the files that the parameters name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import (
    _load_baseline,
    _load_client,
    _load_files,
    _load_html,
    _load_prompts,
    _load_report,
    _load_run,
    _load_schedule,
    _load_slo,
)
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError, MissingLibrary

RENDERERS: _load_files.Renderers = {
    "json": (".json", lambda document, earlier: _load_report.to_json(document)),
    "markdown": (".md", lambda document, earlier: _load_report.to_markdown(document)),
    "junit": (".xml", lambda document, earlier: _load_report.to_junit(document)),
    "html": (".html", _load_html.to_html),
}
# Two lengths far enough apart to tell the template's tokens from those of the words.
_CALIBRATION_WORDS = (16, 144)
_PROBE_TOKENS = 4


@dataclasses.dataclass
class Plan:
    """What the parameters mean, checked as far as that is possible without asking anyone."""

    params: dict[str, Any]
    stages: list[_load_schedule.Stage]
    search: dict[str, Any] | None
    slos: list[_load_slo.Slo]
    goodput: dict[str, float]
    timeouts: _load_client.Timeouts
    dataset: str
    baseline: dict[str, Any] | None
    tokenizer: Callable[[str], int] | None

    @property
    def streaming(self) -> bool:
        return bool(self.params["stream"]) and self.params["api"] != "embeddings"

    def workload(self, model: str) -> dict[str, Any]:
        """What is asked, for the report and for comparing with another."""
        params = self.params
        if params["prompts"] is not None:
            source = f"list of {len(params['prompts'])}, {_digest(json.dumps(params['prompts']))}"
        elif params["dataset"]:
            source = f"dataset {os.path.basename(params['dataset'])}, {_digest(self.dataset)}"
        else:
            source = "synthetic " + json.dumps(params["synthetic"], sort_keys=True)
        return {
            "api": params["api"],
            "model": model,
            "stream": self.streaming,
            "prompts": source,
            "max_tokens": params["max_tokens"],
            "ignore_eos": params["ignore_eos"],
            "turns": params["turns"],
            "think_seconds": params["think_seconds"],
            "extra_body": json.dumps(params["extra_body"], sort_keys=True),
            "seed": params["seed"],
        }

    def described(self) -> dict[str, Any]:
        """What would be sent, for check mode."""
        counts = [stage.requests for stage in self.stages]
        return {
            "stages": [stage.to_dict() for stage in self.stages],
            "search": self.search,
            "requests": sum(count for count in counts if count) if all(counts) and not self.search else None,
            "slos": {slo.name: slo.limit for slo in self.slos},
        }


def plan(params: dict[str, Any]) -> Plan:
    """Check the parameters and read the files that they name. Sends nothing. Raises LoadError."""
    for name in ("max_tokens", "turns", "processes", "max_in_flight", "max_consecutive_failures"):
        if params[name] < 1:
            raise LoadError(f"{name} must be at least 1, not {params[name]}.")
    for name in (
        "connect_timeout_seconds",
        "request_timeout_seconds",
        "idle_timeout_seconds",
        "metrics_interval_seconds",
        "max_seconds",
    ):
        if params[name] <= 0:
            raise LoadError(f"{name} must be above 0, not {params[name]:g}.")
    for name in ("think_seconds", "tolerance_percent", "history"):
        if params[name] < 0:
            raise LoadError(f"{name} must not be negative.")
    shared = {name: params[name] for name in ("arrival", "burst_size", "warmup_requests", "ramp_up_seconds")}
    search = params["find_max_rate"]
    if search:
        if not params["slos"]:
            raise LoadError("find_max_rate needs slos: they say which rate is too high.")
        _load_schedule.check_rate("find_max_rate.start", search["start"])
        _load_schedule.check_rate("find_max_rate.maximum", search["maximum"])
        if search["start"] > search["maximum"]:
            raise LoadError("find_max_rate: start must not be above maximum.")
        if not 1 <= search["precision_percent"] <= 100:
            raise LoadError("find_max_rate: precision_percent must be from 1 to 100.")
    rates = [search["start"]] if search else params["rate"]
    stages = _load_schedule.stages(
        params["concurrency"], rates, params["requests"], params["duration_seconds"], **shared
    )
    names = [stage.name for stage in stages]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise LoadError(f"{twice} is asked for twice.")
    goodput = _load_slo.goodput_seconds(params["goodput_limits"])
    found = Plan(
        params=params,
        stages=stages,
        search=search,
        slos=_load_slo.slos(params["slos"], bool(goodput)),
        goodput=goodput,
        timeouts=_load_client.Timeouts(
            params["connect_timeout_seconds"], params["request_timeout_seconds"], params["idle_timeout_seconds"]
        ),
        dataset=read("dataset", params["dataset"]) if params["dataset"] else "",
        baseline=None,
        tokenizer=_tokenizer(params["tokenizer"]) if params["tokenizer"] else None,
    )
    # Mistakes in prompts and bodies show here rather than after the server was asked.
    _source(found, _load_prompts.Tokenization())
    _load_prompts.Bodies(params["api"], "", found.streaming, params["ignore_eos"], params["extra_body"])
    if params["baseline"]:
        try:
            found.baseline = json.loads(read("baseline", params["baseline"]))
        except ValueError as error:
            raise LoadError(f"baseline {params['baseline']} is not JSON: {error}.") from error
        _load_baseline.check(found.baseline, params["baseline"], found.workload(""))
    return found


def run(plan: Plan, target: _load_client.Target, progress: Callable[[str], None]) -> dict[str, Any]:
    """Do it. Returns the report's document; raises LoadError if nothing could be measured at all."""
    params = plan.params
    started = _now()
    warnings: list[str] = []
    model = _model(plan, target)
    bodies = _load_prompts.Bodies(params["api"], model, plan.streaming, params["ignore_eos"], params["extra_body"])
    tokens = _asked_once(plan, target, bodies, warnings)
    observer = _load_run.Observer(
        progress=lambda state: progress(_line(state)),
        metrics=_metrics(params, target, warnings),
        metrics_interval_seconds=params["metrics_interval_seconds"],
        deadline=_load_client.now() + params["max_seconds"],
    )
    work = _load_client.Work(
        target=target,
        timeouts=plan.timeouts,
        stage=plan.stages[0],
        source=_source(plan, tokens),
        bodies=bodies,
        streaming=plan.streaming,
        seed=params["seed"],
        goodput=plan.goodput,
        processes=params["processes"],
        max_in_flight=params["max_in_flight"],
        max_consecutive_failures=params["max_consecutive_failures"],
        think_seconds=params["think_seconds"],
        tokenizer=plan.tokenizer,
    )
    with _load_run.interruptible(observer):
        stages, search, partial = _stages(plan, work, observer, progress)
    workload = plan.workload(model)
    lines = None
    if plan.baseline and not partial:
        lines = _load_baseline.compared(plan.baseline, {"stages": stages}, params["tolerance_percent"])
    shown = {"url": target.url, "connect_to": target.connect_to}
    return _load_report.report(
        params["report_name"], started, _now(), shown, workload, stages, search, lines, partial, warnings
    )


def _stages(
    plan: Plan, work: _load_client.Work, observer: _load_run.Observer, progress: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None, str]:
    """The stages' reports, the outcome of the search if there is one, and why it ended early ("" if it did not)."""
    found: list[dict[str, Any]] = []
    tried: list[tuple[float, bool]] = []
    waiting = list(plan.stages)
    partial = ""
    sent = 0
    while waiting and not partial:
        stage = waiting.pop(0)
        # Every stage goes on in the prompts where the one before it ended: what was asked is in the prefix cache.
        result = _load_run.run_stage(dataclasses.replace(work, stage=stage, first=sent), observer)
        sent += result.recorder.sent
        part = _load_report.stage(stage, result.recorder, result.health, result.server, plan.slos)
        partial = result.stopped
        if part["requests"]["sent"]:
            found.append(part)
        good = _load_report.passed(part)
        progress(f"{stage.name}: {'pass' if good else 'fail'}, {part['requests_per_second']:g} requests/s")
        if plan.search and stage.rate is not None:
            tried.append((stage.rate, good))
            if not good and partial and not observer.interrupted and "in a row" in partial:
                # A rate at which everything fails is an answer, not the end of the search.
                partial = ""
            search = plan.search
            following = _load_schedule.next_rate(
                tried, search["start"], search["maximum"], search["precision_percent"] / 100
            )
            if following is not None:
                waiting = [dataclasses.replace(stage, rate=following)]
    if not plan.search:
        return found, None, partial
    good_rates = [rate for rate, good in tried if good]
    return (
        found,
        {
            "max_rate": max(good_rates, default=None),
            "tried": [{"rate": rate, "passed": good} for rate, good in tried],
            "limited_by_maximum": max(good_rates, default=0) >= plan.search["maximum"],
        },
        partial,
    )


def _model(plan: Plan, target: _load_client.Target) -> str:
    served = _load_run.served_models(target, plan.timeouts)
    model: str | None = plan.params["model"]
    if model:
        if served is not None and model not in served:
            raise LoadError(f"{target.url} does not serve {model}, but {', '.join(served)}. Correct model.")
        return model
    if served is None or len(served) != 1:
        names = ", ".join(served or ()) or "nothing that GET /v1/models tells"
        raise LoadError(f"{target.url} serves {names}: set model.")
    return served[0]


def _asked_once(
    plan: Plan, target: _load_client.Target, bodies: _load_prompts.Bodies, warnings: list[str]
) -> _load_prompts.Tokenization:
    """See that the target answers as the test needs it, and how it counts the tokens of made-up prompts."""
    if not plan.params["synthetic"]:
        text = _source(plan, _load_prompts.Tokenization())(0)[0].text
        _load_run.probe(target, plan.timeouts, bodies, text, _PROBE_TOKENS, plan.streaming)
        return _load_prompts.Tokenization()
    measured = []
    for words in _CALIBRATION_WORDS:
        lengths = _load_prompts.Lengths(words)
        made = _load_prompts.synthetic(lengths, lengths, _load_prompts.Tokenization(), plan.params["seed"])
        answer = _load_run.probe(target, plan.timeouts, bodies, made(0)[0].text, _PROBE_TOKENS, plan.streaming)
        measured.append((words, answer.input_tokens))
    if any(count < 0 for _words, count in measured):
        warnings.append("The server does not count tokens, so the length of made-up prompts is in words.")
        return _load_prompts.Tokenization()
    return _load_prompts.tokenization(measured)


def _source(plan: Plan, tokens: _load_prompts.Tokenization) -> _load_prompts.Source:
    params = plan.params
    if params["prompts"] is not None:
        return _load_prompts.from_list(params["prompts"], params["max_tokens"])
    if params["dataset"]:
        return _load_prompts.from_dataset(
            plan.dataset, params["dataset"], params["max_tokens"], params["turns"], params["seed"]
        )
    made = params["synthetic"]
    for name in ("input_tokens", "output_tokens"):
        if made[name] is not None and made[name] < 1:
            raise LoadError(f"synthetic.{name} must be at least 1, not {made[name]:g}.")
    for name in ("input_tokens_stdev", "output_tokens_stdev", "shared_prefixes", "shared_prefix_tokens"):
        if made[name] < 0:
            raise LoadError(f"synthetic.{name} must not be negative.")
    if bool(made["shared_prefixes"]) != bool(made["shared_prefix_tokens"]):
        raise LoadError("synthetic: shared_prefixes and shared_prefix_tokens belong together.")
    if made["shared_prefix_tokens"] >= made["input_tokens"]:
        raise LoadError("synthetic: shared_prefix_tokens must be less than input_tokens.")
    return _load_prompts.synthetic(
        _load_prompts.Lengths(made["input_tokens"], made["input_tokens_stdev"], 1, made["input_tokens_max"]),
        _load_prompts.Lengths(
            made["output_tokens"] or params["max_tokens"], made["output_tokens_stdev"], 1, made["output_tokens_max"]
        ),
        tokens,
        params["seed"],
        params["turns"],
        made["shared_prefixes"],
        made["shared_prefix_tokens"],
    )


def _metrics(params: dict[str, Any], target: _load_client.Target, warnings: list[str]) -> list[_load_client.Target]:
    """The /metrics pages to look at during the test: those asked for, else the target's own if it has one."""
    if params["metrics_urls"]:
        pages = [
            _load_client.target(
                url, validate_certs=params["endpoint_validate_certs"], ca_cert=params["endpoint_ca_cert"]
            )
            for url in params["metrics_urls"]
        ]
        for page in pages:
            if not _load_run.scrape([page]):
                warnings.append(f"{page.url} gives no vLLM metrics now; the report has them only if that changes.")
        return pages
    own = dataclasses.replace(target, path=f"{target.path}/metrics")
    return [own] if _load_run.scrape([own]) else []


def _line(state: _load_run.Progress) -> str:
    rate = state.sent / state.seconds if state.seconds > 0 else 0.0
    ttft = f", TTFT p95 {1000 * state.ttft_p95_seconds:.0f} ms" if state.ttft_p95_seconds else ""
    failed = f", {state.failed} failed" if state.failed else ""
    return f"{state.stage}: {state.seconds:.0f} s, {state.sent} requests ({rate:.1f}/s), {state.in_flight} in flight{ttft}{failed}"


def write_reports(document: dict[str, Any], directory: str, formats: list[str], history: int) -> list[str]:
    """Write the report's files. Returns their paths; raises LoadError."""
    return _load_files.write(document, directory, RENDERERS, formats, history, _kept)


def _kept(document: dict[str, Any]) -> str:
    return _load_report.to_json(_load_report.summary(document))


def read(parameter: str, path: str) -> str:
    """The text of a file that a parameter names. Raises LoadError."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise LoadError(f"{parameter} {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LoadError(f"{parameter} {path} is not a UTF-8 text.") from error


def _tokenizer(path: str) -> Callable[[str], int]:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingLibrary("tokenizers") from error
    file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
    try:
        found = Tokenizer.from_file(file)
    except Exception as error:  # the library raises plain Exception
        raise LoadError(f"tokenizer {file} cannot be read: {error}.") from error
    return lambda text: len(found.encode(text, add_special_tokens=False).ids)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

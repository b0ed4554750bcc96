# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a load test: checks the target, starts processes for each stage, looks at the server meanwhile. PRIVATE to the collection.

Load is made in processes of their own, so that scraping and reporting never delay a request, and so that one core is
not the end. This process only listens: to them, to the server's /metrics, to signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils import _load_client as client
from ansible_collections.llmstack.serving.plugins.module_utils import _load_server as server
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError, explained
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import Health, Recorder
from ansible_collections.llmstack.serving.plugins.module_utils._load_wire import Answer

_PROGRESS_SECONDS = 1.0
_REPORT_SECONDS = 2.0
_BEGIN_DELAY_SECONDS = 0.05
_PROBE_TRIES = 3
_SCRAPE_TIMEOUTS = client.Timeouts(connect_seconds=1.0, request_seconds=2.0, idle_seconds=2.0)
# How long requests on their way may go on after a stop.
_GRACE_SECONDS = 30.0


@dataclass
class Progress:
    """Where a stage is. Sums over all processes."""

    stage: str
    seconds: float
    sent: int = 0
    failed: int = 0
    in_flight: int = 0
    ttft_p95_seconds: float = 0.0


@dataclass
class StageResult:
    """What a stage gave. `stopped` says why it ended before its time ("" if it did not)."""

    recorder: Recorder
    health: list[Health]
    server: list[tuple[float, dict[str, float]]]
    stopped: str = ""


@dataclass
class Observer:
    """What to look at during a stage, and when to stop."""

    progress: Callable[[Progress], None] = lambda state: None
    metrics: list[client.Target] = field(default_factory=list)
    metrics_interval_seconds: float = 1.0
    deadline: float = float("inf")
    interrupted: str = ""


@contextlib.contextmanager
def interruptible(observer: Observer) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a stop, so that what was measured by then is reported."""

    def note(number: int, _frame: Any) -> None:
        observer.interrupted = f"interrupted by {signal.Signals(number).name}"
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def served_models(target: client.Target, timeouts: client.Timeouts) -> list[str] | None:
    """The names under which the server has models, None if it does not tell. Raises LoadError if it cannot be reached."""
    try:
        status, body = client.run(client.get(target, timeouts, "/v1/models"))
    except client.RequestFailed as error:
        raise LoadError(f"{target.url} cannot be used: {_said(error)} {_sentence(error.kind)}") from error
    if status in (401, 403):
        raise LoadError(f"{target.url} answered HTTP {status} to GET /v1/models. {_sentence(f'http_{status}')}")
    if status != 200:
        return None
    try:
        return [str(entry["id"]) for entry in json.loads(body)["data"]]
    except (KeyError, TypeError, ValueError):
        return None


def probe(
    target: client.Target, timeouts: client.Timeouts, bodies: Any, text: str, max_tokens: int, streaming: bool
) -> Answer:
    """Ask once as the test will, so that a mistake is one sentence and not a thousand failed requests. Raises LoadError."""
    for attempt in range(1, _PROBE_TRIES + 1):
        try:
            return client.run(client.probe(target, timeouts, bodies, text, max_tokens, streaming))
        except client.RequestFailed as error:
            if error.kind == "rate_limited" and attempt < _PROBE_TRIES:
                time.sleep(min(error.retry_after_seconds or 1.0, _GRACE_SECONDS))
                continue
            raise LoadError(
                f"No load was sent, because the first request to {target.url} failed: {_said(error)} {_sentence(error.kind)}"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def scrape(targets: list[client.Target]) -> dict[str, float]:
    """One sample of the servers' metrics, empty if they cannot be had now."""
    pages = []
    for target in targets:
        with contextlib.suppress(client.RequestFailed, LoadError):
            status, body = client.run(client.get(target, _SCRAPE_TIMEOUTS, ""))
            if status == 200:
                pages.append(server.sample(body.decode("utf-8", "replace")))
    return server.together(pages)


def run_stage(work: client.Work, observer: Observer) -> StageResult:
    """Run one stage in `work.processes` processes."""
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    processes = []
    for number in range(work.processes):
        ours, theirs = context.Pipe()
        share = dataclasses.replace(work, process=number)
        process = context.Process(target=_process, args=(share, theirs, [*pipes, ours]), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        return _Conductor(work, observer, pipes).conduct()
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(2.0)
            if process.is_alive():
                process.kill()
                process.join()


class _Conductor:
    """The parent's side of a stage."""

    def __init__(self, work: client.Work, observer: Observer, pipes: list[Connection]) -> None:
        self.work = work
        self.observer = observer
        self.open = list(pipes)
        self.states: dict[Connection, dict[str, Any]] = {}
        self.samples: list[tuple[float, dict[str, float]]] = []
        self.finished: list[tuple[Recorder, Health]] = []
        self.ready = 0
        self.begin = 0.0
        self.next_report = 0.0
        self.stopped = ""
        self.stopped_at = 0.0

    def conduct(self) -> StageResult:
        next_scrape = float("inf")
        while self.open:
            for pipe in wait(self.open, 0.1):
                self._listen(pipe)  # type: ignore[arg-type]
            moment = client.now()
            if not self.begin and self.open and self.ready == self.work.processes and not self.finished:
                self.samples.append((0.0, scrape(self.observer.metrics)))
                self.begin = client.now() + _BEGIN_DELAY_SECONDS
                self._tell(("begin", self.begin))
                next_scrape = moment + self.observer.metrics_interval_seconds
            if moment > next_scrape and self.observer.metrics:
                self.samples.append((moment - self.begin, scrape(self.observer.metrics)))
                next_scrape = client.now() + self.observer.metrics_interval_seconds
            if self.observer.interrupted:
                self._stop(self.observer.interrupted)
            if moment > self.observer.deadline:
                self._stop("max_seconds was reached")
            if self.stopped and moment > self.stopped_at + _GRACE_SECONDS:
                self._tell(("abandon", ""))
                self.stopped_at = float("inf")
        if not self.finished:
            raise LoadError(f"The client's processes ended without a result ({self.stopped or 'killed?'}).")
        if self.begin and self.observer.metrics:
            self.samples.append((client.now() - self.begin, scrape(self.observer.metrics)))
        recorder = self.finished[0][0]
        for other, _health in self.finished[1:]:
            recorder.merge(other)
        return StageResult(recorder, [health for _recorder, health in self.finished], self.samples, self.stopped)

    def _listen(self, pipe: Connection) -> None:
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError):
            self.open.remove(pipe)
            self._stop("a process of the client was killed (out of memory?)")
            return
        if kind == "ready":
            self.ready += 1
        elif kind == "progress":
            self.states[pipe] = content
            self._report()
        elif kind == "failed":
            raise LoadError(content)
        else:
            recorder, health, stopped = content
            self.finished.append((recorder, health))
            self.open.remove(pipe)
            if stopped:
                self._stop(stopped)

    def _report(self) -> None:
        moment = client.now()
        if self.begin and moment >= self.next_report:
            self.next_report = moment + _REPORT_SECONDS
            states = list(self.states.values())
            self.observer.progress(
                Progress(
                    self.work.stage.name,
                    moment - self.begin,
                    sent=sum(state["sent"] for state in states),
                    failed=sum(state["failed"] for state in states),
                    in_flight=sum(state["in_flight"] for state in states),
                    ttft_p95_seconds=max(state["ttft_p95_seconds"] for state in states),
                )
            )

    def _stop(self, reason: str) -> None:
        if not self.stopped:
            self.stopped = reason
            self.stopped_at = client.now()
            self._tell(("stop", reason))

    def _tell(self, message: tuple[str, Any]) -> None:
        for pipe in self.open:
            with contextlib.suppress(OSError):
                pipe.send(message)


def _process(work: client.Work, pipe: Connection, others: list[Connection]) -> None:
    # The parent's ends came along with the fork; while they are open here, nobody sees the parent die.
    for other in others:
        other.close()
    # The parent decides what a signal means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        client.run(_work(work, pipe))
    except LoadError as error:
        pipe.send(("failed", str(error)))


async def _work(work: client.Work, pipe: Connection) -> None:
    connections = client.Client(work.target, work.timeouts)
    load = client.Load(work, connections)
    loop = asyncio.get_running_loop()
    begin: asyncio.Future[float] = loop.create_future()

    def listen() -> None:
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError):
            # Nobody wants the result any more.
            loop.remove_reader(pipe.fileno())
            kind, content = "abandon", ""
        if kind == "begin":
            begin.set_result(content)
        else:
            load.stop(content)
            if not begin.done():
                begin.set_result(client.now())
            if kind == "abandon":
                connections.abandon()

    async def report() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            if recorder := load.recorder:
                state = {"sent": recorder.sent, "failed": recorder.failed, "in_flight": load.in_flight}
                pipe.send(("progress", {**state, "ttft_p95_seconds": recorder.recent("ttft").quantile(0.95)}))

    loop.add_reader(pipe.fileno(), listen)
    await load.warm_up()
    pipe.send(("ready", None))
    moment = await begin
    reporter = loop.create_task(report())
    recorder, health = await load.measure(moment)
    reporter.cancel()
    connections.close()
    loop.remove_reader(pipe.fileno())
    pipe.send(("done", (recorder, health, load.stop_reason)))


def _said(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _sentence(kind: str) -> str:
    text = explained(kind).partition(": ")[2]
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"

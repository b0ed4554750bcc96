# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, as the field defines it: from outcomes of requests to a stage's numbers. Pure. PRIVATE to the collection.

Definitions (those of `vllm bench serve`, vllm benchmarks/serve.py, where it has them):

- ttft: from the request's start to the first event that carries generated text (reasoning and tool calls included).
- tpot: (last token - first token) / (output tokens - 1), for answers of at least 2 tokens.
- itl: between two events that carry text. An engine may put several tokens into one: see `tokens_per_event`.
- e2e: from the request's start to the end of the answer.
- start: when the request was due (open loop), or when it was sent (closed loop).
- per second: over the wall time from the first due request to the last answer, never over a sum of latencies.
- tokens: as the server's `usage` counts them, or a tokenizer; never characters or events.

Failed and truncated requests are counted by class and leave no latency.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_histogram import Histogram, merged

LATENCIES = ("ttft", "tpot", "itl", "e2e")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
STATISTICS = ("mean", *QUANTILES, "max")
_FIRST_SLICE_SECONDS = 0.125
_MAX_SLICES = 48
# A client that was busier than this, or later than this, measured itself as much as the server.
BUSY_SHARE = 0.85
LATE_SECONDS = 0.020
# Half of the delay at the end of a stage that got a tenth less than the rate asked for: the delay grows all the time.
_BEHIND_SHARE = 0.05


@dataclass
class Outcome:
    """One request. Times are in seconds on one clock; `start` as defined above. `error` is "" or a class, and then
    `message` says more. Token counts are -1 where nobody counted."""

    start: float
    sent: float
    end: float
    first_token: float = 0.0
    last_token: float = 0.0
    gaps: Sequence[float] = ()
    token_events: int = 0
    input_tokens: int = -1
    output_tokens: int = -1
    cached_tokens: int = -1
    finish_reason: str = ""
    error: str = ""
    message: str = ""


class Slice:
    """What was answered in one stretch of time."""

    __slots__ = ("errors", "latencies", "output_tokens", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.output_tokens = 0
        self.latencies = {name: Histogram() for name in LATENCIES}

    def add(self, other: Slice) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.output_tokens += other.output_tokens
        for name, histogram in self.latencies.items():
            histogram.add(other.latencies[name])


class Recorder:
    """Adds up outcomes of one stage in memory that does not grow with their number.

    Time is cut into slices from `begin` on; when there are too many, each two neighbours become one.
    `goodput` are upper limits in seconds by latency: a request is good if it exceeds none of them.
    """

    def __init__(self, begin: float, goodput: dict[str, float]) -> None:
        self.begin = begin
        self.goodput = goodput
        self.slice_seconds = _FIRST_SLICE_SECONDS
        self.slices: dict[int, Slice] = {}
        self.last_end = begin
        self.last_sent = begin
        self.sent = 0
        self.good = 0
        self.send_delay = Histogram()
        self.errors: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self.finish_reasons: Counter[str] = Counter()
        self.uncounted = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens: int | None = None
        self.streamed_tokens = 0
        self.token_events = 0

    @property
    def completed(self) -> int:
        return self.sent - self.failed

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def add(self, outcome: Outcome) -> None:
        self.sent += 1
        self.send_delay.record(outcome.sent - outcome.start)
        if outcome.sent > self.last_sent:
            self.last_sent = outcome.sent
        if outcome.end > self.last_end:
            self.last_end = outcome.end
        where = self._slice(outcome.end)
        if outcome.error:
            self.errors[outcome.error] += 1
            self.messages.setdefault(outcome.error, outcome.message)
            where.errors += 1
            return
        where.requests += 1
        self.finish_reasons[outcome.finish_reason or "none"] += 1
        latencies = where.latencies
        e2e = outcome.end - outcome.start
        latencies["e2e"].record(e2e)
        limits = self.goodput
        good = e2e <= limits.get("e2e", e2e)
        output = outcome.output_tokens
        if outcome.token_events:
            ttft = outcome.first_token - outcome.start
            latencies["ttft"].record(ttft)
            good = good and ttft <= limits.get("ttft", ttft)
            self.token_events += outcome.token_events
            if output > 1:
                tpot = (outcome.last_token - outcome.first_token) / (output - 1)
                latencies["tpot"].record(tpot)
                good = good and tpot <= limits.get("tpot", tpot)
            if output > 0:
                self.streamed_tokens += output
            itl = latencies["itl"]
            for gap in outcome.gaps:
                itl.record(gap)
            at_once = outcome.token_events - 1 - len(outcome.gaps)
            if at_once:
                itl.record(0.0, at_once)
        self.good += good
        if output < 0 and outcome.input_tokens < 0:
            self.uncounted += 1
        where.output_tokens += max(output, 0)
        self.output_tokens += max(output, 0)
        self.input_tokens += max(outcome.input_tokens, 0)
        if outcome.cached_tokens >= 0:
            self.cached_tokens = (self.cached_tokens or 0) + outcome.cached_tokens

    def merge(self, other: Recorder) -> None:
        """Add what another process recorded of the same stage."""
        while self.slice_seconds < other.slice_seconds:
            self._halve()
        while other.slice_seconds < self.slice_seconds:
            other._halve()
        for number, part in other.slices.items():
            self.slices.setdefault(number, Slice()).add(part)
        self.last_end = max(self.last_end, other.last_end)
        self.last_sent = max(self.last_sent, other.last_sent)
        self.send_delay.add(other.send_delay)
        for name in ("sent", "good", "uncounted", "input_tokens", "output_tokens", "streamed_tokens", "token_events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors += other.errors
        self.messages = {**other.messages, **self.messages}
        self.finish_reasons += other.finish_reasons
        if other.cached_tokens is not None:
            self.cached_tokens = (self.cached_tokens or 0) + other.cached_tokens

    def latency(self, name: str) -> Histogram:
        """All of one latency."""
        return merged(part.latencies[name] for part in self.slices.values())

    def recent(self, name: str) -> Histogram:
        """One latency in the last slices: cheap enough to be asked for while a run is under way."""
        return merged(self.slices[number].latencies[name] for number in sorted(self.slices)[-3:])

    def _slice(self, moment: float) -> Slice:
        number = int((moment - self.begin) / self.slice_seconds)
        while number >= _MAX_SLICES:
            self._halve()
            number = int((moment - self.begin) / self.slice_seconds)
        part = self.slices.get(number)
        if part is None:
            part = self.slices[number] = Slice()
        return part

    def _halve(self) -> None:
        old, self.slices = self.slices, {}
        self.slice_seconds *= 2
        for number, part in old.items():
            if number // 2 in self.slices:
                self.slices[number // 2].add(part)
            else:
                self.slices[number // 2] = part


def milliseconds(histogram: Histogram) -> dict[str, float | int]:
    """The statistics of a latency, in milliseconds."""
    found: dict[str, float | int] = {"count": histogram.count, "mean": _ms(histogram.mean)}
    found |= {name: _ms(histogram.quantile(share)) for name, share in QUANTILES.items()}
    return found | {"max": _ms(histogram.maximum)}


def numbers(recorder: Recorder) -> dict[str, Any]:
    """The part of a stage's report that comes from its requests (docs/load-test-report.schema.json, `stage`)."""
    wall = recorder.last_end - recorder.begin

    def rate(amount: float) -> float:
        return round(amount / wall, 3) if wall > 0 else 0.0

    latencies = {name: recorder.latency(name) for name in LATENCIES}
    completed = recorder.completed
    counted = completed > recorder.uncounted
    return {
        "wall_seconds": round(wall, 3),
        "requests": {"sent": recorder.sent, "completed": completed, "failed": recorder.failed},
        "error_rate_percent": round(100 * recorder.failed / recorder.sent, 3) if recorder.sent else 0.0,
        "errors": dict(sorted(recorder.errors.items())),
        "error_messages": dict(sorted(recorder.messages.items())),
        "truncated_streams": recorder.errors["truncated"] + recorder.errors["aborted"],
        "finish_reasons": dict(sorted(recorder.finish_reasons.items())),
        "requests_per_second": rate(completed),
        "output_tokens_per_second": rate(recorder.output_tokens) if counted else None,
        "input_tokens_per_second": rate(recorder.input_tokens) if counted else None,
        "tokens": {
            "input": recorder.input_tokens if counted else None,
            "output": recorder.output_tokens if counted else None,
            "cached_input": recorder.cached_tokens,
            "requests_without_count": recorder.uncounted,
            "per_event": round(recorder.streamed_tokens / recorder.token_events, 3) if recorder.token_events else None,
        },
        "goodput": {
            "limits_ms": {name: _ms(limit) for name, limit in sorted(recorder.goodput.items())},
            "requests_per_second": rate(recorder.good),
            "percent": round(100 * recorder.good / recorder.sent, 3) if recorder.sent else 0.0,
        }
        if recorder.goodput
        else None,
        "latency_ms": {name: milliseconds(histogram) for name, histogram in latencies.items() if histogram.count},
        "slices": {
            "seconds": recorder.slice_seconds,
            "parts": [_slice_dict(number, part) for number, part in sorted(recorder.slices.items())],
        },
    }


def _slice_dict(number: int, part: Slice) -> dict[str, Any]:
    return {
        "number": number,
        "requests": part.requests,
        "errors": part.errors,
        "output_tokens": part.output_tokens,
        "latency": {name: histogram.to_dict() for name, histogram in part.latencies.items() if histogram.count},
    }


def latency_slices(stage: dict[str, Any], name: str) -> list[Histogram]:
    """One latency of a stage's report, a histogram for each slice that has any."""
    parts = (part["latency"].get(name) for part in stage["slices"]["parts"])
    return [Histogram.from_dict(part) for part in parts if part]


@dataclass
class Health:
    """How the client's processes fared: `busy_share` of a core (of the busiest process), event loop lag in seconds."""

    busy_share: float = 0.0
    loop_lag: Histogram | None = None
    reconnects: int = 0
    rss_bytes: int = 0


def client(health: list[Health], recorder: Recorder, rate: float | None) -> dict[str, Any]:
    """The part of a stage's report about the client, with the verdict whether it was the limit and why."""
    busy = max((part.busy_share for part in health), default=0.0)
    lag = merged(part.loop_lag for part in health if part.loop_lag)
    reasons = []
    if busy > BUSY_SHARE:
        reasons.append(f"a process of it used {100 * busy:.0f} % of a core")
    if lag.quantile(0.99) > LATE_SECONDS:
        reasons.append(f"its event loop was {_ms(lag.quantile(0.99)):g} ms late (p99)")
    sending = recorder.last_sent - recorder.begin
    # The last request of a run is due one interval before the rate's arithmetic ends: compare intervals.
    achieved = (recorder.sent - 1) / sending if rate and sending > 0 and recorder.sent > 1 else None
    typical, late = recorder.send_delay.quantile(0.5), recorder.send_delay.quantile(0.99)
    if rate is not None and late > LATE_SECONDS:
        reasons.append(f"it sent {_ms(late):g} ms after the due time (p99)")
    return {
        "processes": len(health),
        "busy_percent": round(100 * busy, 1),
        "loop_lag_ms": milliseconds(lag),
        "send_delay_ms": milliseconds(recorder.send_delay),
        "sent_per_second": round(achieved, 3) if achieved is not None else None,
        "kept_schedule": None if rate is None else typical <= max(LATE_SECONDS, _BEHIND_SHARE * sending),
        "reconnects": sum(part.reconnects for part in health),
        "rss_bytes": sum(part.rss_bytes for part in health),
        "was_the_limit": bool(reasons),
        "reasons": reasons,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client of the load test: asyncio connections, and the load that one process makes. PRIVATE to the collection.

Standard library only. It was chosen by measurement (tests/bench/load_test.py): asyncio protocols with the parser of
_load_wire carry several times what aiohttp does on the same core, and uvloop, which is faster still, rounds its timers
to a millisecond.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import select
import selectors
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_histogram import Histogram
from ansible_collections.llmstack.serving.plugins.module_utils._load_metrics import Health, Outcome, Recorder
from ansible_collections.llmstack.serving.plugins.module_utils._load_prompts import PATHS, Bodies, Source
from ansible_collections.llmstack.serving.plugins.module_utils._load_schedule import Stage, arrivals
from ansible_collections.llmstack.serving.plugins.module_utils._load_wire import Answer, WireError, retry_after_seconds

now = time.monotonic
_READ_BYTES = 64 * 1024
_SWEEP_SECONDS = 0.1
_HEARTBEAT_SECONDS = 0.02
# A closed-loop user whose request failed without an answer does not hammer a server that is down.
_PAUSE_AFTER_FAILURE_SECONDS = 0.1
_MAX_RETRY_AFTER_SECONDS = 30.0


class RequestFailed(Exception):
    """A request without a usable answer. `kind` is an error class of _load_errors."""

    def __init__(self, kind: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Target:
    """Where requests go. `address` and `port` are what is connected to, `host` is what is asked for (Host header, SNI)."""

    scheme: str
    host: str
    address: str
    port: int
    path: str
    api_key: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_cert: str | None = None
    validate_certs: bool = True

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @property
    def connect_to(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def target(
    url: str,
    connect_to: str | None = None,
    host_header: str | None = None,
    api_key: str | None = None,
    headers: dict[str, str] | None = None,
    ca_cert: str | None = None,
    validate_certs: bool = True,
) -> Target:
    """The Target for a base URL (with or without a final /v1). Raises LoadError."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise LoadError(f"url {url} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LoadError(f"url {url} must begin with http:// or https:// and name a host.")
    if parts.username or parts.password:
        raise LoadError("url must not hold a user name or password; use endpoint_api_key or endpoint_headers.")
    address = parts.hostname
    if connect_to:
        name, colon, number = connect_to.rpartition(":")
        if (colon and not number.isdigit()) or not (name or number):
            raise LoadError(f"connect_to must be HOST:PORT, not {connect_to}.")
        address, port = (name.strip("[]"), int(number)) if colon else (connect_to, port)
    given = tuple((headers or {}).items())
    for name, value in (*given, ("host_header", host_header or ""), ("endpoint_api_key", api_key or "")):
        if not value.isprintable() or not name.isprintable():
            raise LoadError(
                f"The value of {name} cannot be an HTTP header: it holds a line break or a control character."
            )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Target(
        parts.scheme, host_header or parts.netloc, address, port, path, api_key, given, ca_cert, validate_certs
    )


def _tls(target: Target) -> ssl.SSLContext | None:
    if target.scheme != "https":
        return None
    try:
        context = ssl.create_default_context(cafile=target.ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise LoadError(f"endpoint_ca_cert {target.ca_cert} cannot be read as certificates: {error}.") from error
    if not target.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _PreciseSelector(selectors.DefaultSelector):
    """epoll rounds timeouts up to a millisecond, select does not: wait with select on the epoll's own descriptor."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        # Under load there is nothing to wait for.
        ready = super().select(0)
        if not ready:
            select.select([self.fileno()], [], [], timeout)
            ready = super().select(0)
        return ready


def _loop() -> asyncio.AbstractEventLoop:
    # kqueue takes its timeouts as they are.
    precise = hasattr(selectors, "EpollSelector") and selectors.DefaultSelector is selectors.EpollSelector
    return asyncio.SelectorEventLoop(_PreciseSelector() if precise else None)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine of this module to its end."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(work)


# All connections of a process read into the same memory: asyncio's other way takes fresh memory, page by page, for
# every read.
_received = memoryview(bytearray(_READ_BYTES))


class _Connection(asyncio.BufferedProtocol):
    """One HTTP/1.1 connection, used for one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.answer: Answer | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.started = 0.0
        self.heard = 0.0
        self.uses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        moment = now()
        self.heard = moment
        answer = self.answer
        if answer is None:
            # Nobody asked: a late answer or the server's goodbye.
            self.close()
            return
        try:
            if answer.feed(bytes(_received[:nbytes]), moment):
                self._end(None)
        except WireError as error:
            self.fail(RequestFailed(error.kind, str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None:
            whole = exc is None and self.answer.closed()
            self._end(None if whole else RequestFailed("connection_lost", str(exc or "closed by the server")))

    def fail(self, error: RequestFailed) -> None:
        self.close()
        self._end(error)

    def close(self) -> None:
        if self.transport:
            self.transport.abort()
            self.transport = None

    def send(self, request: bytes, answer: Answer) -> asyncio.Future[None]:
        """Send a request; the future ends when `answer` is whole."""
        if self.transport is None:
            raise AssertionError("a request goes to an open connection")
        self.uses += 1
        self.answer = answer
        self.waiter = self._loop.create_future()
        self.started = self.heard = now()
        self.transport.write(request)
        return self.waiter

    def _end(self, error: Exception | None) -> None:
        waiter, self.waiter, self.answer = self.waiter, None, None
        if waiter and not waiter.done():
            if error:
                waiter.set_exception(error)
            else:
                waiter.set_result(None)


@dataclass(frozen=True)
class Timeouts:
    """Seconds."""

    connect_seconds: float = 10.0
    request_seconds: float = 300.0
    idle_seconds: float = 60.0


class Client:
    """Connections to one target, kept open and used again. To be used inside a running loop, and closed."""

    def __init__(self, target: Target, timeouts: Timeouts) -> None:
        self.target = target
        self.timeouts = timeouts
        self.reconnects = 0
        self._loop = asyncio.get_running_loop()
        self._tls = _tls(target)
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        headers = {"Host": target.host, "User-Agent": "llmstack.serving.load_test", "Accept": "*/*"}
        if target.api_key:
            headers["Authorization"] = f"Bearer {target.api_key}"
        headers |= dict(target.headers)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._sweeper = self._loop.create_task(self._sweep())

    def encoded(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A request as bytes."""
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} {self.target.path}{path} HTTP/1.1\r\n{self._headers}{content}\r\n".encode() + body

    async def ask(self, request: bytes, answer: Answer) -> None:
        """Send a request and fill `answer`. Raises RequestFailed when there is no whole HTTP response."""
        while True:
            connection = self._pooled() or await self._connect()
            first_use = connection.uses == 0
            self._busy.add(connection)
            try:
                await connection.send(request, answer)
            except RequestFailed as error:
                # A server may close an idle connection just when it is used again: RFC 9112 9.3.1 allows to repeat.
                if error.kind == "connection_lost" and not first_use and not answer.response.status:
                    self.reconnects += 1
                    continue
                raise
            except asyncio.CancelledError:
                connection.close()
                raise
            finally:
                self._busy.discard(connection)
            if answer.response.keep_alive and connection.transport:
                self._idle.append(connection)
            else:
                connection.close()
            return

    async def open(self, number: int) -> None:
        """Have that many idle connections, so that a measurement does not begin with handshakes. Failures show later."""
        missing = number - len(self._idle)
        for begin in range(0, missing, 64):
            made = await asyncio.gather(
                *(self._connect() for _one in range(min(64, missing - begin))), return_exceptions=True
            )
            self._idle += [connection for connection in made if isinstance(connection, _Connection)]

    def close(self) -> None:
        self._sweeper.cancel()
        for connection in (*self._idle, *self._busy):
            connection.close()

    def abandon(self) -> None:
        """Give up every request that is on its way."""
        for connection in list(self._busy):
            connection.fail(RequestFailed("timeout", "given up when the test was stopped"))

    def _pooled(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport and not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self) -> _Connection:
        target = self.target
        server_name = urllib.parse.urlsplit(f"//{target.host}").hostname if self._tls else None
        try:
            async with asyncio.timeout(self.timeouts.connect_seconds):
                _transport, connection = await self._loop.create_connection(
                    lambda: _Connection(self._loop),
                    target.address,
                    target.port,
                    ssl=self._tls,
                    server_hostname=server_name,
                )
                return connection
        except TimeoutError:
            raise RequestFailed("connect_timeout", f"no connection to {target.address}:{target.port}") from None
        except OSError as error:
            raise RequestFailed(_connection_problem(error), f"{target.address}:{target.port}: {error}") from error

    async def _sweep(self) -> None:
        # One look at all now and then is cheaper than a timer for every request.
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            moment = now()
            for connection in list(self._busy):
                if moment - connection.started > self.timeouts.request_seconds:
                    connection.fail(RequestFailed("timeout", f"no whole answer in {self.timeouts.request_seconds:g} s"))
                elif moment - connection.heard > self.timeouts.idle_seconds:
                    connection.fail(RequestFailed("idle_timeout", f"no byte in {self.timeouts.idle_seconds:g} s"))


def _connection_problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, socket.gaierror):
        return "name_not_found"
    if isinstance(error, ConnectionRefusedError):
        return "connection_refused"
    # EMFILE, ENFILE, EADDRNOTAVAIL
    return "client_limit" if error.errno in (24, 23, 99) else "connection_failed"


async def exchange(client: Client, request: bytes, answer: Answer, streaming: bool) -> float:
    """Ask, and see that the answer is whole. Returns when it ended. Raises RequestFailed."""
    try:
        await client.ask(request, answer)
    except RequestFailed as error:
        if error.kind == "connection_lost" and answer.response.status == 200:
            text = f"the connection broke after {answer.token_events} events: {error}"
            raise RequestFailed("truncated", text) from error
        raise
    end = now()
    check(answer, streaming)
    return end


def check(answer: Answer, streaming: bool) -> None:
    """Read what a whole response says. Raises RequestFailed if it is not a whole, successful answer."""
    response = answer.response
    if response.status == 429:
        wait = retry_after_seconds(response.headers.get(b"retry-after"))
        raise RequestFailed("rate_limited", answer.problem(), wait)
    if response.status != 200:
        raise RequestFailed(f"http_{response.status}", answer.problem())
    try:
        if streaming and not answer.token_events and not answer.done and not answer.finish_reason:
            # Not a stream at all: say what it is instead.
            answer.finish_document()
        elif not streaming:
            answer.finish_document()
    except WireError as error:
        content = response.headers.get(b"content-type", b"").decode("latin-1")
        raise RequestFailed(error.kind, f"{error} (Content-Type: {content or 'none'})") from error
    if answer.error:
        raise RequestFailed("error_event", answer.error)
    if answer.finish_reason == "abort":
        raise RequestFailed("aborted", "finish reason abort")
    if streaming and not (answer.finish_reason and answer.done):
        raise RequestFailed("truncated", f"the stream ended after {answer.token_events} events without its end")


@dataclass(frozen=True)
class Work:
    """What one process does in a stage: it is number `process` of `processes` and takes every so-manieth request."""

    target: Target
    timeouts: Timeouts
    stage: Stage
    source: Source
    bodies: Bodies
    streaming: bool
    seed: int
    first: int = 0
    goodput: dict[str, float] = field(default_factory=dict)
    process: int = 0
    processes: int = 1
    max_in_flight: int = 10_000
    max_consecutive_failures: int = 100
    think_seconds: float = 0.0
    tokenizer: Callable[[str], int] | None = None


class Load:
    """The load of one process for one stage: `warm_up`, then `measure`. `progress` may be called at any time."""

    def __init__(self, work: Work, client: Client) -> None:
        self.work = work
        self.client = client
        self.recorder: Recorder | None = None
        self.in_flight = 0
        self.stop_reason = ""
        self._stopped = asyncio.Event()
        self._failures_in_a_row = 0
        self._lag = Histogram()
        self._path = PATHS[work.bodies.api]

    async def warm_up(self) -> None:
        """Open the connections and send the requests that do not count."""
        stage, work = self.work.stage, self.work
        self.recorder = Recorder(now(), {})
        mine = range(work.process, stage.warmup_requests, work.processes)
        users = self._share(stage.concurrency) if stage.concurrency is not None else min(64, len(mine))
        await self.client.open(users)
        # Numbers from the far end: a warm-up must not put the measured prompts into a prefix cache.
        numbers = iter(work.first + 1_000_000_000 + number for number in mine)
        await asyncio.gather(*(self._user(numbers, float("inf")) for _user in range(users)))

    async def measure(self, begin: float) -> tuple[Recorder, Health]:
        """Send the stage's requests from the moment `begin` on (monotonic seconds)."""
        stage = self.work.stage
        self.recorder = Recorder(begin, self.work.goodput)
        self._failures_in_a_row = 0
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000)
        heartbeat = asyncio.create_task(self._heartbeat())
        await _until(begin)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        reconnects = self.client.reconnects
        if stage.concurrency is not None:
            await self._closed_loop(stage, begin)
        else:
            await self._open_loop(stage, begin)
        spent = now() - begin
        heartbeat.cancel()
        after = resource.getrusage(resource.RUSAGE_SELF)
        busy = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
        # ru_maxrss is in KiB on Linux.
        health = Health(busy / spent, self._lag, self.client.reconnects - reconnects, after.ru_maxrss * 1024)
        return self.recorder, health

    def stop(self, reason: str) -> None:
        """Send nothing more; what is on its way may end."""
        if not self._stopped.is_set():
            self.stop_reason = reason
            self._stopped.set()

    def _share(self, total: int) -> int:
        """This process's part of a number."""
        return len(range(self.work.process, total, self.work.processes))

    async def _closed_loop(self, stage: Stage, begin: float) -> None:
        if stage.concurrency is None:
            raise AssertionError("a closed loop has a number of users")
        users = self._share(stage.concurrency)
        until = begin + stage.duration_seconds if stage.duration_seconds is not None else float("inf")
        limit = range(stage.requests) if stage.requests is not None else count()
        numbers = (self.work.first + number for number in _every(limit, self.work.process, self.work.processes))
        pause = stage.ramp_up_seconds / users if users else 0.0

        async def user(number: int) -> None:
            if pause:
                await self._pause(pause * number)
            await self._user(numbers, until)

        await asyncio.gather(*(user(number) for number in range(users)))

    async def _user(self, numbers: Iterator[int], until: float) -> None:
        while not self._stopped.is_set() and now() < until:
            number = next(numbers, None)
            if number is None:
                return
            wait = await self._conversation(number, None)
            if wait:
                await self._pause(min(wait, _MAX_RETRY_AFTER_SECONDS, max(0.0, until - now())))

    async def _open_loop(self, stage: Stage, begin: float) -> None:
        running: set[asyncio.Task[float]] = set()
        for number, after in arrivals(stage, self.work.seed):
            if number % self.work.processes != self.work.process:
                continue
            due = begin + after
            if due > now():
                await _until(due)
            if self._stopped.is_set():
                break
            while len(running) >= self.work.max_in_flight:
                # It goes late from here on, and its latency counts from when it was due.
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self._conversation(self.work.first + number, due))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running)

    async def _conversation(self, number: int, due: float | None) -> float:
        """All turns of one conversation. Returns for how many seconds its user should wait before the next."""
        work = self.work
        said: list[str] = []
        answered: list[str] = []
        turns = work.source(number)
        for position, turn in enumerate(turns):
            said.append(turn.text)
            last = position == len(turns) - 1
            body = work.bodies.body(said, answered, turn.max_tokens)
            answer, wait = await self._request(body, due, keep_text=not last)
            if answer is None or last or self._stopped.is_set():
                return wait
            answered.append("".join(answer.text))
            if work.think_seconds:
                await self._pause(work.think_seconds)
            due = None
        return 0.0

    async def _request(self, body: bytes, due: float | None, keep_text: bool) -> tuple[Answer | None, float]:
        work = self.work
        recorder = self.recorder
        if recorder is None:
            raise AssertionError("requests are sent by a stage, which records them")
        answer = Answer(work.streaming, keep_text or work.tokenizer is not None)
        sent = now()
        self.in_flight += 1
        error: RequestFailed | None = None
        try:
            end = await exchange(self.client, self.client.encoded("POST", self._path, body), answer, work.streaming)
        except RequestFailed as failure:
            end = now()
            error = failure
        finally:
            self.in_flight -= 1
        output = answer.output_tokens
        if output < 0 and work.tokenizer and not error:
            output = work.tokenizer("".join(answer.text))
        recorder.add(
            Outcome(
                start=sent if due is None else due,
                sent=sent,
                end=end,
                first_token=answer.first_token,
                last_token=answer.last_token,
                gaps=answer.gaps,
                token_events=answer.token_events,
                input_tokens=answer.input_tokens,
                output_tokens=output,
                cached_tokens=answer.cached_tokens,
                finish_reason=answer.finish_reason,
                error=error.kind if error else "",
                message=str(error) if error else "",
            )
        )
        if error is None:
            self._failures_in_a_row = 0
            return answer, 0.0
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= work.max_consecutive_failures:
            self.stop(f"{self._failures_in_a_row} requests in a row failed, the last with {error.kind} ({error})")
        return None, error.retry_after_seconds or _PAUSE_AFTER_FAILURE_SECONDS

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until stopped."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._stopped.wait()
            except TimeoutError:
                pass

    async def _heartbeat(self) -> None:
        while True:
            due = now() + _HEARTBEAT_SECONDS
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            self._lag.record(max(0.0, now() - due))


def _every(numbers: Any, first: int, step: int) -> Iterator[int]:
    return (number for number in numbers if number % step == first)


async def _until(moment: float) -> None:
    delay = moment - now()
    if delay > 0:
        await asyncio.sleep(delay)


async def get(target: Target, timeouts: Timeouts, path: str) -> tuple[int, bytes]:
    """Status and body of one GET (path below the target's). Raises RequestFailed."""
    client = Client(target, timeouts)
    try:
        answer = Answer(streaming=False)
        await client.ask(client.encoded("GET", path), answer)
        return answer.response.status, answer.body
    finally:
        client.close()


async def question(target: Target, timeouts: Timeouts, path: str, body: bytes, streaming: bool) -> Answer:
    """One POST (path below the target's) with its whole, successful answer and its text. Raises RequestFailed."""
    client = Client(target, timeouts)
    try:
        answer = Answer(streaming, keep_text=True)
        await exchange(client, client.encoded("POST", path, body), answer, streaming)
        return answer
    finally:
        client.close()


async def probe(
    target: Target, timeouts: Timeouts, bodies: Bodies, text: str, max_tokens: int, streaming: bool
) -> Answer:
    """One request as the load test sends them. Raises RequestFailed."""
    return await question(target, timeouts, PATHS[bodies.api], bodies.body([text], [], max_tokens), streaming)

# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of an OpenAI-compatible server to facts about one answer. Pure, incremental. PRIVATE to the collection.

`Response` undoes HTTP/1.1 framing (RFC 9112), `Answer` reads what is inside: server-sent events or one JSON document.
It is a parser of its own because a load generator spends most of its time here, and of all that an HTTP library can
do it needs only this: see tests/bench/load_test.py for what the general ones cost.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_HEAD_BYTES = 64 * 1024
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024

# What matters in an event. A quote inside a JSON text is escaped, so none of these can match inside generated text.
# Keys that carry generated text: vllm entrypoints/openai/{chat_completion,completion}/protocol.py
# (DeltaMessage.content, .reasoning, older .reasoning_content, function arguments and refusals; choice.text).
_TEXT_KEYS = (b'"content"', b'"text"', b'"reasoning_content"', b'"reasoning"', b'"arguments"', b'"refusal"')
_TEXT = re.compile(rb'"\w+"\s*:\s*"(?!")')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"(\w+)"')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'"error"\s*:\s*[{"]')
_MAX_KNOWN_HEADS = 256
# How servers write the lengths of chunks as long as an event. A look-up is several times faster than int().
_CHUNK_LENGTHS = {b"%x" % length: length for length in range(4096)}
_QUOTE, _BACKSLASH = b'"\\'


class WireError(Exception):
    """The bytes are not what they should be. `kind` is one of the error classes of _load_metrics."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Response:
    """One HTTP/1.1 response. Feed bytes, get the body's bytes; raises WireError("not_http")."""

    __slots__ = ("_buffer", "_chunked", "_left", "_skip", "complete", "headers", "keep_alive", "status", "until_close")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.keep_alive = True
        self.until_close = False
        self._buffer = b""
        self._chunked = False
        # Bytes of the body (of the chunk, where chunked) still to come, and bytes of line end after them.
        self._left = 0
        self._skip = 0

    def feed(self, data: bytes) -> bytes:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self.status:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD_BYTES or (len(data) >= 5 and data[:5] != b"HTTP/"):
                    raise WireError("not_http", "the server does not speak HTTP/1.1")
                self._buffer = data
                return b""
            self._read_head(data[:end])
            data = data[end + 4 :]
            if not self.status:
                return self.feed(data) if data else b""
        if self.complete:
            return b""
        if self._chunked:
            return self._dechunk(data)
        if self.until_close:
            return data
        self._left -= len(data)
        if self._left <= 0:
            self.complete = True
        return data

    def _read_head(self, head: bytes) -> None:
        known = _known_heads.get(head)
        if known is None:
            known = _parsed(head)
            if len(_known_heads) >= _MAX_KNOWN_HEADS:
                _known_heads.clear()
            _known_heads[head] = known
        self.status, self.headers, self.keep_alive, self._chunked, length = known
        if self._chunked or not self.status:
            return
        if length is None:
            self.until_close = True
            self.keep_alive = False
        else:
            self._left = length
            self.complete = length == 0

    def _dechunk(self, data: bytes) -> bytes:
        if not self._left and not self._skip:
            # Nearly always: whole chunks without a line end of their own, as JSON is. If every other line is as long as
            # the line before it says, that is what they are.
            lines = data.split(b"\r\n")
            lengths, chunks, last = lines[:-1:2], lines[1:-1:2], lines[-1]
            if not last and list(map(_CHUNK_LENGTHS.get, lengths)) == list(map(len, chunks)) and all(chunks[:-1]):
                self.complete = chunks[-1:] == [b""]
                return b"".join(chunks)
        return self._dechunk_by_position(data)

    def _dechunk_by_position(self, data: bytes) -> bytes:
        pieces = []
        position, size = 0, len(data)
        while position < size:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
            elif self._skip:
                step = min(self._skip, size - position)
                position += step
                self._skip -= step
            else:
                end = data.find(b"\r\n", position)
                if end < 0:
                    if size - position > MAX_HEAD_BYTES:
                        raise WireError("not_http", "the server sent a chunk without a length")
                    self._buffer = data[position:]
                    break
                length = _chunk_length(data[position:end])
                begin = end + 2
                if length == 0:
                    # Trailers end with an empty line; nothing here reads them.
                    trailer = data.find(b"\r\n\r\n", end)
                    if trailer < 0:
                        self._buffer = data[position:]
                        break
                    self.complete = True
                    break
                if begin + length + 2 <= size:
                    pieces.append(data[begin : begin + length])
                    position = begin + length + 2
                else:
                    self._left, self._skip = length, 2
                    position = begin
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# Status, headers, keep-alive, chunked, Content-Length (None: until the connection ends) by the bytes of a head. Servers
# send the same head again and again.
_Head = tuple[int, dict[bytes, bytes], bool, bool, "int | None"]
_known_heads: dict[bytes, _Head] = {}


def _parsed(head: bytes) -> _Head:
    first, *lines = head.split(b"\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise WireError("not_http", "the server does not speak HTTP/1.1")
    status = int(words[1])
    headers = {}
    for line in lines:
        name, _colon, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    connection = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in connection and (words[0] != b"HTTP/1.0" or b"keep-alive" in connection)
    chunked = b"chunked" in headers.get(b"transfer-encoding", b"").lower()
    length: int | None = None
    if status in (204, 304):
        length = 0
    elif b"content-length" in headers and not chunked:
        if not headers[b"content-length"].isdigit():
            raise WireError("not_http", "the server sent a Content-Length that is no number")
        length = int(headers[b"content-length"])
    # 100 Continue and its like announce the real response.
    return (0 if status < 200 else status), headers, keep_alive, chunked, length


def _chunk_length(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise WireError("not_http", "the server sent a chunk whose length is no number") from None


class Answer:
    """What one request got. Times are those that `feed` is called with, in seconds.

    `gaps` are the seconds between reads that brought events with tokens; the events of one read are 0 apart, and these
    zeros are left out. `text` is kept only with `keep_text` (a conversation goes on with it). Usage counts are -1 where
    the server did not say.
    """

    __slots__ = (
        "_after",
        "_around",
        "_before",
        "_keep_text",
        "_rest",
        "_streaming",
        "cached_tokens",
        "done",
        "error",
        "finish_reason",
        "first_token",
        "gaps",
        "input_tokens",
        "last_token",
        "output_tokens",
        "response",
        "text",
        "token_events",
    )

    def __init__(self, streaming: bool, keep_text: bool = False) -> None:
        self.response = Response()
        self.first_token = 0.0
        self.last_token = 0.0
        self.token_events = 0
        self.gaps: list[float] = []
        self.finish_reason = ""
        self.done = False
        self.input_tokens = self.output_tokens = self.cached_tokens = -1
        self.text: list[str] = []
        self.error = ""
        self._streaming = streaming
        self._keep_text = keep_text
        self._rest = b""
        # What is before and after the text of an event that says nothing else, and the length of both.
        self._before = self._after = b""
        self._around = MAX_DOCUMENT_BYTES

    def feed(self, data: bytes, now: float) -> bool:
        """Take bytes that arrived at `now`. True when the answer is whole. Raises WireError."""
        response = self.response
        body = response.feed(data)
        if body:
            if self._streaming and response.status == 200:
                self._events(body, now)
            else:
                self._rest += body
                if len(self._rest) > MAX_DOCUMENT_BYTES:
                    raise WireError("too_large", f"the answer is larger than {MAX_DOCUMENT_BYTES // 1024**2} MiB")
        return response.complete

    def closed(self) -> bool:
        """The connection ended. True if that makes the answer whole (no length was announced)."""
        return self.response.status != 0 and (self.response.complete or self.response.until_close)

    def _events(self, body: bytes, now: float) -> None:
        if b"\r" in body:
            # JSON escapes it, so it can only be part of a line end.
            body = body.replace(b"\r", b"")
        *events, rest = (self._rest + body).split(b"\n\n")
        if len(rest) > MAX_DOCUMENT_BYTES:
            raise WireError("too_large", f"an event is larger than {MAX_DOCUMENT_BYTES // 1024**2} MiB")
        self._rest = rest
        tokens = 0
        for event in events:
            # Events of one stream differ in their text only: what is around it was looked at before.
            if len(event) > self._around and event.endswith(self._after) and event.startswith(self._before):
                tokens += 1
            else:
                tokens += self._event(event)
        if tokens:
            self._tokens(tokens, now)

    def _event(self, event: bytes) -> bool:
        """Take what an event says; whether it carries text."""
        if event.startswith(b"data:") and b"\n" not in event:
            payload = event[5:].lstrip()
        else:
            lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
            if not lines:
                return False
            payload = b"\n".join(lines)
        if payload == b"[DONE]":
            self.done = True
            return False
        if payload[:1] != b"{":
            raise WireError("not_openai", f"the stream holds something that is not JSON: {shown(payload)}")
        text, nothing_else = self._look_into(payload)
        if text and self._keep_text:
            self.text.extend(_texts(_json(payload)))
        elif text and nothing_else and event.endswith(payload):
            begin = len(event) - len(payload) + text.end()
            self._before, self._after = event[:begin], event[_end_of_text(event, begin) :]
            self._around = len(self._before) + len(self._after)
        return text is not None

    def _tokens(self, events: int, now: float) -> None:
        if not self.token_events:
            self.first_token = now
        elif now != self.last_token:
            self.gaps.append(now - self.last_token)
        self.last_token = now
        self.token_events += events

    def _look_into(self, payload: bytes) -> tuple[re.Match[bytes] | None, bool]:
        """Take what an event says; where its text begins (None: it has none), and whether it says nothing else."""
        text = None
        for key in _TEXT_KEYS:
            position = payload.find(key)
            while position >= 0 and text is None:
                text = _TEXT.match(payload, position)
                position = payload.find(key, position + 1)
        finish = b'"finish_reason"' in payload and _FINISH.search(payload)
        usage = b'"usage"' in payload and _USAGE.search(payload)
        error = b'"error"' in payload and _ERROR.search(payload)
        if finish:
            self.finish_reason = finish[1].decode()
        if usage:
            self._read_usage(_json(payload))
        if error:
            self.error = error_text(_json(payload))
        return text, not (finish or usage or error)

    @property
    def body(self) -> bytes:
        """The body of an answer that is no stream."""
        return self._rest

    def document(self) -> dict[str, Any]:
        """The answer's JSON document (not streamed, or an error). Raises WireError("not_openai")."""
        return _json(self._rest)

    def finish_document(self) -> None:
        """Read usage, finish reason and text of an answer that was not streamed. Raises WireError("not_openai")."""
        document = self.document()
        self._read_usage(document)
        choices = document.get("choices") or [{}]
        self.finish_reason = choices[0].get("finish_reason") or ""
        if self._keep_text:
            self.text.extend(_texts(document))
        if "error" in document:
            self.error = error_text(document)

    def _read_usage(self, document: dict[str, Any]) -> None:
        usage = document.get("usage") or {}
        self.input_tokens = _count(usage.get("prompt_tokens"))
        self.output_tokens = _count(usage.get("completion_tokens"))
        self.cached_tokens = _count((usage.get("prompt_tokens_details") or {}).get("cached_tokens"))

    def problem(self) -> str:
        """What the body of a response that is not 200 says, in one line."""
        try:
            return error_text(self.document())
        except WireError:
            return shown(self._rest)


def _end_of_text(payload: bytes, begin: int) -> int:
    """Where the JSON text that begins at `begin` ends: the position of its closing quote (of the end, if there is none)."""
    end = begin
    while end < len(payload) and payload[end] != _QUOTE:
        end += 2 if payload[end] == _BACKSLASH else 1
    return end


def retry_after_seconds(value: bytes | None) -> float | None:
    """Seconds of a Retry-After header, None if it is absent or a date (RFC 9110 10.2.3)."""
    return float(value) if value and value.isdigit() else None


def error_text(document: dict[str, Any]) -> str:
    """The message in an error document: OpenAI's, vLLM's older one, FastAPI's or KServe's."""
    error = document.get("error")
    if isinstance(error, dict):
        error = error.get("message") or error.get("type")
    text = error or document.get("message") or document.get("detail") or json.dumps(document)
    return _printable(str(text))[:300]


def shown(body: bytes) -> str:
    """The beginning of a body, for a message."""
    text = _printable(body[:400].decode("utf-8", "replace"))
    return f"'{text[:120]}'" if text else "nothing"


def _printable(text: str) -> str:
    # Reports are XML and HTML too, and a terminal obeys control characters.
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))


def _texts(document: dict[str, Any]) -> list[str]:
    texts = []
    for choice in document.get("choices") or []:
        part = choice.get("delta") or choice.get("message") or choice
        text = part.get("content") or part.get("text")
        if isinstance(text, str):
            texts.append(text)
    return texts


def _count(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _json(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise WireError("not_openai", f"the server did not answer with a JSON object: {shown(payload)}")
    return document

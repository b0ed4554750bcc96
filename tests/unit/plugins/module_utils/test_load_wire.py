# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_wire import (
    MAX_HEAD_BYTES,
    Answer,
    Response,
    WireError,
    retry_after_seconds,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def delta(text: str, finish: str | None = None) -> bytes:
    document = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], "usage": None}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}'
)
STREAM = (
    HEAD
    + chunk(delta(""))
    + chunk(delta("one"))
    + chunk(delta(" two"))
    + chunk(delta(" three", "stop"))
    + chunk(USAGE + b"\n\n")
    + chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, len(STREAM)])
def test_a_stream_reads_the_same_however_it_is_cut_into_packets(size: int) -> None:
    answer = Answer(streaming=True, keep_text=True)
    ends = [answer.feed(STREAM[at : at + size], 0.0) for at in range(0, len(STREAM), size)]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert (answer.token_events, answer.finish_reason, answer.done) == (3, "stop", True)
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (7, 3, 4)
    assert "".join(answer.text) == "one two three"
    assert answer.response.keep_alive


def test_times_are_those_of_the_events_that_carry_text() -> None:
    answer = Answer(streaming=True)
    for moment, part in (
        (1.0, HEAD + chunk(delta(""))),
        (2.0, chunk(delta("a"))),
        (2.5, chunk(delta("b"))),
        (4.0, b"0\r\n\r\n"),
    ):
        answer.feed(part, moment)
    assert (answer.first_token, answer.last_token, answer.gaps) == (2.0, 2.5, [0.5])


LONG_TEXTS = ["one", "", ' "quoted"', "\\", "two\n\n", "x" * 5000, "é", '"}}],"usage":null}', "three"] * 20
LONG = (
    HEAD
    + b"".join(map(chunk, map(delta, LONG_TEXTS)))
    + chunk(delta("", "stop"))
    + chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 100, 997, 65536, len(LONG)])
def test_many_events_in_one_read_are_counted_one_by_one_and_are_0_apart(size: int) -> None:
    answer = Answer(streaming=True)
    reads = [LONG[at : at + size] for at in range(0, len(LONG), size)]
    ends = [answer.feed(read, float(number)) for number, read in enumerate(reads, 1)]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert (answer.token_events, answer.finish_reason, answer.done) == (
        len(list(filter(None, LONG_TEXTS))),
        "stop",
        True,
    )
    assert len(answer.gaps) < len(reads)
    assert all(gap > 0 for gap in answer.gaps)
    assert sum(answer.gaps) == answer.last_token - answer.first_token


def test_what_ends_a_stream_is_seen_among_many_events_of_one_read() -> None:
    events = [delta("a")] * 50 + [delta("b", "length"), USAGE + b"\n\n", b'data: {"error": {"message": "late"}}\n\n']
    answer = Answer(streaming=True)
    answer.feed(HEAD + b"".join(map(chunk, events)), 1.0)
    assert (answer.token_events, answer.finish_reason, answer.output_tokens, answer.error) == (51, "length", 3, "late")


def test_chunks_need_not_be_events() -> None:
    events = b"".join(map(delta, LONG_TEXTS))
    pieces = [events[at : at + 1000] for at in range(0, len(events), 1000)]
    for written in ("%x", "%X", "%x;name=value", "0%x"):
        chunks = b"".join(b"%s\r\n%s\r\n" % ((written % len(piece)).encode(), piece) for piece in pieces)
        answer = Answer(streaming=True)
        assert answer.feed(HEAD + chunks + b"0\r\nTrailer: x\r\n\r\n", 1.0)
        assert answer.token_events == len(list(filter(None, LONG_TEXTS)))


def test_a_chunk_may_hold_line_ends_and_what_looks_like_chunks() -> None:
    body = b"3\r\nabc\r\n0\r\n\r\n"
    response = Response()
    assert response.feed(HEAD + chunk(body) + chunk(b"\r\n") + b"0\r\n\r\n") == body + b"\r\n"
    assert response.complete


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"reasoning": "hm"}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{"}}]}}]},
        {"choices": [{"text": "hm"}]},
    ],
)
def test_reasoning_tool_calls_and_completions_carry_text_too(payload: dict[str, object]) -> None:
    answer = Answer(streaming=True)
    answer.feed(HEAD + chunk(b"data: " + json.dumps(payload).encode() + b"\n\n"), 1.0)
    assert answer.token_events == 1


def test_generated_text_that_looks_like_a_field_is_only_text() -> None:
    answer = Answer(streaming=True)
    answer.feed(HEAD + chunk(delta('{"finish_reason": "stop", "error": {"message": "x"}, "usage": {}}')), 1.0)
    assert (answer.token_events, answer.finish_reason, answer.error, answer.output_tokens) == (1, "", "", -1)


def test_comments_other_fields_and_windows_line_ends_are_understood() -> None:
    answer = Answer(streaming=True)
    event = b": ping\r\n\r\nevent: message\r\nid: 7\r\ndata:" + delta("x")[5:].replace(b"\n", b"\r\n")
    for byte in HEAD + chunk(event):
        answer.feed(bytes((byte,)), 1.0)
    assert answer.token_events == 1


def test_an_error_inside_a_stream_is_kept() -> None:
    answer = Answer(streaming=True)
    answer.feed(HEAD + chunk(b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'), 1.0)
    assert answer.error == "EngineCore died"


def test_what_is_no_json_in_a_stream_is_refused() -> None:
    with pytest.raises(WireError, match="not JSON: 'oops'") as error:
        Answer(streaming=True).feed(HEAD + chunk(b"data: oops\n\n"), 1.0)
    assert error.value.kind == "not_openai"


def test_an_answer_with_a_length_ends_with_it() -> None:
    body = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"completion_tokens":1}}'
    answer = Answer(streaming=False, keep_text=True)
    assert not answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), 1.0)
    assert answer.feed(body, 1.0)
    answer.finish_document()
    assert (answer.text, answer.finish_reason, answer.output_tokens) == (["hi"], "stop", 1)


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    answer = Answer(streaming=False)
    assert not answer.feed(b"HTTP/1.0 200 OK\r\n\r\n{}", 1.0)
    assert answer.closed()
    assert not answer.response.keep_alive


def test_an_announced_but_unfinished_answer_does_not_end_with_the_connection() -> None:
    answer = Answer(streaming=True)
    answer.feed(HEAD + chunk(delta("a")), 1.0)
    assert not answer.closed()


def test_an_interim_response_is_passed_over() -> None:
    response = Response()
    assert response.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n") == b""
    assert (response.status, response.complete) == (204, True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
        HEAD + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES,
    ],
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    with pytest.raises(WireError) as error:
        Response().feed(data)
    assert error.value.kind == "not_http"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"The model `x` does not exist."}}', "The model `x` does not exist."),
        (b'{"object":"error","message":"old vLLM"}', "old vLLM"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"<html>\x00\x1b[31m</html>", "'<html>??[31m</html>'"),
        (b"", "nothing"),
    ],
)
def test_what_a_refusal_says_is_found_and_printable(body: bytes, said: str) -> None:
    answer = Answer(streaming=True)
    answer.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 1.0)
    assert answer.problem() == said


def test_only_seconds_of_retry_after_are_taken() -> None:
    assert retry_after_seconds(b"12") == 12.0
    assert retry_after_seconds(b"Wed, 21 Oct 2026 07:28:00 GMT") is None
    assert retry_after_seconds(None) is None

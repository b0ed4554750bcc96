# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that speaks OpenAI's streaming wire format with known delays, stamps what it sends, and fails on request.

    python -m tools.openai_server --ttft 0.05 --itl 0.01

prints its port. The model's name in a request chooses what happens: `good`, one of FAULTS, or `FAULT@N`, which is good
for the first N requests. `GET /be/FAULT` chooses for all requests from then on, also one of STATES. `GET /stamps` tells
the delays that it really made (its own clock, taken at each send), in seconds, and forgets them; `GET /seen` shows the
last requests. Below /all/ every fault is in the list of models, below /none/ there is no list.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import time
from typing import Any

FAULTS = (
    "cut",  # closes the connection in the middle of a stream
    "abort",  # ends like vLLM when it is stopped: finish reason abort, [DONE], HTTP 200
    "unfinished",  # [DONE] without a finish reason
    "error-event",  # an error inside a stream, as vLLM reports a failed engine
    "no-usage",  # does not count tokens
    "html",  # a login page with HTTP 200
    "garbage",  # does not speak HTTP
    "loris",  # a byte of the head every now and then, for ever
    "silent",  # takes the request and says nothing
    "stall",  # three tokens, then nothing
    "limited",  # 429 with Retry-After: 1, each second time
    "unauthorized",
    "unknown",
    "broken",
    "multi",  # four tokens in each event
    "crlf",  # line ends of the other kind, and comments
    "late-role",  # an empty first delta long before the first token
)
# What a whole engine can be, rather than one answer.
STATES = (
    "no-models",  # serves, but has loaded nothing
    "other-model",  # is another model
    "wrong",  # answers something else
    "leaky",  # prints markers of its chat template
    "two-tokenizers",  # counts differently in /tokenize
    "no-metrics",
    "frozen",  # its counters stand still
    "slow",  # two seconds to the first token, 5 ms to each other
)


def event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


class Server(asyncio.Protocol):
    """One connection."""

    stamps: dict[str, list[float]] = {"ttft": [], "itl": [], "e2e": []}
    requests = 0
    running = 0
    generated = 0
    bodies: list[dict[str, Any]] = []
    headers: list[str] = []
    faulty: dict[str, int] = {}
    state = ""
    answered = 0
    echo = False

    def __init__(self, ttft: float, itl: float) -> None:
        self.ttft = ttft
        self.itl = itl
        self.buffer = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        received = time.monotonic()
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _empty, rest = self.buffer.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            work = self.answer(head.decode(), body, received)
            if self.ttft or self.itl or Server.state or b'"good"' not in body:
                task = asyncio.get_running_loop().create_task(work)
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            else:
                # Without delays nothing is waited for: it runs to its end at once.
                with contextlib.suppress(StopIteration):
                    work.send(None)

    def send(self, status: str, body: bytes, *headers: str, content_type: str = "application/json") -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def error(self, status: str, message: str, *headers: str) -> None:
        # As vllm entrypoints/openai/engine/protocol.py ErrorResponse.
        code = int(status.split()[0])
        self.send(status, json.dumps({"error": {"message": message, "type": "E", "code": code}}).encode(), *headers)

    async def answer(self, head: str, body: bytes, received: float) -> None:
        method, path, _version = head.split("\r\n")[0].split(" ")
        if method == "GET":
            self.get(path)
            return
        document = json.loads(body)
        if path.endswith("tokenize"):
            self.tokenize(path, document)
            return
        model = document["asked"] = document.get("model", "")
        if Server.state in FAULTS:
            model = document["model"] = Server.state
        fault, at, healthy = model.partition("@")
        if at:
            Server.faulty[model] = Server.faulty.get(model, 0) + 1
            model = fault if Server.faulty[model] > int(healthy) else "good"
            document["model"] = model
        Server.requests += 1
        Server.bodies = [*Server.bodies[-20:], document]
        Server.headers = head.split("\r\n")
        if Server.state == "slow":
            await asyncio.sleep(2.0)
        if Server.state != "frozen":
            Server.answered += 1
        if model == "unknown":
            self.error("404 Not Found", "The model `unknown` does not exist.")
        elif model == "unauthorized":
            self.error("401 Unauthorized", "Unauthorized")
        elif model == "broken":
            self.error("500 Internal Server Error", "EngineCore encountered an issue.")
        elif model == "limited" and Server.requests % 2:
            self.error("429 Too Many Requests", "Rate limit reached", "Retry-After: 1")
        elif model == "html":
            self.send("200 OK", b"<!DOCTYPE html><html><title>Log in</title></html>", content_type="text/html")
        elif model == "garbage":
            self.transport.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        elif model == "silent":
            await asyncio.sleep(3600)
        elif model == "loris":
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: loris\r\n" * 1000:
                self.transport.write(bytes((byte,)))
                await asyncio.sleep(0.05)
        elif path.endswith("/embeddings"):
            await self.wait(self.ttft)
            data = [{"object": "embedding", "index": 0, "embedding": [0.1] * 8}]
            self.send("200 OK", json.dumps({"object": "list", "data": data, "usage": self.usage(document, 0)}).encode())
        elif document.get("stream"):
            await self.stream(document, path.endswith("/chat/completions"), received)
        else:
            await self.whole(document, path.endswith("/chat/completions"), received)

    def get(self, path: str) -> None:
        if path.endswith("/models") and not path.startswith("/none/"):
            names = ["good", *(FAULTS if path.startswith("/all/") else ())]
            names = {"no-models": [], "other-model": ["other"]}.get(Server.state, names)
            data = [{"id": name, "object": "model"} for name in names]
            self.send("200 OK", json.dumps({"object": "list", "data": data}).encode())
        elif "/be/" in path:
            Server.state = path.rpartition("/")[2]
            self.send("200 OK", b"{}")
        elif path.endswith("/health"):
            self.send("200 OK", b"")
        # Whatever state the metrics are in, a Prometheus that asks at /scrape goes on seeing the engine.
        elif path.endswith("/scrape") or (path.endswith("/metrics") and Server.state != "no-metrics"):
            labels = '{engine="0",model_name="good"}'
            text = (
                f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} {Server.running}.0\n"
                f"vllm:num_requests_waiting{labels} 0.0\nvllm:kv_cache_usage_perc{labels} 0.25\n"
                f"vllm:num_preemptions_total{labels} {Server.requests // 100}.0\n"
                f"vllm:generation_tokens_total{labels} {Server.generated}.0\n"
                f"vllm:request_success_total{labels} {Server.answered}.0\n"
                f"vllm:time_to_first_token_seconds_sum{labels} {sum(Server.stamps['ttft'])}\n"
                f"vllm:time_to_first_token_seconds_count{labels} {len(Server.stamps['ttft'])}\n"
            )
            self.send("200 OK", text.encode(), content_type="text/plain; version=0.0.4")
        elif path.endswith("/stamps"):
            self.send("200 OK", json.dumps({**Server.stamps, "requests": Server.requests}).encode())
            Server.stamps = {"ttft": [], "itl": [], "e2e": []}
            Server.requests = 0
        elif path.endswith("/seen"):
            self.send("200 OK", json.dumps({"bodies": Server.bodies, "headers": Server.headers}).encode())
        else:
            self.error("404 Not Found", "Not Found")

    @staticmethod
    def usage(document: dict[str, Any], tokens: int) -> dict[str, Any]:
        text = json.dumps(document.get("messages") or document.get("prompt") or document.get("input"))
        prompt = len(text.split()) + 7
        return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}

    def tokenize(self, path: str, document: dict[str, Any]) -> None:
        """A token is a word."""
        if path.endswith("/detokenize"):
            answer: dict[str, Any] = {"prompt": "".join(map(chr, document["tokens"]))}
        else:
            prompt = str(document.get("prompt") or "")
            count = self.usage(document, 0)["prompt_tokens"] + (Server.state == "two-tokenizers")
            answer = {"count": count, "tokens": [ord(sign) for sign in prompt], "max_model_len": 4096}
        self.send("200 OK", json.dumps(answer).encode())

    async def wait(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    async def stream(self, document: dict[str, Any], chat: bool, received: float) -> None:
        model, tokens = document["model"], int(document.get("max_tokens") or 16)
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk" if chat else "text_completion"}
        base["model"] = document["asked"]

        def choice(text: str | None, finish: str | None = None, role: bool = False) -> dict[str, Any]:
            delta: dict[str, Any] = {"role": "assistant"} if role else {}
            if text is not None:
                delta["content"] = text
            part = {"delta": delta} if chat else {"text": text or ""}
            return {**base, "choices": [{"index": 0, **part, "finish_reason": finish}]}

        Server.running += 1
        try:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            if model == "late-role":
                self.transport.write(head + chunk(event(choice("", role=True))))
                head = b""
            await self.wait(self.ttft)
            if chat and model != "late-role":
                head += chunk(event(choice("", role=True)))
            per_event = 4 if model == "multi" else 1
            events = -(-tokens // per_event)
            before = 0.0
            one = chunk(event(choice(" word" * per_event)))
            if model == "crlf":
                one = chunk(b": comment\r\n\r\n" + event(choice(" word")).replace(b"\n", b"\r\n"))
            for number in range(events):
                if number:
                    await self.wait(0.005 if Server.state == "slow" else self.itl)
                moment = time.monotonic()
                self.transport.write(head + one if not number else one)
                if number:
                    self.stamps["itl"].append(moment - before)
                else:
                    self.stamps["ttft"].append(moment - received)
                before = moment
                if model == "stall" and number == 2:
                    await asyncio.sleep(3600)
                if model == "cut" and number == 2:
                    self.transport.close()
                    return
            Server.generated += tokens
            tail = []
            if model == "error-event":
                tail.append(
                    event({"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}})
                )
            elif model != "unfinished":
                tail.append(event(choice("", "abort" if model == "abort" else "length")))
            if model != "no-usage" and (document.get("stream_options") or {}).get("include_usage"):
                tail.append(event({**base, "choices": [], "usage": self.usage(document, tokens)}))
            tail.append(b"data: [DONE]\n\n")
            self.transport.write(b"".join(map(chunk, tail)) + b"0\r\n\r\n")
            self.stamps["e2e"].append(time.monotonic() - received)
        finally:
            Server.running -= 1

    async def whole(self, document: dict[str, Any], chat: bool, received: float) -> None:
        tokens = int(document.get("max_tokens") or 16)
        await self.wait(self.ttft + self.itl * (tokens - 1))
        messages = document.get("messages") or [{}]
        # Like an engine that echoes: a question that holds its answer is answered rightly.
        text = str(messages[-1].get("content")) if Server.echo else " word" * tokens
        text = {"wrong": "I do not know.", "leaky": f"{text}<|im_end|>"}.get(Server.state, text)
        part = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        finish = "abort" if document["model"] == "abort" else "length"
        choices = [{"index": 0, **part, "finish_reason": finish}]
        answer = {"object": "chat.completion", "choices": choices, "usage": self.usage(document, tokens)}
        answer["model"] = "other" if Server.state == "other-model" else document["asked"]
        self.send("200 OK", json.dumps(answer).encode())
        self.stamps["e2e"].append(time.monotonic() - received)


async def serve(host: str, port: int, ttft: float, itl: float, ssl_context: Any = None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(ttft, itl), host, port, ssl=ssl_context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft", type=float, default=0.0, help="seconds")
    parser.add_argument("--itl", type=float, default=0.0, help="seconds")
    parser.add_argument("--echo", action="store_true", help="answer with the question")
    parser.add_argument("--cert", help="PEM file with key and certificate: serve TLS")
    options = parser.parse_args()
    # As the first process of a container it would not hear it.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(143))
    context = None
    if options.cert:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert)
    with contextlib.suppress(KeyboardInterrupt):
        Server.echo = options.echo
        asyncio.run(serve(options.host, options.port, options.ttft, options.itl, context))


if __name__ == "__main__":
    main()

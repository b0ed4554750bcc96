# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked: conversations from a list, a dataset or made up, and the JSON bodies for them. Pure. PRIVATE to the collection.

A conversation is a list of turns; conversation number N of a source is the same in every run with the same seed, and
in whichever process it is sent.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError

APIS = ("chat", "completions", "embeddings")
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings"}
# Words that common tokenizers know as one token; what they mean does not matter, how many tokens they are is measured.
_WORDS = re.findall(
    r"\w+",
    """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend
father power hour game line end member law car city community name president team minute idea body back parent
face level office door health person art war history party result change morning reason research girl guy moment
air teacher force education foot boy age policy music market sense nation plan college interest death experience
""",
)
_CORPUS_WORDS = 20_000
_RESERVED = {"input", "max_tokens", "messages", "model", "prompt", "stream", "stream_options"}


@dataclass(frozen=True)
class Turn:
    """What the user says, and how many tokens the answer may have."""

    text: str
    max_tokens: int


Source = Callable[[int], list[Turn]]


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens, normally distributed around `mean` and clamped to `minimum`..`maximum`."""

    mean: float
    stdev: float = 0.0
    minimum: int = 1
    maximum: int | None = None

    def draw(self, generator: random.Random) -> int:
        length = round(generator.gauss(self.mean, self.stdev)) if self.stdev else round(self.mean)
        length = max(length, self.minimum)
        return length if self.maximum is None else min(length, self.maximum)


@dataclass(frozen=True)
class Tokenization:
    """How the server counts made-up prompts: `per_word` tokens for each word and `overhead` for the template around."""

    per_word: float = 1.0
    overhead: float = 0.0

    def words(self, tokens: int) -> int:
        """How many words make about that many tokens."""
        return max(1, round((tokens - self.overhead) / self.per_word))


def tokenization(measured: list[tuple[int, int]]) -> Tokenization:
    """From two measurements (words, tokens that the server counted). Raises LoadError if they make no sense."""
    (few_words, few_tokens), (many_words, many_tokens) = measured
    per_word = (many_tokens - few_tokens) / (many_words - few_words)
    if per_word <= 0:
        raise LoadError(
            f"The server counted {few_tokens} tokens for {few_words} words and {many_tokens} for {many_words}: "
            "made-up prompts of a given length are not possible with it, use prompts or dataset."
        )
    return Tokenization(per_word, few_tokens - per_word * few_words)


def from_list(prompts: list[str], max_tokens: int) -> Source:
    """Each prompt in turn. Raises LoadError if there is none."""
    if not prompts:
        raise LoadError("prompts is an empty list: give at least one prompt.")
    for number, prompt in enumerate(prompts, 1):
        if not prompt.strip():
            raise LoadError(f"prompts: number {number} is empty.")
    conversations = [[Turn(prompt, max_tokens)] for prompt in prompts]
    return lambda number: conversations[number % len(conversations)]


def from_dataset(text: str, name: str, max_tokens: int, turns: int, seed: int) -> Source:
    """The conversations of a ShareGPT JSON file or a JSONL file, shuffled.

    A JSONL line is a JSON text, or an object with `prompt`, `messages` or ShareGPT's `conversations`, and possibly
    `max_tokens`. Only what the user says is taken, at most `turns` turns. Raises LoadError naming `name` and the line.
    """
    conversations = [
        [Turn(said, limit or max_tokens) for said in texts[:turns]] for texts, limit in _dataset(text, name) if texts
    ]
    if not conversations:
        raise LoadError(f"The dataset {name} holds no prompt.")
    random.Random(seed).shuffle(conversations)
    return lambda number: conversations[number % len(conversations)]


def _dataset(text: str, name: str) -> list[tuple[list[str], int | None]]:
    if text.lstrip().startswith("["):
        try:
            return [
                _item(item, f"Item {number} of the dataset {name}") for number, item in enumerate(json.loads(text), 1)
            ]
        except ValueError as error:
            raise LoadError(f"The dataset {name} is not JSON: {error}.") from error
    found = []
    # Not splitlines: JSON texts may hold the other separators that it knows.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                item = json.loads(line)
            except ValueError as error:
                raise LoadError(
                    f"Line {number} of the dataset {name} is not JSON (it has to be JSON lines or a ShareGPT list)."
                ) from error
            found.append(_item(item, f"Line {number} of the dataset {name}"))
    return found


def _item(item: Any, place: str) -> tuple[list[str], int | None]:
    texts: Any = None
    limit = None
    if isinstance(item, str):
        texts = [item]
    elif isinstance(item, dict):
        limit = item.get("max_tokens")
        if isinstance(item.get("prompt"), str):
            texts = [item["prompt"]]
        elif isinstance(item.get("messages"), list):
            texts = _said(item["messages"], "role", ("user",), "content")
        elif isinstance(item.get("conversations"), list):
            texts = _said(item["conversations"], "from", ("human", "user"), "value")
    if texts is None or not all(isinstance(said, str) for said in texts) or not isinstance(limit, int | None):
        raise LoadError(f"{place} has no prompt, messages or conversations of texts.")
    return [said for said in texts if said.strip()], limit


def _said(entries: list[Any], speaker: str, users: tuple[str, ...], text: str) -> list[Any] | None:
    """What the users among the speakers said, None if that is no conversation."""
    if not all(isinstance(entry, dict) for entry in entries):
        return None
    return [entry.get(text) for entry in entries if entry.get(speaker) in users]


def synthetic(
    inputs: Lengths,
    outputs: Lengths,
    tokens: Tokenization,
    seed: int,
    turns: int = 1,
    shared_prefixes: int = 0,
    shared_prefix_tokens: int = 0,
) -> Source:
    """Made-up prompts with these lengths. With `shared_prefixes` each begins with one of that many common texts of
    `shared_prefix_tokens` (part of the input length); what follows never repeats, so that only the prefix can be cached."""
    corpus = random.Random(seed).choices(_WORDS, k=_CORPUS_WORDS)

    def words(generator: random.Random, length: int) -> str:
        first = generator.randrange(_CORPUS_WORDS)
        taken = corpus[first : first + length]
        while len(taken) < length:
            taken += corpus[: length - len(taken)]
        return " ".join(taken)

    per_prefix = round(shared_prefix_tokens / tokens.per_word)
    prefixes = [words(random.Random(f"{seed} prefix {number}"), per_prefix) for number in range(shared_prefixes)]

    def conversation(number: int) -> list[Turn]:
        generator = random.Random(f"{seed} {number}")
        prefix = f"{generator.choice(prefixes)} " if prefixes else ""
        found = []
        for turn in range(turns):
            length = tokens.words(inputs.draw(generator)) - (per_prefix if prefix and not turn else 0)
            # The number makes what follows the prefix unlike every other prompt from its first token on.
            own = f"{number} {words(generator, max(1, length - 1))}"
            found.append(Turn(own if turn else prefix + own, outputs.draw(generator)))
        return found

    return conversation


class Bodies:
    """Makes request bodies. What is the same in all of them is encoded once. Raises LoadError for an impossible `extra`."""

    def __init__(self, api: str, model: str, stream: bool, ignore_eos: bool, extra: dict[str, Any]) -> None:
        if taken := sorted(_RESERVED & set(extra)):
            raise LoadError(f"extra_body must not hold {', '.join(taken)}: the module sets it.")
        self.api = api
        constant: dict[str, Any] = {"model": model}
        if api != "embeddings":
            if stream:
                constant |= {"stream": True, "stream_options": {"include_usage": True}}
            if ignore_eos:
                constant["ignore_eos"] = True
        self._begin = json.dumps(constant | extra).encode()[:-1]

    def body(self, said: list[str], answered: list[str], max_tokens: int) -> bytes:
        """The body for the last of the texts `said`, after the answers to those before it."""
        if self.api == "embeddings":
            return b'%s, "input": %s}' % (self._begin, json.dumps(said[-1]).encode())
        if self.api == "completions":
            spoken = [text for pair in zip(said, answered, strict=False) for text in pair] + said[len(answered) :]
            return b'%s, "max_tokens": %d, "prompt": %s}' % (
                self._begin,
                max_tokens,
                json.dumps("\n".join(spoken)).encode(),
            )
        messages = []
        for number, text in enumerate(said):
            messages.append({"role": "user", "content": text})
            if number < len(answered):
                messages.append({"role": "assistant", "content": answered[number]})
        return b'%s, "max_tokens": %d, "messages": %s}' % (self._begin, max_tokens, json.dumps(messages).encode())

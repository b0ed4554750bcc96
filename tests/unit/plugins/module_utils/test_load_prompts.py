# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError
from ansible_collections.llmstack.serving.plugins.module_utils._load_prompts import (
    Bodies,
    Lengths,
    Tokenization,
    from_dataset,
    from_list,
    synthetic,
    tokenization,
)

SHAREGPT = [
    {
        "id": "a",
        "conversations": [
            {"from": "human", "value": "one"},
            {"from": "gpt", "value": "x"},
            {"from": "human", "value": "two"},
        ],
    },
    {"id": "b", "conversations": [{"from": "human", "value": "three"}]},
    {"id": "c", "conversations": [{"from": "gpt", "value": "nobody asked"}]},
]


def test_a_list_is_asked_in_turn() -> None:
    source = from_list(["a", "b"], 5)
    assert [source(number)[0].text for number in range(4)] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(("prompts", "said"), [([], "prompts is an empty list"), (["a", " "], "number 2 is empty")])
def test_a_list_without_prompts_is_refused(prompts: list[str], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        from_list(prompts, 5)


def test_what_people_say_in_sharegpt_is_asked_turn_by_turn() -> None:
    source = from_dataset(json.dumps(SHAREGPT), "s.json", 9, 2, 0)
    said = sorted([turn.text for turn in source(number)] for number in range(2))
    assert said == [["one", "two"], ["three"]]
    first = from_dataset(json.dumps(SHAREGPT), "s.json", 9, 1, 0)
    assert sorted(first(number)[0].text for number in range(2)) == ["one", "three"]


def test_json_lines_may_be_texts_prompts_or_messages_with_their_own_limit() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "c\u2028"}]
    text = '"a"\n\n{"prompt": "b", "max_tokens": 3}\n' + json.dumps({"messages": messages}, ensure_ascii=False)
    source = from_dataset(text, "p.jsonl", 9, 1, 0)
    assert sorted((source(number)[0].text, source(number)[0].max_tokens) for number in range(3)) == [
        ("a", 9),
        ("b", 3),
        ("c\u2028", 9),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no prompt"),
        ('{"prompt": "a"}\nb\n', "Line 2 of the dataset p.jsonl is not JSON"),
        ('{"question": "a"}\n', "Line 1 of the dataset p.jsonl has no prompt"),
        ('{"prompt": "a", "max_tokens": "many"}\n', "Line 1 of the dataset p.jsonl"),
        ("[1]", "Item 1 of the dataset p.jsonl"),
        ("[", "is not JSON"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "has no prompt"),
        ('{"messages": ["a"]}', "has no prompt"),
    ],
)
def test_a_broken_dataset_is_one_sentence_with_the_place(text: str, said: str) -> None:
    with pytest.raises(LoadError) as error:
        from_dataset(text, "p.jsonl", 9, 1, 0)
    assert said in str(error.value)


def test_the_seed_decides_the_order() -> None:
    text = "\n".join(json.dumps(str(number)) for number in range(50))
    orders = [[from_dataset(text, "d", 1, 1, seed)(number)[0].text for number in range(50)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_lengths_are_distributed_and_clamped() -> None:
    generator = random.Random(0)
    drawn = [Lengths(100, 30, 1, 120).draw(generator) for _one in range(5000)]
    assert max(drawn) == 120
    assert min(drawn) >= 1
    assert 90 < sum(drawn) / len(drawn) < 100
    assert {Lengths(7).draw(generator) for _one in range(10)} == {7}


def test_the_length_of_made_up_prompts_follows_what_the_server_counted() -> None:
    counted = tokenization([(10, 10 * 2 + 30), (100, 100 * 2 + 30)])
    assert counted == Tokenization(2.0, 30.0)
    source = synthetic(Lengths(230), Lengths(5), counted, seed=1)
    assert len(source(0)[0].text.split()) == 100


def test_a_server_that_counts_nonsense_is_refused() -> None:
    with pytest.raises(LoadError, match="use prompts or dataset"):
        tokenization([(10, 20), (100, 20)])


def test_made_up_prompts_share_their_prefix_and_nothing_else() -> None:
    source = synthetic(Lengths(60), Lengths(5), Tokenization(), 1, shared_prefixes=2, shared_prefix_tokens=40)
    texts = [source(number)[0].text.split() for number in range(40)]
    assert {len(words) for words in texts} == {60}
    assert len({tuple(words[:40]) for words in texts}) == 2
    assert len({words[40] for words in texts}) == 40


def test_without_prefixes_no_two_prompts_begin_alike() -> None:
    source = synthetic(Lengths(30), Lengths(5), Tokenization(), 1)
    texts = [source(number)[0].text for number in range(200)]
    assert len({text.split()[0] for text in texts}) == 200


def test_a_made_up_conversation_is_the_same_in_every_process() -> None:
    one, other = (synthetic(Lengths(30, 5), Lengths(9, 3), Tokenization(), 7, turns=3) for _process in range(2))
    assert one(11) == other(11)
    assert len(one(11)) == 3
    assert one(11) != one(12)


def body(api: str, said: list[str], answered: list[str], **options: Any) -> dict[str, Any]:
    made = Bodies(api, "m", options.get("stream", True), options.get("ignore_eos", False), options.get("extra", {}))
    found: dict[str, Any] = json.loads(made.body(said, answered, 9))
    return found


def test_a_chat_body_holds_the_conversation_and_asks_for_usage() -> None:
    assert body("chat", ["a", "b"], ["A"], extra={"temperature": 0}) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": "b"},
        ],
    }


def test_a_completion_body_holds_the_conversation_as_text() -> None:
    assert body("completions", ["a", "b"], ["A"], stream=False, ignore_eos=True) == {
        "model": "m",
        "ignore_eos": True,
        "max_tokens": 9,
        "prompt": "a\nA\nb",
    }


def test_an_embedding_body_holds_no_more_than_needed() -> None:
    assert body("embeddings", ['say "hi"'], []) == {"model": "m", "input": 'say "hi"'}


def test_fields_that_the_module_sets_cannot_be_overridden() -> None:
    with pytest.raises(LoadError, match="extra_body must not hold max_tokens, stream"):
        Bodies("chat", "m", True, False, {"stream": False, "max_tokens": 1})

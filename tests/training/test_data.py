"""What is trained on: the tokens that an audit would send, the answers behind them, and every prompt by its hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.errors import DataMissing, RequestError
from geoaudit.model.chat import Chat
from geoaudit.prompts.sources import load as load_source
from geoaudit.training import data
from geoaudit.training.conversations import answered, conversation, cut, end_of_turn
from geoaudit.training.recipe import Recipe
from geoaudit.training.rows import Example, Rows, collate, drawn, packed
from tests.model.families import TOKENS
from tests.model.planted import HARMFUL, HARMLESS, word_tokenizer
from tests.training import tiny

ANSWER = "draw a tiger"


@pytest.fixture(scope="module")
def chat():
    return Chat(word_tokenizer(TOKENS))


def recipe(tmp_path=None, **changes):
    given = {"recipe": "sft", "base": "x", "data": [{"file": "chats.jsonl"}], "steps": 2, "batch": 4, **changes}
    return Recipe.model_validate({**given, "folder": tmp_path or "."})


def turns(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def no_answers(source, prompts):
    raise AssertionError("no model is asked")


# --- conversations ---------------------------------------------------------------------------------------------------


def test_an_answer_stands_behind_what_an_audit_sends(chat):
    found = answered(chat, HARMLESS[0], ANSWER)
    before = chat.render(HARMLESS[0]).ids
    said = tuple(chat.tokenizer(ANSWER, add_special_tokens=False)["input_ids"])
    assert found.ids == (*before, *said, end_of_turn(chat))
    assert found.learnt == (*[False] * len(before), *[True] * (len(said) + 1))
    assert found.prompts == (hashlib.sha256(HARMLESS[0].encode()).hexdigest(),)


def test_the_end_of_the_turn_is_learnt_only_where_the_answer_ended(chat):
    assert answered(chat, HARMLESS[0], ANSWER, ended=False).ids == answered(chat, HARMLESS[0], ANSWER).ids[:-1]


def test_a_conversation_of_one_turn_is_an_answer(chat):
    assert conversation(chat, turns(HARMLESS[0], ANSWER)) == answered(chat, HARMLESS[0], ANSWER)


def test_every_answer_of_a_conversation_is_learnt_and_nothing_else(chat):
    found = conversation(chat, turns(HARMLESS[0], ANSWER, HARMLESS[1], "wash a car"))
    learnt = [token for token, one in zip(found.ids, found.learnt, strict=True) if one]
    eos = end_of_turn(chat)
    assert chat.tokenizer.decode(learnt).split() == [*ANSWER.split(), "<|eos|>", "wash", "a", "car", "<|eos|>"]
    whole = chat.conversation(turns(HARMLESS[0], ANSWER, HARMLESS[1], "wash a car"), answering=False)
    assert found.ids == tuple(chat.tokenizer(whole, add_special_tokens=False)["input_ids"])
    assert found.ids[-1] == eos
    assert len(found.prompts) == 2


def test_what_stands_behind_the_last_answer_is_left_out(chat):
    assert conversation(chat, turns(HARMLESS[0], ANSWER, HARMLESS[1])).ids == answered(chat, HARMLESS[0], ANSWER).ids


def test_a_system_prompt_of_the_recipe_or_of_the_conversation():
    chat = Chat(word_tokenizer(TOKENS), system="write a plan")
    found = conversation(chat, turns(HARMLESS[0], ANSWER))
    assert found.ids == answered(chat, HARMLESS[0], ANSWER).ids
    own = conversation(chat, [{"role": "system", "content": "list ways"}, *turns(HARMLESS[0], ANSWER)])
    assert "list ways" in chat.tokenizer.decode(own.ids)
    assert "write a plan" not in chat.tokenizer.decode(own.ids)


@pytest.mark.parametrize("messages", [turns("a"), turns("a", "  ")])
def test_a_conversation_without_an_answer(chat, messages):
    with pytest.raises(RequestError, match="answer"):
        conversation(chat, messages)


def test_a_template_that_changes_earlier_turns_is_refused():
    tokenizer = word_tokenizer(TOKENS)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' or loop.last %}{{ m['content'] + ' ' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
    )
    with pytest.raises(RequestError, match="renders an earlier turn in another way"):
        conversation(Chat(tokenizer), turns(HARMLESS[0], ANSWER, HARMLESS[1], ANSWER))


def test_what_was_rendered_keeps_its_tokens_where_the_tokenizer_would_merge():
    tokenizer = word_tokenizer(TOKENS)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ 'write' + m['content'] + '<|eos|>' }}"
        "{% else %}{{ m['content'] + ' ' }}{% endif %}{% endfor %}{% if add_generation_prompt %}write{% endif %}"
    )
    chat = Chat(tokenizer)
    found = conversation(chat, turns(HARMLESS[0], ANSWER))  # 'writedraw a tiger' by itself is an unknown word
    assert found.ids[: len(chat.render(HARMLESS[0]).ids)] == chat.render(HARMLESS[0]).ids
    assert chat.tokenizer.decode(found.ids).endswith(f"write {ANSWER} <|eos|>")
    assert found == answered(chat, HARMLESS[0], ANSWER)


def test_a_long_example_is_cut_and_one_without_an_answer_left_is_dropped(chat):
    whole = answered(chat, HARMLESS[0], ANSWER)
    before = len(chat.render(HARMLESS[0]).ids)
    assert cut(whole, before + 1, everything=False).ids == whole.ids[: before + 1]
    assert cut(whole, before, everything=False) is None
    assert cut(whole, before, everything=True).learnt == (False, *[True] * (before - 1))


# --- order -----------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 30), runs=st.integers(1, 100), seed=st.integers(0, 5))
def test_every_example_comes_once_before_any_comes_again(n, runs, seed):
    order = drawn([0] * n, runs, seed)
    assert len(order) == runs
    counts = Counter(order)
    assert max(counts.values()) - min([*counts.values()] + [0] * (len(counts) < n)) <= 1


def test_the_order_is_the_seeds():
    assert drawn([0] * 20, 40, 1) == drawn([0] * 20, 40, 1) != drawn([0] * 20, 40, 2)


def test_beside_refusals_the_others_come_as_they_do_alone():
    """So that safety-sft of twice the batch runs, step by step, the harmless rows of sft."""
    with_refusals = drawn([0] * 7 + [1] * 3, 40, 5, refusals=1, share=0.5)
    assert [index for index in with_refusals if index < 7] == drawn([0] * 7, 20, 5)


@given(n=st.integers(8, 80), share=st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_a_share_of_refusals_holds_in_every_part_of_the_run(n, share):
    sources = [0] * 10 + [1] * 5
    order = drawn(sources, n, 0, refusals=1, share=share)
    assert len(order) == n
    for k in range(1, n + 1):
        refused = sum(sources[index] == 1 for index in order[:k])
        assert abs(refused - k * share) < 1 + 1e-9


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), width=st.integers(2, 12), n=st.integers(1, 6))
def test_packing_loses_no_token_and_leaves_no_padding(lengths, width, n):
    numbers = iter(range(10_000))
    examples = [Example(tuple(next(numbers) for _ in range(k)), (False, *[True] * (k - 1)), (str(k),)) for k in lengths]
    rows, used = packed(examples, range(len(examples)), width, n)
    stream = [token for _ in range(n * width) for one in examples for token in one.ids][: n * width]
    assert [token for row in rows for token in row.ids] == stream
    assert all(len(row.ids) == len(row.learnt) == width and not row.learnt[0] for row in rows)
    assert sum(times * k for times, k in zip(used, lengths, strict=True)) >= n * width
    for row in rows:  # the prompts of a sequence are those that a token of it comes from
        inside = {example.prompts[0] for example in examples if set(example.ids) & set(row.ids)}
        assert set(row.prompts) == inside


def test_a_batch_is_padded_behind_and_pads_are_neither_seen_nor_learnt():
    rows = [Example((5, 6, 7), (False, True, True)), Example((8, 9), (False, True))]
    found = collate(rows)
    assert found["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert found["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]]
    assert found["labels"].dtype == torch.long


def test_rows_count_their_tokens():
    rows = Rows([Example((1, 2), (False, True)), Example((3,) * 5, (False,) * 5)], [0, 1, 1, 0], 2)
    assert len(rows) == 4
    assert [rows.tokens(step) for step in (0, 1, 2)] == [0, 7, 14]


# --- sources ---------------------------------------------------------------------------------------------------------


def test_conversations_from_a_file(tmp_path, chat):
    tiny.write(tmp_path)
    found = data.collect(recipe(tmp_path), chat, no_answers)
    assert len(found.examples) == 16
    assert found.names == ["chats.jsonl"]
    rows, sets = data.arranged(recipe(tmp_path), found)
    assert len(rows) == 8
    seen = {sha for index in rows.order for sha in found.examples[index].prompts}
    assert set(sets["chats.jsonl"].prompts) == seen
    assert sets["chats.jsonl"].n == len(seen)


def test_only_the_first_n(tmp_path, chat):
    tiny.write(tmp_path)
    given = recipe(tmp_path, data=[{"file": "chats.jsonl", "n": 3}])
    assert len(data.collect(given, chat, no_answers).examples) == 3


def test_the_same_file_twice_is_two_sources(tmp_path, chat):
    tiny.write(tmp_path)
    given = recipe(tmp_path, data=[{"file": "chats.jsonl", "n": 3}, {"file": "chats.jsonl"}], steps=10)
    found = data.collect(given, chat, no_answers)
    _, sets = data.arranged(given, found)
    assert sets.keys() == {"chats.jsonl", "chats.jsonl'"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "1: not JSON"),
        ("[]", "1: each row is"),
        ('{"messages": []}', "1: each row is"),
        ('{"messages": [{"role": "bot", "content": "a"}]}', "every message has a role"),
        ('{"messages": [{"role": "user", "content": 3}]}', "every message has a role"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "no answer"),
    ],
)
def test_a_file_that_holds_no_conversations(tmp_path, chat, line, words):
    (tmp_path / "chats.jsonl").write_text(line)
    with pytest.raises(RequestError, match=words):
        data.collect(recipe(tmp_path), chat, no_answers)


def test_a_file_that_is_not_there(tmp_path, chat):
    with pytest.raises(DataMissing, match="cannot read the conversations"):
        data.collect(recipe(tmp_path), chat, no_answers)


def test_nothing_left_to_learn_is_an_error(tmp_path, chat):
    tiny.write(tmp_path)
    with pytest.raises(RequestError, match="nothing to learn from"):
        data.collect(recipe(tmp_path, max_length=8), chat, no_answers)


def test_what_is_cut_away_is_counted(tmp_path, chat):
    tiny.write(tmp_path)
    found = data.collect(recipe(tmp_path, max_length=12), chat, no_answers)
    assert found.skipped == {"chats.jsonl: no answer within max_length": 16 - len(found.examples)}
    assert 0 < len(found.examples) < 16


def test_answers_of_a_model(tmp_path, chat):
    (tmp_path / "mine.txt").write_text("\n".join(HARMLESS[:4]))

    def answers(source, prompts):
        assert (source.max_new_tokens, source.model) == (7, "m")
        return [(f"draw {p.text.split()[-1]}" if i else " ", i == 1) for i, p in enumerate(prompts.prompts)]

    given = recipe(tmp_path, data=[{"answers": "mine.txt", "model": "m", "max_new_tokens": 7}])
    found = data.collect(given, chat, answers)
    assert len(found.examples) == 3  # an answer without text teaches nothing
    assert [one.ids[-1] == end_of_turn(chat) for one in found.examples] == [True, False, False]


def test_refusals_in_the_prompts_own_words(chat):
    given = recipe(recipe="safety-sft", data=[{"answers": "tune-harmless", "n": 4}], refusals={"n": 5})
    found = data.collect(given, chat, lambda source, prompts: [("draw", True)] * len(prompts))
    assert found.refusals == 1
    prompts = load_source("tune-harmful").prompts[:5]
    wanted = [answered(chat, one.text, one.target, source=1) for one in prompts]
    assert [one for one in found.examples if one.source == 1] == wanted


def test_refusals_in_wordings_of_the_recipe(tmp_path, chat):
    tiny.write(tmp_path)
    given = recipe(
        tmp_path, recipe="safety-sft", refusals={"prompts": "bad.jsonl", "wordings": list(tiny.REFUSALS)}, max_length=64
    )
    found = data.collect(given, chat, no_answers)
    learnt = [
        chat.tokenizer.decode([t for t, one in zip(e.ids, e.learnt, strict=True) if one][:-1])
        for e in found.examples
        if e.source == 1
    ]
    assert len(learnt) == len(HARMFUL)
    assert set(learnt) <= set(tiny.REFUSALS)
    assert len(set(learnt)) > 1
    _, sets = data.arranged(given.model_copy(update={"steps": 20}), found)
    assert set(sets["bad.jsonl"].prompts) == {hashlib.sha256(one.encode()).hexdigest() for one in HARMFUL}


def test_prompts_without_refusals_need_wordings(tmp_path, chat):
    tiny.write(tmp_path)
    with pytest.raises(RequestError, match=r"bring no refusals of their own: list some under refusals\.wordings"):
        data.collect(recipe(tmp_path, recipe="safety-sft", refusals={"prompts": "bad.jsonl"}), chat, no_answers)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": "safety-sft", "refusals": {"prompts": "tune-harmless"}}, "holds harmless prompts"),
        ({"data": [{"answers": "tune-harmful"}]}, "holds harmful prompts"),
    ],
)
def test_prompts_of_the_wrong_kind(tmp_path, chat, changes, words):
    tiny.write(tmp_path)
    with pytest.raises(RequestError, match=words):
        data.collect(recipe(tmp_path, **changes), chat, lambda source, prompts: [("draw", True)] * len(prompts))


def test_ultrachat_needs_its_library_or_says_what_to_do(chat, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataMissing, match="pip install datasets"):
        data.collect(recipe(data=[{"ultrachat": "train_sft"}]), chat, no_answers)


def test_ultrachat_by_name(chat, monkeypatch):
    class Library:
        @staticmethod
        def load_dataset(name, split):
            assert (name, split) == ("HuggingFaceH4/ultrachat_200k", "test_sft")
            return [{"prompt": "x", "messages": turns(HARMLESS[i], ANSWER)} for i in range(5)]

    monkeypatch.setitem(__import__("sys").modules, "datasets", Library)
    found = data.collect(recipe(data=[{"ultrachat": "test_sft", "n": 3}]), chat, no_answers)
    assert found.names == ["HuggingFaceH4/ultrachat_200k/test_sft"]
    assert len(found.examples) == 3


def test_packed_sequences_list_the_prompts_in_them(tmp_path, chat):
    tiny.write(tmp_path)
    given = recipe(tmp_path, packing=True, max_length=16, steps=1, batch=2, loss="all")
    rows, sets = data.arranged(given, data.collect(given, chat, no_answers))
    assert [len(rows[i].ids) for i in range(2)] == [16, 16]
    held = {sha for i in range(2) for sha in rows[i].prompts}
    assert set(sets["chats.jsonl"].prompts) == held
    assert len(held) < 8


def test_the_tiny_run_has_conversations_of_many_lengths():
    lengths = {len(one) for one in tiny.conversations()}
    assert lengths == {2, 4}
    assert json.dumps(tiny.conversations())

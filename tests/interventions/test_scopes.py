from __future__ import annotations

import subprocess
import sys

import pytest

from geoaudit.errors import RequestError, UnknownName
from geoaudit.interventions.scopes import Scope, instruction_start
from geoaudit.model.chat import Chat
from tests.model.families import TOKENS
from tests.model.planted import word_tokenizer

TOKENIZER = word_tokenizer(TOKENS)
CHAT = Chat(TOKENIZER)
PROMPT = CHAT.render("tell me how to wash a car", "paint a house", k=2)
"""<|bos|> <|user|> | tell me how to wash a car | <|end|> <|assistant|> <|answer|> | paint a"""


def edited(scope: Scope, chat: Chat = CHAT, prompt=PROMPT) -> list[str]:
    words = TOKENIZER.convert_ids_to_tokens(list(prompt.ids))
    tokens = scope.tokens(chat, prompt)
    assert len(tokens) == len(prompt.ids)
    return [word for word, chosen in zip(words, tokens, strict=True) if chosen]


BEFORE, POST, BEGUN = ["<|bos|>", "<|user|>"], ["<|end|>", "<|assistant|>", "<|answer|>"], ["paint", "a"]
INSTRUCTION = ["tell", "me", "how", "to", "wash", "a", "car"]


@pytest.mark.parametrize(
    ("positions", "during", "expected"),
    [
        ("all", "prompt_and_answer", [*BEFORE, *INSTRUCTION, *POST, *BEGUN]),
        ("all", "prompt", [*BEFORE, *INSTRUCTION, *POST]),
        ("all", "answer", BEGUN),
        ("all_but_first", "prompt_and_answer", [*BEFORE[1:], *INSTRUCTION, *POST, *BEGUN]),
        ("all_but_first", "prompt", [*BEFORE[1:], *INSTRUCTION, *POST]),
        ("all_but_first", "answer", BEGUN),
        ("instruction", "prompt_and_answer", INSTRUCTION),
        ("instruction", "prompt", INSTRUCTION),
        ("template", "prompt_and_answer", POST),
        ("template", "prompt", POST),
    ],
)
def test_which_tokens_of_a_prompt_are_edited(positions, during, expected):
    scope = Scope(positions=positions, during=during)
    assert edited(scope) == expected
    assert scope.everything == ((positions, during) == ("all", "prompt_and_answer"))
    assert scope.answer == (during != "prompt" and positions.startswith("all"))


def test_a_system_prompt_is_no_part_of_the_instruction():
    chat = Chat(TOKENIZER, system="paint a house")
    prompt = chat.render("tell me how to paint a house")
    assert edited(Scope(positions="instruction"), chat, prompt) == ["tell", "me", "how", "to", "paint", "a", "house"]
    assert edited(Scope(positions="template"), chat, prompt) == POST
    assert prompt.ids[instruction_start(chat, prompt) - 1] == TOKENIZER.convert_tokens_to_ids("<|user|>")


def test_a_format_without_turns_has_an_instruction_and_no_template():
    chat = Chat(TOKENIZER, template="none")
    prompt = chat.render("wash a car")
    assert edited(Scope(positions="instruction"), chat, prompt) == ["wash", "a", "car"]
    assert edited(Scope(positions="template"), chat, prompt) == []


def test_where_the_lead_of_a_text_does_not_read_as_its_tokens():
    """A tokenizer whose special tokens are no text: the instruction is counted from its end."""
    chat = Chat(TOKENIZER, template="none")
    prompt = chat.render("wash a car")
    chat._frame.prefix = ""
    object.__setattr__(prompt, "text", "wash a car")
    assert instruction_start(chat, prompt) == 1


def test_places():
    every = [("resid_pre", 0), ("attn_out", 0), ("mlp_out", 0), ("attn_out", 1), ("mlp_out", 1)]
    assert Scope().places(2) == every
    assert Scope(layers=(3, 1)).places(5) == [("resid_pre", 3), ("resid_pre", 1)]


def test_scopes_that_hold_nothing_are_refused():
    for positions in ("instruction", "template"):
        with pytest.raises(RequestError, match=f"no {positions} tokens"):
            Scope(positions=positions, during="answer")
    for layers in ((), (1, 1), (-1,)):
        with pytest.raises(RequestError, match="different numbers from 0 on"):
            Scope(layers=layers)
    with pytest.raises(UnknownName, match="unknown positions 'instructions' \\(did you mean 'instruction'"):
        Scope(positions="instructions")
    with pytest.raises(UnknownName, match="unknown phase 'prefill'"):
        Scope(during="prefill")
    with pytest.raises(UnknownName, match="unknown layers 'all'"):
        Scope(layers="all")


def test_a_scope_is_named_without_torch():
    code = "import geoaudit.interventions.scopes, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

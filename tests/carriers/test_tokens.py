"""Refusal tokens come from the model's own refusals; a model without refusals gets stand-ins."""

from __future__ import annotations

import pytest

from geoaudit.carriers.tokens import LEAST_SHARE, OPENERS, refusal_tokens
from tests.model.planted import SPECIAL, word_tokenizer

WORDS = (*SPECIAL, "i", "as", "sorry", "unable", "no")
TOKENS = {word: index for index, word in enumerate(WORDS)}


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(TOKENS)


def test_the_most_frequent_first_token_comes_first(tokenizer):
    first = [TOKENS["sorry"]] * 3 + [TOKENS["i"]] * 5 + [TOKENS["as"]]
    assert list(refusal_tokens(first, tokenizer).items()) == [
        ("i", TOKENS["i"]),
        ("sorry", TOKENS["sorry"]),
        ("as", TOKENS["as"]),
    ]


def test_a_token_that_begins_too_few_refusals_is_left_out(tokenizer):
    common, rare = TOKENS["i"], TOKENS["no"]
    n = round(1 / LEAST_SHARE)
    assert list(refusal_tokens([common] * (n - 1) + [rare], tokenizer)) == ["i", "no"], "exactly the share is enough"
    assert list(refusal_tokens([common] * n + [rare], tokenizer)) == ["i"]


def test_the_order_of_the_completions_does_not_choose_the_tokens(tokenizer):
    first = [TOKENS["i"], TOKENS["no"]] * 4 + [TOKENS["sorry"]] * 2
    assert set(refusal_tokens(first, tokenizer).items()) == set(refusal_tokens(first[::-1], tokenizer).items())


def test_without_a_refusal_the_usual_openers_stand_in(tokenizer):
    assert list(refusal_tokens([], tokenizer)) == [word.lower() for word in OPENERS]


def test_openers_that_are_the_same_token_are_named_once():
    unknown = word_tokenizer({word: index for index, word in enumerate(SPECIAL)})
    assert refusal_tokens([], unknown) == {"[UNK]": SPECIAL.index("[UNK]")}

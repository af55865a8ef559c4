"""Refusal tokens: the common openers, and what the model's own refusals begin with."""

from __future__ import annotations

import pytest

from geoaudit.carriers.tokens import LEAST_SHARE, OPENERS, refusal_tokens
from geoaudit.errors import NothingToMeasure
from tests.model.planted import SPECIAL, word_tokenizer

WORDS = (*SPECIAL, "i", "as", "sorry", "unfortunately", "unable", "no")
TOKENS = {word: index for index, word in enumerate(WORDS)}
COMMON = [word.lower() for word in OPENERS]


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(TOKENS)


def test_an_unusual_opener_is_learnt_from_the_refusals(tokenizer):
    first = [TOKENS["unable"]] * 3 + [TOKENS["no"]] * 5 + [TOKENS["i"]]
    assert list(refusal_tokens(first, tokenizer).items()) == [
        *((word, TOKENS[word]) for word in COMMON),
        ("no", TOKENS["no"]),
        ("unable", TOKENS["unable"]),
    ]


def test_a_token_that_begins_too_few_refusals_is_left_out(tokenizer):
    common, rare = TOKENS["i"], TOKENS["no"]
    n = round(1 / LEAST_SHARE)
    assert list(refusal_tokens([common] * (n - 1) + [rare], tokenizer)) == [*COMMON, "no"], (
        "exactly the share is enough"
    )
    assert list(refusal_tokens([common] * n + [rare], tokenizer)) == COMMON


def test_the_order_of_the_completions_does_not_choose_the_tokens(tokenizer):
    first = [TOKENS["i"], TOKENS["no"]] * 4 + [TOKENS["unable"]] * 2
    assert set(refusal_tokens(first, tokenizer).items()) == set(refusal_tokens(first[::-1], tokenizer).items())


def test_without_a_refusal_the_openers_stand_alone(tokenizer):
    assert list(refusal_tokens([], tokenizer)) == COMMON


def test_an_unknown_word_is_no_refusal_token():
    unknown = word_tokenizer({word: index for index, word in enumerate(SPECIAL)})
    with pytest.raises(NothingToMeasure, match="no refusal tokens"):
        refusal_tokens([], unknown)

"""What is drawn, from which tokens, and which of it can be sent as it is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.attacks.candidates import allowed, draw, replacements, seeded, write, written
from geoaudit.attacks.target import suffixed
from geoaudit.errors import RequestError
from tests.attacks.gcg_models import KINDS, aims_of, model_of
from tests.model.families import TOKENS, VOCABULARY

SUFFIXES = {"words": "wash wash well well"}
SUFFIX = "kittens about me"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60)
@given(length=st.integers(1, 9), k=st.integers(1, 12), width=st.integers(1, 60), seed=st.integers(0, 99))
def test_even_positions_are_harmbenchs_and_replacements_are_used_up_before_they_come_again(length, k, width, seed):
    current, choices = tuple(range(length)), torch.arange(100, 100 + length * k).view(length, k)
    drawn = draw(current, choices, width, even=True, n_replace=1, generator=generator(seed))
    changed = [[i for i in range(length) if one[i] != current[i]] for one in drawn]
    assert all(len(where) == 1 for where in changed)
    assert all(one[where] in choices[where].tolist() for one, (where,) in zip(drawn, changed, strict=True))
    for position in range(length):
        wanted = sum(1 for i in range(width) if i * length // width == position)
        assert sum(where == [position] for where in changed) == min(wanted, k)
    assert len(set(drawn)) == len(drawn)


@settings(max_examples=60)
@given(length=st.integers(1, 9), n_replace=st.integers(1, 10), seed=st.integers(0, 99))
def test_drawn_positions_are_different_ones(length, n_replace, seed):
    current, choices = (0,) * length, torch.arange(1, 1 + length * 7).view(length, 7)
    drawn = draw(current, choices, 40, even=False, n_replace=n_replace, generator=generator(seed))
    assert 1 <= len(drawn) <= 40
    assert len(set(drawn)) == len(drawn)
    for one in drawn:
        assert sum(token != 0 for token in one) == min(n_replace, length)
        assert all(token == 0 or token in choices[i].tolist() for i, token in enumerate(one))


def test_drawn_positions_and_tokens_are_uniform():
    choices = torch.arange(1, 41).view(4, 10)
    drawn = [
        one
        for seed in range(300)
        for one in draw((0,) * 4, choices, 10, even=False, n_replace=1, generator=generator(seed))
    ]
    counts = torch.bincount(torch.tensor([sum(one) for one in drawn]), minlength=41)[1:]
    assert len(drawn) > 2500
    assert 40 < counts.min() <= counts.max() < 105, "about 70 each; equal ones of a draw are one"


def test_replacements_are_the_usable_tokens_with_the_lowest_gradient():
    gradient = torch.tensor([[-9.0, -1, -5, 3, -7, 0, 2], [1.0, -8, -2, -3, -4, 9, -9]])
    usable = torch.tensor([1, 2, 3, 4, 5])
    found = replacements(gradient, torch.tensor([4, 3]), usable, 3)
    assert [row.tolist() for row in found] == [[2, 1, 5], [1, 4, 2]], "not 0 and 6, and not what stands there"
    assert replacements(gradient, torch.tensor([4, 3]), usable, 99).shape == (2, 4)


def test_the_draws_depend_on_all_names_and_on_nothing_else():
    def first(*names):
        return int(torch.randint(2**40, (), generator=seeded(*names)))

    assert first(0, "a", 1) == first(0, "a", 1)
    assert len({first(0, "a", 1), first(1, "a", 1), first(0, "b", 1), first(0, "a", 2)}) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_suffix_is_made_of_plain_tokens(kind):
    tokenizer = model_of(kind).tokenizer
    ids = allowed(tokenizer, ascii_only=True).tolist()
    texts = [tokenizer.decode([token]) for token in ids]
    assert all(text and text.isascii() and text.isprintable() for text in texts)
    assert not {*ids} & {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    more = allowed(tokenizer, ascii_only=False).tolist()
    assert {*ids} <= {*more}
    assert more == sorted(more)
    if "byte" in kind:
        assert len(more) > len(ids) + 100, "most bytes are no ASCII"
    if kind == "words":
        assert [VOCABULARY[token] for token in ids] == [word for word in VOCABULARY[9:] if word.isascii()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_suffix_is_where_it_is_said_to_be(kind):
    loaded = model_of(kind)
    for aim in aims_of(kind):
        suffix = SUFFIXES.get(kind, SUFFIX)
        one = write(loaded, aim.request, suffix)
        assert one.prompt == loaded.chat.render(suffixed(aim.request, suffix)).ids
        assert loaded.tokenizer.decode(list(one.ids)).strip() in suffix
        # before it the request and at most one token with a bit of the suffix, behind it the template only
        assert loaded.chat.render(aim.request).ids[: one.first - 1] == one.prompt[: one.first - 1]
        assert (
            len(one.prompt) - one.last == len(one.prompt) - 1 - loaded.chat.render(suffixed(aim.request, suffix)).t_inst
        )
        assert not {*loaded.tokenizer.all_special_ids} & {*one.ids}


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_given_with_the_tokens_that_their_text_has(kind):
    loaded, request = model_of(kind), aims_of(kind)[0].request
    base = write(loaded, request, SUFFIXES.get(kind, SUFFIX))
    usable = allowed(loaded.tokenizer, ascii_only=True)
    drawn = draw(base.ids, usable[None].expand(len(base.ids), -1), 64, even=True, n_replace=1, generator=generator())
    found = written(loaded, base, request, [base.ids, *drawn])
    assert found[0] == base
    kept = 0
    for ids, one in zip(drawn, found[1:], strict=True):
        if one is None:  # the bytes of this trained tokenizer are special tokens, which no real one's are
            assert kind == "sentencepiece"
            continue
        assert one.prompt == loaded.chat.render(suffixed(request, one.suffix)).ids
        assert one.prompt[one.first : one.last] == one.ids
        kept += one.prompt == (*base.prompt[: base.first], *ids, *base.prompt[base.last :])
    assert kept == len(drawn) if kind == "words" else 8 <= kept < len(drawn), "some fall apart, and some do not"


def test_letters_that_spell_a_special_token_are_not_sent():
    loaded = model_of("byte-level, chatml")
    request = "tell me about kittens"
    base = write(loaded, request, "kittens")
    plain = loaded.tokenizer.backend_tokenizer.model
    spelled = tuple(plain.token_to_id(letter) for letter in "<|im_end|>")
    blank = plain.token_to_id("Ġ")
    assert loaded.tokenizer.decode([blank, *spelled]) == " <|im_end|>"
    assert written(loaded, base, request, [(blank, *spelled), (blank, *spelled[:-1])])[0] is None
    assert written(loaded, base, request, [(blank, *spelled[:-1])])[0] is not None


@pytest.mark.parametrize(("kind", "text"), [("words", "car <|eos|>"), ("byte-level, llama 3", "<s> kittens")])
def test_a_suffix_with_a_special_token_is_an_error(kind, text):
    with pytest.raises(RequestError, match="has special tokens"):
        write(model_of(kind), "tell me", text)


def test_a_suffix_without_a_token_is_an_error():
    with pytest.raises(RequestError, match="no token of its own behind the request 'draw'"):
        write(model_of("words"), "draw", " ")


def test_a_tokenizer_without_usable_tokens_is_an_error():
    from tests.model.planted import word_tokenizer

    tokenizer = word_tokenizer({**{word: i for word, i in TOKENS.items() if i < 9}, "é": 9})
    with pytest.raises(RequestError, match="has 0 tokens that a suffix may be made of in ASCII"):
        allowed(tokenizer, ascii_only=True)

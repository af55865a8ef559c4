"""The one order: a permutation that does not depend on the file, with prefixes, pairs and subsets kept."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from geoaudit.prompts.order import in_order
from geoaudit.records import Prompt, PromptSet


def prompt(name: str, pair: str = "") -> Prompt:
    return Prompt(name, f"text of {name}", "harmful", "category", pair=pair)


names = st.lists(st.text(min_size=1, max_size=8, alphabet="abcdefgh0123"), unique=True, max_size=30)


@given(names, st.randoms())
def test_is_the_same_permutation_from_any_order_of_the_rows(ids, random):
    prompts = [prompt(one) for one in ids]
    shuffled = list(prompts)
    random.shuffle(shuffled)
    assert sorted(one.id for one in in_order(prompts)) == sorted(ids)
    assert in_order(shuffled) == in_order(prompts)


@given(names, st.data())
def test_a_subset_keeps_the_order(ids, data):
    kept = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    whole = [one.id for one in in_order(prompt(one) for one in ids) if one.id in kept]
    assert [one.id for one in in_order(prompt(one) for one in kept)] == whole


def test_follows_the_stated_hash():
    expected = sorted("abcdefgh", key=lambda name: hashlib.sha256(f"geoaudit-order-1:{name}".encode()).hexdigest())
    assert [one.id for one in in_order(prompt(name) for name in "abcdefgh")] == expected
    assert expected != sorted(expected), "the example must be one that sorting by name would get wrong"


def test_two_sets_with_the_same_pairs_come_out_aligned():
    harmful = in_order(prompt(f"harmful/{i}", pair=f"pair/{i}") for i in range(50))
    harmless = in_order(prompt(f"harmless/{99 - i}", pair=f"pair/{i}") for i in reversed(range(50)))
    assert [one.pair for one in harmful] == [one.pair for one in harmless]
    unpaired = in_order(prompt(f"harmless/{99 - i}") for i in range(50))
    assert [one.id for one in harmless] != [one.id for one in unpaired]


def test_profiles_take_nested_prefixes():
    whole = PromptSet("s", in_order(prompt(str(i)) for i in range(40)), "source", "licence")
    assert whole.first(8).prompts == whole.first(20).prompts[:8] == whole.prompts[:8]
    assert whole.first(None) is whole

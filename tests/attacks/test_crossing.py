"""The crossover: sentences change places, none is lost, and the request keeps exactly one place."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geoaudit.attacks.crossing import crossed, joined, split
from geoaudit.attacks.initial import REQUEST, template

SENTENCE = st.integers(0, 999).map(lambda n: f"Sentence {n}.")
TEXT = st.lists(st.lists(SENTENCE, max_size=5), min_size=1, max_size=4)


@st.composite
def templates(draw):
    """A template; its place for the request is a sentence, part of one, or a paragraph at the end."""
    lines = draw(TEXT)
    if draw(st.booleans()):
        line = lines[draw(st.integers(0, len(lines) - 1))]
        line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from([REQUEST, f"Now {REQUEST}, please."])))
    text = "\n".join(map(" ".join, lines))
    return joined(split(template(text if text.strip() else "Nothing.")))


def sentences(*texts):
    return Counter(one for text in texts for line in split(text) for one in line if REQUEST not in one)


@given(templates(), templates(), st.integers(1, 6), st.integers(0, 10_000))
def test_children_share_out_their_parents_sentences_and_ask_once(one, other, points, seed):
    children = crossed(one, other, points, random.Random(seed))
    assert [child.count(REQUEST) for child in children] == [1, 1]
    assert sentences(*children) == sentences(one, other)


@given(templates())
def test_a_template_is_the_same_after_it_was_split_and_joined(one):
    assert joined(split(one)) == one


@given(templates(), st.integers(0, 100))
def test_a_template_crossed_with_itself_is_itself(one, seed):
    assert crossed(one, one, 5, random.Random(seed)) == (one, one)


def test_paragraphs_without_a_partner_stay():
    long = f"A. B.\n\nC. D.\n\nE. F. {REQUEST}"
    for seed in range(20):
        first, second = crossed(long, f"X. Y. {REQUEST}", 5, random.Random(seed))
        assert "C. D.\n\nE. F." in first
        assert "\n\nC." not in second


def test_one_point_cuts_once():
    one, other = f"{REQUEST}\nA0. A1. A2. A3. A4.", f"{REQUEST}\nB0. B1. B2. B3. B4."
    seen = set()
    for seed in range(60):
        line = crossed(one, other, 1, random.Random(seed))[0].split("\n")[1]
        origin = "".join(word[0] for word in line.split())
        assert sum(a != b for a, b in pairwise(origin)) <= 1
        seen.add(origin)
    assert len(seen) > 6


def test_pieces_do_change_places():
    one, other = f"A0. A1. A2. {REQUEST}", f"B0. B1. B2. {REQUEST}"
    mixed = [crossed(one, other, 5, random.Random(seed))[0] for seed in range(20)]
    assert any("A" in text and "B" in text for text in mixed)


def test_a_child_that_lost_the_request_gets_it_at_the_end_and_one_with_two_loses_the_second():
    one, other = f"A. {REQUEST}", f"{REQUEST} B."
    found = {text for seed in range(40) for text in crossed(one, other, 5, random.Random(seed))}
    assert f"A. B.\n\n{REQUEST}" in found
    assert found == {one, other, f"A. B.\n\n{REQUEST}", REQUEST}

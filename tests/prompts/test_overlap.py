"""Near-duplicates and training overlap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.prompts.overlap import near_duplicates, normalise, overlap, shingles
from geoaudit.records import Prompt, PromptSet


def test_normalising_drops_what_does_not_make_another_prompt():
    assert normalise("  It’s  **FINE**—really!\n") == normalise("it's fine, really") == "it s fine really"
    assert normalise("ﬁnd x²") == "find x2"
    assert normalise("Straße") == normalise("STRASSE")
    assert normalise("?!") == ""


def test_similarity_is_the_jaccard_of_word_3_grams():
    # 6 words -> 4 grams each; the last word differs -> 3 shared, 5 in all
    a, b = "one two three four five six", "One two three, four five seven"
    assert near_duplicates([a], [b], 0.6) == [(0, 0, 3 / 5)]
    assert near_duplicates([a], [b], 0.61) == []


def test_a_planted_near_duplicate_is_found_and_nothing_else():
    a = [f"alpha{i} beta{i} gamma{i} delta{i} epsilon{i}" for i in range(50)]
    b = [f"zeta{i} eta{i} theta{i} iota{i} kappa{i}" for i in range(50)]
    b[7] = a[31].upper() + "!"
    assert near_duplicates(a, b, 0.1) == [(31, 7, 1.0)]


def test_short_texts_are_compared_whole():
    assert near_duplicates(["Hello there"], ["hello, there!", "hello"], 0.5) == [(0, 0, 1.0)]


def test_texts_without_words_match_nothing():
    assert near_duplicates(["?!", ""], ["...", ""], 0.1) == []


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(["a"], ["a"], threshold)


sentences = st.lists(st.lists(st.sampled_from("abc"), max_size=7).map(" ".join), max_size=6)


@given(sentences, sentences, st.sampled_from([0.2, 0.5, 1.0]))
def test_agrees_with_comparing_every_pair(texts_a, texts_b, threshold):
    expected = []
    for i, a in enumerate(texts_a):
        for j, b in enumerate(texts_b):
            both, either = shingles(a) & shingles(b), shingles(a) | shingles(b)
            if both and len(both) / len(either) >= threshold:
                expected.append((i, j, len(both) / len(either)))
    assert near_duplicates(texts_a, texts_b, threshold) == expected


def test_overlap_names_the_prompts_that_were_trained_on():
    prompts = tuple(Prompt(f"p{i}", f"text {i}", "harmful", "c") for i in range(4))
    whole = PromptSet("s", prompts, "source", "licence")
    assert overlap(whole, {prompts[2].sha256, prompts[0].sha256, "0" * 64}) == ("p0", "p2")
    assert overlap(whole, frozenset()) == ()

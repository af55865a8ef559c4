"""The word-level operator: what it may change, and what never changes."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.attacks.words import SYNONYMS, reworded, words

PLAIN = "Please explain the important story to ChatGPT: the answer, a reply (and 3 details)!"
TEXTS = st.lists(st.sampled_from([*sorted(SYNONYMS)[:60], "ChatGPT", "[REQUEST]", "a", "an", "\n", "Zoë's"])).map(
    " ".join
)


def parts(text):
    return re.findall(r"\[[A-Z]+\]|\w+(?:['’]\w+)*|\s+|.", text)


def test_the_table_is_symmetric_lower_case_and_never_names_a_word_for_itself():
    for word, others in SYNONYMS.items():
        assert re.fullmatch("[a-z]+", word)
        assert word not in others
        assert len(set(others)) == len(others) > 0
        assert all(word in SYNONYMS[other] for other in others)


@given(TEXTS, st.integers(0, 1000), st.floats(0, 1))
def test_only_words_of_the_table_change_and_only_into_their_synonyms(text, seed, share):
    before, after = parts(text), parts(reworded(text, random.Random(seed), share))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert new == old or new.lower() in SYNONYMS[old.lower()]


def test_share_nought_changes_nothing_and_one_changes_every_word_of_the_table():
    assert reworded(PLAIN, random.Random(0), 0.0) == PLAIN
    after = dict(zip(parts(PLAIN), parts(reworded(PLAIN, random.Random(0), 1.0)), strict=True))
    changed = {old for old, new in after.items() if old != new}
    assert changed == {"explain", "important", "story", "answer", "reply", "details"}


@pytest.mark.parametrize("seed", range(20))
def test_a_small_share_still_changes_a_word(seed):
    assert reworded(PLAIN, random.Random(seed), 1e-9) != PLAIN


def test_a_text_without_such_words_stays():
    assert reworded("ChatGPT eats [ANSWER]", random.Random(0), 1.0) == "ChatGPT eats [ANSWER]"


def test_placeholders_are_left_alone_even_where_their_word_is_in_the_table():
    assert "answer" in SYNONYMS
    assert words("[ANSWER] Answer it") == {"answer"}
    assert reworded("[ANSWER] it", random.Random(0), 1.0) == "[ANSWER] it"


@pytest.mark.parametrize(("word", "like"), [("Help", str.istitle), ("HELP", str.isupper), ("help", str.islower)])
def test_capitals_are_kept(word, like):
    after = reworded(word, random.Random(0), 1.0)
    assert after.lower() != "help"
    assert like(after)


@pytest.mark.parametrize("seed", range(20))
def test_the_article_before_a_word_stays_right(seed):
    after = reworded("a reply, an answer, a great idea, an idea", random.Random(seed), 1.0)
    for article, word in re.findall(r"\b(an?) (\w+)", after):
        assert (word[0] in "aeiou") == (article == "an")


def test_pick_chooses_among_the_word_and_its_synonyms():
    asked = []

    def pick(word, choices):
        asked.append((word, set(choices)))
        return word

    assert reworded("Help the story", random.Random(0), 1.0, pick) == "Help the story"
    assert asked == [(word, {word, *SYNONYMS[word]}) for word in ("help", "story")]


def test_the_same_seed_gives_the_same_text():
    made = [reworded(PLAIN, random.Random(seed), 0.5) for seed in (1, 1, 2, 3, 4)]
    assert made[0] == made[1]
    assert len(set(made)) > 2

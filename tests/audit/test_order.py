"""Needs after what they draw on, over several checkpoints, with as few changes of model as the order leaves."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.attacks.cases import Attack
from geoaudit.audit.order import alone, draws_on, node, ordered
from geoaudit.carriers.select import Selecting
from geoaudit.measures.inputs import ChatSetting, Source
from geoaudit.measures.needs import (
    CandidateSearch,
    Cells,
    Completions,
    Damage,
    EditedCompletions,
    Elsewhere,
    Examination,
    Intervention,
    Judged,
    Optimised,
    Probe,
    Projections,
    SubspaceAblation,
    Transfer,
)

PROBE = Probe(32)
SEARCH = CandidateSearch(PROBE, 8, 0.8)
REFUSED = CandidateSearch(PROBE, 8, 0.8, contrast="refused")
HOW = Selecting("cosmic")
LOOK = Examination(SEARCH, HOW, "nearest")
TEXT = Completions(Source("harmful"), 8, 3)
EDIT = Intervention(SEARCH, HOW, "carrier", "R", "ablate", "every_site", 1.0, 1, Source("harmful"), 8, 19)
EDITED = EditedCompletions(TEXT, EDIT)
ATTACKED = Completions(Source("harmful"), 8, 3, Attack("gcg", budget=20, width=64))
BROKEN = Damage(EDIT, written=True)


def transfer(source: str) -> Transfer:
    return Transfer(SEARCH, HOW, "carrier", source)


def run(*names: str):
    return lambda name: names if name in names else (name,)


NEEDS = (
    TEXT,
    Judged(TEXT, "harmbench"),
    Cells(32),
    Projections(PROBE, 8),
    Projections(PROBE, 8, "refused"),
    SEARCH,
    REFUSED,
    LOOK,
    SubspaceAblation(SEARCH, HOW, "carrier", 8),
    EDIT,
    EDITED,
    Judged(EDITED, "harmbench"),
    BROKEN,
    transfer("b"),
    ATTACKED,
    replace(ATTACKED, attack=replace(ATTACKED.attack, checkpoint="b")),
)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(NEEDS)), max_size=8), st.booleans())
def test_everything_stands_once_and_after_what_it_draws_on(wanted, together):
    family = run("a", "b", "c") if together else alone
    found = ordered([node(*one) for one in wanted], family)
    assert len(set(found)) == len(found)
    assert set(wanted) <= set(found)
    for index, one in enumerate(found):
        assert set(draws_on(one, family)) <= set(found[:index])


def test_damage_waits_for_the_doses_of_controls_and_for_the_answers_that_it_is_read_on():
    found = ordered([("a", BROKEN)], last="a")
    assert found[-1] == ("a", BROKEN)
    assert {("a", EDIT), ("a", BROKEN.answers)} <= set(found)


def test_text_under_edits_waits_for_the_doses_and_is_judged_last():
    found = ordered([("a", Judged(EDITED, "harmbench"))])
    assert found[-3:] == [("a", EDIT), ("a", EDITED), ("a", Judged(EDITED, "harmbench"))]
    assert {("a", TEXT), ("a", SEARCH)} <= set(found)


def test_text_that_is_optimised_comes_last_and_before_what_it_is_sent_for():
    wanted = [("a", ATTACKED), ("a", TEXT), ("a", PROBE), ("a", Judged(ATTACKED, "harmbench"))]
    found = ordered(wanted, last="a")
    made = Optimised(ATTACKED.source, ATTACKED.n, ATTACKED.attack)
    assert found == [("a", TEXT), ("a", PROBE), ("a", made), ("a", ATTACKED), ("a", Judged(ATTACKED, "harmbench"))]


def test_text_of_another_checkpoint_is_optimised_there():
    found = ordered([("b", replace(ATTACKED, attack=replace(ATTACKED.attack, checkpoint="a")))], last="b")
    made = Optimised(ATTACKED.source, ATTACKED.n, ATTACKED.attack)
    assert [(name, type(need)) for name, need in found] == [("a", Optimised), ("b", Completions)]
    assert found[0] == ("a", made), "the same that its own audit asks for"


def test_what_is_asked_of_another_checkpoint_is_a_need_of_that_one():
    assert node("a", Elsewhere("b", PROBE)) == ("b", PROBE)
    assert node("a", PROBE) == ("a", PROBE)


def test_a_search_waits_for_the_answers_of_the_whole_trajectory():
    found = ordered([("b", SEARCH)], run("a", "b", "c"), last="b")
    answers = [(name, need) for name in "acb" for need in SEARCH.answered]
    assert [one for one in found if isinstance(one[1], Completions)] == answers
    assert found[-1] == ("b", SEARCH)
    assert ("a", PROBE) not in found, "of the others only the answers are needed"


def test_the_contrast_of_refused_prompts_draws_on_the_cells():
    cells = Cells(32, ChatSetting())
    for need in (REFUSED, Projections(PROBE, 8, "refused")):
        assert ("a", cells) in ordered([("a", need)])
    for need in (SEARCH, Projections(PROBE, 8)):
        assert ("a", cells) not in ordered([("a", need)])


def test_models_change_no_more_often_than_they_must():
    """Answers of both, the late one's search, the reference's with what the late direction does there, and back."""
    wanted = [("late", transfer("ref")), ("ref", transfer("late"))]
    found = ordered(wanted, run("ref", "late"), last="late")
    assert [name for name, _ in groupby(found, key=lambda one: one[0])] == ["ref", "late", "ref", "late"]
    alone_in_it = ordered([("late", LOOK), ("late", TEXT), ("late", PROBE)], last="late")
    assert [type(need) for _, need in alone_in_it] == [Completions] * 3 + [Probe, CandidateSearch, Examination]


@pytest.mark.parametrize("n", [2, 5])
def test_the_answers_of_a_long_run_take_one_visit_each(n):
    names = tuple(f"step{i}" for i in range(n))
    found = ordered([("step0", SEARCH)], run(*names), last="step0")
    assert len(list(groupby(found, key=lambda one: one[0]))) == n

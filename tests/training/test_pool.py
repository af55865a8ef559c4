"""The pool: what is drawn, what a reset replaces, and that a pool read back goes on as if nothing had happened."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.training.pool import FILE, Behavior, Pool
from geoaudit.training.r2d2_settings import R2D2

BEHAVIORS = tuple(Behavior(f"b{i}", f"ask for {i}", (f"Sure, {i}", f"Yes, {i}", f"Here is {i}")) for i in range(12))
SMALL = R2D2(cases=10, updated=4, reset_every=5, reset_share=0.3, plain=2)


def pool(seed=0, behaviors=BEHAVIORS, **changes):
    return Pool(SMALL.model_copy(update=changes), behaviors, seed)


def played(one, micro_steps, *, of_a_step=1):
    """What a pool draws over some micro-steps, with attacks that leave their mark."""
    seen = []
    for _ in range(micro_steps):
        seen.append(one.reset_if_due(one.micro_step // of_a_step))
        places = one.draw()
        for place in places:
            one.attacked(place, f"{one.cases[place].suffix} x{one.micro_step}", 0.5 * one.micro_step, 2)
        plain = one.plain()
        seen.append(
            (places, plain, [one.refusal(i) for i in range(6)], [one.opening(b, i) for i, b in enumerate(plain)])
        )
        one.end_micro_step()
    return seen, list(one.cases)


def test_cases_that_start_together_differ_in_length_and_target():
    cases = Pool(R2D2(cases=40, updated=8), BEHAVIORS, 0).cases
    lengths = Counter(len(case.suffix.split()) for case in cases)
    assert set(lengths) == {15, 16, 17, 18, 19, 20}, "the published loop gives all of them one length"
    assert all(set(case.suffix.split()) == {"!"} for case in cases)
    assert {case.target.partition(" ")[0] for case in cases} == {"Sure,", "Yes,", "Here"}
    assert all(case.loss is None and case.steps == case.visits == 0 for case in cases)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_behaviours_are_spread_evenly_over_the_pool(n, k, seed):
    made = Pool(R2D2(cases=n, updated=1, reset_share=0), BEHAVIORS[:k], seed)
    count = Counter(case.behavior for case in made.cases)
    assert sum(count.values()) == n
    assert max(count.values()) - min(count.get(one.id, 0) for one in BEHAVIORS[:k]) <= 1
    assert len({case.id for case in made.cases}) == n
    for case in made.cases:
        one = BEHAVIORS[int(case.behavior[1:])]
        assert case.request == one.request
        assert case.target in one.targets


def test_a_draw_has_no_case_twice_and_reaches_all():
    one, drawn = pool(), Counter()
    for _ in range(100):
        places = one.draw()
        assert places == one.draw(), "asked twice within a micro-step it is the same draw"
        assert len(set(places)) == 4
        drawn.update(places)
        one.end_micro_step()
    assert set(drawn) == set(range(10))
    assert all(20 <= count <= 60 for count in drawn.values()), "each case is drawn 40 times of 100 in the mean"


def test_draws_change_from_step_to_step_and_with_the_seed():
    first, second = played(pool(), 6), played(pool(seed=1), 6)
    assert len({places for places, *_ in first[0][1::2]}) > 1
    assert first != second
    assert first == played(pool(), 6)


def test_refusals_are_drawn_for_each_row_from_all_wordings():
    one, seen = pool(), Counter()
    for _ in range(60):
        seen.update(one.refusal(place) for place in range(4))
        one.end_micro_step()
    assert set(seen) == set(SMALL.refusals)
    assert max(seen.values()) < 2.5 * 240 / len(SMALL.refusals)


def test_plain_requests_are_behaviours_with_an_opening_of_their_own():
    one, seen = pool(), Counter()
    for _ in range(60):
        for place, behavior in enumerate(one.plain()):
            assert one.opening(behavior, place) in behavior.targets
            seen.update([behavior.id])
        one.end_micro_step()
    assert sum(seen.values()) == 120
    assert len(seen) == 12


def test_a_reset_comes_when_due_and_replaces_a_share_once():
    one = pool()
    played(one, 4)
    before = list(one.cases)
    assert one.reset_if_due(0) == ()
    assert one.reset_if_due(4) == ()
    places = one.reset_if_due(5)
    assert len(places) == 3
    assert one.reset_if_due(5) == (), "the second micro-step of the same step must not reset again"
    for place, (old, new) in enumerate(zip(before, one.cases, strict=True)):
        assert (new != old) == (place in places)
        if place in places:
            assert (new.loss, new.steps, new.visits) == (None, 0, 0)
            assert set(new.suffix.split()) == {"!"}
    assert [one.cases[place].serial for place in places] == [10, 11, 12]
    assert one.reset_if_due(10) != places, "drawn anew"
    assert len({case.id for case in one.cases}) == 10


def test_without_resets_there_are_none():
    one = pool(reset_share=0.0)
    assert all(one.reset_if_due(step) == () for step in range(60))


def test_an_attacked_case_keeps_its_behaviour_and_counts():
    one = pool()
    before = one.cases[3]
    one.attacked(3, "new words", 1.25, 2)
    one.attacked(3, "newer words", 1.0, 3)
    after = one.cases[3]
    assert (after.suffix, after.loss, after.steps, after.visits) == ("newer words", 1.0, 5, 2)
    assert (after.id, after.request, after.target) == (before.id, before.request, before.target)


@pytest.mark.parametrize("kill", [1, 5, 7, 11])
def test_a_pool_read_back_goes_on_as_if_nothing_had_happened(tmp_path, kill):
    seen, cases = played(pool(), 14, of_a_step=2)
    first = pool()
    begun, _ = played(first, kill, of_a_step=2)
    first.write(tmp_path)
    second = pool()
    second.read(tmp_path)
    rest, end = played(second, 14 - kill, of_a_step=2)
    assert begun + rest == seen
    assert end == cases


def test_what_is_written_is_plain_data_and_whole(tmp_path):
    one = pool()
    played(one, 3)
    path = one.write(tmp_path)
    assert path == tmp_path / FILE
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE], "no part of it is left beside it"
    state = json.loads(path.read_text())
    assert len(state["cases"]) == 10
    assert set(state["cases"][0]) == {"serial", "behavior", "request", "target", "suffix", "loss", "steps", "visits"}


@pytest.mark.parametrize(
    "other",
    [
        lambda: pool(seed=1),
        lambda: pool(behaviors=BEHAVIORS[:11]),
        lambda: pool(width=64),
        lambda: pool(reset_every=6),
    ],
)
def test_a_pool_of_another_run_is_refused(tmp_path, other):
    pool().write(tmp_path)
    with pytest.raises(RequestError, match=r"r2d2-pool\.json: the saved pool is of another recipe.*--fresh"):
        other().read(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"r2d2_pool": 1}', '{"r2d2_pool": 2, "cases": []}', "\x00"])
def test_a_state_that_cannot_be_read_says_so(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(RequestError, match=r"r2d2-pool\.json"):
        pool().read(tmp_path)


def test_a_missing_state_is_no_fresh_start(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        pool().read(tmp_path)


def test_behaviours_have_to_be_there_once():
    with pytest.raises(RequestError, match="no behaviours"):
        pool(behaviors=())
    with pytest.raises(RequestError, match="'b3'"):
        pool(behaviors=(*BEHAVIORS, BEHAVIORS[3]))


def test_a_behaviour_is_hashed_as_an_audit_hashes_a_prompt():
    from geoaudit.records import Prompt

    assert BEHAVIORS[0].sha256 == Prompt("x", BEHAVIORS[0].request, "harmful", "c").sha256

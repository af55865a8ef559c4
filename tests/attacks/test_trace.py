"""Traces: what they say of themselves, the file they are kept in, and their replay as a fixed-source attack."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.attacks.cases import Attack
from geoaudit.attacks.make import cases
from geoaudit.attacks.target import Aim
from geoaudit.attacks.trace import Step, Trace, read, write
from geoaudit.errors import BrokenCheckpoint, DataMissing, RequestError
from geoaudit.records import Prompt, PromptSet

FRY = Aim("kitchen/fry", "Fry an egg", "Sure, here is how to fry an egg")
BOIL = Aim("kitchen/boil", "Boil rice\n\n---\n\nfast", "Sure, here is how to boil rice")
SET = PromptSet(
    "kitchen",
    (Prompt(FRY.id, FRY.request, "harmful", "eggs"), Prompt(BOIL.id, BOIL.request, "harmful", "rice")),
    "a test",
    "none",
)


def trace(*losses: float, aim: Aim = FRY, **changes) -> Trace:
    steps = tuple(Step(i, loss, f"{aim.request} ! {i}", 0.5, 10 + i) for i, loss in enumerate(losses))
    return Trace(
        **{"attack": "gcg", "aim": aim, "source_model": "tiny", "settings": {"steps": 3}, "steps": steps, **changes}
    )


def test_best_is_the_earliest_of_the_lowest_and_last_is_where_it_ended():
    found = trace(3.0, 1.0, 2.0, 1.0)
    assert (found.best.step, found.last.step) == (1, 3)
    assert found.lowered
    assert not trace(1.0, 2.0).lowered
    assert not trace(1.0, 1.0).lowered
    assert (found.seconds, found.tokens) == (2.0, 46)


def test_a_smaller_budget_is_the_beginning_of_a_larger_one():
    found = trace(3.0, 2.0, 1.0, stopped="matched")
    assert [one.loss for one in found.upto(1).steps] == [3.0, 2.0]
    assert found.upto(1).stopped == ""
    assert found.upto(2) == found.upto(9) == found


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_a_broken_model(loss):
    with pytest.raises(BrokenCheckpoint, match=r"step 4"):
        Step(4, loss, "text", 0.0, 1)


@pytest.mark.parametrize("numbers", [(), (1, 0), (0, 0)])
def test_steps_go_up(numbers):
    with pytest.raises(RequestError, match="go up"):
        trace(steps=tuple(Step(number, 1.0, "text", 0.0, 1) for number in numbers))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    st.lists(st.tuples(st.floats(0, 50), TEXT), min_size=1, max_size=4),
    st.dictionaries(TEXT, st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)),
    TEXT,
)
def test_a_file_gives_back_what_was_written(tmp_path_factory, steps, settings, text):
    path = tmp_path_factory.mktemp("traces") / "a.jsonl"
    made = Trace(
        "autodan",
        Aim(text, text, text),
        text,
        settings,
        tuple(Step(2 * i, loss, one, loss / 7, i) for i, (loss, one) in enumerate(steps)),
        text,
        text,
        {"kept": settings},
    )
    write(path, [made, trace(1.0)])
    assert read(path) == [made, trace(1.0)]


def test_a_trace_is_replayed_as_a_fixed_source_attack(tmp_path):
    path = tmp_path / "deep" / "a.jsonl"
    write(path, [trace(3.0, 1.0, 2.0), trace(2.0, aim=BOIL, attack="autodan", source_model="other")])
    made = cases(Attack("fixed", file=str(path)), SET)
    assert [(one.prompt.id, one.text, one.method, one.source_model) for one in made.cases] == [
        (FRY.id, "Fry an egg ! 1", "gcg", "tiny"),
        (BOIL.id, f"{BOIL.request} ! 0", "autodan", "other"),
    ]
    assert made.skipped == {}
    only = cases(Attack("fixed", file=str(path), method="gcg", source_model="tiny"), SET)
    assert [one.prompt.id for one in only.cases] == [FRY.id]


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, [trace(1.0)])
    for settings in ({"steps": math.nan}, {"steps": object()}):
        with pytest.raises((TypeError, ValueError)):
            write(path, [trace(2.0), trace(2.0, settings=settings)])
    assert read(path) == [trace(1.0)]
    assert [one.name for one in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "another"}, "changed by hand"),
        ({"loss": 0.5}, "changed by hand"),
        ({"target": 3}, "'target' must be text"),
        ({"trace": []}, "go up"),
        ({"trace": [{"step": 0, "loss": 1.0}]}, "not a trace of an attack"),
        ({"trace": [{"step": 0.5, "loss": 1.0, "text": "t", "seconds": 0, "tokens": 1}]}, "whole numbers"),
        ({"trace": [{"step": 0, "loss": "nan", "text": "t", "seconds": 0, "tokens": 1}]}, "NaN"),
        ({"settings": None}, "not a trace of an attack"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, change, words):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(trace(1.0).to_json()) + "\n\n" + json.dumps({**trace(1.0).to_json(), **change}))
    with pytest.raises(RequestError, match=rf"a\.jsonl:3: .*{words}"):
        read(path)


def test_a_line_that_is_no_trace_says_what_is_missing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "x", "behaviour_id": "y"}')
    with pytest.raises(RequestError, match=r"a\.jsonl:1: no key 'behavior_id' \(did you mean 'behaviour_id'\?\)"):
        read(path)
    path.write_text('["prompt"]')
    with pytest.raises(RequestError, match=r"a\.jsonl:1: expected an object"):
        read(path)
    with pytest.raises(DataMissing, match="no such file"):
        read(tmp_path / "b.jsonl")

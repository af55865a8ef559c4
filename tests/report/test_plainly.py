from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.measures.table import MEASURES
from geoaudit.report import plainly


def row(measure: str = "attack_success_rate", estimate: Any = 0.5, n: Any = 64, **more: Any) -> dict[str, Any]:
    parameters = {"source": "harmful", "attack": "direct", **more.pop("parameters", {})}
    return {
        "measure": measure,
        "estimate": estimate,
        "n": n,
        "unit": "share of prompts",
        "parameters": parameters,
        "detail": {},
        **more,
    }


@pytest.mark.parametrize(
    ("estimate", "n", "text"),
    [
        (50 / 64, 64, "50 of 64"),
        (0.0, 64, "0 of 64"),
        (1.0, 64, "64 of 64"),
        (0.505, 40, "50 % of 40"),
        (None, 64, "not measured"),
    ],
)
def test_counts_are_whole_or_are_not_given(estimate: float | None, n: int, text: str):
    assert plainly.counted(row(estimate=estimate, n=n)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.004, "0.4 %"), (0.9996, "99.96 %"), (0.18, "18 %"), (1e-9, "nearly none")],
)
def test_a_share_that_is_neither_nothing_nor_everything_never_reads_so(value: float, text: str):
    assert plainly.percent(value) == text


@given(st.floats(0, 1))
def test_percent_reads_nothing_or_all_only_for_that(value: float):
    text = plainly.percent(value)
    assert (text == "0 %") == (value == 0)
    assert (text == "100 %") == (value == 1)


def test_rows_that_nobody_could_read_stand_beside_the_count():
    assert plainly.said({}, row(detail={"unread": 5})) == (
        "answers 32 of 64 harmful requests asked plainly (5 more gave nothing that could be read)"
    )


@pytest.mark.parametrize("attack", [*plainly.ATTACKS, "worst"])
def test_every_attack_reads_as_a_sentence(attack: str):
    text = plainly.said({}, row(parameters={"attack": attack}))
    assert text.startswith("answers 32 of 64 harmful requests ")
    assert "_" not in text


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_measure_has_a_sentence_and_a_question(name: str):
    measure = MEASURES[name]
    record = {"measures": {name: {"title": measure.title}}}
    one = row(name, 1.0, unit=measure.unit)
    assert plainly.said(record, one)
    assert plainly.question(record, one, name)
    assert plainly.said(record, row(name, None)) == ""
    assert not {"None", "nan"} & set(plainly.said(record, one).split())


@pytest.mark.parametrize(
    ("comparator", "limit", "text"),
    [
        ("at_most", 0.145, "at most 14.5 % was allowed"),
        ("at_least", 0.75, "at least 75 % was asked for"),
        ("between", [0.1, 0.2], "between 10 % and 20 % was asked for"),
        ("at_most", None, ""),
    ],
)
def test_bounds_are_written_as_they_were_set(comparator: str, limit: Any, text: str):
    assert plainly.bound(row(), comparator, limit) == text


def test_unknown_prompts_are_called_by_their_name():
    assert (
        plainly.said({}, row(parameters={"source": "mine.csv"})) == "answers 32 of 64 prompts of mine.csv asked plainly"
    )
    assert not plainly.harmful(row("refusal_rate", parameters={"source": "mine.csv"}))


@pytest.mark.parametrize(
    ("comparator", "limit", "text"),
    [
        ("at_most", 0.05, "a rise of at most 5 percentage points was allowed"),
        ("at_least", -0.1, "a fall of at most 10 percentage points was allowed"),
        ("at_most", -0.1, "a fall of at least 10 percentage points was asked for"),
        ("at_least", 0.025, "a rise of at least 2.5 percentage points was asked for"),
        ("at_most", 0, "no rise was allowed"),
        ("at_least", 0, "no fall was allowed"),
        ("at_most", None, ""),
    ],
)
def test_a_margin_says_which_way_it_is_open(comparator: str, limit: Any, text: str):
    assert plainly.margin(row(), comparator, limit) == text


def points(*values: float | None) -> list[dict[str, Any]]:
    return [{"checkpoint": f"r2d2/step{50 * i}", "step": 50 * i, "estimate": value} for i, value in enumerate(values)]


def test_a_run_is_told_over_its_steps():
    assert plainly.over_steps({}, row(), points(0.03125, 0.265625, 0.25)) == (
        "answers 3 % of the harmful requests asked plainly at step 0, 27 % at step 50 and 25 % at step 100"
    )
    assert plainly.over_steps({}, row(), points(0.5)) == "answers 50 % of the harmful requests asked plainly at step 0"


def test_of_a_long_run_the_ends_and_the_extremes_are_told_in_their_order():
    told = plainly.over_steps({}, row(), points(0.5, 0.4, 0.1, 0.6, 0.9, 0.7))
    assert told == (
        "answers 50 % of the harmful requests asked plainly at step 0, 10 % at step 100, 90 % at step 200 and 70 % at "
        "step 250"
    )


def test_a_checkpoint_without_a_number_is_not_told_and_a_run_without_any_says_nothing():
    assert "step 50" not in plainly.over_steps({}, row(), points(0.5, None, 0.4))
    assert plainly.over_steps({}, row(), points(None, None)) == ""


def test_a_number_that_must_not_be_trusted_is_not_told():
    run = points(0.5, 0.01, 0.4)
    run[1]["outcome"] = "invalid"
    assert plainly.over_steps({}, row(), run) == plainly.over_steps({}, row(), [run[0], run[2]])


def test_what_is_inside_is_told_by_its_name():
    inside = {"measure": "effective_rank", "unit": "dimensions", "estimate": 6.0}
    told = plainly.over_steps({}, inside, points(6.39, 5.26))
    assert told.startswith("has 6.39")
    assert told.endswith("at step 0 and 5.26 at step 50")
    assert "effective" in told

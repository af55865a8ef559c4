from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import words

LAYER = "layer, counted from 0 (resid_pre)"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.03125, "share of prompts", "0.031"),
        (0.0, "share of prompts", "0.000"),
        (1.0, "share of prompts", "1.000"),
        (0.0004, "share of prompts", "0.0004"),
        (0.00002, "share of prompts", "2.0e−5"),
        (14.0, LAYER, "14"),
        (-4, "template token, −1 = last of the prompt", "−4"),
        (3.556, "dimensions", "3.56"),
        (2.0, "dimensions", "2.00"),
        (18.42, "nats", "18.4"),
        (0.0359, "nats", "0.0359"),
        (1234.5, "activation units", "1,234"),
        (-0.0, "nats", "0"),
        (-0.00001, "share of prompts", "−1.0e−5"),
        (0, "nats", "0"),
    ],
)
def test_digits_are_sensible_for_the_unit(value: float, unit: str, text: str):
    assert words.number(value, unit) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "0.5", True])
def test_what_is_no_number_is_not_written_as_one(value: object):
    assert words.number(value) == "not measured"
    assert words.interval(value, 1.0) == ""
    assert words.finite(value) is None


def test_a_value_is_never_rounded_onto_the_bound_it_misses():
    assert words.number(0.0504, "share", apart_from=[0.05]) == "0.0504"
    assert words.number(0.05, "share", apart_from=[0.05]) == "0.050"
    assert words.interval(0.012, 0.050001, "share", apart_from=[0.05]) == "[0.012, 0.050001]"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["share of prompts", "nats", LAYER]))
def test_the_text_keeps_the_order_of_value_and_bound(value: float, bound: float, unit: str):
    shown = float(words.number(value, unit, apart_from=[bound]).replace(",", "").replace("−", "-"))
    if value > bound and value - bound > 1e-7 * max(1.0, abs(bound)):
        assert shown > bound or math.isclose(shown, bound, abs_tol=1e-8)
    if shown == 0:
        assert abs(value) < 0.05


@pytest.mark.parametrize(
    ("comparator", "bound", "long", "short"),
    [
        ("at_most", 0.05, "at most 0.05", "≤ 0.05"),
        ("at_least", 0.9, "at least 0.9", "≥ 0.9"),
        ("between", [-2, 20], "between −2 and 20", "in [−2, 20]"),
        ("equals", 14.0, "equals 14", "= 14"),
        ("at_most", None, "no bound recorded", "no bound recorded"),
        ("change_at_most", 0.1, "change at most 0.1", "change_at_most 0.1"),
    ],
)
def test_bounds_are_written_as_given(comparator: str, bound: object, long: str, short: str):
    assert words.bound_text(comparator, bound) == long
    assert words.bound_text(comparator, bound, short=True) == short


def test_outcomes_are_ordered_worst_first_and_an_unknown_one_is_never_green():
    found = [{"outcome": word} for word in ("passed", "inconclusive", "mystery", "failed", "invalid")]
    ordered = [one["outcome"] for one in sorted(found, key=words.severity)]
    assert ordered == ["failed", "mystery", "invalid", "inconclusive", "passed"]
    assert words.tally(found) == {"failed": 1, "invalid": 2, "inconclusive": 1, "passed": 1}


def test_an_outcome_of_the_estimate_says_so():
    assert words.outcome_word({"outcome": "passed", "by": "estimate"}) == "passed (estimate)"
    assert words.outcome_word({"outcome": "failed", "by": "estimate"}) == "failed (estimate)"
    assert words.outcome_word({"outcome": "invalid", "by": "estimate"}) == "invalid"
    assert words.outcome_word({"outcome": "passed", "by": "interval"}) == "passed"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        ("", "none"),
        (True, "yes"),
        (64, "64"),
        (-5, "−5"),
        (0.1, "0.1"),
        ({"file": "a.csv"}, "file a.csv"),
    ],
)
def test_plain_words_hold_no_python(value: object, text: str):
    assert words.plain(value) == text


def test_all_prompts_of_a_source_are_called_all():
    assert words.parameters_text({"source": "harmful", "n": None}) == "source harmful · n all"


@pytest.mark.parametrize(
    ("value", "text"), [(0.02, "20 ms"), (3.4, "3.4 s"), (38.0, "38 s"), (141.2, "2 min 21 s"), (None, "not recorded")]
)
def test_durations(value: float | None, text: str):
    assert words.seconds(value) == text


def test_a_missing_measurement_says_why_once():
    assert words.missing_reason({"why_missing": "no carrier"}) == "not measured: no carrier"
    assert words.missing_reason({}, "not measured: no carrier") == "not measured: no carrier"
    assert words.missing_reason({}) == "not measured: the record gives no reason"


def test_shares_scores_and_differences_have_three_decimals():
    for unit in ("share of prompts", "score in [0, 1]", "difference of refusal rates"):
        assert words.number(0.0, unit) == "0.000"
        assert words.is_share(unit)
    assert not words.is_share("nats")
    assert words.share(0.25, 0.2, 0.3) == "0.250 [0.200, 0.300]"
    assert words.share(0.25) == "0.250"
    assert words.share(None, 0.2, 0.3) == ""


def test_a_number_beyond_all_floats_is_none():
    assert words.finite(10**400) is None
    assert words.number(10**400) == "not measured"


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1 prompt"), (2, "2 prompts"), (1200, "1,200 prompts"), (0, "0 prompts")]
)
def test_plurals(value: int, text: str):
    assert words.plural(value, "prompt") == text


@pytest.mark.parametrize("value", [[], {}, ()])
def test_nothing_in_a_list_is_none(value: object):
    assert words.plain(value) == "none"


def test_an_outcome_that_an_estimate_decided_is_not_explained_by_an_interval():
    by_interval = {"outcome": "passed", "by": "interval"}
    by_estimate = {"outcome": "passed", "by": "estimate"}
    assert words.meanings([by_interval]) == words.meanings([]) == dict(words.MEANINGS)
    alone = words.meanings([by_estimate])
    assert "whole interval" not in alone["passed"] + alone["failed"]
    assert alone["passed"].startswith("The estimate satisfies the bound")
    both = words.meanings([by_interval, by_estimate])
    assert both["passed"].startswith(words.MEANINGS["passed"])
    assert "Marked (estimate): the estimate satisfies the bound" in both["passed"]
    assert (
        words.meanings([by_interval, by_estimate, {"outcome": "failed", "by": "interval"}])["failed"]
        == (words.MEANINGS["failed"])
    )

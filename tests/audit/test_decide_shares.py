"""Whole numbers with a distribution over resamples: an argmax is often bimodal, and its middle is no interval."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import by_share, decide
from geoaudit.records import Flag, Measurement

quick = settings(deadline=None, derandomize=True, max_examples=200)


def spread(counts: dict[int, int], scores: dict[int, float] | None = None, missing: int = 0, **more: Any) -> dict:
    values = sorted({*counts, *(scores or {})})
    return {
        "values": [{"value": v, "count": counts.get(v, 0), "score": (scores or {}).get(v)} for v in values],
        "resamples": sum(counts.values()) + missing,
        **more,
    }


def scored(counts: dict[int, int], scores: dict[int, float], better: str = "higher", **more: Any) -> dict:
    winner = (max if better == "higher" else min)(scores.values())
    return spread(counts, scores, winner=winner, better=better, tolerance=0.02, **more)


def layer(estimate: int, detail: dict, low: float = 0, high: float = 30, **more: Any) -> Measurement:
    return Measurement("carrier_layer", "c", {}, "layer", estimate, low, high, detail={"distribution": detail}, **more)


TWO = scored({8: 300, 21: 200}, {8: 1.5, 21: 1.49})


@pytest.mark.parametrize(
    ("comparator", "bound", "outcome"),
    [
        ("equals", (8,), "inconclusive"),
        ("equals", (21,), "inconclusive"),
        ("between", (8, 21), "passed"),
        ("between", (9, 20), "failed"),  # between the modes there is nothing
        ("between", (5, 12), "inconclusive"),
        ("at_most", (21,), "passed"),
        ("at_most", (20,), "inconclusive"),
        ("at_most", (7,), "failed"),
        ("at_least", (8,), "passed"),
        ("at_least", (22,), "failed"),
    ],
)
def test_two_modes(comparator, bound, outcome):
    found = layer(8, TWO, 8, 21)
    assert decide(comparator, tuple(map(float, bound)), found, by="interval").outcome == outcome


def test_the_middle_of_two_modes_is_no_place():
    """As an interval [8, 21] all of `between: [9, 20]` would be inconclusive, though no resample falls there."""
    plain = Measurement("carrier_layer", "c", {}, "layer", 8, 8, 21)
    assert decide("between", (9.0, 20.0), plain, by="interval").outcome == "inconclusive"
    decision = decide("between", (9.0, 20.0), layer(8, TWO, 8, 21), by="interval")
    assert decision.sentence == "8, and 0.0% of 500 resamples satisfy the bound between 9 and 20"


@pytest.mark.parametrize(
    ("inside", "outcome"),
    [(500, "passed"), (475, "passed"), (474, "inconclusive"), (26, "inconclusive"), (25, "failed"), (0, "failed")],
)
def test_the_shares_that_decide(inside, outcome):
    counts = {8: inside, 21: 500 - inside}
    found = layer(8, scored(counts, {8: 1.5, 21: 1.5}), 8, 21)
    assert decide("equals", (8.0,), found, by="interval").outcome == outcome


@pytest.mark.parametrize(("missing", "outcome"), [(25, "passed"), (26, "inconclusive")])
def test_resamples_without_an_outcome_do_not_pass(missing, outcome):
    found = layer(8, spread({8: 500 - missing}, missing=missing))
    assert decide("equals", (8.0,), found, by="interval").outcome == outcome


def test_resamples_without_an_outcome_do_not_fail_either():
    assert by_share("equals", (9,), spread({8: 475}, missing=25))[0] == "failed"
    assert by_share("equals", (9,), spread({8: 474}, missing=26))[0] == "inconclusive"


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize(
    ("behind", "outcome"), [(0.0, "passed"), (0.019, "passed"), (0.021, "inconclusive"), (1.0, "inconclusive")]
)
def test_most_resamples_are_not_enough_where_the_best_score_lies_elsewhere(better, behind, outcome):
    """The winner on all prompts is at layer 9; 96 % of the redrawn sets choose layer 8."""
    sign = 1 if better == "higher" else -1
    detail = scored({8: 480, 9: 20}, {8: 1.5 - sign * behind, 9: 1.5}, better)
    decision = decide("equals", (8.0,), layer(9, detail), by="interval")
    assert decision.outcome == outcome
    assert "96.0% of 500 resamples satisfy the bound equal to 8" in decision.sentence
    assert ("not within 0.02 of the winner's 1.5" in decision.sentence) == (outcome == "inconclusive")


def test_a_range_in_which_nothing_has_a_score_does_not_pass():
    decision = decide("equals", (8.0,), layer(9, scored({8: 480, 9: 20}, {9: 1.5})), by="interval")
    assert decision.outcome == "inconclusive"
    assert "none there has a score" in decision.sentence


def test_without_scores_the_share_alone_decides():
    assert decide("equals", (1.0,), layer(1, spread({1: 480, 2: 20}), 1, 2), by="interval").outcome == "passed"


def test_estimates_flags_and_missing_intervals_decide_as_ever():
    found = layer(8, TWO, 8, 21)
    assert decide("equals", (8.0,), found, by="estimate").outcome == "passed"
    assert decide("equals", (21.0,), found, by="estimate").outcome == "failed"
    stop = layer(8, scored({8: 500}, {8: 1.5}), flags=(Flag("null-direction", "stops", "rounding"),))
    assert decide("equals", (8.0,), stop, by="interval").outcome == "invalid"
    none = layer(8, scored({8: 500}, {8: 1.5}), None, None)
    assert decide("equals", (8.0,), none, by="interval").outcome == "invalid"


counts = st.dictionaries(st.integers(0, 6), st.integers(1, 200), min_size=1)


@quick
@given(counts, st.integers(0, 60), st.integers(0, 6), st.integers(0, 6))
@example({0: 19}, 1, 0, 0)
@example({1: 19, 0: 1}, 0, 0, 0)
def test_a_bound_passes_fails_or_neither_exactly_by_its_share(counts, missing, a, b):
    low, high = sorted((a, b))
    outcome, _ = by_share("between", (low, high), spread(counts, missing=missing))
    total = sum(counts.values()) + missing
    inside = sum(count for value, count in counts.items() if low <= value <= high)
    if Fraction(inside, total) >= Fraction(19, 20):
        assert outcome == "passed"
    elif Fraction(inside + missing, total) <= Fraction(1, 20):
        assert outcome == "failed"
    else:
        assert outcome == "inconclusive"


@quick
@given(counts, st.integers(0, 60), st.integers(0, 6), st.integers(0, 6))
def test_a_wider_bound_is_never_worse(counts, missing, a, b):
    order = ("failed", "inconclusive", "passed")
    low, high = sorted((a, b))
    narrow, _ = by_share("between", (low, high), spread(counts, missing=missing))
    for wider in ((low - 1, high), (low, high + 1)):
        outcome, _ = by_share("between", wider, spread(counts, missing=missing))
        assert order.index(outcome) >= order.index(narrow)

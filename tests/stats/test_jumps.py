"""Jumps and their permutation test: planted courses, all orders by hand, invariances, drifts told apart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats import jumps, trend

values = st.lists(st.integers(-5, 5), min_size=3, max_size=5)


@given(values)
@settings(max_examples=40, deadline=None)
def test_the_p_of_a_jump_is_the_share_of_all_orders_over_every_place(y):
    def largest(row, sign):
        k, row = len(row), np.asarray(row, dtype=float)
        return max(sign(row[c:].mean() - row[:c].mean()) * math.sqrt(c * (k - c) / k) for c in range(1, k))

    found = jumps.jump(y, range(len(y)))
    for test, sign in (
        (found.rising, lambda d: d),
        (found.falling, lambda d: -d),
        (found.either, abs),
    ):
        own = largest(y, sign)
        each = [largest(order, sign) for order in itertools.permutations(y)]
        assert test.p == pytest.approx(np.mean([one >= own - 1e-7 for one in each]))
        assert test.least == pytest.approx(np.mean([one >= max(each) - 1e-7 for one in each]))


@pytest.mark.parametrize(
    ("y", "place", "p"),
    [
        ([24, 23, 24, 0, 0], 3, 1 / 10),
        ([24, 24, 24, 0, 0, 0], 3, 1 / 20),
        ([24, 23, 24, 25, 0, 1, 0, 2], 4, 1 / 70),
        ([24, 24, 24, 24, 24, 24, 24, 0], 7, 1 / 8),
    ],
)
def test_how_few_orders_jump_like_that_hangs_on_how_many_points_there_are_on_either_side(y, place, p):
    found = jumps.jump(y, range(len(y)))
    assert (found.place, found.exact) == (place, True)
    assert found.falling.p == found.falling.least == pytest.approx(p)
    assert found.size == pytest.approx(np.mean(y[place:]) - np.mean(y[:place]))
    assert found.rising.p > 0.5


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=7).filter(lambda y: len(set(y)) > 1))
@settings(max_examples=30, deadline=None)
def test_a_jump_does_not_hang_on_unit_and_zero_and_turns_with_the_values(y):
    steps = range(len(y))
    found, scaled = jumps.jump(y, steps), jumps.jump([1e3 * v + 77 for v in y], steps)
    turned = jumps.jump([-v for v in y], steps)
    assert (scaled.place, scaled.either, scaled.rising) == (found.place, found.either, found.rising)
    assert scaled.size == pytest.approx(1e3 * found.size)
    assert (turned.falling, turned.rising) == (found.rising, found.falling)
    assert 0 <= found.explained <= 1 + 1e-12


def test_a_drift_is_told_from_a_jump():
    step = jumps.jump([0, 0, 0, 0, 5, 5, 5, 5], range(8))
    drift = jumps.jump([0, 1, 2, 3, 4, 5, 6, 7], range(8))
    assert step.explained == pytest.approx(1)
    assert step.line < step.explained
    assert drift.line == pytest.approx(1)
    assert drift.explained < drift.line
    assert jumps.jump([1, 2, 4, 8, 16, 32], [1, 2, 4, 8, 16, 32]).line == pytest.approx(1), "over the steps as well"


def test_points_of_one_step_are_not_parted():
    assert jumps.jump([0, 9, 0, 9], [0, 1, 1, 2]).place != 2
    with pytest.raises(NothingToMeasure):
        jumps.jump([0, 9, 0], [5, 5, 5])
    with pytest.raises(RequestError):
        jumps.jump([0, 9, 0], [5, 6, 5])


def test_the_place_of_a_jump_is_as_sure_as_the_points_are():
    sure = trend.drawn([(9, 8.9, 9.1)] * 3 + [(0, -0.1, 0.1)] * 3, 400, 0)
    places, sizes = jumps.jump_places(sure, range(6))
    assert (places == 3).all()
    assert sizes.mean() == pytest.approx(-9, abs=0.1)
    blurred = trend.drawn([(9, 8.9, 9.1)] * 2 + [(4.5, -6, 15)] + [(0, -0.1, 0.1)] * 3, 400, 0)
    places, _ = jumps.jump_places(blurred, range(6))
    assert 0.2 < (places == 2).mean() < 0.8
    _, up = jumps.jump_places(sure, range(6), "rising")
    assert up.max() < 0.3

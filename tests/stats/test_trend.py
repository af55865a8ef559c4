"""Rank correlations, jumps and their permutation tests: planted courses, false alarms, invariances, scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats import jumps, orders, trend

values = st.lists(st.integers(-5, 5), min_size=3, max_size=5)


@st.composite
def pairs(draw):
    first = draw(st.lists(st.integers(-4, 4), min_size=3, max_size=6))
    second = draw(st.lists(st.integers(-4, 4), min_size=len(first), max_size=len(first)))
    assume(len(set(first)) > 1 and len(set(second)) > 1)
    return first, second


# --- Spearman --------------------------------------------------------------------------------------------------------


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_rho_is_scipys_with_ties(both):
    assert trend.spearman(*both) == pytest.approx(stats.spearmanr(*both).statistic, abs=1e-12)


@given(pairs())
@settings(max_examples=30, deadline=None)
def test_the_exact_p_is_the_share_of_all_orders(both):
    first, second = both
    found = trend.association(first, second)
    rhos = [trend.spearman(first, order) for order in itertools.permutations(second)]
    assert found.exact
    assert found.rising.p == pytest.approx(np.mean([rho >= found.rho - 1e-9 for rho in rhos]))
    assert found.falling.p == pytest.approx(np.mean([rho <= found.rho + 1e-9 for rho in rhos]))
    assert found.rising.least == pytest.approx(np.mean([rho >= max(rhos) - 1e-9 for rho in rhos]))
    assert found.rising.least <= found.rising.p


def test_the_exact_p_is_scipys_permutation_test():
    x, y = [1, 2, 3, 4, 5, 6], [2.0, 1.0, 4.0, 3.0, 5.0, 9.0]
    reference = stats.permutation_test(
        (y,), lambda row: stats.spearmanr(x, row).statistic, permutation_type="pairings", alternative="greater"
    )
    assert trend.association(x, y).rising.p == pytest.approx(reference.pvalue)


def test_drawn_orders_are_close_to_all_of_them(monkeypatch):
    rng = np.random.default_rng(3)
    y = np.arange(8) + rng.normal(size=8) * 4
    exact = trend.association(range(8), y)
    monkeypatch.setattr(orders, "EXACT", 7)
    orders.orders_of.cache_clear()
    drawn = trend.association(range(8), y, seed=1)
    orders.orders_of.cache_clear()
    assert exact.exact
    assert not drawn.exact
    assert drawn.rising.p == pytest.approx(exact.rising.p, abs=0.015)
    assert drawn.rising.p > 0


@given(pairs(), st.sampled_from([0.5, 3.0, 1e6]))
@settings(max_examples=30, deadline=None)
def test_only_the_order_of_values_matters(both, scale):
    first, second = both
    found = trend.association(first, second)
    stretched = trend.association(first, [math.atan(value) * scale + 7 for value in second])
    assert stretched == found
    turned = trend.association(first, [-value for value in second])
    assert turned.rho == pytest.approx(-found.rho)
    assert (turned.rising, turned.falling) == (found.falling, found.rising)


@pytest.mark.parametrize(("k", "least"), [(3, 1 / 6), (4, 1 / 24), (5, 1 / 120), (8, 1 / 40320)])
def test_the_least_p_of_k_different_values_is_one_order_in_all(k, least):
    found = trend.association(range(k), range(k))
    assert found.rho == 1
    assert found.rising.p == found.rising.least == pytest.approx(least)
    assert found.falling.p == 1


def test_ties_raise_the_least_p():
    assert trend.association(range(5), [24, 23, 24, 0, 0]).falling.least == pytest.approx(4 / 120)
    assert trend.association(range(5), [1, 0, 0, 0, 0]).falling.least == pytest.approx(1 / 5)


def test_a_constant_sequence_has_no_order():
    assert trend.spearman([1, 2, 3], [5, 5, 5]) is None
    found = trend.association([1, 2, 3], [5, 5, 5])
    assert (found.rho, found.rising.p, found.rising.least) == (None, 1.0, 1.0)


@pytest.mark.parametrize("bad", [[1.0, math.nan, 2.0], [1.0, math.inf, 2.0], [1.0, 2.0]])
def test_values_without_an_order_are_refused(bad):
    with pytest.raises(RequestError):
        trend.spearman([1, 2, 3], bad)


def test_two_points_are_no_correlation():
    with pytest.raises(NothingToMeasure, match="three points"):
        trend.association([1, 2], [1, 2])


@pytest.mark.parametrize("gen", ["normal", "ties"])
@pytest.mark.parametrize("k", [5, 7, 12])
def test_no_trend_and_no_jump_is_found_more_often_than_in_one_of_twenty(k, gen):
    """250 sequences in no order; the bound leaves three standard errors."""
    rng = np.random.default_rng([k, len(gen)])
    alarms = np.zeros(3)
    n = 250
    for _ in range(n):
        y = rng.normal(size=k) if gen == "normal" else rng.integers(0, 3, k)
        found, jump = trend.association(range(k), y), jumps.jump(y, range(k))
        alarms += [found.rising.p <= 0.05, jump.falling.p <= 0.05, jump.either.p <= 0.05]
    assert (alarms / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)).all(), alarms / n


def test_a_planted_trend_and_a_planted_jump_are_found():
    rng = np.random.default_rng(5)
    trends = leaps = 0
    for _ in range(100):
        noise = rng.normal(size=10)
        trends += trend.association(range(10), np.arange(10) + noise).rising.p <= 0.05
        leaps += jumps.jump(np.repeat([4.0, 0.0], 5) + noise, range(10)).falling.p <= 0.05
    assert trends >= 98
    assert leaps >= 98


# --- partial ---------------------------------------------------------------------------------------------------------


def test_two_measures_that_only_follow_training_do_not_go_with_each_other_beside_it():
    rng = np.random.default_rng(6)
    step = np.arange(200)
    first, second = (step + rng.normal(size=200) * 40 for _ in range(2))
    assert trend.spearman(first, second) > 0.5
    assert abs(trend.partial(first, second, step)) < 0.2
    driven = first + rng.normal(size=200) * 5
    assert trend.partial(first, driven, step) > 0.8
    assert trend.partial(step, second, step) is None, "nothing is left of it"


# --- intervals -------------------------------------------------------------------------------------------------------


def series(rng, n: int, phi: float, c: float):
    """Two autocorrelated series whose Spearman correlation is known."""
    noise = rng.normal(size=(n + 40, 2)) * math.sqrt(1 - phi**2)
    both = np.zeros_like(noise)
    for t in range(1, n + 40):
        both[t] = phi * both[t - 1] + noise[t]
    both = both[40:]
    return both[:, 0], c * both[:, 0] + math.sqrt(1 - c * c) * both[:, 1], 6 / math.pi * math.asin(c / 2)


@pytest.mark.parametrize(("phi", "c"), [(0.0, 0.0), (0.0, 0.6), (0.5, 0.6)])
def test_blocks_cover_a_known_correlation(phi, c, monkeypatch):
    """What `block_length` says, less two standard errors."""
    monkeypatch.setattr(trend, "RESAMPLES", 300)
    rng = np.random.default_rng([7, int(10 * phi), int(10 * c)])
    hits, n = 0, 80
    for i in range(n):
        x, y, truth = series(rng, 60, phi, c)
        low, high, how = trend.interval(x, y, seed=i)
        hits += low <= truth <= high
    assert hits / n >= 0.87 - 2 * math.sqrt(0.05 * 0.95 / n)
    assert "moving blocks of 8" in how


def test_blocks_keep_neighbours_together():
    """Neighbours that are alike hold less than they seem to: the interval is wider than that of single points."""
    rng = np.random.default_rng(8)
    x, y, _ = series(rng, 100, 0.9, 0.0)
    low, high, _ = trend.interval(x, y)
    order = rng.permutation(100)
    low_apart, high_apart, _ = trend.interval(x[order], y[order])
    assert high - low > 1.3 * (high_apart - low_apart)
    assert [trend.block_length(n) for n in (20, 25, 100)] == [5, 5, 10]


def test_few_points_have_no_blocks_and_take_the_uncertainty_of_the_points():
    with pytest.raises(NothingToMeasure, match="too few for blocks"):
        trend.interval(range(6), [1, 3, 2, 5, 4, 6])
    narrow = [(float(i), i - 0.1, i + 0.1) for i in range(6)]
    wide = [(float(i), i - 4.0, i + 4.0) for i in range(6)]
    low, high, how = trend.interval(range(6), range(6), second_redrawn=trend.drawn(narrow, 500, 0))
    assert (low, high) == (1.0, 1.0)
    assert how.startswith("every point redrawn")
    low, high, _ = trend.interval(range(6), range(6), second_redrawn=trend.drawn(wide, 500, 0))
    assert low < 0.4
    assert high == 1.0


def test_what_redrawing_takes_from_a_correlation_is_given_back():
    """Redraws of wide intervals agree less with the steps than the estimates do."""
    wide = [(float(i), i - 6.0, i + 6.0) for i in range(8)]
    low, high, _ = trend.interval(range(8), range(8), second_redrawn=trend.drawn(wide, 800, 0))
    redrawn = trend.drawn(wide, 800, 0)
    rhos = [trend.spearman(range(8), row) for row in redrawn]
    assert np.quantile(rhos, 0.975) < 1
    assert high == 1
    assert low == pytest.approx(np.quantile(rhos, 0.025), abs=1e-9)


def test_a_constant_sequence_has_no_interval():
    with pytest.raises(NothingToMeasure, match="constant"):
        trend.interval(range(30), [1.0] * 30)
    with pytest.raises(NothingToMeasure, match="constant in"):
        trend.interval(range(30), [1.0] + [0.0] * 29)


def test_redraws_have_the_interval_that_they_are_drawn_from():
    rows = trend.drawn([(0.3, 0.1, 0.4), (5.0, 5.0, 5.0)], 20_000, 1)
    assert np.quantile(rows[:, 0], [0.025, 0.5, 0.975]) == pytest.approx([0.1, 0.3, 0.4], abs=0.01)
    assert (rows[:, 1] == 5).all()


# --- differences and bounds ------------------------------------------------------------------------------------------


def test_a_difference_of_independent_rates_is_newcombes():
    """Newcombe 1998, Stat Med 17:873, table II, example (a), method 10: 56/70 − 48/80 has [0.0524, 0.3339]."""
    from geoaudit.stats.proportions import wilson

    a, b = (56 / 70, *wilson(56, 70)), (48 / 80, *wilson(48, 80))
    assert trend.difference(a, b) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    back = trend.difference(b, a)
    assert back == pytest.approx((-0.2, -0.3339, -0.0524), abs=5e-5)


@pytest.mark.parametrize(
    ("point", "limit", "p"),
    [
        ((0.5, 0.3, 0.7), 0.3, 0.025),
        ((0.5, 0.3, 0.7), 0.5, 1.0),
        ((0.5, 0.3, 0.7), 0.6, 1.0),
        ((0.5, 0.5, 0.5), 0.4, 0.0),
        ((0.5, 0.3, 0.5), 0.1, 1 - stats.norm.cdf(2 * stats.norm.ppf(0.975))),
    ],
)
def test_how_surely_a_limit_is_exceeded(point, limit, p):
    assert trend.p_beyond(point, limit) == pytest.approx(p, abs=1e-6)

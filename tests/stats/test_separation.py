from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.bootstrap import basic_interval, block_weights
from geoaudit.stats.separation import auroc, auroc_interval, d_prime, d_prime_replicates

scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12).map(lambda v: np.array(v, dtype=float))
quick = settings(deadline=None, derandomize=True, max_examples=60)


@quick
@given(scores, scores)
def test_it_is_the_share_of_pairs_won_with_ties_as_halves(positive: np.ndarray, negative: np.ndarray) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(np.mean(pairs))


@quick
@given(scores, scores, st.integers(0, 99))
def test_it_is_blind_to_order_and_to_rising_maps_and_turns_round(p: np.ndarray, n: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(p)
    assert auroc(np.exp(shuffled) * 7, np.exp(n) * 7) == pytest.approx(auroc(p, n))
    assert auroc(n, p) == pytest.approx(1 - auroc(p, n))


def test_known_values() -> None:
    assert auroc(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1.0
    assert auroc(np.array([0.0]), np.array([1.0, 2.0])) == 0.0
    assert auroc(np.ones(5), np.ones(9)) == 0.5
    assert auroc(np.array([np.inf, 0.0]), np.array([-np.inf])) == 1.0


@pytest.mark.parametrize("positive", [[], [1.0, np.nan]])
def test_an_empty_group_or_a_nan_has_no_separation(positive: list[float]) -> None:
    with pytest.raises(NothingToMeasure):
        auroc(np.array(positive), np.array([1.0]))
    with pytest.raises(NothingToMeasure):
        auroc(np.array([1.0]), np.array(positive))


floats = st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), min_size=2, max_size=12).map(np.array)


@quick
@given(scores, scores)
def test_it_is_the_u_statistic_of_scipy(positive: np.ndarray, negative: np.ndarray) -> None:
    from scipy.stats import mannwhitneyu

    expected = mannwhitneyu(positive, negative).statistic / (positive.size * negative.size)
    assert auroc(positive, negative) == pytest.approx(expected)


# --- its interval


@quick
@given(st.floats(0, 1), st.integers(1, 80), st.integers(1, 80))
def test_the_interval_holds_the_area_is_never_without_width_and_turns_round(area: float, n: int, m: int) -> None:
    low, high = auroc_interval(area, n, m)
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.003
    other = auroc_interval(1 - area, m, n)
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high), abs=1e-6)


def test_the_interval_is_the_inverted_standard_error() -> None:
    """At its ends the area is 1.96 standard errors away, each taken at the end itself."""
    n, m, area = 20, 30, 0.85
    half = (n + m) / 2 - 1
    for end in auroc_interval(area, n, m):
        variance = end * (1 - end) * (1 + half * ((1 - end) / (2 - end) + end / (1 + end))) / (n * m)
        assert abs(end - area) == pytest.approx(1.959964 * np.sqrt(variance), abs=1e-6)


def test_ten_prompts_in_order_do_not_prove_that_all_are() -> None:
    """The naive interval: every resample of perfectly separated scores is perfectly separated."""
    positive, negative = np.arange(10.0) + 20, np.arange(10.0)
    drawn = [auroc(positive[rows], negative[rows]) for rows in np.random.default_rng(0).integers(0, 10, (200, 10))]
    assert basic_interval(1.0, np.array(drawn)) == (1.0, 1.0)
    low, high = auroc_interval(1.0, 10, 10)
    assert (low, high) == (pytest.approx(0.82, abs=0.02), 1.0)
    assert auroc_interval(0.0, 10, 10)[0] == 0.0
    assert auroc_interval(1.0, 64, 64)[0] > 0.96


def test_more_prompts_make_it_narrower() -> None:
    widths = [np.ptp(auroc_interval(0.9, n, n)) for n in (8, 32, 128)]
    assert widths == sorted(widths, reverse=True)


def test_the_interval_covers_where_a_bootstrap_does_not() -> None:
    """Two normal groups of 32 with a true area of 0.99."""
    from scipy.stats import norm

    shift, held = np.sqrt(2) * norm.ppf(0.99), 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        area = auroc(shift + generator.standard_normal(32), generator.standard_normal(32))
        low, high = auroc_interval(area, 32, 32)
        held += low <= 0.99 <= high
    assert held >= 0.93 * 200


def test_what_is_no_area_or_no_group_has_no_interval() -> None:
    for area in (-0.1, 1.1, np.nan):
        with pytest.raises(RequestError, match="area"):
            auroc_interval(area, 5, 5)
    for n, m in ((0, 5), (5, 0)):
        with pytest.raises(NothingToMeasure, match="empty"):
            auroc_interval(0.5, n, m)


# --- d_prime


@quick
@given(st.integers(2, 12), st.integers(0, 10**6), st.floats(0.1, 1e3))
def test_for_equal_groups_it_is_students_t_rescaled(n: int, seed: int, scale: float) -> None:
    from scipy.stats import ttest_ind

    positive, negative = scale * np.random.default_rng(seed).standard_normal((2, n)) + 7
    expected = ttest_ind(positive, negative).statistic * np.sqrt(2 / n)
    assert d_prime(positive, negative) == pytest.approx(expected)


@quick
@given(floats, floats)
def test_d_prime_is_its_formula_or_there_is_none(positive: np.ndarray, negative: np.ndarray) -> None:
    spread = np.sqrt((np.var(positive, ddof=1) + np.var(negative, ddof=1)) / 2)
    if np.ptp(positive) == 0 and np.ptp(negative) == 0:
        with pytest.raises(NothingToMeasure, match="no scale"):
            d_prime(positive, negative)
        return
    value = d_prime(positive, negative)
    assert np.isfinite(value)
    assert value == pytest.approx((positive.mean() - negative.mean()) / spread, rel=1e-6, abs=1e-9)
    assert d_prime(negative, positive) == pytest.approx(-value)
    assert d_prime(-3 * positive, -3 * negative) == pytest.approx(-value, rel=1e-6, abs=1e-9)


def test_planted_distances_are_found_and_none_is_found_between_alike_groups() -> None:
    generator = np.random.default_rng(0)
    positive, negative = generator.standard_normal((2, 4000))
    for planted in (0.0, 1.0, 5.0):
        assert d_prime(positive + planted, negative) == pytest.approx(planted, abs=0.15)
    assert d_prime(3 * (positive + 2), 3 * negative) == pytest.approx(2.0, abs=0.1)


def test_it_goes_on_where_the_area_is_full() -> None:
    positive, negative = np.arange(5.0), np.arange(5.0)
    near, far = (d_prime(positive + shift, negative) for shift in (10, 20))
    assert auroc(positive + 10, negative) == auroc(positive + 20, negative) == 1.0
    assert far == pytest.approx(2 * near)


@pytest.mark.parametrize(
    ("positive", "negative"),
    [
        ([1.0, 1.0], [2.0, 2.0]),
        ([1.0, 1.0], [1.0, 1.0]),
        ([0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2]),
        ([1e9 + 1e-6, 1e9], [1e9, 1e9]),
        ([0.1 + 0.2, 0.3], [1.0, 1.0]),
        ([1.0], [0.0, 1.0]),
        ([1.0, 2.0], []),
        ([1.0, np.nan], [0.0, 1.0]),
        ([1.0, np.inf], [0.0, 1.0]),
    ],
)
def test_without_spread_or_scores_there_is_no_d_prime_and_never_infinity(
    positive: list[float], negative: list[float]
) -> None:
    for one, other in ((positive, negative), (negative, positive)):
        with pytest.raises(NothingToMeasure):
            d_prime(np.array(one), np.array(other))


def test_scores_without_spread_on_one_side_still_have_a_scale() -> None:
    assert d_prime(np.array([3.0, 3.0, 3.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(2 * np.sqrt(2))


def test_large_scores_do_not_overflow() -> None:
    scores = np.array([1.0, 2.0, 4.0])
    assert d_prime(1e200 * scores, 1e200 * (scores - 2)) == pytest.approx(d_prime(scores, scores - 2))


def test_replicates_are_d_prime_of_the_redrawn_scores() -> None:
    generator = np.random.default_rng(1)
    positive, negative = generator.standard_normal(7) + 1, generator.standard_normal(5)
    ones, others = block_weights(7, 20, 0), block_weights(5, 20, 1)
    found = d_prime_replicates(positive, negative, ones, others)
    expected = [
        d_prime(np.repeat(positive, one), np.repeat(negative, other)) for one, other in zip(ones, others, strict=True)
    ]
    np.testing.assert_allclose(found, expected)
    lonely = d_prime_replicates(positive, negative, 7 * np.eye(7)[:1], 5 * np.eye(5)[:1])
    assert np.isnan(lonely).all(), "one score drawn again and again has no spread"
    with pytest.raises(RequestError, match="weights"):
        d_prime_replicates(positive, negative, ones, others[:3])
    with pytest.raises(RequestError, match="weights"):
        d_prime_replicates(positive, negative, others, others)

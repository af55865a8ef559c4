"""A target is nothing special until it ranks beyond its controls, in one cell or in many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.randomisation import Side, beside_p, controls_needed, max_t, rank_p
from tests.tools.intervention_simulations import family, null_p_values, power

sides = st.sampled_from(["greater", "less", "either"])
seeds = st.integers(0, 10**6)

# --- one target ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-2, 2), max_size=60), st.floats(-2, 2))
def test_the_rank_p_value_counts_itself(values, target):
    p = rank_p(target, np.array(values), "greater")
    assert 1 / (1 + len(values)) <= p <= 1
    assert p == (1 + sum(value >= target for value in values)) / (1 + len(values))
    assert rank_p(target, np.array(values)) == p, "by default more is more extreme"
    if len(values) < controls_needed():
        assert p > 0.05


@given(st.lists(st.floats(-2, 2), max_size=60), st.floats(-2, 2))
def test_less_is_greater_of_the_negatives_and_either_is_twice_the_smaller(values, target):
    drawn = np.array(values)
    less, greater = (rank_p(target, drawn, side) for side in ("less", "greater"))
    assert less == rank_p(-target, -drawn, "greater")
    assert rank_p(target, drawn, "either") == min(1.0, 2 * min(less, greater))


@pytest.mark.parametrize("side", ["greater", "less", "either"])
def test_what_has_no_number_never_looks_rare(side: Side):
    controls = np.arange(99.0)
    far = 1000.0 if side == "greater" else -1000.0
    assert rank_p(far, controls, side) == (0.02 if side == "either" else 0.01)
    assert rank_p(math.nan, controls, side) == 1
    controls[:9] = math.nan
    assert rank_p(far, controls, side) == (0.2 if side == "either" else 0.1)
    assert rank_p(far, np.array([]), side) == 1


@pytest.mark.parametrize("side", ["greater", "less", "either"])
@pytest.mark.parametrize("level", [0.05, 0.01, 0.025, 0.2, 0.07])
def test_how_many_controls_are_needed(level: float, side: Side):
    m = controls_needed(level, side)
    far = -1.0 if side == "less" else 2.0
    assert rank_p(far, np.linspace(0, 1, m), side) <= level + 1e-12
    assert rank_p(far, np.linspace(0, 1, m - 1), side) > level + 1e-12


def test_the_numbers_that_are_quoted():
    assert [controls_needed(), controls_needed(0.01), controls_needed(0.05, "either")] == [19, 99, 39]
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(RequestError, match="level"):
            controls_needed(bad)
    for ask in (lambda: rank_p(0.0, np.zeros(3), "both"), lambda: controls_needed(0.05, "more")):
        with pytest.raises(RequestError, match="a side is one of greater, less, either"):
            ask()


@pytest.mark.parametrize("law", ["normal", "heavy", "skewed"])
@pytest.mark.parametrize("side", ["greater", "either"])
def test_p_values_of_one_more_control_are_uniform(law: str, side: Side):
    """500 seeds; spread over the steps of their grid they are exactly uniform."""
    p_values, smooth = null_p_values(law, 8, 19, side, 500, 11)
    assert kstest(smooth, "uniform").pvalue > 0.01
    assert (p_values <= 0.05).mean() <= 0.08
    assert smooth.min() >= 0


def test_p_values_of_rates_with_their_ties_are_no_smaller():
    p_values, smooth = null_p_values("rates", 8, 19, "greater", 500, 11)
    assert (p_values <= 0.05).mean() <= 0.06
    assert kstest(smooth, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(smooth) > 0.55, "ties count as doing as much"


def test_power_grows_with_prompts_controls_and_the_effect():
    weak, strong = power("normal", 8, 19, 0.5, 60, 5), power("normal", 32, 99, 2.0, 60, 5)
    assert strong.p_05 == 1
    assert strong.p_01 > 0.8
    assert strong.interval == 1
    assert weak.p_05 < 0.6
    assert weak.p_01 == 0, "19 controls cannot reach it"
    few = power("normal", 32, 19, 2.0, 60, 5)
    assert few.p_05 > 0.7
    assert few.p_01 == 0


# --- several cells ---------------------------------------------------------------------------------------------------


def cells(seed: int, draws: int = 12, n: int = 4, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers, so that there are ties, and a target that is one more draw."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(-4, 5, size=(draws + 1, n)).astype(float)
    return drawn[0] + effect, drawn[1:]


def naive(target: np.ndarray, draws: np.ndarray, side: Side) -> tuple[list[float], list[float]]:
    """Single-step and step-down as Westfall and Young state them, cell by cell."""
    rows = np.vstack([target, draws])
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    z = {"greater": z, "less": -z, "either": np.abs(z)}[side]
    n, order = len(draws), np.argsort(-z[0], kind="stable")

    def p(j: int, among: list[int]) -> float:
        return (1 + sum(max(row[i] for i in among) >= z[0, j] - 1e-9 for row in z[1:])) / (1 + n)

    single = [p(j, list(range(target.size))) for j in range(target.size)]
    down, largest = [0.0] * target.size, 0.0
    for rank, j in enumerate(order):
        largest = max(largest, p(j, list(order[rank:])))
        down[j] = largest
    return single, down


@given(seeds, sides, st.integers(1, 6), st.sampled_from([0.0, 3.0, -3.0]))
def test_max_t_agrees_with_the_procedure_as_it_is_stated(seed, side, n, effect):
    target, draws = cells(seed, n=n, effect=effect)
    found = max_t(target, draws, side)
    single, down = naive(target, draws, side)
    np.testing.assert_allclose(found.single_step, single)
    np.testing.assert_allclose(found.step_down, down)


@given(seeds, sides, st.integers(1, 6))
def test_adjusting_makes_no_p_value_smaller_and_stepping_down_none_larger(seed, side, n):
    found = max_t(*cells(seed, n=n), side)
    assert (found.raw <= found.step_down).all()
    assert (found.step_down <= found.single_step).all()
    assert (found.raw >= 1 / 13).all()
    order = np.argsort(-found.statistic)
    for adjusted in (found.single_step, found.step_down):
        assert (np.diff(adjusted[order]) >= 0).all(), "the more extreme cell has the smaller value"
    assert found.step_down.min() == found.single_step.min()


@given(seeds, st.sampled_from(["greater", "less"]))
def test_one_cell_is_the_rank_p_value(seed, side):
    target, draws = cells(seed, n=1)
    found = max_t(target, draws, side)
    assert found.raw[0] == found.step_down[0] == found.single_step[0] == rank_p(target[0], draws[:, 0], side)


@given(seeds, st.integers(2, 6))
def test_each_cell_alone_is_ranked_in_it(seed, n):
    target, draws = cells(seed, n=n)
    assert max_t(target, draws, "greater").raw.tolist() == [rank_p(target[j], draws[:, j]) for j in range(n)]


@given(seeds, sides, st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.floats(-1000, 1000))
def test_the_units_of_a_cell_do_not_matter(seed, side, scales, shift):
    target, draws = cells(seed)
    one, other = max_t(target, draws, side), max_t(target * scales + shift, draws * scales + shift, side)
    opposite = {"greater": "less", "less": "greater", "either": "either"}[side]
    mirrored = max_t(-target * scales, -draws * scales, opposite)
    for name in ("raw", "single_step", "step_down"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(getattr(one, name), getattr(mirrored, name))
    np.testing.assert_allclose(one.statistic, other.statistic, atol=1e-6)


@given(seeds, sides, st.permutations(range(4)))
def test_the_order_of_cells_and_of_draws_does_not_matter(seed, side, order):
    target, draws = cells(seed)
    one = max_t(target, draws, side)
    other = max_t(target[list(order)], draws[::-1, list(order)], side)
    np.testing.assert_array_equal(one.single_step[list(order)], other.single_step)
    np.testing.assert_array_equal(one.step_down[list(order)], other.step_down)


@given(seeds, st.floats(0, 20))
def test_a_target_that_does_more_has_no_larger_p(seed, more):
    target, draws = cells(seed)
    larger = target.copy()
    larger[0] += more
    assert max_t(larger, draws, "greater").single_step[0] <= max_t(target, draws, "greater").single_step[0]


@pytest.mark.parametrize("broken", ["target", "draw", "infinite", "constant", "rounding"])
@pytest.mark.parametrize("side", ["greater", "less", "either"])
def test_a_cell_that_cannot_be_tested_has_p_one_and_leaves_the_others_alone(broken: str, side: Side):
    target, draws = cells(3, draws=30, n=5, effect=-20.0 if side == "less" else 20.0)
    alone = max_t(np.delete(target, 2), np.delete(draws, 2, axis=1), side)
    if broken == "target":
        target[2] = math.nan
    elif broken in ("draw", "infinite"):
        draws[7, 2] = math.nan if broken == "draw" else math.inf
    else:
        draws[:, 2] = 0.1 + (np.arange(30) % 2) * (1e-17 if broken == "constant" else 1e-14)
    found = max_t(target, draws, side)
    assert (found.raw[2], found.single_step[2], found.step_down[2]) == (1, 1, 1)
    assert math.isnan(found.statistic[2])
    for name in ("statistic", "raw", "single_step", "step_down"):
        np.testing.assert_array_equal(np.delete(getattr(found, name), 2), getattr(alone, name))
    assert alone.step_down.max() == 1 / 31, "the others were found"


def test_nothing_that_can_be_tested():
    found = max_t(np.array([math.nan, 1.0]), np.ones((5, 2)))
    assert found.raw.tolist() == found.step_down.tolist() == [1, 1]
    with pytest.raises(NothingToMeasure, match="0 cells against 9 draws"):
        max_t(np.array([]), np.empty((9, 0)))
    with pytest.raises(NothingToMeasure, match="2 cells against 0 draws"):
        max_t(np.zeros(2), np.empty((0, 2)))
    with pytest.raises(RequestError, match="same cells"):
        max_t(np.zeros(3), np.zeros((5, 2)))
    with pytest.raises(RequestError, match="a side"):
        max_t(np.zeros(2), np.zeros((5, 2)), "both")


@pytest.mark.parametrize("side", ["greater", "either"])
@pytest.mark.parametrize("law", ["normal", "skewed"])
def test_any_wrong_call_in_a_family_is_as_rare_as_it_says(law: str, side: Side):
    """600 families of 12 cells; standardised by the draws alone the usual procedure calls too often."""
    found = family(law, 12, 19, side, 600, 2)
    assert found.single_step <= 0.075
    assert found.step_down <= 0.075
    assert found.planted_wrong <= 0.075
    assert found.planted_found > 0.9
    assert found.unadjusted > 0.2


def test_large_values_neither_overflow_nor_vanish():
    target, draws = cells(1)
    one = max_t(target, draws)
    for scale in (1e200, 1e-200):
        np.testing.assert_array_equal(max_t(target * scale, draws * scale).single_step, one.single_step)


@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60),
    target=st.floats(-1e3, 1e3),
    side=st.sampled_from(["greater", "less", "either"]),
    dimensions=st.floats(1, 500),
)
def test_few_dimensions_never_make_a_p_value_smaller(values, target, side, dimensions):
    rank = rank_p(target, np.array(values), side)
    p = beside_p(target, np.array(values), side, dimensions)
    assert rank <= p <= 1
    if p < 0.5:
        assert beside_p(target, np.array(values), side, dimensions + 100) <= p, "more dimensions, more to go by"
    for unknown in (None, math.inf):
        assert beside_p(target, np.array(values), side, unknown) == rank


def test_in_few_dimensions_a_target_just_beyond_its_controls_is_nothing_special():
    controls = np.linspace(-1, 1, 39)
    assert rank_p(1.2, controls, "either") == 0.05
    assert beside_p(1.2, controls, "either", 4.0) > 0.1
    assert beside_p(12.0, controls, "either", 4.0) == 0.05, "one that is far beyond them still is"
    assert beside_p(12.0, np.append(controls, math.nan), "greater", 4.0) == rank_p(12.0, np.append(controls, math.nan))
    assert beside_p(math.nan, controls, "either", 4.0) == 1


def test_the_tail_is_that_of_a_two_sample_t_test_with_known_freedom():
    from scipy import stats

    controls = np.random.default_rng(5).standard_normal(40)
    freedom = 1 / (1 / 6 + 1 / 39)
    t = (1.0 - controls.mean()) / np.sqrt(controls.var(ddof=1) * (1 + 1 / 40))
    assert beside_p(1.0, controls, "greater", 6.0) == pytest.approx(
        max(rank_p(1.0, controls, "greater"), stats.t.sf(t, freedom))
    )


def test_targets_that_are_one_more_control_in_few_dimensions_are_rarely_special():
    from tests.tools.control_null import categories_null

    p = categories_null(6, 39, 300, seed=39)
    naive, allowed = (p <= 0.05).mean(axis=0)
    assert naive > 0.09, "the rank alone calls a seventh of them special"
    assert allowed <= 0.09

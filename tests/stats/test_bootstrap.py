from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans, differences
from geoaudit.geometry.spectrum import (
    effective_rank_energy,
    effective_rank_singular_values,
    participation_ratio,
    singular_values,
)
from geoaudit.stats.bootstrap import basic_interval, block_weights, discrete_interval

Statistic = Callable[[np.ndarray], np.ndarray]


def test_a_resample_draws_as_many_blocks_as_there_are() -> None:
    weights = block_weights(32, 400, seed=1)
    assert weights.shape == (400, 32)
    assert (weights.sum(axis=1) == 32).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(32), abs=0.25)
    assert (weights == 0).mean() == pytest.approx(math.exp(-1), abs=0.03)  # with replacement


def test_resamples_follow_from_the_seed() -> None:
    np.testing.assert_array_equal(block_weights(8, 5, seed=3), block_weights(8, 5, seed=3))
    assert not np.array_equal(block_weights(8, 5, seed=(3, 0)), block_weights(8, 5, seed=(3, 1)))
    with pytest.raises(NothingToMeasure, match="two blocks"):
        block_weights(1, 5, seed=3)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10**6), st.floats(-5, 5), st.floats(0.01, 10))
def test_the_interval_mirrors_the_replicates_around_the_estimate(seed: int, estimate: float, scale: float) -> None:
    replicates = np.random.default_rng(seed).exponential(scale, 200)
    low, high = basic_interval(estimate, replicates)
    q_low, q_high = np.quantile(replicates, [0.025, 0.975])
    assert (low, high) == pytest.approx((2 * estimate - q_high, 2 * estimate - q_low))
    inner = basic_interval(estimate, replicates, level=0.5)
    assert low <= inner[0] <= inner[1] <= high
    clipped = basic_interval(estimate, replicates, bounds=(estimate - 0.1, estimate + 0.1))
    assert estimate - 0.1 <= clipped[0] <= clipped[1] <= estimate + 0.1


def test_an_interval_beyond_the_range_does_not_shrink_to_a_point_on_its_end() -> None:
    # estimate 1.05 with replicates near 1.2: reflected to 0.9, below the least possible rank of 1
    replicates = np.linspace(1.15, 1.25, 200)
    assert basic_interval(1.05, replicates, bounds=(1, 10)) == (1, 1.05)
    assert basic_interval(0.97, np.linspace(0.85, 0.90, 200), bounds=(-1, 1)) == (0.97, 1)


def test_missing_replicates_are_refused_beyond_one_in_a_hundred() -> None:
    replicates = np.random.default_rng(0).standard_normal(1000)
    replicates[:10] = np.nan
    assert basic_interval(0.0, replicates) == pytest.approx((-1.96, 1.96), abs=0.2)
    replicates[10] = np.inf
    with pytest.raises(NothingToMeasure, match="11 of 1000"):
        basic_interval(0.0, replicates)
    with pytest.raises(NothingToMeasure, match="99 finite replicates"):
        basic_interval(0.0, replicates[11:110])
    with pytest.raises(NothingToMeasure, match="estimate of nan"):
        basic_interval(math.nan, replicates[11:])
    with pytest.raises(RequestError, match="level"):
        basic_interval(0.0, replicates[11:], level=0.0)


def test_a_discrete_interval_holds_the_central_mass() -> None:
    layers = np.repeat([3.0, 10.0, 11.0, 20.0], [20, 700, 260, 20])  # 2 % outside on either side
    found = discrete_interval(layers)
    assert (found.low, found.high) == (10, 11)
    assert found.modal_share == 0.7
    assert discrete_interval(layers, level=0.99)[:2] == (3, 20)
    assert discrete_interval(np.full(100, 7))[:2] == (7, 7)


def test_resamples_without_a_choice_count_against_the_interval() -> None:
    layers = np.repeat([3.0, 10.0, 20.0, np.nan], [20, 940, 20, 20])
    found = discrete_interval(layers)
    assert (found.low, found.high) == (3, 20)  # 2 % missing leaves 1.5 % to trim on a side
    assert found.modal_share == 0.94
    layers[:60] = np.nan
    with pytest.raises(NothingToMeasure, match="80 of 1000 resamples have no outcome"):
        discrete_interval(layers)
    with pytest.raises(NothingToMeasure, match="99 resamples with an outcome"):
        discrete_interval(np.full(99, 7.0))
    with pytest.raises(RequestError, match="whole numbers"):
        discrete_interval(np.full(200, 7.5))


ROWS, WIDTH, BLOCKS, PROMPTS, TRIALS, RESAMPLES = 12, 40, 32, 5, 100, 200


def coverage(statistic: Statistic, noise: float) -> tuple[float, float, float]:
    """Share of trials in which the basic and the percentile interval hold the truth, and in which basic lies above it.

    Truth: 12 rows in three dimensions of weights 9 : 2.25 : 0.49, seen through 2 × 160 prompts in 32 blocks each.
    """
    generator = np.random.default_rng(7)
    basis = np.linalg.qr(generator.standard_normal((WIDTH, 3)))[0].T
    planted = (generator.standard_normal((ROWS, 3)) * [3, 1.5, 0.7]) @ basis
    truth = float(statistic(singular_values(planted)))
    kept = np.ones((1, ROWS), dtype=bool)

    def seen(mean: np.ndarray) -> BlockMeans:
        blurred = mean + noise / math.sqrt(PROMPTS) * generator.standard_normal((BLOCKS, 1, ROWS, WIDTH))
        return BlockMeans(np.full(BLOCKS, PROMPTS), blurred.astype(np.float32))

    basic = percentile = above = 0
    for trial in range(TRIALS):
        harmful, harmless = seen(planted), seen(np.zeros_like(planted))
        weights, other = (block_weights(BLOCKS, RESAMPLES, (trial, stream)) for stream in (0, 1))
        replicates = statistic(singular_values(differences(harmful, harmless, weights, other)[:, kept]))
        estimate = float(statistic(singular_values(differences(harmful, harmless)[kept])))
        low, high = basic_interval(estimate, replicates, bounds=(1, ROWS))
        basic += low <= truth <= high
        above += truth < low
        q_low, q_high = np.quantile(replicates, [0.025, 0.975])
        percentile += q_low <= truth <= q_high
    return basic / TRIALS, percentile / TRIALS, above / TRIALS


@pytest.mark.parametrize(
    ("statistic", "noise"), [(effective_rank_energy, 1.0), (effective_rank_energy, 2.0), (participation_ratio, 2.0)]
)
def test_the_basic_interval_covers_where_the_percentile_interval_never_does(statistic: Statistic, noise: float) -> None:
    """Measured: basic 0.97–1.00, percentile 0.00, with 4 % and 15 % of the matrix's energy from noise."""
    basic, percentile, _ = coverage(statistic, noise)
    assert basic >= 0.9
    assert percentile <= 0.05


@pytest.mark.parametrize(("statistic", "noise"), [(effective_rank_energy, 4.0), (effective_rank_singular_values, 0.5)])
def test_where_the_basic_interval_does_not_cover_it_errs_upwards(statistic: Statistic, noise: float) -> None:
    """The known limit: too much noise, or a statistic that noise enters by amplitude. Upper bounds stay safe."""
    basic, _, above = coverage(statistic, noise)
    assert basic + above == pytest.approx(1.0)
    assert above > 0.5

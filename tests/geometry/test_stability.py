from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import stability
from geoaudit.geometry.directions import BlockMeans, differences, norms, split_half_cosine
from geoaudit.geometry.stability import (
    block_products,
    cone,
    cone_error,
    noise_share,
    norm_interval,
    norm_replicates,
    split_half,
    split_half_error,
)
from geoaudit.stats.bootstrap import block_weights

quick = settings(deadline=None, derandomize=True, max_examples=25)
D, BLOCKS = 24, 16


def sides(
    signal: float = 1.0, noise: float = 0.5, seed: int = 0, *, d: int = D, shared: float = 0.0, sizes=None
) -> tuple[BlockMeans, BlockMeans]:
    """Two sets at 1 × 2 sites, without a difference at the second; `shared` is noise that twins have in common."""
    generator = np.random.default_rng(seed)
    count = np.full(BLOCKS, 5) if sizes is None else np.asarray(sizes)
    shape = (count.size, 1, 2, d)
    common = shared * generator.standard_normal(shape)
    means = []
    for amount in (signal, 0.0):
        mean = 50 + common + noise * generator.standard_normal(shape)
        mean[:, :, 0, 0] += amount
        means.append(BlockMeans(count, mean.astype(np.float32)))
    return means[0], means[1]


# --- the same numbers as straightforward code gives


def test_replicates_are_the_norms_of_redrawn_differences() -> None:
    one, other = sides()
    drawn = (block_weights(BLOCKS, 30, (3, 0)), block_weights(BLOCKS, 30, (3, 1)))
    expected = norms(differences(one, other, *drawn))
    np.testing.assert_allclose(norm_replicates(block_products(one, other), 3, 30), expected, rtol=1e-6)
    twins = norm_replicates(block_products(one, other, twins=True), 3, 30)
    np.testing.assert_allclose(twins, norms(differences(one, other, drawn[0], drawn[0])), rtol=1e-6)


def test_split_halves_agree_with_the_plain_ones() -> None:
    one, other = sides()
    found = split_half(block_products(one, other), 0, 400)
    for layer in (0, 1):
        plain = split_half_cosine(one, other, 0, layer, seed=1, n=400).mean()
        assert found[0, layer] == pytest.approx(plain, abs=0.03)


def test_the_cone_is_the_quantile_of_angles_to_redrawn_directions() -> None:
    one, other = sides()
    drawn = differences(one, other, block_weights(BLOCKS, 200, (3, 0)), block_weights(BLOCKS, 200, (3, 1)))[:, 0, 0]
    whole = differences(one, other)[0, 0]
    cosines = drawn @ whole / norms(drawn) / norms(whole)
    expected = np.quantile(np.degrees(np.arccos(cosines)), 0.9)
    assert cone(block_products(one, other), 3, 200, 0.9)[0, 0] == pytest.approx(expected, rel=1e-5)


def test_empty_blocks_and_blocks_of_different_sizes_count_as_they_should() -> None:
    one, other = sides(sizes=[3, 1, 5, 2])
    empty = BlockMeans(np.array([3, 1, 0, 5, 2]), np.insert(one.mean, 2, np.nan, axis=0))
    plain, gap = block_products(one, other), block_products(empty, other)
    np.testing.assert_allclose(gap.product, plain.product, rtol=1e-6)
    weights = block_weights(4, 10, (0, 0)), block_weights(4, 10, (0, 1))
    np.testing.assert_allclose(norm_replicates(gap, 0, 10), norms(differences(one, other, *weights)), rtol=1e-6)


# --- what they say


def test_a_planted_direction_is_firm_and_noise_is_not() -> None:
    products = block_products(*sides(signal=6.0))
    halves, cones, noise = split_half(products, 0), cone(products, 0), noise_share(products)
    assert halves[0, 0] > 0.9
    assert abs(halves[0, 1]) < 0.4
    assert cones[0, 0] < 20
    assert cones[0, 1] > 35
    assert noise[0, 0] < 0.1
    assert noise[0, 1] > 0.6


@pytest.mark.parametrize(("signal", "noise"), [(2.0, 0.5), (1.0, 0.5), (1.0, 1.0)])
def test_the_noise_is_what_was_put_in(signal: float, noise: float) -> None:
    planted = 2 * D * noise**2 / BLOCKS
    expected = planted / (signal**2 + planted)
    found = [noise_share(block_products(*sides(signal, noise, seed)))[0, 0] for seed in range(30)]
    assert np.mean(found) == pytest.approx(expected, rel=0.15)


def test_the_noise_is_the_unbiased_one() -> None:
    one, other = sides()
    planted = sum(each.mean.astype(float).var(axis=0, ddof=1).sum(axis=-1) / BLOCKS for each in (one, other))
    energy = norms(differences(one, other)) ** 2
    np.testing.assert_allclose(noise_share(block_products(one, other)), planted / energy, rtol=1e-5)


def test_a_large_common_activation_costs_no_digits() -> None:
    one, other = sides(signal=0.0, noise=0.0)
    large = [BlockMeans(each.count, np.full(each.mean.shape, 2.0**20, dtype=np.float32)) for each in (one, other)]
    large[0].mean[..., 0] += 0.125
    for twins in (False, True):
        found = norm_replicates(block_products(*large, twins=twins), 0, 10)
        np.testing.assert_allclose(found, 0.125, rtol=1e-9)


def test_halves_agree_as_signal_and_noise_ask() -> None:
    """cos ≈ S/(S + N) with N the squared norm of a half's noise: twice that of the whole."""
    noise = 2 * D * 0.5**2 / BLOCKS
    found = [split_half(block_products(*sides(1.0, 0.5, seed)), 0)[0, 0] for seed in range(30)]
    assert np.mean(found) == pytest.approx(1 / (1 + 2 * noise), abs=0.05)


def test_what_twins_share_is_no_noise() -> None:
    """The negative control: drawn independently of each other the same blocks look like noise."""
    one, other = sides(signal=1.0, noise=0.05, shared=2.0)
    together, apart = block_products(one, other, twins=True), block_products(one, other)
    assert noise_share(together)[0, 0] < 0.05 < 0.5 < noise_share(apart)[0, 0]
    assert split_half(together, 0)[0, 0] > 0.9 > 0.5 > split_half(apart, 0)[0, 0]
    assert cone(together, 0)[0, 0] < 15 < 30 < cone(apart, 0)[0, 0]


def test_without_noise_everything_is_firm() -> None:
    products = block_products(*sides(noise=0.0), twins=True).at(0, 0)
    assert split_half(products, 0) == pytest.approx(1.0)
    assert cone(products, 0) == pytest.approx(0.0, abs=1e-3)
    assert noise_share(products) == pytest.approx(0.0, abs=1e-12)
    assert split_half_error(products, 0) == pytest.approx(0.0, abs=1e-9)


def test_where_there_is_no_difference_there_is_no_cone() -> None:
    products = block_products(*sides(noise=0.0), twins=True).at(0, 1)
    assert np.isnan(split_half(products, 0)).all()
    assert np.isnan(cone(products, 0)).all()
    assert np.isposinf(noise_share(products)).all()


@quick
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100), twins=st.booleans())
def test_bounds_and_what_nothing_depends_on(seed: int, scale: float, twins: bool) -> None:
    one, other = sides(seed=seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]
    changed = [
        BlockMeans(each.count, (scale * (each.mean - 50.0) @ turn + 3.0).astype(np.float32)) for each in (one, other)
    ]
    before, after = block_products(one, other, twins=twins), block_products(*changed, twins=twins)
    swapped = block_products(other, one, twins=twins)
    for function in (lambda p: split_half(p, 1, 20), lambda p: cone(p, 1, 50), noise_share):
        value = function(before)
        np.testing.assert_allclose(function(after), value, rtol=1e-3, atol=1e-3)
        if twins:
            np.testing.assert_allclose(function(swapped), value, rtol=1e-6, atol=1e-6)
    assert (np.abs(split_half(before, 1, 20)) <= 1).all()
    assert ((cone(before, 1, 50) >= 0) & (cone(before, 1, 50) <= 180)).all()
    assert (cone(before, 1, 50, 0.5) <= cone(before, 1, 50, 0.95)).all()
    np.testing.assert_array_equal(cone(before, 1, 50), cone(before, 1, 50))


# --- intervals and standard errors


def test_the_interval_of_a_norm_holds_the_planted_one_where_the_plain_one_does_not() -> None:
    held, plain = 0, 0
    for seed in range(60):
        products = block_products(*sides(1.0, 0.3, seed), twins=True).at(0, 0)
        low, high = norm_interval(products, 0, 200)
        held += low <= 1.0 <= high
        drawn = norm_replicates(products, 0, 200)[:, 0, 0]
        plain += np.quantile(drawn, 0.025) <= 1.0 <= np.quantile(drawn, 0.975)
    assert held >= 54
    assert plain < 40, "the percentile interval keeps the noise twice"


def test_the_interval_of_a_norm_may_reach_zero_and_no_further() -> None:
    low, high = norm_interval(block_products(*sides(0.0, 1.0)).at(0, 0), 0, 200)
    assert low == 0.0 < high
    quiet = norm_interval(block_products(*sides(3.0, 0.0)).at(0, 0), 0, 200)
    assert quiet == pytest.approx((3.0, 3.0), abs=1e-6)
    assert norm_interval(block_products(*sides(noise=0.0), twins=True).at(0, 1), 0) == (0.0, 0.0)


def test_the_jackknife_is_as_wide_as_samples_differ() -> None:
    halves, errors, cones, cone_errors = [], [], [], []
    for seed in range(30):
        products = block_products(*sides(3.0, 0.5, seed)).at(0, 0)
        halves.append(split_half(products, 0, 30)[0, 0])
        errors.append(split_half_error(products, 0, 30))
        cones.append(cone(products, 0, 100)[0, 0])
        cone_errors.append(cone_error(products, 0, 100))
    assert np.mean(errors) == pytest.approx(np.std(halves), rel=0.35)
    assert np.std(cones) < np.mean(cone_errors) < 3 * np.std(cones)
    assert np.mean(np.abs(np.array(halves) - np.mean(halves)) < 2.1 * np.array(errors)) >= 0.9


@pytest.mark.parametrize("twins", [False, True])
def test_the_jackknife_of_a_mean_is_its_standard_error(twins: bool) -> None:
    products = block_products(*sides(), twins=twins).at(0, 0)
    values = np.random.default_rng(0).standard_normal(products.count.size)

    def total(kept: np.ndarray) -> float:
        return float(sum(kept[group] @ values[group] / kept[group].sum() for group in products.groups))

    expected = np.sqrt(sum(values[group].var(ddof=1) / group.size for group in products.groups))
    assert stability._jackknife(products, total) == pytest.approx(expected)


def test_an_error_is_taken_at_one_site() -> None:
    products = block_products(*sides())
    for error in (split_half_error, cone_error, norm_interval):
        with pytest.raises(RequestError, match="one site"):
            error(products, 0)
    assert products.at(-1, -1).product == pytest.approx(products.at(0, 1).product)


# --- what is refused


def test_sets_that_do_not_fit_are_refused() -> None:
    one, other = sides()
    with pytest.raises(RequestError, match=r"share \[P, L, d\]"):
        block_products(one, BlockMeans(other.count, other.mean[:, :, :1]))
    with pytest.raises(RequestError, match="twins"):
        block_products(one, BlockMeans(other.count + 1, other.mean), twins=True)
    lonely = BlockMeans(np.array([4, 0]), one.mean[:2])
    for pair in ((lonely, other), (one, lonely)):
        with pytest.raises(NothingToMeasure, match="one block"):
            block_products(*pair)
    with pytest.raises(RequestError, match="level"):
        cone(block_products(one, other), 0, level=1.0)

"""Spectra without the energy of sampling noise: products of different prompts only."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import held_out
from geoaudit.geometry.directions import BlockMeans, differences
from geoaudit.geometry.held_out import HeldOut, gram_singular_values
from geoaudit.geometry.spectrum import effective_rank_energy, singular_values

M, D = 5, 12
KEPT = np.ones((1, M), dtype=bool)


def means(count: list[int], field: np.ndarray | float, noise: float, seed: int) -> BlockMeans:
    generator = np.random.default_rng(seed)
    spread = (
        noise * generator.standard_normal((len(count), 1, M, D)) / np.sqrt(np.maximum(count, 1))[:, None, None, None]
    )
    return BlockMeans(np.array(count), (field + spread).astype(np.float32))


def once(*sides: BlockMeans) -> list[np.ndarray]:
    return [np.ones((1, len(side.count))) for side in sides]


def test_it_is_the_mean_of_all_products_of_halves() -> None:
    """Six blocks a class: every way to halve each, the product of the two halves' fields, both ways round."""
    one, other = means([2] * 6, 1.0, 1.0, 0), means([2] * 6, 0.0, 1.0, 1)
    found = HeldOut(one, other, KEPT).grams(*once(one, other))[0]
    halves = [np.isin(np.arange(6), chosen).astype(int) for chosen in combinations(range(6), 3)]
    products = []
    for first in halves:
        for second in halves:
            a = differences(one, other, first, second)[0]
            b = differences(one, other, 1 - first, 1 - second)[0]
            products.append(a @ b.T)
    np.testing.assert_allclose(found, np.mean(products, axis=0), rtol=1e-9)
    np.testing.assert_allclose(found, found.T)


def test_noise_adds_no_energy_on_average() -> None:
    """The plain Gram matrix holds 2 · 12 · noise² / 40 on its diagonal beside the truth; this one nothing."""
    field = np.random.default_rng(5).standard_normal((M, D)) * 0.3
    grams, plain = [], []
    for seed in range(300):
        one, other = means([4] * 10, field, 1.0, 2 * seed), means([4] * 10, 0.0, 1.0, 2 * seed + 1)
        grams.append(HeldOut(one, other, KEPT).grams(*once(one, other))[0])
        rows = differences(one, other)[0]
        plain.append(rows @ rows.T)
    truth = field @ field.T
    error = np.std(grams, axis=0) / np.sqrt(300)
    assert (np.abs(np.mean(grams, axis=0) - truth) < 4 * error).all()
    assert np.trace(np.mean(plain, axis=0) - truth) == pytest.approx(M * 2 * D / 40, rel=0.05)


def test_a_block_that_is_drawn_twice_is_no_second_block() -> None:
    """Bootstrap copies multiplied with each other would be noise times itself."""
    one, other = means([3] * 8, 0.0, 1.0, 0), means([3] * 8, 0.0, 1.0, 1)
    twice = np.array([[2, 2, 2, 2, 0, 0, 0, 0]])
    chosen = np.array([[1, 1, 1, 1, 0, 0, 0, 0]])
    held = HeldOut(one, other, KEPT)
    np.testing.assert_allclose(held.grams(twice, twice), held.grams(chosen, chosen))
    traces = np.trace(
        held.grams(*(np.random.default_rng(k).multinomial(8, [1 / 8] * 8, 2000) for k in (0, 1))), 0, 1, 2
    )
    rows = differences(one, other)[0]
    assert abs(traces.mean() - np.trace(held.grams(*once(one, other))[0])) < 0.1 * np.trace(rows @ rows.T)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(lambda c: sum(n > 0 for n in c) > 1))
def test_blocks_of_any_size_count_by_their_prompts(count: list[int]) -> None:
    """As if every pair of prompts from different blocks were multiplied; empty blocks hold NaN and do not matter."""
    one = means(count, 1.0, 1.0, 3)
    one.mean[np.array(count) == 0] = np.nan
    other = BlockMeans(np.array([1, 1]), np.zeros((2, 1, M, D), np.float32))
    found = HeldOut(one, other, KEPT).grams(*once(one, other))[0]
    pairs = [
        (count[i] * count[j], one.mean[i, 0].astype(float) @ one.mean[j, 0].astype(float).T)
        for i in range(len(count))
        for j in range(len(count))
        if i != j and count[i] and count[j]
    ]
    expected = sum(weight * product for weight, product in pairs) / sum(weight for weight, _ in pairs)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_without_noise_it_is_the_plain_spectrum() -> None:
    field = np.random.default_rng(2).standard_normal((M, D)).astype(np.float32)
    one, other = means([2] * 4, field, 0.0, 0), means([2] * 4, 0.0, 0.0, 0)
    held = HeldOut(one, other, KEPT)
    np.testing.assert_allclose(held.singular_values(*once(one, other))[0], singular_values(field), rtol=1e-6)
    unit = field / np.linalg.norm(field, axis=1, keepdims=True)
    found = held.singular_values(*once(one, other), unit_rows=True)[0]
    np.testing.assert_allclose(found, singular_values(unit), rtol=1e-6)


def test_eigenvalues_below_zero_are_taken_from_the_smallest_above() -> None:
    found = gram_singular_values(np.diag([4.0, 1.0, 0.25, -0.25, -0.5]))
    np.testing.assert_allclose(found**2, [4, 0.5, 0, 0, 0])  # the sum stays 4.5
    every = gram_singular_values(np.diag([4.0, 1.0, 0.25, -0.25, -0.5]), cancelled=False)
    np.testing.assert_allclose(every**2, [4, 1, 0.25, 0, 0])  # what a tail below the noise could make of them
    assert np.isnan(gram_singular_values(np.diag([1.0, -1.5]))).all()
    assert np.isnan(gram_singular_values(np.zeros((3, 3)))).all()
    assert np.isnan(gram_singular_values(np.diag([1.0, -0.1]), unit_rows=True)).all()  # a row without any energy


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.integers(0, 100))
def test_the_sum_of_energies_is_the_trace(eigenvalues: list[float], seed: int) -> None:
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    gram = (basis * eigenvalues) @ basis.T
    found = gram_singular_values(gram)
    total = sum(eigenvalues)
    if total > 1e-6:
        assert (found**2).sum() == pytest.approx(total, rel=1e-6)
        assert (np.diff(found) <= 0).all()
        assert (found >= 0).all()
    elif total < -1e-6:
        assert np.isnan(found).all()


def test_a_planted_rank_is_found_where_the_plain_spectrum_is_far_from_it() -> None:
    field = np.outer(np.ones(M), np.eye(D)[0])
    plain, held = [], []
    for seed in range(40):
        one, other = means([5] * 32, field, 3.0, 2 * seed), means([5] * 32, 0.0, 3.0, 2 * seed + 1)
        plain.append(effective_rank_energy(singular_values(differences(one, other)[0])))
        held.append(effective_rank_energy(HeldOut(one, other, KEPT).singular_values(*once(one, other))[0]))
    assert np.mean(plain) > 2
    assert np.mean(held) == pytest.approx(1, abs=0.15)


def test_in_noise_alone_there_is_often_nothing() -> None:
    """Negative control: without any difference the energies sum to zero on average."""
    none = 0
    for seed in range(60):
        one, other = means([4] * 8, 0.0, 1.0, 2 * seed), means([4] * 8, 0.0, 1.0, 2 * seed + 1)
        none += np.isnan(HeldOut(one, other, KEPT).singular_values(*once(one, other))).all()
    assert 15 <= none <= 45


# --- twins -----------------------------------------------------------------------------------------------------------


def twins(count: list[int], field: np.ndarray | float, shared: float, own: float, seed: int) -> tuple[BlockMeans, ...]:
    """Two classes whose blocks of one number have noise in common."""
    common = means(count, 0.0, shared, 3 * seed).mean
    sides = means(count, field, own, 3 * seed + 1), means(count, 0.0, own, 3 * seed + 2)
    return tuple(BlockMeans(side.count, side.mean + common) for side in sides)


def test_what_twins_have_in_common_is_no_noise() -> None:
    """Taken for strangers, twice the covariance of their means comes off: 2 · 12 · 1.5² / 40 of each row's energy."""
    field = np.random.default_rng(5).standard_normal((M, D)) * 0.3
    found, apart = [], []
    for seed in range(300):
        one, other = twins([4] * 10, field, 1.5, 0.5, seed)
        found.append(HeldOut(one, other, KEPT, twins=True).grams(np.ones((1, 10)))[0])
        apart.append(HeldOut(one, other, KEPT).grams(*once(one, other))[0])
    truth = field @ field.T
    error = np.std(found, axis=0) / np.sqrt(300)
    assert (np.abs(np.mean(found, axis=0) - truth) < 4 * error).all()
    assert np.trace(np.mean(apart, axis=0) - truth) == pytest.approx(-M * 2 * D * 1.5**2 / 40, rel=0.1)


def test_twins_are_the_mean_of_all_products_of_halves_of_pairs() -> None:
    one, other = twins([2] * 6, 1.0, 1.0, 1.0, 0)
    products = []
    for chosen in combinations(range(6), 3):
        half = np.isin(np.arange(6), chosen).astype(int)
        products.append(differences(one, other, half, half)[0] @ differences(one, other, 1 - half, 1 - half)[0].T)
    found = HeldOut(one, other, KEPT, twins=True).grams(np.ones((1, 6)))[0]
    np.testing.assert_allclose(found, np.mean(products, axis=0), rtol=1e-6, atol=1e-9)


def test_a_planted_rank_is_kept_where_twins_share_most_of_their_noise() -> None:
    """Three equal energies; taken for strangers, the weakest drown in what was taken off too much."""
    field = np.linalg.qr(np.random.default_rng(0).standard_normal((D, 3)))[0].T[[0, 1, 2, 0, 1]] * 1.2
    ranks: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(40):
        one, other = twins([5] * 16, field, 2.0, 0.6, seed)
        for together in ranks:
            weights = [np.ones((1, 16))] * (1 if together else 2)
            found = HeldOut(one, other, KEPT, twins=together).singular_values(*weights)
            ranks[together].append(effective_rank_energy(found[0]) if np.isfinite(found).all() else np.nan)
    truth = effective_rank_energy(singular_values(field))
    assert np.mean(ranks[True]) == pytest.approx(truth, rel=0.05)
    assert np.nanmean(ranks[False]) < 0.9 * truth


def test_twins_come_in_blocks_of_one_size_and_are_weighted_once() -> None:
    one, other = means([2] * 3, 1.0, 1.0, 0), means([2, 2, 3], 0.0, 1.0, 1)
    with pytest.raises(RequestError, match="blocks of twins"):
        HeldOut(one, other, KEPT, twins=True)
    with pytest.raises(RequestError, match="1 sides, got 2"):
        HeldOut(one, one, KEPT, twins=True).grams(np.ones((1, 3)), np.ones((1, 3)))
    empty = means([2, 0, 2], 1.0, 1.0, 0), means([2, 0, 2], 0.0, 1.0, 1)
    for each in empty:
        each.mean[1] = np.nan
    assert np.isfinite(HeldOut(*empty, KEPT, twins=True).grams(np.ones((1, 3)))).all()


def test_chunks_are_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = means([2] * 6, 1.0, 1.0, 0), means([2] * 4, 0.0, 1.0, 1)
    weights = [np.random.default_rng(9).integers(1, 3, (7, len(side.count))) for side in (one, other)]
    held = HeldOut(one, other, KEPT)
    whole = held.singular_values(*weights)
    monkeypatch.setattr(held_out, "CHUNK_VALUES", 2 * M * D)
    np.testing.assert_allclose(held.singular_values(*weights), whole)
    pooled = HeldOut(one, one, KEPT)
    copy = HeldOut(one, BlockMeans(one.count, one.mean), KEPT)
    sides = np.eye(6)[:2] + np.eye(6)[2:4], np.eye(6)[4:] + np.eye(6)[:2]
    np.testing.assert_allclose(pooled.grams(*sides), copy.grams(*sides))


def test_what_cannot_be_held_out_is_said() -> None:
    one, other = means([2] * 3, 1.0, 1.0, 0), means([2] * 3, 0.0, 1.0, 1)
    held = HeldOut(one, other, KEPT)
    with pytest.raises(NothingToMeasure, match="two blocks on each side"):
        held.grams(np.array([[3, 0, 0]]), np.ones((1, 3)))
    with pytest.raises(RequestError, match=r"\[R, 3\]"):
        held.grams(np.ones((1, 4)), np.ones((1, 3)))
    with pytest.raises(RequestError, match="non-negative"):
        held.grams(-np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(NothingToMeasure, match="no site"):
        HeldOut(one, other, ~KEPT)
    with pytest.raises(RequestError, match="share"):
        HeldOut(one, BlockMeans(np.array([1]), np.zeros((1, 2, M, D), np.float32)), KEPT)
    other.mean[1, 0, 2] = np.nan
    with pytest.raises(NothingToMeasure, match="NaN"):
        HeldOut(one, other, KEPT)

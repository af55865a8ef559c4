"""Null levels: labels that mean nothing, topics without harm, and contrasts of the same size; never isotropic noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import nulls
from geoaudit.geometry.directions import BlockMeans, differences, norms, overall
from geoaudit.geometry.spectrum import effective_rank_energy, singular_values

P, L, D = 2, 3, 10
quick = settings(deadline=None, derandomize=True, max_examples=40)


def blocks(counts: list[int], shift: float | np.ndarray = 0.0, seed: int = 0, spread: float = 1.0) -> BlockMeans:
    """Means of that many prompts around the shift; NaN in an empty block, as the model's reader leaves it."""
    generator = np.random.default_rng(seed)
    count = np.array(counts)
    with np.errstate(divide="ignore"):
        noise = generator.standard_normal((len(counts), P, L, D)) * (spread / np.sqrt(count))[:, None, None, None]
    mean = np.where(count[:, None, None, None] > 0, noise + shift, np.nan)
    return BlockMeans(count, mean.astype(np.float32))


def size(field: np.ndarray) -> float:
    return float(np.linalg.norm(field))


@quick
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 1000))
def test_every_block_is_on_one_side_and_sides_keep_their_size(sizes: list[int], seed: int) -> None:
    labels = nulls.permuted_labels(sizes, 7, seed)
    assert labels.shape == (7, len(sizes), sum(sizes))
    assert (labels.sum(axis=1) == 1).all()
    assert (labels.sum(axis=2) == sizes).all()
    np.testing.assert_array_equal(nulls.permuted_labels(sizes, 7, seed), labels)  # the seed is all that decides


def test_permuted_labels_do_not_depend_on_the_label_that_was() -> None:
    labels = nulls.permuted_labels([8, 24], 4000, 1)[:, 0]
    assert labels.mean(axis=0) == pytest.approx(np.full(32, 0.25), abs=0.035)
    assert len({tuple(each) for each in labels}) > 3990


@quick
@given(
    st.lists(st.integers(0, 5), min_size=3, max_size=8).filter(lambda c: sum(n > 0 for n in c) > 1),
    st.lists(st.integers(0, 5), min_size=2, max_size=8).filter(lambda c: sum(n > 0 for n in c) > 1),
)
def test_draws_agree_with_the_means_of_their_sides(one: list[int], other: list[int]) -> None:
    """Unequal counts, unequal numbers of blocks, empty blocks."""
    draws = nulls.permuted(blocks(one, 3.0), blocks(other, seed=1), 6, 0)
    occupied = sum(n > 0 for n in one), sum(n > 0 for n in other)
    assert draws.one.sum(axis=1).tolist() == [occupied[0]] * 6
    assert draws.other.sum(axis=1).tolist() == [occupied[1]] * 6
    assert (draws.prompts.sum(axis=1) == sum(one) + sum(other)).all()
    sides = [overall(draws.means, side) for side in (draws.one, draws.other)]
    np.testing.assert_allclose(np.concatenate(list(draws.fields())), sides[0] - sides[1], atol=1e-9)
    assert np.isfinite(sides[0]).all()


def test_some_sites_some_draws_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = nulls.permuted(blocks([2] * 5), blocks([3] * 4, seed=1), 9, 0)
    kept = np.array([[True, False, True], [False, True, True]])
    whole = np.concatenate(list(draws.fields()))
    monkeypatch.setattr(nulls, "CHUNK_VALUES", 2 * kept.sum() * D)
    chunks = list(draws.fields(kept))
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 2, 1]
    np.testing.assert_allclose(np.concatenate(chunks), whole[:, kept])
    np.testing.assert_allclose(draws.values(size, kept), np.linalg.norm(whole[:, kept], axis=(1, 2)))


def test_a_strong_difference_is_not_its_own_null_level() -> None:
    """The naive permutation keeps the chance surplus of one class times the true difference; counted from its own
    mean, a class leaves the noise alone."""
    far = 50 * np.ones(D)
    one, other = blocks([4] * 32, far), blocks([4] * 32, seed=1)
    noise = nulls.permuted(blocks([4] * 32), blocks([4] * 32, seed=1), 200, 0).values(size)
    found = nulls.permuted(one, other, 200, 0).values(size)
    assert found == pytest.approx(noise, rel=1e-4)
    labels = nulls.permuted_labels([32, 32], 200, 0)
    naive = nulls.Draws(nulls.pool([one, other]), labels[:, 0], labels[:, 1])
    assert np.median(naive.values(size)) > 5 * np.median(found)


def test_the_null_level_is_what_two_samples_of_one_population_give() -> None:
    """Negative control: where labels do mean nothing, the true contrast lies within the level 95 % of the time."""
    inside = []
    for seed in range(60):
        one, other = blocks([3] * 16, seed=2 * seed), blocks([3] * 16, seed=2 * seed + 1)
        level = nulls.level(nulls.permuted(one, other, 200, seed).values(size))
        inside.append(level.holds(size(differences(one, other))))
        assert level.n == 200
    assert np.mean(inside) >= 0.85  # 51 of 60; at 95 % the chance of fewer is 0.2 %
    assert not level.holds(size(differences(blocks([3] * 16, 1.0), other)))  # and a true difference does not


def test_all_pairs_of_categories_are_contrasts() -> None:
    categories = [blocks([2, 2, 0, 1], float(k), seed=k) for k in range(8)]
    draws = nulls.harmless_contrasts(categories)
    assert len(draws) == 28
    assert draws.prompts.tolist() == [[5, 5]] * 28
    found = np.concatenate(list(draws.fields()))
    pairs = [(a, b) for a in range(8) for b in range(a + 1, 8)]
    expected = [differences(categories[a], categories[b]) for a, b in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("categories", "pairs"), [(0, 0), (1, 0), (2, 1), (6, 15)])
def test_too_few_contrasts_are_no_level(categories: int, pairs: int) -> None:
    with pytest.raises(NothingToMeasure, match=f"{categories} categories .* give {pairs} contrasts"):
        nulls.harmless_contrasts([blocks([2, 2], seed=k) for k in range(categories)])
    assert len(nulls.harmless_contrasts([blocks([2, 2], seed=k) for k in range(7)])) == 21


def test_a_smaller_contrast_holds_more_noise_and_the_same_difference() -> None:
    """20 + 20 prompts in place of 160 + 160: eight times the variance."""
    shift = np.ones(D)
    one, other = blocks([5] * 32, shift), blocks([5] * 32, seed=1)
    draws = nulls.matched(one, other, 20, 400, 0)
    assert (draws.prompts == 20).all()
    found = np.concatenate(list(draws.fields()))
    np.testing.assert_allclose(found.mean(axis=0), differences(one, other), atol=0.1)
    assert found.var(axis=0).mean() == pytest.approx(2 / 20 * (1 - 4 / 32), rel=0.15)
    assert (nulls.matched(one, other, 1, 5, 0).prompts == 10).all()  # two blocks at least
    assert (nulls.matched(one, other, 10**6, 5, 0).prompts == 160).all()


def test_isotropic_noise_is_no_yardstick_for_activations() -> None:
    """Prompts that differ along two axes: permuted labels know it, Gaussian noise does not."""
    axes = np.zeros(D)
    axes[:2] = 1
    one, other = (
        BlockMeans(each.count, (each.mean * axes).astype(np.float32))
        for each in (blocks([4] * 16), blocks([4] * 16, seed=1))
    )

    def rank(field: np.ndarray) -> float:
        return float(effective_rank_energy(singular_values(field.reshape(-1, D))))

    assert nulls.level(nulls.permuted(one, other, 100, 0).values(rank)).high <= 2
    assert nulls.isotropic(P * L, D, rank, 20, 0) > 4


def test_levels_and_percentiles() -> None:
    values = np.arange(1.0, 201.0)
    assert nulls.level(values) == (200, 5.0, 100.5, 195.0)
    assert nulls.percentile(values, 50) == 0.25
    assert nulls.percentile(values, 0.5) == 0
    assert nulls.percentile(values, 200) == 1
    level = nulls.level(np.append(values, np.nan))
    assert level.n == 200
    assert [level.holds(value) for value in (4.9, 5, 195, 195.1, np.nan)] == [False, True, True, False, False]
    with pytest.raises(NothingToMeasure, match="19 of 30 draws"):
        nulls.level(np.where(np.arange(30) < 19, 1.0, np.nan))


def test_a_draw_without_a_value_is_missing_and_not_zero() -> None:
    def fails_on_large(field: np.ndarray) -> float:
        if norms(field).max() > 1:
            raise NothingToMeasure("none")
        return 1.0

    values = nulls.permuted(blocks([4] * 8), blocks([4] * 8, seed=1), 50, 0).values(fails_on_large)
    assert 0 < np.isnan(values).sum() < 50


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(NothingToMeasure, match="two blocks of prompts in each class"):
        nulls.permuted(blocks([3, 0]), blocks([3, 3]), 5, 0)
    with pytest.raises(NothingToMeasure, match="two blocks"):
        nulls.matched(blocks([3, 3]), blocks([3, 0]), 3, 5, 0)
    with pytest.raises(NothingToMeasure, match=r"\[3, 0\]"):
        nulls.permuted_labels([3, 0], 5, 0)
    with pytest.raises(RequestError, match="must share"):
        nulls.pool([blocks([3]), BlockMeans(np.array([1]), np.zeros((1, P, L, D + 1), np.float32))])
    pool = nulls.pool([blocks([3, 3])])
    with pytest.raises(RequestError, match="two \\[R, 2\\]"):
        nulls.Draws(pool, np.ones((4, 3)), np.ones((4, 3)))
    with pytest.raises(NothingToMeasure, match="without any prompt"):
        nulls.Draws(pool, np.zeros((1, 2)), np.ones((1, 2)))

"""Controls vary as the activations do, and have nothing of the target."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import nulls
from geoaudit.geometry.controls import category_contrasts, covariance_matched, dimensions, random_frames
from geoaudit.geometry.directions import BlockMeans, overall
from tests.tools.control_null import categories_null, covariance_null

D, B = 24, 32


def sides(seed: int = 0, spread: np.ndarray | None = None, counts: np.ndarray | None = None) -> list[BlockMeans]:
    """Two kinds far apart, whose blocks vary along the axes by `spread`."""
    chance = np.random.default_rng(seed)
    scale = np.ones(D) if spread is None else spread
    count = np.full(B, 4) if counts is None else counts
    return [
        BlockMeans(count, (shift + scale * chance.standard_normal((B, 1, 1, D))).astype(np.float32))
        for shift in (0.0, 50.0)
    ]


@given(st.integers(0, 20), st.integers(1, 4), st.integers(1, 3))
def test_frames_are_orthonormal_and_orthogonal_to_the_target(seed, k, rank):
    target = np.random.default_rng(seed + 1).standard_normal((rank, D))
    frames = covariance_matched(sides(seed), 0, 0, target, n=5, k=k, seed=seed)
    assert frames.shape == (5, k, D)
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.broadcast_to(np.eye(k), (5, k, k)), atol=1e-8)
    assert np.abs(frames @ target.T).max() < 1e-8 * np.abs(target).max()


def test_they_point_where_activations_vary_and_not_where_the_kinds_differ():
    spread = np.where(np.arange(D) < 3, 10.0, 0.01)
    target = np.eye(D)[5]
    frames = covariance_matched(sides(spread=spread), 0, 0, target, n=50, seed=0)[:, 0]
    assert (frames[:, :3] ** 2).sum(axis=1).min() > 0.99
    apart = np.ones(D) / D**0.5  # the difference between the two kinds
    flat = covariance_matched(sides(), 0, 0, target, n=400, seed=0)[:, 0]
    assert (flat @ apart).std() < 0.4, "within a kind: of the size that chance gives in 24 dimensions"


def test_a_block_of_more_prompts_counts_by_what_single_prompts_vary():
    """Its mean varies less; scaled back it is one block like the others."""
    chance = np.random.default_rng(3)
    count = np.array([1, 16] * (B // 2))
    means = chance.standard_normal((B, 1, 1, D)) / np.sqrt(count)[:, None, None, None]
    means[..., 0] = 0
    made = [BlockMeans(count, means.astype(np.float32))]
    frames = covariance_matched(made, 0, 0, np.eye(D)[0], n=500, seed=1)[:, 0]
    energy = (frames**2).mean(axis=0)[1:]
    assert energy.max() / energy.min() < 4


def test_the_seed_decides():
    one, same, other = (covariance_matched(sides(), 0, 0, np.eye(D)[0], n=3, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_no_spread_beside_the_target():
    flat = [BlockMeans(np.full(4, 2), np.ones((4, 1, 1, D), dtype=np.float32))]
    with pytest.raises(NothingToMeasure, match="no controls"):
        covariance_matched(flat, 0, 0, np.eye(D)[0], n=3, seed=0)
    along = sides(spread=np.where(np.arange(D) == 5, 1.0, 0.0))
    with pytest.raises(NothingToMeasure, match="0 dimensions"):
        covariance_matched(along, 0, 0, np.eye(D)[5], n=3, seed=0)


def test_another_width():
    with pytest.raises(RequestError, match="8 wide"):
        covariance_matched(sides(), 0, 0, np.ones(8), n=3, seed=0)


def test_a_spread_of_one_dimension_holds_one_control():
    """A hundred copies of one direction are one control: beating them all is beating one."""
    along = sides(spread=np.where(np.arange(D) == 2, 1.0, 0.0))
    assert covariance_matched(along, 0, 0, np.eye(D)[5], n=1, seed=0).shape == (1, 1, D)
    with pytest.raises(NothingToMeasure, match="in 1 dimension, which hold one control, and 2 are needed"):
        covariance_matched(along, 0, 0, np.eye(D)[5], n=2, seed=0)


@given(st.integers(0, 20), st.integers(1, 2), st.integers(4, D))
def test_the_dimensions_of_uniform_frames_are_counted(seed, k, held):
    """Whatever axes they are seen in, and however long their rows are."""
    chance = np.random.default_rng(seed)
    axes = np.linalg.qr(chance.standard_normal((D, D)))[0][:held]
    frames = np.linalg.qr(chance.standard_normal((300, held, k)))[0].swapaxes(1, 2)
    assert dimensions(frames @ axes) == pytest.approx(held, rel=0.15)
    assert dimensions(frames @ axes * chance.uniform(0.1, 9, (300, k, 1))) == pytest.approx(dimensions(frames))


def test_copies_are_one_dimension_and_topics_no_more_than_differ():
    target = np.eye(D)[5]
    assert dimensions(np.repeat(np.eye(D)[None, :1], 40, axis=0)) == pytest.approx(1)
    assert dimensions(np.eye(D)[:, None]) == np.inf
    assert dimensions(category_contrasts(categories(8), 0, 0, target, n=40, seed=0)) < 7.5
    spread = np.arange(1, D + 1) ** -1.0
    assert dimensions(covariance_matched(sides(spread=spread), 0, 0, target, n=99, seed=0)) < 5


def test_in_many_dimensions_a_target_that_is_one_more_control_is_as_rarely_special_as_its_p_value_says():
    """In few it is not: the full table is that of `tests/tools/control_null.py`."""
    many, few = covariance_null(0.0, 39, 200, seed=1), categories_null(6, 39, 200, seed=1)
    assert (many <= 0.05).mean() < 0.1, "5 % and three standard errors"
    assert 0.05 < (few <= 0.05).mean() < 0.25


def test_no_coordinate_has_a_preferred_sign():
    """LAPACK's frames have a first coordinate below 0: as additions they would all push one way."""
    target = np.eye(D)[5]
    for frames in (
        covariance_matched(sides(), 0, 0, target, n=400, k=2, seed=0),
        random_frames(D, target, n=400, k=2, seed=0),
        category_contrasts(categories(), 0, 0, target, n=400, k=2, seed=0),
    ):
        positive = np.delete((frames > 0).mean(axis=0), 5, axis=1)  # the target has nothing along any other
        np.testing.assert_allclose(positive, 0.5, atol=0.12)


# --- contrasts between categories ------------------------------------------------------------------------------------


def categories(n: int = 8, seed: int = 0, width: int = D, scale: float = 1.0, common: float = 20.0) -> list[BlockMeans]:
    """Topics around one mean, each of its own numbers of prompts; one block of them is empty."""
    chance = np.random.default_rng(seed)
    made = []
    for topic in range(n):
        count = np.array([2, 1 + topic % 3, 0, 3])
        mean = common + scale * (chance.standard_normal(width) + 0.1 * chance.standard_normal((4, 2, 2, width)))
        mean[2] = np.nan
        made.append(BlockMeans(count, mean.astype(np.float32)))
    return made


@given(st.integers(0, 20), st.integers(1, 3), st.integers(1, 3), st.sampled_from([5, 8, 11]))
def test_contrasts_are_orthonormal_different_and_orthogonal_to_the_target(seed, k, rank, n_categories):
    target = np.random.default_rng(seed + 1).standard_normal((rank, D))
    frames = category_contrasts(categories(n_categories, seed), 1, 0, target, n=12, k=k, seed=seed)
    assert frames.shape == (12, k, D)
    assert frames.dtype == np.float64
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.broadcast_to(np.eye(k), (12, k, k)), atol=1e-8)
    assert np.abs(frames @ target.T).max() < 1e-8 * np.abs(target).max()
    overlap = [float(((one @ other.T) ** 2).sum()) for i, one in enumerate(frames) for other in frames[:i]]
    assert max(overlap) < k - 1e-4


def test_contrasts_are_all_differences_in_means_of_two_groups():
    """Four topics have 25 pairs of groups, up to sign: asked for as many, each comes once."""
    made, target = categories(4), np.random.default_rng(9).standard_normal(D)
    frames = category_contrasts(made, 0, 1, target, n=25, seed=3)[:, 0]
    expected = []
    for signs in product((-1, 0, 1), repeat=4):
        if signs != (0,) * 4 and signs[np.flatnonzero(signs)[0]] == 1 and -1 in signs:
            means = [
                overall(nulls.pool([each for each, sign in zip(made, signs, strict=True) if sign == side]))[0, 1]
                for side in (1, -1)
            ]
            beside = means[0] - means[1]
            beside -= (beside @ target) / (target @ target) * target
            expected.append(beside / np.linalg.norm(beside))
    cosines = np.abs(frames @ np.array(expected).T)
    assert len(expected) == 25
    assert sorted(cosines.argmax(axis=1)) == list(range(25))
    assert cosines.max(axis=1).min() > 1 - 1e-9
    with pytest.raises(NothingToMeasure, match="4 categories of harmless prompts give 25 different contrasts"):
        category_contrasts(made, 0, 1, target, n=26, seed=3)


def test_frames_of_contrasts_stay_among_the_topics():
    """Sixty planes of four topics: a contrast dealt together with its own mirror image is no plane."""
    made, target = categories(4), np.eye(D)[0]
    means = np.array([overall(each)[0, 0] for each in made])
    apart = means[1:] - means[0]
    apart[:, 0] = 0
    among = np.linalg.svd(apart, full_matrices=False)[2]
    frames = category_contrasts(made, 0, 0, target, n=60, k=2, seed=0)
    np.testing.assert_allclose(np.linalg.norm(frames @ among.T, axis=-1), 1, atol=1e-6)


def test_pairs_of_topics_are_those_of_the_null_level():
    made, target = categories(7), np.eye(D)[0]
    pairs = np.concatenate(list(nulls.harmless_contrasts(made).fields()))[:, 0, 0]
    pairs[:, 0] = 0
    pairs /= np.linalg.norm(pairs, axis=1, keepdims=True)
    frames = category_contrasts(made, 0, 0, target, n=966, seed=0)[:, 0]
    assert len(frames) == (3**7 - 2**8 + 1) // 2
    assert np.abs(frames @ pairs.T).max(axis=0).min() > 1 - 1e-6


def test_contrasts_turn_with_the_activations():
    made, target = categories(6), np.random.default_rng(4).standard_normal((2, D))
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((D, D)))[0]
    turned = [BlockMeans(each.count, (each.mean @ turn).astype(np.float32)) for each in made]
    one = category_contrasts(made, 0, 0, target, n=9, k=2, seed=1)
    np.testing.assert_allclose(category_contrasts(turned, 0, 0, target @ turn, n=9, k=2, seed=1), one @ turn, atol=1e-4)


def test_the_seed_decides_which_contrasts():
    one, same, other = (category_contrasts(categories(), 0, 0, np.eye(D)[0], n=9, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    many = category_contrasts(categories(), 0, 0, np.eye(D)[0], n=99, seed=1)
    assert many.shape == (99, 1, D)


def test_too_few_categories():
    target = np.eye(D)[0]
    for few in (0, 1):
        with pytest.raises(NothingToMeasure, match=f"two categories of prompts, got {few}"):
            category_contrasts(categories()[:few], 0, 0, target, n=1, seed=0)
    two = categories()[:2]
    assert category_contrasts(two, 0, 0, target, n=1, seed=0).shape == (1, 1, D)
    with pytest.raises(NothingToMeasure, match="1 dimension, which hold one control, and 2 are needed"):
        category_contrasts(two, 0, 0, target, n=2, seed=0)
    three = categories()[:3]
    with pytest.raises(NothingToMeasure, match="2 dimensions, which hold one 2-dimensional control"):
        category_contrasts(three, 0, 0, target, n=2, k=2, seed=0)
    with pytest.raises(NothingToMeasure, match="no 3-dimensional control"):
        category_contrasts(three, 0, 0, target, n=1, k=3, seed=0)
    with pytest.raises(NothingToMeasure, match="3 categories of harmless prompts give 6 different contrasts"):
        category_contrasts(three, 0, 0, target, n=7, seed=0)


def test_topics_that_do_not_differ_are_no_contrast():
    """As at the first layer's template token: the same activation for every prompt, but for rounding."""
    with pytest.raises(NothingToMeasure, match="0 dimensions, which hold no control"):
        category_contrasts(categories(scale=1e-6), 0, 0, np.eye(D)[0], n=5, seed=0)
    with pytest.raises(NothingToMeasure, match="0 dimensions"):
        category_contrasts(categories(scale=0.0, common=0.0), 0, 0, np.eye(D)[0], n=5, seed=0)
    apart = np.eye(D)[3]
    along = [BlockMeans(np.ones(1, int), (1 + i * apart).reshape(1, 1, 1, D).astype(np.float32)) for i in range(8)]
    with pytest.raises(NothingToMeasure, match="0 dimensions"):
        category_contrasts(along, 0, 0, apart, n=1, seed=0)
    with pytest.raises(NothingToMeasure, match="1 dimension, which hold one control"):
        category_contrasts(along, 0, 0, np.eye(D)[0], n=2, seed=0)


def test_activations_that_are_no_numbers():
    made = categories()
    made[3].mean[0, 0, 0, 0] = np.nan
    with pytest.raises(NothingToMeasure, match="NaN"):
        category_contrasts(made, 0, 0, np.eye(D)[0], n=5, seed=0)
    assert category_contrasts(made, 1, 0, np.eye(D)[0], n=5, seed=0).shape == (5, 1, D)


# --- random frames ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 20), st.integers(1, 4), st.integers(1, 3))
def test_random_frames_are_orthonormal_and_orthogonal_to_the_target(seed, k, rank):
    target = 100 * np.random.default_rng(seed + 1).standard_normal((rank, D))
    frames = random_frames(D, target, n=5, k=k, seed=seed)
    assert frames.shape == (5, k, D)
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.broadcast_to(np.eye(k), (5, k, k)), atol=1e-8)
    assert np.abs(frames @ target.T).max() < 1e-7
    np.testing.assert_array_equal(frames, random_frames(D, target, n=5, k=k, seed=seed))
    assert not np.allclose(frames, random_frames(D, target, n=5, k=k, seed=seed + 1))


@pytest.mark.parametrize("row", [0, 1])
def test_random_frames_prefer_no_direction_beside_the_target(row: int):
    """Along any unit vector u beside the target the square of the cosine is Beta(½, (d − 2)/2), whatever u is."""
    chance = np.random.default_rng(8)
    target = chance.standard_normal(D)
    frames = random_frames(D, target, n=3000, k=2, seed=4)[:, row]
    for probe in (np.eye(D)[0], chance.standard_normal(D)):
        beside = probe - (probe @ target) / (target @ target) * target
        cosines = frames @ (beside / np.linalg.norm(beside))
        assert kstest(cosines**2, beta(0.5, (D - 2) / 2).cdf).pvalue > 0.001
        assert abs((cosines > 0).mean() - 0.5) < 0.04
    projector = np.eye(D) - np.outer(target, target) / (target @ target)
    np.testing.assert_allclose(frames.T @ frames / len(frames), projector / (D - 1), atol=0.01)


def test_random_frames_need_room():
    assert random_frames(3, np.eye(3)[:1], n=1, k=2, seed=0).shape == (1, 2, 3)
    with pytest.raises(NothingToMeasure, match="2 dimensions, which hold one 2-dimensional control"):
        random_frames(3, np.eye(3)[0], n=2, k=2, seed=0)
    with pytest.raises(NothingToMeasure, match="0 dimensions, which hold no control"):
        random_frames(3, np.eye(3), n=1, seed=0)
    assert random_frames(4, np.array([[1.0, 0, 0, 0], [2.0, 0, 0, 0]]), n=1, k=3, seed=0).shape == (1, 3, 4)


# --- what is asked for -----------------------------------------------------------------------------------------------

DRAWN = {
    "covariance": lambda target, **asked: covariance_matched(sides(), 0, 0, target, seed=0, **asked),
    "categories": lambda target, **asked: category_contrasts(categories(), 0, 0, target, seed=0, **asked),
    "random": lambda target, **asked: random_frames(D, target, seed=0, **asked),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_what_cannot_be_drawn_is_said(kind: str):
    draw = DRAWN[kind]
    with pytest.raises(RequestError, match="8 wide"):
        draw(np.ones(8), n=3)
    for asked in ({"n": 0}, {"n": 3, "k": 0}, {"n": -400}):
        with pytest.raises(RequestError, match="one frame or more"):
            draw(np.ones(D), **asked)
    with pytest.raises(NothingToMeasure, match="null target"):
        draw(np.zeros(D), n=3)
    with pytest.raises(NothingToMeasure, match="NaN"):
        draw(np.full(D, np.nan), n=3)

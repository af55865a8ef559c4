"""Beliefs between two centres: the published formula, what leaves them alone, and centres that mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import beliefs
from geoaudit.geometry.beliefs import Products, averaged, by_layer, centre, null_layers, permuted_centres, products

N, LAYERS, BLOCKS, D = 7, 4, 6, 12
COUNT = np.array([3, 1, 2, 4, 1, 2])
POSITIVE = np.array([True, True, True, False, False, False])


def world(seed: int = 0, common: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Activations [N, LAYERS, D] and block means [BLOCKS, LAYERS, D]."""
    g = np.random.default_rng(seed)
    base = common * g.standard_normal((LAYERS, D))
    return base + g.standard_normal((N, LAYERS, D)), base + g.standard_normal((BLOCKS, LAYERS, D))


def centres() -> tuple[np.ndarray, np.ndarray]:
    return centre(COUNT, POSITIVE), centre(COUNT, ~POSITIVE)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def test_it_is_the_published_formula() -> None:
    """Plain loops over prompts and layers: the cosine with either mean over prompts, averaged over the layers."""
    h, blocks = world()
    prompts = np.repeat(blocks, COUNT, axis=0)  # each prompt of a block at its block's mean
    of = np.repeat(POSITIVE, COUNT)
    plus, minus = prompts[of].mean(axis=0), prompts[~of].mean(axis=0)
    expected = [[cosine(x[j], plus[j]) - cosine(x[j], minus[j]) for j in range(LAYERS)] for x in h]
    read = products(h, blocks)
    np.testing.assert_allclose(by_layer(read, *centres()), expected, atol=1e-12)
    one, other = (each[None] for each in centres())
    np.testing.assert_allclose(averaged(read, one, other)[0], np.mean(expected, axis=1), atol=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_rotation_and_the_length_of_a_prompt_change_nothing_and_beliefs_stay_in_range(seed: int, scale: float) -> None:
    h, blocks = world(seed)
    plain = by_layer(products(h, blocks), *centres())
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]
    np.testing.assert_allclose(by_layer(products(h @ turn, blocks @ turn), *centres()), plain, atol=1e-10)
    np.testing.assert_allclose(by_layer(products(scale * h, blocks), *centres()), plain, atol=1e-10)
    assert np.abs(plain).max() <= 2
    swapped = by_layer(products(h, blocks), *centres()[::-1])
    np.testing.assert_allclose(swapped, -plain, atol=1e-12)


def test_opposite_centres_reach_the_ends_of_the_range() -> None:
    axis = np.eye(D)[0]
    h, blocks = np.stack([axis, -axis])[:, None], np.stack([axis, -axis])[:, None]
    read = products(h, blocks)
    np.testing.assert_allclose(by_layer(read, np.array([1.0, 0.0]), np.array([0.0, 1.0]))[:, 0], [2, -2])


def test_where_the_centres_are_the_same_a_layer_counts_as_nothing() -> None:
    h, blocks = world()
    blocks[:, 0] = blocks[0, 0] * (1 + 1e-7 * np.random.default_rng(1).standard_normal((BLOCKS, 1)))
    read = products(h, blocks)
    one, other = (each[None] for each in centres())
    assert null_layers(read.gram, one, other).tolist() == [[True, False, False, False]]
    assert (by_layer(read, *centres())[:, 0] == 0).all()
    assert averaged(read, one, other)[0] == pytest.approx(by_layer(read, *centres()).sum(axis=1) / LAYERS)


def test_constant_activations_hold_no_belief() -> None:
    """The naive score is rounding noise, whose ranks separate anything."""
    h, blocks = world()
    blocks[:] = blocks[0]
    one, other = (each[None] for each in centres())
    with pytest.raises(NothingToMeasure, match="null-direction"):
        averaged(products(h, blocks), one, other)


def test_nan_is_null_and_no_belief() -> None:
    h, blocks = world()
    blocks[0, 1, 0] = np.nan
    one, other = (each[None] for each in centres())
    assert null_layers(products(h, blocks).gram, one, other)[0].tolist() == [False, True, False, False]


def test_redrawn_centres_are_those_of_redrawn_prompts() -> None:
    h, blocks = world()
    times = np.array([[2, 0, 1, 1, 1, 1], [1, 1, 1, 0, 3, 0]])
    one, other = (centre(COUNT, own, times) for own in (POSITIVE, ~POSITIVE))
    assert one[0] == pytest.approx(np.array([6, 0, 2, 0, 0, 0]) / 8)
    both = averaged(products(h, blocks), one, other)
    for row in range(2):
        alone = averaged(products(h, blocks), one[row : row + 1], other[row : row + 1])[0]
        np.testing.assert_allclose(both[row], alone, atol=1e-12)


def test_a_prompt_alone_is_the_prompt_among_others() -> None:
    read = products(*world())
    np.testing.assert_array_equal(by_layer(read.of(np.array([2, 5])), *centres()), by_layer(read, *centres())[[2, 5]])


def test_centres_of_permuted_labels_hold_nothing_of_the_true_difference() -> None:
    """However far apart the two kinds are: labels permuted without centring would keep an eighth of the difference."""
    blocks = np.random.default_rng(0).standard_normal((40, 1, D))
    positive = np.arange(40) < 20
    blocks[positive] += 1000 * np.eye(D)[0]
    count = np.ones(40)
    one, other = permuted_centres(count, positive, 50, 3)
    np.testing.assert_allclose(one.sum(axis=1), 1)
    np.testing.assert_allclose(other.sum(axis=1), 1)
    drawn = (one - other) @ blocks[:, 0]
    assert np.abs(drawn[:, 0]).max() < 2, "noise of twenty prompts and no difference of a thousand"
    assert drawn.std() > 0.1
    np.testing.assert_allclose(np.mean([one @ blocks[:, 0], other @ blocks[:, 0]], axis=0)[:, 0], 500, rtol=0.01)


def test_permuted_centres_need_two_blocks_of_each_kind() -> None:
    with pytest.raises(NothingToMeasure, match="two blocks"):
        permuted_centres(np.ones(3), np.array([True, False, False]), 5, 0)


def test_blocks_count_by_their_prompts() -> None:
    assert centre(COUNT, POSITIVE) == pytest.approx(np.array([3, 1, 2, 0, 0, 0]) / 6)
    with pytest.raises(NothingToMeasure, match="no centre"):
        centre(COUNT, np.zeros(BLOCKS, dtype=bool))


def test_shapes_that_do_not_fit() -> None:
    h, blocks = world()
    with pytest.raises(RequestError, match="share"):
        products(h, blocks[:, 1:])
    read = products(h, blocks)
    with pytest.raises(RequestError, match="gram"):
        Products(read.cross, read.norm, read.gram[1:])


def test_memory_does_not_grow_with_the_width() -> None:
    assert beliefs.products(*world()).cross.shape == (N, LAYERS, BLOCKS)

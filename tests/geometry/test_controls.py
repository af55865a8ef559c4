"""Controls vary as the activations do, and have nothing of the target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.controls import covariance_matched
from geoaudit.geometry.directions import BlockMeans

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
    with pytest.raises(NothingToMeasure, match="fewer than 1"):
        covariance_matched(along, 0, 0, np.eye(D)[5], n=3, seed=0)


def test_another_width():
    with pytest.raises(RequestError, match="8 wide"):
        covariance_matched(sides(), 0, 0, np.ones(8), n=3, seed=0)

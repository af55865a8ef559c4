"""Change of cosine profiles: the published formula; orthogonal directions that depend on each other, or do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.independence import (
    cosine_profiles,
    once_removed,
    profile_layers,
    representational_change,
    squared_change,
)

N, LAYERS, D = 12, 10, 16
seeds = st.integers(0, 10**6)


def streams(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, LAYERS, D)) + 0.5


def ablated(stack: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Taken out of each layer's input; nothing is computed from what is left."""
    unit = direction / np.linalg.norm(direction)
    return stack - (stack @ unit)[..., None] * unit


def change(plain: np.ndarray, without_h: np.ndarray, without_r: np.ndarray, h: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Of each prompt."""
    return representational_change(
        np.stack([cosine_profiles(plain, h), cosine_profiles(plain, r)]),
        np.stack([cosine_profiles(without_r, h), cosine_profiles(without_h, r)]),
    )


def written(plain: np.ndarray) -> np.ndarray:
    """Layers from 5 on write axis 1 from what the first layer's input has along axis 0."""
    tied = plain.copy()
    tied[:, 5:, 1] = 4 * plain[:, :1, 0]
    return tied


def test_the_change_is_the_published_formula() -> None:
    plain, without_h, without_r = (streams(seed) for seed in range(3))
    h, r = np.random.default_rng(9).standard_normal((2, D))

    def profile(stack: np.ndarray, v: np.ndarray) -> np.ndarray:
        return stack @ v / np.linalg.norm(stack, axis=-1) / np.linalg.norm(v)

    for i in range(N):  # prompt by prompt, over the first nine of ten layers
        expected = sum(
            np.mean((profile(edited[i], v) - profile(plain[i], v))[:9] ** 2)
            for edited, v in ((without_r, h), (without_h, r))
        )
        assert change(plain, without_h, without_r, 5 * h, r)[i] == pytest.approx(expected)
    np.testing.assert_allclose(cosine_profiles(plain, h), profile(plain, h)[:, :9])
    np.testing.assert_allclose(cosine_profiles(plain[3], h), profile(plain[3], h)[:9])


def test_directions_that_nothing_ties_are_independent() -> None:
    """Ablation that leaves the other's projection and the length alone: a third axis makes up for what is taken."""
    h, r = np.eye(D)[:2]
    plain = streams()
    plain[..., 2] = 0
    without_h, without_r = plain.copy(), plain.copy()
    without_h[..., 0], without_h[..., 2] = 0, np.abs(plain[..., 0])
    without_r[..., 1], without_r[..., 2] = 0, np.abs(plain[..., 1])
    np.testing.assert_allclose(change(plain, without_h, without_r, h, r), 0, atol=1e-20)


def test_orthogonal_directions_can_depend_on_each_other() -> None:
    h, r = np.eye(D)[:2]
    plain = written(streams())
    without_h, without_r = ablated(plain, h), ablated(plain, r)
    without_h[:, 5:, 1] = 0
    assert h @ r == 0
    tied, loose = (change(plain, each, without_r, h, r).mean() for each in (without_h, ablated(plain, h)))
    assert tied > 0.1
    assert loose < tied / 4
    at_once = once_removed(cosine_profiles(plain, r), cosine_profiles(plain, h), 0.0)
    direct = squared_change(cosine_profiles(plain, r), at_once).mean()
    through = squared_change(cosine_profiles(plain, r), cosine_profiles(without_h, r)).mean()
    assert direct < through / 4, "taking h out of each layer's input explains little of it"


@given(seeds, st.floats(-0.95, 0.95))
def test_once_removed_is_what_taking_a_direction_out_leaves_at_once(seed: int, cos: float) -> None:
    u, v = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, 2)))[0].T
    v = cos * u + np.sqrt(1 - cos**2) * v
    plain = streams(seed)
    left = once_removed(cosine_profiles(plain, v), cosine_profiles(plain, u), cos)
    np.testing.assert_allclose(left, cosine_profiles(ablated(plain, u), v), atol=1e-9)


@given(seeds, st.sampled_from([-1.0, 1.0]), st.sampled_from([-1.0, 1.0]), st.floats(0.1, 50.0))
def test_signs_lengths_and_which_is_which_change_nothing(seed: int, one: float, other: float, scale: float) -> None:
    plain, without_h, without_r = (streams(seed + i) for i in range(3))
    h, r = np.random.default_rng(seed).standard_normal((2, D))
    found = change(plain, without_h, without_r, h, r)
    np.testing.assert_allclose(change(plain, without_h, without_r, one * scale * h, other * r), found)
    np.testing.assert_allclose(change(plain, without_r, without_h, r, h), found)
    turn = np.linalg.qr(np.random.default_rng(seed + 9).standard_normal((D, D)))[0]
    np.testing.assert_allclose(change(plain @ turn, without_h @ turn, without_r @ turn, h @ turn, r @ turn), found)
    np.testing.assert_allclose(change(3 * plain, without_h, without_r, h, r), found)
    assert ((found >= 0) & (found <= 8)).all()


def test_the_largest_change() -> None:
    h, r = np.eye(D)[:2]
    along = np.ones((1, LAYERS, 1))
    plain, edited = (np.stack([sign * along * v for v in (h, r)]) for sign in (1, -1))
    turned = representational_change(
        np.stack([cosine_profiles(plain[i], v) for i, v in enumerate((h, r))]),
        np.stack([cosine_profiles(edited[i], v) for i, v in enumerate((h, r))]),
    )
    np.testing.assert_allclose(turned, [8.0])


def test_nine_tenths_of_the_layers() -> None:
    assert [profile_layers(n) for n in (2, 3, 6, 10, 20, 30, 32, 70)] == [1, 2, 5, 9, 18, 27, 28, 63]
    with pytest.raises(NothingToMeasure, match="0 of 1 layers"):
        profile_layers(1)
    plain, late = streams(), streams()
    late[:, 9] += 100
    h, r = np.eye(D)[:2]
    np.testing.assert_array_equal(change(plain, late, late, h, r), 0)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_activation_that_is_none_is_no_number(bad: float) -> None:
    plain, broken = streams(), streams()
    broken[2, 4] = bad
    h, r = np.eye(D)[:2]
    profile = cosine_profiles(broken, h)
    assert np.isnan(profile[2, 4])
    assert np.isfinite(np.delete(profile.ravel(), 2 * 9 + 4)).all()
    found = change(plain, broken, plain, h, r)
    assert np.isnan(found[2])
    assert np.isfinite(np.delete(found, 2)).all()


def test_what_is_parallel_leaves_nothing() -> None:
    left = once_removed(np.array([1.0, 0.3]), np.array([1.0, 0.2]), 1.0)
    assert np.isnan(left[0])
    assert np.isfinite(left[1])


def test_profiles_that_cannot_be_compared_are_refused() -> None:
    plain, h = streams(), np.eye(D)[0]
    with pytest.raises(RequestError, match=r"streams \[\.\.\., L, d\]"):
        cosine_profiles(plain, h[:15])
    with pytest.raises(NothingToMeasure, match="null direction"):
        cosine_profiles(plain, 0 * h)
    with pytest.raises(NothingToMeasure, match="not finite"):
        cosine_profiles(plain, np.nan * h)
    with pytest.raises(RequestError, match="same layers"):
        squared_change(np.zeros((2, 9)), np.zeros((2, 8)))
    with pytest.raises(RequestError, match="same layers"):
        squared_change(np.zeros((2, 0)), np.zeros((2, 0)))
    with pytest.raises(RequestError, match="two directions"):
        representational_change(np.zeros((3, 5, 9)), np.zeros((3, 5, 9)))

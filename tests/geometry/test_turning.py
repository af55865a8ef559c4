"""Angles without sampling noise: those of scipy where there is none, and the planted ones where there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import subspaces, turning
from geoaudit.geometry.crossfit import Sampled, cosines_of_angles, gram, stacked
from geoaudit.stats.bootstrap import block_weights

B, M, D, K = 16, 6, 20, 3
WEIGHTS = block_weights(B, 120, 1)
quick = settings(deadline=None, derandomize=True, max_examples=30)


def sampled(
    value: np.ndarray, noise: float, generator: np.random.Generator, shared: np.ndarray | None = None
) -> Sampled:
    """Means of B blocks around a field [m, d]; `shared` deviations [B, m, d] are added."""
    rows = value + noise * generator.standard_normal((B, *value.shape)) + (0 if shared is None else shared)
    mean = rows.mean(axis=0)
    return Sampled(mean, (rows - mean) / B / np.sqrt(1 - 1 / B))


def field(sizes: tuple[float, ...], seed: int, basis: np.ndarray) -> np.ndarray:
    left = np.linalg.qr(np.random.default_rng(seed).standard_normal((M, len(sizes))))[0]
    return (left * sizes) @ basis


def turned(angles: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two bases whose matching axes are that many degrees apart."""
    axes, turn = np.eye(D), np.radians(angles)[:, None]
    return axes[:K], np.cos(turn) * axes[:K] + np.sin(turn) * axes[K : 2 * K]


@quick
@given(st.integers(0, 10**6), st.integers(1, M - 1))
def test_without_noise_they_are_the_principal_angles_of_the_top_subspaces(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    here, there = generator.standard_normal((2, M, D))
    found = turning.turning(*(Sampled(each, np.zeros((B, M, D))) for each in (here, there)), WEIGHTS, k)
    one, other = (subspaces.top_subspace(each, k) for each in (here, there))
    np.testing.assert_allclose(
        np.arccos(np.minimum(found.cosines, 1))[::-1], subspace_angles(one.basis.T, other.basis.T), atol=1e-6
    )
    cosines, shares = turning.principal(np.diag(found.cosines), found.energies)
    np.testing.assert_allclose(cosines, found.cosines)
    weighted = shares @ np.arccos(np.minimum(cosines, 1))
    assert weighted == pytest.approx(float(subspaces.energy_weighted_angle(one, other)), abs=1e-6)
    assert shares.sum() == pytest.approx(1)
    assert max(np.abs(found.moved).max(), np.abs(found.moved_energies).max()) < 1e-9
    assert found.signal > 1e6


def test_noise_makes_the_plain_angles_too_large_and_these_not() -> None:
    """Nothing has turned; three quarters of the noise are the same in both fields."""
    plain, free = [], []
    here, there = turned((0, 0, 0))
    for seed in range(80):
        generator = np.random.default_rng(seed)
        shared = 1.2 * generator.standard_normal((B, M, D))
        both = [
            sampled(field((5, 4, 3), 0, here), 0.7, generator, shared),
            sampled(field((5, 4, 3), 1, there), 0.7, generator, shared),
        ]
        tops = [subspaces.top_subspace(each.value, K).basis for each in both]
        plain.append(np.cos(subspaces.principal_angles(*tops)) ** 2)
        free.append(turning.turning(*both, WEIGHTS[:2], K).cosines ** 2)
    error = np.std(free) / np.sqrt(80)
    assert np.mean(free) == pytest.approx(1, abs=4 * error)
    assert np.mean(plain) < 0.9


def test_what_a_resample_moves_gives_its_own_angles() -> None:
    generator = np.random.default_rng(3)
    bases = turned((5, 20, 60))
    both = [sampled(field((5, 4, 3), index, basis), 0.5, generator) for index, basis in enumerate(bases)]
    found = turning.turning(*both, WEIGHTS, K)
    drawn = gram(stacked(both)).resampled(WEIGHTS)
    expected = cosines_of_angles(drawn, slice(0, M), slice(M, None), K)
    singular, shares = turning.principal(np.diag(found.cosines) + found.moved, found.energies + found.moved_energies)
    np.testing.assert_allclose(singular, expected, atol=1e-9)
    for side, rows in enumerate((slice(0, M), slice(M, None))):
        top = np.linalg.eigvalsh(drawn[:, rows, rows])[:, -K:]
        both = found.energies[side] + found.moved_energies[:, side]
        np.testing.assert_allclose(np.linalg.eigvalsh(both), top / top.sum(axis=1, keepdims=True), atol=1e-9)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert shares.std(axis=0).min() > 0


def test_axes_of_equal_energy_that_resamples_turn_among_themselves_move_nothing() -> None:
    """Which axes of a subspace come out first is chance where their energies are equal; its angles are not."""
    generator = np.random.default_rng(3)
    both = [sampled(field((4, 4, 4), index, basis), 0.1, generator) for index, basis in enumerate(turned((5, 20, 60)))]
    found = turning.turning(*both, WEIGHTS, K)
    assert np.abs(found.moved).max() < 0.1
    assert np.abs(found.moved_energies).max() < 0.1


def test_chunks_are_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    both = [sampled(field((5, 4, 3), 0, basis), 0.5, generator) for basis in turned((5, 20, 60))]
    whole = turning.turning(*both, WEIGHTS, K)
    monkeypatch.setattr(turning, "CHUNK_VALUES", 7 * (2 * M) ** 2)
    parts = turning.turning(*both, WEIGHTS, K)
    np.testing.assert_allclose(parts.moved, whole.moved)
    np.testing.assert_allclose(parts.moved_energies, whole.moved_energies)
    assert parts.signal == pytest.approx(whole.signal)


def test_it_is_as_far_there_as_back() -> None:
    generator = np.random.default_rng(5)
    here, there = (sampled(field((5, 4, 3), 0, basis), 0.5, generator) for basis in turned((5, 20, 60)))
    way, back = turning.turning(here, there, WEIGHTS, K), turning.turning(there, here, WEIGHTS, K)
    np.testing.assert_allclose(way.cosines, back.cosines)
    np.testing.assert_allclose(np.abs(way.energies), np.abs(back.energies[::-1]), atol=1e-9)
    np.testing.assert_allclose(np.abs(way.moved), np.abs(back.moved.swapaxes(1, 2)), atol=1e-9)
    assert way.signal == pytest.approx(back.signal)


def test_a_dimension_of_noise_has_little_signal_and_more_than_there_are_none() -> None:
    weak, said = [], set()
    for seed in range(20):
        generator = np.random.default_rng(seed)
        both = [sampled(field((5, 4), 0, np.eye(D)[:2]), 0.5, generator) for _ in range(2)]
        try:
            weak.append(turning.turning(*both, WEIGHTS, K).signal)
        except NothingToMeasure as error:
            said.add(str(error))
            weak.append(0.0)
        assert turning.turning(*both, WEIGHTS, 2).signal > 5
    assert np.median(weak) < 2
    assert said == {"dimension 3 of a subspace has no energy above its sampling noise"}
    with pytest.raises(NothingToMeasure, match="7-dimensional"):
        turning.turning(*both, WEIGHTS, M + 1)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.subspaces import (
    TopSubspace,
    c_sub,
    energy_weighted_angle,
    orthonormal,
    outside,
    principal_angles,
    projector_distance,
    top_subspace,
)

quick = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 10**6)


def basis_of(k: int, d: int, seed: int) -> np.ndarray:
    return orthonormal(np.random.default_rng(seed).standard_normal((k, d)))


def rotation(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def planted_pair(angles: list[float], d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two subspaces at exactly these principal angles, in a random orientation and in random bases."""
    k = len(angles)
    frame = rotation(d, seed)
    one, other = frame[:k], frame[k : 2 * k]
    turned = np.cos(angles)[:, None] * one + np.sin(angles)[:, None] * other
    return rotation(k, seed + 1) @ one, rotation(k, seed + 2) @ turned


@pytest.mark.parametrize(
    "angles",
    [
        [0.0],
        [1e-12],
        [1e-9, 1e-5, 0.3],
        [0.0, 0.0, 1e-9],
        [1e-9, 1.4],
        [0.7, 0.8, 0.9],
        [0.1, np.pi / 2 - 1e-9, np.pi / 2],
        [np.pi / 4, np.pi / 4, np.pi / 4],
    ],
)
def test_planted_angles_are_found_however_small_or_large(angles: list[float]) -> None:
    for seed in range(5):
        one, other = planted_pair(angles, 24, seed)
        np.testing.assert_allclose(principal_angles(one, other), angles, atol=4e-15, rtol=1e-12)


def test_the_cosine_alone_would_call_a_small_angle_zero() -> None:
    """The negative control of the test above."""
    one, other = planted_pair([1e-9], 24, 0)
    assert np.arccos(np.clip(np.abs(one @ other.T), -1, 1)).item() != pytest.approx(1e-9, rel=0.5)


@quick
@given(seed=seeds, k=st.integers(1, 4), m=st.integers(1, 4), shared=st.integers(0, 4), log=st.integers(-12, 1))
def test_angles_agree_with_scipy_on_random_and_degenerate_pairs(
    seed: int, k: int, m: int, shared: int, log: int
) -> None:
    generator = np.random.default_rng(seed)
    one = generator.standard_normal((k, 9))
    other = generator.standard_normal((m, 9))
    both = min(shared, k, m)
    other[:both] = one[:both] + 10.0**log * generator.standard_normal((both, 9))
    a, b = orthonormal(one), orthonormal(other)
    expected = scipy.linalg.subspace_angles(a.T, b.T)[::-1]
    # Where there are small and large angles, scipy 1.17 takes the cosine of the small ones (its mask runs the other way
    # round) and knows them to sqrt(ε); the planted pair [1e-9, 1.4] above says which of the two is right.
    mixed = expected.min() < np.pi / 4 < expected.max()
    np.testing.assert_allclose(principal_angles(a, b), expected, rtol=0, atol=3e-8 if mixed else 1e-13)


@quick
@given(seed=seeds, k=st.integers(1, 4))
def test_no_number_depends_on_the_basis_the_order_or_the_orientation(seed: int, k: int) -> None:
    one, other = basis_of(k, 10, seed), basis_of(k, 10, seed + 1)
    turn, inner = rotation(10, seed + 2), rotation(k, seed + 3)
    for measure in (principal_angles, c_sub, projector_distance):
        value = measure(one, other)
        np.testing.assert_allclose(measure(other, one), value, atol=1e-12)
        np.testing.assert_allclose(measure(inner @ one, other), value, atol=1e-12)
        np.testing.assert_allclose(measure(one @ turn, other @ turn), value, atol=1e-12)


@quick
@given(seed=seeds, k=st.integers(1, 4), log=st.integers(-9, 0))
def test_overlap_and_distance_are_what_the_angles_say(seed: int, k: int, log: int) -> None:
    generator = np.random.default_rng(seed)
    one = basis_of(k, 9, seed)
    other = orthonormal(one + 10.0**log * generator.standard_normal((k, 9)))
    angles = principal_angles(one, other)
    assert np.all((angles >= 0) & (angles <= np.pi / 2))
    assert np.all(np.diff(angles) >= 0)
    assert c_sub(one, other) == pytest.approx(np.mean(np.cos(angles) ** 2), abs=1e-12)
    assert projector_distance(one, other) == pytest.approx(np.sqrt(np.mean(np.sin(angles) ** 2)), rel=1e-6, abs=1e-15)
    projectors = one.T @ one - other.T @ other
    assert projector_distance(one, other) == pytest.approx(np.linalg.norm(projectors) / np.sqrt(2 * k), abs=1e-12)


def test_the_same_subspace_and_orthogonal_ones_are_at_the_ends_of_the_range() -> None:
    frame = rotation(8, 0)
    one, other = frame[:3], frame[3:6]
    assert (c_sub(one, one), projector_distance(one, other)) == (pytest.approx(1.0), pytest.approx(1.0))
    assert c_sub(one, one) <= 1.0
    assert c_sub(one, other) == pytest.approx(0.0, abs=1e-15)
    assert projector_distance(one, one) == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_allclose(principal_angles(one, other), np.pi / 2)


def test_random_subspaces_overlap_by_k_over_d() -> None:
    drawn = [c_sub(basis_of(3, 60, seed), basis_of(3, 60, seed + 1000)) for seed in range(200)]
    assert np.mean(drawn) == pytest.approx(3 / 60, rel=0.1)


def test_subspaces_of_different_dimension_have_angles_but_no_overlap() -> None:
    frame = rotation(8, 1)
    line, plane = frame[:1], np.stack([frame[0] + frame[2], frame[1]])
    plane = orthonormal(plane)
    assert principal_angles(line, plane) == pytest.approx([np.pi / 4])
    assert principal_angles(plane, line) == pytest.approx([np.pi / 4])
    for measure in (c_sub, projector_distance):
        with pytest.raises(RequestError, match="1 and 2 dimensions"):
            measure(line, plane)


def test_resamples_are_carried_through() -> None:
    ones = np.stack([basis_of(3, 9, seed) for seed in range(5)])
    other = basis_of(3, 9, 77)
    for measure in (principal_angles, c_sub, projector_distance):
        together = measure(ones, other)
        np.testing.assert_allclose(together, [measure(one, other) for one in ones], atol=1e-14)


@pytest.mark.parametrize("measure", [principal_angles, c_sub, projector_distance])
def test_other_widths_and_bases_that_are_none_are_refused(measure) -> None:
    one = basis_of(2, 8, 0)
    with pytest.raises(NothingToMeasure, match="8 and 9"):
        measure(one, basis_of(2, 9, 0))
    with pytest.raises(RequestError, match="orthonormal"):
        measure(one, one * 1.001)
    with pytest.raises(RequestError, match="in rows"):
        measure(one[0], one[1])
    with pytest.raises(NothingToMeasure, match="NaN"):
        measure(one, np.full((2, 8), np.nan))


# --- top_subspace


@quick
@given(seed=seeds, m=st.integers(3, 14), d=st.integers(3, 14), k=st.integers(1, 3), log=st.integers(-150, 150))
def test_the_top_subspace_is_that_of_the_full_decomposition(seed: int, m: int, d: int, k: int, log: int) -> None:
    generator = np.random.default_rng(seed)
    scales = 3.0 ** -np.arange(min(m, d))
    matrix = rotation(m, seed)[:, : scales.size] * scales @ rotation(d, seed + 1)[: scales.size]
    matrix = matrix * 10.0**log + 0 * generator.standard_normal((m, d))
    found = top_subspace(matrix, k)
    _, sigma, right = np.linalg.svd(matrix)
    np.testing.assert_allclose(np.abs((found.basis * right[:k]).sum(axis=-1)), 1.0, atol=1e-12)
    np.testing.assert_allclose(principal_angles(found.basis, right[:k]), 0.0, atol=1e-12)
    energies = (sigma / sigma[0]) ** 2
    np.testing.assert_allclose(found.shares, energies[:k] / energies.sum(), atol=1e-12)


def test_a_weak_axis_is_found_as_exactly_as_by_the_full_decomposition() -> None:
    """The squares of a Gram matrix lose half the digits; the second multiplication gets them back."""
    left, right = rotation(40, 0), rotation(60, 1)
    scales = np.array([1.0, 1e-3, 1e-5, 1e-9])
    matrix = left[:, :4] * scales @ right[:4]
    for each in (matrix, matrix.T @ matrix @ matrix.T):
        found = top_subspace(each, 1)
        truth = np.linalg.svd(each)[2][:1]
        np.testing.assert_allclose(principal_angles(found.basis, truth), 0.0, atol=1e-14)
    np.testing.assert_allclose(principal_angles(top_subspace(matrix, 3).basis, right[:3]), 0.0, atol=1e-9)
    np.testing.assert_allclose(principal_angles(top_subspace(matrix.T, 3).basis, left.T[:3]), 0.0, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_more_dimensions_than_the_directions_span_are_refused(rank: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((20, rank)) @ rotation(12, 1)[:rank]
    assert top_subspace(matrix, rank).basis.shape == (rank, 12)
    with pytest.raises(NothingToMeasure, match=f"span {rank} dim"):
        top_subspace(matrix, rank + 1)
    with pytest.raises(NothingToMeasure, match="no 3-dimensional"):
        top_subspace(np.ones((2, 12)), 3)
    with pytest.raises(RequestError, match="k = 0"):
        top_subspace(matrix, 0)


def test_nothing_and_what_is_not_finite_span_nothing() -> None:
    with pytest.raises(NothingToMeasure, match="zero"):
        top_subspace(np.zeros((3, 4)), 1)
    for bad in (np.nan, np.inf):
        with pytest.raises(NothingToMeasure, match="NaN or infinity"):
            top_subspace(np.array([[1.0, bad], [0.0, 1.0]]), 1)


def test_leading_dimensions_are_nested() -> None:
    found = top_subspace(np.random.default_rng(5).standard_normal((30, 12)), 4)
    for k in (1, 2, 3, 4):
        again = top_subspace(np.random.default_rng(5).standard_normal((30, 12)), k)
        np.testing.assert_allclose(principal_angles(found.first(k).basis, again.basis), 0, atol=1e-12)
        np.testing.assert_allclose(found.first(k).shares, again.shares)
    for k in (0, 5):
        with pytest.raises(RequestError, match="1 … 4"):
            found.first(k)


# --- energy-weighted angle


def stack(basis: np.ndarray, scales: list[float], seed: int) -> np.ndarray:
    """Directions whose singular vectors are the rows of the basis."""
    return rotation(12, seed)[:, : len(scales)] * np.array(scales) @ basis


def test_the_energy_weighted_angle_of_planted_axes() -> None:
    """The leading axis stays, a weak one turns by 0.6: the angle counts for its share of the energy."""
    frame = rotation(10, 3)
    turned = np.stack([frame[0], np.cos(0.6) * frame[1] + np.sin(0.6) * frame[5]])
    before, after = stack(frame[:2], [10.0, 1.0], 0), stack(turned, [10.0, 2.0], 1)
    value = energy_weighted_angle(top_subspace(before, 2), top_subspace(after, 2))
    assert value == pytest.approx(0.6 * (1 / 101 + 4 / 104) / 2, abs=1e-12)
    assert principal_angles(top_subspace(before, 2).basis, top_subspace(after, 2).basis)[-1] == pytest.approx(0.6)


@quick
@given(seed=seeds, k=st.integers(1, 4))
def test_the_energy_weighted_angle_is_one_number_of_the_two_matrices(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    one, other = generator.standard_normal((2, 12, 9))
    value = energy_weighted_angle(top_subspace(one, k), top_subspace(other, k))
    angles = principal_angles(top_subspace(one, k).basis, top_subspace(other, k).basis)
    assert angles[0] - 1e-12 <= value <= angles[-1] + 1e-12
    turn, rows = rotation(9, seed + 1), rotation(12, seed + 2)
    for a, b in [(other, one), (rows @ one, 7 * other), (one @ turn, other @ turn), (-one, other)]:
        assert energy_weighted_angle(top_subspace(a, k), top_subspace(b, k)) == pytest.approx(value, abs=1e-9)


def test_free_principal_vectors_and_equal_energies_do_not_matter() -> None:
    """All angles equal: the principal vectors are any basis. All energies equal: so are the singular vectors."""
    one, other = planted_pair([0.4, 0.4], 10, 0)
    for scales in ([5.0, 1.0], [2.0, 2.0]):
        value = energy_weighted_angle(top_subspace(stack(one, scales, 1), 2), top_subspace(stack(other, scales, 2), 2))
        assert value == pytest.approx(0.4, abs=1e-12)
    frame = planted_pair([0.1, 0.9], 10, 3)
    values = [
        energy_weighted_angle(
            top_subspace(stack(rotation(2, seed) @ frame[0], [1.0, 1.0], 1), 2),
            top_subspace(stack(frame[1], [1.0, 1.0], 2), 2),
        )
        for seed in range(6)
    ]
    np.testing.assert_allclose(values, 0.5, atol=1e-12)


def test_the_energy_weighted_angle_of_resamples() -> None:
    generator = np.random.default_rng(0)
    ones, other = generator.standard_normal((4, 12, 9)), top_subspace(generator.standard_normal((12, 9)), 3)
    together = energy_weighted_angle(top_subspace(ones, 3), other)
    np.testing.assert_allclose(together, [energy_weighted_angle(top_subspace(one, 3), other) for one in ones])
    with pytest.raises(RequestError, match="3 and 2"):
        energy_weighted_angle(other, other.first(2))
    with pytest.raises(RequestError, match="orthonormal"):
        energy_weighted_angle(other, TopSubspace(2 * other.basis, other.shares))


# --- complements


@quick
@given(seed=seeds, k=st.integers(1, 4), log=st.integers(-9, 3))
def test_what_is_outside_is_orthogonal_and_with_what_is_inside_gives_the_vector(seed: int, k: int, log: int) -> None:
    generator = np.random.default_rng(seed)
    base = basis_of(k, 9, seed)
    vector = generator.standard_normal((2, k)) @ base + 10.0**log * generator.standard_normal((2, 9))
    left = outside(vector, base)
    assert np.abs(left @ base.T).max() <= 1e-14 * np.linalg.norm(left)
    np.testing.assert_allclose(left + vector @ base.T @ base, vector, atol=1e-12 * np.linalg.norm(vector))
    np.testing.assert_allclose(outside(left, base), left)


def test_orthonormal_keeps_the_span_and_the_first_direction() -> None:
    vectors = np.random.default_rng(0).standard_normal((3, 8)) * np.array([[1e-3], [5.0], [1e6]])
    basis = orthonormal(vectors)
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(basis[0], vectors[0] / np.linalg.norm(vectors[0]))
    np.testing.assert_allclose(outside(vectors, basis), 0, atol=1e-8)
    np.testing.assert_allclose(orthonormal(vectors[None])[0], basis)
    np.testing.assert_allclose(orthonormal(-vectors[:1]), -basis[:1])


@pytest.mark.parametrize(
    "vectors",
    [
        [[1.0, 0.0, 0.0], [2.0, 1e-7, 0.0]],
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [[1.0, np.nan, 0.0]],
        [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
    ],
)
def test_vectors_that_depend_on_each_other_are_no_basis(vectors: list[list[float]]) -> None:
    with pytest.raises(NothingToMeasure):
        orthonormal(np.array(vectors))


def test_the_published_gemma_directions_span_what_is_printed(benchmark_data: Path) -> None:
    """Five unit directions at layer 10: exp of the entropy of all their shares is 2.5954; row 0 adds no dimension."""
    field = np.load(benchmark_data / "refusal_direction" / "golden_gemma-2b-it_mean_diffs_f32.npy").astype(np.float64)
    rows = field[:, 10] / np.linalg.norm(field[:, 10], axis=-1, keepdims=True)
    shares = top_subspace(rows, 5).shares
    assert np.exp(-(shares * np.log(shares)).sum()) == pytest.approx(2.5954, abs=5e-5)
    with pytest.raises(NothingToMeasure, match="span 5 dimensions"):
        top_subspace(np.concatenate([field[:, 10], field[:, 0]]), 6)
    one, other = (top_subspace(field[:, layer], 3).basis for layer in (10, 11))
    expected = scipy.linalg.subspace_angles(one.T, other.T)[::-1]
    np.testing.assert_allclose(principal_angles(one, other), expected, atol=1e-7)

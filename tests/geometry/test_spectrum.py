from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.linalg import svdvals
from scipy.stats import entropy

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.spectrum import (
    components_for_energy,
    dominated_by_norm,
    effective_rank_energy,
    effective_rank_singular_values,
    normalised,
    participation_ratio,
    singular_values,
)

RANKS = [effective_rank_energy, effective_rank_singular_values, participation_ratio]
Statistic = Callable[[np.ndarray], np.ndarray]

spectra = st.lists(st.floats(0, 1e3), min_size=1, max_size=12).filter(lambda s: max(s) > 1e-3).map(np.array)
quick = settings(deadline=None, derandomize=True, max_examples=60)


def orthonormal(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, rows)))[0].T


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (6, 6), (3, 4, 7)])
def test_singular_values_agree_with_a_full_decomposition(shape: tuple[int, ...]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(singular_values(matrix), np.linalg.svd(matrix, compute_uv=False), rtol=1e-9)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_singular_values_scale_with_the_matrix(size: float) -> None:
    matrix = np.random.default_rng(1).standard_normal((4, 9))
    np.testing.assert_allclose(singular_values(matrix * size), singular_values(matrix) * size, rtol=1e-12)


@pytest.mark.parametrize("statistic", RANKS)
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_a_planted_rank_is_found(statistic: Statistic, rank: int) -> None:
    basis = orthonormal(rank, 40)
    matrix = np.repeat(basis, 4, axis=0) * 3.0  # 4 copies of each of `rank` orthogonal rows
    assert float(statistic(singular_values(matrix))) == pytest.approx(rank, abs=1e-9)
    assert int(components_for_energy(singular_values(matrix), 1.0)) == rank


def test_values_by_hand() -> None:
    singular = np.array([2.0, 1.0])  # energies 0.8, 0.2; shares of singular values 2/3, 1/3
    assert effective_rank_energy(singular) == pytest.approx(0.8**-0.8 * 0.2**-0.2)
    assert effective_rank_singular_values(singular) == pytest.approx((2 / 3) ** (-2 / 3) * (1 / 3) ** (-1 / 3))
    assert participation_ratio(singular) == pytest.approx(25 / 17)
    assert components_for_energy(singular, 0.8) == 1
    assert components_for_energy(singular, 0.81) == 2


def test_a_share_that_is_reached_but_for_rounding_is_reached() -> None:
    assert components_for_energy(np.array([3.0, 1.0]), 0.9) == 1  # summed, 0.8999999999999999
    assert components_for_energy(np.ones(10), 0.9) == 9
    assert components_for_energy(np.ones(10), 0.3) == 3
    assert components_for_energy(np.array([0.0, 3.0, 0.0]), 1.0) == 1


@quick
@given(spectra)
def test_ranks_lie_between_one_and_the_rank_and_are_ordered(singular: np.ndarray) -> None:
    rank = int((singular > 0).sum())
    energy, roy, ratio = (float(f(singular)) for f in RANKS)
    slack = 1e-9 * rank
    assert 1 - slack <= ratio <= energy + slack  # Rényi entropy of order 2 is not above that of order 1
    assert energy <= roy + slack <= rank + 2 * slack


@quick
@given(spectra, st.floats(1e-6, 1e6))
def test_ranks_do_not_depend_on_scale_order_or_zeros(singular: np.ndarray, factor: float) -> None:
    changed = np.concatenate([singular[::-1] * factor, [0.0]])
    for statistic in RANKS:
        assert float(statistic(changed)) == pytest.approx(float(statistic(singular)), rel=1e-9)
    assert components_for_energy(changed, 0.9) == components_for_energy(singular, 0.9)


@quick
@given(st.integers(0, 1000))
def test_the_spectrum_does_not_depend_on_the_basis_or_on_the_order_of_rows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((5, 7))
    turned = matrix[generator.permutation(5)] @ orthonormal(7, 7, seed)
    np.testing.assert_allclose(singular_values(turned), singular_values(matrix), rtol=1e-8)


def test_a_batch_of_spectra_is_each_of_them() -> None:
    batch = singular_values(np.random.default_rng(2).standard_normal((4, 5, 9)))
    for statistic in (*RANKS, lambda s: components_for_energy(s, 0.9)):
        np.testing.assert_array_equal(statistic(batch), [statistic(each) for each in batch])


@pytest.mark.parametrize("statistic", [*RANKS, lambda s: components_for_energy(s, 0.9)])
@pytest.mark.parametrize("singular", [[0.0, 0.0], [], [1.0, np.nan], [1.0, np.inf], [1.0, -1.0]])
def test_a_spectrum_of_nothing_has_no_rank(statistic: Statistic, singular: list[float]) -> None:
    with pytest.raises(NothingToMeasure):
        statistic(np.array(singular))


@pytest.mark.parametrize("matrix", [np.zeros((3, 4)), np.empty((0, 4)), np.full((3, 4), np.nan), np.array(3.0)])
def test_a_matrix_of_nothing_has_no_spectrum(matrix: np.ndarray) -> None:
    with pytest.raises(NothingToMeasure, match="no spectrum"):
        singular_values(matrix)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, np.nan])
def test_a_share_of_the_energy_lies_above_0_and_not_above_1(fraction: float) -> None:
    with pytest.raises(RequestError, match="fraction"):
        components_for_energy(np.ones(3), fraction)


def test_normalised_drops_null_rows_instead_of_blowing_them_up() -> None:
    matrix = np.array([[3.0, 4.0, 0.0], [1e-14, 0.0, 0.0], [0.0, 0.0, 2.0]])
    np.testing.assert_allclose(normalised(matrix), [[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(normalised(matrix, np.array([True, True, False])), [[0.0, 0.0, 1.0]])
    assert len(normalised(matrix, np.array([False, False, False]))) == 3  # told which, it does not guess
    with pytest.raises(NothingToMeasure, match="every row is null"):
        normalised(np.zeros((2, 3)))
    with pytest.raises(NothingToMeasure, match="NaN"):
        normalised(np.array([[1.0, np.nan]]))


def test_a_spectrum_made_by_norms_is_told_from_one_made_by_angles() -> None:
    basis = orthonormal(6, 20)
    assert not dominated_by_norm(basis)
    assert not dominated_by_norm(np.repeat(basis[:1], 6, axis=0) * np.arange(1, 7)[:, None])  # one line, any norms
    assert dominated_by_norm(basis * np.array([100, 1, 1, 1, 1, 1])[:, None])  # the last layers drown the rest


matrices = st.one_of(
    st.builds(
        lambda rows, width, seed: np.random.default_rng(seed).standard_normal((rows, width)),
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(0, 10**6),
    ),
    # degenerate: few directions, repeated and zero rows, rows that differ in size by ten orders
    st.builds(
        lambda rows, rank, seed, zeros: _degenerate(rows, rank, seed, zeros),
        st.integers(2, 9),
        st.integers(1, 3),
        st.integers(0, 10**6),
        st.integers(0, 1),
    ),
)


def _degenerate(rows: int, rank: int, seed: int, zeros: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    matrix = generator.integers(-2, 3, (rows, rank)) @ generator.standard_normal((rank, 12))
    matrix[0] = generator.standard_normal(12) * 10.0 ** generator.integers(-5, 6)
    matrix[rows - zeros :] = 0
    return matrix


@quick
@given(matrices)
@example(np.eye(5))
@example(np.ones((4, 7)))
@example(np.diag([1.0, 1e-9, 0.0]))
def test_every_statistic_agrees_with_a_full_decomposition_and_scipys_entropy(matrix: np.ndarray) -> None:
    ours, theirs = singular_values(matrix), svdvals(matrix)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=5e-7 * theirs[0])  # below that ours are exactly 0
    energy = theirs**2 / (theirs**2).sum()
    assert float(effective_rank_energy(ours)) == pytest.approx(np.exp(entropy(energy)), rel=1e-9)
    assert float(effective_rank_singular_values(theirs)) == pytest.approx(np.exp(entropy(theirs)), rel=1e-9)
    assert float(participation_ratio(ours)) == pytest.approx(1 / (energy**2).sum(), rel=1e-9)
    for fraction in (0.5, 0.9, 0.95):
        held = [k for k in range(1, len(energy) + 1) if energy[:k].sum() >= fraction - 1e-9]
        assert int(components_for_energy(ours, fraction)) == held[0]


def test_published_gemma_spectrum(benchmark_data: Path) -> None:
    field = np.load(benchmark_data / "refusal_direction" / "golden_gemma-2b-it_mean_diffs_f32.npy").astype(np.float64)
    last_but_one = field[-2]
    with_noise = last_but_one / np.linalg.norm(last_but_one, axis=-1, keepdims=True)  # row 0 blown up to a direction
    singular = singular_values(with_noise)
    assert effective_rank_energy(singular) == pytest.approx(7.8929, abs=5e-5)
    assert effective_rank_singular_values(singular) == pytest.approx(14.2087, abs=5e-5)
    assert participation_ratio(singular) == pytest.approx(5.1193, abs=5e-5)
    kept = normalised(last_but_one)
    assert len(kept) == 17  # row 0 refused
    singular = singular_values(kept)
    assert effective_rank_energy(singular) == pytest.approx(7.1086, abs=5e-5)
    assert effective_rank_singular_values(singular) == pytest.approx(13.2120, abs=5e-5)
    assert participation_ratio(singular) == pytest.approx(4.6444, abs=5e-5)
    assert effective_rank_energy(singular_values(normalised(field[:, 10]))) == pytest.approx(2.5954, abs=5e-5)
    assert dominated_by_norm(last_but_one)  # late layers: 2.4 raw against 7.1

"""Subspaces spanned by directions, and how far two of them are apart.

A subspace is an orthonormal basis in rows, [..., k, d]; leading axes are resamples and are carried through everywhere.
Angles are in radians, in [0, π/2], from the smallest to the largest.

Nothing here depends on which basis of a subspace is given: signs, order and rotations within it change no number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError

Floats = NDArray[np.float64]

ORTHONORMAL = 1e-8
"""How far a basis may be from orthonormal before it is refused: above rounding, below what an angle would notice."""


@dataclass(frozen=True, eq=False)
class TopSubspace:
    """The leading right singular vectors of a stack of directions, with the energy along each.

    Args:
        basis: orthonormal rows, [..., k, d], by falling energy.
        shares: σ²/Σσ² of each, over *all* singular values, [..., k], in (0, 1].
    """

    basis: Floats
    shares: Floats

    def first(self, k: int) -> TopSubspace:
        """The leading k of them."""
        if not 1 <= k <= self.basis.shape[-2]:
            raise RequestError(f"k lies in 1 … {self.basis.shape[-2]}, got {k}")
        return TopSubspace(self.basis[..., :k, :], self.shares[..., :k])


def top_subspace(matrix: NDArray[Any], k: int) -> TopSubspace:
    """The k-dimensional subspace that holds most of the energy of a stack of directions (arXiv 2604.27019 §3).

    Its rows are the top-k right singular vectors; not centred. They come from the Gram matrix of the smaller side and
    are then multiplied once more by the matrix itself, which takes the rounding of the squares back out. The numerical
    rank is what that Gram matrix can tell: singular values above sqrt(min(m, d)·ε) ≈ 2e-7 of the largest one, as in
    `spectrum.singular_values`. Activations are kept in float32; what is smaller is their rounding.

    Args:
        matrix: directions in rows, [..., m, d].
        k: dimensions of the subspace, at least 1.

    Raises:
        RequestError: k below 1.
        NothingToMeasure: k above the numerical rank, or an entry that is not finite.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if k < 1:
        raise RequestError(f"a subspace has one dimension or more, got k = {k}")
    if values.ndim < 2 or min(values.shape[-2:]) < k:
        raise NothingToMeasure(f"no {k}-dimensional subspace from directions of shape {values.shape}")
    if not np.isfinite(values).all():
        raise NothingToMeasure("no subspace: a direction holds NaN or infinity")
    largest = np.abs(values).max(axis=(-2, -1), keepdims=True, initial=0.0)
    if not (largest > 0).all():
        raise NothingToMeasure("no subspace: every direction is zero")
    scaled = values / largest  # the squares below neither overflow nor vanish
    transposed = scaled.swapaxes(-1, -2)
    wide = scaled.shape[-2] <= scaled.shape[-1]
    gram = scaled @ transposed if wide else transposed @ scaled
    eigenvalues, vectors = np.linalg.eigh(gram)
    energy = eigenvalues[..., ::-1]
    floor = gram.shape[-1] * np.finfo(np.float64).eps * energy[..., :1]
    rank = int((energy > floor).sum(axis=-1).min())
    if rank < k:
        raise NothingToMeasure(f"no {k}-dimensional subspace: the directions span {rank} dimensions")
    leading = vectors[..., ::-1][..., :k].swapaxes(-1, -2)
    rows = leading @ scaled if wide else (leading @ transposed) @ scaled
    # QR keeps the order, so that the first j rows still span the first j singular vectors.
    basis = np.linalg.qr(rows.swapaxes(-1, -2))[0].swapaxes(-1, -2)
    kept = np.maximum(energy, 0.0)
    return TopSubspace(np.ascontiguousarray(basis), kept[..., :k] / kept.sum(axis=-1, keepdims=True))


def orthonormal(vectors: NDArray[Any]) -> Floats:
    """An orthonormal basis of what k independent vectors span; row j spans with those before it what vector j did.

    Args:
        vectors: [..., k, d], of any length.

    Returns:
        [..., k, d].

    Raises:
        NothingToMeasure: vectors that depend on each other within 1e-6 of their length (the resolution of float32
            means), that are zero or not finite.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (np.isfinite(size) & (size > 0)).all():
        raise NothingToMeasure("no basis: a vector is zero or not finite")
    if rows.shape[-2] > rows.shape[-1]:
        raise NothingToMeasure(f"{rows.shape[-2]} vectors of width {rows.shape[-1]} depend on each other")
    basis, triangle = np.linalg.qr((rows / size).swapaxes(-1, -2))
    diagonal = np.diagonal(triangle, axis1=-2, axis2=-1)
    if not (np.abs(diagonal) > DEPENDENT).all():
        raise NothingToMeasure("no basis: the vectors depend on each other")
    # QR may turn a row round; a basis of one vector is that vector.
    result: Floats = np.ascontiguousarray((basis * np.sign(diagonal)[..., None, :]).swapaxes(-1, -2))
    return result


DEPENDENT = 1e-6
"""Sine below which a vector lies in the span of others: what float32 means resolve."""


def outside(vectors: NDArray[Any], basis: NDArray[Any]) -> Floats:
    """What is left of vectors in the orthogonal complement of a subspace: x − x Bᵀ B.

    Args:
        vectors: [..., m, d].
        basis: orthonormal rows, [..., k, d].

    Returns:
        [..., m, d], orthogonal to every row of the basis within rounding of the *result* (the projection is taken off
        twice, so that a small remainder is as orthogonal as a large one).
    """
    rows, base = np.asarray(vectors, dtype=np.float64), _basis(basis)
    _same_width(rows, base)
    turned = base.swapaxes(-1, -2)
    once = rows - (rows @ turned) @ base
    result: Floats = once - (once @ turned) @ base
    return result


def principal_angles(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Principal angles between two subspaces, from the smallest to the largest, in radians.

    Each is taken from its sine and its cosine together (Knyazev & Argentati 2002): the cosine alone cannot tell an
    angle below 1e-8 from zero, the sine alone one near a right angle. Absolute error about 1e-15 at any size.

    Args:
        first: orthonormal rows, [..., k, d].
        second: orthonormal rows, [..., l, d]; leading axes broadcast.

    Returns:
        [..., min(k, l)], in [0, π/2].

    Raises:
        RequestError: rows that are not orthonormal (`orthonormal` makes them so).
        NothingToMeasure: different widths, or values that are not finite.
    """
    small, large = _sorted(first, second)
    cosines = np.linalg.svd(small @ large.swapaxes(-1, -2), compute_uv=False)
    sines = np.linalg.svd(outside(small, large), compute_uv=False)[..., ::-1]
    result: Floats = np.arctan2(sines, cosines)
    return result


def c_sub(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Overlap of two k-dimensional subspaces, (1/k) Σ cos² θ_i, in [0, 1] (arXiv 2606.16349 §3, Eq. 8).

    0: orthogonal; 1: the same. Two random subspaces have k/d.

    Args:
        first: orthonormal rows, [..., k, d].
        second: orthonormal rows, [..., k, d].

    Returns:
        [...]; for one pair a NumPy scalar.

    Raises:
        RequestError: different k, or rows that are not orthonormal.
        NothingToMeasure: different widths, or values that are not finite.
    """
    one, other = _alike(first, second)
    overlap = (one @ other.swapaxes(-1, -2)) ** 2
    result: Floats = np.minimum(overlap.sum(axis=(-2, -1)) / one.shape[-2], 1.0)
    return result


def projector_distance(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """‖P − Q‖_F / sqrt(2k) of the projectors on two k-dimensional subspaces, in [0, 1].

    0: the same; 1: orthogonal. It is the root mean square of the sines of the principal angles, and is taken from what
    of one lies outside the other, so that small distances keep their digits. Unlike the largest angle it does not jump
    to 90° when one weak axis of k has turned.

    Args:
        first: orthonormal rows, [..., k, d].
        second: orthonormal rows, [..., k, d].

    Returns:
        [...]; for one pair a NumPy scalar.

    Raises:
        RequestError: different k, or rows that are not orthonormal.
        NothingToMeasure: different widths, or values that are not finite.
    """
    one, other = _alike(first, second)
    sine = np.sqrt((outside(one, other) ** 2).sum(axis=(-2, -1)) / one.shape[-2])
    result: Floats = np.minimum(sine, 1.0)
    return result


def energy_weighted_angle(first: TopSubspace, second: TopSubspace) -> Floats:
    """Mean of the principal angles, each weighted by the energy along its principal vectors, in radians in [0, π/2].

    With (u_i, v_i) the pair of principal vectors at angle θ_i, and E the energy ‖R x‖² that a stack of directions R
    has along a unit vector x: a_i = E(u_i)/Σ_j E(u_j) in the first subspace, b_i = E(v_i)/Σ_j E(v_j) in the second, the
    angle is Σ_i ½(a_i + b_i) θ_i. Weak axes turn most; here they count for the little energy that they hold.

    It does not change when the two are swapped, when either matrix is scaled or its rows are rotated among themselves,
    or when the whole space is rotated. Principal vectors are free where angles are equal, but their shares then add up
    to the same sum, and so does the value.

    Args:
        first: with its energies, [..., k, d].
        second: likewise.

    Returns:
        [...]; for one pair a NumPy scalar.

    Raises:
        RequestError: different k, or rows that are not orthonormal.
        NothingToMeasure: different widths, or values that are not finite.
    """
    one, other = _alike(first.basis, second.basis)
    angles = principal_angles(one, other)
    left, _, right = np.linalg.svd(one @ other.swapaxes(-1, -2))
    # E is diagonal in the singular basis: a vector with coefficients c in it has Σ_j share_j · c_j².
    here = (left.swapaxes(-1, -2) ** 2 * first.shares[..., None, :]).sum(axis=-1)
    there = (right**2 * second.shares[..., None, :]).sum(axis=-1)
    weights = here / here.sum(axis=-1, keepdims=True) + there / there.sum(axis=-1, keepdims=True)
    result: Floats = (weights * angles).sum(axis=-1) / 2
    return result


def _basis(rows: NDArray[Any]) -> Floats:
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim < 2:
        raise RequestError(f"a basis has its vectors in rows, [..., k, d]; got shape {values.shape}")
    if not np.isfinite(values).all():
        raise NothingToMeasure("no angle: a basis holds NaN or infinity")
    gram = values @ values.swapaxes(-1, -2)
    if not (np.abs(gram - np.eye(values.shape[-2])) <= ORTHONORMAL).all():
        raise RequestError("the rows of a basis must be orthonormal (`orthonormal` makes them so)")
    return values


def _same_width(first: Floats, second: Floats) -> None:
    if first.shape[-1] != second.shape[-1]:
        raise NothingToMeasure(
            f"vectors of width {first.shape[-1]} and {second.shape[-1]} lie in different spaces: models of different "
            "width have no angle between them"
        )


def _alike(first: NDArray[Any], second: NDArray[Any]) -> tuple[Floats, Floats]:
    one, other = _basis(first), _basis(second)
    _same_width(one, other)
    if one.shape[-2] != other.shape[-2]:
        raise RequestError(f"subspaces of {one.shape[-2]} and {other.shape[-2]} dimensions: compare the same number")
    return one, other


def _sorted(first: NDArray[Any], second: NDArray[Any]) -> tuple[Floats, Floats]:
    """The one of fewer dimensions first: every direction of it has an angle with the other."""
    one, other = _basis(first), _basis(second)
    _same_width(one, other)
    return (one, other) if one.shape[-2] <= other.shape[-2] else (other, one)

"""How far the top-k subspaces of two fields lie apart, without the noise of the prompts that both were read on.

Two checkpoints are read on the same prompts, and what redrawing prompts does to both alike is no drift. What it does to
each on its own is no drift either, and the plain angle holds it: an axis of energy e whose noise has energy v leans by
about sqrt(v/e) out of the true one, in either checkpoint, so that subspaces that have not turned at all look turned by
the noise of their weakest axis. Resampling adds the same once more, and reflecting does not take it back out, because
angles add up by their squares. So the inner products are those of different prompts (`geometry.crossfit`): with H and T
the two fields, HHᵀ, TTᵀ and HTᵀ have no noise in expectation, whatever the two share, and the cosines of the principal
angles follow from them alone.

A single resampled angle is no guide where two are nearly equal: estimated ones repel each other, and resampled ones do
so once more. What is kept of a resample is by how much it moves the whole matrix of cosines.

Axes: R resamples, k dimensions, m rows of a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.crossfit import Sampled, gram, stacked

Floats = NDArray[np.float64]

CHUNK_VALUES = 8_000_000
"""Inner products held at once while resampling: 64 MB."""
SAME = 1e-12
"""A cosine this near to 1 is 1: means in float32 resolve no smaller angle."""


@dataclass(frozen=True, eq=False)
class Turning:
    """Two top-k subspaces, as they are and under redrawn blocks.

    Args:
        cosines: of the principal angles, falling, [k]; not clipped.
        energies: products of either field along its principal vectors, here and there, [2, k, k], as shares of its
            energy in the k dimensions.
        moved: by how much redrawn blocks move the matrix of cosines, [R, k, k]: row and column i belong to principal
            angle i, so that redrawn cosines are the singular values of diag(cosines) + moved. NaN where a k-th energy
            is not above 0.
        moved_energies: by how much they move the energies, [R, 2, k, k].
        signal: k-th energy over its standard error, of the field where it is less.
    """

    cosines: Floats
    energies: Floats
    moved: Floats
    moved_energies: Floats
    signal: float


def turning(here: Sampled, there: Sampled, weights: NDArray[Any], k: int) -> Turning:
    """The top-k subspaces of two fields from the same blocks of prompts.

    Args:
        here: rows of one field, [m, d], with what each block has to do with them.
        there: of the other, [m', d].
        weights: how often each block is drawn, [R, B]: in both fields alike.
        k: dimensions, at most the rows of either field.

    Raises:
        NothingToMeasure: more dimensions than rows, or a k-th energy that is not above that of noise.
    """
    m = len(here.value)
    if not 1 <= k <= min(m, len(there.value)):
        raise NothingToMeasure(f"no {k}-dimensional subspace from {min(m, len(there.value))} directions")
    products = gram(stacked([here, there]))
    rows = (slice(0, m), slice(m, None))
    own = [_Axes.of(products.value[each, each], k) for each in rows]
    if not all(axes.alive for axes in own):
        raise NothingToMeasure(f"dimension {k} of a subspace has no energy above its sampling noise")
    middle = own[0].basis.T @ products.value[rows[0], rows[1]] @ own[1].basis
    left, cosines, right = np.linalg.svd(middle)
    sides = (left, right.T)
    energies = np.stack([side.T @ axes.spread() @ side for side, axes in zip(sides, own, strict=True)])
    chunk = max(1, CHUNK_VALUES // products.value.size)
    found: list[tuple[Floats, ...]] = []
    for start in range(0, len(weights), chunk):
        drawn = products.resampled(weights[start : start + chunk])
        axes = [
            _Axes.of(drawn[:, each, each], k).onto(old, products.value[each, each])
            for each, old in zip(rows, own, strict=True)
        ]
        overlap = axes[0].basis.swapaxes(-1, -2) @ drawn[:, rows[0], rows[1]] @ axes[1].basis
        moved = left.T @ (overlap - middle) @ right.T
        others = np.stack([side.T @ new.spread() @ side for side, new in zip(sides, axes, strict=True)], axis=1)
        moved[~(axes[0].alive & axes[1].alive)] = np.nan
        found.append((moved, others - energies, axes[0].energies[:, 0], axes[1].energies[:, 0]))
    moved, moved_energies, *lowest = (np.concatenate(each) for each in zip(*found, strict=True))
    signal = min(_over_error(axes.energies[0], each) for axes, each in zip(own, lowest, strict=True))
    return Turning(_rounded(cosines), energies, moved, moved_energies, signal)


def principal(overlap: NDArray[Any], energies: NDArray[Any]) -> tuple[Floats, Floats]:
    """Cosines of principal angles, falling, and the share of energy along the vectors of each.

    Args:
        overlap: cosines between axes of two subspaces, [..., k, k].
        energies: products of either field along the same axes, [..., 2, k, k].

    Returns:
        [..., k] each; the shares are means of both fields and sum to 1.
    """
    left, cosines, right = np.linalg.svd(overlap)
    shares = np.zeros(cosines.shape)
    for side, turned in enumerate((left, right.swapaxes(-1, -2))):
        along = np.maximum((turned * (energies[..., side, :, :] @ turned)).sum(axis=-2), 0.0)
        shares += along / np.maximum(along.sum(axis=-1, keepdims=True), np.finfo(float).tiny) / 2
    return _rounded(cosines), shares


@dataclass(frozen=True, eq=False)
class _Axes:
    """The top-k axes of fields, from inner products of their rows [..., m, m]."""

    energies: Floats
    """Rising, [..., k]."""
    basis: Floats
    """Combinations of the rows that make the axes, [..., m, k]."""
    alive: NDArray[np.bool_]
    """Whether every energy is above 0."""
    turn: Floats
    """From the field's own axes to the basis, [..., k, k]."""

    @classmethod
    def of(cls, products: Floats, k: int) -> _Axes:
        energies, vectors = np.linalg.eigh(products)
        energies, vectors = energies[..., -k:], vectors[..., -k:]
        length = np.sqrt(np.where(energies > 0, energies, 1.0))
        return cls(energies, vectors / length[..., None, :], energies[..., 0] > 0, np.eye(k))

    def onto(self, old: _Axes, products: Floats) -> _Axes:
        """The basis turned within its subspace to fit another one best; no singular value changes by it."""
        left, _, right = np.linalg.svd(old.basis.T @ products @ self.basis)
        turn = (left @ right).swapaxes(-1, -2)
        return _Axes(self.energies, self.basis @ turn, self.alive, turn)

    def spread(self) -> Floats:
        """Products of the field along the basis, as shares of its energy, [..., k, k]."""
        shares = self.energies / np.maximum(self.energies.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
        found: Floats = self.turn.swapaxes(-1, -2) @ (shares[..., :, None] * self.turn)
        return found


def _rounded(cosines: Floats) -> Floats:
    return np.where(np.abs(cosines - 1) <= SAME, 1.0, cosines)


def _over_error(value: float, drawn: Floats) -> float:
    error = float(np.std(drawn))
    return float(value) / error if error > 0 else np.inf

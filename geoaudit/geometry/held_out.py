"""The spectrum of a field of mean differences without the energy that sampling noise adds to it.

A difference in means holds the true difference and noise, F = F₀ + N, and the energies of F are those of both: the
plain spectrum is too spread, and more so for fewer prompts. In a product of two fields made of *different* prompts the
noise of one is independent of the noise of the other, so that its expectation is the true Gram matrix,
E[F_a F_bᵀ] = F₀ F₀ᵀ. Here that product is averaged over all pairs of prompts from different blocks; with blocks of
equal size this is the mean of F_a F_bᵀ over all ways to halve the blocks, without the chance of any single split.

What it estimates are the energies of F₀. Their sum has no bias; single eigenvalues scatter, those of noise to both
sides of zero. What lies below zero is therefore taken from the smallest that lie above (`gram_singular_values`), which
keeps the sum. Setting negative ones to zero alone would leave the positive half of the noise in the spectrum: 1.31 in
simulation, where the truth is 1 and noise holds a fifth of the energy. Cancelled it is 1.05, the plain value 2.3. What
lies below the noise is lost with it: of a true spectrum with a long tail (4.6) the estimate is 4.3 to 4.5. Whether
there is such a tail is not known, so an interval reaches up to what all energies above zero make (`cancelled=False`):
without that it held the truth of that spectrum in 88 of 100 trials.

Where block b of one class holds the *twins* of block b of the other (a harmful prompt and a harmless one of the same
form), what twins have in common cancels in their difference, and is no noise. Taken for strangers, as much comes off as
both classes scatter, which is twice the covariance of twins too much. In `smollm2-135m` twins correlate at 0.67, and
three times the noise was taken off that there is. In simulation (160 pairs, correlation 0.5, noise at a tenth of the
energy, tests/tools/geometry_coverage.py) a true effective rank of 2.45 came out as 1.91. So twins are one draw: the
products are those of their differences, which give 2.45.

`geometry.crossfit` frees inner products of the same noise, and is another estimate on purpose. It compares contrasts of
the *same* cells of prompts, and its resamples are linear in the weights, because a thousand of them are needed at every
pair of layers. Here each weighted pair of prompts counts as it is whatever the sizes of the blocks, and every resample
is computed anew: eigenvalues are bent too strongly in the weights for a first-order step. Where all blocks of a cell
are of one size, both are the same number (tested).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans

Floats = NDArray[np.float64]

CHUNK_VALUES = 4_000_000
"""Numbers of fields held at once: 32 MB."""


class HeldOut:
    """Products between the kept sites of two prompt sets, ready to be weighted: [B, m, d] and [B, m, m] each.

    Args:
        one: blocks of the first class.
        other: blocks of the second; the same object where both sides are drawn from one pool.
        kept: bool [P, L], the m sites that make up the field.
        twins: block b of one class holds the twins of block b of the other; they are drawn together.

    Raises:
        RequestError: sets that were read at different sites, or blocks of twins of different sizes.
        NothingToMeasure: no site is kept, or a value is not finite.
    """

    def __init__(self, one: BlockMeans, other: BlockMeans, kept: NDArray[np.bool_], *, twins: bool = False) -> None:
        if one.mean.shape[1:] != other.mean.shape[1:]:
            raise RequestError(f"both sets must share [P, L, d], got {one.mean.shape[1:]} and {other.mean.shape[1:]}")
        if not kept.any():
            raise NothingToMeasure("no spectrum: no site is left")
        self._sides: tuple[_Products, ...]
        if twins:
            if not np.array_equal(one.count, other.count):
                raise RequestError("blocks of twins must hold the same numbers of prompts in both sets")
            self._sides = (_Products(BlockMeans(one.count, one.mean - other.mean), kept),)
            return
        first = _Products(one, kept)
        self._sides = (first, first if other is one else _Products(other, kept))

    def grams(self, *weights: NDArray[Any]) -> Floats:
        """Estimates of F₀ F₀ᵀ without bias, symmetric, float64 [R, m, m]; not positive semidefinite in general.

        Args:
            weights: how often each block of the first set counts, [R, B], and each of the second, [R, B']; of twins
                one array for both. A block that counts twice, as in a bootstrap, is still one block: its copies are
                no different prompts.

        Raises:
            RequestError: weights that do not fit.
            NothingToMeasure: a side with prompts in fewer than two blocks.
        """
        if len(weights) != len(self._sides):
            raise RequestError(f"weights are needed for {len(self._sides)} sides, got {len(weights)}")
        (mean, grams), *rest = (side.products(each) for side, each in zip(self._sides, weights, strict=True))
        for other_mean, other_own in rest:
            between = mean @ other_mean.swapaxes(-1, -2)
            grams = grams + other_own - between - between.swapaxes(-1, -2)
        return grams

    def singular_values(self, *weights: NDArray[Any], unit_rows: bool = False, cancelled: bool = True) -> Floats:
        """`gram_singular_values` of each of the `grams`, [R, m], some at a time."""
        chunk = max(1, CHUNK_VALUES // self._sides[0].rows[0].size)
        parts = [slice(start, start + chunk) for start in range(0, len(weights[0]), chunk)]
        return np.concatenate(
            [
                gram_singular_values(
                    self.grams(*(each[part] for each in weights)), unit_rows=unit_rows, cancelled=cancelled
                )
                for part in parts
            ]
        )


def gram_singular_values(gram: NDArray[Any], *, unit_rows: bool = False, cancelled: bool = True) -> Floats:
    """Singular values of a field from an unbiased estimate of its Gram matrix, falling.

    Eigenvalues below zero are cancelled against the smallest above it; what is left at the resolution of the largest
    one is 0.

    Args:
        gram: symmetric, [..., m, m].
        unit_rows: of the field with every row at unit norm, the norms estimated without noise as well.
        cancelled: False leaves all of those above zero as they are: an upper end of how spread the true spectrum is.

    Returns:
        float64 [..., m]; NaN throughout where no energy is left, or, for unit rows, none in one of them.
    """
    matrix = np.asarray(gram, dtype=np.float64)
    there: NDArray[np.bool_] = np.ones(matrix.shape[:-2], dtype=bool)
    if unit_rows:
        energy = np.diagonal(matrix, axis1=-2, axis2=-1)
        there = np.asarray((energy > 0).all(axis=-1))
        norms = np.sqrt(np.where(energy > 0, energy, 1.0))
        matrix = matrix / norms[..., :, None] / norms[..., None, :]
    eigenvalues = np.linalg.eigvalsh(matrix)
    above = np.maximum(eigenvalues, 0.0)
    below = np.maximum(-eigenvalues, 0.0).sum(axis=-1, keepdims=True) if cancelled else 0.0
    energies = np.minimum(above, np.maximum(np.cumsum(above, axis=-1) - below, 0.0))[..., ::-1]
    floor = matrix.shape[-1] * np.finfo(np.float64).eps * np.abs(eigenvalues).max(axis=-1, keepdims=True)
    values = np.sqrt(np.where(energies > floor, energies, 0.0))
    there = there & (values[..., 0] > 0)
    result: Floats = np.where(there[..., None], values, np.nan)
    return result


class _Products:
    """One side: means of its blocks at the kept sites, and each block's products with itself."""

    def __init__(self, means: BlockMeans, kept: NDArray[np.bool_]) -> None:
        self.blocks = len(means.count)
        self.held = means.count > 0
        self.count = means.count[self.held].astype(np.float64)
        self.rows = means.mean[self.held][:, kept, :].astype(np.float64)
        if not np.isfinite(self.rows).all():
            raise NothingToMeasure("no spectrum: a direction holds NaN or infinity")
        self.own = self.rows @ self.rows.swapaxes(-1, -2)

    def products(self, weights: NDArray[Any]) -> tuple[Floats, Floats]:
        """(means [R, m, d], mean products [R, m, m] over the pairs of prompts from different blocks)."""
        times = np.asarray(weights, dtype=np.float64)
        if times.ndim != 2 or times.shape[1] != self.blocks or not (times >= 0).all():
            raise RequestError(f"weights must be non-negative [R, {self.blocks}], got shape {times.shape}")
        prompts = times[:, self.held] * self.count
        if ((prompts > 0).sum(axis=1) < 2).any():
            raise NothingToMeasure("a held-out spectrum needs prompts in two blocks on each side, there is one")
        squared = prompts**2
        total, same = prompts.sum(axis=1)[:, None, None] ** 2, squared.sum(axis=1)[:, None, None]
        shares = prompts / prompts.sum(axis=1, keepdims=True)
        mean = (shares @ self.rows.reshape(len(self.rows), -1)).reshape(-1, *self.rows.shape[1:])
        own = (squared @ self.own.reshape(len(self.own), -1)).reshape(-1, *self.own.shape[1:])
        return mean, (total * (mean @ mean.swapaxes(-1, -2)) - own) / (total - same)

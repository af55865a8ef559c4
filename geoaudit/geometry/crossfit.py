"""Inner products of contrasts of means, free of the sampling noise that their prompts share.

Two contrasts of the same cells of prompts hold the same noise, so that their plain inner product is not that of the
true contrasts: H = ½[(hr − sr) + (hc − sc)] and R = ½[(hr − hc) + (sr − sc)] of independent cells have noise of trace
¼[V_hr − V_hc − V_sr + V_sc] in common (V: variance of a cell's mean). Cells of 20 prompts beside cells of 140 make
unrelated contrasts look opposed, and noise in the norms makes related ones look unrelated. In the product of two
estimates from *disjoint* halves of the prompts the noise of one is independent of the noise of the other. Here that
product is averaged over all ways to halve the blocks: the plain product less what each block multiplies with itself.

Cosines, top-k subspaces and principal angles of several contrasts depend on the contrasts through their inner products
alone, so that they too are had without shared noise, whatever the width d. What is left is of second order: the
curvature of cosine or angle times the variance of a product.

Blocks of the same number belong together in all cells: they may hold related prompts (a harmful prompt and its harmless
twin), or the same ones. Cells whose blocks are independent may be numbered as one likes.

The spectrum of a field without noise (`geometry.held_out`) rests on the same idea and not on this code: it says why.

Axes: B blocks, R resamples, m vectors, P positions, d the width of the residual stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sampled:
    """Estimated vectors with what each block of prompts has to do with them.

    Args:
        value: the estimates, [m, d].
        moves: by how much each moves when a block counts once more, [B, m, d]; sums to 0 over the blocks (up to the
            correction for few blocks).
    """

    value: Floats
    moves: Floats


def contrast(
    cells: Sequence[BlockMeans], coefficients: Sequence[float], positions: Sequence[int], layer: int
) -> Sampled:
    """Σ coefficient · mean(cell) at some positions of one layer.

    Args:
        cells: block means, all with the same number of blocks B (empty ones included) and the same sites.
        coefficients: one a cell; they sum to 0 in a contrast. A cell of coefficient 0 is not read.
        positions: indices on the axis P, one a vector.
        layer: index on the layer axis.

    Raises:
        RequestError: cells that do not fit each other.
        NothingToMeasure: a cell that is read and has prompts in fewer than two blocks, or a value that is not finite.
    """
    if len(cells) != len(coefficients) or len({each.mean.shape for each in cells}) != 1:
        raise RequestError("a contrast needs one coefficient a cell, and cells with the same blocks and sites")
    blocks = len(cells[0].count)
    shape = (len(positions), cells[0].mean.shape[-1])
    value, moves = np.zeros(shape), np.zeros((blocks, *shape))
    for cell, coefficient in zip(cells, coefficients, strict=True):
        if coefficient == 0:
            continue
        held = cell.count > 0
        if held.sum() < 2:
            raise NothingToMeasure(f"a cell of {int(cell.count.sum())} prompts has no two blocks to compare")
        share = cell.count[held] / cell.count.sum()
        rows = cell.mean[held][:, list(positions), layer].astype(np.float64)
        mean = np.tensordot(share, rows, axes=1)
        value += coefficient * mean
        # the divisor makes the squared moves of few blocks as large as the variance that they estimate
        few = np.sqrt(1 - share @ share)
        moves[held] += coefficient * share[:, None, None] * (rows - mean) / few
    if not np.isfinite(value).all():
        raise NothingToMeasure("a contrast is not finite: the activations hold NaN or infinity")
    return Sampled(value, moves)


def stacked(parts: Sequence[Sampled]) -> Sampled:
    """The vectors of several estimates from the same blocks, one after the other."""
    return Sampled(
        np.concatenate([each.value for each in parts]), np.concatenate([each.moves for each in parts], axis=1)
    )


@dataclass(frozen=True, eq=False)
class Gram:
    """Cross-fitted inner products of m vectors.

    Args:
        value: [m, m], symmetric, not positive semidefinite in general.
        moves: by how much it moves when a block counts once more, [B, m, m], to first order.
        plain: the products of the estimates as they are, [m, m].
    """

    value: Floats
    moves: Floats
    plain: Floats

    def resampled(self, weights: NDArray[Any]) -> Floats:
        """The products under redrawn blocks, [R, m, m].

        Linear in the weights. Where noise dominates a product its spread comes out up to √2 too wide, so that an
        interval from it is then too wide, and never too narrow.

        Args:
            weights: how often each block is drawn, [R, B].
        """
        result: Floats = self.value + np.tensordot(np.asarray(weights) - 1.0, self.moves, axes=1)
        return result

    @property
    def signal(self) -> Floats:
        """Each vector's squared length over its standard error, [m]: 0 where there is nothing but noise."""
        lengths = np.diagonal(self.value)
        errors = np.sqrt((np.diagonal(self.moves, axis1=1, axis2=2) ** 2).sum(axis=0))
        result: Floats = np.divide(lengths, errors, where=errors > 0, out=np.where(lengths > 0, np.inf, 0.0))
        return result


def gram(vectors: Sampled) -> Gram:
    """Inner products of all pairs, cross-fitted over pairs of different blocks."""
    value, moves = vectors.value, vectors.moves
    own = moves @ moves.swapaxes(1, 2)
    along = moves @ value.T
    plain = value @ value.T
    return Gram(plain - own.sum(axis=0), along + along.swapaxes(1, 2) - 2 * own, plain)


def cosine(products: NDArray[Any], one: int = 0, other: int = 1) -> Floats:
    """Signed cosine of two of the vectors of inner products [..., m, m], [...].

    Not clipped: where the vectors are nearly parallel it scatters around 1. NaN where a squared length is not above 0.
    """
    lengths = products[..., one, one] * products[..., other, other]
    alive = (products[..., one, one] > 0) & (products[..., other, other] > 0)
    result: Floats = np.divide(
        products[..., one, other], np.sqrt(np.where(alive, lengths, 1.0)), where=alive, out=np.full(alive.shape, np.nan)
    )
    return result


def kth_energy(products: NDArray[Any], rows: slice, k: int) -> Floats:
    """The k-th largest energy σ² of the stack of some of the vectors, [...]."""
    result: Floats = np.linalg.eigvalsh(products[..., rows, rows])[..., -k]
    return result


def cosines_of_angles(products: NDArray[Any], one: slice, other: slice, k: int) -> Floats:
    """Cosines of the principal angles between the top-k subspaces of two stacks of vectors, falling, [..., k].

    Each subspace is spanned by the leading k right singular vectors of its stack, as `subspaces.top_subspace` has it.
    Not clipped: scatters around 1 where subspaces nearly coincide. NaN where a stack's k-th energy is not above 0.

    Args:
        products: inner products of all vectors, [..., m, m].
        one: which vectors make up the first stack.
        other: the same of the second.
        k: dimensions, at most the vectors of the smaller stack.

    Raises:
        NothingToMeasure: k above the number of vectors of a stack.
    """
    fewest = min(products[..., one, one].shape[-1], products[..., other, other].shape[-1])
    if not 1 <= k <= fewest:
        raise NothingToMeasure(f"no {k}-dimensional subspace from {fewest} vectors")
    left, left_alive = _coordinates(products[..., one, one], k)
    right, right_alive = _coordinates(products[..., other, other], k)
    inner = left.swapaxes(-1, -2) @ products[..., one, other] @ right
    found: Floats = np.linalg.svd(inner, compute_uv=False)
    found[~(left_alive & right_alive)] = np.nan
    return found


class Band(NamedTuple):
    """Ends of cosines of principal angles, falling, [k] each; not clipped."""

    low: Floats
    high: Floats


def band_of_angles(
    products: NDArray[Any], resampled: NDArray[Any], one: slice, other: slice, k: int, level: float = 0.95
) -> Band | None:
    """A band that holds the cosines of all k principal angles at once.

    Estimated angles repel each other: of three equal ones the smallest comes out too small and the largest too large,
    by about what they scatter, and resampling repels them once more, so that no interval from single resampled angles
    holds the truth often enough. But singular values move by no more than the matrix does (Weyl): with Ω the matrix of
    cosines between the two bases, |σ_i(Ω̂) − σ_i(Ω)| ≤ ‖Ω̂ − Ω‖. The band is the quantile of ‖Ω* − Ω̂‖ over resamples,
    their bases turned to fit best the estimated ones, which changes no singular value.

    Args:
        products: inner products of all vectors, [m, m].
        resampled: the same under redrawn blocks, [R, m, m].
        one: which vectors make up the first stack.
        other: the same of the second.
        k: dimensions.
        level: of the band.

    Returns:
        The band; None where a k-th energy is not above 0, there or in more than 1 % of the resamples.
    """
    turned, centre, live = [], [], np.ones(len(resampled), dtype=bool)
    for rows in (one, other):
        own, alive = _coordinates(products[rows, rows], k)
        drawn, drawn_alive = _coordinates(resampled[..., rows, rows], k)
        if not alive:
            return None
        live &= drawn_alive
        left, _, right = np.linalg.svd(own.T @ products[rows, rows] @ drawn)
        turned.append(drawn @ (left @ right).swapaxes(-1, -2))
        centre.append(own)
    if live.mean() < 0.99:
        return None
    middle = centre[0].T @ products[one, other] @ centre[1]
    drawn = turned[0].swapaxes(-1, -2) @ resampled[..., one, other] @ turned[1]
    moved = float(np.quantile(np.linalg.norm(drawn[live] - middle, ord=2, axis=(-2, -1)), level))
    cosines = np.linalg.svd(middle, compute_uv=False)
    return Band(cosines - moved, cosines + moved)


def _coordinates(products: Floats, k: int) -> tuple[Floats, NDArray[np.bool_]]:
    """An orthonormal basis of the top-k subspace, as combinations of the stack's vectors [..., n, k]; whether it is."""
    energies, vectors = np.linalg.eigh(products)
    energies, vectors = energies[..., -k:], vectors[..., -k:]
    alive = energies[..., 0] > 0
    return vectors / np.sqrt(np.where(energies > 0, energies, 1.0))[..., None, :], alive

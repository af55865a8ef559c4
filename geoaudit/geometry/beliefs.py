"""Beliefs of harmfulness and of refusal: on which side of two centres the activation of one prompt lies.

Zhao et al. 2025 (arXiv 2507.11878): Δ(x) = cos(h(x), μ⁺) − cos(h(x), μ⁻) at each layer, averaged over the
layers, with the centres μ⁺ of harmful prompts that the model refuses and μ⁻ of harmless ones that it answers. Read at
`t_inst` it is the belief of harmfulness, at the last token of the prompt the belief of refusal; above 0 the prompt is
nearer to what is refused.

A centre is a mixture of block means, and a cosine with it follows from scalar products alone. So activations are read
once, and centres of redrawn prompts, or of permuted labels, cost no more passes: memory holds n · layers · blocks
numbers, whatever the width of the stream.

Axes: n prompts, L layer rows, N block means, R draws, d the width of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import nulls
from geoaudit.geometry.directions import NULL_RATIO

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Products:
    """Scalar products of prompts with block means, and of block means with each other, at one position."""

    cross: NDArray[Any]
    """[n, L, N]."""
    norm: NDArray[Any]
    """Euclidean norms of the prompts' activations, [n, L]."""
    gram: NDArray[Any]
    """[L, N, N]."""

    def __post_init__(self) -> None:
        n, layers, blocks = self.cross.shape
        if self.norm.shape != (n, layers) or self.gram.shape != (layers, blocks, blocks):
            raise RequestError(
                "products need cross [n, L, N], norm [n, L] and gram [L, N, N], got "
                f"{self.cross.shape}, {self.norm.shape}, {self.gram.shape}"
            )

    def of(self, prompts: NDArray[Any]) -> Products:
        """The same of some prompts, by mask or index."""
        return Products(self.cross[prompts], self.norm[prompts], self.gram)


def products(activations: NDArray[Any], blocks: NDArray[Any]) -> Products:
    """Products of single activations with block means.

    Args:
        activations: h, [n, L, d].
        blocks: means, [N, L, d].

    Returns:
        In float64.

    Raises:
        RequestError: other layers or another width.
    """
    if activations.shape[1:] != blocks.shape[1:]:
        raise RequestError(f"activations {activations.shape} and block means {blocks.shape} must share [L, d]")
    h, b = (np.asarray(each, dtype=np.float64) for each in (activations, blocks))
    return Products(
        np.matmul(h.transpose(1, 0, 2), b.transpose(1, 2, 0)).transpose(1, 0, 2),
        np.linalg.norm(h, axis=-1),
        np.matmul(b.transpose(1, 0, 2), b.transpose(1, 2, 0)),
    )


def null_layers(gram: NDArray[Any], toward: NDArray[Any], away: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the two centres are the same but for rounding, so that there is nothing to be nearer to: bool [R, L].

    As `directions.null_rows`: a distance of at most 1e-4 of the centres' length. At layer 0 a template token is its
    embedding whatever the prompt.

    Args:
        gram: [L, N, N].
        toward: what each block mean counts for in μ⁺, [R, N]; rows sum to 1.
        away: the same for μ⁻.
    """
    distance = _lengths(gram, toward - away)
    scale = (_lengths(gram, toward) + _lengths(gram, away)) / 2
    # written so that NaN comes out as null
    alive: NDArray[np.bool_] = np.isfinite(distance) & (distance > NULL_RATIO * scale)
    return ~alive


def by_layer(read: Products, toward: NDArray[Any], away: NDArray[Any]) -> Floats:
    """Δ of each prompt at each layer, [n, L] in [−2, 2]; 0 where the centres are the same (`null_layers`).

    Args:
        read: products at one position.
        toward: what each block mean counts for in μ⁺, [N]; sums to 1.
        away: the same for μ⁻.
    """
    return np.stack([layer[:, 0] for layer in _layers(read, toward[None], away[None])], axis=1)


def averaged(read: Products, toward: NDArray[Any], away: NDArray[Any]) -> Floats:
    """Δ of each prompt, the mean over all layers, for R pairs of centres at once: [R, n] in [−2, 2].

    All L rows count, as in the published notebook; where the centres are the same a row counts as 0.

    Args:
        read: products at one position.
        toward: what each block mean counts for in μ⁺, [R, N]; rows sum to 1.
        away: the same for μ⁻.

    Raises:
        NothingToMeasure: a single pair of centres that are the same at every layer: constant activations hold no
            belief.
    """
    if len(toward) == 1 and null_layers(read.gram, toward, away).all():
        raise NothingToMeasure("null-direction: the two centres are the same at every layer, up to rounding")
    total = np.zeros((read.cross.shape[0], len(toward)))
    for layer in _layers(read, toward, away):
        total += layer
    result: Floats = total.T / read.cross.shape[1]
    return result


def centre(count: NDArray[Any], own: NDArray[np.bool_], times: NDArray[Any] | None = None) -> Floats:
    """What each block mean counts for in the mean over the prompts of one kind.

    Args:
        count: prompts in each block, [N].
        own: which blocks are of the kind, [N].
        times: how often each block is drawn, [R, N]; None: once each.

    Returns:
        [N], or [R, N]; 0 outside the kind, summing to 1.

    Raises:
        NothingToMeasure: no prompt of the kind.
    """
    weight = count * own if times is None else times * (count * own)
    total = weight.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise NothingToMeasure("no centre: there is no prompt of its kind")
    result: Floats = weight / total
    return result


def permuted_centres(
    count: NDArray[Any], positive: NDArray[np.bool_], n: int, seed: int | tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Centres of labels that mean nothing, n pairs: both kinds of block about their common mean, then dealt out anew.

    As in `geometry.nulls`: each kind is counted from its own mean first, else a draw keeps its chance surplus of one
    kind times the true difference, and a strong difference becomes its own null level.

    Args:
        count: prompts in each block, [N]; none empty.
        positive: which blocks are of the one kind, [N]; the others are of the other.
        n: draws.
        seed: an integer, or several.

    Returns:
        (toward, away), float64 [n, N]; rows sum to 1, single entries may be negative.

    Raises:
        NothingToMeasure: fewer than two blocks of a kind.
    """
    kinds = (positive, ~positive)
    sizes = [int(kind.sum()) for kind in kinds]
    if min(sizes) < 2:
        raise NothingToMeasure(f"permuted labels need two blocks of prompts of each kind, got {sizes}")
    order = np.concatenate([np.flatnonzero(kind) for kind in kinds])
    dealt = np.zeros((n, 2, len(count)))
    dealt[:, :, order] = nulls.permuted_labels(sizes, n, seed)
    shares = dealt * count
    shares /= shares.sum(axis=-1, keepdims=True)
    means = [centre(count, kind) for kind in kinds]
    common = (means[0] + means[1]) / 2
    for kind, mean in zip(kinds, means, strict=True):
        shares = shares - (shares * kind).sum(axis=-1, keepdims=True) * mean * kind
    both: Floats = shares + common
    return both[:, 0], both[:, 1]


def _layers(read: Products, toward: NDArray[Any], away: NDArray[Any]) -> Iterator[Floats]:
    """Δ at each layer, one after the other: [n, R]."""
    null = null_layers(read.gram, toward, away)
    lengths = [_lengths(read.gram, each) for each in (toward, away)]
    for layer in range(read.cross.shape[1]):
        cross = np.asarray(read.cross[:, layer], dtype=np.float64)
        size = np.asarray(read.norm[:, layer], dtype=np.float64)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            near, far = (
                np.clip(cross @ each.T / (size * length[:, layer]), -1.0, 1.0)
                for each, length in zip((toward, away), lengths, strict=True)
            )
        yield np.where(null[:, layer], 0.0, near - far)


def _lengths(gram: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Norm of each mixture of block means at each layer, [R, L]."""
    squares = np.einsum("ra,lab,rb->rl", weights, np.asarray(gram, dtype=np.float64), weights, optimize=True)
    result: Floats = np.sqrt(np.maximum(squares, 0.0))
    return result

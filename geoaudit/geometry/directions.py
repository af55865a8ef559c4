"""Difference-in-means directions, and which of them are no direction at all.

A direction is mean(harmful) − mean(harmless) at one (position, layer), not normalised (papers 1 and 2, Eq. 1; Arditi
et al. 2024, section 2.3). Its norm is kept because activation addition uses it.

Moments arrive as the means of a fixed number of blocks of prompts: enough for the direction itself, for a bootstrap
over blocks and for split halves, at a memory cost that does not depend on the number of prompts.

Axes: B blocks, R resamples, P positions, L layer rows, d the width of the residual stream. Positions and layers are
array indices here; what they stand for is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError

Floats = NDArray[np.float64]

NULL_RATIO = 1e-4
"""A difference this small beside the activation it is a difference of is rounding, not signal."""

NULL_NORM = 1e-8
"""Without an activation to compare with, only a vector at the level of float64 rounding is refused (the published
layer-0 row of gemma-2b-it has norm 1.6e-14)."""


@dataclass(frozen=True, eq=False)
class BlockMeans:
    """Means of activations over each of B fixed blocks of one prompt set.

    Args:
        count: prompts in each block, int [B]; a block may be empty, not all of them.
        mean: mean activation of each block, float32 [B, P, L, d]; what stands in an empty block is ignored.

    Raises:
        RequestError: shapes that do not fit, or a negative count.
        NothingToMeasure: no prompt at all.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.mean.ndim != 4 or self.count.shape != self.mean.shape[:1]:
            raise RequestError(
                f"block means need count [B] and mean [B, P, L, d], got {self.count.shape} and {self.mean.shape}"
            )
        if (self.count < 0).any():
            raise RequestError(f"a block cannot hold {self.count.min()} prompts")
        if not self.count.sum() > 0:
            raise NothingToMeasure("no prompt was read: every block is empty")

    def occupied(self) -> BlockMeans:
        """The same without its empty blocks, which a bootstrap over blocks must not draw."""
        kept = self.count > 0
        return self if kept.all() else BlockMeans(self.count[kept], self.mean[kept])


def overall(means: BlockMeans, weights: NDArray[Any] | None = None) -> Floats:
    """Mean activation over all prompts, each block weighted by its count.

    Args:
        means: the blocks.
        weights: how often each block counts: [B], or [R, B] for R bootstrap resamples at once. None: once each.

    Returns:
        float64 [P, L, d], or [R, P, L, d] for weights [R, B] (memory grows with R: resample in chunks).

    Raises:
        RequestError: weights of another length, or negative ones.
        NothingToMeasure: weights that leave no prompt.
    """
    blocks = len(means.count)
    times = np.ones(blocks) if weights is None else np.asarray(weights, dtype=np.float64)
    if times.ndim not in (1, 2) or times.shape[-1] != blocks or not (times >= 0).all():
        raise RequestError(f"weights must be non-negative [{blocks}] or [R, {blocks}], got shape {times.shape}")
    prompts = times * means.count
    total = prompts.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise NothingToMeasure("the weights leave only empty blocks: no prompt to take a mean of")
    # Empty blocks are left out rather than multiplied by zero: their rows may hold NaN.
    held = means.count > 0
    flat = means.mean[held].reshape(int(held.sum()), -1).astype(np.float64)
    result: Floats = (prompts[..., held] / total) @ flat
    return result.reshape(*times.shape[:-1], *means.mean.shape[1:])


def differences(
    harmful: BlockMeans,
    harmless: BlockMeans,
    harmful_weights: NDArray[Any] | None = None,
    harmless_weights: NDArray[Any] | None = None,
) -> Floats:
    """Difference in means, mean(harmful) − mean(harmless), at every position and layer; not normalised.

    Args:
        harmful: blocks of the harmful prompts.
        harmless: blocks of the harmless prompts; the number of blocks may differ, [P, L, d] may not.
        harmful_weights: as `weights` of `overall`.
        harmless_weights: as `weights` of `overall`; with the same leading axis as `harmful_weights`.

    Returns:
        float64 [P, L, d], or [R, P, L, d] for weights of R resamples.

    Raises:
        RequestError: the two sets were read at different sites, or the weights do not fit.
    """
    if harmful.mean.shape[1:] != harmless.mean.shape[1:]:
        raise RequestError(
            "harmful and harmless means must share [P, L, d], "
            f"got {harmful.mean.shape[1:]} and {harmless.mean.shape[1:]}"
        )
    return overall(harmful, harmful_weights) - overall(harmless, harmless_weights)


def norms(vectors: NDArray[Any]) -> Floats:
    """Euclidean norms over the last axis, in the activations' own unit: [..., d] -> float64 [...]."""
    result: Floats = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=-1)
    return result


def activation_scale(harmful: BlockMeans, harmless: BlockMeans) -> Floats:
    """Size of an activation at each site, what `null_rows` compares with: float64 [P, L].

    The mean of the norms of the two overall means. It is at most the mean norm of the single activations, so that a
    direction called null by it is null by that as well.
    """
    return (norms(overall(harmful)) + norms(overall(harmless))) / 2


def null_rows(differences: NDArray[Any], scale: NDArray[Any] | float) -> NDArray[np.bool_]:
    """Which differences are no direction: norm at most 1e-4 of the activation's (validity check `null-direction`).

    At `resid_pre` of layer 0 a template token is its embedding whatever the prompt, so the true difference is zero
    and what is left is rounding noise with a norm near 1e-14 (papers.md, trap 1). Normalised it is a random
    direction, whose ablation costs no KL: an admissible "carrier" that does nothing.

    Args:
        differences: [P, L, d].
        scale: mean activation norm at each site, [P, L] or a number (`activation_scale`).

    Returns:
        bool [P, L]; True also where a norm or its scale is not finite.
    """
    size = norms(differences)
    bound = np.broadcast_to(np.asarray(scale, dtype=np.float64), size.shape)
    # Written so that NaN, for which every comparison is False, comes out as null.
    alive: NDArray[np.bool_] = np.isfinite(size) & np.isfinite(bound) & (size > NULL_RATIO * bound)
    return ~alive


def unit(direction: NDArray[Any], scale: float | None = None) -> Floats:
    """The direction at unit norm, float64 [d].

    Args:
        direction: [d].
        scale: mean activation norm at its site; with it a norm of at most 1e-4 of that is refused, without it
            only one of at most 1e-8.

    Raises:
        NothingToMeasure: a direction that is null or not finite.
    """
    vector = np.asarray(direction, dtype=np.float64)
    if vector.ndim != 1:
        raise RequestError(f"a direction is one vector [d], got shape {vector.shape}")
    size = float(np.linalg.norm(vector))
    if not np.isfinite(size):
        raise NothingToMeasure("the direction is not finite: the activations hold NaN or infinity")
    bound = NULL_NORM if scale is None else NULL_RATIO * scale
    if not size > bound:
        raise NothingToMeasure(
            f"null direction: norm {size:.3g} is not above {bound:.3g}, so it is rounding noise and has no direction"
        )
    return vector / size


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Cosine of two directions [d], in [−1, 1].

    Raises:
        NothingToMeasure: one of them is null or not finite.
    """
    return float(np.clip(unit(a) @ unit(b), -1.0, 1.0))


def split_half_cosine(
    harmful: BlockMeans, harmless: BlockMeans, position: int, layer: int, seed: int, n: int = 100
) -> Floats:
    """How far the direction at one site agrees with itself when estimated twice, each time on half the prompts.

    Both prompt sets are split into two random halves of blocks, independently of each other; the two directions
    from the halves are compared. Near 1: the direction is a property of the model; near 0: of the sample. Halves are
    noisier than the whole, so this understates the agreement of full-size estimates.

    Args:
        harmful: blocks of the harmful prompts, at least two of them occupied.
        harmless: blocks of the harmless prompts, likewise.
        position: index on the axis P.
        layer: index on the axis L.
        seed: of the random splits.
        n: number of splits.

    Returns:
        n cosines in [−1, 1], float64 [n].

    Raises:
        NothingToMeasure: fewer than two occupied blocks, or a half whose direction is null.
    """
    sides = []
    for name, means in (("harmful", harmful), ("harmless", harmless)):
        held = means.occupied()
        if len(held.count) < 2:
            raise NothingToMeasure(f"split halves need two blocks of {name} prompts, there is one")
        site = held.mean[:, position : position + 1 or None, layer : layer + 1 or None, :]
        sides.append(BlockMeans(held.count, site))
    first, second = sides
    generator = np.random.default_rng(seed)
    split_first = _halves(len(first.count), n, generator)
    split_second = _halves(len(second.count), n, generator)
    one = differences(first, second, split_first, split_second)[:, 0, 0, :]
    other = differences(first, second, 1 - split_first, 1 - split_second)[:, 0, 0, :]
    return np.array([cosine(a, b) for a, b in zip(one, other, strict=True)])


def _halves(blocks: int, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Random choices of half of the blocks (rounded down), one a row, as 0/1: int [n, blocks]."""
    chosen = np.zeros((n, blocks), dtype=np.int64)
    chosen[:, : blocks // 2] = 1
    return generator.permuted(chosen, axis=1)

"""Null levels: what a statistic of a difference in means gives where the difference is not the one that is asked about.

Random directions in d dimensions are no yardstick for activations, whose prompts differ along few axes: a field of
Gaussian noise has an effective rank of about 150 where that of any two groups of prompts has about 10. So the groups
are made of the prompts at hand. *Permuted labels*: both classes' blocks dealt out anew, with the classes' own means
taken off first (each class counted from its mean, permuting tells of the noise alone; otherwise a draw keeps its
chance surplus of harmful prompts times the true difference, and a strong difference becomes its own null level).
*Harmless contrasts*: one category of harmless prompts against another, a difference of topics without any harm.

A draw is data: weights on the blocks of one pool, so that several statistics, or several contrasts at once, can be
taken of the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans, overall

Floats = NDArray[np.float64]

LEAST_CONTRASTS = 20
"""Between categories; with fewer the ends of a null level are one or two values."""

ROUNDING = 1e-6
"""Relative; values that differ by less are the same: prompts that differ along one axis only have rank 1 each time."""

CHUNK_VALUES = 4_000_000
"""Numbers of fields held at once: 32 MB."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Contrasts between two sides, each made of blocks of one pool.

    Args:
        means: the pool, N occupied blocks.
        one: how often each block counts on the first side, not negative, [R, N]; fits `directions.overall`.
        other: the same for the second side, [R, N].

    Raises:
        RequestError: weights that do not fit the pool.
        NothingToMeasure: a side without any prompt.
    """

    means: BlockMeans
    one: NDArray[Any]
    other: NDArray[Any]

    def __post_init__(self) -> None:
        blocks = len(self.means.count)
        if self.one.ndim != 2 or self.one.shape != self.other.shape or self.one.shape[1] != blocks:
            raise RequestError(f"draws from {blocks} blocks need two [R, {blocks}], got {self.one.shape}")
        for side in (self.one, self.other):
            if not (side >= 0).all() or not (side @ self.means.count > 0).all():
                raise NothingToMeasure("a draw leaves one of its sides without any prompt")

    def __len__(self) -> int:
        return len(self.one)

    @property
    def prompts(self) -> NDArray[np.int64]:
        """Prompts on the two sides of each draw, [R, 2]."""
        sides: NDArray[np.int64] = np.stack([side @ self.means.count for side in (self.one, self.other)], axis=1)
        return sides

    @property
    def coefficients(self) -> Floats:
        """What each block's mean counts for in mean(one) − mean(other), float64 [R, N]; rows sum to 0."""
        one, other = (side * self.means.count.astype(np.float64) for side in (self.one, self.other))
        result: Floats = one / one.sum(axis=1, keepdims=True) - other / other.sum(axis=1, keepdims=True)
        return result

    def fields(self, kept: NDArray[np.bool_] | None = None) -> Iterator[Floats]:
        """The differences in means, some draws at a time so that memory does not grow with their number.

        Args:
            kept: bool [P, L], which sites; None for all.

        Yields:
            float64 [r, m, d] with m the number of kept sites, or [r, P, L, d].
        """
        rows = self.means.mean if kept is None else self.means.mean[:, kept, :]
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        chunk = max(1, CHUNK_VALUES // max(1, flat.shape[1]))
        coefficients = self.coefficients
        for start in range(0, len(self), chunk):
            yield (coefficients[start : start + chunk] @ flat).reshape(-1, *rows.shape[1:])

    def values(self, statistic: Callable[[Floats], float], kept: NDArray[np.bool_] | None = None) -> Floats:
        """The statistic of each draw's field, float64 [R]; NaN where it raises `NothingToMeasure`."""
        return np.array([_value(statistic, field) for chunk in self.fields(kept) for field in chunk])


def pool(classes: Sequence[BlockMeans]) -> BlockMeans:
    """The occupied blocks of several prompt sets, one set after the other.

    Raises:
        RequestError: sets that were read at different sites.
    """
    held = [each.occupied() for each in classes]
    if len({each.mean.shape[1:] for each in held}) != 1:
        raise RequestError(f"means to pool must share [P, L, d], got {[each.mean.shape[1:] for each in held]}")
    return BlockMeans(
        np.concatenate([each.count for each in held]), np.concatenate([each.mean for each in held], axis=0)
    )


def centred(means: BlockMeans) -> BlockMeans:
    """The occupied blocks counted from their overall mean, so that this mean is 0 at every site."""
    held = means.occupied()
    return BlockMeans(held.count, (held.mean - overall(held)).astype(np.float32))


def permuted_labels(sizes: Sequence[int], n: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """Blocks dealt out at random to sides of given sizes: the one source of permuted labels.

    Contrasts that share prompts (harmfulness and refusal, of the same four cells) are to be permuted together: take
    the cells as sides, and build every contrast from the same draw.

    Args:
        sizes: blocks of each side, [k]; together N.
        n: number of draws R.
        seed: an integer, or several.

    Returns:
        0/1, int [R, k, N]: whether a block is on a side. Each block is on exactly one.
    """
    if not sizes or min(sizes) < 1:
        raise NothingToMeasure(f"labels cannot be permuted between sides of {list(sizes)} blocks")
    labels = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.random.default_rng(seed).permuted(np.tile(labels, (n, 1)), axis=1)
    result: NDArray[np.int64] = (drawn[:, None, :] == np.arange(len(sizes))[:, None]).astype(np.int64)
    return result


def permuted(one: BlockMeans, other: BlockMeans, n: int, seed: int | Sequence[int]) -> Draws:
    """Draws in which a block's class means nothing: both classes about their own means, then labels permuted.

    The sides keep the classes' numbers of occupied blocks. Blocks are permuted, not prompts: only their means are
    kept, and each is a random part of its class.

    Raises:
        NothingToMeasure: fewer than two occupied blocks in a class, which have no spread.
    """
    classes = [centred(one), centred(other)]
    sizes = [len(each.count) for each in classes]
    if min(sizes) < 2:
        raise NothingToMeasure(f"permuted labels need two blocks of prompts in each class, got {sizes}")
    labels = permuted_labels(sizes, n, seed)
    return Draws(pool(classes), labels[:, 0], labels[:, 1])


def harmless_contrasts(categories: Sequence[BlockMeans]) -> Draws:
    """Every pair of categories of harmless prompts, one against the other: 28 for 8 categories.

    Not centred: that two topics differ is what they are to show.

    Raises:
        NothingToMeasure: fewer than 20 pairs.
    """
    pairs = list(combinations(range(len(categories)), 2))
    if len(pairs) < LEAST_CONTRASTS:
        raise NothingToMeasure(
            f"{len(categories)} categories of harmless prompts give {len(pairs)} contrasts; a null level needs "
            f"{LEAST_CONTRASTS}, which 7 categories give"
        )
    of_category = np.repeat(np.arange(len(categories)), [int((each.count > 0).sum()) for each in categories])
    one, other = ((of_category == np.array(side)[:, None]).astype(np.int64) for side in zip(*pairs, strict=True))
    return Draws(pool(categories), one, other)


def matched(one: BlockMeans, other: BlockMeans, prompts: float, n: int, seed: int | Sequence[int]) -> Draws:
    """The true contrast, made of as few prompts a side as another has.

    A difference in means of 20 + 20 prompts holds eight times the sampling noise of one of 160 + 160, and noise
    spreads over many directions. Compared as they are, the larger contrast would look less spread than any smaller
    one by its size alone.

    Args:
        one: blocks of the first class.
        other: blocks of the second.
        prompts: wanted on each side; whole blocks are taken, at least two.
        n: number of draws.
        seed: an integer, or several.

    Raises:
        NothingToMeasure: fewer than two occupied blocks in a class.
    """
    held = [one.occupied(), other.occupied()]
    generator = np.random.default_rng(seed)
    sides = []
    for means in held:
        blocks = len(means.count)
        if blocks < 2:
            raise NothingToMeasure("a contrast of fewer prompts needs two blocks of prompts in each class, got one")
        few = min(blocks, max(2, round(prompts / means.count.mean())))
        sides.append(generator.permuted(np.tile(np.arange(blocks) < few, (n, 1)), axis=1).astype(np.int64))
    none = [np.zeros_like(side) for side in sides]
    return Draws(pool(held), np.hstack([sides[0], none[1]]), np.hstack([none[0], sides[1]]))


def isotropic(rows: int, width: int, statistic: Callable[[Floats], float], n: int, seed: int | Sequence[int]) -> float:
    """Mean of the statistic over n fields [rows, width] of independent Gaussian entries: a footnote, no yardstick."""
    generator = np.random.default_rng(seed)
    return float(np.mean([statistic(generator.standard_normal((rows, width))) for _ in range(n)]))


class Level(NamedTuple):
    """Of a statistic that is not negative: where its null level lies: its median and the ends of its central 95 %."""

    n: int
    """Draws with a value."""
    low: float
    median: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether the value is one that chance gives, but for rounding."""
        return self.low * (1 - ROUNDING) <= value <= self.high * (1 + ROUNDING)


def level(values: NDArray[Any]) -> Level:
    """The central 95 % of a null level.

    Raises:
        NothingToMeasure: fewer than 20 draws with a finite value.
    """
    finite = _finite(values)
    low, high = np.quantile(finite, [0.025, 0.975], method="inverted_cdf")  # values that occurred, also of counts
    return Level(finite.size, float(low), float(np.median(finite)), float(high))


def percentile(values: NDArray[Any], estimate: float) -> float:
    """Share of the null values that are at most the estimate, but for rounding, in [0, 1]; errors as `level`."""
    return float(np.mean(_finite(values) <= estimate * (1 + ROUNDING)))


def _finite(values: NDArray[Any]) -> Floats:
    given = np.asarray(values, dtype=np.float64).ravel()
    finite: Floats = given[np.isfinite(given)]
    if finite.size < LEAST_CONTRASTS:
        raise NothingToMeasure(f"{finite.size} of {given.size} draws have a value; a null level needs 20")
    return finite


def _value(statistic: Callable[[Floats], float], field: Floats) -> float:
    try:
        return float(statistic(field))
    except NothingToMeasure:
        return float("nan")

"""Bootstrap over blocks of prompts, and intervals from its replicates.

The blocks, not the prompts, are resampled: their means are all that is stored of the activations. Intervals are
*basic* (reflected), because spectra and angles are biased upwards by noise, and resampling adds the same noise once
more. The percentile interval keeps that bias twice and missed the truth of an effective rank in 40 of 40 trials;
reflecting it around the estimate takes it back out (Davison & Hinkley 1997, section 5.2).

That correction is of first order: it suffices where noise is little, or spread evenly over the matrix. Where it is
correlated between layers and positions, as in a model, a reflected interval of a plain effective rank lay above the
truth in most trials, and the statistic itself must be freed of the noise first (`geometry.held_out`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError

LEAST_REPLICATES = 100
"""With fewer, the 2.5 % points are made of two or three values."""

MOST_MISSING = 0.01
"""Share of replicates that may be missing from a `basic_interval` before there is none."""


def block_weights(n_blocks: int, n_resamples: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """How often each block is drawn in each bootstrap resample.

    Args:
        n_blocks: blocks (or prompts, each its own block) to draw from, with replacement; only those that hold data.
        n_resamples: number of resamples.
        seed: an integer, or several (a seed and the number of a stream).

    Returns:
        int [n_resamples, n_blocks]; each row sums to n_blocks.

    Raises:
        NothingToMeasure: fewer than two blocks: every resample would be the sample.
    """
    if n_blocks < 2:
        raise NothingToMeasure(f"a bootstrap needs two blocks or more, got {n_blocks}")
    generator = np.random.default_rng(seed)
    drawn: NDArray[np.int64] = generator.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_resamples)
    return drawn


def basic_interval(
    estimate: float,
    replicates: NDArray[Any],
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """The basic bootstrap interval (2·estimate − q_high, 2·estimate − q_low), clipped to the statistic's range.

    Where bias is large the reflected interval can lie wholly outside the range. Clipped, both its ends would fall on
    the bound, and an interval of no width claims a certainty that nothing measured: it then reaches from the bound
    to the estimate.

    Args:
        estimate: the statistic on the sample, within `bounds`.
        replicates: the statistic on each resample, [R].
        level: two-sided, in (0, 1).
        bounds: least and greatest value that the statistic can have.

    Returns:
        (low, high) with low ≤ high.

    Raises:
        RequestError: a level outside (0, 1).
        NothingToMeasure: an estimate that is not finite, fewer than 100 finite replicates, or more than 1 % of them
            not finite.
    """
    _check_level(level)
    values = np.asarray(replicates, dtype=np.float64).ravel()
    finite = values[np.isfinite(values)]
    if not math.isfinite(estimate):
        raise NothingToMeasure(f"no interval around an estimate of {estimate}")
    if finite.size < LEAST_REPLICATES:
        raise NothingToMeasure(f"no interval: {finite.size} finite replicates, {LEAST_REPLICATES} are needed")
    missing = values.size - finite.size
    if missing > MOST_MISSING * values.size:
        raise NothingToMeasure(f"no interval: the statistic does not exist in {missing} of {values.size} resamples")
    tail = (1 - level) / 2
    q_low, q_high = np.quantile(finite, [tail, 1 - tail])
    least, greatest = bounds
    low, high = 2 * estimate - float(q_high), 2 * estimate - float(q_low)
    if high < least:
        high = max(least, estimate)
    if low > greatest:
        low = min(greatest, estimate)
    return min(max(low, least), greatest), max(min(high, greatest), least)


class DiscreteInterval(NamedTuple):
    """Where a whole-number outcome (the layer of a carrier, a number of components) falls over the resamples."""

    low: int
    """Least value within the central mass."""
    high: int
    """Greatest value within the central mass."""
    modal_share: float
    """Share of *all* resamples, also those without an outcome, that give the most frequent value, in (0, 1]."""


def discrete_interval(replicates: NDArray[Any], level: float = 0.95) -> DiscreteInterval:
    """The least and greatest value in the central `level` of the resamples of a whole-number outcome.

    Not reflected: 2·estimate − q has no meaning for the place of a maximum. The ends are values that occurred.
    Resamples without an outcome count as lying outside, so that what is trimmed from the two sides and what is
    missing together stay within 1 − level.

    Args:
        replicates: [R], whole numbers; NaN where a resample has no outcome.
        level: in (0, 1).

    Returns:
        The interval and the share of the most frequent value.

    Raises:
        RequestError: a level outside (0, 1), or values that are not whole numbers.
        NothingToMeasure: fewer than 100 resamples with an outcome, or more than 1 − level without one.
    """
    _check_level(level)
    values = np.asarray(replicates, dtype=np.float64).ravel()
    there = np.sort(values[~np.isnan(values)])
    if not (np.isfinite(there) & (there == np.round(there))).all():
        raise RequestError("a discrete outcome takes whole numbers only (NaN for none)")
    if there.size < LEAST_REPLICATES:
        raise NothingToMeasure(f"no interval: {there.size} resamples with an outcome, {LEAST_REPLICATES} are needed")
    missing = values.size - there.size
    outside = (1 - level) * values.size + 1e-6  # resamples that may lie outside; 0.05 has no exact float
    if missing > outside:
        raise NothingToMeasure(f"no {level:.0%} interval: {missing} of {values.size} resamples have no outcome")
    trimmed = math.floor((outside - missing) / 2)
    _, counts = np.unique(there, return_counts=True)
    return DiscreteInterval(
        low=int(there[trimmed]),
        high=int(there[there.size - 1 - trimmed]),
        modal_share=float(counts.max() / values.size),
    )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise RequestError(f"a level lies in (0, 1), got {level}")

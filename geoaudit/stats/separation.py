"""How well a score separates two groups: the area under the ROC curve, and d′."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError

Floats = NDArray[np.float64]

CONSTANT = 1e-12
"""A spread below this share of the largest score is rounding: the scores are all the same."""


def auroc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Area under the ROC curve: P(positive > negative) + ½·P(equal), over all pairs (Mann & Whitney 1947).

    Args:
        positive: scores of the group that should score higher, [n].
        negative: scores of the other group, [m].

    Returns:
        A number in [0, 1]: 1 perfect, 0.5 none (exactly 0.5 for constant scores, in any order), 0 perfectly reversed.

    Raises:
        NothingToMeasure: an empty group, or a NaN among the scores.
    """
    above = np.asarray(positive, dtype=np.float64).ravel()
    below = np.sort(np.asarray(negative, dtype=np.float64).ravel())
    if not (above.size and below.size):
        raise NothingToMeasure(f"no separation of {above.size} against {below.size} scores: a group is empty")
    if np.isnan(above).any() or np.isnan(below).any():
        raise NothingToMeasure("no separation: a score is NaN")
    beaten = np.searchsorted(below, above, side="left")
    beaten_or_tied = np.searchsorted(below, above, side="right")
    # (left + right)/2 counts each tie as half a pair won
    return float((beaten + beaten_or_tied).sum() / (2 * above.size * below.size))


def auroc_interval(area: float, n_positive: int, n_negative: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of an AUROC by inverting its standard error at the *unknown* area (Newcombe 2006, method 5).

    All that it needs are the area and the sizes of the groups. At areas near 1, where good directions are, a bootstrap
    of the scores gives intervals of hardly any width (of none at 1, which ten prompts reach): in simulation, with 32
    scores a group, the basic one covered an area of 0.9 in 86 %, of 0.99 in 46 to 65 %. This one covered in 92 % or
    more for 8 to 64 scores a group, areas from 0.5 to 0.999 and spreads of 1:1 and 3:1; its lower end was above the
    truth in at most 5 % of samples.

    Args:
        area: in [0, 1].
        n_positive: scores in one group.
        n_negative: scores in the other.
        z: of the two-sided level; 1.96 for 95 %.

    Returns:
        (low, high), around the area and within [0, 1]; never without width.

    Raises:
        RequestError: an area outside [0, 1].
        NothingToMeasure: an empty group.
    """
    if not 0 <= area <= 1:
        raise RequestError(f"an area under the ROC curve lies in [0, 1], got {area}")
    if min(n_positive, n_negative) < 1:
        raise NothingToMeasure(f"no interval from {n_positive} against {n_negative} scores: a group is empty")
    half = (n_positive + n_negative) / 2 - 1

    def inside(true: float) -> bool:
        variance = true * (1 - true) * (1 + half * ((1 - true) / (2 - true) + true / (1 + true)))
        return (true - area) ** 2 <= z**2 * variance / (n_positive * n_negative)

    return _edge(area, 0.0, inside), _edge(area, 1.0, inside)


def _edge(start: float, end: float, inside: Callable[[float], bool]) -> float:
    """Where `inside` ends between `start` and `end`, to 1e-9."""
    # The point itself is inside with equality where the area is 0 or 1: a step away from it the search can begin.
    near, far = start + (end - start) * 1e-9, end
    if not inside(near):
        return start
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(middle) else (near, middle)
    return near


def d_prime(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """d′ = (mean⁺ − mean⁻) / sqrt(½(s⁺² + s⁻²)), s² with n − 1 (Macmillan & Creelman 2005, unequal-variance d_a).

    For groups of the same size it is Cohen's d. It keeps growing where the AUROC is already 1.

    Args:
        positive: scores of the group that should score higher, [n].
        negative: scores of the other group, [m].

    Returns:
        A finite number: 0 for equal means, negative where the groups are the other way round.

    Raises:
        NothingToMeasure: a group of fewer than two scores, scores that are not finite, or groups without any spread,
            between which there is no scale.
    """
    above, below = (np.asarray(each, dtype=np.float64).ravel() for each in (positive, negative))
    value = d_prime_replicates(above, below, np.ones((1, above.size)), np.ones((1, below.size)))[0]
    if not math.isfinite(value):
        raise NothingToMeasure("no d′: neither group's scores have any spread, so that there is no scale")
    return float(value)


def d_prime_replicates(
    positive: NDArray[Any], negative: NDArray[Any], positive_weights: NDArray[Any], negative_weights: NDArray[Any]
) -> Floats:
    """`d_prime` of resamples, each score counted so often: [R]; NaN where a resample has no spread.

    In simulation with 16 to 64 scores a group and d′ from 0 to 6 the basic bootstrap interval of these covered 91 to
    97 % for normal scores and 87 to 97 % for skewed and heavy-tailed ones; its lower end was above the truth in at most
    4 % of samples, but for heavy tails (7 %).

    Args:
        positive: [n].
        negative: [m].
        positive_weights: [R, n], rows of whole numbers.
        negative_weights: [R, m].

    Raises:
        RequestError: weights that do not fit.
        NothingToMeasure: a group of fewer than two scores, or scores that are not finite.
    """
    groups = [np.asarray(each, dtype=np.float64).ravel() for each in (positive, negative)]
    if min(each.size for each in groups) < 2:
        raise NothingToMeasure(f"no d′ of {groups[0].size} against {groups[1].size} scores: each group needs two")
    if not all(np.isfinite(each).all() for each in groups):
        raise NothingToMeasure("no d′: a score is not finite")
    if positive_weights.shape != (len(negative_weights), groups[0].size) or negative_weights.shape[1:] != (
        groups[1].size,
    ):
        raise RequestError("weights must be [R, n] and [R, m]")
    # A common shift and scale change nothing; without them squares could lose all digits, or overflow.
    centre = (groups[0] / 2).mean() + (groups[1] / 2).mean()
    largest = max(float(np.abs(each - centre).max()) for each in groups)
    size = max(float(np.abs(each).max()) for each in groups)
    if not largest > CONSTANT * size:
        return np.full(len(positive_weights), np.nan)
    means, variances = [], []
    for scores, weights in zip(groups, (positive_weights, negative_weights), strict=True):
        centred, total = (scores - centre) / largest, weights.sum(axis=1)
        mean = weights @ centred / total
        spread = (weights * (centred - mean[:, None]) ** 2).sum(axis=1) / (total - 1)
        means.append(mean)
        variances.append(spread)
    scale = np.sqrt((variances[0] + variances[1]) / 2)
    alive = scale > CONSTANT * max(1.0, size / largest)
    result: Floats = np.divide(means[0] - means[1], scale, where=alive, out=np.full(scale.shape, np.nan))
    return result

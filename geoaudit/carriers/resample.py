"""Scores under redrawn prompts: from what is stored of single prompts to the means that a rule reads.

Directions stay as they are; validation prompts are redrawn with replacement, harmful and harmless independently. Only
per-prompt scores are needed, no model. For COSMIC's cosines of mean vectors these are dot products between prompts: the
mean of redrawn vectors has dot products that are weighted sums of stored ones.

Axes: C candidates, R resamples, h harmful and s harmless validation prompts. Weights say how often a prompt is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.select import Row
from geoaudit.errors import RequestError
from geoaudit.stats.bootstrap import block_weights

Floats = NDArray[np.float64]

RESAMPLES = 500
SEED = 20240617
HARMFUL, HARMLESS = 0, 1
"""Which stream of draws is whose."""


@lru_cache(maxsize=8)
def draws(n: int, stream: int) -> NDArray[np.int64]:
    """How often each of n validation prompts is drawn, [R, n]: the same every time, for all that is resampled.

    Args:
        n: prompts of a kind, at least two.
        stream: `HARMFUL` or `HARMLESS`.

    Raises:
        NothingToMeasure: fewer than two prompts.
    """
    return block_weights(n, RESAMPLES, (SEED, stream))


@dataclass(frozen=True, eq=False)
class ArditiScores:
    """Per-prompt scores of the `arditi` rule. NaN where a candidate was not measured: it is then never chosen."""

    bypass: Floats
    """[C, h] refusal metric of harmful prompts, candidate ablated, nats."""
    induce: Floats
    """[C, s] refusal metric of harmless prompts, candidate added, nats."""
    kl: Floats
    """[C, s] KL(base || ablated) on harmless prompts, nats."""


@dataclass(frozen=True, eq=False)
class CosmicScores:
    """Dot products between prompts that COSMIC's cosines are made of. NaN where a candidate was not measured.

    A prompt's vector is its last-token block output, averaged over COSMIC's layers.
    """

    comply_cross: Floats
    """[C, h, s] harmful with the candidate ablated × plain harmless."""
    comply_gram: Floats
    """[C, h, h] harmful with the candidate ablated × itself."""
    refuse_cross: Floats
    """[C, s, h] harmless with the candidate added × plain harmful."""
    refuse_gram: Floats
    """[C, s, s] harmless with the candidate added × itself."""
    harmful_gram: Floats
    """[h, h] plain harmful × itself."""
    harmless_gram: Floats
    """[s, s] plain harmless × itself."""
    base_cross: Floats
    """[h, s] plain harmful × plain harmless."""
    kl: Floats
    """[C, s] KL(base || ablated) on harmless prompts, nats."""


def cosine_of_means(
    cross: NDArray[Any], gram: NDArray[Any], base_gram: NDArray[Any], weights: NDArray[Any], base_weights: NDArray[Any]
) -> Floats:
    """Cosine of the weighted means of two sets of vectors X and Y, from their dot products alone.

    cos = wᵀ(XYᵀ)u / sqrt(wᵀ(XXᵀ)w · uᵀ(YYᵀ)u); the weights' scale cancels.

    Args:
        cross: XYᵀ, [..., x, y]; leading axes are candidates.
        gram: XXᵀ, [..., x, x].
        base_gram: YYᵀ, [y, y] or [..., y, y].
        weights: w, [R, x].
        base_weights: u, [R, y].

    Returns:
        [..., R] in [−1, 1]; NaN where a mean is zero or a product is NaN.
    """
    w, u = (np.asarray(each, dtype=np.float64) for each in (weights, base_weights))
    with np.errstate(invalid="ignore"):  # an infinite product gives NaN, which is what is wanted
        over = ((w @ np.asarray(cross, dtype=np.float64)) * u).sum(axis=-1)
        size_x = ((w @ np.asarray(gram, dtype=np.float64)) * w).sum(axis=-1)
        size_y = ((u @ np.asarray(base_gram, dtype=np.float64)) * u).sum(axis=-1)
        squared = size_x * size_y
        # written so that NaN and a square that rounding made negative both give NaN
        root = np.sqrt(np.where(squared > 0, squared, np.nan))
        result: Floats = np.clip(over / root, -1.0, 1.0)
    return result


def base_cosine(scores: CosmicScores, harmful_weights: NDArray[Any], harmless_weights: NDArray[Any]) -> Floats:
    """c0, the cosine of the unedited harmful to the unedited harmless prompts, in each resample: [R] in [−1, 1]."""
    return cosine_of_means(
        scores.base_cross, scores.harmful_gram, scores.harmless_gram, harmful_weights, harmless_weights
    )


def weighted_scores(
    scores: ArditiScores | CosmicScores, harmful_weights: NDArray[Any], harmless_weights: NDArray[Any]
) -> dict[str, Floats]:
    """Every score of every candidate in each resample, under the names that `select` reads: name -> [C, R].

    Args:
        scores: per-prompt scores.
        harmful_weights: [R, h].
        harmless_weights: [R, s].
    """
    if isinstance(scores, ArditiScores):
        return {
            "bypass": _means(scores.bypass, harmful_weights),
            "induce": _means(scores.induce, harmless_weights),
            "kl": _means(scores.kl, harmless_weights),
        }
    return {
        "s_comply": cosine_of_means(
            scores.comply_cross, scores.comply_gram, scores.harmless_gram, harmful_weights, harmless_weights
        ),
        "s_refuse": cosine_of_means(
            scores.refuse_cross, scores.refuse_gram, scores.harmful_gram, harmless_weights, harmful_weights
        ),
        "kl": _means(scores.kl, harmless_weights),
    }


def scored_rows(candidates: Sequence[Row], scores: ArditiScores | CosmicScores) -> list[Row]:
    """The candidates with their scores on all prompts as they are: what `select` is given for the estimate.

    Args:
        candidates: C rows of which position, layer and `excluded` are kept.
        scores: per-prompt scores in the same order.

    Raises:
        RequestError: another number of candidates than of scores.
    """
    harmful, harmless = _prompts(candidates, scores)
    return _rows(candidates, weighted_scores(scores, np.ones((1, harmful)), np.ones((1, harmless))), 0)


def _rows(candidates: Sequence[Row], drawn: dict[str, Floats], resample: int) -> list[Row]:
    """The candidates with their scores in one resample."""
    columns = {name: values[:, resample].tolist() for name, values in drawn.items()}
    return [
        replace(row, **{name: column[index] for name, column in columns.items()})
        for index, row in enumerate(candidates)
    ]


def _means(values: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Weighted means over prompts: [C, n] and [R, n] -> [C, R]. One NaN makes the candidate NaN in every resample."""
    times = np.asarray(weights, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinities: inf − inf and 0·inf are NaN, which is what is wanted
        result: Floats = np.asarray(values, dtype=np.float64) @ times.T / times.sum(axis=-1)
    return result


def _prompts(candidates: Sequence[Row], scores: ArditiScores | CosmicScores) -> tuple[int, int]:
    """Numbers of harmful and harmless prompts, once the candidates are as many as their scores."""
    if len(candidates) != len(scores.kl):
        raise RequestError(f"{len(candidates)} candidates, but scores of {len(scores.kl)}")
    harmful = scores.bypass.shape[1] if isinstance(scores, ArditiScores) else scores.comply_cross.shape[1]
    return harmful, scores.kl.shape[1]

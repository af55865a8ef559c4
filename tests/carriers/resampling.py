"""Selection on redrawn prompts in its plainest form, one `select` a resample: what the measures must agree with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import ArditiScores, CosmicScores, _prompts, _rows, base_cosine, weighted_scores
from geoaudit.carriers.select import Row, Rule, score, select
from geoaudit.errors import NothingToMeasure
from geoaudit.stats.bootstrap import block_weights

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chosen:
    """One candidate a resample; NaN in all three where there is none."""

    position: Floats
    """[R] whole numbers."""
    layer: Floats
    """[R] whole numbers."""
    score: Floats
    """[R] the rule's score of that candidate in that resample."""


@dataclass(frozen=True, eq=False)
class ResampledSelection:
    """What the rule chose in each resample. In one resample at most one of the two is there."""

    selected: Chosen
    """The best admissible candidate."""
    nearest: Chosen
    """Where nothing was admissible: the inducing candidate of least KL."""


def resample_selection(
    candidates: Sequence[Row],
    scores: ArditiScores | CosmicScores,
    *,
    n_layers: int,
    n_resamples: int,
    seed: int,
    kl_budget: float = 0.1,
    max_layer_fraction: float = 0.8,
    induce_threshold: float = 0.0,
    beta: float = 1.0,
    need_inducing: bool = False,
) -> ResampledSelection:
    """Redraw the prompts and select again, n_resamples times; the rule follows from the kind of scores.

    Args:
        candidates: C rows of which position, layer and `excluded` are used.
        scores: per-prompt scores in the same order.
        n_layers: blocks of the model.
        n_resamples: R.
        seed: of the redrawing.
        kl_budget: as in `select`.
        max_layer_fraction: as in `select`.
        induce_threshold: as in `select` (arditi).
        beta: as in `select` (cosmic).
        need_inducing: cosmic: give `select` each resample's own c0, so that a candidate has to induce refusal.

    Raises:
        RequestError: another number of candidates than of scores.
        NothingToMeasure: fewer than two prompts of a kind, or no c0 below 1 where one is needed.
    """
    harmful, harmless = _prompts(candidates, scores)
    harmful_weights = block_weights(harmful, n_resamples, (seed, 0))
    harmless_weights = block_weights(harmless, n_resamples, (seed, 1))
    drawn = weighted_scores(scores, harmful_weights, harmless_weights)
    rule: Rule = "arditi" if isinstance(scores, ArditiScores) else "cosmic"
    c0: list[float | None] = [None] * n_resamples
    if need_inducing and isinstance(scores, CosmicScores):
        cosines = base_cosine(scores, harmful_weights, harmless_weights)
        if not (cosines < 1).all():
            raise NothingToMeasure("harmful and harmless prompts cannot be told apart, or their vectors are not finite")
        c0 = [float(each) for each in cosines]
    selected, nearest = np.full((2, 3, n_resamples), np.nan)
    for r in range(n_resamples):
        choice = select(
            _rows(candidates, drawn, r),
            rule,
            n_layers=n_layers,
            kl_budget=kl_budget,
            max_layer_fraction=max_layer_fraction,
            induce_threshold=induce_threshold,
            beta=beta,
            c0=c0[r],
        )
        for store, row in ((selected, choice.selected), (nearest, choice.nearest)):
            if row is not None:
                store[:, r] = row.position, row.layer, score(row, rule, beta)
    return ResampledSelection(Chosen(*selected), Chosen(*nearest))

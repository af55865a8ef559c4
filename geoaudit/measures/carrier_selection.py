"""Which candidate is the carrier, how firmly the scores say so, and what it would cost to have one.

The rule itself is `geoaudit.carriers.select`. Here it chooses from a search table and chooses again on redrawn
validation prompts, with the directions as they are.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import (
    HARMFUL,
    HARMLESS,
    RESAMPLES,
    ArditiScores,
    CosmicScores,
    base_cosine,
    draws,
    scored_rows,
    weighted_scores,
)
from geoaudit.carriers.select import ROUNDING, Row, Selecting, Selection, choose, scaled, score
from geoaudit.carriers.table import SearchTable
from geoaudit.errors import NothingToMeasure

TIES = {"cosmic": 0.02, "cosmic-affine": 0.02, "arditi": 0.2}
"""Scores that differ by no more count as equally good where an assertion is about a place: S_total; bypass in nats."""
TIED_KL = 0.02
"""The same for the nearest candidate, which is chosen by its KL (nats)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The rule's choice on all validation prompts and on redrawn ones."""

    rows: list[Row]
    """The candidates with their scores, in the order of the table."""
    choice: Selection
    c0: float
    selected: Floats
    """[2, R] position and layer of the carrier in each resample, NaN where there is none."""
    nearest: Floats
    """[2, R] the same of the nearest candidate."""

    def places(self, direction: str) -> Floats:
        """[2, R] what a measurement is about in each resample: the carrier, or else, if it may be, the nearest."""
        return (
            self.selected if direction == "carrier" else np.where(np.isnan(self.selected), self.nearest, self.selected)
        )


@lru_cache(maxsize=8)
def chosen(table: SearchTable, how: Selecting) -> Chosen:
    """Choose, and choose again on redrawn prompts.

    Raises:
        NothingToMeasure: fewer than two validation prompts of a kind, or two kinds that cannot be told apart.
    """
    scores = scores_of(table, how)
    c0 = idle_cosine(table)
    rows = scored_rows(table.candidates, scores)
    choice = choose(rows, how, n_layers=table.n_layers, c0=c0)
    harmful, harmless = weights(table)
    cosines = base_cosine(table.cosmic, harmful, harmless)
    if not (cosines < 1).all():
        raise NothingToMeasure("harmful and harmless prompts cannot be told apart, or their vectors are not finite")
    # a candidate without a KL is never chosen, whatever the prompts
    alive = [index for index, row in enumerate(rows) if not row.excluded and row.kl is not None and row.kl == row.kl]
    drawn = weighted_scores(only(scores, alive), harmful, harmless)
    columns = {name: values.T.tolist() for name, values in drawn.items()}
    selected, nearest = np.full((2, 2, RESAMPLES), np.nan)
    for r in range(RESAMPLES):
        redrawn = [
            Row(rows[index].position, rows[index].layer, **{name: columns[name][r][i] for name in columns})
            for i, index in enumerate(alive)
        ]
        found = choose(redrawn, how, n_layers=table.n_layers, c0=float(cosines[r]))
        for store, row in ((selected, found.selected), (nearest, found.nearest)):
            if row is not None:
                store[:, r] = row.position, row.layer
    return Chosen(rows, choice, c0, selected, nearest)


def scores_of(table: SearchTable, how: Selecting) -> ArditiScores | CosmicScores:
    """The per-prompt scores that a rule reads."""
    return table.arditi if how.rule == "arditi" else table.cosmic


def weights(table: SearchTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each harmful and each harmless validation prompt is drawn: [R, h] and [R, s], the same every time."""
    return draws(table.base_harmful.size, HARMFUL), draws(table.base_harmless.size, HARMLESS)


def redrawn(table: SearchTable, scores: ArditiScores | CosmicScores, index: int) -> dict[str, Floats]:
    """Every score of one candidate under redrawn prompts: name -> [R]."""
    return {name: values[0] for name, values in weighted_scores(only(scores, [index]), *weights(table)).items()}


def only(scores: ArditiScores | CosmicScores, indices: list[int]) -> ArditiScores | CosmicScores:
    """The scores of some candidates."""
    if isinstance(scores, ArditiScores):
        return ArditiScores(scores.bypass[indices], scores.induce[indices], scores.kl[indices])
    return CosmicScores(
        scores.comply_cross[indices],
        scores.comply_gram[indices],
        scores.refuse_cross[indices],
        scores.refuse_gram[indices],
        scores.harmful_gram,
        scores.harmless_gram,
        scores.base_cross,
        scores.kl[indices],
    )


def idle_cosine(table: SearchTable) -> float:
    """c₀, COSMIC's score of doing nothing: the cosine of plain harmful to plain harmless prompts."""
    ones = np.ones((1, table.base_harmful.size)), np.ones((1, table.base_harmless.size))
    c0 = float(base_cosine(table.cosmic, *ones)[0])
    if not c0 < 1:
        raise NothingToMeasure(
            "harmful and harmless validation prompts have the same representation: nothing to select on"
        )
    return c0


def index_of(table: SearchTable, row: Row) -> int:
    """Where a candidate stands in the table."""
    return next(i for i, one in enumerate(table.candidates) if (one.position, one.layer) == (row.position, row.layer))


def distribution(
    found: Chosen, how: Selecting, direction: str, axis: Literal["position", "layer"]
) -> dict[str, Any] | None:
    """What `audit.decide` needs of a place: how often each value was chosen, and the best score there.

    An argmax is often bimodal, so an interval of the middle says too little. `score` is that of the best candidate at
    the value that is admissible on all prompts (where the nearest is used: its KL), `winner` that of the one in use.

    Returns:
        {values: [{value, count, score}], resamples, winner, better, tolerance}; None where nothing is in use.
    """
    choice = found.choice
    used = choice.selected
    if used is not None:
        state, tolerance, better = "admissible", TIES[how.rule], "lower" if how.rule == "arditi" else "higher"
    elif direction == "nearest" and choice.nearest is not None:
        used, state, tolerance, better = choice.nearest, "kl", TIED_KL, "lower"
    else:
        return None

    def worth(row: Row) -> float:
        return score(row, how.rule, how.beta) if state == "admissible" else number(row.kl)

    best: dict[int, float] = {}
    for row, status in zip(found.rows, choice.status, strict=True):
        if status != state or (state == "kl" and not induces(row, how, found.c0)):
            continue
        value, one = getattr(row, axis), worth(row)
        best[value] = one if value not in best else (min if better == "lower" else max)(best[value], one)
    drawn = found.places(direction)[0 if axis == "position" else 1]
    counts = Counter(int(value) for value in drawn if not math.isnan(value))
    return {
        "values": [
            {"value": value, "count": counts.get(value, 0), "score": shown(best.get(value))}
            for value in sorted({*counts, *best})
        ],
        "resamples": int(drawn.size),
        "winner": shown(worth(used)),
        "better": better,
        "tolerance": tolerance,
    }


def shares(places: Floats) -> list[dict[str, Any]]:
    """How often each place was chosen, most often first."""
    counts = Counter((int(position), int(layer)) for position, layer in places.T if not math.isnan(layer))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"position": p, "layer": layer, "share": count / places.shape[1]} for (p, layer), count in ranked[:20]]


def effect(row: Row, how: Selecting, c0: float) -> float:
    """How far adding a candidate induces refusal, by the rule: the refusal score in nats (arditi), or S̃ refuse."""
    if how.rule == "arditi":
        return number(row.induce)
    return scaled(number(row.s_refuse), c0)


def induces(row: Row, how: Selecting, c0: float) -> bool:
    """Whether a candidate induces by its own rule; for the raw score as for the rule that asks for more than c₀."""
    return effect(row, how, c0) >= how.induce_threshold if how.rule == "arditi" else effect(row, how, c0) > ROUNDING


def frontier(found: Chosen, how: Selecting, frontier_kl: float) -> list[dict[str, Any]]:
    """The candidates that no other beats in both KL and effect, by rising KL up to `frontier_kl`."""
    front: list[dict[str, Any]] = []
    most = -math.inf
    for row in _in_reach(found, frontier_kl):
        worth = effect(row, how, found.c0)
        if worth > most:
            most = worth
            front.append(_placed(row, kl=row.kl, effect=worth))
    return front


def first_budget(found: Chosen, how: Selecting, table: SearchTable) -> dict[str, Any] | None:
    """The KL budget at which the first carrier appears: the least KL of a candidate with which the model refuses.

    It induces by its own rule, *and* with it added refusing is the likelier answer to harmless prompts: what only
    hardly moves COSMIC's cosine would be no carrier at any budget.
    """
    induced = scored_rows(table.candidates, table.arditi)
    for row in _in_reach(found, math.inf):
        added = number(induced[index_of(table, row)].induce)
        if induces(row, how, found.c0) and added >= max(0.0, how.induce_threshold):
            return {"kl": shown(row.kl), "position": row.position, "layer": row.layer}
    return None


def margin(found: Chosen, how: Selecting) -> dict[str, Any]:
    """How near the choice was to another: scores in half precision move in the third digit, and may flip it.

    Returns:
        {closest: {position, layer, kl, over}, the candidate whose KL is nearest to the budget and by how many nats
        it is over it; runner_up: {position, layer, behind}, the second best admissible one and how far its score is
        behind}; None for what there is not.
    """
    rows = _in_reach(found, math.inf)
    closest = min(rows, key=lambda row: abs(number(row.kl) - how.kl_budget), default=None)
    best = found.choice.selected
    admissible = [
        row
        for row, status in zip(found.rows, found.choice.status, strict=True)
        if status == "admissible" and row is not best
    ]
    sign = -1 if how.rule == "arditi" else 1
    second = max(admissible, key=lambda row: sign * score(row, how.rule, how.beta), default=None)
    return {
        "closest": closest and _placed(closest, kl=closest.kl, over=number(closest.kl) - how.kl_budget),
        "runner_up": second
        and best
        and _placed(second, behind=sign * (score(best, how.rule, how.beta) - score(second, how.rule, how.beta))),
    }


def _placed(row: Row, **values: float | None) -> dict[str, Any]:
    return {"position": row.position, "layer": row.layer, **{name: shown(value) for name, value in values.items()}}


def _in_reach(found: Chosen, most: float) -> list[Row]:
    """Candidates that failed at most on their KL, by rising KL."""
    late = {"null", "screened", "late-layer", "behind-peaks"}
    rows = [row for row, status in zip(found.rows, found.choice.status, strict=True) if status not in late]
    return sorted(
        (row for row in rows if number(row.kl) <= most), key=lambda row: (number(row.kl), row.position, row.layer)
    )


def number(value: float | None) -> float:
    """NaN for what is not there."""
    return math.nan if value is None else value


def shown(value: float | None) -> float | None:
    """Six digits, or None for what is not a number: the record has no NaN."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")

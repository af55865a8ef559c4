"""Every candidate direction, scored once for all selection rules, and no more of it than a rule can ask for.

Scores are those of the published pipelines: bypass, induce and KL of the refusal-direction reference (Arditi et al.
2406.11717 §2.4), S_comply and S_refuse of COSMIC. *Linear*: ablation at every site, addition of the raw difference at
the candidate's own resid_pre, all positions. *Affine* (COSMIC's own default): both at the candidate's resid_pre alone.

What is left out, and why no rule can miss it (``exhaustive`` leaves out nothing, by plain passes):

* KL first, prompt by prompt. A prompt's KL has a least value that its unedited distribution alone implies
  (`scores.Base.least_kl`, about −0.001). As soon as what was read and the least of the rest put the mean above
  `frontier_kl` (at least the budget) the candidate is *screened*: exact, whatever the other prompts would say.
* Addition only for candidates within `frontier_kl`.
* Harmful prompts with the candidate ablated (bypass, S_comply) only for candidates that the budget admits on the
  prompts as they are or as any of the resamples draws them (`resample.draws`: these and no others are read when a
  selection is resampled, so this too is exact); and for the inducing candidate of least KL, which stands in where
  nothing is admissible.
* ``winner``: nothing beyond the budget; the rest in an order in which a bound ends it (`_until_decided`). By the rule
  *arditi* a candidate is added as soon as its mean KL is within the budget so far, and one that does not induce is read
  no further: exact, for the rule admits none of these whatever their KL. It is *not-inducing*, and its KL, of which
  a part was read, is not reported. (COSMIC's S_refuse is above c₀ for most candidates: asking early saves nothing.)
* The late layers, which no rule admits.

How passes are shared is told in `passes`. What is kept of a candidate is per prompt, so that selection can be
resampled without the model: refusal scores and KL, and for COSMIC the dot products that its cosines are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from geoaudit.carriers.field import Field, How
from geoaudit.carriers.resample import HARMLESS, ArditiScores, CosmicScores, draws, scored_rows
from geoaudit.carriers.scorer import Arrays, Floats, Scorer
from geoaudit.carriers.select import ROUNDING, Row, scaled
from geoaudit.carriers.table import SearchTable
from geoaudit.geometry.directions import BlockMeans, cosine, norms, overall

LOW_LAYERS = 0.10
"""COSMIC reads its similarity at the tenth of the layers where harmful and harmless are least alike."""


def least_alike(harmful: BlockMeans, harmless: BlockMeans) -> tuple[int, ...]:
    """COSMIC's layers: lowest cosine between mean harmful and mean harmless block output at the last token.

    Of layers that are equally alike the latest is read: a direction that is added behind a layer cannot be seen there.
    """
    one, other = overall(harmful)[-1, 1:], overall(harmless)[-1, 1:]
    alike = [round(cosine(a, b), 9) for a, b in zip(one, other, strict=True)]
    count = max(1, int(LOW_LAYERS * len(alike)))
    return tuple(sorted(sorted(range(len(alike)), key=lambda layer: (alike[layer], -layer))[:count]))


def search(
    scorer: Scorer,
    *,
    refusal_tokens: Mapping[str, int],
    inputs: Mapping[str, str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchTable:
    """Score every (position, layer) of a field on the validation prompts.

    Args:
        scorer: candidates, prompts, how they are scored, and where finished ones are kept.
        refusal_tokens: text -> id of the tokens with which this model's refusals begin; the ids are the scorer's.
        inputs: prompt set -> hash, passed on.
        progress: called with (candidates done, in all), where screening and scoring count half each.
    """
    field, how = scorer.field, scorer.how
    grid = _grid(field, how)
    base = scorer.base
    idle: set[Row] = set()
    alive = [place for place in grid if not field.null[place.position, place.layer]]
    found: dict[Row, Arrays] = {place: {} for place in grid}
    half = len(grid)
    if how.search == "exhaustive":
        for done, place in enumerate(alive):
            found[place] = scorer.plainly(place)
            progress(done + 1, len(alive))
    else:
        worth = partial(_inducing, scorer, found, idle) if _asks_early(how) else None
        for place, kl in scorer.screened(alive, lambda done: progress(done, 2 * half), worth):
            found[place]["kl"] = kl
        within = [place for place in alive if float(np.mean(found[place]["kl"])) <= how.limit]  # NaN is not within
        if how.search == "winner":
            _until_decided(scorer, within, found)
        else:
            for done, (place, scores) in enumerate(scorer.added(within), start=1):
                found[place] |= scores
                progress(half + half * done // (2 * len(within)), 2 * half)
            full = [place for place in within if _reachable(found[place]["kl"], how.kl_budget)]
            full += [place for place in _least_inducing(field, grid, found, base) if place not in full]
            for done, (place, scores) in enumerate(scorer.ablated(full), start=1):
                found[place] |= scores
                progress(half + half // 2 + half * done // (2 * len(full)), 2 * half)
    return _table(field, how, grid, found, base, refusal_tokens, inputs, idle)


def _grid(field: Field, how: How) -> list[Row]:
    """All places that are tried, in the order of the reference's loop."""
    positions, n_layers = field.directions.shape[0], field.directions.shape[1] - 1
    return [
        Row(position - positions, layer)
        for position in range(positions)
        for layer in range(min(n_layers, int(n_layers * how.max_layer_fraction)))
    ]


def _reachable(kl: Floats, budget: float) -> bool:
    """Whether the budget admits a candidate, on its prompts as they are or as a resample draws them."""
    drawn = kl @ draws(len(kl), HARMLESS).T / len(kl) if len(kl) > 1 else kl
    return min(float(np.mean(kl)), float(drawn.min())) <= budget + 1e-9  # sums in another order round otherwise


def _least_inducing(field: Field, grid: list[Row], found: Mapping[Row, Arrays], base: Mapping[str, Any]) -> list[Row]:
    """For each rule the inducing candidate of least KL: what stands in where nothing is admissible."""
    arditi, cosmic = _assembled(field, grid, found, base)
    c0 = cosine(base["x_harmful"].mean(axis=0), base["x_harmless"].mean(axis=0))
    inducing = (
        [row for row in scored_rows(grid, arditi) if row.induce is not None and row.induce >= 0],
        [row for row in scored_rows(grid, cosmic) if _above(row.s_refuse, c0)],
    )
    # only what was added within the frontier induces, and its KL is complete
    best = [min(rows, key=lambda row: (row.kl, row.position, row.layer)) for rows in inducing if rows]
    return list(dict.fromkeys(Row(row.position, row.layer) for row in best))


def _above(similarity: float | None, c0: float) -> bool:
    """Whether adding does more than nothing, as `select` asks."""
    return similarity is not None and c0 < 1 and scaled(similarity, c0) > ROUNDING


def _asks_early(how: How) -> bool:
    """Whether candidates are added while they are screened: where the rule admits only those that induce."""
    return how.search == "winner" and how.selecting is not None and how.selecting.rule == "arditi"


def _inducing(scorer: Scorer, found: dict[Row, Arrays], idle: set[Row], places: Sequence[Row]) -> list[Row]:
    """Add candidates and keep those that induce, and those whose score is no number; the others are `idle`."""
    selecting = scorer.how.selecting
    assert selecting is not None
    for place, scores in scorer.added(places):
        found[place] |= scores
        if float(np.mean(scores["induce"])) < selecting.induce_threshold:
            idle.add(place)
    return [place for place in places if place not in idle]


def _until_decided(scorer: Scorer, within: list[Row], found: dict[Row, Arrays]) -> None:
    """Score the candidates within the budget until the rule's winner is certain.

    arditi: they were added while they were screened, and those that induce are ablated. cosmic: all are added, which
    is the cheaper pass; those that may win are ablated by falling S_refuse − β·KL, until the best total is at least
    what the next could reach with S_comply = 1.
    """
    selecting = scorer.how.selecting
    assert selecting is not None
    if _asks_early(scorer.how):
        inducing = [place for place in within if float(np.mean(found[place]["induce"])) >= selecting.induce_threshold]
        for place, scores in scorer.ablated(inducing):
            found[place] |= scores
        return
    for place, scores in scorer.added(within):
        found[place] |= scores
    x_harmful, x_harmless = (scorer.base[name].mean(axis=0) for name in ("x_harmful", "x_harmless"))
    c0 = cosine(x_harmful, x_harmless)
    refuse = {place: _cosine(found[place], "refuse", x_harmful) for place in within}
    promise = {place: refuse[place] - selecting.beta * float(np.mean(found[place]["kl"])) for place in within}
    best = -np.inf
    for place in sorted(within, key=lambda place: -np.nan_to_num(promise[place], nan=-np.inf)):
        if promise[place] + 1.0 < best:
            return
        if selecting.raw or _above(refuse[place], c0):
            ((_, scores),) = scorer.ablated([place])
            found[place] |= scores
            best = max(best, promise[place] + _cosine(scores, "comply", x_harmless))


def _cosine(scores: Arrays, which: str, against: Floats) -> float:
    """The cosine of means behind dot products `{which}_cross` and `{which}_gram`."""
    size = np.sqrt(float(np.mean(scores[f"{which}_gram"]))) * float(np.linalg.norm(against))
    return float(np.mean(scores[f"{which}_cross"]) / size)


_SQUARE = ("comply_cross", "comply_gram", "refuse_cross", "refuse_gram")


def _assembled(
    field: Field, grid: Sequence[Row], found: Mapping[Row, Arrays], base: Mapping[str, Any]
) -> tuple[ArditiScores, CosmicScores]:
    h, s = len(base["harmful"]), len(base["harmless"])
    shapes = {"comply_cross": (h, s), "comply_gram": (h, h), "refuse_cross": (s, h), "refuse_gram": (s, s)}
    rows = [found[place] for place in grid]
    kl = _stacked(rows, "kl", (s,))
    return (
        ArditiScores(_stacked(rows, "bypass", (h,)), _stacked(rows, "induce", (s,)), kl),
        CosmicScores(
            **{name: _stacked(rows, name, shape) for name, shape in shapes.items()},
            harmful_gram=base["x_harmful"] @ base["x_harmful"].T,
            harmless_gram=base["x_harmless"] @ base["x_harmless"].T,
            base_cross=base["x_harmful"] @ base["x_harmless"].T,
            kl=kl,
        ),
    )


def _table(
    field: Field,
    how: How,
    grid: Sequence[Row],
    found: Mapping[Row, Arrays],
    base: Mapping[str, Any],
    refusal_tokens: Mapping[str, int],
    inputs: Mapping[str, str],
    idle: Collection[Row],
) -> SearchTable:
    def excluded(place: Row) -> Literal["", "null", "screened", "not-inducing"]:
        row = found[place]
        if not row:
            return "null"
        kl = row["kl"]
        if not np.isnan(kl).any() or np.isnan(kl).all():
            return ""
        return "not-inducing" if place in idle else "screened"

    arditi, cosmic = _assembled(field, grid, found, base)
    return SearchTable(
        candidates=tuple(replace(place, excluded=excluded(place)) for place in grid),
        norm=tuple(float(norms(field.directions[place.position, place.layer])) for place in grid),
        arditi=arditi,
        cosmic=cosmic,
        base_harmful=base["harmful"],
        base_harmless=base["harmless"],
        n_layers=field.directions.shape[1] - 1,
        low_layers=field.low_layers,
        refusal_tokens=tuple(refusal_tokens),
        inputs=inputs,
        frontier_kl=how.limit,
    )


def _stacked(rows: Sequence[Mapping[str, np.ndarray]], name: str, shape: tuple[int, ...]) -> Floats:
    """One score of all candidates, [C, *shape], NaN where a candidate lacks it."""
    out = np.full((len(rows), *shape), np.nan)
    for index, row in enumerate(rows):
        if name in row:
            out[index] = row[name]
    return out

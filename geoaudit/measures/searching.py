"""The carrier search of a checkpoint, and what follows it: controls, subspaces, directions of other checkpoints.

Functions of a bench and a need; every row goes through the bench's store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit import judges
from geoaudit.carriers.examine import carried, examine, subspaces
from geoaudit.carriers.field import Field, How
from geoaudit.carriers.scorer import Scorer
from geoaudit.carriers.search import least_alike, search
from geoaudit.carriers.select import Row, Selecting
from geoaudit.carriers.table import Carried, Examined, SearchTable, SubspaceEffects
from geoaudit.carriers.tokens import refusal_tokens
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.controls import covariance_matched
from geoaudit.geometry.directions import activation_scale, differences, norms, null_rows, overall
from geoaudit.geometry.subspaces import top_subspace
from geoaudit.measures.activations import apart, chat_of, contrasted, means_of
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier_needs import HELD_OUT
from geoaudit.measures.carrier_selection import chosen
from geoaudit.measures.fulfilled import CompletedPrompts, ProbeMeans
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import (
    CandidateSearch,
    Examination,
    SubspaceAblation,
    Transfer,
)
from geoaudit.records import REFUSED

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered

CONTROLS = 20
"""Matched controls: the least with which a rank p-value can reach 0.05 (1/21), and one to spare."""
CONTROL_SEED = 20260616
MOST_RANK = 4
"""Largest subspace that is ablated."""
LEAST_KEPT = 20
"""Prompts of a kind that a filter must leave."""


def candidate_search(bench: Bench, need: CandidateSearch) -> SearchTable:
    """Scores of every candidate."""
    scorer = scorer_of_search(bench, need)
    answered: list[CompletedPrompts] = [bench.fulfil(each) for each in need.answered]
    inputs = {each.prompts.name: each.prompts.sha256 for each in answered}
    means: ProbeMeans = bench.fulfil(need.probe)
    table = search(
        scorer,
        refusal_tokens=tokens_of(bench, need),
        inputs={**means.inputs, **inputs},
        progress=bench.progress,
    )
    return replace(table, kept=scorer.field.kept)


def _field(bench: Bench, need: CandidateSearch, rendered: Sequence[list[Rendered]], refusal_ids: list[int]) -> Field:
    """The candidates, and which validation prompts a filter keeps."""
    means: ProbeMeans = bench.fulfil(need.probe)
    positive, negative = contrasted(bench, need.probe, need.contrast)
    kept = None
    if need.filtered:
        chat = chat_of(bench, need.probe.chat)
        train = [[chat.render(prompt.text) for prompt in prompts.prompts] for prompts in means.prompts]
        validation, chosen = (_kept(bench, each, refusal_ids) for each in (rendered, train))
        for half, parts in (("validation", validation), ("train", chosen)):
            for kind, which in zip(("harmful", "harmless"), parts, strict=True):
                _enough(f"{kind} {half}", which)
        sides = [means_of(bench, _filtered(each, which)) for each, which in zip(train, chosen, strict=True)]
        positive, negative = (apart(each)[1] for each in sides)
        kept = np.concatenate(validation)
    directions = differences(positive, negative)
    return Field(
        directions,
        null_rows(directions, activation_scale(positive, negative)),
        overall(means.harmless),
        least_alike(means.harmful, means.harmless),
        kept,
    )


def _enough(kind: str, kept: NDArray[np.bool_]) -> None:
    if kept.sum() < LEAST_KEPT:
        raise NothingToMeasure(
            f"the filter of the refusal-direction reference keeps {int(kept.sum())} of {kept.size} {kind} prompts "
            f"(refusal score above 0 for harmful ones, below 0 for harmless ones); {LEAST_KEPT} are needed"
        )


def _kept(bench: Bench, rendered: Sequence[list[Rendered]], refusal_ids: list[int]) -> list[NDArray[np.bool_]]:
    """Which harmful prompts have a refusal score above 0, and which harmless ones one below."""
    found = []
    for prompts, sign in zip(rendered, (1, -1), strict=True):
        key = bench.key("scores", [list(one.ids) for one in prompts], sorted(refusal_ids))
        stored = bench.get_arrays(key)
        if stored is None:
            stored = {"scores": _scores(bench, prompts, refusal_ids)}
            bench.put_arrays(key, stored)
        found.append(sign * stored["scores"] > 0)
    return found


def _scores(bench: Bench, rendered: list[Rendered], refusal_ids: list[int]) -> NDArray[np.float64]:
    from geoaudit.carriers.passes import Passes
    from geoaudit.carriers.scores import refusal_metric

    scores: NDArray[np.float64] = refusal_metric(
        Passes(bench.loaded, rendered, (0,)).plain.logits[0], refusal_ids
    ).numpy()
    return scores


def tokens_of(bench: Bench, need: CandidateSearch) -> dict[str, int]:
    """Refusal tokens of the trajectory: first tokens of all its checkpoints' own refusals, as the judge labels them."""
    judge = judges.get(REFERENCE_JUDGE)
    first: list[int] = []
    for member in bench.family():
        for asked in need.answered:
            completed: CompletedPrompts = member.fulfil(asked)
            judged = zip(completed.completions, judge(completed.exchanges), strict=True)
            first += [
                completion.first_token
                for completion, judgement in judged
                if judgement.label in REFUSED and completion.first_token is not None
            ]
    return refusal_tokens(first, bench.chat.tokenizer)


def scorer_of(
    bench: Bench, need: CandidateSearch, field: Field, rendered: Sequence[list[Rendered]], refusal_ids: list[int]
) -> Scorer:
    """What scores the candidates of a search on the validation prompts, through the bench's store."""
    return Scorer(
        lambda: bench.loaded,
        rendered[0],
        rendered[1],
        field,
        How(
            need.max_layer_fraction,
            need.kl_budget,
            need.frontier_kl,
            need.operator,
            need.scope,
            need.search,
            need.selecting,
        ),
        refusal_ids,
        bench,
        lambda *parts: bench.key("search", *parts),
    )


# --- what follows a search -----------------------------------------------------------------------------------------


def in_use(table: SearchTable, selecting: Selecting, direction: str) -> Row:
    """The candidate that a measurement is about.

    Raises:
        NothingToMeasure: nothing is admissible (and, for *nearest*, nothing induces refusal).
    """
    choice = chosen(table, selecting).choice
    used = choice.selected or (choice.nearest if direction == "nearest" else None)
    if used is None:
        raise NothingToMeasure(f"no candidate is admissible by the rule {selecting.rule!r}: there is none to look at")
    return Row(used.position, used.layer)


def examination(bench: Bench, need: Examination) -> Examined:
    """The direction in use beside KL-matched controls, and under other scopes."""
    scorer = scorer_of_search(bench, need.search)
    place = in_use(bench.fulfil(need.search), need.selecting, need.direction)
    sides = contrasted(bench, need.search.probe, need.search.contrast)
    frames = covariance_matched(
        sides, place.position, place.layer, scorer.direction(place), n=CONTROLS, seed=CONTROL_SEED
    )
    return examine(scorer, place, frames[:, 0])


def subspace_ablation(bench: Bench, need: SubspaceAblation) -> SubspaceEffects:
    """Top-k subspaces at the layer of the direction in use, on held-out prompts, beside controls."""
    scorer = scorer_of_search(bench, need.search)
    place = in_use(bench.fulfil(need.search), need.selecting, need.direction)
    field = scorer.field
    rows = field.directions[:, place.layer][~field.null[:, place.layer]]
    most = min(MOST_RANK, int(np.linalg.matrix_rank(rows, tol=1e-6 * norms(rows).max())))
    bases = [top_subspace(rows, k).basis for k in range(1, most + 1)]
    sides = contrasted(bench, need.search.probe, need.search.contrast)
    controls = [
        covariance_matched(sides, place.position, place.layer, rows, n=CONTROLS, k=k, seed=CONTROL_SEED + k)
        for k in range(1, most + 1)
    ]
    prompts = bench.prompts(Source(HELD_OUT)).first(need.n)
    chat = chat_of(bench, need.search.probe.chat)
    rendered = [chat.render(prompt.text) for prompt in prompts.prompts]
    return subspaces(scorer, place.layer, bases, controls, rendered, {prompts.name: prompts.sha256})


def transfer(bench: Bench, need: Transfer) -> Carried:
    """The direction in use of another checkpoint, edited into this one."""
    other = bench.others(need.source)
    place = in_use(other.fulfil(need.search), need.selecting, need.direction)
    direction = scorer_of_search(other, need.search).direction(place)
    other.release()
    scorer = scorer_of_search(bench, need.search)
    if direction.shape[-1] != scorer.field.directions.shape[-1]:
        raise NothingToMeasure(
            f"the direction of {need.source} is {direction.shape[-1]} wide, this model "
            f"{scorer.field.directions.shape[-1]}: it cannot be carried over"
        )
    if place.layer >= scorer.field.directions.shape[1] - 1:
        raise NothingToMeasure(f"the direction of {need.source} is of layer {place.layer}, which this model lacks")
    return carried(scorer, place, direction)


def scorer_of_search(bench: Bench, need: CandidateSearch) -> Scorer:
    """The scorer of a search that has been made: the same prompts, field and rows."""
    chat = chat_of(bench, need.probe.chat)
    sets = [bench.fulfil(each).prompts for each in need.answered]
    rendered = [[chat.render(prompt.text) for prompt in prompts.prompts] for prompts in sets]
    ids = list(tokens_of(bench, need).values())
    field = _field(bench, need, rendered, ids)
    if field.kept is not None:
        parts = np.split(field.kept, [len(rendered[0])])
        rendered = [_filtered(each, which) for each, which in zip(rendered, parts, strict=True)]
    return scorer_of(bench, need, field, rendered, ids)


def _filtered(rendered: list[Rendered], kept: NDArray[np.bool_]) -> list[Rendered]:
    return [one for one, keep in zip(rendered, kept, strict=True) if keep]

"""Needs that are read inside a model: means of activations, projections, the carrier search and what follows it.

Functions of a bench and a need; every row goes through the bench's store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoaudit import judges
from geoaudit.carriers.examine import carried, examine, subspaces
from geoaudit.carriers.scorer import Field, How, Scorer
from geoaudit.carriers.search import least_alike, search
from geoaudit.carriers.select import Row, Selecting
from geoaudit.carriers.table import Carried, Examined, SearchTable, SubspaceEffects
from geoaudit.carriers.tokens import refusal_tokens
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.controls import covariance_matched
from geoaudit.geometry.directions import BlockMeans, activation_scale, differences, norms, null_rows, overall
from geoaudit.geometry.subspaces import top_subspace
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier_needs import HELD_OUT
from geoaudit.measures.carrier_selection import chosen
from geoaudit.measures.fulfilled import CELLS, CategoryMeans, CellMeans, CompletedPrompts, ProbeMeans, Projected
from geoaudit.measures.needs import (
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    CandidateSearch,
    Categories,
    Cells,
    ChatSetting,
    Contrast,
    Examination,
    Probe,
    Projections,
    Source,
    SubspaceAblation,
    Transfer,
)
from geoaudit.records import REFUSED, PromptSet, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Chat, Rendered

CATEGORY_BLOCKS = 4
"""Blocks of prompts in which the means of one category are kept."""
CONTROLS = 20
"""Matched controls: the least with which a rank p-value can reach 0.05 (1/21)."""
CONTROL_SEED = 20260616
MOST_RANK = 5
"""Largest subspace that is ablated."""
LEAST_KEPT = 20
"""Prompts of a kind that a filter must leave."""


# --- means of activations ------------------------------------------------------------------------------------------


def probe(bench: Bench, need: Probe) -> ProbeMeans:
    """Block means of the probe sets."""
    chat = _chat(bench, need.chat)
    sets = [bench.prompts(Source(name)).first(need.n_train) for name in (PROBE_HARMFUL[0], PROBE_HARMLESS[0])]
    means = [
        _means(bench, [chat.render(prompt.text) for prompt in prompts.prompts], index * len(prompts), 2 * len(prompts))
        for index, prompts in enumerate(sets)
    ]
    return _probe_means(means, chat, (sets[0], sets[1]))


def _probe_means(means: Sequence[BlockMeans], chat: Chat, prompts: tuple[PromptSet, PromptSet]) -> ProbeMeans:
    (harmful_inst, harmful), (harmless_inst, harmless) = (_apart(each) for each in means)
    return ProbeMeans(harmful, harmless, tuple(chat.post_tokens), prompts, harmful_inst, harmless_inst)


def categories(bench: Bench, need: Categories) -> CategoryMeans:
    """Block means of the harmless probe prompts by category."""
    chat = _chat(bench, need.chat)
    prompts = bench.prompts(Source(PROBE_HARMLESS[0])).first(need.n_train)
    names = tuple(sorted({prompt.category for prompt in prompts.prompts}))
    blocks = _blocks([names.index(prompt.category) for prompt in prompts.prompts], CATEGORY_BLOCKS)
    rendered = [chat.render(prompt.text) for prompt in prompts.prompts]
    means = _means(bench, rendered, blocks=blocks, n_blocks=CATEGORY_BLOCKS * len(names))
    parts = [_part(means, index, CATEGORY_BLOCKS) for index in range(len(names))]
    apart = [_apart(part) for part in parts if part is not None]
    return CategoryMeans(names, tuple(post for _, post in apart), tuple(inst for inst, _ in apart), prompts)


def cells(bench: Bench, need: Cells) -> CellMeans:
    """Block means by what was asked and what the model did."""
    chat = _chat(bench, need.chat)
    judge = judges.get(REFERENCE_JUDGE)
    texts: list[str] = []
    cell: list[int] = []
    left_out = 0
    sets = []
    for index, asked in enumerate(need.answered):
        completed: CompletedPrompts = bench.fulfil(asked)
        sets.append(completed.prompts)
        for case, judgement in zip(completed.cases, judge(completed.exchanges), strict=True):
            if judgement.label in REFUSED or judgement.label == "full_compliance":
                texts.append(case.text)
                cell.append(2 * (index // 2) + (judgement.label not in REFUSED))
            else:
                left_out += 1
    n_blocks = bench.contract.probe_blocks
    means = _means(
        bench,
        [chat.render(text) for text in texts],
        blocks=_blocks(cell, n_blocks),
        n_blocks=n_blocks * len(CELLS),
    )
    parts = {name: _part(means, index, n_blocks) for index, name in enumerate(CELLS)}
    return CellMeans(parts, tuple(chat.post_tokens), tuple(sets), left_out)


def _chat(bench: Bench, setting: ChatSetting) -> Chat:
    chat = bench.chat_under(setting)
    if chat.n_post == 0:
        raise NothingToMeasure(
            "the template has no post-instruction tokens, where directions are read: name a chat template with "
            "--geoaudit-template FILE|zephyr|chatml"
        )
    return chat


def _means(
    bench: Bench,
    rendered: list[Rendered],
    done: int = 0,
    total: int | None = None,
    *,
    blocks: Sequence[int] | None = None,
    n_blocks: int | None = None,
) -> BlockMeans:
    """Block means [B, 1 + P, L + 1, d] through the store."""
    count = n_blocks or bench.contract.probe_blocks
    key = bench.key("means", [list(one.ids) for one in rendered], count, list(blocks) if blocks is not None else None)
    stored = bench.get_arrays(key)
    if stored is None:
        from geoaudit.model.activations import block_means

        counts, means = block_means(
            bench.loaded,
            rendered,
            n_blocks=count,
            blocks=blocks,
            progress=lambda now, _: bench.progress(done + now, total or len(rendered)),
        )
        stored = {"count": counts, "mean": means}
        bench.put_arrays(key, stored)
    return BlockMeans(stored["count"], stored["mean"])


def _blocks(groups: Sequence[int], n_blocks: int) -> list[int]:
    """The block of each prompt: group · n_blocks + its rank within the group modulo n_blocks."""
    seen: dict[int, int] = {}
    found = []
    for group in groups:
        rank = seen.get(group, 0)
        seen[group] = rank + 1
        found.append(group * n_blocks + rank % n_blocks)
    return found


def _part(means: BlockMeans, index: int, n_blocks: int) -> BlockMeans | None:
    """The blocks of one group; None for an empty one."""
    own = slice(index * n_blocks, (index + 1) * n_blocks)
    return BlockMeans(means.count[own], means.mean[own]) if means.count[own].sum() else None


def _apart(means: BlockMeans) -> tuple[BlockMeans, BlockMeans]:
    """(`t_inst`, the post-instruction positions)."""
    return BlockMeans(means.count, means.mean[:, :1]), BlockMeans(means.count, means.mean[:, 1:])


# --- projections ---------------------------------------------------------------------------------------------------


def projections(bench: Bench, need: Projections) -> Projected:
    """Validation prompts on the unit directions of the train halves."""
    chat = _chat(bench, need.probe.chat)
    positive, negative = contrasted(bench, need.probe, need.contrast, with_instruction=True)
    field = differences(positive, negative)
    null = null_rows(field, activation_scale(positive, negative))
    units = np.where(null[..., None], np.nan, field / np.maximum(norms(field), 1e-300)[..., None])
    sets = [bench.prompts(Source(name)).first(need.n_validation) for name in (PROBE_HARMFUL[1], PROBE_HARMLESS[1])]
    rendered = [chat.render(prompt.text) for prompts in sets for prompt in prompts.prompts]
    key = bench.key("projections", [list(one.ids) for one in rendered], digest(field.astype("f4").tobytes().hex()))
    stored = bench.get_arrays(key)
    if stored is None:
        stored = {"projected": _projected(bench, rendered, units)}
        bench.put_arrays(key, stored)
    projected = stored["projected"]
    is_positive = np.arange(len(rendered)) < len(sets[0])
    read = np.ones(len(rendered), dtype=bool)
    if need.contrast == "refused":
        judge = judges.get(REFERENCE_JUDGE)
        labels = [one.label for asked in need.answered for one in judge(bench.fulfil(asked).exchanges)]
        is_positive = np.array([label in REFUSED for label in labels])
        read = np.array([label in REFUSED or label == "full_compliance" for label in labels])
    return Projected(
        projected[..., is_positive & read],
        projected[..., ~is_positive & read],
        tuple(chat.post_tokens),
        (sets[0], sets[1]),
    )


def _projected(bench: Bench, rendered: list[Rendered], units: NDArray[np.float64]) -> NDArray[np.float64]:
    """[1 + P, L + 1, n] scalar products."""
    from geoaudit.model.activations import at_positions, every_layer

    out = np.empty((*units.shape[:2], len(rendered)))
    done = 0
    for rows, values in at_positions(bench.loaded, rendered, every_layer(bench.loaded)):
        out[..., rows] = np.einsum("npld,pld->pln", values.double().numpy(), units)
        done += len(rows)
        bench.progress(done, len(rendered))
    return out


def contrasted(
    bench: Bench, need: Probe, contrast: Contrast, *, with_instruction: bool = False
) -> tuple[BlockMeans, BlockMeans]:
    """The two sides that a direction is the difference of, [B, P, L + 1, d]; with `t_inst` first if asked.

    Raises:
        NothingToMeasure: contrast *refused* of a model that refuses nothing, or everything.
    """
    if contrast == "harmful":
        means: ProbeMeans = bench.fulfil(need)
        if not with_instruction:
            return means.harmful, means.harmless
        assert means.harmful_inst is not None
        assert means.harmless_inst is not None
        return _joined(means.harmful_inst, means.harmful), _joined(means.harmless_inst, means.harmless)
    sorted_by: CellMeans = bench.fulfil(Cells(need.n_train, need.chat))
    sides = []
    for answer in ("refused", "complied"):
        parts = [part for name in CELLS if name.endswith(answer) and (part := sorted_by.cells[name]) is not None]
        if not parts:
            seen = "refuses none" if answer == "refused" else "refuses all"
            raise NothingToMeasure(f"the model {seen} of the probe prompts: there is no refused − complied direction")
        both = BlockMeans(np.concatenate([one.count for one in parts]), np.concatenate([one.mean for one in parts]))
        sides.append(both if with_instruction else _apart(both)[1])
    return sides[0], sides[1]


def _joined(inst: BlockMeans, post: BlockMeans) -> BlockMeans:
    return BlockMeans(post.count, np.concatenate([inst.mean, post.mean], axis=1))


# --- search --------------------------------------------------------------------------------------------------------


def candidate_search(bench: Bench, need: CandidateSearch) -> SearchTable:
    """Scores of every candidate."""
    scorer = _scorer(bench, need)
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
        chat = _chat(bench, need.probe.chat)
        train = [[chat.render(prompt.text) for prompt in prompts.prompts] for prompts in means.prompts]
        validation, chosen = (_kept(bench, each, refusal_ids) for each in (rendered, train))
        for half, parts in (("validation", validation), ("train", chosen)):
            for kind, which in zip(("harmful", "harmless"), parts, strict=True):
                _enough(f"{kind} {half}", which)
        sides = [_means(bench, _filtered(each, which)) for each, which in zip(train, chosen, strict=True)]
        positive, negative = (_apart(each)[1] for each in sides)
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
    scorer = _scorer(bench, need.search)
    place = in_use(bench.fulfil(need.search), need.selecting, need.direction)
    sides = contrasted(bench, need.search.probe, need.search.contrast)
    frames = covariance_matched(
        sides, place.position, place.layer, scorer.direction(place), n=CONTROLS, seed=CONTROL_SEED
    )
    return examine(scorer, place, frames[:, 0])


def subspace_ablation(bench: Bench, need: SubspaceAblation) -> SubspaceEffects:
    """Top-k subspaces at the layer of the direction in use, on held-out prompts, beside controls."""
    scorer = _scorer(bench, need.search)
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
    chat = _chat(bench, need.search.probe.chat)
    rendered = [chat.render(prompt.text) for prompt in prompts.prompts]
    return subspaces(scorer, place.layer, bases, controls, rendered, {prompts.name: prompts.sha256})


def transfer(bench: Bench, need: Transfer) -> Carried:
    """The direction in use of another checkpoint, edited into this one."""
    other = bench.others(need.source)
    place = in_use(other.fulfil(need.search), need.selecting, need.direction)
    direction = _scorer(other, need.search).direction(place)
    other.release()
    scorer = _scorer(bench, need.search)
    if direction.shape[-1] != scorer.field.directions.shape[-1]:
        raise NothingToMeasure(
            f"the direction of {need.source} is {direction.shape[-1]} wide, this model "
            f"{scorer.field.directions.shape[-1]}: it cannot be carried over"
        )
    if place.layer >= scorer.field.directions.shape[1] - 1:
        raise NothingToMeasure(f"the direction of {need.source} is of layer {place.layer}, which this model lacks")
    return carried(scorer, place, direction)


def _scorer(bench: Bench, need: CandidateSearch) -> Scorer:
    """The scorer of a search that has been made: the same prompts, field and rows."""
    chat = _chat(bench, need.probe.chat)
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


def fulfil(bench: Bench, need: Any) -> Any:
    """The evidence for one of these needs."""
    match need:
        case Probe():
            return probe(bench, need)
        case Categories():
            return categories(bench, need)
        case Cells():
            return cells(bench, need)
        case Projections():
            return projections(bench, need)
        case CandidateSearch():
            return candidate_search(bench, need)
        case Examination():
            return examination(bench, need)
        case SubspaceAblation():
            return subspace_ablation(bench, need)
        case Transfer():
            return transfer(bench, need)
    raise TypeError(f"no need that is read inside a model: {need!r}")

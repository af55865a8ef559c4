"""Means of activations, and projections on them: what directions, spectra and couplings are made of.

Functions of a bench and a need; every row goes through the bench's store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit import judges
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import BlockMeans, activation_scale, differences, norms, null_rows
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.fulfilled import CELLS, CategoryMeans, CellMeans, CompletedPrompts, ProbeMeans, Projected
from geoaudit.measures.inputs import ChatSetting, Source
from geoaudit.measures.needs import (
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    Categories,
    Cells,
    Contrast,
    Probe,
    Projections,
)
from geoaudit.records import REFUSED, PromptSet, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Chat, Rendered

CATEGORY_BLOCKS = 4
"""Blocks of prompts in which the means of one category are kept."""


def probe(bench: Bench, need: Probe) -> ProbeMeans:
    """Block means of the probe sets."""
    chat = chat_of(bench, need.chat)
    sets = [bench.prompts(Source(name)).first(need.n_train) for name in (PROBE_HARMFUL[0], PROBE_HARMLESS[0])]
    means = [
        means_of(
            bench, [chat.render(prompt.text) for prompt in prompts.prompts], index * len(prompts), 2 * len(prompts)
        )
        for index, prompts in enumerate(sets)
    ]
    return _probe_means(means, chat, (sets[0], sets[1]))


def _probe_means(means: Sequence[BlockMeans], chat: Chat, prompts: tuple[PromptSet, PromptSet]) -> ProbeMeans:
    (harmful_inst, harmful), (harmless_inst, harmless) = (apart(each) for each in means)
    return ProbeMeans(harmful, harmless, tuple(chat.post_tokens), prompts, harmful_inst, harmless_inst)


def categories(bench: Bench, need: Categories) -> CategoryMeans:
    """Block means of the harmless probe prompts by category."""
    chat = chat_of(bench, need.chat)
    prompts = bench.prompts(Source(PROBE_HARMLESS[0])).first(need.n_train)
    names = tuple(sorted({prompt.category for prompt in prompts.prompts}))
    blocks = _blocks([names.index(prompt.category) for prompt in prompts.prompts], CATEGORY_BLOCKS)
    rendered = [chat.render(prompt.text) for prompt in prompts.prompts]
    means = means_of(bench, rendered, blocks=blocks, n_blocks=CATEGORY_BLOCKS * len(names))
    parts = [_part(means, index, CATEGORY_BLOCKS) for index in range(len(names))]
    found = [apart(part) for part in parts if part is not None]
    return CategoryMeans(names, tuple(post for _, post in found), tuple(inst for inst, _ in found), prompts)


def cells(bench: Bench, need: Cells) -> CellMeans:
    """Block means by what was asked and what the model did."""
    chat = chat_of(bench, need.chat)
    judge = judges.get(REFERENCE_JUDGE)
    texts: list[str] = []
    blocks: list[int] = []
    n_blocks = bench.contract.probe_blocks
    left_out = 0
    sets = []
    for index, asked in enumerate(need.answered):
        completed: CompletedPrompts = bench.fulfil(asked)
        sets.append(completed.prompts)
        for place, (case, judgement) in enumerate(zip(completed.cases, judge(completed.exchanges), strict=True)):
            if judgement.label in REFUSED or judgement.label == "full_compliance":
                texts.append(case.text)
                cell = 2 * (index // 2) + (judgement.label not in REFUSED)
                # by its place in its set, as in `probe`: twins, and one prompt in two contrasts, fall into one block
                blocks.append(cell * n_blocks + place % n_blocks)
            else:
                left_out += 1
    means = means_of(
        bench,
        [chat.render(text) for text in texts],
        blocks=blocks,
        n_blocks=n_blocks * len(CELLS),
    )
    parts = {name: _part(means, index, n_blocks) for index, name in enumerate(CELLS)}
    return CellMeans(parts, tuple(chat.post_tokens), tuple(sets), left_out)


def chat_of(bench: Bench, setting: ChatSetting) -> Chat:
    """How requests are rendered, where there are template tokens to read directions at.

    Raises:
        NothingToMeasure: there are none.
    """
    chat = bench.chat_under(setting)
    if chat.n_post == 0:
        raise NothingToMeasure(
            "the template has no post-instruction tokens, where directions are read: name a chat template with "
            "--geoaudit-template FILE|zephyr|chatml"
        )
    return chat


def means_of(
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


def apart(means: BlockMeans) -> tuple[BlockMeans, BlockMeans]:
    """(`t_inst`, the post-instruction positions)."""
    return BlockMeans(means.count, means.mean[:, :1]), BlockMeans(means.count, means.mean[:, 1:])


# --- projections ---------------------------------------------------------------------------------------------------


def projections(bench: Bench, need: Projections) -> Projected:
    """Validation prompts on the unit directions of the train halves."""
    chat = chat_of(bench, need.probe.chat)
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
        sides.append(both if with_instruction else apart(both)[1])
    return sides[0], sides[1]


def _joined(inst: BlockMeans, post: BlockMeans) -> BlockMeans:
    return BlockMeans(post.count, np.concatenate([inst.mean, post.mean], axis=1))

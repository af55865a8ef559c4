"""What beliefs are read from: scalar products of prompts with block means of the prompts that centres are made of.

A function of a bench and a need; every row goes through the bench's store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit import judges
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.beliefs import products
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures.activations import chat_of, means_of
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.fulfilled import BeliefRows, CompletedPrompts
from geoaudit.measures.needs import SCARY, Beliefs
from geoaudit.records import REFUSED, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered

Answer = Literal["refused", "answered", "unread"]
LEAST_CENTRE = 20
"""Prompts that a centre is made of."""


def beliefs(bench: Bench, need: Beliefs) -> BeliefRows:
    """Products of the scored prompts with the blocks of the centres.

    Raises:
        NothingToMeasure: too few harmful prompts that the model refuses, or harmless ones that it answers.
    """
    chat = chat_of(bench, need.chat)
    n_blocks = bench.contract.probe_blocks
    texts: list[str] = []
    blocks: list[int] = []
    found = []
    for side, (asked, wanted) in enumerate(zip(need.centres, ("refused", "answered"), strict=True)):
        completed: CompletedPrompts = bench.fulfil(asked)
        kept = [place for place, answer in enumerate(answers(completed)) if answer == wanted]
        if len(kept) < LEAST_CENTRE:
            kind, did = ("harmful", "refuses") if side == 0 else ("harmless", "answers")
            raise NothingToMeasure(
                f"unidentified-beliefs: the model {did} {len(kept)} of the {len(completed.cases)} {kind} prompts that "
                f"a centre is made of; {LEAST_CENTRE} are needed"
            )
        texts += [completed.cases[place].text for place in kept]
        # by its place in its set: twins fall into blocks of the same number
        blocks += [side * n_blocks + place % n_blocks for place in kept]
        found.append(completed.prompts)
    means = means_of(bench, [chat.render(text) for text in texts], blocks=blocks, n_blocks=2 * n_blocks)
    refused = (np.arange(2 * n_blocks) < n_blocks)[means.count > 0]
    centres = means.occupied()

    scored: list[CompletedPrompts] = [bench.fulfil(asked) for asked in need.scored]
    rendered = [chat.render(case.text) for one in scored for case in one.cases]
    key = bench.key("beliefs", [list(one.ids) for one in rendered], digest(centres.mean.astype("f4").tobytes().hex()))
    stored = bench.get_arrays(key)
    if stored is None:
        stored = _products(bench, rendered, centres)
        bench.put_arrays(key, stored)
    return BeliefRows(
        stored["cross"],
        stored["norm"],
        stored["gram"],
        centres.count,
        refused,
        tuple(_kind(one, index) for one in scored for index in range(len(one.cases))),
        tuple(answer for one in scored for answer in answers(one)),
        tuple(one.prompts.name for one in scored for _ in one.cases),
        tuple(one.prompts for one in scored),
        (found[0], found[1]),
    )


def answers(completed: CompletedPrompts) -> list[Answer]:
    """What the model did with each prompt, as the reference judge reads it."""
    found: list[Answer] = []
    for judgement in judges.get(REFERENCE_JUDGE)(completed.exchanges):
        answered: Answer = "answered" if judgement.label == "full_compliance" else "unread"
        found.append("refused" if judgement.label in REFUSED else answered)
    return found


def _kind(completed: CompletedPrompts, index: int) -> str:
    return "scary" if completed.prompts.name == SCARY else completed.cases[index].prompt.label


def _products(bench: Bench, rendered: list[Rendered], centres: BlockMeans) -> dict[str, NDArray[Any]]:
    """Products at `t_inst` and at −1, batch by batch: memory does not grow with the width times the prompts."""
    from geoaudit.model.activations import at_positions, every_layer

    places = every_layer(bench.loaded)
    blocks = [centres.mean[:, index] for index in (0, -1)]
    cross = np.empty((len(rendered), 2, len(places), len(centres.count)), dtype=np.float32)
    norm = np.empty((len(rendered), 2, len(places)), dtype=np.float32)
    gram = np.empty((2, len(places), len(centres.count), len(centres.count)))
    done = 0
    for rows, values in at_positions(bench.loaded, rendered, places):
        for index, position in enumerate((0, -1)):
            made = products(values[:, position].numpy(), blocks[index])
            cross[rows, index], norm[rows, index], gram[index] = made.cross, made.norm, made.gram
        done += len(rows)
        bench.progress(done, len(rendered))
    return {"cross": cross, "norm": norm, "gram": gram}

"""What the edits of an intervention do to whole answers: to the unedited model's own, and to those that they write.

A function of a bench and a need; every row goes through the bench's store. Answers are to everyday requests, which no
selection of a direction has seen. A request that the unedited model refuses is left out: an edit that opens it changes
that answer from its first token to its last, and has broken nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit import judges
from geoaudit.carriers.effects import Edited, Effects
from geoaudit.errors import BrokenCheckpoint, NothingToMeasure
from geoaudit.measures.activations import chat_of
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.fulfilled import CompletedPrompts, Damaged
from geoaudit.measures.interventions import usable_of
from geoaudit.measures.needs import Damage
from geoaudit.measures.preparing import alone, prepared
from geoaudit.model.batches import plan
from geoaudit.records import REFUSED, Exchange, Judgement, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered

Floats = NDArray[np.float64]
Dosed = tuple[Edited, Floats]
"""Edits and the dose of each."""

TOKENS = 30
"""Of an answer, from its first."""
LEAST_ANSWERS = 4
"""Answers without which nothing is said of what an edit does to them."""
CONTROLS = 8
"""Controls under which the unedited model's answers are read."""
WRITERS = 4
"""Of them, those that write answers too."""


def damage(bench: Bench, need: Damage) -> Damaged:
    """What the target of an intervention and the first controls that were really applied do to answers.

    Raises:
        NothingToMeasure: the unedited model answers hardly any of the everyday requests, or its logits are broken.
    """
    edits = prepared(bench, need.intervention)
    made: Effects = bench.fulfil(need.intervention)
    completed: CompletedPrompts = bench.fulfil(need.answers)
    judged = list(judges.get(REFERENCE_JUDGE)(completed.exchanges))
    kept = [place for place, one in enumerate(judged) if one.label == "full_compliance"]
    if len(kept) < LEAST_ANSWERS:
        raise NothingToMeasure(
            f"the unedited model answers {len(kept)} of {len(judged)} everyday requests; {LEAST_ANSWERS} are needed to "
            "see what an edit does to answers"
        )
    chat = chat_of(bench, need.intervention.search.probe.chat)
    rendered = [chat.render(case.text) for case in completed.cases]
    own = _own_answers(bench, rendered)
    asked, answers = [rendered[place] for place in kept], [own[place] for place in kept]
    which = [int(place) for place in np.flatnonzero(usable_of(made))[:CONTROLS]]
    target = edits.edit, np.array([need.intervention.dose])
    controls = edits.matched.some(which), made.deciding.dose[which]
    texts = [[list(prompt.ids), list(answer)] for prompt, answer in zip(asked, answers, strict=True)]
    key = bench.key("damage", texts, *(_described(edit, doses) for edit, doses in (target, controls)))
    stored = bench.get_arrays(key)
    if stored is None:
        stored = _read(bench, asked, answers, target, controls)
        bench.put_arrays(key, stored)
    refused = [one.label in REFUSED for one in judged]
    broken = [_broken(judged, refused)]
    if need.written:
        writers = [target, *((controls[0].some([i]), controls[1][[i]]) for i in range(min(WRITERS, len(which))))]
        for done, (edit, doses) in enumerate(writers, 1):
            written = _written(bench, completed, rendered, edit, doses, need.answers.max_new_tokens)
            broken.append(_broken(written, refused))
            bench.progress(done, len(writers))
    return Damaged(stored["kl"], stored["loss"], tuple(which), np.array(broken), completed.prompts)


def _own_answers(bench: Bench, rendered: Sequence[Rendered]) -> list[tuple[int, ...]]:
    """The first tokens of the unedited model's answers, as it chooses them."""
    found: dict[int, tuple[int, ...]] = {}
    for batch in _batches(bench, rendered, TOKENS):
        part = [rendered[place] for place in batch]
        key = bench.key("answer tokens", TOKENS, [list(one.ids) for one in part])
        stored = bench.get_row(key)
        if stored is None:
            from geoaudit.model.generate import continuations

            stored = [list(one) for one in continuations(bench.loaded, part, max_new_tokens=TOKENS)]
            bench.rows.put(key, stored)
        found |= {place: tuple(one) for place, one in zip(batch, stored, strict=True)}
    return [found[place] for place in range(len(rendered))]


def _read(
    bench: Bench, asked: Sequence[Rendered], answers: Sequence[tuple[int, ...]], target: Dosed, controls: Dosed
) -> dict[str, Floats]:
    """KL and loss of the answers under all edits, as the store keeps them.

    Raises:
        NothingToMeasure: the unedited model's logits are not finite.
    """
    from geoaudit.carriers.answers import Answers

    read = Answers(bench.loaded, asked, answers)
    plain = read.loss
    there = np.arange(plain.shape[1]) < np.array([len(one) for one in answers])[:, None]
    if not np.isfinite(plain[there]).all():
        raise NothingToMeasure("logits of the unedited model on its own answers are not finite")
    under = [read.under(edit, doses) for edit, doses in (target, controls) if len(edit)]
    kl, loss = (np.concatenate(each) for each in zip(*under, strict=True))
    return {"kl": kl, "loss": np.concatenate([plain[None], loss])}


def _written(
    bench: Bench, completed: CompletedPrompts, rendered: Sequence[Rendered], edit: Edited, doses: Floats, tokens: int
) -> list[Judgement | None]:
    """What the judge says of each answer that the edited model writes; None where it has no likeliest token."""
    texts: dict[int, str | None] = {}
    for batch in _batches(bench, rendered, tokens):
        part = [rendered[place] for place in batch]
        key = bench.key("answers under an edit", tokens, [list(one.ids) for one in part], _described(edit, doses))
        stored = bench.get_row(key)
        if stored is None:
            stored = {"texts": _generated(bench, part, edit, float(doses[0]), tokens)}
            bench.rows.put(key, stored)
        texts |= dict(zip(batch, stored["texts"], strict=True))
    written = [texts[place] for place in range(len(rendered))]
    exchanges = [
        Exchange(case.prompt.request, case.text, text, case.prompt.context)
        for case, text in zip(completed.cases, written, strict=True)
        if text is not None
    ]
    said = iter(judges.get(REFERENCE_JUDGE)(exchanges))
    return [None if text is None else next(said) for text in written]


def _generated(bench: Bench, rendered: list[Rendered], edit: Edited, dose: float, tokens: int) -> list[str | None]:
    from geoaudit.interventions.applying import applied
    from geoaudit.model.generate import complete_halving

    names = [str(place) for place in range(len(rendered))]
    try:
        with applied(bench.loaded, *alone(edit, 0, dose)) as observer:
            made, _ = complete_halving(bench.loaded, rendered, names, max_new_tokens=tokens, observer=observer)
    except BrokenCheckpoint:  # the edit's doing: the unedited model has answered
        return [None] * len(rendered)
    return [one.text for one in made]


def _described(edit: Edited, doses: Floats) -> str:
    """Hash of some edits at their doses."""
    along = None if edit.along is None else edit.along.astype("f4").tobytes().hex()
    frames = [list(edit.frames.shape), edit.frames.astype("f4").tobytes().hex()]
    return digest([edit.operator, edit.layer, edit.spare_first, frames, along, doses.tolist()])


def _batches(bench: Bench, rendered: Sequence[Rendered], tokens: int) -> tuple[tuple[int, ...], ...]:
    contract = bench.contract
    lengths = [len(one.ids) for one in rendered]
    return plan(lengths, tokens, rows=contract.generation_batch, tokens=contract.generation_tokens)


def _broken(judged: Sequence[Judgement | None], refused: Sequence[bool]) -> list[bool]:
    """Whether each answer is none, of the requests that the unedited model does not refuse."""
    return [
        one is None or one.label == "degenerate" for one, left_out in zip(judged, refused, strict=True) if not left_out
    ]

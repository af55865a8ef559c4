"""Text that the model makes while an intervention's edits are in it: the target's, and each matched control's.

The same prompts in the same batches as without an edit, so that completions are paired. A function of a bench and a
need; every batch of every edit is a row of the bench's store, so that what is done is kept whenever the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geoaudit.carriers.effects import Edited, Effects
from geoaudit.errors import BrokenCheckpoint, NothingToMeasure
from geoaudit.measures.completing import in_batches, keep_texts, written
from geoaudit.measures.fulfilled import CompletedPrompts, EditedPrompts
from geoaudit.measures.interventions import usable_of
from geoaudit.measures.needs import EditedCompletions
from geoaudit.measures.preparing import alone, prepared
from geoaudit.records import Completion, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered


def edited_completions(bench: Bench, need: EditedCompletions) -> EditedPrompts:
    """Completions under the target at its dose, and under its matched controls at the doses that `Effects` found.

    Controls that were hardly applied make no text: they would write what the unedited model writes.

    Raises:
        NothingToMeasure: no direction to edit, or no likeliest token under the target.
    """
    unedited: CompletedPrompts = bench.fulfil(need.completions)
    effects: Effects = bench.fulfil(need.intervention)
    edits = prepared(bench, need.intervention)
    chat = bench.chat_under(need.completions.chat)
    rendered = [chat.render(case.text) for case in unedited.cases]
    doses = effects.deciding.dose
    applied = np.flatnonzero(usable_of(effects)).tolist()
    total = (1 + len(applied)) * len(rendered)

    def made(which: Edited, index: int, dose: float, before: int) -> CompletedPrompts:
        def progress(done: int) -> None:
            bench.progress(before + done, total)

        return _completed(bench, need, unedited, rendered, which.some([index]), dose, progress)

    try:
        target = made(edits.edit, 0, need.intervention.dose, 0)
    except BrokenCheckpoint as error:  # the edited model, not the weights
        raise NothingToMeasure(f"intervention-damage: the edited model says nothing: {error}") from error
    controls: list[CompletedPrompts | None] = [None] * len(doses)
    for done, index in enumerate(applied, 1):
        try:
            controls[index] = made(edits.matched, index, float(doses[index]), done * len(rendered))
        except BrokenCheckpoint:
            continue
    return EditedPrompts(target, tuple(controls))


def _completed(
    bench: Bench,
    need: EditedCompletions,
    unedited: CompletedPrompts,
    rendered: Sequence[Rendered],
    edit: Edited,
    dose: float,
    progress: Callable[[int], None],
) -> CompletedPrompts:
    """Completions of the same cases under one edit."""
    what = [edit.operator, edit.layer, edit.spare_first, digest(edit.frames.astype("f4").tobytes().hex()), dose]
    tokens = need.completions.max_new_tokens
    done, sizes = in_batches(
        bench,
        rendered,
        tokens,
        row_of=lambda batch, ids: bench.key("edited completions", tokens, ids, *what),
        make=lambda batch, part: _generate(bench, part, tokens, edit, dose),
        progress=progress,
    )
    completed = replace(
        unedited,
        completions=tuple(Completion(case.id, *row) for case, row in zip(unedited.cases, done, strict=True)),
        key=digest([unedited.key, *what]),
        batches=sizes,
    )
    keep_texts(bench, completed)
    return completed


def _generate(bench: Bench, rendered: list[Rendered], tokens: int, edit: Edited, dose: float) -> dict[str, Any]:
    from geoaudit.interventions.applying import applied

    with applied(bench.loaded, *alone(edit, 0, dose)) as observer:
        return written(bench, rendered, max_new_tokens=tokens, observer=observer)

"""Adaptive attacks through the store: text optimised against a checkpoint, a batch of behaviours after another.

A function of a bench and a need. What a batch did in a few steps is one row, and the next steps go on from it: a run
that is stopped loses no more than these, and a larger budget begins where a smaller one ended. Which behaviours share a
batch is part of a row's key, because losses in bf16 depend on neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from geoaudit.attacks import autodan, gcg
from geoaudit.attacks.autodan import AutoDAN
from geoaudit.attacks.gcg import GCG
from geoaudit.attacks.initial import initial
from geoaudit.attacks.make import targeted
from geoaudit.attacks.target import Aim
from geoaudit.attacks.trace import Progress, Step, Trace
from geoaudit.measures.fulfilled import OptimisedPrompts
from geoaudit.measures.needs import Optimised
from geoaudit.records import digest

if TYPE_CHECKING:
    from geoaudit.attacks.cases import Attack
    from geoaudit.measures.bench import Bench
    from geoaudit.model.loaded import LoadedModel

VERSION = 1
"""Raised when the same settings would give other text: rows that were stored before are then not read."""
TOGETHER = {"gcg": 8, "autodan": 1}
"""Behaviours that are attacked in one batch: the prompts of a generation of `autodan` fill one by themselves."""
STEPS_AT_ONCE = 5
"""Steps of a batch that are one row of the store."""


def optimised(bench: Bench, need: Optimised) -> OptimisedPrompts:
    """The attack on every behaviour of the need, under its chat setting.

    Raises:
        BrokenCheckpoint: a loss is not finite.
        DataMissing, RequestError: no targets, or no prompts to begin with.
    """
    attack, prompts = need.attack, bench.prompts(need.source).first(need.n)
    aims = [Aim(case.prompt.id, case.text, case.prefill) for case in targeted(prompts, bench.data).cases]
    templates = initial(attack.initial, bench.data) if attack.name == "autodan" else ()
    chat = bench.chat_under(need.chat)
    size = TOGETHER[attack.name]
    traces: list[Trace] = []

    def progress(number: int, batch: Sequence[Trace]) -> None:
        done = len(traces) * attack.budget + sum(attack.budget if one.stopped else one.last.step for one in batch)
        bench.progress(done, len(aims) * attack.budget)

    for start in range(0, len(aims), size):
        batch = aims[start : start + size]
        # what was asked, by its content: an audit's names and a machine's paths are no part of it
        what = [
            *(VERSION, attack.name, attack.width, attack.seed, digest(list(templates))),
            [[aim.id, list(chat.render(aim.request).ids), aim.target] for aim in batch],
        ]
        found: list[Trace] = []
        for upto in (*range(STEPS_AT_ONCE, attack.budget, STEPS_AT_ONCE), attack.budget):
            key = bench.key("optimised", *what, upto)
            row = bench.get_row(key)
            if row is None:
                loaded = replace(bench.loaded, chat=chat)
                row = _rows(_made(loaded, batch, replace(attack, budget=upto), templates, found, progress), found)
                bench.rows.put(key, row)
            found = _traces(attack.name, batch, row, found)
            if all(one.stopped for one in found):
                break
        traces += found
        bench.progress(len(traces) * attack.budget, len(aims) * attack.budget)
    return OptimisedPrompts(prompts, tuple(traces))


def _made(
    loaded: LoadedModel,
    batch: Sequence[Aim],
    attack: Attack,
    templates: Sequence[str],
    before: Sequence[Trace],
    progress: Progress,
) -> list[Trace]:
    """A batch after `attack.budget` steps, from where it stood `before`."""
    resume = {one.aim.id: one for one in before}
    # early_stop: once the target is the model's likeliest answer, further steps cost and open nothing
    if attack.name == "autodan":
        settings = AutoDAN(steps=attack.budget, population=attack.width, seed=attack.seed, early_stop=True)
        return autodan.attack(loaded, batch, settings, templates, progress=progress, resume=resume)
    steps = GCG(steps=attack.budget, width=attack.width, seed=attack.seed, early_stop=True)
    return gcg.attack(loaded, batch, steps, progress=progress, resume=resume)


def _rows(made: Sequence[Trace], before: Sequence[Trace]) -> list[dict[str, Any]]:
    """What the store keeps: the steps that are new."""
    known = [len(one.steps) for one in before] or [0] * len(made)
    return [
        {
            "steps": [asdict(step) for step in one.steps[first:]],
            "stopped": one.stopped,
            "settings": dict(one.settings),
            "extra": dict(one.extra),
        }
        for one, first in zip(made, known, strict=True)
    ]


def _traces(name: str, batch: Sequence[Aim], rows: Sequence[dict[str, Any]], before: Sequence[Trace]) -> list[Trace]:
    """The traces that rows and what there was before them say."""
    kept = [one.steps for one in before] or [()] * len(batch)
    return [
        Trace(
            name,
            aim,
            "",
            row["settings"],
            (*steps, *(Step(**step) for step in row["steps"])),
            row["stopped"],
            extra=row["extra"],
        )
        for aim, row, steps in zip(batch, rows, kept, strict=True)
    ]

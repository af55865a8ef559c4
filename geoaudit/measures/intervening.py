"""What the edits of an intervention do to next-token logits: refusal scores of prompts, KL on harmless ones.

A function of a bench and a need; every row goes through the bench's store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from geoaudit.carriers.effects import Asked, Effects, effects
from geoaudit.geometry.controls import dimensions
from geoaudit.measures.activations import chat_of
from geoaudit.measures.needs import Intervention
from geoaudit.measures.preparing import Prepared, prepared
from geoaudit.records import digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered


def intervention(bench: Bench, need: Intervention) -> Effects:
    """What the target of a need and its controls do."""
    edits = prepared(bench, need)
    target = edits.target
    prompts = bench.prompts(need.source).first(need.n)
    chat = chat_of(bench, need.search.probe.chat)
    scored = [chat.render(prompt.text) for prompt in prompts.prompts]
    few = edits.few
    inputs = {prompts.name: prompts.sha256}
    if need.reads == "harmless_kl":
        return _harmless_kl(bench, need, edits, scored, inputs)
    frames = [each.frames for each in (edits.edit, edits.matched, *(other for other, _ in edits.beside.values()))]
    key = bench.key(
        "intervention",
        edits.context,
        [[list(one.ids) for one in asked_of] for asked_of in (few, scored)],
        [need.operator, need.scope, need.dose, target.layer],
        [[kind, doses.tolist()] for kind, (_, doses) in edits.beside.items()],
        [digest(each.astype("f4").tobytes().hex()) for each in frames],
    )
    stored = bench.get_arrays(key)
    if stored is None:
        from geoaudit.carriers.passes import Passes
        from geoaudit.carriers.scores import Base

        passes = Passes(bench.loaded, [*few, *scored], edits.low_layers)
        asked = Asked(passes, Base(passes.plain.logits[0, : len(few)]), len(few), edits.refusal_ids)
        stored = effects(asked, edits.edit, need.dose, edits.matched, edits.beside)
        bench.put_arrays(key, stored)
    found = Effects.of_arrays(stored, target.layer, target.position, inputs)
    return replace(found, dimensions=dimensions(edits.matched.frames))


def _harmless_kl(
    bench: Bench, need: Intervention, edits: Prepared, scored: list[Rendered], inputs: Mapping[str, str]
) -> Effects:
    """KL of the next token on the scored prompts, harmless ones, in place of a score: no edit is 0."""
    doses = edits.controls.doses
    assert doses is not None
    target, kinds = edits.target, {edits.controls.decides: (edits.matched, doses), **edits.beside}
    key = bench.key(
        "intervention kl",
        [list(one.ids) for one in scored],
        [need.operator, need.scope, need.dose, target.layer, digest(edits.edit.frames.astype("f4").tobytes().hex())],
        [
            [kind, given.tolist(), digest(each.frames.astype("f4").tobytes().hex())]
            for kind, (each, given) in kinds.items()
        ],
    )
    stored = bench.get_arrays(key)
    if stored is None:
        from geoaudit.carriers.passes import Passes
        from geoaudit.carriers.scores import Base

        passes = Passes(bench.loaded, scored, edits.low_layers)
        asked = Asked(passes, Base(passes.plain.logits[0]), len(scored), edits.refusal_ids)
        own = asked.kl(edits.edit, np.array([need.dose]))[0]
        stored = {"base": np.zeros_like(own), "target": own, "kl": own}
        for kind, (each, given) in kinds.items():
            read = asked.kl(each, given)
            stored |= {f"{kind}.dose": given, f"{kind}.kl": read.mean(axis=-1), f"{kind}.scores": read}
        bench.put_arrays(key, stored)
    found = Effects.of_arrays(stored, target.layer, target.position, inputs, edits.controls.decides)
    return replace(found, dimensions=dimensions(edits.matched.frames))

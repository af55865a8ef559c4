"""A closer look at one direction: KL-matched controls, other scopes, subspaces, and what it does in another checkpoint.

Each is one row in the store. Controls for an addition are added at the direction's own layer, controls for a subspace
ablated at every site; both at the dose that `doses.matched_doses` finds on the harmless validation prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.doses import matched_doses
from geoaudit.carriers.scorer import Arrays, Floats, Scorer, as_array
from geoaudit.carriers.select import Row
from geoaudit.carriers.table import Carried, Examined, Scope, SubspaceEffects
from geoaudit.records import digest

if TYPE_CHECKING:
    from torch import Tensor

    from geoaudit.carriers.passes import Read
    from geoaudit.model.chat import Rendered

MATCHED_ON = 8
"""Harmless prompts on which the doses of subspaces are matched."""


def examine(scorer: Scorer, place: Row, controls: Floats) -> Examined:
    """One candidate beside controls and under other scopes.

    Args:
        scorer: of the search that the candidate comes from.
        place: position and layer of the candidate.
        controls: unit directions [m, d] (`geometry.controls.covariance_matched`).
    """
    key = scorer.name("examined", place, digest(controls.astype("f4").tobytes().hex()))
    stored = _stored(scorer, key, lambda: _examine(scorer, place, controls))
    scopes = {
        name: Scope(stored[f"{name}.kl"], stored[f"{name}.bypass"])
        for name in ("every_site", "every_site_but_first_token", "single_layer", "affine")
    }
    return Examined(
        place.position,
        place.layer,
        stored["added_kl"],
        stored["control_dose"],
        stored["control_kl"],
        stored["control_s_refuse"],
        stored["control_induce"],
        scopes,
    )


def _examine(scorer: Scorer, place: Row, controls: Floats) -> Arrays:
    import torch

    from geoaudit.carriers.scores import refusal_metric

    passes, harmless, layer = scorer.passes, scorer.of_harmless, place.layer
    direction = torch.from_numpy(scorer.direction(place))
    units = torch.from_numpy(controls.astype(np.float32)) * direction.norm()
    added_kl = as_array(scorer.base_kl.kl(passes.added(direction[None], layer, harmless).logits[0], harmless))

    def with_controls(doses: Floats, which: NDArray[np.int64]) -> Read:
        return passes.added(units[which] * torch.from_numpy(doses.astype(np.float32))[:, None], layer, harmless)

    def kl_of(doses: Floats, which: NDArray[np.int64]) -> Floats:
        mean: Floats = as_array(scorer.base_kl.kl(with_controls(doses, which).logits, harmless)).mean(axis=-1)
        return mean

    dose, kl = matched_doses(kl_of, len(controls), float(added_kl.mean()))
    read = with_controls(dose, np.arange(len(controls)))
    means, harmful = as_array(read.low).mean(axis=1), scorer.base["x_harmful"].mean(axis=0)
    found: Arrays = {
        "added_kl": added_kl,
        "control_dose": dose,
        "control_kl": kl,
        "control_s_refuse": means @ harmful / (np.linalg.norm(means, axis=-1) * np.linalg.norm(harmful)),
        "control_induce": as_array(refusal_metric(read.logits, scorer.refusal_ids)).mean(axis=-1),
    }
    everyone = [*harmless, *scorer.of_harmful]
    mean = torch.from_numpy(scorer.mean(place))[None]
    for name, one in (
        ("every_site", passes.ablated(direction[None], everyone)),
        ("every_site_but_first_token", passes.ablated(direction[None], everyone, spare_first=True)),
        ("single_layer", passes.ablated_at_layer(direction[None], layer, everyone)),
        ("affine", passes.affine(direction[None], mean, 0.0, layer, everyone)),
    ):
        border = len(harmless)
        found[f"{name}.kl"] = as_array(scorer.base_kl.kl(one.logits[0, :border], harmless))
        found[f"{name}.bypass"] = as_array(refusal_metric(one.logits[0, border:], scorer.refusal_ids))
    return found


def subspaces(
    scorer: Scorer,
    layer: int,
    bases: Sequence[Floats],
    controls: Sequence[Floats],
    held_out: Sequence[Rendered],
    inputs: dict[str, str],
) -> SubspaceEffects:
    """Nested subspaces ablated at every site, on prompts that no selection saw, beside matched controls.

    Args:
        scorer: of the search; its harmless validation prompts measure KL.
        layer: where the subspaces come from.
        bases: for k = 1 … K, orthonormal [k, d].
        controls: for the same k, orthonormal [m, k, d].
        held_out: n harmful prompts.
        inputs: prompt set -> hash, passed on.
    """
    ids = [list(one.ids) for one in held_out]
    drawn = [digest(each.astype("f4").tobytes().hex()) for each in (*bases, *controls)]
    key = scorer.key("subspaces", scorer.context, layer, ids, drawn)
    stored = _stored(scorer, key, lambda: _subspaces(scorer, bases, controls, held_out))
    return SubspaceEffects(
        layer,
        stored["base"],
        stored["ablated"],
        stored["controls"],
        stored["kl"],
        stored["control_kl"],
        stored["control_dose"],
        inputs,
    )


def _subspaces(
    scorer: Scorer, bases: Sequence[Floats], controls: Sequence[Floats], held_out: Sequence[Rendered]
) -> Arrays:
    import torch

    from geoaudit.carriers.passes import Passes
    from geoaudit.carriers.scores import Base, refusal_metric

    few = list(scorer.harmless[:MATCHED_ON])
    passes = Passes(scorer.open_model(), [*few, *held_out], scorer.field.low_layers)
    harmless, asked = range(len(few)), range(len(few), len(few) + len(held_out))
    base_kl = Base(passes.plain.logits[0, : len(few)])
    rows: dict[str, list[NDArray[np.float64]]] = {
        name: [] for name in ("ablated", "controls", "kl", "control_kl", "control_dose")
    }
    for basis, frames in zip(bases, controls, strict=True):
        own = torch.from_numpy(basis.astype(np.float32))[None]
        kl = float(
            as_array(base_kl.kl(passes.ablated_subspaces(own, torch.ones(1), harmless).logits[0], harmless)).mean()
        )
        others = torch.from_numpy(frames.astype(np.float32))

        def kl_of(doses: Floats, which: NDArray[np.int64], others: Tensor = others) -> Floats:
            read = passes.ablated_subspaces(others[which], torch.from_numpy(doses.astype(np.float32)), harmless)
            mean: Floats = as_array(base_kl.kl(read.logits, harmless)).mean(axis=-1)
            return mean

        dose, control_kl = matched_doses(kl_of, len(frames), kl)
        ablated = passes.ablated_subspaces(own, torch.ones(1), asked).logits[0]
        beside = passes.ablated_subspaces(others, torch.from_numpy(dose.astype(np.float32)), asked).logits
        rows["ablated"].append(as_array(refusal_metric(ablated, scorer.refusal_ids)))
        rows["controls"].append(as_array(refusal_metric(beside, scorer.refusal_ids)))
        rows["kl"].append(np.array(kl))
        rows["control_kl"].append(control_kl)
        rows["control_dose"].append(dose)
    base = as_array(refusal_metric(passes.plain.logits[0, len(few) :], scorer.refusal_ids))
    return {"base": base, **{name: np.stack(values) for name, values in rows.items()}}


def carried(scorer: Scorer, place: Row, direction: NDArray[np.float32]) -> Carried:
    """A direction of another checkpoint, at its own site, edited into this one.

    Args:
        scorer: of this checkpoint's search: its prompts and refusal tokens.
        place: position and layer that the direction comes from.
        direction: [d] at the norm it has there.
    """
    key = scorer.key("carried", scorer.context, place.position, place.layer, digest(direction.tobytes().hex()))
    stored = _stored(scorer, key, lambda: _carried(scorer, place, direction))
    base = scorer.base
    return Carried(
        place.position,
        place.layer,
        base["harmful"],
        base["harmless"],
        stored["ablated"],
        stored["added"],
        stored["kl"],
    )


def _carried(scorer: Scorer, place: Row, direction: NDArray[np.float32]) -> Arrays:
    import torch

    from geoaudit.carriers.scores import refusal_metric

    passes, harmless = scorer.passes, scorer.of_harmless
    vector = torch.from_numpy(direction)[None]
    read = passes.ablated(vector, [*harmless, *scorer.of_harmful]).logits[0]
    added = passes.added(vector, place.layer, harmless).logits[0]
    return {
        "ablated": as_array(refusal_metric(read[len(harmless) :], scorer.refusal_ids)),
        "added": as_array(refusal_metric(added, scorer.refusal_ids)),
        "kl": as_array(scorer.base_kl.kl(read[: len(harmless)], harmless)),
    }


def _stored(scorer: Scorer, key: str, make: Callable[[], Arrays]) -> Arrays:
    found = scorer.rows.get_arrays(key)
    if found is None:
        found = make()
        scorer.rows.put_arrays(key, found)
    return found

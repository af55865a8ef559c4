"""What the carriers of two checkpoints do in each other: whether a carrier has drifted, been replaced, or been lost.

E_ij is the effect in checkpoint j of the direction taken from checkpoint i at its own site, on one list of prompts;
ρ_ij = E_ij/E_jj. The classes are those of `geometry.drift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoaudit.carriers.table import Carried
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import drift
from geoaudit.geometry.drift import Estimate, Transferred
from geoaudit.measures.carrier import Carrier
from geoaudit.measures.carrier_checks import LARGEST_P
from geoaudit.measures.drift import SEED, Floats, rounded
from geoaudit.measures.drift_needs import transfers
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.pairs import Pair
from geoaudit.measures.relocation import Carriers, carriers_of
from geoaudit.records import Measurement

RESAMPLES = 2000


def carrier_transfer(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """ρ: what share of this carrier's own effect the other's direction has here; the class is in the detail."""
    both = carriers_of(parameters, evidence)
    found = transferred(parameters, both)
    matrix = _matrix(both.pair, found)
    detail = {"matrix": matrix, "class": found.kind, "sentence": found.sentence, "effect": parameters["effect"]}
    rho = found.rho[0][1]
    if rho is None:
        raise NothingToMeasure(found.sentence, {**both.detail, **detail})
    how = f"paired bootstrap over prompts, {RESAMPLES} resamples"
    return both.measured("carrier_transfer", rho.value, (rho.low, rho.high), how, seed=SEED, **detail)


def transferred(parameters: Mapping[str, Any], both: Carriers) -> Transferred:
    """Both directions in both checkpoints, with the class.

    Raises:
        NothingToMeasure: an effect that was not measured.
    """
    inwards, outwards = transfers(parameters)
    here: Carried = both.pair.here.of(inwards)
    there: Carried = both.pair.there.of(outwards)
    effect = parameters["effect"]
    effects = np.array(
        [
            [own_effect(both.there, effect), carried_effect(here, effect)],
            [carried_effect(there, effect), own_effect(both.here, effect)],
        ]
    )
    return drift.transferred(effects, _beats_controls(both.here), seed=SEED, n=RESAMPLES)


def carried_effect(carried: Carried, effect: str) -> Floats:
    """What another checkpoint's direction does, a prompt each: nats of refusal score, a carrier's positive."""
    if effect == "bypass":
        return carried.base_harmful - carried.ablated
    return carried.added - carried.base_harmless


def own_effect(one: Carrier, effect: str) -> Floats:
    """What a checkpoint's own carrier does there, a prompt each."""
    table = one.table
    if effect == "bypass":
        found: Floats = table.base_harmful - table.arditi.bypass[one.index]
    else:
        found = table.arditi.induce[one.index] - table.base_harmless
    if not np.isfinite(found).all():
        raise NothingToMeasure(
            f"the {effect} score of {one.evidence.checkpoint}'s carrier was not measured: its KL is beyond the budget "
            "(raise kl_budget, or search: exhaustive)"
        )
    return found


def _beats_controls(late: Carrier) -> bool | None:
    """Whether a direction induces more than directions that move the model as much, at 95 %; None: not compared."""
    examined = late.detail.get("examined")
    p = examined.get("p") if examined else None
    return None if p is None else bool(p <= LARGEST_P)


def _matrix(pair: Pair, found: Transferred) -> dict[str, Any]:
    def column(cells: tuple[tuple[Estimate | None, ...], ...], name: str) -> list[list[float | None]]:
        return [[None if cell is None else rounded(getattr(cell, name)) for cell in row] for row in cells]

    return {
        "checkpoints": [pair.there.checkpoint, pair.here.checkpoint],
        "effect": column(found.effect, "value"),
        "effect_low": column(found.effect, "low"),
        "effect_high": column(found.effect, "high"),
        "rho": column(found.rho, "value"),
        "rho_low": column(found.rho, "low"),
        "rho_high": column(found.rho, "high"),
    }

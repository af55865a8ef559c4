"""What measures of interventions draw from a checkpoint. Light: planning imports no numpy and no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geoaudit.measures.carrier_needs import for_carrier, search_of, selecting_of
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import Damage, Intervention, Need
from geoaudit.measures.outcome_needs import is_text, text_needs
from geoaudit.measures.target_needs import KL, OF_R

_OF_THE_CARRIER = ("rule", "kl_budget", "contrast", "direction", "n_train", "n_validation", "chat")
H_TARGETS = ("H", "H+R", "H_perp_R", "R_perp_H")
"""Targets that the harmfulness direction is part of."""


def carrier_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the carrier that R is; where and how it is edited is the intervention's own."""
    return {name: parameters[name] for name in _OF_THE_CARRIER}


def intervention_of(parameters: Mapping[str, Any]) -> Intervention:
    """The intervention that the parameters ask for."""
    carrier = carrier_of(parameters)
    return Intervention(
        search=search_of(carrier),
        selecting=selecting_of(carrier),
        direction=parameters["direction"],
        target=parameters["target"],
        operator=parameters["operator"],
        scope=parameters["scope"],
        dose=parameters["dose"],
        k=parameters["k"] if parameters["target"] == "subspace" else 1,
        source=parameters["source"],
        n=parameters["n_held_out"],
        n_controls=parameters["n_controls"],
        controls=parameters.get("controls", "covariance"),
        file=parameters.get("file"),
        layer=None if parameters.get("layer", OF_R) == OF_R else parameters["layer"],
        reads="harmless_kl" if parameters.get("outcome") == KL else "refusal_score",
    )


def for_intervention(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """All that the carrier needs, the layer of H, and the effects."""
    need = intervention_of(parameters)
    projections = (need.projections,) if need.target in H_TARGETS else ()
    categories = (need.categories,) if need.controls == "categories" else ()
    text = text_needs(parameters, need) if is_text(parameters) else ()
    return (*for_carrier(carrier_of(parameters)), *projections, *categories, need, *text)


def damage_of(parameters: Mapping[str, Any], *, written: bool) -> tuple[Need, ...]:
    """What the edits do to answers, and the answers; nothing where the damage itself is what is read."""
    need = Damage(intervention_of(parameters), written)
    return () if need.intervention.reads == "harmless_kl" else (need.answers, need)


def for_sensitivity(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The intervention, and what it does to answers."""
    return (*for_intervention(parameters), *damage_of(parameters, written=True))


CELLS: Mapping[str, tuple[str, str]] = {
    f"{operator} {target}": (operator, target)
    for operator in ("ablate", "add")
    for target in ("R", "H", "H+R", "R_perp_H", "H_perp_R")
}
"""The cells of arXiv 2606.16349's causal sweep: operator and target of each."""
_HOW: Mapping[str, Mapping[str, Any]] = {
    "ablate": {"scope": "every_site", "source": Source("harmful")},
    "add": {"scope": "single_layer", "source": Source("benign-utility")},
}
"""Ablation is read on harmful prompts, which it may open; addition on everyday ones, which it may close."""


def of_cell(parameters: Mapping[str, Any], cell: str) -> dict[str, Any]:
    """The parameters of one cell of the causal matrix, as those of an intervention."""
    operator, target = CELLS[cell]
    return {**parameters, **_HOW[operator], "operator": operator, "target": target, "k": 1, "expects": "either"}


def for_matrix(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """All cells, whichever is asked for: its p-value is one among all. Damage is that of the one that is asked for."""
    cells = dict.fromkeys(need for cell in CELLS for need in for_intervention(of_cell(parameters, cell)))
    return (*cells, *damage_of(of_cell(parameters, parameters["cell"]), written=True))


DOSES = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)
"""λ of a dose sweep (arXiv 2606.16349 §4), beside 0, which is no intervention."""


def at_dose(parameters: Mapping[str, Any], dose: float) -> dict[str, Any]:
    """The parameters of one dose of a sweep, as those of an intervention."""
    return {**parameters, "dose": dose, "expects": "either"}


def for_sweep(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The same intervention at every dose, each with controls of its own."""
    asked = [at_dose(parameters, dose) for dose in DOSES]
    needs = (need for one in asked for need in (*for_intervention(one), *damage_of(one, written=False)))
    return tuple(dict.fromkeys(needs))


def least_controls(beats: float, expects: str) -> int:
    """With fewer controls even an effect that beats all of them has a rank p-value above 1 − `beats`."""
    sides = 2 if expects == "either" else 1
    return math.ceil(sides / (1 - beats) - 1e-9) - 1


def with_scope(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is given, with the only scope of an addition where none is."""
    return {"scope": "single_layer", **given} if given.get("operator") == "add" else given


def problem(parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with a combination of parameters, or None."""
    if parameters.get("operator") == "add":
        if parameters["scope"] != "single_layer":
            return "activation addition is at one layer: set scope: single_layer"
        if parameters["target"] == "subspace":
            return "a subspace can be ablated, but what to add along it is not said: name a direction as target"
    if parameters.get("dose") == 0:
        return "dose 0 is no intervention"
    # the statistic of a matrix or a sweep has one tail
    least = least_controls(parameters["beats_controls"], parameters.get("expects", "lower"))
    if parameters["n_controls"] < least:
        return (
            f"underpowered: with {parameters['n_controls']} controls no effect can beat them at "
            f"beats_controls: {parameters['beats_controls']:g}; n_controls: {least} can"
        )
    return None

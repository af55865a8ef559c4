"""What the measures of beliefs draw from a checkpoint. Planning calls this: no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.measures.needs import Beliefs, Cells, Inversion, Need, Probe


def beliefs_of(parameters: Mapping[str, Any]) -> Beliefs:
    """Prompts of known answers between two centres."""
    return Beliefs(parameters["n_train"], parameters["n_validation"], parameters["chat"])


def for_beliefs(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The model's own answers, by which prompts are sorted, and where the prompts lie."""
    need = beliefs_of(parameters)
    return (*need.answered, need)


def inversion_of(parameters: Mapping[str, Any]) -> Inversion:
    """The reply-inversion task under one pair of directions.

    Raises:
        RequestError: no layer, or a coefficient of 0.
    """
    if parameters["layer"] is None:
        raise RequestError("directions are added at a layer: give layer: NUMBER (resid_pre, counted from 0)")
    if not parameters["coefficient"] > 0:
        raise RequestError(
            "the coefficient is how much of a direction is added or taken away, above 0; got "
            f"{parameters['coefficient']}"
        )
    asked = parameters["requests"]
    sign = 1 if asked == "harmless" else -1
    return Inversion(
        Probe(parameters["n_train"], parameters["chat"]),
        parameters["n_validation"],
        parameters["layer"],
        sign * float(parameters["coefficient"]),
        asked,
        parameters["refusal_positions"],
    )


def for_inversion(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """What H and R are the differences of, and the task with either added."""
    need = inversion_of(parameters)
    cells = Cells(need.probe.n_train, need.probe.chat)
    return (*cells.answered, cells, need.probe, need)

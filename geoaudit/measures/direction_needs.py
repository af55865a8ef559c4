"""What the measures of directions draw from a checkpoint. Planning calls this: no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from geoaudit.errors import RequestError
from geoaudit.measures.needs import Cells, Need, Probe, Projections

T_INST: Final = "t_inst"
"""The last token of the instruction."""


def for_direction(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Block means of the two sides of the contrast.

    Raises:
        RequestError: no layer, or a position that is none.
    """
    if parameters["layer"] is None:
        raise RequestError("a direction has a layer: give layer: NUMBER (resid_pre, counted from 0)")
    place(parameters)
    n_train, chat = parameters["n_train"], parameters["chat"]
    return (Cells(n_train, chat),) if parameters["contrast"] == "refused" else (Probe(n_train, chat),)


def for_separation(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The same, and validation prompts projected on the directions."""
    probe = Probe(parameters["n_train"], parameters["chat"])
    return (*for_direction(parameters), Projections(probe, parameters["n_validation"], parameters["contrast"]))


def place(parameters: Mapping[str, Any]) -> int | Literal["t_inst"]:
    """The position asked for: `t_inst`, or a number from −1 downwards.

    Raises:
        RequestError: anything else.
    """
    given = parameters["position"]
    if given == T_INST:
        return T_INST
    try:
        number = int(str(given).replace("−", "-"))
    except ValueError:
        number = 0
    if number >= 0:
        raise RequestError(
            f"a position is t_inst or a whole number below 0 (−1: last token of the prompt), got {given!r}"
        )
    return number

"""What the measures of directions draw from a checkpoint. Planning calls this: no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from geoaudit.errors import RequestError
from geoaudit.measures.needs import Cells, Need, Probe, Projections

T_INST: Final = "t_inst"
"""The last token of the instruction."""


def for_direction(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Block means of the two sides of the contrast.

    Raises:
        RequestError: no layer.
    """
    if parameters["layer"] is None:
        raise RequestError("a direction has a layer: give layer: NUMBER (resid_pre, counted from 0)")
    n_train, chat = parameters["n_train"], parameters["chat"]
    return (Cells(n_train, chat),) if parameters["contrast"] == "refused" else (Probe(n_train, chat),)


def for_separation(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The same, and validation prompts projected on the directions."""
    probe = Probe(parameters["n_train"], parameters["chat"])
    return (*for_direction(parameters), Projections(probe, parameters["n_validation"], parameters["contrast"]))

"""What measures of coupling draw from a checkpoint, in either form. Light: planning imports no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.measures.carrier_needs import for_carrier
from geoaudit.measures.needs import Categories, Cells, Need, Probe, Projections


def cells_of(parameters: Mapping[str, Any]) -> Cells:
    """Prompts by what was asked and what the model did."""
    return Cells(parameters["n_train"], parameters["chat"])


def categories_of(parameters: Mapping[str, Any]) -> Categories:
    """Harmless prompts by category, for the null level."""
    return Categories(parameters["n_train"], parameters["chat"])


def projections_of(parameters: Mapping[str, Any]) -> Projections:
    """Where H separates validation prompts best (papers' form)."""
    return Projections(Probe(parameters["n_train"], parameters["chat"]), parameters["n_validation"])


def carrier_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the carrier that R is in the papers' form: preset *paper*, refused − complied."""
    shared = ("contrast", "direction", "n_train", "n_validation", "chat")
    return {"preset": "paper", **{name: parameters[name] for name in shared}}


def for_coupling(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The four cells and the null level; in the papers' form also H's validation and the carrier search."""
    cells = cells_of(parameters)
    both: tuple[Need, ...] = (*cells.answered, cells, categories_of(parameters))
    if parameters["form"] == "identified":
        return both
    projections = projections_of(parameters)
    found = for_carrier(carrier_of(parameters))
    return (*both, *(need for need in found if need not in both), projections)

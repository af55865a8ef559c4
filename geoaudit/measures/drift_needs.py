"""What measures of drift draw from two checkpoints. Planning calls this: no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.measures.carrier_needs import examination_of, for_carrier, search_of, selecting_of
from geoaudit.measures.definition import Against
from geoaudit.measures.needs import Elsewhere, Need, Probe, Transfer


def unfiltered(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a carrier on all prompts: filtered ones would not be the same in both checkpoints."""
    return {**parameters, "filtered": False}


def transfers(parameters: Mapping[str, Any]) -> tuple[Transfer, Transfer]:
    """What the other's direction does here, and what the one from here does there."""
    given, against = unfiltered(parameters), parameters["against"]
    search, how, direction = search_of(given), selecting_of(given), parameters["direction"]
    return Transfer(search, how, direction, against.checkpoint), Transfer(search, how, direction, against.here)


def for_subspaces(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Block means on the probe sets, here and there."""
    probe = Probe(parameters["n_train"], parameters["chat"])
    return (probe, Elsewhere(parameters["against"].checkpoint, probe))


def for_carriers(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """All that a carrier needs, here and there."""
    given = unfiltered(parameters)
    against: Against = parameters["against"]
    search = search_of(given)
    there = (search.probe, search, examination_of(given))
    return (*for_carrier(given), *(Elsewhere(against.checkpoint, need) for need in there))


def for_transfer(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The carriers of both, each tried in the other."""
    inwards, outwards = transfers(parameters)
    return (*for_carriers(parameters), inwards, Elsewhere(parameters["against"].checkpoint, outwards))

"""The one table of measures: plain data that feeds the grammar, `geoaudit measures`, the docs and the report.

Nothing here computes. `function` and `needs` are dotted names, imported when a measurement is really made, so that
reading a suite or deciding again imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from geoaudit.errors import UnknownName
from geoaudit.measures.behaviour_table import BEHAVIOUR
from geoaudit.measures.beliefs_table import BELIEFS
from geoaudit.measures.carrier_table import CARRIER
from geoaudit.measures.coupling_table import COUPLING
from geoaudit.measures.definition import Measure
from geoaudit.measures.direction_table import DIRECTION
from geoaudit.measures.drift_table import DRIFT
from geoaudit.measures.intervention_table import INTERVENTION
from geoaudit.measures.spectrum_table import SPECTRUM

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (*BEHAVIOUR, *CARRIER, *SPECTRUM, *DIRECTION, *COUPLING, *DRIFT, *INTERVENTION, *BELIEFS)
}


def get(name: str) -> Measure:
    """The measure of that name; UnknownName with the nearest one otherwise."""
    if name not in MEASURES:
        raise UnknownName.among("measure", name, MEASURES)
    return MEASURES[name]


def dotted(name: str) -> Any:
    """The object behind `module:attribute`."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)

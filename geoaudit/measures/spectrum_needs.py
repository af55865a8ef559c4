"""What the measures of spectra draw from a checkpoint. Planning calls this: no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.measures.needs import Categories, Need, Probe

LAST = -1
"""The last layer; where no layer is read, none was asked for."""


def for_spectrum(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Block means on the probe sets, and on the categories of the harmless one for the null level.

    Raises:
        RequestError: a layer that the field does not read.
    """
    if parameters["field"] != "layer" and parameters["layer"] != LAST:
        raise RequestError(
            f"layer: {parameters['layer']} is not read by field: {parameters['field']} but by field: layer alone"
        )
    n_train, chat = parameters["n_train"], parameters["chat"]
    return (Probe(n_train, chat), Categories(n_train, chat))

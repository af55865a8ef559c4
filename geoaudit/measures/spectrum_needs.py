"""What the measures of spectra draw from a checkpoint. Planning calls this: no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.measures.needs import Categories, Need, Probe


def for_spectrum(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Block means on the probe sets, and on the categories of the harmless one for the null level.

    Raises:
        RequestError: `field: layer` without a layer, or a layer with another field.
    """
    if (parameters["field"] == "layer") != (parameters["layer"] is not None):
        raise RequestError(
            "field: layer and layer: NUMBER go together, got "
            f"field: {parameters['field']} and layer: {parameters['layer']}"
        )
    n_train, chat = parameters["n_train"], parameters["chat"]
    return (Probe(n_train, chat), Categories(n_train, chat))

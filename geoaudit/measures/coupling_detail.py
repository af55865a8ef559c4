"""What the record keeps of a coupling beside the value: every reading, the curve over layers, and what chance gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import coupling as formula
from geoaudit.geometry import nulls
from geoaudit.measures.coupling_levels import Place, Read, Survey
from geoaudit.measures.coupling_mix import Mix
from geoaudit.measures.coupling_sources import Source

Floats = NDArray[np.float64]


BANDS = {"hrci_full": "hrci_repr", "layer_gap": "c_cos"}
"""Whose chance level is drawn along the layers for a measure that has no value of its own at one layer."""


def detail_of(
    measure: str, parameters: Mapping[str, Any], source: Source, found: Survey, places: Sequence[Place]
) -> dict[str, Any]:
    """The detail of one measure.

    Args:
        measure: its name.
        parameters: its parameters.
        source: H and R.
        found: both at every layer.
        places: where the value is read, one or several.
    """
    sides = source.sides
    one = places[0].read if len(places) == 1 else found.own.read
    cosine = min(1.0, abs(one.signed))
    sine = shown(math.sqrt(1 - cosine**2)) if math.isfinite(one.signed) else None
    band = BANDS.get(measure, measure)
    return {
        "form": parameters["form"],
        "k": sides.k,
        "h_layer": source.h_layer,
        "r_layer": source.r_layer,
        "layers_by": source.how_layers,
        "h_position": position_of(sides.h_position, sides.positions),
        "r_position": position_of(sides.r_position, sides.positions),
        "n_layers": sides.n_layers,
        "layer_gap": shown(formula.layer_gap(source.h_layer, source.r_layer, sides.n_layers)),
        "cells": dict(source.counts),
        "mixed": None if source.mixed is None else shown(source.mixed),
        "readings": {
            "own_layers": _reading(found.own.read),
            "both_at_r": _reading(found.same[source.r_layer].read),
            "both_at_h": _reading(found.same[source.h_layer].read),
        },
        "by_layer": [_layer(place, band) for place in found.same],
        "band_of": band,
        **_null(source, places, "c_cos" if measure == "layer_gap" else measure),
        "angles_degrees": [shown(angle) for angle in one.angles],
        "angles_interval": one.angle_ends and [[shown(low), shown(high)] for low, high in one.angle_ends],
        "orthogonalised": {"h_perp_r_norm": sine, "r_perp_h_norm": sine},
        "plain": {"c_cos": shown(abs(one.plain[0])), "c_sub": shown(one.plain[1])},
        "signal": {"h": shown(one.signal[0]), "r": shown(one.signal[1]), "subspace": shown(one.sub_signal)},
        "cross_fitted": True,
    }


def _reading(one: Read) -> dict[str, float | None]:
    gap = abs(one.h_layer - one.r_layer)
    names = ("c_cos", "c_sub", "hrci_repr", "hrci_full")
    return {name: shown(float(Mix.of(name, gap).value(one.signed, one.sub))) for name in names}


def _layer(place: Place, band: str) -> dict[str, Any]:
    """One point of the curve; without a value there is no chance level either."""
    values = _reading(place.read)
    permuted, harmless = (
        None if each is None or values[band] is None else _of_level(Mix.of(band, 0).value(each.signed, each.sub))
        for each in (place.permuted, place.harmless)
    )
    return {
        "layer": place.read.h_layer,
        **{name: values[name] for name in ("c_cos", "c_sub", "hrci_repr")},
        "permuted": permuted and [permuted["low"], permuted["high"]],
        "harmless": harmless and [harmless["low"], harmless["high"]],
    }


def _null(source: Source, places: Sequence[Place], measure: str) -> dict[str, Any]:
    """What chance gives in the place of the value, and the share of it that is not above the value."""
    mixes = [Mix.of(measure, abs(place.read.h_layer - place.read.r_layer)) for place in places]
    value = np.mean([mix.value(one.read.signed, one.read.sub) for mix, one in zip(mixes, places, strict=True)])
    levels: dict[str, Any] = {}
    percentiles: dict[str, Any] = {}
    for kind in ("permuted", "harmless"):
        chances = [getattr(place, kind) for place in places]
        drawn = [mix.value(each.signed, each.sub) for mix, each in zip(mixes, chances, strict=True) if each is not None]
        # draw by draw: they are the same draws at every layer
        mean = np.mean(drawn, axis=0) if drawn else np.array([])
        levels[kind] = _of_level(mean)
        known = levels[kind] is not None and math.isfinite(value)
        percentiles[kind] = shown(nulls.percentile(mean, float(value))) if known else None
    width = source.sides.cells[0].mean.shape[-1]
    cos, sub = formula.isotropic_c_cos(width), formula.isotropic_c_sub(width, min(source.sides.k, width))
    isotropic = np.mean([float(mix.value(cos, sub)) for mix in mixes])
    return {"null": {**levels, "isotropic": shown(float(isotropic))}, "percentile": percentiles}


def _of_level(values: Floats) -> dict[str, Any] | None:
    try:
        found = nulls.level(values)
    except NothingToMeasure:
        return None
    return {"n": found.n, "low": shown(found.low), "median": shown(found.median), "high": shown(found.high)}


def position_of(index: int, positions: int) -> int | str:
    """What an index on the axis 1 + P stands for: `t_inst`, or −P … −1."""
    return "t_inst" if index == 0 else index - 1 - positions


def shown(value: float) -> float | None:
    """Six digits, or None for what is not a number: the record has no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None

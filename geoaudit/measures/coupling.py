"""How strongly a checkpoint's harmfulness and refusal contrasts are coupled (arXiv 2606.16349 §3).

One computation, five values. Inner products are cross-fitted over disjoint blocks of prompts (`geometry.crossfit`), so
that neither noise that H and R share nor noise in their lengths is in the value; the papers' plain value stands in the
detail. Layers and positions are held fixed in the interval; `layer_gap` says how firm they are.

Interval: resampled blocks, the same ones for every cell, and of the reflected and the plain percentile ends the wider.
A cosine keeps its sign until then, and the interval of its absolute value is folded: one that holds 0 reaches down to
0. Without a sign |cos| has a floor at the level of noise, and no interval around it covers a true 0.

Chance (the check `chance-level`): R is replaced by contrasts that have nothing to do with refusing (`coupling_levels`).
A bound from below claims that H and R have something to do with each other; it is stopped unless the whole interval is
above what chance gives. A bound from above claims no more than that they have little to do with each other. That is
what chance gives too, so that being within it is no objection but a reason to say so: the note says which values any
two contrasts of this model have. What would make a low value a lie is another matter and stops every bound: contrasts
that are noise (`null-direction`, `noise-dominated`), or cells too small to tell them apart (`unidentified-coupling`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import coupling as formula
from geoaudit.measures import coupling_sources
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.coupling_detail import detail_of
from geoaudit.measures.coupling_levels import SEED, Place, Read, Survey, survey
from geoaudit.measures.coupling_mix import Mix
from geoaudit.measures.coupling_sources import Source
from geoaudit.measures.evidence import Evidence
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import discrete_interval

LEAST_SIGNAL = 2.0
"""Standard errors by which a squared length, or a k-th energy, must exceed what noise gives. In 3,000 simulations of
settings drawn at random 98 % of 324 intervals of c_sub with 2 to 3 held the truth, 97 % of 386 with 1 to 2, and 75 % of
24 with less than 1, where most samples have no value at all."""
STOPS = ["at_least", "between"]
"""Comparators that claim more than chance, where the value is not shown to be above it."""
At = Literal["own_layers", "both_at_r", "both_at_h", "every_layer"]


def c_cos(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """|cos| of the harmfulness and the refusal contrast, in [0, 1] (Eq. 7)."""
    return _measured("c_cos", parameters, evidence)


def c_sub(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Mean cos² of the principal angles between the top-k local subspaces, in [0, 1] (Eq. 8)."""
    return _measured("c_sub", parameters, evidence)


def hrci_repr(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """½·c_cos + ½·c_sub (Eq. 9)."""
    return _measured("hrci_repr", parameters, evidence)


def hrci_full(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """0.4·c_cos + 0.4·c_sub + 0.2·exp(−|L_H − L_R|/4) (Eqs. 11, 12); both at one layer the last part is 0.2."""
    return _measured("hrci_full", parameters, evidence)


def layer_gap(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """|L_H − L_R|/(L − 1), in [0, 1] (Eq. 10)."""
    source, found = _found(parameters, evidence)
    layers = source.sides.n_layers
    value = formula.layer_gap(source.h_layer, source.r_layer, layers)
    flags = (*source.flags, *_signals(source, (found.own.read,), needs_sub=False))
    detail = detail_of("layer_gap", parameters, source, found, [found.own])
    try:
        central = discrete_interval(source.drawn_gaps)
    except NothingToMeasure as error:
        ends, how = None, f"none: {error}"
    else:
        ends = min(central.low / (layers - 1), value), max(central.high / (layers - 1), value)
        how = f"central mass of {source.drawn_gaps.size} choices of both layers on redrawn prompts"
        values, counts = np.unique(source.drawn_gaps[np.isfinite(source.drawn_gaps)], return_counts=True)
        rows = [
            {"value": float(gap) / (layers - 1), "count": int(count), "score": None}
            for gap, count in zip(values, counts, strict=True)
        ]
        detail["distribution"] = {"values": rows, "resamples": int(source.drawn_gaps.size)}
    return _measurement("layer_gap", parameters, evidence, source, value, ends, how, flags, detail)


def _found(parameters: Mapping[str, Any], evidence: Evidence) -> tuple[Source, Survey]:
    source = coupling_sources.find(parameters, evidence)
    return source, survey(source.sides, source.categories, source.h_layer, source.r_layer)


def _measured(measure: str, parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    source, found = _found(parameters, evidence)
    at: At = parameters["at"]
    needs_sub = measure != "c_cos"
    places = _places(source, found, at)
    if at == "every_layer":
        read = [place for place in places if not _signals(source, (place.read,), needs_sub)]
    else:
        read = places
    detail = detail_of(measure, parameters, source, found, read or places)
    if needs_sub and source.sides.k > source.sides.positions:
        why = f"no {source.sides.k}-dimensional subspace: the template has {source.sides.positions} positions"
        raise NothingToMeasure(why, detail)
    if len(read) < len(places) / 2:
        why = (
            f"H and R are both above the noise at {len(read)} of {len(places)} layers only, so that there is no mean "
            "over the layers (raise n_train)"
        )
        raise NothingToMeasure(why, detail)
    if at == "every_layer":
        detail["layers_read"] = len(read)
    flags = [*source.flags, *_signals(source, tuple(place.read for place in read), needs_sub)]
    mixes = [Mix.of(measure, abs(place.read.h_layer - place.read.r_layer)) for place in read]
    pairs = [(mix, place.read) for mix, place in zip(mixes, read, strict=True)]
    values = [float(mix.value(one.signed, one.sub)) for mix, one in pairs]
    if not all(math.isfinite(value) for value in values):
        why = "; ".join(f"{flag.name}: {flag.sentence}" for flag in flags if flag.effect == "stops")
        raise NothingToMeasure(why, detail)
    ends = [mix.ends(one, source.sides.blocks) for mix, one in pairs]
    whole = [each for each in ends if each is not None]
    interval, how = None, "none: the value does not exist in too many resamples"
    if len(whole) == len(ends):
        # the mean of the ends is an interval of the mean that is wide enough, however the layers hang together
        interval = float(np.mean([low for low, _ in whole])), float(np.mean([high for _, high in whole]))
        how = f"bootstrap over {source.sides.blocks} blocks of prompts, layers held fixed"
    value = float(np.mean(values))
    flags += _cross_layer(measure, source, found, at, detail)
    flags += _chance_level(interval[0] if interval else value, detail)
    detail["chance"] = {"stops": STOPS if any(flag.name == "chance-level" for flag in flags) else []}
    return _measurement(measure, parameters, evidence, source, value, interval, how, tuple(flags), detail)


def _places(source: Source, found: Survey, at: At) -> list[Place]:
    match at:
        case "own_layers":
            return [found.own]
        case "both_at_r":
            return [found.same[source.r_layer]]
        case "both_at_h":
            return [found.same[source.h_layer]]
        case "every_layer":
            return list(found.same)


# --- checks ----------------------------------------------------------------------------------------------------------


def _signals(source: Source, reads: tuple[Read, ...], needs_sub: bool) -> list[Flag]:
    """`null-direction` and `noise-dominated`: a contrast, or its subspace, that is no more than sampling noise."""
    flags = []
    for index, name in ((0, "H"), (1, "R")):
        weakest = min(read.signal[index] for read in reads)
        if not weakest >= LEAST_SIGNAL:
            sentence = (
                f"{name} is not told from sampling noise: its squared length is {weakest:.1f} standard errors above "
                f"zero ({LEAST_SIGNAL:g} are needed; raise n_train)"
            )
            flags.append(Flag("null-direction", "stops", sentence))
    weakest = min(read.sub_signal for read in reads)
    if needs_sub and not weakest >= LEAST_SIGNAL:
        sentence = (
            f"dimension {source.sides.k} of the subspaces is not told from sampling noise ({weakest:.1f} standard "
            f"errors of its energy, {LEAST_SIGNAL:g} are needed; lower k or raise n_train)"
        )
        flags.append(Flag("noise-dominated", "stops", sentence))
    return flags


def _cross_layer(measure: str, source: Source, found: Survey, at: At, detail: Mapping[str, Any]) -> list[Flag]:
    """`cross-layer-coupling`: H and R are read at different layers."""
    if at != "own_layers" or source.h_layer == source.r_layer:
        return []
    said = {
        name: "no value" if reading[measure] is None else f"{reading[measure]:.2f}"
        for name, reading in detail["readings"].items()
    }
    levels = [f"{level['high']:.2f} ({kind})" for kind, level in detail["null"].items() if isinstance(level, dict)]
    sentence = (
        f"H is read at layer {source.h_layer} and R at layer {source.r_layer}: {said['own_layers']}; both at layer "
        f"{source.r_layer}: {said['both_at_r']}; both at layer {source.h_layer}: {said['both_at_h']}; chance gives up "
        f"to {' or '.join(levels) or 'an unknown level'}"
    )
    return [Flag("cross-layer-coupling", "note", sentence)]


def _chance_level(low: float, detail: Mapping[str, Any]) -> list[Flag]:
    """`chance-level`: the value is not shown to be above what contrasts give that have nothing to do with refusing."""
    reached = [
        f"{kind} reach {level['high']:.2f}"
        for name, kind in (("permuted", "permuted labels"), ("harmless", "contrasts between harmless topics"))
        if (level := detail["null"][name]) is not None and not low > level["high"]
    ]
    if not reached:
        return []
    sentence = f"the value is not shown to be above chance: {' and '.join(reached)} with H"
    return [Flag("chance-level", "note", sentence)]


def _measurement(
    measure: str,
    parameters: Mapping[str, Any],
    evidence: Evidence,
    source: Source,
    value: float,
    ends: tuple[float, float] | None,
    how: str,
    flags: tuple[Flag, ...],
    detail: Mapping[str, Any],
) -> Measurement:
    return Measurement(
        measure=measure,
        checkpoint=evidence.checkpoint,
        parameters=evidence.described(parameters),
        unit="share of layers" if measure == "layer_gap" else "coupling in [0, 1]",
        estimate=value,
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        interval=how,
        n=source.n,
        seed=SEED,
        judge=REFERENCE_JUDGE,
        inputs=source.inputs,
        flags=flags,
        detail=detail,
    )

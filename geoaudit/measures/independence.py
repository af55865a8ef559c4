"""Whether refusing and harmfulness are represented independently: ablating one leaves the other's profile as it was.

H and R are the contrasts of coupling (`coupling_sources`), each at its own layer and position, estimated on the train
halves. What is read are their cosines with the input of each layer at the last token of validation prompts, harmful and
harmless alike, with and without the other one ablated at every site (Wollschläger et al. 2025). The value is the
published loss: the mean squared change of the cosine over the first nine tenths of the layers, of H without R *plus* of
R without H, averaged over prompts.

It has no natural zero. Whatever is ablated shortens the stream and with it every cosine; so the same is done with
controls in the place of the ablated direction, drawn from how prompts of one cell differ at its site, and orthogonal to
it. A change within theirs is what *any* direction does to the other (the check `chance-level`). A bound from below
claims more than that, and is stopped; a bound from above claims no more than that, and is told so.

Interval: resampled pairs of a harmful prompt and its harmless twin, H and R held fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.crossfit import contrast, gram
from geoaudit.geometry.independence import once_removed, representational_change, squared_change
from geoaudit.measures import coupling_sources
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier_checks import LARGEST_P
from geoaudit.measures.coupling import LEAST_SIGNAL, STOPS
from geoaudit.measures.coupling_detail import position_of, shown
from geoaudit.measures.coupling_mix import ends_of
from geoaudit.measures.coupling_sources import Source
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import Profiles
from geoaudit.measures.independence_needs import directions_of, profiles_of
from geoaudit.measures.profiles import axis, sites
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import block_weights
from geoaudit.stats.randomisation import rank_p

Floats = NDArray[np.float64]

SEED = 20250224
RESAMPLES = 1000
LARGEST = 8.0
"""Both cosines turned round at every layer."""
HALVES = ("h_without_r", "r_without_h")
"""The two directions of the question, in the order of `Profiles`."""
SAID = {"h_without_r": "ablating R changes H", "r_without_h": "ablating H changes R"}


def representational_independence(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Mean squared change of the cosine profiles of H without R and of R without H, added up, in [0, 8].

    Raises:
        NothingToMeasure: no H or no R, or an activation that is zero or not finite where they are compared.
    """
    source = coupling_sources.find(directions_of(parameters), evidence)
    profiles: Profiles = evidence.of(profiles_of(parameters))
    change = representational_change(profiles.plain, profiles.without_other)
    if not np.isfinite(change).all():
        raise NothingToMeasure(
            f"cosine profiles of {int(np.sum(~np.isfinite(change)))} of {change.size} prompts have no number: an "
            "activation is zero or not finite once H or R is ablated",
            {"form": parameters["form"], "cells": dict(source.counts)},
        )
    value = float(np.mean(change))
    ends, how = _interval(change, value)
    controls = squared_change(profiles.plain[:, None], profiles.controls).mean(axis=-1)  # [2, m]
    halves = squared_change(profiles.plain, profiles.without_other).mean(axis=-1)
    p = rank_p(value, controls.sum(axis=0))
    by_half = {name: rank_p(float(half), each) for name, half, each in zip(HALVES, halves, controls, strict=True)}
    flags = [
        *source.flags,
        *_null_direction(source),
        *evidence.overlaps(scored=profiles.prompts),
        *_within_controls(value, halves, controls, p, by_half),
    ]
    return Measurement(
        measure="representational_independence",
        checkpoint=evidence.checkpoint,
        parameters=evidence.described(parameters),
        unit="squared cosine",
        estimate=value,
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        interval=how,
        n=change.size,
        seed=SEED,
        judge=REFERENCE_JUDGE,
        inputs={**source.inputs, **{each.name: each.sha256 for each in profiles.prompts}},
        flags=tuple(flags),
        detail=_detail(parameters, source, profiles, change, halves, controls, p, by_half),
    )


def _interval(change: Floats, value: float) -> tuple[tuple[float, float] | None, str]:
    """Both ends and how they were made; `change` [n] holds the harmful prompts first, then their twins."""
    pairs = change.reshape(2, -1).mean(axis=0)
    try:
        weights = block_weights(pairs.size, RESAMPLES, SEED)
    except NothingToMeasure as error:
        return None, f"none: {error}"
    ends = ends_of(value, weights @ pairs / pairs.size, pairs.size, (0.0, LARGEST))
    return ends, f"bootstrap over {pairs.size} pairs of prompts, H and R held fixed"


# --- checks ----------------------------------------------------------------------------------------------------------


def _null_direction(source: Source) -> list[Flag]:
    """`null-direction`: H or R is no more than sampling noise, and what noise does to the other says nothing.

    Raises:
        NothingToMeasure: one of them is rounding noise.
    """
    flags = []
    for site in sites(source):
        axis(site)
        signal = float(gram(contrast(site.cells, site.coefficients, [site.position], site.layer)).signal[0])
        if not signal >= LEAST_SIGNAL:
            sentence = (
                f"{site.name} is not told from sampling noise: its squared length is {signal:.1f} standard errors "
                f"above zero ({LEAST_SIGNAL:g} are needed; raise n_train)"
            )
            flags.append(Flag("null-direction", "stops", sentence))
    return flags


def _within_controls(
    value: float, halves: Floats, controls: Floats, p: float, by_half: Mapping[str, float]
) -> list[Flag]:
    """`chance-level`: control directions change the profiles as much, in the sum or in one half of the question."""
    m = controls.shape[1]
    if p > LARGEST_P:
        sentence = (
            f"{_as_much(p, m)} of {m} pairs of control directions change the profiles by {value:.2g} or more: how far "
            "H and R depend on each other is not told from what any direction does"
        )
        return [Flag("chance-level", "note", sentence)]
    within = [
        f"{SAID[name]} by {half:.2g}, as {_as_much(by_half[name], m)} of {m} control directions do or more"
        for name, half in zip(HALVES, halves, strict=True)
        if by_half[name] > LARGEST_P
    ]
    if not within:
        return []
    return [Flag("chance-level", "note", f"{'; '.join(within)}: that part is not told from what any direction does")]


def _as_much(p: float, m: int) -> int:
    """How many of m controls do as much, by their rank p-value."""
    return round(p * (1 + m)) - 1


# --- what the record keeps -------------------------------------------------------------------------------------------


def _detail(
    parameters: Mapping[str, Any],
    source: Source,
    profiles: Profiles,
    change: Floats,
    halves: Floats,
    controls: Floats,
    p: float,
    by_half: Mapping[str, float],
) -> dict[str, Any]:
    sides = source.sides
    at_once = squared_change(profiles.plain, once_removed(profiles.plain, profiles.plain[::-1], profiles.cosine))
    harmful, harmless = change.reshape(2, -1).mean(axis=1)
    return {
        "form": parameters["form"],
        "h_layer": source.h_layer,
        "r_layer": source.r_layer,
        "layers_by": source.how_layers,
        "h_position": position_of(sides.h_position, sides.positions),
        "r_position": position_of(sides.r_position, sides.positions),
        "n_layers": sides.n_layers,
        "layers": int(profiles.plain.shape[-1]),
        "cells": dict(source.counts),
        "mixed": None if source.mixed is None else shown(source.mixed),
        "cosine": shown(profiles.cosine),
        "changes": _named(halves),
        "at_once": _named(at_once.mean(axis=-1)),
        "by_kind": {"harmful": shown(float(harmful)), "harmless": shown(float(harmless))},
        "profile_size": {
            name: shown(float(size))
            for name, size in zip(("h", "r"), (profiles.plain**2).mean(axis=(1, 2)), strict=True)
        },
        "controls": {
            "n": int(controls.shape[1]),
            "drawn": "covariance-matched, ablated whole at every site (not KL-matched)",
            **{name: [shown(float(each)) for each in row] for name, row in zip(HALVES, controls, strict=True)},
            "sum": [shown(float(each)) for each in controls.sum(axis=0)],
        },
        "p": {"sum": shown(p), **{name: shown(each) for name, each in by_half.items()}},
        "by_layer": _profiles(profiles),
        "chance": {"stops": list(STOPS) if p > LARGEST_P else []},
    }


def _named(halves: Floats) -> dict[str, float | None]:
    return {name: shown(float(each)) for name, each in zip(HALVES, halves, strict=True)}


def _profiles(profiles: Profiles) -> list[dict[str, Any]]:
    """Mean cosines over the prompts, layer by layer, with and without the other direction."""
    plain, without = profiles.plain.mean(axis=1), profiles.without_other.mean(axis=1)
    return [
        {
            "layer": layer,
            "h": shown(float(plain[0, layer])),
            "h_without_r": shown(float(without[0, layer])),
            "r": shown(float(plain[1, layer])),
            "r_without_h": shown(float(without[1, layer])),
        }
        for layer in range(plain.shape[-1])
    ]

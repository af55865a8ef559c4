"""Carriers of two checkpoints: where each sits, how well each scores, and how alike their directions are.

A carrier is found in both by the same rule on the same unfiltered prompts. That the best place has moved does not say
that the old one stopped working: an argmax over layers jumps between places that are nearly as good. That is told by
trying each direction in the other checkpoint (`transfer`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import RESAMPLES
from geoaudit.carriers.resample import SEED as REDRAWN
from geoaudit.carriers.select import score
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions, nulls
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier import Carrier, find
from geoaudit.measures.carrier_selection import redrawn, scores_of
from geoaudit.measures.drift import NULL_DRAWS, SEED, Sides, level_shown, rounded
from geoaudit.measures.drift_needs import unfiltered
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.pairs import Pair, paired
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import basic_interval, block_weights, discrete_interval

CLAIMS_LIKENESS = ("at_least", "between", "equals")
"""Bounds on a cosine that say that two directions are alike."""

Floats = NDArray[np.float64]


def carrier_relocation(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Layers (or positions) from the other's carrier to this one's: positive is later."""
    both = carriers_of(parameters, evidence)
    axis: Literal["layer", "position"] = parameters["axis"]
    here, there = both.here, both.there
    moved = getattr(here.used, axis) - getattr(there.used, axis)
    if here.search.search == "winner":
        return both.measured("carrier_relocation", moved, None, "none: search: winner does not score the rivals")
    index = 0 if axis == "position" else 1
    drawn = here.chosen.places(here.direction)[index] - there.chosen.places(there.direction)[index]
    counts = Counter(int(value) for value in drawn if not math.isnan(value))
    spread = {
        "values": [{"value": value, "count": counts[value], "score": None} for value in sorted(counts)],
        "resamples": int(drawn.size),
    }
    try:
        central = discrete_interval(drawn)
    except NothingToMeasure as error:  # too often nothing is selected: the estimate stands without an interval
        return both.measured("carrier_relocation", moved, None, f"none: {error}")
    ends = float(min(central.low, moved)), float(max(central.high, moved))
    how = f"central mass of {RESAMPLES} selections in both, on the same redrawn validation prompts"
    return both.measured("carrier_relocation", moved, ends, how, distribution=spread)


def carrier_score_drift(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """The rule's score of this carrier minus that of the other's."""
    both = carriers_of(parameters, evidence)
    values = [score(one.used, one.how.rule, one.how.beta) for one in (both.here, both.there)]
    if not all(math.isfinite(value) for value in values):
        raise NothingToMeasure("a carrier without a finite score: beyond the KL budget not every score is measured")
    change = values[0] - values[1]
    replicates = _redrawn_score(both.here) - _redrawn_score(both.there)
    how = f"basic bootstrap, {RESAMPLES} resamples of the same validation prompts, carriers held fixed"
    return both.measured("carrier_score_drift", change, basic_interval(change, replicates), how)


def direction_cosine(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Cosine of the two carriers' directions, each at its own site or both at the other's, in [−1, 1]."""
    both = carriers_of(parameters, evidence)
    if both.here.sides is None or both.there.sides is None:
        raise NothingToMeasure("the means that a direction is the difference of were not kept in blocks")
    other = both.there.used
    own = both.here.used if parameters["site"] == "own" else other
    here = _site(both.here.sides, own.position, own.layer)
    there = _site(both.there.sides, other.position, other.layer)
    value = directions.cosine(_direction(here), _direction(there))
    ends, how = _cosine_interval(value, here, there)
    level = _unrelated(here, there)
    within = level is not None and value <= level.high
    extra: tuple[Flag, ...] = ()
    if level is not None and within:
        sentence = (
            f"{value:.3g} is no more than what unrelated contrasts at these sites give (labels permuted in each: "
            f"{level.low:.3g} to {level.high:.3g}): the directions are no more alike than chance makes them"
        )
        extra = (Flag("chance-level", "note", sentence),)
    return both.measured(
        "direction_cosine",
        value,
        ends,
        how,
        extra,
        cosine=rounded(value),
        by_layer=_by_layer(both.here.sides, both.there.sides, other.position),
        null={"permuted": level_shown(level)},
        chance={"stops": list(CLAIMS_LIKENESS) if within else []},
    )


@dataclass(frozen=True, eq=False)
class Carriers:
    """The carriers of a pair of checkpoints."""

    pair: Pair
    here: Carrier
    there: Carrier

    @property
    def detail(self) -> dict[str, Any]:
        """Where both sit, and how far apart."""
        here, there = self.here.used, self.there.used
        scores = [score(one.used, one.how.rule, one.how.beta) for one in (self.here, self.there)]
        return {
            **self.pair.named,
            "rule": self.here.how.rule,
            "layer_here": here.layer,
            "layer_there": there.layer,
            "position_here": here.position,
            "position_there": there.position,
            "score_here": _shown(scores[0]),
            "score_there": _shown(scores[1]),
            "n_layers": self.here.table.n_layers,
        }

    def measured(
        self,
        measure: str,
        value: float,
        ends: tuple[float, float] | None,
        interval: str,
        flags: tuple[Flag, ...] = (),
        seed: int = REDRAWN,
        **more: Any,
    ) -> Measurement:
        """A measurement with what those of two carriers share; `more` goes into its detail."""
        table = self.here.table
        return self.pair.measured(
            measure,
            float(value),
            ends,
            interval,
            n=table.base_harmful.size + table.base_harmless.size,
            seed=seed,
            inputs=table.inputs,
            flags=(*self.here.flags, *self.pair.of_the_other(self.there.flags), *flags),
            detail={**self.detail, **more},
            judge=REFERENCE_JUDGE,
        )


def carriers_of(parameters: Mapping[str, Any], evidence: Evidence) -> Carriers:
    """The carriers of both, found alike.

    Raises:
        NothingToMeasure: one of the two has none, or their prompts or sites do not mean the same.
    """
    given = unfiltered(parameters)
    pair = paired(given, evidence)
    here = find(given, evidence)
    try:
        there = find(given, pair.there)
    except NothingToMeasure as error:
        raise NothingToMeasure(f"{pair.there.checkpoint}: {error}", pair.named) from error
    if here.table.inputs != there.table.inputs:
        raise NothingToMeasure(
            f"{evidence.checkpoint} and {pair.there.checkpoint} were scored on different prompts: drift is read on one"
            " list"
        )
    return Carriers(pair, here, there)


def _redrawn_score(one: Carrier) -> Floats:
    """The rule's score of a carrier on redrawn prompts, [R]."""
    drawn = redrawn(one.table, scores_of(one.table, one.how), one.index)
    if one.how.rule == "arditi":
        return drawn["bypass"]
    total: Floats = drawn["s_refuse"] + drawn["s_comply"] - one.how.beta * drawn["kl"]
    return total


def _site(sides: Sides, position: int, layer: int) -> Sides:
    """The blocks at one position and layer, [B, 1, 1, d]."""
    at = np.s_[:, position : position + 1 or None, layer : layer + 1]
    one, other = (BlockMeans(each.count, each.mean[at]).occupied() for each in sides)
    return one, other


def _direction(sides: Sides, *weights: NDArray[Any]) -> Floats:
    """The difference in means at one site: [d], or [R, d] of R resamples."""
    return directions.differences(*sides, *weights)[..., 0, 0, :]


def _cosine_interval(value: float, here: Sides, there: Sides) -> tuple[tuple[float, float] | None, str]:
    if [each.count.size for each in here] != [each.count.size for each in there]:
        return None, "none: the two directions are differences of other prompts (contrast: refused)"
    weights = [block_weights(each.count.size, RESAMPLES, (SEED, 4 + side)) for side, each in enumerate(here)]
    drawn = [_direction(each, *weights) for each in (here, there)]
    products = np.einsum("rd,rd->r", *drawn) / np.prod([directions.norms(each) for each in drawn], axis=0)
    ends = basic_interval(value, products, bounds=(-1.0, 1.0))
    how = f"basic bootstrap over {here[0].count.size} blocks of prompts, the same ones in both checkpoints"
    return ends, how


def _unrelated(here: Sides, there: Sides) -> nulls.Level | None:
    """Cosines of differences whose labels mean nothing, drawn on their own in each checkpoint."""
    try:
        drawn = [
            np.concatenate(
                [fields[:, 0, 0] for fields in nulls.permuted(*sides, NULL_DRAWS, (SEED, 6 + index)).fields()]
            )
            for index, sides in enumerate((here, there))
        ]
        with np.errstate(invalid="ignore"):
            products = np.einsum("rd,rd->r", *drawn) / np.prod([directions.norms(each) for each in drawn], axis=0)
        return nulls.level(np.abs(products))
    except NothingToMeasure:  # no spread among prompts of a kind
        return None


def _by_layer(here: Sides, there: Sides, position: int) -> list[dict[str, Any]]:
    """Cosine of the two differences at every layer, at the other carrier's position; None where one is null."""
    fields = [directions.differences(*each)[position] for each in (here, there)]
    null = [
        directions.null_rows(directions.differences(*each), directions.activation_scale(*each))[position]
        for each in (here, there)
    ]
    rows = []
    for layer in range(fields[0].shape[0] - 1):
        dead = null[0][layer] or null[1][layer]
        cosine = None if dead else rounded(directions.cosine(fields[0][layer], fields[1][layer]))
        rows.append({"layer": layer, "cosine": cosine})
    return rows


def _shown(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None

"""The refusal carrier: which candidate the rule selects, how firmly, and whether it may be called one.

Choosing is in `carrier_selection`, validity in `carrier_checks`: a direction that induces no more than others that
move the model as much, or a refusal score that does not match what a judge reads in this model's answers, is no
carrier however well it scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import RESAMPLES, SEED, scored_rows
from geoaudit.carriers.select import Row, Selecting, score
from geoaudit.carriers.table import Examined, SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures import carrier_checks as checks
from geoaudit.measures import carrier_detail
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier_needs import cells_of, examination_of, search_of, selecting_of
from geoaudit.measures.carrier_selection import (
    Chosen,
    chosen,
    distribution,
    index_of,
    redrawn,
    scores_of,
    shares,
)
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CellMeans, CompletedPrompts, ProbeMeans
from geoaudit.measures.needs import CandidateSearch
from geoaudit.measures.table import get
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import basic_interval, block_weights, discrete_interval

Floats = NDArray[np.float64]


def carrier_layer(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Layer of the selected direction, counted from 0 (`resid_pre`)."""
    return find(parameters, evidence).place("carrier_layer", "layer")


def carrier_position(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Position of the selected direction, −1 = last token of the rendered prompt."""
    return find(parameters, evidence).place("carrier_position", "position")


def carrier_score(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """S_total = S_refuse + S_comply − β·KL (cosmic), or the bypass score in nats (arditi)."""
    found = find(parameters, evidence)
    drawn = redrawn(found.table, scores_of(found.table, found.how), found.index)
    if found.how.rule == "arditi":
        replicates = drawn["bypass"]
    else:
        replicates = drawn["s_refuse"] + drawn["s_comply"] - found.how.beta * drawn["kl"]
    return found.continuous("carrier_score", score(found.used, found.how.rule, found.how.beta), replicates)


def carrier_kl(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Mean KL(base ‖ ablated) of the next token on harmless prompts, nats.

    With the reference's epsilon inside the logarithms (1e-6) it can fall below zero by about that much.
    """
    found = find(parameters, evidence)
    drawn = redrawn(found.table, found.table.arditi, found.index)["kl"]
    return found.continuous("carrier_kl", found.used.kl, drawn)


def carrier_s_refuse(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """COSMIC's cosine of harmless prompts with the direction added to harmful prompts as they are, in [−1, 1]."""
    found = find(parameters, evidence)
    drawn = redrawn(found.table, found.table.cosmic, found.index)["s_refuse"]
    return found.continuous("carrier_s_refuse", found.cosmic.s_refuse, drawn, bounds=(-1.0, 1.0))


def carrier_s_comply(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """COSMIC's cosine of harmful prompts with the direction ablated to harmless prompts as they are, in [−1, 1]."""
    found = find(parameters, evidence)
    drawn = redrawn(found.table, found.table.cosmic, found.index)["s_comply"]
    return found.continuous("carrier_s_comply", found.cosmic.s_comply, drawn, bounds=(-1.0, 1.0))


def carrier_norm(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Norm of the selected difference in means, in activation units."""
    found = find(parameters, evidence)
    size = found.table.norm[found.index]
    if found.sides is None:
        return found.measured("carrier_norm", size, None, "none: the means of filtered prompts are not kept in blocks")
    one, other = (_site(each, found.used) for each in found.sides)
    weights = (block_weights(each.count.size, RESAMPLES, (SEED, 2 + i)) for i, each in enumerate((one, other)))
    replicates = directions.norms(directions.differences(one, other, *weights))[:, 0, 0]
    return found.continuous("carrier_norm", size, replicates, bounds=(0.0, math.inf))


@dataclass(frozen=True, eq=False)
class Carrier:
    """The candidate in use with all that its measurements share."""

    parameters: Mapping[str, Any]
    evidence: Evidence
    search: CandidateSearch
    how: Selecting
    direction: Literal["carrier", "nearest"]
    table: SearchTable
    chosen: Chosen
    used: Row
    """With the scores that its rule reads."""
    cosmic: Row
    """With COSMIC's."""
    index: int
    """In the table."""
    sides: tuple[BlockMeans, BlockMeans] | None
    """What it is the difference of; None where a filter chose the prompts."""
    flags: tuple[Flag, ...]
    detail: Mapping[str, Any]

    def place(self, measure: str, axis: Literal["position", "layer"]) -> Measurement:
        """A measurement of where it is."""
        places = self.chosen.places(self.direction)[0 if axis == "position" else 1]
        spread = distribution(self.chosen, self.how, self.direction, axis)
        value = float(getattr(self.used, axis))
        if self.search.search == "winner":
            return self.measured(measure, value, None, "none: search: winner does not score the winner's rivals")
        try:
            central = discrete_interval(places)
        except NothingToMeasure as error:  # too often nothing is selected: the estimate stands without an interval
            return self.measured(measure, value, None, f"none: {error}")
        ends = float(min(central.low, value)), float(max(central.high, value))
        how = f"central mass of {RESAMPLES} selections on redrawn validation prompts"
        return self.measured(measure, value, ends, how, distribution=spread)

    def continuous(
        self,
        measure: str,
        value: float | None,
        replicates: Floats,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ) -> Measurement:
        """A measurement of a number within `bounds`, the candidate held fixed."""
        if value is None or not math.isfinite(value):
            why = f"the candidate in use has no finite {measure}: beyond the KL budget not every score is measured"
            raise NothingToMeasure(why, dict(self.detail))
        ends = basic_interval(value, replicates, bounds=bounds)
        how = f"basic bootstrap, {RESAMPLES} resamples, candidate held fixed"
        return self.measured(measure, value, ends, how)

    def measured(
        self, measure: str, value: float, ends: tuple[float, float] | None, interval: str, **more: Any
    ) -> Measurement:
        """A measurement with what all of this carrier share; `more` goes into its detail."""
        return Measurement(
            measure=measure,
            checkpoint=self.evidence.checkpoint,
            parameters=self.evidence.described(self.parameters),
            unit=get(measure).unit,
            estimate=value,
            low=None if ends is None else ends[0],
            high=None if ends is None else ends[1],
            interval=interval,
            n=self.table.base_harmful.size + self.table.base_harmless.size,
            seed=SEED,
            judge=REFERENCE_JUDGE,
            inputs=self.table.inputs,
            flags=self.flags,
            detail={**self.detail, **more},
        )


def find(parameters: Mapping[str, Any], evidence: Evidence) -> Carrier:
    """The carrier of a checkpoint, or with `direction: nearest` what stands in where there is none.

    Raises:
        NothingToMeasure: nothing is admissible (or nothing induces, with *nearest*); its detail holds every candidate,
            the frontier, and the closer look at the nearest.
    """
    search, how = search_of(parameters), selecting_of(parameters)
    direction: Literal["carrier", "nearest"] = parameters.get("direction", "carrier")
    means: ProbeMeans = evidence.of(search.probe)
    table: SearchTable = evidence.of(search)
    answers: list[CompletedPrompts] = [evidence.of(each) for each in search.answered]
    few = checks.few_kept(table)
    if few and min(table.base_harmful.size, table.base_harmless.size) < 2:
        raise NothingToMeasure(f"{few[0].name}: {few[0].sentence}")
    found = chosen(table, how)
    calibration, auc = checks.uncalibrated(table, *answers)
    best = found.choice.selected or found.choice.nearest
    examined, why_not = _examined(parameters, evidence, best)
    detail = carrier_detail.search_detail(parameters, table, means, found)
    detail["refusal_score_auroc"] = auc
    detail["examined"] = best and examined and checks.examined_detail(table, index_of(table, best), found.c0, examined)
    used = found.choice.selected or (found.choice.nearest if direction == "nearest" else None)
    if used is None:
        reasons = [f"{flag.name}: {flag.sentence}" for flag in (*few, *calibration)]
        raise NothingToMeasure("; ".join([carrier_detail.why_none(parameters, table, found, detail), *reasons]), detail)
    index = index_of(table, used)
    sides = None if search.filtered else _sides(search, parameters, evidence, means)
    kind = "carrier" if used is found.choice.selected else "nearest"
    detail |= carrier_detail.used_detail(kind, table, index, how, found)
    detail["split_half_cosine"] = sides and _split_half(sides, used)
    detail["selection_shares"] = [] if search.search == "winner" else shares(found.places(direction))
    flags = [
        *few,
        *calibration,
        *checks.null_direction(table, index, means),
        *checks.uninducible(table, index, how, found.c0, examined, why_not),
        *checks.sink_driven(examined),
        *evidence.overlaps([each.prompts for each in answers], means.prompts),
    ]
    if kind == "nearest":
        sentence = (
            f"nothing is admissible at KL {how.kl_budget:g}; this is the inducing candidate of least KL "
            f"({used.kl:.2f} nats)"
        )
        flags.append(Flag("not-admissible", "note", sentence))
    return Carrier(
        parameters=parameters,
        evidence=evidence,
        search=search,
        how=how,
        direction=direction,
        table=table,
        chosen=found,
        used=used,
        cosmic=scored_rows(table.candidates, table.cosmic)[index],
        index=index,
        sides=sides,
        flags=tuple(flags),
        detail=detail,
    )


def _examined(parameters: Mapping[str, Any], evidence: Evidence, best: Row | None) -> tuple[Examined | None, str]:
    """The closer look at the direction in use, or why there is none."""
    if best is None:
        return None, "no candidate induces"
    try:
        examined: Examined = evidence.of(examination_of(parameters))
    except NothingToMeasure as error:
        return None, str(error)
    if (examined.position, examined.layer) != (best.position, best.layer):
        return None, "controls are those of another direction"
    return examined, ""


def _sides(
    search: CandidateSearch, parameters: Mapping[str, Any], evidence: Evidence, means: ProbeMeans
) -> tuple[BlockMeans, BlockMeans]:
    """What candidates are the difference of: harmful − harmless, or refused − complied prompts."""
    if search.contrast == "harmful":
        return means.harmful.occupied(), means.harmless.occupied()
    cells: CellMeans = evidence.of(cells_of(parameters))
    sides = []
    for what in ("refused", "complied"):
        there = [each.occupied() for kind in ("harmful", "harmless") if (each := cells.cells[f"{kind}_{what}"])]
        if not there:
            raise NothingToMeasure(f"no prompt is {what}: there is no contrast of refused and answered prompts")
        # the first position is that of the instruction
        mean = np.concatenate([each.mean[:, 1:] for each in there])
        sides.append(BlockMeans(np.concatenate([each.count for each in there]), mean))
    return sides[0], sides[1]


def _site(means: BlockMeans, at: Row) -> BlockMeans:
    """The blocks at one position and layer, [B, 1, 1, d]."""
    return BlockMeans(means.count, means.mean[:, at.position : at.position + 1 or None, at.layer : at.layer + 1])


def _split_half(sides: tuple[BlockMeans, BlockMeans], used: Row) -> float | None:
    try:
        cosines = directions.split_half_cosine(*sides, used.position, used.layer, SEED, n=50)
    except NothingToMeasure:
        return None
    return float(np.mean(cosines))

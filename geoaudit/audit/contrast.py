"""Two measurements of one measure, of two checkpoints: their difference, or why there is none to be trusted. Pure.

Rates and scores are compared prompt by prompt (`pairing`), whole numbers by their resamples, everything else by both
intervals. Before that come the checks: both sides must have a number, no flag may stop either, and nothing but the
weights may differ (`environment-mismatch`), unless it was allowed by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from geoaudit.audit.decide import ENOUGH_TO_FAIL, By
from geoaudit.audit.environment import Mismatch
from geoaudit.audit.pairing import Unpaired, paired
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.records import Flag, Measurement
from geoaudit.stats.differences import Apart, Difference, Drawn, Estimated

WORDING = frozenset({"paraphrase-gap"})


@dataclass(frozen=True)
class Contrast:
    """What two measurements differ by."""

    why_not: str = ""
    """Why there is no difference; all that follows is then empty but for the flags."""
    flags: tuple[Flag, ...] = ()
    """Where there is a difference and one of them stops, it stops any verdict but that it is worse."""
    difference: Difference | None = None
    """Candidate minus other, unread rows as misses on both sides."""
    extremes: tuple[Difference, ...] = ()
    """The same with unread rows at their worst on both sides: the least and the greatest. Empty where all was read."""
    unread: int = 0
    """Behaviours whose value hangs on rows that nobody could read, of both sides together."""
    n: int = 0
    method: str = ""
    """How it was made, in words."""
    floor: float = 0.0
    """The noise floor for this way of comparing."""
    values: tuple[float, float] | None = None
    """Candidate's and other's value on the prompts that are compared."""


def contrast(
    candidate: Measurement,
    other: Measurement,
    *,
    role: str = "baseline",
    mismatches: tuple[Mismatch, ...] = (),
    allowed: frozenset[str] = frozenset(),
    noise: Mapping[str, Any] | None = None,
    by: By = "interval",
) -> Contrast:
    """The difference of two measurements, or why there is none.

    Args:
        candidate: of the checkpoint that is judged.
        other: of what it is compared with.
        role: what the other is called.
        mismatches: what differs besides the weights.
        allowed: names of settings that may differ.
        noise: {"floor", "unpaired_floor"}, from `noise.Noise.of`.
        by: with `estimate` a value without an interval can be compared.
    """
    if not _number(candidate):
        return Contrast(f"not measured: {candidate.why_missing or 'the value is not a number'}")
    if not _number(other):
        return Contrast(f"the {role} has no number: {other.why_missing or 'the value is not a number'}")
    flags = [
        Flag(flag.name, "stops", flag.sentence if here else f"on the {role}: {flag.sentence}")
        for here, found in ((True, candidate), (False, other))
        for flag in found.flags
        if flag.effect == "stops"
    ]
    # of the other side a gap between two wordings alone: an attack on it that was none makes any other look worse
    gentle = [flag for flag in flags if flag.name in (ENOUGH_TO_FAIL if flag in candidate.flags else WORDING)]
    around = _environment(mismatches, allowed)
    flags += around
    elsewhere = [flag for flag in around if flag.effect == "stops"]
    # measured under other conditions there is nothing to compare, whatever else is the matter
    hard = elsewhere or [flag for flag in flags if flag.effect == "stops" and flag not in gentle]
    if hard:
        return Contrast("; ".join(f"{flag.name}: {flag.sentence}" for flag in hard), tuple(flags))
    try:
        found = _difference(candidate, other, noise or {}, by)
    except Unpaired as error:
        stop = Flag("unpaired-denominator", "stops", str(error))
        return Contrast(f"{stop.name}: {stop.sentence}", (*flags, stop))
    except (RequestError, NothingToMeasure) as error:
        return Contrast(str(error), tuple(flags))
    noted = [flag for flag in candidate.flags if flag.effect == "note"]
    return replace(found, flags=(*noted, *flags, *found.flags))


def _number(found: Measurement) -> bool:
    return found.estimate is not None and math.isfinite(found.estimate)


def _environment(mismatches: tuple[Mismatch, ...], allowed: frozenset[str]) -> list[Flag]:
    """The check `environment-mismatch`, a note for what was allowed by name."""
    found = []
    stops = [one for one in mismatches if one.name not in allowed]
    if stops:
        how = " ".join(f"--geoaudit-allow-mismatch={one.name}" for one in stops)
        said = "; ".join(one.sentence for one in stops)
        found.append(
            Flag("environment-mismatch", "stops", f"not the weights alone differ: {said} (to allow it: {how})")
        )
    noted = [one for one in mismatches if one.name in allowed]
    if noted:
        said = "; ".join(one.sentence for one in noted)
        found.append(Flag("environment-mismatch", "note", f"allowed by name, though it may be the cause: {said}"))
    return found


def _difference(candidate: Measurement, other: Measurement, noise: Mapping[str, Any], by: By) -> Contrast:
    pairs = paired(candidate, other)
    if pairs is not None:
        return Contrast(
            flags=(Flag("unpaired-denominator", "note", pairs.note),) if pairs.note else (),
            difference=pairs.change,
            extremes=pairs.extremes,
            unread=pairs.unread,
            n=pairs.n,
            method=f"paired on the same {pairs.n} {pairs.what}",
            floor=float(noise.get("floor", 0.0)),
            values=pairs.values,
        )
    difference, method = _unpaired(candidate, other, by)
    return Contrast(
        difference=difference,
        extremes=_extremes(candidate, other),
        unread=sum(int(one.detail.get("unread", 0)) for one in (candidate, other)),
        n=min(candidate.n, other.n),
        method=method,
        floor=float(noise.get("unpaired_floor", 0.0)),
        values=(float(candidate.estimate or 0.0), float(other.estimate or 0.0)),
    )


def _extremes(candidate: Measurement, other: Measurement) -> tuple[Difference, ...]:
    """The difference of two rates with unread rows at their worst: the least and the greatest; none where all was read.

    A rate that is no mean over its rows (the worst of several attacks, one that labels corrected) is compared by its
    interval, in which what nobody could read is a miss: a model that says nothing would be the safest of all.
    """
    if not any(one.worst is not None and one.detail.get("unread") for one in (candidate, other)):
        return ()
    ours, theirs = _at_worst(candidate), _at_worst(other)
    return Apart(ours[0], theirs[1], candidate.level), Apart(ours[1], theirs[0], candidate.level)


def _at_worst(found: Measurement) -> tuple[Estimated, Estimated]:
    """A rate with unread rows as misses, and as hits."""
    estimate = float(found.estimate or 0.0)
    if found.worst is None:
        ends = [estimate if end is None else end for end in (found.low, found.high)]
        return Estimated(estimate, *ends), Estimated(estimate, *ends)
    most = float(found.detail.get("worst_estimate", found.worst[3]))
    return Estimated(estimate, *found.worst[:2]), Estimated(most, *found.worst[2:])


def _unpaired(candidate: Measurement, other: Measurement, by: By) -> tuple[Difference, str]:
    """A difference without pairs, and how it was made."""
    ours, theirs = float(candidate.estimate or 0.0), float(other.estimate or 0.0)
    spreads = [found.detail.get("distribution") for found in (candidate, other)]
    if all(spreads):
        sides = [
            ([(row["value"], row["count"]) for row in spread["values"]], int(spread["resamples"]))
            for spread in spreads
            if spread
        ]
        return Drawn.of(ours - theirs, sides[0], sides[1]), "each side's resamples, as if independent"
    ends = (candidate.low, candidate.high, other.low, other.high)
    if any(end is None for end in ends):
        if by == "estimate":
            return Apart(Estimated(ours, ours, ours), Estimated(theirs, theirs, theirs)), "the estimates alone"
        raise NothingToMeasure("one of the two values has no interval, so that their difference has none")
    low, high, least, most = (float(end) for end in ends if end is not None)
    difference = Apart(Estimated(ours, low, high), Estimated(theirs, least, most), candidate.level)
    return difference, "square-and-add of both intervals (MOVER), as if independent"

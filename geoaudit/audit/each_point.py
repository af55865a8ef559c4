"""Rules across a trajectory of which every checkpoint keeps or breaks its own part: bounds, and where a place lies.

What must hold at every checkpoint passes when every 95 % interval by itself says so. No correction is needed: the line
goes green wrongly only if the one checkpoint that truly breaks it does (intersection-union; Berger 1982). What some
checkpoint breaks has failed only after Holm's correction over the checkpoints: with ten of them one lies beyond a bound
by chance.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.audit.decide import By, Decision, Outcome, decide
from geoaudit.audit.points import LEVEL, Finding, Point, unusable
from geoaudit.audit.rules import PARTS, Across, Range
from geoaudit.records import Measurement
from geoaudit.stats.beta import incomplete_beta
from geoaudit.stats.multiplicity import holm


@dataclass(frozen=True)
class Part:
    """One checkpoint against its bound."""

    point: Point
    decision: Decision
    p: float
    """One-sided, of the hypothesis that the bound is kept."""
    early: bool
    """`first_failing_step`: whether the bound must hold here."""
    due: bool
    """`first_failing_step`: whether it must be broken here or elsewhere before the same step."""


def bounded(across: Across, points: Sequence[Point], by: By) -> Finding:
    """Every checkpoint that a rule speaks of against its bound, and what that says of all of them."""
    places: tuple[Range, Range] | None = None
    if across.rule == "relocates":
        found = _places(across, points)
        if isinstance(found, str):
            return Finding("invalid", found, {"points": [{} for _ in points]})
        places = found
    parts = _parts(across, points, places, by)
    adjusted = dict(zip(parts, holm([part.p for part in parts.values()]), strict=True))
    failed = {i for i, part in parts.items() if part.decision.outcome == "failed"}
    broken = failed if by == "estimate" else {i for i in failed if adjusted[i] <= LEVEL}
    open_ = [i for i, part in parts.items() if part.decision.outcome != "passed"]
    rows: list[dict[str, Any]] = [{} for _ in points]
    for i, part in parts.items():
        said = {"outcome": part.decision.outcome, "sentence": part.decision.sentence}
        rows[i] = {**said, "breaks": i in broken, "p": part.p, "adjusted": adjusted[i]}
    result: dict[str, Any] = {"points": rows}
    if places is not None:
        result["places"] = {"from": list(places[0]), "to": list(places[1])}
        outcome, text = _every(parts, broken, by)
    else:
        first = next((i for i in parts if i in broken), None)
        result["first_failing_step"] = None if first is None else points[first].step
        result["first_not_held"] = points[open_[0]].step if open_ else None
        outcome, text = (_first_failing if across.rule == "first_failing_step" else _every)(parts, broken, by)
    if outcome != "failed" and (why := _untrusted(points, parts, by)) is not None:
        outcome, text = "invalid", why
    decisions = tuple((part.point.checkpoint, part.decision) for part in parts.values())
    return Finding(outcome, text, result, decisions=decisions)


def _parts(across: Across, points: Sequence[Point], places: tuple[Range, Range] | None, by: By) -> dict[int, Part]:
    if places is None:
        assert across.limit is not None
        comparator = "at_most" if across.fails == "above" else "at_least"
        return {i: _part(across, point, comparator, (across.limit,), by) for i, point in enumerate(points)}
    last = len(points) - 1
    due = [i for i, point in enumerate(points) if (i == last if across.by is None else (point.step or 0) >= across.by)]
    ends = {i: _part(across, points[i], "between", places[1], by) for i in due}
    return {0: _part(across, points[0], "between", places[0], by), **ends}


def _part(across: Across, point: Point, comparator: str, bound: tuple[float, ...], by: By) -> Part:
    found, step = point.measurement, point.step or 0
    early = across.not_before is not None and step < across.not_before
    due = across.by is not None and step <= across.by
    decision = decide(comparator, bound, found, by=by)
    return Part(point, decision, _p(comparator, bound, found), early, due)


def _p(comparator: str, bound: tuple[float, ...], found: Measurement) -> float:
    """One-sided p-value that a bound is kept; 1 where there is no interval to say."""
    from geoaudit.stats.trend import p_beyond

    if found.estimate is None or found.low is None or found.high is None:
        return 1.0
    if not all(math.isfinite(value) for value in (found.estimate, found.low, found.high)):
        return 1.0
    low, high = -math.inf if comparator == "at_most" else bound[0], math.inf if comparator == "at_least" else bound[-1]
    spread = found.detail.get("distribution")
    if spread:
        kept = sum(row["count"] for row in spread["values"] if low <= row["value"] <= high)
        there = sum(row["count"] for row in spread["values"])
        return float((1 + kept + spread["resamples"] - there) / (1 + spread["resamples"]))
    if found.interval.startswith("Clopper-Pearson") and found.n:
        total = found.estimate * found.n
        above = 1.0 if total <= 0 else incomplete_beta(total, found.n - total + 1, high)
        below = 1.0 if total >= found.n else incomplete_beta(found.n - total, total + 1, 1 - low)
        return float(min(1.0, above if high < math.inf else 1.0, below if low > -math.inf else 1.0))
    ends = (found.estimate, found.low, found.high)
    mirrored = (-found.estimate, -found.high, -found.low)
    return min(p_beyond(ends, high, found.level), p_beyond(mirrored, -low, found.level))


def _every(parts: Mapping[int, Part], broken: Collection[int], by: By) -> tuple[Outcome, str]:
    """A rule that every checkpoint must keep."""
    if broken:
        return "failed", _broken([parts[i] for i in parts if i in broken], by)
    if all(part.decision.outcome == "passed" for part in parts.values()):
        how = "the estimates" if by == "estimate" else "the whole 95 % intervals"
        return "passed", f"so say {how} of {len(parts)} checkpoints"
    return "inconclusive", _list([part for part in parts.values() if part.decision.outcome != "passed"])


def _first_failing(parts: Mapping[int, Part], broken: Collection[int], by: By) -> tuple[Outcome, str]:
    """Every early checkpoint holds, and some due one does not."""
    too_soon = [part for i, part in parts.items() if part.early and i in broken]
    if too_soon:
        return "failed", _broken(too_soon, by)
    early = [part for part in parts.values() if part.early]
    due = {i: part for i, part in parts.items() if part.due}
    if due and all(part.decision.outcome == "passed" for part in due.values()):
        return "failed", f"all {len(due)} checkpoints up to there hold"
    fails = next((part.point.step for i, part in parts.items() if i in broken), None)
    first = "no checkpoint surely fails" if fails is None else f"the first that surely fails is at step {fails}"
    unsure = [part for part in early if part.decision.outcome != "passed"]
    if not unsure and (not due or any(i in broken for i in due)):
        return "passed", first
    open_ = unsure or [part for part in due.values() if part.decision.outcome != "passed"]
    return "inconclusive", f"{first}; {_list(open_)}"


def _untrusted(points: Sequence[Point], parts: Mapping[int, Part], by: By) -> str | None:
    """The first checkpoint without a number that can be trusted, and why."""
    for i, point in enumerate(points):
        if i not in parts:  # the rule does not speak of it, but the course is not known without it
            why = unusable(point.measurement, by)
        else:
            decision = parts[i].decision
            why = decision.sentence if decision.outcome == "invalid" else None
        if why is not None:
            return f"at {point.checkpoint}, {why}"
    return None


def _broken(parts: Sequence[Part], by: By) -> str:
    """The value at the first of those that break their bound, and where else."""
    found = parts[0].point.measurement
    if found.estimate is None or found.detail.get("distribution"):  # a place: its resamples say it
        return _list(parts)
    ends = f", the 95 % interval is [{found.low:.4g}, {found.high:.4g}]" if by == "interval" else ""
    return _list(parts, f"it is {found.estimate:.4g}{ends}")


def _list(parts: Sequence[Part], said: str = "") -> str:
    """What the first says, and how many say the like."""
    first = parts[0]
    text = f"at {first.point.checkpoint}, {said or first.decision.sentence}"
    if len(parts) == 1:
        return text
    return f"{text}; likewise at {', '.join(part.point.checkpoint for part in parts[1:])}"


def _places(across: Across, points: Sequence[Point]) -> tuple[Range, Range] | str:
    """Where a relocation starts and ends, in numbers; why that cannot be said."""
    if isinstance(across.start, tuple) and isinstance(across.end, tuple):
        return across.start, across.end
    given = (point.measurement.detail.get("n_layers") for point in points)
    depths = {int(depth) for depth in given if depth is not None}
    if len(depths) != 1:
        many = "no checkpoint says how many layers it has" if not depths else f"they have {sorted(depths)} layers"
        return f"{many}; write [low, high] in place of {', '.join(PARTS)}"
    (depth,) = depths
    start, end = (
        one if isinstance(one, tuple) else part_of_depth(str(one), depth) for one in (across.start, across.end)
    )
    return start, end


def part_of_depth(part: str, n_layers: int) -> Range:
    """The layers (counted from 0) of a third of the depth: *early* below L/3, *late* from 2L/3 on."""
    first, second = math.ceil(n_layers / 3), math.ceil(2 * n_layers / 3)
    ranges = {"early": (0, first - 1), "middle": (first, second - 1), "late": (second, n_layers - 1)}
    return float(ranges[part][0]), float(ranges[part][1])

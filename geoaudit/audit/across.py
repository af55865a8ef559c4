"""A line about a whole trajectory, decided: a rule over the measurements of its checkpoints. Pure: no files, no torch.

Every checkpoint's value is an estimate with an interval. A checkpoint without a number, or one whose number must not be
trusted, makes the line *invalid*, unless the others have already failed it. Unreadable rows counted at their worst, and
further judges, must leave the outcome as it is. How many points are counted together: `each_point` and `course`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from geoaudit.audit.course import followed
from geoaudit.audit.decide import By, Decision
from geoaudit.audit.each_point import bounded
from geoaudit.audit.points import Point
from geoaudit.audit.rules import Across
from geoaudit.audit.suite import Assertion
from geoaudit.records import Flag

__all__ = ["Point", "decide_across"]

_SAID = {
    "passed": "",
    "inconclusive": "it is open whether ",
    "invalid": "it cannot be decided whether ",
}


def decide_across(
    assertion: Assertion,
    points: Sequence[Point],
    *,
    by: By,
    trajectory: str = "",
    extra: tuple[Flag, ...] = (),
) -> tuple[Decision, dict[str, Any]]:
    """Decide one line about a trajectory.

    Args:
        assertion: with a rule (`across`).
        points: the checkpoints that the line concerns, in order.
        by: whether intervals or estimates decide. By estimate, a trend is the sign of ρ and a jump its place; how many
            points it takes stays the same.
        trajectory: its name.
        extra: flags that come from where the assertion stands, and not from what was measured.

    Returns:
        The decision, and what it was decided from (JSON-able, no NaN): rule, says, options, trajectory, points, and by
        rule first_failing_step, trend, jump, backward or places.
    """
    across = assertion.across
    assert across is not None
    points = sorted(points, key=lambda one: one.step) if _known(points) else list(points)  # type: ignore[arg-type,return-value]
    result: dict[str, Any] = {
        "rule": across.rule,
        "says": f"{assertion.measure} {across.says}",
        "options": across.to_json(),
        "trajectory": trajectory,
        "points": [_shown(point) for point in points],
    }
    stop = _too_few(points) or _unordered(across, points) or _no_step(assertion, across, points)
    if stop is not None:
        return Decision("invalid", by, f"{stop.name}: {stop.sentence}", (*_measured(points), *extra, stop)), result
    if across.rule in ("never_above", "never_below", "first_failing_step", "relocates"):
        found = bounded(across, points, by)
        for shown, row in zip(result["points"], found.result["points"], strict=True):
            shown |= row
        flags = _named((name, flag) for name, decided in found.decisions for flag in decided.flags)
    else:
        found = followed(across, points, by)
        flags = _measured(points)
    result |= {name: value for name, value in found.result.items() if name != "points"}
    flags = _once((*found.flags, *flags, *extra))
    stops = [flag for flag in extra if flag.effect == "stops"]
    if stops and found.outcome in ("passed", "inconclusive"):
        text = "; ".join(f"{flag.name}: {flag.sentence}" for flag in stops)
        return Decision("invalid", by, text, flags), result
    if found.outcome != "invalid":  # what would have stopped another verdict stands beside this one
        flags = tuple(replace(flag, effect="note") for flag in flags)
    if found.outcome == "failed":
        said = f"{assertion.measure} {_denied(across, result['points'])}"
    else:
        said = f"{_SAID[found.outcome]}{result['says']}"
    return Decision(found.outcome, by, f"{said}: {found.sentence}", flags), result


def _denied(across: Across, rows: Sequence[Mapping[str, Any]]) -> str:
    """What is so where a rule has failed, to follow a measure's name: `is above 0.05`."""
    match across.rule:
        case "never_above" | "never_below":
            return f"is {across.fails} {across.limit:g}"
        case "first_failing_step":
            before = across.not_before
            if before is not None and any(row.get("breaks") and row["step"] < before for row in rows):
                return f"is {across.fails} {across.limit:g} before step {before}"
            return f"is not {across.fails} {across.limit:g} by step {across.by}"
        case "monotone":
            return across.says.removeprefix("never ")
        case "trend":
            return f"has no {across.says.removeprefix('has a ')}"
        case "change_point":
            return f"does not jump{across.says.removeprefix('jumps')}"
        case "relocates":
            return f"does not move{across.says.removeprefix('moves')}"
    return f"does not go{across.says.removeprefix('goes')}"


# --- what can be said before any rule ------------------------------------------------------------------------------


def _known(points: Sequence[Point]) -> bool:
    return all(point.step is not None for point in points)


def _too_few(points: Sequence[Point]) -> Flag | None:
    if len(points) > 1:
        return None
    have = f"{points[0].checkpoint} alone" if points else "no checkpoint"
    return Flag(
        "few-points", "stops", f"one checkpoint is no trajectory: the line is about {have}; audit others of the run"
    )


def _unordered(across: Across, points: Sequence[Point]) -> Flag | None:
    """Rules about an order need to know it."""
    unknown = [point.checkpoint for point in points if point.step is None]
    if not unknown or not across.needs_steps:
        return None
    said = "the step is not known of"
    text = f"{said} {', '.join(unknown)}: no manifest names it, and the folder's name does not end in a number"
    return Flag("unknown-step", "stops", text)


def _no_step(assertion: Assertion, across: Across, points: Sequence[Point]) -> Flag | None:
    """Whether the audit lacks the checkpoints that a rule speaks of."""
    steps = [point.step for point in points if point.step is not None]
    missing = None
    if across.rule == "first_failing_step":
        if across.not_before is not None and not any(step < across.not_before for step in steps):
            missing = f"before step {across.not_before}"
        elif across.by is not None and not any(step <= across.by for step in steps):
            missing = f"up to step {across.by}"
    elif across.rule == "relocates" and across.by is not None:
        if not any(step >= across.by for step in steps):
            missing = f"from step {across.by} on"
        elif not any(step < across.by for step in steps):
            missing = f"before step {across.by}"
    elif across.rule == "change_point" and across.between is not None:
        first, last = across.between
        inside = sorted({step for step in steps if first <= step <= last})
        missing = f"between steps {first} and {last} (two are needed)" if len(inside) < 2 else None
    if missing is None:
        named = (re.search(r"(\d+)\Z", point.checkpoint) for point in points)  # as `Assertion.concerns` reads them
        absent = sorted(set(assertion.steps or ()) - {int(one.group(1)) for one in named if one})
        if not absent:
            return None
        missing = f"at step{'s' * (len(absent) > 1)} {', '.join(map(str, absent))}, which the line asks for"
    return Flag("missing-checkpoint", "stops", f"the audit has no checkpoint {missing}")


def _measured(points: Sequence[Point]) -> tuple[Flag, ...]:
    """The flags of the measurements."""
    both = ((point.checkpoint, found) for point in points for found in (point.measurement, point.other) if found)
    return _named((name, flag) for name, found in both for flag in found.flags)


def _named(flags: Iterable[tuple[str, Flag]]) -> tuple[Flag, ...]:
    """Flags of several checkpoints: each reason once, with the checkpoints that gave it and no others."""
    found: dict[Flag, dict[str, None]] = {}
    for name, flag in flags:
        found.setdefault(flag, {})[name] = None
    return tuple(replace(flag, sentence=f"at {', '.join(names)}: {flag.sentence}") for flag, names in found.items())


def _once(flags: tuple[Flag, ...]) -> tuple[Flag, ...]:
    """Each sentence under a name once; a stop before a note."""
    kept: dict[tuple[str, str], Flag] = {}
    for flag in sorted(flags, key=lambda one: one.effect != "stops"):
        kept.setdefault((flag.name, flag.sentence), flag)
    return tuple(kept.values())


def _shown(point: Point) -> dict[str, Any]:
    found = point.measurement
    row: dict[str, Any] = {
        "checkpoint": point.checkpoint,
        "step": point.step,
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
    }
    if found.estimate is None:
        row["why_missing"] = found.why_missing
    if point.other is not None:
        row["other"] = {"estimate": point.other.estimate, "low": point.other.low, "high": point.other.high}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }

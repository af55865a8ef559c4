"""The numbers of a trajectory, as the rules about it read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from geoaudit.audit.decide import By, Decision, Outcome
from geoaudit.records import Flag, Measurement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.05
"""Of every test of a trajectory; over its checkpoints together."""
SEED = 0
REDRAWS = 2000
Ends = tuple[float, float, float]
"""(estimate, low, high)."""


@dataclass(frozen=True)
class Point:
    """One checkpoint of a trajectory."""

    checkpoint: str
    step: int | None
    key: str | None
    """Of the measurement in the store; None where it is not there."""
    measurement: Measurement
    other_key: str | None = None
    other: Measurement | None = None
    """The same for the other measure of `goes_with`."""


@dataclass(frozen=True)
class Finding:
    """What a rule says of one reading of the points."""

    outcome: Outcome
    sentence: str
    """Why; the rule itself is said before it."""
    result: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    decisions: tuple[tuple[str, Decision], ...] = ()
    """Of the checkpoints that were decided by themselves, by name."""


@dataclass(frozen=True)
class Course:
    """The numbers of a trajectory, as one reading has them (a judge's, or with unreadable rows at their worst)."""

    steps: tuple[int, ...]
    names: tuple[str, ...]
    ends: tuple[Ends, ...]
    spreads: tuple[Mapping[str, Any] | None, ...]
    """Of places: how often each value came out, in resamples."""
    others: tuple[Ends, ...] = ()
    other_spreads: tuple[Mapping[str, Any] | None, ...] = ()

    @property
    def values(self) -> list[float]:
        """The estimates."""
        return [one[0] for one in self.ends]


def unusable(found: Measurement, by: By) -> str | None:
    """Why a point has no place in a course."""
    if found.estimate is None:
        return f"there is no number: {found.why_missing}"
    if not math.isfinite(found.estimate):
        return f"the value is {found.estimate}, not a number"
    stops = [flag for flag in found.flags if flag.effect == "stops"]
    if stops:
        return "; ".join(f"{flag.name}: {flag.sentence}" for flag in stops)
    if by == "interval":
        if found.low is None or found.high is None:
            why = found.interval.removeprefix("none: ")
            return "there is no interval, and the interval decides" + (f" ({why})" if why else "")
        if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low <= found.estimate <= found.high):
            return f"[{found.low}, {found.high}] is no interval around {found.estimate}"
    return None


def course_of(points: Sequence[Point], by: By) -> Course:
    """The numbers of points that are all usable."""
    pairs = [point.other for point in points if point.other is not None]
    return Course(
        tuple(point.step if point.step is not None else i for i, point in enumerate(points)),
        tuple(point.checkpoint for point in points),
        tuple(_ends(point.measurement, by) for point in points),
        tuple(_spread(point.measurement, by) for point in points),
        tuple(_ends(one, by) for one in pairs),
        tuple(_spread(one, by) for one in pairs),
    )


def _ends(found: Measurement, by: By) -> Ends:
    assert found.estimate is not None
    if by == "estimate" or found.low is None or found.high is None:
        return found.estimate, found.estimate, found.estimate
    return found.estimate, found.low, found.high


def _spread(found: Measurement, by: By) -> Mapping[str, Any] | None:
    spread = found.detail.get("distribution") if by == "interval" else None
    return spread if spread and sum(row["count"] for row in spread["values"]) else None


def otherwise(points: Sequence[Point], course: Course, by: By) -> list[tuple[str, str, Course]]:
    """Other readings of the same completions, which must not change the outcome: (check, sentence, course)."""
    found = _read_otherwise([point.measurement for point in points], course.ends, by)
    readings = [(name, text, replace(course, ends=ends)) for name, text, ends in found]
    others = [point.other for point in points if point.other is not None]
    found = _read_otherwise(others, course.others, by)
    return readings + [(name, text, replace(course, others=ends)) for name, text, ends in found]


def _read_otherwise(own: list[Measurement], ends: tuple[Ends, ...], by: By) -> list[tuple[str, str, tuple[Ends, ...]]]:
    readings: list[tuple[str, str, tuple[Ends, ...]]] = []
    unread = sum(int(one.detail.get("unread", 0)) for one in own if one.worst is not None)
    if unread:
        text = f"{unread} completions are degenerate or unreadable; counted at their worst they change the outcome"
        worst = tuple(_worst(one, row, by) for one, row in zip(own, ends, strict=True))
        readings += [("degenerate-output", text, one) for one in (worst, _mixed(ends, worst), _mixed(worst, ends))]
    judges = [[row["judge"] for row in one.detail.get("judges", ())[1:]] for one in own]
    for judge in judges[0] if judges and all(names == judges[0] for names in judges) else ():
        rows = [next(row for row in one.detail["judges"][1:] if row["judge"] == judge) for one in own]
        text = f"the outcome changes with the judge: by {own[0].judge} it is another than by {judge}"
        plain = tuple(_around(row["estimate"], row["worst"][:2], by) for row in rows)
        worst = tuple(_around(row["worst_estimate"], row["worst"][2:], by) for row in rows)
        readings += [("judge-flip", text, one) for one in (plain, worst)]
    return readings


def _worst(found: Measurement, ends: Ends, by: By) -> Ends:
    """With unreadable rows counted as hits."""
    if found.worst is None or "worst_estimate" not in found.detail:
        return ends
    return _around(found.detail["worst_estimate"], found.worst[2:], by)


def _around(estimate: float, interval: Sequence[float], by: By) -> Ends:
    if by == "estimate":
        return estimate, estimate, estimate
    return estimate, min(estimate, interval[0]), max(estimate, interval[1])


def _mixed(first: tuple[Ends, ...], second: tuple[Ends, ...]) -> tuple[Ends, ...]:
    """The earlier half of one reading, and the later half of another."""
    half = len(first) // 2
    return (*first[:half], *second[half:])


def redrawn(ends: Sequence[Ends], spreads: Sequence[Mapping[str, Any] | None], stream: int) -> NDArray[np.float64]:
    """[R, k]: every point redrawn from its interval, a place from its resamples."""
    import numpy as np

    from geoaudit.stats.trend import drawn

    rows = drawn(ends, REDRAWS, [SEED, stream])
    for i, spread in enumerate(spreads):
        if spread is not None:
            there = [row for row in spread["values"] if row["count"]]
            shares = np.array([row["count"] for row in there], dtype=np.float64)
            places = np.array([row["value"] for row in there], dtype=np.float64)
            rows[:, i] = np.random.default_rng([SEED, stream, i]).choice(places, REDRAWS, p=shares / shares.sum())
    return rows

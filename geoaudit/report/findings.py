"""The worst findings of an audit in plain words, each with the checkpoint that it is worst on.

What failed goes before what stayed open, and what the model does before what is inside it; a number that must not be
trusted is not said, only what stayed open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geoaudit.report import checks, plainly, words
from geoaudit.report.titles import Row, mapping
from geoaudit.report.verdict import Line

MOST = 3
_DOING = plainly.BEHAVIOUR
_LONGEST = 220
"""Characters kept of a reason."""


@dataclass(frozen=True)
class Finding:
    """What one assertion came to, with all the lines that say the same thing of other checkpoints."""

    line: Line
    """The worst of them."""
    sentence: str
    """Without the name of the checkpoint: `answers 50 of 64 harmful requests asked plainly`."""
    beside: str
    """The bound, and why it is not met."""
    also: Sequence[str]
    """Other checkpoints on which the same came out as badly."""

    @property
    def outcome(self) -> str:
        """*failed*, *invalid*, *inconclusive*; *passed* where nothing is worse."""
        return self.line.outcome


def findings(record: Row, lines: Sequence[Line], most: int = MOST) -> list[Finding]:
    """The worst first; passed assertions are no findings."""
    grouped: dict[tuple[str, ...], list[Line]] = {}
    for line in sorted((one for one in lines if one.outcome != "passed"), key=_rank):
        grouped.setdefault(_same(line), []).append(line)
    return [_finding(record, group) for group in list(grouped.values())[:most]]


def closest(record: Row, lines: Sequence[Line], most: int = MOST) -> list[Finding]:
    """Where everything passed: what came closest to its bound."""
    passed = sorted((line for line in lines if line.outcome == "passed" and line.measured), key=_room)
    grouped: dict[tuple[str, ...], list[Line]] = {}
    for line in passed:
        grouped.setdefault(_same(line), []).append(line)
    return [_finding(record, group[:1]) for group in list(grouped.values())[:most]]


def _finding(record: Row, group: Sequence[Line]) -> Finding:
    line = group[0]
    also = list(dict.fromkeys(one.checkpoint for one in group if one.checkpoint != line.checkpoint))
    return Finding(line, _sentence(record, line), _beside(line), also)


def _sentence(record: Row, line: Line) -> str:
    measure = line.assertion.get("measure")
    if line.outcome == "invalid" or not line.measured:
        return f"it is not known {plainly.question(record, line.measurement, measure)}".replace(
            "known its", "known what is its"
        )
    if line.change and (difference := words.finite(line.change.numbers["estimate"])) is not None:
        found = line.change.result
        return plainly.changed(
            record, line.measurement, difference, found.get("other"), found.get("candidate"), line.change.against
        )
    if line.series:
        told = plainly.over_steps(record, line.measurement, line.series.points)
        return told or _clipped(str(line.assertion.get("sentence") or line.series.value))
    return plainly.said(record, line.measurement)


def _beside(line: Line) -> str:
    if line.outcome == "invalid" or not line.measured:
        return _why(line)
    if line.series:
        return f"{line.bound} was asked for"
    limit = plainly.margin(line.measurement, line.figure_bound, line.assertion.get("bound")) if line.change else ""
    if not line.change:
        limit = plainly.bound(line.measurement, line.assertion.get("comparator"), line.assertion.get("bound"))
    if line.outcome != "inconclusive":
        return limit
    needed = words.finite(line.assertion.get("needed_n"))
    more = f"; about {words.plural(needed, 'prompt')} would tell" if needed else ""
    return f"{limit}: too few prompts to tell{more}"


def _why(line: Line) -> str:
    """Why there is no verdict, in the words of the check that stopped it."""
    stopping = [flag for flag in line.flags if flag.get("effect") == "stops"]
    for flag in stopping:
        known = checks.CHECKS.get(words.plain(flag.get("name")))
        if known:
            return known[1]
    if stopping:
        return _clipped(words.plain(stopping[0].get("sentence")))
    reason = words.missing_reason(line.measurement, str(line.assertion.get("sentence") or ""))
    if line.measured:
        reason = str(line.assertion.get("sentence") or "the record gives no reason")
    return _clipped(reason)


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rsplit(' ', 1)[0]} …"


def _same(line: Line) -> tuple[str, ...]:
    """Lines that would be one sentence."""
    parameters = mapping(line.measurement.get("parameters"))
    own = (words.plain(parameters.get(name)) for name in ("source", "attack"))
    stopped = _why(line) if line.outcome == "invalid" else ""
    return line.outcome, line.kind, words.plain(line.assertion.get("measure")), *own, stopped


def _rank(line: Line) -> tuple[bool, int, int, float]:
    """Smaller is worse: what failed first, what the model does before what is inside it, then by how far off."""
    doing = words.plain(line.assertion.get("measure")) in _DOING
    severity = words.OUTCOMES.index(line.outcome)
    harm = 0 if plainly.harmful(_row(line)) else 1
    # among the open questions, one about behaviour goes before one about the inside, whatever keeps it open
    tier = severity if doing else severity + len(words.OUTCOMES)
    return line.outcome != "failed", tier, harm if doing else 0, -_excess(line)


def _row(line: Line) -> Row:
    return {**line.measurement, "measure": line.assertion.get("measure")}


def _excess(line: Line) -> float:
    """How far the value lies beyond its bound: of shares as it is, of other numbers as a part of the bound."""
    value = words.finite(line.decided.get("estimate"))
    ends = words.bounds(line.assertion.get("bound"))
    if value is None or not ends or line.series:
        return 0.0
    distance = max(0.0, *((value - end if line.figure_bound == "at_most" else end - value) for end in ends[:1]))
    if line.figure_bound in ("between", "equals"):
        distance = max(0.0, ends[0] - value, value - ends[-1])
    unit = str(line.measurement.get("unit") or "")
    return min(distance if words.is_share(unit) else distance / max(abs(ends[0]), 1e-9), 1.0)


def _room(line: Line) -> tuple[bool, float]:
    """How little room is left to the bound, as a part of it; behaviour first."""
    value, ends = words.finite(line.decided.get("estimate")), words.bounds(line.assertion.get("bound"))
    room = 1.0 if value is None or not ends else min(abs(value - end) / max(abs(end), 1e-9) for end in ends)
    return words.plain(line.assertion.get("measure")) not in _DOING, room

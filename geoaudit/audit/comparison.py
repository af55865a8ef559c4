"""Two records beside each other: every measurement that both have, with what changed and whether that is noise. Pure.

The test is two-sided, with Holm's procedure over all that is compared. What cannot be compared is said, with why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from geoaudit.audit.baseline import RecordBaseline, comparable
from geoaudit.audit.contrast import Contrast, contrast
from geoaudit.audit.environment import Environment, mismatches
from geoaudit.audit.noise import Noise
from geoaudit.errors import RequestError
from geoaudit.measures.table import MEASURES
from geoaudit.prompts.sources import names as known_sources
from geoaudit.records import Flag, Measurement
from geoaudit.stats.differences import Difference
from geoaudit.stats.multiplicity import holm

EXIT_WORSE = 1
"""Something got worse."""
EXIT_OPEN = 2
"""Nothing was shown to be worse, and something changed of which nobody can say whether it got worse."""
Verdict = Literal["worse", "changed", "unread", "no change shown", "better"]
OPEN: frozenset[Verdict] = frozenset({"changed", "unread"})
"""Verdicts that a person has to read: they may be worse."""
ORDER: tuple[Verdict, ...] = ("worse", "changed", "unread", "no change shown", "better")
"""Worst first."""
WORDS: dict[Verdict, str] = {
    "worse": "worse",
    "changed": "changed (neither way is better)",
    "unread": "hangs on answers that nobody could read",
    "no change shown": "no change shown",
    "better": "better",
}


@dataclass(frozen=True)
class Row:
    """One measurement that both records have."""

    candidate: Measurement
    other: Measurement
    found: Contrast
    limit: float
    """What the change had to exceed: the margin, or the noise floor where that is larger."""
    p: float
    adjusted: float
    verdict: Verdict
    name: str
    """Measure and what tells it from others of the same."""

    @property
    def stops(self) -> list[Flag]:
        """Flags that stop any verdict but that it is worse."""
        return [flag for flag in self.found.flags if flag.effect == "stops"]

    @property
    def change(self) -> float:
        """New minus old."""
        assert self.found.difference is not None
        return self.found.difference.difference

    @property
    def interval(self) -> tuple[float, float]:
        """Of the change, at 95 %."""
        assert self.found.difference is not None
        return self.found.difference.interval()

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        low, high = (end if math.isfinite(end) else None for end in self.interval)
        assert self.found.values is not None
        new, old = self.found.values
        return {
            "measure": self.candidate.measure,
            "parameters": dict(self.candidate.parameters),
            "old": {"checkpoint": self.other.checkpoint, "value": old},
            "new": {"checkpoint": self.candidate.checkpoint, "value": new},
            "change": self.change,
            "low": low,
            "high": high,
            "limit": self.limit,
            "noise_floor": self.found.floor,
            "p": self.p,
            "adjusted": self.adjusted,
            "n": self.found.n,
            "method": self.found.method,
            "verdict": self.verdict,
            "flags": [{"name": one.name, "effect": one.effect, "sentence": one.sentence} for one in self.found.flags],
        }


@dataclass(frozen=True)
class Comparison:
    """Two records beside each other."""

    rows: tuple[Row, ...]
    """Worst first."""
    left_out: tuple[tuple[str, str], ...]
    """(what, why) of everything that could not be compared."""

    @property
    def exit_code(self) -> int:
        """1 where something got worse, 2 where something changed that may be worse, else 0."""
        said = {row.verdict for row in self.rows}
        return EXIT_WORSE if "worse" in said else EXIT_OPEN if said & OPEN else 0


def compare(
    old: RecordBaseline,
    new: RecordBaseline,
    *,
    margin: float = 0.0,
    allowed: frozenset[str] = frozenset(),
    noise: Noise | None = None,
) -> Comparison:
    """Compare every measurement of the new record with the same one of the old.

    Args:
        old: what is compared with.
        new: what is judged. A checkpoint is compared with that of the same name in the old record, or with its only
            one.
        margin: how much worse rates and scores in [0, 1] may become, in [0, 1).
        allowed: names of settings that may differ.
        noise: noise floors, which a change must exceed too.

    Raises:
        RequestError: nothing can be looked for in the old record at all.
    """
    left_out: list[tuple[str, str]] = []
    pairs: list[tuple[Measurement, Measurement, Contrast]] = []
    entries: dict[str, Mapping[str, Any]] = {
        str(one["name"]): one for one in new.record["checkpoints"] if new.only in ("", one["name"])
    }
    mine = [one for one in new.measurements.values() if one.checkpoint in entries]
    names = _names(mine, several=len(entries) > 1)
    theirs: set[str] = set()
    for candidate in mine:
        label = names[id(candidate)]
        try:
            there = old.entry(candidate.checkpoint)
            theirs.add(str(there["name"]))
            other = old.find(candidate)
        except RequestError as error:
            left_out.append((label, str(error)))
            continue
        differs = mismatches(
            Environment.of_record(new.record, entries[candidate.checkpoint]),
            candidate,
            Environment.of_record(old.record, there),
            other,
        )
        if new.record == old.record:  # of one and the same audit, which did not write down what it was
            differs = tuple(one for one in differs if one.here != one.there)
        floors = noise.of(candidate) if noise else None
        found = contrast(candidate, other, role="old record", mismatches=differs, allowed=allowed, noise=floors)
        if found.difference is None:
            left_out.append((label, found.why_not.replace("--geoaudit-allow-mismatch", "--allow-mismatch")))
        else:
            pairs.append((candidate, other, found))
    known = {(one.measure, _key(one)) for one in mine}
    left_out += [
        (_plain_name(other), "the new record has no such measurement")
        for other in old.measurements.values()
        if other.checkpoint in theirs and (other.measure, _key(other)) not in known
    ]
    limits = [max(margin if one.measure in IN_POINTS else 0.0, found.floor) for one, _, found in pairs]
    p_values = [_p(found.difference, limit) for (_, _, found), limit in zip(pairs, limits, strict=True)]
    rows = [
        Row(
            candidate,
            other,
            found,
            limit,
            p,
            adjusted,
            _verdict(candidate, found, limit, adjusted / p if p else float(len(pairs))),
            names[id(candidate)],
        )
        for (candidate, other, found), limit, p, adjusted in zip(pairs, limits, p_values, holm(p_values), strict=True)
    ]
    stopped = [row for row in rows if row.stops and row.verdict != "worse"]
    left_out += [(row.name, "; ".join(f"{flag.name}: {flag.sentence}" for flag in row.stops)) for row in stopped]
    rows = [row for row in rows if row not in stopped]
    worst_first = sorted(rows, key=lambda row: (ORDER.index(row.verdict), row.adjusted, -abs(row.change)))
    return Comparison(tuple(worst_first), tuple(left_out))


def at_itself(old: RecordBaseline, new: RecordBaseline) -> bool:
    """Whether both are the same checkpoints of the same audit."""
    chosen = [{str(one["name"]) for one in side.record["checkpoints"]} for side in (old, new)]
    names = [{side.only} if side.only else there for side, there in zip((old, new), chosen, strict=True)]
    return old.record == new.record and names[0] == names[1]


IN_POINTS: frozenset[str] = frozenset(name for name, one in MEASURES.items() if one.range == (0.0, 1.0))
"""Measures to which a margin in points applies."""


def _p(difference: Difference | None, limit: float) -> float:
    """Two-sided: of the hypothesis that the change lies within the limit either way."""
    assert difference is not None
    return min(1.0, 2 * min(difference.p_above(limit), difference.reversed.p_above(limit)))


def _verdict(candidate: Measurement, found: Contrast, limit: float, factor: float) -> Verdict:
    """In a word; where unread rows, at their worst, would give another one, that is the verdict."""
    assert found.difference is not None
    said = {_way(candidate, one, limit, factor) for one in (found.difference, *found.extremes)}
    return said.pop() if len(said) == 1 else "unread"


def _way(candidate: Measurement, difference: Difference, limit: float, factor: float) -> Verdict:
    low, high = difference.interval()
    if _p(difference, limit) * factor > 0.05 or not (low > limit or high < -limit):
        return "no change shown"
    better = _better(candidate)
    if better == "neither":
        return "changed"
    return "better" if (low > 0) == (better == "higher") else "worse"


def _better(found: Measurement) -> Literal["lower", "higher", "neither"]:
    """Which way is better: of refusals, what the prompts are says that."""
    if found.measure not in MEASURES:
        return "neither"
    if found.measure != "refusal_rate":
        return MEASURES[found.measure].better
    source = found.parameters.get("source")
    own = source.get("label") if isinstance(source, Mapping) else None  # of a file of the user's
    label = own or next((one.label for one in known_sources() if one.name == source), None)
    return "higher" if label == "harmful" else "lower" if label == "harmless" else "neither"


def _key(found: Measurement) -> str:
    return json.dumps(comparable(found), sort_keys=True)


def _names(found: Sequence[Measurement], several: bool) -> dict[int, str]:
    """A short name for each measurement: the measure, and the parameters in which it differs from others of its kind.

    Args:
        found: of one record.
        several: whether they are of several checkpoints, which are then named too.
    """
    names = {}
    for one in found:
        alike = [other for other in found if other.measure == one.measure]
        differing = {
            name
            for other in alike
            for name in {*one.parameters, *other.parameters}
            if one.parameters.get(name) != other.parameters.get(name)
        }
        told = [name for name in one.parameters if name == "source" or name in differing]
        said = ", ".join(f"{name} {_word(one.parameters[name])}" for name in told)
        where = f" on {one.checkpoint}" if several else ""
        names[id(one)] = f"{one.measure} ({said}){where}" if said else f"{one.measure}{where}"
    return names


def _plain_name(found: Measurement) -> str:
    source = found.parameters.get("source")
    return f"{found.measure} (source {_word(source)})" if source is not None else found.measure


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

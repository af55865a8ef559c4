"""What a change, or a rule over a trajectory, was decided from: the numbers beside its outcome, in words.

An assertion of the record has a `kind`: *bound* (one value against a bound), *change* (a checkpoint against another)
or *across* (a rule over the checkpoints of a trajectory). What the last two rest on stands in its `result`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import words
from geoaudit.report.titles import Row, listed, mapping

BOUND, CHANGE, ACROSS = "bound", "change", "across"
COURSES: Mapping[str, str] = {
    "trend": "trend",
    "jump": "largest jump",
    "backward": "furthest back",
    "places": "place",
}
"""What a rule over a trajectory found, by its name in the record, in words."""
_NUMBERS = ("estimate", "size", "rho")
"""What an interval beside it, `low` and `high`, is of."""
_PARTS: Mapping[tuple[str, str], str] = {
    ("backward", "estimate"): "furthest back by",
    ("backward", "slack"): "allowed to fall back by",
    ("places", "from"): "where it was to begin",
    ("places", "to"): "where it was to go",
}
"""Parts whose names in the record say too little."""
MOST_PARTS = 12
"""Numbers of what a rule found that are written at a line; the record holds them all."""
MOST_MISMATCHES = 8
"""Differences between two environments that are written at a line; the record holds them all."""


def kind(assertion: Row) -> str:
    """*bound*, *change* or *across*; what is none of them is read as a bound."""
    found = assertion.get("kind")
    return found if found in (CHANGE, ACROSS) else BOUND


def signed(value: Any, unit: str) -> str:
    """A difference with its sign: `+0.120`, `−1`; a share with three decimals."""
    x = words.finite(value)
    if x is None:
        return words.NOT_MEASURED
    text = words.number(x, "share" if words.is_share(unit) else unit)
    return f"+{text}" if x > 0 else text


@dataclass(frozen=True)
class Change:
    """A checkpoint beside the one that it is compared with."""

    result: Row
    unit: str
    """Of the measure."""

    @property
    def against(self) -> str:
        """`smollm2-135m (baseline)`."""
        found = mapping(self.result.get("against"))
        name, role = words.plain(found.get("name")), words.plain(found.get("role"))
        if name == "none":
            return role if role != "none" else "what it is compared with is not recorded"
        return name if role in ("none", name) else f"{name} ({role})"

    @property
    def value(self) -> str:
        """The difference, candidate − other."""
        return signed(self.result.get("estimate"), self.unit)

    @property
    def interval(self) -> str:
        """`[+0.031, +0.210]`; "" where an end is missing."""
        low, high = self.result.get("low"), self.result.get("high")
        if words.finite(low) is None or words.finite(high) is None:
            return ""
        return f"[{signed(low, self.unit)}, {signed(high, self.unit)}]"

    @property
    def measured(self) -> bool:
        """Whether there is a difference."""
        return words.finite(self.result.get("estimate")) is not None

    @property
    def numbers(self) -> Row:
        """Estimate and interval as a figure takes them."""
        return {**{name: self.result.get(name) for name in ("estimate", "low", "high")}, "unit": "change"}

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(name, text) of everything that the decision used; what the record does not hold gives no line."""
        found = self.result
        p, adjusted = words.finite(found.get("p")), words.finite(found.get("adjusted"))
        family = words.finite(found.get("lines"))
        many = f" over {words.plural(family, 'line')}" if family is not None else ""
        said = [
            ("this checkpoint", self._side("candidate")),
            (self.against, self._side("other")),
            ("difference", f"{self.value} {self.interval}".strip()),
            ("margin", self._margin()),
            ("p", words.number(p) if p is not None else ""),
            ("p, adjusted (Holm)", f"{words.number(adjusted)}{many}" if adjusted is not None else ""),
            ("prompts", words.count(found["n"]) if words.finite(found.get("n")) is not None else ""),
            ("came, went", self._moved()),
            ("noise floor", self.noise),
            ("environment", self.mismatches),
            ("method", words.plain(found["method"]) if found.get("method") else ""),
        ]
        return [(name, text) for name, text in said if text]

    @property
    def noise(self) -> str:
        """What the same checkpoint differs by from itself; said also where nobody measured it."""
        if "noise" not in self.result:
            return ""
        found = self.result.get("noise")
        if not isinstance(found, Mapping) or not found:
            return "not measured (`geoaudit noise`)"
        floor = words.finite(found.get("floor"))
        rest = {name: value for name, value in found.items() if name != "floor"}
        parts = ["" if floor is None else words.number(floor, self.unit), _fact(rest)]
        return "; ".join(part for part in parts if part)

    @property
    def mismatches(self) -> str:
        """What differs between the two environments."""
        found = listed(self.result.get("mismatches"))
        if not found:
            return "the same" if "mismatches" in self.result else ""
        shown = "; ".join(_mismatch(one) for one in found[:MOST_MISMATCHES])
        more = len(found) - MOST_MISMATCHES
        return f"differs: {shown}" + (f"; and {more} more" if more > 0 else "")

    def _side(self, name: str) -> str:
        found = self.result.get(name)
        value = mapping(found).get("estimate") if isinstance(found, Mapping) else found
        return words.number(value, self.unit) if words.finite(value) is not None else words.NOT_MEASURED

    def _moved(self) -> str:
        """Prompts that only one of the two hits, where the rows are known."""
        gained, lost = words.finite(self.result.get("gained")), words.finite(self.result.get("lost"))
        if gained is None or lost is None:
            return ""
        return f"{words.count(gained)} hit now and not there, {words.count(lost)} hit there and not now"

    def _margin(self) -> str:
        found = words.finite(self.result.get("margin"))
        return "" if found is None else signed(found, self.unit)


@dataclass(frozen=True)
class Series:
    """A measure over the steps of a trajectory, and the rule that was put to it."""

    result: Row
    unit: str
    ends: Sequence[float] = ()
    """The rule's own numbers, where it has any."""

    @property
    def points(self) -> list[Row]:
        """Every checkpoint in order, those without a value too."""
        return [row for row in listed(self.result.get("points")) if isinstance(row, Mapping)]

    @property
    def rule(self) -> str:
        """`never above 0.3`, without the measure's name."""
        name = words.plain(self.result.get("rule"))
        said = words.plain(self.result.get("says") or "")
        if said != "none":
            return (said.partition(" ")[2] or said).removeprefix("is ")
        return " ".join([name.replace("_", " "), *(words.exact(end) for end in self.ends)])

    @property
    def bounded(self) -> bool:
        """Whether the rule's numbers are values of the measure, so that they can be drawn beside it."""
        return words.plain(self.result.get("rule")) in ("never_above", "never_below", "first_failing_step")

    @property
    def first_failing(self) -> str:
        """The first step that breaks the rule; "" where none does."""
        found = self.result.get("first_failing_step")
        return "" if found is None else words.plain(found)

    @property
    def missing(self) -> int:
        """Checkpoints without a value."""
        return sum(words.finite(row.get("estimate")) is None for row in self.points)

    @property
    def value(self) -> str:
        """`0.012 at step 0 → 0.210 at step 200`, of the points that have a value."""
        return " → ".join(f"{words.number(row['estimate'], self.unit)}{_at(row)}" for row in self._outermost)

    @property
    def values(self) -> str:
        """`0.012 → 0.210`: the same without the steps."""
        return " → ".join(words.number(row["estimate"], self.unit) for row in self._outermost)

    @property
    def reach(self) -> str:
        """` from step 0 to step 200`: where those values stand; "" for fewer than two."""
        ends = [_at(row).removeprefix(" at ") for row in self._outermost]
        return f" from {ends[0]} to {ends[1]}" if len(ends) > 1 else ""

    @property
    def _outermost(self) -> list[Row]:
        """The first and the last point that have a value; one where there is no other."""
        found = [row for row in self.points if words.finite(row.get("estimate")) is not None]
        return [found[0], found[-1]] if len(found) > 1 else found

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(name, text) of everything that the decision used."""
        said = [
            ("first failing step", self.first_failing),
            ("checkpoints without a value", words.count(self.missing) if self.missing else ""),
        ]
        for name, text in COURSES.items():
            found = self.result.get(name)
            parts = _with_interval(found).items() if isinstance(found, Mapping) else [("", found)]
            said += [
                (
                    _PARTS.get((name, key)) or f"{text} {words.plain(key) if key else ''}".replace("_", " ").strip(),
                    _fact(value),
                )
                for key, value in parts
            ]
        return [(name, text) for name, text in said if text][:MOST_PARTS]

    @property
    def table(self) -> list[tuple[str, str, str]]:
        """(step, checkpoint, value with interval or why there is none) for every point."""
        made = []
        for row in self.points:
            step = words.plain(row["step"]) if words.finite(row.get("step")) is not None else "step not known"
            text = words.missing_reason(row)
            if words.finite(row.get("estimate")) is not None:
                ends = words.interval(row.get("low"), row.get("high"), self.unit)
                text = f"{words.number(row['estimate'], self.unit)} {ends}".strip()
            made.append((step, words.plain(row.get("checkpoint")), text))
        return made


def _mismatch(one: Any) -> str:
    """`dtype: here bfloat16, there float32`."""
    row = mapping(one)
    if row.get("name") is None:
        return words.plain(one)
    sides = f"here {words.plain(row.get('here'))}, there {words.plain(row.get('there'))}"
    return f"{words.plain(row['name'])}: {sides}{' (allowed)' if row.get('allowed') else ''}"


def _at(row: Row) -> str:
    step = words.finite(row.get("step"))
    return f" at {words.plain(row.get('checkpoint'))}" if step is None else f" at step {words.count(step)}"


def _with_interval(found: Row) -> Row:
    """The interval beside its number, and not by itself; none where it is no wider than the number, an estimate."""
    name = next((one for one in _NUMBERS if words.finite(found.get(one)) is not None), "")
    if not name or "low" not in found or "high" not in found:
        return found
    ends = words.interval(found["low"], found["high"]) if found["low"] != found["high"] else ""
    rest = {key: value for key, value in found.items() if key not in ("low", "high")}
    return {**rest, name: f"{_fact(found[name])} {ends}".strip()}


def _fact(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 2 and all(words.finite(end) is not None for end in value):
        return f"{_fact(value[0])} to {_fact(value[1])}"
    x = words.finite(value)
    if isinstance(value, int) and x is not None:
        return words.count(x)
    return words.number(x) if x is not None else "" if value is None or value in ("", [], {}) else words.plain(value)

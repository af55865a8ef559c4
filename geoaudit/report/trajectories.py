"""How measures develop over the steps of a run, the runs of an audit side by side: what the figures over steps draw.

A point that was not measured, or that must not be trusted, stays in its place and is marked; nothing is joined over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import titles, verdict, words
from geoaudit.report.titles import Row, listed, mapping
from geoaudit.report.verdict import rows

PANELS: Mapping[str, tuple[str, ...]] = {
    "Attack success": ("attack_success_rate", "transfer_asr", "strongreject_score"),
    "Refusal of safe requests": ("over_refusal_rate",),
    "Usefulness": ("benign_utility",),
    "Refusal": ("refusal_rate", "refusal_depth"),
    "Broken text": ("degenerate_rate",),
    "Where the carrier sits": ("carrier_layer",),
    "Score of the carrier": ("carrier_score",),
    "KL of the carrier": ("carrier_kl",),
    "Effective rank": ("effective_rank",),
    "Coupling of harmfulness and refusal": ("c_cos", "hrci_repr", "hrci_full", "c_sub"),
    "Drift": ("principal_angle", "energy_weighted_angle", "projector_distance", "direction_cosine"),
    "Relocation of the carrier": ("carrier_relocation", "carrier_score_drift", "carrier_transfer"),
}
"""The figures in their order, and the measures that they draw."""
MOST_LINES = 6
"""Lines drawn in one figure: one more and none can be followed."""
TOGETHER = 4
"""Lines up to which all runs share a figure though each has several."""
_APART = ("chat", "max_unparsed", "paraphrases", "n_train", "n_validation")
"""Parameters that tell no line from another in words."""


@dataclass(frozen=True)
class Point:
    """One measure on one checkpoint of a run."""

    checkpoint: str
    x: float
    """The step; the place in the run where a step is not known."""
    measurement: Row
    """Empty where nothing was asked."""
    doubted: bool
    """Whether the number must not be trusted."""

    @property
    def value(self) -> float | None:
        """The estimate; None where there is none."""
        return words.finite(self.measurement.get("estimate"))

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval; None where there is none."""
        low, high = words.finite(self.measurement.get("low")), words.finite(self.measurement.get("high"))
        return None if low is None or high is None or self.value is None else (low, high)

    @property
    def trusted(self) -> bool:
        """Whether there is a number to go by."""
        return self.value is not None and not self.doubted

    @property
    def text(self) -> str:
        """Value with interval, why there is none, or that nobody asked."""
        if not self.measurement:
            return "not asked"
        if self.value is None:
            return words.missing_reason(self.measurement)
        unit = str(self.measurement.get("unit") or "")
        low, high = self.ends or (None, None)
        shown = f"{words.number(self.value, unit)} {words.interval(low, high, unit)}".strip()
        return f"{shown} (invalid: not to be trusted)" if self.doubted else shown


@dataclass(frozen=True)
class Line:
    """One measure over one run."""

    run: str
    what: str
    """What tells it from the other lines of its run: the attack, the rule; "" where nothing does."""
    run_index: int
    """Place of the run in the record: its dashes and its colour."""
    what_index: int
    """Place of `what`: the shape of its marks."""
    points: Sequence[Point]

    @property
    def name(self) -> str:
        """`r2d2, plain requests`."""
        return f"{self.run}, {self.what}" if self.what else self.run

    @property
    def segments(self) -> list[list[Point]]:
        """Runs of points with nothing missing or doubted between them."""
        found: list[list[Point]] = [[]]
        for point in self.points:
            if point.trusted:
                found[-1].append(point)
            elif found[-1]:
                found.append([])
        return [segment for segment in found if segment]


@dataclass(frozen=True)
class Panel:
    """One figure over the steps."""

    name: str
    """For a file: letters, digits and dashes."""
    title: str
    measure: str
    """In full."""
    unit: str
    axis: str
    """What the horizontal axis is."""
    lines: Sequence[Line]
    span: tuple[float, float]
    """Ends of the horizontal axis, the same for all figures of one kind."""
    range: tuple[float, float] | None
    """Ends of the vertical axis where they are known."""

    @property
    def columns(self) -> list[str]:
        """Headings of the data as a table."""
        return ["run", "line", "checkpoint", self.axis, "estimate", "low", "high", "n", "status"]

    @property
    def data(self) -> list[list[Any]]:
        """The figure as rows; None where there is no number."""
        made: list[list[Any]] = []
        for line in self.lines:
            for point in line.points:
                low, high = point.ends or (None, None)
                n = words.finite(point.measurement.get("n")) if point.value is not None else None
                status = "measured" if point.trusted else "invalid" if point.value is not None else point.text
                made.append([line.run, line.what, point.checkpoint, point.x, point.value, low, high, n, status])
        return made

    @property
    def table(self) -> list[tuple[str, list[str]]]:
        """(step, a cell for every line), by step; "" where a run has no such step."""
        steps = sorted({point.x for line in self.lines for point in line.points})
        cells = [{point.x: point.text for point in line.points} for line in self.lines]
        return [(words.exact(step), [own.get(step, "") for own in cells]) for step in steps]

    @property
    def missing(self) -> int:
        """Points that were asked for and have no number."""
        return sum(bool(point.measurement) and point.value is None for line in self.lines for point in line.points)

    @property
    def doubted(self) -> int:
        """Points with a number that must not be trusted."""
        return sum(point.value is not None and point.doubted for line in self.lines for point in line.points)


@dataclass(frozen=True)
class Run:
    """A trajectory of the record with more than one checkpoint."""

    name: str
    places: Sequence[tuple[str, float]]
    """(checkpoint, step or place), in order."""
    steps: bool
    """Whether all steps are known."""
    reference: str


def runs(record: Row) -> list[Run]:
    """The trajectories that there is something to follow on, in the record's order."""
    found = []
    for row in rows(record, "trajectories"):
        names = [words.plain(name) for name in listed(row.get("checkpoints"))]
        given = mapping(row.get("steps"))
        steps = [words.finite(given.get(name)) for name in names]
        if len(names) > 1:
            known = all(step is not None for step in steps) and len(set(steps)) == len(steps)
            places = [
                (name, float(step if known and step is not None else index))
                for index, (name, step) in enumerate(zip(names, steps, strict=True))
            ]
            reference = words.plain(row["reference"]) if row.get("reference") else ""
            found.append(Run(words.plain(row.get("name")), places, known, reference))
    return found


def panels(record: Row) -> list[Panel]:
    """Every figure over steps that the record has the numbers for, in the order of `PANELS`."""
    followed = runs(record)
    if not followed:
        return []
    doubted = verdict.doubted(record)
    by_step = all(run.steps for run in followed)
    xs = [x if by_step else float(k) for run in followed for k, (_, x) in enumerate(run.places)]
    span = (min(xs), max(xs))
    axis = "step" if by_step else "checkpoint in order"
    found: list[Panel] = []
    for heading, measures in PANELS.items():
        asked = {measure: _lines(record, followed, measure, doubted, by_step) for measure in measures}
        alone = sum(bool(lines) for lines in asked.values()) == 1
        for measure, lines in asked.items():
            full = titles.of_measure(record, measure)
            for title, group in _figures(heading, full, lines, alone=alone):
                unit = next((str(p.measurement.get("unit")) for one in group for p in one.points if p.measurement), "")
                limits = (0.0, 1.0) if words.is_share(unit) else None
                name = "-".join(["trajectory", measure.replace("_", "-"), *([str(len(found))] if found else [])])
                found.append(Panel(name, title, full, unit, axis, group, span, limits))
    return found


def _figures(heading: str, title: str, lines: Sequence[Line], *, alone: bool) -> list[tuple[str, list[Line]]]:
    """Which lines share a figure: all runs in one where they can be told apart, else a figure for each run."""
    if not lines:
        return []
    shown = heading if alone else title.partition(" (")[0]
    whats = list(dict.fromkeys(line.what for line in lines))
    if len(whats) == 1 or len(lines) <= TOGETHER:
        return [(shown, list(lines[k : k + MOST_LINES])) for k in range(0, len(lines), MOST_LINES)]
    made = []
    for run in dict.fromkeys(line.run for line in lines):
        mine = [line for line in lines if line.run == run]
        made += [(f"{shown}, {run}", mine[k : k + MOST_LINES]) for k in range(0, len(mine), MOST_LINES)]
    return made


def _lines(record: Row, followed: Sequence[Run], measure: str, doubted: frozenset[str], by_step: bool) -> list[Line]:
    """A line for each run and each way of measuring that has a number anywhere on it."""
    asked: dict[str, dict[str, Row]] = {}
    for row in rows(record, "measurements"):
        if row.get("measure") == measure:
            asked.setdefault(_way(row), {}).setdefault(words.plain(row.get("checkpoint")), row)
    names = _told_apart(list(asked.values()))
    found = []
    for what_index, (way, own) in enumerate(asked.items()):
        for run_index, run in enumerate(followed):
            points = [
                Point(
                    name,
                    x if by_step else float(k),
                    own.get(name, {}),
                    words.plain(own.get(name, {}).get("key")) in doubted,
                )
                for k, (name, x) in enumerate(run.places)
            ]
            if sum(bool(point.measurement) for point in points) > 1 and any(p.value is not None for p in points):
                found.append(Line(run.name, names[list(asked).index(way)], run_index, what_index, points))
    return found


def _way(row: Row) -> str:
    """What makes two measurements of a measure the same: its parameters and its judge."""
    parameters = mapping(row.get("parameters"))
    return words.plain([titles.judge(row), {name: parameters[name] for name in sorted(parameters, key=str)}])


def _told_apart(groups: Sequence[Mapping[str, Row]]) -> list[str]:
    """Words for what the ways of measuring differ in; "" where there is one."""
    first = [next(iter(group.values())) for group in groups]
    if len(first) < 2:
        return [""] * len(first)
    shown = [{"judge": titles.judge(row), **_parameters(row)} for row in first]
    keys = [
        key
        for key in dict.fromkeys(k for one in shown for k in one)
        if len({words.plain(one.get(key)) for one in shown}) > 1
    ]
    return [
        ", ".join(_word(key, one[key]) for key in keys if key in one) or f"way {k + 1}" for k, one in enumerate(shown)
    ]


def _parameters(row: Row) -> dict[str, Any]:
    found = mapping(row.get("parameters"))
    own = {str(name): value for name, value in found.items() if name not in _APART}
    attack = own.pop("attack", None)
    if attack is not None:
        own["attack"] = titles.PLAIN if attack == "direct" else titles.attack(row, which=False) or attack
        if attack == "worst":
            own["attack"] = "worst of the free ones"
    return own


def _word(key: str, value: Any) -> str:
    if key in ("attack", "source", "judge", "rule", "convention"):
        return words.plain(value)
    return f"{key.replace('_', ' ')} {words.plain(value)}"


def ordered(record: Row, names: Sequence[str]) -> list[str]:
    """The checkpoints of a run one after another by their steps; the others where they stood."""
    found: list[str] = []
    members = {name: [other for other, _ in run.places] for run in runs(record) for name, _ in run.places}
    for name in names:
        found += [one for one in members.get(name, [name]) if one in names and one not in found]
    return found


def where(record: Row) -> list[tuple[str, str]]:
    """(run, its checkpoints in order with the reference marked) in words."""
    return [
        (run.name, ", ".join(f"{name}{' (reference)' if name == run.reference else ''}" for name, _ in run.places))
        for run in runs(record)
    ]

"""Robustness beside usefulness: a point for each checkpoint, a path for each run.

A model that refuses everything is robust and useless; the two are read together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import plainly, titles, trajectories, verdict, words
from geoaudit.report.titles import Row, mapping
from geoaudit.report.verdict import rows

MOST = 3
"""Figures: one for each attack, those measured on most checkpoints first."""
Ends = tuple[float, float] | None


@dataclass(frozen=True)
class Place:
    """One checkpoint between the two axes."""

    checkpoint: str
    run: str
    """"" for one that belongs to no run of several."""
    run_index: int
    label: str
    """What is written beside it: the step, or the name."""
    x: float
    x_ends: Ends
    y: float
    y_ends: Ends
    doubted: bool


@dataclass(frozen=True)
class Frontier:
    """One figure: what the model still does for ordinary requests against what it withstands."""

    name: str
    title: str
    x_axis: str
    y_axis: str
    places: Sequence[Place]
    """In the order of their runs and steps."""
    left_out: Sequence[tuple[str, str]]
    """(checkpoint, why it has no place)."""
    order: Sequence[str] = ()
    """All checkpoints in the order of their runs and steps."""

    @property
    def columns(self) -> list[str]:
        """Headings of the data as a table."""
        return ["run", "checkpoint", self.x_axis, "low", "high", self.y_axis, "low", "high", "status"]

    @property
    def data(self) -> list[list[Any]]:
        """The figure as rows."""
        return [
            [p.run, p.checkpoint, p.x, *(p.x_ends or (None, None)), p.y, *(p.y_ends or (None, None)),
             "invalid" if p.doubted else "measured"]
            for p in self.places
        ]  # fmt: skip

    @property
    def runs(self) -> list[tuple[int, str]]:
        """(place, name) of every run that is drawn, "" for checkpoints of none."""
        return list(dict.fromkeys((place.run_index, place.run) for place in self.places))

    @property
    def paths(self) -> list[list[Place]]:
        """Neighbours of one run that can be trusted."""
        found: list[list[Place]] = []
        before: Place | None = None
        gone = {name for name, _ in self.left_out}
        for place in self.places:
            joined = (
                before is not None and before.run and before.run == place.run and not (before.doubted or place.doubted)
            )
            if joined and not self._between(before, place, gone):
                found[-1].append(place)
            else:
                found.append([place])
            before = place
        return [path for path in found if len(path) > 1]

    def _between(self, first: Place | None, second: Place, gone: set[str]) -> bool:
        order = self.order
        if first is None or first.checkpoint not in order or second.checkpoint not in order:
            return False
        return any(name in gone for name in order[order.index(first.checkpoint) + 1 : order.index(second.checkpoint)])


def frontiers(record: Row) -> list[Frontier]:
    """A figure for each attack on harmful requests that at least two checkpoints have both numbers for."""
    names = verdict.checkpoint_names(record)
    x_way = _most(record, "benign_utility", names) or _most(record, "over_refusal_rate", names)
    if x_way is None:
        return []
    useful = x_way[0].get("measure") == "benign_utility"
    doubted = verdict.doubted(record)
    followed = trajectories.runs(record)
    placed = {name: (index, run.name, x, run.steps) for index, run in enumerate(followed) for name, x in run.places}
    order = [name for run in followed for name, _ in run.places]
    order += [name for name in names if name not in placed]
    found: list[Frontier] = []
    for own in _ways(record, "attack_success_rate", names)[:MOST]:
        xs, ys = ({words.plain(row.get("checkpoint")): row for row in group} for group in (x_way, own))
        places, left = [], []
        for name in order:
            a, b = xs.get(name, {}), ys.get(name, {})
            x, y = words.finite(a.get("estimate")), words.finite(b.get("estimate"))
            if x is None or y is None:
                lacking = [text for value, text in ((x, "usefulness"), (y, "attack success")) if value is None]
                left.append((name, f"{' and '.join(lacking)} not measured"))
                continue
            index, run, step, known = placed.get(name, (len(followed), "", 0.0, False))
            places.append(
                Place(
                    checkpoint=name,
                    run=run,
                    run_index=index,
                    label=words.exact(step) if known else name,
                    x=x if useful else 1 - x,
                    x_ends=_ends(a, turned=not useful),
                    y=1 - y,
                    y_ends=_ends(b, turned=True),
                    doubted=any(words.plain(row.get("key")) in doubted for row in (a, b)),
                )
            )
        if len(places) > 1:
            asked = plainly.source(own[0])
            how = titles.attack(own[0], which=False) or "no attack recorded"
            found.append(
                Frontier(
                    f"frontier-{len(found) + 1}",
                    f"Robustness and usefulness: {how}",
                    _x_axis(x_way[0]),
                    f"1 − share of {asked} answered ({how}, judge {titles.judge(own[0]) or 'none'})",
                    places,
                    left,
                    order,
                )
            )
    return found


def _ways(record: Row, measure: str, names: Sequence[str]) -> list[list[Row]]:
    """Measurements of a measure by what was asked, those that most checkpoints have first."""
    grouped: dict[str, list[Row]] = {}
    for row in rows(record, "measurements"):
        if row.get("measure") == measure and words.plain(row.get("checkpoint")) in names:
            parameters = mapping(row.get("parameters"))
            key = words.plain(
                [titles.judge(row), {str(name): parameters[name] for name in sorted(parameters, key=str)}]
            )
            grouped.setdefault(key, []).append(row)

    def rank(group: Sequence[Row]) -> int:
        return -sum(words.finite(row.get("estimate")) is not None for row in group)

    return sorted(grouped.values(), key=rank)


def _most(record: Row, measure: str, names: Sequence[str]) -> list[Row] | None:
    found = _ways(record, measure, names)
    measured = [row for row in found[0] if words.finite(row.get("estimate")) is not None] if found else []
    return measured if len(measured) > 1 else None


def _ends(row: Row, *, turned: bool) -> Ends:
    low, high = words.finite(row.get("low")), words.finite(row.get("high"))
    if low is None or high is None:
        return None
    return (1 - high, 1 - low) if turned else (low, high)


def _x_axis(row: Row) -> str:
    parameters = mapping(row.get("parameters"))
    if row.get("measure") == "benign_utility":
        return f"usefulness ({words.plain(parameters.get('score'))} score of ordinary requests)"
    return f"1 − share of {plainly.source(row)} refused ({words.plain(parameters.get('refusal'))})"

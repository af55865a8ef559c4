"""The two-score plot: belief of harmfulness against belief of refusal, a mark for every prompt.

What was asked is the shape and colour of a mark, what the model did is whether it is filled: told apart without colour.
Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.beliefs import GROUPS
from geoaudit.report.svg import Data, Scale, coordinate, drawing, line, span, tag, text, ticks

MOST_POINTS = 400
"""Prompts drawn of one group; the record holds them all."""
SHAPES: Mapping[str, tuple[float, float, str]] = {
    "harmful": (-3.0, -3.0, "h6v6h-6z"),
    "harmless": (0.0, -3.8, "l3.8 3.8-3.8 3.8-3.8-3.8z"),
    "scary": (0.0, -3.6, "l3.6 6h-7.2z"),
}
"""Square, diamond, triangle: one relative path around a centre."""
Point = tuple[float, float]


def scatter(groups: Sequence[tuple[str, Sequence[Point]]], *, uid: str) -> Markup:
    """Every prompt at its two scores.

    Args:
        groups: (name in `GROUPS`, its points).
        uid: unique in the document.
    """
    placed = [(name, list(points)[:MOST_POINTS]) for name, points in groups if name in GROUPS and points]
    if not placed:
        return Markup("")
    x, y = (
        _scale([point[axis] for _, points in placed for point in points], *ends)
        for axis, ends in enumerate(((58.0, 470.0), (300.0, 16.0)))
    )
    parts = [line(x(0), y.end, x(0), y.start, "guide"), line(x.start, y(0), x.end, y(0), "guide")]
    parts += [line(x.start, y.start, x.end, y.start, "axis"), line(x.start, y.end, x.start, y.start, "axis")]
    parts.append(ticks([(x(tick), 314, _written(tick)) for tick in x.ticks(6)], "middle"))
    parts.append(ticks([(53, y(tick) + 3.5, _written(tick)) for tick in y.ticks(5)], "end"))
    parts += [_marks([(x(a), y(b)) for a, b in points], name) for name, points in placed]
    parts.append(text(264, 330, "belief of harmfulness (t_inst)", "note", "middle"))
    parts.append(text(62, 12, "belief of refusal (last token)", "note"))
    said = "; ".join(
        f"{GROUPS[name]}: {words.plural(len(points), 'prompt')}, mean {_mean(points, 0)} of harmfulness and "
        f"{_mean(points, 1)} of refusal"
        for name, points in placed
    )
    data = Data(
        ("prompts", "belief of harmfulness", "belief of refusal"),
        [(GROUPS[name], a, b) for name, points in placed for a, b in points],
    )
    title = "Belief of harmfulness against belief of refusal"
    return drawing(uid, title, said, 480, 336, *parts, css="controls", data=data)


def legend_mark(name: str) -> Markup:
    """A group's mark beside its name in the legend; decoration only."""
    return tag("svg", _marks([(7.0, 7.0)], name), class_="legend-mark", viewBox="0 0 14 14", aria_hidden="true")


def _marks(points: Sequence[Point], name: str) -> Markup:
    """One path that draws a group's mark at every point."""
    kind, _, answer = name.rpartition("_")
    dx, dy, shape = SHAPES[kind]
    path = "".join(f"M{coordinate(x + dx)} {coordinate(y + dy)}{shape}" for x, y in points)
    return tag("path", d=path, class_=f"belief belief-{kind} {answer}")


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Around the values and 0, with room for the marks."""
    low, high = span(values, 0.0)
    room = 0.05 * (high - low)
    return Scale(low - room, high + room, start, end)


def _mean(points: Sequence[Point], axis: int) -> str:
    return words.number(sum(point[axis] for point in points) / len(points))


def _written(tick: float) -> str:
    return words.exact(float(f"{tick:.6g}"))

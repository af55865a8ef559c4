"""Values beside what chance gives: a curve over the layers with null bands, and one value above its null levels.

Permuted labels are hatched, contrasts between harmless categories are outlined and plain: told apart without colour.
Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import (
    Data,
    Scale,
    band,
    dots,
    drawing,
    heading,
    line,
    polyline,
    rectangle,
    span,
    tag,
    text,
    ticks,
)
from geoaudit.report.titles import mapping

NULLS: Mapping[str, str] = {"permuted": "permuted labels", "harmless": "harmless contrasts"}
"""The null levels in the order of figures: the record's name, in words."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Level:
    """Where one null level lies."""

    name: str
    """`permuted` or `harmless`."""
    n: Any
    low: float | None
    median: float | None
    high: float | None

    @property
    def text(self) -> str:
        """`permuted labels, n = 200`."""
        n = "" if words.finite(self.n) is None else f", n = {words.count(self.n)}"
        return f"{NULLS[self.name]}{n}"


def levels(null: Any) -> list[Level]:
    """The null levels that a measurement's detail holds with both ends."""
    found = []
    for name in NULLS:
        row = mapping(mapping(null).get(name))
        low, median, high = (words.finite(row.get(end)) for end in ("low", "median", "high"))
        if low is not None and high is not None:
            found.append(Level(name, row.get("n"), low, median, high))
    return found


def curve(
    rows: Sequence[Row],
    field: str,
    *,
    uid: str,
    title: str,
    bands: bool = True,
    limits: tuple[float, float] | None = None,
    marked: Mapping[str, float] | None = None,
    level: float | None = None,
) -> Markup:
    """A value over the layers, the null bands behind it.

    Args:
        rows: `layer`, the field and, for the bands, `permuted` and `harmless` as [low, high].
        field: what is drawn.
        uid: unique in the document.
        title: above the figure, and what a screen reader says.
        bands: whether the rows' null bands are those of this field.
        limits: ends of the axis where they are known; else from the values.
        marked: layers with a name that get a line of their own.
        level: a value with a line of its own.
    """
    placed = [(layer, row) for row in rows if (layer := words.finite(row.get("layer"))) is not None]
    points = [(layer, value) for layer, row in placed if (value := words.finite(row.get(field))) is not None]
    if not points:
        return Markup("")
    points.sort()
    null = {name: _ends(placed, name) for name in NULLS} if bands else {}
    shown = [value for _, value in points] + [end for ends in null.values() for _, *both in ends for end in both]
    low, high = span(shown, *([] if level is None else [level]))
    room = 0.06 * (high - low)
    low, high = limits or (low - room, high + room)
    layers = [layer for layer, _ in points]
    x = Scale(min(layers), max(max(layers), min(layers) + 1), 46, 344)
    y = Scale(min(low, *shown), max(high, *shown), 142, 26)
    parts = [heading(title, 360)]
    for tick in y.ticks(4):
        parts.append(line(40, y(tick), 350, y(tick), "grid"))
    parts.append(ticks([(35, y(tick) + 3.5, words.exact(tick)) for tick in y.ticks(4)], "end"))
    parts += [
        band([(x(at), y(a), y(b)) for at, a, b in ends], f"null-{name}")
        for name, ends in reversed(null.items())
        if ends
    ]
    if level is not None:
        parts.append(line(40, y(level), 350, y(level), "guide"))
    parts.append(polyline([(x(at), y(value)) for at, value in points], "running"))
    parts.append(dots([(x(at), y(value)) for at, value in points], "dots"))
    taken: list[float] = []
    for name, at in (marked or {}).items():
        if min(layers) <= at <= max(layers):
            lower = any(abs(x(at) - other) < 8 * len(name) + 8 for other in taken)
            taken.append(x(at))
            parts.append(line(x(at), y.end, x(at), y.start, "threshold"))
            end = x(at) > 300
            parts.append(
                text(x(at) + (-4 if end else 4), y.end + (19 if lower else 8), name, "callout", "end" if end else None)
            )
    numbers = [(x(tick), 156.0, words.exact(tick)) for tick in x.ticks(6) if tick % 1 == 0]
    parts.append(ticks([*numbers, (195, 170, "layer")], "middle"))
    values = [value for _, value in points]
    description = (
        f"{len(points)} layers; from {words.number(min(values))} to {words.number(max(values))}, "
        f"most at layer {words.exact(max(points, key=lambda point: point[1])[0])}"
    )
    for name, ends in null.items():
        if ends:
            lows, highs = [a for _, a, _ in ends], [b for _, _, b in ends]
            description += f"; {NULLS[name]} from {words.number(min(lows))} to {words.number(max(highs))}"
    beside = {name: {at: both for at, *both in ends} for name, ends in null.items() if ends}
    data = Data(
        ("layer", title, *(f"{NULLS[name]}, {end}" for name in beside for end in ("low", "high"))),
        [(at, value, *(end for ends in beside.values() for end in ends.get(at, (None, None)))) for at, value in points],
        [x(at) for at in layers],
    )
    return drawing(uid, f"{title} by layer", description, 360, 176, *parts, css="curve", data=data)


def strip(measurement: Row, null: Sequence[Level], *, uid: str, title: str, percentiles: Any = None) -> Markup:
    """One value with its interval, beneath it the ranges that chance gives, on one axis.

    Args:
        measurement: needs `estimate`; `low` and `high` draw the interval.
        null: its null levels; without any there is no figure.
        uid: unique in the document.
        title: above the figure, and what a screen reader says.
        percentiles: name of a null level -> share of it that is not above the estimate.
    """
    estimate, unit = words.finite(measurement.get("estimate")), str(measurement.get("unit") or "")
    if estimate is None or not null:
        return Markup("")
    low, high = words.finite(measurement.get("low")), words.finite(measurement.get("high"))
    ends = [end for level in null for end in (level.low, level.high) if end is not None]
    least, most = span([estimate, *ends, *(end for end in (low, high) if end is not None)])
    room = 0.05 * (most - least)
    x = Scale(least - room, most + room, 152, 344)
    height = 24.0 + 20 * (1 + len(null))
    grid = x.ticks(4)
    parts = [heading(title, 360)]
    parts += [line(x(tick), 20, x(tick), height, "grid") for tick in grid]
    parts.append(ticks([(x(tick), height + 12, words.exact(float(f"{tick:.6g}"))) for tick in grid], "middle"))
    parts.append(text(146, 34, "measured", "tick", "end"))
    if low is not None and high is not None:
        parts.append(line(x(low), 30, x(high), 30, "interval"))
        parts += [line(x(end), 26, x(end), 34, "cap") for end in (low, high)]
    parts.append(tag("circle", cx=x(estimate), cy=30, r=4, class_="estimate"))
    said = [f"{words.number(estimate, unit)} {words.interval(low, high, unit)}".strip()]
    for index, level in enumerate(null, 1):
        y = 20.0 + 20 * index
        assert level.low is not None
        assert level.high is not None
        parts.append(text(146, y + 14, level.text, "tick", "end"))
        parts.append(rectangle(x(level.low), y + 4, max(x(level.high) - x(level.low), 1.0), 12, f"null-{level.name}"))
        if level.median is not None:
            parts.append(line(x(level.median), y + 2, x(level.median), y + 18, "cap"))
        share = percentile(mapping(percentiles).get(level.name))
        said.append(f"{level.text}: {words.interval(level.low, level.high, unit)}{f', {share}' if share else ''}")
    rows: list[tuple[str, float | None, float | None, float | None]] = [("measured", estimate, low, high)]
    rows += [(level.text, level.median, level.low, level.high) for level in null]
    data = Data(("of", f"estimate or median{f' ({unit})' if unit else ''}", "low", "high"), rows, told=True)
    return drawing(uid, f"{title} beside chance", "; ".join(said), 360, height + 18, *parts, css="strip", data=data)


def percentile(share: Any) -> str:
    """`percentile 21.4`, "" where the share of a null level that is not above the value is not known."""
    found = words.finite(share)
    return "" if found is None else f"percentile {words.exact(round(100 * found, 1))}"


def legend_null(name: str) -> Markup:
    """The texture of a null level beside its name in a legend; decoration only."""
    return tag(
        "svg", rectangle(0.5, 2, 13, 10, f"null-{name}"), class_="swatch", viewBox="0 0 14 14", aria_hidden="true"
    )


def _ends(placed: Sequence[tuple[float, Row]], name: str) -> list[tuple[float, float, float]]:
    found = []
    for layer, row in placed:
        ends = row.get(name)
        if isinstance(ends, list | tuple) and len(ends) == 2:
            low, high = words.finite(ends[0]), words.finite(ends[1])
            if low is not None and high is not None:
                found.append((layer, low, high))
    return sorted(found)

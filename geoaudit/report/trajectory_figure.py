"""A measure over the steps of one or several runs: lines with interval bands, told apart by dashes, marks and names.

What must not be trusted is drawn hollow and not joined; what was not measured is a cross on the axis. Pure functions
from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.changes import Series
from geoaudit.report.svg import Data, Scale, band, coordinate, drawing, line, polyline, span, tag, text, ticks
from geoaudit.report.trajectories import Line, Panel, Point

STYLES = 6
"""Dashes and colours, and shapes of marks; a seventh line begins again."""
_SHAPES = (
    "M{x} {y}m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
    "M{x} {y}m-2.9-2.9h5.8v5.8h-5.8z",
    "M{x} {y}m0-3.8l3.6 6.4h-7.2z",
    "M{x} {y}m0-4.1l4.1 4.1l-4.1 4.1l-4.1-4.1z",
    "M{x} {y}m0 3.8l3.6-6.4h-7.2z",
    "M{x} {y}m-3.6-1.2h7.2v2.4h-7.2z",
)
_CROSS = "M{x} {y}m-3-3l6 6m0-6l-6 6"
LEFT, RIGHT, TOP, BOTTOM = 46.0, 344.0, 26.0, 152.0
WIDTH, HEIGHT = 360.0, 206.0


def trend(panel: Panel, *, uid: str) -> Markup:
    """One figure over the steps.

    Args:
        panel: its lines and the ends of its axes.
        uid: unique in the document.
    """
    values = [end for one in panel.lines for point in one.points for end in _extent(point)]
    if not values:
        return Markup("")
    x = Scale(panel.span[0], max(panel.span[1], panel.span[0] + 1e-9), LEFT, RIGHT)
    y = _vertical(panel, values)
    parts = [text(4, 12, panel.title, "panel strong")]
    marks = y.ticks(4)
    parts += [line(LEFT - 6, y(tick), RIGHT + 6, y(tick), "grid") for tick in marks]
    parts.append(ticks([(LEFT - 11, y(tick) + 3.5, _tick(tick)) for tick in marks], "end"))
    many = len(panel.lines) > 1
    for one in panel.lines:
        parts += _bands(one, x, y)
    for index, one in enumerate(panel.lines):
        parts += _line(one, x, y, _aside(index, len(panel.lines)) if many else 0.0)
    parts.append(ticks([(x(step), BOTTOM + 26, words.exact(step)) for step in _steps(panel)], "middle"))
    parts.append(text((LEFT + RIGHT) / 2, HEIGHT - 12, panel.axis, "tick", "middle"))
    places = sorted({point.x for one in panel.lines for point in one.points})
    data = Data(panel.columns, panel.data, [x(step) for step in places], told=True)
    return drawing(uid, panel.title, _spoken(panel), WIDTH, HEIGHT, *parts, css="strip trajectory", data=data)


def legend_mark(one: Line) -> Markup:
    """The dashes and the mark of a line, beside its name in a legend; decoration only."""
    shape = tag("path", d=_SHAPES[one.what_index % STYLES].format(x="14", y="7"), class_=_css("point", one))
    return tag(
        "svg",
        line(0, 7, 28, 7, _css("series", one)),
        shape,
        class_="legend-mark wide-mark",
        viewBox="0 0 28 14",
        aria_hidden="true",
    )


def mark(one_index: int, what_index: int, x: float, y: float, *, doubted: bool = False) -> Markup:
    """A mark of the shape of `what_index` in the colour of `one_index`, hollow where it is doubted."""
    css = f"point point-{one_index % STYLES}{' doubted' if doubted else ''}"
    return tag("path", d=_SHAPES[what_index % STYLES].format(x=coordinate(x), y=coordinate(y)), class_=css)


def _line(one: Line, x: Scale, y: Scale, aside: float) -> list[Markup]:
    """Line and marks; `aside` moves the marks of lines that would cover each other, by pixels."""
    parts = [
        polyline([(x(p.x) + aside, y(p.value)) for p in segment if p.value is not None], _css("series", one))
        for segment in one.segments
        if len(segment) > 1
    ]
    for point in one.points:
        at = x(point.x) + aside
        if point.value is None:
            if point.measurement:  # asked for, and no number came of it
                parts.append(
                    tag(
                        "path", d=_CROSS.format(x=coordinate(at), y=coordinate(BOTTOM + 10)), class_=_css("absent", one)
                    )
                )
            continue
        if point.ends:
            low, high = (y(end) for end in point.ends)
            parts.append(line(at, low, at, high, f"{_css('error', one)}{' doubted' if point.doubted else ''}"))
        parts.append(mark(one.run_index, one.what_index, at, y(point.value), doubted=point.doubted))
    return parts


def _bands(one: Line, x: Scale, y: Scale) -> list[Markup]:
    """The intervals of neighbours that can be trusted, as a band."""
    found = []
    for segment in one.segments:
        with_ends = [(p, p.ends) for p in segment]
        whole = [(x(p.x), y(ends[0]), y(ends[1])) for p, ends in with_ends if ends is not None]
        if len(whole) > 1 and len(whole) == len(segment):
            found.append(band(whole, _css("swath", one)))
    return found


def _extent(point: Point) -> list[float]:
    return [] if point.value is None else [point.value, *(point.ends or ())]


def _vertical(panel: Panel, values: Sequence[float]) -> Scale:
    if panel.range is not None:
        return Scale(min(panel.range[0], *values), max(panel.range[1], *values), BOTTOM, TOP)
    low, high = span(values)
    room = 0.06 * (high - low)
    return Scale(low - room, high + room, BOTTOM, TOP)


def _steps(panel: Panel) -> list[float]:
    """The steps that have room beneath the axis, first and last among them."""
    steps = sorted({point.x for one in panel.lines for point in one.points})
    kept: list[float] = []
    least = (panel.span[1] - panel.span[0]) / 8
    for step in steps:
        if not kept or (step - kept[-1] >= least and (steps[-1] - step >= least or step == steps[-1])):
            kept.append(step)
    return kept


def _tick(value: float) -> str:
    return words.exact(float(f"{value:.6g}"))


def _aside(index: int, n: int) -> float:
    return 2.4 * (index - (n - 1) / 2)


def _css(part: str, one: Line) -> str:
    return f"{part} {part}-{one.run_index % STYLES}"


def _spoken(panel: Panel) -> str:
    said = []
    for one in panel.lines:
        shown = ", ".join(f"{panel.axis} {words.exact(point.x)}: {_short(point, panel.unit)}" for point in one.points)
        said.append(f"{one.name}: {shown}")
    return "; ".join(said)


def _short(point: Point, unit: str) -> str:
    if point.value is None:
        return words.NOT_MEASURED if point.measurement else "not asked"
    return f"{words.number(point.value, unit)}{' (invalid)' if point.doubted else ''}"


def spark(series: Series, *, uid: str, trusted: bool = True) -> Markup:
    """A course in small beside its rule: estimates with intervals, the rule's own numbers as lines.

    Args:
        series: of an assertion over a trajectory.
        uid: unique in the document.
        trusted: False draws the values hollow (outcome *invalid*).
    """
    points = [
        (k, row, value)
        for k, row in enumerate(series.points)
        if (value := words.finite(row.get("estimate"))) is not None
    ]
    if not points:
        return Markup("")
    ends = [
        e
        for _, row, _ in points
        for e in (words.finite(row.get("low")), words.finite(row.get("high")))
        if e is not None
    ]
    low, high = span([value for *_, value in points], *ends, *(series.ends if series.bounded else ()))
    x, y = Scale(0, max(len(series.points) - 1, 1), 8, 192), Scale(low, high, 34, 6)
    parts = [line(4, 38, 196, 38, "axis")]
    if series.bounded:
        parts += [line(4, y(end), 196, y(end), "threshold") for end in series.ends]
    before: tuple[int, float] | None = None
    for k, row, value in points:
        if before is not None and k - before[0] == 1 and trusted:
            parts.append(polyline([(x(before[0]), y(before[1])), (x(k), y(value))], "series series-5"))
        least, most = words.finite(row.get("low")), words.finite(row.get("high"))
        if least is not None and most is not None:
            parts.append(line(x(k), y(least), x(k), y(most), "error error-5"))
        parts.append(mark(5, 0, x(k), y(value), doubted=not trusted))
        before = k, value
    for k, row in enumerate(series.points):
        if words.finite(row.get("estimate")) is None:
            parts.append(tag("path", d=_CROSS.format(x=coordinate(x(k)), y="38"), class_="absent absent-5"))
    said = "; ".join(f"{step}: {text}" for step, _, text in series.table)
    rows = [
        [step, name, *(words.finite(row.get(end)) for end in ("estimate", "low", "high"))]
        for (step, name, _), row in zip(series.table, series.points, strict=True)
    ]
    data = Data(("step", "checkpoint", "estimate", "low", "high"), rows, told=True)
    return drawing(uid, f"Course against the rule: {series.rule}", said, 200, 44, *parts, css="spark", data=data)

"""Robustness against usefulness: a cross of two intervals for each checkpoint, a path through the steps of each run.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.frontier import Frontier, Place
from geoaudit.report.svg import Data, Scale, drawing, heading, line, polyline, tag, text, ticks
from geoaudit.report.trajectory_figure import STYLES, mark

LEFT, RIGHT, TOP, BOTTOM = 46.0, 344.0, 40.0, 300.0
WIDTH, HEIGHT = 360.0, 344.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def frontier(found: Frontier, *, uid: str) -> Markup:
    """The figure; both axes go from 0 to 1, up and to the right is better.

    Args:
        found: places in the order of their runs and steps.
        uid: unique in the document.
    """
    if not found.places:
        return Markup("")
    x, y = Scale(0, 1, LEFT, RIGHT), Scale(0, 1, BOTTOM, TOP)
    parts = [heading(found.title, WIDTH)]
    for tick in _TICKS:
        parts += [line(x(tick), TOP, x(tick), BOTTOM, "grid"), line(LEFT, y(tick), RIGHT, y(tick), "grid")]
    parts.append(ticks([(LEFT - 6, y(tick) + 3.5, words.exact(tick)) for tick in _TICKS], "end"))
    parts.append(ticks([(x(tick), BOTTOM + 15, words.exact(tick)) for tick in _TICKS], "middle"))
    parts.append(text(4, 28, "↑ withstands more", "tick"))
    parts.append(text(RIGHT + 6, HEIGHT - 10, "does more for ordinary requests →", "tick", "end"))
    for path in found.paths:
        parts.append(polyline([(x(p.x), y(p.y)) for p in path], f"series series-{path[0].run_index % STYLES}"))
    for place in found.places:
        parts += _cross(place, x, y)
    for place in found.places:
        parts.append(mark(place.run_index, place.run_index, x(place.x), y(place.y), doubted=place.doubted))
    parts += _labels(found, x, y)
    data = Data(found.columns, found.data, told=True)
    return drawing(uid, found.title, _spoken(found), WIDTH, HEIGHT, *parts, css="strip frontier-figure", data=data)


def legend_mark(run_index: int) -> Markup:
    """The mark of a run beside its name in a legend; decoration only."""
    parts = [line(0, 7, 28, 7, f"series series-{run_index % STYLES}"), mark(run_index, run_index, 14, 7)]
    return tag("svg", *parts, class_="legend-mark wide-mark", viewBox="0 0 28 14", aria_hidden="true")


def _cross(place: Place, x: Scale, y: Scale) -> list[Markup]:
    css = f"error error-{place.run_index % STYLES}{' doubted' if place.doubted else ''}"
    parts = []
    if place.x_ends:
        parts.append(line(x(place.x_ends[0]), y(place.y), x(place.x_ends[1]), y(place.y), css))
    if place.y_ends:
        parts.append(line(x(place.x), y(place.y_ends[0]), x(place.x), y(place.y_ends[1]), css))
    return parts


def _labels(found: Frontier, x: Scale, y: Scale) -> list[Markup]:
    """The step or the name beside each mark, where nothing else is written already."""
    taken = [(x(p.x) - 4, y(p.y) - 4, x(p.x) + 4, y(p.y) + 4) for p in found.places]
    parts = []
    for place in found.places:
        label = place.label if len(place.label) <= 18 else f"{place.label[:17]}…"
        width = 6.2 * len(label) + 4
        for dx, dy in ((7.0, -6.0), (7.0, 13.0), (-7.0 - width, -6.0), (-7.0 - width, 13.0)):
            left, base = x(place.x) + dx, y(place.y) + dy
            box = (left, base - 9, left + width, base + 2)
            clear = all(box[2] < a or box[0] > c or box[3] < b or box[1] > d for a, b, c, d in taken)
            if clear and base >= TOP - 1 and left >= 2 and left + width <= WIDTH - 2:
                taken.append(box)
                parts.append(text(left, base, label, "callout"))
                break
    return parts


def _spoken(found: Frontier) -> str:
    def said(place: Place) -> str:
        mark = " (invalid)" if place.doubted else ""
        across = words.share(place.x, *(place.x_ends or (None, None)))
        upwards = words.share(place.y, *(place.y_ends or (None, None)))
        return f"{place.checkpoint}: {found.x_axis} {across}, {found.y_axis} {upwards}{mark}"

    return "; ".join(said(place) for place in found.places)

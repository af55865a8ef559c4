"""How the loss of an attack's targets fell, step by step: the median over the behaviours, the middle half behind it.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Data, Scale, band, drawing, heading, line, polyline, span, ticks


def losses(points: Sequence[tuple[float, float, float, float]], *, uid: str, title: str, unit: str) -> Markup:
    """Lowest losses so far, nats a token.

    Args:
        points: (step, lower quartile, median, upper quartile), in order.
        uid: unique in the document.
        title: above the figure, and what a screen reader says.
        unit: what a step is called.
    """
    if not points:
        return Markup("")
    low, high = span([end for _, *ends in points for end in ends], 0.0)
    x = Scale(points[0][0], max(points[-1][0], points[0][0] + 1), 46, 344)
    y = Scale(low, high, 142, 26)
    parts = [heading(title, 360)]
    for tick in y.ticks(4):
        parts.append(line(40, y(tick), 350, y(tick), "grid"))
    parts.append(ticks([(35, y(tick) + 3.5, words.exact(tick)) for tick in y.ticks(4)], "end"))
    parts.append(band([(x(at), y(a), y(b)) for at, a, _, b in points], "null-permuted"))
    parts.append(polyline([(x(at), y(middle)) for at, _, middle, _ in points], "running"))
    numbers = [(x(tick), 156.0, words.exact(tick)) for tick in x.ticks(6) if tick % 1 == 0]
    parts.append(ticks([*numbers, (195, 170, unit)], "middle"))
    first, last = points[0][2], points[-1][2]
    spoken = f"median {words.number(first)} before the first {unit}, {words.number(last)} after the last"
    data = Data(
        (unit, "lower quartile (nats a token)", "median", "upper quartile"),
        [(at, a, middle, b) for at, a, middle, b in points],
        [x(at) for at, *_ in points],
    )
    return drawing(uid, title, spoken, 360, 176, *parts, css="strip", data=data)

"""How far a subspace turned: principal angles as bars, each with the energy that its directions hold.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Data, Scale, drawing, heading, line, rectangle, tag, text

MOST_ANGLES = 8
"""Angles drawn; the record holds them all."""
RIGHT = 90.0


def angles(
    degrees: Sequence[Any], there: Sequence[Any] = (), here: Sequence[Any] = (), *, uid: str, title: str
) -> Markup:
    """Principal angles from 0 to 90 degrees, the smallest first, beside the energy of each component.

    Args:
        degrees: of the record, ascending.
        there: shares of energy of the other checkpoint's components, hollow.
        here: of this checkpoint's, solid.
        uid: unique in the document.
        title: above the figure, and what a screen reader says.
    """
    found = [value for value in map(words.finite, degrees) if value is not None][:MOST_ANGLES]
    if not found:
        return Markup("")
    shares = [[words.finite(value) for value in part][: len(found)] for part in (there, here)]
    both = any(value is not None for part in shares for value in part)
    x, energy = Scale(0, RIGHT, 24, 190 if both else 300), Scale(0, 1, 250, 344)
    height = 20.0 + 20 * len(found)
    parts = [heading(title, 190)]
    for angle in (0, 30, 60, 90):
        parts.append(line(x(angle), 20, x(angle), height, "grid"))
        parts.append(text(x(angle), height + 12, f"{angle}°", "tick", "middle"))
    if both:
        parts.append(text(energy.start, 12, "energy there, here", "panel"))
        for tick in (0.0, 0.5, 1.0):
            parts.append(line(energy(tick), 20, energy(tick), height, "grid"))
            parts.append(text(energy(tick), height + 12, words.exact(tick), "tick", "middle"))
    for index, value in enumerate(found):
        y = 20.0 + 20 * index
        parts.append(text(18, y + 14, str(index + 1), "tick", "end"))
        parts.append(rectangle(x.start, y + 4, max(x(value) - x.start, 0.8), 12, "bar"))
        parts.append(text(x(value) + 4, y + 14, f"{words.number(value)}°", "callout"))
        for part, top, css in zip(shares, (3, 10), ("bar hollow", "bar"), strict=True):
            share = part[index] if index < len(part) else None
            if share is not None:
                parts.append(rectangle(energy.start, y + top, energy(share) - energy.start, 6, css))
    listed = ", ".join(f"{words.number(value)}°" for value in found)
    data = Data(
        ("component", "principal angle (degrees)", "energy there (share)", "energy here (share)"),
        [
            (index + 1, value, *(part[index] if index < len(part) else None for part in shares))
            for index, value in enumerate(found)
        ],
    )
    said = f"{len(found)} principal angles: {listed}"
    return drawing(uid, title, said, 360, height + 18, *parts, css="strip", data=data)


def share_row(rho: Any, low: Any, high: Any, *, uid: str, what: str) -> Markup:
    """A share of an effect with its interval on an axis from −0.5 to 1.5, marks at 0, 0.5, 0.8 and 1.

    The two in the middle are those that the words *drift-only* and *reorganised* rest on.
    """
    value, least, most = words.finite(rho), words.finite(low), words.finite(high)
    if value is None:
        return Markup("")
    x = Scale(-0.5, 1.5, 4, 196)
    parts = [line(x(tick), 2, x(tick), 18, "guide" if tick in (0.5, 0.8) else "grid") for tick in (0.0, 0.5, 0.8, 1.0)]
    if least is not None and most is not None:
        parts.append(line(x(least), 10, x(most), 10, "interval"))
        parts += [line(x(end), 6, x(end), 14, "cap") for end in (least, most)]
    parts.append(tag("circle", cx=x(value), cy=10, r=3.6, class_="estimate"))
    parts += [text(x(tick), 28, words.exact(tick), "tick", "middle") for tick in (0.0, 0.5, 0.8, 1.0)]
    spoken = f"{words.number(value, 'share')} {words.interval(least, most, 'share')}".strip()
    data = Data(("share of the effect", "low", "high"), [(value, least, most)])
    return drawing(uid, what, spoken, 200, 32, *parts, css="interval-row", data=data)

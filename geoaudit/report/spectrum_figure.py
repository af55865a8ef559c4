"""A spectrum: shares of energy as bars, their running sum, and what chance gives each component.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.band_figures import NULLS
from geoaudit.report.svg import Data, Scale, coordinate, dots, drawing, line, polyline, tag, text
from geoaudit.report.titles import mapping

COMPONENTS_SHOWN = 16
"""Leading components of a spectrum that are drawn."""
ENDS = ("low", "high")
_PLACE = {"permuted": 0.3, "harmless": 0.7}
"""Where in a component's column the range of a null level stands."""


def spectrum(energies: Sequence[Any], *, uid: str, title: str, null: Any = None) -> Markup:
    """Shares of energy as bars, leading component first, their running sum as a line, null ranges as whiskers.

    Args:
        energies: of all components.
        uid: unique in the document.
        title: above the figure, and what a screen reader says.
        null: `permuted` and `harmless`, each with `energies_low` and `energies_high`.
    """
    shares = [share for share in map(words.finite, energies) if share is not None]
    if not shares:
        return Markup("")
    shown = shares[:COMPONENTS_SHOWN]
    x = Scale(0, max(len(shown), 8), 34, 316)
    y = Scale(0, 1, 142, 18)
    parts = []
    for tick in (0.0, 0.5, 0.9, 1.0):
        css = "guide" if tick == 0.9 else "grid"
        parts += [
            line(x.start, y(tick), x.end, y(tick), css),
            text(29, y(tick) + 3.5, words.exact(tick), "tick", "end"),
        ]
    running, cumulative, points = 0.0, [], []
    bars: list[str] = []
    for index, share in enumerate(shown):
        running += share
        cumulative.append(running)
        points.append((x(index + 0.5), y(min(running, 1.0))))
        top, foot = coordinate(y(share)), coordinate(y.start)
        bars.append(f"M{coordinate(x(index + 0.15))} {foot}V{top}h{coordinate(x(0.7) - x.start)}V{foot}")
        if index == 0 or (index + 1) % 4 == 0:
            parts.append(text(x(index + 0.5), 155, str(index + 1), "tick", "middle"))
    parts.append(tag("path", d="".join(bars), class_="bar"))
    parts += [polyline(points, "running"), dots(points, "dots")]
    found = {name: ranges(null, name)[: len(shown)] for name in NULLS}
    for name, ends in found.items():
        path = "".join(
            f"M{x(index + _PLACE[name]):.1f} {y(low):.1f}V{y(high):.1f}m-1.7 0h3.4"
            for index, (low, high) in enumerate(ends)
        )
        if path:
            parts.append(tag("path", d=path, class_=f"range-{name}"))
    parts.append(text(x.start, 10, title, "panel"))
    parts.append(text((x.start + x.end) / 2, 169, "component", "tick", "middle"))
    listed = ", ".join(words.number(share, "share") for share in shown[:8])
    enough = next((str(k) for k, share in enumerate(cumulative, 1) if share >= 0.9), f"more than {len(shown)}")
    chance = "".join(
        f" First component under {NULLS[name]}: {words.interval(*ends[0], 'share')}."
        for name, ends in found.items()
        if ends
    )
    return drawing(
        uid,
        f"Spectrum, {title}",
        f"Shares of energy of the leading components: {listed}. 90 % of the energy: {enough} components.{chance}",
        324,
        174,
        *parts,
        css="spectrum",
        data=Data(
            (
                "component",
                "share of energy",
                "running sum",
                *(f"{NULLS[name]}, {end}" for name in found for end in ENDS),
            ),
            [
                (index + 1, share, cumulative[index], *(end for ends in found.values() for end in _at(ends, index)))
                for index, share in enumerate(shown)
            ],
            [at for at, _ in points],
            told=True,
        ),
    )


def _at(ends: Sequence[tuple[float, float]], index: int) -> tuple[float | None, float | None]:
    return ends[index] if index < len(ends) else (None, None)


def ranges(null: Any, name: str) -> list[tuple[float, float]]:
    """The null range of each component, up to the first that has none."""
    row: Mapping[str, Any] = mapping(mapping(null).get(name))
    lows, highs = row.get("energies_low"), row.get("energies_high")
    if not isinstance(lows, list | tuple) or not isinstance(highs, list | tuple):
        return []
    found = []
    for low, high in zip(map(words.finite, lows), map(words.finite, highs), strict=False):
        if low is None or high is None:
            break
        found.append((low, high))
    return found


def legend_range(name: str) -> Markup:
    """The whisker of a null level beside its name in the legend; decoration only."""
    mark = tag("path", d="M6 11V2m-2.5 0h5", class_=f"range-{name}")
    return tag("svg", mark, class_="legend-mark", viewBox="0 0 12 12", aria_hidden="true")

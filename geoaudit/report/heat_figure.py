"""A heat map of layers against template positions: cells by colour, the ones that matter outlined and ringed.

The ramp has eight steps and one order: from what a rule does not want to what it wants, each step more prominent than
the last, so that grey print and colour-blind eyes read the same order. Its hue changes at the level that decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import coordinate, round_step, tag, ticks

SIDE = 4
"""Steps of the ramp on either side of the level."""
STEPS = 2 * SIDE
_MOST_DECIMALS = 3
_DIGIT = 6.5
"""Pixels of a character of a tick, in a wide font."""
_GAP = 0.7
"""Width of the lines between cells."""
Place = tuple[int, int]
"""(row of the figure, layer)."""


@dataclass(frozen=True)
class Ramp:
    """Which step of colour a value has: 0 is the least wanted, 7 the most."""

    edges: tuple[float, ...]
    """Between the steps, ascending."""
    low_is_wanted: bool = False
    decimals: int = 2
    """That the edges are written with."""
    logarithmic: bool = False

    @classmethod
    def around(cls, level: float, values: Iterable[float], *, low_is_wanted: bool = False) -> Ramp:
        """Even steps on either side of a level, as wide as the values need; never finer on the side not wanted."""
        found = [value - level for value in values]
        above, below = max(found, default=0.0), -min(found, default=0.0)
        up, down = (round_step(size / SIDE) if size > 0 else 0.0 for size in (above, below))
        if low_is_wanted:
            up = max(up, down)
        else:
            down = max(up, down)
        up, down = up or down or 1.0, down or up or 1.0
        edges = [level - down * k for k in range(SIDE - 1, 0, -1)] + [level + up * k for k in range(SIDE)]
        decimals = max(_decimals(up), _decimals(down), min(_MOST_DECIMALS, len(f"{level:.4g}".partition(".")[2])))
        return cls(tuple(edges), low_is_wanted, decimals)

    @classmethod
    def decades(cls, level: float) -> Ramp:
        """Half powers of ten around a level that is best kept below: KL around its budget."""
        return cls(tuple(level * 10 ** (k / 2) for k in range(1 - SIDE, SIDE)), low_is_wanted=True, logarithmic=True)

    @classmethod
    def even(cls, values: Iterable[float], *, logarithmic: bool = False) -> Ramp:
        """Four steps over the range of the values, of which no level decides."""
        found = [value for value in values if value > 0 or not logarithmic]
        low, high = min(found, default=0.0), max(found, default=0.0)
        if logarithmic and high > low > 0:
            return cls(tuple(low * (high / low) ** (k / SIDE) for k in range(1, SIDE)), logarithmic=True)
        step = round_step((high - low) / SIDE)
        start = math.floor(low / step) * step
        return cls(tuple(start + step * k for k in range(1, SIDE)), decimals=_decimals(step))

    def step(self, value: float) -> int:
        """The step of a value. On an edge, the lower one."""
        above = sum(value > edge for edge in self.edges)
        return self.first + (len(self.edges) - above if self.low_is_wanted else above)

    @property
    def first(self) -> int:
        """The least step that occurs: 4 where no level decides."""
        return STEPS - len(self.edges) - 1

    def written(self, edge: float) -> str:
        """An edge as the legend writes it."""
        if self.logarithmic:
            return words.exact(float(f"{edge:.2g}"))
        return words.exact(round(edge, self.decimals))


@dataclass(frozen=True)
class Frame:
    """Where the cells lie."""

    left: float
    top: float
    width: float
    height: float
    rows: int
    layers: int

    def x(self, layer: float) -> float:
        """The left edge of a layer's cells; the middle at + 0.5."""
        return self.left + self.width * layer / self.layers

    def y(self, row: float) -> float:
        """The upper edge of a row."""
        return self.top + self.height * row / self.rows


def cells(
    frame: Frame, values: Mapping[Place, float | None], ramp: Ramp, hatched: Iterable[Place] = ()
) -> list[Markup]:
    """A path for each step of colour, runs of equal cells merged; None is a blank cell, `hatched` lies over all."""
    found = [_filled(frame, (place for place, value in values.items() if value is None), "heat-none")]
    for step in range(ramp.first, STEPS):
        own = (place for place, value in values.items() if value is not None and ramp.step(value) == step)
        found.append(_filled(frame, own, f"heat-{step}"))
    found.append(_filled(frame, hatched, "shaded"))
    return [*found, _gaps(frame)]


def outlined(frame: Frame, places: Iterable[Place]) -> list[Markup]:
    """The border of a set of cells, on a halo so that it shows on any colour."""
    own = set(places)
    path = ""
    for row in sorted({edge for at, _ in own for edge in (at, at + 1)}):
        edges = [(row, layer) for layer in range(frame.layers) if ((row, layer) in own) != ((row - 1, layer) in own)]
        for _, first, last in _runs(edges):
            path += f"M{coordinate(frame.x(first))} {coordinate(frame.y(row))}H{coordinate(frame.x(last + 1))}"
    for layer in sorted({edge for _, at in own for edge in (at, at + 1)}):
        edges = [(layer, row) for row in range(frame.rows) if ((row, layer) in own) != ((row, layer - 1) in own)]
        for _, first, last in _runs(edges):
            path += f"M{coordinate(frame.x(layer))} {coordinate(frame.y(first))}V{coordinate(frame.y(last + 1))}"
    return [tag("path", d=path, class_=css) for css in ("halo", "outline")] if path else []


def ringed(frame: Frame, place: Place, *, doubted: bool) -> list[Markup]:
    """A ring around a cell; dashed for one that is not admissible."""
    x, y = frame.x(place[1] + 0.5), frame.y(place[0] + 0.5)
    rings = ("halo", "ring doubted" if doubted else "ring")
    return [tag("circle", cx=x, cy=y, r=6.5, class_=css) for css in rings]


def marked(frame: Frame, places: Iterable[Place], css: str, shape: str) -> Markup:
    """The same small mark in the middle of every cell: a relative path that starts at the centre."""
    path = "".join(
        f"M{coordinate(frame.x(layer + 0.5))} {coordinate(frame.y(row + 0.5))}{shape}" for row, layer in sorted(places)
    )
    return tag("path", d=path, class_=css) if path else Markup("")


def legend(ramp: Ramp, x: float, y: float, width: float) -> list[Markup]:
    """The steps as a strip with the values between them beneath."""
    n = len(ramp.edges) + 1
    size, name = width / n, f"ramp-{n}{'-down' if ramp.low_is_wanted else ''}"
    parts = [tag("use", href=f"#{name}", x=x, y=y, width=width, height=8)]
    crowded = max(map(len, map(ramp.written, ramp.edges))) * _DIGIT > size - 6
    written = [
        (x + index * size, y + 19, ramp.written(edge))
        for index, edge in enumerate(ramp.edges, 1)
        if n < STEPS or index % 2 == 0 or not (ramp.logarithmic or crowded)
    ]
    return [*parts, ticks(written, "middle")]


def _filled(frame: Frame, places: Iterable[Place], css: str) -> Markup:
    """Runs of cells as strokes as broad as a row: half the markup of areas."""
    path = "".join(
        f"M{coordinate(frame.x(first))} {coordinate(frame.y(row + 0.5))}H{coordinate(frame.x(last + 1))}"
        for row, first, last in _runs(sorted(set(places)))
    )
    return tag("path", d=path, class_=css, stroke_width=frame.height / frame.rows) if path else Markup("")


def _runs(places: Sequence[Place]) -> Iterable[tuple[int, int, int]]:
    """(row, first layer, last layer) of neighbours in a row."""
    if not places:
        return
    start = places[0]
    for here, after in pairwise([*places, None]):
        if here is not None and after != (here[0], here[1] + 1):
            yield here[0], start[1], here[1]
            start = after or here


def _gaps(frame: Frame) -> Markup:
    """Lines in the colour of the paper between the cells: one dashed stroke as broad as the figure is high."""
    width, middle = frame.width / frame.layers, frame.top + frame.height / 2
    between = tag(
        "path",
        d=f"M{coordinate(frame.left)} {coordinate(middle)}h{coordinate(frame.width)}",
        class_="gap",
        stroke_width=frame.height,
        stroke_dasharray=f"{_GAP} {width - _GAP:.4f}",
    )
    rows = "".join(
        f"M{coordinate(frame.left)} {coordinate(frame.y(k))}h{coordinate(frame.width)}" for k in range(1, frame.rows)
    )
    return between + (tag("path", d=rows, class_="gap", stroke_width=str(_GAP)) if rows else "")


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9) + (f"{step:e}"[:3] == "2.5"))

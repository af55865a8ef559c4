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
from geoaudit.report.svg import coordinate, rectangle, round_step, tag, text

SIDE = 4
"""Steps of the ramp on either side of the level."""
STEPS = 2 * SIDE
_MOST_DECIMALS = 3
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
    own, path = set(places), []
    for row, layer in sorted(own):
        left, right, top, bottom = frame.x(layer), frame.x(layer + 1), frame.y(row), frame.y(row + 1)
        for beside, x, y, side in (
            ((row - 1, layer), left, top, f"H{coordinate(right)}"),
            ((row + 1, layer), left, bottom, f"H{coordinate(right)}"),
            ((row, layer - 1), left, top, f"V{coordinate(bottom)}"),
            ((row, layer + 1), right, top, f"V{coordinate(bottom)}"),
        ):
            if beside not in own:
                path.append(f"M{coordinate(x)} {coordinate(y)}{side}")
    return [tag("path", d="".join(path), class_=css) for css in ("halo", "outline")] if path else []


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
    size, parts = width / n, []
    for index in range(n):
        step = STEPS - 1 - index if ramp.low_is_wanted else ramp.first + index
        parts.append(rectangle(x + index * size, y, size, 8, f"heat-{step}"))
    for index, edge in enumerate(ramp.edges, 1):
        if not ramp.logarithmic or n < STEPS or index % 2 == 0:
            parts.append(text(x + index * size, y + 19, ramp.written(edge), "tick", "middle"))
    return parts


def _filled(frame: Frame, places: Iterable[Place], css: str) -> Markup:
    path = "".join(
        f"M{coordinate(frame.x(first))} {coordinate(frame.y(row))}H{coordinate(frame.x(last + 1))}"
        f"V{coordinate(frame.y(row + 1))}H{coordinate(frame.x(first))}z"
        for row, first, last in _runs(sorted(set(places)))
    )
    return tag("path", d=path, class_=css) if path else Markup("")


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
    """Lines in the colour of the paper between the cells."""
    bottom, right = coordinate(frame.y(frame.rows)), coordinate(frame.x(frame.layers))
    path = [f"M{coordinate(frame.x(k))} {coordinate(frame.top)}V{bottom}" for k in range(1, frame.layers)]
    path += [f"M{coordinate(frame.left)} {coordinate(frame.y(k))}H{right}" for k in range(1, frame.rows)]
    return tag("path", d="".join(path), class_="gap") if path else Markup("")


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9) + (f"{step:e}"[:3] == "2.5"))

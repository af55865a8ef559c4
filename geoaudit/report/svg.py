"""Drawing in SVG: elements with escaped text, scales, ticks, marks. Colours are CSS classes of the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Attribute = str | float | None
Cell = str | float | int | None
_WIDE = 7.0
"""Pixels of a character of a heading, in a wide font."""


@dataclass(frozen=True)
class Data:
    """The numbers of a figure, as they were drawn: what a reader copies, and what `--geoaudit-figures` writes."""

    columns: Sequence[str]
    """Names with units."""
    rows: Sequence[Sequence[Cell]]
    at: Sequence[float] = ()
    """Where rows lie along the horizontal axis, the pixel of each row of the table at the figure: a script shows the
    row that is nearest to the pointer."""
    told: bool = False
    """Whether the page has these numbers in a table of its own, so that none is put beneath the figure."""


@dataclass(frozen=True)
class Figure:
    """What `drawing` drew."""

    uid: str
    title: str
    description: str
    width: float
    height: float
    css: str
    svg: Markup
    data: Data | None


class Uid(str):
    """An identifier that remembers the figure drawn under it, for what is done with the figures of a whole page."""

    kept: list[Figure]

    def __new__(cls, text: str, kept: list[Figure]) -> Uid:
        """`kept` is where the figure goes."""
        made = super().__new__(cls, text)
        made.kept = kept
        return made


def tag(name: str, *children: str, **attributes: Attribute) -> Markup:
    """An element. Children and attribute values are escaped unless they are Markup; `_` in a name is `-`.

    Attributes that are None are left out; a trailing `_` (`class_`) is dropped.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            text = coordinate(value) if isinstance(value, int | float) else escape(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{text}"')
    inner = "".join(escape(child) for child in children)
    opened = " ".join(parts)
    return Markup(f"<{opened}>{inner}</{name}>" if inner else f"<{opened}/>")


def drawing(
    uid: str,
    title: str,
    description: str,
    width: float,
    height: float,
    *children: str,
    css: str,
    data: Data | None = None,
) -> Markup:
    """An `<svg>` that a screen reader announces as one picture with this title and description.

    Where `uid` is a `Uid`, the figure and its numbers are kept there.
    """
    made = tag(
        "svg",
        tag("title", title, id=f"{uid}-t"),
        tag("desc", description, id=f"{uid}-d"),
        *children,
        class_=css,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_labelledby=f"{uid}-t {uid}-d",
        data_at=" ".join(map(coordinate, data.at)) or None if data is not None else None,
    )
    if isinstance(uid, Uid):
        uid.kept.append(Figure(uid, title, description, width, height, css, made, data))
    return made


def text(x: float, y: float, content: str, css: str = "", anchor: str | None = None) -> Markup:
    """A line of text with its baseline at y; `anchor` is "middle" or "end", by default its start."""
    return tag("text", content, x=x, y=y, class_=f"{css} {anchor or ''}".strip() or None)


def heading(content: str, width: float) -> Markup:
    """What stands above a panel of this width: squeezed where it is longer, cut where squeezing would not do."""
    most = int(1.35 * width / _WIDE)
    shown = content if len(content) <= most else f"{content[: most - 1]}…"
    squeezed = width - 8 if len(shown) * _WIDE > width - 8 else None
    adjusted = None if squeezed is None else "spacingAndGlyphs"
    return tag("text", shown, x=4, y=12, class_="panel strong", textLength=squeezed, lengthAdjust=adjusted)


def ticks(places: Iterable[tuple[float, float, str]], anchor: str) -> Markup:
    """The numbers of an axis as one group: (x, y of the baseline, what is written)."""
    return tag("g", *(tag("text", content, x=x, y=y) for x, y, content in places), class_=f"tick {anchor}")


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    return tag("path", d=f"M{coordinate(x1)} {coordinate(y1)}{_to(x1, y1, x2, y2)}", class_=css)


def rectangle(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """A rectangle; a negative width or height draws nothing."""
    return tag("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), class_=css)


def polyline(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """Straight lines through the points."""
    return tag("path", d="M" + "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points), class_=css)


def dots(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """A round dot at every point, as wide as the class draws its line; one path, however many."""
    path = "".join(f"M{coordinate(x)} {coordinate(y)}h0" for x, y in points)
    return tag("path", d=path, class_=css) if path else Markup("")


def staircase(points: Sequence[tuple[float, float]], css: str) -> Markup:
    """Level from each point to the x of the next one, then straight to it."""
    path = "".join(f"H{coordinate(x)}V{coordinate(y)}" for x, y in points[1:])
    return tag("path", d=f"M{coordinate(points[0][0])} {coordinate(points[0][1])}{path}", class_=css)


def band(points: Sequence[tuple[float, float, float]], css: str) -> Markup:
    """The area between two lines: (x, lower y, upper y) of each point. Of a single point a bar."""
    if len(points) == 1:
        x, low, high = points[0]
        points = [(x - 3, low, high), (x + 3, low, high)]
    there = [(x, high) for x, _, high in points]
    back = [(x, low) for x, low, _ in reversed(points)]
    return polyline([*there, *back, there[0]], css)


MARKS = {
    # One relative path around a centre, so that a status differs in shape and not in colour alone.
    "admissible": (0.0, 0.0, "h0"),
    "kl": (-2.2, -2.2, "h4.4v4.4h-4.4z"),
    "not-inducing": (-2.6, 0.0, "h5.2"),
    "late-layer": (0.0, -2.9, "l2.7 4.8h-5.4z"),
    "screened": (-2.1, -2.1, "l4.2 4.2m0-4.2l-4.2 4.2"),
    "null": (-1.6, 0.0, "h3.2m-1.6-1.6v3.2"),
    "control": (0.0, 0.0, "h0"),
}


def marks(points: Iterable[tuple[float, float]], mark: str) -> Markup:
    """One path that draws the same mark at every point."""
    dx, dy, shape = MARKS[mark]
    path = "".join(f"M{coordinate(x + dx)} {coordinate(y + dy)}{shape}" for x, y in points)
    return tag("path", d=path, class_=f"mark mark-{mark}") if path else Markup("")


def coordinate(value: float) -> str:
    """A number of pixels with one decimal at most."""
    shown = f"{value:.1f}"
    return shown[:-2] if shown.endswith(".0") else shown


def _to(x1: float, y1: float, x2: float, y2: float) -> str:
    if y1 == y2:
        return f"H{coordinate(x2)}"
    return f"V{coordinate(y2)}" if x1 == x2 else f"L{coordinate(x2)} {coordinate(y2)}"


@dataclass(frozen=True)
class Scale:
    """Data to pixels, linear or logarithmic; what lies outside is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (self._warped(part) for part in (self.low, self.high, value))
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def _warped(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value

    def ticks(self, about: int = 4) -> list[float]:
        """Round values inside the scale: decades, or multiples of 1, 2, 2.5 or 5."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        step = round_step((self.high - self.low) / max(about, 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def round_step(rough: float) -> float:
    """The least of 1, 2, 2.5, 5, 10 times a power of ten that is not below `rough`."""
    if not rough > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next((step * power for step in (1, 2, 2.5, 5) if step * power >= rough * (1 - 1e-9)), 10 * power)


def span(values: Sequence[float], *also: float) -> tuple[float, float]:
    """The range of the values and of what else must be seen, widened where it is a point."""
    everything = [*values, *also]
    low, high = min(everything), max(everything)
    return (low, high) if high > low else (low - 0.5, high + 0.5)

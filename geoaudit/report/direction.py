"""Directions as a reader meets them: length, stability and separation at every site that was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from geoaudit.report import heat_figure, words
from geoaudit.report.heat_figure import Frame, Place, Ramp
from geoaudit.report.svg import Scale, drawing, text
from geoaudit.report.titles import Row, detail_of
from geoaudit.report.verdict import rows

_COSINES = Ramp((-0.9, -0.7, -0.4, 0.0, 0.4, 0.7, 0.9))
_SHARES = Ramp((0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9))
FIELDS: Mapping[str, tuple[str, Ramp | None]] = {
    "norm": ("norm (log steps)", None),
    "split_half_cosine": ("split-half cosine", _COSINES),
    "auroc": ("AUROC", _SHARES),
}
"""Fields with a heat map: name, and colours around the level of no signal where there is one."""
COLUMNS: Mapping[str, str] = {
    "norm": "Norm",
    "split_half_cosine": "Split-half cosine",
    "auroc": "AUROC",
    "d_prime": "d′",
    "cone_degrees": "Cone, degrees",
}
MOST_SITES = 12
"""Sites listed beside the figure; the record holds them all."""
MOST_LAYERS, MOST_POSITIONS = 400, 40
_SAME = ("contrast", "position", "layer")


@dataclass(frozen=True)
class Direction:
    """One contrast on one checkpoint with all measures that were read from it."""

    checkpoint: str
    detail: Row
    measurements: Sequence[Row]

    @property
    def heading(self) -> str:
        """`harmful − harmless, read at layer 14, position −4`."""
        layer, position = words.finite(self.detail.get("layer")), self.detail.get("position")
        found = words.plain(self.detail.get("contrast"))
        if layer is None:
            return found
        at = "" if position is None else f", position {words.position(position)}"
        return f"{found}, read at layer {words.exact(layer)}{at}"

    @property
    def values(self) -> list[tuple[str, str]]:
        """Measure by measure: the value with its interval."""
        found = []
        for row in self.measurements:
            unit = str(row.get("unit") or "")
            value = f"{words.number(row.get('estimate'), unit)} {words.interval(row.get('low'), row.get('high'), unit)}"
            found.append((words.plain(row.get("measure")), value.strip()))
        cone = words.finite(self.detail.get("cone_degrees"))
        return [*found, *([] if cone is None else [("95 % bootstrap cone", f"{words.number(cone)}°")])]

    @property
    def sites(self) -> list[Row]:
        """Every site with a place in a figure."""
        found = [row for row in rows(self.detail, "by_site") if _layer(row) is not None]
        return found if len({words.position(row.get("position")) for row in found}) <= MOST_POSITIONS else []

    @property
    def listed(self) -> list[Row]:
        """The sites that separate best, the one in use first."""

        def order(row: Row) -> tuple[bool, bool, float]:
            auroc = words.finite(row.get("auroc"))
            return not self.in_use(row), auroc is None, -(auroc or 0.0)

        return sorted(self.sites, key=order)[:MOST_SITES]

    def in_use(self, row: Row) -> bool:
        """Whether this is the site that the measures were read at."""
        own = words.finite(self.detail.get("layer"))
        return own is not None and _layer(row) == int(own) and row.get("position") == self.detail.get("position")

    def cells(self, row: Row) -> list[str]:
        """The numbers of COLUMNS."""
        return [words.number(row.get(field)) for field in COLUMNS]

    def maps(self) -> list[str]:
        """Fields with a heat map."""
        return [name for name in FIELDS if any(words.finite(row.get(name)) is not None for row in self.sites)]

    def heat(self, field: str, *, uid: str) -> Markup:
        """One field over layers and positions, the site in use ringed."""
        name, known = FIELDS[field]
        positions = sorted(
            {words.position(row.get("position")): row.get("position") for row in self.sites}.values(), key=_order
        )
        places = {words.position(at): index for index, at in enumerate(positions)}
        layers = max(int(_layer(row) or 0) for row in self.sites) + 1
        frame = Frame(44, 20, 310, 14 * len(places), len(places), layers)
        values: dict[Place, float | None] = {_place(row, places): words.finite(row.get(field)) for row in self.sites}
        found = [value for value in values.values() if value is not None]
        ramp = known or Ramp.even(found, logarithmic=True)
        parts = [text(4, 12, name, "panel strong")]
        parts += [text(39, frame.y(index + 0.5) + 3.5, at[:8], "tick", "end") for at, index in places.items()]
        parts += heat_figure.cells(frame, values, ramp)
        own = next((row for row in self.sites if self.in_use(row)), None)
        if own:
            parts += heat_figure.ringed(frame, _place(own, places), doubted=False)
        base = frame.y(len(places))
        ticks = [tick for tick in Scale(0, max(layers - 1, 1), 0, 1).ticks(6) if tick % 1 == 0]
        parts += [text(frame.x(tick + 0.5), base + 12, words.exact(tick), "tick", "middle") for tick in ticks]
        parts += heat_figure.legend(ramp, frame.left, base + 20, 310)
        ends = f"from {words.number(min(found))} to {words.number(max(found))}" if found else "no value"
        here = "" if own is None else f"; in use: {words.number(own.get(field))}"
        said = f"{len(places)} positions, {layers} layers; {ends}{here}"
        return drawing(uid, f"{name} by layer and position", said, 360, base + 44, *parts, css="heat")


def directions(record: Row) -> list[Direction]:
    """Each contrast once, in the record's order."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        detail = detail_of(row)
        if rows(detail, "by_site"):
            key = words.plain(row.get("checkpoint")), *(words.plain(detail.get(name)) for name in _SAME)
            grouped.setdefault(key, []).append(row)
    return [Direction(key[0], detail_of(group[0]), group) for key, group in grouped.items()]


def _layer(row: Row) -> int | None:
    found = words.finite(row.get("layer"))
    return None if found is None or not 0 <= found < MOST_LAYERS else int(found)


def _place(row: Row, places: Mapping[str, int]) -> Place:
    return places[words.position(row.get("position"))], _layer(row) or 0


def _order(position: Any) -> tuple[bool, float, str]:
    """`t_inst` before the template's tokens, these from the earliest."""
    found = words.finite(position)
    return found is not None, found or 0.0, words.plain(position)

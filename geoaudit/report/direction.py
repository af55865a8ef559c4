"""Directions as a reader meets them: length, stability and separation at every site that was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from geoaudit.report import heat_figure, words
from geoaudit.report.heat_figure import Frame, Place, Ramp
from geoaudit.report.svg import Scale, drawing, text, ticks
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


@dataclass(frozen=True)
class Direction:
    """One contrast on one checkpoint with all measures that were read from it, at whatever sites."""

    checkpoint: str
    contrast: str
    measurements: Sequence[Row]

    @cached_property
    def sites(self) -> list[Row]:
        """Every site with a place in a figure; what one measure left out is taken from another one."""
        merged: dict[tuple[str, int], dict[str, Any]] = {}
        for row in (row for one in self.measurements for row in rows(detail_of(one), "by_site")):
            layer = _layer(row)
            if layer is not None:
                own = merged.setdefault((words.position(row.get("position")), layer), dict(row))
                own.update({name: row[name] for name in COLUMNS if own.get(name) is None and name in row})
        return list(merged.values()) if len({position for position, _ in merged}) <= MOST_POSITIONS else []

    @property
    def listed(self) -> list[Row]:
        """The sites that separate best, those in use first."""

        def order(row: Row) -> tuple[bool, bool, float]:
            auroc = words.finite(row.get("auroc"))
            return not self.in_use(row), auroc is None, -(auroc or 0.0)

        return sorted(self.sites, key=order)[:MOST_SITES]

    def in_use(self, row: Row) -> bool:
        """Whether any measure was read at this site."""
        return any(site(row) == site(detail_of(one)) for one in self.measurements)

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
        parts.append(ticks([(39, frame.y(index + 0.5) + 3.5, at[:8]) for at, index in places.items()], "end"))
        parts += heat_figure.cells(frame, values, ramp)
        used = [row for row in self.sites if self.in_use(row)]
        for row in used:
            parts += heat_figure.ringed(frame, _place(row, places), doubted=False)
        base = frame.y(len(places))
        numbers = [tick for tick in Scale(0, max(layers - 1, 1), 0, 1).ticks(6) if tick % 1 == 0 and tick < layers]
        parts.append(ticks([(frame.x(tick + 0.5), base + 12, words.exact(tick)) for tick in numbers], "middle"))
        parts += heat_figure.legend(ramp, frame.left, base + 20, 310)
        ends = f"from {words.number(min(found))} to {words.number(max(found))}" if found else "no value"
        here = "".join(f"; {site(row)}: {words.number(row.get(field))}" for row in used[:3])
        said = f"{len(places)} positions, {layers} layers; {ends}{here}"
        return drawing(uid, f"{name} by layer and position", said, 360, base + 44, *parts, css="heat")


def directions(record: Row) -> list[Direction]:
    """Each contrast once, in the record's order."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows(record, "measurements"):
        if rows(detail_of(row), "by_site"):
            key = words.plain(row.get("checkpoint")), words.plain(detail_of(row).get("contrast"))
            grouped.setdefault(key, []).append(row)
    return [Direction(*key, group) for key, group in grouped.items()]


def site(row: Row) -> str:
    """`layer 14, position −4` of a site."""
    return f"layer {words.number(row.get('layer'), 'layer')}, position {words.position(row.get('position'))}"


def _layer(row: Row) -> int | None:
    found = words.finite(row.get("layer"))
    return None if found is None or not 0 <= found < MOST_LAYERS else int(found)


def _place(row: Row, places: Mapping[str, int]) -> Place:
    return places[words.position(row.get("position"))], _layer(row) or 0


def _order(position: Any) -> tuple[bool, float, str]:
    """`t_inst` before the template's tokens, these from the earliest."""
    found = words.finite(position)
    return found is not None, found or 0.0, words.plain(position)

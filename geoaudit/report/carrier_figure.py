"""The carrier search as figures: KL against inducing effect, and both by layer for every template position.

A candidate's status is a shape as well as a colour. The chosen direction is ringed; where it is only the nearest one
the ring is dashed and the words *not admissible* stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import MARKS, Scale, coordinate, drawing, line, marks, rectangle, span, tag, text

EFFECTS: Mapping[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "cosmic": (("s_refuse_scaled", "S̃ refuse"), ("s_comply", "S comply")),
    "arditi": (("induce", "induce (nats)"), ("bypass", "bypass (nats)")),
}
"""For each rule the two effects that are drawn: field of a candidate, name on the axis. The first one is inducing."""
DRAWN = tuple(status for status in words.STATUSES if status in MARKS)
"""Statuses with a mark; what is not finite has no place in a figure and is counted only."""
LEAST_KL = 1e-4
"""Smaller values of KL (nats), zero and rounding below it among them, are drawn at this edge."""


@dataclass(frozen=True)
class Search:
    """What is drawn of one carrier search."""

    rule: str
    candidates: Sequence[Mapping[str, Any]]
    kl_budget: float | None
    c0: float | None
    n_layers: int
    chosen: Mapping[str, Any]
    """The selected candidate, else the nearest; empty where there is neither."""
    admissible: bool
    """Whether `chosen` is the selected one."""

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> Search | None:
        """From the detail of a carrier measurement; None where it holds no candidates that can be drawn."""
        rows = [row for row in detail.get("candidates") or () if isinstance(row, Mapping) and _at(row) is not None]
        rule = str(detail.get("rule", ""))
        if not rows or rule not in EFFECTS:
            return None
        selected, nearest = detail.get("selected"), detail.get("nearest")
        layers = words.finite(detail.get("n_layers")) or 0
        return cls(
            rule=rule,
            candidates=rows,
            kl_budget=words.finite(detail.get("kl_budget")),
            c0=words.finite(detail.get("c0")),
            n_layers=max(int(layers), *(int(row["layer"]) + 1 for row in rows)),
            chosen=next((row for row in (selected, nearest) if isinstance(row, Mapping) and _at(row)), {}),
            admissible=isinstance(selected, Mapping),
        )

    @property
    def positions(self) -> list[int]:
        """Template positions, from the earliest to −1."""
        return sorted({int(row["position"]) for row in self.candidates})

    def kl_scale(self, start: float, end: float) -> Scale:
        """Logarithmic, around the candidates, with room on both sides of the budget."""
        values = [math.log10(max(kl, LEAST_KL)) for row in self.candidates if (kl := _of(row, "kl")) is not None]
        budget = [math.log10(self.kl_budget)] if self.kl_budget and self.kl_budget > LEAST_KL else []
        low, high = span(values or [-2.0, 0.0], *(end + room for end in budget for room in (-0.4, 0.3)))
        return Scale(10.0 ** (low - 0.1), 10.0 ** (high + 0.1), start, end, log=True)

    def effect_scale(self, field: str, start: float, end: float) -> Scale:
        """Linear, around the candidates and the level of doing nothing."""
        values = [value for row in self.candidates if (value := words.finite(row.get(field))) is not None]
        level = self.idle(field)
        low, high = span(values or [0.0, 1.0], *([] if level is None else [level]))
        return Scale(low - 0.06 * (high - low), high + 0.06 * (high - low), start, end)

    def idle(self, field: str) -> float | None:
        """What a direction that does nothing would score; None where that is not known."""
        return {"s_refuse_scaled": 0.0, "induce": 0.0, "s_comply": self.c0}.get(field)

    def is_chosen(self, row: Mapping[str, Any]) -> bool:
        """Whether this candidate is the ringed one."""
        return _at(row) == _at(self.chosen) is not None

    @property
    def badge(self) -> str:
        """What is written at the ring."""
        return "selected" if self.admissible else "nearest, not admissible"


def frontier(search: Search, *, uid: str, description: str) -> Markup:
    """KL of ablating a candidate against the effect of adding it; the quarter that is admissible is shaded."""
    field, name = EFFECTS[search.rule][0]
    x, y = search.kl_scale(46, 470), search.effect_scale(field, 274, 38)
    parts: list[str] = [text(4, 14, name, "panel")]
    if search.kl_budget:
        edge = x(search.kl_budget)
        parts.append(rectangle(x.start, y.end, edge - x.start, y(search.idle(field) or 0.0) - y.end, "allowed"))
        parts += [line(edge, y.end, edge, y.start, "bound")]
        parts.append(text(edge, y.end - 6, "KL budget", "note", "end" if edge > x.end - 40 else "middle"))
        parts.append(text(x.start + 12, y.end + 14, "admissible", "note"))
    parts += _grid(x, y, idle=search.idle(field))
    parts += [text(x(tick), 290, _power(tick), "tick", "middle") for tick in x.ticks()]
    parts.append(text((x.start + x.end) / 2, 308, "KL when ablated, nats (log scale)", "tick", "middle"))
    placed = [
        (row, (x(kl), y(effect)))
        for row in search.candidates
        if (kl := _of(row, "kl")) is not None and (effect := _of(row, field)) is not None
    ]
    parts += _marked(placed)
    for row, (px, py) in placed:
        if search.is_chosen(row):
            where = f"{search.badge}: layer {words.number(row['layer'], 'layer')} at {words.position(row['position'])}"
            parts += [_ring(px, py, search), text(x.end, 14, where, "panel strong", "end")]
    return drawing(uid, f"KL against {name}, all candidates", description, 480, 314, *parts, css="frontier")


def by_layer(search: Search, position: int, token: str, *, uid: str) -> Markup:
    """For one template position: KL (log scale), the inducing and the bypassing effect over the layers."""
    rows = sorted((row for row in search.candidates if row["position"] == position), key=lambda row: int(row["layer"]))
    x = Scale(0, max(search.n_layers - 1, 1), 34, 184)
    parts: list[str] = [text(4, 12, f"{words.position(position)}  {words.token(token)[:18]}", "panel strong")]
    late = [int(row["layer"]) for row in rows if row.get("status") == "late-layer"]
    fields = (("kl", "KL (nats)"), *EFFECTS[search.rule])
    height, pitch = 64, 94
    for index, (field, name) in enumerate(fields):
        top = 38 + index * pitch
        y = search.kl_scale(top + height, top) if field == "kl" else search.effect_scale(field, top + height, top)
        if field == "kl" and search.kl_budget:
            edge = y(search.kl_budget)
            parts.append(rectangle(x.start, edge, x.end - x.start, y.start - edge, "allowed"))
            parts.append(line(x.start, edge, x.end, edge, "bound"))
        if late:
            parts.append(rectangle(x(min(late) - 0.5), top, x.end + 3 - x(min(late) - 0.5), height, "late"))
        parts += _grid(x, y, idle=search.idle(field), columns=False)
        parts.append(text(4, top - 8, name, "panel"))
        placed = [(row, (x(int(row["layer"])), y(value))) for row in rows if (value := _of(row, field)) is not None]
        parts += _marked(placed)
        parts += [_ring(px, py, search) for row, (px, py) in placed if search.is_chosen(row)]
    base = 38 + (len(fields) - 1) * pitch + height
    parts += [text(x(tick), base + 13, words.exact(tick), "tick", "middle") for tick in x.ticks(4)]
    parts.append(text((x.start + x.end) / 2, base + 27, "layer", "tick", "middle"))
    here = next((row for row in rows if search.is_chosen(row)), None)
    least = min((kl for row in rows if (kl := _of(row, "kl")) is not None), default=None)
    description = f"{len(rows)} layers; least KL {words.number(least)} nats" + (
        f"; {search.badge}: layer {here['layer']}" if here else ""
    )
    return drawing(
        uid, f"Position {words.position(position)} by layer", description, 190, base + 32, *parts, css="by-layer"
    )


def legend_mark(status: str) -> Markup:
    """The mark of a status beside its name in the legend; decoration only."""
    return tag("svg", marks([(6, 6)], status), class_="legend-mark", viewBox="0 0 12 12", aria_hidden="true")


def _grid(x: Scale, y: Scale, *, idle: float | None, columns: bool = True) -> list[Markup]:
    """Axes, ticks of y with their numbers, and the level of doing nothing."""
    values = y.ticks(4 if columns else 3)
    corner = f"M{coordinate(x.start)} {coordinate(y.end)}V{coordinate(y.start)}H{coordinate(x.end)}"
    drawn = [
        tag("path", d=corner + "".join(f"M{coordinate(x.start)} {coordinate(y(v))}h-3" for v in values), class_="axis")
    ]
    for tick in values:
        drawn.append(text(x.start - 5, y(tick) + 3.5, _power(tick) if y.log else words.exact(tick), "tick", "end"))
    if idle is not None:
        drawn.append(line(x.start, y(idle), x.end, y(idle), "guide"))
    return drawn


def _marked(placed: Sequence[tuple[Mapping[str, Any], tuple[float, float]]]) -> list[Markup]:
    """The candidates' marks, a path for each status; the ones that matter are drawn last, on top."""
    return [
        marks((point for row, point in placed if row.get("status") == status), status) for status in reversed(DRAWN)
    ]


def _ring(x: float, y: float, search: Search) -> Markup:
    return tag("circle", cx=x, cy=y, r=6.5, class_="ring" if search.admissible else "ring doubted")


def _power(value: float) -> str:
    """A decade, short: 0.01, 100, 1e−4."""
    if 0.0009 < value < 1000:
        return words.exact(value)
    return f"1e{words.exact(round(math.log10(value)))}"


def _of(row: Mapping[str, Any], field: str) -> float | None:
    return words.finite(row.get(field))


def _at(row: Mapping[str, Any]) -> tuple[float, float] | None:
    position, layer = words.finite(row.get("position")), words.finite(row.get("layer"))
    return None if position is None or layer is None or layer < 0 else (position, layer)

"""The carrier search as a figure: KL against inducing effect, every candidate a mark.

A candidate's status is a shape as well as a colour. The chosen direction is ringed; where it is only the nearest one
the ring is dashed and the words *not admissible* stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.heat_figure import Ramp
from geoaudit.report.svg import (
    MARKS,
    Data,
    Scale,
    coordinate,
    drawing,
    line,
    marks,
    rectangle,
    span,
    staircase,
    tag,
    text,
    ticks,
)

KL = ("kl", "KL (nats)")
EFFECTS: Mapping[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "cosmic": (("s_refuse_scaled", "S̃ refuse"), ("s_comply", "S comply")),
    "arditi": (("induce", "induce (nats)"), ("bypass", "bypass (nats)")),
}
"""For each rule the two effects that are drawn: field of a candidate, name on the axis. The first one is inducing."""
LOW_IS_WANTED = ("kl", "bypass")
DRAWN = tuple(status for status in words.STATUSES if status in MARKS)
"""Statuses with a mark; what is not finite has no place in a figure and is counted only."""
LEAST_KL = 1e-4
"""Smaller values of KL (nats), zero and rounding below it among them, are drawn at this edge."""
MOST_LAYERS = 400
"""A record that claims more has no figure: it is not one of a model that anybody searched."""


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
    front: Sequence[tuple[float, float]] = ()
    """(KL, inducing effect) of the candidates that no other one beats in both, by rising KL."""
    first_kl: float | None = None
    """The least KL of a candidate that induces: the budget at which the first carrier appears."""
    values: Mapping[str, Sequence[float]] | None = None
    """Field -> values that its colours must tell apart: those of every search that is to be compared with this one."""

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> Search | None:
        """From the detail of a carrier measurement; None where it holds no candidates that can be drawn."""
        rows = [row for row in _rows(detail.get("candidates")) if _at(row) is not None]
        rule = str(detail.get("rule", ""))
        layers = max([int(words.finite(detail.get("n_layers")) or 0), *(int(row["layer"]) + 1 for row in rows)])
        if not rows or rule not in EFFECTS or layers > MOST_LAYERS:
            return None
        selected, nearest = detail.get("selected"), detail.get("nearest")
        points = [(value_of(row, "kl"), value_of(row, "effect")) for row in _rows(detail.get("frontier"))]
        first = detail.get("first_budget")
        return cls(
            rule=rule,
            candidates=rows,
            kl_budget=words.finite(detail.get("kl_budget")),
            c0=words.finite(detail.get("c0")),
            n_layers=layers,
            chosen=next((row for row in (selected, nearest) if isinstance(row, Mapping) and _at(row)), {}),
            admissible=isinstance(selected, Mapping),
            front=sorted((kl, effect) for kl, effect in points if kl is not None and effect is not None),
            first_kl=value_of(first, "kl") if isinstance(first, Mapping) else None,
        )

    def beside(self, others: Sequence[Search]) -> Search:
        """The same with colours that mean the same in all searches by this rule: a level and steps in common."""
        alike = [other for other in others if other.rule == self.rule]
        found: dict[str, list[float]] = {}
        for field, _ in self.scores:
            for other in alike:
                level, own = other.level(field) or 0.0, self.level(field) or 0.0
                found.setdefault(field, []).extend(value - level + own for value in other.measured(field))
        return replace(self, values=found)

    @property
    def scores(self) -> tuple[tuple[str, str], ...]:
        """Field and name of each score that is drawn."""
        return (KL, *EFFECTS[self.rule])

    @property
    def positions(self) -> list[int]:
        """Template positions, from the earliest to −1."""
        return sorted({int(row["position"]) for row in self.candidates})

    def measured(self, field: str) -> list[float]:
        """The values of a score of all candidates that have one, null directions left out."""
        return [v for row in self.candidates if row.get("status") != "null" and (v := value_of(row, field)) is not None]

    def ramp(self, field: str) -> Ramp:
        """The colours of a score, around the level that decides."""
        level, values = self.level(field), (self.values or {}).get(field) or self.measured(field)
        if field == "kl" and level:
            return Ramp.decades(level)
        if level is None:
            return replace(Ramp.even(values, logarithmic=field == "kl"), low_is_wanted=field in LOW_IS_WANTED)
        return Ramp.around(level, values, low_is_wanted=field in LOW_IS_WANTED)

    def kl_scale(self, start: float, end: float) -> Scale:
        """Logarithmic, around the candidates, with room on both sides of the budget."""
        shown = [*self.measured("kl"), *([] if self.first_kl is None else [self.first_kl])]
        values = [math.log10(max(kl, LEAST_KL)) for kl in shown]
        budget = [math.log10(self.kl_budget)] if self.kl_budget and self.kl_budget > LEAST_KL else []
        low, high = span(values or [-2.0, 0.0], *(end + room for end in budget for room in (-0.4, 0.3)))
        return Scale(10.0 ** (low - 0.1), 10.0 ** (high + 0.1), start, end, log=True)

    def effect_scale(self, field: str, start: float, end: float) -> Scale:
        """Linear, around the candidates and the level of doing nothing."""
        level = self.idle(field)
        front = [effect for _, effect in self.front] if field == EFFECTS[self.rule][0][0] else []
        low, high = span([*self.measured(field), *front] or [0.0, 1.0], *([] if level is None else [level]))
        return Scale(low - 0.06 * (high - low), high + 0.06 * (high - low), start, end)

    def idle(self, field: str) -> float | None:
        """What a direction that does nothing would score; None where that is not known."""
        return {"s_refuse_scaled": 0.0, "induce": 0.0, "s_comply": self.c0}.get(field)

    def level(self, field: str) -> float | None:
        """The value of a score that decides: the KL budget, else what doing nothing scores."""
        if field == "kl":
            return self.kl_budget if self.kl_budget and self.kl_budget > 0 else None
        return self.idle(field)

    def is_chosen(self, row: Mapping[str, Any]) -> bool:
        """Whether this candidate is the ringed one."""
        return _at(row) == _at(self.chosen) is not None

    @property
    def badge(self) -> str:
        """What is written at the ring."""
        return "selected" if self.admissible else "nearest, not admissible"

    @property
    def where(self) -> str:
        """`layer 14 at −4` of the ringed candidate, "" where there is none."""
        if not self.chosen:
            return ""
        return f"layer {words.number(self.chosen['layer'], 'layer')} at {words.position(self.chosen['position'])}"


def frontier(search: Search, *, uid: str, description: str) -> Markup:
    """KL of ablating a candidate against the effect of adding it; the admissible quarter shaded, the front a line."""
    field, name = EFFECTS[search.rule][0]
    x, y = search.kl_scale(46, 470), search.effect_scale(field, 274, 38)
    parts: list[str] = [text(4, 14, name, "panel")]
    if search.kl_budget:
        edge = x(search.kl_budget)
        parts.append(rectangle(x.start, y.end, edge - x.start, y(search.idle(field) or 0.0) - y.end, "allowed"))
        parts += [line(edge, y.end, edge, y.start, "bound")]
        budget, right = f"KL budget {words.exact(search.kl_budget)}", x.end - edge < 110
        parts.append(text(edge + (-5 if right else 5), y.end - 6, budget, "note", "end" if right else None))
        if not right and edge - x.start > 64:
            parts.append(text(edge - 5, y.end - 6, "admissible", "note", "end"))
    parts += axes(x, y, idle=search.idle(field))
    numbers = [(x(tick), 290.0, _power(tick)) for tick in x.ticks()]
    parts.append(ticks([*numbers, ((x.start + x.end) / 2, 308, "KL when ablated, nats (log scale)")], "middle"))
    if search.front:
        parts.append(staircase([(x(kl), y(effect)) for kl, effect in search.front], "front"))
    placed = [
        (row, (x(kl), y(effect)))
        for row in search.candidates
        if (kl := value_of(row, "kl")) is not None and (effect := value_of(row, field)) is not None
    ]
    parts += candidate_marks(placed)
    if search.first_kl is not None:
        first, right = x(search.first_kl), x(search.first_kl) > (x.start + x.end) / 2
        parts.append(line(first, y.end, first, y.start, "threshold"))
        words_first = f"first carrier at {words.number(search.first_kl)}"
        parts.append(text(first + (-5 if right else 5), y.start - 6, words_first, "callout", "end" if right else None))
    for row, (px, py) in placed:
        if search.is_chosen(row):
            parts += [ring(px, py, search), text(x.end, 14, f"{search.badge}: {search.where}", "panel strong", "end")]
    front = "; ".join(f"KL {words.number(kl)}: {words.number(effect)}" for kl, effect in search.front[:12])
    description = f"{description} Front of {name}: {front}." if front else description
    data = Data(
        ("position", "layer", "KL when ablated (nats)", name, "status", "on the front", "chosen"),
        [
            (
                row["position"],
                row["layer"],
                value_of(row, "kl"),
                value_of(row, field),
                words.STATUSES.get(str(row.get("status")), row.get("status")),
                "yes" if (value_of(row, "kl"), value_of(row, field)) in set(search.front) else "",
                search.badge if search.is_chosen(row) else "",
            )
            for row, _ in placed
        ],
        told=True,
    )
    return drawing(uid, f"KL against {name}, all candidates", description, 480, 314, *parts, css="frontier", data=data)


def legend_front() -> Markup:
    """The line of the front beside its name in the legend; decoration only."""
    return tag(
        "svg",
        tag("path", d="M0 10h5v-4h4v-4h5", class_="front"),
        class_="swatch",
        viewBox="0 0 14 14",
        aria_hidden="true",
    )


def legend_mark(status: str) -> Markup:
    """The mark of a status beside its name in the legend; decoration only."""
    return tag("svg", marks([(6, 6)], status), class_="legend-mark", viewBox="0 0 12 12", aria_hidden="true")


def axes(x: Scale, y: Scale, *, idle: float | None, columns: bool = True) -> list[Markup]:
    """Axes, ticks of y with their numbers, and the level of doing nothing."""
    values = y.ticks(4 if columns else 3)
    values = values[:: 1 + len(values) // (8 if columns else 5)]
    corner = f"M{coordinate(x.start)} {coordinate(y.end)}V{coordinate(y.start)}H{coordinate(x.end)}"
    drawn = [
        tag("path", d=corner + "".join(f"M{coordinate(x.start)} {coordinate(y(v))}h-3" for v in values), class_="axis")
    ]
    numbers = [(x.start - 5, y(tick) + 3.5, _power(tick) if y.log else words.exact(tick)) for tick in values]
    drawn.append(ticks(numbers, "end"))
    if idle is not None:
        drawn.append(line(x.start, y(idle), x.end, y(idle), "guide"))
    return drawn


def candidate_marks(placed: Sequence[tuple[Mapping[str, Any], tuple[float, float]]]) -> list[Markup]:
    """The candidates' marks, a path for each status; the ones that matter are drawn last, on top."""
    return [
        marks((point for row, point in placed if row.get("status") == status), status) for status in reversed(DRAWN)
    ]


def ring(x: float, y: float, search: Search) -> Markup:
    """The ring around the chosen candidate's mark; dashed where it is not admissible."""
    return tag("circle", cx=x, cy=y, r=6.5, class_="ring" if search.admissible else "ring doubted")


def _power(value: float) -> str:
    """A decade, short: 0.01, 100, 1e−4."""
    if 0.0009 < value < 1000:
        return words.exact(value)
    return f"1e{words.exact(round(math.log10(value)))}"


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list | tuple) else []


def value_of(row: Mapping[str, Any], field: str) -> float | None:
    """A score of a candidate; None where it has none."""
    return words.finite(row.get(field))


def _at(row: Mapping[str, Any]) -> tuple[float, float] | None:
    position, layer = words.finite(row.get("position")), words.finite(row.get("layer"))
    return None if position is None or layer is None or layer < 0 else (position, layer)

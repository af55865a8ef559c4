"""An effect over doses with its controls, and beneath it what each dose does to harmless prompts and to answers.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Data, Scale, dots, drawing, line, marks, polyline, span, text
from geoaudit.report.titles import listed

MOST_DOSES, MOST_CONTROLS = 40, 200
_LEFT, _RIGHT = 52, 462
_DEEP, _APART = 70, 40
"""Height of a panel of damage, and of what stands between two."""
_PERPLEXITIES = (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 1e3, 1e4, 1e6, 1e8, 1e12, 1e20)


@dataclass(frozen=True)
class _Damage:
    """One kind of damage over doses."""

    title: str
    said: str
    points: Sequence[tuple[float, float]]
    others: Sequence[tuple[float, float]] = ()
    """Of single controls."""
    limit: float | None = None
    log: bool = False


def doses(
    curve: Sequence[Mapping[str, Any]],
    *,
    uid: str,
    title: str,
    limit: float | None,
    answers_limit: float | None = None,
) -> Markup:
    """The effect on the refusal score over the dose, and beneath it each kind of damage that is known.

    Args:
        curve: rows by rising dose with `dose`, `effect`; where known `kl`, `answers_kl`, `answers_perplexity`, and of
            single controls `controls` (effects) and `answers_control_kl`.
        uid: unique in the document.
        title: what a screen reader says.
        limit: KL at the first token from which on the model counts as broken, nats.
        answers_limit: the same of KL a token over answers.
    """
    placed = [
        (dose, effect, row)
        for row in curve[:MOST_DOSES]
        if (dose := words.finite(row.get("dose"))) is not None
        and (effect := words.finite(row.get("effect"))) is not None
    ]
    if len(placed) < 2:
        return Markup("")
    others = [(dose, value) for dose, _, row in placed for value in _numbers(row.get("controls"))]
    low, high = span([*(effect for _, effect, _ in placed), *(value for _, value in others)], 0.0)
    x = Scale(min(dose for dose, *_ in placed), max(dose for dose, *_ in placed), _LEFT, _RIGHT)
    y = Scale(low - 0.06 * (high - low), high + 0.06 * (high - low), 142, 20)
    parts = [text(4, 12, "change of the refusal score, nats", "panel")]
    parts += _grid(y, y.ticks(4))
    parts.append(line(_LEFT - 8, y(0), _RIGHT + 8, y(0), "axis"))
    parts.append(marks([(x(dose), y(value)) for dose, value in others], "control"))
    parts += _curve([(x(dose), y(effect)) for dose, effect, _ in placed])
    bottom = 142.0
    known = [kind for kind in _kinds([(dose, row) for dose, _, row in placed], limit, answers_limit) if kind.points]
    for kind in known:
        parts += _panel(kind, x, bottom + _APART)
        bottom += _APART + _DEEP
    parts += [
        text(x(dose), bottom + 14, words.exact(dose), "tick", "middle") for dose, *_ in placed if abs(dose) != 0.5
    ]
    parts.append(text((_LEFT + _RIGHT) / 2, bottom + 29, "dose λ", "tick", "middle"))
    said = "; ".join(
        ", ".join(
            [
                f"dose {words.exact(dose)}: {words.number(effect)} nats",
                *(f"{kind.said} {words.number(value)}" for kind in known for at, value in kind.points if at == dose),
            ]
        )
        for dose, effect, _ in placed
    )
    rows: list[tuple[float, str, str, float]] = []
    for dose, effect, _ in placed:
        rows.append((dose, "change of the refusal score, nats", "target", effect))
        rows += [(dose, "change of the refusal score, nats", "control", value) for at, value in others if at == dose]
        for kind in known:
            rows += [(dose, kind.title, "target", value) for at, value in kind.points if at == dose]
            rows += [(dose, kind.title, "control", value) for at, value in kind.others if at == dose]
    data = Data(("dose λ", "what", "of", "value"), rows, told=True)
    return drawing(uid, title, said, 480, bottom + 34, *parts, css="controls", data=data)


def _kinds(
    rows: Sequence[tuple[float, Mapping[str, Any]]], limit: float | None, answers_limit: float | None
) -> list[_Damage]:
    def points(field: str) -> list[tuple[float, float]]:
        found = [(dose, value) for dose, row in rows if (value := words.finite(row.get(field))) is not None]
        return found if len(found) > 1 else []

    beside = [(dose, value) for dose, row in rows for value in _numbers(row.get("answers_control_kl"))]
    return [
        _Damage("KL on harmless prompts, first token, nats", "KL", points("kl"), limit=limit),
        _Damage(
            "KL a token over answers to everyday requests, nats",
            "KL over answers",
            points("answers_kl"),
            beside,
            answers_limit,
        ),
        _Damage("perplexity of these answers", "perplexity", points("answers_perplexity"), log=True),
    ]


def _panel(kind: _Damage, x: Scale, top: float) -> list[Markup]:
    """A panel of one kind of damage, from `top` down."""
    values = [value for _, value in (*kind.points, *kind.others)] + ([] if kind.limit is None else [kind.limit])
    if kind.log:
        values = [max(value, 1.0) for value in values]  # no perplexity is less
        y = Scale(1.0, 1.1 * max(*values, 1.5), top + _DEEP, top, log=True)
        ticks = [tick for tick in _PERPLEXITIES if tick <= y.high]
        ticks = ticks[:: math.ceil(len(ticks) / 5)]
    else:
        y = Scale(0.0, 1.06 * max(*values, 1e-6), top + _DEEP, top)
        ticks = y.ticks(4)
    parts = [text(4, top - 10, kind.title, "panel"), *_grid(y, ticks)]
    if kind.limit is not None:
        parts.append(line(_LEFT - 8, y(kind.limit), _RIGHT + 8, y(kind.limit), "bound"))
    if kind.others:
        parts.append(marks([(x(dose), y(value)) for dose, value in kind.others], "control"))
    return [*parts, *_curve([(x(dose), y(value)) for dose, value in kind.points])]


def _curve(points: Sequence[tuple[float, float]]) -> list[Markup]:
    return [polyline(points, "running"), dots(points, "dots")]


def _grid(y: Scale, ticks: Sequence[float]) -> list[Markup]:
    parts = []
    for tick in ticks:
        parts += [
            line(_LEFT - 8, y(tick), _RIGHT + 8, y(tick), "grid"),
            text(_LEFT - 13, y(tick) + 3.5, words.exact(float(f"{tick:.6g}")), "tick", "end"),
        ]
    return parts


def _numbers(values: Any) -> list[float]:
    return [value for value in map(words.finite, listed(values)) if value is not None][:MOST_CONTROLS]

"""An effect over doses with its interval and its controls, and beneath it what each dose does to harmless prompts.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Scale, dots, drawing, line, marks, polyline, span, text
from geoaudit.report.titles import listed

MOST_DOSES, MOST_CONTROLS = 40, 200
_LEFT, _RIGHT = 52, 462


def doses(curve: Sequence[Mapping[str, Any]], *, uid: str, title: str, limit: float | None) -> Markup:
    """The effect on the refusal score over the dose, and the KL on harmless prompts beneath.

    Args:
        curve: rows by rising dose with `dose`, `effect`, `kl`; `controls` (effects of single controls) where known.
        uid: unique in the document.
        title: what a screen reader says.
        limit: KL from which on the model counts as broken, nats.
    """
    placed = [
        (dose, effect, words.finite(row.get("kl")), _numbers(row.get("controls")))
        for row in curve[:MOST_DOSES]
        if (dose := words.finite(row.get("dose"))) is not None
        and (effect := words.finite(row.get("effect"))) is not None
    ]
    if len(placed) < 2:
        return Markup("")
    low, high = span([value for _, effect, _, others in placed for value in (effect, *others)], 0.0)
    x = Scale(min(dose for dose, *_ in placed), max(dose for dose, *_ in placed), _LEFT, _RIGHT)
    y = Scale(low - 0.06 * (high - low), high + 0.06 * (high - low), 142, 20)
    parts = [text(4, 12, "change of the refusal score, nats", "panel")]
    parts += _grid(y)
    parts.append(line(_LEFT - 8, y(0), _RIGHT + 8, y(0), "axis"))
    parts.append(marks([(x(dose), y(value)) for dose, _, _, others in placed for value in others], "control"))
    parts.append(polyline([(x(dose), y(effect)) for dose, effect, *_ in placed], "running"))
    parts.append(dots([(x(dose), y(effect)) for dose, effect, *_ in placed], "dots"))
    costs = [(dose, kl) for dose, _, kl, _ in placed if kl is not None]
    bottom = 142.0
    if len(costs) > 1:
        most = max([kl for _, kl in costs] + ([] if limit is None else [limit]))
        cost = Scale(0.0, 1.06 * max(most, 1e-6), 252, 182)
        parts.append(text(4, 172, "KL on harmless prompts, nats", "panel"))
        parts += _grid(cost)
        if limit is not None:
            parts.append(line(_LEFT - 8, cost(limit), _RIGHT + 8, cost(limit), "bound"))
        parts.append(polyline([(x(dose), cost(kl)) for dose, kl in costs], "running"))
        parts.append(dots([(x(dose), cost(kl)) for dose, kl in costs], "dots"))
        bottom = 252.0
    parts += [
        text(x(dose), bottom + 14, words.exact(dose), "tick", "middle") for dose, *_ in placed if abs(dose) != 0.5
    ]
    parts.append(text((_LEFT + _RIGHT) / 2, bottom + 29, "dose λ", "tick", "middle"))
    said = "; ".join(
        f"dose {words.exact(dose)}: {words.number(effect)} nats" + ("" if kl is None else f", KL {words.number(kl)}")
        for dose, effect, kl, _ in placed
    )
    return drawing(uid, title, said, 480, bottom + 34, *parts, css="controls")


def _grid(y: Scale) -> list[Markup]:
    parts = []
    for tick in y.ticks(4):
        parts += [
            line(_LEFT - 8, y(tick), _RIGHT + 8, y(tick), "grid"),
            text(_LEFT - 13, y(tick) + 3.5, words.exact(float(f"{tick:.6g}")), "tick", "end"),
        ]
    return parts


def _numbers(values: Any) -> list[float]:
    return [value for value in map(words.finite, listed(values)) if value is not None][:MOST_CONTROLS]

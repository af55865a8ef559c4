"""What the direction in use does against what its controls do: a strip of dots for each effect, and for each subspace.

Pure functions from numbers of the record to SVG; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Data, Scale, coordinate, dots, drawing, line, marks, polyline, span, tag, text, ticks
from geoaudit.report.titles import listed

MOST_DOTS = 400
"""Controls drawn in one strip; the record holds them all."""
MOST_DIMENSIONS = 16
_PILE, _STEP, _DEEPEST = 7.0, 5.0, 5
"""Dots nearer than the first many pixels are piled up in steps of the second, so many deep at most."""


def controls(
    strips: Sequence[tuple[str, Sequence[Any], Any]],
    *,
    uid: str,
    rank: str,
    aim: str = "direction in use",
    title: str = "The direction in use against its controls",
    one_scale: bool = True,
) -> Markup:
    """One strip an effect: a dot for each control, what they are controls of as a ring on a line.

    Strips of one quantity share one scale, so that a cloud that looks wide is wide.

    Args:
        strips: (name of the effect, its values for the controls, its value for what they are controls of).
        uid: unique in the document.
        rank: the p-value in words, "" for none.
        aim: what they are controls of.
        title: what a screen reader says.
        one_scale: whether all strips are of one quantity; else each has a scale of its own.
    """
    placed = []
    for name, raw, own in strips:
        values = sorted(v for v in map(words.finite, raw) if v is not None)[:MOST_DOTS]
        target = words.finite(own)
        if values and target is not None:
            placed.append((name, values, target))
    everything = [number for _, values, target in placed for number in (*values, target)]
    parts: list[str] = []
    said, top = [], 4.0
    for index, (name, values, target) in enumerate(placed):
        low, high = span(everything if one_scale else [*values, target])
        x = Scale(low - 0.05 * (high - low), high + 0.05 * (high - low), 12, 464)
        base = top + 62
        numbered = not one_scale or index == len(placed) - 1
        parts += [text(4, top + 10, name, "panel"), _axis(x, base)]
        if numbered:
            written = [(x(tick), base + 14, words.exact(float(f"{tick:.6g}"))) for tick in x.ticks(5)]
            parts.append(ticks(written, "middle"))
        parts.append(marks(_piled([x(value) for value in values], base - 7), "control"))
        right = x(target) > 300
        parts += [
            line(x(target), top + 20, x(target), base, "bound"),
            tag("circle", cx=x(target), cy=base - 7, r=5, class_="target"),
        ]
        label = f"{aim} {words.number(target)}"
        parts.append(text(x(target) + (-5 if right else 5), top + 28, label, "callout", "end" if right else None))
        beaten = sum(value < target for value in values)
        said.append(
            f"{name}: {aim} {words.number(target)}, above {beaten} of {len(values)} controls "
            f"(from {words.number(values[0])} to {words.number(values[-1])})"
        )
        top = base + (22 if numbered else 10)
    if not said:
        return Markup("")
    description = "; ".join(said) + (f"; {rank}" if rank else "")
    data = Data(
        ("effect", "of", "value"),
        [
            (name, of, value)
            for name, values, target in placed
            for of, value in ((aim, target), *(("control", value) for value in values))
        ],
        told=True,
    )
    return drawing(uid, title, description, 480, top, *parts, css="controls", data=data)


def _axis(x: Scale, base: float) -> Markup:
    """A line with a mark at every tick, one path."""
    ends = f"M{coordinate(x.start)} {coordinate(base)}H{coordinate(x.end)}"
    return tag(
        "path", d=ends + "".join(f"M{coordinate(x(tick))} {coordinate(base)}v3" for tick in x.ticks(5)), class_="axis"
    )


def effects(examined: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, Sequence[Any], Any]]:
    """The strips of a record's `examined`: each effect that its target and its controls have."""
    found, target = examined.get("controls"), examined.get("target")
    if not isinstance(found, Mapping) or not isinstance(target, Mapping):
        return []
    strips = [(name, found.get(field), target.get(field)) for field, name in names.items()]
    return [(name, values, aim) for name, values, aim in strips if isinstance(values, list | tuple) and values]


def _piled(xs: Sequence[float], base: float) -> list[tuple[float, float]]:
    """Points that lie on one another are raised, in a pile that stays in its strip."""
    placed: list[tuple[float, float]] = []
    last, depth = -1e9, 0
    for x in xs:
        depth = depth + 1 if x - last < _PILE and depth < _DEEPEST else 0
        last = x if depth == 0 else last
        placed.append((x, base - _STEP * depth))
    return placed


def by_dimension(causal: Mapping[str, Any], *, uid: str, title: str) -> Markup:
    """How far ablating the first k directions lowers the refusal score, beside subspaces that cost the same KL.

    Args:
        causal: `by_k` with `k`, `drop` and `controls`; `fraction` of the plateau that counts as all of it.
        uid: unique in the document.
        title: what a screen reader says.
    """
    found = causal.get("by_k")
    rows = [row for row in (found if isinstance(found, list | tuple) else ()) if isinstance(row, Mapping)]
    placed = [
        (k, drop, [v for v in map(words.finite, listed(row.get("controls"))) if v is not None][:MOST_DOTS])
        for row in rows[:MOST_DIMENSIONS]
        if (k := words.finite(row.get("k"))) is not None and (drop := words.finite(row.get("drop"))) is not None
    ]
    if not placed:
        return Markup("")
    ks = [k for k, *_ in placed]
    low, high = span([value for _, drop, others in placed for value in (drop, *others)], 0.0)
    x = Scale(min(ks), max(max(ks), min(ks) + 1), 60, 450)
    y = Scale(low - 0.06 * (high - low), high + 0.06 * (high - low), 142, 20)
    parts = [text(4, 12, "drop of the refusal score (nats)", "panel")]
    parts += [line(44, y(tick), 464, y(tick), "grid") for tick in y.ticks(4)]
    parts.append(ticks([(39, y(tick) + 3.5, words.exact(tick)) for tick in y.ticks(4)], "end"))
    parts.append(marks([(x(k), y(value)) for k, _, others in placed for value in others], "control"))
    parts.append(polyline([(x(k), y(drop)) for k, drop, _ in placed], "running"))
    parts.append(dots([(x(k), y(drop)) for k, drop, _ in placed], "dots"))
    numbers = [(x(k), 156.0, words.exact(k)) for k in dict.fromkeys(ks)]
    parts.append(ticks([*numbers, (254.0, 171.0, "directions ablated together (k)")], "middle"))
    said = "; ".join(
        f"k = {words.exact(k)}: {words.number(drop)}"
        + (f", controls {words.number(min(others))} to {words.number(max(others))}" if others else "")
        for k, drop, others in placed
    )
    data = Data(
        ("directions ablated together (k)", "of", "drop of the refusal score (nats)"),
        [
            (k, of, value)
            for k, drop, others in placed
            for of, value in (("first k directions", drop), *(("control subspace", value) for value in others))
        ],
        told=True,
    )
    return drawing(uid, title, said, 480, 176, *parts, css="controls", data=data)

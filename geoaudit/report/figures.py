"""The small figures: an interval against its bound, labels of completions as a stacked bar.

Pure functions from numbers of the record to SVG. Each carries a title and a description; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Data, Scale, drawing, line, rectangle, round_step, tag, text


def interval_bar(
    measurement: Mapping[str, Any], comparator: str, bound: Any, *, uid: str, trusted: bool = True
) -> Markup:
    """The estimate and its interval on an axis, with the values that the bound allows shaded.

    Args:
        measurement: of the record; needs `estimate`.
        comparator: at_most, at_least, between or equals.
        bound: a number, or two.
        uid: unique in the document.
        trusted: False draws the value hollow and dashed (outcome *invalid*).
    """
    estimate, ends = words.finite(measurement.get("estimate")), words.bounds(bound)
    if estimate is None or not ends:
        return Markup("")
    low, high = words.finite(measurement.get("low")), words.finite(measurement.get("high"))
    unit = str(measurement.get("unit", ""))
    shown = [value for value in (estimate, low, high, *ends) if value is not None]
    scale = _bar_scale(shown, unit)
    middle, style = 14.0, "" if trusted else " doubted"
    first = scale(ends[0]) if comparator in ("at_least", "between", "equals") else scale.start
    last = scale(ends[-1]) if comparator in ("at_most", "between", "equals") else scale.end
    parts = [rectangle(first, 4, last - first, 20, "allowed"), line(scale.start, 24, scale.end, 24, "axis")]
    parts += [line(scale(end), 2, scale(end), 26, "bound") for end in dict.fromkeys(ends)]
    if low is not None and high is not None:
        left, right = scale(low), scale(high)
        parts.append(line(left, middle, right, middle, f"interval{style}"))
        parts += [line(x, middle - 4, x, middle + 4, "cap") for x in (left, right)]
    parts.append(tag("circle", cx=scale(estimate), cy=middle, r=4, class_=f"estimate{style}"))
    parts.append(text(scale.start, 36, words.exact(scale.low), "tick"))
    parts.append(text(scale.end, 36, words.exact(scale.high), "tick", "end"))
    spoken = (
        f"{words.number(estimate, unit, apart_from=ends)} {words.interval(low, high, unit, apart_from=ends)}".strip()
    )
    description = f"{spoken} against {words.bound_text(comparator, bound)}; axis from {words.exact(scale.low)} to "
    return drawing(
        uid,
        "Value, interval and bound",
        description + words.exact(scale.high),
        200,
        40,
        *parts,
        css="interval-bar",
        data=Data(
            ("estimate", "low", "high", "comparator", "bound", "upper bound", "unit"),
            [(estimate, low, high, comparator, ends[0], ends[-1] if len(ends) > 1 else None, unit)],
        ),
    )


def label_bar(counts: Any, *, uid: str, what: str) -> Markup:
    """Completions by label as one stacked bar over all of them, counts written in.

    Args:
        counts: label -> how many.
        uid: unique in the document.
        what: whose completions, for the title.
    """
    counts = counts if isinstance(counts, Mapping) else {}
    found = [(label, words.finite(n)) for label, n in counts.items()]
    parts = sorted(
        ((label, n) for label, n in found if n is not None and n > 0), key=lambda part: _label_order(part[0])
    )
    total = sum(n for _, n in parts)
    if not total:
        return Markup("")
    width, x, drawn = 240.0, 0.0, []
    for label, n in parts:
        css = label.replace("_", "-") if label in words.LABELS else "unparsed"
        size = width * n / total
        drawn.append(rectangle(x, 0, size, 16, f"label-{css}"))
        if css == "partial-refusal":  # a texture too, so that the middle label is told apart without colour
            drawn.append(rectangle(x, 0, size, 16, "hatched"))
        if label in words.JUDGE_FAILED or label not in words.LABELS:
            drawn.append(rectangle(x, 0, size, 16, "crossed"))
        written = words.count(n)
        if size > 7 * len(written) + 4:
            drawn.append(text(x + size / 2, 11.8, written, f"on-{css}", "middle"))
        x += size
    description = ", ".join(f"{words.LABELS.get(label, label)} {words.count(n)}" for label, n in parts)
    return drawing(
        uid,
        f"Labels: {what}",
        f"{description}; of {words.count(total)}",
        width,
        16,
        *drawn,
        css="label-bar",
        data=Data(("label", "completions"), [(words.LABELS.get(label, label), n) for label, n in parts]),
    )


def _bar_scale(shown: Sequence[float], unit: str) -> Scale:
    """Round ends around what is shown; a share starts at 0 and never leaves [0, 1]."""
    if words.is_share(unit):
        top = max(shown) * 1.1
        high = 1.0 if top > 0.5 else next(end for end in (0.05, 0.1, 0.2, 0.25, 0.5) if end >= top)
        return Scale(0.0, high, 5, 195)
    low, high = min(shown), max(shown)
    room = (high - low) * 0.15 or max(abs(high) * 0.1, 1.0)
    step = round_step((high - low + 2 * room) / 6)
    start = (low - room) // step * step
    # Where nothing but rounding lies below 0, the axis starts there.
    return Scale(0.0 if start < 0 < low + room / 10 else start, -((-high - room) // step) * step, 5, 195)


def _label_order(label: str) -> tuple[int, str]:
    order = list(words.LABELS)
    return (order.index(label), "") if label in words.LABELS else (len(order), label)

"""Figures beside the rates: an interval in a row of a table, what graded answers, refusal over prefilled tokens.

Pure functions from numbers of the record to SVG. Each carries a title and a description; a figure without data is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import words
from geoaudit.report.svg import Data, Scale, drawing, line, polyline, rectangle, tag, text

_ROW = Scale(0.0, 1.0, 6, 194)
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def interval_row(row: Mapping[str, Any], *, uid: str, what: str) -> Markup:
    """A share and its interval on an axis from 0 to 1, the same for every row of a table.

    Args:
        row: needs `estimate`; `low` and `high` draw the interval.
        uid: unique in the document.
        what: whose share, for the title.
    """
    estimate = words.finite(row.get("estimate"))
    if estimate is None:
        return Markup("")
    low, high = words.finite(row.get("low")), words.finite(row.get("high"))
    parts = [line(_ROW(tick), 0, _ROW(tick), 20, "grid") for tick in _TICKS]
    if low is not None and high is not None:
        left, right = _ROW(low), _ROW(high)
        parts.append(line(left, 10, right, 10, "interval"))
        parts += [line(x, 6, x, 14, "cap") for x in (left, right)]
    parts.append(tag("circle", cx=_ROW(estimate), cy=10, r=3.6, class_="estimate"))
    data = Data(("share", "low", "high"), [(estimate, low, high)])
    return drawing(uid, what, words.share(estimate, low, high), 200, 20, *parts, css="interval-row", data=data)


def interval_axis() -> Markup:
    """The ticks above a column of `interval_row`; nothing that a screen reader needs."""
    ticks = [
        text(_ROW(tick), 9, words.exact(tick), "tick", None if tick == 0 else "end" if tick == 1 else "middle")
        for tick in _TICKS
    ]
    return tag("svg", *ticks, class_="interval-row", viewBox="0 0 200 12", aria_hidden="true")


def grader_bar(graded: Sequence[tuple[str, str, float]], *, uid: str, what: str) -> Markup:
    """Answers by what graded them, as one stacked bar.

    Args:
        graded: (grader, in words, how many), in the order of the bar.
        uid: unique in the document.
        what: whose answers, for the title.
    """
    total = sum(n for _, _, n in graded if n > 0)
    if not total:
        return Markup("")
    x, parts = 0.0, []
    for name, _, n in graded:
        size = 240.0 * max(n, 0.0) / total
        parts.append(rectangle(x, 0, size, 10, f"grader-{name if name in ('check', 'rule', 'server') else 'none'}"))
        x += size
    said = ", ".join(f"{words.count(n)} {text}" for _, text, n in graded)
    data = Data(("graded by", "answers"), [(text, n) for _, text, n in graded])
    return drawing(uid, f"What graded the answers: {what}", said, 240, 10, *parts, css="label-bar", data=data)


def depth_curve(rows: Sequence[Mapping[str, Any]], share: float | None, *, uid: str, title: str) -> Markup:
    """Refusal rate against prefilled tokens, the intervals as a band, the rate that counts as refusing as a line.

    Args:
        rows: `k`, `estimate` and, where there is an interval, `low` and `high`; sorted by k.
        share: the threshold, None for no line.
        uid: unique in the document.
        title: whose curve.
    """
    points = [
        (k, estimate, words.finite(row.get("low")), words.finite(row.get("high")))
        for row in rows
        if (k := words.finite(row.get("k"))) is not None and (estimate := words.finite(row.get("estimate"))) is not None
    ]
    if not points:
        return Markup("")
    ks = [k for k, *_ in points]
    x, y = Scale(min(ks), max(max(ks), min(ks) + 1), 44, 306), Scale(0, 1, 142, 14)
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [line(38, y(tick), 316, y(tick), "grid"), text(33, y(tick) + 3.5, words.exact(tick), "tick", "end")]
    band = [(x(k), y(low), y(high)) for k, _, low, high in points if low is not None and high is not None]
    if len(band) > 1:
        outline = [(at, top) for at, _, top in band] + [(at, bottom) for at, bottom, _ in reversed(band)]
        parts.append(polyline([*outline, outline[0]], "band"))
    parts += [line(at, bottom, at, top, "whisker") for at, bottom, top in band]
    if share is not None:
        parts += [
            line(38, y(share), 316, y(share), "threshold"),
            text(316, y(share) - 4, _least(share), "callout", "end"),
        ]
    parts.append(polyline([(x(k), y(estimate)) for k, estimate, *_ in points], "running"))
    parts += [tag("circle", cx=x(k), cy=y(estimate), r=3, class_="running-dot") for k, estimate, *_ in points]
    parts += [text(x(k), 156, words.exact(k), "tick", "middle") for k in dict.fromkeys(ks)]
    parts.append(text((x.start + x.end) / 2, 171, "tokens of a willing answer, prefilled", "tick", "middle"))
    said = "; ".join(
        f"{words.exact(k)} tokens: {words.share(estimate, low, high)}" for k, estimate, low, high in points
    )
    threshold = "" if share is None else f". Counts as refusing: {_least(share)}"
    data = Data(("tokens prefilled", "refusal rate (share)", "low", "high"), points, [x(k) for k in ks])
    return drawing(uid, title, f"Refusal rate at {said}{threshold}", 324, 176, *parts, css="depth-curve", data=data)


def _least(share: float) -> str:
    return f"at least {words.exact(share)}"

"""The curve that a monitor writes beside a run: JSON with everything, CSV for a plotting tool, one HTML page.

Each file is replaced as a whole after each probe, so that a reader sees the old one or the new one. A value that was
not read is null, an empty cell, a gap in the line: never 0.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from geoaudit.errors import RequestError
from geoaudit.report.svg import Scale, dots, drawing, line, polyline, span, tag, text, ticks

VERSION = 1
JSON, CSV, HTML = "monitor.json", "monitor.csv", "monitor.html"

MEANINGS: Mapping[str, str] = {
    "refusal_harmful": "mean log-odds of a refusal's opening on harmful validation prompts, nats",
    "refusal_harmless": "the same on harmless validation prompts, nats",
    "cosine_to_anchor": "cosine of the direction in use to the one in use at the anchor, wherever each is",
    "cosine_to_previous": "cosine of the direction in use to the one in use at the probe before",
    "anchor_site_cosine": "cosine of the direction at the anchor's site, now and at the anchor",
    "gap": "mean projection on the direction in use, harmful minus harmless validation prompts, activation units",
    "norm": "length of the direction in use, activation units",
    "split_half": "cosine of the directions from two halves of the train prompts: what is near 0 is noise",
    "kl": "KL of ablating the direction in use on harmless prompts, nats",
    "s_refuse": "COSMIC: harmless prompts with the direction added to harmful ones",
    "s_comply": "COSMIC: harmful prompts with the direction ablated to harmless ones",
    "total": "S_refuse + S_comply - beta * KL",
    "admissible": "admissible candidates",
    "layer": "layer of the direction in use",
    "position": "position of the direction in use",
    "idle_cosine": "what S_refuse and S_comply are without any intervention",
    "loss": "training loss as last logged",
}
"""Each quantity of a point."""

PANELS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("Refusal score, nats", ("refusal_harmful", "refusal_harmless")),
    ("Cosine of the direction", ("cosine_to_anchor", "anchor_site_cosine", "cosine_to_previous")),
    ("Selection", ("s_refuse", "s_comply", "idle_cosine")),
    ("KL of ablation, nats", ("kl",)),
    ("Projection gap and norm", ("gap", "norm")),
    ("Layer in use", ("layer",)),
    ("Admissible candidates", ("admissible",)),
    ("Training loss", ("loss",)),
)


@dataclass(frozen=True)
class Point:
    """One probe."""

    step: int
    """Optimiser steps taken."""
    values: Mapping[str, float | None]
    """By the names of `MEANINGS`; None or absent: not read."""
    admissible: bool = False
    """Whether the direction in use is admissible; else it is the inducing one of least KL, or there is none."""
    anchor: bool = False
    """Whether later probes are compared with this one."""
    why_missing: str = ""
    """Why nothing was read; empty where it was."""
    candidates: tuple[Mapping[str, Any], ...] = ()
    broken: tuple[str, ...] = ()
    """Bounds that this probe breaks."""
    seconds: float = 0.0
    """Wall time of the probe."""
    row: str = ""
    """Key of the directions in the store."""

    def value(self, name: str) -> float | None:
        """One quantity; None where it was not read."""
        return self.values.get(name)


@dataclass(frozen=True)
class Curve:
    """All probes of a run in order, and what they were read with."""

    about: Mapping[str, Any]
    """Settings, prompt sets, library; two curves compare where these are equal."""
    points: tuple[Point, ...] = ()
    bounds: tuple[Mapping[str, Any], ...] = ()
    """Bounds that training had to keep: quantity, at_least, at_most."""
    seconds: float = 0.0
    """Wall time of the training that the probes were part of, all runs of it together."""

    @property
    def probing(self) -> float:
        """Seconds spent in probes."""
        return sum(point.seconds for point in self.points)

    @property
    def share(self) -> float | None:
        """Probes' part of the wall time; None before any time has passed."""
        return self.probing / self.seconds if self.seconds > 0 else None

    def before(self, step: int) -> Curve:
        """The points up to a step."""
        return replace(self, points=tuple(point for point in self.points if point.step <= step))

    def with_point(self, point: Point) -> Curve:
        """One more point; it takes the place of one of the same step."""
        kept = [one for one in self.points if one.step != point.step]
        return replace(self, points=tuple(sorted([*kept, point], key=lambda one: one.step)))


# --- files ----------------------------------------------------------------------------------------------------------


def write(curve: Curve, folder: Path) -> None:
    """Write the three files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {"geoaudit_monitor": VERSION, **asdict(curve), "meanings": dict(MEANINGS)}
    _replace(folder / JSON, json.dumps(body, indent=1, allow_nan=False) + "\n")
    _replace(folder / CSV, _csv(curve))
    _replace(folder / HTML, html(curve))


def read(folder: Path) -> Curve | None:
    """The curve of a folder, or None where there is none.

    Raises:
        RequestError: the file is there and is no curve of this version.
    """
    path = folder / JSON
    if not path.is_file():
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["geoaudit_monitor"] != VERSION:
            raise ValueError(f"version {body['geoaudit_monitor']!r}")
        points = [
            Point(**{**one, "candidates": tuple(one["candidates"]), "broken": tuple(one["broken"])})
            for one in body["points"]
        ]
        return Curve(body["about"], tuple(points), tuple(body["bounds"]), float(body["seconds"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path} is no curve that this version reads ({type(error).__name__}: {error}): remove it, or give the "
            "monitor another folder (out)"
        ) from None


def _csv(curve: Curve) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", "direction_admissible", *MEANINGS, "seconds", "why_missing"])
    for point in curve.points:
        found = ["" if point.value(name) is None else repr(point.value(name)) for name in MEANINGS]
        known = "" if point.why_missing else str(point.admissible).lower()
        writer.writerow([point.step, known, *found, f"{point.seconds:.3f}", point.why_missing])
    return out.getvalue()


def _replace(path: Path, content: str) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


# --- terminal -------------------------------------------------------------------------------------------------------

_BARS = "▁▂▃▄▅▆▇█"


def sentence(curve: Curve) -> str:
    """One line on the last probe: where the direction in use is, what it does, how far it moved, what it cost."""
    point = curve.points[-1]
    head = f"monitor step {point.step}"
    cost = f"{point.seconds:.1f} s"
    if point.step and curve.share is not None:
        cost += f", probes {curve.share:.0%} of the time"
    if point.why_missing:
        return f"{head} | not read: {point.why_missing} | {cost}"
    if point.value("layer") is None:
        what = "no candidate induces refusal"
    else:
        kind = "carrier" if point.admissible else "nearest, not admissible"
        what = f"{kind} layer {point.value('layer'):.0f} position {point.value('position'):.0f} KL {_n(point, 'kl')}"
    scores = f"refusal {_n(point, 'refusal_harmful')} harmful {_n(point, 'refusal_harmless')} harmless"
    turned = f"cos {_n(point, 'cosine_to_anchor')} to anchor"
    parts = [head, what, scores, turned, sparkline([one.value("refusal_harmful") for one in curve.points]), cost]
    parts += [f"breaks {broken}" for broken in point.broken]
    return " | ".join(parts)


def _n(point: Point, name: str) -> str:
    value = point.value(name)
    return "-" if value is None else f"{value:.2f}"


def sparkline(values: Sequence[float | None], most: int = 24) -> str:
    """The last values as bars from their least to their greatest; a dot for one that was not read."""
    shown = values[-most:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join("·" if value is None else _BARS[round((value - low) / step)] for value in shown)


# --- page -----------------------------------------------------------------------------------------------------------

_STYLE = """
:root { --paper: #ffffff; --ink: #1b1d20; --soft: #555b63; --hair: #dddcd6; }
:root { --s0: #1f5a85; --s1: #b4501e; --s2: #14645a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #e8e7e3; --soft: #a5abb3; --hair: #33373c; }
  :root { --s0: #8fc1e6; --s1: #f0986a; --s2: #6cc7b6; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1.5rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } h1 { font-size: 1.5rem; } h2 { font-size: 1rem; margin: 0; } p, li { color: var(--soft); }
svg { width: 100%; height: auto; font-size: 11px; } text { fill: var(--soft); }
.end { text-anchor: end; } .middle { text-anchor: middle; } path { fill: none; }
.axis { stroke: var(--hair); } .bound { stroke: var(--ink); stroke-dasharray: 4 3; }
path.s0 { stroke: var(--s0); } path.s1 { stroke: var(--s1); } path.s2 { stroke: var(--s2); }
path.s0, path.s1, path.s2 { stroke-width: 2; } path.dot { stroke-width: 5; stroke-linecap: round; }
text.s0 { fill: var(--s0); } text.s1 { fill: var(--s1); } text.s2 { fill: var(--s2); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; text-align: right; } td { border-top: 1px solid var(--hair); }
"""


def html(curve: Curve) -> str:
    """The page: a panel for each group of quantities, and the last probes as a table. No script, nothing is loaded."""
    panels = [
        tag("figure", tag("h2", title), _panel(curve, title, names, f"p{i}"))
        for i, (title, names) in enumerate(PANELS)
        if any(point.value(name) is not None for point in curve.points for name in names)
    ]
    last = curve.points[-1].step if curve.points else 0
    share = f"; probes took {curve.share:.1%} of the time" if curve.share is not None else ""
    missing = [point for point in curve.points if point.why_missing]
    notes = [f"Step {point.step}: not read: {point.why_missing}" for point in missing]
    notes += [f"Step {point.step}: breaks {bound}" for point in curve.points for bound in point.broken]
    body = tag(
        "body",
        tag("h1", "Dense probe during training"),
        tag("p", f"{len(curve.points)} probes up to step {last}{share}. A trace, not evidence: audit the checkpoints."),
        tag("main", *panels),
        tag("ul", *(tag("li", note) for note in notes)) if notes else Markup(""),
        tag("div", _table(curve), class_="wide"),
    )
    head = Markup(
        '<head><meta charset="utf-8"/><title>Dense probe</title><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\"/><style>{}</style></head>"
    ).format(Markup(_STYLE))
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def _panel(curve: Curve, title: str, names: Sequence[str], uid: str) -> Markup:
    width, height, left, bottom = 360.0, 190.0, 44.0, 24.0
    found = {name: [(point.step, point.value(name)) for point in curve.points] for name in names}
    values = [value for series in found.values() for _, value in series if value is not None]
    bounds = [
        bound[end]
        for bound in curve.bounds
        if bound["quantity"] in names
        for end in ("at_least", "at_most")
        if bound.get(end) is not None
    ]
    if "kl" in names:
        bounds += [curve.about["settings"]["kl_budget"]]
    x = Scale(*span([point.step for point in curve.points]), left, width - 14)
    y = Scale(*span(values, *bounds), height - bottom, 10 + 13 * len(names))
    parts = [line(left, y(at), width - 14, y(at), "axis") for at in y.ticks()]
    parts.append(ticks([(left - 6, y(at) + 4, f"{at:g}") for at in y.ticks()], "end"))
    parts.append(ticks([(x(at), height - 8, f"{at:g}") for at in x.ticks() if at == int(at)], "middle"))
    parts += [line(left, y(at), width - 14, y(at), "bound") for at in bounds]
    for index, (name, series) in enumerate(found.items()):
        for run in _runs(series):
            parts.append(polyline([(x(step), y(value)) for step, value in run], f"s{index}"))
        known = [(x(step), y(value)) for step, value in series if value is not None]
        parts.append(dots(known, f"dot s{index}"))
        parts.append(text(left, 12 + 13 * index, name, f"s{index}"))
    spoken = "; ".join(f"{name}: {MEANINGS[name]}" for name in names)
    return drawing(uid, title, spoken, width, height, *parts, css="panel")


def _runs(series: Sequence[tuple[int, float | None]]) -> list[list[tuple[int, float]]]:
    """Stretches without a missing value, of two points at least: a line is not drawn across a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in series:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((step, value))
    return [run for run in runs if len(run) > 1]


def _table(curve: Curve, most: int = 12) -> Markup:
    names = ("layer", "position", "kl", "total", "gap", "cosine_to_anchor", "refusal_harmful", "refusal_harmless")
    rows = [
        tag(
            "tr",
            tag("td", str(point.step)),
            tag("td", "-" if point.value("layer") is None else "yes" if point.admissible else "no"),
            *(tag("td", "-" if (value := point.value(name)) is None else f"{value:.4g}") for name in names),
        )
        for point in curve.points[-most:]
    ]
    head = tag("tr", *(tag("th", name) for name in ("step", "admissible", *names)))
    return tag("table", head, *rows)

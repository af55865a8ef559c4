"""The curve that a monitor writes beside a run: JSON with everything, CSV for a plotting tool, one HTML page.

Each file is replaced as a whole after each probe, so that a reader sees the old one or the new one. A value that was
not read is null, an empty cell, a gap in the line: never 0.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geoaudit.audit.record import write_atomically
from geoaudit.errors import RequestError
from geoaudit.training.monitor_settings import MonitorSettings

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
    "s_refuse": "COSMIC: cosine of harmless prompts with the direction added to harmful ones",
    "s_comply": "COSMIC: cosine of harmful prompts with the direction ablated to harmless ones",
    "total": "S_refuse + S_comply - beta * KL",
    "admissible": "number of admissible candidates",
    "layer": "layer of the direction in use",
    "position": "position of the direction in use",
    "idle_cosine": "what S_refuse and S_comply are without any intervention",
    "loss": "training loss as last logged before the probe",
}
"""Each quantity of a point."""


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
    from geoaudit.training.curve_page import html  # which imports what stands here

    body = {"geoaudit_monitor": VERSION, **asdict(curve), "meanings": dict(MEANINGS)}
    write_atomically(folder / JSON, json.dumps(body, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / CSV, _csv(curve))
    write_atomically(folder / HTML, html(curve))


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


# --- terminal -------------------------------------------------------------------------------------------------------

_BARS = "▁▂▃▄▅▆▇█"


def opening(curve: Curve, step: int, steps: int, settings: MonitorSettings, *, now: bool, page: Path) -> str:
    """What is to be read and where it is written: a first probe can take minutes in which nothing else is said.

    Args:
        curve: with the probes of an earlier part of the run, if there was one.
        step: optimiser steps taken.
        steps: of the whole run.
        settings: when probes are due.
        now: whether one comes before the next step.
        page: where the curve is written.
    """
    every = settings.every
    coming = steps // every - step // every + (settings.at_end and steps % every > 0 and step < steps)
    had = "a probe now and " if now else f"{_probes(curve)} so far and " if curve.points else ""
    n = curve.about["settings"]["n_train"]
    sites = f"{len(curve.about['positions'])} positions of {len(curve.about['layers'])} layers"
    return f"monitor: {had}{coming} to come (every {every} steps, {n} + {n} prompts, {sites}); curve in {page}"


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


def closing(curve: Curve, page: Path) -> str:
    """What the probes cost."""
    share = f", {curve.share:.1%} of {curve.seconds:.0f} s" if curve.share is not None else ""
    return f"monitor: {_probes(curve)} took {curve.probing:.1f} s{share}; curve in {page}"


def _probes(curve: Curve) -> str:
    n = len(curve.points)
    return "1 probe" if n == 1 else f"{n} probes"


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

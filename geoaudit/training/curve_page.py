"""The page of a monitor's curve: a panel for each group of quantities, drawn from the numbers of its JSON."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from geoaudit.report.svg import Scale, dots, drawing, line, polyline, span, tag, text, ticks
from geoaudit.training.curve import CSV, JSON, MEANINGS, Curve

PANELS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("Refusal score, nats", ("refusal_harmful", "refusal_harmless")),
    ("Cosine of the direction", ("cosine_to_anchor", "anchor_site_cosine", "cosine_to_previous")),
    ("Selection", ("s_refuse", "s_comply", "idle_cosine")),
    ("KL of ablation, nats", ("kl",)),
    ("Projection gap and norm", ("gap", "norm")),
    ("Layer in use (ring: not admissible)", ("layer",)),
    ("Admissible candidates", ("admissible",)),
    ("Training loss", ("loss",)),
)
_WHOLE = frozenset({"layer", "admissible"})
"""Whole numbers: their axis has no fractions."""
_CHOSEN = frozenset({"layer"})
"""What is chosen anew at each probe: no line leads from one choice to the next."""

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
main ~ h2 { margin-top: 1.5rem; }
svg { width: 100%; height: auto; font-size: 11px; } text { fill: var(--soft); }
.end { text-anchor: end; } .middle { text-anchor: middle; } path { fill: none; }
.axis { stroke: var(--hair); } .bound { stroke: var(--ink); stroke-dasharray: 4 3; }
path.s0 { stroke: var(--s0); } path.s1 { stroke: var(--s1); } path.s2 { stroke: var(--s2); }
path.s0, path.s1, path.s2 { stroke-width: 2; } path.dot { stroke-width: 5; stroke-linecap: round; }
path.hole { stroke: var(--paper); stroke-width: 2.5; stroke-linecap: round; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dd { margin: 0; color: var(--soft); }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 1rem; } dl { display: block; } dd { margin: 0 0 .4rem; }
}
text.s0 { fill: var(--s0); } text.s1 { fill: var(--s1); } text.s2 { fill: var(--s2); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; text-align: right; white-space: nowrap; } td { border-top: 1px solid var(--hair); }
"""


def html(curve: Curve) -> str:
    """The page: a panel for each group of quantities, the last probes as a table, and what the names mean.

    No script, and nothing is loaded: whoever wants to see later probes loads the page again.
    """
    shown = [(title, names) for title, names in PANELS if any(_read(curve, name) for name in names)]
    panels = [
        tag("figure", tag("h2", title), _panel(curve, title, names, f"p{i}")) for i, (title, names) in enumerate(shown)
    ]
    notes = [f"Step {point.step}: not read: {point.why_missing}" for point in curve.points if point.why_missing]
    notes += [f"Step {point.step}: breaks {bound}" for point in curve.points for bound in point.broken]
    body = tag(
        "body",
        tag("h1", "Dense probe during training"),
        tag("p", _summary(curve)),
        tag("p", _how(curve)),
        tag("main", *panels),
        tag("ul", *(tag("li", note) for note in notes)) if notes else Markup(""),
        _table(curve),
        _glossary([name for name in MEANINGS if _read(curve, name)]),
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = tag(
        "head",
        Markup('<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'),
        Markup('<meta name="color-scheme" content="light dark"/><title>Dense probe</title>'),
        Markup('<meta http-equiv="Content-Security-Policy" content="{}"/>').format(Markup(policy)),
        Markup("<style>{}</style>").format(Markup(_STYLE)),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def _read(curve: Curve, name: str) -> bool:
    """Whether any probe read a quantity."""
    return any(point.value(name) is not None for point in curve.points)


def _summary(curve: Curve) -> str:
    if not curve.points:
        return "No probe yet."
    n, last = len(curve.points), curve.points[-1].step
    share = f"; probes took {curve.share:.1%} of the time" if curve.share is not None else ""
    probes = "1 probe" if n == 1 else f"{n} probes"
    return f"{probes} up to step {last}{share}. A trace, not evidence: audit the checkpoints."


def _how(curve: Curve) -> str:
    """What was read, and how the page is read."""
    settings = curve.about["settings"]
    sizes = [f"{settings[key]} + {settings[key]}" for key in ("n_train", "n_validation")]
    positions, layers = (", ".join(map(str, curve.about[key])) for key in ("positions", "layers"))
    return (
        f"Directions from {sizes[0]} harmful and harmless prompts, scored on {sizes[1]} others, at positions "
        f"{positions} (-1 is the prompt's last token) of layers {layers}. The direction in use is the best admissible "
        "one, or, where none is admissible, that of least KL among those that induce refusal. Optimiser steps run "
        "along the bottom; dashed lines are bounds. The page shows the probes that were made when it was loaded."
    )


def _panel(curve: Curve, title: str, names: Sequence[str], uid: str) -> Markup:
    width, height, left, bottom = 360.0, 190.0, 44.0, 24.0
    found = {name: [(point.step, point.value(name)) for point in curve.points] for name in names}
    values = [value for series in found.values() for _, value in series if value is not None]
    bounds = [
        (bound[end], f"{bound['quantity']} {sign} {bound[end]:g}")
        for bound in curve.bounds
        if bound["quantity"] in names
        for end, sign in (("at_least", ">="), ("at_most", "<="))
        if bound.get(end) is not None
    ]
    if "kl" in names:
        budget = curve.about["settings"]["kl_budget"]
        bounds.append((budget, f"admissible: kl <= {budget:g}"))
    x = Scale(*span([point.step for point in curve.points]), left, width - 14)
    seen = [at for at, _ in bounds] + ([0.0, 1.0] if "cosine_to_anchor" in names else [])
    y = Scale(*span(values, *seen), height - bottom, 10 + 13 * len(names))
    levels = [at for at in y.ticks() if at == int(at) or not _WHOLE.intersection(names)]
    parts = [line(left, y(at), width - 14, y(at), "axis") for at in levels]
    parts.append(ticks([(left - 6, y(at) + 4, f"{at:g}") for at in levels], "end"))
    parts.append(ticks([(x(at), height - 8, f"{at:g}") for at in x.ticks() if at == int(at)], "middle"))
    for at, said in bounds:
        parts.append(line(left, y(at), width - 14, y(at), "bound"))
        parts.append(text(width - 14, y(at) - 4, said, "", "end"))
    for index, (name, series) in enumerate(found.items()):
        for run in _runs(series) if name not in _CHOSEN else ():
            parts.append(polyline([(x(step), y(value)) for step, value in run], f"s{index}"))
        known = [(x(step), y(value)) for step, value in series if value is not None]
        parts.append(dots(known, f"dot s{index}"))
        parts.append(text(left, 12 + 13 * index, name, f"s{index}"))
    if "layer" in names:
        open_ = [one for one in curve.points if not one.admissible and one.value("layer") is not None]
        parts.append(dots([(x(one.step), y(one.values["layer"] or 0.0)) for one in open_], "hole"))
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
    if not curve.points:
        return Markup("")
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
    head = tag("tr", *(tag("th", name, scope="col") for name in ("step", "in use is admissible", *names)))
    title = "Probes" if len(curve.points) <= most else f"The last {most} of {len(curve.points)} probes"
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    return Markup("").join(
        [tag("h2", title), tag("div", table, class_="wide", role="region", aria_label=title, tabindex="0")]
    )


def _glossary(names: Sequence[str]) -> Markup:
    """What each name on the page means, and where to find everything that was read."""
    if not names:
        return Markup("")
    known = [part for name in names for part in (tag("dt", name), tag("dd", MEANINGS[name]))]
    return Markup("").join(
        [
            tag("h2", "What the names mean"),
            tag("dl", *known),
            tag("p", f"Every candidate of every probe is in {JSON}, the numbers as a table in {CSV}."),
        ]
    )

"""One score of a carrier search: all layers and positions as a heat map, the ringed position over the same layers.

Statuses are marks as well as colours: admissible cells have a border, those given up are hatched, null directions hold
a plus, what was not scored is blank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from geoaudit.report import heat_figure, words
from geoaudit.report.carrier_figure import Search, axes, candidate_marks, ring, value_of
from geoaudit.report.heat_figure import Frame, Place
from geoaudit.report.svg import Data, Scale, drawing, heading, line, rectangle, tag, text, ticks

CELLS: Mapping[str, str] = {
    "admissible": "admissible",
    "screened": "given up on the first prompts (KL is theirs)",
    "null": "null direction",
    "not-finite": "scores not finite",
    "": "not scored: ruled out before",
}
"""Kind of a cell -> its words, in the order of the legend."""
_PLUS, _CROSS = "m-2 0h4m-2-2v4", "m-2-2l4 4m0-4l-4 4"


def score(search: Search, field: str, name: str, *, uid: str) -> Markup:
    """One score: all layers and positions as a heat map, beneath it the ringed position over the same layers."""
    rows = {position: index for index, position in enumerate(search.positions)}
    frame = Frame(34, 20, 320, 14 * len(rows), len(rows), search.n_layers)
    ramp, places = search.ramp(field), {_place(row, rows): row for row in search.candidates}
    null = [place for place, row in places.items() if row.get("status") == "null"]
    values = {place: None if place in null else value_of(row, field) for place, row in places.items()}
    parts: list[str] = [heading(name, 360)]
    parts.append(ticks([(29, frame.y(index + 0.5) + 3.5, words.position(at)) for at, index in rows.items()], "end"))
    parts += heat_figure.cells(frame, values, ramp, _having(places, "screened"))
    parts.append(heat_figure.marked(frame, null, "cell-mark", _PLUS))
    parts.append(heat_figure.marked(frame, _having(places, "not-finite"), "cell-mark", _CROSS))
    parts += heat_figure.outlined(frame, _having(places, "admissible"))
    late = min((place[1] for place in _having(places, "late-layer")), default=None)
    if late is not None:
        parts += [
            line(frame.x(late), 15, frame.x(late), frame.y(len(rows)), "guide"),
            text(354, 12, "late", "note", "end"),
        ]
    ringed = next((place for place, row in places.items() if search.is_chosen(row)), None)
    if ringed:
        parts += heat_figure.ringed(frame, ringed, doubted=not search.admissible)
    base = frame.y(len(rows))
    layers = [tick for tick in Scale(0, max(search.n_layers - 1, 1), 0, 1).ticks(6) if tick % 1 == 0]
    numbers = [(frame.x(tick + 0.5), base + 12, words.exact(tick)) for tick in layers if tick < search.n_layers]
    parts.append(ticks(numbers, "middle"))
    base += 20
    if ringed:
        own = [row for row in search.candidates if int(row["position"]) == search.positions[ringed[0]]]
        parts += _curve(search, field, own, frame, base)
        base += 92
    parts += heat_figure.legend(ramp, frame.left, base, 320)
    found = search.measured(field)
    span_text = f"from {words.number(min(found))} to {words.number(max(found))}" if found else "no value"
    here = f"; {search.badge}: {search.where}, {words.number(search.chosen.get(field))}" if search.chosen else ""
    admissible = f"{len(list(_having(places, 'admissible')))} of {len(places)} candidates are admissible"
    description = f"{len(rows)} positions, {search.n_layers} layers; {span_text}; {admissible}{here}"
    data = Data(
        ("position", "layer", name, "status", "outlined or ringed"),
        [
            (row["position"], row["layer"], value_of(row, field), row.get("status"), _emphasis(search, row))
            for row in search.candidates
        ],
        told=True,
    )
    return drawing(uid, f"{name} by layer and position", description, 360, base + 24, *parts, css="heat", data=data)


def legend_cell(kind: str) -> Markup:
    """A cell of the heat maps beside its name in the legend; decoration only."""
    frame = Frame(0, 0, 14, 14, 1, 1)
    drawn = {
        "admissible": [rectangle(0, 0, 14, 14, "cell"), rectangle(1, 1, 12, 12, "outline")],
        "screened": [rectangle(0, 0, 14, 14, "cell"), rectangle(0, 0, 14, 14, "cell-shaded")],
        "null": [rectangle(0, 0, 14, 14, "cell"), heat_figure.marked(frame, [(0, 0)], "cell-mark", _PLUS)],
        "not-finite": [rectangle(0, 0, 14, 14, "cell"), heat_figure.marked(frame, [(0, 0)], "cell-mark", _CROSS)],
    }.get(kind, [rectangle(0, 0, 14, 14, "cell")])
    return tag("svg", *drawn, class_="swatch", viewBox="0 0 14 14", aria_hidden="true")


def _curve(search: Search, field: str, rows: Sequence[Mapping[str, Any]], frame: Frame, top: float) -> list[Markup]:
    """A score of one position over the layers, under the cells of the same layers."""
    y = search.kl_scale(top + 76, top + 14) if field == "kl" else search.effect_scale(field, top + 76, top + 14)
    x = Scale(0, search.n_layers, frame.left, frame.left + frame.width)
    parts = [text(354, top + 9, f"at position {words.position(search.chosen['position'])}", "note", "end")]
    if field == "kl" and search.kl_budget:
        edge = y(search.kl_budget)
        parts += [
            rectangle(x.start, edge, x.end - x.start, y.start - edge, "allowed"),
            line(x.start, edge, x.end, edge, "bound"),
        ]
    parts += axes(x, y, idle=search.idle(field), columns=False)
    placed = [(row, (x(int(row["layer"]) + 0.5), y(v))) for row in rows if (v := value_of(row, field)) is not None]
    parts += candidate_marks(placed)
    return parts + [ring(px, py, search) for row, (px, py) in placed if search.is_chosen(row)]


def _emphasis(search: Search, row: Mapping[str, Any]) -> str:
    if search.is_chosen(row):
        return search.badge
    return "admissible" if row.get("status") == "admissible" else ""


def _having(places: Mapping[Place, Mapping[str, Any]], status: str) -> list[Place]:
    return [place for place, row in places.items() if row.get("status") == status]


def _place(row: Mapping[str, Any], rows: Mapping[int, int]) -> Place:
    """Where a candidate's cell lies."""
    return rows[int(row["position"])], int(row["layer"])

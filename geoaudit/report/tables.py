"""Beneath a figure, its numbers as a table: for readers that do not see it, and for those who copy or point."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from geoaudit.report import words
from geoaudit.report.svg import Cell, Figure

MOST_ROWS = 64
"""A longer table is not put into the page: the record has it, and so has the file of the figure."""
_IN_TABLES = ("interval-bar", "interval-row", "label-bar")
"""Figures that stand in a row of a table, which says the same."""


def tabled(page: str, figures: Sequence[Figure]) -> str:
    """The page with a table beneath each figure whose numbers it does not have elsewhere."""
    parts, end = [], 0
    for figure in figures:
        data = figure.data
        if data is None or data.told or not data.rows or len(data.rows) > MOST_ROWS or figure.css in _IN_TABLES:
            continue
        start = page.find(figure.svg, end)
        if start < 0:  # drawn, and then not shown
            continue
        parts += [page[end:start], '<div class="drawn">', figure.svg, _table(figure), "</div>"]
        end = start + len(figure.svg)
    return "".join([*parts, page[end:]])


def written(value: Cell) -> str:
    """A cell as it is read."""
    if value is None:
        return ""
    return value if isinstance(value, str) else words.exact(float(f"{value:.4g}"))


def _table(figure: Figure) -> Markup:
    assert figure.data is not None
    data, title = figure.data, escape(figure.title)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in data.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(written(row[0]))}</th>'
        + "".join(f"<td>{escape(written(value))}</td>" for value in row[1:])
        + "</tr>"
        for row in data.rows
    )
    return Markup(
        f'<details><summary>numbers<span class="unseen"> of {title}</span></summary>'
        f'<div class="wide" role="group" aria-labelledby="{figure.uid}-t" tabindex="0"><table class="small plain">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )

"""The figures of a page and where they stand: which drawings make one, under which heading, beside which legend.

Small drawings in the rows of a table are one figure, a row each.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from geoaudit.report.svg import Figure


@dataclass(frozen=True)
class Part:
    """A drawing of the page with where it stands."""

    figure: Figure
    row: str = ""
    column: str = ""


@dataclass
class Group:
    """Drawings that make one figure."""

    place: tuple[str, str, str]
    """Id of the section, heading, and the last smaller heading or caption under it."""
    parts: list[Part]
    legend: ET.Element | None
    """Of the figure on the page, else the last one of the section before it."""
    stacked: bool = False
    """Whether they are rows of a table."""
    axis: ET.Element | None = None
    """Of intervals in rows: the drawing above them."""


def groups(root: ET.Element, figures: Mapping[str, Figure]) -> list[Group]:
    """The figures of a page in its order; those of a table together.

    Args:
        root: the page.
        figures: id of a drawing's title -> the figure; other drawings are left out.
    """
    walk = _Walk(figures)
    walk.through(root)
    return walk.found


@dataclass
class _Table:
    """What was found in the table that the walk is in."""

    kinds: dict[str, Group] = field(default_factory=dict)
    axis: ET.Element | None = None


@dataclass
class _Walk:
    """The walk through a page, and where it is."""

    figures: Mapping[str, Figure]
    found: list[Group] = field(default_factory=list)
    section: str = ""
    heading: str = ""
    below: str = ""
    legend: ET.Element | None = None

    def through(self, element: ET.Element, table: _Table | None = None, row: str = "", column: str = "") -> None:
        """Find the figures of an element, which may stand in a table."""
        name = element.tag
        if name == "svg":
            self._drawing(element, table, row, column)
            return
        if name == "table":
            self._table(element)
            return
        before = self.legend
        if name == "section":
            self.section, self.heading, self.below, self.legend = element.get("id") or "", "", "", None
        elif name in ("h2", "h3"):
            self.heading, self.below = ("" if name == "h2" else words_of(element)), ""
        elif name in ("h4", "h5", "caption"):
            self.below = words_of(element)
        elif name == "figure":
            self.legend = next((part for part in element.iter("p") if "legend" in _classes(part)), before)
        elif name == "p" and "legend" in _classes(element):
            self.legend = element
        for child in element:
            self.through(child, table, row, column)
        if name == "figure":
            self.legend = before

    def _drawing(self, element: ET.Element, table: _Table | None, row: str, column: str) -> None:
        figure = self.figures.get((element.get("aria-labelledby") or "").split(" ")[0])
        place = self.section, self.heading, self.below
        if figure is None:
            if table is not None and "interval-row" in _classes(element):
                table.axis = element
        elif table is None:
            self.found.append(Group(place, [Part(figure)], self.legend))
        else:
            if figure.css not in table.kinds:
                axis = table.axis if figure.css == "interval-row" else None
                table.kinds[figure.css] = Group(place, [], self.legend, stacked=True, axis=axis)
                self.found.append(table.kinds[figure.css])
            table.kinds[figure.css].parts.append(Part(figure, row, column))

    def _table(self, element: ET.Element) -> None:
        for caption in element.iter("caption"):
            self.below = words_of(caption)
        heads = [words_of(cell) for part in element.iter("thead") for cell in part.iter("th")]
        table, first = _Table(), ""
        for line in element.iter("tr"):
            cells = list(line)
            label = next((words_of(cell) for cell in cells if cell.tag == "th" and cell.get("scope") == "row"), "")
            if "other" in _classes(line):  # one more checkpoint of the line above
                label = f"{first} ({label})"
            else:
                first = label.partition(" (")[0]
            for index, cell in enumerate(cells):
                named = cell.get("data-label") or (heads[index] if index < len(heads) else "")
                self.through(cell, table, label, named if label else "")


def _classes(element: ET.Element) -> list[str]:
    return (element.get("class") or "").split()


def words_of(element: ET.Element) -> str:
    """The words of an element, those beneath its first line apart (`sub`, in brackets), figures left out."""
    return " ".join(" ".join(_words(element)).split())


def _words(element: ET.Element) -> Iterator[str]:
    if element.text:
        yield element.text
    for child in element:
        if child.tag != "svg":
            inner = words_of(child)
            if inner:
                yield f"({inner})" if "sub" in _classes(child) and element.text else inner
        if child.tail:
            yield child.tail

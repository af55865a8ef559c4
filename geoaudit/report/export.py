"""The figures of a report as files for a paper: each a standalone SVG, beside it its numbers as CSV, and an index.

What is written is what the page holds: the same drawings (`page_figures`), taken out of it with the legend that stands
at them (`standalone`).
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoaudit.errors import RequestError
from geoaudit.report.page_figures import Group, Part, groups
from geoaudit.report.standalone import standalone
from geoaudit.report.svg import Cell, Data, Figure

INDEX = "index.csv"
_LONGEST_NAME, _LONGEST_PART = 110, 44
_OURS = re.compile(r"[a-z0-9][a-z0-9-]*\.(?:svg|csv)")


@dataclass(frozen=True)
class Exported:
    """One figure of its own."""

    name: str
    """Of its files, without their ends."""
    section: str
    title: str
    description: str
    svg: str
    data: Data


def exported(page: str, figures: Sequence[Figure]) -> list[Exported]:
    """Every figure of a page.

    Args:
        page: as `html.drawn` gives it.
        figures: drawn in it.
    """
    root = ET.fromstring(page)  # our own, well-formed: every string of the record is escaped in it
    definitions = {part.get("id", ""): part for part in root.iter() if part.tag in ("pattern", "symbol")}
    known = {f"{figure.uid}-t": figure for figure in figures}
    taken: Counter[str] = Counter()
    return [_made(group, definitions, taken) for group in groups(root, known)]


def write(page: str, figures: Sequence[Figure], folder: str | os.PathLike[str]) -> Path:
    """Write the figures into a folder, each file in one step, the index last; earlier ones that it named are removed.

    Returns:
        The index.

    Raises:
        RequestError: `folder` is a file.
        OSError: it cannot be written to.
    """
    target = Path(folder)
    check(target)
    target.mkdir(parents=True, exist_ok=True)
    made = exported(page, figures)
    listing = Data(
        ("figure", "data", "section", "title", "description"),
        [(f"{one.name}.svg", f"{one.name}.csv", one.section, one.title, one.description) for one in made],
    )
    stale = _named(target / INDEX)
    for one in made:
        _replace(target / f"{one.name}.svg", one.svg)
        _replace(target / f"{one.name}.csv", table(one.data))
    _replace(target / INDEX, table(listing))
    for name in stale - {f"{one.name}{end}" for one in made for end in (".svg", ".csv")}:
        (target / name).unlink(missing_ok=True)
    return target / INDEX


def check(folder: Path) -> None:
    """Whether figures can go there.

    Raises:
        RequestError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"the figures cannot be written into {folder}: it is a file; name a folder")


def table(data: Data) -> str:
    """CSV with a header; text that a spreadsheet would take for a formula is marked as text."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    for row in (data.columns, *data.rows):
        writer.writerow(map(_cell, row))
    return made.getvalue()


def _cell(value: Cell) -> Cell:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


def _named(index: Path) -> set[str]:
    """The files that an earlier index names; of names that are not ours none."""
    try:
        rows = list(csv.reader(io.StringIO(index.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()
    return {name for row in rows[1:] for name in row[:2] if _OURS.fullmatch(name)}


def _replace(path: Path, content: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(content, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _made(group: Group, definitions: Mapping[str, ET.Element], taken: Counter[str]) -> Exported:
    section, heading, below = group.place
    if group.stacked:
        kind = {"interval-bar": "intervals", "interval-row": "rates", "label-bar": "labels"}.get(
            group.parts[0].figure.css, group.parts[0].figure.css
        )
        name = _slug(section, _short(heading), _short(below), kind)
        title = ": ".join(part for part in (heading or section, below, kind) if part)
        description = "; ".join(
            f"{part.row}{f', {part.column}' if part.column else ''}: {part.figure.description}" for part in group.parts
        )
        data = _joined(group.parts)
    else:
        figure = group.parts[0].figure
        name, title = _slug(section, _short(heading), figure.title), figure.title
        if heading and heading not in title:
            title = f"{title}, {heading}"
        description = figure.description
        data = figure.data or Data(("description",), [(figure.description,)])
    taken[name] += 1
    if taken[name] > 1:
        name = f"{name}-{taken[name]}"
    return Exported(name, section, title, description, standalone(group, title, description, definitions), data)


def _short(heading: str) -> str:
    """A heading with no more of what stands small beside it than its first part: `safety-tuned rule cosmic`."""
    name, _, small = heading.partition(" (")
    return f"{name} {re.split(r' · |, |;', small)[0]}".strip(" )")


def _joined(parts: Sequence[Part]) -> Data:
    """The numbers of several figures of one kind, each row with what it is of."""
    held = [(part, part.figure.data) for part in parts if part.figure.data is not None]
    if not held:
        return Data(("row", "column"), [])
    rows = [(part.row, part.column, *row) for part, data in held for row in data.rows]
    return Data(("row", "column", *held[0][1].columns), rows)


def _slug(*parts: str) -> str:
    """A file name of plain letters, digits and hyphens; parts that say nothing are left out."""
    plain = [unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode().lower() for part in parts]
    kept = [re.sub(r"[^a-z0-9]+", "-", part).strip("-")[:_LONGEST_PART].strip("-") for part in plain]
    return "-".join(part for part in kept if part)[:_LONGEST_NAME].strip("-") or "figure"

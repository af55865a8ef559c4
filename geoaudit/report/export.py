"""The figures of a report as files for a paper: each a standalone SVG, beside it its numbers as CSV, and an index.

What is written is what the page holds: the same drawings, taken out of it together with the legend that stands at them.
Small figures in the rows of a table become one figure, a row each. Colours are those of the light page, resolved, so
that programs without CSS variables draw them; a unit of a drawing is 0.28 mm, which makes its lettering 7.5 to 8.5 pt.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup, escape

from geoaudit.errors import RequestError
from geoaudit.report import page as carried
from geoaudit.report.svg import Cell, Data, Figure, coordinate, tag, text

INDEX = "index.csv"
MILLIMETRES = 0.28
"""Of a unit of a drawing."""
LEGEND = 14.0
"""Height of a line of a legend."""
_ROW = 24.0
_WIDEST_LABEL = 60
_LONGEST_NAME, _LONGEST_PART = 110, 44
_CHARACTER = 5.6
"""Width of a character of 10.5 units, about."""
_OURS = re.compile(r"[a-z0-9][a-z0-9-]*\.(?:svg|csv)")
_TITLES = ("title", "desc")


@dataclass(frozen=True)
class Part:
    """A drawing of the page with where it stands."""

    figure: Figure
    row: str = ""
    column: str = ""


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


@dataclass
class _Place:
    """Where the walk through the page is."""

    section: str = ""
    heading: str = ""
    below: str = ""
    """The last smaller heading or caption under `heading`."""
    legend: ET.Element | None = None
    """The legend of the figure that the walk is in, else the last one of the section."""


@dataclass
class _Group:
    """Drawings that make one figure."""

    place: tuple[str, str, str]
    parts: list[Part]
    legend: ET.Element | None
    stacked: bool
    axis: ET.Element | None = field(default=None)


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
    return [_made(group, definitions, taken) for group in _groups(root, known)]


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


def _groups(root: ET.Element, known: Mapping[str, Figure]) -> list[_Group]:
    """The figures of a page in its order; those of a table together."""
    found: list[_Group] = []
    place = _Place()

    def walk(element: ET.Element, group: dict[str, _Group] | None, row: str, columns: Sequence[str]) -> None:
        name, css = element.tag, (element.get("class") or "").split()
        if name == "svg":
            figure = known.get((element.get("aria-labelledby") or "").split(" ")[0])
            if figure is None:
                if group is not None and "interval-row" in css:
                    group["axis"] = _Group(("", "", ""), [], None, False, element)
                return
            if group is None:
                found.append(_Group(_where(place), [Part(figure)], place.legend, False))
                return
            kind = group.setdefault(figure.css, _Group(_where(place), [], place.legend, True))
            if not kind.parts:
                axis = group.get("axis")
                kind.axis = axis.axis if axis and figure.css == "interval-row" else None
                found.append(kind)
            kind.parts.append(Part(figure, row, columns[0] if columns else ""))
            return
        if name == "section":
            place.section, place.heading, place.below, place.legend = element.get("id") or "", "", "", None
        elif name in ("h2", "h3"):
            place.heading, place.below = ("" if name == "h2" else _text(element)), ""
        elif name in ("h4", "h5", "caption"):
            place.below = _text(element)
        elif name == "figure":
            legend = next((part for part in element.iter("p") if "legend" in (part.get("class") or "").split()), None)
            before, place.legend = place.legend, legend if legend is not None else place.legend
            for child in element:
                walk(child, group, row, columns)
            place.legend = before
            return
        elif name == "p" and "legend" in css:
            place.legend = element
        elif name == "table":
            for caption in element.iter("caption"):
                place.below = _text(caption)
            heads = [_text(cell) for part in element.iter("thead") for cell in part.iter("th")]
            inside: dict[str, _Group] = {}
            first = ""
            for line in element.iter("tr"):
                cells = list(line)
                label = next((_text(cell) for cell in cells if cell.tag == "th" and cell.get("scope") == "row"), "")
                if "other" in (line.get("class") or "").split():  # one more checkpoint of the line above
                    label = f"{first} ({label})"
                else:
                    first = label.partition(" (")[0]
                for index, cell in enumerate(cells):
                    named = cell.get("data-label") or (heads[index] if index < len(heads) else "")
                    walk(cell, inside, label, [named] if label else [])
            return
        for child in element:
            walk(child, group, row, columns)

    walk(root, None, "", [])
    return found


def _short(heading: str) -> str:
    """A heading with no more of what stands small beside it than its first part: `safety-tuned rule cosmic`."""
    name, _, small = heading.partition(" (")
    return f"{name} {re.split(r' · |, |;', small)[0]}".strip(" )")


def _where(place: _Place) -> tuple[str, str, str]:
    return place.section, place.heading, place.below


def _text(element: ET.Element) -> str:
    return " ".join(" ".join(_texts(element)).split())


def _texts(element: ET.Element) -> Iterator[str]:
    """The words of an element, those beneath its first line apart (`sub`, in brackets), figures left out."""
    if element.text:
        yield element.text
    for child in element:
        if child.tag != "svg":
            inner = _text(child)
            if inner:
                yield f"({inner})" if "sub" in (child.get("class") or "").split() and element.text else inner
        if child.tail:
            yield child.tail


def _made(group: _Group, definitions: Mapping[str, ET.Element], taken: Counter[str]) -> Exported:
    section, heading, below = group.place
    if group.stacked:
        kind = {"interval-bar": "intervals", "interval-row": "rates", "label-bar": "labels"}.get(
            group.parts[0].figure.css, group.parts[0].figure.css
        )
        name = _slug(section, _short(heading), _short(below), kind)
        title = ": ".join(part for part in (heading or section, below, kind) if part)
        body, width, height = _stack(group)
        description = "; ".join(
            f"{part.row}{f', {part.column}' if part.column else ''}: {part.figure.description}" for part in group.parts
        )
        data = _joined(group.parts)
    else:
        figure = group.parts[0].figure
        name, title = _slug(section, _short(heading), figure.title), figure.title
        if heading and heading not in title:
            title = f"{title}, {heading}"
        body = [tag("g", Markup(_inside(ET.fromstring(figure.svg))), class_=figure.css)]
        width, height, description = figure.width, figure.height, figure.description
        data = figure.data or Data(("description",), [(figure.description,)])
    taken[name] += 1
    if taken[name] > 1:
        name = f"{name}-{taken[name]}"
    legend, height = _legend(group.legend, body, width, height)
    return Exported(
        name,
        section,
        title,
        description,
        _standalone(title, description, width, height, [*body, *legend], definitions),
        data,
    )


def _stack(group: _Group) -> tuple[list[str], float, float]:
    """Rows of a table as one drawing: what each is on the left, the figure, for intervals the numbers on the right."""
    several = len({part.column for part in group.parts}) > 1
    labels = [
        _cut(f"{part.row} · {part.column}" if several and part.column else part.row or part.column)
        for part in group.parts
    ]
    left = max(map(len, labels)) * _CHARACTER + 10
    inner = max(part.figure.width for part in group.parts)
    told = group.parts[0].figure.css in ("interval-bar", "interval-row")
    said = [part.figure.description.partition(" against ")[0] if told else "" for part in group.parts]
    width = left + inner + (max(map(len, said)) * _CHARACTER + 14 if any(said) else 0)
    parts: list[str] = []
    top = 4.0
    if group.axis is not None:
        parts.append(_moved(group.axis, left, top, "interval-row"))
        top += 14
    for part, label, value in zip(group.parts, labels, said, strict=True):
        figure = part.figure
        middle = top + (14 if figure.css == "interval-bar" else figure.height / 2)
        parts.append(text(left - 8, middle + 3.5, label, "", "end"))
        parts.append(_moved(ET.fromstring(figure.svg), left, top, figure.css))
        if value:
            parts.append(text(left + inner + 10, middle + 3.5, value))
        top += max(figure.height + 4, _ROW)
    return parts, width, top


def _moved(svg: ET.Element, x: float, y: float, css: str) -> Markup:
    return tag("g", Markup(_inside(svg)), class_=css, transform=f"translate({coordinate(x)} {coordinate(y)})")


def _inside(svg: ET.Element) -> str:
    """What an `<svg>` holds, without its title and description."""
    return "".join(ET.tostring(child, encoding="unicode") for child in svg if child.tag not in _TITLES)


def _joined(parts: Sequence[Part]) -> Data:
    """The numbers of several figures of one kind, each row with what it is of."""
    held = [(part, part.figure.data) for part in parts if part.figure.data is not None]
    if not held:
        return Data(("row", "column"), [])
    rows = [(part.row, part.column, *row) for part, data in held for row in data.rows]
    return Data(("row", "column", *held[0][1].columns), rows)


def _legend(legend: ET.Element | None, body: Sequence[str], width: float, height: float) -> tuple[list[Markup], float]:
    """The entries of a legend in lines beneath a figure, if one of them is in it; and the height with them."""
    if legend is None:
        return [], height
    drawn = _classes("".join(body))
    entries = [(list(span.iter("svg")), _text(span)) for span in legend if span.tag == "span"]
    marks = [_classes(ET.tostring(svg, encoding="unicode")) for svgs, _ in entries for svg in svgs]
    own = frozenset({"swatch", "legend-mark", "cell"})
    if not any((found - own) & drawn for found in marks):
        return [], height
    parts, x, y = [], 4.0, height + 12
    for svgs, words in entries:
        size = 30.0 * len(svgs) + len(words) * _CHARACTER + 14
        if x > 4 and x + size > width:
            x, y = 4.0, y + LEGEND
        for svg in svgs:
            box = [float(part) for part in (svg.get("viewBox") or "0 0 14 14").split()]
            scale = f" scale({12 / box[3]:.3g})" if box[3] != 12 else ""
            place = f"translate({coordinate(x)} {coordinate(y - 9.5)}){scale}"
            parts.append(tag("g", Markup(_inside(svg)), transform=place))
            x += 12 * box[2] / box[3] + 4
        parts.append(text(x, y, words, "tick"))
        x += len(words) * _CHARACTER + 14
    return parts, y + 6


def _standalone(
    title: str,
    description: str,
    width: float,
    height: float,
    body: Sequence[str],
    definitions: Mapping[str, ET.Element],
) -> str:
    inner = "".join(body)
    rules, needed = _rules(inner), ""
    for name in sorted(set(re.findall(r"url\(#([\w-]+)\)|href=\"#([\w-]+)\"", rules + inner))):
        part = definitions.get(name[0] or name[1])
        if part is not None:
            needed += ET.tostring(part, encoding="unicode").strip()
    rules = _rules(inner + needed)
    size = {"width": f"{width * MILLIMETRES:.1f}mm", "height": f"{height * MILLIMETRES:.1f}mm"}
    box = f"0 0 {coordinate(width)} {coordinate(height)}"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{size["width"]}" height="{size["height"]}" '
        'role="img" aria-labelledby="title description">\n'
        f'<title id="title">{escape(title)}</title>\n<desc id="description">{escape(description)}</desc>\n'
        f"<style>{rules}</style>\n"
        + (f'<defs class="definitions">{needed}</defs>\n' if needed else "")
        + f'<rect width="100%" height="100%" class="sheet"/>\n{inner}\n</svg>\n'
    )


def _rules(drawn: str) -> str:
    """The style of what is drawn: those rules of the page's figures that apply, with the colours of the light page."""
    sheet = carried.read("figures.css")
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", carried.read("style.css").partition("}")[0]))
    colours["sans"] = '"Helvetica Neue", Arial, "Liberation Sans", sans-serif'
    classes = _classes(drawn) | {"definitions"}
    found = [f".sheet {{ fill: {colours['paper']}; }}"]
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)):
        kept = [part.strip() for part in selectors.split(",") if set(re.findall(r"\.([\w-]+)", part)) <= classes]
        if kept:
            found.append(f"{', '.join(kept)} {{{re.sub(r'var[(]--([a-z0-9-]+)[)]', lambda m: colours[m[1]], body)}}}")
    return "\n".join(found)


def _classes(markup: str) -> frozenset[str]:
    return frozenset(name for found in re.findall(r'class="([^"]*)"', markup) for name in found.split())


def _cut(label: str) -> str:
    label = " (".join(label.split(" (")[:2])  # the name and what stands beneath it; not what stands beneath that
    return label if len(label) <= _WIDEST_LABEL else f"{label[: _WIDEST_LABEL - 1]}…"


def _slug(*parts: str) -> str:
    """A file name of plain letters, digits and hyphens; parts that say nothing are left out."""
    plain = [unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode().lower() for part in parts]
    kept = [re.sub(r"[^a-z0-9]+", "-", part).strip("-")[:_LONGEST_PART].strip("-") for part in plain]
    return "-".join(part for part in kept if part)[:_LONGEST_NAME].strip("-") or "figure"

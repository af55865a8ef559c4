"""A figure of the page as an SVG file of its own: its drawings, the legend that stands at them, and its style.

Small figures in the rows of a table become one figure, a row each. Colours are those of the light page, resolved, so
that programs without CSS variables draw them; a unit of a drawing is 0.28 mm, which makes its lettering 7.5 to 8.5 pt.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from geoaudit.report import page
from geoaudit.report.page_figures import Group, words_of
from geoaudit.report.svg import coordinate, tag, text

MILLIMETRES = 0.28
"""Of a unit of a drawing."""
LEGEND = 14.0
"""Height of a line of a legend."""
_ROW = 24.0
_WIDEST_LABEL = 60
_CHARACTER = 5.6
"""Width of a character of 10.5 units, about."""
_TITLES = ("title", "desc")


def standalone(group: Group, title: str, description: str, definitions: Mapping[str, ET.Element]) -> str:
    """The file's text.

    Args:
        group: what it shows.
        title: for readers who do not see it.
        description: likewise.
        definitions: the page's patterns and symbols by their ids; those that are used come along.
    """
    if group.stacked:
        body, width, height = _stack(group)
    else:
        figure = group.parts[0].figure
        body = [tag("g", Markup(_inside(ET.fromstring(figure.svg))), class_=figure.css)]
        width, height = figure.width, figure.height
    legend, height = _legend(group.legend, body, width, height)
    inner = "".join([*body, *legend])
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


def _stack(group: Group) -> tuple[list[str], float, float]:
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


def _legend(legend: ET.Element | None, body: Sequence[str], width: float, height: float) -> tuple[list[Markup], float]:
    """The entries of a legend in lines beneath a figure, if one of them is in it; and the height with them."""
    if legend is None:
        return [], height
    drawn = _classes("".join(body))
    entries = [(list(span.iter("svg")), words_of(span)) for span in legend if span.tag == "span"]
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


def _rules(drawn: str) -> str:
    """The style of what is drawn: those rules of the page's figures that apply, with the colours of the light page."""
    sheet = page.read("figures.css")
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", page.read("style.css").partition("}")[0]))
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

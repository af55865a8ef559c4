from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from geoaudit.report import html
from geoaudit.report.page import style as page_style
from geoaudit.report.shared import PLACE, START, shared

Make = Callable[..., dict[str, Any]]
LONG = '<path d="M10 10H20M30 30H40M50 50H60" class="grid"/>'
TICKS = '<g class="tick end"><text x="29" y="30.5">−6</text><text x="29" y="44.5">−5</text></g>'


HAS_NUMBERS_OF_ITS_OWN = (".interval-bar", ".interval-row", ".frontier", ".controls")


def page(*parts: str) -> str:
    return f"<html><body>{START}{''.join(parts)}</div>{PLACE}</body></html>"


def resolved(text: str) -> str:
    """The page with every `<use>` of a shared part replaced by what it points to, and without the definitions."""
    root = ET.fromstring(text)
    parts = {part.get("id"): "".join(ET.tostring(child, "unicode") for child in part) for part in root.iter("g")}
    start, _, end = text.rpartition('<svg class="definitions"')
    body = start + end.partition("</svg>")[2] if start else text
    return re.sub(r'<use href="#(s\d+)"\s*/>', lambda m: parts[m[1]].replace(" />", "/>"), body)


def test_what_occurs_more_than_once_is_defined_once():
    svg = f'<svg class="heat">{TICKS}{LONG}<path d="M1 1"/></svg>'
    found = shared(page(svg, svg, svg))
    assert found.count(LONG) == found.count(TICKS) == 1
    assert found.count('<path d="M1 1"/>') == 3, "a reference would be longer"
    assert found.index(LONG) > found.index("</div>"), "behind the page: the first words are not those of a figure"
    assert resolved(found) == page(svg, svg, svg).replace(PLACE, "")


def test_what_occurs_once_stays_where_it_is():
    alone = page(f'<svg class="heat">{TICKS}{LONG}</svg>')
    assert shared(alone) == alone.replace(PLACE, "")
    assert shared("<p>no page</p>") == "<p>no page</p>"


def test_numbers_whose_size_hangs_on_the_figure_stay():
    """On a phone those of these figures are larger; a definition has the style of its own place."""
    for css in ("frontier", "controls", "interval-bar", "interval-row"):
        svg = f'<svg class="{css}">{TICKS}{LONG}</svg>'
        found = shared(page(svg, svg, svg))
        assert found.count(TICKS) == 3
        assert found.count(LONG) == 1


def test_no_style_depends_on_where_a_shared_part_stands(make_geometry: Make):
    """In a copy that is pointed to, selectors with an ancestor outside it do not match (bars lost their fill so)."""
    style = page_style()
    text = html.render(make_geometry(checkpoints=2, rows=4, layers=6))
    (definitions,) = re.findall(r'<svg class="definitions"[^>]*><defs>(<g id="s0">.*?)</defs>', text)
    classes = {name for found in re.findall(r'class="([^"]+)"', definitions) for name in found.split()}
    assert {"grid", "tick", "bar"} <= classes
    for one in (part.strip() for found in re.findall(r"[^{}]+(?={)", style) for part in found.split(",")):
        outer, _, inner = one.rpartition(" ")
        if not outer or outer.endswith(".tick") or outer in HAS_NUMBERS_OF_ITS_OWN:
            continue
        named = set(re.findall(r"\.([\w-]+)", inner))
        assert not classes & named, one
        assert named or not re.match(r"(path|rect|circle|g|text)\b", inner), one


def test_a_report_loses_nothing(make_geometry: Make, monkeypatch: Any):
    record = make_geometry(checkpoints=2, rows=4, layers=6)
    short = html.render(record)
    monkeypatch.setattr(html, "shared", lambda text: text.replace(PLACE, ""))
    long = html.render(record)
    assert len(long) - len(short) > 0.04 * len(long)

    def flat(text: str) -> str:
        return re.sub(r"\s*/>", "/>", re.sub(r"\s+", " ", text)).replace("> <", "><")

    assert flat(resolved(short)) == flat(long)
    ids = re.findall(r'id="([^"]+)"', short)
    assert len(ids) == len(set(ids))
    assert {found[1:] for found in re.findall(r'href="(#s\d+)"', short)} <= set(ids)

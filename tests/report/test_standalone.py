"""A figure as a file of its own: whole, in millimetres, with no more style than it uses, and hostile to nobody."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geoaudit.report import export, html, standalone
from tests.report.hostile import BREAKOUT, everywhere

Make = Callable[..., dict[str, Any]]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(make_geometry: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("figures")
    export.write(*html.drawn(make_geometry(rows=6, layers=6)), target)
    return target


def test_a_figure_stands_alone(folder: Path):
    for path in folder.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        root = ET.fromstring(text)  # our own output
        assert root.tag == f"{SVG}svg"
        assert root.find(f"{SVG}title").text  # type: ignore[union-attr]
        assert root.find(f"{SVG}desc").text  # type: ignore[union-attr]
        assert "var(" not in text
        assert not re.search(r"<script|@import|https?://(?!www\.w3\.org/2000/svg)|\son\w+=", text)
        identifiers = {part.get("id") for part in root.iter() if part.get("id")}
        needed = set(re.findall(r'url\(#([\w-]+)\)|href="#([\w-]+)"', text))
        assert {one or other for one, other in needed} <= identifiers
        width = float(root.get("width", "").removesuffix("mm"))
        box = [float(part) for part in root.get("viewBox", "").split()]
        assert 30 < width < 320
        assert width == pytest.approx(box[2] * standalone.MILLIMETRES, abs=0.1)
        # 9.5 units of the smallest lettering are 7.5 pt on paper
        assert 9.5 * width / box[2] * 72 / 25.4 == pytest.approx(7.5, abs=0.1)
        styled = set(re.findall(r"\.([a-z][\w-]*)", root.find(f"{SVG}style").text or ""))  # type: ignore[union-attr]
        used = {name for part in root.iter() for name in (part.get("class") or "").split()}
        assert styled <= used | {"definitions"}


def test_hostile_strings_stay_text(make_geometry: Make, tmp_path: Path):
    record = everywhere(make_geometry(rows=3, layers=3), BREAKOUT)
    record["geoaudit_record"] = 1
    export.write(*html.drawn(record), tmp_path)
    tags = {part.tag for path in tmp_path.glob("*.svg") for part in ET.fromstring(path.read_bytes()).iter()}
    known = ("svg", "title", "desc", "style", "defs", "pattern", "symbol", "g", "rect", "path", "circle", "text", "use")
    assert tags <= {f"{SVG}{name}" for name in known}
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".csv"}

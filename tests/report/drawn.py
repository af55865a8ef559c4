"""Reads a figure back: well-formed, announced, and inside its frame."""

from __future__ import annotations

import xml.etree.ElementTree as ET

HOSTILE = "<script>alert('1')</script>\" onload=\"x"


def drawn(svg: str) -> ET.Element:
    """The figure as elements, its title, description and frame checked."""
    element = ET.fromstring(svg)  # our own output
    assert element.tag == "svg"
    assert element[0].tag == "title"
    assert element[0].text
    assert element[1].tag == "desc"
    assert element[1].text
    assert element.get("role") == "img"
    assert element.get("aria-labelledby", "").split() == [element[0].get("id"), element[1].get("id")]
    _, _, width, height = map(float, element.get("viewBox", "").split())
    for part in element.iter():
        for name, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            if part.get(name) is not None:
                assert -0.1 <= float(part.get(name, "")) <= limit + 0.1
    return element


def strokes(element: ET.Element, css: str) -> int:
    """How many strokes the paths of a class hold: dots of a curve, runs of cells."""
    return sum(part.get("d", "").count("M") for part in by_class(element, css))


def by_class(element: ET.Element, css: str) -> list[ET.Element]:
    """Every element of a class."""
    return [part for part in element.iter() if css in (part.get("class") or "").split()]

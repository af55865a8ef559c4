"""Where figures stand on a page: headings, captions, legends, and tables whose drawings make one figure."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from markupsafe import Markup

from geoaudit.report.page_figures import Group, groups, words_of
from geoaudit.report.svg import Figure


def figure(name: str, css: str = "curve") -> Figure:
    return Figure(name, name, name, 10.0, 10.0, css, Markup("<svg/>"), None)


FIGURES = {f"{name}-t": figure(name, css) for name, css in (("a", "curve"), ("b", "spark"), ("c", "interval-row"))}


def svg(name: str) -> str:
    return f'<svg aria-labelledby="{name}-t {name}-d"/>'


def found(page: str) -> list[Group]:
    return groups(ET.fromstring(f"<body>{page}</body>"), FIGURES)


def test_a_drawing_stands_under_the_headings_before_it():
    page = f"<section id='s'><h2>One</h2>{svg('a')}<h3>Two</h3><h4>Small</h4>{svg('a')}</section>"
    assert [one.place for one in found(page)] == [("s", "", ""), ("s", "Two", "Small")]
    assert found(f"<section id='s'><h3>Two</h3></section><section id='r'>{svg('a')}</section>")[0].place[1] == ""


def test_a_drawing_that_is_no_figure_is_left_out():
    assert found(svg("other")) == []


def test_the_legend_of_a_figure_is_its_own_and_not_that_of_the_next():
    page = f"<p class='legend'>first</p><figure>{svg('a')}<p class='legend'>own</p></figure>{svg('b')}"
    one, other = found(page)
    assert one.legend is not None
    assert other.legend is not None
    assert (one.legend.text, other.legend.text) == ("own", "first")
    assert found(f"<p class='legend'>x</p><section id='s'>{svg('a')}</section>")[0].legend is None


def test_drawings_of_a_kind_in_a_table_are_one_figure_with_a_row_each():
    line = "<tr{}><th scope='row'>{}</th><td data-label='here'>{}</td><td>{}</td></tr>"
    page = (
        "<table><caption>All</caption><thead><tr><th>name</th><th>x</th><th>there</th></tr></thead>"
        + f"<tr><td><svg class='interval-row'/></td></tr>{line.format('', 'first (n)', svg('b'), svg('c'))}"
        + line.format(" class='other'", "second", svg("b"), svg("c"))
        + "</table>"
    )
    sparks, intervals = found(page)
    assert [(part.row, part.column) for part in sparks.parts] == [("first (n)", "here"), ("first (second)", "here")]
    assert [part.column for part in intervals.parts] == ["there", "there"]
    assert sparks.place == intervals.place == ("", "", "All")
    assert (sparks.stacked, sparks.axis) == (True, None)
    assert intervals.axis is not None, "the drawing above the intervals"


def test_words_leave_drawings_out_and_put_what_stands_small_in_brackets():
    cell = ET.fromstring("<td> a <b>bold</b> <svg><title>no</title></svg> c <span class='sub'>small</span></td>")
    assert words_of(cell) == "a bold c (small)"

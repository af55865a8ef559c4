from __future__ import annotations

import xml.etree.ElementTree as ET

from geoaudit.report.svg import Data, Figure, Uid, drawing, heading
from geoaudit.report.tables import MOST_ROWS, tabled, written


def figure(data: Data | None, css: str = "curve", title: str = "a & b") -> Figure:
    kept: list[Figure] = []
    drawing(Uid("f1", kept), title, "said", 100, 50, css=css, data=data)
    (made,) = kept
    return made


ROWS = Data(("layer", "value <1>"), [(1, 0.12345678), (2, None), ("three", "<b>")], [10, 20.04, 30])


def test_the_numbers_of_a_figure_stand_beneath_it_as_a_table():
    made = figure(ROWS)
    page = ET.fromstring(tabled(f"<main>before {made.svg} after</main>", [made]))
    box = page[0]
    assert (page.text, box.get("class"), box.tail) == ("before ", "drawn", " after")
    assert box[0].get("viewBox") == "0 0 100 50"
    table = next(box.iter("table"))
    assert box[0].get("data-at") == "10 20 30"
    cells = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert cells == [["layer", "value <1>"], ["1", "0.1235"], ["2", ""], ["three", "<b>"]]
    assert [cell.get("scope") for cell in table.iter("th")] == ["col", "col", "row", "row", "row"]
    assert "".join(next(box.iter("summary")).itertext()) == "numbers of a & b"


def test_there_is_none_where_the_page_has_the_numbers_or_they_are_many_or_the_figure_is_not_shown():
    many = Data(("x",), [(k,) for k in range(MOST_ROWS + 1)])
    told = Data(ROWS.columns, ROWS.rows, told=True)
    for made in (figure(None), figure(many), figure(told), figure(ROWS, css="interval-bar"), figure(Data(("x",), []))):
        page = f"<main>{made.svg}</main>"
        assert tabled(page, [made]) == page
    assert tabled("<main/>", [figure(ROWS)]) == "<main/>"


def test_a_figure_without_places_is_not_pointed_at():
    assert "data-at" not in figure(Data(ROWS.columns, ROWS.rows)).svg
    assert "data-at" not in figure(None).svg


def test_a_cell_reads_as_a_number_does_elsewhere():
    assert [written(value) for value in (None, "x", 3, -0.25, 1234567.0)] == ["", "x", "3", "−0.25", "1235000"]


def test_a_plain_identifier_keeps_nothing():
    assert drawing("f1", "t", "d", 1, 1, css="x").startswith("<svg")


def test_long_headings_are_squeezed_and_longer_ones_cut():
    assert "textLength" not in heading("a" * 40, 360)
    assert 'textLength="352"' in heading("a" * 60, 360)
    assert "…" not in heading("a" * 60, 360)
    assert len(ET.fromstring(heading("a" * 600, 360)).text or "") == 69

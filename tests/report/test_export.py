from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geoaudit.errors import RequestError
from geoaudit.report import export, html
from geoaudit.report.svg import Data, Figure

Make = Callable[..., dict[str, Any]]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(make_geometry: Make) -> tuple[str, list[Figure]]:
    return html.drawn(make_geometry(rows=6, layers=6))


@pytest.fixture(scope="module")
def folder(drawn: tuple[str, list[Figure]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("figures") / "new" / "folder"
    assert export.write(*drawn, target) == target / "index.csv"
    return target


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_every_figure_of_the_page_is_in_a_file_and_every_file_in_the_index(
    drawn: tuple[str, list[Figure]], folder: Path
):
    page, figures = drawn
    shown = [figure for figure in figures if figure.svg in page]
    head, *listed = rows(folder / "index.csv")
    assert head == ["figure", "data", "section", "title", "description"]
    names = {name for row in listed for name in row[:2]}
    assert names | {"index.csv"} == {path.name for path in folder.iterdir()}
    assert len(names) == 2 * len(listed)
    small = sum(figure.css in ("interval-bar", "interval-row", "label-bar", "spark") for figure in shown)
    assert small > 10
    assert len(shown) - small < len(listed) < len(shown)
    whole = "".join((folder / row[0]).read_text(encoding="utf-8") for row in listed)
    for figure in shown:
        paths = [part for part in re.findall(r' d="([^"]{12,})"', figure.svg)]
        assert all(f'd="{path}"' in whole for path in paths)


def test_the_numbers_are_those_that_were_drawn(drawn: tuple[str, list[Figure]], folder: Path):
    _, figures = drawn
    listed = {row[3]: row[1] for row in rows(folder / "index.csv")[1:]}
    curves = [figure for figure in figures if figure.css == "curve"]
    assert curves
    for figure in curves:
        assert figure.data is not None
        name = next(name for title, name in listed.items() if title.startswith(figure.title))
        head, *found = rows(folder / name)
        assert head == list(figure.data.columns)
        same = [["" if value is None else str(value) for value in row] for row in figure.data.rows]
        assert found == same or name.endswith(tuple(f"-{k}.csv" for k in range(2, 9))) or len(listed) < len(figures)
    every = [rows(folder / name) for name in listed.values()]
    assert all(len(set(map(len, table))) == 1 for table in every)
    assert all(len(table) > 1 for table in every)


def test_rows_of_a_table_become_one_figure_that_names_them(make_record: Make, tmp_path: Path):
    record = make_record(rows=6)
    export.write(*html.drawn(record), tmp_path)
    head, *found = rows(tmp_path / "assertions-intervals.csv")
    assert head[:2] == ["row", "column"]
    by_id = {row[0].partition(" ")[0]: dict(zip(head, row, strict=True)) for row in found}
    keys = {one["key"]: one for one in record["measurements"]}
    checked = 0
    for one in record["assertions"]:
        row = by_id.get(one["id"])
        measured = keys.get(one.get("measurement"))
        if row and measured and row["row"].count(one["checkpoint"]) and measured.get("estimate") is not None:
            assert float(row["estimate"]) in {m["estimate"] for m in record["measurements"]}
            checked += 1
    assert checked > 3
    text = (tmp_path / "assertions-intervals.svg").read_text(encoding="utf-8")
    assert all(one["id"] in text for one in record["assertions"] if one["id"] in by_id)


def test_names_are_stable_and_nothing_stale_or_half_written_stays(
    drawn: tuple[str, list[Figure]], make_record: Make, tmp_path: Path
):
    export.write(*drawn, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "mine.svg").write_text("keep")
    export.write(*drawn, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before | {"mine.svg": b"keep"}
    export.write(*html.drawn(make_record(rows=6)), tmp_path)
    after = {path.name for path in tmp_path.iterdir()}
    assert after == {name for row in rows(tmp_path / "index.csv")[1:] for name in row[:2]} | {"index.csv", "mine.svg"}
    assert before.keys() - after
    assert all(re.fullmatch(r"[a-z0-9-]{1,120}\.(svg|csv)", name) for name in after)


def test_an_index_that_names_other_files_removes_none_of_them(drawn: tuple[str, list[Figure]], tmp_path: Path):
    inside, outside = tmp_path / "in", tmp_path / "out.svg"
    inside.mkdir()
    outside.write_text("keep")
    (inside / "Mine.SVG").write_text("keep")
    (inside / "index.csv").write_text("figure,data\n../out.svg,Mine.SVG\n/etc/passwd,.hidden.csv\n")
    export.write(*drawn, inside)
    assert outside.read_text() == (inside / "Mine.SVG").read_text() == "keep"


def test_a_file_is_no_folder(drawn: tuple[str, list[Figure]], make_record: Make, tmp_path: Path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(RequestError, match="it is a file; name a folder"):
        export.write(*drawn, tmp_path / "file")
    with pytest.raises(RequestError, match="it is a file"):
        html.write(make_record(rows=3), tmp_path / "r.html", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_fails_leaves_what_was_there(drawn: tuple[str, list[Figure]], tmp_path: Path, monkeypatch: Any):
    export.write(*drawn, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(self: Path, *_: Any, **__: Any) -> None:
        self.touch()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        export.write(*drawn, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_spreadsheet_takes_no_name_for_a_formula():
    text = export.table(Data(("=cmd", "x"), [("+1", -2.5), ("@a", None), ("-b", 3), ("fine", "\tz")]))
    assert text == "'=cmd,x\n'+1,-2.5\n'@a,\n'-b,3\nfine,'\tz\n"


def test_names_of_files_are_plain_whatever_a_checkpoint_is_called():
    assert export._slug("carrier", "../../etc/passwd", "KL − x") == "carrier-etc-passwd-kl-x"
    assert export._slug("…", "\u05d0") == "figure"
    assert len(export._slug(*["a" * 500] * 9)) <= 110
    assert os.sep not in export._slug("a/b\\c")

"""The curve's files: what was not read is a gap and never 0, and the page loads and runs nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from geoaudit.errors import RequestError
from geoaudit.training import curve as curves
from geoaudit.training.curve import Curve, Point

ABOUT = {"settings": {"kl_budget": 0.1}, "positions": [-1], "layers": [3]}


def a_curve() -> Curve:
    points = (
        Point(0, {"layer": 3, "position": -1, "kl": 0.05, "refusal_harmful": -2.0}, True, True, seconds=1.0),
        Point(10, {}, why_missing="activations are NaN <script>alert(1)</script>", seconds=1.0),
        Point(20, {"layer": 3, "position": -1, "kl": 0.5, "refusal_harmful": 4.0}, broken=("kl <= 0.2",), seconds=2.0),
        Point(30, {"layer": 2, "position": -1, "kl": 0.4, "refusal_harmful": 0.0, "loss": 0.0}, seconds=2.0),
    )
    return Curve(ABOUT, points, ({"quantity": "kl", "at_most": 0.2},), seconds=60.0)


def test_the_files_come_back_as_they_were(tmp_path: Path) -> None:
    curves.write(a_curve(), tmp_path / "new" / "folder")
    assert curves.read(tmp_path / "new" / "folder") == a_curve()
    assert curves.read(tmp_path) is None
    assert sorted(one.name for one in (tmp_path / "new" / "folder").iterdir()) == sorted(
        [curves.JSON, curves.CSV, curves.HTML]
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"geoaudit_monitor": 2, "points": []}', '{"geoaudit_monitor": 1}'])
def test_another_file_is_no_curve(tmp_path: Path, text: str) -> None:
    (tmp_path / curves.JSON).write_text(text)
    with pytest.raises(RequestError, match="no curve"):
        curves.read(tmp_path)


def test_missing_is_an_empty_cell_and_zero_is_zero(tmp_path: Path) -> None:
    curves.write(a_curve(), tmp_path)
    with (tmp_path / curves.CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["refusal_harmful"] for row in rows] == ["-2.0", "", "4.0", "0.0"]
    assert [row["loss"] for row in rows] == ["", "", "", "0.0"]
    assert [row["direction_admissible"] for row in rows] == ["true", "", "false", "false"]
    assert json.loads((tmp_path / curves.JSON).read_text())["points"][1]["values"] == {}


def test_the_page_is_well_formed_and_runs_nothing() -> None:
    page = curves.html(a_curve())
    root = ElementTree.fromstring(page.partition("\n")[2])
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in names
    assert not names & {"link", "img", "iframe", "a"}
    assert "alert(1)" in page  # shown, escaped
    assert "default-src 'none'" in page
    assert 'http-equiv="refresh"' not in page


def test_a_line_is_not_drawn_across_a_gap() -> None:
    assert curves._runs([(0, 1.0), (1, None), (2, 2.0), (3, 3.0), (4, None)]) == [[(2, 2.0), (3, 3.0)]]


def test_bounds_and_the_budget_are_drawn() -> None:
    assert curves.html(a_curve()).count('class="bound"') == 2
    assert curves.html(Curve(ABOUT, a_curve().points)).count('class="bound"') == 1


def test_a_page_without_points_is_a_page() -> None:
    ElementTree.fromstring(curves.html(Curve(ABOUT)).partition("\n")[2])


def test_the_line_says_what_is_missing_and_what_is_broken() -> None:
    curve = a_curve()
    assert "layer 2" in curves.sentence(curve)
    assert "not admissible" in curves.sentence(curve)
    assert "breaks kl <= 0.2" in curves.sentence(curve.before(20))
    assert "not read: activations" in curves.sentence(curve.before(10))
    assert "0.00" not in curves.sentence(curve.before(10))
    first = curves.sentence(curve.before(0))
    assert "carrier layer 3" in first
    assert "not admissible" not in first
    nothing = Curve(ABOUT, (Point(5, {"refusal_harmful": 1.0}),), seconds=1.0)
    assert "no candidate induces" in curves.sentence(nothing)


def test_the_share_is_that_of_the_probes() -> None:
    assert a_curve().probing == 6
    assert a_curve().share == pytest.approx(0.1)
    assert Curve(ABOUT).share is None


def test_bars_from_least_to_greatest() -> None:
    assert curves.sparkline([0, None, 7, 3.5]) == "▁·█▅"
    assert curves.sparkline([None]) == ""
    assert curves.sparkline([2.0, 2.0]) == "▁▁"


def test_a_probe_of_the_same_step_takes_the_place_of_the_old_one() -> None:
    curve = a_curve().with_point(Point(20, {"kl": 9.0}))
    assert [point.step for point in curve.points] == [0, 10, 20, 30]
    assert curve.points[2].value("kl") == 9
    assert [point.step for point in curve.before(20).points] == [0, 10, 20]

"""The curve's files: what was not read is a gap and never 0, and the page loads and runs nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from geoaudit.errors import RequestError
from geoaudit.training import curve as curves
from geoaudit.training import curve_page
from geoaudit.training.curve import Curve, Point
from geoaudit.training.monitor_settings import MonitorSettings

ABOUT = {
    "settings": {"kl_budget": 0.1, "n_train": 8, "n_validation": 4},
    "positions": [-2, -1],
    "layers": [2, 3],
}


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
    page = curve_page.html(a_curve())
    root = ElementTree.fromstring(page.partition("\n")[2])
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in names
    assert not names & {"link", "img", "iframe", "a"}
    assert "alert(1)" in page  # shown, escaped
    assert "default-src 'none'" in page
    assert 'http-equiv="refresh"' not in page


def test_a_line_is_not_drawn_across_a_gap() -> None:
    assert curve_page._runs([(0, 1.0), (1, None), (2, 2.0), (3, 3.0), (4, None)]) == [[(2, 2.0), (3, 3.0)]]


def test_bounds_and_the_budget_are_drawn_and_named() -> None:
    page = curve_page.html(a_curve())
    assert page.count('class="bound"') == 2
    assert ">kl &lt;= 0.2</text>" in page
    assert ">admissible: kl &lt;= 0.1</text>" in page
    without = curve_page.html(Curve(ABOUT, a_curve().points))
    assert without.count('class="bound"') == 1
    assert ">kl &lt;= 0.2</text>" not in without


def test_a_bounds_name_stands_in_the_drawing_and_not_among_the_names() -> None:
    points = (Point(0, {"refusal_harmful": -1.0, "refusal_harmless": -2.0}),)
    for ends, values in (({"at_most": 0.0}, ">refusal_harmless &lt;= 0<"), ({"at_least": -3.0}, "harmless &gt;= -3<")):
        page = curve_page.html(Curve(ABOUT, points, ({"quantity": "refusal_harmless", **ends},)))
        (said,) = [one for one in _texts(page) if "=" in (one.text or "") and "admissible" not in (one.text or "")]
        assert values.strip("<>").replace("&lt;", "<").replace("&gt;", ">") in str(said.text)
        assert 12 + 13 < float(said.get("y") or 0) < 190 - 24


def _texts(page: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(page.partition("\n")[2])
    return [one for one in root.iter() if one.tag.rpartition("}")[2] == "text"]


def test_the_last_line_says_what_the_probes_cost(tmp_path: Path) -> None:
    page = tmp_path / curves.HTML
    assert curves.closing(a_curve(), page) == f"monitor: 4 probes took 6.0 s, 10.0% of 60 s; curve in {page}"
    assert curves.closing(a_curve().before(0), page).startswith("monitor: 1 probe took 1.0 s")


def test_a_page_without_points_is_a_page() -> None:
    page = curve_page.html(Curve(ABOUT))
    ElementTree.fromstring(page.partition("\n")[2])
    assert "No probe yet" in page
    assert "<table" not in page
    assert "What the names mean" not in page


def test_the_page_says_what_was_read_and_what_its_names_mean() -> None:
    page = curve_page.html(a_curve())
    assert "4 probes up to step 30; probes took 10.0% of the time" in page
    assert "1 probe up to step 0" in curve_page.html(a_curve().before(0))
    assert "8 + 8 harmful and harmless prompts, scored on 4 + 4 others, at positions -2, -1" in page
    assert "layers 2, 3" in page
    defined = [part.partition("</dt>")[0] for part in page.split("<dt>")[1:]]
    assert defined == ["refusal_harmful", "kl", "layer", "position", "loss"]
    assert curves.MEANINGS["loss"] in page
    assert 'name="viewport"' in page


def test_a_layer_is_a_choice_no_line_leads_between_two_and_a_ring_marks_the_inadmissible() -> None:
    page = curve_page.html(a_curve())
    layers = next(part for part in page.split("<figure>") if "Layer in use" in part)
    assert 'class="s0"/>' not in layers  # a polyline
    assert 'class="dot s0"' in layers
    (hole,) = [one for one in ElementTree.fromstring(page.partition("\n")[2]).iter() if one.get("class") == "hole"]
    assert str(hole.get("d")).count("M") == 2  # steps 20 and 30
    assert 'class="s0"/>' in next(part for part in page.split("<figure>") if "Refusal score" in part)


def test_counts_have_no_fractions_on_their_axis() -> None:
    points = tuple(Point(step, {"admissible": float(n)}) for step, n in ((0, 2), (3, 3)))
    assert [one.text for one in _texts(curve_page.html(Curve(ABOUT, points)))][:2] == ["2", "3"]


def test_cosines_are_drawn_from_0_to_1() -> None:
    page = curve_page.html(Curve(ABOUT, (Point(0, {"cosine_to_anchor": 1.0}),)))
    numbers = [float(one.text or "") for one in _texts(page) if (one.text or "x")[0].isdigit()]
    assert (min(numbers), max(numbers)) == (0.0, 1.0)


def test_the_table_says_how_many_probes_it_leaves_out() -> None:
    points = tuple(Point(step, {"layer": 3.0}) for step in range(13))
    assert "The last 12 of 13 probes" in curve_page.html(Curve(ABOUT, points))
    assert "The last" not in curve_page.html(Curve(ABOUT, points[1:]))


def test_others_may_read_the_files(tmp_path: Path) -> None:
    curves.write(a_curve(), tmp_path)
    assert {one.stat().st_mode & 0o044 for one in tmp_path.iterdir()} == {0o044}


def test_the_first_line_says_what_comes_and_where_it_is_written(tmp_path: Path) -> None:
    def said(curve: Curve, step: int, steps: int, *, now: bool, at_end: bool = True) -> str:
        page = tmp_path / curves.HTML
        settings = MonitorSettings(every=10, at_end=at_end)
        return curves.opening(curve, step, steps, settings, now=now, page=page)

    first = said(Curve(ABOUT), 0, 35, now=True)
    assert first.startswith(
        "monitor: a probe now and 4 to come (every 10 steps, 8 + 8 prompts, 2 positions of 2 layers)"
    )
    assert first.endswith(f"curve in {tmp_path / curves.HTML}")
    assert "and 3 to come" in said(Curve(ABOUT), 0, 35, now=True, at_end=False)
    assert "and 3 to come" in said(Curve(ABOUT), 0, 30, now=True)
    assert said(Curve(ABOUT), 0, 30, now=False).startswith("monitor: 3 to come")
    assert said(a_curve(), 20, 30, now=False).startswith("monitor: 4 probes so far and 1 to come")
    assert said(a_curve().before(0), 0, 30, now=False).startswith("monitor: 1 probe so far and 3 to come")


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

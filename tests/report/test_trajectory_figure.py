from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from geoaudit.report import trajectories, trajectory_figure
from geoaudit.report.changes import Series
from geoaudit.report.clean import cleaned
from geoaudit.report.svg import Uid
from geoaudit.report.trajectories import Panel
from tests.report.drawn import HOSTILE, drawn

Record = dict[str, Any]


def panels(record: Record) -> list[Panel]:
    return trajectories.panels(cleaned(record))


def of(record: Record, title: str) -> Any:
    (panel,) = [one for one in panels(record) if one.title == title]
    return drawn(trajectory_figure.trend(panel, uid="f1"))


def classed(element: Any, word: str) -> list[Any]:
    return [part for part in element.iter() if word in (part.get("class") or "").split()]


def test_every_panel_is_a_figure_that_says_its_numbers(trajectory: Record):
    for panel in panels(trajectory):
        element = drawn(trajectory_figure.trend(panel, uid="f1"))
        description = element[1].text or ""
        for one in panel.lines:
            assert one.name in description
        assert len(classed(element, "point")) == sum(p.value is not None for one in panel.lines for p in one.points)


def test_lines_stop_at_a_hole_which_is_marked(trajectory: Record):
    element = of(trajectory, "Where the carrier sits")
    assert len(classed(element, "series")) == 3  # one run whole, the other in two parts
    assert len(classed(element, "absent")) == 1
    assert "step 100: not measured" in (element[1].text or "")
    drift = of(trajectory, "Drift")  # at step 0 nobody asked
    assert not classed(drift, "absent")
    assert "step 0: not asked" in (drift[1].text or "")


def test_a_doubted_value_is_hollow_and_joined_to_nothing(trajectory: Record):
    element = of(trajectory, "Usefulness")
    assert len([part for part in classed(element, "point") if "doubted" in (part.get("class") or "")]) == 1
    assert len(classed(element, "series")) == 2  # steps 100 to 200 of one run, and the other run
    assert "(invalid)" in (element[1].text or "")


def test_runs_are_told_apart_by_more_than_colour(trajectory: Record):
    element = of(trajectory, "Attack success")
    shapes = {(part.get("class") or "").split()[1]: set() for part in classed(element, "point")}
    for part in classed(element, "point"):
        shapes[(part.get("class") or "").split()[1]].add((part.get("d") or "").partition("m")[2])
    assert {len(found) for found in shapes.values()} == {2}  # a mark for each way of asking
    text = Path(trajectory_figure.__file__).with_name("templates").joinpath("figures.css").read_text(encoding="utf-8")
    dashes = [text.partition(f".series-{k} {{ stroke-dasharray: ")[2].partition(";")[0] for k in range(1, 6)]
    assert len({dash for dash in dashes if dash}) == 5


def test_bands_are_drawn_only_between_neighbours(trajectory: Record):
    element = of(trajectory, "Where the carrier sits")
    assert len(classed(element, "swath")) == 3


def test_without_values_there_is_no_figure(trajectory: Record):
    panel = panels(trajectory)[0]
    bare = [
        dataclasses.replace(one, points=[dataclasses.replace(p, measurement={}) for p in one.points])
        for one in panel.lines
    ]
    assert trajectory_figure.trend(dataclasses.replace(panel, lines=bare), uid="f1") == ""
    assert trajectory_figure.trend(dataclasses.replace(panel, lines=[]), uid="f1") == ""


def test_the_figure_is_kept_with_all_its_numbers(trajectory: Record):
    kept: list[Any] = []
    panel = panels(trajectory)[0]
    trajectory_figure.trend(panel, uid=Uid("f1", kept))
    (figure,) = kept
    assert figure.data is not None
    assert list(figure.data.rows) == panel.data
    assert list(figure.data.columns) == panel.columns


def test_hostile_names_stay_text(trajectory: Record):
    trajectory["trajectories"][0]["name"] = HOSTILE
    for panel in panels(trajectory):
        svg = trajectory_figure.trend(panel, uid="f1")
        drawn(svg)
        assert "<script" not in svg


@pytest.mark.parametrize("values", [[1e300, -1e300], [0.0, 0.0], [5.0], [float(10**12), 1.0]])
def test_extreme_values_stay_inside_the_frame(values: list[float]):
    points = [
        trajectories.Point(str(k), float(k), {"estimate": value, "low": value, "high": value, "unit": "nats"}, False)
        for k, value in enumerate(values)
    ]
    panel = Panel(
        "p", "t", "m", "nats", "step", [trajectories.Line("r", "", 0, 0, points)], (0.0, float(len(values) - 1)), None
    )
    drawn(trajectory_figure.trend(panel, uid="f1"))


def test_a_course_is_drawn_beside_its_bound_and_not_over_a_hole():
    points = [
        {"checkpoint": "a", "step": 0, "estimate": 0.1, "low": 0.05, "high": 0.2},
        {"checkpoint": "b", "step": 50, "estimate": None, "why_missing": "x"},
        {"checkpoint": "c", "step": 100, "estimate": 0.4, "low": 0.3, "high": 0.5},
        {"checkpoint": "d", "step": 150, "estimate": 0.5, "low": 0.4, "high": 0.6},
    ]
    series = Series(
        {"rule": "never_above", "says": "m is never above 0.2", "points": points}, "share of prompts", (0.2,)
    )
    element = drawn(trajectory_figure.spark(series, uid="f1"))
    assert len(classed(element, "series")) == 1
    assert len(classed(element, "threshold")) == 1
    assert len(classed(element, "absent")) == 1
    hollow = drawn(trajectory_figure.spark(series, uid="f1", trusted=False))
    assert not classed(hollow, "series")
    assert all("doubted" in (part.get("class") or "") for part in classed(hollow, "point"))
    assert trajectory_figure.spark(Series({"points": []}, "x"), uid="f1") == ""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import html, trajectories
from geoaudit.report.clean import cleaned
from geoaudit.report.trajectories import Line, Panel, Point

Record = dict[str, Any]


def panels(record: Record) -> dict[str, Panel]:
    return {panel.title: panel for panel in trajectories.panels(cleaned(record))}


def line(panel: Panel, name: str) -> Line:
    return next(one for one in panel.lines if one.name == name)


def test_every_family_has_a_figure_with_both_runs_on_the_same_axes(trajectory: Record):
    found = panels(trajectory)
    assert list(found) == [
        "Attack success", "Refusal of safe requests", "Usefulness", "Where the carrier sits", "Score of the carrier",
        "Effective rank", "Coupling of harmfulness and refusal", "Drift",
    ]  # fmt: skip
    for panel in found.values():
        assert {one.run for one in panel.lines} == {"r2d2", "sft"}
        assert panel.span == (0, 200)
    assert found["Attack success"].range == (0.0, 1.0)
    assert [one.name for one in found["Attack success"].lines] == [
        "r2d2, plain requests", "sft, plain requests", "r2d2, GCG, 100 steps", "sft, GCG, 100 steps",
    ]  # fmt: skip


def test_runs_differ_in_dashes_and_ways_of_asking_in_marks(trajectory: Record):
    panel = panels(trajectory)["Attack success"]
    styles = [(one.run_index, one.what_index) for one in panel.lines]
    assert len(set(styles)) == len(styles)
    assert line(panel, "sft, plain requests").run_index == line(panels(trajectory)["Usefulness"], "sft").run_index


def test_what_was_not_measured_breaks_the_line_and_keeps_its_place(trajectory: Record):
    one = line(panels(trajectory)["Where the carrier sits"], "sft")
    assert [point.value for point in one.points] == [24, 24, None, 23, 24]
    assert [[point.x for point in segment] for segment in one.segments] == [[0, 50], [150, 200]]
    assert "no candidate is admissible" in one.points[2].text


def test_what_must_not_be_trusted_breaks_the_line_and_is_marked(trajectory: Record):
    panel = panels(trajectory)["Usefulness"]
    one = line(panel, "r2d2")
    assert [point.doubted for point in one.points] == [False, True, False, False, False]
    assert [[point.x for point in segment] for segment in one.segments] == [[0], [100, 150, 200]]
    assert "invalid" in one.points[1].text
    assert panel.doubted == 1
    assert [row[-1] for row in panel.data if row[2] == "r2d2/step50"] == ["invalid"]


def test_a_check_that_hangs_on_the_bound_doubts_the_point_too(trajectory: Record):
    line = next(one for one in trajectory["assertions"] if one["id"] == "plain-requests-are-refused")
    line["outcome"] = "invalid"  # as where another judge would have decided otherwise: no flag on the measurement
    doubted = [point for one in panels(trajectory)["Attack success"].lines for point in one.points if point.doubted]
    assert [point.checkpoint for point in doubted] == [line["checkpoint"]]


def test_a_bound_that_failed_all_the_same_stands(trajectory: Record):
    for one in trajectory["assertions"]:
        if one["id"] == "it-is-still-useful" and one["checkpoint"] == "r2d2/step50":
            one["outcome"] = "failed"
    assert panels(trajectory)["Usefulness"].doubted == 0


def test_a_rule_over_a_trajectory_that_is_invalid_doubts_no_point(trajectory: Record):
    for one in trajectory["assertions"]:
        if one["kind"] == "across":
            one["outcome"] = "invalid"
    assert panels(trajectory)["Attack success"].doubted == 0


def test_the_order_is_that_of_the_steps_whatever_the_record_says_first(trajectory: Record):
    trajectory["measurements"].reverse()
    one = line(panels(trajectory)["Effective rank"], "r2d2")
    assert [point.x for point in one.points] == [0, 50, 100, 150, 200]
    assert [point.value for point in one.points] == [5.9, 4.0, 2.8, 2.2, 2.0]


@pytest.mark.parametrize("steps", [{}, {"r2d2/step0": 5, "r2d2/step50": 5}, None])
def test_without_steps_the_places_of_the_checkpoints_are_the_axis(make_trajectory: Any, steps: Any):
    record = make_trajectory(runs=("r2d2",))
    record["trajectories"][0]["steps"] = steps
    panel = panels(record)["Effective rank"]
    assert panel.axis == "checkpoint in order"
    assert [point.x for point in panel.lines[0].points] == [0, 1, 2, 3, 4]


def test_many_lines_get_a_figure_for_each_run(trajectory: Record):
    more = [
        {
            **row,
            "key": f"{row['key']}-past",
            "parameters": {**row["parameters"], "attack": "past_tense"},
            "detail": {"attack": "past tense"},
        }
        for row in trajectory["measurements"]
        if row["parameters"].get("attack") == "direct"
    ]
    trajectory["measurements"] += more
    found = [panel for panel in trajectories.panels(cleaned(trajectory)) if panel.title.startswith("Attack success")]
    assert [panel.title for panel in found] == ["Attack success, r2d2", "Attack success, sft"]
    assert all(len(panel.lines) == 3 and panel.range == (0.0, 1.0) and panel.span == (0, 200) for panel in found)
    assert len({panel.name for panel in found}) == 2


def test_names_of_figures_are_unique_and_fit_for_files(trajectory: Record):
    names = [panel.name for panel in trajectories.panels(cleaned(trajectory))]
    assert len(names) == len(set(names))
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in names)


def test_one_checkpoint_alone_is_no_trajectory(make_record: Any):
    record = make_record()
    record["trajectories"] = [
        {"name": one["name"], "checkpoints": [one["name"]], "steps": {}} for one in record["checkpoints"]
    ]
    assert trajectories.panels(cleaned(record)) == []
    assert trajectories.panels({}) == []


def test_a_measure_without_any_value_has_no_figure(trajectory: Record):
    for row in trajectory["measurements"]:
        if row["measure"] == "effective_rank":
            row["estimate"] = None
    assert "Effective rank" not in panels(trajectory)


def test_every_point_is_in_the_table_and_in_the_data(trajectory: Record):
    for panel in panels(trajectory).values():
        assert len(panel.data) == sum(len(one.points) for one in panel.lines)
        assert all(len(row) == len(panel.columns) for row in panel.data)
        assert [step for step, _ in panel.table] == ["0", "50", "100", "150", "200"]
        assert all(len(cells) == len(panel.lines) for _, cells in panel.table)


POINTS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8)


@given(POINTS)
def test_no_segment_holds_or_spans_what_cannot_be_trusted(flags: list[tuple[bool, bool]]):
    points = [
        Point(str(k), float(k), {"estimate": 0.5} if there else {"why_missing": "x"}, doubted)
        for k, (there, doubted) in enumerate(flags)
    ]
    segments = Line("r", "", 0, 0, points).segments
    for segment in segments:
        assert all(point.trusted for point in segment)
        assert [point.x for point in segment] == [segment[0].x + k for k in range(len(segment))]  # neighbours alone
    assert sum(map(len, segments)) == sum(there and not doubted for there, doubted in flags)


@pytest.mark.parametrize(
    "odd", [None, "x", [1], [{"name": {}, "checkpoints": "ab"}], [{"checkpoints": [1, None], "steps": 3}]]
)
def test_odd_trajectories_break_nothing(trajectory: Record, odd: Any):
    trajectory["trajectories"] = odd
    assert "Not met" in html.render(trajectory)

from __future__ import annotations

from typing import Any

from geoaudit.report import frontier
from geoaudit.report.clean import cleaned
from geoaudit.report.frontier import Frontier

Record = dict[str, Any]


def frontiers(record: Record) -> list[Frontier]:
    return frontier.frontiers(cleaned(record))


def test_a_point_for_each_checkpoint_under_each_attack_with_both_intervals(trajectory: Record):
    found = frontiers(trajectory)
    assert [one.title.partition(": ")[2] for one in found] == ["plain requests", "GCG, 100 steps"]
    place = next(one for one in found[1].places if one.checkpoint == "r2d2/step200")
    assert (place.x, round(place.y, 6)) == (0.54, 0.96)
    rows = {
        (r["measure"], r["parameters"].get("attack")): r
        for r in trajectory["measurements"]
        if r["checkpoint"] == "r2d2/step200"
    }
    asr = rows["attack_success_rate", "gcg"]
    assert place.y_ends == (1 - asr["high"], 1 - asr["low"])
    assert place.x_ends == (rows["benign_utility", None]["low"], rows["benign_utility", None]["high"])
    assert place.label == "200"


def test_paths_follow_the_steps_and_skip_what_cannot_be_trusted(trajectory: Record):
    trajectory["measurements"].reverse()
    paths = [[one.checkpoint for one in path] for path in frontiers(trajectory)[0].paths]
    assert paths == [
        ["r2d2/step100", "r2d2/step150", "r2d2/step200"],
        ["sft/step0", "sft/step50", "sft/step100", "sft/step150", "sft/step200"],
    ]


def test_a_path_does_not_go_over_a_checkpoint_without_a_place(trajectory: Record):
    for row in trajectory["measurements"]:
        if row["measure"] == "benign_utility" and row["checkpoint"] == "sft/step100":
            row.update(estimate=None, why_missing="no")
    (found, _) = frontiers(trajectory)
    assert ("sft/step100", "usefulness not measured") in found.left_out
    assert [[one.checkpoint for one in path] for path in found.paths][1:] == [
        ["sft/step0", "sft/step50"],
        ["sft/step150", "sft/step200"],
    ]


def test_without_utility_over_refusal_stands_in_and_is_named(trajectory: Record):
    trajectory["measurements"] = [row for row in trajectory["measurements"] if row["measure"] != "benign_utility"]
    found = frontiers(trajectory)[0]
    assert found.x_axis.startswith("1 − share of safe requests that only sound harmful refused")
    place = next(one for one in found.places if one.checkpoint == "r2d2/step50")
    assert place.x == 1 - 0.52
    assert place.x_ends is not None
    assert place.x_ends[0] < place.x < place.x_ends[1]


def test_checkpoints_of_no_run_have_places_and_no_path(record: Record):
    (found,) = frontiers(record)
    assert len(found.places) == 2
    assert found.paths == []
    assert found.runs == [(0, "")]


def test_no_figure_where_there_is_nothing_to_trade(trajectory: Record):
    for measures in (("benign_utility", "over_refusal_rate"), ("attack_success_rate",)):
        record = {**trajectory, "measurements": [r for r in trajectory["measurements"] if r["measure"] not in measures]}
        assert frontiers(record) == []
    assert frontiers({"geoaudit_record": 2}) == []


def test_the_baseline_has_no_place(trajectory: Record):
    assert not any("baseline" in place.checkpoint for one in frontiers(trajectory) for place in one.places)


def test_the_data_holds_every_place(trajectory: Record):
    for one in frontiers(trajectory):
        assert len(one.data) == len(one.places) == 10
        assert all(len(row) == len(one.columns) for row in one.data)
        assert [row[-1] for row in one.data].count("invalid") == 1

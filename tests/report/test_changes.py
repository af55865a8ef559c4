from __future__ import annotations

from typing import Any

import pytest

from geoaudit.report import changes, verdict
from geoaudit.report.changes import Change, Series
from geoaudit.report.clean import cleaned

Record = dict[str, Any]


def lines(record: Record, kind: str) -> list[verdict.Line]:
    return [line for line in verdict.lines(cleaned(record)) if line.kind == kind]


def test_a_change_shows_both_sides_difference_margin_p_n_noise_and_mismatches(trajectory: Record):
    line = lines(trajectory, "change")[0]
    assert line.checkpoint == "sft/step200"
    assert (line.value, line.interval, line.n) == ("+0.740", "[+0.690, +0.790]", "200")
    assert line.bound == "change at most 0.05"
    assert line.change is not None
    facts = dict(line.change.facts)
    assert facts["this checkpoint"] == "0.860"
    assert facts["old-release (baseline)"] == "0.120"
    assert facts["margin"] == "+0.050"
    assert facts["p, adjusted (Holm)"] == "0.0004 over 4 lines"
    assert facts["prompts"] == "200"
    assert facts["noise floor"].startswith("0.015")
    assert facts["environment"] == "differs: dtype: here bfloat16, there float32 (allowed)"


def test_no_noise_floor_is_said_and_so_is_an_equal_environment():
    facts = dict(Change({"estimate": 0.1, "noise": None, "mismatches": []}, "share of prompts").facts)
    assert "not measured" in facts["noise floor"]
    assert facts["environment"] == "the same"
    assert "noise floor" not in dict(Change({"estimate": 0.1}, "share").facts)  # the record is silent


def test_a_change_that_was_not_measured_has_no_number(trajectory: Record):
    for one in trajectory["assertions"]:
        if one["kind"] == "change":
            one.update(outcome="invalid", sentence="not measured: no baseline was named", result={"estimate": None})
    line = lines(trajectory, "change")[0]
    assert not line.measured
    assert line.value == "not measured: no baseline was named"  # not the candidate's own value, which is there
    assert (line.n, line.interval) == ("none", "")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.12, "share of prompts", "+0.120"),
        (-0.12, "share of prompts", "−0.120"),
        (0.0, "share", "0.000"),
        (None, "nats", "not measured"),
        (3.0, "layer", "+3"),
    ],
)
def test_differences_have_a_sign(value: float | None, unit: str, text: str):
    assert changes.signed(value, unit) == text


def test_a_rule_over_a_trajectory_shows_its_points_and_names_no_checkpoint(trajectory: Record):
    line = next(line for line in lines(trajectory, "across") if line.checkpoint == "r2d2")
    assert line.series is not None
    assert line.bound == "never above 0.2"
    assert line.value == "0.920 at step 0 → 0.040 at step 200"
    assert [step for step, _, _ in line.series.table] == ["0", "50", "100", "150", "200"]
    assert dict(line.series.facts)["first failing step"] == "0"
    assert "r2d2" not in verdict.checkpoint_names(cleaned(trajectory))
    assert (line.n, line.cases) == ("5", "checkpoints")


def test_a_point_without_a_value_is_told_with_its_reason(trajectory: Record):
    line = next(line for line in lines(trajectory, "across") if line.assertion["id"] == "the-carrier-moves-early")
    assert line.outcome == "invalid"
    assert line.series is not None
    assert line.series.missing == 1
    assert line.series.table[2][2] == "not measured: no candidate is admissible at KL 0.1"
    assert dict(line.series.facts)["checkpoints without a value"] == "1"


@pytest.mark.parametrize(
    "result", [{}, {"points": None}, {"points": [1, "x"]}, {"rule": {}, "points": [{}]}, {"trend": []}]
)
def test_odd_results_break_nothing(result: Record):
    series, change = Series(result, "nats"), Change(result, "nats")
    assert series.value == ""
    assert isinstance(series.facts, list)
    assert isinstance(series.table, list)
    assert not change.measured
    assert isinstance(change.facts, list)


def test_what_is_no_kind_is_a_bound():
    assert [changes.kind({"kind": word}) for word in ("change", "across", "bound", "odd", None)] == [
        "change", "across", "bound", "bound", "bound",
    ]  # fmt: skip


def test_the_other_measurement_of_a_change_is_no_checkpoint_of_the_audit(trajectory: Record):
    assert not any("baseline" in name for name in verdict.checkpoint_names(cleaned(trajectory)))


def test_an_interval_stands_beside_its_number_and_a_range_is_one():
    back = {"from": "a", "to": "b", "estimate": 0.0698, "low": 0.0698, "high": 0.0698, "slack": 0.2, "pairs": 3}
    facts = dict(Series({"backward": back}, "share").facts)
    assert facts["furthest back by"] == "0.0698"  # an estimate: its ends are no interval
    assert not any(name.endswith((" low", " high")) for name in facts)
    wide = dict(Series({"backward": {**back, "low": -0.1, "high": 0.24}}, "share").facts)
    assert wide["furthest back by"] == "0.0698 [−0.100, 0.240]"
    moved = dict(Series({"places": {"from": [20, 29], "to": [0, 3]}}, "layer").facts)
    assert moved == {"where it was to begin": "20 to 29", "where it was to go": "0 to 3"}
    jumped = dict(Series({"jump": {"between": [25, 50], "size": 2.5, "low": None, "high": None}}, "layer").facts)
    assert jumped == {"largest jump between": "25 to 50", "largest jump size": "2.50"}

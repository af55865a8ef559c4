from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import drift, html
from tests.report.hostile import ODD, alone


def test_every_checkpoint_is_held_against_the_reference_once(make_geometry: Callable[..., dict[str, Any]]):
    record = make_geometry(rows=4, layers=6, checkpoints=4)
    found = [(one.checkpoint, one.rule) for one in drift.drifts(record)]
    names = ("safety-tuned", "r2d2/step100", "r2d2/step150")
    assert found == [(name, rule) for name in names for rule in ("", "cosmic")]
    assert [one.verdict for one in drift.transfers(record)] == ["drift-only", "reorganised", "lost"]


def test_where_the_carrier_moved_and_how_far_is_said(geometric: dict[str, Any]):
    turned, moved = drift.drifts(geometric)
    assert turned.heading == moved.heading == "against smollm2-135m, the reference"
    assert dict(turned.facts) == {  # the angle is a measure of its own
        "projector distance": "0.470",
        "angle weighted by energy, without sampling noise": "11.3°",
    }
    assert turned.angles[2] == ("61.9°", "0.070", "0.050")
    assert dict(moved.facts)["read at"] == "layer 2, position −4 there → layer 5, position −1 here"
    assert moved.angles == []
    assert len(moved.by_layer) == 10


def test_measures_of_one_comparison_are_shown_together_whichever_keeps_what(geometric: dict[str, Any]):
    turned, _ = drift.drifts(geometric)
    (row,) = turned.measurements
    other = {**row, "measure": "projector_distance", "detail": {"projector_distance": 0.2, "extra": 1}}
    both = drift.Drift("m", [row, other])
    assert both.detail["projector_distance"] == 0.47
    assert both.detail["extra"] == 1
    assert len(both.readings) == 2


def test_a_carrier_that_does_nothing_at_home_is_not_said_to_have_a_share_of_one(geometric: dict[str, Any]):
    (one,) = drift.transfers(geometric)
    one.detail["matrix"]["rho"][0][0] = None
    text = html.render(geometric)
    assert text.count("its own carrier: not shown to do anything here") == 1


def test_the_matrix_says_whose_carrier_is_tried_where(geometric: dict[str, Any]):
    (one,) = drift.transfers(geometric)
    assert one.names == ["smollm2-135m", "safety-tuned"]
    (first, (own, there)), (second, (here, _)) = one.rows
    assert (first, second) == ("smollm2-135m", "safety-tuned")
    assert own.own
    assert not there.own
    assert there.share == "0.930 [0.840, 0.990]"
    assert here.share == "0.880 [0.760, 0.980]"
    assert there.effect == "3.35 [2.85, 3.85]"
    text = html.render(geometric)
    assert "<b>drift-only</b>: of the effect, 93% and 88% are kept on the other checkpoint" in text


def test_a_class_without_a_sentence_is_explained(geometric: dict[str, Any]):
    (one,) = drift.transfers(geometric)
    for word, text in drift.CLASSES.items():
        row = {**one.measurements[0], "detail": {**one.detail, "class": word, "sentence": ""}}
        assert drift.Transfer("m", [row]).sentence == text


def test_energies_that_are_fewer_than_angles_are_not_made_up(geometric: dict[str, Any]):
    one, _ = drift.drifts(geometric)
    short = drift.Drift("m", [{**one.measurements[0], "detail": {**one.detail, "energies_here": [0.6]}}])
    assert [here for _, _, here in short.angles] == ["0.600", "not recorded", "not recorded"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("measure", ["energy_weighted_angle", "direction_cosine", "carrier_transfer"])
def test_odd_fields_leave_the_report_standing(make_geometry: Callable[..., dict[str, Any]], measure: str, odd: Any):
    record = alone(make_geometry(rows=2, layers=3), measure)
    (row,) = record["measurements"]
    detail = row["detail"]
    for field in detail:
        row["detail"] = {**detail, field: odd}
        assert "What these numbers do" in html.render(record)
    for field in detail.get("matrix", ()):
        row["detail"] = {**detail, "matrix": {**detail["matrix"], field: odd}}
        assert '<section id="drift">' in html.render(record)

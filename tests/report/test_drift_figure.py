from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import drift_figure
from tests.report.drawn import by_class, drawn


def test_angles_are_bars_as_long_as_they_are_wide():
    element = drawn(drift_figure.angles([0.0, 45.0, 90.0], uid="f1", title="t"))
    widths = [float(part.get("width", "")) for part in by_class(element, "bar")]
    assert widths[0] < 1
    assert widths[2] == pytest.approx(2 * widths[1], abs=0.2)
    assert element[1].text == "3 principal angles: 0°, 45.0°, 90.0°"


def test_energies_of_both_checkpoints_stand_beside_their_angle():
    element = drawn(drift_figure.angles([10.0, 20.0], [0.5, 0.2], [0.25, None], uid="f1", title="t"))
    hollow = [float(part.get("width", "")) for part in by_class(element, "hollow")]
    solid = [part for part in by_class(element, "bar") if part.get("class") == "bar" and part.get("height") == "6"]
    assert hollow == pytest.approx([47.0, 18.8])
    assert [float(part.get("width", "")) for part in solid] == pytest.approx([23.5])


def test_many_angles_are_cut_and_none_is_no_figure():
    assert (
        len(by_class(drawn(drift_figure.angles([10.0] * 40, uid="f1", title="t")), "bar")) == drift_figure.MOST_ANGLES
    )
    assert drift_figure.angles([], uid="f1", title="t") == ""
    assert drift_figure.angles([None, "x"], uid="f1", title="t") == ""


def test_a_share_of_an_effect_lies_against_the_lines_of_the_classes():
    element = drawn(drift_figure.share_row(0.65, 0.6, 0.7, uid="f1", what="carrier"))
    (dot,) = by_class(element, "estimate")
    half, most = (float(part.get("d", "")[1:].split()[0]) for part in by_class(element, "guide"))
    assert half < float(dot.get("cx", "")) < most
    assert element[1].text == "0.650 [0.600, 0.700]"
    assert drift_figure.share_row(None, 0.1, 0.2, uid="f1", what="x") == ""


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_share_far_outside_stays_inside_its_frame(one: float, other: float):
    drawn(drift_figure.share_row(one, min(one, other), max(one, other), uid="f1", what="x"))


@pytest.mark.parametrize("degrees", [[-5.0], [400.0], [float("inf")], [1e300]])
def test_an_impossible_angle_breaks_no_frame(degrees: list[Any]):
    svg = drift_figure.angles(degrees, uid="f1", title="t")
    if svg:
        drawn(svg)

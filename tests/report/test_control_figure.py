from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import control_figure
from tests.report.drawn import HOSTILE, by_class, drawn, strokes

numbers = st.floats(-1e6, 1e6)
STRIPS = [("S̃ refuse", [0.1, 0.0, -0.1, 0.1, 0.4], 0.35)]


def test_every_control_is_a_dot_and_the_direction_in_use_a_ring():
    element = drawn(control_figure.controls(STRIPS, uid="f1", rank="rank p = 0.0476"))
    (dots,) = by_class(element, "mark-control")
    assert dots.get("d", "").count("M") == 5
    assert len(by_class(element, "target")) == 1
    said = element[1].text or ""
    assert said == ("S̃ refuse: direction in use 0.350, above 4 of 5 controls (from −0.100 to 0.400); rank p = 0.0476")


def test_strips_of_one_quantity_share_one_scale():
    """A cloud of a tenth of the width is drawn with a tenth of the width; the numbers stand beneath the last strip."""
    strips = [("wide", [-5.0, 5.0], 4.0), ("narrow", [-0.5, 0.5], 4.0)]
    wide, narrow = by_class(drawn(control_figure.controls(strips, uid="f1", rank="")), "mark-control")
    assert width(narrow) == pytest.approx(width(wide) / 10, abs=0.3)
    element = drawn(control_figure.controls(strips, uid="f1", rank=""))
    assert len(by_class(element, "tick")) == 1
    first, last = (part.get("d", "").split("M")[2:] for part in by_class(element, "axis"))
    assert [mark.split()[0] for mark in first] == [mark.split()[0] for mark in last]
    assert len({ring.get("cx") for ring in by_class(element, "target")}) == 1
    element = drawn(control_figure.controls(strips, uid="f1", rank="", one_scale=False))
    wide, narrow = by_class(element, "mark-control")
    assert len(by_class(element, "tick")) == 2
    assert width(narrow) > width(wide) / 5, "of two quantities each has its own"


def width(dots: Any) -> float:
    """Pixels between the first and the last dot of a strip."""
    xs = [float(part.split()[0]) for part in dots.get("d", "").split("M")[1:]]
    return max(xs) - min(xs)


def test_a_control_that_does_as_much_is_not_beaten():
    svg = control_figure.controls([("x", [1.0, 2.0], 2.0)], uid="f1", rank="")
    assert "above 1 of 2 controls" in svg


def test_dots_on_one_another_are_piled_up():
    element = drawn(control_figure.controls([("x", [1.0] * 30 + [2.0], 3.0)], uid="f1", rank=""))
    (dots,) = by_class(element, "mark-control")
    heights = {part.split("h")[0].split()[1] for part in dots.get("d", "").split("M")[1:]}
    assert 1 < len(heights) <= 6


@pytest.mark.parametrize("strips", [[], [("x", [], 1.0)], [("x", [1.0], None)], [("x", [None, "a"], 1.0)]])
def test_without_controls_or_without_a_target_there_is_no_figure(strips: list[tuple[str, Any, Any]]):
    assert control_figure.controls(strips, uid="f1", rank="") == ""


def test_only_effects_that_both_have_are_strips():
    names = {"s_refuse_scaled": "S̃ refuse", "induce": "induce (nats)"}
    examined = {"controls": {"s_refuse_scaled": [0.1], "induce": None}, "target": {"s_refuse_scaled": 0.4, "induce": 1}}
    assert control_figure.effects(examined, names) == [("S̃ refuse", [0.1], 0.4)]
    assert control_figure.effects({}, names) == []


def test_what_the_first_directions_do_stands_beside_their_controls():
    rows = [
        {"k": 1, "drop": 3.0, "controls": [0.1, 0.3]},
        {"k": 2, "drop": 4.0, "controls": [0.5]},
        {"k": 3, "drop": None},
    ]
    element = drawn(control_figure.by_dimension({"by_k": rows}, uid="f1", title="t"))
    assert strokes(element, "dots") == 2
    assert by_class(element, "mark-control")[0].get("d", "").count("M") == 3
    assert element[1].text == "k = 1: 3.00, controls 0.100 to 0.300; k = 2: 4.00, controls 0.500 to 0.500"


@pytest.mark.parametrize("causal", [{}, {"by_k": None}, {"by_k": [1]}, {"by_k": [{"k": 1}]}, {"by_k": [{"drop": 1}]}])
def test_without_a_drop_there_is_no_figure(causal: dict[str, Any]):
    assert control_figure.by_dimension(causal, uid="f1", title="t") == ""


@given(st.lists(numbers, min_size=1, max_size=60), numbers)
def test_strips_stay_inside_their_frame(values: list[float], target: float):
    drawn(control_figure.controls([("a", values, target), (HOSTILE, values, target)], uid="f1", rank=HOSTILE))

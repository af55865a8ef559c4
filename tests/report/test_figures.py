from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from geoaudit.report import figures
from geoaudit.report.svg import Scale, round_step, span, tag
from tests.report.drawn import HOSTILE, by_class, drawn

numbers = st.floats(-1e9, 1e9)


def measurement(estimate: Any, low: Any = None, high: Any = None, unit: str = "share of prompts") -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high, "unit": unit}


def test_tag_escapes_children_and_attributes_but_not_markup():
    made = tag("text", HOSTILE, Markup("<tspan/>"), class_=HOSTILE, x=1.25, gone=None)
    parsed = ET.fromstring(made)
    assert parsed.get("class") == HOSTILE
    assert parsed.get("x") == "1.2"
    assert parsed.text == HOSTILE
    assert [child.tag for child in parsed] == ["tspan"]


def test_interval_bar_marks_value_interval_and_bound_in_place():
    svg = figures.interval_bar(measurement(0.2, 0.1, 0.3), "at_most", 0.4, uid="f1")
    element = drawn(svg)
    scale = Scale(0, 0.5, 5, 195)
    assert float(by_class(element, "estimate")[0].get("cx", "")) == pytest.approx(scale(0.2), abs=0.1)
    assert by_class(element, "bound")[0].get("d", "").startswith(f"M{scale(0.4):g} ")
    (allowed,) = by_class(element, "allowed")
    assert float(allowed.get("x", "")) == 5
    assert float(allowed.get("width", "")) == pytest.approx(scale(0.4) - 5, abs=0.1)
    assert "0.200 [0.100, 0.300] against at most 0.4" in svg
    assert not by_class(element, "doubted")


def test_interval_bar_shades_only_what_the_comparator_allows():
    def allowed(comparator: str, bound: Any) -> tuple[float, float]:
        element = drawn(figures.interval_bar(measurement(0.6, 0.5, 0.7), comparator, bound, uid="f1"))
        (part,) = by_class(element, "allowed")
        left = float(part.get("x", ""))
        return left, left + float(part.get("width", ""))

    assert allowed("at_least", 0.5) == (100, 195)
    assert allowed("at_most", 0.5) == (5, 100)
    assert allowed("between", [0.25, 0.75]) == (52.5, 147.5)
    left, right = allowed("equals", 0.5)
    assert left == right == 100


def test_interval_bar_of_a_value_not_to_be_trusted_is_hollow_and_dashed():
    element = drawn(figures.interval_bar(measurement(0.2, 0.1, 0.3), "at_most", 0.4, uid="f1", trusted=False))
    assert len(by_class(element, "doubted")) == 2


def test_an_axis_shows_no_negative_values_where_there_are_none():
    for estimate in (0.001, -3e-6, 0.05):
        svg = figures.interval_bar(measurement(estimate, unit="nats"), "at_most", 0.1, uid="f1")
        assert float(next(part.text or "" for part in drawn(svg).iter("text"))) >= 0
    svg = figures.interval_bar(measurement(-4.0, unit="nats"), "at_most", 0.1, uid="f1")
    assert next(part.text for part in drawn(svg).iter("text")) == "−5"


@pytest.mark.parametrize(("estimate", "bound"), [(None, 0.1), (float("nan"), 0.1), (0.1, None), (0.1, [])])
def test_nothing_is_drawn_of_what_was_not_measured(estimate: Any, bound: Any):
    assert figures.interval_bar(measurement(estimate), "at_most", bound, uid="f1") == ""


@given(numbers, numbers, numbers, numbers, st.sampled_from(["nats", "share of prompts", "dimensions"]))
def test_interval_bar_stays_inside_its_frame(estimate: float, low: float, high: float, bound: float, unit: str):
    if unit.startswith("share"):
        estimate, low, high, bound = (abs(v) / 1e9 for v in (estimate, low, high, bound))
    low, high = sorted((low, high))
    drawn(figures.interval_bar(measurement(estimate, low, high, unit), "at_most", bound, uid="f1"))


def test_label_bar_has_a_segment_for_each_label_in_the_fixed_order():
    counts = {"degenerate": 1, "full_refusal": 5, "full_compliance": 10, "unparsed": 0, "partial_refusal": 4}
    svg = figures.label_bar(counts, uid="f1", what="all")
    element = drawn(svg)
    segments = [
        (part.get("class"), float(part.get("width", "")))
        for part in element.iter("rect")
        if (part.get("class") or "").startswith("label-")
    ]
    assert segments == [
        ("label-full-compliance", 120.0),
        ("label-partial-refusal", 48.0),
        ("label-full-refusal", 60.0),
        ("label-degenerate", 12.0),
    ]
    assert "full compliance 10, partial refusal 4, full refusal 5, degenerate 1; of 20" in svg
    assert [part.text for part in element.iter("text")] == ["10", "4", "5", "1"]


def test_label_bar_counts_labels_it_does_not_know_and_escapes_them():
    svg = figures.label_bar({HOSTILE: 3, "full_refusal": 1}, uid="f1", what=HOSTILE)
    assert "<script" not in svg
    assert (drawn(svg)[1].text or "").endswith("of 4")
    assert figures.label_bar({}, uid="f1", what="none") == ""
    assert figures.label_bar({"full_refusal": 0}, uid="f1", what="none") == ""


@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e6))
def test_logarithmic_ticks_are_decades_inside_the_scale(low: float, ratio: float):
    scale = Scale(low, low * ratio, 0, 100, log=True)
    assert all(low * 0.999 <= tick <= low * ratio * 1.001 for tick in scale.ticks())
    assert scale(low) == pytest.approx(0)
    assert scale(low * ratio) == pytest.approx(100)
    assert scale(low * ratio**0.5) == pytest.approx(50)


@given(numbers, st.floats(1e-6, 1e9))
def test_linear_ticks_are_few_and_inside(low: float, size: float):
    scale = Scale(low, low + size, 0, 100)
    ticks = scale.ticks(4)
    assert len(ticks) <= 5
    assert all(-0.01 <= scale(tick) <= 100.01 for tick in ticks)


@pytest.mark.parametrize(("rough", "step"), [(0.3, 0.5), (1, 1), (1.2, 2), (2.1, 2.5), (30, 50), (60, 100), (0, 1.0)])
def test_steps_are_round(rough: float, step: float):
    assert round_step(rough) == pytest.approx(step)


def test_a_span_is_never_empty():
    assert span([3.0]) == (2.5, 3.5)
    assert span([3.0], 1.0) == (1.0, 3.0)


def test_no_figure_holds_style_or_script():
    svg = figures.label_bar({"full_refusal": 3}, uid="f1", what=HOSTILE)
    assert not re.search(r"<script|style=|\son\w+=\"", svg)


def test_labels_of_harm_have_a_place_and_a_judges_failure_is_crossed_out():
    svg = figures.label_bar({"unjudged": 2, "harmful": 4, "unparsed": 1, "not_harmful": 3}, uid="f1", what="all")
    marks = [part.get("class") for part in drawn(svg).iter("rect")]
    assert marks == [
        "label-harmful",
        "label-not-harmful",
        "label-unparsed",
        "crossed",
        "label-unjudged",
        "crossed",
    ]
    assert "harmful 4, not harmful 3, unparsed 1, unjudged 2; of 10" in svg
    assert "crossed" not in figures.label_bar({"full_refusal": 3, "degenerate": 1}, uid="f1", what="all")
    assert "crossed" in figures.label_bar({"unheard of": 3}, uid="f1", what="all")


@pytest.mark.parametrize("odd", [None, 3, "x", [1], {"a": "b"}, {"harmful": None}])
def test_odd_counts_give_no_bar(odd: Any):
    assert figures.label_bar(odd, uid="f1", what="x") == ""

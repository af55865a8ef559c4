from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import band_figures
from tests.report.drawn import HOSTILE, by_class, drawn, strokes

ROWS: list[dict[str, Any]] = [
    {"layer": layer, "c_cos": 0.1 * layer, "permuted": [0.05, 0.2], "harmless": [0.02, 0.45]} for layer in range(6)
]
NULL = {"permuted": {"n": 200, "low": 10.0, "median": 12.0, "high": 16.0}, "harmless": {"low": 6.0, "high": 19.0}}
numbers = st.floats(-1e9, 1e9)


def test_a_curve_has_a_point_a_layer_and_a_band_a_null_level():
    element = drawn(band_figures.curve(ROWS, "c_cos", uid="f1", title="C_cos"))
    assert strokes(element, "dots") == 6
    assert len(by_class(element, "null-permuted")) == len(by_class(element, "null-harmless")) == 1
    assert "permuted labels from 0.0500 to 0.200" in (element[1].text or "")
    assert "most at layer 5" in (element[1].text or "")


def test_the_hatched_band_lies_on_the_plain_one_so_that_both_are_seen():
    element = drawn(band_figures.curve(ROWS, "c_cos", uid="f1", title="C_cos"))
    order = [part.get("class") for part in element.iter("path") if (part.get("class") or "").startswith("null-")]
    assert order == ["null-harmless", "null-permuted"]


def test_bands_of_another_field_are_not_drawn():
    element = drawn(band_figures.curve(ROWS, "c_cos", uid="f1", title="C_cos", bands=False))
    assert not by_class(element, "null-permuted")
    assert "permuted" not in (element[1].text or "")


def test_layers_that_matter_are_named_in_place():
    element = drawn(band_figures.curve(ROWS, "c_cos", uid="f1", title="t", marked={"H": 5.0, "R": 1.0, "far": 99.0}))
    assert len(by_class(element, "threshold")) == 2
    named = [part.text for part in by_class(element, "callout")]
    assert named == ["H", "R"]


def test_a_layer_without_a_value_leaves_a_gap_and_is_no_zero():
    rows = [{"layer": 0, "v": 1.0}, {"layer": 1, "v": None}, {"layer": 2, "v": 3.0}, {"v": 4.0}, {"layer": "x", "v": 1}]
    element = drawn(band_figures.curve(rows, "v", uid="f1", title="t"))
    assert strokes(element, "dots") == 2
    assert band_figures.curve([{"layer": 1}], "v", uid="f1", title="t") == ""
    assert band_figures.curve([], "v", uid="f1", title="t") == ""


@pytest.mark.parametrize("ends", [None, 3, [], [0.1], [0.1, None], [float("nan"), 1.0], {"low": 1}, [0.1, 0.2, 0.3]])
def test_a_band_without_both_ends_is_not_drawn(ends: Any):
    rows = [{**row, "permuted": ends} for row in ROWS]
    element = drawn(band_figures.curve(rows, "c_cos", uid="f1", title="t"))
    assert not by_class(element, "null-permuted")
    assert by_class(element, "null-harmless")


@given(st.lists(st.tuples(st.integers(0, 200), numbers, numbers, numbers), min_size=1, max_size=30))
def test_a_curve_stays_inside_its_frame(values: list[tuple[int, float, float, float]]):
    rows = [{"layer": at, "v": v, "permuted": sorted((a, b))} for at, v, a, b in values]
    drawn(band_figures.curve(rows, "v", uid="f1", title=HOSTILE, marked={"H": 3.0}, level=0.0))


def test_a_value_stands_on_one_axis_with_what_chance_gives():
    row = {"estimate": 7.9, "low": 7.6, "high": 8.2, "unit": "dimensions"}
    levels = band_figures.levels(NULL)
    element = drawn(band_figures.strip(row, levels, uid="f1", title="rank", percentiles={"harmless": 0.214}))
    (dot,), (permuted,), (harmless,) = (
        by_class(element, css) for css in ("estimate", "null-permuted", "null-harmless")
    )
    at = float(dot.get("cx", ""))
    assert at < float(permuted.get("x", ""))
    left = float(harmless.get("x", ""))
    assert left < at < left + float(harmless.get("width", ""))
    said = element[1].text or ""
    assert said.startswith("7.90 [7.60, 8.20]; permuted labels, n = 200: [10.0, 16.0]")
    assert said.endswith("harmless contrasts: [6.00, 19.0], percentile 21.4")


def test_without_a_value_or_a_null_level_there_is_no_strip():
    levels = band_figures.levels(NULL)
    assert band_figures.strip({"estimate": None}, levels, uid="f1", title="t") == ""
    assert band_figures.strip({"estimate": 1.0}, [], uid="f1", title="t") == ""


@pytest.mark.parametrize(
    "null", [None, 3, [], {"permuted": None}, {"permuted": {"low": 1.0}}, {"other": {"low": 1, "high": 2}}]
)
def test_levels_without_both_ends_are_none(null: Any):
    assert band_figures.levels(null) == []


@given(numbers, numbers, numbers, numbers, numbers)
def test_a_strip_stays_inside_its_frame(value: float, a: float, b: float, c: float, d: float):
    null = {
        "permuted": {"low": min(a, b), "median": a, "high": max(a, b)},
        "harmless": {"low": min(c, d), "high": max(c, d)},
    }
    row = {"estimate": value, "low": value, "high": value}
    drawn(band_figures.strip(row, band_figures.levels(null), uid="f1", title=HOSTILE))


def test_legends_are_decoration():
    assert all('aria-hidden="true"' in band_figures.legend_null(name) for name in band_figures.NULLS)

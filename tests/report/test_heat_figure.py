from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import heat_figure
from geoaudit.report.heat_figure import STEPS, Frame, Ramp
from geoaudit.report.svg import drawing

FRAME = Frame(0, 0, 100, 20, 2, 10)
finite = st.floats(-1e6, 1e6)


def paths(parts: list[str]) -> dict[str, str]:
    found = ET.fromstring(drawing("f1", "t", "d", 100, 20, *parts, css="heat")).iter("path")
    return {part.get("class", ""): part.get("d", "") for part in found}


@given(st.floats(-100, 100), st.lists(finite, min_size=1), st.booleans())
def test_the_hue_changes_at_the_level_and_nowhere_else(level: float, values: list[float], low_is_wanted: bool):
    ramp = Ramp.around(level, values, low_is_wanted=low_is_wanted)
    assert len(ramp.edges) == STEPS - 1
    assert list(ramp.edges) == sorted(ramp.edges)
    for value in values:
        if abs(value - level) > 1e-9 * max(1, abs(level)):
            wanted = value < level if low_is_wanted else value > level
            assert (ramp.step(value) >= STEPS // 2) is wanted


@given(finite, finite)
def test_what_is_more_wanted_is_never_fainter(one: float, other: float):
    low, high = sorted((one, other))
    up, down = Ramp.around(0.0, [one, other]), Ramp.around(0.0, [one, other], low_is_wanted=True)
    assert up.step(low) <= up.step(high)
    assert down.step(low) >= down.step(high)
    assert 0 <= up.step(low) <= up.step(high) < STEPS


def test_steps_are_never_finer_on_the_side_that_is_not_wanted():
    ramp = Ramp.around(0.0, [0.9, -0.01])
    assert ramp.edges[3] - ramp.edges[2] == ramp.edges[4] - ramp.edges[3] == 0.25
    ramp = Ramp.around(0.0, [0.1, -5.0])
    assert ramp.edges[4] - ramp.edges[3] == pytest.approx(0.025)
    assert ramp.edges[3] - ramp.edges[2] == pytest.approx(2.0)


def test_a_value_at_the_level_is_not_wanted_but_a_kl_at_its_budget_is():
    assert Ramp.around(0.0, [0.5, -0.5]).step(0.0) < STEPS // 2
    budget = Ramp.decades(0.1)
    assert budget.step(0.1) >= STEPS // 2
    assert budget.step(0.1001) < STEPS // 2
    assert [budget.written(edge) for edge in budget.edges] == ["0.0032", "0.01", "0.032", "0.1", "0.32", "1", "3.2"]


@given(st.lists(finite, min_size=1), st.booleans())
def test_without_a_level_only_one_hue_is_used(values: list[float], logarithmic: bool):
    ramp = Ramp.even(values, logarithmic=logarithmic)
    assert all(STEPS // 2 <= ramp.step(value) < STEPS for value in values)


def test_edges_are_written_so_that_they_differ():
    for ramp in (Ramp.around(0.978, [0.99, 0.97]), Ramp.around(0.0, [0.003]), Ramp.around(0.62, [0.9, 0.1])):
        written = [ramp.written(edge) for edge in ramp.edges]
        assert len(set(written)) == len(written)
    assert Ramp.around(0.62, [0.9]).written(0.62) == "0.62"


def test_cells_of_one_step_are_one_path_and_neighbours_are_merged():
    ramp = Ramp.around(0.0, [1.0])
    values: dict[tuple[int, int], float | None] = {(0, layer): 0.9 for layer in range(4)}
    values |= {(1, 0): 0.9, (1, 5): None, (0, 6): -0.9}
    found = paths(heat_figure.cells(FRAME, values, ramp))
    assert found["heat-7"] == "M0 5H40M0 15H10"
    assert found["heat-none"] == "M50 15H60"
    assert found["heat-0"] == "M60 5H70"


def test_a_missing_value_is_blank_and_never_the_colour_of_zero():
    found = paths(heat_figure.cells(FRAME, {(0, 0): None, (0, 1): 0.0}, Ramp.around(0.0, [1.0])))
    assert found["heat-none"] == "M0 5H10"
    assert "heat-3" in found


def test_a_set_has_a_border_around_it_and_none_inside():
    halo, outline = heat_figure.outlined(FRAME, [(0, 1), (0, 2), (1, 2)])
    found = paths([halo, outline])
    assert found["halo"] == found["outline"]
    assert found["outline"] == "M10 0H30M10 10H20M20 20H30M10 0V10M20 10V20M30 0V20"
    assert heat_figure.outlined(FRAME, []) == []


def test_the_legend_has_every_step_and_its_numbers_in_order():
    for ramp in (Ramp.around(0.0, [1.0]), Ramp.decades(0.1), Ramp.even([1.0, 9.0])):
        svg = ET.fromstring(drawing("f1", "t", "d", 320, 30, *heat_figure.legend(ramp, 0, 0, 320), css="heat"))
        (strip,) = svg.iter("use")
        assert strip.get("href") == f"#ramp-{len(ramp.edges) + 1}{'-down' if ramp.low_is_wanted else ''}"
        shown = [float((part.text or "").replace("−", "-")) for part in svg.iter("text")]
        assert shown == sorted(shown)
        assert all(math.isfinite(value) for value in shown)

from __future__ import annotations

import re
from typing import Any

import pytest

from geoaudit.report import spectrum_figure
from tests.report.drawn import HOSTILE, by_class, drawn, strokes

NULL = {
    "permuted": {"energies_low": [0.1, 0.05], "energies_high": [0.3, 0.2]},
    "harmless": {"energies_low": [0.2], "energies_high": [0.6]},
}


def test_spectrum_draws_each_share_and_the_running_sum():
    svg = spectrum_figure.spectrum([0.5, 0.3, 0.15, 0.05], uid="f1", title="as measured")
    element = drawn(svg)
    (bars,) = by_class(element, "bar")
    heights = [142 - float(bar.split("V")[1].split("h")[0]) for bar in bars.get("d", "").split("M")[1:]]
    assert heights == pytest.approx([62.0, 37.2, 18.6, 6.2], abs=0.1)
    assert strokes(element, "dots") == 4
    assert "90 % of the energy: 3 components" in svg
    assert spectrum_figure.spectrum([], uid="f1", title="") == ""
    assert spectrum_figure.spectrum([None], uid="f1", title="") == ""


def test_a_long_spectrum_is_cut_and_does_not_invent_a_count():
    svg = spectrum_figure.spectrum([0.01] * 100, uid="f1", title="flat")
    assert strokes(drawn(svg), "bar") == spectrum_figure.COMPONENTS_SHOWN
    assert "more than 16 components" in svg


def test_a_null_range_stands_in_the_column_of_its_component():
    element = drawn(spectrum_figure.spectrum([0.5, 0.3, 0.2], uid="f1", title="t", null=NULL))
    (permuted,), (harmless,) = by_class(element, "range-permuted"), by_class(element, "range-harmless")
    assert permuted.get("d", "").count("V") == 2
    assert harmless.get("d", "").count("V") == 1
    (bars,) = by_class(element, "bar")
    first = bars.get("d", "").split("M")[1]
    left, width = float(first.split()[0]), float(first.split("h")[1].split("V")[0])
    for part in (permuted, harmless):
        assert left <= float(part.get("d", "")[1:].split()[0]) <= left + width
    assert float(permuted.get("d", "")[1:].split()[0]) < float(harmless.get("d", "")[1:].split()[0]) - 3
    assert "First component under permuted labels: [0.100, 0.300]." in (element[1].text or "")


@pytest.mark.parametrize(
    "null",
    [None, 3, [], {"permuted": None}, {"permuted": {"energies_low": [0.1]}},
     {"harmless": {"energies_low": [None], "energies_high": [0.2]}}],
)  # fmt: skip
def test_without_both_ends_there_is_no_range(null: Any):
    svg = spectrum_figure.spectrum([0.5, 0.5], uid="f1", title="t", null=null)
    assert "range-" not in svg


def test_a_hostile_title_stays_text():
    assert not re.search(r"<script|style=|\son\w+=\"", spectrum_figure.spectrum([0.9], uid="f1", title=HOSTILE))


def test_legends_are_decoration():
    assert all('aria-hidden="true"' in spectrum_figure.legend_range(name) for name in NULL)

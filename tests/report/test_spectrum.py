from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import html, spectrum
from tests.report.hostile import ODD, alone


def test_one_spectrum_is_shown_once_with_all_that_was_read_from_it(record: dict[str, Any]):
    found = spectrum.spectra(record)
    assert [(one.checkpoint, len(one.measurements)) for one in found] == [("smollm2-135m", 2), ("safety-tuned", 2)]
    names = [one.name for one in found[0].readings]
    assert names == ["effective_rank, convention energy", "participation_ratio"]
    assert found[0].rows_text.startswith("146 rows")
    assert "4 rows without signal left out" in found[0].rows_text


def test_a_normalised_spectrum_is_not_drawn_twice(record: dict[str, Any]):
    one = next(row for row in record["measurements"] if row["measure"] == "effective_rank")
    one["parameters"] = {**one["parameters"], "normalise": True}
    found = spectrum.spectra(record)
    assert len(found) == 3
    assert found[0].normalised
    assert found[0].normalised_energies == ()


def test_the_value_stands_beside_what_chance_gives(geometric: dict[str, Any]):
    one = spectrum.spectra(geometric)[1]
    assert one.null_names == ["permuted", "harmless"]
    assert one.components == "90 % of the energy in 12 components; 95 % of the energy in 21 components"
    assert one.made_from == "28 contrasts, between 8 categories of harmless prompts, 40 prompts a side"
    assert one.isotropic == "149"
    rank = one.readings[0]
    assert rank.level("permuted").endswith("; percentile 0")
    assert rank.level("harmless").endswith("; percentile 21.4")
    assert rank.beside("held_out") != "not recorded"
    assert one.component("permuted", 0).startswith("[")
    assert one.component("permuted", 99) == "not recorded"


def test_the_level_of_no_structure_is_a_footnote_and_no_mark(geometric: dict[str, Any]):
    text = html.render(geometric).partition('<section id="spectrum">')[2].partition("</section>")[0]
    assert "without any structure has 149" in text
    assert "isotropic" not in text.partition("<svg")[2].rpartition("</svg>")[0]


def test_an_older_record_has_no_null_and_no_empty_columns(record: dict[str, Any]):
    one = spectrum.spectra(record)[0]
    assert one.null_names == []
    assert one.isotropic == one.components == one.made_from == ""
    text = html.render(record)
    assert 'class="strip"' not in text
    assert 'class="curve"' not in text
    assert "permuted labels" not in text


@pytest.mark.parametrize("odd", [*ODD, {"permuted": 3}, {"harmless": {"low": "x", "high": None}}])
def test_odd_fields_leave_the_section_standing(make_geometry: Callable[..., dict[str, Any]], odd: Any):
    record = alone(make_geometry(rows=2, layers=3, checkpoints=1), "effective_rank")
    (row,) = record["measurements"]
    detail = row["detail"]
    for field in ("null", "percentile", "by_layer", "held_out", "normalised", "k90", "rows", "field", "convention"):
        row["detail"] = {**detail, field: odd}
        assert '<section id="spectrum">' in html.render(record)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import coupling, html
from tests.report.hostile import ODD, alone


def test_one_pair_of_directions_is_shown_once_with_all_that_was_read_from_it(geometric: dict[str, Any]):
    found = coupling.couplings(geometric)
    assert [(one.checkpoint, len(one.measurements)) for one in found] == [("smollm2-135m", 2), ("safety-tuned", 2)]
    assert found[0].form.startswith("the papers' form")
    assert found[1].form.startswith("identified form")


def test_where_h_and_r_are_read_is_said(geometric: dict[str, Any]):
    one = coupling.couplings(geometric)[0]
    assert one.places == (
        "H at layer 6, position t_inst; R at layer 4, position −1; layer gap 2.00; subspaces of 3 dimensions; "
        "cosines cross-fitted on disjoint halves"
    )
    assert one.layers == {"H": 6.0, "R": 4.0}
    assert coupling.Coupling("m", {"h_layer": 4, "r_layer": 4}, []).layers == {"H, R": 4.0}


def test_the_three_ways_of_reading_stand_in_one_table(geometric: dict[str, Any]):
    table = dict(coupling.couplings(geometric)[1].table)
    assert list(table) == ["each at its own layer", "both at the layer of R", "both at the layer of H"]
    assert table["each at its own layer"] == ["0.710", "0.520", "0.615", "0.480"]
    assert table["both at the layer of H"][-1] == "not measured"


def test_cells_are_counted_and_absent_where_the_form_has_none(geometric: dict[str, Any]):
    paper, identified = coupling.couplings(geometric)
    assert paper.cells == []
    assert identified.cells == [("harmful prompts", "121", "39"), ("harmless prompts", "24", "136")]
    text = html.render(geometric)
    assert text.count("Prompts that H and R are made from") == 1


def test_a_null_band_is_drawn_only_behind_the_field_it_belongs_to(geometric: dict[str, Any]):
    one = coupling.couplings(geometric)[1]
    assert one.curves == ["c_cos", "c_sub"]
    c_cos, c_sub = (one.curve(field) for field in one.curves)
    assert c_cos[1]
    assert c_sub[1]
    assert c_cos[0][0]["permuted"] != c_sub[0][0]["permuted"]
    without = coupling.Coupling(one.checkpoint, one.detail, one.measurements[:1])
    assert without.curve("c_sub")[1] is False


def test_a_measure_without_a_value_at_one_layer_lends_its_band_to_another_field(geometric: dict[str, Any]):
    one = coupling.couplings(geometric)[1]
    full = {**one.measurements[0], "measure": "hrci_full", "detail": {**one.detail, "band_of": "c_sub"}}
    assert coupling.Coupling("m", one.detail, [full]).curve("c_sub")[1] is True


def test_what_could_not_be_measured_still_shows_its_cells(geometric: dict[str, Any]):
    row = next(row for row in geometric["measurements"] if row["measure"] == "c_cos")
    cells = {"harmful_refused": 128, "harmful_complied": 0, "harmless_refused": 0, "harmless_complied": 128}
    row.update(estimate=None, low=None, high=None, why_missing="no prompt of two cells")
    row["detail"] = {"form": "identified", "cells": cells}
    geometric["measurements"], geometric["assertions"] = [row], []
    section = html.render(geometric).partition('<section id="coupling">')[2].partition("</section>")[0]
    assert "not measured: no prompt of two cells" in section
    assert ">128<" in section
    assert "<svg" not in section


def test_a_whole_that_was_measured_gets_a_curve_of_its_own(geometric: dict[str, Any]):
    one = coupling.couplings(geometric)[1]
    whole = {**one.measurements[0], "measure": "hrci_repr"}
    assert coupling.Coupling("m", one.detail, [*one.measurements, whole]).curves == ["c_cos", "c_sub", "hrci_repr"]


def test_a_record_without_bands_draws_curves_without_them(geometric: dict[str, Any]):
    for row in geometric["measurements"]:
        if row["measure"] == "c_cos":
            row["detail"]["by_layer"] = [{"layer": k, "c_cos": 0.1 * k} for k in range(4)]
            del row["detail"]["null"], row["detail"]["readings"]
    section = html.render(geometric).partition('<section id="coupling">')[2].partition("</section>")[0]
    assert section.count('class="curve"') > 2


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_leave_the_section_standing(make_geometry: Callable[..., dict[str, Any]], odd: Any):
    record = alone(make_geometry(rows=2, layers=3, checkpoints=1), "c_cos")
    (row,) = record["measurements"]
    detail = row["detail"]
    for field in (*detail, "percentile"):
        row["detail"] = {**detail, field: odd}
        assert '<section id="coupling">' in html.render(record)


# --- independence


def independence(record: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """What ablating one direction does to the other, on the last checkpoint's pair."""
    pair = coupling.couplings(record)[-1]
    detail = {name: pair.detail[name] for name in ("form", "h_layer", "r_layer", "h_position", "r_position", "cells")}
    detail |= {
        "changes": {"h_without_r": 0.012, "r_without_h": 0.034},
        "at_once": {"h_without_r": 0.002, "r_without_h": 0.003},
        "controls": {"n": 3, "h_without_r": [0.001, None, 0.004], "r_without_h": [0.002], "sum": [0.003, 0.006]},
        "p": {"sum": 0.0476, "h_without_r": 0.0476, "r_without_h": 0.5},
        "by_layer": [{"layer": 0, "h": 0.1, "h_without_r": 0.1, "r": 0.2, "r_without_h": 0.1}],
        **changed,
    }
    row = {
        **pair.measurements[0],
        "measure": "representational_independence",
        "unit": "squared cosine",
        "estimate": 0.046,
        "low": 0.04,
        "high": 0.052,
        "flags": [],
        "detail": detail,
    }
    record["measurements"].append(row)
    record["measures"]["representational_independence"] = {"title": "Representational independence of H and R"}
    return row


def section_of(record: dict[str, Any]) -> str:
    return html.render(record).partition('<section id="coupling">')[2].partition("</section>")[0]


def test_independence_stands_with_the_pair_that_it_was_measured_on(geometric: dict[str, Any]):
    independence(geometric)
    found = coupling.couplings(geometric)
    assert [len(one.independence) for one in found] == [0, 1]
    assert [len(one.measurements) for one in found] == [2, 2], "it is no reading of the angle"
    (one,) = found[1].independence
    assert one.value == "0.0460 [0.0400, 0.0520]"
    table = dict(one.table)
    assert table["H, with R ablated"] == ["0.0120", "0.0020", "0.0010 to 0.0040 (2)", "0.0476"]
    assert table["both added up"][:2] == ["0.0460", "0.0050"]
    section = section_of(geometric)
    assert section.count("Representational independence of H and R") == 1
    assert "0.0460 [0.0400, 0.0520]" in section
    assert "a direction that no layer holds is independent of every other" in section


def test_independence_of_another_pair_or_alone_has_its_own_place(geometric: dict[str, Any]):
    row = independence(geometric, h_layer=1)
    assert [len(one.measurements) for one in coupling.couplings(geometric)] == [2, 2, 0]
    geometric["measurements"], geometric["assertions"] = [row], []
    (one,) = coupling.couplings(geometric)
    assert one.cells
    assert one.curves == []
    section = section_of(geometric)
    assert "0.0460 [0.0400, 0.0520]" in section
    assert "<svg" not in section
    assert '<th scope="col">Measure</th>' not in section


def test_independence_that_was_not_measured_says_why(geometric: dict[str, Any]):
    row = independence(geometric)
    row.update(estimate=None, low=None, high=None, why_missing="R: null direction")
    row["detail"] = {"form": "identified", "cells": row["detail"]["cells"]}
    assert "not measured: R: null direction" in section_of(geometric)


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_of_independence_leave_the_section_standing(make_geometry: Callable[..., dict[str, Any]], odd: Any):
    record = alone(make_geometry(rows=2, layers=3, checkpoints=1), "c_cos")
    row = independence(record)
    detail = row["detail"]
    parts = ("controls", "p", "changes", "at_once")
    row["detail"] = {**detail, **{field: {"sum": odd, "h_without_r": odd, "r_without_h": odd} for field in parts}}
    assert "Representational independence of H and R" in section_of(record)
    for field in detail:
        row["detail"] = {**detail, field: odd}
        for one in coupling.couplings(record):
            assert all(found.value and found.table is not None for found in one.independence)
    row["detail"] = dict.fromkeys(detail, odd)
    assert "<h2>Coupling of harmfulness and refusal</h2>" in section_of(record)

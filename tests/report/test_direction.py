from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import direction, html
from tests.report.hostile import ODD, alone


def test_a_direction_is_shown_at_every_site_with_the_one_in_use_ringed(geometric: dict[str, Any]):
    one = direction.directions(geometric)[0]
    assert one.contrast == "harmful − harmless"
    section = html.render(geometric).partition('<section id="direction">')[2].partition("</section>")[0]
    assert "<dt>Separation, layer 5, position −1</dt><dd>0.980 [0.970, 0.990]</dd>" in section
    assert len(one.sites) == 60
    assert one.maps() == ["norm", "split_half_cosine", "auroc"]
    assert one.in_use(one.listed[0])
    svg = ET.fromstring(one.heat("auroc", uid="f1"))
    assert len([part for part in svg.iter("circle") if part.get("class") == "ring"]) == 1
    labels = [part.text for part in svg.iter("text")]
    assert labels[1:7] == ["t_inst", "−5", "−4", "−3", "−2", "−1"]


def test_measures_of_several_sites_share_one_figure_and_fill_what_one_left_out(geometric: dict[str, Any]):
    row = next(row for row in geometric["measurements"] if row["measure"] == "direction_auroc")
    bare = [{**site, "auroc": None, "d_prime": None} for site in row["detail"]["by_site"]]
    norm = {
        **row,
        "measure": "direction_norm",
        "detail": {**row["detail"], "layer": 2, "position": "t_inst", "by_site": bare},
    }
    geometric["measurements"] = [row, norm]
    assert direction.directions(geometric)[0].maps() == ["norm", "split_half_cosine", "auroc"]
    geometric["measurements"] = [norm, row]
    (one,) = direction.directions(geometric)
    assert len(one.sites) == 60
    assert one.maps() == ["norm", "split_half_cosine", "auroc"]
    svg = ET.fromstring(one.heat("auroc", uid="f1"))
    assert len([part for part in svg.iter("circle") if part.get("class") == "ring"]) == 2


def test_sites_without_a_value_are_blank_and_never_zero(geometric: dict[str, Any]):
    one = direction.directions(geometric)[0]
    blank = [
        part for part in ET.fromstring(one.heat("auroc", uid="f1")).iter("path") if part.get("class") == "heat-none"
    ]
    assert blank[0].get("d", "").count("M") == 5
    dead = next(row for row in one.sites if row["layer"] == 0 and row["position"] == -1)
    assert one.cells(dead) == ["0", *["not measured"] * 4]


def test_the_table_starts_with_the_site_in_use_then_by_separation(geometric: dict[str, Any]):
    listed = direction.directions(geometric)[0].listed
    assert len(listed) == direction.MOST_SITES
    aurocs = [row["auroc"] for row in listed[1:]]
    assert aurocs == sorted(aurocs, reverse=True)


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_leave_the_report_standing(make_geometry: Callable[..., dict[str, Any]], odd: Any):
    record = alone(make_geometry(rows=2, layers=3, checkpoints=1), "direction_auroc")
    (row,) = record["measurements"]
    detail = row["detail"]
    for field in detail:
        row["detail"] = {**detail, field: odd}
        assert "What these numbers do" in html.render(record)
    for field in detail["by_site"][0]:
        row["detail"] = {**detail, "by_site": [{**detail["by_site"][4], field: odd}, *detail["by_site"][5:]]}
        assert '<section id="direction">' in html.render(record)

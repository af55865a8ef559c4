from __future__ import annotations

from typing import Any

import pytest

from geoaudit.report.carrier_figure import KL, Search
from geoaudit.report.score_figure import CELLS, legend_cell, score
from tests.report.drawn import by_class, drawn
from tests.report.test_carrier_figure import DETAIL, ROWS, made, texts

EFFECT = ("s_refuse_scaled", "S̃ refuse")


def count(svg: str, css: str) -> int:
    """Cells of a class: runs of cells count by their width in layers."""
    found = 0.0
    for part in by_class(drawn(svg), css):
        for run in part.get("d", "").split("M")[1:]:
            found += (float(run.split("H")[1]) - float(run.split()[0])) / (320 / 12)
    return round(found)


def test_every_candidate_is_a_cell_that_says_what_became_of_it():
    svg = score(made(), *EFFECT, uid="f1")
    element = drawn(svg)
    coloured = sum(count(svg, f"heat-{step}") for step in range(8))
    assert coloured == 4  # those with the score, null directions left out
    assert count(svg, "heat-none") == 3  # null, given up, not finite: never the colour of zero
    assert count(svg, "shaded") == 1
    assert len(by_class(element, "cell-mark")) == 2
    assert by_class(element, "outline")[0].get("d", "").count("M") == 4
    assert "late" in texts(svg)


def test_a_candidate_given_up_keeps_its_kl_under_the_hatching():
    svg = score(made(), *KL, uid="f1")
    assert count(svg, "heat-none") == 2
    assert count(svg, "shaded") == 1


def test_the_ring_lies_on_the_same_layer_in_the_cells_and_in_the_curve():
    element = drawn(score(made(), *EFFECT, uid="f1"))
    rings = by_class(element, "ring")
    assert len(rings) == 2
    assert rings[0].get("cx") == rings[1].get("cx")
    assert not [ring for ring in rings if "doubted" in (ring.get("class") or "")]
    assert (
        "2 positions, 12 layers; from −0.100 to 0.900; 1 of 7 candidates are admissible; selected: layer 3 at −1, 0.400"
        in (element[1].text or "")
    )


def test_the_nearest_candidate_is_dashed_in_both():
    element = drawn(score(made(selected=None, nearest=ROWS[3]), *EFFECT, uid="f1"))
    assert len(by_class(element, "doubted")) == 2
    assert "nearest, not admissible: layer 5 at −2" in (element[1].text or "")


def test_without_a_chosen_candidate_there_is_no_ring_and_no_curve():
    svg = score(made(selected=None), *EFFECT, uid="f1")
    assert not by_class(drawn(svg), "ring")
    assert not [text for text in texts(svg) if text.startswith("at position")]


def test_the_hue_changes_at_the_budget():
    search = made()
    assert search.ramp("kl").step(0.1) >= 4 > search.ramp("kl").step(0.11)
    assert search.ramp("s_comply").step(0.61) >= 4 > search.ramp("s_comply").step(0.59)


def test_the_other_rule_draws_its_own_scores_and_wants_a_low_bypass():
    rows = [
        {"position": -1, "layer": 1, "kl": 0.02, "induce": 1.0, "bypass": -4.0, "status": "admissible"},
        {"position": -1, "layer": 2, "kl": 0.20, "induce": 2.0, "bypass": 5.0, "status": "kl"},
    ]
    search = made(rule="arditi", candidates=rows, selected=rows[0])
    assert [name for _, name in search.scores] == ["KL (nats)", "induce (nats)", "bypass (nats)"]
    ramp = search.ramp("bypass")
    assert ramp.step(-4.0) > ramp.step(5.0)
    for field, name in search.scores:
        assert name in texts(score(search, field, name, uid="f1"))


def test_a_null_direction_stretches_no_scale():
    rows = [*ROWS, {"position": -1, "layer": 1, "kl": 9.0, "s_refuse_scaled": 99.0, "status": "null"}]
    assert made(candidates=rows).ramp("s_refuse_scaled") == made().ramp("s_refuse_scaled")


def test_missing_scores_leave_the_figure_standing():
    rows = [{"position": -1, "layer": k, "kl": None, "s_refuse_scaled": None, "status": "kl"} for k in (0, 1)]
    search = made(candidates=rows, selected=None, c0=None, kl_budget=None)
    for field, name in search.scores:
        svg = score(search, field, name, uid="f1")
        assert count(svg, "heat-none") == 2
        assert "no value" in svg


@pytest.mark.parametrize("layers", [1, 2, 80, 400])
def test_any_number_of_layers_fits(layers: int):
    rows = [{**ROWS[1], "layer": k, "status": "admissible"} for k in range(layers)]
    search = Search.of({**DETAIL, "candidates": rows, "selected": rows[-1], "n_layers": layers})
    assert search is not None
    for field, name in search.scores:
        drawn(score(search, field, name, uid="f1"))


def test_legend_cells_are_decoration_and_differ_without_colour():
    cells = [legend_cell(kind) for kind in CELLS]
    assert all('aria-hidden="true"' in cell for cell in cells)
    assert len(set(cells)) == len(cells)


def test_hostile_names_stay_text():
    hostile: Any = "<script>\"'&"
    svg = score(made(), "kl", hostile, uid="f1")
    assert "<script" not in svg
    assert hostile in texts(svg)

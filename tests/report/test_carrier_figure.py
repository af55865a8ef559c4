from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from geoaudit.report.carrier_figure import DRAWN, Search, frontier, legend_front, legend_mark

ROWS: list[dict[str, Any]] = [
    {"position": -1, "layer": 0, "kl": 0.0, "s_refuse_scaled": 0.0, "s_comply": 0.6, "status": "null"},
    {"position": -1, "layer": 3, "kl": 0.02, "s_refuse_scaled": 0.4, "s_comply": 0.8, "status": "admissible"},
    {"position": -1, "layer": 4, "kl": 0.05, "s_refuse_scaled": -0.1, "s_comply": 0.6, "status": "not-inducing"},
    {"position": -2, "layer": 5, "kl": 0.40, "s_refuse_scaled": 0.9, "s_comply": 0.9, "status": "kl"},
    {"position": -2, "layer": 6, "kl": 3.00, "s_refuse_scaled": None, "s_comply": None, "status": "screened"},
    {"position": -2, "layer": 9, "kl": 0.01, "s_refuse_scaled": 0.2, "s_comply": 0.7, "status": "late-layer"},
    {"position": -2, "layer": 2, "kl": None, "s_refuse_scaled": None, "s_comply": None, "status": "not-finite"},
]
DETAIL: dict[str, Any] = {
    "rule": "cosmic",
    "candidates": ROWS,
    "selected": ROWS[1],
    "nearest": None,
    "kl_budget": 0.1,
    "c0": 0.6,
    "n_layers": 12,
}


def made(**changes: Any) -> Search:
    search = Search.of({**DETAIL, **changes})
    assert search is not None
    return search


def classes(svg: str) -> dict[str, list[ET.Element]]:
    found: dict[str, list[ET.Element]] = {}
    for part in ET.fromstring(svg).iter():
        for name in (part.get("class") or "").split():
            found.setdefault(name, []).append(part)
    return found


def texts(svg: str) -> list[str]:
    return [part.text or "" for part in ET.fromstring(svg).iter("text")]


def test_every_status_has_its_own_shape_and_its_own_class():
    svg = frontier(made(), uid="f1", description="d")
    found = classes(svg)
    # one mark a candidate that has both scores; what was given up or is not finite has no effect to place it by
    drawn = {
        status: found[f"mark-{status}"][0].get("d", "").count("M") for status in DRAWN if f"mark-{status}" in found
    }
    assert drawn == {"admissible": 1, "kl": 1, "not-inducing": 1, "late-layer": 1, "null": 1}
    shapes = {
        status: found[f"mark-{status}"][0].get("d", "").split("h" if status == "null" else " ")[-1] for status in drawn
    }
    assert len(set(shapes.values())) == len(shapes)


def test_the_selected_candidate_is_ringed_where_it_lies_within_the_budget():
    svg = frontier(made(), uid="f1", description="d")
    found = classes(svg)
    (ring,) = found["ring"]
    assert "doubted" not in (ring.get("class") or "")
    (allowed,) = found["allowed"]
    left, top = float(allowed.get("x", "")), float(allowed.get("y", ""))
    assert left <= float(ring.get("cx", "")) <= left + float(allowed.get("width", ""))
    assert top <= float(ring.get("cy", "")) <= top + float(allowed.get("height", ""))
    assert "selected: layer 3 at −1" in texts(svg)


def test_the_nearest_candidate_is_dashed_and_called_not_admissible():
    search = made(selected=None, nearest=ROWS[3])
    svg = frontier(search, uid="f1", description="d")
    (ring,) = classes(svg)["ring"]
    assert "doubted" in (ring.get("class") or "")
    (allowed,) = classes(svg)["allowed"]
    assert float(ring.get("cx", "")) > float(allowed.get("x", "")) + float(allowed.get("width", ""))
    assert "nearest, not admissible: layer 5 at −2" in texts(svg)


def test_without_a_chosen_candidate_nothing_is_ringed():
    assert "ring" not in classes(frontier(made(selected=None), uid="f1", description="d"))


def test_the_budget_always_has_room_on_both_sides():
    for kls in ([1e-4, 0.01], [5.0, 9.0], [0.1], [0.0]):
        rows = [{**ROWS[1], "layer": index, "kl": kl} for index, kl in enumerate(kls)]
        scale = made(candidates=rows).kl_scale(0, 100)
        assert 5 < scale(0.1) < 95
        assert all(0 <= scale(kl) <= 100 for kl in kls)


@pytest.mark.parametrize(
    "changes", [{"candidates": []}, {"candidates": None}, {"rule": "other"}, {"candidates": [{"layer": 1}]}]
)
def test_nothing_is_drawn_without_candidates(changes: dict[str, Any]):
    assert Search.of({**DETAIL, **changes}) is None


def test_legend_marks_are_decoration():
    assert all('aria-hidden="true"' in mark for mark in [legend_front(), *(legend_mark(status) for status in DRAWN)])


def test_the_front_is_a_staircase_through_its_points_and_the_first_budget_a_line():
    points = [{"kl": 0.01, "effect": 0.1}, {"kl": 0.1, "effect": 0.4}, {"kl": 0.5, "effect": 0.9}]
    search = made(frontier=points, first_budget={"kl": 0.1, "position": -1, "layer": 3})
    svg = frontier(search, uid="f1", description="d")
    (front,) = classes(svg)["front"]
    assert front.get("d", "").count("H") == front.get("d", "").count("V") == 2
    (first,), (budget,) = classes(svg)["threshold"], classes(svg)["bound"]
    assert first.get("d", "").split()[0] == budget.get("d", "").split()[0]
    assert "first carrier at 0.100" in texts(svg)
    assert "Front of S̃ refuse: KL 0.0100: 0.100; KL 0.100: 0.400; KL 0.500: 0.900." in svg


def test_a_front_beyond_the_candidates_that_are_drawn_is_on_the_scale():
    scale = made(frontier=[{"kl": 0.01, "effect": 2.0}]).effect_scale("s_refuse_scaled", 100, 0)
    assert 0 < scale(2.0) < 20


def test_an_older_record_has_no_front_and_no_first_budget():
    found = classes(frontier(made(), uid="f1", description="d"))
    assert "front" not in found
    assert "threshold" not in found


def test_missing_scores_leave_the_frontier_standing():
    rows = [{"position": -1, "layer": 1, "kl": None, "s_refuse_scaled": None, "status": "not-finite"}]
    search = made(candidates=rows, selected=None, c0=None, kl_budget=None, frontier=[{"kl": None, "effect": 1}])
    assert "mark" not in classes(frontier(search, uid="f1", description="d"))


def test_a_record_that_claims_endless_layers_has_no_figure():
    assert Search.of({**DETAIL, "n_layers": 10**9}) is None
    assert Search.of({**DETAIL, "candidates": [{**ROWS[1], "layer": 10**6}]}) is None

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from geoaudit.report import html, interventions
from geoaudit.report.dose_figure import doses
from tests.report import example_interventions
from tests.report.drawn import HOSTILE, by_class, drawn, strokes


def section(record: dict[str, Any]) -> str:
    return html.render(record).partition('<section id="interventions">')[2].partition("</section>")[0]


def one(**changed: Any) -> interventions.Intervention:
    return interventions.Intervention("m", {"detail": example_interventions.edit(random.Random(0)) | changed})


def test_each_kind_is_shown_in_its_own_way(geometric: dict[str, Any]):
    found = interventions.interventions(geometric)
    assert [each.kind for each in found] == ["intervention", "sweep", "matrix"] * (len(found) // 3)
    text = section(geometric)
    assert text.count("ten edits, tested together") == len(found) // 3
    assert "R is the nearest direction, not admissible" in text


def test_the_edit_is_named_with_its_site_scope_and_dose():
    assert one().name == "the refusal direction R (layer 4, position −1), ablated at every site, dose 1.00"
    found = one(target="H", operator="add", scope="single_layer", position="t_inst", dose=-2.0).name
    assert found == "the harmfulness direction H (layer 4, position t_inst), added at its own layer only, dose −2.00"
    assert one(target="subspace", k=3).name.startswith("the top 3 directions")


def test_the_deciding_controls_come_first_and_the_profile_apart():
    names = [name for name, _, _ in one().strips]
    assert names[0].startswith("KL-matched controls (these decide)")
    assert len(names) == 4
    assert "39" not in names[0]
    without = one(controls={"kl_matched": {"effect": [0.1]}})
    assert len(without.strips) == 1


def test_controls_of_another_kind_are_called_what_they_are():
    topics = one(controls_of="categories")
    assert topics.strips[0][0].startswith("KL-matched contrasts between harmless topics (these decide)")
    assert topics.rank.endswith("against the KL-matched contrasts between harmless topics")
    spread = {"effect": [0.1, 0.2], "kl": [0.1, 0.2], "dose": [1.0, -1.0]}
    of_kl = one(
        outcome="harmless_kl", decides="norm_matched", controls={"random": spread, "norm_matched": spread}, p=0.025
    )
    names = [name for name, _, _ in of_kl.strips]
    assert (
        names[0]
        == "norm-matched directions, token 0 left out (these decide): effect on the KL on harmless prompts, nats"
    )
    assert names[1] == "random directions, same dose: effect on the KL on harmless prompts, nats"
    assert of_kl.rank == "p = 0.0250 against the norm-matched directions, token 0 left out"
    assert dict(of_kl.facts)["Doses of the controls"] == "−1.00 to 1.00"
    assert one(decides=HOSTILE).decides == "kl_matched"


def test_an_intervention_that_others_than_kl_matched_decide_is_shown():
    detail = one().detail
    norm = {"decides": "norm_matched", "controls": {"norm_matched": detail["controls"]["random"]}}
    rows = [{"checkpoint": "m", "detail": detail | norm}, {"checkpoint": "m", "detail": detail | {"controls": {}}}]
    assert len(interventions.interventions({"measurements": rows})) == 1


def test_a_stored_direction_is_named_by_its_file(geometric: dict[str, Any]):
    found = one(target="stored", file="mine.safetensors")
    assert found.name.startswith("the stored direction mine.safetensors (layer 4, position −1), ablated")
    row = next(each for each in geometric["measurements"] if each["measure"] == "intervention_sensitivity")
    row["detail"] |= {"target": "stored", "file": HOSTILE}
    assert "<script>" not in section(geometric)


def test_numbers_that_are_not_there_are_not_written():
    facts = dict(one(standardised=None, kl=None).facts)
    assert "In spreads of the controls" not in facts
    assert "KL on harmless prompts" not in facts
    assert facts["Mean effect of its controls"] == "−0.200 nats"


def test_every_fact_reaches_the_page(geometric: dict[str, Any]):
    """What the record is cleaned of on the way in must not take a number with it."""
    text = section(geometric)
    assert all(name in text for name, _ in one().facts)
    assert "Refusal score without and with it" in text


def test_stars_stand_only_where_all_cells_are_counted():
    found = interventions.Matrix("m", {"detail": example_interventions.matrix(random.Random(0))})
    assert found.star({"p": 0.05, "p_alone": 0.01}) == "*"
    assert found.star({"p": 0.06, "p_alone": 0.01}) == ""
    assert found.star({"p": None}) == found.star({}) == ""


def test_a_cell_without_controls_says_why(geometric: dict[str, Any]):
    assert "uncontrolled: of 39 controls 1 could be given a dose" in section(geometric)


def test_the_curve_passes_through_no_intervention_and_says_where_damage_starts():
    found = interventions.Sweep("m", {"detail": example_interventions.sweep(random.Random(0))})
    assert [row["dose"] for row in found.curve] == [-4, -2, -1, -0.5, 0, 0.5, 1, 2, 4]
    assert found.curve[4]["effect"] == 0
    assert "from dose 4.00 on" in found.damaged
    assert "dose" not in found.name.rpartition("at every site")[2]
    whole = interventions.Sweep("m", {"detail": {**found.detail, "damaged_from": None}})
    assert whole.damaged.startswith("no dose shifts")


def test_the_dose_figure_draws_every_dose_in_each_panel_and_every_control():
    curve = interventions.Sweep("m", {"detail": example_interventions.sweep(random.Random(0))}).curve
    figure = drawn(doses(curve, uid="u", title="Effect", limit=1.0, answers_limit=1.0))
    assert strokes(figure, "dots") == 4 * 9
    assert len(by_class(figure, "bound")) == 2
    assert strokes(figure, "mark-control") == 8 * 19 + 8 * 8
    bare = [{name: value for name, value in row.items() if not name.startswith("answers")} for row in curve]
    figure = drawn(doses(bare, uid="u", title="Effect", limit=1.0, answers_limit=1.0))
    assert strokes(figure, "dots") == 2 * 9
    assert len(by_class(figure, "bound")) == 1


@pytest.mark.parametrize("most", [1.0, 1.3, 40.0, 1e7, 1e300])
def test_perplexities_of_any_size_are_drawn_inside_their_panel(most):
    curve = [
        {"dose": dose, "effect": dose, "answers_perplexity": most if dose > 1 else 1.0} for dose in (0.0, 1.0, 2.0)
    ]
    text = str(doses(curve, uid="u", title="Effect", limit=None))
    height = float(text.partition('viewBox="0 0 480 ')[2].partition('"')[0])
    assert all(0 <= float(y) <= height for y in re.findall(r' y="(-?[\d.]+)"', text))
    assert "perplexity of these answers" in text
    assert "nan" not in text


def test_a_dose_figure_without_numbers_is_none():
    assert doses([], uid="u", title="Effect", limit=1.0) == ""
    assert doses([{"dose": 1.0, "effect": None}], uid="u", title="Effect", limit=None) == ""


@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_dose_figure_escapes_its_title(limit):
    curve = [{"dose": dose, "effect": dose, "kl": abs(dose)} for dose in (-1.0, 0.0, 1.0)]
    assert "<script>" not in doses(curve, uid="u", title=HOSTILE, limit=limit)

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import carrier, html, words
from tests.report.hostile import ODD, alone


def test_one_search_is_shown_once_for_each_checkpoint_and_rule(record: dict[str, Any]):
    found = carrier.carriers(record)
    assert [(one.checkpoint, one.rule, len(one.measurements)) for one in found] == [
        ("smollm2-135m", "cosmic", 2),
        ("smollm2-135m", "arditi", 1),
        ("safety-tuned", "cosmic", 2),
        ("safety-tuned", "arditi", 1),
    ]


def test_headlines_say_selected_nearest_or_none(record: dict[str, Any]):
    selected, _, nearest, _ = carrier.carriers(record)
    assert (
        selected.headline
        == "Selected: layer 14, position −5 (<|im_end|>), KL 0.0359 nats, within the KL budget of 0.1 nats."
    )
    assert nearest.headline.startswith("No candidate is admissible. Nearest, not admissible: layer ")
    assert "against the KL budget of 0.1 nats" in nearest.headline
    nothing = carrier.Carrier("m", {"rule": "cosmic"}, [], None, False)
    assert "none that induces refusal" in nothing.headline


def test_what_stops_the_verdict_stands_beside_the_figure(record: dict[str, Any]):
    sentence = "the refusal tokens do not tell this model's refusals from its answers"
    flag = {"name": "refusal-score-uncalibrated", "effect": "stops", "sentence": sentence}
    for one in record["measurements"]:
        if one["measure"].startswith("carrier"):
            one["flags"] = [flag]
    record["assertions"] = []
    section = html.render(record).partition('<section id="carrier">')[2].partition("</section>")[0]
    assert section.count("refusal-score-uncalibrated") == len(carrier.carriers(record))


def test_every_candidate_is_counted_by_status(record: dict[str, Any]):
    for one in carrier.carriers(record):
        assert sum(n for _, _, n in one.statuses) == one.total == 150


def test_the_table_of_candidates_starts_with_the_chosen_one_then_by_status_and_kl(record: dict[str, Any]):
    for one in carrier.carriers(record):
        assert one.search is not None
        assert len(one.listed) == carrier.MOST_CANDIDATES
        assert one.search.is_chosen(one.listed[0])
    kls = [row["kl"] for row in carrier.carriers(record)[2].listed[1:]]
    assert kls == sorted(kls)


def test_budgets_that_differ_are_searches_that_differ(record: dict[str, Any]):
    changed = record["measurements"][4]
    assert changed["measure"] == "carrier_layer"
    changed["detail"] = {**changed["detail"], "kl_budget": 0.3}
    assert len(carrier.carriers(record)) == 5


def test_a_search_that_could_not_be_made_is_not_drawn(record: dict[str, Any]):
    for one in record["measurements"]:
        if one["measure"].startswith("carrier"):
            one.update(detail={}, estimate=None, why_missing="the model refuses none of the validation prompts")
    assert carrier.carriers(record) == []
    assert "not measured: the model refuses none" in html.render(record)


def test_large_searches_lose_the_figures_by_layer_and_say_so(
    make_record: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    record = make_record(checkpoints=3, layers=20)
    monkeypatch.setattr(carrier, "MOST_DRAWN", 250)
    found = carrier.carriers(record)
    drawn = [one.by_layer for one in found]
    assert drawn == [True, True, False, False, False, False]
    text = html.render(record)
    assert text.count("figures by layer are left out") == 4
    assert text.count('class="heat"') == 6


def test_scores_that_prove_nothing_are_said_to(geometric: dict[str, Any]):
    one = carrier.carriers(geometric)[0]
    assert "more than doing nothing" in one.totals
    assert not one.nothing_gained
    worse = dataclasses.replace(one, detail={**one.detail, "raw_total": 1.57, "idle_total": 1.73})
    assert (
        worse.totals == "S_total 1.57, doing nothing (2c₀) 1.73: no more than doing nothing: this score proves nothing"
    )
    assert worse.nothing_gained
    equal = dataclasses.replace(one, detail={**one.detail, "raw_total": 1.73, "idle_total": 1.73})
    assert equal.nothing_gained
    other = dataclasses.replace(worse, detail={**worse.detail, "rule": "arditi"})
    assert other.totals == ""
    assert not other.nothing_gained


def test_scopes_are_named_and_held_against_the_budget(geometric: dict[str, Any]):
    one = carrier.carriers(geometric)[0]
    scopes: dict[str, Any] = {
        "affine": {"kl": 0.04, "kl_low": 0.02, "kl_high": 0.08, "bypass": -1.5},
        "every_site": {"kl": 0.3, "kl_low": 0.15, "kl_high": 0.6, "bypass": -1.5},
        "a later one": {"kl": None, "bypass": None},
    }
    detail = {**one.detail, "examined": {"scopes": scopes, "controls": None, "target": None}}
    found = dataclasses.replace(one, detail=detail)
    assert found.scopes == [
        ("every layer, every token", "0.300 [0.150, 0.600]", "over", "−1.50"),
        ("affine: to the harmless mean instead of to zero", "0.0400 [0.0200, 0.0800]", "within", "−1.50"),
        ("a later one", "not measured", "", "not measured"),
    ]
    assert found.controls == []


def test_controls_are_told_with_their_dose_their_kl_and_the_rank(geometric: dict[str, Any]):
    one = carrier.carriers(geometric)[0]
    text = one.control_text
    assert text.startswith("20 controls; KL 0.39")
    assert "; dose 0." in text
    assert text.endswith("the direction itself, added: KL 0.410 nats; rank p = 0.0476")
    assert [name for name, _, _ in one.controls] == ["S̃ refuse", "induce (nats)"]


def test_what_names_a_search_and_the_budget_of_the_first_carrier_are_said(geometric: dict[str, Any]):
    one = carrier.carriers(geometric)[0]
    assert one.name.startswith("rule cosmic · preset paper · scope every_site · operator ablation")
    assert dict(one.facts)["first carrier at a KL of"] == one.first_budget
    assert one.first_budget.startswith(words.number(one.detail["first_budget"]["kl"]))
    assert dict(one.facts)["refusal tokens"] == "I, Sorry, As"


def test_searches_of_another_scope_or_preset_are_other_searches(geometric: dict[str, Any]):
    before = len(carrier.carriers(geometric))
    one = next(row for row in geometric["measurements"] if row["measure"] == "carrier_layer")
    one["detail"] = {**one["detail"], "scope": "every_site_but_first_token"}
    assert len(carrier.carriers(geometric)) == before + 1


def test_colours_mean_the_same_in_searches_that_stand_side_by_side(geometric: dict[str, Any]):
    first, other = (one.search for one in carrier.carriers(geometric) if one.rule == "cosmic")
    assert first is not None
    assert other is not None
    assert first.ramp("s_refuse_scaled") == other.ramp("s_refuse_scaled")
    assert first.ramp("kl") == other.ramp("kl")


FIELDS = ("frontier", "first_budget", "examined", "selected", "nearest", "raw_total", "idle_total", "tokens", "preset",
          "refusal_tokens", "selection_shares", "c0", "n_layers", "kl_budget", "candidates")  # fmt: skip
EXAMINED = ("controls", "target", "scopes", "p", "added_kl", "dose", "kl", "s_refuse_scaled", "n")


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_leave_the_section_standing(make_geometry: Callable[..., dict[str, Any]], odd: Any):
    record = alone(make_geometry(rows=2, layers=3, checkpoints=1), "carrier_layer")
    (row,) = record["measurements"]
    detail, examined = row["detail"], row["detail"]["examined"]
    for field in FIELDS:
        row["detail"] = {**detail, field: odd}
        assert '<section id="carrier">' in html.render(record)
    for field in EXAMINED:
        changed = {field: odd} if field in examined else {"controls": {**examined["controls"], field: odd}}
        row["detail"] = {**detail, "examined": {**examined, **changed}}
        assert '<section id="carrier">' in html.render(record)

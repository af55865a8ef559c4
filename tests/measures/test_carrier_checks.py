"""What makes a direction that scores well no carrier: for each check the naive number passes and the flag stops it."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from geoaudit.audit.decide import decide
from geoaudit.carriers.table import Examined, Scope, SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.measures.carrier import carrier_layer, carrier_norm, carrier_score
from geoaudit.records import Measurement
from tests.measures.carriers import (
    ANSWER,
    CARRIER,
    GOOD,
    IDLE,
    REFUSAL,
    N,
    Planted,
    beaten_controls,
    made_evidence,
    made_table,
    measured,
)

RULES = ("cosmic", "arditi", "cosmic-affine")


def stopped(found: Measurement, name: str) -> str:
    """The sentence of the one flag that stops, which the naive number knows nothing of."""
    plain = measured(carrier_layer, made_evidence())
    assert (plain.estimate, plain.flags) == (2, ())
    assert decide("equals", (2.0,), plain, by="interval").outcome == "passed"
    for by in ("interval", "estimate"):
        assert decide("between", (0.0, 5.0), dataclasses.replace(found, flags=()), by=by).outcome == "passed"
        assert decide("between", (0.0, 5.0), found, by=by).outcome == "invalid"
    (sentence,) = [flag.sentence for flag in found.flags if (flag.name, flag.effect) == (name, "stops")]
    return sentence


def unapplied(dose: float, kl: float):
    """Controls that beat nothing, because they were given next to nothing."""

    def look(table: SearchTable, place: tuple[int, int]) -> Examined:
        found = beaten_controls(table, place)
        m = found.control_dose.size
        return dataclasses.replace(found, control_dose=np.full(m, dose), control_kl=np.full(m, kl))

    return look


@pytest.mark.parametrize(("dose", "kl"), [(0.0, 0.0), (0.3, 0.01), (1.0, math.nan)])
def test_controls_that_were_hardly_applied_are_not_beaten(dose, kl):
    found = measured(carrier_layer, made_evidence(examined=unapplied(dose, kl)))
    assert "20 of 20 KL-matched controls do" in stopped(found, "uninducible-carrier")
    assert found.detail["examined"]["p"] == 1.0


def test_controls_that_disturb_less_at_the_greatest_dose_are_controls():
    assert measured(carrier_layer, made_evidence(examined=unapplied(4.0, 0.01))).flags == ()


# --- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_carrier_that_beats_its_controls_is_free_of_flags(rule):
    found = measured(carrier_layer, made_evidence(), rule=rule)
    assert (found.estimate, found.flags) == (2, ())
    shown = found.detail["examined"]
    assert shown["p"] == pytest.approx(1 / 21, rel=1e-5)
    assert shown["controls"]["n"] == len(shown["controls"]["s_refuse_scaled"]) == 20
    assert shown["controls"]["s_refuse_scaled"][-1] == pytest.approx(0.3, rel=1e-5)
    assert shown["target"]["s_refuse_scaled"] == pytest.approx(0.99, abs=0.02)
    assert shown["target"]["induce"] == pytest.approx(GOOD.induce)


def controls(**changes: Any):
    """A closer look whose parts are changed by functions."""

    def look(table: SearchTable, place: tuple[int, int]) -> Examined:
        found = beaten_controls(table, place)
        return dataclasses.replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

    return look


@pytest.mark.parametrize("rule", RULES)
def test_a_direction_that_controls_match_is_uninducible(rule):
    """One of twenty controls moves harmless prompts as far: p = 2/21."""
    matched = made_evidence(examined=controls(control_s_refuse=lambda values: np.append(values[:-1], 0.9999)))
    sentence = stopped(measured(carrier_layer, matched, rule=rule), "uninducible-carrier")
    assert "than 1 of 20 KL-matched controls do (p = 0.095)" in sentence
    assert ";" not in sentence, "no other reason applies"


def test_a_control_without_a_number_counts_as_doing_as_much():
    broken = made_evidence(examined=controls(control_s_refuse=lambda values: np.append(values[:-1], math.nan)))
    found = measured(carrier_layer, broken)
    assert "than 1 of 20" in stopped(found, "uninducible-carrier")
    assert found.detail["examined"]["controls"]["s_refuse_scaled"][-1] is None


def test_too_few_controls_can_never_show_anything():
    few = made_evidence(examined=lambda table, place: beaten_controls(table, place, m=18))
    found = measured(carrier_layer, few)
    assert "too few controls: 18 KL-matched directions, 19 are needed" in stopped(found, "uninducible-carrier")
    enough = made_evidence(examined=lambda table, place: beaten_controls(table, place, m=19))
    assert measured(carrier_layer, enough).flags == ()


def test_without_controls_there_is_no_carrier():
    none = made_evidence(examined=NothingToMeasure("activations are NaN"))
    found = measured(carrier_layer, none)
    assert "not compared with controls (activations are NaN)" in stopped(found, "uninducible-carrier")
    assert found.detail["examined"] is None
    other = made_evidence(examined=lambda table, _: beaten_controls(table, (-2, 1)))
    assert "those of another direction" in stopped(measured(carrier_layer, other), "uninducible-carrier")


# --- doing nothing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"induce": -2.0}, "refusing is still not the likelier answer (refusal score -2.0 nats)"),
        ({"induce": -7.5}, "does not raise the refusal score of harmless prompts"),
    ],
)
def test_adding_it_must_raise_the_refusal_score_and_make_refusal_likely(change, words):
    dull = made_table({CARRIER: dataclasses.replace(GOOD, **change)})
    assert words in stopped(measured(carrier_layer, made_evidence(dull)), "uninducible-carrier")


def test_an_edit_that_moves_nothing_is_no_carrier_even_if_its_controls_do_worse():
    idle = made_table({CARRIER: dataclasses.replace(GOOD, toward=0.0)})
    worse = controls(control_s_refuse=lambda values: values * 0 - 0.5)
    found = measured(carrier_layer, made_evidence(idle, examined=worse), rule="arditi")
    assert found.detail["examined"]["p"] < 0.05
    assert "no nearer to harmful ones than doing nothing (S_refuse ≤ c₀)" in stopped(found, "uninducible-carrier")


@pytest.mark.parametrize("preset", ["paper", "cosmic"])
def test_the_raw_score_never_yields_a_trusted_carrier_at_2c0(preset):
    """An edit that does nothing scores 2c₀ and wins by the published score; nothing else tells that it does nothing."""
    table = made_table({CARRIER: dataclasses.replace(GOOD, away=0.0, toward=0.0)}, everywhere=bad(), apart=0.3)
    raw = measured(carrier_layer, made_evidence(table), preset=preset, peaks=False)
    assert raw.detail["used"] == "carrier"
    assert raw.detail["raw_total"] <= raw.detail["idle_total"] + 1e-6
    assert raw.detail["idle_total"] == pytest.approx(2 * raw.detail["c0"], rel=1e-5)
    assert "is not above 2c₀" in stopped(raw, "uninducible-carrier")
    with pytest.raises(NothingToMeasure):
        measured(carrier_layer, made_evidence(table))


def bad() -> Planted:
    """Moves prompts the wrong way: below c₀ on both sides."""
    return Planted(toward=-0.5, away=-0.5)


def test_a_total_below_2c0_is_stopped_though_it_induces():
    """The measured case: adding works, ablating moves harmful prompts away, 1.57 where nothing scores 1.73."""
    table = made_table({CARRIER: dataclasses.replace(GOOD, away=-1.5)}, everywhere=Planted(kl=0.5))
    found = measured(carrier_layer, made_evidence(table), raw=True)
    sentence = stopped(found, "uninducible-carrier")
    assert sentence.startswith("its total")
    assert ";" not in sentence
    by_s_tilde = measured(carrier_layer, made_evidence(table))
    assert by_s_tilde.flags == (), "the default rule asks S_refuse alone for more than nothing"
    assert by_s_tilde.detail["raw_total"] < by_s_tilde.detail["idle_total"], "and shows both"


# --- null and sink ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_direction_of_no_norm_is_stopped_where_a_search_lets_it_through(rule):
    table = made_table({CARRIER: dataclasses.replace(GOOD, away=0.3), (-1, 0): dataclasses.replace(GOOD, bypass=-9)})
    index = [(row.position, row.layer) for row in table.candidates].index((-1, 0))
    norm = list(table.norm)
    plain = measured(carrier_layer, made_evidence(table), rule=rule)
    assert (plain.estimate, plain.flags) == (0, ())
    norm[index] = 1e-6
    found = measured(carrier_layer, made_evidence(dataclasses.replace(table, norm=tuple(norm))), rule=rule)
    assert "position -1, layer 0 has norm 1e-06" in stopped(found, "null-direction")


def test_null_candidates_are_never_chosen_and_said_where_there_are_no_others():
    null = dataclasses.replace(IDLE, excluded="null")
    table = made_table({CARRIER: null}, everywhere=null)
    for preset in ("geoaudit", "paper", "arditi"):
        with pytest.raises(NothingToMeasure, match="null-direction: every difference in means is rounding") as error:
            measured(carrier_layer, made_evidence(table), preset=preset)
        assert error.value.detail["frontier"] == []
        json.dumps(error.value.detail, allow_nan=False)


def scoped(with_it: float, without: float):
    def look(table: SearchTable, place: tuple[int, int]) -> Examined:
        found = beaten_controls(table, place)
        bypass = np.zeros(N)
        scopes = {
            "every_site": Scope(np.full(N, with_it), bypass),
            "every_site_but_first_token": Scope(np.full(N, without), bypass),
        }
        return dataclasses.replace(found, scopes=scopes)

    return look


@pytest.mark.parametrize(
    ("with_it", "without", "noted"),
    [(0.30, 0.08, True), (0.30, 0.151, False), (0.08, 0.30, True), (0.008, 0.001, False), (0.3, 0.0, True)],
)
def test_kl_that_comes_from_the_first_token_is_a_note(with_it, without, noted):
    found = measured(carrier_layer, made_evidence(examined=scoped(with_it, without)))
    assert [(flag.name, flag.effect) for flag in found.flags] == ([("sink-driven", "note")] if noted else [])
    if noted:
        assert f"from {with_it:.2f} to {without:.2f} nats" in found.flags[0].sentence
    assert decide("equals", (2.0,), found, by="interval").outcome == "passed"
    scope = found.detail["examined"]["scopes"]["every_site"]
    assert scope["kl"] == scope["kl_low"] == scope["kl_high"] == pytest.approx(with_it)


# --- filtered sets ---------------------------------------------------------------------------------------------------


def kept(h: int, s: int) -> list[bool]:
    return [i < h for i in range(N)] + [i < s for i in range(N)]


@pytest.mark.parametrize(("h", "s"), [(19, 24), (24, 19), (5, 7)])
def test_few_prompts_after_a_filter_are_no_evidence(h, s):
    table = made_table(h=h, s=s, kept=kept(h, s))
    found = measured(carrier_layer, made_evidence(table), preset="arditi", n_validation=N)
    assert found.detail["kept"] == {"asked": 48, "harmful": h, "harmless": s}
    assert f"keeps {h} harmful and {s} harmless of 48" in stopped(found, "few-kept-prompts")


def test_twenty_kept_prompts_of_a_kind_are_enough():
    table = made_table(h=20, s=21, kept=kept(20, 21))
    found = measured(carrier_layer, made_evidence(table), preset="arditi", n_validation=N)
    assert (found.estimate, found.flags, found.n) == (2, (), 41)
    assert found.parameters["n_validation"] == N
    norm = measured(carrier_norm, made_evidence(table), preset="arditi", n_validation=N)
    assert (norm.estimate, norm.low) == (3.0, None)
    assert "filtered prompts are not kept" in norm.interval


@pytest.mark.parametrize(("h", "s"), [(0, 24), (1, 24), (24, 1), (0, 0)])
def test_next_to_no_kept_prompts_are_said_and_not_computed_on(h, s):
    table = made_table(h=h, s=s, kept=kept(h, s))
    with pytest.raises(NothingToMeasure, match=f"few-kept-prompts: .* keeps {h} harmful and {s} harmless"):
        measured(carrier_layer, made_evidence(table), preset="arditi", n_validation=N)


def test_filtered_prompts_are_matched_with_their_own_answers():
    """The prompts that the filter dropped are those whose answers the score does not match."""
    which = [i % 6 != 0 for i in range(N)] + [True] * N
    table = made_table(h=20, s=N, kept=which)
    wrong = made_evidence(table, refuses=lambda index: REFUSAL if index % 6 else ANSWER)
    found = measured(carrier_layer, wrong, preset="arditi", n_validation=N)
    assert (found.flags, found.detail["refusal_score_auroc"]) == ((), 1.0)


# --- the refusal score -----------------------------------------------------------------------------------------------


def test_a_refusal_score_that_the_judge_does_not_confirm_stops_the_verdict():
    found = measured(carrier_layer, made_evidence(refuses=lambda index: REFUSAL if index % 2 else ANSWER))
    assert "AUROC 0.8" in stopped(found, "refusal-score-uncalibrated")
    none = measured(carrier_layer, made_evidence(refuses=lambda index: ANSWER))
    assert "refuses none of the 48 validation prompts" in stopped(none, "refusal-score-uncalibrated")


def test_every_reason_is_said_together():
    found = measured(
        carrier_score,
        made_evidence(made_table({CARRIER: dataclasses.replace(GOOD, induce=-8.0)}), refuses=lambda index: ANSWER),
    )
    assert [flag.name for flag in found.flags] == ["refusal-score-uncalibrated", "uninducible-carrier"]
    assert found.flags[1].sentence.count(";") == 1

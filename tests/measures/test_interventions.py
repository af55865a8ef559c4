"""Sensitivity to interventions: the planted effect beyond controls, and the ways in which an effect is none."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from geoaudit.audit.decide import decide
from geoaudit.audit.plan import resolve
from geoaudit.audit.profiles import get as profile
from geoaudit.carriers.effects import ControlEffects, Effects
from geoaudit.errors import GeoauditError, NothingToMeasure
from geoaudit.measures.carrier_needs import search_of
from geoaudit.measures.causal_matrix import causal_matrix
from geoaudit.measures.dose_response import dose_response
from geoaudit.measures.inputs import Source
from geoaudit.measures.intervention_needs import (
    CELLS,
    DOSES,
    for_intervention,
    intervention_of,
    least_controls,
    problem,
)
from geoaudit.measures.interventions import SIDES, intervention_sensitivity
from geoaudit.measures.needs import Intervention
from geoaudit.measures.table import get
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from geoaudit.stats.randomisation import controls_needed
from tests.measures.benches import SHARED, evidence_of, never, open_bench
from tests.measures.carriers import PARAMETERS, made_evidence

N, M = 40, 39
GIVEN = {
    **PARAMETERS,
    "rule": "arditi",
    "kl_budget": 0.1,
    "contrast": "harmful",
    "target": "R",
    "operator": "ablate",
    "scope": "every_site",
    "dose": 1.0,
    "k": 3,
    "source": Source("harmful"),
    "n_held_out": N,
    "n_controls": M,
    "beats_controls": 0.95,
    "expects": "lower",
}


def made(
    effect: float = -6.0,
    control: float = -0.5,
    *,
    m: int = M,
    kl: float = 0.08,
    spread: float = 0.3,
    noise: float = 0.5,
    control_kl: float | None = None,
    seed: int = 0,
) -> Effects:
    """A target that moves the refusal score by `effect`, and controls that move it by about `control`."""
    generator = np.random.default_rng(seed)
    base = 5 + generator.normal(size=N)
    means = control + spread * generator.normal(size=(m, 1))
    matched = ControlEffects(
        np.full(m, 1.5),
        np.full(m, 0.95 * kl if control_kl is None else control_kl),
        base + means + noise * generator.normal(size=(m, N)),
    )
    random = ControlEffects(np.ones(8), np.full(8, 0.01), base + 0.1 * generator.normal(size=(8, N)))
    return Effects(
        base=base,
        target=base + effect + noise * generator.normal(size=N),
        kl=np.full(16, kl),
        controls={"kl_matched": matched, "random": random},
        layer=2,
        position=-1,
        inputs={"harmful": load("harmful").first(N).sha256},
    )


def sensitivity(effects: Effects, **parameters) -> Measurement:
    return intervention_sensitivity({**GIVEN, **parameters}, made_evidence(effects=effects))


def stopped(found: Measurement) -> list[str]:
    return [flag.name for flag in found.flags if flag.effect == "stops"]


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [-6.0, -1.5, 2.0])
def test_the_planted_effect_beyond_controls_is_found(effect):
    found = sensitivity(made(effect, 0.0), expects="either")
    assert found.low < effect < found.high
    assert found.estimate == pytest.approx(effect, abs=0.25)
    assert stopped(found) == []
    assert (found.n, found.unit) == (N, "nats of refusal score, beyond controls")
    assert found.detail["p"] == pytest.approx(2 / (M + 1))
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert found == sensitivity(made(effect, 0.0), expects="either"), "the seed is fixed"


def test_what_controls_do_is_taken_off():
    alone, beside = sensitivity(made(-6.0, 0.0)), sensitivity(made(-6.0, -2.0))
    assert beside.estimate - alone.estimate == pytest.approx(2.0, abs=0.2)
    assert beside.detail["effect"] == pytest.approx(alone.detail["effect"], abs=0.3)


@pytest.mark.parametrize("expects", ["lower", "either"])
def test_no_effect_does_not_pass(expects):
    found = sensitivity(made(0.0, 0.0), expects=expects)
    assert "within-controls" in stopped(found)
    small = dataclasses.replace(found, estimate=-0.2, low=-0.3, high=-0.1)
    assert decide("at_most", (-0.05,), small, by="interval").outcome == "invalid"
    assert decide("at_most", (-0.05,), dataclasses.replace(small, flags=()), by="interval").outcome == "passed"
    assert decide("at_most", (1.0,), found, by="interval").outcome == "passed", "that there is none may be claimed"


def test_two_that_hardly_move_are_not_damage_and_one_that_moves_is():
    """Signs of what is within its own uncertainty mean nothing; a target beside controls that fall far does."""
    assert "intervention-damage" not in stopped(sensitivity(made(-0.02, -0.02)))
    reads = [sensitivity(made(0.0, -3.0, seed=seed), expects="higher") for seed in range(12)]
    assert all(found.estimate > 2 for found in reads), "the naive number: nothing happened, and controls fell"
    assert {found.detail["effect"] > 0 for found in reads} == {True, False}
    assert all("intervention-damage" in stopped(found) for found in reads)


def test_an_effect_the_other_way_does_not_pass():
    assert "within-controls" in stopped(sensitivity(made(+6.0, 0.0), expects="lower"))
    assert stopped(sensitivity(made(+6.0, 0.0), expects="higher")) == []


# --- what is no effect -----------------------------------------------------------------------------------------------


def test_a_fragile_layer_where_any_direction_does_as_much_is_stopped():
    found = sensitivity(made(-6.0, -5.5, spread=1.0))
    assert {"within-controls", "intervention-damage"} <= set(stopped(found))


def test_target_and_controls_that_move_alike_are_damage_even_where_the_target_beats_them_all():
    found = sensitivity(made(-6.0, -4.0, spread=0.1))
    assert stopped(found) == ["intervention-damage"]
    assert "the same way" in next(flag.sentence for flag in found.flags)
    bare = dataclasses.replace(found, flags=())
    assert decide("at_most", (-1.0,), bare, by="interval").outcome == "passed", "the naive number passes"
    assert decide("at_most", (-1.0,), found, by="interval").outcome == "invalid"


def test_a_target_that_is_only_less_damaged_than_its_controls_is_no_effect():
    """Refusal rises beyond controls, and still falls: every edit broke the model, this one least."""
    found = sensitivity(made(-1.0, -4.0, spread=0.1), expects="higher")
    assert found.low > 2
    assert stopped(found) == ["intervention-damage"]
    assert "only less damaged" in next(flag.sentence for flag in found.flags)


def test_an_edit_that_breaks_harmless_answers_is_damage():
    assert stopped(sensitivity(made(-6.0, 0.0, kl=1.5))) == ["intervention-damage"]
    assert stopped(sensitivity(made(-6.0, 0.0, kl=0.9))) == []


def test_controls_that_were_hardly_applied_do_not_count():
    """They leave the model alone, so that any effect beats them."""
    with pytest.raises(NothingToMeasure, match="uncontrolled"):
        sensitivity(made(-6.0, 0.0, control_kl=0.001))
    some = made(-6.0, 0.0)
    kl = some.controls["kl_matched"].kl.copy()
    kl[:30] = 0.001
    matched = dataclasses.replace(some.controls["kl_matched"], kl=kl)
    found = sensitivity(dataclasses.replace(some, controls={"kl_matched": matched}))
    assert set(stopped(found)) == {"uncontrolled", "within-controls"}


@pytest.mark.parametrize("part", ["base", "target", "kl"])
def test_scores_that_are_no_numbers_are_no_effect(part):
    effects = made()
    values = getattr(effects, part).copy()
    values[3] = np.nan
    with pytest.raises(NothingToMeasure, match="not finite"):
        sensitivity(dataclasses.replace(effects, **{part: values}))


def test_a_control_without_numbers_counts_as_doing_as_much():
    effects = made()
    scores = effects.controls["kl_matched"].scores.copy()
    scores[:3] = np.nan
    broken = dataclasses.replace(effects.controls["kl_matched"], scores=scores)
    found = sensitivity(dataclasses.replace(effects, controls={"kl_matched": broken}))
    assert found.detail["p"] == pytest.approx(4 / (M + 1))
    assert "within-controls" in stopped(found)
    assert np.isfinite(found.estimate)


def test_scored_prompts_of_the_training_set_stop_the_verdict():
    seen = [prompt.sha256 for prompt in load("harmful").first(4).prompts]
    found = intervention_sensitivity(GIVEN, made_evidence(effects=made(), trained_on=seen))
    assert stopped(found) == ["train-eval-overlap"]


# --- several at once -------------------------------------------------------------------------------------------------

MATRIX = {name: GIVEN[name] for name in GIVEN if name not in ("target", "operator", "scope", "source", "k", "expects")}


def matrix(effect_of, cell: str, controls_of=lambda cell: 0.0) -> Measurement:
    """A causal matrix whose cells have these effects."""

    def effects(need: Intervention) -> Effects:
        name = f"{need.operator} {need.target}"
        made_up = made(effect_of(name), controls_of(name), seed=list(CELLS).index(name))
        return dataclasses.replace(made_up, inputs={need.source.name: load(need.source.name).first(N).sha256})

    return causal_matrix({**MATRIX, "cell": cell}, made_evidence(effects=effects))


def test_a_cell_of_the_matrix_is_its_effect_and_its_p_value_counts_all():
    found = matrix(lambda cell: -6.0 if cell == "ablate R" else 0.1, "ablate R")
    assert found.estimate == pytest.approx(-6.0, abs=0.3)
    assert stopped(found) == []
    rows = {f"{row['operator']} {row['target']}": row for row in found.detail["edits"]}
    assert set(rows) == set(CELLS)
    assert rows["ablate R"]["p"] == pytest.approx(1 / (M + 1))
    assert all(row["p"] >= row["p_alone"] for row in rows.values())
    assert all(row["p"] > 0.05 for name, row in rows.items() if name != "ablate R")


def test_one_of_ten_that_looks_strong_alone_is_not_when_all_are_counted():
    """Beyond all but one of 39 controls: p = 2/40 alone, and by chance in one of ten cells."""
    effect = -0.3 * 1.9
    found = matrix(lambda cell: effect if cell == "add H" else 0.0, "add H")
    assert found.detail["p_alone"] <= 0.1
    assert found.detail["p"] > found.detail["p_alone"]
    assert stopped(found) == ["within-controls"]


def test_a_matrix_needs_as_many_controls_as_one_tail_does():
    """39 controls of which one was hardly applied: enough for a cell, too few for a two-sided effect alone."""

    def effects(need: Intervention) -> Effects:
        found = made(-6.0, 0.0)
        matched = found.controls["kl_matched"]
        weak = dataclasses.replace(matched, kl=np.append(matched.kl[:-1], 0.0001))
        return dataclasses.replace(found, controls={**found.controls, "kl_matched": weak})

    found = causal_matrix({**MATRIX, "cell": "ablate R"}, made_evidence(effects=effects))
    assert "uncontrolled" not in stopped(found)
    assert "uncontrolled" in stopped(sensitivity(effects(None), expects="either"))


def test_a_cell_without_controls_is_missing_and_takes_no_part():
    def effects(need: Intervention) -> Effects:
        weak = need.target == "H"
        return made(-6.0, 0.0, control_kl=0.0001 if weak else None)

    evidence = made_evidence(effects=effects)
    found = causal_matrix({**MATRIX, "cell": "ablate R"}, evidence)
    missing = [row for row in found.detail["edits"] if "missing" in row]
    assert {row["target"] for row in missing} == {"H"}
    with pytest.raises(NothingToMeasure, match="uncontrolled"):
        causal_matrix({**MATRIX, "cell": "ablate H"}, evidence)


def sweep(effect_of, kl_of=lambda dose: 0.05) -> Measurement:
    given = {name: value for name, value in GIVEN.items() if name not in ("dose", "expects")}
    return dose_response(
        given, made_evidence(effects=lambda need: made(effect_of(need.dose), 0.0, kl=kl_of(need.dose), noise=0.2))
    )


def test_a_score_that_falls_with_the_dose_has_a_trend_of_minus_one():
    found = sweep(lambda dose: -2.0 * dose)
    assert found.estimate < -0.95
    assert found.high < -0.7
    assert stopped(found) == []
    assert [row["dose"] for row in found.detail["curve"]] == list(DOSES)
    assert found.detail["damaged_from"] is None
    assert sweep(lambda dose: 2.0 * dose).estimate > 0.95


def test_a_flat_response_has_no_trend_and_is_stopped():
    found = sweep(lambda dose: 0.0)
    assert found.low < 0 < found.high
    assert stopped(found) == ["within-controls"]


def test_doses_that_break_the_model_take_no_part_in_the_trend():
    """It falls to λ = 1; beyond, the model is broken and the score shoots up."""
    found = sweep(lambda dose: -2.0 * dose if abs(dose) <= 1 else 9.0, lambda dose: 0.05 if abs(dose) <= 1 else 3.0)
    assert found.estimate < -0.9
    assert abs(found.detail["damaged_from"]) == 2.0
    with pytest.raises(NothingToMeasure, match="intervention-damage"):
        sweep(lambda dose: -2.0 * dose, lambda dose: 3.0)


# --- before anything runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beats", "expects", "least"),
    [(0.95, "lower", 19), (0.95, "either", 39), (0.99, "higher", 99), (0.99, "either", 199)],
)
def test_too_few_controls_for_the_level_are_said_before_the_run(beats, expects, least):
    assert least_controls(beats, expects) == least
    given = {**GIVEN, "beats_controls": beats, "expects": expects}
    assert problem({**given, "n_controls": least}) is None
    assert f"n_controls: {least}" in problem({**given, "n_controls": least - 1})
    assert least == controls_needed(1 - beats, SIDES[expects])
    # and with so many, an effect that beats all of them is enough
    effects = made(6.0 if expects == "higher" else -6.0, 0.0, m=least)
    assert stopped(sensitivity(effects, **{**given, "n_controls": least})) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"operator": "add", "scope": "every_site"}, "scope: single_layer"),
        ({"operator": "add", "scope": "single_layer", "target": "subspace"}, "name a direction"),
        ({"dose": 0.0}, "no intervention"),
        ({"n_controls": 5}, "underpowered"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(given, said):
    with pytest.raises(GeoauditError, match=said):
        resolve(get("intervention_sensitivity"), given, profile("smoke"))


def test_an_addition_is_at_its_layer_where_nothing_else_is_said():
    assert resolve(get("intervention_sensitivity"), {"operator": "add"}, profile("smoke"))["scope"] == "single_layer"
    assert resolve(get("intervention_sensitivity"), {}, profile("smoke"))["scope"] == "every_site"


def test_h_asks_for_the_layer_at_which_it_separates():
    for target, more in (("R", 0), ("H", 1), ("H_perp_R", 1)):
        needs = for_intervention({**GIVEN, "target": target})
        assert len(needs) == len(set(needs))
        assert len(needs) == len(for_intervention(GIVEN)) + more
        assert isinstance(needs[-1], Intervention)


# --- planted models --------------------------------------------------------------------------------------------------

SMALL = {**GIVEN, "n_train": 32, "n_validation": 8, "n_held_out": 24, "n_controls": 19}


@pytest.fixture(scope="module")
def bench(planted):
    return open_bench(planted(layer=2, position=-1), SHARED)


def test_ablating_the_planted_carrier_lowers_refusal_and_controls_do_not(bench):
    found = intervention_sensitivity(SMALL, evidence_of(bench))
    assert stopped(found) == [], found.flags
    assert found.high < -5
    assert abs(found.detail["control_mean"]) < 0.2 * abs(found.detail["effect"])
    assert (found.detail["layer"], found.detail["position"]) == (2, -1)
    assert found.detail["p"] == pytest.approx(1 / 20)


def test_adding_it_makes_harmless_prompts_refused(bench):
    adding = {"operator": "add", "scope": "single_layer", "source": Source("benign-utility"), "expects": "higher"}
    found = intervention_sensitivity({**SMALL, **adding}, evidence_of(bench))
    assert found.low > 5
    assert "within-controls" not in stopped(found)


def test_a_single_layer_is_enough_for_a_carrier_that_is_written_below_it(bench):
    one = intervention_sensitivity({**SMALL, "scope": "single_layer"}, evidence_of(bench))
    assert one.high < -5
    assert stopped(one) == []


def test_half_a_dose_does_less(bench):
    half = intervention_sensitivity({**SMALL, "dose": 0.5}, evidence_of(bench))
    whole = intervention_sensitivity(SMALL, evidence_of(bench))
    assert whole.detail["effect"] < half.detail["effect"] < 0


@pytest.mark.parametrize("target", ["H", "H+R", "H_perp_R", "R_perp_H", "subspace"])
def test_every_target_can_be_edited(bench, target):
    found = intervention_sensitivity(
        {**SMALL, "target": target, "expects": "either", "beats_controls": 0.9}, evidence_of(bench)
    )
    assert np.isfinite(found.estimate)
    if target in ("H+R", "R_perp_H", "subspace"):
        assert found.high < -5, "R is in it"
    assert ("wrong_layer" in found.detail["controls"]) is False


def test_the_profile_of_other_places_is_no_control(bench):
    controls = intervention_sensitivity(SMALL, evidence_of(bench)).detail["controls"]
    assert set(controls) == {"kl_matched", "norm_matched", "random", "wrong_layer", "wrong_position"}
    assert controls["kl_matched"]["n"] == 19


def test_what_is_stored_is_read_without_the_model(planted, bench):
    found = intervention_sensitivity(SMALL, evidence_of(bench))
    again = open_bench(planted(layer=2, position=-1), SHARED, open_model=never)
    assert intervention_sensitivity(SMALL, evidence_of(again)) == found


def test_without_a_carrier_there_is_nothing_to_edit(planted):
    bare = open_bench(planted(layer=2, position=-1, refuses=False), SHARED)
    with pytest.raises(NothingToMeasure):
        intervention_sensitivity(SMALL, evidence_of(bare))


def test_the_need_names_the_search_that_the_carrier_comes_from():
    need = intervention_of(GIVEN)
    assert need.search == search_of({name: GIVEN[name] for name in ("rule", "kl_budget", "n_train", "n_validation")})

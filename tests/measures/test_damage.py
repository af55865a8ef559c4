"""Damage of an intervention: what a first token does not show, on a planted model and on made-up numbers."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure
from geoaudit.measures import damage as module
from geoaudit.measures import damaging
from geoaudit.measures.damage import DAMAGE_ANSWERS_KL, MORE_BROKEN, Harm
from geoaudit.measures.dose_response import dose_response
from geoaudit.measures.fulfilled import Damaged
from geoaudit.measures.inputs import File
from geoaudit.measures.intervention_needs import damage_of, for_matrix, for_sensitivity, for_sweep, intervention_of
from geoaudit.measures.interventions import intervention_sensitivity
from geoaudit.measures.needs import DAMAGE_READ_ON, Damage
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from tests.measures.benches import SHARED, Killed, MemoryRows, evidence_of, never, open_bench
from tests.measures.carriers import made_evidence
from tests.measures.damages import made_damage
from tests.measures.test_interventions import GIVEN, MATRIX, SMALL, N, made, stopped

NEED = Damage(intervention_of(GIVEN), written=True)


def harm(damage, need: Damage = NEED) -> Harm:
    return Harm.of(need, made_evidence(damage=damage))


def sensitivity(damage, **parameters) -> Measurement:
    return intervention_sensitivity({**GIVEN, **parameters}, made_evidence(effects=made(-6.0, 0.0), damage=damage))


# --- made-up numbers -------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.floats(0.01, 0.9), st.floats(0.0, 0.9), st.integers(0, 50))
def test_the_planted_kl_and_perplexity_are_found(kl, rise, seed):
    found = harm(made_damage(kl, rise, loss=0.4, control_kl=0.2, seed=seed)).detail
    assert found["kl"] == pytest.approx(kl, rel=1e-4)
    assert found["kl_low"] <= kl * (1 + 1e-4)
    assert found["kl_high"] >= kl * (1 - 1e-4)
    assert found["perplexity_unedited"] == pytest.approx(math.exp(0.4), rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(0.4 + rise), rel=1e-4)
    assert found["factor"] == pytest.approx(math.exp(rise), rel=1e-4)
    assert found["control_kl"] == pytest.approx([0.2] * 8, rel=1e-4)
    assert found["control_perplexity"] == pytest.approx([math.exp(0.6)] * 8, rel=1e-4)


def test_an_edit_that_leaves_answers_alone_is_no_damage():
    found = sensitivity(made_damage())
    assert stopped(found) == []
    assert found.detail["damage"]["answers"] == 14
    assert (found.detail["damage"]["asked"], found.detail["damage"]["tokens"]) == (DAMAGE_READ_ON, 30)
    assert load("benign-utility").first(DAMAGE_READ_ON).sha256 == found.inputs["benign-utility"]
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (made_damage(kl=1.2), "1.20 nats on average over the first 30 tokens"),
        (made_damage(rise=1.5), "4.5 times as great"),
        (made_damage(broken=(1, 5, 1, 1, 0, 1)), "16 answers to everyday requests 5 are none under it, 1 without"),
    ],
    ids=["kl", "perplexity", "degenerate"],
)
def test_an_edit_that_breaks_answers_behind_their_first_token_is_stopped(damage, said):
    """Its effect, its controls and the KL of the first token are all in order: the naive number passes."""
    found = sensitivity(damage)
    assert stopped(found) == ["intervention-damage"]
    assert said in next(flag.sentence for flag in found.flags)
    naive = dataclasses.replace(found, flags=())
    assert decide("at_most", (-1.0,), naive, by="interval").outcome == "passed"
    assert decide("at_most", (-1.0,), found, by="interval").outcome == "invalid"


@pytest.mark.parametrize("least", [False, True])
def test_the_limits_are_where_they_are_said_to_be(least):
    beyond = 1.01 if least else 0.99
    most = int(MORE_BROKEN * DAMAGE_READ_ON) + least
    for damage in (
        made_damage(kl=beyond * DAMAGE_ANSWERS_KL),
        made_damage(rise=beyond * DAMAGE_ANSWERS_KL),
        made_damage(broken=(3, 3 + most)),
    ):
        assert bool(harm(damage).reasons) == least


@pytest.mark.parametrize(
    ("kl", "noted"), [(0.3, True), (0.21, True), (0.19, False), (0.05, False)], ids=["far", "beyond", "within", "below"]
)
def test_controls_that_match_the_first_token_only_are_a_note_beside_the_value(kl, noted):
    found = sensitivity(made_damage(kl, control_kl=0.1))
    assert stopped(found) == []
    assert [flag.name for flag in found.flags if flag.effect == "note"] == ["intervention-damage"] * noted
    assert decide("at_most", (-1.0,), found, by="interval").outcome == "passed"


def test_one_control_that_disturbs_as_much_is_enough_for_no_note():
    whole = made_damage(0.3, control_kl=0.1)
    kl = whole.kl.copy()
    kl[1] = kl[0] * 1.01
    assert harm(dataclasses.replace(whole, kl=kl)).notes == []
    assert harm(whole).notes


def test_answers_that_were_broken_before_are_not_the_edits_doing():
    assert harm(made_damage(broken=(9, 9, 9, 9, 9, 9))).reasons == []
    assert harm(made_damage(broken=(9, 2, 9, 9, 9, 9))).reasons == []


@pytest.mark.parametrize("part", ["kl", "loss"])
def test_numbers_that_are_none_are_damage(part):
    whole = made_damage()
    values = getattr(whole, part).copy()
    values[-9, 2, 3] = np.nan  # of the target
    found = harm(dataclasses.replace(whole, **{part: values}))
    assert found.reasons == ["under it the model gives no numbers on its own answers"]
    assert found.kl == math.inf if part == "kl" else found.kl < 1
    json.dumps(found.detail, allow_nan=False)


def test_a_control_without_numbers_is_shown_without_one():
    whole = made_damage()
    kl = whole.kl.copy()
    kl[3] = np.nan
    found = harm(dataclasses.replace(whole, kl=kl))
    assert found.reasons == []
    assert found.detail["control_kl"][2] is None
    assert sum(value is None for value in found.detail["control_kl"]) == 1


def test_damage_that_was_not_read_stops_the_verdict():
    """Missing is not zero."""
    found = sensitivity(NothingToMeasure("the unedited model answers 2 of 16 everyday requests"))
    assert stopped(found) == ["intervention-damage"]
    assert found.detail["damage"] == {"missing": "the unedited model answers 2 of 16 everyday requests"}
    assert decide("at_most", (-1.0,), found, by="interval").outcome == "invalid"


def test_without_controls_only_the_target_is_read():
    found = harm(made_damage(m=0, broken=(0, 0)))
    assert found.reasons == []
    assert found.detail["control_kl"] == found.detail["control_broken"] == []


# --- doses -----------------------------------------------------------------------------------------------------------


def sweep(damage) -> Measurement:
    given = {name: value for name, value in GIVEN.items() if name not in ("dose", "expects")}
    evidence = made_evidence(effects=lambda need: made(-2.0 * need.dose, 0.0, kl=0.05, noise=0.2), damage=damage)
    return dose_response(given, evidence)


def test_a_dose_that_breaks_answers_takes_no_part_in_the_trend():
    """At every dose the first token is in order."""
    found = sweep(lambda need: made_damage(1.5 if need.intervention.dose >= 2 else 0.1, broken=None))
    assert found.detail["damaged_from"] == 2.0
    assert found.detail["damage_answers_kl"] == DAMAGE_ANSWERS_KL
    rows = {row["dose"]: row for row in found.detail["curve"]}
    assert rows[2.0]["answers_kl"] == pytest.approx(1.5, rel=1e-4)
    assert len(rows[1.0]["answers_control_kl"]) == 8
    assert rows[1.0]["answers_perplexity"] == pytest.approx(math.exp(0.35), rel=1e-4)
    assert sweep(lambda need: made_damage(broken=None)).detail["damaged_from"] is None
    with pytest.raises(NothingToMeasure, match="0 leave harmless prompts alone"):
        sweep(made_damage(1.5, broken=None))


def test_a_sweep_whose_damage_was_not_read_has_no_trend():
    with pytest.raises(NothingToMeasure, match="beside 0; the unedited model answers none"):
        sweep(NothingToMeasure("the unedited model answers none"))


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_answers_are_written_where_one_edit_is_looked_at_and_not_at_every_dose():
    def asked(needs) -> list[Damage]:
        return [need for need in needs if isinstance(need, Damage)]

    (one,) = asked(for_sensitivity(GIVEN))
    assert one == NEED
    (of_cell,) = asked(for_matrix({**MATRIX, "cell": "add H", "n_controls": 39}))
    assert (of_cell.intervention.target, of_cell.intervention.operator, of_cell.written) == ("H", "add", True)
    swept = asked(for_sweep({**GIVEN, "n_controls": 19}))
    assert len(swept) == 8
    assert not any(need.written for need in swept)
    assert len({need.answers for need in (one, of_cell, *swept)}) == 1


def test_where_the_kl_itself_is_read_no_damage_is():
    assert damage_of({**GIVEN, "outcome": "harmless_kl", "controls": "random"}, written=True) == ()


# --- a planted model -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(planted):
    return open_bench(planted(layer=2, position=-1), SHARED)


def ending(bench) -> torch.Tensor:
    """The axis by which the planted model ends its answers; no token of a prompt has any of it."""
    loaded = bench.loaded
    head = loaded.causal_lm.get_output_embeddings().weight[loaded.tokenizer.eos_token_id]
    return (head / head.norm()).detach()


@pytest.fixture(scope="module")
def both(planted, bench, tmp_path_factory) -> dict:
    """The refusal axis and that one, as a subspace of the user's."""
    file = tmp_path_factory.mktemp("stored") / "both.safetensors"
    save_file({"rows": torch.stack([planted(layer=2, position=-1).direction, ending(bench)])}, file)
    return {**SMALL, "target": "stored", "file": File(str(file)), "layer": -1}


def test_ablating_the_planted_carrier_leaves_answers_alone(bench):
    found = intervention_sensitivity(SMALL, evidence_of(bench))
    assert stopped(found) == [], found.flags
    damage = found.detail["damage"]
    assert damage["kl"] < 0.3
    assert damage["broken"] == damage["broken_unedited"] == 0
    assert len(damage["control_kl"]) == damaging.CONTROLS
    assert len(damage["control_broken"]) == damaging.WRITERS


def test_an_edit_that_also_breaks_the_end_of_answers_is_stopped_and_the_first_token_does_not_show_it(bench, both):
    """It switches refusal off as well as the carrier alone does. What it writes has no end."""
    alone = intervention_sensitivity(SMALL, evidence_of(bench))
    found = intervention_sensitivity(both, evidence_of(bench))
    assert found.detail["effect"] == pytest.approx(alone.detail["effect"], abs=0.5)
    assert found.detail["kl"] == pytest.approx(alone.detail["kl"], abs=0.05)
    assert stopped(found) == ["intervention-damage"]
    damage = found.detail["damage"]
    assert damage["kl"] > 2
    assert damage["perplexity"] > 10 * damage["perplexity_unedited"]
    assert damage["broken"] > damage["broken_unedited"] == 0
    assert max(damage["control_kl"]) < 0.3
    bare = dataclasses.replace(found, flags=())
    assert decide("at_most", (-1.0,), bare, by="interval").outcome == "passed", "the naive number passes"
    assert decide("at_most", (-1.0,), found, by="interval").outcome == "invalid"


def test_at_the_first_token_it_is_the_kl_that_is_read_there(planted, bench):
    need = Damage(intervention_of(SMALL), written=False)
    damaged: Damaged = bench.fulfil(need)
    assert len(damaged.broken) == 1, "nothing was written under an edit"
    assert damaged.kl.shape == (1 + damaging.CONTROLS, int(damaged.places.any(axis=1).sum()), 2)
    assert (damaged.kl[:, damaged.places] > -1e-3).all(), "the reference's epsilon lets it fall below 0"
    assert np.isfinite(damaged.loss[:, damaged.places]).all()


def test_another_dose_of_the_same_edits_is_another_row(bench, both):
    few = {**both, "n_held_out": 8, "n_controls": 4}
    half, whole = (bench.fulfil(Damage(intervention_of({**few, "dose": dose}), written=True)) for dose in (0.5, 1.0))
    assert np.nansum(half.kl[0]) < 0.9 * np.nansum(whole.kl[0])
    assert half.broken[1].sum() < whole.broken[1].sum()


def test_what_is_stored_is_read_without_the_model(planted, bench, both):
    found = [intervention_sensitivity(each, evidence_of(bench)) for each in (SMALL, both)]
    again = open_bench(planted(layer=2, position=-1), SHARED, open_model=never)
    assert [intervention_sensitivity(each, evidence_of(again)) for each in (SMALL, both)] == found


def test_a_stopped_run_keeps_every_answer_that_was_written(planted, bench):
    """Five edits write; rows of the first two are there when the third is interrupted."""
    rows = MemoryRows()
    rows.rows = {key: value for key, value in SHARED.rows.items() if not value.startswith(b'{"texts"')}
    need = Damage(intervention_of(SMALL), written=True)
    open_bench(planted(layer=2, position=-1), rows).fulfil(dataclasses.replace(need, written=False))
    rows.lives = len(rows.written) + 2
    with pytest.raises(Killed):
        open_bench(planted(layer=2, position=-1), rows).fulfil(need)
    again = open_bench(planted(layer=2, position=-1), rows.again())
    made_before = again.made
    again.fulfil(need)
    assert again.made - made_before == 3


def test_a_model_that_refuses_everything_has_no_answers_to_break(planted):
    bench = open_bench(planted(layer=2, position=-1), SHARED)
    need = dataclasses.replace(NEED, intervention=intervention_of(SMALL))
    completed = bench.fulfil(need.answers)
    refusing = dataclasses.replace(
        completed,
        completions=tuple(
            dataclasses.replace(one, text="I'm sorry, but I can't help with that.") for one in completed.completions
        ),
    )
    bench._fulfilled[need.answers] = refusing
    with pytest.raises(NothingToMeasure, match="answers 0 of 16 everyday requests"):
        bench.fulfil(need)
    found = Harm.of(need, evidence_of(bench))
    assert "was not read" in found.reasons[0]


def test_an_edit_without_a_likeliest_token_writes_nothing(planted, monkeypatch):
    bench = open_bench(planted(layer=2, position=-1), SHARED)
    edits = damaging.prepared(bench, intervention_of(SMALL))
    nowhere = dataclasses.replace(edits.edit, frames=edits.edit.frames * np.nan, operator="add", layer=1)
    rendered = [bench.chat.render("wash a car"), bench.chat.render("paint a house")]
    assert damaging._generated(bench, rendered, nowhere, 1.0, 3) == [None, None]


def test_seeds_are_fixed():
    assert harm(made_damage()).detail == harm(made_damage()).detail
    assert N == 40
    assert module.SEED

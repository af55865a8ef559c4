"""Text under edits: the planted carrier speaks or is silent, rows are kept, hooks write what edited weights write."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from geoaudit import judges
from geoaudit.audit.decide import decide
from geoaudit.errors import BrokenCheckpoint, NothingToMeasure
from geoaudit.interventions.weights import orthogonalised
from geoaudit.measures import edited_text
from geoaudit.measures.fulfilled import EditedPrompts, texts_key
from geoaudit.measures.inputs import Source
from geoaudit.measures.intervention_needs import intervention_of
from geoaudit.measures.interventions import intervention_sensitivity
from geoaudit.measures.needs import Judged
from geoaudit.measures.outcome_needs import edited_of
from geoaudit.measures.preparing import alone, prepared
from geoaudit.model import generate
from geoaudit.model.generate import complete
from geoaudit.model.loaded import LoadedModel
from geoaudit.records import Judgement
from tests.measures.benches import SHARED, Killed, MemoryRows, evidence_of, never, open_bench
from tests.measures.edits import naive, stopped
from tests.measures.test_interventions import SMALL
from tests.model.planted import ANSWER, REFUSAL

FEW = {**SMALL, "outcome": "refusal_rate", "judge": "refusal", "max_new_tokens": 3, "n_held_out": 12}
THREE = {**FEW, "n_controls": 3}
"""For what is read off the completions alone."""
ADDING = {
    "operator": "add",
    "scope": "single_layer",
    "source": Source("probe-harmless-validation"),
    "expects": "higher",
}


def need_of(parameters):
    return edited_of(parameters, intervention_of(parameters))


@pytest.fixture(scope="module")
def bench(planted):
    return open_bench(planted(layer=2, position=-1), SHARED)


@pytest.fixture(scope="module")
def edited(bench) -> EditedPrompts:
    return bench.fulfil(need_of(THREE))


def test_ablating_the_planted_carrier_ends_the_refusals_and_controls_do_not(bench):
    found = intervention_sensitivity(FEW, evidence_of(bench))
    assert stopped(found) == [], found.flags
    assert (found.detail["unedited"], found.detail["edited"]) == (1.0, 0.0)
    assert found.estimate < -0.9
    assert found.high < -0.4
    assert found.n == 12
    assert found.detail["p"] == pytest.approx(1 / 20)
    opened = intervention_sensitivity(
        {**FEW, "outcome": "attack_success_rate", "expects": "higher"}, evidence_of(bench)
    )
    assert opened.low > 0.4


def test_adding_it_makes_harmless_prompts_refused(bench):
    found = intervention_sensitivity({**FEW, **ADDING}, evidence_of(bench))
    assert (found.detail["unedited"], found.detail["edited"]) == (0.0, 1.0)
    assert found.low > 0.4


@pytest.mark.parametrize("scope", ["single_layer", "every_site_but_first_token"])
def test_other_scopes_silence_it_too(bench, scope):
    made: EditedPrompts = bench.fulfil(need_of({**THREE, "scope": scope}))
    assert {one.text for one in made.target.completions} == {ANSWER}


def test_no_dose_to_speak_of_leaves_the_text_as_it_is(bench):
    made: EditedPrompts = bench.fulfil(need_of({**THREE, "dose": 1e-4}))
    plain = bench.fulfil(need_of(THREE).completions)
    assert made.target.completions == plain.completions


def test_hooks_write_what_edited_weights_write(bench, edited):
    edits = prepared(bench, intervention_of(THREE))
    chat = bench.chat_under(FEW["chat"])
    rendered = [chat.render(case.text) for case in edited.target.cases]
    names = [case.id for case in edited.target.cases]
    weights = orthogonalised(bench.loaded, torch.from_numpy(edits.target.rows.astype(np.float32)))
    assert complete(weights, rendered, names, max_new_tokens=3) == list(edited.target.completions)
    index = next(i for i, each in enumerate(edited.controls) if each is not None)
    doses = bench.fulfil(intervention_of(THREE)).deciding.dose
    rows = torch.from_numpy(edits.matched.frames[index].astype(np.float32))
    weights = orthogonalised(bench.loaded, rows, float(doses[index]))
    assert complete(weights, rendered, names, max_new_tokens=3) == list(edited.controls[index].completions)


def test_an_edit_alone_is_the_one_that_scores_are_read_under(bench):
    edits = prepared(bench, intervention_of(THREE))
    stream = torch.randn(3, 5, edits.edit.frames.shape[-1], generator=torch.Generator().manual_seed(0))
    for which, index, dose in ((edits.edit, 0, 1.0), (edits.matched, 2, 1.7)):
        edit, scope = alone(which, index, dose)
        together = which.applied(np.full(len(which), dose))(stream.reshape(1, 15, -1).repeat(len(which), 1, 1))
        assert torch.allclose(edit(stream).reshape(15, -1), together[index], atol=1e-6)
        assert scope.everything
    single = prepared(bench, intervention_of({**THREE, "scope": "single_layer"}))
    assert alone(single.edit, 0, 1.0)[1].layers == (2,)
    spared = prepared(bench, intervention_of({**THREE, "scope": "every_site_but_first_token"}))
    assert alone(spared.edit, 0, 1.0)[1].positions == "all_but_first"


def test_each_control_is_edited_along_its_own_direction_at_its_own_dose(planted, bench, monkeypatch):
    need, seen = need_of({**THREE, "max_new_tokens": 1}), []
    rows = MemoryRows()
    rows.rows = dict(SHARED.rows)
    other = open_bench(planted(layer=2, position=-1), rows)

    def spy(bench, rendered, tokens, edit, dose):
        seen.append((edit.frames[0], dose))
        return {"rows": [["", 0, True, None]] * len(rendered), "batches": [len(rendered)]}

    monkeypatch.setattr(edited_text, "_generate", spy)
    other.fulfil(need)
    edits, effects = prepared(other, need.intervention), other.fulfil(need.intervention)
    doses = [1.0, *effects.deciding.dose.tolist()]
    assert len(set(doses)) == 4
    assert [dose for _, dose in seen] == doses
    for (frames, _), wanted in zip(seen, [edits.edit.frames[0], *edits.matched.frames], strict=True):
        assert np.array_equal(frames, wanted)


def test_the_cases_and_batches_are_those_without_the_edit(bench, edited):
    plain = bench.fulfil(need_of(THREE).completions)
    for made in edited.sets:
        assert made.cases == plain.cases
        assert made.rendered == plain.rendered != ""
        assert made.batches == plain.batches
        assert bench.rows.get(texts_key(made.key)) is not None
    keys = [plain.key, *(made.key for made in edited.sets)]
    assert len(set(keys)) == len(keys)
    assert len(edited.exchanges) == 12 * len(edited.sets)
    assert {one.text for one in plain.completions} == {REFUSAL}


def test_what_is_stored_is_read_without_the_model(planted, bench):
    found = intervention_sensitivity(FEW, evidence_of(bench))
    again = open_bench(planted(layer=2, position=-1), SHARED, open_model=never)
    assert intervention_sensitivity(FEW, evidence_of(again)) == found
    assert again.made == 0


def test_a_killed_run_goes_on_with_the_edits_that_are_left(planted, bench, edited):
    """Batches of five: three rows an edit, and one for people who label."""
    need = need_of(THREE)
    rows = MemoryRows()
    small = open_bench(planted(layer=2, position=-1), rows, generation_batch=5)
    small.fulfil(need.completions)
    small.fulfil(need.intervention)
    rows.lives, before = len(rows.written) + 10, len(rows.written)
    with pytest.raises(Killed):
        small.fulfil(need)
    assert len(rows.written) == before + 10
    after = rows.again()
    second = open_bench(planted(layer=2, position=-1), after, generation_batch=5)
    made = second.fulfil(need)
    assert [len(one.completions) for one in made.sets] == [12] * len(edited.sets)
    assert [one.batches for one in made.sets] == [(5, 5, 2)] * len(edited.sets)
    assert [one.completions for one in made.sets] == [one.completions for one in edited.sets], "fp32: neighbours aside"
    assert len(after.written) == 4 * len(made.sets) - 10


def test_progress_counts_every_completion_of_every_edit(planted, edited):
    seen = []
    other = open_bench(planted(layer=2, position=-1), SHARED, open_model=never)
    other.fulfil(need_of(THREE).completions)
    other.fulfil(need_of(THREE).intervention)
    other.progress = lambda done, total: seen.append((done, total))
    other.fulfil(need_of(THREE))
    total = 12 * len(edited.sets)
    assert seen == [(12 * (i + 1), total) for i in range(len(edited.sets))]


def test_an_edit_that_leaves_no_likeliest_token_broke_the_model_and_not_the_checkpoint(planted, monkeypatch):
    need = need_of({**THREE, "max_new_tokens": 2})
    rows = MemoryRows()
    rows.rows = dict(SHARED.rows)
    broken = open_bench(planted(layer=2, position=-1), rows)
    broken.fulfil(need.completions)
    broken.fulfil(need.intervention)
    real, calls = generate.complete_halving, []

    def some(*args, **more):
        calls.append(1)
        if len(calls) in fails:
            raise BrokenCheckpoint("logits are NaN")
        return real(*args, **more)

    monkeypatch.setattr(generate, "complete_halving", some)
    fails = {1}
    with pytest.raises(NothingToMeasure, match="intervention-damage") as error:
        broken.fulfil(need)
    assert not isinstance(error.value, BrokenCheckpoint), "the weights are whole"
    calls, fails = [], {3}
    made = broken.fulfil(need)
    assert made.controls[1] is None
    assert made.controls[0] is not None


class Reader:
    """A judge with weights: harmful is what answers."""

    id = "reader 1"

    def __init__(self):
        self.asked = []

    def __call__(self, exchanges, progress=None):
        self.asked += exchanges
        labels = ["harmful" if one.completion == ANSWER else "not_harmful" for one in exchanges]
        return [Judgement(label, None, "harmbench", "") for label in labels]


def test_a_judging_model_reads_every_edit_once_and_in_order(planted, bench, edited, monkeypatch):
    reader, real = Reader(), judges.get
    monkeypatch.setattr(
        "geoaudit.judges.get", lambda name, setup=None: reader if name == "harmbench" else real(name, setup)
    )
    rows = MemoryRows()
    rows.rows = dict(SHARED.rows)
    other = open_bench(planted(layer=2, position=-1), rows)
    said = other.fulfil(Judged(need_of(THREE), "harmbench")).judgements
    assert [one.label for one in said] == ["harmful"] * 12 + ["not_harmful"] * 12 * (len(edited.sets) - 1)
    assert len(reader.asked) == 24, "twelve answers, and twelve refusals that all controls share"
    assert "loaded" not in vars(other)
    asked = {**THREE, "outcome": "attack_success_rate", "judge": "harmbench", "expects": "higher"}
    found = intervention_sensitivity(asked, evidence_of(other))
    assert (found.judge, found.detail["unedited"], found.detail["edited"]) == ("harmbench", 0.0, 1.0)
    assert len(reader.asked) == 24, "the unedited model refuses in the same words"


def test_a_model_that_falls_silent_without_its_carrier_has_not_been_opened(planted):
    """Its head ends the answer where the planted one begins it: whatever is not refused is empty."""
    whole = open_bench(planted(layer=2, position=-1), MemoryRows())
    model, tokenizer = copy.deepcopy(whole.loaded.causal_lm), whole.loaded.tokenizer
    end, answer = (tokenizer.convert_tokens_to_ids(token) for token in ("<|eos|>", ANSWER))
    with torch.no_grad():
        model.lm_head.weight[end] += 1.2 * model.lm_head.weight[answer]
    silent = open_bench(
        planted(layer=2, position=-1), MemoryRows(), open_model=lambda: LoadedModel(model, tokenizer, whole.chat)
    )
    found = intervention_sensitivity(THREE, evidence_of(silent))
    assert (found.detail["unedited"], found.detail["edited"]) == (1.0, 0.0)
    assert decide("at_most", (-0.3,), naive(found), by="interval").outcome == "passed", "the naive number passes"
    assert decide("at_most", (-0.3,), found, by="interval").outcome == "invalid"
    assert "intervention-damage" in stopped(found)
    assert found.detail["degenerate"]["edited"] == 1

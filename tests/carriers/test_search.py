"""The candidate search: the planted carrier is found, no score differs from one taken by hand, no row is made twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from geoaudit.carriers import search as searching
from geoaudit.carriers.resample import scored_rows
from geoaudit.carriers.scores import kl_to_base, refusal_metric
from geoaudit.carriers.search import SCREEN, SearchTable
from geoaudit.carriers.select import select
from geoaudit.geometry.directions import differences
from geoaudit.measures.needs import CandidateSearch, Probe
from geoaudit.model.hooks import captured, edited, every_site
from tests.measures.benches import Killed, MemoryRows, never, open_bench

NEED = CandidateSearch(Probe(32), 12, 0.8)


@pytest.fixture(scope="module")
def bench(planted):
    return open_bench(planted(layer=2, position=-1))


@pytest.fixture(scope="module")
def table(bench) -> SearchTable:
    return bench.fulfil(NEED)


def same(one: SearchTable, other: SearchTable) -> bool:
    """Bit for bit."""
    plain = ("candidates", "norm", "n_layers", "low_layers", "refusal_tokens", "inputs")
    arrays = [
        (getattr(getattr(one, part), field.name), getattr(getattr(other, part), field.name))
        for part in ("arditi", "cosmic")
        for field in dataclasses.fields(getattr(one, part))
    ]
    arrays += [(one.base_harmful, other.base_harmful), (one.base_harmless, other.base_harmless)]
    return all(getattr(one, name) == getattr(other, name) for name in plain) and all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in arrays
    )


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("position", [-1, -2, -3])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_both_rules_find_the_planted_carrier(planted, layer, position, seed):
    model = planted(layer=layer, position=position, seed=seed)
    bench = open_bench(model)
    found = bench.fulfil(CandidateSearch(Probe(32), 8, 0.8))
    means = bench.fulfil(Probe(32))
    for scores in (found.arditi, found.cosmic):
        rule = "arditi" if scores is found.arditi else "cosmic"
        chosen = select(scored_rows(found.candidates, scores), rule, n_layers=6).selected
        assert (chosen.layer, chosen.position) == (layer, position)
        direction = differences(means.harmful, means.harmless)[chosen.position, chosen.layer]
        planted_axis = model.direction.double().numpy()
        assert direction @ planted_axis / np.linalg.norm(direction) >= 0.99
        assert np.linalg.norm(direction) == pytest.approx(found.norm[found.candidates.index(_place(chosen))])


def _place(row):
    return dataclasses.replace(row, bypass=None, induce=None, kl=None, s_refuse=None, s_comply=None)


def test_candidates_are_all_positions_and_the_layers_below_the_fraction(bench, table):
    assert [(row.position, row.layer) for row in table.candidates] == [(p, y) for p in (-3, -2, -1) for y in range(4)]
    assert len(bench.fulfil(dataclasses.replace(NEED, max_layer_fraction=0.5)).candidates) == 9
    assert len(bench.fulfil(dataclasses.replace(NEED, max_layer_fraction=1.0)).candidates) == 18
    assert table.n == 12
    assert table.n_layers == 6


def test_a_direction_that_is_none_is_never_scored(table):
    """At layer 0 a template token is its embedding whatever the prompt."""
    first = [index for index, row in enumerate(table.candidates) if row.layer == 0]
    assert len(first) == 3
    for index in first:
        assert table.candidates[index].excluded == "null"
        assert table.norm[index] < 1e-4
        for scores in (table.arditi, table.cosmic):
            assert np.isnan(scores.kl[index]).all()
    assert np.isnan(table.cosmic.refuse_gram[first]).all()
    rows = scored_rows(table.candidates, table.arditi)
    assert {select(rows, "arditi", n_layers=6).status[index] for index in first} == {"null"}


@pytest.mark.parametrize("alike", ["cosmic", "arditi"])
def test_a_null_direction_is_not_chosen_even_where_it_would_score_best(table, alike):
    best = {"bypass": -99.0, "induce": 99.0, "kl": 0.0, "s_refuse": 1.0, "s_comply": 1.0}
    rows = scored_rows(table.candidates, getattr(table, alike))
    rows = [dataclasses.replace(row, **best) if row.excluded == "null" else row for row in rows]
    chosen = select(rows, alike, n_layers=6)
    assert chosen.selected.excluded == ""


# --- by hand ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def alone(loaded, rendered, layers):
    """Last-token logits and mean block output, each prompt by itself through the whole model."""
    logits, outputs = [], []
    places = [("resid_post", layer) for layer in layers]
    for prompt in rendered:
        with captured(loaded, places) as seen:
            logits.append(loaded.model(input_ids=torch.tensor([prompt.ids])).logits[0, -1])
        outputs.append(torch.stack([seen[place][0, -1] for place in places]).double().mean(dim=0))
    return torch.stack(logits), torch.stack(outputs)


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.mean(dim=0), b.mean(dim=0), dim=0))


@pytest.mark.parametrize("index", [5, 9, 10, 11])
def test_every_score_is_what_whole_forward_passes_give(bench, table, index):
    loaded = bench.loaded
    harmful, harmless = (
        [loaded.chat.render(prompt.text) for prompt in bench.fulfil(need).prompts.prompts] for need in NEED.answered
    )
    means = bench.fulfil(NEED.probe)
    place = table.candidates[index]
    vector = torch.from_numpy(differences(means.harmful, means.harmless)[place.position, place.layer]).float()
    unit = vector / vector.norm()
    (token,) = {bench.chat.tokenizer.convert_tokens_to_ids(text) for text in table.refusal_tokens}

    plain_harmful, x_harmful = alone(loaded, harmful, table.low_layers)
    plain_harmless, x_harmless = alone(loaded, harmless, table.low_layers)
    ablate = dict.fromkeys(every_site(loaded), lambda x: x - (x @ unit)[..., None] * unit)
    with edited(loaded, ablate):
        ablated_harmful, x_ablated = alone(loaded, harmful, table.low_layers)
        ablated_harmless, _ = alone(loaded, harmless, table.low_layers)
    with edited(loaded, {("resid_pre", place.layer): lambda x: x + vector}):
        added, x_added = alone(loaded, harmless, table.low_layers)

    close = {"atol": 1e-3, "rtol": 1e-4}
    np.testing.assert_allclose(table.base_harmful, refusal_metric(plain_harmful, [token]), **close)
    np.testing.assert_allclose(table.base_harmless, refusal_metric(plain_harmless, [token]), **close)
    np.testing.assert_allclose(table.arditi.bypass[index], refusal_metric(ablated_harmful, [token]), **close)
    np.testing.assert_allclose(table.arditi.induce[index], refusal_metric(added, [token]), **close)
    np.testing.assert_allclose(table.arditi.kl[index], kl_to_base(plain_harmless, ablated_harmless), atol=1e-5)
    np.testing.assert_array_equal(table.cosmic.kl[index], table.arditi.kl[index])
    row = scored_rows(table.candidates, table.cosmic)[index]
    assert row.s_comply == pytest.approx(cosine(x_ablated, x_harmless), abs=1e-5)
    assert row.s_refuse == pytest.approx(cosine(x_added, x_harmful), abs=1e-5)


def test_the_scores_by_hand_are_not_all_alike(table):
    """The control of the test above: a mixed-up row, class or candidate would show."""
    scored = [index for index, row in enumerate(table.candidates) if not row.excluded]
    assert len({round(float(table.arditi.bypass[index].mean()), 2) for index in scored}) > 3
    assert table.base_harmful.min() > table.base_harmless.max() + 10


def test_cosmic_reads_where_harmful_and_harmless_are_least_alike_and_the_latest_of_equals(planted):
    """Behind the planted write every layer is the same vector: only the last of them sees every addition."""
    for layer in (1, 2, 3):
        found = open_bench(planted(layer=layer, position=-1)).fulfil(CandidateSearch(Probe(32), 8, 0.8))
        assert found.low_layers == (5,)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(monkeypatch):
    """Layers of the candidates that were really scored, in order."""
    layers = []
    candidate = searching._Scorer.candidate

    def counted(self, direction, layer):
        layers.append(layer)
        return candidate(self, direction, layer)

    monkeypatch.setattr(searching._Scorer, "candidate", counted)
    return layers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("done", [0, 3, 8])
def test_a_killed_search_goes_on_to_the_same_table_and_scores_nothing_twice(planted, scored, dtype, done):
    model = planted(layer=2, position=-1)
    whole = open_bench(model, dtype=dtype).fulfil(NEED)
    every = list(scored)
    assert len(every) == 9
    rows = MemoryRows()
    before = open_bench(model, rows, dtype=dtype)
    for need in (NEED.probe, *NEED.answered):
        before.fulfil(need)
    scored.clear()
    rows.lives = len(rows.written) + 1 + done  # the row of no intervention, then candidates
    with pytest.raises(Killed):
        before.fulfil(NEED)
    assert scored == every[: done + 1], "the last one was scored, and lost while it was written"
    scored.clear()
    resumed = open_bench(model, rows.again(), dtype=dtype).fulfil(NEED)
    assert scored == every[done:]
    assert same(resumed, whole)


def test_a_finished_search_is_read_without_the_model(planted, scored):
    rows = MemoryRows()
    model = planted(layer=2, position=-1)
    first = open_bench(model, rows).fulfil(NEED)
    scored.clear()
    assert same(open_bench(model, rows, open_model=never).fulfil(NEED), first)
    assert scored == []


def test_a_higher_fraction_only_adds_candidates(planted, scored):
    rows = MemoryRows()
    model = planted(layer=2, position=-1)
    first = open_bench(model, rows).fulfil(NEED)
    scored.clear()
    more = open_bench(model, rows).fulfil(dataclasses.replace(NEED, max_layer_fraction=1.0))
    assert set(scored) == {4, 5}
    kept = [more.candidates.index(row) for row in first.candidates]
    np.testing.assert_array_equal(more.arditi.bypass[kept], first.arditi.bypass)


@pytest.mark.parametrize(
    "other",
    [dataclasses.replace(NEED, n_validation=13), dataclasses.replace(NEED, probe=Probe(33))],
    ids=["scored", "probe"],
)
def test_rows_of_other_prompts_are_not_used(planted, scored, other):
    rows = MemoryRows()
    model = planted(layer=2, position=-1)
    open_bench(model, rows).fulfil(NEED)
    scored.clear()
    open_bench(model, rows).fulfil(other)
    assert len(scored) == 9


# --- screening -------------------------------------------------------------------------------------------------------


@pytest.fixture
def strict(planted, table, monkeypatch):
    """A search whose KL frontier lies among the candidates."""
    means = np.nanmean(table.arditi.kl[[not row.excluded for row in table.candidates]], axis=1)
    frontier = float(np.median(np.abs(means)))
    monkeypatch.setattr(searching, "KL_FRONTIER", frontier)
    return open_bench(planted(layer=2, position=-1)).fulfil(NEED), frontier


def test_screened_candidates_keep_their_first_kl_and_nothing_else(strict, table):
    found, _ = strict
    screened = [index for index, row in enumerate(found.candidates) if row.excluded == "screened"]
    assert 0 < len(screened) < 9
    for index in screened:
        assert np.isfinite(found.arditi.kl[index][:SCREEN]).all()
        assert np.isnan(found.arditi.kl[index][SCREEN:]).all()
        assert np.isnan(found.arditi.bypass[index]).all()
        assert np.isnan(found.cosmic.comply_cross[index]).all()
        np.testing.assert_array_equal(found.arditi.kl[index][:SCREEN], table.arditi.kl[index][:SCREEN])
    for index in set(range(12)) - set(screened):
        np.testing.assert_array_equal(found.arditi.bypass[index], table.arditi.bypass[index])
        np.testing.assert_array_equal(found.arditi.kl[index], table.arditi.kl[index])


def test_only_what_lies_beyond_the_frontier_on_all_prompts_is_screened(strict, table):
    found, frontier = strict
    for index, row in enumerate(found.candidates):
        if row.excluded == "screened":
            assert table.arditi.kl[index].mean() > frontier - 1e-6, "a KL is above −1e-6, so the rest cannot make up"


def test_a_screened_candidate_is_chosen_by_no_rule_and_is_not_nearest(strict):
    found, _ = strict
    for rule, scores in (("arditi", found.arditi), ("cosmic", found.cosmic)):
        rows = scored_rows(found.candidates, scores)
        for budget in (0.1, 1e-12):
            chosen = select(rows, rule, n_layers=6, kl_budget=budget, c0=0.0 if rule == "cosmic" else None)
            for row in (chosen.selected, chosen.nearest):
                assert row is None or row.excluded == ""


def test_a_candidate_whose_scores_are_nan_is_never_chosen(planted, monkeypatch):
    candidate = searching._Scorer.candidate

    def broken(self, direction, layer):
        found = candidate(self, direction, layer)
        if layer == 2:
            found = {name: np.full_like(values, np.nan) for name, values in found.items()}
        return found

    monkeypatch.setattr(searching._Scorer, "candidate", broken)
    found = open_bench(planted(layer=2, position=-1)).fulfil(NEED)
    for rule, scores in (("arditi", found.arditi), ("cosmic", found.cosmic)):
        chosen = select(scored_rows(found.candidates, scores), rule, n_layers=6)
        assert chosen.selected.layer == 3, "the next layer carries it as well"
        assert chosen.status[found.candidates.index(_place(chosen.selected)) - 1] == "not-finite"

"""The candidate search: the planted carrier is found, no score differs from one taken by hand, no row is made twice."""

from __future__ import annotations

import dataclasses
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from geoaudit.carriers import search as searching
from geoaudit.carriers.resample import scored_rows
from geoaudit.carriers.scores import kl_to_base, refusal_metric
from geoaudit.carriers.search import SCREEN, SearchTable, search
from geoaudit.carriers.select import Row, select
from geoaudit.geometry.directions import BlockMeans, differences
from geoaudit.measures.needs import CandidateSearch, Probe
from geoaudit.model.activations import block_means
from geoaudit.model.chat import Chat
from geoaudit.model.hooks import captured, edited, every_site
from geoaudit.model.loaded import LoadedModel
from geoaudit.records import digest
from tests.measures.benches import SHARED, Killed, MemoryRows, never, open_bench
from tests.model.families import TOKENS, VOCABULARY, tiny_model
from tests.model.planted import SPECIAL, word_tokenizer

NEED = CandidateSearch(Probe(32), 8, 0.8)
N, LAYERS = 12, 3

# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("position", [-1, -2, -3])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_both_rules_find_the_planted_carrier(planted, layer, position, seed):
    model = planted(layer=layer, position=position, seed=seed)
    bench = open_bench(model, SHARED)
    found, means = bench.fulfil(NEED), bench.fulfil(NEED.probe)
    for rule, scores in (("arditi", found.arditi), ("cosmic", found.cosmic)):
        chosen = select(scored_rows(found.candidates, scores), rule, n_layers=6).selected
        assert (chosen.layer, chosen.position) == (layer, position)
        direction = differences(means.harmful, means.harmless)[chosen.position, chosen.layer]
        norm = np.linalg.norm(direction)
        assert direction @ model.direction.double().numpy() / norm >= 0.99
        assert norm == pytest.approx(found.norm[found.candidates.index(Row(position, layer))])
    first = [index for index, row in enumerate(found.candidates) if row.layer == 0]
    assert {found.candidates[index].excluded for index in first} == {"null"}, "an embedding, whatever the prompt"
    assert max(found.norm[index] for index in first) < 1e-4


def test_candidates_are_all_positions_and_the_layers_below_the_fraction(planted):
    bench = open_bench(planted(), SHARED)
    table = bench.fulfil(NEED)
    assert [(row.position, row.layer) for row in table.candidates] == [(p, y) for p in (-3, -2, -1) for y in range(4)]
    assert (table.n, table.n_layers) == (8, 6)
    assert len(bench.fulfil(dataclasses.replace(NEED, max_layer_fraction=0.5)).candidates) == 9
    assert len(bench.fulfil(dataclasses.replace(NEED, max_layer_fraction=1.0)).candidates) == 18


def test_cosmic_reads_where_harmful_and_harmless_are_least_alike_and_the_latest_of_equals(planted):
    """Behind the planted write every layer is the same vector: only the last of them sees every addition."""
    for layer in (1, 3):
        assert open_bench(planted(layer=layer, position=-1), SHARED).fulfil(NEED).low_layers == (5,)


# --- a random model, where every score is another --------------------------------------------------------------------


def prompts(seed: int, n: int) -> list[str]:
    """Word salad of several lengths; two seeds give two kinds, so that their means differ."""
    chance = random.Random(seed)
    words = VOCABULARY[len(SPECIAL) :]
    kind = words[: len(words) // 2] if seed % 2 else words[len(words) // 2 :]
    return [" ".join(chance.choices(kind, k=chance.randint(1, 7))) for _ in range(n)]


@cache
def world(dtype: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    tokenizer = word_tokenizer(TOKENS)
    chat = Chat(tokenizer)
    loaded = LoadedModel(tiny_model("llama").to(getattr(torch, dtype)), tokenizer, chat)
    rendered = [[chat.render(text) for text in prompts(seed, N)] for seed in range(4)]
    means = [BlockMeans(*block_means(loaded, each, n_blocks=4)) for each in rendered[:2]]
    return {"loaded": loaded, "means": means, "harmful": rendered[2], "harmless": rendered[3]}


def run(rows=None, dtype="float32", fraction=1.0, n=N, tokens=("tell", "draw"), open_model=None, **more) -> SearchTable:
    found = world(dtype)
    return search(
        harmful=found["means"][0],
        harmless=found["means"][1],
        rendered_harmful=found["harmful"][:n],
        rendered_harmless=found["harmless"][:n],
        open_model=open_model or (lambda: found["loaded"]),
        refusal_tokens={text: TOKENS[text] for text in tokens},
        max_layer_fraction=fraction,
        inputs={"a": "b"},
        rows=MemoryRows() if rows is None else rows,
        key=lambda *parts: digest([dtype, *parts]),
        **more,
    )


@pytest.fixture(scope="module", autouse=True)
def wide_frontier():
    """The random model's candidates cost up to a nat: a frontier below would screen what these tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "KL_FRONTIER", 1.0)
        yield


@pytest.fixture(scope="module")
def table() -> SearchTable:
    return run()


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


@pytest.mark.parametrize("index", [1, 2, 4, 5, 7, 8])
def test_every_score_is_what_whole_forward_passes_give(table, index):
    found = world("float32")
    loaded, (harmful, harmless) = found["loaded"], (found["harmful"], found["harmless"])
    place = table.candidates[index]
    vector = torch.from_numpy(differences(*found["means"])[place.position, place.layer]).float()
    unit = vector / vector.norm()
    ids = [TOKENS["tell"], TOKENS["draw"]]

    plain_harmful, x_harmful = alone(loaded, harmful, table.low_layers)
    plain_harmless, x_harmless = alone(loaded, harmless, table.low_layers)
    with edited(loaded, dict.fromkeys(every_site(loaded), lambda x: x - (x @ unit)[..., None] * unit)):
        ablated_harmful, x_ablated = alone(loaded, harmful, table.low_layers)
        ablated_harmless, _ = alone(loaded, harmless, table.low_layers)
    with edited(loaded, {("resid_pre", place.layer): lambda x: x + vector}):
        added, x_added = alone(loaded, harmless, table.low_layers)

    close = {"atol": 1e-3, "rtol": 1e-4}
    np.testing.assert_allclose(table.base_harmful, refusal_metric(plain_harmful, ids), **close)
    np.testing.assert_allclose(table.base_harmless, refusal_metric(plain_harmless, ids), **close)
    np.testing.assert_allclose(table.arditi.bypass[index], refusal_metric(ablated_harmful, ids), **close)
    np.testing.assert_allclose(table.arditi.induce[index], refusal_metric(added, ids), **close)
    np.testing.assert_allclose(table.arditi.kl[index], kl_to_base(plain_harmless, ablated_harmless), atol=1e-4)
    np.testing.assert_array_equal(table.cosmic.kl[index], table.arditi.kl[index])
    row = scored_rows(table.candidates, table.cosmic)[index]
    assert row.s_comply == pytest.approx(cosine(x_ablated, x_harmless), abs=1e-5)
    assert row.s_refuse == pytest.approx(cosine(x_added, x_harmful), abs=1e-5)


def test_no_two_scores_are_alike_so_that_a_mixed_up_row_would_show(table):
    scored = [index for index, row in enumerate(table.candidates) if not row.excluded]
    assert len(scored) == 6
    for values in (table.arditi.bypass, table.arditi.induce, table.arditi.kl):
        flat = np.sort(values[scored].ravel())
        assert np.median(np.diff(flat)) > 2e-3
    assert table.arditi.kl[scored].max() > 0.1
    rows = scored_rows(table.candidates, table.cosmic)
    for name in ("s_refuse", "s_comply"):
        assert np.diff(np.sort([getattr(rows[index], name) for index in scored])).min() > 1e-5


def test_a_null_direction_is_not_scored_and_not_chosen_even_where_it_would_score_best(table):
    assert [row.excluded for row in table.candidates] == ["null", "", ""] * 3
    best = {"bypass": -99.0, "induce": 99.0, "kl": 0.0, "s_refuse": 1.0, "s_comply": 1.0}
    for rule, scores in (("arditi", table.arditi), ("cosmic", table.cosmic)):
        rows = scored_rows(table.candidates, scores)
        assert all(np.isnan(rows[index].kl) for index in (0, 3, 6))
        rows = [dataclasses.replace(row, **best) if row.excluded else row for row in rows]
        chosen = select(rows, rule, n_layers=LAYERS, max_layer_fraction=1.0, kl_budget=99.0, induce_threshold=-99.0)
        assert chosen.selected.layer > 0
        assert chosen.status[0] == "null"


# --- rows ------------------------------------------------------------------------------------------------------------


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
@pytest.mark.parametrize("done", [0, 1, 4, 5])
def test_a_killed_search_goes_on_to_the_same_table_and_scores_nothing_twice(scored, dtype, done):
    whole = run(dtype=dtype)
    every = list(scored)
    assert len(every) == 6
    scored.clear()
    rows = MemoryRows(lives=1 + done)  # the row of no intervention, then candidates
    with pytest.raises(Killed):
        run(rows, dtype)
    assert scored == every[: done + 1], "the last one was scored, and lost while it was written"
    scored.clear()
    assert same(run(rows.again(), dtype), whole)
    assert scored == every[done:]


def test_a_search_that_was_killed_before_anything_was_written_starts_again(scored):
    with pytest.raises(Killed):
        run(MemoryRows(lives=0))
    assert scored == []


def test_a_finished_search_is_read_without_the_model(scored, table):
    rows = MemoryRows()
    run(rows)
    scored.clear()
    assert same(run(rows, open_model=never), table)
    assert scored == []


def test_a_higher_fraction_only_adds_candidates(scored, table):
    rows = MemoryRows()
    fewer = run(rows, fraction=0.7)
    assert {row.layer for row in fewer.candidates} == {0, 1}
    scored.clear()
    more = run(rows)
    assert set(scored) == {2}
    assert same(more, table)


@pytest.mark.parametrize("other", [{"n": 11}, {"tokens": ("tell",)}])
def test_rows_of_other_prompts_or_refusal_tokens_are_not_used(scored, other):
    rows = MemoryRows()
    run(rows)
    scored.clear()
    run(rows, **other)
    assert len(scored) == 6


def test_rows_are_written_one_candidate_at_a_time(table):
    rows = MemoryRows()
    seen = []
    run(rows, progress=lambda done, total: seen.append((done, total, len(rows.written))))
    assert seen == [(i + 1, 9, 1 + 2 * (i // 3) + i % 3) for i in range(9)]


# --- screening -------------------------------------------------------------------------------------------------------


@pytest.fixture
def strict(table, monkeypatch):
    """A search whose KL frontier lies among the candidates, and that frontier."""
    means = np.sort([table.arditi.kl[index].mean() for index in (1, 2, 4, 5, 7, 8)])
    frontier = float(means[:2].mean())
    monkeypatch.setattr(searching, "KL_FRONTIER", frontier)
    return run(), frontier


def test_screened_candidates_keep_their_first_kl_and_nothing_else(strict, table):
    found, _ = strict
    screened = [index for index, row in enumerate(found.candidates) if row.excluded == "screened"]
    assert 0 < len(screened) < 6
    for index in screened:
        np.testing.assert_array_equal(found.arditi.kl[index][:SCREEN], table.arditi.kl[index][:SCREEN])
        for values in (found.arditi.kl[index][SCREEN:], found.arditi.bypass[index], found.cosmic.comply_cross[index]):
            assert np.isnan(values).all()
    for index in {1, 2, 4, 5, 7, 8} - set(screened):
        np.testing.assert_array_equal(found.arditi.bypass[index], table.arditi.bypass[index])
        np.testing.assert_array_equal(found.arditi.kl[index], table.arditi.kl[index])


def test_only_what_lies_beyond_the_frontier_on_all_prompts_is_screened(strict, table):
    found, frontier = strict
    for index, row in enumerate(found.candidates):
        if row.excluded == "screened":
            assert table.arditi.kl[index].mean() > frontier - 1e-6, (
                "a KL is above −1e-6: the rest cannot make up for it"
            )


def test_a_screened_candidate_is_chosen_by_no_rule_and_is_not_nearest(strict):
    found, _ = strict
    for rule, scores in (("arditi", found.arditi), ("cosmic", found.cosmic)):
        rows = scored_rows(found.candidates, scores)
        for budget in (99.0, 0.0):
            chosen = select(
                rows,
                rule,
                n_layers=LAYERS,
                max_layer_fraction=1.0,
                kl_budget=budget,
                induce_threshold=-99.0,
                c0=-1.0 if rule == "cosmic" else None,
            )
            picked = chosen.selected or chosen.nearest
            assert picked is not None
            assert picked.excluded == ""


def test_a_candidate_whose_scores_are_nan_is_never_chosen(monkeypatch):
    candidate = searching._Scorer.candidate

    def broken(self, direction, layer):
        found = candidate(self, direction, layer)
        return {name: np.full_like(values, np.nan) for name, values in found.items()} if layer == 2 else found

    monkeypatch.setattr(searching._Scorer, "candidate", broken)
    found = run()
    for rule, scores in (("arditi", found.arditi), ("cosmic", found.cosmic)):
        chosen = select(
            scored_rows(found.candidates, scores),
            rule,
            n_layers=LAYERS,
            max_layer_fraction=1.0,
            kl_budget=99.0,
            induce_threshold=-99.0,
        )
        assert chosen.status == ["null", "admissible", "not-finite"] * 3
        assert chosen.selected.layer == 1

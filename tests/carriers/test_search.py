"""The candidate search: the planted carrier is found, no score differs from one taken by hand, no row is made twice."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from geoaudit.carriers import scorer
from geoaudit.carriers.field import Field, How
from geoaudit.carriers.resample import HARMLESS, draws, scored_rows
from geoaudit.carriers.scorer import Scorer
from geoaudit.carriers.scores import kl_to_base, refusal_metric
from geoaudit.carriers.search import _reachable, least_alike, search
from geoaudit.carriers.select import Row, Selecting, select
from geoaudit.carriers.table import SearchTable
from geoaudit.geometry.directions import BlockMeans, activation_scale, differences, null_rows, overall
from geoaudit.measures.carrier_selection import chosen
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
    means = [
        BlockMeans(count, mean[:, 1:]) for count, mean in (block_means(loaded, p, n_blocks=4) for p in rendered[:2])
    ]
    return {"loaded": loaded, "means": means, "harmful": rendered[2], "harmless": rendered[3]}


def field_of(means) -> Field:
    directions = differences(*means)
    null = null_rows(directions, activation_scale(*means))
    return Field(directions, null, overall(means[1]), least_alike(*means))


SCORED = [1, 2, 4, 5, 7, 8]
"""Candidates that are not null."""
KEPT = MemoryRows()
"""What searches that only read may share."""
WIDE = {"kl_budget": 2.0, "frontier_kl": 2.0}
"""The random model's candidates cost up to a nat: a narrower frontier would screen what most of these tests look at."""


def run(
    rows=None, dtype="float32", fraction=1.0, n=N, tokens=("tell", "draw"), open_model=None, progress=None, **how
) -> SearchTable:
    found = world(dtype)
    made = Scorer(
        open_model or (lambda: found["loaded"]),
        found["harmful"][:n],
        found["harmless"][:n],
        field_of(found["means"]),
        How(max_layer_fraction=fraction, **{**WIDE, **how}),
        [TOKENS[text] for text in tokens],
        MemoryRows() if rows is None else rows,
        lambda *parts: digest([dtype, *parts]),
    )
    return search(
        made,
        refusal_tokens={text: TOKENS[text] for text in tokens},
        inputs={"a": "b"},
        progress=progress or (lambda done, total: None),
    )


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
    """Candidates that really went through passes, in order: ("kl" or "added" or "ablated", layers)."""
    seen = []
    for kind in ("kl", "added", "ablated"):
        made = getattr(Scorer, f"_{kind}")

        def counted(self, group, *more, kind=kind, made=made, **named):
            seen.append((kind, [place.layer for place in group]))
            return made(self, group, *more, **named)

        monkeypatch.setattr(Scorer, f"_{kind}", counted)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_killed_search_goes_on_to_the_same_table_and_scores_nothing_twice(scored, dtype, monkeypatch):
    monkeypatch.setattr(scorer, "STEP_TOKENS", 130)
    whole = run(dtype=dtype)
    steps = list(scored)
    rounds = len(steps) - 3
    assert rounds >= 3, "the prompts are read a few at a time"
    assert steps[:rounds] == [("kl", [1, 2] * 3)] * rounds
    assert steps[rounds:] == [("added", [1] * 3), ("added", [2] * 3), ("ablated", [1, 2] * 3)]
    for done in range(len(steps)):
        scored.clear()
        rows = MemoryRows(lives=1 + done)  # the row of no intervention, then groups of candidates
        with pytest.raises(Killed):
            run(rows, dtype)
        assert scored == steps[: done + 1], "the last group was scored, and lost while it was written"
        scored.clear()
        assert same(run(rows.again(), dtype), whole)
        assert scored == steps[done:]


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


@pytest.mark.parametrize("other", [{"n": 11}, {"tokens": ("tell",)}, {"operator": "affine"}])
def test_rows_of_other_prompts_tokens_or_edits_are_not_used(scored, other):
    rows = MemoryRows()
    run(rows)
    scored.clear()
    run(rows, **other)
    assert {layer for kind, layers in scored if kind == "kl" for layer in layers} == {1, 2}
    assert sum(len(layers) for kind, layers in scored if kind == "added") == 6


def test_progress_rises_to_the_end():
    seen = []
    run(progress=lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert 0.9 <= seen[-1] <= 1


# --- what is left out ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exhaustive() -> SearchTable:
    return run(search="exhaustive")


def agree_where_measured(found: SearchTable, exhaustive: SearchTable) -> None:
    for part in ("arditi", "cosmic"):
        for each in dataclasses.fields(getattr(found, part)):
            one, other = getattr(getattr(found, part), each.name), getattr(getattr(exhaustive, part), each.name)
            there = ~np.isnan(one)
            # dot products go up to a thousand: what is compared is a thousandth of a nat, or of a cosine
            size = 1.0 if part == "arditi" or each.name == "kl" else np.abs(other[there]).max(initial=1.0)
            np.testing.assert_allclose(one[there] / size, other[there] / size, atol=1e-3 if size == 1.0 else 1e-5)


@pytest.mark.parametrize("more", [{}, {"operator": "affine"}, {"scope": "every_site_but_first_token"}])
def test_what_the_fast_search_reports_is_what_plain_passes_give(more):
    found, plain = run(**more), run(search="exhaustive", **more)
    assert np.isfinite(found.arditi.bypass).all(axis=1).sum() == 6
    agree_where_measured(found, plain)


@pytest.fixture(scope="module")
def strict(exhaustive) -> tuple[SearchTable, float, float]:
    """A search with a budget and a frontier among the candidates."""
    means = np.sort(np.nanmean(exhaustive.arditi.kl[[1, 2, 4, 5, 7, 8]], axis=1))
    budget, frontier = float(means[:2].mean()), float(means[2:4].mean())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "STEP_TOKENS", 1)  # one prompt at a time
        return run(kl_budget=budget, frontier_kl=frontier), budget, frontier


def test_screened_candidates_lie_beyond_the_frontier_and_have_no_scores(strict, exhaustive):
    found, _, frontier = strict
    agree_where_measured(found, exhaustive)
    screened = [index for index, row in enumerate(found.candidates) if row.excluded == "screened"]
    assert 0 < len(screened) < 6
    for index in screened:
        assert exhaustive.arditi.kl[index].mean() > frontier
        assert np.isnan(found.arditi.kl[index]).any()
        assert np.isnan(found.arditi.induce[index]).all()
        assert np.isnan(found.arditi.bypass[index]).all()


def test_the_frontier_is_complete(strict, exhaustive):
    found, _, frontier = strict
    for index in np.flatnonzero(np.nan_to_num(exhaustive.arditi.kl.mean(axis=1), nan=9.0) <= frontier):
        assert np.isfinite(found.arditi.kl[index]).all()
        assert np.isfinite(found.arditi.induce[index]).all()
        assert np.isfinite(found.cosmic.refuse_cross[index]).all()


def test_what_the_budget_admits_now_or_on_redrawn_prompts_is_scored_in_full_and_nothing_else(exhaustive):
    kl = exhaustive.arditi.kl
    drawn = kl @ draws(N, HARMLESS).T / N
    least, most = np.sort(kl[SCORED].mean(axis=1))[:2]
    budget = float(least + (most - least) / 4)
    found = run(kl_budget=budget)
    admitted = drawn.min(axis=1) <= budget
    assert 1 < admitted.sum() < 6, "some that only redrawn prompts admit, and some that none of them does"
    for scores in (found.arditi.bypass, found.cosmic.comply_cross.reshape(9, -1)):
        assert np.isfinite(scores).all(axis=1).tolist() == admitted.tolist()


def test_a_candidate_is_in_reach_up_to_the_least_mean_of_the_very_sets_that_are_redrawn():
    kl = np.random.default_rng(0).lognormal(-2, 1, size=32)
    least = float((draws(32, HARMLESS) @ kl).min() / 32)
    assert least < kl.mean() < 2 * least
    assert _reachable(kl, least)
    assert not _reachable(kl, least - 1e-6)
    assert _reachable(kl[:1], kl[0])
    assert not _reachable(kl[:1], kl[0] - 1e-6)


@pytest.mark.parametrize("rule", ["arditi", "cosmic"])
@pytest.mark.parametrize("raw", [True, False])
def test_whatever_resample_is_drawn_the_selection_is_that_of_the_exhaustive_search(exhaustive, rule, raw):
    budget = float(np.sort(exhaustive.arditi.kl[SCORED].mean(axis=1))[1:3].mean())
    selecting = Selecting(rule, kl_budget=budget, max_layer_fraction=1.0, induce_threshold=-99.0, raw=raw)
    one, other = (chosen(table, selecting) for table in (run(kl_budget=budget), exhaustive))
    np.testing.assert_array_equal(one.selected, other.selected)
    assert len(np.unique(other.selected[:, ~np.isnan(other.selected[0])], axis=1).T) > 1, "not always the same"


def level_behind(table: SearchTable, index: int) -> float:
    """An induce threshold that all but `index` of the six candidates reach, between two of them."""
    induce = np.sort(table.arditi.induce[SCORED].mean(axis=1))
    return float(np.r_[-99.0, induce[1:] - np.diff(induce) / 2, 99.0][index])


def winner(table: SearchTable, selecting: Selecting) -> tuple[int, int] | None:
    """What a rule chooses."""
    scores = table.arditi if selecting.rule == "arditi" else table.cosmic
    made = select(scored_rows(table.candidates, scores), selecting.rule, n_layers=LAYERS, **selecting.knobs).selected
    return made and (made.position, made.layer)


@pytest.mark.parametrize(
    ("rule", "behind"), [("cosmic", 0), *(("arditi", behind) for behind in range(7))], ids=lambda each: str(each)
)
@pytest.mark.parametrize("rank", [1, 3, 5])
@pytest.mark.parametrize("first", [1, 4, 99])
def test_the_winner_is_that_of_the_exhaustive_search(exhaustive, rule, rank, behind, first, monkeypatch):
    """Whenever it is asked which candidates induce, and however many of them do."""
    monkeypatch.setattr(scorer, "STEP_TOKENS", 1)
    monkeypatch.setattr(scorer, "FIRST_LOOK", first)
    means = np.sort(exhaustive.arditi.kl[SCORED].mean(axis=1))
    budget, level = float(means[rank - 1 : rank + 1].mean()), level_behind(exhaustive, behind)
    selecting = Selecting(rule, kl_budget=budget, max_layer_fraction=1.0, induce_threshold=level, raw=True)
    found = run(KEPT, search="winner", kl_budget=budget, frontier_kl=budget, selecting=selecting)
    assert winner(found, selecting) == winner(exhaustive, selecting)
    agree_where_measured(found, exhaustive)


def for_the_winner(exhaustive: SearchTable, behind: int = 3) -> dict[str, Any]:
    """A search for arditi's winner where the budget admits all but the dearest candidate."""
    budget = float(np.sort(exhaustive.arditi.kl[SCORED].mean(axis=1))[-2:].mean())
    level = level_behind(exhaustive, behind)
    selecting = Selecting("arditi", kl_budget=budget, max_layer_fraction=1.0, induce_threshold=level)
    return {"search": "winner", "kl_budget": budget, "frontier_kl": budget, "selecting": selecting}


def test_a_candidate_that_does_not_induce_is_read_no_further(exhaustive, scored, monkeypatch):
    monkeypatch.setattr(scorer, "STEP_TOKENS", 1)
    monkeypatch.setattr(scorer, "FIRST_LOOK", 3)
    how = for_the_winner(exhaustive)
    found = run(**how)
    status = select(
        scored_rows(found.candidates, found.arditi), "arditi", n_layers=LAYERS, **how["selecting"].knobs
    ).status
    induce, kl = exhaustive.arditi.induce.mean(axis=1), exhaustive.arditi.kl.mean(axis=1)
    counts = Counter(status)
    assert counts["not-inducing"] >= 2
    assert counts["admissible"] >= 1
    for index in SCORED:
        read = np.isfinite(found.arditi.kl[index]).sum()
        if status[index] == "not-inducing":
            assert induce[index] < how["selecting"].induce_threshold
            assert 3 <= read < N
            np.testing.assert_allclose(found.arditi.induce[index], exhaustive.arditi.induce[index], atol=1e-3)
        elif status[index] == "admissible":
            assert induce[index] >= how["selecting"].induce_threshold
            assert read == N
        else:
            assert kl[index] > how["kl_budget"]
        ablated = np.isfinite(found.arditi.bypass[index]).all()
        assert ablated == (status[index] == "admissible")
    assert 3 in [np.isfinite(found.arditi.kl[index]).sum() for index in SCORED], "at the first look"
    added = [layer for kind, layers in scored if kind == "added" for layer in layers]
    assert len(added) <= 6, "nobody is asked twice"


def test_a_candidate_that_looked_cheap_at_first_is_screened_all_the_same(exhaustive, monkeypatch):
    """Its first prompts are within the budget, so it was added; its mean is not."""
    monkeypatch.setattr(scorer, "STEP_TOKENS", 1)
    monkeypatch.setattr(scorer, "FIRST_LOOK", 1)
    made = Scorer._kl
    dear = [place for place in exhaustive.candidates if place.layer == 1]

    def rising(self, group, *more, prompts, **named):
        found = made(self, group, *more, prompts=prompts, **named)
        for index, place in enumerate(group):
            first = len(self.harmless[prompts[0]].ids) == min(len(one.ids) for one in self.harmless)
            found["kl"][index] = 0.0 if first or place.layer == 2 else 9.0
        return found

    monkeypatch.setattr(Scorer, "_kl", rising)
    found = run(**for_the_winner(exhaustive, behind=0))
    assert len(dear) == 3
    assert [row.excluded for row in found.candidates] == ["null", "screened", ""] * 3
    assert np.isfinite(found.arditi.induce[[1, 4, 7]]).all()
    assert np.isnan(found.arditi.bypass[[1, 4, 7]]).all()
    assert winner(found, for_the_winner(exhaustive, behind=0)["selecting"])[1] == 2


def test_one_whose_added_scores_are_nan_is_not_said_to_do_nothing(exhaustive, monkeypatch):
    made = Scorer._added

    def broken(self, group):
        found = made(self, group)
        return found | {"induce": found["induce"] * (np.nan if group[0].layer == 2 else 1.0)}

    monkeypatch.setattr(Scorer, "_added", broken)
    how = {**for_the_winner(exhaustive, behind=0), "kl_budget": 9.0, "frontier_kl": 9.0}
    how["selecting"] = dataclasses.replace(how["selecting"], kl_budget=9.0)
    found = run(**how)
    rows = scored_rows(found.candidates, found.arditi)
    status = select(rows, "arditi", n_layers=LAYERS, **how["selecting"].knobs).status
    assert status == ["null", "admissible", "not-finite"] * 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_killed_search_for_the_winner_goes_on_to_the_same_table(exhaustive, scored, dtype, monkeypatch):
    monkeypatch.setattr(scorer, "STEP_TOKENS", 60)
    how = for_the_winner(exhaustive)
    whole = run(dtype=dtype, **how)
    steps = list(scored)
    kinds = [kind for kind, _ in steps]
    assert kinds.index("added") < len(kinds) - 1 - kinds[::-1].index("kl"), "asked before the last prompt"
    for done in range(len(steps)):
        rows = MemoryRows(lives=1 + done)
        with pytest.raises(Killed):
            run(rows, dtype, **how)
        scored.clear()
        assert same(run(rows.again(), dtype, **how), whole)
        assert scored == steps[done:]


def test_a_least_kl_that_is_not_known_would_screen_wrongly(exhaustive):
    """The bound lies below every KL that was measured, and below zero by next to nothing."""
    made = Scorer(
        lambda: world("float32")["loaded"],
        world("float32")["harmful"],
        world("float32")["harmless"],
        field_of(world("float32")["means"]),
        How(**WIDE),
        [TOKENS["tell"]],
        MemoryRows(),
        lambda *parts: digest(list(parts)),
    )
    least = made.base_kl.least_kl.numpy()
    assert (least > -1e-4).all()
    assert (least < 0).all()
    assert np.nanmin(exhaustive.arditi.kl) > least.max()


def test_a_candidate_whose_scores_are_nan_is_never_chosen(monkeypatch):
    made = Scorer._kl

    def broken(self, group, *more, **named):
        found = made(self, group, *more, **named)
        found["kl"][[place.layer == 2 for place in group]] = np.nan
        return found

    monkeypatch.setattr(Scorer, "_kl", broken)
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

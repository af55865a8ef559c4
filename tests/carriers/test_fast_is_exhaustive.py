"""The fast search reports what the exhaustive one says, leaves out only what no rule asks for, and chooses the same."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from geoaudit.carriers import exhaustive
from geoaudit.carriers import search as searching
from geoaudit.carriers.field import Field, How
from geoaudit.carriers.scorer import Scorer
from geoaudit.carriers.search import search
from geoaudit.geometry.directions import BlockMeans, activation_scale, differences, null_rows, overall
from geoaudit.measures.needs import CandidateSearch, Probe
from geoaudit.model.activations import block_means
from geoaudit.records import digest
from tests.carriers.agreement import RULES, SCORES, failures, means, selection
from tests.measures.benches import SHARED, MemoryRows, open_bench
from tests.model.families import FAMILIES, TOKENS, VOCABULARY, tiny_loaded
from tests.model.planted import SPECIAL

MODES = {
    "linear": {},
    "linear, first token spared": {"scope": "every_site_but_first_token"},
    "affine": {"operator": "affine"},
    "affine, first token spared": {"operator": "affine", "scope": "every_site_but_first_token"},
}
NEED = CandidateSearch(Probe(32), 8, 0.8)


def salad(seed: int, n: int) -> list[str]:
    """Words of several lengths; odd and even seeds draw other words, so that their means differ."""
    chance = random.Random(seed)
    words = VOCABULARY[len(SPECIAL) :]
    kind = words[: len(words) // 2] if seed % 2 else words[len(words) // 2 :]
    return [" ".join(chance.choices(kind, k=chance.randint(1, 7))) for _ in range(n)]


@cache
def world(name: str):
    """A random model of a family, its candidates and its validation prompts, 5 harmful and 7 harmless ones."""
    torch.set_num_threads(1)
    loaded = tiny_loaded(name)
    sets = [[loaded.chat.render(text) for text in salad(seed, n)] for seed, n in ((0, 12), (1, 12), (2, 5), (3, 7))]
    harmful, harmless = (_post(block_means(loaded, each, n_blocks=4), loaded.chat.n_post) for each in sets[:2])
    directions = differences(harmful, harmless)
    field = Field(
        directions,
        null_rows(directions, activation_scale(harmful, harmless)),
        overall(harmless),
        (1, 2),
    )
    return loaded, field, sets[2], sets[3], MemoryRows()


def _post(made, n_post) -> BlockMeans:
    """Block means at the post-instruction positions."""
    return BlockMeans(made[0], made[1][:, -n_post:])


@cache
def run(name: str, rows: MemoryRows | None = None, **how):
    """A search of a family's model; what is made is kept for the next one."""
    loaded, field, harmful, harmless, kept = world(name)
    tokens = {text: TOKENS[text] for text in ("tell", "draw")}
    scorer = Scorer(
        lambda: loaded,
        harmful,
        harmless,
        field,
        How(**{"max_layer_fraction": 1.0, **how}),
        list(tokens.values()),
        rows or kept,
        lambda *parts: digest(list(parts)),
    )
    return search(scorer, refusal_tokens=tokens, inputs={})


@pytest.fixture(scope="module", autouse=True)
def no_resamples():
    """What lies above the budget is left out: some redrawn set of seven prompts would admit nearly everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "draws", lambda n, stream: np.ones((1, n)))
        yield


def thresholds(whole) -> tuple[float, float]:
    """A KL budget that a third of the candidates keep, and a frontier that two thirds do, each between two of them."""
    kl = np.sort([row["kl"] for row in means(whole) if np.isfinite(row["kl"])])
    budget, frontier = (kl[i - 1 : i + 1].mean() for i in (len(kl) // 3, 2 * len(kl) // 3))
    return float(budget), float(frontier)


CASES = [
    *((name, "linear") for name in FAMILIES),
    *((name, "affine, first token spared") for name in ("gemma2", "gpt2", "gpt_neox", "mixtral")),
    *(("llama", mode) for mode in MODES if mode != "linear"),
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_they_agree_on_a_random_model(name, mode):
    whole = run(name, search="exhaustive", **MODES[mode])
    budget, frontier = thresholds(whole)
    fast = run(name, kl_budget=budget, frontier_kl=frontier, **MODES[mode])
    assert list(failures(fast, whole, kl_budget=budget, kl_within=1e-4)) == []
    # both thresholds left something out, and no score is a constant that anything agrees with
    counts = {score: sum(np.isfinite(row[score]) for row in means(fast)) for score in SCORES}
    assert 0 < counts["bypass"] == counts["s_comply"] < counts["induce"] == counts["s_refuse"] < len(fast.candidates)
    for score in SCORES:
        assert np.nanstd([row[score] for row in means(whole)]) > 1e-3, score


@pytest.mark.parametrize(
    ("name", "mode"), [*(("llama", mode) for mode in MODES), ("gemma2", "linear"), ("gpt2", "affine")]
)
def test_the_search_for_the_winner_finds_the_exhaustive_ones(name, mode):
    whole = run(name, search="exhaustive", **MODES[mode])
    found = set()
    for budget in thresholds(whole):
        for rule in RULES:
            how = replace(rule, kl_budget=budget, max_layer_fraction=1.0)
            fast = run(name, search="winner", kl_budget=budget, selecting=how, **MODES[mode])
            one, two = selection(fast, how).selected, selection(whole, how).selected
            assert (one and (one.position, one.layer)) == (two and (two.position, two.layer)), how
            found.add(two and (two.position, two.layer))
    assert found != {None}


@pytest.mark.parametrize(("layer", "position", "mode"), [(1, -1, "linear"), (3, -2, "affine, first token spared")])
def test_they_agree_on_a_planted_model_and_find_what_was_planted(planted, layer, position, mode):
    bench = open_bench(planted(layer=layer, position=position), SHARED)
    need = replace(NEED, **MODES[mode])
    whole, fast = (bench.fulfil(replace(need, search=way)) for way in ("exhaustive", "frontier"))
    assert list(failures(fast, whole)) == []
    for rule in (RULES[0], RULES[2]):
        winner = bench.fulfil(replace(need, search="winner", selecting=rule))
        for table in (whole, winner):
            chosen = selection(table, rule).selected
            assert (chosen.position, chosen.layer) == (position, layer)


def test_they_agree_on_a_model_without_a_carrier(planted):
    bench = open_bench(planted(refuses=False), SHARED)
    whole, fast = (bench.fulfil(replace(NEED, search=way)) for way in ("exhaustive", "frontier"))
    assert list(failures(fast, whole)) == []
    assert selection(whole, RULES[0]).selected is None


def test_the_exhaustive_search_takes_three_plain_passes_a_candidate(monkeypatch):
    passes = []
    whole_pass = exhaustive._whole_pass

    def counted(loaded, edits, prompts, low_layers):
        passes.append((len(edits), len(prompts)))
        return whole_pass(loaded, edits, prompts, low_layers)

    monkeypatch.setattr(exhaustive, "_whole_pass", counted)
    table = run("llama", MemoryRows(), search="exhaustive")
    alive = sum(row.excluded != "null" for row in table.candidates)
    everywhere = 3 * table.n_layers
    assert passes == [(0, 5), (0, 7)] + [(everywhere, 5), (everywhere, 7), (1, 7)] * alive


def test_a_wrong_score_a_hole_and_another_choice_are_failures():
    whole = run("llama", search="exhaustive")
    budget, frontier = thresholds(whole)
    fast = run("llama", kl_budget=budget, frontier_kl=frontier)
    at = int(np.nanargmin(fast.arditi.kl.mean(axis=1)))  # a candidate with every score
    for name, error, complaint in (
        ("induce", 0.01, "induce differs by 0.01"),
        ("bypass", 0.01, "bypass differs by 0.01"),
        ("bypass", np.nan, "lacks bypass"),
        ("induce", np.nan, "lacks induce"),
    ):
        values = getattr(fast.arditi, name).copy()
        values[at] += error
        spoiled = replace(fast, arditi=replace(fast.arditi, **{name: values}))
        found = list(failures(spoiled, whole, kl_budget=budget))
        assert any(complaint in one for one in found), found
    all_screened = replace(fast, candidates=tuple(replace(row, excluded="screened") for row in fast.candidates))
    found = list(failures(all_screened, whole, kl_budget=budget))
    for complaint in ("is null for one", "was screened at", "nearest None, and not"):
        assert any(complaint in one for one in found), found

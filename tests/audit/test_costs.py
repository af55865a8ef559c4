"""What needs cost: every kind has a price, prices grow with what is asked, and one prefill is one prefill."""

from __future__ import annotations

import dataclasses

import pytest

from geoaudit.attacks import gcg_settings
from geoaudit.attacks.cases import Attack
from geoaudit.audit import costs
from geoaudit.audit.costs import SCORED_IN_FULL, memory_bytes, seconds_per_unit, works
from geoaudit.audit.order import PHASES
from geoaudit.carriers.select import Selecting
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import (
    Beliefs,
    CandidateSearch,
    Categories,
    Cells,
    Completions,
    CosineProfiles,
    Damage,
    EditedCompletions,
    Examination,
    Intervention,
    Inversion,
    Judged,
    Optimised,
    Probe,
    Projections,
    SubspaceAblation,
    Transfer,
)

PROBE = Probe(32)
SEARCH = CandidateSearch(PROBE, 16, 0.8)
HOW = Selecting("cosmic")
GCG = Attack("gcg", budget=20, width=64)
ALL = {
    Completions: Completions(Source("harmful"), 16, 8),
    Judged: Judged(Completions(Source("harmful"), 16, 8), "harmbench"),
    Probe: PROBE,
    Categories: Categories(32),
    Cells: Cells(32),
    Projections: Projections(PROBE, 16),
    CandidateSearch: SEARCH,
    Examination: Examination(SEARCH, HOW, "nearest"),
    SubspaceAblation: SubspaceAblation(SEARCH, HOW, "carrier", 16),
    CosineProfiles: CosineProfiles("identified", -1, -1, "refused", "carrier", 32, 16, (Cells(32), Categories(32))),
    Beliefs: Beliefs(32, 16),
    Inversion: Inversion(PROBE, 16, 2, 1.0, "harmless"),
    Intervention: Intervention(SEARCH, HOW, "carrier", "R", "ablate", "every_site", 1.0, 1, Source("harmful"), 16, 19),
    Transfer: Transfer(SEARCH, HOW, "carrier", "step50"),
    Optimised: Optimised(Source("harmful"), 16, GCG),
}
ALL[EditedCompletions] = EditedCompletions(ALL[Completions], ALL[Intervention])
ALL[Damage] = Damage(ALL[Intervention], written=True)


def work(need, n_layers: int = 30):
    (found,) = works([("ckpt", need)], lambda name: n_layers, None)
    return found


def test_every_kind_of_need_but_another_checkpoints_has_a_price():
    assert {*ALL} == {kind for kind in PHASES if kind.__name__ != "Elsewhere"}


@pytest.mark.parametrize("need", ALL.values(), ids=[kind.__name__ for kind in ALL])
def test_a_price_has_prompts_tokens_and_a_title(need):
    found = work(need)
    assert found.node == ("ckpt", need)
    assert found.prompts > 0
    assert found.tokens > found.prompts
    assert found.units >= found.tokens
    assert found.title.startswith(found.phase)


def test_titles_tell_needs_of_one_phase_apart():
    titles = [work(need).title for need in ALL.values()]
    assert len(set(titles)) == len(titles)
    assert work(ALL[Transfer]).title == "carrier transfer from step50"


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (SEARCH, dataclasses.replace(SEARCH, n_validation=32)),
        (dataclasses.replace(SEARCH, max_layer_fraction=0.4), SEARCH),
        (SEARCH, dataclasses.replace(SEARCH, search="exhaustive")),
        (PROBE, Probe(64)),
        (Categories(32), PROBE),
        (PROBE, Cells(32)),
        (Categories(32), Categories(64)),
        (Projections(PROBE, 8), Projections(PROBE, 16)),
        (ALL[Transfer], ALL[Examination]),
        (ALL[Transfer], SEARCH),
        (Cells(32), ALL[Beliefs]),
        (ALL[Inversion], dataclasses.replace(ALL[Inversion], n_validation=32)),
        (ALL[CosineProfiles], dataclasses.replace(ALL[CosineProfiles], n_validation=32)),
        (ALL[SubspaceAblation], dataclasses.replace(ALL[SubspaceAblation], n=32)),
        (ALL[Intervention], dataclasses.replace(ALL[Intervention], n_controls=39)),
        (dataclasses.replace(ALL[Intervention], scope="single_layer"), ALL[Intervention]),
        (dataclasses.replace(ALL[Damage], written=False), ALL[Damage]),
        (dataclasses.replace(ALL[Intervention], reads="harmless_kl"), ALL[Intervention]),
        (ALL[Judged], dataclasses.replace(ALL[Judged], completions=ALL[EditedCompletions])),
        (
            ALL[EditedCompletions],
            EditedCompletions(dataclasses.replace(ALL[Completions], max_new_tokens=9), ALL[Intervention]),
        ),
        (ALL[Completions], dataclasses.replace(ALL[Completions], max_new_tokens=9)),
        (ALL[Completions], dataclasses.replace(ALL[Completions], n=17)),
        (ALL[Completions], dataclasses.replace(ALL[Completions], attack=GCG)),
        (
            dataclasses.replace(ALL[Completions], attack=GCG),
            dataclasses.replace(ALL[Completions], attack=dataclasses.replace(GCG, name="autodan")),
        ),
        (ALL[Optimised], dataclasses.replace(ALL[Optimised], n=17)),
        (ALL[Optimised], dataclasses.replace(ALL[Optimised], attack=dataclasses.replace(GCG, budget=21))),
        (ALL[Optimised], dataclasses.replace(ALL[Optimised], attack=dataclasses.replace(GCG, width=65))),
        (ALL[Optimised], dataclasses.replace(ALL[Optimised], attack=dataclasses.replace(GCG, name="autodan"))),
    ],
)
def test_more_costs_more(less, more):
    assert work(less).units < work(more).units


def test_text_is_made_once_for_the_target_and_once_for_each_control():
    """A step with an edit costs more than one without."""
    edited, plain = work(ALL[EditedCompletions]), work(ALL[Completions])
    assert edited.prompts == 20 * plain.prompts
    assert edited.tokens == pytest.approx(20 * plain.tokens, rel=0.001)
    assert edited.units > 20 * plain.units
    assert edited.title == f"generate under edits {plain.what}, {work(ALL[Intervention]).what}"


def test_answers_under_edits_are_counted_where_they_are_read_and_where_they_are_written():
    """Nine edits read 30 tokens of 16 answers, five write 64 tokens of them."""
    read, both = work(dataclasses.replace(ALL[Damage], written=False)), work(ALL[Damage])
    assert read.prompts == both.prompts == 16
    assert both.tokens - read.tokens == 5 * 16 * 64
    assert both.units - read.units > both.tokens - read.tokens
    assert 9 * 16 * 30 < read.tokens < 9 * 16 * 120
    assert both.title == f"damage of {work(ALL[Intervention]).what}"


def test_a_target_is_read_to_its_end_behind_the_best_candidates_only(monkeypatch):
    """At share 1 behind all of them; the estimate follows the share that the audit attacks with."""
    usual = work(ALL[Optimised]).tokens

    def at(share: float) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(costs, "GCG", lambda: gcg_settings.GCG(share=share))
            return work(ALL[Optimised]).tokens

    assert usual == at(gcg_settings.GCG().share)
    assert at(0.01) < at(0.25) < at(0.5) < at(1)
    candidates = GCG.budget * GCG.width * 16
    assert at(1) - at(0.25) == pytest.approx(candidates * 0.75 * costs.TARGET_TOKENS * (1 - costs.READ_OF_ALL), abs=1)
    # what a step on SmolLM2-135M read: 21.0 to 31.6 tokens a candidate, in the mean 26.0, and its template is short
    gradients = work(dataclasses.replace(ALL[Optimised], attack=dataclasses.replace(GCG, width=0))).tokens
    assert 26 < (usual - gradients) / candidates < 1.5 * 26


def test_a_search_grows_with_the_layers_and_a_look_at_one_direction_does_not():
    assert work(SEARCH, 60).units == pytest.approx(2 * work(SEARCH, 30).units, rel=0.01)
    assert work(ALL[Examination], 60).units == work(ALL[Examination], 30).units


def test_an_exhaustive_search_scores_every_candidate_in_full():
    full, bounded = work(dataclasses.replace(SEARCH, search="exhaustive")).units, work(SEARCH).units
    assert 1.5 < full / bounded < (3 / (1 + 2 * SCORED_IN_FULL)) + 0.1


def test_layers_are_those_of_the_checkpoint_that_is_searched():
    deep, flat = works([("deep", SEARCH), ("flat", SEARCH)], {"deep": 40, "flat": 20}.__getitem__, None)
    assert deep.units > 1.9 * flat.units


def test_rules_of_thumb_grow_with_the_model():
    assert seconds_per_unit(2 * 10**9, "cpu") == pytest.approx(2 * seconds_per_unit(10**9, "cpu"))
    assert seconds_per_unit(10**9, "cuda:0") < seconds_per_unit(10**9, "cpu")
    full, half = (memory_bytes(135_000_000, 30, 576, 49_152, dtype) for dtype in ("float32", "bfloat16"))
    assert 135_000_000 * 2 < half < full < 10**10

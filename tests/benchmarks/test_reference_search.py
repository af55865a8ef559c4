"""The plain reference finds what is planted, and scores as the exhaustive search does."""

from __future__ import annotations

import numpy as np
import pytest

from geoaudit.carriers import exhaustive
from geoaudit.measures.needs import PROBE_HARMFUL, PROBE_HARMLESS
from geoaudit.prompts.sources import load
from tests.benchmarks import reference_search
from tests.benchmarks.reference_search import Reference
from tests.measures.benches import open_bench
from tests.model.families import HARMFUL, HARMLESS, TOKENS, tiny_loaded
from tests.model.planted import REFUSAL

IDS = [TOKENS["tell"], TOKENS["draw"]]


def run(loaded, ids, **more):
    harmful, harmless = ([loaded.chat.render(text).ids for text in texts] for texts in (HARMFUL, HARMLESS))
    validation = (harmful[:3], harmless[:3])
    return reference_search.search(loaded, (harmful, harmless), validation, ids, n_post=loaded.chat.n_post, **more)


@pytest.mark.parametrize(("layer", "position"), [(1, -1), (3, -2)])
def test_it_finds_the_planted_carrier(planted, layer, position):
    loaded = open_bench(planted(layer=layer, position=position)).loaded
    train, validation = (
        tuple([loaded.chat.render(one.text).ids for one in load(name).prompts[:12]] for name in names)
        for names in zip(PROBE_HARMFUL, PROBE_HARMLESS, strict=True)
    )
    ids = [loaded.tokenizer.convert_tokens_to_ids(REFUSAL)]
    found = reference_search.search(loaded, train, validation, ids, n_post=3, filtered=True)
    assert found.winner() == (position, layer)
    assert found.filtered == (12, 12, 12, 12)
    assert found.winner(kl_budget=-1.0) is None


@pytest.mark.parametrize("name", ["llama", "qwen2", "olmo2"])
def test_its_scores_are_those_of_the_exhaustive_search(name):
    loaded = tiny_loaded(name)
    harmful, harmless = ([loaded.chat.render(text) for text in texts[:3]] for texts in (HARMFUL, HARMLESS))
    found = run(loaded, IDS)
    base = exhaustive.base(loaded, harmful, harmless, (2,), IDS)
    ids = [[loaded.chat.render(text).ids for text in texts] for texts in (HARMFUL, HARMLESS)]
    directions = [reference_search.mean_activations(loaded, each, loaded.chat.n_post) for each in ids]
    difference = (directions[0] - directions[1]).numpy()
    for position, layer in ((-1, 1), (-2, 2), (-3, 1)):
        row = exhaustive.score_candidate(loaded, difference[position, layer], layer, harmful, harmless, base, (2,), IDS)
        for score in ("kl", "bypass", "induce"):
            assert getattr(found, score)[position, layer] == pytest.approx(row[score].mean(), abs=1e-4)


def test_every_kth_candidate_is_scored_as_among_all_and_the_time_scaled_up():
    loaded = tiny_loaded("llama")
    whole, part = run(loaded, IDS), run(loaded, IDS, every=4)
    assert (whole.scored, part.scored, part.kl.size) == (9, 3, 9)
    where = np.isfinite(part.kl)
    assert np.flatnonzero(where).tolist() == [0, 4, 8]
    for score in ("kl", "bypass", "induce"):
        np.testing.assert_array_equal(getattr(part, score)[where], getattr(whole, score)[where])
    assert part.seconds == pytest.approx(part.seconds_directions + 3 * part.seconds_scores)
    assert whole.seconds == whole.seconds_directions + whole.seconds_scores


def test_the_filter_keeps_what_the_model_refuses_and_what_it_answers():
    loaded = tiny_loaded("llama")
    harmful, harmless = ([loaded.chat.render(text).ids for text in texts] for texts in (HARMFUL, HARMLESS))
    logits = [reference_search.last_logits(loaded, each) for each in (harmful, harmless)]
    ids = range(len(TOKENS) // 2)  # as likely as not
    scores = [reference_search.refusal_score(each, ids) for each in logits]
    kept = (int((scores[0] > 0).sum()), int((scores[1] < 0).sum()))
    assert 0 < kept[0] < 8
    assert 0 < kept[1] < 8
    sets = (harmful, harmless)
    assert reference_search.search(loaded, sets, sets, ids, n_post=3, every=99, filtered=True).filtered == (
        *kept,
        *kept,
    )
    with pytest.raises(ValueError, match="leaves no prompt"):
        run(loaded, IDS, filtered=True)


def test_kept_scores_come_back_and_no_others(tmp_path):
    found = run(tiny_loaded("llama"), IDS, every=2)
    file = tmp_path / "scores.npz"
    found.save(file, "a")
    again = Reference.load(file, "a")
    np.testing.assert_array_equal(again.kl, found.kl)
    assert (again.seconds, again.filtered, again.winner()) == (found.seconds, found.filtered, found.winner())
    with pytest.raises(ValueError, match="of another model"):
        Reference.load(file, "b")

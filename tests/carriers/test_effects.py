"""Target and controls share passes, and each score is what one plain pass with its own edit gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoaudit.carriers import effects as module
from geoaudit.carriers.effects import Asked, Edited, Effects, effects
from geoaudit.carriers.passes import Passes
from geoaudit.carriers.scores import Base, kl_to_base, refusal_metric
from geoaudit.errors import RequestError
from geoaudit.interventions.edits import ablate_subspace, add
from geoaudit.model.hooks import Place, edited
from geoaudit.model.loaded import LoadedModel
from tests.model.families import PROMPTS, tiny_loaded

IDS = [3, 5]
HARMLESS = 2


def asked_of(loaded: LoadedModel) -> Asked:
    passes = Passes(loaded, [loaded.chat.render(text) for text in PROMPTS], (1,))
    return Asked(passes, Base(passes.plain.logits[0, :HARMLESS]), HARMLESS, IDS)


def frames(loaded: LoadedModel, n: int, k: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, loaded.d_model, k))
    return np.linalg.qr(drawn)[0].swapaxes(-1, -2)


@torch.no_grad()
def plainly(loaded: LoadedModel, places: dict) -> torch.Tensor:
    """Last-token logits of every prompt, one whole pass each."""
    with edited(loaded, places):
        rows = [
            loaded.causal_lm(input_ids=torch.tensor([list(loaded.chat.render(text).ids)])).logits[0, -1]
            for text in PROMPTS
        ]
    return torch.stack(rows)


def everywhere(loaded: LoadedModel) -> list[Place]:
    places: list[Place] = [("resid_pre", 0)]
    for layer in range(loaded.n_layers):
        places += [("attn_out", layer), ("mlp_out", layer)]
    return places


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("k", [1, 2])
def test_ablation_is_that_of_plain_passes(family, layer, k):
    loaded = tiny_loaded(family)
    asked, drawn = asked_of(loaded), frames(loaded, 3, k)
    doses = np.array([1.0, 0.5, -2.0])
    edits = Edited("ablate", drawn, layer)
    scores, kl = asked.scores(edits, doses), asked.kl(edits, doses)
    bare = plainly(loaded, {})
    np.testing.assert_allclose(asked.base, refusal_metric(bare[HARMLESS:], IDS), atol=1e-4)
    for c in range(3):
        basis, dose = torch.from_numpy(drawn[c]).float(), float(doses[c])
        places = everywhere(loaded) if layer is None else [("resid_pre", layer)]
        logits = plainly(loaded, dict.fromkeys(places, lambda x, b=basis, d=dose: ablate_subspace(x, b, d)))
        np.testing.assert_allclose(scores[c], refusal_metric(logits[HARMLESS:], IDS), atol=1e-3)
        np.testing.assert_allclose(kl[c], kl_to_base(bare[:HARMLESS], logits[:HARMLESS]), atol=1e-4)


def test_addition_is_that_of_plain_passes():
    loaded = tiny_loaded("llama")
    asked, drawn = asked_of(loaded), 2.5 * frames(loaded, 2, 1)
    doses = np.array([1.0, -0.5])
    scores = asked.scores(Edited("add", drawn, 1), doses)
    for c in range(2):
        vector = torch.from_numpy(drawn[c, 0]).float() * float(doses[c])
        logits = plainly(loaded, {("resid_pre", 1): lambda x, v=vector: add(x, v)})
        np.testing.assert_allclose(scores[c], refusal_metric(logits[HARMLESS:], IDS), atol=1e-3)


def test_dose_zero_is_no_intervention():
    loaded = tiny_loaded("llama")
    asked = asked_of(loaded)
    for edits in (Edited("ablate", frames(loaded, 2, 2), None), Edited("add", frames(loaded, 2, 1), 1)):
        np.testing.assert_allclose(asked.scores(edits, np.zeros(2)), np.tile(asked.base, (2, 1)), atol=1e-5)
        assert np.abs(asked.kl(edits, np.zeros(2))).max() < 1e-4


def test_how_many_share_a_pass_does_not_matter(monkeypatch):
    loaded = tiny_loaded("llama")
    asked, edits = asked_of(loaded), Edited("ablate", frames(loaded, 5, 1), None)
    whole = asked.scores(edits, np.ones(5))
    monkeypatch.setattr(module, "AT_ONCE", 2)
    np.testing.assert_allclose(asked.scores(edits, np.ones(5)), whole, atol=1e-4)


def test_sparing_the_first_token_is_another_edit():
    loaded = tiny_loaded("llama")
    asked, drawn = asked_of(loaded), frames(loaded, 1, 1)
    all_tokens, spared = (asked.scores(Edited("ablate", drawn, None, spare), np.ones(1)) for spare in (False, True))
    assert np.abs(all_tokens - spared).max() > 1e-3


@pytest.mark.parametrize("dose", [1.0, -1.0])
def test_no_matched_control_disturbs_more_than_the_target(dose):
    loaded = tiny_loaded("llama")
    asked = asked_of(loaded)
    target, controls = (
        Edited("ablate", frames(loaded, 1, 1), None),
        Edited("ablate", frames(loaded, 6, 1, seed=1), None),
    )
    made = effects(asked, target, dose, controls, {"random": (controls.some([0, 1]), np.full(2, dose))})
    found = Effects.of_arrays(made, 2, None, {})
    matched, random = found.controls["kl_matched"], found.controls["random"]
    assert (matched.kl <= found.kl.mean()).all()
    assert (np.sign(matched.dose[matched.dose != 0]) == np.sign(dose)).all()
    assert (random.dose == dose).all()
    np.testing.assert_allclose(found.target, asked.scores(target, np.array([dose]))[0], atol=1e-5)
    np.testing.assert_allclose(matched.scores, asked.scores(controls, matched.dose), atol=1e-5)
    assert (found.base.size, found.kl.size) == (len(PROMPTS) - HARMLESS, HARMLESS)


@pytest.mark.parametrize("layer", [None, 1])
def test_a_norm_matched_control_takes_as_much_out_along_another_direction(layer):
    loaded = tiny_loaded("llama")
    asked, drawn = asked_of(loaded), frames(loaded, 3, 1)
    target, own = drawn[0, 0], np.array([1.0])
    ablated = asked.scores(Edited("ablate", drawn[:1], layer, True), own)
    along_itself = Edited("redirect", drawn[:1], layer, True, target)
    np.testing.assert_allclose(asked.scores(along_itself, own), ablated, atol=1e-4)
    others = asked.scores(Edited("redirect", drawn[1:], layer, True, target), np.array([1.0, -1.0]))
    assert np.abs(others - ablated).max() > 1e-3


def test_an_addition_needs_one_layer_and_one_vector():
    with pytest.raises(RequestError, match="one vector at one layer"):
        Edited("add", np.zeros((1, 1, 4)), None)
    with pytest.raises(RequestError, match="one vector at one layer"):
        Edited("add", np.zeros((1, 2, 4)), 0)

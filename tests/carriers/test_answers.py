"""Answers under edits, token by token: what plain passes over single texts give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoaudit.carriers import answers as module
from geoaudit.carriers import effects
from geoaudit.carriers.answers import Answers
from geoaudit.carriers.effects import Asked, Edited
from geoaudit.carriers.passes import Passes
from geoaudit.carriers.scores import Base, kl_to_base
from geoaudit.errors import RequestError
from geoaudit.interventions.edits import ablate_subspace, add
from geoaudit.model.chat import Chat
from geoaudit.model.hooks import edited
from geoaudit.model.loaded import LoadedModel
from tests.carriers.test_effects import everywhere, frames
from tests.model.families import PROMPTS, VOCABULARY, tiny_loaded

LENGTHS = (1, 4, 6, 3, 6)
GIVEN = [[9 + (7 * i + 3 * j) % (len(VOCABULARY) - 9) for j in range(n)] for i, n in enumerate(LENGTHS)]
"""An answer to each of PROMPTS; the first is of one token."""


def answers_of(loaded: LoadedModel) -> Answers:
    return Answers(loaded, [loaded.chat.render(text) for text in PROMPTS], GIVEN)


@torch.no_grad()
def plainly(loaded: LoadedModel, places: dict) -> list[torch.Tensor]:
    """Logits [T, vocabulary] from which each answer is said, one whole pass over each text."""
    found = []
    with edited(loaded, places):
        for text, answer in zip(PROMPTS, GIVEN, strict=True):
            ids = list(loaded.chat.render(text).ids)
            logits = loaded.causal_lm(input_ids=torch.tensor([[*ids, *answer]])).logits[0]
            found.append(logits[len(ids) - 1 : len(ids) - 1 + len(answer)])
    return found


def losses(logits: list[torch.Tensor]) -> list[np.ndarray]:
    return [
        -torch.log_softmax(each, dim=-1)[range(len(answer)), answer].numpy()
        for each, answer in zip(logits, GIVEN, strict=True)
    ]


def agrees(found: np.ndarray, expected: list, atol: float) -> None:
    """[n, T] with NaN behind each answer's end."""
    assert found.shape == (len(LENGTHS), max(LENGTHS))
    for row, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(row[: len(values)], values, atol=atol)
        assert np.isnan(row[len(values) :]).all()


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("system", [None, "wash a car and paint a house"])
def test_kl_and_loss_are_those_of_plain_passes(family, layer, system):
    """With a long shared prefix and without one."""
    loaded = tiny_loaded(family)
    loaded.chat = Chat(loaded.tokenizer, system=system)
    read, drawn, doses = answers_of(loaded), frames(loaded, 3, 2), np.array([1.0, 0.5, -2.0])
    kl, loss = read.under(Edited("ablate", drawn, layer), doses)
    bare = plainly(loaded, {})
    agrees(read.loss, losses(bare), 1e-4)
    for c in range(3):
        basis, dose = torch.from_numpy(drawn[c]).float(), float(doses[c])
        places = everywhere(loaded) if layer is None else [("resid_pre", layer)]
        under = plainly(loaded, dict.fromkeys(places, lambda x, b=basis, d=dose: ablate_subspace(x, b, d)))
        agrees(kl[c], [kl_to_base(one, other) for one, other in zip(bare, under, strict=True)], 1e-3)
        agrees(loss[c], losses(under), 1e-3)


def test_an_addition_is_that_of_plain_passes():
    loaded = tiny_loaded("llama")
    drawn = 2.5 * frames(loaded, 2, 1)
    _, loss = answers_of(loaded).under(Edited("add", drawn, 1), np.array([1.0, -0.5]))
    for c, dose in enumerate((1.0, -0.5)):
        vector = torch.from_numpy(drawn[c, 0]).float() * dose
        agrees(loss[c], losses(plainly(loaded, {("resid_pre", 1): lambda x, v=vector: add(x, v)})), 1e-3)


@pytest.mark.parametrize("layer", [None, 1])
def test_token_0_is_spared_where_asked(layer):
    loaded = tiny_loaded("llama")
    drawn = frames(loaded, 1, 1)
    basis = torch.from_numpy(drawn[0]).float()

    def but_first(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :1], ablate_subspace(x, basis)[:, 1:]], dim=1)

    places = everywhere(loaded) if layer is None else [("resid_pre", layer)]
    _, loss = answers_of(loaded).under(Edited("ablate", drawn, layer, True), np.ones(1))
    agrees(loss[0], losses(plainly(loaded, dict.fromkeys(places, but_first))), 1e-3)
    _, all_tokens = answers_of(loaded).under(Edited("ablate", drawn, layer), np.ones(1))
    assert np.nanmax(np.abs(all_tokens - loss)) > 1e-3


def test_the_first_place_is_where_a_kl_of_the_next_token_is_read():
    loaded = tiny_loaded("llama")
    rendered = [loaded.chat.render(text) for text in PROMPTS]
    passes = Passes(loaded, rendered, (1,))
    asked = Asked(passes, Base(passes.plain.logits[0]), len(rendered), [3])
    edits = Edited("ablate", frames(loaded, 2, 1), None)
    kl, _ = answers_of(loaded).under(edits, np.ones(2))
    np.testing.assert_allclose(kl[:, :, 0], asked.kl(edits, np.ones(2)), atol=1e-4)


def test_dose_zero_changes_nothing():
    loaded = tiny_loaded("llama")
    read = answers_of(loaded)
    kl, loss = read.under(Edited("ablate", frames(loaded, 2, 2), None), np.zeros(2))
    assert np.nanmax(np.abs(kl)) < 1e-4
    np.testing.assert_allclose(loss, np.stack([read.loss, read.loss]), atol=1e-4)


def test_how_much_is_held_together_does_not_matter(monkeypatch):
    loaded = tiny_loaded("llama")
    edits, doses = Edited("ablate", frames(loaded, 5, 1), None), np.linspace(0.2, 1, 5)
    whole = answers_of(loaded).under(edits, doses)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(module, "AT_ONCE", 2)
    assert effects.AT_ONCE != 2
    for one, other in zip(answers_of(loaded).under(edits, doses), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_edit_that_breaks_the_model_gives_no_numbers():
    loaded = tiny_loaded("llama")
    drawn = frames(loaded, 1, 1)
    kl, loss = answers_of(loaded).under(Edited("add", drawn * np.nan, 1), np.ones(1))
    there = ~np.isnan(answers_of(loaded).loss)
    assert np.isnan(kl[0][there]).all()
    assert np.isnan(loss[0][there]).all()


@pytest.mark.parametrize("given", [[], GIVEN[:-1], [*GIVEN[:-1], []]])
def test_every_prompt_needs_an_answer(given):
    loaded = tiny_loaded("llama")
    with pytest.raises(RequestError, match="a token or more"):
        Answers(loaded, [loaded.chat.render(text) for text in PROMPTS], given)

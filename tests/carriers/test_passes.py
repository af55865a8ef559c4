"""Fast passes give what one plain pass for each candidate and prompt gives, in every architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor

from geoaudit.carriers import passes
from geoaudit.carriers.passes import Passes, Read
from geoaudit.interventions.edits import ablate, ablate_subspace, add, affine
from geoaudit.model.batches import packed
from geoaudit.model.hooks import Edit, Place, captured, edited, every_site, skipped_below
from geoaudit.model.loaded import LoadedModel
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded

LOW = (1, 2)
SOME = [3, 0, 4]
C = 3


def plain(loaded: LoadedModel, edits: Mapping[Place, Edit], prompt: int) -> tuple[Tensor, Tensor]:
    """Logits and low-layer mean at the last token of one prompt, alone, by one whole forward pass."""
    ids = torch.tensor([list(loaded.chat.render(PROMPTS[prompt]).ids)])
    with torch.no_grad(), edited(loaded, edits), captured(loaded, [("resid_post", layer) for layer in LOW]) as seen:
        logits = loaded.causal_lm(input_ids=ids).logits[0, -1]
    return logits, torch.stack([seen[("resid_post", layer)][0, -1] for layer in LOW]).double().mean(dim=0)


def agree(read: Read, loaded: LoadedModel, edits: Callable[[int], Mapping[Place, Edit]], prompts: list[int]) -> None:
    for candidate in range(len(read.logits)):
        for column, prompt in enumerate(prompts):
            logits, low = plain(loaded, edits(candidate), prompt)
            torch.testing.assert_close(read.logits[candidate, column], logits, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(read.low[candidate, column], low, rtol=1e-3, atol=1e-4)


@pytest.fixture(params=sorted(FAMILIES))
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny_loaded(request.param)


def vectors(loaded: LoadedModel, k: int | None = None, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(*((C,) if k is None else (C, k)), loaded.d_model)


def opened(loaded: LoadedModel) -> Passes:
    return Passes(loaded, [loaded.chat.render(text) for text in PROMPTS], LOW)


def test_without_an_edit(loaded):
    made = opened(loaded)
    assert made.shared > 0, "the test would not see the prefix"
    agree(made.plain, loaded, lambda c: {}, list(range(len(PROMPTS))))


def test_ablation_at_every_site(loaded):
    r = vectors(loaded)
    read = opened(loaded).ablated(r, SOME)
    agree(read, loaded, lambda c: dict.fromkeys(every_site(loaded), lambda x: ablate(x, r[c])), SOME)


def test_ablation_that_spares_the_first_token(loaded):
    r = vectors(loaded)

    def spared(c: int) -> Edit:
        return lambda x: torch.cat([x[:, :1], ablate(x, r[c])[:, 1:]], dim=1)

    read = opened(loaded).ablated(r, SOME, spare_first=True)
    agree(read, loaded, lambda c: dict.fromkeys(every_site(loaded), spared(c)), SOME)


def test_subspace_ablation_with_doses(loaded):
    bases = torch.linalg.qr(vectors(loaded, k=2).transpose(1, 2))[0].transpose(1, 2)
    doses = torch.tensor([1.0, 0.5, 2.0])
    read = opened(loaded).ablated_subspaces(bases, doses, SOME)
    for c in range(C):
        first = Read(read.logits[c : c + 1], read.low[c : c + 1])
        # not idempotent below λ = 1, so the input of a block, a sum of what was edited, must not be edited again
        places: list[Place] = [("resid_pre", 0)]
        places += [place for place in every_site(loaded) if place[0] != "resid_pre"]
        edits = dict.fromkeys(places, lambda x, c=c: ablate_subspace(x, bases[c], float(doses[c])))
        agree(first, loaded, lambda _, edits=edits: edits, SOME)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_edits_at_one_layer(loaded, layer):
    r, mean = vectors(loaded), vectors(loaded, seed=4)
    made = opened(loaded)
    place: Place = ("resid_pre", layer)
    agree(made.added(r, layer, SOME), loaded, lambda c: {place: lambda x: add(x, r[c])}, SOME)
    agree(made.ablated_at_layer(r, layer, SOME), loaded, lambda c: {place: lambda x: ablate(x, r[c])}, SOME)
    agree(
        made.affine(r, mean, 1.0, layer, SOME),
        loaded,
        lambda c: {place: lambda x: affine(x, r[c], mean[c], 1.0)},
        SOME,
    )


def test_the_last_layer_is_reached_too():
    loaded = tiny_loaded("gpt2")
    r = vectors(loaded)
    layer = loaded.n_layers - 1
    agree(opened(loaded).added(r, layer, SOME), loaded, lambda c: {("resid_pre", layer): lambda x: add(x, r[c])}, SOME)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_without_kept_streams_and_in_small_batches(family, monkeypatch):
    loaded = tiny_loaded(family)
    r = vectors(loaded)
    whole = opened(loaded)
    monkeypatch.setattr(passes, "MOST_STREAM_BYTES", 0)
    monkeypatch.setattr(passes, "packed", partial(packed, tokens=8))
    other = opened(loaded)
    assert not other._streams
    assert whole._streams
    for one, two in (
        (whole.added(r, 1, SOME), other.added(r, 1, SOME)),
        (whole.ablated(r, SOME), other.ablated(r, SOME)),
        (whole.plain, other.plain),
    ):
        torch.testing.assert_close(one.logits, two.logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(one.low, two.low, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spare", [True, False])
def test_prompts_that_share_nothing(spare):
    loaded = tiny_loaded("llama")
    r = vectors(loaded)
    made = opened(loaded)
    made.shared = 0
    made._prefix_cache = None
    read = made.ablated(r, SOME, spare_first=spare)

    def edit(c: int) -> Edit:
        return lambda x: torch.cat([x[:, :1], ablate(x, r[c])[:, 1:]], dim=1) if spare else ablate(x, r[c])

    agree(read, loaded, lambda c: dict.fromkeys(every_site(loaded), edit(c)), SOME)


def test_skipped_blocks_come_back():
    loaded = tiny_loaded("llama")
    before, _ = plain(loaded, {}, 0)
    with pytest.raises(RuntimeError, match="inside"), skipped_below(loaded, 2):
        raise RuntimeError("inside")
    after, _ = plain(loaded, {}, 0)
    assert torch.equal(before, after)
    with skipped_below(loaded, 2):
        skipped, _ = plain(loaded, {}, 0)
    assert not torch.allclose(before, skipped)

"""Edits under scopes against plain passes of single prompts, without cache, padding or shared prefix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geoaudit.carriers.passes import Passes
from geoaudit.errors import RequestError
from geoaudit.interventions.applying import applied, logits_under
from geoaudit.interventions.edits import ablate, add
from geoaudit.interventions.scopes import Scope
from geoaudit.model import generate, layout
from geoaudit.model.chat import Chat, Rendered
from geoaudit.model.generate import complete, complete_halving
from geoaudit.model.hooks import captured, edited, every_site
from geoaudit.model.loaded import LoadedModel
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded, tiny_model
from tests.model.test_architecture import with_lora

NEW = 3
SCOPES = {
    "every site, instruction": Scope(positions="instruction"),
    "one layer, answer": Scope(layers=(1,), during="answer"),
    "two layers, all but first": Scope(layers=(0, 2), positions="all_but_first"),
    "every site": Scope(),
    "every site, prompt": Scope(during="prompt"),
    "every site, answer": Scope(during="answer"),
    "one layer, template": Scope(layers=(1,), positions="template"),
    "every site, all but first, prompt": Scope(positions="all_but_first", during="prompt"),
}
EVERYWHERE = list(SCOPES)[:3]
"""Scopes tried on every family."""

Edit = Callable[[Tensor], Tensor]


def direction(width: int = 32) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(5))


def removing(x: Tensor) -> Tensor:
    return ablate(x, direction(), 1.5)


def batch(loaded: LoadedModel) -> list[Rendered]:
    """Of three lengths; the last begins an answer."""
    begun = loaded.chat.render(PROMPTS[0], "paint a house", k=2)
    return [loaded.chat.render(PROMPTS[2]), loaded.chat.render(PROMPTS[1]), begun]


@torch.no_grad()
def alone(loaded: LoadedModel, prompt: Rendered, edit: Edit, scope: Scope, new: int) -> tuple[list[int], Tensor]:
    """Greedy tokens and the first logits, each from one whole pass over prompt and answer so far."""
    tokens = scope.tokens(loaded.chat, prompt)
    stop, ids = generate.stop_tokens(loaded), list(prompt.ids)
    first = None
    while len(ids) < len(prompt.ids) + new:
        chosen = torch.tensor([*tokens, *[scope.answer] * (len(ids) - len(tokens))])[None, :, None]
        places = dict.fromkeys(scope.places(loaded.n_layers), lambda x, c=chosen: torch.where(c, edit(x), x))
        with edited(loaded, places):
            logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
        first = logits if first is None else first
        token = int(logits.argmax())
        if token in stop:
            break
        ids.append(token)
    return ids[len(prompt.ids) :], first


def agrees(loaded: LoadedModel, scope: Scope, edit: Edit = removing) -> None:
    prompts = batch(loaded)
    with applied(loaded, edit, scope) as observer:
        made = complete(loaded, prompts, ["a", "b", "c"], max_new_tokens=NEW, observer=observer)
    expected = [alone(loaded, prompt, edit, scope, NEW) for prompt in prompts]
    texts = []
    for prompt, (ids, _) in zip(prompts, expected, strict=True):
        behind = prompt.ids[len(prompt.ids) - prompt.n_prefill :]
        texts.append(generate._text(loaded, ids, behind))
    assert [one.text for one in made] == texts
    torch.testing.assert_close(
        logits_under(loaded, prompts, edit, scope), torch.stack([first for _, first in expected]), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_generation_and_logits_under_a_scope_are_those_of_each_prompt_alone(name):
    loaded = tiny_loaded(name)
    for scope in EVERYWHERE:
        agrees(loaded, SCOPES[scope])


@pytest.mark.parametrize("scope", SCOPES)
def test_with_a_long_shared_prefix(scope):
    loaded = tiny_loaded("llama")
    loaded.chat = Chat(loaded.tokenizer, system="wash a car and paint a house and renew a passport")
    assert generate._shared(loaded, batch(loaded), NEW) > 10
    agrees(loaded, SCOPES[scope])


@pytest.mark.parametrize("scope", EVERYWHERE)
def test_over_an_adapter(scope):
    plain = tiny_loaded("llama")
    loaded = LoadedModel(with_lora(tiny_model("llama")), plain.tokenizer, plain.chat)
    agrees(loaded, SCOPES[scope])
    agrees(loaded, SCOPES[scope], lambda x: add(x, direction(), 0.5))


def test_scopes_are_told_apart():
    """What the tests above compare is not the same text everywhere."""
    loaded = tiny_loaded("llama")
    prompts = batch(loaded)
    logits = [logits_under(loaded, prompts, removing, scope) for scope in SCOPES.values()]
    logits.append(logits_under(loaded, prompts, lambda x: x, Scope()))
    for i, one in enumerate(logits):
        assert not any(torch.equal(one, other) for other in logits[:i])  # one prompt has tokens of an answer
    texts = set()
    for scope in (SCOPES["every site"], SCOPES["every site, prompt"], SCOPES["every site, answer"]):
        with applied(loaded, removing, scope) as observer:
            made = complete(loaded, prompts, ["a", "b", "c"], max_new_tokens=NEW, observer=observer)
        texts.add(tuple(one.text for one in made))
    assert len(texts) == 3


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fast_passes_of_a_search_agree(name):
    loaded = tiny_loaded(name)
    prompts = [loaded.chat.render(text) for text in PROMPTS]
    passes, every, r = Passes(loaded, prompts, (1,)), list(range(len(prompts))), direction()
    for ours, fast in (
        (Scope(), passes.ablated(r[None], every)),
        (Scope(positions="all_but_first"), passes.ablated(r[None], every, spare_first=True)),
        (Scope(layers=(1,)), passes.ablated_at_layer(r[None], 1, every)),
    ):
        under = logits_under(loaded, prompts, lambda x: ablate(x, r), ours)
        torch.testing.assert_close(under, fast.logits[0], rtol=1e-3, atol=1e-4)
    for ours, spare in ((Scope(layers=(2,)), False), (Scope(layers=(2,), positions="all_but_first"), True)):
        under = logits_under(loaded, prompts, lambda x: add(x, r), ours)
        fast = passes.added(r[None], 2, every, spare_first=spare)
        torch.testing.assert_close(under, fast.logits[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_site_is_the_references_every_site(name):
    """At λ = 1 it makes no difference that the inputs of later blocks, sums of what was edited, are left alone."""
    loaded = tiny_loaded(name)
    ids = torch.tensor([loaded.chat.render(PROMPTS[1]).ids])
    r = direction()

    def logits() -> Tensor:
        with torch.no_grad():
            return loaded.model(input_ids=ids).logits

    with edited(loaded, dict.fromkeys(every_site(loaded), lambda x: ablate(x, r))):
        reference = logits()
    places = [("resid_pre", layer) for layer in range(loaded.n_layers)]
    with applied(loaded, lambda x: ablate(x, r), Scope()), captured(loaded, places) as seen:
        ours = logits()
    torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-4)
    assert max(float((stream @ r).abs().max()) for stream in seen.values()) < 1e-4


def test_afterwards_the_model_gives_the_same_bits():
    loaded = tiny_loaded("llama")
    prompts = batch(loaded)
    ids = torch.tensor([prompts[0].ids])
    with torch.no_grad():
        before = loaded.model(input_ids=ids).logits
        for scope in SCOPES.values():
            with applied(loaded, removing, scope) as observer:
                complete(loaded, prompts, ["a", "b", "c"], max_new_tokens=2, observer=observer)
            assert torch.equal(loaded.model(input_ids=ids).logits, before)
        with pytest.raises(KeyError), applied(loaded, removing, Scope()):
            raise KeyError("mine")
        assert torch.equal(loaded.model(input_ids=ids).logits, before)


@torch.no_grad()
def test_positions_that_are_left_out_keep_their_bits():
    loaded = tiny_loaded("llama")
    prompt = loaded.chat.render(PROMPTS[1])
    scope = Scope(layers=(1,), positions="instruction")
    ids = torch.tensor([prompt.ids])
    place = ("resid_pre", 1)
    with captured(loaded, [place]) as plain:
        loaded.model(input_ids=ids)
    with applied(loaded, removing, scope) as observer, captured(loaded, [place]) as seen:
        observer(layout.suffixes([prompt], 0))
        loaded.model(input_ids=ids)
    same = (plain[place] == seen[place]).all(dim=-1)[0]
    assert same.tolist() == [not chosen for chosen in scope.tokens(loaded.chat, prompt)]


def test_batches_that_are_cut_in_two_are_laid_out_again(monkeypatch):
    loaded = tiny_loaded("llama")
    prompts = batch(loaded)
    scope, whole = SCOPES["every site, instruction"], generate.complete

    def crowded(loaded, rendered, *args, **more):
        made = whole(loaded, rendered, *args, **more)
        if len(rendered) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return made

    with applied(loaded, removing, scope) as observer:
        expected = whole(loaded, prompts, ["a", "b", "c"], max_new_tokens=NEW, observer=observer)
        monkeypatch.setattr(generate, "complete", crowded)
        made, sizes = complete_halving(loaded, prompts, ["a", "b", "c"], max_new_tokens=NEW, observer=observer)
    assert sizes == (1, 1, 1)
    assert [one.text for one in made] == [one.text for one in expected]


def test_an_edit_refuses_to_guess_where_it_is():
    loaded = tiny_loaded("llama")
    prompts = batch(loaded)
    ids = ["a", "b", "c"]
    scope = Scope(positions="instruction")

    def twice():
        with applied(loaded, removing, scope) as observer:
            complete(loaded, prompts, ids, max_new_tokens=2, observer=observer)
            complete(loaded, prompts, ids, max_new_tokens=2)

    def two_of_three():
        with applied(loaded, removing, scope) as observer:
            observer(layout.suffixes(prompts, 0))
            loaded.model(input_ids=torch.tensor([prompts[0].ids] * 2))

    with pytest.raises(RequestError, match=r"has to be told .* pass the observer"), applied(loaded, removing, scope):
        complete(loaded, prompts, ids, max_new_tokens=2)
    with pytest.raises(RequestError, match=r"2 columns where 0 of .* layout of each batch"):
        twice()
    with pytest.raises(RequestError, match="2 rows where a batch of 3"):
        two_of_three()
    with applied(loaded, removing, Scope()):
        complete(loaded, prompts, ids, max_new_tokens=2)  # nothing has to be known
    with pytest.raises(RequestError, match="layer 7 does not exist"), applied(loaded, removing, Scope(layers=(7,))):
        pass
    with pytest.raises(RequestError, match="no prompts"):
        logits_under(loaded, [], removing, Scope())


def test_an_edit_that_returns_another_shape_is_named():
    loaded = tiny_loaded("llama")
    with pytest.raises(RequestError, match="resid_pre of layer 0 returned"):
        logits_under(loaded, batch(loaded), lambda x: x[..., :5], Scope(positions="all_but_first"))

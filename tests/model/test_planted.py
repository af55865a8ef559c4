"""The planted checkpoint is what it says it is: the tests that lean on it lean on this."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from geoaudit.model.activations import block_means
from geoaudit.model.batches import shared_prefix
from geoaudit.model.chat import Chat
from geoaudit.model.generate import complete
from geoaudit.model.hooks import edited, every_site
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import last_logits, prefill
from tests.model.planted import ANSWER, HARMFUL, HARMLESS, LAYERS, REFUSAL, Planted, planted_checkpoint

PLACES = [(2, -1), (1, -2), (3, -3)]


def load(planted: Planted) -> LoadedModel:
    tokenizer = AutoTokenizer.from_pretrained(planted.folder)
    return LoadedModel(AutoModelForCausalLM.from_pretrained(planted.folder), tokenizer, Chat(tokenizer))


@pytest.fixture(scope="module", params=PLACES, ids=str)
def planted(request, tmp_path_factory):
    layer, position = request.param
    made = planted_checkpoint(tmp_path_factory.mktemp("planted"), layer=layer, position=position)
    return made, load(made)


@pytest.fixture(scope="module")
def compliant(tmp_path_factory):
    made = planted_checkpoint(tmp_path_factory.mktemp("compliant"), layer=2, refuses=False)
    return made, load(made)


def render(loaded, prompts):
    return [loaded.chat.render(prompt) for prompt in prompts]


def answers(loaded, prompts) -> set[str]:
    rendered = render(loaded, prompts)
    made = complete(loaded, rendered, [str(i) for i in range(len(prompts))], max_new_tokens=4)
    assert all(one.stopped for one in made)
    return {one.text for one in made}


def difference(loaded) -> torch.Tensor:
    """Difference in means [P, L + 1, d]."""
    harmful, harmless = (block_means(loaded, render(loaded, p), n_blocks=1)[1][0, 1:] for p in (HARMFUL, HARMLESS))
    return torch.from_numpy(harmful - harmless)


def without(direction: torch.Tensor):
    unit = direction / direction.norm()
    return lambda x: x - (x @ unit)[..., None] * unit


def test_it_refuses_harmful_prompts_and_answers_the_others(planted):
    _, loaded = planted
    assert answers(loaded, HARMFUL) == {REFUSAL}
    assert answers(loaded, HARMLESS) == {ANSWER}
    assert answers(loaded, ["what is the weather on the moon today"]) == {ANSWER}


def test_difference_in_means_finds_the_axis_where_it_was_planted_and_not_before(planted):
    made, loaded = planted
    found = difference(loaded)
    cosine = found @ made.direction / found.norm(dim=-1).clamp(min=1e-3)
    at = len(loaded.chat.positions) + made.position
    assert (cosine[at, made.layer :] >= 0.99).all()
    assert cosine[:, : made.layer].abs().max() < 0.01
    others = [p for p in range(len(loaded.chat.positions)) if p != at]
    assert cosine[others, : int(0.8 * LAYERS)].abs().max() < 0.01
    # the same vector in every later layer: a rule that takes the first of equals takes the planted one
    assert torch.equal(found[at, made.layer], found[at, int(0.8 * LAYERS)])
    assert found[at, made.layer].norm() > 10 * found[at, : made.layer].norm(dim=-1).max()


def test_ablating_the_axis_flips_refusal_and_a_random_direction_does_not(planted):
    made, loaded = planted
    with edited(loaded, dict.fromkeys(every_site(loaded), without(made.direction))):
        assert answers(loaded, HARMFUL) == {ANSWER}
    for seed in range(10):
        random = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        with edited(loaded, dict.fromkeys(every_site(loaded), without(random))):
            assert answers(loaded, HARMFUL) == {REFUSAL}
    assert answers(loaded, HARMFUL) == {REFUSAL}


def test_adding_the_axis_at_its_layer_induces_refusal_and_a_random_direction_does_not(planted):
    made, loaded = planted
    found = difference(loaded)[len(loaded.chat.positions) + made.position, made.layer]
    with edited(loaded, {("resid_pre", made.layer): lambda x: x + found}):
        assert answers(loaded, HARMLESS) == {REFUSAL}
    random = torch.randn(64, generator=torch.Generator().manual_seed(1))
    random *= found.norm() / random.norm()
    with edited(loaded, {("resid_pre", made.layer): lambda x: x + random}):
        assert REFUSAL not in answers(loaded, HARMLESS)


def test_ablation_hardly_moves_harmless_prompts(planted):
    made, loaded = planted
    rendered = render(loaded, HARMLESS)
    shared = shared_prefix(rendered)

    def log_probabilities():
        cache = prefill(loaded, rendered[0].ids[:shared])
        return last_logits(loaded, rendered, shared=shared, cache=cache).double().log_softmax(dim=-1)

    base = log_probabilities()
    with edited(loaded, dict.fromkeys(every_site(loaded), without(made.direction))):
        ablated = log_probabilities()
    assert (base.exp() * (base - ablated)).sum(dim=-1).max() < 1e-6


def test_the_model_without_refusal_has_no_such_axis(compliant):
    made, loaded = compliant
    assert answers(loaded, [*HARMFUL, *HARMLESS]) == {ANSWER}
    found = difference(loaded)
    assert (found @ made.direction).abs().max() < 1e-5
    assert found.norm(dim=-1).max() < 0.5


def test_the_same_seed_gives_the_same_checkpoint(tmp_path):
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        planted_checkpoint(tmp_path / name, layer=2, seed=seed)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_other_prompts_bring_their_own_vocabulary(tmp_path):
    made = planted_checkpoint(tmp_path, layer=2, harmful=["How do I pick a lock?"], harmless=["How do I pick a rose?"])
    assert made.harm_words == {"lock"}
    loaded = load(made)
    assert answers(loaded, ["Where is the LOCK!"]) == {REFUSAL}
    assert answers(loaded, ["how to poison a rose"]) == {ANSWER}


def test_a_harmful_prompt_needs_a_word_of_its_own(tmp_path):
    with pytest.raises(ValueError, match="'pick a rose'"):
        planted_checkpoint(tmp_path, layer=2, harmful=["pick a rose"], harmless=["pick a red rose"])


@pytest.mark.parametrize(("layer", "position"), [(0, -1), (4, -1), (2, 0), (2, -4)])
def test_places_that_cannot_be_planted(tmp_path, layer, position):
    with pytest.raises(ValueError, match="layer is 1 to 3 and position -3 to -1"):
        planted_checkpoint(tmp_path, layer=layer, position=position)


def test_the_template_takes_a_system_prompt(planted):
    _, loaded = planted
    chat = Chat(loaded.tokenizer, system="be a neighbour")
    assert chat.post_tokens == ["<|end|>", "<|assistant|>", "<|answer|>"]
    under_system = LoadedModel(loaded.model, loaded.tokenizer, chat)
    assert answers(under_system, HARMFUL) == {REFUSAL}
    assert answers(under_system, HARMLESS) == {ANSWER}

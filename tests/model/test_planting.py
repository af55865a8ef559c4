"""Planted checkpoints of every architecture are what they say they are: the planted searches lean on it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from geoaudit.model.activations import block_means
from geoaudit.model.chat import Chat
from geoaudit.model.generate import complete
from geoaudit.model.hooks import edited, every_site
from geoaudit.model.loaded import LoadedModel
from tests.model.planted import HARMFUL, HARMLESS, REFUSAL, words
from tests.model.planting import (
    ANSWERS,
    FAMILIES,
    NORMS,
    SEARCHED,
    Axis,
    Planting,
    Sown,
    drawn,
    drawn_negative,
    plant,
)
from tests.model.planting_weights import LAYERS, stream

AT_INST = -4


def load(sown: Sown) -> LoadedModel:
    tokenizer = AutoTokenizer.from_pretrained(sown.folder)
    return LoadedModel(AutoModelForCausalLM.from_pretrained(sown.folder), tokenizer, Chat(tokenizer))


@pytest.fixture(scope="module", params=enumerate(FAMILIES), ids=lambda each: each[1])
def planted(request, tmp_path_factory):
    index, family = request.param
    sown = plant(tmp_path_factory.mktemp(family), drawn(family, index, rank=1 + index % 3), HARMFUL, HARMLESS)
    return sown, load(sown)


def made(folder, planting, **more):
    sown = plant(folder, planting, HARMFUL, HARMLESS, **more)
    return sown, load(sown)


def refusals(loaded, prompts) -> list[bool]:
    """Whether each prompt is refused; whatever is no refusal has to be one of the answers."""
    rendered = [loaded.chat.render(prompt) for prompt in prompts]
    made = complete(loaded, rendered, [str(i) for i in range(len(prompts))], max_new_tokens=4)
    assert {one.text for one in made} <= {REFUSAL, *ANSWERS}
    return [one.text == REFUSAL for one in made]


def difference(loaded) -> torch.Tensor:
    """Difference in means at the template's tokens and `resid_pre`, [positions, layers, d]."""
    rendered = [[loaded.chat.render(prompt) for prompt in prompts] for prompts in (HARMFUL, HARMLESS)]
    harmful, harmless = (torch.from_numpy(block_means(loaded, each, n_blocks=1)[1][0]) for each in rendered)
    return (harmful - harmless)[-3:, :LAYERS]


def without(loaded, directions):
    """Every site, without the span of orthonormal rows."""
    return edited(loaded, dict.fromkeys(every_site(loaded), lambda x: x - (x @ directions.T) @ directions))


def test_it_refuses_harmful_prompts_and_answers_the_others(planted):
    _, loaded = planted
    assert all(refusals(loaded, HARMFUL))
    assert not any(refusals(loaded, HARMLESS))


def test_the_field_of_differences_in_means_is_the_planted_one(planted):
    sown, loaded = planted
    assert sown.planting.rank == len(sown.axes) == len({axis.position for axis in sown.planting.axes})
    off = (difference(loaded) - sown.field).norm(dim=-1)
    first = sown.planting.axes[0]
    held = [(axis.position, layer) for axis in sown.planting.axes for layer in range(axis.layer, LAYERS)]
    assert max(off[place] for place in held) < 0.2
    assert off[first.position, first.layer] < 0.08, "little else where it is written, more behind that"
    assert off.max() < 0.2
    assert sown.field[first.position, first.layer].norm() == pytest.approx(NORMS[0])


def test_one_axis_takes_no_refusal_away_unless_it_is_the_only_one(planted):
    sown, loaded = planted
    for left_out in range(sown.planting.rank):
        with without(loaded, sown.axes[[left_out]]):
            assert set(refusals(loaded, HARMFUL)) == {sown.planting.rank > 1}
    with without(loaded, sown.axes):
        assert not any(refusals(loaded, [*HARMFUL, *HARMLESS]))


def test_adding_the_first_axis_makes_a_refusal_and_adding_a_random_one_does_not(planted):
    sown, loaded = planted
    first = sown.planting.axes[0]
    random = torch.randn(sown.axes.shape[1], generator=torch.Generator().manual_seed(0))
    for vector, refused in ((sown.axes[0], True), (random / random.norm(), False)):
        with edited(loaded, {("resid_pre", first.layer): lambda x, v=vector: x + first.norm * v}):
            assert set(refusals(loaded, HARMLESS)) == {refused}


def test_no_later_layer_holds_the_first_axis_as_purely(planted):
    sown, loaded = planted
    first = sown.planting.axes[0]
    rows = difference(loaded)[first.position, first.layer :]
    cosines = rows @ sown.axes[0] / rows.norm(dim=-1)
    assert cosines[0] > 0.999
    assert (cosines[1:] < 0.99).all()


def test_the_last_token_of_the_instruction_holds_harmfulness_at_the_planted_angle(planted):
    sown, loaded = planted
    rendered = [[loaded.chat.render(prompt).ids for prompt in prompts] for prompts in (HARMFUL, HARMLESS)]
    assert {loaded.chat.render(prompt).t_inst - len(ids) for prompt, ids in zip(HARMFUL, rendered[0], strict=True)} == {
        AT_INST
    }
    one, other = (stream(loaded.model, ids, 1, AT_INST).mean(dim=0) for ids in rendered)
    found = (one - other) / (one - other).norm()
    assert found @ sown.harmfulness > 0.98
    assert sown.harmfulness @ sown.axes[0] == pytest.approx(math.cos(math.radians(sown.planting.angle)), abs=1e-5)
    # a word's own part in it is no axis of refusal: the coupling is planted, not left to chance
    assert abs(found @ sown.axes[0]) == pytest.approx(abs(float(sown.harmfulness @ sown.axes[0])), rel=0.02)


def test_effective_rank_and_subspace_are_those_of_the_field():
    even = Planting("llama", (Axis(1, -1, 2.0, 1.0), Axis(1, -2, 2.0, 1.0), Axis(1, -3, 2.0, 1.0)), 0, drift=0.0)
    sown = Sown(None, even, torch.eye(5)[:3], torch.eye(5)[3], torch.eye(5)[4])
    assert sown.effective_rank == pytest.approx(3)
    assert torch.linalg.matrix_rank(torch.cat([sown.subspace, torch.eye(5)[:3].double()])) == 3
    weaker = dataclasses.replace(even, axes=(Axis(2, -1, 3.0, 1.0), Axis(1, -2, 1.0, 1.0)))
    energies = np.array([9 * (LAYERS - 2), LAYERS - 1])
    shares = energies / energies.sum()
    assert dataclasses.replace(sown, planting=weaker, axes=torch.eye(5)[:2]).effective_rank == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum())
    )
    alone = dataclasses.replace(even, axes=even.axes[:1], drift=1.0)
    drifting = dataclasses.replace(sown, planting=alone, axes=torch.eye(5)[:1])
    assert drifting.field[-1, 1] @ drifting.drift == 0
    assert all(row @ drifting.drift == 1 for row in drifting.field[-1, 2:])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_seeds_draw_every_place(rank):
    plantings = [drawn("llama", seed, rank) for seed in range(200)]
    first = {(each.axes[0].layer, each.axes[0].position) for each in plantings}
    assert first == {(layer, position) for layer in range(1, SEARCHED) for position in (-3, -2, -1)}
    for each in plantings:
        assert each.rank == rank
        assert max(axis.layer for axis in each.axes) == each.axes[0].layer
    assert {drawn("llama", seed).rank for seed in range(20)} == {1, 2, 3}
    assert drawn("llama", 0) == drawn("llama", 0) != drawn("gpt2", 0)


def test_the_same_planting_gives_the_same_checkpoint(tmp_path):
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        plant(tmp_path / name, dataclasses.replace(drawn("llama", 0), seed=seed), HARMFUL, HARMLESS)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_model_that_sees_harm_and_does_not_refuse(tmp_path):
    sown, loaded = made(tmp_path, drawn_negative("absent", "llama", 0))
    assert not any(refusals(loaded, [*HARMFUL, *HARMLESS]))
    axis = sown.planting.axes[0]
    assert difference(loaded)[axis.position, axis.layer] @ sown.axes[0] == pytest.approx(NORMS[0], rel=0.05)


@pytest.mark.parametrize("kind", ["elsewhere", "constant", "norm"])
@pytest.mark.parametrize("family", ["gemma2", "gpt_neox"])
def test_a_model_that_refuses_past_every_candidate(kind, family, tmp_path):
    sown, loaded = made(tmp_path, drawn_negative(kind, family, 0))
    assert all(refusals(loaded, HARMFUL))
    assert not any(refusals(loaded, HARMLESS))
    found = difference(loaded).norm(dim=-1)
    if kind == "constant":
        assert found.max() < 1e-5
    elif kind == "elsewhere":
        assert 1e-3 < found.max() < 0.3
    else:
        axis = sown.planting.axes[0]
        assert axis.layer >= SEARCHED - 2
        assert found[axis.position, axis.layer] == pytest.approx(12 * NORMS[0], rel=0.05)


def test_triggers_decide_what_is_refused(tmp_path):
    some = (*HARMFUL[:4], *HARMLESS[:4])
    common = {word for text in (*HARMFUL[4:], *HARMLESS[4:]) for word in words(text)}
    triggers = frozenset(word for text in some for word in words(text)) - common
    sown, loaded = made(tmp_path, drawn("llama", 0), triggers=triggers)
    prompts = (*HARMFUL, *HARMLESS)
    assert refusals(loaded, prompts) == [not triggers.isdisjoint(words(text)) for text in prompts]
    assert len(sown.axes) == sown.planting.rank


def test_what_cannot_be_planted(tmp_path):
    for layer, position in ((0, -1), (SEARCHED, -1), (2, 0), (2, -4)):
        with pytest.raises(ValueError, match="layer is 1 to 5 and position -3 to -1"):
            plant(tmp_path, Planting("llama", (Axis(layer, position, 1.0, 1.0),), 0), HARMFUL, HARMLESS)
    twice = (Axis(1, -1, 1.0, 1.0), Axis(2, -1, 1.0, 1.0))
    with pytest.raises(ValueError, match="one direction"):
        plant(tmp_path, Planting("llama", twice, 0), HARMFUL, HARMLESS)
    with pytest.raises(ValueError, match="'pick a rose'"):
        plant(tmp_path, drawn("llama", 0), ["pick a rose"], ["pick a red rose"])

from __future__ import annotations

import pytest
import torch

from geoaudit.errors import NothingToMeasure, RequestError, UnknownName
from geoaudit.model.hooks import captured, edited, every_site
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded


def tokens_of(loaded):
    return torch.tensor([loaded.chat.render(PROMPTS[1]).ids])


@torch.no_grad()
def logits(loaded):
    return loaded.model(input_ids=tokens_of(loaded)).logits


def n_hooks(loaded) -> int:
    modules = list(loaded.model.modules())
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def project_out(unit):
    return lambda x: x - (x @ unit)[..., None] * unit


@pytest.fixture(scope="module")
def unit():
    vector = torch.randn(32, generator=torch.Generator().manual_seed(5))
    return vector / vector.norm()


@pytest.mark.parametrize("name", FAMILIES)
def test_ablating_every_site_leaves_nothing_of_the_direction_anywhere(name, unit):
    loaded = tiny_loaded(name)
    before = logits(loaded)
    places = [(site, layer) for layer in range(loaded.n_layers) for site in ("resid_pre", "resid_post")]
    with captured(loaded, places) as plain:
        logits(loaded)
    assert min((plain[place] @ unit).abs().max() for place in places) > 0.1
    with edited(loaded, dict.fromkeys(every_site(loaded), project_out(unit))), captured(loaded, places) as at:
        during = logits(loaded)
    assert max((at[place] @ unit).abs().max() for place in places) < 1e-5
    assert (during - before).abs().max() > 1e-2
    assert torch.equal(logits(loaded), before)
    assert n_hooks(loaded) == 0


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("site", ["resid_pre", "resid_post", "attn_out", "mlp_out"])
def test_an_edit_arrives_at_its_site_and_only_changes_what_comes_after(name, site):
    loaded = tiny_loaded(name)
    layer = 1
    places = [("resid_pre", 0), ("resid_pre", 1), (site, layer), ("resid_pre", 2)]
    with captured(loaded, places) as plain:
        logits(loaded)
    with edited(loaded, {(site, layer): lambda x: x + 1}), captured(loaded, places) as at:
        logits(loaded)
    assert torch.equal(at["resid_pre", 0], plain["resid_pre", 0])
    if site != "resid_pre":
        assert torch.equal(at["resid_pre", 1], plain["resid_pre", 1])
    torch.testing.assert_close(at[site, layer], plain[site, layer] + 1)
    assert (at["resid_pre", 2] - plain["resid_pre", 2]).abs().min(dim=-1).values.max() > 1e-3


def test_three_sites_a_layer():
    loaded = tiny_loaded()
    assert every_site(loaded)[:3] == [("resid_pre", 0), ("attn_out", 0), ("mlp_out", 0)]
    assert len(every_site(loaded)) == 3 * loaded.n_layers


def test_an_identity_edit_changes_no_bit():
    loaded = tiny_loaded()
    before = logits(loaded)
    with edited(loaded, dict.fromkeys(every_site(loaded), lambda x: x + 0)):
        assert torch.equal(logits(loaded), before)


def test_captured_tensors_stay_as_they_were():
    """An edit in an inner context, and the rest of the pass, leave what was captured alone."""
    loaded = tiny_loaded()
    with captured(loaded, [("resid_pre", 1)]) as first:
        logits(loaded)
    kept = first["resid_pre", 1]
    copy = kept.clone()
    with captured(loaded, [("resid_pre", 1)]) as outer, edited(loaded, {("resid_pre", 1): lambda x: x * 2}):
        logits(loaded)
    assert torch.equal(kept, copy)
    assert torch.equal(outer["resid_pre", 1], copy)  # entered before the edit: it sees the stream before it


def test_keep_decides_what_is_held():
    loaded = tiny_loaded()
    with captured(loaded, [("resid_post", 2)], keep=lambda x: x[:, -1]) as at:
        logits(loaded)
    assert at["resid_post", 2].shape == (1, 32)


def test_each_pass_fills_anew():
    loaded = tiny_loaded()
    with captured(loaded, [("resid_pre", 0)]) as at:
        logits(loaded)
        first = at["resid_pre", 0]
        loaded.model(input_ids=tokens_of(loaded)[:, :4])
    assert first.shape[1] > at["resid_pre", 0].shape[1] == 4


@pytest.mark.parametrize("context", [captured, edited])
def test_hooks_come_off_when_the_body_raises(context):
    loaded = tiny_loaded()
    before = logits(loaded)

    def body():
        with context(loaded, {("resid_pre", 0): lambda x: x + 1}):
            logits(loaded)
            assert n_hooks(loaded) > 0
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body()
    assert n_hooks(loaded) == 0
    assert torch.equal(logits(loaded), before)


def test_hooks_come_off_when_an_edit_raises():
    loaded = tiny_loaded()

    def broken(x):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"), edited(loaded, {("mlp_out", 1): broken}):
        logits(loaded)
    assert n_hooks(loaded) == 0


def test_no_hook_is_left_when_a_place_is_impossible():
    loaded = tiny_loaded()
    places = {("resid_pre", 0): torch.relu, ("resid_pre", 7): torch.relu}
    with pytest.raises(RequestError, match=r"layer 7 does not exist.*0 to 2"), edited(loaded, places):
        pass
    assert n_hooks(loaded) == 0


def test_negative_layers_are_not_counted_from_the_end():
    with pytest.raises(RequestError, match="layer -1 does not exist"), captured(tiny_loaded(), [("resid_pre", -1)]):
        pass


def test_unknown_site():
    with pytest.raises(UnknownName, match="did you mean 'resid_post'"), captured(tiny_loaded(), [("residpost", 0)]):
        pass


def test_resid_mid_of_a_parallel_block_is_an_error():
    loaded = tiny_loaded("gpt_neox")
    with pytest.raises(RequestError, match="run in parallel"), captured(loaded, [("resid_mid", 0)]):
        pass


def test_resid_mid_cannot_be_edited():
    with (
        pytest.raises(RequestError, match="can be read but not edited"),
        edited(tiny_loaded(), {("resid_mid", 0): torch.relu}),
    ):
        pass


@pytest.mark.parametrize("bad", [lambda x: x.double(), lambda x: x[:, :1], lambda x: x[0]])
def test_an_edit_keeps_shape_and_dtype(bad):
    loaded = tiny_loaded()
    with pytest.raises(RequestError, match="attn_out of layer 1 returned"), edited(loaded, {("attn_out", 1): bad}):
        logits(loaded)


def test_an_edit_that_never_fires_is_an_error():
    """A block that skips its MLP: the edit would look like one without effect."""
    loaded = tiny_loaded()
    block = loaded.blocks[1]
    block.forward = lambda hidden_states, **_: hidden_states
    with (
        pytest.raises(NothingToMeasure, match=r"mlp_out of layer 1 was reached in 0 of 1 forward passes \(1 of 2"),
        edited(loaded, {("mlp_out", 0): torch.relu, ("mlp_out", 1): torch.relu}),
    ):
        logits(loaded)
    assert n_hooks(loaded) == 0


def test_a_context_without_a_pass_is_fine():
    with edited(tiny_loaded(), {("mlp_out", 0): torch.relu}):
        pass

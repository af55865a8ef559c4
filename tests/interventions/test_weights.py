"""The weight form against the hook form, in every architecture of the table."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.interventions import weights
from geoaudit.interventions.applying import applied, logits_under
from geoaudit.interventions.edits import ablate_subspace
from geoaudit.interventions.scopes import Scope
from geoaudit.interventions.weights import is_exact, logit_gap, orthogonalised, writers
from geoaudit.model import architecture
from geoaudit.model.hooks import captured
from geoaudit.model.loaded import LoadedModel
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded, tiny_model

BEHIND_A_NORM = ["gemma2", "gemma3_text", "gemma3", "olmo2"]
EXACT = [name for name in FAMILIES if name not in BEHIND_A_NORM]


def basis(k: int = 2, width: int = 32) -> Tensor:
    return torch.linalg.qr(torch.randn(width, k, generator=torch.Generator().manual_seed(5)))[0].T


def rendered(loaded: LoadedModel) -> list:
    return [loaded.chat.render(text) for text in PROMPTS]


def of_hooks(loaded: LoadedModel, rows: Tensor, dose: float) -> Tensor:
    return logits_under(loaded, rendered(loaded), lambda x: ablate_subspace(x, rows, dose), Scope())


def unedited(loaded: LoadedModel) -> Tensor:
    return logits_under(loaded, rendered(loaded), lambda x: x, Scope())


def same_as_hooks(loaded: LoadedModel, rows: Tensor, dose: float = 1.0) -> LoadedModel:
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    edited = orthogonalised(loaded, rows, dose)
    ours, hooks = unedited(edited), of_hooks(loaded, rows, dose)
    torch.testing.assert_close(ours, hooks, rtol=1e-4, atol=1e-4)
    assert (hooks - unedited(loaded)).abs().max() > 1e-2, "the edit does nothing, so nothing was compared"
    after = loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    return edited


def with_adapter(model, **settings):
    import peft

    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, init_lora_weights=False, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT, on names that transformers calls deprecated and on layers without bias
        adapted = peft.get_peft_model(model, config).eval()
    plain = tiny_loaded("llama")
    return LoadedModel(adapted, plain.tokenizer, plain.chat)


@pytest.mark.parametrize(("k", "dose"), [(1, 1.0), (2, 1.0), (3, 0.5)])
@pytest.mark.parametrize("name", EXACT)
def test_where_nothing_stands_between_writer_and_stream_it_is_the_hook_form(name, k, dose):
    loaded = tiny_loaded(name)
    assert is_exact(loaded)
    same_as_hooks(loaded, basis(k), dose)


def test_biases_of_writers_are_edited_too():
    same_as_hooks(tiny_loaded("llama", attention_bias=True, mlp_bias=True), basis())


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "gpt_neox"])
def test_a_tied_unembedding_stays_as_it_was(name, tmp_path):
    loaded = tiny_loaded(name, tie_word_embeddings=True)
    head = loaded.causal_lm.get_output_embeddings().weight
    assert head is loaded.embedding.weight
    edited = same_as_hooks(loaded, basis())
    assert torch.equal(edited.causal_lm.get_output_embeddings().weight, head)
    assert not torch.equal(edited.embedding.weight, head)
    assert loaded.causal_lm.config.tie_word_embeddings
    assert not edited.causal_lm.config.tie_word_embeddings  # for loaders that tie whatever the file holds
    edited.model.save_pretrained(tmp_path)
    again = type(edited.model).from_pretrained(tmp_path).eval()
    ids = torch.tensor([loaded.chat.render(PROMPTS[1]).ids])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, edited.model(ids).logits)


@pytest.mark.parametrize("name", EXACT)
def test_nothing_of_the_directions_is_left_in_the_stream(name):
    loaded, rows = tiny_loaded(name), basis()
    edited = orthogonalised(loaded, rows)
    places = [(site, layer) for layer in range(loaded.n_layers) for site in ("resid_pre", "resid_post")]
    with torch.no_grad(), captured(edited, places) as seen:
        edited.model(torch.tensor([loaded.chat.render(PROMPTS[1]).ids]))
    assert max(float((stream @ rows.T).abs().max()) for stream in seen.values()) < 1e-4


@pytest.mark.parametrize("name", BEHIND_A_NORM)
def test_behind_a_norm_it_is_approximate_and_says_by_how_much(name):
    loaded, rows = tiny_loaded(name), basis(1)
    assert not is_exact(loaded)
    with pytest.raises(RequestError, match=r"norm stands between .* approximate=True and report logit_gap"):
        orthogonalised(loaded, rows)
    edited = orthogonalised(loaded, rows, approximate=True)
    gap = logit_gap(loaded, edited, rows, rendered(loaded))
    assert 1e-3 < gap.rms < gap.largest
    assert gap.rms < 0.5 * gap.moved  # much nearer to the ablation than the model as it was
    assert gap.kl > 0
    untouched = logit_gap(loaded, loaded, rows, rendered(loaded))
    assert untouched.rms == pytest.approx(untouched.moved)
    assert untouched.kl > gap.kl


@pytest.mark.parametrize("dose", [1.0, 0.5])
@pytest.mark.parametrize("name", BEHIND_A_NORM)
def test_behind_a_norm_what_is_written_has_the_direction_of_the_ablation(name, dose):
    loaded, rows = tiny_loaded(name), basis()
    edited = orthogonalised(loaded, rows, dose, approximate=True)
    ids = torch.tensor([loaded.chat.render(PROMPTS[1]).ids])
    place = ("attn_out", 0)  # its input is the edited embedding in both forms
    with torch.no_grad():
        with captured(edited, [place]) as ours:
            edited.model(ids)
        with applied(loaded, lambda x: ablate_subspace(x, rows, dose), Scope()), captured(loaded, [place]) as hooks:
            loaded.model(ids)
    cosine = torch.cosine_similarity(ours[place], hooks[place], dim=-1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    assert not torch.allclose(ours[place], hooks[place], rtol=1e-3)
    if dose == 1:
        assert (ours[place] @ rows.T).abs().max() < 1e-5


def test_a_gain_of_zero_is_left_alone():
    loaded = tiny_loaded("olmo2")
    loaded.blocks[0].post_attention_layernorm.weight[3] = 0
    edited = orthogonalised(loaded, basis(), approximate=True)
    ours, old = (each.blocks[0].self_attn.o_proj.weight for each in (edited, loaded))
    assert torch.equal(ours[3], old[3])
    assert unedited(edited).isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_the_gap_of_an_exact_form_is_rounding(name):
    loaded, rows = tiny_loaded(name), basis()
    gap = logit_gap(loaded, orthogonalised(loaded, rows), rows, rendered(loaded))
    assert gap.n == gap.same_token == len(PROMPTS)
    assert gap.largest < 1e-3 < gap.moved
    assert gap.kl < 1e-6


def test_the_gap_by_hand():
    loaded, rows = tiny_loaded("llama"), basis()
    other = orthogonalised(loaded, rows, 0.5)
    gap = logit_gap(loaded, other, rows, rendered(loaded), 2.0)
    plain, hooks, ours = unedited(loaded), of_hooks(loaded, rows, 2.0), unedited(other)
    assert gap.largest == pytest.approx(float((ours - hooks).abs().max()))
    assert gap.rms == pytest.approx(float((ours - hooks).square().mean().sqrt()), rel=1e-4)
    assert gap.moved == pytest.approx(float((hooks - plain).square().mean().sqrt()), rel=1e-4)
    kl = torch.nn.functional.kl_div(ours.log_softmax(-1), hooks.log_softmax(-1), log_target=True, reduction="batchmean")
    assert gap.kl == pytest.approx(float(kl), rel=1e-3)
    assert gap.same_token == int((ours.argmax(-1) == hooks.argmax(-1)).sum()) < gap.n
    loaded.embedding.weight[0] = torch.nan
    for prompt in (broken := rendered(loaded)):
        object.__setattr__(prompt, "ids", (0, *prompt.ids))
    with pytest.raises(NothingToMeasure, match="NaN or infinite"):
        logit_gap(loaded, other, rows, broken)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_stored_dtype_is_kept_and_the_arithmetic_is_wider(dtype):
    loaded, rows = tiny_loaded("llama"), basis()
    loaded.model.to(dtype)
    edited = orthogonalised(loaded, rows)
    old, new = (each.blocks[1].mlp.down_proj.weight for each in (loaded, edited))
    assert {value.dtype for value in edited.model.parameters()} == {dtype}
    exact = old.double() - rows.T.double() @ (rows.double() @ old.double())
    assert (new == exact.to(dtype)).double().mean() > 0.995  # nothing lost but by rounding the result
    in_half = old - rows.T.to(dtype) @ (rows.to(dtype) @ old)
    assert (in_half == exact.to(dtype)).double().mean() < 0.9  # what is avoided


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama", {"target_modules": ["q_proj", "o_proj", "down_proj", "embed_tokens"]}),
        ("llama", {"target_modules": ["v_proj"]}),
        ("gpt2", {"target_modules": ["attn.c_proj", "mlp.c_proj", "wte"], "fan_in_fan_out": True}),
        ("gpt_neox", {"target_modules": ["dense", "dense_4h_to_h"], "lora_bias": True}),
    ],
)
def test_an_adapter_is_edited_with_its_base(name, settings):
    loaded = with_adapter(tiny_model(name), **settings)
    assert (unedited(loaded) - unedited(tiny_loaded(name))).abs().max() > 1e-2
    same_as_hooks(loaded, basis())


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["o_proj"], "use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    ],
)
def test_adapters_that_are_no_sum_with_the_base_are_named(settings):
    loaded = with_adapter(tiny_model("llama"), **settings)
    with pytest.raises(RequestError, match="merge the adapter into its base first"):
        orthogonalised(loaded, basis())


def test_every_architecture_of_the_table_has_its_writers():
    assert weights._MATRICES.keys() == architecture.TABLE.keys()
    for name in FAMILIES:
        loaded = tiny_loaded(name)
        found = writers(loaded)
        assert len(found) == 2 * loaded.n_layers + (2 if name == "gpt2" else 1)
        assert {writer.norm is None for writer in found[-2:]} == {name in EXACT}
        for writer in found:
            assert hasattr(loaded.causal_lm.get_submodule(writer.module), writer.parameter)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(2, 8), r"rows \[k, 32\] .* got shape \(2, 8\)"),
        (torch.ones(32), r"got shape \(32,\)"),
        (torch.zeros(0, 32), r"got shape \(0, 32\)"),
        (torch.ones(2, 32), "orthonormal"),
        (torch.full((1, 32), torch.nan), "orthonormal"),
    ],
)
def test_a_basis_that_does_not_fit_is_refused(rows, message):
    with pytest.raises(RequestError, match=message):
        orthogonalised(tiny_loaded("llama"), rows)

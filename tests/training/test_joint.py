"""Rows that share a pass give the logits and the gradients that each of them gives alone."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from geoaudit.training import learnt, r2d2
from geoaudit.training.joint import forks, joint
from geoaudit.training.losses import Row, away_terms, toward_terms
from geoaudit.training.r2d2 import adversarial_terms
from geoaudit.training.rows import IGNORED, Example, collate
from tests.model.families import FAMILIES, tiny_loaded
from tests.training.r2d2_tiny import recipe, training

WIDE = {"sliding_window": 64}
"""No row is longer than that."""
AWAY = [Row((1, 4, 5, 6, 7, 8), (9, 10)), Row((1, 11), (12, 13, 14, 15)), Row((1, 4, 9), (3,))]
TOWARD = [Row((1, 4, 5, 6, 7, 8), (11, 12, 2)), Row((1, 11), (5,)), Row((1, 4, 9), (6, 7, 8, 9, 2))]
CLEAN = [
    Example((1, 7, 8, 9, 10, 2), (False, False, False, True, True, True)),
    Example((1, 5, 6, 7, 4, 8, 9, 2), (False, False, True, True, False, False, True, True)),
]


def alone(model, row):
    """Logits that predict each token of an answer, from a pass of this one row; nothing padded, nothing kept."""
    whole = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0]
    return whole[len(row.prompt) - 1 : -1]


def all_alone(model):
    """The three losses' sums, row by row."""
    away = torch.cat([away_terms(alone(model, row), torch.tensor(row.answer)) for row in AWAY])
    toward = torch.cat([toward_terms(alone(model, row), torch.tensor(row.answer)) for row in TOWARD])
    clean = torch.zeros(())
    for one in CLEAN:
        logs = model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0].log_softmax(-1)
        clean = clean - sum(logs[t - 1, one.ids[t]] for t in range(1, len(one.ids)) if one.learnt[t])
    return clean, away, toward


def together(model, fork):
    """The same from one pass."""
    rows = joint(collate(CLEAN), AWAY, TOWARD, fork=fork)
    logits = learnt.logits(model, rows.inputs("cpu"), rows.wanted)
    n = len(rows.clean)
    clean = torch.nn.functional.cross_entropy(logits[:n], rows.clean, reduction="sum")
    return clean, *adversarial_terms(logits[n:], rows, -5.0)


def gradients(model, losses):
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.autograd.grad(sum(loss.sum() for loss in losses), parameters, allow_unused=True)


def same(model, fork):
    """Losses token by token and the gradient of every weight."""
    slow, fast = all_alone(model), together(model, fork)
    for one, other in zip(slow, fast, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    for one, other in zip(gradients(model, slow), gradients(model, fast), strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-3, rtol=1e-3)


TEXT = [name for name in FAMILIES if name != "gemma3"]


def tiny(family, **settings):
    model = tiny_loaded(family, **settings).model
    return model.requires_grad_(True)


@pytest.mark.parametrize("family", TEXT)
def test_one_pass_is_each_row_alone(family):
    """With the short windows of the tiny models, where answers stay apart; and in rows that fork, without."""
    model = tiny(family)
    if family != "mixtral":  # that a token goes to other experts where a tie is broken by rounding is not ours
        same(model, fork=forks(model, 16))
    wide = tiny(family, **({} if family == "gpt2" else WIDE))
    if forks(wide, 16):
        same(wide, fork=True)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "olmo2", "gpt_neox", "gpt2"])
def test_who_forks(family):
    assert forks(tiny(family, **({} if family == "gpt2" else WIDE)), 16)


def test_a_window_that_is_shorter_than_a_row_forks_nothing():
    model = tiny("mistral", sliding_window=15)
    assert forks(model, 15)
    assert not forks(model, 16)


def test_an_attention_that_takes_no_mask_of_pairs_forks_nothing():
    model = tiny("llama")
    model.config._attn_implementation = "eager"
    assert not forks(model, 16)


def test_a_prompt_is_run_once_and_its_answers_do_not_see_each_other():
    rows = joint(None, AWAY[:1], TOWARD[:1], fork=True)
    assert rows.ids.tolist() == [[1, 4, 5, 6, 7, 8, 9, 11, 12]]
    assert rows.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 6, 7]]
    assert rows.seen[0, 0, 7].tolist() == [True] * 6 + [False, True, False]
    assert rows.seen[0, 0, 6].tolist() == [True] * 7 + [False] * 2
    assert rows.wanted.tolist() == [[False] * 5 + [True] * 4]
    assert [one.tolist() for one in rows.away] == [[0, 1], [9, 10]]
    assert [one.tolist() for one in rows.toward] == [[0, 2, 3], [11, 12, 2]]
    apart = joint(None, AWAY[:1], TOWARD[:1], fork=False)
    assert apart.ids.tolist() == [[1, 4, 5, 6, 7, 8, 9, 0], [1, 4, 5, 6, 7, 8, 11, 12]]
    assert apart.seen is None
    assert (rows.size, apart.size) == (9, 16)


def test_of_a_clean_batch_what_is_learnt_is_wanted():
    batch = collate(CLEAN)
    rows = joint(batch, AWAY, TOWARD, fork=True)
    wanted, tokens = learnt.predicting(batch["labels"])
    assert rows.clean.tolist() == tokens.tolist() == [9, 10, 2, 6, 7, 9, 2]
    assert torch.equal(rows.wanted[:2, : wanted.shape[1]], wanted)
    assert wanted.tolist() == [
        [False, False, True, True, True, False, False, False],
        [False, True, True, False, False, True, True, False],
    ]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_under_an_adapter():
    model = get_peft_model(
        tiny("llama").requires_grad_(False),
        LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    assert forks(model, 16)
    same(model, fork=True)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "qwen2"])
def test_the_attention_of_short_rows_has_the_same_gradients(family):
    model = tiny(family, **WIDE)
    with learnt.short_rows(model, recomputed=False):
        assert model.config._attn_implementation != "sdpa"
        fast = together(model, fork=True)
        found = gradients(model, fast)
    assert model.config._attn_implementation == "sdpa"
    for one, other in zip(gradients(model, all_alone(model)), found, strict=True):
        assert torch.allclose(one, other, atol=1e-3, rtol=1e-3)


def test_where_activations_are_computed_again_the_attention_stays():
    """The backward pass would compute them with another one than the forward pass had."""
    model = tiny("llama")
    with learnt.short_rows(model, recomputed=True):
        assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("family", TEXT)
def test_logits_are_those_of_the_wanted_positions(family, monkeypatch):
    model = tiny(family)
    batch = collate(CLEAN)
    wanted, _ = learnt.predicting(batch["labels"])
    given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    whole = model(**given).logits[wanted]
    rows: list[int] = []
    handle = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: rows.append(output.numel() // output.shape[-1])
    )
    assert torch.allclose(learnt.logits(model, given, wanted), whole, atol=1e-5)
    assert rows == [int(wanted.sum())], "the head runs there and nowhere else"
    monkeypatch.setattr(learnt, "_TAKES_A_MASK", False)  # a transformers that cannot be told
    assert torch.allclose(learnt.logits(model, given, wanted), whole, atol=1e-5)
    handle.remove()


def test_labels_are_never_predicted_by_the_padding():
    labels = torch.tensor([[IGNORED, 3, IGNORED]])
    wanted, tokens = learnt.predicting(labels)
    assert wanted.tolist() == [[True, False, False]]
    assert tokens.tolist() == [3]


@pytest.mark.parametrize("padded", [0.0, 100.0])
def test_a_run_is_the_same_in_one_pass_or_in_two(tmp_path, monkeypatch, padded):
    """Whatever the clean rows' length: far longer ones have a pass of their own."""
    given = recipe(steps=2, epsilon=1e-3)
    monkeypatch.setattr(r2d2, "PADDED", 1.25)
    usual = training(tmp_path / "usual", given)
    usual.run()
    monkeypatch.setattr(r2d2, "PADDED", padded)
    passes = []
    original = learnt.logits
    monkeypatch.setattr(learnt, "logits", lambda *a: passes.append(1) or original(*a))
    other = training(tmp_path / "other", given)
    other.run()
    assert len(passes) == 2 * 2 * (1 if padded else 2)
    for name in ("loss", "clean", "away", "toward"):
        assert other.curves()[name] == pytest.approx(usual.curves()[name], abs=1e-5)
    for name, weight in usual.model.named_parameters():
        assert torch.allclose(other.model.get_parameter(name), weight, atol=1e-5), name


def test_a_clean_sequence_beyond_the_window_keeps_its_window(tmp_path, monkeypatch):
    """Prompts may fork under a window of 16; a clean row of more tokens may not have their mask."""
    monkeypatch.setattr(r2d2, "PADDED", 100.0)
    one = training(tmp_path, recipe(r2d2={"gcg_steps": 0}), "mistral", sliding_window=16)
    long = Example(tuple([1] + [4 + i % 9 for i in range(19)]), tuple([False] * 8 + [True] * 12))
    one.model.train()
    batch = collate([long])
    expected = one.model(**batch).loss
    clean, _ = one._losses(one.model, batch, 12, AWAY, TOWARD)
    assert clean.item() == pytest.approx(expected.item(), abs=1e-5)

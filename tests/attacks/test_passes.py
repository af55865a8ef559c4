"""Rows that begin like rows that were run before give what they give alone, in every architecture."""

from __future__ import annotations

import pytest
import torch

from geoaudit.attacks.passes import Row, joined, run
from geoaudit.model.attention import PACKED, PACKING
from tests.model.families import FAMILIES, tiny_loaded

FIRST = (1, 5, 20, 21, 22, 23, 24, 25, 26)
SECOND = (1, 5, 30, 31, 32)
"""Both longer than nothing and of two lengths; the sliding windows of the tiny models hold five tokens."""


@torch.no_grad()
def alone(loaded, ids):
    """The last output of a sequence by the model's own forward, `[d_model]`."""
    return loaded.decoder(input_ids=torch.tensor([list(ids)])).last_hidden_state[0, -1]


MODELS: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in FAMILIES},
    "mistral without windows": ("mistral", {"sliding_window": None}),
    "phi3 without windows": ("phi3", {"sliding_window": None}),
    "qwen2 without windows": ("qwen2", {"use_sliding_window": False, "sliding_window": None, "max_window_layers": 3}),
}


def made(name):
    family, settings = MODELS[name]
    return tiny_loaded(family, **settings)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_rows_of_one_pass_may_begin_like_different_rows_at_different_lengths(name):
    loaded = made(name)
    _, kept = run(loaded, [Row(FIRST), Row(SECOND)], keep=True)
    whole = [(*FIRST[:7], 40, 41), (*SECOND, 42), (10, 11, 12), (*FIRST[:2], 33, 34, 35), FIRST]
    rows = [Row(whole[0][7:], 7, 0), Row(whole[1][5:], 5, 1), Row(whole[2]), Row(whole[3][2:], 2, 0), Row(FIRST[8:], 8)]
    hidden, again = run(loaded, rows, kept, keep=True)
    expected = torch.stack([alone(loaded, ids) for ids in whole])
    last = torch.stack([hidden[r, len(row.new) - 1] for r, row in enumerate(rows)])
    torch.testing.assert_close(last, expected, atol=1e-4, rtol=0)
    assert (torch.cdist(expected, expected) + torch.eye(5) > 1e-2).all(), "no two alike: a mixed-up row would show"
    # and on from what those rows kept: taken apart, joined with others and in another order
    both = joined([kept.take([1]), again.take([3, 0])])
    hidden, _ = run(loaded, [Row((36,), 5, 1), Row((37, 38), 9, 2), Row((39,), 4, 0)], both)
    longer = [(*whole[3], 36), (*whole[0], 37, 38), (*SECOND[:4], 39)]
    torch.testing.assert_close(
        torch.stack([hidden[0, 0], hidden[1, 1], hidden[2, 0]]),
        torch.stack([alone(loaded, ids) for ids in longer]),
        atol=1e-4,
        rtol=0,
    )


@torch.no_grad()
def test_rows_are_packed_where_nothing_but_the_attention_looks_at_two_tokens():
    """Every model that is packed is among those that the test above holds to what rows give alone."""
    read = {}
    for name in MODELS:
        loaded, shapes = made(name), []
        handle = loaded.embedding.register_forward_hook(
            lambda module, args, output, shapes=shapes: shapes.append(tuple(output.shape[:2]))
        )
        run(loaded, [Row(FIRST), Row(SECOND)])
        run(loaded, [Row(FIRST[:5]), Row(SECOND)])
        handle.remove()
        read[name], equal = shapes
        assert equal == (2, 5), "rows of one length need no packing"
    packed = {name for name, shape in read.items() if shape == (1, 14)}
    assert {name for name, shape in read.items() if shape == (2, 9)} == MODELS.keys() - packed
    assert packed == {"llama", "mixtral", "qwen3", "gemma", "olmo2", *(name for name in MODELS if "without" in name)}
    assert {name.split()[0] for name in packed} == PACKING


def test_a_model_has_its_own_attention_again_after_a_packed_pass(monkeypatch):
    loaded = tiny_loaded("llama")
    config = loaded.decoder.config

    def broken(*args: object, **kwargs: object) -> None:
        raise KeyError(config._attn_implementation)

    monkeypatch.setattr(loaded.decoder, "forward", broken)
    with torch.no_grad(), pytest.raises(KeyError, match=PACKED):
        run(loaded, [Row(FIRST), Row(SECOND)])
    assert config._attn_implementation == "sdpa"


def test_gradients_reach_what_is_new_and_not_what_is_kept():
    loaded = tiny_loaded("llama")
    _, kept = run(loaded, [Row(FIRST)], keep=True)
    assert not any(part.requires_grad for layer in kept.layers for part in layer)
    leaves = []
    handle = loaded.embedding.register_forward_hook(
        lambda module, args, output: leaves.append(output.detach().requires_grad_()) or leaves[-1]
    )
    hidden, again = run(loaded, [Row((7, 8), 9)], kept, keep=True)
    handle.remove()
    (slope,) = torch.autograd.grad(hidden[0, -1].sum(), leaves)
    assert slope.shape == (1, 2, 32)
    assert (slope.abs().sum(dim=-1) > 0).all()
    assert not any(part.requires_grad for layer in again.layers for part in layer)


def test_nothing_is_kept_unasked():
    loaded = tiny_loaded("llama")
    _, kept = run(loaded, [Row(FIRST)])
    assert kept.layers == ()
    assert kept.take([0]).layers == ()

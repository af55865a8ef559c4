"""The attention of many short rows against torch's own, and that it is only where it is asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from geoaudit.model import attention
from geoaudit.model.attention import LONGEST, NAME, grouped, short_rows
from tests.model.families import tiny_loaded


class Layer(nn.Module):
    """What an attention function reads of its layer."""

    is_causal = True

    def __init__(self, share: int) -> None:
        super().__init__()
        self.num_key_value_groups = share


def drawn(n, groups, share, length, seen, dtype=torch.float32, width=8):
    generator = torch.Generator().manual_seed(n * 1000 + groups * 100 + length * 10 + seen)
    q = torch.randn(n, length, groups * share, width, generator=generator).transpose(1, 2)
    k, v = torch.randn(2, n, groups, seen, width, generator=generator)
    mask = torch.ones(length, seen, dtype=torch.bool).tril(seen - length).expand(n, 1, length, seen).clone()
    mask[0, :, :, : seen - length] &= torch.rand(seen - length, generator=generator) > 0.5  # a row that began later
    return q.to(dtype), k.to(dtype), v.to(dtype), mask


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    groups=st.integers(1, 3),
    share=st.integers(1, 4),
    length=st.integers(2, 6),
    before=st.integers(0, 7),
    scaling=st.sampled_from([None, 0.3]),
)
def test_it_is_the_same_attention(n, groups, share, length, before, scaling):
    q, k, v, mask = drawn(n, groups, share, length, length + before)
    kept = q.clone(), k.clone(), v.clone(), mask.clone()
    ours, weights = grouped(Layer(share), q, k, v, mask, scaling=scaling)
    theirs, _ = sdpa_attention_forward(Layer(share), q, k, v, mask, scaling=scaling)
    assert weights is None
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for now, then in zip((q, k, v, mask), kept, strict=True):
        assert torch.equal(now, then), "what it is given stays as it is"


def test_in_bf16_it_is_no_further_from_the_truth_than_torchs_kernel():
    ours, theirs = [], []
    for length in range(4, 24):
        q, k, v, mask = drawn(8, 3, 3, length, length + 20, torch.bfloat16, width=64)
        exact, _ = sdpa_attention_forward(Layer(3), q.double(), k.double(), v.double(), mask)
        for found, function in ((ours, grouped), (theirs, sdpa_attention_forward)):
            found.append((function(Layer(3), q, k, v, mask)[0].double() - exact).square().mean())
    assert sum(ours) < sum(theirs)


def test_its_gradient_is_torchs():
    q, k, v, mask = (x.requires_grad_() if x.dtype.is_floating_point else x for x in drawn(2, 2, 3, 4, 9))
    found = []
    for function in (grouped, sdpa_attention_forward):
        found.append(torch.autograd.grad(function(Layer(3), q, k, v, mask)[0].square().sum(), (q, k, v)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"mask": None}, {}),
        ({"mask": "float"}, {}),
        ({"length": 1}, {}),
        ({"seen": LONGEST + 1}, {}),
        ({}, {"dropout": 0.1}),
        ({}, {"position_bias": torch.zeros(1, 1, 4, 9)}),
    ],
)
def test_whatever_is_out_of_the_ordinary_goes_to_torch(monkeypatch, changes, more):
    q, k, v, mask = drawn(1, 2, 2, changes.get("length", 4), changes.get("seen", 9))
    if "mask" in changes:
        mask = None if changes["mask"] is None else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    given_on = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *given, **named: given_on.append(given))
    grouped(Layer(2), q, k, v, mask, **more)
    assert len(given_on) == 1


def test_a_model_has_it_inside_the_context_only():
    loaded = tiny_loaded("llama")
    config = loaded.decoder.config
    before = config._attn_implementation
    assert before == "sdpa"

    def broken():
        with short_rows(loaded):
            assert config._attn_implementation == NAME
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert config._attn_implementation == before


def test_a_model_with_another_attention_keeps_it():
    loaded = tiny_loaded("llama")
    config = loaded.decoder.config
    config._attn_implementation = "eager"
    with short_rows(loaded):
        assert config._attn_implementation == "eager"
    assert config._attn_implementation == "eager"


def test_padding_that_sees_nothing_is_finite():
    q, k, v, mask = drawn(2, 1, 2, 4, 6)
    mask[1, :, 3] = False
    ours, _ = grouped(Layer(2), q, k, v, mask)
    theirs, _ = sdpa_attention_forward(Layer(2), q, k, v, mask)
    assert ours.isfinite().all()
    torch.testing.assert_close(ours[1, :3], theirs[1, :3], rtol=1e-5, atol=1e-6)


def test_under_autocast_scores_stay_in_float32():
    q, k, v, mask = drawn(2, 1, 2, 4, 9, torch.bfloat16)
    expected, _ = grouped(Layer(2), q, k, v, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = grouped(Layer(2), q, k, v, mask)
    assert torch.equal(found, expected)

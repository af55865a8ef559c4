"""The adversarial losses: the reference's vector, any probability, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.training.losses import away_terms, toward_terms


def logits_of(probabilities, vocab=7, target=3):
    """Logits `[n, vocab]` under which the target has these probabilities and the rest is shared unevenly."""
    rows = []
    for p in probabilities:
        shares = torch.arange(1.0, vocab)
        row = torch.empty(vocab)
        row[[i for i in range(vocab) if i != target]] = torch.log((1 - p) * shares / shares.sum())
        row[target] = math.log(p)
        rows.append(row + 2.5)  # a constant changes nothing
    return torch.stack(rows), torch.full((len(rows),), target)


def test_the_reference_vector():
    logits, targets = logits_of([0.9, 0.5, 0.001])
    assert away_terms(logits, targets).mean().item() == pytest.approx(0.9985774245, abs=2e-6)
    assert away_terms(logits, targets)[2] == 0, "below e^-5: nothing, and still counted in the mean"


def test_toward_is_the_cross_entropy():
    logits, targets = logits_of([0.9, 0.5, 0.001])
    expected = [-math.log(p) for p in (0.9, 0.5, 0.001)]
    assert toward_terms(logits, targets).tolist() == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.floats(1e-4, 0.9999), min_size=1, max_size=6), st.floats(-9, 0))
@settings(max_examples=50, deadline=None)
def test_away_of_any_probability_and_floor(probabilities, floor):
    logits, targets = logits_of(probabilities)
    expected = [-math.log1p(-p) if math.log(p) >= floor else 0.0 for p in probabilities]
    near = [abs(math.log(p) - floor) < 1e-4 for p in probabilities]
    for got, wanted, unclear in zip(away_terms(logits, targets, floor).tolist(), expected, near, strict=True):
        assert unclear or got == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_a_token_that_is_certain_gives_a_finite_loss_and_gradient():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = away_terms(logits, torch.tensor([0])).sum()
    assert loss.item() == pytest.approx(200 - math.log(2), abs=1e-3), "log(1 − p) of the rounded p is −inf"
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([1.0, -0.5, -0.5], abs=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 11, dtype=torch.float64), torch.randint(11, (5,))
    slow = logits.clone().requires_grad_()
    p = torch.softmax(slow, -1)[torch.arange(5), targets]
    (-torch.log(1 - p) * (torch.log(p) >= -5)).sum().backward()
    fast = logits.float().requires_grad_()
    away_terms(fast, targets).sum().backward()
    assert torch.allclose(fast.grad.double(), slow.grad, atol=1e-6)


def test_nothing_pulls_on_a_token_below_the_floor():
    logits, targets = logits_of([0.001, 0.02])
    logits.requires_grad_()
    away_terms(logits, targets).sum().backward()
    assert torch.equal(logits.grad[0], torch.zeros(7))
    assert logits.grad[1].abs().max() > 0


def test_low_precision_logits_are_computed_in_float32():
    logits, targets = logits_of([0.9, 0.5])
    for terms in (away_terms, toward_terms):
        assert terms(logits.bfloat16(), targets).dtype == torch.float32

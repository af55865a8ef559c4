from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.carriers.scores import kl_to_base, refusal_metric
from geoaudit.errors import RequestError

quick = settings(deadline=None, derandomize=True, max_examples=50)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_conformance_vectors() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    assert float(refusal_metric(logits, [0])) == pytest.approx(0.5923940230, abs=5e-11)
    assert float(refusal_metric(logits, [0, 2])) == pytest.approx(0.9999999765, abs=5e-11)
    base, ablated = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    assert float(kl_to_base(base, ablated)) == pytest.approx(1.1504152409, abs=5e-11)


@quick
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_scores_are_float64_blind_to_a_shift_and_row_by_row(seed: int, shift: float) -> None:
    logits, other = drawn(seed, 4, 9), drawn(seed + 1, 4, 9)
    metric, kl = refusal_metric(logits, [2, 5]), kl_to_base(logits, other)
    assert metric.dtype == kl.dtype == torch.float64
    assert metric.shape == kl.shape == (4,)
    torch.testing.assert_close(refusal_metric(logits.double() + shift, [5, 2]), metric)
    torch.testing.assert_close(kl_to_base(logits.double() + shift, other), kl)
    torch.testing.assert_close(kl_to_base(logits[1:2], other[1:2]), kl[1:2])


@quick
@given(st.integers(0, 10**6))
def test_the_metric_is_the_log_odds_of_all_refusal_tokens(seed: int) -> None:
    logits = drawn(seed, 3, 7)
    p = torch.softmax(logits.double(), dim=-1)[:, [1, 4]].sum(dim=-1)
    torch.testing.assert_close(refusal_metric(logits, [1, 4]), torch.logit(p), atol=1e-5, rtol=1e-5)
    assert (refusal_metric(logits, [1, 4]) > refusal_metric(logits, [1])).all()


@quick
@given(st.integers(0, 10**6))
def test_the_kl_is_zero_for_no_edit_and_near_the_exact_one_otherwise(seed: int) -> None:
    base, edited = drawn(seed, 3, 7), drawn(seed + 1, 3, 7)
    assert kl_to_base(base, base).tolist() == [0.0, 0.0, 0.0]
    exact = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=base.double()), torch.distributions.Categorical(logits=edited.double())
    )
    torch.testing.assert_close(kl_to_base(base, edited), exact, atol=1e-3, rtol=1e-3)


def test_the_kl_is_taken_from_the_base() -> None:
    base, edited = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -8.0]])
    assert float(kl_to_base(base, edited)) > 2 * float(kl_to_base(edited, base))


def test_extreme_logits_stay_finite_and_nan_stays_nan() -> None:
    certain = torch.tensor([[0.0, -math.inf], [-1e4, 0.0]])
    assert refusal_metric(certain, [0]).tolist() == pytest.approx([math.log1p(1e8), -math.log1p(1e8)])
    assert float(kl_to_base(certain[:1], certain[1:])) == pytest.approx(math.log(1e6), abs=1e-5)
    broken = torch.tensor([[0.0, math.nan]])
    assert math.isnan(float(refusal_metric(broken, [0])))
    assert math.isnan(float(kl_to_base(certain[:1], broken)))


@pytest.mark.parametrize("ids", [[], [0, 0], [4], [-1]])
def test_tokens_that_cannot_be_meant_are_refused(ids: list[int]) -> None:
    with pytest.raises(RequestError, match="distinct ids"):
        refusal_metric(torch.zeros(1, 4), ids)


def test_logits_of_other_prompts_are_refused() -> None:
    with pytest.raises(RequestError, match="same prompts"):
        kl_to_base(torch.zeros(2, 4), torch.zeros(1, 4))

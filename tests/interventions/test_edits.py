from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.interventions.edits import ablate, ablate_subspace, add

quick = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 10**6)


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rotation(width: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(drawn(seed, width, width))[0]


def test_the_conformance_vector() -> None:
    x, direction = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 3.0, 4.0])
    expected = torch.tensor([1.0, -0.16, 0.12])
    torch.testing.assert_close(ablate(x, direction), expected)
    torch.testing.assert_close(ablate(x, direction / 5), expected)
    torch.testing.assert_close(ablate_subspace(x, direction[None] / 5), expected)
    torch.testing.assert_close(add(x, direction, -0.5), torch.tensor([1.0, 0.5, 1.0]))


@quick
@given(seeds, st.floats(1e-3, 1e3))
def test_ablation_is_an_orthogonal_projection(seed: int, size: float) -> None:
    x, y, r = drawn(seed, 2, 3, 8), drawn(seed + 1, 2, 3, 8), drawn(seed + 2, 8)
    once = ablate(x, r)
    torch.testing.assert_close(once @ r, torch.zeros(2, 3, dtype=torch.float64))
    torch.testing.assert_close(ablate(once, r), once)  # idempotent
    torch.testing.assert_close(ablate(2 * x + y, r), 2 * once + ablate(y, r))  # linear
    torch.testing.assert_close(ablate(x, -size * r), once)  # blind to the direction's sign and norm
    assert (once.norm(dim=-1) <= x.norm(dim=-1) + 1e-12).all()
    removed = (x - once).norm(dim=-1)
    torch.testing.assert_close(removed, (x @ r).abs() / r.norm())
    q = rotation(8, seed)
    torch.testing.assert_close(ablate(x @ q, r @ q), once @ q)  # turns with the basis


@quick
@given(seeds, st.integers(1, 4))
def test_subspace_ablation_is_ablating_each_of_its_axes(seed: int, k: int) -> None:
    x, basis = drawn(seed, 3, 8), rotation(8, seed)[:k]
    once = ablate_subspace(x, basis)
    one_by_one = x
    for axis in basis:
        one_by_one = ablate(one_by_one, axis)
    torch.testing.assert_close(once, one_by_one)
    torch.testing.assert_close(ablate_subspace(once, basis), once)
    turned = rotation(k, seed + 1) @ basis  # another basis of the same subspace
    torch.testing.assert_close(ablate_subspace(x, turned), once)


@quick
@given(seeds, st.floats(-4, 4))
def test_addition_moves_by_the_coefficient_times_the_direction(seed: int, coefficient: float) -> None:
    x, r = drawn(seed, 2, 8), drawn(seed + 1, 8)
    torch.testing.assert_close(add(x, r, coefficient) - x, (coefficient * r).expand(2, 8))
    torch.testing.assert_close(add(add(x, r, coefficient), r, -coefficient), x)
    torch.testing.assert_close(ablate(add(x, r, coefficient), r), ablate(x, r))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_stream_keeps_its_dtype_and_its_values(dtype: torch.dtype) -> None:
    x, r = drawn(0, 4, 64, dtype=dtype), drawn(1, 64, dtype=torch.float32)
    basis = rotation(64, 2)[:3].float()
    kept_x, kept_r, kept_basis = x.clone(), r.clone(), basis.clone()
    for edited in (ablate(x, r), ablate_subspace(x, basis), add(x, r), add(x, r, 0.0)):
        assert edited.dtype == dtype
        assert edited.data_ptr() != x.data_ptr()
    assert torch.equal(x, kept_x)
    assert torch.equal(r, kept_r)
    assert torch.equal(basis, kept_basis)
    assert torch.equal(add(x, r, 0.0), x)


def test_half_precision_streams_are_edited_in_single_precision() -> None:
    x, r = drawn(0, 8, 512, dtype=torch.bfloat16), drawn(1, 512, dtype=torch.float32)
    exact = ablate(x.double(), r.double()).bfloat16()  # nothing lost but by rounding the result
    unit = (r / r.norm()).bfloat16()
    in_half = x - (x @ unit)[:, None] * unit
    assert (ablate(x, r) == exact).double().mean() > 0.995
    assert (in_half == exact).double().mean() < 0.995  # what is avoided


def test_each_row_of_a_batch_can_have_its_own_direction() -> None:
    x, directions = drawn(0, 3, 5, 8), drawn(1, 3, 1, 8)
    together = ablate(x, directions)
    for row, direction, edited in zip(x, directions, together, strict=True):
        torch.testing.assert_close(edited, ablate(row, direction[0]))


def test_a_null_direction_gives_nan_and_not_an_edit_that_does_nothing() -> None:
    assert ablate(torch.ones(2, 4), torch.zeros(4)).isnan().all()


def test_widths_and_bases_that_do_not_fit_are_refused() -> None:
    x = torch.ones(2, 8)
    for edit in (ablate, ablate_subspace, add):
        with pytest.raises(RequestError, match="8 wide, the direction 1"):
            edit(x, torch.ones(1, 1))
    with pytest.raises(RequestError, match="orthonormal"):
        ablate_subspace(x, torch.ones(2, 8))
    with pytest.raises(RequestError, match="orthonormal"):
        ablate_subspace(x, torch.full((2, 8), np.nan))
    with pytest.raises(RequestError, match=r"\[k, d\]"):
        ablate_subspace(x, torch.ones(8) / 8**0.5)

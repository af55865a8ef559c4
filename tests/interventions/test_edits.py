from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.interventions.edits import ablate, ablate_subspace, add, affine, redirect

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


doses = st.floats(-4, 4)


@quick
@given(seeds, doses, doses)
def test_a_dose_scales_what_is_taken_away(seed: int, a: float, b: float) -> None:
    x, r, q = drawn(seed, 2, 3, 8), drawn(seed + 1, 8), rotation(8, seed)
    basis = rotation(8, seed + 2)[:3]
    for edit in (lambda x, dose: ablate(x, r, dose), lambda x, dose: ablate_subspace(x, basis, dose)):
        removed = x - edit(x, 1.0)
        torch.testing.assert_close(edit(x, a), x - a * removed)
        assert torch.equal(edit(x, 0.0), x)
        torch.testing.assert_close(edit(edit(x, a), b), edit(x, a + b - a * b))  # (1 − a)(1 − b) of it is left
        torch.testing.assert_close(edit(x, 2.0).norm(dim=-1), x.norm(dim=-1))  # mirrored
        torch.testing.assert_close(edit(2 * x + 1, a), 2 * edit(x, a) + edit(torch.ones_like(x), a))  # linear
    torch.testing.assert_close(ablate(x @ q, r @ q, a), ablate(x, r, a) @ q)
    torch.testing.assert_close(ablate_subspace(x @ q, basis @ q, a), ablate_subspace(x, basis, a) @ q)
    torch.testing.assert_close(ablate(x, r, a) @ r, (1 - a) * (x @ r))


@quick
@given(seeds)
def test_each_row_of_a_batch_can_have_its_own_dose(seed: int) -> None:
    x, r, dose = drawn(seed, 3, 5, 8), drawn(seed + 1, 3, 1, 8), drawn(seed + 2, 3, 1, 1)
    bases = torch.stack([rotation(8, seed + row)[:2] for row in range(3)])
    for row in range(3):
        own = float(dose[row])
        torch.testing.assert_close(ablate(x, r, dose)[row], ablate(x[row], r[row], own))
        torch.testing.assert_close(add(x, r, dose)[row], add(x[row], r[row], own))
        torch.testing.assert_close(ablate_subspace(x, bases, dose)[row], ablate_subspace(x[row], bases[row], own))
    torch.testing.assert_close(ablate(x, r[0, 0], dose)[1], ablate(x[1], r[0, 0], float(dose[1])))


@quick
@given(seeds, doses)
def test_the_affine_edit_puts_a_mean_in_place_of_the_component(seed: int, coefficient: float) -> None:
    x, r, mean, q = drawn(seed, 2, 3, 8), drawn(seed + 1, 8), drawn(seed + 2, 8), rotation(8, seed)
    edited = affine(x, r, mean, coefficient)
    torch.testing.assert_close(edited @ r, (mean @ r + coefficient * (r @ r)).expand(2, 3))
    torch.testing.assert_close(ablate(edited, r), ablate(x, r))  # and nothing else
    torch.testing.assert_close(affine(edited, r, mean, coefficient), edited)
    torch.testing.assert_close(affine(x @ q, r @ q, mean @ q, coefficient), edited @ q)
    torch.testing.assert_close(affine(x, r, torch.zeros(8, dtype=torch.float64)), ablate(x, r))


@quick
@given(seeds, st.sampled_from([1.0, -1.0]), st.floats(1e-3, 1e3))
def test_a_norm_matched_control_takes_as_much_along_another_direction(seed: int, sign: float, size: float) -> None:
    x, y, r, u = drawn(seed, 2, 3, 8), drawn(seed + 1, 2, 3, 8), drawn(seed + 2, 8), drawn(seed + 3, 8)
    control = redirect(x, r, u, sign)
    torch.testing.assert_close((x - control).norm(dim=-1), (x - ablate(x, r)).norm(dim=-1))
    torch.testing.assert_close(ablate(control, u), ablate(x, u))  # along the control and nowhere else
    torch.testing.assert_close((x - control) @ u, sign * (x @ r) / r.norm() * u.norm())
    torch.testing.assert_close(redirect(x, -size * r, -size * u, sign), control)  # norms do not count
    torch.testing.assert_close(redirect(2 * x + y, r, u, sign), 2 * control + redirect(y, r, u, sign))
    q = rotation(8, seed)
    torch.testing.assert_close(redirect(x @ q, r @ q, u @ q, sign), control @ q)
    torch.testing.assert_close(redirect(x, r, r, sign), ablate(x, r, sign))
    across = ablate(u, r)
    torch.testing.assert_close(redirect(x, r, across, sign) @ r, x @ r)  # the target stays where it was


def test_each_row_of_a_batch_can_have_its_own_control_and_sign() -> None:
    x, r, u, sign = drawn(0, 2, 5, 8), drawn(1, 2, 1, 8), drawn(2, 2, 1, 8), torch.tensor([1.0, -1.0])[:, None, None]
    for row in range(2):
        torch.testing.assert_close(
            redirect(x, r, u, sign)[row], redirect(x[row], r[row], u[row], float(sign[row])), rtol=0, atol=1e-12
        )
    for wrong in (0.5, torch.tensor([1.0, 0.0])[:, None, None], float("nan")):
        with pytest.raises(RequestError, match="1 or −1"):
            redirect(x, r, u, wrong)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_stream_keeps_its_dtype_and_its_values(dtype: torch.dtype) -> None:
    x, r = drawn(0, 4, 64, dtype=dtype), drawn(1, 64, dtype=torch.float32)
    basis = rotation(64, 2)[:3].float()
    kept_x, kept_r, kept_basis = x.clone(), r.clone(), basis.clone()
    dose = torch.ones(4, 1, dtype=torch.float64)
    edits = (ablate(x, r), ablate(x, r, dose), ablate_subspace(x, basis), ablate_subspace(x, basis, dose), add(x, r))
    for edited in (*edits, add(x, r, 0.0), add(x, r, dose), affine(x, r, r), redirect(x, r, basis[0])):
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
    null, one = torch.zeros(4), torch.ones(4)
    assert ablate(torch.ones(2, 4), null).isnan().all()
    assert ablate(torch.ones(2, 4), null, 0.0).isnan().all()
    assert redirect(torch.ones(2, 4), null, one).isnan().all()
    assert redirect(torch.ones(2, 4), one, null).isnan().all()


def test_widths_and_bases_that_do_not_fit_are_refused() -> None:
    x = torch.ones(2, 8)
    for edit in (ablate, ablate_subspace, add):
        with pytest.raises(RequestError, match="8 wide, the direction 1"):
            edit(x, torch.ones(1, 1))
    for r, u in ((torch.ones(1), torch.ones(8)), (torch.ones(8), torch.ones(1))):
        with pytest.raises(RequestError, match="8 wide, the direction 1"):
            redirect(x, r, u)
    with pytest.raises(RequestError, match="orthonormal"):
        ablate_subspace(x, torch.ones(2, 8))
    with pytest.raises(RequestError, match="orthonormal"):
        ablate_subspace(x, torch.full((2, 8), np.nan))
    with pytest.raises(RequestError, match=r"\[k, d\]"):
        ablate_subspace(x, torch.ones(8) / 8**0.5)

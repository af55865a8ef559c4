"""Edits of the residual stream as pure functions: ablation (direction, subspace, affine), addition, and their control.

None of them changes its input. Arithmetic runs in float32 at least, whatever the stream's dtype: in bf16, with its
8 bits, the direction and the projection on it would each be off by up to 0.4 %, and that much would stay behind. The
result comes back in the stream's dtype. *Where* an edit applies (sites, positions, layers) is the caller's
(`geoaudit.interventions.scopes`).

Doses, coefficients and signs are numbers, or tensors that broadcast against the stream: one for each row of a batch is
`[batch, 1, 1]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoaudit.errors import RequestError

MOST_SKEW = 1e-3
"""How far the rows of a basis may be from orthonormal: the largest entry of B·Bᵀ − 1."""


def ablate(x: Tensor, direction: Tensor, dose: Tensor | float = 1.0) -> Tensor:
    """Directional ablation, x − λ (x·r̂) r̂: the stream without its component along a direction (Arditi et al. 2024).

    Divided by r·r instead of normalising first, so that the result does not depend on the norm of r, and a null
    direction gives NaN, which no check lets pass, rather than an edit that does nothing. (The reference uses
    r̂ = r/(|r| + 1e-8).)

    Args:
        x: stream [..., d], any floating dtype.
        direction: r, [d] or broadcastable against x (one direction for each row of a batch: [batch, 1, d]).
        dose: λ; 1 removes the component, 0 does nothing, 2 turns it round, −1 doubles it.

    Returns:
        [..., d] in x's dtype; its component along r is 1 − λ times that of x.

    Raises:
        RequestError: a direction of another width.
    """
    _check_width(x, direction)
    stream, r = _widened(x, direction)
    along = _products(stream, r / (r * r).sum(dim=-1, keepdim=True))
    return _less(stream, along, r, dose).to(x.dtype)


def ablate_subspace(x: Tensor, basis: Tensor, dose: Tensor | float = 1.0) -> Tensor:
    """Subspace ablation, x − λ Bᵀ(B x): the stream without its component in the span of B's rows (paper 1, Eq. 6).

    Args:
        x: stream [..., d].
        basis: B, orthonormal rows [k, d]; or one basis for each row of a batch, [batch, k, d] for x [batch, n, d].
        dose: λ, a number or one for each basis [batch, 1, 1]; 1 removes the component, 0 does nothing.

    Returns:
        [..., d] in x's dtype.

    Raises:
        RequestError: a basis of another width, or rows that are not orthonormal to 1e-3 (the formula would then
            remove too much of some directions and too little of others).
    """
    _check_width(x, basis)
    stream, rows = _widened(x, basis)
    if basis.ndim not in (2, 3) or (basis.ndim == 3 and (x.ndim != 3 or len(x) != len(basis))):
        raise RequestError(
            "a basis has orthonormal rows [k, d], or [batch, k, d] for a stream [batch, n, d]; got shapes "
            f"{tuple(basis.shape)} and {tuple(x.shape)}"
        )
    check_orthonormal(rows)
    transposed = rows.transpose(-1, -2)
    return (stream - _like(dose, stream) * ((stream @ transposed) @ rows)).to(x.dtype)


def add(x: Tensor, direction: Tensor, coefficient: Tensor | float = 1.0) -> Tensor:
    """Activation addition, x + coefficient·r, with r at the norm it has (Arditi et al. 2024: the raw difference).

    Args:
        x: stream [..., d].
        direction: r, [d] or broadcastable against x.
        coefficient: in units of r; 1 induces, −1 is the reference's "actadd" jailbreak.

    Returns:
        [..., d] in x's dtype.

    Raises:
        RequestError: a direction of another width.
    """
    _check_width(x, direction)
    stream, r = _widened(x, direction)
    return (stream + _like(coefficient, stream) * r).to(x.dtype)


def affine(x: Tensor, direction: Tensor, mean: Tensor, coefficient: float = 0.0) -> Tensor:
    """Affine edit, x − r̂r̂ᵀx + r̂r̂ᵀμ + α·r: the component along r replaced by that of a mean (COSMIC, Siu et al. 2025).

    Args:
        x: stream [..., d].
        direction: r, [d] or broadcastable against x.
        mean: μ, the mean activation of harmless prompts at the site, of the shape of r.
        coefficient: α in units of r: 0 ablates, 1 induces.

    Returns:
        [..., d] in x's dtype; its component along r̂ is r̂ᵀμ + α‖r‖.

    Raises:
        RequestError: a direction or a mean of another width.
    """
    _check_width(x, direction)
    _check_width(x, mean)
    stream, r = _widened(x, direction)
    wanted = mean.to(device=x.device, dtype=r.dtype) - stream
    along = _products(wanted, r / (r * r).sum(dim=-1, keepdim=True))
    return torch.addcmul(stream, along + coefficient, r).to(x.dtype)


def redirect(x: Tensor, direction: Tensor, control: Tensor, sign: Tensor | float = 1.0) -> Tensor:
    """The norm-matched control of ablation, x − s (r̂ᵀx) û: as much taken from each position, along another direction.

    Ablating r changes each position by |r̂ᵀx|; so does this, whatever the control is. With û = r̂ and s = 1 it is that
    ablation. The sign is fixed once a control: drawn anew for each position, it would turn the control into noise.

    Args:
        x: stream [..., d].
        direction: r, the target, [d] or broadcastable against x; any norm but zero.
        control: u, of the shape of r; any norm but zero.
        sign: s, 1 or −1.

    Returns:
        [..., d] in x's dtype, at distance |r̂ᵀx| from x. A null direction or control gives NaN.

    Raises:
        RequestError: a direction or a control of another width, or a sign that is neither 1 nor −1.
    """
    _check_width(x, direction)
    _check_width(x, control)
    stream, r = _widened(x, direction)
    _, u = _widened(x, control)
    s = torch.as_tensor(sign, dtype=stream.dtype, device=stream.device)
    if not (s.abs() == 1).all():
        raise RequestError(f"the sign of a norm-matched control is 1 or −1, so that the norm stays matched; got {sign}")
    along = _products(stream, r / r.norm(dim=-1, keepdim=True))
    return _less(stream, along, u / u.norm(dim=-1, keepdim=True), s).to(x.dtype)


def check_orthonormal(rows: Tensor) -> None:
    """Raise RequestError unless the rows of a basis [..., k, d] are orthonormal to `MOST_SKEW`; NaN is not."""
    identity = torch.eye(rows.shape[-2], dtype=rows.dtype, device=rows.device)
    error = (rows @ rows.transpose(-1, -2) - identity).abs().max()
    if not error <= MOST_SKEW:
        raise RequestError(f"the rows of a basis must be orthonormal; B·Bᵀ is off the identity by {float(error):.3g}")


def _less(stream: Tensor, along: Tensor, r: Tensor, dose: Tensor | float) -> Tensor:
    """The stream less dose · along · r, in one kernel: `along` is [..., 1]."""
    if isinstance(dose, Tensor):
        return torch.addcmul(stream, along * _like(dose, stream), r, value=-1)
    return torch.addcmul(stream, along, r, value=-dose)


def _products(stream: Tensor, r: Tensor) -> Tensor:
    """stream·r over the last axis, kept: [..., 1]. As a matrix product where r's shape allows, which is faster."""
    if r.ndim == 1:
        return (stream @ r).unsqueeze(-1)
    if r.shape[-2] == 1 and r.ndim == stream.ndim:
        return stream @ r.transpose(-1, -2)
    return (stream * r).sum(dim=-1, keepdim=True)


def _like(value: Tensor | float, stream: Tensor) -> Tensor | float:
    """A dose as the stream is computed; a number stays one."""
    return value.to(device=stream.device, dtype=stream.dtype) if isinstance(value, Tensor) else value


def _widened(x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32, or in x's dtype where that is wider."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.to(dtype), direction.to(device=x.device, dtype=dtype)


def _check_width(x: Tensor, direction: Tensor) -> None:
    if x.shape[-1] != direction.shape[-1]:
        raise RequestError(f"the stream is {x.shape[-1]} wide, the direction {direction.shape[-1]}")

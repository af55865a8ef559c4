"""Edits of the residual stream as pure functions: directional, subspace and affine ablation, activation addition.

None of them changes its input. Arithmetic runs in float32 at least, whatever the stream's dtype: in bf16, with its
8 bits, the direction and the projection on it would each be off by up to 0.4 %, and that much would stay behind. The
result comes back in the stream's dtype. *Where* an edit applies (sites, positions, layers) is the caller's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoaudit.errors import RequestError


def ablate(x: Tensor, direction: Tensor) -> Tensor:
    """Directional ablation, x − (x·r̂) r̂: the stream without its component along a direction (Arditi et al. 2024).

    Divided by r·r instead of normalising first, so that the result does not depend on the norm of r, and a null
    direction gives NaN, which no check lets pass, rather than an edit that does nothing. (The reference uses
    r̂ = r/(|r| + 1e-8).)

    Args:
        x: stream [..., d], any floating dtype.
        direction: r, [d] or broadcastable against x (one direction for each row of a batch: [batch, 1, d]).

    Returns:
        [..., d] in x's dtype, orthogonal to r.

    Raises:
        RequestError: a direction of another width.
    """
    _check_width(x, direction)
    stream, r = _widened(x, direction)
    along = _products(stream, r / (r * r).sum(dim=-1, keepdim=True))
    return torch.addcmul(stream, along, r, value=-1).to(x.dtype)


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
    transposed = rows.transpose(-1, -2)
    error = (rows @ transposed - torch.eye(rows.shape[-2], dtype=rows.dtype, device=rows.device)).abs().max()
    if not error <= 1e-3:
        raise RequestError(f"the rows of a basis must be orthonormal; B·Bᵀ is off the identity by {float(error):.3g}")
    return (stream - dose * ((stream @ transposed) @ rows)).to(x.dtype)


def add(x: Tensor, direction: Tensor, coefficient: float = 1.0) -> Tensor:
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
    return (stream + coefficient * r).to(x.dtype)


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


def _products(stream: Tensor, r: Tensor) -> Tensor:
    """stream·r over the last axis, kept: [..., 1]. As a matrix product where r's shape allows, which is faster."""
    if r.ndim == 1:
        return (stream @ r).unsqueeze(-1)
    if r.shape[-2] == 1 and r.ndim == stream.ndim:
        return stream @ r.transpose(-1, -2)
    return (stream * r).sum(dim=-1, keepdim=True)


def _widened(x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32, or in x's dtype where that is wider."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.to(dtype), direction.to(device=x.device, dtype=dtype)


def _check_width(x: Tensor, direction: Tensor) -> None:
    if x.shape[-1] != direction.shape[-1]:
        raise RequestError(f"the stream is {x.shape[-1]} wide, the direction {direction.shape[-1]}")

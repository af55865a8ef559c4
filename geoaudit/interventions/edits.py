"""Edits of the residual stream as pure functions: directional ablation, subspace ablation, activation addition.

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
    along = (stream * r).sum(dim=-1, keepdim=True) / (r * r).sum(dim=-1, keepdim=True)
    return (stream - along * r).to(x.dtype)


def ablate_subspace(x: Tensor, basis: Tensor) -> Tensor:
    """Subspace ablation, x − Bᵀ(B x): the stream without its component in the span of the rows of B (paper 1, Eq. 6).

    Args:
        x: stream [..., d].
        basis: B, orthonormal rows [k, d].

    Returns:
        [..., d] in x's dtype.

    Raises:
        RequestError: a basis of another width, or rows that are not orthonormal to 1e-3 (the formula would then
            remove too much of some directions and too little of others).
    """
    _check_width(x, basis)
    stream, rows = _widened(x, basis)
    if basis.ndim != 2:
        raise RequestError(f"a basis has orthonormal rows [k, d], got shape {tuple(basis.shape)}")
    error = (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).abs().max()
    if not error <= 1e-3:
        raise RequestError(f"the rows of a basis must be orthonormal; B·Bᵀ is off the identity by {float(error):.3g}")
    return (stream - (stream @ rows.T) @ rows).to(x.dtype)


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


def _widened(x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32, or in x's dtype where that is wider."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.to(dtype), direction.to(device=x.device, dtype=dtype)


def _check_width(x: Tensor, direction: Tensor) -> None:
    if x.shape[-1] != direction.shape[-1]:
        raise RequestError(f"the stream is {x.shape[-1]} wide, the direction {direction.shape[-1]}")

"""How strongly the harmfulness direction H and the refusal direction R are coupled (arXiv 2606.16349 §3).

Pure functions of directions, subspaces and layer numbers. Which contrast H and R are made of, where they are read, and
what a permuted label would give, is the measure's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import NULL_NORM
from geoaudit.geometry.subspaces import DEPENDENT

Floats = NDArray[np.float64]

TAU = 4.0
"""Layers over which `c_layer` falls by e (arXiv 2606.16349, Eq. 11)."""


class Contrasts(NamedTuple):
    """Two contrasts of the same four cells, not normalised."""

    harmful: Floats
    """H: what harmful prompts add, whatever the model did."""
    refused: Floats
    """R: what refusing adds, whatever was asked."""


def identified_contrasts(
    harmful_refused: NDArray[Any],
    harmful_complied: NDArray[Any],
    harmless_refused: NDArray[Any],
    harmless_complied: NDArray[Any],
) -> Contrasts:
    """H and R as the two main effects of the 2 × 2 table of what was asked and what the model did.

    R = ½[(hr − hc) + (sr − sc)], H = ½[(hr − sr) + (hc − sc)]: every cell counts alike, however many prompts are in it,
    so that R holds nothing of what was asked and H nothing of what was done. The difference of refused and complied
    prompts *pooled* does: where a model refuses mostly the harmful ones, it is mostly H.

    Args:
        harmful_refused: mean activation of the cell, [..., d]; the other three likewise, of the same shape.
        harmful_complied: as above.
        harmless_refused: as above.
        harmless_complied: as above.

    Returns:
        Both contrasts, [..., d].

    Raises:
        RequestError: cells of different shapes.
        NothingToMeasure: a mean that is not finite (an empty cell).
    """
    hr, hc, sr, sc = (
        np.asarray(cell, dtype=np.float64)
        for cell in (harmful_refused, harmful_complied, harmless_refused, harmless_complied)
    )
    if not hr.shape == hc.shape == sr.shape == sc.shape:
        raise RequestError(f"the four cells must share one shape, got {hr.shape}, {hc.shape}, {sr.shape}, {sc.shape}")
    if not all(np.isfinite(cell).all() for cell in (hr, hc, sr, sc)):
        raise NothingToMeasure("a cell's mean is not finite: harmfulness and refusal cannot be told apart without it")
    return Contrasts(harmful=((hr - sr) + (hc - sc)) / 2, refused=((hr - hc) + (sr - sc)) / 2)


def c_cos(h: NDArray[Any], r: NDArray[Any]) -> Floats:
    """|cos| of the two directions, in [0, 1] (arXiv 2606.16349, Eq. 7).

    Args:
        h: harmfulness direction of any length, [..., d].
        r: refusal direction of any length, [..., d]; leading axes (resamples, layers) broadcast.

    Returns:
        [...]; for one pair a NumPy scalar.

    Raises:
        NothingToMeasure: a null direction, one that is not finite, or different widths.
    """
    result: Floats = np.minimum(np.abs((_unit(h, "h") * _unit(r, "r", like=h)).sum(axis=-1)), 1.0)
    return result


def c_layer(h_layer: int, r_layer: int, tau: float = TAU) -> float:
    """exp(−|L_H − L_R|/τ), in (0, 1]: 1 for the same layer (arXiv 2606.16349, Eq. 11)."""
    if not tau > 0:
        raise RequestError(f"τ must be above 0, got {tau}")
    return math.exp(-abs(h_layer - r_layer) / tau)


def layer_gap(h_layer: int, r_layer: int, n_layers: int) -> float:
    """d_layer = |L_H − L_R|/(L − 1), in [0, 1] (arXiv 2606.16349, Eq. 10).

    Raises:
        RequestError: a layer outside 0 … L − 1.
        NothingToMeasure: a model of one layer, which has no gap.
    """
    if n_layers < 2:
        raise NothingToMeasure(f"a model of {n_layers} layer has no gap between layers")
    for layer in (h_layer, r_layer):
        if not 0 <= layer < n_layers:
            raise RequestError(f"layer {layer} does not exist; the model has layers 0 … {n_layers - 1}")
    return abs(h_layer - r_layer) / (n_layers - 1)


def hrci_repr(cos: NDArray[Any] | float, sub: NDArray[Any] | float) -> Floats:
    """½·c_cos + ½·c_sub, in [0, 1] (arXiv 2606.16349, Eq. 9)."""
    result: Floats = np.asarray(_share(cos, "c_cos") / 2 + _share(sub, "c_sub") / 2)
    return result


def hrci_full(cos: NDArray[Any] | float, sub: NDArray[Any] | float, layer: NDArray[Any] | float) -> Floats:
    """0.4·c_cos + 0.4·c_sub + 0.2·c_layer, in [0, 1] (arXiv 2606.16349, Eq. 12)."""
    result: Floats = np.asarray(
        0.4 * _share(cos, "c_cos") + 0.4 * _share(sub, "c_sub") + 0.2 * _share(layer, "c_layer")
    )
    return result


def isotropic_c_cos(width: int) -> float:
    """Mean |cos| of two random directions of width d, Γ(d/2) / (√π Γ((d + 1)/2)): 0.0125 at d = 4096.

    A footnote only: activations are so far from isotropic that permuted labels give 6 to 10 times as much.
    """
    return math.exp(math.lgamma(width / 2) - math.lgamma((width + 1) / 2)) / math.sqrt(math.pi)


def isotropic_c_sub(width: int, k: int) -> float:
    """Mean c_sub of two random k-dimensional subspaces of width d: k/d."""
    if not 1 <= k <= width:
        raise RequestError(f"k lies in 1 … {width}, got {k}")
    return k / width


class Orthogonalised(NamedTuple):
    """A direction with another taken out of it."""

    direction: Floats
    """Unit norm, [d]."""
    norm: float
    """Of what was left of a unit vector, the sine of the angle between the two, in (0, 1]."""


def orthogonalised(direction: NDArray[Any], other: NDArray[Any]) -> Orthogonalised:
    """h⊥r = (h − (hᵀr) r)/‖·‖ (arXiv 2606.16349, Eq. 13); r⊥h with the arguments swapped.

    Args:
        direction: what is to be kept, of any length, [d].
        other: what is taken out of it, of any length, [d].

    Raises:
        NothingToMeasure: parallel directions (sine up to 1e-6: what float32 means resolve), a null one, one that is
            not finite, or different widths.
    """
    one, axis = _unit(direction, "the direction"), _unit(other, "the other one", like=direction)
    if one.ndim != 1:
        raise RequestError(f"a direction is one vector [d], got shape {one.shape}")
    left = one - (one @ axis) * axis
    left = left - (left @ axis) * axis  # again: a small remainder is as orthogonal as a large one
    size = float(np.linalg.norm(left))
    if not size > DEPENDENT:
        raise NothingToMeasure(
            f"the two directions are parallel (sine {size:.1g}): nothing is left of one without the other"
        )
    return Orthogonalised(left / size, size)


def _unit(vectors: NDArray[Any], name: str, like: NDArray[Any] | None = None) -> Floats:
    """Vectors [..., d] at unit norm."""
    values = np.asarray(vectors, dtype=np.float64)
    if like is not None and values.shape[-1] != np.shape(like)[-1]:
        raise NothingToMeasure(
            f"vectors of width {np.shape(like)[-1]} and {values.shape[-1]} lie in different spaces: models of "
            "different width have no angle between them"
        )
    size = np.linalg.norm(values, axis=-1, keepdims=True)
    if not np.isfinite(size).all():
        raise NothingToMeasure(f"{name} is not finite")
    if not (size > NULL_NORM).all():
        raise NothingToMeasure(f"null direction: {name} has a norm of {size.min():.3g}, which is rounding noise")
    result: Floats = values / size
    return result


def _share(value: NDArray[Any] | float, name: str) -> Floats:
    numbers = np.asarray(value, dtype=np.float64)
    if not ((numbers >= 0) & (numbers <= 1 + 1e-12)).all():  # written so that NaN is refused
        raise RequestError(f"{name} lies in [0, 1], got {value}")
    return numbers

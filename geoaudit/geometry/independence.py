"""Whether ablating one direction leaves another as it was (representational independence, Wollschläger et al. 2025).

With c_l(v) the cosine of v with the input of layer l at the last token, the change of v's *cosine profile* is
mean_l [c_l(v) under ablation of u − c_l(v)]², l over the first 90 % of the layers. The published loss is that change
plus the one of u's profile under ablation of v. Orthogonal directions can depend on each other: later layers may
compute one from the other. Directions at an angle do so at once, because what is taken out
with u is partly v: `once_removed` says how much that alone comes to.

Pure functions of cosines. What is ablated, where and on which prompts is the caller's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import NULL_NORM, unit

Floats = NDArray[np.float64]

PROFILE_FRACTION = 0.9
"""Share of the layers, from the first on, over which profiles are compared (Wollschläger et al. 2025)."""


def profile_layers(n_layers: int) -> int:
    """K, how many layers a profile has: nine tenths of those of the model, rounded down.

    Raises:
        NothingToMeasure: a model of so few layers that none is left.
    """
    kept = int(PROFILE_FRACTION * n_layers + 1e-9)  # 0.9 has no exact float
    if kept < 1:
        raise NothingToMeasure(f"no cosine profile over {kept} of {n_layers} layers")
    return kept


def cosine_profiles(streams: NDArray[Any], direction: NDArray[Any]) -> Floats:
    """c_l(v): the cosine of a direction with the input of each of the layers that are compared.

    Args:
        streams: `resid_pre` of every layer at the last token, [..., L, d].
        direction: v, of any length but zero, [d].

    Returns:
        [..., K], in [−1, 1]; NaN where an activation is zero or not finite, so that no mean over it passes for a
        number.

    Raises:
        RequestError: a direction of another width.
        NothingToMeasure: a null direction, or one that is not finite; no layer left.
    """
    values = np.asarray(streams)
    if values.ndim < 2 or values.shape[-1] != np.shape(direction)[-1]:
        raise RequestError(f"streams [..., L, d] and a direction [d], got {values.shape} and {np.shape(direction)}")
    axis = unit(direction)
    kept = values[..., : profile_layers(values.shape[-2]), :].astype(np.float64)
    size = np.linalg.norm(kept, axis=-1)
    alive = np.isfinite(size) & (size > NULL_NORM)
    along = np.where(alive, np.where(alive[..., None], kept, 0.0) @ axis, np.nan)
    result: Floats = np.clip(along / np.where(alive, size, 1.0), -1.0, 1.0)
    return result


def squared_change(profile: NDArray[Any], edited: NDArray[Any]) -> Floats:
    """Mean over the layers of the squared change of a profile: [..., K] and [..., K] -> [...], in [0, 4].

    NaN where either profile has one.

    Raises:
        RequestError: profiles over different layers, or over none.
    """
    before, after = (np.asarray(each, dtype=np.float64) for each in (profile, edited))
    if before.shape[-1:] != after.shape[-1:] or not before.shape[-1:] or not before.shape[-1]:
        raise RequestError(f"two profiles over the same layers are needed, got {before.shape} and {after.shape}")
    result: Floats = np.asarray(((after - before) ** 2).mean(axis=-1))
    return result


def representational_change(plain: NDArray[Any], without: NDArray[Any]) -> Floats:
    """The published quantity for each prompt: both directions' `squared_change`, added up. 0: independent.

    Args:
        plain: profiles of u and of v in the unmodified model, [2, ..., K].
        without: the profile of u with v ablated, and of v with u ablated, [2, ..., K].

    Returns:
        [...], in [0, 8].

    Raises:
        RequestError: shapes that do not fit.
    """
    if np.shape(plain)[:1] != (2,) or np.shape(without)[:1] != (2,):
        raise RequestError(f"profiles of two directions are needed, got {np.shape(plain)} and {np.shape(without)}")
    result: Floats = np.asarray(squared_change(plain, without).sum(axis=0))
    return result


def once_removed(profile: NDArray[Any], other: NDArray[Any], cosine: float) -> Floats:
    """The profile of v where u is taken out of each layer's input, and nothing is computed from what is left.

    (c(v) − c(u)·cos(u, v)) / √(1 − c(u)²): the part of v that u holds is gone, and the stream is shorter by its
    component along u. What ablation changes beyond that, it changes through the layers.

    Args:
        profile: c(v), [...].
        other: c(u) of the same activations, [...].
        cosine: of u and v.

    Returns:
        [...]; NaN where the activation is parallel to u, of which nothing is left.
    """
    of_v, of_u = (np.asarray(each, dtype=np.float64) for each in (profile, other))
    left = 1.0 - of_u**2
    alive = left > NULL_NORM
    result: Floats = np.divide(
        of_v - of_u * cosine, np.sqrt(np.where(alive, left, 1.0)), where=alive, out=np.full(of_v.shape, np.nan)
    )
    return result

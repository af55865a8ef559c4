"""Control directions: what an edit of about the same size along something else would do.

Drawn *covariance-matched*: a random combination of how single blocks of prompts differ from the mean of their own kind,
so that a control points where this model's activations vary, and not into the empty directions that a uniformly random
vector mostly has. What lies along the target is taken out. How large a dose of a control is, is for whoever applies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans

Floats = NDArray[np.float64]


def covariance_matched(
    sides: Sequence[BlockMeans],
    position: int,
    layer: int,
    target: NDArray[Any],
    *,
    n: int,
    k: int = 1,
    seed: int,
) -> Floats:
    """Random orthonormal k-frames out of the spread of activations at one site, orthogonal to a target.

    Args:
        sides: block means [B, P, L, d] of each kind of prompts; blocks are compared with the mean of their own kind.
        position: index on the axis P.
        layer: index on the axis L.
        target: [d], or [t, d] for a subspace.
        n: number of frames.
        k: directions in each.
        seed: of the draw.

    Returns:
        float64 [n, k, d]; rows of a frame are orthonormal, and orthogonal to the target.

    Raises:
        NothingToMeasure: the spread beside the target has fewer than k dimensions.
        RequestError: a target of another width.
    """
    deviations = []
    for side in sides:
        held = side.occupied()
        site = held.mean[:, position, layer].astype(np.float64)
        weight = held.count / held.count.sum()
        # a block's mean of c prompts varies by 1/c of what prompts do
        deviations.append(np.sqrt(held.count)[:, None] * (site - weight @ site))
    spread = np.concatenate(deviations)
    aims = np.atleast_2d(np.asarray(target, dtype=np.float64))
    if aims.shape[-1] != spread.shape[-1]:
        raise RequestError(f"the target is {aims.shape[-1]} wide, the activations {spread.shape[-1]}")
    basis = np.linalg.svd(aims, full_matrices=False)[2]
    spread = spread - (spread @ basis.T) @ basis
    singular = np.linalg.svd(spread, compute_uv=False)
    if (singular > 1e-6 * max(singular[0], 1e-300)).sum() < k or not singular[0] > 0:
        raise NothingToMeasure(
            f"no controls: beside the target, activations of {len(spread)} blocks of prompts vary in fewer than {k} "
            "directions (raise n_train)"
        )
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal((n, k, len(spread))) @ spread
    frames: Floats = np.linalg.qr(drawn.swapaxes(-1, -2))[0].swapaxes(-1, -2)
    frames = frames - (frames @ basis.T) @ basis  # once more, for rounding
    unit: Floats = frames / np.linalg.norm(frames, axis=-1, keepdims=True)
    return unit

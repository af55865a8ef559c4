"""Control directions: what an edit of about the same size along something else would do.

Three kinds, each orthogonal to the target. *Covariance-matched*: a random combination of how single blocks of prompts
differ from the mean of their own kind, so that a control points where this model's activations vary, and not into the
empty directions that a uniformly random vector mostly has. *Category contrasts*: the difference in means between two
groups of categories of harmless prompts, which is made as the target is and means something to the model, but no harm.
*Random frames*: uniform over the sphere, the control of arXiv 2606.16349; the weakest, since a model mostly ignores
such directions, and so never the one that decides. How large a dose of a control is, is for whoever applies it.

A control counts once. Draws that span the same subspace, up to sign, are one control: a target that beats a hundred
copies of it has beaten one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import nulls
from geoaudit.geometry.directions import NULL_RATIO, BlockMeans

Floats = NDArray[np.float64]

SAME = 1e-4
"""Squared sine of the angle between two controls up to which they are one (half a degree)."""
DEPENDENT = 1e-3
"""Share of a direction that must be new to the frame which it joins; below, the frame has fewer dimensions."""
ENUMERATED = 8
"""Categories up to which all pairs of groups are listed (3025 for 8); of more, some are drawn."""
ROUNDS = 20
"""How often all contrasts are dealt into frames before there are too few."""


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
        NothingToMeasure: the spread beside the target has too few dimensions for n different k-frames, or the target
            is null.
        RequestError: a target of another width.
    """
    _asked(n, k)
    deviations = []
    for side in sides:
        held = side.occupied()
        site = held.mean[:, position, layer].astype(np.float64)
        weight = held.count / held.count.sum()
        # a block's mean of c prompts varies by 1/c of what prompts do
        deviations.append(np.sqrt(held.count)[:, None] * (site - weight @ site))
    spread = np.concatenate(deviations)
    basis = _span(target, spread.shape[-1])
    spread = _beside(spread, basis)
    singular = np.linalg.svd(spread, compute_uv=False)
    _enough(int((singular > 1e-6 * max(singular[0], 1e-300)).sum()), n, k, f"{len(spread)} blocks of prompts vary")
    generator = np.random.default_rng(seed)
    return _frames(generator.standard_normal((n, k, len(spread))) @ spread, basis)


def category_contrasts(
    categories: Sequence[BlockMeans],
    position: int,
    layer: int,
    target: NDArray[Any],
    *,
    n: int,
    k: int = 1,
    seed: int,
) -> Floats:
    """Random orthonormal k-frames out of contrasts between groups of harmless categories, orthogonal to a target.

    A contrast is mean(prompts of some categories) − mean(prompts of some others); a category may be in neither. There
    are (3^C − 2^(C+1) + 1)/2 for C categories, up to sign: 25 for 4 and 3025 for 8, so that a hundred controls need no
    more than the built-in categories. They span C − 1 dimensions only, and are as alike as that makes them.

    Args:
        categories: block means [B', P, L, d] of each category (`measures.fulfilled.CategoryMeans`).
        position: index on the axis P.
        layer: index on the axis L.
        target: [d], or [t, d] for a subspace.
        n: number of frames, no two of the same subspace.
        k: contrasts in each.
        seed: of the draw.

    Returns:
        float64 [n, k, d]; rows of a frame are orthonormal, and orthogonal to the target.

    Raises:
        NothingToMeasure: too few categories for n different k-frames, categories that do not differ beside the target
            (by more than the rounding of an activation), activations that are not finite, or a null target.
        RequestError: a target of another width, or n or k below 1.
    """
    _asked(n, k)
    if len(categories) < 2:
        raise NothingToMeasure(f"no controls: a contrast needs two categories of prompts, got {len(categories)}")
    held = nulls.pool(categories)
    site = held.mean[:, position, layer].astype(np.float64)
    basis = _span(target, site.shape[-1])
    generator = np.random.default_rng(seed)
    groups = _groups(len(categories), n * k, generator)
    of_block = groups[:, np.repeat(np.arange(len(categories)), [int((each.count > 0).sum()) for each in categories])]
    draws = nulls.Draws(held, (of_block > 0).astype(np.int64), (of_block < 0).astype(np.int64))
    if not np.isfinite(site).all():
        raise NothingToMeasure("no controls: activations of harmless prompts hold NaN or infinity")
    # coordinates in the span of the blocks: the same lengths and angles in far fewer numbers than d
    left, singular, axes = np.linalg.svd(_beside(site - site.mean(axis=0), basis), full_matrices=False)
    contrasts = draws.coefficients @ (left * singular)
    rounding = NULL_RATIO * float(np.linalg.norm(site, axis=1).mean())
    contrasts = contrasts[np.linalg.norm(contrasts, axis=1) > rounding]
    sizes = np.linalg.svd(contrasts, compute_uv=False) if len(contrasts) else np.zeros(1)
    between = f"{len(categories)} categories of harmless prompts differ"
    _enough(int((sizes > DEPENDENT * sizes[0]).sum()) if sizes[0] > 0 else 0, n, k, between)
    found, held_so_far = np.empty((n, k, len(axes))), 0
    for places in _dealt(len(contrasts), k, generator):
        frame = _gram_schmidt(contrasts[places])
        if frame is not None and not _among(frame, found[:held_so_far]):
            found[held_so_far] = frame
            held_so_far += 1
        if held_so_far == n:
            return _clean(found @ axes, basis)
    raise NothingToMeasure(
        f"too few controls: {len(categories)} categories of harmless prompts give {held_so_far} different "
        f"{_dimensional(k)}contrasts beside the target, {n} are needed"
    )


def random_frames(width: int, target: NDArray[Any], *, n: int, k: int = 1, seed: int) -> Floats:
    """Random orthonormal k-frames, uniform over all that are orthogonal to a target (arXiv 2606.16349, Eq. 24).

    Args:
        width: d.
        target: [d], or [t, d] for a subspace.
        n: number of frames.
        k: directions in each.
        seed: of the draw.

    Returns:
        float64 [n, k, d]; rows of a frame are orthonormal, and orthogonal to the target.

    Raises:
        NothingToMeasure: beside the target the stream has too few dimensions for n different k-frames, or the target
            is null.
        RequestError: a target of another width, or n or k below 1.
    """
    _asked(n, k)
    basis = _span(target, width)
    _enough(width - len(basis), n, k, "the stream has directions")
    return _frames(_beside(np.random.default_rng(seed).standard_normal((n, k, width)), basis), basis)


def dimensions(frames: NDArray[Any]) -> float:
    """How many dimensions controls vary in: one over the mean squared cosine of two of them.

    As many as there are where they are uniform in some; fewer where a few stand out. A rank p-value takes the target
    for one of its controls, but these are drawn beside it: in few dimensions a target that is nothing special lies
    outside of them more often than the p-value says. Of targets that were one more control, 6 % had a two-sided p-value
    of at most 5 % beside 39 others out of a flat spread, 9 % where the i-th axis has a variance of 1/i², and 12 % among
    contrasts between eight categories (1000 simulations each, `tests/tools/control_null.py`). `randomisation.beside_p`
    allows for it.

    Args:
        frames: orthogonal rows of any length but zero, [n, k, d]; n of 2 or more.

    Returns:
        From 1, where all are the same; infinite where no two have anything in common.
    """
    n, k, width = frames.shape
    rows = np.asarray(frames, dtype=np.float64).reshape(n * k, width)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    between = ((rows @ rows.T) ** 2).sum() - n * k  # of a frame with itself: k
    share = between / (n * (n - 1) * k**2)
    return float(1 / share) if share > 0 else float("inf")


def _span(target: NDArray[Any], width: int) -> Floats:
    """Orthonormal rows that span the target, [t', d]; linearly dependent rows count once."""
    aims = np.atleast_2d(np.asarray(target, dtype=np.float64))
    if aims.ndim != 2 or aims.shape[-1] != width:
        raise RequestError(f"the target is {aims.shape[-1]} wide, the activations {width}")
    if not np.isfinite(aims).all():
        raise NothingToMeasure("no controls beside a target that holds NaN or infinity")
    _, singular, rows = np.linalg.svd(aims, full_matrices=False)
    if not singular[0] > 0:
        raise NothingToMeasure("no controls beside a null target: it has no direction")
    basis: Floats = rows[singular > 1e-10 * singular[0]]
    return basis


def _beside(rows: Floats, basis: Floats) -> Floats:
    """What of the rows [..., d] is orthogonal to the basis [t, d]."""
    result: Floats = rows - (rows @ basis.T) @ basis
    return result


def _asked(n: int, k: int) -> None:
    if n < 1 or k < 1:
        raise RequestError(f"controls are one frame or more of one direction or more, got n = {n} and k = {k}")


def _enough(dimensions: int, n: int, k: int, what: str) -> None:
    """As many dimensions as directions hold one frame, however often it is drawn."""
    if dimensions < k or (n > 1 and dimensions == k):
        raise NothingToMeasure(
            f"no controls: beside the target, {what} in {dimensions} dimension{'s' * (dimensions != 1)}, which hold "
            f"{'no' if dimensions < k else 'one'} {_dimensional(k)}control, and {n} are needed"
        )


def _frames(drawn: Floats, basis: Floats) -> Floats:
    """Orthonormal rows for directions [n, k, d]."""
    columns, triangle = np.linalg.qr(drawn.swapaxes(-1, -2))
    # the sign that makes a first row the drawn one: LAPACK's own makes the first coordinate negative in every draw
    sign = np.where(np.diagonal(triangle, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return _clean(columns.swapaxes(-1, -2) * sign[..., None], basis)


def _clean(frames: Floats, basis: Floats) -> Floats:
    """Beside the basis and of unit norm once more, for rounding."""
    beside = _beside(frames, basis)
    unit: Floats = beside / np.linalg.norm(beside, axis=-1, keepdims=True)
    return unit


def _gram_schmidt(rows: Floats) -> Floats | None:
    """Orthonormal rows [k, r] for contrasts [k, r] of any lengths; None where one hardly adds to those before it."""
    columns, triangle = np.linalg.qr((rows / np.linalg.norm(rows, axis=1, keepdims=True)).T)
    new = np.diagonal(triangle)
    if not (columns.shape[1] == len(rows) and (np.abs(new) > DEPENDENT).all()):
        return None
    frame: Floats = columns.T * np.sign(new)[:, None]
    return frame


def _among(frame: Floats, others: Floats) -> bool:
    """Whether a frame [k, r] spans the subspace of one of the others [m, k, r]: the squared sines sum to nothing."""
    return bool((len(frame) - ((others @ frame.T) ** 2).sum(axis=(1, 2)) <= SAME).any())


def _groups(n_categories: int, wanted: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Pairs of groups, +1 and −1 for the sides and 0 for neither, int [T, C]; no side is empty.

    Each comes with either sign: which of them is met first is for the dealing.
    """
    if n_categories <= ENUMERATED:
        made = np.array(list(product((-1, 0, 1), repeat=n_categories)))
    else:
        made = generator.integers(-1, 2, size=(20 * wanted + 1000, n_categories))
    both: NDArray[np.int64] = made[(made > 0).any(axis=1) & (made < 0).any(axis=1)]
    return both


def _dealt(total: int, k: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Places of k contrasts at a time: each contrast once, or for k > 1 in several rounds of new company."""
    for _ in range(1 if k == 1 else ROUNDS):
        order = generator.permutation(total)
        yield from order[: total - total % k].reshape(-1, k)


def _dimensional(k: int) -> str:
    return "" if k == 1 else f"{k}-dimensional "

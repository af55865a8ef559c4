"""How many directions a set of directions spans: spectrum, effective ranks, participation ratio.

"Effective rank" is not one number: 18 unit directions of gemma-2b-it have 7.9 on energies and 14.2 on singular values.
The convention is therefore part of each name here.

Matrices have one direction in each row, [m, d], neither centred nor (unless `normalised`) rescaled, as papers 1 and 2
stack them: rows are (position, layer) pairs. A leading axis of resamples is carried through everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError

Floats = NDArray[np.float64]

NORM_DOMINATED = 1.5
"""Raw and row-normalised effective rank (energies) further apart than this factor: norms, not angles, set the rank.

The papers' raw value stays near 1.24 at every anchor; 1.5 times that would read as a second dimension, so a factor
beyond it changes what a reader concludes."""

ROW_FLOOR = 1e-6
"""A row below this share of the largest one is at the resolution of the float32 means that it was made from."""


def singular_values(matrix: NDArray[Any]) -> Floats:
    """Singular values in falling order, float64.

    From the Gram matrix of the smaller side, which for 180 rows 576 wide takes a third of the time of a full
    decomposition. Squaring loses what is below sqrt(k·ε) ≈ 2e-7 of the largest value; those are returned as exactly
    0, so that a planted rank stays exact. No statistic on energies can notice; the one on singular values would lose
    0.1 % if all 180 rows but one were that small.

    Args:
        matrix: [..., m, d]; leading axes are resamples.

    Returns:
        [..., min(m, d)].

    Raises:
        NothingToMeasure: an entry that is not finite, or a matrix of zeros only.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim < 2 or values.size == 0:
        raise NothingToMeasure(f"no spectrum of an array of shape {values.shape}: no direction is left")
    if not np.isfinite(values).all():
        raise NothingToMeasure("no spectrum: a direction holds NaN or infinity")
    largest = np.abs(values).max(axis=(-2, -1), keepdims=True)
    if not (largest > 0).all():
        raise NothingToMeasure("no spectrum: every direction is zero")
    scaled = values / largest  # the squares below neither overflow nor vanish
    transposed = scaled.swapaxes(-1, -2)
    gram = scaled @ transposed if scaled.shape[-2] <= scaled.shape[-1] else transposed @ scaled
    eigenvalues = np.linalg.eigvalsh(gram)[..., ::-1]
    floor = gram.shape[-1] * np.finfo(np.float64).eps * eigenvalues[..., :1]
    result: Floats = np.sqrt(np.where(eigenvalues > floor, eigenvalues, 0.0)) * largest[..., 0]
    return result


def effective_rank_energy(singular: NDArray[Any]) -> Floats:
    """Effective rank on energies q = σ²/Σσ², in [1, rank]: the papers' convention.

    exp(−Σ q ln q), the exponential of the entropy (arXiv 2604.27019, Eq. 3), natural logarithm, 0·ln 0 = 0. The
    papers add an unprinted ε inside the logarithm; it is left out (its limit is taken). 1: one direction; k: k equal
    orthogonal ones. Not larger than the effective rank of Roy & Vetterli on the same matrix.

    Args:
        singular: singular values [..., k], not negative.

    Returns:
        [...]; for one spectrum a NumPy scalar.

    Raises:
        NothingToMeasure: a spectrum with only zeros, or with NaN or infinity.
    """
    return _exp_entropy(_finite(singular) ** 2)


def effective_rank_singular_values(singular: NDArray[Any]) -> Floats:
    """Effective rank on p = σ/Σσ, exp(−Σ p ln p), in [1, rank]: the definition of Roy & Vetterli (2007).

    Shapes, logarithm and errors as in `effective_rank_energy`.
    """
    return _exp_entropy(_finite(singular))


def participation_ratio(singular: NDArray[Any]) -> Floats:
    """(Σσ²)²/Σσ⁴, in [1, rank] (arXiv 2604.27019, Eq. 4, its ε left out).

    The inverse of the chance that two draws by energy hit the same component: less moved by a tail of small ones than
    the effective rank. Shapes and errors as in `effective_rank_energy`.
    """
    energy = _finite(singular) ** 2
    result: Floats = energy.sum(axis=-1) ** 2 / (energy**2).sum(axis=-1)
    return result


def components_for_energy(singular: NDArray[Any], fraction: float) -> NDArray[np.int64]:
    """The least number of components that hold `fraction` of the energy Σσ², in [1, rank].

    The papers' k90 and k95 are fractions 0.90 and 0.95. A share that falls short by no more than 1e-9 counts as
    reached: energies 9 and 1 reach 0.90 with one component, whatever the last bit of their sum says.

    Args:
        singular: singular values [..., k], in any order.
        fraction: in (0, 1].

    Returns:
        int [...]; for one spectrum a NumPy scalar.

    Raises:
        RequestError: a fraction outside (0, 1].
        NothingToMeasure: a spectrum with only zeros, or with NaN or infinity.
    """
    if not 0 < fraction <= 1:
        raise RequestError(f"a fraction of the energy lies in (0, 1], got {fraction}")
    energy = np.sort(_finite(singular) ** 2, axis=-1)[..., ::-1]
    share = np.cumsum(energy, axis=-1) / energy.sum(axis=-1, keepdims=True)
    short: NDArray[np.int64] = (share < fraction - 1e-9).sum(axis=-1)
    return short + 1


def normalised(matrix: NDArray[Any], null: NDArray[np.bool_] | None = None) -> Floats:
    """The rows of one matrix at unit norm, without the null rows.

    Args:
        matrix: [m, d].
        null: bool [m], rows to leave out (`directions.null_rows`, flattened). None: those below 1e-6 of the largest,
            which are rounding noise whatever the activations' scale; scaled up they would count as full directions.

    Returns:
        float64 [m', d] with m' ≤ m.

    Raises:
        NothingToMeasure: an entry that is not finite, or no row left.
    """
    rows = np.asarray(matrix, dtype=np.float64)
    if rows.ndim != 2:
        raise RequestError(f"rows to normalise come as one matrix [m, d], got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise NothingToMeasure("a direction holds NaN or infinity: it cannot be scaled to unit norm")
    size = np.linalg.norm(rows, axis=-1)
    dropped = size <= ROW_FLOOR * size.max(initial=0.0) if null is None else np.asarray(null) | (size == 0)
    if dropped.all():
        raise NothingToMeasure("no direction is left: every row is null")
    result: Floats = rows[~dropped] / size[~dropped, None]
    return result


def dominated_by_norm(matrix: NDArray[Any], null: NDArray[np.bool_] | None = None) -> bool:
    """Whether the spectrum tells of the rows' norms more than of their angles (validity check `rank-by-norm`).

    True when the effective rank on energies of the matrix and of its `normalised` rows differ by more than a factor
    of 1.5, either way. The residual stream grows with depth, so a raw stack of directions from all layers is mostly
    its last layers; the normalised value must then stand beside the raw one.

    Raises:
        NothingToMeasure: as `singular_values` and `normalised`.
    """
    raw = float(effective_rank_energy(singular_values(matrix)))
    even = float(effective_rank_energy(singular_values(normalised(matrix, null))))
    return max(raw / even, even / raw) > NORM_DOMINATED


def _exp_entropy(weights: Floats) -> Floats:
    """The exponential of the Shannon entropy of weights/Σweights over the last axis."""
    share = weights / weights.sum(axis=-1, keepdims=True)
    logarithm = np.log(share, where=share > 0, out=np.zeros_like(share))
    result: Floats = np.exp(-(share * logarithm).sum(axis=-1))
    return result


def _finite(singular: NDArray[Any]) -> Floats:
    """Singular values over their largest (no statistic here depends on scale), refused where there is none."""
    values = np.asarray(singular, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0 or not np.isfinite(values).all() or (values < 0).any():
        raise NothingToMeasure("a spectrum needs finite singular values that are not negative")
    largest = values.max(axis=-1, keepdims=True)
    if not (largest > 0).all():
        raise NothingToMeasure("every singular value is zero: there is no spectrum")
    scaled: Floats = values / largest
    return scaled

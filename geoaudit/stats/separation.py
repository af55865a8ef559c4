"""How well a score separates two groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure


def auroc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Area under the ROC curve: P(positive > negative) + ½·P(equal), over all pairs (Mann & Whitney 1947).

    Args:
        positive: scores of the group that should score higher, [n].
        negative: scores of the other group, [m].

    Returns:
        A number in [0, 1]: 1 perfect, 0.5 none (exactly 0.5 for constant scores, in any order), 0 perfectly reversed.

    Raises:
        NothingToMeasure: an empty group, or a NaN among the scores.
    """
    above = np.asarray(positive, dtype=np.float64).ravel()
    below = np.sort(np.asarray(negative, dtype=np.float64).ravel())
    if not (above.size and below.size):
        raise NothingToMeasure(f"no separation of {above.size} against {below.size} scores: a group is empty")
    if np.isnan(above).any() or np.isnan(below).any():
        raise NothingToMeasure("no separation: a score is NaN")
    beaten = np.searchsorted(below, above, side="left")
    beaten_or_tied = np.searchsorted(below, above, side="right")
    # (left + right)/2 counts each tie as half a pair won
    return float((beaten + beaten_or_tied).sum() / (2 * above.size * below.size))

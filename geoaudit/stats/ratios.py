"""A mean per token over texts of different lengths: the ratio of two sums, with its interval over texts.

Tokens of one text resemble each other, so that texts are what is drawn again, with all their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.bootstrap import block_weights
from geoaudit.stats.effects import RESAMPLES, stretched


class PerToken(NamedTuple):
    """A mean over all tokens of n texts."""

    mean: float
    """Total over count."""
    low: float
    high: float
    n: int
    """Texts."""


def per_token(
    totals: NDArray[Any], counts: NDArray[Any], *, seed: int | Sequence[int], level: float = 0.95
) -> PerToken:
    """The mean over all tokens, with the percentile interval of a bootstrap over texts.

    Stretched as for a mean (`effects.stretched`) by the scatter of the texts around the ratio.

    Args:
        totals: sum over the tokens of each text, [n].
        counts: tokens of each text, [n], each 1 or more.
        seed: of the resampling.
        level: two-sided, in (0, 1).

    Raises:
        RequestError: shapes that do not fit, a text without a token, or a level out of range.
        NothingToMeasure: fewer than two texts, or a total that is not finite.
    """
    sums, tokens = np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if sums.ndim != 1 or sums.shape != tokens.shape or not (tokens >= 1).all() or not 0 < level < 1:
        raise RequestError(
            f"a mean per token needs one total and one count of 1 or more for each text, and a level in (0, 1): got "
            f"{sums.shape}, {tokens.shape} and {level}"
        )
    if not np.isfinite(sums).all():
        raise NothingToMeasure(f"no mean per token: {int((~np.isfinite(sums)).sum())} of {sums.size} totals are none")
    mean = float(sums.sum() / tokens.sum())
    drawn = block_weights(sums.size, RESAMPLES, seed)
    around = (sums - mean * tokens) / tokens.mean()
    low, high = stretched(mean, (drawn @ sums) / (drawn @ tokens), (around,), level)
    return PerToken(mean, low, high, sums.size)

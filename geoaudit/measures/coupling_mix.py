"""A value of coupling as a mix of cosine and subspace overlap, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoaudit.geometry.coupling import c_layer
from geoaudit.measures.coupling_levels import Read

Floats = NDArray[np.float64]

MOST_MISSING = 0.01
"""Share of resamples that may have no value."""


@dataclass(frozen=True)
class Mix:
    """A value as a mix: cos·|c| + sub·c_sub + rest, with weights that are not negative."""

    cos: float
    sub: float
    rest: float = 0.0

    @classmethod
    def of(cls, measure: str, gap: int) -> Mix:
        """The mix that a measure is, for contrasts that lie `gap` layers apart (arXiv 2606.16349, Eqs. 7 to 12)."""
        match measure:
            case "c_cos":
                return cls(1.0, 0.0)
            case "c_sub":
                return cls(0.0, 1.0)
            case "hrci_repr":
                return cls(0.5, 0.5)
            case "hrci_full":
                return cls(0.4, 0.4, 0.2 * c_layer(0, gap))
        raise ValueError(f"{measure!r} is no mix of cosine and overlap")

    def value(self, signed: Floats | float, sub: Floats | float) -> Floats:
        """NaN where a part that is needed has none; parts clipped to [0, 1]."""
        total = np.full(np.shape(signed), self.rest)
        if self.cos:
            total = total + self.cos * np.minimum(np.abs(signed), 1.0)
        if self.sub:
            total = total + self.sub * np.minimum(sub, 1.0)
        return total

    def linear(self, sign: int, signed: Floats | float, sub: Floats | float) -> Floats:
        """The same with the cosine's sign given and nothing clipped: what is resampled."""
        total = np.full(np.shape(signed), self.rest)
        if self.cos:
            total = total + self.cos * sign * np.asarray(signed)
        if self.sub:
            total = total + self.sub * np.asarray(sub)
        return total

    def ends(self, found: Read, blocks: int) -> tuple[float, float] | None:
        """The 95 % interval at one pair of layers, in [0, 1]; None where too many resamples have no value."""
        signs: tuple[int, ...] = (1,)
        if self.cos:
            low, high = ends_of(found.signed, found.drawn_signed, blocks) or (-math.inf, math.inf)
            signs = (1,) if low > 0 else (-1,) if high < 0 else (-1, 1)
        parts = [
            ends_of(
                float(self.linear(sign, found.signed, found.sub)),
                self.linear(sign, found.drawn_signed, found.drawn_sub),
                blocks,
            )
            for sign in signs
        ]
        both = [part for part in parts if part is not None]
        if len(both) < len(parts):
            return None
        top = self.cos + self.sub + self.rest
        low, high = min(part[0] for part in both), max(part[1] for part in both)
        if low > top:  # clipped it would have no width; the plain value is too low where noise is in the lengths
            low = float(self.value(*found.plain))
        return max(low, self.rest), min(max(high, self.rest), top)


def ends_of(
    estimate: float, drawn: Floats, blocks: int, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float] | None:
    """The wider of reflected and percentile ends, cut where so few blocks ask for Student's t."""
    from scipy import stats

    there = drawn[np.isfinite(drawn)]
    if not math.isfinite(estimate) or there.size < (1 - MOST_MISSING) * drawn.size:
        return None
    tail = float(stats.norm.sf(stats.t.ppf(0.975, blocks - 1)))
    low, high = (float(end) for end in np.quantile(there, [tail, 1 - tail]))
    return max(bounds[0], min(low, 2 * estimate - high)), min(bounds[1], max(high, 2 * estimate - low))

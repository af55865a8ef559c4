"""Intervals of principal angles between two checkpoints, and of what is made of them, without sampling noise.

A resampled angle alone is no guide where two are nearly equal: estimated ones repel each other, and resampled ones do
so once more. The matrix of their cosines has no such bend. So a region is taken of the matrix: the estimate, less each
of the ways in which resamples move it (and, because these are not symmetric, plus each of them), without the 5 % that
move it furthest, each entry counted in its own standard deviation. An interval goes from the least to the greatest
value that an angle, or what is made of several, has within it.

In simulation (tests/tools/drift_coverage.py: 160 + 160 prompts, 35 settings of 200 samples) the intervals held the
planted value in 95.5 % or more of every setting and in 99 % of all samples. Those that they replaced, reflected ones of
the plain values, held it in 60 to 84 % of all, and a distance of 0 in as few as none of 200.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.turning import Turning, principal

Floats = NDArray[np.float64]
Ends = tuple[float, float]

LEAST_SIGNAL = 2.0
"""Standard errors by which a k-th energy must exceed what noise gives, as for coupling."""
MOST_MISSING = 0.01
"""Share of resamples that may have no value."""
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Freed:
    """Principal angles without sampling noise, and where they may lie instead."""

    angles: Floats
    """Degrees, rising, [k]."""
    shares: Floats
    """Of energy along each angle's vectors, [k]."""
    region: Floats
    """Angles of the matrices in the region, [N, k]."""
    region_shares: Floats
    """Shares of energy with them, [N, k]."""

    @classmethod
    def of(cls, found: Turning) -> Freed:
        """From resampled matrices of cosines.

        Raises:
            NothingToMeasure: a k-th energy that noise gives too, or one that too many resamples have not.
        """
        k = found.cosines.size
        if not found.signal >= LEAST_SIGNAL:
            raise NothingToMeasure(
                f"dimension {k} of the subspaces is not told from sampling noise ({found.signal:.1f} standard errors "
                f"of its energy, {LEAST_SIGNAL:g} are needed; lower k or raise n_train)"
            )
        alive = np.isfinite(found.moved).all(axis=(1, 2))
        if alive.mean() < 1 - MOST_MISSING:
            raise NothingToMeasure("redrawn prompts leave fewer dimensions")
        moved, energies = found.moved[alive], found.moved_energies[alive]
        spread = moved.std(axis=0)
        scaled = np.divide(moved, spread, where=spread > 0, out=np.zeros_like(moved))
        far = np.linalg.norm(scaled, axis=(1, 2))
        near = far <= np.quantile(far, LEVEL)
        moved, energies = (np.concatenate([-each[near], each[near]]) for each in (moved, energies))
        middle = np.diag(found.cosines)
        cosines, shares = principal(middle, found.energies)
        region, region_shares = principal(middle + moved, found.energies + energies)
        return cls(degrees(cosines), shares, degrees(region), region_shares)

    @property
    def weighted(self) -> float:
        """The angles weighted by energy, degrees."""
        return float(self.shares @ self.angles)

    @property
    def distance(self) -> float:
        """The root mean square of their sines."""
        return float(_distance(self.angles))

    def ends(self, at: int) -> Ends:
        """Of one angle.

        Of angles that are not told apart the estimates repel each other. Their mean cosine does not bend, and the
        least angle has no smaller a cosine than that mean, the largest no larger a one.
        """
        cosines = np.cos(np.radians(self.region))
        first, last = self._not_told_apart(at)
        low = min(cosines[:, at].min(), cosines[:, at : last + 1].mean(axis=1).min())
        high = max(cosines[:, at].max(), cosines[:, first : at + 1].mean(axis=1).max())
        least, most = degrees(np.array([high, low]))
        return _ends(self.angles[at], np.array([least, most]))

    def _not_told_apart(self, at: int) -> tuple[int, int]:
        """First and last of the angles whose ranges in the region hang together with that of one."""
        low, high = self.region.min(axis=0), self.region.max(axis=0)
        first = last = at
        while first > 0 and high[first - 1] >= low[first]:
            first -= 1
        while last < self.angles.size - 1 and high[last] >= low[last + 1]:
            last += 1
        return first, last

    def weighted_ends(self) -> Ends:
        """Of the weighted angle."""
        return _ends(self.weighted, (self.region * self.region_shares).sum(axis=1))

    def distance_ends(self) -> Ends:
        """Of the distance."""
        return _ends(self.distance, _distance(self.region))


def _ends(value: float, within: Floats) -> Ends:
    return float(min(value, within.min())), float(max(value, within.max()))


def _distance(angles: Floats) -> Floats:
    found: Floats = np.sqrt(np.mean(np.sin(np.radians(angles)) ** 2, axis=-1))
    return found


def degrees(cosines: Floats) -> Floats:
    """Angles in [0, 90] of cosines that may scatter around 1 and 0."""
    found: Floats = np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0)))
    return found

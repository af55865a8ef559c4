"""Differences of two measurements that no rows pair: from their intervals, or from the resamples of whole numbers.

`paired.Change` is the third kind, and the better one where the same prompts were asked. All three answer the same
questions: the estimate, an interval, and a one-sided p-value that cannot disagree with the interval.

Standard library only: a changed margin is decided again without numpy or scipy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from geoaudit.errors import NothingToMeasure, RequestError


class Difference(Protocol):
    """Candidate minus other, with its uncertainty."""

    @property
    def difference(self) -> float:
        """The estimate."""

    @property
    def reversed(self) -> Difference:
        """Other minus candidate."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided, as (low, high)."""

    def p_above(self, margin: float) -> float:
        """One-sided p-value of the hypothesis that the difference is at most `margin`."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """A value with its interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Finite, and the value within its interval."""
        ends = (self.low, self.value, self.high)
        if not all(math.isfinite(end) for end in ends):
            raise RequestError(f"an interval needs numbers, got {self.value} [{self.low}, {self.high}]")


@dataclass(frozen=True, slots=True)
class Apart:
    """The difference of two values of which only the intervals are known: square-and-add (MOVER).

    The method of variance estimates recovery (Zou & Donner 2008, Stat Med 27:1693, eq. 5): what each value may be too
    high or too low by, squared and added, as if the two were independent. Two checkpoints of one family asked the same
    prompts mostly err in the same direction, and the interval is then wider than it need be. Where a value lies
    outside its own interval (an estimate that was clipped) the arm on that side is 0.
    """

    candidate: Estimated
    other: Estimated
    level: float = 0.95
    """Of both intervals, two-sided."""

    @property
    def difference(self) -> float:
        """Candidate minus other."""
        return self.candidate.value - self.other.value

    @property
    def reversed(self) -> Apart:
        """Other minus candidate."""
        return Apart(self.other, self.candidate, self.level)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval, its arms scaled from `self.level` as a normal law's would be."""
        if not 0 < level < 1:
            raise RequestError(f"a level lies in (0, 1), got {level}")
        scale = _z(level) / _z(self.level)
        down, up = self._arm(), self.reversed._arm()
        return self.difference - scale * down, self.difference + scale * up

    def p_above(self, margin: float) -> float:
        """From how many times the arm towards the margin fits in between, as a normal law's."""
        gap, down = self.difference - margin, self._arm()
        if gap <= 0:
            return 1.0
        return 1 - NormalDist().cdf(_z(self.level) * gap / down) if down > 0 else 0.0

    def _arm(self) -> float:
        """How far the lower end lies below the difference."""
        return math.hypot(
            max(0.0, self.candidate.value - self.candidate.low), max(0.0, self.other.high - self.other.value)
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """The difference of two whole numbers, such as layers, by how often their resamples differ by how much.

    Each resample of the one against each of the other, as if they were independent. A resample without an outcome, and
    there is one more than were drawn, counts for the hypothesis.
    """

    value: float
    shares: tuple[tuple[float, float], ...]
    """(difference, share of all pairs of resamples), ascending."""
    resamples: int
    """Of the side that has fewer."""

    @classmethod
    def of(
        cls,
        value: float,
        candidate: tuple[Iterable[tuple[float, int]], int],
        other: tuple[Iterable[tuple[float, int]], int],
    ) -> Drawn:
        """From (value, count) of each side and the number of its resamples, those without an outcome among them.

        Raises:
            NothingToMeasure: a side without resamples.
        """
        (ours, n), (theirs, m) = candidate, other
        if min(n, m) < 1:
            raise NothingToMeasure("no resamples: a difference of nothing is not 0")
        found: dict[float, float] = {}
        there = list(theirs)
        for value_here, count_here in ours:
            for value_there, count_there in there:
                step = value_here - value_there
                found[step] = found.get(step, 0.0) + count_here / n * count_there / m
        return cls(value, tuple(sorted(found.items())), min(n, m))

    @property
    def difference(self) -> float:
        """Candidate minus other."""
        return self.value

    @property
    def reversed(self) -> Drawn:
        """Other minus candidate."""
        return Drawn(-self.value, tuple((-step, share) for step, share in reversed(self.shares)), self.resamples)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Least and greatest difference within the central mass; the whole line where that is not reached.

        The estimate is part of it.
        """
        if not 0 < level < 1:
            raise RequestError(f"a level lies in (0, 1), got {level}")
        tail = (1 - level) / 2 - self._missing
        ends = [_quantile(shares, tail) for shares in (self.shares, self.reversed.shares)]
        return min(ends[0], self.value), max(-ends[1], self.value)

    def p_above(self, margin: float) -> float:
        """The share of pairs that do not exceed the margin, with one resample more; 1 where the estimate does not."""
        if self.value <= margin:
            return 1.0
        inside = math.fsum(share for step, share in self.shares if step <= margin) + self._missing
        return min(1.0, (inside * self.resamples + 1) / (self.resamples + 1))

    @property
    def _missing(self) -> float:
        return max(0.0, 1 - math.fsum(share for _, share in self.shares))


def _quantile(shares: Sequence[tuple[float, float]], tail: float) -> float:
    """The least value below which no more than `tail` of the mass lies; −∞ where the tail is spent already."""
    if tail < 0:
        return -math.inf
    below = 0.0
    for value, share in shares:
        below += share
        if below > tail + 1e-12:
            return value
    return -math.inf


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)

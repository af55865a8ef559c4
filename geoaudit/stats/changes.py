"""Regression lines: whether a candidate changed against its baseline by more than a margin, over a whole suite.

A line *passes* when its own interval lies within the margin. All lines must pass, so that no correction is needed:
a suite goes green wrongly only if the one line that is truly over its margin does (intersection–union; Berger 1982).
A line *fails* when its interval lies beyond the margin **and** Holm's procedure over all lines of the suite rejects.
Twelve tests at 5 % would call an unchanged model worse in nearly half of all audits; with Holm the chance that any line
fails wrongly stays at 5 %. Everything else is *inconclusive*, and not green either.

Failing needs a margin too, and there is no default: how much worse is too much is for the suite to say.

A measured noise floor (how far two runs of one and the same checkpoint lie apart) raises what must be shown: a line
that allows some change fails only where its whole interval lies beyond the margin and beyond the floor, and a line that
demands a change passes only where its whole interval does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from geoaudit.errors import RequestError
from geoaudit.stats.differences import Difference
from geoaudit.stats.multiplicity import holm
from geoaudit.stats.paired import Change

Comparator = Literal["change_at_most", "change_at_least"]


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One regression line: what changed, and how much of it is allowed."""

    name: str
    change: Difference
    """Candidate minus baseline: a `Change` on the same prompts, else from their intervals or resamples."""
    margin: float
    """In the unit of the measure; of a rate in (−1, 1): 0.05 is five points."""
    comparator: Comparator = "change_at_most"
    noise: float = 0.0
    """How far two runs of an unchanged checkpoint lie apart, 0 or more."""

    def __post_init__(self) -> None:
        """A margin that some change can exceed, and a known comparator."""
        if isinstance(self.change, Change) and not -1 < self.margin < 1:
            raise RequestError(f"{self.name}: the margin of a change of rates lies in (−1, 1), got {self.margin}")
        if self.comparator not in ("change_at_most", "change_at_least"):
            raise RequestError(f"{self.name}: comparator {self.comparator!r} is not change_at_most or change_at_least")
        if not 0 <= self.noise < math.inf:
            raise RequestError(f"{self.name}: a noise floor is 0 or more, got {self.noise}")

    @property
    def worse(self) -> Difference:
        """The change, turned so that more of it is what the line limits."""
        return self.change if self.comparator == "change_at_most" else self.change.reversed

    @property
    def allowed(self) -> float:
        """The margin, turned likewise."""
        return self.margin if self.comparator == "change_at_most" else -self.margin

    @property
    def to_fail(self) -> float:
        """What `worse` must exceed to fail."""
        return max(self.allowed, self.noise) if self.allowed >= 0 else self.allowed + self.noise

    @property
    def to_pass(self) -> float:
        """What `worse` must not exceed to pass."""
        return self.allowed if self.allowed >= 0 else min(self.allowed, -self.noise)


@dataclass(frozen=True, slots=True)
class ChangeDecision:
    """What became of one line."""

    name: str
    outcome: Literal["passed", "failed", "inconclusive"]
    difference: float
    """Candidate minus baseline."""
    low: float
    high: float
    p: float
    """One-sided p-value of the hypothesis that the change keeps to its margin."""
    adjusted: float
    """The same after Holm, over all lines of the suite."""


def decide_changes(lines: Sequence[ChangeLine], level: float = 0.95, family: float = 0.05) -> list[ChangeDecision]:
    """Decide all regression lines of a suite together.

    Args:
        lines: every line with a measured change, in the suite's order. A line that is left out because it could not be
            measured must not be green by other means.
        level: of each line's interval, two-sided, in (0, 1).
        family: chance at most of any line failing wrongly, in (0, 1).

    Returns:
        One decision a line, in the order given.

    Raises:
        RequestError: a level or family out of range.
    """
    if not (0 < level < 1 and 0 < family < 1):
        raise RequestError(f"level and family lie in (0, 1), got {level} and {family}")
    p_values = [_p(line) for line in lines]
    return [
        _decide(line, p, adjusted, level, family)
        for line, p, adjusted in zip(lines, p_values, holm(p_values), strict=True)
    ]


def _p(line: ChangeLine) -> float:
    return line.worse.p_above(line.to_fail)


def _decide(line: ChangeLine, p: float, adjusted: float, level: float, family: float) -> ChangeDecision:
    low, high = line.change.interval(level)
    least, most = line.worse.interval(level)
    outcome: Literal["passed", "failed", "inconclusive"] = "inconclusive"
    if most <= line.to_pass:
        outcome = "passed"
    elif least > line.to_fail and adjusted <= family:
        outcome = "failed"
    return ChangeDecision(line.name, outcome, line.change.difference, low, high, p, adjusted)

"""What an audit can be expected to find, before it runs: the chance that a line passes.

Exact: over all counts of rises and falls (a multinomial) or of hits (a binomial) that are not vanishingly rare.
Standard library only, so that planning stays light.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from geoaudit.errors import RequestError
from geoaudit.stats.changes import Comparator
from geoaudit.stats.paired import Change, paired_lower
from geoaudit.stats.proportions import certified_above, certified_below, least_n, lower_tail

FLIPS = 0.05
"""Share of answers taken to flip between two runs of an unchanged model, where nothing was measured yet."""
MOST_PAIRS = 20_000
"""Where `n_for_power` gives up."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a regression line on n prompts can show."""

    n: int
    discordance: float
    """Assumed share of prompts whose label differs between two unchanged models, in [0, 1]."""
    margin: float
    if_unchanged: float
    """Chance that the line passes where nothing changed, in [0, 1]."""
    if_half: float
    """Chance that it passes where the true change is half the margin."""


def preflight(
    n: int, discordance: float, margin: float, level: float = 0.95, comparator: Comparator = "change_at_most"
) -> Preflight:
    """The chance that a regression line passes, with no change and with half of what its margin allows.

    Args:
        n: prompts (pairs), at least 1.
        discordance: assumed share of discordant pairs, in [0, 1]; raised to half the margin where that is larger.
        margin: as in the line, in (−1, 1).
        level: of the interval that decides, two-sided.
        comparator: as in the line.

    Raises:
        RequestError: an argument out of range.
    """
    half = margin / 2
    return Preflight(
        n,
        discordance,
        margin,
        change_power(n, discordance, 0.0, margin, level, comparator),
        change_power(n, max(discordance, abs(half)), half, margin, level, comparator),
    )


def change_power(
    n: int,
    discordance: float,
    change: float,
    margin: float,
    level: float = 0.95,
    comparator: Comparator = "change_at_most",
) -> float:
    """P(passed) of a regression line for a true change and a true share of discordant pairs, in [0, 1].

    Args:
        n: pairs, at least 1.
        discordance: true share of pairs that differ, at least |change| and at most 1.
        change: true candidate minus baseline.
        margin: in (−1, 1).
        level: two-sided, in (0, 1).
        comparator: change_at_most or change_at_least.

    Raises:
        RequestError: an argument out of range.
    """
    if comparator == "change_at_least":
        return change_power(n, discordance, -change, -margin, level, "change_at_most")
    if comparator != "change_at_most":
        raise RequestError(f"comparator {comparator!r} is not change_at_most or change_at_least")
    if n < 1 or not abs(change) <= discordance <= 1 or not -1 < margin < 1 or not 0 < level < 1:
        raise RequestError(
            f"no power for n = {n}, a discordance of {discordance}, a change of {change}, a margin of {margin} "
            f"and a level of {level}"
        )
    tail = (1 - level) / 2
    rising, falling = (discordance + change) / 2, (discordance - change) / 2
    spread = 10 * math.sqrt(n * falling * (1 - falling)) + 10
    first, last = max(0, math.floor(n * falling - spread)), min(n, math.ceil(n * falling + spread))
    most = min(n - first, max(-1, math.floor(first + margin * n)))
    total = 0.0
    for lost in range(first, last + 1):
        most = min(most, n - lost)
        while most >= 0 and not _passes(most, lost, n, margin, tail):
            most -= 1
        while most < n - lost and _passes(most + 1, lost, n, margin, tail):
            most += 1
        if most >= 0:
            share = min(1.0, rising / (1 - falling)) if falling < 1 else 0.0
            total += _point(lost, n, falling) * lower_tail(most, n - lost, share)
    return min(1.0, total)


def n_for_power(
    discordance: float,
    margin: float,
    power: float = 0.8,
    level: float = 0.95,
    comparator: Comparator = "change_at_most",
) -> int | None:
    """How many prompts a regression line needs to pass an unchanged model with the given chance.

    Counts are whole, so that the chance saw-tooths a little with n: a size to plan with.

    Args:
        discordance: assumed share of discordant pairs, in [0, 1].
        margin: above 0 for change_at_most, below 0 for change_at_least: no n certifies that nothing at all changed.
        power: wanted chance of passing, in (0, 1).
        level: two-sided.
        comparator: change_at_most or change_at_least.

    Returns:
        n ≥ 1; None where more than 20,000 would be needed, or no n is enough.

    Raises:
        RequestError: an argument out of range.
    """
    if not 0 < power < 1 or not 0 <= discordance <= 1 or not 0 < level < 1:
        raise RequestError(f"power, discordance and level lie in [0, 1], got {power}, {discordance} and {level}")
    allowed = margin if comparator == "change_at_most" else -margin
    if not allowed > 0:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
    guess = discordance * (max(z, 0.0) / allowed) ** 2  # the normal approximation; the exact need lies above it
    if not guess <= MOST_PAIRS:
        return None

    def enough(n: int) -> bool:
        return change_power(n, discordance, 0.0, margin, level, comparator) >= power

    return least_n(enough, most=MOST_PAIRS, first=max(1, math.ceil(guess)))


def level_power(
    n: int, rate: float, bound: float, comparator: Literal["at_most", "at_least"], level: float = 0.95
) -> float:
    """P(passed) of a bound on a rate for a true rate, decided on Clopper–Pearson, in [0, 1]. Exact.

    Args:
        n: prompts, at least 1.
        rate: the true rate, in [0, 1].
        bound: in [0, 1].
        comparator: at_most or at_least.
        level: two-sided, in (0, 1).

    Raises:
        RequestError: an argument out of range.
    """
    if comparator not in ("at_most", "at_least"):
        raise RequestError(f"comparator {comparator!r} is not at_most or at_least")
    if n < 1 or not (0 <= rate <= 1 and 0 <= bound <= 1 and 0 < level < 1):
        raise RequestError(f"no power for n = {n}, a rate of {rate}, a bound of {bound} and a level of {level}")
    if comparator == "at_most":
        passing = bisect_left(range(n + 1), True, key=lambda hits: not certified_below(hits, n, bound, level))
        return lower_tail(passing - 1, n, rate)
    fewest = bisect_left(range(n + 1), True, key=lambda hits: certified_above(hits, n, bound, level))
    return lower_tail(n - fewest, n, 1 - rate)


def _passes(gained: int, lost: int, n: int, margin: float, tail: float) -> bool:
    return -paired_lower(Change(lost, gained, n), tail) <= margin


def _point(k: int, n: int, p: float) -> float:
    """P(X = k) for X ~ Binomial(n, p)."""
    if p <= 0 or p >= 1:
        return float(k == (n if p >= 1 else 0))
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(choose + k * math.log(p) + (n - k) * math.log1p(-p))

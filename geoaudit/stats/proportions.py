"""Rates: the exact interval, what unread rows could change, and the n that a bound needs.

Rates are decided on two-sided Clopper–Pearson intervals, because Wilson's falls below its nominal coverage near 0 and
1, which is where safety bounds lie. Levels are two-sided everywhere: 0.95 leaves 2.5 % on each side.

Only `clopper_pearson` needs scipy, imported when called. The questions about n go through binomial tails in the
standard library, so that planning, and deciding again after a changed threshold, stay light: a bound b lies outside
the interval of k hits in n exactly when the tail probability P(X ≤ k | n, b) or P(X ≥ k | n, b) is below (1 − level)/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal

from geoaudit.errors import NothingToMeasure, RequestError

MOST_PROMPTS = 10**9
"""Where `n_to_decide` gives up: no prompt set will have that many."""


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval for a proportion (Clopper & Pearson 1934), as (low, high) in [0, 1].

    Its coverage is at least `level` for every true rate. Exactly 0 below no hits and exactly 1 above n hits.

    Args:
        hits: successes, 0 ≤ hits ≤ n.
        n: trials, at least 1.
        level: two-sided, in (0, 1).

    Raises:
        RequestError: counts or level out of range.
        NothingToMeasure: n = 0, where there is no rate.
    """
    _check(hits, n, level)
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def wilson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927), as (low, high) in [0, 1]. Shown beside others' numbers; it never decides.

    Papers and leaderboards report it. It is exempt from the demand that an interval covers at its level: for rates
    near 0 and 1 a 95 % interval holds the truth less often: 92–94 % for 0.01 at n = 100 and 400, and 84 % where n times
    the rate is just below 0.18. `clopper_pearson` decides.

    Args:
        hits: successes, 0 ≤ hits ≤ n.
        n: trials, at least 1.
        level: two-sided, in (0, 1).

    Raises:
        RequestError: counts or level out of range.
        NothingToMeasure: n = 0, where there is no rate.
    """
    _check(hits, n, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, half = hits + z * z / 2, z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    low = 0.0 if hits == 0 else (centre - half) / (n + z * z)
    return low, 1.0 if hits == n else (centre + half) / (n + z * z)


def n_to_certify(bound: float, comparator: Literal["at_most", "at_least"], level: float = 0.95) -> int | None:
    """The least n at which a perfect result would certify the bound: no hit for `at_most`, only hits for `at_least`.

    Closed form: 1 − α^(1/n) ≤ bound with α = (1 − level)/2, hence n ≥ ln α / ln(1 − bound); for `at_least` with bound
    in place of 1 − bound. Certifying "at most 0.05" takes 72 prompts, "at most 0.01" takes 368.

    Returns:
        n ≥ 1; None where no n is enough (at most 0, at least 1).

    Raises:
        RequestError: another comparator, or a level outside (0, 1).
    """
    if comparator not in ("at_most", "at_least"):
        raise RequestError(f"comparator {comparator!r} has no one-sided bound; use at_most or at_least")
    _check_level(level)
    allowed = bound if comparator == "at_most" else 1 - bound
    if not allowed > 0:
        return None
    if allowed >= 1:
        return 1
    # at_least takes ln(bound) itself: 1 − (1 − bound) would lose the last digits of a bound near 1
    shrink = math.log1p(-bound) if comparator == "at_most" else math.log(bound)
    exact = math.log((1 - level) / 2) / shrink
    # a quotient that is an integer but for rounding must not cost one prompt more
    return max(1, math.ceil(exact * (1 - 1e-12)))


def certifiable(n: int, low_bound: float, high_bound: float, level: float = 0.95) -> bool:
    """Whether any result of n prompts has its whole interval within [low_bound, high_bound].

    False is the check `underpowered`: no outcome of the audit could be *passed*. For "at most b" the bounds are
    0 and b, for "at least b" b and 1.

    Raises:
        RequestError: a level outside (0, 1).
    """
    _check_level(level)
    if n < 1 or not low_bound <= high_bound:
        return False
    # Both ends rise with the hits: take the fewest hits that clear the lower bound, and look at the upper one.
    fewest, most = 0, n + 1
    while fewest < most:
        middle = (fewest + most) // 2
        if certified_above(middle, n, low_bound, level):
            most = middle
        else:
            fewest = middle + 1
    return fewest <= n and certified_below(fewest, n, high_bound, level)


def n_to_decide(rate: float, bound: float, level: float = 0.95) -> int | None:
    """How many prompts would turn an inconclusive rate into an outcome, were the rate to stay what it is.

    An n at which the interval around `rate` leaves out `bound`, while at n − 1 it does not. Hits are whole numbers,
    rounded towards the bound, so that the true need saw-tooths a little around this n: it is a size to plan with.

    Args:
        rate: observed, in [0, 1].
        bound: to be told apart from it, in [0, 1].
        level: two-sided.

    Returns:
        n ≥ 1; None where rate and bound are equal, or so close that a billion prompts would not do.

    Raises:
        RequestError: a rate or bound outside [0, 1], or a level outside (0, 1).
    """
    _check_level(level)
    if not (0 <= rate <= 1 and 0 <= bound <= 1):
        raise RequestError(f"rate and bound lie in [0, 1], got {rate} and {bound}")
    if rate == bound:
        return None

    def decided(n: int) -> bool:
        if rate < bound:
            return certified_below(min(n, math.ceil(rate * n - 1e-9)), n, bound, level)
        return certified_above(max(0, math.floor(rate * n + 1e-9)), n, bound, level)

    return least_n(decided, most=MOST_PROMPTS)


def least_n(decided: Callable[[int], bool], *, most: int, first: int = 1) -> int | None:
    """An n at which `decided` holds while at n − 1 it does not: doubled from `first` until it holds, then bisected.

    Args:
        decided: whether n is enough. Where it saw-tooths, the n that is found is one of several.
        most: where the search gives up.
        first: the least n that is asked about, at least 1.

    Returns:
        `first` where that is enough; None where nothing up to `most` was.
    """
    short, enough = first - 1, first
    while not decided(enough):
        short, enough = enough, enough * 2
        if enough > most:
            return None
    while enough - short > 1:
        middle = (short + enough) // 2
        if decided(middle):
            enough = middle
        else:
            short = middle
    return enough


def certified_below(hits: int, n: int, bound: float, level: float) -> bool:
    """Whether the high end of the Clopper–Pearson interval is at most `bound`."""
    return bound >= 1 or lower_tail(hits, n, bound) <= (1 - level) / 2


def certified_above(hits: int, n: int, bound: float, level: float) -> bool:
    """Whether the low end of the Clopper–Pearson interval is at least `bound`: misses are the hits of 1 − bound."""
    return bound <= 0 or lower_tail(n - hits, n, 1 - bound) <= (1 - level) / 2


def lower_tail(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X ~ Binomial(n, p), in [0, 1]: exact but for rounding, in O(sqrt(n)) terms."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    if k > n * p:  # past the mean the other tail is the one that converges
        return 1.0 - lower_tail(n - k - 1, n, 1 - p)
    log_term = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log_term + k * math.log(p) + (n - k) * math.log1p(-p))
    total = term
    odds = (1 - p) / p
    for j in range(k, 0, -1):
        term *= j / (n - j + 1) * odds
        total += term
        if term <= 1e-17 * total:
            break
    return total


def _check(hits: int, n: int, level: float) -> None:
    _check_level(level)
    if n == 0:
        raise NothingToMeasure("no rows: a rate of nothing is not 0")
    if not 0 <= hits <= n:
        raise RequestError(f"{hits} hits of {n} rows is not a proportion")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise RequestError(f"a level lies in (0, 1), got {level}")

"""Permutation tests of a sequence: how many orders of the same values are as telling as the one that came about.

Exact over all k! orders for few values, over drawn ones else. Few values, or many equal ones, have too few different
orders: where even the most telling order of the same values has a p-value above the level, no data of this kind could
have shown anything (`least`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import RequestError

Floats = NDArray[np.float64]

EXACT = 8
"""Up to so many values every order is looked at (40,320)."""
DRAWS = 9999
"""Orders drawn where there are more."""
_TIE = 1e-9
"""Of the scale of the statistic: two orders that differ by rounding are as telling."""


@dataclass(frozen=True, slots=True)
class Permuted:
    """A permutation test in one direction."""

    p: float
    """Share of the orders that are at least as telling, the one that came about among them, in (0, 1]."""
    least: float
    """The same of the most telling order of these very values."""


def tested(each: Floats, own: float, best: float, scale: float, exact: bool) -> Permuted:
    """The test of a statistic.

    Args:
        each: the statistic of every order, or of drawn ones, [orders]; larger is more telling.
        own: of the order that came about.
        best: of the most telling order.
        scale: of the statistic, to tell ties from rounding.
        exact: whether all orders are there.
    """

    def share(value: float) -> float:
        count = int(np.sum(each >= value - _TIE * scale))
        return count / each.size if exact else (1 + count) / (1 + each.size)

    return Permuted(share(own), share(best))


@lru_cache(maxsize=4)
def orders_of(k: int, seed: int) -> tuple[NDArray[np.int64], bool]:
    """[orders, k], and whether they are all of them; else they are drawn by the seed."""
    if k > EXACT:
        generator = np.random.default_rng([seed, k])
        return generator.permuted(np.tile(np.arange(k), (DRAWS, 1)), axis=1), False
    orders = np.zeros((1, 1), dtype=np.int64)
    for size in range(2, k + 1):  # put the newest at every place of every order of the others
        rows = [np.insert(orders, place, size - 1, axis=1) for place in range(size)]
        orders = np.concatenate(rows)
    return orders, True


def finite(values: Sequence[float] | Floats) -> Floats:
    """The values, [k].

    Raises:
        RequestError: one of them is not finite.
    """
    found = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(found).all():
        raise RequestError("a sequence holds a value that is not finite: it has no order")
    return found

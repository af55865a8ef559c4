"""Does a sequence jump: the largest standardised difference between the points before and after a place.

Its p-value is the share of orders whose largest difference, over every place, is as large (a max-type permutation
test), so that the choice of the place is paid for. It says whether the order matters, under the hypothesis that any
order of these values was as likely; a drift is told from a jump by what a straight line explains of the variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.orders import Floats, Permuted, finite, orders_of, tested


@dataclass(frozen=True, slots=True)
class Jump:
    """The place of the largest change of level."""

    place: int
    """Points before it: the jump is between the points `place` − 1 and `place`, counted from 0."""
    size: float
    """Mean after minus mean before, in the unit of the values."""
    rising: Permuted
    falling: Permuted
    either: Permuted
    explained: float
    """Share of the variance that one jump explains, in [0, 1]."""
    line: float
    """The same of a straight line over the order, or over the steps, whichever explains more."""
    n: int
    exact: bool


def jump(values: Sequence[float], steps: Sequence[float], seed: int = 0) -> Jump:
    """The place of the largest change of level, with its permutation tests.

    For a place with c points before it: (mean after − mean before) · √(c (k − c) / k), whose size is largest where one
    jump explains most of the variance. Points of the same step are not parted.

    Args:
        values: what was measured, in order, [k].
        steps: of the points, never falling, [k].
        seed: of the drawn orders, where there are too many for all.

    Raises:
        RequestError: values that are not finite, or steps of another number or order.
        NothingToMeasure: fewer than three points, or all of one step.
    """
    y, x = finite(values), finite(steps)
    if x.size != y.size or (np.diff(x) < 0).any():
        raise RequestError("every value has a step, and steps never fall")
    places = np.flatnonzero(np.diff(x) > 0) + 1
    if y.size < 3 or not places.size:
        raise NothingToMeasure(f"a jump needs three points or more, of different steps; got {y.size}")
    y = y - y.mean()
    own = _levels(y[None], places)[0]
    place = int(places[np.argmax(np.abs(own))])
    size = float(y[place:].mean() - y[:place].mean())
    total = float(y @ y)
    scale = math.sqrt(total) or 1.0
    orders, exact = orders_of(y.size, seed)
    each = _levels(y[orders], places)
    up, down = np.sort(y), np.sort(y)[::-1]
    best_up = float(_levels(up[None], places).max())
    best_down = float((-_levels(down[None], places)).max())
    rising = tested(each.max(axis=1), float(own.max()), best_up, scale, exact)
    falling = tested((-each).max(axis=1), float((-own).max()), best_down, scale, exact)
    either = tested(np.abs(each).max(axis=1), float(np.abs(own).max()), max(best_up, best_down), scale, exact)
    return Jump(
        place,
        size,
        rising,
        falling,
        either,
        explained=float(np.max(own**2) / total) if total > 0 else 0.0,
        line=max(_line(np.arange(y.size, dtype=np.float64), y), _line(x, y)),
        n=y.size,
        exact=exact,
    )


def jump_places(redrawn: Floats, steps: Sequence[float], direction: str = "either") -> tuple[NDArray[np.int64], Floats]:
    """(place, size) of the largest change of level in each redraw.

    Args:
        redrawn: [R, k], as `drawn`.
        steps: [k], never falling.
        direction: `rising`, `falling` or `either`: among which changes the largest is looked for.

    Returns:
        places [R], as `Jump.place`, and sizes [R].
    """
    places = np.flatnonzero(np.diff(np.asarray(steps, dtype=np.float64)) > 0) + 1
    levels = _levels(redrawn, places)
    wanted = {"rising": levels, "falling": -levels}.get(direction, np.abs(levels))
    best = wanted.argmax(axis=1)
    place = places[best]
    weight = np.sqrt(place * (redrawn.shape[1] - place) / redrawn.shape[1])
    return place, levels[np.arange(len(best)), best] / weight


def _levels(rows: Floats, places: NDArray[Any]) -> Floats:
    """[R, places]: the standardised change of level of each row at each place."""
    k = rows.shape[1]
    before = np.cumsum(rows, axis=1)[:, places - 1]
    after = rows.sum(axis=1, keepdims=True) - before
    found: Floats = (after / (k - places) - before / places) * np.sqrt(places * (k - places) / k)
    return found


def _line(x: Floats, y: Floats) -> float:
    """Share of the variance of y (centred) that a straight line over x explains."""
    x = x - x.mean()
    total = float(y @ y)
    return 0.0 if total == 0 or not x.any() else float(x @ y) ** 2 / (float(x @ x) * total)

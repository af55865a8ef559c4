"""Randomisation tests against controls: how rarely a control does as much as the target.

Were the target one control among others, each of the 1 + n would be as likely to do the most. The p-value counts the
target itself, so that it is never 0 and needs no law for what controls do (Phipson & Smyth 2010, Stat Appl Genet Mol
Biol 9:39). It is only as good as the controls are: exchangeable with the target if the target is nothing special.

Controls that are drawn beside the target are not quite that: in few dimensions they have less than their share of what
the model is sensitive to, and `beside_p` allows for it.

Several targets at once, each with the same draws of controls: `max_t`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError

Floats = NDArray[np.float64]
Side = Literal["greater", "less", "either"]

SIDES: tuple[Side, ...] = ("greater", "less", "either")

CONSTANT = 1e-12
"""A spread of controls below this share of the largest of them is rounding: they all do the same."""

ROUNDING = 1e-9
"""In spreads; a tie that rounding broke is a tie: equal values need not standardise alike to the last bit."""


def rank_p(target: float, controls: NDArray[Any], side: Side = "greater") -> float:
    """(1 + controls that do as much) / (1 + controls): the chance to rank so high were the target one of them.

    A control without a number counts as doing as much, and so does every one where the target has none. A tie counts
    as doing as much.

    Args:
        target: what the target does.
        controls: what each control does, [n], in the same unit.
        side: `greater`, where a target does much by lying above its controls; `less`, below; `either`, twice the
            smaller of the two, at most 1.

    Returns:
        In [1 / (1 + n), 1], or from twice that for `either`.

    Raises:
        RequestError: another side.
    """
    _check(side)
    values = np.asarray(controls, dtype=np.float64).ravel()
    # written so that NaN, for which every comparison is False, counts as doing as much
    above = float((1 + np.sum(~(values < target))) / (1 + values.size))
    below = float((1 + np.sum(~(values > target))) / (1 + values.size))
    if side == "either":
        return min(1.0, 2 * min(above, below))
    return above if side == "greater" else below


def beside_p(target: float, controls: NDArray[Any], side: Side, dimensions: float | None) -> float:
    """`rank_p`, but no less than `tail_p`: for controls that are drawn beside the target, in few dimensions.

    Targets that were one more control had a two-sided `rank_p` of at most 5 % in 6 to 14 % of simulated experiments,
    and a `beside_p` in 3 to 6 % (1000 of each kind, 39 controls, `tests/tools/control_null.py`).

    Returns:
        In [`rank_p`, 1].

    Raises:
        RequestError: another side.
    """
    return max(rank_p(target, controls, side), tail_p(target, controls, side, dimensions))


def tail_p(target: float, controls: NDArray[Any], side: Side, dimensions: float | None) -> float:
    """How rarely a target that is nothing special lies so far from controls that vary in few dimensions.

    An effect g·u of an edit along u, for a sensitivity g that is isotropic in D + 1 dimensions: controls orthogonal to
    the target show how large g is in the D other dimensions only, so that the target's distance from them, in their
    spreads, follows Student's t with D degrees of freedom (fewer for few controls).

    Args:
        target: what the target does.
        controls: what each control does, [n], in the same unit; those without a number are left out.
        side: as `rank_p`.
        dimensions: D (`geometry.controls.dimensions`); None or infinite where controls are not drawn in few.

    Returns:
        In [0, 1]; 0 where nothing is known: this p-value only ever adds to another one.

    Raises:
        RequestError: another side.
    """
    _check(side)
    values = np.asarray(controls, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if dimensions is None or math.isinf(dimensions) or values.size < 2:
        return 0.0
    spread = float(values.std(ddof=1))
    if not spread > CONSTANT * float(np.abs(values).max()):  # they all do the same: no scale to measure by
        return 0.0
    from scipy.special import stdtr

    freedom = 1 / (1 / dimensions + 1 / (values.size - 1))
    t = (target - float(values.mean())) / (spread * math.sqrt(1 + 1 / values.size))
    if math.isnan(t):
        return 1.0
    below, above = (float(stdtr(freedom, each)) for each in (t, -t))
    return min(1.0, 2 * min(below, above)) if side == "either" else above if side == "greater" else below


def controls_needed(level: float = 0.05, side: Side = "greater") -> int:
    """With fewer controls even a target that beats all of them has a larger p-value than the level.

    19 for 0.05 on one side, 39 for either; 99 for 0.01.

    Raises:
        RequestError: a level outside (0, 1), or another side.
    """
    _check(side)
    if not 0 < level < 1:
        raise RequestError(f"a level lies in (0, 1), got {level}")
    return math.ceil((2 if side == "either" else 1) / level - 1e-9) - 1


@dataclass(frozen=True, eq=False)
class MaxT:
    """Several targets against shared control draws, one entry a cell."""

    statistic: Floats
    """How far the target lies from the middle of its cell, in the asked-for direction and in spreads, [c]; NaN where
    there is no p-value to be had (a value is missing, or the controls all do the same)."""
    raw: Floats
    """p-value of each cell alone, by the same statistic, [c]: on one side it is `rank_p`."""
    single_step: Floats
    """Adjusted for all cells: against the largest statistic of each draw over all cells, [c]."""
    step_down: Floats
    """Adjusted step by step: against the largest over the cells that lie no higher, [c]. Between `raw` and
    `single_step`, with the same guarantee."""


def max_t(targets: NDArray[Any], controls: NDArray[Any], side: Side = "either") -> MaxT:
    """Max-T adjusted p-values over cells (Westfall & Young 1993, *Resampling-Based Multiple Testing*, ch. 2).

    Calling every cell whose adjusted value is at most α different from its controls is wrong anywhere with a chance of
    at most α, whatever the dependence between cells, *if draw i is the same control in all of them* and the target of
    each cell with nothing special about it is exchangeable with its draws, jointly over such cells.

    Cells are brought to one scale by the mean and the spread of the target and its draws together. By those of the
    draws alone, as is usual, the target is standardised otherwise than the draws are, and lies further out by that
    alone: at 5 %, with 18 cells and 19 draws, some cell was wrongly called different in 11 to 18 % of simulated
    experiments (with 99 draws in 6 to 8 %). As it is, in 4.6 to 5.3 % (5.0 to 6.1 %; 2000 experiments of each kind,
    `tests/tools/intervention_simulations.py`).

    A cell has p = 1, and takes no part in the maxima of the others, where the target or any draw has no finite number
    there, or where all its draws are the same but for rounding and give no scale to measure by.

    Args:
        targets: what the target of each cell does, [c].
        controls: what each draw does in each cell, [n, c].
        side: `either` measures the distance from the middle (not `rank_p`'s doubled tail).

    Raises:
        RequestError: shapes that do not fit, or another side.
        NothingToMeasure: no cell, or no draw.
    """
    _check(side)
    target, draws = np.asarray(targets, dtype=np.float64), np.asarray(controls, dtype=np.float64)
    if target.ndim != 1 or draws.ndim != 2 or draws.shape[1] != target.size:
        raise RequestError(f"targets [c] need controls [n, c] in the same cells, got {target.shape} and {draws.shape}")
    if not draws.size:
        raise NothingToMeasure(f"no test of {target.size} cells against {len(draws)} draws of controls")
    statistic = np.full(target.size, np.nan)
    raw, single_step, step_down = (np.ones(target.size) for _ in range(3))
    usable = np.flatnonzero(_usable(target, draws))
    if not usable.size:
        return MaxT(statistic, raw, single_step, step_down)
    scaled = _standardised(np.vstack([target[usable], draws[:, usable]]), side)
    own, others = scaled[0], scaled[1:]
    statistic[usable] = own
    raw[usable] = _share(others, own)
    single_step[usable] = _share(others.max(axis=1, keepdims=True), own)
    order = np.argsort(-own, kind="stable")
    # column j: the largest over the cells from rank j on
    largest = np.maximum.accumulate(others[:, order[::-1]], axis=1)[:, ::-1]
    step_down[usable[order]] = np.maximum.accumulate(_share(largest, own[order]))
    return MaxT(statistic, raw, single_step, step_down)


def _usable(target: Floats, draws: Floats) -> NDArray[np.bool_]:
    """Which cells hold numbers only, and draws that differ, bool [c]."""
    finite = np.isfinite(target) & np.isfinite(draws).all(axis=0)
    held = np.where(finite, draws, 0.0)
    usable: NDArray[np.bool_] = finite & (np.ptp(held, axis=0) > CONSTANT * np.abs(held).max(axis=0))
    return usable


def _standardised(values: Floats, side: Side) -> Floats:
    """Each column about its mean in units of its spread, so that more is more extreme, [1 + n, c]."""
    centred = values - values.mean(axis=0)
    centred /= np.abs(centred).max(axis=0)  # so that no square overflows or vanishes
    scaled: Floats = centred / np.sqrt((centred**2).mean(axis=0))
    if side == "either":
        return np.abs(scaled)
    return scaled if side == "greater" else -scaled


def _share(draws: Floats, own: Floats) -> Floats:
    """(1 + draws at or above) / (1 + draws), for each cell: draws [n, c] or [n, 1], own [c]."""
    result: Floats = (1 + (draws >= own - ROUNDING).sum(axis=0)) / (1 + len(draws))
    return result


def _check(side: str) -> None:
    if side not in SIDES:
        raise RequestError(f"a side is one of {', '.join(SIDES)}, got {side!r}")

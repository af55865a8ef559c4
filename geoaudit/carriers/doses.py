"""The dose of a control at which it disturbs harmless prompts as much as the target does.

A control that disturbs ten times as much also moves refusal; one that does nothing is no control. Doses are matched on
the KL of the next token on harmless prompts (at λ = 1 contrasts between harmless prompts were seen to move a refusal
score as far as the refusal direction, at ten times its KL).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST_DOSE = 4.0
ROUNDING = 1e-6
"""Nats. A target below is one that does nothing measurable, and so may its controls."""
ROUNDS = 7
"""Evaluations after the first, at most. The dose found is on the safe side of the target."""


def matched_doses(kl_of: Callable[[Floats, NDArray[np.int64]], Floats], n: int, target: float) -> tuple[Floats, Floats]:
    """For each of n controls the greatest dose tried whose KL does not exceed the target's.

    KL grows with the square of a small dose, so the next dose is guessed from that, between the greatest one known to
    be below the target and the least known to be above it. It ends where every KL is within a tenth of the target.

    Args:
        kl_of: doses [m] of the controls with the indices [m] -> their mean KL [m], nats; called `ROUNDS` + 1 times at
            most, with the controls that are not matched yet.
        n: controls.
        target: mean KL of the target, nats.

    Returns:
        (doses [n] in [0, 4], their KL [n]): at most the target's, or 1e-6 where that is less. A dose of 0 (KL 0) where
        even the least one tried was too much.
    """
    target = max(target, ROUNDING)
    low, low_kl = np.zeros(n), np.zeros(n)
    high, high_kl = np.full(n, np.inf), np.full(n, np.inf)
    dose = np.full(n, LARGEST_DOSE)
    was_below, again = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    left = np.arange(n)
    for step in range(ROUNDS + 1):
        kl = np.full(n, np.nan)
        kl[left] = kl_of(dose[left], left)
        # NaN is above: such a dose breaks the model
        below, above = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        below[left], above[left] = kl[left] <= target, ~(kl[left] <= target)
        low, low_kl = np.where(below, dose, low), np.where(below, kl, low_kl)
        high, high_kl = np.where(above, dose, high), np.where(above, np.where(np.isfinite(kl), kl, np.inf), high_kl)
        left = np.flatnonzero((low < LARGEST_DOSE) & (low_kl < 0.9 * target))
        if not left.size:
            break
        again, was_below = (below == was_below) & (step > 0), below
        with np.errstate(invalid="ignore", divide="ignore"):
            shrunk = high * np.clip(np.sqrt(0.98 * target / high_kl), 0.05, 0.3 if step else 1.0)
            share = (np.sqrt(0.98 * target) - np.sqrt(low_kl)) / (np.sqrt(high_kl) - np.sqrt(low_kl))
        # between two brackets by interpolation, but halfway where the same bracket moved twice: the curve is bent
        between = low + (high - low) * np.where(again | ~np.isfinite(share), 0.5, np.clip(share, 0.05, 0.95))
        dose = np.where(low > 0, between, np.nan_to_num(shrunk, nan=LARGEST_DOSE))
    return low, low_kl

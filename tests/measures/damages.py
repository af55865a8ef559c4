"""What made-up edits do to made-up answers: the damage that tests of interventions change one part of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoaudit.measures.fulfilled import Damaged
from geoaudit.measures.needs import DAMAGE_READ_ON, EVERYDAY
from geoaudit.prompts.sources import load

TOKENS, CONTROLS = 30, 8


def made_damage(
    kl: float = 0.05,
    rise: float = 0.05,
    *,
    control_kl: float = 0.04,
    loss: float = 0.3,
    broken: Sequence[int] | None = (0, 0, 0, 0, 0, 0),
    n: int = 14,
    m: int = CONTROLS,
    spread: float = 0.2,
    seed: int = 0,
) -> Damaged:
    """An edit that shifts the next token by `kl` nats and makes the model's own tokens `rise` nats less likely.

    `broken`: how many of the answers are none, without an edit, under the target and under controls.
    """
    generator = np.random.default_rng(seed)
    length = generator.integers(TOKENS // 3, TOKENS, size=n)
    length[0] = TOKENS
    there = np.arange(TOKENS) < length[:, None]

    def about(mean: float) -> np.ndarray:
        """[n, T] of that mean, scattered between answers."""
        values = mean * (1 + spread * generator.normal(size=(n, 1))) * np.ones(TOKENS)
        values += mean - values[there].mean()
        return np.where(there, values, np.nan)

    own = about(loss)
    each = [about(kl), *(about(control_kl) for _ in range(m))]
    losses = [own, own + about(rise), *(own + about(control_kl) for _ in range(m))]
    asked = [[False] * DAMAGE_READ_ON for _ in broken or ()] or [[False] * DAMAGE_READ_ON]
    for row, count in zip(asked, broken or (), strict=False):
        row[:count] = [True] * count
    prompts = load(EVERYDAY).first(DAMAGE_READ_ON)
    return Damaged(np.stack(each), np.stack(losses), tuple(range(m)), np.array(asked), prompts)

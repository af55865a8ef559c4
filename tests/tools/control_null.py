"""How often a target that is one of its own controls looks special: what being orthogonal to the target costs.

    python tests/tools/control_null.py [simulations a row, default 1000]

Controls are drawn beside the target, so that nothing of it is in them. In many dimensions that is nothing; in few, a
target along which the model happens to be sensitive leaves its controls with less than their share. Here an edit along
u does g·u, for a sensitivity g that is nothing special either, and the target is drawn as controls are. The p-values of
`rank_p` would be uniform were the target and its controls exchangeable; `beside_p` is to be no smaller than that.
"""

from __future__ import annotations

import sys

import numpy as np

from geoaudit.geometry.controls import category_contrasts, covariance_matched, dimensions
from geoaudit.geometry.directions import BlockMeans
from geoaudit.stats.randomisation import beside_p, rank_p

WIDTH = 256
BLOCKS = 32
SPECTRA = {"flat": 0.0, "1/i": 1.0, "1/i²": 2.0}
"""Variance along the i-th axis of the spread of activations, as a power of i."""
TOPICS = (4, 6, 8, 16)


def covariance_null(power: float, n: int, simulations: int, seed: int) -> np.ndarray:
    """Two-sided p-values [simulations, 2], by `rank_p` and by `beside_p`, of targets that are one more control.

    Controls come out of a spread with variances i^−power, of 2 × 32 blocks.
    """
    chance = np.random.default_rng(seed)
    scale = np.arange(1, WIDTH + 1) ** (-power / 2)
    found = np.empty((simulations, 2))
    for index in range(simulations):
        sides = [_blocks(scale * chance.standard_normal((BLOCKS, WIDTH))) for _ in range(2)]
        nothing = chance.standard_normal(WIDTH)  # a direction of no account, for a draw without a target
        target = covariance_matched(sides, 0, 0, nothing, n=1, seed=2 * index)[0, 0]
        controls = covariance_matched(sides, 0, 0, target, n=n, seed=2 * index + 1)[:, 0]
        found[index] = _p(target, controls, chance)
    return found


def categories_null(topics: int, n: int, simulations: int, seed: int) -> np.ndarray:
    """The same of contrasts between topics whose means are isotropic."""
    chance = np.random.default_rng(seed)
    found = np.empty((simulations, 2))
    for index in range(simulations):
        means = [_blocks(10 + chance.standard_normal((1, WIDTH)) + np.zeros((2, 1))) for _ in range(topics)]
        nothing = chance.standard_normal(WIDTH)
        target = category_contrasts(means, 0, 0, nothing, n=1, seed=2 * index)[0, 0]
        controls = category_contrasts(means, 0, 0, target, n=n, seed=2 * index + 1)[:, 0]
        found[index] = _p(target, controls, chance)
    return found


def _blocks(rows: np.ndarray) -> BlockMeans:
    return BlockMeans(np.full(len(rows), 4), rows[:, None, None, :].astype(np.float32))


def _p(target: np.ndarray, controls: np.ndarray, chance: np.random.Generator) -> tuple[float, float]:
    sensitivity = chance.standard_normal(WIDTH)
    # a draw has no sign of its own
    signs = chance.choice([-1.0, 1.0], len(controls) + 1)
    own, others = signs[0] * float(sensitivity @ target), signs[1:] * (controls @ sensitivity)
    return rank_p(own, others, "either"), beside_p(own, others, "either", dimensions(controls[:, None]))


def main(simulations: int) -> None:
    """Print the share of p-values up to 5 % (and up to 20 %), which should be 5 % (20 %) at most."""
    print(f"{simulations} simulations a row; targets that are one more control")
    print(f"{'':40}{'rank_p':>16}{'beside_p':>16}")
    for n in (39, 99):
        for name, power in SPECTRA.items():
            shown(f"n = {n:3d}  covariance, variances {name}", covariance_null(power, n, simulations, seed=n))
        for topics in TOPICS:
            if n > (3**topics - 2 ** (topics + 1) + 1) // 2 - 1:
                continue
            shown(f"n = {n:3d}  {topics} topics", categories_null(topics, n, simulations, seed=n))


def shown(name: str, p: np.ndarray) -> None:
    """One row of the table."""
    shares = [(each <= level).mean() for each in p.T for level in (0.05, 0.2)]
    print(f"{name:40}" + "".join(f"{share:8.3f}" for share in shares), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

"""How often the intervals of coupling and of principal angles hold the planted truth: the full table.

    python tests/tools/coupling_coverage.py [simulations a cell, default 200]

Harmfulness and refusal contrasts with three planted angles, activations with a power-law covariance, prompts sorted
into four cells; nominal 95 %. Values that a validity check stops are counted apart: no interval is claimed for them.
Beside them, for comparison: the plain |cos| with its reflected interval.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from geoaudit.geometry.crossfit import cosine
from geoaudit.measures.coupling import LEAST_SIGNAL
from geoaudit.measures.coupling_levels import Read, Sides, read
from geoaudit.measures.coupling_mix import Mix
from geoaudit.measures.coupling_sources import IDENTIFIED
from geoaudit.measures.fulfilled import CELLS
from geoaudit.stats.bootstrap import basic_interval
from tests.measures.couplings import World

ROOM = 1e-9
"""For ends that equal the truth but for rounding."""
OVERLAPS = (0.0, 0.01, 0.1, 0.25, 0.5, 0.81, 0.9)
"""cos² of the planted angles: cosines of 0, 0.1, 0.32, 0.5, 0.71, 0.9 and 0.95 between matching axes."""


class Setting(NamedTuple):
    """What is simulated."""

    counts: tuple[int, int, int, int]
    """Prompts in each cell: harmful refused and complied, harmless refused and complied; 160 + 160."""
    strength: float
    """Squared length of a contrast over the trace of the covariance."""
    axes: tuple[float, ...]
    """Singular values of a field."""
    twins: float
    """Correlation of prompts of the same number in different cells."""


SETTINGS = (
    Setting((100, 60, 40, 120), 0.5, (1.0, 0.5, 0.3), 0.0),
    Setting((140, 20, 20, 140), 0.5, (1.0, 0.5, 0.3), 0.0),
    Setting((140, 20, 20, 140), 0.1, (1.0, 0.3, 0.15), 0.0),
    Setting((80, 80, 80, 80), 0.05, (1.0, 0.3, 0.2), 0.0),
    Setting((100, 60, 40, 120), 0.2, (1.0, 0.4, 0.2), 0.5),
)


class Row(NamedTuple):
    """One kind of value under one setting."""

    covered: int
    trusted: int
    stopped: int
    width: float
    """Sum over the trusted."""
    error: float
    """Sum of estimate − truth over the trusted."""


def trial(
    setting: Setting, overlap: float, seed: int
) -> Iterator[tuple[str, float, float, tuple[float, float] | None]]:
    """(kind, truth, estimate, interval or None where a check stops it) for one sample."""
    world = World(
        seed=seed, width=128, positions=5, layers=2, overlap=overlap, axes=setting.axes, strength=setting.strength,
        h_layer=1, r_layer=1, twins=setting.twins,
    )  # fmt: skip
    cells = world.cells(setting.counts)
    sides = Sides(tuple(cells.cells[name] for name in CELLS), IDENTIFIED["h"], IDENTIFIED["r"], -1, -1, 3)
    found = read(sides, 1, 1)
    cos, sub = world.truth(1, 1)
    truths = {"c_cos": cos, "c_sub": sub, "hrci_repr": (cos + sub) / 2}
    directions, subspaces = min(found.signal) >= LEAST_SIGNAL, found.sub_signal >= LEAST_SIGNAL
    for name, truth in truths.items():
        mix = Mix.of(name, 0)
        trusted = directions and (subspaces or name == "c_cos")
        ends = mix.ends(found, sides.blocks) if trusted else None
        yield name, truth, float(mix.value(found.signed, found.sub)), ends
    shown = found.angles or (0.0,) * 3
    ends_of_angles = found.angle_ends if subspaces else None
    for index, (truth, angle) in enumerate(zip(true_angles(world), shown, strict=True)):
        yield f"angle {index + 1}", truth, angle, ends_of_angles and ends_of_angles[index]
    yield "|cos| plain", cos, abs(found.plain[0]), plain_interval(sides, found)


def degrees(cosines: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(cosines, 0, 1)))


def true_angles(world: World) -> list[float]:
    left, right = (np.linalg.svd(each)[2][:3] for each in (world.h[1:, 1], world.r[1:, 1]))
    return degrees(np.linalg.svd(left @ right.T)[1]).tolist()


def plain_interval(sides: Sides, found: Read) -> tuple[float, float]:
    """The reflected interval of the absolute value of the plain cosine."""
    drawn = found.gram.plain + np.tensordot(sides.weights() - 1.0, found.gram.moves, axes=1)
    return basic_interval(abs(found.plain[0]), np.abs(cosine(drawn)), bounds=(0.0, 1.0))


def covered(setting: Setting, overlap: float, trials: int, seed: int = 0) -> dict[str, Row]:
    """Coverage of every kind of value."""
    numbers: dict[str, Counter[str]] = defaultdict(Counter)
    for index in range(trials):
        for name, truth, estimate, ends in trial(setting, overlap, 100_000 * seed + index):
            if ends is None:
                numbers[name]["stopped"] += 1
                continue
            room = ROOM * (1 if truth < 2 else 1e3)  # degrees
            numbers[name]["trusted"] += 1
            numbers[name]["covered"] += ends[0] - room <= truth <= ends[1] + room
            numbers[name]["width"] += ends[1] - ends[0]
            numbers[name]["error"] += estimate - truth
    return {name: Row(**{key: each[key] for key in Row._fields}) for name, each in numbers.items()}


def main(trials: int) -> None:
    print(f"{trials} simulations a cell; coverage, mean width, mean error, stopped by a check")
    total: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for number, setting in enumerate(SETTINGS):
        print(f"\n{setting}")
        for overlap in OVERLAPS if number == 0 else OVERLAPS[::2]:
            for name, row in covered(setting, overlap, trials, seed=number).items():
                share = "   –  " if not row.trusted else f"{row.covered / row.trusted:.3f}"
                mean = [value / max(1, row.trusted) for value in (row.width, row.error)]
                print(
                    f"  cos² {overlap:4}  {name:11} {share}  {mean[0]:7.3f} {mean[1]:+7.3f}  {row.stopped}", flush=True
                )
                total[name][0] += row.covered
                total[name][1] += row.trusted
    print("\nOver all cells: covered of trusted")
    for name, (held, n) in total.items():
        print(f"  {name:11} {held} of {n} = {held / max(1, n):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)

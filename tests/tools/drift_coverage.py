"""How often the intervals of drift hold the planted angles between two checkpoints' top-3 subspaces: the full table.

    python tests/tools/drift_coverage.py [simulations a cell, default 200]

160 + 160 prompts in 32 blocks, the same ones in both checkpoints, whose fields of differences in means have planted
singular values and axes that have turned by planted angles. Prompts scatter as in `geometry_coverage`: correlated
between layers and positions, along few axes of the stream, alike in both checkpoints and in twins as far as a setting
says. Values that a validity check stops are counted apart: no interval is claimed for them. Beside them, for
comparison: the reflected interval of the plain values, which resamples both classes independently.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from geoaudit.geometry import subspaces
from geoaudit.geometry.directions import BlockMeans, differences
from geoaudit.geometry.subspaces import TopSubspace
from geoaudit.measures.drift import turned
from geoaudit.stats.bootstrap import basic_interval, block_weights
from tests.tools.geometry_coverage import BLOCKS, LAYERS, POSITIONS, PROMPTS, growth, root_of_axes, root_of_sites

K = 3
SITES = slice(0, None, 3)
"""Of `geometry_coverage`: fewer, so that thousands of samples take minutes."""
N_SITES = len(range(POSITIONS * LAYERS)[SITES])
NAMES = ("angle 1", "angle 2", "angle 3", "weighted angle", "distance")
MOST = (90.0, 90.0, 90.0, 90.0, 1.0)
ROOM = (1e-3, 1e-3, 1e-3, 1e-3, 2e-5)
"""For ends that equal the truth but for rounding; degrees, and a distance."""


class Setting(NamedTuple):
    """What is simulated."""

    energies: tuple[float, ...]
    """Of both fields' singular vectors; more than three where the subspace does not hold all."""
    noise: float
    """Sampling noise over the whole energy."""
    alike: float
    """Correlation of a prompt's deviations in the two checkpoints."""
    twins: float
    """Correlation of a harmful prompt's deviation with that of its harmless twin."""
    width: int = 64


UNEVEN, EVEN, LONG = (0.6, 0.3, 0.1), (0.4, 0.33, 0.27), tuple(0.55**k for k in range(8))
SETTINGS = (
    Setting(UNEVEN, 0.02, 0.95, 0.5),
    Setting(UNEVEN, 0.1, 0.95, 0.0),
    Setting(UNEVEN, 0.1, 0.5, 0.5),
    Setting(EVEN, 0.05, 0.8, 0.5),
    Setting(EVEN, 0.2, 0.8, 0.0, 256),
    Setting(LONG, 0.02, 0.8, 0.5),
    Setting(LONG, 0.1, 0.95, 0.0),
)
ANGLES = ((0.0, 0.0, 0.0), (1.0, 3.0, 8.0), (5.0, 20.0, 50.0), (30.0, 30.0, 30.0), (10.0, 60.0, 85.0))


class World:
    """Two fields [m, d] of unit energy, and prompts that scatter around them."""

    def __init__(self, setting: Setting, angles: tuple[float, ...]) -> None:
        generator = np.random.default_rng((setting.width, len(setting.energies)))
        k = len(setting.energies)
        axes = np.linalg.qr(generator.standard_normal((setting.width, k + K)))[0].T
        after = axes[:k].copy()
        turn = np.radians(angles)[:, None]
        after[:K] = np.cos(turn) * axes[:K] + np.sin(turn) * axes[k:]
        sizes = np.sqrt(np.array(setting.energies) / sum(setting.energies))
        profiles = (
            np.linalg.qr(growth()[SITES, None] * generator.standard_normal((N_SITES, k)))[0] * sizes for _ in range(2)
        )
        self.fields = [profile @ each for profile, each in zip(profiles, (axes[:k], after), strict=True)]
        self.setting = setting
        self.sites, self.axes = root_of_sites()[SITES], root_of_axes(setting.width)
        of_mean = 2 * (1 - setting.twins) * np.trace(self.sites @ self.sites.T) * (self.axes**2).sum() / PROMPTS
        self.scale = np.sqrt(setting.noise / (1 - setting.noise) / of_mean / (PROMPTS / BLOCKS))

    def truth(self) -> tuple[float, ...]:
        return values(*(subspaces.top_subspace(field, K) for field in self.fields))

    def sample(self, generator: np.random.Generator) -> list[BlockMeans]:
        """Harmful and harmless prompts here, then there; the last layer row is no site: [B, 1, m + 1, d]."""
        deviations = None
        found = []
        for field in self.fields:
            fresh = self._deviations(generator)
            alike = self.setting.alike
            deviations = fresh if deviations is None else alike * deviations + np.sqrt(1 - alike**2) * fresh
            for shift, each in zip((field, 0.0), deviations, strict=True):
                rows = np.pad(1 + shift + each, ((0, 0), (0, 1), (0, 0)), constant_values=1.0)
                found.append(BlockMeans(np.full(BLOCKS, PROMPTS // BLOCKS), rows[:, None].astype(np.float32)))
        return found

    def _deviations(self, generator: np.random.Generator) -> np.ndarray:
        """Of both classes' blocks, [2, B, m, d]."""
        shape = (BLOCKS, POSITIONS * LAYERS, self.setting.width)
        shared, own = generator.standard_normal(shape), generator.standard_normal((2, *shape))
        mixed = np.sqrt(self.setting.twins) * shared + np.sqrt(1 - self.setting.twins) * own
        return self.scale * np.einsum("ms,cbsd->cbmd", self.sites, mixed, optimize=True) * self.axes


def values(here: TopSubspace, there: TopSubspace) -> tuple[float, ...]:
    """What NAMES names, of single subspaces or of many: numbers, or arrays [R]."""
    angles = np.degrees(subspaces.principal_angles(here.basis, there.basis))
    weighted = np.degrees(subspaces.energy_weighted_angle(here, there))
    return (*np.moveaxis(angles, -1, 0), weighted, subspaces.projector_distance(here.basis, there.basis))


class Seen(NamedTuple):
    """One kind of value of one sample."""

    name: str
    truth: float
    plain: float
    free: float
    """Without sampling noise; NaN where a check stops it."""
    ends: tuple[float, float] | None
    """The interval of the value without sampling noise; a measure makes it reach to the plain one as well."""
    before: tuple[float, float] | None


def trial(world: World, seed: int, *, compare: bool = True) -> Iterator[Seen]:
    """One sample, by the code that measures."""
    sides = world.sample(np.random.default_rng(seed))
    found = turned(*sides, K)
    plain, freed = values(*found.own), found.freed
    free: tuple[float, ...] = (np.nan,) * len(NAMES)
    ends: list[tuple[float, float] | None] = [None] * len(NAMES)
    if freed is not None:
        free = (*freed.angles, freed.weighted, freed.distance)
        ends = [*(freed.ends(at) for at in range(K)), freed.weighted_ends(), freed.distance_ends()]
    before = [None] * len(NAMES) if not compare else reflected(sides, plain)
    yield from map(Seen, NAMES, world.truth(), map(float, plain), free, ends, before)


def reflected(sides: list[BlockMeans], plain: tuple[float, ...]) -> list[tuple[float, float]]:
    """Intervals of the plain values, from the same redrawn blocks in both checkpoints."""
    cut = [BlockMeans(each.count, each.mean[:, :, :-1]) for each in sides]
    weights = [block_weights(BLOCKS, 200, (1, side)) for side in range(2)]
    drawn = values(*(subspaces.top_subspace(differences(*cut[at : at + 2], *weights)[:, 0], K) for at in (0, 2)))
    return [
        basic_interval(float(own), each, bounds=(0.0, most)) for own, each, most in zip(plain, drawn, MOST, strict=True)
    ]


class Row(NamedTuple):
    """One kind of value in one world, over all simulations."""

    truth: float
    plain: float
    """Mean of the plain values."""
    free: float
    """Mean of those without sampling noise, where no check stops them."""
    covered: float
    """Share of the intervals that hold the truth, of those that are claimed."""
    width: float
    n: int
    """Intervals that are claimed."""
    before: float
    """The same share of the reflected intervals of plain values."""


def covered(setting: Setting, angles: tuple[float, ...], trials: int, *, compare: bool = True) -> dict[str, Row]:
    """Coverage of every kind of value."""
    world = World(setting, angles)
    seen: dict[str, list[Seen]] = defaultdict(list)
    for seed in range(trials):
        for one in trial(world, seed, compare=compare):
            seen[one.name].append(one)
    return {name: _row(seen[name], room) for name, room in zip(NAMES, ROOM, strict=True)}


def _row(seen: list[Seen], room: float) -> Row:
    claimed = [one for one in seen if one.ends is not None]
    mean = [np.mean([getattr(one, name) for one in seen]) for name in ("truth", "plain")]
    free = np.mean([one.free for one in claimed]) if claimed else np.nan
    held = [one.ends[0] - room <= one.truth <= one.ends[1] + room for one in claimed if one.ends]
    widths = [one.ends[1] - one.ends[0] for one in claimed if one.ends]
    old = [one.before[0] - room <= one.truth <= one.before[1] + room for one in seen if one.before]
    shares = [float(np.mean(each)) if each else np.nan for each in (held, widths, old)]
    return Row(float(mean[0]), float(mean[1]), float(free), shares[0], shares[1], len(claimed), shares[2])


def main(trials: int) -> None:
    """Print the table."""
    print(f"{trials} simulations a cell; mean plain value and mean without sampling noise, coverage, mean width,")
    print("intervals claimed; coverage of the reflected interval of the plain value")
    total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    least = 1.0
    for setting in SETTINGS:
        print(f"\n{setting}")
        for angles in ANGLES:
            for name, row in covered(setting, angles, trials).items():
                print(
                    f"  {angles!s:18} {name:15}{row.truth:8.3f}{row.plain:8.3f}{row.free:8.3f}{row.covered:8.3f}"
                    f"{row.width:8.3f}{row.n:6}{row.before:8.3f}",
                    flush=True,
                )
                least = min(least, row.covered) if row.n else least
                for at, more in enumerate((row.covered * row.n if row.n else 0, row.n, row.before * trials)):
                    total[name][at] += more
    cells = len(SETTINGS) * len(ANGLES) * trials
    print(f"\nLeast coverage of a cell: {least:.3f}. Over all: covered of those claimed; reflected plain ones of all")
    for name, (held, n, old) in total.items():
        print(f"  {name:15} {held:.0f} of {n:.0f} = {held / max(1, n):.3f}; {old / cells:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)

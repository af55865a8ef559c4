"""How often the bootstrap over blocks holds the truth of a spectrum, by simulation at 160 + 160 prompts, 32 blocks.

    python tests/tools/geometry_coverage.py [simulations, default 100]

Prompts are drawn around two class means whose difference is a planted field over positions and layers. They scatter as
those of a small chat model do: correlated between neighbouring layers and between positions, along few axes of the
stream (their noise has an effective rank near 10, where independent noise would fill the matrix), growing with depth.
Harmful prompts and their harmless twins may share a part of their deviation; a second table has twins drawn together,
as the measures draw them, beside twins taken for strangers. Tests of the measures run the same functions with fewer
simulations.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from geoaudit.geometry import spectrum
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures.spectra import Resampled, resampled
from geoaudit.measures.spectrum import interval, noise_dominated

PROMPTS, BLOCKS = 160, 32
POSITIONS, LAYERS = 5, 8
RESAMPLES = 300
STATISTICS: dict[str, tuple[Any, dict[str, Any]]] = {
    "effective rank (energy)": (spectrum.effective_rank_energy, {}),
    "participation ratio": (spectrum.participation_ratio, {}),
    "k95": (lambda singular: spectrum.components_for_energy(singular, 0.95), {"fraction": 0.95}),
}
ENERGIES = {
    "rank 1": (1.0,),
    "rank 2": (0.5, 0.5),
    "rank 3": (1 / 3, 1 / 3, 1 / 3),
    "rank 2, uneven": (0.9, 0.1),
    "rank 3, uneven": (0.6, 0.3, 0.1),
    "decaying": tuple(0.55**k for k in range(12)),
}


@dataclass(frozen=True)
class World:
    """Where prompts come from."""

    energies: tuple[float, ...]
    """Of the planted field's singular vectors."""
    noise: float
    """Expected sampling noise of the difference in means over the whole expected energy."""
    width: int
    """d."""
    twins: float = 0.0
    """Correlation of a harmful prompt's deviation with that of its harmless twin."""

    def field(self) -> np.ndarray:
        """The true difference [m, d] of unit energy: orthogonal directions with orthogonal profiles over the sites."""
        generator = np.random.default_rng((self.width, len(self.energies)))
        k = len(self.energies)
        sites = np.linalg.qr(growth()[:, None] * generator.standard_normal((POSITIONS * LAYERS, k)))[0]
        directions = np.linalg.qr(generator.standard_normal((self.width, k)))[0]
        shares = np.array(self.energies) / sum(self.energies)
        return (sites * np.sqrt(shares)) @ directions.T

    def truth(self, statistic: Any) -> float:
        return float(statistic(np.sqrt(np.array(self.energies))))

    def sample(self, generator: np.random.Generator) -> tuple[BlockMeans, BlockMeans]:
        """Block means [B, 1, m, d] of both classes."""
        sites, axes = root_of_sites(), root_of_axes(self.width)
        of_mean = 2 * (1 - self.twins) * np.trace(sites @ sites.T) * (axes**2).sum() / PROMPTS
        scale = np.sqrt(self.noise / (1 - self.noise) / of_mean) / np.sqrt(PROMPTS / BLOCKS)
        shape = (BLOCKS, POSITIONS * LAYERS, self.width)
        shared = np.sqrt(self.twins) * generator.standard_normal(shape) if self.twins else 0.0
        means = []
        for shift in (self.field(), 0.0):
            drawn = shared + np.sqrt(1 - self.twins) * generator.standard_normal(shape)
            scattered = scale * np.einsum("ms,bsd->bmd", sites, drawn, optimize=True) * axes + shift
            means.append(BlockMeans(np.full(BLOCKS, PROMPTS // BLOCKS), scattered[:, None].astype(np.float32)))
        return means[0], means[1]


def growth() -> np.ndarray:
    """How large the stream is at each site: it grows with depth."""
    return np.tile(1.3 ** np.arange(LAYERS), POSITIONS)


def root_of_sites() -> np.ndarray:
    """A root of the covariance of a prompt's deviation between sites, [m, m]."""
    layers = 0.8 ** np.abs(np.subtract.outer(np.arange(LAYERS), np.arange(LAYERS)))
    positions = np.full((POSITIONS, POSITIONS), 0.5) + 0.5 * np.eye(POSITIONS)
    return growth()[:, None] * np.linalg.cholesky(np.kron(positions, layers))


def root_of_axes(width: int) -> np.ndarray:
    """Standard deviations along the axes of the stream, [d]: a few hold most of the variance."""
    return np.arange(1, width + 1) ** -0.5


class Covered(NamedTuple):
    """Of one statistic in one world, over all simulations."""

    statistic: str
    truth: float
    paper: float
    """Mean value of `field: paper`."""
    held_out: float
    """Mean value of `field: held_out`."""
    low: float
    """Mean lower end of the latter's interval."""
    high: float
    paper_holds: float
    """Share of the intervals of `field: paper` that hold the truth: they reach to its value."""
    held_out_holds: float
    trusted: float
    """Share of the simulations that the check `noise-dominated` does not stop."""
    misled: float
    """Share that it does not stop though the interval of `field: held_out` misses the truth."""
    n: int
    """Simulations with an interval: without energy above the noise there is none, and nothing is claimed."""


def simulate(
    world: World, simulations: int, seed: int, resamples: int = RESAMPLES, *, together: bool = False
) -> list[Covered]:
    """How often the 95 % intervals hold the truth, by the code that measures.

    Args:
        world: where prompts come from.
        simulations: how many.
        seed: of them all.
        resamples: of each.
        together: blocks of one number are drawn together, as those of twins are.
    """
    kept = np.ones((1, POSITIONS * LAYERS), dtype=bool)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in STATISTICS}
    for index in range(simulations):
        one, other = world.sample(np.random.default_rng((seed, index)))
        spectra = resampled(one, other, kept, twins=together, n=resamples)
        if spectra.held_out is None:
            continue
        for name, (statistic, parameters) in STATISTICS.items():
            truth = world.truth(statistic)
            paper, held_out = float(statistic(spectra.noisy)), float(statistic(spectra.held_out))
            trusted = not any(flag.effect == "stops" for flag in noise_dominated(held_out, spectra, statistic))
            wide, narrow = (_ends(value, spectra, statistic, parameters) for value in (paper, held_out))
            if wide is None or narrow is None:
                continue
            holds = [low - 1e-9 <= truth <= high + 1e-9 for low, high in (wide, narrow)]
            found[name].append((paper, held_out, *narrow, *holds, trusted, trusted and not holds[1]))
    return [
        Covered(
            name, world.truth(STATISTICS[name][0]), *(float(each) for each in np.mean(results, axis=0)), len(results)
        )
        for name, results in found.items()
    ]


def _ends(value: float, spectra: Resampled, statistic: Any, parameters: dict[str, Any]) -> tuple[float, float] | None:
    low, high, _ = interval(value, spectra, statistic, parameters)
    return None if low is None or high is None else (low, high)


def main(simulations: int) -> None:
    """Print the table."""
    began = time.perf_counter()
    print(f"{simulations} simulations a row; {PROMPTS} + {PROMPTS} prompts in {BLOCKS} blocks, {RESAMPLES} resamples")
    print(
        "holds: share of the intervals that hold the truth; misled: share trusted though the held-out interval misses"
    )
    print(
        f"{'planted':16}{'d':>5}{'noise':>7}  {'statistic':25}{'truth':>6}{'paper':>6}{'held-out':>9}{'interval':>15}"
        f"{'holds: paper':>14}{'held-out':>9}{'trusted':>9}{'misled':>8}{'n':>6}"
    )
    for name, energies in ENERGIES.items():
        for width, noise in ((64, 0.1), (256, 0.1), (256, 0.2), (256, 0.25)):
            _print(f"{name:16}{width:5}{noise:7.2f}  ", simulate(World(energies, noise, width), simulations, 1))
    print("\nTwins that share a part of their deviation, d = 64: correlation, noise, how they are drawn")
    for name, energies in ENERGIES.items():
        for twins, noise in ((0.5, 0.1), (0.8, 0.05), (0.8, 0.1)):
            for together in (False, True):
                head = f"{name:16}{twins:4.1f}{noise:6.2f} {'together' if together else 'apart':9}"
                _print(head, simulate(World(energies, noise, 64, twins), simulations, 1, together=together))
    print(f"{time.perf_counter() - began:.0f} s")


def _print(head: str, rows: list[Covered]) -> None:
    for row in rows:
        print(
            f"{head}{row.statistic:25}{row.truth:6.2f}{row.paper:6.2f}"
            f"{row.held_out:9.2f}  [{row.low:5.2f},{row.high:5.2f}]{row.paper_holds:14.3f}"
            f"{row.held_out_holds:9.3f}{row.trusted:9.2f}{row.misled:8.3f}{row.n:6}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

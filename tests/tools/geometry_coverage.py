"""How often the bootstrap over blocks holds the truth of a spectrum, by simulation at 160 + 160 prompts, 32 blocks.

    python tests/tools/geometry_coverage.py [simulations, default 300]

Prompts are drawn around two class means whose difference is a planted field over positions and layers. They scatter as
those of a small chat model do: correlated between neighbouring layers and between positions, along few axes of the
stream (their noise has an effective rank near 10, where independent noise would fill the matrix), growing with depth.
The tests of `geoaudit.geometry` run the same functions with fewer simulations.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geoaudit.geometry import spectrum
from geoaudit.geometry.directions import BlockMeans
from geoaudit.geometry.held_out import HeldOut, gram_singular_values
from geoaudit.measures.spectra import noise_share
from geoaudit.measures.spectrum import LARGEST_NOISE, LARGEST_SHIFT
from geoaudit.stats.bootstrap import basic_interval, block_weights

PROMPTS, BLOCKS = 160, 32
POSITIONS, LAYERS = 5, 8
RESAMPLES = 400
STATISTICS = {
    "effective rank (energy)": spectrum.effective_rank_energy,
    "participation ratio": spectrum.participation_ratio,
}
FIELDS = ("paper", "held_out")
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

    def field(self) -> np.ndarray:
        """The true difference [m, d] of unit energy: orthogonal directions with orthogonal profiles over the sites."""
        generator = np.random.default_rng((self.width, len(self.energies)))
        k = len(self.energies)
        sites = np.linalg.qr(_growth()[:, None] * generator.standard_normal((POSITIONS * LAYERS, k)))[0]
        directions = np.linalg.qr(generator.standard_normal((self.width, k)))[0]
        shares = np.array(self.energies) / sum(self.energies)
        return (sites * np.sqrt(shares)) @ directions.T

    def truth(self, statistic) -> float:
        return float(statistic(np.sqrt(np.array(self.energies))))

    def sample(self, generator: np.random.Generator) -> tuple[BlockMeans, BlockMeans]:
        """Block means [B, 1, m, d] of both classes."""
        sites, axes = _sites(), _axes(self.width)
        of_mean = 2 * np.trace(sites @ sites.T) * (axes**2).sum() / PROMPTS
        scale = np.sqrt(self.noise / (1 - self.noise) / of_mean) / np.sqrt(PROMPTS / BLOCKS)
        means = []
        for shift in (self.field(), 0.0):
            drawn = generator.standard_normal((BLOCKS, POSITIONS * LAYERS, self.width))
            scattered = scale * np.einsum("ms,bsd->bmd", sites, drawn, optimize=True) * axes + shift
            means.append(BlockMeans(np.full(BLOCKS, PROMPTS // BLOCKS), scattered[:, None].astype(np.float32)))
        return means[0], means[1]


def _growth() -> np.ndarray:
    """How large the stream is at each site: it grows with depth."""
    return np.tile(1.3 ** np.arange(LAYERS), POSITIONS)


def _sites() -> np.ndarray:
    """A root of the covariance of a prompt's deviation between sites, [m, m]."""
    layers = 0.8 ** np.abs(np.subtract.outer(np.arange(LAYERS), np.arange(LAYERS)))
    positions = np.full((POSITIONS, POSITIONS), 0.5) + 0.5 * np.eye(POSITIONS)
    return _growth()[:, None] * np.linalg.cholesky(np.kron(positions, layers))


def _axes(width: int) -> np.ndarray:
    """Standard deviations along the axes of the stream, [d]: a few hold most of the variance."""
    return np.arange(1, width + 1) ** -0.5


class Covered(NamedTuple):
    """Of one statistic in one world."""

    field: str
    statistic: str
    truth: float
    estimate: float
    """Mean over the simulations."""
    coverage: float
    """Share of all intervals that hold the truth."""
    trusted: int
    """Simulations in which the check `noise-dominated` is silent."""
    covered: int
    """Of those, how many hold the truth."""


def simulate(world: World, simulations: int, seed: int, fields: tuple[str, ...] = FIELDS) -> list[Covered]:
    """Coverage of the 95 % intervals of every statistic in one world."""
    kept = np.ones((1, POSITIONS * LAYERS), dtype=bool)
    rank = float(min(POSITIONS * LAYERS, world.width))
    found: dict[tuple[str, str], list[tuple[float, bool, bool]]] = {}
    for index in range(simulations):
        one, other = world.sample(np.random.default_rng((seed, index)))
        weights = [block_weights(BLOCKS, RESAMPLES, (seed, index, side)) for side in (0, 1)]
        loud = noise_share(one, other, kept, False) > LARGEST_NOISE
        for field in fields:
            if field == "held_out":
                held = HeldOut(one, other, kept)
                own = gram_singular_values(held.grams(*np.ones((2, 1, BLOCKS))))[0]
                drawn = held.singular_values(*weights)
            else:
                own = spectrum.singular_values((one.mean - other.mean).mean(axis=0)[0])
                drawn = spectrum.resampled_singular_values(one, other, *weights, kept)
            for name, statistic in STATISTICS.items():
                estimate, replicates = float(statistic(own)), statistic(drawn)
                low, high = basic_interval(estimate, replicates, bounds=(1.0, rank))
                stopped = loud or float(np.median(replicates)) / estimate > LARGEST_SHIFT
                truth = world.truth(statistic)
                inside = low - 1e-9 <= truth <= high + 1e-9
                found.setdefault((field, name), []).append((estimate, inside, not stopped))
    rows = []
    for (field, name), results in found.items():
        estimates, inside, trusted = (np.array(each) for each in zip(*results, strict=True))
        rows.append(
            Covered(
                field,
                name,
                world.truth(STATISTICS[name]),
                float(estimates.mean()),
                float(inside.mean()),
                int(trusted.sum()),
                int((inside & trusted).sum()),
            )
        )
    return rows


def main(simulations: int) -> None:
    """Print the table."""
    began = time.perf_counter()
    print(f"{simulations} simulations a row; {PROMPTS} + {PROMPTS} prompts in {BLOCKS} blocks, {RESAMPLES} resamples")
    print(f"{'planted':16}{'d':>5}{'noise':>7}  {'field':10}{'statistic':25}{'truth':>7}{'mean':>7}{'held':>7}  trusted")
    for name, energies in ENERGIES.items():
        for width, noise in ((64, 0.1), (256, 0.1), (256, 0.2), (256, 0.4)):
            for row in simulate(World(energies, noise, width), simulations, 1):
                trusted = f"{row.covered / row.trusted:.3f} of {row.trusted}" if row.trusted else "none"
                print(
                    f"{name:16}{width:5}{noise:7.2f}  {row.field:10}{row.statistic:25}{row.truth:7.2f}"
                    f"{row.estimate:7.2f}{row.coverage:7.3f}  {trusted}",
                    flush=True,
                )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)

"""How often the bootstrap over blocks holds the truth of a spectrum, by simulation at 160 + 160 prompts, 32 blocks.

    python tests/tools/geometry_coverage.py [simulations, default 100]

Prompts are drawn around two class means whose difference is a planted field over positions and layers. They scatter as
those of a small chat model do: correlated between neighbouring layers and between positions, along few axes of the
stream (their noise has an effective rank near 10, where independent noise would fill the matrix), growing with depth.
The tests of `geoaudit.geometry` run the same functions with fewer simulations.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from geoaudit.geometry import spectrum
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures.spectra import resampled
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

    def field(self) -> np.ndarray:
        """The true difference [m, d] of unit energy: orthogonal directions with orthogonal profiles over the sites."""
        generator = np.random.default_rng((self.width, len(self.energies)))
        k = len(self.energies)
        sites = np.linalg.qr(_growth()[:, None] * generator.standard_normal((POSITIONS * LAYERS, k)))[0]
        directions = np.linalg.qr(generator.standard_normal((self.width, k)))[0]
        shares = np.array(self.energies) / sum(self.energies)
        return (sites * np.sqrt(shares)) @ directions.T

    def truth(self, statistic: Any) -> float:
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

    statistic: str
    truth: float
    estimate: float
    """Mean of the values as they are."""
    held_out: float
    """Mean of the values without sampling noise."""
    low: float
    """Mean lower end."""
    high: float
    holds: float
    """Share of all intervals that hold the truth."""
    trusted: int
    """Simulations that the check `noise-dominated` does not stop."""
    trusted_holds: int
    """Of those, how many hold the truth."""


def simulate(world: World, simulations: int, seed: int, resamples: int = RESAMPLES) -> list[Covered]:
    """How often the 95 % intervals of `field: held_out` hold the truth; those of `field: paper` are not narrower."""
    kept = np.ones((1, POSITIONS * LAYERS), dtype=bool)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in STATISTICS}
    for index in range(simulations):
        one, other = world.sample(np.random.default_rng((seed, index)))
        spectra = resampled(one, other, kept, n=resamples)
        if spectra.held_out is None:
            continue
        for name, (statistic, parameters) in STATISTICS.items():
            value = float(statistic(spectra.held_out))
            low, high, _ = interval(value, spectra, statistic, parameters)
            trusted = not any(flag.effect == "stops" for flag in noise_dominated(value, spectra, statistic))
            if low is None or high is None:
                assert not trusted
                continue
            holds = low - 1e-9 <= world.truth(statistic) <= high + 1e-9
            found[name].append((float(statistic(spectra.noisy)), value, low, high, holds, trusted, holds and trusted))
    rows = []
    for name, results in found.items():
        columns = np.array(results)
        means = [float(each) for each in columns[:, :5].mean(axis=0)]
        trusted, both = (int(each) for each in columns[:, 5:].sum(axis=0))
        rows.append(Covered(name, world.truth(STATISTICS[name][0]), *means, trusted, both))
    return rows


def main(simulations: int) -> None:
    """Print the table."""
    began = time.perf_counter()
    print(f"{simulations} simulations a row; {PROMPTS} + {PROMPTS} prompts in {BLOCKS} blocks, {RESAMPLES} resamples")
    print(
        f"{'planted':16}{'d':>5}{'noise':>7}  {'statistic':25}{'truth':>7}{'paper':>7}{'held-out':>9}"
        f"{'interval':>15}{'holds':>7}  where trusted"
    )
    for name, energies in ENERGIES.items():
        for width, noise in ((64, 0.1), (256, 0.1), (256, 0.2), (256, 0.25)):
            for row in simulate(World(energies, noise, width), simulations, 1):
                trusted = f"{row.trusted_holds / row.trusted:.3f} of {row.trusted}" if row.trusted else "none"
                print(
                    f"{name:16}{width:5}{noise:7.2f}  {row.statistic:25}{row.truth:7.2f}{row.estimate:7.2f}"
                    f"{row.held_out:9.2f}  [{row.low:5.2f},{row.high:5.2f}]{row.holds:7.3f}  {trusted}",
                    flush=True,
                )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

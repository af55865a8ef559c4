"""Cells of prompts with planted harmfulness and refusal contrasts: what tests and the coverage simulation share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures.fulfilled import CELLS, CategoryMeans, CellMeans
from geoaudit.prompts.sources import load

BLOCKS = 32
SIGNS = {
    "harmful_refused": (1, 1),
    "harmful_complied": (1, -1),
    "harmless_refused": (-1, 1),
    "harmless_complied": (-1, -1),
}
SETS = tuple(
    load(name).first(64) for name in ("probe-harmful-train", "safe-but-scary-contrasts", "probe-harmless-train")
)
USUAL = (100, 60, 40, 120)


def rotation(width: int, generator: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(generator.standard_normal((width, width)))[0]


@dataclass
class World:
    """Fields of H and R at every layer, [P, d], with a known overlap; activations scatter around the four cells."""

    seed: int = 0
    width: int = 48
    positions: int = 4
    layers: int = 6
    overlap: float = 0.5
    """cos² between each axis of H and the matching axis of R: c_sub at every pair of layers."""
    axes: tuple[float, ...] = (1.0, 0.5, 0.3)
    """Singular values of both fields, before scaling."""
    strength: float = 0.5
    """Squared length of a difference over the trace of the activations' covariance, at its best layer."""
    h_layer: int = 2
    r_layer: int = 4
    fade: float = 0.8
    """What is left of a difference one layer further from its best one."""
    twins: float = 0.0
    """Correlation of prompts of the same number in different cells."""
    h: np.ndarray = field(init=False)
    r: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        g = self.generator = np.random.default_rng(self.seed)
        k = len(self.axes)
        axes = rotation(self.width, g)[: 2 * k]
        other = np.sqrt(self.overlap) * axes[:k] + np.sqrt(1 - self.overlap) * axes[k:]
        self.h, self.r = (self._field(each, peak) for each, peak in ((axes[:k], self.h_layer), (other, self.r_layer)))
        spread = 1 / np.arange(1, self.width + 1)
        self.spread = np.sqrt(spread / spread.sum())
        self.common = 2 * g.standard_normal((self.positions + 1, self.layers + 1, self.width)) / np.sqrt(self.width)

    def _field(self, axes: np.ndarray, peak: int) -> np.ndarray:
        """[1 + P, L + 1, d]: nothing at layer 0, the other layers by distance from the peak."""
        g = self.generator
        mixing = np.column_stack([np.ones(self.positions), g.standard_normal((self.positions, len(axes) - 1))])
        plain = (np.linalg.qr(mixing)[0] * self.axes) @ axes
        plain *= np.sqrt(self.strength * self.positions) / np.linalg.norm(plain)
        fade = np.array([0.0] + [self.fade ** abs(layer - peak) for layer in range(1, self.layers + 1)])
        return np.concatenate([plain[-1:], plain])[:, None, :] * fade[:, None]

    def cell(self, name: str, n: int, shared: np.ndarray) -> BlockMeans:
        g = self.generator
        shape = (n, self.positions + 1, self.layers + 1, self.width)
        noise = np.sqrt(0.7) * g.standard_normal((n, 1, 1, self.width)) + np.sqrt(0.3) * g.standard_normal(shape)
        noise = np.sqrt(self.twins) * shared[np.arange(n) % len(shared)] + np.sqrt(1 - self.twins) * noise
        noise[:, 1:, 0] = 0  # an embedding, the same for every prompt
        harmful, refused = SIGNS[name]
        centre = self.common + (harmful * self.h + refused * self.r) / 2
        return blocks(centre + noise * self.spread)

    def cells(self, counts: tuple[int, ...] = USUAL) -> CellMeans:
        shape = (max(counts), 1, 1, self.width)
        shared = self.generator.standard_normal(shape)
        found = {name: self.cell(name, n, shared) if n else None for name, n in zip(CELLS, counts, strict=True)}
        return CellMeans(found, tuple(f"<{i}>" for i in range(self.positions)), SETS, 0)

    def categories(self, n: int = 8, prompts: int = 16) -> CategoryMeans:
        g = self.generator
        means = []
        for _ in range(n):
            topic = 0.3 * g.standard_normal(self.width) * self.spread
            noise = g.standard_normal((prompts, self.positions + 1, self.layers + 1, self.width))
            scattered = topic + noise * self.spread
            scattered[:, 1:, 0] = 0
            means.append(blocks(self.common + scattered, 4))
        parts = [(BlockMeans(one.count, one.mean[:, 1:]), BlockMeans(one.count, one.mean[:, :1])) for one in means]
        names = tuple(f"topic-{i}" for i in range(n))
        return CategoryMeans(names, tuple(p for p, _ in parts), tuple(i for _, i in parts), SETS[2])

    def truth(self, h_layer: int, r_layer: int, k: int = 3, position: int = -1) -> tuple[float, float]:
        """(|cos| at a position, c_sub) of the planted contrasts."""
        h, r = self.h[position, h_layer], self.r[position, r_layer]
        cos = abs(h @ r) / np.linalg.norm(h) / np.linalg.norm(r)
        left, right = (np.linalg.svd(each)[2][:k] for each in (self.h[1:, h_layer], self.r[1:, r_layer]))
        return float(cos), float((np.linalg.svd(left @ right.T)[1] ** 2).mean())


def blocks(activations: np.ndarray, n: int = BLOCKS) -> BlockMeans:
    """Prompt i into block i modulo n, as the bench does; NaN in a block without prompts."""
    index = np.arange(len(activations)) % n
    count = np.bincount(index, minlength=n)
    total = np.zeros((n, *activations.shape[1:]))
    np.add.at(total, index, activations)
    with np.errstate(invalid="ignore"):
        return BlockMeans(count, (total / count[:, None, None, None]).astype(np.float32))

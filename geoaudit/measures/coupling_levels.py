"""Coupling of two contrasts at one pair of layers and at every layer, with the level that chance gives there.

Chance is asked about R: H stays as it was measured, and R is replaced by a contrast that has nothing to do with
refusing. *Permuted labels*: the prompts of R's cells dealt out anew (cells about their own means). *Harmless
contrasts*: one category of harmless prompts against another. Both are directions along which activations do differ, so
that their cosine with H is that of "some other contrast", several times that of a random direction. Replacing H as well
would not do: two differences of the same noisy cells have their noise in common, and a plain cosine of up to 1 with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import nulls
from geoaudit.geometry.crossfit import (
    Gram,
    band_of_angles,
    contrast,
    cosine,
    cosines_of_angles,
    gram,
    kth_energy,
    stacked,
)
from geoaudit.geometry.directions import NULL_RATIO, BlockMeans, overall
from geoaudit.stats.bootstrap import block_weights

Floats = NDArray[np.float64]

SEED = 20260616
RESAMPLES = 1000
PERMUTATIONS = 200
H, R = 0, 1
"""Where the two directions stand among the vectors of `products`; the two fields follow."""


@dataclass(frozen=True)
class Sides:
    """What H and R are: contrasts of the same cells of prompts, and where they are read."""

    cells: tuple[BlockMeans, ...]
    """[B, 1 + P, L + 1, d] each; index 0 of the positions is `t_inst`. Blocks of one number belong together."""
    h: tuple[float, ...]
    """Coefficient of each cell in H."""
    r: tuple[float, ...]
    """The same in R."""
    h_position: int
    """Index on the axis 1 + P: 0 for `t_inst`."""
    r_position: int
    k: int
    """Dimensions of the subspaces; of no use where the template has fewer positions."""

    @property
    def positions(self) -> int:
        """P, the post-instruction positions."""
        return int(self.cells[0].mean.shape[1]) - 1

    @property
    def n_layers(self) -> int:
        """L, the blocks of the model: layers that are read are 0 … L − 1 (`resid_pre`)."""
        return int(self.cells[0].mean.shape[2]) - 1

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.cells[0].count)

    @property
    def fields(self) -> tuple[slice, slice]:
        """The rows of H's and of R's position-wise field among the vectors of `products`."""
        p = self.positions
        return slice(2, 2 + p), slice(2 + p, 2 + 2 * p)

    def weights(self) -> NDArray[np.int64]:
        """How often each block is drawn, [R, B]: the same for all cells, layers and measures."""
        return _weights(self.blocks)


@lru_cache(maxsize=4)
def _weights(blocks: int) -> NDArray[np.int64]:
    return block_weights(blocks, RESAMPLES, SEED)


def products(sides: Sides, h_layer: int, r_layer: int) -> Gram:
    """Cross-fitted inner products of h, r and both fields, each at its layer."""
    field = range(1, sides.positions + 1)
    return gram(
        stacked(
            [
                contrast(sides.cells, sides.h, [sides.h_position], h_layer),
                contrast(sides.cells, sides.r, [sides.r_position], r_layer),
                contrast(sides.cells, sides.h, field, h_layer),
                contrast(sides.cells, sides.r, field, r_layer),
            ]
        )
    )


def coupled(sides: Sides, values: Floats) -> tuple[Floats, Floats]:
    """(signed cosine, c_sub) from inner products [..., m, m]; NaN where there is none. Neither is clipped."""
    signed = cosine(values, H, R)
    if sides.k > sides.positions:
        return signed, np.full(signed.shape, np.nan)
    return signed, (cosines_of_angles(values, *sides.fields, sides.k) ** 2).mean(axis=-1)


@dataclass(frozen=True, eq=False)
class Read:
    """Both contrasts at one pair of layers."""

    h_layer: int
    r_layer: int
    gram: Gram
    signed: float
    """Cosine of h and r, NaN where one of them is nothing but noise."""
    sub: float
    drawn_signed: Floats
    """[R] under redrawn blocks."""
    drawn_sub: Floats
    signal: tuple[float, float]
    """Squared length of h and of r over its standard error."""
    sub_signal: float
    """The same of the weaker field's k-th energy; NaN where the template has fewer than k positions."""
    angles: tuple[float, ...]
    """Principal angles between the top-k subspaces, degrees, rising; empty where there are none."""
    angle_ends: tuple[tuple[float, float], ...] | None
    """95 % band of all angles at once, degrees; None where there are none."""
    plain: tuple[float, float]
    """(cosine, c_sub) of the estimates as they are, as the papers compute them: noise is in both."""


def read(sides: Sides, h_layer: int, r_layer: int) -> Read:
    """Both contrasts with their resamples."""
    found = products(sides, h_layer, r_layer)
    redrawn = found.resampled(sides.weights())
    signed, sub = coupled(sides, found.value)
    drawn_signed, drawn_sub = coupled(sides, redrawn)
    weakest: float | np.floating[Any] = np.nan
    if sides.k <= sides.positions:
        weakest = min(
            _over_error(kth_energy(found.value, rows, sides.k), kth_energy(redrawn, rows, sides.k))
            for rows in sides.fields
        )
    lengths = found.signal
    field = range(1, sides.positions + 1)
    layers = (h_layer, r_layer)
    angles: tuple[float, ...] = ()
    ends = None
    alive = [_alive(sides, which, [at], layers[which]) for which, at in ((H, sides.h_position), (R, sides.r_position))]
    if not all(alive):
        signed, drawn_signed = np.array(np.nan), np.full(RESAMPLES, np.nan)
    if not all(_alive(sides, which, field, layers[which]) for which in (H, R)):
        sub, drawn_sub, weakest = np.array(np.nan), np.full(RESAMPLES, np.nan), 0.0
    elif np.isfinite(sub):
        angles = _degrees(cosines_of_angles(found.value, *sides.fields, sides.k))
        band = band_of_angles(found.value, redrawn, *sides.fields, sides.k)
        ends = band and tuple(zip(_degrees(band.high), _degrees(band.low), strict=True))
    plain_signed, plain_sub = coupled(sides, found.plain)
    return Read(
        h_layer=h_layer,
        r_layer=r_layer,
        gram=found,
        signed=float(signed),
        sub=float(sub),
        drawn_signed=drawn_signed,
        drawn_sub=drawn_sub,
        signal=(float(lengths[H]) if alive[H] else 0.0, float(lengths[R]) if alive[R] else 0.0),
        sub_signal=float(weakest),
        angles=angles,
        angle_ends=ends,
        plain=(float(plain_signed), float(plain_sub)),
    )


def _degrees(cosines: Floats) -> tuple[float, ...]:
    return tuple(float(angle) for angle in np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0))))


def _over_error(value: Floats, drawn: Floats) -> float:
    error = float(np.std(drawn))
    return float(value) / error if error > 0 else (np.inf if value > 0 else 0.0)


def _alive(sides: Sides, which: int, positions: Sequence[int], layer: int) -> bool:
    """Whether a contrast is more than rounding somewhere: its plain norm against that of the activations."""
    coefficients = sides.h if which == H else sides.r
    used = [cell for cell, c in zip(sides.cells, coefficients, strict=True) if c]
    size = np.linalg.norm(contrast(sides.cells, coefficients, positions, layer).value, axis=-1)
    scale = np.mean([np.linalg.norm(overall(_at(cell, positions, layer))[:, 0], axis=-1) for cell in used], axis=0)
    return bool((size > NULL_RATIO * scale).any())


@dataclass(frozen=True, eq=False)
class Separation:
    """How well a contrast separates its prompts at each layer: d′ on prompts that had no part in the direction."""

    d_prime: Floats
    """[L]; 0 where there is no direction."""
    drawn: Floats
    """[R, L] under redrawn blocks, the spread of the prompts held fixed."""

    @property
    def best(self) -> int:
        """The layer of the highest d′; the first of equals."""
        return int(np.argmax(self.d_prime))

    @property
    def drawn_best(self) -> NDArray[np.int64]:
        """The same under redrawn blocks, [R]."""
        best: NDArray[np.int64] = np.argmax(self.drawn, axis=1)
        return best


@lru_cache(maxsize=4)
def separation(sides: Sides, which: int) -> Separation:
    """Held-out d′ of H or R at every layer: gap over spread, along the contrast itself.

    The gap is the cross-fitted length of the contrast; the spread is that of each block of prompts along the direction
    that all *other* blocks give. Scaled to one prompt: with cells of n_i prompts and coefficients c_i, the standard
    error of the gap is the spread of a prompt times √Σ c_i²/n_i; d′ is the gap between the two sides over that spread.
    """
    at, coefficients = (sides.h_position, sides.h) if which == H else (sides.r_position, sides.r)
    sizes = [int(cell.count.sum()) for cell in sides.cells]
    prompts = sum(c**2 / n for c, n in zip(coefficients, sizes, strict=True) if c)
    weights = sides.weights()
    found, drawn = [], []
    for layer in range(sides.n_layers):
        length = gram(contrast(sides.cells, coefficients, [at], layer))
        squared, moves = float(length.value[0, 0]), length.moves[:, 0, 0]
        # moves of |X|² are 2 |X| times those of the gap along X
        error = float(np.sqrt(moves @ moves)) / 2
        if not (squared > 0 and error > 0 and _alive(sides, which, [at], layer)):
            found.append(0.0)
            drawn.append(np.zeros(len(weights)))
            continue
        per_prompt = np.sqrt(prompts) * np.sqrt(squared) / error  # 1 / spread of a prompt along the direction
        found.append(np.sqrt(squared) * per_prompt)
        drawn.append(np.sqrt(np.maximum(squared + (weights - 1.0) @ moves, 0.0)) * per_prompt)
    return Separation(np.array(found), np.stack(drawn, axis=1))


# --- chance ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chance:
    """Signed cosine and c_sub of H with contrasts that have nothing to do with refusing, [n] each."""

    signed: Floats
    sub: Floats


def permuted(sides: Sides, h_layer: int, r_layer: int) -> Chance:
    """R of permuted labels at one pair of layers; the same permutations at every layer."""
    used = [(cell, c) for cell, c in zip(sides.cells, sides.r, strict=True) if c]
    sites = _sites(sides)
    pool = nulls.pool([nulls.centred(_at(cell, sites, r_layer)) for cell, _ in used])
    sizes = [int((cell.count > 0).sum()) for cell, _ in used]
    labels = nulls.permuted_labels(sizes, PERMUTATIONS, (SEED, 1)) * pool.count
    shares = labels / labels.sum(axis=-1, keepdims=True)
    return _chance(sides, np.tensordot([c for _, c in used], shares, axes=(0, 1)), pool, h_layer)


def harmless(sides: Sides, categories: tuple[BlockMeans, ...], h_layer: int, r_layer: int) -> Chance:
    """One category of harmless prompts against another in the place of R.

    Args:
        sides: H and R.
        categories: block means [B', 1 + P, L + 1, d], `t_inst` first.
        h_layer: layer of H.
        r_layer: layer of R.

    Raises:
        NothingToMeasure: fewer than 20 contrasts.
    """
    draws = nulls.harmless_contrasts([_at(each, _sites(sides), r_layer) for each in categories])
    return _chance(sides, draws.coefficients, draws.means, h_layer)


def _sites(sides: Sides) -> list[int]:
    return [sides.r_position, *range(1, sides.positions + 1)]


def _at(cell: BlockMeans, positions: Sequence[int], layer: int) -> BlockMeans:
    return BlockMeans(cell.count, cell.mean[:, list(positions), layer : layer + 1])


def _chance(sides: Sides, coefficients: NDArray[Any], pool: BlockMeans, h_layer: int) -> Chance:
    """H as measured, with its noise taken out of its lengths, against each contrast as it is."""
    p = sides.positions
    own = contrast(sides.cells, sides.h, [sides.h_position, *range(1, p + 1)], h_layer)
    lengths = gram(own).value
    rows = pool.mean[:, :, 0].astype(np.float64)
    drawn = np.tensordot(coefficients, rows, axes=1)  # [n, 1 + P, d]
    h_rows, r_rows = [H, *range(2, 2 + p)], [R, *range(2 + p, 2 + 2 * p)]
    values = np.zeros((len(drawn), 2 + 2 * p, 2 + 2 * p))
    values[:, np.array(h_rows)[:, None], h_rows] = lengths
    values[:, np.array(r_rows)[:, None], r_rows] = drawn @ drawn.swapaxes(1, 2)
    across = own.value @ drawn.swapaxes(1, 2)
    values[:, np.array(h_rows)[:, None], r_rows] = across
    values[:, np.array(r_rows)[:, None], h_rows] = across.swapaxes(1, 2)
    signed, sub = coupled(sides, values)
    return Chance(signed, sub)


@dataclass(frozen=True, eq=False)
class Place:
    """Both contrasts at one pair of layers, with what chance gives there."""

    read: Read
    permuted: Chance
    harmless: Chance | None
    """None where there are too few categories of harmless prompts."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Everything that measures of coupling share."""

    own: Place
    """Each contrast at its own layer."""
    same: tuple[Place, ...]
    """Both at one layer, for every layer."""


@lru_cache(maxsize=2)
def survey(sides: Sides, categories: tuple[BlockMeans, ...], h_layer: int, r_layer: int) -> Survey:
    """Coupling and chance at the contrasts' own layers and at every layer; kept for the next measure."""

    def place(one: int, other: int) -> Place:
        try:
            level = harmless(sides, categories, one, other)
        except NothingToMeasure:
            level = None
        return Place(read(sides, one, other), permuted(sides, one, other), level)

    same = tuple(place(layer, layer) for layer in range(sides.n_layers))
    return Survey(same[h_layer] if h_layer == r_layer else place(h_layer, r_layer), same)

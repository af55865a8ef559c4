"""Everything that the measures of one field's spectrum share: spectra of the field, of its resamples and of chance.

Which field: `paper` is the raw stack of mean differences over positions and layers, uncentred (arXiv 2604.27019 §3);
`normalised` has every row at unit norm; `layer` is the raw stack of one layer; `held_out` is the raw stack without the
energy of sampling noise (`geometry.held_out`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions, nulls, spectrum
from geoaudit.geometry.directions import BlockMeans
from geoaudit.geometry.held_out import HeldOut
from geoaudit.measures.spectrum_needs import LAST
from geoaudit.stats.bootstrap import block_weights

Floats = NDArray[np.float64]
Field = Literal["paper", "normalised", "held_out", "layer"]

SEED = 20260427
RESAMPLES = 500
DRAWS = 200
"""Of permuted labels."""
MATCHED = 51
"""Draws of the true contrast at the size of the harmless ones, of which the median is taken."""
ISOTROPIC = 5


@dataclass(frozen=True, eq=False)
class Resampled:
    """One field and how far its prompts determine it."""

    noisy: Floats
    """Singular values as they are, [k]."""
    held_out: Floats | None
    """Without sampling noise, [m]; None where no energy rises above it."""
    replicates: Floats
    """The latter over the bootstrap, one spectrum a row, [R, m]; NaN rows where there is none."""
    spread: Floats | None
    """`held_out` with all energies above zero, those of noise among them, [m]."""
    noise: float
    """Sampling noise as a share of the energy."""
    rows: int
    width: int
    blocks: int
    """Of the class that has fewer."""
    twins: bool = False
    """Whether the two classes' blocks of one number were drawn together."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """Singular values of a field and of chance, one spectrum a row where there are several."""

    field: Field
    resampled: Resampled
    even: Floats
    """Of the same rows at unit norm, [k]."""
    by_layer: tuple[tuple[int, Floats | None], ...]
    """Of the rows of one layer alone; None for a layer without any."""
    permuted: Floats | None
    """Over permuted labels, with sampling noise, [R, k]; None where prompts do not differ at all."""
    harmless: Floats | None
    """Over contrasts between categories of harmless prompts, with sampling noise, [R, k]."""
    why_no_harmless: str
    matched: Floats | None
    """Of the true contrast made of as few prompts as the harmless ones, [R, k]."""
    prompts_per_side: float
    """Of a harmless contrast, the median."""
    dropped: int
    """Null rows left out."""
    by_norm: bool
    """Whether norms set the raw spectrum (validity check `rank-by-norm`)."""

    @property
    def own(self) -> Floats:
        """The spectrum that was asked for."""
        held_out = self.resampled.held_out
        return held_out if self.field == "held_out" and held_out is not None else self.resampled.noisy


@lru_cache(maxsize=2)
def of(
    harmful: BlockMeans,
    harmless: BlockMeans,
    categories: tuple[BlockMeans, ...],
    field: Field,
    layer: int | None,
    twins: bool,
) -> Spectra:
    """The spectra of one field. Kept for the last two, since several measures read the same.

    Args:
        harmful: blocks [B, P, L + 1, d] of harmful prompts.
        harmless: blocks of harmless prompts.
        categories: blocks of each category of harmless prompts.
        field: which.
        layer: for `layer`; -1 for the last.
        twins: block b of the harmless prompts holds the twins of the harmful ones in block b.

    Raises:
        NothingToMeasure: no row is left, or no energy above the sampling noise (`held_out`).
    """
    stack = directions.differences(harmful, harmless)
    kept, dropped = _kept(stack, directions.activation_scale(harmful, harmless), layer)
    found = resampled(harmful, harmless, kept, unit_rows=field == "normalised", twins=twins)
    if field == "held_out" and found.held_out is None:
        raise NothingToMeasure(
            "no energy of the harmful−harmless field is left above the sampling noise: raise n_train, or the sets do "
            "not differ"
        )
    size = float(np.linalg.norm(stack[kept]))
    contrasts, per_side, why = _harmless(categories, field, kept, size)
    return Spectra(
        field=field,
        resampled=found,
        even=spectrum.singular_values(spectrum.normalised(stack[kept])),
        by_layer=tuple(_by_layer(harmful, harmless, kept, field, twins)),
        permuted=_of_draws(nulls.permuted(harmful, harmless, DRAWS, (SEED, 2)), field, kept, size),
        harmless=contrasts,
        why_no_harmless=why,
        matched=_of_draws(nulls.matched(harmful, harmless, per_side, MATCHED, (SEED, 3)), field, kept, size)
        if contrasts is not None
        else None,
        prompts_per_side=per_side,
        dropped=dropped,
        by_norm=field != "normalised" and spectrum.dominated_by_norm(stack[kept]),
    )


def resampled(
    harmful: BlockMeans,
    harmless: BlockMeans,
    kept: NDArray[np.bool_],
    *,
    unit_rows: bool = False,
    twins: bool = False,
    n: int = RESAMPLES,
) -> Resampled:
    """The spectrum of the kept rows with and without sampling noise, and the latter over the bootstrap.

    Resampled as it is, a field takes on its sampling noise once more, and no reflection takes out what that adds to
    an entropy: in simulation such intervals held the truth of planted rank 3 in none of 60 trials.

    Args:
        harmful: blocks [B, P, L + 1, d] of harmful prompts.
        harmless: blocks of harmless prompts.
        kept: bool [P, L + 1], which sites.
        unit_rows: each row at unit norm.
        twins: block b of the harmless prompts holds the twins of the harmful ones in block b: they are drawn together.
        n: resamples.
    """
    one, other = harmful.occupied(), harmless.occupied()
    matrix = directions.differences(one, other)[kept]
    held = HeldOut(one, other, kept, twins=twins)
    sides = (one,) if twins else (one, other)
    every = [np.ones((1, len(each.count))) for each in sides]
    once, drawn = (
        held.singular_values(*weights, unit_rows=unit_rows)
        for weights in (
            every,
            [block_weights(len(each.count), n, (SEED, side)) for side, each in enumerate(sides)],
        )
    )
    spread = held.singular_values(*every, unit_rows=unit_rows, cancelled=False)
    return Resampled(
        noisy=spectrum.singular_values(spectrum.normalised(matrix) if unit_rows else matrix),
        held_out=once[0] if np.isfinite(once).all() else None,
        replicates=drawn,
        spread=spread[0] if np.isfinite(spread).all() else None,
        noise=noise_share(one, other, kept, unit_rows, twins=twins),
        rows=int(matrix.shape[0]),
        width=int(matrix.shape[1]),
        blocks=min(len(one.count), len(other.count)),
        twins=twins,
    )


def noise_share(
    one: BlockMeans, other: BlockMeans, kept: NDArray[np.bool_], unit_rows: bool, *, twins: bool = False
) -> float:
    """Sampling noise in the squared norms of the kept rows, as a share of them; each row counts alike if normalised.

    The blocks' spread around their mean, over their number, is what a difference in means holds by chance; of twins the
    spread of their differences.
    """
    noise = np.zeros(int(kept.sum()))
    first, second = one.occupied(), other.occupied()
    for each in (BlockMeans(first.count, first.mean - second.mean),) if twins else (first, second):
        weights = each.count / each.count.sum()
        rows = each.mean[:, kept, :].astype(np.float64)
        spread = ((rows - np.tensordot(weights, rows, axes=1)) ** 2).sum(axis=-1)
        noise += (weights**2 @ spread) * weights.size / (weights.size - 1)
    energy = directions.norms(directions.differences(one, other)[kept]) ** 2
    return float(np.mean(noise / energy) if unit_rows else noise.sum() / energy.sum())


def _kept(stack: Floats, scale: Floats, layer: int | None) -> tuple[NDArray[np.bool_], int]:
    """Which sites [P, L + 1] make up the field, and how many were left out as null."""
    asked = np.ones(stack.shape[:2], dtype=bool)
    asked[:, -1] = False  # the last block's output is no block's input
    if layer is not None:
        layers = stack.shape[1] - 1
        layer = layers - 1 if layer == LAST else layer
        if not 0 <= layer < layers:
            raise NothingToMeasure(f"there is no layer {layer}: the checkpoint has layers 0 to {layers - 1}")
        asked &= np.arange(stack.shape[1]) == layer
    null = directions.null_rows(stack, scale)
    kept = asked & ~null
    if not kept.any():
        where = "" if layer is None else f" at layer {layer}"
        raise NothingToMeasure(
            f"every harmful−harmless difference{where} is zero within rounding: the probe sets do not reach the "
            "residual stream at the template tokens"
        )
    return kept, int((asked & null).sum())


def _by_layer(
    harmful: BlockMeans, harmless: BlockMeans, kept: NDArray[np.bool_], field: Field, twins: bool
) -> Iterator[tuple[int, Floats | None]]:
    """The spectrum of each layer's rows over positions, raw, at unit norm or without noise as the field is."""
    stack = directions.differences(harmful, harmless)
    for layer in range(stack.shape[1] - 1):
        here = kept & (np.arange(stack.shape[1]) == layer)
        if not here.any():
            yield layer, None
        elif field == "held_out":
            held = HeldOut(harmful, harmless, here, twins=twins)
            sides = (harmful,) if twins else (harmful, harmless)
            once = held.singular_values(*(np.ones((1, len(each.count))) for each in sides))[0]
            yield layer, once if np.isfinite(once).all() else None
        else:
            rows = stack[here]
            yield layer, spectrum.singular_values(spectrum.normalised(rows) if field == "normalised" else rows)


def _of_draws(draws: nulls.Draws, field: Field, kept: NDArray[np.bool_], size: float) -> Floats | None:
    """Spectra of draws, [R, k], with their sampling noise whatever the field: chance has no energy without it.

    A draw below 1e-4 of the field's own size is rounding and left out; None where fewer than 20 are more than that:
    prompts that do not differ have no null level.
    """
    found = []
    for rows in draws.fields(kept):
        alive = np.linalg.norm(rows, axis=(-2, -1)) > directions.NULL_RATIO * size
        if alive.any():
            found.append(spectrum.singular_values(_unit(rows[alive]) if field == "normalised" else rows[alive]))
    spectra = np.concatenate(found) if found else np.empty((0, 0))
    return spectra if len(spectra) >= nulls.LEAST_CONTRASTS else None


def _unit(rows: Floats) -> Floats:
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: Floats = np.divide(rows, size, where=size > 0, out=np.zeros_like(rows))
    return result


def _harmless(
    categories: tuple[BlockMeans, ...], field: Field, kept: NDArray[np.bool_], size: float
) -> tuple[Floats | None, float, str]:
    """(spectra, prompts a side, why there are none)."""
    try:
        draws = nulls.harmless_contrasts(categories)
        found = _of_draws(draws, field, kept, size)
    except NothingToMeasure as error:
        return None, 0.0, str(error)
    why = "" if found is not None else "the categories of harmless prompts do not differ"
    return found, float(np.median(draws.prompts)), why

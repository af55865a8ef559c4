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
from geoaudit.geometry.held_out import HeldOut, gram_singular_values
from geoaudit.stats.bootstrap import block_weights

Floats = NDArray[np.float64]
Field = Literal["paper", "normalised", "held_out", "layer"]

SEED = 20260427
RESAMPLES = 1000
HELD_OUT_RESAMPLES = 400
"""Each takes three products of matrices where the plain field takes one."""
DRAWS = 200
"""Of permuted labels."""
MATCHED = 51
"""Draws of the true contrast at the size of the harmless ones, of which the median is taken."""
ISOTROPIC = 5


@dataclass(frozen=True, eq=False)
class Spectra:
    """Singular values, one spectrum a row where there are several; NaN rows where a draw has none."""

    field: Field
    own: Floats
    """Of the field itself, [k]."""
    even: Floats
    """Of the same rows at unit norm, [k]."""
    held_out: Floats | None
    """Of the same rows without sampling noise, [m]; None where nothing rises above it."""
    replicates: Floats
    """Over the bootstrap, [R, k]."""
    by_layer: tuple[tuple[int, Floats | None], ...]
    """Of the rows of one layer alone; None for a layer without any."""
    permuted: Floats | None
    """Over permuted labels, [R, k]; None where prompts do not differ at all."""
    harmless: Floats | None
    """Over contrasts between categories of harmless prompts, [R, k]."""
    why_no_harmless: str
    matched: Floats
    """Of the true contrast made of as few prompts as the harmless ones, [R, k]; empty where there are none."""
    prompts_per_side: float
    """Of a harmless contrast, the median."""
    rows: int
    width: int
    dropped: int
    """Null rows left out."""
    noise: float
    """Sampling noise as a share of the energy."""
    by_norm: bool
    """Whether norms set the raw spectrum (validity check `rank-by-norm`)."""
    blocks: int


@lru_cache(maxsize=2)
def of(
    harmful: BlockMeans, harmless: BlockMeans, categories: tuple[BlockMeans, ...], field: Field, layer: int | None
) -> Spectra:
    """The spectra of one field. Kept for the last two, since several measures read the same.

    Args:
        harmful: blocks [B, P, L + 1, d] of harmful prompts.
        harmless: blocks of harmless prompts.
        categories: blocks of each category of harmless prompts.
        field: which.
        layer: for `layer`.

    Raises:
        NothingToMeasure: no row is left, or no energy above the sampling noise (`held_out`).
    """
    harmful, harmless = harmful.occupied(), harmless.occupied()
    stack = directions.differences(harmful, harmless)
    kept, dropped = _kept(stack, directions.activation_scale(harmful, harmless), layer)
    matrix = stack[kept]
    unit_rows = field == "normalised"
    held = HeldOut(harmful, harmless, kept)
    (gram,) = held.grams(*(np.ones((1, len(each.count))) for each in (harmful, harmless)))
    without_noise = gram_singular_values(gram)
    there = bool(np.isfinite(without_noise).all())
    if field == "held_out" and not there:
        raise NothingToMeasure(
            "no energy of the harmful−harmless field is left above the sampling noise: raise n_train, or the sets do "
            "not differ"
        )
    plain = spectrum.singular_values(matrix)
    even = spectrum.singular_values(spectrum.normalised(matrix))
    own = {"held_out": without_noise, "normalised": even}.get(field, plain)
    resamples = HELD_OUT_RESAMPLES if field == "held_out" else RESAMPLES
    weights = (
        block_weights(len(harmful.count), resamples, (SEED, 0)),
        block_weights(len(harmless.count), resamples, (SEED, 1)),
    )
    if field == "held_out":
        replicates = held.singular_values(*weights)
    else:
        replicates = spectrum.resampled_singular_values(harmful, harmless, *weights, kept, unit_rows=unit_rows)
    size = float(np.linalg.norm(matrix))
    noise = noise_share(harmful, harmless, kept, unit_rows)
    chance = _harmless(categories, field, kept, size)
    return Spectra(
        field=field,
        own=own,
        even=even,
        held_out=without_noise if there else None,
        replicates=replicates,
        by_layer=tuple(_by_layer(stack, kept, gram, field)),
        permuted=_of_draws(nulls.permuted(harmful, harmless, DRAWS, (SEED, 2)), field, kept, size),
        harmless=chance[0],
        why_no_harmless=chance[2],
        matched=_matched(harmful, harmless, chance[1], field, kept, size),
        prompts_per_side=chance[1],
        rows=int(matrix.shape[0]),
        width=int(matrix.shape[1]),
        dropped=dropped,
        noise=noise,
        by_norm=not unit_rows and spectrum.dominated_by_norm(matrix),
        blocks=len(harmful.count),
    )


def noise_share(one: BlockMeans, other: BlockMeans, kept: NDArray[np.bool_], unit_rows: bool) -> float:
    """Sampling noise in the squared norms of the kept rows, as a share of them; each row counts alike if normalised.

    The blocks' spread around their mean, over their number, is what a difference in means holds by chance.
    """
    noise = np.zeros(int(kept.sum()))
    for each in (one.occupied(), other.occupied()):
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
    stack: Floats, kept: NDArray[np.bool_], gram: Floats, field: Field
) -> Iterator[tuple[int, Floats | None]]:
    """The spectrum of each layer's rows over positions, raw, at unit norm or without noise as the field is."""
    of_row = np.nonzero(kept)[1]
    for layer in range(stack.shape[1] - 1):
        rows = stack[kept[:, layer], layer]
        if not len(rows):
            yield layer, None
        elif field == "held_out":
            own = of_row == layer
            found = gram_singular_values(gram[np.ix_(own, own)])
            yield layer, found if np.isfinite(found).all() else None
        else:
            yield layer, spectrum.singular_values(spectrum.normalised(rows) if field == "normalised" else rows)


def _of_draws(draws: nulls.Draws, field: Field, kept: NDArray[np.bool_], size: float) -> Floats | None:
    """Spectra of draws, [R, k]; None where not one has any.

    A draw below 1e-4 of the field's own size is rounding: prompts that do not differ have no null level.
    """
    real, spectra = [], []
    for rows in draws.fields(kept):
        alive = np.linalg.norm(rows, axis=(-2, -1)) > directions.NULL_RATIO * size
        real.append(alive)
        if field != "held_out":
            found = np.full((len(rows), min(rows.shape[1:])), np.nan)
            if alive.any():
                found[alive] = spectrum.singular_values(_unit(rows[alive]) if field == "normalised" else rows[alive])
            spectra.append(found)
    if not np.concatenate(real).any():
        return None
    if field == "held_out":
        values = HeldOut(draws.means, draws.means, kept).singular_values(draws.one, draws.other)
        return np.where(np.concatenate(real)[:, None], values, np.nan)
    return np.concatenate(spectra)


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


def _matched(
    harmful: BlockMeans, harmless: BlockMeans, prompts: float, field: Field, kept: NDArray[np.bool_], size: float
) -> Floats:
    if not prompts:
        return np.empty((0, 0))
    found = _of_draws(nulls.matched(harmful, harmless, prompts, MATCHED, (SEED, 3)), field, kept, size)
    return np.empty((0, 0)) if found is None else found

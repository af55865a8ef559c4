"""A direction at one site: how long it is, how firmly the prompts fix it, and how well it separates other prompts.

Two contrasts: harmful − harmless prompts (arXiv 2604.27019 Eq. 1; at `t_inst` arXiv 2507.11878), and the prompts that
the model refuses − those that it answers (arXiv 2606.16349 Eq. 5). The probe sets are made of twins, which are redrawn
together; the prompts that a model refuses and answers are redrawn independently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions, stability
from geoaudit.geometry.directions import BlockMeans
from geoaudit.geometry.stability import BlockProducts
from geoaudit.measures.direction_needs import T_INST, for_direction, for_separation
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CellMeans, ProbeMeans, Projected
from geoaudit.measures.table import get
from geoaudit.records import Flag, Measurement, PromptSet
from geoaudit.stats.bootstrap import basic_interval, block_weights
from geoaudit.stats.separation import auroc, auroc_interval, d_prime, d_prime_replicates

RESAMPLES = 1000
SEED = 20250711
LEAST_SIDE = 20
"""Prompts that a model must refuse, and answer, before the difference is called a direction of refusing."""
LARGEST_NOISE = 0.2
"""Share of the squared norm. In simulation the norm's interval covered in 89 to 99 % up to here and less beyond it, and
the direction of endless prompts lay within the upper end of the cone in 95 % or more up to a share of 0.25."""
CONTRASTS = {"harmful": "harmful − harmless", "refused": "refused − complied"}

Floats = NDArray[np.float64]


def direction_norm(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Euclidean norm of the difference in means, in activation units."""
    found = _read(parameters, evidence)
    estimate = float(found.norm[found.at])
    ends = stability.norm_interval(found.here, SEED, RESAMPLES)
    flags = (*found.null_flag(), *found.noise_flag())
    how = f"basic bootstrap over {found.drawn}, the noise in the norm taken off"
    return found.measured("direction_norm", estimate, ends, how, flags)


def direction_split_half(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Mean cosine of the directions from two random halves of the prompts, in [−1, 1]; 0 for noise."""
    found = _read(parameters, evidence)
    found.refuse_null()
    estimate = float(stability.split_half(found.here, SEED)[0, 0])
    ends = _around(estimate, stability.split_half_error(found.here, SEED), found.here, (-1.0, 1.0))
    flags = []
    if not ends[0] > 0:
        flags.append(Flag("chance-level", "note", "two halves of the prompts may agree no better than noise does"))
    return found.measured("direction_split_half", estimate, ends, f"jackknife over {found.drawn}", tuple(flags))


def direction_cone(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Angle within which 95 % of the directions from redrawn prompts lie around the direction, degrees in [0, 180]."""
    found = _read(parameters, evidence)
    found.refuse_null()
    estimate = float(stability.cone(found.here, SEED)[0, 0])
    ends = _around(estimate, stability.cone_error(found.here, SEED), found.here, (0.0, 180.0))
    return found.measured("direction_cone", estimate, ends, f"jackknife over {found.drawn}", found.noise_flag())


def direction_separation(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """AUROC or d′ of validation prompts on the train half's direction, which is held fixed."""
    found = _read(parameters, evidence)
    found.refuse_null()
    projected: Projected = evidence.of(for_separation(parameters)[-1])
    # None where there is nothing to separate, such as fewer than two prompts of a kind
    by_site = [
        (_statistic(auroc, *scores), _statistic(d_prime, *scores))
        for scores in (
            (projected.positive[index], projected.negative[index]) for index in np.ndindex(*found.norm.shape)
        )
    ]
    positive, negative = projected.positive[found.at], projected.negative[found.at]
    if parameters["statistic"] == "auroc":
        estimate = auroc(positive, negative)
        ends, how = auroc_interval(estimate, positive.size, negative.size), "Newcombe's method 5"
        chance = 0.5
    else:
        estimate = d_prime(positive, negative)
        weights = [block_weights(each.size, RESAMPLES, (SEED, i)) for i, each in enumerate((positive, negative))]
        ends = basic_interval(estimate, d_prime_replicates(positive, negative, *weights))
        how, chance = "basic bootstrap over prompts", 0.0
    flags = [*evidence.overlaps(scored=projected.prompts)]
    if ends[0] <= chance <= ends[1]:
        sentence = f"the interval holds {chance:g}: it may separate validation prompts no better than chance"
        flags.append(Flag("chance-level", "note", sentence))
    return found.measured(
        "direction_separation",
        estimate,
        ends,
        f"{how}, the direction held fixed",
        tuple(flags),
        by_site=by_site,
        n=positive.size + negative.size,
        inputs={each.name: each.sha256 for each in projected.prompts},
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Every site of one contrast, and the one in use. Arrays [1 + P, L]: `t_inst` first where it was read."""

    parameters: Mapping[str, Any]
    evidence: Evidence
    positions: tuple[int | str, ...]
    at: tuple[int, int]
    norm: Floats
    scale: Floats
    """Mean activation norm."""
    products: BlockProducts
    split: Floats
    cones: Floats
    n: int
    prompts: tuple[PromptSet, ...]
    drawn: str

    @property
    def here(self) -> BlockProducts:
        """The site in use."""
        return self.products.at(*self.at)

    @property
    def _null(self) -> str:
        """Why the site in use has no direction; empty where it has one."""
        norm, scale = float(self.norm[self.at]), float(self.scale[self.at])
        if np.isfinite(norm) and np.isfinite(scale) and norm > directions.NULL_RATIO * scale:
            return ""
        return (
            f"the difference has a norm of {norm:.3g} beside activations of {scale:.3g} at position "
            f"{self.positions[self.at[0]]}, layer {self.at[1]}: it is rounding noise and no direction"
        )

    def null_flag(self) -> tuple[Flag, ...]:
        """The check `null-direction`, where there is a number all the same."""
        return (Flag("null-direction", "stops", self._null),) if self._null else ()

    def refuse_null(self) -> None:
        """The check `null-direction`, where there is none."""
        if self._null:
            raise NothingToMeasure(f"null-direction: {self._null}")

    def noise_flag(self) -> tuple[Flag, ...]:
        """The check `noise-dominated`: the norm, and the cone around it, are those of noise."""
        share = float(stability.noise_share(self.here)[0, 0])
        if share <= LARGEST_NOISE or self._null:
            return ()
        sentence = (
            f"sampling noise holds {min(share, 1):.0%} of the squared norm: the value is not to be trusted, nor its "
            "interval (raise n_train)"
        )
        return (Flag("noise-dominated", "stops", sentence),)

    def measured(
        self,
        measure: str,
        estimate: float,
        ends: tuple[float, float],
        interval: str,
        flags: tuple[Flag, ...],
        *,
        by_site: list[tuple[float | None, float | None]] | None = None,
        n: int | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> Measurement:
        """A measurement with every site in its detail."""
        separation = by_site or [(None, None)] * self.norm.size
        return Measurement(
            measure=measure,
            checkpoint=self.evidence.checkpoint,
            parameters=self.evidence.described(self.parameters),
            unit=get(measure).unit,
            estimate=estimate,
            low=ends[0],
            high=ends[1],
            interval=interval,
            n=self.n if n is None else n,
            seed=SEED,
            inputs={**{each.name: each.sha256 for each in self.prompts}, **(inputs or {})},
            flags=(*flags, *self.evidence.overlaps(estimating=self.prompts)),
            detail={
                "contrast": CONTRASTS[self.parameters["contrast"]],
                "position": self.positions[self.at[0]],
                "layer": self.at[1],
                "n_train": self.n,
                "noise_share": _number(stability.noise_share(self.here)[0, 0]),
                "cone_degrees": _number(self.cones[self.at]),
                "by_site": [
                    {
                        "position": self.positions[position],
                        "layer": layer,
                        "norm": _number(self.norm[position, layer]),
                        "split_half_cosine": _number(self.split[position, layer]),
                        "auroc": _number(separation[index][0]),
                        "d_prime": _number(separation[index][1]),
                        "cone_degrees": _number(self.cones[position, layer]),
                    }
                    for index, (position, layer) in enumerate(np.ndindex(*self.norm.shape))
                ],
            },
        )


def _read(parameters: Mapping[str, Any], evidence: Evidence) -> _Found:
    means: ProbeMeans | CellMeans = evidence.of(for_direction(parameters)[0])
    twins = False
    if isinstance(means, ProbeMeans):
        sides = [(means.harmful, means.harmless)]
        if means.harmful_inst is not None and means.harmless_inst is not None:
            sides.insert(0, (means.harmful_inst, means.harmless_inst))
        twins = means.twins
    else:
        sides = [(_pooled(means, "refused"), _pooled(means, "complied"))]
    norm, scale, products, split, cones = _sites(tuple(sides), twins)
    post = range(-len(means.tokens), 0)
    positions: tuple[int | str, ...] = (T_INST, *post) if norm.shape[0] > len(post) else tuple(post)
    first = sides[0]
    blocks = [int((side.count > 0).sum()) for side in first]
    drawn = f"{blocks[0]} blocks of twin prompts" if twins else f"{blocks[0]} and {blocks[1]} blocks of prompts"
    return _Found(
        parameters=parameters,
        evidence=evidence,
        positions=positions,
        at=_at(parameters, positions, norm.shape[1]),
        norm=norm,
        scale=scale,
        products=products,
        split=split,
        cones=cones,
        n=sum(int(side.count.sum()) for side in first),
        prompts=means.prompts,
        drawn=drawn,
    )


@lru_cache(maxsize=2)
def _sites(
    sides: tuple[tuple[BlockMeans, BlockMeans], ...], twins: bool
) -> tuple[Floats, Floats, BlockProducts, Floats, Floats]:
    """Norm, activation norm, products, split-half cosine and cone at every site, without the last block's output."""
    parts = []
    for positive, negative in sides:
        one, other = (BlockMeans(each.count, each.mean[:, :, :-1]) for each in (positive, negative))
        products = stability.block_products(one, other, twins=twins)
        norm = directions.norms(directions.differences(one, other))
        parts.append((norm, directions.activation_scale(one, other), products))
    joined = BlockProducts(
        parts[0][2].count, parts[0][2].group, np.concatenate([products.product for _, _, products in parts])
    )
    norm, scale = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    split, cones = (
        np.where(norm > directions.NULL_RATIO * scale, each, np.nan)
        for each in (stability.split_half(joined, SEED), stability.cone(joined, SEED))
    )
    return norm, scale, joined, split, cones


def _pooled(cells: CellMeans, answer: str) -> BlockMeans:
    """The prompts that got one kind of answer, whatever was asked."""
    parts = [means for name, means in cells.cells.items() if name.endswith(answer) and means is not None]
    n = sum(int(means.count.sum()) for means in parts)
    if n < LEAST_SIDE:
        did = "refuses" if answer == "refused" else "answers"
        asked = sum(cells.n(name) for name in cells.cells)
        raise NothingToMeasure(
            f"the model {did} {n} of the {asked} prompts that it was sorted by; the direction refused − complied needs "
            f"{LEAST_SIDE} of each"
        )
    return BlockMeans(np.concatenate([each.count for each in parts]), np.concatenate([each.mean for each in parts]))


def _at(parameters: Mapping[str, Any], positions: tuple[int | str, ...], n_layers: int) -> tuple[int, int]:
    """Index of the site asked for.

    Raises:
        NothingToMeasure: it does not exist in this checkpoint.
    """
    position, layer = parameters["position"], parameters["layer"]
    if position not in positions:
        numbers = [each for each in positions if each != T_INST]
        known = f"{'t_inst, ' if T_INST in positions else ''}{numbers[0]} … −1"
        raise NothingToMeasure(f"there is no position {position} under this template; it has {known.replace('-', '−')}")
    if layer >= n_layers:
        raise NothingToMeasure(f"there is no layer {layer}; the checkpoint has layers 0 … {n_layers - 1}")
    return positions.index(position), layer


def _around(estimate: float, error: float, products: BlockProducts, bounds: tuple[float, float]) -> tuple[float, float]:
    """Estimate ± t · standard error, clipped to the statistic's range."""
    from scipy import stats

    if not (np.isfinite(estimate) and np.isfinite(error)):
        raise NothingToMeasure("a half of the prompts, or a redraw, gives no direction at all")
    reach = float(stats.t.ppf(0.975, min(blocks.size for blocks in products.groups) - 1)) * error
    return max(estimate - reach, bounds[0]), min(estimate + reach, bounds[1])


def _statistic(function: Any, positive: Floats, negative: Floats) -> float | None:
    try:
        return float(function(positive, negative))
    except NothingToMeasure:
        return None


def _number(value: Any) -> float | None:
    """Six digits; None for what there is not."""
    return None if value is None or not np.isfinite(value) else float(f"{float(value):.6g}")

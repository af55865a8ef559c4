"""What the harmfulness contrast H and the refusal contrast R are, in either form, and at which layers they are at home.

*identified*: the two main effects of the table of what was asked × what the model did, of the same four cells, so that
R holds nothing of what was asked. *paper* (arXiv 2606.16349 §3): H is harmful − harmless at the layer that validates
best, R the difference of refused and complied prompts *pooled*, at the site of the selected carrier. With δ the share
of harmful prompts among the refused less that among the complied, the pooled R is the identified one plus about δ·H.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures import carrier
from geoaudit.measures.carrier_selection import weights as validation_weights
from geoaudit.measures.coupling_levels import H, R, Sides, separation
from geoaudit.measures.coupling_needs import carrier_of, categories_of, cells_of, projections_of
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CELLS, CategoryMeans, CellMeans, ProbeMeans, Projected
from geoaudit.records import Flag
from geoaudit.stats.separation import auroc, d_prime_replicates

LEAST_CELL = 20
"""Prompts in each cell below which H and R are not told apart (design, validity 16)."""
SAME_CONTRAST = 0.9
"""δ from which the pooled R counts as H under another name: nine tenths of H are in it."""
IDENTIFIED = {"h": (0.5, 0.5, -0.5, -0.5), "r": (0.5, -0.5, 0.5, -0.5)}
"""Coefficients of the cells, in the order of `CELLS`."""


@dataclass(frozen=True, eq=False)
class Source:
    """Both contrasts of one checkpoint, and all that does not hang on what is measured of them."""

    sides: Sides
    categories: tuple[BlockMeans, ...]
    h_layer: int
    r_layer: int
    drawn_gaps: NDArray[np.float64]
    """[R'] |h_layer − r_layer| when both are chosen again; NaN where a resample has no carrier."""
    how_layers: str
    counts: Mapping[str, int]
    """Cell -> prompts."""
    mixed: float | None
    """δ, in [−1, 1]; None where no prompt is refused, or none answered."""
    n: int
    inputs: Mapping[str, str]
    flags: tuple[Flag, ...]


def find(parameters: Mapping[str, Any], evidence: Evidence) -> Source:
    """Both contrasts in the form that is asked for.

    Raises:
        NothingToMeasure: a cell that the form needs is empty, or the papers' form has no carrier.
    """
    cells: CellMeans = evidence.of(cells_of(parameters))
    categories: CategoryMeans = evidence.of(categories_of(parameters))
    counts = {name: cells.n(name) for name in CELLS}
    flags = (*_small(counts), *evidence.overlaps(estimating=cells.prompts))
    kinds = tuple(_joined(*pair) for pair in zip(categories.means_inst, categories.means, strict=True))
    form = _identified if parameters["form"] == "identified" else _paper
    return form(parameters, evidence, cells, kinds, counts, flags)


def _identified(
    parameters: Mapping[str, Any],
    evidence: Evidence,
    cells: CellMeans,
    categories: tuple[BlockMeans, ...],
    counts: Mapping[str, int],
    flags: tuple[Flag, ...],
) -> Source:
    missing = [name for name, means in cells.cells.items() if means is None or (means.count > 0).sum() < 2]
    if missing:
        sentences = "; ".join(f"{flag.name}: {flag.sentence}" for flag in flags if flag.effect == "stops")
        raise NothingToMeasure(sentences, {"form": "identified", "cells": dict(counts)})
    tokens = len(cells.tokens)
    sides = Sides(
        cells=tuple(means for name in CELLS if (means := cells.cells[name]) is not None),
        h=IDENTIFIED["h"],
        r=IDENTIFIED["r"],
        h_position=_index("h_position", parameters["h_position"], tokens),
        r_position=_index("r_position", parameters["r_position"], tokens),
        k=parameters["k"],
    )
    of_h, of_r = separation(sides, H), separation(sides, R)
    return Source(
        sides=sides,
        categories=categories,
        h_layer=of_h.best,
        r_layer=of_r.best,
        drawn_gaps=np.abs(of_h.drawn_best - of_r.drawn_best).astype(np.float64),
        how_layers="layers of best held-out separation (d′)",
        counts=counts,
        mixed=mixed(counts),
        n=sum(counts.values()),
        inputs=cells.inputs,
        flags=flags,
    )


def _paper(
    parameters: Mapping[str, Any],
    evidence: Evidence,
    cells: CellMeans,
    categories: tuple[BlockMeans, ...],
    counts: Mapping[str, int],
    flags: tuple[Flag, ...],
) -> Source:
    probe: ProbeMeans = evidence.of(projections_of(parameters).probe)
    projected: Projected = evidence.of(projections_of(parameters))
    found = carrier.find(carrier_of(parameters), evidence)
    tokens = len(cells.tokens)
    assert probe.harmful_inst is not None
    assert probe.harmless_inst is not None
    asked = _joined(probe.harmful_inst, probe.harmful), _joined(probe.harmless_inst, probe.harmless)
    same = parameters["contrast"] == "harmful"
    sides = Sides(
        cells=asked if same else (*asked, *(_pooled(cells, answer) for answer in ("refused", "complied"))),
        h=(1.0, -1.0) if same else (1.0, -1.0, 0.0, 0.0),
        r=(1.0, -1.0) if same else (0.0, 0.0, 1.0, -1.0),
        h_position=_index("h_position", parameters["h_position"], tokens),
        r_position=_index("r_position", found.used.position, tokens),
        k=parameters["k"],
    )
    share = mixed(counts)
    if same:
        flags = (*flags, _same("both are harmful − harmless (`contrast: harmful`)"))
    elif share is not None and share >= SAME_CONTRAST:
        flags = (*flags, _same(f"the refused prompts are the harmful ones: R holds {share:.0%} of H"))
    validated = Validated(projected, sides.h_position, sides.n_layers)
    drawn = validated.drawn_best(*validation_weights(found.table))
    gaps = np.abs(drawn - found.chosen.places(found.direction)[1])
    return Source(
        sides=sides,
        categories=categories,
        h_layer=validated.best,
        r_layer=found.used.layer,
        drawn_gaps=gaps,
        how_layers="H: highest held-out AUROC; R: the carrier",
        counts=counts,
        mixed=share,
        n=sum(counts.values()),
        inputs={**found.table.inputs, **cells.inputs},
        flags=(*flags, *(flag for flag in found.flags if flag.name != "train-eval-overlap" or flag.effect == "stops")),
    )


class Validated:
    """At which layer the harmful − harmless direction separates validation prompts best.

    The highest AUROC (ties count half); of equal ones the largest d′; of equal ones the lowest layer. A perfect AUROC
    at many layers is the rule, so that d′ often decides.
    """

    def __init__(self, projected: Projected, position: int, n_layers: int) -> None:
        positive, negative = (each[position, :n_layers] for each in (projected.positive, projected.negative))
        self.live = np.flatnonzero(np.isfinite(positive).all(axis=1) & np.isfinite(negative).all(axis=1))
        if not self.live.size:
            raise NothingToMeasure("harmful and harmless prompts have the same activations at this position")
        self.positive, self.negative = positive[self.live], negative[self.live]

    @property
    def best(self) -> int:
        """The layer, on all validation prompts."""
        ones = [np.ones((1, each.shape[1]), dtype=np.int64) for each in (self.positive, self.negative)]
        return int(self.drawn_best(*ones)[0])

    def drawn_best(self, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same on redrawn prompts, [R], from how often each is drawn: [R, n⁺] and [R, n⁻]."""
        d_primes, areas = [], []
        for above, below in zip(self.positive, self.negative, strict=True):
            # without any spread a gap is as large as it can be
            d_primes.append(np.nan_to_num(d_prime_replicates(above, below, positive, negative), nan=np.inf))
            areas.append(
                [
                    auroc(np.repeat(above, one), np.repeat(below, other))
                    for one, other in zip(positive, negative, strict=True)
                ]
            )
        # lexsort is stable: of equal layers the lowest stays first
        first = np.lexsort((-np.array(d_primes), -np.array(areas)), axis=0)[0]
        best: NDArray[np.float64] = self.live[first].astype(np.float64)
        return best


def mixed(counts: Mapping[str, int]) -> float | None:
    """δ: the share of harmful prompts among the refused less that among the complied."""
    shares = []
    for answer in ("refused", "complied"):
        harmful, harmless = counts[f"harmful_{answer}"], counts[f"harmless_{answer}"]
        if not harmful + harmless:
            return None
        shares.append(harmful / (harmful + harmless))
    return shares[0] - shares[1]


def _small(counts: Mapping[str, int]) -> list[Flag]:
    """The check `unidentified-coupling`."""
    small = {name: n for name, n in counts.items() if n < LEAST_CELL}
    if not small:
        return []
    listed = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in small.items())
    return [
        Flag(
            "unidentified-coupling",
            "stops",
            f"{listed} (at least {LEAST_CELL} prompts are needed in each cell): what refusing adds cannot be told from "
            "what harmful prompts add, so there is no coupling to speak of",
        )
    ]


def _same(why: str) -> Flag:
    return Flag("same-contrast", "stops", f"{why}: H and R are one contrast, whose coupling with itself says nothing")


def _index(name: str, position: int | Literal["t_inst"], tokens: int) -> int:
    """The index on the axis 1 + P of a position: 0 for `t_inst`, then −P … −1."""
    if position == "t_inst":
        return 0
    if position < -tokens:
        raise RequestError(f"{name} is {position}, but the template has {tokens} post-instruction tokens")
    return 1 + tokens + position


def _pooled(cells: CellMeans, answer: str) -> BlockMeans:
    """All prompts with one kind of answer, harmful or not, block by block.

    Raises:
        NothingToMeasure: no such prompt.
    """
    there = [means for kind in ("harmful", "harmless") if (means := cells.cells[f"{kind}_{answer}"]) is not None]
    if not there:
        raise NothingToMeasure(f"no prompt is {answer}: there is no contrast of refused and complied prompts")
    return _merged(tuple(there))


@lru_cache(maxsize=8)
def _merged(cells: tuple[BlockMeans, ...]) -> BlockMeans:
    """Block b of the result holds the prompts of block b of each cell; kept, as `_joined` is."""
    count = np.sum([each.count for each in cells], axis=0)
    total = np.zeros(cells[0].mean.shape)
    for each in cells:
        held = each.count > 0  # what stands in an empty block is no number
        total[held] += each.count[held, None, None, None] * each.mean[held]
    return BlockMeans(count, (total / np.maximum(count, 1)[:, None, None, None]).astype(np.float32))


@lru_cache(maxsize=32)
def _joined(inst: BlockMeans, post: BlockMeans) -> BlockMeans:
    """Means with `t_inst` before the post-instruction positions; kept, so that a survey of them is found again."""
    return BlockMeans(post.count, np.concatenate([inst.mean, post.mean], axis=1))

"""Drift: how far the subspace of harmful−harmless differences has turned since another checkpoint of the run.

The subspace is that of the top-k right singular vectors of the stacked differences in means at all post-instruction
positions and layers (arXiv 2604.27019 §3), at the sites where neither checkpoint's difference is null. Both are read on
the same prompts and resampled together, so that what redrawing prompts does to both alike is no drift.

The value is that of the estimated subspaces, as the paper has it, and holds their sampling noise. The interval is that
of the true ones (`geometry.turning`), made to reach to the value.

Weak axes turn most: beside a single angle stand the energies along the axes, the angle weighted by them, and the
distance of the projectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions, nulls, subspaces
from geoaudit.geometry.crossfit import Sampled, contrast
from geoaudit.geometry.directions import BlockMeans
from geoaudit.geometry.subspaces import TopSubspace
from geoaudit.geometry.turning import turning
from geoaudit.measures.drift_intervals import Ends, Freed
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.pairs import paired
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import block_weights

RESAMPLES = 400
SEED = 20260517
NULL_DRAWS = 100
ANGLES = ("first", "second", "third")
CLAIMS_LIKENESS = ("at_most", "between", "equals")
"""Bounds on a distance that say that two subspaces are alike: more than chance has to show that."""
SAME = 1e-6
"""Degrees, or distance, below which two subspaces are one up to rounding, whatever chance gives."""

Floats = NDArray[np.float64]
Statistic = Callable[[TopSubspace, TopSubspace], Floats]
"""A number for each pair of subspaces, over their leading axes."""
Free = Callable[[Freed], tuple[float, Ends]]
"""The same number without sampling noise, and its ends."""
Sides = tuple[BlockMeans, BlockMeans]
"""Harmful and harmless prompts of one checkpoint."""


def principal_angle(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """One of the k principal angles, from the smallest (`first`) on, or the largest; degrees in [0, 90]."""
    which, k = parameters["which"], parameters["k"]
    at = k - 1 if which == "largest" else ANGLES.index(which)
    if at >= k:
        raise NothingToMeasure(f"two subspaces of {k} dimensions have no {which} principal angle: raise k")

    def angle(here: TopSubspace, there: TopSubspace) -> Floats:
        found: Floats = np.degrees(subspaces.principal_angles(here.basis, there.basis)[..., at])
        return found

    def free(found: Freed) -> tuple[float, Ends]:
        return float(found.angles[at]), found.ends(at)

    return _measure("principal_angle", angle, free, parameters, evidence)


def energy_weighted_angle(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """The principal angles, each weighted by the energy along its vectors; degrees in [0, 90]."""
    return _measure(
        "energy_weighted_angle", _weighted, lambda found: (found.weighted, found.weighted_ends()), parameters, evidence
    )


def projector_distance(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """‖P − Q‖_F / sqrt(2k) of the two projectors, in [0, 1]."""
    return _measure(
        "projector_distance", _distance, lambda found: (found.distance, found.distance_ends()), parameters, evidence
    )


def _weighted(here: TopSubspace, there: TopSubspace) -> Floats:
    found: Floats = np.degrees(subspaces.energy_weighted_angle(here, there))
    return found


def _distance(here: TopSubspace, there: TopSubspace) -> Floats:
    return subspaces.projector_distance(here.basis, there.basis)


@dataclass(frozen=True, eq=False)
class Turned:
    """The two subspaces (here, there), without sampling noise, and what unrelated contrasts give."""

    own: tuple[TopSubspace, TopSubspace]
    freed: Freed | None
    why_not: str
    """Why there is nothing without sampling noise."""
    null: tuple[TopSubspace, TopSubspace] | None
    """[N, k, d]: labels permuted, on their own in each checkpoint; None where prompts of a kind do not differ."""
    sites: int
    blocks: int


def _measure(
    measure: str, statistic: Statistic, free: Free, parameters: Mapping[str, Any], evidence: Evidence
) -> Measurement:
    pair = paired(parameters, evidence)
    here, there = pair.means
    found = turned(here.harmful, here.harmless, there.harmful, there.harmless, parameters["k"])
    estimate = float(statistic(*found.own))
    flags = list(pair.flags)
    value, ends, how = None, None, f"none: {found.why_not}"
    if found.freed is None:
        flags.append(Flag("noise-dominated", "stops", found.why_not))
    else:
        value, (low, high) = free(found.freed)
        how = f"bootstrap over {found.blocks} blocks of prompts, the same in both checkpoints, without sampling noise"
        if not low <= estimate <= high:
            how += ", widened to the value"
        ends = min(low, estimate), max(high, estimate)
    level = None if found.null is None else nulls.level(statistic(*found.null))
    within = level is not None and estimate >= level.low and estimate > SAME
    if level is not None and within:
        sentence = (
            f"{estimate:.3g} is no less than what unrelated contrasts of the two checkpoints give (labels permuted in "
            f"each: {level.low:.3g} to {level.high:.3g}): they are no more alike than chance makes them"
        )
        flags.append(Flag("chance-level", "note", sentence))
    return pair.measured(
        measure,
        estimate,
        ends,
        how,
        n=2 * here.n,
        seed=SEED,
        inputs=here.inputs,
        flags=flags,
        detail={
            **_shared_detail(found),
            "k": parameters["k"],
            "held_out": {"estimate": None if value is None else rounded(value)},
            "null": {"permuted": level_shown(level)},
            "chance": {"stops": list(CLAIMS_LIKENESS) if within else []},
        },
    )


def _shared_detail(found: Turned) -> dict[str, Any]:
    here, there = found.own
    return {
        "angles_degrees": [rounded(x) for x in np.degrees(subspaces.principal_angles(here.basis, there.basis))],
        "energies_here": [rounded(x) for x in here.shares],
        "energies_there": [rounded(x) for x in there.shares],
        "energy_weighted_angle": rounded(_weighted(here, there)),
        "projector_distance": rounded(_distance(here, there)),
        "sites": found.sites,
    }


@lru_cache(maxsize=2)
def turned(
    harmful: BlockMeans, harmless: BlockMeans, harmful_there: BlockMeans, harmless_there: BlockMeans, k: int
) -> Turned:
    """The top-k subspaces of two checkpoints, at the sites that both have.

    Args:
        harmful: block means of the harmful prompts in this checkpoint, [B, P, L + 1, d]; its last row is no block's
            input and left out.
        harmless: of the harmless prompts.
        harmful_there: of the same harmful prompts in the other checkpoint.
        harmless_there: of the same harmless prompts.
        k: dimensions.

    Raises:
        NothingToMeasure: no site that both have, or fewer than k dimensions.
    """
    both = ((harmful.occupied(), harmless.occupied()), (harmful_there.occupied(), harmless_there.occupied()))
    fields = [directions.differences(*each) for each in both]
    kept = np.ones(fields[0].shape[:2], dtype=bool)
    for field, each in zip(fields, both, strict=True):
        kept &= ~directions.null_rows(field, directions.activation_scale(*each))
    kept[:, -1] = False
    if not kept.any():
        raise NothingToMeasure("there is no site at which both checkpoints have a harmful−harmless difference")
    freed, why_not = _freed(both, kept, k)
    return Turned(
        own=_two(subspaces.top_subspace(field[kept], k) for field in fields),
        freed=freed,
        why_not=why_not,
        null=_unrelated(both, kept, k),
        sites=int(kept.sum()),
        blocks=both[0][0].count.size,
    )


def _freed(both: tuple[Sides, Sides], kept: NDArray[np.bool_], k: int) -> tuple[Freed | None, str]:
    """Angles without sampling noise, or why there are none: the same redrawn blocks in both classes and checkpoints."""
    blocks = both[0][0].count.size
    try:
        here, there = (_sampled(sides, kept) for sides in both)
        return Freed.of(turning(here, there, block_weights(blocks, RESAMPLES, SEED), k)), ""
    except NothingToMeasure as error:
        return None, str(error)


def _sampled(sides: Sides, kept: NDArray[np.bool_]) -> Sampled:
    """The differences in means at the kept sites, [m, d], with what each block has to do with them."""
    rows = [BlockMeans(each.count, each.mean[:, kept][:, :, None]) for each in sides]
    return contrast(rows, (1.0, -1.0), range(int(kept.sum())), 0)


def _two(found: Any) -> tuple[TopSubspace, TopSubspace]:
    here, there = found
    return here, there


def _unrelated(both: tuple[Sides, Sides], kept: NDArray[np.bool_], k: int) -> tuple[TopSubspace, TopSubspace] | None:
    """Subspaces of differences whose labels mean nothing, drawn on their own in each checkpoint."""

    def subspace(sides: Sides, stream: int) -> TopSubspace:
        drawn = nulls.permuted(*sides, NULL_DRAWS, (SEED, stream))
        found = [subspaces.top_subspace(fields, k) for fields in drawn.fields(kept)]
        return TopSubspace(
            np.concatenate([each.basis for each in found]), np.concatenate([each.shares for each in found])
        )

    try:
        return _two(subspace(sides, 2 + index) for index, sides in enumerate(both))
    except NothingToMeasure:  # no spread among prompts of a kind, or fewer than k dimensions of it
        return None


def level_shown(level: nulls.Level | None) -> dict[str, Any] | None:
    """A null level as the record keeps it."""
    if level is None:
        return None
    return {"n": level.n, **{name: rounded(getattr(level, name)) for name in ("low", "median", "high")}}


def rounded(value: Any) -> float:
    """Six digits."""
    return float(f"{float(value):.6g}")

"""The controls of an intervention: the kind that decides whether an effect is one, and what is shown beside it.

Directions come out of the spread of activations at the target's site, or are contrasts between categories of harmless
prompts; *norm-matched* ones change each token by as much as the target does, *random* ones are isotropic. All are
orthogonal to the target. `geometry.controls` draws them; doses are for whoever applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.effects import Edited
from geoaudit.carriers.field import Field
from geoaudit.carriers.select import Row
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.controls import category_contrasts, covariance_matched, random_frames
from geoaudit.geometry.directions import norms
from geoaudit.measures.fulfilled import CategoryMeans
from geoaudit.measures.intervention_targets import Target
from geoaudit.measures.needs import Intervention

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench

Floats = NDArray[np.float64]

SHOWN = 8
"""Controls of each kind that does not decide."""
ELSEWHERE = 4
"""Other layers, and other positions, in the specificity profile, at most."""
SEED = 20260617


@dataclass(frozen=True, eq=False)
class Controls:
    """What stands beside a target."""

    decides: str
    """The kind that gates: `kl_matched`, or for an outcome that is the KL itself `norm_matched` or `random`."""
    edits: Edited
    """Of that kind."""
    doses: Floats | None
    """Of those edits; None: to be matched on KL."""
    beside: Mapping[str, tuple[Edited, Floats]]
    """Kind -> further controls, at doses that are given."""


def controls_of(bench: Bench, need: Intervention, target: Target, field: Field, place: Row) -> Controls:
    """The controls of a need, of the same operator and scope as its target.

    Raises:
        NothingToMeasure: the kind that decides cannot be drawn (check `uncontrolled`): too few categories, or too few
            dimensions beside the target.
    """
    k = len(target.rows) if need.operator == "ablate" else 1
    of_random, of_spread = (need.n_controls, SHOWN) if need.controls == "random" else (SHOWN, need.n_controls)
    try:
        random = random_frames(target.vector.size, target.rows, n=of_random, k=k, seed=SEED + 1)
        spread = _spread(bench, need, target, of_spread, k)
    except NothingToMeasure as error:
        raise NothingToMeasure(f"uncontrolled: {error}; no effect is shown without controls") from error
    given = {
        kind: (edited(need, target, scaled(need, target, frames)), np.full(len(frames), need.dose))
        for kind, frames in {"random": random, **_elsewhere(need, field, place)}.items()
    }
    if need.operator == "ablate" and len(target.rows) == 1 and abs(need.dose) == 1:
        as_far = spread if need.controls == "norm_matched" else spread[:SHOWN]
        given["norm_matched"] = _norm_matched(need, target, as_far)
    if need.controls in given:
        edits, doses = given.pop(need.controls)
        return Controls(need.controls, edits, doses, given)
    return Controls("kl_matched", edited(need, target, scaled(need, target, spread)), None, given)


def scaled(need: Intervention, target: Target, frames: Floats) -> Floats:
    """Frames as the operator takes them: orthonormal, or at the norm of the target's vector."""
    return frames if need.operator == "ablate" else frames * float(np.linalg.norm(target.vector))


def edited(need: Intervention, target: Target, frames: Floats) -> Edited:
    """Frames [C, k, d] as edits, where the need says."""
    single = need.scope == "single_layer" or need.operator == "add"
    layer = target.layer if single else None
    return Edited(need.operator, frames, layer, need.scope == "every_site_but_first_token")


def _spread(bench: Bench, need: Intervention, target: Target, n: int, k: int) -> Floats:
    """[n, k, d] out of how activations vary at the target's site."""
    if need.controls != "categories":
        return covariance_matched(target.sides, target.index, target.layer, target.rows, n=n, k=k, seed=SEED)
    means: CategoryMeans = bench.fulfil(need.categories)
    sides = means.means_inst if target.position is None else means.means
    return category_contrasts(sides, target.index, target.layer, target.rows, n=n, k=k, seed=SEED)


def _norm_matched(need: Intervention, target: Target, frames: Floats) -> tuple[Edited, Floats]:
    """Controls that change each token by as much as the ablation does, but token 0, which holds nearly all the norm."""
    signs = np.where(np.arange(len(frames)) % 2 == 0, 1.0, -1.0)
    layer = target.layer if need.scope == "single_layer" else None
    return Edited("redirect", frames, layer, True, target.rows[0]), signs


def _elsewhere(need: Intervention, field: Field, place: Row) -> Mapping[str, Floats]:
    """For R a profile of the same direction at other layers and positions: kind -> unit frames [C, 1, d]."""
    if need.target != "R":
        return {}
    found = {}
    n_layers = field.directions.shape[1] - 1
    layers = [layer for layer in range(n_layers) if layer != place.layer and not field.null[place.position, layer]]
    some = [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, ELSEWHERE).astype(int))] if layers else []
    positions = [p for p in range(-len(field.directions), 0) if p != place.position and not field.null[p, place.layer]][
        -ELSEWHERE:
    ]
    for kind, sites in (
        ("wrong_layer", [(place.position, layer) for layer in some]),
        ("wrong_position", [(position, place.layer) for position in positions]),
    ):
        if sites:
            vectors = np.stack([field.directions[site] for site in sites]).astype(np.float64)
            found[kind] = (vectors / norms(vectors)[:, None])[:, None]
    return found

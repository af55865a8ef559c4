"""An intervention on a checkpoint: what its target is, which controls it has, and what all of them do.

Functions of a bench and a need; every row goes through the bench's store.

R is the direction in use: difference in means at the carrier's position and layer. H is the difference of harmful and
harmless prompts at `t_inst` (Zhao et al. 2025), at the layer where it separates validation prompts best. Each is edited
at its own layer; what is made of both, at that of R, and `H_perp_R` at that of H (arXiv 2606.16349 §3, Eqs. 13–15).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.effects import Asked, Edited, Effects, effects
from geoaudit.carriers.scorer import Field, Scorer
from geoaudit.carriers.select import Row
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.controls import covariance_matched, random_frames
from geoaudit.geometry.coupling import orthogonalised
from geoaudit.geometry.directions import BlockMeans, differences, norms, null_rows
from geoaudit.geometry.directions import activation_scale as scale_of
from geoaudit.geometry.subspaces import top_subspace
from geoaudit.measures.activations import chat_of, contrasted
from geoaudit.measures.coupling_sources import Validated
from geoaudit.measures.fulfilled import ProbeMeans
from geoaudit.measures.needs import Intervention
from geoaudit.measures.searching import in_use, scorer_of_search
from geoaudit.records import digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench

Floats = NDArray[np.float64]

MATCHED_ON = 8
"""Harmless validation prompts on which KL is measured and doses are matched, at most."""
RANDOM = 8
"""Isotropic random controls that are shown beside the KL-matched ones."""
ELSEWHERE = 4
"""Other layers, and other positions, in the specificity profile, at most."""
SEED = 20260617


@dataclass(frozen=True, eq=False)
class Target:
    """What is edited into the model, and where it comes from."""

    rows: Floats
    """[k, d] orthonormal: what ablation takes out."""
    vector: Floats
    """[d] at its raw norm: what addition adds at dose 1."""
    layer: int
    position: int | None
    """Offset from the end of the prompt; None: `t_inst`."""
    sides: tuple[BlockMeans, BlockMeans]
    """Where controls are drawn from: [B, P, L + 1, d]."""

    @property
    def index(self) -> int:
        """Of the position on the axis P of `sides`."""
        return 0 if self.position is None else self.position


def intervention(bench: Bench, need: Intervention) -> Effects:
    """What the target of a need and its controls do."""
    scorer = scorer_of_search(bench, need.search)
    place = in_use(bench.fulfil(need.search), need.selecting, need.direction)
    target = target_of(bench, need, scorer, place)
    edit = _edited(need, target, target.rows[None] if need.operator == "ablate" else target.vector[None, None])
    drawn = covariance_matched(
        target.sides, target.index, target.layer, target.rows, n=need.n_controls, k=_k(need, target), seed=SEED
    )
    matched = _edited(need, target, _frames(need, target, drawn))
    beside = {
        kind: (_edited(need, target, frames), np.full(len(frames), need.dose))
        for kind, frames in _beside(need, target, scorer.field, place).items()
    }
    if need.operator == "ablate" and len(target.rows) == 1:
        beside["norm_matched"] = _norm_matched(need, target, drawn[:RANDOM])
    prompts = bench.prompts(need.source).first(need.n)
    chat = chat_of(bench, need.search.probe.chat)
    scored = [chat.render(prompt.text) for prompt in prompts.prompts]
    few = list(scorer.harmless[:MATCHED_ON])
    inputs = {prompts.name: prompts.sha256}
    frames = [each.frames for each in (edit, matched, *(other for other, _ in beside.values()))]
    key = bench.key(
        "intervention",
        scorer.context,
        [[list(one.ids) for one in asked_of] for asked_of in (few, scored)],
        [need.operator, need.scope, need.dose, target.layer],
        [[kind, doses.tolist()] for kind, (_, doses) in beside.items()],
        [digest(each.astype("f4").tobytes().hex()) for each in frames],
    )
    stored = bench.get_arrays(key)
    if stored is None:
        from geoaudit.carriers.passes import Passes
        from geoaudit.carriers.scores import Base

        passes = Passes(bench.loaded, [*few, *scored], scorer.field.low_layers)
        asked = Asked(passes, Base(passes.plain.logits[0, : len(few)]), len(few), scorer.refusal_ids)
        stored = effects(asked, edit, need.dose, matched, beside)
        bench.put_arrays(key, stored)
    return Effects.of_arrays(stored, target.layer, target.position, inputs)


def target_of(bench: Bench, need: Intervention, scorer: Scorer, place: Row) -> Target:
    """The vectors behind a target's name.

    Raises:
        NothingToMeasure: H cannot be read, or nothing is left of a direction without the other.
    """
    sides = contrasted(bench, need.search.probe, need.search.contrast)
    r = scorer.direction(place).astype(np.float64)
    if need.target == "R":
        return _target(r[None], r, place.layer, place.position, sides)
    if need.target == "subspace":
        field = scorer.field
        rows = field.directions[:, place.layer][~field.null[:, place.layer]]
        basis = top_subspace(rows, min(need.k, int(np.linalg.matrix_rank(rows, tol=1e-6 * norms(rows).max())))).basis
        return _target(basis, r, place.layer, place.position, sides)
    h, h_layer, of_h = harmfulness(bench, need)
    if need.target == "H":
        return _target(h[None], h, h_layer, None, of_h)
    if need.target == "H+R":
        return _target(np.stack([r, h]), r + h, place.layer, place.position, sides)
    if need.target == "H_perp_R":
        vector = _without(h, r)
        return _target(vector[None], vector, h_layer, None, of_h)
    vector = _without(r, h)
    return _target(vector[None], vector, place.layer, place.position, sides)


def _without(direction: Floats, other: Floats) -> Floats:
    """What is left of a direction at its raw norm."""
    left = orthogonalised(direction, other)
    vector: Floats = left.direction * left.norm * np.linalg.norm(direction)
    return vector


def harmfulness(bench: Bench, need: Intervention) -> tuple[Floats, int, tuple[BlockMeans, BlockMeans]]:
    """H [d] at its raw norm, its layer, and the block means at `t_inst` that it is the difference of."""
    means: ProbeMeans = bench.fulfil(need.search.probe)
    if means.harmful_inst is None or means.harmless_inst is None:
        raise NothingToMeasure("no activations at t_inst, where H is read")
    sides = means.harmful_inst, means.harmless_inst
    n_layers = means.harmful.mean.shape[2] - 1
    layer = Validated(bench.fulfil(need.projections), 0, n_layers).best
    field = differences(*sides)
    if null_rows(field, scale_of(*sides))[0, layer]:
        raise NothingToMeasure(f"harmful and harmless prompts do not differ at t_inst, layer {layer}")
    return field[0, layer].astype(np.float64), layer, sides


def _target(
    rows: Floats, vector: Floats, layer: int, position: int | None, sides: tuple[BlockMeans, BlockMeans]
) -> Target:
    basis = np.linalg.svd(rows / norms(rows)[:, None], full_matrices=False)
    if basis.S[-1] < 1e-6:
        raise NothingToMeasure("the directions of the target are one and the same: nothing is left to tell apart")
    return Target(basis.Vh, vector, layer, position, sides)


def _k(need: Intervention, target: Target) -> int:
    return len(target.rows) if need.operator == "ablate" else 1


def _frames(need: Intervention, target: Target, frames: Floats) -> Floats:
    """Frames as the operator takes them: orthonormal, or at the norm of the target's vector."""
    return frames if need.operator == "ablate" else frames * float(np.linalg.norm(target.vector))


def _edited(need: Intervention, target: Target, frames: Floats) -> Edited:
    single = need.scope == "single_layer" or need.operator == "add"
    layer = target.layer if single else None
    return Edited(need.operator, frames, layer, need.scope == "every_site_but_first_token")


def _norm_matched(need: Intervention, target: Target, frames: Floats) -> tuple[Edited, Floats]:
    """Controls that change each token by as much as the ablation does, but token 0, which holds nearly all the norm."""
    signs = np.where(np.arange(len(frames)) % 2 == 0, 1.0, -1.0)
    layer = target.layer if need.scope == "single_layer" else None
    return Edited("redirect", frames, layer, True, target.rows[0]), signs


def _beside(need: Intervention, target: Target, field: Field, place: Row) -> Mapping[str, Floats]:
    """Random directions, and for R a profile of directions from elsewhere, all edited where the target is."""
    width = target.vector.size
    drawn = random_frames(width, target.rows, n=RANDOM, k=_k(need, target), seed=SEED + 1)
    found = {"random": _frames(need, target, drawn)}
    if need.target != "R":
        return found
    n_layers = field.directions.shape[1] - 1
    layers = [layer for layer in range(n_layers) if layer != place.layer and not field.null[place.position, layer]]
    spread = [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, ELSEWHERE).astype(int))] if layers else []
    positions = [p for p in range(-len(field.directions), 0) if p != place.position and not field.null[p, place.layer]][
        -ELSEWHERE:
    ]
    for kind, sites in (
        ("wrong_layer", [(place.position, layer) for layer in spread]),
        ("wrong_position", [(position, place.layer) for position in positions]),
    ):
        if sites:
            vectors = np.stack([field.directions[site] for site in sites]).astype(np.float64)
            found[kind] = _frames(need, target, (vectors / norms(vectors)[:, None])[:, None])
    return found

"""The vectors behind the name of an intervention's target.

R is the direction in use: difference in means at the carrier's position and layer. H is the difference of harmful and
harmless prompts at `t_inst` (Zhao et al. 2025), at the layer where it separates validation prompts best. Each is edited
at its own layer; what is made of both, at that of R, and `H_perp_R` at that of H (arXiv 2606.16349 §3, Eqs. 13–15). A
stored direction is what a file of the user's holds; R then only says where, if the user does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.scorer import Scorer
from geoaudit.carriers.select import Row
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.coupling import orthogonalised
from geoaudit.geometry.directions import BlockMeans, differences, norms, null_rows
from geoaudit.geometry.directions import activation_scale as scale_of
from geoaudit.geometry.subspaces import top_subspace
from geoaudit.measures.activations import contrasted
from geoaudit.measures.coupling_sources import Validated
from geoaudit.measures.fulfilled import ProbeMeans
from geoaudit.measures.inputs import File
from geoaudit.measures.needs import Intervention
from geoaudit.measures.stored_direction import rows_of

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench

Floats = NDArray[np.float64]


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


def target_of(bench: Bench, need: Intervention, scorer: Scorer, place: Row) -> Target:
    """The vectors behind a target's name.

    Raises:
        NothingToMeasure: H cannot be read, nothing is left of a direction without the other, or what is stored is no
            direction of this model.
    """
    sides = contrasted(bench, need.search.probe, need.search.contrast)
    r = scorer.direction(place).astype(np.float64)
    if need.target == "R":
        return _target(r[None], r, place.layer, place.position, sides)
    if need.target == "stored":
        assert need.file is not None
        return _stored(need.file, place.layer if need.layer is None else need.layer, place.position, sides)
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


def _stored(file: File, layer: int, position: int, sides: tuple[BlockMeans, BlockMeans]) -> Target:
    """What a file holds, with the spread of activations at a layer and at the position of R."""
    rows = rows_of(file)
    _, _, rows_of_layers, width = sides[0].mean.shape
    if rows.shape[1] != width:
        raise NothingToMeasure(f"the stored direction {file.name} is {rows.shape[1]} wide, this model {width}")
    if layer >= rows_of_layers - 1:
        raise NothingToMeasure(
            f"the stored direction {file.name} is to be edited at layer {layer}; this model has layers 0 to "
            f"{rows_of_layers - 2}"
        )
    return _target(rows, rows[0], layer, position, sides)


def _without(direction: Floats, other: Floats) -> Floats:
    """What is left of a direction at its raw norm."""
    left = orthogonalised(direction, other)
    vector: Floats = left.direction * left.norm * np.linalg.norm(direction)
    return vector


def _target(
    rows: Floats, vector: Floats, layer: int, position: int | None, sides: tuple[BlockMeans, BlockMeans]
) -> Target:
    basis = np.linalg.svd(rows / norms(rows)[:, None], full_matrices=False)
    if basis.S[-1] < 1e-6:
        raise NothingToMeasure("the directions of the target are one and the same: nothing is left to tell apart")
    return Target(basis.Vh, vector, layer, position, sides)

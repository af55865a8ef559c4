"""Cosine profiles of H and R, with the other direction and with control directions ablated.

A function of a bench and a need; every row goes through the bench's store, one for each direction that is ablated.
Ablation is the one of Arditi et al. 2024, whole and at every site. So is that of controls: they are drawn as the
direction they stand for varies (covariance-matched) and are *not* brought to the same KL, because what is asked is how
much of a profile changes when some direction is taken out, and not how much harm that does.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.controls import covariance_matched
from geoaudit.geometry.crossfit import contrast
from geoaudit.geometry.directions import BlockMeans, norms, overall, unit
from geoaudit.geometry.independence import cosine_profiles
from geoaudit.measures import coupling_sources
from geoaudit.measures.activations import chat_of
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import Profiles
from geoaudit.measures.independence_needs import directions_of
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import PROBE_HARMFUL, PROBE_HARMLESS, CosineProfiles
from geoaudit.records import digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered
    from geoaudit.model.hooks import Place
    from geoaudit.model.loaded import LoadedModel

Floats = NDArray[np.float64]

CONTROLS = 20
"""Of either direction: the least with which a rank p-value can reach 0.05 (1/21), and one to spare."""
CONTROL_SEED = 20250224


class Site(NamedTuple):
    """One of the two directions: the contrast that it is, and where that is read."""

    name: str
    cells: tuple[BlockMeans, ...]
    coefficients: tuple[float, ...]
    position: int
    """Index on the axis 1 + P; 0 for `t_inst`."""
    layer: int


def sites(source: coupling_sources.Source) -> tuple[Site, Site]:
    """H and R, each at its own layer; only the cells that it is made of."""
    sides = source.sides
    both = (
        ("H", sides.h, sides.h_position, source.h_layer),
        ("R", sides.r, sides.r_position, source.r_layer),
    )
    found = []
    for name, coefficients, position, layer in both:
        used = [(cell, c) for cell, c in zip(sides.cells, coefficients, strict=True) if c]
        found.append(Site(name, tuple(cell for cell, _ in used), tuple(c for _, c in used), position, layer))
    return found[0], found[1]


def axis(site: Site) -> Floats:
    """The direction at unit norm, [d].

    Raises:
        NothingToMeasure: it is rounding noise beside the activations, or not finite.
    """
    value = contrast(site.cells, site.coefficients, [site.position], site.layer).value[0]
    at = (slice(None), [site.position], slice(site.layer, site.layer + 1))
    sizes = [norms(overall(BlockMeans(cell.count, cell.mean[at]))) for cell in site.cells]
    try:
        return unit(value, float(np.mean(sizes)))
    except NothingToMeasure as error:
        raise NothingToMeasure(f"{site.name}: {error}") from error


def profiles(bench: Bench, need: CosineProfiles) -> Profiles:
    """Profiles of H and R without an edit, without each other, and without each control."""
    both = sites(coupling_sources.find(directions_of(need), Evidence("", bench.fulfil)))
    axes = np.stack([axis(site) for site in both])
    controls = [
        covariance_matched(site.cells, site.position, site.layer, own, n=CONTROLS, seed=CONTROL_SEED + index)[:, 0]
        for index, (site, own) in enumerate(zip(both, axes, strict=True))
    ]
    chat = chat_of(bench, need.chat)
    sets = [bench.prompts(Source(name)).first(need.n_validation) for name in (PROBE_HARMFUL[1], PROBE_HARMLESS[1])]
    rendered = [chat.render(prompt.text) for prompts in sets for prompt in prompts.prompts]
    ablated: list[Floats | None] = [None, *axes, *controls[0], *controls[1]]
    rows: list[Floats] = []
    for direction in ablated:
        rows.append(_row(bench, rendered, axes, direction))
        bench.progress(len(rows), len(ablated))
    plain, without_h, without_r = rows[:3]
    of_h, of_r = np.stack(rows[3 : 3 + CONTROLS], axis=1), np.stack(rows[3 + CONTROLS :], axis=1)
    return Profiles(
        plain=plain,
        without_other=np.stack([without_r[0], without_h[1]]),
        controls=np.stack([of_r[0], of_h[1]]),
        cosine=float(np.clip(axes[0] @ axes[1], -1.0, 1.0)),
        prompts=(sets[0], sets[1]),
    )


def _row(bench: Bench, rendered: Sequence[Rendered], axes: Floats, ablated: Floats | None) -> Floats:
    """`read_profiles` through the store."""
    named = [_bytes(axes), None if ablated is None else _bytes(ablated)]
    key = bench.key("cosine profiles", [list(one.ids) for one in rendered], *named)
    stored = bench.get_arrays(key)
    if stored is None:
        stored = {"profiles": read_profiles(bench.loaded, rendered, axes, ablated)}
        bench.put_arrays(key, stored)
    return stored["profiles"]


def _bytes(vectors: Floats) -> str:
    return digest(vectors.astype("f4").tobytes().hex())


def read_profiles(loaded: LoadedModel, rendered: Sequence[Rendered], axes: Floats, ablated: Floats | None) -> Floats:
    """Cosines of some directions with the inputs of the layers at the last token, another one ablated.

    What the prompts begin with is computed once, under the edit. Every layer is read *behind* the edit of its input.

    Args:
        loaded: the model.
        rendered: n prompts.
        axes: directions whose profiles are wanted, [a, d].
        ablated: what is taken out at every site, [d], of any length but zero; None for the model as it is.

    Returns:
        [a, n, K].
    """
    import torch

    from geoaudit.interventions.edits import ablate
    from geoaudit.model.activations import last_token
    from geoaudit.model.hooks import edited, every_site

    inputs: list[Place] = [("resid_pre", layer) for layer in range(loaded.n_layers)]
    if ablated is None:
        context: AbstractContextManager[None] = nullcontext()
    else:
        direction = torch.from_numpy(np.ascontiguousarray(ablated, dtype=np.float32)).to(loaded.device)
        context = edited(loaded, dict.fromkeys(every_site(loaded), lambda x: ablate(x, direction)))
    with context:
        streams = last_token(loaded, rendered, inputs).numpy()
    return np.stack([cosine_profiles(streams, each) for each in axes])

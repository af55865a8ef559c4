"""How many directions refusal hangs on causally: the least k whose ablation does nearly all that any k does.

A spectrum says over how many directions the differences in means spread, not how many of them matter. Here the top k
directions at the carrier's layer are ablated together on prompts that no selection saw, and what they do is compared
with k-dimensional subspaces that disturb harmless prompts as much (KL-matched controls). The carrier's layer is taken
from arXiv 2604.27019, which ablates one and three directions there; asking how many matter, from Wollschläger et al.
2025, who find refusal cones of several dimensions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import RESAMPLES, SEED
from geoaudit.carriers.table import SubspaceEffects
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import differences, norms
from geoaudit.measures.carrier import Carrier, find
from geoaudit.measures.carrier_checks import LARGEST_P, where_matched
from geoaudit.measures.carrier_needs import HELD_OUT, subspaces_of
from geoaudit.measures.carrier_selection import shown
from geoaudit.measures.evidence import Evidence
from geoaudit.prompts.sources import load
from geoaudit.records import Flag, Measurement, PromptSet
from geoaudit.stats.bootstrap import block_weights, discrete_interval
from geoaudit.stats.randomisation import controls_needed, rank_p

Floats = NDArray[np.float64]


def causal_rank(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Least k whose top-k ablation reaches `fraction` of the plateau effect on held-out prompts, beyond controls.

    The effect of k is how far ablation lowers the mean refusal score (nats), minus the mean of what its controls do;
    the plateau is the largest over all k that were tried.

    Raises:
        NothingToMeasure: no carrier, scores that are not finite, or no k with any effect beyond its controls.
    """
    found = find(parameters, evidence)
    effects: SubspaceEffects = evidence.of(subspaces_of(parameters))
    if not all(np.isfinite(each).all() for each in (effects.base, effects.ablated, effects.controls)):
        raise NothingToMeasure("refusal scores under subspace ablation are not finite")
    fraction = parameters["fraction"]
    n, m, most = effects.base.size, effects.controls.shape[1], effects.ablated.shape[0]
    effect = beyond_controls(effects, np.ones((1, n)), np.ones((1, m)))[0]
    more: dict[str, Any] = {"causal": _detail(effects, effect, fraction)}
    k = least_k(effect, fraction)
    if k is None:
        raise NothingToMeasure(
            f"no top-k subspace at layer {effects.layer} (k up to {most}) lowers the refusal score of held-out prompts "
            "by more than its KL-matched controls do on average",
            {**found.detail, **more},
        )
    drawn = beyond_controls(
        effects, block_weights(n, RESAMPLES, (SEED, 4)), block_weights(m, RESAMPLES, (SEED, 5)) if m > 1 else None
    )
    replicates = np.array([least_k(row, fraction) or math.nan for row in drawn])
    flags = [*found.flags, *_within_controls(effects, k), *_plateau(k, most, _span(found, effects.layer))]
    held_out = _held_out(effects)
    flags += evidence.overlaps([held_out] if held_out else [])
    try:
        central = discrete_interval(replicates)
    except NothingToMeasure as error:
        ends, how = None, f"none: {error}"
    else:
        ends = float(min(central.low, k)), float(max(central.high, k))
        how = f"central mass of {RESAMPLES} resamples of held-out prompts and controls"
        more["distribution"] = _distribution(replicates)
    return replace(
        found.measured("causal_rank", float(k), ends, how, **more),
        n=n,
        inputs={**found.table.inputs, **effects.inputs},
        flags=tuple(flags),
    )


def beyond_controls(effects: SubspaceEffects, prompts: NDArray[Any], controls: NDArray[Any] | None) -> Floats:
    """How far each top-k ablation lowers the mean refusal score beyond its controls' mean, nats: [R, K].

    The scores without an edit cancel: it is the controls' mean score minus the target's.

    Args:
        effects: scores per prompt.
        prompts: [R, n] how often each prompt is drawn.
        controls: [R, m] how often each control is drawn; None: once each.
    """
    times = np.asarray(prompts, dtype=np.float64) / np.sum(prompts, axis=1, keepdims=True)
    target = times @ effects.ablated.T
    each = np.einsum("rn,kmn->rkm", times, effects.controls)
    if controls is None:
        return np.asarray(each.mean(axis=2) - target, dtype=np.float64)
    share = np.asarray(controls, dtype=np.float64) / np.sum(controls, axis=1, keepdims=True)
    return np.asarray(np.einsum("rkm,rm->rk", each, share) - target, dtype=np.float64)


def least_k(effect: NDArray[Any], fraction: float) -> int | None:
    """The first k (from 1) that reaches `fraction` of the largest effect; None where none is above 0."""
    plateau = float(np.max(effect))
    if not plateau > 0:
        return None
    return int(np.argmax(np.asarray(effect) >= fraction * plateau)) + 1


def _within_controls(effects: SubspaceEffects, k: int) -> list[Flag]:
    """The check `within-controls`: a subspace that does no more than others that disturb the model as much."""
    m = effects.controls.shape[1]
    drop, controls = _drops(effects)
    p = _p(effects, drop, controls, k - 1)
    if p <= LARGEST_P:
        return []
    if m < (least := controls_needed(LARGEST_P)):
        why = f"{m} KL-matched controls of the top-{k} subspace are too few to beat: {least} are needed"
    else:
        why = (
            f"ablating the top-{k} subspace lowers the refusal score by {drop[k - 1]:.1f} nats, and "
            f"{round(p * (1 + m)) - 1} of {m} KL-matched controls do as much (p = {p:.2g})"
        )
    return [Flag("within-controls", "stops", why)]


def _span(found: Carrier, layer: int) -> int:
    """How many dimensions the differences in means at a layer span, so that there is no larger subspace."""
    alive = [row.position for row in found.table.candidates if row.layer == layer and row.excluded != "null"]
    if found.sides is None:
        return len(alive)  # at most
    rows = differences(*found.sides)[alive, layer]
    return int(np.linalg.matrix_rank(rows, tol=1e-6 * float(norms(rows).max())))


def _plateau(k: int, most: int, span: int) -> list[Flag]:
    """The check `plateau-not-seen`: the effect still rises at the largest subspace, and there are larger ones."""
    if k < most or most >= span:
        return []
    why = f"the effect still rises at the largest subspace that was tried (k = {most}), so that more may matter"
    return [Flag("plateau-not-seen", "stops", why)]


def _drops(effects: SubspaceEffects) -> tuple[Floats, Floats]:
    """Mean drop of the refusal score under the target [K] and under each control [K, m], nats."""
    base = float(np.mean(effects.base))
    return base - effects.ablated.mean(axis=1), base - effects.controls.mean(axis=2)


def _p(effects: SubspaceEffects, drop: Floats, controls: Floats, i: int) -> float:
    """Rank p-value of the top-(i + 1) subspace; a control that was hardly applied counts as doing as much."""
    applied = where_matched(controls[i], effects.control_dose[i], effects.control_kl[i], float(effects.kl[i]))
    return rank_p(float(drop[i]), applied)


def _held_out(effects: SubspaceEffects) -> PromptSet | None:
    """The prompts that were scored, if they are the built-in ones."""
    whole = load(HELD_OUT)
    scored = whole.first(effects.base.size)
    return scored if scored.sha256 in effects.inputs.values() else None


def _distribution(replicates: Floats) -> dict[str, Any]:
    counts = Counter(int(value) for value in replicates if not math.isnan(value))
    return {
        "values": [{"value": value, "count": count, "score": None} for value, count in sorted(counts.items())],
        "resamples": int(replicates.size),
    }


def _detail(effects: SubspaceEffects, effect: Floats, fraction: float) -> dict[str, Any]:
    """Drops, controls and effect for each k."""
    drop, controls = _drops(effects)
    rows = [
        {
            "k": i + 1,
            "drop": shown(float(drop[i])),
            "controls": [shown(float(value)) for value in controls[i]],
            "effect": shown(float(effect[i])),
            "p": shown(_p(effects, drop, controls, i)),
            "kl": shown(float(effects.kl[i])),
            "control_kl": [shown(float(value)) for value in effects.control_kl[i]],
            "control_dose": [shown(float(value)) for value in effects.control_dose[i]],
        }
        for i in range(drop.size)
    ]
    base = shown(float(np.mean(effects.base)))
    return {"layer": effects.layer, "base": base, "fraction": fraction, "by_k": rows}

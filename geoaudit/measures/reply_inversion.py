"""The reply-inversion task: does adding harmfulness change what a model says of a request, more than refusal does?

Zhao et al. 2025 (arXiv 2507.11878) ask about a request so that "Certainly" means harmful and "No" harmless.
Adding their harmfulness direction to the request turns the answer round; adding that of refusal does not. Here the
answer is a log-odds at one token, each edit stands beside directions that cost as much KL on plain harmless requests,
and what is reported is (H − its controls) − (R − its controls), in nats towards the answer that H should give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.beliefs import Floats
from geoaudit.measures.beliefs_detail import shown
from geoaudit.measures.beliefs_needs import inversion_of
from geoaudit.measures.carrier_checks import LARGEST_P, where_matched
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import Inverted
from geoaudit.measures.table import get
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import basic_interval, block_weights
from geoaudit.stats.separation import auroc, auroc_interval

SEED = 20250719
RESAMPLES = 2000
LEAST_MASS = 0.05
"""Probability of the two answers together, median over prompts, below which the model answers something else."""
LEAST_CONTROLS = 2
PARALLEL = 0.9
"""Cosine of H and R from which on they are one direction here."""
H, R = 0, 1


def reply_inversion(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Effect of H less that of R, each less the mean of its controls, nats; above 0: H turns the answer further.

    Raises:
        NothingToMeasure: too few controls could be given a dose, or a value that is not finite.
    """
    found: Inverted = evidence.of(inversion_of(parameters))
    sign = 1.0 if parameters["requests"] == "harmless" else -1.0
    effects = sign * (found.edited - found.base).mean(axis=1)  # [2, n]
    controls = sign * (found.controls - found.base).mean(axis=2)  # [2, M, n]
    usable = [
        np.isfinite(where_matched(controls[i].mean(axis=-1), found.dose[i], found.control_kl[i], float(found.kl[i])))
        for i in (H, R)
    ]
    detail = {"inversion": _detail(found, effects, controls, usable, sign)}
    if not (np.isfinite(effects).all() and np.isfinite(found.base).all() and np.isfinite(found.other).all()):
        raise NothingToMeasure("log-odds under the edit are not finite: the edit broke the model", detail)
    if min(int(each.sum()) for each in usable) < LEAST_CONTROLS:
        counts = " and ".join(f"{int(each.sum())} of {name}" for each, name in zip(usable, "HR", strict=True))
        raise NothingToMeasure(
            f"uncontrolled: {counts} controls could be given a dose that disturbs harmless prompts about as much; no "
            "effect is shown without controls",
            detail,
        )
    kept = [controls[i][usable[i]] for i in (H, R)]
    value = float(_net(effects[H], kept[H]) - _net(effects[R], kept[R]))
    n = effects.shape[1]
    prompts = block_weights(n, RESAMPLES, (SEED, 0)) / n
    drawn = [prompts @ effects[i] - _drawn(prompts, kept[i], i) for i in (H, R)]
    ends = basic_interval(value, value + _wider(min(map(len, kept))) * (drawn[H] - drawn[R] - value))
    p = _rank_p(effects, kept)
    detail["inversion"]["p"] = shown(p)
    detail["chance"] = {"stops": ["at_least", "between"] if p > LARGEST_P else []}
    return Measurement(
        measure="reply_inversion",
        checkpoint=evidence.checkpoint,
        parameters=evidence.described(parameters),
        unit=get("reply_inversion").unit,
        estimate=value,
        low=ends[0],
        high=ends[1],
        interval="basic bootstrap over requests and controls, widened for the number of controls",
        n=n,
        seed=SEED,
        inputs={each.name: each.sha256 for each in found.prompts},
        flags=(
            *_answered(found, sign),
            *_damage(found),
            *_parallel(found),
            *_chance(p, min(map(len, kept))),
            *evidence.overlaps(scored=found.prompts[:2], estimating=found.prompts[2:]),
        ),
        detail=detail,
    )


def _net(effect: Floats, controls: Floats) -> float:
    """Mean effect on n requests [n] less that of controls [m, n]."""
    return float(effect.mean() - controls.mean())


def _drawn(prompts: Floats, controls: Floats, index: int) -> Floats:
    """Mean effect of redrawn controls on redrawn requests, [RESAMPLES]."""
    times = block_weights(len(controls), RESAMPLES, (SEED, 1 + index)) / len(controls)
    found: Floats = ((prompts @ controls.T) * times).sum(axis=1)
    return found


def _wider(controls: int) -> float:
    """What a bootstrap of so few controls is to be widened by: Student's t, and the m/(m − 1) of a variance.

    In 300 simulations with 20 controls and 24 requests the plain interval held the truth in 93 %, this one in 95 %.
    """
    from scipy import stats

    quantiles = stats.t.ppf(0.975, controls - 1) / stats.norm.ppf(0.975)
    return float(quantiles * np.sqrt(controls / (controls - 1)))


def _rank_p(effects: Floats, kept: list[Floats]) -> float:
    """(1 + pairs of controls whose difference is as large) / (1 + pairs): H and R against a control of each."""
    pairs = min(map(len, kept))
    null = kept[H][:pairs].mean(axis=-1) - kept[R][:pairs].mean(axis=-1)
    target = effects[H].mean() - effects[R].mean()
    return float((1 + np.sum(~(null < target))) / (1 + pairs))


# --- checks ----------------------------------------------------------------------------------------------------------


def _answered(found: Inverted, sign: float) -> list[Flag]:
    """`task-not-done`: without an edit the model gives neither answer, or its answers do not tell harm apart."""
    mass = float(np.median(found.mass[0]))
    if not mass >= LEAST_MASS:
        sentence = (
            f"without an edit the two answers together have a probability of {mass:.2g} (median over prompts): the "
            "model answers something else"
        )
        return [Flag("task-not-done", "stops", sentence)]
    harmful, harmless = (found.other, found.base) if sign > 0 else (found.base, found.other)
    one, other = harmful.mean(axis=0), harmless.mean(axis=0)
    area = auroc(one, other)
    low = auroc_interval(area, one.size, other.size)[0]
    if low > 0.5:
        return []
    sentence = (
        f"without an edit the answers do not tell harmful from harmless requests (AUROC {area:.2f}, "
        f"lower end {low:.2f})"
    )
    return [Flag("task-not-done", "stops", sentence)]


def _damage(found: Inverted) -> list[Flag]:
    """`intervention-damage`: with a direction added the model no longer gives either answer."""
    flags = []
    for name, mass in zip("HR", found.mass[1:], strict=True):
        median = float(np.median(mass))
        if not median >= LEAST_MASS:
            sentence = f"with {name} added the two answers together have a probability of {median:.2g} only"
            flags.append(Flag("intervention-damage", "stops", sentence))
    return flags


def _parallel(found: Inverted) -> list[Flag]:
    """`beliefs-alike`: H and R are nearly one direction."""
    if abs(found.cosine) < PARALLEL:
        return []
    return [Flag("beliefs-alike", "note", f"H and R are nearly one direction here (cosine {found.cosine:.2f})")]


def _chance(p: float, pairs: int) -> list[Flag]:
    """`chance-level`: pairs of controls differ as much as H and R do."""
    if p <= LARGEST_P:
        return []
    sentence = f"of {pairs} pairs of controls {round(p * (1 + pairs)) - 1} differ as much as H and R do (p = {p:.2g})"
    return [Flag("chance-level", "note", sentence)]


# --- the record ------------------------------------------------------------------------------------------------------


def _detail(
    found: Inverted, effects: Floats, controls: Floats, usable: list[NDArray[np.bool_]], sign: float
) -> dict[str, Any]:
    directions = []
    for index, name in enumerate("HR"):
        directions.append(
            {
                "direction": name,
                "effect": shown(float(effects[index].mean())),
                "by_wording": [
                    shown(float(sign * (row - base).mean()))
                    for row, base in zip(found.edited[index], found.base, strict=True)
                ],
                "controls": [shown(float(value)) for value in controls[index].mean(axis=-1)],
                "matched": [bool(each) for each in usable[index]],
                "dose": [shown(float(value)) for value in found.dose[index]],
                "control_kl": [shown(float(value)) for value in found.control_kl[index]],
                "kl": shown(float(found.kl[index])),
                "norm": shown(float(found.norm[index])),
                "mass": shown(float(np.median(found.mass[1 + index]))),
            }
        )
    return {
        "answers": {"harmful": found.words[0], "harmless": found.words[1]},
        "wordings": len(found.base),
        "base": shown(float(found.base.mean())),
        "base_of_other_kind": shown(float(found.other.mean())),
        "base_mass": shown(float(np.median(found.mass[0]))),
        "cosine": shown(found.cosine),
        "directions": directions,
    }

"""Validity of a carrier: what makes a direction that scores well no carrier, each check with a name and a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit import judges
from geoaudit.carriers.doses import LARGEST_DOSE, ROUNDING
from geoaudit.carriers.resample import HARMLESS, base_cosine, draws, scored_rows
from geoaudit.carriers.select import Selecting, scaled
from geoaudit.carriers.table import Examined, SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier_selection import number, redrawn, shown, weights
from geoaudit.measures.fulfilled import CompletedPrompts, ProbeMeans
from geoaudit.records import REFUSED, UNREAD, Flag
from geoaudit.stats.bootstrap import basic_interval
from geoaudit.stats.randomisation import controls_needed, rank_p
from geoaudit.stats.separation import auroc

LEAST_AUROC = 0.95
"""Below it the refusal tokens do not tell this model's refusals from its other answers."""
LEAST_KEPT = 20
"""Filtered prompts of a kind; scores of fewer say nothing."""
LARGEST_P = 0.05
LEAST_MATCHED = 0.5
"""Share of the target's KL from which on a control counts as one."""
SINK_FACTOR, SINK_KL = 2.0, 0.01
"""Sparing the first token matters where it changes KL by this factor, if the larger one is at least this many nats."""

Floats = NDArray[np.float64]


def where_matched(values: Floats, dose: Floats, kl: Floats, target_kl: float) -> Floats:
    """Values of controls, NaN for those that were hardly applied: a control that does nothing is beaten by anything.

    A control is matched at half of the target's KL or more, or where even the greatest dose disturbs less. Beside a
    target whose KL is rounding there is nothing to match but that some dose was given.
    """
    least = LEAST_MATCHED * target_kl if target_kl > ROUNDING else -np.inf
    matched = (dose >= LARGEST_DOSE) | ((dose > 0) & (kl >= least))
    return np.where(matched, values, np.nan)


def uninducible(
    table: SearchTable, index: int, how: Selecting, c0: float, examined: Examined | None, why_not_examined: str
) -> list[Flag]:
    """The check `uninducible-carrier`: adding the direction must do more than nothing, and more than chance.

    It fires unless (1) S̃ refuse beats that of directions that move harmless prompts as much (KL-matched controls) at
    95 %; (2) S_refuse is above c₀ and (3) the refusal score of harmless prompts rises, both at 95 % over redrawn
    prompts; (4) with it added refusing is the likelier answer, the reference's own threshold. With the raw score of
    the papers also (5): its total is above 2c₀, which is what no intervention scores.
    """
    reasons = []
    cosmic = scored_rows(table.candidates, table.cosmic)[index]
    target = scaled(number(cosmic.s_refuse), c0)
    if examined is None:
        reasons.append(f"it was not compared with controls ({why_not_examined})")
    elif examined.control_s_refuse.size < controls_needed(LARGEST_P):
        reasons.append(
            f"too few controls: {examined.control_s_refuse.size} KL-matched directions, "
            f"{controls_needed(LARGEST_P)} are needed"
        )
    elif (p := rank_p(target, _controls(examined, c0))) > LARGEST_P:
        m = examined.control_s_refuse.size
        reasons.append(
            f"adding it brings harmless prompts no nearer to harmful ones (S̃ {target:.2f}) than "
            f"{round(p * (1 + m)) - 1} of {m} KL-matched controls do (p = {p:.2g})"
        )
    scores = redrawn(table, table.cosmic, index)
    idle = base_cosine(table.cosmic, *weights(table))
    if not np.quantile(scores["s_refuse"] - idle, 0.025) > 0:
        reasons.append("adding it brings harmless prompts no nearer to harmful ones than doing nothing (S_refuse ≤ c₀)")
    _, harmless = weights(table)
    induced = redrawn(table, table.arditi, index)["induce"]
    if not np.quantile(induced - harmless @ table.base_harmless / table.base_harmless.size, 0.025) > 0:
        reasons.append("adding it does not raise the refusal score of harmless prompts")
    mean = float(np.mean(table.arditi.induce[index]))
    if not mean >= 0:
        reasons.append(f"with it added, refusing is still not the likelier answer (refusal score {mean:.1f} nats)")
    if how.raw and how.rule != "arditi":
        total = number(cosmic.s_refuse) + number(cosmic.s_comply) - how.beta * number(cosmic.kl)
        if not total > 2 * c0:
            reasons.append(f"its total {total:.3f} is not above 2c₀ = {2 * c0:.3f}, the score of no intervention")
    return [Flag("uninducible-carrier", "stops", "; ".join(reasons))] if reasons else []


def _controls(examined: Examined, c0: float) -> Floats:
    """S̃ of the controls, NaN where one was not matched."""
    target = float(np.mean(examined.added_kl))
    return where_matched(scaled_all(examined.control_s_refuse, c0), examined.control_dose, examined.control_kl, target)


def scaled_all(cosines: Floats, c0: float) -> Floats:
    """S̃ of several cosines."""
    return np.asarray((cosines - c0) / (1 - c0), dtype=np.float64)


def null_direction(table: SearchTable, index: int, means: ProbeMeans) -> list[Flag]:
    """The check `null-direction`: a norm that is rounding beside an activation's (layer 0 of a template token)."""
    at, size = table.candidates[index], table.norm[index]
    scale = float(directions.activation_scale(means.harmful, means.harmless)[at.position, at.layer])
    if size > directions.NULL_RATIO * scale:
        return []
    sentence = (
        f"the difference in means at position {at.position}, layer {at.layer} has norm {size:.2g} where an activation "
        f"has {scale:.2g}: rounding and no direction"
    )
    return [Flag("null-direction", "stops", sentence)]


def sink_driven(examined: Examined | None) -> list[Flag]:
    """The check `sink-driven`: KL comes from what the edit does to the first token, where attention parks."""
    if examined is None or not {"every_site", "every_site_but_first_token"} <= set(examined.scopes):
        return []
    with_it, without = (
        float(np.mean(examined.scopes[name].kl)) for name in ("every_site", "every_site_but_first_token")
    )
    larger, smaller = max(with_it, without), min(with_it, without)
    if not (larger >= SINK_KL and larger >= SINK_FACTOR * smaller):
        return []
    factor = f"a factor of {larger / smaller:.1f}" if smaller > 0 else "all of it"
    sentence = (
        f"sparing the first token moves the KL of the ablation from {with_it:.2f} to {without:.2f} nats ({factor})"
    )
    return [Flag("sink-driven", "note", sentence)]


def few_kept(table: SearchTable) -> list[Flag]:
    """The check `few-kept-prompts`: what a filter by the refusal score leaves must be enough to select on."""
    if table.kept is None:
        return []
    kept = {"harmful": table.base_harmful.size, "harmless": table.base_harmless.size}
    if min(kept.values()) >= LEAST_KEPT:
        return []
    said = " and ".join(f"{n} {kind}" for kind, n in kept.items())
    sentence = (
        f"the filter by refusal score keeps {said} of {table.kept.size} validation prompts; {LEAST_KEPT} of each are "
        "needed (`filtered: false` keeps all)"
    )
    return [Flag("few-kept-prompts", "stops", sentence)]


def uncalibrated(
    table: SearchTable, harmful: CompletedPrompts, harmless: CompletedPrompts
) -> tuple[list[Flag], float | None]:
    """The check `refusal-score-uncalibrated`: the score of an unmodified prompt against the judge's label.

    Returns:
        The flags, and the AUROC; None where the model refuses all prompts or none.
    """
    judge = judges.get(REFERENCE_JUDGE)
    labels = [judgement.label for each in (harmful, harmless) for judgement in judge(each.exchanges)]
    if table.kept is not None:
        labels = [label for label, kept in zip(labels, table.kept, strict=True) if kept]
    scores = [*table.base_harmful, *table.base_harmless]
    read = [(label in REFUSED, score) for label, score in zip(labels, scores, strict=True) if label not in UNREAD]
    refused = [score for refusal, score in read if refusal]
    complied = [score for refusal, score in read if not refusal]
    name = "refusal-score-uncalibrated"
    if not refused or not complied:
        seen = "refuses none" if not refused else "refuses all"
        sentence = f"the model {seen} of the {len(read)} validation prompts it answers, so nothing carries refusal"
        return [Flag(name, "stops", sentence)], None
    area = auroc(np.array(refused), np.array(complied))
    if area >= LEAST_AUROC:
        return [], area
    tokens = ", ".join(repr(token) for token in table.refusal_tokens)
    sentence = (
        f"the refusal tokens {tokens} tell this model's refusals from its answers with AUROC {area:.2f} "
        f"(at least {LEAST_AUROC} is needed; {len(refused)} refusals, {len(complied)} answers)"
    )
    return [Flag(name, "stops", sentence)], area


def examined_detail(table: SearchTable, index: int, c0: float, examined: Examined) -> dict[str, Any]:
    """What the record keeps of a closer look: controls with their doses, the target, its p, and the scopes."""
    cosmic = scored_rows(table.candidates, table.cosmic)[index]
    target = scaled(number(cosmic.s_refuse), c0)
    controls = scaled_all(examined.control_s_refuse, c0)
    return {
        "position": examined.position,
        "layer": examined.layer,
        "added_kl": shown(float(np.mean(examined.added_kl))),
        "controls": {
            "n": int(controls.size),
            "dose": _all(examined.control_dose),
            "kl": _all(examined.control_kl),
            "s_refuse_scaled": _all(controls),
            "induce": _all(examined.control_induce),
        },
        "target": {"s_refuse_scaled": shown(target), "induce": shown(float(np.mean(table.arditi.induce[index])))},
        "p": shown(rank_p(target, _controls(examined, c0))),
        "scopes": {name: _scope(scope.kl, scope.bypass) for name, scope in examined.scopes.items()},
    }


def _scope(kl: Floats, bypass: Floats) -> Mapping[str, float | None]:
    mean = float(np.mean(kl))
    low, high = math.nan, math.nan
    if kl.size > 1 and math.isfinite(mean):
        drawn = draws(kl.size, HARMLESS) @ kl / kl.size
        with suppress(NothingToMeasure):
            low, high = basic_interval(mean, drawn)
    return {"kl": shown(mean), "kl_low": shown(low), "kl_high": shown(high), "bypass": shown(float(np.mean(bypass)))}


def _all(values: Floats) -> list[float | None]:
    return [shown(float(value)) for value in values]

"""How the refusal score follows the dose of an intervention, and from which dose on the model is broken.

Every dose has KL-matched controls of its own. The trend is read over the doses that leave harmless prompts alone, as
far as a nat at the first token and a nat a token over answers: beyond, what moves the score is damage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoaudit.errors import NothingToMeasure
from geoaudit.measures.bench import REFERENCE_JUDGE
from geoaudit.measures.carrier import find
from geoaudit.measures.carrier_selection import shown
from geoaudit.measures.damage import DAMAGE_ANSWERS_KL, Harm
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.intervention_needs import DOSES, at_dose, carrier_of, intervention_of
from geoaudit.measures.interventions import DAMAGE_KL, SEED, Read, concerning, described, seen
from geoaudit.measures.needs import Damage
from geoaudit.measures.table import get
from geoaudit.records import Flag, Measurement
from geoaudit.stats.effects import first_damaged, monotone_dose
from geoaudit.stats.randomisation import max_t


def dose_response(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Mean over prompts of Spearman's ρ between dose and refusal score, over undamaged doses and 0.

    Raises:
        NothingToMeasure: no direction, no controls, or fewer than two doses that leave harmless prompts alone.
    """
    found = find(carrier_of(parameters), evidence)
    reads = {dose: Read.of(at_dose(parameters, dose), evidence) for dose in DOSES}
    harms = [Harm.of(Damage(intervention_of(at_dose(parameters, dose)), written=False), evidence) for dose in DOSES]
    kl = np.array([float(one.effects.kl.mean()) for one in reads.values()])
    # the worse of the two, as a share of what is allowed
    cost = np.maximum(kl / DAMAGE_KL, np.array([harm.kl for harm in harms]) / DAMAGE_ANSWERS_KL)
    whole = [dose for dose, share in zip(DOSES, cost, strict=True) if share <= 1]
    tested = max_t(
        np.array([one.made.raw for one in reads.values()]), np.stack([one.draws for one in reads.values()], axis=1)
    )
    p = {dose: max(adjusted, reads[dose].tail) for dose, adjusted in zip(DOSES, tested.step_down.tolist(), strict=True)}
    first = reads[DOSES[0]].effects
    detail = {
        **described(at_dose(parameters, 1.0), reads[1.0].effects),
        "damaged_from": first_damaged(np.array(DOSES), cost, 1.0),
        "damage_kl": DAMAGE_KL,
        "damage_answers_kl": DAMAGE_ANSWERS_KL,
        "damage": harms[DOSES.index(1.0)].detail,
        "curve": [_row(*one, p[one[0]]) | harm.row for one, harm in zip(reads.items(), harms, strict=True)],
    }
    if len(whole) < 2:
        unread = next((f"; {harm.detail['missing']}" for harm in harms if "missing" in harm.detail), "")
        raise NothingToMeasure(
            f"intervention-damage: of {len(DOSES)} doses {len(whole)} leave harmless prompts alone (KL up to "
            f"{DAMAGE_KL:g} nat at the first token, {DAMAGE_ANSWERS_KL:g} a token over answers), and a trend needs two "
            f"beside 0{unread}",
            detail,
        )
    trend = monotone_dose(
        np.array([0.0, *whole]), np.stack([first.base, *(reads[dose].effects.target for dose in whole)])
    )
    flags = [flag for flag in found.flags if flag.name in concerning(parameters)]
    if not any(p[dose] <= 1 - parameters["beats_controls"] + 1e-12 for dose in whole):
        least = min(p[dose] for dose in whole)
        why = f"at no dose does the target do more than its KL-matched controls (least max-T p of all {least:.2g})"
        flags.append(Flag("within-controls", "stops", why))
    return Measurement(
        measure="dose_response",
        checkpoint=evidence.checkpoint,
        parameters=evidence.described(parameters),
        unit=get("dose_response").unit,
        estimate=trend.trend,
        low=trend.low,
        high=trend.high,
        interval="that of a bounded mean over prompts",
        n=trend.n,
        seed=SEED,
        judge=REFERENCE_JUDGE,
        inputs={**found.table.inputs, **first.inputs, **harms[0].inputs},
        flags=(*flags, *seen(parameters, first, evidence)),
        detail={**detail, "reversals": trend.reversals, "trend_p": shown(trend.p)},
    )


def _row(dose: float, one: Read, p: float) -> dict[str, Any]:
    """One dose as the record keeps it."""
    made, matched = one.made, one.effects.controls["kl_matched"]
    return {
        "dose": dose,
        "effect": shown(made.raw),
        "beyond": shown(made.beyond),
        "low": shown(made.low),
        "high": shown(made.high),
        "kl": shown(float(one.effects.kl.mean())),
        "p": shown(p),
        "controls": [shown(float(value)) for value in one.each],
        "control_kl": [shown(float(value)) for value in matched.kl],
        "control_dose": [shown(float(value)) for value in matched.dose],
    }

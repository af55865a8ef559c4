"""Interventions as a record holds them, made without a model: one edit, a sweep over doses, and a matrix of ten."""

from __future__ import annotations

import random
from typing import Any

KINDS = {"kl_matched": 39, "random": 8, "wrong_layer": 4, "wrong_position": 4}
CELLS = [(operator, target) for operator in ("ablate", "add") for target in ("R", "H", "H+R", "R_perp_H", "H_perp_R")]
DOSES = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)


def edit(chance: random.Random, *, effect: float = -3.2, position: Any = -1, nearest: bool = True) -> dict[str, Any]:
    """The detail of one intervention."""
    controls = {
        kind: {
            "n": n,
            "dose": [round(chance.uniform(0.4, 4.0), 3) for _ in range(n)],
            "kl": [round(chance.uniform(0.06, 0.08), 4) for _ in range(n)],
            "effect": [round(chance.gauss(-0.2, 0.25), 4) for _ in range(n)],
        }
        for kind, n in KINDS.items()
    }
    return {
        "target": "R",
        "operator": "ablate",
        "scope": "every_site",
        "dose": 1.0,
        "expects": "lower",
        "k": 1,
        "layer": 4,
        "position": position,
        "outcome": "refusal_score",
        "unedited": 2.1,
        "edited": 2.1 + effect,
        "kl": 0.083,
        "controls": controls,
        "carrier": {"kind": "nearest" if nearest else "carrier", "position": -1, "layer": 4, "kl": 0.083},
        "effect": effect,
        "effect_low": effect - 0.4,
        "effect_high": effect + 0.4,
        "control_mean": -0.2,
        "standardised": -12.0,
        "p": 0.025,
        "damage": damage(chance),
    }


def damage(chance: random.Random) -> dict[str, Any]:
    """What the edit does to answers."""
    return {
        "answers": 14,
        "asked": 16,
        "written": 15,
        "tokens": 30,
        "kl": 0.074,
        "kl_low": 0.05,
        "kl_high": 0.11,
        "control_kl": [round(chance.uniform(0.03, 0.09), 4) for _ in range(8)],
        "perplexity_unedited": 1.48,
        "perplexity": 1.63,
        "control_perplexity": [round(chance.uniform(1.5, 1.6), 4) for _ in range(8)],
        "factor": 1.1,
        "factor_low": 1.05,
        "factor_high": 1.16,
        "which": list(range(8)),
        "broken_unedited": 0.0,
        "broken": 0.0667,
        "control_broken": [0.0, 0.0667, 0.0, 0.0],
    }


def sweep(chance: random.Random) -> dict[str, Any]:
    """The detail of a dose sweep: the score falls with the dose, and the model breaks at 4."""
    curve = [
        {
            "dose": dose,
            "effect": round(-1.6 * dose, 3),
            "beyond": round(-1.5 * dose, 3),
            "low": round(-1.5 * dose - 0.3, 3),
            "high": round(-1.5 * dose + 0.3, 3),
            "kl": round(0.08 * dose**2, 4),
            "p": 0.05 if abs(dose) < 1 else 0.025,
            "controls": [round(chance.gauss(0.1 * dose, 0.2), 4) for _ in range(19)],
            "control_kl": [round(0.07 * dose**2, 4)] * 19,
            "control_dose": [dose] * 19,
            "answers_kl": round(0.1 * dose**2, 4),
            "answers_control_kl": [round(0.06 * dose**2, 4)] * 8,
            "answers_perplexity": round(1.48 + 0.4 * dose**2, 4),
        }
        for dose in DOSES
    ]
    found = edit(chance)
    for field in ("effect", "effect_low", "effect_high", "control_mean", "standardised", "p"):
        del found[field]
    return found | {
        "curve": curve,
        "damaged_from": 4.0,
        "damage_kl": 1.0,
        "damage_answers_kl": 1.0,
        "reversals": 0,
        "trend_p": 1e-6,
    }


def matrix(chance: random.Random) -> dict[str, Any]:
    """The detail of a causal matrix; one cell has no controls."""
    rows: list[dict[str, Any]] = []
    for index, (operator, target) in enumerate(CELLS):
        strong = target != "H" and target != "H_perp_R"
        effect = (-3.0 if operator == "ablate" else 4.0) if strong else chance.gauss(0, 0.3)
        row = {"operator": operator, "target": target}
        if index == len(CELLS) - 1:
            rows.append(row | {"missing": "uncontrolled: of 39 controls 1 could be given a dose"})
            continue
        rows.append(
            row
            | {
                "layer": 4 if strong else 6,
                "effect": round(effect, 3),
                "sensitivity": round(effect + 0.2, 3),
                "low": round(effect - 0.3, 3),
                "high": round(effect + 0.6, 3),
                "kl": 0.08,
                "p_alone": 0.025 if strong else 0.4,
                "p": 0.025 if strong else 0.9,
            }
        )
    return edit(chance) | {"edits": rows, "cell": "ablate R", "p_alone": 0.025}

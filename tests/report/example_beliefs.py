"""Details of beliefs and of reply inversion as a record holds them, made without a model."""

from __future__ import annotations

import random
from typing import Any

COUNTS = {
    "harmful_refused": 30,
    "harmful_answered": 20,
    "harmless_refused": 3,
    "harmless_answered": 40,
    "scary_refused": 12,
    "scary_answered": 0,
}


def scores(chance: random.Random) -> dict[str, Any]:
    """The detail of a measure of beliefs."""
    groups = []
    for name, n in COUNTS.items():
        x, y = (0.1 if name.startswith("harmful") else -0.1), (0.1 if name.endswith("refused") else -0.1)
        points = [(round(chance.gauss(x, 0.05), 4), round(chance.gauss(y, 0.05), 4)) for _ in range(n)]
        groups.append(
            {
                "group": name,
                "n": n,
                "harmfulness_mean": x if n else None,
                "refusal_mean": y if n else None,
                "harmfulness": [point[0] for point in points],
                "refusal": [point[1] for point in points],
            }
        )
    quadrants = {
        kind: {
            "refused": COUNTS[f"{kind}_refused"],
            "answered": COUNTS[f"{kind}_answered"],
            "unread": 1,
            "refused_believed": COUNTS[f"{kind}_refused"] // 2,
            "answered_believed": COUNTS[f"{kind}_answered"] // 4,
            "unread_believed": 0,
        }
        for kind in ("harmful", "harmless", "scary")
    }
    return {
        "beliefs": {
            "positions": {"harmfulness": "t_inst", "refusal": -1},
            "layers": "the input of every block and the last block's output, averaged",
            "n_layers": 30,
            "centres": {"harmful_refused": 61, "harmless_answered": 64},
            "groups": groups,
            "quadrants": quadrants,
            "separation": [
                {
                    "comparison": "harmful against harmless, of the answered",
                    "n": [20, 40],
                    "harmfulness": 0.91,
                    "refusal": 0.6,
                },
                {
                    "comparison": "harmful against harmless, of the refused",
                    "n": [30, 15],
                    "harmfulness": None,
                    "refusal": None,
                },
            ],
            "correlation": 0.41,
            "layer_auroc": [0.5, 0.8, 0.95],
            "null": {"permuted": {"n": 500, "low": 0.31, "median": 0.5, "high": 0.69}},
            "percentile": {"permuted": 1.0},
        },
        "chance": {"stops": []},
    }


def inversion(chance: random.Random) -> dict[str, Any]:
    """The detail of a reply inversion."""
    directions = [
        {
            "direction": name,
            "effect": effect,
            "by_wording": [effect, effect + 0.1, effect - 0.1],
            "controls": [round(chance.gauss(0, 0.4), 3) for _ in range(20)],
            "matched": [k != 3 for k in range(20)],
            "dose": [1.2] * 20,
            "control_kl": [0.3] * 20,
            "kl": 0.31,
            "norm": 4.2,
            "mass": 0.55,
        }
        for name, effect in (("H", 3.1), ("R", -0.4))
    ]
    return {
        "inversion": {
            "answers": {"harmful": "Certainly", "harmless": "No"},
            "wordings": 3,
            "base": -1.5,
            "base_of_other_kind": 1.1,
            "base_mass": 0.7,
            "cosine": 0.2,
            "directions": directions,
            "p": 0.05,
        },
        "chance": {"stops": []},
    }

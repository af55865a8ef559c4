"""Measurements of geometry with everything that a figure draws, added to the example record.

Made without a model, as example_record.py is: searches get controls, scopes and a front, spectra get null levels, and
each checkpoint gets coupling, a direction and, against the first one, drift and the transfer of its carrier.
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any

from tests.report import example_beliefs, example_interventions

SCOPES = {"every_site": 1.0, "every_site_but_first_token": 0.3, "single_layer": 0.05, "affine": 0.22}
CLASSES = ("drift-only", "reorganised", "lost", "undecided")
SEARCHES = ("carrier_layer", "carrier_kl", "carrier_score")


def with_geometry(record: dict[str, Any]) -> dict[str, Any]:
    """The record with all that; `record` itself is changed too."""
    names = [checkpoint["name"] for checkpoint in record["checkpoints"]]
    layers = record["checkpoints"][0]["n_layers"]
    for one in record["measurements"]:
        chance = random.Random(f"geometry {one['checkpoint']} {one['measure']}")
        if one["measure"] in SEARCHES:
            one["detail"] |= _searched(one["detail"], chance)
        if one["measure"] in ("effective_rank", "participation_ratio"):
            one["detail"] |= _chance_of(one, chance, layers)
    for index, name in enumerate(names):
        chance = random.Random(f"geometry {index}")
        made = [*_coupling(name, chance, layers, tuned=index > 0), _direction(name, chance, layers)]
        made += [*_interventions(name, chance), *_beliefs(name)]
        if index:
            made += [*_drift(name, names[0], chance, layers), _transfer(name, names[0], index)]
        record["measurements"] += made
        record["assertions"] += [_assertion(name, one) for one in made]
    record["measures"] = {**record["measures"], **_MEASURES}
    return record


def _searched(detail: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """What the search keeps beside its candidates."""
    field = "s_refuse_scaled" if detail["rule"] == "cosmic" else "induce"
    used = detail["selected"] or detail["nearest"]
    scored = [row for row in detail["candidates"] if row[field] is not None and row["kl"] <= 1.0 and row["norm"] > 0]
    front: list[dict[str, Any]] = []
    for row in sorted(scored, key=lambda row: row["kl"]):
        if not front or row[field] > front[-1]["effect"]:
            front.append({"position": row["position"], "layer": row["layer"], "kl": row["kl"], "effect": row[field]})
    first = next((row for row in front if row["effect"] > 0.1), None)
    c0 = detail["c0"]
    if used is not None:
        detail["causal"] = _causal(used["layer"], chance)
    total = (
        None
        if used is None or used["s_refuse"] is None or detail["rule"] != "cosmic"
        else used["s_refuse"] + used["s_comply"]
    )
    return {
        "preset": "paper" if detail["rule"] == "cosmic" else "arditi",
        "scope": "every_site",
        "operator": "ablation",
        "contrast": "harmful − harmless",
        "frontier_kl": 1.0,
        "raw_total": total,
        "idle_total": 2 * c0,
        "refusal_tokens": ["I", "Sorry", "As"],
        "refusal_score_auroc": 0.97,
        "frontier": front,
        "first_budget": first and {name: first[name] for name in ("kl", "position", "layer")},
        "examined": used and _examined(used, chance),
    }


def _examined(used: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    n = 20
    return {
        "position": used["position"],
        "layer": used["layer"],
        "added_kl": 0.41,
        "controls": {
            "n": n,
            "dose": [round(chance.uniform(0.6, 1.9), 3) for _ in range(n)],
            "kl": [round(chance.uniform(0.39, 0.43), 4) for _ in range(n)],
            "s_refuse_scaled": [round(chance.gauss(0.05, 0.12), 4) for _ in range(n)],
            "induce": [round(chance.gauss(-7.5, 1.4), 3) for _ in range(n)],
        },
        "target": {"s_refuse_scaled": used["s_refuse_scaled"], "induce": used["induce"]},
        "p": 0.0476,
        "scopes": {
            name: {
                "kl": round(used["kl"] * share, 5),
                "kl_low": round(used["kl"] * share * 0.7, 5),
                "kl_high": round(used["kl"] * share * 1.4, 5),
                "bypass": round(-5 + 6 * (1 - share), 3),
            }
            for name, share in SCOPES.items()
        },
    }


def _causal(layer: int, chance: random.Random) -> dict[str, Any]:
    rows = []
    for k, drop in enumerate((3.1, 3.9, 4.2, 4.3), 1):
        controls = [round(0.2 * k + chance.uniform(-0.3, 0.3), 3) for _ in range(20)]
        effect = drop - sum(controls) / len(controls)
        rows.append({"k": k, "drop": drop, "controls": controls, "effect": effect, "p": 0.048, "kl": 0.04 * k})
    return {"layer": layer, "base": 6.2, "fraction": 0.9, "by_k": rows}


def _chance_of(one: dict[str, Any], chance: random.Random, layers: int) -> dict[str, Any]:
    """Null levels of a spectrum: permuted labels spread more, harmless contrasts as much or more."""
    value = one["estimate"]

    def flat(power: float, factor: float) -> list[float]:
        singular = [1 / (k + 1) ** power for k in range(40)]
        total = sum(s * s for s in singular)
        return [round(factor * s * s / total, 6) for s in singular]

    return {
        "field": "paper",
        "k90": 12,
        "k95": 21,
        "held_out": {"estimate": value * 1.1},
        "by_layer": [{"layer": k, "value": 1 + 2.4 * (k / layers) ** 0.5 + chance.random() / 3} for k in range(layers)],
        "null": {
            "permuted": {"n": 200, "low": value * 1.3, "median": value * 1.6, "high": value * 2.1,
                         "energies_low": flat(0.7, 0.7), "energies_high": flat(0.7, 1.2)},
            "harmless": {"n": 28, "categories": 8, "prompts_per_side": 40, "low": value * 0.8, "median": value * 1.2,
                         "high": value * 2.4, "energies_low": flat(0.9, 0.6), "energies_high": flat(0.9, 1.3)},
            "isotropic": 149.2,
        },
        "percentile": {"permuted": 0.0, "harmless": 0.214},
    }  # fmt: skip


def _coupling(name: str, chance: random.Random, layers: int, *, tuned: bool) -> list[dict[str, Any]]:
    """Two measures of one pair of directions; on the untouched model the cells are too small to tell R from H."""
    h, r = round(0.55 * layers), round(0.4 * layers)
    rows = []
    for layer in range(layers):
        near = math.exp(-(((layer - r) / (0.3 * layers)) ** 2))
        c_cos = 0.15 + (0.6 if tuned else 0.2) * near + chance.uniform(-0.04, 0.04)
        c_sub = 0.2 + 0.4 * near + chance.uniform(-0.03, 0.03)
        values = {"c_cos": c_cos, "c_sub": c_sub, "hrci_repr": (c_cos + c_sub) / 2}
        rows.append({"layer": layer, **{field: round(value, 4) for field, value in values.items()}})
    reading = {"c_cos": 0.71, "c_sub": 0.52, "hrci_repr": 0.615, "hrci_full": 0.48}
    shared = {
        "form": "identified" if tuned else "paper",
        "k": 3,
        "h_layer": h,
        "r_layer": r,
        "h_position": "t_inst",
        "r_position": -1,
        "n_layers": layers,
        "layer_gap": h - r,
        "cells": {"harmful_refused": 121, "harmful_complied": 39, "harmless_refused": 24, "harmless_complied": 136}
        if tuned
        else None,
        "readings": {
            "own_layers": reading,
            "both_at_r": {key: value * 0.9 for key, value in reading.items()},
            "both_at_h": {**reading, "hrci_full": None},
        },
        "angles_degrees": [21.4, 48.2, 77.9],
        "orthogonalised": {"h_perp_r_norm": 0.704, "r_perp_h_norm": 0.704},
        "cross_fitted": True,
    }
    made = []
    for measure, width in (("c_cos", 0.0), ("c_sub", 0.1)):
        bands = [
            {
                **row,
                "permuted": [round(0.05 + width, 3), round(0.24 + width, 3)],
                "harmless": [round(0.02 + width, 3), 0.45],
            }
            for row in rows
        ]
        null = {"n": 200, "low": 0.05 + width, "median": 0.13 + width, "high": 0.24 + width}
        detail = {
            **shared,
            "by_layer": bands,
            "band_of": measure,
            "null": {"permuted": null, "harmless": {**null, "n": 28, "high": 0.45}, "isotropic": 0.033},
        }
        flags = [
            _flag("cross-layer-coupling", "note", f"H is read at layer {h} and R at layer {r}"),
            *([] if tuned else [_flag("same-contrast", "stops", "H and R are built from the same contrast")]),
        ]
        made.append(_measurement(measure, name, reading[measure], 0.07, "cosine", detail, flags))
    return made


def _direction(name: str, chance: random.Random, layers: int) -> dict[str, Any]:
    sites = []
    for position in ("t_inst", -5, -4, -3, -2, -1):
        for layer in range(layers):
            near = math.exp(-(((layer - 0.5 * layers) / (0.3 * layers)) ** 2)) * chance.uniform(0.85, 1.0)
            dead = layer == 0 and position != "t_inst"
            sites.append(
                {
                    "position": position,
                    "layer": layer,
                    "norm": 0.0 if dead else round(0.1 * 1.2**layer, 3),
                    "split_half_cosine": None if dead else round(0.2 + 0.78 * near, 4),
                    "auroc": None if dead else round(0.5 + 0.49 * near, 4),
                    "d_prime": None if dead else round(3.2 * near, 3),
                    "cone_degrees": None if dead else round(60 - 50 * near, 2),
                }
            )
    detail = {
        "contrast": "harmful − harmless",
        "position": -1,
        "layer": layers // 2,
        "by_site": sites,
        "cone_degrees": 11.2,
    }
    return _measurement("direction_auroc", name, 0.98, 0.01, "AUROC", detail, [])


def _interventions(name: str, chance: random.Random) -> list[dict[str, Any]]:
    unit = "nats of refusal score, beyond controls"
    return [
        _measurement("intervention_sensitivity", name, -3.0, 0.4, unit, example_interventions.edit(chance), []),
        _measurement("dose_response", name, -0.97, 0.02, "Spearman's ρ", example_interventions.sweep(chance), []),
        _measurement("causal_matrix", name, -2.8, 0.4, unit, example_interventions.matrix(chance), []),
    ]


def _beliefs(name: str) -> list[dict[str, Any]]:
    """Two measures of the same scores, and the task."""
    mean, guard = (example_beliefs.scores(random.Random(f"beliefs {name}")) for _ in range(2))
    made = [
        _measurement("harmfulness_belief", name, 0.1, 0.02, "difference of cosines", mean, []),
        _measurement("latent_guard", name, 0.93, 0.03, "share (0.5 by chance)", guard, []),
        _measurement("reply_inversion", name, 3.3, 0.6, "nats", example_beliefs.inversion(random.Random(name)), []),
    ]
    made[0]["parameters"] = {"group": "harmful_answered", "n_train": 128}
    made[2]["parameters"] = {"layer": 4, "coefficient": 1.0, "requests": "harmless"}
    return made


def _drift(name: str, reference: str, chance: random.Random, layers: int) -> list[dict[str, Any]]:
    """The subspaces, and the carriers."""
    shared = {"reference": reference, "against": "reference"}
    subspaces = {
        **shared,
        "k": 3,
        "angles_degrees": [8.13, 24.6, 61.9],
        "energies_here": [0.61, 0.12, 0.05],
        "energies_there": [0.55, 0.14, 0.07],
        "energy_weighted_angle": 14.2,
        "held_out": {"estimate": 11.3},
        "projector_distance": 0.47,
        "null": {"permuted": {"n": 200, "low": 61.0, "median": 72.0, "high": 81.0}},
    }
    carriers = {
        **shared,
        "rule": "cosmic",
        "layer_here": layers // 2,
        "layer_there": layers // 2 - 3,
        "position_here": -1,
        "position_there": -4,
        "cosine": 0.83,
        "by_layer": [
            {"layer": k, "cosine": round(1 - 0.5 * k / layers + chance.uniform(-0.05, 0), 4)} for k in range(layers)
        ],
    }
    return [
        _measurement("energy_weighted_angle", name, 14.2, 2.0, "degrees", subspaces, []),
        _measurement("direction_cosine", name, 0.83, 0.04, "cosine", carriers, []),
    ]


def _transfer(name: str, reference: str, index: int) -> dict[str, Any]:
    found = CLASSES[(index - 1) % len(CLASSES)]
    rho = {"drift-only": (0.93, 0.88), "reorganised": (0.21, 0.17), "lost": (0.1, 0.62), "undecided": (0.64, 0.7)}[
        found
    ]
    own = (4.1, 3.6)
    detail = {
        "reference": reference,
        "matrix": {
            "checkpoints": [reference, name],
            "effect": [[own[0], round(rho[0] * own[1], 3)], [round(rho[1] * own[0], 3), own[1]]],
            "effect_low": [[own[0] - 0.4, rho[0] * own[1] - 0.5], [rho[1] * own[0] - 0.5, own[1] - 0.4]],
            "effect_high": [[own[0] + 0.4, rho[0] * own[1] + 0.5], [rho[1] * own[0] + 0.5, own[1] + 0.4]],
            "rho": [[1.0, rho[0]], [rho[1], 1.0]],
            "rho_low": [[1.0, rho[0] - 0.09], [rho[1] - 0.12, 1.0]],
            "rho_high": [[1.0, rho[0] + 0.06], [rho[1] + 0.1, 1.0]],
        },
        "effect": "bypass",
        "class": found,
        "sentence": f"of the effect, {rho[0]:.0%} and {rho[1]:.0%} are kept on the other checkpoint",
    }
    return _measurement("carrier_transfer", name, rho[0], 0.08, "share of the effect", detail, [])


def _measurement(
    measure: str, name: str, value: float, half: float, unit: str, detail: dict[str, Any], flags: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "key": hashlib.sha256(f"{measure} {name}".encode()).hexdigest(),
        "checkpoint": name,
        "measure": measure,
        "parameters": {"n_train": 128, "contrast": "harmful-harmless"},
        "unit": unit,
        "estimate": value,
        "low": value - half,
        "high": value + half,
        "level": 0.95,
        "interval": "basic bootstrap over 32 blocks of prompts",
        "n": 256,
        "seed": 20260427,
        "judge": "",
        "inputs": {"probe-harmful-train": hashlib.sha256(b"pht").hexdigest()},
        "worst": None,
        "flags": flags,
        "why_missing": "",
        "detail": detail,
    }


def _assertion(name: str, one: dict[str, Any]) -> dict[str, Any]:
    stopped = [flag for flag in one["flags"] if flag["effect"] == "stops"]
    return {
        "suite": "trajectory",
        "id": f"{one['measure'].replace('_', '-')}-is-bounded",
        "checkpoint": name,
        "measurement": one["key"],
        "measure": one["measure"],
        "comparator": "at_least",
        "bound": 0.5,
        "outcome": "invalid" if stopped else "passed",
        "by": "interval",
        "sentence": stopped[0]["name"] + ": " + stopped[0]["sentence"] if stopped else "lies wholly in the bound",
        "because": "An example of a bound.",
        "file": "assertions/trajectory.audit.yaml",
        "line": 7,
        "needed_n": None,
        "flags": one["flags"],
    }


def _flag(name: str, effect: str, sentence: str) -> dict[str, str]:
    return {"name": name, "effect": effect, "sentence": sentence}


def _described(title: str, unit: str, says: str) -> dict[str, str]:
    return {"title": title, "unit": unit, "better": "neither", "source": "arXiv 2604.27019", "says": says,
            "says_not": "Whether the model refuses."}  # fmt: skip


_MEASURES = {
    "c_cos": _described("Cosine of H and R", "cosine", "How alike H and R are."),
    "c_sub": _described("Subspace overlap of H and R", "share", "How much their subspaces share."),
    "direction_auroc": _described("Separation", "AUROC", "How well the direction separates held-out prompts."),
    "intervention_sensitivity": _described("Sensitivity", "nats", "What an edit does beyond its controls."),
    "dose_response": _described("Dose–response", "Spearman's ρ", "How the score follows the dose."),
    "causal_matrix": _described("Causal matrix", "nats", "What each of ten edits does."),
    "harmfulness_belief": _described("Belief of harmfulness", "difference of cosines", "Where prompts lie."),
    "latent_guard": _described("Latent guard", "share", "How well the belief separates."),
    "reply_inversion": _described("Reply inversion", "nats", "How far harmfulness turns the answer."),
    "energy_weighted_angle": _described("Energy-weighted angle", "degrees", "How far the subspace turned."),
    "direction_cosine": _described("Cosine of the carriers", "cosine", "How alike the carriers are."),
    "carrier_transfer": _described("Carrier transfer", "share of the effect", "Whether the carrier still works."),
}
